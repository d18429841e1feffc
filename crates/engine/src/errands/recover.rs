//! Takes up errands that nobody carries.
//!
//! The store's index of errands is the queue. It is looked at when the head of it is due, when a
//! lane says that something is due sooner, and every few seconds in any case, for other replicas
//! and the operator's tool say nothing.
//!
//! Most of what is found here is carried on to a participant elsewhere. Where the participant is in
//! this database, because it has moved here since the errand began, its step is taken at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eventbooker_core::bookings::Booking;
use eventbooker_core::bookings::errand::{Claim, Errand};
use eventbooker_core::bookings::participant::Request;
use eventbooker_core::{BookingId, Timestamp};
use eventbooker_store::Wants;
use metrics::Gauge;
use tokio::task::JoinHandle;

use super::{Rooms, say_parked, want_saga};
use crate::batch::{Batch, Rules};
use crate::command::{Command, Lane};
use crate::{Clock, Engine, Error, Refusal, saga};

/// Errands that are taken up in one command.
const SLICE_ERRANDS: u32 = 400;
/// The store is looked at this often even if nobody said anything.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long to wait after the store failed, and while participants have enough to do.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

pub(super) fn spawn(engine: Engine) -> JoinHandle<()> {
    let mut recovery = Recovery {
        clock: Arc::clone(&engine.inner.parts.clock),
        engine,
        damaged: BTreeSet::new(),
        damaged_gauge: metrics::gauge!("eventbooker_damaged_sagas"),
        parked_gauge: metrics::gauge!("eventbooker_parked_sagas"),
    };
    recovery.damaged_gauge.set(0.0);
    tokio::spawn(async move {
        loop {
            if let Some(wake_at) = recovery.look().await {
                let desk = &recovery.engine.inner.desk;
                desk.next_look_micros.fetch_min(wake_at.as_micros(), Ordering::Relaxed);
                tokio::select! {
                    () = recovery.clock.sleep_until(wake_at) => {}
                    () = desk.sooner.notified() => {}
                }
            }
        }
    })
}

struct Recovery {
    engine: Engine,
    clock: Arc<dyn Clock>,
    /// Sagas that can't be taken up because their rows are damaged. They are left to the operator,
    /// so that they don't keep sound ones from going on.
    damaged: BTreeSet<BookingId>,
    damaged_gauge: Gauge,
    parked_gauge: Gauge,
}

impl Recovery {
    /// Takes up one slice of what is due. Returns when to look again, or `None` for at once.
    async fn look(&mut self) -> Option<Timestamp> {
        let now = self.clock.now();
        let soon = now.plus(LOOK_EVERY);
        // Before the store is asked: an errand that is saved from here on is noted, and one that
        // was saved before is found.
        let desk = &self.engine.inner.desk;
        desk.next_look_micros.store(soon.as_micros(), Ordering::Relaxed);
        let damaged = u32::try_from(self.damaged.len()).unwrap_or(u32::MAX);
        let limit = SLICE_ERRANDS.saturating_add(damaged);
        let mut due = match self.engine.store().due_errands(now, limit).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "could not look for errands that nobody carries");
                return Some(now.plus(AFTER_FAILURE));
            }
        };
        #[allow(clippy::cast_precision_loss, reason = "a count that should be 0")]
        self.parked_gauge.set(due.parked as f64);
        due.errands.retain(|errand| !self.damaged.contains(&errand.booking_id));
        if due.errands.is_empty() {
            return Some(due.next.map_or(soon, |next| next.min(soon)));
        }
        let lanes = self.engine.settings().lanes;
        let mut by_lane: BTreeMap<usize, Vec<Errand>> = BTreeMap::new();
        for errand in due.errands {
            by_lane.entry(Lane::Event(errand.event_id).index(lanes)).or_default().push(errand);
        }
        let mut is_of_use = false;
        for errands in by_lane.into_values() {
            is_of_use |= self.take_up(errands).await;
        }
        if is_of_use { None } else { Some(now.plus(AFTER_FAILURE)) }
    }

    /// Takes up errands of one lane. Returns whether anything became of them.
    async fn take_up(&mut self, errands: Vec<Errand>) -> bool {
        match self.send(errands.clone()).await {
            Ok(moved) => moved > 0,
            Err(Error::Bug) => self.take_up_singly(errands).await,
            Err(error) => {
                tracing::warn!(%error, "could not take up errands that nobody carries");
                false
            }
        }
    }

    /// Takes up what can be taken up of a slice that holds something damaged. Returns whether
    /// anything became of it.
    async fn take_up_singly(&mut self, errands: Vec<Errand>) -> bool {
        let mut is_of_use = false;
        for errand in errands {
            let (event, booking) = (errand.event_id, errand.booking_id);
            match self.send(vec![errand]).await {
                Ok(moved) => is_of_use |= moved > 0,
                Err(Error::Bug) => {
                    is_of_use |= self.damaged.insert(booking);
                    tracing::error!(
                        %event, %booking,
                        "a saga can't go on because its rows are damaged; run `eventbooker check`"
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, %booking, "could not take up an errand");
                }
            }
        }
        #[allow(clippy::cast_precision_loss, reason = "a count that should be 0")]
        self.damaged_gauge.set(self.damaged.len() as f64);
        is_of_use
    }

    async fn send(&self, errands: Vec<Errand>) -> Result<usize, Error> {
        let rooms = self.engine.inner.desk.rooms();
        let taken_up = self.engine.submit_patiently(TakeUp { errands, rooms }).await?;
        taken_up.outcome.map_err(|_| Error::Bug)
    }
}

