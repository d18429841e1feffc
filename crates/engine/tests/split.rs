//! Four engines, each with one context's rows: what one needs of another goes through its neighbour.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::time::Duration;

use eventbooker_core::accounts::PostingKind;
use eventbooker_core::bookings::{Booking, State};
use eventbooker_core::events::{Draft, SlotState};
use eventbooker_core::identity::{Profile, Role};
use eventbooker_core::{BookingId, Context, Contexts, EventId, Money, UserId};
use eventbooker_engine::{Found, Freed, NewUser, Refusal};
use eventbooker_store::{Changes, StoreError};
use eventbooker_testkit::client::PASSWORD;
use eventbooker_testkit::service::{ADMIN, attendee, book, purchase, refused};
use eventbooker_testkit::{Split, outcome, rows};

const ANN: i64 = 1;
const BOB: i64 = 2;

async fn create_event(split: &Split, capacity: i64) -> EventId {
    let draft = Draft {
        name: "Green run".to_owned(),
        description: String::new(),
        starts_at: None,
        capacity,
        price_minor: 40,
        payment_window_minutes: 30,
    };
    let answer = split.engine(Context::Events).create_event(ADMIN, draft, None).await;
    outcome(answer).expect("the draft breaks no rule").id
}

async fn pay_in(split: &Split, user: i64, amount: i64) {
    let (accounts, user) = (split.engine(Context::Accounts), UserId::new(user));
    let paid = accounts.deposit(ADMIN, user, Money::from_minor(amount), None).await;
    outcome(paid).expect("an admin may");
}

async fn balance(split: &Split, user: i64) -> i64 {
    let account = split.engine(Context::Bookings).account(UserId::new(user)).await;
    account.expect("the neighbour answers").balance.as_minor()
}

async fn held_and_sold(split: &Split, event: EventId) -> (u32, u32) {
    let event = split.engine(Context::Bookings).events().event(event).await;
    let tally = event.expect("the neighbour answers").expect("it is there").tally;
    (tally.pending_bookings, tally.confirmed_bookings)
}

/// Ann has paid for two seats and holds two, Bob holds one.
async fn sold_and_held(split: &Split) -> (EventId, [Booking; 3]) {
    split.add_users([ANN, BOB]).await;
    pay_in(split, ANN, 200).await;
    let event = create_event(split, 10).await;
    let bookings = split.engine(Context::Bookings);
    let paid = purchase(bookings, ANN, event, 2).await.expect("there is room and money");
    let held = book(bookings, ANN, event, 2).await.expect("there is room");
    let of_bob = book(bookings, BOB, event, 1).await.expect("there is room");
    (event, [paid, held, of_bob])
}

#[tokio::test]
async fn a_booking_meets_its_event_its_account_and_its_owner_in_four_databases() {
    let split = Split::start().await;
    let (event, [paid, held, of_bob]) = sold_and_held(&split).await;
    assert_eq!((paid.state, held.state), (State::Complete, State::Occupied));
    assert_eq!(balance(&split, ANN).await, 120);
    assert_eq!(held_and_sold(&split, event).await, (2, 1));

    // The organiser's page is where the events are.
    let events = split.engine(Context::Events);
    let guests = events.guests(event, None, None, 10).await.expect("the neighbours answer").guests;
    let guest = |id: BookingId, login: &str| (id, Some(login.to_owned()));
    let found: Vec<_> = guests
        .into_iter()
        .map(|guest| (guest.at.booking.id, guest.owner.map(|owner| owner.login)))
        .collect();
    let expected = [guest(of_bob.id, "user-2"), guest(held.id, "user-1"), guest(paid.id, "user-1")];
    assert_eq!(found, expected);
    let sold = events.guests(event, Some(SlotState::Sold), None, 10).await.expect("read").guests;
    assert_eq!(sold.iter().map(|guest| guest.at.booking.id).collect::<Vec<_>>(), [paid.id]);
    let history = events.history(event).await.expect("read").expect("it is there");
    assert_eq!((history.takings.as_minor(), history.sold.get()), (80, 2));
    let found = events.find_booking(held.id).await.expect("read");
    assert!(matches!(found, Found::Live(guest) if guest.at.booking == held), "its own row");
    assert_eq!(events.find_booking(BookingId::new(999)).await, Ok(Found::Never));
    let ann = events.person_by_login("user-1".to_owned()).await.expect("read");
    assert_eq!(ann.map(|person| person.id), Some(UserId::new(ANN)));

    // And what the booking page shows is where the bookings are.
    let bookings = split.engine(Context::Bookings);
    let live = bookings.bookings_of_event(ADMIN, event, None, 10).await.expect("read").bookings;
    assert_eq!(live.len(), 3);
    let postings = bookings.postings(UserId::new(ANN), None, 10).await.expect("read");
    let kinds: Vec<_> = postings.iter().map(|posting| posting.kind).collect();
    assert_eq!(kinds, [PostingKind::Charge, PostingKind::Deposit]);
    split.stop().await;
}

