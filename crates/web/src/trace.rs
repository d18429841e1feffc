//! Gives every request its place in a trace, by the W3C recommendation
//! [Trace Context](https://www.w3.org/TR/trace-context-1/).
//!
//! A request that says in `traceparent` which trace it belongs to is handled within that one, any
//! other within a trace of its own. Lines that are logged on the way bear its ids, and where spans
//! are recorded there is one for the request.
//!
//! The answer says in `traceparent`, too, in which trace and span it was made. The recommendation
//! leaves answers to a later one, whose `traceresponse` nobody reads yet. This way a client that
//! knows nothing of traces can say which request went wrong, and a proxy can log an id that the
//! service made.
//!
//! Invariants: a header that isn't exactly what the recommendation asks for, or stands there twice,
//! is as good as none. Nothing that a client sends decides more than under which id it is found.
//!
//! Absent on purpose: answers that the edge gives by itself (a body that never arrives, a handler
//! that is late), which are nobody's work, and a line for each request, unless it is asked for: that
//! is a proxy's work.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use axum::response::Response;
use eventbooker_core::trace::{SpanId, TraceId, TraceParent};
use eventbooker_engine::Engine;
use eventbooker_engine::trace::{self, Within};
use pin_project_lite::pin_project;
use tower::Service;
use tracing::field::Empty;
use tracing::{Span, info_span};

const TRACEPARENT: HeaderName = HeaderName::from_static(TraceParent::HEADER);
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// What others keep in a trace for themselves is handed on up to this; more is left out altogether.
const STATE_BYTES_MAX: usize = 512;
const STATE_MEMBERS_MAX: usize = 32;
/// Bytes that are drawn at a time: asking the system for a few of them costs as much.
const DRAWN_BYTES: usize = 4096;

/// A service whose requests are traced.
#[derive(Clone)]
pub(crate) struct Traced<S> {
    inner: S,
    ids: Arc<Ids>,
}

impl<S> Traced<S> {
    pub(crate) fn around(inner: S, engine: Engine) -> Self {
        let drawn = Drawn { bytes: [0; DRAWN_BYTES], left: 0 };
        Self { inner, ids: Arc::new(Ids { engine, drawn: Mutex::new(drawn) }) }
    }
}

impl<S, Body> Service<Request<Body>> for Traced<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = TracedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let caller = caller(request.headers());
        let span = span(&method, uri.path());
        let recorded = if span.is_disabled() {
            None
        } else {
            trace::adopt(&span, caller, &state(request.headers()))
        };
        let trace = recorded.unwrap_or_else(|| self.ids.span_in(caller));
        let inner = trace::within(Some(trace), self.inner.call(request));
        TracedFuture { inner, span, trace, method, uri }
    }
}

/// The request's span. Names and values are those of OpenTelemetry's conventions for HTTP.
fn span(method: &Method, path: &str) -> Span {
    info_span!(
        "request",
        otel.name = known(method),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = known(method),
        url.path = path,
        http.response.status_code = Empty,
    )
}

/// Anybody can make up methods; a name is one of a few.
fn known(method: &Method) -> &str {
    match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH" | "TRACE"
        | "CONNECT") => known,
        _ => "_OTHER",
    }
}

pin_project! {
    /// A request at work, within its trace.
    pub(crate) struct TracedFuture<F> {
        #[pin]
        inner: Within<F>,
        span: Span,
        trace: TraceParent,
        method: Method,
        uri: Uri,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for TracedFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = this.span.enter();
        let Ok(mut response) = ready!(this.inner.poll(cx));
        let (status, path) = (response.status(), this.uri.path());
        trace::at(Some(*this.trace), || {
            tracing::debug!(method = %this.method, path, status = status.as_u16(), "answered");
        });
        if !this.span.is_disabled() {
            note_answer(this.span, this.method, path, status);
        }
        let header = HeaderValue::from_bytes(&this.trace.header());
        response.headers_mut().insert(TRACEPARENT, header.expect("digits and dashes"));
        Poll::Ready(Ok(response))
    }
}

fn note_answer(span: &Span, method: &Method, path: &str, status: StatusCode) {
    // What there isn't has as many names as somebody makes up.
    if !matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
        trace::rename(span, format!("{} {}", known(method), without_numbers(path)));
    }
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

