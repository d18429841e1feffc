//! What a participant of a saga remembers of a booking, and what follows from it.
//!
//! Behind a network a question may be lost, come twice, or come late. So a participant remembers
//! what it answered, refusals too, and answers the same again; and whoever takes a step back leaves
//! a tombstone, so that the step itself, should it come late, is refused.
//!
//! | remembered | forward step (occupy, charge) | backward step (release, refund) |
//! |---|---|---|
//! | nothing | is decided, unless the rows say that the seats are given | tombstone; undone first if the rows say that it was taken |
//! | [`Occupied`](Memory::Occupied), [`Charged`](Memory::Charged) | the same yes | is undone, tombstone |
//! | [`Refused`](Memory::Refused) | the same no, for the same reason | nothing to undo |
//! | [`Withdrawn`](Memory::Withdrawn), the tombstone | no | nothing to undo |
//!
//! Steps that were taken here, when bookings and participant still had one database, are not
//! remembered: the rows alone tell of them. So they do when a memory has been forgotten, long after
//! anybody could ask for its step again.

use super::Booking;
use super::saga::{Answer, Ask, Denial};
use crate::events::{PaymentWindow, Seats};
use crate::trace::TraceParent;
use crate::{BookingId, Context, EventId, Money, Timestamp, UserId};

/// What a saga asks of a participant, with everything that the participant needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The booking.
    pub booking_id: BookingId,
    /// The event that it is for.
    pub event_id: EventId,
    /// Whose it is.
    pub user_id: UserId,
    /// When it began: that tells it from another one with its number. Nobody said it before there was
    /// this field.
    pub begun: Option<Timestamp>,
    /// How many seats.
    pub seats: Seats,
    /// What they cost; nothing until they are occupied.
    pub amount: Money,
    /// Which of the booking's payments this is about; 0 before the first.
    pub attempt: u32,
    /// What is asked.
    pub ask: Ask,
    /// The trace in which it is asked. Nothing is decided by it.
    pub trace: Option<TraceParent>,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Participant {
    /// Has the seats.
    Events,
    /// Has the money.
    Accounts,
}

impl Participant {
    /// Whose rows it has.
    pub const fn context(self) -> Context {
        match self {
            Self::Events => Context::Events,
            Self::Accounts => Context::Accounts,
        }
    }
}

impl Ask {
    /// Whom it is for.
    pub const fn of(self) -> Participant {
        match self {
            Self::Occupy | Self::Settle | Self::Release(_) => Participant::Events,
            Self::Charge | Self::Refund => Participant::Accounts,
        }
    }

    /// Whether there is no way but this step: a saga that can't take it is stuck, whereas one that
    /// waits for an occupy or a charge has promised nobody anything yet.
    pub const fn is_forced(self) -> bool {
        match self {
            Self::Occupy | Self::Charge => false,
            Self::Settle | Self::Refund | Self::Release(_) => true,
        }
    }
}

impl Booking {
    /// What the booking asks for next; nothing when it is at rest.
    pub fn request(&self) -> Option<Request> {
        let Self { id, event_id, user_id, seats, amount, attempt, state, created_at, .. } = *self;
        let ask = state.ask()?;
        Some(Request {
            booking_id: id,
            event_id,
            user_id,
            begun: Some(created_at),
            seats,
            amount,
            attempt,
            ask,
            trace: None,
        })
    }

    /// Whether its saga has nowhere to go by itself.
    pub fn is_at_rest(&self) -> bool {
        self.state.ask().is_none()
    }
}

/// What a participant remembers of a booking's step forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Memory {
    /// It gave seats, on these terms.
    Occupied {
        /// What they cost.
        amount: Money,
        /// How long they are kept.
        window: PaymentWindow,
    },
    /// It took the money.
    Charged,
    /// It said no, for this reason.
    Refused(Denial),
    /// It was asked to undo the step, whether or not it had taken it.
    Withdrawn,
}

