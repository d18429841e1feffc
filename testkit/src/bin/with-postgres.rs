//! Runs a command beside a PostgreSQL server that is there for this alone, and ends as it does.
//!
//! `with-postgres [--durable] COMMAND [ARGUMENT…]`. The server doesn't sync, unless it is asked to be
//! durable: then it has its default settings. If `EVENTBOOKER_TEST_POSTGRES_URL` names a server already,
//! that one is used.

use std::process::{Command, ExitCode};

use eventbooker_testkit::postgres::{SHARED, Server};

/// Tests want to know what is written, not that it outlives a power cut.
const SETTINGS: [&str; 4] =
    ["fsync = off", "full_page_writes = off", "max_connections = 400", "shared_buffers = 256MB"];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let mut program = arguments.next();
    let is_durable = program.as_ref().is_some_and(|argument| argument == "--durable");
    if is_durable {
        program = arguments.next();
    }
    let Some(program) = program else {
        eprintln!("usage: with-postgres [--durable] COMMAND [ARGUMENT…]");
        return ExitCode::from(2);
    };
    let settings = if is_durable { &[] } else { SETTINGS.as_slice() };
    let server = std::env::var_os(SHARED).is_none().then(|| Server::start(settings));
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
