//! Creating and editing an event.

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequest, State};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use eventbooker_core::EventId;
use eventbooker_core::events::Event;
use serde_json::Value;

use super::super::super::forms::{Form, Trouble, new_key, outcome};
use super::super::super::texts::Instant;
use super::super::super::{page, see_other};
use super::super::{Frame, Organiser};
use super::form::EventForm;
use crate::events::{Changed, Created, no_such_event};
use crate::idempotency::answer;
use crate::problem::Problem;
use crate::request::PathId;
use crate::state::Web;

/// Bytes on the wire for a byte of a text that is no plain letter or digit.
const ENCODED_BYTES: usize = 3;

pub(super) fn routes() -> Router<Web> {
    Router::new()
        .route("/admin/events/new", get(new))
        .route("/admin/events/new/save", post(create))
        .route("/admin/events/{id}/edit", get(show))
        .route("/admin/events/{id}/edit/save", post(edit))
}

/// A form with a long text in it, which may be as long as the API takes it. Only admins send any.
struct LongForm(Form);

impl FromRequest<Web> for LongForm {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, web: &Web) -> Result<Self, Problem> {
        let bytes_max = web.inner.settings.body_bytes_max.saturating_mul(ENCODED_BYTES);
        Form::read(request, bytes_max).await.map(Self)
    }
}

#[derive(Template)]
#[template(path = "admin/event_form.html")]
struct EventFormPage {
    frame: Frame,
    form: EventForm,
    key: String,
    trouble: Option<String>,
    /// The event that is edited, unless it is a new one.
    event: Option<Edited>,
}

impl EventFormPage {
    fn is_cancelled(&self) -> bool {
        self.event.as_ref().is_some_and(|event| event.is_cancelled)
    }
}

/// What is shown of the event beside the form.
struct Edited {
    id: EventId,
    name: String,
    starts_at: Option<Instant>,
    is_cancelled: bool,
}

async fn new(State(web): State<Web>, Organiser { frame, .. }: Organiser) -> Response {
    let (form, key) = (EventForm::empty(frame.texts), new_key(&web));
    page(StatusCode::OK, &EventFormPage { frame, form, key, trouble: None, event: None })
}

async fn create(
    State(web): State<Web>,
    Organiser { frame, actor }: Organiser,
    LongForm(sent): LongForm,
) -> Result<Response, Problem> {
    let mut form = EventForm::sent(&sent, frame.texts);
    let created = match form.draft(web.engine().now()) {
        Err(trouble) => Err(trouble),
        Ok(draft) => {
            let engine = web.engine().clone();
            let create = |key| async move { engine.create_event(actor, draft, key).await };
            outcome(answer::<Created, _>(&web, actor.user_id, sent.key(), create).await).await
        }
    };
    match created {
        Ok(event) => Ok(see_other(&event_path(&event))),
        Err(trouble) => Ok(again(&web, frame, &sent, form, None, trouble)),
    }
}

fn event_path(event: &Value) -> String {
    format!("/admin/events/{}", event["id"])
}

/// The same form again, with what is wrong.
fn again(
    web: &Web,
    frame: Frame,
    sent: &Form,
    mut form: EventForm,
    event: Option<Edited>,
    trouble: Trouble,
) -> Response {
    let (key, words, reply) =
        (sent.next_key(web, &trouble), trouble.words(frame.texts), trouble.reply());
    form.trouble = Some(trouble);
    reply.with(&EventFormPage { frame, form, key, trouble: Some(words), event })
}

async fn show(
    State(web): State<Web>,
    Organiser { frame, .. }: Organiser,
    PathId(id): PathId,
) -> Result<Response, Problem> {
    let event = web.engine().events().event(EventId::new(id)).await?.ok_or_else(no_such_event)?;
    let form = EventForm::of_event(&event, frame.texts);
    let (key, event) = (new_key(&web), Some(edited(&event, &frame)));
    Ok(page(StatusCode::OK, &EventFormPage { frame, form, key, trouble: None, event }))
}

fn edited(event: &Event, frame: &Frame) -> Edited {
    Edited {
        id: event.id,
        name: event.plan.name.clone(),
        starts_at: event.plan.starts_at.map(|at| frame.texts.instant(at)),
        is_cancelled: event.cancellation.is_some(),
    }
}

async fn edit(
    State(web): State<Web>,
    Organiser { frame, actor }: Organiser,
    PathId(id): PathId,
    LongForm(sent): LongForm,
) -> Result<Response, Problem> {
    let id = EventId::new(id);
    let event = web.engine().events().event(id).await?.ok_or_else(no_such_event)?;
    let mut form = EventForm::sent(&sent, frame.texts);
    let changed = match form.amendment(&event.plan, web.engine().now()) {
        Err(trouble) => Err(trouble),
        Ok(amendment) => {
            let engine = web.engine().clone();
            let edit = |key| async move { engine.edit_event(actor, id, amendment, key).await };
            outcome(answer::<Changed, _>(&web, actor.user_id, sent.key(), edit).await).await
        }
    };
    match changed {
        Ok(event) => Ok(see_other(&event_path(&event))),
        Err(trouble) => {
            let event = edited(&event, &frame);
            Ok(again(&web, frame, &sent, form, Some(event), trouble))
        }
    }
}
