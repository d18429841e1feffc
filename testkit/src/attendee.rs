//! A client that is alone with its account, and so knows to the last minor unit what has to be
//! there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::SeededEntropy;
use crate::client::{Answer, Client};
use crate::clock::PATIENCE;
use crate::database::Database;
use crate::server::Server;

/// States of a booking, as the store writes them.
const PENDING: i64 = 2;
const CONFIRMED: i64 = 4;
const CANCELLED: i64 = -1;
/// Cancelled without ever having kept anything.
const ENDED_AT_ONCE: i64 = -5;

/// How long a client waits before it repeats a request.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(5);
/// How often a test looks how far its clients are.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What all clients of a round go by.
#[derive(Debug, Default)]
pub struct Round {
    /// The store is back: whatever is asked from now on is answered.
    pub is_back: AtomicBool,
    /// Enough was asked.
    pub is_over: AtomicBool,
    /// Requests that were answered.
    pub answered: AtomicUsize,
}

impl Round {
    /// Waits until so many more requests have been answered.
    pub fn until_answered(&self, count: usize) {
        let (begun, before) = (Instant::now(), self.answered.load(Ordering::SeqCst));
        while self.answered.load(Ordering::SeqCst) < before + count {
            assert!(begun.elapsed() < PATIENCE, "nothing is answered any more");
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// An event to book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Its number.
    pub id: i64,
    /// What a seat costs.
    pub price: i64,
}

/// What a client wants.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Book { event: Event, seats: i64 },
    Purchase { event: Event, seats: i64 },
    Confirm { booking: i64 },
    Cancel { booking: i64 },
    Deposit { delta: i64 },
}

/// A request, with its key if it has one.
#[derive(Debug, Clone)]
pub struct Request {
    deed: Deed,
    key: Option<String>,
}

/// A booking as it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    state: i64,
    amount: i64,
}

impl Known {
    /// What it holds of its owner's money.
    fn paid(self) -> i64 {
        if self.state == CONFIRMED { self.amount } else { 0 }
    }
}

/// What the database holds for a client.
#[derive(Debug, PartialEq, Eq)]
pub struct Rows {
    /// Its bookings, by number.
    pub bookings: BTreeMap<i64, Known>,
    /// What its account holds.
    pub balance: i64,
}

/// The client's connections: its own, and an admin's, who pays in for it.
pub struct Clients {
    own: Client,
    admin: Client,
}

/// A client and what it knows for certain.
pub struct Attendee {
    user: i64,
    session: String,
    admin_session: String,
    entropy: SeededEntropy,
    keys: usize,
    /// Whether every request has a key.
    pub has_keys: bool,
    /// What the service has answered for.
    pub known: Rows,
    /// What was on its way when the service died.
    pub unanswered: Option<Request>,
    /// What happened to its requests.
    pub tally: Tally,
}

/// What happened to a client's requests.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// Answered with anything else than a 503.
    pub answered: usize,
    /// Answered with a 503.
    pub turned_away: usize,
    /// Happened, though the answer was lost: the key brought it back.
    pub replayed: usize,
    /// Happened, though the answer was lost: the rows say so.
    pub found: usize,
    /// Bookings that were paid at once.
    pub purchased: usize,
    /// Purchases for which no seats were left.
    pub sold_out: usize,
    /// Confirmations and purchases for which the money was short.
    pub short: usize,
    /// Paid bookings that were cancelled.
    pub refunded: usize,
    /// Deposits.
    pub deposited: usize,
}

impl Attendee {
    /// One of the installation's users.
    pub fn new(server: &Server, login: &str, seed: u64) -> Self {
        let client = server.client_of(login);
        let session = |client: &Client| client.session().expect("it is signed in").to_owned();
        Self {
            user: client.get("/auth").id(),
            session: session(&client),
            admin_session: session(&server.client_of("admin")),
            entropy: SeededEntropy::new(seed),
            keys: 0,
            has_keys: false,
            known: Rows { bookings: BTreeMap::new(), balance: 0 },
            unanswered: None,
            tally: Tally::default(),
        }
    }

    /// Connections to one service.
    pub fn clients(&self, server: &Server) -> Clients {
        let client = |session| Client::new(server.base()).with_session(Some(session));
        Clients { own: client(&self.session), admin: client(&self.admin_session) }
    }

    /// Sends requests until the service is gone.
    pub fn work(&mut self, clients: &Clients, events: &[Event]) {
        while self.unanswered.is_none() {
            let request = self.next_request(events);
            match self.send(&request, clients) {
                Some(answer) => self.learn(&request, &answer),
                None => self.unanswered = Some(request),
            }
        }
    }

