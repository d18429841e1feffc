//! What lanes count.
//!
//! Handles are resolved once; counting a batch is a few additions, however many commands it has.

use eventbooker_core::events::{JournalEntry, JournalKind};
use metrics::{Counter, Gauge, Histogram};

/// The meters of one lane; what has no lane is counted by all together.
pub(crate) struct Meters {
    pub(crate) batch_commands: Histogram,
    pub(crate) batch_seconds: Histogram,
    pub(crate) waiting_commands: Gauge,
    /// By the place of a kind in [`KINDS`].
    entries: [Counter; KINDS.len()],
}

const KINDS: [&str; 7] =
    ["created", "held", "confirmed", "cancelled", "expired", "edited", "event_cancelled"];
/// Why batches fail.
pub(crate) const FAILURES: [&str; 7] =
    ["conflict", "contention", "full", "away", "unknown", "overloaded", "bug"];

impl Meters {
    pub(crate) fn new(lane: usize) -> Self {
        for reason in FAILURES {
            failures(reason).increment(0);
        }
        let lane = lane.to_string();
        Self {
            batch_commands: metrics::histogram!("eventbooker_batch_commands", "lane" => lane.clone()),
            batch_seconds: metrics::histogram!("eventbooker_batch_seconds", "lane" => lane.clone()),
            waiting_commands: metrics::gauge!("eventbooker_inbox_commands", "lane" => lane),
            entries: KINDS
                .map(|kind| metrics::counter!("eventbooker_journal_entries_total", "kind" => kind)),
        }
    }

    /// Counts what has become durable.
    pub(crate) fn count_entries(&self, journal: &[JournalEntry]) {
        let mut counts = [0; KINDS.len()];
        for entry in journal {
            counts[place(entry.kind)] += 1;
        }
        for (counter, count) in self.entries.iter().zip(counts) {
            if count > 0 {
                counter.increment(count);
            }
        }
    }
}

fn place(kind: JournalKind) -> usize {
    match kind {
        JournalKind::Created => 0,
        JournalKind::Held => 1,
        JournalKind::Confirmed => 2,
        JournalKind::Cancelled => 3,
        JournalKind::Expired => 4,
        JournalKind::Edited => 5,
        JournalKind::EventCancelled => 6,
    }
}

/// Counts a batch that was not saved.
pub(crate) fn count_failure(reason: &'static str) {
    failures(reason).increment(1);
}

fn failures(reason: &'static str) -> Counter {
    metrics::counter!("eventbooker_batch_failures_total", "reason" => reason)
}
