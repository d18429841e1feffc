//! Seats and money are elsewhere: what clients are told while somebody there is away, and when they are
//! back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use eventbooker_core::accounts::InsufficientFunds;
use eventbooker_core::bookings::participant::{Participant, Request};
use eventbooker_core::bookings::saga::{Answer as Said, Ask, Denial};
use eventbooker_core::events::{OccupyRefusal, PaymentWindow, Seats};
use eventbooker_core::{BookingId, Money, Timestamp};
use eventbooker_engine::{Availability, Neighbours, NoAnswer, Participate, Place};
use eventbooker_testkit::client::{Answer, Client};
use eventbooker_testkit::{Options, clock, steps_only};
use eventbooker_web::WebSettings;
use serde_json::{Value, json};

use crate::site::Site;

/// How long a client waits for its saga.
const PATIENCE: Duration = Duration::from_secs(5);
const PRICE: i64 = 40;
/// The only event that there is.
const EVENT: i64 = 7;

/// Whoever has the seats and the money, and may be away.
struct Neighbour(Mutex<Rows>);

struct Rows {
    away: Option<Participant>,
    /// Who is known to be away, and until when.
    shut: Option<(Participant, Timestamp)>,
    free: u32,
    balance: i64,
    held: BTreeMap<BookingId, u32>,
    paid: BTreeMap<BookingId, i64>,
    /// Whatever was taken back isn't taken any more.
    withdrawn: BTreeSet<(BookingId, Participant)>,
}

impl Rows {
    fn answer(&mut self, request: &Request) -> Result<Said, NoAnswer> {
        let Request { booking_id: id, seats, ask, .. } = *request;
        let (whose, amount) = (ask.of(), request.amount.as_minor());
        if self.away == Some(whose) {
            return Err(NoAnswer::silence(format!("{whose:?} is away")));
        }
        let is_withdrawn = self.withdrawn.contains(&(id, whose));
        Ok(match ask {
            Ask::Occupy if is_withdrawn => Said::NotOccupied(Denial::Withdrawn),
            Ask::Occupy if self.held.contains_key(&id) => offer(seats),
            Ask::Occupy if request.event_id.get() != EVENT => {
                Said::NotOccupied(Denial::NoSuchEvent)
            }
            Ask::Occupy if self.free == 0 => Said::NotOccupied(OccupyRefusal::SoldOut.into()),
            Ask::Occupy if self.free < seats.get() => {
                let free = Seats::new(self.free);
                Said::NotOccupied(OccupyRefusal::TooFewSeats { free }.into())
            }
            Ask::Occupy => {
                self.held.insert(id, seats.get());
                self.free -= seats.get();
                offer(seats)
            }
            Ask::Charge if is_withdrawn => Said::NotCharged(Denial::Withdrawn),
            Ask::Charge if self.paid.contains_key(&id) => Said::Charged,
            Ask::Charge if self.balance < amount => {
                let (balance, amount) = (Money::from_minor(self.balance), request.amount);
                Said::NotCharged(InsufficientFunds { balance, amount }.into())
            }
            Ask::Charge => {
                self.paid.insert(id, amount);
                self.balance -= amount;
                Said::Charged
            }
            Ask::Settle => Said::Settled,
            Ask::Refund => {
                self.withdrawn.insert((id, whose));
                self.balance += self.paid.remove(&id).unwrap_or(0);
                Said::Refunded
            }
            Ask::Release(_) => {
                self.withdrawn.insert((id, whose));
                self.free += self.held.remove(&id).unwrap_or(0);
                Said::Released
            }
        })
    }
}

fn offer(seats: Seats) -> Said {
    let amount = Money::from_minor(PRICE * i64::from(seats.get()));
    Said::Occupied { amount, window: PaymentWindow::from_minutes(30) }
}

/// Whoever has the seats, or the money.
struct Role(Arc<Neighbour>, Participant);

#[async_trait]
impl Participate for Role {
    fn availability(&self) -> Availability {
        let shut = self.0.rows().shut.filter(|(who, _)| *who == self.1);
        shut.map_or(Availability::Available, |(_, until)| Availability::AwayUntil(until))
    }

    async fn ask(&self, requests: Vec<Request>) -> Vec<Result<Said, NoAnswer>> {
        let mut rows = self.0.rows();
        requests.iter().map(|request| rows.answer(request)).collect()
    }
}

