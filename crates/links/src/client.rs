//! Asks another service, over HTTP.
//!
//! Every call has a time limit, by the clock that the process goes by, and goes through a
//! [circuit](crate::circuit). A call fails as a whole when nothing is known of what became of it:
//! the neighbour can't be reached, says nothing in time, refuses the call, or answers what nobody
//! can read. That is [`Silence`](NoAnswer::Silence), and says nothing about a single item, unlike
//! [`Trouble`](NoAnswer::Trouble), which is what the neighbour itself says of one.
//!
//! Whether steps are asked for again is up to whoever asks. A look that nobody hears is made twice.

mod looks;

use std::error::Error as StdError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::uri::{Authority, PathAndQuery, Scheme};
use axum::http::{Request as HttpRequest, StatusCode, Uri, header};
use bytes::Bytes;
use eventbooker_core::bookings::participant::Request;
use eventbooker_core::bookings::saga::Answer;
use eventbooker_core::trace::TraceParent;
use eventbooker_core::{Context, Timestamp};
use eventbooker_engine::{Availability, Clock, Entropy, NoAnswer, Participate, trace};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::client::legacy::{self};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::acquaintance::{Acquaintances, Advice, Introduction};
use crate::circuit::{Circuit, Leave};
use crate::server::may_look;
use crate::tokens::Tokens;
use crate::wire::steps::{StepItem, StepResult};
use crate::wire::{Batch, Fault, ITEMS_MAX, Raw, Results, understand};

/// How long a call with steps may take. Shorter than an errand waits for it, so that the circuit hears
/// of one that takes longer.
pub const STEPS_WITHIN: Duration = Duration::from_secs(4);
/// How long a look may take.
pub const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// The largest answer, in bytes: as many of the largest rows as a look may be for.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
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
/// So much of what a neighbour says of a refusal is read.
const DETAIL_CHARS_MAX: usize = 200;

/// That isn't the address of a service.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0} is no address such as http://events:8081")]
pub struct NoAddress(String);

/// Where a service listens for the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Authority);

impl std::str::FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let no_address = || NoAddress(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| no_address())?;
        let is_plain = uri.scheme() == Some(&Scheme::HTTP)
            && uri.path() == "/"
            && uri.query().is_none()
            && !text.contains(['@', '#']);
        let authority = uri.authority().filter(|_| is_plain).cloned();
        authority.map(Self).ok_or_else(no_address)
    }
}

/// How often a call is made if nobody is there to hear it. A connection that was kept may be closed
/// just when it is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tries {
    One,
    Two,
}

/// Why nothing is known of a call.
enum Mute {
    /// Nothing came back.
    Unheard(String),
    /// What came back says nothing.
    Unclear(String),
}

