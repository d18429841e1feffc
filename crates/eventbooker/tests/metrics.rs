//! What `/metrics` says to a machine that knows nothing of this program.

#![allow(missing_docs, reason = "a test")]

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::server::Installation;

/// One metric, as the lines before its samples describe it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Family<'a> {
    help: &'a str,
    kind: &'a str,
    samples: usize,
}

/// The metrics by name. A sample of a histogram or summary belongs to the name without its suffix.
fn families(text: &str) -> BTreeMap<&str, Family<'_>> {
    let mut families: BTreeMap<&str, Family<'_>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let comment = line.strip_prefix("# ").and_then(|comment| {
            let (keyword, rest) = comment.split_once(' ')?;
            let (name, said) = rest.split_once(' ')?;
            Some((keyword, name, said))
        });
        match comment {
            Some(("HELP", name, help)) => families.entry(name).or_default().help = help,
            Some(("TYPE", name, kind)) => families.entry(name).or_default().kind = kind,
            _ => {
                let name = line.split(['{', ' ']).next().unwrap_or_default();
                let of_name = ["_bucket", "_sum", "_count"]
                    .iter()
                    .filter_map(|suffix| name.strip_suffix(suffix))
                    .find(|name| families.contains_key(name));
                families.entry(of_name.unwrap_or(name)).or_default().samples += 1;
            }
        }
    }
    families
}

#[test]
fn every_metric_has_the_prefix_and_says_what_it_is() {
    let installation = Installation::with_users(env!("CARGO_BIN_EXE_eventbooker"));
    let server = installation.serve(&[]);
    // So that every part of the service has done something.
    let event = server.client_of("admin").create_event(9, 0, 30);
    assert_eq!(server.client_of("alice").book(event, 1).status, 201);
    let answer = server.client().get("/metrics");
    assert_eq!(answer.status, 200);
    let text = String::from_utf8(answer.body).expect("text");
    let families = families(&text);
    for (name, family) in &families {
        assert!(name.starts_with("eventbooker_"), "{name}");
        assert!(!family.help.is_empty() && !family.kind.is_empty(), "{name}: {family:?}");
        assert!(family.samples > 0, "{name}: {family:?}");
    }
    // One of each part: edge, application, lanes, deadline clock, recount, recovery of sagas.
    for name in [
        "eventbooker_http_connections_open",
        "eventbooker_http_responses_total",
        "eventbooker_batch_seconds",
        "eventbooker_parked_holds",
        "eventbooker_recounts_unfinished_total",
        "eventbooker_parked_sagas",
    ] {
        assert!(families.contains_key(name), "{name} is missing in {text}");
    }
    server.terminate();
}

#[test]
fn what_happens_is_counted() {
    let installation = Installation::with_users(env!("CARGO_BIN_EXE_eventbooker"));
    let server = installation.serve(&[]);
    let event = server.client_of("admin").create_event(9, 0, 30);
    let alice = server.client_of("alice");
    let booked: Vec<i64> = (0..3).map(|_| alice.book(event, 1).id()).collect();
    assert_eq!(alice.confirm(event, booked[0]).status, 200);
    assert_eq!(alice.cancel(booked[1]).status, 200);
    assert_eq!(alice.confirm(event, booked[1]).status, 409, "a refusal is no entry");
    let entries =
        |kind| alice.metric(&format!("eventbooker_journal_entries_total{{kind=\"{kind}\"}}"));
    let begun = Instant::now();
    installation.database().change("UPDATE bookings SET expires_at = created_at WHERE state = 2");
    while entries("expired") < 1.0 {
        assert!(begun.elapsed() < PATIENCE, "a hold outlives its deadline");
        thread::sleep(Duration::from_millis(50));
    }
    for (kind, count) in
        [("created", 1.0), ("held", 3.0), ("confirmed", 1.0), ("cancelled", 1.0), ("expired", 1.0)]
    {
        assert_eq!(entries(kind).total_cmp(&count), Ordering::Equal, "{kind}");
    }
    // What is answered comes a moment after what is durable.
    while alice.metric("eventbooker_expiry_lag_seconds_count") < 1.0 {
        assert!(begun.elapsed() < PATIENCE, "how late it was is not told");
    }
    let memory = alice.metric("eventbooker_memory_bytes");
    assert!((1e6..1e10).contains(&memory), "{memory}");
    server.terminate();
}
