//! What operators and their machines ask: alive, ready, metrics.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use eventbooker_core::Context;
use eventbooker_engine::{Error, Estranged, Hindrance, Recount, Recounts, UnfinishedRecount};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answers::AnyRequest;
use crate::idempotency::Shown;
use crate::identity::OkShape;
use crate::problem::{Problem, ProblemKind};
use crate::shapes::Rfc3339;
use crate::state::Web;

/// A store that takes longer than this to answer the simplest of questions isn't ready.
const READY_WITHIN: Duration = Duration::from_secs(2);

pub(crate) fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(ready)).routes(routes!(metrics))
}

/// Whether the process is alive
#[utoipa::path(
    get, path = "/health", tag = "operations",
    responses((status = 200, description = "It is", body = OkShape), AnyRequest),
)]
async fn health() -> Response {
    Shown::ok(&OkShape::new("OK")).into_response()
}

/// That the service takes traffic, and what it knows about its rows.
#[derive(Serialize, ToSchema)]
#[schema(as = Ready)]
struct ReadyShape {
    #[schema(example = "ready")]
    status: &'static str,
    /// The latest recount of every invariant that came to its end; left out while there has been
    /// none since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    recount: Option<RecountShape>,
    /// What isn't served until an operator has looked, because its database isn't what it was; left out
    /// where there is nothing like that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lost_state: Option<LostStateShape>,
    /// The latest recount of all, if it didn't come to its end; left out if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    unfinished_recount: Option<UnfinishedRecountShape>,
}

impl ReadyShape {
    fn of(recounts: &Recounts, estranged: Estranged) -> Self {
        let Recounts { finished, unfinished } = recounts;
        Self {
            status: "ready",
            lost_state: LostStateShape::of(estranged),
            recount: finished.as_ref().map(RecountShape::of),
            unfinished_recount: unfinished.as_ref().map(UnfinishedRecountShape::of),
        }
    }
}

/// Whose database was restored from a back-up, or is another one.
#[derive(Serialize, ToSchema)]
#[schema(as = LostState)]
struct LostStateShape {
    /// Whether it is this service's own.
    own: bool,
    /// The other services whose database it is, by their names.
    neighbours: Vec<&'static str>,
}

impl LostStateShape {
    fn of(Estranged { has_lost, neighbours }: Estranged) -> Option<Self> {
        let is_so = has_lost || !neighbours.is_empty();
        let names = neighbours.iter().map(Context::name).collect();
        is_so.then_some(Self { own: has_lost, neighbours: names })
    }
}

/// What a recount came to.
#[derive(Serialize, ToSchema)]
#[schema(as = Recount)]
struct RecountShape {
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    at: Rfc3339,
    /// How much did not add up. The log names the first of it, and `eventbooker check` lists all.
    #[schema(minimum = 0)]
    findings: u64,
}

impl RecountShape {
    /// Not what was found: anybody may ask.
    fn of(recount: &Recount) -> Self {
        Self { at: Rfc3339(recount.at), findings: recount.findings_total }
    }
}

/// How far a recount came that didn't come to its end.
#[derive(Serialize, ToSchema)]
#[schema(as = UnfinishedRecount)]
struct UnfinishedRecountShape {
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    at: Rfc3339,
    /// Why it didn't come to its end.
    #[schema(example = "it took longer than 300 s")]
    reason: String,
    /// How much it had found by then that does not add up. There may be more.
    #[schema(minimum = 0)]
    findings: u64,
}

impl UnfinishedRecountShape {
    fn of(recount: &UnfinishedRecount) -> Self {
        let UnfinishedRecount { so_far, why } = recount;
        let reason = match why {
            Hindrance::Late(_) | Hindrance::Panicked => why.to_string(),
            // Nor what the database said.
            Hindrance::Store(_) => "the database failed; the log says how".to_owned(),
        };
        Self { at: Rfc3339(so_far.at), reason, findings: so_far.findings_total }
    }
}

/// Whether the service takes traffic
///
/// 503 while the store is away or the service is stopping. Whatever a recount comes to, the status
/// stays the same.
#[utoipa::path(
    get, path = "/ready", tag = "operations",
    responses((status = 200, description = "It does", body = ReadyShape), AnyRequest),
)]
async fn ready(State(web): State<Web>) -> Result<Response, Problem> {
    match tokio::time::timeout(READY_WITHIN, web.engine().check_ready()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            // Clients aren't told why.
            if let Error::Store(reason) = &error {
                tracing::warn!(%reason, "not ready");
            }
            return Err(error.into());
        }
        Err(_) => {
            return Err(Problem::new(ProblemKind::StoreUnavailable, "the database doesn't answer"));
        }
    }
    // Ready whatever was found. What is damaged is a few rows, which no restart and no other replica
    // would repair; without traffic nobody could use the sound ones either.
    let engine = web.engine();
    Ok(Shown::ok(&ReadyShape::of(&engine.recounts(), engine.estranged())).into_response())
}

/// Metrics
#[utoipa::path(
    get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "Prometheus text", body = String, content_type = "text/plain"), AnyRequest),
)]
async fn metrics(State(web): State<Web>) -> Response {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], web.inner.metrics.render()).into_response()
}
