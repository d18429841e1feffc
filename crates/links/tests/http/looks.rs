//! A neighbour's rows are seen as they are.

use std::sync::Arc;

use eventbooker_core::bookings::State;
use eventbooker_core::events::{Draft, Event};
use eventbooker_core::{BookingId, Context, EventId, Money, UserId};
use eventbooker_engine::NoAnswer;
use eventbooker_engine::{IdentityNeighbour as _, SystemClock};
use eventbooker_links::wire::looks::{Look, ROWS_MAX, Seen};
use eventbooker_store::{
    AccountQueries as _, BookingQueries as _, BookingRoute, EventQueries as _, EventsPage,
    StoreError,
};
use eventbooker_testkit::outcome;
use eventbooker_testkit::service::{ADMIN, attendee};

use super::side::{Four, Nobody, client};

const ANN: UserId = UserId::new(1);

async fn create(four: &Four, name: &str) -> Event {
    let draft = Draft {
        name: name.to_owned(),
        description: "Два слова\n\"…\"".to_owned(),
        starts_at: None,
        capacity: 9,
        price_minor: 40,
        payment_window_minutes: 30,
    };
    outcome(four.engine(Context::Events).create_event(ADMIN, draft, None).await).unwrap()
}

/// Ann has bought, held and given back; one event is cancelled.
async fn busy() -> (Four, EventId, Vec<BookingId>) {
    let four = Four::start(Arc::new(SystemClock::default()), |routes| routes).await;
    four.add_users([1, 2]).await;
    let account = four.engine(Context::Accounts);
    outcome(account.deposit(ADMIN, ANN, Money::from_minor(200), None).await).unwrap();
    let event = create(&four, "Green run").await.id;
    let other = create(&four, "Ночной забег").await.id;
    outcome(four.engine(Context::Events).cancel_event(ADMIN, other, None).await).unwrap();
    let book = four.engine(Context::Bookings);
    let bought = outcome(book.purchase(ANN, event, 2, None).await).unwrap().booking;
    let held = outcome(book.book(ANN, event, 1, None).await).unwrap().booking;
    let back = outcome(book.purchase(ANN, event, 1, None).await).unwrap().booking;
    outcome(book.cancel(attendee(1), back.id, None).await).unwrap();
    assert_eq!([bought.state, held.state], [State::Complete, State::Occupied]);
    (four, event, vec![bought.id, held.id, back.id])
}

