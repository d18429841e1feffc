//! Bookings: book, confirm, cancel, list.

mod second;

use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use eventbooker_core::bookings::{Act, Booking, State as BookingState};
use eventbooker_core::{BookingId, EventId};
use eventbooker_engine::{BookingAt, BookingsPage, Decided};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answers::{SignedInChange, SignedInRequest};
use crate::events::{add_link, no_such_event};
use crate::idempotency::{KeyHeader, Shown, View, answer, write_late};
use crate::problem::Problem;
use crate::refusals::{FIRST_SEED, problem_of};
use crate::request::{CurrentUser, Input, PathId, Query};
use crate::shapes::{Rfc3339, next_page};
use crate::state::Web;

pub(crate) fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(book))
        .routes(routes!(confirm))
        .routes(routes!(cancel))
        .routes(routes!(list_own))
        .routes(routes!(list_of_event))
        .merge(second::routes())
}

/// Where a booking stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum BookingStatus {
    /// Its seats are held until the deadline.
    Pending,
    /// It is paid.
    Confirmed,
    /// It has ended, and its seats are free.
    Cancelled,
}

/// A booking.
#[derive(Serialize, ToSchema)]
#[schema(as = Booking)]
#[serde(rename_all = "camelCase")]
struct BookingShape {
    status: BookingStatus,
    /// Its number.
    id: i64,
    /// The event's number.
    event_id: i64,
    /// The owner's number.
    user_id: i64,
    /// How many seats.
    #[schema(minimum = 1)]
    seats: u32,
    /// What they cost together, in minor units.
    #[schema(minimum = 0)]
    amount: i64,
    /// Whether it is paid.
    paid: bool,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Rfc3339,
    /// The payment deadline.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Rfc3339,
    /// Whole seconds until then, rounded up; 0 unless the booking is pending.
    #[schema(minimum = 0)]
    expires_in_seconds: u64,
}

impl BookingShape {
    fn of(BookingAt { booking, at }: &BookingAt) -> Self {
        let Booking { id, event_id, user_id, seats, amount, created_at, expires_at, .. } = *booking;
        let left = at.until(expires_at).as_millis().div_ceil(1000);
        let (status, left) = match booking.state {
            BookingState::Occupied => (BookingStatus::Pending, left),
            // Its deadline doesn't count any more.
            BookingState::Occupying | BookingState::Paying | BookingState::Completing => {
                (BookingStatus::Pending, 0)
            }
            BookingState::Complete => (BookingStatus::Confirmed, 0),
            BookingState::Refunding
            | BookingState::Releasing
            | BookingState::Expiring
            | BookingState::Cancelled => (BookingStatus::Cancelled, 0),
        };
        Self {
            paid: matches!(status, BookingStatus::Confirmed),
            status,
            id: id.get(),
            event_id: event_id.get(),
            user_id: user_id.get(),
            seats: seats.get(),
            amount: amount.as_minor(),
            created_at: Rfc3339(created_at),
            expires_at: Rfc3339(expires_at),
            expires_in_seconds: u64::try_from(left).unwrap_or(u64::MAX),
        }
    }
}

fn shape_of(decided: &Decided<BookingAt>) -> Result<BookingShape, Problem> {
    match &decided.outcome {
        Ok(at) => Ok(BookingShape::of(at)),
        Err(refusal) => Err(problem_of(refusal, FIRST_SEED, decided.now)),
    }
}

/// A booking that was made.
pub(crate) struct Booked;

impl View for Booked {
    type Of = BookingAt;

    fn show(decided: &Decided<BookingAt>) -> Result<Shown, Problem> {
        let shape = shape_of(decided)?;
        if is_under_way(decided) {
            return Ok(Shown::ok_or_accepted(&shape, false));
        }
        Ok(Shown::created(&shape, format!("/events/{}/bookings", shape.event_id)))
    }
}

/// A booking that moved.
pub(crate) struct Moved;

impl View for Moved {
    type Of = BookingAt;

    fn show(decided: &Decided<BookingAt>) -> Result<Shown, Problem> {
        Ok(Shown::ok_or_accepted(&shape_of(decided)?, !is_under_way(decided)))
    }
}

/// Whether the saga has not come to rest: its end is still to be heard of.
fn is_under_way(decided: &Decided<BookingAt>) -> bool {
    decided.outcome.as_ref().is_ok_and(|at| !at.booking.is_at_rest())
}

/// Writes the answer down that was owed until a saga had come to rest.
pub fn write_answer(act: Act, decided: &Decided<BookingAt>) -> Vec<u8> {
    match act {
        Act::Book => write_late::<Booked>(decided),
        Act::Purchase => write_late::<second::Purchased>(decided),
        Act::Confirm | Act::Cancel => write_late::<Moved>(decided),
    }
}

/// Seats to book.
#[derive(ToSchema)]
#[schema(as = NewBooking)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its description is used; the body is read field by field")]
struct NewBookingShape {
    /// How many seats. The operator sets how many one booking may have; more are refused with a
    /// 422 that names the limit.
    #[schema(minimum = 1)]
    seats: i64,
}

/// Book seats
///
/// The booking holds the seats until its deadline. If it isn't confirmed before, it is gone.
#[utoipa::path(
    post, path = "/events/{id}/book", tag = "bookings", request_body = NewBookingShape,
    params(
        ("id" = i64, Path, description = "The event's number"),
        KeyHeader,
    ),
    responses(
        (status = 201, description = "The booking, pending", body = BookingShape),
        (status = 202, description = "The booking, while a participant is away; whether it gets its seats shows later", body = BookingShape),
        SignedInChange,
    ),
    security(("session" = [])),
)]
async fn book(
    State(web): State<Web>,
    user: CurrentUser,
    PathId(id): PathId,
    input: Input,
) -> Result<Response, Problem> {
    let event_id = EventId::new(id);
    let mut fields = input.fields()?;
    let seats = fields.integer("seats");
    fields.finish()?;
    let user_id = user.actor().user_id;
    let engine = web.engine().clone();
    let book = |key| async move { engine.book(user_id, event_id, seats, key).await };
    answer::<Booked, _>(&web, user_id, input.key, book).await
}

