//! The contract that every store keeps, on each of them.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::sync::Arc;

use async_trait::async_trait;
use eventbooker_core::Contexts;
use eventbooker_store::postgres::{Clock, PostgresStore, PostgresUrl};
use eventbooker_store::sqlite::SqliteStore;
use eventbooker_store::{Access, OpenError, Store};
use eventbooker_testkit::contract::Database;
use eventbooker_testkit::postgres::{Schema, pairs};
use rusqlite::Connection;
use tempfile::TempDir;

struct Sqlite(TempDir);

/// Tables with their columns, and indexes, as they were made.
const SQLITE_CATALOG: &str = "
    SELECT t.name, format('column %s %s %d %s %d', c.name, c.type, c.\"notnull\", c.dflt_value, c.pk)
    FROM sqlite_schema t, pragma_table_xinfo(t.name) c WHERE t.type = 'table'
    UNION ALL
    SELECT tbl_name, coalesce(sql, name) FROM sqlite_schema WHERE type <> 'table'";
const POSTGRES_CATALOG: &str = "
    SELECT table_name, concat_ws(' ', 'column', column_name, data_type, is_nullable, column_default)
    FROM information_schema.columns WHERE table_schema = current_schema()
    UNION ALL
    SELECT tablename, replace(indexdef, current_schema(), '') FROM pg_indexes
    WHERE schemaname = current_schema()
    UNION ALL
    SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = current_schema()::regnamespace";

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

    async fn open_for(&self, contexts: Contexts) -> Result<Arc<dyn Store>, OpenError> {
        let file = self.0.path().join("contract.db");
        Ok(Arc::new(SqliteStore::open_for(&file, Access::Tool, contexts)?))
    }

    async fn add(&self, contexts: Contexts) {
        let file = self.0.path().join("contract.db");
        SqliteStore::migrate_for(&file, contexts).expect("they are added");
    }

    async fn catalog(&self) -> Vec<(String, String)> {
        let conn = Connection::open(self.0.path().join("contract.db")).expect("it opens");
        let mut statement = conn.prepare(SQLITE_CATALOG).expect("it is right");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.and_then(Iterator::collect).expect("it reads")
    }

    fn another(&self) -> Box<dyn Database> {
        Box::new(Self::new())
    }
}

struct Postgres(Schema);

impl Postgres {
    fn url(&self) -> PostgresUrl {
        PostgresUrl::parse(self.0.url(), None).expect("the URL is right")
    }
}

#[async_trait]
impl Database for Postgres {
    async fn open(&self) -> Arc<dyn Store> {
        let store = self.0.open(Access::Tool, Clock::Given).await;
        Arc::new(store.unwrap_or_else(|error| panic!("{error}")))
    }

    async fn open_for(&self, contexts: Contexts) -> Result<Arc<dyn Store>, OpenError> {
        let (url, access) = (self.url(), Access::Tool);
        Ok(Arc::new(PostgresStore::open_for(url, access, contexts, Clock::Given, 1).await?))
    }

    async fn add(&self, contexts: Contexts) {
        PostgresStore::migrate_for(&self.url(), contexts).await.expect("they are added");
    }

    async fn catalog(&self) -> Vec<(String, String)> {
        pairs(self.0.url(), POSTGRES_CATALOG)
    }

    fn another(&self) -> Box<dyn Database> {
        Box::new(Self(Schema::new()))
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

    async fn open_for(&self, contexts: Contexts) -> Result<Arc<dyn Store>, OpenError> {
        self.0.open_for(contexts).await
    }

    async fn add(&self, contexts: Contexts) {
        self.0.add(contexts).await;
    }

    async fn catalog(&self) -> Vec<(String, String)> {
        self.0.catalog().await
    }

    fn another(&self) -> Box<dyn Database> {
        Box::new(Self::new())
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
