//! Every request has its place in a trace, and its answer says which.

use eventbooker_core::trace::TraceParent;
use eventbooker_testkit::client::{Answer, Client};
use serde_json::json;

use crate::site::Site;

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// In which trace and span it was answered.
fn trace(answer: &Answer) -> TraceParent {
    let header = answer.header("traceparent").unwrap_or_else(|| panic!("no trace: {answer:?}"));
    header.parse().unwrap_or_else(|_| panic!("{header}"))
}

fn asked_by(client: &Client, header: &str) -> TraceParent {
    trace(&client.ask("GET", "/health").header("traceparent", header).answer())
}

#[test]
fn a_request_that_belongs_to_no_trace_begins_one() {
    let site = Site::start();
    let client = site.client();
    let [one, two] = [(); 2].map(|()| trace(&client.get("/health")));
    assert_ne!(one.trace_id, two.trace_id);
    assert_ne!(one.parent_id, two.parent_id);
    assert!(!one.is_sampled, "nobody records spans");
    site.finish();
}

#[test]
fn a_request_stays_in_its_callers_trace_in_a_span_of_its_own() {
    let site = Site::start();
    let client = site.client();
    let caller: TraceParent = CALLER.parse().expect("a header");
    for is_sampled in [true, false] {
        let caller = TraceParent { is_sampled, ..caller };
        let [one, two] = [(); 2].map(|()| asked_by(&client, &caller.to_string()));
        for answered in [one, two] {
            assert_eq!(TraceParent { parent_id: caller.parent_id, ..answered }, caller);
            assert_ne!(answered.parent_id, caller.parent_id);
        }
        assert_ne!(one.parent_id, two.parent_id);
    }
    let of_the_future = format!("cc{}-and-more", &CALLER[2..]);
    let answered = asked_by(&client, &of_the_future);
    assert_eq!(answered.trace_id, caller.trace_id);
    assert_eq!(&answered.to_string()[..3], "00-", "this is what we speak");
    site.finish();
}

/// What is no header in detail is in `eventbooker_core::trace`.
#[test]
fn a_header_that_is_none_is_as_good_as_none() {
    let site = Site::start();
    let client = site.client();
    let caller: TraceParent = CALLER.parse().expect("a header");
    for header in [
        "",
        "00",
        "nonsense",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
    ] {
        assert_ne!(asked_by(&client, header).trace_id, caller.trace_id, "{header}");
    }
    let twice = client.ask("GET", "/health").header("traceparent", CALLER);
    let twice = trace(&twice.header("traceparent", CALLER).answer());
    assert_ne!(twice.trace_id, caller.trace_id, "which of them?");
    site.finish();
}

#[test]
fn problems_and_pages_say_their_trace_as_well() {
    let site = Site::start();
    let client = site.client();
    let caller: TraceParent = CALLER.parse().expect("a header");
    let ask = |method, path| client.ask(method, path).header("traceparent", CALLER);
    for (answer, status) in [
        (ask("GET", "/nowhere").answer(), 404),
        (ask("GET", "/nowhere").header("Accept", "text/html").answer(), 404),
        (ask("BREW", "/events").answer(), 405),
        (ask("GET", "/bookings").answer(), 401),
        (ask("POST", "/register").json(&json!({"login": ""})).answer(), 400),
        (ask("POST", "/login").header("Sec-Fetch-Site", "cross-site").answer(), 403),
        (ask("GET", "/").answer(), 200),
        (ask("GET", "/ready").answer(), 200),
    ] {
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(trace(&answer).trace_id, caller.trace_id, "{answer:?}");
    }
    site.finish();
}
