//! Many purchases and one purse, and holds that are confirmed, cancelled and due in the same moment.
//!
//! The scenario of the purse is one function, [`spend`], which also runs on a store that loses
//! updates: there it must overspend, or it would prove nothing.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::collections::BTreeMap;
use std::sync::Arc;

use eventbooker_core::accounts::Account;
use eventbooker_core::bookings::{Booking, CancelRefusal, ConfirmRefusal, State};
use eventbooker_core::events::{JournalEntry, JournalKind};
use eventbooker_core::{BookingId, EventId, Money};
use eventbooker_engine::check::Rule;
use eventbooker_engine::{Engine, Refusal, Settings};
use eventbooker_testkit::clock::MOMENT;
use eventbooker_testkit::faults::LostUpdates;
use eventbooker_testkit::service::{attendee, outcome, purchase};
use eventbooker_testkit::{Options, Outcome, Service, refused};
use futures_util::future::join_all;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

const PRICE: i64 = 40;
/// Who has the purse.
const SPENDER: i64 = 1;
/// Seats that the purse pays for.
const AFFORDABLE: usize = 10;
const CLIENTS: usize = 64;
/// Enough for every client: what runs out is the money.
const CAPACITY: u32 = 64;

/// What came of a run on a purse.
struct Spree {
    events: Vec<EventId>,
    answers: Vec<Outcome<Booking>>,
}

impl Spree {
    fn bookings(&self, state: State) -> impl Iterator<Item = &Booking> {
        self.answers.iter().flatten().filter(move |booking| booking.state == state)
    }
}

/// One user's clients all purchase a seat at once, on three events and through all engines. There
/// is money for [`AFFORDABLE`] of them.
async fn spend(service: &Service) -> Spree {
    service.add_users([SPENDER]).await;
    service.deposit(SPENDER, minor(AFFORDABLE)).await.expect("the spender is registered");
    let mut events = Vec::new();
    for _ in 0..3 {
        events.push(service.create_event(CAPACITY.into(), PRICE, 30).await);
    }
    let start = Arc::new(Barrier::new(CLIENTS));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let engine = service.engines()[number % service.engines().len()].clone();
        let event_id = events[number % events.len()];
        let start = Arc::clone(&start);
        clients.spawn(async move {
            start.wait().await;
            purchase(&engine, SPENDER, event_id, 1).await
        });
    }
    Spree { events, answers: clients.join_all().await }
}

/// What so many seats cost.
fn minor(seats: usize) -> i64 {
    PRICE * signed(seats)
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).expect("few")
}

async fn sixty_four_clients_share_a_purse(options: Options) {
    let service = Service::with(options).await;
    let spree = spend(&service).await;
    assert_eq!(spree.bookings(State::Complete).count(), AFFORDABLE);
    assert_eq!(spree.bookings(State::Cancelled).count(), CLIENTS - AFFORDABLE);
    assert_eq!(service.balance(SPENDER).await, 0);

    for event_id in &spree.events {
        let paid = spree.bookings(State::Complete).filter(|booking| booking.event_id == *event_id);
        let paid = u32::try_from(paid.count()).expect("few seats");
        assert_eq!(service.free_seats(*event_id).await, CAPACITY - paid);
    }
    let mut told: Vec<Booking> = spree.answers.into_iter().flatten().collect();
    told.sort_by_key(|booking| booking.id);
    let ids = told.iter().map(|booking| booking.id).collect();
    assert_eq!(service.store().bookings(ids).await, Ok(told), "everybody was told the truth");
    service.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_for_ten_seats_buys_ten() {
    sixty_four_clients_share_a_purse(Options::default()).await;
}

/// The account belongs to no lane: the lanes of all three events charge it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_lanes_spend_no_more_than_one() {
    let settings = Settings { lanes: 3, ..Options::default().settings };
    sixty_four_clients_share_a_purse(Options { settings, ..Options::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_spend_no_more_than_one() {
    sixty_four_clients_share_a_purse(Options { engines: 2, ..Options::default() }).await;
}

/// The negative control: with nothing between load and save, the very same run overspends, and the
/// clients' answers, the balance and the recount all show it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_lock_and_keys_a_store_overspends() {
    let lost_updates = Some(LostUpdates::without_lock_and_keys(2));
    let service = Service::with(Options { engines: 2, lost_updates, ..Options::default() }).await;
    let spree = spend(&service).await;

    let bought = spree.bookings(State::Complete).count();
    assert!(bought > AFFORDABLE, "the control must overspend, or the tests prove nothing");
    assert!(service.balance(SPENDER).await > minor(AFFORDABLE) - minor(bought));
    let report = service.recount().await;
    let overspent = |what: &str| what.contains("below 0");
    assert!(
        report.findings.iter().any(|f| f.rule == Rule::Money && overspent(&f.what)),
        "{:#?}",
        report.findings
    );
    service.finish_spoilt().await;
}

/// The second line of defence, as for seats: what is said yes to is paid for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_lock_a_store_is_saved_by_its_keys() {
    let lost_updates = Some(LostUpdates::without_lock(2));
    let service = Service::with(Options { engines: 2, lost_updates, ..Options::default() }).await;
    let spree = spend(&service).await;
    let bought = spree.bookings(State::Complete).count();
    assert!(bought <= AFFORDABLE);
    assert_eq!(service.balance(SPENDER).await, minor(AFFORDABLE - bought));
    service.finish().await;
}

/// What an owner is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Yes,
    Cancelled,
    TooLate,
}

