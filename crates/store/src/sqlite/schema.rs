//! Migrations: forward only, each in a transaction, counted in `PRAGMA user_version`.

use std::path::Path;

use eventbooker_core::Contexts;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::name;
use crate::sections::{self, Asked, Found};
use crate::{Installation, MigrationReport, OpenError};

/// Each raises the version by one. A migration that has been released is never edited.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/sqlite/0001_initial.sql"),
    include_str!("../../migrations/sqlite/0002_accounts.sql"),
    include_str!("../../migrations/sqlite/0003_cancellations.sql"),
    include_str!("../../migrations/sqlite/0004_checks.sql"),
    include_str!("../../migrations/sqlite/0005_search.sql"),
    include_str!("../../migrations/sqlite/0006_answers_of_sagas.sql"),
    include_str!("../../migrations/sqlite/0007_contexts.sql"),
    include_str!("../../migrations/sqlite/0008_traces.sql"),
    include_str!("../../migrations/sqlite/0009_order_of_slots.sql"),
    include_str!("../../migrations/sqlite/0010_neighbours.sql"),
    include_str!("../../migrations/sqlite/0011_bookings_by_state.sql"),
];

/// The schema version that this program needs.
#[allow(clippy::cast_possible_truncation, reason = "a handful of migrations")]
pub const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

pub(super) fn migrate(
    conn: &mut Connection,
    path: &Path,
    asked: Asked,
) -> Result<MigrationReport, OpenError> {
    let unreachable = |error: rusqlite::Error| OpenError::Unreachable {
        database: name(path),
        reason: error.to_string(),
    };
    // Nothing is locked for a schema that is current: a tool must not wait for a busy server.
    let found = found(conn, path)?;
    let added = asked.missing(found, &name(path))?;
    if found.version == SCHEMA_VERSION && added.is_empty() {
        return Ok(report(found, added));
    }
    // The lock comes before the look: two programs that start at once must not both migrate.
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(unreachable)?;
    let found = self::found(&tx, path)?;
    let added = asked.missing(found, &name(path))?;
    for statements in sections::to_run(MIGRATIONS, found, added) {
        tx.execute_batch(&statements).map_err(unreachable)?;
    }
    let Installation { id, secret } = Installation::draw();
    tx.execute(
        "INSERT OR IGNORE INTO installation (one, id, secret) VALUES (1, ?, ?)",
        (id, secret),
    )
    .map_err(unreachable)?;
    tx.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(unreachable)?;
    tx.commit().map_err(unreachable)?;
    Ok(report(found, added))
}

fn report(found: Found, added: Contexts) -> MigrationReport {
    let contexts = found.contexts.and(added);
    MigrationReport { from: found.version, to: SCHEMA_VERSION, added, contexts }
}

/// Refuses a schema that isn't exactly the one that this program needs, and tells which contexts are
/// there.
pub(super) fn check(conn: &Connection, path: &Path, asked: Asked) -> Result<Contexts, OpenError> {
    let found = found(conn, path)?;
    if found.version < SCHEMA_VERSION {
        let (database, found) = (name(path), found.version);
        return Err(OpenError::SchemaTooOld { database, found, known: SCHEMA_VERSION });
    }
    asked.missing(found, &name(path))?;
    Ok(found.contexts)
}

/// What a file is, unless a newer program has migrated it.
fn found(conn: &Connection, path: &Path) -> Result<Found, OpenError> {
    let unreachable = |reason: String| OpenError::Unreachable { database: name(path), reason };
    let version = version(conn).map_err(|error| unreachable(error.to_string()))?;
    refuse_newer(version, path)?;
    let names = names_of_contexts(conn).map_err(|error| unreachable(error.to_string()))?;
    Found::of(version, names).map_err(|error| unreachable(error.to_string()))
}

/// `None` without the table.
fn names_of_contexts(conn: &Connection) -> rusqlite::Result<Option<Vec<String>>> {
    let table = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name = 'contexts'";
    if conn.query_row(table, [], |_| Ok(())).optional()?.is_none() {
        return Ok(None);
    }
    conn.prepare("SELECT name FROM contexts")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()
        .map(Some)
}

fn version(conn: &Connection) -> rusqlite::Result<u32> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn refuse_newer(found: u32, path: &Path) -> Result<(), OpenError> {
    if found > SCHEMA_VERSION {
        return Err(OpenError::SchemaTooNew { database: name(path), found, known: SCHEMA_VERSION });
    }
    Ok(())
}
