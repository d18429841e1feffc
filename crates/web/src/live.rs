//! Live events, as server-sent events: one event's counts and its journal; and how several events
//! stand, for pages.
//!
//! Each message of a journal has the event's version as its id, so a browser that comes back says in
//! `Last-Event-ID` what it has seen, and hears everything since. How events stand is told as a whole
//! each time, so there is nothing to go on from.
//!
//! The bytes of a message are made once, however many streams they go to.
//!
//! A stream holds its connection for as long as its client likes, and anybody may ask for one. So
//! there are at most [`WebSettings::live_streams_max`](crate::WebSettings::live_streams_max), fewer
//! than connections: whoever opens all of them keeps others from watching, not from booking.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use eventbooker_core::EventId;
use eventbooker_core::events::{Event, JournalEntry, JournalKind};
use eventbooker_engine::{Standings, Subscription, Told, Update};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answers::AnyRequest;
use crate::events::{EventShape, no_such_event};
use crate::idempotency::json;
use crate::problem::{FieldError, Problem, ProblemKind};
use crate::request::{PathId, Query};
use crate::shapes::Rfc3339;
use crate::state::Web;

/// A comment is sent this often while nothing happens, so that proxies keep the connection and a
/// client that is gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a browser waits before it comes back, in milliseconds.
const COME_BACK_MS: u32 = 1000;
/// Events whose counts come in one stream: as many as a page lists.
const EVENTS_MAX: usize = 24;
/// How long a client waits whom no stream was left for, in seconds. Streams are long, so coming
/// back every second would be in vain.
const NO_PLACE_RETRY_S: u32 = 5;

pub(crate) fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(live)).routes(routes!(live_counts))
}

/// What happened to an event.
#[derive(Serialize, ToSchema)]
#[schema(as = JournalEntry)]
#[serde(rename_all = "camelCase")]
struct EntryShape {
    /// The event's version after it.
    version: i64,
    /// What: of the event `created`, `edited` or `event_cancelled`; of a booking `held`, `confirmed`,
    /// `cancelled` or `expired`.
    kind: &'static str,
    /// The booking that it happened to; null if it was none.
    booking_id: Option<i64>,
    /// The seats that it was about.
    seats: u32,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Rfc3339,
}

impl EntryShape {
    fn of(entry: &JournalEntry) -> Self {
        let kind = match entry.kind {
            JournalKind::Created => "created",
            JournalKind::Held => "held",
            JournalKind::Confirmed => "confirmed",
            JournalKind::Cancelled => "cancelled",
            JournalKind::Expired => "expired",
            JournalKind::Edited => "edited",
            JournalKind::EventCancelled => "event_cancelled",
        };
        Self {
            version: entry.version,
            kind,
            booking_id: entry.booking_id.map(eventbooker_core::BookingId::get),
            seats: entry.seats.get(),
            at: Rfc3339(entry.at),
        }
    }
}

/// One message: the event as it stands now, and what led there since the message before.
#[derive(Serialize, ToSchema)]
#[schema(as = LiveUpdate)]
struct UpdateShape<'a> {
    /// Left out while there is more of the journal to come at once.
    #[serde(flatten)]
    event: Option<EventShape<'a>>,
    /// The event's version.
    version: i64,
    /// What happened, oldest first.
    journal: Vec<EntryShape>,
}

/// Watch an event
///
/// Server-sent events: one message after every change (changes within 50 ms come together) with
/// the event's counts and the new entries of its journal. The id of a message is the event's
/// version; send it back as `Last-Event-ID` to go on without a gap.
#[utoipa::path(
    get, path = "/events/{id}/live", tag = "events",
    params(
        ("id" = i64, Path, description = "The event's number"),
        ("Last-Event-ID" = Option<i64>, Header, description = "The last version that was seen"),
    ),
    responses(
        (status = 200, description = "A stream that ends when the service stops or the client lags", body = UpdateShape<'_>, content_type = "text/event-stream"),
        AnyRequest,
    ),
)]
async fn live(
    State(web): State<Web>,
    PathId(id): PathId,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = EventId::new(id);
    // Whatever isn't one of our versions was never seen here; such a client starts afresh.
    let last_seen = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    let place = place(&web)?;
    let subscription = web.engine().watch(id, last_seen).await?.ok_or_else(no_such_event)?;
    Ok(answer(Source::Journal(subscription), place))
}

/// How an event stands.
#[derive(Serialize, ToSchema)]
#[schema(as = LiveCounts)]
#[serde(rename_all = "camelCase")]
struct CountsShape {
    /// The event's number.
    id: i64,
    /// The event's version, which rises with every change.
    version: i64,
    /// How many seats it has.
    #[schema(minimum = 1)]
    capacity: u32,
    /// Seats that nobody holds or has bought; none if the event is cancelled.
    free_seats: u32,
    /// Bookings that wait for their payment.
    pending_bookings: u32,
    /// Bookings that are paid.
    confirmed_bookings: u32,
    /// Whether it was cancelled.
    cancelled: bool,
}

