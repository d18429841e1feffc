//! Forms: what was typed, the key that makes a double click count once, and what became of it.

use askama::Template;
use axum::body::Body;
use axum::extract::FromRequest;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use fluent_bundle::FluentArgs;
use serde_json::Value;

use super::page;
use super::texts::Texts;
use crate::edge::read_body;
use crate::idempotency::RawKey;
use crate::problem::{CHALLENGE, Problem, ProblemKind};
use crate::state::Web;

/// The field of the idempotency key.
const KEY: &str = "key";
/// The most fields that are read; no form has as many.
const FIELDS_MAX: usize = 64;
/// Random bytes in a form's key.
const KEY_BYTES: usize = 16;

/// A form as it was sent.
pub(crate) struct Form {
    path: String,
    fields: Vec<(String, String)>,
}

impl FromRequest<Web> for Form {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, web: &Web) -> Result<Self, Problem> {
        Self::read(request, web.inner.settings.body_bytes_max).await
    }
}

impl Form {
    /// Reads a form of at most so many bytes.
    pub(crate) async fn read(request: Request<Body>, bytes_max: usize) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        let body = read_body(body, bytes_max).await?;
        // A form with nothing but a button may come without a kind.
        if !(kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") || body.is_empty()) {
            return Err(Problem::new(
                ProblemKind::UnsupportedMediaType,
                "the body must be a form; send Content-Type: application/x-www-form-urlencoded",
            ));
        }
        let fields = form_urlencoded::parse(&body).take(FIELDS_MAX);
        // U+0000 can't be typed, nor stored; HTML reads it as this, too.
        let read = |text: &str| text.replace('\0', "\u{fffd}");
        let fields = fields.map(|(name, value)| (read(&name), read(&value))).collect();
        Ok(Self { path: parts.uri.path().to_owned(), fields })
    }

    /// What was typed into a field; nothing if it wasn't there.
    pub(crate) fn text(&self, name: &str) -> &str {
        let field = self.fields.iter().find(|(field, _)| field == name);
        field.map_or("", |(_, value)| value.as_str())
    }

    /// The whole number that was typed into a field.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.text(name).trim().parse().ok()
    }

    /// The form's key. One without is taken all the same; it only isn't safe to send twice.
    pub(crate) fn key(&self) -> Option<RawKey> {
        let told = self.fields.iter().filter(|(name, _)| name != KEY);
        let told = told.flat_map(|(name, value)| [name.as_str(), value.as_str()]);
        RawKey::of_form(
            self.text(KEY),
            &[self.path.as_str()].into_iter().chain(told).collect::<Vec<_>>(),
        )
    }

    /// The key for the same form again: the one that it had if nobody knows what became of it, so
    /// that sending it again is safe; else another one.
    pub(crate) fn next_key(&self, web: &Web, trouble: &Trouble) -> String {
        let is_open = trouble.kind.status().is_server_error()
            || trouble.kind == ProblemKind::IdempotencyKeyInFlight;
        if is_open && !self.text(KEY).is_empty() {
            return self.text(KEY).to_owned();
        }
        new_key(web)
    }
}

/// A key for a form that is being shown.
pub(crate) fn new_key(web: &Web) -> String {
    let mut bytes = [0; KEY_BYTES];
    web.engine().draw(&mut bytes);
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Why a form came to nothing, whether it was refused just now or the refusal is remembered.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) kind: ProblemKind,
    fields: Vec<String>,
    members: Vec<(String, Value)>,
    retry_after_s: Option<u32>,
}

/// How a page that tells of a trouble is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TroubleReply {
    status: StatusCode,
    retry_after_s: Option<u32>,
}

impl TroubleReply {
    /// Sends this page so.
    pub(crate) fn with(self, template: &impl Template) -> Response {
        let mut response = page(self.status, template);
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, CHALLENGE);
        }
        response
    }
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        let members = problem.members.into_iter().map(|(name, value)| (name.to_owned(), value));
        Self {
            kind: problem.kind,
            fields: problem.errors.into_iter().map(|error| error.field.into_owned()).collect(),
            members: members.collect(),
            retry_after_s: problem.retry_after_seconds,
        }
    }
}

