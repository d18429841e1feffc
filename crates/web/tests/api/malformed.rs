//! Malformed input for every operation of `/openapi.json`. The description is walked, so that a new
//! operation is covered by being described.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use eventbooker_testkit::Options;
use eventbooker_testkit::client::{Answer, Client};
use eventbooker_web::WebSettings;
use serde_json::Value;

use crate::described::{Fit, Member, Operation, text};
use crate::site::Site;

/// Ids in a path that are no numbers of 64 bits.
const NO_IDS: [&str; 9] = [
    "abc",
    "1.5",
    "1e3",
    "%201",
    "0x1",
    "9223372036854775808",
    "-9223372036854775809",
    "%00",
    "%D9%A3",
];
/// Ids of nothing.
const NOBODYS_IDS: [&str; 4] = ["0", "-1", "-9223372036854775808", "9223372036854775807"];
/// Values for any member of a body; which of them are wrong its schema says.
const VALUES: [&str; 15] = [
    "null",
    "true",
    "-1",
    "0",
    "1.5",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "1e300",
    "\"\"",
    "\"1\"",
    "\"a\\u0000b\"",
    "\"2026-13-01T00:00:00Z\"",
    "[1]",
    "{\"a\":1}",
];
const LARGE_BYTES: usize = 10 << 20;
const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"];

/// A JSON object with good values for all required members but those that `with` names.
fn body(members: &[Member<'_>], with: &[(&str, &str)]) -> String {
    let good = members
        .iter()
        .filter(|member| member.required && with.iter().all(|(name, _)| *name != member.name))
        .map(|member| (member.name.to_owned(), member.good()));
    let with = with.iter().map(|(name, json)| ((*name).to_owned(), (*json).to_owned()));
    let pairs: Vec<String> =
        good.chain(with).map(|(name, json)| format!("{name:?}:{json}")).collect();
    format!("{{{}}}", pairs.join(","))
}

/// Fails unless the answer is the client's fault and names the field. Returns its status.
fn assert_names(answer: &Answer, field: &str, what: &str) -> u16 {
    let problem = answer.any_problem();
    assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
    let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("{what}: {answer:?}"));
    assert!(errors.iter().any(|error| error["field"] == field), "{what}: {answer:?}");
    answer.status
}

/// Fails if the answer blames the service, or is no problem although it isn't an answer either.
fn assert_sound(answer: &Answer, what: &str) {
    assert!(answer.status < 500, "{what}: {answer:?}");
    if answer.status >= 400 {
        answer.any_problem();
    }
}

struct Walk {
    site: Site,
    description: Value,
    event: String,
}

impl Walk {
    fn begin() -> Self {
        // Nothing is to hide behind a 429.
        let settings = WebSettings {
            failed_sign_ins_per_login: 1_000_000,
            failed_sign_ins_per_address: 1_000_000,
            registrations_per_address: 1_000_000,
            ..WebSettings::default()
        };
        let site = Site::with(Options::default(), settings);
        let event = site.client_of("admin").create_event(1000, 0, 30).to_string();
        let description = site.client().get("/openapi.json").json();
        Self { site, description, event }
    }

    /// Calls `each` with every operation and a client that may do everything. Signs in anew for
    /// each, because some operations sign out.
    fn walk(&self, mut each: impl FnMut(&Operation<'_>, &Client)) {
        let operations = Operation::all(&self.description);
        assert!(operations.len() >= 15, "the description is nearly empty");
        for operation in operations {
            each(&operation, &self.site.client_of("admin"));
        }
    }

    /// The same, with only those that take a body.
    fn walk_bodies(
        &self,
        mut each: impl FnMut(&Operation<'_>, &[Member<'_>], &dyn Fn(&[u8]) -> Answer, &str),
    ) {
        let mut found = 0;
        self.walk(|operation, admin| {
            let Some(members) = operation.members() else { return };
            found += 1;
            let path = operation.path_with(&self.event);
            let send = |body: &[u8]| admin.ask(&operation.method, &path).body(body).answer();
            each(operation, &members, &send, &format!("{} {path}", operation.method));
        });
        assert!(found >= 5, "hardly any operation takes a body");
    }

    /// The service works as ever.
    fn end(self) {
        let alice = self.site.client_of("alice");
        let event = self.event.parse().expect("its number");
        let booking = alice.book(event, 1);
        assert_eq!(booking.status, 201);
        assert_eq!(alice.confirm(event, booking.id()).status, 200);
        self.site.finish();
    }
}

