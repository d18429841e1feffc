//! The saga of a booking: seats first, then money, then done; or, step by step, back again.
//!
//! A booking's state is its saga's state; there is no second log. In each state one participant is
//! asked for one thing, again and again until it has given a definite answer, and only a definite
//! answer moves the saga. A participant that lives in the same database answers at once, so that
//! all steps are taken in one transaction; one behind a network takes its time, and the saga
//! doesn't know the difference.
//!
//! | state | seed's number | whom it asks for what | what each answer leads to |
//! |---|---|---|---|
//! | [`Occupying`](State::Occupying) | 1 | events: occupy the seats | occupied → `Occupied`, or on with the payment if that is [at once](Payment::AtOnce); refused → `Cancelled`, or gone if it was to be paid later: nobody has ever had anything of it; cancelled → `Releasing` |
//! | [`Occupied`](State::Occupied) | 2 | nobody: the hold waits for its owner, until the deadline | confirmed → `Paying`, or `Completing` if it costs nothing; cancelled → `Releasing`; deadline → `Expiring` |
//! | [`Paying`](State::Paying) | 3 | accounts: charge the amount | charged → `Completing`; refused → `Occupied`, or `Releasing` if the payment was to be at once; cancelled → `Refunding` |
//! | [`Completing`](State::Completing) | 3 | events: settle the slot | settled → `Complete`; cancelled → `Refunding`, or `Releasing` if it cost nothing |
//! | [`Complete`](State::Complete) | 4 | nobody | cancelled → `Refunding`, or `Releasing` if it cost nothing |
//! | [`Refunding`](State::Refunding) | -2 | accounts: refund the amount | refunded → `Releasing` |
//! | [`Releasing`](State::Releasing) | -2 | events: release the seats | released → `Cancelled` |
//! | [`Expiring`](State::Expiring) | -2 | events: release the seats | released → the booking is gone |
//! | [`Cancelled`](State::Cancelled) | -1 | nobody | |
//!
//! The seed's 0, created, is the state of a booking that has not been written down.
//!
//! Invariants kept here: money is charged only for seats that are occupied, and seats are released
//! only after the money is back. The charge is the pivot: once it is made the saga goes forward
//! only, unless somebody cancels it. While a booking is being paid its deadline doesn't count, so that a
//! payment and an expiry never both win.
//!
//! Whoever cancels doesn't wait for what is under way. The step that was asked for is taken back, whether
//! or not it has been taken, and the participant sees to it that it isn't taken later (see
//! [`participant`](super::participant)).

use std::fmt;

use thiserror::Error;

use super::{Booking, CancelRefusal, ConfirmRefusal, Step};
use crate::accounts::InsufficientFunds;
use crate::events::{OccupyRefusal, PaymentWindow, Release};
use crate::{Money, Timestamp};

/// Where a booking stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Seats are asked for.
    Occupying,
    /// Its seats are held until the deadline.
    Occupied,
    /// Money is asked for.
    Paying,
    /// It is paid, and its seats are to be sold.
    Completing,
    /// It is paid, and its seats are sold.
    Complete,
    /// It is cancelled, and its owner is to have the money back.
    Refunding,
    /// It is cancelled, and its seats are to be free again.
    Releasing,
    /// Nobody paid in time, and its seats are to be free again.
    Expiring,
    /// It has ended, and its seats are free.
    Cancelled,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Occupying,
        Self::Occupied,
        Self::Paying,
        Self::Completing,
        Self::Complete,
        Self::Refunding,
        Self::Releasing,
        Self::Expiring,
        Self::Cancelled,
    ];

    /// What a booking in this state asks for; nothing when it is at rest.
    pub const fn ask(self) -> Option<Ask> {
        match self {
            Self::Occupying => Some(Ask::Occupy),
            Self::Paying => Some(Ask::Charge),
            Self::Completing => Some(Ask::Settle),
            Self::Refunding => Some(Ask::Refund),
            Self::Releasing => Some(Ask::Release(Release::Cancelled)),
            Self::Expiring => Some(Ask::Release(Release::Expired)),
            Self::Occupied | Self::Complete | Self::Cancelled => None,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Occupying => "occupying",
            Self::Occupied => "occupied",
            Self::Paying => "paying",
            Self::Completing => "completing",
            Self::Complete => "complete",
            Self::Refunding => "refunding",
            Self::Releasing => "releasing",
            Self::Expiring => "expiring",
            Self::Cancelled => "cancelled",
        })
    }
}