/// A path as it is the same for all events and bookings.
fn without_numbers(path: &str) -> String {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = path.split('/').map(|part| if is_number(part) { "{id}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// The span that caused the request, if it says so.
fn caller(headers: &HeaderMap) -> Option<TraceParent> {
    let mut lines = headers.get_all(TRACEPARENT).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => TraceParent::read(line.as_bytes()).ok(),
        (None, _) | (Some(_), Some(_)) => None,
    }
}

/// What others keep in the trace, as it came; nothing if it is more than has to be handed on.
fn state(headers: &HeaderMap) -> Cow<'_, str> {
    let mut state = Cow::Borrowed("");
    for line in headers.get_all(TRACESTATE) {
        let Ok(line) = line.to_str() else { return Cow::Borrowed("") };
        if state.is_empty() {
            state = Cow::Borrowed(line);
        } else {
            let state = state.to_mut();
            state.push(',');
            state.push_str(line);
        }
    }
    let is_too_much = state.len() > STATE_BYTES_MAX || state.split(',').count() > STATE_MEMBERS_MAX;
    if is_too_much { Cow::Borrowed("") } else { state }
}

/// Makes ids.
struct Ids {
    engine: Engine,
    drawn: Mutex<Drawn>,
}

/// Random bytes, of which the first are still to be used.
struct Drawn {
    bytes: [u8; DRAWN_BYTES],
    left: usize,
}

impl Ids {
    /// A new span in its caller's trace, or in a new one.
    fn span_in(&self, caller: Option<TraceParent>) -> TraceParent {
        let parent_id = self.make(SpanId::new);
        match caller {
            // Whether it is sampled is for whoever records spans to say, and here nobody does.
            Some(caller) => TraceParent { parent_id, ..caller },
            None => TraceParent { trace_id: self.make(TraceId::new), parent_id, is_sampled: false },
        }
    }

    fn make<I, const BYTES: usize>(&self, id: fn([u8; BYTES]) -> Option<I>) -> I {
        loop {
            if let Some(id) = id(self.draw()) {
                return id;
            }
        }
    }

    fn draw<const BYTES: usize>(&self) -> [u8; BYTES] {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        if drawn.left < BYTES {
            self.engine.draw(&mut drawn.bytes);
            drawn.left = DRAWN_BYTES;
        }
        let end = drawn.left;
        drawn.left -= BYTES;
        drawn.bytes[end - BYTES..end].try_into().expect("as many as were asked for")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_few() {
        for (path, name) in [
            ("/", "/"),
            ("/events/7/book", "/events/{id}/book"),
            ("/events/7", "/events/{id}"),
            ("/admin/events/12/edit/", "/admin/events/{id}/edit/"),
            ("/events/7a", "/events/7a"),
        ] {
            assert_eq!(without_numbers(path), name);
        }
        let made_up = Method::from_bytes(b"BREW").expect("a method");
        assert_eq!((known(&Method::PATCH), known(&made_up)), ("PATCH", "_OTHER"));
    }

    #[test]
    fn what_others_keep_is_handed_on_within_limits() {
        let members = |count: usize| vec!["a=1"; count].join(",");
        let long = "k=".to_owned() + &"v".repeat(STATE_BYTES_MAX - 2);
        for (lines, expected) in [
            (vec![], String::new()),
            (
                vec!["rojo=00f067aa0ba902b7, congo=t61rcWkgMzE".to_owned()],
                "rojo=00f067aa0ba902b7, congo=t61rcWkgMzE".to_owned(),
            ),
            (vec!["rojo=1".to_owned(), "congo=2".to_owned()], "rojo=1,congo=2".to_owned()),
            (vec![members(STATE_MEMBERS_MAX)], members(STATE_MEMBERS_MAX)),
            (vec![members(STATE_MEMBERS_MAX), "b=2".to_owned()], String::new()),
            (vec![long.clone()], long.clone()),
            (vec![format!("{long}v")], String::new()),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(TRACESTATE, HeaderValue::from_str(&line).expect("a value"));
            }
            assert_eq!(state(&headers), expected);
        }
    }
}
