//! Pages and lists.

use eventbooker_core::bookings::State;
use eventbooker_core::events::Seats;
use eventbooker_core::{BookingId, EventId, UserId};
use eventbooker_store::{Changes, EventsPage, Store};

use super::Database;
use crate::rows::{account, at, booking, deposit, event, event_called, held, hold, save, slot};

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
        ids_of(&*store, EventsPage { limit, after, not_before: None, name_contains: None }).await
    };
    assert_eq!(page(9, None).await, soonest_first);
    assert_eq!(page(2, None).await, soonest_first[..2]);
    for (place, id) in soonest_first.into_iter().enumerate() {
        assert_eq!(page(9, Some(id)).await, soonest_first[place + 1..], "after {id}");
    }
    assert_eq!(page(1, Some(6)).await, [5]);

    let from = async |seconds| {
        let not_before = Some(at(seconds));
        ids_of(&*store, EventsPage { limit: 9, after: None, not_before, name_contains: None }).await
    };
    assert_eq!(from(10).await, soonest_first);
    assert_eq!(from(11).await, soonest_first[2..]);
    assert_eq!(from(31).await, soonest_first[4..], "an undated one may be any day");
}

/// They may be long, and a list doesn't show them.
pub async fn lists_of_events_come_without_descriptions(database: &dyn Database) {
    let store = database.open().await;
    let mut described = event(2);
    described.plan.description = "Downhill. ".repeat(1_000);
    let events_added = vec![event(1), described.clone()];
    save(&*store, Changes { events_added, ..Changes::default() }).await;
    let mut in_list = described.clone();
    in_list.plan.description.clear();
    for after in [None, Some(EventId::new(1))] {
        let page = EventsPage { limit: 9, after, not_before: None, name_contains: None };
        let mut listed = store.events(page).await.expect("the store answers");
        assert_eq!(listed.pop().as_ref(), Some(&in_list), "after {after:?}");
    }
    assert_eq!(store.event(EventId::new(2)).await, Ok(Some(described)));
}

/// As they stand, whichever of them exist.
pub async fn events_are_found_by_number(database: &dyn Database) {
    let store = database.open().await;
    let events_added = vec![event(1), event(7), event(9)];
    save(&*store, Changes { events_added, ..Changes::default() }).await;
    let [mut untouched, mut booked] = [event(1), event(7)];
    booked.tally.occupied = Seats::new(3);
    booked.tally.pending_bookings = 1;
    booked.tally.version += 1;
    let tallies_changed = vec![(booked.id, booked.tally)];
    save(&*store, Changes { tallies_changed, ..Changes::default() }).await;
    // As in a list.
    untouched.plan.description.clear();
    booked.plan.description.clear();
    let found = async |ids: &[i64]| {
        let ids = ids.iter().copied().map(EventId::new).collect();
        let mut events = store.events_with(ids).await.expect("the store answers");
        events.sort_by_key(|event| event.id);
        events
    };
    assert_eq!(found(&[7, 404, 1]).await, [untouched, booked]);
    assert_eq!(found(&[404, -1]).await, []);
    assert_eq!(found(&[]).await, []);
}

