//! The recount finds every kind of damage, and finds nothing where there is none.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use eventbooker_core::bookings::Booking;
use eventbooker_engine::check::Rule;
use eventbooker_testkit::Service;
use eventbooker_testkit::service::attendee;

/// Event 1 with 10 seats: booking 1 holds two of them, booking 2 has bought three, booking 3 was
/// cancelled and booking 4 holds two. Event 2 has one hold, booking 5, and event 3 has nothing.
async fn some_bookings() -> Service {
    let service = Service::start().await;
    for _ in 0..3 {
        service.create_event(10, 0, 30).await;
    }
    let book = async |user, event, seats| -> Booking {
        let event_id = eventbooker_core::EventId::new(event);
        service.book(user, event_id, seats).await.expect("there is room")
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

/// What is damaged, how, and the rule that has to notice.
const DAMAGES: &[(&str, &str, Rule)] = &[
    ("occupied too high", "UPDATE tallies SET occupied = 8 WHERE event_id = 1", Rule::Seats),
    ("occupied too low", "UPDATE tallies SET occupied = 6 WHERE event_id = 1", Rule::Seats),
    (
        "pending miscounted",
        "UPDATE tallies SET pending_bookings = 1 WHERE event_id = 1",
        Rule::Holds,
    ),
    (
        "paid miscounted",
        "UPDATE tallies SET confirmed_bookings = 2 WHERE event_id = 1",
        Rule::Holds,
    ),
    ("version too high", "UPDATE tallies SET version = 99 WHERE event_id = 1", Rule::Journal),
    ("tally missing", "DELETE FROM tallies WHERE event_id = 1", Rule::Seats),
    ("capacity lowered", "UPDATE events SET capacity = 6 WHERE id = 1", Rule::Seats),
    ("event missing", "DELETE FROM events WHERE id = 1", Rule::Holds),
    ("unbooked event missing", "DELETE FROM events WHERE id = 3", Rule::Journal),
    ("slot missing", "DELETE FROM slots WHERE booking_id = 1", Rule::Holds),
    ("slot too many", "INSERT INTO slots VALUES (77, 1, 1, 0, 2)", Rule::Holds),
    ("slot of a cancelled booking", "INSERT INTO slots VALUES (3, 1, 1, 0, 2)", Rule::Holds),
    ("slot of no event", "UPDATE slots SET event_id = 77 WHERE booking_id = 1", Rule::Seats),
    ("slot moved", "UPDATE slots SET event_id = 2 WHERE booking_id = 1", Rule::Holds),
    ("slot with other seats", "UPDATE slots SET seats = 3 WHERE booking_id = 1", Rule::Holds),
    ("slot sold unpaid", "UPDATE slots SET state = 1 WHERE booking_id = 1", Rule::Holds),
    ("booking missing", "DELETE FROM bookings WHERE id = 1", Rule::Holds),
    ("paid booking missing", "DELETE FROM bookings WHERE id = 2", Rule::Holds),
    ("booking with other seats", "UPDATE bookings SET seats = 1 WHERE id = 1", Rule::Holds),
    ("booking paid unsold", "UPDATE bookings SET state = 4 WHERE id = 1", Rule::Holds),
    ("booking revived", "UPDATE bookings SET state = 2 WHERE id = 3", Rule::Holds),
    ("booking moved", "UPDATE bookings SET event_id = 2 WHERE id = 1", Rule::Holds),
    ("booking of no event", "UPDATE bookings SET event_id = 77 WHERE id = 3", Rule::Holds),
    ("number used too early", "UPDATE ids SET last = 4 WHERE kind = 'booking'", Rule::Numbers),
    (
        "first entry missing",
        "DELETE FROM journal WHERE event_id = 1 AND version = 1",
        Rule::Journal,
    ),
    ("entry missing", "DELETE FROM journal WHERE event_id = 1 AND version = 3", Rule::Journal),
    ("last entry missing", "DELETE FROM journal WHERE event_id = 1 AND version = 7", Rule::Journal),
    ("journal missing", "DELETE FROM journal WHERE event_id = 3", Rule::Journal),
    (
        "entry doubled",
        "INSERT INTO journal (event_id, version, kind, booking_id, seats, at)
           SELECT event_id, 8, kind, booking_id, seats, at FROM journal
           WHERE event_id = 1 AND version = 7;
         UPDATE tallies SET version = 8 WHERE event_id = 1",
        Rule::Holds,
    ),
    (
        "paid and expired",
        "INSERT INTO journal (event_id, version, kind, booking_id, seats, at)
           VALUES (1, 8, 4, 2, 3, 0);
         UPDATE tallies SET version = 8 WHERE event_id = 1",
        Rule::Holds,
    ),
    (
        "paid twice",
        "INSERT INTO journal (event_id, version, kind, booking_id, seats, at)
           VALUES (1, 8, 2, 2, 3, 0);
         UPDATE tallies SET version = 8 WHERE event_id = 1",
        Rule::Holds,
    ),
    (
        "entries of two holds exchanged",
        "CREATE TEMP TABLE before AS SELECT * FROM journal;
         UPDATE journal SET (kind, booking_id, seats) =
           (SELECT kind, booking_id, seats FROM before
            WHERE event_id = 1 AND version = 9 - journal.version)
           WHERE event_id = 1 AND version IN (3, 6)",
        Rule::Holds,
    ),
    (
        "entry of another kind",
        "UPDATE journal SET kind = 4 WHERE event_id = 1 AND version = 6",
        Rule::Journal,
    ),
    (
        "entry with other seats",
        "UPDATE journal SET seats = 1 WHERE event_id = 1 AND version = 2",
        Rule::Journal,
    ),
    (
        "entry about no booking",
        "UPDATE journal SET booking_id = NULL WHERE event_id = 1 AND version = 2",
        Rule::Journal,
    ),
    (
        "entry about another booking",
        "UPDATE journal SET booking_id = 77 WHERE event_id = 1 AND version = 2",
        Rule::Journal,
    ),
    (
        "creation of a booking",
        "UPDATE journal SET booking_id = 77 WHERE event_id = 1 AND version = 1",
        Rule::Holds,
    ),
    (
        "a payment forgotten by every row but the journal",
        "UPDATE bookings SET state = 2 WHERE id = 2;
         UPDATE slots SET state = 0 WHERE booking_id = 2;
         UPDATE tallies SET pending_bookings = 3, confirmed_bookings = 0 WHERE event_id = 1",
        Rule::Journal,
    ),
    (
        "one booking in the place of another",
        "DELETE FROM bookings WHERE id = 3;
         UPDATE bookings SET id = 3 WHERE id = 1;
         UPDATE slots SET booking_id = 3 WHERE booking_id = 1",
        Rule::Journal,
    ),
    (
        "entry behind another than the one before",
        "UPDATE journal SET previous = number - 1 WHERE event_id = 2 AND version = 2",
        Rule::Storage,
    ),
    ("an old entry said to be the latest", "UPDATE tallies SET latest = 1", Rule::Storage),
    (
        "slot that began with another's entry",
        "UPDATE slots SET entry = entry + 1 WHERE booking_id = 4",
        Rule::Storage,
    ),
    (
        "an index that lost its pages",
        "PRAGMA writable_schema = ON;
         DELETE FROM sqlite_schema WHERE name = 'bookings_by_deadline'",
        Rule::Storage,
    ),
];

#[tokio::test]
async fn every_kind_of_damage_is_found() {
    let service = some_bookings().await;
    let mut missed = Vec::new();
    for (what, damage, rule) in DAMAGES {
        let report = service.recount_damaged(damage).await;
        if !report.findings.iter().any(|finding| finding.rule == *rule) {
            missed.push(format!("{what} is no finding about {rule}: {:#?}", report.findings));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    service.finish().await;
}

#[tokio::test]
async fn what_is_sound_is_clean() {
    let service = some_bookings().await;
    let untouched = service.recount_damaged("").await;
    assert!(untouched.is_clean(), "{:#?}", untouched.findings);
    assert_eq!(untouched.counts, service.recount().await.counts);
    let counts = untouched.counts;
    assert_eq!((counts.events, counts.slots, counts.journal, counts.bookings), (3, 4, 10, 5));
    service.pass(std::time::Duration::from_secs(30 * 60)).await;
    service.finish().await;

    let empty = Service::start().await;
    assert!(empty.recount().await.is_clean());
    empty.finish().await;
}

/// A mistake that shows everywhere is counted to the end and told in part.
#[tokio::test]
async fn findings_are_bounded() {
    let service = Service::start().await;
    let report = service
        .recount_damaged(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
             INSERT INTO slots SELECT i, 1, 1, 0, 0 FROM n",
        )
        .await;
    assert_eq!(report.findings.len(), 1_000);
    // No such booking and no such event, for each; of broken links the store tells a hundred.
    assert_eq!(report.findings_total, 6_100);
    service.finish().await;
}
