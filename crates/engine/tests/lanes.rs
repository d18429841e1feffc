//! Lanes: bounded, and no command fails because of its neighbours.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::future::Future;
use std::pin::Pin;

use eventbooker_core::EventId;
use eventbooker_core::bookings::Booking;
use eventbooker_engine::{Batch, Command, Error, Lane, Refusal, Rules, Settings};
use eventbooker_store::{StoreError, Wants};
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::service::outcome;
use eventbooker_testkit::{Failure, Fault, Held, Options, Outcome, Service, begin};

type Waiting<'a> = Pin<Box<dyn Future<Output = Outcome<Booking>> + 'a>>;

/// Seats that the objection of [`objecting`] is about.
const UNLUCKY: i64 = 13;

async fn waiting(service: &Service, user: i64, event_id: EventId, seats: i64) -> Waiting<'_> {
    begin(service.book(user, event_id, seats)).await
}

/// Keeps the lane busy with a booking of one seat, so that what comes now waits and is then
/// decided as one batch.
async fn busy(service: &Service, event_id: EventId) -> (Held, Waiting<'_>) {
    let mut held = service.faults.hold_next_save();
    let first = waiting(service, 99, event_id, 1).await;
    held.reached().await;
    (held, first)
}

/// Refuses every save with a booking of [`UNLUCKY`] seats in it.
fn objecting(service: &Service, error: StoreError) {
    service.faults.object(move |changes| {
        let unlucky = |booking: &Booking| i64::from(booking.seats.get()) == UNLUCKY;
        changes.bookings_added.iter().any(unlucky).then(|| error.clone())
    });
}

fn failed<T>(error: Error) -> Outcome<T> {
    Err(Failure::Failed(error))
}

/// A command with a bug in it.
struct Poisoned {
    event_id: EventId,
}

impl Command for Poisoned {
    type Reply = ();

    fn lane(&self) -> Lane {
        Lane::Event(self.event_id)
    }

    fn wants(&self, _: &Rules, wants: &mut Wants) {
        wants.events.push(self.event_id);
    }

    fn decide(&self, _: &mut Batch) -> Result<(), Refusal> {
        panic!("poisoned on purpose")
    }
}

#[tokio::test]
async fn a_full_inbox_refuses_at_once_and_keeps_what_it_took() {
    let settings = Settings { inbox_commands_max: 3, ..Options::default().settings };
    let service = Service::with(Options { settings, ..Options::default() }).await;
    let event_id = service.create_event(10, 0, 30).await;
    let (held, first) = busy(&service, event_id).await;
    let mut taken = vec![first];
    for user in 1..=3 {
        taken.push(waiting(&service, user, event_id, 1).await);
    }
    for user in 4..=6 {
        // The lane can't move, so an answer is an answer at once.
        assert_eq!(service.book(user, event_id, 1).await, failed(Error::Overloaded));
    }
    assert_eq!(service.free_seats(event_id).await, 10, "reads don't wait behind the lane");
    held.let_go();
    for command in taken {
        assert!(command.await.is_ok());
    }
    assert_eq!(service.free_seats(event_id).await, 6);
    assert!(service.book(7, event_id, 1).await.is_ok(), "there is room again");
    service.finish().await;
}

#[tokio::test]
async fn what_waits_becomes_one_batch_up_to_the_limit() {
    let settings = Settings { batch_commands_max: 4, ..Options::default().settings };
    let service = Service::with(Options { settings, ..Options::default() }).await;
    let event_id = service.create_event(100, 0, 30).await;
    let (held, first) = busy(&service, event_id).await;
    let mut taken = vec![first];
    for user in 1..=9 {
        taken.push(waiting(&service, user, event_id, 1).await);
    }
    let before = service.faults.saves_tried();
    held.let_go();
    for command in taken {
        assert!(command.await.is_ok());
    }
    assert_eq!(service.faults.saves_tried() - before, 3, "nine commands are 4 + 4 + 1");
    service.finish().await;
}

