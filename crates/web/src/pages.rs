//! The pages: what attendees see and press, as HTML that the server renders.
//!
//! Each is a view of the same engine as the API, through the same functions. Whatever a page changes
//! it changes by a plain form: a POST that ends in a redirect, or in the same page with the reason
//! in words and what was typed. Scripts keep numbers fresh and count down; without them everything
//! works all the same.
//!
//! Invariants: nothing is loaded from elsewhere and nothing runs but files of our own ([`POLICY`]);
//! every text is in `locales/` in every language; whatever users typed is escaped by the templates.
//!
//! Absent on purpose: rules and SQL; tokens against forged forms, which
//! [`cross_site`](crate::cross_site) refuses by what browsers say; and state of a page's own.

mod accounts;
mod admin;
mod assets;
mod bookings;
mod events;
pub(crate) mod failures;
mod forms;
mod identity;
mod texts;

use std::sync::{Arc, LazyLock};

use askama::Template;
use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::header::{CONTENT_SECURITY_POLICY, LOCATION, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use eventbooker_core::identity::{Actor, Person};
use eventbooker_core::{Context, Contexts};
use sha2::{Digest as _, Sha256};

use self::forms::Form;
use self::texts::{LANGUAGE_COOKIE, Language, Texts};
use crate::problem::{Problem, ProblemKind};
use crate::request::OverTls;
use crate::state::{DemoUser, Web};

/// What a page may do: load its style sheet, scripts and icon from here, or have that sheet within
/// itself, ask here what is new, and send forms here.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = BASE64_STANDARD.encode(Sha256::digest(assets::STYLE));
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'sha256-{hash}'; img-src 'self'; \
         connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    );
    HeaderValue::try_from(policy).expect("visible ASCII")
});

/// The header by which scripts ask for a page that they take a part from.
const PART_ASKED_FOR: &str = "hx-request";
/// How long a choice of language is remembered, in seconds.
const LANGUAGE_KEPT_S: u32 = 365 * 24 * 3600;

/// The pages of a service that has the rows of these contexts. What a form changes and the page that it
/// stands on are at the same service, but for paying in; all else that a page shows is looked up.
pub(crate) fn routes(here: Contexts) -> Router<Web> {
    let everywhere =
        Router::new().route("/language", post(choose_language)).merge(assets::routes());
    here.iter().fold(everywhere, |routes, context| {
        let own = match context {
            Context::Identity => identity::routes(),
            Context::Events => events::routes(),
            Context::Accounts => accounts::routes(),
            Context::Bookings => events::booking_routes().merge(bookings::routes()),
        };
        routes.merge(own).merge(admin::routes_of(context))
    })
}

/// What stands around every page.
pub(crate) struct Frame {
    pub(crate) texts: Texts,
    /// The page's own path, with its query.
    pub(crate) path: String,
    /// Who is signed in.
    pub(crate) login: Option<String>,
    /// Whether that is known. When it isn't, nothing is said of it.
    pub(crate) knows_who: bool,
    /// Whether they may organise events.
    pub(crate) is_admin: bool,
    /// Users whom everybody may be, in a demo.
    pub(crate) demo_users: &'static [DemoUser],
}

impl Frame {
    /// The path of an asset.
    #[expect(clippy::unused_self, reason = "templates call it where they have a frame")]
    fn asset(&self, name: &str) -> &'static str {
        assets::path(name)
    }

    /// The style sheet, for a page that is to be usable before anything else has arrived.
    #[expect(clippy::unused_self, reason = "templates call it where they have a frame")]
    fn style(&self) -> &'static str {
        assets::STYLE
    }

    /// Marks the link to the part of the site that this page belongs to.
    fn current(&self, part: &str) -> Current {
        let path = self.path.split('?').next().unwrap_or_default().trim_end_matches('/');
        let is_event = part == "/user" && path.starts_with("/user/events");
        let is_within = part != "/user" && path.starts_with(part);
        Current(path == part || is_event || is_within)
    }
}

/// An attribute of a link, if it leads to where one is.
struct Current(bool);

impl std::fmt::Display for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0 { " aria-current=page" } else { "" })
    }
}

/// Whoever asks for a page.
pub(crate) struct Visitor {
    pub(crate) frame: Frame,
    pub(crate) user: Option<Arc<Person>>,
}

