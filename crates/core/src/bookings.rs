//! Bookings: a hold with a deadline that somebody confirms, somebody cancels, or nobody pays.
//!
//! Where a booking stands and where it can go is its [`saga`].
//!
//! Invariants kept here: a hold ends exactly once, and at or after its deadline nothing but its
//! expiry can end it, whether or not the clean-up has run.
//!
//! Absent on purpose: seats that are free and seats that aren't. See [`events`](crate::events).

pub mod errand;
pub mod participant;
pub mod saga;

use std::time::Duration;

use thiserror::Error;

pub use self::saga::{Payment, State};
use crate::events::Seats;
use crate::identity::Actor;
use crate::{BookingId, EventId, Money, Timestamp, UserId};

/// A booking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Booking {
    /// Its number.
    pub id: BookingId,
    /// The event that it is for.
    pub event_id: EventId,
    /// Whose it is.
    pub user_id: UserId,
    /// How many seats.
    pub seats: Seats,
    /// When it is to be paid.
    pub payment: Payment,
    /// What the seats cost together; nothing until they are occupied.
    pub amount: Money,
    /// How often its payment has been begun, those times not counted that were refused at once.
    pub attempt: u32,
    /// Where it stands.
    pub state: State,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its hold ends if nobody pays, or would have ended if it was paid at once. Of a booking that
    /// has no seats yet it says nothing.
    pub expires_at: Timestamp,
}

/// How much one user may hold. Whoever holds seats without paying keeps them from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldLimits {
    /// Seats that one booking may have.
    pub seats_per_booking_max: u32,
    /// Holds that a user may have on one event; `None` lifts the limit.
    pub holds_max: Option<u32>,
    /// Seats that a user may hold on one event; `None` lifts the limit.
    pub held_seats_max: Option<u32>,
}

impl Default for HoldLimits {
    fn default() -> Self {
        Self { seats_per_booking_max: 100, holds_max: Some(5), held_seats_max: Some(100) }
    }
}

impl HoldLimits {
    /// The most seats that one booking may have: more than a user may hold can never be booked.
    pub fn seats_max(&self) -> u32 {
        self.held_seats_max.unwrap_or(u32::MAX).min(self.seats_per_booking_max)
    }

    /// How many of a user's holdings, newest first, are enough to decide whether one more is
    /// allowed; `None` when nothing needs to be known.
    pub fn holdings_needed(&self) -> Option<u32> {
        // Every hold has a seat at least, so as many holds as seats are allowed settle either limit.
        [self.holds_max, self.held_seats_max].into_iter().flatten().min()
    }
}

/// One of a user's holds on an event that may count against the limits: asked for, live, or cancelled.
///
/// Cancelled ones count until the deadline that they had, whether or not they were paid meanwhile.
/// Otherwise a hold could be renewed for ever by cancelling it a moment before its deadline and
/// booking the same seats again; paying and cancelling costs nothing either, because the money comes
/// back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// How many seats it has, or had.
    pub seats: Seats,
    /// When it ends, or would have ended; means nothing while it is only asked for.
    pub expires_at: Timestamp,
    /// How it stands.
    pub kind: HoldingKind,
}

/// How a hold stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldingKind {
    /// Whoever has the seats or the money hasn't answered yet, so nobody knows when it ends. It counts
    /// however it is to be paid: while that participant is away, nothing else limits how much can be
    /// begun.
    Asked,
    /// Seats are held.
    Held,
    /// It was cancelled.
    Cancelled,
}

/// When to look again whether a hold that is only asked for has ended.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl HoldingKind {
    /// How a booking in this state stands as a hold; `None` if it has been paid, or has ended.
    pub const fn of(state: State) -> Option<Self> {
        match state {
            State::Occupying | State::Paying => Some(Self::Asked),
            State::Occupied => Some(Self::Held),
            State::Refunding | State::Releasing | State::Cancelled => Some(Self::Cancelled),
            State::Completing | State::Complete | State::Expiring => None,
        }
    }
}

impl Holding {
    /// What somebody holds with this booking, or did.
    pub fn of(booking: &Booking) -> Option<Self> {
        let Booking { seats, expires_at, state, .. } = *booking;
        HoldingKind::of(state).map(|kind| Self { seats, expires_at, kind })
    }

