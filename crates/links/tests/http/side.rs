//! Services: an engine with its database each, and an internal listener.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Extensions;
use eventbooker_core::Context;
use eventbooker_engine::{Clock, Engine, Neighbours, Parts, Place, Settings};
use eventbooker_links::acquaintance::Acquaintances;
use eventbooker_links::client::{Address, Client, Means};
use eventbooker_links::keys::{Keyring, Keys, SigningKey};
use eventbooker_links::server::{Internal, router};
use eventbooker_links::tokens::Tokens;
use eventbooker_store::{Access, Changes, Store};
use eventbooker_testkit::SeededEntropy;
use eventbooker_testkit::database::Database;
use eventbooker_testkit::rows;
use eventbooker_testkit::service::{UNLIMITED, in_words};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

/// The key of a service; 0 is its first one.
pub(crate) fn key(of: Context, number: u8) -> SigningKey {
    let mut seed = [number; 32];
    seed[..of.name().len()].copy_from_slice(of.name().as_bytes());
    SigningKey::from_seed(&seed)
}

/// A service's keys, all of which know each other.
pub(crate) fn keys(of: Context) -> Keys {
    let trusted: BTreeMap<_, _> = Context::ALL
        .into_iter()
        .map(|service| (service, vec![key(service, 0).public().clone()]))
        .collect();
    Keys::new(key(of, 0), trusted)
}

pub(crate) fn client(
    from: Context,
    to: Context,
    address: SocketAddr,
    clock: &Arc<dyn Clock>,
) -> Client {
    let means = Means {
        tokens: Arc::new(Tokens::new(Arc::new(Keyring::of(keys(from))), Arc::clone(clock))),
        clock: Arc::clone(clock),
        entropy: Arc::new(SeededEntropy::new(1)),
    };
    Client::new(from, to, format!("http://{address}").parse::<Address>().unwrap(), means)
}

/// Where each service listens, in the order of [`Context::ALL`].
pub(crate) type Addresses = [SocketAddr; 4];

/// Whom a service asks for what it hasn't got.
fn neighbours_of(
    of: Context,
    addresses: Addresses,
    clock: &Arc<dyn Clock>,
    acquaintances: &Arc<Acquaintances>,
) -> (Neighbours, Vec<Arc<Client>>) {
    let [auth, events, account, book] = addresses;
    let mut lines = Vec::new();
    let mut line = |to, address| {
        let line = client(of, to, address, clock).acquainted(Arc::clone(acquaintances));
        lines.push(Arc::new(line));
        Arc::clone(&lines[lines.len() - 1])
    };
    let mut neighbours = Neighbours {
        identity: Place::Elsewhere(line(Context::Identity, auth)),
        events: Place::Elsewhere(line(Context::Events, events)),
        accounts: Place::Elsewhere(line(Context::Accounts, account)),
        bookings: Place::Elsewhere(line(Context::Bookings, book)),
    };
    match of {
        Context::Identity => neighbours.identity = Place::Here,
        Context::Events => neighbours.events = Place::Here,
        Context::Accounts => neighbours.accounts = Place::Here,
        Context::Bookings => neighbours.bookings = Place::Here,
    }
    (neighbours, lines)
}

/// An address that is taken, and where nobody listens.
pub(crate) struct Nobody {
    pub(crate) address: SocketAddr,
    _taken: TcpSocket,
}

impl Nobody {
    pub(crate) fn anywhere() -> Self {
        let taken = TcpSocket::new_v4().unwrap();
        taken.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self { address: taken.local_addr().unwrap(), _taken: taken }
    }
}

pub(crate) struct Side {
    pub(crate) engine: Engine,
    pub(crate) database: Database,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) acquaintances: Arc<Acquaintances>,
    internal: Internal,
    listening: Option<JoinHandle<()>>,
    lines: Vec<Arc<Client>>,
    keeping: Vec<JoinHandle<()>>,
}

