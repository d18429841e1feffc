//! What is paid in, what is paid with it, and what comes back.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::time::Duration;

use eventbooker_core::accounts::{
    Account, DepositRefusal, InsufficientFunds, PostingKind, RefundTooLarge,
};
use eventbooker_core::bookings::{BookRefusal, Booking, HoldLimits, State};
use eventbooker_core::{EventId, Money, UserId};
use eventbooker_engine::{Answer, BookingAt, Decided, Effect, Key, Refusal, Settings};
use eventbooker_store::StoreError;
use eventbooker_testkit::clock::{MOMENT, just_before};
use eventbooker_testkit::rows::key;
use eventbooker_testkit::service::{ADMIN, attendee, outcome};
use eventbooker_testkit::{Fault, Options, Outcome, Service, begin, refused};

const PRICE: i64 = 40;
const WINDOW: Duration = Duration::from_secs(60);

/// A service with user 1, who has paid in so much, and an event of ten seats for [`PRICE`] each.
async fn with_money(amount: i64) -> (Service, EventId) {
    with_money_and(amount, Options::default().settings).await
}

async fn with_money_and(amount: i64, settings: Settings) -> (Service, EventId) {
    let service = Service::with(Options { settings, ..Options::default() }).await;
    service.add_users([1]).await;
    if amount > 0 {
        service.deposit(1, amount).await.expect("the user is registered");
    }
    let event_id = service.create_event(10, PRICE, 1).await;
    (service, event_id)
}

/// User 1's postings, oldest first.
async fn postings(service: &Service) -> Vec<(PostingKind, i64)> {
    let newest_first = service.engine().postings(UserId::new(1), None, 1_000).await;
    let newest_first = newest_first.expect("the store answers").into_iter();
    newest_first.rev().map(|posting| (posting.kind, posting.amount.as_minor())).collect()
}

async fn row(service: &Service, booking: &Booking) -> Option<Booking> {
    service.store().bookings(vec![booking.id]).await.expect("the store answers").pop()
}

fn too_little(balance: i64, amount: i64) -> Outcome<Booking> {
    let (balance, amount) = (Money::from_minor(balance), Money::from_minor(amount));
    Err(refused(InsufficientFunds { balance, amount }))
}

#[tokio::test]
async fn what_is_paid_in_pays_for_a_hold() {
    let (service, event_id) = with_money(0).await;
    let hold = service.book(1, event_id, 2).await.expect("there is room");
    assert_eq!(hold.amount, Money::from_minor(80));
    assert_eq!(service.account(1).await, Account::open(UserId::new(1)), "a hold costs nothing");
    service.deposit(1, 100).await.expect("the user is registered");
    let paid = service.confirm(attendee(1), hold.id).await.expect("there is enough");
    assert_eq!(paid, Booking { state: State::Complete, attempt: 1, ..hold });
    assert_eq!(service.confirm(attendee(1), hold.id).await, Ok(paid), "twice is once");
    assert_eq!(service.balance(1).await, 20);
    assert_eq!(postings(&service).await, [(PostingKind::Deposit, 100), (PostingKind::Charge, 80)]);
    service.finish().await;
}

#[tokio::test]
async fn with_too_little_money_a_hold_stays_what_it_was() {
    let (service, event_id) = with_money(79).await;
    let hold = service.book(1, event_id, 2).await.expect("there is room");
    let other = service.book(1, event_id, 3).await.expect("there is room");
    let before = (service.event(event_id).await, service.faults.saves_tried());
    assert_eq!(service.confirm(attendee(1), hold.id).await, too_little(79, 80));
    assert_eq!(service.confirm(ADMIN, hold.id).await, too_little(79, 80), "the owner pays");
    assert_eq!((service.event(event_id).await, service.faults.saves_tried()), before);
    assert_eq!(row(&service, &hold).await, Some(hold), "its deadline as well");

    service.pass(just_before(WINDOW)).await;
    service.deposit(1, 1).await.expect("the user is registered");
    assert!(service.confirm(attendee(1), hold.id).await.is_ok(), "the last penny, just in time");
    assert_eq!(service.confirm(attendee(1), other.id).await, too_little(0, 120));
    service.pass(MOMENT).await;
    service.deposit(1, 120).await.expect("the user is registered");
    let late = service.confirm(attendee(1), other.id).await;
    assert_eq!(late, Err(refused(Refusal::BookingGone)));
    assert_eq!(service.free_seats(event_id).await, 8);
    assert_eq!(service.balance(1).await, 120);
    service.finish().await;
}

