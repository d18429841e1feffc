//! The HTTP edge: an accept loop of our own over hyper's HTTP/1.1, because `axum::serve` has no
//! header time-out, and slow clients would hold it.
//!
//! Invariants:
//!
//! - A connection that sends nothing, a head that does not end, a body that does not arrive, a
//!   handler that does not answer and a client that does not read are each cut off after their own
//!   time-out. So whoever fills all connections holds them for [`EdgeConfig::header_timeout`] by
//!   sending nothing or half a head, and for [`EdgeConfig::request_timeout`] by sending half a body,
//!   no longer. An answer that has begun has no end of its own: a handler whose answers go on for
//!   as long as the client likes has to bound how many there are.
//! - A connection that was used may idle for [`EdgeConfig::idle_timeout`], but only as long as a
//!   quarter of all connections is free.
//! - A connection above [`EdgeConfig::connections_max`] is answered with a 503 at once, never kept
//!   waiting.
//! - Nothing that a client sends, and no error of `accept` (such as too many open files), ends the
//!   loop.
//! - Every refusal is a problem with the security headers, also those that hyper makes on its own.
//! - A handler that panics is a 500, and its connection goes on.
//! - A shutdown loses no answer: accepting stops, idle connections close, requests at work finish,
//!   up to the drain time-out. What is no request yet is not waited for, and the rest of a body for
//!   2 s only.
//!
//! Time-outs cost one timer for each connection and none for a request, see the module `watch`.
//! hyper's own header time-out would cover idle keep-alive too (its timer starts when hyper starts
//! to wait for a head), but it allocates, registers and drops a timer for every request, and closes
//! without a word.
//!
//! Absent on purpose: TLS and HTTP/2 (a proxy's work), a cap by address (behind a proxy everybody
//! has the same one), and `Router::layer` (it boxes each request once more; wrap the router in the
//! layer instead).

mod body;
mod canned;
mod connection;
mod meters;
mod watch;
mod wire;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch as channel};
use tokio::time::{Instant, sleep, timeout};
use tower::Service;

use crate::headers::SecurityHeaders;
pub use body::read_body;
use watch::{Order, Shared};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;
/// How long the loop rests when `accept` fails for a reason that lies in this process, such as too
/// many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many refused connections are kept for a moment, so that their 503 arrives. The others are
/// closed right after it is written. They come on top of [`EdgeConfig::connections_max`].
pub const REFUSALS_MAX: usize = 256;

/// The edge's limits.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// How long a new connection may wait for its first request, and how long any head may take
    /// from its first byte. 10 s.
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request, while a quarter of all connections is
    /// free; otherwise it gets `header_timeout`. Longer than proxies keep connections that idle,
    /// which is mostly 60 s: one that closed first would close under a request that is on its way,
    /// and a proxy sends a `POST` only once. 75 s.
    pub idle_timeout: Duration,
    /// How long a request may take until its answer begins: the body's arrival and the handler
    /// together. An answer that has begun, such as a live stream, may take as long as it likes. 30
    /// s.
    pub request_timeout: Duration,
    /// How long a client may leave an answer unread before it is cut off. 30 s.
    pub write_timeout: Duration,
    /// How long a shutdown waits for what is still at work. 9 s, so that the whole process can be
    /// gone within 10 s.
    pub drain_timeout: Duration,
    /// Size of request line and headers together, in bytes; the number of headers is hyper's limit
    /// of 100. It is a bound on waiting for more: a head that is larger and arrives in one piece
    /// may pass, up to 64 KiB. 16 KiB.
    pub header_bytes_max: usize,
    /// Open connections. Whoever sets it sees to it that the process may open as many files, and
    /// [`REFUSALS_MAX`] more, beside what others in it need: past that limit of the system, `accept`
    /// fails, and new clients hang instead of being refused. 10,000.
    pub connections_max: usize,
    /// The security headers of every answer.
    pub security: SecurityHeaders,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(9),
            header_bytes_max: 16 * 1024,
            connections_max: 10_000,
            security: SecurityHeaders::default(),
        }
    }
}

/// The client's address, as an extension of every request. Behind a proxy it is the proxy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// How a shutdown went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections that were still open at the drain's deadline and were cut off.
    pub cut: usize,
    /// How long it took from the signal.
    pub took: Duration,
}