#[tokio::test]
async fn each_database_has_rows_of_its_own_context_only() {
    let split = Split::start().await;
    let (event, _) = sold_and_held(&split).await;
    let rows = |context, table: &str| {
        split.database(context).number(&format!("SELECT count(*) FROM {table}"))
    };
    for (table, owner) in [
        ("users", Context::Identity),
        ("events", Context::Events),
        ("slots", Context::Events),
        ("journal", Context::Events),
        ("accounts", Context::Accounts),
        ("postings", Context::Accounts),
        ("bookings", Context::Bookings),
    ] {
        for context in Context::ALL {
            assert_eq!(rows(context, table) > 0, context == owner, "{table} of {context}");
        }
    }
    assert_eq!(held_and_sold(&split, event).await, (2, 1));
    split.stop().await;
}

/// A replica of its own has no word of it.
#[tokio::test]
async fn a_session_that_another_replica_has_ended_is_nobodys_half_a_second_later() {
    let split = Split::start().await;
    let auth = split.engine(Context::Identity);
    let [login, email, first_name, last_name] = ["ann", "", "", ""].map(str::to_owned);
    let profile = Profile { login, email, first_name, last_name };
    let new = NewUser { profile, role: Role::User, password: PASSWORD.to_owned() };
    let ann = outcome(auth.register(new, None).await).expect("the login is free").id;
    let signed_in = auth.sign_in("ann".to_owned(), PASSWORD.to_owned(), None).await;
    let signed_in = signed_in.expect("it answers").expect("the password is right");
    let whose = async || {
        let session = auth.session(signed_in.token.reveal()).await.expect("the store answers");
        session.map(|session| session.person.id)
    };
    assert_eq!(whose().await, Some(ann));
    let changes = Changes { sessions_removed_of: vec![ann], ..Changes::default() };
    rows::save(split.store(Context::Identity), changes).await;
    split.clock.advance(Duration::from_millis(500));
    assert_eq!(whose().await, None);
    split.stop().await;
}

#[tokio::test]
async fn what_was_booked_on_a_cancelled_event_is_released_and_paid_back() {
    let split = Split::start().await;
    let (event, booked) = sold_and_held(&split).await;
    // Nobody hears of the cancellation at first.
    split.cut(Context::Bookings, true);
    let cancelled = split.engine(Context::Events).cancel_event(ADMIN, event, None).await;
    outcome(cancelled).expect("an admin may");
    assert_eq!(held_and_sold(&split, event).await, (2, 1));
    split.cut(Context::Bookings, false);
    split
        .until("all of it is released", async |split: &Split| {
            held_and_sold(split, event).await == (0, 0)
        })
        .await;
    split.until("it is paid back", async |split: &Split| balance(split, ANN).await == 200).await;
    let ids = booked.map(|booking| booking.id).to_vec();
    split
        .until("all of them are cancelled", async |split: &Split| {
            let bookings = split.store(Context::Bookings).bookings(ids.clone()).await;
            bookings.expect("read").iter().all(|booking| booking.state == State::Cancelled)
        })
        .await;
    let event = split.store(Context::Events).event(event).await.expect("read").expect("there");
    assert_eq!(event.cancellation.map(|it| it.is_releasing), Some(false));
    split.stop().await;
}

/// The money is where the bookings are, and goes back in the transaction that hears of the
/// cancellation, of a hold that was just being paid as well.
#[tokio::test]
async fn a_hold_that_was_being_paid_is_released_where_the_money_is_here() {
    let [identity, events, accounts, bookings] = Context::ALL.map(Contexts::from);
    let split = Split::in_parts(&[identity, events, accounts.and(bookings)]).await;
    let (event, [_, held, _]) = sold_and_held(&split).await;
    split.cut(Context::Events, true);
    let book = split.engine(Context::Bookings).clone();
    let paying =
        tokio::spawn(async move { book.confirm(attendee(ANN), None, held.id, None).await });
    split
        .until("it is charged", async |split: &Split| {
            let found = split.store(Context::Bookings).bookings(vec![held.id]).await;
            found.expect("read")[0].state == State::Completing
        })
        .await;
    let cancelled = split.engine(Context::Events).cancel_event(ADMIN, event, None).await;
    outcome(cancelled).expect("an admin may");
    let word = split.engine(Context::Bookings).release(event, vec![held.id]).await;
    assert_eq!(word, [Ok(Freed::Now)]);
    // The event has its other bookings released at the same time, so the balance may be anything.
    let posted = split.store(Context::Accounts).postings_for(held.id).await.expect("read");
    let posted: Vec<PostingKind> = posted.iter().map(|posting| posting.kind).collect();
    assert_eq!(posted, [PostingKind::Charge, PostingKind::Refund]);
    split.cut(Context::Events, false);
    split
        .until("all of it is released", async |split: &Split| {
            held_and_sold(split, event).await == (0, 0) && balance(split, ANN).await == 200
        })
        .await;
    paying.await.expect("it is answered").expect("it was taken");
    split.stop().await;
}

