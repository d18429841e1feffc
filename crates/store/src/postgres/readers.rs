//! Queries, on a few connections that are shared.

use std::time::Duration;

use async_trait::async_trait;
use deadpool::Runtime;
use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};
use eventbooker_core::accounts::{Account, Posting};
use eventbooker_core::bookings::Booking;
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::events::{Event, JournalEntry};
use eventbooker_core::identity::{TokenDigest, User};
use eventbooker_core::{BookingId, EventId, Timestamp, UserId};
use tokio_postgres::Row;

use super::config::Connector;
use super::error::ends_session;
use super::row::{all, can_be_text, get, instant};
use super::session::{Answers, Flight, Params, Session, params};
use super::writer::NOW;
use super::{Clock, PostgresStore, accounts, answers, bookings, checks, events, identity, sagas};
use crate::{
    Access, Answer, AnswerKey, BookingRoute, BookingTrail, DueErrands, DueHolds, EventsPage,
    LastCheck, OldestKept, Queries, SagaStep, SessionUser, SlotsPage, StoreError, codes, search,
};

/// Queries that may wait for a connection; more are refused at once.
const WAITING_MAX: usize = 1024;
/// And how long they may.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// Connections for queries.
pub(super) struct Readers {
    pool: Pool<Opener>,
}

/// Whoever asked a server has gone by then, and the query would go on. An operator's look may take long.
const END_IN_TIME: &str = "SET statement_timeout = '5s'";

/// Opens connections, and tells those that are gone.
struct Opener {
    connector: Connector,
    access: Access,
}

impl Manager for Opener {
    type Type = Session;
    type Error = StoreError;

    async fn create(&self) -> Result<Session, StoreError> {
        let statements = [NOW]
            .into_iter()
            .chain(identity::READS)
            .chain(events::READS)
            .chain(bookings::READS)
            .chain(accounts::READS)
            .chain(answers::READS)
            .chain(sagas::READS)
            .chain(checks::READS);
        // Large, and seldom: kept out of every query's future.
        let session = Box::pin(Session::open(&self.connector, statements)).await?;
        // A reader that could write would be a writer that nobody reckons with.
        session.client().batch_execute("SET default_transaction_read_only = on").await?;
        if self.access == Access::Serve {
            session.client().batch_execute(END_IN_TIME).await?;
        }
        Ok(session)
    }

    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<StoreError> {
        if session.is_closed() { Err(RecycleError::message("it is closed")) } else { Ok(()) }
    }
}

impl Readers {
    pub(super) fn new(connector: Connector, access: Access, connections: usize) -> Self {
        let pool = Pool::builder(Opener { connector, access }).max_size(connections);
        let pool = pool.wait_timeout(Some(WAIT_MAX)).runtime(Runtime::Tokio1).build();
        Self { pool: pool.expect("it has a runtime for its time-out") }
    }

    async fn session(&self) -> Result<Object<Opener>, StoreError> {
        if self.pool.status().waiting >= WAITING_MAX {
            return Err(StoreError::Overloaded);
        }
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error,
            PoolError::Timeout(_) => StoreError::Overloaded,
            error @ (PoolError::Closed
            | PoolError::NoRuntimeSpecified
            | PoolError::PostCreateHook(_)) => StoreError::Away(error.to_string()),
        })
    }

    /// Asks, once more if the connection turns out to be of no use any more.
    async fn ask<T>(
        &self,
        send: impl Fn(&mut Flight<'_>) -> T + Send,
    ) -> Result<(T, Answers), StoreError>
    where
        T: Send,
    {
        let mut is_last = false;
        loop {
            let session = self.session().await?;
            let mut flight = session.flight();
            let tickets = send(&mut flight);
            match flight.land().await {
                Ok(answers) => return Ok((tickets, answers)),
                Err(error) => {
                    let is_over = ends_session(&error);
                    if is_over {
                        drop(Object::take(session));
                    }
                    if is_last || !is_over {
                        return Err(error.into());
                    }
                    is_last = true;
                }
            }
        }
    }

    async fn rows<T>(
        &self,
        sql: &'static str,
        params: impl Fn() -> Params + Send + Sync,
        read: impl Fn(&Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let (ticket, answers) = self.ask(|flight| flight.ask(sql, params())).await?;
        all(answers.of(ticket), read)
    }

    async fn row<T>(
        &self,
        sql: &'static str,
        params: impl Fn() -> Params + Send + Sync,
        read: impl Fn(&Row) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.rows(sql, params, read).await?.pop())
    }
}

#[async_trait]
impl Queries for PostgresStore {
    async fn event(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        self.readers.row(events::ONE, || params![id.get()], events::event).await
    }

