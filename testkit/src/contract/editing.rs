//! Events that are edited and cancelled.

use eventbooker_core::events::{Cancellation, Event, PaymentWindow, Plan, Seats};
use eventbooker_core::{EventId, Money};
use eventbooker_store::{Changes, EventsPage, Store, Wants};

use super::Database;
use super::saving::load;
use crate::rows::{at, cancelled, event, save, tally};

/// Every part of it, by whoever reads it, with its tally or without; and its neighbours stay.
pub async fn an_edited_event_is_read_as_it_was_written(database: &dyn Database) {
    let store = database.open().await;
    let added = vec![event(1), event(2), cancelled(event(3), false)];
    save(&*store, Changes { events_added: added.clone(), ..Changes::default() }).await;
    let plan = Plan {
        name: "Synthwave, 'quoted'".to_owned(),
        description: "Über\nall".to_owned(),
        starts_at: Some(at(500)),
        capacity: Seats::new(7),
        price: Money::from_minor(9),
        payment_window: PaymentWindow::from_minutes(3),
    };
    let edited = Event { plan, ..event(2) };
    let released = cancelled(event(1), true);
    for (changed, tally) in [
        (edited.clone(), None),
        (Event { tally: tally(7), ..cancelled(edited, true) }, Some(tally(7))),
        (released.clone(), None),
        (cancelled(released, false), None),
    ] {
        let changes = Changes {
            events_changed: vec![changed.clone()],
            tallies_changed: tally.map(|tally| (changed.id, tally)).into_iter().collect(),
            ..Changes::default()
        };
        let before = read_events(&*store).await;
        save(&*store, changes).await;
        let expected: Vec<Event> = before
            .into_iter()
            .map(|event| if event.id == changed.id { changed.clone() } else { event })
            .collect();
        assert_eq!(read_events(&*store).await, expected);
    }
    let page = EventsPage { not_before: None, limit: 9, after: None, name_contains: None };
    let listed = store.events(page).await.expect("read");
    let places: Vec<_> = listed.iter().map(|event| (event.id.get(), event.cancellation)).collect();
    let since = |is_releasing| Some(Cancellation { at: at(5), is_releasing });
    assert_eq!(places, [(2, since(true)), (1, since(false)), (3, since(false))], "soonest first");
}

/// All events as a writer, a reader and a snapshot have them.
async fn read_events(store: &dyn Store) -> Vec<Event> {
    let ids: Vec<EventId> = (1..=3).map(EventId::new).collect();
    let mut writer = store.writer().await.expect("a writer");
    let wants = Wants { events: ids.clone(), ..Wants::default() };
    let loaded = load(&mut *writer, &wants).await.events;
    writer.release().await.expect("released");
    let mut read = Vec::new();
    for id in ids {
        read.extend(store.event(id).await.expect("read"));
    }
    assert_eq!(loaded, read);
    let mut snapshot = store.snapshot().await.expect("a snapshot");
    assert_eq!(snapshot.events(9).await, Ok(loaded.clone()));
    loaded
}

/// By number, at most so many, until they have no bookings any more.
pub async fn cancelled_events_are_found_while_they_release(database: &dyn Database) {
    let store = database.open().await;
    let found = async |limit| -> Vec<i64> {
        let found = store.releasing_events(limit).await.expect("read");
        found.into_iter().map(EventId::get).collect()
    };
    let events_added = vec![
        cancelled(event(4), true),
        event(1),
        cancelled(event(2), true),
        cancelled(event(3), false),
        event(5),
    ];
    save(&*store, Changes { events_added, ..Changes::default() }).await;
    assert_eq!(found(9).await, [2, 4]);
    assert_eq!(found(1).await, [2]);
    let events_changed =
        vec![cancelled(event(5), true), cancelled(event(2), false), cancelled(event(1), true)];
    save(&*store, Changes { events_changed, ..Changes::default() }).await;
    assert_eq!(found(9).await, [1, 4, 5]);
}
