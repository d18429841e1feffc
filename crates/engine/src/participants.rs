//! The participants of sagas: how they are asked, and what ours do for sagas elsewhere.

use async_trait::async_trait;
use eventbooker_core::Timestamp;
use eventbooker_core::accounts::PostingKind;
use eventbooker_core::bookings::participant::{
    Duty, Memory, Participant, Remembered, Request, duty,
};
use eventbooker_core::bookings::saga::{Answer, Ask};
use eventbooker_core::events::SlotState;
use eventbooker_store::{StoreError, Wants};
use thiserror::Error;

use crate::batch::{Batch, Rules};
use crate::command::{Command, Lane};
use crate::{Engine, Error, Refusal, saga, trace};

/// Why there is no answer. The step may have been taken or not; whoever asks will ask again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoAnswer {
    /// Nothing was heard, as of anything else that was asked together with it: nobody could be
    /// reached, nobody spoke in time, nothing could be understood. That says nothing of this step.
    #[error("{why}")]
    Silence {
        /// Why nothing was heard.
        why: String,
        /// When it is worth asking again, if anybody knows.
        until: Option<Timestamp>,
    },
    /// Whoever was asked has trouble with this very step.
    #[error("{0}")]
    Trouble(String),
}

impl NoAnswer {
    /// Nothing was heard, and nobody knows for how long.
    pub fn silence(why: impl Into<String>) -> Self {
        Self::Silence { why: why.into(), until: None }
    }
}

impl From<Error> for NoAnswer {
    fn from(error: Error) -> Self {
        match error {
            // One that can't be decided is to blame for it.
            Error::Bug => Self::Trouble(error.to_string()),
            Error::Overloaded | Error::Draining | Error::LostState | Error::Store(_) => {
                Self::silence(error.to_string())
            }
        }
    }
}

/// Whether it is worth while to ask somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// As far as anybody knows.
    Available,
    /// Not before this instant.
    AwayUntil(Timestamp),
}

/// Somebody who can be asked, many things at once.
#[async_trait]
pub trait Participate: Send + Sync {
    /// Whether there would be an answer now, as far as that is known without asking.
    fn availability(&self) -> Availability {
        Availability::Available
    }

    /// Answers each request, in their order, or says why there is no answer.
    async fn ask(&self, requests: Vec<Request>) -> Vec<Result<Answer, NoAnswer>>;
}

/// An engine is a participant for the sagas of others.
#[async_trait]
impl Participate for Engine {
    async fn ask(&self, requests: Vec<Request>) -> Vec<Result<Answer, NoAnswer>> {
        let mut answers = vec![Err(NoAnswer::silence("nobody has answered")); requests.len()];
        let asked = requests.into_iter().enumerate();
        let mut asked: Vec<Asked> =
            asked.map(|(place, request)| Asked { place, request, was_charged: None }).collect();
        for Asked { request, .. } in &asked {
            trace::at(request.trace, || {
                tracing::debug!(booking = %request.booking_id, ask = %request.ask, "asked");
            });
        }
        while !asked.is_empty() {
            // Whoever asks has waited before: that there is much to do is no reason to say nothing.
            let served = self.decide_all(asked, Asked::lane, |asked| ServeAll { asked }).await;
            asked = Vec::new();
            for (again, said) in served {
                let place = again.place;
                answers[place] = match said {
                    Ok(Said::Answer(answer)) => Ok(answer),
                    Ok(Said::Trouble(trouble)) => Err(NoAnswer::Trouble(trouble)),
                    Ok(Said::Look) => match self.has_charge(&again.request).await {
                        Ok(found) => {
                            asked.push(Asked { was_charged: Some(found), ..again });
                            continue;
                        }
                        Err(error) => Err(Error::from(error).into()),
                    },
                    Err(error) => Err(error.into()),
                };
            }
        }
        answers
    }
}

impl Engine {
    /// Whether an account has been charged for a booking and not refunded, by its postings.
    async fn has_charge(&self, request: &Request) -> Result<bool, StoreError> {
        let postings = self.store().postings_for(request.booking_id).await?;
        let newest = postings.iter().rfind(|posting| posting.user_id == request.user_id);
        Ok(newest.is_some_and(|posting| posting.kind == PostingKind::Charge))
    }
}

/// A saga elsewhere asks for a step of one of our participants.
#[derive(Clone)]
struct Asked {
    /// Where in the call.
    place: usize,
    request: Request,
    /// Whether its booking has been charged and not refunded, if somebody has looked. What nobody
    /// remembers was posted long ago, so it doesn't change any more.
    was_charged: Option<bool>,
}

