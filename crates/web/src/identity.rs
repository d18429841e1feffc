//! Users and sessions: register, sign in, sign out, tell a proxy who asks.

use std::net::IpAddr;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use eventbooker_core::identity::{Person, Profile, Role, User};
use eventbooker_engine::{Decided, NewUser, SignedIn};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answers::{Change, SignedInRequest};
use crate::cross_site::is_same_origin;
use crate::idempotency::{KeyHeader, RawKey, Shown, View, respond};
use crate::limits::address_key;
use crate::problem::Problem;
use crate::refusals::{FIRST_SEED, problem_of};
use crate::request::{
    ClientAddress, Input, OverTls, Query, SESSION_COOKIE, not_signed_in, session_token,
};
use crate::state::Web;
use crate::who::{IDENTITY_HEADER, KEEP_HEADER, USER_ID_HEADER};

pub(crate) fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(login))
        .routes(routes!(logout_get, logout_post))
        .routes(routes!(auth))
}

/// A new user.
#[derive(ToSchema)]
#[schema(as = NewUser)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its description is used; the body is read field by field")]
struct NewUserShape {
    /// The name to sign in with; case matters.
    #[schema(min_length = 1, max_length = 64, pattern = "^[^\\u0000]*$")]
    login: String,
    #[schema(min_length = 8, max_length = 1024, pattern = "^[^\\u0000]*$")]
    password: String,
    /// May be empty.
    #[schema(max_length = 254, pattern = "^[^\\u0000]*$")]
    email: String,
    /// May be empty.
    #[schema(max_length = 100, pattern = "^[^\\u0000]*$")]
    first_name: String,
    /// May be empty.
    #[schema(max_length = 100, pattern = "^[^\\u0000]*$")]
    last_name: String,
}

/// The number of a new user.
#[derive(Serialize, ToSchema)]
#[schema(as = Registered)]
struct RegisteredShape {
    id: i64,
}

struct Registered;

impl View for Registered {
    type Of = User;

    fn show(decided: &Decided<User>) -> Result<Shown, Problem> {
        match &decided.outcome {
            Ok(user) => Ok(Shown::ok(&RegisteredShape { id: user.id.get() })),
            Err(refusal) => Err(problem_of(refusal, FIRST_SEED, decided.now)),
        }
    }
}

/// Register
#[utoipa::path(
    post, path = "/register", tag = "identity", request_body = NewUserShape,
    params(KeyHeader),
    responses((status = 200, description = "The user's number", body = RegisteredShape), Change),
)]
async fn register(
    State(web): State<Web>,
    ClientAddress(address): ClientAddress,
    input: Input,
) -> Result<Response, Problem> {
    limit_registrations(&web, address)?;
    let mut fields = input.fields_of_any_kind()?;
    let profile = Profile {
        login: fields.text("login"),
        email: fields.text("email"),
        first_name: fields.text("first_name"),
        last_name: fields.text("last_name"),
    };
    let password = fields.text("password");
    fields.finish()?;
    add_user(&web, profile, password, input.key).await
}

/// Counts a registration from an address, unless there were too many.
pub(crate) fn limit_registrations(web: &Web, address: IpAddr) -> Result<(), Problem> {
    let address = address_key(address);
    web.limit(&web.inner.registrations, &address, "registrations from this address")
}

/// Adds a user who registers.
pub(crate) async fn add_user(
    web: &Web,
    profile: Profile,
    password: String,
    key: Option<RawKey>,
) -> Result<Response, Problem> {
    let key = key.map(|key| key_without_password(key, &profile));
    let new = NewUser { profile, role: Role::User, password };
    respond::<Registered>(web.engine().register(new, key).await?)
}

fn key_without_password(key: RawKey, profile: &Profile) -> eventbooker_engine::Key<User> {
    let Profile { login, email, first_name, last_name } = profile;
    key.without_secrets(&["register", login, email, first_name, last_name])
        .of_stranger::<Registered>(login)
}

/// A login and its password.
#[derive(ToSchema)]
#[schema(as = Credentials)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its description is used; the body is read field by field")]
struct CredentialsShape {
    #[schema(pattern = "^[^\\u0000]*$")]
    login: String,
    #[schema(pattern = "^[^\\u0000]*$")]
    password: String,
}

/// That all is well.
#[derive(Serialize, ToSchema)]
#[schema(as = Ok)]
pub(crate) struct OkShape {
    #[schema(example = "ok")]
    status: &'static str,
}

impl OkShape {
    pub(crate) fn new(status: &'static str) -> Self {
        Self { status }
    }
}

/// Sign in
///
/// Sets the cookie `session_id`. A session that the client had before is ended.
#[utoipa::path(
    post, path = "/login", tag = "identity", request_body = CredentialsShape,
    responses(
        (status = 200, description = "Signed in", body = OkShape, headers(("Set-Cookie", description = "The session"))),
        Change,
    ),
)]
async fn login(
    State(web): State<Web>,
    ClientAddress(address): ClientAddress,
    OverTls(over_tls): OverTls,
    headers: HeaderMap,
    input: Input,
) -> Result<Response, Problem> {
    let mut fields = input.fields_of_any_kind()?;
    let (login, password) = (fields.text("login"), fields.text("password"));
    fields.finish()?;
    let signed_in = try_sign_in(&web, address, &headers, login, password).await?;
    Ok(with_session(Shown::ok(&OkShape::new("ok")).into_response(), &signed_in, over_tls))
}

