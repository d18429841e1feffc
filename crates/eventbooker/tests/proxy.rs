//! nginx with the shipped configuration before two real replicas on one database.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that can't go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use eventbooker_testkit::client::{Client, PASSWORD};
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::database::Database;
use eventbooker_testkit::nginx::Nginx;
use eventbooker_testkit::server::{Installation, Server, UNLIMITED};
use serde_json::json;
use socket2::{Domain, Socket, Type};

const CLIENTS: usize = 6;
/// Bookings that have to be made between two things that go wrong.
const BOOKINGS_BETWEEN: usize = 60;

fn installation() -> Installation {
    let installation = Installation::on(env!("CARGO_BIN_EXE_eventbooker"), Database::postgres());
    installation.add_user("admin", "admin");
    installation
}

/// A replica that listens on an address of its own: there, no connection of anybody else's takes its
/// port while it is being restarted.
fn replica(installation: &Installation, listen: &str) -> Server {
    let flags = [
        UNLIMITED.as_slice(),
        &["--listen", listen, "--trusted-proxies", "127.0.0.1"],
        &["--failed-sign-ins-per-address", "2"],
    ];
    installation.serve(&flags.concat())
}

fn address(server: &Server) -> String {
    server.base().strip_prefix("http://").unwrap().to_owned()
}

fn replicas(installation: &Installation) -> [Server; 2] {
    ["127.0.0.2:0", "127.0.0.3:0"].map(|listen| replica(installation, listen))
}

fn proxy(replicas: &[Server; 2]) -> Nginx {
    Nginx::before([&address(&replicas[0]), &address(&replicas[1])])
}

fn stop(replicas: [Server; 2]) {
    for server in replicas {
        server.terminate();
    }
}

#[test]
fn bookings_and_live_events_pass_at_once() {
    let installation = installation();
    let replicas = replicas(&installation);
    let proxy = proxy(&replicas);
    let admin = proxy.client().signed_in("admin", PASSWORD);
    let event = admin.create_event(9, 40, 30);
    let user = proxy.client().registered("ann");
    assert_eq!(admin.deposit_for(user.get("/auth").id(), 100).status, 200);
    let mut live = user.live(event, None);
    assert_eq!(live.next_message().unwrap().data["freeSeats"], 9);
    // Each is heard of before the next one is made: nothing collects the stream.
    for (version, seats) in [(2, 1), (3, 1)] {
        let booked = user.book(event, seats);
        assert_eq!(booked.status, 201, "{booked:?}");
        assert_eq!(live.next_message().unwrap().id, version);
    }
    let paid = user.purchase(event, 1);
    assert_eq!((paid.status, user.balance()), (200, 60), "{paid:?}");
    drop(live);

    // What a browser says of the page that it is on, where the proxy is what it knows.
    let book = |origin: &str| {
        let ask = user.ask("POST", &format!("/events/{event}/book")).header("Origin", origin);
        ask.json(&json!({"seats": 1})).answer()
    };
    assert_eq!(book(user.base()).status, 201);
    book("http://elsewhere.example").problem(403, "cross-site");
    // Plain HTTP is plain HTTP, whatever a client claims.
    let credentials = json!({"login": "admin", "password": PASSWORD});
    let ask = proxy
        .client()
        .ask("POST", "/login")
        .header("X-Forwarded-Proto", "https")
        .json(&credentials)
        .answer();
    let cookie = ask.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && !cookie.contains("Secure"), "{cookie}");

    // A header on its way twice would mean nothing to a browser.
    let shown = proxy.client().get(&format!("/events/{event}"));
    assert_eq!(shown.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(shown.header("server"), Some("nginx"));
    stop(replicas);
    installation.check();
}

#[test]
fn one_id_stands_in_the_logs_of_the_proxy_and_the_service() {
    let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let installation = installation();
    let log = ["--log", "info,eventbooker_web::trace=debug", "--log-json"];
    let server = installation.serve(&log);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let proxy = Nginx::before([&address(&server), &gone]);
    let client = proxy.client();
    for (path, header) in [("/events?of=caller", caller), ("/events?of=nobody", "none of ours")] {
        let answer = client.ask("GET", path).header("traceparent", header).answer();
        let answered = answer.header("traceparent").unwrap();
        assert_eq!(answered[3..35] == caller[3..35], header == caller, "{answered}");
        let line = proxy.until_logged(path);
        assert!(line.ends_with(&format!("\"{answered}\"")), "{line}");
        server.wait_until_logged(&answered[3..35]);
    }
    // What the proxy refuses by itself it tells by what the client says.
    let refused = client.ask("GET", "/metrics").header("traceparent", caller).answer();
    assert_eq!(refused.status, 404);
    assert!(proxy.until_logged(caller).contains("/metrics"));
    server.terminate();
}

