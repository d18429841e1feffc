//! Errands: a question to a participant outside of this database, and who sees to its answer.
//!
//! A saga whose next step lies elsewhere is saved with an errand before anybody is asked. Whoever
//! carries the errand has it until `due_at`; after that anybody may take it over, with a higher
//! token, and what the one before brings is not heard any more.
//!
//! Invariants kept here: an errand's token only rises; only the holder of the current token moves
//! the saga; a step that must be taken is parked, in sight of the operator, when it has failed too
//! often, and nothing else ever ends an errand but an answer.

use std::time::Duration;

use crate::{BookingId, EventId, Timestamp, UserId};

/// How long whoever carries an errand has it to themselves. Longer than a call may take.
pub const LEASE: Duration = Duration::from_secs(10);
/// How often a step that must be taken is tried before it is parked.
pub const TRIES_MAX: u32 = 12;
/// The wait after the first failure; it doubles with each of the next.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// The longest reason that is kept.
const TROUBLE_CHARS_MAX: usize = 200;
/// The longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// A question that a saga waits for an answer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    /// The booking.
    pub booking_id: BookingId,
    /// The event that it is for.
    pub event_id: EventId,
    /// Whose it is.
    pub user_id: UserId,
    /// Rises with every takeover.
    pub token: i64,
    /// When it is free to be taken up: the lease has ended, or the wait after a failure.
    pub due_at: Timestamp,
    /// How often the step has failed.
    pub tries: u32,
    /// Why it failed last.
    pub trouble: Option<String>,
    /// Whether it waits for the operator.
    pub is_parked: bool,
}

impl Errand {
    /// A new errand, carried by whoever makes it.
    pub fn begin(
        booking_id: BookingId,
        event_id: EventId,
        user_id: UserId,
        now: Timestamp,
    ) -> Self {
        Self {
            booking_id,
            event_id,
            user_id,
            token: 1,
            due_at: now.plus(LEASE),
            tries: 0,
            trouble: None,
            is_parked: false,
        }
    }

    /// The saga's next step: the same carrier goes on.
    pub fn go_on(&mut self, now: Timestamp) {
        self.due_at = now.plus(LEASE);
        self.tries = 0;
        self.trouble = None;
    }

    /// Takes the errand up if nobody has it; whether that was so.
    pub fn claim(&mut self, now: Timestamp) -> bool {
        let is_free = !self.is_parked && self.due_at <= now;
        if is_free {
            self.token += 1;
            self.due_at = now.plus(LEASE);
        }
        is_free
    }

    /// Notes that the step has failed. `is_forced` says that the saga has no other way.
    pub fn fail(&mut self, trouble: &str, is_forced: bool, now: Timestamp) {
        self.tries = self.tries.saturating_add(1);
        self.trouble = Some(plain(trouble));
        self.due_at = now.plus(backoff(self.tries));
        self.is_parked = is_forced && self.tries >= TRIES_MAX;
    }

    /// Takes it out of parking, to be taken up at once.
    pub fn unpark(&mut self, now: Timestamp) {
        self.is_parked = false;
        self.tries = 0;
        self.due_at = now;
    }
}

/// A participant elsewhere may have said it: it is cut, and must not steer whoever's terminal shows it.
fn plain(trouble: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    trouble.chars().take(TROUBLE_CHARS_MAX).map(plain).collect()
}

fn backoff(tries: u32) -> Duration {
    let doublings = tries.saturating_sub(1).min(16);
    BACKOFF_FIRST.saturating_mul(1 << doublings).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn errand() -> Errand {
        Errand::begin(BookingId::new(1), EventId::new(2), UserId::new(3), NOW)
    }

    #[test]
    fn an_errand_is_its_carriers_until_the_lease_ends() {
        let mut errand = errand();
        let end = NOW.plus(LEASE);
        assert!(!errand.claim(Timestamp::from_micros(end.as_micros() - 1)));
        assert_eq!(errand.token, 1);
        assert!(errand.claim(end));
        assert_eq!((errand.token, errand.due_at), (2, end.plus(LEASE)));
        assert!(!errand.claim(end), "it is taken");
    }

    #[test]
    fn what_others_say_is_short_and_plain() {
        let mut errand = errand();
        errand.fail("the bank\nis \u{1b}[31mзакрыт", false, NOW);
        assert_eq!(errand.trouble.as_deref(), Some("the bank is  [31mзакрыт"));
        errand.fail(&"я".repeat(1000), false, NOW);
        assert_eq!(errand.trouble, Some("я".repeat(200)));
    }

    #[test]
    fn waits_double_up_to_a_limit() {
        let waits: Vec<u128> = (1..=12).map(|tries| backoff(tries).as_millis()).collect();
        let doubled = [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000];
        assert_eq!(waits[..11], doubled);
        assert_eq!(backoff(u32::MAX), BACKOFF_MAX);
    }

    #[test]
    fn only_a_step_that_must_be_taken_is_parked() {
        for is_forced in [true, false] {
            let mut errand = errand();
            for tries in 1..=TRIES_MAX {
                assert!(!errand.is_parked, "after {tries} tries");
                errand.fail("away", is_forced, NOW);
            }
            assert_eq!(errand.is_parked, is_forced);
            let later = NOW.plus(BACKOFF_MAX);
            assert_eq!(errand.claim(later), !is_forced, "what is parked waits for the operator");
            errand.unpark(later);
            assert_eq!(errand.tries, 0);
            assert!(errand.claim(later), "it is free, whether it was parked or carried");
        }
    }
}
