//! How an event's seats went over time, as its journal tells.
//!
//! An event counts how many seats are occupied. How many of them are held and how many sold, what was
//! paid for them, and how it came to that, only its journal tells, of which nothing is ever removed. So
//! the journal of an event that somebody watches is read once, page by page, into something of a fixed
//! size, and from then on only what is new. However long a journal is, no look reads more than
//! [`ENTRIES_PER_LOOK`] of it; the next one goes on from there, and until all is read a history says
//! that it isn't whole.
//!
//! Kept of each watched event are its [`spans`], and its holds, so that a cancellation tells whether
//! seats were given back that somebody had paid for.

mod spans;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use eventbooker_core::events::{Event, JournalEntry, JournalKind, Seats};
use eventbooker_core::{BookingId, EventId, Money, Timestamp};
use eventbooker_store::StoreError;
use tokio::sync::Mutex;

use self::spans::Spans;
pub use self::spans::{SPANS_MAX, Span};
use crate::Engine;

/// Entries read at once.
const PAGE_ENTRIES: u32 = 2_000;
/// Entries that one look reads at most.
pub const ENTRIES_PER_LOOK: u32 = 100_000;
/// Events whose histories are kept.
const KEPT_MAX: u64 = 256;
/// How long one is kept that nobody looks at.
const KEPT_UNSEEN: Duration = Duration::from_secs(600);

/// An event, and how its seats went until now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The event, as it stands where the history ends.
    pub event: Event,
    /// Seats that can still fall free by themselves.
    pub held: Seats,
    /// Seats that are paid for.
    pub sold: Seats,
    /// What was paid for them.
    pub takings: Money,
    /// Spans of equal length from the event's creation on, oldest first; [`SPANS_MAX`] at most.
    pub spans: Vec<Span>,
    /// The journal's version that has been read. All of it is unless this is below the event's.
    pub version: i64,
}

impl History {
    /// Whether it tells all that has happened.
    pub fn is_whole(&self) -> bool {
        self.version == self.event.tally.version
    }
}

/// Histories of events that are watched.
pub(crate) struct Histories {
    kept: moka::sync::Cache<EventId, Arc<Mutex<Reading>>>,
}

impl Histories {
    pub(crate) fn new() -> Self {
        let kept =
            moka::sync::Cache::builder().max_capacity(KEPT_MAX).time_to_idle(KEPT_UNSEEN).build();
        Self { kept }
    }
}

/// A journal, as far as it has been read.
struct Reading {
    version: i64,
    /// Seats of each hold.
    holds: BTreeMap<BookingId, Seats>,
    held: u32,
    sold: u32,
    takings: Money,
    spans: Spans,
    changed_at: Timestamp,
}

impl Reading {
    fn of(created_at: Timestamp) -> Self {
        Self {
            version: 0,
            holds: BTreeMap::new(),
            held: 0,
            sold: 0,
            takings: Money::ZERO,
            spans: Spans::from(created_at),
            changed_at: created_at,
        }
    }

    /// Reads on until a version, or as far as one look goes. Whoever stops waiting leaves it between two
    /// pages.
    async fn go_on(&mut self, engine: &Engine, event: &Event) -> Result<(), StoreError> {
        let mut left = ENTRIES_PER_LOOK;
        while left > 0 && self.version < event.tally.version {
            let missing = event.tally.version - self.version;
            let limit = u32::try_from(missing).unwrap_or(u32::MAX).min(PAGE_ENTRIES);
            let entries = engine.events().journal(event.id, self.version, limit).await?;
            if entries.is_empty() {
                break;
            }
            let paid = amounts(engine, &entries).await?;
            for entry in &entries {
                self.take(entry, &paid);
            }
            left = left.saturating_sub(limit);
        }
        Ok(())
    }

