//! Disks that take their time, so that a machine can stop before a commit, and between a commit and
//! its answer; and the negative controls: databases that lose what the proofs rest on.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eventbooker_core::Timestamp;
use eventbooker_store::{Changes, Loaded, StoreError, Wants, Writer};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::Control;
use crate::chance::Chance;

/// Who writes to a file. SQLite's own lock would have the whole simulation wait.
pub(crate) type DiskLock = Arc<Mutex<()>>;

/// How long a writer waits for another process.
const LOCKED_WITHIN: Duration = Duration::from_secs(1);

/// A writer on a slow disk.
pub(crate) struct SlowWriter {
    pub(crate) inner: Box<dyn Writer>,
    pub(crate) chance: Arc<Chance>,
    pub(crate) lock: DiskLock,
    pub(crate) held: Option<OwnedMutexGuard<()>>,
    /// Whether commits happen now and then of which nobody says so.
    pub(crate) is_unsure: bool,
    pub(crate) control: Option<Control>,
}

/// As long as a disk takes.
async fn wait(chance: &Chance) {
    let millis = match chance.between(0, 100) {
        0..50 => return,
        50..98 => chance.between(1, 20),
        _ => chance.between(20, 1_500),
    };
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[async_trait]
impl Writer for SlowWriter {
    async fn load(&mut self, wants: &Wants, clock: Timestamp) -> Result<Loaded, StoreError> {
        wait(&self.chance).await;
        let locked = tokio::time::timeout(LOCKED_WITHIN, Arc::clone(&self.lock).lock_owned()).await;
        let locked = locked.map_err(|_| StoreError::Contention("it is locked".to_owned()))?;
        let loaded = self.inner.load(wants, clock).await?;
        self.held = Some(locked);
        Ok(loaded)
    }

    async fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        wait(&self.chance).await;
        let saved = match self.control {
            Some(control) => self.inner.save(&control.spoil(changes)).await,
            None => self.inner.save(changes).await,
        };
        self.held = None;
        wait(&self.chance).await;
        if self.is_unsure && self.chance.percent(1) {
            return Err(StoreError::OutcomeUnknown("the disk says nothing".to_owned()));
        }
        saved
    }

    async fn release(&mut self) -> Result<(), StoreError> {
        let released = self.inner.release().await;
        self.held = None;
        released
    }
}

impl Control {
    /// What is left of changes.
    fn spoil(self, changes: &Changes) -> Changes {
        let mut changes = changes.clone();
        match self {
            Self::Forgetful => {
                changes.memories_added.clear();
                changes.memories_changed.clear();
            }
            // Those that wait for sagas stay, or nobody would ever be told anything.
            Self::Keyless => changes.answers_added.retain(|answer| answer.awaits.is_some()),
        }
        changes
    }
}
