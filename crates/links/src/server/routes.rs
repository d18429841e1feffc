//! The routes: whose they are, and who may call them.
//!
//! | route | callers | items |
//! |---|---|---|
//! | `events/steps`, `account/steps` | book | [steps](crate::wire::steps) of sagas |
//! | `book/notices` | events | [word](crate::wire::notices) of bookings whose event was cancelled |
//! | `auth/look` | events, account, book | [looks](crate::wire::looks) |
//! | `events/look` | book | |
//! | `account/look` | auth, book | |
//! | `book/look` | events | |

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::Response;
use eventbooker_core::bookings::participant::{self, Participant};
use eventbooker_core::{BookingId, Context, Contexts, EventId};
use eventbooker_engine::{Freed, NoAnswer, Participate as _};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Internal;
use super::gate::Route;
use super::looks::{serve_looks, understand_look};
use super::problem::{Problem, ProblemShape};
use crate::description::Description;
use crate::wire::looks::{LOOKS_MAX, Look, Seen};
use crate::wire::notices::{Notice, NoticeItem, NoticeResult};
use crate::wire::steps::{StepItem, StepResult};
use crate::wire::{Batch, ITEMS_MAX, Results, understand};

/// Those of the services that are here.
pub(super) fn of(here: Contexts) -> OpenApiRouter<Internal> {
    let mut all = OpenApiRouter::with_openapi(Description::openapi());
    if here.has(Context::Identity) {
        all = all.routes(routes!(auth_look));
    }
    if here.has(Context::Events) {
        all = all.routes(routes!(events_steps)).routes(routes!(events_look));
    }
    if here.has(Context::Accounts) {
        all = all.routes(routes!(account_steps)).routes(routes!(account_look));
    }
    if here.has(Context::Bookings) {
        all = all.routes(routes!(book_notices)).routes(routes!(book_look));
    }
    all
}

/// What all of them are.
pub(crate) fn described() -> utoipa::openapi::OpenApi {
    of(Contexts::ALL).into_openapi()
}

type Answered = Result<Response, Problem>;

const EVENTS_STEPS: Route = Route {
    of: Context::Events,
    callers: &[Context::Bookings],
    items_max: ITEMS_MAX,
    changes_rows: true,
};
const ACCOUNT_STEPS: Route = Route {
    of: Context::Accounts,
    callers: &[Context::Bookings],
    items_max: ITEMS_MAX,
    changes_rows: true,
};
const BOOK_NOTICES: Route = Route {
    of: Context::Bookings,
    callers: &[Context::Events],
    items_max: ITEMS_MAX,
    changes_rows: true,
};
const AUTH_LOOK: Route = Route {
    of: Context::Identity,
    callers: &[Context::Events, Context::Accounts, Context::Bookings],
    items_max: LOOKS_MAX,
    changes_rows: false,
};
const EVENTS_LOOK: Route = Route {
    of: Context::Events,
    callers: &[Context::Bookings],
    items_max: LOOKS_MAX,
    changes_rows: false,
};
const ACCOUNT_LOOK: Route = Route {
    of: Context::Accounts,
    callers: &[Context::Identity, Context::Bookings],
    items_max: LOOKS_MAX,
    changes_rows: false,
};
const BOOK_LOOK: Route = Route {
    of: Context::Bookings,
    callers: &[Context::Events],
    items_max: LOOKS_MAX,
    changes_rows: false,
};

/// Whether a service has something to look at with another.
pub(crate) fn may_look(from: Context, at: Context) -> bool {
    let route = match at {
        Context::Identity => AUTH_LOOK,
        Context::Events => EVENTS_LOOK,
        Context::Accounts => ACCOUNT_LOOK,
        Context::Bookings => BOOK_LOOK,
    };
    route.callers.contains(&from)
}

/// What can be answered to a call as a whole.
#[derive(utoipa::IntoResponses)]
#[allow(dead_code, reason = "it is for the description only")]
enum Refusal {
    /// Nothing of the batch was looked at, or nothing is known of what became of it.
    #[response(status = "default", content_type = "application/problem+json")]
    Problem(#[to_schema] ProblemShape),
}

/// Takes steps of sagas that are about seats.
#[utoipa::path(
    post,
    path = "/internal/v1/events/steps",
    tag = "events",
    description = "For book. Steps `occupy`, `settle` and `cancel`.",
    request_body = Batch<StepItem>,
    responses((status = OK, body = Results<StepResult>, description = "one result for each item"), Refusal),
)]
async fn events_steps(State(internal): State<Internal>, request: Request<Body>) -> Answered {
    steps(&internal, &EVENTS_STEPS, Participant::Events, request).await
}

