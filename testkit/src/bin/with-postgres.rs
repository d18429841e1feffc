//! Runs a command beside a PostgreSQL server that is there for this alone, and ends as it does.
//!
//! `with-postgres COMMAND [ARGUMENT…]`. If `EVENTBOOKER_TEST_POSTGRES_URL` names a server already,
//! that one is used.

use std::process::{Command, ExitCode};

use eventbooker_testkit::postgres::{SHARED, Server};

/// Tests want to know what is written, not that it outlives a power cut.
const SETTINGS: [&str; 4] =
    ["fsync = off", "full_page_writes = off", "max_connections = 400", "shared_buffers = 256MB"];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: with-postgres COMMAND [ARGUMENT…]");
        return ExitCode::from(2);
    };
    let server = std::env::var_os(SHARED).is_none().then(|| Server::start(&SETTINGS));
    let mut command = Command::new(&program);
    command.args(arguments);
    if let Some(server) = &server {
        command.env(SHARED, server.url());
    }
    match command.status() {
        Ok(status) => status.code().map_or(ExitCode::FAILURE, |code| {
            u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
        }),
        Err(error) => {
            eprintln!("can't run {}: {error}", program.display());
            ExitCode::FAILURE
        }
    }
}