/// When a booking is to be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Payment {
    /// When its owner says so, before the deadline.
    Later,
    /// As soon as the seats are occupied; without the money they are released.
    AtOnce,
}

/// What a saga asks a participant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Of the events: to keep seats.
    Occupy,
    /// Of the accounts: to take what the seats cost.
    Charge,
    /// Of the events: to note that the seats are paid for.
    Settle,
    /// Of the accounts: to give back what was taken.
    Refund,
    /// Of the events: to give the seats back.
    Release(Release),
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Occupy => "occupy",
            Self::Charge => "charge",
            Self::Settle => "settle",
            Self::Refund => "refund",
            Self::Release(Release::Cancelled) => "release (cancelled)",
            Self::Release(Release::Expired) => "release (expired)",
        })
    }
}

/// What a participant answers. A participant that has answered once gives the same answer again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The seats are kept, at this price and for this long.
    Occupied {
        /// What they cost together.
        amount: Money,
        /// How long a hold waits for its payment.
        window: PaymentWindow,
    },
    /// The seats are not kept, for this reason.
    NotOccupied(Denial),
    /// The amount is taken.
    Charged,
    /// The amount is not taken, for this reason.
    NotCharged(Denial),
    /// The slot is paid for.
    Settled,
    /// The amount is given back.
    Refunded,
    /// The seats are free.
    Released,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Occupied { amount, window } => {
                let (amount, minutes) = (amount.as_minor(), window.as_minutes());
                return write!(f, "occupied for {amount}, to be paid within {minutes} minutes");
            }
            Self::NotOccupied(why) => return write!(f, "not occupied: {why}"),
            Self::Charged => "charged",
            Self::NotCharged(why) => return write!(f, "not charged: {why}"),
            Self::Settled => "settled",
            Self::Refunded => "refunded",
            Self::Released => "released",
        })
    }
}

impl Answer {
    /// Why it is a no, if it is one.
    pub const fn denial(self) -> Option<Denial> {
        match self {
            Self::NotOccupied(why) | Self::NotCharged(why) => Some(why),
            Self::Occupied { .. }
            | Self::Charged
            | Self::Settled
            | Self::Refunded
            | Self::Released => None,
        }
    }
}

