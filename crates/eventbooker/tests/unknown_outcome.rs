//! The connection to PostgreSQL breaks in the middle of a commit: with a key a command takes effect
//! once, whatever had become of the commit; without one its client is told that nobody knows.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that can't go on has failed")]

use std::collections::BTreeMap;

use eventbooker_testkit::client::{Answer, Client};
use eventbooker_testkit::database::Database;
use eventbooker_testkit::server::{Installation, Server, UNLIMITED};
use eventbooker_testkit::wire::{Moment, Wire};
use serde_json::{Value, json};

const PRICE: i64 = 40;

/// Everything that a command can leave behind.
const EFFECTS: &str = "
    SELECT count(*) FROM journal UNION ALL SELECT count(*) FROM slots UNION ALL
    SELECT count(*) FROM bookings UNION ALL SELECT count(*) FROM postings UNION ALL
    SELECT sum(abs(amount))::bigint FROM postings UNION ALL SELECT sum(occupied)::bigint FROM tallies
    UNION ALL SELECT count(*) FROM events UNION ALL SELECT count(*) FROM users";

/// What a client can ask for that changes something.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Book,
    Purchase,
    Confirm,
    Cancel,
    Deposit,
    CreateEvent,
    Register,
}

const DEEDS: [Deed; 7] = [
    Deed::Book,
    Deed::Purchase,
    Deed::Confirm,
    Deed::Cancel,
    Deed::Deposit,
    Deed::CreateEvent,
    Deed::Register,
];

/// A request, ready to be sent more than once.
struct Request {
    client: Client,
    method: &'static str,
    path: String,
    body: Value,
    key: Option<String>,
}

impl Request {
    fn send(&self) -> Answer {
        let ask = self.client.ask(self.method, &self.path).json(&self.body);
        match &self.key {
            Some(key) => ask.key(key).answer(),
            None => ask.answer(),
        }
    }
}

/// A service at the end of a wire.
struct Scene {
    installation: Installation,
    wire: Wire,
    server: Server,
    admin: Client,
    ann: Client,
    ann_id: i64,
    event: i64,
    requests: usize,
}

impl Scene {
    fn new() -> Self {
        let database = Database::postgres();
        let wire = Wire::to(database.port());
        let installation = Installation::on(env!("CARGO_BIN_EXE_eventbooker"), database);
        installation.add_user("admin", "admin");
        let url = installation.database().url_through(wire.port());
        let server = installation.serve(&[&UNLIMITED[..], &["--database", &url]].concat());
        let admin = server.client_of("admin");
        let ann = server.client().registered("ann");
        let ann_id = ann.get("/auth").id();
        assert_eq!(admin.deposit_for(ann_id, 1_000_000).status, 200);
        let event = admin.create_event(1_000_000, PRICE, 600);
        Self { installation, wire, server, admin, ann, ann_id, event, requests: 0 }
    }

    /// A request that nobody has made, and that will succeed.
    fn request(&mut self, deed: Deed, has_key: bool) -> Request {
        self.requests += 1;
        let (event, number) = (self.event, self.requests);
        let held = || self.ann.book(event, 1).id();
        let (ann, admin) = (&self.ann, &self.admin);
        let (client, method, path, body) = match deed {
            Deed::Book => (ann, "POST", format!("/events/{event}/book"), json!({"seats": 1})),
            Deed::Purchase => (ann, "POST", "/book/create".to_owned(), json!({"event_id": event})),
            Deed::Confirm => {
                let booking = json!({"bookingId": held()});
                (ann, "POST", format!("/events/{event}/confirm"), booking)
            }
            Deed::Cancel => {
                let paid = held();
                assert_eq!(ann.confirm(event, paid).status, 200);
                (ann, "POST", format!("/bookings/{paid}/cancel"), json!({}))
            }
            Deed::Deposit => {
                let deposit = json!({"delta": 7, "user_id": self.ann_id});
                (admin, "PUT", "/account/deposit".to_owned(), deposit)
            }
            Deed::CreateEvent => {
                let event = json!({"name": "Red run", "date": "2090-05-01T18:00:00Z",
                                   "capacity": 9, "paymentTTL": 30});
                (admin, "POST", "/events".to_owned(), event)
            }
            Deed::Register => {
                let user = json!({"login": format!("user-{number}"), "email": "", "first_name": "",
                                  "last_name": "", "password": "correct horse battery"});
                (admin, "POST", "/register".to_owned(), user)
            }
        };
        let client =
            if matches!(deed, Deed::Register) { self.server.client() } else { client.clone() };
        Request { client, method, path, body, key: has_key.then(|| format!("key-{number}")) }
    }