impl Side {
    /// All services in one, called events.
    pub(crate) async fn whole(clock: &Arc<dyn Clock>) -> Self {
        let nobody = (Neighbours::default(), Vec::new());
        Self::with(Database::new(), Context::Events, Arc::default(), nobody, clock).await
    }

    /// One service.
    pub(crate) async fn of(of: Context, addresses: Addresses, clock: &Arc<dyn Clock>) -> Self {
        Self::on(Database::new(), of, addresses, clock).await
    }

    /// The same, on this database.
    pub(crate) async fn on(
        database: Database,
        of: Context,
        addresses: Addresses,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let acquaintances = Arc::<Acquaintances>::default();
        let neighbours = neighbours_of(of, addresses, clock, &acquaintances);
        Self::with(database, of, acquaintances, neighbours, clock).await
    }

    /// A replica of one, on the same database.
    pub(crate) async fn beside(
        other: &Self,
        of: Context,
        addresses: Addresses,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let acquaintances = Arc::<Acquaintances>::default();
        let neighbours = neighbours_of(of, addresses, clock, &acquaintances);
        let store = other.database.open(Access::Tool).await.unwrap();
        Self::of_store(Database::embedded(), store, of, acquaintances, neighbours, clock).await
    }

    async fn with(
        database: Database,
        name: Context,
        acquaintances: Arc<Acquaintances>,
        neighbours: (Neighbours, Vec<Arc<Client>>),
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let store = database.open(Access::Tool).await.unwrap();
        Self::of_store(database, store, name, acquaintances, neighbours, clock).await
    }

    async fn of_store(
        database: Database,
        store: Arc<dyn Store>,
        name: Context,
        acquaintances: Arc<Acquaintances>,
        (neighbours, lines): (Neighbours, Vec<Arc<Client>>),
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let parts = Parts {
            store,
            clock: Arc::clone(clock),
            entropy: Arc::new(SeededEntropy::new(2)),
            write_answer: in_words,
        };
        let settings = Settings { holds: UNLIMITED, recount_every: None, ..Settings::default() };
        let engine = Engine::start_among(neighbours, parts, settings).await.unwrap();
        let keyring = Arc::new(Keyring::of(keys(name)));
        let tokens = Arc::new(Tokens::new(Arc::clone(&keyring), Arc::clone(clock)));
        acquaintances.begin(&engine).await.unwrap();
        let keeping = Arc::clone(&acquaintances).keep(engine.clone(), Arc::clone(clock));
        let keeping = vec![tokio::spawn(keeping)];
        let internal = Internal::new(engine.clone(), tokens, Arc::clone(clock), peer)
            .acquainted(Arc::clone(&acquaintances));
        Self { engine, database, keyring, acquaintances, internal, listening: None, lines, keeping }
    }

    /// Greets the others now and then.
    fn keep_in_touch(&mut self) {
        let touch = self.lines.iter().map(|line| tokio::spawn(Arc::clone(line).keep_in_touch()));
        self.keeping.extend(touch);
    }

    pub(crate) async fn listen(&mut self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.listen_on(listener, |routes| routes);
        address
    }

    /// Listens, with something between the network and the routes.
    pub(crate) fn listen_on(
        &mut self,
        listener: TcpListener,
        between: impl FnOnce(Router) -> Router,
    ) {
        let routes = between(router(self.internal.clone()));
        self.listening = Some(tokio::spawn(async move {
            let service = routes.into_make_service_with_connect_info::<SocketAddr>();
            axum::serve(listener, service).await.unwrap();
        }));
    }

    /// All rows there are.
    pub(crate) fn rows(&self) -> i64 {
        let tables = [
            "accounts",
            "answers",
            "bookings",
            "errands",
            "events",
            "journal",
            "memories",
            "postings",
            "saga_steps",
            "sessions",
            "slots",
            "tallies",
            "users",
        ];
        tables.iter().map(|t| self.database.number(&format!("SELECT count(*) FROM {t}"))).sum()
    }

