//! A machine: a service on a runtime of its own, whose time stands still between the steps of a run.
//!
//! To crash it is to drop the runtime: every task ends at the await where it was, and nothing is left but
//! the database's file.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use eventbooker_core::{Context, Timestamp};
use eventbooker_engine::{Clock, Engine, Neighbours, Parts, Place, Settings};
use eventbooker_links::client::{Address, Client, Means};
use eventbooker_links::keys::{Keyring, Keys, SigningKey};
use eventbooker_links::server::{Internal, router};
use eventbooker_links::tokens::Tokens;
use eventbooker_store::Store;
use eventbooker_store::sqlite::SqliteStore;
use eventbooker_testkit::clock::NEW_YEAR;
use eventbooker_testkit::{Faults, FaultyStore, SeededEntropy};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::Control;
use crate::chance::Chance;
use crate::diary::Millis;
use crate::disk::{DiskLock, SlowWriter};
use crate::host::Host;
use crate::line::Line;
use crate::network::{Connector, Network};
use crate::words::late_words;

/// The services that are simulated. Nobody signs in here, so there is no `auth`.
pub(crate) const SERVICES: [Context; 3] = [Context::Events, Context::Accounts, Context::Bookings];

/// The time on a machine.
struct MachineClock {
    /// When it was started, by the runtime's clock and by the run's.
    started: Instant,
    started_at: Millis,
    /// How far it is ahead.
    skew_millis: i64,
}

