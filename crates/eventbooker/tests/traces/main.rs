//! One id for a request, in lines of the log and in spans.

#![allow(missing_docs, reason = "a test")]

mod collector;

use eventbooker_core::trace::TraceParent;
use eventbooker_testkit::client::Answer;
use eventbooker_testkit::server::Installation;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AttributeValue;
use serde_json::{Value, json};

use self::collector::Collector;

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER_ID: &str = "b7ad6b7169203331";
/// A line for each request.
const EVERY_REQUEST: [&str; 3] = ["--demo", "--log", "info,eventbooker_web::trace=debug"];

fn installed() -> Installation {
    Installation::new(env!("CARGO_BIN_EXE_eventbooker"))
}

fn trace(answer: &Answer) -> TraceParent {
    let header = answer.header("traceparent").unwrap_or_else(|| panic!("no trace: {answer:?}"));
    header.parse().expect("a traceparent")
}

/// The lines of a log, each an object.
fn objects(log: &str) -> Vec<Value> {
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect()
}

#[test]
fn the_log_tells_a_purchase_by_its_id() {
    let installation = installed();
    let server = installation.serve(&[&EVERY_REQUEST[..], &["--log-json"]].concat());
    let [admin, user] = ["admin", "user"].map(|login| server.client().signed_in(login, "password"));
    let event = admin.create_event(10, 40, 30);
    let purchase = user.ask("POST", "/book/create").header("traceparent", CALLER);
    let purchased = purchase.json(&json!({"event_id": event})).answer();
    assert_eq!(purchased.status, 200, "{purchased:?}");
    let nowhere = user.get("/events/404");
    nowhere.problem(404, "not-found");
    installation
        .database()
        .change("UPDATE users SET password_hash = 'damaged' WHERE login = 'user'");
    let refused = server.client().post("/login", &json!({"login": "user", "password": "password"}));
    refused.problem(401, "unauthenticated");
    server.begin_stop();
    let log = objects(&server.stopped());

    for (answer, path, troubles) in [
        (&purchased, "/book/create", &[][..]),
        (&nowhere, "/events/404", &[]),
        (&refused, "/login", &["a stored password hash can't be read"]),
    ] {
        let TraceParent { trace_id, parent_id, .. } = trace(answer);
        let mut lines: Vec<&Value> =
            log.iter().filter(|line| line["trace_id"] == trace_id.to_string()).collect();
        assert!(lines.iter().all(|line| line["span_id"] == parent_id.to_string()), "{lines:?}");
        let line = lines.pop().expect("a line for each request");
        let messages: Vec<&Value> = lines.iter().map(|line| &line["fields"]["message"]).collect();
        assert_eq!(messages, troubles);
        assert_eq!(line["fields"]["path"], path);
        assert_eq!(line["fields"]["status"], answer.status);
        assert_eq!(line["fields"]["message"], "answered");
    }
    assert_eq!(trace(&purchased).trace_id.to_string(), TRACE_ID);
    let of_nobody = log.iter().filter(|line| line.get("trace_id").is_none());
    let of_nobody: Vec<&str> =
        of_nobody.filter_map(|line| line["fields"]["message"].as_str()).collect();
    assert!(of_nobody.iter().any(|line| line.starts_with("listening")), "{of_nobody:?}");
    assert!(!of_nobody.contains(&"answered"), "{of_nobody:?}");
}

/// What panics does so in another thread, where commands are decided.
#[test]
fn a_panic_is_told_by_the_id_of_its_request() {
    let installation = installed();
    let server = installation.serve(&["--demo", "--log-json"]);
    let user = server.client().signed_in("user", "password");
    let event = server.client().signed_in("admin", "password").create_event(10, 0, 30);
    let booking = user.book(event, 1).id();
    assert_eq!(installation.database().change("DELETE FROM slots"), 1);
    let failed = user.cancel(booking);
    assert_eq!(failed.status, 500, "{failed:?}");
    server.begin_stop();
    let log = objects(&server.stopped());
    let id = trace(&failed).trace_id.to_string();
    let [line] = &*log.iter().filter(|line| line["trace_id"] == id).collect::<Vec<_>>() else {
        panic!("{log:?}")
    };
    let message = line["fields"]["message"].as_str().expect("text");
    assert!(message.contains("panicked at") && message.contains("saga.rs"), "{message}");
}

#[test]
fn a_text_shows_the_beginning_of_the_id() {
    let server = installed().serve(&EVERY_REQUEST);
    let answer = server.client().ask("GET", "/health").header("traceparent", CALLER).answer();
    assert_eq!(answer.status, 200);
    server.begin_stop();
    let log = server.stopped();
    let lines: Vec<&str> = log.lines().filter(|line| line.ends_with(" trace=0af76519")).collect();
    let [line] = lines[..] else { panic!("{log}") };
    assert!(line.contains("answered") && line.contains("path=\"/health\""), "{line}");
}

