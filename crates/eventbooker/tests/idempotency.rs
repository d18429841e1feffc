//! `Idempotency-Key` across restarts of the real program.

#![allow(missing_docs, reason = "a test")]

use eventbooker_testkit::client::{Answer, Client};
use eventbooker_testkit::server::{Installation, Server};
use serde_json::json;

fn book(server: &Server, session: &str, event: i64, seats: i64) -> Answer {
    let client: Client = server.client().with_session(Some(session));
    let ask = client.ask("POST", &format!("/events/{event}/book")).json(&json!({"seats": seats}));
    ask.key("once").answer()
}

#[test]
fn a_key_outlives_a_stop_and_a_crash() {
    let installation = Installation::with_users(env!("CARGO_BIN_EXE_eventbooker"));
    let server = installation.serve(&[]);
    let event = server.client_of("admin").create_event(9, 0, 30);
    let (alice, bob) = (server.client_of("alice"), server.client_of("bob"));
    let [alice, bob] = [&alice, &bob].map(|client| client.session().unwrap_or_default());
    let first = book(&server, alice, event, 1);
    assert_eq!((first.status, first.header("idempotent-replayed")), (201, None));

    server.terminate();
    let server = installation.serve(&[]);
    let after_stop = book(&server, alice, event, 1);
    server.kill();
    let server = installation.serve(&[]);
    let after_crash = book(&server, alice, event, 1);
    for again in [after_stop, after_crash] {
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!((again.status, &again.body), (201, &first.body));
        assert_eq!(again.header("location"), first.header("location"));
    }
    book(&server, alice, event, 2).problem(422, "idempotency-key-reused");
    assert_eq!(book(&server, bob, event, 2).status, 201);
    assert_eq!(server.client().event(event)["freeSeats"], 6);
    server.terminate();
    installation.check();
}
