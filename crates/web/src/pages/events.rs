//! Events: the start page, the list, and an event's own page, where seats are booked.

use std::collections::{BTreeSet, HashMap};

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{Redirect, Response};
use axum::routing::{get, post};
use eventbooker_core::events::Event;
use eventbooker_core::{Context, EventId, Money, Timestamp};
use eventbooker_store::EventsPage;
use fluent_bundle::FluentArgs;

use super::bookings::BookingView;
use super::bookings::fates::{Fate, Seen};
use super::forms::{Form, Trouble, new_key, outcome};
use super::texts::{Instant, Texts};
use super::{Attendee, Frame, Visitor, page, see_other};
use crate::bookings::Booked;
use crate::events::{find, find_page, no_such_event};
use crate::idempotency::answer;
use crate::problem::{Problem, ProblemKind};
use crate::request::{PathId, Query};
use crate::state::Web;

/// Events on the start page.
const UPCOMING: u32 = 6;
/// Events on a page of the list.
pub(super) const PAGE_EVENTS: u32 = 24;
/// A user's own bookings that an event's page shows.
const OWN_BOOKINGS: u32 = 20;

pub(super) fn routes() -> Router<Web> {
    Router::new()
        .route("/", get(start))
        .route("/upcoming", get(upcoming))
        .route("/user", get(list))
        .route("/user/", get(async || Redirect::permanent("/user")))
}

/// An event's page has the form to book on it, and the reader's own bookings.
pub(super) fn booking_routes() -> Router<Web> {
    Router::new().route("/user/events/{id}", get(show)).route("/user/events/{id}/book", post(book))
}

/// An event as pages show it.
pub(super) struct EventView {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) starts_at: Option<Instant>,
    /// How many seats are left, in words, and the same with places for numbers that a script puts in.
    pub(super) seats: String,
    pub(super) seats_words: String,
    pub(super) taken_percent: u64,
    pub(super) is_sold_out: bool,
    pub(super) is_begun: bool,
    pub(super) is_cancelled: bool,
    unit_price: Money,
    pub(super) price: String,
    pub(super) payment_window: String,
}

impl EventView {
    pub(super) fn of(event: &Event, texts: Texts, now: Timestamp) -> Self {
        let plan = &event.plan;
        let (free, capacity) = (event.free_seats().get(), plan.capacity.get());
        let taken = u64::from(capacity.saturating_sub(free));
        Self {
            id: event.id.get(),
            name: plan.name.clone(),
            description: plan.description.clone(),
            starts_at: plan.starts_at.map(|at| texts.instant(at)),
            seats: seats_left(texts, texts.number(free), texts.number(capacity)),
            seats_words: seats_left(texts, "{free}".to_owned(), "{capacity}".to_owned()),
            taken_percent: 100 * taken / u64::from(capacity.max(1)),
            is_sold_out: free == 0 && event.cancellation.is_none(),
            is_cancelled: event.cancellation.is_some(),
            is_begun: plan.starts_at.is_some_and(|start| start <= now),
            unit_price: plan.price,
            price: if plan.price.is_zero() {
                texts.say("free-of-charge")
            } else {
                texts.with("price-per-seat", "amount", texts.amount(plan.price))
            },
            payment_window: texts.minutes(plan.payment_window.as_minutes()),
        }
    }

    fn is_free(&self) -> bool {
        self.unit_price.is_zero()
    }
}

/// The names of these events, as far as they are known.
pub(super) async fn event_names(
    web: &Web,
    ids: impl Iterator<Item = EventId>,
) -> Result<HashMap<EventId, String>, Problem> {
    let ids: BTreeSet<EventId> = ids.collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let found = web.engine().events().events_with(ids.into_iter().collect()).await;
    let events = web.engine().if_reached(Context::Events, found)?.unwrap_or_default();
    Ok(events.into_iter().map(|event| (event.id, event.plan.name)).collect())
}

fn seats_left(texts: Texts, free: String, capacity: String) -> String {
    texts.all("seats-left", &FluentArgs::from_iter([("free", free), ("capacity", capacity)]))
}

#[derive(Template)]
#[template(path = "start.html")]
struct StartPage {
    frame: Frame,
    events: Vec<EventView>,
}

/// The part of it that is looked up again and again.
#[derive(Template)]
#[template(path = "upcoming.html")]
struct UpcomingPart {
    frame: Frame,
    events: Vec<EventView>,
}

async fn start(
    State(web): State<Web>,
    Visitor { frame, .. }: Visitor,
) -> Result<Response, Problem> {
    let events = upcoming_events(&web, frame.texts).await?;
    Ok(page(StatusCode::OK, &StartPage { frame, events }))
}

async fn upcoming(
    State(web): State<Web>,
    Visitor { frame, .. }: Visitor,
) -> Result<Response, Problem> {
    let events = upcoming_events(&web, frame.texts).await?;
    Ok(page(StatusCode::OK, &UpcomingPart { frame, events }))
}

async fn upcoming_events(web: &Web, texts: Texts) -> Result<Vec<EventView>, Problem> {
    let now = web.engine().now();
    let wanted =
        EventsPage { limit: UPCOMING, after: None, not_before: Some(now), name_contains: None };
    let events = find(web, wanted).await?;
    Ok(events.iter().map(|event| EventView::of(event, texts, now)).collect())
}

