//! A PostgreSQL server of a test's own, which the test may stop, kill, follow and starve.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getuid, kill_process};
use tempfile::TempDir;
use tokio::net::TcpSocket;

use super::{execute, numbers};
use crate::clock::PATIENCE;
use crate::server::pause;

/// The server refuses to run as root, so it runs as this user.
const UNPRIVILEGED: &str = "postgres";
/// How often a server is asked whether it is there yet.
const LOOK_EVERY: Duration = Duration::from_millis(20);

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
    port: Port,
    process: Option<Child>,
    file_kib_max: Option<u32>,
}

impl Server {
    /// A new server on a free port of loopback. Settings are lines of `postgresql.conf`.
    pub fn start(settings: &[&str]) -> Self {
        Self::start_guarded(settings, &[])
    }

    /// The same, that doesn't let everybody in. Rules are lines of `pg_hba.conf`; the first that fits
    /// counts.
    pub fn start_guarded(settings: &[&str], rules: &[&str]) -> Self {
        let mut server = Self::initialised(settings);
        server.write_rules(rules);
        server.launch();
        server
    }

    /// Lets others in from now on. Rules come before those that it started with.
    pub fn guard(&self, rules: &[&str]) {
        let before = "SELECT (extract(epoch FROM pg_conf_load_time()) * 1000000)::bigint";
        let loaded_at = numbers(&self.url(), before);
        self.write_rules(rules);
        execute(&self.url(), "SELECT pg_reload_conf()");
        let begun = Instant::now();
        // A connection is let in by the rules that the server knew when it came.
        while numbers(&self.url(), before) == loaded_at {
            assert!(begun.elapsed() < PATIENCE, "it doesn't read its rules: {}", self.log());
        }
    }

    fn write_rules(&self, rules: &[&str]) {
        let file = self.data().join("pg_hba.conf");
        let others = fs::read_to_string(&file).expect("it was made");
        fs::write(&file, format!("{}\n{others}", rules.join("\n"))).expect("it can be written");
    }

    /// The same, that speaks TLS, too, as `localhost`.
    pub fn start_with_tls(settings: &[&str]) -> (Self, Certificates) {
        let mut server = Self::initialised(settings);
        let certificates = Certificates::make(server.directory.path());
        let key = certificates.server_key();
        run(Command::new("chmod").arg("600").arg(&key));
        if getuid().is_root() {
            run(Command::new("chown").arg(UNPRIVILEGED).arg(&key));
        }
        let certificate = certificates.server();
        server.configure(&[
            "ssl = on",
            &format!("ssl_key_file = '{}'", key.display()),
            &format!("ssl_cert_file = '{}'", certificate.display()),
        ]);
        server.launch();
        (server, certificates)
    }

    /// The same, whose files can't grow beyond so many KiB, until [`make_room`](Self::make_room). That
    /// should be no multiple of a page: a page that is cut off is how the server knows a full disk.
    pub fn start_with_little_room(settings: &[&str], file_kib_max: u32) -> Self {
        let mut server = Self::initialised(settings);
        server.file_kib_max = Some(file_kib_max);
        server.launch();
        server
    }

    /// Lets files grow again.
    pub fn make_room(&self) {
        let server = Pid::from_child(self.process.as_ref().expect("it runs"));
        for process in children(server).into_iter().chain([server]) {
            let pid = process.as_raw_nonzero().to_string();
            run(unprivileged("prlimit").args(["--pid", &pid, "--fsize=unlimited:"]));
        }
    }

    /// A server that has never run.
    fn initialised(settings: &[&str]) -> Self {
        let server = Self::prepare();
        run(unprivileged("initdb")
            .args(["--auth=trust", "--username=postgres", "--no-sync", "--wal-segsize=1"])
            .args(["--encoding=UTF8", "--no-locale", "-D"])
            .arg(server.data()));
        server.configure(settings);
        server
    }