impl Memory {
    /// What is to be remembered of an answer; nothing where the rows themselves tell.
    pub const fn of(answer: Answer) -> Option<Self> {
        match answer {
            Answer::Occupied { amount, window } => Some(Self::Occupied { amount, window }),
            Answer::Charged => Some(Self::Charged),
            Answer::NotOccupied(why) | Answer::NotCharged(why) => Some(Self::Refused(why)),
            Answer::Settled | Answer::Refunded | Answer::Released => None,
        }
    }

    /// Why it is a no, if one was said.
    pub const fn denial(self) -> Option<Denial> {
        match self {
            Self::Refused(why) => Some(why),
            Self::Occupied { .. } | Self::Charged | Self::Withdrawn => None,
        }
    }

    /// What is said once more to whoever asks for the step again.
    const fn answer(self, ask: Ask) -> Answer {
        match self {
            Self::Occupied { amount, window } => Answer::Occupied { amount, window },
            Self::Charged => Answer::Charged,
            Self::Refused(why) => no(ask, why),
            Self::Withdrawn => no(ask, Denial::Withdrawn),
        }
    }
}

/// Which step a memory is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemoryKey {
    /// Whose memory it is.
    pub participant: Participant,
    /// The booking.
    pub booking_id: BookingId,
    /// Which of its payments; 0 for what the events remember.
    pub attempt: u32,
}

/// A memory and what it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Remembered {
    /// The step.
    pub key: MemoryKey,
    /// What was answered.
    pub memory: Memory,
    /// When.
    pub at: Timestamp,
    /// When the booking began, if that was said.
    pub begun: Option<Timestamp>,
}

impl Remembered {
    /// Whether it is of another booking with the same number.
    pub fn is_of_another(&self, request: &Request) -> bool {
        self.begun.zip(request.begun).is_some_and(|(remembered, asked)| remembered != asked)
    }
}

impl Request {
    /// The memory that it is about.
    pub fn memory_key(&self) -> MemoryKey {
        let participant = self.ask.of();
        let attempt = match participant {
            Participant::Events => 0,
            Participant::Accounts => self.attempt,
        };
        MemoryKey { participant, booking_id: self.booking_id, attempt }
    }

    /// Whether both ask for the same, in whatever trace.
    pub fn asks_for_same(&self, other: &Self) -> bool {
        Self { trace: other.trace, ..*self } == *other
    }
}

/// What a participant has to do, by what it remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Take the step, if the rules allow it, and remember what came of it.
    Decide,
    /// Undo the step, and remember that it is withdrawn.
    Undo,
    /// Only remember that the step is withdrawn, and say so.
    Entomb,
    /// Find out whether the rows say that the step was taken; nothing else tells.
    Look,
    /// Say this, which changes nothing.
    Say(Answer),
    /// Nothing: whoever asks for this hasn't understood the saga.
    Balk,
}

/// What follows from a memory, for what is asked. `was_taken` is whether there is a slot or a charge
/// that is still to be given back, where somebody has looked: it decides what nobody remembers.
pub fn duty(memory: Option<Memory>, ask: Ask, was_taken: Option<bool>) -> Duty {
    match ask {
        Ask::Occupy | Ask::Charge => match memory {
            // It was answered long ago, and has been forgotten since: whoever asks once more asks late.
            None if ask == Ask::Occupy && was_taken == Some(true) => Duty::Balk,
            None => Duty::Decide,
            Some(memory) => Duty::Say(memory.answer(ask)),
        },
        Ask::Settle => match memory {
            // The slot itself knows whether it is settled.
            Some(Memory::Occupied { .. } | Memory::Charged) => Duty::Decide,
            None if was_taken == Some(true) => Duty::Decide,
            None | Some(Memory::Refused(_) | Memory::Withdrawn) => Duty::Balk,
        },
        Ask::Release(_) => undo(memory, was_taken, Answer::Released),
        Ask::Refund => undo(memory, was_taken, Answer::Refunded),
    }
}

fn undo(memory: Option<Memory>, was_taken: Option<bool>, done: Answer) -> Duty {
    match (memory, was_taken) {
        (None, None) => Duty::Look,
        (None, Some(false)) => Duty::Entomb,
        (None, Some(true)) | (Some(Memory::Occupied { .. } | Memory::Charged), _) => Duty::Undo,
        (Some(Memory::Refused(_) | Memory::Withdrawn), _) => Duty::Say(done),
    }
}

