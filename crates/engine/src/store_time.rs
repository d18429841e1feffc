//! The time by the store's clock, where the store has one.
//!
//! Replicas share a store and not a clock. What is decided is decided by the store's time; so that
//! everybody waits for the right instant and shows the right time, too, each replica knows how far
//! the store's clock is ahead of its own, and looks again now and then.
//!
//! When somebody sets the machine's clock, this one is wrong until the next comparison, which may set
//! it back. So nothing is decided by it, and nobody sleeps beyond the next look.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use eventbooker_core::Timestamp;
use eventbooker_store::{Queries, StoreError};

use crate::Clock;

/// How often the clocks are compared.
const COMPARE_EVERY: Duration = Duration::from_secs(5);
/// No clock has shown this instant.
const NEVER_MICROS: i64 = i64::MIN;

/// A clock that shows the store's time.
pub(crate) struct StoreTime {
    clock: Arc<dyn Clock>,
    /// How far the store's clock is ahead of ours.
    ahead_micros: AtomicI64,
    /// When the clocks were compared last, by ours.
    compared_at_micros: AtomicI64,
}

impl StoreTime {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let compared_at_micros = AtomicI64::new(NEVER_MICROS);
        Self { clock, ahead_micros: AtomicI64::new(0), compared_at_micros }
    }

    /// Compares the clocks, unless that was done a moment ago.
    pub(crate) async fn compare(&self, store: &(impl Queries + ?Sized)) -> Result<(), StoreError> {
        let compared_at = self.compared_at_micros.load(Ordering::Relaxed);
        if compared_at == NEVER_MICROS {
            // A question that has to wait for a connection says little about what time it is.
            store.ping().await?;
        } else if Timestamp::from_micros(compared_at).plus(COMPARE_EVERY) > self.clock.now() {
            return Ok(());
        }
        let asked_at = self.clock.now();
        let Some(theirs) = store.clock().await? else { return Ok(()) };
        let heard_at = self.clock.now();
        // They looked at their clock in between, so it can't be ahead by less or by more than this.
        // An answer that took long leaves much room, and changes nothing about what is known better.
        let ahead_of = |ours: Timestamp| theirs.as_micros().saturating_sub(ours.as_micros());
        let known = self.ahead_micros.load(Ordering::Relaxed);
        let ahead = known.clamp(ahead_of(heard_at), ahead_of(asked_at));
        self.ahead_micros.store(ahead, Ordering::Relaxed);
        self.compared_at_micros.store(asked_at.as_micros(), Ordering::Relaxed);
        Ok(())
    }
}

#[async_trait]
impl Clock for StoreTime {
    fn now(&self) -> Timestamp {
        let ahead = self.ahead_micros.load(Ordering::Relaxed);
        Timestamp::from_micros(self.clock.now().as_micros().saturating_add(ahead))
    }

    async fn sleep_until(&self, instant: Timestamp) {
        let ahead = self.ahead_micros.load(Ordering::Relaxed);
        let ours = instant.as_micros().saturating_sub(ahead);
        self.clock.sleep_until(Timestamp::from_micros(ours)).await;
    }
}
