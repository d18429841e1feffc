//! Every refusal that a client sees: `application/problem+json` (RFC 9457).
//!
//! A [`Problem`] is the answer's body and status in one value, so that a handler returns
//! `Err(problem)` and is done. Invariants:
//!
//! - `type` is `/problems/<slug>` and resolves to a page of [`routes`]; slugs are stable, clients
//!   match on them.
//! - `error` repeats `detail`, for the first seed's clients.
//! - a 429 and a 503 always carry `Retry-After`.
//! - an extra member never takes a standard member's name.
//!
//! Serialisation is by hand: "sold out" is answered tens of thousands of times a second, and
//! everything but the detail is known when the program is compiled.
//!
//! Absent on purpose: the map from the core's refusals to kinds. It stands beside the handlers, in
//! one place.

mod kinds;
mod pages;

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

pub use kinds::ProblemKind;
pub use pages::{index, page, routes};

/// The content type of every problem.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// RFC 9110 wants a challenge on every 401. Browsers ignore a scheme that they do not know and open no
/// dialog.
pub(crate) const CHALLENGE: HeaderValue = HeaderValue::from_static("Session");

/// One bad field of a request, in `errors`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The member of the JSON body, or the parameter of the path or query.
    pub field: Cow<'static, str>,
    /// What is wrong with it, so that "`field` `detail`" reads as a sentence.
    pub detail: Cow<'static, str>,
}

impl FieldError {
    /// An error on `field`.
    pub fn new(field: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), detail: detail.into() }
    }
}

/// A refusal on its way to the client.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Which kind; it fixes `type`, `title` and `status`.
    pub kind: ProblemKind,
    /// What happened this time, in words for a person.
    pub detail: Cow<'static, str>,
    /// Every bad field, not only the first one.
    pub errors: Vec<FieldError>,
    /// Extra members such as `freeSeats`. A list instead of a map: there are at most two, and a map
    /// would cost two allocations more on the path that answers "sold out".
    pub members: Vec<(&'static str, Value)>,
    /// `Retry-After`. Kinds that need one have a default, see [`ProblemKind::retry_after_seconds`].
    pub retry_after_seconds: Option<u32>,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            members: Vec::new(),
            retry_after_seconds: kind.retry_after_seconds(),
        }
    }

    /// A problem that lists bad fields; the detail names the first one and says how many more there
    /// are.
    pub fn of_fields(kind: ProblemKind, errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [] => Cow::Borrowed(kind.title()),
            [only] => format!("{} {}", only.field, only.detail).into(),
            [first, _] => format!("{} {} (and 1 more)", first.field, first.detail).into(),
            [first, rest @ ..] => {
                format!("{} {} (and {} more)", first.field, first.detail, rest.len()).into()
            }
        };
        Self { errors, ..Self::new(kind, detail) }
    }

    /// With an extra member.
    #[must_use]
    pub fn with(mut self, member: &'static str, value: impl Into<Value>) -> Self {
        debug_assert!(!STANDARD_MEMBERS.contains(&member), "{member} is a standard member");
        self.members.push((member, value.into()));
        self
    }

    /// With `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// The body's bytes.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(160 + 2 * self.detail.len() + 64 * self.errors.len());
        json.extend_from_slice(b"{\"type\":\"/problems/");
        json.extend_from_slice(self.kind.slug().as_bytes());
        json.extend_from_slice(b"\",\"title\":\"");
        json.extend_from_slice(self.kind.title().as_bytes());
        json.extend_from_slice(b"\",\"status\":");
        json.extend_from_slice(self.kind.status().as_str().as_bytes());
        json.extend_from_slice(b",\"detail\":");
        // The escaped detail is written once and copied for its second name.
        let start = json.len();
        write_json(&mut json, &self.detail);
        let end = json.len();
        json.extend_from_slice(b",\"error\":");
        json.extend_from_within(start..end);
        if !self.errors.is_empty() {
            json.extend_from_slice(b",\"errors\":");
            write_json(&mut json, &self.errors);
        }
        for (member, value) in &self.members {
            json.push(b',');
            write_json(&mut json, member);
            json.push(b':');
            write_json(&mut json, value);
        }
        json.push(b'}');
        json
    }
}

/// The members that RFC 9457 and the contract define.
const STANDARD_MEMBERS: [&str; 6] = ["type", "title", "status", "detail", "error", "errors"];

fn write_json<T: Serialize + ?Sized>(into: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(into, value)
        .expect("strings and JSON values always serialise, and a Vec takes every byte");
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.kind.status() == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, CHALLENGE);
        }
        response
    }
}

impl From<ProblemKind> for Problem {
    fn from(kind: ProblemKind) -> Self {
        Self::new(kind, kind.title())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(problem: &Problem) -> Value {
        serde_json::from_slice(&problem.to_json()).expect("a problem is JSON")
    }

    #[test]
    fn a_problem_has_the_members_of_the_contract() {
        let problem =
            Problem::new(ProblemKind::SoldOut, "event 7 is sold out").with("freeSeats", 0);
        assert_eq!(
            body(&problem),
            json!({
                "type": "/problems/sold-out",
                "title": "Sold out",
                "status": 409,
                "detail": "event 7 is sold out",
                "error": "event 7 is sold out",
                "freeSeats": 0,
            })
        );
    }

    #[test]
    fn details_are_escaped_in_both_places() {
        let detail = "a \"quoted\"\nline with \u{1} and ü";
        let body = body(&Problem::new(ProblemKind::InvalidValue, detail));
        assert_eq!(body["detail"], detail);
        assert_eq!(body["error"], detail);
    }

    #[test]
    fn bad_fields_are_all_listed_and_the_detail_names_the_first() {
        let errors = [
            FieldError::new("name", "is required"),
            FieldError::new("capacity", "must be a whole number"),
            FieldError::new("date", "is required"),
        ];
        for (count, detail) in [
            (1, "name is required"),
            (2, "name is required (and 1 more)"),
            (3, "name is required (and 2 more)"),
        ] {
            let problem =
                Problem::of_fields(ProblemKind::ValidationFailed, errors[..count].to_vec());
            assert_eq!(problem.detail, detail);
            assert_eq!(body(&problem)["errors"].as_array().expect("a list").len(), count);
        }
        assert_eq!(body(&Problem::from(ProblemKind::NotFound)).get("errors"), None);
    }

    #[test]
    fn every_kind_makes_a_response_that_holds_the_invariants() {
        for &kind in ProblemKind::ALL {
            let body = body(&Problem::from(kind));
            assert_eq!(body["type"], format!("/problems/{}", kind.slug()));
            assert_eq!(body["title"], kind.title());
            let response = Problem::from(kind).into_response();
            assert_eq!(response.status().as_u16(), body["status"]);
            assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
            if matches!(response.status().as_u16(), 429 | 503) {
                assert!(response.headers().contains_key(RETRY_AFTER), "{kind:?}");
            }
        }
    }

    #[test]
    fn retry_after_can_be_set() {
        let response = Problem::from(ProblemKind::RateLimited).retry_after(42).into_response();
        assert_eq!(response.headers()[RETRY_AFTER], "42");
    }
}
