//! The target of a copy: a database that takes the rows of another one, of all contexts or of some, of
//! which it has none.
//!
//! Rows come through a [`Writer`](crate::Writer) like any others, many transactions one after the
//! other. What makes one thing of them is a mark, which stands before the first row and goes behind
//! the last: a database that has it is opened by nobody but whoever copies, and whoever copies begins
//! by emptying it.
//!
//! The mark and the numbers that are given out stay locked for as long as a copy is at work, so a
//! second one is refused, and a server that was open on the empty database has no numbers to give.

use std::sync::Arc;

use async_trait::async_trait;
use eventbooker_core::Contexts;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::config::Connector;
use super::error::{explain, is_lost};
use super::readers::Readers;
use super::schema;
use super::session::{self, Session};
use super::{Clock, PostgresStore, connect};
use crate::sections::{self, Asked};
use crate::{Access, CopyTarget, LastIds, OpenError, Store, StoreError, codes};

const SOURCE: &str = "SELECT source FROM unfinished_copy";
/// What participants remember is theirs, in a table for all of them.
const ANY_MEMORY: &str = "SELECT 1 FROM memories WHERE participant = ANY($1::smallint[]) LIMIT 1";
const FORGET: &str = "DELETE FROM memories WHERE participant = ANY($1::smallint[])";
const MARK: &str =
    "INSERT INTO unfinished_copy (id, source) VALUES (1, $1) ON CONFLICT (id) DO NOTHING";
const SET_LAST_ID: &str = "UPDATE ids SET last = $1 WHERE kind = $2";
const BEGIN: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT last FROM ids FOR UPDATE";
/// Whoever copies says nothing here while rows are read, written and compared.
const BE_PATIENT: &str = "SET idle_in_transaction_session_timeout = 0";
const FINISH: &str = "DELETE FROM unfinished_copy; COMMIT";

/// A database that a copy goes into.
pub struct PostgresCopyTarget {
    connector: Connector,
    /// What is copied.
    contexts: Contexts,
    /// What is there beside that.
    others: Contexts,
    /// Says where the rows come from.
    source: String,
    session: Session,
}

impl PostgresCopyTarget {
    /// Connects, and makes the tables of these contexts if need be. Refuses a database with rows of
    /// theirs in it, unless they are those of an unfinished copy of the same source.
    pub async fn open(
        connector: Connector,
        source: &str,
        contexts: Contexts,
    ) -> Result<Self, OpenError> {
        let (mut client, driver) = connect(&connector).await?;
        let migrated = schema::migrate(&connector, &mut client, Asked::Adding(contexts)).await;
        driver.abort();
        let others = migrated?.contexts.without(contexts);
        let session = Session::open(&connector, std::iter::empty()).await;
        let session = session.map_err(|error| OpenError::Unreachable {
            database: connector.name().to_owned(),
            reason: error.to_string(),
        })?;
        let source = source.to_owned();
        let target = Self { connector, contexts, others, source, session };
        target.refuse_rows_of_others().await?;
        Ok(target)
    }

    async fn mark(&self, last_ids: LastIds) -> Result<(), Error> {
        let client = self.session.client();
        client.execute(MARK, &[&self.source]).await?;
        client.batch_execute(&format!("TRUNCATE {}", self.tables().join(", "))).await?;
        client.execute(FORGET, &[&codes::participants_of(self.contexts)]).await?;
        let LastIds { booking, event, user } = last_ids;
        for (kind, last) in [("booking", booking), ("event", event), ("user", user)] {
            if let Some(last) = last {
                client.execute(SET_LAST_ID, &[&last, &kind]).await?;
            }
        }
        client.batch_execute("COMMIT").await
    }

