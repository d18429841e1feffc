//! What other services may ask of this one, for a listener of its own: no public listener has these
//! paths.
//!
//! Invariants kept here: nothing of a body is read before the token is right and its service may
//! call this route; whoever is refused is told why, is in the log once, and has changed nothing; a
//! batch has one result for each item.
//!
//! Absent on purpose: bounds on connections and slow clients, which are the edge's.

mod gate;
mod looks;
mod problem;
mod routes;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Extensions, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use eventbooker_core::Contexts;
use eventbooker_core::trace::TraceParent;
use eventbooker_engine::{Clock, Engine, NoAnswer, trace};
use serde::Serialize;
use serde_json::value::RawValue;

use self::gate::{Complaints, Route, read};
pub use self::looks::serve_looks;
use self::problem::Problem;
pub(crate) use self::problem::ProblemShape;
pub(crate) use self::routes::{described, may_look};
use crate::acquaintance::Acquaintances;
use crate::tokens::Tokens;
use crate::wire::{Batch, HasTrouble, Raw, Results};

/// What the routes stand on.
#[derive(Clone)]
pub struct Internal {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    tokens: Arc<Tokens>,
    here: Contexts,
    peer: fn(&Extensions) -> Option<SocketAddr>,
    complaints: Complaints,
    acquaintances: Option<Arc<Acquaintances>>,
}

impl Internal {
    /// The contexts that are here with an engine. Whoever accepts connections says how to know their
    /// other end.
    pub fn new(
        engine: Engine,
        tokens: Arc<Tokens>,
        clock: Arc<dyn Clock>,
        peer: fn(&Extensions) -> Option<SocketAddr>,
    ) -> Self {
        let (here, complaints) = (engine.here(), Complaints::new(clock));
        metrics::describe_counter!(
            "eventbooker_internal_refusals_total",
            "Calls of other services that were refused, by reason"
        );
        let acquaintances = None;
        Self { inner: Arc::new(Inner { engine, tokens, here, peer, complaints, acquaintances }) }
    }

    /// The same, for callers whose databases are compared with what is known of them.
    #[must_use]
    pub fn acquainted(self, acquaintances: Arc<Acquaintances>) -> Self {
        let inner = Arc::into_inner(self.inner).expect("nobody serves by it yet");
        Self { inner: Arc::new(Inner { acquaintances: Some(acquaintances), ..inner }) }
    }
}

/// The routes of the services that are here.
pub fn router(internal: Internal) -> axum::Router {
    axum::Router::from(routes::of(internal.inner.here))
        .route("/internal/openapi.json", get(description))
        .fallback(async || {
            Problem::new(StatusCode::NOT_FOUND, "there is no such path, or not in this version")
        })
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
        })
        .with_state(internal)
}

impl Inner {
    /// Has those items of a batch answered that are understood, and puts the results into their
    /// order.
    async fn serve<I, R: HasTrouble + Serialize, F: Future<Output = Vec<Result<R, NoAnswer>>>>(
        &self,
        route: &Route,
        request: Request<Body>,
        understand: impl Fn(&RawValue) -> Result<I, String>,
        answer: impl FnOnce(Vec<I>) -> F,
    ) -> Result<Response, Problem> {
        let trace = trace_of(&request);
        let batch = self.batch(route, request).await?;
        let mut items = Vec::with_capacity(batch.items.len());
        let mut troubles = Vec::with_capacity(batch.items.len());
        for item in &batch.items {
            match understand(item) {
                Ok(item) => {
                    items.push(item);
                    troubles.push(None);
                }
                Err(trouble) => troubles.push(Some(trouble)),
            }
        }
        let answers = trace::within(trace, answer(items)).await;
        // Whoever can do nothing is away, and hasn't trouble with each of these items.
        if answers.iter().all(Result::is_err) {
            if let Some(why) = all_silent(&answers) {
                return Err(Problem::away(why));
            }
            self.engine.check_ready().await.map_err(|error| Problem::away(error.to_string()))?;
        }
        let mut answers = answers.into_iter();
        let mut next = || match answers.next() {
            Some(answer) => answer.unwrap_or_else(|why| R::trouble(why.to_string())),
            None => R::trouble("nobody has answered".to_owned()),
        };
        let results = troubles
            .into_iter()
            .map(|trouble| trouble.map_or_else(&mut next, R::trouble))
            .collect();
        let (database, number, keeps) = match &self.acquaintances {
            Some(them) => them.present(batch.from, batch.sees.as_ref(), route.changes_rows).await,
            None => (None, None, None),
        };
        Ok(json(&Results::<R> { database, number, keeps, results }))
    }

    /// The batch of a call to a route, if whoever calls may.
    async fn batch(&self, route: &Route, request: Request<Body>) -> Result<Batch<Raw>, Problem> {
        let (head, body) = request.into_parts();
        let from = self.admit(route, &head)?;
        let bytes = read(&head, body).await?;
        let batch: Batch<Raw> = serde_json::from_slice(&bytes).map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, format!("this is no batch: {error}"))
        })?;
        if batch.from != from {
            let detail = format!("this is from {}, and the token from {from}", batch.from);
            return Err(self.refuse(&head, StatusCode::FORBIDDEN, "other_service", detail));
        }
        if batch.items.len() > route.items_max {
            let detail = format!("a batch has at most {} items here", route.items_max);
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        if let Some(them) = &self.acquaintances {
            let met = them.meet(&batch).await;
            met.map_err(|error| Problem::away(error.to_string()))?.map_err(Problem::estranged)?;
        }
        Ok(batch)
    }
}

/// Why none of these could be answered, if that is because of none of them.
fn all_silent<R>(answers: &[Result<R, NoAnswer>]) -> Option<String> {
    let silence = |answer: &Result<R, NoAnswer>| match answer {
        Err(NoAnswer::Silence { why, .. }) => Some(why.clone()),
        Err(NoAnswer::Trouble(_)) | Ok(_) => None,
    };
    let whys: Option<Vec<String>> = answers.iter().map(silence).collect();
    whys?.pop()
}

/// `GET /internal/openapi.json`, for any service that is trusted.
async fn description(State(internal): State<Internal>, request: Request<Body>) -> Response {
    let (head, _) = request.into_parts();
    match internal.inner.admit_anybody(&head) {
        Ok(_) => json(&described()),
        Err(problem) => problem.into_response(),
    }
}

/// The trace of a whole call. Nothing is decided by it.
fn trace_of(request: &Request<Body>) -> Option<TraceParent> {
    let header = request.headers().get(TraceParent::HEADER)?;
    TraceParent::read(header.as_bytes()).ok()
}

fn json(body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("texts and numbers can be written");
    ([(header::CONTENT_TYPE, "application/json")], Bytes::from(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_can_answer_nothing_is_away_unless_that_is_because_of_an_item() {
        let silence = || Err(NoAnswer::silence("the disk is full"));
        let trouble = || Err(NoAnswer::Trouble("the slot is missing".to_owned()));
        let table = [
            (vec![silence(), silence()], Some("the disk is full")),
            (vec![silence(), trouble()], None),
            (vec![Ok(()), silence()], None),
            (vec![trouble()], None),
            (vec![], None),
        ];
        for (answers, expected) in table {
            assert_eq!(all_silent(&answers).as_deref(), expected, "{answers:?}");
        }
    }
}
