//! How an event's seats went over time, and who has booked them.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::time::Duration;

use eventbooker_core::bookings::State;
use eventbooker_core::events::{JournalEntry, JournalKind, SlotState};
use eventbooker_core::{BookingId, EventId, Money, UserId};
use eventbooker_engine::{ENTRIES_PER_LOOK, Found, GuestsPage, History, SPANS_MAX};
use eventbooker_store::Changes;
use eventbooker_testkit::Service;
use eventbooker_testkit::rows::{at, event, held, save};
use eventbooker_testkit::service::{ADMIN, attendee};

const PRICE: i64 = 40;

async fn history(service: &Service, id: EventId) -> History {
    let history = service.engine().history(id).await.expect("read").expect("an event");
    assert!(history.is_whole());
    assert!(history.spans.len() <= SPANS_MAX);
    let last = history.spans.last().expect("a span");
    let (held, sold) = (history.held, history.sold);
    assert_eq!((last.held, last.sold), (held, sold), "a history ends with what is");
    assert_eq!(history.event.tally.occupied.get(), held.get() + sold.get());
    let slots = service.store().slots(id, None, 1000).await.expect("read").slots;
    let seats = |state| {
        slots.iter().filter(|slot| slot.state == state).map(|slot| slot.seats.get()).sum::<u32>()
    };
    assert_eq!((seats(SlotState::Held), seats(SlotState::Sold)), (held.get(), sold.get()));
    history
}

fn told(history: &History) -> (u32, u32, i64) {
    (history.held.get(), history.sold.get(), history.takings.as_minor())
}

#[tokio::test]
async fn held_sold_and_takings_follow_every_kind_of_change() {
    let service = Service::start().await;
    service.add_users([1, 2]).await;
    service.deposit(1, 10_000).await.expect("a user");
    let id = service.create_event(100, PRICE, 30).await;
    assert_eq!(told(&history(&service, id).await), (0, 0, 0));
    let mut bookings = Vec::new();
    for seats in 1..=4 {
        bookings.push(service.book(1, id, seats).await.expect("free").id);
    }
    service.book(2, id, 7).await.expect("free");
    assert_eq!(told(&history(&service, id).await), (17, 0, 0));
    for booking in &bookings[..3] {
        service.confirm(attendee(1), *booking).await.expect("money");
    }
    let purchased = service.purchase(1, id, 10).await.expect("money");
    assert_eq!(told(&history(&service, id).await), (11, 16, 16 * PRICE));
    // What was paid keeps its price.
    let dearer =
        eventbooker_core::events::Amendment { price_minor: Some(99), ..Default::default() };
    service.edit(id, dearer).await.expect("a good plan");
    service.cancel(attendee(1), bookings[0]).await.expect("paid");
    service.cancel(ADMIN, purchased.id).await.expect("paid");
    service.cancel(attendee(1), bookings[3]).await.expect("held");
    assert_eq!(told(&history(&service, id).await), (7, 5, 5 * PRICE));
    service.pass(Duration::from_secs(1800)).await;
    let now = history(&service, id).await;
    assert_eq!(told(&now), (0, 5, 5 * PRICE));
    let sum = |read: fn(&eventbooker_engine::Span) -> u32| now.spans.iter().map(read).sum::<u32>();
    assert_eq!((sum(|span| span.booked), sum(|span| span.given_back)), (27, 22));
    assert_eq!(now.spans.len(), 31, "a span for each minute");

    service.cancel_event(id).await.expect("an event");
    service.until_released(id).await;
    assert_eq!(told(&history(&service, id).await), (0, 0, 0));
    service.pass(Duration::from_secs(7200)).await;
    assert!(history(&service, id).await.spans.len() < 40, "nothing happens to it any more");
    assert_eq!(service.engine().history(EventId::new(999)).await, Ok(None));
    service.finish().await;
}

