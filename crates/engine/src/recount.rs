//! The recount beside the running service: finds out by itself when something doesn't add up.
//!
//! It works on a thread of its own and rests three times as long as it works, so it takes a quarter
//! of a core at most. It can't take as long as it likes: while its snapshot is open, the log of an
//! embedded store can't start over and grows with every booking. When its time is up it gives up.
//! What it has found by then is right all the same, because rows of a snapshot don't change; that it
//! has found nothing says nothing about the rows.
//!
//! Where an open snapshot slows writers down, as on PostgreSQL, it hardly rests and has less time.
//!
//! It looks at what is here. Of contexts that are with neighbours it says nothing: `eventbooker check`
//! compares several databases.
//!
//! Absent on purpose: the database's look at its own files, and counting rows beforehand. Neither
//! comes in pages, so there would be no rest in it and no end before it is done. `eventbooker check`
//! does both.

use std::future::pending;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use eventbooker_core::{Contexts, Timestamp};
use eventbooker_store::{Checker, LastCheck, Snapshot, StoreError};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::check::{
    self, FINDINGS_SHOWN, Finding, Meter, Report, Room, Together, lines, recount_rows,
};
use crate::{Clock, Engine, count};

/// When the first one begins: not while a service that has just been started has to catch up.
const FIRST_AFTER: Duration = Duration::from_secs(10 * 60);
/// How long a snapshot may be open.
const TAKES_AT_MOST: Duration = Duration::from_secs(5 * 60);
/// The same, where writers get slower by it.
const SLOWING_AT_MOST: Duration = Duration::from_secs(30);
/// How many times as long as a page took the rest after it is.
const REST_PER_WORK: u32 = 3;
/// There is always some rest, for it is there that a recount hears that it is to end.
const REST_MIN: Duration = Duration::from_millis(1);
/// A page that would ask for a longer rest has waited for a disk and not kept a core busy.
const REST_MAX: Duration = Duration::from_secs(1);

/// What a recount beside the running service came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recount {
    /// When it began. The rows are as they were then.
    pub at: Timestamp,
    /// How many rows were read.
    pub rows: u64,
    /// How much did not add up, at least.
    pub findings_total: u64,
    /// The first few of that.
    pub first_findings: Vec<Finding>,
}

/// A recount that didn't come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedRecount {
    /// How far it came. What it hasn't found may be there.
    pub so_far: Recount,
    /// Why not further.
    pub why: Hindrance,
}

/// Why a recount didn't come to its end.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Hindrance {
    /// Its time was up.
    #[error("it took longer than {} s", .0.as_secs())]
    Late(Duration),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A bug.
    #[error("it panicked")]
    Panicked,
}

/// What the latest recounts came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recounts {
    /// The latest that came to its end, if there has been one since the start.
    pub finished: Option<Recount>,
    /// The latest of all, unless it came to its end.
    pub unfinished: Option<UnfinishedRecount>,
}

pub(crate) fn spawn(engine: Engine, every: Duration) -> JoinHandle<()> {
    let clock = Arc::clone(&engine.inner.parts.clock);
    tokio::spawn(async move {
        // From the beginning it is there to be compared with.
        let unfinished = metrics::counter!("eventbooker_recounts_unfinished_total");
        let mut wait = FIRST_AFTER.min(every);
        loop {
            clock.sleep_until(clock.now().plus(wait)).await;
            match recount(&engine).await {
                Ok(recount) => {
                    let short = recount.in_short(engine.now());
                    engine.tell(recount);
                    note(&engine, short).await;
                }
                Err(recount) => {
                    unfinished.increment(1);
                    let short = recount.so_far.in_short(engine.now());
                    engine.tell_unfinished(recount);
                    // That nothing was found by then isn't worth a note.
                    if short.findings > 0 {
                        note(&engine, short).await;
                    }
                }
            }
            wait = every;
        }
    })
}

/// Notes what came of it for organisers. That it can't be noted takes nothing away from it.
async fn note(engine: &Engine, short: LastCheck) {
    let (store, runtime) = (Arc::clone(&engine.inner.parts.store), Handle::current());
    // A writer may keep the thread that it is used on, as a lane's has one of its own.
    let noting = tokio::task::spawn_blocking(move || runtime.block_on(check::note(&*store, short)));
    match noting.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "could not note what a recount came to"),
        Err(error) => tracing::warn!(%error, "noting what a recount came to has panicked"),
    }
}

async fn recount(engine: &Engine) -> Result<Recount, UnfinishedRecount> {
    let clock = Arc::clone(&engine.inner.parts.clock);
    let at = clock.now();
    let (so_far, why) = match engine.store().snapshot().await {
        Ok(snapshot) => recount_snapshot(engine.here(), snapshot, clock).await,
        Err(error) => (Recount::of(at, 0, Report::default()), Some(error.into())),
    };
    match why {
        None => Ok(so_far),
        Some(why) => Err(UnfinishedRecount { so_far, why }),
    }
}