/// Serves `app` until `shutdown` becomes true (or its sender is gone), then drains and returns.
///
/// `app` is a router, or a router wrapped in layers. It has to be always ready, as routers are;
/// while its `poll_ready` is pending, requests are answered with a 503. Install the metrics
/// recorder before: the handles are resolved once, here.
pub async fn serve<S>(
    listener: TcpListener,
    app: S,
    config: EdgeConfig,
    mut shutdown: channel::Receiver<bool>,
) -> DrainReport
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    // A client that vanished without a word, under a live stream for instance, is noticed when what
    // was sent to it stays without an acknowledgement for this long. Accepted sockets inherit the
    // option.
    #[cfg(target_os = "linux")]
    if let Err(error) =
        socket2::SockRef::from(&listener).set_tcp_user_timeout(Some(config.write_timeout))
    {
        tracing::warn!(%error, "could not set TCP_USER_TIMEOUT");
    }
    let edge = Edge::new(config);
    tokio::select! {
        biased;
        _ = shutdown.wait_for(|stop| *stop) => {}
        never = edge.accept_all(&listener, &app) => match never {},
    }
    drop(listener);
    edge.drain().await
}

/// Listens at an address, with room for a crowd that comes at once: what the system has no room for it
/// doesn't refuse, but lets it try again after a second and more. Its own limit (`net.core.somaxconn`, 4,096
/// as a rule) counts as well.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Whoever starts again after a crash finds connections of before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Where connections come from; a listener, or a test's.
trait Accept {
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)>;
}

impl Accept for TcpListener {
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        Self::accept(self).await
    }
}

struct Edge {
    shared: Arc<Shared>,
    refusals: Arc<Semaphore>,
}

impl Edge {
    fn new(config: EdgeConfig) -> Self {
        Self {
            shared: Arc::new(Shared::new(config)),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        }
    }

    async fn accept_all<S>(&self, listener: &impl Accept, app: &S) -> Infallible
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
    {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => match Arc::clone(&self.shared.places).try_acquire_owned() {
                    Ok(place) => self.admit(stream, Peer(peer), app.clone(), place),
                    Err(_) => self.refuse(stream),
                },
                Err(error) if is_the_clients(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                }
                Err(error) => {
                    self.shared.meters.accept_errors.increment(1);
                    tracing::error!(%error, "cannot accept connections for the moment");
                    // Without a pause this would spin: the connection that could not be accepted is
                    // still waiting.
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit<S>(&self, stream: TcpStream, peer: Peer, app: S, place: OwnedSemaphorePermit)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send + 'static,
        S::Future: Send + 'static,
    {
        // Answers are written in one piece; waiting for more to send would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "could not set TCP_NODELAY");
        }
        let open = watch::Open::register(&self.shared, place);
        tokio::spawn(connection::run(stream, peer, app, open));
    }

    fn refuse(&self, stream: TcpStream) {
        self.shared.meters.refused.increment(1);
        self.shared.write_canned(&stream, &self.shared.canned.overloaded);
        if let Ok(place) = Arc::clone(&self.refusals).try_acquire_owned() {
            tokio::spawn(async move {
                // Closing with unread bytes resets the connection, and the client may lose the
                // answer.
                let _ = timeout(wire::LINGER, wire::linger(stream)).await;
                drop(place);
            });
        }
    }

    async fn drain(self) -> DrainReport {
        let started = Instant::now();
        self.shared.give_order(Order::Drain);
        // Every connection holds a permit, so all permits together mean that none is left.
        let all_gone = || self.shared.places.acquire_many(self.shared.places_max);
        let mut cut = 0;
        if timeout(self.shared.config.drain_timeout, all_gone()).await.is_err() {
            cut = self.shared.open_connections();
            tracing::warn!(connections = cut, "cut off at the end of the drain");
            self.shared.give_order(Order::Cut);
            // Each ends at its next poll, which the order has caused; the bound is for a handler
            // that blocks its thread.
            let _ = timeout(Duration::from_secs(1), all_gone()).await;
        }
        DrainReport { cut, took: started.elapsed() }
    }
}

/// Whether the error is about the one connection that was to be accepted, and the next may be fine.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::routing::get;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    /// Fails a few times before it accepts.
    struct Flaky {
        listener: TcpListener,
        errors: Vec<fn() -> io::Error>,
        calls: AtomicUsize,
    }

