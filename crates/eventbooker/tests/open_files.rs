//! Connections against the limit on open files: whoever finds no place is told so.

#![allow(missing_docs, reason = "a test")]

use std::net::TcpStream;

use eventbooker_testkit::database::Database;
use eventbooker_testkit::server::{Installation, Log, Server};

/// Connections that send nothing.
fn silent_connections(server: &Server, count: usize) -> Vec<TcpStream> {
    let address = server.base().strip_prefix("http://").expect("an address");
    (0..count).map(|_| TcpStream::connect(address).expect("a connection")).collect()
}

#[test]
fn connections_are_fewer_than_the_files_that_may_be_open() {
    let installation = Installation::new(env!("CARGO_BIN_EXE_eventbooker"));
    let server = installation.serve_limited("-n 1000", Log::Kept, &[]);
    let log = server.log();
    assert!(log.contains("WARN") && log.contains("leaves 616 for connections"), "{log}");
    // Without a bound that leaves files for it, the next client would not be answered.
    let _held = silent_connections(&server, 980);
    server.client().get("/health").problem(503, "overloaded");
    server.terminate();
}

#[test]
fn connections_to_a_database_need_files_too() {
    let program = env!("CARGO_BIN_EXE_eventbooker");
    let installation = Installation::on(program, Database::postgres());
    let flags = ["--database-connections", "100", "--lanes", "2"];
    let server = installation.serve_limited("-n 1000", Log::Kept, &flags);
    assert!(server.log().contains("leaves 508 for connections"), "{}", server.log());
    server.terminate();
}

#[test]
fn a_low_soft_limit_is_raised() {
    let installation = Installation::new(env!("CARGO_BIN_EXE_eventbooker"));
    let flags = ["--connections-max", "200"];
    let server = installation.serve_limited("-S -n 64", Log::Kept, &flags);
    assert!(!server.log().contains("ulimit"), "{}", server.log());
    let _held = silent_connections(&server, 100);
    assert_eq!(server.client().get("/health").status, 200);
    server.terminate();
}