#[tokio::test]
async fn what_is_cancelled_twice_is_refunded_once() {
    let (service, event_id) = with_money(100).await;
    let hold = service.book(1, event_id, 1).await.expect("there is room");
    let confirmed = service.confirm(attendee(1), hold.id).await.expect("there is enough");
    let purchased = service.purchase(1, event_id, 1).await.expect("there is room");
    assert_eq!(service.balance(1).await, 20);
    for paid in [confirmed, purchased] {
        let cancelled = service.cancel(attendee(1), paid.id).await;
        assert_eq!(cancelled, Ok(Booking { state: State::Cancelled, ..paid }));
        assert_eq!(service.cancel(attendee(1), paid.id).await, cancelled);
        assert_eq!(service.cancel(ADMIN, paid.id).await, cancelled);
    }
    assert_eq!(service.balance(1).await, 100);
    assert_eq!(service.free_seats(event_id).await, 10);
    let (charge, refund) = ((PostingKind::Charge, PRICE), (PostingKind::Refund, PRICE));
    let deposit = (PostingKind::Deposit, 100);
    assert_eq!(postings(&service).await, [deposit, charge, charge, refund, refund]);
    service.finish().await;
}

#[tokio::test]
async fn an_unpaid_hold_is_cancelled_without_a_refund() {
    let (service, event_id) = with_money(100).await;
    let hold = service.book(1, event_id, 1).await.expect("there is room");
    service.cancel(attendee(1), hold.id).await.expect("cancelled");
    assert_eq!(postings(&service).await, [(PostingKind::Deposit, 100)]);
    service.finish().await;
}

/// The owner keeps the seats, and can cancel when there is room for the money.
#[tokio::test]
async fn a_refund_that_no_balance_can_hold_is_refused() {
    let (service, event_id) = with_money(PRICE).await;
    let other_event = service.create_event(10, PRICE, 1).await;
    let paid = service.purchase(1, event_id, 1).await.expect("there is room");
    let rich = service.deposit(1, i64::MAX).await.expect("there was nothing before");
    let before = (service.event(event_id).await, service.faults.saves_tried());
    for actor in [attendee(1), ADMIN] {
        assert_eq!(service.cancel(actor, paid.id).await, Err(refused(RefundTooLarge)));
    }
    assert_eq!((service.event(event_id).await, service.faults.saves_tried()), before);
    assert_eq!(row(&service, &paid).await, Some(paid));
    assert_eq!(service.account(1).await, rich);

    service.purchase(1, other_event, 1).await.expect("there is room");
    assert!(service.cancel(attendee(1), paid.id).await.is_ok());
    assert_eq!(service.balance(1).await, i64::MAX);
    service.finish().await;
}

#[tokio::test]
async fn nobody_pays_in_nothing_or_more_than_a_balance_holds() {
    let (service, _) = with_money(0).await;
    for amount in [0, -1, i64::MIN] {
        let refusal = Err(refused(DepositRefusal::NotPositive));
        assert_eq!(service.deposit(1, amount).await, refusal);
    }
    assert_eq!(postings(&service).await, [], "what is refused leaves no posting");
    let account = service.deposit(1, i64::MAX - 1).await.expect("it fits");
    for amount in [2, i64::MAX] {
        let refusal = Err(refused(DepositRefusal::BalanceTooLarge));
        assert_eq!(service.deposit(1, amount).await, refusal);
    }
    assert_eq!(service.account(1).await, account);
    assert_eq!(service.deposit(1, 1).await.map(|it| it.balance.as_minor()), Ok(i64::MAX));
    service.finish().await;
}