impl Told {
    fn by(outcome: &Outcome<Booking>) -> Self {
        let Err(failure) = outcome else { return Self::Yes };
        let too_late = [
            refused(ConfirmRefusal::Expired),
            refused(CancelRefusal::Expired),
            refused(Refusal::BookingGone),
        ];
        if too_late.contains(failure) {
            return Self::TooLate;
        }
        assert_eq!(*failure, refused(ConfirmRefusal::Cancelled));
        Self::Cancelled
    }
}

/// What a hold comes to when its owner can't decide and time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    Paid,
    Refunded,
    CancelledUnpaid,
    Expired,
}

impl Ending {
    /// The one ending that goes with what the owner was told, who may not have asked to cancel.
    fn of(confirm: Told, cancel: Option<Told>) -> Self {
        match (confirm, cancel) {
            (Told::Yes, None) => Self::Paid,
            (Told::Yes, Some(Told::Yes)) => Self::Refunded,
            (Told::Cancelled, Some(Told::Yes)) => Self::CancelledUnpaid,
            (Told::TooLate, None | Some(Told::TooLate)) => Self::Expired,
            (Told::Yes | Told::Cancelled | Told::TooLate, _) => {
                panic!("confirming came to {confirm:?}, cancelling to {cancel:?}")
            }
        }
    }

    /// How the booking's row says it, if there is one.
    fn state(self) -> Option<State> {
        match self {
            Self::Paid => Some(State::Complete),
            Self::Refunded | Self::CancelledUnpaid => Some(State::Cancelled),
            Self::Expired => None,
        }
    }

    /// How the event's journal says it.
    fn journal(self) -> &'static [JournalKind] {
        match self {
            Self::Paid => &[JournalKind::Held, JournalKind::Confirmed],
            Self::Refunded => &[JournalKind::Held, JournalKind::Confirmed, JournalKind::Cancelled],
            Self::CancelledUnpaid => &[JournalKind::Held, JournalKind::Cancelled],
            Self::Expired => &[JournalKind::Held, JournalKind::Expired],
        }
    }

    /// What becomes of the owner's account.
    fn settle(self, account: &mut Account) {
        let (paid, postings) = match self {
            Self::Paid => (PRICE, 1),
            Self::Refunded => (0, 2),
            Self::CancelledUnpaid | Self::Expired => (0, 0),
        };
        let balance = account.balance.minus(Money::from_minor(paid));
        account.balance = balance.expect("there was enough");
        account.entries += postings;
    }
}

/// Holds of one round, one seat and one user each.
const HOLDS: usize = 120;
/// So many of them, the last ones, are only confirmed. The others are confirmed and cancelled.
const UNDISPUTED: usize = 20;
const ROUNDS: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    Confirm,
    Cancel,
}

impl Move {
    async fn run(self, engine: Engine, hold: Booking) -> (BookingId, Self, Told) {
        let (owner, id) = (attendee(hold.user_id.get()), hold.id);
        let answer = match self {
            Self::Confirm => engine.confirm(owner, None, id, None).await,
            Self::Cancel => engine.cancel(owner, id, None).await,
        };
        (id, self, Told::by(&outcome(answer).map(|at| at.booking)))
    }
}

