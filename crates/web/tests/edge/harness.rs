//! A server on a real socket, and a client that sends bytes and reads answers.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use bytes::Bytes;
use eventbooker_web::edge::{self, DrainReport, EdgeConfig, Peer};
use eventbooker_web::problem::ProblemKind;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const NEVER: Duration = Duration::from_secs(3600);
/// A time-out that is waited for, where nothing has to happen before it.
pub(crate) const SOON: Duration = Duration::from_millis(200);
/// A time-out that is waited for, where something has to happen before it.
pub(crate) const SHORT: Duration = Duration::from_secs(1);
pub(crate) const LIMIT_BYTES: usize = 64 * 1024;

/// No time-out fires unless a test shortens it.
pub(crate) fn patient() -> EdgeConfig {
    EdgeConfig {
        header_timeout: NEVER,
        idle_timeout: NEVER,
        request_timeout: NEVER,
        write_timeout: NEVER,
        drain_timeout: PATIENCE,
        ..EdgeConfig::default()
    }
}

pub(crate) struct Server {
    pub(crate) runtime: Runtime,
    pub(crate) address: SocketAddr,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) served: JoinHandle<DrainReport>,
    /// One message each time the handler of `/wait` begins.
    pub(crate) waiting: mpsc::Receiver<()>,
    /// Lets one handler of `/wait` go on.
    pub(crate) go: Arc<Notify>,
}

impl Server {
    pub(crate) fn start(config: EdgeConfig) -> Self {
        let (begun, waiting) = mpsc::channel();
        let go = Arc::new(Notify::new());
        let gate = Arc::clone(&go);
        let large = Bytes::from(vec![b'x'; 1 << 20]);
        let app = Router::new()
            .route("/", get(async || "fine"))
            .route("/peer", get(async |Extension(peer): Extension<Peer>| peer.0.to_string()))
            .route("/echo", post(echo))
            .route("/empty", post(async || ()))
            .route("/large", get(async move || large.clone()))
            .route("/stream", get(stream))
            .route("/bug", get(async || -> &'static str { panic!("a bug, for a test") }))
            .route(
                "/wait",
                any(move || {
                    let begun = begun.clone();
                    let gate = Arc::clone(&gate);
                    async move {
                        begun.send(()).expect("the test listens");
                        gate.notified().await;
                        "waited"
                    }
                }),
            );
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = watch::channel(false);
        let served = runtime.spawn(edge::serve(listener, app, config, stopped));
        Self { runtime, address, stop, served, waiting, go }
    }

    pub(crate) fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time-out");
        Client(stream)
    }

    /// A connection that has had a request answered. It may need a second try: on a busy machine a
    /// short time-out can hit the first request.
    pub(crate) fn connect_and_use(&self) -> Client {
        const ANSWERED: &str = "fine";
        let begun = Instant::now();
        loop {
            let mut client = self.connect();
            let _ = client.0.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            let mut answer = Vec::new();
            let mut byte = [0];
            while !answer.ends_with(ANSWERED.as_bytes())
                && matches!(client.0.read(&mut byte), Ok(1))
            {
                answer.push(byte[0]);
            }
            if answer.starts_with(b"HTTP/1.1 200 OK\r\n") {
                return client;
            }
            assert!(begun.elapsed() < PATIENCE, "not served: {answer:?}");
        }
    }

    /// Others are served as ever. It may need a second try: a place can be given back a moment
    /// after its client saw the end, and on a busy machine a short time-out can hit this one too.
    pub(crate) fn assert_alive(&self) {
        let begun = Instant::now();
        loop {
            let mut client = self.connect();
            let _ = client.0.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            let mut answer = String::new();
            let _ = client.0.read_to_string(&mut answer);
            if answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("fine") {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "not served: {answer:?}");
        }
    }

    pub(crate) fn wait_for_handler(&self) {
        self.waiting.recv_timeout(PATIENCE).expect("the handler begins");
    }

    pub(crate) fn begin_stop(&self) {
        self.stop.send(true).expect("the server listens");
    }

    pub(crate) fn stopped(self) -> DrainReport {
        let report =
            self.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.served).await });
        report.expect("the drain ends").expect("the server did not panic")
    }
}

pub(crate) async fn echo(request: Request<Body>) -> Response {
    match edge::read_body(request.into_body(), LIMIT_BYTES).await {
        Ok(body) => body.into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// Sends the time for longer than a request may take.
pub(crate) async fn stream() -> Response {
    let lines = futures_util::stream::unfold(0, |line| async move {
        if line == 10 {
            return None;
        }
        tokio::time::sleep(SOON).await;
        Some((Ok::<_, std::convert::Infallible>("line\n"), line + 1))
    });
    Body::from_stream(lines).into_response()
}

pub(crate) struct Client(pub(crate) TcpStream);

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn assert_problem(&self, kind: ProblemKind) {
        assert_eq!(self.status, kind.status().as_u16(), "{}", self.head);
        let body: serde_json::Value = serde_json::from_slice(&self.body).expect("JSON");
        assert_eq!(body["type"], format!("/problems/{}", kind.slug()));
        for header in [
            "content-type: application/problem+json",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
        ] {
            assert!(self.head.contains(header), "{header} in {}", self.head);
        }
    }
}

impl Client {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the request is taken");
    }

    pub(crate) fn ask(&mut self, bytes: &[u8]) -> Answer {
        self.send(bytes);
        self.answer()
    }

    /// Reads one answer with a `Content-Length`.
    pub(crate) fn answer(&mut self) -> Answer {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            let read = self.0.read(&mut byte).expect("the head");
            assert_eq!(read, 1, "the head broke off: {bytes:?}");
            bytes.push(byte[0]);
        }
        let head = String::from_utf8(bytes).expect("ASCII");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("the body");
        Answer { status: head[9..12].parse().expect("a status"), head, body }
    }

    /// Waits until the server closes; all that came before.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("a clean end");
        rest
    }

    /// Whether the server has closed; looks for a moment.
    pub(crate) fn is_closed_by_now(&mut self) -> bool {
        self.0.set_read_timeout(Some(Duration::from_millis(5))).expect("a time-out");
        matches!(self.0.read(&mut [0]), Ok(0))
    }

    /// Waits until the server is gone, cleanly or not.
    pub(crate) fn assert_closed(&mut self) {
        match self.0.read(&mut [0; 1]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("not closed: {other:?}"),
        }
    }

    /// Waits, without reading, until writing fails because the server is gone.
    pub(crate) fn assert_cut_off_while_not_reading(&mut self) {
        let begun = Instant::now();
        while self.0.write_all(b"\r\n").is_ok() {
            assert!(begun.elapsed() < PATIENCE, "never cut off");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
