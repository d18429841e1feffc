//! Orders: what people ask of services, and what came of it as far as they know.

use std::fmt;

use eventbooker_core::bookings::Payment;
use eventbooker_core::events::Amendment;
use eventbooker_core::identity::Actor;
use eventbooker_core::{BookingId, Context, EventId, Money, UserId};
use eventbooker_engine::{Answer, Decided, Engine, Error, Key};
use eventbooker_store::AnswerKey;
use eventbooker_testkit::service::{ADMIN, attendee};

use crate::words::{self, Word};

/// What somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Book { event: EventId, seats: u32 },
    Purchase { event: EventId, seats: u32 },
    Confirm { booking: BookingId },
    Cancel { booking: BookingId },
    Deposit { amount: i64 },
    Reprice { event: EventId, price: i64 },
    Resize { event: EventId, capacity: u32 },
    CallOff { event: EventId },
}

impl Deed {
    /// Whose work it is.
    pub(crate) fn service(self) -> Context {
        match self {
            Self::Book { .. }
            | Self::Purchase { .. }
            | Self::Confirm { .. }
            | Self::Cancel { .. } => Context::Bookings,
            Self::Deposit { .. } => Context::Accounts,
            Self::Reprice { .. } | Self::Resize { .. } | Self::CallOff { .. } => Context::Events,
        }
    }
}

impl Deed {
    /// The seats of an event that somebody wants, and whether they are to be paid for at once.
    pub(crate) fn seats(self) -> Option<(EventId, u32, Payment)> {
        match self {
            Self::Book { event, seats } => Some((event, seats, Payment::Later)),
            Self::Purchase { event, seats } => Some((event, seats, Payment::AtOnce)),
            Self::Confirm { .. }
            | Self::Cancel { .. }
            | Self::Deposit { .. }
            | Self::Reprice { .. }
            | Self::Resize { .. }
            | Self::CallOff { .. } => None,
        }
    }

    /// What an organiser wants of an event.
    pub(crate) fn plan(self) -> Option<(EventId, Change)> {
        match self {
            Self::Reprice { event, price } => Some((event, Change::Price(price))),
            Self::Resize { event, capacity } => Some((event, Change::Capacity(capacity))),
            Self::CallOff { event } => Some((event, Change::CalledOff)),
            Self::Book { .. }
            | Self::Purchase { .. }
            | Self::Confirm { .. }
            | Self::Cancel { .. }
            | Self::Deposit { .. } => None,
        }
    }
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Price(i64),
    Capacity(u32),
    CalledOff,
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Book { event, seats } => write!(f, "book {seats} of event {event}"),
            Self::Purchase { event, seats } => write!(f, "buy {seats} of event {event}"),
            Self::Confirm { booking } => write!(f, "confirm booking {booking}"),
            Self::Cancel { booking } => write!(f, "cancel booking {booking}"),
            Self::Deposit { amount } => write!(f, "pay in {amount}"),
            Self::Reprice { event, price } => write!(f, "price event {event} at {price}"),
            Self::Resize { event, capacity } => write!(f, "give event {event} {capacity} seats"),
            Self::CallOff { event } => write!(f, "cancel event {event}"),
        }
    }
}

/// Something that somebody has asked for.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// Which, of all.
    pub(crate) number: usize,
    /// Whose it is.
    pub(crate) user: UserId,
    pub(crate) deed: Deed,
    /// Whether it has a key, by which it can be repeated.
    pub(crate) has_key: bool,
    /// What is known for good.
    pub(crate) settled: Option<String>,
    /// Bookings of which somebody was told meanwhile.
    pub(crate) heard: Vec<BookingId>,
}

/// What somebody was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// This, for good.
    Answer(String),
    /// How it stands for now.
    Meanwhile(String),
    /// That something failed.
    Failed(String),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(words) => f.write_str(words),
            Self::Meanwhile(words) => write!(f, "{words}, for now"),
            Self::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}

impl Order {
    fn actor(&self) -> Actor {
        if self.user == ADMIN.user_id { ADMIN } else { attendee(self.user.get()) }
    }

    fn key<R>(&self, write: fn(&Decided<R>) -> Option<Vec<u8>>) -> Option<Key<R>> {
        let mut fingerprint = [0; 32];
        fingerprint[..8].copy_from_slice(&(self.number as u64).to_le_bytes());
        let key = AnswerKey { scope: self.user, key: format!("order {}", self.number) };
        self.has_key.then_some(Key { key, fingerprint, write })
    }

    /// What is known of it.
    pub(crate) fn word(&self) -> Option<Word> {
        self.settled.as_deref().map(Word::read)
    }

    /// Whether it may have had an effect.
    pub(crate) fn may_have_happened(&self) -> bool {
        self.word() != Some(Word::Refused)
    }

    /// Asks for it.
    pub(crate) async fn place(&self, engine: &Engine) -> Said {
        let (actor, user) = (self.actor(), self.user);
        match self.deed {
            Deed::Book { event, seats } => {
                let key = self.key(|decided| Some(words::of_booking(decided).into_bytes()));
                let answer = engine.book(user, event, i64::from(seats), key).await;
                self.said(answer, words::of_booking)
            }
            Deed::Purchase { event, seats } => {
                let key = self.key(|decided| Some(words::of_booking(decided).into_bytes()));
                let answer = engine.purchase(user, event, i64::from(seats), key).await;
                self.said(answer, words::of_booking)
            }
            Deed::Confirm { booking } => {
                let key = self.key(|decided| Some(words::of_booking(decided).into_bytes()));
                self.said(engine.confirm(actor, None, booking, key).await, words::of_booking)
            }
            Deed::Cancel { booking } => {
                let key = self.key(|decided| Some(words::of_booking(decided).into_bytes()));
                self.said(engine.cancel(actor, booking, key).await, words::of_booking)
            }
            Deed::Deposit { amount } => {
                let key = self.key(|decided| Some(words::of_account(decided).into_bytes()));
                let answer = engine.deposit(actor, user, Money::from_minor(amount), key).await;
                self.said(answer, words::of_account)
            }
            Deed::Reprice { event, price } => {
                let amendment = Amendment { price_minor: Some(price), ..Amendment::default() };
                self.edit(engine, event, amendment).await
            }
            Deed::Resize { event, capacity } => {
                let capacity = Some(i64::from(capacity));
                self.edit(engine, event, Amendment { capacity, ..Amendment::default() }).await
            }
            Deed::CallOff { event } => {
                let key = self.key(|decided| Some(words::of_event(decided).into_bytes()));
                self.said(engine.cancel_event(actor, event, key).await, words::of_event)
            }
        }
    }

    async fn edit(&self, engine: &Engine, event: EventId, amendment: Amendment) -> Said {
        let key = self.key(|decided| Some(words::of_event(decided).into_bytes()));
        let answer = engine.edit_event(self.actor(), event, amendment, key).await;
        self.said(answer, words::of_event)
    }

    fn said<R>(
        &self,
        answer: Result<Answer<R>, Error>,
        say: impl FnOnce(&Decided<R>) -> String,
    ) -> Said {
        match answer {
            Ok(Answer::Kept { answer, .. }) => {
                Said::Answer(String::from_utf8(answer).expect("words are text"))
            }
            // With a key, what is kept is the answer, and it is not there yet.
            Ok(Answer::Given(decided)) if self.has_key => Said::Meanwhile(say(&decided)),
            Ok(Answer::Given(decided)) => Said::Answer(say(&decided)),
            Err(error) => Said::Failed(error.to_string()),
        }
    }
}
