//! Moves pages from the write-ahead log into the file, without making bookings wait.
//!
//! SQLite can do this inside a commit, which then takes as long as the log is large. Here a thread
//! copies pages while the writer goes on writing. The writer's part is small: when the copying has
//! nearly caught up, it copies the last few pages itself between two transactions, which lets the
//! log start over from its beginning instead of growing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;

/// How often the log's length is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Pages in the log that are worth copying: 32 MiB of them. A page that was written often is copied
/// once, so that copying seldom is copying little.
const COPY_PAGES_MIN: i64 = 16_384;
/// A log of this many pages is to start over as soon as the copying has caught up: 96 MiB.
const START_OVER_PAGES_MIN: i64 = 49_152;

pub(super) struct Checkpointer {
    start_over: Arc<AtomicBool>,
    stop: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

impl Checkpointer {
    pub(super) fn start(conn: Connection) -> Arc<Self> {
        let start_over = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = mpsc::channel();
        let flag = Arc::clone(&start_over);
        let thread = thread::Builder::new()
            .name("checkpointer".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                    // A failure here (a full disk) delays copying; the log keeps every commit.
                    if let Err(error) = copy_if_worthwhile(&conn, &flag) {
                        tracing::warn!(%error, "could not copy the log into the database file");
                    }
                }
                // A log that was copied whole makes the next start quick.
                if let Err(error) = checkpoint(&conn, "TRUNCATE") {
                    tracing::warn!(%error, "could not copy the log while closing");
                }
            })
            .expect("the system gives the process a few threads");
        Arc::new(Self { start_over, stop: Mutex::new(Some((stop, thread))) })
    }

    /// The writer's part; cheap unless the log is to start over.
    pub(super) fn before_transaction(&self, conn: &Connection) {
        if self.start_over.swap(false, Ordering::Relaxed)
            && let Err(error) = checkpoint(conn, "PASSIVE")
        {
            tracing::warn!(%error, "could not copy the log's end into the database file");
        }
    }

    /// Copies what is left and ends the thread.
    pub(super) fn finish(&self) {
        let running = self.stop.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, thread)) = running {
            drop(stop);
            let _ = thread.join();
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.finish();
    }
}

fn copy_if_worthwhile(conn: &Connection, start_over: &AtomicBool) -> rusqlite::Result<()> {
    let (logged, copied) = checkpoint(conn, "NOOP")?;
    if logged - copied >= COPY_PAGES_MIN {
        checkpoint(conn, "PASSIVE")?;
    }
    // Asked for again and again until it has happened: a reader in the middle of the log prevents it.
    if logged >= START_OVER_PAGES_MIN && logged > copied {
        start_over.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// The pages in the log, and how many of them are in the file as well.
fn checkpoint(conn: &Connection, mode: &str) -> rusqlite::Result<(i64, i64)> {
    conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        Ok((row.get(1)?, row.get(2)?))
    })
}
