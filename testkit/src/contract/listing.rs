//! Pages and lists.

use eventbooker_core::bookings::State;
use eventbooker_core::{BookingId, EventId, UserId};
use eventbooker_store::{Changes, EventsPage, Store};

use super::Database;
use crate::rows::{at, booking, event, event_called, held, hold, save, slot};

async fn ids_of(store: &dyn Store, page: EventsPage) -> Vec<i64> {
    let events = store.events(page).await.expect("read");
    events.into_iter().map(|event| event.id.get()).collect()
}

/// By date, then by number; a page follows its anchor.
pub async fn events_come_soonest_first_and_undated_last(database: &dyn Database) {
    let store = database.open().await;
    let dated = |id, starts| event_called(id, "Green run", Some(at(starts)));
    let events_added =
        vec![event(1), dated(2, 30), dated(3, 10), event(4), dated(5, 20), dated(6, 10)];
    let soonest_first = [3, 6, 5, 2, 1, 4];
    save(&*store, Changes { events_added, ..Changes::default() }).await;
    let page = async |limit, after: Option<i64>| {
        let after = after.map(EventId::new);
        ids_of(&*store, EventsPage { limit, after, name_contains: None }).await
    };
    assert_eq!(page(9, None).await, soonest_first);
    assert_eq!(page(2, None).await, soonest_first[..2]);
    for (place, id) in soonest_first.into_iter().enumerate() {
        assert_eq!(page(9, Some(id)).await, soonest_first[place + 1..], "after {id}");
    }
    assert_eq!(page(1, Some(6)).await, [5]);
}

/// Letters in either case; what means something in a pattern means itself.
pub async fn events_are_found_by_any_part_of_their_names(database: &dyn Database) {
    let store = database.open().await;
    let names = ["Green run", "100% fun", "100 fun", "snake_case", "snakeXcase", r"back\slash"];
    let events_added = (1i64..).zip(names).map(|(id, name)| event_called(id, name, None)).collect();
    save(&*store, Changes { events_added, ..Changes::default() }).await;
    let found = async |text: &str| {
        let name_contains = Some(text.to_owned());
        ids_of(&*store, EventsPage { limit: 9, after: None, name_contains }).await
    };
    assert_eq!(found("GREEN").await, [1]);
    assert_eq!(found("n r").await, [1]);
    assert_eq!(found("un").await, [1, 2, 3]);
    assert_eq!(found("0% f").await, [2]);
    assert_eq!(found("%").await, [2]);
    assert_eq!(found("_").await, [4]);
    assert_eq!(found(r"\").await, [6]);
    assert_eq!(found(r"k\s").await, [6]);
    assert_eq!(found("'").await, [0; 0]);
    assert_eq!(found("").await, [1, 2, 3, 4, 5, 6]);
    let name_contains = Some("un".to_owned());
    let after = Some(EventId::new(1));
    let next = ids_of(&*store, EventsPage { limit: 1, after, name_contains }).await;
    assert_eq!(next, [2], "a search is paged as well");
}

/// Above a version, oldest first, at most so many, of one event.
pub async fn journals_are_read_from_a_version_on(database: &dyn Database) {
    let store = database.open().await;
    let mut journal: Vec<_> = (1..=5).rev().map(|version| held(1, version, version)).collect();
    journal.push(held(2, 3, 9));
    save(&*store, Changes { journal, ..Changes::default() }).await;
    let versions = async |after, limit| {
        let entries = store.journal(EventId::new(1), after, limit).await.expect("read");
        entries.into_iter().map(|entry| entry.version).collect::<Vec<_>>()
    };
    assert_eq!(versions(0, 9).await, [1, 2, 3, 4, 5]);
    assert_eq!(versions(2, 2).await, [3, 4]);
    assert_eq!(versions(5, 9).await, [0; 0]);
    assert_eq!(store.journal(EventId::new(3), 0, 9).await, Ok(vec![]));
}

/// One event's, before a booking.
pub async fn slots_are_paged_newest_first(database: &dyn Database) {
    let store = database.open().await;
    let slots_added = vec![slot(1, 1), slot(1, 3), slot(2, 2), slot(1, 4)];
    save(&*store, Changes { slots_added, ..Changes::default() }).await;
    let page = async |before: Option<i64>, limit| {
        let before = before.map(BookingId::new);
        store.slots(EventId::new(1), before, limit).await.expect("read")
    };
    assert_eq!(page(None, 9).await, [slot(1, 4), slot(1, 3), slot(1, 1)]);
    assert_eq!(page(None, 2).await, [slot(1, 4), slot(1, 3)]);
    assert_eq!(page(Some(3), 9).await, [slot(1, 1)]);
    assert_eq!(page(Some(1), 9).await, []);
}

/// Those that exist, whatever their state.
pub async fn bookings_are_found_by_number(database: &dyn Database) {
    let store = database.open().await;
    let bookings_added = vec![hold(1, 1, 1, 60), booking(2, 1, 1, State::Cancelled, 60)];
    save(&*store, Changes { bookings_added: bookings_added.clone(), ..Changes::default() }).await;
    let find = async |ids: &[i64]| {
        let ids = ids.iter().copied().map(BookingId::new).collect();
        store.bookings(ids).await.expect("read")
    };
    assert_eq!(find(&[1, 404, 2]).await, bookings_added);
    assert_eq!(find(&[404]).await, []);
    assert_eq!(find(&[]).await, []);
}

/// A user's holds and paid bookings; not the cancelled ones, not anybody else's.
pub async fn live_bookings_are_paged_newest_first(database: &dyn Database) {
    let store = database.open().await;
    let bookings_added = vec![
        hold(1, 1, 1, 60),
        booking(2, 1, 1, State::Complete, 60),
        booking(3, 1, 1, State::Cancelled, 60),
        hold(4, 2, 1, 60),
        hold(5, 1, 2, 60),
        hold(6, 1, 1, 60),
    ];
    save(&*store, Changes { bookings_added, ..Changes::default() }).await;
    let page = async |event: Option<i64>, before: Option<i64>, limit| {
        let (event, before) = (event.map(EventId::new), before.map(BookingId::new));
        let user = UserId::new(1);
        let found = store.live_bookings_of_user(user, event, before, limit).await.expect("read");
        found.into_iter().map(|booking| booking.id.get()).collect::<Vec<_>>()
    };
    assert_eq!(page(None, None, 9).await, [6, 4, 2, 1]);
    assert_eq!(page(Some(1), None, 9).await, [6, 2, 1]);
    assert_eq!(page(Some(3), None, 9).await, [0; 0]);
    assert_eq!(page(None, Some(4), 9).await, [2, 1]);
    assert_eq!(page(None, None, 3).await, [6, 4, 2]);
    assert_eq!(page(Some(1), Some(6), 1).await, [2]);
}
