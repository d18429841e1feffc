//! The own account: what it holds, what was posted to it, and paying in where users may.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{Redirect, Response};
use axum::routing::{get, post};
use eventbooker_core::Money;
use eventbooker_core::accounts::{Posting, PostingKind};
use eventbooker_core::identity::Actor;

use super::forms::{Form, Trouble, new_key, outcome};
use super::texts::{Instant, Texts};
use super::{Attendee, Frame, local_path, page, see_other};
use crate::accounts::Deposited;
use crate::idempotency::answer;
use crate::problem::Problem;
use crate::request::Query;
use crate::state::Web;

/// Postings on a page.
const PAGE_POSTINGS: u32 = 25;
/// The account's own page.
const PATH: &str = "/user/account";

pub(super) fn routes() -> Router<Web> {
    Router::new()
        .route(PATH, get(show))
        .route("/user/account/", get(async || Redirect::permanent(PATH)))
        .route("/user/account/deposit", post(deposit))
}

/// Whether a form for paying into the own account would be of use.
pub(super) fn may_deposit(web: &Web, actor: Actor) -> bool {
    actor.is_admin() || web.engine().settings().users_may_deposit
}

/// A posting as a page shows it.
struct PostingView {
    at: Instant,
    kind: String,
    booking: Option<i64>,
    change: String,
    balance: String,
}

impl PostingView {
    fn of(posting: &Posting, texts: Texts) -> Self {
        let kind = match posting.kind {
            PostingKind::Deposit => texts.say("posting-deposit"),
            PostingKind::Charge => texts.say("posting-charge"),
            PostingKind::Refund => texts.say("posting-refund"),
        };
        Self {
            at: texts.instant(posting.at),
            kind,
            booking: posting.purpose.map(|purpose| purpose.booking_id.get()),
            change: texts.number(posting.change_minor()),
            balance: texts.amount(posting.balance),
        }
    }
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    frame: Frame,
    balance: String,
    may_deposit: bool,
    postings: Vec<PostingView>,
    next: Option<String>,
    typed: Typed,
}

/// What stands in the form.
struct Typed {
    delta: String,
    key: String,
    /// Where the user came from, and is led back to.
    back: String,
    trouble: Option<String>,
}

async fn show(State(web): State<Web>, attendee: Attendee, uri: Uri) -> Result<Response, Problem> {
    let typed =
        Typed { delta: String::new(), key: new_key(&web), back: PATH.to_owned(), trouble: None };
    let template = account_page(&web, attendee, &uri, typed).await?;
    Ok(page(StatusCode::OK, &template))
}

async fn account_page(
    web: &Web,
    Attendee { frame, actor }: Attendee,
    uri: &Uri,
    typed: Typed,
) -> Result<AccountPage, Problem> {
    let mut query = Query::of(uri);
    let before = query.after();
    query.finish()?;
    let account = web.engine().account(actor.user_id).await?;
    let postings = web.engine().postings(actor.user_id, before, PAGE_POSTINGS).await?;
    // An account's first posting has number 1, so whoever has seen that has seen all.
    let last = postings.last().filter(|posting| posting.entry > 1);
    Ok(AccountPage {
        balance: frame.texts.amount(account.balance),
        may_deposit: may_deposit(web, actor),
        next: last.map(|posting| format!("{PATH}?after={}", posting.entry)),
        postings: postings.iter().map(|posting| PostingView::of(posting, frame.texts)).collect(),
        frame,
        typed,
    })
}

async fn deposit(
    State(web): State<Web>,
    attendee: Attendee,
    uri: Uri,
    form: Form,
) -> Result<Response, Problem> {
    let actor = attendee.actor;
    let back = local_path(form.text("next"), PATH);
    let deposited = match form.number("delta") {
        None => Err(Trouble::of_fields(&["delta"])),
        Some(delta) => {
            let amount = Money::from_minor(delta);
            let engine = web.engine().clone();
            let deposit =
                |key| async move { engine.deposit(actor, actor.user_id, amount, key).await };
            outcome(answer::<Deposited, _>(&web, actor.user_id, form.key(), deposit).await).await
        }
    };
    match deposited {
        Ok(_) => Ok(see_other(&back)),
        Err(trouble) => {
            let texts = attendee.frame.texts;
            let words = if trouble.is_about("delta") {
                texts.say("delta-wrong")
            } else {
                trouble.words(texts)
            };
            let typed = Typed {
                delta: form.text("delta").to_owned(),
                key: form.next_key(&web, &trouble),
                back,
                trouble: Some(words),
            };
            let template = account_page(&web, attendee, &uri, typed).await?;
            Ok(trouble.reply().with(&template))
        }
    }
}
