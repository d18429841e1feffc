//! SIGTERM under load: no answer is lost, none is cut in half, and nobody who idles delays it.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that can't go on has failed")]

use std::collections::{BTreeSet, VecDeque};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::database::Database;
use eventbooker_testkit::server::{Installation, Log, Server, UNLIMITED};
use rustix::fs::{CWD, FileType, Mode, mknodat};

const REPLICAS: usize = 3;
const SENDERS: usize = 8;
const ANSWERS_BEFORE: usize = 200;

/// How a request on a connection ended.
#[derive(Debug)]
enum End {
    Answered {
        status: u16,
        body: String,
        last: bool,
    },
    /// Closed without a byte: the service had not taken the request.
    Closed,
}

/// One request, told byte by byte: a client library would hide where an answer broke off.
fn exchange(stream: &mut TcpStream, request: &str) -> End {
    if stream.write_all(request.as_bytes()).is_err() {
        return End::Closed;
    }
    let mut received = Vec::new();
    let mut byte = [0];
    while !received.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => received.push(byte[0]),
            ended => {
                let text = String::from_utf8_lossy(&received);
                assert!(received.is_empty(), "a head broke off ({ended:?}): {text}");
                return End::Closed;
            }
        }
    }
    let head = String::from_utf8(received).expect("ASCII").to_lowercase();
    assert!(!head[9..].starts_with("503") || head.contains("\r\nretry-after: "), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.expect("a length").parse().unwrap()];
    stream.read_exact(&mut body).unwrap_or_else(|error| panic!("a body broke off: {error}"));
    End::Answered {
        status: head[9..12].parse().expect("a status"),
        body: String::from_utf8(body).expect("text"),
        last: head.contains("connection: close"),
    }
}

/// Books until nobody listens any more. Returns the numbers of the bookings that were answered.
fn book_until_the_end(address: &str, request: &str, answers: &AtomicUsize) -> Vec<i64> {
    let mut booked = Vec::new();
    // A refused connection is how a client learns that the service has gone.
    while let Ok(stream) = TcpStream::connect(address) {
        book_on(stream, request, answers, &mut booked);
    }
    booked
}

/// Books on a connection for as long as it is used.
fn book_on(mut stream: TcpStream, request: &str, answers: &AtomicUsize, booked: &mut Vec<i64>) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    loop {
        match exchange(&mut stream, request) {
            End::Answered { status: 201, body, last } => {
                let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
                booked.push(body["id"].as_i64().unwrap());
                answers.fetch_add(1, Ordering::Relaxed);
                if last {
                    return;
                }
            }
            End::Answered { status: 503, body, .. } => {
                assert!(body.contains("/problems/draining"), "{body}");
                return;
            }
            End::Answered { status, body, .. } => panic!("{status} {body}"),
            End::Closed => return,
        }
    }
}

fn request_to_book(event: i64, session: &str) -> String {
    format!(
        "POST /events/{event}/book HTTP/1.1\r\nhost: tickets\r\ncookie: session_id={session}\r\n\
         content-length: 11\r\n\r\n{{\"seats\":1}}"
    )
}

/// Fails unless exactly these were booked, each once.
fn assert_kept(installation: &Installation, booked: &[i64]) {
    let answered: BTreeSet<i64> = booked.iter().copied().collect();
    assert_eq!(answered.len(), booked.len(), "a number was given out twice");
    let kept = installation.database().numbers("SELECT id FROM bookings");
    assert_eq!(kept.into_iter().collect::<BTreeSet<_>>(), answered, "answered and kept");
    installation.check();
}

#[test]
fn stopping_under_load_loses_no_answer() {
    let installation = Installation::with_users(env!("CARGO_BIN_EXE_eventbooker"));
    let server = installation.serve(&UNLIMITED);
    let event = server.client_of("admin").create_event(1_000_000, 0, 30);
    let alice = server.client_of("alice");
    let address = server.base().strip_prefix("http://").unwrap().to_owned();
    let request = request_to_book(event, alice.session().unwrap());

    // Connections that idle: one that never said anything, and some that were used.
    let silent = TcpStream::connect(&address).unwrap();
    let idle: Vec<_> = (0..5).map(|_| alice.clone()).collect();
    for client in &idle {
        assert_eq!(client.get("/health").status, 200);
    }
    let mut live = alice.live(event, None);
    assert_eq!(live.next_message().expect("the event as it stands").data["id"], event);

    let answers = AtomicUsize::new(0);
    let seen = AtomicI64::new(0);
    let (booked, log) = thread::scope(|scope| {
        let send = || scope.spawn(|| book_until_the_end(&address, &request, &answers));
        let senders: Vec<_> = (0..SENDERS).map(|_| send()).collect();
        let seen = &seen;
        let watcher = scope.spawn(move || {
            while let Some(message) = live.next_message() {
                seen.store(message.id, Ordering::Relaxed);
            }
        });
        // Version 1 is the event as it was created; only a later one shows that the stream is alive.
        while answers.load(Ordering::Relaxed) < ANSWERS_BEFORE || seen.load(Ordering::Relaxed) <= 1
        {
            assert!(!watcher.is_finished(), "the stream has ended");
            assert!(!senders.iter().all(thread::ScopedJoinHandle::is_finished), "all have failed");
            thread::sleep(Duration::from_millis(1));
        }
        server.begin_stop();
        let log = server.stopped();
        watcher.join().unwrap();
        let booked: Vec<i64> =
            senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
        (booked, log)
    });
    drop((silent, idle));

    assert!(log.contains("SIGTERM"), "{log}");
    assert!(!log.contains("cut off"), "it had to wait until its patience ended: {log}");
    assert_kept(&installation, &booked);
}

