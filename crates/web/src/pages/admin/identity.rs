//! Users: who there is, what they may do, and paying in for them.
//!
//! Absent on purpose: adding and removing users, and passwords. Users register themselves, and the
//! operator's command line does the rest.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{Redirect, Response};
use axum::routing::{get, post};
use eventbooker_core::identity::{Actor, Person, Role, User};
use eventbooker_core::{Context, Money, UserId};
use eventbooker_engine::Decided;

use super::super::forms::{Form, Trouble, new_key, outcome};
use super::super::texts::{Instant, Texts};
use super::super::{page, see_other};
use super::{Frame, Organiser};
use crate::accounts::Deposited;
use crate::idempotency::{Shown, View, answer};
use crate::problem::{Problem, ProblemKind};
use crate::refusals::{FIRST_SEED, problem_of};
use crate::request::{PathId, Query};
use crate::state::Web;

/// Users on a page of the list.
const PAGE_USERS: u32 = 50;

/// What is where the users are.
pub(super) fn routes() -> Router<Web> {
    Router::new()
        .route("/admin/users", get(list))
        .route("/admin/users/", get(async || Redirect::permanent("/admin/users")))
        .route("/admin/users/{id}", get(show))
        .route("/admin/users/{id}/role", post(change_role))
}

/// What is where the accounts are.
pub(super) fn account_routes() -> Router<Web> {
    Router::new().route("/admin/users/{id}/deposit", post(deposit))
}

/// A user as pages show them.
struct UserView {
    id: i64,
    login: String,
    /// First and last name.
    name: String,
    email: String,
    role: String,
    is_admin: bool,
}

impl UserView {
    fn of(user: Person, texts: Texts) -> Self {
        let is_admin = match user.role {
            Role::Admin => true,
            Role::User => false,
        };
        let profile = user.profile;
        Self {
            id: user.id.get(),
            name: format!("{} {}", profile.first_name, profile.last_name).trim().to_owned(),
            login: profile.login,
            email: profile.email,
            role: texts.say(if is_admin { "role-admin" } else { "role-user" }),
            is_admin,
        }
    }
}

#[derive(Template)]
#[template(path = "admin/users.html")]
struct UsersPage {
    frame: Frame,
    users: Vec<UserView>,
    search: String,
    next: Option<String>,
}

async fn list(
    State(web): State<Web>,
    Organiser { frame, .. }: Organiser,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::of(&uri);
    let (after, search) = (query.after(), query.search());
    query.finish()?;
    let store = web.engine().store();
    let mut users = match &search {
        Some(login) => Vec::from_iter(store.user_by_login(login.trim().to_owned()).await?),
        // One more than shown, to know whether there is more.
        None => store.users(UserId::new(after.unwrap_or_default()), PAGE_USERS + 1).await?,
    };
    let more = users.len() > PAGE_USERS as usize;
    users.truncate(PAGE_USERS as usize);
    let last = users.last().filter(|_| more);
    let next = last.map(|user| format!("/admin/users?after={}", user.id));
    let users = users.into_iter().map(User::into_person);
    let users = users.map(|user| UserView::of(user, frame.texts)).collect();
    let search = search.unwrap_or_default();
    Ok(page(StatusCode::OK, &UsersPage { frame, users, search, next }))
}

#[derive(Template)]
#[template(path = "admin/user.html")]
struct UserPage {
    frame: Frame,
    user: UserView,
    /// When they registered, which is known where the users are.
    since: Option<Instant>,
    balance: String,
    /// Whether it is the user who looks.
    is_own: bool,
    typed: Typed,
}

/// What stands in the forms, and what is wrong with it.
struct Typed {
    delta: String,
    key: String,
    delta_wrong: Option<String>,
    role_wrong: Option<String>,
}

async fn show(
    State(web): State<Web>,
    organiser: Organiser,
    PathId(id): PathId,
) -> Result<Response, Problem> {
    let typed =
        Typed { delta: String::new(), key: new_key(&web), delta_wrong: None, role_wrong: None };
    let template = user_page(&web, organiser, UserId::new(id), typed).await?;
    Ok(page(StatusCode::OK, &template))
}

