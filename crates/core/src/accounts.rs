//! Accounts: what users have paid in and not spent, as double-entry postings.
//!
//! Every posting takes from one party what it gives to another, so that the balances of all
//! parties together are nothing at any time:
//!
//! | posting | from | to |
//! |---|---|---|
//! | [`Deposit`](PostingKind::Deposit) | outside | the user |
//! | [`Charge`](PostingKind::Charge) | the user | the event |
//! | [`Refund`](PostingKind::Refund) | the event | the user |
//!
//! Only users have rows: theirs is the balance that decides. What an event has earned, and what has
//! come in from outside, is the sum of their postings; a row for either would be written by every
//! booking of a hot event, or by every deposit there is, and is asked for by nobody.
//!
//! Invariants kept here: a user's balance is the sum of their postings, is never below nothing, and
//! never more than 64 bits hold. Posting by posting, an account's entries are numbered from 1.
//!
//! Absent on purpose: why somebody is charged. See [`bookings`](crate::bookings).

use thiserror::Error;

use crate::{BookingId, EventId, Money, Timestamp, UserId};

/// A user's account. Everybody has one; it has a row when something has been posted to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Account {
    /// Whose it is.
    pub user_id: UserId,
    /// What is in it.
    pub balance: Money,
    /// The number of its latest posting, which is also how many there are.
    pub entries: i64,
}

/// A movement of money, seen from the account of the user whom it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Posting {
    /// The account.
    pub user_id: UserId,
    /// Its number among the account's postings, from 1 without a gap.
    pub entry: i64,
    /// What it is.
    pub kind: PostingKind,
    /// How much, above nothing.
    pub amount: Money,
    /// What was in the account afterwards.
    pub balance: Money,
    /// What was paid for, unless it was a deposit.
    pub purpose: Option<Purpose>,
    /// When.
    pub at: Timestamp,
}

/// What a charge or a refund is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Purpose {
    /// The event that earns it.
    pub event_id: EventId,
    /// The booking that is paid.
    pub booking_id: BookingId,
}

/// What moves the money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PostingKind {
    /// Somebody pays in.
    Deposit,
    /// A booking is paid.
    Charge,
    /// A paid booking is cancelled.
    Refund,
}

/// Whoever has money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// The world that deposits come from.
    Outside,
    /// A user.
    User(UserId),
    /// What an event has earned.
    Event(EventId),
}

/// Why nothing is paid in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DepositRefusal {
    /// Nothing, or less.
    #[error("must be above 0")]
    NotPositive,
    /// The balance would be more than can be written down.
    #[error("the balance would exceed {max}", max = i64::MAX)]
    BalanceTooLarge,
}

/// Why nothing is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[error("{balance} is too little to pay {amount}", balance = .balance.as_minor(), amount = .amount.as_minor())]
pub struct InsufficientFunds {
    /// What is in the account.
    pub balance: Money,
    /// What was to be paid.
    pub amount: Money,
}

/// Why nothing is refunded: the balance would be more than can be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("with the money back, the balance would exceed {max}", max = i64::MAX)]
pub struct RefundTooLarge;

impl Account {
    /// An account that nothing has been posted to.
    pub const fn open(user_id: UserId) -> Self {
        Self { user_id, balance: Money::ZERO, entries: 0 }
    }

    /// Pays in.
    pub fn deposit(&mut self, amount: Money, now: Timestamp) -> Result<Posting, DepositRefusal> {
        if amount <= Money::ZERO {
            return Err(DepositRefusal::NotPositive);
        }
        let balance = self.balance.plus(amount).ok_or(DepositRefusal::BalanceTooLarge)?;
        Ok(self.post(PostingKind::Deposit, amount, balance, None, now))
    }

    /// Pays for a booking.
    ///
    /// # Panics
    /// If the amount isn't above nothing: what costs nothing is charged to nobody.
    pub fn charge(
        &mut self,
        amount: Money,
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Posting, InsufficientFunds> {
        assert!(amount > Money::ZERO, "only what costs something is charged");
        if amount > self.balance {
            return Err(InsufficientFunds { balance: self.balance, amount });
        }
        let balance = self.balance.minus(amount).expect("a smaller amount from a larger one");
        Ok(self.post(PostingKind::Charge, amount, balance, Some(purpose), now))
    }

    /// Pays a charge back.
    ///
    /// # Panics
    /// If the amount isn't above nothing: only what was charged is paid back.
    pub fn refund(
        &mut self,
        amount: Money,
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Posting, RefundTooLarge> {
        assert!(amount > Money::ZERO, "only what was charged is paid back");
        let balance = self.balance.plus(amount).ok_or(RefundTooLarge)?;
        Ok(self.post(PostingKind::Refund, amount, balance, Some(purpose), now))
    }

    fn post(
        &mut self,
        kind: PostingKind,
        amount: Money,
        balance: Money,
        purpose: Option<Purpose>,
        at: Timestamp,
    ) -> Posting {
        self.balance = balance;
        self.entries += 1;
        Posting { user_id: self.user_id, entry: self.entries, kind, amount, balance, purpose, at }
    }
}

impl Posting {
    /// Who gives the amount, and who gets it. `None` if a charge or refund says not what for.
    pub fn sides(&self) -> Option<(Party, Party)> {
        let user = Party::User(self.user_id);
        let event = self.purpose.map(|purpose| Party::Event(purpose.event_id));
        match self.kind {
            PostingKind::Deposit => Some((Party::Outside, user)),
            PostingKind::Charge => Some((user, event?)),
            PostingKind::Refund => Some((event?, user)),
        }
    }

    /// What the posting adds to the user's balance, in minor units; below nothing for a charge.
    pub fn change_minor(&self) -> i64 {
        match self.kind {
            PostingKind::Deposit | PostingKind::Refund => self.amount.as_minor(),
            // Of a damaged row it may be an amount that can't be negated.
            PostingKind::Charge => self.amount.as_minor().saturating_neg(),
        }
    }
}

#[cfg(test)]
mod tests;
