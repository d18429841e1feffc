//! A clock that stands still until a test moves it, and one that is wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use eventbooker_core::Timestamp;
use eventbooker_engine::{Clock, SystemClock};
use tokio::sync::watch;

/// How long a test waits for something that takes milliseconds. Only a failing test waits so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// 2026-01-01T00:00:00Z, when every test begins.
pub const NEW_YEAR: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// The smallest step of time.
pub const MOMENT: Duration = Duration::from_micros(1);

/// One moment less than a span.
pub const fn just_before(span: Duration) -> Duration {
    span.saturating_sub(MOMENT)
}

/// A clock that a test sets. It never goes back.
pub struct ManualClock {
    state: watch::Sender<State>,
}

struct State {
    now: Timestamp,
    /// Who sleeps, and until when.
    sleepers: BTreeMap<u64, Timestamp>,
    sleepers_ever: u64,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::at(NEW_YEAR)
    }
}

impl ManualClock {
    /// A clock that shows this instant.
    pub fn at(now: Timestamp) -> Self {
        let (state, _) = watch::channel(State { now, sleepers: BTreeMap::new(), sleepers_ever: 0 });
        Self { state }
    }

    /// Sets the clock and wakes whoever waited for this instant or an earlier one.
    pub fn set(&self, instant: Timestamp) {
        self.state.send_modify(|state| {
            assert!(instant >= state.now, "time doesn't go back");
            state.now = instant;
        });
    }

    /// Moves the clock on.
    pub fn advance(&self, span: Duration) {
        self.state.send_modify(|state| state.now = state.now.plus(span));
    }

    /// Waits until at least `count` sleepers wait for an instant that is still to come.
    ///
    /// Whoever is woken by [`set`](Self::set) stops counting at that moment, not when its task
    /// gets to run. So once all tasks that sleep between their rounds count again, each of them
    /// has finished the round that the clock set off. This holds where tasks take turns, as they
    /// do on the runtime of one thread that tests have unless they ask for another.
    pub async fn until_asleep(&self, count: usize) {
        let mut state = self.state.subscribe();
        let asleep = state.wait_for(|state| {
            state.sleepers.values().filter(|until| **until > state.now).count() >= count
        });
        tokio::time::timeout(PATIENCE, asleep)
            .await
            .expect("tasks that wait for the clock go back to sleep")
            .expect("the clock is here");
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.state.borrow().now
    }

    async fn sleep_until(&self, instant: Timestamp) {
        let mut state = self.state.subscribe();
        let _sleeper = Sleeper::lie_down(self, instant);
        state.wait_for(|state| state.now >= instant).await.expect("the clock is here");
    }
}

/// Counts as asleep until it is dropped.
struct Sleeper<'a> {
    clock: &'a ManualClock,
    number: u64,
}

impl<'a> Sleeper<'a> {
    fn lie_down(clock: &'a ManualClock, until: Timestamp) -> Self {
        let mut number = 0;
        clock.state.send_modify(|state| {
            state.sleepers_ever += 1;
            number = state.sleepers_ever;
            state.sleepers.insert(number, until);
        });
        Self { clock, number }
    }
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        // Nobody waits for fewer sleepers.
        self.clock.state.send_if_modified(|state| {
            state.sleepers.remove(&self.number);
            false
        });
    }
}

/// A machine's clock that is wrong by the same span all the time.
pub struct WrongClock {
    right: SystemClock,
    ahead_micros: i64,
}

impl WrongClock {
    /// One that is ahead by so much, or behind.
    pub fn ahead_by_micros(ahead_micros: i64) -> Self {
        Self { right: SystemClock::default(), ahead_micros }
    }
}

#[async_trait]
impl Clock for WrongClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.right.now().as_micros() + self.ahead_micros)
    }

    async fn sleep_until(&self, instant: Timestamp) {
        let right = instant.as_micros().saturating_sub(self.ahead_micros);
        self.right.sleep_until(Timestamp::from_micros(right)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn sleepers_wake_at_their_instant_and_not_before() {
        let clock = Arc::new(ManualClock::default());
        let second = Duration::from_secs(1);
        let sleeper = tokio::spawn({
            let clock = Arc::clone(&clock);
            async move { clock.sleep_until(NEW_YEAR.plus(second)).await }
        });
        clock.until_asleep(1).await;
        clock.set(NEW_YEAR.plus(just_before(second)));
        clock.until_asleep(1).await;
        assert!(!sleeper.is_finished());
        clock.advance(MOMENT);
        sleeper.await.expect("woken");
        assert!(clock.state.borrow().sleepers.is_empty());
    }

    #[test]
    #[should_panic(expected = "time doesn't go back")]
    fn time_does_not_go_back() {
        ManualClock::default().set(Timestamp::from_micros(0));
    }
}
