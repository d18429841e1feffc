//! Two replicas against one, with the same load: what they lose to each other.

use serde_json::json;

use super::{Bench, Site};
use crate::Fallible;
use crate::database::StoreKind;
use crate::fill::{LONG, now};
use crate::numbers::{median, thousands};
use crate::plot::{Bar, Series};
use crate::report::{Findings, Floor, Row, Unit};
use crate::server::Server;
use crate::wrk::{Expected, Requests};

const FLOOR: f64 = 0.9;
const WARM_UP_SECONDS: u32 = 1;

pub(super) fn run(bench: &Bench) -> Fallible<Findings> {
    if bench.place.store() == StoreKind::Sqlite {
        return Err("an embedded database has one server".to_owned());
    }
    let mut findings = compare(bench, 1, "one hot event")?;
    let spread = compare(bench, 1000, "1,000 events")?;
    findings.rows.extend(spread.rows);
    findings.series.extend(spread.series);
    Ok(findings)
}

fn compare(bench: &Bench, events: u32, over: &str) -> Fallible<Findings> {
    let site = bench.site()?;
    let events = bench.fill(&site, now(), async |filling| filling.events(events, LONG).await)?;
    let servers = [bench.start(&site)?, bench.start(&site)?];
    let load = Load { bench, requests: site.bookings(&events)?, booked: 0 };
    let (load, one, two) = load.in_turn(&servers)?;
    finish(bench, &site, servers, &load)?;

    let (one_rate, two_rate) = (median(&one), median(&two));
    let title = format!("two replicas, {over}");
    let row = Row {
        title: title.clone(),
        value: two_rate / one_rate,
        unit: Unit::TimesOneReplica,
        floor: Some(Floor::AtLeast(FLOOR)),
        note: format!("{}/s of {}/s", thousands(two_rate), thousands(one_rate)),
        details: json!({ "rates": two, "ratesOfOneReplica": one }),
    };
    let bar = Bar { title, rate: two_rate, yardstick: one_rate, floor: Some(FLOOR * one_rate) };
    let series = Series { bars: vec![bar], ..Series::default() };
    Ok(Findings { rows: vec![row], series })
}

/// Both replicas run all the time, so that only the load makes a difference.
struct Load<'bench> {
    bench: &'bench Bench,
    requests: Requests,
    booked: u64,
}

impl Load<'_> {
    fn in_turn(mut self, servers: &[Server; 2]) -> Fallible<(Self, Vec<f64>, Vec<f64>)> {
        let [first, second] = servers;
        self.run([first, second], WARM_UP_SECONDS)?;
        let (mut one, mut two) = (Vec::new(), Vec::new());
        for _ in 0..self.bench.effort.rounds {
            let seconds = self.bench.effort.seconds;
            one.push(self.run([first, first], seconds)?);
            two.push(self.run([first, second], seconds)?);
        }
        Ok((self, one, two))
    }

    /// Half of the load for each. Returns how many bookings a second they made.
    fn run(&mut self, servers: [&Server; 2], seconds: u32) -> Fallible<f64> {
        let start =
            |server: &Server| self.bench.wrk.start_half(server.address(), &self.requests, seconds);
        let halves = [start(servers[0])?, start(servers[1])?];
        let mut rate = 0.0;
        for half in halves {
            let run = half.finish(Expected::Success)?;
            self.booked += run.requests;
            rate += run.rate();
        }
        Ok(rate)
    }
}

fn finish(bench: &Bench, site: &Site, servers: [Server; 2], load: &Load<'_>) -> Fallible<()> {
    let [first, second] = servers;
    first.terminate()?;
    bench.stop(site, second, load.booked, 2 * bench.effort.rounds + 1)?;
    Ok(())
}
