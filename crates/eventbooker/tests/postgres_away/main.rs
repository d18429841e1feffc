//! PostgreSQL goes away under load and comes back, or another server takes its place: what was answered
//! is there, what was turned away hasn't happened, nobody is told of a bug, and the service goes on by
//! itself. No time limit says so: whatever is asked once a server is there is answered.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that can't go on has failed")]

mod load;

use std::thread;
use std::time::{Duration, Instant};

use eventbooker_testkit::client::Client;
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::postgres::{End, Server as Postgres, numbers};

use crate::load::Load;

/// Processes are killed here, not machines: nothing that was written is lost.
const SETTINGS: [&str; 1] = ["fsync = off"];
const KILLINGS: usize = 10;
const KILL_CONNECTIONS: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
/// The same, and waits until they have ended.
const END_CONNECTIONS: &str = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";

#[test]
fn a_server_that_restarts_takes_nothing_with_it() {
    let mut postgres = Postgres::start(&SETTINGS);
    let mut load = Load::on(postgres.url());
    for end in [End::Fast, End::Immediate] {
        let base = load.server.base().to_owned();
        let turned_away = load.go_through(&format!("{end:?}"), |_| {
            postgres.stop(end);
            let client = Client::new(&base);
            client.get("/ready").problem(503, "store-unavailable");
            client.get("/events").problem(503, "store-unavailable");
            postgres.launch();
        });
        assert!(turned_away > 0, "nobody noticed");
    }
    load.finish();
}

#[test]
fn connections_that_are_killed_take_nothing_with_them() {
    let postgres = Postgres::start(&SETTINGS);
    let mut load = Load::on(postgres.url());
    let url = postgres.url();
    load.go_through("killed", |round| {
        for _ in 0..KILLINGS {
            assert!(numbers(&url, KILL_CONNECTIONS)[0] > 0);
            round.until_answered(20);
        }
        numbers(&url, END_CONNECTIONS);
    });
    // And whoever comes next, when nobody else would have noticed.
    assert!(numbers(&url, END_CONNECTIONS)[0] > 0);
    let next = load.server.client().registered("next");
    assert_eq!(next.book(load.events[2].id, 1).status, 201);
    load.finish();
}

/// Commits that the standby has confirmed.
const SETTINGS_OF_PRIMARY: [&str; 3] = [
    "fsync = off",
    // The service asks for more, whatever the server's own idea is.
    "synchronous_commit = local",
    // In its directory, which goes with the test, also if it is killed.
    "dynamic_shared_memory_type = mmap",
];
const WAITING_FOR_STANDBY: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";

#[test]
fn a_standby_takes_over_with_everything_that_was_answered() {
    let mut primary = Postgres::start(&SETTINGS_OF_PRIMARY);
    let mut standby = primary.synchronous_standby();
    // The one that takes writes needn't be the first.
    let mut load = Load::on(Postgres::url_of(&[&standby, &primary]));
    let alone = load.installation.run(&["serve", "--database", &standby.url()]);
    assert!(alone.complaint().contains("does not allow writes"), "{alone:?}");

    // Nothing is answered before it is on both.
    let (event, client) = (load.events[2].id, load.server.client().registered("ann"));
    standby.stop(End::Fast);
    let booking = thread::spawn(move || client.book(event, 1));
    let begun = Instant::now();
    while numbers(&primary.url(), WAITING_FOR_STANDBY) == [0] {
        assert!(begun.elapsed() < PATIENCE && !booking.is_finished(), "nobody waits");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(!booking.is_finished(), "it was answered before the standby had it");
    standby.launch();
    assert_eq!(booking.join().unwrap().status, 201);

    load.go_through("killed", |_| {
        primary.kill();
        standby.promote();
    });
    load.finish();
}
