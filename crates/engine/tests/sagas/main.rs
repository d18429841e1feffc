//! Sagas whose participants are elsewhere: whatever is lost, repeated, late or killed on the way,
//! each ends as if nothing had happened.
#![allow(missing_docs, reason = "a test's name says what it proves")]

mod away;
mod cancelled;
mod cancelling;
mod fencing;
mod keyed;
mod limits;
mod link;
mod pair;
mod queue;
mod solo;
mod stuck;
mod traced;
mod waiting;

use std::time::Duration;

use eventbooker_core::Money;
use eventbooker_core::accounts::InsufficientFunds;
use eventbooker_core::bookings::State;
use eventbooker_core::bookings::errand::TRIES_MAX;
use eventbooker_core::bookings::saga::Denial;
use eventbooker_core::events::{OccupyRefusal, Seats};
use eventbooker_testkit::refused;

use self::link::{Fault, When};
use self::pair::{Act, Pair};

/// What a test does with one booking, and how that has to end.
struct Scenario {
    name: &'static str,
    /// What is in the account at first; a booking costs 80.
    balance: i64,
    /// How many seats the event has; a booking has two.
    capacity: i64,
    steps: &'static [Step],
    /// `None` if the booking has to be gone.
    ends: Option<State>,
    balance_after: i64,
    free_seats_after: u32,
    /// How many questions it asks.
    questions: usize,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A command, and where the booking stands when it is answered.
    Act(Act, State),
    /// A command that is refused, and why.
    Refused(Act, Denial),
    Deposit(i64),
    PassTheDeadline,
}

const BOOK: Step = Step::Act(Act::Book, State::Occupied);
const PURCHASE: Step = Step::Act(Act::Purchase, State::Complete);
const PURCHASE_IN_VAIN: Step = Step::Act(Act::Purchase, State::Cancelled);
const CONFIRM: Step = Step::Act(Act::Confirm, State::Complete);
const BOOK_IN_VAIN: Step =
    Step::Refused(Act::Book, Denial::Seats(OccupyRefusal::TooFewSeats { free: Seats::new(1) }));
const CONFIRM_IN_VAIN: Step = Step::Refused(
    Act::Confirm,
    Denial::Money(InsufficientFunds { balance: Money::ZERO, amount: Money::from_minor(80) }),
);
const CANCEL: Step = Step::Act(Act::Cancel, State::Cancelled);

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a purchase",
        balance: 100,
        capacity: 10,
        steps: &[PURCHASE],
        ends: Some(State::Complete),
        balance_after: 20,
        free_seats_after: 8,
        questions: 3,
    },
    Scenario {
        name: "a purchase without a seat",
        balance: 100,
        capacity: 1,
        steps: &[PURCHASE_IN_VAIN],
        ends: Some(State::Cancelled),
        balance_after: 100,
        free_seats_after: 1,
        questions: 1,
    },
    Scenario {
        name: "a purchase without the money",
        balance: 79,
        capacity: 10,
        steps: &[PURCHASE_IN_VAIN],
        ends: Some(State::Cancelled),
        balance_after: 79,
        free_seats_after: 10,
        questions: 3,
    },
    Scenario {
        name: "a purchase that is cancelled",
        balance: 80,
        capacity: 2,
        steps: &[PURCHASE, CANCEL],
        ends: Some(State::Cancelled),
        balance_after: 80,
        free_seats_after: 2,
        questions: 5,
    },
    Scenario {
        name: "a hold that isn't given",
        balance: 80,
        capacity: 1,
        steps: &[BOOK_IN_VAIN],
        ends: None,
        balance_after: 80,
        free_seats_after: 1,
        questions: 1,
    },
    Scenario {
        name: "a hold that is confirmed",
        balance: 80,
        capacity: 10,
        steps: &[BOOK, CONFIRM],
        ends: Some(State::Complete),
        balance_after: 0,
        free_seats_after: 8,
        questions: 3,
    },
    Scenario {
        name: "a hold that is confirmed with the money at the second try",
        balance: 0,
        capacity: 10,
        steps: &[BOOK, CONFIRM_IN_VAIN, Step::Deposit(90), CONFIRM],
        ends: Some(State::Complete),
        balance_after: 10,
        free_seats_after: 8,
        questions: 4,
    },
    Scenario {
        name: "a hold that is cancelled",
        balance: 80,
        capacity: 10,
        steps: &[BOOK, CANCEL],
        ends: Some(State::Cancelled),
        balance_after: 80,
        free_seats_after: 10,
        questions: 2,
    },
    Scenario {
        name: "a hold that nobody pays",
        balance: 80,
        capacity: 10,
        steps: &[BOOK, Step::PassTheDeadline],
        ends: None,
        balance_after: 80,
        free_seats_after: 10,
        questions: 2,
    },
];

async fn run(scenario: &Scenario, fault: Option<(usize, Fault)>) -> usize {
    let what = format!("{}, {fault:?}", scenario.name);
    let mut pair = Pair::start(scenario.capacity, scenario.balance).await;
    pair.link.plan(fault);
    for step in scenario.steps {
        match *step {
            Step::Act(act, _) | Step::Refused(act, _) => pair.begin(act),
            Step::Deposit(amount) => pair.deposit(amount).await,
            Step::PassTheDeadline => pair.pass(Duration::from_secs(31 * 60)).await,
        }
        pair.until_at_rest(&what).await;
        let expected = match *step {
            Step::Act(_, state) => Ok(state),
            Step::Refused(_, denial) => Err(refused(denial)),
            Step::Deposit(_) | Step::PassTheDeadline => continue,
        };
        if let Some(answer) = pair.answer().await {
            assert_eq!(answer, expected, "{what}: {step:?} is answered when its saga rests");
        }
    }
    assert_eq!(pair.link.contradictions(), [""; 0], "{what}");
    assert!(pair.link.is_used_up(), "{what}: the fault never happened");
    pair.link.deliver_what_is_late().await;
    let booking = pair.booking().await;
    assert_eq!(booking.map(|booking| booking.state), scenario.ends, "{what}");
    assert_eq!(pair.balance().await, scenario.balance_after, "{what}");
    assert_eq!(pair.free_seats().await, scenario.free_seats_after, "{what}");
    let asked = pair.link.questions_asked();
    pair.finish().await;
    asked
}

