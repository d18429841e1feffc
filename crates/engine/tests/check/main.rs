//! The recount finds every kind of damage, and finds nothing where there is none.
#![allow(missing_docs, reason = "a test's name says what it proves")]

mod apart;
mod damages;
mod life;
mod rows;
mod running;

use eventbooker_core::bookings::{Booking, State};
use eventbooker_core::events::Slot;
use eventbooker_core::{Contexts, EventId, UserId};
use eventbooker_engine::check::{Report, Room, Rule, Together, recount_within};
use eventbooker_store::{Snapshot, TableCounts};
use eventbooker_testkit::Service;
use eventbooker_testkit::service::attendee;

use self::damages::{DAMAGED_MONEY, DAMAGES};
use self::rows::Rows;

/// Event 1 with 10 seats: booking 1 holds two of them, booking 2 has bought three, booking 3 was
/// cancelled and booking 4 holds two. Event 2 has one hold, booking 5, and event 3 has nothing.
async fn some_bookings() -> Service {
    let service = Service::embedded().await;
    for _ in 0..3 {
        service.create_event(10, 0, 30).await;
    }
    let book = async |user, event, seats| -> Booking {
        service.book(user, EventId::new(event), seats).await.expect("there is room")
    };
    book(1, 1, 2).await;
    let sold = book(2, 1, 3).await;
    let cancelled = book(3, 1, 1).await;
    book(4, 1, 2).await;
    book(5, 2, 1).await;
    service.confirm(attendee(2), sold.id).await.expect("in time");
    service.cancel(attendee(3), cancelled.id).await.expect("in time");
    service
}

/// User 1 pays in (postings 1, 3 and 7), pays for bookings 1 and 2 (postings 2 and 4), and for
/// booking 3, which is cancelled (postings 5 and 6). User 2 pays in (posting 8), but too little for
/// booking 4, which is cancelled, and for booking 5, which waits. Booking 6 costs nothing.
async fn some_money() -> Service {
    let service = Service::embedded().await;
    let event_id = service.create_event(10, 40, 30).await;
    let free_event = service.create_event(10, 0, 30).await;
    service.add_users([1, 2]).await;
    let deposit = async |user, amount| {
        service.deposit(user, amount).await.expect("the user is registered");
    };
    let purchase = async |user, event_id, seats| -> Booking {
        service.purchase(user, event_id, seats).await.expect("it is written down")
    };
    deposit(1, 200).await;
    purchase(1, event_id, 2).await;
    deposit(1, 100).await;
    let hold = service.book(1, event_id, 1).await.expect("there is room");
    service.confirm(attendee(1), hold.id).await.expect("there is enough");
    let cancelled = purchase(1, event_id, 3).await;
    service.cancel(attendee(1), cancelled.id).await.expect("cancelled");
    deposit(1, 20).await;
    deposit(2, 30).await;
    assert_eq!(purchase(2, event_id, 1).await.state, State::Cancelled);
    service.book(2, event_id, 1).await.expect("there is room");
    purchase(2, free_event, 1).await;
    assert_eq!((service.balance(1).await, service.balance(2).await), (200, 30));
    service
}

/// Rooms that are used up at once: by numbers, by groups, by rows.
const SMALL_ROOMS: [Room; 3] = [
    Room { numbers: 2, groups: 1 << 16, rows: 1_000 },
    Room { numbers: 1_000, groups: 1, rows: 1_000 },
    Room { numbers: 3, groups: 3, rows: 1 },
];

async fn recount_in(room: Room, snapshot: &mut dyn Snapshot) -> Report {
    recount_and_count(room, snapshot).await.0
}

/// What a recount came to, and how many rows it has read.
async fn recount_and_count(room: Room, snapshot: &mut dyn Snapshot) -> (Report, u64) {
    let mut last = (0, 0);
    let mut rows = Together::in_one(Contexts::ALL, snapshot);
    let report = recount_within(room, &mut rows, &mut |read, total| last = (read, total)).await;
    let (read, total) = last;
    // An event without its tally is counted, but isn't read.
    assert!(read == total || read + 1 == total, "{read} of {total} rows were read");
    (report.expect("the rows can be read"), read)
}

/// Fails if something is found, or if there was a doubt: that has every row read once more.
async fn check_clean_at_once(service: &Service, damage: &str) -> TableCounts {
    let mut snapshot = service.damaged(damage).await.snapshot().await.expect("a snapshot");
    let (report, read) = recount_and_count(Room::default(), &mut *snapshot).await;
    assert!(report.is_clean(), "{damage}: {:#?}", report.findings);
    let TableCounts { events, slots, journal, accounts, postings, bookings, errands } =
        report.counts;
    let rows = events + slots + journal + accounts + postings + bookings + errands;
    assert_eq!(read, rows, "{damage}: each row is read once");
    report.counts
}

