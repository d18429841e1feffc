//! Accounts: who may pay in and how much, what bookings of either section do to a balance, and the
//! history that shows it.

use std::time::Duration;

use eventbooker_testkit::Options;
use eventbooker_testkit::client::{Answer, Client};
use eventbooker_testkit::clock::{MOMENT, just_before};
use eventbooker_web::WebSettings;
use serde_json::{Value, json};

use crate::idempotency::assert_replay;
use crate::lists::next;
use crate::site::{ALICE_ID, Site};

const BOB_ID: i64 = 3;
const NOBODYS_ID: i64 = 99;
const WINDOW: Duration = Duration::from_secs(30 * 60);

/// A site where users may pay in for themselves, as in a demo.
fn with_deposits() -> Site {
    let mut options = Options::default();
    options.settings.users_may_deposit = true;
    Site::with(options, WebSettings::default())
}

fn pay_in(client: &Client, body: &Value) -> Answer {
    client.ask("PUT", "/account/deposit").json(body).answer()
}

/// What a user's list of the second section shows of a booking.
fn in_short(client: &Client, booking: i64) -> Option<Value> {
    let list = client.get("/book/get").json();
    list.as_array().unwrap().iter().find(|shown| shown["id"] == booking).cloned()
}

/// What was posted to an account, newest first: kind, amount, and what the account held afterwards.
fn postings(client: &Client) -> Vec<(String, i64, i64)> {
    let history = client.get("/account/history").json();
    let posting = |shown: &Value| {
        let number = |name: &str| shown[name].as_i64().unwrap();
        (shown["kind"].as_str().unwrap().to_owned(), number("amount"), number("balance"))
    };
    history.as_array().unwrap().iter().map(posting).collect()
}

fn posting(kind: &str, amount: i64, balance: i64) -> (String, i64, i64) {
    (kind.to_owned(), amount, balance)
}

#[test]
fn only_an_admin_pays_in() {
    let site = Site::start();
    let [admin, alice, bob] = site.clients();
    for answer in [alice.deposit(5), alice.deposit_for(ALICE_ID, 5), alice.deposit_for(BOB_ID, 5)] {
        answer.problem(403, "forbidden");
    }
    // Who has no say doesn't learn who exists.
    let unknown = alice.deposit_for(NOBODYS_ID, 5);
    assert_eq!(unknown.body, alice.deposit_for(BOB_ID, 5).body);

    assert_eq!(admin.deposit(5).json(), json!({"balance": 5}));
    assert_eq!(admin.deposit_for(BOB_ID, 7).json(), json!({"balance": 7}));
    assert_eq!(admin.deposit_for(BOB_ID, 1).json(), json!({"balance": 8}));
    admin.deposit_for(NOBODYS_ID, 5).problem(404, "not-found");
    assert_eq!([admin.balance(), alice.balance(), bob.balance()], [5, 0, 8]);
    site.finish();
}

#[test]
fn in_a_demo_users_pay_in_for_themselves_and_nobody_else() {
    let site = with_deposits();
    let [admin, alice, bob] = site.clients();
    assert_eq!(alice.deposit(100).json(), json!({"balance": 100}));
    assert_eq!(alice.deposit_for(ALICE_ID, 1).json(), json!({"balance": 101}));
    for other in [BOB_ID, NOBODYS_ID] {
        alice.deposit_for(other, 5).problem(403, "forbidden");
    }
    assert_eq!([admin.balance(), alice.balance(), bob.balance()], [0, 101, 0]);
    site.finish();
}

#[test]
fn an_amount_is_a_whole_number_above_nothing_that_fits() {
    let site = Site::start();
    let admin = site.client_of("admin");
    for delta in [0, -1, i64::MIN] {
        admin.deposit(delta).problem_of_fields(422, "validation-failed", &["delta"]);
    }
    for (body, fields) in [
        (json!({"delta": 1.5}), ["delta"].as_slice()),
        (json!({"delta": "5"}), &["delta"]),
        (json!({"delta": null}), &["delta"]),
        (json!({"delta": [5]}), &["delta"]),
        (json!({"delta": 9_223_372_036_854_775_808_u64}), &["delta"]),
        (json!({"delta": 1e300}), &["delta"]),
        (json!({}), &["delta"]),
        (json!({"amount": 5}), &["delta", "amount"]),
        (json!({"delta": 5, "user_id": "2"}), &["user_id"]),
        (json!({"delta": 5, "user_id": null}), &["user_id"]),
    ] {
        pay_in(&admin, &body).problem_of_fields(400, "invalid-value", fields);
    }
    assert_eq!(admin.balance(), 0);

    assert_eq!(admin.deposit(i64::MAX - 1).status, 200);
    admin.deposit(2).problem_of_fields(422, "validation-failed", &["delta"]);
    assert_eq!(admin.balance(), i64::MAX - 1);
    assert_eq!(admin.deposit(1).json(), json!({"balance": i64::MAX}));
    site.finish();
}

