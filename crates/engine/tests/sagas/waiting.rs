//! Clients who wait for a saga: they are told how far it is, whatever happens to it meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use eventbooker_core::Money;
use eventbooker_core::accounts::InsufficientFunds;
use eventbooker_core::bookings::State;
use eventbooker_core::bookings::errand::LEASE;
use eventbooker_core::bookings::saga::Denial;
use eventbooker_testkit::clock::{NEW_YEAR, PATIENCE};
use eventbooker_testkit::service::refused;
use eventbooker_testkit::{ManualClock, outcome};
use tokio::time::timeout;

use super::link::{Fault, When};
use super::pair::{Act, Pair, tasks_take_turns};

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

/// A row is a page to sync: a saga that meets nothing on its way writes its errand at its begin only.
#[tokio::test]
async fn an_errand_stays_as_it_is_while_its_saga_goes_on() {
    let mut pair = Pair::start(10, 80).await;
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    pair.faults.object(move |changes| {
        count.fetch_add(changes.errands_set.len(), Ordering::SeqCst);
        None
    });
    pair.begin(Act::Purchase);
    assert_eq!(pair.answer().await, Some(Ok(State::Complete)));
    assert_eq!(written.load(Ordering::SeqCst), 1);
    pair.finish().await;
}

/// Whoever finds a saga under way that ends in the same batch hears of its end, too.
#[tokio::test]
async fn what_ends_in_the_batch_that_found_it_under_way_is_told() {
    let mut pair = Pair::refused().await;
    pair.deposit(80).await;

    let mut held = pair.faults.hold_next_save();
    let (engine, ids) = (pair.engine().clone(), pair.ids);
    let other = tokio::spawn(async move { engine.book(ids.user, ids.event, 1, None).await });
    held.reached().await;
    pair.begin_another(Act::Confirm);
    // It looks where its booking is before it gets into the lane.
    for _ in 0..20 {
        pair.booking().await;
        tasks_take_turns().await;
    }
    pair.link.resume.notify_one();
    while !pair.link.is_idle() {
        tokio::task::yield_now().await;
    }
    tasks_take_turns().await;
    held.let_go();
    assert_eq!(pair.answer().await, Some(Ok(State::Complete)));
    let first = pair.first_answer().await.expect("nobody is killed");
    // It may look when the second has begun already, or is done.
    let no_money = InsufficientFunds { balance: Money::ZERO, amount: Money::from_minor(80) };
    let no_money = Err(refused(Denial::Money(no_money)));
    assert!(first == no_money || first == Ok(State::Complete), "{first:?}");
    outcome(other.await.expect("it ends")).expect("there is room");
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
