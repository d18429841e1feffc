//! What pages and lists ask. Queries never lock and decide nothing: what they bring may have
//! changed by the time it is shown.

use async_trait::async_trait;
use eventbooker_core::accounts::{Account, Posting};
use eventbooker_core::bookings::Booking;
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::bookings::participant::Remembered;
use eventbooker_core::events::{Event, JournalEntry, Slot};
use eventbooker_core::identity::{Session, TokenDigest, User};
use eventbooker_core::{BookingId, EventId, Timestamp, UserId};

use crate::{Answer, AnswerKey, Installation, LastCheck, LastIds, Neighbour, SagaStep, StoreError};

/// Which events to list, soonest first, undated ones last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsPage {
    /// How many at most.
    pub limit: u32,
    /// Only those that come after this one in the order of the list.
    pub after: Option<EventId>,
    /// Only those that begin at this instant or later, and undated ones. Looked at on a first page;
    /// what comes after an event doesn't begin before it.
    pub not_before: Option<Timestamp>,
    /// Only those whose name holds this text; letters match in either case, and `ё` as `е`.
    pub name_contains: Option<String>,
}

/// Some of an event's slots, newest booking first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotsPage {
    /// They.
    pub slots: Vec<Slot>,
    /// All others are of bookings older than this one; `None` if there are no others.
    pub next: Option<BookingId>,
}

impl SlotsPage {
    /// A page that ends where it is full, or with the last slot.
    pub fn of(slots: Vec<Slot>, limit: u32) -> Self {
        let full = slots.len() >= limit as usize;
        let next = slots.last().filter(|_| full).map(|slot| slot.booking_id);
        Self { slots, next }
    }
}

/// Where a booking's command has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BookingRoute {
    /// To the lane of its event.
    Exists {
        /// The event that it is for.
        event_id: EventId,
        /// Whose it is.
        user_id: UserId,
    },
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

/// Errands that nobody carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueErrands {
    /// They, those that have been due for longest first.
    pub errands: Vec<Errand>,
    /// When the next one is due.
    pub next: Option<Timestamp>,
    /// How many there are that aren't parked, whether or not somebody carries them.
    pub open: u64,
    /// How many are parked and wait for the operator.
    pub parked: u64,
}

/// The oldest of the rows that are removed when they have outlived their use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OldestKept {
    /// When the session that ends first ends.
    pub session_end: Option<Timestamp>,
    /// When the oldest remembered answer was given.
    pub answer: Option<Timestamp>,
    /// When a participant remembered what it has remembered for longest.
    pub memory: Option<Timestamp>,
}

/// A session and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionUser {
    /// The session.
    pub session: Session,
    /// Its user.
    pub user: User,
}

/// Reads outside of lanes: a trait for each context, because not every database holds all of them.
pub trait Queries:
    IdentityQueries
    + EventQueries
    + EventWorkQueries
    + AccountQueries
    + BookingQueries
    + SagaQueries
    + CommonQueries
{
}

impl<T> Queries for T where
    T: IdentityQueries
        + EventQueries
        + EventWorkQueries
        + AccountQueries
        + BookingQueries
        + SagaQueries
        + CommonQueries
{
}

/// Reads of users and sessions.
#[async_trait]
pub trait IdentityQueries: Send + Sync + 'static {
    /// The session with this digest, ended or not.
    async fn session(&self, digest: TokenDigest) -> Result<Option<SessionUser>, StoreError>;
    /// The user with this login.
    async fn user_by_login(&self, login: String) -> Result<Option<User>, StoreError>;
    /// The users with these numbers that exist.
    async fn users_by_ids(&self, ids: Vec<UserId>) -> Result<Vec<User>, StoreError>;
    /// Users above a number.
    async fn users(&self, after: UserId, limit: u32) -> Result<Vec<User>, StoreError>;
}

