//! Holdings, deadlines, snapshots: what is looked for rather than named.

use eventbooker_core::accounts::{Posting, PostingKind};
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::bookings::participant::{Memory, MemoryKey, Participant, Remembered};
use eventbooker_core::bookings::{Booking, State};
use eventbooker_core::events::{Event, JournalEntry, JournalKind, PaymentWindow, Seats};
use eventbooker_core::{BookingId, EventId, Money, Timestamp, UserId};
use eventbooker_store::{
    BookingRoute, Changes, Checker, DueHolds, HoldingsOf, LastCheck, LastIds, SagaStep, Snapshot,
    Store, TableCounts, Wants,
};

use super::Database;
use super::saving::load;
use crate::clock::MOMENT;
use crate::rows::{
    POOR, account, at, booking, charge, deposit, errand, event, held, hold, one_of_each, save,
    session, slot, tally, user,
};

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
        // What ended at once is the newest, and hides nothing of what counts.
        booking(11, 1, 1, State::Cancelled, 0),
        booking(12, 1, 1, State::Cancelled, 0),
    ];
    save(&*store, Changes { bookings_added: rows, ..Changes::default() }).await;

    let seats_of = async |event_id, user_id, limit, now: Timestamp| {
        let of = HoldingsOf {
            event_id: EventId::new(event_id),
            user_id: UserId::new(user_id),
            limit,
            on_their_way: false,
        };
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
        (2, BookingRoute::Exists { event_id: EventId::new(7), user_id: UserId::new(1) }),
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
    assert_eq!(by_login("an\0n").await, None, "what can't be kept can be asked for");

    let by_ids = async |ids: &[i64]| {
        let ids = ids.iter().copied().map(UserId::new).collect();
        store.users_by_ids(ids).await.expect("read")
    };
    assert_eq!(by_ids(&[5, 404, 1]).await, [user(5, "bob"), user(1, "ann")]);
    assert_eq!(by_ids(&[404]).await, []);
    assert_eq!(by_ids(&[]).await, []);

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
        postings: vec![deposit(2, 1, 90, 90), deposit(1, 2, 5, 55), charge(2, 2, 2, 10)],
        accounts_changed: vec![account(2, 10, 2), account(1, 55, 2)],
        errands_set: vec![errand(3, 9), errand(2, 60)],
        bookings_added: vec![hold(4, 1, 1, 60), hold(2, 2, 1, 60), hold(3, 2, 1, 60)],
        last_ids: LastIds { booking: Some(4), ..LastIds::default() },
        ..Changes::default()
    };
    save(&*store, more).await;
    let mut snapshot = store.snapshot().await.expect("a snapshot");
    save(&*store, later()).await;
    assert_eq!(store.event(EventId::new(3)).await, Ok(Some(event(3))), "writers don't wait");

    let counts = TableCounts {
        events: 2,
        slots: 4,
        journal: 4,
        accounts: 2,
        postings: 4,
        bookings: 4,
        errands: 2,
    };
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

    let mut accounts = snapshot.accounts(1).await.expect("read");
    assert_eq!(accounts.len(), 1);
    accounts.extend(snapshot.accounts(9).await.expect("read"));
    accounts.sort_by_key(|account| account.user_id);
    assert_eq!(accounts, [account(1, 55, 2), account(2, 10, 2)]);
    assert_eq!(snapshot.accounts(9).await, Ok(vec![]));

    let mut postings = snapshot.postings(3).await.expect("read");
    assert_eq!(postings.len(), 3);
    postings.extend(snapshot.postings(9).await.expect("read"));
    postings.sort_by_key(|posting| posting.user_id);
    let all =
        [deposit(1, 1, 50, 50), deposit(1, 2, 5, 55), deposit(2, 1, 90, 90), charge(2, 2, 2, 10)];
    assert_eq!(postings, all);
    assert_eq!(snapshot.postings(9).await, Ok(vec![]));

    let mut bookings = snapshot.bookings(3).await.expect("read");
    assert_eq!(bookings.len(), 3);
    bookings.extend(snapshot.bookings(9).await.expect("read"));
    bookings.sort_by_key(|booking| booking.id);
    let ids: Vec<i64> = bookings.iter().map(|booking| booking.id.get()).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    assert_eq!(snapshot.bookings(9).await, Ok(vec![]));
    let mut errands = snapshot.errands(1).await.expect("read");
    assert_eq!(errands.len(), 1);
    errands.extend(snapshot.errands(9).await.expect("read"));
    errands.sort_by_key(|errand| errand.booking_id);
    assert_eq!(errands, [errand(2, 60), errand(3, 9)]);
    assert_eq!(snapshot.errands(9).await, Ok(vec![]));
    check_rewound(&mut *snapshot, counts).await;
    drop(snapshot);
    let mut next = store.snapshot().await.expect("another");
    assert_eq!(next.counts().await.expect("counted").events, 3);
    check_release(&*store).await;
}

