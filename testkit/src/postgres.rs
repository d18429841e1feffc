//! PostgreSQL for tests: servers of their own, and schemas of their own on a server that tests share.
//!
//! The shared server is the one that `EVENTBOOKER_TEST_POSTGRES_URL` names. `make test` starts one
//! and removes it; any server that speaks PostgreSQL will do. A test has a schema on it that nobody
//! else knows, and drops it when it is done.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use eventbooker_store::postgres::{Clock, PostgresStore, PostgresUrl};
use eventbooker_store::{Access, OpenError};
use rustix::process::{Pid, Signal, getuid, kill_process};
use tempfile::TempDir;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::clock::PATIENCE;

/// Names the server that tests share.
pub const SHARED: &str = "EVENTBOOKER_TEST_POSTGRES_URL";
/// A script of SQL that an operator runs after the tables have been made, such as one that spreads
/// them over machines.
pub const AFTER_MIGRATION: &str = "EVENTBOOKER_TEST_POSTGRES_SCRIPT";
/// The server refuses to run as root, so it runs as this user.
const UNPRIVILEGED: &str = "postgres";
/// How often a server is asked whether it is there yet.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Connections of a test's store for queries.
const READERS: usize = 2;

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It tells its clients, rolls back what they were doing, and writes everything to disk.
    Fast,
    /// It drops everything, and recovers when it starts again.
    Immediate,
}

/// A server of a test's own. It is gone when the value is.
pub struct Server {
    directory: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Server {
    /// A new server on a free port of loopback. Settings are lines of `postgresql.conf`.
    pub fn start(settings: &[&str]) -> Self {
        let mut server = Self::prepare();
        let data = server.data();
        run(unprivileged("initdb")
            .args(["--auth=trust", "--username=postgres", "--no-sync"])
            .args(["--encoding=UTF8", "--no-locale", "-D"])
            .arg(&data));
        server.configure(settings);
        server.launch();
        server
    }

    /// A place for a server.
    fn prepare() -> Self {
        let directory = TempDir::with_prefix("eventbooker-postgres-");
        let directory = directory.expect("there is a place for a test's files");
        if getuid().is_root() {
            run(Command::new("chown").arg(UNPRIVILEGED).arg(directory.path()));
        }
        Self { directory, port: free_port(), process: None }
    }

    /// Adds lines to `postgresql.conf`; the last word counts.
    fn configure(&self, settings: &[&str]) {
        let file = self.data().join("postgresql.conf");
        let mut lines = fs::read_to_string(&file).expect("it was made");
        for setting in settings {
            lines.push_str(setting);
            lines.push('\n');
        }
        fs::write(&file, lines).expect("it can be written");
    }

    fn launch(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.spawn();
            if self.until_ready(deadline) {
                return;
            }
            assert!(Instant::now() < deadline, "the server doesn't start: {}", self.log());
            // Somebody else has taken the port.
            self.port = free_port();
        }
    }

    fn spawn(&mut self) {
        let log = self.directory.path().join("log");
        let log = fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let port = self.port.to_string();
        let mut command = unprivileged("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &port, "-h", "127.0.0.1"]);
        command.arg("-k").arg(self.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().expect("PostgreSQL is installed"));
    }

    /// Waits until it answers; whether it does.
    fn until_ready(&mut self, deadline: Instant) -> bool {
        let port = self.port.to_string();
        while Instant::now() < deadline {
            let process = self.process.as_mut().expect("it was started");
            if process.try_wait().expect("it is ours").is_some() {
                return false;
            }
            let ready = Command::new(program("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &port])
                .status();
            if ready.expect("PostgreSQL is installed").success() {
                return true;
            }
            thread::sleep(LOOK_EVERY);
        }
        false
    }

    /// Ends it and waits until it has ended.
    pub fn stop(&mut self, end: End) {
        let mut process = self.process.take().expect("it runs");
        let signal = match end {
            End::Fast => Signal::INT,
            End::Immediate => Signal::QUIT,
        };
        kill_process(Pid::from_child(&process), signal).expect("it runs");
        process.wait().expect("it is ours");
    }

    /// Ends it as a power failure would.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        let server = Pid::from_child(&process);
        // It has no more children while it is stopped.
        kill_process(server, Signal::STOP).expect("it runs");
        for child in children(server) {
            // One that has ended by itself is as good.
            let _ = kill_process(child, Signal::KILL);
        }
        kill_process(server, Signal::KILL).expect("it runs");
        process.wait().expect("it is ours");
        self.free_shared_memory();
    }

    /// What a server that ends by itself does: frees the memory by which it is known to run.
    fn free_shared_memory(&self) {
        let pid_file = fs::read_to_string(self.data().join("postmaster.pid")).expect("it is left");
        let segment = pid_file.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let (_key, id) = (words.next()?.parse::<u32>().ok()?, words.next()?);
            Some(id.to_owned())
        });
        run(Command::new("ipcrm").arg("-m").arg(segment.expect("it has a segment")));
    }

