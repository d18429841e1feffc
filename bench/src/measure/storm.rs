//! A hundred thousand holds with one deadline, while another event is booked.

use std::time::Duration;

use eventbooker_core::Timestamp;
use serde_json::json;

use super::{Bench, Site};
use crate::Fallible;
use crate::children::not_interrupted;
use crate::fill::{LONG, now};
use crate::http::Client;
use crate::numbers::{micros_as_millis, real, thousands};
use crate::plot::{Series, StormSample};
use crate::progress;
use crate::report::{Findings, Floor, Row, Unit};
use crate::server::Server;
use crate::wrk::Expected;

const WINDOW: Duration = Duration::from_secs(3600);
/// Holds that any machine fills in a second, to guess how far ahead the deadline must lie.
const HOLDS_FILLED_PER_SECOND: u32 = 7_000;
/// Besides filling: starting, and a reserve.
const LEAD: Duration = Duration::from_secs(5);
const WARM_UP_SECONDS: u32 = 1;
/// The other event is booked for so long before the deadline, and after it.
const BEFORE_SECONDS: u32 = 5;
const AFTER_SECONDS: u32 = 8;
/// What is still held this long after the deadline is lost.
const STORM_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What is watched.
struct Watched {
    /// The event whose holds end, and how many they are.
    stormy: i64,
    holds: u32,
    /// The event that is booked meanwhile.
    booked: i64,
    deadline: Timestamp,
}

pub(super) fn run(bench: &Bench) -> Fallible<Findings> {
    let holds = if bench.effort.quick { 20_000 } else { 100_000 };
    let mut lead = LEAD + Duration::from_secs(u64::from(holds / HOLDS_FILLED_PER_SECOND));
    for _ in 0..3 {
        if let Some(findings) = attempt(bench, holds, lead)? {
            return Ok(findings);
        }
        lead *= 2;
    }
    Err("the deadline was too near when the database was filled".to_owned())
}

/// `None` if the lead was too short.
fn attempt(bench: &Bench, holds: u32, lead: Duration) -> Fallible<Option<Findings>> {
    let ahead = Duration::from_secs(u64::from(WARM_UP_SECONDS + BEFORE_SECONDS));
    let site = bench.site()?;
    let deadline = now().plus(lead + ahead);
    let (stormy, booked) = bench.fill(&site, deadline.minus(WINDOW), async |filling| {
        let stormy = filling.event(holds, WINDOW).await?;
        let booked = filling.events(1, LONG).await?[0];
        filling.holds(&[stormy], holds).await?;
        Ok((stormy, booked))
    })?;
    let server = bench.start(&site)?;
    let load_at = deadline.minus(ahead);
    if now() > load_at {
        return Ok(None);
    }
    progress::pause("waiting for the deadline to come near", now().until(load_at))?;
    let watched = Watched { stormy, holds, booked, deadline };
    watch(bench, &site, server, &watched).map(Some)
}

fn watch(bench: &Bench, site: &Site, server: Server, watched: &Watched) -> Fallible<Findings> {
    let bookings = site.bookings(&[watched.booked])?;
    let seconds = WARM_UP_SECONDS + BEFORE_SECONDS + AFTER_SECONDS;
    let load = bench.wrk.start(server.address(), &bookings, seconds, 0.0)?;
    let busy = progress::busy("the storm, while another event is booked");
    let client = server.client();
    let mut samples = Vec::new();
    let mut over = false;
    while !(over && load.has_ended()?) {
        not_interrupted()?;
        let started = now();
        let sample = look(&client, watched)?;
        over = sample.free_seats >= f64::from(watched.holds);
        if sample.free_seats > 0.0 && sample.after_ms < 0.0 {
            return Err(format!("seats were free {:.1} ms before the deadline", -sample.after_ms));
        }
        if sample.after_ms > STORM_MAX.as_secs_f64() * 1e3 {
            return Err(format!("only {} seats are free", sample.free_seats));
        }
        samples.push(sample);
        std::thread::sleep(LOOK_EVERY.saturating_sub(started.until(now())));
    }
    drop(busy);
    let run = load.finish(Expected::Success)?;
    let memory = server.memory()?;
    let ending = bench.stop(site, server, run.requests, 1)?;

    let free = |sample: &&StormSample| sample.free_seats >= f64::from(watched.holds);
    let over_ms = samples.iter().find(free).map_or(f64::INFINITY, |sample| sample.after_ms);
    let before = rate(&samples, -1e3 * f64::from(BEFORE_SECONDS), 0.0);
    let during = rate(&samples, 0.0, over_ms);
    let title = format!("{} holds with one deadline", thousands(f64::from(watched.holds)));
    let details = json!({ "freeAfterMs": over_ms, "rateBefore": before, "rateDuring": during,
        "p99MicrosOfAllBookings": run.p99, "maxMicrosOfAllBookings": run.max,
        "memory": memory, "ending": ending });
    let freed = Row {
        title: format!("{title}: all free"),
        value: over_ms / 1e3,
        unit: Unit::Seconds,
        floor: bench.floor(Floor::AtMost(3.0)),
        note: ending.words(run.requests),
        details,
    };
    let kept = Row {
        title: format!("{title}: bookings on another event meanwhile"),
        value: during / before,
        unit: Unit::TimesBefore,
        floor: bench.floor(Floor::AtLeast(0.5)),
        note: format!(
            "{}/s of {}/s; the slowest took {:.0} ms",
            thousands(during),
            thousands(before),
            real(run.max) / 1e3
        ),
        details: serde_json::Value::Null,
    };
    Ok(Findings { rows: vec![freed, kept], series: Series { storm: samples, ..Series::default() } })
}

fn look(client: &Client, watched: &Watched) -> Fallible<StormSample> {
    let booked = client.event(watched.booked)?;
    let stormy = client.event(watched.stormy)?;
    // Taken after the answers: what they say was true at this instant or before.
    let after_ms = micros_as_millis(now().as_micros() - watched.deadline.as_micros());
    if stormy.capacity != u64::from(watched.holds) {
        return Err(format!("the event has {} seats", stormy.capacity));
    }
    Ok(StormSample {
        after_ms,
        free_seats: real(stormy.free_seats),
        bookings: real(booked.pending_bookings),
    })
}

/// Bookings in a second, between two instants.
fn rate(samples: &[StormSample], from_ms: f64, until_ms: f64) -> f64 {
    let nearest = |ms: f64| {
        let distance = |sample: &&StormSample| (sample.after_ms - ms).abs();
        samples.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))
    };
    match (nearest(from_ms), nearest(until_ms)) {
        (Some(from), Some(until)) if until.after_ms > from.after_ms => {
            (until.bookings - from.bookings) * 1e3 / (until.after_ms - from.after_ms)
        }
        _ => f64::NAN,
    }
}