    fn take(&mut self, entry: &JournalEntry, paid: &HashMap<BookingId, Money>) {
        let amount = entry.booking_id.and_then(|id| paid.get(&id)).copied().unwrap_or(Money::ZERO);
        let (mut booked, mut given_back) = (0, 0);
        match (entry.kind, entry.booking_id) {
            (JournalKind::Held, Some(id)) => {
                self.holds.insert(id, entry.seats);
                self.held = self.held.saturating_add(entry.seats.get());
                booked = entry.seats.get();
            }
            (JournalKind::Confirmed, Some(id)) => {
                self.end_hold(id);
                self.sold = self.sold.saturating_add(entry.seats.get());
                self.takings = self.takings.plus(amount).unwrap_or(self.takings);
            }
            (JournalKind::Cancelled | JournalKind::Expired, Some(id)) => {
                given_back = entry.seats.get();
                if !self.end_hold(id) {
                    self.sold = self.sold.saturating_sub(entry.seats.get());
                    self.takings = self.takings.minus(amount).unwrap_or(self.takings);
                }
            }
            (
                JournalKind::Held
                | JournalKind::Confirmed
                | JournalKind::Cancelled
                | JournalKind::Expired,
                None,
            )
            | (JournalKind::Created | JournalKind::Edited | JournalKind::EventCancelled, _) => {}
        }
        self.version = entry.version;
        self.changed_at = self.changed_at.max(entry.at);
        let (held, sold) = (Seats::new(self.held), Seats::new(self.sold));
        self.spans.add(entry.at, Span { begins_at: entry.at, booked, given_back, held, sold });
    }

    /// Whether the booking was held until now.
    fn end_hold(&mut self, id: BookingId) -> bool {
        let seats = self.holds.remove(&id);
        self.held = self.held.saturating_sub(seats.map_or(0, Seats::get));
        seats.is_some()
    }

    /// As it stands at an instant: nothing more happens to seats once the event has begun, but for what
    /// falls free.
    fn at(&self, event: Event, now: Timestamp) -> History {
        let is_over = event.cancellation.is_some();
        let last = event.plan.starts_at.map_or(now, |start| start.min(now));
        let until = if is_over { self.changed_at } else { last.max(self.changed_at) };
        History {
            held: Seats::new(self.held),
            sold: Seats::new(self.sold),
            takings: self.takings,
            spans: self.spans.until(until),
            version: self.version,
            event,
        }
    }
}

/// What the bookings cost that were paid, or may have been and were cancelled.
async fn amounts(
    engine: &Engine,
    entries: &[JournalEntry],
) -> Result<HashMap<BookingId, Money>, StoreError> {
    let moves_money = |entry: &&JournalEntry| match entry.kind {
        JournalKind::Confirmed | JournalKind::Cancelled => true,
        JournalKind::Created
        | JournalKind::Held
        | JournalKind::Expired
        | JournalKind::Edited
        | JournalKind::EventCancelled => false,
    };
    let mut ids: Vec<BookingId> =
        entries.iter().filter(moves_money).filter_map(|entry| entry.booking_id).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let bookings = engine.bookings().bookings(ids).await?;
    Ok(bookings.into_iter().map(|booking| (booking.id, booking.amount)).collect())
}

impl Engine {
    /// An event with its history. Whoever asks for the same one meanwhile waits, and reads nothing twice.
    pub async fn history(&self, id: EventId) -> Result<Option<History>, StoreError> {
        let kept = &self.inner.histories.kept;
        let reading = match kept.get(&id) {
            Some(reading) => reading,
            None => match self.events().event(id).await? {
                Some(event) => {
                    kept.get_with(id, || Arc::new(Mutex::new(Reading::of(event.created_at))))
                }
                None => return Ok(None),
            },
        };
        let mut reading = reading.lock().await;
        // Looked at behind the lock, so that it isn't older than what has been read.
        let Some(event) = self.events().event(id).await? else { return Ok(None) };
        reading.go_on(self, &event).await?;
        Ok(Some(reading.at(event, self.now())))
    }
}