/// Errands that nobody carries, those due for longest first; parked ones wait for the operator.
pub async fn errands_come_when_they_are_due(database: &dyn Database) {
    let store = database.open().await;
    let parked =
        Errand { is_parked: true, trouble: Some("no такого".to_owned()), ..errand(5, 1) };
    let changes = Changes {
        errands_set: vec![
            errand(1, 30),
            errand(2, 10),
            errand(3, 20),
            errand(4, 10),
            parked.clone(),
        ],
        ..Changes::default()
    };
    save(&*store, changes).await;
    let due = async |now, limit| {
        let due = store.due_errands(now, limit).await.expect("read");
        let ids: Vec<i64> = due.errands.iter().map(|errand| errand.booking_id.get()).collect();
        (ids, due.next, (due.open, due.parked))
    };
    let before = |second| Timestamp::from_micros(at(second).as_micros() - 1);
    assert_eq!(due(before(10), 9).await, (vec![], Some(at(10)), (4, 1)));
    assert_eq!(due(at(10), 9).await, (vec![2, 4], Some(at(20)), (4, 1)));
    assert_eq!(due(at(30), 3).await, (vec![2, 4, 3], None, (4, 1)));
    assert_eq!(store.errands(BookingId::new(3), 9).await, Ok(vec![errand(4, 10), parked.clone()]));

    let mut tried = errand(2, 40);
    (tried.token, tried.tries, tried.trouble) = (7, 3, Some("away".to_owned()));
    tried.trace = None;
    let unparked = Errand { is_parked: false, trouble: None, ..parked };
    let changes = Changes {
        errands_set: vec![tried.clone(), unparked],
        errands_removed: vec![BookingId::new(4)],
        ..Changes::default()
    };
    save(&*store, changes).await;
    assert_eq!(due(at(25), 9).await, (vec![5, 3], Some(at(30)), (4, 0)));
    let wants = Wants { errands: vec![BookingId::new(2), BookingId::new(4)], ..Wants::default() };
    let mut writer = store.writer().await.expect("a writer");
    assert_eq!(load(&mut *writer, &wants).await.errands, [tried]);
    writer.release().await.expect("released");
}

/// A participant's memory is what it was told last, by participant, booking and attempt; the steps
/// of a saga are told in their order.
pub async fn memories_and_steps_are_kept(database: &dyn Database) {
    let store = database.open().await;
    let key = |participant, booking, attempt| MemoryKey {
        participant,
        booking_id: BookingId::new(booking),
        attempt,
    };
    let offer =
        Memory::Occupied { amount: Money::from_minor(80), window: PaymentWindow::from_minutes(30) };
    let memories = [
        (key(Participant::Events, 1, 0), offer),
        (key(Participant::Accounts, 1, 1), Memory::Refused(POOR)),
        (key(Participant::Accounts, 1, 2), Memory::Charged),
        (key(Participant::Events, 2, 0), Memory::Withdrawn),
    ]
    .map(|(key, memory)| Remembered { key, memory, at: at(1), begun: Some(at(0)) });
    let step = |booking, asked: &str, second| SagaStep {
        booking_id: BookingId::new(booking),
        asked: asked.to_owned(),
        answered: "да".to_owned(),
        denial: (asked == "Charge").then_some(POOR),
        at: at(second),
    };
    let changes = Changes {
        memories_added: memories.to_vec(),
        saga_steps: vec![step(1, "Occupy", 1), step(2, "Occupy", 1), step(1, "Charge", 2)],
        ..Changes::default()
    };
    save(&*store, changes).await;
    let withdrawn = Remembered { memory: Memory::Withdrawn, at: at(9), ..memories[0] };
    let changes = Changes { memories_changed: vec![withdrawn], ..Changes::default() };
    save(&*store, changes).await;

    let mut wanted: Vec<MemoryKey> = memories.iter().map(|remembered| remembered.key).collect();
    wanted.push(key(Participant::Accounts, 2, 0));
    let mut writer = store.writer().await.expect("a writer");
    let wants = Wants { memories: wanted, ..Wants::default() };
    let mut loaded = load(&mut *writer, &wants).await.memories;
    writer.release().await.expect("released");
    loaded.sort_by_key(|remembered| remembered.key);
    let mut expected = vec![withdrawn, memories[1], memories[2], memories[3]];
    expected.sort_by_key(|remembered| remembered.key);
    assert_eq!(loaded, expected);
    let steps = store.saga_steps(BookingId::new(1)).await;
    assert_eq!(steps, Ok(vec![step(1, "Occupy", 1), step(1, "Charge", 2)]));
    assert_eq!(store.saga_steps(BookingId::new(3)).await, Ok(vec![]));
}

