//! Looking for bookings: by number, or by the owner's login; of all events or of one.

use askama::Template;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use eventbooker_core::{BookingId, EventId};
use eventbooker_engine::{Found, Guest};

use super::super::super::events::event_names;
use super::super::super::page;
use super::super::super::texts::Texts;
use super::super::{Frame, Organiser};
use super::GuestView;
use crate::problem::Problem;
use crate::request::Query;
use crate::state::Web;

/// Bookings of an owner on a page.
const PAGE_FOUND: u32 = 25;

#[derive(Template)]
#[template(path = "admin/bookings.html")]
struct FoundPage {
    frame: Frame,
    search: String,
    /// The event that is searched in, if it is one, with its name.
    event: Option<(i64, String)>,
    found: Vec<GuestView>,
    notes: Vec<String>,
    next: Option<String>,
}

/// What is asked for.
struct Wanted {
    text: String,
    event_id: Option<EventId>,
    after: Option<BookingId>,
}

impl Wanted {
    /// The number that it may be, with or without the sign that people write before one.
    fn number(&self) -> Option<BookingId> {
        self.text.trim_start_matches(['#', '№']).trim().parse().ok().map(BookingId::new)
    }

    /// The path of the page behind a booking.
    fn path(&self, after: BookingId) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("q", &self.text);
        if let Some(id) = self.event_id {
            query.append_pair("event", &id.to_string());
        }
        query.append_pair("after", &after.to_string());
        format!("/admin/bookings?{}", query.finish())
    }
}

/// What was found, and what there is to say about it.
#[derive(Default)]
struct Results {
    guests: Vec<Guest>,
    notes: Vec<String>,
    next: Option<BookingId>,
}

pub(super) async fn find(
    State(web): State<Web>,
    Organiser { frame, .. }: Organiser,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::of(&uri);
    let wanted = Wanted {
        text: query.search().unwrap_or_default().trim().to_owned(),
        event_id: query.text("event").and_then(|id| id.parse().ok()).map(EventId::new),
        after: query.after().map(BookingId::new),
    };
    query.finish()?;
    let texts = frame.texts;
    let results = if wanted.text.is_empty() {
        Results::default()
    } else {
        look(&web, &wanted, texts).await?
    };
    let ids = results.guests.iter().map(|guest| guest.at.booking.event_id);
    let names = event_names(&web, ids.chain(wanted.event_id)).await?;
    let name = |id: EventId| names.get(&id).cloned().unwrap_or_else(|| id.to_string());
    let view = |guest: &Guest| GuestView::of(guest, &name(guest.at.booking.event_id), texts);
    let template = FoundPage {
        found: results.guests.iter().map(view).collect(),
        notes: results.notes,
        next: results.next.map(|next| wanted.path(next)),
        event: wanted.event_id.map(|id| (id.get(), name(id))),
        search: wanted.text,
        frame,
    };
    Ok(page(StatusCode::OK, &template))
}

/// A login may be a number as well, so both are looked for.
async fn look(web: &Web, wanted: &Wanted, texts: Texts) -> Result<Results, Problem> {
    let mut results = Results::default();
    // Behind the first page there are only more of an owner's.
    if let Some(id) = wanted.number().filter(|_| wanted.after.is_none()) {
        look_for_number(web, id, wanted.event_id, texts, &mut results).await?;
    }
    let engine = web.engine();
    if let Some(user) = engine.person_by_login(wanted.text.clone()).await? {
        let page = engine.guest(user.id, wanted.event_id, wanted.after, PAGE_FOUND).await?;
        if page.guests.is_empty() && page.next.is_none() {
            let words = match wanted.event_id {
                Some(_) => texts.with("watch-none-of-owner-here", "login", &wanted.text),
                None => texts.with("watch-none-of-owner", "login", &wanted.text),
            };
            results.notes.push(words);
        }
        let known: Vec<BookingId> = results.guests.iter().map(|it| it.at.booking.id).collect();
        let more = page.guests.into_iter().filter(|it| !known.contains(&it.at.booking.id));
        results.guests.extend(more);
        results.next = page.next;
    }
    if results.guests.is_empty() && results.notes.is_empty() && results.next.is_none() {
        results.notes.push(texts.with("watch-nothing-found", "text", &wanted.text));
    }
    Ok(results)
}

async fn look_for_number(
    web: &Web,
    id: BookingId,
    event_id: Option<EventId>,
    texts: Texts,
    results: &mut Results,
) -> Result<(), Problem> {
    match web.engine().find_booking(id).await? {
        Found::Live(guest) | Found::Cancelled(guest) => {
            if event_id.is_some_and(|event_id| guest.at.booking.event_id != event_id) {
                results.notes.push(texts.with("watch-of-another-event", "id", id));
            }
            results.guests.push(guest);
        }
        Found::Expired => results.notes.push(texts.with("fate-expired", "id", id)),
        Found::Never => {}
    }
    Ok(())
}
