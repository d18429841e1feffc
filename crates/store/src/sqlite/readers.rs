//! Queries: a few reading connections, each on a thread of its own, each with a bounded queue.
//!
//! A reader takes all that waits and answers it in one read transaction, because beginning one
//! costs more than reading a row. The transaction begins after the last of its queries was asked,
//! so each sees everything that was durable when it was asked.
//!
//! Lists that anybody can ask for have a reader of their own, so that however long they take, no
//! session, no booking's route and no deadline waits behind them.
//!
//! A query that finds every queue full is refused at once; nobody waits behind an unbounded line.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use async_trait::async_trait;
use eventbooker_core::accounts::{Account, Posting};
use eventbooker_core::bookings::Booking;
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::events::{Event, JournalEntry};
use eventbooker_core::identity::{TokenDigest, User};
use eventbooker_core::{BookingId, EventId, Timestamp, UserId};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{SqliteStore, accounts, answers, bookings, checks, events, identity, journal, sagas};
use crate::{
    Answer, AnswerKey, BookingRoute, BookingTrail, DueErrands, DueHolds, EventsPage, LastCheck,
    OldestKept, Queries, SagaStep, SessionUser, SlotsPage, StoreError,
};

/// Readers for single rows. They share the machine with everything else, so two do.
const ROW_READERS: usize = 2;
/// Readers for lists.
const LIST_READERS: usize = 1;
/// Queries that may wait for one reader.
const WAITING_MAX: usize = 4096;
/// Queries answered in one transaction.
const TOGETHER_MAX: usize = 256;

type Reply<T> = oneshot::Sender<rusqlite::Result<T>>;

enum Query {
    /// The most frequent one: whoever asks for the same event at the same time shares one read.
    Event(EventId, Reply<Option<Event>>),
    Other(Box<dyn FnOnce(&Connection) + Send>),
}

pub(super) struct Readers {
    rows: Pool,
    lists: Pool,
}

impl Readers {
    pub(super) fn start(
        connect: impl Fn() -> rusqlite::Result<Connection>,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            rows: Pool::start("row-reader", ROW_READERS, &connect)?,
            lists: Pool::start("list-reader", LIST_READERS, &connect)?,
        })
    }
}

struct Pool {
    queues: Vec<mpsc::Sender<Query>>,
    next: AtomicUsize,
}

impl Pool {
    fn start(
        name: &str,
        count: usize,
        connect: &impl Fn() -> rusqlite::Result<Connection>,
    ) -> rusqlite::Result<Self> {
        let mut queues = Vec::with_capacity(count);
        for number in 0..count {
            let conn = connect()?;
            // A reader that could write would be a second writer.
            conn.pragma_update(None, "query_only", true)?;
            let (queue, mut waiting) = mpsc::channel::<Query>(WAITING_MAX);
            thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || {
                    let mut together = Vec::with_capacity(TOGETHER_MAX);
                    while waiting.blocking_recv_many(&mut together, TOGETHER_MAX) > 0 {
                        answer_together(&conn, &mut together);
                    }
                })
                .expect("the system gives the process a few threads");
            queues.push(queue);
        }
        Ok(Self { queues, next: AtomicUsize::new(0) })
    }

    async fn run<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let query = Query::Other(Box::new(move |conn| {
            // Whoever asked may have hung up.
            let _ = answer.send(query(conn));
        }));
        self.ask(query, answered).await
    }

    async fn ask<T>(
        &self,
        mut query: Query,
        answered: oneshot::Receiver<rusqlite::Result<T>>,
    ) -> Result<T, StoreError> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        for turn in 0..self.queues.len() {
            match self.queues[(first + turn) % self.queues.len()].try_send(query) {
                Ok(()) => {
                    let stopped = |_| StoreError::Away("a reading thread has stopped".to_owned());
                    return Ok(answered.await.map_err(stopped)??);
                }
                Err(full) => query = full.into_inner(),
            }
        }
        Err(StoreError::Overloaded)
    }
}

fn answer_together(conn: &Connection, queries: &mut Vec<Query>) {
    let one_transaction = queries.len() > 1 && conn.execute_batch("BEGIN").is_ok();
    let mut events_read: HashMap<EventId, Option<Event>> = HashMap::new();
    for query in queries.drain(..) {
        match query {
            Query::Event(id, answer) => {
                let event = match events_read.get(&id) {
                    Some(event) => Ok(event.clone()),
                    None => events::one(conn, id).inspect(|event| {
                        events_read.insert(id, event.clone());
                    }),
                };
                let _ = answer.send(event);
            }
            Query::Other(query) => query(conn),
        }
    }
    if one_transaction && let Err(error) = conn.execute_batch("COMMIT") {
        tracing::warn!(%error, "could not end a read transaction");
        // Left open, it would show this moment for ever.
        let _ = conn.execute_batch("ROLLBACK");
    }
}

#[async_trait]
impl Queries for SqliteStore {
    async fn event(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.readers.rows.ask(Query::Event(id, answer), answered).await
    }

    async fn events(&self, page: EventsPage) -> Result<Vec<Event>, StoreError> {
        self.readers.lists.run(move |conn| events::page(conn, &page)).await
    }

