//! What can be done with events: create, edit, cancel.
//!
//! An organiser's commands belong where the events are; elsewhere there is no such event. Cancelling
//! changes the event only. From then on nothing can be booked or confirmed, and
//! [`releases`](crate::releases) ends the bookings that it has.

use eventbooker_core::EventId;
use eventbooker_core::events::{Amendment, Draft, Event};
use eventbooker_core::identity::Actor;
use eventbooker_store::Wants;

use crate::batch::{Batch, Rules};
use crate::bookings::want_event;
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

/// Changes an event.
struct EditEvent {
    actor: Actor,
    event_id: EventId,
    amendment: Amendment,
}

impl Command for EditEvent {
    type Reply = Event;

    fn lane(&self) -> Lane {
        Lane::Event(self.event_id)
    }

    fn wants(&self, rules: &Rules, wants: &mut Wants) {
        want_event(rules, wants, self.event_id);
    }

    fn decide(&self, batch: &mut Batch) -> Result<Event, Refusal> {
        let now = batch.now();
        if !self.actor.is_admin() {
            return Err(Refusal::NotAdmin);
        }
        let mut event = batch.event(self.event_id).cloned().ok_or(Refusal::NoSuchEvent)?;

        if let Some(entry) = event.edit(&self.amendment, now)? {
            batch.change_event(event.clone(), entry);
        }
        Ok(event)
    }
}

/// Cancels an event. Its bookings are released afterwards.
struct CancelEvent {
    actor: Actor,
    event_id: EventId,
}

impl Command for CancelEvent {
    type Reply = Event;

    fn lane(&self) -> Lane {
        Lane::Event(self.event_id)
    }

    fn wants(&self, rules: &Rules, wants: &mut Wants) {
        want_event(rules, wants, self.event_id);
    }

    fn decide(&self, batch: &mut Batch) -> Result<Event, Refusal> {
        let now = batch.now();
        if !self.actor.is_admin() {
            return Err(Refusal::NotAdmin);
        }
        let mut event = batch.event(self.event_id).cloned().ok_or(Refusal::NoSuchEvent)?;

        if let Some(entry) = event.cancel(now) {
            batch.change_event(event.clone(), entry);
        }
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
        self.may_give_numbers()?;
        self.submit(CreateEvent { actor, draft }, key).await
    }

    /// Changes an event. What was booked keeps its price and its deadline.
    pub async fn edit_event(
        &self,
        actor: Actor,
        event_id: EventId,
        amendment: Amendment,
        key: Option<Key<Event>>,
    ) -> Result<Answer<Event>, Error> {
        self.submit(EditEvent { actor, event_id, amendment }, key).await
    }

    /// Cancels an event. Its bookings are released one after the other from then on; the event's
    /// counts tell how many are left.
    pub async fn cancel_event(
        &self,
        actor: Actor,
        event_id: EventId,
        key: Option<Key<Event>>,
    ) -> Result<Answer<Event>, Error> {
        self.submit(CancelEvent { actor, event_id }, key).await
    }
}
