//! One connection: hyper's HTTP/1.1 over a [`Wire`], the application behind it, and the timer that
//! watches both.
//!
//! The request path allocates what axum's types need and nothing of its own; futures are named
//! types, not boxes.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use axum::body::Body;
use axum::http::header::{CONNECTION, HOST};
use axum::http::{HeaderMap, HeaderValue, Request, Response, Version};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use tokio::net::TcpStream;
use tokio::time::sleep_until;
use tower::Service;

use super::Peer;
use super::watch::{Open, Order, Verdict, Watch};
use super::wire::Wire;
use crate::problem::{Problem, ProblemKind};

/// hyper's read and write buffers grow up to this; it also bounds how much of a body is in memory
/// per connection.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Serves a connection to its end.
pub(super) async fn run<S>(stream: TcpStream, peer: Peer, app: S, open: Open)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let watch = &open.watch;
    let io = TokioIo::new(Wire::new(stream, Arc::clone(watch)));
    let service = Application { app: RefCell::new(app), peer, watch: Arc::clone(watch) };
    let mut http = pin!(
        http1::Builder::new()
            .header_read_timeout(None)
            .max_header_size(watch.shared.config.header_bytes_max)
            .max_buf_size(BUFFER_BYTES_MAX)
            // Answers are small: one buffer and one write beat a list of slices.
            .writev(false)
            .serve_connection(io, service)
    );
    let mut alarm = pin!(sleep_until(watch.first_look()));
    let mut draining = false;
    let ended = poll_fn(|cx| {
        // First the waker, then the order: an order that comes in between wakes the task again.
        watch.waker.register(cx.waker());
        match watch.shared.order() {
            Order::Serve => {}
            Order::Drain if draining => {}
            Order::Drain => {
                draining = true;
                http.as_mut().graceful_shutdown();
            }
            Order::Cut => return Poll::Ready(Ok(())),
        }
        while alarm.as_mut().poll(cx).is_ready() {
            match watch.judge() {
                Verdict::Fine(next) => alarm.as_mut().reset(next),
                Verdict::Late(next) => {
                    if watch.in_head() && watch.head_begun() {
                        watch.shared.meters.late_heads.increment(1);
                    }
                    alarm.as_mut().reset(next);
                }
                Verdict::Cut => return Poll::Ready(Ok(())),
            }
        }
        let ended = http.as_mut().poll(cx);
        // All that has arrived was read just now. A head that is incomplete all the same is nobody's
        // request yet, and however long its rest takes, a drain waits for requests only.
        if draining && ended.is_pending() && watch.in_head() {
            return Poll::Ready(Ok(()));
        }
        ended
    })
    .await;
    if let Err(error) = ended {
        // Clients that go away or talk nonsense are everyday life.
        tracing::debug!(%error, peer = %peer.0, "a connection ended early");
    }
}

/// The application as hyper calls it.
struct Application<S> {
    /// hyper calls with `&self`, one request after the other. Borrowing saves a clone of the router
    /// for each.
    app: RefCell<S>,
    peer: Peer,
    watch: Arc<Watch>,
}

impl<S> hyper::service::Service<Request<Incoming>> for Application<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Handling<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (mut parts, incoming) = request.into_parts();
        parts.extensions.insert(self.peer);
        let has_body = !incoming.is_end_stream();
        self.watch.handling(has_body);
        let body = if has_body {
            Body::new(WatchedBody { incoming, watch: Arc::clone(&self.watch) })
        } else {
            // An empty body costs no allocation.
            Body::empty()
        };
        let changes_nothing = parts.method.is_safe();
        let mut app = self.app.borrow_mut();
        let work = if !names_its_host(parts.version, &parts.headers) {
            Work::Refused { why: Refusal::Host }
        } else if app.poll_ready(&mut Context::from_waker(Waker::noop())).is_pending() {
            Work::Refused { why: Refusal::NotReady }
        } else {
            Work::Asked { answering: app.call(Request::from_parts(parts, body)) }
        };
        Handling { work, changes_nothing, watch: Arc::clone(&self.watch) }
    }
}

