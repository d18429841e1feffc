//! A user's own bookings: the list, and a booking's page, where it is paid or cancelled.
//!
//! A hold that nobody pays is gone without a trace. So that a page can say what became of it, the
//! page asks again with the numbers that it shows, and whichever of them is no longer there is told with
//! the reason ([`fates`]). A link with the same numbers does so without scripts.

pub(super) mod fates;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use eventbooker_core::bookings::{Booking, State as BookingState};
use eventbooker_core::identity::Actor;
use eventbooker_core::{BookingId, Context, Money};
use eventbooker_engine::BookingAt;
use eventbooker_store::BookingRoute;

use self::fates::{Fate, Seen};
use super::events::event_names;
use super::forms::{Form, Trouble, new_key, outcome};
use super::texts::{Instant, Texts};
use super::{Attendee, Frame, PART_ASKED_FOR, page, see_other};
use crate::bookings::Moved;
use crate::idempotency::answer;
use crate::problem::{Problem, ProblemKind};
use crate::request::{PathId, Query};
use crate::state::Web;

/// Bookings on a page of the list.
const PAGE_BOOKINGS: u32 = 20;

pub(super) fn routes() -> Router<Web> {
    Router::new()
        .route("/user/bookings", get(list))
        .route("/user/bookings/", get(async || Redirect::permanent("/user/bookings")))
        .route("/user/bookings/{id}", get(show))
        .route("/user/bookings/{id}/confirm", post(confirm))
        .route("/user/bookings/{id}/cancel", post(cancel))
}

/// A booking as pages show it.
pub(super) struct BookingView {
    pub(super) id: i64,
    pub(super) event_id: i64,
    pub(super) event_name: String,
    pub(super) seats: String,
    pub(super) amount: Money,
    pub(super) amount_text: String,
    pub(super) state: &'static str,
    pub(super) state_text: String,
    pub(super) expires_at: Instant,
    /// Whole seconds until the hold ends, and the same as a clock shows it; nothing if it can't end.
    pub(super) left: Option<(u64, String)>,
}

