//! A cancelled event: nothing more is booked or paid, and what was is released, each booking once.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use eventbooker_core::bookings::{Booking, State};
use eventbooker_core::events::{
    Amendment, Cancellation, EditRefusal, EventCancelled, JournalKind, OccupyRefusal, Seats,
};
use eventbooker_core::{BookingId, EventId, UserId};
use eventbooker_engine::{Engine, Refusal};
use eventbooker_store::StoreError;
use eventbooker_testkit::service::{ADMIN, attendee, book, purchase};
use eventbooker_testkit::{Failure, Fault, Options, Service, outcome, refused};
use futures_util::future::join_all;
use tokio::task::JoinSet;

const PRICE: i64 = 40;
/// What each user has to begin with.
const PAID_IN: i64 = 1_000;
/// How soon somebody looks again for bookings to release.
const A_LOOK: Duration = Duration::from_secs(2);
/// How long one that can't be released is left alone at first.
const LEFT_ALONE: Duration = Duration::from_secs(60);

/// An event with so many bookings of one seat, one by each user, every other one paid.
async fn with_bookings(service: &Service, count: i64) -> (EventId, Vec<Booking>) {
    let event_id = service.create_event(count + 10, PRICE, 30).await;
    service.add_users(1..=count).await;
    let bookings = join_all((1..=count).map(async |user| {
        service.deposit(user, PAID_IN).await.expect("an admin may pay in");
        let booked = service.book(user, event_id, 1).await.expect("there is room");
        if user % 2 == 0 {
            service.confirm(attendee(user), booked.id).await.expect("there is enough")
        } else {
            booked
        }
    }));
    (event_id, bookings.await)
}

async fn states(service: &Service, bookings: &[Booking]) -> Vec<State> {
    let ids = bookings.iter().map(|booking| booking.id).collect();
    let found = service.store().bookings(ids).await.expect("read");
    found.iter().map(|booking| booking.state).collect()
}

/// Fails unless every booking was released once, and all money is back.
async fn assert_released(service: &Service, event_id: EventId, bookings: &[Booking]) {
    let event = service.event(event_id).await;
    let tally = event.tally;
    let left = (tally.occupied, tally.pending_bookings, tally.confirmed_bookings);
    assert_eq!(left, (Seats::ZERO, 0, 0));
    assert_eq!(event.cancellation.map(|it| it.is_releasing), Some(false));
    assert_eq!(event.free_seats(), Seats::ZERO);
    assert_eq!(states(service, bookings).await, vec![State::Cancelled; bookings.len()]);
    let mut endings: BTreeMap<BookingId, usize> = BTreeMap::new();
    for entry in service.store().journal(event_id, 0, 100_000).await.expect("read") {
        if entry.kind == JournalKind::Cancelled {
            *endings.entry(entry.booking_id.expect("about a booking")).or_default() += 1;
        }
    }
    let once = bookings.iter().map(|booking| (booking.id, 1)).collect();
    assert_eq!(endings, once);
    for booking in bookings {
        assert_eq!(service.balance(booking.user_id.get()).await, PAID_IN, "{booking:?}");
    }
}

#[tokio::test]
async fn a_cancelled_event_releases_what_was_booked() {
    let service = Service::start().await;
    let (event_id, bookings) = with_bookings(&service, 4).await;
    let (other, others) = with_bookings_of(&service, 1).await;
    let cancelled = service.cancel_event(event_id).await.expect("an admin may");
    let at = service.now();
    assert_eq!(cancelled.cancellation, Some(Cancellation { at, is_releasing: true }));
    assert_eq!(cancelled.tally.pending_bookings + cancelled.tally.confirmed_bookings, 4);
    service.pass(A_LOOK).await;
    assert_released(&service, event_id, &bookings).await;
    let journal = service.store().journal(event_id, 7, 9).await.expect("read");
    let told: Vec<_> = journal.iter().map(|entry| (entry.kind, entry.seats.get())).collect();
    assert_eq!(told[0], (JournalKind::EventCancelled, 4));
    assert_eq!(told[1..], [(JournalKind::Cancelled, 1); 4]);

    assert_eq!(states(&service, &[others]).await, [State::Occupied], "another event goes on");
    assert!(service.book(2, other, 1).await.is_ok());
    service.finish().await;
}

