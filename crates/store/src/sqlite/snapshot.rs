//! Every row as it was at one instant: one long read transaction.

use async_trait::async_trait;
use eventbooker_core::accounts::{Account, Posting};
use eventbooker_core::bookings::Booking;
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::bookings::participant::{MemoryKey, Participant, Remembered};
use eventbooker_core::events::{Event, JournalEntry, Slot};
use eventbooker_core::identity::{Session, User};
use eventbooker_core::{BookingId, Context, Contexts, EventId, UserId};
use rusqlite::Connection;

use super::{accounts, answers, bookings, events, identity, journal, sagas, writer};
use crate::{Answer, FullSnapshot, LastIds, SagaStep, Snapshot, StoreError, TableCounts};

pub(super) struct SqliteSnapshot {
    conn: Connection,
    contexts: Contexts,
    read: LastRead,
}

/// The last row of each table that was read.
struct LastRead {
    event: EventId,
    slot: BookingId,
    journal_entry: i64,
    account: UserId,
    posting: i64,
    booking: BookingId,
    errand: BookingId,
    user: UserId,
    session: Vec<u8>,
    answer: i64,
    saga_step: (BookingId, i64),
    memory: MemoryKey,
}

impl LastRead {
    /// Below every row.
    const NONE: Self = Self {
        event: EventId::new(i64::MIN),
        slot: BookingId::new(i64::MIN),
        journal_entry: i64::MIN,
        account: UserId::new(i64::MIN),
        posting: i64::MIN,
        booking: BookingId::new(i64::MIN),
        errand: BookingId::new(i64::MIN),
        user: UserId::new(i64::MIN),
        session: Vec::new(),
        answer: i64::MIN,
        saga_step: (BookingId::new(i64::MIN), i64::MIN),
        memory: MemoryKey {
            booking_id: BookingId::new(i64::MIN),
            participant: Participant::Events,
            attempt: 0,
        },
    };
}

impl SqliteSnapshot {
    pub(super) fn begin(conn: Connection, contexts: Contexts) -> Result<Self, StoreError> {
        conn.pragma_update(None, "query_only", true)?;
        conn.execute_batch("BEGIN")?;
        // The view is fixed by the first read, not by BEGIN.
        bookings::last_id(&conn)?;
        Ok(Self { conn, contexts, read: LastRead::NONE })
    }

    /// How many rows of a context are in a table: none of a context that isn't here.
    fn count(&self, context: Context, table: &str) -> rusqlite::Result<u64> {
        if self.contexts.has(context) { self.count_all(table) } else { Ok(0) }
    }

