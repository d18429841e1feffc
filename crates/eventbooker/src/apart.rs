//! A process with some of the four services: its neighbours, and the listener on which they ask it.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Extensions;
use eventbooker_core::{Context, Contexts};
use eventbooker_engine::{Clock, Engine, Entropy, Neighbours, Place, SystemClock, SystemEntropy};
use eventbooker_links::acquaintance::Acquaintances;
use eventbooker_links::client::{Client, Means};
use eventbooker_links::keys::{self, Keyring};
use eventbooker_links::server::{Internal, router};
use eventbooker_links::tokens::Tokens;
use eventbooker_web::edge::{self, DrainReport, EdgeConfig, Peer, REFUSALS_MAX};
use eventbooker_web::headers::SecurityHeaders;
use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::settings::Apart;

/// Connections that the other services may have open. Each has a few; replicas of each have as many.
const CONNECTIONS_MAX: usize = 512;
/// Files that they and the lines to the neighbours may need.
pub(crate) const FILES: usize = CONNECTIONS_MAX + REFUSALS_MAX + 128;

/// How long it may take to greet the others before it is begun without them.
const GREETED_WITHIN: Duration = Duration::from_secs(1);

/// What ties a process to its neighbours.
pub(crate) struct Ties {
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) neighbours: Neighbours,
    listener: TcpListener,
    clock: Arc<dyn Clock>,
    acquaintances: Arc<Acquaintances>,
    lines: Vec<Arc<Client>>,
    keys_followed: JoinHandle<()>,
}

impl Ties {
    /// Reads keys, and takes the address on which the neighbours ask.
    pub(crate) fn make(apart: &Apart, here: Contexts) -> Result<Self, String> {
        let address = apart.internal_listen;
        let listener = edge::listen(address)
            .map_err(|error| format!("internal_listen: can't listen on {address}: {error}"))?;
        let keyring = Keyring::open(&apart.keys).map_err(|fault| fault.to_string())?;
        let keyring = Arc::new(keyring);
        let own: Vec<Context> = here.iter().collect();
        for stranger in keyring.strangers(&own) {
            tracing::warn!(
                service = %stranger,
                "its own public key isn't among the trusted ones; the others may not know it either"
            );
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let following = Arc::clone(&keyring).follow(apart.keys.clone(), Arc::clone(&clock));
        let keys_followed = tokio::spawn(following);
        let tokens = Arc::new(Tokens::new(keyring, Arc::clone(&clock)));
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let means = Means { tokens: Arc::clone(&tokens), clock: Arc::clone(&clock), entropy };
        let acquaintances = Arc::<Acquaintances>::default();
        let (neighbours, lines) = neighbours(apart, here, &means, &acquaintances);
        Ok(Self { tokens, neighbours, listener, clock, acquaintances, lines, keys_followed })
    }

    /// Lets the neighbours ask, on an edge that is like the public one, when it has been compared what both
    /// know of each other.
    pub(crate) async fn listen(
        self,
        engine: &Engine,
        edge: &EdgeConfig,
        shutdown: watch::Receiver<bool>,
    ) -> Result<Listening, String> {
        let Self { tokens, listener, clock, acquaintances, lines, keys_followed, .. } = self;
        acquaintances.begin(engine).await.map_err(|error| error.to_string())?;
        // Before anything is promised to anybody. Who isn't there yet is greeted later.
        let greetings = join_all(lines.iter().map(|line| line.greet()));
        let _ = tokio::time::timeout(GREETED_WITHIN, greetings).await;
        let keeping = Arc::clone(&acquaintances).keep(engine.clone(), Arc::clone(&clock));
        let mut touch: Vec<_> =
            lines.into_iter().map(|line| tokio::spawn(line.keep_in_touch())).collect();
        touch.push(tokio::spawn(keeping));
        let kept = Kept { engine: engine.clone(), acquaintances: Arc::clone(&acquaintances) };
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let internal = Internal::new(engine.clone(), tokens, clock, peer).acquainted(acquaintances);
        let config = EdgeConfig {
            connections_max: CONNECTIONS_MAX,
            security: SecurityHeaders { tls_only: false },
            ..edge.clone()
        };
        let edge = tokio::spawn(edge::serve(listener, router(internal), config, shutdown));
        tracing::info!("listening for the other services on http://{address}");
        touch.push(keys_followed);
        Ok(Listening { edge, touch, kept })
    }
}

/// The listener at work.
pub(crate) struct Listening {
    pub(crate) edge: JoinHandle<DrainReport>,
    /// What goes on beside it.
    touch: Vec<JoinHandle<()>>,
    kept: Kept,
}

/// What is kept in the end.
struct Kept {
    engine: Engine,
    acquaintances: Arc<Acquaintances>,
}

impl Listening {
    /// Waits until it has ended, after it was told to.
    pub(crate) async fn stop(self) {
        if !self.edge.is_finished() {
            // What the neighbours didn't hear they ask again.
            let _ = self.edge.await;
        }
        for task in self.touch {
            task.abort();
            // It holds the engine until it has really ended.
            let _ = task.await;
        }
        let Kept { engine, acquaintances } = self.kept;
        if let Err(reason) = acquaintances.keep_now(&engine).await {
            tracing::debug!(reason, "what was seen last of neighbours isn't kept");
        }
    }
}

fn peer(extensions: &Extensions) -> Option<std::net::SocketAddr> {
    extensions.get::<Peer>().map(|Peer(address)| *address)
}

/// Whoever isn't here is asked over HTTP, by the service that has the most to do with it.
fn neighbours(
    apart: &Apart,
    here: Contexts,
    means: &Means,
    acquaintances: &Arc<Acquaintances>,
) -> (Neighbours, Vec<Arc<Client>>) {
    let mut lines = Vec::new();
    let mut line = |to: Context, mostly: Context| {
        let from = Some(mostly).filter(|it| here.has(*it)).or_else(|| here.iter().next())?;
        let address = apart.address_of(to)?;
        let line = Client::new(from, to, address, means.clone());
        let line = Arc::new(line.acquainted(Arc::clone(acquaintances)));
        lines.push(Arc::clone(&line));
        Some(line)
    };
    let neighbours = Neighbours {
        identity: line(Context::Identity, Context::Bookings)
            .map_or(Place::Here, |line| Place::Elsewhere(line)),
        events: line(Context::Events, Context::Bookings)
            .map_or(Place::Here, |line| Place::Elsewhere(line)),
        accounts: line(Context::Accounts, Context::Bookings)
            .map_or(Place::Here, |line| Place::Elsewhere(line)),
        bookings: line(Context::Bookings, Context::Events)
            .map_or(Place::Here, |line| Place::Elsewhere(line)),
    };
    (neighbours, lines)
}

/// Where the files of a new pair of keys go.
#[derive(clap::Args)]
pub(crate) struct KeyFlags {
    /// The file for the key to sign with, which nobody else may read.
    #[arg(long, value_name = "FILE")]
    signing_key_file: std::path::PathBuf,
    /// The file for its public half, for the folder that --trusted-keys names at every service:
    /// auth.pem, events.pem, account.pem or book.pem.
    #[arg(long, value_name = "FILE")]
    public_key_file: std::path::PathBuf,
}

/// `eventbooker key`: makes a pair of keys.
pub(crate) fn make_key(flags: &KeyFlags) -> Result<(), String> {
    let KeyFlags { signing_key_file, public_key_file } = flags;
    let made = keys::generate(&SystemEntropy, signing_key_file, public_key_file);
    made.map_err(|fault| fault.to_string())
}
