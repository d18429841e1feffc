//! `Idempotency-Key`: the same answer again, the effect once.
//!
//! The key is the client's; what was asked is fixed by a digest of method, path and body; the
//! answer is written down as it goes over the wire, so that it is the same to the letter after a
//! restart, on another replica and from a newer program. The engine keeps it in the transaction of
//! the command itself.
//!
//! Refusals are remembered like any other answer, except those whose way out is to try again
//! later (429). Each is a row until it is forgotten, so [`answer`] bounds how many a user may cause in
//! a minute, and with them answers to commands that found everything done. What takes effect doesn't
//! count: there are other limits on that.
//!
//! Absent on purpose: keys on `POST /login` and `/logout`. To answer a sign-in again, its secret
//! would have to be kept.

use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use eventbooker_core::UserId;
use eventbooker_engine::{Answer, Decided, Effect, Error, Key};
use eventbooker_store::AnswerKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::IntoParams;

use crate::problem::{FieldError, Problem, ProblemKind};
use crate::state::Web;

const KEY_HEADER: &str = "idempotency-key";
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The longest key, in characters.
const KEY_CHARS_MAX: usize = 255;
/// Whose keys they are while nobody is signed in.
const NOBODY: UserId = UserId::new(0);

/// The header, for the API description.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "only its description is used")]
pub(crate) struct KeyHeader {
    /// The same answer again, the effect once.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$",
        nullable = false
    )]
    key: Option<String>,
}

/// A key as it came with a request.
pub(crate) struct RawKey {
    key: String,
    fingerprint: [u8; 32],
}

