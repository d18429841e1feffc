//! A booking that is cancelled while its saga is under way: whatever had been taken by then, or is taken
//! later, is taken back once.

use eventbooker_core::bookings::errand::TRIES_MAX;
use eventbooker_core::bookings::{ConfirmRefusal, State};
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::{Outcome, refused};
use tokio::time::timeout;

use super::link::{Fault, When};
use super::pair::{Act, Pair};

/// Which question isn't answered when somebody cancels.
struct Midway {
    acts: &'static [Act],
    question: usize,
    state: State,
    /// How many questions it takes to go back.
    back: usize,
}

const MIDWAY: &[Midway] = &[
    Midway { acts: &[Act::Purchase], question: 0, state: State::Occupying, back: 1 },
    Midway { acts: &[Act::Purchase], question: 1, state: State::Paying, back: 2 },
    Midway { acts: &[Act::Purchase], question: 2, state: State::Completing, back: 2 },
    Midway { acts: &[Act::Book], question: 0, state: State::Occupying, back: 1 },
    Midway { acts: &[Act::Book, Act::Confirm], question: 1, state: State::Paying, back: 2 },
];

/// What the first client hears when somebody else cancels.
fn heard(act: Act) -> Outcome<State> {
    match act {
        Act::Purchase => Ok(State::Cancelled),
        Act::Book | Act::Confirm | Act::Cancel => Err(refused(ConfirmRefusal::Cancelled)),
    }
}

async fn cancelled(midway: &Midway, first: Fault, then: Option<(usize, Fault)>) {
    let what = format!("{:?} while {}, {first:?}, then {then:?}", midway.acts, midway.state);
    let mut pair = Pair::start(10, 80).await;
    pair.link.plan(Some((midway.question, first)));
    let (last, before) = midway.acts.split_last().expect("something is done");
    for act in before {
        pair.begin(*act);
        pair.until_at_rest(&what).await;
    }
    pair.begin(*last);
    let failed = async {
        while !pair.errands().await.iter().any(|errand| errand.trouble.is_some()) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, failed).await.expect("the question fails");
    assert_eq!(pair.booking().await.map(|booking| booking.state), Some(midway.state), "{what}");

    pair.link.plan(then.map(|(question, fault)| (midway.question + 1 + question, fault)));
    pair.begin_another(Act::Cancel);
    let cancelled = async {
        while pair.booking().await.is_some_and(|booking| booking.state == midway.state) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, cancelled).await.expect("nobody has to wait for that");
    pair.until_at_rest(&what).await;
    if let Some(answer) = pair.answer().await {
        assert_eq!(answer, Ok(State::Cancelled), "{what}");
    }
    if let Some(answer) = pair.first_answer().await {
        assert_eq!(answer, heard(*last), "{what}");
    }
    assert_eq!(pair.link.contradictions(), [""; 0], "{what}");
    assert!(pair.link.is_used_up(), "{what}: the fault never happened");
    assert_eq!(pair.link.questions_asked(), midway.question + 1 + midway.back, "{what}");
    pair.link.deliver_what_is_late().await;
    let state = pair.booking().await.map(|booking| booking.state);
    let stands = (state, pair.balance().await, pair.free_seats().await);
    assert_eq!(stands, (Some(State::Cancelled), 80, 10), "{what}");
    pair.finish().await;
}

/// In each state: the step that was asked for has been taken or not, or is taken when all is over.
#[tokio::test]
async fn a_booking_can_be_cancelled_at_every_step() {
    for midway in MIDWAY {
        for first in [Fault::Fails(When::Before), Fault::Fails(When::After), Fault::Late] {
            cancelled(midway, first, None).await;
        }
    }
}

/// And each question on the way back meets each fault.
#[tokio::test]
async fn whatever_happens_on_the_way_back_it_ends_as_if_nothing_had_happened() {
    for midway in &MIDWAY[..3] {
        for first in [Fault::Fails(When::After), Fault::Late] {
            for question in 0..midway.back {
                for fault in Fault::ALL {
                    cancelled(midway, first, Some((question, fault))).await;
                }
            }
        }
    }
}

/// The operator hasn't looked yet; its owner cancels, and whoever was to ask for the money is gone.
#[tokio::test]
async fn what_is_parked_can_be_cancelled() {
    let mut pair = Pair::start(10, 80).await;
    pair.link.plan_often(2, Fault::Fails(When::Before), u32::MAX);
    pair.begin(Act::Purchase);
    pair.has_been_tried(TRIES_MAX - 2).await;
    pair.until_parked().await;
    pair.link.plan(Some((3, Fault::Killed(When::Before))));
    pair.begin(Act::Cancel);
    pair.until_at_rest("the cancellation").await;
    let state = pair.booking().await.map(|booking| booking.state);
    assert_eq!((state, pair.balance().await), (Some(State::Cancelled), 80));
    assert_eq!(pair.free_seats().await, 10);
    pair.finish().await;
}

/// Whoever confirms what somebody else is confirming hears what became of that, and then what becomes of
/// their own confirmation: by then there is enough money.
#[tokio::test]
async fn a_second_confirmation_is_no_echo_of_the_first() {
    let mut pair = Pair::refused().await;
    pair.deposit(80).await;
    pair.begin_another(Act::Confirm);
    pair.asks_everything().await;
    pair.link.resume.notify_one();
    pair.until_at_rest("both confirmations").await;
    let first = pair.first_answer().await.expect("nobody is killed");
    // It may look when the second has begun already.
    assert!(first.is_err() || first == Ok(State::Complete), "{first:?}");
    assert_eq!(pair.answer().await, Some(Ok(State::Complete)));
    assert_eq!((pair.balance().await, pair.free_seats().await), (0, 8));
    pair.finish().await;
}
