//! Events and their seats.
//!
//! An event counts its occupied seats, and every occupied seat belongs to one live [`Slot`], which
//! belongs to one booking. Each change of a slot, and each of what the organiser decides, raises the
//! event's version by one and writes one [`JournalEntry`] under that version, so an event's journal
//! has no gaps: version *n* of the event's seats is exactly what its first *n* entries say.
//!
//! Invariants kept here: occupied = sum of the slots' seats, and never more than the capacity; an
//! event that is cancelled gives no seats, and says for as long as it has some to get back.
//!
//! Absent on purpose: who owns a booking, what it costs and when its hold ends. See
//! [`bookings`](crate::bookings).

mod plan;

use thiserror::Error;

pub use self::plan::{
    Amendment, CAPACITY_MAX, DESCRIPTION_CHARS_MAX, Draft, NAME_CHARS_MAX,
    PAYMENT_WINDOW_MINUTES_MAX, PRICE_MINOR_MAX, PaymentWindow, Plan, PlanFault,
};
use crate::{BookingId, EventId, Money, Timestamp};

/// A number of seats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seats(u32);

impl Seats {
    /// No seats.
    pub const ZERO: Self = Self(0);

    /// This many seats.
    pub const fn new(count: u32) -> Self {
        Self(count)
    }

    /// How many they are.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl std::fmt::Display for Seats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What happened to an event's seats so far. Every change raises `version` by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tally {
    /// Seats that are held or sold.
    pub occupied: Seats,
    /// Bookings that wait for their payment.
    pub pending_bookings: u32,
    /// Bookings that are paid.
    pub confirmed_bookings: u32,
    /// How many changes the event has seen.
    pub version: i64,
}

impl Tally {
    /// Bookings that the event has, paid or not.
    pub fn bookings(self) -> u32 {
        self.pending_bookings.saturating_add(self.confirmed_bookings)
    }
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    /// Its number.
    pub id: EventId,
    /// What the organiser fixed.
    pub plan: Plan,
    /// What happened to its seats.
    pub tally: Tally,
    /// When it was created.
    pub created_at: Timestamp,
    /// That it doesn't take place, if it was cancelled.
    pub cancellation: Option<Cancellation>,
}

/// That an event doesn't take place. It stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cancellation {
    /// Since when.
    pub at: Timestamp,
    /// Whether it still has bookings, which are to be released: exactly as long as it counts any.
    pub is_releasing: bool,
}

/// The part of an event that one booking occupies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The event that the seats belong to.
    pub event_id: EventId,
    /// The booking that they are kept for.
    pub booking_id: BookingId,
    /// How many they are.
    pub seats: Seats,
    /// Whether they are paid for.
    pub state: SlotState,
}

/// Whether a slot's seats can still fall free by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotState {
    /// Until the payment deadline.
    Held,
    /// Paid.
    Sold,
}

/// One change of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct JournalEntry {
    /// The event that changed.
    pub event_id: EventId,
    /// Its version after the change.
    pub version: i64,
    /// What happened.
    pub kind: JournalKind,
    /// The booking that it happened to, if it was one.
    pub booking_id: Option<BookingId>,
    /// The seats that it was about.
    pub seats: Seats,
    /// When.
    pub at: Timestamp,
}

/// What a journal entry reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JournalKind {
    /// The event was created, with this many seats.
    Created,
    /// Seats are held for a booking.
    Held,
    /// A booking was paid; its seats are sold.
    Confirmed,
    /// A booking was cancelled; its seats are free.
    Cancelled,
    /// A hold's deadline passed; its seats are free.
    Expired,
    /// The organiser changed the event, which has this many seats now.
    Edited,
    /// The event was cancelled while this many seats were occupied.
    EventCancelled,
}

/// Why a slot's seats fall free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Somebody cancelled the booking.
    Cancelled,
    /// Nobody paid in time.
    Expired,
}

/// The event doesn't take place, so nobody can get or pay for a seat of it, nor change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[error("the event is cancelled")]
pub struct EventCancelled;

/// Why an event isn't changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EditRefusal {
    /// It is cancelled.
    #[error(transparent)]
    Cancelled(#[from] EventCancelled),
    /// It would break rules.
    #[error("the event would break {} rules", .0.len())]
    Plan(Vec<PlanFault>),
    /// It would have fewer seats than are occupied.
    #[error("{occupied} seats are held or sold")]
    CapacityBelowOccupied {
        /// How many are occupied.
        occupied: Seats,
    },
}

/// Why seats are not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum OccupyRefusal {
    /// The event is cancelled.
    #[error(transparent)]
    Cancelled(#[from] EventCancelled),
    /// The event has begun.
    #[error("the event has begun")]
    Begun,
    /// Not one seat is left.
    #[error("no seats are left")]
    SoldOut,
    /// Some seats are left, but fewer than asked for.
    #[error("only {free} seats are left")]
    TooFewSeats {
        /// How many are left.
        free: Seats,
    },
}

impl Event {
    /// A new event, and the first entry of its journal.
    pub fn create(id: EventId, plan: Plan, now: Timestamp) -> (Self, JournalEntry) {
        let tally = Tally::default();
        let mut event = Self { id, plan, tally, created_at: now, cancellation: None };
        let entry = event.record(JournalKind::Created, None, event.plan.capacity, now);
        (event, entry)
    }

