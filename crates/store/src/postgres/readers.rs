//! Queries, on a few connections that are shared.

use std::time::Duration;

use async_trait::async_trait;
use deadpool::Runtime;
use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};
use eventbooker_core::{Context, Contexts, Timestamp};
use tokio_postgres::Row;

use super::config::Connector;
use super::error::ends_session;
use super::row::{all, array, get, instant, one};
use super::session::{Answers, Flight, Params, Session, params};
use super::writer::NOW;
use super::{
    Clock, PostgresStore, accounts, answers, bookings, checks, events, identity, if_here,
    neighbours, sagas,
};
use crate::{
    Access, Answer, AnswerKey, CommonQueries, Installation, LastCheck, LastIds, Neighbour,
    OldestKept, StoreError,
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

const INSTALLATION: &str = "SELECT id, secret FROM installation";

/// Opens connections, and tells those that are gone.
struct Opener {
    connector: Connector,
    access: Access,
    contexts: Contexts,
}

impl Manager for Opener {
    type Type = Session;
    type Error = StoreError;

    async fn create(&self) -> Result<Session, StoreError> {
        let statements = [NOW]
            .into_iter()
            .chain([INSTALLATION, bookings::LAST_ID, sagas::OLDEST_MEMORY])
            .chain(answers::READS)
            .chain(checks::READS)
            .chain(neighbours::READS)
            .chain(neighbours::met_by(self.contexts))
            .chain(if_here(self.contexts, Context::Identity, identity::READS))
            .chain(if_here(self.contexts, Context::Events, events::READS))
            .chain(if_here(self.contexts, Context::Accounts, accounts::READS))
            .chain(if_here(self.contexts, Context::Bookings, bookings::READS))
            .chain(if_here(self.contexts, Context::Bookings, sagas::READS));
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
    pub(super) fn new(
        connector: Connector,
        access: Access,
        contexts: Contexts,
        connections: usize,
    ) -> Self {
        let pool = Pool::builder(Opener { connector, access, contexts }).max_size(connections);
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
    pub(super) async fn ask<T>(
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

    pub(super) async fn rows<T>(
        &self,
        sql: &'static str,
        params: impl Fn() -> Params + Send + Sync,
        read: impl Fn(&Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let (ticket, answers) = self.ask(|flight| flight.ask(sql, params())).await?;
        all(answers.of(ticket), read)
    }

    pub(super) async fn row<T>(
        &self,
        sql: &'static str,
        params: impl Fn() -> Params + Send + Sync,
        read: impl Fn(&Row) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.rows(sql, params, read).await?.pop())
    }
}

#[async_trait]
impl CommonQueries for PostgresStore {
    async fn oldest_kept(&self) -> Result<OldestKept, StoreError> {
        let has_sessions = self.contexts.has(Context::Identity);
        let ask = |flight: &mut Flight<'_>| {
            let end = has_sessions.then(|| flight.ask(identity::FIRST_END, params![]));
            let answer = flight.ask(answers::OLDEST, params![]);
            (end, answer, flight.ask(sagas::OLDEST_MEMORY, params![]))
        };
        let ((end, answer, memory), answers) = self.readers.ask(ask).await?;
        Ok(OldestKept {
            session_end: end.map_or(Ok(None), |end| earliest(answers.of(end)))?,
            answer: earliest(answers.of(answer))?,
            memory: earliest(answers.of(memory))?,
        })
    }

    async fn installation(&self) -> Result<Installation, StoreError> {
        let read = |row: &Row| Ok(Installation { id: array(row, 0)?, secret: array(row, 1)? });
        let found = self.readers.row(INSTALLATION, Params::new, read).await?;
        found
            .ok_or_else(|| StoreError::Refused("the table of the installation is empty".to_owned()))
    }

    async fn progress(&self) -> Result<i64, StoreError> {
        let number = self.readers.row(neighbours::PROGRESS, Params::new, |row| get(row, 0)).await?;
        Ok(number.unwrap_or_default())
    }

    async fn neighbours(&self) -> Result<Vec<Neighbour>, StoreError> {
        self.readers.rows(neighbours::ALL, Params::new, neighbours::neighbour).await
    }

    async fn ids_met(&self) -> Result<LastIds, StoreError> {
        let ask = |flight: &mut Flight<'_>| {
            let statements = neighbours::met_by(self.contexts);
            let others: Vec<_> = statements.map(|sql| flight.ask(sql, params![])).collect();
            (flight.ask(neighbours::BOOKINGS_MET, params![]), others)
        };
        let ((bookings, others), answers) = self.readers.ask(ask).await?;
        let mut met =
            LastIds { booking: get(one(answers.of(bookings))?, 0)?, ..LastIds::default() };
        for ticket in others {
            let row = one(answers.of(ticket))?;
            met.booking = get::<Option<i64>>(row, 0)?.max(met.booking);
            met.event = get::<Option<i64>>(row, 1)?.max(met.event);
            met.user = get::<Option<i64>>(row, 2)?.max(met.user);
        }
        Ok(met)
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
pub(super) fn earliest(rows: &[Row]) -> Result<Option<Timestamp>, StoreError> {
    let micros = rows.first().map_or(Ok(None), |row| get::<Option<i64>>(row, 0))?;
    Ok(micros.map(Timestamp::from_micros))
}
