//! The recount beside the running service: finds out by itself when something doesn't add up.
//!
//! It works on a thread of its own and rests three times as long as it works, so it takes a quarter
//! of a core at most. It can't take as long as it likes: while its snapshot is open, the log of an
//! embedded store can't start over and grows with every booking. When its time is up it gives up,
//! which says nothing about the rows.
//!
//! Absent on purpose: the database's look at its own files, and counting rows beforehand. Neither
//! comes in pages, so there would be no rest in it and no end before it is done. `eventbooker check`
//! does both.

use std::future::pending;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use eventbooker_core::accounts::{Account, Posting};
use eventbooker_core::bookings::Booking;
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::events::{Event, JournalEntry, Slot};
use eventbooker_core::{BookingId, Timestamp};
use eventbooker_store::{Snapshot, StoreError, TableCounts};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::check::{Finding, Meter, Report, Room, recount_rows};
use crate::{Clock, Engine};

/// When the first one begins: not while a service that has just been started has to catch up.
const FIRST_AFTER: Duration = Duration::from_secs(10 * 60);
/// How long a snapshot may be open.
const TAKES_AT_MOST: Duration = Duration::from_secs(5 * 60);
/// Rows in one page: a millisecond or two of work, so that no booking notices.
const ROWS_AT_ONCE: u32 = 1_000;
/// How many times as long as a page took the rest after it is.
const REST_PER_WORK: u32 = 3;
/// There is always some rest, for it is there that a recount hears that it is to end.
const REST_MIN: Duration = Duration::from_millis(1);
/// A page that would ask for a longer rest has waited for a disk and not kept a core busy.
const REST_MAX: Duration = Duration::from_secs(1);
/// Findings that are kept and logged. `eventbooker check` lists the others.
const FINDINGS_KEPT: usize = 5;

/// What a recount beside the running service came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recount {
    /// When it began. The rows are as they were then.
    pub at: Timestamp,
    /// How many rows were read.
    pub rows: u64,
    /// How much did not add up.
    pub findings_total: u64,
    /// The first few of that.
    pub first_findings: Vec<Finding>,
}

/// Why a recount came to nothing.
#[derive(Debug, Error)]
enum Unfinished {
    #[error("it took longer than {} s", TAKES_AT_MOST.as_secs())]
    Late,
    #[error("the service is stopping")]
    Unwanted,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("it panicked")]
    Panicked,
}

pub(crate) fn spawn(engine: Engine, every: Duration) -> JoinHandle<()> {
    let clock = Arc::clone(&engine.inner.parts.clock);
    tokio::spawn(async move {
        let mut wait = FIRST_AFTER.min(every);
        loop {
            clock.sleep_until(clock.now().plus(wait)).await;
            match recount(&engine).await {
                Ok(recount) => engine.tell(recount),
                Err(error) => {
                    tracing::warn!(%error, "a recount of the invariants came to nothing");
                    metrics::counter!("eventbooker_recounts_unfinished_total").increment(1);
                }
            }
            wait = every;
        }
    })
}

async fn recount(engine: &Engine) -> Result<Recount, Unfinished> {
    let clock = Arc::clone(&engine.inner.parts.clock);
    let at = clock.now();
    let snapshot = engine.store().snapshot().await?;
    let late = Arc::new(Notify::new());
    let mut rested = Rested {
        snapshot,
        clock,
        works_since: at,
        give_up_at: at.plus(TAKES_AT_MOST),
        late: Arc::clone(&late),
    };
    // Goes with this future, when the engine stops; the thread hears of it in its next rest.
    let (_wanted, unwanted) = oneshot::channel::<()>();
    let runtime = Handle::current();
    let thread = tokio::task::spawn_blocking(move || {
        runtime.block_on(async move {
            let mut report = Report::default();
            let mut unseen = |_, _| {};
            let mut meter = Meter::new(0, &mut unseen);
            tokio::select! {
                biased;
                _ = unwanted => return Err(Unfinished::Unwanted),
                () = late.notified() => return Err(Unfinished::Late),
                done = recount_rows(Room::default(), &mut rested, &mut report, &mut meter) => done?,
            }
            Ok((report, meter.read))
        })
    });
    let (report, rows) = thread.await.map_err(|_| Unfinished::Panicked)??;
    let Report { findings_total, findings: mut first_findings, .. } = report;
    first_findings.truncate(FINDINGS_KEPT);
    Ok(Recount { at, rows, findings_total, first_findings })
}

