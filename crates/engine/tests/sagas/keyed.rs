//! Commands with keys whose sagas go on elsewhere: what is remembered is what became of them.

use std::sync::Arc;
use std::time::Duration;

use eventbooker_core::Money;
use eventbooker_core::bookings::errand::LEASE;
use eventbooker_core::bookings::{self, Booking, State};
use eventbooker_engine::{Answer, BookingAt, Decided, Effect, Key, Refusal};
use eventbooker_testkit::ManualClock;
use eventbooker_testkit::clock::{NEW_YEAR, PATIENCE};
use eventbooker_testkit::rows::{booking, key};
use eventbooker_testkit::service::in_words;
use tokio::time::timeout;

use super::link::{Fault, When};
use super::pair::{Act, Pair};
use super::{SCENARIOS, Scenario, Step};

/// Whoever sleeps by the clock while three clients wait for a question: five tasks of whoever has seats and
/// money, four of whoever asks, the call, and the clients.
const ASLEEP: usize = 5 + 4 + 1 + 3;

impl Act {
    fn meant(self) -> bookings::Act {
        match self {
            Self::Book => bookings::Act::Book,
            Self::Purchase => bookings::Act::Purchase,
            Self::Confirm => bookings::Act::Confirm,
            Self::Cancel => bookings::Act::Cancel,
        }
    }

    fn key(self, name: usize) -> Key<BookingAt> {
        let write: fn(&Decided<BookingAt>) -> Option<Vec<u8>> = match self {
            Self::Book => |decided| Some(in_words(bookings::Act::Book, decided)),
            Self::Purchase => |decided| Some(in_words(bookings::Act::Purchase, decided)),
            Self::Confirm => |decided| Some(in_words(bookings::Act::Confirm, decided)),
            Self::Cancel => |decided| Some(in_words(bookings::Act::Cancel, decided)),
        };
        Key { key: key(1, &name.to_string()), fingerprint: [7; 32], write }
    }
}

/// What is remembered of a command that leaves booking 1 like this.
fn answer(act: Act, outcome: Result<State, Refusal>) -> String {
    let at = |booking: Booking| BookingAt { booking, at: NEW_YEAR };
    let outcome = outcome.map(|state| at(booking(1, 1, 1, state, 0)));
    let decided = Decided { outcome, now: NEW_YEAR, effect: Effect::Now };
    String::from_utf8(in_words(act.meant(), &decided)).expect("words")
}

/// Each command of a scenario with a key of its own, and then once more with the same.
async fn run(scenario: &Scenario, fault: Option<(usize, Fault)>) {
    let what = format!("{}, {fault:?}", scenario.name);
    let mut pair = Pair::start(scenario.capacity, scenario.balance).await;
    pair.link.plan(fault);
    for (number, step) in scenario.steps.iter().enumerate() {
        let (act, expected) = match *step {
            Step::Act(act, state) => (act, answer(act, Ok(state))),
            Step::Refused(act, denial) => (act, answer(act, Err(denial.into()))),
            Step::Deposit(amount) => {
                pair.deposit(amount).await;
                continue;
            }
            Step::PassTheDeadline => {
                pair.pass(Duration::from_secs(31 * 60)).await;
                pair.until_at_rest(&what).await;
                continue;
            }
        };
        pair.begin_with(act, Some(act.key(number)));
        pair.until_at_rest(&what).await;
        let first = pair.kept_answer().await;
        let asked = pair.link.questions_asked();
        pair.begin_with(act, Some(act.key(number)));
        let again = pair.kept_answer().await;
        assert_eq!(again, Some((expected.clone(), Effect::Earlier)), "{what}: {act:?} again");
        assert_eq!(pair.link.questions_asked(), asked, "{what}: it takes effect once");
        if let Some((first, effect)) = first {
            assert_eq!(first, expected, "{what}: {act:?}");
            let is_in_vain = matches!(step, Step::Refused(..))
                || act.meant() == bookings::Act::Purchase && !first.ends_with("complete");
            assert_eq!(effect == Effect::Never, is_in_vain, "{what}: {act:?}");
        }
    }
    assert!(pair.link.is_used_up(), "{what}: the fault never happened");
    assert_eq!(pair.balance().await, scenario.balance_after, "{what}");
    assert_eq!(pair.free_seats().await, scenario.free_seats_after, "{what}");
    pair.finish().await;
}

#[tokio::test]
async fn what_is_remembered_is_what_became_of_it() {
    for scenario in SCENARIOS {
        run(scenario, None).await;
        for question in 0..scenario.questions {
            for when in [When::Before, When::After] {
                run(scenario, Some((question, Fault::Killed(when)))).await;
            }
        }
    }
}