#[tokio::test]
async fn only_users_have_accounts_to_pay_into() {
    let (service, _) = with_money(0).await;
    for nobody in [0, 2, -1, i64::MAX] {
        assert_eq!(service.deposit(nobody, 1).await, Err(refused(Refusal::NoSuchUser)));
        assert_eq!(service.account(nobody).await, Account::open(UserId::new(nobody)));
    }
    service.finish().await;
}

/// Into their own accounts, and only where the operator wants it.
#[tokio::test]
async fn users_pay_in_where_they_may() {
    for users_may_deposit in [false, true] {
        let settings = Settings { users_may_deposit, ..Options::default().settings };
        let (service, _) = with_money_and(0, settings).await;
        service.add_users([2]).await;
        let pay_in = async |by: i64, user: i64| {
            let (actor, user_id) = (attendee(by), UserId::new(user));
            let answer = service.engine().deposit(actor, user_id, Money::from_minor(5), None).await;
            outcome(answer).map(|account| account.balance.as_minor())
        };
        let not_admin = || Err(refused(Refusal::NotAdmin));
        let own = if users_may_deposit { Ok(5) } else { not_admin() };
        assert_eq!(pay_in(1, 1).await, own);
        assert_eq!(pay_in(1, 2).await, not_admin());
        assert_eq!(pay_in(1, 3).await, not_admin(), "nor does it say who is registered");
        assert_eq!(service.balance(2).await, 0);
        assert!(service.deposit(2, 5).await.is_ok(), "an admin may");
        service.finish().await;
    }
}

#[tokio::test]
async fn what_costs_nothing_touches_no_account() {
    let service = Service::start().await;
    let free_event = service.create_event(10, 0, 1).await;
    let purchased = service.purchase(1, free_event, 2).await.expect("there is room");
    assert_eq!((purchased.state, purchased.amount), (State::Complete, Money::ZERO));
    let hold = service.book(1, free_event, 1).await.expect("there is room");
    service.confirm(attendee(1), hold.id).await.expect("in time");
    for paid in [purchased, hold] {
        service.cancel(attendee(1), paid.id).await.expect("cancelled");
    }
    let counts = service.recount().await.counts;
    assert_eq!((counts.accounts, counts.postings, counts.bookings), (0, 0, 2));
    service.finish().await;
}

/// Whoever lowers a capacity goes no further than to what is booked, and takes nobody's money.
#[tokio::test]
async fn a_refund_after_the_capacity_was_lowered_frees_the_seats_that_are_left() {
    let (service, event_id) = with_money(4 * PRICE).await;
    let purchase = async |seats| service.purchase(1, event_id, seats).await.expect("written down");
    let (two, one) = (purchase(2).await, purchase(1).await);
    let hold = service.book(1, event_id, 1).await.expect("there is room");
    service.sql("UPDATE events SET capacity = 4");
    assert_eq!(purchase(1).await.state, State::Cancelled, "sold out");

    assert!(service.cancel(attendee(1), two.id).await.is_ok());
    assert_eq!((service.balance(1).await, service.free_seats(event_id).await), (3 * PRICE, 2));
    assert_eq!(purchase(3).await.state, State::Cancelled, "only two are left");
    assert_eq!(purchase(2).await.state, State::Complete);
    assert!(service.confirm(attendee(1), hold.id).await.is_ok());
    for booking in [one, hold] {
        assert!(service.cancel(attendee(1), booking.id).await.is_ok());
    }
    assert_eq!((service.balance(1).await, service.free_seats(event_id).await), (2 * PRICE, 2));
    service.finish().await;
}

