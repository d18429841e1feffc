//! The recount of journals: each event's has every version from 1 on, once.

use std::collections::HashMap;

use eventbooker_core::EventId;
use eventbooker_core::events::{JournalEntry, JournalKind};
use eventbooker_store::{Snapshot, StoreError};

use super::events::Events;
use super::overview::Overview;
use super::{Meter, Report, Rule, pages};

/// The version that each event's journal has come to.
pub(super) type Versions = HashMap<EventId, i64>;

/// Follows the versions of all events, and shows every entry to the overview.
pub(super) async fn follow(
    snapshot: &mut dyn Snapshot,
    events: &Events,
    overview: &mut Overview,
    report: &mut Report,
    meter: &mut Meter<'_>,
) -> Result<Versions, StoreError> {
    let mut versions = Versions::new();
    pages::journal(snapshot, meter, |entry| {
        let JournalEntry { event_id, version, kind, booking_id, .. } = entry;
        let last = versions.entry(event_id).or_insert_with(|| {
            if !events.contains_key(&event_id) {
                report.find(
                    Rule::Journal,
                    format!("a journal belongs to event {event_id}, which doesn't exist"),
                );
            }
            0
        });
        if last.checked_add(1) != Some(version) {
            report.find(
                Rule::Journal,
                format!("event {event_id} has version {version} after version {last}"),
            );
        }
        *last = version;
        if booking_id.is_none() && kind != JournalKind::Created {
            report.find(
                Rule::Journal,
                format!("event {event_id}, version {version}: {kind:?} names no booking"),
            );
        }
        overview.entry(&entry);
    })
    .await?;
    Ok(versions)
}
