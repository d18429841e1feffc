//! Asks another service, over HTTP.
//!
//! Every call has a time limit, by the clock that the process goes by, and goes through a
//! [circuit](crate::circuit). A call fails as a whole when nothing is known of what became of it:
//! the neighbour can't be reached, says nothing in time, refuses the call, or answers what nobody
//! can read. That is [`Silence`](NoAnswer::Silence), and says nothing about a single item, unlike
//! [`Trouble`](NoAnswer::Trouble), which is what the neighbour itself says of one.
//!
//! Whether steps are asked for again is up to whoever asks. A look that nobody hears is made twice.

mod address;
mod exchange;
mod looks;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use eventbooker_core::bookings::participant::Request;
use eventbooker_core::bookings::saga::Answer;
use eventbooker_core::{Context, Timestamp};
use eventbooker_engine::{Availability, Clock, Entropy, NoAnswer, Participate};
use http_body_util::Full;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

pub use address::{Address, NoAddress};

use crate::acquaintance::{Acquaintances, Introduction};
use crate::circuit::{Circuit, Leave};
use crate::server::may_look;
use crate::tokens::Tokens;
use crate::wire::steps::{StepItem, StepResult};
use crate::wire::{ITEMS_MAX, Raw, understand};
use exchange::{Mute, clipped, describe, trouble};

/// How long a call with steps may take. Shorter than an errand waits for it, so that the circuit hears
/// of one that takes longer.
pub const STEPS_WITHIN: Duration = Duration::from_secs(4);
/// How long a look may take.
pub const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// How long it may take to be connected.
const CONNECTED_WITHIN: Duration = Duration::from_millis(500);
/// How long an unused connection is kept; shorter than the other side keeps it.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Looks under way at the same time; others wait. A crowd that looks at pages must not take up what the
/// neighbour has for steps of sagas.
const LOOKS_AT_ONCE_MAX: usize = 64;
/// Unused connections that are kept.
const IDLE_CONNECTIONS_MAX: usize = LOOKS_AT_ONCE_MAX;
/// How often it is looked whether a neighbour has to be greeted.
const GREET_EVERY: Duration = Duration::from_secs(1);

/// How often a call is made if nobody is there to hear it. A connection that was kept may be closed
/// just when it is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tries {
    One,
    Two,
}

/// What a client needs of the process that it is in.
#[derive(Clone)]
pub struct Means {
    /// To prove who calls.
    pub tokens: Arc<Tokens>,
    /// For time limits and the circuit.
    pub clock: Arc<dyn Clock>,
    /// For the circuit's waits.
    pub entropy: Arc<dyn Entropy>,
}

/// A line from one service to another.
pub struct Client<C = HttpConnector> {
    http: legacy::Client<C, Full<Bytes>>,
    address: Address,
    from: Context,
    to: Context,
    means: Means,
    circuit: Mutex<Circuit>,
    looks: Semaphore,
    acquaintances: Option<Arc<Acquaintances>>,
}