#[test]
fn ids_in_paths() {
    let walk = Walk::begin();
    walk.walk(|operation, admin| {
        if operation.parameters("path").is_empty() {
            return;
        }
        for id in NO_IDS {
            let path = operation.path_with(id);
            let answer = admin.ask(&operation.method, &path).body(b"{\"seats\":1}").answer();
            assert_eq!(assert_names(&answer, "id", &path), 400, "{answer:?}");
        }
        for id in NOBODYS_IDS {
            let path = operation.path_with(id);
            let mut ask = admin.ask(&operation.method, &path);
            if let Some(members) = operation.members() {
                ask = ask.body(body(&members, &[]).as_bytes());
            }
            ask.answer().problem(404, "not-found");
        }
        for id in ["", "%FF", "..", "%2F", "{id}"] {
            let path = operation.path_with(id);
            let Ok(answer) = admin.ask(&operation.method, &path).send() else { continue };
            answer.any_problem();
            assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
        }
    });
    walk.end();
}

#[test]
fn parameters_in_queries() {
    let walk = Walk::begin();
    walk.walk(|operation, admin| {
        for (name, schema) in operation.parameters("query") {
            let ask = |value: &str| {
                let path = format!("{}?{name}={value}", operation.path_with(&walk.event));
                (admin.ask(&operation.method, &path).answer(), path)
            };
            let member = Member { name, schema, required: false };
            let bad = if member.is_text() {
                member.edges().iter().map(|text| text.replace('"', "").replace('ü', "x")).collect()
            } else {
                let texts = ["", "abc", "1.5", "1e2", "9223372036854775808", "%FF", "%00"];
                let texts = texts.into_iter().map(str::to_owned);
                texts.chain(member.edges()).collect::<Vec<_>>()
            };
            assert!(!bad.is_empty(), "nothing can be wrong about {name}?");
            for value in bad {
                let (answer, path) = ask(&value);
                assert_eq!(assert_names(&answer, name, &path), 400, "{answer:?}");
            }
            for value in ["%FF", "%00", "%", "%zz", "-1", "0"] {
                let (answer, path) = ask(value);
                assert_sound(&answer, &path);
            }
        }
    });
    walk.end();
}

#[test]
fn members_of_bodies() {
    let walk = Walk::begin();
    walk.walk_bodies(|_, members, send, what| {
        for member in members {
            let edges = member.edges();
            for json in VALUES.iter().copied().chain(edges.iter().map(String::as_str)) {
                let sent = body(members, &[(member.name, json)]);
                let answer = send(sent.as_bytes());
                let what = format!("{what} {sent}");
                match member.fit(json) {
                    Fit::Fits => assert_sound(&answer, &what),
                    Fit::BreaksARule => {
                        assert_eq!(assert_names(&answer, member.name, &what), 422, "{what}");
                    }
                    Fit::Unreadable => {
                        assert_eq!(assert_names(&answer, member.name, &what), 400, "{what}");
                    }
                }
            }
            let twice = body(members, &[(member.name, "1"), (member.name, "1")]);
            send(twice.as_bytes()).problem(400, "malformed-body");
            if member.required && members.len() > 1 {
                let others: Vec<(String, String)> = members
                    .iter()
                    .filter(|other| other.required && other.name != member.name)
                    .map(|other| (other.name.to_owned(), other.good()))
                    .collect();
                let others: Vec<(&str, &str)> =
                    others.iter().map(|(name, json)| (&**name, &**json)).collect();
                let without = body(&[], &others);
                assert_eq!(assert_names(&send(without.as_bytes()), member.name, &without), 400);
            }
        }
        for unknown in ["unknown", "", "ID", "__proto__", &"x".repeat(10_000)] {
            let answer = send(body(members, &[(unknown, "1")]).as_bytes());
            let shown: String = unknown.chars().take(60).collect();
            let shown = if unknown.len() > 60 { format!("{shown}…") } else { shown };
            assert_eq!(assert_names(&answer, &shown, what), 400);
        }
    });
    walk.end();
}

