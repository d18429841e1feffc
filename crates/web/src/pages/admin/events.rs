//! Events as their organiser sees them: the list, creating, editing, cancelling.

use axum::Router;
use axum::http::StatusCode;
use axum::response::{Redirect, Response};
use axum::routing::get;

use askama::Template;

use super::super::page;
use super::{Frame, Organiser};
use crate::state::Web;

pub(super) fn routes() -> Router<Web> {
    Router::new()
        .route("/admin", get(list))
        .route("/admin/", get(async || Redirect::permanent("/admin")))
}

#[derive(Template)]
#[template(path = "admin/events.html")]
struct EventsPage {
    frame: Frame,
}

async fn list(Organiser { frame, .. }: Organiser) -> Response {
    page(StatusCode::OK, &EventsPage { frame })
}
