//! Events and their seats.
//!
//! An event counts its occupied seats, and every occupied seat belongs to one live [`Slot`], which
//! belongs to one booking. Each change of a slot raises the event's version by one and writes one
//! [`JournalEntry`] under that version, so an event's journal has no gaps: version *n* of the
//! event is exactly what its first *n* entries say.
//!
//! Invariants kept here: occupied = sum of the slots' seats, and never more than the capacity.
//!
//! Absent on purpose: who owns a booking, what it costs and when its hold ends. See
//! [`bookings`](crate::bookings).

use std::time::Duration;

use thiserror::Error;

use crate::{BookingId, EventId, Money, Timestamp};

/// The most seats that an event may have.
pub const CAPACITY_MAX: u32 = 1_000_000_000;
/// The highest price of a seat, in minor units.
pub const PRICE_MINOR_MAX: i64 = 1_000_000_000_000;
/// The longest name, in characters.
pub const NAME_CHARS_MAX: usize = 200;
/// The longest description, in characters.
pub const DESCRIPTION_CHARS_MAX: usize = 10_000;
/// The longest payment window, in minutes: 30 days.
pub const PAYMENT_WINDOW_MINUTES_MAX: u32 = 43_200;

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

/// How long a hold of this event may wait for its payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PaymentWindow {
    minutes: u32,
}

impl PaymentWindow {
    /// A window of this many minutes.
    pub const fn from_minutes(minutes: u32) -> Self {
        Self { minutes }
    }

    /// Its length in minutes.
    pub const fn as_minutes(self) -> u32 {
        self.minutes
    }

    /// Its length.
    pub const fn as_duration(self) -> Duration {
        Duration::from_secs(self.minutes as u64 * 60)
    }
}

/// What an organiser fixes about an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Plan {
    /// What it is called.
    pub name: String,
    /// What it is about; may be empty.
    pub description: String,
    /// When it takes place, if that is known.
    pub starts_at: Option<Timestamp>,
    /// How many seats it has.
    pub capacity: Seats,
    /// What one seat costs.
    pub price: Money,
    /// How long a hold waits for its payment.
    pub payment_window: PaymentWindow,
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
}

/// Why a slot's seats fall free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Somebody cancelled the booking.
    Cancelled,
    /// Nobody paid in time.
    Expired,
}

/// A rule that a plan breaks. A client sees all of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PlanFault {
    /// There is no name.
    #[error("must not be empty")]
    NameEmpty,
    /// The name is too long.
    #[error("must have at most {NAME_CHARS_MAX} characters")]
    NameTooLong,
    /// The name holds line breaks or other control characters.
    #[error("must not hold control characters such as line breaks")]
    NameNotPlain,
    /// The description is too long.
    #[error("must have at most {DESCRIPTION_CHARS_MAX} characters")]
    DescriptionTooLong,
    /// The description holds control characters other than line breaks and tabs.
    #[error("must not hold control characters other than line breaks and tabs")]
    DescriptionNotPlain,
    /// The event would lie in the past.
    #[error("must lie in the future")]
    StartsInPast,
    /// Too few or too many seats.
    #[error("must be from 1 to {CAPACITY_MAX}")]
    CapacityOutOfRange,
    /// A price below nothing, or too high.
    #[error("must be from 0 to {PRICE_MINOR_MAX}")]
    PriceOutOfRange,
    /// No time to pay, or too much.
    #[error("must be from 1 to {PAYMENT_WINDOW_MINUTES_MAX} minutes")]
    PaymentWindowOutOfRange,
}

/// What an organiser asks for, before any rule has looked at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What the event is to be called.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// When it is to take place.
    pub starts_at: Option<Timestamp>,
    /// How many seats it is to have.
    pub capacity: i64,
    /// What a seat is to cost, in minor units.
    pub price_minor: i64,
    /// How long a hold is to wait for its payment.
    pub payment_window_minutes: i64,
}

impl Draft {
    /// The plan that this draft describes, or every rule that it breaks.
    pub fn check(&self, now: Timestamp) -> Result<Plan, Vec<PlanFault>> {
        let mut faults = Vec::new();
        let name = self.name.trim();
        if name.is_empty() {
            faults.push(PlanFault::NameEmpty);
        }
        if name.chars().count() > NAME_CHARS_MAX {
            faults.push(PlanFault::NameTooLong);
        }
        if name.chars().any(char::is_control) {
            faults.push(PlanFault::NameNotPlain);
        }
        let description = self.description.trim();
        if description.chars().count() > DESCRIPTION_CHARS_MAX {
            faults.push(PlanFault::DescriptionTooLong);
        }
        if description.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            faults.push(PlanFault::DescriptionNotPlain);
        }
        if self.starts_at.is_some_and(|start| start <= now) {
            faults.push(PlanFault::StartsInPast);
        }
        let capacity = in_range(self.capacity, 1, CAPACITY_MAX);
        if capacity.is_none() {
            faults.push(PlanFault::CapacityOutOfRange);
        }
        if !(0..=PRICE_MINOR_MAX).contains(&self.price_minor) {
            faults.push(PlanFault::PriceOutOfRange);
        }
        let minutes = in_range(self.payment_window_minutes, 1, PAYMENT_WINDOW_MINUTES_MAX);
        if minutes.is_none() {
            faults.push(PlanFault::PaymentWindowOutOfRange);
        }
        let (Some(capacity), Some(minutes), true) = (capacity, minutes, faults.is_empty()) else {
            return Err(faults);
        };
        Ok(Plan {
            name: name.to_owned(),
            description: description.to_owned(),
            starts_at: self.starts_at,
            capacity: Seats::new(capacity),
            price: Money::from_minor(self.price_minor),
            payment_window: PaymentWindow::from_minutes(minutes),
        })
    }
}

fn in_range(number: i64, low: u32, high: u32) -> Option<u32> {
    u32::try_from(number).ok().filter(|n| (low..=high).contains(n))
}

/// Why seats are not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OccupyRefusal {
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
        let mut event = Self { id, plan, tally: Tally::default(), created_at: now };
        let entry = event.record(JournalKind::Created, None, event.plan.capacity, now);
        (event, entry)
    }

    /// Seats that nobody holds or has bought.
    pub fn free_seats(&self) -> Seats {
        Seats::new(self.plan.capacity.get().saturating_sub(self.tally.occupied.get()))
    }

    /// What `seats` of this event cost; `None` when that can't be written down.
    pub fn amount_for(&self, seats: Seats) -> Option<Money> {
        self.plan.price.times(seats.get())
    }

    /// Whether seats could be kept for a booking. Which refusal wins is the order of the guards.
    pub fn may_occupy(&self, seats: Seats, now: Timestamp) -> Result<(), OccupyRefusal> {
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
