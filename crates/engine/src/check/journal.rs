//! The recount of journals: what each event's says, followed from its first entry to its last.

use std::collections::HashMap;

use eventbooker_core::events::{JournalEntry, JournalKind, Seats, SlotState};
use eventbooker_core::{BookingId, EventId};
use eventbooker_store::{Snapshot, StoreError};

use super::{Expected, Meter, PAGE_ROWS, Report, Rule, mark};

/// What an event's journal says, read from its beginning.
#[derive(Default)]
struct Journal {
    version: i64,
    seats: i64,
    live: HashMap<BookingId, (Seats, SlotState)>,
}

impl Journal {
    fn follow(&mut self, entry: JournalEntry, report: &mut Report) {
        let JournalEntry { event_id, version, kind, booking_id, seats, .. } = entry;
        if self.version.checked_add(1) != Some(version) {
            report.find(
                Rule::Journal,
                format!("event {event_id} has version {version} after version {}", self.version),
            );
        }
        self.version = version;
        let Some(booking_id) = booking_id else {
            if kind != JournalKind::Created {
                report.find(
                    Rule::Journal,
                    format!("event {event_id}, version {version}: {kind:?} names no booking"),
                );
            }
            return;
        };
        let before = self.live.remove(&booking_id);
        let (after, expected) = match kind {
            JournalKind::Created => (None, false),
            JournalKind::Held => (Some(SlotState::Held), before.is_none()),
            JournalKind::Confirmed => {
                (Some(SlotState::Sold), before == Some((seats, SlotState::Held)))
            }
            JournalKind::Expired => (None, before == Some((seats, SlotState::Held))),
            JournalKind::Cancelled => (None, before.is_some_and(|(held, _)| held == seats)),
        };
        if !expected {
            report.find(
                Rule::Holds,
                format!(
                    "event {event_id}, version {version}: booking {booking_id} is {kind:?} with {seats} seats, but was {before:?}"
                ),
            );
        }
        self.seats -= before.map_or(0, |(seats, _)| i64::from(seats.get()));
        if let Some(state) = after {
            self.live.insert(booking_id, (seats, state));
            self.seats += i64::from(seats.get());
        }
    }
}

/// What an event's journal came to.
pub(super) struct JournalEnd {
    pub(super) version: i64,
    pub(super) seats: i64,
    pub(super) live: usize,
    pub(super) marks: u64,
}

pub(super) async fn read(
    snapshot: &mut dyn Snapshot,
    events: &HashMap<EventId, Expected>,
    report: &mut Report,
    meter: &mut Meter<'_>,
) -> Result<HashMap<EventId, JournalEnd>, StoreError> {
    let mut journals: HashMap<EventId, Journal> = HashMap::new();
    loop {
        let page: Vec<JournalEntry> = snapshot.journal(PAGE_ROWS).await?;
        if page.is_empty() {
            break;
        }
        meter.add(page.len());
        for entry in page {
            let id = entry.event_id;
            let journal = journals.entry(id).or_insert_with(|| {
                if !events.contains_key(&id) {
                    report.find(
                        Rule::Journal,
                        format!("a journal belongs to event {id}, which doesn't exist"),
                    );
                }
                Journal::default()
            });
            journal.follow(entry, report);
        }
    }
    Ok(journals.into_iter().map(|(id, journal)| (id, journal.end())).collect())
}

impl Journal {
    fn end(self) -> JournalEnd {
        let marks = self.live.iter().map(|(id, (seats, state))| mark(*id, *seats, *state));
        JournalEnd {
            version: self.version,
            seats: self.seats,
            live: self.live.len(),
            marks: marks.fold(0, u64::wrapping_add),
        }
    }
}
