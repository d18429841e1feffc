//! One exchange: what is sent, and what is made of what comes back.

use std::error::Error as StdError;

use axum::http::uri::{PathAndQuery, Scheme};
use axum::http::{Request as HttpRequest, StatusCode, Uri, header};
use bytes::Bytes;
use eventbooker_core::Context;
use eventbooker_core::trace::TraceParent;
use eventbooker_engine::{NoAnswer, trace};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::connect::Connect;
use serde::{Deserialize, Serialize};

use super::Client;
use crate::acquaintance::{Advice, Introduction};
use crate::wire::{Batch, Fault, Raw, Results};

/// The largest answer, in bytes: as many of the largest rows as a look may be for.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// So much of what a neighbour says of a refusal is read.
const DETAIL_CHARS_MAX: usize = 200;

/// Why nothing is known of a call.
pub(super) enum Mute {
    /// Nothing came back.
    Unheard(String),
    /// What came back says nothing.
    Unclear(String),
    /// The neighbour says that one of both databases isn't what it was.
    Fault(Fault),
    /// One of both databases isn't what it was, so that there will be nothing however often it is asked.
    Estranged(String),
}

impl Mute {
    /// Whether the neighbour was there all the same.
    pub(super) fn is_heard(&self) -> bool {
        matches!(self, Self::Estranged(_))
    }

    pub(super) fn why(self, of: Context) -> String {
        match self {
            Self::Unheard(why) | Self::Unclear(why) | Self::Estranged(why) => why,
            Self::Fault(_) => strange(of),
        }
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> Client<C> {
    /// What came back, after a second introduction if that was what the neighbour lacked.
    pub(super) async fn send<I: Serialize>(
        &self,
        route: &str,
        items: &[I],
        introduced: &Introduction,
        is_greeting: bool,
    ) -> Result<Vec<Raw>, Mute> {
        let fault = match self.send_once(route, items, introduced).await {
            Err(Mute::Fault(fault)) => fault,
            heard => return heard,
        };
        let Some(them) = &self.acquaintances else { return Err(Mute::Fault(fault)) };
        let introduced = match them.refused(self.to, &fault, false).await {
            Advice::GiveUp(why) => return Err(Mute::Estranged(why)),
            Advice::Again => self.introduce(is_greeting).await.map_err(Mute::Estranged)?,
        };
        match self.send_once(route, items, &introduced).await {
            Err(Mute::Fault(fault)) => {
                Err(Mute::Estranged(match them.refused(self.to, &fault, true).await {
                    Advice::GiveUp(why) => why,
                    Advice::Again => strange(self.to),
                }))
            }
            heard => heard,
        }
    }

    async fn send_once<I: Serialize>(
        &self,
        route: &str,
        items: &[I],
        introduced: &Introduction,
    ) -> Result<Vec<Raw>, Mute> {
        let to = self.to;
        count(to, route, items.len());
        let request = self.request(route, items, introduced);
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
            return Err(Mute::Fault(fault));
        }
        if status != StatusCode::OK {
            let why = format!("{to} answered {}: {}", status.as_u16(), detail(&body));
            return Err(Mute::Unclear(why));
        }
        let results: Results<Raw> = serde_json::from_slice(&body).map_err(|error| {
            let error = clipped(&error.to_string());
            Mute::Unclear(format!("{to} answered what nobody can read: {error}"))
        })?;
        let (answered, asked) = (results.results.len(), items.len());
        if answered != asked {
            return Err(Mute::Unclear(format!("{to} answered {answered} of {asked}")));
        }
        if let Some(them) = &self.acquaintances {
            let Results { database, number, keeps, .. } = &results;
            let said = (database.as_deref(), *number, *keeps);
            let now = self.means.clock.now();
            them.answered(to, introduced, said, now).map_err(Mute::Estranged)?;
        }
        Ok(results.results)
    }

    fn request<I: Serialize>(
        &self,
        route: &str,
        items: &[I],
        introduced: &Introduction,
    ) -> HttpRequest<Full<Bytes>> {
        let (from, to) = (self.from, self.to);
        let Introduction { database, number, is_first, sees, met } = introduced.clone();
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
        request.body(Full::from(body)).expect("its parts are plain")
    }
}

pub(super) fn describe() {
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
pub(super) fn trouble(why: impl AsRef<str>) -> NoAnswer {
    NoAnswer::Trouble(clipped(why.as_ref()))
}

pub(super) fn clipped(text: &str) -> String {
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
