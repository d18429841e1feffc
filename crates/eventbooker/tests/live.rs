//! `GET /events/{id}/live` and `GET /events/live` over a socket.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that can't go on has failed")]

use std::thread;
use std::time::Instant;

use eventbooker_testkit::client::{LiveStream, Message};
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::server::{Installation, Server, UNLIMITED};
use serde_json::{Value, json};

fn installed() -> (Installation, Server) {
    let installation = Installation::with_users(env!("CARGO_BIN_EXE_eventbooker"));
    let server = installation.serve(&UNLIMITED);
    (installation, server)
}

/// Messages up to a version, which the last of them has to have exactly.
fn until(stream: &mut LiveStream, version: i64) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    while messages.last().is_none_or(|message| message.id < version) {
        let message = stream.next_message().expect("the stream goes on");
        assert_eq!(message.data["version"], message.id);
        messages.push(message);
    }
    assert_eq!(messages.last().unwrap().id, version);
    messages
}

/// The entries of all messages, which have to be all versions from the first one on.
fn journal(messages: &[Message], from: i64) -> Vec<Value> {
    let entries: Vec<Value> = messages
        .iter()
        .flat_map(|message| message.data["journal"].as_array().unwrap().clone())
        .collect();
    for (entry, version) in entries.iter().zip(from..) {
        assert_eq!(entry["version"], version, "the journal has a gap or a double");
    }
    assert_eq!(messages.last().unwrap().id, from + i64::try_from(entries.len()).unwrap() - 1);
    entries
}

#[test]
fn a_watcher_sees_every_change() {
    let (installation, server) = installed();
    let (admin, alice) = (server.client_of("admin"), server.client_of("alice"));
    let event = admin.create_event(10, 0, 30);
    let mut live = server.client().live(event, None);
    let first = live.next_message().expect("how the event stands");
    assert_eq!((first.id, &first.data["freeSeats"]), (1, &Value::from(10)));

    let paid = alice.book(event, 3).id();
    let held = until(&mut live, 2).pop().unwrap().data;
    assert_eq!((&held["freeSeats"], &held["pendingBookings"]), (&7.into(), &1.into()));
    alice.confirm(event, paid);
    let sold = until(&mut live, 3).pop().unwrap().data;
    assert_eq!((&sold["freeSeats"], &sold["confirmedBookings"]), (&7.into(), &1.into()));
    let mut event_shown = sold.clone();
    for member in ["version", "journal"] {
        event_shown.as_object_mut().unwrap().remove(member);
    }
    assert_eq!(event_shown, alice.event(event), "the event as everybody sees it");
    let unpaid = alice.book(event, 2).id();
    alice.cancel(unpaid);
    alice.cancel(paid);
    let messages = until(&mut live, 6);
    assert_eq!(messages.last().unwrap().data["freeSeats"], 10);
    let told: Vec<(Value, Value, Value)> = journal(&messages, 4)
        .iter()
        .map(|entry| (entry["kind"].clone(), entry["bookingId"].clone(), entry["seats"].clone()))
        .collect();
    assert_eq!(
        told,
        [
            ("held".into(), unpaid.into(), 2.into()),
            ("cancelled".into(), unpaid.into(), 2.into()),
            ("cancelled".into(), paid.into(), 3.into()),
        ]
    );
    server.client().get(&format!("/events/{}/live", event + 1)).problem(404, "not-found");
    server.terminate();
    installation.check();
}

#[test]
fn a_watcher_sees_an_event_edited_and_cancelled() {
    let (installation, server) = installed();
    let (admin, alice) = (server.client_of("admin"), server.client_of("alice"));
    let event = admin.create_event(10, 0, 30);
    let booking = alice.book(event, 3).id();
    let mut live = server.client().live(event, Some(2));
    let change = json!({"capacity": 5, "name": "Blue run"});
    let edited = admin.ask("PATCH", &format!("/events/{event}")).json(&change).answer();
    assert_eq!(edited.status, 200);
    let shown = until(&mut live, 3).pop().unwrap().data;
    assert_eq!((&shown["name"], &shown["freeSeats"]), (&"Blue run".into(), &2.into()));
    let cancelled = admin.ask("POST", &format!("/events/{event}/cancel")).body(b"").answer();
    assert_eq!(cancelled.status, 200);
    let messages = until(&mut live, 5);
    let shown = &messages.last().unwrap().data;
    assert_eq!(shown["cancelledAt"], cancelled.json()["cancelledAt"]);
    assert_eq!((&shown["freeSeats"], &shown["pendingBookings"]), (&0.into(), &0.into()));
    let everything = until(&mut alice.live(event, Some(0)), 5);
    let told: Vec<(Value, Value, Value)> = journal(&everything, 1)
        .iter()
        .map(|entry| (entry["kind"].clone(), entry["bookingId"].clone(), entry["seats"].clone()))
        .collect();
    assert_eq!(
        told,
        [
            ("created".into(), Value::Null, 10.into()),
            ("held".into(), booking.into(), 3.into()),
            ("edited".into(), Value::Null, 5.into()),
            ("event_cancelled".into(), Value::Null, 3.into()),
            ("cancelled".into(), booking.into(), 3.into()),
        ]
    );
    server.terminate();
    installation.check();
}