/// Reads of events, their slots and journals.
#[async_trait]
pub trait EventQueries: Send + Sync + 'static {
    /// An event.
    async fn event(&self, id: EventId) -> Result<Option<Event>, StoreError>;
    /// A page of events, without their descriptions: these are empty here.
    async fn events(&self, page: EventsPage) -> Result<Vec<Event>, StoreError>;
    /// The events with these numbers that exist, without their descriptions.
    async fn events_with(&self, ids: Vec<EventId>) -> Result<Vec<Event>, StoreError>;
    /// An event's journal entries above a version, oldest first.
    async fn journal(
        &self,
        event_id: EventId,
        after_version: i64,
        limit: u32,
    ) -> Result<Vec<JournalEntry>, StoreError>;
    /// An event's slots, newest booking first; only those of bookings older than `before`. A page
    /// may be short, or empty, and still not be the last.
    async fn slots(
        &self,
        event_id: EventId,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<SlotsPage, StoreError>;
}

/// Reads of events for whoever looks after them; no other service asks.
#[async_trait]
pub trait EventWorkQueries: Send + Sync + 'static {
    /// What an event's journal says about a booking, oldest first. It may read the journals of all
    /// events: this is for an operator.
    async fn journal_of_booking(&self, id: BookingId) -> Result<Vec<JournalEntry>, StoreError>;
    /// Cancelled events that still have bookings to release, by number.
    async fn releasing_events(&self, limit: u32) -> Result<Vec<EventId>, StoreError>;
}

/// Reads of accounts and what was posted to them.
#[async_trait]
pub trait AccountQueries: Send + Sync + 'static {
    /// A user's account; an empty one if nothing was posted to it.
    async fn account(&self, user_id: UserId) -> Result<Account, StoreError>;
    /// An account's postings, newest first; only those before an entry.
    async fn postings(
        &self,
        user_id: UserId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Posting>, StoreError>;
    /// What was posted for a booking, oldest first.
    async fn postings_for(&self, id: BookingId) -> Result<Vec<Posting>, StoreError>;
}

/// Reads of bookings.
#[async_trait]
pub trait BookingQueries: Send + Sync + 'static {
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
    /// A user's bookings in whatever state, oldest first, above a number.
    async fn bookings_of_user(
        &self,
        user_id: UserId,
        after: BookingId,
        limit: u32,
    ) -> Result<Vec<Booking>, StoreError>;
    /// Where commands for a booking have to go.
    async fn booking_route(&self, id: BookingId) -> Result<BookingRoute, StoreError>;
}

/// Reads of bookings that only whoever takes their sagas further needs.
#[async_trait]
pub trait SagaQueries: Send + Sync + 'static {
    /// The holds that are due, and when the next one will be. `clock` is this process's time; a
    /// store with a clock of its own uses that instead.
    async fn due_holds(&self, clock: Timestamp, limit: u32) -> Result<DueHolds, StoreError>;
    /// The errands that are free to be taken up, and when the next one will be. Parked ones aren't.
    async fn due_errands(&self, clock: Timestamp, limit: u32) -> Result<DueErrands, StoreError>;
    /// Errands above a booking's number, parked or not.
    async fn errands(&self, after: BookingId, limit: u32) -> Result<Vec<Errand>, StoreError>;
    /// What a booking's saga has been answered elsewhere, oldest first.
    async fn saga_steps(&self, booking_id: BookingId) -> Result<Vec<SagaStep>, StoreError>;
    /// The errand that a booking's saga waits for.
    async fn errand(&self, booking_id: BookingId) -> Result<Option<Errand>, StoreError>;
}