impl BookingView {
    pub(super) fn of(at: &BookingAt, event_name: &str, texts: Texts) -> Self {
        let Booking { id, event_id, seats, amount, expires_at, .. } = at.booking;
        let is_held = at.booking.state == BookingState::Occupied;
        let left_s = at.at.until(expires_at).as_millis().div_ceil(1000);
        let left_s = u64::try_from(left_s).unwrap_or(u64::MAX);
        let (state, state_text) = match at.booking.state {
            BookingState::Occupied if amount.is_zero() => ("held", texts.say("booking-held-free")),
            BookingState::Occupied => ("held", texts.say("booking-held")),
            BookingState::Occupying | BookingState::Paying | BookingState::Completing
                if amount.is_zero() =>
            {
                ("paying", texts.say("booking-under-way-free"))
            }
            BookingState::Occupying | BookingState::Paying | BookingState::Completing => {
                ("paying", texts.say("booking-under-way"))
            }
            BookingState::Complete if amount.is_zero() => {
                ("paid", texts.say("booking-confirmed-free"))
            }
            BookingState::Complete => ("paid", texts.say("booking-confirmed")),
            BookingState::Refunding
            | BookingState::Releasing
            | BookingState::Expiring
            | BookingState::Cancelled => ("over", texts.say("booking-cancelled")),
        };
        Self {
            id: id.get(),
            event_id: event_id.get(),
            event_name: event_name.to_owned(),
            seats: texts.count("seats", seats.get()),
            amount,
            amount_text: amount_text(texts, amount),
            state,
            state_text,
            expires_at: texts.instant(expires_at),
            left: is_held.then(|| (left_s, clock_text(left_s))),
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.left.is_some()
    }

    /// Whether little time is left.
    pub(super) fn is_urgent(&self) -> bool {
        self.left.as_ref().is_some_and(|(seconds, _)| *seconds <= 60)
    }
}

/// A span as a clock shows it: with hours from one on, however many. The script writes it the same way.
fn clock_text(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours == 0 {
        return format!("{minutes}:{seconds:02}");
    }
    format!("{hours}:{minutes:02}:{seconds:02}")
}

fn amount_text(texts: Texts, amount: Money) -> String {
    if amount.is_zero() { texts.say("free-of-charge") } else { texts.amount(amount) }
}

#[derive(Template)]
#[template(path = "bookings.html")]
struct BookingsListPage {
    frame: Frame,
    bookings: Vec<BookingView>,
    fates: Vec<Fate>,
    again: String,
    next: Option<String>,
}

async fn list(
    State(web): State<Web>,
    Attendee { frame, actor }: Attendee,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::of(&uri);
    let before = query.after().map(BookingId::new);
    query.finish()?;
    let engine = web.engine();
    let own = engine.bookings_of_user(actor.user_id, None, before, PAGE_BOOKINGS).await?;
    let ids = own.bookings.iter().map(|at| at.booking.event_id);
    let names = event_names(&web, ids).await?;
    let view = |at: &BookingAt| {
        let id = at.booking.event_id;
        let name = names.get(&id).cloned().unwrap_or_else(|| id.to_string());
        BookingView::of(at, &name, frame.texts)
    };
    let bookings: Vec<_> = own.bookings.iter().map(view).collect();
    let seen = Seen::by(&web, actor);
    let fates = seen.fates(frame.texts, &uri, &own.bookings).await?;
    let again = seen.path("/user/bookings", &bookings, &fates);
    let next = own.next.map(|next| format!("/user/bookings?after={next}"));
    Ok(page(StatusCode::OK, &BookingsListPage { frame, bookings, fates, again, next }))
}

#[derive(Template)]
#[template(path = "booking.html")]
struct BookingPage {
    frame: Frame,
    booking: BookingView,
    /// Whose booking it is, if it isn't the reader's own.
    owner: Option<Owner>,
    balance: String,
    /// What the account lacks to pay, and whether the user may pay it in here.
    missing: Option<Money>,
    may_deposit: bool,
    is_event_cancelled: bool,
    /// The path under which the page asks again, with how things stand on it.
    again: String,
    keys: Keys,
    trouble: Option<String>,
}

/// Somebody else, whose booking an admin looks at.
struct Owner {
    id: i64,
    login: String,
}

impl Owner {
    /// A booking's owner, for this reader.
    async fn of(web: &Web, booking: &Booking, reader: Actor) -> Result<Option<Self>, Problem> {
        let id = booking.user_id;
        if id == reader.user_id {
            return Ok(None);
        }
        let people = web.engine().people(vec![id]).await;
        let people = web.engine().if_reached(Context::Identity, people)?.unwrap_or_default();
        let login = people.into_iter().next().map(|person| person.profile.login);
        let login = login.unwrap_or_else(|| id.to_string());
        Ok(Some(Self { id: id.get(), login }))
    }
}

/// The keys of the page's forms.
struct Keys {
    confirm: String,
    cancel: String,
    deposit: String,
}

impl Keys {
    fn new(web: &Web) -> Self {
        Self { confirm: new_key(web), cancel: new_key(web), deposit: new_key(web) }
    }
}

impl BookingPage {
    fn is_payable(&self) -> bool {
        self.booking.is_held() && !self.is_event_cancelled
    }

    fn is_again(&self, uri: &Uri) -> bool {
        uri.path_and_query().is_some_and(|path| path.as_str() == self.again)
    }

