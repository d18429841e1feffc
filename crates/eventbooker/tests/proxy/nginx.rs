//! nginx with the configuration that is shipped; only addresses and the folder for its files are
//! other ones.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use eventbooker_testkit::client::Client;
use eventbooker_testkit::clock::PATIENCE;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/nginx/nginx.conf");
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running nginx.
pub(crate) struct Nginx {
    process: Child,
    directory: TempDir,
    port: u16,
}

impl Nginx {
    /// nginx before two replicas at these addresses, such as `127.0.0.1:8080`.
    pub(crate) fn before(replicas: [&str; 2]) -> Self {
        let begun = Instant::now();
        loop {
            if let Some(nginx) = Self::start(replicas) {
                return nginx;
            }
            assert!(begun.elapsed() < PATIENCE, "there is always somebody else on its port");
        }
    }

    /// Starts it. `None` if it ended at once: somebody else has taken the port.
    fn start(replicas: [&str; 2]) -> Option<Self> {
        let directory = TempDir::new().expect("there is a place for a test's files");
        let port = free_port();
        let file = directory.path().join("nginx.conf");
        fs::write(&file, configuration(replicas, port, directory.path())).expect("room for a file");
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
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A client of whatever is behind it.
    pub(crate) fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.address()))
    }

    /// Waits until it has logged a request with these words, and returns the line.
    pub(crate) fn until_logged(&self, words: &str) -> String {
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
    pub(crate) fn log(&self) -> String {
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

fn configuration(replicas: [&str; 2], port: u16, directory: &Path) -> String {
    let mut text = fs::read_to_string(SHIPPED).expect("it is shipped");
    let folder = format!("{}/", directory.display());
    let listen = format!("listen 127.0.0.1:{port};");
    for (shipped, here, count) in [
        ("server replica-1:8080 ", format!("server {} ", replicas[0]), 1),
        ("server replica-2:8080 ", format!("server {} ", replicas[1]), 1),
        ("listen 8080;", listen, 1),
        (" /tmp/", format!(" {folder}"), 6),
    ] {
        assert_eq!(text.matches(shipped).count(), count, "`{shipped}` in {SHIPPED}");
        text = text.replace(shipped, &here);
    }
    text
}

/// Debian keeps it where only root looks.
fn program() -> &'static str {
    if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it listens").port()
}
