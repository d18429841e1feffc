//! `eventbooker saga`: what became of a booking, and what an operator does when one is stuck.

#![allow(missing_docs, reason = "a test")]

use std::thread::sleep;
use std::time::{Duration, Instant};

use eventbooker_testkit::client::Answer;
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::database::Database;
use eventbooker_testkit::server::{Installation, Ran, Server};

/// The number of alice, the second of an installation's users.
const ALICE: i64 = 2;

fn installed() -> (Installation, Server) {
    let installation = Installation::with_users(env!("CARGO_BIN_EXE_eventbooker"));
    let server = installation.serve(&[]);
    (installation, server)
}

fn show(installation: &Installation, booking: i64) -> Ran {
    installation.run(&["saga", "show", &booking.to_string()])
}

/// Fails unless a command went well and said all of this, in this order.
fn assert_tells(ran: &Ran, words: &[&str]) {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    words.iter().fold(ran.stdout.as_str(), |rest, words| match rest.split_once(words) {
        Some((_, rest)) => rest,
        None => panic!("{words:?} is missing, or comes too early:\n{}", ran.stdout),
    });
}

/// Fails unless a command said no with these words and nothing else.
fn assert_refuses(ran: &Ran, words: &str) {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.stderr.contains(words), "{ran:?}");
}

fn assert_well(answer: &Answer) {
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
}

#[test]
fn a_purchase_is_told_in_the_order_of_its_steps() {
    let (installation, server) = installed();
    let (admin, alice) = (server.client_of("admin"), server.client_of("alice"));
    let event = admin.create_event(9, 40, 30);
    assert_well(&admin.deposit_for(ALICE, 100));
    // All three steps have one instant.
    let booking = alice.purchase(event, 2).id();
    let steps = [
        ["occupy", "occupied, 2 seats", "event 1, version 2"],
        ["charge", "charged, 80; the balance is 20", "user 2, posting 2"],
        ["settle", "settled, 2 seats", "event 1, version 3"],
    ];
    let told = [["complete", "80", "at once"].as_slice(), steps.as_flattened()].concat();
    assert_tells(&show(&installation, booking), &told);

    let in_vain = alice.purchase(event, 1).id();
    let steps = ["occupy", "charge", "not charged", "release (cancelled)", "released, 1 seat "];
    let ran = show(&installation, in_vain);
    assert_tells(&ran, &[["cancelled", "40", "at once"].as_slice(), &steps].concat());
    assert!(!ran.stdout.contains("settle"), "nobody else's steps: {ran:?}");
    let sold_out = alice.purchase(event, 8).id();
    assert_tells(&show(&installation, sold_out), &["cancelled", "occupy", "not occupied"]);
    server.terminate();
    assert_tells(&show(&installation, booking), &["complete", "occupy", "charge", "settle"]);
}

#[test]
fn a_hold_is_told_from_its_seats_to_the_money_back() {
    let (installation, server) = installed();
    let (admin, alice) = (server.client_of("admin"), server.client_of("alice"));
    let event = admin.create_event(9, 40, 30);
    assert_well(&admin.deposit_for(ALICE, 100));
    let booking = alice.book(event, 1).id();
    assert_tells(&show(&installation, booking), &["occupied", "40", "later", "occupy"]);
    assert_well(&alice.confirm(event, booking));
    assert_well(&alice.cancel(booking));
    let told = [
        "cancelled",
        "later",
        "occupy",
        "charge",
        "charged, 40; the balance is 60",
        "settle",
        "refund",
        "refunded, 40; the balance is 100",
        "release (cancelled)",
        "released, 1 seat ",
    ];
    assert_tells(&show(&installation, booking), &told);
    server.terminate();
    installation.check();
}

#[test]
fn a_hold_that_nobody_paid_is_gone_but_not_forgotten() {
    let (installation, server) = installed();
    let event = server.client_of("admin").create_event(9, 0, 30);
    let booking = server.client_of("alice").book(event, 3).id();
    server.terminate();
    let past = format!("UPDATE bookings SET expires_at = created_at + 1 WHERE id = {booking}");
    assert_eq!(installation.database().change(&past), 1);
    let server = installation.serve(&[]);
    let mut live = server.client().live(event, None);
    while live.next_message().expect("the stream goes on").data["freeSeats"] != 9 {}
    let told = ["booking 1 is gone", "occupy", "release (expired)", "released, 3 seats"];
    assert_tells(&show(&installation, booking), &told);
    server.terminate();
}

#[test]
fn where_no_saga_waits_there_is_nothing_to_look_after() {
    let (installation, server) = installed();
    let event = server.client_of("admin").create_event(9, 0, 30);
    let booking = server.client_of("alice").book(event, 1).id();
    assert_tells(&installation.run(&["saga", "list"]), &["no saga has its next step elsewhere"]);
    assert_tells(&installation.run(&["saga", "list", "--parked"]), &["no saga is parked"]);
    let retried = installation.run(&["saga", "retry", &booking.to_string()]);
    assert_refuses(&retried, "booking 1 has no errand");
    for command in ["show", "retry"] {
        for never in [booking + 1, 0, i64::MAX] {
            let ran = installation.run(&["saga", command, &never.to_string()]);
            assert_refuses(&ran, &format!("there has been no booking {never}"));
        }
        assert_eq!(installation.run(&["saga", command]).code, Some(2));
        assert_eq!(installation.run(&["saga", command, "one"]).code, Some(2));
    }
    server.terminate();
}

