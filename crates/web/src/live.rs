//! Live events: server-sent events of an event's counts and its journal.
//!
//! Each message has the event's version as its id, so a browser that comes back says in
//! `Last-Event-ID` what it has seen, and hears everything since.
//!
//! A stream holds its connection for as long as its client likes, and anybody may ask for one. So
//! there are at most [`WebSettings::live_streams_max`](crate::WebSettings::live_streams_max), fewer
//! than connections: whoever opens all of them keeps others from watching, not from booking.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use eventbooker_core::EventId;
use eventbooker_core::events::{JournalEntry, JournalKind};
use eventbooker_engine::{Subscription, Update};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answers::AnyRequest;
use crate::events::{EventShape, no_such_event};
use crate::idempotency::json;
use crate::problem::{Problem, ProblemKind};
use crate::request::PathId;
use crate::shapes::Rfc3339;
use crate::state::Web;

/// A comment is sent this often while nothing happens, so that proxies keep the connection and a
/// client that is gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a browser waits before it comes back, in milliseconds.
const COME_BACK_MS: u32 = 1000;
/// How long a client waits whom no stream was left for, in seconds. Streams are long, so coming
/// back every second would be in vain.
const NO_PLACE_RETRY_S: u32 = 5;

pub(crate) fn routes() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(live))
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
    let place = Arc::clone(&web.inner.live_streams).try_acquire_owned().map_err(|_| {
        Problem::new(ProblemKind::Overloaded, "as many live streams are open as there may be")
            .retry_after(NO_PLACE_RETRY_S)
    })?;
    let subscription = web.engine().watch(id, last_seen).await?.ok_or_else(no_such_event)?;
    let hello = Bytes::from(format!("retry: {COME_BACK_MS}\n\n"));
    let messages =
        stream::unfold(Watching { subscription, hello: Some(hello), place }, next_message);
    let kind = HeaderValue::from_static("text/event-stream");
    // Tells a proxy not to collect the stream before it passes it on.
    let no_buffering = HeaderValue::from_static("no");
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::HeaderName::from_static("x-accel-buffering"), no_buffering),
    ];
    Ok((headers, Body::from_stream(messages)).into_response())
}

/// An open stream. It is dropped with the answer's body, so when it ends or its client goes.
struct Watching {
    subscription: Subscription,
    hello: Option<Bytes>,
    #[expect(dead_code, reason = "it is given back when dropped")]
    place: OwnedSemaphorePermit,
}

async fn next_message(mut watching: Watching) -> Option<(Result<Bytes, Infallible>, Watching)> {
    let message = match watching.hello.take() {
        Some(hello) => hello,
        None => match tokio::time::timeout(KEEP_ALIVE, watching.subscription.next()).await {
            Ok(update) => message(&*update?),
            Err(_) => Bytes::from_static(b":\n\n"),
        },
    };
    Some((Ok(message), watching))
}

fn message(update: &Update) -> Bytes {
    let shape = UpdateShape {
        event: update.event.as_ref().map(EventShape::of),
        version: update.version,
        journal: update.entries.iter().map(EntryShape::of).collect(),
    };
    let mut message = format!("id: {}\ndata: ", update.version).into_bytes();
    message.extend(json(&shape));
    message.extend_from_slice(b"\n\n");
    message.into()
}
