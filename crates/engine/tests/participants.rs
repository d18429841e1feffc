//! An engine that serves the sagas of others: what it remembers, and what only its rows tell.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::time::Duration;

use eventbooker_core::accounts::InsufficientFunds;
use eventbooker_core::bookings::participant::{Remembered, Request};
use eventbooker_core::bookings::saga::{Answer, Ask, Denial};
use eventbooker_core::bookings::{Booking, State};
use eventbooker_core::events::{OccupyRefusal, PaymentWindow, Release, Seats};
use eventbooker_core::{BookingId, EventId, Money, UserId};
use eventbooker_engine::{NoAnswer, Participate, Settings};
use eventbooker_store::StoreError;
use eventbooker_testkit::clock::{NEW_YEAR, just_before};
use eventbooker_testkit::database::is_embedded;
use eventbooker_testkit::{Options, Service, begin};

const RELEASE: Ask = Ask::Release(Release::Cancelled);

const NO_SEATS: Answer = Answer::NotOccupied(Denial::Withdrawn);
const NO_MONEY: Answer = Answer::NotCharged(Denial::Withdrawn);

/// A service with an event of ten seats at 40 each, and a user with 100.
async fn participant() -> (Service, EventId) {
    let service = Service::start().await;
    let event_id = service.create_event(10, 40, 30).await;
    service.add_users([1]).await;
    service.deposit(1, 100).await.expect("an admin may pay in");
    (service, event_id)
}

/// What a saga elsewhere asks for its first payment of two seats.
fn request(booking: i64, event_id: EventId, ask: Ask) -> Request {
    Request {
        booking_id: BookingId::new(booking),
        event_id,
        user_id: UserId::new(1),
        begun: Some(NEW_YEAR),
        seats: Seats::new(2),
        amount: Money::from_minor(80),
        attempt: 1,
        ask,
        trace: None,
    }
}

async fn ask(service: &Service, request: Request) -> Result<Answer, NoAnswer> {
    service.engine().ask(vec![request]).await.remove(0)
}

fn trouble(why: &str) -> Result<Answer, NoAnswer> {
    Err(NoAnswer::Trouble(why.to_owned()))
}

async fn stands(service: &Service, event_id: EventId) -> (i64, u32) {
    (service.balance(1).await, service.free_seats(event_id).await)
}

#[tokio::test]
async fn a_step_that_comes_after_its_undoing_is_refused() {
    let (service, event_id) = participant().await;
    let table = [
        (RELEASE, Answer::Released, Ask::Occupy, NO_SEATS),
        (Ask::Refund, Answer::Refunded, Ask::Charge, NO_MONEY),
    ];
    for (undo, undone, late, refused) in table {
        for _ in 0..2 {
            assert_eq!(ask(&service, request(7, event_id, undo)).await, Ok(undone));
            assert_eq!(ask(&service, request(7, event_id, late)).await, Ok(refused));
            assert_eq!(stands(&service, event_id).await, (100, 10), "{late}");
        }
    }
    service.finish().await;
}

/// Nothing has been posted to the account, so there is no row that could be locked. The embedded
/// store locks everything.
#[tokio::test]
async fn an_older_decision_makes_nobody_forget_a_newer_one() {
    if is_embedded() {
        return;
    }
    let service = Service::with(Options { engines: 2, ..Options::default() }).await;
    let event_id = service.create_event(10, 40, 30).await;
    service.add_users([1]).await;
    let ask = |engine: usize, ask| service.engines()[engine].ask(vec![request(7, event_id, ask)]);
    let mut held = service.faults.hold_next_save();
    let charged = begin(ask(0, Ask::Charge)).await;
    held.reached().await;
    assert_eq!(ask(1, Ask::Refund).await, [Ok(Answer::Refunded)]);
    held.let_go();
    assert_eq!(charged.await, [Ok(NO_MONEY)]);
    let withdrawn = "SELECT count(*) FROM memories WHERE memory = 4";
    assert_eq!(service.database().number(withdrawn), 1);
    service.finish().await;
}

