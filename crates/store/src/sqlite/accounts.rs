//! Accounts and their postings, linked by account.

use std::collections::HashMap;

use async_trait::async_trait;
use eventbooker_core::accounts::{Account, Posting, Purpose};
use eventbooker_core::{BookingId, EventId, Money, Timestamp, UserId};
use rusqlite::{Connection, OptionalExtension, Row};

use super::SqliteStore;
use super::chain::{self, Chain, Ends, Link};
use crate::{AccountQueries, Changes, StoreError, codes};

const POSTINGS: Chain<Posting> = Chain {
    owner: |posting| posting.user_id.get(),
    latest: "SELECT latest, entries FROM accounts WHERE account_id = ?1",
    // An index on some rows serves only queries that say so word for word.
    milestone: "SELECT number FROM postings WHERE account_id = ?1 AND entry >= ?2
                  AND entry % 64 = 0 ORDER BY entry LIMIT 1",
    row: "SELECT account_id, entry, kind, amount, balance, event_id, booking_id, at, previous
          FROM postings WHERE number = ?1",
    page: "SELECT account_id, entry, kind, amount, balance, event_id, booking_id, at, number
           FROM postings WHERE number > ?1 ORDER BY number LIMIT ?2",
    read: posting,
};

fn posting(row: &Row<'_>) -> rusqlite::Result<Posting> {
    let kind = super::known(row, 2, "posting kind", codes::posting)?;
    let (event_id, booking_id): (Option<i64>, Option<i64>) = (row.get(5)?, row.get(6)?);
    let purpose = event_id.zip(booking_id).map(|(event_id, booking_id)| Purpose {
        event_id: EventId::new(event_id),
        booking_id: BookingId::new(booking_id),
    });
    Ok(Posting {
        user_id: UserId::new(row.get(0)?),
        entry: row.get(1)?,
        kind,
        amount: Money::from_minor(row.get(3)?),
        balance: Money::from_minor(row.get(4)?),
        purpose,
        at: Timestamp::from_micros(row.get(7)?),
    })
}

fn account(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account {
        user_id: UserId::new(row.get(0)?),
        balance: Money::from_minor(row.get(1)?),
        entries: row.get(2)?,
    })
}

/// One account for each user.
pub(super) fn load(conn: &Connection, users: &[UserId]) -> rusqlite::Result<Vec<Account>> {
    users.iter().map(|user_id| one(conn, *user_id)).collect()
}

pub(super) fn one(conn: &Connection, user_id: UserId) -> rusqlite::Result<Account> {
    let found = conn
        .prepare_cached("SELECT account_id, balance, entries FROM accounts WHERE account_id = ?1")?
        .query_row([user_id.get()], account)
        .optional()?;
    Ok(found.unwrap_or(Account::open(user_id)))
}

