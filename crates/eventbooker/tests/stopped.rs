//! A replica stands still (SIGSTOP) in the middle of a saga, with its locks held and the rows in its
//! hands; another goes on; then it wakes up. Nothing is done twice, and nothing is lost.
//!
//! In one database a saga is one transaction, so the server itself is the fence: it ends the
//! transaction of whoever idles in it. How sagas are fenced that are spread over services, is shown in
//! the engine's tests.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that can't go on has failed")]

use std::thread;
use std::time::{Duration, Instant};

use eventbooker_testkit::client::{Answer, Client};
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::database::Database;
use eventbooker_testkit::server::{Installation, Server, UNLIMITED};
use eventbooker_testkit::wire::Wire;
use serde_json::json;

const PRICE: i64 = 40;
const IDLE: &str = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'
    AND application_name = current_setting('application_name')";

/// Two replicas, of which one will stand still, and an event with three seats.
struct Scene {
    installation: Installation,
    wire: Wire,
    sleeper: Server,
    other: Server,
    event: i64,
}

impl Scene {
    fn new() -> Self {
        let database = Database::postgres();
        let wire = Wire::with_short_patience(database.port());
        let installation = Installation::on(env!("CARGO_BIN_EXE_eventbooker"), database);
        installation.add_user("admin", "admin");
        let url = installation.database().url_through(wire.port());
        let sleeper = installation.serve(&[&UNLIMITED[..], &["--database", &url]].concat());
        let other = installation.serve(&UNLIMITED);
        let admin = other.client_of("admin");
        let event = admin.create_event(3, PRICE, 600);
        Self { installation, wire, sleeper, other, event }
    }

    /// A user with this much money, at both replicas.
    fn user(&self, login: &str, money: i64) -> [Client; 2] {
        let here = self.sleeper.client().registered(login);
        let user = here.get("/auth").id();
        let admin = self.other.client_of("admin");
        assert_eq!(admin.deposit_for(user, money).status, 200);
        let there = self.other.client().with_session(here.session());
        assert_eq!(there.balance(), money);
        [here, there]
    }

    /// One replica has loaded what a request needs, and stands still. Meanwhile something else happens.
    /// Returns what the first is answered in the end, and what happened.
    fn while_it_stands_still<T>(
        &self,
        ask: impl FnOnce() -> Answer + Send,
        meanwhile: impl FnOnce() -> T,
    ) -> (Answer, T) {
        thread::scope(|scope| {
            self.wire.hold_next();
            let asked = scope.spawn(ask);
            self.wire.until_holding();
            let begun = Instant::now();
            while self.installation.database().number(IDLE) == 0 {
                assert!(begun.elapsed() < PATIENCE, "it holds nothing");
                thread::sleep(Duration::from_millis(2));
            }
            self.sleeper.pause();
            self.wire.let_go();
            let happened = meanwhile();
            assert!(!asked.is_finished(), "it didn't stand still");
            self.sleeper.resume();
            (asked.join().unwrap(), happened)
        })
    }

    fn finish(self) {
        assert!(self.wire.swaps() > 0);
        self.sleeper.terminate();
        self.other.terminate();
        self.installation.check();
    }
}

#[test]
fn a_purchase_that_another_replica_has_made_meanwhile_is_made_once() {
    let scene = Scene::new();
    let [here, there] = scene.user("ann", 2 * PRICE);
    let buy = |client: &Client| {
        let purchase = json!({"event_id": scene.event, "seats": 2});
        client.ask("POST", "/book/create").json(&purchase).key("once").answer()
    };
    let (late, made) = scene.while_it_stands_still(|| buy(&here), || buy(&there));
    assert_eq!((made.status, made.header("idempotent-replayed")), (200, None), "{made:?}");
    assert_eq!((late.status, &late.body), (200, &made.body), "{late:?}");
    assert_eq!(late.header("idempotent-replayed"), Some("true"), "{late:?}");
    assert_eq!(here.balance(), 0);
    assert_eq!(here.event(scene.event)["freeSeats"], 1);
    scene.finish();
}

#[test]
fn seats_that_another_replica_has_given_away_meanwhile_are_gone() {
    let scene = Scene::new();
    let [here, _] = scene.user("ann", 1);
    let [_, there] = scene.user("bob", 1);
    let (late, made) =
        scene.while_it_stands_still(|| here.book(scene.event, 2), || there.book(scene.event, 2));
    assert_eq!(made.status, 201, "{made:?}");
    let problem = late.problem(409, "too-few-seats");
    assert_eq!(problem["freeSeats"], 1);
    assert_eq!(here.book(scene.event, 1).status, 201, "it is awake");
    scene.finish();
}
