//! The load: wrk, with requests that are put together before its clock starts.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use crate::Fallible;
use crate::children::Child;
use crate::numbers::real;
use crate::progress::busy;

/// Threads of wrk.
pub(crate) const THREADS: u32 = 2;
/// Connections, over all threads, unless a measurement has others.
pub(crate) const CONNECTIONS: u32 = 256;
/// An answer that takes longer is an error, seconds.
const ANSWER_SECONDS_MAX: u32 = 10;
/// How much longer than asked for wrk may take, to put requests together and to end.
const GRACE: Duration = Duration::from_secs(30);
const SCRIPT: &str = include_str!("load.lua");

/// wrk, as it is installed here.
#[derive(Clone)]
pub(crate) struct Wrk {
    /// What it calls itself.
    pub(crate) version: String,
    script: PathBuf,
    /// Over all threads.
    pub(crate) connections: u32,
}

/// A list of requests in a file, which wrk's threads go through round and round.
pub(crate) struct Requests {
    file: PathBuf,
}

/// One request of a list.
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) token: String,
    /// Empty if it has none.
    pub(crate) body: String,
}

/// What answers have to be, as far as their status tells. What came of them, the rows tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// All below 400.
    Success,
    /// All from 400 on.
    Refusal,
}

/// How a run went.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Run {
    /// Answers that arrived.
    pub(crate) requests: u64,
    micros: u64,
    status_errors: u64,
    connect_errors: u64,
    read_errors: u64,
    write_errors: u64,
    timeouts: u64,
    /// Percentiles of the time from request to answer, in microseconds. wrk corrects them for the
    /// requests that a slow answer kept from being sent.
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

impl Wrk {
    /// Looks for wrk, and writes its script into `dir`.
    pub(crate) fn find(dir: &Path) -> Fallible<Self> {
        let found = Command::new("wrk").arg("-v").output().map_err(|error| {
            if error.kind() == ErrorKind::NotFound {
                "wrk is needed to make the load, and isn't installed; on Debian and Ubuntu: apt install wrk".to_owned()
            } else {
                format!("can't start wrk: {error}")
            }
        })?;
        let text = String::from_utf8_lossy(&found.stdout);
        let version = text.split(" [").next().unwrap_or_default().trim().to_owned();
        let script = dir.join("load.lua");
        std::fs::write(&script, SCRIPT)
            .map_err(|error| format!("can't write {}: {error}", script.display()))?;
        Ok(Self { version, script, connections: CONNECTIONS })
    }

    /// The same with so many connections.
    pub(crate) fn with_connections(&self, connections: u32) -> Self {
        Self { connections, ..self.clone() }
    }

    /// Sends requests for so many seconds, as fast as answers come.
    pub(crate) fn run(
        &self,
        what: &str,
        address: SocketAddr,
        requests: &Requests,
        seconds: u32,
        expected: Expected,
    ) -> Fallible<Run> {
        let _busy = busy(what);
        self.start(address, requests, seconds, 0.0)?.finish(expected)
    }

    /// The same with pauses: each connection waits a random time of up to `pause_ms_max` after an
    /// answer.
    pub(crate) fn run_paced(
        &self,
        what: &str,
        address: SocketAddr,
        requests: &Requests,
        seconds: u32,
        pause_ms_max: f64,
    ) -> Fallible<Run> {
        let _busy = busy(what);
        self.start(address, requests, seconds, pause_ms_max)?.finish(Expected::Success)
    }

    /// Starts to send and returns at once.
    pub(crate) fn start(
        &self,
        address: SocketAddr,
        requests: &Requests,
        seconds: u32,
        pause_ms_max: f64,
    ) -> Fallible<Running> {
        self.spawn(address, requests, seconds, pause_ms_max, 1)
    }

    /// Starts to send half of the load and returns at once.
    pub(crate) fn start_half(
        &self,
        address: SocketAddr,
        requests: &Requests,
        seconds: u32,
    ) -> Fallible<Running> {
        self.spawn(address, requests, seconds, 0.0, 2)
    }

