//! A connection with everything prepared, and requests that travel together.
//!
//! A round trip costs more than most statements, so a batch sends all that it knows to ask in one
//! [`Flight`] and then waits once.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Waker};

use futures_util::TryStreamExt as _;
use futures_util::future::{MaybeDone, maybe_done};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use super::config::Connector;
use super::error::explain;
use crate::StoreError;

/// The parameters of a request; they travel with it.
pub(super) type Params = Vec<Box<dyn ToSql + Sync + Send>>;

/// Makes [`Params`].
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        vec![$(Box::new($value) as Box<dyn ::tokio_postgres::types::ToSql + Sync + Send>),*]
    };
}
pub(super) use params;

/// The rows of a column.
pub(super) fn column<T, U>(rows: &[T], read: impl FnMut(&T) -> U) -> Vec<U> {
    rows.iter().map(read).collect()
}

pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
pub(super) const COMMIT: &str = "COMMIT";
pub(super) const ROLLBACK: &str = "ROLLBACK";

/// What is told to a server before anything else, whoever it is: without these a promise is broken.
/// A transaction whose owner has been stopped must not keep its locks for ever, and a commit has to
/// be durable (on the standby as well, where the server has a synchronous one) whatever the server's
/// default is. No time-out is set on statements, because it would end the wait for a synchronous
/// standby as well, and the server would then call a commit done that only it has.
const NEEDED: &str = "
    SET lock_timeout = '3s';
    SET idle_in_transaction_session_timeout = '10s';
    SET statement_timeout = 0;
    SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')";

/// What only saves time. A server that doesn't know it may refuse.
const OF_USE: [&str; 3] = [
    // Statements are prepared once and mean the same rows whatever is asked for: those of a key.
    "SET plan_cache_mode = force_generic_plan",
    "SET enable_seqscan = off",
    "SET jit = off",
];

/// A plan is made once and kept. One that was made while a table was small may be to read all of it,
/// and would still be when an on-sale has made it large.
const FORGET_PLANS: &str = "DISCARD PLANS";
/// Flights between two times that plans are made.
const FORGET_PLANS_EVERY: u32 = 64;

/// Asked in the place of what wasn't prepared, because its tables weren't opened: the server says no to
/// it as to any other statement, and what comes with it in a transaction doesn't happen.
const NOT_OPENED: &str = "SELECT 'a context that isn''t opened here'::text::bigint";

/// Citus locks rows only where one key says on which machine they are.
const SPREADS: &str = "SELECT to_regclass('pg_dist_partition') IS NOT NULL";

/// A connection that one task uses at a time.
pub(super) struct Session {
    client: Client,
    statements: HashMap<&'static str, Statement>,
    /// Whether the server may spread a table's rows over machines.
    spreads: bool,
    /// Whether the server forgets its plans when it is asked to.
    forgets_plans: bool,
    flights: AtomicU32,
    driver: JoinHandle<Result<(), Error>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    /// Connects and prepares these statements. The connection is driven by a task of the runtime
    /// that this is called in.
    pub(super) async fn open(
        connector: &Connector,
        sql: impl Iterator<Item = &'static str>,
    ) -> Result<Self, StoreError> {
        // Whatever is in the way of a connection, it's for the operator to look at.
        let (client, connection) = connector.connect().await.map_err(StoreError::Away)?;
        // Whoever asks something when it has ended is told that the connection is closed.
        let driver = tokio::spawn(connection);
        let mut session = Self {
            client,
            statements: HashMap::new(),
            spreads: false,
            forgets_plans: false,
            flights: AtomicU32::new(0),
            driver,
        };
        // A server that hangs has let us in all the same.
        let preparing_max = connector.preparing_max();
        let prepared = timeout(preparing_max, Box::pin(session.prepare(sql))).await;
        prepared.unwrap_or_else(|_| {
            Err(StoreError::Away(format!("no answer within {} s", preparing_max.as_secs())))
        })?;
        Ok(session)
    }

    async fn prepare(&mut self, sql: impl Iterator<Item = &'static str>) -> Result<(), StoreError> {
        self.client.batch_execute(NEEDED).await?;
        for setting in OF_USE {
            match self.client.batch_execute(setting).await {
                Err(error) if error.as_db_error().is_none() => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
        }
        self.spreads = self.client.query_one(SPREADS, &[]).await?.try_get(0)?;
        self.forgets_plans = self.client.batch_execute(FORGET_PLANS).await.is_ok();
        let forget_plans = self.forgets_plans.then_some(FORGET_PLANS);
        let mut asked: Vec<_> = Vec::new();
        for sql in sql.chain([NOT_OPENED]).chain(forget_plans) {
            let mut preparing = Box::pin(maybe_done(self.client.prepare(sql)));
            begin(&mut preparing);
            asked.push((sql, preparing));
        }
        let mut statements = HashMap::with_capacity(asked.len());
        for (sql, mut preparing) in asked {
            preparing.as_mut().await;
            let prepared = preparing.as_mut().take_output().expect("it has been awaited");
            statements.insert(sql, prepared?);
        }
        self.statements = statements;
        Ok(())
    }

    /// The client, for what isn't prepared.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether it was opened with this statement.
    pub(super) fn has_prepared(&self, sql: &'static str) -> bool {
        self.statements.contains_key(sql)
    }

    /// Whether nothing can be asked any more.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// What the server said before it hung up, if nothing that had been sent was unanswered then: what
    /// it hasn't answered, it has never heard. To be asked of a connection that is closed.
    pub(super) async fn last_words(mut self) -> Option<String> {
        let ended = (&mut self.driver).await.ok()?;
        ended.err().filter(|error| error.as_db_error().is_some()).map(|error| explain(&error))
    }

    /// Whether the server may spread a table's rows over machines.
    pub(super) fn spreads(&self) -> bool {
        self.spreads
    }

    /// Requests that are sent one behind the other without waiting.
    pub(super) fn flight(&self) -> Flight<'_> {
        let mut flight = Flight { session: self, requests: Vec::new(), has_failed: false };
        let before = self.flights.fetch_add(1, Ordering::Relaxed);
        if self.forgets_plans && before % FORGET_PLANS_EVERY == FORGET_PLANS_EVERY - 1 {
            flight.ask(FORGET_PLANS, params![]);
        }
        flight
    }
}