#[tokio::test]
async fn a_participant_gives_the_same_answer_again_and_takes_each_step_once() {
    let (service, event_id) = participant().await;
    let (amount, window) = (Money::from_minor(80), PaymentWindow::from_minutes(30));
    let steps = [
        (Ask::Occupy, Answer::Occupied { amount, window }, (100, 8)),
        (Ask::Charge, Answer::Charged, (20, 8)),
        (Ask::Settle, Answer::Settled, (20, 8)),
        (Ask::Refund, Answer::Refunded, (100, 8)),
        (RELEASE, Answer::Released, (100, 10)),
    ];
    for (step, answer, after) in steps {
        for _ in 0..2 {
            assert_eq!(ask(&service, request(7, event_id, step)).await, Ok(answer));
            assert_eq!(stands(&service, event_id).await, after, "{step}");
        }
    }
    service.finish_spoilt().await;
}

/// What has changed meanwhile changes nothing about what was answered.
#[tokio::test]
async fn a_refusal_is_repeated_with_its_reason() {
    let (service, event_id) = participant().await;
    let seats = |seats, booking| Request {
        seats: Seats::new(seats),
        ..request(booking, event_id, Ask::Occupy)
    };
    let amount = Money::from_minor(101);
    let charge = Request { amount, ..request(9, event_id, Ask::Charge) };
    let free = Seats::new(10);
    let balance = Money::from_minor(100);
    let nowhere = request(8, EventId::new(404), Ask::Occupy);
    let table = [
        (seats(11, 7), Answer::NotOccupied(OccupyRefusal::TooFewSeats { free }.into())),
        (nowhere, Answer::NotOccupied(Denial::NoSuchEvent)),
        (charge, Answer::NotCharged(InsufficientFunds { balance, amount }.into())),
    ];
    for (request, answer) in table {
        assert_eq!(ask(&service, request).await, Ok(answer));
    }
    ask(&service, seats(3, 10)).await.expect("there is room");
    service.deposit(1, 1).await.expect("an admin may pay in");
    for (request, answer) in table {
        assert_eq!(ask(&service, request).await, Ok(answer));
    }
    service.finish_spoilt().await;
}

/// Longer than anybody asks late. After that the rows tell whether there is something to settle or to take
/// back, and that seats which are given aren't given again.
#[tokio::test]
async fn memories_go_when_they_have_outlived_their_use() {
    let (service, event_id) = participant().await;
    let ask_for = |booking, asked| ask(&service, request(booking, event_id, asked));
    let kept_for = service.engine().settings().memories_kept;
    let memories = || service.database().number("SELECT count(*) FROM memories");
    for booking in [7, 8] {
        ask_for(booking, Ask::Occupy).await.expect("there is room");
    }
    ask_for(7, Ask::Charge).await.expect("there is money");
    service.pass(just_before(kept_for)).await;
    assert_eq!(memories(), 3);
    // The clean-up looks every so often.
    service.pass(Duration::from_secs(60)).await;
    assert_eq!(memories(), 0);

    let again = ask_for(7, Ask::Occupy).await;
    assert_eq!(again, trouble("booking 7 has its seats already"));
    for booking in [7, 8] {
        assert_eq!(ask_for(booking, Ask::Settle).await, Ok(Answer::Settled));
    }
    for booking in [7, 8] {
        assert_eq!(ask_for(booking, Ask::Refund).await, Ok(Answer::Refunded));
        assert_eq!(ask_for(booking, RELEASE).await, Ok(Answer::Released));
    }
    assert_eq!(stands(&service, event_id).await, (100, 10));
    service.finish_spoilt().await;
}

/// A purchase from the time when bookings, events and accounts were still together. Nobody
/// remembers its steps.
async fn old_purchase(service: &Service, event_id: EventId) -> Booking {
    let bought = service.purchase(1, event_id, 2).await.expect("there is room");
    assert_eq!((bought.state, stands(service, event_id).await), (State::Complete, (20, 8)));
    bought
}

