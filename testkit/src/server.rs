//! The real program as a process of its own.
//!
//! Whoever starts a [`Server`] owns its process: it is killed when the value is dropped, so a test
//! that fails leaves nothing behind.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::client::{Client, PASSWORD};
use crate::clock::PATIENCE;
use crate::database::Database;
use crate::network::Machine;

/// The service promises to be gone within this after SIGTERM.
pub const STOP_MAX: Duration = Duration::from_secs(10);
/// Flags that lift the limits on holds, for tests that are about something else.
pub const UNLIMITED: [&str; 4] = ["--holds-per-user-max", "0", "--held-seats-per-user-max", "0"];
const ON_A_FREE_PORT: [&str; 2] = ["--listen", "127.0.0.1:0"];
/// How often a process is asked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The program with a directory of its own, in which its database lies.
pub struct Installation {
    program: PathBuf,
    database: Database,
    hears_ctrl_c: bool,
}

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// What a command that failed complained of: one line, and nothing else but what it did before.
    pub fn complaint(&self) -> &str {
        let is_complaint = |line: &&str| !line.contains(" INFO ");
        let mut lines = self.stderr.lines().filter(is_complaint);
        let line = lines.next().unwrap_or_else(|| panic!("no complaint: {self:?}"));
        assert_eq!(lines.next(), None, "more than a line: {self:?}");
        assert!(matches!(self.code, Some(1..)), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        line.strip_prefix("eventbooker: ").unwrap_or_else(|| panic!("who says so? {self:?}"))
    }
}

impl Installation {
    /// The program at this path, freshly installed.
    pub fn new(program: &str) -> Self {
        Self::on(program, Database::new())
    }

    /// The same on this database.
    pub fn on(program: &str, database: Database) -> Self {
        Self { program: PathBuf::from(program), database, hears_ctrl_c: true }
    }

    /// The same with the users `admin` (an admin), `alice` and `bob`.
    pub fn with_users(program: &str) -> Self {
        let installation = Self::new(program);
        installation.add_user("admin", "admin");
        for login in ["alice", "bob"] {
            installation.add_user(login, "user");
        }
        installation
    }

    /// Where its files are. Commands run here.
    pub fn directory(&self) -> &Path {
        self.database.directory()
    }

    /// Its database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The same, whose processes are ended by whoever started them and not by Ctrl-C, which a terminal
    /// sends to all.
    #[must_use]
    pub fn deaf_to_ctrl_c(self) -> Self {
        Self { hears_ctrl_c: false, ..self }
    }