/// Every owner, in the same moment before the deadline of all holds, does what can be done with
/// theirs; every other one starts with the second thought. The clock is set to the deadline when
/// `answered` of these commands have been answered.
async fn race(service: &Service, holds: &[Booking], answered: usize) -> Vec<Ending> {
    let deadline = holds[0].expires_at;
    service.clock.set(deadline.minus(MOMENT));
    let mut racers = JoinSet::new();
    for (number, hold) in holds.iter().enumerate() {
        let moves: &[Move] = match number {
            _ if number >= HOLDS - UNDISPUTED => &[Move::Confirm],
            _ if number % 2 == 0 => &[Move::Confirm, Move::Cancel],
            _ => &[Move::Cancel, Move::Confirm],
        };
        for step in moves {
            racers.spawn(step.run(service.engine().clone(), *hold));
        }
    }
    let (mut confirms, mut cancels) = (BTreeMap::new(), BTreeMap::new());
    for number in 0..=racers.len() {
        if number == answered {
            service.clock.set(deadline);
        }
        let Some(racer) = racers.join_next().await else { break };
        let (id, step, told) = racer.expect("a racer doesn't panic");
        match step {
            Move::Confirm => confirms.insert(id, told),
            Move::Cancel => cancels.insert(id, told),
        };
    }
    service.settle().await;
    holds
        .iter()
        .map(|hold| Ending::of(confirms[&hold.id], cancels.get(&hold.id).copied()))
        .collect()
}

/// Bookings, journal and seats say what the owners were told.
async fn assert_ended(service: &Service, event_id: EventId, holds: &[Booking], endings: &[Ending]) {
    let ids = holds.iter().map(|hold| hold.id).collect();
    let rows = service.store().bookings(ids).await.expect("the store answers");
    let states: BTreeMap<BookingId, State> = rows.iter().map(|row| (row.id, row.state)).collect();
    let mut journal: BTreeMap<BookingId, Vec<JournalEntry>> = BTreeMap::new();
    for entry in service.store().journal(event_id, 1, 10_000).await.expect("the store answers") {
        journal.entry(entry.booking_id.expect("about a booking")).or_default().push(entry);
    }
    for (hold, ending) in holds.iter().zip(endings) {
        let id = hold.id;
        assert_eq!(states.get(&id).copied(), ending.state(), "booking {id}: {ending:?}");
        let entries = &journal[&id];
        let kinds: Vec<JournalKind> = entries.iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds, ending.journal(), "booking {id}: {ending:?}");
        let in_time = entries[1].at < hold.expires_at;
        assert_eq!(in_time, *ending != Ending::Expired, "a deadline is neither early nor late");
    }
    let paid = endings.iter().filter(|ending| **ending == Ending::Paid).count();
    assert_eq!(service.free_seats(event_id).await as usize, HOLDS - paid);
}

/// Ten thousand of the holds are confirmed, cancelled and due at once.
#[tokio::test]
async fn a_confirmation_a_cancellation_and_the_deadline_agree_on_the_money() {
    // Small batches, so that the deadline falls between two of them and not only around all.
    let settings = Settings { batch_commands_max: 16, ..Options::default().settings };
    let service = Service::with(Options { settings, ..Options::default() }).await;
    let users: Vec<i64> = (1..).take(HOLDS).collect();
    service.add_users(users.clone()).await;
    let deposits = users.iter().map(|user| service.deposit(*user, minor(ROUNDS)));
    let deposits = join_all(deposits).await.into_iter();
    let mut accounts: Vec<Account> = deposits.map(|account| account.expect("paid in")).collect();

    let commands = 2 * HOLDS - UNDISPUTED;
    let mut seen: BTreeMap<Ending, usize> = BTreeMap::new();
    for round in 0..ROUNDS {
        let answered = match round {
            // Whatever the machine does in the others, these two leave the deadline no choice.
            0 => 0,
            1 => commands,
            _ => service.entropy().below(commands + 1),
        };
        let event_id = service.create_event(signed(HOLDS), PRICE, 1).await;
        let holds = join_all(users.iter().map(|user| service.book(*user, event_id, 1))).await;
        let holds: Vec<Booking> = holds.into_iter().map(|hold| hold.expect("room")).collect();
        let endings = race(&service, &holds, answered).await;
        let expired = endings.iter().filter(|ending| **ending == Ending::Expired).count();
        assert!(round != 0 || expired == HOLDS, "at the deadline it is too late");
        assert!(round != 1 || expired == 0, "before the deadline it isn't");
        assert_ended(&service, event_id, &holds, &endings).await;
        for (account, ending) in accounts.iter_mut().zip(&endings) {
            ending.settle(account);
            assert_eq!(service.account(account.user_id.get()).await, *account, "{ending:?}");
            *seen.entry(*ending).or_default() += 1;
        }
    }
    assert_eq!(seen.values().sum::<usize>(), ROUNDS * HOLDS);
    assert_eq!(seen.len(), 4, "every ending occurs, but there was only {seen:?}");
    service.finish().await;
}