    async fn events_with(&self, ids: Vec<EventId>) -> Result<Vec<Event>, StoreError> {
        self.readers.rows.run(move |conn| events::by_ids(conn, &ids)).await
    }

    async fn releasing_events(&self, limit: u32) -> Result<Vec<EventId>, StoreError> {
        self.readers.rows.run(move |conn| events::releasing(conn, limit)).await
    }

    async fn journal(
        &self,
        event_id: EventId,
        after_version: i64,
        limit: u32,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        self.readers
            .lists
            .run(move |conn| journal::of_event(conn, event_id, after_version, limit))
            .await
    }

    async fn slots(
        &self,
        event_id: EventId,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<SlotsPage, StoreError> {
        self.readers.lists.run(move |conn| events::slots_of(conn, event_id, before, limit)).await
    }

    async fn bookings(&self, ids: Vec<BookingId>) -> Result<Vec<Booking>, StoreError> {
        self.readers.lists.run(move |conn| bookings::by_ids(conn, &ids)).await
    }

    async fn live_bookings_of_user(
        &self,
        user_id: UserId,
        event_id: Option<EventId>,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<Vec<Booking>, StoreError> {
        self.readers
            .lists
            .run(move |conn| bookings::live_of_user(conn, user_id, event_id, before, limit))
            .await
    }

    async fn bookings_of_user(
        &self,
        user_id: UserId,
        after: BookingId,
        limit: u32,
    ) -> Result<Vec<Booking>, StoreError> {
        self.readers.lists.run(move |conn| bookings::of_user(conn, user_id, after, limit)).await
    }

    async fn account(&self, user_id: UserId) -> Result<Account, StoreError> {
        self.readers.rows.run(move |conn| accounts::one(conn, user_id)).await
    }

    async fn postings(
        &self,
        user_id: UserId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Posting>, StoreError> {
        let read = move |conn: &Connection| accounts::postings_of(conn, user_id, before, limit);
        self.readers.lists.run(read).await
    }

    async fn postings_for(&self, id: BookingId) -> Result<Vec<Posting>, StoreError> {
        self.readers.rows.run(move |conn| accounts::postings_for(conn, id)).await
    }

    async fn booking_route(&self, id: BookingId) -> Result<BookingRoute, StoreError> {
        self.readers.rows.run(move |conn| bookings::route(conn, id)).await
    }

    async fn due_holds(&self, clock: Timestamp, limit: u32) -> Result<DueHolds, StoreError> {
        self.readers.rows.run(move |conn| bookings::due(conn, clock, limit)).await
    }

    async fn due_errands(&self, clock: Timestamp, limit: u32) -> Result<DueErrands, StoreError> {
        self.readers.rows.run(move |conn| sagas::due(conn, clock, limit)).await
    }

    async fn errands(&self, after: BookingId, limit: u32) -> Result<Vec<Errand>, StoreError> {
        self.readers.lists.run(move |conn| sagas::errands(conn, after, limit)).await
    }

    async fn saga_steps(&self, booking_id: BookingId) -> Result<Vec<SagaStep>, StoreError> {
        self.readers.lists.run(move |conn| sagas::steps(conn, booking_id)).await
    }

    async fn booking_trail(&self, id: BookingId) -> Result<BookingTrail, StoreError> {
        let read = move |conn: &Connection| {
            // A query that is answered alone has no transaction around it.
            let _instant =
                conn.is_autocommit().then(|| conn.unchecked_transaction()).transpose()?;
            Ok(BookingTrail {
                booking: bookings::by_ids(conn, &[id])?.pop(),
                journal: journal::of_booking(conn, id)?,
                postings: accounts::postings_for(conn, id)?,
                steps: sagas::steps(conn, id)?,
                errand: sagas::load(conn, &[id])?.pop(),
            })
        };
        self.readers.lists.run(read).await
    }

    async fn session(&self, digest: TokenDigest) -> Result<Option<SessionUser>, StoreError> {
        self.readers.rows.run(move |conn| identity::session(conn, &digest)).await
    }

    async fn user_by_login(&self, login: String) -> Result<Option<User>, StoreError> {
        self.readers.rows.run(move |conn| identity::user_by_login(conn, &login)).await
    }

    async fn users_by_ids(&self, ids: Vec<UserId>) -> Result<Vec<User>, StoreError> {
        self.readers.lists.run(move |conn| identity::load(conn, &ids, &[])).await
    }

    async fn users(&self, after: UserId, limit: u32) -> Result<Vec<User>, StoreError> {
        self.readers.lists.run(move |conn| identity::users(conn, after, limit)).await
    }

    async fn oldest_kept(&self) -> Result<OldestKept, StoreError> {
        self.readers
            .rows
            .run(|conn| {
                Ok(OldestKept {
                    session_end: identity::first_session_end(conn)?,
                    answer: answers::oldest(conn)?,
                })
            })
            .await
    }

    async fn last_checks(&self) -> Result<Vec<LastCheck>, StoreError> {
        self.readers.rows.run(checks::all).await
    }

    async fn answer(&self, key: AnswerKey) -> Result<Option<Answer>, StoreError> {
        self.readers.rows.run(move |conn| Ok(answers::load(conn, &[key])?.pop())).await
    }

    async fn clock(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.readers.rows.run(|conn| bookings::last_id(conn).map(drop)).await
    }
}
