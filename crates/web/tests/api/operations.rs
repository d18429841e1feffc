//! What operators' machines are told.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::site::Site;

const FIRST_RECOUNT: Duration = Duration::from_secs(10 * 60);
const NEXT_RECOUNT: Duration = Duration::from_secs(24 * 3600);
const RECOUNT_TAKES_AT_MOST: Duration = Duration::from_secs(5 * 60);

/// Those after the page of events, the empty page behind it, and the page of slots.
const RESTS_UNTIL_SLOTS_ARE_READ: usize = 3;

/// What `/ready` says when the next recount is over, which rests between its pages.
fn ready_after_recount(site: &Site, due: Duration) -> Value {
    let ready = || {
        let answer = site.client().get("/ready");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let before = ready();
    site.pass(due);
    for _ in 0..100 {
        site.pass(Duration::from_millis(1));
        let after = ready();
        if after != before {
            return after;
        }
    }
    panic!("no recount has ended");
}

#[test]
fn ready_tells_when_the_rows_were_recounted_and_how_much_does_not_add_up() {
    let site = Site::start();
    let [admin, alice, _] = site.clients();
    let event = admin.create_event(10, 0, 7 * 24 * 60);
    assert_eq!(alice.book(event, 2).status, 201);
    assert_eq!(site.client().get("/ready").json(), json!({"status": "ready"}), "none has run");

    let sound = ready_after_recount(&site, FIRST_RECOUNT);
    assert_eq!(
        sound,
        json!({"status": "ready", "recount": {"at": "2026-01-01T00:10:00Z", "findings": 0}})
    );

    let database = site.database();
    assert_eq!(database.change("UPDATE tallies SET occupied = occupied + 1"), 1);
    let damaged = ready_after_recount(&site, NEXT_RECOUNT);
    assert_eq!(damaged["status"], "ready", "sound rows can still be used");
    assert_eq!(damaged["recount"]["findings"], 1);
    assert_eq!(alice.book(event, 1).status, 201);

    assert_eq!(database.change("UPDATE tallies SET occupied = occupied - 1"), 1);
    assert_eq!(ready_after_recount(&site, NEXT_RECOUNT)["recount"]["findings"], 0);
    site.finish();
}

/// What `/metrics` says about recounts, by what their names begin with it.
fn recount_metrics(site: &Site) -> BTreeMap<String, f64> {
    let answer = site.client().get("/metrics");
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = String::from_utf8(answer.body).expect("text");
    let samples = text.lines().filter_map(|line| line.strip_prefix("eventbooker_recount"));
    samples
        .map(|sample| {
            let (name, value) = sample.split_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

#[test]
fn a_recount_that_does_not_end_is_told_about_until_one_does() {
    let site = Site::start();
    let [admin, alice, _] = site.clients();
    let event = admin.create_event(10, 0, 30 * 24 * 60);
    assert_eq!(alice.book(event, 2).status, 201);
    let metrics = |samples: &[(&str, f64)]| -> BTreeMap<String, f64> {
        samples.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    };
    // 2026-01-01T00:10:00Z
    let first = 1_767_226_200.0;
    let day = 24.0 * 3600.0;
    assert_eq!(recount_metrics(&site), metrics(&[("s_unfinished_total", 0.0)]), "none has run");

    let database = site.database();
    assert_eq!(database.change("UPDATE tallies SET occupied = 3, pending_bookings = 2"), 1);
    ready_after_recount(&site, FIRST_RECOUNT);
    let told = [("_findings", 2.0), ("_timestamp_seconds", first), ("s_unfinished_total", 0.0)];
    assert_eq!(recount_metrics(&site), metrics(&told));
    assert_eq!(database.change("UPDATE tallies SET occupied = 2, pending_bookings = 1"), 1);

    // The next begins, and its time is up while it rests.
    site.pass(NEXT_RECOUNT);
    let ready = ready_after_recount(&site, RECOUNT_TAKES_AT_MOST);
    let recount = &json!({"at": "2026-01-01T00:10:00Z", "findings": 2});
    assert_eq!(&ready["recount"], recount, "it still tells what it knows");
    let mut unfinished = ready["unfinished_recount"].clone();
    let at = unfinished["at"].take();
    assert!(at.as_str().is_some_and(|at| at.starts_with("2026-01-02T00:10:00")), "{at}");
    let seconds = if database.is_embedded() { 300 } else { 30 };
    let reason = format!("it took longer than {seconds} s");
    assert_eq!(unfinished, json!({"at": null, "reason": reason, "findings": 0}));
    let told = [("_findings", 2.0), ("_timestamp_seconds", first), ("s_unfinished_total", 1.0)];
    assert_eq!(recount_metrics(&site), metrics(&told));

    // One more whose time is up, but only after it has come upon a slot of no event.
    let move_slots = |by: i64| format!("UPDATE slots SET event_id = event_id + {by}");
    assert_eq!(database.change(&move_slots(76)), 1);
    site.pass(NEXT_RECOUNT);
    for _ in 0..RESTS_UNTIL_SLOTS_ARE_READ {
        site.pass(Duration::from_millis(1));
    }
    let ready = ready_after_recount(&site, RECOUNT_TAKES_AT_MOST);
    assert_eq!((&ready["recount"], &ready["unfinished_recount"]["findings"]), (recount, &json!(1)));
    let told = [("_findings", 1.0), ("_timestamp_seconds", first), ("s_unfinished_total", 2.0)];
    assert_eq!(recount_metrics(&site), metrics(&told));
    assert_eq!(database.change(&move_slots(-76)), 1);

    let ready = ready_after_recount(&site, NEXT_RECOUNT);
    assert_eq!((&ready["recount"]["findings"], ready.get("unfinished_recount")), (&json!(0), None));
    let told = recount_metrics(&site);
    assert_eq!((told["_findings"], told["s_unfinished_total"]), (0.0, 2.0));
    assert!((told["_timestamp_seconds"] - (first + 3.0 * day)).abs() < 3600.0, "{told:?}");
    site.finish();
}

/// What the database says is for the log. Anybody may ask whether the service is ready.
#[test]
fn ready_does_not_tell_what_the_database_said() {
    let site = Site::start();
    let database = site.database();
    database.change("ALTER TABLE errands RENAME TO mislaid");
    let ready = ready_after_recount(&site, FIRST_RECOUNT);
    assert_eq!(ready["unfinished_recount"]["reason"], "the database failed; the log says how");
    assert_eq!(ready.get("recount"), None);
    database.change("ALTER TABLE mislaid RENAME TO errands");
    site.finish();
}
