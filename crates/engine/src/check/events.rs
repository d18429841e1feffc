//! The recount of events: what each counts, compared with its slots and with its journal's end.

use std::collections::HashMap;

use eventbooker_core::EventId;
use eventbooker_core::events::{Cancellation, Event, Seats, Slot, SlotState, Tally};
use eventbooker_store::{Snapshot, StoreError};

use super::journal::Told;
use super::{Meter, Report, Rule, pages};

/// All events, by number.
pub(super) type Events = HashMap<EventId, Recounted>;

/// An event's tally, the capacity that bounds it, whether it takes place, and what its slots come to.
pub(super) struct Recounted {
    capacity: Seats,
    tally: Tally,
    cancellation: Option<Cancellation>,
    seats: u64,
    held: u64,
    sold: u64,
}

pub(super) async fn read(
    snapshot: &mut dyn Snapshot,
    meter: &mut Meter<'_>,
) -> Result<Events, StoreError> {
    let mut events = Events::new();
    pages::events(snapshot, meter, |event| {
        let Event { id, plan, tally, cancellation, .. } = event;
        let capacity = plan.capacity;
        let none = Recounted { capacity, tally, cancellation, seats: 0, held: 0, sold: 0 };
        events.insert(id, none);
    })
    .await?;
    Ok(events)
}

impl Recounted {
    pub(super) fn add(&mut self, slot: Slot) {
        self.seats += u64::from(slot.seats.get());
        match slot.state {
            SlotState::Held => self.held += 1,
            SlotState::Sold => self.sold += 1,
        }
    }

    /// Compares the event with its slots, and with what its journal tells.
    pub(super) fn compare(&self, id: EventId, journal: Option<&Told>, report: &mut Report) {
        let Self { capacity, tally, cancellation, seats, held, sold } = self;
        let Tally { occupied, pending_bookings, confirmed_bookings, version } = *tally;
        if u64::from(occupied.get()) != *seats {
            report.find(
                Rule::Seats,
                format!("event {id} counts {occupied} occupied seats, but its slots have {seats}"),
            );
        }
        if *seats > u64::from(capacity.get()) {
            report
                .find(Rule::Seats, format!("event {id} is oversold: {seats} of {capacity} seats"));
        }
        if (u64::from(pending_bookings), u64::from(confirmed_bookings)) != (*held, *sold) {
            report.find(
                Rule::Holds,
                format!(
                    "event {id} counts {pending_bookings} pending and {confirmed_bookings} confirmed bookings, but has {held} and {sold}"
                ),
            );
        }
        if cancellation.is_some() != journal.is_some_and(|told| told.is_cancelled) {
            let is = if cancellation.is_some() { "is" } else { "isn't" };
            report.find(
                Rule::Cancellations,
                format!("event {id} {is} cancelled, but its journal says otherwise"),
            );
        }
        if let Some(Cancellation { is_releasing, .. }) = cancellation
            && *is_releasing != (held + sold > 0)
        {
            let says = if *is_releasing { "has" } else { "has no" };
            let bookings = held + sold;
            report.find(
                Rule::Cancellations,
                format!(
                    "event {id} is cancelled and says that it {says} bookings to release, but has {bookings}"
                ),
            );
        }
        match journal.map(|told| told.version) {
            None => report.find(Rule::Journal, format!("event {id} has no journal")),
            Some(end) if end != version => report.find(
                Rule::Journal,
                format!("event {id} has version {version}, but its journal ends at {end}"),
            ),
            Some(_) => {}
        }
    }
}
