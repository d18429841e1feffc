//! Errands that nobody carries are taken up, whatever lies beside them; here, where all participants
//! are in one database, by taking their steps.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::time::Duration;

use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::bookings::{Booking, State};
use eventbooker_core::{BookingId, EventId};
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::service::attendee;
use eventbooker_testkit::{Service, outcome};
use tokio::time::timeout;

/// At least as long as it takes until the store is looked at again.
const A_LOOK: Duration = Duration::from_secs(2);

/// How long a saga that can't be taken up is left alone at first.
const LEFT_ALONE: Duration = Duration::from_secs(60);

/// A service with a purchase of two seats for 80 out of 100.
async fn with_purchase() -> (Service, EventId, Booking) {
    let service = Service::start().await;
    let event_id = service.create_event(1000, 40, 30).await;
    service.add_users([1]).await;
    service.deposit(1, 100).await.expect("an admin may pay in");
    let bought = service.purchase(1, event_id, 2).await.expect("there is room");
    assert_eq!(bought.state, State::Complete);
    (service, event_id, bought)
}

/// The purchase as a killed process left it, when the money was still elsewhere: its refund is due.
fn leave_refunding(service: &Service, id: BookingId) {
    service.sql(&format!("UPDATE bookings SET state = -3 WHERE id = {id}"));
    add_errand(service, id);
}

fn add_errand(service: &Service, id: BookingId) {
    let due = service.now().as_micros();
    service.sql(&format!(
        "INSERT INTO errands
           (booking_id, event_id, user_id, token, due_at, tries, trouble, parked)
           VALUES ({id}, 1, 1, 1, {due}, 1, NULL, false)"
    ));
}

async fn errands(service: &Service) -> Vec<Errand> {
    service.store().errands(BookingId::new(0), 10_000).await.expect("read")
}

async fn state(service: &Service, id: BookingId) -> Option<State> {
    let found = service.store().bookings(vec![id]).await.expect("read");
    found.first().map(|booking| booking.state)
}

/// Fails unless the purchase is taken back.
async fn assert_taken_back(service: &Service, bought: &Booking) {
    assert_eq!(state(service, bought.id).await, Some(State::Cancelled));
    let stands = (service.balance(1).await, service.free_seats(bought.event_id).await);
    assert_eq!(stands, (100, 1000));
}

#[tokio::test]
async fn a_saga_that_began_elsewhere_ends_here() {
    let (service, _, bought) = with_purchase().await;
    leave_refunding(&service, bought.id);
    service.pass(A_LOOK).await;
    assert_taken_back(&service, &bought).await;
    assert_eq!(errands(&service).await, []);
    service.finish().await;
}

/// Without any time passing: the saga is taken up as soon as the operator says so, and the client is
/// woken by its moving.
#[tokio::test]
async fn whoever_waits_for_such_a_saga_is_told_at_once() {
    let (service, _, bought) = with_purchase().await;
    leave_refunding(&service, bought.id);
    service.sql("UPDATE errands SET parked = true");
    let engine = service.engine().clone();
    let cancelled = tokio::spawn(async move { engine.cancel(attendee(1), bought.id, None).await });
    service.settle_with(1).await;
    let parked = errands(&service).await.remove(0);
    assert_eq!(service.engine().retry_saga(parked).await, Ok(true));
    let answer = timeout(PATIENCE, cancelled).await.expect("it is answered");
    let at = outcome(answer.expect("a client doesn't panic")).expect("its owner may");
    assert_eq!(at.booking.state, State::Cancelled);
    assert_taken_back(&service, &bought).await;
    service.finish().await;
}

/// Nobody knows here whether the money was taken there, so nothing is given back before the saga has come
/// further.
#[tokio::test]
async fn what_began_elsewhere_is_taken_further_before_it_is_cancelled() {
    let (service, event_id, bought) = with_purchase().await;
    service.deposit(1, 80).await.expect("an admin may pay in");
    let held = service.book(1, event_id, 2).await.expect("there is room");
    service.sql(&format!("UPDATE bookings SET state = 3, attempt = 1 WHERE id = {}", held.id));
    add_errand(&service, held.id);
    service.sql("UPDATE errands SET parked = true");
    let engine = service.engine().clone();
    let cancelled = tokio::spawn(async move { engine.cancel(attendee(1), held.id, None).await });
    service.settle_with(1).await;
    assert_eq!(
        (state(&service, held.id).await, service.balance(1).await),
        (Some(State::Paying), 100)
    );
    let parked = errands(&service).await.remove(0);
    assert_eq!(service.engine().retry_saga(parked).await, Ok(true));
    let answer = timeout(PATIENCE, cancelled).await.expect("it is answered");
    let at = outcome(answer.expect("a client doesn't panic")).expect("its owner may");
    assert_eq!(at.booking.state, State::Cancelled);
    assert_eq!((service.balance(1).await, service.free_seats(event_id).await), (100, 998));
    assert_eq!(state(&service, bought.id).await, Some(State::Complete));
    service.finish().await;
}

