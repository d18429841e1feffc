//! Many customers at once, while something happens to the services.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use eventbooker_core::Context;

use crate::SeededEntropy;
use crate::attendee::Event;
use crate::client::Answer;
use crate::clock::PATIENCE;
use crate::customer::{Customer, Rows};
use crate::services::Services;

const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Who waits for longer is held up.
const HELD_UP: Duration = Duration::from_secs(3);
/// So many are shown when a test fails.
const COMPLAINTS_SHOWN: usize = 5;
/// Seats and price of each event: seats run out in the first, and money for the second.
const EVENTS: [(i64, i64); 3] = [(200, 7), (1_000_000, 3), (1_000_000, 0)];

/// Lifts what limits them, for services that they go to.
pub const UNLIMITED: [&str; 6] = [
    "--holds-per-user-max",
    "0",
    "--held-seats-per-user-max",
    "0",
    "--remembered-refusals-per-user",
    "1000000",
];

/// What all customers share.
#[derive(Debug, Default)]
pub struct Sale {
    is_over: AtomicBool,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    /// How often each status was heard, with what kind of problem.
    counts: BTreeMap<String, usize>,
    /// Requests that were answered for certain since anybody was put off.
    answered_in_a_row: usize,
    /// Rises when what was done to the services before is over for whoever sends something now.
    turn: usize,
    /// Requests that were sent in this turn and felt what was done: told to wait, or to come again, or held
    /// up for long.
    felt: usize,
}

/// A request on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    turn: usize,
    at: Instant,
}

impl Sale {
    /// Waits until so many requests in a row have been answered for certain: whatever was done to the
    /// services is over.
    pub fn until_calm(&self, count: usize) {
        {
            let mut heard = self.heard();
            heard.turn += 1;
            heard.answered_in_a_row = 0;
        }
        self.until("nothing is answered any more", |heard| heard.answered_in_a_row >= count);
    }

    /// Something is done to the services now.
    pub fn begin_turn(&self) {
        self.heard().felt = 0;
    }

    /// Waits until somebody has felt it whose request was sent in this turn: perhaps before it was done,
    /// for all of them may be with the very service that stops.
    pub fn until_noticed(&self) {
        self.until("nobody notices that something is away", |heard| heard.felt > 0);
    }

    fn until(&self, otherwise: &str, is_so: impl Fn(&Heard) -> bool) {
        assert!(comes_true(|| is_so(&self.heard())), "{otherwise}: {:?}", self.counts());
    }

    /// How many requests of this turn have felt what was done.
    pub fn felt(&self) -> usize {
        self.heard().felt
    }

    /// How often each status was heard, with what kind of problem.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        self.heard().counts.clone()
    }

    /// Somebody sends a request.
    pub(crate) fn sends(&self) -> Sent {
        Sent { turn: self.heard().turn, at: Instant::now() }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Counts an answer to a request.
    pub(crate) fn hear(&self, sent: Sent, answer: &Answer, is_put_off: bool) {
        let is_problem = answer.header("content-type") == Some("application/problem+json");
        let kind = is_problem.then(|| answer.json()["type"].to_string());
        let kind = kind.map(|kind| kind.trim_matches('"').replace("/problems/", " "));
        let said = format!("{}{}", answer.status, kind.unwrap_or_default());
        let mut heard = self.heard();
        *heard.counts.entry(said).or_default() += 1;
        heard.answered_in_a_row = if is_put_off { 0 } else { heard.answered_in_a_row + 1 };
        let has_felt = is_put_off || sent.at.elapsed() > HELD_UP;
        heard.felt += usize::from(has_felt && sent.turn == heard.turn);
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets customers end, also if a test fails.
struct Ending<'sale>(&'sale Sale);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// Customers of the four services.
pub struct Crowd(Vec<Customer>);

impl Crowd {
    /// So many, who have registered, and events for them. There has to be an `admin`.
    pub fn of(services: &Services, size: usize) -> Self {
        let admin = services.client_of("admin");
        let events =
            EVENTS.map(|(seats, price)| Event { id: admin.create_event(seats, price, 600), price });
        let entropy = SeededEntropy::new(1);
        let customer = |number: usize| {
            let own = services.client().registered(&format!("user-{number}"));
            Customer::new(&own, &admin, &events, entropy.draw())
        };
        Self((0..size).map(customer).collect())
    }

    /// Lets something happen while all of them are at work.
    pub fn work_while(&mut self, sale: &Sale, happen: impl FnOnce()) {
        thread::scope(|scope| {
            let _ending = Ending(sale);
            for customer in &mut self.0 {
                scope.spawn(|| customer.work(sale));
            }
            happen();
        });
    }

    /// Lets everything come to rest, and fails unless it is as it was answered. Returns how many
    /// answers were asked for again.
    pub fn settle(&mut self, services: &Services) -> usize {
        until_at_rest(services);
        let sale = Sale::default();
        thread::scope(|scope| {
            for customer in &mut self.0 {
                scope.spawn(|| customer.settle(&sale));
            }
        });
        // What hadn't been heard of before has begun now.
        until_at_rest(services);
        let again = thread::scope(|scope| {
            let asked = self.0.iter().map(|customer| scope.spawn(|| customer.ask_again()));
            asked.collect::<Vec<_>>().into_iter().map(|count| count.join().unwrap()).sum()
        });
        let complaints = self.complaints(services);
        let first = complaints.iter().take(COMPLAINTS_SHOWN);
        let first: Vec<&str> = first.map(String::as_str).collect();
        assert!(complaints.is_empty(), "{} complaints: {}", complaints.len(), first.join("\n"));
        again
    }

    /// What isn't as it was answered.
    pub fn complaints(&self, services: &Services) -> Vec<String> {
        let complaints = |customer: &Customer| customer.complaints(&rows(services, customer.user));
        self.0.iter().flat_map(complaints).collect()
    }
}

/// Waits for something, and says whether it has come true. A machine that stands still meanwhile, as
/// virtual ones do now and then, takes one look and not all patience.
fn comes_true(mut is_so: impl FnMut() -> bool) -> bool {
    (0..PATIENCE.as_millis() / LOOK_EVERY.as_millis()).any(|_| {
        let is_so = is_so();
        if !is_so {
            thread::sleep(LOOK_EVERY);
        }
        is_so
    })
}

/// Waits until no saga is under way.
fn until_at_rest(services: &Services) {
    let errands = "SELECT booking_id, tries, parked FROM errands";
    let left = || services.rows::<3>(Context::Bookings, errands);
    let log = || services.server(Context::Bookings).log();
    assert!(comes_true(|| left().is_empty()), "sagas don't end: {:?}\n{}", left(), log());
}

fn rows(services: &Services, user: i64) -> Rows {
    let bookings = format!(
        "SELECT id, event_id, seats, state, amount FROM bookings WHERE user_id = {user} ORDER BY id"
    );
    let account =
        format!("SELECT sum(balance) FROM accounts WHERE account_id = {user} HAVING count(*)");
    let balance = services.rows::<1>(Context::Accounts, &account);
    Rows {
        bookings: services.rows(Context::Bookings, &bookings),
        balance: balance.first().map_or(0, |[balance]| *balance),
    }
}
