//! Why a whole call is refused: `application/problem+json` (RFC 9457). Only what a caller has to act on
//! has a type of its own; all else is read in a service's log.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::wire::{Fault, Whose};

/// How long whoever meets a service that is away should wait, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// A refusal on its way to the caller.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    fault: Option<Box<Fault>>,
}

/// How it is written.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemShape {
    /// What it is, if a caller has to act on it.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    kind: Option<&'static str>,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What is wrong, for a person.
    detail: Cow<'static, str>,
    /// Which database isn't what it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    fault: Option<Fault>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, detail: detail.into(), fault: None }
    }

    /// One of both databases isn't what it was.
    pub(super) fn estranged(fault: Fault) -> Self {
        let detail = match (fault.whose, fault.is_another) {
            (Whose::Mine, true) => "this is another database than the caller knows",
            (Whose::Mine, false) => "this database has been restored from a back-up",
            (Whose::Yours, true) => {
                "the caller has another database than the one that is known here"
            }
            (Whose::Yours, false) => {
                "more has been seen of the caller's database than it says there is"
            }
        };
        Self { fault: Some(Box::new(fault)), ..Self::new(StatusCode::CONFLICT, detail) }
    }

    /// The service can't answer for now.
    pub(super) fn away(detail: String) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let kind = self.fault.as_ref().map(|fault| {
            if fault.is_another { "/problems/other-database" } else { "/problems/restored" }
        });
        let shape = ProblemShape {
            kind,
            fault: self.fault.map(|fault| *fault),
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: self.detail,
        };
        let body = serde_json::to_vec(&shape).expect("texts and numbers can be written");
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            _ => {}
        }
        response
    }
}
