//! What clients are told, in words that are kept under their keys and can be read back.

use eventbooker_core::accounts::Account;
use eventbooker_core::bookings::{Act, Booking, State};
use eventbooker_core::events::Event;
use eventbooker_core::{BookingId, Money};
use eventbooker_engine::{BookingAt, Decided};

/// What somebody was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// How a booking stands.
    Booking {
        /// It.
        id: BookingId,
        /// How.
        state: State,
        /// What it costs.
        amount: Money,
    },
    /// A rule said no.
    Refused,
    /// How an event stands.
    Event {
        /// How often it has changed.
        version: i64,
    },
    /// Something else was done.
    Done,
}

impl Word {
    /// What these words say.
    pub(crate) fn read(words: &str) -> Self {
        let mut parts = words.split(' ');
        match parts.next() {
            Some("booking") => {
                let mut number = || parts.next().and_then(|part| part.parse().ok());
                let (id, amount) = (number().expect("a number"), number().expect("an amount"));
                let state = parts.next().expect("a state");
                let state = State::ALL.into_iter().find(|known| known.to_string() == state);
                let state = state.expect("a known state");
                Self::Booking { id: BookingId::new(id), state, amount: Money::from_minor(amount) }
            }
            Some("event") => {
                let version = parts.next_back().and_then(|part| part.parse().ok());
                Self::Event { version: version.expect("a version") }
            }
            Some("no:") => Self::Refused,
            _ => Self::Done,
        }
    }
}

fn in_words<T>(decided: &Decided<T>, say: impl FnOnce(&T) -> String) -> String {
    match &decided.outcome {
        Ok(reply) => say(reply),
        Err(refusal) => format!("no: {refusal}"),
    }
}

/// What became of a booking.
pub(crate) fn of_booking(decided: &Decided<BookingAt>) -> String {
    in_words(decided, |BookingAt { booking, .. }| {
        let Booking { id, amount, state, expires_at, .. } = booking;
        format!("booking {id} {} {state} {}", amount.as_minor(), expires_at.as_micros())
    })
}

/// What became of an account.
pub(crate) fn of_account(decided: &Decided<Account>) -> String {
    in_words(decided, |account| format!("balance {}", account.balance.as_minor()))
}

/// What became of an event.
pub(crate) fn of_event(decided: &Decided<Event>) -> String {
    in_words(decided, |event| format!("event {} version {}", event.id, event.tally.version))
}

/// The same, as it is written down when a saga has come to rest.
pub(crate) fn late_words(_: Act, decided: &Decided<BookingAt>) -> Vec<u8> {
    of_booking(decided).into_bytes()
}
