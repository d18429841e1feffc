//! The target of a copy: a file that takes the rows of another database, of all contexts or of some, of
//! which it has none.
//!
//! As on a server, a mark stands before the first row and goes behind the last; who opens a file that
//! has it is told so, and whoever copies begins by emptying it. The lock of a server keeps others from it
//! meanwhile.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use eventbooker_core::{Context, Contexts};
use rusqlite::{Connection, OptionalExtension as _};

use super::checkpoint::Checkpointer;
use super::readers::Readers;
use super::{
    READER_CACHE_KIB, SqliteStore, WRITER_CACHE_KIB, connect, create_private, journal,
    lock_for_serving, name, sagas, schema, writer,
};
use crate::sections::{self, Asked};
use crate::{CopyTarget, LastIds, OpenError, Store, StoreError};

/// A file that a copy goes into.
pub struct SqliteCopyTarget {
    path: PathBuf,
    /// What is copied.
    contexts: Contexts,
    /// What is there beside that.
    others: Contexts,
    /// Says where the rows come from.
    source: String,
    conn: Mutex<Connection>,
    _lock: File,
}

impl SqliteCopyTarget {
    /// Opens a file, and makes the tables of these contexts if need be. Refuses a file with rows of
    /// theirs in it, unless they are those of an unfinished copy of the same source.
    pub fn open(path: &Path, source: &str, contexts: Contexts) -> Result<Self, OpenError> {
        let lock = lock_for_serving(path)?;
        create_private(path).map_err(|error| unreachable(path, &error))?;
        let mut conn =
            connect(path, WRITER_CACHE_KIB).map_err(|error| unreachable(path, &error))?;
        let migrated = schema::migrate(&mut conn, path, Asked::Adding(contexts))?;
        let others = migrated.contexts.without(contexts);
        let target = Self {
            path: path.to_owned(),
            contexts,
            others,
            source: source.to_owned(),
            conn: Mutex::new(conn),
            _lock: lock,
        };
        target.refuse_rows_of_others()?;
        Ok(target)
    }

    fn conn(&self) -> MutexGuard<'_, Connection> {
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tables that are empty before a copy. Answers are those of all contexts.
    fn tables(&self) -> Vec<&'static str> {
        let mut tables = sections::tables_of(self.contexts);
        tables.extend(self.others.is_empty().then_some("answers"));
        tables
    }

    fn refuse_rows_of_others(&self) -> Result<(), OpenError> {
        let conn = self.conn();
        let failed = |error: rusqlite::Error| unreachable(&self.path, &error);
        if let Some(source) = source_of(&conn).map_err(failed)? {
            if source != self.source {
                let database = name(&self.path);
                return Err(OpenError::CopyOfAnother { database, source_name: source });
            }
            return Ok(());
        }
        let not_empty = |table| Err(OpenError::NotEmpty { database: name(&self.path), table });
        for table in self.tables() {
            let any = format!("SELECT 1 FROM {table} LIMIT 1");
            if conn.query_row(&any, [], |_| Ok(())).optional().map_err(failed)?.is_some() {
                return not_empty(table);
            }
        }
        let memories = sagas::count_memories(&conn, self.contexts).map_err(failed)?;
        if memories > 0 { not_empty("memories") } else { Ok(()) }
    }

    fn mark(&self, last_ids: LastIds) -> rusqlite::Result<()> {
        let mut conn = self.conn();
        let tx = conn.transaction()?;
        tx.execute(
            "INSERT INTO unfinished_copy (id, source) VALUES (1, ?) ON CONFLICT (id) DO NOTHING",
            [&self.source],
        )?;
        for table in self.tables() {
            tx.execute(&format!("DELETE FROM {table}"), [])?;
        }
        sagas::remove_memories(&tx, self.contexts)?;
        writer::save_last_ids(&tx, last_ids)?;
        tx.commit()
    }
}

#[async_trait]
impl CopyTarget for SqliteCopyTarget {
    async fn begin(&self, last_ids: LastIds) -> Result<Arc<dyn Store>, OpenError> {
        let failed = |error: rusqlite::Error| unreachable(&self.path, &error);
        // It may have changed since it was opened.
        self.refuse_rows_of_others()?;
        self.mark(last_ids).map_err(failed)?;
        let readers = Readers::start(&|| connect(&self.path, READER_CACHE_KIB)).map_err(failed)?;
        let checkpointer =
            Checkpointer::start(connect(&self.path, READER_CACHE_KIB).map_err(failed)?);
        Ok(Arc::new(SqliteStore {
            path: self.path.clone(),
            contexts: self.contexts,
            readers,
            checkpointer: Some(checkpointer),
            _lock: None,
        }))
    }

    fn holds_others(&self) -> bool {
        !self.others.is_empty()
    }

    /// Slots come before the journal that they began with.
    async fn complete(&self) -> Result<(), StoreError> {
        let here = self.contexts.and(self.others);
        if self.contexts.has(Context::Events) {
            journal::link_slots(&self.conn())?;
        }
        // Whichever of them came last.
        if here.has(Context::Events) && here.has(Context::Bookings) {
            journal::note_order(&self.conn())?;
        }
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), StoreError> {
        self.conn().execute("DELETE FROM unfinished_copy", [])?;
        Ok(())
    }
}

/// Refuses a file whose rows aren't complete.
pub(super) fn refuse_unfinished(conn: &Connection, path: &Path) -> Result<(), OpenError> {
    match source_of(conn).map_err(|error| unreachable(path, &error))? {
        None => Ok(()),
        Some(source_name) => Err(OpenError::CopyUnfinished { database: name(path), source_name }),
    }
}

fn source_of(conn: &Connection) -> rusqlite::Result<Option<String>> {
    conn.query_row("SELECT source FROM unfinished_copy", [], |row| row.get(0)).optional()
}

fn unreachable(path: &Path, error: &dyn std::error::Error) -> OpenError {
    OpenError::Unreachable { database: name(path), reason: error.to_string() }
}
