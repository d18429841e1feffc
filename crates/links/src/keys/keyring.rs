//! The keys that are in force, and looking after their files.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use eventbooker_core::Context;
use eventbooker_engine::Clock;

use super::{KeyFault, KeyFiles, Keys};

/// How often the files are read again.
const READ_EVERY: Duration = Duration::from_secs(5);

/// The keys that are in force.
pub struct Keyring {
    keys: RwLock<Arc<Keys>>,
}

impl Keyring {
    /// One that has these keys until it is given others.
    pub fn of(keys: Keys) -> Self {
        Self { keys: RwLock::new(Arc::new(keys)) }
    }

    /// One with the keys in these files.
    pub fn open(files: &KeyFiles) -> Result<Self, KeyFault> {
        files.read().map(Self::of)
    }

    /// The keys as they are now.
    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has other keys from now on.
    pub fn set(&self, keys: Keys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// Services of this process whose public half isn't trusted here, and so probably nowhere.
    pub fn strangers(&self, own: &[Context]) -> Vec<Context> {
        let keys = self.keys();
        let is_stranger = |service: &Context| !keys.is_of(keys.signing().public(), *service);
        own.iter().copied().filter(is_stranger).collect()
    }

    /// Keeps the keys as the files are. Ends never.
    pub async fn follow(self: Arc<Self>, files: KeyFiles, clock: Arc<dyn Clock>) {
        let mut known_fault = None;
        loop {
            clock.sleep_until(clock.now().plus(READ_EVERY)).await;
            let files = files.clone();
            // A disk may take its time.
            let read = tokio::task::spawn_blocking(move || files.read()).await;
            let fault = match read {
                Ok(Ok(keys)) => {
                    if keys != *self.keys() {
                        tracing::info!(?keys, "keys have changed");
                        self.set(keys);
                    }
                    None
                }
                Ok(Err(fault)) => Some(fault.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(trouble) = &fault
                && known_fault != fault
            {
                tracing::error!(%trouble, "keys can't be read; the ones before stay in force");
            }
            known_fault = fault;
        }
    }
}