    /// Sends requests while the service stays and its store comes and goes: until it is told to end, or
    /// nobody knows what became of a request without a key. Whoever has a key finds out.
    pub fn work_through(&mut self, clients: &Clients, events: &[Event], round: &Round) {
        while self.unanswered.is_none() && !round.is_over.load(Ordering::SeqCst) {
            let request = self.next_request(events);
            let (begun, mut is_unknown) = (Instant::now(), false);
            loop {
                let is_back = round.is_back.load(Ordering::SeqCst);
                let answer = self.send(&request, clients).expect("the service stays");
                if answer.status != 503 {
                    self.tally.replayed +=
                        usize::from(answer.header("idempotent-replayed").is_some());
                    self.learn(&request, &answer);
                    round.answered.fetch_add(1, Ordering::SeqCst);
                    break;
                }
                assert!(!is_back, "the store is back: {answer:?}");
                self.tally.turned_away += 1;
                let kind = answer.any_problem()["type"].clone();
                is_unknown |= kind == "/problems/outcome-unknown";
                if !is_unknown {
                    // Nothing was changed, which the rows will have to show.
                    assert_eq!(kind, "/problems/store-unavailable", "{answer:?}");
                    break;
                }
                if request.key.is_none() {
                    self.unanswered = Some(request);
                    break;
                }
                assert!(begun.elapsed() < PATIENCE, "nobody finds out: {answer:?}");
                thread::sleep(ASK_AGAIN_AFTER);
            }
        }
    }

    fn next_request(&mut self, events: &[Event]) -> Request {
        let event = events[self.entropy.below(events.len())];
        let seats = if self.entropy.below(2) == 0 { 1 } else { 3 };
        let deed = match self.entropy.below(14) {
            0..3 => self.any_in(PENDING).map(|booking| Deed::Confirm { booking }),
            3 => self.any_in(PENDING).map(|booking| Deed::Cancel { booking }),
            4..6 => self.any_in(CONFIRMED).map(|booking| Deed::Cancel { booking }),
            6..9 => Some(Deed::Purchase { event, seats }),
            // Less than is spent, so that money is short now and then.
            9 => Some(Deed::Deposit { delta: 10 }),
            _ => None,
        };
        let has_key = self.entropy.below(2) == 0 || self.has_keys;
        self.keys += 1;
        Request {
            deed: deed.unwrap_or(Deed::Book { event, seats }),
            // The admin's keys are shared by all for whom the admin pays in.
            key: has_key.then(|| format!("key-{}-{}", self.user, self.keys)),
        }
    }

    fn any_in(&self, state: i64) -> Option<i64> {
        let of_state: Vec<i64> = self
            .known
            .bookings
            .iter()
            .filter(|(_, known)| known.state == state)
            .map(|(id, _)| *id)
            .collect();
        let last = of_state.len().checked_sub(1)?;
        Some(of_state[self.entropy.below(last + 1)])
    }

    /// The answer, or nothing if the service is gone.
    fn send(&self, request: &Request, clients: &Clients) -> Option<Answer> {
        let body = |value: serde_json::Value| value.to_string();
        let (method, path, body) = match request.deed {
            Deed::Book { event, seats } => {
                ("POST", format!("/events/{}/book", event.id), body(json!({"seats": seats})))
            }
            Deed::Purchase { event, seats } => {
                let purchase = json!({"event_id": event.id, "seats": seats});
                ("POST", "/book/create".to_owned(), body(purchase))
            }
            Deed::Confirm { booking } => {
                ("POST", format!("/events/{booking}/confirm"), String::new())
            }
            Deed::Cancel { booking } => {
                ("POST", format!("/bookings/{booking}/cancel"), String::new())
            }
            Deed::Deposit { delta } => {
                let deposit = json!({"delta": delta, "user_id": self.user});
                ("PUT", "/account/deposit".to_owned(), body(deposit))
            }
        };
        let client = match request.deed {
            Deed::Deposit { .. } => &clients.admin,
            Deed::Book { .. }
            | Deed::Purchase { .. }
            | Deed::Confirm { .. }
            | Deed::Cancel { .. } => &clients.own,
        };
        let mut ask = client.ask(method, &path).body(body.as_bytes());
        if let Some(key) = &request.key {
            ask = ask.key(key);
        }
        ask.send().ok()
    }

