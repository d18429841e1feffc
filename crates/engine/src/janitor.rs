//! Removes what has outlived its use: sessions that ended, answers nobody will ask for again, and what
//! participants remember of sagas that have ended long ago.

use std::time::Duration;

use eventbooker_core::Timestamp;
use eventbooker_store::{Purge, Wants};
use tokio::task::JoinHandle;

use crate::batch::{Batch, Rules};
use crate::command::{Command, Lane};
use crate::{Engine, Refusal, Settings};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Rows of each kind removed in one transaction: few enough that no booking notices.
const ROWS_AT_ONCE: u32 = 500;

/// How far a clock may be ahead of another for its answers to stay: those of one that was far ahead
/// would stay for just as long beyond their time.
const AHEAD_AT_MOST: Duration = Duration::from_secs(3600);

struct Sweep {
    answers_kept: Duration,
    memories_kept: Duration,
}

impl Sweep {
    /// What has outlived its use by this instant.
    fn outlived(&self, now: Timestamp) -> Purge {
        Purge {
            sessions_until: now,
            answers_until: now.minus(self.answers_kept),
            answers_after: now.plus(AHEAD_AT_MOST),
            memories_until: now.minus(self.memories_kept),
            limit: ROWS_AT_ONCE,
        }
    }
}

impl Command for Sweep {
    type Reply = ();

    fn lane(&self) -> Lane {
        Lane::Any
    }

    fn wants(&self, _: &Rules, _: &mut Wants) {}

    fn decide(&self, batch: &mut Batch) -> Result<(), Refusal> {
        // By the batch's time: since somebody looked, answers have been given.
        batch.purge(self.outlived(batch.now()));
        Ok(())
    }
}

pub(crate) fn spawn(engine: Engine) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            if !sweep(&engine, engine.now()).await {
                let clock = &engine.inner.parts.clock;
                clock.sleep_until(clock.now().plus(LOOK_EVERY)).await;
            }
        }
    })
}

/// Removes one portion. Returns whether there was something to remove.
async fn sweep(engine: &Engine, now: Timestamp) -> bool {
    let Settings { answers_kept, memories_kept, .. } = *engine.settings();
    let sweep = Sweep { answers_kept, memories_kept };
    let purge = sweep.outlived(now);
    let oldest = match engine.store().oldest_kept().await {
        Ok(oldest) => oldest,
        Err(error) => {
            tracing::warn!(%error, "could not look for rows that have outlived their use");
            return false;
        }
    };
    let due = oldest.session_end.is_some_and(|end| end <= purge.sessions_until)
        || oldest.answer.is_some_and(|at| at <= purge.answers_until || at > purge.answers_after)
        || oldest.memory.is_some_and(|at| at <= purge.memories_until);
    if !due {
        return false;
    }
    match engine.submit_patiently(sweep).await {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%error, "could not remove rows that have outlived their use");
            false
        }
    }
}
