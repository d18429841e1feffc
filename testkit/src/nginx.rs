//! nginx with the configuration that is shipped; only addresses and the folder for its files are
//! other ones.

use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::{Builder, TempDir};

use crate::client::Client;
use crate::clock::PATIENCE;

/// The configurations that are shipped.
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/nginx");
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running nginx.
pub struct Nginx {
    process: Child,
    directory: TempDir,
    port: u16,
}

impl Nginx {
    /// nginx before two replicas at these addresses, such as `127.0.0.1:8080`.
    pub fn before(replicas: [&str; 2]) -> Self {
        let names = ["replica-1", "replica-2"];
        Self::with("nginx.conf", &names.into_iter().zip(replicas).collect::<Vec<_>>(), None)
    }

    /// nginx with one of the shipped configurations, before these servers, by their names there; on this
    /// port, or on a free one.
    pub fn with(shipped: &str, servers: &[(&str, &str)], port: Option<u16>) -> Self {
        let begun = Instant::now();
        loop {
            if let Some(nginx) = Self::start(shipped, servers, port.unwrap_or_else(free_port)) {
                return nginx;
            }
            assert!(port.is_none(), "somebody else has port {port:?}");
            assert!(begun.elapsed() < PATIENCE, "there is always somebody else on its port");
        }
    }

    /// Starts it. `None` if it ended at once: somebody else has taken the port.
    fn start(shipped: &str, servers: &[(&str, &str)], port: u16) -> Option<Self> {
        // Started by root, its workers are somebody else.
        let open_to_all = Permissions::from_mode(0o755);
        let directory = Builder::new().permissions(open_to_all).tempdir();
        let directory = directory.expect("there is a place for a test's files");
        let file = directory.path().join("nginx.conf");
        fs::write(&file, configuration(shipped, servers, port, directory.path()))
            .expect("room for a file");
        // nginx opens them once more by their names in /dev.
        let output = |name: &str| {
            let file = File::options().create(true).append(true).open(directory.path().join(name));
            file.expect("room for a file")
        };
        let process = Command::new(program())
            .arg("-p")
            .arg(directory.path())
            .arg("-c")
            .arg(&file)
            .args(["-e", "stderr", "-g", "daemon off;"])
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .spawn()
            .expect("nginx is installed");
        let mut nginx = Self { process, directory, port };
        let begun = Instant::now();
        // What it refuses by itself it can say before there are replicas.
        while !nginx.client().ask("GET", "/metrics").send().is_ok_and(|answer| answer.status == 404)
        {
            if nginx.process.try_wait().expect("it is our child").is_some() {
                let log = nginx.log();
                assert!(log.contains("Address already in use"), "nginx doesn't start: {log}");
                return None;
            }
            assert!(begun.elapsed() < PATIENCE, "nginx doesn't answer: {}", nginx.log());
            thread::sleep(LOOK_EVERY);
        }
        Some(nginx)
    }

    /// Where it is, such as `127.0.0.1:8080`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A client of whatever is behind it.
    pub fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.address()))
    }

    /// Waits until it has logged a request with these words, and returns the line.
    pub fn until_logged(&self, words: &str) -> String {
        let begun = Instant::now();
        loop {
            let log = fs::read_to_string(self.directory.path().join("stdout")).unwrap_or_default();
            if let Some(line) = log.lines().find(|line| line.contains(words)) {
                return line.to_owned();
            }
            assert!(begun.elapsed() < PATIENCE, "{words}: {log}");
            thread::sleep(LOOK_EVERY);
        }
    }

    /// What it complains about.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Not killed: its workers would stay.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let _ = self.process.wait();
    }
}

fn configuration(shipped: &str, servers: &[(&str, &str)], port: u16, directory: &Path) -> String {
    let path = Path::new(SHIPPED).join(shipped);
    let shipped = fs::read_to_string(&path).expect("it is shipped");
    // Several of them may run here, and mustn't take each other's word.
    let in_memory = shipped.matches(" /dev/shm/").count();
    let mut text = shipped.replace(" /dev/shm/", " /tmp/");
    let servers = servers
        .iter()
        .map(|(name, address)| (format!("server {name}:8080 "), format!("server {address} "), 1));
    let listen = ("listen 8080;".to_owned(), format!("listen 127.0.0.1:{port};"), 1);
    let folder = (" /tmp/".to_owned(), format!(" {}/", directory.display()), 6 + in_memory);
    for (there, here, count) in servers.chain([listen, folder]) {
        assert_eq!(text.matches(&there).count(), count, "`{there}` in {}", path.display());
        text = text.replace(&there, &here);
    }
    text
}

/// Debian keeps it where only root looks.
fn program() -> &'static str {
    if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" }
}

/// A port of loopback on which nobody listens just now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it listens").port()
}
