//! An organiser edits an event: what was booked keeps its terms, and capacity never falls below what is
//! occupied. The race for the last seats is one function, which also runs on a store that loses updates.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::sync::Arc;
use std::time::Duration;

use eventbooker_core::bookings::Booking;
use eventbooker_core::events::{
    Amendment, EditRefusal, Event, JournalKind, OccupyRefusal, PlanFault, Seats,
};
use eventbooker_core::identity::Actor;
use eventbooker_core::{EventId, Money};
use eventbooker_engine::check::Rule;
use eventbooker_engine::{Answer, Effect, Refusal};
use eventbooker_testkit::faults::LostUpdates;
use eventbooker_testkit::service::{ADMIN, attendee, book};
use eventbooker_testkit::{Options, Outcome, Service, outcome, refused};
use tokio::sync::Barrier;

fn to_seats(capacity: i64) -> Amendment {
    Amendment { capacity: Some(capacity), ..Amendment::default() }
}

#[tokio::test]
async fn what_was_booked_keeps_its_price_and_its_deadline() {
    let service = Service::start().await;
    let event_id = service.create_event(10, 40, 30).await;
    service.add_users([1]).await;
    service.deposit(1, 80).await.expect("an admin may pay in");
    let before = service.book(1, event_id, 2).await.expect("there is room");
    let amendment = Amendment {
        name: Some("Blue run".to_owned()),
        price_minor: Some(70),
        payment_window_minutes: Some(5),
        ..to_seats(4)
    };
    let edited = service.edit(event_id, amendment).await.expect("it breaks no rule");
    assert_eq!(service.event(event_id).await, edited);
    assert_eq!((&*edited.plan.name, edited.plan.capacity.get()), ("Blue run", 4));
    assert_eq!((edited.tally.version, edited.free_seats().get()), (3, 2));
    let journal = service.store().journal(event_id, 2, 9).await.expect("read");
    let told: Vec<_> = journal.iter().map(|entry| (entry.kind, entry.seats.get())).collect();
    assert_eq!(told, [(JournalKind::Edited, 4)]);

    let after = service.book(1, event_id, 1).await.expect("there is room");
    assert_eq!(after.amount, Money::from_minor(70));
    assert_eq!(after.created_at.until(after.expires_at), Duration::from_secs(5 * 60));
    service.pass(Duration::from_secs(6 * 60)).await;
    assert_eq!(service.event(event_id).await.tally.pending_bookings, 1, "the later one is over");
    let paid = service.confirm(attendee(1), before.id).await.expect("its window was 30 minutes");
    assert_eq!((paid.amount, service.balance(1).await), (before.amount, 0));
    service.finish().await;
}

#[tokio::test]
async fn capacity_may_fall_to_what_is_occupied_and_no_further() {
    let service = Service::start().await;
    let event_id = service.create_event(10, 0, 30).await;
    service.book(1, event_id, 3).await.expect("there is room");
    let below = EditRefusal::CapacityBelowOccupied { occupied: Seats::new(3) };
    assert_eq!(service.edit(event_id, to_seats(2)).await, Err(refused(below)));
    assert_eq!(service.event(event_id).await.tally.version, 2, "a refusal changes nothing");
    assert!(service.edit(event_id, to_seats(3)).await.is_ok());
    assert_eq!(service.book(2, event_id, 1).await, Err(refused(OccupyRefusal::SoldOut)));
    assert!(service.edit(event_id, to_seats(4)).await.is_ok());
    assert!(service.book(2, event_id, 1).await.is_ok());
    let faults = EditRefusal::Plan(vec![PlanFault::CapacityOutOfRange]);
    assert_eq!(service.edit(event_id, to_seats(0)).await, Err(refused(faults)));
    service.finish().await;
}

#[tokio::test]
async fn only_an_admin_edits_and_only_what_there_is() {
    let service = Service::start().await;
    let event_id = service.create_event(10, 0, 30).await;
    let edit = async |actor: Actor, event_id: EventId| {
        outcome(service.engine().edit_event(actor, event_id, to_seats(5), None).await)
    };
    assert_eq!(edit(attendee(1), event_id).await, Err(refused(Refusal::NotAdmin)));
    let nowhere = EventId::new(404);
    assert_eq!(edit(ADMIN, nowhere).await, Err(refused(Refusal::NoSuchEvent)));
    assert_eq!(service.event(event_id).await.plan.capacity.get(), 10);
    service.finish().await;
}

