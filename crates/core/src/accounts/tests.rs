use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);
const PURPOSE: Purpose = Purpose { event_id: EventId::new(7), booking_id: BookingId::new(9) };

fn account(balance: i64) -> Account {
    Account { balance: Money::from_minor(balance), entries: 3, ..Account::open(UserId::new(1)) }
}

fn posting(kind: PostingKind, amount: i64, balance: i64, purpose: Option<Purpose>) -> Posting {
    Posting {
        user_id: UserId::new(1),
        entry: 4,
        kind,
        amount: Money::from_minor(amount),
        balance: Money::from_minor(balance),
        purpose,
        at: NOW,
    }
}

#[test]
fn a_deposit_is_above_nothing_and_fits() {
    use DepositRefusal as R;
    let table = [
        (0, 1, Ok(1)),
        (5, 100, Ok(105)),
        (i64::MAX - 1, 1, Ok(i64::MAX)),
        (0, i64::MAX, Ok(i64::MAX)),
        (0, 0, Err(R::NotPositive)),
        (5, -1, Err(R::NotPositive)),
        (i64::MAX, i64::MIN, Err(R::NotPositive)),
        (i64::MAX, 1, Err(R::BalanceTooLarge)),
        (1, i64::MAX, Err(R::BalanceTooLarge)),
    ];
    for (before, amount, after) in table {
        let mut account = account(before);
        let posted = account.deposit(Money::from_minor(amount), NOW);
        let wanted = after.map(|after| posting(PostingKind::Deposit, amount, after, None));
        assert_eq!(posted, wanted, "{before} and {amount}");
        let balance = after.unwrap_or(before);
        assert_eq!(account.balance, Money::from_minor(balance), "{before} and {amount}");
        assert_eq!(account.entries, if after.is_ok() { 4 } else { 3 });
    }
}

#[test]
fn a_charge_takes_no_more_than_there_is() {
    let table = [
        (5, 5, Some(0)),
        (5, 1, Some(4)),
        (5, 6, None),
        (0, 1, None),
        (i64::MAX, i64::MAX, Some(0)),
    ];
    for (before, amount, after) in table {
        let mut account = account(before);
        let amount_due = Money::from_minor(amount);
        let posted = account.charge(amount_due, PURPOSE, NOW);
        let short = InsufficientFunds { balance: Money::from_minor(before), amount: amount_due };
        let wanted = after
            .map(|after| posting(PostingKind::Charge, amount, after, Some(PURPOSE)))
            .ok_or(short);
        assert_eq!(posted, wanted, "{before} and {amount}");
        assert_eq!(account.balance, Money::from_minor(after.unwrap_or(before)));
        assert_eq!(account.entries, if after.is_some() { 4 } else { 3 });
    }
}

#[test]
fn a_refund_fits_or_is_refused() {
    let table = [(0, 5, Some(5)), (i64::MAX - 5, 5, Some(i64::MAX)), (i64::MAX - 4, 5, None)];
    for (before, amount, after) in table {
        let mut account = account(before);
        let posted = account.refund(Money::from_minor(amount), PURPOSE, NOW);
        let wanted = after
            .map(|after| posting(PostingKind::Refund, amount, after, Some(PURPOSE)))
            .ok_or(RefundTooLarge);
        assert_eq!(posted, wanted, "{before} and {amount}");
        assert_eq!(account.balance, Money::from_minor(after.unwrap_or(before)));
        assert_eq!(account.entries, if after.is_some() { 4 } else { 3 });
    }
}

#[test]
#[should_panic(expected = "costs something")]
fn nothing_is_charged_to_nobody() {
    let _ = account(5).charge(Money::ZERO, PURPOSE, NOW);
}

#[test]
#[should_panic(expected = "was charged")]
fn nothing_is_paid_back_to_nobody() {
    let _ = account(5).refund(Money::from_minor(-1), PURPOSE, NOW);
}

#[test]
fn a_posting_has_two_sides() {
    let (user, event) = (Party::User(UserId::new(1)), Party::Event(PURPOSE.event_id));
    let table = [
        (PostingKind::Deposit, None, Some((Party::Outside, user)), 5),
        (PostingKind::Charge, Some(PURPOSE), Some((user, event)), -5),
        (PostingKind::Refund, Some(PURPOSE), Some((event, user)), 5),
        (PostingKind::Charge, None, None, -5),
        (PostingKind::Refund, None, None, 5),
    ];
    for (kind, purpose, sides, change) in table {
        let posting = posting(kind, 5, 9, purpose);
        assert_eq!(posting.sides(), sides, "{kind:?}");
        assert_eq!(posting.change_minor(), change, "{kind:?}");
    }
    let damaged = posting(PostingKind::Charge, i64::MIN, 9, Some(PURPOSE));
    assert_eq!(damaged.change_minor(), i64::MAX);
}

#[derive(Debug, Clone, Copy)]
enum Move {
    Deposit(i64),
    Charge(i64),
    Refund(i64),
}

fn amounts() -> impl Strategy<Value = i64> {
    prop_oneof![1..100_i64, Just(i64::MAX), Just(i64::MAX / 2)]
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        amounts().prop_map(Move::Deposit),
        amounts().prop_map(Move::Charge),
        amounts().prop_map(Move::Refund),
    ]
}

proptest! {
    /// Against arithmetic that cannot overflow.
    #[test]
    fn a_balance_is_the_sum_of_its_postings(moves in prop::collection::vec(moves(), 0..50)) {
        let mut account = Account::open(UserId::new(1));
        let mut sum: i128 = 0;
        let mut entries = 0;
        for one in moves {
            let (amount, posted) = match one {
                Move::Deposit(n) => (n, account.deposit(Money::from_minor(n), NOW).ok()),
                Move::Charge(n) => (-n, account.charge(Money::from_minor(n), PURPOSE, NOW).ok()),
                Move::Refund(n) => (n, account.refund(Money::from_minor(n), PURPOSE, NOW).ok()),
            };
            let after = sum + i128::from(amount);
            prop_assert_eq!(posted.is_some(), (0..=i128::from(i64::MAX)).contains(&after));
            if let Some(posting) = posted {
                sum = after;
                entries += 1;
                prop_assert_eq!(posting.entry, entries);
                prop_assert_eq!(i128::from(posting.balance.as_minor()), sum);
                prop_assert_eq!(posting.change_minor(), amount);
            }
            prop_assert_eq!(i128::from(account.balance.as_minor()), sum);
            prop_assert_eq!(account.entries, entries);
        }
    }
}
