//! Memory, and how soon the service is ready.

use std::time::Duration;

use serde_json::json;

use super::Bench;
use crate::Fallible;
use crate::fill::{LONG, now};
use crate::numbers::thousands;
use crate::progress;
use crate::report::{Findings, Floor, Row, Unit};
use crate::wrk::Expected;

/// How long an idle service is left alone before it is looked at.
const IDLE: Duration = Duration::from_secs(3);
/// How long it is booked before it is looked at.
const LOAD_SECONDS: u32 = 3;
/// Events that the holds are spread over.
const EVENTS: u32 = 1000;

pub(super) fn idle(bench: &Bench) -> Fallible<Findings> {
    let site = bench.site()?;
    let server = bench.start(&site)?;
    progress::pause("leaving the service alone", IDLE)?;
    let memory = server.memory()?;
    let ready_ms = server.ready_after.as_secs_f64() * 1e3;
    let ending = bench.stop(&site, server, 0, 0)?;
    let row = Row {
        title: "resident memory, idle".to_owned(),
        value: memory.resident_mib,
        unit: Unit::Mebibytes,
        floor: bench.floor(Floor::AtMost(40.0)),
        note: format!(
            "{:.0} MiB of it its own data, the rest the program itself; ready after {ready_ms:.0} ms",
            memory.own_mib
        ),
        details: json!({ "memory": memory, "readyMs": ready_ms, "ending": ending }),
    };
    Ok(Findings { rows: vec![row], ..Findings::default() })
}

pub(super) fn million(bench: &Bench) -> Fallible<Findings> {
    let holds: u32 = if bench.effort.quick { 100_000 } else { 1_000_000 };
    let site = bench.site()?;
    let hot = bench.fill(&site, now(), async |filling| {
        let hot = filling.events(1, LONG).await?;
        let events = filling.events(EVENTS, LONG).await?;
        filling.holds(&events, holds).await?;
        Ok(hot)
    })?;
    let bookings = site.bookings(&hot)?;
    let mut booked = u64::from(holds);

    let server = bench.start(&site)?;
    let first_ready = server.ready_after.as_secs_f64();
    let at_start = server.memory()?;
    let what = "bookings beside many live holds";
    let load = |address| bench.wrk.run(what, address, &bookings, LOAD_SECONDS, Expected::Success);
    booked += load(server.address())?.requests;
    let loaded = server.memory()?;
    let first_ending = bench.stop(&site, server, booked, 1)?;

    // Again after a power failure under load, when there is a log to go through.
    let server = bench.start(&site)?;
    let second_ready = server.ready_after.as_secs_f64();
    booked += load(server.address())?.requests;
    server.kill();
    let server = bench.start(&site)?;
    let ready_after_kill = server.ready_after.as_secs_f64();
    let ending = bench.stop(&site, server, booked, 2)?;

    let count = thousands(f64::from(holds));
    let memory = Row {
        title: format!("resident memory, {count} live holds"),
        value: loaded.resident_mib,
        unit: Unit::Mebibytes,
        floor: bench.floor(Floor::AtMost(400.0)),
        note: format!(
            "after {LOAD_SECONDS} s of bookings; {:.0} MiB at the start; {}",
            at_start.resident_mib,
            ending.words(booked)
        ),
        details: json!({ "atStart": at_start, "loaded": loaded, "ending": first_ending }),
    };
    let start = Row {
        title: format!("start to `/ready`, {count} live holds"),
        value: first_ready.max(second_ready).max(ready_after_kill),
        unit: Unit::Seconds,
        floor: bench.floor(Floor::AtMost(3.0)),
        note: format!(
            "the slowest of {first_ready:.2}, {second_ready:.2}, and {ready_after_kill:.2} after kill -9 under load"
        ),
        details: json!({ "readySeconds": [first_ready, second_ready],
            "readySecondsAfterKill": ready_after_kill, "ending": ending }),
    };
    Ok(Findings { rows: vec![memory, start], ..Findings::default() })
}
