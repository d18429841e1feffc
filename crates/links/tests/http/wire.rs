//! What was once written is still read: batches and results as version 1 has written them. The files
//! are recorded; whoever has to change one has to think of services that still write it.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use eventbooker_core::bookings::participant::Request;
use eventbooker_core::bookings::saga::{Answer, Ask};
use eventbooker_core::events::{PaymentWindow, Release, Seats};
use eventbooker_core::{BookingId, Context, EventId, Money, UserId};
use eventbooker_engine::Clock;
use eventbooker_engine::NoAnswer;
use eventbooker_links::wire::looks::{Look, Seen};
use eventbooker_links::wire::notices::{Notice, NoticeItem, NoticeResult};
use eventbooker_links::wire::steps::{Refused, StepItem, StepResult};
use eventbooker_links::wire::{Batch, Results, Sees};
use eventbooker_testkit::ManualClock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::side::client;

const STEPS: &str = include_str!("../fixtures/v1/steps.json");
const RESULTS: &str = include_str!("../fixtures/v1/results.json");

fn request(ask: Ask, amount: i64, attempt: u32) -> Request {
    Request {
        booking_id: BookingId::new(7),
        event_id: EventId::new(3),
        user_id: UserId::new(1),
        begun: None,
        seats: Seats::new(2),
        amount: Money::from_minor(amount),
        attempt,
        ask,
        trace: None,
    }
}

fn requests() -> Vec<Request> {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    vec![
        Request { trace: Some(trace.parse().unwrap()), ..request(Ask::Occupy, 0, 0) },
        request(Ask::Settle, 80, 1),
        request(Ask::Release(Release::Cancelled), 80, 1),
        request(Ask::Release(Release::Expired), 80, 0),
        request(Ask::Charge, 80, 1),
        request(Ask::Refund, 80, 1),
    ]
}

#[test]
fn a_batch_of_version_1_is_read_and_written() {
    let batch: Batch<StepItem> = serde_json::from_str(STEPS).unwrap();
    let read: Vec<Request> =
        batch.items.iter().cloned().map(|item| item.try_into().unwrap()).collect();
    assert_eq!(read, requests());
    assert_eq!(batch.from, Context::Bookings);
    assert_eq!(batch.database.as_deref(), Some("b00c"));
    assert_eq!(batch.sees, Some(Sees { database: "e7e7".to_owned(), number: 123, heard: None }));
    let items = requests().into_iter().map(StepItem::from).collect();
    let written = serde_json::to_value(Batch { items, ..batch }).unwrap();
    assert_eq!(written, serde_json::from_str::<Value>(STEPS).unwrap());
}

fn results() -> Vec<StepResult> {
    let refused = |why| StepResult::Refused(why);
    vec![
        StepResult::Occupied { amount: 80, minutes: 30 },
        StepResult::Charged {},
        StepResult::Settled {},
        StepResult::Refunded {},
        StepResult::Released {},
        refused(Refused::NoSuchEvent),
        refused(Refused::AmountTooLarge),
        refused(Refused::EventCancelled),
        refused(Refused::EventBegun),
        refused(Refused::SoldOut),
        refused(Refused::TooFewSeats { free: 1 }),
        refused(Refused::TooLittleMoney { balance: 5, amount: 80 }),
        refused(Refused::Withdrawn),
        StepResult::Trouble("the disk is full".to_owned()),
    ]
}

#[test]
fn results_of_version_1_are_read_and_written() {
    let read: Results<StepResult> = serde_json::from_str(RESULTS).unwrap();
    assert_eq!(read.results, results());
    assert_eq!((read.database.as_deref(), read.number), (Some("e7e7"), Some(130)));
    let written = serde_json::to_value(Results { results: results(), ..read }).unwrap();
    assert_eq!(written, serde_json::from_str::<Value>(RESULTS).unwrap());
}

/// Recorded, and read and written here as the same items.
fn is_still_read<T: Serialize + DeserializeOwned + PartialEq + Debug>(recorded: &str, items: &[T]) {
    let read: Vec<T> = serde_json::from_str(recorded).unwrap();
    assert_eq!(read, items);
    let written = serde_json::to_value(items).unwrap();
    assert_eq!(written, serde_json::from_str::<Value>(recorded).unwrap());
}

