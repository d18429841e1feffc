//! Holdings, deadlines, snapshots: what is looked for rather than named.

use eventbooker_core::bookings::{Booking, State};
use eventbooker_core::events::{Event, Seats};
use eventbooker_core::{BookingId, EventId, Timestamp, UserId};
use eventbooker_store::{
    BookingRoute, Changes, DueHolds, HoldingsOf, LastIds, Store, TableCounts, Wants,
};

use super::Database;
use super::saving::load;
use crate::clock::MOMENT;
use crate::rows::{at, booking, event, held, hold, one_of_each, save, session, slot, tally, user};

/// Holds count until their deadline, cancelled ones too; paid ones don't, nor do other users' or
/// other events'. Of each kind the newest come.
pub async fn holdings_are_those_that_still_count(database: &dyn Database) {
    let store = database.open().await;
    let with_seats = |seats, booking: Booking| Booking { seats: Seats::new(seats), ..booking };
    let rows = vec![
        with_seats(1, hold(1, 1, 1, 0)),
        with_seats(2, hold(2, 1, 1, 10)),
        with_seats(3, hold(3, 1, 1, 20)),
        with_seats(4, hold(4, 1, 1, 30)),
        with_seats(5, booking(5, 1, 1, State::Cancelled, 0)),
        with_seats(6, booking(6, 1, 1, State::Cancelled, 20)),
        with_seats(7, booking(7, 1, 1, State::Cancelled, 30)),
        with_seats(8, booking(8, 1, 1, State::Complete, 60)),
        with_seats(9, hold(9, 1, 2, 60)),
        with_seats(10, hold(10, 2, 1, 60)),
    ];
    save(&*store, Changes { bookings_added: rows, ..Changes::default() }).await;

    let seats_of = async |event_id, user_id, limit, now: Timestamp| {
        let of =
            HoldingsOf { event_id: EventId::new(event_id), user_id: UserId::new(user_id), limit };
        let wants = Wants { holdings: vec![of], ..Wants::default() };
        let mut writer = store.writer().await.expect("a writer");
        let loaded = writer.load(&wants, now).await.expect("loaded");
        writer.release().await.expect("released");
        let [found] = &loaded.holdings[..] else { panic!("one answer to one question") };
        assert_eq!((found.event_id, found.user_id), (of.event_id, of.user_id));
        assert!(found.holdings.iter().all(|held| held.expires_at > loaded.now), "{found:?}");
        let mut seats: Vec<u32> = found.holdings.iter().map(|held| held.seats.get()).collect();
        seats.sort_unstable();
        seats
    };
    assert_eq!(seats_of(1, 1, 9, at(0)).await, [2, 3, 4, 6, 7]);
    assert_eq!(seats_of(1, 1, 9, at(20)).await, [4, 7], "at its deadline a hold counts no more");
    assert_eq!(seats_of(1, 1, 9, at(30)).await, [0; 0]);
    assert_eq!(seats_of(1, 1, 2, at(0)).await, [3, 4, 6, 7]);
    assert_eq!(seats_of(1, 1, 1, at(0)).await, [4, 7]);
    assert_eq!(seats_of(1, 2, 9, at(0)).await, [9]);
    assert_eq!(seats_of(2, 1, 9, at(0)).await, [10]);
    assert_eq!(seats_of(2, 2, 9, at(0)).await, [0; 0]);
}

/// The number is enough to tell a booking that ended from one that never was.
pub async fn a_booking_exists_or_is_gone_or_never_was(database: &dyn Database) {
    let store = database.open().await;
    let changes = Changes {
        bookings_added: vec![hold(2, 7, 1, 60)],
        last_ids: LastIds { booking: Some(3), ..LastIds::default() },
        ..Changes::default()
    };
    save(&*store, changes).await;
    let routes = [
        (i64::MIN, BookingRoute::Never),
        (-1, BookingRoute::Never),
        (0, BookingRoute::Never),
        (1, BookingRoute::Gone),
        (2, BookingRoute::Exists(EventId::new(7))),
        (3, BookingRoute::Gone),
        (4, BookingRoute::Never),
        (i64::MAX, BookingRoute::Never),
    ];
    for (id, route) in routes {
        assert_eq!(store.booking_route(BookingId::new(id)).await, Ok(route), "booking {id}");
    }
}

/// Due means at or after the deadline; only holds have one.
pub async fn due_holds_come_soonest_first(database: &dyn Database) {
    let store = database.open().await;
    let none = DueHolds { holds: vec![], next: None };
    assert_eq!(store.due_holds(at(100), 9).await, Ok(none.clone()));
    let rows = vec![
        hold(1, 1, 1, 30),
        hold(2, 2, 1, 10),
        hold(3, 1, 1, 20),
        booking(4, 1, 1, State::Complete, 5),
        booking(5, 1, 1, State::Cancelled, 5),
    ];
    save(&*store, Changes { bookings_added: rows.clone(), ..Changes::default() }).await;
    let due = |holds: &[(i64, i64)], next: Option<i64>| DueHolds {
        holds: holds.iter().map(|(e, b)| (EventId::new(*e), BookingId::new(*b))).collect(),
        next: next.map(at),
    };
    let just_before = at(10).minus(MOMENT);
    assert_eq!(store.due_holds(just_before, 9).await, Ok(due(&[], Some(10))));
    assert_eq!(store.due_holds(at(10), 9).await, Ok(due(&[(2, 2)], Some(20))));
    assert_eq!(store.due_holds(at(30), 9).await, Ok(due(&[(2, 2), (1, 3), (1, 1)], None)));
    assert_eq!(store.due_holds(at(30), 2).await, Ok(due(&[(2, 2), (1, 3)], None)));
    // A hold that was paid has no deadline any more.
    let paid = rows[..3].iter().map(|row| Booking { state: State::Complete, ..*row }).collect();
    save(&*store, Changes { bookings_changed: paid, ..Changes::default() }).await;
    assert_eq!(store.due_holds(at(30), 9).await, Ok(none));
}