pub(super) fn save(conn: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    if changes.postings.is_empty() {
        return Ok(());
    }
    let mut insert = conn.prepare_cached(
        "INSERT INTO postings
           (account_id, entry, kind, amount, balance, event_id, booking_id, at, previous)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    let mut ends = Ends::of(&POSTINGS);
    for posting in &changes.postings {
        let Posting { user_id, entry, kind, amount, balance, purpose, at } = *posting;
        let number = insert.insert((
            user_id.get(),
            entry,
            codes::of_posting(kind),
            amount.as_minor(),
            balance.as_minor(),
            purpose.map(|purpose| purpose.event_id.get()),
            purpose.map(|purpose| purpose.booking_id.get()),
            at.as_micros(),
            ends.before(conn, user_id.get(), entry)?,
        ))?;
        ends.append(user_id.get(), Link { number, position: entry });
    }
    let latest: HashMap<i64, i64> = ends.latest().collect();
    let mut update = conn.prepare_cached(
        "INSERT INTO accounts (account_id, balance, entries, latest) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (account_id) DO UPDATE SET balance = ?2, entries = ?3, latest = ?4",
    )?;
    for account in &changes.accounts_changed {
        let Account { user_id, balance, entries } = *account;
        // An account changes by postings only, so each that changed has a new latest one.
        let latest = latest.get(&user_id.get());
        update.execute((user_id.get(), balance.as_minor(), entries, latest))?;
    }
    Ok(())
}

/// An account's postings before an entry, newest first.
pub(super) fn postings_of(
    conn: &Connection,
    user_id: UserId,
    before: Option<i64>,
    limit: u32,
) -> rusqlite::Result<Vec<Posting>> {
    let mut trail = match before {
        None => POSTINGS.back_from_latest(conn, user_id.get())?,
        Some(before) => POSTINGS.back_from_position(conn, user_id.get(), before)?,
    };
    let mut postings = Vec::new();
    while postings.len() < limit as usize
        && let Some(posting) = trail.next()?
    {
        if before.is_none_or(|before| posting.entry < before) {
            postings.push(posting);
        }
    }
    Ok(postings)
}

/// What was posted for a booking, oldest first.
pub(super) fn postings_for(
    conn: &Connection,
    booking_id: BookingId,
) -> rusqlite::Result<Vec<Posting>> {
    conn.prepare_cached(
        "SELECT account_id, entry, kind, amount, balance, event_id, booking_id, at
         FROM postings WHERE booking_id = ?1 ORDER BY number",
    )?
    .query_map([booking_id.get()], posting)?
    .collect()
}

pub(super) fn all(conn: &Connection, after: UserId, limit: u32) -> rusqlite::Result<Vec<Account>> {
    conn.prepare_cached(
        "SELECT account_id, balance, entries FROM accounts WHERE account_id > ?1
         ORDER BY account_id LIMIT ?2",
    )?
    .query_map((after.get(), limit), account)?
    .collect()
}

/// Postings to all accounts above a number, with the number of the last.
pub(super) fn all_postings(
    conn: &Connection,
    after: i64,
    limit: u32,
) -> rusqlite::Result<(Vec<Posting>, i64)> {
    POSTINGS.page(conn, after, limit)
}

const BROKEN_LINKS: [&str; 3] = [
    "SELECT format('posting %d (user %d, entry %d) doesn''t follow the one before it',
                   c.number, c.account_id, c.entry)
     FROM postings c LEFT JOIN postings p ON p.number = c.previous AND p.number < c.number
     WHERE CASE c.entry WHEN 1 THEN c.previous IS NOT NULL
                ELSE p.account_id IS NOT c.account_id OR p.entry IS NOT c.entry - 1 END
     LIMIT 100",
    "SELECT format('the account of user %d has %d entries, but its latest posting has another number',
                   a.account_id, a.entries)
     FROM accounts a LEFT JOIN postings p ON p.number = a.latest
     WHERE p.account_id IS NOT a.account_id OR p.entry IS NOT a.entries
     LIMIT 100",
    "SELECT format('posting %d is for an event or for a booking, but not for both', number)
     FROM postings WHERE (event_id IS NULL) <> (booking_id IS NULL)
     LIMIT 100",
];

/// What is wrong with the links by which an account's postings are found.
pub(super) fn broken_links(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    chain::findings(conn, &BROKEN_LINKS)
}

#[async_trait]
impl AccountQueries for SqliteStore {
    async fn account(&self, user_id: UserId) -> Result<Account, StoreError> {
        self.readers.rows.run(move |conn| one(conn, user_id)).await
    }

    async fn postings(
        &self,
        user_id: UserId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Posting>, StoreError> {
        let read = move |conn: &Connection| postings_of(conn, user_id, before, limit);
        self.readers.lists.run(read).await
    }

    async fn postings_for(&self, id: BookingId) -> Result<Vec<Posting>, StoreError> {
        self.readers.rows.run(move |conn| postings_for(conn, id)).await
    }
}
