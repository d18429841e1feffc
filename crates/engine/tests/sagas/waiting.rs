//! Clients who wait for a saga: they are told how far it is, whatever happens to it meanwhile.

use std::sync::Arc;
use std::time::Duration;

use eventbooker_core::bookings::State;
use eventbooker_core::bookings::errand::LEASE;
use eventbooker_testkit::ManualClock;
use eventbooker_testkit::clock::{NEW_YEAR, PATIENCE};
use tokio::time::timeout;

use super::link::{Fault, When};
use super::pair::{Act, Pair};

/// The booking exists, so a store that can't be read just now is no reason to say that nothing was
/// done.
#[tokio::test]
async fn a_store_that_fails_meanwhile_takes_nothing_back() {
    let mut pair = Pair::start(10, 80).await;
    pair.link.plan(Some((0, Fault::Stalled(When::Before))));
    pair.faults.fail_bookings(1);
    pair.begin(Act::Purchase);
    // Nobody says anything for so long that it looks.
    let clock = Arc::clone(&pair.clock);
    let time = async {
        loop {
            clock.advance(Duration::from_millis(1));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = pair.answer() => assert_eq!(answer, Some(Ok(State::Occupying))),
        () = time => {}
    }
    pair.link.resume.notify_one();
    pair.until_at_rest("the purchase").await;
    pair.finish().await;
}

/// Whoever has begun a saga listens to it from the moment on in which it is there, and hears how it stands.
#[tokio::test]
async fn nobody_looks_for_what_they_are_told() {
    let mut pair = Pair::start(10, 80).await;
    pair.faults.fail_bookings(1);
    pair.begin(Act::Purchase);
    assert_eq!(pair.answer().await, Some(Ok(State::Complete)));
    assert!(
        pair.engine().store().bookings(vec![pair.ids.booking]).await.is_err(),
        "nobody has looked"
    );
    pair.finish().await;
}

/// Another replica finishes the saga, and nobody tells this one. Its client hears of it all the
/// same: within a second, or when its patience ends.
async fn another_replica_finishes(after: Duration) {
    let mut pair = Pair::start(10, 80).await;
    pair.link.plan(Some((0, Fault::Stalled(When::Before))));
    pair.begin(Act::Purchase);
    timeout(PATIENCE, pair.link.stalled.notified()).await.expect("it is asked");
    pair.asks_everything().await;

    let clock = Arc::new(ManualClock::at(NEW_YEAR.plus(LEASE)));
    let second = pair.another(&pair.another_link(), &clock).await;
    let done = async {
        while !pair.errands().await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, done).await.expect("the second finishes it");
    pair.pass(after).await;
    assert_eq!(pair.answer().await, Some(Ok(State::Complete)), "{after:?}");
    second.stop().await;
    pair.link.resume.notify_one();
    pair.hears_everything().await;
    pair.finish().await;
}

#[tokio::test]
async fn a_client_hears_what_another_replica_did() {
    another_replica_finishes(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_client_is_told_how_it_stands_at_the_end_of_its_patience() {
    another_replica_finishes(Duration::from_secs(5)).await;
}
