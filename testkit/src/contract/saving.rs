//! Loads and saves.

use std::sync::Arc;

use eventbooker_core::bookings::participant::{Memory, MemoryKey, Participant, Remembered};
use eventbooker_core::bookings::{Booking, Payment, State};
use eventbooker_core::events::{Seats, Slot, SlotState};
use eventbooker_core::identity::{Role, User};
use eventbooker_core::{BookingId, EventId, Money, UserId};
use eventbooker_store::{Changes, LastIds, Loaded, Purge, Store, StoreError, Wants, Writer};

use super::Database;
use crate::clock::MOMENT;
use crate::rows::{
    POOR, account, answer, at, booking, charge, deposit, event, held, hold, key, one_of_each, save,
    session, slot, tally, user,
};

const EVENT: EventId = EventId::new(1);
const NOBODY: EventId = EventId::new(404);

/// Wants everything that [`one_of_each`] has, by every way to name it.
fn wants_all() -> Wants {
    Wants {
        answers: vec![key(1, "key")],
        bookings: vec![(EVENT, BookingId::new(1))],
        events: vec![EVENT],
        slots: vec![(EVENT, BookingId::new(1))],
        accounts: vec![UserId::new(1)],
        logins: vec!["ann".to_owned()],
        ..Wants::default()
    }
}

pub(super) async fn load(writer: &mut dyn Writer, wants: &Wants) -> Loaded {
    writer.load(wants, at(0)).await.expect("loaded")
}

async fn peek(store: &dyn Store, wants: &Wants) -> Loaded {
    let mut writer = store.writer().await.expect("a writer");
    let loaded = load(&mut *writer, wants).await;
    writer.release().await.expect("released");
    loaded
}

/// What is wanted is there, in as many copies as suit the store; what isn't wanted isn't.
pub async fn a_load_brings_what_is_wanted_and_nothing_else(database: &dyn Database) {
    let store = database.open().await;
    save(&*store, one_of_each()).await;
    let others = Changes {
        users_added: vec![user(2, "bob")],
        events_added: vec![event(2)],
        slots_added: vec![slot(1, 2), slot(2, 3)],
        bookings_added: vec![hold(2, 1, 2, 60), hold(3, 2, 2, 60)],
        answers_added: vec![answer(2, "key", 0), answer(1, "other", 0)],
        ..Changes::default()
    };
    save(&*store, others).await;

    let loaded = peek(&*store, &wants_all()).await;
    assert_eq!(loaded.answers, [answer(1, "key", 0)]);
    assert_eq!(store.answer(key(2, "key")).await, Ok(Some(answer(2, "key", 0))));
    assert_eq!(store.answer(key(2, "other")).await, Ok(None));
    assert_eq!(loaded.bookings, [hold(1, 1, 1, 60)]);
    assert_eq!(loaded.events, [event(1)]);
    assert_eq!(loaded.slots, [slot(1, 1)]);
    assert_eq!(loaded.accounts, [account(1, 50, 1)]);
    assert_eq!(loaded.users, [user(1, "ann")]);
    assert!(loaded.holdings.is_empty());

    let by_number = Wants { users: vec![UserId::new(2)], ..Wants::default() };
    assert_eq!(peek(&*store, &by_number).await.users, [user(2, "bob")]);

    let lost = BookingId::new(404);
    let nothing = Wants {
        // Another user's key, another event's booking: near misses, beside what never was.
        answers: vec![key(2, "other"), key(1, "KEY")],
        bookings: vec![(NOBODY, lost)],
        events: vec![NOBODY],
        slots: vec![(EVENT, lost), (EVENT, BookingId::new(3)), (NOBODY, BookingId::new(1))],
        logins: vec!["Ann".to_owned(), String::new(), "an\0n".to_owned()],
        accounts: vec![UserId::new(404)],
        users: vec![UserId::new(404)],
        ..Wants::default()
    };
    let loaded = peek(&*store, &nothing).await;
    assert_eq!(loaded.accounts, [account(404, 0, 0)], "everybody has an account");
    assert!(loaded.answers.is_empty(), "{loaded:?}");
    assert!(loaded.bookings.is_empty(), "{loaded:?}");
    assert!(loaded.events.is_empty(), "{loaded:?}");
    assert!(loaded.slots.is_empty(), "{loaded:?}");
    assert!(loaded.users.is_empty(), "{loaded:?}");

    let twice = Wants { events: vec![EVENT, EVENT], users: vec![UserId::new(1); 2], ..wants_all() };
    let loaded = peek(&*store, &twice).await;
    assert!(loaded.events.iter().all(|row| *row == event(1)), "naming a row twice does no harm");
    assert!(loaded.users.iter().all(|row| *row == user(1, "ann")));
}

