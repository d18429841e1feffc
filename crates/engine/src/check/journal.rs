//! The recount of journals: each event's has every version from 1 on, once.

use std::collections::HashMap;

use eventbooker_core::EventId;
use eventbooker_core::events::{JournalEntry, JournalKind};
use eventbooker_store::{Snapshot, StoreError};

use super::events::Events;
use super::overview::Overview;
use super::{Meter, Report, Rule, pages};

/// What each event's journal has come to.
pub(super) type Journals = HashMap<EventId, Told>;

/// What a journal tells of its event.
#[derive(Default)]
pub(super) struct Told {
    /// Its last version.
    pub(super) version: i64,
    /// Whether the event was cancelled.
    pub(super) is_cancelled: bool,
}

/// Follows the journals of all events, and shows every entry to the overview.
pub(super) async fn follow(
    snapshot: &mut dyn Snapshot,
    events: &Events,
    overview: &mut Overview,
    report: &mut Report,
    meter: &mut Meter<'_>,
) -> Result<Journals, StoreError> {
    let mut journals = Journals::new();
    pages::journal(snapshot, meter, |entry| {
        let JournalEntry { event_id, version, kind, booking_id, .. } = entry;
        let told = journals.entry(event_id).or_insert_with(|| {
            if !events.contains_key(&event_id) {
                report.find(
                    Rule::Journal,
                    format!("a journal belongs to event {event_id}, which doesn't exist"),
                );
            }
            Told::default()
        });
        let Told { version: last, is_cancelled } = *told;
        if last.checked_add(1) != Some(version) {
            report.find(
                Rule::Journal,
                format!("event {event_id} has version {version} after version {last}"),
            );
        }
        told.version = version;
        told.is_cancelled |= kind == JournalKind::EventCancelled;
        if is_cancelled && !happens_to_cancelled(kind) {
            report.find(
                Rule::Cancellations,
                format!("event {event_id}, version {version}: {kind:?} after it was cancelled"),
            );
        }
        if booking_id.is_none() && is_about_booking(kind) {
            report.find(
                Rule::Journal,
                format!("event {event_id}, version {version}: {kind:?} names no booking"),
            );
        }
        overview.entry(&entry);
    })
    .await?;
    Ok(journals)
}

fn is_about_booking(kind: JournalKind) -> bool {
    match kind {
        JournalKind::Held
        | JournalKind::Confirmed
        | JournalKind::Cancelled
        | JournalKind::Expired => true,
        JournalKind::Created | JournalKind::Edited | JournalKind::EventCancelled => false,
    }
}

/// Whether it can still happen when the event is cancelled. Who had begun to pay before, with the money
/// elsewhere, is confirmed and then released.
fn happens_to_cancelled(kind: JournalKind) -> bool {
    match kind {
        JournalKind::Confirmed | JournalKind::Cancelled | JournalKind::Expired => true,
        JournalKind::Created
        | JournalKind::Held
        | JournalKind::Edited
        | JournalKind::EventCancelled => false,
    }
}
