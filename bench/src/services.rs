//! The four services, each as a process with a file of its own, behind nginx with the configuration that
//! is shipped.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use eventbooker_core::Context;
use tempfile::{Builder, TempDir};

use crate::Fallible;
use crate::children::Child;
use crate::database::Database;
use crate::http::{Client, Metrics};
use crate::server::{Ending, Server, free_address};

const SHIPPED: &str = include_str!("../../deploy/nginx/services.conf");
/// Where files are in memory.
const MEMORY: &str = "/dev/shm";
/// Whatever a command has to do here is little.
const COMMAND_MAX: Duration = Duration::from_secs(60);
/// nginx starts in no time, and ends so.
const NGINX_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Four services and the proxy before them.
pub(crate) struct Services {
    /// In the order of [`Context::ALL`].
    members: Vec<Member>,
    nginx: Nginx,
}

struct Member {
    context: Context,
    database: Database,
    server: Server,
}

impl Services {
    /// Starts them in a directory, with the rows of a database that nobody serves.
    pub(crate) fn start(program: &Path, source: &Database, dir: &Path) -> Fallible<Self> {
        let trusted = dir.join("trusted");
        create(&trusted)?;
        let mut internal = Vec::new();
        for context in Context::ALL {
            make_key(program, context, dir)?;
            let own = Database::file(database_file(context, dir));
            let copied = ["copy", "--from", source.url(), "--to", own.url()];
            run(program, &[&copied[..], &["--services", context.name()]].concat(), dir)?;
            internal.push((context, free_address()?));
        }
        let mut members = Vec::new();
        for (context, listen) in &internal {
            let mut flags = vec![
                format!("--services={context}"),
                format!("--internal-listen={listen}"),
                format!("--signing-key-file={}", signing_key(*context, dir).display()),
                format!("--trusted-keys={}", trusted.display()),
                "--trusted-proxies=127.0.0.1".to_owned(),
            ];
            let others = internal.iter().filter(|(other, _)| other != context);
            flags.extend(others.map(|(other, at)| format!("--{other}-url=http://{at}")));
            let database = Database::file(database_file(*context, dir));
            let server = Server::start_with(program, database.url(), dir, &flags)?;
            members.push(Member { context: *context, database, server });
        }
        let nginx = Nginx::start(&members, &dir.join("nginx"))?;
        Ok(Self { members, nginx })
    }

    /// Where the proxy listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.nginx.address
    }

    /// What all of them have counted.
    pub(crate) fn metrics(&self) -> Fallible<Metrics> {
        self.members.iter().try_fold(Metrics::default(), |all, member| {
            Ok(all.with(member.server.client().metrics()?))
        })
    }

    /// Seconds of cores that each has used since its start, with its name.
    pub(crate) fn used(&self) -> Fallible<Vec<(&'static str, f64)>> {
        let used = |member: &Member| Ok((member.context.name(), member.server.cpu_seconds()?));
        self.members.iter().map(used).collect()
    }

    /// What all of them keep in memory, in MiB.
    pub(crate) fn resident_mib(&self) -> Fallible<f64> {
        self.members
            .iter()
            .try_fold(0.0, |all, member| Ok(all + member.server.memory()?.resident_mib))
    }

    /// The database of one of them.
    pub(crate) fn database(&self, context: Context) -> &Database {
        &self.member(context).database
    }

    fn member(&self, context: Context) -> &Member {
        let found = self.members.iter().find(|member| member.context == context);
        found.expect("there are all four")
    }

    /// Stops all of them, and recounts over their databases. Fails as [`Server::stop`] does.
    pub(crate) fn stop(&self) -> Fallible<Ending> {
        self.nginx.stop()?;
        let mut stop_seconds: f64 = 0.0;
        // Whoever asks goes before those who are asked.
        for member in self.members.iter().rev() {
            stop_seconds = stop_seconds.max(member.server.terminate()?);
        }
        let [events, accounts] =
            [Context::Events, Context::Accounts].map(|context| self.database(context).url());
        let others = ["--events-database", events, "--account-database", accounts];
        let check_seconds = self.member(Context::Bookings).server.check(&others)?;
        Ok(Ending { stop_seconds, check_seconds })
    }
}