    /// Until when it counts against another one that is to be paid like this; `None` if it doesn't.
    fn counts_until(&self, payment: Payment, now: Timestamp) -> Option<Timestamp> {
        let until = match (self.kind, payment) {
            (HoldingKind::Asked, _) => now.plus(LOOK_AGAIN),
            (HoldingKind::Held, Payment::AtOnce) => return None,
            (HoldingKind::Held, Payment::Later) | (HoldingKind::Cancelled, _) => self.expires_at,
        };
        (until > now).then_some(until)
    }
}

/// Why a booking isn't made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BookRefusal {
    /// Too few or too many seats in one booking.
    #[error("must be from 1 to {max}")]
    SeatsOutOfRange {
        /// The most that one booking may have.
        max: u32,
    },
    /// The amount can't be written down.
    #[error("the amount for so many seats is too large")]
    AmountTooLarge,
    /// The user holds, or has just given back, as much of this event as anybody may.
    #[error("the limit on unpaid and cancelled bookings of one event is reached")]
    HoldLimit {
        /// When the next of the user's holds stops counting.
        retry_at: Timestamp,
    },
}

/// Why a booking isn't confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ConfirmRefusal {
    /// Its deadline has passed.
    #[error("the payment deadline has passed")]
    Expired,
    /// It was cancelled.
    #[error("the booking was cancelled")]
    Cancelled,
}

/// Why a booking isn't cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CancelRefusal {
    /// Its deadline has passed, so it has ended already.
    #[error("the payment deadline has passed")]
    Expired,
}

/// What somebody wants of a booking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// Seats that are held until they are paid.
    Book,
    /// Seats that are paid at once.
    Purchase,
    /// That a hold is paid.
    Confirm,
    /// That it ends.
    Cancel,
}

/// What a confirmation or a cancellation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The booking moved.
    Taken,
    /// It stood there already: asking twice is asking once.
    Repeated,
    /// The booking is on its way, there or elsewhere, and isn't moved until it has arrived.
    UnderWay,
}

/// Whether a user with these holdings may have `seats` more. Whoever pays at once keeps seats from
/// nobody, so then only what was cancelled counts, and what is under way.
pub fn admit(
    limits: &HoldLimits,
    holdings: &[Holding],
    seats: Seats,
    payment: Payment,
    now: Timestamp,
) -> Result<(), BookRefusal> {
    let counts = |held: &Holding| Some((held.seats, held.counts_until(payment, now)?));
    let counted: Vec<(Seats, Timestamp)> = holdings.iter().filter_map(counts).collect();
    let holds = u64::try_from(counted.len()).unwrap_or(u64::MAX);
    let held_seats: u64 = counted.iter().map(|(seats, _)| u64::from(seats.get())).sum();
    let too_many_holds = limits.holds_max.is_some_and(|max| holds >= u64::from(max));
    let too_many_seats = limits
        .held_seats_max
        .is_some_and(|max| held_seats + u64::from(seats.get()) > u64::from(max));
    if too_many_holds || too_many_seats {
        let retry_at = counted.iter().map(|(_, until)| *until).min().unwrap_or(now);
        return Err(BookRefusal::HoldLimit { retry_at });
    }
    Ok(())
}

/// Whether one booking may have this many seats.
pub fn check_seats(limits: &HoldLimits, seats: i64) -> Result<Seats, BookRefusal> {
    let max = limits.seats_max();
    match u32::try_from(seats) {
        Ok(count) if (1..=max).contains(&count) => Ok(Seats::new(count)),
        _ => Err(BookRefusal::SeatsOutOfRange { max }),
    }
}

impl Booking {
    /// A booking whose seats are yet to be occupied.
    pub fn begin(
        id: BookingId,
        event_id: EventId,
        user_id: UserId,
        seats: Seats,
        payment: Payment,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            event_id,
            user_id,
            seats,
            payment,
            amount: Money::ZERO,
            attempt: 0,
            state: State::Occupying,
            created_at: now,
            expires_at: now,
        }
    }

    /// Whether this actor may see and move the booking. To everybody else it doesn't exist.
    pub fn is_open_to(&self, actor: Actor) -> bool {
        actor.is_admin() || actor.user_id == self.user_id
    }
}

#[cfg(test)]
mod tests;