    fn effects(&self) -> Vec<i64> {
        self.installation.database().numbers(EFFECTS)
    }

    /// Does something, and tells what that has left behind.
    fn effects_of<T>(&self, act: impl FnOnce() -> T) -> (T, Vec<i64>) {
        let before = self.effects();
        let done = act();
        let after = self.effects();
        (done, after.iter().zip(before).map(|(after, before)| after - before).collect())
    }

    /// What a request leaves behind where nothing is in its way.
    fn usual(&mut self, deed: Deed, has_key: bool) -> (u16, Vec<i64>) {
        let request = self.request(deed, has_key);
        let (answer, effects) = self.effects_of(|| request.send());
        assert!(matches!(answer.status, 200 | 201), "{deed:?}: {answer:?}");
        assert!(effects.iter().any(|effect| *effect != 0), "{deed:?} leaves nothing behind");
        (answer.status, effects)
    }

    fn finish(self) {
        self.server.terminate();
        self.installation.check();
    }
}

fn is_replay(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == Some("true")
}

/// The service comes back to the server at once, and finds out.
#[test]
fn a_commit_whose_outcome_is_unknown_is_resolved_by_its_key() {
    let mut scene = Scene::new();
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for deed in DEEDS {
        let (status, usual) = scene.usual(deed, true);
        for moment in [Moment::BeforeCommit, Moment::AfterCommit] {
            let request = scene.request(deed, true);
            let breaks = scene.wire.breaks();
            scene.wire.break_at(moment);
            let (answer, effects) = scene.effects_of(|| request.send());
            assert_eq!(scene.wire.breaks(), breaks + 1, "{deed:?} {moment:?}");
            assert_eq!(answer.status, status, "{deed:?} {moment:?}: {answer:?}");
            assert_eq!(effects, usual, "{deed:?} {moment:?}");
            assert_eq!(is_replay(&answer), moment == Moment::AfterCommit, "{deed:?}: {answer:?}");
            let outcome = if is_replay(&answer) { "had happened" } else { "had not happened" };
            *outcomes.entry(outcome).or_default() += 1;
            let (again, effects) = scene.effects_of(|| request.send());
            assert_eq!((again.status, &again.body), (status, &answer.body), "{deed:?} {moment:?}");
            assert!(is_replay(&again), "{deed:?} {moment:?}: {again:?}");
            assert!(effects.iter().all(|effect| *effect == 0), "{deed:?}: {effects:?}");
        }
    }
    println!("{outcomes:?}");
    assert_eq!(outcomes["had happened"], DEEDS.len());
    assert_eq!(outcomes["had not happened"], DEEDS.len());
    scene.finish();
}

/// The server stays away. The client is told, and repeats it when the server is back.
#[test]
fn a_client_resolves_by_its_key_what_the_service_cannot() {
    let mut scene = Scene::new();
    for deed in DEEDS {
        let (status, usual) = scene.usual(deed, true);
        for moment in [Moment::BeforeCommit, Moment::AfterCommit] {
            let request = scene.request(deed, true);
            scene.wire.break_for_good_at(moment);
            let (answer, effects) = scene.effects_of(|| {
                let answer = request.send();
                let problem = answer.problem(503, "outcome-unknown");
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.contains("same Idempotency-Key"), "{detail}");
                scene.server.client().get("/ready").problem(503, "store-unavailable");
                request.send().problem(503, "store-unavailable");
                scene.wire.mend();
                request.send()
            });
            assert_eq!(answer.status, status, "{deed:?} {moment:?}: {answer:?}");
            assert_eq!(effects, usual, "{deed:?} {moment:?}");
            assert_eq!(is_replay(&answer), moment == Moment::AfterCommit, "{deed:?}: {answer:?}");
            assert_eq!(scene.server.client().get("/ready").status, 200);
        }
    }
    scene.finish();
}

/// Without a key there is nothing to find it by.
#[test]
fn without_a_key_the_client_is_told_that_nobody_knows() {
    let mut scene = Scene::new();
    for deed in DEEDS {
        let (status, usual) = scene.usual(deed, false);
        for (moment, happened) in [(Moment::BeforeCommit, false), (Moment::AfterCommit, true)] {
            let request = scene.request(deed, false);
            scene.wire.break_at(moment);
            let (answer, effects) = scene.effects_of(|| request.send());
            answer.problem(503, "outcome-unknown");
            let expected = if happened { usual.clone() } else { vec![0; usual.len()] };
            assert_eq!(effects, expected, "{deed:?} {moment:?}");
            // And the next one finds a connection.
            let next = scene.request(deed, false);
            assert_eq!(next.send().status, status, "{deed:?} {moment:?}");
        }
    }
    scene.finish();
}
