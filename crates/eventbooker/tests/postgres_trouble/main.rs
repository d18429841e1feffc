//! What stands between the service and its PostgreSQL server: at the start one line says what it is;
//! while the service runs its clients get a 503, until it is gone.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that can't go on has failed")]

mod running;
mod start;
mod tls;

use eventbooker_testkit::database::Database;
use eventbooker_testkit::postgres::Server as Postgres;
use eventbooker_testkit::server::Installation;

/// Processes are killed here, not machines: nothing that was written is lost.
const SETTINGS: [&str; 1] = ["fsync = off"];

fn installation(url: String) -> Installation {
    Installation::on(env!("CARGO_BIN_EXE_eventbooker"), Database::on_server(url))
}

/// The URL of a server's database, as this user.
fn url_as(postgres: &Postgres, user: &str) -> String {
    postgres.url().replace("postgres@", &format!("{user}@"))
}