/// Takes steps of sagas that are about money.
#[utoipa::path(
    post,
    path = "/internal/v1/account/steps",
    tag = "account",
    description = "For book. Steps `withdrawal` and `refund`.",
    request_body = Batch<StepItem>,
    responses((status = OK, body = Results<StepResult>, description = "one result for each item"), Refusal),
)]
async fn account_steps(State(internal): State<Internal>, request: Request<Body>) -> Answered {
    steps(&internal, &ACCOUNT_STEPS, Participant::Accounts, request).await
}

/// Hears of bookings whose event was cancelled.
#[utoipa::path(
    post,
    path = "/internal/v1/book/notices",
    tag = "book",
    description = "For events.",
    request_body = Batch<NoticeItem>,
    responses((status = OK, body = Results<NoticeResult>, description = "one result for each item"), Refusal),
)]
async fn book_notices(State(internal): State<Internal>, request: Request<Body>) -> Answered {
    let engine = &internal.inner.engine;
    let answer = async |notices: Vec<NoticeItem>| {
        let mut freed = Vec::with_capacity(notices.len());
        for of_event in notices.chunk_by(|one, next| one.event == next.event) {
            let ids = of_event.iter().map(|notice| match notice.notice {
                Notice::EventCancelled => BookingId::new(notice.booking),
            });
            let event = EventId::new(of_event[0].event);
            freed.extend(engine.release(event, ids.collect()).await);
        }
        let result =
            |freed: Result<Freed, String>| freed.map(NoticeResult::from).map_err(NoAnswer::Trouble);
        freed.into_iter().map(result).collect()
    };
    internal.inner.serve(&BOOK_NOTICES, request, understand, answer).await
}

/// Shows users.
#[utoipa::path(
    post,
    path = "/internal/v1/auth/look",
    tag = "auth",
    description = "For events, account and book.",
    request_body = Batch<Look>,
    responses((status = OK, body = Results<Seen>, description = "one result for each item"), Refusal),
)]
async fn auth_look(State(internal): State<Internal>, request: Request<Body>) -> Answered {
    look(&internal, &AUTH_LOOK, request).await
}

/// Shows events, their slots and their journals.
#[utoipa::path(
    post,
    path = "/internal/v1/events/look",
    tag = "events",
    description = "For book.",
    request_body = Batch<Look>,
    responses((status = OK, body = Results<Seen>, description = "one result for each item"), Refusal),
)]
async fn events_look(State(internal): State<Internal>, request: Request<Body>) -> Answered {
    look(&internal, &EVENTS_LOOK, request).await
}

/// Shows accounts and postings.
#[utoipa::path(
    post,
    path = "/internal/v1/account/look",
    tag = "account",
    description = "For auth and book.",
    request_body = Batch<Look>,
    responses((status = OK, body = Results<Seen>, description = "one result for each item"), Refusal),
)]
async fn account_look(State(internal): State<Internal>, request: Request<Body>) -> Answered {
    look(&internal, &ACCOUNT_LOOK, request).await
}

/// Shows bookings.
#[utoipa::path(
    post,
    path = "/internal/v1/book/look",
    tag = "book",
    description = "For events.",
    request_body = Batch<Look>,
    responses((status = OK, body = Results<Seen>, description = "one result for each item"), Refusal),
)]
async fn book_look(State(internal): State<Internal>, request: Request<Body>) -> Answered {
    look(&internal, &BOOK_LOOK, request).await
}

async fn steps(
    internal: &Internal,
    route: &Route,
    participant: Participant,
    request: Request<Body>,
) -> Answered {
    let understand = |item: &_| {
        let request: participant::Request = understand::<StepItem>(item)?.try_into()?;
        let is_ours = request.ask.of() == participant;
        let not_ours = || format!("to {} is asked of another service", request.ask);
        is_ours.then_some(request).ok_or_else(not_ours)
    };
    let answer = async |requests| {
        let answers = internal.inner.engine.ask(requests).await;
        answers.into_iter().map(|answer| answer.map(StepResult::from)).collect()
    };
    internal.inner.serve(route, request, understand, answer).await
}

async fn look(internal: &Internal, route: &Route, request: Request<Body>) -> Answered {
    let understand = |item: &_| understand_look(route.of, item);
    let answer = async |looks| {
        let seen = serve_looks(&internal.inner.engine, looks).await;
        seen.into_iter().map(|seen| seen.map_err(NoAnswer::Trouble)).collect()
    };
    internal.inner.serve(route, request, understand, answer).await
}
