//! A process that was stopped in the middle of a saga and comes back when another has taken over.

use std::sync::Arc;
use std::time::Duration;

use eventbooker_core::bookings::errand::LEASE;
use eventbooker_core::bookings::{ConfirmRefusal, State};
use eventbooker_testkit::ManualClock;
use eventbooker_testkit::clock::{NEW_YEAR, PATIENCE};
use eventbooker_testkit::database::is_embedded;
use eventbooker_testkit::refused;
use tokio::time::timeout;

use super::link::{Fault, When};
use super::pair::{Act, Pair};

/// The first engine stands still, and its clock with it, after the charge and before it has heard
/// of it. The second takes over when the lease has ended, and stands still before it asks. What the
/// first has to say then is not heard: only the second may move the saga.
#[tokio::test]
async fn whoever_was_taken_over_from_is_not_heard() {
    let mut pair = Pair::start(10, 80).await;
    pair.link.plan(Some((1, Fault::Stalled(When::After))));
    pair.begin(Act::Purchase);
    timeout(PATIENCE, pair.link.stalled.notified()).await.expect("it is charged");
    assert_eq!(pair.balance().await, 0);

    let clock = Arc::new(ManualClock::at(NEW_YEAR.plus(LEASE)));
    let link = pair.another_link();
    link.plan(Some((0, Fault::Stalled(When::Before))));
    let second = pair.another(&link, &clock).await;
    timeout(PATIENCE, link.stalled.notified()).await.expect("it is taken over");
    let [errand] = &*pair.errands().await else { panic!("one errand") };
    assert_eq!(errand.token, 2);

    pair.link.resume.notify_one();
    pair.hears_everything().await;
    let state = pair.booking().await.map(|booking| booking.state);
    assert_eq!(state, Some(State::Paying), "only the second may move it");

    link.resume.notify_one();
    let done = async {
        while !pair.errands().await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, done).await.expect("the second finishes it");
    let state = pair.booking().await.map(|booking| booking.state);
    assert_eq!((state, pair.balance().await), (Some(State::Complete), 0));
    assert_eq!(pair.steps().await.len(), 3, "each step once");
    pair.pass(Duration::from_secs(60)).await;
    second.stop().await;
    pair.finish().await;
}

/// The first engine stands still with a refusal in its hands. Meanwhile the second has told the
/// booking's owner, who has paid in and confirms once more. That is another errand, whose token is 1
/// again; but the refusal was of another payment, and is not heard.
#[tokio::test]
async fn an_answer_to_an_earlier_errand_is_not_heard() {
    let mut pair = Pair::refused().await;

    let clock = Arc::new(ManualClock::at(NEW_YEAR.plus(LEASE)));
    let link = pair.another_link();
    let second = pair.another(&link, &clock).await;
    let rested = async {
        while !pair.errands().await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, rested).await.expect("it is taken over");
    let state = pair.booking().await.map(|booking| booking.state);
    assert_eq!(state, Some(State::Occupied), "for want of money");

    pair.deposit(80).await;
    link.plan(Some((1, Fault::Stalled(When::Before))));
    let confirmed = tokio::spawn(Act::Confirm.run(second.clone(), pair.ids));
    timeout(PATIENCE, link.stalled.notified()).await.expect("it is asked once more");
    let [errand] = &*pair.errands().await else { panic!("one errand") };
    assert_eq!(errand.token, 1, "as the first confirmation's");

    pair.link.resume.notify_one();
    pair.hears_everything().await;
    let state = pair.booking().await.map(|booking| booking.state);
    assert_eq!(state, Some(State::Paying), "nobody has answered this payment yet");

    link.resume.notify_one();
    let answer = timeout(PATIENCE, confirmed).await.expect("it is answered");
    assert_eq!(answer.expect("a client doesn't panic"), Ok(State::Complete));
    assert_eq!(pair.balance().await, 0);
    second.stop().await;
    pair.finish().await;
}

/// One engine is about to save a confirmation when another wants to cancel. Where the event is
/// elsewhere nothing but the booking itself can be locked, and the embedded store locks everything.
#[tokio::test]
async fn two_engines_move_a_booking_one_after_the_other() {
    if is_embedded() {
        return;
    }
    let mut pair = Pair::start(10, 80).await;
    pair.begin(Act::Book);
    pair.until_at_rest("the hold").await;
    let second = pair.another(&pair.link, &pair.clock).await;

    let mut held = pair.faults.hold_next_save();
    pair.begin(Act::Confirm);
    held.reached().await;
    let saves = pair.faults.saves_tried();
    let cancelled = tokio::spawn(Act::Cancel.run(second.clone(), pair.ids));
    let second_is_there = async {
        while pair.faults.saves_tried() == saves && !pair.somebody_waits_for_a_booking() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, second_is_there).await.expect("it waits, or doesn't");
    assert_eq!(pair.faults.saves_tried(), saves, "it waits");
    held.let_go();
    let cancelled = timeout(PATIENCE, cancelled).await.expect("it is answered");
    assert_eq!(cancelled.expect("a client doesn't panic"), Ok(State::Cancelled));
    // The first looks now and then how far the second has come, by a clock that stands still.
    pair.pass(Duration::from_secs(1)).await;
    assert_eq!(pair.answer().await, Some(Err(refused(ConfirmRefusal::Cancelled))));
    pair.until_at_rest("the cancellation").await;
    assert_eq!((pair.balance().await, pair.free_seats().await), (80, 10));
    assert_eq!(pair.link.contradictions(), [""; 0]);
    second.stop().await;
    pair.finish().await;
}