impl Mute {
    fn why(self) -> String {
        match self {
            Self::Unheard(why) | Self::Unclear(why) => why,
        }
    }
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
            heard = heard => heard.map_err(Mute::why),
            () = clock.sleep_until(give_up) => Err(format!("{} said nothing in time", self.to)),
        };
        call.end(heard)?
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

    /// What came back. An error inside says that one of both databases isn't what it was, so that there
    /// will be nothing however often it is asked.
    async fn send<I: Serialize>(
        &self,
        route: &str,
        items: &[I],
        introduced: &Introduction,
        is_greeting: bool,
    ) -> Result<Result<Vec<Raw>, String>, Mute> {
        let fault = match self.send_once(route, items, introduced).await? {
            Ok(results) => return Ok(results),
            Err(fault) => fault,
        };
        let Some(them) = &self.acquaintances else { return Err(Mute::Unclear(strange(self.to))) };
        let introduced = match them.refused(self.to, &fault, false).await {
            Advice::GiveUp(why) => return Ok(Err(why)),
            Advice::Again => self.introduce(is_greeting).await,
        };
        let Ok(introduced) = introduced else { return Ok(introduced.map(|_| Vec::new())) };
        match self.send_once(route, items, &introduced).await? {
            Ok(results) => Ok(results),
            Err(fault) => Ok(match them.refused(self.to, &fault, true).await {
                Advice::GiveUp(why) => Err(why),
                Advice::Again => Err(strange(self.to)),
            }),
        }
    }

    async fn send_once<I: Serialize>(
        &self,
        route: &str,
        items: &[I],
        introduced: &Introduction,
    ) -> Result<Result<Result<Vec<Raw>, String>, Fault>, Mute> {
        let (from, to) = (self.from, self.to);
        let Introduction { database, number, is_first, sees, met } = introduced.clone();
        count(to, route, items.len());
        let items: Vec<&I> = items.iter().collect();
        let batch = Batch { from, database, number, introduces: is_first, sees, met, items };
        let body = serde_json::to_vec(&batch).expect("texts and numbers can be written");
        let path = PathAndQuery::try_from(format!("/internal/v1/{to}/{route}"));
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.address.0.clone())
            .path_and_query(path.expect("routes are plain"))
            .build();
        let token = self.means.tokens.service_token(from, to);
        let mut request = HttpRequest::post(uri.expect("its parts were looked at"))
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json");
        // Steps of many sagas go together, and each says its own.
        if let Some(trace) = trace::current() {
            request = request.header(TraceParent::HEADER, &trace.header()[..]);
        }
        let request = request.body(Full::from(body)).expect("its parts are plain");
        let response = self.http.request(request).await;
        let response = response
            .map_err(|error| Mute::Unheard(format!("{to} can't be reached: {}", why(&error))))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| Mute::Unclear(format!("{to} broke off: {}", why(&*error))));
        let body = body?.to_bytes();
        if status == StatusCode::CONFLICT
            && let Some(fault) = fault(&body)
        {
            return Ok(Err(fault));
        }
        if status != StatusCode::OK {
            let why = format!("{to} answered {}: {}", status.as_u16(), detail(&body));
            return Err(Mute::Unclear(why));
        }
        let results: Results<Raw> = serde_json::from_slice(&body).map_err(|error| {
            let error = clipped(&error.to_string());
            Mute::Unclear(format!("{to} answered what nobody can read: {error}"))
        })?;
        let answered = results.results.len();
        if answered != batch.items.len() {
            let asked = batch.items.len();
            return Err(Mute::Unclear(format!("{to} answered {answered} of {asked}")));
        }
        if let Some(them) = &self.acquaintances {
            let Results { database, number, keeps, .. } = &results;
            let said = (database.as_deref(), *number, *keeps);
            if let Err(why) = them.answered(to, introduced, said, self.means.clock.now()) {
                return Ok(Ok(Err(why)));
            }
        }
        Ok(Ok(Ok(results.results)))
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
    fn end<T>(mut self, heard: Result<T, String>) -> Result<T, String> {
        self.is_over = true;
        match &heard {
            Ok(_) => self.client.has_answered(self.leave),
            Err(why) => self.client.has_failed(self.leave, why),
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

fn describe() {
    metrics::describe_counter!(
        "eventbooker_internal_calls_total",
        "Calls of other services that were made, by service and route"
    );
    metrics::describe_counter!(
        "eventbooker_internal_items_total",
        "Items of calls of other services that were made, by service and route"
    );
}

/// Counts a call with so many items.
fn count(to: Context, route: &str, items: usize) {
    let labels = [("to", to.name().to_owned()), ("route", route.to_owned())];
    metrics::counter!("eventbooker_internal_calls_total", &labels).increment(1);
    metrics::counter!("eventbooker_internal_items_total", &labels).increment(items as u64);
}

/// What lies at the bottom of an error; the words above it say nothing.
fn why(error: &(dyn StdError + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// What a neighbour has trouble with, as far as it makes sense to read it.
fn trouble(why: impl AsRef<str>) -> NoAnswer {
    NoAnswer::Trouble(clipped(why.as_ref()))
}

fn clipped(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(DETAIL_CHARS_MAX).collect()
}

fn strange(of: Context) -> String {
    format!("{of} says that a database isn't what it was")
}

/// Which database isn't what it was, if a problem is about that.
fn fault(body: &[u8]) -> Option<Fault> {
    #[derive(Deserialize)]
    struct Problem {
        fault: Fault,
    }
    serde_json::from_slice(body).ok().map(|Problem { fault }| fault)
}

/// What a problem says, as far as somebody's answer can be trusted to say anything.
fn detail(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    let problem = serde_json::from_slice(body);
    let detail = problem.map_or_else(|_| String::from("no reason"), |Problem { detail }| detail);
    clipped(&detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_nothing_else() {
        for address in ["http://events:8081", "http://127.0.0.1:1", "http://[::1]:8081/"] {
            assert!(address.parse::<Address>().is_ok(), "{address}");
        }
        let others = [
            "",
            "events",
            "events:8081",
            "https://events:8081",
            "http://events:8081/internal",
            "http://events:8081/?a",
            "http://events:8081/#a",
            "http://user@events:8081",
        ];
        for text in others {
            assert_eq!(text.parse::<Address>(), Err(NoAddress(text.to_owned())));
        }
    }
}
