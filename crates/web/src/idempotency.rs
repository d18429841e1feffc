//! `Idempotency-Key`: the same answer again, the effect once.
//!
//! The key is the client's; what was asked is fixed by a digest of method, path and body; the
//! answer is written down as it goes over the wire, so that it is the same to the letter after a
//! restart, on another replica and from a newer program. The engine keeps it in the transaction of
//! the command itself.
//!
//! Refusals are remembered like any other answer, except those whose way out is to try again
//! later (429 and 503). Each is a row until it is forgotten, so [`answer`] bounds how many a user may cause in
//! a minute, and with them answers to commands that found everything done. Purchases that came to
//! nothing are rows for good, and bounded apart from these: whoever has tried in vain to buy can
//! still confirm a hold. What takes effect doesn't count: there are other limits on that.
//!
//! Absent on purpose: keys on `POST /login` and `/logout`. To answer a sign-in again, its secret
//! would have to be kept.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use eventbooker_core::UserId;
use eventbooker_engine::{Answer, Decided, Effect, Error, Key};
use eventbooker_store::{Answer as Kept, AnswerKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use utoipa::IntoParams;

use crate::limits::Limiter;
use crate::problem::{FieldError, Problem, ProblemKind};
use crate::state::{Web, too_many};

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
        let (Ok(key), true, None) = (key.to_str(), is_key(key.as_bytes()), keys.next()) else {
            let detail = "must be one header with 1 to 255 visible ASCII characters";
            let error = FieldError::new("Idempotency-Key", detail);
            return Err(Problem::of_fields(ProblemKind::InvalidValue, vec![error]));
        };
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let asked = [parts.method.as_str().as_bytes(), path.as_bytes(), body];
        Ok(Some(Self { key: key.to_owned(), fingerprint: fingerprint(asked) }))
    }

    /// The key in a field of a form, if it is one, for what the form asks.
    pub(crate) fn of_form(key: &str, told: &[&str]) -> Option<Self> {
        let fingerprint = fingerprint(told.iter().map(|part| part.as_bytes()));
        is_key(key.as_bytes()).then(|| Self { key: key.to_owned(), fingerprint })
    }

    /// The same key, for a request whose body must not be digested as it stands because it holds a
    /// secret: a plain digest of a password would undo its slow hash.
    pub(crate) fn without_secrets(self, told: &[&str]) -> Self {
        Self { fingerprint: fingerprint(told.iter().map(|part| part.as_bytes())), ..self }
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

fn is_key(key: &[u8]) -> bool {
    (1..=KEY_CHARS_MAX).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic)
}

fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        // The lengths keep "ab" + "c" apart from "a" + "bc".
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
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

    /// As [`ok`](Self::ok), or 202 while a saga is still under way.
    pub(crate) fn ok_or_accepted(body: &impl Serialize, is_at_rest: bool) -> Self {
        let status = if is_at_rest { StatusCode::OK } else { StatusCode::ACCEPTED };
        Self { status, ..Self::ok(body) }
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

/// Writes an answer down, unless trying again later is the way out.
fn write<V: View>(decided: &Decided<V::Of>) -> Option<Vec<u8>> {
    let shown = V::show(decided);
    let is_for_later = |problem: &Problem| {
        [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE]
            .contains(&problem.kind.status())
    };
    (!shown.as_ref().is_err_and(is_for_later)).then(|| written(shown))
}

/// Writes the answer down that was owed until a saga had come to rest.
pub(crate) fn write_late<V: View>(decided: &Decided<V::Of>) -> Vec<u8> {
    written(V::show(decided))
}

fn written(shown: Result<Shown, Problem>) -> Vec<u8> {
    let (status, location, body) = match shown {
        Ok(Shown { status, location, json }) => (status, location, json),
        Err(problem) => (problem.kind.status(), None, problem.to_json()),
    };
    let body = String::from_utf8(body).expect("JSON is text");
    json(&Written { status: status.as_u16(), location, body })
}

/// Has a signed-in user's command decided, under the request's key if it has one, and responds.
///
/// With a key, a refusal leaves a row behind, and so does one from elsewhere. Those are bounded as
/// [`answer_bounded`] says.
pub(crate) async fn answer<V, F>(
    web: &Web,
    user_id: UserId,
    key: Option<RawKey>,
    command: impl FnOnce(Option<Key<V::Of>>) -> F,
) -> Result<Response, Problem>
where
    V: View<Of: Send + 'static>,
    F: Future<Output = Result<Answer<V::Of>, Error>> + Send + 'static,
{
    let in_vain = match key {
        Some(_) => InVain::Remembered,
        None if !begins_sagas(web) => return respond::<V>(command(None).await?),
        None => InVain::Begun,
    };
    answer_bounded::<V, F>(web, user_id, key, command, in_vain).await
}

/// Whether commands may go on elsewhere.
fn begins_sagas(web: &Web) -> bool {
    !web.engine().is_whole() && web.engine().here().has(eventbooker_core::Context::Bookings)
}

/// What may come to nothing and still leave a row behind. Each is bounded by itself.
#[derive(Clone, Copy)]
pub(crate) enum InVain {
    /// A command with a key.
    Remembered,
    /// A command without one, whose saga goes on elsewhere.
    Begun,
    /// A purchase, with a key or without one.
    Bought,
}

impl InVain {
    fn limiter(self, web: &Web) -> &Limiter {
        match self {
            Self::Remembered | Self::Begun => &web.inner.remembered_refusals,
            Self::Bought => &web.inner.purchases_in_vain,
        }
    }

    /// What there can be too many of.
    const fn what(self) -> &'static str {
        match self {
            Self::Remembered => "requests with an Idempotency-Key that came to nothing",
            Self::Begun => "bookings and payments that came to nothing",
            Self::Bought => "purchases that came to nothing",
        }
    }
}

