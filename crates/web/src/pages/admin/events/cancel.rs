//! Cancelling an event: asked once more with what it means, and then how far the releasing has come.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use eventbooker_core::events::Event;
use eventbooker_core::{Context, EventId};
use eventbooker_engine::History;

use super::super::super::forms::{Form, Trouble, new_key, outcome};
use super::super::super::texts::Texts;
use super::super::super::{page, see_other};
use super::super::{Frame, Organiser};
use crate::events::{Changed, no_such_event};
use crate::idempotency::answer;
use crate::problem::Problem;
use crate::request::{PathId, Query};
use crate::state::Web;

pub(super) fn routes() -> Router<Web> {
    Router::new()
        .route("/admin/events/{id}/cancel", get(show))
        .route("/admin/events/{id}/cancel/confirm", post(cancel))
}

#[derive(Template)]
#[template(path = "admin/cancel.html")]
struct CancelPage {
    frame: Frame,
    id: EventId,
    name: String,
    stage: Stage,
}

/// How far the cancelling has come.
enum Stage {
    Asked {
        holds: String,
        paid: String,
        refund: Option<String>,
        key: String,
        wrong: Option<String>,
    },
    Releasing {
        left: String,
        released: Option<Released>,
        again: String,
    },
    Done,
}

/// How many bookings have been released, of those that the event had.
struct Released {
    done: u32,
    of: u32,
    words: String,
}

async fn show(
    State(web): State<Web>,
    Organiser { frame, .. }: Organiser,
    PathId(id): PathId,
    uri: Uri,
) -> Result<Response, Problem> {
    let event = web.engine().events().event(EventId::new(id)).await?.ok_or_else(no_such_event)?;
    let stage = match event.cancellation {
        None => asked(&web, &event, frame.texts, new_key(&web), None).await?,
        Some(_) => releasing(&event, frame.texts, &uri),
    };
    Ok(page(StatusCode::OK, &CancelPage { frame, id: event.id, name: event.plan.name, stage }))
}

async fn asked(
    web: &Web,
    event: &Event,
    texts: Texts,
    key: String,
    wrong: Option<String>,
) -> Result<Stage, Problem> {
    let history = web.engine().history(event.id).await;
    let history = web.engine().if_reached(Context::Bookings, history)?.flatten();
    let history = history.filter(History::is_whole);
    let refund = history.map(|history| history.takings).filter(|amount| !amount.is_zero());
    Ok(Stage::Asked {
        holds: texts.count("cancel-event-holds", event.tally.pending_bookings),
        paid: texts.count("cancel-event-paid", event.tally.confirmed_bookings),
        refund: refund
            .map(|amount| texts.with("cancel-event-refund", "amount", texts.amount(amount))),
        key,
        wrong,
    })
}

fn releasing(event: &Event, texts: Texts, uri: &Uri) -> Stage {
    let left = event.tally.bookings();
    if left == 0 {
        return Stage::Done;
    }
    // How many there were was told when the event was cancelled, and stands in the page's address.
    let of = Query::of(uri).numbers("of", 1).pop().and_then(|of| u32::try_from(of).ok());
    let released = of.and_then(|of| Some((of.checked_sub(left)?, of)));
    Stage::Releasing {
        left: texts.count("event-releasing", left),
        released: released.map(|(done, of)| Released {
            done,
            of,
            words: texts.all(
                "cancel-event-released",
                &[("released", texts.number(done)), ("of", texts.number(of))].into_iter().collect(),
            ),
        }),
        again: progress_path(event.id, of),
    }
}

fn progress_path(id: EventId, of: Option<u32>) -> String {
    let query = of.map(|of| format!("?of={of}")).unwrap_or_default();
    format!("/admin/events/{id}/cancel{query}")
}

async fn cancel(
    State(web): State<Web>,
    Organiser { frame, actor }: Organiser,
    PathId(id): PathId,
    uri: Uri,
    form: Form,
) -> Result<Response, Problem> {
    let id = EventId::new(id);
    let cancelled = if form.text("sure").is_empty() {
        Err(Trouble::of_fields(&["sure"]))
    } else {
        let engine = web.engine().clone();
        let cancel = |key| async move { engine.cancel_event(actor, id, key).await };
        outcome(answer::<Changed, _>(&web, actor.user_id, form.key(), cancel).await).await
    };
    let trouble = match cancelled {
        Ok(event) => {
            let count = |name: &str| event[name].as_u64().unwrap_or_default();
            let left = count("pendingBookings") + count("confirmedBookings");
            return Ok(see_other(&progress_path(id, u32::try_from(left).ok())));
        }
        Err(trouble) => trouble,
    };
    let event = web.engine().events().event(id).await?.ok_or_else(no_such_event)?;
    let texts = frame.texts;
    let words = if trouble.is_about("sure") {
        texts.say("cancel-event-sure-wrong")
    } else {
        trouble.words(texts)
    };
    let key = form.next_key(&web, &trouble);
    let stage = match event.cancellation {
        None => asked(&web, &event, texts, key, Some(words)).await?,
        // Somebody was quicker.
        Some(_) => releasing(&event, texts, &uri),
    };
    Ok(trouble.reply().with(&CancelPage { frame, id, name: event.plan.name, stage }))
}
