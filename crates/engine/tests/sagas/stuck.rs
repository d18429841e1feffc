//! Whatever keeps a saga from going on is told, with its reason, and tried less and less often.

use std::sync::Arc;
use std::time::Duration;

use eventbooker_core::bookings::State;
use eventbooker_core::bookings::errand::{Errand, LEASE, TRIES_MAX};
use eventbooker_core::bookings::participant::Request;
use eventbooker_core::bookings::saga::{Answer, Ask};
use eventbooker_core::{BookingId, UserId};
use eventbooker_engine::{Neighbours, NoAnswer, Participate, Place};
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::steps_only;
use tokio::time::timeout;

use super::link::{Fault, When};
use super::pair::{Act, Ids, Pair};
use super::solo::Solo;

fn trouble(errand: &Errand) -> Option<&str> {
    errand.trouble.as_deref()
}

/// Waits for the first failure of a purchase's first question. Only some 200 ms pass until it is asked
/// again, which is far less than a lease.
async fn fails_once(fault: Fault, expected: &str) {
    let mut pair = Pair::start(10, 80).await;
    pair.link.plan(Some((0, fault)));
    pair.begin(Act::Purchase);
    let begun = pair.engine().now();
    let errand = pair.until("it fails", |errand| errand.trouble.is_some()).await;
    assert_eq!((errand.tries, trouble(&errand)), (1, Some(expected)));
    let wait = begun.until(errand.due_at).as_millis();
    assert!((150..=250).contains(&wait), "{wait} ms");
    pair.until_at_rest("the purchase").await;
    assert_eq!(pair.answer().await, Some(Ok(State::Complete)));
    pair.finish().await;
}

#[tokio::test]
async fn a_definite_answer_to_something_else_is_a_failure() {
    fails_once(Fault::Muddled, "a booking that is occupying can't hear that it is settled").await;
}

#[tokio::test]
async fn a_participant_that_panics_is_a_failure() {
    fails_once(Fault::Panics, "asking ended in a panic").await;
}

#[tokio::test]
async fn a_participant_that_never_makes_sense_is_parked_at_last() {
    let mut pair = Pair::start(2, 80).await;
    pair.link.plan_often(3, Fault::Muddled, u32::MAX);
    pair.begin(Act::Purchase);
    pair.until_at_rest("the purchase").await;
    pair.begin(Act::Cancel);
    pair.has_been_tried(TRIES_MAX - 2).await;
    let parked = pair.until_parked().await;
    let expected = "a booking that is refunding can't hear that it is settled";
    assert_eq!((parked.tries, trouble(&parked)), (TRIES_MAX, Some(expected)));
    pair.finish().await;
}

/// Each step has all of its tries: what the one before it needed doesn't count.
#[tokio::test]
async fn tries_and_leases_begin_anew_with_each_step() {
    let mut pair = Pair::start(10, 80).await;
    pair.link.plan_often(0, Fault::Fails(When::Before), 3);
    pair.begin(Act::Purchase);
    pair.until("the third try", |errand| errand.tries == 3 && errand.token == 3).await;
    while !pair.link.is_used_up() {
        tokio::task::yield_now().await;
    }
    pair.link.plan(Some((1, Fault::Stalled(When::Before))));
    let stalled = async {
        while !pair.link.is_used_up() {
            pair.tick().await;
        }
    };
    timeout(PATIENCE, stalled).await.expect("the charge is asked for");
    let [errand] = &*pair.errands().await else { panic!("one errand") };
    assert_eq!((errand.token, errand.tries, trouble(errand)), (4, 1, None));
    assert_eq!(errand.due_at, pair.engine().now().plus(LEASE));
    pair.link.resume.notify_one();
    pair.until_at_rest("the purchase").await;
    assert_eq!(pair.answer().await, Some(Ok(State::Complete)));
    pair.finish().await;
}

/// Whoever carried the question is gone, again and again: each time is a try.
#[tokio::test]
async fn whoever_never_comes_back_has_tried() {
    let mut pair = Pair::start(2, 80).await;
    pair.begin(Act::Purchase);
    pair.until_at_rest("the purchase").await;
    pair.link.plan_often(3, Fault::Killed(When::Before), u32::MAX);
    pair.begin(Act::Cancel);
    let second = pair.until("the first is gone", |errand| errand.tries == 2).await;
    let third = pair.until("the second is gone", |errand| errand.tries == 3).await;
    for errand in [&second, &third] {
        assert_eq!(trouble(errand), Some("whoever asked has not brought an answer"));
    }
    let lease = second.due_at.until(third.due_at);
    assert!(lease > LEASE, "the third has it for longer: {lease:?}");
    pair.link.plan(None);
    pair.until_at_rest("the cancellation").await;
    assert_eq!((pair.balance().await, pair.free_seats().await), (80, 2));
    pair.finish().await;
}

struct Bank;

#[async_trait::async_trait]
impl Participate for Bank {
    async fn ask(&self, requests: Vec<Request>) -> Vec<Result<Answer, NoAnswer>> {
        let answer = |request: &Request| match request.ask {
            Ask::Charge => Ok(Answer::Charged),
            Ask::Refund => Ok(Answer::Refunded),
            Ask::Occupy | Ask::Settle | Ask::Release(_) => {
                Err(NoAnswer::Trouble("a bank has no seats".to_owned()))
            }
        };
        requests.iter().map(answer).collect()
    }
}

/// The money is elsewhere, the seats are here, and their row is damaged: the charge is answered, but
/// the slot that it pays for is gone.
#[tokio::test]
async fn an_answer_that_cannot_be_acted_on_is_a_failure() {
    let accounts = Place::Elsewhere(steps_only(&Arc::new(Bank)) as _);
    let solo = Solo::start(Neighbours { accounts, ..Neighbours::default() }).await;
    let event = solo.create_event().await;
    let ids = Ids { event, user: UserId::new(1), booking: BookingId::new(1) };
    assert_eq!(Act::Book.run(solo.engine.clone(), ids).await, Ok(State::Occupied));
    assert_eq!(solo.database.change("DELETE FROM slots"), 1);
    let client = tokio::spawn(Act::Confirm.run(solo.engine.clone(), ids));
    solo.until("it fails", async || solo.errands().await.iter().any(|e| e.trouble.is_some())).await;
    let errand = solo.errands().await.remove(0);
    assert_eq!((errand.tries, trouble(&errand)), (1, Some("its answer could not be acted on")));
    solo.clock.advance(Duration::from_secs(5));
    let answer = timeout(PATIENCE, client).await.expect("nobody waits for ever");
    assert_eq!(answer.expect("a client doesn't panic"), Ok(State::Paying));
    solo.engine.stop().await;
}