#[tokio::test]
async fn whatever_is_asked_of_a_neighbour_is_what_its_store_says() {
    let (four, event, ids) = busy().await;
    let line = |to| {
        four.client(if to == Context::Bookings { Context::Events } else { Context::Bookings }, to)
    };
    let store = |of| four.engine(of).store();

    let (seen, there) = (line(Context::Events), store(Context::Events));
    let page = |after, name: Option<&str>| EventsPage {
        limit: 1,
        after,
        not_before: Some(four.clock.now()),
        name_contains: name.map(str::to_owned),
    };
    for id in [event, EventId::new(2), EventId::new(404)] {
        assert_eq!(seen.event(id).await, there.event(id).await);
    }
    for page in [page(None, None), page(Some(event), None), page(None, Some("НОЧ"))] {
        let events = seen.events(page.clone()).await;
        assert!(!events.as_ref().unwrap().is_empty(), "{page:?}");
        assert_eq!(events, there.events(page).await);
    }
    let all = vec![event, EventId::new(2), EventId::new(404)];
    assert_eq!(seen.events_with(all.clone()).await, there.events_with(all).await);
    for (after, limit) in [(0, 1000), (2, 1), (99, 1)] {
        let journal = seen.journal(event, after, limit).await;
        assert_eq!(journal, there.journal(event, after, limit).await);
    }
    for (before, limit) in [(None, 1), (Some(ids[1]), 9)] {
        let slots = seen.slots(event, before, limit).await;
        assert_eq!(slots.as_ref().unwrap().slots.len(), 1);
        assert_eq!(slots, there.slots(event, before, limit).await);
    }

    let (seen, there) = (line(Context::Accounts), store(Context::Accounts));
    for user in [ANN, UserId::new(2)] {
        assert_eq!(seen.account(user).await, there.account(user).await);
    }
    for (before, limit) in [(None, 9), (Some(3), 1)] {
        let postings = seen.postings(ANN, before, limit).await;
        assert_eq!(postings, there.postings(ANN, before, limit).await);
    }
    assert_eq!(seen.postings_for(ids[2]).await.unwrap().len(), 2);
    assert_eq!(seen.postings_for(ids[2]).await, there.postings_for(ids[2]).await);

    let (seen, there) = (line(Context::Bookings), store(Context::Bookings));
    assert_eq!(seen.bookings(ids.clone()).await.unwrap().len(), 3);
    assert_eq!(seen.bookings(ids.clone()).await, there.bookings(ids.clone()).await);
    for (event, before) in
        [(None, None), (Some(event), Some(ids[1])), (Some(EventId::new(2)), None)]
    {
        let live = seen.live_bookings_of_user(ANN, event, before, 9).await;
        assert_eq!(live, there.live_bookings_of_user(ANN, event, before, 9).await);
    }
    let of_ann = seen.bookings_of_user(ANN, ids[0], 9).await;
    assert_eq!(of_ann, there.bookings_of_user(ANN, ids[0], 9).await);
    for id in [ids[0], BookingId::new(404)] {
        assert_eq!(seen.booking_route(id).await, there.booking_route(id).await);
    }
    assert_eq!(seen.booking_route(BookingId::new(404)).await, Ok(BookingRoute::Never));

    let (seen, there) = (line(Context::Identity), four.engine(Context::Identity));
    let both = vec![ANN, UserId::new(2), UserId::new(404)];
    assert_eq!(seen.people(both.clone()).await.unwrap().len(), 2);
    assert_eq!(seen.people(both.clone()).await, there.people(both).await);
    for login in ["user-1", "nobody"] {
        let person = seen.person_by_login(login.to_owned()).await;
        assert_eq!(person, there.person_by_login(login.to_owned()).await);
    }
    four.stop().await;
}

#[tokio::test]
async fn looks_are_bounded_and_each_has_its_own_answer() {
    let (four, event, _) = busy().await;
    let line = four.client(Context::Bookings, Context::Events);
    let journal = |limit| Look::Journal { event: event.get(), after: 0, limit };
    let many = u32::try_from(ROWS_MAX).unwrap();
    let too_many = Look::EventsWith { ids: vec![1; ROWS_MAX + 1] };
    let mut looks =
        vec![journal(many), journal(many + 1), too_many, Look::Account { user: 1 }, journal(1)];
    // More than fit into one call.
    looks.extend(vec![Look::Event { id: event.get() }; 40]);
    let seen = line.look(&looks).await;
    assert_eq!(seen.len(), looks.len());
    let is_trouble = |seen: &Result<Seen, NoAnswer>| matches!(seen, Err(NoAnswer::Trouble(_)));
    let troubles: Vec<bool> = seen[..5].iter().map(is_trouble).collect();
    assert_eq!(troubles, [false, true, true, true, false]);
    // Nobody looks for others at what these may not see.
    assert_eq!(seen[3], Err(NoAnswer::Trouble("that can be seen at account".to_owned())));
    assert!(matches!(&seen[4], Ok(Seen::Journal(entries)) if entries.len() == 1));
    for seen in &seen[5..] {
        assert!(matches!(seen, Ok(Seen::Events(events)) if events.len() == 1), "{seen:?}");
    }
    four.stop().await;
}

#[tokio::test]
async fn whoever_cannot_be_reached_is_a_store_that_is_away() {
    let clock: Arc<dyn eventbooker_engine::Clock> = Arc::new(SystemClock::default());
    let nobody = Nobody::anywhere();
    let line = client(Context::Bookings, Context::Events, nobody.address, &clock);
    let seen = line.event(EventId::new(1)).await;
    assert!(
        matches!(&seen, Err(StoreError::Away(why)) if why.contains("can't be reached")),
        "{seen:?}"
    );
}
