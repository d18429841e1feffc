//! Commands, and what a lane does with one whatever it is.
//!
//! A command says which lane it belongs to, which rows it wants, and how it is decided on them.
//! Wrapped up with the client that waits for it, it is a [`Task`], the form in which a lane knows
//! it.

use std::sync::Arc;

use eventbooker_core::bookings::Act;
use eventbooker_core::trace::TraceParent;
use eventbooker_core::{BookingId, EventId, Timestamp, UserId};
use eventbooker_store::{Answer as KeptAnswer, AnswerKey, Wants};
use tokio::sync::oneshot;

use crate::batch::{Batch, Rules};
use crate::errands::{Desk, Waiting};
use crate::{Error, Refusal, promises, trace};

/// Something that changes rows, or is refused.
pub trait Command: Send + 'static {
    /// What it answers with when it isn't refused.
    type Reply: Send + 'static;

    /// Where it has to be decided.
    fn lane(&self) -> Lane;

    /// Adds the rows that it needs.
    fn wants(&self, rules: &Rules, wants: &mut Wants);

    /// Decides it. A refusal leaves the batch as it was.
    fn decide(&self, batch: &mut Batch) -> Result<Self::Reply, Refusal>;

    /// The booking whose saga has to come to rest before there is an answer to remember, and what is wanted
    /// of it; `None` if this reply is the answer.
    fn awaits(&self, _: &Self::Reply) -> Option<(BookingId, Act)> {
        None
    }

    /// Whether nothing came of it, although there are rows that say what was tried.
    fn was_in_vain(_: &Self::Reply) -> bool {
        false
    }
}

/// What a command is about; commands about the same thing are decided in the same lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// An event.
    Event(EventId),
    /// A user.
    User(UserId),
    /// A booking that no longer exists, so that its event isn't known.
    LostBooking(BookingId),
    /// Nothing that exists yet.
    Any,
}

impl Lane {
    /// The index of the lane, among `count` of them.
    pub(crate) fn index(self, count: usize) -> usize {
        let number = match self {
            Self::Event(id) => id.get(),
            Self::User(id) => id.get(),
            Self::LostBooking(id) => id.get(),
            Self::Any => 0,
        };
        usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX) % count
    }
}

/// What a command came to, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided<R> {
    /// The reply or the refusal.
    pub outcome: Result<R, Refusal>,
    /// The instant at which the command took place.
    pub now: Timestamp,
    /// Whether it changed anything by that.
    pub effect: Effect,
}

impl<R> Decided<R> {
    /// A refusal.
    pub(crate) fn refused(refusal: Refusal, now: Timestamp) -> Self {
        Self { outcome: Err(refusal), now, effect: Effect::Never }
    }
}

/// What a client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<R> {
    /// What the command came to.
    Given(Decided<R>),
    /// The answer as it is remembered under the command's key.
    Kept {
        /// What [`Key::write`] made of it.
        answer: Vec<u8>,
        /// When the command took effect, if it did.
        effect: Effect,
    },
}

impl<R> Answer<R> {
    /// What a command without a key came to: nothing is remembered of it.
    pub(crate) fn given(self) -> Result<Decided<R>, Error> {
        match self {
            Self::Given(decided) => Ok(decided),
            Self::Kept { .. } => Err(Error::Bug),
        }
    }
}

/// When a command took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Now.
    Now,
    /// At an earlier time: the answer is the one that was given then.
    Earlier,
    /// Never: it was refused or in vain, or everything was as it asks for.
    Never,
}

/// A client's idempotency key: the command takes effect once, and the same answer is given again.
pub struct Key<R> {
    /// The key and whose it is.
    pub key: AnswerKey,
    /// The digest of what is asked; the same key for anything else is refused.
    pub fingerprint: [u8; 32],
    /// Writes the answer down. `None` where it should not be remembered, because trying again
    /// later is the way out.
    pub write: fn(&Decided<R>) -> Option<Vec<u8>>,
}

// Whatever the answer is, it is only written.
impl<R> Clone for Key<R> {
    fn clone(&self) -> Self {
        let Self { key, fingerprint, write } = self;
        Self { key: key.clone(), fingerprint: *fingerprint, write: *write }
    }
}

/// What a lane says to whoever has sent a command.
pub(crate) struct Heard<R> {
    pub(crate) answer: Answer<R>,
    /// If it waits for a saga, somebody who has listened for that since it was decided.
    pub(crate) waiting: Option<Waiting>,
}

