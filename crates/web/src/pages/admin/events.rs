//! Events as their organiser sees them: the list, creating, editing, cancelling.

mod cancel;
mod edit;
mod form;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{Redirect, Response};
use axum::routing::get;
use eventbooker_core::events::{Event, Tally};
use eventbooker_core::{EventId, Timestamp};
use eventbooker_store::EventsPage;

use askama::Template;

use super::super::events::{EventView, PAGE_EVENTS};
use super::super::page;
use super::super::texts::Texts;
use super::{Frame, Organiser};
use crate::events::find_page;
use crate::problem::Problem;
use crate::request::Query;
use crate::state::Web;

pub(super) fn routes() -> Router<Web> {
    Router::new()
        .route("/admin", get(list))
        .route("/admin/", get(async || Redirect::permanent("/admin")))
        .merge(edit::routes())
        .merge(cancel::routes())
}

/// An event's bookings, as their organiser counts them.
struct BookingCounts {
    pending: String,
    confirmed: String,
    /// Bookings that a cancelled event has still to release.
    left: Option<String>,
}

impl BookingCounts {
    fn of(event: &Event, texts: Texts) -> Self {
        let Tally { pending_bookings, confirmed_bookings, .. } = event.tally;
        let is_releasing = event.cancellation.is_some_and(|it| it.is_releasing);
        Self {
            pending: texts.number(pending_bookings),
            confirmed: texts.number(confirmed_bookings),
            left: is_releasing.then(|| texts.count("event-releasing", event.tally.bookings())),
        }
    }
}

#[derive(Template)]
#[template(path = "admin/events.html")]
struct EventsListPage {
    frame: Frame,
    events: Vec<(EventView, BookingCounts)>,
    search: String,
    /// Whether events that have begun are among them.
    all: bool,
    next: Option<String>,
}

impl EventsListPage {
    fn count(&self) -> u32 {
        u32::try_from(self.events.len()).unwrap_or(u32::MAX)
    }
}

async fn list(
    State(web): State<Web>,
    Organiser { frame, .. }: Organiser,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::of(&uri);
    let all = query.text("all").is_some();
    let (after, search) = (query.after(), query.search());
    query.finish()?;
    let now = web.engine().now();
    let wanted = EventsPage {
        limit: PAGE_EVENTS,
        after: after.map(EventId::new),
        not_before: Some(now).filter(|_| !all),
        name_contains: search.clone(),
    };
    let (events, last) = find_page(&web, wanted).await?;
    let search = search.unwrap_or_default();
    let next = last.map(|last| next_page(last, &search, all));
    let events = events.iter().map(|event| views(event, frame.texts, now)).collect();
    Ok(page(StatusCode::OK, &EventsListPage { frame, events, search, all, next }))
}

fn views(event: &Event, texts: Texts, now: Timestamp) -> (EventView, BookingCounts) {
    (EventView::of(event, texts, now), BookingCounts::of(event, texts))
}

fn next_page(after: EventId, search: &str, all: bool) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("after", &after.to_string());
    if !search.is_empty() {
        query.append_pair("q", search);
    }
    if all {
        query.append_pair("all", "1");
    }
    format!("/admin?{}", query.finish())
}
