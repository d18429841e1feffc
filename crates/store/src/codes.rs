//! The numbers by which rows say what something is. Both stores write the same ones, and what has
//! been given a number keeps it.

use eventbooker_core::accounts::{InsufficientFunds, PostingKind};
use eventbooker_core::bookings::participant::{Memory, Participant};
use eventbooker_core::bookings::saga::Denial;
use eventbooker_core::bookings::{Act, Booking, HoldingKind, Payment, State};
use eventbooker_core::events::{
    EventCancelled, JournalKind, OccupyRefusal, PaymentWindow, Seats, SlotState,
};
use eventbooker_core::identity::Role;
use eventbooker_core::trace::TraceParent;
use eventbooker_core::{Contexts, Money};

use crate::Checker;

/// The code of bookings whose seats are asked for.
pub(crate) const OCCUPYING: i16 = 1;
/// The code of bookings whose payment is asked for.
pub(crate) const PAYING: i16 = 3;
/// The code of holds. Their index and the queries that use it have to say it word for word.
pub(crate) const OCCUPIED: i16 = 2;
/// The code of bookings that were cancelled and may still count as holdings.
pub(crate) const CANCELLED: i16 = -1;
/// The codes of bookings that are being cancelled.
pub(crate) const CANCELLING: [i16; 2] = [-2, -3];
/// The code of a cancelled booking that never kept anything from anybody: refused, or without a
/// window. A user may have any number of them, and they don't count as holdings, so they lie apart
/// from those that do.
const ENDED_AT_ONCE: i16 = -5;
/// The codes of bookings that have, or are getting, what they are for.
pub(crate) const LIVE: [i16; 4] = [OCCUPIED, PAYING, 5, 4];

pub(crate) const fn of_state(state: State) -> i16 {
    match state {
        State::Occupying => OCCUPYING,
        State::Occupied => OCCUPIED,
        State::Paying => PAYING,
        State::Complete => 4,
        State::Completing => 5,
        State::Cancelled => CANCELLED,
        State::Releasing => CANCELLING[0],
        State::Refunding => CANCELLING[1],
        State::Expiring => -4,
    }
}

/// The codes that bookings' states have.
pub(crate) fn states() -> impl Iterator<Item = i16> {
    State::ALL.into_iter().map(of_state).chain([ENDED_AT_ONCE])
}

/// The code of a booking's state.
pub(crate) fn of_booking(booking: &Booking) -> i16 {
    let ended_at_once =
        booking.state == State::Cancelled && booking.expires_at <= booking.created_at;
    if ended_at_once { ENDED_AT_ONCE } else { of_state(booking.state) }
}

pub(crate) fn state(code: i16) -> Option<State> {
    match code {
        ENDED_AT_ONCE => Some(State::Cancelled),
        code => State::ALL.into_iter().find(|state| of_state(*state) == code),
    }
}

/// How a hold stands whose booking has this code; `None` if it is none.
pub(crate) fn holding(code: i16) -> Option<HoldingKind> {
    state(code).and_then(HoldingKind::of)
}

pub(crate) const fn of_act(act: Act) -> i16 {
    match act {
        Act::Book => 0,
        Act::Purchase => 1,
        Act::Confirm => 2,
        Act::Cancel => 3,
    }
}

pub(crate) const fn act(code: i16) -> Option<Act> {
    match code {
        0 => Some(Act::Book),
        1 => Some(Act::Purchase),
        2 => Some(Act::Confirm),
        3 => Some(Act::Cancel),
        _ => None,
    }
}

pub(crate) const fn of_payment(payment: Payment) -> i16 {
    match payment {
        Payment::Later => 0,
        Payment::AtOnce => 1,
    }
}

pub(crate) const fn payment(code: i16) -> Option<Payment> {
    match code {
        0 => Some(Payment::Later),
        1 => Some(Payment::AtOnce),
        _ => None,
    }
}

pub(crate) const fn of_role(role: Role) -> i16 {
    match role {
        Role::User => 0,
        Role::Admin => 1,
    }
}

pub(crate) const fn role(code: i16) -> Option<Role> {
    match code {
        0 => Some(Role::User),
        1 => Some(Role::Admin),
        _ => None,
    }
}

pub(crate) const fn of_checker(checker: Checker) -> i16 {
    match checker {
        Checker::Operator => 0,
        Checker::Service => 1,
    }
}

pub(crate) const fn checker(code: i16) -> Option<Checker> {
    match code {
        0 => Some(Checker::Operator),
        1 => Some(Checker::Service),
        _ => None,
    }
}

pub(crate) const fn of_slot(state: SlotState) -> i16 {
    match state {
        SlotState::Held => 0,
        SlotState::Sold => 1,
    }
}

pub(crate) const fn slot(code: i16) -> Option<SlotState> {
    match code {
        0 => Some(SlotState::Held),
        1 => Some(SlotState::Sold),
        _ => None,
    }
}

