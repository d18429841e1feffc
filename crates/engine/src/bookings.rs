//! What can be done with bookings: book, purchase, confirm, cancel, expire.
//!
//! Each begins or moves a booking's [`saga`]. This is where bookings, events and accounts meet: a
//! booking's hold exists exactly as long as its slot, and its charge as long as it is complete.

mod waiting;

use eventbooker_core::bookings::participant::Participant;
use eventbooker_core::bookings::{self, Act, Booking, HoldingKind, Payment, State, Step};
use eventbooker_core::events::{Event, Seats};
use eventbooker_core::identity::Actor;
use eventbooker_core::{BookingId, EventId, Timestamp, UserId};
use eventbooker_store::{BookingRoute, HoldingsOf, SlotsPage, StoreError, Wants};

use crate::batch::{Batch, Rules};
use crate::command::{Answer, Command, Key, Lane};
use crate::{Engine, Error, Refusal, promises, saga};

/// A booking, and the instant at which it stood so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookingAt {
    /// The booking.
    pub booking: Booking,
    /// The instant.
    pub at: Timestamp,
}

impl BookingAt {
    /// The booking if its saga is under way, and what is wanted of it.
    fn under_way(&self, act: Act) -> Option<(BookingId, Act)> {
        (!self.booking.is_at_rest()).then_some((self.booking.id, act))
    }
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
    /// Why nothing is begun for now, if that is so.
    hindrance: Option<Refusal>,
}

impl Command for Book {
    type Reply = BookingAt;

    fn lane(&self) -> Lane {
        Lane::Event(self.event_id)
    }

    fn wants(&self, rules: &Rules, wants: &mut Wants) {
        want_event(rules, wants, self.event_id);
        wants.new_bookings += 1;
        want_holdings(rules, wants, self.event_id, self.user_id);
    }

    fn decide(&self, batch: &mut Batch) -> Result<BookingAt, Refusal> {
        let (now, limits) = (batch.now(), batch.rules().holds);
        let seats = bookings::check_seats(&limits, self.seats)?;
        if batch.rules().has(Participant::Events) {
            // Looked at before a number is given out, so that a refusal leaves the batch as it was.
            let event = batch.event(self.event_id).ok_or(Refusal::NoSuchEvent)?;
            event.amount_for(seats).ok_or(bookings::BookRefusal::AmountTooLarge)?;
            event.may_occupy(seats, now)?;
        }
        let (held, payment) = (batch.holdings(self.event_id, self.user_id), Payment::Later);
        bookings::admit(&limits, held, seats, payment, now)?;
        self.hindrance.clone().map_or(Ok(()), Err)?;
        let booking = begin(batch, self.user_id, self.event_id, seats, payment)?;
        Ok(BookingAt { booking, at: now })
    }

    fn awaits(&self, reply: &BookingAt) -> Option<(BookingId, Act)> {
        reply.under_way(Act::Book)
    }
}

/// A booking that exists, with what its event keeps for it. Where the event is elsewhere it isn't
/// wanted, for a store takes a booking whose event it has locked for locked as well.
pub(crate) fn want_booking(
    rules: &Rules,
    wants: &mut Wants,
    event_id: EventId,
    booking_id: BookingId,
) {
    wants.bookings.push((event_id, booking_id));
    if !rules.is_whole() {
        // Its saga may be under way.
        wants.errands.push(booking_id);
    }
    want_event(rules, wants, event_id);
    if rules.has(Participant::Events) {
        wants.slots.push((event_id, booking_id));
    }
}

pub(crate) fn want_event(rules: &Rules, wants: &mut Wants, event_id: EventId) {
    if rules.has(Participant::Events) {
        wants.events.push(event_id);
    }
}

pub(crate) fn want_account(rules: &Rules, wants: &mut Wants, user_id: UserId) {
    if rules.has(Participant::Accounts) {
        wants.accounts.push(user_id);
    }
}

fn want_holdings(rules: &Rules, wants: &mut Wants, event_id: EventId, user_id: UserId) {
    if let Some(limit) = rules.holds.holdings_needed() {
        let on_their_way = !rules.is_whole();
        wants.holdings.push(HoldingsOf { event_id, user_id, limit, on_their_way });
    }
}

/// Makes a booking and takes it as far as it goes.
fn begin(
    batch: &mut Batch,
    user_id: UserId,
    event_id: EventId,
    seats: Seats,
    payment: Payment,
) -> Result<Booking, Refusal> {
    let id = batch.next_booking_id();
    let begun = Booking::begin(id, event_id, user_id, seats, payment, batch.now());
    let booking = saga::run(batch, begun)?.booking.expect("a new booking stays");
    saga::add(batch, booking);
    if payment == Payment::Later || is_asked(&booking) {
        batch.count_holding(&booking);
    }
    Ok(booking)
}

