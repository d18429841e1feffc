//! Looks: what services read of each other's rows for pages and lists. They decide nothing.
//!
//! Passwords' hashes and sessions never cross: there is no look for them.

use eventbooker_core::{Context, EventId, Timestamp, UserId};
use eventbooker_store::{BookingRoute, EventsPage};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::HasTrouble;
use super::shapes::{
    AccountShape, BookingShape, EventShape, JournalEntryShape, PersonShape, PostingShape, SlotShape,
};

/// The most looks in one batch.
pub const LOOKS_MAX: usize = 16;
/// The most rows, or numbers of rows, in one look.
pub const ROWS_MAX: usize = 2_000;

/// What somebody wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "look", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the store's queries say what they mean")]
pub enum Look {
    /// Of auth: `people`, the users with these numbers that exist.
    People { ids: Vec<i64> },
    /// Of auth: `people`, the user with this login, if there is one.
    PersonByLogin { login: String },
    /// Of events: `events`, this one, if it exists.
    Event { id: i64 },
    /// Of events: `events`, a page of them, soonest first, without their descriptions.
    Events {
        limit: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<i64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        not_before: Option<i64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name_contains: Option<String>,
    },
    /// Of events: `events`, those of these numbers that exist, without their descriptions.
    EventsWith { ids: Vec<i64> },
    /// Of events: `journal`, an event's entries above a version, oldest first.
    Journal { event: i64, after: i64, limit: u32 },
    /// Of events: `slots`, an event's, newest booking first, those of bookings older than `before`.
    Slots {
        event: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<i64>,
        limit: u32,
    },
    /// Of account: `account`, a user's.
    Account { user: i64 },
    /// Of account: `postings` of a user, newest first, those before an entry.
    Postings {
        user: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<i64>,
        limit: u32,
    },
    /// Of account: `postings` for a booking, oldest first.
    PostingsFor { booking: i64 },
    /// Of book: `bookings` with these numbers that exist.
    Bookings { ids: Vec<i64> },
    /// Of book: a user's live `bookings`, newest first, on one event or on all, those older than
    /// `before`.
    LiveBookings {
        user: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event: Option<i64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<i64>,
        limit: u32,
    },
    /// Of book: a user's `bookings` in whatever state, oldest first, above a number.
    BookingsOfUser { user: i64, after: i64, limit: u32 },
    /// Of book: `route`, where a booking is.
    BookingRoute { id: i64 },
}

impl Look {
    /// Who knows.
    pub const fn of(&self) -> Context {
        match self {
            Self::People { .. } | Self::PersonByLogin { .. } => Context::Identity,
            Self::Event { .. }
            | Self::Events { .. }
            | Self::EventsWith { .. }
            | Self::Journal { .. }
            | Self::Slots { .. } => Context::Events,
            Self::Account { .. } | Self::Postings { .. } | Self::PostingsFor { .. } => {
                Context::Accounts
            }
            Self::Bookings { .. }
            | Self::LiveBookings { .. }
            | Self::BookingsOfUser { .. }
            | Self::BookingRoute { .. } => Context::Bookings,
        }
    }

    /// How many rows it may bring at most, as far as whoever asks has a say in that.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::People { ids } | Self::EventsWith { ids } | Self::Bookings { ids } => ids.len(),
            Self::Events { limit, .. }
            | Self::Journal { limit, .. }
            | Self::Slots { limit, .. }
            | Self::Postings { limit, .. }
            | Self::LiveBookings { limit, .. }
            | Self::BookingsOfUser { limit, .. } => *limit as usize,
            Self::PersonByLogin { .. }
            | Self::Event { .. }
            | Self::Account { .. }
            | Self::PostingsFor { .. }
            | Self::BookingRoute { .. } => 1,
        }
    }

    pub(crate) fn events(page: EventsPage) -> Self {
        let EventsPage { limit, after, not_before, name_contains } = page;
        Self::Events {
            limit,
            after: after.map(EventId::get),
            not_before: not_before.map(Timestamp::as_micros),
            name_contains,
        }
    }
}

/// What there was to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// Users.
    People(Vec<PersonShape>),
    /// Events.
    Events(Vec<EventShape>),
    /// Journal entries.
    Journal(Vec<JournalEntryShape>),
    /// Slots.
    Slots(SlotsShape),
    /// An account.
    Account(AccountShape),
    /// Postings.
    Postings(Vec<PostingShape>),
    /// Bookings.
    Bookings(Vec<BookingShape>),
    /// Where a booking is.
    Route(RouteShape),
    /// There is nothing to be seen for now, for this reason.
    Trouble(String),
}

impl HasTrouble for Seen {
    fn trouble(why: String) -> Self {
        Self::Trouble(why)
    }
}

/// A page of slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotsShape {
    /// They.
    pub slots: Vec<SlotShape>,
    /// All others are of bookings older than this one; `None` if there are no others.
    pub next: Option<i64>,
}

/// Where a booking is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RouteShape {
    /// It exists.
    Exists {
        /// The event that it is for.
        event: i64,
        /// Whose it is.
        user: i64,
    },
    /// The number was given out, and its row is gone.
    Gone {},
    /// The number has not been given out.
    Never {},
}

impl From<BookingRoute> for RouteShape {
    fn from(route: BookingRoute) -> Self {
        match route {
            BookingRoute::Exists { event_id, user_id } => {
                Self::Exists { event: event_id.get(), user: user_id.get() }
            }
            BookingRoute::Gone => Self::Gone {},
            BookingRoute::Never => Self::Never {},
        }
    }
}

impl From<RouteShape> for BookingRoute {
    fn from(shape: RouteShape) -> Self {
        match shape {
            RouteShape::Exists { event, user } => {
                Self::Exists { event_id: EventId::new(event), user_id: UserId::new(user) }
            }
            RouteShape::Gone {} => Self::Gone,
            RouteShape::Never {} => Self::Never,
        }
    }
}