/// A purchase says what was tried, and why it came to nothing doesn't matter to the seats.
#[tokio::test]
async fn a_purchase_without_seats_or_money_is_there_and_cancelled() {
    let (service, event_id) = with_money(100).await;
    let too_dear = service.purchase(1, event_id, 3).await.expect("it is written down");
    assert_eq!((too_dear.state, too_dear.amount.as_minor()), (State::Cancelled, 120));
    assert_eq!(service.free_seats(event_id).await, 10);
    let too_many = service.purchase(1, event_id, 11).await.expect("it is written down");
    assert_eq!((too_many.state, too_many.amount), (State::Cancelled, Money::ZERO));
    let affordable = service.purchase(1, event_id, 2).await.expect("it is written down");
    assert_eq!((affordable.state, affordable.amount.as_minor()), (State::Complete, 80));
    for booking in [too_dear, too_many, affordable] {
        assert_eq!(row(&service, &booking).await, Some(booking));
    }
    assert_eq!(service.free_seats(event_id).await, 8);
    assert_eq!(postings(&service).await, [(PostingKind::Deposit, 100), (PostingKind::Charge, 80)]);

    let nowhere = service.purchase(1, EventId::new(77), 1).await;
    assert_eq!(nowhere, Err(refused(Refusal::NoSuchEvent)));
    let nothing = service.purchase(1, event_id, 0).await;
    assert_eq!(nothing, Err(refused(BookRefusal::SeatsOutOfRange { max: 100 })));
    assert_eq!(service.recount().await.counts.bookings, 3, "of these nothing is written down");
    service.finish().await;
}

/// Otherwise seats could be taken from others and rows be written without end, for nothing.
#[tokio::test]
async fn what_was_bought_and_given_back_counts_until_its_window_is_over() {
    let holds = HoldLimits { holds_max: Some(2), held_seats_max: Some(5), ..HoldLimits::default() };
    let settings = Settings { holds, ..Settings::default() };
    let (service, event_id) = with_money_and(9 * PRICE, settings).await;
    let purchase = async || service.purchase(1, event_id, 1).await;
    let [first, second, kept] =
        [purchase().await, purchase().await, purchase().await].map(|bought| bought.expect("paid"));
    service.pass(MOMENT).await;
    for bought in [first, second] {
        service.cancel(attendee(1), bought.id).await.expect("the money comes back");
    }
    let limit = BookRefusal::HoldLimit { retry_at: first.expires_at };
    assert_eq!(purchase().await, Err(refused(limit)));
    assert_eq!(service.book(1, event_id, 1).await, Err(refused(limit)));
    assert_eq!(
        service.purchase(9, event_id, 1).await.map(|bought| bought.state),
        Ok(State::Cancelled)
    );
    service.pass(just_before(just_before(WINDOW))).await;
    assert_eq!(purchase().await, Err(refused(limit)));
    service.pass(MOMENT).await;

    assert_eq!(purchase().await.map(|bought| bought.state), Ok(State::Complete));
    assert_eq!(row(&service, &kept).await, Some(kept), "nobody has cancelled it");
    service.finish().await;
}

/// Neither those that are paid, nor those that failed; and nothing keeps whoever holds too much from
/// buying.
#[tokio::test]
async fn a_purchase_is_no_hold() {
    let holds = HoldLimits { holds_max: Some(1), held_seats_max: Some(5), ..HoldLimits::default() };
    let settings = Settings { holds, ..Settings::default() };
    let (service, event_id) = with_money_and(3 * PRICE, settings).await;
    let purchase =
        async |seats| service.purchase(1, event_id, seats).await.expect("it is written down");
    let states = [purchase(2).await.state, purchase(1).await.state, purchase(5).await.state];
    assert_eq!(states, [State::Complete, State::Complete, State::Cancelled]);

    // Nor does it count for what comes behind it in the same batch.
    let mut held = service.faults.hold_next_save();
    let first = begin(service.book(9, event_id, 1)).await;
    held.reached().await;
    let failed = begin(service.purchase(1, event_id, 5)).await;
    let hold = begin(service.book(1, event_id, 5)).await;
    held.let_go();
    assert!(first.await.is_ok() && failed.await.is_ok());
    let hold = hold.await.expect("nothing is held");
    let limit = refused(BookRefusal::HoldLimit { retry_at: hold.expires_at });
    assert_eq!(service.book(1, event_id, 1).await, Err(limit));
    service.deposit(1, PRICE).await.expect("the user is registered");
    assert_eq!(purchase(1).await.state, State::Complete);
    service.finish().await;
}

