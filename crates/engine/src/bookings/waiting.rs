//! Clients whose sagas go on elsewhere: how long they wait, and what they are told.

use eventbooker_core::bookings::{Act, Booking, State};
use eventbooker_core::{BookingId, Timestamp};
use eventbooker_store::{AnswerKey, StoreError};

use super::BookingAt;
use crate::command::{Answer, Command, Decided, Effect, Heard, Key};
use crate::errands::{PATIENCE, Waiting};
use crate::promises::verdict;
use crate::{Engine, Error, Refusal};

type Answered = Result<Answer<BookingAt>, Error>;

impl Engine {
    /// Has a command decided, and waits for its saga if that goes on elsewhere. Whoever finds one under way
    /// that somebody else has begun waits for that, and asks once more.
    pub(super) async fn see_through<C: Command<Reply = BookingAt>>(
        &self,
        act: Act,
        key: Option<Key<BookingAt>>,
        command: impl Fn() -> C,
    ) -> Answered {
        let mut heard = self.submit_and_listen(command(), key.clone()).await?;
        let give_up = self.now().plus(PATIENCE);
        loop {
            let Heard { answer, waiting } = heard;
            let Answer::Given(Decided { outcome, effect, now }) = answer else { return Ok(answer) };
            match (outcome, &key) {
                (Err(Refusal::KeyInFlight { booking_id }), Some(key)) => {
                    return self.repeated(act, &key.key, booking_id, give_up).await;
                }
                (Ok(at), _) if at.booking.is_at_rest() => {
                    return Ok(Answer::Given(Decided { outcome: Ok(at), now, effect }));
                }
                (Ok(at), Some(key)) if effect == Effect::Now => {
                    return Ok(self.promised(act, &key.key, at, waiting, give_up).await);
                }
                (Ok(at), None) if effect == Effect::Now => {
                    return Ok(self.rested(act, at, waiting, give_up).await);
                }
                (Ok(at), _) => match self.at_rest(at, waiting, give_up).await {
                    Some(at) if !at.booking.is_at_rest() => return Ok(stands(at, Effect::Never)),
                    Some(_) | None => {
                        heard = self.submit_and_listen(command(), key.clone()).await?;
                    }
                },
                (outcome @ Err(_), _) => {
                    return Ok(Answer::Given(Decided { outcome, now, effect }));
                }
            }
        }
    }

    /// What a command without a key has come to when the saga rests that it has begun.
    async fn rested(
        &self,
        act: Act,
        at: BookingAt,
        waiting: Option<Waiting>,
        give_up: Timestamp,
    ) -> Answer<BookingAt> {
        let id = at.booking.id;
        let found = self.at_rest(at, waiting, give_up).await;
        // A confirmation that was refused leaves the hold as it was; of anything else, nothing stays.
        let is_refused =
            found.is_none_or(|at| act == Act::Confirm && at.booking.state == State::Occupied);
        let refusal = if is_refused { self.said_no(id).await } else { None };
        let outcome = verdict(act, found, refusal);
        // A refusal has left rows behind all the same.
        let is_in_vain =
            outcome.is_ok() && came_to_nothing(act, found.as_ref().map(|at| &at.booking));
        let effect = if is_in_vain { Effect::Never } else { Effect::Now };
        Answer::Given(Decided { outcome, now: self.now(), effect })
    }

    /// The answer to a command with a key when the saga rests that it has begun, or how that stands.
    async fn promised(
        &self,
        act: Act,
        key: &AnswerKey,
        at: BookingAt,
        waiting: Option<Waiting>,
        give_up: Timestamp,
    ) -> Answer<BookingAt> {
        let waiting = waiting.filter(|_| !self.is_held_up(&at.booking));
        match self.kept(key, at.booking.id, waiting, give_up).await {
            Ok(Kept { answer: Some(answer), booking }) => {
                let is_in_vain = came_to_nothing(act, booking.as_ref());
                let effect = if is_in_vain { Effect::Never } else { Effect::Now };
                Answer::Kept { answer, effect }
            }
            Ok(Kept { answer: None, booking }) => {
                let now = self.now();
                stands(booking.map_or(at, |booking| BookingAt { booking, at: now }), Effect::Now)
            }
            Err(error) => {
                // The booking is there all the same, and so is the promise.
                tracing::warn!(%error, booking = %at.booking.id, "could not look how far a saga is");
                stands(at, Effect::Now)
            }
        }
    }

    /// The answer to a command that was given before and is still under way.
    async fn repeated(
        &self,
        act: Act,
        key: &AnswerKey,
        booking_id: BookingId,
        give_up: Timestamp,
    ) -> Answered {
        let Kept { answer, booking } = self.kept(key, booking_id, None, give_up).await?;
        let now = self.now();
        Ok(match (answer, booking, act) {
            (Some(answer), ..) => Answer::Kept { answer, effect: Effect::Earlier },
            (None, Some(booking), Act::Purchase) => {
                stands(BookingAt { booking, at: now }, Effect::Earlier)
            }
            (None, ..) => Answer::Given(Decided::refused(Refusal::KeyInFlight { booking_id }, now)),
        })
    }

    /// Waits for an answer that was promised, and reads how its booking stands then. Whoever has listened
    /// since it was promised needn't look first.
    async fn kept(
        &self,
        key: &AnswerKey,
        id: BookingId,
        mut heard: Option<Waiting>,
        give_up: Timestamp,
    ) -> Result<Kept, StoreError> {
        loop {
            if let Some(waiting) = heard.take() {
                self.until_moved(waiting, give_up).await;
            }
            let waiting = self.listen_for(id);
            let now = self.now();
            let answer = self.store().answer(key.clone()).await?;
            let answer = answer.filter(|answer| answer.awaits.is_none()).map(|it| it.answer);
            let is_over = answer.is_some() || now >= give_up;
            if is_over || self.is_anybody_away() {
                let booking = self.store().bookings(vec![id]).await?.pop();
                if is_over || booking.is_some_and(|booking| self.is_held_up(&booking)) {
                    return Ok(Kept { answer, booking });
                }
            }
            heard = Some(waiting);
        }
    }

    /// Why a participant has said no, if one has; the last that did, for somebody else may have had the
    /// saga go on since. Whichever replica has heard it, it is on record.
    async fn said_no(&self, id: BookingId) -> Option<Refusal> {
        match self.store().saga_steps(id).await {
            Ok(steps) => steps.iter().rev().find_map(|step| step.denial).map(Refusal::from),
            Err(error) => {
                tracing::warn!(%error, booking = %id, "could not look why its saga was refused");
                None
            }
        }
    }
}

/// How far a promise is.
struct Kept {
    /// The answer, once it is written.
    answer: Option<Vec<u8>>,
    /// The booking, unless it is gone.
    booking: Option<Booking>,
}

fn stands(at: BookingAt, effect: Effect) -> Answer<BookingAt> {
    Answer::Given(Decided { outcome: Ok(at), now: at.at, effect })
}

/// Whether somebody has got nothing of what they wanted of a booking that stands like this.
fn came_to_nothing(act: Act, booking: Option<&Booking>) -> bool {
    match (act, booking.map(|booking| booking.state)) {
        (Act::Cancel, _) => false,
        (_, None) | (Act::Confirm, Some(State::Occupied)) => true,
        (_, Some(state)) => {
            matches!(
                state,
                State::Refunding | State::Releasing | State::Expiring | State::Cancelled
            )
        }
    }
}
