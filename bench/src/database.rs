//! Where measurements keep their databases: in files of the embedded store, or on a PostgreSQL server
//! that gets a fresh database for each of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use clap::ValueEnum;
use eventbooker_store::postgres::{Clock, PostgresStore, PostgresUrl};
use eventbooker_store::sqlite::SqliteStore;
use eventbooker_store::{Access, Store};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use crate::Fallible;

/// Connections for queries while a database is filled or looked at.
const READERS: usize = 2;

/// The stores that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreKind {
    /// The embedded one.
    Sqlite,
    /// A server.
    Postgres,
}

/// Where databases are.
pub(crate) enum Place {
    Files,
    Server(Arc<PostgresServer>),
}

impl Place {
    pub(crate) fn store(&self) -> StoreKind {
        match self {
            Self::Files => StoreKind::Sqlite,
            Self::Server(_) => StoreKind::Postgres,
        }
    }

    /// A fresh database. What belongs to it and isn't in it lies in `dir`.
    pub(crate) fn database(&self, dir: &Path) -> Fallible<Database> {
        match self {
            Self::Files => Ok(Database::file(dir.join("bench.db"))),
            Self::Server(server) => server.database(),
        }
    }
}

/// A PostgreSQL server on which databases can be created.
pub(crate) struct PostgresServer {
    url: String,
    runtime: Arc<Runtime>,
    databases: AtomicU32,
}

impl PostgresServer {
    /// Refuses a server whose commits aren't durable.
    pub(crate) fn find(url: &str, runtime: Arc<Runtime>) -> Fallible<Self> {
        let server = Self { url: url.to_owned(), runtime, databases: AtomicU32::new(0) };
        for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
            let is = server.show(setting)?;
            if is != "on" {
                return Err(format!(
                    "the server's {setting} is {is}; what isn't durable is no measure"
                ));
            }
        }
        Ok(server)
    }

    /// What it calls itself.
    pub(crate) fn version(&self) -> Fallible<String> {
        Ok(format!("PostgreSQL {}", self.show("server_version")?))
    }

    /// Where its files are.
    pub(crate) fn data_directory(&self) -> Fallible<PathBuf> {
        self.show("data_directory").map(PathBuf::from)
    }

    fn show(&self, setting: &str) -> Fallible<String> {
        self.asked(async |client| {
            let row = client.query_one(&format!("SHOW {setting}"), &[]).await?;
            row.try_get(0)
        })
    }

    /// A fresh database, gone when the value is.
    pub(crate) fn database(self: &Arc<Self>) -> Fallible<Database> {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("eventbooker_bench_{}_{number}", std::process::id());
        self.execute(&format!("CREATE DATABASE {name}"))?;
        let url = with_database(&self.url, &name)?;
        Ok(Database { url, at: At::Server { server: Arc::clone(self), name } })
    }

    fn execute(&self, statement: &str) -> Fallible<()> {
        self.asked(async |client| client.batch_execute(statement).await)
    }

    fn asked<T>(
        &self,
        ask: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Fallible<T> {
        asked(&self.runtime, &self.url, ask)
    }
}

/// The same server's URL with another database.
fn with_database(url: &str, name: &str) -> Fallible<String> {
    let (base, query) =
        url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)));
    let (server, _) = base
        .rsplit_once('/')
        .filter(|(server, _)| !server.ends_with('/'))
        .ok_or("--postgres: must be like postgres://user@host/database")?;
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    Ok(format!("{server}/{name}{query}"))
}

fn asked<T>(
    runtime: &Runtime,
    url: &str,
    ask: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
) -> Fallible<T> {
    let asked = runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let driver = tokio::spawn(connection);
        let answer = ask(&client).await;
        driver.abort();
        answer
    });
    asked.map_err(|error| {
        let said = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
        format!("the server can't be used: {said}")
    })
}

/// A database to measure on.
pub(crate) struct Database {
    url: String,
    at: At,
}

enum At {
    File(PathBuf),
    Server { server: Arc<PostgresServer>, name: String },
}

impl Database {
    /// A file of the embedded store.
    pub(crate) fn file(file: PathBuf) -> Self {
        Self { url: format!("sqlite:{}", file.display()), at: At::File(file) }
    }

    /// As the program takes it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Opens it as a store that goes by the clock that it is given.
    pub(crate) async fn open(&self, access: Access) -> Fallible<Arc<dyn Store>> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        Ok(match &self.at {
            At::File(file) => Arc::new(SqliteStore::open(file, access).map_err(|e| words(&e))?),
            At::Server { .. } => {
                let url = PostgresUrl::parse(&self.url, None)?;
                let opened = PostgresStore::open(url, access, Clock::Given, READERS).await;
                Arc::new(opened.map_err(|e| words(&e))?)
            }
        })
    }

    /// Runs statements in it. Only a server's database is changed behind a service's back.
    pub(crate) fn execute(&self, statements: &str) -> Fallible<()> {
        match &self.at {
            At::File(_) => Err("a file is only opened as a store".to_owned()),
            At::Server { server, .. } => asked(&server.runtime, &self.url, async |client| {
                client.batch_execute(statements).await
            }),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let At::Server { server, name } = &self.at
            && let Err(reason) = server.execute(&format!("DROP DATABASE {name} WITH (FORCE)"))
        {
            eprintln!("the database {name} stays: {reason}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_another_on_the_same_server() {
        let with = |url| with_database(url, "other");
        assert_eq!(with("postgres://me@here:1/one").as_deref(), Ok("postgres://me@here:1/other"));
        assert_eq!(
            with("postgres://me@here/one?sslmode=disable").as_deref(),
            Ok("postgres://me@here/other?sslmode=disable")
        );
        assert!(with("postgres://here").is_err());
    }
}
