//! The recount of money: every posting and every balance.
//!
//! What was paid for is no matter of accounts alone; see the [overview](super::overview).

use std::collections::HashMap;

use eventbooker_core::accounts::{Account, Posting, PostingKind};
use eventbooker_core::{Money, UserId};
use eventbooker_store::{Snapshot, StoreError};

use super::overview::Overview;
use super::{Meter, Report, Rule, pages};

/// All accounts that something was posted to.
pub(super) type Accounts = HashMap<UserId, Followed>;

/// An account as its postings have left it.
#[derive(Default)]
pub(super) struct Followed {
    entries: i64,
    /// Wide enough for any sum of what 64 bits hold.
    balance: i128,
}

/// Follows all postings, and shows them to the overview.
pub(super) async fn follow(
    snapshot: &mut dyn Snapshot,
    overview: &mut Overview,
    report: &mut Report,
    meter: &mut Meter<'_>,
) -> Result<Accounts, StoreError> {
    let mut accounts = Accounts::new();
    pages::postings(snapshot, meter, |posting| {
        accounts.entry(posting.user_id).or_default().follow(&posting, report);
        overview.posting(&posting);
    })
    .await?;
    Ok(accounts)
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

/// Compares accounts with what their postings have come to.
pub(super) async fn compare(
    snapshot: &mut dyn Snapshot,
    mut followed: Accounts,
    report: &mut Report,
    meter: &mut Meter<'_>,
) -> Result<(), StoreError> {
    pages::accounts(snapshot, meter, |Account { user_id, balance, entries }| {
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
    })
    .await?;
    for (user_id, postings) in followed {
        report.find(
            Rule::Money,
            format!("user {user_id} has {} postings, but no account", postings.entries),
        );
    }
    Ok(())
}