    fn spawn(
        &self,
        address: SocketAddr,
        requests: &Requests,
        seconds: u32,
        pause_ms_max: f64,
        parts: u32,
    ) -> Fallible<Running> {
        let mut command = Command::new("wrk");
        command
            .args(["--threads", &(THREADS / parts).to_string()])
            .args(["--connections", &(self.connections / parts).to_string()])
            .args(["--duration", &format!("{seconds}s")])
            .args(["--timeout", &format!("{ANSWER_SECONDS_MAX}s")])
            .arg("--script")
            .arg(&self.script)
            .arg(format!("http://{address}/"))
            .arg("--")
            .arg(&requests.file)
            .arg(format!("{pause_ms_max:.3}"))
            .stdout(Stdio::piped());
        let child = Child::spawn(command, &self.script.with_extension("log"))?;
        Ok(Running { child, limit: Duration::from_secs(u64::from(seconds)) + GRACE })
    }
}

/// A run that goes on.
pub(crate) struct Running {
    child: Child,
    limit: Duration,
}

impl Running {
    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> Fallible<bool> {
        Ok(self.child.ended()?.is_some())
    }

    /// Waits for its end. Fails unless every answer arrived and was as expected.
    pub(crate) fn finish(self, expected: Expected) -> Fallible<Run> {
        let text = self.child.output(self.limit)?;
        let line = text.lines().find_map(|line| line.strip_prefix("RESULT "));
        let run: Option<Run> = line.and_then(|line| serde_json::from_str(line).ok());
        let run = run.ok_or_else(|| self.child.told(&format!("wrk has no result:\n{text}")))?;
        run.verify(expected)?;
        Ok(run)
    }
}

impl Run {
    /// Answers in a second.
    pub(crate) fn rate(&self) -> f64 {
        if self.micros == 0 { 0.0 } else { real(self.requests) * 1e6 / real(self.micros) }
    }

    /// How long it took.
    pub(crate) fn seconds(&self) -> f64 {
        real(self.micros) / 1e6
    }

    fn verify(&self, expected: Expected) -> Fallible<()> {
        let Self { requests, status_errors, .. } = *self;
        let lost = [self.connect_errors, self.read_errors, self.write_errors, self.timeouts];
        if lost.iter().any(|count| *count > 0) {
            let [connect, read, write, timeouts] = lost;
            return Err(format!(
                "wrk had errors: {connect} to connect, {read} to read, {write} to write, {timeouts} answers after {ANSWER_SECONDS_MAX} s"
            ));
        }
        let wrong = match expected {
            Expected::Success => status_errors,
            Expected::Refusal => requests - status_errors,
        };
        if wrong > 0 {
            return Err(format!("{wrong} of {requests} answers were no {expected:?}"));
        }
        if requests == 0 {
            return Err("wrk got no answer".to_owned());
        }
        Ok(())
    }
}

impl Requests {
    /// Writes a list into a file.
    pub(crate) fn write(file: PathBuf, requests: impl Iterator<Item = Request>) -> Fallible<Self> {
        let mut text = String::new();
        for Request { method, path, token, body } in requests {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{method} {path} {token} {body}");
        }
        std::fs::write(&file, text)
            .map_err(|error| format!("can't write {}: {error}", file.display()))?;
        Ok(Self { file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        let text = r#"{"requests":1000,"micros":2000000,"statusErrors":0,"connectErrors":0,
            "readErrors":0,"writeErrors":0,"timeouts":0,"p50":1,"p99":2,"p999":3,"max":4}"#;
        serde_json::from_str(text).expect("a result")
    }

    #[test]
    fn a_run_counts_only_if_every_answer_was_expected() {
        assert!((run().rate() - 500.0).abs() < f64::EPSILON);
        assert_eq!(run().verify(Expected::Success), Ok(()));
        assert!(run().verify(Expected::Refusal).is_err());
        let refused = Run { status_errors: 1000, ..run() };
        assert_eq!(refused.verify(Expected::Refusal), Ok(()));
        assert!(refused.verify(Expected::Success).is_err());
        assert!(Run { status_errors: 999, ..run() }.verify(Expected::Refusal).is_err());
        assert!(Run { timeouts: 1, ..run() }.verify(Expected::Success).is_err());
        assert!(Run { read_errors: 1, ..run() }.verify(Expected::Success).is_err());
        assert!(Run { requests: 0, ..run() }.verify(Expected::Success).is_err());
    }
}
