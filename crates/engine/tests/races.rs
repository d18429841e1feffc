//! Many clients and few seats. The scenario is one function, [`sell_out`], which also runs on a
//! store that loses updates: there it must oversell, or it would prove nothing.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::sync::Arc;

use eventbooker_core::EventId;
use eventbooker_core::bookings::Booking;
use eventbooker_core::events::OccupyRefusal;
use eventbooker_engine::Refusal;
use eventbooker_engine::check::Rule;
use eventbooker_testkit::faults::LostUpdates;
use eventbooker_testkit::service::book;
use eventbooker_testkit::{Failure, Options, Outcome, Service, refused};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// What came of a sale.
struct Sale {
    event_id: EventId,
    /// What each client asked for and got.
    answers: Vec<(i64, Outcome<Booking>)>,
}

impl Sale {
    fn seats_booked(&self) -> u32 {
        self.answers
            .iter()
            .filter_map(|(_, answer)| answer.as_ref().ok())
            .map(|b| b.seats.get())
            .sum()
    }

    fn refusals(&self) -> impl Iterator<Item = (i64, &Failure)> {
        self.answers.iter().filter_map(|(asked, answer)| Some((*asked, answer.as_ref().err()?)))
    }
}

/// All clients ask at once, each for its number of seats, spread over all engines.
async fn sell_out(service: &Service, capacity: i64, asks: Vec<i64>) -> Sale {
    let event_id = service.create_event(capacity, 0, 30).await;
    let start = Arc::new(Barrier::new(asks.len()));
    let mut clients = JoinSet::new();
    for (number, seats) in asks.into_iter().enumerate() {
        let engine = service.engines()[number % service.engines().len()].clone();
        let start = Arc::clone(&start);
        clients.spawn(async move {
            start.wait().await;
            let user = i64::try_from(number).expect("few clients") + 1;
            (seats, book(&engine, user, event_id, seats).await)
        });
    }
    Sale { event_id, answers: clients.join_all().await }
}

async fn a_thousand_clients_share_a_hundred_seats(engines: usize) {
    let service = Service::with(Options { engines, ..Options::default() }).await;
    let sale = sell_out(&service, 100, vec![1; 1_000]).await;
    assert_eq!(sale.seats_booked(), 100);
    assert_eq!(sale.refusals().count(), 900);
    for (_, refusal) in sale.refusals() {
        assert_eq!(*refusal, refused(OccupyRefusal::SoldOut));
    }
    assert_eq!(service.free_seats(sale.event_id).await, 0);
    service.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_seats_are_sold_a_hundred_times() {
    a_thousand_clients_share_a_hundred_seats(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_sell_no_more_than_one() {
    a_thousand_clients_share_a_hundred_seats(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_fill_an_event_until_no_refused_one_would_fit() {
    let service = Service::start().await;
    let asks = (0..1_000).map(|_| 1 + i64::try_from(service.entropy().below(7)).expect("small"));
    let sale = sell_out(&service, 1_000, asks.collect()).await;

    let free = service.free_seats(sale.event_id).await;
    assert_eq!(sale.seats_booked() + free, 1_000);
    assert!(sale.refusals().count() > 0, "more was asked for than there was");
    for (asked, refusal) in sale.refusals() {
        assert!(i64::from(free) < asked, "{asked} seats were refused, but {free} are left");
        match refusal {
            Failure::Refused(Refusal::Occupy(OccupyRefusal::SoldOut)) => assert_eq!(free, 0),
            Failure::Refused(Refusal::Occupy(OccupyRefusal::TooFewSeats { free: then })) => {
                assert!(i64::from(then.get()) < asked && then.get() >= free);
            }
            Failure::Refused(_) | Failure::Failed(_) => panic!("{refusal:?}"),
        }
    }
    service.finish().await;
}

/// The negative control: with nothing between load and save, the very same sale oversells, and
/// both the clients' answers and the recount show it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_lock_and_keys_a_store_oversells() {
    let lost_updates = Some(LostUpdates::without_lock_and_keys(2));
    let service = Service::with(Options { engines: 2, lost_updates, ..Options::default() }).await;
    let sale = sell_out(&service, 100, vec![1; 1_000]).await;

    assert!(sale.seats_booked() > 100, "the control must oversell, or the tests prove nothing");
    let report = service.recount().await;
    let oversold = |what: &str| what.contains("is oversold");
    assert!(
        report.findings.iter().any(|f| f.rule == Rule::Seats && oversold(&f.what)),
        "{:#?}",
        report.findings
    );
    service.finish_spoilt().await;
}

/// The second line of defence: without the lock, the journal's key alone keeps two writers from
/// selling the same seat. Commands may fail then, but what is said yes to holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_lock_a_store_is_saved_by_its_keys() {
    let lost_updates = Some(LostUpdates::without_lock(2));
    let service = Service::with(Options { engines: 2, lost_updates, ..Options::default() }).await;
    let sale = sell_out(&service, 100, vec![1; 1_000]).await;
    assert!(sale.seats_booked() <= 100);
    assert_eq!(sale.seats_booked() + service.free_seats(sale.event_id).await, 100);
    service.finish().await;
}
