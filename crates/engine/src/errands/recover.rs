//! Takes up errands that nobody carries.
//!
//! Most of what is found here is carried on to a participant elsewhere. Where the participant is in
//! this database, because it has moved here since the errand began, its step is taken at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use eventbooker_core::bookings::Booking;
use eventbooker_core::bookings::errand::{Claim, Errand};
use eventbooker_core::bookings::participant::{Participant, Request};
use eventbooker_core::{BookingId, EventId, Timestamp};
use eventbooker_store::{StoreError, Wants};
use metrics::Gauge;
use tokio::task::JoinHandle;

use super::{Rooms, want_saga};
use crate::batch::{Batch, Rules};
use crate::command::{Command, Lane};
use crate::due::{self, Alarm, Due};
use crate::{Engine, Error, Refusal, count, saga};

pub(super) fn spawn(engine: Engine, alarm: Arc<Alarm>) -> JoinHandle<()> {
    let errands = Errands {
        parked: metrics::gauge!("eventbooker_parked_sagas"),
        under_way: metrics::gauge!("eventbooker_sagas_under_way"),
        away: metrics::gauge!("eventbooker_participants_away"),
    };
    due::watch(engine, errands, alarm, metrics::gauge!("eventbooker_damaged_sagas"))
}

/// Errands that nobody carries.
struct Errands {
    /// For the metrics.
    parked: Gauge,
    under_way: Gauge,
    away: Gauge,
}

#[async_trait]
impl Due for Errands {
    type Row = Errand;
    type Command = TakeUp;

    const WHAT: &'static str = "a saga that nobody sees to";
    const LOOK_EVERY: Duration = Duration::from_secs(2);

    async fn look(
        &self,
        engine: &Engine,
        limit: u32,
    ) -> Result<(Vec<Errand>, Option<Timestamp>), StoreError> {
        let due = engine.store().due_errands(engine.now(), limit).await?;
        self.parked.set(count(due.parked));
        self.under_way.set(count(due.open));
        engine.inner.desk.under_way.store(due.open, Ordering::Relaxed);
        let participants = [Participant::Events, Participant::Accounts];
        let away = participants.into_iter().filter(|it| engine.away_until(*it).is_some());
        self.away.set(count(away.count()));
        Ok((due.errands, due.next))
    }

    fn booking(errand: &Errand) -> (EventId, BookingId) {
        (errand.event_id, errand.booking_id)
    }

    fn command(engine: &Engine, errands: Vec<Errand>) -> TakeUp {
        let chances = engine.chances(errands.len());
        TakeUp { errands, rooms: engine.rooms(), chances }
    }

    fn note(&self, taken_up: usize, _: Timestamp) -> usize {
        taken_up
    }
}

/// Takes up errands, as far as there is room for their questions.
struct TakeUp {
    /// All of one lane.
    errands: Vec<Errand>,
    rooms: Rooms,
    /// One for each of them, to spread its next wait.
    chances: Vec<u8>,
}

impl Command for TakeUp {
    /// Of how many something became.
    type Reply = usize;

    fn lane(&self) -> Lane {
        self.errands.first().map_or(Lane::Any, |errand| Lane::Event(errand.event_id))
    }

    fn wants(&self, rules: &Rules, wants: &mut Wants) {
        for Errand { booking_id, event_id, user_id, .. } in &self.errands {
            want_saga(rules, wants, *booking_id, *event_id, *user_id);
        }
    }

    fn decide(&self, batch: &mut Batch) -> Result<usize, Refusal> {
        let mut rooms = self.rooms;
        let errands = self.errands.iter().zip(&self.chances);
        let taken_up = |(errand, chance): &(&Errand, &u8)| {
            take_up(batch, errand.booking_id, &mut rooms, **chance)
        };
        Ok(errands.filter(taken_up).count())
    }
}

/// Takes up an errand. Returns whether anything became of it.
fn take_up(batch: &mut Batch, id: BookingId, rooms: &mut Rooms, chance: u8) -> bool {
    let now = batch.now();
    let Some(mut errand) = batch.errand(id).filter(|errand| errand.is_free(now)).cloned() else {
        return false;
    };
    let booking = batch.booking(id);
    let saga = booking.and_then(|booking| Some((booking, booking.request()?)));
    let Some((booking, request)) = saga else {
        tracing::warn!(booking = %id, "an errand has ended because no saga waits for it");
        saga::end_errand(batch, id, booking, None);
        return true;
    };
    let participant = request.ask.of();
    let is_here = batch.rules().has(participant);
    if !is_here {
        let room = rooms.of(participant);
        if let Some(until) = room.shut_until {
            // One row now, instead of two and a call that isn't made.
            errand.put_off(&format!("{} is away", participant.context()), until, now, chance);
            batch.set_errand(errand);
            return true;
        }
        if !room.take() {
            return false;
        }
    }
    match errand.claim(request.ask.is_forced(), now) {
        Claim::NotFree => return false,
        Claim::Parked => batch.set_errand(errand),
        Claim::Taken if is_here => go_on_here(batch, errand, &booking, &request, chance),
        Claim::Taken => batch.ask(errand, request),
    }
    true
}

/// Takes a saga further that began when its participant was elsewhere.
fn go_on_here(
    batch: &mut Batch,
    mut errand: Errand,
    booking: &Booking,
    request: &Request,
    chance: u8,
) {
    let now = batch.now();
    match saga::run(batch, *booking) {
        Ok(progress) => {
            batch.set_errand(errand);
            saga::change(batch, booking, progress);
        }
        Err(refusal) => {
            errand.fail(&refusal.to_string(), request.ask.is_forced(), now, chance);
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