    async fn events(&self, page: EventsPage) -> Result<Vec<Event>, StoreError> {
        if page.name_contains.as_deref().is_some_and(|text| !can_be_text(text)) {
            return Ok(Vec::new());
        }
        let pattern = page.name_contains.as_deref().map(search::like_pattern);
        let limit = i64::from(page.limit);
        match page.after {
            None => {
                let from = page.not_before.map_or(i64::MIN, Timestamp::as_micros);
                let params = || params![pattern.clone(), limit, from];
                self.readers.rows(events::FIRST_PAGE, params, events::event).await
            }
            Some(after) => {
                let params = || params![pattern.clone(), limit, after.get()];
                self.readers.rows(events::NEXT_PAGE, params, events::event).await
            }
        }
    }

    async fn events_with(&self, ids: Vec<EventId>) -> Result<Vec<Event>, StoreError> {
        let params = || params![ids.iter().map(|id| id.get()).collect::<Vec<_>>()];
        self.readers.rows(events::BY_IDS, params, events::event).await
    }

    async fn releasing_events(&self, limit: u32) -> Result<Vec<EventId>, StoreError> {
        let params = || params![i64::from(limit)];
        self.readers.rows(events::RELEASING, params, |row| get(row, 0).map(EventId::new)).await
    }

    async fn journal(
        &self,
        event_id: EventId,
        after_version: i64,
        limit: u32,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        let params = || params![event_id.get(), after_version, i64::from(limit)];
        self.readers.rows(events::JOURNAL_OF_EVENT, params, events::entry).await
    }

