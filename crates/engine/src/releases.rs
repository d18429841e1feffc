//! Releases the bookings of cancelled events: holds by cancelling them, paid ones with the money back.
//!
//! Each booking takes the way that it would take if its owner cancelled it, many of them in one
//! transaction. An event says by itself whether it still has some, so nothing else has to be
//! remembered: whoever looks next, after a crash or on another replica, goes on with those that are
//! left.
//!
//! Where bookings are elsewhere, whoever has them is given [`word`] of theirs instead, and releases them.
//!
//! Absent on purpose: bookings that are on their way back already, and holds past their deadline, which
//! are the [deadline clock](crate::deadlines)'s.

mod word;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use eventbooker_core::bookings::participant::Participant;
use eventbooker_core::bookings::{Booking, State, Step};
use eventbooker_core::{BookingId, EventId, Timestamp, UserId};
use eventbooker_store::{SlotsPage, StoreError, Wants};
use tokio::task::JoinHandle;

use crate::batch::{Batch, Rules};
use crate::bookings::{want_account, want_booking};
use crate::command::{Command, Lane};
use crate::due::{self, Alarm, Due};
use crate::neighbours::Place;
use crate::{Engine, Refusal, promises, saga};

pub(crate) fn spawn(engine: Engine, alarm: Arc<Alarm>) -> JoinHandle<()> {
    let left_alone = metrics::gauge!("eventbooker_parked_releases");
    match engine.inner.neighbours.bookings.clone() {
        Place::Here => due::watch(engine, Releases::default(), alarm, left_alone),
        Place::Elsewhere(neighbour) => word::spawn(engine, neighbour, alarm, left_alone),
    }
}

/// How far the release of a booking is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freed {
    /// It has been cancelled just now. Its seats are given back in the course of its saga.
    Now,
    /// It is on its way, or ends by itself.
    Soon,
    /// There is no such booking that has seats.
    Unknown,
}

/// Bookings that are to be released.
#[derive(Default)]
struct Releases {
    /// The newest live booking that each event had when somebody last looked. A cancelled event gets
    /// no new ones, so nobody has to look above it again.
    newest: Mutex<BTreeMap<EventId, BookingId>>,
}

/// A booking of a cancelled event.
#[derive(Clone, Copy)]
struct Left {
    event_id: EventId,
    booking_id: BookingId,
    /// Whose money may be to go back. Where the event is here, a hold stays unpaid, because its event is
    /// cancelled; where it is elsewhere, it can be on its way to being paid, or get there.
    paid_by: Option<UserId>,
}

impl Left {
    fn of(rules: &Rules, booking: &Booking) -> Self {
        let Booking { id, event_id, user_id, state, .. } = *booking;
        let may_be_paid = state == State::Complete || !rules.has(Participant::Events);
        let paid_by = may_be_paid.then_some(user_id);
        Self { event_id, booking_id: id, paid_by }
    }
}

#[async_trait]
impl Due for Releases {
    type Row = Left;
    type Command = Release;

    const WHAT: &'static str = "a booking of a cancelled event";
    const LOOK_EVERY: Duration = Duration::from_secs(2);

    async fn look(
        &self,
        engine: &Engine,
        limit: u32,
    ) -> Result<(Vec<Left>, Option<Timestamp>), StoreError> {
        let events = engine.store().releasing_events(limit).await?;
        self.newest().retain(|event_id, _| events.binary_search(event_id).is_ok());
        // Each event gets its share, so that a large one keeps no other waiting.
        let share = limit / u32::try_from(events.len()).unwrap_or(limit).max(1);
        let mut left = Vec::new();
        for event_id in events {
            match self.look_at(engine, event_id, share.max(1)).await {
                Ok(of_event) => left.extend(of_event),
                Err(error @ StoreError::Refused(_)) => {
                    tracing::error!(%error, event = %event_id, "could not look for its bookings");
                }
                Err(error) => return Err(error),
            }
        }
        Ok((left, None))
    }

    fn booking(left: &Left) -> (EventId, BookingId) {
        (left.event_id, left.booking_id)
    }

    fn command(_: &Engine, left: Vec<Left>) -> Release {
        Release { left }
    }

    fn note(&self, released: usize, _: Timestamp) -> usize {
        released
    }
}