/// By login, by number, by token; exactly, not nearly.
pub async fn users_and_sessions_are_found(database: &dyn Database) {
    let store = database.open().await;
    let changes = Changes {
        users_added: vec![user(1, "ann"), user(2, "Ann"), user(5, "bob")],
        sessions_added: vec![session(1, 2, 0), session(2, 404, 60)],
        ..Changes::default()
    };
    save(&*store, changes).await;
    let by_login = async |login: &str| store.user_by_login(login.to_owned()).await.expect("read");
    assert_eq!(by_login("ann").await, Some(user(1, "ann")));
    assert_eq!(by_login("Ann").await, Some(user(2, "Ann")), "case matters");
    assert_eq!(by_login("an").await, None);

    let page = async |after, limit| {
        let users = store.users(UserId::new(after), limit).await.expect("read");
        users.into_iter().map(|user| user.id.get()).collect::<Vec<_>>()
    };
    assert_eq!(page(0, 2).await, [1, 2]);
    assert_eq!(page(2, 2).await, [5]);
    assert_eq!(page(5, 2).await, [0; 0]);

    let found = store.session([1; 32]).await.expect("read").expect("ended ones are found too");
    assert_eq!((found.session, found.user), (session(1, 2, 0), user(2, "Ann")));
    assert_eq!(store.session([2; 32]).await, Ok(None), "a session of nobody is nobody's");
    assert_eq!(store.session([3; 32]).await, Ok(None));
    assert_eq!(store.ping().await, Ok(()));
}

/// A snapshot has every row in the order of its key, and none that came later.
pub async fn a_snapshot_is_every_row_at_one_instant(database: &dyn Database) {
    let store = database.open().await;
    save(&*store, one_of_each()).await;
    let more = Changes {
        events_added: vec![event(2)],
        slots_added: vec![slot(2, 3), slot(2, 2), slot(1, 4)],
        journal: vec![held(2, 1, 2), held(1, 2, 4), held(2, 2, 3)],
        tallies_changed: vec![(EventId::new(1), tally(2)), (EventId::new(2), tally(2))],
        bookings_added: vec![hold(4, 1, 1, 60), hold(2, 2, 1, 60), hold(3, 2, 1, 60)],
        last_ids: LastIds { booking: Some(4), ..LastIds::default() },
        ..Changes::default()
    };
    save(&*store, more).await;
    let mut snapshot = store.snapshot().await.expect("a snapshot");
    save(&*store, later()).await;
    assert_eq!(store.event(EventId::new(3)).await, Ok(Some(event(3))), "writers don't wait");

    let counts = TableCounts { events: 2, slots: 4, journal: 4, bookings: 4 };
    assert_eq!(snapshot.counts().await, Ok(counts));
    assert_eq!(snapshot.last_booking_id().await, Ok(BookingId::new(4)));
    assert_eq!(snapshot.integrity().await, Ok(vec![]));
    let changed = |id| Event { tally: tally(2), ..event(id) };
    assert_eq!(snapshot.events(1).await, Ok(vec![changed(1)]));
    assert_eq!(snapshot.events(9).await, Ok(vec![changed(2)]));
    assert_eq!(snapshot.events(9).await, Ok(vec![]));

    let mut slots = snapshot.slots(3).await.expect("read");
    assert_eq!(slots.len(), 3, "a page has as many rows as asked for");
    slots.extend(snapshot.slots(9).await.expect("read"));
    slots.sort_by_key(|slot| slot.booking_id);
    assert_eq!(slots, [slot(1, 1), slot(2, 2), slot(2, 3), slot(1, 4)]);
    assert_eq!(snapshot.slots(9).await, Ok(vec![]));

    let mut entries = snapshot.journal(3).await.expect("read");
    assert_eq!(entries.len(), 3);
    entries.extend(snapshot.journal(9).await.expect("read"));
    // Stable, so it shows whether each event's versions came in order.
    entries.sort_by_key(|entry| entry.event_id);
    assert_eq!(entries, [held(1, 1, 1), held(1, 2, 4), held(2, 1, 2), held(2, 2, 3)]);
    assert_eq!(snapshot.journal(9).await, Ok(vec![]));

    let mut bookings = snapshot.bookings(3).await.expect("read");
    assert_eq!(bookings.len(), 3);
    bookings.extend(snapshot.bookings(9).await.expect("read"));
    bookings.sort_by_key(|booking| booking.id);
    let ids: Vec<i64> = bookings.iter().map(|booking| booking.id.get()).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    assert_eq!(snapshot.bookings(9).await, Ok(vec![]));
    drop(snapshot);
    let mut next = store.snapshot().await.expect("another");
    assert_eq!(next.counts().await.expect("counted").events, 3);
    check_release(&*store).await;
}

/// What comes after the snapshot.
fn later() -> Changes {
    Changes {
        events_added: vec![event(3)],
        bookings_added: vec![hold(5, 3, 1, 60)],
        slots_added: vec![slot(3, 5)],
        journal: vec![held(3, 1, 5)],
        last_ids: LastIds { booking: Some(5), ..LastIds::default() },
        ..Changes::default()
    }
}

/// An open snapshot doesn't keep a writer out either.
async fn check_release(store: &dyn Store) {
    let mut writer = store.writer().await.expect("a writer");
    load(&mut *writer, &Wants::default()).await;
    writer.release().await.expect("released");
}