    async fn slots(
        &self,
        event_id: EventId,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<SlotsPage, StoreError> {
        let before = before.map_or(i64::MAX, BookingId::get);
        let params = || params![event_id.get(), before, i64::from(limit)];
        let slots = self.readers.rows(events::SLOTS_OF_EVENT, params, events::slot).await?;
        Ok(SlotsPage::of(slots, limit))
    }

    async fn bookings(&self, ids: Vec<BookingId>) -> Result<Vec<Booking>, StoreError> {
        let params = || params![ids.iter().map(|id| id.get()).collect::<Vec<_>>()];
        self.readers.rows(bookings::BY_IDS, params, bookings::booking).await
    }

    async fn live_bookings_of_user(
        &self,
        user_id: UserId,
        event_id: Option<EventId>,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<Vec<Booking>, StoreError> {
        let before = before.map_or(i64::MAX, BookingId::get);
        let params = || {
            let event_id = event_id.map(EventId::get);
            params![user_id.get(), codes::LIVE.to_vec(), event_id, before, i64::from(limit)]
        };
        self.readers.rows(bookings::LIVE_OF_USER, params, bookings::booking).await
    }

    async fn bookings_of_user(
        &self,
        user_id: UserId,
        after: BookingId,
        limit: u32,
    ) -> Result<Vec<Booking>, StoreError> {
        let params = || params![user_id.get(), after.get(), i64::from(limit)];
        self.readers.rows(bookings::OF_USER, params, bookings::booking).await
    }

    async fn account(&self, user_id: UserId) -> Result<Account, StoreError> {
        let params = || params![user_id.get()];
        let found = self.readers.row(accounts::ONE, params, accounts::account).await?;
        Ok(found.unwrap_or(Account::open(user_id)))
    }

    async fn postings(
        &self,
        user_id: UserId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Posting>, StoreError> {
        let params = || params![user_id.get(), before.unwrap_or(i64::MAX), i64::from(limit)];
        self.readers.rows(accounts::POSTINGS_OF, params, accounts::posting).await
    }

    async fn postings_for(&self, id: BookingId) -> Result<Vec<Posting>, StoreError> {
        let params = || params![id.get()];
        self.readers.rows(accounts::POSTINGS_FOR, params, accounts::posting).await
    }

    async fn booking_route(&self, id: BookingId) -> Result<BookingRoute, StoreError> {
        let read = |row: &Row| bookings::route(row, id);
        let route = self.readers.row(bookings::ROUTE, || params![id.get()], read).await?;
        Ok(route.unwrap_or(BookingRoute::Never))
    }

    async fn due_holds(&self, clock: Timestamp, limit: u32) -> Result<DueHolds, StoreError> {
        let now = self.clock().await?.unwrap_or(clock).as_micros();
        let ask = |flight: &mut Flight<'_>| {
            let due = flight.ask(bookings::DUE, params![now, i64::from(limit)]);
            (due, flight.ask(bookings::NEXT_DUE, params![now]))
        };
        let ((due, next), answers) = self.readers.ask(ask).await?;
        let hold = |row: &Row| Ok((EventId::new(get(row, 0)?), BookingId::new(get(row, 1)?)));
        Ok(DueHolds { holds: all(answers.of(due), hold)?, next: earliest(answers.of(next))? })
    }

    async fn due_errands(&self, clock: Timestamp, limit: u32) -> Result<DueErrands, StoreError> {
        let now = self.clock().await?.unwrap_or(clock).as_micros();
        let ask = |flight: &mut Flight<'_>| {
            let due = flight.ask(sagas::DUE, params![now, i64::from(limit)]);
            let next = flight.ask(sagas::NEXT_DUE, params![now]);
            (due, next, flight.ask(sagas::PARKED, params![]))
        };
        let ((due, next, parked), answers) = self.readers.ask(ask).await?;
        let parked = answers.of(parked).first().map_or(Ok(0), |row| get::<i64>(row, 0))?;
        Ok(DueErrands {
            errands: all(answers.of(due), sagas::errand)?,
            next: earliest(answers.of(next))?,
            parked: u64::try_from(parked).unwrap_or(0),
        })
    }

    async fn errands(&self, after: BookingId, limit: u32) -> Result<Vec<Errand>, StoreError> {
        let params = || params![after.get(), i64::from(limit)];
        self.readers.rows(sagas::PAGE, params, sagas::errand).await
    }

    async fn saga_steps(&self, booking_id: BookingId) -> Result<Vec<SagaStep>, StoreError> {
        let read = |row: &Row| sagas::step(row, booking_id);
        self.readers.rows(sagas::STEPS, || params![booking_id.get()], read).await
    }

    async fn booking_trail(&self, id: BookingId) -> Result<BookingTrail, StoreError> {
        // Each is read by itself; an operator who looks at a booking on its way looks again.
        let params = || params![id.get()];
        let journal = self.readers.rows(events::JOURNAL_OF_BOOKING, params, events::entry).await?;
        Ok(BookingTrail {
            booking: self.bookings(vec![id]).await?.pop(),
            journal,
            postings: self.postings_for(id).await?,
            steps: self.saga_steps(id).await?,
            errand: self.readers.row(sagas::OF_BOOKING, params, sagas::errand).await?,
        })
    }

    async fn session(&self, digest: TokenDigest) -> Result<Option<SessionUser>, StoreError> {
        let read = |row: &Row| identity::session(row, digest);
        self.readers.row(identity::SESSION, || params![digest.to_vec()], read).await
    }

    async fn user_by_login(&self, login: String) -> Result<Option<User>, StoreError> {
        if !can_be_text(&login) {
            return Ok(None);
        }
        self.readers.row(identity::BY_LOGIN, || params![login.clone()], identity::user).await
    }

    async fn users_by_ids(&self, ids: Vec<UserId>) -> Result<Vec<User>, StoreError> {
        let params = || params![ids.iter().map(|id| id.get()).collect::<Vec<_>>()];
        self.readers.rows(identity::BY_IDS, params, identity::user).await
    }

    async fn users(&self, after: UserId, limit: u32) -> Result<Vec<User>, StoreError> {
        let params = || params![after.get(), i64::from(limit)];
        self.readers.rows(identity::PAGE, params, identity::user).await
    }

    async fn oldest_kept(&self) -> Result<OldestKept, StoreError> {
        let ask = |flight: &mut Flight<'_>| {
            let end = flight.ask(identity::FIRST_END, params![]);
            (end, flight.ask(answers::OLDEST, params![]))
        };
        let ((end, answer), answers) = self.readers.ask(ask).await?;
        Ok(OldestKept {
            session_end: earliest(answers.of(end))?,
            answer: earliest(answers.of(answer))?,
        })
    }

    async fn last_checks(&self) -> Result<Vec<LastCheck>, StoreError> {
        self.readers.rows(checks::ALL, Params::new, checks::check).await
    }

    async fn answer(&self, key: AnswerKey) -> Result<Option<Answer>, StoreError> {
        let params = || params![vec![key.scope.get()], vec![key.key.clone()]];
        self.readers.row(answers::LOAD, params, answers::answer).await
    }

    async fn clock(&self) -> Result<Option<Timestamp>, StoreError> {
        match self.clock {
            Clock::Given => Ok(None),
            Clock::Database => self.readers.row(NOW, Params::new, |row| instant(row, 0)).await,
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.readers.row(bookings::LAST_ID, Params::new, |row| get::<i64>(row, 0)).await.map(drop)
    }
}

/// The instant that a `min` has found.
fn earliest(rows: &[Row]) -> Result<Option<Timestamp>, StoreError> {
    let micros = rows.first().map_or(Ok(None), |row| get::<Option<i64>>(row, 0))?;
    Ok(micros.map(Timestamp::from_micros))
}