#[test]
fn a_parked_saga_is_listed_and_tried_again_when_told_to() {
    let (installation, server) = installed();
    let (admin, alice) = (server.client_of("admin"), server.client_of("alice"));
    let event = admin.create_event(9, 40, 30);
    assert_well(&admin.deposit_for(ALICE, 100));
    let [stuck, tried] = [1, 1].map(|seats| alice.purchase(event, seats).id());
    let database = installation.database();
    let refunding = "UPDATE bookings SET state = -3";
    assert_eq!(database.change(refunding), 2);
    let due = 4_000_000_000_000_000_i64;
    let errands = format!(
        "INSERT INTO errands
           (booking_id, event_id, user_id, token, due_at, tries, trouble, parked)
           VALUES ({stuck}, {event}, {ALICE}, 12, {due}, 12, 'the bank is closed', true),
                  ({tried}, {event}, {ALICE}, 12, {due}, 3, NULL, false)"
    );
    assert_eq!(database.change(&errands), 2);
    let heard = format!(
        "INSERT INTO saga_steps (booking_id, asked, answered, at)
         SELECT id, 'occupy', 'Occupied from afar', created_at FROM bookings WHERE id = {stuck}"
    );
    database.change(&heard);

    let row = ["refunding", "12", "2096-10-02T07:06:40Z", "parked", "the bank is closed"];
    let list = installation.run(&["saga", "list"]);
    assert_tells(&list, &[row.as_slice(), &["refunding", "3", "2096"]].concat());
    let parked = installation.run(&["saga", "list", "--parked"]);
    assert_tells(&parked, &row);
    assert_eq!(parked.stdout.matches("refunding").count(), 1, "{parked:?}");
    let told = [
        "refunding",
        "Occupied from afar",
        "occupied, 1 seat ",
        "charge",
        "settle",
        "2096-10-02T07:06:40Z",
        "refund",
        "not yet, tried 12 times, parked; last trouble: the bank is closed",
    ];
    assert_tells(&show(&installation, stuck), &told);
    assert_tells(&show(&installation, tried), &["settle", "refund", "not yet, tried 3 times "]);
    let check = installation.run(&["check"]);
    assert_eq!(check.code, Some(1), "{check:?}");
    let finding = format!("BROKEN sagas: booking {stuck} is parked while refunding after 12 tries");
    assert!(check.stdout.contains(&finding), "{check:?}");

    let retry = |booking: i64| installation.run(&["saga", "retry", &booking.to_string()]);
    assert_refuses(&retry(tried), "the saga of booking 2 isn't parked");
    assert_tells(&retry(stuck), &["booking 1", "was parked after 12 tries and is due now"]);
    until_taken_back(database, stuck);
    assert_refuses(&retry(stuck), "booking 1 has no errand");
    assert_eq!(alice.balance(), 60, "40 of 100 are still spent");
    let told = ["cancelled", "refund", "refunded, 40; the balance is 60", "release", "released"];
    assert_tells(&show(&installation, stuck), &told);
    assert_tells(&installation.run(&["saga", "list", "--parked"]), &["no saga is parked"]);
    let list = installation.run(&["saga", "list"]);
    assert_eq!(list.stdout.matches("refunding").count(), 1, "{list:?}");
    installation.check();
    server.terminate();
}

/// Waits until a server has taken a booking back, with its money and its seats.
fn until_taken_back(database: &Database, booking: i64) {
    let errands = format!("SELECT count(*) FROM errands WHERE booking_id = {booking}");
    let give_up = Instant::now() + PATIENCE;
    while database.number(&errands) > 0 {
        assert!(Instant::now() < give_up, "nobody takes up the saga of booking {booking}");
        sleep(Duration::from_millis(20));
    }
    let cancelled = format!("SELECT count(*) FROM bookings WHERE id = {booking} AND state = -1");
    assert_eq!(database.number(&cancelled), 1);
}

#[test]
fn after_an_outage_all_parked_sagas_are_tried_again() {
    let (installation, server) = installed();
    let (admin, alice) = (server.client_of("admin"), server.client_of("alice"));
    let event = admin.create_event(9, 40, 30);
    assert_well(&admin.deposit_for(ALICE, 100));
    let bought = [1, 1].map(|seats| alice.purchase(event, seats).id());
    let retry_all = || installation.run(&["saga", "retry", "--all"]);
    assert_tells(&retry_all(), &["no saga is parked"]);
    let database = installation.database();
    database.change("UPDATE bookings SET state = -3");
    let park = "INSERT INTO errands
                  (booking_id, event_id, user_id, token, due_at, tries, trouble, parked)
                SELECT id, event_id, user_id, 9, 0, 99, 'the bank is closed', true FROM bookings";
    assert_eq!(database.change(park), 2);
    assert_tells(&retry_all(), &["2 parked sagas are due now"]);
    for booking in bought {
        until_taken_back(database, booking);
    }
    assert_eq!(alice.balance(), 100);
    for wrong in [["saga", "retry", "--all", "1"].as_slice(), &["saga", "retry"]] {
        assert_eq!(installation.run(wrong).code, Some(2));
    }
    installation.check();
    server.terminate();
}