#[test]
fn with_a_key_it_is_paid_in_once() {
    let site = Site::start();
    let admin = site.client_of("admin");
    let pay_in = |delta: i64| {
        admin.ask("PUT", "/account/deposit").json(&json!({"delta": delta})).key("once").answer()
    };
    let first = pay_in(100);
    admin.deposit(1);
    assert_replay(&pay_in(100), &first);
    pay_in(200).problem(422, "idempotency-key-reused");
    assert_eq!(admin.balance(), 101);
    site.finish();
}

#[test]
fn the_history_tells_every_posting_newest_first() {
    let site = Site::start();
    let (admin, alice) = (site.client_of("admin"), site.client_of("alice"));
    assert_eq!(alice.get("/account/get").json(), json!({"balance": 0}));
    let empty = alice.get("/account/history");
    assert_eq!((empty.json(), empty.header("link")), (json!([]), None));

    let event = admin.create_event(9, 40, 30);
    admin.deposit_for(ALICE_ID, 100);
    site.pass(Duration::from_secs(1));
    let booking = alice.purchase(event, 2).id();
    site.pass(Duration::from_secs(1));
    alice.cancel(booking);
    let about = |entry: i64, kind: &str, amount: i64, balance: i64, at: &str| {
        json!({"entry": entry, "kind": kind, "amount": amount, "balance": balance,
               "event_id": event, "booking_id": booking, "at": at})
    };
    let refund = about(3, "refund", 80, 100, "2026-01-01T00:00:02Z");
    let charge = about(2, "charge", -80, 20, "2026-01-01T00:00:01Z");
    let deposit = json!({"entry": 1, "kind": "deposit", "amount": 100, "balance": 100,
                         "at": "2026-01-01T00:00:00Z"});
    assert_eq!(alice.get("/account/history").json(), json!([refund, charge, deposit]));

    let page = alice.get("/account/history?limit=2");
    assert_eq!(page.json(), json!([refund, charge]));
    let page = alice.get(&next(&page).expect("there is more"));
    assert_eq!((page.json(), next(&page)), (json!([deposit]), None));
    assert_eq!(alice.get("/account/history?after=2").json(), json!([deposit]));
    assert_eq!(alice.get("/account/history?after=1").json(), json!([]));
    alice.get("/account/history?limit=0&after=x").problem_of_fields(
        400,
        "invalid-value",
        &["limit", "after"],
    );
    assert_eq!(admin.get("/account/history").json(), json!([]), "to each their own");
    site.finish();
}

#[test]
fn each_section_shows_what_the_other_has_made() {
    let site = Site::start();
    let (admin, alice) = (site.client_of("admin"), site.client_of("alice"));
    admin.deposit_for(ALICE_ID, 100);
    let event = admin.create_event(9, 20, 30);

    let held = alice.book(event, 1).id();
    let shown = |status: i64| {
        Some(json!({"id": held, "user_id": ALICE_ID, "event_id": event, "price": 20,
                    "status": status}))
    };
    assert_eq!(in_short(&alice, held), shown(2));
    alice.confirm(event, held);
    assert_eq!(in_short(&alice, held), shown(4));
    alice.cancel(held);
    assert_eq!(in_short(&alice, held), shown(-1));

    let bought = alice.purchase(event, 2).id();
    let in_full = json!([{
        "id": bought, "eventId": event, "userId": ALICE_ID, "seats": 2, "amount": 40,
        "status": "confirmed", "paid": true, "createdAt": "2026-01-01T00:00:00Z",
        "expiresAt": "2026-01-01T00:30:00Z", "expiresInSeconds": 0,
    }]);
    assert_eq!(alice.get("/bookings").json(), in_full);
    assert_eq!(admin.get(&format!("/events/{event}/bookings")).json(), in_full);
    let counts = alice.event(event);
    assert_eq!(
        (&counts["freeSeats"], &counts["pendingBookings"], &counts["confirmedBookings"]),
        (&json!(7), &json!(0), &json!(1))
    );
    let confirmed = alice.confirm(event, bought);
    assert_eq!((confirmed.status, confirmed.json()), (200, in_full[0].clone()));
    assert_eq!(alice.balance(), 60, "it was paid already");
    site.finish();
}

#[test]
fn confirming_charges_the_owner_once() {
    let site = Site::start();
    let [admin, alice, bob] = site.clients();
    let event = admin.create_event(9, 40, 30);
    for user in [ALICE_ID, BOB_ID] {
        admin.deposit_for(user, 200);
    }
    let booking = alice.book(event, 2).id();
    assert_eq!(alice.balance(), 200, "a hold costs nothing");
    for _ in 0..3 {
        let confirmed = alice.confirm(event, booking);
        assert_eq!((confirmed.status, &confirmed.json()["paid"]), (200, &json!(true)));
    }
    let of_bob = bob.book(event, 1).id();
    assert_eq!(admin.confirm(event, of_bob).status, 200);
    assert_eq!([admin.balance(), alice.balance(), bob.balance()], [0, 120, 160]);
    let charged = [posting("charge", -80, 120), posting("deposit", 200, 200)];
    assert_eq!(postings(&alice), charged);
    site.finish();
}