    /// A standby of this server, which waits from now on for whatever is committed to be there as well.
    pub fn synchronous_standby(&self) -> Self {
        let mut standby = Self::prepare();
        run(unprivileged("pg_basebackup")
            .args(["--host=127.0.0.1", "--username=postgres", "--write-recovery-conf"])
            .args(["--checkpoint=fast", "--no-sync", &format!("--port={}", self.port), "-D"])
            .arg(standby.data()));
        standby.launch();
        execute(&self.url(), "ALTER SYSTEM SET synchronous_standby_names = '*'");
        execute(&self.url(), "SELECT pg_reload_conf()");
        let begun = Instant::now();
        let count = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        while numbers(&self.url(), count) != [1] {
            assert!(begun.elapsed() < PATIENCE, "nobody follows; {}", standby.log());
            thread::sleep(LOOK_EVERY);
        }
        standby
    }

    /// Makes a standby a server that takes writes.
    pub fn promote(&self) {
        assert_eq!(numbers(&self.url(), "SELECT pg_promote()::int"), [1], "{}", self.log());
    }

    /// Where the database of several servers is, whichever of them takes writes.
    pub fn url_of(servers: &[&Self]) -> String {
        let hosts = servers.iter().map(|server| format!("127.0.0.1:{}", server.port));
        let hosts = hosts.collect::<Vec<_>>().join(",");
        format!("postgres://postgres@{hosts}/postgres")
    }

    /// Starts it again, where it was, and waits until it answers.
    pub fn start_again(&mut self) {
        self.spawn();
        assert!(self.until_ready(Instant::now() + PATIENCE), "it doesn't start: {}", self.log());
    }

    /// Where its database is.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // At once: nobody wants to read what is on it again.
        if self.process.is_some() {
            self.stop(End::Immediate);
        }
    }
}

/// A schema of a test's own on the shared server.
pub struct Schema {
    url: String,
    name: String,
}

impl Schema {
    /// A schema without tables.
    pub fn new() -> Self {
        let server = std::env::var(SHARED).unwrap_or_else(|_| {
            panic!(
                "{SHARED} names no server: run `make test`, or \
                 `cargo run --package eventbooker-testkit --bin with-postgres -- cargo test …`"
            )
        });
        let name = new_name();
        let separator = if server.contains('?') { '&' } else { '?' };
        let url =
            format!("{server}{separator}options=-c%20search_path%3D{name}&application_name={name}");
        execute(&server, &format!("CREATE SCHEMA {name}"));
        Self { url, name }
    }

    /// A URL whose tables are those of the schema.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port of its server.
    pub fn port(&self) -> u16 {
        let config: Config = self.url.parse().expect("the URL is right");
        config.get_ports().first().copied().unwrap_or(5432)
    }

    /// The URL through another port of loopback, in the clear, so that what is said can be read there.
    pub fn url_through(&self, port: u16) -> String {
        let (_, path) = self.url.rsplit_once(&format!(":{}/", self.port())).expect("it has a port");
        format!("postgres://postgres@127.0.0.1:{port}/{path}&sslmode=disable")
    }

    /// Opens it as a store.
    pub async fn open(&self, access: Access, clock: Clock) -> Result<PostgresStore, OpenError> {
        let url = PostgresUrl::parse(&self.url, None).expect("the URL is right");
        if let Ok(script) = std::env::var(AFTER_MIGRATION)
            && access != Access::Look
            && PostgresStore::migrate(&url).await?.from == 0
        {
            self.execute(&fs::read_to_string(&script).expect(&script));
        }
        PostgresStore::open(url, access, clock, READERS).await
    }

    /// Runs statements in the schema. Returns how many rows the last one has changed.
    pub fn execute(&self, statements: &str) -> u64 {
        execute(&self.url, statements)
    }

    /// Where a copy is that has been damaged. It has the rows, and no keys that could prevent it.
    pub fn damaged(&self, damage: &str) -> PostgresUrl {
        let (name, copy) = (&self.name, self.copy_name());
        let copy_tables = format!(
            "DROP SCHEMA IF EXISTS {copy} CASCADE;
             CREATE SCHEMA {copy};
             DO $$ DECLARE name text; BEGIN
               FOR name IN SELECT table_name FROM information_schema.tables
                           WHERE table_schema = '{name}' LOOP
                 EXECUTE format('CREATE TABLE {copy}.%I AS SELECT * FROM {name}.%I', name, name);
               END LOOP;
             END $$;
             SET search_path = {copy};
             {damage}"
        );
        self.execute(&copy_tables);
        let url = self.url.replace(name, &copy);
        PostgresUrl::parse(&url, None).expect("the URL is right")
    }

