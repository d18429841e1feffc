//! Clients whose sagas go on elsewhere: what they are told when all is over.

use eventbooker_core::BookingId;
use eventbooker_core::bookings::{Act, ConfirmRefusal, State};

use super::BookingAt;
use crate::command::{Answer, Decided};
use crate::{Engine, Error, Refusal};

/// What somebody's wish came to whose saga has ended, or can't end for now; the booking is `None` if it is
/// gone. A refusal is what a participant has said last, if that was a no.
fn verdict(
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

impl Engine {
    /// Waits for a booking's saga, if it goes on elsewhere.
    pub(super) async fn finish(
        &self,
        act: Act,
        answer: Result<Answer<BookingAt>, Error>,
    ) -> Result<Answer<BookingAt>, Error> {
        let Ok(Answer::Given(Decided { outcome: Ok(at), now, effect })) = answer else {
            return answer;
        };
        if at.booking.is_at_rest() {
            return answer;
        }
        let id = at.booking.id;
        let booking = self.at_rest(at).await;
        let refusal = match booking {
            None => self.said_no(id).await,
            Some(at) if at.booking.state == State::Occupied => self.said_no(id).await,
            Some(_) => None,
        };
        Ok(Answer::Given(Decided { outcome: verdict(act, booking, refusal), now, effect }))
    }

    /// Why the participant that was heard last has said no, if it has. Whichever replica has heard it,
    /// it is on record.
    async fn said_no(&self, id: BookingId) -> Option<Refusal> {
        match self.store().saga_steps(id).await {
            Ok(steps) => steps.last().and_then(|step| step.denial).map(Refusal::from),
            Err(error) => {
                tracing::warn!(%error, booking = %id, "could not look why its saga was refused");
                None
            }
        }
    }
}
