//! Watchers: thousands of live streams of one event, from one thread that notes what arrived when.
//!
//! The thread reads, looks for the version in what it has read and keeps the time; it parses no JSON
//! and decodes no chunks. It runs beside what is measured, so what it costs is told too.

use std::fs;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::Fallible;
use crate::children::not_interrupted;
use crate::fill::now;

/// Every stream has begun within this, and has heard of the last change within this.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A message has some hundred and fifty bytes.
const READ_BYTES: usize = 2048;
/// What the thread and the rest of the benchmark need besides.
const OTHER_FILES: u64 = 256;
/// How an answer begins; it arrives in one piece.
const BEGUN: &[u8] = b"HTTP/1.1 200 ";
const VERSION: &str = "\"version\":";

/// A message of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    /// The version that it told of.
    pub(crate) version: i64,
    /// When it was read, in microseconds of this machine's time.
    pub(crate) at: i64,
}

#[derive(Default)]
struct Shared {
    streams: Vec<Stream>,
    stop: Notify,
    has_stopped: AtomicBool,
    failure: OnceLock<String>,
    /// Where the system tells what the thread has cost.
    account: OnceLock<PathBuf>,
}

#[derive(Default)]
struct Stream {
    version: AtomicI64,
    heard: Mutex<Vec<Heard>>,
}

/// Open streams.
pub(crate) struct Watchers {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Watchers {
    /// Opens so many streams of an event, and waits until each has told how it stands.
    pub(crate) fn open(address: SocketAddr, event: i64, count: usize) -> Fallible<Self> {
        raise_open_files(u64::try_from(count).unwrap_or(u64::MAX) + OTHER_FILES)?;
        let streams = (0..count).map(|_| Stream::default()).collect();
        let shared = Arc::new(Shared { streams, ..Shared::default() });
        let thread = std::thread::Builder::new().name("watchers".to_owned());
        let of_thread = Arc::clone(&shared);
        let thread = thread
            .spawn(move || watch(address, event, &of_thread))
            .map_err(|error| format!("can't start a thread: {error}"))?;
        let watchers = Self { shared, thread: Some(thread) };
        watchers.wait_for(1)?;
        Ok(watchers)
    }

    /// Waits until all of them have heard of this version.
    pub(crate) fn wait_for(&self, version: i64) -> Fallible<()> {
        let started = Instant::now();
        loop {
            not_interrupted()?;
            if let Some(failure) = self.shared.failure.get() {
                return Err(failure.clone());
            }
            let is_behind = |stream: &&Stream| stream.version.load(Ordering::Relaxed) < version;
            let behind = self.shared.streams.iter().filter(is_behind).count();
            if behind == 0 {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("{behind} streams have not heard of version {version}"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// What the thread has cost until now.
    pub(crate) fn cpu(&self) -> Fallible<Duration> {
        let account = self.shared.account.get().ok_or("the watchers have no account")?;
        let text = fs::read_to_string(account)
            .map_err(|error| format!("can't read {}: {error}", account.display()))?;
        let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
        nanos.map(Duration::from_nanos).ok_or_else(|| format!("{text} isn't what a thread costs"))
    }

    /// Closes them. Returns what each has heard.
    pub(crate) fn close(mut self) -> Fallible<Vec<Vec<Heard>>> {
        self.end();
        if let Some(failure) = self.shared.failure.get() {
            return Err(failure.clone());
        }
        let heard = |stream: &Stream| {
            std::mem::take(&mut *stream.heard.lock().unwrap_or_else(PoisonError::into_inner))
        };
        Ok(self.shared.streams.iter().map(heard).collect())
    }

    fn end(&mut self) {
        self.shared.has_stopped.store(true, Ordering::Relaxed);
        self.shared.stop.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            let _ = self.shared.failure.set("the watchers' thread panicked".to_owned());
        }
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        self.end();
    }
}

fn watch(address: SocketAddr, event: i64, shared: &Arc<Shared>) {
    if let Ok(thread) = fs::read_link("/proc/thread-self") {
        let _ = shared.account.set(Path::new("/proc").join(thread).join("schedstat"));
    }
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = shared.failure.set(format!("can't watch: {error}"));
            return;
        }
    };
    runtime.block_on(async {
        let mut streams = JoinSet::new();
        for number in 0..shared.streams.len() {
            let shared = Arc::clone(shared);
            streams.spawn(async move {
                if let Err(error) = listen(address, event, &shared.streams[number]).await
                    && !shared.has_stopped.load(Ordering::Relaxed)
                {
                    let _ = shared.failure.set(format!("a stream broke: {error}"));
                }
            });
        }
        shared.stop.notified().await;
    });
}

async fn listen(address: SocketAddr, event: i64, stream: &Stream) -> std::io::Result<()> {
    let socket = TcpStream::connect(address).await?;
    let request = format!("GET /events/live?id={event} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    socket.writable().await?;
    if socket.try_write(request.as_bytes())? < request.len() {
        return Err(ErrorKind::WriteZero.into());
    }
    let mut bytes = [0; READ_BYTES];
    let mut rest = 0;
    let mut has_begun = false;
    loop {
        socket.readable().await?;
        let read = match socket.try_read(&mut bytes[rest..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let at = now().as_micros();
        if !has_begun && !bytes[..read].starts_with(BEGUN) {
            return Err(Error::other("it was refused"));
        }
        has_begun = true;
        let arrived = rest + read;
        // A message ends with its line; what comes behind the last line's end is read on.
        let whole = bytes[..arrived].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole == 0 && arrived == READ_BYTES {
            return Err(ErrorKind::InvalidData.into());
        }
        if let Some(version) = last_version(&bytes[..whole]) {
            stream.heard.lock().unwrap_or_else(PoisonError::into_inner).push(Heard { version, at });
            stream.version.store(version, Ordering::Relaxed);
        }
        bytes.copy_within(whole..arrived, 0);
        rest = arrived - whole;
    }
}

/// The version of the last message; whoever has it has all before.
fn last_version(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (_, behind) = text.rsplit_once(VERSION)?;
    let digits = behind.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Lets this process open as many files, if it may.
fn raise_open_files(needed: u64) -> Fallible<()> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    limit.current = Some(needed);
    setrlimit(Resource::Nofile, limit)
        .map_err(|error| format!("can't open {needed} files at once: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_the_last_message_counts() {
        let one = b"58\r\ndata: {\"id\":1,\"version\":17,\"capacity\":3}\n\n\r\n";
        assert_eq!(last_version(one), Some(17));
        let two = [one.as_slice(), b"data: {\"id\":1,\"version\":208}\n\n"].concat();
        assert_eq!(last_version(&two), Some(208));
        assert_eq!(last_version(b"retry: 1000\n\n"), None);
        assert_eq!(last_version(b""), None);
    }
}
