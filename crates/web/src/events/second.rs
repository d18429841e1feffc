//! Events as the contract's second section has them: the same events, with fewer fields and other
//! names.

use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use eventbooker_core::EventId;
use eventbooker_core::events::{Draft, Event};
use eventbooker_engine::Decided;
use eventbooker_store::EventsPage;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{add_link, no_such_event};
use crate::answers::{SignedInChange, SignedInRequest};
use crate::idempotency::{KeyHeader, Shown, View, answer};
use crate::problem::Problem;
use crate::refusals::{SECOND_SEED, problem_of};
use crate::request::{CurrentUser, Input, PathId, Query};
use crate::shapes::next_page;
use crate::state::Web;

/// How long a hold on an event that was made here waits for its payment.
const PAYMENT_WINDOW_MINUTES: i64 = 30;

pub(super) fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(create)).routes(routes!(list)).routes(routes!(show))
}

/// An event in short.
#[derive(Serialize, ToSchema)]
#[schema(as = ShortEvent)]
struct ShortEventShape<'a> {
    /// Its number.
    id: i64,
    /// What it is called.
    event_name: &'a str,
    /// What a slot costs, in minor units.
    #[schema(minimum = 0)]
    price: i64,
    /// How many slots it has, taken or not.
    #[schema(minimum = 1)]
    total_slots: u32,
}

impl<'a> ShortEventShape<'a> {
    fn of(event: &'a Event) -> Self {
        Self {
            id: event.id.get(),
            event_name: &event.plan.name,
            price: event.plan.price.as_minor(),
            total_slots: event.plan.capacity.get(),
        }
    }
}

/// A new event in short.
#[derive(ToSchema)]
#[schema(as = NewShortEvent)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its description is used; the body is read field by field")]
struct NewShortEventShape {
    /// What it is called.
    #[schema(min_length = 1, max_length = 200, pattern = "^[^\\u0000]*$")]
    event_name: String,
    /// What a slot costs, in minor units.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    price: i64,
    /// How many slots it has.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    total_slots: i64,
}

struct Created;

impl View for Created {
    type Of = Event;

    fn show(decided: &Decided<Event>) -> Result<Shown, Problem> {
        match &decided.outcome {
            Ok(event) => Ok(Shown::ok(&ShortEventShape::of(event))),
            Err(refusal) => Err(problem_of(refusal, SECOND_SEED, decided.now)),
        }
    }
}

/// Create an event in short
///
/// It has no date, and holds on it wait half an hour for their payment.
#[utoipa::path(
    post, path = "/events/create", tag = "events", request_body = NewShortEventShape,
    params(KeyHeader),
    responses((status = 200, description = "The event", body = ShortEventShape<'_>), SignedInChange),
    security(("session" = [])),
)]
async fn create(
    State(web): State<Web>,
    user: CurrentUser,
    input: Input,
) -> Result<Response, Problem> {
    let actor = user.admin()?;
    let mut fields = input.fields_of_any_kind()?;
    let draft = Draft {
        name: fields.text("event_name"),
        description: String::new(),
        starts_at: None,
        capacity: fields.integer("total_slots"),
        price_minor: fields.integer("price"),
        payment_window_minutes: PAYMENT_WINDOW_MINUTES,
    };
    fields.finish()?;
    let engine = web.engine().clone();
    let create = |key| async move { engine.create_event(actor, draft, key).await };
    answer::<Created, _>(&web, actor.user_id, input.key, create).await
}

/// List events in short
///
/// Soonest first; events without a date come last, in the order of their numbers.
#[utoipa::path(
    get, path = "/events/get", tag = "events",
    params(
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000, description = "How many at most; 1000 by default"),
        ("after" = Option<i64>, Query, description = "Only events that come after this one"),
    ),
    responses(
        (status = 200, description = "Events", body = Vec<ShortEventShape<'_>>, headers(("Link", description = "The next page, if there is one"))),
        SignedInRequest,
    ),
    security(("session" = [])),
)]
async fn list(State(web): State<Web>, _: CurrentUser, uri: Uri) -> Result<Response, Problem> {
    let mut query = Query::of(&uri);
    let (limit, after) = (query.limit_of_short(), query.after());
    query.finish()?;
    // One more than shown, to know whether there is more.
    let page = EventsPage {
        limit: limit + 1,
        after: after.map(EventId::new),
        not_before: None,
        name_contains: None,
    };
    let mut events = web.engine().events().events(page).await?;
    let more = events.len() > limit as usize;
    events.truncate(limit as usize);
    let shapes: Vec<ShortEventShape<'_>> = events.iter().map(ShortEventShape::of).collect();
    let mut response = Shown::ok(&shapes).into_response();
    if let Some(last) = events.last().filter(|_| more) {
        add_link(&mut response, &next_page("/events/get", limit, last.id.get(), None));
    }
    Ok(response)
}

/// Show an event in short
#[utoipa::path(
    get, path = "/events/get/{id}", tag = "events",
    params(("id" = i64, Path, description = "The event's number")),
    responses(
        (status = 200, description = "The event", body = ShortEventShape<'_>),
        SignedInRequest,
    ),
    security(("session" = [])),
)]
async fn show(
    State(web): State<Web>,
    _: CurrentUser,
    PathId(id): PathId,
) -> Result<Response, Problem> {
    let event = web.engine().events().event(EventId::new(id)).await?.ok_or_else(no_such_event)?;
    Ok(Shown::ok(&ShortEventShape::of(&event)).into_response())
}