async fn with_bookings_of(service: &Service, user: i64) -> (EventId, Booking) {
    let event_id = service.create_event(10, PRICE, 30).await;
    (event_id, service.book(user, event_id, 1).await.expect("there is room"))
}

#[tokio::test]
async fn nothing_can_be_booked_or_paid_or_edited_any_more() {
    let service = Service::start().await;
    let (event_id, bookings) = with_bookings(&service, 2).await;
    let [hold, paid] = bookings[..] else { panic!("two bookings") };
    service.faults.object(|changes| {
        let away = || StoreError::Away("not just now".to_owned());
        (!changes.bookings_changed.is_empty()).then(away)
    });
    service.cancel_event(event_id).await.expect("an admin may");
    service.pass(A_LOOK).await;
    let occupy = OccupyRefusal::Cancelled(EventCancelled);
    assert_eq!(service.book(1, event_id, 1).await, Err(refused(occupy)));
    let tried = service.purchase(1, event_id, 1).await.expect("it is written down");
    assert_eq!((tried.state, tried.amount.as_minor()), (State::Cancelled, 0));
    let confirmed = service.confirm(attendee(1), hold.id).await;
    assert_eq!(confirmed, Err(refused(Refusal::EventCancelled(EventCancelled))));
    // It was paid, and still is; asking again changes nothing.
    assert_eq!(service.confirm(attendee(2), paid.id).await, Ok(paid));
    let edited = service.edit(event_id, Amendment::default()).await;
    assert_eq!(edited, Err(refused(EditRefusal::Cancelled(EventCancelled))));
    let before = service.event(event_id).await;
    service.clock.advance(Duration::from_millis(1));
    assert_eq!(service.cancel_event(event_id).await, Ok(before), "once is enough");

    service.faults.object(|_| None);
    service.pass(A_LOOK).await;
    assert_released(&service, event_id, &bookings).await;
    assert_eq!(service.balance(1).await, PAID_IN);
    service.finish().await;
}

#[tokio::test]
async fn only_an_admin_cancels_and_only_what_there_is() {
    let service = Service::start().await;
    let (event_id, booking) = with_bookings_of(&service, 1).await;
    let cancel =
        async |actor, event_id| outcome(service.engine().cancel_event(actor, event_id, None).await);
    assert_eq!(cancel(attendee(1), event_id).await, Err(refused(Refusal::NotAdmin)));
    assert_eq!(cancel(ADMIN, EventId::new(404)).await, Err(refused(Refusal::NoSuchEvent)));
    service.pass(A_LOOK).await;
    assert_eq!(states(&service, &[booking]).await, [State::Occupied]);
    service.finish().await;
}

/// More of them than are released together, and never too many in one transaction.
#[tokio::test]
async fn a_large_event_is_released_in_bounded_batches() {
    const SLICE: usize = 400;
    let service = Service::start().await;
    let (event_id, bookings) = with_bookings(&service, 1_000).await;
    let largest = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&largest);
    service.faults.object(move |changes| {
        seen.fetch_max(changes.bookings_changed.len(), Ordering::SeqCst);
        None
    });
    service.cancel_event(event_id).await.expect("an admin may");
    service.pass(A_LOOK).await;
    assert_released(&service, event_id, &bookings).await;
    assert_eq!(largest.load(Ordering::SeqCst), SLICE);
    service.finish().await;
}

/// The first look releases a part, and the rest is released by whoever starts next.
#[tokio::test]
async fn what_a_crash_leaves_is_released_when_the_service_starts() {
    let mut service = Service::start().await;
    let (event_id, bookings) = with_bookings(&service, 600).await;
    let released = AtomicUsize::new(0);
    service.faults.object(move |changes| {
        let count = changes.bookings_changed.len();
        let is_enough = count > 0 && released.fetch_add(count, Ordering::SeqCst) > 0;
        is_enough.then(|| StoreError::Away("the process is going".to_owned()))
    });
    service.cancel_event(event_id).await.expect("an admin may");
    service.pass(A_LOOK).await;
    let event = service.event(event_id).await;
    assert_eq!(event.tally.pending_bookings + event.tally.confirmed_bookings, 200);
    assert_eq!(event.cancellation.map(|it| it.is_releasing), Some(true));
    service.check_clean().await;
    service.faults.object(|_| None);
    service.restart(Duration::from_secs(1)).await;
    assert_released(&service, event_id, &bookings).await;
    service.finish().await;
}