impl Trouble {
    /// A problem as the API words it.
    fn of_json(body: &Value) -> Self {
        let kind = body["type"].as_str().and_then(|kind| kind.strip_prefix("/problems/"));
        let kind = kind.and_then(ProblemKind::from_slug).unwrap_or(ProblemKind::Internal);
        let errors = body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        let fields = errors.iter().filter_map(|error| error["field"].as_str());
        let members = body.as_object().into_iter().flatten();
        Self {
            kind,
            fields: fields.map(str::to_owned).collect(),
            members: members.map(|(name, value)| (name.clone(), value.clone())).collect(),
            // What has to be waited for isn't remembered.
            retry_after_s: kind.retry_after_seconds(),
        }
    }

    /// A form of which these fields can't be read.
    pub(crate) fn of_fields(fields: &[&str]) -> Self {
        Self {
            kind: ProblemKind::ValidationFailed,
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
            members: Vec::new(),
            retry_after_s: None,
        }
    }

    /// How the page that tells of it is sent.
    pub(crate) fn reply(&self) -> TroubleReply {
        TroubleReply { status: self.kind.status(), retry_after_s: self.retry_after_s }
    }

    /// Whether something is wrong with this field.
    pub(crate) fn is_about(&self, field: &str) -> bool {
        self.fields.iter().any(|about| about == field)
    }

    /// A number that belongs to it, such as how many seats are left.
    fn member(&self, name: &str) -> Option<i64> {
        self.members.iter().find(|(member, _)| member == name)?.1.as_i64()
    }

    /// What happened, in words.
    pub(crate) fn words(&self, texts: Texts) -> String {
        use ProblemKind as K;
        let amount = |name| texts.number(self.member(name).unwrap_or_default());
        match self.kind {
            K::SoldOut => texts.say("trouble-sold-out"),
            K::TooFewSeats => {
                let free = self.member("freeSeats").unwrap_or_default();
                texts.count("trouble-seats-left", u32::try_from(free).unwrap_or_default())
            }
            K::InsufficientFunds => {
                let values = FluentArgs::from_iter([
                    ("balance", amount("balance")),
                    ("amount", amount("amount")),
                ]);
                texts.all("trouble-insufficient-funds", &values)
            }
            K::AccountFull => texts.say("trouble-account-full"),
            K::LoginTaken => texts.say("trouble-login-taken"),
            K::EventCancelled => texts.say("trouble-event-cancelled"),
            K::CapacityBelowBooked => {
                texts.with("trouble-capacity-below-booked", "occupied", amount("occupied"))
            }
            K::EventBegun => texts.say("trouble-event-begun"),
            K::BookingCancelled => texts.say("trouble-booking-cancelled"),
            K::HoldExpired => texts.say("trouble-hold-expired"),
            K::HoldLimit => texts.say("trouble-hold-limit"),
            K::RateLimited => texts.say("trouble-rate-limited"),
            K::Unauthenticated => texts.say("trouble-wrong-credentials"),
            K::ValidationFailed | K::InvalidValue => texts.say("trouble-fields"),
            K::IdempotencyKeyReused => texts.say("trouble-sent-before"),
            K::IdempotencyKeyInFlight => texts.say("trouble-under-way"),
            K::Forbidden => texts.say("trouble-forbidden"),
            K::NotFound => texts.say("trouble-not-found"),
            K::OutcomeUnknown => texts.say("trouble-outcome-unknown"),
            K::Overloaded | K::Draining | K::StoreUnavailable | K::ServiceAway => {
                texts.say("trouble-unavailable")
            }
            K::MalformedRequest
            | K::MalformedBody
            | K::CrossSite
            | K::MethodNotAllowed
            | K::RequestTimeout
            | K::BodyTooLarge
            | K::UnsupportedMediaType
            | K::HeadersTooLarge
            | K::Internal => texts.say("trouble-unexpected"),
        }
    }
}

/// What became of a command, from the answer that a client of the API would get: a remembered one is
/// there only as it was written.
pub(crate) async fn outcome(answer: Result<Response, Problem>) -> Result<Value, Trouble> {
    let response = answer?;
    let status = response.status();
    // It was written into memory here, so there is no limit to mind.
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status.is_success() { Ok(body) } else { Err(Trouble::of_json(&body)) }
}
