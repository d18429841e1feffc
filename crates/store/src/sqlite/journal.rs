//! The journals of all events, linked by event.

use std::collections::BTreeMap;

use eventbooker_core::bookings::State;
use eventbooker_core::events::{JournalEntry, JournalKind, Seats};
use eventbooker_core::{BookingId, EventId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row};

use super::chain::{self, Chain, Ends, Link, Trail};
use crate::codes;

const JOURNAL: Chain<JournalEntry> = Chain {
    owner: |entry| entry.event_id.get(),
    latest: "SELECT j.number, j.version FROM tallies t JOIN journal j ON j.number = t.latest
             WHERE t.event_id = ?1",
    // An index on some rows serves only queries that say so word for word.
    milestone: "SELECT number FROM journal WHERE event_id = ?1 AND version >= ?2
                  AND version % 64 = 0 ORDER BY version LIMIT 1",
    row: "SELECT event_id, version, kind, booking_id, seats, at, previous
          FROM journal WHERE number = ?1",
    page: "SELECT event_id, version, kind, booking_id, seats, at, number
           FROM journal WHERE number > ?1 ORDER BY number LIMIT ?2",
    read: entry,
};

fn entry(row: &Row<'_>) -> rusqlite::Result<JournalEntry> {
    let kind = super::known(row, 2, "journal kind", codes::entry)?;
    Ok(JournalEntry {
        event_id: EventId::new(row.get(0)?),
        version: row.get(1)?,
        kind,
        booking_id: row.get::<_, Option<i64>>(3)?.map(BookingId::new),
        seats: Seats::new(row.get(4)?),
        at: Timestamp::from_micros(row.get(5)?),
    })
}

/// The entries that holds began with, by booking.
#[derive(Default)]
pub(super) struct Began(BTreeMap<BookingId, i64>);

impl Began {
    /// The number of the entry that a hold began with; 0, before all entries, if there is none.
    pub(super) fn entry_of(&self, booking_id: BookingId) -> i64 {
        self.0.get(&booking_id).copied().unwrap_or(0)
    }
}

/// Appends entries, each behind its event's latest.
pub(super) fn save(conn: &Connection, entries: &[JournalEntry]) -> rusqlite::Result<Began> {
    let mut began = Began::default();
    if entries.is_empty() {
        return Ok(began);
    }
    let mut insert = conn.prepare_cached(
        "INSERT INTO journal (event_id, version, kind, booking_id, seats, at, previous)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?;
    let mut ends = Ends::of(&JOURNAL);
    for entry in entries {
        let JournalEntry { event_id, version, kind, booking_id, seats, at } = *entry;
        let number = insert.insert((
            event_id.get(),
            version,
            codes::of_entry(kind),
            booking_id.map(BookingId::get),
            seats.get(),
            at.as_micros(),
            ends.before(conn, event_id.get(), version)?,
        ))?;
        ends.append(event_id.get(), Link { number, position: version });
        if kind == JournalKind::Held {
            began.0.extend(booking_id.map(|id| (id, number)));
        }
    }
    let mut update = conn.prepare_cached("UPDATE tallies SET latest = ?2 WHERE event_id = ?1")?;
    for (event_id, number) in ends.latest() {
        update.execute((event_id, number))?;
    }
    Ok(began)
}

/// Tells every slot the number of the entry that it began with.
pub(super) fn link_slots(conn: &Connection) -> rusqlite::Result<()> {
    let held = codes::of_entry(JournalKind::Held);
    let link = "UPDATE slots SET entry = j.number FROM journal j
                WHERE j.kind = ?1 AND j.booking_id = slots.booking_id";
    conn.execute(link, [held]).map(drop)
}

/// Tells lists of slots that those of bookings up to now needn't have begun in the order of their
/// numbers: some have begun in another one, or have still to begin.
pub(super) fn note_order(conn: &Connection) -> rusqlite::Result<()> {
    let held = codes::of_entry(JournalKind::Held);
    let occupying = codes::of_state(State::Occupying);
    let note = "UPDATE tallies SET unordered_to = (SELECT last FROM ids WHERE kind = 'booking')
                WHERE EXISTS (SELECT 1 FROM bookings WHERE state = ?2) OR EXISTS (SELECT 1 FROM
                  (SELECT booking_id, lag(booking_id) OVER (ORDER BY number) AS before
                   FROM journal WHERE kind = ?1)
                  WHERE booking_id < before)";
    conn.execute(note, (held, occupying)).map(drop)
}

/// All entries of an event, newest first.
pub(super) fn trail(
    conn: &Connection,
    event_id: EventId,
) -> rusqlite::Result<Trail<'_, JournalEntry>> {
    JOURNAL.back_from_latest(conn, event_id.get())
}

