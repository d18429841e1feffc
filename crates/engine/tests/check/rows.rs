//! A snapshot whose rows are in memory, so that they can come in any order a store may give.

use async_trait::async_trait;
use eventbooker_core::accounts::{Account, Posting};
use eventbooker_core::bookings::Booking;
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::events::{Event, JournalEntry, Slot};
use eventbooker_core::{BookingId, Context, Contexts};
use eventbooker_store::{Snapshot, StoreError, TableCounts};

/// A table, and how many of its rows have been read.
#[derive(Clone)]
pub(crate) struct Table<T> {
    pub(crate) rows: Vec<T>,
    read: usize,
}

impl<T: Clone> Table<T> {
    pub(crate) fn of(rows: Vec<T>) -> Self {
        Self { rows, read: 0 }
    }

    fn count(&self) -> u64 {
        self.rows.len() as u64
    }

    fn page(&mut self, limit: u32) -> Vec<T> {
        let page: Vec<T> = self.rows[self.read..].iter().take(limit as usize).cloned().collect();
        self.read += page.len();
        page
    }
}

#[derive(Clone)]
pub(crate) struct Rows {
    pub(crate) events: Table<Event>,
    pub(crate) slots: Table<Slot>,
    pub(crate) journal: Table<JournalEntry>,
    pub(crate) accounts: Table<Account>,
    pub(crate) postings: Table<Posting>,
    pub(crate) bookings: Table<Booking>,
    pub(crate) errands: Table<Errand>,
    pub(crate) last_booking_id: BookingId,
    pub(crate) integrity: Vec<String>,
}

impl Rows {
    /// All that is in another snapshot, which has few rows.
    pub(crate) async fn of(snapshot: &mut dyn Snapshot) -> Self {
        const ALL: u32 = 1_000;
        Self {
            events: Table::of(snapshot.events(ALL).await.expect("read")),
            slots: Table::of(snapshot.slots(ALL).await.expect("read")),
            journal: Table::of(snapshot.journal(ALL).await.expect("read")),
            accounts: Table::of(snapshot.accounts(ALL).await.expect("read")),
            postings: Table::of(snapshot.postings(ALL).await.expect("read")),
            bookings: Table::of(snapshot.bookings(ALL).await.expect("read")),
            errands: Table::of(snapshot.errands(ALL).await.expect("read")),
            last_booking_id: snapshot.last_booking_id().await.expect("read"),
            integrity: snapshot.integrity().await.expect("read"),
        }
    }

    /// Those of a database that holds only some contexts.
    pub(crate) fn only(&self, contexts: impl Into<Contexts>) -> Self {
        let (contexts, mut only) = (contexts.into(), self.clone());
        if !contexts.has(Context::Events) {
            only.events.rows.clear();
            only.slots.rows.clear();
            only.journal.rows.clear();
        }
        if !contexts.has(Context::Accounts) {
            only.accounts.rows.clear();
            only.postings.rows.clear();
        }
        if !contexts.has(Context::Bookings) {
            only.bookings.rows.clear();
            only.errands.rows.clear();
            only.last_booking_id = BookingId::new(0);
        }
        only
    }

    /// As they come from a store that keeps rows of one event, and of one account, together.
    pub(crate) fn sort_by_owner(&mut self) {
        self.slots.rows.sort_by_key(|slot| (slot.event_id, slot.booking_id));
        self.journal.rows.sort_by_key(|entry| entry.event_id);
        self.postings.rows.sort_by_key(|posting| posting.user_id);
        self.bookings.rows.sort_by_key(|booking| (booking.event_id, booking.id));
        self.errands.rows.sort_by_key(|errand| (errand.event_id, errand.booking_id));
    }

    /// The other way round, where rows have no order of their own.
    pub(crate) fn reverse(&mut self) {
        self.events.rows.reverse();
        self.slots.rows.reverse();
        self.accounts.rows.reverse();
        self.bookings.rows.reverse();
        self.errands.rows.reverse();
    }
}

#[async_trait]
impl Snapshot for Rows {
    async fn counts(&mut self) -> Result<TableCounts, StoreError> {
        Ok(TableCounts {
            events: self.events.count(),
            slots: self.slots.count(),
            journal: self.journal.count(),
            accounts: self.accounts.count(),
            postings: self.postings.count(),
            bookings: self.bookings.count(),
            errands: self.errands.count(),
        })
    }

    async fn integrity(&mut self) -> Result<Vec<String>, StoreError> {
        Ok(self.integrity.clone())
    }

    async fn last_booking_id(&mut self) -> Result<BookingId, StoreError> {
        Ok(self.last_booking_id)
    }

    async fn rewind(&mut self) -> Result<(), StoreError> {
        self.events.read = 0;
        self.slots.read = 0;
        self.journal.read = 0;
        self.accounts.read = 0;
        self.postings.read = 0;
        self.bookings.read = 0;
        self.errands.read = 0;
        Ok(())
    }

    async fn events(&mut self, limit: u32) -> Result<Vec<Event>, StoreError> {
        Ok(self.events.page(limit))
    }

    async fn slots(&mut self, limit: u32) -> Result<Vec<Slot>, StoreError> {
        Ok(self.slots.page(limit))
    }

    async fn journal(&mut self, limit: u32) -> Result<Vec<JournalEntry>, StoreError> {
        Ok(self.journal.page(limit))
    }

    async fn accounts(&mut self, limit: u32) -> Result<Vec<Account>, StoreError> {
        Ok(self.accounts.page(limit))
    }

    async fn postings(&mut self, limit: u32) -> Result<Vec<Posting>, StoreError> {
        Ok(self.postings.page(limit))
    }

    async fn bookings(&mut self, limit: u32) -> Result<Vec<Booking>, StoreError> {
        Ok(self.bookings.page(limit))
    }

    async fn errands(&mut self, limit: u32) -> Result<Vec<Errand>, StoreError> {
        Ok(self.errands.page(limit))
    }
}
