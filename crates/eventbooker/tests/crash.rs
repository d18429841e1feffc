//! `kill -9` at random moments under load: what was answered is kept, what was not answered has
//! happened once or never, and holds whose deadline passed meanwhile are gone at once.
//!
//! The seed is printed; `CRASH_SEED=…` runs the same choices again, as far as the machine's own
//! timing lets it.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that can't go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use eventbooker_testkit::SeededEntropy;
use eventbooker_testkit::client::{Answer, Client};
use eventbooker_testkit::database::Database;
use eventbooker_testkit::server::{Installation, Server, UNLIMITED};
use serde_json::json;

const ROUNDS: usize = 50;
const CLIENTS: [&str; 4] = ["alice", "bob", "carol", "dave"];
/// From the first 200 of `/ready` until holds that ended while the service was down are gone.
const GONE_MAX: Duration = Duration::from_secs(1);

/// States of a booking, as the store writes them.
const PENDING: i64 = 2;
const CONFIRMED: i64 = 4;
const CANCELLED: i64 = -1;

/// What a client wants.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Book { event: i64, seats: i64 },
    Confirm { booking: i64 },
    Cancel { booking: i64 },
}

/// A request, with its key if it has one.
#[derive(Debug, Clone)]
struct Request {
    deed: Deed,
    key: Option<String>,
}

impl Request {
    fn send(&self, client: &Client) -> Result<Answer, ()> {
        let (path, body) = match self.deed {
            Deed::Book { event, seats } => {
                (format!("/events/{event}/book"), json!({"seats": seats}).to_string())
            }
            Deed::Confirm { booking } => (format!("/events/{booking}/confirm"), String::new()),
            Deed::Cancel { booking } => (format!("/bookings/{booking}/cancel"), String::new()),
        };
        let mut ask = client.ask("POST", &path).body(body.as_bytes());
        if let Some(key) = &self.key {
            ask = ask.key(key);
        }
        ask.send().map_err(drop)
    }
}

/// A client and what it knows for certain about its bookings.
struct Attendee {
    user: i64,
    session: String,
    entropy: SeededEntropy,
    keys: usize,
    /// The state of each booking that the service has answered for.
    bookings: BTreeMap<i64, i64>,
    /// What was on its way when the service died.
    unanswered: Option<Request>,
    answered: usize,
    repeated: usize,
}

impl Attendee {
    fn new(server: &Server, login: &str, seed: u64) -> Self {
        let client = server.client_of(login);
        Self {
            user: client.get("/auth").id(),
            session: client.session().unwrap().to_owned(),
            entropy: SeededEntropy::new(seed),
            keys: 0,
            bookings: BTreeMap::new(),
            unanswered: None,
            answered: 0,
            repeated: 0,
        }
    }

    /// Sends requests until the service is gone.
    fn work(&mut self, client: &Client, events: &[i64]) {
        while self.unanswered.is_none() {
            let request = self.next_request(events);
            match request.send(client) {
                Ok(answer) => self.learn(&request, &answer),
                Err(()) => self.unanswered = Some(request),
            }
        }
    }

    fn next_request(&mut self, events: &[i64]) -> Request {
        let in_state = |state| {
            let mut of_state = self.bookings.iter().filter(|(_, known)| **known == state);
            let count = of_state.clone().count();
            if count == 0 {
                None
            } else {
                of_state.nth(self.entropy.below(count)).map(|(id, _)| *id)
            }
        };
        let chance = self.entropy.below(10);
        let deed = match chance {
            0..3 => in_state(PENDING).map(|booking| Deed::Confirm { booking }),
            3 => in_state(PENDING).map(|booking| Deed::Cancel { booking }),
            4 => in_state(CONFIRMED).map(|booking| Deed::Cancel { booking }),
            _ => None,
        };
        let event = events[self.entropy.below(events.len())];
        let seats = if self.entropy.below(2) == 0 { 1 } else { 3 };
        let has_key = self.entropy.below(2) == 0;
        self.keys += 1;
        Request {
            deed: deed.unwrap_or(Deed::Book { event, seats }),
            key: has_key.then(|| format!("key-{}", self.keys)),
        }
    }

    /// Takes note of an answer.
    fn learn(&mut self, request: &Request, answer: &Answer) {
        self.answered += 1;
        match (request.deed, answer.status) {
            (Deed::Book { .. }, 201) => {
                let known = self.bookings.insert(answer.id(), PENDING);
                assert_eq!(known, None, "a number was given out twice: {answer:?}");
            }
            (Deed::Confirm { booking }, 200) => {
                assert_eq!(self.bookings.insert(booking, CONFIRMED), Some(PENDING));
            }
            (Deed::Cancel { booking }, 200) => {
                self.bookings.insert(booking, CANCELLED);
            }
            // The small event has no seats left.
            (Deed::Book { .. }, 409) => {
                answer.any_problem();
            }
            // It expired while the service was down, and the confirmation had not happened.
            (Deed::Confirm { booking } | Deed::Cancel { booking }, 410) => {
                assert!(!self.bookings.contains_key(&booking), "{answer:?}");
            }
            _ => panic!("{request:?}: {answer:?}"),
        }
    }

