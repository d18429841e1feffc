//! The embedded store: one SQLite file in WAL mode.
//!
//! SQLite has one writer at a time, so there is one writing connection for each lane (by default
//! one lane) and its transactions begin with the write lock. Queries run on a few reading
//! connections, each on a thread of its own. Moving pages from the log into the file is done
//! beside the writer; see [`checkpoint`].
//!
//! Every commit is synced to disk before it counts (`synchronous=FULL`).

mod accounts;
mod answers;
mod bookings;
mod chain;
mod checkpoint;
mod checks;
mod copy;
mod events;
mod identity;
mod journal;
mod neighbours;
mod readers;
mod sagas;
mod schema;
mod snapshot;
mod writer;

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eventbooker_core::Contexts;
use rusqlite::config::DbConfig;
use rusqlite::types::Type;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row};

use self::checkpoint::Checkpointer;
use self::readers::Readers;
use self::snapshot::SqliteSnapshot;
use self::writer::SqliteWriter;
use crate::sections::Asked;
use crate::{Access, FullSnapshot, MigrationReport, OpenError, Store, StoreError, Writer};

pub use self::copy::SqliteCopyTarget;
pub use self::schema::SCHEMA_VERSION;

/// How long a transaction waits for one of another process, such as `eventbooker user add`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// Statements that each connection keeps prepared.
const STATEMENTS_KEPT: usize = 64;
/// Page cache of the writing connection, in KiB. Its working set is the edges of a few trees:
/// with 48 MiB, bookings and sagas on a hot event came no faster (0.48 and 0.37 times echo, both).
const WRITER_CACHE_KIB: i64 = 16 * 1024;
/// Page cache of each reading connection, in KiB.
const READER_CACHE_KIB: i64 = 4 * 1024;
/// A page is small, because a batch over many events dirties one page of each tree for every
/// event, and each dirty page is written whole; see `docs/decisions/0003-sqlite-layout.md`.
const PAGE_BYTES: i64 = 2048;

/// An open SQLite file.
pub struct SqliteStore {
    path: PathBuf,
    contexts: Contexts,
    readers: Readers,
    /// Only a server has one; what a tool leaves in the log is copied when the last of all
    /// connections closes.
    checkpointer: Option<Arc<Checkpointer>>,
    /// Held for as long as this store is open, so that a second server notices.
    _lock: Option<File>,
}

impl SqliteStore {
    /// Opens a file for what it holds; an empty one gets all contexts.
    pub fn open(path: &Path, access: Access) -> Result<Self, OpenError> {
        Self::open_as(path, access, Asked::AsItIs, Readers::start)
    }

    /// Opens a file for these contexts, whatever else it holds; an empty one gets them and no others.
    pub fn open_for(path: &Path, access: Access, contexts: Contexts) -> Result<Self, OpenError> {
        Self::open_as(path, access, Asked::These(contexts), Readers::start)
    }

    /// The same as a tool does it, and without a thread of its own: queries are answered in that of
    /// whoever asks. For simulations, in which nothing may happen beside their own thread.
    pub fn open_in_place(path: &Path, contexts: Contexts) -> Result<Self, OpenError> {
        Self::open_as(path, Access::Tool, Asked::These(contexts), Readers::in_place)
    }

    fn open_as(
        path: &Path,
        access: Access,
        asked: Asked,
        readers: fn(&dyn Fn() -> rusqlite::Result<Connection>) -> rusqlite::Result<Readers>,
    ) -> Result<Self, OpenError> {
        let unreachable = |reason: String| OpenError::Unreachable { database: name(path), reason };
        let lock = match access {
            Access::Serve => Some(lock_for_serving(path)?),
            Access::Tool | Access::Look => None,
        };
        let (conn, held) = match access {
            Access::Serve | Access::Tool => {
                create_private(path).map_err(|error| unreachable(error.to_string()))?;
                let mut conn = connect(path, WRITER_CACHE_KIB)
                    .map_err(|error| unreachable(error.to_string()))?;
                let held = schema::migrate(&mut conn, path, asked)?.contexts;
                (conn, held)
            }
            Access::Look => {
                let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
                    .map_err(|error| unreachable(error.to_string()))?;
                let held = schema::check(&conn, path, asked)?;
                (conn, held)
            }
        };
        copy::refuse_unfinished(&conn, path)?;
        drop(conn);
        let contexts = asked.opened(held);
        let start = || -> rusqlite::Result<(Readers, Option<Arc<Checkpointer>>)> {
            let readers = readers(&|| connect(path, READER_CACHE_KIB))?;
            let checkpointer = match access {
                Access::Serve => Some(Checkpointer::start(connect(path, READER_CACHE_KIB)?)),
                Access::Tool | Access::Look => None,
            };
            Ok((readers, checkpointer))
        };
        let (readers, checkpointer) = start().map_err(|error| unreachable(error.to_string()))?;
        Ok(Self { path: path.to_owned(), contexts, readers, checkpointer, _lock: lock })
    }

