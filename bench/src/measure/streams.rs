//! Live streams of one event, while it is booked at full speed: how soon everybody hears of a
//! change, what the streams cost the bookings, and what they cost in memory.

use std::time::{Duration, Instant};

use eventbooker_core::EventId;
use eventbooker_store::Access;
use serde_json::json;

use super::{Bench, Site};
use crate::Fallible;
use crate::fill::{LONG, now};
use crate::numbers::{length, median, micros_as_millis, percentile, thousands};
use crate::plot::{Bar, Series};
use crate::report::{Findings, Floor, Row, Unit};
use crate::server::Server;
use crate::watchers::{Heard, Watchers};
use crate::wrk::{Expected, Requests, Run};

const STREAMS: usize = 2000;
/// Milliseconds within which all but one in a hundred changes have reached a page.
const LATE_MS_MAX: f64 = 1000.0;
/// Of the bookings without streams.
const RATE_MIN: f64 = 0.7;
const KIB_PER_STREAM_MAX: f64 = 32.0;
const WARM_UP_SECONDS: u32 = 1;
/// Journal entries read at once.
const ENTRIES: u32 = 10_000;

/// What came of the rounds.
#[derive(Default)]
struct Rounds {
    without: Vec<f64>,
    with: Vec<f64>,
    /// Of single bookings, in microseconds.
    p99_without: Vec<u64>,
    p99_with: Vec<u64>,
    booked: u64,
    /// What each stream of each round has heard.
    heard: Vec<Vec<Heard>>,
    seconds: f64,
    client_cpu: Duration,
    kib_per_stream: f64,
    kib_per_idle_stream: f64,
}

pub(super) fn run(bench: &Bench) -> Fallible<Findings> {
    let site = bench.site()?;
    let events = bench.fill(&site, now(), async |filling| filling.events(1, LONG).await)?;
    let event = events[0];
    let server = bench.start(&site)?;
    let bookings = site.bookings(&events)?;
    let mut rounds = Rounds::default();
    rounds.booked += load(bench, &server, &bookings, WARM_UP_SECONDS)?.requests;
    for _ in 0..bench.effort.rounds {
        rounds.one(bench, &server, &bookings, event)?;
    }
    let ending = bench.stop(&site, server, rounds.booked, 2 * bench.effort.rounds + 1)?;
    let late = Lateness::of(&rounds.heard, &changes(bench, &site, event)?)?;

    let streams = thousands(length(STREAMS));
    let (with, without) = (median(&rounds.with), median(&rounds.without));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let client_share = rounds.client_cpu.as_secs_f64() / (rounds.seconds * length(cores));
    let per_second = length(late.messages) / length(rounds.heard.len())
        * f64::from(bench.effort.rounds)
        / rounds.seconds;
    let reached = Row {
        title: format!("{streams} live streams: a change reaches a page, p99"),
        value: percentile(&late.all_ms, 99),
        unit: Unit::Milliseconds,
        floor: Some(Floor::AtMost(LATE_MS_MAX)),
        note: format!(
            "of the oldest change in each message, from its decision; p50 {:.0}, max {:.0}, the slowest stream's p99 {:.0}; {per_second:.1} messages/s each",
            percentile(&late.all_ms, 50),
            percentile(&late.all_ms, 100),
            late.slowest_stream_p99_ms,
        ),
        details: json!({
            "messages": late.messages,
            "p50Ms": percentile(&late.all_ms, 50),
            "maxMs": percentile(&late.all_ms, 100),
            "slowestStreamP99Ms": late.slowest_stream_p99_ms,
            "messagesPerSecondAndStream": per_second,
        }),
    };
    let title = format!("{streams} live streams: bookings of that event meanwhile");
    let kept = Row {
        title: title.clone(),
        value: with / without,
        unit: Unit::TimesWithout,
        floor: Some(Floor::AtLeast(RATE_MIN)),
        note: format!(
            "{}/s of {}/s; the listening client took {:.0} % of the machine; {}",
            thousands(with),
            thousands(without),
            client_share * 100.0,
            ending.words(rounds.booked),
        ),
        details: json!({ "rates": rounds.with, "ratesWithout": rounds.without,
            "p99Micros": rounds.p99_with, "p99MicrosWithout": rounds.p99_without,
            "clientShareOfMachine": client_share, "ending": ending }),
    };
    let memory = Row {
        title: format!("{streams} live streams: resident memory of one"),
        value: rounds.kib_per_stream,
        unit: Unit::Kibibytes,
        floor: Some(Floor::AtMost(KIB_PER_STREAM_MAX)),
        note: format!(
            "with all that grew while it was booked; {:.1} KiB before that",
            rounds.kib_per_idle_stream
        ),
        details: json!({ "idleKib": rounds.kib_per_idle_stream }),
    };
    let bar = Bar { title, rate: with, yardstick: without, floor: Some(RATE_MIN * without) };
    let series = Series { bars: vec![bar], ..Series::default() };
    Ok(Findings { rows: vec![reached, kept, memory], series })
}