    impl Accept for Flaky {
        async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
            let call = self.calls.fetch_add(1, Ordering::Relaxed);
            match self.errors.get(call) {
                Some(error) => Err(error()),
                None => self.listener.accept().await,
            }
        }
    }

    /// The library's own choice is 128.
    #[tokio::test]
    async fn a_crowd_that_comes_at_once_is_let_in() {
        let limit = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux has it");
        let crowd = limit.trim().parse::<usize>().expect("a number").min(512);
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let address = listener.local_addr().expect("an address");
        // Nobody accepts any of them.
        let patience = Duration::from_secs(60);
        let come = || std::net::TcpStream::connect_timeout(&address, patience);
        let connected: Vec<_> = (0..crowd).map(|_| come().expect("there is room")).collect();
        assert_eq!(connected.len(), crowd);
    }

    #[tokio::test]
    async fn accept_errors_do_not_end_the_loop() {
        const EMFILE: i32 = 24;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let flaky = Flaky {
            listener,
            errors: vec![
                || io::Error::from_raw_os_error(EMFILE),
                || io::ErrorKind::ConnectionAborted.into(),
                || io::Error::from_raw_os_error(EMFILE),
                || io::Error::other("something new"),
            ],
            calls: AtomicUsize::new(0),
        };
        let client = tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address).expect("a connection");
            stream
                .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                .expect("a request");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            answer
        });
        let edge = Edge::new(EdgeConfig::default());
        let app: Router = Router::new().route("/", get(async || "fine"));
        let answer = tokio::select! {
            answer = client => answer.expect("the client ran"),
            never = edge.accept_all(&flaky, &app) => match never {},
        };
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }

    /// Sends these bytes and reads to the end. Returns the status of the last answer.
    fn tell(address: SocketAddr, bytes: &[u8]) -> u16 {
        let mut stream = std::net::TcpStream::connect(address).expect("a connection");
        stream.write_all(bytes).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let status = answer.rsplit("HTTP/1.1 ").next().and_then(|answer| answer.get(..3));
        status.and_then(|status| status.parse().ok()).expect("a status")
    }

    #[tokio::test]
    async fn every_answer_is_counted_whoever_makes_it() {
        let metrics = PrometheusBuilder::new().build_recorder();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let config = EdgeConfig {
            header_timeout: Duration::from_millis(200),
            request_timeout: Duration::from_millis(200),
            connections_max: 1,
            ..EdgeConfig::default()
        };
        let edge = metrics::with_local_recorder(&metrics, || Edge::new(config));
        let app: Router = Router::new()
            .route("/", get(async || "fine"))
            .route("/bug", get(async || -> &'static str { panic!("a bug, for a test") }))
            .route("/wait", get(std::future::pending::<()>));
        let places = Arc::clone(&edge.shared.places);
        let clients = async {
            let ask = |path: &str| {
                format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").into_bytes()
            };
            for (bytes, status) in [
                (ask("/"), 200),
                (ask("/nowhere"), 404),
                (ask("/bug"), 500),
                (ask("/wait"), 503),
                (b"GET / HTTP/1.1\r\n\r\n".to_vec(), 400),
                (b"NONSENSE\r\n\r\n".to_vec(), 400),
                (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(99_999)).into_bytes(), 431),
                (b"GET / HT".to_vec(), 408),
            ] {
                let told = tokio::task::spawn_blocking(move || tell(address, &bytes));
                assert_eq!(told.await.expect("the client ran"), status);
                // The next one must not be refused for want of a place.
                drop(places.acquire().await);
            }
            let _held = places.acquire().await;
            let refused = tokio::task::spawn_blocking(move || tell(address, b""));
            assert_eq!(refused.await.expect("the client ran"), 503);
        };
        tokio::select! {
            () = clients => {}
            never = edge.accept_all(&listener, &app) => match never {},
        }
        let text = metrics.handle().render();
        for (class, count) in [("2xx", 1), ("4xx", 5), ("5xx", 3)] {
            let line = format!("eventbooker_http_responses_total{{status=\"{class}\"}} {count}\n");
            assert!(text.contains(&line), "{line} in {text}");
        }
    }
}