/// Why a participant says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Denial {
    /// There is no such event.
    #[error("there is no such event")]
    NoSuchEvent,
    /// What the seats cost can't be written down.
    #[error("the amount for so many seats is too large")]
    AmountTooLarge,
    /// The event gives no seats, or not so many.
    #[error(transparent)]
    Seats(#[from] OccupyRefusal),
    /// There isn't enough money.
    #[error(transparent)]
    Money(#[from] InsufficientFunds),
    /// The step was taken back before it came.
    #[error("it was taken back before")]
    Withdrawn,
}

/// An answer to something that the booking didn't ask for: a bug, or a stranger's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a booking that is {state} can't hear that it is {answer}")]
pub struct OutOfTurn {
    /// Where the booking stands.
    pub state: State,
    /// What it was told.
    pub answer: Answer,
}

impl Booking {
    /// Whether the hold's deadline has passed unpaid, so that the booking has ended logically.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.state == State::Occupied && self.expires_at <= now
    }

    /// Whether the booking has, or is getting, what it is for: its seats, now or for good.
    pub fn is_live(&self, now: Timestamp) -> bool {
        match self.state {
            State::Occupied => !self.is_due(now),
            State::Paying | State::Completing | State::Complete => true,
            State::Occupying
            | State::Refunding
            | State::Releasing
            | State::Expiring
            | State::Cancelled => false,
        }
    }

    /// Begins to pay a hold.
    pub fn confirm(&mut self, now: Timestamp) -> Result<Step, ConfirmRefusal> {
        match self.state {
            State::Occupied if self.is_due(now) => Err(ConfirmRefusal::Expired),
            State::Occupied => {
                self.begin_payment();
                Ok(Step::Taken)
            }
            State::Complete => Ok(Step::Repeated),
            State::Occupying | State::Paying | State::Completing => Ok(Step::UnderWay),
            State::Expiring => Err(ConfirmRefusal::Expired),
            State::Refunding | State::Releasing | State::Cancelled => {
                Err(ConfirmRefusal::Cancelled)
            }
        }
    }

    /// Begins to end the booking because somebody asked for it.
    pub fn cancel(&mut self, now: Timestamp) -> Result<Step, CancelRefusal> {
        self.state = match self.state {
            State::Occupied if self.is_due(now) => return Err(CancelRefusal::Expired),
            State::Expiring => return Err(CancelRefusal::Expired),
            State::Cancelled => return Ok(Step::Repeated),
            State::Refunding | State::Releasing => return Ok(Step::UnderWay),
            State::Occupying => {
                // Nobody knows yet how long it would have been held, and it counts as cancelled all the
                // same: otherwise one could begin and cancel without end.
                self.expires_at = now.plus(PaymentWindow::SHORTEST.as_duration());
                State::Releasing
            }
            State::Paying => State::Refunding,
            State::Completing | State::Complete if !self.amount.is_zero() => State::Refunding,
            State::Completing | State::Complete | State::Occupied => State::Releasing,
        };
        Ok(Step::Taken)
    }

    /// Begins to end a hold that nobody has paid in time; whether it was one.
    pub fn expire(&mut self, now: Timestamp) -> bool {
        let is_due = self.is_due(now);
        if is_due {
            self.state = State::Expiring;
        }
        is_due
    }

    /// The booking after an answer; `None` when it is gone.
    pub fn hear(mut self, answer: Answer, now: Timestamp) -> Result<Option<Self>, OutOfTurn> {
        self.state = match (self.state, answer) {
            (State::Occupying, Answer::Occupied { amount, window }) => {
                self.amount = amount;
                // Whoever pays at once has no deadline, but cancels against the same limit.
                self.expires_at = now.plus(window.as_duration());
                match self.payment {
                    Payment::Later => State::Occupied,
                    Payment::AtOnce => {
                        self.begin_payment();
                        self.state
                    }
                }
            }
            (State::Paying, Answer::Charged) => State::Completing,
            (State::Paying, Answer::NotCharged(_)) => match self.payment {
                Payment::Later => State::Occupied,
                Payment::AtOnce => {
                    // Nobody chose to cancel it, so it doesn't count as cancelled.
                    self.expires_at = self.created_at;
                    State::Releasing
                }
            },
            (State::Completing, Answer::Settled) => State::Complete,
            (State::Refunding, Answer::Refunded) => State::Releasing,
            (State::Occupying, Answer::NotOccupied(_)) => match self.payment {
                // A hold that isn't given has never been one.
                Payment::Later => return Ok(None),
                Payment::AtOnce => State::Cancelled,
            },
            (State::Releasing, Answer::Released) => State::Cancelled,
            (State::Expiring, Answer::Released) => return Ok(None),
            (
                state,
                Answer::Occupied { .. }
                | Answer::NotOccupied(_)
                | Answer::Charged
                | Answer::NotCharged(_)
                | Answer::Settled
                | Answer::Refunded
                | Answer::Released,
            ) => return Err(OutOfTurn { state, answer }),
        };
        Ok(Some(self))
    }

    fn begin_payment(&mut self) {
        if self.amount.is_zero() {
            self.state = State::Completing;
        } else {
            // What was answered to an earlier attempt must not answer this one.
            self.attempt = self.attempt.saturating_add(1);
            self.state = State::Paying;
        }
    }
}