    pub(crate) async fn stop(self) -> Database {
        if let Some(listening) = self.listening {
            listening.abort();
            let _ = listening.await;
        }
        for task in self.keeping {
            task.abort();
            let _ = task.await;
        }
        self.engine.stop().await;
        self.database
    }
}

fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer)
}

/// Four services, and nothing between them but HTTP.
pub(crate) struct Four {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) addresses: Addresses,
    sides: Vec<Side>,
}

impl Four {
    /// They, with something between the network and the routes of each.
    pub(crate) async fn start(clock: Arc<dyn Clock>, between: impl Fn(Router) -> Router) -> Self {
        Self::on(Database::new, clock, between).await
    }

    /// They, on a server.
    pub(crate) async fn on_server(clock: Arc<dyn Clock>) -> Self {
        Self::on(Database::postgres, clock, |routes| routes).await
    }

    /// They, on files.
    pub(crate) async fn embedded(clock: Arc<dyn Clock>) -> Self {
        let mut four = Self::on(Database::embedded, clock, |routes| routes).await;
        four.sides.iter_mut().for_each(Side::keep_in_touch);
        four
    }

    async fn on(
        database: impl Fn() -> Database,
        clock: Arc<dyn Clock>,
        between: impl Fn(Router) -> Router,
    ) -> Self {
        let mut listeners = Vec::new();
        for _ in Context::ALL {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let addresses: Vec<_> = listeners.iter().map(|it| it.local_addr().unwrap()).collect();
        let addresses: Addresses = addresses.try_into().unwrap();
        let mut sides = Vec::new();
        for (of, listener) in Context::ALL.into_iter().zip(listeners) {
            let mut side = Side::on(database(), of, addresses, &clock).await;
            side.listen_on(listener, &between);
            sides.push(side);
        }
        Self { clock, addresses, sides }
    }

    pub(crate) fn engine(&self, of: Context) -> &Engine {
        let place = Context::ALL.iter().position(|it| *it == of).unwrap();
        &self.sides[place].engine
    }

    /// One of them.
    pub(crate) fn side(&self, of: Context) -> &Side {
        let place = Context::ALL.iter().position(|it| *it == of).unwrap();
        &self.sides[place]
    }

    /// Lets one greet another.
    pub(crate) async fn greet(&self, from: Context, to: Context) -> Result<(), String> {
        let acquaintances = Arc::clone(&self.side(from).acquaintances);
        self.client(from, to).acquainted(acquaintances).greet().await
    }

    /// Stops one, does something to its database, and starts it where it was.
    pub(crate) async fn restart(
        &mut self,
        of: Context,
        meanwhile: impl FnOnce(Database) -> Database,
    ) {
        let place = Context::ALL.iter().position(|it| *it == of).unwrap();
        let database = meanwhile(self.sides.remove(place).stop().await);
        let mut side = Side::on(database, of, self.addresses, &self.clock).await;
        let listener = TcpListener::bind(self.addresses[place]).await.unwrap();
        side.listen_on(listener, |routes| routes);
        side.keep_in_touch();
        self.sides.insert(place, side);
    }

    /// A line from one service to another.
    pub(crate) fn client(&self, from: Context, to: Context) -> Client {
        let place = Context::ALL.iter().position(|it| *it == to).unwrap();
        client(from, to, self.addresses[place], &self.clock)
    }

    /// Registers users, whose passwords nobody knows.
    pub(crate) async fn add_users(&self, users: impl IntoIterator<Item = i64>) {
        let user = |id| rows::user(id, &format!("user-{id}"));
        let users_added = users.into_iter().map(user).collect();
        let store = self.engine(Context::Identity).store();
        rows::save(store, Changes { users_added, ..Changes::default() }).await;
    }

    pub(crate) async fn stop(self) {
        for side in self.sides {
            side.stop().await;
        }
    }
}