#[test]
fn bodies() {
    let walk = Walk::begin();
    walk.walk_bodies(|operation, members, send, what| {
        let name = members[0].name;
        let deep = "[".repeat(30_000);
        let deep_member = format!("{{{name:?}:{}}}", "{\"a\":".repeat(10_000));
        let not_utf8 = [b"{\"".as_slice(), b"\xff\xfe", b"\":1}"].concat();
        let not_utf8_value = [format!("{{{name:?}:\"").as_bytes(), b"\xc3\x28\"}"].concat();
        let many: Vec<String> = (0..5000).map(|number| format!("\"{number}\":0")).collect();
        let many = format!("{{{}}}", many.join(","));
        let bad: [&[u8]; 17] = [
            b"true",
            b"1",
            b"\"text\"",
            b"[]",
            b"[{}]",
            b"{",
            b"{\"a\"",
            b"{\"a\":1,}",
            b"{} {}",
            b"{'a':1}",
            b"a=1&b=2",
            b"\xef\xbb\xbf{}",
            b"\0",
            &not_utf8,
            &not_utf8_value,
            deep.as_bytes(),
            deep_member.as_bytes(),
        ];
        for body in bad {
            let start = String::from_utf8_lossy(&body[..body.len().min(20)]).into_owned();
            let answer = send(body);
            assert_eq!(answer.status, 400, "{what} {start}: {answer:?}");
            answer.problem(400, "malformed-body");
        }
        send(many.as_bytes()).problem(400, "malformed-body");
        for empty in ["", " ", "\r\n", "null"] {
            let answer = send(empty.as_bytes());
            if operation.may_have_no_body() {
                // Then the id in the path means something else, which isn't there.
                answer.problem(404, "not-found");
            } else {
                answer.problem(400, "malformed-body");
            }
        }
        send(&vec![b' '; LARGE_BYTES]).problem(413, "body-too-large");
        let large_text = body(members, &[(name, &text("x", 10 << 20))]);
        send(large_text.as_bytes()).problem(413, "body-too-large");
    });
    walk.end();
}

#[test]
fn methods_and_kinds_of_bodies() {
    let walk = Walk::begin();
    let admin = walk.site.client_of("admin");
    let paths = walk.description["paths"].as_object().expect("paths");
    for (path, operations) in paths {
        let taken = |method: &str| {
            let method = if method == "HEAD" { "GET" } else { method };
            operations.get(method.to_lowercase()).is_some()
        };
        let path = path.replace("{id}", &walk.event);
        for method in METHODS.into_iter().filter(|method| !taken(method)) {
            let answer = admin.ask(method, &path).answer();
            assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
            let allowed = answer.header("allow").expect("a list of methods");
            assert!(allowed.split(',').any(taken), "{method} {path}: {allowed}");
            if method != "HEAD" {
                answer.problem(405, "method-not-allowed");
            }
        }
    }
    let book = format!("/events/{}/book", walk.event);
    let send = |name, kind| admin.ask("POST", &book).header(name, kind).body(b"{\"seats\":1}");
    for kind in ["application/xml", "multipart/form-data; boundary=x", "text/plain", "nonsense"] {
        send("Content-Type", kind).answer().problem(415, "unsupported-media-type");
    }
    send("Content-Encoding", "gzip").answer().problem(415, "unsupported-media-type");
    for path in [
        "/nothing",
        "/events/1/nothing",
        "/problems/nothing",
        "/problems/%FF",
        "/docs/nothing",
        "/docs/%FF",
        "//",
        "/%FF",
    ] {
        admin.get(path).problem(404, "not-found");
    }
    assert_eq!(admin.get("/docs/").status, 200);
    for path in ["/docs", "/docs/", "/docs/index.html"] {
        admin.ask("POST", path).body(b"").answer().problem(405, "method-not-allowed");
    }
    walk.end();
}

#[test]
fn bodies_where_none_is_expected() {
    let walk = Walk::begin();
    walk.walk(|operation, admin| {
        if operation.method == "GET" {
            return;
        }
        let path = operation.path_with("0");
        let large = admin.ask(&operation.method, &path).body(&vec![0; LARGE_BYTES]).answer();
        large.problem(413, "body-too-large");
        // A client library would not send it.
        let address = admin.base().strip_prefix("http://").expect("it is plain HTTP");
        let mut stream = TcpStream::connect(address).expect("a connection");
        let (method, session) = (&operation.method, admin.session().expect("it is signed in"));
        let badly_framed = format!(
            "{method} {path} HTTP/1.1\r\nhost: a\r\ncookie: session_id={session}\r\n\
             transfer-encoding: chunked\r\nconnection: close\r\n\r\nno size\r\n"
        );
        stream.write_all(badly_framed.as_bytes()).expect("the request is taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{method} {path}: {answer}");
        assert!(answer.contains("/problems/malformed-body"), "{method} {path}: {answer}");
    });
    walk.end();
}
