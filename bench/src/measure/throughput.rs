//! Answers in a second, against the yardstick.
//!
//! The machine's speed drifts, so the yardstick is measured before, between and after the runs that
//! are held against it, and medians are compared.

use serde_json::{Value, json};

use super::calls::Call;
use super::peer::{Peer, Protocol};
use super::{Bench, Site, pairs};
use crate::Fallible;
use crate::database::StoreKind;
use crate::fill::{BOOKERS, LONG, PLENTY, USERS, now, token};
use crate::http::{Answer, Metrics};
use crate::numbers::{length, median, thousands};
use crate::plot::{Bar, Series};
use crate::report::{Findings, Floor, Row, Unit};
use crate::server::Server;
use crate::wrk::{Expected, Requests, Run};

/// Seconds of load that nobody counts, for caches and connections to get warm.
const WARM_UP_SECONDS: u32 = 1;
/// How far the sizes of answers of the service and of the yardstick may lie apart.
const SIZES_APART_MAX: f64 = 0.1;

/// What is held against which yardstick.
struct Plan {
    title: &'static str,
    call: Call,
    /// Times the yardstick, on each store.
    floor: PerStore,
    /// Times the transactions of what everybody writes.
    peer_floor: Option<f64>,
    expected: Expected,
    /// Users whose sessions the load has.
    users: u32,
    /// Events to fill the database with.
    events: u32,
    /// The capacity of each.
    capacity: u32,
    /// What a seat costs. If anything, the users have money for all seats there are.
    price_minor: i64,
    /// Holds to fill it with.
    held: u32,
}

/// A floor for each store, if it has one.
#[derive(Clone, Copy)]
struct PerStore {
    sqlite: f64,
    postgres: Option<f64>,
}

impl PerStore {
    fn on(self, store: StoreKind) -> Option<f64> {
        match store {
            StoreKind::Sqlite => Some(self.sqlite),
            StoreKind::Postgres => self.postgres,
        }
    }
}

const HOT: Plan = Plan {
    title: "durable bookings, one hot event",
    call: Call::Book,
    floor: PerStore { sqlite: 0.45, postgres: Some(0.30) },
    peer_floor: Some(15.0),
    expected: Expected::Success,
    users: BOOKERS,
    events: 1,
    capacity: PLENTY,
    price_minor: 0,
    held: 0,
};

const SAGA: Plan = Plan {
    title: "durable full sagas, one hot event, 1,000 users",
    call: Call::Purchase,
    floor: PerStore { sqlite: 0.35, postgres: Some(0.20) },
    peer_floor: None,
    users: USERS,
    price_minor: 2500,
    ..HOT
};

pub(super) fn hot(bench: &Bench) -> Fallible<Findings> {
    let (findings, rate) = measure(bench, &HOT)?;
    bench.hot_rate.set(Some(rate));
    Ok(findings)
}

pub(super) fn spread(bench: &Bench) -> Fallible<Findings> {
    let plan = Plan {
        title: "durable bookings over 1,000 events",
        floor: PerStore { sqlite: 0.35, postgres: None },
        peer_floor: Some(3.0),
        events: 1000,
        ..HOT
    };
    Ok(measure(bench, &plan)?.0)
}

pub(super) fn sold_out(bench: &Bench) -> Fallible<Findings> {
    let plan = Plan {
        title: "\"sold out\" answers",
        floor: PerStore { sqlite: 0.70, postgres: None },
        peer_floor: None,
        expected: Expected::Refusal,
        capacity: 1,
        held: 1,
        ..HOT
    };
    Ok(measure(bench, &plan)?.0)
}

pub(super) fn saga(bench: &Bench) -> Fallible<Findings> {
    Ok(measure(bench, &SAGA)?.0)
}

pub(super) fn saga_shared(bench: &Bench) -> Fallible<Findings> {
    let plan = Plan {
        title: "durable full sagas, all paid from one account",
        floor: PerStore { sqlite: 0.30, postgres: None },
        // An account is a user's, so everybody is the same one.
        users: 1,
        ..SAGA
    };
    Ok(measure(bench, &plan)?.0)
}

pub(super) fn event(bench: &Bench) -> Fallible<Findings> {
    let plan = Plan {
        title: "`GET /events/{id}`",
        call: Call::ShowEvent,
        floor: PerStore { sqlite: 0.50, postgres: None },
        peer_floor: None,
        events: 1000,
        ..HOT
    };
    Ok(measure(bench, &plan)?.0)
}

/// The yardstick's and the service's requests.
struct Lists {
    echo: Requests,
    service: Requests,
}

impl Plan {
    /// Whether the load leaves bookings behind.
    fn books(&self) -> bool {
        self.call != Call::ShowEvent && self.expected == Expected::Success
    }