#[test]
fn notices_of_version_1_are_read_and_written() {
    let notice = Notice::EventCancelled;
    let notices = [NoticeItem { notice, event: 3, booking: 7 }];
    is_still_read(include_str!("../fixtures/v1/notices.json"), &notices);
    let results = [
        NoticeResult::Released {},
        NoticeResult::UnderWay {},
        NoticeResult::Unknown {},
        NoticeResult::Trouble("the disk is full".to_owned()),
    ];
    is_still_read(include_str!("../fixtures/v1/noted.json"), &results);
}

#[test]
fn looks_of_version_1_are_read_and_written() {
    let (user, limit, before) = (1, 20, Some(9));
    let looks = [
        Look::People { ids: vec![1, 2] },
        Look::PersonByLogin { login: "ann".to_owned() },
        Look::Event { id: 3 },
        Look::Events { limit, after: None, not_before: None, name_contains: None },
        Look::Events {
            limit,
            after: Some(3),
            not_before: Some(1_767_225_600_000_000),
            name_contains: Some("run".to_owned()),
        },
        Look::EventsWith { ids: vec![3] },
        Look::Journal { event: 3, after: 0, limit },
        Look::Slots { event: 3, before, limit },
        Look::Account { user },
        Look::Postings { user, before: None, limit },
        Look::PostingsFor { booking: 7 },
        Look::Bookings { ids: vec![7] },
        Look::LiveBookings { user, event: Some(3), before, limit },
        Look::BookingsOfUser { user, after: 0, limit },
        Look::BookingRoute { id: 7 },
    ];
    is_still_read(include_str!("../fixtures/v1/looks.json"), &looks);
    // What all of them show is compared with what is in the store by the tests of looks; here is
    // what is shown of each kind.
    let seen: Vec<Seen> = serde_json::from_str(include_str!("../fixtures/v1/seen.json")).unwrap();
    is_still_read(include_str!("../fixtures/v1/seen.json"), &seen);
    assert_eq!(seen.len(), 12);
}

#[test]
fn every_refusal_means_the_same_on_both_sides() {
    for result in results() {
        if let StepResult::Refused(why) = result.clone() {
            for (ask, expected) in [
                (Ask::Occupy, Answer::NotOccupied(why.into())),
                (Ask::Charge, Answer::NotCharged(why.into())),
            ] {
                assert_eq!(result.clone().answer(ask), Ok(expected));
                assert_eq!(StepResult::from(expected), result);
            }
        }
    }
}

#[test]
fn a_result_answers_only_what_was_asked() {
    let offer =
        Answer::Occupied { amount: Money::from_minor(80), window: PaymentWindow::from_minutes(30) };
    let fits = [
        (Ask::Occupy, offer),
        (Ask::Charge, Answer::Charged),
        (Ask::Settle, Answer::Settled),
        (Ask::Refund, Answer::Refunded),
        (Ask::Release(Release::Expired), Answer::Released),
    ];
    for (ask, _) in fits {
        for (asked, answer) in fits {
            let heard = StepResult::from(answer).answer(ask);
            assert_eq!(heard.is_ok(), ask == asked, "{answer} to {ask}");
            assert!(heard.is_err() || heard == Ok(answer));
        }
        let refused = StepResult::Refused(Refused::Withdrawn).answer(ask);
        assert_eq!(refused.is_ok(), matches!(ask, Ask::Occupy | Ask::Charge), "{ask}");
    }
}

/// A neighbour that answers with whatever it is told to.
async fn says(results: Value) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let body = json!({"results": results, "later": {"a": [1]}}).to_string();
    let routes = Router::new().route(
        "/internal/v1/events/steps",
        post(move || {
            let body = body.clone();
            async move { body }
        }),
    );
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

#[tokio::test]
async fn what_a_later_release_says_is_read_or_trouble_of_that_item() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
    let address = says(json!([
        {"occupied": {"amount": 80, "minutes": 30, "row": "A"}},
        {"refused": {"why": "under-age", "age": 12}},
        {"postponed": {}},
        {"settled": {}},
        {"refused": {"why": "sold-out", "since": 1}},
        {"charged": {}},
        null
    ]))
    .await;
    let asked = [request(Ask::Occupy, 0, 0); 7];
    let answers = client(Context::Bookings, Context::Events, address, &clock).steps(&asked).await;
    let troubles: Vec<bool> = answers.iter().map(Result::is_err).collect();
    assert_eq!(troubles, [false, true, true, true, false, true, true]);
    assert!(answers.iter().flatten().next().is_some());
    for trouble in answers.into_iter().filter_map(Result::err) {
        assert!(matches!(trouble, NoAnswer::Trouble(_)), "{trouble:?}");
    }
}