/// Each question of each scenario, with each fault: lost on the way there, lost on the way back, failed,
/// asked twice, answered with nonsense, ended in a panic, delivered when all is over, and the asking
/// process gone before and after.
#[tokio::test]
async fn every_saga_ends_as_if_nothing_had_happened() {
    for scenario in SCENARIOS {
        assert_eq!(run(scenario, None).await, scenario.questions, "{}", scenario.name);
        for question in 0..scenario.questions {
            for fault in Fault::ALL {
                run(scenario, Some((question, fault))).await;
            }
        }
    }
}

/// The negative control: with the participants' memory gone, a question that comes late takes effect
/// after all, and the very same scenario ends with seats that nobody has.
#[tokio::test]
async fn without_memory_a_late_question_strands_seats() {
    let mut pair = Pair::start(10, 80).await;
    pair.link.plan(Some((0, Fault::Late)));
    pair.begin(Act::Book);
    pair.until_at_rest("the hold").await;
    pair.begin(Act::Cancel);
    pair.until_at_rest("the cancellation").await;
    assert_eq!(pair.free_seats().await, 10);
    pair.lose_memory();
    pair.link.deliver_what_is_late().await;
    let state = pair.booking().await.map(|booking| booking.state);
    assert_eq!((state, pair.free_seats().await), (Some(State::Cancelled), 8));
    pair.finish().await;
}

/// A compensation that fails again and again is parked, with its reason, where the operator sees
/// it; and goes on when told to.
#[tokio::test]
async fn a_compensation_that_keeps_failing_is_parked() {
    let mut pair = Pair::start(2, 80).await;
    pair.link.plan_often(3, Fault::Fails(When::Before), u32::MAX);
    pair.begin(Act::Purchase);
    pair.until_at_rest("the purchase").await;
    pair.begin(Act::Cancel);
    pair.has_been_tried(TRIES_MAX - 2).await;
    let parked = pair.until_parked().await;
    assert_eq!(parked.tries, TRIES_MAX);
    assert_eq!(parked.trouble.as_deref(), Some("it is out of order"));
    assert_eq!(pair.booking().await.map(|booking| booking.state), Some(State::Refunding));
    assert_eq!(pair.answer().await, Some(Ok(State::Refunding)), "nobody waits for ever");
    pair.pass(Duration::from_secs(3600)).await;
    assert_eq!(pair.errands().await, std::slice::from_ref(&parked), "nobody takes it up");

    pair.link.plan(None);
    let was_parked = pair.engine().retry_saga(parked.clone()).await;
    assert_eq!(was_parked, Ok(true));
    pair.until_at_rest("the retried saga").await;
    assert_eq!(pair.engine().retry_saga(parked).await, Ok(false));
    assert_eq!(pair.booking().await.map(|booking| booking.state), Some(State::Cancelled));
    assert_eq!((pair.balance().await, pair.free_seats().await), (80, 2));
    pair.finish().await;
}

/// Nobody is to be heard for hours, about a step that has to be taken. That is nobody's failure: it is
/// over within seconds of the line's mending, and no operator has had to do with it.
#[tokio::test]
async fn silence_of_hours_ends_by_itself() {
    let hours = Duration::from_secs(24 * 3600);
    let mut pair = Pair::start(2, 80).await;
    pair.begin(Act::Purchase);
    pair.until_at_rest("the purchase").await;
    pair.link.plan_often(3, Fault::Silent(When::Before), u32::MAX);
    pair.begin(Act::Cancel);
    // One more failure would be the last.
    pair.has_been_tried(TRIES_MAX - 1).await;
    for silences in [10, 12] {
        pair.until("nobody is heard", |errand| errand.token > silences).await;
        pair.pass(hours).await;
    }
    let errand = pair.until("nobody is heard", |errand| errand.token > 14).await;
    assert_eq!((errand.is_parked, errand.trouble.as_deref()), (false, Some("the line is dead")));

    pair.link.plan(None);
    let mended = pair.engine().now();
    pair.until_at_rest("the cancellation").await;
    let took = mended.until(pair.engine().now());
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(pair.booking().await.map(|booking| booking.state), Some(State::Cancelled));
    assert_eq!((pair.balance().await, pair.free_seats().await), (80, 2));
    pair.finish().await;
}

/// A step that promises nothing to anybody is tried for ever, and the way it took is on record.
#[tokio::test]
async fn a_charge_is_never_parked_and_every_step_is_on_record() {
    let mut pair = Pair::start(2, 80).await;
    pair.link.plan_often(1, Fault::Fails(When::After), 6);
    pair.begin(Act::Purchase);
    pair.has_been_tried(TRIES_MAX - 1).await;
    pair.until_at_rest("the purchase").await;
    assert_eq!((pair.balance().await, pair.free_seats().await), (0, 0));
    let steps = pair.steps().await;
    let asked: Vec<&str> = steps.iter().map(|step| step.asked.as_str()).collect();
    assert_eq!(asked, ["occupy", "charge", "settle"]);
    assert!(steps.windows(2).all(|two| two[0].at <= two[1].at), "{steps:?}");
    pair.finish().await;
}
