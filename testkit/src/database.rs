//! A look at a service's database, past the service.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, Params};

use crate::clock::PATIENCE;

/// A SQLite file that a service has, or had, open.
pub struct Database {
    path: PathBuf,
}

impl Database {
    /// The database in this file.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    /// The number that a query says.
    pub fn number(&self, query: &str, params: impl Params) -> i64 {
        self.open().query_row(query, params, |row| row.get(0)).expect("the query says a number")
    }

    /// The numbers in the first column of what a query says.
    pub fn numbers(&self, query: &str, params: impl Params) -> Vec<i64> {
        let conn = self.open();
        let mut statement = conn.prepare(query).expect("the query is right");
        let rows = statement.query_map(params, |row| row.get(0)).expect("the query is right");
        rows.collect::<Result<_, _>>().expect("the column holds numbers")
    }

    /// Changes rows behind the service's back. Returns how many.
    pub fn change(&self, statement: &str, params: impl Params) -> usize {
        self.open().execute(statement, params).expect("the statement is right")
    }

    fn open(&self) -> Connection {
        let conn = Connection::open(&self.path).expect("the file opens");
        // A service at work may hold the write lock for a moment.
        conn.busy_timeout(Duration::from_secs(PATIENCE.as_secs())).expect("a bounded wait");
        conn
    }
}
