//! The contract that every store keeps, on each of them.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::sync::Arc;

use async_trait::async_trait;
use eventbooker_store::postgres::Clock;
use eventbooker_store::sqlite::SqliteStore;
use eventbooker_store::{Access, Store};
use eventbooker_testkit::contract::Database;
use eventbooker_testkit::postgres::Schema;
use tempfile::TempDir;

struct Sqlite(TempDir);

impl Sqlite {
    fn new() -> Self {
        Self(TempDir::new().expect("there is a place for a test's files"))
    }
}

#[async_trait]
impl Database for Sqlite {
    async fn open(&self) -> Arc<dyn Store> {
        let file = self.0.path().join("contract.db");
        Arc::new(SqliteStore::open(&file, Access::Tool).expect("the file opens"))
    }
}

struct Postgres(Schema);

#[async_trait]
impl Database for Postgres {
    async fn open(&self) -> Arc<dyn Store> {
        let store = self.0.open(Access::Tool, Clock::Given).await;
        Arc::new(store.unwrap_or_else(|error| panic!("{error}")))
    }
}

/// A server that looks as if it spread tables over machines.
struct Spread(Postgres);

impl Spread {
    fn new() -> Self {
        let schema = Schema::new();
        schema.execute("CREATE TABLE pg_dist_partition ()");
        Self(Postgres(schema))
    }
}

#[async_trait]
impl Database for Spread {
    async fn open(&self) -> Arc<dyn Store> {
        self.0.open().await
    }
}

mod sqlite {
    use super::Sqlite;

    eventbooker_testkit::store_contract!(Sqlite::new());
}

mod postgres {
    use super::{Postgres, Schema};

    eventbooker_testkit::store_contract!(Postgres(Schema::new()));
}

mod spread {
    use super::Spread;

    eventbooker_testkit::store_contract!(Spread::new());
}