#[tokio::test]
async fn what_was_taken_before_anybody_remembered_is_undone_all_the_same() {
    let (service, event_id) = participant().await;
    let booking = old_purchase(&service, event_id).await.id.get();
    for _ in 0..2 {
        let refunded = ask(&service, request(booking, event_id, Ask::Refund)).await;
        assert_eq!(refunded, Ok(Answer::Refunded));
        let released = ask(&service, request(booking, event_id, RELEASE)).await;
        assert_eq!(released, Ok(Answer::Released));
        assert_eq!(stands(&service, event_id).await, (100, 10));
    }
    for (late, refused) in [(Ask::Occupy, NO_SEATS), (Ask::Charge, NO_MONEY)] {
        assert_eq!(ask(&service, request(booking, event_id, late)).await, Ok(refused));
    }
    assert_eq!(stands(&service, event_id).await, (100, 10));
    service.finish_spoilt().await;
}

/// The charge is looked for beyond the first page of the account's history, and what was given back
/// already isn't given back again.
#[tokio::test]
async fn an_old_charge_is_refunded_once_however_long_ago_it_was() {
    let (service, event_id) = participant().await;
    let paid = old_purchase(&service, event_id).await;
    service.deposit(1, 80).await.expect("an admin may pay in");
    let given_back = service.purchase(1, event_id, 2).await.expect("there is room");
    let owner = eventbooker_testkit::service::attendee(1);
    service.cancel(owner, given_back.id).await.expect("its owner may");
    for _ in 0..600 {
        service.deposit(1, 1).await.expect("an admin may pay in");
    }
    assert_eq!(service.balance(1).await, 700);
    for (booking, balance) in [(given_back, 700), (paid, 780), (paid, 780)] {
        let refunded = ask(&service, request(booking.id.get(), event_id, Ask::Refund)).await;
        assert_eq!((refunded, service.balance(1).await), (Ok(Answer::Refunded), balance));
    }
    service.finish_spoilt().await;
}

#[tokio::test]
async fn an_old_hold_is_settled_and_one_that_never_was_is_not() {
    let (service, event_id) = participant().await;
    let held = service.book(1, event_id, 2).await.expect("there is room").id.get();
    for _ in 0..2 {
        let settled = ask(&service, request(held, event_id, Ask::Settle)).await;
        assert_eq!(settled, Ok(Answer::Settled));
    }
    let never = ask(&service, request(held + 1, event_id, Ask::Settle)).await;
    assert_eq!(never, trouble("there is nothing to settle for booking 2"));
    service.finish_spoilt().await;
}

#[tokio::test]
async fn a_slot_that_is_missing_is_a_trouble_and_not_a_panic() {
    let (service, event_id) = participant().await;
    ask(&service, request(7, event_id, Ask::Occupy)).await.expect("there is room");
    service.sql("DELETE FROM slots");
    for step in [Ask::Settle, RELEASE] {
        let answer = ask(&service, request(7, event_id, step)).await;
        assert_eq!(answer, trouble("the slot of booking 7 is missing"), "{step}");
    }
    service.finish_spoilt().await;
}

/// More questions than the lane decides at once, and more commands with them than its inbox has room for.
#[tokio::test]
async fn questions_wait_for_their_turn() {
    let settings =
        Settings { inbox_commands_max: 2, batch_commands_max: 4, ..Options::default().settings };
    let service = Service::with(Options { settings, ..Options::default() }).await;
    let event_id = service.create_event(60, 40, 30).await;
    let answers = service.engine().ask(occupations(event_id)).await;
    let yes = answers.iter().filter(|answer| matches!(answer, Ok(Answer::Occupied { .. }))).count();
    assert_eq!(yes, 30, "{answers:?}");
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    service.finish_spoilt().await;
}