/// How far the recount of a snapshot came, and why not further.
async fn recount_snapshot(
    here: Contexts,
    mut snapshot: Box<dyn Snapshot>,
    clock: Arc<dyn Clock>,
) -> (Recount, Option<Hindrance>) {
    let at = clock.now();
    let late = Arc::new(Notify::new());
    let (takes_at_most, rest_per_work) = if snapshot.slows_writers() {
        (SLOWING_AT_MOST, 0)
    } else {
        (TAKES_AT_MOST, REST_PER_WORK)
    };
    let give_up_at = at.plus(takes_at_most);
    let pace = Pace { clock, works_since: at, rest_per_work, give_up_at, late: Arc::clone(&late) };
    // Goes with this future, when the engine stops; the thread hears of it in its next rest.
    let (_wanted, unwanted) = oneshot::channel::<()>();
    let runtime = Handle::current();
    let thread = tokio::task::spawn_blocking(move || {
        runtime.block_on(async move {
            let mut report = Report::default();
            let mut unseen = |_, _| {};
            let mut meter = Meter::new(0, &mut unseen).at(pace);
            let mut rows = Together::in_one(here, &mut *snapshot);
            let why = tokio::select! {
                biased;
                _ = unwanted => return None,
                () = late.notified() => Some(Hindrance::Late(takes_at_most)),
                // Where a page never comes, there is no rest either.
                () = tokio::time::sleep(takes_at_most + REST_MAX) => {
                    Some(Hindrance::Late(takes_at_most))
                }
                done = recount_rows(Room::default(), &mut rows, &mut report, &mut meter) => {
                    done.err().map(Hindrance::Store)
                }
            };
            Some((Recount::of(at, meter.read, report), why))
        })
    });
    let nothing = || (Recount::of(at, 0, Report::default()), Some(Hindrance::Panicked));
    thread.await.ok().flatten().unwrap_or_else(nothing)
}

impl Recount {
    fn of(at: Timestamp, rows: u64, mut report: Report) -> Self {
        report.sort();
        // Something doesn't add up in each group that wasn't searched.
        let findings_total = report.findings_total + report.unsearched;
        report.findings.truncate(FINDINGS_SHOWN);
        Self { at, rows, findings_total, first_findings: report.findings }
    }

    /// The same in short, to be noted.
    fn in_short(&self, at: Timestamp) -> LastCheck {
        LastCheck {
            checker: Checker::Service,
            at,
            rows: self.rows,
            findings: self.findings_total,
            first: lines(&self.first_findings),
        }
    }
}

/// How a recount works and rests, and until when.
pub(crate) struct Pace {
    clock: Arc<dyn Clock>,
    works_since: Timestamp,
    rest_per_work: u32,
    give_up_at: Timestamp,
    late: Arc<Notify>,
}

impl Pace {
    /// Rests from all work since the last rest. When the time is up, this says so and doesn't come
    /// back.
    pub(crate) async fn rest(&mut self) {
        let now = self.clock.now();
        let rest = rest_after(self.works_since.until(now), self.rest_per_work);
        self.clock.sleep_until(now.plus(rest)).await;
        self.works_since = self.clock.now();
        if self.works_since >= self.give_up_at {
            self.late.notify_one();
            pending::<()>().await;
        }
    }
}

fn rest_after(work: Duration, rest_per_work: u32) -> Duration {
    work.saturating_mul(rest_per_work).clamp(REST_MIN, REST_MAX)
}

impl Engine {
    /// What the latest recounts came to.
    pub fn recounts(&self) -> Recounts {
        self.recounted().clone()
    }

    fn recounted(&self) -> MutexGuard<'_, Recounts> {
        self.inner.recounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what a recount came to, in every place where an operator may look.
    fn tell(&self, recount: Recount) {
        let Recount { at, rows, findings_total, .. } = recount;
        if findings_total == 0 {
            tracing::info!(rows, "recounted: every invariant holds");
        } else {
            tell_findings(&recount);
        }
        set_findings_gauge(findings_total);
        #[allow(clippy::cast_precision_loss, reason = "seconds are exact enough")]
        metrics::gauge!("eventbooker_recount_timestamp_seconds").set(at.as_micros() as f64 / 1e6);
        *self.recounted() = Recounts { finished: Some(recount), unfinished: None };
    }

    /// Says that a recount didn't come to its end, and what it has found until then.
    fn tell_unfinished(&self, recount: UnfinishedRecount) {
        let UnfinishedRecount { so_far, why } = &recount;
        tracing::warn!(%why, rows = so_far.rows, "a recount of the invariants didn't come to its end");
        if so_far.findings_total > 0 {
            tell_findings(so_far);
            set_findings_gauge(so_far.findings_total);
        }
        self.recounted().unfinished = Some(recount);
    }
}

fn tell_findings(recount: &Recount) {
    for Finding { rule, what } in &recount.first_findings {
        tracing::error!(%rule, "BROKEN: {what}");
    }
    tracing::error!(
        rows = recount.rows,
        findings = recount.findings_total,
        "recounted: not everything adds up; `eventbooker check` lists all of it"
    );
}

fn set_findings_gauge(findings: u64) {
    metrics::gauge!("eventbooker_recount_findings").set(count(findings));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_three_times_as_long_as_it_works_but_never_for_long() {
        let millis = Duration::from_millis;
        for (work, rest) in [(0, 1), (1, 3), (20, 60), (333, 999), (334, 1000), (60_000, 1000)] {
            assert_eq!(rest_after(millis(work), REST_PER_WORK), millis(rest), "after {work} ms");
            assert_eq!(rest_after(millis(work), 0), millis(1), "where it slows writers");
        }
    }
}
