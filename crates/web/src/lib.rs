//! The HTTP side of the booking engine: JSON API, live events, sessions, and the edge that faces
//! the network.
//!
//! A handler reads the request, calls the engine and shows the answer. Everything that goes wrong
//! is a [`problem::Problem`]; the one map from refusals to problems is `refusals`.
//!
//! Absent on purpose: rules, and SQL.

mod answers;
mod bookings;
pub mod cross_site;
mod description;
pub mod edge;
mod events;
pub mod fields;
pub mod headers;
mod idempotency;
mod identity;
pub mod limits;
mod live;
mod measure;
mod operations;
pub mod problem;
mod refusals;
mod request;
mod shapes;
mod state;

use axum::Router;
use tower::ServiceBuilder;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub use state::{Web, WebSettings};

use crate::cross_site::CrossSiteLayer;
use crate::headers::{SecurityHeaders, SecurityHeadersLayer};
use crate::measure::MeasureLayer;
use crate::problem::{Problem, ProblemKind};

/// The whole application, ready for [`edge::serve`].
pub fn application(web: Web) -> Router {
    let settings = &web.inner.settings;
    let layers = ServiceBuilder::new()
        .layer(MeasureLayer::new())
        .layer(SecurityHeadersLayer(SecurityHeaders { tls_only: settings.is_tls_only() }))
        .layer(CrossSiteLayer::new(settings.public_origin.as_deref()));
    let (routes, description) = described().split_for_parts();
    routes
        .merge(description::routes(&description))
        .merge(problem::routes())
        .fallback(async || Problem::new(ProblemKind::NotFound, "there is no such page"))
        .method_not_allowed_fallback(async || {
            Problem::new(ProblemKind::MethodNotAllowed, "this path does not take this method")
        })
        .layer(layers)
        .with_state(web)
}

fn described() -> OpenApiRouter<Web> {
    OpenApiRouter::with_openapi(description::Description::openapi())
        .merge(events::routes())
        .merge(bookings::routes())
        .merge(live::routes())
        .merge(identity::routes())
        .merge(operations::routes())
}
