//! The commands beside `serve`, with their exit codes, and what they say to an operator.

#![allow(missing_docs, reason = "a test")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::thread;

use eventbooker_testkit::client::PASSWORD;
use eventbooker_testkit::server::{Installation, Ran};

fn installed() -> Installation {
    Installation::new(env!("CARGO_BIN_EXE_eventbooker"))
}

fn with_users() -> Installation {
    Installation::with_users(env!("CARGO_BIN_EXE_eventbooker"))
}

/// Fails unless a command said no with this exit code and these words.
fn assert_fails(ran: &Ran, code: i32, says: &str) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    assert!(ran.stderr.contains(says), "{ran:?}");
    assert!(!ran.stderr.contains("panicked"), "{ran:?}");
}

fn assert_says(ran: &Ran, says: &[&str]) {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for words in says {
        assert!(ran.stdout.contains(words), "{words}: {ran:?}");
    }
}

#[test]
fn users_are_added_listed_and_changed() {
    let installation = installed();
    let run = |arguments: &[&str], stdin| installation.run_with(arguments, stdin, &[]);
    let names = ["--email", "a@example.org", "--first-name", "Zoë", "--last-name", "Grün"];
    let add = [&["user", "add", "ann", "--role", "admin"], names.as_slice()].concat();
    assert_says(&run(&add, "first password\r\n"), &["added admin ann with number 1"]);
    assert_says(&run(&["user", "add", "ben"], "first password"), &["added user ben with number 2"]);
    assert_fails(&run(&add, "first password"), 1, "taken");
    assert_fails(&run(&["user", "add", "cid"], "short"), 1, "the password must have at least 8");
    assert_fails(&run(&["user", "add", "c d"], "short"), 1, "<LOGIN> must not hold spaces");
    let bad_names =
        ["user", "add", "cid", "--email", "x", "--first-name", "\t", "--last-name", "\t"];
    for says in [
        "--email must be an e-mail address",
        "--first-name must not hold",
        "--last-name must not hold",
        "the password must have at least 8",
    ] {
        assert_fails(&run(&bad_names, "short"), 1, says);
    }
    assert_fails(&run(&["user", "add", "cid"], ""), 1, "at least 8 characters");
    assert_fails(&run(&["user", "add", "cid", "--role", "king"], PASSWORD), 2, "--role");
    assert_says(
        &run(&["user", "list"], ""),
        &["ann", "ben", "admin", "a@example.org", "Zoë", "Grün"],
    );

    let server = installation.serve(&[]);
    let ben = server.client().signed_in("ben", "first password");
    server.terminate();
    assert_says(&run(&["user", "password", "ben"], "second password"), &["ben"]);
    assert_says(&run(&["user", "role", "ann", "user"], ""), &["ann is now user"]);
    assert_fails(&run(&["user", "password", "ben"], "short"), 1, "at least 8 characters");
    assert_fails(&run(&["user", "password", "nobody"], PASSWORD), 1, "there is no user nobody");
    assert_fails(&run(&["user", "role", "nobody", "admin"], ""), 1, "there is no user nobody");
    assert_fails(&run(&["user", "role", "ben", "king"], ""), 2, "king");

    let server = installation.serve(&[]);
    let old_session = server.client().with_session(ben.session());
    old_session.get("/auth").problem(401, "unauthenticated");
    let ben = server.client().signed_in("ben", "second password");
    assert_eq!(ben.get("/auth").json()["role"], "user");
    let ann = server.client().signed_in("ann", "first password");
    assert_eq!(ann.get("/auth").json()["role"], "user");
    server.terminate();
}