/// What a participant says. No answer is not a refusal: what was remembered on the way has to be
/// saved all the same.
enum Said {
    Answer(Answer),
    /// There is no answer, for this reason.
    Trouble(String),
    /// Whether the booking was charged has to be found out first.
    Look,
}

impl Asked {
    fn lane(&self) -> Lane {
        match self.request.ask.of() {
            Participant::Events => Lane::Event(self.request.event_id),
            Participant::Accounts => Lane::User(self.request.user_id),
        }
    }

    fn wants(&self, wants: &mut Wants) {
        let Request { event_id, booking_id, user_id, ask, .. } = self.request;
        wants.memories.push(self.request.memory_key());
        match ask.of() {
            Participant::Events => {
                wants.events.push(event_id);
                wants.slots.push((event_id, booking_id));
            }
            Participant::Accounts => wants.accounts.push(user_id),
        }
    }

    fn decide(&self, batch: &mut Batch) -> Said {
        let Request { event_id, booking_id, ask, .. } = self.request;
        let has_slot = batch.slot((event_id, booking_id)).is_some();
        let was_taken = match ask.of() {
            Participant::Events => Some(has_slot),
            Participant::Accounts => self.was_charged,
        };
        let remembered = batch.remembered(&self.request.memory_key());
        // Whoever asks has lost that one, and given its number to this one.
        if remembered.is_some_and(|remembered| remembered.is_of_another(&self.request)) {
            let trouble = format!("another booking is remembered by the number {booking_id}");
            return Said::Trouble(trouble);
        }
        let memory = remembered.map(|remembered| remembered.memory);
        match duty(memory, ask, was_taken) {
            Duty::Say(answer) => Said::Answer(answer),
            Duty::Look => Said::Look,
            Duty::Balk if ask == Ask::Occupy => {
                Said::Trouble(format!("booking {booking_id} has its seats already"))
            }
            Duty::Balk => {
                Said::Trouble(format!("there is nothing to {ask} for booking {booking_id}"))
            }
            Duty::Entomb => {
                remember(batch, &self.request, Memory::Withdrawn);
                Said::Answer(undone(ask))
            }
            Duty::Decide | Duty::Undo if needs_slot(ask) && !has_slot => {
                Said::Trouble(format!("the slot of booking {booking_id} is missing"))
            }
            Duty::Decide if ask == Ask::Settle && is_sold(batch, &self.request) => {
                Said::Answer(Answer::Settled)
            }
            Duty::Decide => match saga::answer(batch, &self.request) {
                Ok(answer) => {
                    if let Some(memory) = Memory::of(answer) {
                        remember(batch, &self.request, memory);
                    }
                    Said::Answer(answer)
                }
                Err(refusal) => Said::Trouble(refusal.to_string()),
            },
            Duty::Undo => match saga::answer(batch, &self.request) {
                Ok(answer) => {
                    remember(batch, &self.request, Memory::Withdrawn);
                    Said::Answer(answer)
                }
                Err(refusal) => Said::Trouble(refusal.to_string()),
            },
        }
    }
}

/// What sagas elsewhere ask for together. None of them has anything to do with another.
struct ServeAll {
    /// All of one lane.
    asked: Vec<Asked>,
}

impl Command for ServeAll {
    type Reply = Vec<Said>;

    fn lane(&self) -> Lane {
        self.asked.first().map_or(Lane::Any, Asked::lane)
    }

    fn wants(&self, _: &Rules, wants: &mut Wants) {
        self.asked.iter().for_each(|asked| asked.wants(wants));
    }

    fn decide(&self, batch: &mut Batch) -> Result<Vec<Said>, Refusal> {
        let decide = |asked: &Asked| trace::at(asked.request.trace, || asked.decide(batch));
        Ok(self.asked.iter().map(decide).collect())
    }
}

fn needs_slot(ask: Ask) -> bool {
    match ask {
        Ask::Settle | Ask::Release(_) => true,
        Ask::Occupy | Ask::Charge | Ask::Refund => false,
    }
}

fn is_sold(batch: &Batch, request: &Request) -> bool {
    let slot = batch.slot((request.event_id, request.booking_id));
    slot.is_some_and(|slot| slot.state == SlotState::Sold)
}

fn undone(ask: Ask) -> Answer {
    match ask.of() {
        Participant::Events => Answer::Released,
        Participant::Accounts => Answer::Refunded,
    }
}

fn remember(batch: &mut Batch, request: &Request, memory: Memory) {
    let at = batch.now();
    let (key, begun) = (request.memory_key(), request.begun);
    batch.remember_step(Remembered { key, memory, at, begun });
}
