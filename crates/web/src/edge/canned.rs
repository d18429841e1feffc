//! Answers that never pass through the application, as ready bytes: there is no request to answer,
//! or no place to handle it.

use axum::http::header::{CONNECTION, CONTENT_LENGTH};
use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse as _;

use crate::headers::SecurityHeaders;
use crate::problem::{Problem, ProblemKind};

/// Each closes the connection.
pub(super) struct Canned {
    pub(super) malformed_request: CannedAnswer,
    pub(super) headers_too_large: CannedAnswer,
    pub(super) request_timeout: CannedAnswer,
    pub(super) overloaded: CannedAnswer,
}

pub(super) struct CannedAnswer {
    pub(super) status: StatusCode,
    pub(super) bytes: Vec<u8>,
}

impl Canned {
    pub(super) fn new(security: SecurityHeaders) -> Self {
        let canned = |kind: ProblemKind, detail| CannedAnswer {
            status: kind.status(),
            bytes: bytes(&Problem::new(kind, detail), security),
        };
        Self {
            malformed_request: canned(
                ProblemKind::MalformedRequest,
                "the request line or a header could not be understood",
            ),
            headers_too_large: canned(
                ProblemKind::HeadersTooLarge,
                "the request line and the headers are too large or too many",
            ),
            request_timeout: canned(
                ProblemKind::RequestTimeout,
                "the headers took too long to arrive",
            ),
            overloaded: canned(
                ProblemKind::Overloaded,
                "all connections of this service are in use",
            ),
        }
    }
}

fn bytes(problem: &Problem, security: SecurityHeaders) -> Vec<u8> {
    let body = problem.to_json();
    let mut response = problem.clone().into_response();
    let status: StatusCode = response.status();
    let headers = response.headers_mut();
    security.apply(headers);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let mut bytes = Vec::with_capacity(1024);
    bytes.extend_from_slice(b"HTTP/1.1 ");
    bytes.extend_from_slice(status.as_str().as_bytes());
    bytes.push(b' ');
    bytes.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    bytes.extend_from_slice(b"\r\n");
    for (name, value) in headers.iter() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    bytes
}