#[derive(Template)]
#[template(path = "events.html")]
struct EventsListPage {
    frame: Frame,
    events: Vec<EventView>,
    search: String,
    next: Option<String>,
}

impl EventsListPage {
    fn count(&self) -> u32 {
        u32::try_from(self.events.len()).unwrap_or(u32::MAX)
    }
}

async fn list(
    State(web): State<Web>,
    Attendee { frame, .. }: Attendee,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::of(&uri);
    let (after, search) = (query.after(), query.search());
    query.finish()?;
    let now = web.engine().now();
    let wanted = EventsPage {
        limit: PAGE_EVENTS,
        after: after.map(EventId::new),
        not_before: Some(now),
        name_contains: search.clone(),
    };
    let (events, last) = find_page(&web, wanted).await?;
    let search = search.unwrap_or_default();
    let next = last.map(|last| next_page(last, &search));
    let events = events.iter().map(|event| EventView::of(event, frame.texts, now)).collect();
    Ok(page(StatusCode::OK, &EventsListPage { frame, events, search, next }))
}

fn next_page(after: EventId, search: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("after", &after.to_string());
    if !search.is_empty() {
        query.append_pair("q", search);
    }
    format!("/user?{}", query.finish())
}

#[derive(Template)]
#[template(path = "event.html")]
struct EventPage {
    frame: Frame,
    event: EventView,
    bookings: Vec<BookingView>,
    fates: Vec<Fate>,
    again: String,
    seats_max: u32,
    /// What was typed.
    seats: String,
    key: String,
    /// What is wrong with that.
    seats_wrong: Option<String>,
    /// What else is wrong.
    trouble: Option<String>,
}

async fn show(
    State(web): State<Web>,
    attendee: Attendee,
    PathId(id): PathId,
    uri: Uri,
) -> Result<Response, Problem> {
    let typed =
        Typed { seats: "1".to_owned(), key: new_key(&web), seats_wrong: None, trouble: None };
    let template = event_page(&web, attendee, EventId::new(id), &uri, typed).await?;
    Ok(page(StatusCode::OK, &template))
}

/// What stands in the form.
struct Typed {
    seats: String,
    key: String,
    seats_wrong: Option<String>,
    trouble: Option<String>,
}

async fn event_page(
    web: &Web,
    Attendee { frame, actor }: Attendee,
    id: EventId,
    uri: &Uri,
    Typed { seats, key, seats_wrong, trouble }: Typed,
) -> Result<EventPage, Problem> {
    let (engine, texts) = (web.engine(), frame.texts);
    let event = engine.events().event(id).await?.ok_or_else(no_such_event)?;
    let own = engine.bookings_of_user(actor.user_id, Some(id), None, OWN_BOOKINGS).await?;
    let seen = Seen::by(web, actor);
    let fates = seen.fates(texts, uri, &own.bookings).await?;
    let bookings = own.bookings.iter();
    let bookings: Vec<_> =
        bookings.map(|at| BookingView::of(at, &event.plan.name, texts)).collect();
    Ok(EventPage {
        event: EventView::of(&event, texts, engine.now()),
        again: seen.path(&format!("/user/events/{id}"), &bookings, &fates),
        seats_max: engine.settings().holds.seats_max(),
        frame,
        bookings,
        fates,
        seats,
        key,
        seats_wrong,
        trouble,
    })
}

async fn book(
    State(web): State<Web>,
    attendee: Attendee,
    PathId(id): PathId,
    uri: Uri,
    form: Form,
) -> Result<Response, Problem> {
    let event_id = EventId::new(id);
    let user_id = attendee.actor.user_id;
    let booked = match form.number("seats") {
        None => Err(Trouble::of_fields(&["seats"])),
        Some(seats) => {
            let engine = web.engine().clone();
            let book = |key| async move { engine.book(user_id, event_id, seats, key).await };
            outcome(answer::<Booked, _>(&web, user_id, form.key(), book).await).await
        }
    };
    match booked {
        Ok(_) => Ok(see_other(&format!("/user/events/{event_id}#own"))),
        Err(trouble) => {
            let texts = attendee.frame.texts;
            let seats_wrong = seats_wrong(&web, &trouble, texts);
            let typed = Typed {
                seats: form.text("seats").to_owned(),
                key: form.next_key(&web, &trouble),
                // What stands at the field isn't said above it as well.
                trouble: seats_wrong.is_none().then(|| trouble.words(texts)),
                seats_wrong,
            };
            let template = event_page(&web, attendee, event_id, &uri, typed).await?;
            Ok(trouble.reply().with(&template))
        }
    }
}

/// What is wrong with the number of seats that was typed, if it is that.
fn seats_wrong(web: &Web, trouble: &Trouble, texts: Texts) -> Option<String> {
    if trouble.is_about("seats") {
        return Some(texts.count("seats-wrong", web.engine().settings().holds.seats_max()));
    }
    let is_about_seats = matches!(trouble.kind, ProblemKind::SoldOut | ProblemKind::TooFewSeats);
    is_about_seats.then(|| trouble.words(texts))
}
