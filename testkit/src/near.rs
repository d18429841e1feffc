//! Engines as each other's neighbours, with no network between them but a line that can be cut.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use eventbooker_core::accounts::{Account, Posting};
use eventbooker_core::bookings::Booking;
use eventbooker_core::bookings::participant::Request;
use eventbooker_core::bookings::saga::Answer;
use eventbooker_core::events::{Event, JournalEntry};
use eventbooker_core::identity::Person;
use eventbooker_core::{BookingId, EventId, UserId};
use eventbooker_engine::{
    Availability, BookingsNeighbour, Engine, Freed, IdentityNeighbour, NoAnswer, Participate,
};
use eventbooker_store::{
    AccountQueries, BookingQueries, BookingRoute, EventQueries, EventsPage, SlotsPage, StoreError,
};

const CUT: &str = "the line is cut";

/// A line to an engine that may start later.
#[derive(Default)]
pub struct Near {
    engine: OnceLock<Engine>,
    is_cut: AtomicBool,
}

impl Near {
    /// From now on this engine is at the other end.
    pub fn connect(&self, engine: &Engine) {
        assert!(self.engine.set(engine.clone()).is_ok(), "a line has one other end");
    }

    /// Cuts the line, or mends it.
    pub fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::SeqCst);
    }

    fn engine(&self) -> Result<&Engine, StoreError> {
        let engine = self.engine.get().filter(|_| !self.is_cut.load(Ordering::SeqCst));
        engine.ok_or_else(|| StoreError::Away(CUT.to_owned()))
    }
}

#[async_trait]
impl Participate for Near {
    async fn ask(&self, requests: Vec<Request>) -> Vec<Result<Answer, NoAnswer>> {
        match self.engine() {
            Ok(engine) => engine.ask(requests).await,
            Err(error) => vec![Err(NoAnswer::silence(error.to_string())); requests.len()],
        }
    }
}

#[async_trait]
impl IdentityNeighbour for Near {
    async fn people(&self, ids: Vec<UserId>) -> Result<Vec<Person>, StoreError> {
        self.engine()?.people(ids).await
    }

    async fn person_by_login(&self, login: String) -> Result<Option<Person>, StoreError> {
        self.engine()?.person_by_login(login).await
    }
}

#[async_trait]
impl BookingsNeighbour for Near {
    async fn release(
        &self,
        event_id: EventId,
        bookings: Vec<BookingId>,
    ) -> Vec<Result<Freed, String>> {
        match self.engine() {
            Ok(engine) => engine.release(event_id, bookings).await,
            Err(error) => vec![Err(error.to_string()); bookings.len()],
        }
    }
}

#[async_trait]
impl EventQueries for Near {
    async fn event(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        self.engine()?.events().event(id).await
    }

    async fn events(&self, page: EventsPage) -> Result<Vec<Event>, StoreError> {
        self.engine()?.events().events(page).await
    }

    async fn events_with(&self, ids: Vec<EventId>) -> Result<Vec<Event>, StoreError> {
        self.engine()?.events().events_with(ids).await
    }

    async fn journal(
        &self,
        event_id: EventId,
        after_version: i64,
        limit: u32,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        self.engine()?.events().journal(event_id, after_version, limit).await
    }

    async fn slots(
        &self,
        event_id: EventId,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<SlotsPage, StoreError> {
        self.engine()?.events().slots(event_id, before, limit).await
    }
}

#[async_trait]
impl AccountQueries for Near {
    async fn account(&self, user_id: UserId) -> Result<Account, StoreError> {
        self.engine()?.accounts().account(user_id).await
    }

    async fn postings(
        &self,
        user_id: UserId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Posting>, StoreError> {
        self.engine()?.accounts().postings(user_id, before, limit).await
    }

    async fn postings_for(&self, id: BookingId) -> Result<Vec<Posting>, StoreError> {
        self.engine()?.accounts().postings_for(id).await
    }
}

#[async_trait]
impl BookingQueries for Near {
    async fn bookings(&self, ids: Vec<BookingId>) -> Result<Vec<Booking>, StoreError> {
        self.engine()?.bookings().bookings(ids).await
    }

    async fn live_bookings_of_user(
        &self,
        user_id: UserId,
        event_id: Option<EventId>,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<Vec<Booking>, StoreError> {
        let bookings = self.engine()?.bookings();
        bookings.live_bookings_of_user(user_id, event_id, before, limit).await
    }

    async fn bookings_of_user(
        &self,
        user_id: UserId,
        after: BookingId,
        limit: u32,
    ) -> Result<Vec<Booking>, StoreError> {
        self.engine()?.bookings().bookings_of_user(user_id, after, limit).await
    }

    async fn booking_route(&self, id: BookingId) -> Result<BookingRoute, StoreError> {
        self.engine()?.bookings().booking_route(id).await
    }
}

/// Somebody who is asked for steps of sagas, and of whom nothing else is known.
pub struct StepsOnly<P>(Arc<P>);

/// Whoever takes the steps of sagas, as a neighbour.
pub fn steps_only<P>(participant: &Arc<P>) -> Arc<StepsOnly<P>> {
    Arc::new(StepsOnly(Arc::clone(participant)))
}

fn not_told<T>() -> Result<T, StoreError> {
    Err(StoreError::Away("this neighbour only takes steps".to_owned()))
}

#[async_trait]
impl<P: Participate> Participate for StepsOnly<P> {
    fn availability(&self) -> Availability {
        self.0.availability()
    }

    async fn ask(&self, requests: Vec<Request>) -> Vec<Result<Answer, NoAnswer>> {
        self.0.ask(requests).await
    }
}

#[async_trait]
impl<P: Send + Sync + 'static> EventQueries for StepsOnly<P> {
    async fn event(&self, _: EventId) -> Result<Option<Event>, StoreError> {
        not_told()
    }

    async fn events(&self, _: EventsPage) -> Result<Vec<Event>, StoreError> {
        not_told()
    }

    async fn events_with(&self, _: Vec<EventId>) -> Result<Vec<Event>, StoreError> {
        not_told()
    }

    async fn journal(&self, _: EventId, _: i64, _: u32) -> Result<Vec<JournalEntry>, StoreError> {
        not_told()
    }

    async fn slots(
        &self,
        _: EventId,
        _: Option<BookingId>,
        _: u32,
    ) -> Result<SlotsPage, StoreError> {
        not_told()
    }
}

#[async_trait]
impl<P: Send + Sync + 'static> AccountQueries for StepsOnly<P> {
    async fn account(&self, _: UserId) -> Result<Account, StoreError> {
        not_told()
    }

    async fn postings(
        &self,
        _: UserId,
        _: Option<i64>,
        _: u32,
    ) -> Result<Vec<Posting>, StoreError> {
        not_told()
    }

    async fn postings_for(&self, _: BookingId) -> Result<Vec<Posting>, StoreError> {
        not_told()
    }
}
