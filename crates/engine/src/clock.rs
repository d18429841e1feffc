//! Time and randomness, as parameters.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use eventbooker_core::Timestamp;

/// What time it is, and how to wait for a time.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// This instant. Never earlier than one that was returned before.
    fn now(&self) -> Timestamp;

    /// Waits until `instant` has come.
    async fn sleep_until(&self, instant: Timestamp);
}

/// The machine's clock, kept from going backwards when somebody sets it back: time then stands
/// still until the machine has caught up, so that a deadline that has passed stays passed.
#[derive(Debug, Default)]
pub struct SystemClock {
    latest_micros: AtomicI64,
}

/// A long wait is cut into pieces, so that a clock that was set forward is noticed.
const SLEEP_AT_MOST: Duration = Duration::from_secs(1);

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(self.latest_micros.fetch_max(micros, Ordering::Relaxed).max(micros))
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
