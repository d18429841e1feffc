//! Settings: what wins over what, and what is said about a value that can't be used.

#![allow(missing_docs, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::thread;

use eventbooker_testkit::server::{Installation, Ran};
use serde_json::{Value, json};

/// Every setting with values that it can't have.
const BAD: &[(&str, &[&str])] = &[
    ("services", &["nobody", "auth,nobody", ""]),
    // All services are in this process, so there is nobody to talk to.
    ("auth_url", &["http://auth:8081", "auth", ""]),
    ("events_url", &["http://events:8081"]),
    ("account_url", &["http://account:8081"]),
    ("book_url", &["http://book:8081"]),
    ("internal_listen", &["127.0.0.1:0", "nowhere", ""]),
    ("signing_key_file", &["key.pem"]),
    ("trusted_keys", &["trusted"]),
    ("listen", &["nowhere", "127.0.0.1", "127.0.0.1:65536", ""]),
    (
        "database",
        &[
            "eventbooker.db",
            "sqlite:",
            "mysql://localhost/x",
            "",
            "postgres:///x",
            "postgres://a@b/c?sslmode=maybe",
        ],
    ),
    ("database_password_file", &["/no/such/file"]),
    ("database_connections", &["0", "1001", "-1", "many"]),
    ("lanes", &["0", "2", "65", "-1", "many"]),
    ("demo", &["maybe", "2"]),
    ("demo_anywhere", &["maybe"]),
    (
        "public_origin",
        &["tickets.example", "https://tickets.example/path", "https://", "ftp://tickets.example"],
    ),
    ("trusted_proxies", &["10.0.0.1,nowhere", "10.0.0.0/8"]),
    ("log", &["eventbooker=loud", "a=b=c"]),
    ("log_json", &["maybe"]),
    ("otlp_endpoint", &["", "127.0.0.1:4318", "https://collector:4318", "http://", "http://a b"]),
    ("seats_per_booking_max", &["0", "10001", "-1", "1.5", "many", "4294967296"]),
    ("holds_per_user_max", &["-1", "1.5", "many", "4294967296"]),
    ("held_seats_per_user_max", &["-1", "1.5", "many", "4294967296"]),
    ("failed_sign_ins_per_login", &["0", "1000001", "-1", "many"]),
    ("failed_sign_ins_per_address", &["0", "1000001", "-1", "many"]),
    ("registrations_per_address", &["0", "1000001", "-1", "many"]),
    ("remembered_refusals_per_user", &["0", "1000001", "-1", "many"]),
    ("hashes_at_once_max", &["0", "1025", "-1", "many"]),
    ("session_hours", &["0", "8785", "-1", "many"]),
    ("idempotency_hours", &["0", "23", "8785", "-1", "many"]),
    ("memory_days", &["0", "6", "367", "-1", "many"]),
    ("recount_hours", &["8785", "-1", "many"]),
    ("inbox_commands_max", &["0", "1000001", "-1", "many"]),
    ("connections_max", &["0", "1000001", "-1", "many"]),
    ("body_bytes_max", &["0", "1023", "16777217", "-1", "many"]),
    ("header_timeout_s", &["0", "3601", "-1", "many"]),
    ("idle_timeout_s", &["0", "3601", "-1", "many"]),
    ("request_timeout_s", &["0", "3601", "-1", "many"]),
];

fn installed() -> Installation {
    Installation::new(env!("CARGO_BIN_EXE_eventbooker"))
}

fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

fn variable(key: &str) -> String {
    format!("EVENTBOOKER_{}", key.to_uppercase())
}

/// Numbers stand as they are in TOML, everything else between quotes.
fn toml(key: &str, value: &str) -> String {
    let bare = value.parse::<f64>().is_ok();
    if bare { format!("{key} = {value}\n") } else { format!("{key} = {value:?}\n") }
}

/// Runs `serve` with these. What isn't given is good for a test.
fn serve(installation: &Installation, flags: &[&str], environment: &[(&str, &str)]) -> Ran {
    let is_given = |key: &str| {
        flags.iter().any(|given| given.starts_with(&flag(key)))
            || environment.iter().any(|(given, _)| *given == variable(key))
            || flags.contains(&"--config")
    };
    let mut arguments = vec!["serve"];
    if !is_given("listen") {
        arguments.extend(["--listen", "127.0.0.1:0"]);
    }
    arguments.extend(flags);
    installation.run_with(&arguments, "", environment)
}

