//! The HTTP side of the booking engine: JSON API, pages, live events, sessions, and the edge
//! that faces the network.
//!
//! A handler reads the request, calls the engine and shows the answer. Everything that goes wrong
//! is a [`problem::Problem`]; the one map from refusals to problems is `refusals`.
//!
//! Absent on purpose: rules, and SQL.

mod accounts;
mod answers;
mod bookings;
pub mod cross_site;
mod description;
pub mod edge;
mod events;
mod examples;
pub mod fields;
pub mod headers;
mod idempotency;
mod identity;
pub mod limits;
mod live;
mod operations;
mod pages;
pub mod problem;
mod refusals;
mod request;
mod shapes;
mod state;
mod trace;
mod who;

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use eventbooker_core::{Context, Contexts};
use tower::{Layer as _, Service};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub use bookings::write_answer;
pub use examples::MakeExamples;
pub use state::{DemoUser, Extras, Web, WebSettings};

use crate::cross_site::CrossSiteLayer;
use crate::pages::failures::FailurePages;
use crate::problem::{Problem, ProblemKind};
use crate::trace::Traced;

/// The whole application, for [`edge::serve`], which adds the security headers to every answer.
pub fn application(
    web: Web,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
+ Clone
+ Send
+ 'static {
    // Around the router, not in it: a router boxes the future of each of its own layers.
    let cross_site = CrossSiteLayer::new(web.inner.settings.public_origin.as_deref());
    let here = web.engine().here();
    let routes = described(here).split_for_parts().0;
    // Of all services, whichever are here: clients know one address.
    let mut description = described(Contexts::ALL).into_openapi();
    let seats_max = web.engine().settings().holds.seats_max();
    description::set_seats_max(&mut description, seats_max);
    let engine = web.engine().clone();
    let router: Router = routes
        .merge(description::routes(&description))
        .merge(problem::routes())
        .merge(pages::routes(here))
        .fallback(async || no_such_page())
        .method_not_allowed_fallback(async || {
            Problem::new(ProblemKind::MethodNotAllowed, "this path does not take this method")
        })
        .with_state(web);
    Traced::around(FailurePages::around(cross_site.layer(router)), engine)
}

fn no_such_page() -> Problem {
    Problem::new(ProblemKind::NotFound, "there is no such page")
}

/// What is described of a service that has the rows of these contexts.
fn described(here: Contexts) -> OpenApiRouter<Web> {
    let everywhere = OpenApiRouter::with_openapi(description::Description::openapi());
    here.iter()
        .fold(everywhere, |routes, context| match context {
            Context::Identity => routes.merge(identity::routes()),
            Context::Events => routes.merge(events::routes()).merge(live::routes()),
            Context::Accounts => routes.merge(accounts::routes()),
            Context::Bookings => routes.merge(bookings::routes()),
        })
        .merge(operations::routes())
}
