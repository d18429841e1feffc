//! `Idempotency-Key`: the same answer again, the effect once.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use eventbooker_testkit::Options;
use eventbooker_testkit::client::{Answer, Ask, Client, PASSWORD};
use eventbooker_testkit::clock::{MOMENT, just_before};
use eventbooker_web::WebSettings;
use serde_json::{Value, json};

use crate::guessing::limited;
use crate::identity::{credentials, profile};
use crate::site::Site;

fn book(client: &Client, event: i64, seats: i64) -> Ask<'_> {
    client.ask("POST", &format!("/events/{event}/book")).json(&json!({"seats": seats}))
}

fn is_replayed(answer: &Answer) -> bool {
    match answer.header("idempotent-replayed") {
        None => false,
        Some("true") => true,
        Some(other) => panic!("{other}"),
    }
}

/// The answer is the same one again, to the letter.
pub fn assert_replay(again: &Answer, first: &Answer) {
    assert!(!is_replayed(first), "{first:?}");
    assert!(is_replayed(again), "{again:?}");
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    for name in ["content-type", "location"] {
        assert_eq!(again.header(name), first.header(name));
    }
}

#[test]
fn every_change_answers_the_same_again_and_happens_once() {
    let site = Site::start();
    let (admin, alice) = (site.client_of("admin"), site.client_of("alice"));
    let draft =
        json!({"name": "n", "date": "2090-05-01T18:00:00Z", "capacity": 9, "paymentTTL": 9});
    let create = || admin.ask("POST", "/events").json(&draft).key("create").answer();
    let created = create();
    let event = created.id();
    assert_eq!(created.status, 201);
    let booked = book(&alice, event, 2).key("book").answer();
    let booking = booked.id();
    assert_eq!(booked.status, 201);
    let confirm_path = format!("/events/{event}/confirm");
    let named = json!({"bookingId": booking});
    let confirm = || alice.ask("POST", &confirm_path).json(&named).key("confirm").answer();
    let confirmed = confirm();
    assert_eq!(confirmed.status, 200);
    let cancel_path = format!("/bookings/{booking}/cancel");
    let cancel = || alice.ask("POST", &cancel_path).body(b"").key("cancel").answer();
    let cancelled = cancel();
    assert_eq!(cancelled.status, 200);

    // A day later, and although the booking has moved on since.
    site.pass(Duration::from_secs(24 * 3600));
    assert_replay(&create(), &created);
    assert_replay(&book(&alice, event, 2).key("book").answer(), &booked);
    assert_replay(&confirm(), &confirmed);
    assert_replay(&cancel(), &cancelled);
    assert_eq!(admin.get("/events").json().as_array().unwrap().len(), 1);
    assert_eq!(admin.event(event)["freeSeats"], 9);
    site.finish();
}

#[test]
fn sent_twice_at_once_it_happens_once() {
    const ROUNDS: usize = 100;
    let site = Site::start();
    let (admin, alice) = (site.client_of("admin"), site.client_of("alice"));
    let event = admin.create_event(1000, 0, 30);
    let senders: Vec<Client> = (0..3).map(|_| alice.clone()).collect();
    let barrier = Barrier::new(senders.len());
    let answers: Vec<Vec<Answer>> = thread::scope(|scope| {
        let send = |client| {
            let barrier = &barrier;
            scope.spawn(move || {
                let send = |round| {
                    let ask = book(client, event, 1).key(&format!("round-{round}"));
                    barrier.wait();
                    ask.answer()
                };
                (0..ROUNDS).map(send).collect()
            })
        };
        let sending: Vec<_> = senders.iter().map(send).collect();
        sending.into_iter().map(|sending| sending.join().unwrap()).collect()
    });
    for round in 0..ROUNDS {
        let mut of_round: Vec<&Answer> = answers.iter().map(|answers| &answers[round]).collect();
        of_round.sort_by_key(|answer| is_replayed(answer));
        let (first, replays) = of_round.split_first().unwrap();
        assert_eq!(first.status, 201, "{first:?}");
        for replay in replays {
            assert_replay(replay, first);
        }
    }
    assert_eq!(admin.event(event)["pendingBookings"], ROUNDS);
    site.finish();
}