    /// The program, about to be run with these arguments, and no settings but those in them.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        self.prepare(&mut command);
        command
    }

    /// Puts a command into the directory and takes the settings of whoever runs the tests away.
    fn prepare(&self, command: &mut Command) {
        command.current_dir(self.directory());
        if !self.hears_ctrl_c {
            command.process_group(0);
        }
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("EVENTBOOKER_") {
                command.env_remove(key);
            }
        }
        // The embedded one is where the program looks for it by itself.
        if !self.database.is_embedded() {
            command.env("EVENTBOOKER_DATABASE", self.database.url());
        }
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "", &[])
    }

    /// The same, with something to read and with settings in the environment.
    pub fn run_with(&self, arguments: &[&str], stdin: &str, environment: &[(&str, &str)]) -> Ran {
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut input = child.stdin.take().expect("it is a pipe");
        // A command that doesn't read may have ended already.
        let _ = input.write_all(stdin.as_bytes());
        drop(input);
        // A command that goes on, such as a server that should have refused to start, has to end
        // all the same.
        let pid = Pid::from_child(&child);
        let (ended, waiting) = mpsc::channel::<()>();
        let guard = thread::spawn(move || {
            if waiting.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        let output = child.wait_with_output().expect("it ends");
        drop(ended);
        guard.join().expect("the guard ends");
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// Adds a user by the command line.
    pub fn add_user(&self, login: &str, role: &str) {
        let ran = self.run_with(&["user", "add", login, "--role", role], PASSWORD, &[]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }

    /// Fails unless every invariant holds.
    pub fn check(&self) {
        let ran = self.run(&["check"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }

    /// Starts the service, on a free port of loopback unless the flags say where, and waits until
    /// it is ready.
    pub fn serve(&self, flags: &[&str]) -> Server {
        self.serve_with(flags, &[])
    }

    /// The same, with settings in the environment.
    pub fn serve_with(&self, flags: &[&str], environment: &[(&str, &str)]) -> Server {
        let mut command = self.command(&["serve"]);
        if !flags.contains(&"--listen") {
            command.args(ON_A_FREE_PORT);
        }
        command.args(flags).envs(environment.iter().copied());
        let server = Server::start(command, LISTENING, Log::Kept);
        server.wait_until_ready();
        server
    }

    /// The same on a machine of its own, where the flags say.
    pub fn serve_on(&self, machine: &Machine, flags: &[&str]) -> Server {
        let mut command = machine.command(&self.program);
        command.arg("serve").args(flags);
        self.prepare(&mut command);
        let server = Server::start(command, LISTENING, Log::Kept);
        server.wait_until_ready();
        server
    }

    /// The same, under a limit of the system, such as `-S -n 64` (see bash's `ulimit`), and with
    /// somebody or nobody who reads its log.
    pub fn serve_limited(&self, limit: &str, log: Log, flags: &[&str]) -> Server {
        let mut command = Command::new("bash");
        command
            // Unquoted, so that the limit is a flag and a number.
            .args(["-c", "ulimit $0 && exec \"$@\"", limit])
            .arg(&self.program)
            .arg("serve")
            .args(ON_A_FREE_PORT)
            .args(flags);
        self.prepare(&mut command);
        let server = Server::start(command, LISTENING, log);
        server.wait_until_ready();
        server
    }

    /// Starts the service and waits until it has logged this. It may not listen yet.
    pub fn serve_until(&self, logged: &'static str) -> Server {
        let mut command = self.command(&["serve"]);
        command.args(ON_A_FREE_PORT);
        Server::start(command, logged, Log::Kept)
    }
}

/// What becomes of the lines that a service logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// All are read and kept.
    Kept,
    /// Nobody reads any more, once the service listens: to write a line is an error.
    Unread,
}

/// The last line of a start says it, and the address.
const LISTENING: &str = "listening on ";

/// A running service.
pub struct Server {
    child: Child,
    base: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts it and waits until it has logged `awaited`; what follows that in the line is where
    /// it is, if that is what it says.
    fn start(mut command: Command, awaited: &'static str, lines: Log) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stderr = child.stderr.take().expect("it is a pipe");
        // From here on a panic ends the process too.
        let mut server = Self { child, base: String::new(), log: Arc::default() };
        let said = follow(stderr, awaited, lines, Arc::clone(&server.log)).recv_timeout(PATIENCE);
        server.base = said.unwrap_or_else(|_| panic!("it isn't {awaited}; {}", server.log()));
        server
    }

    fn wait_until_ready(&self) {
        let (client, begun) = (self.client(), Instant::now());
        while !client.ask("GET", "/ready").send().is_ok_and(|answer| answer.status == 200) {
            assert!(begun.elapsed() < PATIENCE, "it doesn't become ready; {}", self.log());
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Where it is, such as `http://127.0.0.1:8080`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A client that is not signed in.
    pub fn client(&self) -> Client {
        Client::new(&self.base)
    }

    /// A client with the session of one of the installation's users.
    pub fn client_of(&self, login: &str) -> Client {
        self.client().signed_in(login, PASSWORD)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Waits until it has logged these words. A line takes its time through the pipe, so it may come
    /// behind an answer that was given after it.
    pub fn wait_until_logged(&self, words: &str) {
        let begun = Instant::now();
        while !self.log().contains(words) {
            assert!(begun.elapsed() < PATIENCE, "{words}: {}", self.log());
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Lets files grow again.
    pub fn lift_file_limit(&self) {
        let pid = self.child.id().to_string();
        let lifted = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited:"]).status();
        assert!(lifted.expect("prlimit is installed").success());
    }

    /// Ends it as a power failure would.
    pub fn kill(mut self) {
        self.child.kill().expect("it is running");
        self.child.wait().expect("it was killed");
    }

    /// Stops it in the middle of whatever it does, until it is told to go on.
    pub fn pause(&self) {
        pause(&self.child);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).expect("it is running");
    }

    /// Asks it to end.
    pub fn begin_stop(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it is running");
    }

    /// Waits until it has ended by itself, which it has to do well and in time. Returns its log.
    pub fn stopped(mut self) -> String {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                break status;
            }
            assert!(begun.elapsed() < STOP_MAX, "it doesn't end; {}", self.log());
            thread::sleep(LOOK_EVERY);
        };
        assert!(ExitStatus::success(&status), "{status}; {}", self.log());
        self.log()
    }

    /// Asks it to end and waits until it has.
    pub fn terminate(self) {
        self.begin_stop();
        self.stopped();
    }
}

/// Stops a child, and waits until all of its threads have stopped.
pub(crate) fn pause(child: &Child) {
    let process = Pid::from_child(child);
    kill_process(process, Signal::STOP).expect("it is running");
    waitid(WaitId::Pid(process), WaitIdOptions::STOPPED).expect("it is our child");
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps what the process logs, and tells what it says after `awaited` once it says that.
fn follow(
    stderr: ChildStderr,
    awaited: &'static str,
    lines: Log,
    log: Arc<Mutex<Vec<String>>>,
) -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let keep = |line: &String| {
            log.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
        };
        let mut read = BufReader::new(stderr).lines().map_while(Result::ok).inspect(keep);
        // In JSON the text ends with a quotation mark.
        let behind = |(_, said): (&str, &str)| said.split('"').next().map(str::to_owned);
        let said = read.find_map(|line| line.split_once(awaited).and_then(behind));
        // If nobody is to read on, the pipe is closed before anybody hears of the line.
        let rest = (lines == Log::Kept).then_some(read);
        if let Some(said) = said {
            let _ = tell.send(said);
        }
        rest.into_iter().flatten().for_each(drop);
    });
    told
}
