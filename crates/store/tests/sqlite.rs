//! What is particular to SQLite: files, schema versions, one server at a time, damaged rows.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::path::{Path, PathBuf};

use eventbooker_core::accounts::Account;
use eventbooker_core::bookings::{Payment, State};
use eventbooker_core::events::{Event, JournalEntry, JournalKind};
use eventbooker_core::{BookingId, Context, Contexts, EventId, Money, UserId};
use eventbooker_store::sqlite::{SCHEMA_VERSION, SqliteCopyTarget, SqliteStore};
use eventbooker_store::{Access, CopyTarget as _, LastIds, MigrationReport};
use eventbooker_store::{
    AccountQueries as _, BookingQueries as _, CommonQueries as _, EventQueries as _,
    EventWorkQueries as _, IdentityQueries as _,
};
use eventbooker_store::{Changes, EventsPage, OpenError, Store, StoreError, Wants};
use eventbooker_testkit::rows::{at, booking, event, held, one_of_each, save, slot, tally};
use rusqlite::Connection;
use tempfile::TempDir;

fn place() -> (TempDir, PathBuf) {
    let directory = TempDir::new().expect("there is a place for a test's files");
    let path = directory.path().join("a.db");
    (directory, path)
}

fn sql(path: &Path, statements: &str) {
    Connection::open(path).expect("opens").execute_batch(statements).expect("runs");
}

fn open(path: &Path, access: Access) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(path, access)
}

#[tokio::test]
async fn a_file_has_one_server_and_any_number_of_tools() {
    let (_directory, path) = place();
    let server = open(&path, Access::Serve).expect("the first serves");
    let second = open(&path, Access::Serve).err();
    assert!(matches!(second, Some(OpenError::InUse { .. })), "{second:?}");
    assert!(open(&path, Access::Tool).is_ok());
    assert!(open(&path, Access::Look).is_ok());
    drop(server);
    assert!(open(&path, Access::Serve).is_ok(), "the place is free again");
}

#[tokio::test]
async fn a_newer_schema_is_refused_by_everybody() {
    let (_directory, path) = place();
    drop(open(&path, Access::Tool).expect("created"));
    sql(&path, &format!("PRAGMA user_version = {}", SCHEMA_VERSION + 1));
    for access in [Access::Serve, Access::Tool, Access::Look] {
        let refused = open(&path, access).err();
        let Some(OpenError::SchemaTooNew { found, known, .. }) = refused else {
            panic!("{access:?}: {refused:?}");
        };
        assert_eq!((found, known), (SCHEMA_VERSION + 1, SCHEMA_VERSION));
    }
    let refused = SqliteStore::migrate(&path).err();
    assert!(matches!(refused, Some(OpenError::SchemaTooNew { .. })), "{refused:?}");
}

