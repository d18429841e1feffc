//! The recount where each context is in a database of its own, and where only some of them are there.

use async_trait::async_trait;
use eventbooker_core::bookings::Booking;
use eventbooker_core::{BookingId, Context, Contexts};
use eventbooker_engine::check::{
    Finding, Report, Room, Rule, SecondLook, Together, recount_within,
};
use eventbooker_store::{Snapshot, StoreError};
use eventbooker_testkit::Service;

use super::damages::{DAMAGED_MONEY, DAMAGES};
use super::rows::Rows;
use super::{some_bookings, some_money};

/// One with more than enough, and those that are used up at once: by numbers, by groups, by rows.
const ROOMS: [Room; 4] = [
    Room { numbers: 1_000, groups: 1_000, rows: 1_000 },
    Room { numbers: 2, groups: 1_000, rows: 1_000 },
    Room { numbers: 1_000, groups: 1, rows: 1_000 },
    Room { numbers: 3, groups: 3, rows: 1 },
];

/// What is looked at again: bookings first, and slots after them.
pub(crate) struct Again {
    pub(crate) bookings: Vec<Booking>,
    pub(crate) events: Rows,
}

#[async_trait]
impl SecondLook for Again {
    async fn bookings(&self, ids: Vec<BookingId>) -> Result<Vec<Booking>, StoreError> {
        let asked_for = |booking: &&Booking| ids.contains(&booking.id);
        Ok(self.bookings.iter().filter(asked_for).copied().collect())
    }

    async fn events(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(self.events.clone()))
    }
}

/// Recounts three databases: that of the bookings, that of the events, that of the accounts.
pub(crate) async fn recount_three(room: Room, mut of: [Rows; 3], again: &Again) -> Report {
    let [bookings, events, accounts] = &mut of;
    let parts: Vec<(Contexts, &mut dyn Snapshot)> = vec![
        (Context::Bookings.into(), bookings),
        (Context::Events.into(), events),
        (Context::Accounts.into(), accounts),
    ];
    let mut together = Together::apart(parts, again);
    recount_within(room, &mut together, &mut |_, _| {}).await.expect("the rows can be read")
}

/// Recounts rows that lie in three databases, and that nobody changes meanwhile.
async fn recount_apart(room: Room, rows: &Rows) -> Report {
    let three = [Context::Bookings, Context::Events, Context::Accounts];
    let again = Again { bookings: rows.bookings.rows.clone(), events: rows.only(Context::Events) };
    recount_three(room, three.map(|context| rows.only(context)), &again).await
}

/// Recounts rows of some contexts, where tables of others may hold anything.
async fn recount_some(contexts: impl Into<Contexts>, room: Room, rows: &Rows) -> Report {
    let contexts = contexts.into();
    // It comes to the same whether the other tables are there or not.
    let [among_others, alone] = [rows.clone(), rows.only(contexts)].map(async |mut rows| {
        let mut some = Together::in_one(contexts, &mut rows);
        let report = recount_within(room, &mut some, &mut |_, _| {}).await;
        report.expect("the rows can be read")
    });
    let report = alone.await;
    assert_eq!(among_others.await, report, "{contexts}");
    report
}

/// The rows of a copy with this damage; not what its database says of its own files.
async fn damaged(service: &Service, damage: &str) -> Rows {
    let mut snapshot = service.damaged(damage).await.snapshot().await.expect("a snapshot");
    let mut rows = Rows::of(&mut *snapshot).await;
    rows.integrity.clear();
    rows
}

/// Every damage, with the rule that has to notice, and the service that it is done to.
async fn for_every_damage(mut look: impl AsyncFnMut(&str, Rows, Rule)) {
    let service = some_bookings().await;
    for (what, damage, rule) in DAMAGES {
        look(what, damaged(&service, damage).await, *rule).await;
    }
    service.finish().await;
    let service = some_money().await;
    for (what, damage) in DAMAGED_MONEY {
        look(what, damaged(&service, damage).await, Rule::Money).await;
    }
    service.finish().await;
}

async fn recount_whole(rows: &Rows) -> Report {
    recount_some(Contexts::ALL, ROOMS[0], rows).await
}

#[tokio::test]
async fn every_damage_is_found_where_each_context_has_a_database() {
    for_every_damage(async |what, rows, rule| {
        let whole = recount_whole(&rows).await;
        let is_found = |found: &Finding| found.rule == rule;
        assert!(rule == Rule::Storage || whole.findings.iter().any(is_found), "{what}");
        for room in ROOMS {
            assert_eq!(recount_apart(room, &rows).await, whole, "{what} in {room:?}");
        }
    })
    .await;
}

/// What is said of a booking that its context tells otherwise than another one.
const BETWEEN: [&str; 6] = [
    "should have",
    "is live, but event",
    "which isn't live",
    "isn't complete like that",
    "is complete, but isn't charged",
    "is for event",
];

/// What is wrong within one context is found there alone, and it says nothing of others.
#[tokio::test]
async fn a_context_alone_finds_what_is_wrong_within_it() {
    for_every_damage(async |what, rows, _| {
        let mut left = recount_whole(&rows).await.findings;
        for context in [Context::Bookings, Context::Events, Context::Accounts] {
            let alone = recount_some(context, ROOMS[0], &rows).await;
            for room in ROOMS {
                assert_eq!(recount_some(context, room, &rows).await, alone, "{what} in {room:?}");
            }
            for finding in alone.findings {
                let place = left.iter().position(|found| *found == finding);
                left.remove(place.unwrap_or_else(|| panic!("{what}: {finding:?} of {context}")));
            }
        }
        for finding in left {
            let says = |words: &&str| finding.what.contains(*words);
            assert!(BETWEEN.iter().any(says), "{what}: {finding:?} is found by nobody alone");
        }
    })
    .await;
}

/// What is sound is read once; where there are postings and no bookings, those are read twice.
#[tokio::test]
async fn a_sound_context_is_in_no_doubt() {
    for service in [some_bookings().await, some_money().await] {
        let rows = damaged(&service, "").await;
        for context in Context::ALL {
            let (mut rows, mut read) = (rows.clone(), 0);
            let mut alone = Together::in_one(context.into(), &mut rows);
            let report = recount_within(ROOMS[0], &mut alone, &mut |rows, _| read = rows).await;
            let Report { counts, findings, .. } = report.expect("the rows can be read");
            assert_eq!(findings, [], "{context}");
            assert_eq!(read, counts.all() + counts.postings, "{context}");
        }
        service.finish().await;
    }
}
