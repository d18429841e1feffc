//! What one user may begin while whoever has the seats doesn't answer.

use std::sync::Arc;
use std::time::Duration;

use eventbooker_core::bookings::{BookRefusal, HoldLimits, State};
use eventbooker_core::{BookingId, EventId, UserId};
use eventbooker_engine::{Neighbours, Place};
use eventbooker_testkit::{Failure, Outcome, refused, steps_only};

use super::pair::{Act, Ids, tasks_take_turns};
use super::queue::BoxOffice;
use super::solo::Solo;

async fn limited(office: &Arc<BoxOffice>) -> Solo {
    let events = Place::Elsewhere(steps_only(office) as _);
    let limits = HoldLimits { holds_max: Some(2), ..HoldLimits::default() };
    Solo::start_with(Neighbours { events, ..Neighbours::default() }, limits).await
}

fn act(solo: &Solo, act: Act, booking: i64) -> impl Future<Output = Outcome<State>> + use<> {
    let (event, user, booking) = (EventId::new(1), UserId::new(1), BookingId::new(booking));
    act.run(solo.engine.clone(), Ids { event, user, booking })
}

fn is_over_the_limit(solo: &Solo, answer: &Outcome<State>) -> bool {
    let retry_at = solo.engine.now().plus(Duration::from_secs(1));
    *answer == Err(refused(BookRefusal::HoldLimit { retry_at }))
}

/// Nobody knows yet whether they are given, and they count all the same, whatever is to be paid when.
#[tokio::test]
async fn what_is_asked_for_counts_as_held() {
    let office = Arc::new(BoxOffice::hanging_for_ever());
    let solo = limited(&office).await;
    let mut clients = Vec::new();
    for (number, wish) in [(1, Act::Book), (2, Act::Purchase)] {
        clients.push(tokio::spawn(act(&solo, wish, number)));
        let is_asked = async || solo.errands().await.len() == clients.len();
        solo.until("it is under way", is_asked).await;
    }
    for wish in [Act::Book, Act::Purchase] {
        let answer = act(&solo, wish, 3).await;
        assert!(is_over_the_limit(&solo, &answer), "{answer:?}");
    }
    clients.iter().for_each(tokio::task::JoinHandle::abort);
    solo.engine.stop().await;
}

/// Its deadline stands still, so whoever confirmed hold after hold could take all seats for as long as the
/// money is away.
#[tokio::test]
async fn what_is_being_paid_counts_as_held() {
    let office = Arc::new(BoxOffice::hanging_for_ever());
    let accounts = Place::Elsewhere(steps_only(&office) as _);
    let limits = HoldLimits { holds_max: Some(2), ..HoldLimits::default() };
    let solo = Solo::start_with(Neighbours { accounts, ..Neighbours::default() }, limits).await;
    solo.create_event().await;
    let mut clients = Vec::new();
    for (number, wish) in [(1, Act::Purchase), (2, Act::Confirm)] {
        if matches!(wish, Act::Confirm) {
            act(&solo, Act::Book, number).await.expect("there is room");
        }
        clients.push(tokio::spawn(act(&solo, wish, number)));
        let is_asked = async || solo.errands().await.len() == clients.len();
        solo.until("it is being paid", is_asked).await;
    }
    for wish in [Act::Book, Act::Purchase] {
        let answer = act(&solo, wish, 3).await;
        assert!(is_over_the_limit(&solo, &answer), "{answer:?}");
    }
    clients.iter().for_each(tokio::task::JoinHandle::abort);
    solo.engine.stop().await;
}

/// Cancelling what isn't given yet makes no room for more.
#[tokio::test]
async fn what_is_cancelled_before_it_is_given_counts_as_cancelled() {
    let office = Arc::new(BoxOffice::hanging_for_ever());
    let solo = limited(&office).await;
    let mut clients = Vec::new();
    for number in [1, 2] {
        clients.push(tokio::spawn(act(&solo, Act::Book, number)));
        solo.until("it is under way", async || solo.errands().await.len() == clients.len()).await;
        clients.push(tokio::spawn(act(&solo, Act::Cancel, number)));
        tasks_take_turns().await;
        let is_cancelled = async || {
            let found = solo.engine.store().bookings(vec![BookingId::new(number)]).await;
            found.expect("read").iter().all(|booking| booking.state == State::Releasing)
        };
        solo.until("it is being cancelled", is_cancelled).await;
        let errands = usize::try_from(number).expect("positive");
        clients.truncate(errands);
    }
    let answer = act(&solo, Act::Book, 3).await;
    let Err(Failure::Refused(refusal)) = answer else { panic!("{answer:?}") };
    let retry_at = solo.engine.now().plus(Duration::from_secs(60));
    assert_eq!(refusal, BookRefusal::HoldLimit { retry_at }.into());
    solo.clock.advance(Duration::from_secs(60));
    drop(tokio::spawn(act(&solo, Act::Book, 3)));
    let is_asked =
        async || solo.errands().await.iter().any(|it| it.booking_id == BookingId::new(3));
    solo.until("there is room again", is_asked).await;
    solo.engine.stop().await;
}