/// Whether nobody knows yet when it ends, or whether it is paid.
fn is_asked(booking: &Booking) -> bool {
    HoldingKind::of(booking.state) == Some(HoldingKind::Asked)
}

/// Books seats and pays for them at once. The booking is there in the end whether or not that
/// succeeds.
struct Purchase {
    user_id: UserId,
    event_id: EventId,
    seats: i64,
    /// Why nothing is begun for now, if that is so.
    hindrance: Option<Refusal>,
}

impl Command for Purchase {
    type Reply = BookingAt;

    fn lane(&self) -> Lane {
        Lane::Event(self.event_id)
    }

    fn wants(&self, rules: &Rules, wants: &mut Wants) {
        want_event(rules, wants, self.event_id);
        want_account(rules, wants, self.user_id);
        wants.new_bookings += 1;
        want_holdings(rules, wants, self.event_id, self.user_id);
    }

    fn decide(&self, batch: &mut Batch) -> Result<BookingAt, Refusal> {
        let (now, limits) = (batch.now(), batch.rules().holds);
        let seats = bookings::check_seats(&limits, self.seats)?;
        if batch.rules().has(Participant::Events) {
            batch.event(self.event_id).ok_or(Refusal::NoSuchEvent)?;
        }
        let (held, payment) = (batch.holdings(self.event_id, self.user_id), Payment::AtOnce);
        bookings::admit(&limits, held, seats, payment, now)?;
        self.hindrance.clone().map_or(Ok(()), Err)?;
        let booking = begin(batch, self.user_id, self.event_id, seats, payment)?;
        Ok(BookingAt { booking, at: now })
    }

    fn awaits(&self, reply: &BookingAt) -> Option<(BookingId, Act)> {
        reply.under_way(Act::Purchase)
    }

    fn was_in_vain(reply: &BookingAt) -> bool {
        reply.booking.state == State::Cancelled
    }
}

/// What is to happen to a booking that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    Confirm,
    Cancel,
}

impl Move {
    const fn act(self) -> Act {
        match self {
            Self::Confirm => Act::Confirm,
            Self::Cancel => Act::Cancel,
        }
    }
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
            BookingRoute::Exists { event_id, .. } => Lane::Event(event_id),
            BookingRoute::Gone | BookingRoute::Never => Lane::LostBooking(self.booking_id),
        }
    }

    fn wants(&self, rules: &Rules, wants: &mut Wants) {
        if let BookingRoute::Exists { event_id, user_id } = self.route {
            want_booking(rules, wants, event_id, self.booking_id);
            want_account(rules, wants, user_id);
        }
    }

    fn decide(&self, batch: &mut Batch) -> Result<BookingAt, Refusal> {
        let event_id = match self.route {
            BookingRoute::Exists { event_id, .. } => event_id,
            // Numbers are never used twice, so what has ended stays ended.
            BookingRoute::Gone => return Err(Refusal::BookingGone),
            BookingRoute::Never => return Err(Refusal::NoSuchBooking),
        };
        let now = batch.now();
        let was = batch.booking(self.booking_id).ok_or(Refusal::BookingGone)?;
        if !was.is_open_to(self.actor) || self.event_id.is_some_and(|id| id != event_id) {
            return Err(Refusal::NoSuchBooking);
        }
        let mut moved = was;
        let step = match self.to {
            Move::Confirm => moved.confirm(now)?,
            Move::Cancel => saga::cancel(&batch.rules(), &mut moved, now)?,
        };
        match step {
            // Where the event is elsewhere, it isn't in the batch, and nobody asks whether it takes place.
            Step::Taken if self.to == Move::Confirm => {
                batch.event(event_id).map_or(Ok(()), Event::check_takes_place)?;
            }
            Step::Taken => {}
            Step::Repeated | Step::UnderWay => return Ok(BookingAt { booking: was, at: now }),
        }
        let progress = saga::run(batch, moved)?;
        let booking = progress.booking.expect("a booking that somebody moves is still there");
        match (self.to, &progress.refusal) {
            // The hold is what it was, and its owner has until the deadline to find the money.
            (Move::Confirm, Some(refusal)) => return Err(refusal.clone()),
            (Move::Confirm, None) => {
                batch.discount_holding(&was);
                if is_asked(&booking) {
                    batch.count_holding(&booking);
                }
            }
            (Move::Cancel, _) => {
                if matches!(was.state, State::Occupying | State::Occupied) {
                    batch.discount_holding(&was);
                }
                batch.count_holding(&Booking { state: State::Cancelled, ..booking });
                promises::overrule(batch, &booking);
            }
        }
        saga::change(batch, &was, progress);
        Ok(BookingAt { booking, at: now })
    }

    fn awaits(&self, reply: &BookingAt) -> Option<(BookingId, Act)> {
        reply.under_way(self.to.act())
    }
}