/// One request from this address of loopback. Returns the status.
fn from(address: &str, proxy: &Nginx, request: &str) -> u16 {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&format!("{address}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&proxy.address().parse::<SocketAddr>().unwrap().into()).unwrap();
    exchange(socket.into(), request.as_bytes()).0
}

/// Sends bytes and reads to the end. Returns the status and everything.
fn exchange(mut stream: TcpStream, request: &[u8]) -> (u16, String) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no answer: {answer}")), answer)
}

#[test]
fn limits_by_address_are_about_clients_and_not_about_the_proxy() {
    let installation = installation();
    let [server, other] = replicas(&installation);
    other.terminate();
    // Each replica counts for itself, so there is one.
    let proxy = Nginx::before([&address(&server), &address(&server)]);
    let guess = |number: u32, headers: &str| {
        let body = format!("{{\"login\":\"nobody-{number}\",\"password\":\"wrong password\"}}");
        format!(
            "POST /login HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for number in 0..2 {
        assert_eq!(from("127.0.0.7", &proxy, &guess(number, "")), 401);
    }
    assert_eq!(from("127.0.0.7", &proxy, &guess(2, "")), 429);
    for forged in ["203.0.113.7", "127.0.0.1", "127.0.0.1, 127.0.0.1"] {
        let headers = format!("x-forwarded-for: {forged}\r\n");
        assert_eq!(from("127.0.0.7", &proxy, &guess(3, &headers)), 429, "{forged}");
    }
    assert_eq!(from("127.0.0.8", &proxy, &guess(4, "")), 401);
    server.terminate();
}

#[test]
fn what_the_proxy_refuses_reads_like_the_service() {
    let installation = installation();
    let replicas = replicas(&installation);
    let proxy = proxy(&replicas);
    let client = proxy.client().signed_in("admin", PASSWORD);
    let body = |bytes: usize| {
        client
            .ask("POST", "/events")
            .header("Content-Type", "application/json")
            .body(&vec![b' '; bytes])
    };
    // The largest body that the service takes gets there.
    body(65_536).answer().problem(400, "malformed-body");
    body(65_537).answer().problem(413, "body-too-large");
    client.get("/metrics").problem(404, "not-found");
    client.get("/nowhere").problem(404, "not-found");
    client.ask("DELETE", "/events").answer().problem(405, "method-not-allowed");
    client.ask("PUT", "/account/deposit").json(&json!({"delta": 0})).answer().any_problem();
    let long = "x".repeat(20_000);
    client.ask("GET", "/events").header("a", &long).answer().problem(431, "headers-too-large");
    client.get(&format!("/{long}")).problem(431, "headers-too-large");
    for nonsense in ["NONSENSE\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"] {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        let (status, answer) = exchange(stream, nonsense.as_bytes());
        assert_eq!(status, 400, "{answer}");
        assert!(answer.contains("/problems/malformed-request"), "{answer}");
        assert!(answer.contains("Server: nginx\r\n"), "it says its version: {answer}");
    }
    stop(replicas);
    client.get("/events").problem(503, "outcome-unknown");
}

/// Takes requests and breaks off without an answer. Counts them by their method.
struct Silent {
    address: String,
    taken: Arc<[AtomicUsize; 3]>,
    ended: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

const METHODS: [&str; 3] = ["GET", "POST", "PUT"];

impl Silent {
    fn begin() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (taken, ended) = (Arc::<[AtomicUsize; 3]>::default(), Arc::<AtomicBool>::default());
        let (counts, over) = (Arc::clone(&taken), Arc::clone(&ended));
        let take = move || {
            for stream in listener.incoming().map(Result::unwrap) {
                let mut line = String::new();
                let read = BufReader::new(&stream).read_line(&mut line);
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let method = line.split(' ').next().unwrap();
                let place = METHODS.iter().position(|known| *known == method);
                assert!(read.is_ok() && place.is_some(), "{line}");
                counts[place.unwrap()].fetch_add(1, Ordering::Relaxed);
            }
        };
        Self { address, taken, ended, thread: Some(thread::spawn(take)) }
    }

    fn taken(&self, method: &str) -> usize {
        let place = METHODS.iter().position(|known| *known == method).unwrap();
        self.taken[place].load(Ordering::Relaxed)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(&self.address));
        self.thread.take().unwrap().join().expect("it only took requests");
    }
}

