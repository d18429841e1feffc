//! Accounts and their postings.

use std::collections::BTreeMap;

use async_trait::async_trait;
use eventbooker_core::accounts::{Account, Posting, Purpose};
use eventbooker_core::{BookingId, EventId, UserId};
use tokio_postgres::Row;

use super::PostgresStore;
use super::row::{get, instant, known, money};
use super::session::{Flight, column, params};
use crate::{AccountQueries, Changes, StoreError, codes};

/// Reads and locks accounts, as far as they have rows. Two that post to one without a row for the first
/// time are told apart by the number of the posting.
pub(super) const LOCK: &str = "
    SELECT account_id, balance, entries FROM accounts WHERE account_id = ANY($1::bigint[])
    ORDER BY account_id FOR UPDATE";
/// The same for one, wherever its row lies.
pub(super) const LOCK_ONE: &str =
    "SELECT account_id, balance, entries FROM accounts WHERE account_id = $1 FOR UPDATE";
const ADD_POSTINGS: &str = "
    INSERT INTO postings (account_id, entry, kind, amount, balance, event_id, booking_id, at)
    SELECT unnest($1::bigint[]), unnest($2::bigint[]), unnest($3::smallint[]),
           unnest($4::bigint[]), unnest($5::bigint[]), unnest($6::bigint[]), unnest($7::bigint[]),
           unnest($8::bigint[])";
const ADD: &str = "
    INSERT INTO accounts (account_id, balance, entries)
    SELECT unnest($1::bigint[]), unnest($2::bigint[]), unnest($3::bigint[])";
/// Changes accounts that stand where the postings begin. Where one doesn't, the division fails, and
/// with it the whole transaction.
const CHANGE: &str = "
    WITH changed AS (
        UPDATE accounts a SET balance = k.balance, entries = k.entries
        FROM (SELECT unnest($1::bigint[]) AS account_id, unnest($2::bigint[]) AS balance,
                 unnest($3::bigint[]) AS entries, unnest($4::bigint[]) AS before) k
        WHERE a.account_id = k.account_id AND a.entries = k.before
        RETURNING a.account_id)
    SELECT 1 / (CASE WHEN (SELECT count(*) FROM changed) = $5 THEN 1 ELSE 0 END)";

/// The statements of a writer.
pub(super) const WRITES: [&str; 5] = [LOCK, LOCK_ONE, ADD_POSTINGS, ADD, CHANGE];

pub(super) const ONE: &str =
    "SELECT account_id, balance, entries FROM accounts WHERE account_id = $1";
pub(super) const POSTINGS_OF: &str = "
    SELECT account_id, entry, kind, amount, balance, event_id, booking_id, at FROM postings
    WHERE account_id = $1 AND entry < $2 ORDER BY entry DESC LIMIT $3";
pub(super) const POSTINGS_FOR: &str = "
    SELECT account_id, entry, kind, amount, balance, event_id, booking_id, at FROM postings
    WHERE booking_id = $1 ORDER BY account_id, entry";

/// The statements of a reader.
pub(super) const READS: [&str; 3] = [ONE, POSTINGS_OF, POSTINGS_FOR];

pub(super) const ALL: &str = "
    SELECT account_id, balance, entries FROM accounts WHERE account_id > $1
    ORDER BY account_id LIMIT $2";
pub(super) const ALL_POSTINGS: &str = "
    SELECT account_id, entry, kind, amount, balance, event_id, booking_id, at FROM postings
    WHERE (account_id, entry) > ($1, $2) ORDER BY account_id, entry LIMIT $3";

pub(super) fn account(row: &Row) -> Result<Account, StoreError> {
    Ok(Account {
        user_id: UserId::new(get(row, 0)?),
        balance: money(row, 1)?,
        entries: get(row, 2)?,
    })
}

pub(super) fn posting(row: &Row) -> Result<Posting, StoreError> {
    let (event_id, booking_id): (Option<i64>, Option<i64>) = (get(row, 5)?, get(row, 6)?);
    Ok(Posting {
        user_id: UserId::new(get(row, 0)?),
        entry: get(row, 1)?,
        kind: known(row, 2, "posting kind", codes::posting)?,
        amount: money(row, 3)?,
        balance: money(row, 4)?,
        purpose: event_id.zip(booking_id).map(|(event_id, booking_id)| Purpose {
            event_id: EventId::new(event_id),
            booking_id: BookingId::new(booking_id),
        }),
        at: instant(row, 7)?,
    })
}

pub(super) fn save(flight: &mut Flight<'_>, changes: &Changes) {
    let Changes { postings, accounts_changed, .. } = changes;
    if postings.is_empty() {
        return;
    }
    // In one order everywhere: two who post to the same accounts for the first time wait for each other
    // at the keys.
    let mut postings: Vec<&Posting> = postings.iter().collect();
    postings.sort_by_key(|posting| posting.user_id);
    let postings = &*postings;
    flight.ask(
        ADD_POSTINGS,
        params![
            column(postings, |posting| posting.user_id.get()),
            column(postings, |posting| posting.entry),
            column(postings, |posting| codes::of_posting(posting.kind)),
            column(postings, |posting| posting.amount.as_minor()),
            column(postings, |posting| posting.balance.as_minor()),
            column(postings, |posting| posting.purpose.map(|purpose| purpose.event_id.get())),
            column(postings, |posting| posting.purpose.map(|purpose| purpose.booking_id.get())),
            column(postings, |posting| posting.at.as_micros()),
        ],
    );
    let mut first_entries: BTreeMap<UserId, i64> = BTreeMap::new();
    for posting in postings {
        let first = first_entries.entry(posting.user_id).or_insert(posting.entry);
        *first = posting.entry.min(*first);
    }
    let before =
        |account: &Account| first_entries.get(&account.user_id).map_or(0, |first| first - 1);
    let (new, known): (Vec<Account>, Vec<Account>) =
        accounts_changed.iter().partition(|account| before(account) == 0);
    if !new.is_empty() {
        flight.ask(
            ADD,
            params![
                column(&new, |account| account.user_id.get()),
                column(&new, |account| account.balance.as_minor()),
                column(&new, |account| account.entries),
            ],
        );
    }
    if !known.is_empty() {
        flight.ask(
            CHANGE,
            params![
                column(&known, |account| account.user_id.get()),
                column(&known, |account| account.balance.as_minor()),
                column(&known, |account| account.entries),
                column(&known, before),
                i64::try_from(known.len()).unwrap_or(i64::MAX),
            ],
        );
    }
}

#[async_trait]
impl AccountQueries for PostgresStore {
    async fn account(&self, user_id: UserId) -> Result<Account, StoreError> {
        let params = || params![user_id.get()];
        let found = self.readers.row(ONE, params, account).await?;
        Ok(found.unwrap_or(Account::open(user_id)))
    }

    async fn postings(
        &self,
        user_id: UserId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Posting>, StoreError> {
        let params = || params![user_id.get(), before.unwrap_or(i64::MAX), i64::from(limit)];
        self.readers.rows(POSTINGS_OF, params, posting).await
    }

    async fn postings_for(&self, id: BookingId) -> Result<Vec<Posting>, StoreError> {
        let params = || params![id.get()];
        self.readers.rows(POSTINGS_FOR, params, posting).await
    }
}