const fn no(ask: Ask, why: Denial) -> Answer {
    match ask {
        Ask::Charge => Answer::NotCharged(why),
        Ask::Occupy | Ask::Settle | Ask::Refund | Ask::Release(_) => Answer::NotOccupied(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::InsufficientFunds;
    use crate::events::{OccupyRefusal, Release};

    #[test]
    fn a_participant_repeats_itself_and_refuses_what_was_withdrawn() {
        let offer = Answer::Occupied {
            amount: Money::from_minor(5),
            window: PaymentWindow::from_minutes(1),
        };
        let (occupied, charged) = (Memory::of(offer), Memory::of(Answer::Charged));
        let full = Denial::Seats(OccupyRefusal::TooFewSeats { free: Seats::new(1) });
        let (balance, amount) = (Money::from_minor(4), Money::from_minor(5));
        let poor = Denial::Money(InsufficientFunds { balance, amount });
        let full = Answer::NotOccupied(full);
        let poor = Answer::NotCharged(poor);
        let (refused, unpaid) = (Memory::of(full), Memory::of(poor));
        let withdrawn = Some(Memory::Withdrawn);
        let no_seats = Answer::NotOccupied(Denial::Withdrawn);
        let no_money = Answer::NotCharged(Denial::Withdrawn);
        let release = Ask::Release(Release::Expired);
        let table = [
            (None, Ask::Occupy, Duty::Decide),
            (occupied, Ask::Occupy, Duty::Say(offer)),
            (refused, Ask::Occupy, Duty::Say(full)),
            (withdrawn, Ask::Occupy, Duty::Say(no_seats)),
            (None, Ask::Charge, Duty::Decide),
            (charged, Ask::Charge, Duty::Say(Answer::Charged)),
            (unpaid, Ask::Charge, Duty::Say(poor)),
            (withdrawn, Ask::Charge, Duty::Say(no_money)),
            (None, Ask::Settle, Duty::Balk),
            (occupied, Ask::Settle, Duty::Decide),
            (refused, Ask::Settle, Duty::Balk),
            (withdrawn, Ask::Settle, Duty::Balk),
            (None, release, Duty::Entomb),
            (occupied, release, Duty::Undo),
            (refused, release, Duty::Say(Answer::Released)),
            (withdrawn, release, Duty::Say(Answer::Released)),
            (None, Ask::Refund, Duty::Entomb),
            (charged, Ask::Refund, Duty::Undo),
            (unpaid, Ask::Refund, Duty::Say(Answer::Refunded)),
            (withdrawn, Ask::Refund, Duty::Say(Answer::Refunded)),
        ];
        for (memory, ask, expected) in table {
            let (seen, unseen) = (Some(true), Some(false));
            assert_eq!(duty(memory, ask, unseen), expected, "{memory:?}, {ask:?}");
            if memory.is_some() {
                assert_eq!(duty(memory, ask, seen), expected, "{memory:?}, {ask:?}: it remembers");
                assert_eq!(duty(memory, ask, None), expected, "{memory:?}, {ask:?}: it remembers");
            }
        }
    }

    #[test]
    fn what_nobody_remembers_is_told_by_the_rows() {
        let release = Ask::Release(Release::Cancelled);
        let table = [
            (Ask::Occupy, [Duty::Decide, Duty::Decide, Duty::Balk]),
            (Ask::Charge, [Duty::Decide; 3]),
            (Ask::Settle, [Duty::Balk, Duty::Balk, Duty::Decide]),
            (release, [Duty::Look, Duty::Entomb, Duty::Undo]),
            (Ask::Refund, [Duty::Look, Duty::Entomb, Duty::Undo]),
        ];
        for (ask, expected) in table {
            let duties = [None, Some(false), Some(true)].map(|seen| duty(None, ask, seen));
            assert_eq!(duties, expected, "{ask:?}");
        }
    }
}