    /// Takes note of an answer.
    fn learn(&mut self, request: &Request, answer: &Answer) {
        self.tally.answered += 1;
        match (request.deed, answer.status) {
            (Deed::Book { event, seats }, 201) => {
                self.add(answer.id(), Known { state: PENDING, amount: event.price * seats });
            }
            (Deed::Purchase { event, seats }, 200) => {
                let booking = answer.json();
                let state = booking["status"].as_i64().expect("a state");
                let amount =
                    booking.get("price").map_or(0, |price| price.as_i64().expect("a number"));
                let costs = event.price * seats;
                if state == CONFIRMED {
                    assert_eq!(amount, costs, "{answer:?}");
                } else {
                    assert_eq!(state, CANCELLED, "{answer:?}");
                    // A price says that there were seats, and so that the money was short.
                    assert!(
                        amount == 0 || amount == costs && self.known.balance < costs,
                        "{answer:?}"
                    );
                }
                self.add(answer.id(), Known { state, amount });
            }
            (Deed::Confirm { booking }, 200) => self.change(booking, CONFIRMED),
            (Deed::Confirm { booking }, 402) => {
                let problem = answer.problem(402, "insufficient-funds");
                assert_eq!(problem["balance"], self.known.balance, "{answer:?}");
                // A kept answer can outlive its booking: that expired while the service was down.
                if let Some(booking) = self.known.bookings.get(&booking) {
                    assert!(booking.amount > self.known.balance, "{answer:?}");
                }
                self.tally.short += 1;
            }
            (Deed::Cancel { booking }, 200) => self.change(booking, CANCELLED),
            (Deed::Deposit { delta }, 200) => {
                self.known.balance += delta;
                self.tally.deposited += 1;
                assert_eq!(answer.json()["balance"], self.known.balance, "{answer:?}");
            }
            // The small event has no seats left.
            (Deed::Book { .. }, 409) => {
                answer.any_problem();
            }
            // It expired while the service was down, and what was asked for had not happened.
            (Deed::Confirm { booking } | Deed::Cancel { booking }, 410) => {
                assert!(!self.known.bookings.contains_key(&booking), "{answer:?}");
            }
            _ => panic!("{request:?}: {answer:?}"),
        }
    }

    fn add(&mut self, id: i64, booking: Known) {
        let known = self.known.bookings.insert(id, booking);
        assert_eq!(known, None, "number {id} was given out twice");
        self.known.balance -= booking.paid();
        match booking {
            Known { state: CONFIRMED, .. } => self.tally.purchased += 1,
            Known { state: CANCELLED, amount: 0 } => self.tally.sold_out += 1,
            Known { state: CANCELLED, .. } => self.tally.short += 1,
            Known { .. } => {}
        }
    }

    fn change(&mut self, id: i64, state: i64) {
        let Some(booking) = self.known.bookings.get_mut(&id) else {
            panic!("booking {id} has expired, and can't be moved to {state}");
        };
        let before = booking.paid();
        booking.state = state;
        let after = booking.paid();
        self.known.balance += before - after;
        self.tally.refunded += usize::from(before > after);
    }

    /// Finds out what became of the request that got no answer.
    pub fn settle(&mut self, clients: &Clients, rows: &Rows) {
        let Some(request) = self.unanswered.take() else { return };
        if request.key.is_some() {
            let send = || self.send(&request, clients).expect("the service is back");
            let (answer, again) = (send(), send());
            assert_eq!(again.header("idempotent-replayed"), Some("true"), "{again:?}");
            assert_eq!((answer.status, &answer.body), (again.status, &again.body));
            self.tally.replayed += usize::from(answer.header("idempotent-replayed").is_some());
            self.learn(&request, &answer);
            return;
        }
        // Without a key it can only be looked at.
        match request.deed {
            Deed::Book { .. } | Deed::Purchase { .. } => {
                let is_new = |(id, _): &(&i64, &Known)| !self.known.bookings.contains_key(id);
                let new: Vec<(i64, Known)> =
                    rows.bookings.iter().filter(is_new).map(|(id, row)| (*id, *row)).collect();
                assert!(new.len() <= 1, "one request made {new:?}");
                self.tally.found += new.len();
                for (id, row) in new {
                    self.add(id, row);
                }
            }
            Deed::Confirm { booking } => self.change_if(rows, booking, CONFIRMED),
            Deed::Cancel { booking } => self.change_if(rows, booking, CANCELLED),
            Deed::Deposit { delta } => {
                if rows.balance == self.known.balance + delta {
                    self.known.balance = rows.balance;
                    self.tally.found += 1;
                }
            }
        }
    }

    /// Takes note that a booking has moved, if it has.
    fn change_if(&mut self, rows: &Rows, booking: i64, state: i64) {
        if rows.bookings.get(&booking).is_some_and(|row| row.state == state) {
            self.change(booking, state);
            self.tally.found += 1;
        }
    }

    /// What the database holds for this client.
    pub fn rows(&self, database: &Database) -> Rows {
        let column = |column| {
            let of_user = format!("FROM bookings WHERE user_id = {} ORDER BY id", self.user);
            database.numbers(&format!("SELECT {column} {of_user}"))
        };
        let rows = column("state").into_iter().zip(column("amount"));
        let rows = rows.map(|(state, amount)| Known {
            state: if state == ENDED_AT_ONCE { CANCELLED } else { state },
            amount,
        });
        let account = format!("FROM accounts WHERE account_id = {}", self.user);
        Rows {
            bookings: column("id").into_iter().zip(rows).collect(),
            balance: database.number(&format!("SELECT coalesce(sum(balance), 0) {account}")),
        }
    }
}