#[test]
fn events_are_added_and_listed() {
    let installation = installed();
    let add = |arguments: &[&str]| installation.run(&[&["event", "add"], arguments].concat());
    let all = [
        "Grüner Lauf",
        "--capacity",
        "7",
        "--date",
        "2090-05-01T18:00:00+02:00",
        "--payment-ttl",
        "5",
        "--price",
        "40",
        "--description",
        "Down the hill",
    ];
    assert_says(&add(&all), &["added event 1 with 7 seats"]);
    assert_says(&add(&["Undated", "--capacity", "3"]), &["added event 2"]);
    let past = "2020-01-01T00:00:00Z";
    let bad = ["", "--capacity", "0", "--date", past, "--payment-ttl", "0", "--price=-1"];
    let bad = add(&[bad.as_slice(), &["--description", "\u{1}"]].concat());
    for says in [
        "<NAME> must not be empty",
        "--capacity must be from 1 to",
        "--date must lie in the future",
        "--payment-ttl must be from 1 to",
        "--price must be from 0 to",
        "--description must not hold",
    ] {
        assert_fails(&bad, 1, says);
    }
    assert_fails(&add(&["x", "--capacity", "many"]), 2, "--capacity");
    assert_fails(&add(&["x", "--capacity", "1", "--date", "tomorrow"]), 2, "--date");
    assert_fails(&add(&["x"]), 2, "--capacity");
    assert_says(
        &installation.run(&["event", "list"]),
        &["Grüner Lauf", "2090-05-01T16:00:00Z", "Undated"],
    );
    installation.check();
}

#[test]
fn a_schema_is_brought_up_to_date_once() {
    let installation = installed();
    assert_says(&installation.run(&["migrate"]), &["from schema version 0"]);
    assert_says(&installation.run(&["migrate"]), &["up to date"]);
    installation.check();
    let ran = installation.run(&["migrate", "--database", "sqlite:no/such/directory.db"]);
    assert_fails(&ran, 1, "no/such/directory.db");
}

#[test]
fn a_newer_schema_is_refused_by_everything() {
    let installation = with_users();
    installation.database().change("PRAGMA user_version = 999");
    let commands = [
        ["serve", "--listen", "127.0.0.1:0"].as_slice(),
        &["migrate"],
        &["user", "list"],
        &["event", "add", "x", "--capacity", "1"],
        &["saga", "show", "1"],
        &["saga", "retry", "1"],
    ];
    for command in commands {
        assert_fails(&installation.run(command), 1, "schema version 999");
    }
    assert_fails(&installation.run(&["check"]), 2, "schema version 999");
}

#[test]
fn a_check_tells_whole_from_broken_from_unreadable() {
    let installation = with_users();
    let server = installation.serve(&[]);
    let event = server.client_of("admin").create_event(9, 0, 30);
    assert_eq!(server.client_of("alice").book(event, 2).status, 201);
    assert_says(&installation.run(&["check"]), &["1 events", "every invariant holds"]);
    server.terminate();
    assert_says(&installation.run(&["check"]), &["every invariant holds"]);

    // What it said is noted for organisers, by whom it was said.
    let database = installation.database();
    let noted = || database.numbers("SELECT 10 * checker + findings FROM checks");
    assert_eq!(noted(), [0]);
    database.change("UPDATE tallies SET occupied = occupied + 1");
    let broken = installation.run(&["check"]);
    assert_eq!(broken.code, Some(1), "{broken:?}");
    assert_eq!(noted(), [1]);
    assert!(broken.stdout.contains("BROKEN") && !broken.stdout.contains("every invariant holds"));
    database.change("UPDATE tallies SET occupied = occupied - 1");
    installation.check();
    database.change("DELETE FROM slots");
    assert_eq!(installation.run(&["check"]).code, Some(1));

    let missing = installation.run(&["check", "--database", "sqlite:missing.db"]);
    assert_fails(&missing, 2, "missing.db");
    assert!(!installation.directory().join("missing.db").exists(), "looking creates nothing");
    fs::write(installation.directory().join("text.db"), "no database at all, ".repeat(1000))
        .expect("a file");
    assert_fails(&installation.run(&["check", "--database", "sqlite:text.db"]), 2, "text.db");
    fs::write(installation.directory().join("empty.db"), "").expect("a file");
    assert_fails(&installation.run(&["check", "--database", "sqlite:empty.db"]), 2, "migrate");
}