/// RFC 9112, section 3.2: one line, which only HTTP/1.0 may leave out. Two of them are how a request
/// says one thing to a proxy and another to what is behind it.
fn names_its_host(version: Version, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => true,
        (None, _) => version < Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

/// Why the application isn't asked.
#[derive(Clone, Copy)]
enum Refusal {
    Host,
    NotReady,
}

impl Refusal {
    fn answer(self) -> Response<Body> {
        match self {
            Self::Host => {
                let detail = "a request has to name its host, in one header line";
                let mut response =
                    Problem::new(ProblemKind::MalformedRequest, detail).into_response();
                response.headers_mut().insert(CONNECTION, CLOSE);
                response
            }
            Self::NotReady => {
                Problem::new(ProblemKind::Overloaded, "the service is not ready").into_response()
            }
        }
    }
}

const CLOSE: HeaderValue = HeaderValue::from_static("close");

pin_project! {
    #[project = WorkProjection]
    enum Work<F> {
        Asked { #[pin] answering: F },
        Refused { why: Refusal },
    }
}

pin_project! {
    /// A request at work. It ends when the application answers, or when the watch says that it is
    /// late.
    struct Handling<F> {
        #[pin]
        work: Work<F>,
        changes_nothing: bool,
        watch: Arc<Watch>,
    }
}

impl<F> Future for Handling<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Answer>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let watch = &*this.watch;
        // A bug in a handler must not look like a network error to the client. The future is not
        // polled again after a panic, so nothing half-done is seen.
        let polled = match this.work.project() {
            WorkProjection::Asked { answering } => {
                catch_unwind(AssertUnwindSafe(|| answering.poll(cx)))
            }
            WorkProjection::Refused { why } => Ok(Poll::Ready(Ok(why.answer()))),
        };
        let mut response = match polled {
            Ok(Poll::Ready(Ok(response))) => response,
            Ok(Poll::Pending) if watch.is_late() => {
                too_late(watch, *this.changes_nothing).into_response()
            }
            Ok(Poll::Pending) => return Poll::Pending,
            Err(_) => {
                // The panic hook has told where and why.
                tracing::error!("a handler panicked");
                Problem::from(ProblemKind::Internal).into_response()
            }
        };
        watch.shared.meters.answered(response.status());
        watch.shared.config.security.apply(response.headers_mut());
        if watch.has_rest_of_body() {
            // Nobody will read it, so nothing can follow it. hyper would close the connection as well
            // unless the rest is there already, but without a word: the next request would be lost.
            response.headers_mut().insert(CONNECTION, CLOSE);
        }
        watch.answering();
        Poll::Ready(Ok(response.map(|body| Answer { body, watch: Arc::clone(this.watch) })))
    }
}

fn too_late(watch: &Watch, changes_nothing: bool) -> Problem {
    if watch.is_body_awaited() {
        watch.shared.meters.late_bodies.increment(1);
        return Problem::new(ProblemKind::RequestTimeout, "the body took too long to arrive");
    }
    watch.shared.meters.late_handlers.increment(1);
    if changes_nothing {
        Problem::new(ProblemKind::Overloaded, "the request could not be answered in time")
    } else {
        Problem::new(
            ProblemKind::OutcomeUnknown,
            "the request was not answered in time and may still take effect; \
             send it again with the same Idempotency-Key",
        )
    }
}

/// A request's body that tells the watch how far it is.
struct WatchedBody {
    incoming: Incoming,
    watch: Arc<Watch>,
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        match &polled {
            Poll::Pending => self.watch.body_awaited(),
            Poll::Ready(Some(Ok(_))) => self.watch.body_arrived(self.incoming.is_end_stream()),
            Poll::Ready(Some(Err(_)) | None) => self.watch.body_arrived(true),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        self.watch.body_dropped();
    }
}

/// An answer's body that tells the watch when it has ended; hyper drops it then.
struct Answer {
    body: Body,
    watch: Arc<Watch>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.watch.answered();
    }
}
