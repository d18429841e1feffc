//! What the service says while it runs: lines on standard error, and spans for whoever records them.
//!
//! A line that belongs to a request bears the ids of its trace, whether or not spans are recorded. So
//! lines need no spans, and where nobody records any, none is made.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::IsTerminal as _;
use std::panic;

use eventbooker_core::trace::TraceParent;
use eventbooker_engine::trace;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, Targets};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{self as lines, FmtContext};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, registry};

use crate::otlp::Spans;
use crate::settings::ServeSettings;

/// Whatever is to be logged: the driver would log what it asks a database, with digests of passwords
/// and sessions in it, and what people have told about themselves.
const NO_SECRETS: [&str; 2] = ["tokio_postgres=info", "tokio_postgres::query=info"];
/// How much of a trace's id a person needs to see what belongs together.
const SHORT_DIGITS: usize = 8;

/// From here on lines are written, and spans go where they are sent to.
pub(crate) fn begin(settings: &ServeSettings, spans: Option<&Spans>) -> Result<(), String> {
    let mut filter = EnvFilter::try_new(&settings.log).map_err(|error| format!("log: {error}"))?;
    for directive in NO_SECRETS {
        filter = filter.add_directive(directive.parse().expect("it is right"));
    }
    subscriber(filter, settings.log_json, spans).init();
    // What panics is told as everything is, with its trace.
    panic::set_hook(Box::new(|panic| {
        let (said, backtrace) = (panic.to_string().replace('\n', " "), Backtrace::capture());
        if backtrace.status() == BacktraceStatus::Captured {
            tracing::error!(%backtrace, "{said}");
        } else {
            tracing::error!("{said}");
        }
    }));
    Ok(())
}

/// Without whoever records spans, nobody is asked about them: a layer that isn't there would still want
/// each of them made.
fn subscriber(filter: EnvFilter, as_json: bool, spans: Option<&Spans>) -> Dispatch {
    let Some(spans) = spans else {
        return registry().with(lines(as_json).with_filter(LinesOnly.and(filter))).into();
    };
    let ours = Targets::new().with_target("eventbooker", LevelFilter::INFO);
    let spans = tracing_opentelemetry::layer()
        .with_tracer(spans.tracer())
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(ours);
    registry().with(spans).with(lines(as_json).with_filter(LinesOnly.and(filter))).into()
}

fn lines<S>(as_json: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let lines = lines::layer()
        // A line that can't be written is lost: the disk is full, or nobody reads any more. By
        // default that would be reported on standard error, in vain, and by a panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    if as_json {
        return lines.json().map_event_format(|lines| Traced { lines, put: put_ids }).boxed();
    }
    // Colours are for people; a journal or a file would keep their escape codes.
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = lines.with_ansi(colours);
    // Said once more, because a line with a trace isn't written to where colours are known of.
    lines
        .map_event_format(|lines| Traced { lines: lines.with_ansi(colours), put: put_short_id })
        .boxed()
}

/// Lines with the trace that they belong to.
struct Traced<F> {
    lines: F,
    put: fn(&str, TraceParent, &mut Writer<'_>) -> fmt::Result,
}

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(trace) = trace::current() else {
            return self.lines.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.lines.format_event(context, Writer::new(&mut line), event)?;
        (self.put)(line.trim_end_matches('\n'), trace, &mut writer)
    }
}

/// Puts the ids into an object.
fn put_ids(line: &str, trace: TraceParent, writer: &mut Writer<'_>) -> fmt::Result {
    let members = line.strip_suffix('}').ok_or(fmt::Error)?;
    let TraceParent { trace_id, parent_id, .. } = trace;
    writeln!(writer, r#"{members},"trace_id":"{trace_id}","span_id":"{parent_id}"}}"#)
}

/// Puts the beginning of the trace's id behind a line.
fn put_short_id(line: &str, trace: TraceParent, writer: &mut Writer<'_>) -> fmt::Result {
    writeln!(writer, "{line} trace={:.SHORT_DIGITS$}", trace.trace_id.to_string())
}

/// Lines have no use for spans.
struct LinesOnly;

impl<S> Filter<S> for LinesOnly {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        metadata.is_event()
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.is_event() { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }
}

#[cfg(test)]
mod tests {
    use eventbooker_core::Contexts;
    use tracing::dispatcher::with_default;

    use super::*;

    #[tokio::test]
    async fn no_span_is_made_unless_somebody_records_it() {
        let spans = Spans::sent_to("http://127.0.0.1:1", Contexts::ALL).expect("a collector");
        for (spans, is_made) in [(None, false), (Some(&spans), true)] {
            for as_json in [true, false] {
                let subscriber = subscriber(EnvFilter::new("trace"), as_json, spans);
                let span = with_default(&subscriber, || tracing::info_span!("request"));
                assert_eq!(span.is_disabled(), !is_made);
            }
        }
        spans.end().await;
    }
}