#[test]
fn a_request_is_not_logged_unless_that_is_asked_for() {
    let server = installed().serve(&["--demo"]);
    assert_eq!(server.client().get("/health").status, 200);
    server.begin_stop();
    let log = server.stopped();
    assert!(!log.contains("trace=") && !log.contains("answered"), "{log}");
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::StringValue(text.to_owned())
}

#[test]
fn a_collector_gets_the_spans() {
    let collector = Collector::start();
    let installation = installed();
    let flags = ["--otlp-endpoint", collector.url()];
    let server = installation.serve(&[&EVERY_REQUEST[..], &["--log-json"], &flags].concat());
    let user = server.client().signed_in("user", "password");
    let ask = |method, path| user.ask(method, path).header("traceparent", CALLER);
    let purchased = ask("POST", "/book/create")
        .header("tracestate", "rojo=00f067aa0ba902b7")
        .header("tracestate", "congo=t61rcWkgMzE")
        .json(&json!({"event_id": 404}))
        .answer();
    assert_eq!(purchased.status, 404, "{purchased:?}");
    let listed = ask("GET", "/events/7/bookings").answer();
    let unsampled =
        user.ask("GET", "/account/get").header("traceparent", &format!("{}0", &CALLER[..54]));
    let unsampled = unsampled.answer();
    let own = user.get("/bookings");
    server.begin_stop();
    let log = objects(&server.stopped());

    let spans = collector.spans();
    let of = |answer: &Answer| {
        let id = trace(answer).parent_id.to_string();
        spans.iter().find(|span| span.span_id == id)
    };
    let purchase = of(&purchased).expect("it is recorded");
    assert_eq!((&*purchase.trace_id, &*purchase.parent_id), (TRACE_ID, CALLER_ID));
    assert_eq!(purchase.state, "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
    assert_eq!((&*purchase.name, purchase.is_server), ("POST", true), "there is no such thing");
    assert_eq!(purchase.attribute("http.request.method"), text("POST"));
    assert_eq!(purchase.attribute("url.path"), text("/book/create"));
    assert_eq!(purchase.attribute("http.response.status_code"), AttributeValue::IntValue(404));
    assert_eq!(purchase.service, ["eventbooker", env!("CARGO_PKG_VERSION")].map(text));

    let list = of(&listed).expect("it is recorded");
    assert_eq!(list.trace_id, TRACE_ID);
    assert!(list.name == "GET" || list.name == "GET /events/{id}/bookings", "{list:?}");
    let made = of(&own).expect("it is recorded");
    assert_eq!((&*made.name, &*made.parent_id), ("GET /bookings", ""));
    assert!(trace(&own).is_sampled);
    assert_eq!(made.trace_id, trace(&own).trace_id.to_string());

    assert!(of(&unsampled).is_none(), "its caller doesn't want it recorded");
    assert_eq!(trace(&unsampled).trace_id.to_string(), TRACE_ID);
    assert!(!trace(&unsampled).is_sampled);

    let of_caller = log.iter().filter(|line| line["trace_id"] == TRACE_ID);
    let of_caller: Vec<&Value> = of_caller.collect();
    assert_eq!(of_caller.len(), 3, "lines are the same as without a collector");
    assert_eq!(of_caller[0]["span_id"], *purchase.span_id);
    assert!(log.iter().all(|line| line.get("span").is_none() && line.get("spans").is_none()));
}

#[test]
fn a_collector_that_is_away_is_in_nobodys_way() {
    let flags = ["--demo", "--otlp-endpoint", "http://127.0.0.1:1"];
    let server = installed().serve_with(&flags, &[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")]);
    let client = server.client();
    for _ in 0..100 {
        assert_eq!(client.get("/health").status, 200);
    }
    server.begin_stop();
    let log = server.stopped();
    let told = log.lines().filter(|line| line.contains("spans are lost"));
    assert_eq!(told.count(), 1, "{log}");
}

#[test]
fn a_collector_that_does_not_answer_is_in_nobodys_way() {
    let collector = Collector::that_says_nothing();
    let flags = ["--demo", "--otlp-endpoint", collector.url()];
    let few = [("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4"), ("OTEL_BSP_MAX_QUEUE_SIZE", "8")];
    let server = installed().serve_with(&flags, &few);
    let client = server.client();
    for _ in 0..4 {
        assert_eq!(client.get("/health").status, 200);
    }
    collector.until_asked();
    // More than may wait.
    for _ in 0..100 {
        assert_eq!(client.get("/health").status, 200);
    }
    server.terminate();
}
