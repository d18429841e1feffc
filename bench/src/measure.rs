//! The measurements, and what they share: the program, the load, the yardstick, fresh databases.

mod calls;
mod deadlines;
mod footprint;
mod latency;
mod peer;
mod replicas;
mod services;
mod storm;
mod streams;
mod throughput;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use eventbooker_core::Timestamp;
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::Fallible;
use crate::database::{Database, Place, StoreKind};
use crate::echo::Echo;
use crate::fill::{self, Filling};
use crate::numbers::median;
use crate::report::{Findings, Floor, Row, Unit};
use crate::sales::{self, Sales};
use crate::server::{Ending, Server};
use crate::wrk::{Request, Requests, Wrk};

use self::calls::Call;

/// What can be measured. The yardsticks are measured along with what is held against them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measurement {
    /// Durable bookings on one hot event, against echo.
    Hot,
    /// Durable bookings over 1,000 events, against echo.
    Spread,
    /// "Sold out" answers, against echo.
    SoldOut,
    /// Full sagas on one hot event, paid by 1,000 users, against echo.
    Saga,
    /// Full sagas, all paid from one account, against echo.
    SagaShared,
    /// GET /events/{id}, against a bare GET.
    Event,
    /// Two replicas against one; only on a server.
    Replicas,
    /// Full sagas in four services behind nginx, against one process; only on files.
    Services,
    /// Percentiles of a booking at half of the maximum load.
    Latency,
    /// From a deadline to free seats: 1,000 holds spread over 10 s.
    Deadlines,
    /// 100,000 holds with one deadline, while another event is booked.
    Storm,
    /// 2,000 live streams of one event that is booked at full speed.
    Streams,
    /// Resident memory of an idle service.
    Idle,
    /// Resident memory and start with 1,000,000 live holds.
    Million,
}

impl Measurement {
    /// Measures it.
    pub(crate) fn run(self, bench: &Bench) -> Fallible<Findings> {
        match self {
            Self::Hot => throughput::hot(bench),
            Self::Spread => throughput::spread(bench),
            Self::SoldOut => throughput::sold_out(bench),
            Self::Saga => throughput::saga(bench),
            Self::SagaShared => throughput::saga_shared(bench),
            Self::Event => throughput::event(bench),
            Self::Replicas => replicas::run(bench),
            Self::Services => services::run(bench),
            Self::Latency => latency::run(bench),
            Self::Deadlines => deadlines::run(bench),
            Self::Storm => storm::run(bench),
            Self::Streams => streams::run(bench),
            Self::Idle => footprint::idle(bench),
            Self::Million => footprint::million(bench),
        }
    }

    /// Whether it can be measured on a store.
    pub(crate) fn suits(self, store: StoreKind) -> bool {
        let only_on = |measurement, on| self != measurement || store == on;
        only_on(Self::Replicas, StoreKind::Postgres) && only_on(Self::Services, StoreKind::Sqlite)
    }

    /// How it is called on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// How long and how often to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Seconds of each run of the load.
    pub(crate) seconds: u32,
    /// Runs of which the median counts.
    pub(crate) rounds: u32,
    /// Whether fewer holds have to do.
    pub(crate) quick: bool,
}

/// What measurements share.
pub(crate) struct Bench {
    pub(crate) wrk: Wrk,
    pub(crate) echo: Echo,
    pub(crate) effort: Effort,
    pub(crate) place: Place,
    server: PathBuf,
    dir: PathBuf,
    runtime: Arc<Runtime>,
    /// What `hot` came to, for whoever needs the maximum.
    hot_rate: Cell<Option<f64>>,
    /// What the yardsticks of these calls came to.
    yardstick_rates: RefCell<BTreeMap<Call, Vec<f64>>>,
}

/// A directory with one database, gone when this is dropped.
pub(crate) struct Site {
    pub(crate) database: Database,
    dir: TempDir,
}

impl Bench {
    /// Makes everything ready in a directory.
    pub(crate) fn new(
        server: PathBuf,
        place: Place,
        dir: &Path,
        effort: Effort,
        runtime: Arc<Runtime>,
    ) -> Fallible<Self> {
        Ok(Self {
            wrk: Wrk::find(dir)?,
            echo: Echo::start(dir)?,
            effort,
            place,
            server,
            dir: dir.to_owned(),
            runtime,
            hot_rate: Cell::new(None),
            yardstick_rates: RefCell::default(),
        })
    }

    /// A floor that has been set for the embedded store only.
    pub(crate) fn floor(&self, floor: Floor) -> Option<Floor> {
        (self.place.store() == StoreKind::Sqlite).then_some(floor)
    }

