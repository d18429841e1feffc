//! The first seed's flow: seats are booked, one booking is confirmed, one is left unpaid.

use std::time::Duration;

use eventbooker_testkit::Options;
use eventbooker_testkit::client::{Answer, Client};
use eventbooker_testkit::clock::{MOMENT, just_before};
use eventbooker_web::WebSettings;
use serde_json::{Value, json};

use crate::site::{ALICE_ID, Site};

const MINUTE: Duration = Duration::from_secs(60);

/// Seats in the counts of an event.
fn counts(client: &Client, event: i64) -> [i64; 3] {
    let event = client.event(event);
    ["freeSeats", "pendingBookings", "confirmedBookings"].map(|name| event[name].as_i64().unwrap())
}

/// Confirms as the first seed's own page does: the booking's id in the path, nothing in the body.
fn confirm_by_path(client: &Client, booking: i64) -> Answer {
    client.ask("POST", &format!("/events/{booking}/confirm")).body(b"").answer()
}

#[test]
fn an_unpaid_hold_ends_at_its_deadline_and_its_seat_is_free() {
    let site = Site::start();
    let [admin, alice, bob] = site.clients();
    let event = admin.create_event(2, 0, 1);
    let paid = alice.book(event, 1).id();
    let unpaid = bob.book(event, 1).id();
    assert_eq!(counts(&alice, event), [0, 2, 0]);
    assert_eq!(alice.book(event, 1).problem(409, "sold-out")["freeSeats"], 0);
    assert_eq!(alice.confirm(event, paid).status, 200);
    assert_eq!(counts(&alice, event), [0, 1, 1]);

    site.pass(just_before(MINUTE));
    assert_eq!(counts(&alice, event), [0, 1, 1], "a deadline is never early");
    assert_eq!(bob.get("/bookings").ids(), [unpaid]);

    site.pass(MOMENT);
    assert_eq!(counts(&alice, event), [1, 0, 1]);
    assert_eq!(bob.get("/bookings").ids(), [0_i64; 0]);
    assert_eq!(admin.get(&format!("/events/{event}/bookings")).ids(), [paid]);
    let database = site.database();
    assert_eq!(database.numbers("SELECT id FROM bookings"), [paid]);
    assert_eq!(database.numbers("SELECT booking_id FROM slots"), [paid]);
    bob.confirm(event, unpaid).problem(410, "hold-expired");
    confirm_by_path(&bob, unpaid).problem(410, "hold-expired");
    bob.cancel(unpaid).problem(410, "hold-expired");
    assert_eq!(alice.book(event, 1).status, 201, "somebody else can have the seat");
    site.finish();
}

#[test]
fn events_and_bookings_have_exactly_the_fields_of_the_contract() {
    let site = Site::start();
    let (admin, alice) = (site.client_of("admin"), site.client_of("alice"));
    let created = admin.post(
        "/events",
        &json!({"name": "Grüner Lauf", "date": "2026-05-01T20:00:00+02:00", "capacity": 7,
                "paymentTTL": 30, "price": 40, "description": "Two\nlines"}),
    );
    assert_eq!(created.status, 201);
    assert_eq!(created.header("content-type"), Some("application/json"));
    let event = created.id();
    assert_eq!(created.header("location"), Some(&*format!("/events/{event}")));
    let mut expected = json!({
        "id": event, "name": "Grüner Lauf", "date": "2026-05-01T18:00:00Z", "capacity": 7,
        "freeSeats": 7, "price": 40, "paymentTTL": 30, "pendingBookings": 0,
        "confirmedBookings": 0, "description": "Two\nlines",
    });
    assert_eq!(created.json(), expected);
    assert_eq!(alice.event(event), expected);

    let booked = alice.book(event, 2);
    assert_eq!(booked.status, 201);
    assert_eq!(booked.header("location"), Some(&*format!("/events/{event}/bookings")));
    let mut booking = json!({
        "id": booked.id(), "eventId": event, "userId": ALICE_ID, "seats": 2, "amount": 80,
        "status": "pending", "paid": false, "createdAt": "2026-01-01T00:00:00Z",
        "expiresAt": "2026-01-01T00:30:00Z", "expiresInSeconds": 1800,
    });
    assert_eq!(booked.json(), booking);
    site.pass(Duration::from_millis(10_500));
    booking["expiresInSeconds"] = json!(1790);
    assert_eq!(alice.get("/bookings").json(), json!([booking]));
    assert_eq!(admin.get(&format!("/events/{event}/bookings")).json(), json!([booking]));

    expected["freeSeats"] = json!(5);
    expected["pendingBookings"] = json!(1);
    assert_eq!(alice.event(event), expected);
    expected.as_object_mut().unwrap().remove("description");
    assert_eq!(site.client().get("/events").json(), json!([expected]), "lists have none");

    let cancelled = alice.cancel(booked.id());
    assert_eq!(cancelled.status, 200);
    booking["status"] = json!("cancelled");
    booking["expiresInSeconds"] = json!(0);
    assert_eq!(cancelled.json(), booking);

    let free = admin.create_event(1, 0, 30);
    let confirmed = alice.book(free, 1);
    let mut booking = confirmed.json();
    booking["status"] = json!("confirmed");
    booking["paid"] = json!(true);
    booking["expiresInSeconds"] = json!(0);
    assert_eq!(alice.confirm(free, confirmed.id()).json(), booking);
    site.finish();
}