impl Client {
    /// A line from a service of this process to another.
    pub fn new(from: Context, to: Context, address: Address, means: Means) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECTED_WITHIN));
        connector.set_nodelay(true);
        Self::over(connector, from, to, address, means)
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> Client<C> {
    /// The same, over another network.
    pub fn over(connector: C, from: Context, to: Context, address: Address, means: Means) -> Self {
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        describe();
        Self {
            http,
            address,
            from,
            to,
            means,
            circuit: Mutex::default(),
            looks: Semaphore::new(LOOKS_AT_ONCE_MAX),
            acquaintances: None,
        }
    }

    /// The same, between databases that are compared with what is known of them.
    #[must_use]
    pub fn acquainted(mut self, acquaintances: Arc<Acquaintances>) -> Self {
        self.acquaintances = Some(acquaintances);
        self
    }

    /// Greets the neighbour: asks for nothing, and so learns whether it is what it was. Whoever has no
    /// business with it doesn't.
    pub async fn greet(&self) -> Result<(), String> {
        if !may_look(self.from, self.to) {
            return Ok(());
        }
        self.call::<()>("look", &[], LOOK_WITHIN, Tries::One, true).await.map(drop)
    }

    /// Greets the neighbour every few seconds if nobody calls it. It ends when it is dropped.
    pub async fn keep_in_touch(self: Arc<Self>) {
        let clock = &self.means.clock;
        loop {
            let now = clock.now();
            let is_due = |it: &Arc<Acquaintances>| it.is_to_be_greeted(self.to, now);
            if self.acquaintances.as_ref().is_some_and(is_due)
                && let Err(reason) = self.greet().await
            {
                tracing::debug!(service = %self.to, reason, "a greeting isn't answered");
            }
            clock.sleep_until(clock.now().plus(GREET_EVERY)).await;
        }
    }

    /// Asks for steps of sagas: an answer to each, or why there is none, in their order.
    pub async fn steps(&self, requests: &[Request]) -> Vec<Result<Answer, NoAnswer>> {
        let mut answers = Vec::with_capacity(requests.len());
        for together in requests.chunks(ITEMS_MAX) {
            let items: Vec<StepItem> = together.iter().copied().map(StepItem::from).collect();
            // Whoever asks has an errand, and asks again by that.
            let results = self.batch("steps", &items, STEPS_WITHIN, Tries::One).await;
            answers.extend(results.into_iter().zip(together).map(|(result, request)| {
                let result: StepResult = result?;
                result.answer(request.ask).map_err(trouble)
            }));
        }
        answers
    }

    /// A result for each item, or why there is none.
    async fn batch<I: Serialize, R: DeserializeOwned>(
        &self,
        route: &str,
        items: &[I],
        within: Duration,
        tries: Tries,
    ) -> Vec<Result<R, NoAnswer>> {
        match self.call(route, items, within, tries, false).await {
            Ok(results) => results.iter().map(|raw| understand(raw).map_err(trouble)).collect(),
            Err(why) => {
                let until = match self.availability() {
                    Availability::Available => None,
                    Availability::AwayUntil(instant) => Some(instant),
                };
                let silence = NoAnswer::Silence { why, until };
                items.iter().map(|_| Err(silence.clone())).collect()
            }
        }
    }

    /// One call, with its time limit, through the circuit.
    async fn call<I: Serialize>(
        &self,
        route: &str,
        items: &[I],
        within: Duration,
        tries: Tries,
        is_greeting: bool,
    ) -> Result<Vec<Raw>, String> {
        let clock = &*self.means.clock;
        let give_up = clock.now().plus(within);
        let _turn = match tries {
            Tries::One => None,
            Tries::Two => Some(self.turn_to_look(give_up).await?),
        };
        let leave = self.circuit().may_call(clock.now());
        let leave = leave.map_err(|_| format!("{} is away", self.to))?;
        let call = Call { client: self, leave, is_over: false };
        let introduced = tokio::select! {
            biased;
            introduced = self.introduce(is_greeting) => introduced?,
            () = clock.sleep_until(give_up) => {
                return Err(format!("{} isn't called: the own database is slow", self.to));
            }
        };
        let heard = async {
            match self.send(route, items, &introduced, is_greeting).await {
                Err(Mute::Unheard(_)) if tries == Tries::Two => {
                    self.send(route, items, &introduced, is_greeting).await
                }
                heard => heard,
            }
        };
        let heard = tokio::select! {
            biased;
            heard = heard => heard,
            () = clock.sleep_until(give_up) => {
                Err(Mute::Unclear(format!("{} said nothing in time", self.to)))
            }
        };
        call.end(heard)
    }

    /// A place among those who look, which ends with the look.
    async fn turn_to_look(&self, give_up: Timestamp) -> Result<SemaphorePermit<'_>, String> {
        tokio::select! {
            biased;
            turn = self.looks.acquire() => turn.map_err(|closed| closed.to_string()),
            () = self.means.clock.sleep_until(give_up) => {
                Err(format!("too many look at {} at the same time", self.to))
            }
        }
    }

    async fn introduce(&self, is_greeting: bool) -> Result<Introduction, String> {
        match &self.acquaintances {
            None => Ok(Introduction::default()),
            Some(them) => them.introduce(self.to, self.means.clock.now(), is_greeting).await,
        }
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_answered(&self, leave: Leave) {
        if self.circuit().succeeded(leave, self.means.clock.now()) {
            tracing::info!(service = %self.to, "a neighbour answers again");
        }
    }

    fn has_failed(&self, leave: Leave, why: &str) {
        let mut chance = [0; 8];
        self.means.entropy.fill(&mut chance);
        let now = self.means.clock.now();
        if self.circuit().failed(leave, now, u64::from_le_bytes(chance)) {
            tracing::warn!(service = %self.to, why, "a neighbour is away and isn't called for now");
        }
    }
}

#[async_trait]
impl<C: Connect + Clone + Send + Sync + 'static> Participate for Client<C> {
    fn availability(&self) -> Availability {
        let now = self.means.clock.now();
        if self.acquaintances.as_ref().is_some_and(|them| them.is_closed_to(self.to)) {
            return Availability::AwayUntil(now.plus(GREET_EVERY));
        }
        self.circuit().availability(now)
    }

    async fn ask(&self, requests: Vec<Request>) -> Vec<Result<Answer, NoAnswer>> {
        self.steps(&requests).await
    }
}

/// A call under way.
struct Call<'a, C: Connect + Clone + Send + Sync + 'static> {
    client: &'a Client<C>,
    leave: Leave,
    is_over: bool,
}

impl<C: Connect + Clone + Send + Sync + 'static> Call<'_, C> {
    fn end<T>(mut self, heard: Result<T, Mute>) -> Result<T, String> {
        self.is_over = true;
        let is_heard = heard.as_ref().map_or_else(Mute::is_heard, |_| true);
        let heard = heard.map_err(|mute| mute.why(self.client.to));
        match &heard {
            Err(why) if !is_heard => self.client.has_failed(self.leave, why),
            _ => self.client.has_answered(self.leave),
        }
        heard
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> Drop for Call<'_, C> {
    fn drop(&mut self) {
        if !self.is_over {
            self.client.circuit().abandoned(self.leave, self.client.means.clock.now());
        }
    }
}
