//! The four services as real processes behind nginx with the configuration that is shipped.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that can't go on has failed")]

mod restored;
mod rolling;
mod traces;

use std::time::{Duration, Instant};

use eventbooker_core::Context;
use eventbooker_testkit::client::Client;
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::server::UNLIMITED;
use eventbooker_testkit::services::Services;
use serde_json::json;

/// With an admin, and with no limits on holds.
fn services() -> Services {
    let services = Services::start(env!("CARGO_BIN_EXE_eventbooker"), &UNLIMITED);
    services.add_user("admin", "admin");
    services
}

/// Seats in the counts of an event.
fn counts(client: &Client, event: i64) -> [i64; 3] {
    let event = client.event(event);
    ["freeSeats", "pendingBookings", "confirmedBookings"].map(|name| event[name].as_i64().unwrap())
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Has a hold's deadline pass now: nobody waits for a minute.
fn pass_deadline(services: &Services, booking: i64) {
    let sql = format!("UPDATE bookings SET expires_at = created_at WHERE id = {booking}");
    assert_eq!(services.change(Context::Bookings, &sql), 1);
}

#[test]
fn the_first_seeds_flow_works_through_the_proxy() {
    let services = services();
    let admin = services.client_of("admin");
    let [alice, bob] = ["alice", "bob"].map(|login| services.client().registered(login));
    let event = admin.create_event(2, 40, 1);
    assert_eq!(admin.deposit_for(alice.get("/auth").id(), 100).status, 200);
    let mut live = alice.live(event, None);
    assert_eq!(live.next_message().unwrap().data["freeSeats"], 2);

    let paid = alice.book(event, 1).id();
    let unpaid = bob.book(event, 1).id();
    assert_eq!(counts(&alice, event), [0, 2, 0]);
    assert_eq!(alice.book(event, 1).problem(409, "sold-out")["freeSeats"], 0);
    let short = bob.confirm(event, unpaid).problem(402, "insufficient-funds");
    assert_eq!((&short["balance"], &short["amount"]), (&json!(0), &json!(40)));
    for _ in 0..2 {
        assert_eq!(alice.confirm(event, paid).status, 200);
    }
    assert_eq!(counts(&alice, event), [0, 1, 1]);
    assert_eq!(alice.balance(), 60);
    assert_eq!(admin.get(&format!("/events/{event}/bookings")).ids(), [unpaid, paid]);
    assert_eq!(bob.get(&format!("/events/{event}/bookings")).ids(), [unpaid]);

    pass_deadline(&services, unpaid);
    until("the seat is free", || counts(&alice, event) == [1, 0, 1]);
    bob.confirm(event, unpaid).problem(410, "hold-expired");
    assert_eq!(bob.get("/bookings").ids(), [0_i64; 0]);
    // Created, two held, one confirmed, one expired.
    until("the stream tells it", || live.next_message().unwrap().data["freeSeats"] == 1);

    assert_eq!(alice.cancel(paid).status, 200);
    until("the money is back", || alice.balance() == 100);
    assert_eq!(counts(&alice, event), [2, 0, 0]);
    services.stop();
}

#[test]
fn an_organiser_cancels_an_event_and_everybody_is_paid_back() {
    let services = services();
    let admin = services.client_of("admin");
    let user = services.client().registered("ann");
    let event = admin.create_event(9, 40, 30);
    admin.deposit_for(user.get("/auth").id(), 100);
    assert_eq!(user.purchase(event, 2).json()["status"], 4);
    user.book(event, 1).id();
    let page = admin.get(&format!("/admin/events/{event}"));
    let text = String::from_utf8_lossy(&page.body).into_owned();
    assert!(page.status == 200 && text.contains("ann"), "{}: {text}", page.status);
    assert_eq!(admin.post(&format!("/events/{event}/cancel"), &json!({})).status, 200);
    // Nobody can book any, so none is free.
    until("the seats are given back", || counts(&user, event) == [0, 0, 0]);
    until("the money is back", || user.balance() == 100);
    assert_eq!(user.get("/bookings").ids(), [0_i64; 0]);
    services.stop();
}

#[test]
fn what_a_client_says_of_itself_counts_for_nothing() {
    let services = services();
    let forged = [("X-User-Id", "1"), ("X-User", "admin"), ("X-Identity", "nonsense")];
    // The proxy throws it away, so it is nobody who asks.
    for (name, value) in forged {
        let answer = services.client().ask("GET", "/account/get").header(name, value).answer();
        answer.problem(401, "unauthenticated");
    }
    // Past the proxy it is refused, and told once.
    let account = services.server(Context::Accounts);
    for (name, value) in forged {
        let answer = account.client().ask("GET", "/account/get").header(name, value).answer();
        answer.problem(401, "unauthenticated");
    }
    account.wait_until_logged("X-Identity is not accepted");
    assert_eq!(account.log().matches("a request that says who sends it was refused").count(), 3);
    // What services say to each other nobody else may say, and nowhere but there.
    for context in Context::ALL {
        let path = format!("/internal/v1/{context}/look");
        let batch = json!({"from": "book", "items": []});
        assert_eq!(services.client().post(&path, &batch).status, 404);
        assert_eq!(services.server(context).client().post(&path, &batch).status, 404);
        let internal = Client::new(&format!("http://{}", services.internal(context)));
        assert_eq!(internal.post(&path, &batch).status, 401);
    }
    services.stop();
}

/// The proxy keeps for a while whom cookies belong to.
#[test]
fn everybody_is_taken_for_themselves_and_for_nobody_once_they_have_signed_out() {
    let services = services();
    let admin = services.client_of("admin");
    let users = ["ann", "bob"].map(|name| services.client().registered(name));
    let ids: Vec<i64> = users.iter().map(|user| user.get("/auth").id()).collect();
    for (user, amount) in ids.iter().zip([100, 200]) {
        admin.deposit_for(*user, amount);
    }
    for _ in 0..3 {
        for (user, balance) in users.iter().zip([100, 200]) {
            assert_eq!(user.balance(), balance);
        }
        services.client().get("/account/get").problem(401, "unauthenticated");
    }
    // A copy of the cookie stays behind, and is worth nothing in the end.
    let session = users[0].session().map(ToOwned::to_owned);
    assert_eq!(users[0].post("/logout", &json!({})).status, 200);
    let copy = services.client().with_session(session.as_deref());
    until("the session is over everywhere", || copy.get("/account/get").status == 401);
    copy.get("/account/get").problem(401, "unauthenticated");
    assert_eq!(users[1].get("/account/get").status, 200);
    services.stop();
}

/// Whatever is away, what doesn't need it is there, and what does says when to come again.
#[test]
fn a_service_that_is_away_takes_nothing_along_but_its_own() {
    let mut services = services();
    let admin = services.client_of("admin");
    let user = services.client().registered("ann");
    let event = admin.create_event(9, 40, 30);
    admin.deposit_for(user.get("/auth").id(), 500);
    let held = user.book(event, 1).id();

    services.take(Context::Accounts).kill();
    let booking = user.get(&format!("/user/bookings/{held}"));
    assert_eq!(booking.status, 200, "all but the balance is known");
    let paying = user.purchase(event, 1);
    assert!(matches!(paying.status, 202 | 503), "{paying:?}");
    services.serve(Context::Accounts);
    until("both sagas have ended", || counts(&user, event)[2] == i64::from(paying.status == 202));
    assert_eq!(user.confirm(event, held).status, 200);

    services.take(Context::Identity).kill();
    // What auth has said before is good for a little longer.
    until("auth is missed", || user.get("/bookings").status == 503);
    assert_eq!(user.get("/bookings").header("retry-after"), Some("1"));
    services.serve(Context::Identity);
    until("auth is asked again", || user.get("/bookings").status == 200);

    // Nobody was sent it, so nobody has to wonder what became of it.
    services.take(Context::Bookings).kill();
    user.purchase(event, 1).problem(503, "store-unavailable");
    services.serve(Context::Bookings);
    services.stop();
}
