//! One id leads from the proxy to every service that had a part in a purchase.

use eventbooker_core::Context;
use eventbooker_testkit::client::{Answer, Client, PASSWORD};
use eventbooker_testkit::server::Server;
use eventbooker_testkit::services::Services;
use serde_json::json;

use crate::until;

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Four services that log each request and each step, and a user who can pay for an event.
fn talkative() -> (Services, Client, i64) {
    let log = "info,eventbooker_web::trace=debug,eventbooker_engine::participants=debug,\
               eventbooker_links::server=debug";
    let services =
        Services::start(env!("CARGO_BIN_EXE_eventbooker"), &["--log", log, "--log-json"]);
    services.add_user("admin", "admin");
    let admin = services.client_of("admin");
    let user = services.client().registered("ann");
    let event = admin.create_event(9, 40, 30);
    assert_eq!(admin.deposit_for(user.get("/auth").id(), 100).status, 200);
    (services, user, event)
}

fn purchase(user: &Client, event: i64, caller: Option<&str>) -> Answer {
    let ask = user.ask("POST", "/book/create").json(&json!({"event_id": event}));
    match caller {
        Some(caller) => ask.header("traceparent", caller).answer(),
        None => ask.answer(),
    }
}

fn trace_id(answer: &Answer) -> String {
    answer.header("traceparent").unwrap()[3..35].to_owned()
}

/// Waits until a service has logged this in a trace.
fn until_logged(server: &Server, trace_id: &str, words: &str) {
    until(words, || {
        server.log().lines().any(|line| line.contains(trace_id) && line.contains(words))
    });
}

#[test]
fn one_id_stands_in_every_log() {
    let (services, user, event) = talkative();
    for caller in [Some(CALLER), None] {
        // Of a new cookie auth is asked in any case.
        let user = user.signed_in("ann", PASSWORD);
        let purchased = purchase(&user, event, caller);
        assert_eq!(purchased.json()["status"], 4, "{purchased:?}");
        let id = trace_id(&purchased);
        assert!(caller.is_none_or(|caller| caller[3..35] == id), "{id}");
        assert!(services.proxy().until_logged(&id).contains("/book/create"));
        for (context, words) in [
            (Context::Identity, "\"path\":\"/auth\""),
            (Context::Bookings, "\"path\":\"/book/create\""),
            (Context::Events, "\"ask\":\"occupy\""),
            (Context::Accounts, "\"ask\":\"charge\""),
            (Context::Events, "\"ask\":\"settle\""),
        ] {
            until_logged(services.server(context), &id, words);
        }
    }
    // The proxy knows whose it is, and whoever is asked first begins the trace.
    let again = trace_id(&purchase(&user, event, None));
    assert_ne!(again, trace_id(&purchase(&user, event, None)));
    services.stop();
}

/// A list of bookings names their events, and those are elsewhere.
#[test]
fn looks_belong_to_the_page_that_they_are_for() {
    let (services, user, event) = talkative();
    assert_eq!(purchase(&user, event, None).status, 200);
    let page = user.ask("GET", "/user/bookings").header("accept", "text/html");
    let page = page.header("traceparent", CALLER).answer();
    assert_eq!(page.status, 200, "{page:?}");
    until_logged(services.server(Context::Events), &CALLER[3..35], "looked at");
    services.stop();
}

/// Whoever takes the saga over has never heard of the request.
#[test]
fn the_id_outlives_the_service_that_was_asked() {
    let (mut services, user, event) = talkative();
    services.take(Context::Accounts).kill();
    let purchased = purchase(&user, event, Some(CALLER));
    assert_eq!(purchased.status, 202, "{purchased:?}");
    services.take(Context::Bookings).kill();
    services.serve(Context::Accounts);
    services.serve(Context::Bookings);
    let id = trace_id(&purchased);
    assert_eq!(id, CALLER[3..35]);
    until_logged(services.server(Context::Accounts), &id, "\"ask\":\"charge\"");
    until_logged(services.server(Context::Events), &id, "\"ask\":\"settle\"");
    services.stop();
}
