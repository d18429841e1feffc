//! Who may call what, and what is told of those who may not.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use bytes::Bytes;
use eventbooker_core::Context;
use eventbooker_engine::Clock;
use http_body_util::{BodyExt as _, Limited};

use super::Inner;
use super::problem::Problem;
use crate::tokens::{Unproven, claimed};
use crate::wire::BODY_BYTES_MAX;

/// So many refusals a second are in the log; a metric counts the others.
const COMPLAINTS_PER_SECOND: u32 = 10;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// A route, and who may call it.
pub(super) struct Route {
    /// Whose it is. A token has to be for this service.
    pub(super) of: Context,
    /// Which services have a use for it.
    pub(super) callers: &'static [Context],
    /// The most items in one batch.
    pub(super) items_max: usize,
    /// Whether it changes rows.
    pub(super) changes_rows: bool,
}

impl Inner {
    /// Who calls a route, if they may.
    pub(super) fn admit(&self, route: &Route, head: &Parts) -> Result<Context, Problem> {
        let token = bearer(head);
        let from =
            token.and_then(|token| self.tokens.check_service(token, route.of)).map_err(|why| {
                self.refuse(head, StatusCode::UNAUTHORIZED, why.name(), why.to_string())
            })?;
        if route.callers.contains(&from) {
            return Ok(from);
        }
        let why = format!("{from} has no business here");
        Err(self.refuse(head, StatusCode::FORBIDDEN, "other_service", why))
    }

    /// Who calls, whichever service it is and whichever service of this process is called.
    pub(super) fn admit_anybody(&self, head: &Parts) -> Result<Context, Problem> {
        let mut admitted = Err(Unproven::OtherAudience);
        for of in self.here.iter() {
            admitted = bearer(head).and_then(|token| self.tokens.check_service(token, of));
            if admitted != Err(Unproven::OtherAudience) {
                break;
            }
        }
        admitted
            .map_err(|why| self.refuse(head, StatusCode::UNAUTHORIZED, why.name(), why.to_string()))
    }

    /// A refusal that is in the log.
    pub(super) fn refuse(
        &self,
        head: &Parts,
        status: StatusCode,
        reason: &'static str,
        detail: String,
    ) -> Problem {
        metrics::counter!("eventbooker_internal_refusals_total", "reason" => reason).increment(1);
        if self.complaints.may_be_told() {
            let peer = (self.peer)(&head.extensions).map(tracing::field::display);
            let from = bearer(head).ok().and_then(claimed).map_or("nobody known", Context::name);
            let path = head.uri.path();
            tracing::warn!(peer, from, path, detail, "a call to another service is refused");
        }
        Problem::new(status, detail)
    }
}

/// The token of a call.
fn bearer(head: &Parts) -> Result<&str, Unproven> {
    let value = head.headers.get(header::AUTHORIZATION).ok_or(Unproven::Missing)?;
    let text = value.to_str().map_err(|_| Unproven::Malformed)?;
    text.strip_prefix("Bearer ").ok_or(Unproven::Malformed)
}

/// Reads a body that isn't too large.
pub(super) async fn read(head: &Parts, body: Body) -> Result<Bytes, Problem> {
    let read = Limited::new(body, BODY_BYTES_MAX).collect().await;
    read.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            let detail = format!("the body is larger than {BODY_BYTES_MAX} bytes");
            return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail);
        }
        tracing::debug!(path = head.uri.path(), %error, "a body broke off");
        Problem::new(StatusCode::BAD_REQUEST, "the body could not be read")
    })
}

/// Keeps the log readable while somebody tries all doors.
pub(super) struct Complaints {
    clock: Arc<dyn Clock>,
    /// The second, and how many there were in it.
    told: Mutex<(i64, u32)>,
}

impl Complaints {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, told: Mutex::default() }
    }

    fn may_be_told(&self) -> bool {
        let second = self.clock.now().as_micros().div_euclid(MICROS_PER_SECOND);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.0 != second {
            *told = (second, 0);
        }
        told.1 = told.1.saturating_add(1);
        told.1 <= COMPLAINTS_PER_SECOND
    }
}