    /// Brings a file's schema up to date, reporting what was done.
    pub fn migrate(path: &Path) -> Result<MigrationReport, OpenError> {
        Self::migrate_as(path, Asked::AsItIs)
    }

    /// The same, and adds the contexts among these that it doesn't hold.
    pub fn migrate_for(path: &Path, contexts: Contexts) -> Result<MigrationReport, OpenError> {
        Self::migrate_as(path, Asked::Adding(contexts))
    }

    fn migrate_as(path: &Path, asked: Asked) -> Result<MigrationReport, OpenError> {
        let unreachable =
            |error: String| OpenError::Unreachable { database: name(path), reason: error };
        create_private(path).map_err(|error| unreachable(error.to_string()))?;
        let mut conn =
            connect(path, WRITER_CACHE_KIB).map_err(|error| unreachable(error.to_string()))?;
        schema::migrate(&mut conn, path, asked)
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn contexts(&self) -> Contexts {
        self.contexts
    }

    async fn writer(&self) -> Result<Box<dyn Writer>, StoreError> {
        let conn = connect(&self.path, WRITER_CACHE_KIB)?;
        Ok(Box::new(SqliteWriter::new(conn, self.contexts, self.checkpointer.clone())))
    }

    async fn snapshot(&self) -> Result<Box<dyn FullSnapshot>, StoreError> {
        let conn = connect(&self.path, READER_CACHE_KIB)?;
        Ok(Box::new(SqliteSnapshot::begin(conn, self.contexts)?))
    }

    async fn hold_still(&self) -> Result<Box<dyn Send>, StoreError> {
        let conn = connect(&self.path, READER_CACHE_KIB)?;
        conn.execute_batch("BEGIN IMMEDIATE")?;
        Ok(Box::new(conn))
    }

    async fn close(&self) {
        if let Some(checkpointer) = &self.checkpointer {
            checkpointer.finish();
        }
    }
}

fn name(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

/// Only whoever runs the server may read the file: it holds people's names and password hashes.
/// A file that exists isn't opened, because closing it would drop the locks that this process's
/// other connections have on it.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.append(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        created => created.map(drop),
    }
}

fn lock_for_serving(path: &Path) -> Result<File, OpenError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
    let file = open.map_err(|error| OpenError::Unreachable {
        database: name(path),
        reason: format!("can't create {}: {error}", Path::new(&lock_path).display()),
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse { database: name(path) }),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(OpenError::Unreachable { database: name(path), reason: error.to_string() })
        }
    }
}

fn connect(path: &Path, cache_kib: i64) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // Plans must not depend on bound values. By default SQLite looks at them, and prepares a
    // statement anew whenever one is bound: for a row by its key, that is most of the work.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Takes effect on a file without tables; an existing one keeps its page size.
    conn.pragma_update(None, "page_size", PAGE_BYTES)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "cache_size", -cache_kib)?;
    Ok(conn)
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        let rusqlite::Error::SqliteFailure(failure, _) = &error else {
            return Self::Refused(text);
        };
        // Nothing was said about a commit whose sync failed: the pages may be on disk or not.
        if failure.extended_code == rusqlite::ffi::SQLITE_IOERR_FSYNC {
            return Self::OutcomeUnknown(text);
        }
        // SQLite knows a full disk by one error of the system only. A quota and a limit on the size
        // of files come as others, and mean the same: reading works, writing waits for room.
        if failure.extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE {
            return Self::Full(text);
        }
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "the rest of SQLite's codes mean a bug here"
        )]
        match failure.code {
            ErrorCode::ConstraintViolation => Self::Conflict(text),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Contention(text),
            ErrorCode::DiskFull => Self::Full(text),
            ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed => Self::Away(text),
            _ => Self::Refused(text),
        }
    }
}

/// What the code in a column stands for.
fn known<T>(
    row: &Row<'_>,
    column: usize,
    what: &str,
    read: impl FnOnce(i16) -> Option<T>,
) -> rusqlite::Result<T> {
    let code: i64 = row.get(column)?;
    i16::try_from(code).ok().and_then(read).ok_or_else(|| {
        let unknown = format!("unknown {what} {code}").into();
        rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, unknown)
    })
}