/// A step that a rule refuses here is tried again, and says why.
#[tokio::test]
async fn what_a_rule_refuses_here_is_tried_again() {
    let (service, _, bought) = with_purchase().await;
    leave_refunding(&service, bought.id);
    let much = i64::MAX - 10;
    service.sql(&format!("UPDATE accounts SET balance = {much} WHERE account_id = 1"));
    service.pass(A_LOOK).await;
    let [errand] = &*errands(&service).await else { panic!("one errand") };
    assert_eq!((errand.token, errand.tries), (2, 2));
    let trouble = errand.trouble.as_deref().expect("it says why");
    assert!(trouble.contains("the balance would exceed"), "{trouble}");
    service.sql("UPDATE accounts SET balance = 20 WHERE account_id = 1");
    service.pass(A_LOOK).await;
    assert_taken_back(&service, &bought).await;
    service.finish().await;
}

#[tokio::test]
async fn a_damaged_row_stops_nobody_else() {
    let (service, event_id, bought) = with_purchase().await;
    let damaged = service.book(1, event_id, 1).await.expect("there is room");
    service.sql(&format!("UPDATE bookings SET state = 77 WHERE id = {}", damaged.id));
    add_errand(&service, damaged.id);
    leave_refunding(&service, bought.id);
    service.pass(A_LOOK).await;
    assert_eq!(state(&service, bought.id).await, Some(State::Cancelled));
    let left: Vec<BookingId> = errands(&service).await.iter().map(|e| e.booking_id).collect();
    assert_eq!(left, [damaged.id]);
    // What is damaged isn't tried for ever, and what comes later isn't kept waiting.
    let tried = service.faults.saves_tried();
    service.pass(A_LOOK).await;
    assert_eq!(service.faults.saves_tried(), tried);

    // Until somebody mends it: nobody waits for an errand of a hold, so it is ended.
    service.sql(&format!("UPDATE bookings SET state = 2 WHERE id = {}", damaged.id));
    service.pass(LEFT_ALONE).await;
    assert_eq!(errands(&service).await, []);
    service.finish().await;
}

/// More damaged rows than are looked at together.
#[tokio::test]
async fn many_damaged_rows_hide_no_sound_one() {
    let (service, _, bought) = with_purchase().await;
    service.sql(
        "INSERT INTO bookings
           (id, event_id, user_id, seats, payment, amount, attempt, state, created_at, expires_at)
           SELECT i, 1, 1, 1, 1, 40, 1, 77, 0, 0 FROM
             (WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 1450)
              SELECT i FROM n) numbers;
         INSERT INTO errands
           (booking_id, event_id, user_id, token, due_at, tries, trouble, parked)
           SELECT id, 1, 1, 1, 0, 1, NULL, false FROM bookings WHERE state = 77;",
    );
    leave_refunding(&service, bought.id);
    service.pass(A_LOOK).await;
    service.pass(A_LOOK).await;
    assert_taken_back(&service, &bought).await;
    assert_eq!(errands(&service).await.len(), 451);
    service.finish_spoilt().await;
}

#[tokio::test]
async fn errands_that_no_saga_waits_for_are_ended() {
    let (service, _, bought) = with_purchase().await;
    service.sql(
        "INSERT INTO errands
           (booking_id, event_id, user_id, token, due_at, tries, trouble, parked)
           SELECT i, 1, 1, 1, 0, 1, NULL, false FROM
             (WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 1450)
              SELECT i FROM n) numbers;",
    );
    add_errand(&service, bought.id);
    service.pass(A_LOOK).await;
    assert_eq!(errands(&service).await, []);
    assert_eq!(state(&service, bought.id).await, Some(State::Complete));
    service.finish().await;
}

/// Nothing but the clock wakes whoever looks for errands: where there are none, batches don't.
#[tokio::test]
async fn where_there_are_no_errands_nobody_looks_more_often() {
    let (service, event_id, _) = with_purchase().await;
    let looks = service.faults.looks_for_errands();
    for _ in 0..50 {
        service.book(1, event_id, 1).await.expect("there is room");
        service.settle().await;
    }
    assert_eq!(service.faults.looks_for_errands(), looks);
    service.pass(A_LOOK).await;
    assert_eq!(service.faults.looks_for_errands(), looks + 1);
    service.finish().await;
}