    /// Fills the database; returns the events.
    fn fill(&self, bench: &Bench, site: &Site) -> Fallible<Vec<i64>> {
        bench.fill(site, now(), async |filling| {
            let mut events = Vec::new();
            for _ in 0..self.events {
                events.push(filling.event_at_price(self.capacity, LONG, self.price_minor).await?);
            }
            for _ in 0..self.held {
                filling.hold(events[0]).await?;
            }
            if self.price_minor > 0 {
                let all_seats = i64::from(self.capacity) * i64::from(self.events);
                filling.deposits(self.users, all_seats * self.price_minor).await?;
            }
            Ok(events)
        })
    }

    fn lists(&self, site: &Site, events: &[i64]) -> Fallible<Lists> {
        let pairs = || pairs(events, self.users);
        let echo = pairs().map(|(event, token)| self.call.echo(event, token));
        let service = pairs().map(|(event, token)| self.call.request(event, token));
        Ok(Lists {
            echo: site.requests("echo", echo)?,
            service: site.requests("service", service)?,
        })
    }

    /// Asks both once, and sees that the yardstick answers with as many bytes. Returns how many
    /// bookings this made.
    fn compare_sizes(&self, bench: &Bench, server: &Server, event: i64) -> Fallible<u64> {
        let answer = server.client().ask(&self.call.request(event, token(0)))?;
        let yardstick = bench.echo.client().ask(&self.call.echo(event, token(0)))?;
        let wanted = match self.expected {
            Expected::Refusal => 409,
            Expected::Success => self.call.status(),
        };
        if answer.status != wanted {
            return Err(format!("the answer was {} {}", answer.status, answer.body));
        }
        let bytes = length(answer.head_bytes + answer.body.len());
        let apart = bytes / length(yardstick.head_bytes + yardstick.body.len()) - 1.0;
        // A refusal is held against the same yardstick as a booking, whatever its own size.
        if self.expected == Expected::Success && apart.abs() > SIZES_APART_MAX {
            let apart = apart * 100.0;
            return Err(format!("an answer's size is {apart:+.0} % off the yardstick's"));
        }
        Ok(u64::from(self.books()))
    }

    /// What came out, held against the peer.
    fn beside_peer(&self, rate: f64, peer: &Peer) -> Row {
        let (words, floor) = match peer.protocol {
            Protocol::Simple => ("the peer's transactions", self.peer_floor),
            Protocol::Prepared => ("the peer's with everything prepared", None),
        };
        Row {
            title: format!("{}, beside {words}", self.title),
            value: rate / peer.rate(),
            unit: Unit::TimesPeer,
            floor: floor.map(Floor::AtLeast),
            note: format!(
                "{}/s of {}/s, which needs {} clients",
                thousands(rate),
                thousands(peer.rate()),
                peer.clients
            ),
            details: json!({ "peer": peer }),
        }
    }

    /// After runs of refusals: asks once more from both ends of the list. wrk sees of a refusal only
    /// that it is one, and it counts as "sold out" only if that is still the reason.
    fn verify_sold_out(&self, server: &Server, events: &[i64]) -> Fallible<()> {
        if self.expected != Expected::Refusal {
            return Ok(());
        }
        let client = server.client();
        let mut list = pairs(events, self.users);
        for (event, token) in [list.next(), list.next_back()].into_iter().flatten() {
            let answer = client.ask(&self.call.request(event, token))?;
            if !is_sold_out(&answer) {
                return Err(format!("not sold out, but {} {}", answer.status, answer.body));
            }
        }
        Ok(())
    }
}

fn is_sold_out(answer: &Answer) -> bool {
    let problem: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    answer.status == 409 && problem["type"] == "/problems/sold-out"
}

/// What the runs of one plan came to.
#[derive(Default)]
struct Rounds {
    echo_rates: Vec<f64>,
    runs: Vec<Run>,
    /// What the service counted during the runs.
    counted: Metrics,
    seconds: f64,
}