    /// Changes what the organiser fixed. Bookings that were made keep their amounts and deadlines.
    /// `None` if everything is so already.
    pub fn edit(
        &mut self,
        amendment: &Amendment,
        now: Timestamp,
    ) -> Result<Option<JournalEntry>, EditRefusal> {
        self.check_takes_place()?;
        let plan = amendment.check(&self.plan, now).map_err(EditRefusal::Plan)?;
        let occupied = self.tally.occupied;
        if plan.capacity < occupied {
            return Err(EditRefusal::CapacityBelowOccupied { occupied });
        }
        if plan == self.plan {
            return Ok(None);
        }
        self.plan = plan;
        Ok(Some(self.record(JournalKind::Edited, None, self.plan.capacity, now)))
    }

    /// Cancels the event; `None` if it is cancelled already.
    pub fn cancel(&mut self, now: Timestamp) -> Option<JournalEntry> {
        self.check_takes_place().ok()?;
        self.cancellation = Some(Cancellation { at: now, is_releasing: self.has_bookings() });
        Some(self.record(JournalKind::EventCancelled, None, self.tally.occupied, now))
    }

    /// Fails if the event is cancelled.
    pub fn check_takes_place(&self) -> Result<(), EventCancelled> {
        if self.cancellation.is_some() { Err(EventCancelled) } else { Ok(()) }
    }

    /// Whether it has live bookings.
    fn has_bookings(&self) -> bool {
        self.tally.bookings() > 0
    }

    /// Seats that nobody holds or has bought, and that somebody could get.
    pub fn free_seats(&self) -> Seats {
        if self.cancellation.is_some() {
            return Seats::ZERO;
        }
        Seats::new(self.plan.capacity.get().saturating_sub(self.tally.occupied.get()))
    }

    /// What `seats` of this event cost; `None` when that can't be written down.
    pub fn amount_for(&self, seats: Seats) -> Option<Money> {
        self.plan.price.times(seats.get())
    }

    /// Whether seats could be kept for a booking. Which refusal wins is the order of the guards.
    pub fn may_occupy(&self, seats: Seats, now: Timestamp) -> Result<(), OccupyRefusal> {
        self.check_takes_place()?;
        let free = self.free_seats();
        if self.plan.starts_at.is_some_and(|start| start <= now) {
            return Err(OccupyRefusal::Begun);
        }
        if free == Seats::ZERO {
            return Err(OccupyRefusal::SoldOut);
        }
        if seats > free {
            return Err(OccupyRefusal::TooFewSeats { free });
        }
        Ok(())
    }

    /// Keeps seats for a booking.
    pub fn occupy(
        &mut self,
        booking_id: BookingId,
        seats: Seats,
        now: Timestamp,
    ) -> Result<(Slot, JournalEntry), OccupyRefusal> {
        self.may_occupy(seats, now)?;
        let slot = Slot { event_id: self.id, booking_id, seats, state: SlotState::Held };
        self.tally.occupied = Seats::new(self.tally.occupied.get() + seats.get());
        self.tally.pending_bookings += 1;
        let entry = self.record(JournalKind::Held, Some(booking_id), seats, now);
        Ok((slot, entry))
    }

    /// Notes that a held slot is paid for.
    ///
    /// # Panics
    /// If the slot isn't held, or isn't this event's or counted by it: whoever asks has checked the
    /// booking.
    pub fn settle(&mut self, slot: Slot, now: Timestamp) -> (Slot, JournalEntry) {
        assert_eq!(slot.event_id, self.id, "a slot is settled by its own event");
        assert_eq!(slot.state, SlotState::Held, "a slot is settled once");
        self.tally.pending_bookings = one_less(self.tally.pending_bookings);
        self.tally.confirmed_bookings += 1;
        let entry = self.record(JournalKind::Confirmed, Some(slot.booking_id), slot.seats, now);
        (Slot { state: SlotState::Sold, ..slot }, entry)
    }

    /// Gives a slot's seats back. The slot is gone afterwards.
    ///
    /// # Panics
    /// If the slot isn't this event's, or isn't among what it counts.
    pub fn release(&mut self, slot: Slot, why: Release, now: Timestamp) -> JournalEntry {
        assert_eq!(slot.event_id, self.id, "a slot is released by its own event");
        self.tally.occupied = Seats::new(
            self.tally
                .occupied
                .get()
                .checked_sub(slot.seats.get())
                .expect("a live slot's seats are among the occupied ones"),
        );
        let bookings = match slot.state {
            SlotState::Held => &mut self.tally.pending_bookings,
            SlotState::Sold => &mut self.tally.confirmed_bookings,
        };
        *bookings = one_less(*bookings);
        let is_releasing = self.has_bookings();
        self.cancellation = self.cancellation.map(|it| Cancellation { is_releasing, ..it });
        let kind = match why {
            Release::Cancelled => JournalKind::Cancelled,
            Release::Expired => JournalKind::Expired,
        };
        self.record(kind, Some(slot.booking_id), slot.seats, now)
    }

    fn record(
        &mut self,
        kind: JournalKind,
        booking_id: Option<BookingId>,
        seats: Seats,
        at: Timestamp,
    ) -> JournalEntry {
        self.tally.version += 1;
        JournalEntry { event_id: self.id, version: self.tally.version, kind, booking_id, seats, at }
    }
}

fn one_less(bookings: u32) -> u32 {
    bookings.checked_sub(1).expect("a live slot's booking is counted")
}

#[cfg(test)]
mod tests;
