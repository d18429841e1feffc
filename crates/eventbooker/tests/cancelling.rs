//! `kill -9` in the middle of releasing a cancelled event's bookings, again and again: whoever starts
//! next goes on, and in the end each is released once and all money is back.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that can't go on has failed")]

use std::thread;
use std::time::{Duration, Instant};

use eventbooker_testkit::client::Client;
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::database::Database;
use eventbooker_testkit::server::{Installation, UNLIMITED};

/// More than are released in four transactions.
const BOOKINGS: i64 = 1_800;
const BUYERS: [&str; 3] = ["bob", "carol", "dave"];
const PRICE: i64 = 5;

/// Buys and holds seats by turns.
fn attend(client: &Client, event: i64, bookings: i64) {
    for turn in 0..bookings {
        if turn % 2 == 0 {
            assert_eq!(client.purchase(event, 1).json()["status"], 4);
        } else {
            assert_eq!(client.book(event, 1).status, 201);
        }
    }
}

fn left(database: &Database, event: i64) -> i64 {
    database.number(&format!("SELECT count(*) FROM slots WHERE event_id = {event}"))
}

/// Waits until fewer bookings are left than there were. Returns how many.
fn until_fewer(database: &Database, event: i64, before: i64) -> i64 {
    let begun = Instant::now();
    loop {
        let now = left(database, event);
        if now < before {
            return now;
        }
        assert!(begun.elapsed() < PATIENCE, "{now} bookings stay");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_cancellation_that_is_killed_again_and_again_comes_to_its_end() {
    let installation = Installation::with_users(env!("CARGO_BIN_EXE_eventbooker"));
    installation.add_user("carol", "user");
    installation.add_user("dave", "user");
    let database = installation.database();
    let server = installation.serve(&UNLIMITED);
    let admin = server.client_of("admin");
    let [event, other] = [0, 1].map(|_| admin.create_event(BOOKINGS, PRICE, 600));
    let each = BOOKINGS / 3;
    thread::scope(|scope| {
        for login in BUYERS {
            let client = server.client_of(login);
            admin.deposit_for(client.get("/auth").id(), each * PRICE);
            scope.spawn(move || attend(&client, event, each));
        }
    });
    attend(&server.client_of("bob"), other, 2);
    let spent = server.client_of("bob").balance();
    assert_eq!(spent, each * PRICE - (each / 2 + 1) * PRICE);

    let cancelled = admin.ask("POST", &format!("/events/{event}/cancel")).body(b"").answer();
    assert_eq!(cancelled.status, 200);
    let (mut stays, mut kills) = (until_fewer(database, event, BOOKINGS), 0);
    server.kill();
    while left(database, event) > 0 {
        kills += 1;
        assert!(kills < BOOKINGS, "it doesn't get on");
        let server = installation.serve(&UNLIMITED);
        stays = until_fewer(database, event, stays);
        server.kill();
        installation.check();
    }
    assert!(kills > 0, "nobody was killed in the middle");

    let server = installation.serve(&UNLIMITED);
    let shown = server.client().event(event);
    for count in ["pendingBookings", "confirmedBookings", "freeSeats"] {
        assert_eq!(shown[count], 0, "{shown}");
    }
    assert_eq!(shown["cancelledAt"], cancelled.json()["cancelledAt"]);
    // Of bookings by their numbers, each release is in the journal once.
    let released = format!("FROM journal WHERE event_id = {event} AND kind = 3");
    assert_eq!(database.number(&format!("SELECT count(*) {released}")), BOOKINGS);
    let different = format!("SELECT count(DISTINCT booking_id) {released}");
    assert_eq!(database.number(&different), BOOKINGS);
    let [bob, carol, dave] = BUYERS.map(|login| server.client_of(login).balance());
    assert_eq!([bob, carol, dave], [(each - 1) * PRICE, each * PRICE, each * PRICE]);
    let elsewhere = server.client().event(other);
    assert_eq!(
        (&elsewhere["pendingBookings"], &elsewhere["confirmedBookings"]),
        (&1.into(), &1.into())
    );
    server.terminate();
    installation.check();
}
