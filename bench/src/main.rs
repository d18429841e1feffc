//! Measures the real program, on the store that is embedded in it or on a PostgreSQL server, against a
//! bare HTTP stack on the same machine, and says whether the floors are met.
//!
//! The service runs as a child process on loopback; wrk makes the load. After each load the service
//! is stopped and `eventbooker check` recounts every row: a fast answer that oversold counts as a
//! failure. Runs are bounded in time and count, and every child ends with the benchmark.

mod children;
mod database;
mod echo;
mod fill;
mod http;
mod machine;
mod measure;
mod numbers;
mod plot;
mod progress;
mod report;
mod sales;
mod server;
mod services;
mod watchers;
mod wrk;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand, ValueEnum as _};
use tokio::runtime::Runtime;

use crate::database::{Place, PostgresServer};
use crate::machine::Machine;
use crate::measure::{Bench, Effort, Measurement};
use crate::report::{Method, Report};

/// A value, or why there is none, in words.
pub(crate) type Fallible<T> = Result<T, String>;

/// The service's own, so that the yardstick has no handicap.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the booking engine against a bare HTTP stack on the same machine.
#[derive(Parser)]
#[command(name = "eventbooker-bench", version, args_conflicts_with_subcommands = true)]
#[command(after_help = "To hold a build against an earlier one, see bench/compare --help.")]
struct Program {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Command {
    /// Be the yardstick: serve answers that cost nothing. The benchmark starts this itself.
    Echo {
        /// Where to listen.
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: SocketAddr,
    },
}

#[derive(Args)]
struct Options {
    /// Measure only these.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    only: Vec<Measurement>,
    /// Short runs and fewer holds: to see that it works, not what it reaches.
    #[arg(long)]
    quick: bool,
    /// Seconds of each run of the load. [default: 5; 2 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=300))]
    seconds: Option<u32>,
    /// The program to measure. [default: eventbooker, beside this one]
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// Measure on this server instead of the embedded store, as a user who may create databases.
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// Where to put databases meanwhile; must lie on a real disk.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    dir: PathBuf,
    /// Where to put the results. [default: bench/results; for a partial or quick run, DIR/results]
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
}

fn main() -> ExitCode {
    let program = Program::parse();
    let outcome = match program.command {
        Some(Command::Echo { listen }) => echo::serve(listen).map(|()| true),
        None => program.options.run(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("eventbooker-bench: {reason}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    /// Returns whether every floor was met and nothing failed.
    fn run(self) -> Fallible<bool> {
        let server = self.server()?;
        let effort = Effort {
            seconds: self.seconds.unwrap_or(if self.quick { 2 } else { 5 }),
            rounds: if self.quick { 1 } else { 3 },
            quick: self.quick,
        };
        create(&self.dir)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = Arc::new(runtime.map_err(|error| format!("can't start: {error}"))?);
        runtime.spawn(children::end_on_signal());
        let machine = Machine::look(&self.dir)?;
        println!("{}", machine.words());
        let (place, store) = self.place(&runtime)?;

        let run_dir = tempfile::TempDir::new_in(&self.dir)
            .map_err(|error| format!("can't create a directory: {error}"))?;
        let bench = Bench::new(server, place, run_dir.path(), effort, runtime)?;
        let method = Method {
            store,
            load: bench.wrk.version.clone(),
            threads: wrk::THREADS,
            connections: wrk::CONNECTIONS,
            seconds: effort.seconds,
            rounds: effort.rounds,
            quick: effort.quick,
        };
        let mut report = Report::new(machine, method, machine::commit());
        self.measure(&bench, &mut report)?;
        self.tell(&report)?;
        Ok(report.is_good())
    }

    fn measure(&self, bench: &Bench, report: &mut Report) -> Fallible<()> {
        let chosen =
            Measurement::value_variants().iter().filter(|measurement| match self.only.as_slice() {
                [] => measurement.suits(bench.place.store()),
                only => only.contains(measurement),
            });
        let mut outcomes = Vec::new();
        for measurement in chosen {
            let name = measurement.name();
            let outcome = measurement.run(bench);
            children::not_interrupted()?;
            match &outcome {
                Ok(findings) => findings.rows.iter().for_each(|row| println!("{}", row.words())),
                Err(reason) => println!("{name} FAILED: {reason}"),
            }
            outcomes.push((name, outcome));
        }
        report.add("yardstick", Ok(bench.yardsticks()));
        for (name, outcome) in outcomes {
            report.add(&name, outcome);
        }
        Ok(())
    }

    fn tell(&self, report: &Report) -> Fallible<()> {
        let whole = self.only.is_empty() && !self.quick;
        // What is kept in the repository is only ever a whole run.
        let results = match &self.results {
            Some(dir) => dir.clone(),
            None if whole => PathBuf::from("bench/results"),
            None => self.dir.join("results"),
        };
        create(&results)?;
        let store = if self.postgres.is_some() { "postgres" } else { "sqlite" };
        let file = |kind| results.join(format!("{store}.{kind}"));
        let (json, svg) = (file("json"), file("svg"));
        report.write_json(&json)?;
        let caption = format!("{}; {}", report.date, report.machine.words());
        let drawn = report.series.draw(&svg, &caption)?;
        if !drawn && svg.exists() {
            // A plot of another run beside these numbers would mislead.
            std::fs::remove_file(&svg)
                .map_err(|error| format!("can't remove {}: {error}", svg.display()))?;
        }

        println!("\n{}\n{}, commit {}", report.table(), caption, report.commit);
        let and_svg = if drawn { format!(" and {}", svg.display()) } else { String::new() };
        println!("written to {}{and_svg}", json.display());
        for failure in report.failures() {
            println!("{failure}");
        }
        if !report.is_good() {
            println!("not every floor was met");
        }
        Ok(())
    }

    /// Where databases are, and in which store.
    fn place(&self, runtime: &Arc<Runtime>) -> Fallible<(Place, String)> {
        let Some(url) = &self.postgres else { return Ok((Place::Files, "sqlite".to_owned())) };
        let server = PostgresServer::find(url, Arc::clone(runtime))?;
        // The machine was looked at elsewhere.
        Machine::refuse_memory(&server.data_directory()?)?;
        let version = server.version()?;
        println!("{version}, durable commits");
        Ok((Place::Server(Arc::new(server)), version))
    }

    fn server(&self) -> Fallible<PathBuf> {
        let path = match &self.server {
            Some(path) => path.clone(),
            None => std::env::current_exe()
                .map_err(|error| format!("can't find this program: {error}"))?
                .with_file_name("eventbooker"),
        };
        if path.is_file() {
            return Ok(path);
        }
        Err(format!(
            "there is no program {}; build it with cargo build --release -p eventbooker, or name it with --server",
            path.display()
        ))
    }
}

fn create(dir: &Path) -> Fallible<()> {
    std::fs::create_dir_all(dir).map_err(|error| format!("can't create {}: {error}", dir.display()))
}