impl Neighbour {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap()
    }

    /// Ten seats, and 100 in the account.
    fn with_a_site(settings: WebSettings) -> (Arc<Self>, Site) {
        let neighbour = Arc::new(Self(Mutex::new(Rows {
            away: None,
            shut: None,
            free: 10,
            balance: 100,
            held: BTreeMap::new(),
            paid: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
        })));
        let role = |who| steps_only(&Arc::new(Role(Arc::clone(&neighbour), who)));
        let participants = Neighbours {
            events: Place::Elsewhere(role(Participant::Events)),
            accounts: Place::Elsewhere(role(Participant::Accounts)),
            ..Neighbours::default()
        };
        let site = Site::with(Options { participants, ..Options::default() }, settings);
        (neighbour, site)
    }

    /// Free seats, and what is in the account.
    fn stands(&self) -> (u32, i64) {
        let rows = self.rows();
        (rows.free, rows.balance)
    }

    fn leaves(&self, who: Participant) {
        self.rows().away = Some(who);
    }

    /// It is known that nothing comes of asking for some seconds.
    fn is_shut(&self, site: &Site, who: Participant) {
        let mut rows = self.rows();
        rows.away = Some(who);
        rows.shut = Some((who, site.now().plus(Duration::from_secs(3))));
    }

    /// Whoever was away is asked again, and every saga comes to its end.
    fn comes_back(&self, site: &Site) {
        let mut rows = self.rows();
        (rows.away, rows.shut) = (None, None);
        drop(rows);
        let give_up = Instant::now() + clock::PATIENCE;
        while site.database().number("SELECT count(*) FROM errands") > 0 {
            assert!(Instant::now() < give_up, "a saga doesn't end");
            site.pass(Duration::from_secs(10));
        }
    }
}

fn start() -> (Arc<Neighbour>, Site) {
    Neighbour::with_a_site(WebSettings::default())
}

/// What a client is told who has waited as long as anybody waits. How long a request takes until it
/// waits nobody knows, so time passes again and again.
fn impatiently(site: &Site, ask: impl FnOnce() -> Answer + Send) -> Answer {
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || tell.send(ask()).unwrap());
        loop {
            match told.recv_timeout(Duration::from_millis(50)) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Timeout) if is_stuck(site) => site.pass(PATIENCE),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("the client has panicked"),
            }
        }
    })
}

/// Whether a saga has come as far as it can, because somebody is away.
fn is_stuck(site: &Site) -> bool {
    site.database().number("SELECT count(*) FROM errands WHERE trouble IS NOT NULL") > 0
}

fn purchase(client: &Client, key: Option<&str>) -> Answer {
    with_key(client, "/book/create", &json!({"event_id": EVENT, "seats": 2}), key)
}

fn book(client: &Client, seats: i64, key: Option<&str>) -> Answer {
    with_key(client, &format!("/events/{EVENT}/book"), &json!({"seats": seats}), key)
}

fn confirm(client: &Client, booking: i64, key: Option<&str>) -> Answer {
    with_key(client, &format!("/events/{EVENT}/confirm"), &json!({"bookingId": booking}), key)
}

fn cancel(client: &Client, booking: i64, key: Option<&str>) -> Answer {
    with_key(client, &format!("/bookings/{booking}/cancel"), &json!({}), key)
}

fn with_key(client: &Client, path: &str, body: &Value, key: Option<&str>) -> Answer {
    let ask = client.ask("POST", path).json(body);
    match key {
        Some(key) => ask.key(key).answer(),
        None => ask.answer(),
    }
}

/// The states of the user's bookings, by the numbers of the second section.
fn states(client: &Client) -> Vec<i64> {
    let list = client.get("/book/get").json();
    list.as_array().unwrap().iter().map(|shown| shown["status"].as_i64().unwrap()).collect()
}

#[test]
fn while_everybody_is_there_nobody_notices() {
    let (neighbour, site) = start();
    let alice = site.client_of("alice");
    let held = book(&alice, 1, None);
    assert_eq!((held.status, &held.json()["status"]), (201, &json!("pending")), "{held:?}");
    let paid = confirm(&alice, held.id(), None);
    assert_eq!((paid.status, &paid.json()["status"]), (200, &json!("confirmed")), "{paid:?}");
    let cancelled = cancel(&alice, held.id(), None);
    assert_eq!((cancelled.status, &cancelled.json()["status"]), (200, &json!("cancelled")));
    let bought = purchase(&alice, None);
    assert_eq!((bought.status, &bought.json()["status"]), (200, &json!(4)), "{bought:?}");
    assert_eq!(neighbour.stands(), (8, 20));
    site.finish_apart();
}

#[test]
fn a_purchase_is_accepted_and_ends_later() {
    let (neighbour, site) = start();
    let alice = site.client_of("alice");
    neighbour.leaves(Participant::Accounts);
    let accepted = impatiently(&site, || purchase(&alice, Some("a")));
    assert_eq!((accepted.status, &accepted.json()["status"]), (202, &json!(3)), "{accepted:?}");
    // Whoever asks again is told the same for as long as it is so.
    let again = impatiently(&site, || purchase(&alice, Some("a")));
    assert_eq!((again.status, again.json()), (202, accepted.json()));
    neighbour.comes_back(&site);
    let bought = purchase(&alice, Some("a"));
    assert_eq!((bought.status, &bought.json()["status"]), (200, &json!(4)), "{bought:?}");
    assert_eq!(bought.header("idempotent-replayed"), Some("true"));
    assert_eq!(purchase(&alice, Some("a")).json(), bought.json());
    assert_eq!((states(&alice), neighbour.stands()), (vec![4], (8, 20)));
    site.finish_apart();
}

