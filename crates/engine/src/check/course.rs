//! What a booking goes through, as its event's journal and the postings for it tell it.
//!
//! The [overview](super::overview) of all bookings and the [inquiry](super::inquiry) into some of
//! them go by the same rules, those here: what one finds in order the other does too.

use std::fmt;

use eventbooker_core::accounts::{Posting, PostingKind};
use eventbooker_core::bookings::{Booking, State};
use eventbooker_core::events::{JournalKind, Slot, SlotState};
use eventbooker_core::{EventId, Money, UserId};

/// What has been told about a booking so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Course {
    pub(super) hold: Hold,
    pub(super) charge: Charge,
}

/// A booking's hold, by the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Hold {
    #[default]
    Never,
    Held,
    Sold,
    Over,
}

impl Hold {
    /// Whether this can happen to it next: each hold begins once and ends at most once.
    pub(super) fn allows(self, kind: JournalKind) -> bool {
        match kind {
            JournalKind::Created | JournalKind::Edited | JournalKind::EventCancelled => false,
            JournalKind::Held => self == Self::Never,
            JournalKind::Confirmed | JournalKind::Expired => self == Self::Held,
            JournalKind::Cancelled => matches!(self, Self::Held | Self::Sold),
        }
    }

    /// As an entry leaves it, whether or not that was allowed.
    pub(super) fn after(kind: JournalKind) -> Self {
        match kind {
            JournalKind::Created | JournalKind::Edited | JournalKind::EventCancelled => Self::Never,
            JournalKind::Held => Self::Held,
            JournalKind::Confirmed => Self::Sold,
            JournalKind::Cancelled | JournalKind::Expired => Self::Over,
        }
    }

    /// The state of its slot, if it should have one.
    pub(super) fn slot_state(self) -> Option<SlotState> {
        match self {
            Self::Held => Some(SlotState::Held),
            Self::Sold => Some(SlotState::Sold),
            Self::Never | Self::Over => None,
        }
    }
}

/// A booking's charge, by the postings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Charge {
    #[default]
    Never,
    Paid,
    Refunded,
}

impl Charge {
    /// Whether this can be posted next: a booking is charged once and refunded once.
    pub(super) fn allows(self, kind: PostingKind) -> bool {
        match kind {
            PostingKind::Deposit => false,
            PostingKind::Charge => self == Self::Never,
            PostingKind::Refund => self == Self::Paid,
        }
    }

    /// As a posting leaves it, whether or not that was allowed.
    pub(super) fn after(kind: PostingKind) -> Self {
        match kind {
            PostingKind::Deposit => Self::Never,
            PostingKind::Charge => Self::Paid,
            PostingKind::Refund => Self::Refunded,
        }
    }
}

/// What somebody has paid for a booking.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Paid {
    user_id: UserId,
    event_id: EventId,
    amount: Money,
}

impl fmt::Display for Paid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user_id, event_id, amount } = self;
        write!(f, "{} from user {user_id} for event {event_id}", amount.as_minor())
    }
}

impl Paid {
    /// What a posting pays or pays back; `None` if it doesn't say what for.
    pub(super) fn by(posting: &Posting) -> Option<Self> {
        let Posting { user_id, amount, purpose, .. } = *posting;
        purpose.map(|purpose| Self { user_id, event_id: purpose.event_id, amount })
    }
}

/// The slot that a booking should have. While its saga is under way that isn't settled; then it may
/// have the one that the journal speaks of.
pub(super) fn slot_of(booking: &Booking, hold: Hold) -> Option<Slot> {
    let Booking { id, event_id, seats, state, .. } = *booking;
    let state = match state {
        State::Occupied => Some(SlotState::Held),
        State::Complete => Some(SlotState::Sold),
        State::Cancelled => None,
        State::Occupying
        | State::Paying
        | State::Completing
        | State::Refunding
        | State::Releasing
        | State::Expiring => hold.slot_state(),
    };
    state.map(|state| Slot { event_id, booking_id: id, seats, state })
}

/// Whether a booking's event has to exist. Where events are elsewhere, a booking is written down before
/// they are asked; if they don't know the event, all that is left of it is that it was refused.
pub(super) fn has_event(booking: &Booking, hold: Hold) -> bool {
    hold != Hold::Never || slot_of(booking, hold).is_some()
}

/// The charge that a booking should have. While its saga is under way it may have one, for what it
/// costs.
pub(super) fn charge_of(booking: &Booking, charge: Charge) -> Option<Paid> {
    let Booking { user_id, event_id, amount, state, .. } = *booking;
    let is_charged = match state {
        State::Complete => !amount.is_zero(),
        State::Occupied | State::Cancelled => false,
        State::Occupying
        | State::Paying
        | State::Completing
        | State::Refunding
        | State::Releasing
        | State::Expiring => charge == Charge::Paid,
    };
    is_charged.then_some(Paid { user_id, event_id, amount })
}