#[test]
fn a_key_is_for_one_request_of_one_user() {
    let site = Site::start();
    let [admin, alice, bob] = site.clients();
    let event = admin.create_event(9, 0, 30);
    let other = admin.create_event(9, 0, 30);
    let first = book(&alice, event, 1).key("key").answer();
    assert_eq!(first.status, 201);
    for reused in [
        book(&alice, event, 2),
        book(&alice, other, 1),
        alice.ask("POST", &format!("/bookings/{}/cancel", first.id())).body(b""),
    ] {
        reused.key("key").answer().problem(422, "idempotency-key-reused");
    }
    let of_bob = book(&bob, event, 1).key("key").answer();
    assert_eq!((of_bob.status, is_replayed(&of_bob)), (201, false));
    assert_ne!(of_bob.id(), first.id());
    assert_replay(&book(&alice, event, 1).key("key").answer(), &first);
    assert_eq!(book(&alice, event, 1).key("KEY").answer().status, 201, "case matters");
    assert_eq!(admin.event(event)["freeSeats"], 6);
    assert_eq!(admin.event(other)["freeSeats"], 9);
    site.finish();
}

#[test]
fn a_bad_key_is_refused_and_nothing_happens() {
    let site = Site::start();
    let (admin, alice) = (site.client_of("admin"), site.client_of("alice"));
    let event = admin.create_event(9, 0, 30);
    let long = "k".repeat(256);
    for bad in ["", "two words", "ключ", "tab\tkey", &long] {
        let answer = book(&alice, event, 1).key(bad).answer();
        answer.problem_of_fields(400, "invalid-value", &["Idempotency-Key"]);
    }
    let two = book(&alice, event, 1).key("one").key("two").answer();
    two.problem_of_fields(400, "invalid-value", &["Idempotency-Key"]);
    assert_eq!(admin.event(event)["freeSeats"], 9);
    let every_sign: String = ('!'..='~').collect();
    for good in ["k", &long[1..], &every_sign] {
        assert_eq!(book(&alice, event, 1).key(good).answer().status, 201);
    }
    site.finish();
}

#[test]
fn a_refusal_is_an_answer_like_any_other() {
    let site = Site::start();
    let [admin, alice, bob] = site.clients();
    let event = admin.create_event(1, 0, 30);
    let taken = bob.book(event, 1).id();
    let refused = book(&alice, event, 1).key("key").answer();
    assert_eq!(refused.problem(409, "sold-out")["freeSeats"], 0);
    bob.cancel(taken);
    let again = book(&alice, event, 1).key("key").answer();
    assert_replay(&again, &refused);
    again.problem(409, "sold-out");
    assert_eq!(book(&alice, event, 1).key("new").answer().status, 201);
    site.finish();
}

#[test]
fn a_refusal_that_says_later_is_not_kept() {
    let site = Site::with_hold_limits();
    let (admin, alice) = (site.client_of("admin"), site.client_of("alice"));
    let event = admin.create_event(200, 0, 1);
    alice.book(event, 100);
    book(&alice, event, 1).key("key").answer().problem(429, "hold-limit");
    site.pass(Duration::from_secs(60));
    let later = book(&alice, event, 1).key("key").answer();
    assert_eq!((later.status, is_replayed(&later)), (201, false));
    site.finish();
}

