//! Full sagas in four services behind nginx, against the same build in one process, which is asked
//! without a proxy. Both begin with the same rows, and get the same requests in turn.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use eventbooker_core::Context;
use serde_json::json;

use super::calls::Call;
use super::latency::Paced;
use super::{Bench, pairs};
use crate::Fallible;
use crate::database::StoreKind;
use crate::fill::{LONG, PLENTY, USERS, now, token};
use crate::http::{Client, Metrics};
use crate::numbers::{median, real, thousands};
use crate::plot::{Bar, Series};
use crate::progress::{busy, pause};
use crate::report::{Findings, Floor, Row, Unit};
use crate::sales::Sales;
use crate::server::Ending;
use crate::services::Services;
use crate::wrk::{Expected, Requests, Run, Wrk};

const TITLE: &str = "full sagas in four services behind nginx, 1,000 users";
/// A saga has several calls to go through, most of which it waits, so that it takes more of them at the
/// same time to keep a machine busy: each user has a connection of their own.
const CONNECTIONS: u32 = USERS;
/// Times the rate of one process.
const FLOOR: f64 = 0.25;
/// Calls between services in a saga. They are made for many sagas together.
const CALLS_MAX: f64 = 0.5;
const P99_MS_MAX: f64 = 250.0;
const PRICE_MINOR: i64 = 2500;
/// Seconds of load that nobody counts, for caches and connections to get warm.
const WARM_UP_SECONDS: u32 = 2;
/// Whatever was on its way when the load ended comes to rest within this.
const REST_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) fn run(bench: &Bench) -> Fallible<Findings> {
    if bench.place.store() != StoreKind::Sqlite {
        return Err("four services are measured on files".to_owned());
    }
    let site = bench.site()?;
    let event = bench.fill(&site, now(), async |filling| {
        filling.deposits(USERS, i64::from(PLENTY) * PRICE_MINOR).await?;
        filling.event_at_price(PLENTY, LONG, PRICE_MINOR).await
    })?;
    let events = [event];
    let sagas = pairs(&events, USERS).map(|(event, token)| Call::Purchase.request(event, token));
    let sagas = site.requests("sagas", sagas)?;
    let services = Services::start(&bench.server, &site.database, site.dir.path())?;
    let server = bench.start(&site)?;

    let crowd = bench.wrk.with_connections(CONNECTIONS);
    let mut one = Side::new(&crowd, "warming one process up", server.address());
    let mut four = Side::new(&crowd, "warming four services up", services.address());
    for side in [&mut one, &mut four] {
        side.ask_once(event)?;
        side.load(side.warming_up, &sagas, WARM_UP_SECONDS)?;
    }
    let (mut one_runs, mut rounds) = (Vec::new(), Rounds::default());
    for _ in 0..bench.effort.rounds {
        one_runs.push(one.load("full sagas in one process", &sagas, bench.effort.seconds)?);
        rounds.add(bench, &services, &mut four, &sagas)?;
    }
    let half = rounds.rate() / 2.0;
    let paced = Paced::at(&crowd, &bench.effort, services.address(), &sagas, half)?;
    four.answers += paced.answers;
    four.runs += paced.count();

    let memory = services.resident_mib()?;
    bench.stop_after(&crowd, &site, server, one.answers, one.runs)?;
    bench.verify_sales(&site, PLENTY, PRICE_MINOR)?;
    let ending = stop(bench, &services, &four)?;

    let one_rate = median(&one_runs.iter().map(Run::rate).collect::<Vec<_>>());
    let bar = Bar {
        title: TITLE.to_owned(),
        rate: rounds.rate(),
        yardstick: one_rate,
        floor: Some(FLOOR * one_rate),
    };
    let throughput = Row {
        note: format!(
            "{}; {CONNECTIONS} connections; {memory:.0} MiB without nginx; {}",
            rounds.words(one_rate),
            ending.words(four.answers)
        ),
        details: json!({
            "rates": rates(&rounds.runs),
            "ratesOfOneProcess": rates(&one_runs),
            "p99Micros": rounds.runs.iter().map(|run| run.p99).collect::<Vec<_>>(),
            "cores": rounds.cores(),
            "connections": CONNECTIONS,
            "residentMib": memory,
            "ending": ending,
        }),
        ..rounds.throughput(one_rate)
    };
    let latency = Row {
        title: "p99 of a full saga in four services at half of the maximum load".to_owned(),
        floor: Some(Floor::AtMost(P99_MS_MAX)),
        ..paced.row(half, json!({}))
    };
    let rows = vec![throughput, rounds.calls()?, latency];
    Ok(Findings { rows, series: Series { bars: vec![bar], ..Series::default() } })
}

fn rates(runs: &[Run]) -> Vec<f64> {
    runs.iter().map(Run::rate).collect()
}

/// Who gets load, and how much of it was answered.
struct Side<'a> {
    wrk: &'a Wrk,
    warming_up: &'static str,
    address: SocketAddr,
    answers: u64,
    runs: u32,
}

impl<'a> Side<'a> {
    fn new(wrk: &'a Wrk, warming_up: &'static str, address: SocketAddr) -> Self {
        Self { wrk, warming_up, address, answers: 0, runs: 0 }
    }

