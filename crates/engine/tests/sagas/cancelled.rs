//! An event is cancelled whose bookings are paid elsewhere: what is on its way goes back at once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use eventbooker_core::bookings::participant::Request;
use eventbooker_core::bookings::saga::{Answer, Ask};
use eventbooker_core::bookings::{ConfirmRefusal, State};
use eventbooker_core::events::Amendment;
use eventbooker_core::{BookingId, EventId, UserId};
use eventbooker_engine::{Neighbours, NoAnswer, Participate, Place, Refusal};
use eventbooker_testkit::service::{ADMIN, attendee};
use eventbooker_testkit::{outcome, refused, steps_only};
use tokio::sync::Semaphore;

use super::pair::{Act, Ids};
use super::solo::Solo;

/// How soon somebody looks again for bookings to release.
const A_LOOK: Duration = Duration::from_secs(2);

/// Takes and gives back whatever it is asked for; from the slow user when it is told to.
struct Till {
    asked: Mutex<Vec<(BookingId, Ask)>>,
    slow: UserId,
    opened: Semaphore,
}

impl Till {
    fn asked(&self) -> Vec<(BookingId, Ask)> {
        self.asked.lock().expect("nobody panics").clone()
    }
}

#[async_trait]
impl Participate for Till {
    async fn ask(&self, requests: Vec<Request>) -> Vec<Result<Answer, NoAnswer>> {
        let mut answers = Vec::new();
        for Request { booking_id, user_id, ask, .. } in requests {
            self.asked.lock().expect("nobody panics").push((booking_id, ask));
            answers.push(match ask {
                Ask::Charge => {
                    if user_id == self.slow {
                        self.opened.acquire().await.expect("it is never closed").forget();
                    }
                    Ok(Answer::Charged)
                }
                Ask::Refund => Ok(Answer::Refunded),
                Ask::Occupy | Ask::Settle | Ask::Release(_) => {
                    Err(NoAnswer::Trouble("it has no seats".to_owned()))
                }
            });
        }
        answers
    }
}

#[tokio::test]
async fn what_is_being_paid_elsewhere_is_taken_back_at_once() {
    let slow = UserId::new(2);
    let till = Arc::new(Till { asked: Mutex::default(), slow, opened: Semaphore::new(0) });
    let accounts = Place::Elsewhere(steps_only(&till) as _);
    let solo = Solo::start(Neighbours { accounts, ..Neighbours::default() }).await;
    let event = solo.create_event().await;
    let mut booked = Vec::new();
    for user in [1, 2, 3] {
        let answer = solo.engine.book(UserId::new(user), event, 2, None).await;
        booked.push(outcome(answer).expect("there is room").booking.id);
    }
    let [paid, paying, held] = booked[..] else { panic!("three bookings") };
    let confirm = |user, booking| {
        Act::Confirm.run(solo.engine.clone(), Ids { event, user: UserId::new(user), booking })
    };
    assert_eq!(confirm(1, paid).await, Ok(State::Complete));
    let waiting = tokio::spawn(confirm(2, paying));
    solo.until("the till is asked", async || till.asked().len() == 2).await;

    outcome(solo.engine.cancel_event(ADMIN, event, None).await).expect("an admin may");
    solo.until("all are released", async || left(&solo, event).await == (0, 0)).await;
    assert_eq!(states(&solo, &booked).await, [State::Cancelled; 3]);
    let heard = waiting.await.expect("nobody panics");
    assert_eq!(heard, Err(refused(ConfirmRefusal::Cancelled)));
    let late = solo.engine.confirm(attendee(3), None, held, None).await;
    assert_eq!(outcome(late), Err(refused(ConfirmRefusal::Cancelled)));

    // That the money was taken after all is not heard: it has been asked back since.
    till.opened.add_permits(1);
    solo.until("the till is done", async || till.opened.available_permits() == 0).await;
    solo.clock.advance(A_LOOK);
    let mut asked = till.asked();
    let charged = [(paid, Ask::Charge), (paying, Ask::Charge)];
    assert_eq!(asked.drain(..2).collect::<Vec<_>>(), charged);
    asked.sort_by_key(|(id, _)| *id);
    assert_eq!(asked, [(paid, Ask::Refund), (paying, Ask::Refund)]);
    assert_eq!(states(&solo, &booked).await, [State::Cancelled; 3]);
    assert!(solo.errands().await.is_empty());
    let event = solo.engine.store().event(event).await.expect("read").expect("it is there");
    assert_eq!(event.cancellation.map(|it| it.is_releasing), Some(false));
    solo.engine.stop().await;
}

/// Where the events are elsewhere, so are the organiser's commands.
#[tokio::test]
async fn an_organiser_speaks_to_whoever_has_the_events() {
    let till = Till { asked: Mutex::default(), slow: UserId::new(0), opened: Semaphore::new(0) };
    let events = Place::Elsewhere(steps_only(&Arc::new(till)) as _);
    let solo = Solo::start(Neighbours { events, ..Neighbours::default() }).await;
    let event = solo.create_event().await;
    let cancelled = solo.engine.cancel_event(ADMIN, event, None).await;
    assert_eq!(outcome(cancelled), Err(refused(Refusal::NoSuchEvent)));
    let edited = solo.engine.edit_event(ADMIN, event, Amendment::default(), None).await;
    assert_eq!(outcome(edited), Err(refused(Refusal::NoSuchEvent)));
    solo.engine.stop().await;
}

/// An event's pending and confirmed bookings.
async fn left(solo: &Solo, event: EventId) -> (u32, u32) {
    let event = solo.engine.store().event(event).await.expect("read").expect("it is there");
    (event.tally.pending_bookings, event.tally.confirmed_bookings)
}

async fn states(solo: &Solo, ids: &[BookingId]) -> Vec<State> {
    let found = solo.engine.store().bookings(ids.to_vec()).await.expect("read");
    found.iter().map(|booking| booking.state).collect()
}