#[tokio::test]
async fn what_is_so_already_is_no_change() {
    let service = Service::start().await;
    let event_id = service.create_event(10, 0, 30).await;
    for (amendment, effect) in [
        (Amendment::default(), Effect::Never),
        (to_seats(10), Effect::Never),
        (to_seats(11), Effect::Now),
    ] {
        let answer = service.engine().edit_event(ADMIN, event_id, amendment, None).await;
        let Ok(Answer::Given(decided)) = answer else { panic!("{answer:?}") };
        assert_eq!(decided.effect, effect);
    }
    assert_eq!(service.event(event_id).await.tally.version, 2);
    service.finish().await;
}

#[tokio::test]
async fn whoever_watches_an_event_hears_of_an_edit() {
    let service = Service::start().await;
    let event_id = service.create_event(10, 0, 30).await;
    let watching = service.engine().watch(event_id, None).await.expect("read");
    let mut watching = watching.expect("there is the event");
    watching.next().await.expect("how it stands now");
    let edited = service.edit(event_id, to_seats(12)).await.expect("it breaks no rule");
    let update = service.next(&mut watching, 1).await.expect("it is told");
    assert_eq!(update.event.as_ref(), Some(&edited));
    assert_eq!(update.entries.last().map(|entry| entry.kind), Some(JournalKind::Edited));
    drop(watching);
    service.finish().await;
}

/// Somebody books all of an event's seats through one engine while the organiser takes all but one away
/// through another.
async fn shrink_while_booking(service: &Service) -> (Outcome<Booking>, Outcome<Event>) {
    const SEATS: i64 = 10;
    let event_id = service.create_event(SEATS, 0, 30).await;
    let start = Arc::new(Barrier::new(2));
    let [one, other] = [0, 1].map(|number| service.engines()[number].clone());
    let started = Arc::clone(&start);
    let booked = tokio::spawn(async move {
        started.wait().await;
        book(&one, 1, event_id, SEATS).await
    });
    let edited = tokio::spawn(async move {
        start.wait().await;
        outcome(other.edit_event(ADMIN, event_id, to_seats(1), None).await)
    });
    (booked.await.expect("nobody panics"), edited.await.expect("nobody panics"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_last_seats_and_their_removal_one_wins() {
    let service = Service::with(Options { engines: 2, ..Options::default() }).await;
    for _ in 0..50 {
        match shrink_while_booking(&service).await {
            (Ok(booking), Err(refusal)) => {
                let occupied = booking.seats;
                let below = EditRefusal::CapacityBelowOccupied { occupied };
                assert_eq!(refusal, refused(below));
            }
            (Err(refusal), Ok(_)) => {
                let free = Seats::new(1);
                assert_eq!(refusal, refused(OccupyRefusal::TooFewSeats { free }));
            }
            both => panic!("{both:?}"),
        }
    }
    service.finish().await;
}

/// The negative control: with nothing between load and save both are told yes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_lock_and_keys_a_store_shrinks_an_event_below_what_is_booked() {
    let lost_updates = Some(LostUpdates::without_lock_and_keys(2));
    let service = Service::with(Options { engines: 2, lost_updates, ..Options::default() }).await;
    let told = shrink_while_booking(&service).await;
    assert!(told.0.is_ok() && told.1.is_ok(), "the control must oversell: {told:?}");
    let report = service.recount().await;
    let oversold = |what: &str| what.contains("is oversold");
    assert!(
        report.findings.iter().any(|f| f.rule == Rule::Seats && oversold(&f.what)),
        "{:#?}",
        report.findings
    );
    service.finish_spoilt().await;
}

/// The second line of defence: the journal's key alone keeps both from being told yes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_lock_a_store_is_saved_by_its_keys() {
    let lost_updates = Some(LostUpdates::without_lock(2));
    let service = Service::with(Options { engines: 2, lost_updates, ..Options::default() }).await;
    let told = shrink_while_booking(&service).await;
    assert!(told.0.is_err() || told.1.is_err(), "{told:?}");
    service.finish().await;
}