    /// Sees that a full saga is what is measured.
    fn ask_once(&mut self, event: i64) -> Fallible<()> {
        let answer = Client::new(self.address).ask(&Call::Purchase.request(event, token(0)))?;
        self.answers += 1;
        if answer.status == Call::Purchase.status() {
            return Ok(());
        }
        Err(format!("the answer was {} {}", answer.status, answer.body))
    }

    fn load(&mut self, what: &str, sagas: &Requests, seconds: u32) -> Fallible<Run> {
        let run = self.wrk.run(what, self.address, sagas, seconds, Expected::Success);
        let run = run.map_err(|error| format!("{what}: {error}"))?;
        self.answers += run.requests;
        self.runs += 1;
        Ok(run)
    }
}

/// What the runs in four services came to.
#[derive(Default)]
struct Rounds {
    runs: Vec<Run>,
    /// What the services counted during the runs.
    counted: Metrics,
    /// Seconds of cores that each of them has used for that.
    used: Vec<(&'static str, f64)>,
}

impl Rounds {
    fn add(
        &mut self,
        bench: &Bench,
        services: &Services,
        four: &mut Side<'_>,
        sagas: &Requests,
    ) -> Fallible<()> {
        let (before, used_before) = (services.metrics()?, services.used()?);
        let run = four.load(TITLE, sagas, bench.effort.seconds)?;
        let counted = services.metrics()?.since(before);
        // Whoever is answered with a 202 has a saga that goes on. wrk doesn't see the difference.
        if counted.confirmed + f64::from(CONNECTIONS) < real(run.requests) {
            let (ended, answered) = (thousands(counted.confirmed), thousands(real(run.requests)));
            return Err(format!("{answered} sagas were answered, of which {ended} had ended"));
        }
        let used = services.used()?.into_iter().zip(used_before);
        let used = used.map(|((name, now), (_, before))| (name, now - before));
        self.used = match self.used.as_slice() {
            [] => used.collect(),
            all => {
                all.iter().zip(used).map(|((name, all), (_, more))| (*name, all + more)).collect()
            }
        };
        self.counted = self.counted.with(counted);
        self.runs.push(run);
        Ok(())
    }

    fn rate(&self) -> f64 {
        median(&rates(&self.runs))
    }

    fn sagas(&self) -> f64 {
        self.runs.iter().map(|run| real(run.requests)).sum()
    }

    /// How many cores each service had.
    fn cores(&self) -> Vec<(&'static str, f64)> {
        let seconds: f64 = self.runs.iter().map(Run::seconds).sum();
        self.used.iter().map(|(name, used)| (*name, used / seconds)).collect()
    }

    /// Without a note and details.
    fn throughput(&self, one_rate: f64) -> Row {
        Row {
            title: TITLE.to_owned(),
            value: self.rate() / one_rate,
            unit: Unit::TimesOneProcess,
            floor: Some(Floor::AtLeast(FLOOR)),
            note: String::new(),
            details: json!({}),
        }
    }

    fn words(&self, one_rate: f64) -> String {
        let cores = self.cores().into_iter().map(|(name, cores)| format!("{name} {cores:.2}"));
        let cores = cores.collect::<Vec<_>>().join(", ");
        let (rate, one_rate) = (thousands(self.rate()), thousands(one_rate));
        format!("{rate}/s of {one_rate}/s; cores: {cores}")
    }

    fn calls(&self) -> Fallible<Row> {
        let Metrics { calls, call_items, .. } = self.counted;
        if calls <= 0.0 {
            return Err("no service counted a call to another one".to_owned());
        }
        let items = call_items / calls;
        Ok(Row {
            title: "calls between services for a full saga".to_owned(),
            value: calls / self.sagas(),
            unit: Unit::PerSaga,
            floor: Some(Floor::AtMost(CALLS_MAX)),
            note: format!(
                "{} calls of {items:.0} items for {} sagas",
                thousands(calls),
                thousands(self.sagas())
            ),
            details: json!({ "calls": calls, "items": call_items, "sagas": self.sagas() }),
        })
    }
}

/// Waits until all sagas are at rest, stops the services, recounts, and compares what was sold with what
/// was answered.
fn stop(bench: &Bench, services: &Services, four: &Side<'_>) -> Fallible<Ending> {
    let [bookings, accounts] =
        [Context::Bookings, Context::Accounts].map(|context| services.database(context));
    let sales = || bench.runtime.block_on(Sales::add_up(bookings, accounts));
    let since = Instant::now();
    while !sales()?.are_complete() && since.elapsed() < REST_MAX {
        pause("sagas come to rest", LOOK_EVERY)?;
    }
    let ending = {
        let _busy = busy("recounting over all databases");
        services.stop()?
    };
    sales()?.verify(PLENTY, PRICE_MINOR)?;
    let counted = bench.runtime.block_on(crate::sales::count_bookings(bookings))?;
    let most = four.answers + u64::from(four.runs) * u64::from(CONNECTIONS);
    if (four.answers..=most).contains(&counted) {
        return Ok(ending);
    }
    Err(format!("{} sagas were answered, but {counted} are in the database", four.answers))
}