/// Takes up errands, as far as there is room for their questions.
struct TakeUp {
    /// All of one lane.
    errands: Vec<Errand>,
    rooms: Rooms,
}

impl Command for TakeUp {
    /// Of how many something became.
    type Reply = usize;

    fn lane(&self) -> Lane {
        self.errands.first().map_or(Lane::Any, |errand| Lane::Event(errand.event_id))
    }

    fn wants(&self, _: &Rules, wants: &mut Wants) {
        for Errand { booking_id, event_id, user_id, .. } in &self.errands {
            want_saga(wants, *booking_id, *event_id, *user_id);
        }
    }

    fn decide(&self, batch: &mut Batch) -> Result<usize, Refusal> {
        let mut rooms = self.rooms;
        let taken_up = |errand: &&Errand| take_up(batch, errand.booking_id, &mut rooms);
        Ok(self.errands.iter().filter(taken_up).count())
    }
}

/// Takes up an errand. Returns whether anything became of it.
fn take_up(batch: &mut Batch, id: BookingId, rooms: &mut Rooms) -> bool {
    let now = batch.now();
    let Some(mut errand) = batch.errand(id).filter(|errand| errand.is_free(now)).cloned() else {
        return false;
    };
    let saga = batch.booking(id).and_then(|booking| Some((booking, booking.request()?)));
    let Some((booking, request)) = saga else {
        tracing::warn!(booking = %id, "an errand has ended because no saga waits for it");
        batch.end_errand(id);
        return true;
    };
    let participant = request.ask.of();
    let is_here = batch.rules().has(participant);
    if !is_here && !rooms.take(participant) {
        return false;
    }
    match errand.claim(request.ask.is_forced(), now) {
        Claim::NotFree => return false,
        Claim::Parked => {
            say_parked(id, errand.trouble.as_deref());
            batch.set_errand(errand);
        }
        Claim::Taken if is_here => go_on_here(batch, errand, &booking, &request),
        Claim::Taken => batch.ask(errand, request),
    }
    true
}

/// Takes a saga further that began when its participant was elsewhere.
fn go_on_here(batch: &mut Batch, mut errand: Errand, booking: &Booking, request: &Request) {
    let now = batch.now();
    match saga::run(batch, *booking) {
        Ok(progress) => {
            batch.set_errand(errand);
            saga::change(batch, booking, progress.booking);
        }
        Err(refusal) => {
            errand.fail(&refusal.to_string(), request.ask.is_forced(), now);
            if errand.is_parked {
                say_parked(booking.id, errand.trouble.as_deref());
            }
            batch.set_errand(errand);
        }
    }
}

/// Takes an errand out of parking.
struct Unpark {
    errand: Errand,
}

impl Command for Unpark {
    /// Whether it was parked.
    type Reply = bool;

    fn lane(&self) -> Lane {
        Lane::Event(self.errand.event_id)
    }

    fn wants(&self, _: &Rules, wants: &mut Wants) {
        wants.errands.push(self.errand.booking_id);
    }

    fn decide(&self, batch: &mut Batch) -> Result<bool, Refusal> {
        let now = batch.now();
        let errand = batch.errand(self.errand.booking_id).cloned();
        let Some(mut errand) = errand.filter(|errand| errand.is_parked) else { return Ok(false) };
        errand.unpark(now);
        batch.set_errand(errand);
        Ok(true)
    }
}

impl Engine {
    /// Lets a parked saga be tried again; whether it was parked.
    pub async fn retry_saga(&self, errand: Errand) -> Result<bool, Error> {
        self.submit_patiently(Unpark { errand }).await?.outcome.map_err(|_| Error::Bug)
    }
}