    /// The tables that are empty before a copy. Answers are those of all contexts.
    fn tables(&self) -> Vec<&'static str> {
        let mut tables = sections::tables_of(self.contexts);
        tables.extend(self.others.is_empty().then_some("answers"));
        tables
    }

    async fn keep_locked(&self) -> Result<(), OpenError> {
        let client = self.session.client();
        client.batch_execute(BE_PATIENT).await.map_err(|error| self.busy(&error))?;
        client.batch_execute(BEGIN).await.map_err(|error| self.busy(&error))?;
        match client.query_opt(SOURCE, &[]).await.map_err(|error| self.busy(&error))? {
            Some(_) => Ok(()),
            // For a moment nothing was locked, and another copy came to its end.
            None => Err(OpenError::Busy { database: self.connector.name().to_owned() }),
        }
    }

    async fn refuse_rows_of_others(&self) -> Result<(), OpenError> {
        let database = || self.connector.name().to_owned();
        let unreachable = |error: Error| schema::unreachable(&self.connector, &error);
        let client = self.session.client();
        if let Some(row) = client.query_opt(SOURCE, &[]).await.map_err(unreachable)? {
            let source: String = row.try_get(0).map_err(unreachable)?;
            if source != self.source {
                return Err(OpenError::CopyOfAnother { database: database(), source_name: source });
            }
            return Ok(());
        }
        let not_empty = |table| Err(OpenError::NotEmpty { database: database(), table });
        for table in self.tables() {
            let any = format!("SELECT 1 FROM {table} LIMIT 1");
            if client.query_opt(&any, &[]).await.map_err(unreachable)?.is_some() {
                return not_empty(table);
            }
        }
        let participants = codes::participants_of(self.contexts);
        let memory = client.query_opt(ANY_MEMORY, &[&participants]).await.map_err(unreachable)?;
        if memory.is_some() { not_empty("memories") } else { Ok(()) }
    }

    /// What it means that the database couldn't be had for oneself.
    fn busy(&self, error: &Error) -> OpenError {
        if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
            return OpenError::Busy { database: self.connector.name().to_owned() };
        }
        schema::unreachable(&self.connector, error)
    }
}

#[async_trait]
impl CopyTarget for PostgresCopyTarget {
    async fn begin(&self, last_ids: LastIds) -> Result<Arc<dyn Store>, OpenError> {
        let client = self.session.client();
        client.batch_execute(BEGIN).await.map_err(|error| self.busy(&error))?;
        // It may have changed since it was opened.
        self.refuse_rows_of_others().await?;
        self.mark(last_ids).await.map_err(|error| self.busy(&error))?;
        self.keep_locked().await?;
        let (url, contexts) = (self.connector.clone(), self.contexts);
        let readers = Readers::new(url.clone(), Access::Tool, contexts, 1);
        Ok(Arc::new(PostgresStore { url, contexts, clock: Clock::Database, readers }))
    }

    fn holds_others(&self) -> bool {
        !self.others.is_empty()
    }

    async fn finish(self: Box<Self>) -> Result<(), StoreError> {
        self.session.client().batch_execute(FINISH).await.map_err(|error| {
            if is_lost(&error) { StoreError::OutcomeUnknown(explain(&error)) } else { error.into() }
        })
    }
}

/// Keeps everybody from changing the rows of these contexts: whoever tries waits, and is told that
/// somebody was in the way.
pub(super) async fn hold_still(
    connector: &Connector,
    contexts: Contexts,
) -> Result<Session, StoreError> {
    let session = Session::open(connector, std::iter::empty()).await?;
    let tables = sections::tables_of(contexts).join(", ");
    let lock = format!("LOCK TABLE {tables}, memories, answers, ids IN SHARE MODE");
    for statement in [BE_PATIENT, session::BEGIN, &lock] {
        session.client().batch_execute(statement).await?;
    }
    Ok(session)
}

/// Refuses a database whose rows aren't complete.
pub(super) async fn refuse_unfinished(
    connector: &Connector,
    client: &tokio_postgres::Client,
) -> Result<(), OpenError> {
    let unreachable = |error: Error| schema::unreachable(connector, &error);
    let Some(row) = client.query_opt(SOURCE, &[]).await.map_err(unreachable)? else {
        return Ok(());
    };
    let database = connector.name().to_owned();
    let source_name = row.try_get(0).map_err(unreachable)?;
    Err(OpenError::CopyUnfinished { database, source_name })
}
