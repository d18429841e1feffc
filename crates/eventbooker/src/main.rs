//! The program: settings, commands, signals. Everything it does is done by the crates below it.

mod apart;
mod check;
mod copy;
mod database;
mod demo;
mod event;
mod log;
mod neighbour;
mod open;
mod open_files;
mod otlp;
mod progress;
mod ready;
mod saga;
mod say;
mod serve;
mod settings;
mod user;

use std::io::{Write as _, stderr};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::settings::{CheckFlags, ListenFlags, ServeFlags};

/// Most of what a request allocates is freed by another thread (the lane answers, the connection's
/// task frees), which the system's allocator is slow at; see `docs/decisions/0009-allocator.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Books seats of events against a payment deadline.
#[derive(Parser)]
#[command(name = "eventbooker", version, propagate_version = true, after_help = AFTER_HELP)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Each flag is also an environment variable (--listen: EVENTBOOKER_LISTEN) and a key of the \
TOML file given by --config (listen = \"…\"). A flag wins over a variable, and a variable over the file.";

#[derive(Subcommand)]
enum Command {
    /// Run the service.
    Serve(Box<ServeFlags>),
    /// Ask the service on this machine whether it takes traffic. Exit code 0 if it does, 1 if not.
    Ready(ListenFlags),
    /// Recount every invariant from the rows. Exit code 0 if all hold, 1 if one is broken, 2 if
    /// it could not look.
    Check(CheckFlags),
    /// Manage users.
    #[command(subcommand)]
    User(user::Command),
    /// Manage events.
    #[command(subcommand)]
    Event(event::Command),
    /// Look after the sagas of bookings.
    #[command(subcommand)]
    Saga(saga::Command),
    /// Look after what services know of each other's databases.
    #[command(subcommand)]
    Neighbour(neighbour::Command),
    /// Move a database's rows to another one that has none: from a file to a server or the other way
    /// round, all of them or those of some services. It can be interrupted and started again; it then
    /// begins anew.
    Copy(copy::Flags),
    /// Make a pair of keys with which a service proves itself to the others.
    Key(apart::KeyFlags),
    /// Bring the database's schema up to date, or add services to it.
    Migrate(open::MigrateFlags),
}

fn main() -> ExitCode {
    let program = Program::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("can't start: {error}")),
    };
    let outcome = runtime.block_on(async {
        match program.command {
            Command::Serve(flags) => serve::run(*flags).await,
            Command::Ready(flags) => ready::run(flags).await,
            Command::Check(flags) => return check::run(flags).await,
            Command::User(command) => user::run(command).await,
            Command::Event(command) => event::run(command).await,
            Command::Saga(command) => saga::run(command).await,
            Command::Neighbour(command) => neighbour::run(command).await,
            Command::Copy(flags) => copy::run(flags).await,
            Command::Key(flags) => apart::make_key(&flags),
            Command::Migrate(flags) => open::migrate(flags).await,
        }
        .map_or_else(|reason| fail(&reason), |()| ExitCode::SUCCESS)
    });
    // A query that hangs on a broken disk must not keep the process from ending.
    runtime.shutdown_background();
    outcome
}

fn fail(reason: &str) -> ExitCode {
    // Not `eprintln!`, which panics if nobody reads it any more.
    let _ = writeln!(stderr(), "eventbooker: {reason}");
    ExitCode::FAILURE
}