#[test]
fn remembered_refusals_of_one_user_are_limited() {
    let settings = WebSettings { remembered_refusals_per_user: 3, ..WebSettings::default() };
    let site = Site::with(Options::default(), settings);
    let [admin, alice, bob] = site.clients();
    let event = admin.create_event(5, 0, 30);
    let keyed = |client, key: &str| book(client, event, 1).key(key).answer();
    let kept = || site.database().number("SELECT count(*) FROM answers");
    // What is granted, what is answered again and what isn't remembered doesn't count.
    for number in 0..5 {
        assert_eq!(keyed(&alice, &format!("granted-{number}")).status, 201);
    }
    let refused = keyed(&alice, "refused-0");
    refused.problem(409, "sold-out");
    for _ in 0..5 {
        assert_replay(&keyed(&alice, "refused-0"), &refused);
        book(&alice, event, 2).key("refused-0").answer().problem(422, "idempotency-key-reused");
    }
    for key in ["refused-1", "refused-2"] {
        keyed(&alice, key).problem(409, "sold-out");
    }
    assert_eq!(kept(), 8);

    let over = keyed(&alice, "refused-3");
    let wait = limited(&over);
    assert_eq!(wait, Duration::from_secs(20), "a third of a minute for one more");
    assert!(over.json()["detail"].as_str().unwrap().contains("Idempotency-Key"), "{over:?}");
    let cancel =
        |client: &Client| client.ask("POST", "/bookings/99/cancel").body(b"").key("x").answer();
    let confirm =
        |client: &Client| client.ask("POST", "/events/99/confirm").body(b"").key("x").answer();
    assert_replay(&keyed(&alice, "refused-1"), &refused);
    limited(&book(&alice, event, 2).key("refused-1").answer());
    limited(&cancel(&alice));
    limited(&confirm(&alice));
    book(&alice, event, 1).answer().problem(409, "sold-out");
    keyed(&bob, "refused-3").problem(409, "sold-out");
    assert_eq!(kept(), 9, "only Bob's");

    site.pass(just_before(wait));
    limited(&keyed(&alice, "refused-3"));
    site.pass(MOMENT);
    let later = keyed(&alice, "refused-3");
    later.problem(409, "sold-out");
    assert!(!is_replayed(&later), "the answer that said later was not remembered");
    limited(&keyed(&alice, "refused-4"));

    // An organiser is a user like any other.
    let draft =
        json!({"name": "n", "date": "2090-05-01T18:00:00Z", "capacity": 0, "paymentTTL": 9});
    let create = |key: &str| admin.ask("POST", "/events").json(&draft).key(key).answer();
    for key in ["a", "b", "c"] {
        create(key).problem(422, "validation-failed");
    }
    limited(&create("d"));

    // What is done already is a success, but it changes nothing, and its answer is a row as well.
    site.pass(Duration::from_secs(60));
    let cancel = |key: &str| admin.ask("POST", "/bookings/1/cancel").body(b"").key(key).answer();
    for key in ["cancel", "again-1", "again-2", "again-3"] {
        assert_eq!(cancel(key).status, 200, "{key}");
    }
    limited(&cancel("again-4"));
    site.finish();
}

#[test]
fn registering_takes_a_key() {
    let site = Site::start();
    let nobody = site.client();
    let register =
        |profile: &Value| nobody.ask("POST", "/register").json(profile).key("key").answer();
    let first = register(&profile("carol"));
    assert_eq!(first.status, 200);
    assert_replay(&register(&profile("carol")), &first);
    let mut corrected = profile("carol");
    corrected["email"] = json!("carol@example.org");
    register(&corrected).problem(422, "idempotency-key-reused");
    // Whoever asks for another login is somebody else, who can't know which keys are in use.
    let other = register(&profile("dave"));
    assert_eq!((other.status, is_replayed(&other)), (200, false));
    assert_ne!(other.id(), first.id());
    assert_replay(&register(&profile("dave")), &other);
    assert_replay(&register(&profile("carol")), &first);
    let kept = site.database().number("SELECT count(*) FROM answers WHERE scope = 0");
    assert_eq!(kept, 2);

    // The answer to a sign-in is a secret and is never kept.
    let sign_in =
        || nobody.ask("POST", "/login").json(&credentials("carol", PASSWORD)).key("key").answer();
    let (one, two) = (sign_in(), sign_in());
    assert_eq!((one.status, two.status), (200, 200));
    assert!(!is_replayed(&two) && one.session() != two.session());
    site.finish();
}
