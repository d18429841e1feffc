//! What falls due: found in time, sent into its lanes, and left alone for a while where it can't be
//! decided.
//!
//! An index of the store is the queue, of live deadlines or of errands; a [`Watch`] knows only when
//! the head of it is due. Lanes tell its [`Alarm`] about what is due sooner after it is durable. It
//! looks every few seconds in any case, for other replicas and the operator's tool say nothing.
//!
//! Each lane gets one slice at a time, so that whatever falls due together leaves room for bookings
//! between the slices, and a lane that doesn't get on keeps no other waiting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use eventbooker_core::{BookingId, EventId, Timestamp};
use eventbooker_store::StoreError;
use metrics::Gauge;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use crate::command::{Command, Lane};
use crate::{Clock, Engine, Error, count};

/// Rows that are sent after one look. Large enough to end 100,000 holds within a second or two,
/// small enough that a booking which waits behind a slice hardly notices.
const SLICE_ROWS: u32 = 400;
/// Rows that a look may pass over because they are left alone or their lane is at work.
const PASSED_OVER_MAX: u32 = 10_000;
/// How long to wait after the store failed, and where nothing became of anything: another replica
/// was first, or there is enough to do.
const AFTER_FAILURE: Duration = Duration::from_millis(200);
/// How long what can't be decided is left alone at first; twice as long each time, up to a limit.
const LEFT_ALONE_FIRST: Duration = Duration::from_secs(60);
const LEFT_ALONE_MAX: Duration = Duration::from_secs(3600);

/// When somebody looks next, as far as anybody has said.
pub(crate) struct Alarm {
    next_micros: AtomicI64,
    sooner: Notify,
}

impl Default for Alarm {
    fn default() -> Self {
        Self { next_micros: AtomicI64::new(i64::MAX), sooner: Notify::new() }
    }
}

impl Alarm {
    /// Something that is durable falls due at this instant.
    pub(crate) fn note(&self, due_at: Timestamp) {
        let next = self.next_micros.fetch_min(due_at.as_micros(), Ordering::Relaxed);
        if due_at.as_micros() < next {
            self.sooner.notify_one();
        }
    }

    /// Somebody looks now, and again at this instant: from here on, what is sooner is noted.
    pub(crate) fn look_by(&self, instant: Timestamp) {
        self.next_micros.store(instant.as_micros(), Ordering::Relaxed);
    }

    pub(crate) async fn sleep_until(&self, clock: &dyn Clock, instant: Timestamp) {
        self.next_micros.fetch_min(instant.as_micros(), Ordering::Relaxed);
        tokio::select! {
            biased;
            () = clock.sleep_until(instant) => {}
            () = self.sooner.notified() => {}
        }
    }
}

/// Rows that fall due, and what there is to do with them.
#[async_trait]
pub(crate) trait Due: Send + Sync + 'static {
    type Row: Clone + Send;
    type Command: Command;

    /// What a row stands for, in a log.
    const WHAT: &'static str;
    /// The store is looked at this often even if nobody said anything.
    const LOOK_EVERY: Duration;

    /// The first rows that are due, and when the next one will be.
    async fn look(
        &self,
        engine: &Engine,
        limit: u32,
    ) -> Result<(Vec<Self::Row>, Option<Timestamp>), StoreError>;

    fn booking(row: &Self::Row) -> (EventId, BookingId);

    /// What is sent for rows of one lane.
    fn command(engine: &Engine, rows: Vec<Self::Row>) -> Self::Command;

    /// Notes what was answered at an instant. Returns of how many rows something became.
    fn note(&self, reply: <Self::Command as Command>::Reply, now: Timestamp) -> usize;
}

/// Sees to what falls due. The gauge tells how much is left alone.
pub(crate) fn watch<D: Due>(
    engine: Engine,
    due: D,
    alarm: Arc<Alarm>,
    left_alone_gauge: Gauge,
) -> JoinHandle<()> {
    let watch = Watch {
        clock: Arc::clone(&engine.inner.parts.clock),
        engine,
        due: Arc::new(due),
        alarm,
        slices: JoinSet::new(),
        lanes: BTreeMap::new(),
        passed_over: 0,
        left_alone: BTreeMap::new(),
        left_alone_gauge,
    };
    tokio::spawn(watch.run())
}

struct Watch<D> {
    engine: Engine,
    clock: Arc<dyn Clock>,
    due: Arc<D>,
    alarm: Arc<Alarm>,
    /// What lanes are at work on.
    slices: JoinSet<Slice>,
    /// Lanes that are at work, or rest until an instant.
    lanes: BTreeMap<usize, Option<Timestamp>>,
    /// Rows that the last look has passed over.
    passed_over: u32,
    /// What can't be decided because its rows are damaged or the store refuses them. It must not
    /// keep sound rows waiting, and is tried again later: somebody may have mended it.
    left_alone: BTreeMap<BookingId, LeftAlone>,
    left_alone_gauge: Gauge,
}

#[derive(Clone, Copy)]
struct LeftAlone {
    wait: Duration,
    until: Timestamp,
}

/// What came of a slice.
struct Slice {
    lane: usize,
    /// Of how many rows something became.
    moved: usize,
    /// What can't be decided.
    stuck: Vec<(EventId, BookingId)>,
}

impl<D: Due> Watch<D> {
    async fn run(mut self) {
        loop {
            let Some(wake_at) = self.look().await else { continue };
            if self.slices.is_empty() {
                // The clock may have been set back since the look began.
                let wake_at = wake_at.min(self.clock.now().plus(D::LOOK_EVERY));
                self.alarm.sleep_until(&*self.clock, wake_at).await;
                continue;
            }
            tokio::select! {
                biased;
                Some(slice) = self.slices.join_next() => self.hear(slice),
                // By no clock that can be set: it is for what falls due in other lanes meanwhile.
                () = tokio::time::sleep(AFTER_FAILURE) => {}
            }
            while let Some(slice) = self.slices.try_join_next() {
                self.hear(slice);
            }
        }
    }