/// Fails unless the program said no, named the key, and began nothing.
fn assert_refused(installation: &Installation, ran: &Ran, key: &str, what: &str) {
    assert!(matches!(ran.code, Some(1..)), "{what}: {ran:?}");
    let named = [key.to_owned(), flag(key), variable(key)];
    assert!(named.iter().any(|name| ran.stderr.contains(name)), "{what}: {ran:?}");
    assert!(!ran.stderr.contains("listening on"), "{what}: {ran:?}");
    assert!(!ran.stderr.contains("panicked"), "{what}: {ran:?}");
    assert!(!installation.database().file().exists(), "{what}: {ran:?}");
}

#[test]
fn the_table_knows_every_setting() {
    let help = installed().run(&["serve", "--help"]).stdout;
    let flags = help.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
    let mut keys: Vec<String> = flags
        .map(|line| line.split([' ', '[', '=']).next().unwrap_or_default().replace('-', "_"))
        .filter(|key| !matches!(&**key, "config" | "help" | "version"))
        .collect();
    let mut known: Vec<&str> = BAD.iter().map(|(key, _)| *key).collect();
    keys.sort_unstable();
    known.sort_unstable();
    assert_eq!(keys, known);
}

#[test]
fn a_bad_flag_is_an_error_that_names_it() {
    let installation = installed();
    for (key, values) in BAD {
        for value in *values {
            let given = format!("{}={value}", flag(key));
            let ran = serve(&installation, &[&given], &[]);
            assert_refused(&installation, &ran, key, &given);
        }
    }
    let ran = serve(&installation, &["--seats", "5"], &[]);
    assert_refused(&installation, &ran, "seats", "an unknown flag");
}

/// Each of the services alone, with all that it needs but one thing, or with one that is wrong.
#[test]
fn a_service_that_runs_apart_says_what_it_lacks() {
    let installation = installed();
    let all = [
        ("services", "book"),
        ("auth_url", "http://127.0.0.1:1"),
        ("events_url", "http://127.0.0.1:1"),
        ("account_url", "http://127.0.0.1:1"),
        ("internal_listen", "127.0.0.1:0"),
        ("signing_key_file", "key.pem"),
        ("trusted_keys", "trusted"),
    ];
    let given = |key: &str, value: &str| format!("{}={value}", flag(key));
    for (missing, _) in &all[1..] {
        let rest = all.iter().filter(|(key, _)| key != missing);
        let flags: Vec<String> = rest.map(|(key, value)| given(key, value)).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        assert_refused(&installation, &serve(&installation, &flags, &[]), missing, missing);
    }
    for (key, value) in [
        ("auth_url", "auth:8081"),
        ("events_url", "https://events:8081"),
        ("account_url", "http://account:8081/internal"),
        ("book_url", "http://127.0.0.1:1"),
    ] {
        let rest = all.iter().filter(|(other, _)| *other != key);
        let flags: Vec<String> = rest.map(|(key, value)| given(key, value)).collect();
        let wrong = given(key, value);
        let flags: Vec<&str> = flags.iter().map(String::as_str).chain([&*wrong]).collect();
        assert_refused(&installation, &serve(&installation, &flags, &[]), key, &wrong);
    }
    // With all of it, it looks for the keys.
    let flags: Vec<String> = all.iter().map(|(key, value)| given(key, value)).collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let ran = serve(&installation, &flags, &[]);
    assert!(ran.stderr.contains("key.pem: No such file"), "{ran:?}");
}

#[test]
fn a_bad_variable_is_an_error_that_names_its_key() {
    let installation = installed();
    for (key, values) in BAD {
        for value in *values {
            let ran = serve(&installation, &[], &[(&variable(key), value)]);
            assert_refused(&installation, &ran, key, &format!("{}={value}", variable(key)));
        }
    }
}

