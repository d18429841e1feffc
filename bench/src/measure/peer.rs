//! The peer: what everybody writes who keeps seats in PostgreSQL, by itself.
//!
//! A transaction for each booking locks the event's row, reads what is free, adds the booking, takes
//! the seat. pgbench runs it on the same server, without HTTP in front of it, with the number of
//! clients that suits it best.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Serialize;

use crate::Fallible;
use crate::children::Child;
use crate::database::{Database, Place};
use crate::measure::Bench;
use crate::numbers::median;
use crate::progress::busy;

/// The numbers of clients that are tried.
const CLIENTS: [u32; 6] = [1, 2, 4, 8, 16, 32];
/// Seconds of each try.
const TRY_SECONDS: u32 = 1;
/// How much longer than asked for pgbench may take.
const GRACE: Duration = Duration::from_secs(30);

const TABLES: &str = "
    CREATE TABLE events (id bigint PRIMARY KEY, free_seats bigint NOT NULL);
    CREATE TABLE bookings (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        event_id bigint NOT NULL REFERENCES events (id),
        user_id bigint NOT NULL,
        seats integer NOT NULL,
        created_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        status text NOT NULL DEFAULT 'pending'
    );
    CREATE INDEX ON bookings (event_id);
    CREATE INDEX ON bookings (user_id);
    CREATE INDEX ON bookings (expires_at) WHERE status = 'pending';
    INSERT INTO events SELECT id, 1000000000 FROM generate_series(1, 1000) id;
    ANALYZE";

/// How statements get to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Protocol {
    /// As text with the values in it, as pgbench does by default and Python's usual driver does.
    Simple,
    /// Prepared once on each connection, which is the most that can be had.
    Prepared,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Prepared => "prepared",
        }
    }
}

/// What the peer came to, in transactions a second.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Peer {
    pub(super) protocol: Protocol,
    /// With as many clients as suit it best.
    pub(super) clients: u32,
    pub(super) rates: Vec<f64>,
    /// With each number of clients that was tried.
    tried: Vec<(u32, f64)>,
}

impl Peer {
    /// Books seats of so many events, at most 1,000; by either protocol. None on the embedded store,
    /// where nobody would.
    pub(super) fn measure(bench: &Bench, events: u32) -> Fallible<Vec<Self>> {
        let Place::Server(server) = &bench.place else { return Ok(Vec::new()) };
        let _busy = busy("the peer");
        let database = server.database()?;
        database.execute(TABLES)?;
        let by = |protocol| Peering { bench, database: &database, events, protocol }.measure();
        Ok(vec![by(Protocol::Simple)?, by(Protocol::Prepared)?])
    }

    /// The median.
    pub(super) fn rate(&self) -> f64 {
        median(&self.rates)
    }
}

struct Peering<'bench> {
    bench: &'bench Bench,
    database: &'bench Database,
    events: u32,
    protocol: Protocol,
}

impl Peering<'_> {
    fn measure(&self) -> Fallible<Peer> {
        let mut tried = Vec::new();
        for clients in CLIENTS {
            tried.push((clients, self.run(clients, TRY_SECONDS)?));
        }
        let best = tried.iter().copied().max_by(|(_, one), (_, other)| one.total_cmp(other));
        let (clients, _) = best.ok_or("no number of clients was tried")?;
        let mut rates = Vec::new();
        for _ in 0..self.bench.effort.rounds {
            rates.push(self.run(clients, self.bench.effort.seconds)?);
        }
        Ok(Peer { protocol: self.protocol, clients, rates, tried })
    }

    fn run(&self, clients: u32, seconds: u32) -> Fallible<f64> {
        let script = self.bench.dir.join("peer.sql");
        let sql = format!(
            "\\set event random(1, {})\n\\set user random(1, 1000)\n{}",
            self.events,
            include_str!("peer.sql")
        );
        std::fs::write(&script, sql)
            .map_err(|error| format!("can't write {}: {error}", script.display()))?;
        let mut command = Command::new("pgbench");
        command
            .args(["--no-vacuum", "--protocol", self.protocol.name()])
            .args(["--client", &clients.to_string()])
            .args(["--jobs", &clients.min(2).to_string(), "--time", &seconds.to_string()])
            .arg("--file")
            .arg(&script)
            .arg(self.database.url())
            .stdout(Stdio::piped());
        let child = Child::spawn(command, &script.with_extension("log"))?;
        let limit = Duration::from_secs(u64::from(seconds)) + GRACE;
        let said = child.output(limit)?;
        let rate = said.lines().find_map(|line| line.strip_prefix("tps = "));
        rate.and_then(|rate| rate.split(' ').next()?.parse().ok())
            .ok_or_else(|| child.told(&format!("pgbench has no result:\n{said}")))
    }
}
