//! Word to whoever has the bookings of cancelled events: these have seats here that are to be free.
//!
//! Nothing is remembered of what was said. Whoever has seats of a cancelled event is named again until
//! they are given back, which comes as a step of the booking's own saga. A booking that its keeper
//! doesn't know has lost its place there, so its seats are left alone, and that is told: deleting them
//! would hide it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use eventbooker_core::{BookingId, EventId};
use eventbooker_store::{SlotsPage, StoreError};
use metrics::Gauge;
use tokio::task::JoinHandle;

use super::{Freed, Left, Release, can_be_released};
use crate::due::Alarm;
use crate::neighbours::BookingsNeighbour;
use crate::{Clock, Engine, Error, count};

/// Bookings named in one call.
const TOGETHER_MAX: u32 = 256;
/// Calls about one event, before it is another's turn.
const CALLS_PER_EVENT: u32 = 4;
/// Events looked at together.
const EVENTS_MAX: u32 = 400;
/// How long a call may take.
const CALL_MAX: Duration = Duration::from_secs(5);
/// How soon what is still there is named again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

pub(super) fn spawn(
    engine: Engine,
    keeper: Arc<dyn BookingsNeighbour>,
    alarm: Arc<Alarm>,
    unknown_gauge: Gauge,
) -> JoinHandle<()> {
    let clock = Arc::clone(&engine.inner.parts.clock);
    let mut word =
        Word { engine, keeper, clock, told_until: BTreeMap::new(), unknown: BTreeMap::new() };
    tokio::spawn(async move {
        loop {
            let soon = word.clock.now().plus(AGAIN_AFTER);
            alarm.look_by(soon);
            let looked = word.look().await;
            unknown_gauge.set(count(word.unknown.values().filter(|is_sure| **is_sure).count()));
            match looked {
                // As long as something becomes of it there is more to say.
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "could not look for bookings of cancelled events");
                }
            }
            alarm.sleep_until(&*word.clock, soon).await;
        }
    })
}

struct Word {
    engine: Engine,
    keeper: Arc<dyn BookingsNeighbour>,
    clock: Arc<dyn Clock>,
    /// The bookings of each event that are older than this are to be named next.
    told_until: BTreeMap<EventId, BookingId>,
    /// Bookings that their keeper doesn't know, and whether it was asked about them more than once: what
    /// was just ending when the seats were looked at isn't known either.
    unknown: BTreeMap<(EventId, BookingId), bool>,
}

impl Word {
    /// Names some bookings of every event that has some. Whether something became of that.
    async fn look(&mut self) -> Result<bool, StoreError> {
        let events = self.engine.store().releasing_events(EVENTS_MAX).await?;
        self.told_until.retain(|event_id, _| events.binary_search(event_id).is_ok());
        self.unknown.retain(|(event_id, _), _| events.binary_search(event_id).is_ok());
        let mut is_of_use = false;
        for event_id in events {
            is_of_use |= self.look_at(event_id).await?;
        }
        Ok(is_of_use)
    }

    async fn look_at(&mut self, event_id: EventId) -> Result<bool, StoreError> {
        let mut is_of_use = false;
        for _ in 0..CALLS_PER_EVENT {
            let before = self.told_until.remove(&event_id);
            let page = self.engine.store().slots(event_id, before, TOGETHER_MAX).await?;
            let SlotsPage { slots, next } = page;
            let ids: Vec<BookingId> = slots.iter().map(|slot| slot.booking_id).collect();
            // What has lost its seats since isn't named any more.
            self.unknown.retain(|(event, id), _| {
                let is_on_page =
                    next.is_none_or(|next| *id >= next) && before.is_none_or(|before| *id < before);
                *event != event_id || !is_on_page || ids.contains(id)
            });
            if !ids.is_empty() {
                is_of_use |= self.tell(event_id, ids).await;
            }
            let Some(next) = next else { break };
            self.told_until.insert(event_id, next);
        }
        Ok(is_of_use)
    }

    /// Names bookings to their keeper. Whether one of them is released by that.
    async fn tell(&mut self, event_id: EventId, ids: Vec<BookingId>) -> bool {
        let give_up = self.clock.now().plus(CALL_MAX);
        let answers = tokio::select! {
            biased;
            answers = self.keeper.release(event_id, ids.clone()) => answers,
            () = self.clock.sleep_until(give_up) => {
                vec![Err("there was no answer in time".to_owned())]
            }
        };
        let mut is_of_use = false;
        let mut trouble = None;
        for (id, answer) in ids.into_iter().zip(answers) {
            match answer {
                Ok(Freed::Unknown) => {
                    let before = self.unknown.get(&(event_id, id)).copied();
                    self.unknown.insert((event_id, id), before.is_some());
                    if before == Some(false) {
                        tracing::error!(
                            event = %event_id, booking = %id,
                            "seats of a cancelled event belong to a booking that its keeper doesn't know; \
                             run `eventbooker check`"
                        );
                    }
                }
                Ok(freed) => {
                    self.unknown.remove(&(event_id, id));
                    is_of_use |= freed == Freed::Now;
                }
                Err(why) => trouble = trouble.or(Some(why)),
            }
        }
        if let Some(trouble) = trouble {
            tracing::warn!(event = %event_id, %trouble, "could not have its bookings released");
        }
        is_of_use
    }
}

impl Engine {
    /// Releases bookings of an event that is cancelled elsewhere, and says of each, in their order, how
    /// far that is.
    pub async fn release(
        &self,
        event_id: EventId,
        ids: Vec<BookingId>,
    ) -> Vec<Result<Freed, String>> {
        match self.release_all(event_id, &ids).await {
            Ok(freed) => freed.into_iter().map(Ok).collect(),
            Err(Error::Bug | Error::Store(StoreError::Refused(_))) if ids.len() > 1 => {
                // One of them is to blame, and keeps no other from being released.
                let mut answers = Vec::with_capacity(ids.len());
                for id in ids {
                    answers.extend(Box::pin(self.release(event_id, vec![id])).await);
                }
                answers
            }
            Err(error) => vec![Err(error.to_string()); ids.len()],
        }
    }

    async fn release_all(&self, event_id: EventId, ids: &[BookingId]) -> Result<Vec<Freed>, Error> {
        let found = self.store().bookings(ids.to_vec()).await?;
        let now = self.now();
        let of_event = |id: &BookingId| {
            found.iter().find(|booking| booking.id == *id && booking.event_id == event_id)
        };
        let left: Vec<Left> = ids
            .iter()
            .filter_map(of_event)
            .filter(|booking| can_be_released(self.rules(), booking, now))
            .map(|booking| Left::of(self.rules(), booking))
            .collect();
        if !left.is_empty() {
            let released = self.submit_patiently(Release { left: left.clone() }).await?;
            released.outcome.map_err(|_| Error::Bug)?;
        }
        let freed = |id: &BookingId| match of_event(id) {
            Some(_) if left.iter().any(|left| left.booking_id == *id) => Freed::Now,
            // What has ended has given its seats back, so whoever has them has not heard of the end.
            Some(booking) if !booking.is_at_rest() || booking.is_due(now) => Freed::Soon,
            Some(_) | None => Freed::Unknown,
        };
        Ok(ids.iter().map(freed).collect())
    }
}