#[async_trait]
impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        let micros = i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX);
        let shown = shown_at(self.started_at, self.skew_millis);
        Timestamp::from_micros(shown.as_micros() + micros)
    }

    async fn sleep_until(&self, instant: Timestamp) {
        loop {
            let left = self.now().until(instant);
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// What a clock shows that is ahead by so much.
fn shown_at(at: Millis, skew_millis: i64) -> Timestamp {
    let millis = i64::try_from(at).unwrap_or(i64::MAX) + skew_millis;
    Timestamp::from_micros(NEW_YEAR.as_micros() + millis * 1_000)
}

pub(crate) struct Machine {
    host: Host,
    file: PathBuf,
    /// Who writes to the file.
    lock: DiskLock,
    seed: u64,
    skew_millis: i64,
    control: Option<Control>,
    network: Network,
    starts: u64,
    running: Option<Running>,
}

struct Running {
    // Dropped first, while its tasks still have all they use.
    runtime: Runtime,
    engine: Engine,
    routes: Router,
    /// How far its time has come.
    now: Millis,
}

impl Machine {
    /// A machine with an empty database, that doesn't run.
    pub(crate) fn new(
        host: Host,
        directory: &Path,
        seed: u64,
        control: Option<Control>,
        network: Network,
    ) -> Self {
        let service = host.service;
        let file = directory.join(format!("{service}.db"));
        std::fs::write(&file, empty_database(service)).expect("there is room for a database");
        Self::on(host, file, DiskLock::default(), seed, control, network)
    }

    /// Another one with the same database.
    pub(crate) fn beside(&self, number: u8) -> Self {
        let host = Host { number, ..self.host };
        let (lock, network) = (Arc::clone(&self.lock), self.network.clone());
        Self::on(host, self.file.clone(), lock, self.seed, self.control, network)
    }

    fn on(
        host: Host,
        file: PathBuf,
        lock: DiskLock,
        seed: u64,
        control: Option<Control>,
        network: Network,
    ) -> Self {
        let chance = Chance::of(seed, &host.to_string());
        let skew_millis = i64::try_from(chance.between(0, 2_001)).unwrap_or(0) - 1_000;
        Self { host, file, lock, seed, skew_millis, control, network, starts: 0, running: None }
    }

    pub(crate) fn host(&self) -> Host {
        self.host
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// How far its clock is ahead.
    pub(crate) fn skew_millis(&self) -> i64 {
        self.skew_millis
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Starts the service, with what is in its database.
    pub(crate) fn start(&mut self, at: Millis) {
        assert!(self.running.is_none(), "it runs already");
        self.starts += 1;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime needs nothing that could be missing");
        let (engine, routes) = runtime.block_on(self.engine(at));
        self.running = Some(Running { runtime, engine, routes, now: at });
        self.network.set_up(self.host, true);
    }

    async fn engine(&self, at: Millis) -> (Engine, Router) {
        let (started, started_at, skew_millis) = (Instant::now(), at, self.skew_millis);
        let clock: Arc<dyn Clock> = Arc::new(MachineClock { started, started_at, skew_millis });
        let name = format!("{}, start {}", self.host, self.starts);
        let entropy = Arc::new(SeededEntropy::new(Chance::of(self.seed, &name).draw()));
        let store = SqliteStore::open_in_place(&self.file, self.host.service.into());
        let store: Arc<dyn Store> = Arc::new(store.expect("the database opens"));
        let chance = Arc::new(Chance::of(self.seed, &format!("{name}, disk")));
        let (lock, control) = (Arc::clone(&self.lock), self.control);
        let is_unsure = Chance::of(self.seed, "unsure disks").percent(20);
        let store = FaultyStore::new(store, Faults::default(), None).with_writers(move |inner| {
            let (chance, lock) = (Arc::clone(&chance), Arc::clone(&lock));
            Box::new(SlowWriter { inner, chance, lock, held: None, is_unsure, control })
        });
        let keyring = Arc::new(Keyring::of(keys(self.host.service)));
        let tokens = Arc::new(Tokens::new(keyring, Arc::clone(&clock)));
        let means = Means { tokens: Arc::clone(&tokens), clock: Arc::clone(&clock), entropy };
        let parts = Parts {
            store: Arc::new(store),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&means.entropy),
            write_answer: late_words,
        };
        let settings = Settings {
            users_may_deposit: true,
            lanes_have_threads: false,
            recount_every: None,
            ..Settings::default()
        };
        let neighbours = self.neighbours(&means);
        let engine = Engine::start_among(neighbours, parts, settings).await;
        let engine = engine.expect("the service starts");
        let internal = Internal::new(engine.clone(), tokens, clock, |_| None);
        (engine, router(internal))
    }

    /// Whom it asks for what it hasn't got.
    fn neighbours(&self, means: &Means) -> Neighbours {
        let line = |to: Context| {
            let connector = Connector { network: self.network.clone(), from: self.host };
            let address: Address = format!("http://{to}:1").parse().expect("an address");
            Arc::new(Client::over(connector, self.host.service, to, address, means.clone()))
        };
        let mut neighbours = Neighbours {
            identity: Place::Elsewhere(line(Context::Identity)),
            events: Place::Elsewhere(line(Context::Events)),
            accounts: Place::Elsewhere(line(Context::Accounts)),
            bookings: Place::Elsewhere(line(Context::Bookings)),
        };
        match self.host.service {
            Context::Identity => neighbours.identity = Place::Here,
            Context::Events => neighbours.events = Place::Here,
            Context::Accounts => neighbours.accounts = Place::Here,
            Context::Bookings => neighbours.bookings = Place::Here,
        }
        neighbours
    }

    /// Stops it in the middle of whatever it does.
    pub(crate) fn crash(&mut self) {
        self.network.set_up(self.host, false);
        drop(self.running.take());
    }

    /// Stops it as an operator does.
    pub(crate) fn stop(&mut self) {
        self.network.set_up(self.host, false);
        if let Some(Running { runtime, engine, .. }) = self.running.take() {
            runtime.block_on(engine.stop());
        }
    }

    /// Lets its time go on until then.
    pub(crate) fn step(&mut self, until: Millis) {
        let Some(running) = &mut self.running else { return };
        let span = Duration::from_millis(until - running.now);
        running.now = until;
        running.runtime.block_on(async { tokio::time::sleep(span).await });
    }

    /// It has stood still until now, as a process does that is stopped and goes on.
    pub(crate) fn stood_still(&mut self, until: Millis) {
        let Some(running) = &mut self.running else { return };
        let span = Duration::from_millis(until - running.now);
        running.now = until;
        running.runtime.block_on(async { tokio::time::advance(span).await });
    }

    /// Has it do something beside whatever it does.
    pub(crate) fn spawn<F>(&self, work: impl FnOnce(Engine) -> F) -> Option<JoinHandle<()>>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let running = self.running.as_ref()?;
        Some(running.runtime.spawn(work(running.engine.clone())))
    }

    /// Asks the service something that takes no time.
    pub(crate) fn ask<T>(&self, question: impl AsyncFnOnce(&Engine) -> T) -> Option<T> {
        let running = self.running.as_ref()?;
        Some(running.runtime.block_on(question(&running.engine)))
    }

    /// A connection from another machine.
    pub(crate) fn accept(&self, line: Line) {
        let Some(running) = &self.running else { return };
        let service = TowerToHyperService::new(running.routes.clone());
        running.runtime.spawn(async move {
            let mut http = http1::Builder::new();
            // A whole call is there at once, and its date would be today's.
            http.auto_date_header(false);
            // Whoever has called may be gone.
            let _ = http.serve_connection(TokioIo::new(line), service).await;
        });
    }
}

/// A service's keys, all of which know each other.
fn keys(of: Context) -> Keys {
    let key = |service: Context| {
        let mut seed = [0; 32];
        seed[..service.name().len()].copy_from_slice(service.name().as_bytes());
        SigningKey::from_seed(&seed)
    };
    let trusted: BTreeMap<_, _> = SERVICES
        .into_iter()
        .map(|service| (service, vec![key(service).public().clone()]))
        .collect();
    Keys::new(key(of), trusted)
}

/// The file of a database without rows, which is the same for all runs of a process.
fn empty_database(service: Context) -> &'static [u8] {
    static EMPTY: OnceLock<BTreeMap<Context, Vec<u8>>> = OnceLock::new();
    let all = EMPTY.get_or_init(|| {
        let directory = tempfile::tempdir().expect("there is a place for files");
        let make = |service: Context| {
            let file = directory.path().join(service.name());
            let store = SqliteStore::open_in_place(&file, service.into());
            // The last connection to close it copies its log.
            drop(store.expect("a new database opens"));
            (service, std::fs::read(&file).expect("it was made a moment ago"))
        };
        SERVICES.into_iter().map(make).collect()
    });
    &all[&service]
}
