//! Migrations: forward only, each in a transaction, counted in a table of their own.
//!
//! Replicas that start together take turns by locking that table's row. No advisory lock is needed,
//! which not every server has.

use eventbooker_core::Contexts;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::config::Connector;
use super::error::explain;
use crate::sections::{self, Asked, Found};
use crate::{Installation, MigrationReport, OpenError};

/// Each raises the version by one. A migration that has been released is never edited.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/postgres/0001_initial.sql"),
    include_str!("../../migrations/postgres/0002_copies.sql"),
    include_str!("../../migrations/postgres/0003_turns.sql"),
    include_str!("../../migrations/postgres/0004_cancellations.sql"),
    include_str!("../../migrations/postgres/0005_checks.sql"),
    include_str!("../../migrations/postgres/0006_search.sql"),
    include_str!("../../migrations/postgres/0007_answers_of_sagas.sql"),
    include_str!("../../migrations/postgres/0008_contexts.sql"),
    include_str!("../../migrations/postgres/0009_traces.sql"),
    include_str!("../../migrations/postgres/0010_neighbours.sql"),
];

/// The schema version that this program needs.
#[allow(clippy::cast_possible_truncation, reason = "a handful of migrations")]
pub const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

/// How often making the table is tried while others are making it.
const TRIES_MAX: u32 = 20;

const SET_INSTALLATION: &str = "
    INSERT INTO installation (one, id, secret) VALUES (1, $1, $2) ON CONFLICT (one) DO NOTHING";

const MAKE_VERSION: &str = "
    CREATE TABLE IF NOT EXISTS schema_version (
        id      bigint NOT NULL PRIMARY KEY CHECK (id = 1),
        version bigint  NOT NULL
    );
    INSERT INTO schema_version (id, version) VALUES (1, 0) ON CONFLICT (id) DO NOTHING";

/// Brings the schema up to date.
pub(super) async fn migrate(
    connector: &Connector,
    client: &mut Client,
    asked: Asked,
) -> Result<MigrationReport, OpenError> {
    let unreachable = |error: Error| unreachable(connector, &error);
    // Nothing is locked for a schema that is current.
    let found = found(connector, client).await?;
    let added = asked.missing(found, connector.name())?;
    if found.version == SCHEMA_VERSION && added.is_empty() {
        return Ok(report(found, added));
    }
    make_version(client).await.map_err(unreachable)?;
    let tx = client.transaction().await.map_err(unreachable)?;
    tx.query_one("SELECT version FROM schema_version FOR UPDATE", &[])
        .await
        .map_err(unreachable)?;
    let found = self::found(connector, tx.client()).await?;
    let added = asked.missing(found, connector.name())?;
    for statements in sections::to_run(MIGRATIONS, found, added) {
        tx.batch_execute(&statements).await.map_err(|error| unmade(connector, &error))?;
    }
    let Installation { id, secret } = Installation::draw();
    tx.execute(SET_INSTALLATION, &[&id.as_slice(), &secret.as_slice()])
        .await
        .map_err(unreachable)?;
    let current = i64::from(SCHEMA_VERSION);
    tx.execute("UPDATE schema_version SET version = $1", &[&current]).await.map_err(unreachable)?;
    tx.commit().await.map_err(unreachable)?;
    Ok(report(found, added))
}

fn report(found: Found, added: Contexts) -> MigrationReport {
    let contexts = found.contexts.and(added);
    MigrationReport { from: found.version, to: SCHEMA_VERSION, added, contexts }
}

/// Refuses a schema that isn't exactly the one that this program needs, and tells which contexts are
/// there.
pub(super) async fn check(
    connector: &Connector,
    client: &Client,
    asked: Asked,
) -> Result<Contexts, OpenError> {
    let found = found(connector, client).await?;
    if found.version < SCHEMA_VERSION {
        let (database, found) = (connector.name().to_owned(), found.version);
        return Err(OpenError::SchemaTooOld { database, found, known: SCHEMA_VERSION });
    }
    asked.missing(found, connector.name())?;
    Ok(found.contexts)
}

/// What a database is, unless a newer program has migrated it.
async fn found(connector: &Connector, client: &Client) -> Result<Found, OpenError> {
    let unreachable = |error: Error| unreachable(connector, &error);
    let version = version(client).await.map_err(unreachable)?;
    refuse_newer(connector, version)?;
    let names =
        if version == 0 { None } else { names_of_contexts(client).await.map_err(unreachable)? };
    Found::of(version, names).map_err(|error| OpenError::Unreachable {
        database: connector.name().to_owned(),
        reason: error.to_string(),
    })
}

/// `None` without the table.
async fn names_of_contexts(client: &Client) -> Result<Option<Vec<String>>, Error> {
    let has_table = "SELECT to_regclass('contexts') IS NOT NULL";
    if !client.query_one(has_table, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let rows = client.query("SELECT name FROM contexts", &[]).await?;
    rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map(Some)
}

async fn version(client: &Client) -> Result<u32, Error> {
    match client.query_opt("SELECT version FROM schema_version", &[]).await {
        Ok(row) => {
            let version: i64 = row.map_or(Ok(0), |row| row.try_get(0))?;
            Ok(u32::try_from(version).unwrap_or(u32::MAX))
        }
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Makes the table. Of two that make it at the same time, one is told that it exists.
async fn make_version(client: &Client) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        match client.batch_execute(MAKE_VERSION).await {
            Err(error) if tries < TRIES_MAX && is_made_by_another(&error) => {}
            made => return made,
        }
    }
}

fn is_made_by_another(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        [
            SqlState::UNIQUE_VIOLATION,
            SqlState::DUPLICATE_TABLE,
            SqlState::DUPLICATE_OBJECT,
            SqlState::T_R_SERIALIZATION_FAILURE,
        ]
        .contains(code)
    })
}

fn refuse_newer(connector: &Connector, found: u32) -> Result<(), OpenError> {
    if found > SCHEMA_VERSION {
        let database = connector.name().to_owned();
        return Err(OpenError::SchemaTooNew { database, found, known: SCHEMA_VERSION });
    }
    Ok(())
}

/// Why tables couldn't be made.
fn unmade(connector: &Connector, error: &Error) -> OpenError {
    if error.code() == Some(&SqlState::DUPLICATE_TABLE) {
        let (database, reason) = (connector.name().to_owned(), explain(error));
        return OpenError::TablesOfOthers { database, reason };
    }
    unreachable(connector, error)
}

pub(super) fn unreachable(connector: &Connector, error: &Error) -> OpenError {
    OpenError::Unreachable { database: connector.name().to_owned(), reason: explain(error) }
}
