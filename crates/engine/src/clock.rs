//! Time and randomness, as parameters.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use eventbooker_core::Timestamp;

/// What time it is, and how to wait for a time.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// This instant. A clock that follows another's may be set back.
    fn now(&self) -> Timestamp;

    /// Waits until `instant` has come.
    async fn sleep_until(&self, instant: Timestamp);
}

/// The machine's clock, kept from going backwards. When somebody sets it back, time goes on from
/// where it was, by the monotonic clock, so that a deadline that has passed stays passed and one
/// that has not still comes.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
    /// What time it was at `started`, by the latest that the machine's clock has ever said.
    started_at_micros: AtomicI64,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { started: Instant::now(), started_at_micros: AtomicI64::new(i64::MIN) }
    }
}

/// A long wait is cut into pieces, so that a clock that was set forward is noticed.
const SLEEP_AT_MOST: Duration = Duration::from_secs(1);

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX);
        let elapsed = i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX);
        let started_at = wall.saturating_sub(elapsed);
        let latest = self.started_at_micros.fetch_max(started_at, Ordering::Relaxed);
        Timestamp::from_micros(latest.max(started_at).saturating_add(elapsed))
    }

    async fn sleep_until(&self, instant: Timestamp) {
        loop {
            let left = self.now().until(instant);
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(SLEEP_AT_MOST)).await;
        }
    }
}

/// Where unpredictable bytes come from.
pub trait Entropy: Send + Sync + 'static {
    /// Fills a buffer with them.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        // Without randomness there are no secrets, and nothing useful is left to do.
        getrandom::fill(bytes).expect("the operating system provides randomness");
    }
}