/// As long as the first isn't answered, whoever repeats it waits with it; and in the end is told that it is
/// under way, or how it stands.
#[tokio::test]
async fn a_repeated_command_waits_with_the_first() {
    for act in [Act::Purchase, Act::Book] {
        let mut pair = Pair::start(10, 80).await;
        pair.link.plan(Some((0, Fault::Stalled(When::After))));
        pair.begin_with(act, Some(act.key(1)));
        timeout(PATIENCE, pair.link.stalled.notified()).await.expect("it is asked");
        let repeat = || act.ask(pair.engine().clone(), pair.ids, Some(act.key(1)));
        let (mut patient, mut impatient) = (tokio::spawn(repeat()), tokio::spawn(repeat()));
        pair.clock.until_asleep(ASLEEP).await;
        assert!(!patient.is_finished() && !impatient.is_finished());

        // A call may take as long as a client's patience lasts: its carrier gives up as well.
        pair.clock.advance(Duration::from_secs(5));
        let told = timeout(PATIENCE, &mut impatient).await.expect("nobody waits for ever");
        let told = told.expect("a client doesn't panic").expect("it is answered");
        let Answer::Given(Decided { outcome, .. }) = told else { panic!("{told:?}") };
        match (act, outcome) {
            (Act::Purchase, Ok(at)) => assert_eq!(at.booking.state, State::Occupying),
            (Act::Book, Err(refusal)) => {
                assert_eq!(refusal, Refusal::KeyInFlight { booking_id: pair.ids.booking });
            }
            (act, outcome) => panic!("{act:?}: {outcome:?}"),
        }
        let _ = timeout(PATIENCE, &mut patient).await.expect("nobody waits for ever");
        let first = pair.answer().await.expect("nobody is killed");
        assert_eq!(first, Ok(State::Occupying), "as it stands");

        pair.link.resume.notify_one();
        pair.until_at_rest("the command").await;
        let ends =
            if act.meant() == bookings::Act::Book { State::Occupied } else { State::Complete };
        pair.begin_with(act, Some(act.key(1)));
        let kept = pair.kept_answer().await;
        assert_eq!(kept, Some((answer(act, Ok(ends)), Effect::Earlier)));
        pair.finish().await;
    }
}

/// The key of whoever is overruled is answered in the very moment.
#[tokio::test]
async fn whoever_is_overruled_is_told_so() {
    for (act, expected) in [
        (Act::Purchase, "Purchase: booking 1 is cancelled"),
        (Act::Book, "Book: the booking was cancelled"),
    ] {
        let mut pair = Pair::start(10, 80).await;
        pair.link.plan(Some((0, Fault::Stalled(When::Before))));
        pair.begin_with(act, Some(act.key(1)));
        timeout(PATIENCE, pair.link.stalled.notified()).await.expect("it is asked");
        let cancel = Act::Cancel.ask(pair.engine().clone(), pair.ids, Some(Act::Cancel.key(2)));
        let cancel = tokio::spawn(cancel);
        let kept = pair.kept_answer().await;
        assert_eq!(kept, Some((expected.to_owned(), Effect::Never)));
        pair.link.resume.notify_one();
        pair.until_at_rest("the cancellation").await;
        let cancelled = timeout(PATIENCE, cancel).await.expect("it is answered");
        let cancelled = cancelled.expect("a client doesn't panic").expect("it is answered");
        let kept = Answer::Kept {
            answer: answer(Act::Cancel, Ok(State::Cancelled)).into_bytes(),
            effect: Effect::Now,
        };
        assert_eq!(cancelled, kept);
        assert_eq!((pair.balance().await, pair.free_seats().await), (80, 10));
        pair.finish().await;
    }
}

/// Another replica finishes the saga, and answers the client's key.
#[tokio::test]
async fn another_replica_keeps_the_promise() {
    let mut pair = Pair::start(10, 0).await;
    pair.begin(Act::Book);
    pair.until_at_rest("the hold").await;
    pair.link.plan(Some((1, Fault::Stalled(When::After))));
    pair.begin_with(Act::Confirm, Some(Act::Confirm.key(1)));
    timeout(PATIENCE, pair.link.stalled.notified()).await.expect("it is refused");
    pair.asks_everything().await;

    let clock = Arc::new(ManualClock::at(NEW_YEAR.plus(LEASE)));
    let second = pair.another(&pair.another_link(), &clock).await;
    let done = async {
        while !pair.errands().await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, done).await.expect("the second finishes it");
    pair.pass(Duration::from_secs(1)).await;
    let (balance, amount) = (Money::ZERO, Money::from_minor(80));
    let refusal = eventbooker_core::accounts::InsufficientFunds { balance, amount };
    let expected = answer(Act::Confirm, Err(refusal.into()));
    assert_eq!(pair.kept_answer().await, Some((expected.clone(), Effect::Never)));
    let again = Act::Confirm.ask(second.clone(), pair.ids, Some(Act::Confirm.key(1))).await;
    let kept = Answer::Kept { answer: expected.into_bytes(), effect: Effect::Earlier };
    assert_eq!(again, Ok(kept));
    second.stop().await;
    pair.link.resume.notify_one();
    pair.hears_everything().await;
    pair.finish().await;
}

/// Whoever saves that the saga rests never comes to do anything after that. What is saved is all there is,
/// and the answer is in it.
#[tokio::test]
async fn an_answer_is_written_with_the_end_of_its_saga() {
    let mut pair = Pair::start(10, 80).await;
    pair.link.plan(Some((2, Fault::Stalled(When::After))));
    pair.begin_with(Act::Purchase, Some(Act::Purchase.key(1)));
    timeout(PATIENCE, pair.link.stalled.notified()).await.expect("it is settled");
    pair.asks_everything().await;
    pair.faults.next_save(eventbooker_testkit::Fault::LoseAnswer);
    pair.link.resume.notify_one();
    let done = async {
        while !pair.errands().await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, done).await.expect("it is saved");
    pair.pass(Duration::from_secs(1)).await;
    let expected = answer(Act::Purchase, Ok(State::Complete));
    assert_eq!(pair.kept_answer().await, Some((expected, Effect::Now)));
    pair.finish().await;
}