/// Its entries, its postings, its steps and its errand, and nobody else's. What was written
/// about a booking outlives its row.
pub async fn a_trail_is_all_that_was_written_about_a_booking(database: &dyn Database) {
    let store = database.open().await;
    let entry = |version, kind, booking| JournalEntry { kind, ..held(1, version, booking) };
    let journal = vec![
        held(1, 1, 1),
        held(1, 2, 2),
        entry(3, JournalKind::Confirmed, 1),
        entry(4, JournalKind::Expired, 2),
        entry(5, JournalKind::Cancelled, 1),
    ];
    let refund = Posting { kind: PostingKind::Refund, ..charge(1, 4, 1, 120) };
    let postings = vec![deposit(1, 1, 200, 200), charge(1, 2, 1, 120), charge(1, 3, 3, 40), refund];
    let step = |booking, asked: &str| SagaStep {
        booking_id: BookingId::new(booking),
        asked: asked.to_owned(),
        answered: "yes".to_owned(),
        denial: None,
        at: at(1),
    };
    let cancelled = booking(1, 1, 1, State::Cancelled, 60);
    let changes = Changes {
        events_added: vec![Event { tally: tally(5), ..event(1) }],
        journal: journal.clone(),
        postings: postings.clone(),
        accounts_changed: vec![account(1, 120, 4)],
        bookings_added: vec![cancelled, booking(3, 1, 1, State::Paying, 60)],
        saga_steps: vec![step(1, "Occupy"), step(3, "Occupy"), step(1, "Charge")],
        errands_set: vec![errand(1, 9), errand(3, 9)],
        ..Changes::default()
    };
    save(&*store, changes).await;

    let trail = async |id| {
        let id = BookingId::new(id);
        let entries = store.journal_of_booking(id).await.expect("read");
        let posted = store.postings_for(id).await.expect("read");
        let steps = store.saga_steps(id).await.expect("read");
        (entries, posted, steps, store.errand(id).await.expect("read"))
    };
    let entries = vec![journal[0], journal[2], journal[4]];
    let posted = vec![postings[1], postings[3]];
    let steps = vec![step(1, "Occupy"), step(1, "Charge")];
    assert_eq!(trail(1).await, (entries, posted, steps, Some(errand(1, 9))));
    let gone = vec![journal[1], journal[3]];
    assert_eq!(trail(2).await, (gone, vec![], vec![], None));
    assert_eq!(trail(4).await, (vec![], vec![], vec![], None));
}

/// From the beginning again, there are as many rows as there were.
async fn check_rewound(snapshot: &mut dyn Snapshot, counts: TableCounts) {
    snapshot.rewind().await.expect("it goes back");
    let again = TableCounts {
        events: snapshot.events(9).await.expect("read").len() as u64,
        slots: snapshot.slots(9).await.expect("read").len() as u64,
        journal: snapshot.journal(9).await.expect("read").len() as u64,
        accounts: snapshot.accounts(9).await.expect("read").len() as u64,
        postings: snapshot.postings(9).await.expect("read").len() as u64,
        bookings: snapshot.bookings(9).await.expect("read").len() as u64,
        errands: snapshot.errands(9).await.expect("read").len() as u64,
    };
    assert_eq!(again, counts);
}

/// What comes after the snapshot.
fn later() -> Changes {
    Changes {
        events_added: vec![event(3)],
        bookings_added: vec![hold(5, 3, 1, 60)],
        slots_added: vec![slot(3, 5)],
        journal: vec![held(3, 1, 5)],
        accounts_changed: vec![account(3, 7, 1)],
        postings: vec![deposit(3, 1, 7, 7)],
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

/// Whoever checks again replaces what they said, and nobody else's.
pub async fn the_last_check_of_each_kind_is_kept(database: &dyn Database) {
    let store = database.open().await;
    assert_eq!(store.last_checks().await.expect("checks"), []);
    let check = |checker, seconds, findings, first: &str| LastCheck {
        checker,
        at: at(seconds),
        rows: 1_000,
        findings,
        first: first.to_owned(),
    };
    let by_service = check(Checker::Service, 1, 0, "");
    let found = "seats: event 7 has 3 seats too many\nmoney: \u{fb01}ve";
    for check in [by_service.clone(), check(Checker::Operator, 2, 7, found)] {
        save(&*store, Changes { checked: Some(check), ..Changes::default() }).await;
    }
    let first = store.last_checks().await.expect("checks");
    assert_eq!(first, [check(Checker::Operator, 2, 7, found), by_service.clone()]);
    let again = check(Checker::Operator, 3, 0, "");
    save(&*store, Changes { checked: Some(again.clone()), ..Changes::default() }).await;
    assert_eq!(store.last_checks().await.expect("checks"), [again, by_service]);
}