/// Rows are added, changed and removed, and are there for whoever opens the database next.
pub async fn a_save_writes_every_kind_of_change(database: &dyn Database) {
    let store = database.open().await;
    save(&*store, one_of_each()).await;

    let cancelled = Booking { state: State::Cancelled, ..hold(1, 1, 1, 60) };
    let sold = Slot { state: SlotState::Sold, seats: Seats::new(1), ..slot(1, 1) };
    let promoted =
        User { role: Role::Admin, password_hash: "$argon2id$new".to_owned(), ..user(1, "ann") };
    let changes = Changes {
        users_changed: vec![promoted.clone()],
        tallies_changed: vec![(EVENT, tally(7))],
        slots_changed: vec![sold],
        bookings_changed: vec![cancelled],
        ..Changes::default()
    };
    save(&*store, changes).await;
    drop(store);
    let store = database.open().await;
    let loaded = peek(&*store, &wants_all()).await;
    assert_eq!(loaded.users, [promoted]);
    assert_eq!(loaded.events[0].tally, tally(7));
    assert_eq!(loaded.slots, [sold]);
    assert_eq!(loaded.bookings, [cancelled]);
    let entries = store.journal(EVENT, 0, 10).await.expect("read");
    assert_eq!(entries, [held(1, 1, 1)]);
    let found = store.session([1; 32]).await.expect("read").expect("the session is there");
    assert_eq!(found.session, session(1, 1, 60));

    let changes = Changes {
        slots_removed: vec![(EVENT, BookingId::new(1))],
        bookings_removed: vec![(EVENT, BookingId::new(1))],
        ..Changes::default()
    };
    save(&*store, changes).await;
    let loaded = peek(&*store, &wants_all()).await;
    assert!(loaded.slots.is_empty() && loaded.bookings.is_empty(), "{loaded:?}");
    assert_eq!(loaded.events.len(), 1, "only what was named is gone");
}

/// A change of one row leaves its neighbours alone, and every state is read as it was written.
pub async fn changed_rows_keep_what_nobody_may_change(database: &dyn Database) {
    let store = database.open().await;
    let mut rows: Vec<Booking> =
        (1i64..).zip(State::ALL).map(|(id, s)| booking(id, 1, 1, s, 60)).collect();
    rows[3].payment = Payment::AtOnce;
    save(&*store, Changes { bookings_added: rows.clone(), ..Changes::default() }).await;
    let wants =
        Wants { bookings: rows.iter().map(|row| (EVENT, row.id)).collect(), ..Wants::default() };
    assert_eq!(peek(&*store, &wants).await.bookings, rows);

    let mut after = rows.clone();
    after[0].state = State::Complete;
    after[0].amount = Money::from_minor(7);
    after[0].expires_at = at(61);
    save(&*store, Changes { bookings_changed: vec![after[0]], ..Changes::default() }).await;
    assert_eq!(peek(&*store, &wants).await.bookings, after);
}

