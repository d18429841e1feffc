//! Databases that hold some of the contexts: what they have, what they refuse, what they leave out.

use std::collections::BTreeSet;
use std::sync::Arc;

use eventbooker_core::events::Tally;
use eventbooker_core::{BookingId, Context, Contexts, EventId, UserId};
use eventbooker_store::{
    Changes, Checker, FullSnapshot, LastCheck, LastIds, OldestKept, OpenError, Purge, Store,
    StoreError, TableCounts, Wants,
};

use super::Database;
use super::copying::memories;
use crate::rows::{answer, at, errand, event, held, key, one_of_each, save, session, slot, tally};

/// The tables that each context has for itself, beside those that every database has.
fn own_tables(context: Context) -> &'static [&'static str] {
    match context {
        Context::Identity => &["sessions", "users"],
        Context::Events => &["events", "journal", "slots", "tallies"],
        Context::Accounts => &["accounts", "postings"],
        Context::Bookings => &["bookings", "errands", "saga_steps"],
    }
}

async fn opened_for(database: &dyn Database, contexts: impl Into<Contexts>) -> Arc<dyn Store> {
    let opened = database.open_for(contexts.into()).await;
    opened.unwrap_or_else(|error| panic!("{error}"))
}

/// What a database consists of, table by table.
async fn catalog(database: &dyn Database) -> BTreeSet<(String, String)> {
    database.catalog().await.into_iter().collect()
}

/// One definition serves all: what four databases have is what one has, and nothing of it twice but what
/// every database has.
pub async fn four_databases_have_what_one_has(database: &dyn Database) {
    database.open().await;
    let whole = catalog(database).await;
    let mut parts = Vec::new();
    for context in Context::ALL {
        let part = database.another();
        opened_for(&*part, context).await;
        parts.push((context, catalog(&*part).await));
    }
    let mut union = BTreeSet::new();
    let mut common = whole.clone();
    for (_, part) in &parts {
        union.extend(part.iter().cloned());
        common = common.intersection(part).cloned().collect();
    }
    assert_eq!(union, whole);
    assert!(!common.is_empty());
    for (context, part) in &parts {
        let own = part.difference(&common).map(|(table, _)| table.as_str());
        let own: BTreeSet<&str> = own.collect();
        assert_eq!(own, own_tables(*context).iter().copied().collect(), "{context}");
    }
    // However they come together.
    let grown = database.another();
    for context in [Context::Bookings, Context::Identity, Context::Accounts, Context::Events] {
        grown.add(context.into()).await;
    }
    assert_eq!(catalog(&*grown).await, whole);
}

/// What it holds is enough or it isn't opened; and whoever only opens it makes no tables beside others.
pub async fn a_database_is_opened_for_what_it_holds(database: &dyn Database) {
    let [auth, events] = [Context::Identity, Context::Events].map(Contexts::from);
    assert_eq!(database.open().await.contexts(), Contexts::ALL, "an empty one gets all of them");
    assert_eq!(opened_for(database, auth).await.contexts(), auth, "and has more than is needed");
    assert_eq!(opened_for(database, Contexts::ALL).await.contexts(), Contexts::ALL);

    let part = database.another();
    assert_eq!(opened_for(&*part, auth).await.contexts(), auth, "an empty one gets what is asked");
    let before = catalog(&*part).await;
    for wanted in [events, auth.and(events), Contexts::ALL] {
        let refused = part.open_for(wanted).await.err();
        let Some(OpenError::OtherContexts { has, wants, .. }) = &refused else {
            panic!("{wanted}: {refused:?}");
        };
        assert_eq!((*has, *wants), (auth, wanted));
        let way_out = format!("`eventbooker migrate --services {wanted}`");
        assert!(refused.is_some_and(|error| error.to_string().contains(&way_out)));
    }
    assert_eq!(catalog(&*part).await, before, "nothing was made");
    assert_eq!(part.open().await.contexts(), auth, "it is what it is");
    let store = part.open().await;
    save(&*store, of(auth, one_of_each())).await;

    let hasty = database.another();
    let (one, other) = tokio::join!(hasty.open_for(auth), hasty.open_for(events));
    let (made, refused) = if one.is_ok() { (one, other) } else { (other, one) };
    assert!(made.is_ok() && matches!(refused, Err(OpenError::OtherContexts { .. })));

    part.add(events).await;
    assert_eq!(part.open().await.contexts(), auth.and(events));
    part.add(auth).await;
    assert_eq!(opened_for(&*part, auth.and(events)).await.contexts(), auth.and(events));
    let users = part.open().await.users(UserId::new(0), 9).await.expect("read");
    assert_eq!(users, one_of_each().users_added, "what was there stays");
}

/// Each database is known by what was drawn for it, for as long as it is there.
pub async fn an_installation_is_drawn_once(database: &dyn Database) {
    let first = database.open().await.installation().await.expect("read");
    database.add(Contexts::ALL).await;
    assert_eq!(database.open().await.installation().await, Ok(first.clone()));
    let other = database.another();
    let other = opened_for(&*other, Context::Events).await.installation().await.expect("read");
    assert_ne!(other.id, first.id);
    assert_ne!(other.secret, first.secret);
    assert!(!format!("{first:?}").contains("secret"), "it isn't logged");
}

