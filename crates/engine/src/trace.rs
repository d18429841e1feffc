//! Which trace a piece of work belongs to, and the spans of it that are recorded.
//!
//! Whoever works for a request does so [`within`] its trace: lines that are logged there bear it
//! ([`current`]), commands that are submitted there take it along into their lane, errands that
//! begin there keep it, and participants are told it. That costs a few moves of some bytes.
//!
//! A span costs more, so none is made unless somebody records spans: then [`adopt`] gives one its
//! place in the trace, and the trace goes on from there.

use eventbooker_core::trace::{SpanId, TraceId, TraceParent};
use opentelemetry::Context;
use opentelemetry::trace::{self as otel, SpanContext, TraceContextExt as _, TraceFlags};
use tokio::task::futures::TaskLocalFuture;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

tokio::task_local! {
    static TRACE: Option<TraceParent>;
}

/// Work that is done within a trace.
pub type Within<F> = TaskLocalFuture<Option<TraceParent>, F>;

/// The trace that the present work belongs to, if it belongs to any.
pub fn current() -> Option<TraceParent> {
    TRACE.try_with(|trace| *trace).ok().flatten()
}

/// Does work within a trace.
pub fn within<F: Future>(trace: Option<TraceParent>, work: F) -> Within<F> {
    TRACE.scope(trace, work)
}

/// Does at once what needs no waiting within a trace.
pub fn at<R>(trace: Option<TraceParent>, work: impl FnOnce() -> R) -> R {
    TRACE.sync_scope(trace, work)
}

/// Makes a span the child of its caller's and says who it is itself; `None` if nobody records it.
/// `state` is the caller's `tracestate`.
pub fn adopt(span: &Span, caller: Option<TraceParent>, state: &str) -> Option<TraceParent> {
    if let Some(caller) = caller {
        // An error says that nobody records this one, as is found out below.
        let _ = span.set_parent(Context::new().with_remote_span_context(remote(caller, state)));
    }
    let context = span.context();
    let context = context.span();
    let own = context.span_context();
    Some(TraceParent {
        trace_id: TraceId::new(own.trace_id().to_bytes())?,
        parent_id: SpanId::new(own.span_id().to_bytes())?,
        is_sampled: own.is_sampled(),
    })
}

/// Names a recorded span anew, when more is known of what it is about.
pub fn rename(span: &Span, name: String) {
    span.context().span().update_name(name);
}

fn remote(caller: TraceParent, state: &str) -> SpanContext {
    let flags = TraceFlags::default().with_sampled(caller.is_sampled);
    SpanContext::new(
        otel::TraceId::from_bytes(caller.trace_id.bytes()),
        otel::SpanId::from_bytes(caller.parent_id.bytes()),
        flags,
        true,
        state.parse().unwrap_or_default(),
    )
}