fn measure(bench: &Bench, plan: &Plan) -> Fallible<(Findings, f64)> {
    let peers = match plan.peer_floor {
        Some(_) => Peer::measure(bench, plan.events)?,
        None => Vec::new(),
    };
    let site = bench.site()?;
    let events = plan.fill(bench, &site)?;
    let server = bench.start(&site)?;
    let mut booked = plan.compare_sizes(bench, &server, events[0])?;
    let lists = plan.lists(&site, &events)?;

    let echo = bench.echo.address;
    bench.wrk.run("warming up", echo, &lists.echo, WARM_UP_SECONDS, Expected::Success)?;
    let warm_up = bench.wrk.run(
        "warming up",
        server.address(),
        &lists.service,
        WARM_UP_SECONDS,
        plan.expected,
    )?;
    let rounds = rounds(bench, plan, &server, &lists)?;
    plan.verify_sold_out(&server, &events)?;
    let memory = server.memory()?;
    if plan.books() {
        booked += warm_up.requests + rounds.runs.iter().map(|run| run.requests).sum::<u64>();
    }
    let ending =
        bench.stop(&site, server, booked + u64::from(plan.held), bench.effort.rounds + 1)?;
    if plan.call == Call::Purchase {
        bench.verify_sales(&site, plan.capacity, plan.price_minor)?;
    }

    let rates: Vec<f64> = rounds.runs.iter().map(Run::rate).collect();
    let (rate, echo_rate) = (median(&rates), median(&rounds.echo_rates));
    let (per_batch, commits) = (rounds.counted.commands_per_batch(), rounds.counted.batches);
    let commits = commits / rounds.seconds;
    let (rate_words, echo_words) = (thousands(rate), thousands(echo_rate));
    let batches = match thousands(commits) {
        _ if plan.call == Call::ShowEvent => String::new(),
        commits => format!("{commits} batches/s of {per_batch:.0}; "),
    };
    let recount = if booked == 0 { String::new() } else { format!("; {}", ending.words(booked)) };
    let note = format!(
        "{rate_words}/s of {echo_words}/s; {batches}{:.0} MiB{recount}",
        memory.resident_mib,
    );
    bench.yardstick_rates.borrow_mut().entry(plan.call).or_default().extend(&rounds.echo_rates);
    let floor = plan.floor.on(bench.place.store());
    let row = Row {
        title: plan.title.to_owned(),
        value: rate / echo_rate,
        unit: plan.call.unit(),
        floor: floor.map(Floor::AtLeast),
        note,
        details: json!({
            "rates": rates,
            "yardstickRates": rounds.echo_rates,
            "p99Micros": rounds.runs.iter().map(|run| run.p99).collect::<Vec<_>>(),
            "batchesPerSecond": commits,
            "commandsPerBatch": per_batch,
            "memory": memory,
            "ending": ending,
        }),
    };
    let bar = Bar {
        title: plan.title.to_owned(),
        rate,
        yardstick: echo_rate,
        floor: floor.map(|floor| floor * echo_rate),
    };
    let series = Series { bars: vec![bar], ..Series::default() };
    let beside_peers = peers.iter().map(|peer| plan.beside_peer(rate, peer));
    Ok((Findings { rows: [row].into_iter().chain(beside_peers).collect(), series }, rate))
}

fn rounds(bench: &Bench, plan: &Plan, server: &Server, lists: &Lists) -> Fallible<Rounds> {
    let seconds = bench.effort.seconds;
    let client = server.client();
    let echo = || {
        let address = bench.echo.address;
        bench.wrk.run("the yardstick", address, &lists.echo, seconds, Expected::Success)
    };
    let mut rounds = Rounds::default();
    rounds.echo_rates.push(echo()?.rate());
    for _ in 0..bench.effort.rounds {
        let before = client.metrics()?;
        let run =
            bench.wrk.run(plan.title, server.address(), &lists.service, seconds, plan.expected)?;
        let counted = client.metrics()?.since(before);
        rounds.counted.batches += counted.batches;
        rounds.counted.commands += counted.commands;
        rounds.seconds += run.seconds();
        rounds.runs.push(run);
        rounds.echo_rates.push(echo()?.rate());
    }
    Ok(rounds)
}

/// The maximum rate of bookings on one event, measured now if it wasn't before.
pub(super) fn hot_rate(bench: &Bench) -> Fallible<f64> {
    if let Some(rate) = bench.hot_rate.get() {
        return Ok(rate);
    }
    let site = bench.site()?;
    let events = bench.fill(&site, now(), async |filling| filling.events(1, LONG).await)?;
    let server = bench.start(&site)?;
    let bookings = site.bookings(&events)?;
    let load = |what, seconds| {
        bench.wrk.run(what, server.address(), &bookings, seconds, Expected::Success)
    };
    let warm_up = load("warming up", WARM_UP_SECONDS)?;
    let run = load("the maximum load", bench.effort.seconds)?;
    bench.stop(&site, server, warm_up.requests + run.requests, 2)?;
    bench.hot_rate.set(Some(run.rate()));
    Ok(run.rate())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sold_out_is_sold_out() {
        let answer = |status, kind: &str| {
            let body = json!({ "type": format!("/problems/{kind}"), "status": status }).to_string();
            Answer { status, body, head_bytes: 0 }
        };
        assert!(is_sold_out(&answer(409, "sold-out")));
        assert!(!is_sold_out(&answer(409, "event-begun")));
        assert!(!is_sold_out(&answer(429, "hold-limit")));
        assert!(!is_sold_out(&Answer { status: 409, body: String::new(), head_bytes: 0 }));
    }
}