/// The changes among these that are about some contexts, and those about none.
fn of(contexts: Contexts, changes: Changes) -> Changes {
    let mut mine = Changes { answers_added: changes.answers_added, ..Changes::default() };
    if contexts.has(Context::Identity) {
        mine.users_added = changes.users_added;
        mine.sessions_added = changes.sessions_added;
    }
    if contexts.has(Context::Events) {
        mine.events_added = changes.events_added;
        mine.slots_added = changes.slots_added;
        mine.journal = changes.journal;
    }
    if contexts.has(Context::Accounts) {
        mine.accounts_changed = changes.accounts_changed;
        mine.postings = changes.postings;
    }
    if contexts.has(Context::Bookings) {
        mine.bookings_added = changes.bookings_added;
        mine.errands_set = vec![errand(1, 9)];
    }
    mine.last_ids = changes.last_ids.of(contexts);
    mine
}

/// How many rows there are in one of each of these contexts.
fn counts_of(contexts: Contexts) -> TableCounts {
    let one = |context| u64::from(contexts.has(context));
    let [events, accounts, bookings] =
        [Context::Events, Context::Accounts, Context::Bookings].map(one);
    TableCounts {
        events,
        slots: events,
        journal: events,
        accounts,
        postings: accounts,
        bookings,
        errands: bookings,
    }
}

/// A snapshot has the rows of some contexts and no others, and counts as many as it has.
async fn check_snapshot(snapshot: &mut dyn FullSnapshot, contexts: Contexts, memories: usize) {
    let counts = counts_of(contexts);
    assert_eq!(snapshot.counts().await, Ok(counts), "{contexts}");
    let read = TableCounts {
        events: snapshot.events(9).await.expect("read").len() as u64,
        slots: snapshot.slots(9).await.expect("read").len() as u64,
        journal: snapshot.journal(9).await.expect("read").len() as u64,
        accounts: snapshot.accounts(9).await.expect("read").len() as u64,
        postings: snapshot.postings(9).await.expect("read").len() as u64,
        bookings: snapshot.bookings(9).await.expect("read").len() as u64,
        errands: snapshot.errands(9).await.expect("read").len() as u64,
    };
    assert_eq!(read, counts, "{contexts}");
    let users = usize::from(contexts.has(Context::Identity));
    assert_eq!(snapshot.users(9).await.expect("read").len(), users);
    assert_eq!(snapshot.sessions(9).await.expect("read").len(), users);
    assert_eq!(snapshot.saga_steps(9).await.expect("read").len(), 0);
    assert_eq!(snapshot.memories(9).await.expect("read").len(), memories);
    assert_eq!(snapshot.answers(9).await.expect("read").len(), 1);
    let rows = counts.all() + 2 * users as u64 + memories as u64 + 1;
    assert_eq!(snapshot.rows().await, Ok(rows), "{contexts}");
    let given = LastIds { booking: Some(1), event: Some(1), user: Some(1) }.of(contexts);
    assert_eq!(snapshot.last_ids().await, Ok(given), "{contexts}");
    assert_eq!(snapshot.integrity().await, Ok(vec![]), "{contexts}");
}

/// All that belongs to none works with each alone, and so does what is its own.
pub async fn a_context_alone_does_its_work(database: &dyn Database) {
    for context in Context::ALL {
        let part = database.another();
        let store = opened_for(&*part, context).await;
        save(&*store, of(context.into(), one_of_each())).await;
        check_snapshot(&mut *store.snapshot().await.expect("a snapshot"), context.into(), 0).await;

        assert_eq!(store.ping().await, Ok(()));
        assert!(store.clock().await.is_ok());
        assert_eq!(store.answer(key(1, "key")).await, Ok(Some(answer(1, "key", 0))));
        let has_users = context == Context::Identity;
        let session_end = has_users.then(|| session(1, 1, 60).expires_at);
        let oldest = OldestKept { session_end, answer: Some(at(0)), memory: None };
        assert_eq!(store.oldest_kept().await, Ok(oldest), "{context}");

        let checker = Checker::Service;
        let check = LastCheck { checker, at: at(1), rows: 2, findings: 0, first: String::new() };
        let purge = Purge {
            sessions_until: at(100),
            answers_until: at(100),
            answers_after: at(200),
            memories_until: at(-1),
            limit: 9,
        };
        let kept = Changes {
            memories_added: memories(),
            purge: Some(purge),
            checked: Some(check.clone()),
            ..Changes::default()
        };
        save(&*store, kept).await;
        assert_eq!(store.last_checks().await, Ok(vec![check]));
        let first = memories().iter().map(|remembered| remembered.at).min();
        let oldest = OldestKept { memory: first, ..OldestKept::default() };
        assert_eq!(store.oldest_kept().await, Ok(oldest), "{context}");
        let still = store.hold_still().await;
        assert!(still.is_ok(), "{context}: {:?}", still.err());
    }
}

