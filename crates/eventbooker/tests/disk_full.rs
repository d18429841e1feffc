//! No room for another page: changes are refused with the reason, reading goes on, and when there
//! is room again everything works as before. So it is if nothing can be logged either.

#![allow(missing_docs, reason = "a test")]

use std::collections::BTreeSet;

use eventbooker_testkit::client::{Answer, Client};
use eventbooker_testkit::server::{Installation, Log, UNLIMITED};
use serde_json::json;

/// Room for the database, and for a log of some hundred changes. In KiB.
const LIMIT: &str = "-S -f 1024";

fn book(client: &Client, event: i64, key: &str) -> Answer {
    let ask = client.ask("POST", &format!("/events/{event}/book"));
    ask.json(&json!({"seats": 1})).key(key).answer()
}

#[test]
fn a_full_disk_refuses_changes_and_nothing_else() {
    fill_the_disk(Log::Kept);
}

#[test]
fn a_full_disk_that_cannot_be_reported_is_no_worse() {
    fill_the_disk(Log::Unread);
}

fn fill_the_disk(log: Log) {
    let installation = Installation::with_users(env!("CARGO_BIN_EXE_eventbooker"));
    let server = installation.serve_limited(LIMIT, log, &UNLIMITED);
    let event = server.client_of("admin").create_event(1_000_000, 0, 30);
    let alice = server.client_of("alice");

    let mut answered = BTreeSet::new();
    let refused = loop {
        let key = answered.len().to_string();
        let answer = book(&alice, event, &key);
        if answer.status != 201 {
            break answer;
        }
        answered.insert(answer.id());
        assert!(answered.len() < 100_000, "the limit is never reached");
    };
    assert!(!answered.is_empty(), "there was room for something");
    for answer in [
        refused,
        book(&alice, event, "another"),
        alice.cancel(*answered.first().expect("one")),
        alice.post("/login", &json!({"login": "bob", "password": "correct horse battery"})),
    ] {
        let problem = answer.problem(503, "store-unavailable");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("nothing was changed"), "{detail}");
        assert!(detail.contains("disk"), "it names the reason: {detail}");
    }

    let failed = alice.metric("eventbooker_batch_failures_total{reason=\"full\"}");
    assert!(failed >= 4.0, "{failed} batches have failed");

    // Nothing of what was refused has happened, and everybody can go on looking.
    let pending = i64::try_from(answered.len()).expect("a few");
    assert_eq!(alice.event(event)["pendingBookings"], pending);
    assert_eq!(alice.get("/bookings?limit=5").json().as_array().map(Vec::len), Some(5));
    assert_eq!(alice.get("/auth").status, 200);
    assert_eq!(server.client().get("/health").status, 200);

    server.lift_file_limit();
    for key in [answered.len().to_string(), "another".to_owned()] {
        let answer = book(&alice, event, &key);
        assert_eq!((answer.status, answer.header("idempotent-replayed")), (201, None));
        assert!(answered.insert(answer.id()));
    }
    server.client_of("bob");
    server.terminate();
    let kept = installation.database().numbers("SELECT id FROM bookings");
    assert_eq!(kept.into_iter().collect::<BTreeSet<_>>(), answered);
    installation.check();
}
