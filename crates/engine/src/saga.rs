//! Takes a booking's saga as far as it goes.
//!
//! A participant that lives in the same database answers within the batch, so all steps that it
//! can take are saved in one transaction: either all of them happen or none does. Where the next
//! step lies elsewhere, the saga is saved with an errand, and [`errands`](crate::errands) asks.

use eventbooker_core::accounts::Purpose;
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::bookings::participant::Request;
use eventbooker_core::bookings::saga::{Answer, Ask, Denial};
use eventbooker_core::bookings::{Booking, CancelRefusal, Step};
use eventbooker_core::events::Slot;
use eventbooker_core::{BookingId, Timestamp};

use crate::batch::{Batch, Rules};
use crate::{Refusal, promises, trace};

/// How far a saga has come.
pub(crate) struct Progress {
    /// The booking, unless it is gone.
    pub(crate) booking: Option<Booking>,
    /// Why a participant refused, if one did.
    pub(crate) refusal: Option<Refusal>,
}

/// Asks and answers until there is nothing more to ask here. The booking itself is not put into
/// the batch: what becomes of its row is the caller's business.
///
/// An error is a refusal that the saga has no way around. It comes before anything has changed.
pub(crate) fn run(batch: &mut Batch, booking: Booking) -> Result<Progress, Refusal> {
    let mut progress = Progress { booking: Some(booking), refusal: None };
    while let Some(booking) = progress.booking
        && let Some(request) = booking.request()
        && batch.rules().has(request.ask.of())
    {
        let answer = answer(batch, &request)?;
        progress.refusal = progress.refusal.or(answer.denial().map(Refusal::from));
        let heard = booking.hear(answer, batch.now());
        progress.booking = heard.expect("it hears the answer to what it asked");
    }
    Ok(progress)
}

/// What the participants of this database answer.
pub(crate) fn answer(batch: &mut Batch, request: &Request) -> Result<Answer, Refusal> {
    let now = batch.now();
    Ok(match request.ask {
        Ask::Occupy => occupy(batch, request).unwrap_or_else(Answer::NotOccupied),
        Ask::Charge => {
            let mut account = batch.account(request.user_id);
            match account.charge(request.amount, purpose(request), now) {
                Ok(posting) => {
                    batch.post(account, posting);
                    Answer::Charged
                }
                Err(refusal) => Answer::NotCharged(refusal.into()),
            }
        }
        Ask::Settle => {
            let slot = live_slot(batch, request);
            let event = batch.event_to_change(request.event_id).expect(EVENT_OF_SLOT);
            let (slot, entry) = event.settle(slot, now);
            batch.change_slot(slot, entry);
            Answer::Settled
        }
        Ask::Refund => {
            let mut account = batch.account(request.user_id);
            let posting = account.refund(request.amount, purpose(request), now)?;
            batch.post(account, posting);
            Answer::Refunded
        }
        Ask::Release(why) => {
            let slot = live_slot(batch, request);
            let event = batch.event_to_change(request.event_id).expect(EVENT_OF_SLOT);
            let entry = event.release(slot, why, now);
            batch.remove_slot(slot, entry);
            Answer::Released
        }
    })
}

const EVENT_OF_SLOT: &str = "a live slot has its event";

fn occupy(batch: &mut Batch, request: &Request) -> Result<Answer, Denial> {
    let now = batch.now();
    let event = batch.event(request.event_id).ok_or(Denial::NoSuchEvent)?;
    // What can't be written down can't be paid.
    let amount = event.amount_for(request.seats).ok_or(Denial::AmountTooLarge)?;
    let window = event.plan.payment_window;
    event.may_occupy(request.seats, now)?;
    let event = batch.event_to_change(request.event_id).expect("it was there a moment ago");
    let (slot, entry) =
        event.occupy(request.booking_id, request.seats, now).expect("it may be occupied");
    batch.add_slot(slot, entry);
    Ok(Answer::Occupied { amount, window })
}

fn purpose(request: &Request) -> Purpose {
    Purpose { event_id: request.event_id, booking_id: request.booking_id }
}

fn live_slot(batch: &Batch, request: &Request) -> Slot {
    batch.slot((request.event_id, request.booking_id)).expect("a live booking has its slot")
}

/// Begins to cancel a booking, unless it waits for a participant that is here by now: it has begun when
/// that was elsewhere, and is taken further before it can be taken back.
pub(crate) fn cancel(
    rules: &Rules,
    booking: &mut Booking,
    now: Timestamp,
) -> Result<Step, CancelRefusal> {
    match booking.request() {
        Some(request) if rules.has(request.ask.of()) => Ok(Step::UnderWay),
        Some(_) | None => booking.cancel(now),
    }
}

/// Puts a new booking into the batch, with an errand if its saga goes on elsewhere.
pub(crate) fn add(batch: &mut Batch, booking: Booking) {
    batch.add_booking(booking);
    see_to(batch, &booking, None);
}

/// Puts a booking that has moved into the batch, or removes it, and sees to its errand.
pub(crate) fn change(batch: &mut Batch, before: &Booking, progress: Progress) {
    let Progress { booking, refusal } = progress;
    let Some(booking) = booking else {
        batch.remove_booking(before.id);
        return end_errand(batch, before.id, None, refusal);
    };
    batch.change_booking(booking);
    see_to(batch, &booking, refusal);
}

/// Ends a booking's errand, if it has one, and tells whoever was promised to hear of it.
pub(crate) fn end_errand(
    batch: &mut Batch,
    id: BookingId,
    booking: Option<Booking>,
    refusal: Option<Refusal>,
) {
    promises::keep(batch, id, booking, refusal);
    batch.end_errand(id);
}

fn see_to(batch: &mut Batch, booking: &Booking, refusal: Option<Refusal>) {
    let now = batch.now();
    let Some(request) = booking.request() else {
        return end_errand(batch, booking.id, Some(*booking), refusal);
    };
    let mut errand = match batch.errand(booking.id).cloned() {
        Some(mut errand) => {
            errand.go_on(now);
            errand
        }
        None => Errand::begin(booking.id, booking.event_id, booking.user_id, now),
    };
    // What goes on by itself stays in the trace that it is in.
    errand.trace = trace::current().or(errand.trace);
    batch.ask(errand, request);
}