/// Reads of what belongs to no context, or to each.
#[async_trait]
pub trait CommonQueries: Send + Sync + 'static {
    /// The oldest of the rows that are removed when they have outlived their use.
    async fn oldest_kept(&self) -> Result<OldestKept, StoreError>;
    /// What the database is known by.
    async fn installation(&self) -> Result<Installation, StoreError>;
    /// How far the database has come.
    async fn progress(&self) -> Result<i64, StoreError>;
    /// What has been seen of other services' databases.
    async fn neighbours(&self) -> Result<Vec<Neighbour>, StoreError>;
    /// The highest numbers of other services' rows that the rows here name.
    async fn ids_met(&self) -> Result<LastIds, StoreError>;
    /// What the last check of the invariants came to, for each who has checked.
    async fn last_checks(&self) -> Result<Vec<LastCheck>, StoreError>;
    /// The answer that was given to a command with this key.
    async fn answer(&self, key: AnswerKey) -> Result<Option<Answer>, StoreError>;
    /// What time it is by the store's own clock; `None` if it goes by the one that it is given.
    async fn clock(&self) -> Result<Option<Timestamp>, StoreError>;
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
    /// Accounts that something was posted to.
    pub accounts: u64,
    /// Postings.
    pub postings: u64,
    /// Bookings.
    pub bookings: u64,
    /// Errands.
    pub errands: u64,
}

impl TableCounts {
    /// How many rows there are in all tables.
    pub fn all(&self) -> u64 {
        let Self { events, slots, journal, accounts, postings, bookings, errands } = self;
        events + slots + journal + accounts + postings + bookings + errands
    }
}

/// Every row as it was at one instant. Each table is read from its beginning to its end, page by
/// page; a page is empty when all rows have been read.
#[async_trait]
pub trait Snapshot: Send {
    /// Whether writers get slower the longer it is open.
    fn slows_writers(&self) -> bool {
        false
    }
    /// How many rows there are.
    async fn counts(&mut self) -> Result<TableCounts, StoreError>;
    /// What the database itself finds wrong with its files; empty if nothing.
    async fn integrity(&mut self) -> Result<Vec<String>, StoreError>;
    /// The highest booking number that was given out.
    async fn last_booking_id(&mut self) -> Result<BookingId, StoreError>;
    /// Goes back to the beginning of every table. The rows are those of the same instant.
    async fn rewind(&mut self) -> Result<(), StoreError>;
    /// The next events.
    async fn events(&mut self, limit: u32) -> Result<Vec<Event>, StoreError>;
    /// The next slots.
    async fn slots(&mut self, limit: u32) -> Result<Vec<Slot>, StoreError>;
    /// The next journal entries. Those of one event come in the order of their versions, with
    /// entries of other events between them.
    async fn journal(&mut self, limit: u32) -> Result<Vec<JournalEntry>, StoreError>;
    /// The next accounts.
    async fn accounts(&mut self, limit: u32) -> Result<Vec<Account>, StoreError>;
    /// The next postings. Those to one account come in the order of their entries, with others'
    /// between them.
    async fn postings(&mut self, limit: u32) -> Result<Vec<Posting>, StoreError>;
    /// The next bookings.
    async fn bookings(&mut self, limit: u32) -> Result<Vec<Booking>, StoreError>;
    /// The next errands.
    async fn errands(&mut self, limit: u32) -> Result<Vec<Errand>, StoreError>;
}

/// A snapshot with everything that is kept, so that it can be copied: beside the rows that invariants
/// are about, all others.
#[async_trait]
pub trait FullSnapshot: Snapshot {
    /// How many rows there are in all tables.
    async fn rows(&mut self) -> Result<u64, StoreError>;
    /// The highest numbers that were given out.
    async fn last_ids(&mut self) -> Result<LastIds, StoreError>;
    /// The next users.
    async fn users(&mut self, limit: u32) -> Result<Vec<User>, StoreError>;
    /// The next sessions, ended or not.
    async fn sessions(&mut self, limit: u32) -> Result<Vec<Session>, StoreError>;
    /// The next remembered answers.
    async fn answers(&mut self, limit: u32) -> Result<Vec<Answer>, StoreError>;
    /// The next steps that sagas have taken elsewhere, booking by booking, each one's in their order.
    async fn saga_steps(&mut self, limit: u32) -> Result<Vec<SagaStep>, StoreError>;
    /// The next memories of participants.
    async fn memories(&mut self, limit: u32) -> Result<Vec<Remembered>, StoreError>;
}