pub(crate) const fn of_entry(kind: JournalKind) -> i16 {
    match kind {
        JournalKind::Created => 0,
        JournalKind::Held => 1,
        JournalKind::Confirmed => 2,
        JournalKind::Cancelled => 3,
        JournalKind::Expired => 4,
        JournalKind::Edited => 5,
        JournalKind::EventCancelled => 6,
    }
}

pub(crate) const fn entry(code: i16) -> Option<JournalKind> {
    match code {
        0 => Some(JournalKind::Created),
        1 => Some(JournalKind::Held),
        2 => Some(JournalKind::Confirmed),
        3 => Some(JournalKind::Cancelled),
        4 => Some(JournalKind::Expired),
        5 => Some(JournalKind::Edited),
        6 => Some(JournalKind::EventCancelled),
        _ => None,
    }
}

pub(crate) const fn of_posting(kind: PostingKind) -> i16 {
    match kind {
        PostingKind::Deposit => 0,
        PostingKind::Charge => 1,
        PostingKind::Refund => 2,
    }
}

pub(crate) const fn posting(code: i16) -> Option<PostingKind> {
    match code {
        0 => Some(PostingKind::Deposit),
        1 => Some(PostingKind::Charge),
        2 => Some(PostingKind::Refund),
        _ => None,
    }
}

pub(crate) const fn of_participant(participant: Participant) -> i16 {
    match participant {
        Participant::Events => 0,
        Participant::Accounts => 1,
    }
}

/// The codes of the participants among these contexts.
pub(crate) fn participants_of(contexts: Contexts) -> Vec<i16> {
    let participants = [Participant::Events, Participant::Accounts];
    let here = participants.into_iter().filter(|it| contexts.has(it.context()));
    here.map(of_participant).collect()
}

pub(crate) const fn participant(code: i16) -> Option<Participant> {
    match code {
        0 => Some(Participant::Events),
        1 => Some(Participant::Accounts),
        _ => None,
    }
}

/// A trace that can't be read is none: a saga goes on without it.
pub(crate) fn trace(text: Option<String>) -> Option<TraceParent> {
    text?.parse().ok()
}

/// A denial as three columns: what it is, what there was, and what was needed.
pub(crate) fn of_denial(denial: Denial) -> (i16, Option<i64>, Option<i64>) {
    match denial {
        Denial::NoSuchEvent => (1, None, None),
        Denial::AmountTooLarge => (2, None, None),
        Denial::Seats(OccupyRefusal::Cancelled(EventCancelled)) => (3, None, None),
        Denial::Seats(OccupyRefusal::Begun) => (4, None, None),
        Denial::Seats(OccupyRefusal::SoldOut) => (5, None, None),
        Denial::Seats(OccupyRefusal::TooFewSeats { free }) => (6, Some(free.get().into()), None),
        Denial::Money(InsufficientFunds { balance, amount }) => {
            (7, Some(balance.as_minor()), Some(amount.as_minor()))
        }
        Denial::Withdrawn => (8, None, None),
    }
}

/// A denial from its three columns.
pub(crate) fn denial(code: i16, had: Option<i64>, needed: Option<i64>) -> Option<Denial> {
    Some(match code {
        1 => Denial::NoSuchEvent,
        2 => Denial::AmountTooLarge,
        3 => Denial::Seats(OccupyRefusal::Cancelled(EventCancelled)),
        4 => Denial::Seats(OccupyRefusal::Begun),
        5 => Denial::Seats(OccupyRefusal::SoldOut),
        6 => {
            let free = Seats::new(u32::try_from(had?).ok()?);
            Denial::Seats(OccupyRefusal::TooFewSeats { free })
        }
        7 => {
            let (balance, amount) = (Money::from_minor(had?), Money::from_minor(needed?));
            Denial::Money(InsufficientFunds { balance, amount })
        }
        8 => Denial::Withdrawn,
        _ => return None,
    })
}

/// A denial's three columns where there may be none.
pub(crate) fn of_denial_if_any(denial: Option<Denial>) -> (Option<i16>, Option<i64>, Option<i64>) {
    denial
        .map(of_denial)
        .map_or((None, None, None), |(code, had, needed)| (Some(code), had, needed))
}

/// A memory as three columns: what it is, and of an offer its amount and its window. A denial has
/// [columns of its own](of_denial).
pub(crate) const fn of_memory(memory: Memory) -> (i16, Option<i64>, Option<u32>) {
    match memory {
        Memory::Occupied { amount, window } => {
            (1, Some(amount.as_minor()), Some(window.as_minutes()))
        }
        Memory::Charged => (2, None, None),
        Memory::Refused(_) => (3, None, None),
        Memory::Withdrawn => (4, None, None),
    }
}

/// A memory from its three columns, and its denial.
pub(crate) fn memory(
    code: i16,
    amount: Option<i64>,
    window: Option<u32>,
    denial: Option<Denial>,
) -> Option<Memory> {
    match code {
        1 => Some(Memory::Occupied {
            amount: Money::from_minor(amount?),
            window: PaymentWindow::from_minutes(window?),
        }),
        2 => Some(Memory::Charged),
        3 => denial.map(Memory::Refused),
        4 => Some(Memory::Withdrawn),
        _ => None,
    }
}