/// A lane that waits while another replica saves its batch finds all that came meanwhile behind it.
#[tokio::test]
async fn who_comes_while_a_lane_waits_for_its_turn_is_in_its_batch() {
    let service = Service::start().await;
    let event_id = service.create_event(100, 0, 30).await;
    let (held, first) = busy(&service, event_id).await;
    let mut taken = vec![first];
    for user in 1..=4 {
        taken.push(waiting(&service, user, event_id, 1).await);
    }
    let before = service.faults.saves_tried();
    let mut turn = service.faults.hold_next_turn();
    held.let_go();
    turn.reached().await;
    for user in 5..=7 {
        taken.push(waiting(&service, user, event_id, 1).await);
    }
    turn.let_go();
    for command in taken {
        assert!(command.await.is_ok());
    }
    assert_eq!(service.faults.saves_tried() - before, 1, "the seven are one batch");
    service.finish().await;
}

#[tokio::test]
async fn a_panic_fails_no_neighbour() {
    let service = Service::start().await;
    let event_id = service.create_event(10, 0, 30).await;
    let (held, first) = busy(&service, event_id).await;
    let before = waiting(&service, 1, event_id, 1).await;
    let poisoned = begin(service.engine().submit(Poisoned { event_id }, None)).await;
    let after = waiting(&service, 2, event_id, 1).await;
    held.let_go();
    assert!(first.await.is_ok());
    assert_eq!(outcome(poisoned.await), failed(Error::Bug));
    assert!(before.await.is_ok());
    assert!(after.await.is_ok());
    assert_eq!(service.free_seats(event_id).await, 7);

    let alone = service.engine().submit(Poisoned { event_id }, None).await;
    assert_eq!(outcome(alone), failed(Error::Bug));
    assert!(service.book(3, event_id, 1).await.is_ok(), "the lane goes on");
    service.finish().await;
}

#[tokio::test]
async fn a_command_that_the_store_refuses_fails_no_neighbour() {
    for error in [StoreError::Conflict("there".into()), StoreError::Refused("no".into())] {
        let service = Service::start().await;
        objecting(&service, error);
        let event_id = service.create_event(100, 0, 30).await;
        let (held, first) = busy(&service, event_id).await;
        let before = waiting(&service, 1, event_id, 1).await;
        let unlucky = waiting(&service, 2, event_id, UNLUCKY).await;
        let after = waiting(&service, 3, event_id, 1).await;
        held.let_go();
        assert!(first.await.is_ok());
        assert!(before.await.is_ok());
        assert_eq!(unlucky.await, failed(Error::Bug));
        assert!(after.await.is_ok());
        assert_eq!(service.free_seats(event_id).await, 97);
        service.finish().await;
    }
}

/// It is found by halves, so that what a client can cause costs its neighbours little.
#[tokio::test]
async fn one_command_in_many_is_found_soon() {
    const NEIGHBOURS: i64 = 127;
    for error in [StoreError::Conflict("there".into()), StoreError::Refused("no".into())] {
        let service = Service::start().await;
        objecting(&service, error);
        let event_id = service.create_event(1000, 0, 30).await;
        let (held, first) = busy(&service, event_id).await;
        let mut neighbours = Vec::new();
        for user in 1..=NEIGHBOURS / 2 {
            neighbours.push(waiting(&service, user, event_id, 1).await);
        }
        let unlucky = waiting(&service, 999, event_id, UNLUCKY).await;
        for user in NEIGHBOURS / 2 + 1..=NEIGHBOURS {
            neighbours.push(waiting(&service, user, event_id, 1).await);
        }
        let before = service.faults.saves_tried();
        held.let_go();
        assert!(first.await.is_ok());
        assert_eq!(unlucky.await, failed(Error::Bug));
        for neighbour in neighbours {
            assert!(neighbour.await.is_ok());
        }
        let tries = service.faults.saves_tried() - before;
        assert!(tries <= 30, "tried {tries} times");
        service.finish().await;
    }
}

/// As when a client uses a key for two events at once: the one who was second finds the answer.
#[tokio::test]
async fn a_conflict_that_passes_keeps_a_batch_together() {
    let service = Service::start().await;
    let event_id = service.create_event(10, 0, 30).await;
    let (held, first) = busy(&service, event_id).await;
    let batch = [
        waiting(&service, 1, event_id, 1).await,
        waiting(&service, 2, event_id, 1).await,
        waiting(&service, 3, event_id, 1).await,
    ];
    let before = service.faults.saves_tried();
    service.faults.next_save(Fault::Refuse(StoreError::Conflict("first".into())));
    held.let_go();
    assert!(first.await.is_ok());
    for command in batch {
        assert!(command.await.is_ok());
    }
    assert_eq!(service.faults.saves_tried() - before, 2);
    service.finish().await;
}

