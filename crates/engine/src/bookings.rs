//! What can be done with bookings: book, confirm, cancel, expire.
//!
//! This is where bookings and events meet: a booking's hold exists exactly as long as its slot.

use eventbooker_core::bookings::{self, Booking, State, Step};
use eventbooker_core::events::{Release, Slot};
use eventbooker_core::identity::Actor;
use eventbooker_core::{BookingId, EventId, Money, Timestamp, UserId};
use eventbooker_store::{BookingRoute, HoldingsOf, StoreError, Wants};

use crate::batch::{Batch, Rules};
use crate::command::{Answer, Command, Key, Lane};
use crate::{Engine, Error, Refusal};

/// A booking, and the instant at which it stood so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookingAt {
    /// The booking.
    pub booking: Booking,
    /// The instant.
    pub at: Timestamp,
}

/// A page of live bookings. Holds whose deadline has passed are left out, whether or not their
/// rows are gone yet, so a page may be short and still not be the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookingsPage {
    /// The bookings, newest first.
    pub bookings: Vec<BookingAt>,
    /// The number that the next page follows, if there may be one.
    pub next: Option<BookingId>,
}

/// Holds seats until the event's payment window has passed.
struct Book {
    user_id: UserId,
    event_id: EventId,
    seats: i64,
}

impl Command for Book {
    type Reply = BookingAt;

    fn lane(&self) -> Lane {
        Lane::Event(self.event_id)
    }

    fn wants(&self, rules: &Rules, wants: &mut Wants) {
        wants.events.push(self.event_id);
        wants.new_bookings += 1;
        if let Some(limit) = rules.holds.holdings_needed() {
            let of = HoldingsOf { event_id: self.event_id, user_id: self.user_id, limit };
            wants.holdings.push(of);
        }
    }

    fn decide(&self, batch: &mut Batch) -> Result<BookingAt, Refusal> {
        let (now, limits) = (batch.now(), batch.rules().holds);
        let seats = bookings::check_seats(&limits, self.seats)?;
        let event = batch.event(self.event_id).ok_or(Refusal::NoSuchEvent)?;
        let amount = event.amount_for(seats).ok_or(bookings::BookRefusal::AmountTooLarge)?;
        let window = event.plan.payment_window;
        event.may_occupy(seats, now)?;
        bookings::admit(&limits, batch.holdings(self.event_id, self.user_id), seats, now)?;

        // From here on nothing is refused, so a refusal leaves the batch as it was.
        let id = batch.next_booking_id();
        let event = batch.event_to_change(self.event_id).expect("it was there a moment ago");
        let (slot, entry) = event.occupy(id, seats, now).expect("it may be occupied");
        batch.add_slot(slot, entry);
        let booking = Booking::hold(id, self.event_id, self.user_id, (seats, amount), window, now);
        batch.add_hold(booking);
        Ok(BookingAt { booking, at: now })
    }
}

/// What is to happen to a booking that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    Confirm,
    Cancel,
}

/// Confirms or cancels a booking.
struct MoveBooking {
    actor: Actor,
    /// The event that the client says the booking is for, if it says so.
    event_id: Option<EventId>,
    booking_id: BookingId,
    route: BookingRoute,
    to: Move,
}

impl Command for MoveBooking {
    type Reply = BookingAt;

    fn lane(&self) -> Lane {
        match self.route {
            BookingRoute::Exists(event_id) => Lane::Event(event_id),
            BookingRoute::Gone | BookingRoute::Never => Lane::LostBooking(self.booking_id),
        }
    }

    fn wants(&self, _: &Rules, wants: &mut Wants) {
        if let BookingRoute::Exists(event_id) = self.route {
            wants.bookings.push((event_id, self.booking_id));
            wants.slots.push((event_id, self.booking_id));
            wants.events.push(event_id);
        }
    }

    fn decide(&self, batch: &mut Batch) -> Result<BookingAt, Refusal> {
        let event_id = match self.route {
            BookingRoute::Exists(event_id) => event_id,
            // Numbers are never used twice, so what has ended stays ended.
            BookingRoute::Gone => return Err(Refusal::BookingGone),
            BookingRoute::Never => return Err(Refusal::NoSuchBooking),
        };
        let now = batch.now();
        let mut booking = batch.booking(self.booking_id).ok_or(Refusal::BookingGone)?;
        if !booking.is_open_to(self.actor) || self.event_id.is_some_and(|id| id != event_id) {
            return Err(Refusal::NoSuchBooking);
        }
        let was = booking.state;
        let step = match self.to {
            // Nobody has an account yet, so everybody's balance is nothing.
            Move::Confirm => booking.confirm(Money::ZERO, now)?,
            Move::Cancel => booking.cancel(now)?,
        };
        if step == Step::Taken {
            let slot = live_slot(batch, &booking);
            let event = batch.event_to_change(event_id).expect("a live slot has its event");
            match self.to {
                Move::Confirm => {
                    let (slot, entry) = event.settle(slot, now);
                    batch.change_slot(slot, entry);
                    batch.discount_holding(&booking);
                }
                Move::Cancel => {
                    let entry = event.release(slot, Release::Cancelled, now);
                    batch.remove_slot(slot, entry);
                    if was == State::Complete {
                        batch.count_holding(&booking);
                    }
                }
            }
            batch.change_booking(booking);
        }
        Ok(BookingAt { booking, at: now })
    }
}