/// Addresses that clients know, as a balancer does.
#[derive(Default)]
struct Addresses {
    list: Mutex<Vec<String>>,
    next: AtomicUsize,
}

impl Addresses {
    fn next(&self) -> Option<String> {
        let list = self.list.lock().unwrap();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        (!list.is_empty()).then(|| list[turn % list.len()].clone())
    }

    fn forget_all(&self) {
        self.list.lock().unwrap().clear();
    }

    fn add(&self, server: &Server) {
        let address = server.base().strip_prefix("http://").unwrap().to_owned();
        self.list.lock().unwrap().push(address);
    }
}

/// Lets clients end, also if a test fails before.
struct Ending<'list>(&'list Addresses);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.forget_all();
    }
}

/// Replicas are replaced one by one. Whoever is turned away by one goes to the next.
#[test]
fn replacing_replicas_under_load_fails_no_booking() {
    let installation = Installation::on(env!("CARGO_BIN_EXE_eventbooker"), Database::postgres());
    installation.add_user("admin", "admin");
    let addresses = Addresses::default();
    let begin = || {
        let server = installation.serve(&UNLIMITED);
        addresses.add(&server);
        server
    };
    let mut servers: VecDeque<Server> = (0..REPLICAS).map(|_| begin()).collect();
    let event = servers[0].client_of("admin").create_event(1_000_000, 0, 30);
    let alice = servers[1].client().registered("alice");
    let request = request_to_book(event, alice.session().unwrap());

    let answers = AtomicUsize::new(0);
    let send = || {
        let mut booked = Vec::new();
        while let Some(address) = addresses.next() {
            if let Ok(stream) = TcpStream::connect(address) {
                book_on(stream, &request, &answers, &mut booked);
            }
        }
        booked
    };
    let booked: Vec<i64> = thread::scope(|scope| {
        let _ending = Ending(&addresses);
        let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(send)).collect();
        let until_more = || {
            let before = answers.load(Ordering::Relaxed);
            while answers.load(Ordering::Relaxed) < before + ANSWERS_BEFORE {
                assert!(!senders.iter().any(thread::ScopedJoinHandle::is_finished), "one failed");
                thread::sleep(Duration::from_millis(1));
            }
        };
        for _ in 0..REPLICAS {
            until_more();
            // Its address is still known when it goes.
            let server = servers.pop_front().unwrap();
            server.begin_stop();
            let log = server.stopped();
            assert!(!log.contains("cut off"), "{log}");
            addresses.list.lock().unwrap().remove(0);
            servers.push_back(begin());
        }
        until_more();
        addresses.forget_all();
        servers.into_iter().for_each(Server::terminate);
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    });
    assert_kept(&installation, &booked);
}

#[test]
fn a_service_that_idles_stops_at_once_and_starts_again() {
    let installation = Installation::with_users(env!("CARGO_BIN_EXE_eventbooker"));
    let server = installation.serve(&[]);
    let event = server.client_of("admin").create_event(9, 0, 30);
    server.terminate();
    let server = installation.serve(&[]);
    assert_eq!(server.client().event(event)["freeSeats"], 9);
    server.terminate();
    installation.check();
}

#[test]
fn a_service_whose_log_nobody_reads_stops_in_good_order() {
    let installation = Installation::with_users(env!("CARGO_BIN_EXE_eventbooker"));
    let server = installation.serve_limited("-S -c 0", Log::Unread, &[]);
    let event = server.client_of("admin").create_event(9, 0, 30);
    assert_eq!(server.client_of("alice").book(event, 1).status, 201);
    server.terminate();
    installation.check();
}

#[test]
fn a_start_that_takes_long_can_be_ended() {
    let installation = Installation::with_users(env!("CARGO_BIN_EXE_eventbooker"));
    // To open a FIFO is to wait for a reader, who never comes.
    let lock = installation.directory().join("eventbooker.db.lock");
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, &lock, FileType::Fifo, mode, 0).expect("a FIFO in the place of the lock");
    let server = installation.serve_until("opening ");
    server.begin_stop();
    let log = server.stopped();
    assert!(log.contains("SIGTERM"), "{log}");
    assert!(!log.contains("listening on"), "{log}");
}