/// A command and whoever waits for it, as a lane sees them.
pub(crate) trait Task: Send {
    fn wants(&self, rules: &Rules, wants: &mut Wants);
    /// Decides the command, or finds its remembered answer. May be called again on another batch.
    fn decide(&mut self, batch: &mut Batch);
    fn has_key(&self) -> bool;
    /// Listens for the saga that the client has to wait for by what was decided last, if it has to.
    fn listen(&mut self, desk: &Arc<Desk>);
    /// Tells the client what was decided last.
    fn answer(self: Box<Self>);
    fn fail(self: Box<Self>, error: &Error);
}

pub(crate) struct Job<C: Command> {
    pub(crate) command: C,
    pub(crate) key: Option<Key<C::Reply>>,
    pub(crate) client: oneshot::Sender<Result<Heard<C::Reply>, Error>>,
    pub(crate) answer: Option<Answer<C::Reply>>,
    pub(crate) waiting: Option<Waiting>,
    /// The trace of whoever waits.
    pub(crate) trace: Option<TraceParent>,
}

impl<C: Command> Job<C> {
    fn decide_now(command: &C, batch: &mut Batch) -> Decided<C::Reply> {
        let (now, before) = (batch.now(), batch.happened());
        let outcome = command.decide(batch);
        let was_in_vain = outcome.as_ref().is_ok_and(C::was_in_vain);
        let has_changed = batch.happened() != before && !was_in_vain;
        let effect = if has_changed { Effect::Now } else { Effect::Never };
        Decided { outcome, now, effect }
    }

    fn decide_with_key(command: &C, key: &Key<C::Reply>, batch: &mut Batch) -> Answer<C::Reply> {
        let now = batch.now();
        if let Some(kept) = batch.answer(&key.key) {
            let refusal = match kept.awaits {
                _ if kept.fingerprint != key.fingerprint => Refusal::KeyReused,
                Some(booking_id) => Refusal::KeyInFlight { booking_id },
                None => {
                    return Answer::Kept { answer: kept.answer.clone(), effect: Effect::Earlier };
                }
            };
            return Answer::Given(Decided::refused(refusal, now));
        }
        let decided = Self::decide_now(command, batch);
        let awaits = decided.outcome.as_ref().ok().and_then(|reply| command.awaits(reply));
        if let Some((booking_id, act)) = awaits {
            // What somebody else has begun isn't this command's.
            if decided.effect == Effect::Now {
                promises::make(batch, key, booking_id, act);
            }
            return Answer::Given(decided);
        }
        let Some(answer) = (key.write)(&decided) else { return Answer::Given(decided) };
        batch.remember(KeptAnswer {
            key: key.key.clone(),
            fingerprint: key.fingerprint,
            answer: answer.clone(),
            awaits: None,
            created_at: now,
        });
        Answer::Kept { answer, effect: decided.effect }
    }
}

impl<C: Command> Task for Job<C> {
    fn wants(&self, rules: &Rules, wants: &mut Wants) {
        wants.answers.extend(self.key.as_ref().map(|key| key.key.clone()));
        self.command.wants(rules, wants);
    }

    fn decide(&mut self, batch: &mut Batch) {
        self.answer = Some(trace::at(self.trace, || match &self.key {
            Some(key) => Self::decide_with_key(&self.command, key, batch),
            None => Answer::Given(Self::decide_now(&self.command, batch)),
        }));
    }

    fn has_key(&self) -> bool {
        self.key.is_some()
    }

    fn listen(&mut self, desk: &Arc<Desk>) {
        let awaited = match &self.answer {
            Some(Answer::Given(Decided { outcome: Ok(reply), .. })) => self.command.awaits(reply),
            Some(_) | None => None,
        };
        self.waiting = awaited.map(|(id, _)| Waiting::begin(desk, id));
    }

    fn answer(self: Box<Self>) {
        let Self { client, answer, waiting, .. } = *self;
        let heard = answer.map(|answer| Heard { answer, waiting }).ok_or(Error::Bug);
        // The client may have hung up; what was decided stays decided.
        let _ = client.send(heard);
    }

    fn fail(self: Box<Self>, error: &Error) {
        let _ = self.client.send(Err(error.clone()));
    }
}