#[test]
fn a_variable_that_is_no_setting_is_an_error_that_names_what_may_be_meant() {
    let installation = installed();
    for (mistyped, near, far) in [
        ("EVENTBOOKER_LISTN", "EVENTBOOKER_LISTEN", Some("EVENTBOOKER_DATABASE")),
        ("EVENTBOOKER_SEATS", "EVENTBOOKER_SEATS_PER_BOOKING_MAX", Some("EVENTBOOKER_LISTEN")),
        ("EVENTBOOKER_MAX_CONNECTIONS", "EVENTBOOKER_CONNECTIONS_MAX", Some("EVENTBOOKER_DEMO")),
        ("eventbooker_databse", "EVENTBOOKER_DATABASE", Some("EVENTBOOKER_LISTEN")),
        ("EVENTBOOKER_CONFIGURATION", "EVENTBOOKER_CONFIG", Some("EVENTBOOKER_LISTEN")),
        // Nothing is near, so all are told.
        ("EVENTBOOKER_PORT", "EVENTBOOKER_LISTEN", None),
        ("EVENTBOOKER_", "EVENTBOOKER_LISTEN", None),
    ] {
        let ran = serve(&installation, &[], &[(mistyped, "1")]);
        assert_refused(&installation, &ran, &format!("{mistyped}: "), mistyped);
        assert!(ran.stderr.contains(near), "{ran:?}");
        assert!(far.is_none_or(|far| !ran.stderr.contains(far)), "{ran:?}");
    }
    let two = [("EVENTBOOKER_LISTN", "1"), ("EVENTBOOKER_SEATS", "1")];
    let ran = serve(&installation, &[], &two);
    for (mistyped, _) in two {
        assert_refused(&installation, &ran, mistyped, "both are told");
    }
    for (command, code) in [(["user", "list"].as_slice(), 1), (&["migrate"], 1), (&["check"], 2)] {
        let ran = installation.run_with(command, "", &two);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.stderr.contains("EVENTBOOKER_LISTEN"), "{ran:?}");
    }
}