impl RawKey {
    /// The request's key, if it has one.
    pub(crate) fn read(parts: &Parts, body: &[u8]) -> Result<Option<Self>, Problem> {
        let mut keys = parts.headers.get_all(KEY_HEADER).iter();
        let Some(key) = keys.next() else { return Ok(None) };
        let visible = key.as_bytes().iter().all(u8::is_ascii_graphic);
        let length = (1..=KEY_CHARS_MAX).contains(&key.len());
        let (Ok(key), true, true, None) = (key.to_str(), visible, length, keys.next()) else {
            let detail = "must be one header with 1 to 255 visible ASCII characters";
            let error = FieldError::new("Idempotency-Key", detail);
            return Err(Problem::of_fields(ProblemKind::InvalidValue, vec![error]));
        };
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut digest = Sha256::new();
        for part in [parts.method.as_str().as_bytes(), path.as_bytes(), body] {
            // The lengths keep "ab" + "c" apart from "a" + "bc".
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        Ok(Some(Self { key: key.to_owned(), fingerprint: digest.finalize().into() }))
    }

    /// The same key, for a request whose body must not be digested as it stands because it holds a
    /// secret: a plain digest of a password would undo its slow hash.
    pub(crate) fn without_secrets(self, told: &[&str]) -> Self {
        let mut digest = Sha256::new();
        for part in told {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        Self { fingerprint: digest.finalize().into(), ..self }
    }

    /// For a command of this user.
    pub(crate) fn of_user<V: View>(self, user_id: UserId) -> Key<V::Of> {
        Key {
            key: AnswerKey { scope: user_id, key: self.key },
            fingerprint: self.fingerprint,
            write: write::<V>,
        }
    }

    /// For a command of somebody who isn't signed in and gives this name. Strangers know nothing of
    /// each other's keys, so only the two together are a key.
    pub(crate) fn of_stranger<V: View>(self, name: &str) -> Key<V::Of> {
        // A client's key has no space in it, so it can be told where the name begins.
        let key = format!("{} {name}", self.key);
        Self { key, ..self }.of_user::<V>(NOBODY)
    }
}

/// How a command's outcome looks to a client.
pub(crate) trait View {
    /// What the command replies.
    type Of;

    /// The answer.
    fn show(decided: &Decided<Self::Of>) -> Result<Shown, Problem>;
}

/// An answer that isn't a problem.
pub(crate) struct Shown {
    pub(crate) status: StatusCode,
    pub(crate) location: Option<String>,
    pub(crate) json: Vec<u8>,
}

impl Shown {
    /// 200 with this as its body.
    pub(crate) fn ok(body: &impl Serialize) -> Self {
        Self { status: StatusCode::OK, location: None, json: json(body) }
    }

    /// 201 with this as its body, to be found at `location`.
    pub(crate) fn created(body: &impl Serialize, location: String) -> Self {
        Self { status: StatusCode::CREATED, location: Some(location), json: json(body) }
    }
}

impl IntoResponse for Shown {
    fn into_response(self) -> Response {
        let kind = HeaderValue::from_static("application/json");
        let mut response = (self.status, [(header::CONTENT_TYPE, kind)], self.json).into_response();
        let location = self.location.and_then(|text| HeaderValue::try_from(text).ok());
        if let Some(location) = location {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

/// JSON of one of our own shapes.
pub(crate) fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("our own shapes have text keys and finite numbers")
}

/// An answer as it is remembered.
#[derive(Serialize, Deserialize)]
struct Written {
    status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    body: String,
}

fn write<V: View>(decided: &Decided<V::Of>) -> Option<Vec<u8>> {
    let written = match V::show(decided) {
        Ok(shown) => Written {
            status: shown.status.as_u16(),
            location: shown.location,
            body: String::from_utf8(shown.json).ok()?,
        },
        Err(problem) if problem.kind.status() == StatusCode::TOO_MANY_REQUESTS => return None,
        Err(problem) => Written {
            status: problem.kind.status().as_u16(),
            location: None,
            body: String::from_utf8(problem.to_json()).ok()?,
        },
    };
    Some(json(&written))
}

/// Has a signed-in user's command decided, under the request's key if it has one, and responds.
///
/// With a key it takes one from the user's bucket of remembered refusals first, and gives it back
/// unless it was one. So refusals in parallel are all counted; a user has no more such commands at
/// work at once than the bucket holds; and a client that hangs up before it is answered has spent
/// its take.
pub(crate) async fn answer<V: View, F>(
    web: &Web,
    user_id: UserId,
    key: Option<RawKey>,
    command: impl FnOnce(Option<Key<V::Of>>) -> F,
) -> Result<Response, Problem>
where
    F: Future<Output = Result<Answer<V::Of>, Error>>,
{
    let Some(key) = key else { return respond::<V>(command(None).await?) };
    let refusals = &web.inner.remembered_refusals;
    web.limit(refusals, &user_id, "refused requests with an Idempotency-Key")?;
    let answer = command(Some(key.of_user::<V>(user_id))).await;
    if !matches!(answer, Ok(Answer::Kept { effect: Effect::Never, .. })) {
        refusals.refund(&user_id);
    }
    respond::<V>(answer?)
}

/// The response to a command, given now or remembered.
pub(crate) fn respond<V: View>(answer: Answer<V::Of>) -> Result<Response, Problem> {
    match answer {
        Answer::Given(decided) => V::show(&decided).map(IntoResponse::into_response),
        Answer::Kept { answer, effect } => read(&answer, effect == Effect::Earlier),
    }
}

fn read(answer: &[u8], replayed: bool) -> Result<Response, Problem> {
    let parsed = serde_json::from_slice(answer)
        .ok()
        .and_then(|written: Written| Some((StatusCode::from_u16(written.status).ok()?, written)));
    let Some((status, written)) = parsed else {
        tracing::error!("a remembered answer can't be read");
        return Err(Problem::new(ProblemKind::Internal, "the remembered answer can't be read"));
    };
    let Written { location, body, .. } = written;
    let mut response = Shown { status, location, json: body.into_bytes() }.into_response();
    let headers = response.headers_mut();
    if !status.is_success() {
        headers.insert(header::CONTENT_TYPE, crate::problem::PROBLEM_JSON);
    }
    if replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}