/// Signs in whoever knows the password, unless too many didn't. A session that the client had before
/// is ended.
pub(crate) async fn try_sign_in(
    web: &Web,
    address: IpAddr,
    headers: &HeaderMap,
    login: String,
    password: String,
) -> Result<SignedIn, Problem> {
    // Taken before the password is looked at and given back when it was right: guesses that are
    // made at the same time are all counted.
    let address = address_key(address);
    let (by_login, by_address) = (&web.inner.sign_ins_by_login, &web.inner.sign_ins_by_address);
    web.limit(by_address, &address, "failed sign-ins from this address")?;
    if let Err(problem) = web.limit(by_login, &login, "failed sign-ins with this login") {
        by_address.refund(&address);
        return Err(problem);
    }
    let outcome = web.engine().sign_in(login.clone(), password, session_token(headers)).await;
    if !matches!(outcome, Ok(Err(_))) {
        by_login.refund(&login);
        by_address.refund(&address);
    }
    outcome?.map_err(|refusal| problem_of(&refusal, FIRST_SEED, web.engine().now()))
}

/// An answer that hands a session over.
pub(crate) fn with_session(response: Response, signed_in: &SignedIn, over_tls: bool) -> Response {
    let lifetime_s = signed_in.lifetime.as_secs();
    with_cookie(response, &cookie(signed_in.token.reveal(), lifetime_s, over_tls))
}

fn cookie(token: &str, max_age_s: u64, over_tls: bool) -> String {
    let secure = if over_tls { "; Secure" } else { "" };
    format!("{SESSION_COOKIE}={token}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}")
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// Sign out by a link
///
/// Does nothing for a request that another site's page caused.
#[utoipa::path(
    get, path = "/logout", tag = "identity",
    responses((status = 200, description = "Signed out", body = OkShape), SignedInRequest),
)]
async fn logout_get(
    State(web): State<Web>,
    OverTls(over_tls): OverTls,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !is_same_origin(&headers, web.inner.settings.public_origin.as_deref()) {
        return Ok(Shown::ok(&OkShape::new("ok")).into_response());
    }
    logout(&web, &headers, over_tls).await
}

/// Sign out
#[utoipa::path(
    post, path = "/logout", tag = "identity",
    responses((status = 200, description = "Signed out", body = OkShape), Change),
)]
async fn logout_post(
    State(web): State<Web>,
    OverTls(over_tls): OverTls,
    headers: HeaderMap,
    // Nothing in a body matters, but it has to be one.
    _: Input,
) -> Result<Response, Problem> {
    logout(&web, &headers, over_tls).await
}

async fn logout(web: &Web, headers: &HeaderMap, over_tls: bool) -> Result<Response, Problem> {
    end_session(web, headers).await?;
    Ok(without_session(Shown::ok(&OkShape::new("ok")).into_response(), over_tls))
}

/// Ends the client's session, if it has one.
pub(crate) async fn end_session(web: &Web, headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(token) = session_token(headers) {
        web.engine().sign_out(token).await?;
    }
    Ok(())
}

/// An answer that takes the session's cookie away.
pub(crate) fn without_session(response: Response, over_tls: bool) -> Response {
    with_cookie(response, &cookie("", 0, over_tls))
}

/// Who is signed in.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
struct UserShape<'a> {
    id: i64,
    login: &'a str,
    email: &'a str,
    first_name: &'a str,
    last_name: &'a str,
    role: &'static str,
}

/// Who asks
///
/// For a proxy's auth sub-request: 200 with the user in headers and body, or 401. With `optional=true`
/// nobody is 204 without these headers, so that the proxy can hand on what is for everybody. Where the
/// services run apart, `X-Identity` is the signed word that they believe, good for four seconds, and
/// `X-Accel-Expires` says for how many of them a proxy may keep it.
#[utoipa::path(
    get, path = "/auth", tag = "identity",
    params(("optional" = Option<bool>, Query, description = "Whether nobody may ask, too")),
    responses(
        (status = 200, description = "The user", body = UserShape<'_>),
        (status = 204, description = "Nobody, where that is fine"),
        SignedInRequest,
    ),
    security((), ("session" = [])),
)]
async fn auth(State(web): State<Web>, headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    let mut query = Query::of(&uri);
    let is_optional = query.flag("optional");
    query.finish()?;
    let Some(known) = web.session(&headers).await? else {
        if is_optional {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        return Err(not_signed_in());
    };
    let Person { id, profile, role } = &*known.person;
    let role = match role {
        Role::User => "user",
        Role::Admin => "admin",
    };
    let shape = UserShape {
        id: id.get(),
        login: &profile.login,
        email: &profile.email,
        first_name: &profile.first_name,
        last_name: &profile.last_name,
        role,
    };
    let mut response = Shown::ok(&shape).into_response();
    let told = [
        (USER_ID_HEADER, id.to_string()),
        ("x-user", profile.login.clone()),
        ("x-email", profile.email.clone()),
        ("x-first-name", profile.first_name.clone()),
        ("x-last-name", profile.last_name.clone()),
    ];
    let signed = web.inner.identities.as_ref();
    let signed = signed.map(|it| it.sign(&known, web.engine().now())).map(|said| {
        let keep = said.keep_seconds.to_string();
        [(IDENTITY_HEADER, said.token.to_string()), (KEEP_HEADER, keep)]
    });
    for (name, value) in told.into_iter().chain(signed.into_iter().flatten()) {
        // UTF-8 as it is: names are free of control characters, so every value can be a header's.
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    Ok(response)
}
