//! The deadline clock: frees the seats of holds that nobody paid.
//!
//! The store's index of live deadlines is the queue; this clock knows only when its head is due.
//! Lanes tell it about sooner deadlines after they are durable. At that instant it asks for the
//! holds that are due and sends them into their lanes as ordinary commands, a slice at a time, so
//! that a hundred thousand holds that end together leave room for bookings between the slices.
//!
//! What it says decides nothing: a lane expires a hold only if the hold's deadline has passed when
//! the lane looks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use eventbooker_core::{BookingId, EventId, Timestamp};
use metrics::{Gauge, Histogram};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use crate::bookings::Expire;
use crate::command::Decided;
use crate::store_time::StoreTime;
use crate::{Answer, Clock, Engine, Error};

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

pub(crate) fn spawn(
    engine: Engine,
    schedule: Arc<Schedule>,
    time: Arc<StoreTime>,
) -> JoinHandle<()> {
    let mut clock = DeadlineClock {
        time,
        engine,
        schedule,
        parked: BTreeSet::new(),
        parked_gauge: metrics::gauge!("eventbooker_parked_holds"),
        lag: metrics::histogram!("eventbooker_expiry_lag_seconds"),
    };
    tokio::spawn(async move {
        loop {
            if let Some(wake_at) = clock.look().await {
                tokio::select! {
                    () = clock.time.sleep_until(wake_at) => {}
                    () = clock.schedule.sooner.notified() => {}
                }
            }
        }
    })
}

struct DeadlineClock {
    engine: Engine,
    time: Arc<StoreTime>,
    schedule: Arc<Schedule>,
    /// Holds that can't be ended because their rows are damaged. They are left to the operator, so
    /// that they don't keep sound ones from ending.
    parked: BTreeSet<BookingId>,
    parked_gauge: Gauge,
    /// From a deadline to the batch in which its hold ended.
    lag: Histogram,
}

impl DeadlineClock {
    /// Ends one slice of due holds. Returns when to look again, or `None` for at once.
    async fn look(&mut self) -> Option<Timestamp> {
        // Forgotten before the store is asked: a hold that is saved from here on is noted anew,
        // and one that was saved before is found.
        self.schedule.next_micros.store(i64::MAX, Ordering::Relaxed);
        let parked = u32::try_from(self.parked.len()).unwrap_or(u32::MAX);
        let limit = SLICE_HOLDS.saturating_add(parked);
        if let Err(error) = self.time.compare(self.engine.store()).await {
            tracing::warn!(%error, "could not compare clocks with the store");
            return Some(self.time.now().plus(AFTER_FAILURE));
        }
        let now = self.time.now();
        let mut due = match self.engine.store().due_holds(now, limit).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "could not look for holds that are due");
                return Some(now.plus(AFTER_FAILURE));
            }
        };
        due.holds.retain(|(_, id)| !self.parked.contains(id));
        if due.holds.is_empty() {
            let next = due.next.map_or(i64::MAX, Timestamp::as_micros);
            let next = self.schedule.next_micros.fetch_min(next, Ordering::Relaxed).min(next);
            return Some(Timestamp::from_micros(next).min(now.plus(LOOK_EVERY)));
        }
        if self.expire(due.holds).await { None } else { Some(now.plus(AFTER_FAILURE)) }
    }

    /// Sends holds into their lanes and waits until they are decided. Returns whether it is of use
    /// to go on at once.
    async fn expire(&mut self, holds: Vec<(EventId, BookingId)>) -> bool {
        let lanes = self.engine.settings().lanes;
        let mut by_lane: BTreeMap<usize, Vec<(EventId, BookingId)>> = BTreeMap::new();
        for hold in holds {
            by_lane.entry(crate::Lane::Event(hold.0).index(lanes)).or_default().push(hold);
        }
        let mut slices = JoinSet::new();
        for holds in by_lane.into_values() {
            let engine = self.engine.clone();
            slices.spawn(async move {
                let answer = engine.submit_patiently(Expire { holds: holds.clone() }).await;
                (holds, answer)
            });
        }
        let mut go_on = true;
        while let Some(joined) = slices.join_next().await {
            match joined {
                Ok((_, Ok(ended))) => self.note_lag(&ended),
                Ok((holds, Err(Error::Bug))) => go_on &= self.expire_singly(holds).await,
                Ok((_, Err(error))) => {
                    tracing::warn!(%error, "could not expire holds that are due");
                    go_on = false;
                }
                Err(_) => go_on = false,
            }
        }
        go_on
    }

    /// Ends what can be ended of a slice that holds something damaged. Returns whether it is of use
    /// to go on at once.
    async fn expire_singly(&mut self, holds: Vec<(EventId, BookingId)>) -> bool {
        let mut go_on = true;
        for hold in holds {
            let (event_id, booking_id) = hold;
            let answer = self.engine.submit_patiently(Expire { holds: vec![hold] }).await;
            match answer {
                Ok(ended) => self.note_lag(&ended),
                Err(Error::Bug) => {
                    self.parked.insert(booking_id);
                    tracing::error!(
                        event = %event_id, booking = %booking_id,
                        "a hold can't be ended because its rows are damaged; run `eventbooker check`"
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, "could not expire a hold that is due");
                    go_on = false;
                }
            }
        }
        #[allow(clippy::cast_precision_loss, reason = "a count that should be 0")]
        self.parked_gauge.set(self.parked.len() as f64);
        go_on
    }

    fn note_lag(&self, ended: &Answer<Vec<Timestamp>>) {
        if let Answer::Given(Decided { outcome: Ok(deadlines), now, .. }) = ended {
            for deadline in deadlines {
                self.lag.record(deadline.until(*now));
            }
        }
    }
}
