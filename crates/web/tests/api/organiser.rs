//! An organiser edits and cancels events.

use std::time::Duration;

use eventbooker_testkit::client::{Answer, Client};
use serde_json::{Value, json};

use crate::idempotency::assert_replay;
use crate::site::{ALICE_ID, Site};

/// At least as long as it takes until somebody looks for bookings to release.
const A_LOOK: Duration = Duration::from_secs(2);

fn edit(client: &Client, event: i64, change: &Value) -> Answer {
    client.ask("PATCH", &format!("/events/{event}")).json(change).answer()
}

fn cancel_event(client: &Client, event: i64) -> Answer {
    client.ask("POST", &format!("/events/{event}/cancel")).body(b"").answer()
}

#[test]
fn an_edit_changes_what_it_names() {
    let site = Site::start();
    let [admin, alice, bob] = site.clients();
    let event = admin.create_event(5, 40, 30);
    let booked = alice.book(event, 2);
    let mut expected = admin.event(event);
    let changes = [
        json!({"name": "Blue run"}),
        json!({"description": "Two\nlines", "price": 70}),
        json!({"date": "2091-05-01T20:00:00+02:00", "capacity": 3, "paymentTTL": 5}),
        json!({}),
    ];
    for change in changes {
        let answer = edit(&admin, event, &change);
        assert_eq!(answer.status, 200, "{answer:?}");
        expected.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        if change.get("date").is_some() {
            expected["date"] = json!("2091-05-01T18:00:00Z");
            expected["freeSeats"] = json!(1);
        }
        assert_eq!(answer.json(), expected);
        assert_eq!(bob.event(event), expected);
    }
    assert_eq!(alice.get("/bookings").json()[0], booked.json(), "it keeps its terms");
    let later = bob.book(event, 1).json();
    assert_eq!((&later["amount"], &later["expiresInSeconds"]), (&json!(70), &json!(300)));
    assert_eq!(bob.get(&format!("/events/get/{event}")).json()["total_slots"], 3);
    site.finish();
}

#[test]
fn an_edit_that_breaks_rules_is_told_every_one() {
    let site = Site::start();
    let [admin, alice, _] = site.clients();
    let event = admin.create_event(5, 0, 30);
    alice.book(event, 3);
    let before = admin.event(event);
    let bad = json!({"name": " ", "date": "2025-12-31T23:59:59Z", "capacity": 0, "paymentTTL": 0,
                     "price": -1, "description": "\u{7}"});
    edit(&admin, event, &bad).problem_of_fields(
        422,
        "validation-failed",
        &["name", "description", "date", "capacity", "price", "paymentTTL"],
    );
    let unreadable = json!({"name": 7, "date": null, "capacity": "2", "seats": 1});
    edit(&admin, event, &unreadable).problem_of_fields(
        400,
        "invalid-value",
        &["name", "date", "capacity", "seats"],
    );
    let problem = edit(&admin, event, &json!({"capacity": 2, "name": "Blue run"}))
        .problem(409, "capacity-below-booked");
    assert_eq!(problem["occupied"], 3);
    let good = json!({"capacity": 3});
    edit(&alice, event, &good).problem(403, "forbidden");
    edit(&site.client(), event, &good).problem(401, "unauthenticated");
    edit(&admin, event + 1, &good).problem(404, "not-found");
    let nothing = admin.ask("PATCH", &format!("/events/{event}")).body(b"").answer();
    nothing.problem(400, "malformed-body");
    assert_eq!(admin.event(event), before, "nothing has changed");
    assert_eq!(edit(&admin, event, &good).json()["freeSeats"], 0);
    site.finish();
}

#[test]
fn a_cancelled_event_gives_everything_back() {
    let site = Site::start();
    let [admin, alice, bob] = site.clients();
    admin.deposit_for(ALICE_ID, 200);
    let event = admin.create_event(10, 40, 30);
    let paid = alice.book(event, 2).id();
    assert_eq!(alice.confirm(event, paid).status, 200);
    let hold = bob.book(event, 3).id();
    let cancelled = cancel_event(&admin, event);
    assert_eq!(cancelled.status, 200);
    let shown = cancelled.json();
    assert_eq!(
        (&shown["cancelledAt"], &shown["freeSeats"]),
        (&json!("2026-01-01T00:00:00Z"), &json!(0))
    );
    assert_eq!((&shown["pendingBookings"], &shown["confirmedBookings"]), (&json!(1), &json!(1)));
    site.pass(A_LOOK);
    let mut expected = shown;
    expected["pendingBookings"] = json!(0);
    expected["confirmedBookings"] = json!(0);
    assert_eq!(bob.event(event), expected);
    let again = cancel_event(&admin, event);
    assert_eq!((again.status, again.json()), (200, expected.clone()));

    assert_eq!(alice.balance(), 200);
    assert_eq!(alice.get("/bookings").ids(), [0_i64; 0]);
    assert_eq!(admin.get(&format!("/events/{event}/bookings")).ids(), [0_i64; 0]);
    bob.book(event, 1).problem(409, "event-cancelled");
    bob.confirm(event, hold).problem(409, "booking-cancelled");
    edit(&admin, event, &json!({"name": "n"})).problem(409, "event-cancelled");
    assert_eq!(bob.get("/problems/event-cancelled").status, 200);
    let bought = bob.purchase(event, 1);
    assert_eq!((bought.status, &bought.json()["status"]), (200, &json!(-1)));
    assert_eq!(bought.json().get("price"), None, "as for what is sold out");
    expected.as_object_mut().unwrap().remove("description");
    assert_eq!(bob.get("/events").json(), json!([expected]), "it stays listed");
    site.finish();
}

#[test]
fn a_hold_can_not_be_paid_once_its_event_is_cancelled() {
    let site = Site::start();
    let [admin, alice, _] = site.clients();
    let event = admin.create_event(10, 0, 30);
    let hold = alice.book(event, 1).id();
    // Cancelled a moment ago: its bookings are still there.
    let database = site.database();
    assert_eq!(cancel_event(&alice, event).status, 403);
    database.change(&format!("UPDATE events SET cancelled_at = 0 WHERE id = {event}"));
    alice.confirm(event, hold).problem(409, "event-cancelled");
    assert_eq!(alice.cancel(hold).status, 200, "giving it back is no trouble");
    database.change(&format!("UPDATE events SET cancelled_at = NULL WHERE id = {event}"));
    assert_eq!(cancel_event(&site.client(), event).status, 401);
    cancel_event(&admin, event + 1).problem(404, "not-found");
    site.finish();
}

#[test]
fn with_a_key_it_happens_once() {
    let site = Site::start();
    let admin = site.client_of("admin");
    let event = admin.create_event(10, 0, 30);
    let path = format!("/events/{event}");
    let patch = |change: &Value| admin.ask("PATCH", &path).json(change).key("edit").answer();
    let first = patch(&json!({"capacity": 7}));
    assert_eq!(first.status, 200);
    assert_eq!(edit(&admin, event, &json!({"capacity": 8})).status, 200);
    assert_replay(&patch(&json!({"capacity": 7})), &first);
    assert_eq!(admin.event(event)["capacity"], 8, "it isn't done again");
    patch(&json!({"capacity": 9})).problem(422, "idempotency-key-reused");

    let cancel = || {
        let path = format!("/events/{event}/cancel");
        admin.ask("POST", &path).body(b"").key("cancel").answer()
    };
    let first = cancel();
    assert_eq!(first.status, 200);
    assert_replay(&cancel(), &first);
    site.finish();
}
