//! What can be done with accounts: pay in, and look.

use eventbooker_core::accounts::{Account, Posting};
use eventbooker_core::identity::Actor;
use eventbooker_core::{Context, Money, UserId};
use eventbooker_store::{StoreError, Wants};

use crate::batch::{Batch, Rules};
use crate::command::{Answer, Command, Key, Lane};
use crate::{Engine, Error, Refusal};

/// Pays into a user's account.
struct Deposit {
    actor: Actor,
    user_id: UserId,
    amount: Money,
}

impl Command for Deposit {
    type Reply = Account;

    fn lane(&self) -> Lane {
        Lane::User(self.user_id)
    }

    fn wants(&self, rules: &Rules, wants: &mut Wants) {
        if rules.here.has(Context::Identity) {
            wants.users.push(self.user_id);
        }
        wants.accounts.push(self.user_id);
    }

    fn decide(&self, batch: &mut Batch) -> Result<Account, Refusal> {
        let is_own = self.actor.user_id == self.user_id;
        let may_deposit = self.actor.is_admin() || (is_own && batch.rules().users_may_deposit);
        if !may_deposit {
            return Err(Refusal::NotAdmin);
        }
        if batch.rules().here.has(Context::Identity) {
            batch.user(self.user_id).ok_or(Refusal::NoSuchUser)?;
        }
        let mut account = batch.account(self.user_id);
        let posting = account.deposit(self.amount, batch.now())?;
        batch.post(account, posting);
        Ok(account)
    }
}

impl Engine {
    /// Pays into a user's account.
    pub async fn deposit(
        &self,
        actor: Actor,
        user_id: UserId,
        amount: Money,
        key: Option<Key<Account>>,
    ) -> Result<Answer<Account>, Error> {
        // Where users are elsewhere, somebody who asks for themselves is known to be there; and whoever
        // may not pay in for others isn't told who is.
        let is_doubtful =
            !self.here().has(Context::Identity) && actor.is_admin() && user_id != actor.user_id;
        if is_doubtful && self.people(vec![user_id]).await?.is_empty() {
            return Ok(self.refused(Refusal::NoSuchUser));
        }
        self.submit(Deposit { actor, user_id, amount }, key).await
    }

    /// A user's account.
    pub async fn account(&self, user_id: UserId) -> Result<Account, StoreError> {
        self.accounts().account(user_id).await
    }

    /// A user's postings before an entry, newest first.
    pub async fn postings(
        &self,
        user_id: UserId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Posting>, StoreError> {
        self.accounts().postings(user_id, before, limit).await
    }
}