/// The entries of an event newest first, from one on that comes soon behind the last that a slot
/// older than this booking can have begun with.
pub(super) fn trail_before(
    conn: &Connection,
    event_id: EventId,
    before: BookingId,
) -> rusqlite::Result<Trail<'_, JournalEntry>> {
    // Bookings and entries are numbered in the same order, for all events together: the slot
    // before this one, whatever its event, began no earlier than any slot that is looked for.
    let milestone = conn
        .prepare_cached(
            "SELECT number FROM journal WHERE event_id = ?1 AND version % 64 = 0
               AND number >= (SELECT entry FROM slots WHERE booking_id < ?2
                              ORDER BY booking_id DESC LIMIT 1)
             ORDER BY version LIMIT 1",
        )?
        .query_row((event_id.get(), before.get()), |row| row.get(0))
        .optional()?;
    match milestone {
        Some(number) => JOURNAL.back_from_number(conn, Some(number)),
        None => trail(conn, event_id),
    }
}

/// An event's entries above a version, oldest first.
pub(super) fn of_event(
    conn: &Connection,
    event_id: EventId,
    after_version: i64,
    limit: u32,
) -> rusqlite::Result<Vec<JournalEntry>> {
    let last = after_version.saturating_add(i64::from(limit));
    let mut trail = JOURNAL.back_from_position(conn, event_id.get(), last)?;
    let mut entries = Vec::new();
    while let Some(entry) = trail.next()?
        && entry.version > after_version
    {
        if entry.version <= last {
            entries.push(entry);
        }
    }
    entries.reverse();
    Ok(entries)
}

/// The entries about a booking, oldest first. No index leads to them, because every batch would have
/// to write it; so the whole journal is read.
pub(super) fn of_booking(
    conn: &Connection,
    booking_id: BookingId,
) -> rusqlite::Result<Vec<JournalEntry>> {
    conn.prepare_cached(
        "SELECT event_id, version, kind, booking_id, seats, at FROM journal
         WHERE booking_id = ?1 ORDER BY number",
    )?
    .query_map([booking_id.get()], entry)?
    .collect()
}

/// Entries of all events above a number, with the number of the last.
pub(super) fn all(
    conn: &Connection,
    after: i64,
    limit: u32,
) -> rusqlite::Result<(Vec<JournalEntry>, i64)> {
    JOURNAL.page(conn, after, limit)
}

/// Each finds links between rows that lead elsewhere than they should, as sentences.
const BROKEN_LINKS: [&str; 3] = [
    "SELECT format('journal entry %d (event %d, version %d) doesn''t follow the one before it',
                   j.number, j.event_id, j.version)
     FROM journal j LEFT JOIN journal p ON p.number = j.previous AND p.number < j.number
     WHERE CASE j.version WHEN 1 THEN j.previous IS NOT NULL
                ELSE p.event_id IS NOT j.event_id OR p.version IS NOT j.version - 1 END
     LIMIT 100",
    "SELECT format('event %d has version %d, but its latest journal entry has another',
                   t.event_id, t.version)
     FROM tallies t LEFT JOIN journal j ON j.number = t.latest
     WHERE j.event_id IS NOT t.event_id OR j.version IS NOT t.version
     LIMIT 100",
    "SELECT format('the slot of booking %d didn''t begin with journal entry %d', s.booking_id, s.entry)
     FROM slots s LEFT JOIN journal j ON j.number = s.entry
     WHERE j.booking_id IS NOT s.booking_id OR j.event_id IS NOT s.event_id OR j.kind IS NOT 1
     LIMIT 100",
];

/// What is wrong with the links by which an event's entries and slots are found.
pub(super) fn broken_links(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    chain::findings(conn, &BROKEN_LINKS)
}
