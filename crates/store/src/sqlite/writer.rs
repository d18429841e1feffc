//! A lane's connection: begin with the write lock, load, save, commit.

use std::sync::Arc;

use async_trait::async_trait;
use eventbooker_core::{Context, Contexts, Timestamp};
use rusqlite::Connection;

use super::checkpoint::Checkpointer;
use super::{accounts, answers, bookings, checks, events, identity, neighbours, sagas};
use crate::{Changes, IdRange, LastIds, Loaded, StoreError, Wants, Writer};

pub(super) struct SqliteWriter {
    conn: Connection,
    contexts: Contexts,
    checkpointer: Option<Arc<Checkpointer>>,
}

impl SqliteWriter {
    pub(super) fn new(
        conn: Connection,
        contexts: Contexts,
        checkpointer: Option<Arc<Checkpointer>>,
    ) -> Self {
        Self { conn, contexts, checkpointer }
    }

    /// Ends a transaction that can't go on. SQLite may have ended it already, which is as good.
    fn roll_back(&self) {
        if !self.conn.is_autocommit() {
            let _ = self.conn.execute_batch("ROLLBACK");
        }
    }

    fn load_now(&self, wants: &Wants, now: Timestamp) -> rusqlite::Result<Loaded> {
        let conn = &self.conn;
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let ids = if wants.new_bookings + wants.new_events + wants.new_users > 0 {
            last_ids(conn)?
        } else {
            LastIds::default()
        };
        Ok(Loaded {
            now,
            answers: answers::load(conn, &wants.answers)?,
            bookings: bookings::load(conn, &wants.bookings)?,
            holdings: bookings::load_holdings(conn, &wants.holdings, now)?,
            events: events::load(conn, &wants.events)?,
            slots: events::load_slots(conn, &wants.slots)?,
            accounts: accounts::load(conn, &wants.accounts)?,
            errands: sagas::load(conn, &wants.errands)?,
            memories: sagas::load_memories(conn, &wants.memories)?,
            users: identity::load(conn, &wants.users, &wants.logins)?,
            booking_ids: range_after(ids.booking),
            event_ids: range_after(ids.event),
            user_ids: range_after(ids.user),
        })
    }

    fn save_now(&self, changes: &Changes) -> rusqlite::Result<()> {
        let conn = &self.conn;
        identity::save(conn, changes)?;
        events::save(conn, changes)?;
        accounts::save(conn, changes)?;
        bookings::save(conn, changes)?;
        sagas::save(conn, changes)?;
        answers::save(conn, changes)?;
        if let Some(purge) = &changes.purge {
            if self.contexts.has(Context::Identity) {
                identity::purge_sessions(conn, purge)?;
            }
            answers::purge(conn, purge)?;
            sagas::purge(conn, purge)?;
        }
        if let Some(check) = &changes.checked {
            checks::save(conn, check)?;
        }
        neighbours::save(conn, changes)?;
        save_last_ids(conn, changes.last_ids)
    }

    /// An error here is a definite no only where SQLite fails before the log holds the whole
    /// commit. After that (a failed sync, a failure to extend the log's index) the next recovery
    /// may still find it.
    fn commit(&self) -> Result<(), StoreError> {
        let committed = self.conn.prepare_cached("COMMIT").and_then(|mut it| it.execute([]));
        let Err(error) = committed.map_err(StoreError::from) else { return Ok(()) };
        if matches!(error, StoreError::Full(_) | StoreError::Contention(_)) {
            return Err(error);
        }
        Err(StoreError::OutcomeUnknown(error.to_string()))
    }
}

// The futures of this writer never wait: a lane has a thread of its own, and SQLite is a library.
#[async_trait]
impl Writer for SqliteWriter {
    async fn load(&mut self, wants: &Wants, clock: Timestamp) -> Result<Loaded, StoreError> {
        if let Some(checkpointer) = &self.checkpointer {
            checkpointer.before_transaction(&self.conn);
        }
        self.load_now(wants, clock).map_err(|error| {
            self.roll_back();
            error.into()
        })
    }

    async fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        let saved = self.save_now(changes).map_err(StoreError::from);
        saved.and_then(|()| self.commit()).inspect_err(|_| self.roll_back())
    }

    async fn release(&mut self) -> Result<(), StoreError> {
        if !self.conn.is_autocommit() {
            self.conn.prepare_cached("ROLLBACK")?.execute([])?;
        }
        Ok(())
    }
}

/// With one writer at a time nobody else gives out numbers, so they need no end.
fn range_after(last: Option<i64>) -> IdRange {
    last.map_or_else(IdRange::default, |last| IdRange { next: last + 1, end: i64::MAX })
}

pub(super) fn last_ids(conn: &Connection) -> rusqlite::Result<LastIds> {
    let mut ids = LastIds::default();
    let mut statement = conn.prepare_cached("SELECT kind, last FROM ids")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let last = Some(row.get(1)?);
        match row.get_ref(0)?.as_str()? {
            "booking" => ids.booking = last,
            "event" => ids.event = last,
            "user" => ids.user = last,
            _ => {}
        }
    }
    Ok(ids)
}

pub(super) fn save_last_ids(conn: &Connection, ids: LastIds) -> rusqlite::Result<()> {
    let kinds = [("booking", ids.booking), ("event", ids.event), ("user", ids.user)];
    for (kind, last) in kinds {
        if let Some(last) = last {
            conn.prepare_cached("UPDATE ids SET last = ?2 WHERE kind = ?1")?
                .execute((kind, last))?;
        }
    }
    Ok(())
}