/// Nothing of a save that is refused remains, and its writer goes on.
pub async fn a_save_that_fails_leaves_nothing(database: &dyn Database) {
    let store = database.open().await;
    save(&*store, one_of_each()).await;
    let mut writer = store.writer().await.expect("a writer");
    load(&mut *writer, &wants_all()).await;
    let changes = Changes {
        users_added: vec![user(2, "bob")],
        events_added: vec![event(2)],
        tallies_changed: vec![(EVENT, tally(9))],
        bookings_removed: vec![(EVENT, BookingId::new(1))],
        slots_removed: vec![(EVENT, BookingId::new(1))],
        sessions_removed: vec![[1; 32]],
        // The last to be written, and it is there already.
        answers_added: vec![answer(1, "key", 5)],
        ..Changes::default()
    };
    let refused = writer.save(&changes).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");

    let loaded = load(&mut *writer, &wants_all()).await;
    assert_eq!(loaded.events, [event(1)]);
    assert_eq!(loaded.bookings.len() + loaded.slots.len() + loaded.answers.len(), 3);
    writer
        .save(&Changes { events_added: vec![event(3)], ..Changes::default() })
        .await
        .expect("saved");
    assert_eq!(store.event(EventId::new(2)).await, Ok(None));
    assert_eq!(store.user_by_login("bob".to_owned()).await, Ok(None));
    assert_eq!(store.event(EventId::new(3)).await, Ok(Some(event(3))));
    assert!(store.session([1; 32]).await.expect("read").is_some());
}

/// A transaction that is given up is over, for its writer and for others.
pub async fn a_release_leaves_nothing(database: &dyn Database) {
    let store = database.open().await;
    save(&*store, one_of_each()).await;
    let mut writer = store.writer().await.expect("a writer");
    for _ in 0..2 {
        load(&mut *writer, &Wants { new_bookings: 5, ..wants_all() }).await;
        writer.release().await.expect("released");
        save(&*store, Changes { tallies_changed: vec![(EVENT, tally(2))], ..Changes::default() })
            .await;
    }
    load(&mut *writer, &Wants { new_bookings: 5, ..wants_all() }).await;
    let next = load_after_release(&mut *writer).await;
    assert_eq!(next, 2, "numbers that nobody used are still free to the same writer");
}

async fn load_after_release(writer: &mut dyn Writer) -> i64 {
    writer.release().await.expect("released");
    let wants = Wants { new_bookings: 1, ..Wants::default() };
    let next = load(writer, &wants).await.booking_ids.next;
    writer.release().await.expect("released");
    next
}

/// Every key that a rule leans on is refused a second time.
pub async fn keys_are_unique(database: &dyn Database) {
    let store = database.open().await;
    save(&*store, one_of_each()).await;
    let posted = |posting, account| Changes {
        postings: vec![posting],
        accounts_changed: vec![account],
        ..Changes::default()
    };
    save(&*store, posted(charge(2, 1, 1, 0), account(2, 0, 1))).await;
    let refused = |second| Remembered {
        key: MemoryKey {
            participant: Participant::Accounts,
            booking_id: BookingId::new(1),
            attempt: 1,
        },
        memory: Memory::Refused(POOR),
        at: at(second),
        begun: None,
    };
    save(&*store, Changes { memories_added: vec![refused(0)], ..Changes::default() }).await;
    let twice = [
        ("login", Changes { users_added: vec![user(2, "ann")], ..Changes::default() }),
        ("user", Changes { users_added: vec![user(1, "bob")], ..Changes::default() }),
        ("session", Changes { sessions_added: vec![session(1, 2, 5)], ..Changes::default() }),
        ("event", Changes { events_added: vec![event(1)], ..Changes::default() }),
        ("slot", Changes { slots_added: vec![slot(1, 1)], ..Changes::default() }),
        ("version", Changes { journal: vec![held(1, 1, 2)], ..Changes::default() }),
        ("entry", posted(deposit(1, 1, 5, 55), account(1, 55, 1))),
        ("entry left out", posted(deposit(1, 3, 5, 55), account(1, 55, 3))),
        ("charge", posted(charge(2, 2, 1, 0), account(2, 0, 2))),
        ("booking", Changes { bookings_added: vec![hold(1, 1, 2, 5)], ..Changes::default() }),
        ("memory", Changes { memories_added: vec![refused(1)], ..Changes::default() }),
        ("answer", Changes { answers_added: vec![answer(1, "key", 9)], ..Changes::default() }),
    ];
    let mut writer = store.writer().await.expect("a writer");
    for (what, changes) in twice {
        load(&mut *writer, &Wants::default()).await;
        let refused = writer.save(&changes).await;
        assert!(matches!(refused, Err(StoreError::Conflict(_))), "{what}: {refused:?}");
    }
}