/// Recounts a damaged copy again and again: with much room and with little, and with its rows in
/// other orders. All that has to come to the same. Returns what it came to.
async fn recounted(service: &Service, damage: &str) -> Report {
    let store = service.damaged(damage).await;
    let mut snapshot = store.snapshot().await.expect("a snapshot");
    let report = recount_in(Room::default(), &mut *snapshot).await;
    for room in SMALL_ROOMS {
        snapshot.rewind().await.expect("it goes back");
        assert_eq!(recount_in(room, &mut *snapshot).await, report, "{damage} in {room:?}");
    }
    snapshot.rewind().await.expect("it goes back");
    let mut rows = Rows::of(&mut *snapshot).await;
    rows.reverse();
    let reversed = recount_in(Room::default(), &mut rows).await;
    assert_eq!(reversed.findings, report.findings, "{damage} in reverse");
    report
}

/// What the recount of a damaged copy doesn't put down to this rule.
async fn missed(service: &Service, what: &str, damage: &str, rule: Rule) -> Option<String> {
    let report = recounted(service, damage).await;
    let is_found = report.findings.iter().any(|finding| finding.rule == rule);
    (!is_found).then(|| format!("{what} is no finding about {rule}: {:#?}", report.findings))
}

#[tokio::test]
async fn every_kind_of_damage_is_found() {
    let service = some_bookings().await;
    let mut all_missed = Vec::new();
    for (what, damage, rule) in DAMAGES {
        all_missed.extend(missed(&service, what, damage, *rule).await);
    }
    assert!(all_missed.is_empty(), "{all_missed:#?}");
    service.finish().await;
}

#[tokio::test]
async fn money_that_does_not_add_up_is_found() {
    let service = some_money().await;
    let mut all_missed = Vec::new();
    for (what, damage) in DAMAGED_MONEY {
        all_missed.extend(missed(&service, what, damage, Rule::Money).await);
    }
    assert!(all_missed.is_empty(), "{all_missed:#?}");

    let counts = check_clean_at_once(&service, "").await;
    assert_eq!((counts.accounts, counts.postings, counts.bookings), (2, 8, 6));
    service.finish().await;
}

#[tokio::test]
async fn what_is_sound_is_clean() {
    let service = some_bookings().await;
    let counts = check_clean_at_once(&service, "").await;
    assert_eq!(counts, service.recount().await.counts);
    assert_eq!((counts.events, counts.slots, counts.journal, counts.bookings), (3, 4, 10, 5));
    service.pass(std::time::Duration::from_secs(30 * 60)).await;
    service.finish().await;

    let empty = Service::embedded().await;
    assert!(empty.recount().await.is_clean());
    empty.finish().await;
}

/// A mistake that shows everywhere is counted to the end and told in part.
#[tokio::test]
async fn findings_are_bounded() {
    let service = Service::embedded().await;
    let store = service.damaged(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
         INSERT INTO slots SELECT i, 1, 1, 0, 0 FROM n",
    );
    let store = store.await;
    let mut snapshot = store.snapshot().await.expect("a snapshot");
    let report = recount_in(Room::default(), &mut *snapshot).await;
    assert_eq!(report.findings.len(), 1_000);
    // No such booking, no such event and no such entry, for each; of broken links the store tells a
    // hundred.
    assert_eq!((report.findings_total, report.unsearched), (9_100, 0));

    // With no room for all of them, nobody looks for bookings that wouldn't be told about.
    let room = Room { groups: 1_000, rows: 10, ..Room::default() };
    let mut snapshot = store.snapshot().await.expect("a snapshot");
    let report = recount_in(room, &mut *snapshot).await;
    assert_eq!(report.findings.len(), 1_000);
    // Each group has three of them, so there was room for three groups.
    assert_eq!((report.findings_total, report.unsearched), (3_100 + 2 * 9, 1_000 - 3));
    service.finish().await;
}