#[tokio::test]
async fn a_deposit_and_purchases_in_one_batch_see_each_other() {
    let (service, event_id) = with_money(0).await;
    let mut held = service.faults.hold_next_save();
    let first = begin(service.book(9, event_id, 1)).await;
    held.reached().await;
    let too_early = begin(service.purchase(1, event_id, 1)).await;
    let deposit = begin(service.deposit(1, PRICE)).await;
    let in_time = begin(service.purchase(1, event_id, 1)).await;
    let too_late = begin(service.purchase(1, event_id, 1)).await;
    let before = service.faults.saves_tried();
    held.let_go();
    assert!(first.await.is_ok());
    let state = |purchase: Outcome<Booking>| purchase.expect("it is written down").state;
    assert_eq!(state(too_early.await), State::Cancelled);
    assert_eq!(deposit.await.map(|it| it.balance.as_minor()), Ok(PRICE));
    assert_eq!(state(in_time.await), State::Complete);
    assert_eq!(state(too_late.await), State::Cancelled);
    assert_eq!(service.faults.saves_tried() - before, 1, "they are one batch");
    assert_eq!(service.balance(1).await, 0);
    assert_eq!(service.free_seats(event_id).await, 8);
    service.finish().await;
}

async fn keyed_purchase(service: &Service, event_id: EventId) -> Answer<BookingAt> {
    let write = |decided: &Decided<BookingAt>| {
        let booking = decided.outcome.as_ref().ok()?.booking;
        Some(format!("booking {}: {:?}", booking.id, booking.state).into_bytes())
    };
    let key = Key { key: key(1, "purchase"), fingerprint: [1; 32], write };
    let answer = service.engine().purchase(UserId::new(1), event_id, 1, Some(key)).await;
    answer.expect("the engine answers")
}

async fn keyed_deposit(service: &Service, amount: i64) -> Answer<Account> {
    let write = |decided: &Decided<Account>| {
        let account = decided.outcome.as_ref().ok()?;
        Some(format!("balance {}", account.balance.as_minor()).into_bytes())
    };
    let key = Key { key: key(1_000_000, "deposit"), fingerprint: [2; 32], write };
    let amount = Money::from_minor(amount);
    let answer = service.engine().deposit(ADMIN, UserId::new(1), amount, Some(key)).await;
    answer.expect("the engine answers")
}

fn kept<T>(answer: &str, effect: Effect) -> Answer<T> {
    Answer::Kept { answer: answer.as_bytes().to_vec(), effect }
}

/// Whether or not the commit happened of which nobody heard.
#[tokio::test]
async fn money_moves_once_under_one_key() {
    let lost = StoreError::OutcomeUnknown("the line broke".to_owned());
    let faults = [(Fault::LoseAnswer, Effect::Earlier), (Fault::Refuse(lost), Effect::Now)];
    for (fault, effect) in faults {
        let (service, event_id) = with_money(0).await;
        service.faults.next_save(fault.clone());
        assert_eq!(keyed_deposit(&service, 100).await, kept("balance 100", effect));
        assert_eq!(keyed_deposit(&service, 100).await, kept("balance 100", Effect::Earlier));

        service.faults.next_save(fault);
        let bought = "booking 1: Complete";
        assert_eq!(keyed_purchase(&service, event_id).await, kept(bought, effect));
        assert_eq!(keyed_purchase(&service, event_id).await, kept(bought, Effect::Earlier));

        let once = [(PostingKind::Deposit, 100), (PostingKind::Charge, PRICE)];
        assert_eq!(postings(&service).await, once);
        assert_eq!(service.free_seats(event_id).await, 9);
        service.finish().await;
    }
}

#[tokio::test]
async fn a_purchase_in_vain_is_remembered_as_that() {
    let (service, event_id) = with_money(0).await;
    let failed = "booking 1: Cancelled";
    assert_eq!(keyed_purchase(&service, event_id).await, kept(failed, Effect::Never));
    service.deposit(1, PRICE).await.expect("the user is registered");
    assert_eq!(keyed_purchase(&service, event_id).await, kept(failed, Effect::Earlier));
    assert_eq!(service.balance(1).await, PRICE);
    service.finish().await;
}
