//! The edge over real sockets, against clients that behave badly.
//!
//! Time-outs are configured short where a test waits for one, and long where it must not fire. A
//! test waits for the event itself (an answer, the end of the stream, a message from a handler);
//! [`PATIENCE`] only keeps a failure from hanging.

#[path = "edge/harness.rs"]
mod harness;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::post;
use eventbooker_web::edge::{self, EdgeConfig};
use eventbooker_web::problem::{Problem, ProblemKind};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use harness::*;

#[test]
fn requests_are_answered_with_the_peer_known_and_the_connection_kept() {
    let server = Server::start(patient());
    let mut client = server.connect();
    let own = client.0.local_addr().expect("an address").to_string();
    for _ in 0..3 {
        let answer = client.ask(b"GET /peer HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(answer.body, own.as_bytes());
        assert!(answer.head.contains("x-frame-options: DENY"));
    }
    let answer = client.ask(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(answer.body, b"hello");
    let answer = client.ask(b"GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(answer.status, 404);
    assert!(answer.head.contains("x-frame-options: DENY"));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(patient());
    let mut client = server.connect();
    let mut requests = Vec::new();
    for number in 0..50 {
        let text =
            format!("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{number:02}");
        requests.extend_from_slice(text.as_bytes());
        requests.extend_from_slice(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    client.send(&requests);
    for number in 0..50 {
        assert_eq!(client.answer().body, format!("{number:02}").as_bytes());
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.0.read_exact(&mut byte).expect("a head");
            head.push(byte[0]);
        }
    }
}

#[test]
fn a_head_that_dribbles_is_ended_with_a_408() {
    let server = Server::start(EdgeConfig { header_timeout: SHORT, ..patient() });
    let mut client = server.connect();
    let mut dribble = client.0.try_clone().expect("a second handle");
    let dribbler = std::thread::spawn(move || {
        let _ = dribble.write_all(b"GET / HTTP/1.1\r\n");
        // Each byte comes in time; only all of them together take too long.
        while dribble.write_all(b"a").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    client.answer().assert_problem(ProblemKind::RequestTimeout);
    let _ = client.0.shutdown(Shutdown::Both);
    dribbler.join().expect("the dribbler ends");
    server.assert_alive();
}

#[test]
fn connections_that_send_nothing_are_closed_without_a_word() {
    let server = Server::start(EdgeConfig { header_timeout: SHORT, ..patient() });
    let begun = Instant::now();
    let mut fresh = server.connect();
    assert_eq!(fresh.rest(), b"");
    assert!(begun.elapsed() >= SHORT, "it must not be early");
    server.assert_alive();
}

#[test]
fn a_connection_that_was_used_may_idle_longer_than_a_new_one() {
    let server = Server::start(EdgeConfig { header_timeout: SHORT, ..patient() });
    let mut used = server.connect_and_use();
    // The new one is the younger of the two, so when it is closed, the other has idled as long.
    assert_eq!(server.connect().rest(), b"");
    assert_eq!(used.ask(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").status, 200);
}

#[test]
fn a_connection_that_idles_after_a_request_is_closed_without_a_word() {
    let server = Server::start(EdgeConfig { idle_timeout: SOON, ..patient() });
    let begun = Instant::now();
    let mut used = server.connect();
    assert_eq!(used.ask(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").status, 200);
    assert_eq!(used.rest(), b"");
    assert!(begun.elapsed() >= SOON, "it must not be early");
}

#[test]
fn idle_connections_make_room_when_connections_are_short() {
    let server =
        Server::start(EdgeConfig { header_timeout: SHORT, connections_max: 8, ..patient() });
    // Seven of eight are more than three quarters.
    let mut idle: Vec<Client> = (0..7).map(|_| server.connect_and_use()).collect();
    let begun = Instant::now();
    while !idle.iter_mut().any(Client::is_closed_by_now) {
        assert!(begun.elapsed() < PATIENCE, "nobody makes room");
    }
}

#[test]
fn a_body_that_dribbles_is_ended_with_a_408() {
    let server = Server::start(EdgeConfig { request_timeout: SOON, ..patient() });
    let mut client = server.connect();
    client.send(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5000\r\n\r\nhel");
    let mut dribble = client.0.try_clone().expect("a second handle");
    let dribbler = std::thread::spawn(move || {
        while dribble.write_all(b"l").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    client.answer().assert_problem(ProblemKind::RequestTimeout);
    let _ = client.0.shutdown(Shutdown::Both);
    dribbler.join().expect("the dribbler ends");
    server.assert_alive();
}

#[test]
fn a_handler_that_takes_too_long_is_a_503_that_says_what_is_known() {
    let server = Server::start(EdgeConfig { request_timeout: SOON, ..patient() });
    let mut client = server.connect();
    let answer = client.ask(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n");
    answer.assert_problem(ProblemKind::Overloaded);
    assert!(answer.head.contains("retry-after: "));
    let answer = client.ask(b"POST /wait HTTP/1.1\r\nhost: a\r\n\r\n");
    answer.assert_problem(ProblemKind::OutcomeUnknown);
    assert_eq!(client.ask(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").status, 200);
}

#[test]
fn a_handler_that_panics_is_a_500_and_the_connection_goes_on() {
    let server = Server::start(patient());
    let mut client = server.connect();
    client.ask(b"GET /bug HTTP/1.1\r\nhost: a\r\n\r\n").assert_problem(ProblemKind::Internal);
    assert_eq!(client.ask(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").status, 200);
}

#[test]
fn a_stream_may_take_longer_than_a_request() {
    let server =
        Server::start(EdgeConfig { request_timeout: SOON, write_timeout: SOON, ..patient() });
    let mut client = server.connect();
    client.send(b"GET /stream HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let text = String::from_utf8(client.rest()).expect("ASCII");
    assert_eq!(text.matches("line\n").count(), 10, "{text}");
    assert!(text.ends_with("\r\n0\r\n\r\n"), "the stream ended in order");
}

#[test]
fn a_body_over_the_limit_is_a_413_and_the_client_gets_to_read_it() {
    const BODY_BYTES: usize = 10 << 20;
    let server = Server::start(patient());
    let body = vec![b'x'; BODY_BYTES];
    let announced =
        format!("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: {BODY_BYTES}\r\n\r\n");
    let chunked = "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\na00000\r\n";
    for head in [announced.as_str(), chunked] {
        let mut client = server.connect();
        client.send(head.as_bytes());
        // The client insists on sending everything before it reads.
        client.send(&body);
        let answer = client.answer();
        answer.assert_problem(ProblemKind::BodyTooLarge);
        assert!(answer.head.contains("connection: close"));
        assert_eq!(client.rest(), b"");
    }
    server.assert_alive();
}

#[test]
fn a_body_of_exactly_the_limit_is_taken() {
    let server = Server::start(patient());
    for (extra, status) in [(0, 200), (1, 413)] {
        let body = vec![b'x'; LIMIT_BYTES + extra];
        let mut client = server.connect();
        client.send(b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        for chunk in body.chunks(1000) {
            client.send(format!("{:x}\r\n", chunk.len()).as_bytes());
            client.send(chunk);
            client.send(b"\r\n");
        }
        client.send(b"0\r\n\r\n");
        assert_eq!(client.answer().status, status);
    }
}

#[test]
fn a_client_that_waits_for_100_continue_is_told_before_it_sends() {
    let server = Server::start(patient());
    let mut client = server.connect();
    let answer = client.ask(
        b"POST /echo HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n",
    );
    assert_eq!(answer.status, 100);
    assert_eq!(client.ask(b"hello").body, b"hello");
    let mut client = server.connect();
    let answer = client.ask(
        b"POST /echo HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 10000000\r\n\r\n",
    );
    answer.assert_problem(ProblemKind::BodyTooLarge);
}

#[test]
fn a_body_that_breaks_off_or_is_badly_framed_harms_nobody() {
    let server = Server::start(patient());
    let mut client = server.connect();
    client.send(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\r\nhel");
    client.0.shutdown(Shutdown::Write).expect("half-closed");
    client.rest();
    let mut client = server.connect();
    let answer = client
        .ask(b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nnot hex\r\n");
    answer.assert_problem(ProblemKind::MalformedBody);
    server.assert_alive();
}

#[test]
fn huge_heads_are_a_431() {
    let server = Server::start(patient());
    let large = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200));
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(1 << 20));
    let endless = "GET / HTTP/1.1\r\nhost: a\r\nx: ".to_owned() + &"x".repeat(17 * 1024);
    for head in [large, many, long, endless] {
        let mut client = server.connect();
        let answer = client.ask(head.as_bytes());
        answer.assert_problem(ProblemKind::HeadersTooLarge);
        assert_eq!(client.rest(), b"", "the connection is closed");
    }
    server.assert_alive();
}

#[test]
fn malformed_requests_are_a_400_and_the_server_goes_on() {
    let server = Server::start(patient());
    for bytes in [
        &b"NONSENSE\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    ] {
        let mut client = server.connect();
        let answer = client.ask(bytes);
        answer.assert_problem(ProblemKind::MalformedRequest);
        assert_eq!(client.rest(), b"", "the connection is closed");
        // After a good request it is no different.
        let mut client = server.connect();
        assert_eq!(client.ask(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").status, 200);
        client.ask(bytes).assert_problem(ProblemKind::MalformedRequest);
    }
    server.assert_alive();
}

#[test]
fn a_request_has_to_name_its_host_once() {
    let server = Server::start(patient());
    for head in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\n\r\n",
        "POST /echo HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello",
    ] {
        let mut client = server.connect();
        let answer = client.ask(head.as_bytes());
        answer.assert_problem(ProblemKind::MalformedRequest);
        assert!(answer.head.contains("connection: close"), "{}", answer.head);
        assert_eq!(client.rest(), b"", "the connection is closed");
    }
    for head in ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nhost:\r\n\r\n"] {
        assert_eq!(server.connect().ask(head.as_bytes()).status, 200, "{head}");
    }
}

#[test]
fn a_connection_over_the_cap_gets_a_503_at_once() {
    let server = Server::start(EdgeConfig { connections_max: 8, ..patient() });
    let mut kept: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    for _ in 0..3 {
        let mut refused = server.connect();
        let answer = refused.ask(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        answer.assert_problem(ProblemKind::Overloaded);
        assert!(answer.head.contains("retry-after: 1"));
        assert_eq!(refused.rest(), b"");
    }
    // Those inside notice nothing, and a place that becomes free is given away.
    assert_eq!(kept[0].ask(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").status, 200);
    kept.pop();
    server.assert_alive();
}

#[test]
fn a_flood_of_idle_connections_holds_all_places_for_the_header_timeout_only() {
    let server =
        Server::start(EdgeConfig { header_timeout: SHORT, connections_max: 8, ..patient() });
    let mut flood: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    server.assert_alive();
    for client in &mut flood {
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let server = Server::start(EdgeConfig { write_timeout: SOON, ..patient() });
    let mut client = server.connect();
    // Enough answers to fill every buffer on the way.
    let requests = b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n".repeat(100);
    let _ = client.0.write_all(&requests);
    client.assert_cut_off_while_not_reading();
    server.assert_alive();
}

/// Sends requests until the server has stopped reading for a while, tells so, and then the rest of
/// the last batch and a request that closes. Returns how many requests that were.
fn flood(mut stream: TcpStream, stopped: &mpsc::Sender<()>) -> usize {
    const BATCH: usize = 1000;
    /// The buffers of both kernels together are far smaller.
    const FLOOD_BYTES_MAX: usize = 32 << 20;
    let batch = b"POST /empty HTTP/1.1\r\nhost: a\r\n\r\n".repeat(BATCH);
    stream.set_write_timeout(Some(SHORT)).expect("a time-out");
    let mut has_stopped = false;
    let mut batches = 0;
    while !has_stopped {
        assert!(batches * batch.len() < FLOOD_BYTES_MAX, "the server reads on and on");
        batches += 1;
        let mut rest = batch.as_slice();
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock && !has_stopped => {
                    has_stopped = true;
                    stopped.send(()).expect("the test listens");
                    stream.set_write_timeout(Some(PATIENCE)).expect("a time-out");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    let last = b"POST /empty HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(last).expect("the last request is taken");
    batches * BATCH + 1
}

#[test]
fn pipelined_requests_without_reading_stop_the_servers_reading_until_the_client_reads() {
    let server = Server::start(patient());
    let mut client = server.connect();
    let sender = client.0.try_clone().expect("a second handle");
    let (stopped, has_stopped) = mpsc::channel();
    // Answers without a body never wait for room in hyper's buffer.
    let flooder = std::thread::spawn(move || flood(sender, &stopped));
    has_stopped.recv_timeout(PATIENCE).expect("the server stops reading");
    server.assert_alive();
    let answers = String::from_utf8(client.rest()).expect("ASCII");
    let requests = flooder.join().expect("all requests were taken");
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), requests);
}

#[test]
fn a_client_that_pauses_and_reads_later_gets_everything() {
    let server = Server::start(patient());
    let mut client = server.connect();
    let mut sender = client.0.try_clone().expect("a second handle");
    let count = 60;
    let writer = std::thread::spawn(move || {
        sender
            .write_all(&b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n".repeat(count))
            .expect("all requests are taken");
        sender
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .expect("the last one too");
    });
    writer.join().expect("the requests fit in the buffers");
    for _ in 0..count {
        assert_eq!(client.answer().body.len(), 1 << 20);
    }
    assert_eq!(client.answer().body, b"fine");
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_drain_finishes_the_request_in_flight() {
    let server = Server::start(patient());
    let mut client = server.connect();
    client.send(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n");
    server.wait_for_handler();
    let mut idle = server.connect();
    assert_eq!(idle.ask(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").status, 200);
    server.begin_stop();
    // The idle connection's end shows that the drain has begun.
    assert_eq!(idle.rest(), b"");
    server.go.notify_one();
    let answer = client.answer();
    assert_eq!(answer.body, b"waited");
    assert!(answer.head.contains("connection: close"), "{}", answer.head);
    assert_eq!(client.rest(), b"");
    let address = server.address;
    assert_eq!(server.stopped().cut, 0);
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn a_drain_does_not_wait_for_the_rest_of_a_head() {
    let server = Server::start(patient());
    let mut fresh = server.connect();
    fresh.send(b"GET / HT");
    let mut used = server.connect();
    assert_eq!(used.ask(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").status, 200);
    used.send(b"GET / HTTP/1.1\r\nhost: a\r\nx");
    // Meanwhile the server reads what there is of the heads. If it didn't get to that, they are
    // connections that idle, and the outcome is the same.
    server.assert_alive();
    server.begin_stop();
    assert_eq!(server.stopped().cut, 0);
    fresh.assert_closed();
    used.assert_closed();
}

#[test]
fn a_drain_waits_for_the_rest_of_a_body_for_a_moment_only() {
    let server = Server::start(patient());
    let mut client = server.connect();
    let head =
        "POST /echo HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    assert_eq!(client.ask(head.as_bytes()).status, 100, "the body is awaited");
    client.send(b"hel");
    server.begin_stop();
    client.answer().assert_problem(ProblemKind::RequestTimeout);
    assert_eq!(client.rest(), b"");
    assert_eq!(server.stopped().cut, 0);
}

#[test]
fn a_drain_closes_connections_that_idle() {
    let server = Server::start(patient());
    let mut kept: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    for client in &mut kept {
        assert_eq!(client.ask(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").status, 200);
    }
    server.begin_stop();
    // They do nothing about it, and the drain ends all the same.
    assert_eq!(server.stopped().cut, 0);
    for client in &mut kept {
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn a_drain_cuts_off_at_its_deadline() {
    let server = Server::start(EdgeConfig { drain_timeout: SOON, ..patient() });
    let mut client = server.connect();
    client.send(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n");
    server.wait_for_handler();
    server.begin_stop();
    let report = server.stopped();
    assert_eq!(report.cut, 1);
    assert!(report.took >= SOON);
    client.assert_closed();
}

#[test]
fn a_server_that_is_told_to_stop_by_a_vanished_sender_stops() {
    let mut server = Server::start(patient());
    server.stop = watch::channel(false).0;
    assert_eq!(server.stopped().cut, 0);
}

#[test]
fn problems_from_handlers_keep_their_connection() {
    let (_server, mut client) = refusing();
    for _ in 0..3 {
        let answer = client.ask(b"POST / HTTP/1.1\r\nhost: a\r\n\r\n");
        answer.assert_problem(ProblemKind::SoldOut);
        assert!(!answer.head.contains("connection: close"), "{}", answer.head);
    }
}

/// A client must not send its next request on a connection that is about to end.
#[test]
fn an_answer_before_its_body_was_read_says_that_the_connection_ends() {
    for body in [&b"{\"seats\":1}"[..], b""] {
        let (_server, mut client) = refusing();
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\n";
        let answer = client.ask(&[head, body].concat());
        answer.assert_problem(ProblemKind::SoldOut);
        assert!(answer.head.contains("connection: close"), "{}", answer.head);
        client.assert_closed();
    }
}

/// A server whose handler refuses everything, and doesn't look at bodies.
fn refusing() -> (Runtime, Client) {
    let problem = Problem::from(ProblemKind::SoldOut);
    let runtime = Runtime::new().expect("a runtime");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address");
    let app = Router::new().route("/", post(async move || problem.clone()));
    let (stop, stopped) = watch::channel(false);
    runtime.spawn(async move {
        let _stop = stop;
        edge::serve(listener, app, patient(), stopped).await
    });
    (runtime, Client(TcpStream::connect(address).expect("a connection")))
}
