//! The problems that an operation may answer with, for the API description.

use std::collections::BTreeMap;

use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// Why a request came to nothing (RFC 9457).
#[derive(ToSchema)]
#[schema(as = Problem)]
#[allow(dead_code, reason = "only its description is used")]
pub(crate) struct ProblemShape {
    /// Which kind of problem; a relative URI that leads to a page which explains it.
    #[schema(rename = "type", example = "/problems/sold-out")]
    kind: String,
    /// The kind in words.
    title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What happened this time.
    detail: String,
    /// The same as `detail`.
    error: String,
    /// Every bad field.
    errors: Option<Vec<BadField>>,
    /// How many seats are free (409).
    #[schema(rename = "freeSeats", minimum = 0)]
    free_seats: Option<u32>,
    /// How many seats are held or sold (409).
    #[schema(minimum = 0)]
    occupied: Option<u32>,
    /// What the account holds, in minor units (402).
    balance: Option<i64>,
    /// What is to be paid, in minor units (402).
    amount: Option<i64>,
}

/// What is wrong with one field.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its description is used")]
pub(crate) struct BadField {
    /// The member of the body, or the parameter of path or query.
    field: String,
    /// What is wrong with it.
    detail: String,
}

/// Any request: broken, too slow, too large, or at a bad moment.
pub(crate) struct AnyRequest;
/// Any request that takes a session.
pub(crate) struct SignedInRequest;
/// Any request with a body that changes something.
pub(crate) struct Change;
/// Any such request that takes a session.
pub(crate) struct SignedInChange;

const ANY: [u16; 5] = [400, 404, 408, 431, 503];
const CHANGE: [u16; 6] = [403, 409, 413, 415, 422, 429];

impl IntoResponses for AnyRequest {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[&ANY])
    }
}

impl IntoResponses for SignedInRequest {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[&ANY, &[401, 403]])
    }
}

impl IntoResponses for Change {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[&ANY, &CHANGE, &[401]])
    }
}

impl IntoResponses for SignedInChange {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[&ANY, &CHANGE, &[401, 402, 410]])
    }
}

fn problems(groups: &[&[u16]]) -> BTreeMap<String, RefOr<Response>> {
    groups
        .iter()
        .copied()
        .flatten()
        .map(|status| (status.to_string(), RefOr::T(problem(*status))))
        .collect()
}

fn problem(status: u16) -> Response {
    let description = match status {
        400 => "Not JSON, or a value that does not parse",
        401 => "Nobody is signed in, or the session has ended",
        402 => "Too little money",
        403 => "Not an admin, or sent by another site's page",
        404 => "No such event or booking",
        408 => "The request came too slowly",
        409 => {
            "Sold out, too few seats left, capacity below what is booked, login taken, or not in this state"
        }
        410 => "The booking's deadline has passed",
        413 => "The body is too large",
        415 => "The body is not JSON",
        422 => "A rule is broken, or the Idempotency-Key was used for something else",
        429 => "Over a rate or hold limit; Retry-After says until when",
        431 => "The headers are too large",
        _ => "Overloaded, stopping, or the store is away; Retry-After says until when",
    };
    let schema = Ref::from_schema_name("Problem");
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", ContentBuilder::new().schema(Some(schema)).build())
        .build()
}
