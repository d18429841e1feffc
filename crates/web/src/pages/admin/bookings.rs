//! An event as its organiser watches it: seats, how they went over time, and who has booked them.
//!
//! The part of the page that changes is asked for again while somebody looks, all of it at once, so
//! that its numbers belong together: they are those of one version of the event. New bookings come in at
//! the top of the table, but not while somebody is in it with the pointer or the focus: then the script
//! asks for what stands there already (`until`), and the page says that there are newer ones.

mod chart;
mod export;
mod search;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{Redirect, Response};
use axum::routing::get;
use eventbooker_core::events::{Event, SlotState};
use eventbooker_core::{BookingId, EventId};
use eventbooker_engine::{Guest, History};
use fluent_bundle::FluentArgs;

use self::chart::Chart;
use super::super::bookings::BookingView;
use super::super::page;
use super::super::texts::{Instant, Texts};
use super::{Frame, Organiser};
use crate::events::no_such_event;
use crate::problem::Problem;
use crate::request::{PathId, Query};
use crate::state::Web;

/// Bookings on a page of the table.
const PAGE_GUESTS: u32 = 25;

pub(super) fn routes() -> Router<Web> {
    Router::new()
        .route("/admin/events/{id}", get(show))
        .route("/admin/events/{id}/bookings.csv", get(export::download))
        .route("/admin/bookings", get(search::find))
        .route("/admin/bookings/", get(async || Redirect::permanent("/admin/bookings")))
}

/// A booking and its owner as organisers see them.
struct GuestView {
    booking: BookingView,
    login: String,
}

impl GuestView {
    fn of(guest: &Guest, event_name: &str, texts: Texts) -> Self {
        let owner = guest.owner.as_ref().map(|owner| owner.login.clone());
        Self {
            booking: BookingView::of(&guest.at, event_name, texts),
            login: owner.unwrap_or_else(|| guest.at.booking.user_id.to_string()),
        }
    }
}

/// An event's seats in numbers, and as a bar of three parts.
struct SeatsView {
    free: String,
    /// What is held, what is sold and what was paid, if the event's journal has told.
    parts: Option<PartsView>,
    occupied: String,
    sold_percent: u64,
    held_percent: u64,
    /// The bar in words.
    words: String,
}

struct PartsView {
    held: String,
    sold: String,
    takings: String,
}

impl SeatsView {
    fn of(history: &History, texts: Texts) -> Self {
        let event = &history.event;
        let (free, occupied) = (event.free_seats().get(), event.tally.occupied.get());
        let capacity = event.plan.capacity.get();
        let percent = |seats: u32| 100 * u64::from(seats) / u64::from(capacity.max(1));
        let number = |seats: u32| texts.number(seats);
        let of = |values: &[(&'static str, u32)]| {
            values.iter().map(|(name, seats)| (*name, number(*seats))).collect::<FluentArgs<'_>>()
        };
        let (free_of, taken_of) = (("free", free), ("capacity", capacity));
        if !history.is_whole() {
            return Self {
                free: number(free),
                parts: None,
                occupied: number(occupied),
                sold_percent: percent(occupied),
                held_percent: 0,
                words: texts.all("watch-bar-taken", &of(&[free_of, taken_of, ("taken", occupied)])),
            };
        }
        let (held, sold) = (history.held.get(), history.sold.get());
        let words = [free_of, taken_of, ("held", held), ("sold", sold)];
        Self {
            free: number(free),
            parts: Some(PartsView {
                held: number(held),
                sold: number(sold),
                takings: texts.amount(history.takings),
            }),
            occupied: number(occupied),
            sold_percent: percent(sold),
            // Both parts together are as wide as what is taken, whatever rounding does.
            held_percent: percent(occupied).saturating_sub(percent(sold)),
            words: texts.all("watch-bar", &of(&words)),
        }
    }
}

/// What the organiser fixed, as far as it helps to know which event this is.
struct HeadView {
    id: i64,
    name: String,
    starts_at: Option<Instant>,
    is_cancelled: bool,
    /// How far its cancellation has come.
    progress: String,
}

impl HeadView {
    fn of(event: &Event, texts: Texts) -> Self {
        let left = event.tally.bookings();
        let progress = match event.cancellation {
            None => String::new(),
            Some(_) if left > 0 => texts.count("event-releasing", left),
            Some(_) => texts.say("watch-released"),
        };
        Self {
            id: event.id.get(),
            name: event.plan.name.clone(),
            starts_at: event.plan.starts_at.map(|at| texts.instant(at)),
            is_cancelled: event.cancellation.is_some(),
            progress,
        }
    }
}

#[derive(Template)]
#[template(path = "admin/event.html")]
struct WatchPage {
    frame: Frame,
    event: HeadView,
    seats: SeatsView,
    chart: Chart,
    guests: Vec<GuestView>,
    filters: Vec<Filter>,
    /// The path of this page again, and of the same bookings without newer ones.
    again: String,
    still: String,
    /// Whether there are newer ones than those that were asked for.
    has_newer: bool,
    /// The path of the first page, if this isn't it, and of the next one.
    newest: Option<String>,
    next: Option<String>,
}

/// A choice of bookings.
struct Filter {
    path: String,
    name: String,
    is_chosen: bool,
}

/// Which bookings a table shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    All,
    Held,
    Sold,
}

