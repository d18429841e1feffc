//! Disks that take their time, so that a machine can stop before a commit, and between a commit and
//! its answer; and the negative controls: databases that lose what the proofs rest on.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eventbooker_core::Timestamp;
use eventbooker_store::{Changes, Loaded, StoreError, Wants, Writer};

use crate::Control;
use crate::chance::Chance;

/// A writer on a slow disk.
pub(crate) struct SlowWriter {
    pub(crate) inner: Box<dyn Writer>,
    pub(crate) chance: Arc<Chance>,
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
        self.inner.load(wants, clock).await
    }

    async fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        wait(&self.chance).await;
        match self.control {
            Some(control) => self.inner.save(&control.spoil(changes)).await?,
            None => self.inner.save(changes).await?,
        }
        wait(&self.chance).await;
        Ok(())
    }

    async fn release(&mut self) -> Result<(), StoreError> {
        self.inner.release().await
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
        }
        changes
    }
}
