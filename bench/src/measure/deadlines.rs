//! From a deadline to free seats, with no traffic but one client that watches the event.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::time::Duration;

use eventbooker_core::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::Bench;
use crate::Fallible;
use crate::children::not_interrupted;
use crate::database::StoreKind;
use crate::fill::now;
use crate::numbers::{micros_as_millis, percentile, thousands};
use crate::plot::Series;
use crate::progress;
use crate::report::{Findings, Floor, Row, Unit};

const HOLDS: u32 = 1000;
/// Between two deadlines.
const APART: Duration = Duration::from_millis(10);
const WINDOW: Duration = Duration::from_secs(60);
/// How far ahead the first deadline lies when filling begins, if that is enough.
const LEAD: Duration = Duration::from_secs(12);
/// What is still missing this long after the last deadline is lost.
const LATE_MAX: Duration = Duration::from_secs(10);

/// A message of the live stream, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    free_seats: Option<u32>,
    journal: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    kind: String,
    booking_id: Option<i64>,
    at: String,
}

/// How late holds ended, in milliseconds.
#[derive(Default)]
struct Lateness {
    /// By the journal.
    decided: Vec<f64>,
    /// As the client heard of it.
    heard: Vec<f64>,
}

pub(super) fn run(bench: &Bench) -> Fallible<Findings> {
    // The deadlines are fixed before it is known how long filling takes.
    let mut lead = LEAD;
    for _ in 0..3 {
        if let Some(findings) = attempt(bench, lead)? {
            return Ok(findings);
        }
        lead *= 2;
    }
    Err("the first deadline had passed before anybody watched".to_owned())
}

/// `None` if the lead was too short.
fn attempt(bench: &Bench, lead: Duration) -> Fallible<Option<Findings>> {
    let site = bench.site()?;
    let first = now().plus(lead);
    let (event, deadlines) = bench.fill(&site, first.minus(WINDOW), async |filling| {
        let event = filling.event(HOLDS, WINDOW).await?;
        let bar = progress::bar("filling the database", u64::from(HOLDS));
        let mut deadlines = BTreeMap::new();
        for number in 0..HOLDS {
            not_interrupted()?;
            filling.set_clock(first.plus(APART * number).minus(WINDOW));
            let hold = filling.hold(event).await?;
            deadlines.insert(hold.id.get(), hold.expires_at);
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok((event, deadlines))
    })?;
    let server = bench.start(&site)?;
    let mut lines = server.client().live(event)?.lines();
    if now() >= first {
        return Ok(None);
    }
    let lateness = watch(&mut lines, &deadlines)?;
    drop(lines);
    let ending = bench.stop(&site, server, 0, 0)?;

    let earliest = lateness.decided.iter().chain(&lateness.heard).copied();
    let earliest = earliest.fold(f64::INFINITY, f64::min);
    let heard = |percent| percentile(&lateness.heard, percent);
    let decided = |percent| percentile(&lateness.decided, percent);
    let details = json!({
        "heardMs": { "p50": heard(50), "p99": heard(99), "max": heard(100) },
        "decidedMs": { "p50": decided(50), "p99": decided(99), "max": decided(100) },
        "ending": ending,
    });
    // Another replica may have ended a hold, which only a look at the store can tell.
    let floor_ms = match bench.place.store() {
        StoreKind::Sqlite => 100.0,
        StoreKind::Postgres => 250.0,
    };
    let title = format!("deadline to seats free, {} holds over 10 s", thousands(f64::from(HOLDS)));
    let never_early = Row {
        title: format!("{title}: the earliest"),
        value: earliest,
        unit: Unit::Milliseconds,
        floor: Some(Floor::AtLeast(0.0)),
        note: "after its deadline, by the journal".to_owned(),
        details: serde_json::Value::Null,
    };
    let p99 = Row {
        title: format!("{title}: p99"),
        value: heard(99),
        unit: Unit::Milliseconds,
        floor: Some(Floor::AtMost(floor_ms)),
        note: format!(
            "heard by a watcher; p50 {:.0}, max {:.0}; by the journal p50 {:.1}, p99 {:.1} ms",
            heard(50),
            heard(100),
            decided(50),
            decided(99)
        ),
        details,
    };
    let series =
        Series { lateness_ms: lateness.heard, lateness_floor_ms: floor_ms, ..Series::default() };
    Ok(Some(Findings { rows: vec![never_early, p99], series }))
}

/// Listens until every hold has ended.
fn watch(
    lines: &mut impl Iterator<Item = std::io::Result<String>>,
    deadlines: &BTreeMap<i64, Timestamp>,
) -> Fallible<Lateness> {
    let bar = progress::bar("watching holds end", u64::from(HOLDS));
    let mut waiting = deadlines.clone();
    let last = deadlines.values().max().copied().ok_or("there are no holds")?;
    let mut lateness = Lateness::default();
    let mut free_seats = 0;
    while !waiting.is_empty() {
        not_interrupted()?;
        let line = lines.next().ok_or("the live stream has ended")?;
        let heard_at = now();
        let line = line.map_err(|error| format!("the live stream broke: {error}"))?;
        if heard_at > last.plus(LATE_MAX) {
            return Err(format!("{} holds have not ended", waiting.len()));
        }
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let message: Message =
            serde_json::from_str(data).map_err(|error| format!("{error}: {data}"))?;
        free_seats = message.free_seats.unwrap_or(free_seats);
        for entry in message.journal {
            let id = entry.booking_id.filter(|_| entry.kind == "expired");
            let Some(id) = id else { continue };
            let deadline = waiting.remove(&id).ok_or("a hold ended twice")?.as_micros();
            let at: jiff::Timestamp =
                entry.at.parse().map_err(|error| format!("{error}: {}", entry.at))?;
            let since = |instant: i64| micros_as_millis(instant - deadline);
            lateness.decided.push(since(at.as_microsecond()));
            lateness.heard.push(since(heard_at.as_micros()));
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    if free_seats != HOLDS {
        return Err(format!("{free_seats} seats are free after {HOLDS} holds of one seat ended"));
    }
    Ok(lateness)
}
