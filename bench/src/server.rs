//! The service under measurement: the real program, started, watched, stopped, recounted.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::Fallible;
use crate::children::Child;
use crate::http::Client;
use crate::numbers::{real, thousands};
use crate::progress::busy;

/// Every start takes less, or something is wrong.
const START_MAX: Duration = Duration::from_secs(60);
/// The service promises to be gone within this after SIGTERM.
const STOP_MAX: Duration = Duration::from_secs(10);
/// A recount of millions of rows takes a while.
const CHECK_MAX: Duration = Duration::from_secs(600);
/// How often it is asked whether it is ready.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Linux counts time so for everybody.
const TICKS_PER_SECOND: f64 = 100.0;

/// An address of this machine that nobody listens on.
pub(crate) fn free_address() -> Fallible<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| format!("can't listen on loopback: {error}"))
}

/// A running service.
pub(crate) struct Server {
    program: PathBuf,
    url: String,
    /// What it and the recount say.
    dir: PathBuf,
    child: Child,
    address: SocketAddr,
    /// From the start of the process to its first 200 from `/ready`.
    pub(crate) ready_after: Duration,
}

/// What a process keeps in memory, in MiB.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "units stand last")]
pub(crate) struct Memory {
    /// All of it.
    pub(crate) resident_mib: f64,
    /// Its own data.
    pub(crate) own_mib: f64,
    /// Pages of files: the program itself, the index of the log.
    pub(crate) of_files_mib: f64,
}

/// How a service ended.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ending {
    /// From SIGTERM to its exit.
    pub(crate) stop_seconds: f64,
    /// How long the recount of every invariant took.
    pub(crate) check_seconds: f64,
}

impl Ending {
    /// In words, with how many bookings there were to recount.
    pub(crate) fn words(&self, bookings: u64) -> String {
        format!("{} bookings recounted in {:.1} s", thousands(real(bookings)), self.check_seconds)
    }
}

impl Server {
    /// Starts the service on a database and waits until it is ready.
    pub(crate) fn start(program: &Path, url: &str, dir: &Path) -> Fallible<Self> {
        Self::start_with(program, url, dir, &[])
    }

    /// The same with more flags.
    pub(crate) fn start_with(
        program: &Path,
        url: &str,
        dir: &Path,
        flags: &[String],
    ) -> Fallible<Self> {
        let address = free_address()?;
        let mut command = Command::new(program);
        command
            .args(["serve", "--log", "warn", "--listen", &address.to_string()])
            .args(["--database", url])
            // The load comes from few users and one address.
            .args(["--holds-per-user-max", "0", "--held-seats-per-user-max", "0"])
            .args(["--registrations-per-address", "1000000"])
            .args(flags)
            .stdout(Stdio::null());
        let started = Instant::now();
        let child = Child::spawn(command, &dir.join(format!("server-{}.log", address.port())))?;
        let client = Client::new(address);
        while !client.get("/ready").is_ok_and(|answer| answer.status == 200) {
            if let Some(status) = child.ended()? {
                return Err(child.told(&format!("the service ended with {status}")));
            }
            if started.elapsed() > START_MAX {
                return Err(child.told("the service does not become ready"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let ready_after = started.elapsed();
        let (program, url, dir) = (program.to_owned(), url.to_owned(), dir.to_owned());
        Ok(Self { program, url, dir, child, address, ready_after })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// What it keeps in memory.
    pub(crate) fn memory(&self) -> Fallible<Memory> {
        let path = format!("/proc/{}/status", self.child.pid());
        let status = std::fs::read_to_string(&path)
            .map_err(|error| format!("can't read {path}: {error}"))?;
        let mib = |key: &str| -> Fallible<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
            kib.map(|kib| kib / 1024.0).ok_or_else(|| format!("{path} has no {key}"))
        };
        let of_files_mib = mib("RssFile")? + mib("RssShmem")?;
        Ok(Memory { resident_mib: mib("VmRSS")?, own_mib: mib("RssAnon")?, of_files_mib })
    }

    /// What it has used of the cores since its start.
    pub(crate) fn cpu_seconds(&self) -> Fallible<f64> {
        let path = format!("/proc/{}/stat", self.child.pid());
        let stat = std::fs::read_to_string(&path)
            .map_err(|error| format!("can't read {path}: {error}"))?;
        // Behind the name, which may hold anything, user and system time are the 12th and 13th.
        let (_, fields) = stat.rsplit_once(") ").unwrap_or_default();
        let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
        let ticks = ticks.sum::<Result<f64, _>>().map_err(|error| format!("{path}: {error}"))?;
        Ok(ticks / TICKS_PER_SECOND)
    }

    /// Stops it and recounts its database. Fails if it answered with a 5xx, did not stop in time
    /// and well, or left anything oversold or lost.
    pub(crate) fn stop(self) -> Fallible<Ending> {
        let stop_seconds = self.terminate()?;
        let check_seconds = self.check(&[])?;
        Ok(Ending { stop_seconds, check_seconds })
    }

    /// Stops it; returns how many seconds that took. Fails if it answered with a 5xx, or did not
    /// stop in time and well.
    pub(crate) fn terminate(&self) -> Fallible<f64> {
        let failures = self.client().metrics()?.failures;
        if failures > 0.0 {
            return Err(self.child.told(&format!("{failures} answers had a status from 500 on")));
        }
        let started = Instant::now();
        self.child.terminate()?;
        self.child.wait_for_success(STOP_MAX)?;
        Ok(started.elapsed().as_secs_f64())
    }

    /// Recounts every invariant of the database, and of those that these flags name; returns how many
    /// seconds that took.
    pub(crate) fn check(&self, others: &[&str]) -> Fallible<f64> {
        let _busy = busy("recounting every invariant");
        let mut command = Command::new(&self.program);
        let found = self.dir.join("check");
        let said = std::fs::File::create(&found)
            .map_err(|error| format!("can't create {}: {error}", found.display()))?;
        command.args(["check", "--database", &self.url]).args(others).stdout(said);
        let started = Instant::now();
        let child = Child::spawn(command, &self.dir.join("check.log"))?;
        child.wait_for_success(CHECK_MAX).map_err(|error| {
            let found = std::fs::read_to_string(&found).unwrap_or_default();
            format!("{error}\n{}", found.lines().take(20).collect::<Vec<_>>().join("\n"))
        })?;
        Ok(started.elapsed().as_secs_f64())
    }

    /// Ends it as a power failure would.
    pub(crate) fn kill(self) {
        drop(self.child);
    }
}