/// A snapshot that is read in small pages, with a rest after each.
struct Rested {
    snapshot: Box<dyn Snapshot>,
    clock: Arc<dyn Clock>,
    works_since: Timestamp,
    give_up_at: Timestamp,
    late: Arc<Notify>,
}

impl Rested {
    /// Rests from all work since the last rest: from reading a page, and from looking through the
    /// one before. When the time is up, this says so and doesn't come back.
    async fn rest(&mut self) {
        let now = self.clock.now();
        self.clock.sleep_until(now.plus(rest_after(self.works_since.until(now)))).await;
        self.works_since = self.clock.now();
        if self.works_since >= self.give_up_at {
            self.late.notify_one();
            pending::<()>().await;
        }
    }
}

fn rest_after(work: Duration) -> Duration {
    work.saturating_mul(REST_PER_WORK).clamp(REST_MIN, REST_MAX)
}

#[async_trait]
impl Snapshot for Rested {
    async fn counts(&mut self) -> Result<TableCounts, StoreError> {
        self.snapshot.counts().await
    }

    async fn integrity(&mut self) -> Result<Vec<String>, StoreError> {
        self.snapshot.integrity().await
    }

    async fn last_booking_id(&mut self) -> Result<BookingId, StoreError> {
        self.snapshot.last_booking_id().await
    }

    async fn rewind(&mut self) -> Result<(), StoreError> {
        self.snapshot.rewind().await
    }

    async fn events(&mut self, limit: u32) -> Result<Vec<Event>, StoreError> {
        let page = self.snapshot.events(limit.min(ROWS_AT_ONCE)).await;
        self.rest().await;
        page
    }

    async fn slots(&mut self, limit: u32) -> Result<Vec<Slot>, StoreError> {
        let page = self.snapshot.slots(limit.min(ROWS_AT_ONCE)).await;
        self.rest().await;
        page
    }

    async fn journal(&mut self, limit: u32) -> Result<Vec<JournalEntry>, StoreError> {
        let page = self.snapshot.journal(limit.min(ROWS_AT_ONCE)).await;
        self.rest().await;
        page
    }

    async fn accounts(&mut self, limit: u32) -> Result<Vec<Account>, StoreError> {
        let page = self.snapshot.accounts(limit.min(ROWS_AT_ONCE)).await;
        self.rest().await;
        page
    }

    async fn postings(&mut self, limit: u32) -> Result<Vec<Posting>, StoreError> {
        let page = self.snapshot.postings(limit.min(ROWS_AT_ONCE)).await;
        self.rest().await;
        page
    }

    async fn bookings(&mut self, limit: u32) -> Result<Vec<Booking>, StoreError> {
        let page = self.snapshot.bookings(limit.min(ROWS_AT_ONCE)).await;
        self.rest().await;
        page
    }

    async fn errands(&mut self, limit: u32) -> Result<Vec<Errand>, StoreError> {
        let page = self.snapshot.errands(limit.min(ROWS_AT_ONCE)).await;
        self.rest().await;
        page
    }
}

impl Engine {
    /// What the latest recount came to, if there has been one since the start.
    pub fn last_recount(&self) -> Option<Recount> {
        self.recounted().clone()
    }

    fn recounted(&self) -> MutexGuard<'_, Option<Recount>> {
        self.inner.last_recount.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what a recount came to, in every place where an operator may look.
    fn tell(&self, recount: Recount) {
        let Recount { at, rows, findings_total, first_findings } = &recount;
        if *findings_total == 0 {
            tracing::info!(rows, "recounted: every invariant holds");
        } else {
            for Finding { rule, what } in first_findings {
                tracing::error!(%rule, "BROKEN: {what}");
            }
            tracing::error!(
                rows,
                findings = findings_total,
                "recounted: not everything adds up; `eventbooker check` lists all of it"
            );
        }
        #[allow(clippy::cast_precision_loss, reason = "a count that should be 0")]
        metrics::gauge!("eventbooker_recount_findings").set(*findings_total as f64);
        #[allow(clippy::cast_precision_loss, reason = "seconds are exact enough")]
        metrics::gauge!("eventbooker_recount_timestamp_seconds").set(at.as_micros() as f64 / 1e6);
        *self.recounted() = Some(recount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_three_times_as_long_as_it_works_but_never_for_long() {
        let millis = Duration::from_millis;
        for (work, rest) in [(0, 1), (1, 3), (20, 60), (333, 999), (334, 1000), (60_000, 1000)] {
            assert_eq!(rest_after(millis(work)), millis(rest), "after {work} ms");
        }
    }
}