/// One look doesn't read all of it, and says so.
#[tokio::test]
async fn a_long_journal_is_read_look_by_look() {
    const BEYOND: i64 = 4_000;
    let service = Service::start().await;
    let mut event = event(1);
    let versions = i64::from(ENTRIES_PER_LOOK) + BEYOND;
    save(service.store(), Changes { events_added: vec![event.clone()], ..Changes::default() })
        .await;
    // Two seats that are held and given back, again and again.
    let entry = |version: i64| {
        let kind = if version % 2 == 1 { JournalKind::Held } else { JournalKind::Expired };
        JournalEntry { kind, at: at(version), ..held(1, version, (version + 1) / 2) }
    };
    for first in (1..=versions).step_by(8_000) {
        let last = (first + 7_999).min(versions);
        event.tally.version = last;
        let journal = (first..=last).map(entry).collect();
        let tallies_changed = vec![(event.id, event.tally)];
        let changes = Changes { journal, tallies_changed, ..Changes::default() };
        save(service.store(), changes).await;
    }
    let look = async || service.engine().history(event.id).await.expect("read").expect("an event");
    let (one, other) = tokio::join!(look(), look());
    let (one, other) = if one.is_whole() { (other, one) } else { (one, other) };
    assert!(!one.is_whole());
    assert_eq!(one.version, i64::from(ENTRIES_PER_LOOK));
    assert!(other.is_whole(), "nobody reads again what another look has read");
    assert_eq!(told(&other), (0, 0, 0));
    let booked: u32 = other.spans.iter().map(|span| span.booked).sum();
    assert_eq!(i64::from(booked), versions, "each entry counts once");
    service.finish_spoilt().await;
}

fn numbers(page: &GuestsPage) -> Vec<i64> {
    page.guests.iter().map(|guest| guest.at.booking.id.get()).collect()
}

#[tokio::test]
async fn guests_come_with_their_owners_page_by_page_and_by_state() {
    let service = Service::start().await;
    service.add_users([1, 2]).await;
    let id = service.create_event(1000, 0, 30).await;
    let other = service.create_event(10, 0, 30).await;
    for number in 1..=30 {
        let user = 1 + number % 2;
        let booking = service.book(user, id, 1).await.expect("free").id;
        if number <= 3 {
            service.confirm(attendee(user), booking).await.expect("free of charge");
        }
    }
    let elsewhere = service.book(1, other, 1).await.expect("free").id;
    let engine = service.engine();
    let page = async |state, before: Option<i64>, limit| {
        engine.guests(id, state, before.map(BookingId::new), limit).await.expect("read")
    };
    let all = page(None, None, 40).await;
    assert_eq!(numbers(&all), (1..=30).rev().collect::<Vec<_>>());
    assert_eq!(all.next, None);
    for guest in &all.guests {
        let owner = service.store().users_by_ids(vec![guest.at.booking.user_id]).await;
        assert_eq!(guest.owner, owner.expect("read").pop().map(|user| user.profile));
        assert!(guest.owner.is_some());
    }
    let first = page(None, None, 20).await;
    assert_eq!((numbers(&first)[19], first.next), (11, Some(BookingId::new(11))));
    let held = page(Some(SlotState::Held), Some(6), 20).await;
    assert_eq!((numbers(&held), held.next), (vec![5, 4], None));
    // One look goes through ten pages; what it hasn't come to is on the next one.
    let sold = page(Some(SlotState::Sold), None, 2).await;
    assert_eq!((numbers(&sold), sold.next), (vec![], Some(BookingId::new(11))));
    let sold = page(Some(SlotState::Sold), Some(11), 2).await;
    assert_eq!((numbers(&sold), sold.next), (vec![3, 2], Some(BookingId::new(2))));
    let own = engine.guest(UserId::new(1), Some(other), None, 9).await.expect("read");
    assert_eq!(numbers(&own), [elsewhere.get()]);

    let find = async |id: i64| engine.find_booking(BookingId::new(id)).await.expect("read");
    assert!(matches!(find(1).await, Found::Live(guest) if guest.at.booking.user_id.get() == 2));
    assert_eq!((find(999).await, find(0).await), (Found::Never, Found::Never));
    service.cancel(ADMIN, BookingId::new(1)).await.expect("paid");
    let Found::Cancelled(guest) = find(1).await else { panic!("it was cancelled") };
    assert_eq!((guest.at.booking.state, guest.at.booking.amount), (State::Cancelled, Money::ZERO));
    service.pass(Duration::from_secs(1800)).await;
    assert_eq!(find(30).await, Found::Expired);
    assert_eq!(numbers(&page(None, None, 9).await), [3, 2]);
    service.finish().await;
}
