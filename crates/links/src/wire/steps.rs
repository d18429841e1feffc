//! Steps of sagas: what is asked of the participants, and what they answer.
//!
//! | item | of | asks to | results |
//! |---|---|---|---|
//! | `occupy` | events | keep seats | `occupied`, `refused` |
//! | `settle` | events | note that they are paid for | `settled` |
//! | `cancel` | events | give them back, and `why` | `released` |
//! | `withdrawal` | account | take what they cost | `charged`, `refused` |
//! | `refund` | account | give it back | `refunded` |
//!
//! And of each `trouble`, which is no answer: the step may have been taken or not.

use eventbooker_core::accounts::InsufficientFunds;
use eventbooker_core::bookings::participant::Request;
use eventbooker_core::bookings::saga::{Answer, Ask, Denial};
use eventbooker_core::events::{EventCancelled, OccupyRefusal, PaymentWindow, Release, Seats};
use eventbooker_core::{BookingId, EventId, Money, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::HasTrouble;

/// A step that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepItem {
    /// The booking.
    pub booking: i64,
    /// The event that it is for.
    pub event: i64,
    /// Whose it is.
    pub user: i64,
    /// When it began, in microseconds of Unix time: that tells it from another one with its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<i64>,
    /// How many seats.
    pub seats: u32,
    /// What they cost, in minor units; 0 until they are occupied.
    pub amount: i64,
    /// Which of the booking's payments this is about; 0 before the first.
    pub attempt: u32,
    /// The step.
    pub step: Step,
    /// Why seats are given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// The trace in which it is asked, as a W3C `traceparent`. Nothing is decided by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// A step of a saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Keep seats.
    Occupy,
    /// Note that the seats are paid for.
    Settle,
    /// Give the seats back.
    Cancel,
    /// Take what the seats cost.
    Withdrawal,
    /// Give back what was taken.
    Refund,
}

/// Why seats are given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Somebody cancelled the booking.
    Cancelled,
    /// Nobody paid in time.
    Expired,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepResult {
    /// The seats are kept.
    Occupied {
        /// What they cost together, in minor units.
        amount: i64,
        /// How long a hold waits for its payment.
        minutes: u32,
    },
    /// The amount is taken.
    Charged {},
    /// The slot is paid for.
    Settled {},
    /// The amount is given back.
    Refunded {},
    /// The seats are free.
    Released {},
    /// The step isn't taken, and never will be.
    Refused(Refused),
    /// There is no answer, for this reason. The step may have been taken or not.
    Trouble(String),
}

/// Why a step isn't taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Refused {
    /// There is no such event.
    NoSuchEvent,
    /// What the seats cost can't be written down.
    AmountTooLarge,
    /// The event is cancelled.
    EventCancelled,
    /// The event has begun.
    EventBegun,
    /// Not one seat is left.
    SoldOut,
    /// Fewer seats are left than asked for.
    TooFewSeats {
        /// How many are left.
        free: u32,
    },
    /// There is too little money in the account.
    TooLittleMoney {
        /// What is in it, in minor units.
        balance: i64,
        /// What was to be taken, in minor units.
        amount: i64,
    },
    /// The step was taken back before it came.
    Withdrawn,
}

impl From<Request> for StepItem {
    fn from(request: Request) -> Self {
        let Request { booking_id, event_id, user_id, begun, seats, amount, attempt, ask, trace } =
            request;
        let (step, why) = match ask {
            Ask::Occupy => (Step::Occupy, None),
            Ask::Settle => (Step::Settle, None),
            Ask::Release(Release::Cancelled) => (Step::Cancel, Some(Why::Cancelled)),
            Ask::Release(Release::Expired) => (Step::Cancel, Some(Why::Expired)),
            Ask::Charge => (Step::Withdrawal, None),
            Ask::Refund => (Step::Refund, None),
        };
        Self {
            booking: booking_id.get(),
            event: event_id.get(),
            user: user_id.get(),
            begun: begun.map(Timestamp::as_micros),
            seats: seats.get(),
            amount: amount.as_minor(),
            attempt,
            step,
            why,
            trace: trace.map(|trace| trace.to_string()),
        }
    }
}

impl TryFrom<StepItem> for Request {
    type Error = String;