    /// A place for a fresh database.
    pub(crate) fn site(&self) -> Fallible<Site> {
        let dir = TempDir::new_in(&self.dir)
            .map_err(|error| format!("can't create a directory: {error}"))?;
        let database = self.place.database(dir.path())?;
        Ok(Site { database, dir })
    }

    /// Fills a fresh database, in which it is `now` at first.
    pub(crate) fn fill<T>(
        &self,
        site: &Site,
        now: Timestamp,
        fill: impl AsyncFnOnce(&Filling) -> Fallible<T>,
    ) -> Fallible<T> {
        self.runtime.block_on(async {
            let filling = Filling::begin(&site.database, now).await?;
            let filled = fill(&filling).await;
            filling.end().await;
            filled
        })
    }

    /// Starts the service on a database.
    pub(crate) fn start(&self, site: &Site) -> Fallible<Server> {
        Server::start(&self.server, site.database.url(), site.dir.path())
    }

    /// Stops the service, recounts, and compares the bookings with those that were answered as
    /// made. When the load ends, each connection of each run may leave one on its way.
    pub(crate) fn stop(
        &self,
        site: &Site,
        server: Server,
        booked: u64,
        runs: u32,
    ) -> Fallible<Ending> {
        self.stop_after(&self.wrk, site, server, booked, runs)
    }

    /// The same after another load.
    pub(crate) fn stop_after(
        &self,
        wrk: &Wrk,
        site: &Site,
        server: Server,
        booked: u64,
        runs: u32,
    ) -> Fallible<Ending> {
        let ending = server.stop()?;
        let counted = self.runtime.block_on(sales::count_bookings(&site.database))?;
        let most = booked + u64::from(runs) * u64::from(wrk.connections);
        if (booked..=most).contains(&counted) {
            return Ok(ending);
        }
        Err(format!("{booked} bookings were answered as made, but {counted} are in the database"))
    }

    /// After all purchases of seats at one price: fails if one came to nothing, was sold beyond the
    /// capacity, or wasn't paid with its price.
    pub(crate) fn verify_sales(
        &self,
        site: &Site,
        capacity: u32,
        price_minor: i64,
    ) -> Fallible<()> {
        let sales = self.runtime.block_on(Sales::add_up(&site.database, &site.database))?;
        sales.verify(capacity, price_minor)
    }

    /// The rows of the yardsticks, as far as they were measured.
    pub(crate) fn yardsticks(&self) -> Findings {
        let measured = self.yardstick_rates.borrow();
        let rows = measured.iter().map(|(call, rates)| {
            let low = rates.iter().copied().fold(f64::INFINITY, f64::min);
            let high = rates.iter().copied().fold(0.0, f64::max);
            Row {
                title: call.yardstick().to_owned(),
                value: median(rates),
                unit: Unit::PerSecond,
                floor: None,
                note: format!("{} runs, {:.0}k to {:.0}k", rates.len(), low / 1e3, high / 1e3),
                details: json!({ "rates": rates }),
            }
        });
        Findings { rows: rows.collect(), ..Findings::default() }
    }
}

impl Site {
    /// A file for wrk's requests.
    pub(crate) fn requests(
        &self,
        name: &str,
        requests: impl Iterator<Item = Request>,
    ) -> Fallible<Requests> {
        Requests::write(self.dir.path().join(name), requests)
    }

    /// Bookings of one seat, in turn over sessions and events, until each has met each.
    pub(crate) fn bookings(&self, events: &[i64]) -> Fallible<Requests> {
        let pairs = pairs(events, fill::BOOKERS);
        self.requests("bookings", pairs.map(|(event, token)| Call::Book.request(event, token)))
    }
}

/// Events and the sessions of the first so many users, in turn, until the sequence repeats.
pub(crate) fn pairs(events: &[i64], users: u32) -> impl DoubleEndedIterator<Item = (i64, String)> {
    let sessions = users as usize;
    let count = events.len() / gcd(events.len(), sessions) * sessions;
    let tokens: Vec<String> = (0..users).map(fill::token).collect();
    (0..count).map(move |turn| (events[turn % events.len()], tokens[turn % sessions].clone()))
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_over_all_sessions_and_events() {
        assert_eq!(pairs(&[1], 256).count(), 256);
        assert_eq!(pairs(&[1], 1).count(), 1);
        let events: Vec<i64> = (1..=1000).collect();
        let all: std::collections::BTreeSet<_> = pairs(&events, 256).collect();
        assert_eq!(all.len(), 32_000, "no pair twice");
    }
}