/// Which booking to confirm.
#[derive(ToSchema)]
#[schema(as = Confirmation)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its description is used; the body is read field by field")]
struct ConfirmationShape {
    /// The booking's number.
    #[schema(rename = "bookingId", nullable = false)]
    booking_id: Option<i64>,
}

/// Confirm a booking
///
/// The id in the path is the event's if the body names the booking, and the booking's own if the
/// body is empty.
#[utoipa::path(
    post, path = "/events/{id}/confirm", tag = "bookings", request_body = Option<ConfirmationShape>,
    params(
        ("id" = i64, Path, description = "The event's number; the booking's with an empty body"),
        KeyHeader,
    ),
    responses(
        (status = 200, description = "The booking, confirmed", body = BookingShape),
        (status = 202, description = "The booking as it stands, while a participant is away; it ends later by itself", body = BookingShape),
        SignedInChange,
    ),
    security(("session" = [])),
)]
async fn confirm(
    State(web): State<Web>,
    user: CurrentUser,
    PathId(id): PathId,
    input: Input,
) -> Result<Response, Problem> {
    let (event_id, booking_id) = match input.optional_fields()? {
        Some(mut fields) => {
            let booking_id = fields.integer("bookingId");
            fields.finish()?;
            (Some(EventId::new(id)), BookingId::new(booking_id))
        }
        None => (None, BookingId::new(id)),
    };
    let actor = user.actor();
    let engine = web.engine().clone();
    let confirm = |key| async move { engine.confirm(actor, event_id, booking_id, key).await };
    answer::<Moved, _>(&web, actor.user_id, input.key, confirm).await
}

/// Cancel a booking
#[utoipa::path(
    post, path = "/bookings/{id}/cancel", tag = "bookings",
    params(
        ("id" = i64, Path, description = "The booking's number"),
        KeyHeader,
    ),
    responses(
        (status = 200, description = "The booking, cancelled", body = BookingShape),
        (status = 202, description = "The booking, being cancelled, while a participant is away; money and seats come back later by themselves", body = BookingShape),
        SignedInChange,
    ),
    security(("session" = [])),
)]
async fn cancel(
    State(web): State<Web>,
    user: CurrentUser,
    PathId(id): PathId,
    input: Input,
) -> Result<Response, Problem> {
    let booking_id = BookingId::new(id);
    if let Some(fields) = input.optional_fields()? {
        fields.finish()?;
    }
    let actor = user.actor();
    let engine = web.engine().clone();
    let cancel = |key| async move { engine.cancel(actor, booking_id, key).await };
    answer::<Moved, _>(&web, actor.user_id, input.key, cancel).await
}

/// List own bookings
///
/// The live ones, newest first.
#[utoipa::path(
    get, path = "/bookings", tag = "bookings",
    params(
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "How many at most; 100 by default"),
        ("after" = Option<i64>, Query, description = "Only bookings that come after this one in the list"),
    ),
    responses(
        (status = 200, description = "Bookings", body = Vec<BookingShape>, headers(("Link", description = "The next page, if there is one"))),
        SignedInRequest,
    ),
    security(("session" = [])),
)]
async fn list_own(
    State(web): State<Web>,
    user: CurrentUser,
    uri: Uri,
) -> Result<Response, Problem> {
    let (limit, before) = page_of(&uri)?;
    let user_id = user.actor().user_id;
    let bookings = web.engine().bookings_of_user(user_id, None, before, limit).await?;
    Ok(page("/bookings", limit, &bookings))
}

/// List an event's bookings
///
/// The live ones, newest first: all of them for an admin, the own ones for anybody else.
#[utoipa::path(
    get, path = "/events/{id}/bookings", tag = "bookings",
    params(
        ("id" = i64, Path, description = "The event's number"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "How many at most; 100 by default"),
        ("after" = Option<i64>, Query, description = "Only bookings that come after this one in the list"),
    ),
    responses(
        (status = 200, description = "Bookings", body = Vec<BookingShape>, headers(("Link", description = "The next page, if there is one"))),
        SignedInRequest,
    ),
    security(("session" = [])),
)]
async fn list_of_event(
    State(web): State<Web>,
    user: CurrentUser,
    PathId(id): PathId,
    uri: Uri,
) -> Result<Response, Problem> {
    let event_id = EventId::new(id);
    let (limit, before) = page_of(&uri)?;
    web.engine().events().event(event_id).await?.ok_or_else(no_such_event)?;
    let bookings = web.engine().bookings_of_event(user.actor(), event_id, before, limit).await?;
    Ok(page(&format!("/events/{event_id}/bookings"), limit, &bookings))
}

fn page_of(uri: &Uri) -> Result<(u32, Option<BookingId>), Problem> {
    let mut query = Query::of(uri);
    let page = (query.limit(), query.after().map(BookingId::new));
    query.finish()?;
    Ok(page)
}

fn page(path: &str, limit: u32, page: &BookingsPage) -> Response {
    let shapes: Vec<BookingShape> = page.bookings.iter().map(BookingShape::of).collect();
    let mut response = Shown::ok(&shapes).into_response();
    if let Some(next) = page.next {
        add_link(&mut response, &next_page(path, limit, next.get(), None));
    }
    response
}