/// Whatever sums told first, it is a booking that is named in the end.
#[tokio::test]
async fn a_finding_names_the_booking_and_what_is_wrong_with_it() {
    let service = some_bookings().await;
    let findings = async |damage| -> Vec<String> {
        let report = service.recount_damaged(damage).await;
        let of_bookings = report.findings.into_iter().filter(|found| found.rule != Rule::Storage);
        of_bookings.map(|found| format!("{}: {}", found.rule, found.what)).collect()
    };
    assert_eq!(
        findings("UPDATE slots SET seats = 1 WHERE booking_id = 1").await,
        [
            "seats: event 1 counts 7 occupied seats, but its slots have 6",
            "holds: booking 1 should have 2 seats of event 1, held, but has 1 seats of event 1, held",
            "journal: booking 1 has 1 seats of event 1, held, but by the journal 2 seats of event 1, held",
        ]
    );
    assert_eq!(
        findings("DELETE FROM journal WHERE event_id = 1 AND version = 7").await,
        [
            "journal: booking 3 has no slot, but by the journal 1 seats of event 1, held",
            "journal: event 1 has version 7, but its journal ends at 6",
        ]
    );
    assert_eq!(
        findings(
            "UPDATE bookings SET state = -2 WHERE id = 1;
             INSERT INTO errands
           (booking_id, event_id, user_id, token, due_at, tries, trouble, parked)
           VALUES (1, 1, 1, 1, 0, 20, 'nobody answers', true)"
        )
        .await,
        ["sagas: booking 1 is parked while releasing after 20 tries: nobody answers"]
    );
    service.finish().await;

    let service = some_money().await;
    let findings = async |damage| -> Vec<String> {
        let report = service.recount_damaged(damage).await;
        report.findings.into_iter().map(|found| format!("{}: {}", found.rule, found.what)).collect()
    };
    assert_eq!(
        findings("UPDATE postings SET booking_id = 6 WHERE number = 2").await,
        [
            "money: booking 1 is complete, but isn't charged 80 from user 1 for event 1",
            "money: booking 6 is charged 80 from user 1 for event 1, but isn't complete like that",
        ]
    );
    assert_eq!(
        findings("UPDATE postings SET event_id = 2 WHERE number = 6").await,
        [
            "money: user 1: Refund of 120 for booking 3, for which 120 from user 1 for event 1 was paid"
        ]
    );
    service.finish().await;
}

/// A booking whose saga is under way may have its seats and its charge, or not yet, or no more.
#[tokio::test]
async fn what_is_on_its_way_is_no_finding() {
    // Booking 1 of the money is paid, booking 3 has its refund, booking 4 never had anything.
    for (booking, state) in [(1, 3), (1, 5), (1, -3), (1, -2), (3, -3), (3, -2), (4, 1), (4, 3)] {
        let service = some_money().await;
        let on_its_way = format!(
            "UPDATE bookings SET state = {state} WHERE id = {booking};
             INSERT INTO errands
           (booking_id, event_id, user_id, token, due_at, tries, trouble, parked)
           VALUES ({booking}, 1, 1, 1, 0, 0, NULL, false)"
        );
        assert_eq!(check_clean_at_once(&service, &on_its_way).await.errands, 1);
        assert!(recounted(&service, &on_its_way).await.is_clean());
        service.finish().await;
    }
}

/// Numbers may be given out in blocks, of which some are lost.
#[tokio::test]
async fn numbers_may_lie_far_apart() {
    const FAR: &str = "UPDATE ids SET last = 9223372036854775807 WHERE kind = 'booking';
        UPDATE bookings SET id = 9000000000000000000 WHERE id = 5;
        UPDATE slots SET booking_id = 9000000000000000000 WHERE booking_id = 5;
        UPDATE journal SET booking_id = 9000000000000000000 WHERE booking_id = 5;";
    let service = some_bookings().await;
    let mut snapshot = service.damaged(FAR).await.snapshot().await.expect("a snapshot");
    let (report, read) = recount_and_count(Room::default(), &mut *snapshot).await;
    assert!(report.is_clean(), "{:#?}", report.findings);
    let TableCounts { events, slots, journal, bookings, .. } = report.counts;
    assert_eq!(read, events + slots + 2 * (journal + bookings), "there are two lots of numbers");
    assert!(recounted(&service, FAR).await.is_clean());

    let damage = "UPDATE bookings SET seats = 3 WHERE id = 9000000000000000000";
    let report = recounted(&service, &format!("{FAR} {damage}")).await;
    assert_eq!(report.findings_total, 1, "{:#?}", report.findings);
    assert!(report.findings[0].what.contains("booking 9000000000000000000 should have 3 seats"));
    service.finish().await;
}

/// A store that keeps the rows of one event together may have a booking's rows with two events.
#[tokio::test]
async fn rows_that_are_there_twice_are_found() {
    let service = some_money().await;
    let mut snapshot = service.store().snapshot().await.expect("a snapshot");
    let mut rows = Rows::of(&mut *snapshot).await;
    rows.sort_by_owner();
    let report = recount_in(Room::default(), &mut rows).await;
    assert!(report.is_clean(), "{:#?}", report.findings);

    let slot = rows.slots.rows[0];
    rows.slots.rows.push(Slot { event_id: EventId::new(2), ..slot });
    let booking = rows.bookings.rows[0];
    rows.bookings.rows.push(Booking { user_id: UserId::new(2), ..booking });
    rows.rewind().await.expect("it goes back");
    let report = recount_in(Room::default(), &mut rows).await;
    for what in [
        "booking 1 has 2 seats of event 1, sold, and 2 seats of event 2, sold too",
        "there are two bookings 1: for event 1 and for event 1",
    ] {
        assert!(report.findings.iter().any(|found| found.what == what), "{:#?}", report.findings);
    }
    service.finish().await;
}
