//! Children: every process that the benchmark starts, and the certainty that it ends.
//!
//! A child is killed by its handle when the handle is dropped. A signal to the benchmark kills all
//! of them, so that whatever waits for one fails and the benchmark ends through its own clean-up.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};

use crate::Fallible;

/// How often a child is asked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Bytes of a child's log that an error shows.
const LOG_SHOWN_BYTES: usize = 2000;

static RUNNING: Mutex<Vec<Weak<Mutex<Process>>>> = Mutex::new(Vec::new());
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error once somebody has asked the benchmark to end.
pub(crate) fn not_interrupted() -> Fallible<()> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err("interrupted".to_owned()) } else { Ok(()) }
}

/// Waits for a signal that ends the benchmark, and kills all children when it comes.
pub(crate) async fn end_on_signal() {
    let listen = |kind| signal(kind).ok();
    let (Some(mut terminate), Some(mut interrupt)) =
        (listen(SignalKind::terminate()), listen(SignalKind::interrupt()))
    else {
        // Then the signal ends the benchmark at once, which at a terminal ends the children too.
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let running = lock(&RUNNING);
    INTERRUPTED.store(true, Ordering::Relaxed);
    for process in running.iter().filter_map(Weak::upgrade) {
        kill(&mut lock(&process));
    }
}

/// Kills a process, and all of its group if it leads one.
fn kill(process: &mut Process) {
    // Until somebody has waited for it its number is its own, and so is that of its group.
    if let Ok(None) = process.try_wait() {
        let _ = kill_process_group(Pid::from_child(process), Signal::KILL);
        let _ = process.kill();
    }
}

/// A process of ours.
pub(crate) struct Child {
    name: String,
    process: Arc<Mutex<Process>>,
    pid: Pid,
    log: PathBuf,
}

impl Child {
    /// Starts a program. What it says to standard error is kept in `log`.
    pub(crate) fn spawn(mut command: Command, log: &Path) -> Fallible<Self> {
        let name = Path::new(command.get_program()).file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let said = File::create(log)
            .map_err(|error| format!("can't create {}: {error}", log.display()))?;
        // The settings of whoever runs the benchmark are not those that are measured.
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("EVENTBOOKER_") {
                command.env_remove(key);
            }
        }
        let mut running = lock(&RUNNING);
        not_interrupted()?;
        let process = command
            .stdin(Stdio::null())
            .stderr(said)
            .spawn()
            .map_err(|error| format!("can't start {name}: {error}"))?;
        let pid = Pid::from_child(&process);
        let process = Arc::new(Mutex::new(process));
        running.retain(|other| other.strong_count() > 0);
        running.push(Arc::downgrade(&process));
        Ok(Self { name, process, pid, log: log.to_owned() })
    }

    /// Its number.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&self) -> Fallible<Option<ExitStatus>> {
        lock(&self.process).try_wait().map_err(|error| format!("can't ask {}: {error}", self.name))
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) -> Fallible<()> {
        // Until somebody has waited for it its number is its own, and nobody waits while this holds
        // the lock.
        let mut process = lock(&self.process);
        if let Ok(Some(status)) = process.try_wait() {
            return Err(self.told(&format!("{} ended by itself with {status}", self.name)));
        }
        kill_process(self.pid, Signal::TERM)
            .map_err(|error| format!("can't signal {}: {error}", self.name))
    }

    /// Waits until it ends, for no longer than `limit`.
    pub(crate) fn wait(&self, limit: Duration) -> Fallible<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                not_interrupted()?;
                return Ok(status);
            }
            if started.elapsed() > limit {
                let limit = limit.as_secs();
                return Err(self.told(&format!("{} did not end within {limit} s", self.name)));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until it ends well.
    pub(crate) fn wait_for_success(&self, limit: Duration) -> Fallible<()> {
        let status = self.wait(limit)?;
        if status.success() {
            return Ok(());
        }
        Err(self.told(&format!("{} ended with {status}", self.name)))
    }

    /// Waits until it ends well; returns what it said to its standard output, which has to be a pipe
    /// and is a few lines that the pipe can keep.
    pub(crate) fn output(&self, limit: Duration) -> Fallible<String> {
        self.wait_for_success(limit)?;
        let mut text = String::new();
        if let Some(mut stdout) = lock(&self.process).stdout.take() {
            stdout
                .read_to_string(&mut text)
                .map_err(|error| format!("can't read what {} says: {error}", self.name))?;
        }
        Ok(text)
    }

    /// An error with the end of what the child said.
    pub(crate) fn told(&self, what: &str) -> String {
        let mut said = Vec::new();
        let read = File::open(&self.log).and_then(|mut file| file.read_to_end(&mut said));
        let said = &said[said.len().saturating_sub(LOG_SHOWN_BYTES)..];
        let said = String::from_utf8_lossy(said);
        match read {
            Ok(_) if !said.trim().is_empty() => format!("{what}; it said:\n{}", said.trim()),
            _ => what.to_owned(),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let mut process = lock(&self.process);
        kill(&mut process);
        let _ = process.wait();
    }
}