type Request<'session> =
    MaybeDone<Pin<Box<dyn Future<Output = Result<Vec<Row>, Error>> + Send + 'session>>>;

/// Requests that have been sent, in order.
#[must_use = "somebody has to hear the answers"]
pub(super) struct Flight<'session> {
    session: &'session Session,
    requests: Vec<Pin<Box<Request<'session>>>>,
    /// Whether one has failed at once, and so perhaps was never sent.
    has_failed: bool,
}

/// Which of a flight's requests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(usize);

impl<'session> Flight<'session> {
    /// Whether the server writes everything to one log.
    pub(super) fn has_one_log(&self) -> bool {
        !self.session.spreads
    }

    /// Locks rows by their keys, all by one statement if the server can do that.
    pub(super) fn lock(
        &mut self,
        together: &'static str,
        singly: &'static str,
        keys: Vec<i64>,
    ) -> Vec<Ticket> {
        if self.session.spreads {
            return keys.into_iter().map(|key| self.ask(singly, params![key])).collect();
        }
        let all = (!keys.is_empty()).then(|| self.ask(together, params![keys]));
        all.into_iter().collect()
    }

    /// Sends a request. The server takes requests in the order in which they are sent.
    pub(super) fn ask(&mut self, sql: &'static str, params: Params) -> Ticket {
        let prepared = self.session.statements.get(sql);
        let params = if prepared.is_some() { params } else { Params::new() };
        let statement = prepared.unwrap_or(&self.session.statements[NOT_OPENED]);
        let client = &self.session.client;
        let rows: Pin<Box<dyn Future<Output = _> + Send + 'session>> = Box::pin(async move {
            client.query_raw(statement, params).await?.try_collect::<Vec<Row>>().await
        });
        let mut request = Box::pin(maybe_done(rows));
        begin(&mut request);
        self.has_failed |= matches!(&*request, MaybeDone::Done(Err(_)));
        self.requests.push(request);
        Ticket(self.requests.len() - 1)
    }

    /// Sends the end of a transaction: a commit only if all that belongs to it has been sent. What the
    /// server refuses it remembers by itself; of what it was never asked, it doesn't know. Whether it is
    /// a commit.
    pub(super) fn end(&mut self) -> (Ticket, bool) {
        let is_commit = !self.has_failed;
        (self.ask(if is_commit { COMMIT } else { ROLLBACK }, params![]), is_commit)
    }

    /// Waits for all answers; the first error, if there is one.
    pub(super) async fn land(self) -> Result<Answers, Error> {
        self.land_all().await.map_err(|(_, error)| error)
    }

    /// The same, with the request that the error was the answer to.
    pub(super) async fn land_all(mut self) -> Result<Answers, (Ticket, Error)> {
        let mut answers = Vec::with_capacity(self.requests.len());
        let mut first_error = None;
        for (place, request) in self.requests.iter_mut().enumerate() {
            request.as_mut().await;
            match request.as_mut().take_output().expect("it has been awaited") {
                Ok(rows) => answers.push(rows),
                Err(error) => {
                    first_error.get_or_insert((Ticket(place), error));
                    answers.push(Vec::new());
                }
            }
        }
        first_error.map_or(Ok(Answers(answers)), Err)
    }
}

/// What a flight brought home.
pub(super) struct Answers(Vec<Vec<Row>>);

impl Answers {
    /// The rows that a request was answered with.
    pub(super) fn of(&self, ticket: Ticket) -> &[Row] {
        &self.0[ticket.0]
    }

    /// The same, to keep.
    pub(super) fn take(mut self, ticket: Ticket) -> Vec<Row> {
        std::mem::take(&mut self.0[ticket.0])
    }
}

/// Lets a future go as far as it can now: a request is sent when it is polled for the first time.
/// Whoever waits for it polls it again and is woken then.
fn begin<F: Future + ?Sized>(future: &mut Pin<Box<F>>) {
    let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

#[cfg(test)]
mod tests {
    use eventbooker_testkit::postgres::{Schema, numbers};

    use super::*;

    const ADD: &str = "INSERT INTO kept (number) VALUES ($1)";

    /// The server knows nothing of what it was never asked, and would commit the rest.
    #[tokio::test]
    async fn what_could_not_all_be_sent_is_not_committed() {
        let schema = Schema::new();
        schema.execute("CREATE TABLE kept (number bigint)");
        let url = Connector::parse(schema.url(), None).expect("the URL is right");
        let session = Session::open(&url, [BEGIN, ADD, COMMIT, ROLLBACK].into_iter()).await;
        let session = session.expect("it opens");
        for (is_number, kept) in [(false, &[][..]), (true, &[1, 2])] {
            let mut flight = session.flight();
            flight.ask(BEGIN, params![]);
            flight.ask(ADD, params![1_i64]);
            flight.ask(ADD, if is_number { params![2_i64] } else { params!["two"] });
            assert_eq!(flight.end().1, is_number);
            assert_eq!(flight.land().await.is_ok(), is_number);
            assert_eq!(numbers(schema.url(), "SELECT number FROM kept"), kept);
        }
    }
}
