//! An event's seats over time as a picture that the server draws, and the same numbers as a table.
//!
//! The picture is two outlines in units of its own: what is sold below, what is held on top of it. Its
//! labels stand beside it, so that they are as large on a telephone as any other text.

use std::fmt::Write as _;

use eventbooker_core::Timestamp;
use eventbooker_engine::{History, Span};
use fluent_bundle::FluentArgs;

use super::super::super::texts::{Instant, Texts};

/// How high the picture is, in its own units.
const HEIGHT: u64 = 1000;
/// How wide a span is, and how much of that its bar takes.
const SPAN_WIDTH: usize = 10;
const BAR_WIDTH: usize = 8;
/// The least height of what isn't nothing.
const VISIBLE: u64 = 10;

/// A chart.
pub(super) struct Chart {
    pub(super) width: usize,
    pub(super) sold: String,
    pub(super) held: String,
    /// The number that its height stands for.
    pub(super) peak: String,
    pub(super) from: Instant,
    pub(super) until: Instant,
    /// What it shows, in words.
    pub(super) words: String,
    pub(super) rows: Vec<Row>,
    /// How much of the journal has been read, in percent, if it isn't all.
    pub(super) read_percent: Option<i64>,
}

/// A span of time in the table.
pub(super) struct Row {
    pub(super) begins: Instant,
    pub(super) booked: String,
    pub(super) given_back: String,
    pub(super) held: String,
    pub(super) sold: String,
}

impl Chart {
    pub(super) fn of(history: &History, now: Timestamp, texts: Texts) -> Self {
        let spans = &history.spans;
        let peak = spans.iter().map(occupied).max().unwrap_or_default();
        let from = spans.first().map_or(history.event.created_at, |span| span.begins_at);
        let last = spans.last().map_or(from, |span| span.begins_at);
        let length = match spans.as_slice() {
            [.., before, last] => before.begins_at.until(last.begins_at),
            _ => std::time::Duration::ZERO,
        };
        let (from, until) = (texts.instant(from), texts.instant(last.plus(length).min(now)));
        let values = FluentArgs::from_iter([
            ("from", from.text.clone()),
            ("until", until.text.clone()),
            ("peak", texts.number(i64::try_from(peak).unwrap_or(i64::MAX))),
            ("now", texts.number(history.event.tally.occupied.get())),
        ]);
        let (sold, held) = outlines(spans, peak);
        let version = history.event.tally.version.max(1);
        Self {
            width: SPAN_WIDTH * spans.len(),
            sold,
            held,
            peak: texts.number(i64::try_from(peak).unwrap_or(i64::MAX)),
            from,
            until,
            words: texts.all("watch-chart-words", &values),
            rows: spans.iter().map(|span| Row::of(span, texts)).collect(),
            read_percent: (!history.is_whole()).then(|| 100 * history.version / version),
        }
    }
}

impl Row {
    fn of(span: &Span, texts: Texts) -> Self {
        Self {
            begins: texts.instant(span.begins_at),
            booked: texts.number(span.booked),
            given_back: texts.number(span.given_back),
            held: texts.number(span.held.get()),
            sold: texts.number(span.sold.get()),
        }
    }
}

fn occupied(span: &Span) -> u64 {
    u64::from(span.held.get()) + u64::from(span.sold.get())
}

/// The bars of what is sold, and those of what is held, as two paths.
fn outlines(spans: &[Span], peak: u64) -> (String, String) {
    let scale = |seats: u64| match HEIGHT * seats / peak.max(1) {
        height if seats > 0 => height.max(VISIBLE),
        _ => 0,
    };
    let (mut sold_path, mut held_path) = (String::new(), String::new());
    for (number, span) in spans.iter().enumerate() {
        let sold = scale(u64::from(span.sold.get()));
        let all = scale(occupied(span)).max(sold);
        let x = number * SPAN_WIDTH;
        for (path, from, to) in [(&mut sold_path, 0, sold), (&mut held_path, sold, all)] {
            if to > from {
                let (bottom, top) = (HEIGHT - from, HEIGHT - to);
                write!(path, "M{x} {bottom}V{top}h{BAR_WIDTH}V{bottom}z")
                    .expect("writing to a String cannot fail");
            }
        }
    }
    (sold_path, held_path)
}
