//! Every row as it was at one instant: one long read transaction.

use async_trait::async_trait;
use eventbooker_core::bookings::Booking;
use eventbooker_core::events::{Event, JournalEntry, Slot};
use eventbooker_core::{BookingId, EventId};
use rusqlite::Connection;

use super::{bookings, events};
use crate::{Snapshot, StoreError, TableCounts};

pub(super) struct SqliteSnapshot {
    conn: Connection,
}

impl SqliteSnapshot {
    pub(super) fn begin(conn: Connection) -> Result<Self, StoreError> {
        conn.pragma_update(None, "query_only", true)?;
        conn.execute_batch("BEGIN")?;
        // The view is fixed by the first read, not by BEGIN.
        bookings::last_id(&conn)?;
        Ok(Self { conn })
    }

    fn count(&self, table: &str) -> rusqlite::Result<u64> {
        let sql = format!("SELECT count(*) FROM {table}");
        let count: i64 = self.conn.query_row(&sql, [], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

#[async_trait]
impl Snapshot for SqliteSnapshot {
    async fn counts(&mut self) -> Result<TableCounts, StoreError> {
        Ok(TableCounts {
            events: self.count("events")?,
            slots: self.count("slots")?,
            journal: self.count("journal")?,
            bookings: self.count("bookings")?,
        })
    }

    async fn integrity(&mut self) -> Result<Vec<String>, StoreError> {
        let mut findings: Vec<String> = self
            .conn
            .prepare("PRAGMA integrity_check(100)")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        findings.retain(|finding| finding != "ok");
        Ok(findings)
    }

    async fn last_booking_id(&mut self) -> Result<BookingId, StoreError> {
        Ok(bookings::last_id(&self.conn)?)
    }

    async fn events(&mut self, after: EventId, limit: u32) -> Result<Vec<Event>, StoreError> {
        Ok(events::all(&self.conn, after, limit)?)
    }

    async fn slots(
        &mut self,
        after: (EventId, BookingId),
        limit: u32,
    ) -> Result<Vec<Slot>, StoreError> {
        Ok(events::all_slots(&self.conn, after, limit)?)
    }

    async fn journal(
        &mut self,
        after: (EventId, i64),
        limit: u32,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        Ok(events::all_journal(&self.conn, after, limit)?)
    }

    async fn bookings(&mut self, after: BookingId, limit: u32) -> Result<Vec<Booking>, StoreError> {
        Ok(bookings::all(&self.conn, after, limit)?)
    }
}
