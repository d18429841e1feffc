//! Bookings as the contract's second section has them: booked and paid in one go, and shown with
//! the number of their saga's state.

use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use eventbooker_core::bookings::{Booking, State as BookingState};
use eventbooker_core::{BookingId, EventId};
use eventbooker_engine::{BookingAt, Decided};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answers::{SignedInChange, SignedInRequest};
use crate::events::add_link;
use crate::idempotency::{InVain, KeyHeader, Shown, View, answer_bounded};
use crate::problem::Problem;
use crate::refusals::{SECOND_SEED, problem_of};
use crate::request::{CurrentUser, Input, Query};
use crate::shapes::next_page;
use crate::state::Web;

pub(super) fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(purchase)).routes(routes!(list))
}

/// A booking in short.
#[derive(Serialize, ToSchema)]
#[schema(as = ShortBooking)]
struct ShortBookingShape {
    /// Its number.
    id: i64,
    /// The owner's number.
    user_id: i64,
    /// The event's number.
    event_id: i64,
    /// What its seats cost together, in minor units; left out while that isn't known, or nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, nullable = false)]
    price: Option<i64>,
    /// Where its saga stands: 0 created, 1 occupying, 2 occupied, 3 paying, 4 complete,
    /// -1 cancelled, -2 being cancelled.
    #[schema(minimum = -2, maximum = 4)]
    status: i8,
}

impl ShortBookingShape {
    fn of(BookingAt { booking, .. }: &BookingAt) -> Self {
        let Booking { id, event_id, user_id, amount, state, .. } = *booking;
        Self {
            id: id.get(),
            user_id: user_id.get(),
            event_id: event_id.get(),
            price: Some(amount.as_minor()).filter(|price| *price != 0),
            status: match state {
                BookingState::Occupying => 1,
                BookingState::Occupied => 2,
                BookingState::Paying | BookingState::Completing => 3,
                BookingState::Complete => 4,
                BookingState::Cancelled => -1,
                BookingState::Refunding | BookingState::Releasing | BookingState::Expiring => -2,
            },
        }
    }
}

/// What to book.
#[derive(ToSchema)]
#[schema(as = NewPurchase)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its description is used; the body is read field by field")]
struct NewPurchaseShape {
    /// The event's number.
    event_id: i64,
    /// How many seats; one by default. The operator sets how many one booking may have.
    #[schema(minimum = 1, nullable = false)]
    seats: Option<i64>,
}

pub(super) struct Purchased;

impl View for Purchased {
    type Of = BookingAt;

    fn show(decided: &Decided<BookingAt>) -> Result<Shown, Problem> {
        match &decided.outcome {
            Ok(at) => {
                let is_at_rest = at.booking.is_at_rest();
                Ok(Shown::ok_or_accepted(&ShortBookingShape::of(at), is_at_rest))
            }
            Err(refusal) => Err(problem_of(refusal, SECOND_SEED, decided.now)),
        }
    }
}

/// Book and pay
///
/// The answer is the booking when its saga has ended: complete, or cancelled because no seat was
/// left (without a price) or because there was too little money (with the price).
#[utoipa::path(
    post, path = "/book/create", tag = "bookings", request_body = NewPurchaseShape,
    params(KeyHeader),
    responses(
        (status = 200, description = "The booking", body = ShortBookingShape),
        (status = 202, description = "The booking as it stands, while a participant is away; it ends later by itself", body = ShortBookingShape),
        SignedInChange,
    ),
    security(("session" = [])),
)]
async fn purchase(
    State(web): State<Web>,
    user: CurrentUser,
    input: Input,
) -> Result<Response, Problem> {
    let mut fields = input.fields_of_any_kind()?;
    let event_id = EventId::new(fields.integer("event_id"));
    let seats = fields.optional_integer("seats").unwrap_or(1);
    fields.finish()?;
    let user_id = user.actor().user_id;
    let engine = web.engine().clone();
    let purchase = |key| async move { engine.purchase(user_id, event_id, seats, key).await };
    answer_bounded::<Purchased, _>(&web, user_id, input.key, purchase, InVain::Bought).await
}

/// List own bookings in short
///
/// Oldest first, whatever became of them; only holds that nobody paid in time are gone.
#[utoipa::path(
    get, path = "/book/get", tag = "bookings",
    params(
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 1000, description = "How many at most; 1000 by default"),
        ("after" = Option<i64>, Query, description = "Only bookings that come after this one"),
    ),
    responses(
        (status = 200, description = "Bookings", body = Vec<ShortBookingShape>, headers(("Link", description = "The next page, if there may be one"))),
        SignedInRequest,
    ),
    security(("session" = [])),
)]
async fn list(State(web): State<Web>, user: CurrentUser, uri: Uri) -> Result<Response, Problem> {
    let mut query = Query::of(&uri);
    let (limit, after) = (query.limit_of_short(), query.after());
    query.finish()?;
    let after = BookingId::new(after.unwrap_or(0));
    let page = web.engine().all_bookings_of_user(user.actor().user_id, after, limit).await?;
    let shapes: Vec<ShortBookingShape> = page.bookings.iter().map(ShortBookingShape::of).collect();
    let mut response = Shown::ok(&shapes).into_response();
    if let Some(next) = page.next {
        add_link(&mut response, &next_page("/book/get", limit, next.get(), None));
    }
    Ok(response)
}
