//! Whether the numbers add up: what the last checks of the invariants came to.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use eventbooker_store::{Checker, LastCheck};
use fluent_bundle::{FluentArgs, FluentValue};

use super::super::page;
use super::super::texts::{Instant, Texts};
use super::{Frame, Organiser};
use crate::problem::Problem;
use crate::state::Web;

pub(super) fn routes() -> Router<Web> {
    Router::new().route("/admin/checks", get(show))
}

/// What a check came to, as the page shows it.
struct CheckView {
    checker: String,
    at: Instant,
    is_clean: bool,
    outcome: String,
    /// The first few findings.
    first: Vec<String>,
}

impl CheckView {
    fn of(check: &LastCheck, texts: Texts) -> Self {
        let rows = texts.number(i64::try_from(check.rows).unwrap_or(i64::MAX));
        let findings = u32::try_from(check.findings).unwrap_or(u32::MAX);
        let outcome: FluentArgs<'_> =
            [("rows", FluentValue::from(rows)), ("findings", FluentValue::from(findings))]
                .into_iter()
                .collect();
        let is_clean = check.findings == 0;
        Self {
            checker: texts.say(match check.checker {
                Checker::Operator => "checker-operator",
                Checker::Service => "checker-service",
            }),
            at: texts.instant(check.at),
            is_clean,
            outcome: texts.all(if is_clean { "check-clean" } else { "check-broken" }, &outcome),
            first: check.first.lines().map(str::to_owned).collect(),
        }
    }
}

#[derive(Template)]
#[template(path = "admin/checks.html")]
struct ChecksPage {
    frame: Frame,
    checks: Vec<CheckView>,
}

async fn show(
    State(web): State<Web>,
    Organiser { frame, .. }: Organiser,
) -> Result<Response, Problem> {
    let mut checks = web.engine().store().last_checks().await?;
    checks.sort_by_key(|check| std::cmp::Reverse(check.at));
    let checks = checks.iter().map(|check| CheckView::of(check, frame.texts)).collect();
    Ok(page(StatusCode::OK, &ChecksPage { frame, checks }))
}
