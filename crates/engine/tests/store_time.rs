//! The time by the store's clock: known well however slow the answers are, and known again soon when
//! somebody sets the machine's clock.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use eventbooker_core::Timestamp;
use eventbooker_engine::Clock as _;
use eventbooker_testkit::{ManualClock, Service};

const HOUR: Duration = Duration::from_secs(3600);
/// The clocks are compared so often at most.
const COMPARE_EVERY: Duration = Duration::from_secs(5);

/// How many milliseconds the service's time is ahead of the store's.
fn ahead_millis(service: &Service, theirs: Timestamp) -> i64 {
    (service.now().as_micros() - theirs.as_micros()) / 1000
}

#[tokio::test]
async fn answers_that_take_long_are_heard_and_spoil_nothing() {
    let mut service = Service::start().await;
    let ways: Arc<[AtomicU64; 2]> = Arc::default();
    // An hour ahead; time passes on the way there and on the way back.
    let (ours, ways_of_store) = (Arc::clone(&service.clock), Arc::clone(&ways));
    let way = |millis: &AtomicU64| Duration::from_millis(millis.load(Ordering::Relaxed));
    service.faults.set_clock(move || {
        ours.advance(way(&ways_of_store[0]));
        let theirs = ours.now().plus(HOUR);
        ours.advance(way(&ways_of_store[1]));
        theirs
    });
    let table = [
        // There, back, and what the service is ahead by.
        (0, 300, -300),
        (0, 200, -200),
        (200, 100, -100),
        (300, 0, 0),
        (300, 300, 0),
        (0, 900, 0),
    ];
    for (look, (there, back, ahead)) in table.into_iter().enumerate() {
        ways[0].store(there, Ordering::Relaxed);
        ways[1].store(back, Ordering::Relaxed);
        if look == 0 {
            service.restart(Duration::ZERO).await;
        } else {
            service.pass(COMPARE_EVERY).await;
        }
        let theirs = service.clock.now().plus(HOUR);
        assert_eq!(ahead_millis(&service, theirs), ahead, "after {there} and {back} ms");
    }
    service.finish().await;
}

#[tokio::test]
async fn when_the_machines_clock_is_set_the_stores_time_goes_on() {
    let mut service = Service::start().await;
    let theirs = Arc::new(ManualClock::default());
    let clock = Arc::clone(&theirs);
    service.faults.set_clock(move || clock.now());
    service.restart(Duration::ZERO).await;
    let event_id = service.create_event(1, 0, 1).await;
    let hold = service.book(1, event_id, 1).await.expect("there is room");

    service.pass(HOUR).await;
    assert_eq!(service.now(), theirs.now());
    assert_eq!(service.free_seats(event_id).await, 0, "the deadline is the store's");
    while service.now() < hold.expires_at {
        let looks = service.faults.looks_for_due_holds();
        theirs.advance(COMPARE_EVERY);
        service.pass(COMPARE_EVERY).await;
        assert!(service.faults.looks_for_due_holds() > looks, "another replica may have a hold");
    }
    assert_eq!(service.now(), hold.expires_at);
    assert_eq!(service.free_seats(event_id).await, 1);
    service.finish().await;
}
