//! Machines in small, with cables that can be pulled: network namespaces, each with a cable to two
//! switches, one for everybody and one for what services say to each other.
//!
//! A test that wants them runs once more [within](runs_within) a namespace of its own, where the
//! switches and the test's clients are. So nothing is ever made in the network of the machine, no name
//! has to be unique, and nothing is left: a namespace goes with its last process, and with it both
//! ends of its cables. Whoever keeps one ends with the test, however that ends, because it reads from
//! a pipe that only the test holds.
//!
//! Absent on purpose: loss and delay (`tc netem`), which not every kernel has; one direction alone.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _, stderr};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rustix::process::geteuid;

/// Says that a test runs in a namespace of its own.
const WITHIN: &str = "EVENTBOOKER_TEST_IN_NAMESPACE";
/// Where services listen. Each has its machine for itself.
const PUBLIC_PORT: u16 = 8080;
const INTERNAL_PORT: u16 = 8081;
/// The test's own end of the switch for everybody.
const OWN_HOST: u8 = 1;

/// Whether this is a run in a namespace of its own. Otherwise the test is run in one, to its end, and
/// there is nothing left to do.
pub fn runs_within(test: &str) -> bool {
    if std::env::var_os(WITHIN).is_some() {
        run("ip", ["link", "set", "lo", "up"]);
        return true;
    }
    if !geteuid().is_root() {
        // Past the harness, which shows nothing of a test that passes.
        let _ = writeln!(stderr(), "SKIPPED: {test}: only root may make network namespaces");
        return false;
    }
    // In CI too: a test that is skipped where it could run proves nothing.
    let mut made = Command::new("unshare");
    assert!(
        made.args(["--net", "true"]).status().is_ok_and(|ended| ended.success()),
        "root can't make a network namespace: a container needs CAP_SYS_ADMIN and CAP_NET_ADMIN"
    );
    let itself = std::env::current_exe().expect("tests are programs");
    let mut within = Command::new("unshare");
    within.args(["--net", "--kill-child", "--"]).arg(itself).args([test, "--exact", "--nocapture"]);
    done(within.env(WITHIN, "1"));
    false
}

/// What leads from a machine to a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cable {
    /// To the proxy and the clients.
    Public,
    /// To the other machines.
    Internal,
}

impl Cable {
    const ALL: [Self; 2] = [Self::Public, Self::Internal];

    /// The name of its switch, and of its end in a machine.
    const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
        }
    }

    const fn network(self) -> u8 {
        match self {
            Self::Public => 1,
            Self::Internal => 2,
        }
    }

    fn host(self, host: u8) -> [u8; 4] {
        [10, self.network(), 0, host]
    }
}

/// The two switches, and nothing on them.
pub struct Network {
    machines: u8,
}

impl Network {
    /// Its switches. For a test that [runs within](runs_within) a namespace of its own.
    pub fn lay() -> Self {
        assert!(std::env::var_os(WITHIN).is_some(), "this would be the machine's own network");
        for cable in Cable::ALL {
            let name = cable.name();
            run("ip", ["link", "add", name, "type", "bridge"]);
            run("ip", ["link", "set", name, "up"]);
        }
        let own = with_mask(Cable::Public.host(OWN_HOST));
        run("ip", ["address", "add", &own, "dev", Cable::Public.name()]);
        Self { machines: 0 }
    }

    /// Where machines see the test's clients and the proxy.
    pub fn own_address(&self) -> String {
        std::net::Ipv4Addr::from(Cable::Public.host(OWN_HOST)).to_string()
    }

    /// One more machine, on both switches.
    pub fn machine(&mut self) -> Machine {
        self.machines += 1;
        Machine::plugged_in(OWN_HOST + self.machines)
    }
}

/// A machine of its own, as far as the network goes.
pub struct Machine {
    host: u8,
    /// Keeps the namespace for as long as the machine is there.
    keeper: Child,
}

impl Machine {
    fn plugged_in(host: u8) -> Self {
        let mut keeper = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", "echo in && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux is installed");
        let mut said = String::new();
        let stdout = keeper.stdout.take().expect("it is a pipe");
        let machine = Self { host, keeper };
        BufReader::new(stdout).read_line(&mut said).expect("it says something");
        assert_eq!(said, "in\n", "there is no namespace");
        machine.run(["link", "set", "lo", "up"]);
        let (namespace, keeper) = (machine.keeper.id().to_string(), host.to_string());
        for cable in Cable::ALL {
            let (name, end) = (cable.name(), format!("{}-{keeper}", cable.name()));
            let peer = ["type", "veth", "peer", "name", name, "netns", &namespace];
            run("ip", [&["link", "add", end.as_str()][..], &peer].concat());
            run("ip", ["link", "set", &end, "master", name, "up"]);
            machine.run(["address", "add", &with_mask(cable.host(host)), "dev", name]);
            machine.run(["link", "set", name, "up"]);
        }
        machine
    }

    /// Where it can be reached by a cable.
    pub fn address(&self, cable: Cable) -> SocketAddr {
        let port = match cable {
            Cable::Public => PUBLIC_PORT,
            Cable::Internal => INTERNAL_PORT,
        };
        SocketAddr::from((cable.host(self.host), port))
    }

    /// A program, about to be run there. It is the process that is started, and not a child of it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        let namespace = format!("--net=/proc/{}/ns/net", self.keeper.id());
        command.arg(namespace).arg("--").arg(program);
        command
    }

    /// Pulls a cable out.
    pub fn unplug(&self, cable: Cable) {
        self.set(cable, "down");
    }

    /// Puts it back.
    pub fn plug_in(&self, cable: Cable) {
        self.set(cable, "up");
    }

    fn set(&self, cable: Cable, state: &str) {
        let end = format!("{}-{}", cable.name(), self.host);
        run("ip", ["link", "set", &end, state]);
    }

    fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) {
        done(self.command("ip").args(arguments));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

fn with_mask([a, b, c, d]: [u8; 4]) -> String {
    format!("{a}.{b}.{c}.{d}/24")
}

fn run<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) {
    done(Command::new(program).args(arguments));
}

fn done(command: &mut Command) {
    let ended = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(ended.success(), "{command:?}: {ended}");
}