    /// Whether a text is written in any row.
    pub fn holds(&self, text: &str) -> bool {
        let pattern = format!("%{}%", text.replace('\'', "''"));
        let count = format!(
            "CREATE TEMPORARY TABLE found (number bigint);
             DO $$ DECLARE name text; BEGIN
               FOR name IN SELECT table_name FROM information_schema.tables
                           WHERE table_schema = '{}' LOOP
                 EXECUTE format('INSERT INTO found SELECT count(*) FROM %I one
                                 WHERE one::text LIKE %L', name, '{pattern}');
               END LOOP;
             END $$;
             SELECT sum(number) FROM found",
            self.name
        );
        numbers(&self.url, &count) != [0]
    }

    fn copy_name(&self) -> String {
        format!("{}_damaged", self.name)
    }
}

impl Default for Schema {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        // A test's connections may be open for as long as its runtime has no time to close them.
        let (Self { url, name }, copy) = (&*self, self.copy_name());
        let drop = format!(
            "SET application_name = ''; SET lock_timeout = '5s';
             SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
             WHERE application_name LIKE '{name}%';
             DROP SCHEMA IF EXISTS {name}, {copy} CASCADE"
        );
        if let Err(error) = try_execute(url, &drop) {
            eprintln!("{name} stays: {error}");
        }
    }
}

/// Runs statements on a server. Returns how many rows the last one has changed.
pub fn execute(url: &str, statements: &str) -> u64 {
    try_execute(url, statements).unwrap_or_else(|error| panic!("{statements}: {error}"))
}

fn try_execute(url: &str, statements: &str) -> Result<u64, String> {
    let last = said(url, statements)?.into_iter().next_back();
    Ok(match last {
        Some(SimpleQueryMessage::CommandComplete(rows)) => rows,
        _ => 0,
    })
}

/// The numbers in the first column of what a query says.
pub fn numbers(url: &str, query: &str) -> Vec<i64> {
    let said = said(url, query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let number = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0)?.parse().expect("it is a number")),
        SimpleQueryMessage::CommandComplete(_) | SimpleQueryMessage::RowDescription(_) | _ => None,
    };
    said.into_iter().filter_map(number).collect()
}

fn said(url: &str, statements: &str) -> Result<Vec<SimpleQueryMessage>, String> {
    let statements = statements.to_owned();
    on_a_connection(url, async move |client| {
        client.simple_query(&statements).await.map_err(|error| format!("{error:?}"))
    })
}

/// Does something on a connection of its own, on a thread of its own: a test may be at home in a
/// runtime, or in none.
fn on_a_connection<T: Send + 'static>(
    url: &str,
    act: impl AsyncFnOnce(&Client) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let mut config: Config = url.parse().expect("the URL is right");
    if config.get_hosts().len() > 1 {
        // The one that takes writes.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    let acting = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let connected = config.connect(NoTls).await;
            let (client, connection) = connected.map_err(|error| format!("{error:?}"))?;
            let driver = tokio::spawn(connection);
            let done = act(&client).await;
            drop(client);
            // The server has heard the farewell when this ends.
            let _ = driver.await;
            done
        })
    });
    acting.join().expect("it tells of its errors")
}

/// A name that no other test has had on a server, whichever process it runs in.
fn new_name() -> String {
    static NAMES: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is right");
    let number = NAMES.fetch_add(1, Ordering::Relaxed);
    format!("test_{}_{}_{number}", now.as_micros(), std::process::id())
}

/// A program of the newest PostgreSQL on this machine.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let program = entry.path().join("bin").join(name);
            program.exists().then_some((version, program))
        })
        .max();
    newest.map_or_else(|| PathBuf::from(name), |(_, program)| program)
}

/// A program of PostgreSQL as a user that the server agrees to run as.
fn unprivileged(name: &str) -> Command {
    let program = program(name);
    if !getuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", UNPRIVILEGED, "--regid", UNPRIVILEGED, "--init-groups", "--"]);
    command.arg(program).current_dir("/");
    command
}

/// The processes that a process has started.
fn children(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_nonzero();
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let list = list.expect("the system tells whose children are whose");
    list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

fn run(command: &mut Command) {
    let output = command.output().expect("PostgreSQL is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it listens").port()
}