/// nginx. Its workers are in its group, which ends with it.
struct Nginx {
    child: Child,
    /// What it keeps in memory.
    _memory: TempDir,
    address: SocketAddr,
}

impl Nginx {
    fn start(members: &[Member], dir: &Path) -> Fallible<Self> {
        create(dir)?;
        let address = free_address()?;
        let file = dir.join("nginx.conf");
        // Started by root, its workers are somebody else.
        let open_to_all = Permissions::from_mode(0o755);
        let memory = Builder::new().permissions(open_to_all).tempdir_in(MEMORY);
        let memory =
            memory.map_err(|error| format!("can't create a folder in {MEMORY}: {error}"))?;
        let text = configuration(members, address, dir, memory.path())?;
        fs::write(&file, text)
            .map_err(|error| format!("can't write {}: {error}", file.display()))?;
        // Debian keeps it where only root looks.
        let debians = Path::new("/usr/sbin/nginx");
        let program = if debians.exists() { debians } else { Path::new("nginx") };
        let mut command = Command::new(program);
        command.arg("-p").arg(dir).arg("-c").arg(&file).args(["-e", "stderr", "-g", "daemon off;"]);
        command.stdout(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = Child::spawn(command, &dir.join("log"))?;
        let nginx = Self { child, _memory: memory, address };
        let (started, client) = (Instant::now(), Client::new(address));
        while !client.get("/ready").is_ok_and(|answer| answer.status == 200) {
            if let Some(status) = nginx.child.ended()? {
                return Err(nginx.child.told(&format!("nginx ended with {status}")));
            }
            if started.elapsed() > NGINX_MAX {
                return Err(nginx.child.told("nothing answers behind nginx"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(nginx)
    }

    fn stop(&self) -> Fallible<()> {
        self.child.terminate()?;
        self.child.wait_for_success(NGINX_MAX)
    }
}

/// The shipped configuration with addresses and a folder of ours.
fn configuration(
    members: &[Member],
    address: SocketAddr,
    dir: &Path,
    memory: &Path,
) -> Fallible<String> {
    let mut text = SHIPPED.to_owned();
    let ours = [
        ("listen 8080;".to_owned(), format!("listen {address};")),
        (" /tmp/".to_owned(), format!(" {}/", dir.display())),
        (format!(" {MEMORY}/"), format!(" {}/", memory.display())),
    ];
    let servers = members.iter().map(|member| {
        let there = format!("server {}:8080 ", member.context);
        (there, format!("server {} ", member.server.address()))
    });
    for (there, here) in servers.chain(ours) {
        if !text.contains(&there) {
            return Err(format!("services.conf has no `{there}`"));
        }
        text = text.replace(&there, &here);
    }
    Ok(text)
}

fn create(dir: &Path) -> Fallible<()> {
    fs::create_dir_all(dir).map_err(|error| format!("can't create {}: {error}", dir.display()))
}

fn database_file(context: Context, dir: &Path) -> PathBuf {
    dir.join(format!("{context}.db"))
}

fn signing_key(context: Context, dir: &Path) -> PathBuf {
    dir.join(format!("{context}.key.pem"))
}

fn make_key(program: &Path, context: Context, dir: &Path) -> Fallible<()> {
    let (signing, public) = (signing_key(context, dir), dir.join(format!("trusted/{context}.pem")));
    let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
    let flags = [flag("signing-key-file", &signing), flag("public-key-file", &public)];
    run(program, &["key", &flags[0], &flags[1]], dir)
}

/// Runs a command of the program to its end.
fn run(program: &Path, arguments: &[&str], dir: &Path) -> Fallible<()> {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null());
    Child::spawn(command, &dir.join("command.log"))?.wait_for_success(COMMAND_MAX)
}
