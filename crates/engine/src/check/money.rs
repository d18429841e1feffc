//! The recount of money: every posting, every balance, and what was paid for.

use std::collections::HashMap;

use eventbooker_core::accounts::{Account, Posting, PostingKind};
use eventbooker_core::bookings::{Booking, State};
use eventbooker_core::{BookingId, EventId, Money, UserId};
use eventbooker_store::{Snapshot, StoreError};

use super::{Meter, PAGE_ROWS, Report, Rule};

/// What somebody has paid for a booking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paid {
    user_id: UserId,
    event_id: EventId,
    amount: Money,
}

/// Charges that are not refunded, by booking.
pub(super) type Charges = HashMap<BookingId, Paid>;

/// The charge that a booking should have, if any.
pub(super) fn charge_of(booking: &Booking) -> Option<Paid> {
    let Booking { user_id, event_id, amount, state, .. } = *booking;
    match state {
        State::Complete if !amount.is_zero() => Some(Paid { user_id, event_id, amount }),
        State::Occupying
        | State::Occupied
        | State::Paying
        | State::Completing
        | State::Complete
        | State::Refunding
        | State::Releasing
        | State::Expiring
        | State::Cancelled => None,
    }
}

/// An account as its postings have left it.
#[derive(Default)]
struct Followed {
    entries: i64,
    /// Wide enough for any sum of what 64 bits hold.
    balance: i128,
}

/// Follows all postings, and compares what they come to with the accounts and with the charges
/// that bookings should have.
pub(super) async fn recount(
    snapshot: &mut dyn Snapshot,
    mut expected: Charges,
    on_their_way: &HashMap<BookingId, State>,
    report: &mut Report,
    meter: &mut Meter<'_>,
) -> Result<(), StoreError> {
    let mut accounts: HashMap<UserId, Followed> = HashMap::new();
    let mut charges = Charges::new();
    loop {
        let page = snapshot.postings(PAGE_ROWS).await?;
        if page.is_empty() {
            break;
        }
        meter.add(page.len());
        for posting in page {
            accounts.entry(posting.user_id).or_default().follow(&posting, report);
            follow_charge(&mut charges, &posting, report);
        }
    }
    for (booking_id, paid) in charges {
        if expected.remove(&booking_id) != Some(paid) && !on_their_way.contains_key(&booking_id) {
            report.find(
                Rule::Money,
                format!(
                    "booking {booking_id} is charged as {paid:?}, but isn't complete like that"
                ),
            );
        }
    }
    for (booking_id, paid) in expected {
        report.find(
            Rule::Money,
            format!("booking {booking_id} is complete, but nobody is charged {paid:?} for it"),
        );
    }
    compare_accounts(snapshot, accounts, report, meter).await
}

impl Followed {
    fn follow(&mut self, posting: &Posting, report: &mut Report) {
        let Posting { user_id, entry, kind, amount, balance, .. } = *posting;
        let mut wrong = |what: &str| {
            report.find(Rule::Money, format!("user {user_id}, posting {entry}: {what}"));
        };
        if self.entries.checked_add(1) != Some(entry) {
            wrong("doesn't come next");
        }
        if amount <= Money::ZERO {
            wrong("moves nothing, or less");
        }
        if posting.sides().is_none() {
            wrong("has one side only");
        }
        self.entries = entry;
        // Not by the posting's own sum: what is damaged may be an amount that 64 bits can't negate.
        let amount = i128::from(amount.as_minor());
        self.balance += match kind {
            PostingKind::Deposit | PostingKind::Refund => amount,
            PostingKind::Charge => -amount,
        };
        if self.balance != i128::from(balance.as_minor()) {
            wrong("leaves another balance than the postings before it and its amount");
        }
        if self.balance < 0 {
            wrong("leaves a balance below 0");
        }
    }
}

fn follow_charge(charges: &mut Charges, posting: &Posting, report: &mut Report) {
    let Posting { user_id, kind, amount, purpose: Some(purpose), .. } = *posting else { return };
    let (event_id, booking_id) = (purpose.event_id, purpose.booking_id);
    let paid = Paid { user_id, event_id, amount };
    let before = charges.remove(&booking_id);
    let is_right = match kind {
        PostingKind::Deposit => false,
        PostingKind::Charge => {
            charges.insert(booking_id, paid);
            before.is_none()
        }
        PostingKind::Refund => before == Some(paid),
    };
    if !is_right {
        report.find(
            Rule::Money,
            format!(
                "user {user_id}: {kind:?} of {} for booking {booking_id}, for which {before:?} was paid",
                amount.as_minor()
            ),
        );
    }
}

async fn compare_accounts(
    snapshot: &mut dyn Snapshot,
    mut followed: HashMap<UserId, Followed>,
    report: &mut Report,
    meter: &mut Meter<'_>,
) -> Result<(), StoreError> {
    loop {
        let page = snapshot.accounts(PAGE_ROWS).await?;
        if page.is_empty() {
            break;
        }
        meter.add(page.len());
        for Account { user_id, balance, entries } in page {
            let postings = followed.remove(&user_id).unwrap_or_default();
            if (entries, i128::from(balance.as_minor())) != (postings.entries, postings.balance) {
                report.find(
                    Rule::Money,
                    format!(
                        "the account of user {user_id} has {} after {entries} postings, but they come to {} after {}",
                        balance.as_minor(),
                        postings.balance,
                        postings.entries
                    ),
                );
            }
        }
    }
    for (user_id, postings) in followed {
        report.find(
            Rule::Money,
            format!("user {user_id} has {} postings, but no account", postings.entries),
        );
    }
    Ok(())
}