    /// Finds out what became of the request that got no answer.
    fn settle(&mut self, client: &Client, rows: &BTreeMap<i64, i64>) {
        let Some(request) = self.unanswered.take() else { return };
        if request.key.is_some() {
            let answer = request.send(client).expect("the service is back");
            let again = request.send(client).expect("the service is back");
            assert_eq!(again.header("idempotent-replayed"), Some("true"), "{again:?}");
            assert_eq!((answer.status, &answer.body), (again.status, &again.body));
            self.repeated += usize::from(answer.header("idempotent-replayed").is_some());
            self.learn(&request, &answer);
            return;
        }
        // Without a key it can only be looked at.
        match request.deed {
            Deed::Book { .. } => {
                let new: Vec<_> =
                    rows.iter().filter(|(id, _)| !self.bookings.contains_key(id)).collect();
                assert!(new.len() <= 1, "one request made {new:?}");
                self.bookings.extend(new);
            }
            Deed::Confirm { booking } => self.note_if(rows, booking, CONFIRMED),
            Deed::Cancel { booking } => self.note_if(rows, booking, CANCELLED),
        }
    }

    /// Takes note that a booking has moved, if it has.
    fn note_if(&mut self, rows: &BTreeMap<i64, i64>, booking: i64, moved: i64) {
        if rows.get(&booking) == Some(&moved) {
            self.bookings.insert(booking, moved);
        }
    }

    /// The rows of this client's bookings.
    fn rows(&self, database: &Database) -> BTreeMap<i64, i64> {
        let column = |column| {
            let query = format!("SELECT {column} FROM bookings WHERE user_id = ?1 ORDER BY id");
            database.numbers(&query, [self.user])
        };
        column("id").into_iter().zip(column("state")).collect()
    }
}

/// Lets the deadlines of some holds pass while the service is down. Returns which.
fn let_time_pass(database: &Database, entropy: &SeededEntropy) -> BTreeSet<i64> {
    let mut passed = BTreeSet::new();
    for id in database.numbers("SELECT id FROM bookings WHERE state = 2", []) {
        if entropy.below(3) == 0 {
            let past = "UPDATE bookings SET expires_at = created_at + 1 WHERE id = ?1";
            assert_eq!(database.change(past, [id]), 1);
            passed.insert(id);
        }
    }
    passed
}

/// Waits until no row of these holds is left.
fn assert_gone_in_time(database: &Database, passed: &BTreeSet<i64>) -> Duration {
    let ready = Instant::now();
    loop {
        let rows =
            database.numbers("SELECT id FROM bookings WHERE expires_at = created_at + 1", []);
        let left: Vec<_> = rows.iter().filter(|id| passed.contains(id)).collect();
        let took = ready.elapsed();
        if left.is_empty() {
            return took;
        }
        assert!(took < GONE_MAX, "{} holds outlive their deadline", left.len());
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_was_answered_survives_being_killed() {
    let seed = std::env::var("CRASH_SEED").ok().map_or_else(
        || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
        |seed| seed.parse().expect("a number"),
    );
    println!("CRASH_SEED={seed}");
    let entropy = SeededEntropy::new(seed);
    let installation = Installation::with_users(env!("CARGO_BIN_EXE_eventbooker"));
    installation.add_user("carol", "user");
    installation.add_user("dave", "user");
    let database = installation.database();

    let server = installation.serve(&UNLIMITED);
    let admin = server.client_of("admin");
    let events = [30, 100_000, 100_000].map(|seats| admin.create_event(seats, 0, 600));
    let mut attendees = CLIENTS.map(|login| Attendee::new(&server, login, entropy.draw()));
    server.terminate();

    let (mut expired, mut slowest) = (0, Duration::ZERO);
    for round in 0..ROUNDS {
        let server = installation.serve(&UNLIMITED);
        let base = server.base().to_owned();
        let clients: Vec<Client> = attendees
            .iter()
            .map(|attendee| Client::new(&base).with_session(Some(&attendee.session)))
            .collect();
        thread::scope(|scope| {
            for (attendee, client) in attendees.iter_mut().zip(&clients) {
                scope.spawn(|| attendee.work(client, &events));
            }
            thread::sleep(Duration::from_millis(20 + entropy.below(250) as u64));
            server.kill();
        });

        // In half of the rounds nobody but the service itself opens what the crash left behind.
        let passed =
            if round % 2 == 0 { let_time_pass(&database, &entropy) } else { BTreeSet::new() };
        expired += passed.len();
        for attendee in &mut attendees {
            attendee.bookings.retain(|id, _| !passed.contains(id));
        }

        let server = installation.serve(&UNLIMITED);
        slowest = slowest.max(assert_gone_in_time(&database, &passed));
        for attendee in &mut attendees {
            let client = server.client().with_session(Some(&attendee.session));
            let rows = attendee.rows(&database);
            attendee.settle(&client, &rows);
            // A booking of which only the answer was lost may have expired since; the answer, asked
            // for again, still tells of it.
            attendee.bookings.retain(|id, _| !passed.contains(id));
            // Everything that was answered is there as it was answered, and nothing else is.
            assert_eq!(attendee.rows(&database), attendee.bookings, "round {round}");
        }
        if let Some(id) = passed.first() {
            let anybody = server.client().with_session(Some(&attendees[0].session));
            anybody.confirm(events[0], *id).problem(410, "hold-expired");
        }
        installation.check();
        server.kill();
    }

    let answered: usize = attendees.iter().map(|attendee| attendee.answered).sum();
    let repeated: usize = attendees.iter().map(|attendee| attendee.repeated).sum();
    println!("{answered} answers, {repeated} replays, {expired} expired, slowest {slowest:?}");
    assert!(answered > ROUNDS, "the service was killed before it did anything");
    assert!(expired > ROUNDS / 2, "hardly a deadline passed");
}