#[tokio::test]
async fn a_release_of_which_nobody_heard_the_outcome_happens_once() {
    let service = Service::start().await;
    let (event_id, bookings) = with_bookings(&service, 6).await;
    let mut held = service.faults.hold_next_save();
    let engine = service.engine().clone();
    let cancelled = tokio::spawn(async move { engine.cancel_event(ADMIN, event_id, None).await });
    held.reached().await;
    service.faults.next_save(Fault::LoseAnswer);
    held.let_go();
    assert!(outcome(cancelled.await.expect("nobody panics")).is_ok());
    service.pass(A_LOOK).await;
    assert_released(&service, event_id, &bookings).await;
    service.finish().await;
}

#[tokio::test]
async fn two_replicas_release_each_booking_once() {
    let service = Service::with(Options { engines: 2, ..Options::default() }).await;
    let (event_id, bookings) = with_bookings(&service, 100).await;
    service.cancel_event(event_id).await.expect("an admin may");
    service.pass(A_LOOK).await;
    service.pass(A_LOOK).await;
    assert_released(&service, event_id, &bookings).await;
    service.finish().await;
}

/// A row that can't be read, a slot that is missing, and an account that can't take the money.
#[tokio::test]
async fn what_cannot_be_released_keeps_no_other_waiting() {
    let service = Service::start().await;
    let (event_id, bookings) = with_bookings(&service, 8).await;
    let [unread, lost, full] = [bookings[2].id, bookings[4].id, bookings[5].id];
    let owner = bookings[5].user_id;
    let before = service.balance(owner.get()).await;
    service.sql(&format!("UPDATE bookings SET state = 77 WHERE id = {unread}"));
    service.sql(&format!("UPDATE bookings SET id = -{lost} WHERE id = {lost}"));
    let much = i64::MAX - 10;
    service.sql(&format!("UPDATE accounts SET balance = {much} WHERE account_id = {owner}"));
    service.cancel_event(event_id).await.expect("an admin may");
    service.pass(A_LOOK).await;
    let event = service.event(event_id).await;
    assert_eq!(event.tally.pending_bookings + event.tally.confirmed_bookings, 3);
    assert_eq!(event.cancellation.map(|it| it.is_releasing), Some(true));

    // They are left alone, and other events' bookings aren't.
    let tried = service.faults.saves_tried();
    let (other, hold) = with_bookings_of(&service, 1).await;
    service.cancel_event(other).await.expect("an admin may");
    service.pass(A_LOOK).await;
    assert_eq!(states(&service, &[hold]).await, [State::Cancelled]);
    assert_eq!(service.faults.saves_tried(), tried + 4, "created, booked, cancelled, released");

    // Until somebody mends them.
    service.sql(&format!("UPDATE bookings SET state = 2 WHERE id = {unread}"));
    service.sql(&format!("UPDATE bookings SET id = {lost} WHERE id = -{lost}"));
    service.sql(&format!("UPDATE accounts SET balance = {before} WHERE account_id = {owner}"));
    service.pass(LEFT_ALONE).await;
    assert_eq!(states(&service, &[bookings[5]]).await, [State::Cancelled], "{full}");
    assert_released(&service, event_id, &bookings).await;
    service.finish().await;
}

/// A row that says so by mistake doesn't cost anybody a seat.
#[tokio::test]
async fn an_event_that_takes_place_releases_nothing() {
    let service = Service::start().await;
    let (event_id, bookings) = with_bookings(&service, 2).await;
    service.sql(&format!("UPDATE events SET releasing = true WHERE id = {event_id}"));
    service.pass(A_LOOK).await;
    assert_eq!(states(&service, &bookings).await, [State::Occupied, State::Complete]);
    service.sql(&format!("UPDATE events SET releasing = false WHERE id = {event_id}"));
    service.finish().await;
}

/// Nothing but the clock wakes whoever looks for cancelled events while there are none.
#[tokio::test]
async fn where_nothing_is_cancelled_nobody_looks_more_often() {
    let service = Service::start().await;
    let event_id = service.create_event(100, 0, 30).await;
    let looks = service.faults.looks_for_releases();
    for user in 1..=20 {
        service.book(user, event_id, 1).await.expect("there is room");
        service.settle().await;
    }
    assert_eq!(service.faults.looks_for_releases(), looks);
    service.pass(A_LOOK).await;
    assert_eq!(service.faults.looks_for_releases(), looks + 1);
    service.finish().await;
}