#[test]
fn a_reader_may_leave_before_the_end() {
    let installation = with_users();
    let unread = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = installation.command(arguments).stdout(writer).output().expect("it starts");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let quiet = |code: i32| (Some(code), String::new());
    let commands: [&[&str]; 7] = [
        &["event", "add", "x", "--capacity", "1"],
        &["event", "list"],
        &["user", "role", "alice", "admin"],
        &["user", "list"],
        &["saga", "list"],
        &["migrate"],
        &["check"],
    ];
    for command in commands {
        assert_eq!(unread(command), quiet(0), "{command:?}");
    }
    installation.database().change("UPDATE tallies SET occupied = occupied + 1");
    assert_eq!(unread(&["check"]), quiet(1), "the outcome is told all the same");
    assert_eq!(unread(&["check", "--database", "sqlite:missing.db"]).0, Some(2));
}

#[test]
fn a_file_has_one_server() {
    let installation = with_users();
    let server = installation.serve(&[]);
    let event = server.client_of("admin").create_event(9, 0, 30);
    let second = installation.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_fails(&second, 1, "in use by another server");
    let address = server.base().trim_start_matches("http://");
    let elsewhere = ["serve", "--listen", address, "--database", "sqlite:other.db"];
    assert_fails(&installation.run(&elsewhere), 1, "listen");
    assert!(!installation.directory().join("other.db").exists());
    assert_eq!(server.client_of("alice").book(event, 1).status, 201, "the first one goes on");
    // A server that was killed leaves nothing that keeps the next one out.
    server.kill();
    installation.serve(&[]).terminate();
}

#[test]
fn a_first_start_says_how_to_begin() {
    let installation = installed();
    let server = installation.serve(&[]);
    let log = server.log();
    let (_, command) = log.split_once("add an admin: eventbooker ").expect("a command");
    let command = command.lines().next().unwrap_or_default().replace("NAME", "ann");
    let arguments: Vec<&str> = command.split(' ').collect();
    // While the server runs.
    assert_says(&installation.run_with(&arguments, PASSWORD, &[]), &["added admin ann"]);
    let ann = server.client_of("ann");
    let by_api = ann.create_event(5, 0, 30);
    assert_says(&installation.run(&["event", "add", "x", "--capacity", "3"]), &["added event"]);
    let again = ann.create_event(5, 0, 30);
    let by_command = by_api + 1;
    assert_eq!(again, by_command + 1, "a number for each, whoever adds it");
    assert_eq!(ann.book(by_command, 3).status, 201);
    server.terminate();
    let server = installation.serve(&[]);
    assert!(!server.log().contains("there are no users yet"));
    server.terminate();
    installation.check();
}

#[test]
fn help_and_version_are_there() {
    let installation = installed();
    assert_says(&installation.run(&["--version"]), &["eventbooker"]);
    assert_says(
        &installation.run(&["--help"]),
        &["serve", "check", "user", "event", "saga", "copy", "migrate"],
    );
    let none = installation.run(&[]);
    assert_fails(&none, 2, "Usage");
    assert_fails(&installation.run(&["srve"]), 2, "serve");
}

#[test]
fn ready_asks_the_service_that_listens_here() {
    let installation = installed();
    let server = installation.serve(&["--listen", "127.0.0.1:0"]);
    let address = server.base().strip_prefix("http://").expect("a URL").to_owned();
    assert_says(&installation.run(&["ready", "--listen", &address]), &["\"status\":\"ready\""]);
    let (_, port) = address.rsplit_once(':').expect("a port");
    for other in ["0.0.0.0", "[::ffff:127.0.0.1]"] {
        let listen = format!("{other}:{port}");
        let environment = [("EVENTBOOKER_LISTEN", listen.as_str())];
        assert_says(&installation.run_with(&["ready"], "", &environment), &["ready"]);
    }
    server.terminate();
    let ran = installation.run(&["ready", "--listen", &address]);
    assert_fails(&ran, 1, &format!("{address} doesn't answer"));

    // Something listens, and it isn't ready.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let refusing = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("it is asked");
        let head = BufReader::new(&stream).lines().map(|line| line.expect("a question"));
        let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
        assert_eq!(head[0], "GET /ready HTTP/1.1");
        stream.write_all(b"HTTP/1.1 503 x\r\n\r\ndraining").expect("somebody listens");
    });
    assert_fails(&installation.run(&["ready", "--listen", &address]), 1, "not ready: draining");
    refusing.join().expect("it has answered");
}