#[tokio::test]
async fn an_older_schema_is_only_looked_at_after_migration() {
    let (_directory, path) = place();
    sql(&path, "CREATE TABLE unrelated (number INTEGER)");
    let refused = open(&path, Access::Look).err();
    let Some(OpenError::SchemaTooOld { found: 0, known, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(known, SCHEMA_VERSION);
    let (to, contexts) = (SCHEMA_VERSION, Contexts::ALL);
    let migrated = SqliteStore::migrate(&path);
    assert_eq!(migrated, Ok(MigrationReport { from: 0, to, added: contexts, contexts }));
    let again = SqliteStore::migrate(&path);
    assert_eq!(again, Ok(MigrationReport { from: to, to, added: Contexts::NONE, contexts }));
    assert!(open(&path, Access::Look).is_ok());
}

/// What an earlier program has written is there afterwards, and can be gone on with.
#[tokio::test]
async fn a_database_of_an_earlier_program_is_brought_up_to_date() {
    let (_directory, path) = place();
    sql(&path, include_str!("../migrations/sqlite/0001_initial.sql"));
    sql(
        &path,
        "INSERT INTO bookings
           (id, event_id, user_id, seats, amount, state, created_at, expires_at)
           VALUES (77, 2, 3, 4, 50, 2, 60, 70);
         INSERT INTO events
           (id, name, description, capacity, price_minor, payment_window_minutes, created_at)
           VALUES (2, 'Green run', '', 9, 5, 30, 60);
         INSERT INTO tallies VALUES (2, 4, 1, 0, 2, NULL);
         UPDATE ids SET last = 77 WHERE kind = 'booking';
         PRAGMA user_version = 1",
    );
    let store = open(&path, Access::Serve).expect("migrated");
    let found = store.bookings(vec![BookingId::new(77)]).await.expect("the store answers");
    let [booking] = found[..] else { panic!("{found:?}") };
    assert_eq!((booking.state, booking.payment), (State::Occupied, Payment::Later));
    assert_eq!((booking.amount, booking.attempt), (Money::from_minor(50), 0));
    assert_eq!(store.account(UserId::new(3)).await, Ok(Account::open(UserId::new(3))));
    let event = store.event(EventId::new(2)).await.expect("the store answers");
    assert_eq!(event.map(|event| (event.tally.version, event.cancellation)), Some((2, None)));
    assert_eq!(store.releasing_events(9).await, Ok(vec![]));
    assert_eq!(store.contexts(), Contexts::ALL, "there were no others then");
    let bookings = SqliteStore::open_for(&path, Access::Tool, Context::Bookings.into());
    let bookings = bookings.expect("it has them");
    assert_eq!(bookings.installation().await, store.installation().await);
    save(&store, one_of_each()).await;
}

#[tokio::test]
async fn looking_creates_nothing() {
    let (_directory, path) = place();
    let refused = open(&path, Access::Look).err();
    assert!(matches!(refused, Some(OpenError::Unreachable { .. })), "{refused:?}");
    assert!(!path.exists());
}

#[tokio::test]
async fn what_is_no_database_is_refused_with_its_name() {
    let (_directory, path) = place();
    std::fs::write(&path, "this is a letter to Ann, and no database at all ".repeat(99))
        .expect("written");
    for access in [Access::Serve, Access::Tool, Access::Look] {
        let refused = open(&path, access).err();
        let Some(OpenError::Unreachable { database, .. }) = refused else {
            panic!("{access:?}: {refused:?}");
        };
        assert!(database.ends_with("a.db"), "{database}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let (_directory, path) = place();
    let store = open(&path, Access::Serve).expect("created");
    save(&store, Changes { events_added: vec![event(1)], ..Changes::default() }).await;
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.clone().into_os_string();
        name.push(suffix);
        let mode = std::fs::metadata(&name).expect("the file is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", Path::new(&name).display());
    }
}

#[tokio::test]
async fn the_file_has_a_log_and_small_pages() {
    let (_directory, path) = place();
    drop(open(&path, Access::Tool).expect("created"));
    let conn = Connection::open(&path).expect("opens");
    let mode: String =
        conn.pragma_query_value(None, "journal_mode", |row| row.get(0)).expect("read");
    let page_bytes: i64 =
        conn.pragma_query_value(None, "page_size", |row| row.get(0)).expect("read");
    assert_eq!((mode.as_str(), page_bytes), ("wal", 2048));
}

/// Three paid bookings, then thousands that expired, and thousands of another event among them. One
/// look doesn't go through all of that, and says how far it came.
#[tokio::test]
async fn a_search_for_slots_has_an_end_however_many_bookings_have_ended() {
    const HOLDS: i64 = 12_200;
    const LIVE: i64 = 3;
    let (_directory, path) = place();
    let store = open(&path, Access::Tool).expect("created");
    let mut changes = Changes { events_added: vec![event(1), event(2)], ..Changes::default() };
    for version in 1..=HOLDS {
        for id in [1, 2] {
            let booking_id = 2 * version + id;
            if id == 2 || version <= LIVE {
                changes.slots_added.push(slot(id, booking_id));
            }
            changes.journal.push(held(id, version, booking_id));
        }
    }
    for version in HOLDS + 1..=2 * HOLDS - LIVE {
        let ended = held(1, version, 2 * (version - HOLDS + LIVE) + 1);
        changes.journal.push(JournalEntry { kind: JournalKind::Expired, ..ended });
    }
    for (event, live) in changes.events_added.iter_mut().zip([LIVE, HOLDS]) {
        event.tally.pending_bookings = u32::try_from(live).expect("some");
    }
    save(&store, changes).await;
    let (mut looks, mut before) = (Vec::new(), None);
    loop {
        let page = store.slots(EventId::new(1), before, 100).await.expect("read");
        looks.push(page.slots.iter().map(|slot| slot.booking_id.get()).collect::<Vec<_>>());
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(looks, [vec![], vec![7, 5, 3]]);
}

/// Where services ran apart, slots began in another order than their bookings' numbers, and some have
/// still to begin. A file that they are copied into goes on with them and numbers of its own.
#[tokio::test]
async fn slots_are_found_whatever_order_they_were_copied_in() {
    for in_parts in [false, true] {
        let (_directory, path) = place();
        let mut events = [3, 4].map(|id| Event { tally: tally(0), ..event(id) });
        let holds =
            [(3, 5), (3, 2), (4, 4), (3, 8), (3, 9), (3, 1), (4, 6), (3, 7), (4, 12), (4, 11)];
        let mut seats = begun(&mut events, &holds);
        // Two of these holds have ended since.
        seats.slots_added.retain(|slot| ![8, 12].contains(&slot.booking_id.get()));
        seats.events_added = events.to_vec();
        let late = booking(10, 3, 1, State::Occupying, 60);
        let bookings = Changes { bookings_added: vec![late], ..Changes::default() };
        if in_parts {
            copy_into(&path, Context::Events.into(), vec![seats]).await;
            copy_into(&path, Context::Bookings.into(), vec![bookings]).await;
            let others = Contexts::from(Context::Identity).and(Context::Accounts.into());
            copy_into(&path, others, Vec::new()).await;
        } else {
            copy_into(&path, Contexts::ALL, vec![seats, bookings]).await;
        }

        let store = open(&path, Access::Serve).expect("it is whole");
        let mut changes = begun(&mut events, &[(3, 13), (4, 14), (3, 10), (3, 15)]);
        changes.tallies_changed = events.iter().map(|event| (event.id, event.tally)).collect();
        save(&store, changes).await;
        for limit in 1..=9 {
            let found =
                [page_by_page(&store, 3, limit).await, page_by_page(&store, 4, limit).await];
            let expected = [vec![15, 13, 10, 9, 7, 5, 2, 1], vec![14, 11, 6, 4]];
            assert_eq!(found, expected, "in parts: {in_parts}, {limit} a page");
        }
    }
}

/// Copies rows whose bookings have numbers up to 12.
async fn copy_into(path: &Path, contexts: Contexts, rows: Vec<Changes>) {
    let target = SqliteCopyTarget::open(path, "elsewhere", contexts).expect("it has none of them");
    let last_ids = LastIds { booking: Some(12), ..LastIds::default() };
    let store = target.begin(last_ids).await.expect("begun");
    for changes in rows {
        save(&*store, changes).await;
    }
    drop(store);
    target.complete().await.expect("completed");
    Box::new(target).finish().await.expect("finished");
}

/// Holds of these bookings, begun in this order on these events.
fn begun(events: &mut [Event; 2], holds: &[(i64, i64)]) -> Changes {
    let mut changes = Changes::default();
    for (id, booking) in holds {
        let event = events.iter_mut().find(|event| event.id.get() == *id).expect("one of these");
        event.tally.version += 1;
        event.tally.pending_bookings += 1;
        changes.journal.push(held(*id, event.tally.version, *booking));
        changes.slots_added.push(slot(*id, *booking));
    }
    changes
}

async fn page_by_page(store: &SqliteStore, event: i64, limit: u32) -> Vec<i64> {
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = store.slots(EventId::new(event), before, limit).await.expect("read");
        found.extend(page.slots.iter().map(|slot| slot.booking_id.get()));
        if page.next.is_none() {
            return found;
        }
        before = page.next;
    }
}

/// A row with a number that this program doesn't know is an error that names it, for every way
/// that leads to the row; it is neither a panic nor skipped.
#[tokio::test]
async fn numbers_that_mean_nothing_are_named() {
    let (_directory, path) = place();
    let store = open(&path, Access::Tool).expect("created");
    save(&store, one_of_each()).await;
    sql(
        &path,
        "UPDATE bookings SET state = 77; UPDATE slots SET state = 78;
         UPDATE users SET role = 80; UPDATE events SET capacity = -1;
         UPDATE tallies SET pending_bookings = 1;",
    );
    let (event_id, booking_id) = (EventId::new(1), BookingId::new(1));
    let named = |error: Option<StoreError>, what: &str| match error {
        Some(StoreError::Refused(text)) => assert!(text.contains(what), "{text}"),
        other => panic!("{what}: {other:?}"),
    };
    named(store.bookings(vec![booking_id]).await.err(), "booking state 77");
    named(store.slots(event_id, None, 9).await.err(), "slot state 78");
    sql(&path, "UPDATE journal SET kind = 79");
    named(store.journal(event_id, 0, 9).await.err(), "journal kind 79");
    named(store.slots(event_id, None, 9).await.err(), "journal kind 79");
    named(store.user_by_login("ann".to_owned()).await.err(), "role 80");
    named(store.users(UserId::new(0), 9).await.err(), "role 80");
    named(store.session([1; 32]).await.err(), "role 80");
    named(store.event(event_id).await.err(), "-1");
    let page = EventsPage { limit: 9, after: None, not_before: None, name_contains: None };
    named(store.events(page).await.err(), "-1");

    let mut writer = store.writer().await.expect("a writer");
    let wants = [
        (Wants { bookings: vec![(event_id, booking_id)], ..Wants::default() }, "booking state 77"),
        (Wants { slots: vec![(event_id, booking_id)], ..Wants::default() }, "slot state 78"),
        (Wants { users: vec![UserId::new(1)], ..Wants::default() }, "role 80"),
    ];
    for (wants, what) in wants {
        named(writer.load(&wants, at(0)).await.err(), what);
    }
    writer.load(&Wants::default(), at(0)).await.expect("the writer goes on");
    writer.release().await.expect("released");

    let mut snapshot = store.snapshot().await.expect("a snapshot");
    named(snapshot.bookings(9).await.err(), "booking state 77");
    named(snapshot.slots(9).await.err(), "slot state 78");
    named(snapshot.journal(9).await.err(), "journal kind 79");
}