    fn try_from(item: StepItem) -> Result<Self, String> {
        let StepItem { booking, event, user, begun, seats, amount, attempt, step, why, trace } =
            item;
        if seats == 0 || amount < 0 {
            return Err(format!("{seats} seats for {amount} are no booking"));
        }
        let ask = match (step, why) {
            (Step::Occupy, _) => Ask::Occupy,
            (Step::Settle, _) => Ask::Settle,
            (Step::Cancel, Some(Why::Cancelled)) => Ask::Release(Release::Cancelled),
            (Step::Cancel, Some(Why::Expired)) => Ask::Release(Release::Expired),
            (Step::Cancel, None) => return Err("to cancel takes a reason".to_owned()),
            (Step::Withdrawal, _) => Ask::Charge,
            (Step::Refund, _) => Ask::Refund,
        };
        Ok(Self {
            booking_id: BookingId::new(booking),
            event_id: EventId::new(event),
            user_id: UserId::new(user),
            begun: begun.map(Timestamp::from_micros),
            seats: Seats::new(seats),
            amount: Money::from_minor(amount),
            attempt,
            ask,
            // One that nobody can read is as good as none.
            trace: trace.and_then(|trace| trace.parse().ok()),
        })
    }
}

impl From<Answer> for StepResult {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Occupied { amount, window } => {
                Self::Occupied { amount: amount.as_minor(), minutes: window.as_minutes() }
            }
            Answer::NotOccupied(why) | Answer::NotCharged(why) => Self::Refused(why.into()),
            Answer::Charged => Self::Charged {},
            Answer::Settled => Self::Settled {},
            Answer::Refunded => Self::Refunded {},
            Answer::Released => Self::Released {},
        }
    }
}

impl HasTrouble for StepResult {
    fn trouble(why: String) -> Self {
        Self::Trouble(why)
    }
}

impl StepResult {
    /// The answer to what was asked, or why it is none.
    pub fn answer(self, asked: Ask) -> Result<Answer, String> {
        Ok(match (asked, self) {
            (Ask::Occupy, Self::Occupied { amount, minutes }) => Answer::Occupied {
                amount: Money::from_minor(amount),
                window: PaymentWindow::from_minutes(minutes),
            },
            (Ask::Occupy, Self::Refused(why)) => Answer::NotOccupied(why.into()),
            (Ask::Charge, Self::Charged {}) => Answer::Charged,
            (Ask::Charge, Self::Refused(why)) => Answer::NotCharged(why.into()),
            (Ask::Settle, Self::Settled {}) => Answer::Settled,
            (Ask::Refund, Self::Refunded {}) => Answer::Refunded,
            (Ask::Release(_), Self::Released {}) => Answer::Released,
            (_, Self::Trouble(trouble)) => return Err(trouble),
            (_, other) => return Err(format!("{other:?} is no answer to {asked}")),
        })
    }
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::NoSuchEvent => Self::NoSuchEvent,
            Denial::AmountTooLarge => Self::AmountTooLarge,
            Denial::Seats(OccupyRefusal::Cancelled(EventCancelled)) => Self::EventCancelled,
            Denial::Seats(OccupyRefusal::Begun) => Self::EventBegun,
            Denial::Seats(OccupyRefusal::SoldOut) => Self::SoldOut,
            Denial::Seats(OccupyRefusal::TooFewSeats { free }) => {
                Self::TooFewSeats { free: free.get() }
            }
            Denial::Money(InsufficientFunds { balance, amount }) => {
                Self::TooLittleMoney { balance: balance.as_minor(), amount: amount.as_minor() }
            }
            Denial::Withdrawn => Self::Withdrawn,
        }
    }
}

impl From<Refused> for Denial {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoSuchEvent => Self::NoSuchEvent,
            Refused::AmountTooLarge => Self::AmountTooLarge,
            Refused::EventCancelled => OccupyRefusal::Cancelled(EventCancelled).into(),
            Refused::EventBegun => OccupyRefusal::Begun.into(),
            Refused::SoldOut => OccupyRefusal::SoldOut.into(),
            Refused::TooFewSeats { free } => {
                OccupyRefusal::TooFewSeats { free: Seats::new(free) }.into()
            }
            Refused::TooLittleMoney { balance, amount } => InsufficientFunds {
                balance: Money::from_minor(balance),
                amount: Money::from_minor(amount),
            }
            .into(),
            Refused::Withdrawn => Self::Withdrawn,
        }
    }
}
