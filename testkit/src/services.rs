//! The four services as processes of their own, each with its database, behind nginx: a cluster in
//! small, on loopback, or each on a machine of a test's own [network](crate::network).

use std::net::SocketAddr;
use std::path::Path;

use eventbooker_core::Context;
use rusqlite::Connection;

use crate::client::{Client, PASSWORD};
use crate::clock::PATIENCE;
use crate::database::Database;
use crate::network::{Cable, Machine, Network};
use crate::nginx::{Nginx, free_port};
use crate::server::{Installation, Ran, Server};

/// The four services, and the proxy before them.
pub struct Services {
    installation: Installation,
    members: Vec<Member>,
    proxy: Nginx,
    /// Where services see the proxy.
    proxy_address: String,
    flags: Vec<String>,
}

/// One of them.
struct Member {
    context: Context,
    /// Where it listens for everybody, and for the other services.
    public: SocketAddr,
    internal: SocketAddr,
    /// Its own, if it isn't the test's.
    machine: Option<Machine>,
    server: Option<Server>,
}

impl Services {
    /// Four services that have just been installed, with the proxy on a free port.
    pub fn start(program: &str, flags: &[&str]) -> Self {
        Self::start_on(program, flags, None)
    }

    /// The same with the proxy on this port, or on a free one.
    pub fn start_on(program: &str, flags: &[&str], port: Option<u16>) -> Self {
        let members = Context::ALL.map(Member::of).into();
        Self::install(program, flags, members, "127.0.0.1".to_owned(), port)
    }

    /// The same, each on a machine of its own.
    pub fn start_in(network: &mut Network, program: &str, flags: &[&str]) -> Self {
        let members = Context::ALL.map(|context| Member::on(network.machine(), context)).into();
        Self::install(program, flags, members, network.own_address(), None)
    }

    fn install(
        program: &str,
        flags: &[&str],
        members: Vec<Member>,
        proxy_address: String,
        port: Option<u16>,
    ) -> Self {
        let mut installation = Installation::on(program, Database::embedded());
        // For somebody at a terminal.
        if port.is_some() {
            installation = installation.deaf_to_ctrl_c();
        }
        std::fs::create_dir(installation.directory().join("trusted")).expect("room for a folder");
        for member in &members {
            let (signing, public) = (member.signing_key(), member.public_key());
            let made = ["key", "--signing-key-file", &signing, "--public-key-file", &public];
            let made = installation.run(&made);
            assert_eq!(made.code, Some(0), "{made:?}");
        }
        let servers: Vec<(&str, String)> = members
            .iter()
            .map(|member| (member.context.name(), member.public.to_string()))
            .collect();
        let servers: Vec<(&str, &str)> =
            servers.iter().map(|(name, address)| (*name, address.as_str())).collect();
        let proxy = Nginx::with("services.conf", &servers, port);
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut services = Self { installation, members, proxy, proxy_address, flags };
        for context in Context::ALL {
            services.serve(context);
        }
        services
    }

    fn place(context: Context) -> usize {
        Context::ALL.iter().position(|it| *it == context).expect("each has its place")
    }

    /// Starts one that isn't running, where it was before.
    pub fn serve(&mut self, context: Context) {
        let place = Self::place(context);
        let mut flags = vec![
            "--services".to_owned(),
            context.to_string(),
            "--listen".to_owned(),
            self.members[place].public.to_string(),
            "--internal-listen".to_owned(),
            self.members[place].internal.to_string(),
            "--database".to_owned(),
            database_of(context),
            "--signing-key-file".to_owned(),
            self.members[place].signing_key(),
            "--trusted-keys".to_owned(),
            "trusted".to_owned(),
            "--trusted-proxies".to_owned(),
            self.proxy_address.clone(),
        ];
        for other in self.members.iter().filter(|other| other.context != context) {
            flags
                .extend([format!("--{}-url", other.context), format!("http://{}", other.internal)]);
        }
        flags.extend(self.flags.iter().cloned());
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let server = match &self.members[place].machine {
            Some(machine) => self.installation.serve_on(machine, &flags),
            None => self.installation.serve(&flags),
        };
        self.members[place].server = Some(server);
    }

