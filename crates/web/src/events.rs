//! Events: create, edit, cancel, list, show.

mod second;

use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use eventbooker_core::events::{Amendment, Draft, Event};
use eventbooker_core::{EventId, Timestamp};
use eventbooker_engine::Decided;
use eventbooker_store::EventsPage;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answers::{AnyRequest, SignedInChange};
use crate::idempotency::{KeyHeader, Shown, View, answer};
use crate::problem::{Problem, ProblemKind};
use crate::refusals::{FIRST_SEED, problem_of};
use crate::request::{CurrentUser, Input, PathId, Query};
use crate::shapes::{Rfc3339, next_page};
use crate::state::Web;

pub(crate) fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, edit))
        .routes(routes!(cancel))
        .merge(second::routes())
}

/// An event and what happened to its seats.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventShape<'a> {
    /// Its number.
    id: i64,
    /// What it is called.
    name: &'a str,
    /// What it is about; lists leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    description: Option<&'a str>,
    /// When it takes place; null if that isn't known.
    #[schema(value_type = Option<String>, format = DateTime)]
    date: Option<Rfc3339>,
    /// How many seats it has.
    #[schema(minimum = 1)]
    capacity: u32,
    /// Seats that nobody holds or has bought; none if the event is cancelled.
    free_seats: u32,
    /// What a seat costs, in minor units.
    #[schema(minimum = 0)]
    price: i64,
    /// How long a hold waits for its payment, in minutes.
    #[serde(rename = "paymentTTL")]
    #[schema(minimum = 1, maximum = 43200)]
    payment_ttl: u32,
    /// Bookings that wait for their payment.
    pending_bookings: u32,
    /// Bookings that are paid.
    confirmed_bookings: u32,
    /// When it was cancelled; left out unless it was. Its bookings are released from then on, and their
    /// counts say how many are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    cancelled_at: Option<Rfc3339>,
}

impl<'a> EventShape<'a> {
    pub(crate) fn of(event: &'a Event) -> Self {
        let Event { id, plan, tally, cancellation, .. } = event;
        Self {
            id: id.get(),
            name: &plan.name,
            description: Some(&plan.description),
            date: plan.starts_at.map(Rfc3339),
            capacity: plan.capacity.get(),
            free_seats: event.free_seats().get(),
            price: plan.price.as_minor(),
            payment_ttl: plan.payment_window.as_minutes(),
            pending_bookings: tally.pending_bookings,
            confirmed_bookings: tally.confirmed_bookings,
            cancelled_at: cancellation.map(|cancellation| Rfc3339(cancellation.at)),
        }
    }

    /// The same for a list, without the one part that may be long.
    fn in_list(event: &'a Event) -> Self {
        Self { description: None, ..Self::of(event) }
    }
}

/// A new event.
#[derive(ToSchema)]
#[schema(as = NewEvent)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its description is used; the body is read field by field")]
struct NewEventShape {
    /// What it is called.
    #[schema(min_length = 1, max_length = 200, pattern = "^[^\\u0000]*$")]
    name: String,
    /// When it takes place; must lie in the future.
    #[schema(value_type = String, format = DateTime)]
    date: String,
    /// How many seats it has.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    capacity: i64,
    /// How long a hold waits for its payment, in minutes.
    #[schema(rename = "paymentTTL", minimum = 1, maximum = 43200)]
    payment_ttl: i64,
    /// What a seat costs, in minor units; nothing by default.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64, nullable = false)]
    price: Option<i64>,
    /// What it is about; nothing by default.
    #[schema(max_length = 10000, nullable = false, pattern = "^[^\\u0000]*$")]
    description: Option<String>,
}

pub(crate) struct Created;

impl View for Created {
    type Of = Event;

    fn show(decided: &Decided<Event>) -> Result<Shown, Problem> {
        let event = decided
            .outcome
            .as_ref()
            .map_err(|refusal| problem_of(refusal, FIRST_SEED, decided.now))?;
        Ok(Shown::created(&EventShape::of(event), format!("/events/{}", event.id)))
    }
}

