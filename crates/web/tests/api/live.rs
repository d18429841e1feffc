//! Live streams whose client doesn't read.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use eventbooker_testkit::Options;
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_web::WebSettings;
use eventbooker_web::edge::EdgeConfig;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::site::Site;

/// A step of the clock, as long as changes are told together.
const STEP: Duration = Duration::from_millis(50);
/// Each message has all of it, and each character four bytes.
const DESCRIPTION_CHARS: usize = 10_000;
/// So many messages fill every buffer on the way, and those that don't fit are more than a watcher
/// may lag behind.
const CHANGES: i64 = 200;
/// What is under way to a client, about.
const RECEIVED_BYTES: usize = 16 * 1024;
const CUT_OFF_AFTER: Duration = Duration::from_millis(500);

/// A client of an event's stream that reads when it is told to.
struct Reader {
    lines: BufReader<TcpStream>,
    seen: i64,
}

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    InGoodOrder,
    BrokenOff,
}

impl Reader {
    /// `None` if there is no place for one more.
    fn open(site: &Site, event: i64, seen: i64) -> Option<Self> {
        let client = site.client();
        let address = client.base().strip_prefix("http://").expect("an address");
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(RECEIVED_BYTES).expect("a small buffer");
        let to: SocketAddr = address.parse().expect("an address");
        socket.connect(&to.into()).expect("a connection");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let request = format!(
            "GET /events/{event}/live HTTP/1.1\r\nHost: {address}\r\nLast-Event-ID: {seen}\r\n\r\n"
        );
        (&stream).write_all(request.as_bytes()).expect("the request is taken");
        let mut lines = BufReader::new(stream);
        let mut status = String::new();
        lines.read_line(&mut status).expect("an answer");
        status.starts_with("HTTP/1.1 200 ").then_some(Self { lines, seen })
    }

    /// Reads until a version, unless the stream ends before. Fails at a gap.
    fn read_until(&mut self, version: i64, seen: &AtomicI64) -> Option<End> {
        let mut line = String::new();
        while self.seen < version {
            line.clear();
            match self.lines.read_line(&mut line) {
                Ok(0) => return Some(End::BrokenOff),
                Ok(_) if line == "0\r\n" => return Some(End::InGoodOrder),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Some(End::BrokenOff);
                }
                Err(error) => panic!("{error}"),
            }
            let data = line.strip_prefix("data: ").and_then(|data| data.strip_suffix('\n'));
            let Some(data) = data else { continue };
            let message: Value = serde_json::from_str(data).expect("JSON");
            for entry in message["journal"].as_array().expect("a journal") {
                assert_eq!(entry["version"], self.seen + 1, "every version once, in order");
                self.seen += 1;
            }
            seen.store(self.seen, Ordering::Relaxed);
        }
        None
    }
}

/// Opens a stream that is read no further than to its first message, while many changes are made and
/// told one by one to another. Returns it, and the last version.
fn stall(site: &Site) -> (i64, Reader, i64) {
    let admin = site.client_of("admin");
    let event = json!({"name": "Green run", "date": "2090-05-01T18:00:00Z", "capacity": 9,
                       "paymentTTL": 30, "description": "🎻".repeat(DESCRIPTION_CHARS)});
    let event = admin.post("/events", &event).id();
    let last = 1 + CHANGES;
    let mut stalled = Reader::open(site, event, 0).expect("there is a place");
    assert_eq!(stalled.read_until(1, &AtomicI64::new(0)), None);
    let mut quick = Reader::open(site, event, 1).expect("there is a place");
    let seen = AtomicI64::new(1);
    thread::scope(|scope| {
        let quick = scope.spawn(|| quick.read_until(last, &seen));
        for version in 2..=last {
            let change = json!({"price": version});
            let answer = admin.ask("PATCH", &format!("/events/{event}")).json(&change).answer();
            assert_eq!(answer.status, 200, "{answer:?}");
            while seen.load(Ordering::Relaxed) < version {
                assert!(!quick.is_finished(), "whoever reads is not let go");
                site.pass(STEP);
            }
        }
        assert_eq!(quick.join().expect("it reads"), None);
    });
    (event, stalled, last)
}

#[test]
fn a_reader_that_stalls_is_let_go_and_comes_back_without_a_gap() {
    let site = Site::start();
    let (event, mut stalled, last) = stall(&site);
    let seen = AtomicI64::new(0);
    assert_eq!(stalled.read_until(last, &seen), Some(End::InGoodOrder), "it lagged too far");
    assert!((2..last).contains(&stalled.seen), "{}", stalled.seen);
    let mut again = Reader::open(&site, event, stalled.seen).expect("there is a place");
    assert_eq!(again.read_until(last, &seen), None);
    drop((stalled, again));
    site.finish();
}

#[test]
fn a_reader_that_never_reads_is_cut_off_and_comes_back_without_a_gap() {
    let edge = EdgeConfig { write_timeout: CUT_OFF_AFTER, ..EdgeConfig::default() };
    let settings = WebSettings { live_streams_max: 2, ..WebSettings::default() };
    let site = Site::behind(edge, Options::default(), settings);
    let (event, mut stalled, last) = stall(&site);
    // The other's place is free or will be at once. This one's has to be, though it never hung up.
    let begun = Instant::now();
    let mut others = Vec::new();
    while others.len() < 2 {
        assert!(begun.elapsed() < PATIENCE, "whoever doesn't read keeps its place");
        others.extend(Reader::open(&site, event, last));
        thread::sleep(Duration::from_millis(10));
    }
    others.clear();
    let seen = AtomicI64::new(0);
    assert_eq!(stalled.read_until(last, &seen), Some(End::BrokenOff));
    let mut again = loop {
        assert!(begun.elapsed() < PATIENCE, "no place is given back");
        match Reader::open(&site, event, stalled.seen) {
            Some(again) => break again,
            None => thread::sleep(Duration::from_millis(10)),
        }
    };
    assert_eq!(again.read_until(last, &seen), None);
    drop((stalled, again));
    site.finish();
}
