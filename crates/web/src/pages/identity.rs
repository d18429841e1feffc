//! Sign in, register, sign out.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use eventbooker_core::identity::{
    EMAIL_CHARS_MAX, LOGIN_CHARS_MAX, PERSON_NAME_CHARS_MAX, Profile,
};

use super::forms::{Form, Trouble, new_key, outcome};
use super::texts::Texts;
use super::{Frame, Visitor, local_path, page, see_other};
use crate::identity::{
    add_user, end_session, limit_registrations, try_sign_in, with_session, without_session,
};
use crate::problem::{Problem, ProblemKind};
use crate::request::{ClientAddress, OverTls, Query};
use crate::state::Web;

/// Where a user is led after the sign-in who wasn't on the way to anywhere.
const AFTER_SIGN_IN: &str = "/user";

pub(super) fn routes() -> Router<Web> {
    Router::new()
        .route("/sign-in", get(show_sign_in).post(sign_in))
        .route("/sign-up", get(show_sign_up).post(sign_up))
        .route("/sign-out", post(sign_out))
}

/// The sign-in, from which a user is led on.
pub(super) fn sign_in_path(next: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("next", next);
    format!("/sign-in?{}", query.finish())
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    frame: Frame,
    next: String,
    login: String,
    trouble: Option<String>,
}

async fn show_sign_in(Visitor { frame, .. }: Visitor, uri: Uri) -> Response {
    let next = next_of(&uri);
    page(StatusCode::OK, &SignInPage { frame, next, login: String::new(), trouble: None })
}

/// The sign-in, for somebody who has sent a form without a session.
pub(super) fn unsaved(frame: Frame) -> Response {
    let (next, words) = (frame.path.clone(), Some(frame.texts.say("trouble-unsaved")));
    let trouble = Trouble::from(Problem::from(ProblemKind::Unauthenticated));
    trouble.reply().with(&SignInPage { frame, next, login: String::new(), trouble: words })
}

fn next_of(uri: &Uri) -> String {
    local_path(Query::of(uri).text("next").unwrap_or_default(), AFTER_SIGN_IN)
}

async fn sign_in(
    State(web): State<Web>,
    Visitor { frame, .. }: Visitor,
    ClientAddress(address): ClientAddress,
    OverTls(over_tls): OverTls,
    headers: HeaderMap,
    form: Form,
) -> Response {
    let (login, password) =
        (form.text("login").trim().to_owned(), form.text("password").to_owned());
    let next = local_path(form.text("next"), AFTER_SIGN_IN);
    match try_sign_in(&web, address, &headers, login.clone(), password).await {
        Ok(signed_in) => with_session(see_other(&next), &signed_in, over_tls),
        Err(problem) => {
            let trouble = Trouble::from(problem);
            let words = Some(trouble.words(frame.texts));
            trouble.reply().with(&SignInPage { frame, next, login, trouble: words })
        }
    }
}

#[derive(Template)]
#[template(path = "sign_up.html")]
struct SignUpPage {
    frame: Frame,
    key: String,
    next: String,
    form: SignUpForm,
    trouble: Option<String>,
}

/// What was typed into the registration, and what is wrong with it. The password isn't shown again.
struct SignUpForm {
    texts: Texts,
    profile: Profile,
    trouble: Option<Trouble>,
}

impl SignUpForm {
    fn label(&self, field: &str) -> String {
        let texts = self.texts;
        match field {
            "login" => texts.say("login"),
            "password" => texts.say("password"),
            "email" => texts.say("email"),
            "first_name" => texts.say("first-name"),
            _ => texts.say("last-name"),
        }
    }

    fn hint(&self, field: &str) -> String {
        let texts = self.texts;
        match field {
            "login" => texts.say("login-hint"),
            "password" => texts.say("password-hint"),
            "email" => texts.say("email-hint"),
            _ => texts.say("name-hint"),
        }
    }

    /// The most characters of it. A password isn't cut short: it is shown to nobody.
    #[expect(clippy::unused_self, reason = "templates call it where they have a form")]
    fn chars_max(&self, field: &str) -> Option<usize> {
        match field {
            "login" => Some(LOGIN_CHARS_MAX),
            "email" => Some(EMAIL_CHARS_MAX),
            "first_name" | "last_name" => Some(PERSON_NAME_CHARS_MAX),
            _ => None,
        }
    }

    fn value(&self, field: &str) -> &str {
        match field {
            "login" => &self.profile.login,
            "email" => &self.profile.email,
            "first_name" => &self.profile.first_name,
            "last_name" => &self.profile.last_name,
            _ => "",
        }
    }

    fn is_wrong(&self, field: &str) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| {
            trouble.is_about(field) || (field == "login" && trouble.kind == ProblemKind::LoginTaken)
        })
    }

    fn wrong(&self, field: &str) -> String {
        let texts = self.texts;
        let is_taken = |trouble: &Trouble| trouble.kind == ProblemKind::LoginTaken;
        match field {
            "login" if self.trouble.as_ref().is_some_and(is_taken) => {
                texts.say("trouble-login-taken")
            }
            "login" => texts.say("login-wrong"),
            "password" => texts.say("password-wrong"),
            "email" => texts.say("email-wrong"),
            _ => texts.say("name-wrong"),
        }
    }
}

async fn show_sign_up(
    State(web): State<Web>,
    Visitor { frame, .. }: Visitor,
    uri: Uri,
) -> Response {
    let nothing = String::new;
    let profile =
        Profile { login: nothing(), email: nothing(), first_name: nothing(), last_name: nothing() };
    let form = SignUpForm { texts: frame.texts, profile, trouble: None };
    let (key, next) = (new_key(&web), next_of(&uri));
    page(StatusCode::OK, &SignUpPage { frame, key, next, form, trouble: None })
}

async fn sign_up(
    State(web): State<Web>,
    Visitor { frame, .. }: Visitor,
    ClientAddress(address): ClientAddress,
    OverTls(over_tls): OverTls,
    headers: HeaderMap,
    form: Form,
) -> Response {
    let next = local_path(form.text("next"), AFTER_SIGN_IN);
    let typed = |field| form.text(field).trim().to_owned();
    let profile = Profile {
        login: typed("login"),
        email: typed("email"),
        first_name: typed("first_name"),
        last_name: typed("last_name"),
    };
    let password = form.text("password").to_owned();
    let registered = async {
        limit_registrations(&web, address)?;
        let answer = add_user(&web, profile.clone(), password.clone(), form.key()).await;
        outcome(answer).await?;
        let login = profile.login.clone();
        Ok(try_sign_in(&web, address, &headers, login, password.clone()).await?)
    };
    let registered: Result<_, Trouble> = registered.await;
    match registered {
        Ok(signed_in) => with_session(see_other(&next), &signed_in, over_tls),
        Err(trouble) => {
            let (words, reply) = (trouble.words(frame.texts), trouble.reply());
            let key = form.next_key(&web, &trouble);
            let form = SignUpForm { texts: frame.texts, profile, trouble: Some(trouble) };
            reply.with(&SignUpPage { frame, key, next, form, trouble: Some(words) })
        }
    }
}

async fn sign_out(
    State(web): State<Web>,
    OverTls(over_tls): OverTls,
    headers: HeaderMap,
    _: Form,
) -> Result<Response, Problem> {
    end_session(&web, &headers).await?;
    Ok(without_session(see_other("/"), over_tls))
}