#[test]
fn a_variable_of_somebody_else_is_nobodys_mistake() {
    let foreign = [
        ("EVENTBOOKER_TEST_THREADS", "2"),
        ("EVENTBOOKERS", "2"),
        ("MY_EVENTBOOKER_LISTN", "2"),
        // What an orchestrator sets for its services `eventbooker` and `eventbooker-pages`.
        ("EVENTBOOKER_SERVICE_HOST", "10.0.0.1"),
        ("EVENTBOOKER_SERVICE_PORT", "80"),
        ("EVENTBOOKER_SERVICE_PORT_HTTP", "80"),
        ("EVENTBOOKER_PORT", "tcp://10.0.0.1:80"),
        ("EVENTBOOKER_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("EVENTBOOKER_PAGES_SERVICE_HOST", "10.0.0.2"),
        ("EVENTBOOKER_PAGES_PORT", "tcp://10.0.0.2:80"),
    ];
    let ran = installed().run_with(&["migrate"], "", &foreign);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_bad_line_in_the_file_is_an_error_that_names_its_key() {
    let installation = installed();
    let file = installation.directory().join("bad.toml");
    let refuse = |key: &str, text: &str| {
        let listen = if key == "listen" { "" } else { "listen = \"127.0.0.1:0\"\n" };
        fs::write(&file, format!("{listen}{text}")).expect("a file");
        let ran = serve(&installation, &["--config", "bad.toml"], &[]);
        assert_refused(&installation, &ran, key, text);
    };
    for (key, values) in BAD {
        for value in *values {
            refuse(key, &toml(key, value));
        }
        refuse(key, &format!("{key} = {{ a = 1 }}\n"));
    }
    refuse("trusted_proxies", "trusted_proxies = [\"10.0.0.1\", \"nowhere\"]\n");
    refuse("seats", "seats = 5\n");
    refuse("listen", "listen = \n");
    for (flags, environment) in [
        (vec!["--config", "missing.toml"], vec![]),
        (vec![], vec![("EVENTBOOKER_CONFIG", "missing.toml")]),
    ] {
        let ran = serve(&installation, &flags, &environment);
        assert_refused(&installation, &ran, "config", "a file that isn't there");
        assert!(ran.stderr.contains("missing.toml"), "{ran:?}");
    }
}

#[test]
fn a_flag_wins_over_a_variable_and_a_variable_over_the_file() {
    let installation = Installation::with_users(env!("CARGO_BIN_EXE_eventbooker"));
    let file = installation.directory().join("good.toml");
    fs::write(&file, "seats_per_booking_max = 2\ntrusted_proxies = [\"10.0.0.1\", \"::1\"]\n")
        .expect("a file");
    let of_file = ["--config", "good.toml"];
    let of_flag = ["--config", "good.toml", "--seats-per-booking-max", "4"];
    let variable = [("EVENTBOOKER_SEATS_PER_BOOKING_MAX", "3")];
    let by_variable =
        [("EVENTBOOKER_CONFIG", "good.toml"), ("EVENTBOOKER_SEATS_PER_BOOKING_MAX", "3")];
    for (flags, environment, max) in [
        (&of_file[..], &[][..], 2),
        (&of_file, &variable, 3),
        (&[], &by_variable, 3),
        (&of_flag, &variable, 4),
        (&[], &[], 100),
    ] {
        let server = installation.serve_with(flags, environment);
        let event = server.client_of("admin").create_event(1000, 0, 30);
        let alice = server.client_of("alice");
        assert_eq!(alice.book(event, max).status, 201, "{flags:?} {environment:?}");
        let problem = alice.book(event, max + 1).problem(422, "validation-failed");
        let detail = problem["errors"][0]["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(&max.to_string()), "{problem}");
        server.terminate();
    }
}

#[test]
fn other_commands_take_the_servers_settings() {
    let installation = installed();
    let file = installation.directory().join("all.toml");
    fs::write(&file, "database = \"sqlite:other.db\"\nlisten = \"127.0.0.1:0\"\ndemo = false\n")
        .expect("a file");
    let other = installation.directory().join("other.db");
    assert_eq!(installation.run(&["migrate", "--config", "all.toml"]).code, Some(0));
    assert!(other.exists() && !installation.database().file().exists());
    let environment = [("EVENTBOOKER_DATABASE", "sqlite:third.db")];
    let ran = installation.run_with(&["migrate", "--config", "all.toml"], "", &environment);
    assert!(ran.stdout.contains("sqlite:third.db"), "{ran:?}");
    for command in [["migrate"].as_slice(), &["check"], &["user", "list"], &["event", "list"]] {
        let arguments = [command, &["--database", "mysql://localhost"]].concat();
        let ran = installation.run(&arguments);
        assert_ne!(ran.code, Some(0));
        assert!(ran.stderr.contains("database"), "{ran:?}");
    }
}

#[test]
fn a_demo_listens_on_loopback_only() {
    let installation = installed();
    for (flags, environment) in [
        (&["--demo", "--listen", "0.0.0.0:0"][..], &[][..]),
        (&["--demo", "--listen", "[::]:0"], &[]),
        (&["--demo", "--listen", "192.0.2.1:0"], &[]),
        (&["--listen", "0.0.0.0:0"], &[("EVENTBOOKER_DEMO", "true")]),
        (&["--demo"], &[("EVENTBOOKER_LISTEN", "0.0.0.0:0")]),
        (&["--demo", "--demo-anywhere=false", "--listen", "0.0.0.0:0"], &[]),
    ] {
        let ran = serve(&installation, flags, environment);
        assert_refused(&installation, &ran, "listen", &format!("{flags:?} {environment:?}"));
        assert!(ran.stderr.contains("--demo-anywhere"), "{ran:?}");
    }
    let anywhere = ["--demo", "--demo-anywhere", "--listen", "0.0.0.0:0"];
    let server = installation.serve(&anywhere);
    assert!(server.base().starts_with("http://0.0.0.0:"), "{}", server.base());
    server.terminate();
}

#[test]
fn a_demo_has_something_to_look_at_and_something_to_pay_with() {
    let installation = installed();
    let server = installation.serve(&["--demo"]);
    let user = server.client().signed_in("user", "password");
    assert_eq!(user.get("/events/get").json(), json!([]), "until somebody looks at the list");
    let events = user.get("/events").json();
    let events = events.as_array().expect("a list");
    assert!(events.len() >= 3, "{events:?}");
    let find = |found: &dyn Fn(&Value) -> bool| {
        let event = events.iter().find(|event| found(event)).expect("there is such an event");
        event["id"].as_i64().expect("its number")
    };
    assert_eq!(user.book(find(&|event| event["price"] == 0), 1).status, 201);

    let dear = find(&|event| event["price"] != 0);
    let price = user.event(dear)["price"].as_i64().expect("a number");
    assert_eq!(user.balance(), 0, "the seats that are taken are paid for, and no more");
    assert_eq!(user.deposit(price).json(), json!({"balance": price}));
    assert_eq!(user.purchase(dear, 1).json()["status"], 4);
    assert_eq!(user.balance(), 0);
    let admin = server.client().signed_in("admin", "password");
    assert_eq!(admin.get("/auth").json()["role"], "admin");
    server.terminate();
    installation.check();
}

/// Its seats are bought in pieces if need be.
#[test]
fn a_demo_keeps_to_its_own_limits() {
    let installation = installed();
    let server = installation.serve(&[
        "--demo",
        "--seats-per-booking-max",
        "30",
        "--held-seats-per-user-max",
        "10",
    ]);
    let user = server.client().signed_in("user", "password");
    let events = user.get("/events").json();
    let taken = |event: &Value| {
        event["capacity"].as_i64().expect("a number") - event["freeSeats"].as_i64().expect("one")
    };
    let taken: Vec<i64> = events.as_array().expect("a list").iter().map(taken).collect();
    assert_eq!((taken.len(), taken.iter().sum::<i64>()), (4, 219), "{events}");
    assert_eq!(user.balance(), 0);
    server.terminate();
    installation.check();
}

/// Nobody's own database is filled, and nobody's money is made there.
#[test]
fn a_demo_of_somebody_elses_database_makes_nothing() {
    let installation = installed();
    installation.add_user("user", "user");
    installation.add_user("boss", "admin");
    let server = installation.serve(&["--demo"]);
    let user = server.client_of("user");
    assert_eq!(user.get("/events").json(), json!([]));
    assert_eq!(user.balance(), 0);
    server.terminate();
    let written = "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM postings)
                     + (SELECT count(*) FROM users)";
    assert_eq!(installation.database().number(written), 2);
}

/// A demo stays one when others have registered, and isn't one any more when its users can't be
/// everybody's.
#[test]
fn a_demo_that_starts_again_still_lets_newcomers_in() {
    let installation = installed();
    let offers = |flags: &[&str], newcomer: &str| {
        let server = installation.serve(flags);
        let page = server.client().ask("GET", "/sign-in").header("Accept", "text/html").answer();
        let profile = json!({"login": newcomer, "password": "long enough", "email": "",
                             "first_name": "", "last_name": ""});
        assert_eq!(server.client().post("/register", &profile).status, 200);
        server.terminate();
        let html = String::from_utf8(page.body).expect("text");
        html.matches("Sign in as ").count()
    };
    assert_eq!(offers(&["--demo"], "ann"), 2);
    assert_eq!(offers(&["--demo"], "ben"), 2, "somebody has registered");
    assert_eq!(offers(&[], "cid"), 0);
    let sessions = "SELECT count(*) FROM sessions";
    assert_eq!(installation.database().number(sessions), 0, "nobody stays signed in");
    let changed = installation.run_with(&["user", "password", "user"], "something else\n", &[]);
    assert_eq!(changed.code, Some(0), "{changed:?}");
    assert_eq!(offers(&["--demo"], "dan"), 0);
}

/// However many look at once, and even if those who were first don't wait for an answer.
#[test]
fn a_demo_makes_its_events_once() {
    let installation = installed();
    let server = installation.serve(&["--demo"]);
    let address = server.base().strip_prefix("http://").expect("it is plain HTTP");
    for _ in 0..20 {
        let mut hasty = TcpStream::connect(address).expect("a connection");
        hasty.write_all(b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n").expect("it is taken");
    }
    thread::scope(|scope| {
        for client in (0..8).map(|_| server.client()) {
            scope.spawn(move || assert_ne!(client.get("/events").ids(), [0_i64; 0]));
        }
    });
    server.terminate();

    // By now everything that was begun has ended.
    let server = installation.serve(&["--demo"]);
    let events = server.client().get("/events").json();
    let names = events.as_array().expect("a list").iter().map(|event| event["name"].to_string());
    let names: Vec<String> = names.collect();
    let different: BTreeSet<&String> = names.iter().collect();
    assert!(names.len() >= 3 && names.len() == different.len(), "{names:?}");
    server.terminate();
    installation.check();
}