impl Rounds {
    fn one(
        &mut self,
        bench: &Bench,
        server: &Server,
        bookings: &Requests,
        event: i64,
    ) -> Fallible<()> {
        let seconds = bench.effort.seconds;
        let without = load(bench, server, bookings, seconds)?;
        let before = server.memory()?.resident_mib;
        let watchers = Watchers::open(server.address(), event, STREAMS)?;
        let opened = server.memory()?.resident_mib;
        let (cpu, started) = (watchers.cpu()?, Instant::now());
        let with = load(bench, server, bookings, seconds)?;
        self.seconds += started.elapsed().as_secs_f64();
        self.client_cpu += watchers.cpu()?.saturating_sub(cpu);
        // One version for the event itself, and one for each booking.
        let made = server.client().event(event)?.pending_bookings;
        watchers.wait_for(i64::try_from(made).unwrap_or(i64::MAX).saturating_add(1))?;
        let loaded = server.memory()?.resident_mib;
        self.heard.extend(watchers.close()?);
        if self.with.is_empty() {
            // Later ones find memory that those before have left.
            let each = |mib: f64| (mib - before) * 1024.0 / length(STREAMS);
            self.kib_per_idle_stream = each(opened);
            self.kib_per_stream = each(loaded.max(opened));
        }
        self.booked += without.requests + with.requests;
        self.without.push(without.rate());
        self.with.push(with.rate());
        self.p99_without.push(without.p99);
        self.p99_with.push(with.p99);
        Ok(())
    }
}

fn load(bench: &Bench, server: &Server, bookings: &Requests, seconds: u32) -> Fallible<Run> {
    let what = "bookings, with and without live streams";
    bench.wrk.run(what, server.address(), bookings, seconds, Expected::Success)
}

/// When each version of an event was decided, in microseconds, the first one first.
fn changes(bench: &Bench, site: &Site, event: i64) -> Fallible<Vec<i64>> {
    bench.runtime.block_on(async {
        let store = site.database.open(Access::Look).await?;
        let mut changes = Vec::new();
        loop {
            let seen = i64::try_from(changes.len()).unwrap_or(i64::MAX);
            let entries = store.journal(EventId::new(event), seen, ENTRIES).await;
            let entries = entries.map_err(|error| error.to_string())?;
            if entries.is_empty() {
                return Ok(changes);
            }
            changes.extend(entries.iter().map(|entry| entry.at.as_micros()));
        }
    })
}

/// How late streams heard of the oldest change in each of their messages.
struct Lateness {
    all_ms: Vec<f64>,
    slowest_stream_p99_ms: f64,
    messages: usize,
}

impl Lateness {
    fn of(streams: &[Vec<Heard>], changes: &[i64]) -> Fallible<Self> {
        let mut late = Self { all_ms: Vec::new(), slowest_stream_p99_ms: 0.0, messages: 0 };
        for heard in streams {
            let mut of_stream = Vec::with_capacity(heard.len());
            for pair in heard.windows(2) {
                let [before, message] = pair else { continue };
                if message.version <= before.version {
                    return Err("a stream went back, or told a thing twice".to_owned());
                }
                let oldest = usize::try_from(before.version).ok().and_then(|at| changes.get(at));
                let oldest = oldest.ok_or("a stream told of a version that there isn't")?;
                of_stream.push(micros_as_millis(message.at - oldest));
            }
            late.slowest_stream_p99_ms = late.slowest_stream_p99_ms.max(percentile(&of_stream, 99));
            late.messages += of_stream.len();
            late.all_ms.append(&mut of_stream);
        }
        if late.messages == 0 {
            return Err("nobody heard anything".to_owned());
        }
        Ok(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_change_in_a_message_counts() {
        let heard = |version, at| Heard { version, at };
        let changes = [0, 10_000, 20_000, 30_000];
        let stream = vec![heard(1, 5_000), heard(3, 25_000), heard(4, 31_000)];
        let late = Lateness::of(&[stream], &changes).expect("in order");
        assert!((late.all_ms[0] - 15.0).abs() < f64::EPSILON, "{:?}", late.all_ms);
        assert!((late.all_ms[1] - 1.0).abs() < f64::EPSILON, "{:?}", late.all_ms);
        let back = vec![heard(3, 0), heard(2, 1)];
        assert!(Lateness::of(&[back], &changes).is_err());
        assert!(Lateness::of(&[vec![heard(4, 0), heard(6, 1)]], &changes).is_err());
        assert!(Lateness::of(&[Vec::new()], &changes).is_err());
    }
}