#[tokio::test]
async fn whoever_watches_hears_of_the_cancellation_and_of_each_release() {
    let service = Service::start().await;
    let (event_id, _) = with_bookings(&service, 3).await;
    let watching = service.engine().watch(event_id, None).await.expect("read");
    let mut watching = watching.expect("there is the event");
    watching.next().await.expect("how it stands now");
    service.cancel_event(event_id).await.expect("an admin may");
    let mut told = Vec::new();
    while told.len() < 4 {
        let update = service.next(&mut watching, 1).await.expect("it is told");
        told.extend(update.entries.iter().map(|entry| entry.kind));
    }
    assert_eq!(told[0], JournalKind::EventCancelled);
    assert_eq!(told[1..], [JournalKind::Cancelled; 3]);
    drop(watching);
    service.finish().await;
}

/// A user who books, buys, pays and cancels, whatever becomes of it.
async fn attend(engine: Engine, user: i64, event_id: EventId) -> Vec<BookingId> {
    let mut booked = Vec::new();
    for turn in 0..6 {
        let made = if (user + turn) % 3 == 0 {
            purchase(&engine, user, event_id, 1).await
        } else {
            book(&engine, user, event_id, 1).await
        };
        match made {
            Ok(booking) => booked.push(booking.id),
            Err(Failure::Refused(_)) => continue,
            Err(failure) => panic!("{failure:?}"),
        }
        let id = booked[booked.len() - 1];
        let (actor, at) = (attendee(user), (user + turn) % 4);
        let moved = match at {
            0 => Some(engine.cancel(actor, id, None).await),
            1 | 2 => Some(engine.confirm(actor, None, id, None).await),
            _ => None,
        };
        if let Some(Err(error)) = moved {
            panic!("{error:?}");
        }
    }
    booked
}

/// While an event is cancelled its seats are booked, bought, paid, cancelled, and expire: in the end
/// nothing is left of any of it, and everybody has their money.
async fn cancel_in_the_middle(engines: usize) {
    const USERS: i64 = 30;
    let service = Service::with(Options { engines, ..Options::default() }).await;
    service.add_users(1..=USERS).await;
    for user in 1..=USERS {
        service.deposit(user, PAID_IN).await.expect("an admin may pay in");
    }
    let (mut booked, mut kept_out) = (0, 0);
    for round in 0..10 {
        let event_id = service.create_event(1_000, PRICE, 1).await;
        let mut clients = JoinSet::new();
        for user in 1..=USERS {
            let number = usize::try_from(user).expect("few users") % engines;
            clients.spawn(attend(service.engines()[number].clone(), user, event_id));
        }
        let enough = 2 + i64::try_from(service.entropy().below(100)).expect("small");
        while service.event(event_id).await.tally.version < enough {
            tokio::task::yield_now().await;
        }
        service.clock.advance(Duration::from_secs(60 * (round % 2)));
        service.cancel_event(event_id).await.expect("an admin may");
        let ids = clients.join_all().await.concat();
        service.pass(A_LOOK).await;
        service.pass(A_LOOK).await;
        let event = service.event(event_id).await;
        let Cancellation { is_releasing, .. } = event.cancellation.expect("it is cancelled");
        assert!(!is_releasing, "{event:?}");
        assert_eq!(event.tally.occupied, Seats::ZERO);
        let found = service.store().bookings(ids.clone()).await.expect("read");
        assert!(found.iter().all(|booking| booking.state == State::Cancelled), "{found:?}");
        for user in 1..=USERS {
            let account = service.engine().account(UserId::new(user)).await.expect("read");
            assert_eq!(account.balance.as_minor(), PAID_IN, "user {user}");
        }
        booked += event.tally.version;
        kept_out += usize::try_from(USERS * 6).expect("few") - ids.len();
        service.check_clean().await;
    }
    assert!(booked > 20 && kept_out > 0, "{booked} changes, {kept_out} kept out");
    service.finish().await;
}

#[tokio::test]
async fn an_event_is_cancelled_while_everybody_is_at_it() {
    cancel_in_the_middle(1).await;
}

#[tokio::test]
async fn an_event_is_cancelled_through_one_replica_while_everybody_is_at_the_other() {
    cancel_in_the_middle(2).await;
}