/// Ends holds whose deadline has passed. Answers with how many it ended.
pub(crate) struct Expire {
    /// All of one lane.
    pub(crate) holds: Vec<(EventId, BookingId)>,
}

impl Command for Expire {
    type Reply = usize;

    fn lane(&self) -> Lane {
        self.holds.first().map_or(Lane::Any, |(event_id, _)| Lane::Event(*event_id))
    }

    fn wants(&self, _: &Rules, wants: &mut Wants) {
        wants.bookings.extend(&self.holds);
        wants.slots.extend(&self.holds);
        wants.events.extend(self.holds.iter().map(|(event_id, _)| *event_id));
        wants.events.dedup();
    }

    fn decide(&self, batch: &mut Batch) -> Result<usize, Refusal> {
        let now = batch.now();
        let mut ended = 0;
        for (event_id, booking_id) in &self.holds {
            // Whoever looked for due holds may have looked a moment ago, by another clock.
            let Some(booking) = batch.booking(*booking_id).filter(|b| b.is_due(now)) else {
                continue;
            };
            let slot = live_slot(batch, &booking);
            let event = batch.event_to_change(*event_id).expect("a live slot has its event");
            let entry = event.release(slot, Release::Expired, now);
            batch.remove_slot(slot, entry);
            batch.remove_booking(*booking_id);
            ended += 1;
        }
        Ok(ended)
    }
}

fn live_slot(batch: &Batch, booking: &Booking) -> Slot {
    batch.slot((booking.event_id, booking.id)).expect("a live booking has its slot")
}

impl Engine {
    /// Holds seats of an event for a user.
    pub async fn book(
        &self,
        user_id: UserId,
        event_id: EventId,
        seats: i64,
        key: Option<Key<BookingAt>>,
    ) -> Result<Answer<BookingAt>, Error> {
        self.submit(Book { user_id, event_id, seats }, key).await
    }

    /// Pays a booking.
    pub async fn confirm(
        &self,
        actor: Actor,
        event_id: Option<EventId>,
        booking_id: BookingId,
        key: Option<Key<BookingAt>>,
    ) -> Result<Answer<BookingAt>, Error> {
        self.move_booking(actor, event_id, booking_id, Move::Confirm, key).await
    }

    /// Ends a booking.
    pub async fn cancel(
        &self,
        actor: Actor,
        booking_id: BookingId,
        key: Option<Key<BookingAt>>,
    ) -> Result<Answer<BookingAt>, Error> {
        self.move_booking(actor, None, booking_id, Move::Cancel, key).await
    }

    async fn move_booking(
        &self,
        actor: Actor,
        event_id: Option<EventId>,
        booking_id: BookingId,
        to: Move,
        key: Option<Key<BookingAt>>,
    ) -> Result<Answer<BookingAt>, Error> {
        let route = self.store().booking_route(booking_id).await?;
        self.submit(MoveBooking { actor, event_id, booking_id, route, to }, key).await
    }

    /// An event's live bookings older than `before`, newest first: all of them for an admin, the
    /// actor's own for anybody else.
    pub async fn bookings_of_event(
        &self,
        actor: Actor,
        event_id: EventId,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<BookingsPage, StoreError> {
        if !actor.is_admin() {
            return self.bookings_of_user(actor.user_id, Some(event_id), before, limit).await;
        }
        let slots = self.store().slots(event_id, before, limit).await?;
        let ids: Vec<BookingId> = slots.iter().map(|slot| slot.booking_id).collect();
        let next = if ids.len() < limit as usize { None } else { ids.last().copied() };
        Ok(self.page(self.store().bookings(ids).await?, next))
    }

    /// A user's live bookings older than `before`, newest first; on one event or on all.
    pub async fn bookings_of_user(
        &self,
        user_id: UserId,
        event_id: Option<EventId>,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<BookingsPage, StoreError> {
        let bookings = self.store().live_bookings_of_user(user_id, event_id, before, limit).await?;
        let full = bookings.len() >= limit as usize;
        let next = bookings.last().filter(|_| full).map(|booking| booking.id);
        Ok(self.page(bookings, next))
    }

    fn page(&self, bookings: Vec<Booking>, next: Option<BookingId>) -> BookingsPage {
        let at = self.now();
        let is_live = |b: &Booking| b.state != State::Cancelled && !b.is_due(at);
        let live = bookings.into_iter().filter(is_live);
        BookingsPage { bookings: live.map(|booking| BookingAt { booking, at }).collect(), next }
    }
}
