//! The contract that every store keeps, on SQLite.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::sync::Arc;

use eventbooker_store::Store;
use eventbooker_store::sqlite::{Access, SqliteStore};
use eventbooker_testkit::contract::Database;
use tempfile::TempDir;

struct Sqlite(TempDir);

impl Sqlite {
    fn new() -> Self {
        Self(TempDir::new().expect("there is a place for a test's files"))
    }
}

#[async_trait::async_trait]
impl Database for Sqlite {
    async fn open(&self) -> Arc<dyn Store> {
        let file = self.0.path().join("contract.db");
        Arc::new(SqliteStore::open(&file, Access::Tool).expect("the file opens"))
    }
}

eventbooker_testkit::store_contract!(Sqlite::new());
