//! Where the rows of each context are: in this engine's database, or with a neighbour, a service that
//! has a database of its own.
//!
//! Nothing crosses but what is here: steps of sagas ([`Participate`]), looks for pages and lists, and
//! word of bookings whose event was cancelled ([`BookingsNeighbour`]). A neighbour that can't be
//! reached is a store that is away.

use std::sync::Arc;

use async_trait::async_trait;
use eventbooker_core::bookings::participant::Participant;
use eventbooker_core::identity::{Person, User};
use eventbooker_core::{BookingId, Context, Contexts, EventId, Timestamp, UserId};
use eventbooker_store::{AccountQueries, BookingQueries, EventQueries, StoreError};

use crate::participants::{Availability, Participate};
use crate::{Engine, Freed};

/// Where the rows of a context are.
#[derive(Default)]
pub enum Place<N: ?Sized> {
    /// In this engine's database.
    #[default]
    Here,
    /// With a neighbour.
    Elsewhere(Arc<N>),
}

impl<N: ?Sized> Place<N> {
    pub(crate) fn is_here(&self) -> bool {
        matches!(self, Self::Here)
    }
}

impl<N: ?Sized> Clone for Place<N> {
    fn clone(&self) -> Self {
        match self {
            Self::Here => Self::Here,
            Self::Elsewhere(neighbour) => Self::Elsewhere(Arc::clone(neighbour)),
        }
    }
}

/// Where everything is; all of it here by default.
#[derive(Clone, Default)]
pub struct Neighbours {
    /// Users and their sessions.
    pub identity: Place<dyn IdentityNeighbour>,
    /// Events and their seats.
    pub events: Place<dyn EventsNeighbour>,
    /// Accounts.
    pub accounts: Place<dyn AccountsNeighbour>,
    /// Bookings and their sagas.
    pub bookings: Place<dyn BookingsNeighbour>,
}

impl Neighbours {
    /// The contexts whose rows are here.
    pub fn here(&self) -> Contexts {
        let Self { identity, events, accounts, bookings } = self;
        let here = |context, is_here| Some(context).filter(|_| is_here);
        [
            here(Context::Identity, identity.is_here()),
            here(Context::Events, events.is_here()),
            here(Context::Accounts, accounts.is_here()),
            here(Context::Bookings, bookings.is_here()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Whom to ask for steps about seats, and for steps about money.
    pub(crate) fn participants(&self) -> [Option<Arc<dyn Participate>>; 2] {
        let events = match self.events.clone() {
            Place::Here => None,
            Place::Elsewhere(neighbour) => Some(neighbour as Arc<dyn Participate>),
        };
        let accounts = match self.accounts.clone() {
            Place::Here => None,
            Place::Elsewhere(neighbour) => Some(neighbour as Arc<dyn Participate>),
        };
        [events, accounts]
    }
}

/// Whoever has the users.
#[async_trait]
pub trait IdentityNeighbour: Send + Sync {
    /// The users with these numbers that exist.
    async fn people(&self, ids: Vec<UserId>) -> Result<Vec<Person>, StoreError>;
    /// The user with this login.
    async fn person_by_login(&self, login: String) -> Result<Option<Person>, StoreError>;
}

/// Whoever has the seats.
pub trait EventsNeighbour: Participate + EventQueries {}
impl<T: Participate + EventQueries> EventsNeighbour for T {}

/// Whoever has the money.
pub trait AccountsNeighbour: Participate + AccountQueries {}
impl<T: Participate + AccountQueries> AccountsNeighbour for T {}

/// Whoever has the bookings.
#[async_trait]
pub trait BookingsNeighbour: BookingQueries {
    /// Releases bookings of a cancelled event, and says of each, in their order, how far that is. No
    /// answer means that nothing is known; whoever asks will ask again.
    async fn release(
        &self,
        event_id: EventId,
        bookings: Vec<BookingId>,
    ) -> Vec<Result<Freed, String>>;
}

impl Engine {
    /// The contexts whose rows are here.
    pub fn here(&self) -> Contexts {
        self.rules().here
    }

    /// Until when whoever takes these steps isn't worth a call, if that is so.
    pub(crate) fn away_until(&self, participant: Participant) -> Option<Timestamp> {
        let neighbours = &self.inner.neighbours;
        let availability = match participant {
            Participant::Events => match &neighbours.events {
                Place::Here => return None,
                Place::Elsewhere(neighbour) => neighbour.availability(),
            },
            Participant::Accounts => match &neighbours.accounts {
                Place::Here => return None,
                Place::Elsewhere(neighbour) => neighbour.availability(),
            },
        };
        match availability {
            Availability::Available => None,
            Availability::AwayUntil(instant) => Some(instant),
        }
    }

    /// What was looked up among a context's rows. `None` if its neighbour can't be reached: then that
    /// much isn't known, and all else may be.
    pub fn if_reached<T>(
        &self,
        context: Context,
        looked: Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match looked {
            Err(StoreError::Away(reason)) if !self.here().has(context) => {
                tracing::warn!(%reason, service = %context, "something is shown as unknown");
                Ok(None)
            }
            looked => looked.map(Some),
        }
    }

    /// What can be asked about events.
    pub fn events(&self) -> &dyn EventQueries {
        match &self.inner.neighbours.events {
            Place::Here => self.store(),
            Place::Elsewhere(neighbour) => &**neighbour,
        }
    }

    /// What can be asked about accounts.
    pub fn accounts(&self) -> &dyn AccountQueries {
        match &self.inner.neighbours.accounts {
            Place::Here => self.store(),
            Place::Elsewhere(neighbour) => &**neighbour,
        }
    }

    /// What can be asked about bookings.
    pub fn bookings(&self) -> &dyn BookingQueries {
        match &self.inner.neighbours.bookings {
            Place::Here => self.store(),
            Place::Elsewhere(neighbour) => &**neighbour,
        }
    }

    /// The users with these numbers that exist.
    pub async fn people(&self, ids: Vec<UserId>) -> Result<Vec<Person>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        match &self.inner.neighbours.identity {
            Place::Here => {
                let users = self.store().users_by_ids(ids).await?;
                Ok(users.into_iter().map(User::into_person).collect())
            }
            Place::Elsewhere(neighbour) => neighbour.people(ids).await,
        }
    }

    /// The user with this login.
    pub async fn person_by_login(&self, login: String) -> Result<Option<Person>, StoreError> {
        match &self.inner.neighbours.identity {
            Place::Here => Ok(self.store().user_by_login(login).await?.map(User::into_person)),
            Place::Elsewhere(neighbour) => neighbour.person_by_login(login).await,
        }
    }
}