#[test]
fn a_booking_is_accepted_and_made_later() {
    let (neighbour, site) = start();
    let alice = site.client_of("alice");
    neighbour.leaves(Participant::Events);
    let accepted = impatiently(&site, || book(&alice, 2, Some("a")));
    assert_eq!(accepted.status, 202, "{accepted:?}");
    assert_eq!(accepted.json()["status"], "pending");
    assert_eq!(accepted.json()["expiresInSeconds"], 0, "nobody knows its deadline");
    let again = impatiently(&site, || book(&alice, 2, Some("a")));
    again.problem(409, "idempotency-key-in-flight");
    assert_eq!(again.header("retry-after"), Some("1"));
    book(&alice, 3, Some("a")).problem(422, "idempotency-key-reused");
    neighbour.comes_back(&site);
    let held = book(&alice, 2, Some("a"));
    assert_eq!((held.status, &held.json()["amount"]), (201, &json!(80)), "{held:?}");
    assert_eq!(held.header("location"), Some("/events/7/bookings"));
    assert_eq!(held.id(), accepted.id());
    assert_eq!(book(&alice, 2, Some("a")).json(), held.json());
    assert_eq!((states(&alice), neighbour.stands()), (vec![2], (8, 100)));
    site.finish_apart();
}

#[test]
fn a_confirmation_is_accepted_and_can_be_asked_for_again() {
    let (neighbour, site) = start();
    let alice = site.client_of("alice");
    let held = book(&alice, 2, None).id();
    neighbour.leaves(Participant::Accounts);
    for key in [None, Some("a")] {
        // The second finds the first under way.
        let accepted = impatiently(&site, || confirm(&alice, held, key));
        assert_eq!((accepted.status, &accepted.json()["status"]), (202, &json!("pending")));
    }
    neighbour.comes_back(&site);
    for key in [None, Some("a")] {
        let paid = confirm(&alice, held, key);
        assert_eq!((paid.status, &paid.json()["status"]), (200, &json!("confirmed")), "{paid:?}");
    }
    assert_eq!((states(&alice), neighbour.stands()), (vec![4], (8, 20)));
    site.finish_apart();
}

/// Before it has its seats, while it is being paid, when it is paid, and when it is all over.
#[test]
fn a_booking_can_be_cancelled_whoever_is_away() {
    use Participant as P;
    for (who, status, is_paid) in [
        (P::Events, 1, false),
        (P::Accounts, 3, false),
        (P::Events, 3, true),
        (P::Accounts, 4, true),
    ] {
        let (neighbour, site) = start();
        let alice = site.client_of("alice");
        let booking = match (status, is_paid) {
            (4, _) => {
                let bought = purchase(&alice, None).id();
                neighbour.leaves(who);
                bought
            }
            (3, true) => {
                let held = book(&alice, 2, None).id();
                neighbour.leaves(who);
                assert_eq!(impatiently(&site, || confirm(&alice, held, None)).status, 202);
                held
            }
            _ => {
                neighbour.leaves(who);
                impatiently(&site, || purchase(&alice, None)).id()
            }
        };
        assert_eq!(states(&alice), [status], "{who:?}");
        let cancelled = impatiently(&site, || cancel(&alice, booking, Some("a")));
        assert_eq!(cancelled.status, 202, "{cancelled:?}");
        assert_eq!(cancelled.json()["status"], "cancelled");
        assert_eq!(states(&alice), [-2], "{who:?}");
        let again = impatiently(&site, || cancel(&alice, booking, Some("a")));
        again.problem(409, "idempotency-key-in-flight");
        confirm(&alice, booking, None).problem(409, "booking-cancelled");

        neighbour.comes_back(&site);
        let over = cancel(&alice, booking, Some("a"));
        assert_eq!((over.status, &over.json()["status"]), (200, &json!("cancelled")), "{over:?}");
        assert_eq!(cancel(&alice, booking, None).status, 200);
        assert_eq!(states(&alice), [-1], "{who:?}");
        assert_eq!(neighbour.stands(), (10, 100), "{who:?}");
        site.finish_apart();
    }
}

