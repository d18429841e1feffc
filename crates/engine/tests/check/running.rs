//! Four services at work, recounted over their databases and each by itself.

use std::time::Duration;

use eventbooker_core::bookings::State;
use eventbooker_core::events::Draft;
use eventbooker_core::{Context, EventId, Money, UserId};
use eventbooker_engine::{Engine, Settings};
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::service::{ADMIN, attendee, book, purchase};
use eventbooker_testkit::{Split, outcome};
use tokio::task::JoinSet;

const USERS: i64 = 6;
/// How long it is from one recount to the next.
const EVERY: Duration = Duration::from_secs(600);
/// Checks, of which some have met bookings that moved.
const CHECKS: u32 = 20;

/// An event at 40 a seat whose holds last a minute, and users with some money.
async fn some_users(split: &Split) -> EventId {
    split.add_users(1..=USERS).await;
    let accounts = split.engine(Context::Accounts);
    for user in 1..=USERS {
        let amount = Money::from_minor(100);
        let paid = accounts.deposit(ADMIN, UserId::new(user), amount, None).await;
        outcome(paid).expect("an admin may");
    }
    let draft = Draft {
        name: "Green run".to_owned(),
        description: String::new(),
        starts_at: None,
        capacity: 1_000,
        price_minor: 40,
        payment_window_minutes: 1,
    };
    let created = split.engine(Context::Events).create_event(ADMIN, draft, None).await;
    outcome(created).expect("the draft breaks no rule").id
}

/// Buys, holds, pays and cancels, now and then for an event that there isn't, for as long as it is let.
async fn bustle(engine: Engine, user: i64, event: EventId) {
    loop {
        // Whatever is refused, because the money is used up or a hold has ended, is refused.
        let bought = purchase(&engine, user, event, 1).await;
        let held = book(&engine, user, event, 2).await;
        let _ = book(&engine, user, event, 1).await;
        let _ = purchase(&engine, user, EventId::new(404), 1).await;
        if let Ok(held) = &held {
            let _ = engine.confirm(attendee(user), None, held.id, None).await;
        }
        for booking in bought.iter().chain(&held) {
            let _ = engine.cancel(attendee(user), booking.id, None).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_found_while_services_are_at_work() {
    let split = Split::start().await;
    let event = some_users(&split).await;
    let mut clients = JoinSet::new();
    for user in 1..=USERS {
        clients.spawn(bustle(split.engine(Context::Bookings).clone(), user, event));
    }
    let (mut checks, mut moved) = (0, 0);
    let looking = async {
        while checks < CHECKS || moved == 0 {
            // So that holds end, and errands are due.
            split.clock.advance(Duration::from_secs(10));
            let report = split.recount().await;
            assert!(report.is_clean(), "check {checks}: {:#?}", report.findings);
            (checks, moved) = (checks + 1, moved + report.moved);
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("bookings move before long");
    clients.shutdown().await;
    split.stop().await;
}

/// Each service recounts its own rows, and doesn't miss those of others.
#[tokio::test]
async fn each_service_finds_nothing_wrong_with_what_others_have() {
    let settings = Settings { recount_every: Some(EVERY), ..Settings::default() };
    let split = Split::with(settings).await;
    let event = some_users(&split).await;
    let bookings = split.engine(Context::Bookings);
    book(bookings, 1, event, 1).await.expect("there is room");
    purchase(bookings, 2, event, 2).await.expect("there is room and money");
    let cancelled = purchase(bookings, 3, event, 2).await.expect("there is room and money");
    let answer = bookings.cancel(attendee(3), cancelled.id, None).await;
    outcome(answer).expect("it is theirs");
    let refused = purchase(bookings, 4, EventId::new(404), 1).await.expect("it is written down");
    assert_eq!(refused.state, State::Cancelled, "there is no such event");
    let all_have = async |split: &Split, are: &(dyn Fn(Context, u64) -> bool + Sync)| {
        Context::ALL.into_iter().all(|context| {
            let finished = split.engine(context).recounts().finished;
            finished.is_some_and(|recount| are(context, recount.findings_total))
        })
    };
    split.clock.advance(EVERY);
    split
        .until("all have recounted", async |split: &Split| all_have(split, &|_, _| true).await)
        .await;
    for context in Context::ALL {
        let recount = split.engine(context).recounts().finished.expect("it has come to its end");
        assert_eq!(recount.first_findings, [], "{context}");
        assert_eq!(recount.rows > 0, context != Context::Identity, "{context}: {recount:?}");
    }
    assert!(split.recount().await.is_clean());

    // What is wrong within one of them is found by it, and by nobody else.
    split.database(Context::Events).change("UPDATE tallies SET occupied = occupied + 1");
    split.clock.advance(EVERY);
    split
        .until("the events' service finds it", async |split: &Split| {
            let finds = |context: Context, found| (context == Context::Events) == (found > 0);
            all_have(split, &finds).await
        })
        .await;
    split.database(Context::Events).change("UPDATE tallies SET occupied = occupied - 1");
    split.stop().await;
}
