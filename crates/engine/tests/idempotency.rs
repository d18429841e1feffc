//! A command with a key takes effect once, and is answered the same way again.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::time::Duration;

use eventbooker_core::events::OccupyRefusal;
use eventbooker_core::{EventId, UserId};
use eventbooker_engine::{Answer, BookingAt, Decided, Effect, Error, Key, Refusal, Settings};
use eventbooker_store::StoreError;
use eventbooker_testkit::clock::{PATIENCE, just_before};
use eventbooker_testkit::rows::key;
use eventbooker_testkit::service::attendee;
use eventbooker_testkit::{Fault, Options, Service, begin};

/// Writes every outcome down.
#[allow(clippy::unnecessary_wraps, reason = "this is the form of `Key::write`")]
fn write(decided: &Decided<BookingAt>) -> Option<Vec<u8>> {
    let text = match &decided.outcome {
        Ok(at) => format!("booking {}", at.booking.id),
        Err(refusal) => format!("refused: {refusal}"),
    };
    Some(text.into_bytes())
}

/// Writes down only what went well.
fn write_success(decided: &Decided<BookingAt>) -> Option<Vec<u8>> {
    decided.outcome.as_ref().ok().and_then(|_| write(decided))
}

type Answered = Answer<BookingAt>;

async fn book(service: &Service, user: i64, event_id: EventId, name: &str) -> Answered {
    book_as(service, user, event_id, name, 1, write).await
}

async fn book_as(
    service: &Service,
    user: i64,
    event_id: EventId,
    name: &str,
    seats: u8,
    write: fn(&Decided<BookingAt>) -> Option<Vec<u8>>,
) -> Answered {
    let key = Key { key: key(user, name), fingerprint: [seats; 32], write };
    let answer =
        service.engine().book(UserId::new(user), event_id, i64::from(seats), Some(key)).await;
    answer.expect("the engine answers")
}

fn kept(answer: &str, effect: Effect) -> Answered {
    Answer::Kept { answer: answer.as_bytes().to_vec(), effect }
}

#[tokio::test]
async fn the_same_key_again_is_the_same_answer_and_no_effect() {
    let mut service = Service::start().await;
    let event_id = service.create_event(10, 0, 43_200).await;
    assert_eq!(book(&service, 1, event_id, "a").await, kept("booking 1", Effect::Now));
    let after_one = service.event(event_id).await;
    for _ in 0..2 {
        assert_eq!(book(&service, 1, event_id, "a").await, kept("booking 1", Effect::Earlier));
    }
    service.restart(Duration::from_secs(24 * 3600)).await;
    assert_eq!(book(&service, 1, event_id, "a").await, kept("booking 1", Effect::Earlier));
    assert_eq!(service.event(event_id).await, after_one, "replays change nothing");
    assert_eq!(book(&service, 1, event_id, "b").await, kept("booking 2", Effect::Now));
    service.finish().await;
}

/// In one batch, because the lane is held while both come in.
#[tokio::test]
async fn the_same_key_twice_in_a_batch_is_one_effect() {
    let service = Service::start().await;
    let event_id = service.create_event(10, 0, 30).await;
    let mut held = service.faults.hold_next_save();
    let first = begin(service.book(9, event_id, 1)).await;
    held.reached().await;
    let twin = begin(book(&service, 1, event_id, "a")).await;
    let other_twin = begin(book(&service, 1, event_id, "a")).await;
    let before = service.faults.saves_tried();
    held.let_go();
    assert!(first.await.is_ok());
    assert_eq!(twin.await, kept("booking 2", Effect::Now));
    assert_eq!(other_twin.await, kept("booking 2", Effect::Earlier));
    assert_eq!(service.faults.saves_tried() - before, 1, "found in the batch, not by a conflict");
    assert_eq!(service.free_seats(event_id).await, 8);
    service.finish().await;
}

