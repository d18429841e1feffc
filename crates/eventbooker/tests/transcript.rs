//! The second seed's transcript against a fresh demo, typed into a shell as it stands there,
//! but for the order in which its two events are created: it lists them the other way round.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that can't go on has failed")]

use std::fs;
use std::path::Path;
use std::process::Command;

use eventbooker_testkit::server::Installation;
use eventbooker_testkit::services::Services;
use serde_json::{Value, json};

/// Whoever follows the transcript, with a real curl.
struct Follower<'a> {
    directory: &'a Path,
    /// The cookie that the sign-in has shown.
    session: String,
}

impl<'a> Follower<'a> {
    /// Signs in. The transcript's host leads to the server from here on.
    fn begin(base: &str, directory: &'a Path) -> Self {
        let address = base.strip_prefix("http://").unwrap();
        let config =
            format!("connect-to = arch.homework:80:{address}\nnoproxy = *\nmax-time = 60\n");
        fs::write(directory.join(".curlrc"), config).unwrap();
        let stranger = Self { directory, session: String::new() };
        let (said, shown) = stranger.run(
            r#"curl -v -X POST http://arch.homework/login -d '{"login":"admin","password":"password"}'"#,
        );
        assert_eq!(shown, json!({"status": "ok"}), "{said}");
        let cookie = said.lines().find_map(|line| line.strip_prefix("< set-cookie: session_id="));
        let (session, _) = cookie.and_then(|cookie| cookie.split_once(';')).expect(&said);
        Self { session: session.to_owned(), ..stranger }
    }

    /// Runs a line in a shell. Returns what curl says about the exchange, and the answer.
    fn run(&self, line: &str) -> (String, Value) {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(self.directory).env("CURL_HOME", self.directory);
        let ran = shell.output().expect("there is a shell");
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "is curl installed? {said}");
        assert!(said.contains("< HTTP/1.1 200 OK"), "{said}");
        let shown = serde_json::from_slice(&ran.stdout);
        (said, shown.expect("the answer is JSON"))
    }

    /// What the transcript's line shows; the part of it that is the same in all lines is left out.
    fn curl(&self, rest: &str) -> Value {
        self.run(&format!("curl -v --cookie session_id={} {rest}", self.session)).1
    }
}

/// Types it all.
fn follow(base: &str, directory: &Path) {
    let follower = Follower::begin(base, directory);
    let curl = |rest: &str| follower.curl(rest);

    let deposit = r#"-X PUT http://arch.homework/account/deposit -d '{"delta":100}'"#;
    let balance = "-X GET http://arch.homework/account/get";
    assert_eq!(curl(deposit), json!({"balance": 100}));
    assert_eq!(curl(balance), json!({"balance": 100}));

    // The seed shows the green run as the first one, so it has to be made first.
    let green = r#"-X POST http://arch.homework/events/create -d '{"event_name":"green run","price":5,"total_slots":3}'"#;
    let red = r#"-X POST http://arch.homework/events/create -d '{"event_name":"red run","price":40,"total_slots":5}'"#;
    let events = json!([
        {"id": 1, "event_name": "green run", "price": 5, "total_slots": 3},
        {"id": 2, "event_name": "red run", "price": 40, "total_slots": 5},
    ]);
    assert_eq!(curl(green), events[0]);
    assert_eq!(curl(red), events[1]);
    assert_eq!(curl("-X GET http://arch.homework/events/get"), events);

    let book = |event: &Value| {
        let body = format!(r#"{{"event_id":{event}}}"#);
        curl(&format!("-X POST http://arch.homework/book/create -d '{body}'"))
    };
    let bookings = [
        json!({"id": 1, "user_id": 1, "event_id": 1, "price": 5, "status": 4}),
        json!({"id": 2, "user_id": 1, "event_id": 1, "price": 5, "status": 4}),
        json!({"id": 3, "user_id": 1, "event_id": 1, "price": 5, "status": 4}),
        json!({"id": 4, "user_id": 1, "event_id": 1, "status": -1}),
        json!({"id": 5, "user_id": 1, "event_id": 2, "price": 40, "status": 4}),
        json!({"id": 6, "user_id": 1, "event_id": 2, "price": 40, "status": 4}),
        json!({"id": 7, "user_id": 1, "event_id": 2, "price": 40, "status": -1}),
    ];
    for (before, booking) in bookings.iter().enumerate() {
        assert_eq!(book(&booking["event_id"]), *booking);
        assert_eq!(curl("-X GET http://arch.homework/book/get"), json!(bookings[..=before]));
    }
    assert_eq!(curl(balance), json!({"balance": 5}));
}

#[test]
fn the_transcript_of_the_seed_works_in_a_fresh_demo() {
    let installation = Installation::new(env!("CARGO_BIN_EXE_eventbooker"));
    let server = installation.serve(&["--demo"]);
    follow(server.base(), installation.directory());

    // Who has events of their own isn't given the demo's.
    assert_eq!(server.client().get("/events").ids(), [1, 2]);
    server.terminate();
    let server = installation.serve(&["--demo"]);
    assert_eq!(server.client().get("/events").ids(), [1, 2]);
    server.terminate();
    installation.check();
}

#[test]
fn it_works_unchanged_through_the_proxy_before_four_services() {
    let services = Services::start(env!("CARGO_BIN_EXE_eventbooker"), &["--demo"]);
    follow(services.client().base(), services.directory());
    assert_eq!(services.client().get("/events").ids(), [1, 2]);
    services.stop();
}