    fn missing_text(&self) -> String {
        self.missing.map(|missing| self.frame.texts.amount(missing)).unwrap_or_default()
    }
}

async fn show(
    State(web): State<Web>,
    attendee: Attendee,
    PathId(id): PathId,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let keys = Keys::new(&web);
    match booking_page(&web, attendee, BookingId::new(id), keys, None).await? {
        // A part that would say the same isn't sent: the forms in it are being filled in.
        Ok(template) if headers.contains_key(PART_ASKED_FOR) && template.is_again(&uri) => {
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Ok(template) => Ok(page(StatusCode::OK, &template)),
        Err((over, trouble)) => Ok(trouble.reply().with(&over)),
    }
}

/// What there is to say about a booking that is over.
#[derive(Template)]
#[template(path = "booking_over.html")]
struct BookingOverPage {
    frame: Frame,
    words: String,
}

async fn booking_page(
    web: &Web,
    Attendee { frame, actor }: Attendee,
    id: BookingId,
    keys: Keys,
    trouble: Option<&Trouble>,
) -> Result<Result<BookingPage, (BookingOverPage, Trouble)>, Problem> {
    let engine = web.engine();
    let now = engine.now();
    let booking = engine.bookings().bookings(vec![id]).await?.pop();
    let booking = match booking {
        Some(booking) if !booking.is_open_to(actor) => return Err(no_such_booking()),
        Some(booking) if !booking.is_due(now) && booking.state != BookingState::Expiring => booking,
        None if engine.bookings().booking_route(id).await? != BookingRoute::Gone => {
            return Err(no_such_booking());
        }
        Some(_) | None => {
            let gone = Trouble::from(Problem::from(ProblemKind::HoldExpired));
            let words = gone.words(frame.texts);
            return Ok(Err((BookingOverPage { frame, words }, gone)));
        }
    };
    let at = BookingAt { booking, at: now };
    let event = engine.events().event(booking.event_id).await;
    let event = engine.if_reached(Context::Events, event)?.flatten();
    let is_event_cancelled = event.as_ref().is_some_and(|event| event.cancellation.is_some());
    let name = event.map_or_else(|| booking.event_id.to_string(), |event| event.plan.name);
    let view = BookingView::of(&at, &name, frame.texts);
    // An admin may look at anybody's booking, and it is its owner who pays.
    let owner = Owner::of(web, &booking, actor).await?;
    let words = |trouble: &Trouble| {
        if owner.is_some() && trouble.kind == ProblemKind::InsufficientFunds {
            frame.texts.say("trouble-owner-short-of-money")
        } else {
            trouble.words(frame.texts)
        }
    };
    let trouble = trouble.map(words);
    let account = engine.account(booking.user_id).await;
    let balance = engine.if_reached(Context::Accounts, account)?.map(|account| account.balance);
    let missing = balance.and_then(|balance| view.amount.minus(balance));
    let missing = missing.filter(|missing| *missing > Money::ZERO);
    let seen_balance = balance.map_or(-1, Money::as_minor);
    let event = if is_event_cancelled { "cancelled" } else { "on" };
    Ok(Ok(BookingPage {
        again: format!("/user/bookings/{id}?shown={}-{}-{event}", view.state, seen_balance),
        is_event_cancelled,
        balance: frame.texts.amount_if_known(balance),
        missing: missing.filter(|_| view.is_held()),
        may_deposit: super::accounts::may_deposit(web, actor) && booking.user_id == actor.user_id,
        booking: view,
        owner,
        frame,
        keys,
        trouble,
    }))
}

fn no_such_booking() -> Problem {
    Problem::new(ProblemKind::NotFound, "there is no such booking")
}

async fn confirm(
    State(web): State<Web>,
    attendee: Attendee,
    PathId(id): PathId,
    form: Form,
) -> Result<Response, Problem> {
    let (booking_id, actor) = (BookingId::new(id), attendee.actor);
    let engine = web.engine().clone();
    let confirm = |key| async move { engine.confirm(actor, None, booking_id, key).await };
    let moved = answer::<Moved, _>(&web, actor.user_id, form.key(), confirm).await;
    let Err(trouble) = outcome(moved).await else { return Ok(see_booking(booking_id)) };
    let keys = Keys { confirm: form.next_key(&web, &trouble), ..Keys::new(&web) };
    not_moved(&web, attendee, booking_id, keys, trouble).await
}

async fn cancel(
    State(web): State<Web>,
    attendee: Attendee,
    PathId(id): PathId,
    form: Form,
) -> Result<Response, Problem> {
    let (booking_id, actor) = (BookingId::new(id), attendee.actor);
    let engine = web.engine().clone();
    let cancel = |key| async move { engine.cancel(actor, booking_id, key).await };
    let moved = answer::<Moved, _>(&web, actor.user_id, form.key(), cancel).await;
    let Err(trouble) = outcome(moved).await else { return Ok(see_booking(booking_id)) };
    let keys = Keys { cancel: form.next_key(&web, &trouble), ..Keys::new(&web) };
    not_moved(&web, attendee, booking_id, keys, trouble).await
}

/// Leads to the booking as it stands.
fn see_booking(id: BookingId) -> Response {
    see_other(&format!("/user/bookings/{id}"))
}

/// Shows the booking with the reason why it didn't move.
async fn not_moved(
    web: &Web,
    attendee: Attendee,
    id: BookingId,
    keys: Keys,
    trouble: Trouble,
) -> Result<Response, Problem> {
    match booking_page(web, attendee, id, keys, Some(&trouble)).await? {
        Ok(template) => Ok(trouble.reply().with(&template)),
        Err((over, trouble)) => Ok(trouble.reply().with(&over)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_shows_hours_from_one_on() {
        for (seconds, text) in [
            (0, "0:00"),
            (59, "0:59"),
            (60, "1:00"),
            (3599, "59:59"),
            (3600, "1:00:00"),
            (5399, "1:29:59"),
            (43_200 * 60, "720:00:00"),
        ] {
            assert_eq!(clock_text(seconds), text);
        }
    }
}
