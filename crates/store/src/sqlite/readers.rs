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
//!
//! Where nothing may happen beside the caller's thread there are no readers: each query is answered as
//! it is asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use async_trait::async_trait;
use eventbooker_core::events::Event;
use eventbooker_core::{Context, EventId, Timestamp};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{SqliteStore, answers, bookings, checks, events, identity, neighbours, sagas};
use crate::{
    Answer, AnswerKey, CommonQueries, Installation, LastCheck, LastIds, Neighbour, OldestKept,
    StoreError,
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

pub(super) enum Query {
    /// The most frequent one: whoever asks for the same event at the same time shares one read.
    Event(EventId, Reply<Option<Event>>),
    Other(Box<dyn FnOnce(&Connection) + Send>),
}

pub(super) struct Readers {
    pub(super) rows: Pool,
    pub(super) lists: Pool,
}

impl Readers {
    pub(super) fn start(
        connect: &dyn Fn() -> rusqlite::Result<Connection>,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            rows: Pool::start("row-reader", ROW_READERS, connect)?,
            lists: Pool::start("list-reader", LIST_READERS, connect)?,
        })
    }

    /// None: whoever asks reads.
    pub(super) fn in_place(
        connect: &dyn Fn() -> rusqlite::Result<Connection>,
    ) -> rusqlite::Result<Self> {
        Ok(Self { rows: Pool::in_place(connect)?, lists: Pool::in_place(connect)? })
    }

    pub(super) async fn event(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.rows.ask(Query::Event(id, answer), answered).await
    }
}

pub(super) enum Pool {
    Threads { queues: Vec<mpsc::Sender<Query>>, next: AtomicUsize },
    InPlace(Mutex<Connection>),
}

impl Pool {
    fn start(
        name: &str,
        count: usize,
        connect: &dyn Fn() -> rusqlite::Result<Connection>,
    ) -> rusqlite::Result<Self> {
        let mut queues = Vec::with_capacity(count);
        for number in 0..count {
            let conn = reading(connect)?;
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
        Ok(Self::Threads { queues, next: AtomicUsize::new(0) })
    }

    fn in_place(connect: &dyn Fn() -> rusqlite::Result<Connection>) -> rusqlite::Result<Self> {
        Ok(Self::InPlace(Mutex::new(reading(connect)?)))
    }

    pub(super) async fn run<T, F>(&self, query: F) -> Result<T, StoreError>
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
        let stopped = |_| StoreError::Away("a reading thread has stopped".to_owned());
        match self {
            Self::Threads { queues, next } => {
                let first = next.fetch_add(1, Ordering::Relaxed);
                for turn in 0..queues.len() {
                    match queues[(first + turn) % queues.len()].try_send(query) {
                        Ok(()) => return Ok(answered.await.map_err(stopped)??),
                        Err(full) => query = full.into_inner(),
                    }
                }
                Err(StoreError::Overloaded)
            }
            Self::InPlace(conn) => {
                let queries = &mut vec![query];
                answer_together(&conn.lock().unwrap_or_else(PoisonError::into_inner), queries);
                Ok(answered.await.map_err(stopped)??)
            }
        }
    }
}

fn reading(connect: &dyn Fn() -> rusqlite::Result<Connection>) -> rusqlite::Result<Connection> {
    let conn = connect()?;
    // A reader that could write would be a second writer.
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
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
impl CommonQueries for SqliteStore {
    async fn oldest_kept(&self) -> Result<OldestKept, StoreError> {
        let has_sessions = self.contexts.has(Context::Identity);
        let read = move |conn: &Connection| {
            let session_end = if has_sessions { identity::first_session_end(conn)? } else { None };
            Ok(OldestKept {
                session_end,
                answer: answers::oldest(conn)?,
                memory: sagas::oldest_memory(conn)?,
            })
        };
        self.readers.rows.run(read).await
    }

    async fn installation(&self) -> Result<Installation, StoreError> {
        let read = |conn: &Connection| {
            conn.query_row("SELECT id, secret FROM installation", [], |row| {
                Ok(Installation { id: row.get(0)?, secret: row.get(1)? })
            })
        };
        self.readers.rows.run(read).await
    }

    async fn progress(&self) -> Result<i64, StoreError> {
        self.readers.rows.run(neighbours::progress).await
    }

    async fn neighbours(&self) -> Result<Vec<Neighbour>, StoreError> {
        self.readers.rows.run(neighbours::all).await
    }

    async fn ids_met(&self) -> Result<LastIds, StoreError> {
        let contexts = self.contexts;
        self.readers.lists.run(move |conn| neighbours::ids_met(conn, contexts)).await
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
