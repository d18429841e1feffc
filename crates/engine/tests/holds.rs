//! Nobody hoards: limits on what one user holds of one event.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::time::Duration;

use eventbooker_core::bookings::{BookRefusal, HoldLimits, State};
use eventbooker_core::{EventId, Timestamp};
use eventbooker_engine::Settings;
use eventbooker_testkit::clock::{MOMENT, just_before};
use eventbooker_testkit::service::{ADMIN, attendee};
use eventbooker_testkit::{Failure, Options, Service, begin, refused};

const WINDOW: Duration = Duration::from_secs(60);
const HALF: Duration = Duration::from_secs(30);

async fn limited(holds_max: Option<u32>, held_seats_max: Option<u32>) -> (Service, EventId) {
    let holds = HoldLimits { seats_per_booking_max: 100, holds_max, held_seats_max };
    let settings = Settings { holds, ..Settings::default() };
    let service = Service::with(Options { settings, ..Options::default() }).await;
    let event_id = service.create_event(1_000, 0, 1).await;
    (service, event_id)
}

fn until(retry_at: Timestamp) -> Failure {
    refused(BookRefusal::HoldLimit { retry_at })
}

#[tokio::test]
async fn the_defaults_are_five_holds_and_a_hundred_seats() {
    let service =
        Service::with(Options { settings: Settings::default(), ..Options::default() }).await;
    let event_id = service.create_event(1_000, 0, 1).await;
    for _ in 0..5 {
        assert!(service.book(1, event_id, 1).await.is_ok());
    }
    let deadline = service.now().plus(WINDOW);
    assert_eq!(service.book(1, event_id, 1).await, Err(until(deadline)));
    assert!(service.book(2, event_id, 100).await.is_ok());
    assert_eq!(service.book(2, event_id, 1).await, Err(until(deadline)));
    let range = Err(refused(BookRefusal::SeatsOutOfRange { max: 100 }));
    for seats in [101, 0, -1, i64::MAX, i64::MIN] {
        assert_eq!(service.book(3, event_id, seats).await, range);
    }
    service.finish().await;
}

#[tokio::test]
async fn holds_are_counted_until_the_first_of_them_ends() {
    let (service, event_id) = limited(Some(2), None).await;
    let first = service.book(1, event_id, 1).await.expect("the first of two");
    service.pass(HALF).await;
    let second = service.book(1, event_id, 1).await.expect("the second of two");
    assert_eq!(service.book(1, event_id, 1).await, Err(until(first.expires_at)));
    service.pass(just_before(HALF)).await;
    assert_eq!(service.book(1, event_id, 1).await, Err(until(first.expires_at)));
    service.pass(MOMENT).await;
    assert!(service.book(1, event_id, 1).await.is_ok(), "retry_at was the truth");
    assert_eq!(service.book(1, event_id, 1).await, Err(until(second.expires_at)));
    service.finish().await;
}

#[tokio::test]
async fn seats_are_counted_over_all_holds() {
    let (service, event_id) = limited(None, Some(10)).await;
    assert!(service.book(1, event_id, 6).await.is_ok());
    let deadline = service.now().plus(WINDOW);
    assert_eq!(service.book(1, event_id, 5).await, Err(until(deadline)));
    assert!(service.book(1, event_id, 4).await.is_ok());
    assert_eq!(service.book(1, event_id, 1).await, Err(until(deadline)));
    let range = Err(refused(BookRefusal::SeatsOutOfRange { max: 10 }));
    assert_eq!(
        service.book(2, event_id, 11).await,
        range,
        "what can never be held isn't asked for"
    );
    service.finish().await;
}

/// Otherwise a hold could be renewed for ever by cancelling and booking again.
#[tokio::test]
async fn a_cancelled_hold_counts_until_the_deadline_it_had() {
    let (service, event_id) = limited(Some(2), None).await;
    let deadline = service.now().plus(WINDOW);
    for _ in 0..2 {
        let hold = service.book(1, event_id, 1).await.expect("two are allowed");
        service.cancel(attendee(1), hold.id).await.expect("cancelled");
    }
    assert_eq!(service.free_seats(event_id).await, 1_000);
    service.pass(just_before(WINDOW)).await;
    assert_eq!(service.book(1, event_id, 1).await, Err(until(deadline)));
    service.pass(MOMENT).await;
    assert!(service.book(1, event_id, 1).await.is_ok());
    service.finish().await;
}

#[tokio::test]
async fn a_paid_booking_is_no_hold() {
    let (service, event_id) = limited(Some(1), None).await;
    for _ in 0..3 {
        let hold = service.book(1, event_id, 1).await.expect("the one before is paid");
        assert!(service.book(1, event_id, 1).await.is_err());
        service.confirm(attendee(1), hold.id).await.expect("in time");
    }
    service.finish().await;
}