/// On two engines, where the second may find the key only when it saves.
#[tokio::test]
async fn the_same_key_on_two_replicas_is_one_effect() {
    let service = Service::with(Options { engines: 2, ..Options::default() }).await;
    let event_id = service.create_event(100, 0, 30).await;
    for number in 0..30u8 {
        let name = number.to_string();
        let on = |engine: usize| {
            let key = Key { key: key(1, &name), fingerprint: [1; 32], write };
            service.engines()[engine].book(UserId::new(1), event_id, 1, Some(key))
        };
        let (one, other) = tokio::join!(on(0), on(1));
        let (one, other) = (one.expect("answered"), other.expect("answered"));
        let both = [one, other].map(|answer| match answer {
            Answer::Kept { answer, effect } => (answer, effect),
            Answer::Given(decided) => panic!("{decided:?}"),
        });
        assert_eq!(both[0].0, both[1].0, "the same answer");
        assert_ne!(both[0].1, both[1].1, "one effect");
    }
    assert_eq!(service.free_seats(event_id).await, 70);
    service.finish().await;
}

#[tokio::test]
async fn a_key_belongs_to_its_user_and_its_request() {
    let service = Service::start().await;
    let event_id = service.create_event(10, 0, 30).await;
    assert_eq!(book(&service, 1, event_id, "a").await, kept("booking 1", Effect::Now));
    assert_eq!(book(&service, 2, event_id, "a").await, kept("booking 2", Effect::Now));
    assert_eq!(book(&service, 1, event_id, "A").await, kept("booking 3", Effect::Now));
    let other = book_as(&service, 1, event_id, "a", 2, write).await;
    let Answer::Given(Decided { outcome: Err(refusal), .. }) = other else {
        panic!("{other:?}");
    };
    assert_eq!(refusal, Refusal::KeyReused);
    assert_eq!(service.free_seats(event_id).await, 7);
    assert_eq!(
        book(&service, 1, event_id, "a").await,
        kept("booking 1", Effect::Earlier),
        "it still stands"
    );
    service.finish().await;
}

#[tokio::test]
async fn a_refusal_is_remembered_too() {
    let service = Service::start().await;
    let event_id = service.create_event(1, 0, 30).await;
    let holder = service.book(9, event_id, 1).await.expect("there is room");
    let refusal = format!("refused: {}", OccupyRefusal::SoldOut);
    assert_eq!(book(&service, 1, event_id, "a").await, kept(&refusal, Effect::Never));
    service.cancel(attendee(9), holder.id).await.expect("cancelled");
    assert_eq!(book(&service, 1, event_id, "a").await, kept(&refusal, Effect::Earlier));
    assert_eq!(service.free_seats(event_id).await, 1);
    service.finish().await;
}

#[tokio::test]
async fn what_is_worth_trying_again_is_not_remembered() {
    let service = Service::start().await;
    let event_id = service.create_event(1, 0, 30).await;
    let holder = service.book(9, event_id, 1).await.expect("there is room");
    let answer = book_as(&service, 1, event_id, "a", 1, write_success).await;
    let Answer::Given(Decided { outcome: Err(refusal), .. }) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(refusal, OccupyRefusal::SoldOut.into());
    service.cancel(attendee(9), holder.id).await.expect("cancelled");
    let answer = book_as(&service, 1, event_id, "a", 1, write_success).await;
    assert_eq!(answer, kept("booking 2", Effect::Now));
    service.finish().await;
}

#[tokio::test]
async fn an_answer_is_kept_as_long_as_promised_and_then_forgotten() {
    let service = Service::start().await;
    let event_id = service.create_event(10, 0, 43_200).await;
    assert_eq!(book(&service, 1, event_id, "a").await, kept("booking 1", Effect::Now));
    let kept_for = service.engine().settings().answers_kept;
    assert!(kept_for >= Duration::from_secs(24 * 3600));
    service.pass(just_before(kept_for)).await;
    assert_eq!(book(&service, 1, event_id, "a").await, kept("booking 1", Effect::Earlier));
    // The clean-up looks every so often.
    service.pass(Duration::from_secs(60)).await;
    assert_eq!(book(&service, 1, event_id, "a").await, kept("booking 2", Effect::Now));
    service.finish().await;
}

