//! Answers that are owed to clients whose sagas go on elsewhere.
//!
//! A command with a key whose saga doesn't rest at once is remembered without an answer, and the errand
//! carries the promise of one. In the transaction in which the saga comes to rest, whoever has taken it
//! there writes the answer: this process or another one, now or after an outage. So whoever repeats
//! the command is told what became of it, and never only how it began.

use eventbooker_core::BookingId;
use eventbooker_core::bookings::errand::{Errand, Promise};
use eventbooker_core::bookings::{Act, Booking, ConfirmRefusal, State};
use eventbooker_store::{Answer, AnswerKey};

use crate::batch::Batch;
use crate::bookings::BookingAt;
use crate::command::{Decided, Effect};
use crate::{Key, Refusal};

/// Writes the answer down that somebody gets who wanted this of a booking.
pub type WriteAnswer = fn(Act, &Decided<BookingAt>) -> Vec<u8>;

/// Remembers a command whose answer waits for a booking's saga.
pub(crate) fn make<R>(batch: &mut Batch, key: &Key<R>, booking_id: BookingId, act: Act) {
    batch.remember(Answer {
        key: key.key.clone(),
        fingerprint: key.fingerprint,
        answer: Vec::new(),
        awaits: Some(booking_id),
        created_at: batch.now(),
    });
    let AnswerKey { scope, key } = key.key.clone();
    let mut errand = batch.errand(booking_id).cloned().expect("a saga under way has its errand");
    errand.promise = Some(Promise { scope, key, act });
    batch.set_errand(errand);
}

/// Answers whoever was promised to be told what becomes of this booking, which has come to rest or is gone.
/// A refusal is what a participant has just said, if that was a no.
pub(crate) fn keep(
    batch: &mut Batch,
    id: BookingId,
    booking: Option<Booking>,
    refusal: Option<Refusal>,
) {
    let promise = batch.errand(id).and_then(|errand| errand.promise.clone());
    let Some(Promise { scope, key, act }) = promise else { return };
    let now = batch.now();
    let at = booking.map(|booking| BookingAt { booking, at: now });
    let decided = Decided { outcome: verdict(act, at, refusal), now, effect: Effect::Now };
    batch.complete_answer(AnswerKey { scope, key }, &decided, act);
}

/// Answers whoever waits for a booking that somebody cancels before its saga has come to rest: to them it
/// is cancelled.
pub(crate) fn overrule(batch: &mut Batch, booking: &Booking) {
    keep(batch, booking.id, Some(Booking { state: State::Cancelled, ..*booking }), None);
    if let Some(errand) = batch.errand(booking.id).cloned() {
        batch.set_errand(Errand { promise: None, ..errand });
    }
}

/// What somebody's wish has come to whose saga has ended, or can't end for now; the booking is `None` if it
/// is gone. A refusal is what a participant has said last, if that was a no.
pub(crate) fn verdict(
    act: Act,
    booking: Option<BookingAt>,
    refusal: Option<Refusal>,
) -> Result<BookingAt, Refusal> {
    let Some(at) = booking else { return Err(refusal.unwrap_or(Refusal::BookingGone)) };
    match (act, at.booking.state) {
        (Act::Confirm, State::Occupied) => refusal.map_or(Ok(at), Err),
        // Somebody has cancelled it meanwhile.
        (
            Act::Book | Act::Confirm,
            State::Cancelled | State::Refunding | State::Releasing | State::Expiring,
        ) => Err(ConfirmRefusal::Cancelled.into()),
        (
            Act::Book | Act::Confirm,
            State::Occupying
            | State::Occupied
            | State::Paying
            | State::Completing
            | State::Complete,
        )
        | (Act::Purchase | Act::Cancel, _) => Ok(at),
    }
}
