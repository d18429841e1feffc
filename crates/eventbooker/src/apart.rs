//! A process with some of the four services: its neighbours, and the listener on which they ask it.

use std::sync::Arc;

use axum::http::Extensions;
use eventbooker_core::{Context, Contexts};
use eventbooker_engine::{Clock, Engine, Entropy, Neighbours, Place, SystemClock, SystemEntropy};
use eventbooker_links::client::{Client, Means};
use eventbooker_links::keys::{self, Keyring};
use eventbooker_links::server::{Internal, router};
use eventbooker_links::tokens::Tokens;
use eventbooker_web::edge::{self, DrainReport, EdgeConfig, Peer, REFUSALS_MAX};
use eventbooker_web::headers::SecurityHeaders;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::settings::Apart;

/// Connections that the other services may have open. Each has a few; replicas of each have as many.
const CONNECTIONS_MAX: usize = 512;
/// Files that they and the lines to the neighbours may need.
pub(crate) const FILES: usize = CONNECTIONS_MAX + REFUSALS_MAX + 128;

/// What ties a process to its neighbours.
pub(crate) struct Ties {
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) neighbours: Neighbours,
    listener: TcpListener,
    clock: Arc<dyn Clock>,
    keys_followed: JoinHandle<()>,
}

impl Ties {
    /// Reads keys, and takes the address on which the neighbours ask.
    pub(crate) async fn make(apart: &Apart, here: Contexts) -> Result<Self, String> {
        let address = apart.internal_listen;
        let listener = TcpListener::bind(address)
            .await
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
        let neighbours = neighbours(apart, here, &means);
        Ok(Self { tokens, neighbours, listener, clock, keys_followed })
    }

    /// Lets the neighbours ask, on an edge that is like the public one.
    pub(crate) fn listen(
        self,
        engine: &Engine,
        edge: &EdgeConfig,
        shutdown: watch::Receiver<bool>,
    ) -> Result<Listening, String> {
        let Self { tokens, listener, clock, keys_followed, .. } = self;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let internal = Internal::new(engine.clone(), tokens, clock, peer);
        let config = EdgeConfig {
            connections_max: CONNECTIONS_MAX,
            security: SecurityHeaders { tls_only: false },
            ..edge.clone()
        };
        let edge = tokio::spawn(edge::serve(listener, router(internal), config, shutdown));
        tracing::info!("listening for the other services on http://{address}");
        Ok(Listening { edge, keys_followed })
    }
}

/// The listener at work.
pub(crate) struct Listening {
    pub(crate) edge: JoinHandle<DrainReport>,
    keys_followed: JoinHandle<()>,
}

impl Listening {
    /// Waits until it has ended, after it was told to.
    pub(crate) async fn stop(self) {
        self.keys_followed.abort();
        if !self.edge.is_finished() {
            // What the neighbours didn't hear they ask again.
            let _ = self.edge.await;
        }
    }
}

fn peer(extensions: &Extensions) -> Option<std::net::SocketAddr> {
    extensions.get::<Peer>().map(|Peer(address)| *address)
}

/// Whoever isn't here is asked over HTTP, by the service that has the most to do with it.
fn neighbours(apart: &Apart, here: Contexts, means: &Means) -> Neighbours {
    let line = |to: Context, mostly: Context| {
        let from = Some(mostly).filter(|it| here.has(*it)).or_else(|| here.iter().next())?;
        let address = apart.address_of(to)?;
        Some(Arc::new(Client::new(from, to, address, means.clone())))
    };
    Neighbours {
        identity: line(Context::Identity, Context::Bookings)
            .map_or(Place::Here, |line| Place::Elsewhere(line)),
        events: line(Context::Events, Context::Bookings)
            .map_or(Place::Here, |line| Place::Elsewhere(line)),
        accounts: line(Context::Accounts, Context::Bookings)
            .map_or(Place::Here, |line| Place::Elsewhere(line)),
        bookings: line(Context::Bookings, Context::Events)
            .map_or(Place::Here, |line| Place::Elsewhere(line)),
    }
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