/// Numbers lie above all that were used, through removals and reopening. Some may be left out, by a
/// writer that ends with a block of them.
pub async fn numbers_rise_and_are_never_used_twice(database: &dyn Database) {
    let wants = Wants { new_bookings: 3, new_events: 2, new_users: 1, ..Wants::default() };
    let nexts = async |store: &dyn Store| {
        let loaded = peek(store, &wants).await;
        assert!(loaded.booking_ids.end - loaded.booking_ids.next >= 3, "{loaded:?}");
        assert!(loaded.event_ids.end - loaded.event_ids.next >= 2, "{loaded:?}");
        assert!(loaded.user_ids.end > loaded.user_ids.next, "{loaded:?}");
        (loaded.booking_ids.next, loaded.event_ids.next, loaded.user_ids.next)
    };
    let store = database.open().await;
    let above = |(booking, event, user): (i64, i64, i64), bookings, events, users| {
        assert!(booking > bookings && event > events && user > users, "{booking} {event} {user}");
    };
    assert_eq!(nexts(&*store).await, (1, 1, 1));
    let used = LastIds { booking: Some(9), event: Some(4), user: Some(1) };
    let changes = Changes {
        bookings_added: (1..=9).map(|id| hold(id, 1, 1, 60)).collect(),
        last_ids: used,
        ..Changes::default()
    };
    save(&*store, changes).await;
    above(nexts(&*store).await, 9, 4, 1);
    let only_bookings = LastIds { booking: Some(10), ..LastIds::default() };
    let changes = Changes {
        bookings_removed: (1..=9).map(|id| (EVENT, BookingId::new(id))).collect(),
        last_ids: only_bookings,
        ..Changes::default()
    };
    save(&*store, changes).await;
    drop(store);
    above(nexts(&*database.open().await).await, 10, 4, 1);
}

/// Two writers that raise the same number never lose a step.
pub async fn writers_are_serialised(database: &dyn Database) {
    const STEPS: i64 = 60;
    let store = database.open().await;
    save(&*store, one_of_each()).await;
    let before = store.event(EVENT).await.expect("read").expect("there").tally.version;
    let writers: Vec<_> = (0..2)
        .map(|_| {
            let store = Arc::clone(&store);
            // An embedded store blocks its thread while it waits for another writer.
            let runtime = tokio::runtime::Handle::current();
            tokio::task::spawn_blocking(move || runtime.block_on(raise(&*store, STEPS)))
        })
        .collect();
    for writer in writers {
        tokio::time::timeout(crate::clock::PATIENCE, writer)
            .await
            .expect("writers don't wait for each other for ever")
            .expect("every step was saved");
    }
    let after = store.event(EVENT).await.expect("read").expect("there").tally.version;
    assert_eq!(after - before, 2 * STEPS);
}

