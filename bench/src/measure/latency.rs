//! How long a booking takes at half of the maximum load.
//!
//! wrk sends the next request when an answer has come. To halve its load each connection pauses in
//! between, for random times, so that connections don't move in step. How long the pauses have to
//! be depends on how long answers take, so each run corrects the pause of the next, and those whose
//! rate was far off don't count.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Bench, Effort, throughput};
use crate::Fallible;
use crate::fill::{LONG, now};
use crate::numbers::{median, real, thousands};
use crate::report::{Findings, Floor, Row, Unit};
use crate::wrk::{Requests, Run, Wrk};

/// Runs whose rate missed the mark; with one more, the measurement has failed.
const MISSES_MAX: usize = 8;
/// How far from half of the maximum the rate of a run that counts may lie.
const OFF_MAX: f64 = 0.10;

pub(super) fn run(bench: &Bench) -> Fallible<Findings> {
    let target = throughput::hot_rate(bench)? / 2.0;
    let site = bench.site()?;
    let events = bench.fill(&site, now(), async |filling| filling.events(1, LONG).await)?;
    let server = bench.start(&site)?;
    let bookings = site.bookings(&events)?;
    let paced = Paced::at(&bench.wrk, &bench.effort, server.address(), &bookings, target)?;
    let ending = bench.stop(&site, server, paced.answers, paced.count())?;
    let row = Row {
        title: "p99 of a booking at half of the maximum load".to_owned(),
        floor: bench.floor(Floor::AtMost(10.0)),
        ..paced.row(target, json!({ "ending": ending }))
    };
    Ok(Findings { rows: vec![row], ..Findings::default() })
}

/// Runs at a given rate.
pub(super) struct Paced {
    /// Those that count.
    runs: Vec<Run>,
    /// The rates of those that don't.
    misses: Vec<f64>,
    /// Answers in all of them.
    pub(super) answers: u64,
}

impl Paced {
    /// Sends requests at this rate.
    pub(super) fn at(
        wrk: &Wrk,
        effort: &Effort,
        address: SocketAddr,
        requests: &Requests,
        target: f64,
    ) -> Fallible<Self> {
        // A connection's cycle is a pause and an answer.
        let cycle_ms = |rate: f64| f64::from(wrk.connections) / rate * 1e3;
        let mut pause_ms = cycle_ms(target);
        let mut paced = Self { runs: Vec::new(), misses: Vec::new(), answers: 0 };
        while paced.runs.len() < effort.rounds as usize {
            // Pauses are uniform from nothing on, so the longest is twice the mean.
            let run = wrk.run_paced(
                "half of the maximum load",
                address,
                requests,
                effort.seconds,
                pause_ms * 2.0,
            )?;
            let rate = run.rate();
            paced.answers += run.requests;
            pause_ms = (pause_ms + cycle_ms(target) - cycle_ms(rate)).max(0.5);
            if (rate / target - 1.0).abs() <= OFF_MAX {
                paced.runs.push(run);
                continue;
            }
            paced.misses.push(rate);
            if paced.misses.len() > MISSES_MAX {
                let (target, misses) = (thousands(target), &paced.misses);
                return Err(format!(
                    "half of the maximum, {target}/s, was never reached: {misses:.0?}"
                ));
            }
        }
        Ok(paced)
    }

    /// How many runs there were.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.runs.len() + self.misses.len()).unwrap_or(u32::MAX)
    }

    /// How long answers took, without a title and a floor.
    pub(super) fn row(&self, target: f64, mut details: Value) -> Row {
        let rate = median(&self.runs.iter().map(Run::rate).collect::<Vec<_>>());
        let millis = |of: fn(&Run) -> u64| {
            median(&self.runs.iter().map(|run| real(of(run)) / 1e3).collect::<Vec<_>>())
        };
        let (p50, p99) = (millis(|run| run.p50), millis(|run| run.p99));
        let (p999, max) = (millis(|run| run.p999), millis(|run| run.max));
        let figures = json!({ "rate": rate, "maximumRate": target * 2.0, "p50Ms": p50,
            "p99Ms": p99, "p999Ms": p999, "maxMs": max, "ratesOfRunsThatDoNotCount": self.misses });
        if let (Value::Object(details), Value::Object(figures)) = (&mut details, figures) {
            details.extend(figures);
        }
        Row {
            title: String::new(),
            value: p99,
            unit: Unit::Milliseconds,
            floor: None,
            note: format!(
                "at {}/s of {}/s; p50 {p50:.1}, p99.9 {p999:.1}, max {max:.0} ms",
                thousands(rate),
                thousands(target * 2.0)
            ),
            details,
        }
    }
}