#[test]
fn confirming_and_cancelling_twice_is_doing_it_once() {
    let site = Site::start();
    let (admin, alice) = (site.client_of("admin"), site.client_of("alice"));
    let event = admin.create_event(10, 0, 30);
    let booking = alice.book(event, 3).id();

    let first = confirm_by_path(&alice, booking);
    assert_eq!((first.status, &first.json()["status"]), (200, &json!("confirmed")));
    for again in [alice.confirm(event, booking), confirm_by_path(&alice, booking)] {
        assert_eq!((again.status, again.json()), (200, first.json()));
    }
    assert_eq!(counts(&alice, event), [7, 0, 1]);

    let first = alice.cancel(booking);
    assert_eq!((first.status, &first.json()["status"]), (200, &json!("cancelled")));
    assert_eq!(alice.cancel(booking).json(), first.json());
    assert_eq!(counts(&alice, event), [10, 0, 0]);
    alice.confirm(event, booking).problem(409, "booking-cancelled");
    assert_eq!(counts(&alice, event), [10, 0, 0]);

    // A JSON object without members says as little as no body at all.
    let booking = alice.book(event, 1).id();
    let answer = alice.post(&format!("/events/{booking}/confirm"), &json!({}));
    assert_eq!((answer.status, answer.id()), (200, booking));
    site.finish();
}

#[test]
fn a_foreign_booking_does_not_exist() {
    let site = Site::start();
    let [admin, alice, bob] = site.clients();
    let event = admin.create_event(10, 0, 30);
    let other = admin.create_event(10, 0, 30);
    let booking = alice.book(event, 3).id();
    let never = booking + 1;
    // To the letter what a booking that never was is answered with.
    for (foreign, nothing) in [
        (bob.confirm(event, booking), bob.confirm(event, never)),
        (confirm_by_path(&bob, booking), confirm_by_path(&bob, never)),
        (bob.cancel(booking), bob.cancel(never)),
    ] {
        foreign.problem(404, "not-found");
        assert_eq!(foreign.body, nothing.body);
    }
    alice.confirm(other, booking).problem(404, "not-found");
    assert_eq!(bob.get(&format!("/events/{event}/bookings")).ids(), [0_i64; 0]);
    assert_eq!(alice.get(&format!("/events/{event}/bookings")).ids(), [booking]);
    assert_eq!(counts(&bob, event), [7, 1, 0], "nothing has happened to it");

    assert_eq!(admin.confirm(event, booking).json()["userId"], ALICE_ID);
    assert_eq!(admin.cancel(booking).status, 200);
    site.finish();
}

#[test]
fn what_costs_money_stays_pending_while_there_is_none() {
    let site = Site::start();
    let (admin, alice) = (site.client_of("admin"), site.client_of("alice"));
    let event = admin.create_event(10, 40, 1);
    let booking = alice.book(event, 3).id();
    for _ in 0..2 {
        let problem = alice.confirm(event, booking).problem(402, "insufficient-funds");
        assert_eq!((&problem["balance"], &problem["amount"]), (&json!(0), &json!(120)));
    }
    assert_eq!(counts(&alice, event), [7, 1, 0]);
    assert_eq!(alice.get("/bookings").json()[0]["status"], "pending");
    site.pass(MINUTE);
    alice.confirm(event, booking).problem(410, "hold-expired");
    assert_eq!(counts(&alice, event), [10, 0, 0]);
    site.finish();
}

