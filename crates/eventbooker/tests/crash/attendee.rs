//! A client that is alone with its account, and so knows to the last minor unit what has to be
//! there.

use std::collections::BTreeMap;

use eventbooker_testkit::SeededEntropy;
use eventbooker_testkit::client::{Answer, Client};
use eventbooker_testkit::database::Database;
use eventbooker_testkit::server::Server;
use serde_json::json;

/// States of a booking, as the store writes them.
const PENDING: i64 = 2;
const CONFIRMED: i64 = 4;
const CANCELLED: i64 = -1;
/// Cancelled without ever having kept anything.
const ENDED_AT_ONCE: i64 = -5;

/// An event to book.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) id: i64,
    pub(crate) price: i64,
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
pub(crate) struct Request {
    deed: Deed,
    key: Option<String>,
}

/// A booking as it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
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
pub(crate) struct Rows {
    pub(crate) bookings: BTreeMap<i64, Known>,
    pub(crate) balance: i64,
}

/// The client's connections: its own, and an admin's, who pays in for it.
pub(crate) struct Clients {
    own: Client,
    admin: Client,
}

/// A client and what it knows for certain.
pub(crate) struct Attendee {
    user: i64,
    session: String,
    admin_session: String,
    entropy: SeededEntropy,
    keys: usize,
    /// What the service has answered for.
    pub(crate) known: Rows,
    /// What was on its way when the service died.
    pub(crate) unanswered: Option<Request>,
    pub(crate) tally: Tally,
}

/// What happened to a client's requests.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) answered: usize,
    /// Happened, though the answer was lost: the key brought it back.
    pub(crate) replayed: usize,
    /// Happened, though the answer was lost: the rows say so.
    pub(crate) found: usize,
    pub(crate) purchased: usize,
    pub(crate) sold_out: usize,
    /// Confirmations and purchases for which the money was short.
    pub(crate) short: usize,
    pub(crate) refunded: usize,
    pub(crate) deposited: usize,
}

impl Attendee {
    pub(crate) fn new(server: &Server, login: &str, seed: u64) -> Self {
        let client = server.client_of(login);
        let session = |client: &Client| client.session().expect("it is signed in").to_owned();
        Self {
            user: client.get("/auth").id(),
            session: session(&client),
            admin_session: session(&server.client_of("admin")),
            entropy: SeededEntropy::new(seed),
            keys: 0,
            known: Rows { bookings: BTreeMap::new(), balance: 0 },
            unanswered: None,
            tally: Tally::default(),
        }
    }

    pub(crate) fn clients(&self, server: &Server) -> Clients {
        let client = |session| Client::new(server.base()).with_session(Some(session));
        Clients { own: client(&self.session), admin: client(&self.admin_session) }
    }

    /// Sends requests until the service is gone.
    pub(crate) fn work(&mut self, clients: &Clients, events: &[Event]) {
        while self.unanswered.is_none() {
            let request = self.next_request(events);
            match self.send(&request, clients) {
                Some(answer) => self.learn(&request, &answer),
                None => self.unanswered = Some(request),
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
        let has_key = self.entropy.below(2) == 0;
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
                assert!(self.known.bookings[&booking].amount > self.known.balance, "{answer:?}");
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
    pub(crate) fn settle(&mut self, clients: &Clients, rows: &Rows) {
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
    pub(crate) fn rows(&self, database: &Database) -> Rows {
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
