//! What a server's errors mean to a lane.

use std::error::Error as _;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::StoreError;

/// What happened, in one line.
pub(super) fn explain(error: &Error) -> String {
    if let Some(said) = error.as_db_error() {
        return said.message().to_owned();
    }
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        words = format!("{words}: {next}");
        cause = next.source();
    }
    words.replace('\n', " ")
}

/// Whether the connection is gone, so that what was asked may have happened or not.
pub(super) fn is_lost(error: &Error) -> bool {
    match error.as_db_error() {
        Some(said) => {
            matches!(said.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
        }
        None => !is_ours(error),
    }
}

/// Whether it is about what can't be read or written as the type that it should have.
fn is_ours(error: &Error) -> bool {
    !error.is_closed() && error.source().is_some_and(|cause| !cause.is::<std::io::Error>())
}

/// Whether this answer to a commit says that nothing was changed. Others may be about what came after,
/// or somebody between us and the server says that it doesn't know.
pub(super) fn refuses_commit(error: &Error) -> bool {
    let refuses = |code: &SqlState| {
        [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code)
            || ["23", "53"].iter().any(|class| code.code().starts_with(class))
    };
    !is_lost(error) && error.code().is_some_and(refuses)
}

/// Whether a connection is of no use any more: it is gone, or what was prepared on it means something
/// else since a newer program has changed the tables, or was forgotten.
pub(super) fn ends_session(error: &Error) -> bool {
    let is_outdated = |code: &SqlState| {
        [SqlState::FEATURE_NOT_SUPPORTED, SqlState::INVALID_SQL_STATEMENT_NAME].contains(code)
    };
    is_lost(error) || error.code().is_some_and(is_outdated)
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let text = explain(&error);
        let Some(said) = error.as_db_error() else {
            return if is_ours(&error) { Self::Refused(text) } else { Self::Away(text) };
        };
        from_server(said, text)
    }
}

fn from_server(said: &DbError, text: String) -> StoreError {
    let code = said.code();
    if *code == SqlState::UNIQUE_VIOLATION
        || *code == SqlState::CHECK_VIOLATION
        // How a guarded statement says that it didn't find what it expected.
        || *code == SqlState::DIVISION_BY_ZERO
    {
        return StoreError::Conflict(text);
    }
    if *code == SqlState::DISK_FULL {
        return StoreError::Full(text);
    }
    match &code.code()[..2] {
        // Serialisation failures and deadlocks; locks that were not to be had in time; and what was
        // prepared before a newer program changed it, or forgotten.
        "40" | "55" | "0A" | "26" => StoreError::Contention(text),
        // No connection, not let in, no such database or schema, tables that are gone or others, rights
        // that were taken away, no resources, an operator at work, a system error; and a standby,
        // which takes no writes.
        "08" | "28" | "3D" | "3F" | "42" | "53" | "57" | "58" | "25" | "XX" => {
            StoreError::Away(text)
        }
        _ => StoreError::Refused(text),
    }
}
