//! Replicas whose clocks are hours apart: everything happens by the database's.
//!
//! They are wired up here as the program wires itself up, because a process can't be given a clock of
//! its own.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that can't go on has failed")]

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use eventbooker_engine::{Engine, Parts, Settings, SystemEntropy};
use eventbooker_store::Access;
use eventbooker_store::postgres::{Clock, PostgresStore, PostgresUrl};
use eventbooker_testkit::client::{Client, PASSWORD};
use eventbooker_testkit::clock::{PATIENCE, WrongClock};
use eventbooker_testkit::database::Database;
use eventbooker_testkit::server::Installation;
use eventbooker_web::edge::{self, DrainReport, EdgeConfig};
use eventbooker_web::{Web, WebSettings, application, write_answer};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const HOUR_MICROS: i64 = 3_600_000_000;
const WINDOW_MINUTES: i64 = 30;
/// Of a deadline that has passed while somebody slept until it. Whoever sleeps by the wrong clock looks
/// every 5 s.
const LATE_MICROS_MAX: i64 = 3_500_000;

/// A service in this process, by a clock of its own.
struct Replica {
    runtime: Runtime,
    engine: Engine,
    base: String,
    stop: watch::Sender<bool>,
    served: JoinHandle<DrainReport>,
}

impl Replica {
    fn start(database: &Database, ahead_micros: i64) -> Self {
        let runtime = Runtime::new().unwrap();
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let (stop, stopped) = watch::channel(false);
        let url = PostgresUrl::parse(&database.url(), None).unwrap();
        let (engine, listener) = runtime.block_on(async {
            let store = PostgresStore::open(url, Access::Serve, Clock::Database, 4).await.unwrap();
            let parts = Parts {
                store: Arc::new(store),
                clock: Arc::new(WrongClock::ahead_by_micros(ahead_micros)),
                entropy: Arc::new(SystemEntropy),
                write_answer,
            };
            let engine = Engine::start(parts, Settings::default()).await.unwrap();
            (engine, TcpListener::bind("127.0.0.1:0").await.unwrap())
        });
        let base = format!("http://{}", listener.local_addr().unwrap());
        let app = application(Web::new(engine.clone(), WebSettings::default(), metrics));
        let served = runtime.spawn(edge::serve(listener, app, EdgeConfig::default(), stopped));
        Self { runtime, engine, base, stop, served }
    }

    fn client(&self, session: Option<&str>) -> Client {
        Client::new(&self.base).with_session(session)
    }

    fn stop(self) {
        self.engine.drain();
        self.stop.send(true).unwrap();
        self.runtime.block_on(self.served).unwrap();
        self.runtime.block_on(self.engine.stop());
    }
}

const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// Fails unless the booking has as long as the window, less what has passed since it was made.
fn assert_window(booking: &Value, made: (i64, i64), database: &Database, what: &str) {
    let left = booking["expiresInSeconds"].as_i64().unwrap();
    let gone_max = (database.number(NOW) - made.0) / 1_000_000 + 1;
    let all = WINDOW_MINUTES * 60;
    assert!((all - gone_max..=all).contains(&left), "{what}: {booking}");
    let id = booking["id"].as_i64().unwrap();
    let created_at = database.number(&format!("SELECT created_at FROM bookings WHERE id = {id}"));
    assert!((made.0..=made.1).contains(&created_at), "{what}: {made:?} and {created_at}");
}

#[test]
fn deadlines_are_the_databases_whatever_time_a_replica_thinks_it_is() {
    let installation = Installation::on(env!("CARGO_BIN_EXE_eventbooker"), Database::postgres());
    installation.add_user("admin", "admin");
    let database = installation.database();
    let shifts = [HOUR_MICROS, -HOUR_MICROS];
    let replicas = shifts.map(|shift| Replica::start(database, shift));
    let admin = replicas[0].client(None).signed_in("admin", PASSWORD);
    let ann = replicas[1].client(None).registered("ann");
    let event = admin.create_event(100, 0, WINDOW_MINUTES);
    let clients = replicas.each_ref().map(|replica| replica.client(ann.session()));

    for (client, shift) in clients.iter().zip(shifts) {
        let begun = database.number(NOW);
        let booked = client.book(event, 1);
        assert_eq!(booked.status, 201, "{booked:?}");
        let made = (begun, database.number(NOW));
        assert_window(&booked.json(), made, database, &format!("{shift} ahead"));
        for client in &clients {
            let newest = client.get("/bookings").json()[0].clone();
            assert_eq!(newest["id"], booked.id());
            assert_window(&newest, made, database, &format!("{shift} ahead, read"));
        }
        // For whom it is an hour later it isn't too late.
        let confirmed = clients[0].confirm(event, booked.id());
        assert_eq!(confirmed.status, 200, "{confirmed:?}");
    }
    let kept = clients.map(|client| client.book(event, 1).id());
    for replica in replicas {
        replica.stop();
    }

    for (shift, id) in shifts.into_iter().zip(kept) {
        let soon = format!("UPDATE bookings SET expires_at = ({NOW}) + 1000000 WHERE id = {id}");
        assert_eq!(database.change(&soon), 1);
        let deadline = database.number(&format!("SELECT expires_at FROM bookings WHERE id = {id}"));
        // It looks when it starts, and sleeps until the deadline.
        let replica = Replica::start(database, shift);
        let ended = format!("SELECT at FROM journal WHERE kind = 4 AND booking_id = {id}");
        let begun = Instant::now();
        let at = loop {
            if let [at] = *database.numbers(&ended) {
                break at;
            }
            assert!(begun.elapsed() < PATIENCE, "{shift} ahead: it doesn't end");
            thread::sleep(Duration::from_millis(20));
        };
        let late = at - deadline;
        println!("{shift} ahead: {late} µs late");
        assert!((0..LATE_MICROS_MAX).contains(&late), "{shift} ahead: {late} µs late");
        let gone = replica.client(ann.session()).confirm(event, id);
        gone.problem(410, "hold-expired");
        replica.stop();
    }
    installation.check();
}
