//! What pages and lists ask. Queries never lock and decide nothing: what they bring may have
//! changed by the time it is shown.

use async_trait::async_trait;
use eventbooker_core::bookings::Booking;
use eventbooker_core::events::{Event, JournalEntry, Slot};
use eventbooker_core::identity::{Session, TokenDigest, User};
use eventbooker_core::{BookingId, EventId, Timestamp, UserId};

use crate::StoreError;

/// Which events to list, soonest first, undated ones last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsPage {
    /// How many at most.
    pub limit: u32,
    /// Only those that come after this one in the order of the list.
    pub after: Option<EventId>,
    /// Only those whose name holds this text; ASCII letters match in either case.
    pub name_contains: Option<String>,
}

/// Where a booking's command has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BookingRoute {
    /// To the lane of this event.
    Exists(EventId),
    /// Nowhere: the number was given out, and its row is gone.
    Gone,
    /// Nowhere: the number has not been given out.
    Never,
}

/// Holds whose deadline has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueHolds {
    /// They, soonest deadline first.
    pub holds: Vec<(EventId, BookingId)>,
    /// The soonest deadline that has not come yet.
    pub next: Option<Timestamp>,
}

/// The oldest of the rows that are removed when they have outlived their use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OldestKept {
    /// When the session that ends first ends.
    pub session_end: Option<Timestamp>,
    /// When the oldest remembered answer was given.
    pub answer: Option<Timestamp>,
}

/// A session and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionUser {
    /// The session.
    pub session: Session,
    /// Its user.
    pub user: User,
}

/// Reads outside of lanes.
#[async_trait]
pub trait Queries: Send + Sync + 'static {
    /// An event.
    async fn event(&self, id: EventId) -> Result<Option<Event>, StoreError>;
    /// A page of events.
    async fn events(&self, page: EventsPage) -> Result<Vec<Event>, StoreError>;
    /// An event's journal entries above a version, oldest first.
    async fn journal(
        &self,
        event_id: EventId,
        after_version: i64,
        limit: u32,
    ) -> Result<Vec<JournalEntry>, StoreError>;
    /// An event's slots, newest booking first; only those of bookings older than `before`.
    async fn slots(
        &self,
        event_id: EventId,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<Vec<Slot>, StoreError>;
    /// The bookings with these numbers that exist.
    async fn bookings(&self, ids: Vec<BookingId>) -> Result<Vec<Booking>, StoreError>;
    /// A user's holds and paid bookings, newest first, on one event or on all; only those older
    /// than `before`.
    async fn live_bookings_of_user(
        &self,
        user_id: UserId,
        event_id: Option<EventId>,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<Vec<Booking>, StoreError>;
    /// Where commands for a booking have to go.
    async fn booking_route(&self, id: BookingId) -> Result<BookingRoute, StoreError>;
    /// The holds that are due, and when the next one will be. `clock` is this process's time; a
    /// store with a clock of its own uses that instead.
    async fn due_holds(&self, clock: Timestamp, limit: u32) -> Result<DueHolds, StoreError>;
    /// The session with this digest, ended or not.
    async fn session(&self, digest: TokenDigest) -> Result<Option<SessionUser>, StoreError>;
    /// The user with this login.
    async fn user_by_login(&self, login: String) -> Result<Option<User>, StoreError>;
    /// Users above a number.
    async fn users(&self, after: UserId, limit: u32) -> Result<Vec<User>, StoreError>;
    /// The oldest of the rows that are removed when they have outlived their use.
    async fn oldest_kept(&self) -> Result<OldestKept, StoreError>;
    /// Whether the database answers.
    async fn ping(&self) -> Result<(), StoreError>;
}

/// How many rows there are to recount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableCounts {
    /// Events.
    pub events: u64,
    /// Slots.
    pub slots: u64,
    /// Journal entries.
    pub journal: u64,
    /// Bookings.
    pub bookings: u64,
}

/// Every row as it was at one instant. Each table is read once from its beginning to its end, page
/// by page; a page is empty when all rows have been read.
#[async_trait]
pub trait Snapshot: Send {
    /// How many rows there are.
    async fn counts(&mut self) -> Result<TableCounts, StoreError>;
    /// What the database itself finds wrong with its files; empty if nothing.
    async fn integrity(&mut self) -> Result<Vec<String>, StoreError>;
    /// The highest booking number that was given out.
    async fn last_booking_id(&mut self) -> Result<BookingId, StoreError>;
    /// The next events.
    async fn events(&mut self, limit: u32) -> Result<Vec<Event>, StoreError>;
    /// The next slots.
    async fn slots(&mut self, limit: u32) -> Result<Vec<Slot>, StoreError>;
    /// The next journal entries. Those of one event come in the order of their versions, with
    /// entries of other events between them.
    async fn journal(&mut self, limit: u32) -> Result<Vec<JournalEntry>, StoreError>;
    /// The next bookings.
    async fn bookings(&mut self, limit: u32) -> Result<Vec<Booking>, StoreError>;
}