/// Create an event
#[utoipa::path(
    post, path = "/events", tag = "events", request_body = NewEventShape,
    params(KeyHeader),
    responses(
        (status = 201, description = "The event", body = EventShape<'_>, headers(("Location", description = "The event's path"))),
        SignedInChange,
    ),
    security(("session" = [])),
)]
async fn create(
    State(web): State<Web>,
    user: CurrentUser,
    input: Input,
) -> Result<Response, Problem> {
    let actor = user.admin()?;
    let mut fields = input.fields()?;
    let draft = Draft {
        name: fields.text("name"),
        description: fields.optional_text("description").unwrap_or_default(),
        starts_at: Some(Timestamp::from_micros(fields.timestamp("date"))),
        capacity: fields.integer("capacity"),
        price_minor: fields.optional_integer("price").unwrap_or(0),
        payment_window_minutes: fields.integer("paymentTTL"),
    };
    fields.finish()?;
    let engine = web.engine().clone();
    let create = |key| async move { engine.create_event(actor, draft, key).await };
    answer::<Created, _>(&web, actor.user_id, input.key, create).await
}

/// What is to be different about an event. What is left out stays as it is.
#[derive(ToSchema)]
#[schema(as = EventChange)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its description is used; the body is read field by field")]
struct EventChangeShape {
    /// What it is called.
    #[schema(min_length = 1, max_length = 200, nullable = false, pattern = "^[^\\u0000]*$")]
    name: Option<String>,
    /// What it is about.
    #[schema(max_length = 10000, nullable = false, pattern = "^[^\\u0000]*$")]
    description: Option<String>,
    /// When it takes place; must lie in the future if it is another date than before.
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    date: Option<String>,
    /// How many seats it has; no fewer than are held or sold.
    #[schema(minimum = 1, maximum = 1_000_000_000, nullable = false)]
    capacity: Option<i64>,
    /// How long a hold waits for its payment, in minutes. What is held already keeps its deadline.
    #[schema(rename = "paymentTTL", minimum = 1, maximum = 43200, nullable = false)]
    payment_ttl: Option<i64>,
    /// What a seat costs, in minor units. What is booked already keeps its amount.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64, nullable = false)]
    price: Option<i64>,
}

/// An event as it is now.
pub(crate) struct Changed;

impl View for Changed {
    type Of = Event;

    fn show(decided: &Decided<Event>) -> Result<Shown, Problem> {
        match &decided.outcome {
            Ok(event) => Ok(Shown::ok(&EventShape::of(event))),
            Err(refusal) => Err(problem_of(refusal, FIRST_SEED, decided.now)),
        }
    }
}

/// Edit an event
///
/// Price and payment window count for what is booked from then on. A cancelled event can't be edited.
#[utoipa::path(
    patch, path = "/events/{id}", tag = "events", request_body = EventChangeShape,
    params(
        ("id" = i64, Path, description = "The event's number"),
        KeyHeader,
    ),
    responses((status = 200, description = "The event", body = EventShape<'_>), SignedInChange),
    security(("session" = [])),
)]
async fn edit(
    State(web): State<Web>,
    user: CurrentUser,
    PathId(id): PathId,
    input: Input,
) -> Result<Response, Problem> {
    let actor = user.admin()?;
    let mut fields = input.fields()?;
    let amendment = Amendment {
        name: fields.optional_text("name"),
        description: fields.optional_text("description"),
        starts_at: fields.optional_timestamp("date").map(Timestamp::from_micros),
        capacity: fields.optional_integer("capacity"),
        price_minor: fields.optional_integer("price"),
        payment_window_minutes: fields.optional_integer("paymentTTL"),
    };
    fields.finish()?;
    let (engine, id) = (web.engine().clone(), EventId::new(id));
    let edit = |key| async move { engine.edit_event(actor, id, amendment, key).await };
    answer::<Changed, _>(&web, actor.user_id, input.key, edit).await
}

