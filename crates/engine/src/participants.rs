//! The participants of sagas: where they are, and what ours do for sagas elsewhere.

use std::sync::Arc;

use async_trait::async_trait;
use eventbooker_core::bookings::participant::{
    Duty, Memory, Participant, Remembered, Request, duty,
};
use eventbooker_core::bookings::saga::{Answer, Ask};
use eventbooker_core::events::SlotState;
use eventbooker_store::Wants;
use tokio::task::JoinSet;

use crate::batch::{Batch, Rules};
use crate::command::{Command, Lane};
use crate::{Engine, Error, Refusal, saga};

/// Where a participant's rows are.
#[derive(Clone, Default)]
pub enum Place {
    /// In this engine's database: it is asked within the batch.
    #[default]
    Here,
    /// Elsewhere: it is asked after the commit.
    Elsewhere(Arc<dyn Participate>),
}

/// Where the participants of this engine's sagas are.
#[derive(Clone, Default)]
pub struct Participants {
    /// Whoever has the seats.
    pub events: Place,
    /// Whoever has the money.
    pub accounts: Place,
}

/// Somebody who can be asked, many things at once.
#[async_trait]
pub trait Participate: Send + Sync {
    /// Answers each request, in their order, or says why there is no answer. No answer means that
    /// the step may have been taken or not; whoever asks will ask again.
    async fn ask(&self, requests: Vec<Request>) -> Vec<Result<Answer, String>>;
}

impl Place {
    pub(crate) fn is_here(&self) -> bool {
        matches!(self, Self::Here)
    }
}

/// An engine is a participant for the sagas of others.
#[async_trait]
impl Participate for Engine {
    async fn ask(&self, requests: Vec<Request>) -> Vec<Result<Answer, String>> {
        let mut asked = JoinSet::new();
        let count = requests.len();
        for (place, request) in requests.into_iter().enumerate() {
            let engine = self.clone();
            asked.spawn(async move { (place, engine.submit(Serve { request }, None).await) });
        }
        let mut answers = vec![Err("nobody has answered".to_owned()); count];
        while let Some(joined) = asked.join_next().await {
            let Ok((place, answer)) = joined else { continue };
            answers[place] = match answer {
                Ok(crate::Answer::Given(decided)) => match decided.outcome {
                    Ok(answer) => answer,
                    Err(refusal) => Err(refusal.to_string()),
                },
                Ok(crate::Answer::Kept { .. }) => Err(Error::Bug.to_string()),
                Err(error) => Err(error.to_string()),
            };
        }
        answers
    }
}

/// A saga elsewhere asks for a step of one of our participants.
struct Serve {
    request: Request,
}

impl Command for Serve {
    /// No answer is not a refusal: what was remembered on the way has to be saved all the same.
    type Reply = Result<Answer, String>;

    fn lane(&self) -> Lane {
        match self.request.ask.of() {
            Participant::Events => Lane::Event(self.request.event_id),
            Participant::Accounts => Lane::User(self.request.user_id),
        }
    }

    fn wants(&self, _: &Rules, wants: &mut Wants) {
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

    fn decide(&self, batch: &mut Batch) -> Result<Self::Reply, Refusal> {
        let Request { event_id, booking_id, ask, .. } = self.request;
        let key = self.request.memory_key();
        Ok(match duty(batch.memory(&key), ask) {
            Duty::Say(answer) => Ok(answer),
            Duty::Balk => Err(format!("there is nothing to {ask} for booking {booking_id}")),
            Duty::Entomb => {
                remember(batch, &self.request, Memory::Withdrawn);
                Ok(undone(ask))
            }
            Duty::Decide if ask == Ask::Settle && is_sold(batch, &self.request) => {
                Ok(Answer::Settled)
            }
            Duty::Decide => match saga::answer(batch, &self.request) {
                Ok((answer, refusal)) => {
                    if ask != Ask::Settle {
                        let given = Memory::Given(answer);
                        let memory = if refusal.is_some() { Memory::Refused } else { given };
                        remember(batch, &self.request, memory);
                    }
                    Ok(answer)
                }
                Err(refusal) => Err(refusal.to_string()),
            },
            Duty::Undo
                if ask.of() == Participant::Events
                    && batch.slot((event_id, booking_id)).is_none() =>
            {
                Err(format!("the slot of booking {booking_id} is missing"))
            }
            Duty::Undo => match saga::answer(batch, &self.request) {
                Ok((answer, _)) => {
                    remember(batch, &self.request, Memory::Withdrawn);
                    Ok(answer)
                }
                Err(refusal) => Err(refusal.to_string()),
            },
        })
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
    batch.remember_step(Remembered { key: request.memory_key(), memory, at });
}