/// Somebody else wrote a row first, and the second look finds it.
#[tokio::test]
async fn a_conflict_that_passes_is_not_the_clients_business() {
    let service = Service::start().await;
    let event_id = service.create_event(10, 0, 30).await;
    for _ in 0..3 {
        service.faults.next_save(Fault::Refuse(StoreError::Conflict("first".into())));
    }
    assert!(service.book(1, event_id, 1).await.is_ok());
    service.finish().await;
}

#[tokio::test]
async fn contention_is_tried_again_but_not_for_ever() {
    let service = Service::start().await;
    let event_id = service.create_event(10, 0, 30).await;
    let contention = || StoreError::Contention("in the way".into());
    for _ in 0..3 {
        service.faults.next_save(Fault::Refuse(contention()));
    }
    assert!(service.book(1, event_id, 1).await.is_ok());
    assert!(service.faults.are_used_up());

    objecting(&service, contention());
    let before = service.faults.saves_tried();
    let refused = service.book(2, event_id, UNLUCKY).await;
    assert!(refused.is_err(), "an event of 10 seats has no {UNLUCKY}");
    assert_eq!(service.faults.saves_tried(), before, "and what changes nothing isn't saved");
    let larger = service.create_event(100, 0, 30).await;
    let before = service.faults.saves_tried();
    assert_eq!(service.book(2, larger, UNLUCKY).await, failed(Error::Store(contention())));
    let tries = service.faults.saves_tried() - before;
    assert!((2..100).contains(&tries), "tried {tries} times");
    assert_eq!(service.free_seats(larger).await, 100);
    service.finish().await;
}

#[tokio::test]
async fn a_full_disk_fails_writes_and_nothing_else() {
    let service = Service::start().await;
    let event_id = service.create_event(10, 0, 30).await;
    let full = StoreError::Full("no room".into());
    let (held, first) = busy(&service, event_id).await;
    let batch = [
        waiting(&service, 1, event_id, 1).await,
        waiting(&service, 2, event_id, 1).await,
        waiting(&service, 3, event_id, 1).await,
    ];
    service.faults.next_save(Fault::Refuse(full.clone()));
    held.let_go();
    assert!(first.await.is_ok());
    for command in batch {
        assert_eq!(command.await, failed(Error::Store(full.clone())));
    }
    assert_eq!(service.free_seats(event_id).await, 9, "reads work");
    assert!(service.book(4, event_id, 1).await.is_ok(), "writes resume when there is room");
    assert_eq!(service.free_seats(event_id).await, 8);
    service.finish().await;
}

#[tokio::test]
async fn stopping_finishes_what_was_taken_and_takes_no_more() {
    let service = Service::start().await;
    let event_id = service.create_event(10, 0, 30).await;
    let (held, first) = busy(&service, event_id).await;
    let second = waiting(&service, 1, event_id, 1).await;
    let engine = service.engine().clone();
    assert!(!engine.is_draining());
    let stopping = begin(engine.stop()).await;
    assert!(engine.is_draining());
    held.let_go();
    let ((), first, second) = tokio::join!(stopping, first, second);
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(service.book(2, event_id, 1).await, failed(Error::Draining));
    assert_eq!(service.free_seats(event_id).await, 8);
    service.finish().await;
}

/// A panic outside of any decision ends the lane. Whoever waits isn't told that nothing happened,
/// because it may have, and whoever asks whether the service is ready hears that it isn't.
#[tokio::test]
async fn a_lane_that_ended_is_noticed() {
    let service = Service::start().await;
    let event_id = service.create_event(10, 0, 30).await;
    assert_eq!(service.engine().check_ready().await, Ok(()));
    service.faults.next_save(Fault::Panic);
    let lost = service.book(1, event_id, 1).await;
    let Err(Failure::Failed(Error::Store(StoreError::OutcomeUnknown(_)))) = &lost else {
        panic!("{lost:?}");
    };
    assert_eq!(service.free_seats(event_id).await, 9, "it did happen");
    // The reply is gone a moment before the lane is.
    let noticed = async {
        while service.engine().check_ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
        service.engine().check_ready().await
    };
    let away = tokio::time::timeout(PATIENCE, noticed).await.expect("it is noticed");
    assert!(matches!(away, Err(Error::Store(StoreError::Away(_)))), "{away:?}");
    let refused = service.book(1, event_id, 1).await;
    assert!(refused.is_err(), "{refused:?}");
    service.finish().await;
}