/// Ends holds whose deadline has passed. Answers with the deadlines of those that it ended.
pub(crate) struct Expire {
    /// All of one lane.
    pub(crate) holds: Vec<(EventId, BookingId)>,
}

impl Command for Expire {
    type Reply = Vec<Timestamp>;

    fn lane(&self) -> Lane {
        self.holds.first().map_or(Lane::Any, |(event_id, _)| Lane::Event(*event_id))
    }

    fn wants(&self, rules: &Rules, wants: &mut Wants) {
        for (event_id, booking_id) in &self.holds {
            want_booking(rules, wants, *event_id, *booking_id);
        }
    }

    fn decide(&self, batch: &mut Batch) -> Result<Vec<Timestamp>, Refusal> {
        let now = batch.now();
        let mut ended = Vec::with_capacity(self.holds.len());
        for (_, booking_id) in &self.holds {
            // Whoever looked for due holds may have looked a moment ago, by another clock.
            let Some(mut booking) = batch.booking(*booking_id) else { continue };
            let deadline = booking.expires_at;
            if booking.expire(now) {
                let progress = saga::run(batch, booking)?;
                saga::change(batch, &booking, progress);
                ended.push(deadline);
            }
        }
        Ok(ended)
    }
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
        self.may_give_numbers()?;
        let book = || Book { user_id, event_id, seats, hindrance: self.hindrance() };
        self.see_through(Act::Book, key, book).await
    }

    /// Books seats of an event and pays for them at once.
    pub async fn purchase(
        &self,
        user_id: UserId,
        event_id: EventId,
        seats: i64,
        key: Option<Key<BookingAt>>,
    ) -> Result<Answer<BookingAt>, Error> {
        self.may_give_numbers()?;
        let purchase = || Purchase { user_id, event_id, seats, hindrance: self.hindrance() };
        self.see_through(Act::Purchase, key, purchase).await
    }

    /// Why no saga is begun for now: it would only wait, with all those that came before it.
    fn hindrance(&self) -> Option<Refusal> {
        if self.is_crowded() {
            return Some(Refusal::Crowded);
        }
        let first = Participant::Events;
        let until = self.away_until(first)?;
        Some(Refusal::Away { service: first.context(), until })
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
        let moved = || MoveBooking { actor, event_id, booking_id, route, to };
        self.see_through(to.act(), key, moved).await
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
        let SlotsPage { slots, next } = self.slots(event_id, None, before, limit).await?;
        let ids = slots.iter().map(|slot| slot.booking_id).collect();
        Ok(self.page(self.bookings().bookings(ids).await?, next))
    }

    /// A user's live bookings older than `before`, newest first; on one event or on all.
    pub async fn bookings_of_user(
        &self,
        user_id: UserId,
        event_id: Option<EventId>,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<BookingsPage, StoreError> {
        let bookings =
            self.bookings().live_bookings_of_user(user_id, event_id, before, limit).await?;
        let full = bookings.len() >= limit as usize;
        let next = bookings.last().filter(|_| full).map(|booking| booking.id);
        Ok(self.page(bookings, next))
    }

    /// A user's bookings in whatever state, oldest first, above a number. Holds whose deadline has
    /// passed are left out.
    pub async fn all_bookings_of_user(
        &self,
        user_id: UserId,
        after: BookingId,
        limit: u32,
    ) -> Result<BookingsPage, StoreError> {
        let mut bookings = self.bookings().bookings_of_user(user_id, after, limit).await?;
        let full = bookings.len() >= limit as usize;
        let next = bookings.last().filter(|_| full).map(|booking| booking.id);
        let at = self.now();
        bookings.retain(|booking| !booking.is_due(at));
        let bookings = bookings.into_iter().map(|booking| BookingAt { booking, at }).collect();
        Ok(BookingsPage { bookings, next })
    }

    fn page(&self, bookings: Vec<Booking>, next: Option<BookingId>) -> BookingsPage {
        let at = self.now();
        let live = bookings.into_iter().filter(|booking| booking.is_live(at));
        BookingsPage { bookings: live.map(|booking| BookingAt { booking, at }).collect(), next }
    }
}