#[test]
fn with_too_little_money_a_hold_waits_for_more_until_its_deadline() {
    let site = Site::start();
    let (admin, alice) = (site.client_of("admin"), site.client_of("alice"));
    let event = admin.create_event(9, 40, 30);
    admin.deposit_for(ALICE_ID, 79);
    let booking = alice.book(event, 2);
    let (id, held) = (booking.id(), alice.event(event));
    for _ in 0..2 {
        let problem = alice.confirm(event, id).problem(402, "insufficient-funds");
        assert_eq!((&problem["balance"], &problem["amount"]), (&json!(79), &json!(80)));
    }
    assert_eq!(alice.get("/bookings").json(), json!([booking.json()]));
    assert_eq!((alice.balance(), alice.event(event)), (79, held));

    let late = alice.book(event, 2).id();
    admin.deposit_for(ALICE_ID, 1);
    site.pass(just_before(WINDOW));
    assert_eq!(alice.confirm(event, id).json()["status"], "confirmed");
    assert_eq!(alice.balance(), 0);
    alice.confirm(event, late).problem(402, "insufficient-funds");
    site.pass(MOMENT);
    admin.deposit_for(ALICE_ID, 80);
    alice.confirm(event, late).problem(410, "hold-expired");
    assert_eq!((alice.balance(), &alice.event(event)["freeSeats"]), (80, &json!(7)));
    site.finish();
}

#[test]
fn cancelling_gives_the_money_back_once() {
    let site = Site::start();
    let [admin, alice, bob] = site.clients();
    let event = admin.create_event(9, 40, 30);
    admin.deposit_for(ALICE_ID, 100);
    let confirmed = alice.book(event, 1).id();
    alice.confirm(event, confirmed);
    let bought = alice.purchase(event, 1).id();
    bob.cancel(bought).problem(404, "not-found");
    assert_eq!(alice.balance(), 20);

    for _ in 0..2 {
        let cancelled = alice.cancel(confirmed);
        assert_eq!((cancelled.status, &cancelled.json()["status"]), (200, &json!("cancelled")));
        assert_eq!(cancelled.json()["paid"], false);
        // An admin's word ends it as well, and the owner has the money.
        assert_eq!(admin.cancel(bought).status, 200);
    }
    assert_eq!([admin.balance(), alice.balance(), bob.balance()], [0, 100, 0]);
    assert_eq!(
        postings(&alice),
        [
            posting("refund", 40, 100),
            posting("refund", 40, 60),
            posting("charge", -40, 20),
            posting("charge", -40, 60),
            posting("deposit", 100, 100),
        ]
    );
    assert_eq!(alice.event(event)["freeSeats"], 9);
    alice.confirm(event, bought).problem(409, "booking-cancelled");
    assert_eq!(alice.balance(), 100);
    site.finish();
}

#[test]
fn money_that_does_not_fit_stays_with_the_booking() {
    let site = Site::start();
    let (admin, alice) = (site.client_of("admin"), site.client_of("alice"));
    let event = admin.create_event(9, 40, 30);
    admin.deposit_for(ALICE_ID, 40);
    let booking = alice.purchase(event, 1).id();
    admin.deposit_for(ALICE_ID, i64::MAX);
    alice.cancel(booking).problem(409, "account-full");
    assert_eq!(alice.get("/bookings").json()[0]["status"], "confirmed");
    assert_eq!((alice.balance(), &alice.event(event)["freeSeats"]), (i64::MAX, &json!(8)));

    let other = alice.purchase(event, 1).id();
    assert_eq!(alice.cancel(booking).status, 200);
    alice.cancel(other).problem(409, "account-full");
    assert_eq!(alice.balance(), i64::MAX);
    site.finish();
}

#[test]
fn what_was_cancelled_stays_listed_and_what_expired_does_not() {
    let site = Site::start();
    let (admin, alice) = (site.client_of("admin"), site.client_of("alice"));
    let event = admin.create_event(9, 40, 30);
    admin.deposit_for(ALICE_ID, 40);
    let cancelled = alice.book(event, 1).id();
    let expired = alice.book(event, 1).id();
    let bought = alice.purchase(event, 1).id();
    let too_dear = alice.purchase(event, 1).id();
    alice.cancel(cancelled);
    assert_eq!(alice.get("/book/get").ids(), [cancelled, expired, bought, too_dear]);

    site.pass(WINDOW);
    assert_eq!(alice.get("/book/get").ids(), [cancelled, bought, too_dear]);
    assert_eq!(alice.get("/bookings").ids(), [bought], "here only what is live");
    alice.confirm(event, cancelled).problem(409, "booking-cancelled");
    alice.confirm(event, expired).problem(410, "hold-expired");
    alice.cancel(expired).problem(410, "hold-expired");
    assert_eq!(alice.cancel(cancelled).json()["status"], "cancelled");
    assert_eq!(alice.balance(), 0, "nothing was paid for either");
    site.finish();
}