#[test]
fn a_watcher_that_comes_back_misses_nothing() {
    let (_installation, server) = installed();
    let (admin, alice) = (server.client_of("admin"), server.client_of("alice"));
    let event = admin.create_event(1000, 0, 30);
    let mut live = alice.live(event, None);
    for _ in 0..3 {
        assert_eq!(alice.book(event, 1).status, 201);
    }
    let seen = until(&mut live, 4).pop().unwrap().id;
    drop(live);
    for _ in 0..3 {
        assert_eq!(alice.book(event, 1).status, 201);
    }
    let missed = until(&mut alice.live(event, Some(seen)), 7);
    assert_eq!(journal(&missed, 5).len(), 3);
    assert_eq!(missed.last().unwrap().data["freeSeats"], 994);
    let everything = until(&mut alice.live(event, Some(0)), 7);
    assert_eq!(journal(&everything, 1)[0]["kind"], "created");

    // A version that was never given out says nothing about what was seen.
    for nonsense in [8, i64::MAX, -1] {
        let fresh = alice.live(event, Some(nonsense)).next_message().unwrap();
        assert_eq!((fresh.id, &fresh.data["freeSeats"]), (7, &994.into()));
        assert_eq!(fresh.data["journal"], json!([]));
    }

    // Who has seen all hears of the next change first.
    let mut live = alice.live(event, Some(7));
    assert_eq!(alice.book(event, 1).status, 201);
    assert_eq!(journal(&until(&mut live, 8), 8).len(), 1);
    server.terminate();
}

#[test]
fn under_load_every_watcher_sees_a_journal_without_gaps() {
    const BOOKERS: i64 = 4;
    const EACH: i64 = 100;
    let (installation, server) = installed();
    let event = server.client_of("admin").create_event(1000, 0, 30);
    let alice = server.client_of("alice");
    let last = 1 + BOOKERS * EACH;
    thread::scope(|scope| {
        for _ in 0..BOOKERS {
            scope.spawn(|| {
                let client = alice.clone();
                for _ in 0..EACH {
                    assert_eq!(client.book(event, 1).status, 201);
                }
            });
        }
        for _ in 0..3 {
            let mut live = server.client().live(event, Some(0));
            scope.spawn(move || {
                let messages = until(&mut live, last);
                assert_eq!(journal(&messages, 1).len(), usize::try_from(last).unwrap());
                assert_eq!(messages.last().unwrap().data["freeSeats"], 1000 - BOOKERS * EACH);
            });
        }
    });
    server.terminate();
    installation.check();
}

/// Reads until an event has this version; versions never go back. Returns what was told last.
fn until_version(stream: &mut LiveStream, event: i64, version: i64) -> Value {
    let mut seen = 0;
    loop {
        let message = stream.next_message().expect("the stream goes on");
        assert_eq!(message.id, 0, "there is nothing to go on from");
        if message.data["id"] != event {
            continue;
        }
        let told = message.data["version"].as_i64().unwrap();
        assert!(seen < told && told <= version, "{told} after {seen}");
        seen = told;
        if told == version {
            return message.data;
        }
    }
}

