//! A test's database: on the store that is under test, and for looks past the service.
//!
//! `EVENTBOOKER_TEST_STORE` says which store that is, `sqlite` or `postgres`; without it, the embedded
//! one. The tests are the same.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use eventbooker_store::postgres::{Clock, PostgresStore};
use eventbooker_store::sqlite::SqliteStore;
use eventbooker_store::{Access, OpenError, Store};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::clock::PATIENCE;
use crate::postgres::{self, Schema};

/// Says which store is under test.
pub const STORE_UNDER_TEST: &str = "EVENTBOOKER_TEST_STORE";
/// The embedded store's file, in a directory of its own.
const FILE: &str = "eventbooker.db";
/// A damaged copy of it.
const DAMAGED: &str = "damaged.db";

/// Whether the embedded store is under test, where a service is made and thrown away in no time.
pub fn is_embedded() -> bool {
    std::env::var_os(STORE_UNDER_TEST).is_none_or(|store| store == "sqlite")
}

/// A database of a test's own, that goes with the test.
pub struct Database {
    place: Place,
    directory: TempDir,
}

enum Place {
    File(PathBuf),
    Schema(Schema),
    /// A whole database on a server of the test's own.
    Url(String),
}

impl Default for Database {
    fn default() -> Self {
        Self::new()
    }
}

impl Database {
    /// One without tables, on the store that is under test.
    pub fn new() -> Self {
        let store = std::env::var(STORE_UNDER_TEST).unwrap_or_else(|_| "sqlite".to_owned());
        match store.as_str() {
            "sqlite" => Self::embedded(),
            "postgres" => Self::postgres(),
            other => panic!("{STORE_UNDER_TEST} is {other}; it can be sqlite or postgres"),
        }
    }

    /// One on the embedded store, for what is written in its terms.
    pub fn embedded() -> Self {
        Self::at(|directory| Place::File(directory.join(FILE)))
    }

    /// One on PostgreSQL, for what only it can do.
    pub fn postgres() -> Self {
        Self::at(|_| Place::Schema(Schema::new()))
    }

    /// The one that is at this URL, on a server of the test's own.
    pub fn on_server(url: String) -> Self {
        Self::at(|_| Place::Url(url))
    }

    fn at(place: impl FnOnce(&Path) -> Place) -> Self {
        let directory = TempDir::new().expect("there is a place for a test's files");
        Self { place: place(directory.path()), directory }
    }

    /// A directory for whatever else the test needs.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its URL, as the program takes it.
    pub fn url(&self) -> String {
        match &self.place {
            Place::File(path) => format!("sqlite:{}", path.display()),
            Place::Schema(schema) => schema.url().to_owned(),
            Place::Url(url) => url.clone(),
        }
    }

    /// Whether it is the embedded store's.
    pub fn is_embedded(&self) -> bool {
        matches!(self.place, Place::File(_))
    }

    /// The embedded store's file.
    pub fn file(&self) -> &Path {
        match &self.place {
            Place::File(path) => path,
            Place::Schema(_) | Place::Url(_) => panic!("only the embedded store has a file"),
        }
    }

    /// The port of its server.
    pub fn port(&self) -> u16 {
        self.schema().port()
    }

    /// Its URL, for whoever goes to its server through another port of loopback, in the clear.
    pub fn url_through(&self, port: u16) -> String {
        self.schema().url_through(port)
    }

    fn schema(&self) -> &Schema {
        match &self.place {
            Place::File(_) | Place::Url(_) => panic!("it isn't on the server that tests share"),
            Place::Schema(schema) => schema,
        }
    }

    /// Opens it as a store that goes by the clock that it is given.
    pub async fn open(&self, access: Access) -> Result<Arc<dyn Store>, OpenError> {
        Ok(match &self.place {
            Place::File(path) => Arc::new(SqliteStore::open(path, access)?),
            Place::Schema(_) | Place::Url(_) => {
                Arc::new(self.schema().open(access, Clock::Given).await?)
            }
        })
    }

    /// The number that a query says.
    pub fn number(&self, query: &str) -> i64 {
        let numbers = self.numbers(query);
        assert_eq!(numbers.len(), 1, "{query}");
        numbers[0]
    }

    /// The numbers in the first column of what a query says.
    pub fn numbers(&self, query: &str) -> Vec<i64> {
        match &self.place {
            Place::File(path) => {
                let conn = connect(path);
                let mut statement = conn.prepare(query).expect("the query is right");
                let rows = statement.query_map([], |row| row.get(0)).expect("the query is right");
                rows.collect::<Result<_, _>>().expect("the column holds numbers")
            }
            Place::Schema(_) | Place::Url(_) => postgres::numbers(&self.url(), query),
        }
    }

    /// Changes rows behind the service's back. Returns how many the last statement has changed.
    pub fn change(&self, statements: &str) -> u64 {
        match &self.place {
            Place::File(path) => {
                let conn = connect(path);
                conn.execute_batch(statements).expect("the statements are right");
                conn.changes()
            }
            Place::Schema(_) | Place::Url(_) => postgres::execute(&self.url(), statements),
        }
    }

    /// Whether a text is written anywhere in it. Nobody may have it open.
    pub fn holds(&self, text: &str) -> bool {
        match &self.place {
            Place::File(path) => {
                let bytes = std::fs::read(path).expect("the file is there");
                bytes.windows(text.len()).any(|window| window == text.as_bytes())
            }
            Place::Schema(_) | Place::Url(_) => self.schema().holds(text),
        }
    }

    /// A copy that has been damaged, to be looked at. What keeps rows sound is missing from it, so
    /// that anything can be done to it; the next copy replaces it.
    pub async fn damaged(&self, damage: &str) -> Arc<dyn Store> {
        match &self.place {
            Place::File(path) => {
                let copy = self.directory().join(DAMAGED);
                // The log of the damaged copy before must not be taken for this one's.
                for suffix in ["", "-wal", "-shm"] {
                    let mut name = copy.clone().into_os_string();
                    name.push(suffix);
                    let _ = std::fs::remove_file(name);
                }
                let into = format!("VACUUM INTO '{}'", copy.display());
                connect(path).execute_batch(&into).expect("there is room for a copy");
                connect(&copy).execute_batch(damage).expect("the statements are right");
                Arc::new(SqliteStore::open(&copy, Access::Look).expect("the copy opens"))
            }
            Place::Schema(_) | Place::Url(_) => {
                let copy = self.schema().damaged(damage);
                let store = PostgresStore::open(copy, Access::Look, Clock::Given, 1).await;
                Arc::new(store.expect("the copy opens"))
            }
        }
    }
}

fn connect(path: &Path) -> Connection {
    let conn = Connection::open(path).expect("the file opens");
    // A service at work may hold the write lock for a moment.
    conn.busy_timeout(Duration::from_secs(PATIENCE.as_secs())).expect("a bounded wait");
    conn
}