/// Whatever is asked about a context that isn't here is refused, and nothing that comes with it happens.
pub async fn what_is_elsewhere_is_refused(database: &dyn Database) {
    for here in Context::ALL {
        let part = database.another();
        let store = opened_for(&*part, here).await;
        for context in Context::ALL {
            let asked = ask(&*store, context).await;
            assert!(
                asked.iter().all(|answer| answer.is_ok() == (context == here)),
                "{context} of {here}: {asked:?}"
            );
            let mut writer = store.writer().await.expect("a writer");
            let loaded = writer.load(&wants_of(context), at(0)).await.map(drop);
            assert_eq!(loaded.is_ok(), context == here, "{context} of {here}: {loaded:?}");
            writer.release().await.expect("released");
            if context != here {
                let both = of(Contexts::from(context).and(here.into()), one_of_each());
                writer.load(&Wants::default(), at(0)).await.expect("the writer goes on");
                let saved = writer.save(&both).await;
                assert!(matches!(saved, Err(StoreError::Refused(_))), "{context}: {saved:?}");
            }
        }
        let rows = store.snapshot().await.expect("a snapshot").rows().await;
        assert_eq!(rows, Ok(0), "{here}: nothing was written");
    }
}

/// Where bookings are elsewhere, their steps come in whatever order.
pub async fn slots_are_paged_by_number_whenever_they_began(database: &dyn Database) {
    let store = opened_for(database, Context::Events).await;
    let begun = [5, 2, 9, 1, 7];
    let mut event = event(3);
    event.tally = Tally { pending_bookings: 5, confirmed_bookings: 0, ..tally(5) };
    let entries = (1..).zip(begun).map(|(version, booking)| held(3, version, booking));
    save(
        &*store,
        Changes {
            events_added: vec![event],
            slots_added: begun.iter().map(|booking| slot(3, *booking)).collect(),
            journal: entries.collect(),
            ..Changes::default()
        },
    )
    .await;
    let (mut found, mut before) = (Vec::new(), None);
    for _ in 0..9 {
        let page = store.slots(EventId::new(3), before, 2).await.expect("read");
        found.extend(page.slots.iter().map(|slot| slot.booking_id.get()));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(found, [9, 7, 5, 2, 1]);
}

fn wants_of(context: Context) -> Wants {
    match context {
        Context::Identity => Wants { users: vec![UserId::new(1)], ..Wants::default() },
        Context::Events => Wants { events: vec![EventId::new(1)], ..Wants::default() },
        Context::Accounts => Wants { accounts: vec![UserId::new(1)], ..Wants::default() },
        Context::Bookings => Wants { errands: vec![BookingId::new(1)], ..Wants::default() },
    }
}

/// Some of what each context can be asked.
async fn ask(store: &dyn Store, context: Context) -> Vec<Result<(), StoreError>> {
    let (user, event, booking) = (UserId::new(1), EventId::new(1), BookingId::new(1));
    match context {
        Context::Identity => vec![
            store.session([1; 32]).await.map(drop),
            store.user_by_login("ann".to_owned()).await.map(drop),
            store.users(user, 9).await.map(drop),
        ],
        Context::Events => vec![
            store.event(event).await.map(drop),
            store.events_with(vec![event]).await.map(drop),
            store.journal(event, 0, 9).await.map(drop),
            store.slots(event, None, 9).await.map(drop),
            store.releasing_events(9).await.map(drop),
        ],
        Context::Accounts => vec![
            store.account(user).await.map(drop),
            store.postings(user, None, 9).await.map(drop),
            store.postings_for(booking).await.map(drop),
        ],
        Context::Bookings => vec![
            store.bookings(vec![booking]).await.map(drop),
            store.booking_route(booking).await.map(drop),
            store.due_holds(at(0), 9).await.map(drop),
            store.due_errands(at(0), 9).await.map(drop),
            store.saga_steps(booking).await.map(drop),
        ],
    }
}

/// A database with everything, opened for some of it, is as if it held no more than that.
pub async fn contexts_that_are_not_opened_are_left_alone(database: &dyn Database) {
    let store = database.open().await;
    let all = of(Contexts::ALL, one_of_each());
    save(&*store, Changes { memories_added: memories(), ..all }).await;
    let [auth, events, accounts, bookings] = Context::ALL.map(Contexts::from);
    let cases = [
        (Contexts::ALL, 4),
        (auth, 0),
        (events, 2),
        (accounts.and(auth), 2),
        (bookings, 0),
        (events.and(accounts), 4),
    ];
    for (contexts, memories) in cases {
        let part = opened_for(database, contexts).await;
        let mut snapshot = part.snapshot().await.expect("a snapshot");
        check_snapshot(&mut *snapshot, contexts, memories).await;
    }
    let part = opened_for(database, bookings).await;
    let purge = Purge {
        sessions_until: at(100),
        answers_until: at(-1),
        answers_after: at(200),
        memories_until: at(-1),
        limit: 9,
    };
    save(&*part, Changes { purge: Some(purge), ..Changes::default() }).await;
    let kept = store.oldest_kept().await.expect("read");
    assert_eq!(kept.session_end, Some(session(1, 1, 60).expires_at), "somebody else's to remove");
}