/// Whoever cleans up looks first, and waits for its lane. What is answered meanwhile is as new as can be.
#[tokio::test]
async fn an_answer_that_was_just_given_is_not_taken_for_one_by_a_wrong_clock() {
    const KEPT: Duration = Duration::from_secs(60);
    let settings = Settings { answers_kept: KEPT, ..Options::default().settings };
    let service = Service::with(Options { settings, ..Options::default() }).await;
    let event_id = service.create_event(10, 0, 30).await;
    assert_eq!(book(&service, 1, event_id, "old").await, kept("booking 1", Effect::Now));
    service.pass(just_before(KEPT)).await;

    let mut held = service.faults.hold_next_save();
    let first = begin(service.book(9, event_id, 1)).await;
    held.reached().await;
    let looks = service.faults.looks_for_oldest();
    service.clock.advance(KEPT);
    let looked = async {
        while service.faults.looks_for_oldest() == looks {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, looked).await.expect("its time has come");
    service.clock.advance(Duration::from_secs(1));
    let new = begin(book(&service, 1, event_id, "new")).await;
    held.let_go();
    assert!(first.await.is_ok());
    assert_eq!(new.await, kept("booking 3", Effect::Now));
    service.settle().await;
    assert_eq!(book(&service, 1, event_id, "new").await, kept("booking 3", Effect::Earlier));
    assert_eq!(book(&service, 1, event_id, "old").await, kept("booking 4", Effect::Now));
    service.finish().await;
}

fn unknown() -> StoreError {
    StoreError::OutcomeUnknown("the line broke".to_owned())
}

/// A commit that did happen: the key finds its answer.
#[tokio::test]
async fn a_lost_answer_is_found_by_its_key() {
    let service = Service::start().await;
    let event_id = service.create_event(10, 0, 30).await;
    service.faults.next_save(Fault::LoseAnswer);
    assert_eq!(book(&service, 1, event_id, "a").await, kept("booking 1", Effect::Earlier));
    assert_eq!(service.free_seats(event_id).await, 9);
    assert_eq!(book(&service, 1, event_id, "a").await, kept("booking 1", Effect::Earlier));
    service.finish().await;
}

/// A commit that didn't happen: the command runs again.
#[tokio::test]
async fn a_lost_command_with_a_key_is_run_again() {
    let service = Service::start().await;
    let event_id = service.create_event(10, 0, 30).await;
    service.faults.next_save(Fault::Refuse(unknown()));
    assert_eq!(book(&service, 1, event_id, "a").await, kept("booking 1", Effect::Now));
    assert_eq!(service.free_seats(event_id).await, 9);
    service.finish().await;
}

/// In a batch of both kinds each command is told what can be known about it.
#[tokio::test]
async fn without_a_key_an_unknown_outcome_stays_unknown() {
    for (fault, seats_left) in [(Fault::LoseAnswer, 7), (Fault::Refuse(unknown()), 8)] {
        let service = Service::start().await;
        let event_id = service.create_event(10, 0, 30).await;
        let mut held = service.faults.hold_next_save();
        let first = begin(service.book(9, event_id, 1)).await;
        held.reached().await;
        let keyed = begin(book(&service, 1, event_id, "a")).await;
        let keyless = begin(service.engine().book(UserId::new(2), event_id, 1, None)).await;
        service.faults.next_save(fault);
        held.let_go();
        assert!(first.await.is_ok());
        let effect = if seats_left == 7 { Effect::Earlier } else { Effect::Now };
        assert_eq!(keyed.await, kept("booking 2", effect));
        let answer = keyless.await;
        assert!(matches!(answer, Err(Error::Store(StoreError::OutcomeUnknown(_)))), "{answer:?}");
        assert_eq!(service.free_seats(event_id).await, seats_left);
        service.finish().await;
    }
}

/// What is in the way when they run again is in the way of all at most, and they are tried by halves.
#[tokio::test]
async fn commands_with_keys_are_told_what_became_of_them_though_something_is_in_the_way() {
    let conflict = || StoreError::Conflict("somebody was first".to_owned());
    for in_the_way in [vec![conflict(), conflict()], vec![StoreError::Refused("no".to_owned())]] {
        let service = Service::start().await;
        let event_id = service.create_event(10, 0, 30).await;
        let mut held = service.faults.hold_next_save();
        let first = begin(service.book(9, event_id, 1)).await;
        held.reached().await;
        let one = begin(book(&service, 1, event_id, "a")).await;
        let other = begin(book(&service, 2, event_id, "a")).await;
        for refused in [unknown()].into_iter().chain(in_the_way) {
            service.faults.next_save(Fault::Refuse(refused));
        }
        held.let_go();
        assert!(first.await.is_ok());
        assert_eq!(one.await, kept("booking 2", Effect::Now));
        assert_eq!(other.await, kept("booking 3", Effect::Now));
        service.finish().await;
    }
}