/// What may have taken effect is not sent twice: nobody knows what became of it.
#[test]
fn only_what_changes_nothing_is_asked_twice() {
    for (method, asked) in [("GET", 2), ("POST", 1), ("PUT", 1)] {
        let silent = [Silent::begin(), Silent::begin()];
        let proxy = Nginx::before([&silent[0].address, &silent[1].address]);
        let client = proxy.client();
        let ask = client.ask(method, "/account/deposit");
        let ask = if method == "GET" { ask } else { ask.key("once").json(&json!({"delta": 5})) };
        ask.answer().problem(503, "outcome-unknown");
        let taken = silent.each_ref().map(|replica| replica.taken(method));
        assert_eq!(taken.iter().sum::<usize>(), asked, "{method} {taken:?}");
    }
}

/// Books under keys until it is told to end, and asks again under the same key whenever it hears a
/// 503, as the contract has it. Returns the numbers of its bookings, and how often each status was
/// answered.
fn book(
    client: &Client,
    event: i64,
    number: usize,
    made: &AtomicUsize,
    ended: &AtomicBool,
) -> (Vec<i64>, BTreeMap<u16, usize>) {
    let (mut booked, mut statuses) = (Vec::new(), BTreeMap::<u16, usize>::new());
    while !ended.load(Ordering::Relaxed) {
        let key = format!("{number}-{}", booked.len());
        let begun = Instant::now();
        let answer = loop {
            let path = format!("/events/{event}/book");
            let answer = client.ask("POST", &path).json(&json!({"seats": 1})).key(&key).answer();
            *statuses.entry(answer.status).or_default() += 1;
            // An answer to the same key may still be on its way.
            if ![503, 409].contains(&answer.status) {
                break answer;
            }
            answer.any_problem();
            assert!(begun.elapsed() < PATIENCE, "{answer:?}");
            thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(answer.status, 201, "{answer:?}");
        booked.push(answer.id());
        made.fetch_add(1, Ordering::Relaxed);
        let shown = client.get(&format!("/events/{event}")).status;
        *statuses.entry(shown).or_default() += 1;
    }
    (booked, statuses)
}

/// Kills a replica and starts it again; then restarts both, one after the other, as an upgrade does.
fn upset(installation: &Installation, replicas: [Server; 2], go_on: impl Fn()) -> [Server; 2] {
    let addresses = replicas.each_ref().map(address);
    let [first, second] = replicas;
    // Back when the proxy, which leaves a replica that has failed alone for a second, uses it again.
    let again = |number: usize| {
        let server = replica(installation, &addresses[number]);
        let begun = Instant::now();
        while server.client().metric("eventbooker_journal_entries_total{kind=\"held\"}") < 1.0 {
            assert!(begun.elapsed() < PATIENCE, "the proxy doesn't come back to a replica");
            thread::sleep(Duration::from_millis(5));
        }
        server
    };
    go_on();
    first.kill();
    go_on();
    let first = again(0);
    go_on();
    first.terminate();
    go_on();
    let first = again(0);
    second.terminate();
    go_on();
    let second = again(1);
    go_on();
    [first, second]
}

#[test]
fn replicas_come_and_go_and_bookings_go_on() {
    let installation = installation();
    let replicas = replicas(&installation);
    let proxy = proxy(&replicas);
    let event = proxy.client().signed_in("admin", PASSWORD).create_event(1_000_000, 0, 600);
    let user = proxy.client().registered("ann");
    let (made, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (mut booked, mut statuses) = (Vec::new(), BTreeMap::<u16, usize>::new());
    let replicas = thread::scope(|scope| {
        let begin = |number| {
            let (client, made, ended) = (user.clone(), &made, &ended);
            scope.spawn(move || book(&client, event, number, made, ended))
        };
        let clients: Vec<_> = (0..CLIENTS).map(begin).collect();
        // If something fails, the clients have to hear of it.
        let end = End(&ended);
        let replicas = upset(&installation, replicas, || {
            let (before, begun) = (made.load(Ordering::Relaxed), Instant::now());
            while made.load(Ordering::Relaxed) < before + BOOKINGS_BETWEEN {
                let failed = clients.iter().any(thread::ScopedJoinHandle::is_finished);
                assert!(!failed && begun.elapsed() < PATIENCE, "bookings don't go on");
                thread::sleep(Duration::from_millis(1));
            }
        });
        drop(end);
        for client in clients {
            let (numbers, counts) = client.join().unwrap();
            booked.extend(numbers);
            for (status, count) in counts {
                *statuses.entry(status).or_default() += count;
            }
        }
        replicas
    });
    println!("{statuses:?}");
    assert!(statuses.keys().all(|status| [200, 201, 409, 503].contains(status)), "{statuses:?}");
    let distinct: BTreeSet<i64> = booked.iter().copied().collect();
    assert_eq!(distinct.len(), booked.len(), "a number was given out twice");
    let kept = installation.database().numbers("SELECT id FROM bookings");
    assert_eq!(kept.into_iter().collect::<BTreeSet<_>>(), distinct, "answered and kept");
    stop(replicas);
    installation.check();
}

/// Says that it is over, when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
