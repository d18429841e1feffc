//! Migrations: forward only, each in a transaction, counted in `PRAGMA user_version`.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::name;
use crate::{MigrationReport, OpenError};

/// Each raises the version by one. A migration that has been released is never edited.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/sqlite/0001_initial.sql"),
    include_str!("../../migrations/sqlite/0002_accounts.sql"),
    include_str!("../../migrations/sqlite/0003_cancellations.sql"),
    include_str!("../../migrations/sqlite/0004_checks.sql"),
    include_str!("../../migrations/sqlite/0005_search.sql"),
    include_str!("../../migrations/sqlite/0006_answers_of_sagas.sql"),
];

/// The schema version that this program needs.
#[allow(clippy::cast_possible_truncation, reason = "a handful of migrations")]
pub const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

pub(super) fn migrate(conn: &mut Connection, path: &Path) -> Result<MigrationReport, OpenError> {
    let unreachable = |error: rusqlite::Error| OpenError::Unreachable {
        database: name(path),
        reason: error.to_string(),
    };
    // Nothing is locked for a schema that is current: a tool must not wait for a busy server.
    if version(conn).map_err(unreachable)? == SCHEMA_VERSION {
        return Ok(MigrationReport { from: SCHEMA_VERSION, to: SCHEMA_VERSION });
    }
    // The lock comes before the look: two programs that start at once must not both migrate.
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(unreachable)?;
    let from = version(&tx).map_err(unreachable)?;
    refuse_newer(from, path)?;
    for migration in &MIGRATIONS[from as usize..] {
        tx.execute_batch(migration).map_err(unreachable)?;
    }
    if from < SCHEMA_VERSION {
        tx.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(unreachable)?;
        tx.commit().map_err(unreachable)?;
    }
    Ok(MigrationReport { from, to: SCHEMA_VERSION })
}

/// Refuses a schema that isn't exactly the one that this program needs.
pub(super) fn check(conn: &Connection, path: &Path) -> Result<(), OpenError> {
    let found = version(conn).map_err(|error| OpenError::Unreachable {
        database: name(path),
        reason: error.to_string(),
    })?;
    refuse_newer(found, path)?;
    if found < SCHEMA_VERSION {
        return Err(OpenError::SchemaTooOld { database: name(path), found, known: SCHEMA_VERSION });
    }
    Ok(())
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