    /// One of them, which is running.
    pub fn server(&self, context: Context) -> &Server {
        self.members[Self::place(context)].server.as_ref().expect("it is running")
    }

    /// One of them, to be ended somehow. It isn't running any more.
    pub fn take(&mut self, context: Context) -> Server {
        self.members[Self::place(context)].server.take().expect("it is running")
    }

    /// The machine of one of them, which has one.
    pub fn machine(&self, context: Context) -> &Machine {
        self.members[Self::place(context)].machine.as_ref().expect("it has one of its own")
    }

    /// Where one of them listens for the others.
    pub fn internal(&self, context: Context) -> SocketAddr {
        self.members[Self::place(context)].internal
    }

    /// The proxy before them.
    pub fn proxy(&self) -> &Nginx {
        &self.proxy
    }

    /// A client of the proxy that is not signed in.
    pub fn client(&self) -> Client {
        self.proxy.client()
    }

    /// A client of the proxy with the session of a user.
    pub fn client_of(&self, login: &str) -> Client {
        self.client().signed_in(login, PASSWORD)
    }

    /// Where their files are.
    pub fn directory(&self) -> &Path {
        self.installation.directory()
    }

    /// Adds a user by the command line.
    pub fn add_user(&self, login: &str, role: &str) {
        let auth = database_of(Context::Identity);
        let added = ["user", "add", login, "--role", role, "--database", &auth];
        let ran = self.installation.run_with(&added, PASSWORD, &[]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }

    /// Changes rows of one of them behind its back. Returns how many.
    pub fn change(&self, context: Context, statement: &str) -> usize {
        self.connect(context).execute(statement, []).expect("a statement")
    }

    /// Rows of numbers in the database of one of them.
    pub fn rows<const N: usize>(&self, context: Context, query: &str) -> Vec<[i64; N]> {
        let database = self.connect(context);
        let mut statement = database.prepare(query).expect("the query is right");
        let rows = statement.query_map([], |row| {
            let mut numbers = [0; N];
            for (place, number) in numbers.iter_mut().enumerate() {
                *number = row.get(place)?;
            }
            Ok(numbers)
        });
        rows.and_then(Iterator::collect).expect("the columns hold numbers")
    }

    fn connect(&self, context: Context) -> Connection {
        let file = self.installation.directory().join(format!("{context}.db"));
        let database = Connection::open(file).expect("its database is there");
        database.busy_timeout(PATIENCE).expect("a setting");
        database
    }

    /// Runs a command beside them.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.installation.run(arguments)
    }

    /// Recounts every invariant over their databases.
    pub fn recount(&self) -> Ran {
        let [events, account, book] =
            [Context::Events, Context::Accounts, Context::Bookings].map(database_of);
        self.installation.run(&[
            "check",
            "--database",
            &book,
            "--events-database",
            &events,
            "--account-database",
            &account,
        ])
    }

    /// Stops all of them, one after the other.
    pub fn stop(mut self) {
        for member in &mut self.members {
            if let Some(server) = member.server.take() {
                server.terminate();
            }
        }
    }
}

impl Member {
    /// On addresses of its own: no connection of anybody else's takes its ports while it is restarted.
    fn of(context: Context) -> Self {
        let host = 2 + u8::try_from(Services::place(context)).expect("there are four");
        let address = || SocketAddr::from(([127, 0, 0, host], free_port()));
        Self { context, public: address(), internal: address(), machine: None, server: None }
    }

    /// On a machine of its own.
    fn on(machine: Machine, context: Context) -> Self {
        let [public, internal] =
            [Cable::Public, Cable::Internal].map(|cable| machine.address(cable));
        Self { context, public, internal, machine: Some(machine), server: None }
    }

    fn signing_key(&self) -> String {
        format!("{}.key.pem", self.context)
    }

    fn public_key(&self) -> String {
        format!("trusted/{}.pem", self.context)
    }
}

fn database_of(context: Context) -> String {
    format!("sqlite:{context}.db")
}