impl Releases {
    /// An event's newest bookings that can be released.
    async fn look_at(
        &self,
        engine: &Engine,
        event_id: EventId,
        limit: u32,
    ) -> Result<Vec<Left>, StoreError> {
        let newest = self.newest().get(&event_id).copied();
        let mut before = newest.map(|id| BookingId::new(id.get().saturating_add(1)));
        let (mut left, mut is_first) = (Vec::new(), true);
        loop {
            let SlotsPage { slots, next } = engine.store().slots(event_id, before, limit).await?;
            let ids: Vec<BookingId> = slots.iter().map(|slot| slot.booking_id).collect();
            if let Some(newest) = ids.first().filter(|_| is_first) {
                self.newest().insert(event_id, *newest);
                is_first = false;
            }
            before = next;
            left.extend(read(engine, event_id, ids).await?);
            if next.is_none() || left.len() >= limit as usize {
                left.truncate(limit as usize);
                return Ok(left);
            }
        }
    }

    fn newest(&self) -> std::sync::MutexGuard<'_, BTreeMap<EventId, BookingId>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those of an event's bookings that can be released now.
async fn read(
    engine: &Engine,
    event_id: EventId,
    ids: Vec<BookingId>,
) -> Result<Vec<Left>, StoreError> {
    let now = engine.now();
    let left = |booking: Booking| {
        can_be_released(engine.rules(), &booking, now).then(|| Left::of(engine.rules(), &booking))
    };
    match engine.store().bookings(ids.clone()).await {
        Err(StoreError::Refused(_)) => {}
        found => return Ok(found?.into_iter().filter_map(left).collect()),
    }
    // One of them is to blame, and keeps no other from being released.
    let mut found = Vec::with_capacity(ids.len());
    for booking_id in ids {
        match engine.store().bookings(vec![booking_id]).await {
            Err(StoreError::Refused(_)) => {
                // Its lane can't read it either, and then it is told and left alone.
                found.push(Left { event_id, booking_id, paid_by: None });
            }
            one => found.extend(one?.into_iter().filter_map(left)),
        }
    }
    Ok(found)
}

fn can_be_released(rules: &Rules, booking: &Booking, now: Timestamp) -> bool {
    let mut booking = *booking;
    saga::cancel(rules, &mut booking, now) == Ok(Step::Taken)
}

/// Releases bookings, those of them that are still there to be released.
struct Release {
    /// All of one lane.
    left: Vec<Left>,
}

impl Command for Release {
    /// How many it released.
    type Reply = usize;

    fn lane(&self) -> Lane {
        self.left.first().map_or(Lane::Any, |left| Lane::Event(left.event_id))
    }

    fn wants(&self, rules: &Rules, wants: &mut Wants) {
        for Left { event_id, booking_id, paid_by } in &self.left {
            want_booking(rules, wants, *event_id, *booking_id);
            if let Some(user_id) = paid_by {
                want_account(rules, wants, *user_id);
            }
        }
    }

    fn decide(&self, batch: &mut Batch) -> Result<usize, Refusal> {
        let mut released = 0;
        for left in &self.left {
            match release(batch, left) {
                Ok(is_released) => released += usize::from(is_released),
                Err(refusal) if released == 0 => return Err(refusal),
                // By then it is the first, and is told.
                Err(_) => {}
            }
        }
        Ok(released)
    }
}

/// Releases a booking; whether it was there to be released. A refusal changes nothing.
fn release(batch: &mut Batch, left: &Left) -> Result<bool, Refusal> {
    let Left { event_id, booking_id, .. } = *left;
    // Where events are elsewhere, whoever has them has said so.
    let is_cancelled = !batch.rules().has(Participant::Events)
        || batch.event(event_id).is_some_and(|event| event.cancellation.is_some());
    let found = batch.booking(booking_id).filter(|_| is_cancelled);
    let Some(before) = found else { return Ok(false) };
    let mut moved = before;
    if saga::cancel(&batch.rules(), &mut moved, batch.now()) != Ok(Step::Taken) {
        return Ok(false);
    }
    let progress = saga::run(batch, moved)?;
    promises::overrule(batch, &moved);
    saga::change(batch, &before, progress);
    Ok(true)
}