/// As [`answer`], for a command that may leave rows behind without a key as well when it is in vain.
///
/// A user's bucket of such commands is looked at first, and one that was in vain is taken out of it
/// afterwards, whether or not its client has waited for the answer. What many at once take out more
/// than there was has to flow in again before the next is heard; none is refused only because others
/// are at work at the same time. Whoever asks for an answer that was given already gets it, whatever
/// the bucket holds.
pub(crate) async fn answer_bounded<V, F>(
    web: &Web,
    user_id: UserId,
    key: Option<RawKey>,
    command: impl FnOnce(Option<Key<V::Of>>) -> F,
    in_vain: InVain,
) -> Result<Response, Problem>
where
    V: View<Of: Send + 'static>,
    F: Future<Output = Result<Answer<V::Of>, Error>> + Send + 'static,
{
    let key = key.map(|key| key.of_user::<V>(user_id));
    let now_us = web.engine().now().as_micros();
    if let Err(retry) = in_vain.limiter(web).look(&user_id, now_us) {
        let kept = match &key {
            Some(key) => web.engine().store().answer(key.key.clone()).await?,
            None => None,
        };
        let is_same =
            |kept: &Kept| key.as_ref().is_some_and(|it| it.fingerprint == kept.fingerprint);
        let kept = kept.filter(is_same).ok_or_else(|| too_many(in_vain.what(), retry))?;
        // What is still under way costs nothing more.
        if kept.awaits.is_none() {
            return read(&kept.answer, true);
        }
    }
    let command = command(key);
    let web = web.clone();
    let decided = async move {
        let answer = command.await;
        let is_in_vain = match &answer {
            // Without a key a refusal leaves nothing behind, unless a saga had begun before.
            Ok(Answer::Given(Decided { outcome: Err(_), effect, .. })) => *effect == Effect::Now,
            Ok(Answer::Given(Decided { effect, .. }) | Answer::Kept { effect, .. }) => {
                *effect == Effect::Never
            }
            Err(_) => false,
        };
        if is_in_vain {
            let now_us = web.engine().now().as_micros();
            in_vain.limiter(&web).spend(&user_id, now_us);
        }
        answer
    };
    // A client that hangs up must not get away without paying, nor pay for what came to something.
    respond::<V>(Unabandoned(Some(Box::pin(decided))).await?)
}

/// A future that is carried to its end, if need be by a task of its own when nobody waits any more.
struct Unabandoned<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> Future for Unabandoned<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let future = self.0.as_mut().expect("nobody polls a future that has ended");
        let output = ready!(future.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(output)
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Unabandoned<F> {
    fn drop(&mut self) {
        // Without a runtime the process is ending, and nobody pays for anything.
        if let (Some(future), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(future);
        }
    }
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
