//! The second seed's flow: seats are booked and paid in one go, and a booking tells how far that
//! came.

use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use eventbooker_testkit::Options;
use eventbooker_testkit::client::{Answer, Client};
use eventbooker_testkit::clock::{MOMENT, just_before};
use eventbooker_web::WebSettings;
use serde_json::{Value, json};

use crate::guessing::limited;
use crate::idempotency::assert_replay;
use crate::lists::pages;
use crate::site::{ALICE_ID, Site};

const ADMIN_ID: i64 = 1;

/// Creates an event as this section does. Returns its number.
fn create(admin: &Client, price: i64, slots: i64) -> i64 {
    let event = json!({"event_name": "red run", "price": price, "total_slots": slots});
    let answer = admin.post("/events/create", &event);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.id()
}

/// The booking that this answer shows, which has to be the whole answer.
fn booking(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.json()
}

/// A booking that came to nothing because there were no seats to ask a price for.
fn without_seats(id: i64, event: i64) -> Value {
    json!({"id": id, "user_id": ALICE_ID, "event_id": event, "status": -1})
}

#[test]
fn the_transcript_of_the_seed_as_curl_sends_it() {
    let site = Site::start();
    let admin = site.client_of("admin");
    let send = |method: &str, path: &str, body: Value| {
        let answer = admin.ask(method, path).json_as_form(&body).answer();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let get = |path: &str| admin.get(path).json();

    assert_eq!(send("PUT", "/account/deposit", json!({"delta": 100})), json!({"balance": 100}));
    assert_eq!(get("/account/get"), json!({"balance": 100}));

    // In the seed's lists the green run is the first one.
    let events = json!([
        {"id": 1, "event_name": "green run", "price": 5, "total_slots": 3},
        {"id": 2, "event_name": "red run", "price": 40, "total_slots": 5},
    ]);
    for event in events.as_array().unwrap() {
        let mut draft = event.clone();
        draft.as_object_mut().unwrap().remove("id");
        assert_eq!(send("POST", "/events/create", draft), *event);
        assert_eq!(get(&format!("/events/get/{}", event["id"])), *event);
    }
    assert_eq!(get("/events/get"), events);

    let bookings = [
        json!({"id": 1, "user_id": ADMIN_ID, "event_id": 1, "price": 5, "status": 4}),
        json!({"id": 2, "user_id": ADMIN_ID, "event_id": 1, "price": 5, "status": 4}),
        json!({"id": 3, "user_id": ADMIN_ID, "event_id": 1, "price": 5, "status": 4}),
        // No slot is left.
        json!({"id": 4, "user_id": ADMIN_ID, "event_id": 1, "status": -1}),
        json!({"id": 5, "user_id": ADMIN_ID, "event_id": 2, "price": 40, "status": 4}),
        json!({"id": 6, "user_id": ADMIN_ID, "event_id": 2, "price": 40, "status": 4}),
        // No money is left.
        json!({"id": 7, "user_id": ADMIN_ID, "event_id": 2, "price": 40, "status": -1}),
    ];
    for (before, booking) in bookings.iter().enumerate() {
        let wanted = json!({"event_id": booking["event_id"]});
        assert_eq!(send("POST", "/book/create", wanted), *booking);
        assert_eq!(get("/book/get"), json!(bookings[..=before]));
    }
    assert_eq!(get("/account/get"), json!({"balance": 5}));
    assert_eq!(get("/events/get"), events, "slots are counted taken or not");
    site.finish();
}

#[test]
fn an_event_is_the_same_one_in_both_sections() {
    let site = Site::start();
    let (admin, alice) = (site.client_of("admin"), site.client_of("alice"));
    let undated = create(&admin, 40, 5);
    let dated = admin.create_event(7, 30, 15);
    assert_eq!(
        alice.event(undated),
        json!({"id": undated, "name": "red run", "description": "", "date": null, "capacity": 5,
               "freeSeats": 5, "price": 40, "paymentTTL": 30, "pendingBookings": 0,
               "confirmedBookings": 0})
    );
    let in_short = json!({"id": dated, "event_name": "Green run", "price": 30, "total_slots": 7});
    assert_eq!(alice.get(&format!("/events/get/{dated}")).json(), in_short);

    // Whatever has a date comes before whatever has none.
    assert_eq!(pages(&alice, "/events/get"), [[dated, undated]]);
    assert_eq!(pages(&alice, "/events/get?limit=1"), [[dated], [undated]]);
    assert_eq!(pages(&alice, &format!("/events/get?after={dated}")), [[undated]]);
    alice.get("/events/get?limit=0&after=x").problem_of_fields(
        400,
        "invalid-value",
        &["limit", "after"],
    );
    alice.get(&format!("/events/get/{}", dated + 1)).problem(404, "not-found");
    alice.get("/events/get/red").problem_of_fields(400, "invalid-value", &["id"]);
    site.finish();
}

#[test]
fn an_event_that_breaks_rules_is_told_every_one_by_this_sections_names() {
    let site = Site::start();
    let admin = site.client_of("admin");
    let create = |body: Value| admin.post("/events/create", &body);
    create(json!({"event_name": "", "price": -1, "total_slots": 0})).problem_of_fields(
        422,
        "validation-failed",
        &["event_name", "total_slots", "price"],
    );
    create(json!({"event_name": 7, "price": "5", "total_slots": 1.5, "date": "2026-05-01"}))
        .problem_of_fields(400, "invalid-value", &["event_name", "total_slots", "price", "date"]);
    create(json!({})).problem_of_fields(
        400,
        "invalid-value",
        &["event_name", "total_slots", "price"],
    );
    assert_eq!(admin.get("/events/get").json(), json!([]));

    let good = json!({"event_name": "red run", "price": 40, "total_slots": 5});
    site.client_of("alice").post("/events/create", &good).problem(403, "forbidden");
    let create = || admin.ask("POST", "/events/create").json(&good).key("once").answer();
    let created = create();
    assert_eq!(created.status, 200);
    assert_replay(&create(), &created);
    assert_eq!(admin.get("/events/get").json(), json!([created.json()]));
    site.finish();
}

#[test]
fn strangers_see_and_change_nothing() {
    let site = Site::start();
    create(&site.client_of("admin"), 5, 3);
    let nobody = site.client();
    for path in ["/account/get", "/account/history", "/events/get", "/events/get/1", "/book/get"] {
        nobody.get(path).problem(401, "unauthenticated");
    }
    for (method, path, body) in [
        ("PUT", "/account/deposit", json!({"delta": 100})),
        ("POST", "/events/create", json!({"event_name": "n", "price": 5, "total_slots": 3})),
        ("POST", "/book/create", json!({"event_id": 1})),
    ] {
        nobody.ask(method, path).json(&body).answer().problem(401, "unauthenticated");
    }
    let rows = "SELECT (SELECT count(*) FROM bookings) + (SELECT count(*) FROM postings)";
    assert_eq!(site.database().number(rows), 0);
    site.finish();
}

#[test]
fn seats_that_are_bought_together_are_paid_together() {
    let site = Site::start();
    let (admin, alice) = (site.client_of("admin"), site.client_of("alice"));
    let event = create(&admin, 40, 5);
    admin.deposit_for(ALICE_ID, 100);
    let bought = alice.purchase(event, 2);
    assert_eq!(
        booking(&bought),
        json!({"id": bought.id(), "user_id": ALICE_ID, "event_id": event, "price": 80, "status": 4})
    );
    assert_eq!((alice.balance(), &alice.event(event)["freeSeats"]), (20, &json!(3)));

    let free = create(&admin, 0, 5);
    let bought = alice.purchase(free, 5);
    assert_eq!(
        booking(&bought),
        json!({"id": bought.id(), "user_id": ALICE_ID, "event_id": free, "status": 4}),
        "what costs nothing has no price"
    );
    assert_eq!((alice.balance(), &alice.event(free)["freeSeats"]), (20, &json!(0)));
    site.finish();
}

#[test]
fn what_makes_no_sense_leaves_no_booking_behind() {
    let site = Site::start();
    let (admin, alice) = (site.client_of("admin"), site.client_of("alice"));
    let event = create(&admin, 0, 1000);
    alice.purchase(event + 1, 1).problem(404, "not-found");
    for seats in [0, -1, 101, i64::MIN, i64::MAX] {
        alice.purchase(event, seats).problem_of_fields(422, "validation-failed", &["seats"]);
    }
    for (body, fields) in [
        (json!({}), ["event_id"].as_slice()),
        (json!({"event_id": "1", "seats": 1.5}), &["event_id", "seats"]),
        (json!({"event_id": event, "seats": null}), &["seats"]),
        (json!({"event_id": event, "user_id": 1}), &["user_id"]),
    ] {
        alice.post("/book/create", &body).problem_of_fields(400, "invalid-value", fields);
    }
    assert_eq!(alice.get("/book/get").json(), json!([]));
    assert_eq!(alice.purchase(event, 100).id(), 1, "not even a number was used up");
    site.finish();
}

#[test]
fn without_seats_a_booking_is_cancelled_and_has_no_price() {
    let site = Site::start();
    let [admin, alice, bob] = site.clients();
    let event = create(&admin, 40, 3);
    admin.deposit_for(ALICE_ID, 1000);
    let held = bob.book(event, 2).id();
    // A booking is never filled in part.
    let too_few = alice.purchase(event, 2);
    assert_eq!(booking(&too_few), without_seats(too_few.id(), event));
    bob.book(event, 1);
    let sold_out = alice.purchase(event, 1);
    assert_eq!(booking(&sold_out), without_seats(sold_out.id(), event));
    assert_eq!(alice.balance(), 1000);

    bob.cancel(held);
    assert_eq!(booking(&alice.purchase(event, 2))["status"], 4);
    assert_eq!(alice.balance(), 920);

    let dated = json!({"name": "n", "date": "2026-01-01T01:00:00Z", "capacity": 9, "price": 40,
                       "paymentTTL": 30});
    let dated = admin.post("/events", &dated).id();
    site.pass(just_before(Duration::from_secs(3600)));
    assert_eq!(booking(&alice.purchase(dated, 1))["status"], 4);
    site.pass(MOMENT);
    let begun = alice.purchase(dated, 1);
    assert_eq!(booking(&begun), without_seats(begun.id(), dated));
    assert_eq!((alice.balance(), &alice.event(dated)["freeSeats"]), (880, &json!(8)));
    site.finish();
}

#[test]
fn without_money_a_booking_is_cancelled_and_its_seats_are_free_again() {
    let site = Site::start();
    let (admin, alice) = (site.client_of("admin"), site.client_of("alice"));
    let event = create(&admin, 40, 3);
    admin.deposit_for(ALICE_ID, 79);
    let before = alice.event(event);
    let too_dear = alice.purchase(event, 2);
    assert_eq!(
        booking(&too_dear),
        json!({"id": too_dear.id(), "user_id": ALICE_ID, "event_id": event, "price": 80,
               "status": -1})
    );
    assert_eq!((alice.balance(), alice.event(event)), (79, before));
    assert_eq!(alice.get("/account/history").json().as_array().map(Vec::len), Some(1));
    assert_eq!(alice.get("/bookings").json(), json!([]), "it is not live");
    alice.confirm(event, too_dear.id()).problem(409, "booking-cancelled");

    admin.deposit_for(ALICE_ID, 1);
    assert_eq!(booking(&alice.purchase(event, 2))["status"], 4);
    assert_eq!(alice.balance(), 0);
    site.finish();
}

#[test]
fn buyers_in_parallel_never_spend_more_than_there_is() {
    const PRICE: i64 = 7;
    let site = Site::start();
    let (admin, alice) = (site.client_of("admin"), site.client_of("alice"));
    let events = [create(&admin, PRICE, 10), create(&admin, PRICE, 10)];
    admin.deposit_for(ALICE_ID, 100);
    let buy = |client: Client| {
        move || -> Vec<i64> {
            let each = |round: usize| booking(&client.purchase(events[round % 2], 1));
            (0..10).map(each).map(|booking| booking["status"].as_i64().unwrap()).collect()
        }
    };
    let buyers: Vec<_> = (0..3).map(|_| thread::spawn(buy(alice.clone()))).collect();
    let states = buyers.into_iter().flat_map(|buyer| buyer.join().unwrap());
    let (paid, unpaid): (Vec<i64>, Vec<i64>) = states.partition(|state| *state == 4);
    assert_eq!((paid.len(), alice.balance()), (14, 100 - 14 * PRICE));
    assert_eq!(unpaid, [-1; 16]);
    let free = events.map(|event| alice.event(event)["freeSeats"].as_i64().unwrap());
    assert_eq!(free.iter().sum::<i64>(), 6);
    site.finish();
}

#[test]
fn with_a_key_it_is_bought_once() {
    let site = Site::start();
    let (admin, alice) = (site.client_of("admin"), site.client_of("alice"));
    let event = create(&admin, 40, 5);
    admin.deposit_for(ALICE_ID, 100);
    let buy = |seats: i64, key: &str| {
        let body = json!({"event_id": event, "seats": seats});
        alice.ask("POST", "/book/create").json(&body).key(key).answer()
    };
    let bought = buy(1, "once");
    let too_dear = buy(2, "too-dear");
    assert_eq!(booking(&bought)["status"], 4);
    assert_eq!(booking(&too_dear)["status"], -1);
    admin.deposit_for(ALICE_ID, 100);

    // A booking that came to nothing is the answer as well, although it would succeed now.
    site.pass(Duration::from_secs(24 * 3600));
    assert_replay(&buy(1, "once"), &bought);
    assert_replay(&buy(2, "too-dear"), &too_dear);
    buy(3, "once").problem(422, "idempotency-key-reused");
    assert_eq!((alice.balance(), alice.get("/book/get").ids()), (160, vec![1, 2]));
    assert_eq!(alice.event(event)["freeSeats"], 4);
    site.finish();
}

/// Each booking that comes to nothing is a row that stays, so nobody may cause them without end.
#[test]
fn bookings_of_one_user_that_come_to_nothing_are_limited() {
    let settings = WebSettings { remembered_refusals_per_user: 3, ..WebSettings::default() };
    let site = Site::with(Options::default(), settings);
    let [admin, alice, bob] = site.clients();
    let event = create(&admin, 40, 5);
    admin.deposit_for(ALICE_ID, 80);
    let keyed = |key: &str| {
        alice.ask("POST", "/book/create").json(&json!({"event_id": event})).key(key).answer()
    };
    // What is bought doesn't count, nor does what leaves nothing behind.
    for _ in 0..2 {
        assert_eq!(booking(&alice.purchase(event, 1))["status"], 4);
        alice.purchase(event, 0).problem(422, "validation-failed");
        alice.purchase(event + 1, 1).problem(404, "not-found");
    }
    let first = keyed("refused");
    assert_eq!(booking(&first)["status"], -1);
    for _ in 0..5 {
        assert_replay(&keyed("refused"), &first);
    }
    for _ in 0..2 {
        assert_eq!(booking(&alice.purchase(event, 1))["status"], -1);
    }
    let wait = limited(&alice.purchase(event, 1));
    assert_eq!(wait, Duration::from_secs(20), "a third of a minute for one more");
    limited(&keyed("another"));
    // What was answered is answered again, and nobody loses a hold by having bought in vain.
    assert_replay(&keyed("refused"), &first);
    let other = admin.create_event(5, 0, 30);
    let hold = alice.book(other, 1).id();
    let confirm = alice.ask("POST", &format!("/events/{hold}/confirm")).body(b"").key("confirm");
    assert_eq!(confirm.answer().status, 200);
    assert_eq!(alice.get("/book/get").ids(), [1, 2, 3, 4, 5, hold]);
    assert_eq!(booking(&bob.purchase(event, 1))["status"], -1, "each has a limit of their own");
    assert_eq!(alice.book(event, 1).status, 201, "a hold is limited in other ways");

    site.pass(just_before(wait));
    limited(&alice.purchase(event, 1));
    site.pass(MOMENT);
    assert_eq!(booking(&alice.purchase(event, 1))["status"], -1);
    limited(&alice.purchase(event, 1));
    site.finish();
}

/// Whoever doesn't wait for the answer has caused a row all the same.
#[test]
fn hanging_up_is_no_way_around_the_limit() {
    let settings = WebSettings { remembered_refusals_per_user: 3, ..WebSettings::default() };
    let site = Site::with(Options::default(), settings);
    let [admin, alice, _] = site.clients();
    let event = create(&admin, 40, 5);
    let watcher = site.client();
    let open = || {
        let metrics = watcher.get("/metrics");
        let text = String::from_utf8(metrics.body).expect("text");
        let line = text.lines().find_map(|l| l.strip_prefix("eventbooker_http_connections_open "));
        line.expect("it is counted").parse::<u32>().expect("a number")
    };
    let session = alice.session().expect("she is signed in");
    let body = json!({"event_id": event}).to_string();
    for number in 1..=3 {
        let before = open();
        let mut held = site.hold_next_save();
        let mut hasty =
            TcpStream::connect(watcher.base().strip_prefix("http://").unwrap()).unwrap();
        write!(
            hasty,
            "POST /book/create HTTP/1.1\r\nhost: a\r\ncookie: session_id={session}\r\n\
         content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        site.until_held(&mut held);
        assert_eq!(open(), before + 1);
        drop(hasty);
        while open() > before {}
        held.let_go();
        while alice.get("/book/get").ids().len() < number {}
    }
    // What was saved a moment ago may not be taken out of the bucket yet.
    let granted = (0..3).filter(|_| alice.purchase(event, 1).status == 200).count();
    assert!(granted <= 1, "{granted} more were heard");
    site.finish();
}

#[test]
fn own_bookings_come_oldest_first_in_pages() {
    let site = Site::start();
    let [admin, alice, bob] = site.clients();
    let event = create(&admin, 0, 100);
    let mut own: Vec<i64> = Vec::new();
    for _ in 0..2 {
        own.push(alice.purchase(event, 1).id());
        own.push(alice.book(event, 1).id());
        bob.purchase(event, 1);
    }
    assert_eq!(pages(&alice, "/book/get"), [&own[..]]);
    assert_eq!(pages(&alice, "/book/get?limit=3")[..2], [&own[..3], &own[3..]]);
    assert_eq!(pages(&alice, "/book/get?limit=1").concat(), own);
    assert_eq!(pages(&alice, &format!("/book/get?after={}", own[0])), [&own[1..]]);
    assert_eq!(alice.get("/book/get").json()[1]["user_id"], ALICE_ID);
    assert_eq!(admin.get("/book/get").json(), json!([]), "an admin sees their own here");
    site.finish();
}
