//! What operators and their machines ask: alive, ready, metrics.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answers::AnyRequest;
use crate::idempotency::Shown;
use crate::identity::OkShape;
use crate::problem::{Problem, ProblemKind};
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

/// Whether the service takes traffic
///
/// 503 while the store is away or the service is stopping.
#[utoipa::path(
    get, path = "/ready", tag = "operations",
    responses((status = 200, description = "It does", body = OkShape), AnyRequest),
)]
async fn ready(State(web): State<Web>) -> Result<Response, Problem> {
    match tokio::time::timeout(READY_WITHIN, web.engine().check_ready()).await {
        Ok(answer) => answer?,
        Err(_) => {
            return Err(Problem::new(ProblemKind::StoreUnavailable, "the database doesn't answer"));
        }
    }
    Ok(Shown::ok(&OkShape::new("ready")).into_response())
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