/// Letters in either case; what means something in a pattern means itself.
pub async fn events_are_found_by_any_part_of_their_names(database: &dyn Database) {
    let store = database.open().await;
    let names = [
        "Green run",
        "100% fun",
        "100 fun",
        "snake_case",
        "snakeXcase",
        r"back\slash",
        "Хор «Ёлка»",
    ];
    let events_added = (1i64..).zip(names).map(|(id, name)| event_called(id, name, None)).collect();
    save(&*store, Changes { events_added, ..Changes::default() }).await;
    let found = async |text: &str| {
        let name_contains = Some(text.to_owned());
        ids_of(&*store, EventsPage { limit: 9, after: None, not_before: None, name_contains }).await
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
    for part in ["хор", "ХОР", "ёлка", "елка", "«Е"] {
        assert_eq!(found(part).await, [7], "{part}");
    }
    assert_eq!(found("\0").await, [0; 0], "what can't be kept can be searched for");
    assert_eq!(found("").await, [1, 2, 3, 4, 5, 6, 7]);
    let name_contains = Some("un".to_owned());
    let after = Some(EventId::new(1));
    let next =
        ids_of(&*store, EventsPage { limit: 1, after, not_before: None, name_contains }).await;
    assert_eq!(next, [2], "a search is paged as well");
}

/// Two events with so many holds each, booked by turns: event 1 has the odd bookings.
fn holds_by_turns(holds: i64) -> Changes {
    let mut changes = Changes { events_added: vec![event(1), event(2)], ..Changes::default() };
    for version in 1..=holds {
        for id in [1, 2] {
            let booking_id = 2 * (version - 1) + id;
            changes.slots_added.push(slot(id, booking_id));
            changes.journal.push(held(id, version, booking_id));
        }
    }
    for event in &mut changes.events_added {
        event.tally.version = holds;
        event.tally.pending_bookings = u32::try_from(holds).expect("a few");
    }
    changes
}

/// Above a version, oldest first, at most so many, of one event, however long its journal is.
pub async fn journals_are_read_from_a_version_on(database: &dyn Database) {
    let store = database.open().await;
    save(&*store, holds_by_turns(200)).await;
    let versions = async |after, limit| {
        let entries = store.journal(EventId::new(1), after, limit).await.expect("read");
        assert!(entries.iter().all(|entry| entry.event_id == EventId::new(1)), "{entries:?}");
        entries.into_iter().map(|entry| entry.version).collect::<Vec<_>>()
    };
    let all: Vec<i64> = (1..=200).collect();
    assert_eq!(versions(0, 1000).await, all);
    assert_eq!(versions(-1, u32::MAX).await, all);
    assert_eq!(versions(i64::MAX, u32::MAX).await, [0; 0]);
    for after in 0..=200 {
        let wanted: Vec<i64> = (after + 1..=(after + 3).min(200)).collect();
        assert_eq!(versions(after, 3).await, wanted, "after {after}");
    }
    assert_eq!(store.journal(EventId::new(3), 0, 9).await, Ok(vec![]));
}

/// One event's, before a booking, whatever has ended between them.
pub async fn slots_are_paged_newest_first(database: &dyn Database) {
    let store = database.open().await;
    save(&*store, holds_by_turns(200)).await;
    let page = async |event: i64, before: Option<i64>, limit| {
        let before = before.map(BookingId::new);
        let slots = store.slots(EventId::new(event), before, limit).await.expect("read").slots;
        assert!(slots.iter().all(|slot| slot.event_id == EventId::new(event)), "{slots:?}");
        slots.into_iter().map(|slot| slot.booking_id.get()).collect::<Vec<_>>()
    };
    let odd: Vec<i64> = (1..=200).rev().map(|version| 2 * version - 1).collect();
    assert_eq!(page(1, None, 1000).await, odd);
    assert_eq!(page(1, None, 2).await, odd[..2]);
    assert_eq!(page(1, Some(1), 9).await, [0; 0]);
    assert_eq!(page(3, None, 9).await, [0; 0]);
    for before in 1..=401 {
        let older: Vec<i64> = odd.iter().copied().filter(|id| *id < before).take(3).collect();
        assert_eq!(page(1, Some(before), 3).await, older, "before {before}");
    }

    // All but every fiftieth booking of event 1 end, and with them whatever a page began with.
    let ended = |id: &i64| id % 50 != 1;
    let mut tally = event(1).tally;
    (tally.version, tally.pending_bookings) = (200, 8);
    let changes = Changes {
        slots_removed: odd
            .iter()
            .filter(|id| ended(id))
            .map(|id| (EventId::new(1), BookingId::new(*id)))
            .collect(),
        tallies_changed: vec![(EventId::new(1), tally)],
        ..Changes::default()
    };
    save(&*store, changes).await;
    assert_eq!(page(1, None, 1000).await, [351, 301, 251, 201, 151, 101, 51, 1]);
    for before in 1..=401 {
        let left = odd.iter().copied().filter(|id| !ended(id));
        let older: Vec<i64> = left.filter(|id| *id < before).take(3).collect();
        assert_eq!(page(1, Some(before), 3).await, older, "before {before}");
    }
    assert_eq!(page(2, None, 1).await, [400], "the other event has all of its own");

    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = store.slots(EventId::new(1), before, 3).await.expect("read");
        found.extend(page.slots.iter().map(|slot| slot.booking_id.get()));
        let Some(next) = page.next else { break };
        assert!(before.is_none_or(|before| next < before), "the next page comes behind this one");
        before = Some(next);
    }
    assert_eq!(found, [351, 301, 251, 201, 151, 101, 51, 1], "page by page to the end");
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

/// A user's, in every state, oldest first.
pub async fn bookings_of_a_user_are_paged_oldest_first(database: &dyn Database) {
    let store = database.open().await;
    let mut bookings_added: Vec<_> =
        (1i64..).zip(State::ALL).map(|(id, state)| booking(id, 1, 1, state, 60)).collect();
    bookings_added.insert(4, hold(100, 1, 2, 60));
    save(&*store, Changes { bookings_added, ..Changes::default() }).await;
    let page = async |after: i64, limit| {
        let after = BookingId::new(after);
        let found = store.bookings_of_user(UserId::new(1), after, limit).await.expect("read");
        found.into_iter().map(|booking| booking.id.get()).collect::<Vec<_>>()
    };
    assert_eq!(page(0, 99).await, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(page(0, 2).await, [1, 2]);
    assert_eq!(page(7, 2).await, [8, 9]);
    assert_eq!(page(9, 2).await, [0; 0]);
}

/// One account's, before an entry, however many there are.
pub async fn postings_are_paged_newest_first(database: &dyn Database) {
    let store = database.open().await;
    let mut changes = Changes {
        accounts_changed: vec![account(1, 200, 200), account(2, 200, 200)],
        ..Changes::default()
    };
    for entry in 1..=200 {
        changes.postings.extend([1, 2].map(|user| deposit(user, entry, 1, entry)));
    }
    save(&*store, changes).await;
    assert_eq!(store.account(UserId::new(2)).await, Ok(account(2, 200, 200)));
    assert_eq!(store.account(UserId::new(3)).await, Ok(account(3, 0, 0)));
    let page = async |before, limit| {
        let found = store.postings(UserId::new(1), before, limit).await.expect("read");
        assert!(found.iter().all(|posting| posting.user_id == UserId::new(1)), "{found:?}");
        found.into_iter().map(|posting| posting.entry).collect::<Vec<_>>()
    };
    let all: Vec<i64> = (1..=200).rev().collect();
    assert_eq!(page(None, 1000).await, all);
    assert_eq!(page(None, 2).await, [200, 199]);
    assert_eq!(page(Some(i64::MIN), 9).await, [0; 0]);
    for before in 1..=202 {
        let older: Vec<i64> = all.iter().copied().filter(|e| *e < before).take(3).collect();
        assert_eq!(page(Some(before), 3).await, older, "before {before}");
    }
    assert_eq!(store.postings(UserId::new(3), None, 9).await, Ok(vec![]));
}