    /// A place for a server.
    fn prepare() -> Self {
        let directory = TempDir::with_prefix("eventbooker-postgres-");
        let directory = directory.expect("there is a place for a test's files");
        if getuid().is_root() {
            run(Command::new("chown").arg(UNPRIVILEGED).arg(directory.path()));
        }
        Self { directory, port: Port::free(), process: None, file_kib_max: None }
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

    /// Starts it, for the first time or again, and waits until it answers.
    pub fn launch(&mut self) {
        self.spawn();
        assert!(self.until_ready(Instant::now() + PATIENCE), "it doesn't start: {}", self.log());
    }

    fn spawn(&mut self) {
        let log = self.directory.path().join("log");
        let log = fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let port = self.port.number.to_string();
        let mut command = unprivileged("postgres");
        if let Some(kib) = self.file_kib_max {
            let mut limited = Command::new("bash");
            limited.args(["-c", "ulimit -S -f $0 && exec \"$@\"", &kib.to_string()]);
            limited.arg(command.get_program()).args(command.get_args()).current_dir("/");
            command = limited;
        }
        command.arg("-D").arg(self.data()).args(["-p", &port, "-h", "127.0.0.1"]);
        command.arg("-k").arg(self.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().expect("PostgreSQL is installed"));
    }

    /// Waits until it answers; whether it does.
    fn until_ready(&mut self, deadline: Instant) -> bool {
        let port = self.port.number.to_string();
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
        pause(&process);
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
    #[must_use]
    pub fn synchronous_standby(&self) -> Self {
        let mut standby = Self::prepare();
        run(unprivileged("pg_basebackup")
            .args(["--host=127.0.0.1", "--username=postgres", "--write-recovery-conf"])
            .args(["--checkpoint=fast", "--no-sync", &format!("--port={}", self.port.number), "-D"])
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
        let hosts = servers.iter().map(|server| format!("127.0.0.1:{}", server.port()));
        let hosts = hosts.collect::<Vec<_>>().join(",");
        format!("postgres://postgres@{hosts}/postgres")
    }

    /// Where its database is.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port.number)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port.number
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

/// Certificates for a server called `localhost`, and for nobody else, signed by an authority that only
/// these tests know.
pub struct Certificates {
    directory: PathBuf,
}

impl Certificates {
    fn make(directory: &Path) -> Self {
        let this = Self { directory: directory.to_owned() };
        for authority in ["authority", "stranger"] {
            this.openssl(&format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2
                 -subj /CN={authority} -keyout {authority}.key -out {authority}.crt"
            ));
        }
        this.openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost
             -addext subjectAltName=DNS:localhost -keyout server.key -out server.csr",
        );
        this.openssl(
            "x509 -req -in server.csr -CA authority.crt -CAkey authority.key -days 2
             -copy_extensions copy -out server.crt",
        );
        this
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        run(command.args(arguments.split_whitespace()).current_dir(&self.directory));
    }

    /// The certificate of the authority that has signed the server's.
    pub fn authority(&self) -> PathBuf {
        self.directory.join("authority.crt")
    }

    /// The certificate of an authority that hasn't.
    pub fn stranger(&self) -> PathBuf {
        self.directory.join("stranger.crt")
    }

    fn server(&self) -> PathBuf {
        self.directory.join("server.crt")
    }

    fn server_key(&self) -> PathBuf {
        self.directory.join("server.key")
    }
}

/// A program of the newest PostgreSQL on this machine.
pub fn program(name: &str) -> PathBuf {
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

/// A program as the user that the server runs as.
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

/// A port of loopback that is a server's for as long as the value is there, also while it doesn't run:
/// what has been bound is given to nobody who asks for any port, and a server may listen on it.
struct Port {
    number: u16,
    _bound: TcpSocket,
}

impl Port {
    fn free() -> Self {
        let socket = TcpSocket::new_v4().expect("the system gives a socket");
        socket.set_reuseaddr(true).expect("it isn't bound yet");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(any).expect("loopback has a free port");
        let number = socket.local_addr().expect("it is bound").port();
        Self { number, _bound: socket }
    }
}
