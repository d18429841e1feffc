//! The deadline clock: frees the seats of holds that nobody paid.
//!
//! The store's index of live deadlines is the queue; this clock knows only when its head is due.
//! Lanes tell it about sooner deadlines after they are durable. At that instant it asks for the
//! holds that are due and sends them into their lanes as ordinary commands, a slice at a time, so
//! that a hundred thousand holds that end together leave room for bookings between the slices.
//!
//! What it says decides nothing: a lane expires a hold only if the hold's deadline has passed when
//! the lane looks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use eventbooker_core::{BookingId, EventId, Timestamp};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use crate::bookings::Expire;
use crate::{Clock, Engine};

/// Holds in one slice. Large enough to end 100,000 within a second or two, small enough that a
/// booking which waits behind a slice hardly notices.
const SLICE_HOLDS: u32 = 400;
/// The clock looks at the store this often even if nobody told it anything.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long it waits after the store failed.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// When the next hold is due, as far as anybody has said.
pub(crate) struct Schedule {
    next_micros: AtomicI64,
    sooner: Notify,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { next_micros: AtomicI64::new(i64::MAX), sooner: Notify::new() }
    }
}

impl Schedule {
    /// A durable hold ends at this instant.
    pub(crate) fn note(&self, deadline: Timestamp) {
        let before = self.next_micros.fetch_min(deadline.as_micros(), Ordering::Relaxed);
        if deadline.as_micros() < before {
            self.sooner.notify_one();
        }
    }
}

pub(crate) fn spawn(engine: Engine, schedule: Arc<Schedule>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let clock = Arc::clone(&engine.inner.parts.clock);
        loop {
            let wake_at = look(&engine, &*clock, &schedule).await;
            if let Some(wake_at) = wake_at {
                tokio::select! {
                    () = clock.sleep_until(wake_at) => {}
                    () = schedule.sooner.notified() => {}
                }
            }
        }
    })
}

/// Ends one slice of due holds. Returns when to look again, or `None` for at once.
async fn look(engine: &Engine, clock: &dyn Clock, schedule: &Schedule) -> Option<Timestamp> {
    // Forgotten before the store is asked: a hold that is saved from here on is noted anew, and
    // one that was saved before is found.
    schedule.next_micros.store(i64::MAX, Ordering::Relaxed);
    let due = match engine.store().due_holds(clock.now(), SLICE_HOLDS).await {
        Ok(due) => due,
        Err(error) => {
            tracing::warn!(%error, "could not look for holds that are due");
            return Some(clock.now().plus(AFTER_FAILURE));
        }
    };
    if due.holds.is_empty() {
        let next = due.next.map_or(i64::MAX, Timestamp::as_micros);
        let next = schedule.next_micros.fetch_min(next, Ordering::Relaxed).min(next);
        return Some(Timestamp::from_micros(next).min(clock.now().plus(LOOK_EVERY)));
    }
    if expire(engine, due.holds).await { None } else { Some(clock.now().plus(AFTER_FAILURE)) }
}

/// Sends holds into their lanes and waits until they are decided. Returns whether all were.
async fn expire(engine: &Engine, holds: Vec<(EventId, BookingId)>) -> bool {
    let lanes = engine.settings().lanes;
    let mut by_lane: BTreeMap<usize, Vec<(EventId, BookingId)>> = BTreeMap::new();
    for hold in holds {
        by_lane.entry(crate::Lane::Event(hold.0).index(lanes)).or_default().push(hold);
    }
    let mut slices = JoinSet::new();
    for holds in by_lane.into_values() {
        let engine = engine.clone();
        slices.spawn(async move { engine.submit_patiently(Expire { holds }).await });
    }
    let mut all = true;
    while let Some(joined) = slices.join_next().await {
        if let Ok(Err(error)) = joined {
            tracing::warn!(%error, "could not expire holds that are due");
            all = false;
        }
    }
    all
}