/// Its row is damaged: it stays where it is, and keeps no other booking from being released.
#[tokio::test]
async fn a_booking_that_nobody_can_read_keeps_no_other_from_being_released() {
    let split = Split::start().await;
    let (event, [_, held, _]) = sold_and_held(&split).await;
    let damage = format!("UPDATE bookings SET state = 99 WHERE id = {}", held.id);
    assert_eq!(split.database(Context::Bookings).change(&damage), 1);
    let cancelled = split.engine(Context::Events).cancel_event(ADMIN, event, None).await;
    outcome(cancelled).expect("an admin may");
    split
        .until("the others are released", async |split: &Split| {
            held_and_sold(split, event).await == (1, 0)
        })
        .await;
    split.stop_spoilt().await;
}

/// Its row is gone, as from a database that was restored: the seats are left alone, so that somebody
/// can see it, and keep no other booking from being released.
#[tokio::test]
async fn seats_of_a_booking_that_nobody_knows_are_left_alone() {
    let split = Split::start().await;
    let (event, [_, held, _]) = sold_and_held(&split).await;
    let lost = format!("DELETE FROM bookings WHERE id = {}", held.id);
    assert_eq!(split.database(Context::Bookings).change(&lost), 1);
    let cancelled = split.engine(Context::Events).cancel_event(ADMIN, event, None).await;
    outcome(cancelled).expect("an admin may");
    split
        .until("the others are released", async |split: &Split| {
            held_and_sold(split, event).await == (1, 0)
        })
        .await;
    for _ in 0..3 {
        split.clock.advance(Duration::from_secs(2));
        assert_eq!(held_and_sold(&split, event).await, (1, 0));
    }
    let findings = split.recount().await.findings;
    let [found] = findings.as_slice() else { panic!("{findings:#?}") };
    assert_eq!(found.what, "event 1 keeps 2 seats for booking 2, which isn't live");
    split.stop_spoilt().await;
}

#[tokio::test]
async fn whoever_pays_in_for_somebody_else_names_a_user_whom_identity_knows() {
    let split = Split::start().await;
    split.add_users([ANN]).await;
    let accounts = split.engine(Context::Accounts);
    let pay_in = async |actor, user| {
        outcome(accounts.deposit(actor, UserId::new(user), Money::from_minor(5), None).await)
            .map(|account| account.balance.as_minor())
    };
    assert_eq!(pay_in(ADMIN, ANN).await, Ok(5));
    assert_eq!(pay_in(ADMIN, BOB).await, Err(refused(Refusal::NoSuchUser)));
    for user in [ANN, BOB] {
        let who_is_there_is_not_told = pay_in(attendee(ANN), user).await;
        assert_eq!(who_is_there_is_not_told, Err(refused(Refusal::NotAdmin)), "{user}");
    }
    split.cut(Context::Identity, true);
    assert!(pay_in(ADMIN, ANN).await.is_err(), "nobody knows whether there is such a user");
    // Somebody who asks for themselves is there.
    let own = attendee(ADMIN.user_id.get());
    assert_eq!(pay_in(own, own.user_id.get()).await, Err(refused(Refusal::NotAdmin)));
    assert_eq!(pay_in(ADMIN, ADMIN.user_id.get()).await, Ok(5));
    split.stop().await;
}

#[tokio::test]
async fn a_neighbour_that_cannot_be_reached_is_a_store_that_is_away() {
    let split = Split::start().await;
    let (event, [paid, ..]) = sold_and_held(&split).await;
    split.cut(Context::Events, true);
    let looked = split.engine(Context::Bookings).events().event(event).await;
    assert!(matches!(looked, Err(StoreError::Away(_))), "{looked:?}");
    // What is here can still be shown.
    let own = split.engine(Context::Bookings).bookings_of_user(UserId::new(ANN), None, None, 9);
    assert_eq!(own.await.expect("read").bookings.len(), 2);
    split.cut(Context::Events, false);
    split.cut(Context::Identity, true);
    // Names are missing, and nothing else.
    let guests = split.engine(Context::Events).guests(event, None, None, 10).await;
    let guests = guests.expect("the neighbours answer").guests;
    assert_eq!(guests.iter().filter(|guest| guest.owner.is_none()).count(), 3);
    assert_eq!(guests[2].at.booking.id, paid.id);
    split.stop().await;
}
