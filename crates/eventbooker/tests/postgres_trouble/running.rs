//! Trouble while the service runs: a 503 with its reason in the log, and when the reason is gone,
//! everything works as before. What was refused has not happened.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use eventbooker_testkit::client::{Answer, Client};
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::postgres::{Server as Postgres, execute, numbers};
use eventbooker_testkit::server::{Installation, Server, UNLIMITED};
use serde_json::json;

use super::{SETTINGS, installation, url_as};

/// Connections for few, and the fewest processes beside them.
const FEW_CONNECTIONS: [&str; 5] = [
    "fsync = off",
    "max_connections = 20",
    "autovacuum_max_workers = 1",
    "max_worker_processes = 0",
    "max_wal_senders = 0",
];
/// More than such a server lets in.
const MANY: usize = 60;
const END_CONNECTIONS: &str = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
    WHERE application_name = 'eventbooker'";
/// More than a segment of the log, and half a page beyond a whole number of them.
const FILE_KIB_MAX: u32 = 1028;
/// Leaves no room for another answer.
const FILL: &str = "DO $$ DECLARE number bigint := 0; size integer; BEGIN
    FOREACH size IN ARRAY ARRAY[1000, 1] LOOP
      LOOP
        BEGIN
          number := number + 1;
          INSERT INTO answers (scope, key, fingerprint, answer, created_at) VALUES
            (0, 'filling ' || number, '', convert_to(repeat('x', size), 'UTF8'),
             (extract(epoch FROM now()) * 1000000)::bigint);
        EXCEPTION WHEN disk_full THEN EXIT;
        END;
      END LOOP;
    END LOOP;
  END $$";

/// A service as a user of its own, and somebody who books.
struct Scene {
    postgres: Postgres,
    installation: Installation,
    server: Server,
    ann: Client,
    event: i64,
    keys: usize,
}

impl Scene {
    fn on(postgres: Postgres) -> Self {
        execute(&postgres.url(), "CREATE ROLE clerk LOGIN; GRANT ALL ON SCHEMA public TO clerk");
        let installation = installation(url_as(&postgres, "clerk"));
        installation.add_user("admin", "admin");
        let server = installation.serve(&UNLIMITED);
        let event = server.client_of("admin").create_event(1_000, 0, 600);
        let ann = server.client().registered("ann");
        assert_eq!(ann.book(event, 1).status, 201);
        Self { postgres, installation, server, ann, event, keys: 0 }
    }

    fn sql(&self, statements: &str) {
        execute(&self.postgres.url(), statements);
    }

    /// As an operator does who wants a change to count at once.
    fn end_connections(&self) {
        assert!(numbers(&self.postgres.url(), END_CONNECTIONS)[0] > 0);
    }

    fn book(&self, key: &str) -> Answer {
        let ask = self.ann.ask("POST", &format!("/events/{}/book", self.event));
        ask.json(&json!({"seats": 1})).key(key).answer()
    }

    /// Nothing is booked while there is trouble, with these words in the log; and afterwards it is.
    fn goes_through(&mut self, words: &str, trouble: impl FnOnce(&Self), cure: impl FnOnce(&Self)) {
        self.keys += 1;
        let key = format!("key-{}", self.keys);
        trouble(self);
        self.book(&key).problem(503, "store-unavailable");
        self.server.wait_until_logged(words);
        cure(self);
        let answer = self.book(&key);
        assert_eq!((answer.status, answer.header("idempotent-replayed")), (201, None), "{words}");
        assert_eq!(self.server.client().get("/ready").status, 200, "{words}");
    }

    fn ready(&self) -> Answer {
        self.server.client().get("/ready")
    }

    fn finish(self) {
        let log = self.server.log();
        assert!(!log.contains(" ERROR "), "none of this is a bug: {log}");
        self.server.terminate();
        self.installation.check();
        let booked = numbers(&self.postgres.url(), "SELECT count(*) FROM bookings");
        assert_eq!(booked, [1 + i64::try_from(self.keys).unwrap()]);
    }
}

#[test]
fn what_an_operator_takes_away_is_missed_until_it_is_back() {
    let mut scene = Scene::on(Postgres::start(&SETTINGS));
    scene.goes_through(
        "permission denied for table bookings",
        |scene| scene.sql("REVOKE INSERT ON bookings FROM clerk"),
        |scene| scene.sql("GRANT INSERT ON bookings TO clerk"),
    );
    scene.goes_through(
        "relation \"slots\" does not exist",
        |scene| {
            scene.sql("ALTER TABLE slots RENAME TO elsewhere");
            scene.end_connections();
        },
        |scene| scene.sql("ALTER TABLE elsewhere RENAME TO slots"),
    );
    scene.goes_through(
        "too many connections for role \"clerk\"",
        |scene| {
            scene.sql("ALTER ROLE clerk CONNECTION LIMIT 0");
            scene.end_connections();
            scene.ready().problem(503, "store-unavailable");
        },
        |scene| scene.sql("ALTER ROLE clerk CONNECTION LIMIT -1"),
    );
    scene.goes_through(
        "does not allow writes",
        |scene| {
            scene.sql("ALTER ROLE clerk SET default_transaction_read_only = on");
            scene.end_connections();
            scene.ready().problem(503, "store-unavailable");
        },
        |scene| scene.sql("ALTER ROLE clerk RESET default_transaction_read_only"),
    );
    scene.goes_through(
        "pg_hba.conf rejects connection",
        |scene| {
            scene.postgres.guard(&["host all clerk all reject"]);
            scene.end_connections();
            scene.ready().problem(503, "store-unavailable");
        },
        |scene| scene.postgres.guard(&["host all clerk all trust"]),
    );
    scene.goes_through(
        "password missing",
        |scene| {
            scene.postgres.guard(&["host all clerk all scram-sha-256"]);
            scene.end_connections();
            scene.ready().problem(503, "store-unavailable");
        },
        |scene| scene.postgres.guard(&["host all clerk all trust"]),
    );
    scene.finish();
}

#[test]
fn a_server_without_a_free_connection_is_waited_for() {
    let mut scene = Scene::on(Postgres::start(&FEW_CONNECTIONS));
    scene.end_connections();
    let others: Vec<_> = (0..MANY)
        .map(|_| TcpStream::connect(("127.0.0.1", scene.postgres.port())).expect("it listens"))
        .collect();
    scene.keys += 1;
    scene.book("once").problem(503, "store-unavailable");
    scene.server.wait_until_logged("too many clients already");
    scene.ready().problem(503, "store-unavailable");
    // The server notices one by one that they are gone.
    drop(others);
    let begun = Instant::now();
    let booked = loop {
        let answer = scene.book("once");
        if answer.status != 503 {
            break answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer:?}");
        thread::sleep(Duration::from_millis(10));
    };
    assert_eq!((booked.status, booked.header("idempotent-replayed")), (201, None));
    scene.finish();
}

#[test]
fn a_full_disk_refuses_changes_and_nothing_else() {
    let postgres =
        Postgres::start_with_little_room(&["fsync = off", "autovacuum = off"], FILE_KIB_MAX);
    let mut scene = Scene::on(postgres);
    scene.goes_through(
        "the disk is full",
        |scene| {
            scene.sql(FILL);
            let problem = scene.book("refused").problem(503, "store-unavailable");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("disk") && detail.contains("nothing was changed"), "{detail}");
            assert_eq!(scene.ann.event(scene.event)["pendingBookings"], 1);
            assert_eq!(scene.ready().status, 200);
        },
        |scene| scene.postgres.make_room(),
    );
    scene.finish();
}
