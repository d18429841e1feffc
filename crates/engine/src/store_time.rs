//! The time by the store's clock, where the store has one.
//!
//! Replicas share a store and not a clock. What is decided is decided by the store's time; so that
//! everybody waits for the right instant and shows the right time, too, each replica knows how far
//! the store's clock is ahead of its own, and looks again now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use eventbooker_core::Timestamp;
use eventbooker_store::{Queries, StoreError};

use crate::Clock;

/// How often the clocks are compared.
const COMPARE_EVERY: Duration = Duration::from_secs(5);
/// An answer that took longer than this says too little about what time it is.
const ANSWER_MAX: Duration = Duration::from_millis(100);

/// A clock that shows the store's time.
pub(crate) struct StoreTime {
    clock: Arc<dyn Clock>,
    /// How far the store's clock is ahead of ours.
    ahead_micros: AtomicI64,
    /// When the clocks were compared last, by ours.
    compared_at_micros: AtomicI64,
    /// The latest instant that was shown.
    shown_micros: AtomicI64,
}

impl StoreTime {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let never = || AtomicI64::new(i64::MIN);
        Self {
            clock,
            ahead_micros: AtomicI64::new(0),
            compared_at_micros: never(),
            shown_micros: never(),
        }
    }

    /// Compares the clocks, unless that was done a moment ago.
    pub(crate) async fn compare(&self, store: &(impl Queries + ?Sized)) -> Result<(), StoreError> {
        let asked_at = self.clock.now();
        let compared_at = self.compared_at_micros.load(Ordering::Relaxed);
        let is_first = compared_at == i64::MIN;
        if !is_first && Timestamp::from_micros(compared_at).plus(COMPARE_EVERY) > asked_at {
            return Ok(());
        }
        let Some(theirs) = store.clock().await? else { return Ok(()) };
        let took = asked_at.until(self.clock.now());
        if is_first || took <= ANSWER_MAX {
            // In the middle of the question, as far as anybody can know.
            let ours = asked_at.plus(took / 2);
            let ahead = theirs.as_micros().saturating_sub(ours.as_micros());
            self.ahead_micros.store(ahead, Ordering::Relaxed);
            self.compared_at_micros.store(asked_at.as_micros(), Ordering::Relaxed);
        }
        Ok(())
    }
}

#[async_trait]
impl Clock for StoreTime {
    fn now(&self) -> Timestamp {
        let ahead = self.ahead_micros.load(Ordering::Relaxed);
        let now = self.clock.now().as_micros().saturating_add(ahead);
        let shown = self.shown_micros.fetch_max(now, Ordering::Relaxed);
        Timestamp::from_micros(now.max(shown))
    }

    async fn sleep_until(&self, instant: Timestamp) {
        let ahead = self.ahead_micros.load(Ordering::Relaxed);
        let ours = instant.as_micros().saturating_sub(ahead);
        self.clock.sleep_until(Timestamp::from_micros(ours)).await;
    }
}