    /// Sends what is due into lanes that aren't at work. Returns when to look again, or `None` for at
    /// once.
    async fn look(&mut self) -> Option<Timestamp> {
        let now = self.clock.now();
        let soon = now.plus(D::LOOK_EVERY);
        // Before the store is asked: what is saved from here on is noted, and what was saved before
        // is found.
        self.alarm.look_by(soon);
        let limit = SLICE_ROWS + self.passed_over;
        let (rows, next) = match self.due.look(&self.engine, limit).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, what = D::WHAT, "could not look for what is due");
                return Some(now.plus(AFTER_FAILURE));
            }
        };
        self.lanes.retain(|_, rests_until| rests_until.is_none_or(|until| until > now));
        let is_full = rows.len() >= limit as usize;
        let passed_over_before = self.passed_over;
        let slices = self.pick(rows, now);
        if slices.is_empty() && is_full && self.passed_over > passed_over_before {
            return None;
        }
        for (lane, rows) in slices {
            self.lanes.insert(lane, None);
            self.slices.spawn(send(self.engine.clone(), Arc::clone(&self.due), lane, rows));
        }
        let rests = self.lanes.values().filter_map(|rests_until| *rests_until);
        rests.chain(next).chain([soon]).min()
    }

    /// Slices for lanes that may have one.
    fn pick(&mut self, rows: Vec<D::Row>, now: Timestamp) -> BTreeMap<usize, Vec<D::Row>> {
        let lanes = self.engine.settings().lanes;
        let mut slices: BTreeMap<usize, Vec<D::Row>> = BTreeMap::new();
        // What isn't due any more is forgotten.
        let mut left_alone = BTreeMap::new();
        let (mut passed_over, mut room) = (0, SLICE_ROWS);
        for row in rows {
            let (event_id, id) = D::booking(&row);
            let lane = Lane::Event(event_id).index(lanes);
            let rest = self.left_alone.get(&id).copied();
            left_alone.extend(rest.map(|rest| (id, rest)));
            if rest.is_some_and(|rest| rest.until > now) || self.lanes.contains_key(&lane) {
                passed_over += 1;
            } else if room > 0 {
                room -= 1;
                slices.entry(lane).or_default().push(row);
            }
        }
        self.passed_over = passed_over.min(PASSED_OVER_MAX);
        self.left_alone = left_alone;
        self.left_alone_gauge.set(count(self.left_alone.len()));
        slices
    }

    fn hear(&mut self, slice: Result<Slice, JoinError>) {
        // Of which lane it was isn't known then. A second slice does no harm.
        let Ok(Slice { lane, moved, stuck }) = slice else { return self.lanes.clear() };
        let now = self.clock.now();
        let is_of_use = moved > 0 || !stuck.is_empty();
        self.lanes.remove(&lane);
        if !is_of_use {
            self.lanes.insert(lane, Some(now.plus(AFTER_FAILURE)));
        }
        for (event, booking) in stuck {
            let before = self.left_alone.get(&booking).map(|rest| rest.wait);
            let wait = before.map_or(LEFT_ALONE_FIRST, |wait| (2 * wait).min(LEFT_ALONE_MAX));
            self.left_alone.insert(booking, LeftAlone { wait, until: now.plus(wait) });
            tracing::error!(
                %event, %booking, what = D::WHAT, again_after_seconds = wait.as_secs(),
                "its rows are damaged, or the store refuses them; run `eventbooker check`"
            );
        }
        self.left_alone_gauge.set(count(self.left_alone.len()));
    }
}

/// Has rows of one lane decided; one by one, if they can't be together.
async fn send<D: Due>(engine: Engine, due: Arc<D>, lane: usize, rows: Vec<D::Row>) -> Slice {
    let mut slice = Slice { lane, moved: 0, stuck: Vec::new() };
    match decide(&engine, &*due, rows.clone()).await {
        Ok(moved) => slice.moved = moved,
        Err(Error::Bug) => {
            for row in rows {
                let booking = D::booking(&row);
                match decide(&engine, &*due, vec![row]).await {
                    Ok(moved) => slice.moved += moved,
                    Err(Error::Bug) => slice.stuck.push(booking),
                    Err(error) => say_failed::<D>(&error),
                }
            }
        }
        Err(error) => say_failed::<D>(&error),
    }
    slice
}

async fn decide<D: Due>(engine: &Engine, due: &D, rows: Vec<D::Row>) -> Result<usize, Error> {
    let decided = engine.submit_patiently(D::command(engine, rows)).await?;
    decided.outcome.map(|reply| due.note(reply, decided.now)).map_err(|_| Error::Bug)
}

fn say_failed<D: Due>(error: &Error) {
    tracing::warn!(%error, what = D::WHAT, "could not see to what is due");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_looks_is_woken_only_for_what_is_due_sooner() {
        let alarm = Alarm::default();
        let is_woken = async || {
            let nothing = tokio::time::timeout(Duration::from_millis(1), alarm.sooner.notified());
            nothing.await.is_ok()
        };
        alarm.next_micros.store(1000, Ordering::Relaxed);
        for (due_at, sooner) in [(1000, false), (2000, false), (999, true), (999, false)] {
            alarm.note(Timestamp::from_micros(due_at));
            assert_eq!(is_woken().await, sooner, "{due_at}");
        }
    }
}