impl Choice {
    const ALL: [Self; 3] = [Self::All, Self::Held, Self::Sold];

    fn of(text: Option<&str>) -> Self {
        let named = Self::ALL.into_iter().find(|choice| choice.tag() == text);
        named.unwrap_or(Self::All)
    }

    const fn tag(self) -> Option<&'static str> {
        match self {
            Self::All => None,
            Self::Held => Some("held"),
            Self::Sold => Some("paid"),
        }
    }

    const fn slots(self) -> Option<SlotState> {
        match self {
            Self::All => None,
            Self::Held => Some(SlotState::Held),
            Self::Sold => Some(SlotState::Sold),
        }
    }

    fn name(self, texts: Texts) -> String {
        texts.say(match self {
            Self::All => "watch-all",
            Self::Held => "booking-held",
            Self::Sold => "booking-confirmed",
        })
    }

    /// The path of an event's page with this choice, from a place on.
    fn path(self, id: EventId, place: Place) -> String {
        let state = self.tag().map(|tag| format!("state={tag}"));
        let place = match place {
            Place::Newest => None,
            Place::After(id) => Some(format!("after={id}")),
            Place::Until(id) => Some(format!("until={id}")),
        };
        let query: Vec<String> = state.into_iter().chain(place).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("/admin/events/{id}{mark}{}", query.join("&"))
    }
}

/// Where in the list of bookings, newest first, a page begins.
#[derive(Clone, Copy)]
enum Place {
    Newest,
    /// Behind this booking.
    After(BookingId),
    /// With this booking.
    Until(BookingId),
}

impl Place {
    fn before(self) -> Option<BookingId> {
        match self {
            Self::Newest => None,
            Self::After(id) => Some(id),
            Self::Until(id) => Some(BookingId::new(id.get().saturating_add(1))),
        }
    }
}

async fn show(
    State(web): State<Web>,
    Organiser { frame, .. }: Organiser,
    PathId(id): PathId,
    uri: Uri,
) -> Result<Response, Problem> {
    let id = EventId::new(id);
    let mut query = Query::of(&uri);
    let until = query.numbers("until", 1).pop().map(|id| Place::Until(BookingId::new(id)));
    let place = query
        .after()
        .map_or(until.unwrap_or(Place::Newest), |after| Place::After(BookingId::new(after)));
    let choice = Choice::of(query.text("state"));
    query.finish()?;
    let (engine, texts) = (web.engine(), frame.texts);
    let history = engine.history(id).await?.ok_or_else(no_such_event)?;
    let found = engine.guests(id, choice.slots(), place.before(), PAGE_GUESTS).await?;
    let has_newer = match place {
        Place::Until(until) => {
            // As many as a page, for under a filter only so many pages are looked through.
            let newest = engine.guests(id, choice.slots(), None, PAGE_GUESTS).await?.guests;
            newest.first().is_some_and(|guest| guest.at.booking.id > until)
        }
        Place::Newest | Place::After(_) => false,
    };
    let first = found.guests.first().map_or(BookingId::new(0), |guest| guest.at.booking.id);
    // A page that isn't the first keeps its place by itself.
    let (again, still, newest) = match place {
        Place::After(_) => {
            (choice.path(id, place), choice.path(id, place), Some(choice.path(id, Place::Newest)))
        }
        Place::Until(_) => (choice.path(id, Place::Newest), choice.path(id, place), None),
        Place::Newest => (choice.path(id, place), choice.path(id, Place::Until(first)), None),
    };
    let name = &history.event.plan.name;
    let guests = found.guests.iter().map(|guest| GuestView::of(guest, name, texts)).collect();
    let filter = |other: Choice| Filter {
        path: other.path(id, Place::Newest),
        name: other.name(texts),
        is_chosen: other == choice,
    };
    let template = WatchPage {
        event: HeadView::of(&history.event, texts),
        seats: SeatsView::of(&history, texts),
        chart: Chart::of(&history, engine.now(), texts),
        guests,
        filters: Choice::ALL.map(filter).into(),
        again,
        still,
        has_newer,
        newest,
        next: found.next.map(|next| choice.path(id, Place::After(next))),
        frame,
    };
    Ok(page(StatusCode::OK, &template))
}