/// Of forty bookings.
fn occupations(event_id: EventId) -> Vec<Request> {
    (1..=40).map(|booking| request(booking, event_id, Ask::Occupy)).collect()
}

#[tokio::test]
async fn what_is_asked_together_is_decided_together() {
    let service = Service::start().await;
    let event_id = service.create_event(80, 40, 30).await;
    let before = service.faults.saves_tried();
    let answers = service.engine().ask(occupations(event_id)).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(service.faults.saves_tried() - before, 1);
    service.finish_spoilt().await;
}

/// One that the store refuses, one that a bug keeps from being decided, one with trouble: each is told
/// so, and all others are answered.
#[tokio::test]
async fn whatever_is_wrong_with_one_question_is_wrong_with_no_other() {
    let service = Service::start().await;
    let event_id = service.create_event(80, 40, 30).await;
    let doomed = service.create_event(80, 40, 30).await;
    ask(&service, request(50, doomed, Ask::Occupy)).await.expect("there is room");
    service.sql(&format!("DELETE FROM tallies WHERE event_id = {doomed}"));
    service.sql(&format!("DELETE FROM events WHERE id = {doomed}"));
    service.faults.object(|changes| {
        let is_refused = |it: &Remembered| it.key.booking_id == BookingId::new(7);
        let objection = || StoreError::Refused("a test wants this".to_owned());
        changes.memories_added.iter().any(is_refused).then(objection)
    });
    let mut requests = occupations(event_id);
    requests[20] = request(50, doomed, RELEASE);
    requests[30] = request(31, event_id, Ask::Settle);
    let answers = service.engine().ask(requests).await;
    for (answer, booking) in answers.into_iter().zip(1..) {
        let expected = match booking {
            7 | 21 => trouble("an internal error"),
            31 => trouble("there is nothing to settle for booking 31"),
            _ => {
                assert!(matches!(answer, Ok(Answer::Occupied { .. })), "{booking}: {answer:?}");
                continue;
            }
        };
        assert_eq!(answer, expected, "{booking}");
    }
    assert_eq!(service.free_seats(event_id).await, 80 - 2 * 37);
    service.finish_spoilt().await;
}

/// A store that is full says nothing about any question.
#[tokio::test]
async fn a_store_that_fails_is_silence() {
    let (service, event_id) = participant().await;
    service.faults.object(|_| Some(StoreError::Full("a test wants this".to_owned())));
    let answers = service.engine().ask(occupations(event_id)).await;
    assert!(answers.iter().all(|it| matches!(it, Err(NoAnswer::Silence { .. }))), "{answers:?}");
    service.faults.object(|_| None);
    ask(&service, request(1, event_id, Ask::Occupy)).await.expect("there is room");
    service.finish_spoilt().await;
}

/// Whoever has lost a booking gives its number to another one. That one gets no yes for it, and takes
/// nothing back.
#[tokio::test]
async fn another_booking_with_the_same_number_is_told_nothing() {
    let (service, event_id) = participant().await;
    for forward in [Ask::Occupy, Ask::Charge] {
        ask(&service, request(1, event_id, forward)).await.expect("it is taken");
    }
    let begun = Some(NEW_YEAR.plus(Duration::from_secs(1)));
    for asked in [Ask::Occupy, Ask::Settle, Ask::Charge, Ask::Refund, RELEASE] {
        let other = Request { begun, ..request(1, event_id, asked) };
        let trouble = ask(&service, other).await;
        let Err(NoAnswer::Trouble(why)) = &trouble else { panic!("{asked}: {trouble:?}") };
        assert!(why.contains("another booking"), "{asked}: {why}");
        ask(&service, request(1, event_id, asked)).await.expect("its own saga goes on");
        // Nobody said when it began before there was that to say.
        let silent = Request { begun: None, ..request(1, event_id, asked) };
        assert!(ask(&service, silent).await.is_ok(), "{asked}");
    }
    service.finish().await;
}
