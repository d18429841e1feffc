//! The journals of all events, which lie in one table in the order in which things happened.
//!
//! A batch over a thousand events would dirty a thousand pages if each event's entries lay
//! together; so it dirties a few. What is paid for that is paid by readers: an event's entries are
//! found by walking from one to its predecessor. Most readers ask for the latest entries; for the
//! others every 64th of an event's entries is indexed, as a milestone to start from.

use std::collections::BTreeMap;

use eventbooker_core::events::{JournalEntry, JournalKind, Seats};
use eventbooker_core::{BookingId, EventId, Timestamp};
use rusqlite::types::Type;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row};

const COLUMNS: &str = "event_id, version, kind, booking_id, seats, at, number, previous";

fn kind_number(kind: JournalKind) -> i64 {
    match kind {
        JournalKind::Created => 0,
        JournalKind::Held => 1,
        JournalKind::Confirmed => 2,
        JournalKind::Cancelled => 3,
        JournalKind::Expired => 4,
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<JournalEntry> {
    let kind = match row.get(2)? {
        0 => JournalKind::Created,
        1 => JournalKind::Held,
        2 => JournalKind::Confirmed,
        3 => JournalKind::Cancelled,
        4 => JournalKind::Expired,
        other => return Err(super::unknown(2, Type::Integer, &format!("journal kind {other}"))),
    };
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
    let mut latest: BTreeMap<EventId, Option<Latest>> = BTreeMap::new();
    for entry in entries {
        let JournalEntry { event_id, version, kind, booking_id, seats, at } = *entry;
        let previous = match latest.get(&event_id) {
            Some(known) => *known,
            None => Latest::of(conn, event_id)?,
        };
        if previous.is_some_and(|previous| previous.version + 1 != version) {
            return Err(version_taken(entry));
        }
        let number = insert.insert((
            event_id.get(),
            version,
            kind_number(kind),
            booking_id.map(BookingId::get),
            seats.get(),
            at.as_micros(),
            previous.map(|previous| previous.number),
        ))?;
        latest.insert(event_id, Some(Latest { number, version }));
        if kind == JournalKind::Held {
            began.0.extend(booking_id.map(|id| (id, number)));
        }
    }
    let mut update = conn.prepare_cached("UPDATE tallies SET latest = ?2 WHERE event_id = ?1")?;
    for (event_id, latest) in latest {
        update.execute((event_id.get(), latest.map(|latest| latest.number)))?;
    }
    Ok(began)
}

/// The latest entry of an event.
#[derive(Clone, Copy)]
struct Latest {
    number: i64,
    version: i64,
}

impl Latest {
    fn of(conn: &Connection, event_id: EventId) -> rusqlite::Result<Option<Self>> {
        conn.prepare_cached(
            "SELECT j.number, j.version FROM tallies t JOIN journal j ON j.number = t.latest
             WHERE t.event_id = ?1",
        )?
        .query_row([event_id.get()], |row| Ok(Self { number: row.get(0)?, version: row.get(1)? }))
        .optional()
    }
}

/// No index keeps versions unique, so this does: an entry comes right behind its event's latest.
fn version_taken(entry: &JournalEntry) -> rusqlite::Error {
    let JournalEntry { event_id, version, .. } = entry;
    let what = format!("version {version} of event {event_id} isn't the next one");
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CONSTRAINT);
    rusqlite::Error::SqliteFailure(code, Some(what))
}

/// An event's entries, the newest first.
pub(super) struct Trail<'conn> {
    statement: CachedStatement<'conn>,
    next: Option<i64>,
}

impl<'conn> Trail<'conn> {
    fn from(conn: &'conn Connection, number: Option<i64>) -> rusqlite::Result<Self> {
        let sql = format!("SELECT {COLUMNS} FROM journal WHERE number = ?1");
        Ok(Self { statement: conn.prepare_cached(&sql)?, next: number })
    }

    /// All entries.
    pub(super) fn from_latest(
        conn: &'conn Connection,
        event_id: EventId,
    ) -> rusqlite::Result<Self> {
        let latest = Latest::of(conn, event_id)?;
        Self::from(conn, latest.map(|latest| latest.number))
    }

    /// The entries from a version on, or from one that comes soon after it.
    fn from_version(
        conn: &'conn Connection,
        event_id: EventId,
        version: i64,
    ) -> rusqlite::Result<Self> {
        let milestone = conn
            .prepare_cached(
                "SELECT number FROM journal WHERE event_id = ?1 AND version >= ?2
                   AND version % 64 = 0 ORDER BY version LIMIT 1",
            )?
            .query_row((event_id.get(), version), |row| row.get(0))
            .optional()?;
        let Some(number) = milestone else { return Self::from_latest(conn, event_id) };
        Self::from(conn, Some(number))
    }

    /// The entries from one on that comes soon after the last that a slot older than this booking
    /// can have begun with.
    pub(super) fn from_before(
        conn: &'conn Connection,
        event_id: EventId,
        before: BookingId,
    ) -> rusqlite::Result<Self> {
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
        let Some(number) = milestone else { return Self::from_latest(conn, event_id) };
        Self::from(conn, Some(number))
    }

    /// The next older entry.
    pub(super) fn next(&mut self) -> rusqlite::Result<Option<JournalEntry>> {
        let Some(number) = self.next else { return Ok(None) };
        let read = |row: &Row<'_>| Ok((entry(row)?, row.get::<_, Option<i64>>(7)?));
        let Some((entry, previous)) = self.statement.query_row([number], read).optional()? else {
            return Ok(None);
        };
        // Damaged links must not lead in circles.
        self.next = previous.filter(|previous| *previous < number);
        Ok(Some(entry))
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
    let mut trail = Trail::from_version(conn, event_id, last)?;
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

/// Entries of all events above a number, with the number of the last.
pub(super) fn all(
    conn: &Connection,
    after: i64,
    limit: u32,
) -> rusqlite::Result<(Vec<JournalEntry>, i64)> {
    let mut last = after;
    let sql = format!("SELECT {COLUMNS} FROM journal WHERE number > ?1 ORDER BY number LIMIT ?2");
    let entries = conn
        .prepare_cached(&sql)?
        .query_map((after, limit), |row| {
            last = row.get(6)?;
            entry(row)
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok((entries, last))
}

/// Each finds links between rows that lead elsewhere than they should, as sentences.
const BROKEN_LINKS: [&str; 3] = [
    "SELECT format('journal entry %d (event %d, version %d) doesn''t follow the one before it',
                   j.number, j.event_id, j.version)
     FROM journal j LEFT JOIN journal p ON p.number = j.previous AND p.number < j.number
     WHERE j.version > 1 AND (p.event_id IS NOT j.event_id OR p.version IS NOT j.version - 1)
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
    let mut findings = Vec::new();
    for sql in BROKEN_LINKS {
        let mut statement = conn.prepare(sql)?;
        let rows = statement.query_map([], |row| row.get(0))?;
        findings.extend(rows.collect::<rusqlite::Result<Vec<String>>>()?);
    }
    Ok(findings)
}