#[test]
fn one_stream_tells_how_several_events_stand() {
    let (installation, server) = installed();
    let (admin, alice) = (server.client_of("admin"), server.client_of("alice"));
    let [one, two, other] = [10, 20, 30].map(|capacity| admin.create_event(capacity, 0, 30));
    let mut live = server.client().live_counts(&[two, one, two]);
    for (event, capacity) in [(one, 10), (two, 20)] {
        let first = live.next_message().expect("how they stand").data;
        let counts = json!({"id": event, "version": 1, "capacity": capacity,
            "freeSeats": capacity, "pendingBookings": 0, "confirmedBookings": 0,
            "cancelled": false});
        assert_eq!(first, counts);
    }
    assert_eq!(alice.book(other, 1).status, 201);
    let paid = alice.book(two, 3).id();
    alice.confirm(two, paid);
    assert_eq!(alice.book(two, 1).status, 201);
    let told = until_version(&mut live, two, 4);
    let counts = ["freeSeats", "pendingBookings", "confirmedBookings"].map(|name| &told[name]);
    assert_eq!(counts, [16, 1, 1]);
    admin.ask("POST", &format!("/events/{one}/cancel")).body(b"").answer();
    let told = until_version(&mut live, one, 2);
    assert_eq!((&told["cancelled"], &told["freeSeats"]), (&true.into(), &0.into()));
    // Whoever comes back is told how they stand.
    drop(live);
    let mut again = server.client().live_counts(&[two]);
    assert_eq!(again.next_message().unwrap().data["version"], 4);
    server.terminate();
    installation.check();
}

#[test]
fn under_load_every_page_hears_the_latest() {
    const BOOKERS: i64 = 4;
    const EACH: i64 = 100;
    const PAGES: usize = 50;
    let (installation, server) = installed();
    let event = server.client_of("admin").create_event(1000, 0, 30);
    let alice = server.client_of("alice");
    thread::scope(|scope| {
        for _ in 0..PAGES {
            let mut live = server.client().live_counts(&[event]);
            scope.spawn(move || {
                let told = until_version(&mut live, event, 1 + BOOKERS * EACH);
                assert_eq!(told["freeSeats"], 1000 - BOOKERS * EACH);
            });
        }
        for _ in 0..BOOKERS {
            scope.spawn(|| {
                let client = alice.clone();
                for _ in 0..EACH {
                    assert_eq!(client.book(event, 1).status, 201);
                }
            });
        }
    });
    server.terminate();
    installation.check();
}

#[test]
fn whoever_asks_for_no_events_or_unknown_ones_is_told_so() {
    let (_installation, server) = installed();
    let event = server.client_of("admin").create_event(10, 0, 30);
    let client = server.client();
    let many = |count| vec![format!("id={event}"); count].join("&");
    for bad in ["", "id=", "id=x", "id=1.5", "id=9223372036854775808", &many(25)] {
        let answer = client.get(&format!("/events/live?{bad}"));
        answer.problem_of_fields(400, "invalid-value", &["id"]);
    }
    let unknown = event + 1;
    let answer = client.get(&format!("/events/live?id={event}&id={unknown}&id=-1"));
    answer.problem_of_fields(404, "not-found", &["id", "id"]);
    let detail = &answer.json()["errors"][1]["detail"];
    assert!(detail.as_str().unwrap().contains(&unknown.to_string()), "{answer:?}");
    let mut most = client.live_counts(&[event; 24]);
    assert_eq!(most.next_message().unwrap().data["id"], event);
    drop(most);
    server.terminate();
}

#[test]
fn streams_end_when_the_service_stops() {
    let (_installation, server) = installed();
    let event = server.client_of("admin").create_event(10, 0, 30);
    let mut streams: Vec<LiveStream> = (0..3).map(|_| server.client().live(event, None)).collect();
    streams.extend((0..3).map(|_| server.client().live_counts(&[event])));
    for stream in &mut streams {
        stream.next_message().expect("how the event stands");
    }
    server.begin_stop();
    for stream in &mut streams {
        assert_eq!(stream.next_message(), None, "it ends in good order");
    }
    server.stopped();
}

#[test]
fn streams_leave_connections_to_others() {
    let installation = Installation::with_users(env!("CARGO_BIN_EXE_eventbooker"));
    let server = installation.serve(&["--connections-max", "16"]);
    let event = server.client_of("admin").create_event(10, 0, 30);
    let path = format!("/events/{event}/live");
    let mut streams: Vec<LiveStream> = (0..4).map(|_| server.client().live(event, None)).collect();
    streams.extend((0..4).map(|_| server.client().live_counts(&[event])));
    let client = server.client();
    for _ in 0..3 {
        client.get(&path).problem(503, "overloaded");
        client.get(&format!("/events/live?id={event}")).problem(503, "overloaded");
        assert_eq!(client.get("/health").status, 200);
    }
    for stream in &mut streams {
        let message = stream.next_message().expect("those inside go on");
        assert_eq!(message.data["version"], 1);
    }
    // A client that goes gives its place back; the service hears of it a moment later.
    drop(streams.pop());
    let begun = Instant::now();
    loop {
        let answer = client.ask("HEAD", &path).answer();
        if answer.status == 200 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "no place was given back: {answer:?}");
    }
    drop(streams);
    server.terminate();
}