/// Cancel an event
///
/// From then on nothing of it can be booked or confirmed. Its bookings are released one after the other,
/// holds by cancelling them and paid ones with the money back; `pendingBookings` and
/// `confirmedBookings` tell how many are left.
#[utoipa::path(
    post, path = "/events/{id}/cancel", tag = "events",
    params(
        ("id" = i64, Path, description = "The event's number"),
        KeyHeader,
    ),
    responses((status = 200, description = "The event, cancelled", body = EventShape<'_>), SignedInChange),
    security(("session" = [])),
)]
async fn cancel(
    State(web): State<Web>,
    user: CurrentUser,
    PathId(id): PathId,
    input: Input,
) -> Result<Response, Problem> {
    let actor = user.admin()?;
    if let Some(fields) = input.optional_fields()? {
        fields.finish()?;
    }
    let (engine, id) = (web.engine().clone(), EventId::new(id));
    let cancel = |key| async move { engine.cancel_event(actor, id, key).await };
    answer::<Changed, _>(&web, actor.user_id, input.key, cancel).await
}

/// List events
///
/// Soonest first; events without a date come last. Their descriptions are left out; `GET
/// /events/{id}` has them.
#[utoipa::path(
    get, path = "/events", tag = "events",
    params(
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "How many at most; 100 by default"),
        ("after" = Option<i64>, Query, description = "Only events that come after this one"),
        ("q" = Option<String>, Query, max_length = 200, description = "Only events whose name holds this text"),
    ),
    responses(
        (status = 200, description = "Events", body = Vec<EventShape<'_>>, headers(("Link", description = "The next page, if there is one"))),
        AnyRequest,
    ),
)]
async fn list(State(web): State<Web>, uri: Uri) -> Result<Response, Problem> {
    let mut query = Query::of(&uri);
    let (limit, after, search) = (query.limit(), query.after(), query.search());
    query.finish()?;
    let wanted = EventsPage {
        limit,
        after: after.map(EventId::new),
        not_before: None,
        name_contains: search.clone(),
    };
    let (events, last) = find_page(&web, wanted).await?;
    let shapes: Vec<EventShape<'_>> = events.iter().map(EventShape::in_list).collect();
    let mut response = Shown::ok(&shapes).into_response();
    if let Some(last) = last {
        add_link(&mut response, &next_page("/events", limit, last.get(), search.as_deref()));
    }
    Ok(response)
}

/// A page of events. In a demo whoever looks at the list while there is none finds the examples.
pub(crate) async fn find(web: &Web, page: EventsPage) -> Result<Vec<Event>, Problem> {
    let is_whole_list = page.after.is_none() && page.name_contains.is_none();
    let events = web.engine().events().events(page.clone()).await?;
    if events.is_empty()
        && is_whole_list
        && let Some(examples) = &web.inner.examples
        && examples.ensure(web.engine()).await
    {
        return Ok(web.engine().events().events(page).await?);
    }
    Ok(events)
}

/// The same, with the last of them if there are more behind it.
pub(crate) async fn find_page(
    web: &Web,
    page: EventsPage,
) -> Result<(Vec<Event>, Option<EventId>), Problem> {
    let shown = page.limit as usize;
    // One more than shown, to know whether there is more.
    let mut events = find(web, EventsPage { limit: page.limit.saturating_add(1), ..page }).await?;
    let more = events.len() > shown;
    events.truncate(shown);
    let last = events.last().filter(|_| more).map(|event| event.id);
    Ok((events, last))
}

/// Adds a `Link` header.
pub(crate) fn add_link(response: &mut Response, link: &str) {
    if let Ok(link) = HeaderValue::from_str(link) {
        response.headers_mut().insert(header::LINK, link);
    }
}

/// Show an event
#[utoipa::path(
    get, path = "/events/{id}", tag = "events",
    params(("id" = i64, Path, description = "The event's number")),
    responses((status = 200, description = "The event", body = EventShape<'_>), AnyRequest),
)]
async fn show(State(web): State<Web>, PathId(id): PathId) -> Result<Response, Problem> {
    let id = EventId::new(id);
    let event = web.engine().events().event(id).await?.ok_or_else(no_such_event)?;
    Ok(Shown::ok(&EventShape::of(&event)).into_response())
}

pub(crate) fn no_such_event() -> Problem {
    Problem::new(ProblemKind::NotFound, "there is no such event")
}
