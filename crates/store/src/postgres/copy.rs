//! The target of a copy: an empty database that takes the rows of another one.
//!
//! Rows come through a [`Writer`](crate::Writer) like any others, many transactions one after the
//! other. What makes one thing of them is a mark, which stands before the first row and goes behind
//! the last: a database that has it is opened by nobody but whoever copies, and whoever copies begins
//! by emptying it.
//!
//! The mark and the numbers that are given out stay locked for as long as a copy is at work, so a
//! second one is refused, and a server that was open on the empty database has no numbers to give.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::config::Connector;
use super::error::{explain, is_lost};
use super::readers::Readers;
use super::schema;
use super::session::Session;
use super::{Clock, PostgresStore, connect};
use crate::{Access, LastIds, OpenError, StoreError};

/// All tables that are empty before a copy, but for the row of a version and those of numbers.
const TABLES: [&str; 13] = [
    "users",
    "sessions",
    "events",
    "tallies",
    "slots",
    "journal",
    "accounts",
    "postings",
    "bookings",
    "errands",
    "saga_steps",
    "memories",
    "answers",
];
const SOURCE: &str = "SELECT source FROM unfinished_copy";
const MARK: &str =
    "INSERT INTO unfinished_copy (id, source) VALUES (1, $1) ON CONFLICT (id) DO NOTHING";
const SET_LAST_ID: &str = "UPDATE ids SET last = $1 WHERE kind = $2";
const BEGIN: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT last FROM ids FOR UPDATE";
/// Whoever copies says nothing here while rows are read, written and compared.
const BE_PATIENT: &str = "SET idle_in_transaction_session_timeout = 0";
const FINISH: &str = "DELETE FROM unfinished_copy; COMMIT";

/// A database that a copy goes into.
pub struct CopyTarget {
    connector: Connector,
    /// Says where the rows come from.
    source: String,
    session: Session,
}

impl CopyTarget {
    /// Connects, and makes the tables if need be. Refuses a database with rows in it, unless they are
    /// those of an unfinished copy of the same source.
    pub async fn open(connector: Connector, source: &str) -> Result<Self, OpenError> {
        let (mut client, driver) = connect(&connector).await?;
        let migrated = schema::migrate(&connector, &mut client).await;
        driver.abort();
        migrated?;
        let session = Session::open(&connector, std::iter::empty()).await;
        let session = session.map_err(|error| OpenError::Unreachable {
            database: connector.name().to_owned(),
            reason: error.to_string(),
        })?;
        let target = Self { connector, source: source.to_owned(), session };
        target.refuse_rows_of_others().await?;
        Ok(target)
    }

    /// Marks it, empties it, and sees to it that no number is given out again. Whatever goes wrong
    /// from here on, the mark stays until a copy [finishes](Self::finish).
    pub async fn begin(&self, last_ids: LastIds) -> Result<PostgresStore, OpenError> {
        let client = self.session.client();
        client.batch_execute(BEGIN).await.map_err(|error| self.busy(&error))?;
        // It may have changed since it was opened.
        self.refuse_rows_of_others().await?;
        self.mark(last_ids).await.map_err(|error| self.busy(&error))?;
        self.keep_locked().await?;
        let readers = Readers::new(self.connector.clone(), Access::Tool, 1);
        Ok(PostgresStore { url: self.connector.clone(), clock: Clock::Database, readers })
    }

    async fn mark(&self, last_ids: LastIds) -> Result<(), Error> {
        let client = self.session.client();
        client.execute(MARK, &[&self.source]).await?;
        client.batch_execute(&format!("TRUNCATE {}", TABLES.join(", "))).await?;
        let LastIds { booking, event, user } = last_ids;
        for (kind, last) in [("booking", booking), ("event", event), ("user", user)] {
            client.execute(SET_LAST_ID, &[&last.unwrap_or(0), &kind]).await?;
        }
        client.batch_execute("COMMIT").await
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

    /// Takes the mark away: from now on it is a database like any other.
    pub async fn finish(self) -> Result<(), StoreError> {
        self.session.client().batch_execute(FINISH).await.map_err(|error| {
            if is_lost(&error) { StoreError::OutcomeUnknown(explain(&error)) } else { error.into() }
        })
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
        for table in TABLES {
            let any = format!("SELECT 1 FROM {table} LIMIT 1");
            if client.query_opt(&any, &[]).await.map_err(unreachable)?.is_some() {
                return Err(OpenError::NotEmpty { database: database(), table });
            }
        }
        Ok(())
    }

    /// What it means that the database couldn't be had for oneself.
    fn busy(&self, error: &Error) -> OpenError {
        if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
            return OpenError::Busy { database: self.connector.name().to_owned() };
        }
        schema::unreachable(&self.connector, error)
    }
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
