//! PostgreSQL goes away and comes back under load, and its connections are killed: what was answered
//! is there, what was turned away hasn't happened, nobody is told of a bug, and the service goes on
//! by itself, at once.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that can't go on has failed")]

use std::sync::atomic::Ordering;
use std::thread;

use eventbooker_testkit::SeededEntropy;
use eventbooker_testkit::attendee::{Attendee, Clients, Event, Round};
use eventbooker_testkit::client::Client;
use eventbooker_testkit::database::Database;
use eventbooker_testkit::postgres::{End, Server as Postgres, numbers};
use eventbooker_testkit::server::{Installation, Server, UNLIMITED};

const ATTENDEES: usize = 8;
/// Answers before something happens, and when it is over.
const ENOUGH: usize = 100;
const KILLINGS: usize = 10;
/// Waits until they have ended.
const KILL_CONNECTIONS: &str = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";

struct Scene {
    installation: Installation,
    server: Server,
    events: Vec<Event>,
    attendees: Vec<Attendee>,
}

impl Scene {
    fn on(postgres: &Postgres) -> Self {
        let database = Database::on_server(postgres.url());
        let installation = Installation::on(env!("CARGO_BIN_EXE_eventbooker"), database);
        installation.add_user("admin", "admin");
        let server = installation.serve(&UNLIMITED);
        let admin = server.client_of("admin");
        let events = [(30, 7), (100_000, 3), (100_000, 0)];
        let events = events
            .map(|(seats, price)| Event { id: admin.create_event(seats, price, 600), price })
            .to_vec();
        let entropy = SeededEntropy::new(1);
        let attendee = |number: usize| {
            let login = format!("user-{number}");
            let _ = server.client().registered(&login);
            Attendee::new(&server, &login, entropy.draw())
        };
        let mut attendees: Vec<_> = (0..ATTENDEES).map(attendee).collect();
        // Some can go on whatever happens.
        attendees.iter_mut().step_by(2).for_each(|attendee| attendee.has_keys = true);
        Self { installation, server, events, attendees }
    }

    /// Lets something happen under load. Returns how many requests were turned away.
    fn go_through(&mut self, what: &str, happen: impl FnOnce(&Round)) -> usize {
        let Self { installation, server, events, attendees } = self;
        let round = Round::default();
        let database = installation.database();
        let clients: Vec<Clients> = attendees.iter().map(|one| one.clients(server)).collect();
        let turned_away = |attendees: &[Attendee]| -> usize {
            attendees.iter().map(|attendee| attendee.tally.turned_away).sum()
        };
        let before = turned_away(attendees);
        thread::scope(|scope| {
            for (attendee, clients) in attendees.iter_mut().zip(&clients) {
                let (events, round) = (&*events, &round);
                scope.spawn(move || attendee.work_through(clients, events, round));
            }
            round.until_answered(ENOUGH);
            happen(&round);
            round.is_back.store(true, Ordering::SeqCst);
            assert_eq!(server.client().get("/ready").status, 200, "{what}");
            round.until_answered(ENOUGH);
            round.is_over.store(true, Ordering::SeqCst);
        });
        for attendee in &mut *attendees {
            let rows = attendee.rows(database);
            attendee.settle(&attendee.clients(server), &rows);
            assert_eq!(attendee.rows(database), attendee.known, "{what}");
        }
        installation.check();
        turned_away(attendees) - before
    }

    fn finish(self) {
        for attendee in &self.attendees {
            println!("{:?}", attendee.tally);
        }
        self.server.terminate();
        self.installation.check();
    }
}

#[test]
fn a_server_that_restarts_takes_nothing_with_it() {
    let mut postgres = Postgres::start(&["fsync = off"]);
    let mut scene = Scene::on(&postgres);
    for end in [End::Fast, End::Immediate] {
        let base = scene.server.base().to_owned();
        let turned_away = scene.go_through(&format!("{end:?}"), |_| {
            postgres.stop(end);
            let client = Client::new(&base);
            client.get("/ready").problem(503, "store-unavailable");
            client.get("/events").problem(503, "store-unavailable");
            postgres.start_again();
        });
        assert!(turned_away > 0, "nobody noticed");
    }
    scene.finish();
}

#[test]
fn connections_that_are_killed_take_nothing_with_them() {
    let postgres = Postgres::start(&["fsync = off"]);
    let mut scene = Scene::on(&postgres);
    let url = postgres.url();
    scene.go_through("killed", |round| {
        for _ in 0..KILLINGS {
            assert!(numbers(&url, KILL_CONNECTIONS)[0] > 0);
            round.until_answered(20);
        }
    });
    scene.finish();
}