    fn count_all(&self, table: &str) -> rusqlite::Result<u64> {
        let sql = format!("SELECT count(*) FROM {table}");
        let count: i64 = self.conn.query_row(&sql, [], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

#[async_trait]
impl Snapshot for SqliteSnapshot {
    async fn counts(&mut self) -> Result<TableCounts, StoreError> {
        Ok(TableCounts {
            events: self.count(Context::Events, "events")?,
            slots: self.count(Context::Events, "slots")?,
            journal: self.count(Context::Events, "journal")?,
            accounts: self.count(Context::Accounts, "accounts")?,
            postings: self.count(Context::Accounts, "postings")?,
            bookings: self.count(Context::Bookings, "bookings")?,
            errands: self.count(Context::Bookings, "errands")?,
        })
    }

    async fn integrity(&mut self) -> Result<Vec<String>, StoreError> {
        let mut findings: Vec<String> = self
            .conn
            .prepare("PRAGMA integrity_check(100)")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        findings.retain(|finding| finding != "ok");
        if self.contexts.has(Context::Events) {
            findings.extend(journal::broken_links(&self.conn)?);
        }
        if self.contexts.has(Context::Accounts) {
            findings.extend(accounts::broken_links(&self.conn)?);
        }
        Ok(findings)
    }

    async fn last_booking_id(&mut self) -> Result<BookingId, StoreError> {
        Ok(bookings::last_id(&self.conn)?)
    }

    async fn rewind(&mut self) -> Result<(), StoreError> {
        self.read = LastRead::NONE;
        Ok(())
    }

    async fn events(&mut self, limit: u32) -> Result<Vec<Event>, StoreError> {
        if !self.contexts.has(Context::Events) {
            return Ok(Vec::new());
        }
        let page = events::all(&self.conn, self.read.event, limit)?;
        self.read.event = page.last().map_or(self.read.event, |event| event.id);
        Ok(page)
    }

    async fn slots(&mut self, limit: u32) -> Result<Vec<Slot>, StoreError> {
        if !self.contexts.has(Context::Events) {
            return Ok(Vec::new());
        }
        let page = events::all_slots(&self.conn, self.read.slot, limit)?;
        self.read.slot = page.last().map_or(self.read.slot, |slot| slot.booking_id);
        Ok(page)
    }

    async fn journal(&mut self, limit: u32) -> Result<Vec<JournalEntry>, StoreError> {
        if !self.contexts.has(Context::Events) {
            return Ok(Vec::new());
        }
        let (page, last) = journal::all(&self.conn, self.read.journal_entry, limit)?;
        self.read.journal_entry = last;
        Ok(page)
    }

    async fn accounts(&mut self, limit: u32) -> Result<Vec<Account>, StoreError> {
        if !self.contexts.has(Context::Accounts) {
            return Ok(Vec::new());
        }
        let page = accounts::all(&self.conn, self.read.account, limit)?;
        self.read.account = page.last().map_or(self.read.account, |account| account.user_id);
        Ok(page)
    }

    async fn postings(&mut self, limit: u32) -> Result<Vec<Posting>, StoreError> {
        if !self.contexts.has(Context::Accounts) {
            return Ok(Vec::new());
        }
        let (page, last) = accounts::all_postings(&self.conn, self.read.posting, limit)?;
        self.read.posting = last;
        Ok(page)
    }

    async fn bookings(&mut self, limit: u32) -> Result<Vec<Booking>, StoreError> {
        if !self.contexts.has(Context::Bookings) {
            return Ok(Vec::new());
        }
        let page = bookings::all(&self.conn, self.read.booking, limit)?;
        self.read.booking = page.last().map_or(self.read.booking, |booking| booking.id);
        Ok(page)
    }

    async fn errands(&mut self, limit: u32) -> Result<Vec<Errand>, StoreError> {
        if !self.contexts.has(Context::Bookings) {
            return Ok(Vec::new());
        }
        let page = sagas::errands(&self.conn, self.read.errand, limit)?;
        self.read.errand = page.last().map_or(self.read.errand, |errand| errand.booking_id);
        Ok(page)
    }
}

#[async_trait]
impl FullSnapshot for SqliteSnapshot {
    async fn rows(&mut self) -> Result<u64, StoreError> {
        let others = [
            self.count(Context::Identity, "users")?,
            self.count(Context::Identity, "sessions")?,
            self.count(Context::Bookings, "saga_steps")?,
            sagas::count_memories(&self.conn, self.contexts)?,
            self.count_all("answers")?,
        ];
        Ok(self.counts().await?.all() + others.iter().sum::<u64>())
    }

    async fn last_ids(&mut self) -> Result<LastIds, StoreError> {
        Ok(writer::last_ids(&self.conn)?.of(self.contexts))
    }

    async fn users(&mut self, limit: u32) -> Result<Vec<User>, StoreError> {
        if !self.contexts.has(Context::Identity) {
            return Ok(Vec::new());
        }
        let page = identity::users(&self.conn, self.read.user, limit)?;
        self.read.user = page.last().map_or(self.read.user, |user| user.id);
        Ok(page)
    }

    async fn sessions(&mut self, limit: u32) -> Result<Vec<Session>, StoreError> {
        if !self.contexts.has(Context::Identity) {
            return Ok(Vec::new());
        }
        let page = identity::all_sessions(&self.conn, &self.read.session, limit)?;
        if let Some(session) = page.last() {
            self.read.session = session.token_digest.to_vec();
        }
        Ok(page)
    }

    async fn answers(&mut self, limit: u32) -> Result<Vec<Answer>, StoreError> {
        let (page, last) = answers::all(&self.conn, self.read.answer, limit)?;
        self.read.answer = last;
        Ok(page)
    }

    async fn saga_steps(&mut self, limit: u32) -> Result<Vec<SagaStep>, StoreError> {
        if !self.contexts.has(Context::Bookings) {
            return Ok(Vec::new());
        }
        let (page, last) = sagas::all_steps(&self.conn, self.read.saga_step, limit)?;
        self.read.saga_step = last;
        Ok(page)
    }

    async fn memories(&mut self, limit: u32) -> Result<Vec<Remembered>, StoreError> {
        let page = sagas::all_memories(&self.conn, self.contexts, self.read.memory, limit)?;
        self.read.memory = page.last().map_or(self.read.memory, |memory| memory.key);
        Ok(page)
    }
}