/// Every other time, it waits for its turn before.
async fn raise(store: &dyn Store, steps: i64) {
    let mut writer = store.writer().await.expect("a writer");
    let mut done = 0;
    while done < steps {
        if done % 2 == 1 {
            writer.take_turn(0, at(0)).await;
        }
        let wants = Wants { events: vec![EVENT], ..Wants::default() };
        let loaded = match writer.load(&wants, at(0)).await {
            Ok(loaded) => loaded,
            Err(StoreError::Contention(_)) => continue,
            Err(error) => panic!("{error}"),
        };
        let mut raised = loaded.events[0].tally;
        raised.version += 1;
        let changes = Changes { tallies_changed: vec![(EVENT, raised)], ..Changes::default() };
        match writer.save(&changes).await {
            Ok(()) => done += 1,
            Err(StoreError::Contention(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// A load shows what every other connection has saved before.
pub async fn a_writer_sees_what_others_have_saved(database: &dyn Database) {
    let (here, there) = (database.open().await, database.open().await);
    let mut writer = here.writer().await.expect("a writer");
    load(&mut *writer, &Wants::default()).await;
    writer.release().await.expect("released");
    save(&*there, one_of_each()).await;
    let loaded = load(&mut *writer, &wants_all()).await;
    assert_eq!(loaded.events, [event(1)]);
    writer.release().await.expect("released");
    assert_eq!(here.event(EVENT).await, Ok(Some(event(1))));
}

/// One session, all of a user's, and a new one that begins in the same save.
pub async fn sessions_end_one_by_one_and_all_together(database: &dyn Database) {
    let store = database.open().await;
    let changes = Changes {
        users_added: vec![user(1, "ann"), user(2, "bob")],
        sessions_added: (1..=5).map(|n| session(n, 1 + i64::from(n == 5), 60)).collect(),
        ..Changes::default()
    };
    save(&*store, changes).await;
    save(&*store, Changes { sessions_removed: vec![[1; 32]], ..Changes::default() }).await;
    assert_eq!(signed_in(&*store).await, [2, 3, 4, 5]);
    let changes = Changes {
        sessions_removed_of: vec![UserId::new(1)],
        sessions_added: vec![session(6, 1, 60)],
        ..Changes::default()
    };
    save(&*store, changes).await;
    assert_eq!(signed_in(&*store).await, [5, 6], "the new session outlives the old ones");
}

async fn signed_in(store: &dyn Store) -> Vec<u8> {
    let mut found = Vec::new();
    for digest in 1..=9 {
        if store.session([digest; 32]).await.expect("read").is_some() {
            found.push(digest);
        }
    }
    found
}

/// A purge takes a bounded number of the oldest rows, and none that still count.
pub async fn a_purge_is_bounded_and_oldest_first(database: &dyn Database) {
    let store = database.open().await;
    let none = store.oldest_kept().await.expect("read");
    assert_eq!((none.session_end, none.answer), (None, None));
    let changes = Changes {
        users_added: vec![user(1, "ann")],
        sessions_added: vec![
            session(3, 1, 30),
            session(1, 1, 10),
            session(2, 1, 20),
            session(4, 1, 40),
        ],
        answers_added: (1..=4).map(|n| answer(1, &n.to_string(), n * 10)).collect(),
        ..Changes::default()
    };
    save(&*store, changes).await;
    let oldest = store.oldest_kept().await.expect("read");
    assert_eq!((oldest.session_end, oldest.answer), (Some(at(10)), Some(at(10))));

    let purge = Purge {
        sessions_until: at(30),
        answers_until: at(30),
        answers_after: at(1_000),
        memories_until: at(0),
        limit: 2,
    };
    let sweep = || Changes { purge: Some(purge), ..Changes::default() };
    save(&*store, sweep()).await;
    assert_eq!(signed_in(&*store).await, [3, 4]);
    let oldest = store.oldest_kept().await.expect("read");
    assert_eq!((oldest.session_end, oldest.answer), (Some(at(30)), Some(at(30))));
    for _ in 0..2 {
        save(&*store, sweep()).await;
        assert_eq!(signed_in(&*store).await, [4], "what ends later stays");
        assert_eq!(store.oldest_kept().await.expect("read").answer, Some(at(40)));
    }
    let earlier = at(40).minus(MOMENT);
    let early = Purge {
        sessions_until: earlier,
        answers_until: earlier,
        answers_after: at(1_000),
        memories_until: at(0),
        limit: 9,
    };
    save(&*store, Changes { purge: Some(early), ..Changes::default() }).await;
    assert_eq!(signed_in(&*store).await, [4]);

    let ahead = vec![answer(1, "ahead", 50), answer(1, "far ahead", 51)];
    save(&*store, Changes { answers_added: ahead, ..Changes::default() }).await;
    let purge = Purge { answers_after: at(50), ..early };
    save(&*store, Changes { purge: Some(purge), ..Changes::default() }).await;
    for (name, stays) in [("4", true), ("ahead", true), ("far ahead", false)] {
        let kept = store.answer(key(1, name)).await.expect("read");
        assert_eq!(kept.is_some(), stays, "{name}");
    }
}