impl FromRequestParts<Web> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Problem> {
        let user = web.who_asks(&parts.headers).await?;
        let frame = Frame {
            texts: Texts::of_request(&parts.headers),
            path: page_path(parts),
            login: user.as_ref().map(|person| person.profile.login.clone()),
            is_admin: user.as_ref().is_some_and(|person| person.actor().is_admin()),
            knows_who: true,
            demo_users: web.inner.settings.demo_users,
        };
        Ok(Self { frame, user })
    }
}

/// Whether a request asks for something and sends nothing.
fn is_look(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// The path under which the page can be asked for again. A form is sent to a path below its page's.
fn page_path(parts: &Parts) -> String {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    if is_look(&parts.method) {
        return path.to_owned();
    }
    match parts.uri.path().rsplit_once('/') {
        Some((page, form)) if !page.is_empty() && !form.is_empty() => page.to_owned(),
        _ => parts.uri.path().to_owned(),
    }
}

/// Whoever asks for a page that is for users: one who isn't signed in is led to the sign-in, and back
/// again afterwards. Of a form it is said that it came to nothing.
pub(crate) struct Attendee {
    pub(crate) frame: Frame,
    pub(crate) actor: Actor,
}

/// Why a page isn't shown to somebody.
pub(crate) enum Detour {
    SignIn { next: String },
    Unsaved(Frame),
    Failed(Problem),
}

impl IntoResponse for Detour {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn { next } => see_other(&identity::sign_in_path(&next)),
            Self::Unsaved(frame) => identity::unsaved(frame),
            Self::Failed(problem) => problem.into_response(),
        }
    }
}

impl FromRequestParts<Web> for Attendee {
    type Rejection = Detour;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Detour> {
        let visitor = Visitor::from_request_parts(parts, web).await;
        let Visitor { frame, user } = visitor.map_err(Detour::Failed)?;
        match user {
            Some(person) => Ok(Self { frame, actor: person.actor() }),
            // A part of a page that is open is left as it is: the sign-in would take its place.
            None if parts.headers.contains_key(PART_ASKED_FOR) => {
                Err(Detour::Failed(ProblemKind::Unauthenticated.into()))
            }
            None if !is_look(&parts.method) => Err(Detour::Unsaved(frame)),
            None => Err(Detour::SignIn { next: frame.path }),
        }
    }
}

/// A page.
pub(crate) fn page(status: StatusCode, template: &impl Template) -> Response {
    let html = template.render().expect("writing to a String cannot fail");
    (status, [(CONTENT_SECURITY_POLICY, POLICY.clone())], Html(html)).into_response()
}

/// Leads to a page after a form was sent, so that loading it again doesn't send the form again.
pub(crate) fn see_other(path: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let path = HeaderValue::try_from(path).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(LOCATION, path);
    response
}

/// A path of this site that a form names to be led to; anything else is a page that is always there.
/// A browser takes `//x`, and `/\x` as well, for another host.
pub(crate) fn local_path(path: &str, otherwise: &'static str) -> String {
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_plain && path.starts_with('/') && !path.starts_with("//") {
        return path.to_owned();
    }
    otherwise.to_owned()
}

async fn choose_language(OverTls(over_tls): OverTls, form: Form) -> Response {
    let mut response = see_other(&local_path(form.text("back"), "/"));
    if let Some(language) = Language::of_tag(form.text("language")) {
        let secure = if over_tls { "; Secure" } else { "" };
        let cookie = format!(
            "{LANGUAGE_COOKIE}={}; Path=/; Max-Age={LANGUAGE_KEPT_S}; HttpOnly; SameSite=Lax{secure}",
            language.tag()
        );
        if let Ok(cookie) = HeaderValue::try_from(cookie) {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_site_are_led_to() {
        for path in ["/", "/user", "/user/events/7?seen=1&seen=2"] {
            assert_eq!(local_path(path, "/else"), path);
        }
        for path in [
            "",
            "user",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a b",
            "/a\r\nSet-Cookie: x=y",
            "javascript:alert(1)",
            "/\tx",
            "/ü",
        ] {
            assert_eq!(local_path(path, "/else"), "/else", "{path:?}");
        }
    }
}
