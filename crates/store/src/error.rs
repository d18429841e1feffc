//! What can go wrong between a lane and its database.

use eventbooker_core::Contexts;
use thiserror::Error;

/// Why a store could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// A row that must be new exists already: somebody else wrote it since it was looked for.
    #[error("another writer was first: {0}")]
    Conflict(String),
    /// Another transaction was in the way. The same batch may well succeed at once.
    #[error("another transaction was in the way: {0}")]
    Contention(String),
    /// The disk is full, or takes no more for another reason.
    #[error("the disk is full: {0}")]
    Full(String),
    /// The database can't be reached or can't work.
    #[error("the database is away: {0}")]
    Away(String),
    /// The connection broke during a commit. The changes may or may not have happened.
    #[error("the outcome of a commit is unknown: {0}")]
    OutcomeUnknown(String),
    /// Too many queries wait already.
    #[error("too many queries are waiting")]
    Overloaded,
    /// The store and the program disagree about what can be asked. This is a bug.
    #[error("the store refused a request: {0}")]
    Refused(String),
}

/// Why a database could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// It can't be reached, read or written.
    #[error("can't open {database}: {reason}")]
    Unreachable {
        /// Which one.
        database: String,
        /// What the database or the system said.
        reason: String,
    },
    /// A newer program has migrated it.
    #[error(
        "{database} has schema version {found}, but this program knows only {known}; run the newer program that migrated it"
    )]
    SchemaTooNew {
        /// Which one.
        database: String,
        /// Its schema's version.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
    },
    /// It lacks tables that this program needs.
    #[error(
        "{database} has schema version {found}, but {known} is needed; run `eventbooker migrate`"
    )]
    SchemaTooOld {
        /// Which one.
        database: String,
        /// Its schema's version.
        found: u32,
        /// The version that this program needs.
        known: u32,
    },
    /// It lacks contexts that it is opened for.
    #[error(
        "{database} holds {has} and not {}; name the database that does, or make their tables there with `eventbooker migrate --services {wants}`",
        .wants.without(*.has)
    )]
    OtherContexts {
        /// Which one.
        database: String,
        /// The contexts that it holds.
        has: Contexts,
        /// Those that were asked for.
        wants: Contexts,
    },
    /// Some of its tables have the names of ours, and aren't.
    #[error(
        "{database} has tables of another program: {reason}; use a database or a schema of its own"
    )]
    TablesOfOthers {
        /// Which one.
        database: String,
        /// What is in the way.
        reason: String,
    },
    /// Not all rows have been copied into it.
    #[error(
        "{database} holds an unfinished copy of {source_name}; start the same `eventbooker copy` again"
    )]
    CopyUnfinished {
        /// Which one.
        database: String,
        /// Where the rows come from.
        source_name: String,
    },
    /// Somebody began to copy something else into it.
    #[error(
        "{database} holds an unfinished copy of {source_name}; finish that one, or drop its tables before you copy another database there"
    )]
    CopyOfAnother {
        /// Which one.
        database: String,
        /// Where the rows come from.
        source_name: String,
    },
    /// A copy goes into a database without rows of what is copied.
    #[error(
        "{database} isn't empty, there are rows in {table}; copy into a database or a schema without any"
    )]
    NotEmpty {
        /// Which one.
        database: String,
        /// Where there are rows.
        table: &'static str,
    },
    /// Somebody else is at work on it.
    #[error(
        "{database} is in use: another copy goes there, or a server runs on it; try again when that has ended"
    )]
    Busy {
        /// Which one.
        database: String,
    },
    /// Another server has it open.
    #[error("{database} is in use by another server; an embedded database serves one at a time")]
    InUse {
        /// Which one.
        database: String,
    },
}