async fn user_page(
    web: &Web,
    Organiser { frame, actor }: Organiser,
    id: UserId,
    typed: Typed,
) -> Result<UserPage, Problem> {
    let engine = web.engine();
    let no_such_user = || Problem::new(ProblemKind::NotFound, "there is no such user");
    let (user, since) = if engine.here().has(Context::Identity) {
        let user = engine.store().users_by_ids(vec![id]).await?.pop().ok_or_else(no_such_user)?;
        let since = frame.texts.instant(user.created_at);
        (user.into_person(), Some(since))
    } else {
        (engine.people(vec![id]).await?.pop().ok_or_else(no_such_user)?, None)
    };
    let account = engine.if_reached(Context::Accounts, engine.account(id).await)?;
    let balance = account.map(|account| account.balance);
    Ok(UserPage {
        user: UserView::of(user, frame.texts),
        since,
        balance: frame.texts.amount_if_known(balance),
        is_own: id == actor.user_id,
        frame,
        typed,
    })
}

/// A user's new role. Nothing is remembered of it: who is given a role twice has it.
struct RoleChanged;

impl View for RoleChanged {
    type Of = User;

    fn show(decided: &Decided<User>) -> Result<Shown, Problem> {
        match &decided.outcome {
            Ok(user) => Ok(Shown::ok(&user.id.get())),
            Err(refusal) => Err(problem_of(refusal, FIRST_SEED, decided.now)),
        }
    }
}

async fn change_role(
    State(web): State<Web>,
    organiser: Organiser,
    PathId(id): PathId,
    form: Form,
) -> Result<Response, Problem> {
    let (id, actor) = (UserId::new(id), organiser.actor);
    let role = match form.text("role") {
        "admin" => Some(Role::Admin),
        "user" => Some(Role::User),
        _ => None,
    };
    let changed = match role {
        None => Err(Trouble::of_fields(&["role"])),
        Some(role) => {
            let engine = web.engine().clone();
            let change = |_| async move { engine.change_role(actor, id, role).await };
            outcome(answer::<RoleChanged, _>(&web, actor.user_id, None, change).await).await
        }
    };
    let Err(trouble) = changed else { return Ok(see_other(&user_path(id))) };
    let texts = organiser.frame.texts;
    let words =
        if trouble.is_about("role") { texts.say("role-wrong") } else { trouble.words(texts) };
    let typed = Typed {
        delta: String::new(),
        key: new_key(&web),
        delta_wrong: None,
        role_wrong: Some(words),
    };
    let template = user_page(&web, organiser, id, typed).await?;
    Ok(trouble.reply().with(&template))
}

fn user_path(id: UserId) -> String {
    format!("/admin/users/{id}")
}

async fn deposit(
    State(web): State<Web>,
    organiser: Organiser,
    PathId(id): PathId,
    form: Form,
) -> Result<Response, Problem> {
    let (id, actor) = (UserId::new(id), organiser.actor);
    let deposited = match form.number("delta") {
        None => Err(Trouble::of_fields(&["delta"])),
        Some(delta) => pay_in(&web, actor, id, Money::from_minor(delta), &form).await,
    };
    let Err(trouble) = deposited else { return Ok(see_other(&user_path(id))) };
    let texts = organiser.frame.texts;
    let words =
        if trouble.is_about("delta") { texts.say("delta-wrong") } else { trouble.words(texts) };
    let typed = Typed {
        delta: form.text("delta").to_owned(),
        key: form.next_key(&web, &trouble),
        delta_wrong: Some(words),
        role_wrong: None,
    };
    let template = user_page(&web, organiser, id, typed).await?;
    Ok(trouble.reply().with(&template))
}

async fn pay_in(
    web: &Web,
    actor: Actor,
    user_id: UserId,
    amount: Money,
    form: &Form,
) -> Result<(), Trouble> {
    let engine = web.engine().clone();
    let deposit = |key| async move { engine.deposit(actor, user_id, amount, key).await };
    outcome(answer::<Deposited, _>(web, actor.user_id, form.key(), deposit).await).await.map(drop)
}