#[test]
fn a_booking_is_never_filled_in_part() {
    let site = Site::start();
    let (admin, alice) = (site.client_of("admin"), site.client_of("alice"));
    let event = admin.create_event(5, 0, 30);
    alice.book(event, 3);
    assert_eq!(alice.book(event, 3).problem(409, "too-few-seats")["freeSeats"], 2);
    assert_eq!(alice.book(event, 2).status, 201);
    assert_eq!(alice.book(event, 1).problem(409, "sold-out")["freeSeats"], 0);
    for seats in [-1, 0, 101, i64::MIN, i64::MAX] {
        alice.book(event, seats).problem_of_fields(422, "validation-failed", &["seats"]);
    }
    alice.book(event + 1, 1).problem(404, "not-found");
    site.client().book(event, 1).problem(401, "unauthenticated");
    site.finish();
}

#[test]
fn nobody_can_hold_an_event_without_paying() {
    let site = Site::with_hold_limits();
    let [admin, alice, bob] = site.clients();
    let event = admin.create_event(1000, 0, 2);
    let first = alice.book(event, 1).id();
    site.pass(MINUTE);
    for _ in 1..5 {
        assert_eq!(alice.book(event, 1).status, 201);
    }
    let refused = alice.book(event, 1);
    refused.problem(429, "hold-limit");
    assert_eq!(refused.header("retry-after"), Some("60"), "then the first hold ends");
    // Cancelling and booking again would be a way to hold seats for ever.
    assert_eq!(alice.cancel(first).status, 200);
    alice.book(event, 1).problem(429, "hold-limit");
    assert_eq!(bob.book(event, 100).status, 201, "each user has a limit of their own");
    bob.book(event, 1).problem(429, "hold-limit");
    site.pass(MINUTE);
    assert_eq!(alice.book(event, 1).status, 201);
    site.finish();
}

#[test]
fn an_operator_may_allow_large_bookings() {
    let mut options = Options::default();
    options.settings.holds.seats_per_booking_max = 10_000;
    let site = Site::with(options, WebSettings::default());
    let [admin, alice, _] = site.clients();
    let event = admin.create_event(20_000, 0, 30);
    assert_eq!(alice.book(event, 10_000).status, 201);
    alice.book(event, 10_001).problem_of_fields(422, "validation-failed", &["seats"]);
    let openapi = alice.get("/openapi.json").json();
    let seats = &openapi["components"]["schemas"]["NewBooking"]["properties"]["seats"];
    assert_eq!((&seats["minimum"], &seats["maximum"]), (&json!(1), &json!(10_000)));
    site.finish();
}

#[test]
fn an_event_that_breaks_rules_is_told_every_one() {
    let site = Site::start();
    let admin = site.client_of("admin");
    let bad = json!({"name": "", "date": "2025-12-31T23:59:59Z", "capacity": 0, "paymentTTL": 0,
                     "price": -1, "description": "\u{7}"});
    admin.post("/events", &bad).problem_of_fields(
        422,
        "validation-failed",
        &["name", "description", "date", "capacity", "price", "paymentTTL"],
    );
    let unreadable: Value = json!({"name": 7, "capacity": "2", "paymentTTL": 1.5, "seats": 1});
    admin.post("/events", &unreadable).problem_of_fields(
        400,
        "invalid-value",
        &["name", "date", "capacity", "paymentTTL", "seats"],
    );
    assert_eq!(admin.get("/events").json(), json!([]));
    let good = json!({"name": "n", "date": "2026-05-01T18:00:00Z", "capacity": 2, "paymentTTL": 1});
    site.client_of("alice").post("/events", &good).problem(403, "forbidden");
    site.client().post("/events", &good).problem(401, "unauthenticated");
    assert_eq!(admin.post("/events", &good).status, 201);
    site.finish();
}
