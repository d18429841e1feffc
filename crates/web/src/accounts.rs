//! Accounts: look, pay in, history.

use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use eventbooker_core::accounts::{Account, Posting, PostingKind};
use eventbooker_core::{Money, UserId};
use eventbooker_engine::Decided;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answers::{SignedInChange, SignedInRequest};
use crate::events::add_link;
use crate::idempotency::{KeyHeader, Shown, View, answer};
use crate::problem::Problem;
use crate::refusals::{SECOND_SEED, problem_of};
use crate::request::{CurrentUser, Input, Query};
use crate::shapes::{Rfc3339, next_page};
use crate::state::Web;

pub(crate) fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(deposit)).routes(routes!(history))
}

/// What an account holds.
#[derive(Serialize, ToSchema)]
#[schema(as = Account)]
struct AccountShape {
    /// In minor units.
    #[schema(minimum = 0)]
    balance: i64,
}

impl AccountShape {
    fn of(account: &Account) -> Self {
        Self { balance: account.balance.as_minor() }
    }
}

/// Show the own account
#[utoipa::path(
    get, path = "/account/get", tag = "accounts",
    responses((status = 200, description = "What it holds", body = AccountShape), SignedInRequest),
    security(("session" = [])),
)]
async fn show(State(web): State<Web>, user: CurrentUser) -> Result<Response, Problem> {
    let account = web.engine().account(user.actor().user_id).await?;
    Ok(Shown::ok(&AccountShape::of(&account)).into_response())
}

/// What to pay in.
#[derive(ToSchema)]
#[schema(as = NewDeposit)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its description is used; the body is read field by field")]
struct NewDepositShape {
    /// How much, in minor units.
    #[schema(minimum = 1)]
    delta: i64,
    /// Whose account; the own one by default. Only an admin may name another.
    #[schema(nullable = false)]
    user_id: Option<i64>,
}

pub(crate) struct Deposited;

impl View for Deposited {
    type Of = Account;

    fn show(decided: &Decided<Account>) -> Result<Shown, Problem> {
        match &decided.outcome {
            Ok(account) => Ok(Shown::ok(&AccountShape::of(account))),
            Err(refusal) => Err(problem_of(refusal, SECOND_SEED, decided.now)),
        }
    }
}

/// Pay in
///
/// For admins; in a demo every user may pay into the own account.
#[utoipa::path(
    put, path = "/account/deposit", tag = "accounts", request_body = NewDepositShape,
    params(KeyHeader),
    responses(
        (status = 200, description = "What the account holds now", body = AccountShape),
        SignedInChange,
    ),
    security(("session" = [])),
)]
async fn deposit(
    State(web): State<Web>,
    user: CurrentUser,
    input: Input,
) -> Result<Response, Problem> {
    let mut fields = input.fields_of_any_kind()?;
    let amount = Money::from_minor(fields.integer("delta"));
    let user_id = fields.optional_integer("user_id").map(UserId::new);
    fields.finish()?;
    let actor = user.actor();
    let user_id = user_id.unwrap_or(actor.user_id);
    let engine = web.engine().clone();
    let deposit = |key| async move { engine.deposit(actor, user_id, amount, key).await };
    answer::<Deposited, _>(&web, actor.user_id, input.key, deposit).await
}

/// A movement of money, as the account's owner sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = Posting)]
struct PostingShape {
    /// Its number among the account's postings.
    #[schema(minimum = 1)]
    entry: i64,
    kind: PostingKindShape,
    /// What it adds to the account, in minor units; below 0 for a charge.
    amount: i64,
    /// What the account held afterwards, in minor units.
    #[schema(minimum = 0)]
    balance: i64,
    /// The event that was paid for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    event_id: Option<i64>,
    /// The booking that was paid for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    booking_id: Option<i64>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Rfc3339,
}

/// What moved the money.
#[derive(Serialize, ToSchema)]
#[schema(as = PostingKind)]
#[serde(rename_all = "lowercase")]
enum PostingKindShape {
    /// Somebody paid in.
    Deposit,
    /// A booking was paid.
    Charge,
    /// A paid booking was cancelled.
    Refund,
}

impl PostingShape {
    fn of(posting: &Posting) -> Self {
        Self {
            entry: posting.entry,
            kind: match posting.kind {
                PostingKind::Deposit => PostingKindShape::Deposit,
                PostingKind::Charge => PostingKindShape::Charge,
                PostingKind::Refund => PostingKindShape::Refund,
            },
            amount: posting.change_minor(),
            balance: posting.balance.as_minor(),
            event_id: posting.purpose.map(|purpose| purpose.event_id.get()),
            booking_id: posting.purpose.map(|purpose| purpose.booking_id.get()),
            at: Rfc3339(posting.at),
        }
    }
}

/// List what was posted to the own account
///
/// Newest first.
#[utoipa::path(
    get, path = "/account/history", tag = "accounts",
    params(
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "How many at most; 100 by default"),
        ("after" = Option<i64>, Query, description = "Only postings that come after the one with this number in the list, so older ones"),
    ),
    responses(
        (status = 200, description = "Postings", body = Vec<PostingShape>, headers(("Link", description = "The next page, if there is one"))),
        SignedInRequest,
    ),
    security(("session" = [])),
)]
async fn history(State(web): State<Web>, user: CurrentUser, uri: Uri) -> Result<Response, Problem> {
    let mut query = Query::of(&uri);
    let (limit, after) = (query.limit(), query.after());
    query.finish()?;
    let postings = web.engine().postings(user.actor().user_id, after, limit).await?;
    let shapes: Vec<PostingShape> = postings.iter().map(PostingShape::of).collect();
    let mut response = Shown::ok(&shapes).into_response();
    // An account's first posting has number 1, so whoever has seen that has seen all.
    if let Some(last) = postings.last().filter(|posting| posting.entry > 1) {
        add_link(&mut response, &next_page("/account/history", limit, last.entry, None));
    }
    Ok(response)
}
