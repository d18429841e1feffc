//! PostgreSQL for tests: servers of their own, and schemas of their own on a server that tests share.
//!
//! The shared server is the one that `EVENTBOOKER_TEST_POSTGRES_URL` names. `make test` starts one
//! and removes it; any server that speaks PostgreSQL will do. A test has a schema on it that nobody
//! else knows, and drops it when it is done.

mod server;

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use eventbooker_store::postgres::{Clock, PostgresStore, PostgresUrl};
use eventbooker_store::{Access, OpenError};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

pub use self::server::{Certificates, End, Server, program};

/// Names the server that tests share.
pub const SHARED: &str = "EVENTBOOKER_TEST_POSTGRES_URL";
/// A script of SQL that an operator runs after the tables have been made, such as one that spreads
/// them over machines.
pub const AFTER_MIGRATION: &str = "EVENTBOOKER_TEST_POSTGRES_SCRIPT";
/// Connections of a test's store for queries.
const READERS: usize = 2;

/// A schema of a test's own on the shared server.
pub struct Schema {
    url: String,
    name: String,
}

impl Schema {
    /// A schema without tables.
    pub fn new() -> Self {
        let server = std::env::var(SHARED).unwrap_or_else(|_| {
            panic!(
                "{SHARED} names no server: run `make test`, or \
                 `cargo run --package eventbooker-testkit --bin with-postgres -- cargo test …`"
            )
        });
        let name = new_name();
        let separator = if server.contains('?') { '&' } else { '?' };
        let url =
            format!("{server}{separator}options=-c%20search_path%3D{name}&application_name={name}");
        execute(&server, &format!("CREATE SCHEMA {name}"));
        Self { url, name }
    }

    /// A URL whose tables are those of the schema.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port of its server.
    pub fn port(&self) -> u16 {
        let config: Config = self.url.parse().expect("the URL is right");
        config.get_ports().first().copied().unwrap_or(5432)
    }

    /// The URL through another port of loopback, in the clear, so that what is said can be read there.
    pub fn url_through(&self, port: u16) -> String {
        let (_, path) = self.url.rsplit_once(&format!(":{}/", self.port())).expect("it has a port");
        format!("postgres://postgres@127.0.0.1:{port}/{path}&sslmode=disable")
    }

    /// Opens it as a store.
    pub async fn open(&self, access: Access, clock: Clock) -> Result<PostgresStore, OpenError> {
        let url = PostgresUrl::parse(&self.url, None).expect("the URL is right");
        if let Ok(script) = std::env::var(AFTER_MIGRATION)
            && access != Access::Look
            && PostgresStore::migrate(&url).await?.from == 0
        {
            self.execute(&fs::read_to_string(&script).expect(&script));
        }
        PostgresStore::open(url, access, clock, READERS).await
    }

    /// Runs statements in the schema. Returns how many rows the last one has changed.
    pub fn execute(&self, statements: &str) -> u64 {
        execute(&self.url, statements)
    }

    /// Where a copy is that has been damaged. It has the rows, and no keys that could prevent it.
    pub fn damaged(&self, damage: &str) -> PostgresUrl {
        let (name, copy) = (&self.name, self.copy_name());
        let copy_tables = format!(
            "DROP SCHEMA IF EXISTS {copy} CASCADE;
             CREATE SCHEMA {copy};
             DO $$ DECLARE name text; BEGIN
               FOR name IN SELECT table_name FROM information_schema.tables
                           WHERE table_schema = '{name}' LOOP
                 EXECUTE format('CREATE TABLE {copy}.%I AS SELECT * FROM {name}.%I', name, name);
               END LOOP;
             END $$;
             SET search_path = {copy};
             {damage}"
        );
        self.execute(&copy_tables);
        let url = self.url.replace(name, &copy);
        PostgresUrl::parse(&url, None).expect("the URL is right")
    }

    /// Whether a text is written in any row.
    pub fn holds(&self, text: &str) -> bool {
        let pattern = format!("%{}%", text.replace('\'', "''"));
        let count = format!(
            "CREATE TEMPORARY TABLE found (number bigint);
             DO $$ DECLARE name text; BEGIN
               FOR name IN SELECT table_name FROM information_schema.tables
                           WHERE table_schema = '{}' LOOP
                 EXECUTE format('INSERT INTO found SELECT count(*) FROM %I one
                                 WHERE one::text LIKE %L', name, '{pattern}');
               END LOOP;
             END $$;
             SELECT sum(number) FROM found",
            self.name
        );
        numbers(&self.url, &count) != [0]
    }

    fn copy_name(&self) -> String {
        format!("{}_damaged", self.name)
    }
}

impl Default for Schema {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        // A test's connections may be open for as long as its runtime has no time to close them.
        let (Self { url, name }, copy) = (&*self, self.copy_name());
        let drop = format!(
            "SET application_name = ''; SET lock_timeout = '5s';
             SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
             WHERE application_name LIKE '{name}%';
             DROP SCHEMA IF EXISTS {name}, {copy} CASCADE"
        );
        if let Err(error) = try_execute(url, &drop) {
            eprintln!("{name} stays: {error}");
        }
    }
}

/// Runs statements on a server. Returns how many rows the last one has changed.
pub fn execute(url: &str, statements: &str) -> u64 {
    try_execute(url, statements).unwrap_or_else(|error| panic!("{statements}: {error}"))
}

fn try_execute(url: &str, statements: &str) -> Result<u64, String> {
    let last = said(url, statements)?.into_iter().next_back();
    Ok(match last {
        Some(SimpleQueryMessage::CommandComplete(rows)) => rows,
        _ => 0,
    })
}

/// The numbers in the first column of what a query says.
pub fn numbers(url: &str, query: &str) -> Vec<i64> {
    let said = said(url, query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let number = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0)?.parse().expect("it is a number")),
        SimpleQueryMessage::CommandComplete(_) | SimpleQueryMessage::RowDescription(_) | _ => None,
    };
    said.into_iter().filter_map(number).collect()
}

/// The first two columns of what a query says.
pub fn pairs(url: &str, query: &str) -> Vec<(String, String)> {
    let said = said(url, query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let pair = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some((row.get(0)?.to_owned(), row.get(1)?.to_owned())),
        SimpleQueryMessage::CommandComplete(_) | SimpleQueryMessage::RowDescription(_) | _ => None,
    };
    said.into_iter().filter_map(pair).collect()
}

fn said(url: &str, statements: &str) -> Result<Vec<SimpleQueryMessage>, String> {
    let statements = statements.to_owned();
    on_a_connection(url, async move |client| {
        client.simple_query(&statements).await.map_err(|error| format!("{error:?}"))
    })
}

/// Does something on a connection of its own, on a thread of its own: a test may be at home in a
/// runtime, or in none.
fn on_a_connection<T: Send + 'static>(
    url: &str,
    act: impl AsyncFnOnce(&Client) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let mut config: Config = url.parse().expect("the URL is right");
    if config.get_hosts().len() > 1 {
        // The one that takes writes.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    let acting = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let connected = config.connect(NoTls).await;
            let (client, connection) = connected.map_err(|error| format!("{error:?}"))?;
            let driver = tokio::spawn(connection);
            let done = act(&client).await;
            drop(client);
            // The server has heard the farewell when this ends.
            let _ = driver.await;
            done
        })
    });
    acting.join().expect("it tells of its errors")
}

/// A name that no other test has had on a server, whichever process it runs in.
fn new_name() -> String {
    static NAMES: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is right");
    let number = NAMES.fetch_add(1, Ordering::Relaxed);
    format!("test_{}_{}_{number}", now.as_micros(), std::process::id())
}