/// As if they were here: what is left, what is missing, what there never was.
#[test]
fn refusals_come_with_their_reasons() {
    let (neighbour, site) = start();
    let alice = site.client_of("alice");
    for key in [None, Some("few")] {
        let few = book(&alice, 11, key);
        few.problem(409, "too-few-seats");
        assert_eq!(few.json()["freeSeats"], 10);
        let nowhere = with_key(&alice, "/events/8/book", &json!({"seats": 1}), key.map(|_| "no"));
        nowhere.problem(404, "not-found");
    }
    assert_eq!(states(&alice), [0; 0], "a hold that isn't given leaves nothing");
    let held = book(&alice, 10, None);
    for key in [None, Some("full")] {
        let full = book(&alice, 1, key);
        full.problem(409, "sold-out");
        assert_eq!(full.json()["freeSeats"], 0);
        let poor = confirm(&alice, held.id(), key.map(|_| "poor"));
        poor.problem(402, "insufficient-funds");
        let (balance, amount) = (&poor.json()["balance"], &poor.json()["amount"]);
        assert_eq!((balance, amount), (&json!(100), &json!(400)));
    }
    let in_vain = purchase(&alice, None);
    assert_eq!((in_vain.status, &in_vain.json()["status"]), (200, &json!(-1)));
    // Somebody who has more by now is told the same under the same key.
    neighbour.rows().balance = 400;
    let poor = confirm(&alice, held.id(), Some("poor"));
    poor.problem(402, "insufficient-funds");
    assert_eq!(poor.header("idempotent-replayed"), Some("true"));
    assert_eq!(confirm(&alice, held.id(), Some("rich")).status, 200);
    site.finish_apart();
}

/// A refusal from elsewhere is on record, with a key and without one.
#[test]
fn what_comes_to_nothing_elsewhere_is_limited() {
    let settings = WebSettings { remembered_refusals_per_user: 3, ..WebSettings::default() };
    let (_neighbour, site) = Neighbour::with_a_site(settings);
    let [_, alice, bob] = site.clients();
    for _ in 0..3 {
        assert_eq!(book(&alice, 1, None).status, 201, "what takes effect doesn't count");
        book(&alice, 11, None).problem(409, "too-few-seats");
    }
    book(&alice, 11, None).problem(429, "rate-limited");
    book(&bob, 11, None).problem(409, "too-few-seats");
    site.pass(Duration::from_secs(60));
    book(&alice, 11, None).problem(409, "too-few-seats");
    site.finish_apart();
}

/// With a key and without one, and nothing is remembered of it, so that the same key serves again.
#[test]
fn nothing_is_begun_while_the_seats_are_away() {
    let (neighbour, site) = start();
    let alice = site.client_of("alice");
    let held = book(&alice, 1, Some("before"));
    assert_eq!(held.status, 201);
    neighbour.is_shut(&site, Participant::Events);
    let rows = || {
        ["answers", "bookings", "errands"]
            .map(|table| site.database().number(&format!("SELECT count(*) FROM {table}")))
    };
    let before = rows();
    for key in [None, Some("a")] {
        for refused in [book(&alice, 2, key), purchase(&alice, key.map(|_| "b"))] {
            refused.problem(503, "service-away");
            assert_eq!(refused.header("retry-after"), Some("3"));
        }
    }
    assert_eq!(rows(), before);
    book(&alice, 2, Some("before")).problem(422, "idempotency-key-reused");
    let again = book(&alice, 1, Some("before"));
    assert_eq!((again.status, again.json()), (201, held.json()), "what is known is told");
    neighbour.comes_back(&site);
    assert_eq!(book(&alice, 2, Some("a")).status, 201);
    assert_eq!(purchase(&alice, Some("b")).status, 200);
    site.finish_apart();
}

/// Nobody waits, and no time passes: whoever has the money is known to be away.
#[test]
fn what_has_begun_is_accepted_at_once() {
    let (neighbour, site) = start();
    let alice = site.client_of("alice");
    neighbour.rows().balance = 200;
    let held = book(&alice, 1, None).id();
    neighbour.is_shut(&site, Participant::Accounts);
    for key in [None, Some("a")] {
        let accepted = confirm(&alice, held, key);
        assert_eq!((accepted.status, &accepted.json()["status"]), (202, &json!("pending")));
    }
    for _ in 0..2 {
        let accepted = purchase(&alice, Some("b"));
        assert_eq!((accepted.status, &accepted.json()["status"]), (202, &json!(3)), "{accepted:?}");
    }
    let given_up = purchase(&alice, None);
    assert_eq!(given_up.status, 202);
    let cancelled = cancel(&alice, given_up.id(), Some("c"));
    assert_eq!((cancelled.status, &cancelled.json()["status"]), (202, &json!("cancelled")));
    neighbour.comes_back(&site);
    assert_eq!(purchase(&alice, Some("b")).json()["status"], 4);
    assert_eq!(confirm(&alice, held, None).status, 200);
    assert_eq!(cancel(&alice, given_up.id(), None).json()["status"], "cancelled");
    assert_eq!(neighbour.stands(), (7, 80));
    site.finish_apart();
}