impl CountsShape {
    fn of(event: &Event) -> Self {
        Self {
            id: event.id.get(),
            version: event.tally.version,
            capacity: event.plan.capacity.get(),
            free_seats: event.free_seats().get(),
            pending_bookings: event.tally.pending_bookings,
            confirmed_bookings: event.tally.confirmed_bookings,
            cancelled: event.cancellation.is_some(),
        }
    }
}

/// Watch how events stand
///
/// Server-sent events: first one message for each of the events, then one whenever its counts have
/// changed. Changes that come quickly are told together, up to 400 ms of them while thousands watch.
/// Each message is the whole state, so whoever was away has missed nothing that the next one doesn't
/// say. What happened in between is told by the stream of a single event.
#[utoipa::path(
    get, path = "/events/live", tag = "events",
    params(("id" = Vec<i64>, Query, description = "The events' numbers, at most 24")),
    responses(
        (status = 200, description = "A stream that ends when the service stops", body = CountsShape, content_type = "text/event-stream"),
        AnyRequest,
    ),
)]
async fn live_counts(State(web): State<Web>, uri: Uri) -> Result<Response, Problem> {
    let mut query = Query::of(&uri);
    let ids: BTreeSet<EventId> =
        query.ids("id", EVENTS_MAX).into_iter().map(EventId::new).collect();
    query.finish()?;
    let place = place(&web)?;
    let standings = web.engine().watch_standings(&ids).await?.map_err(|unknown| {
        let not_there = |id| FieldError::new("id", format!("{id} is no event's number"));
        Problem::of_fields(ProblemKind::NotFound, unknown.into_iter().map(not_there).collect())
    })?;
    Ok(answer(Source::Standings(standings), place))
}

fn place(web: &Web) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(&web.inner.live_streams).try_acquire_owned().map_err(|_| {
        Problem::new(ProblemKind::Overloaded, "as many live streams are open as there may be")
            .retry_after(NO_PLACE_RETRY_S)
    })
}

fn answer(source: Source, place: OwnedSemaphorePermit) -> Response {
    let hello = Bytes::from(format!("retry: {COME_BACK_MS}\n\n"));
    let messages = stream::unfold(Watching { source, hello: Some(hello), place }, next_message);
    let kind = HeaderValue::from_static("text/event-stream");
    // Tells a proxy not to collect the stream before it passes it on.
    let no_buffering = HeaderValue::from_static("no");
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::HeaderName::from_static("x-accel-buffering"), no_buffering),
    ];
    (headers, Body::from_stream(messages)).into_response()
}

/// Where messages come from.
enum Source {
    Journal(Subscription),
    Standings(Standings),
}

impl Source {
    async fn next(&mut self) -> Option<Bytes> {
        match self {
            Self::Journal(subscription) => {
                Some(subscription.next().await?.in_words(journal_message))
            }
            Self::Standings(standings) => {
                let events = standings.next().await?;
                Some(match events.as_slice() {
                    [only] => only.in_words(counts_message),
                    several => together(several),
                })
            }
        }
    }
}

fn together(events: &[Arc<Told<Event>>]) -> Bytes {
    let messages = events.iter().map(|event| event.in_words(counts_message));
    messages.collect::<Vec<_>>().concat().into()
}

/// An open stream. It is dropped with the answer's body, so when it ends or its client goes.
struct Watching {
    source: Source,
    hello: Option<Bytes>,
    #[expect(dead_code, reason = "it is given back when dropped")]
    place: OwnedSemaphorePermit,
}

async fn next_message(mut watching: Watching) -> Option<(Result<Bytes, Infallible>, Watching)> {
    let message = match watching.hello.take() {
        Some(hello) => hello,
        None => match tokio::time::timeout(KEEP_ALIVE, watching.source.next()).await {
            Ok(message) => message?,
            Err(_) => Bytes::from_static(b":\n\n"),
        },
    };
    Some((Ok(message), watching))
}

fn journal_message(update: &Update) -> Bytes {
    let shape = UpdateShape {
        event: update.event.as_ref().map(EventShape::of),
        version: update.version,
        journal: update.entries.iter().map(EntryShape::of).collect(),
    };
    message(format!("id: {}\ndata: ", update.version), &shape)
}

fn counts_message(event: &Event) -> Bytes {
    message("data: ".to_owned(), &CountsShape::of(event))
}

fn message(head: String, data: &impl Serialize) -> Bytes {
    let mut message = head.into_bytes();
    message.extend(json(data));
    message.extend_from_slice(b"\n\n");
    message.into()
}
