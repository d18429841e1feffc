//! What handlers share, and what an operator chose for them.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use eventbooker_engine::Engine;
use eventbooker_links::tokens::Tokens;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;

use crate::examples::{Examples, MakeExamples};
use crate::limits::{Limiter, Quota, RetryAfter};
use crate::problem::{Problem, ProblemKind};
use crate::who::Identities;

/// Addresses, logins and users that each limit remembers at the same time.
const LIMITED_KEYS_MAX: usize = 100_000;

/// What an operator may choose about the HTTP side.
#[derive(Debug, Clone)]
pub struct WebSettings {
    /// The origin that browsers see, such as `https://tickets.example.org`, if a proxy stands
    /// before the service.
    pub public_origin: Option<String>,
    /// Proxies whose `X-Forwarded-For` is believed. `X-Forwarded-Proto` is believed from anybody:
    /// forging it only makes one's own cookie stricter.
    pub trusted_proxies: Vec<IpAddr>,
    /// Bytes of a request's body.
    pub body_bytes_max: usize,
    /// Live streams that are open at the same time. Each keeps a connection for as long as its
    /// client likes, so they should leave a part of the connections to others.
    pub live_streams_max: usize,
    /// Failed sign-ins a minute with one login.
    pub failed_sign_ins_per_login: u32,
    /// Failed sign-ins a minute from one address.
    pub failed_sign_ins_per_address: u32,
    /// Registrations a minute from one address.
    pub registrations_per_address: u32,
    /// Refusals, and answers to what changed nothing, that are remembered in a minute under one
    /// user's idempotency keys; and as many of the user's purchases that come to nothing.
    pub remembered_refusals_per_user: u32,
    /// Users whom the sign-in page offers to everybody, with their passwords: for a demo only.
    pub demo_users: &'static [DemoUser],
}

/// A user whom everybody may be.
#[derive(Debug, Clone, Copy)]
pub struct DemoUser {
    /// The login.
    pub login: &'static str,
    /// The password, which is no secret.
    pub password: &'static str,
}

impl Default for WebSettings {
    fn default() -> Self {
        Self {
            public_origin: None,
            trusted_proxies: Vec::new(),
            body_bytes_max: 64 * 1024,
            live_streams_max: 5000,
            failed_sign_ins_per_login: 10,
            failed_sign_ins_per_address: 100,
            registrations_per_address: 300,
            remembered_refusals_per_user: 120,
            demo_users: &[],
        }
    }
}

impl WebSettings {
    /// Whether browsers reach the service over TLS only.
    pub fn is_tls_only(&self) -> bool {
        self.public_origin.as_deref().is_some_and(|origin| origin.starts_with("https://"))
    }
}

/// What not every service has.
#[derive(Default)]
pub struct Extras {
    /// What services prove to each other with who asks. Without it, and without users of its own, a
    /// service takes everybody for nobody.
    pub tokens: Option<Arc<Tokens>>,
    /// For a demo, where whoever looks for events finds some.
    pub examples: Option<MakeExamples>,
}

/// What handlers share. Cloning it is cheap.
#[derive(Clone)]
pub struct Web {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) settings: WebSettings,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) examples: Option<Examples>,
    /// What tells services who asks, where there is more than one.
    pub(crate) identities: Option<Identities>,
    /// One permit for each live stream that may be open.
    pub(crate) live_streams: Arc<Semaphore>,
    pub(crate) sign_ins_by_login: Limiter,
    pub(crate) sign_ins_by_address: Limiter,
    pub(crate) registrations: Limiter,
    pub(crate) remembered_refusals: Limiter,
    pub(crate) purchases_in_vain: Limiter,
}

impl Web {
    /// The HTTP side of an engine.
    pub fn new(engine: Engine, settings: WebSettings, metrics: PrometheusHandle) -> Self {
        Self::of(engine, settings, metrics, Extras::default())
    }

    /// The same, beside other services or for a demo.
    pub fn of(
        engine: Engine,
        settings: WebSettings,
        metrics: PrometheusHandle,
        extras: Extras,
    ) -> Self {
        let limiter = |count| Limiter::new(Quota::per_minute(count), LIMITED_KEYS_MAX);
        let inner = Inner {
            sign_ins_by_login: limiter(settings.failed_sign_ins_per_login),
            sign_ins_by_address: limiter(settings.failed_sign_ins_per_address),
            registrations: limiter(settings.registrations_per_address),
            remembered_refusals: limiter(settings.remembered_refusals_per_user),
            purchases_in_vain: limiter(settings.remembered_refusals_per_user),
            live_streams: Arc::new(Semaphore::new(settings.live_streams_max)),
            examples: extras.examples.map(Examples::new),
            identities: extras.tokens.map(Identities::new),
            engine,
            settings,
            metrics,
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Takes one from a limiter's bucket, or says that there were too many of `what`.
    pub(crate) fn limit(
        &self,
        limiter: &Limiter,
        key: &impl Hash,
        what: &str,
    ) -> Result<(), Problem> {
        let taken = limiter.take(key, self.engine().now().as_micros());
        taken.map_err(|retry| too_many(what, retry))
    }
}

/// There were too many of `what`.
pub(crate) fn too_many(what: &str, retry: RetryAfter) -> Problem {
    Problem::new(ProblemKind::RateLimited, format!("too many {what}; try again later"))
        .retry_after(retry.seconds())
}
