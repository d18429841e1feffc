//! What can be done with events.

use eventbooker_core::events::{Draft, Event};
use eventbooker_core::identity::Actor;
use eventbooker_store::Wants;

use crate::batch::{Batch, Rules};
use crate::command::{Answer, Command, Key, Lane};
use crate::{Engine, Error, Refusal};

/// Creates an event.
struct CreateEvent {
    actor: Actor,
    draft: Draft,
}

impl Command for CreateEvent {
    type Reply = Event;

    fn lane(&self) -> Lane {
        Lane::Any
    }

    fn wants(&self, _: &Rules, wants: &mut Wants) {
        wants.new_events += 1;
    }

    fn decide(&self, batch: &mut Batch) -> Result<Event, Refusal> {
        let now = batch.now();
        if !self.actor.is_admin() {
            return Err(Refusal::NotAdmin);
        }
        let plan = self.draft.check(now).map_err(Refusal::Plan)?;

        let (event, entry) = Event::create(batch.next_event_id(), plan, now);
        batch.add_event(event.clone(), entry);
        Ok(event)
    }
}

impl Engine {
    /// Creates an event.
    pub async fn create_event(
        &self,
        actor: Actor,
        draft: Draft,
        key: Option<Key<Event>>,
    ) -> Result<Answer<Event>, Error> {
        self.submit(CreateEvent { actor, draft }, key).await
    }
}