#[tokio::test]
async fn users_and_events_are_counted_apart() {
    let (service, event_id) = limited(Some(1), None).await;
    let other_event = service.create_event(10, 0, 1).await;
    for user in 1..=3 {
        assert!(service.book(user, event_id, 1).await.is_ok());
        assert!(service.book(user, event_id, 1).await.is_err());
        assert!(service.book(user, other_event, 1).await.is_ok());
    }
    let admin = ADMIN.user_id.get();
    assert!(service.book(admin, event_id, 1).await.is_ok());
    assert!(service.book(admin, event_id, 1).await.is_err(), "an admin's holds are holds too");
    service.finish().await;
}

/// What was confirmed earlier in the same batch is no hold any more; what was cancelled counts on.
#[tokio::test]
async fn a_batch_knows_what_became_of_holds_in_it() {
    let (service, event_id) = limited(Some(1), None).await;
    let [paid, kept] = [1, 2].map(|user| service.book(user, event_id, 1));
    let (paid, kept) = (paid.await.expect("the first"), kept.await.expect("the first"));
    let bought = service.purchase(3, event_id, 1).await.expect("it costs nothing");
    let mut held = service.faults.hold_next_save();
    let before = begin(service.book(9, event_id, 1)).await;
    held.reached().await;
    let confirmed = service.faults.begin_move(service.confirm(attendee(1), paid.id)).await;
    let after_confirmed = begin(service.book(1, event_id, 1)).await;
    let cancelled = service.faults.begin_move(service.cancel(attendee(2), kept.id)).await;
    let after_cancelled = begin(service.book(2, event_id, 1)).await;
    let bought_after_cancelled = begin(service.purchase(2, event_id, 1)).await;
    let given_back = service.faults.begin_move(service.cancel(attendee(3), bought.id)).await;
    let bought_again = begin(service.purchase(3, event_id, 1)).await;
    let saves = service.faults.saves_tried();
    held.let_go();
    assert!(before.await.is_ok() && confirmed.await.is_ok());
    assert!(cancelled.await.is_ok() && given_back.await.is_ok());
    assert!(after_confirmed.await.is_ok(), "what is paid is held no longer");
    let limit = Err(until(kept.expires_at));
    assert_eq!(after_cancelled.await, limit);
    assert_eq!(bought_after_cancelled.await, limit);
    assert_eq!(bought_again.await, limit);
    assert_eq!(service.faults.saves_tried(), saves + 1, "one batch");
    service.finish().await;
}

/// Failed purchases are cancelled bookings as well, but hide no cancelled hold from the limit.
#[tokio::test]
async fn buying_in_vain_is_no_way_around_the_limit() {
    let (service, _) = limited(Some(2), None).await;
    let event_id = service.create_event(10, 40, 1).await;
    let hold = service.book(1, event_id, 1).await.expect("the first of two");
    service.cancel(attendee(1), hold.id).await.expect("it is live");
    for _ in 0..3 {
        let bought = service.purchase(1, event_id, 1).await.expect("it is written down");
        assert_eq!(bought.state, State::Cancelled, "there is no money");
    }
    assert!(service.book(1, event_id, 1).await.is_ok(), "the second of two");
    assert_eq!(service.book(1, event_id, 1).await, Err(until(hold.expires_at)));
    service.finish().await;
}

/// Holds made in the same batch count for each other.
#[tokio::test]
async fn a_batch_is_no_way_around_the_limit() {
    let (service, event_id) = limited(Some(2), Some(5)).await;
    let mut held = service.faults.hold_next_save();
    let first = begin(service.book(9, event_id, 1)).await;
    held.reached().await;
    let asks = [
        begin(service.book(1, event_id, 1)).await,
        begin(service.book(1, event_id, 5)).await,
        begin(service.book(1, event_id, 4)).await,
        begin(service.book(1, event_id, 1)).await,
    ];
    held.let_go();
    assert!(first.await.is_ok());
    let mut booked = Vec::new();
    for ask in asks {
        booked.push(ask.await.is_ok());
    }
    assert_eq!(booked, [true, false, true, false]);
    service.finish().await;
}

/// A user with more holds than the limit has to look at is refused all the same.
#[tokio::test]
async fn lifted_limits_are_lifted() {
    let (service, event_id) = limited(None, None).await;
    for _ in 0..20 {
        assert!(service.book(1, event_id, 40).await.is_ok());
    }
    service.finish().await;
}
