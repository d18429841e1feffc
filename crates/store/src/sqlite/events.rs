//! Events, their tallies, slots and journals.

use eventbooker_core::events::{
    Event, JournalEntry, JournalKind, PaymentWindow, Plan, Seats, Slot, SlotState, Tally,
};
use eventbooker_core::{BookingId, EventId, Money, Timestamp};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::{Changes, EventsPage};

const EVENT_COLUMNS: &str = "e.id, e.name, e.description, e.starts_at, e.capacity, e.price_minor, \
     e.payment_window_minutes, e.created_at, \
     t.occupied, t.pending_bookings, t.confirmed_bookings, t.version";
const EVENT_TABLES: &str = "events e JOIN tallies t ON t.event_id = e.id";
fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        id: EventId::new(row.get(0)?),
        plan: Plan {
            name: row.get(1)?,
            description: row.get(2)?,
            starts_at: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_micros),
            capacity: Seats::new(row.get(4)?),
            price: Money::from_minor(row.get(5)?),
            payment_window: PaymentWindow::from_minutes(row.get(6)?),
        },
        created_at: Timestamp::from_micros(row.get(7)?),
        tally: Tally {
            occupied: Seats::new(row.get(8)?),
            pending_bookings: row.get(9)?,
            confirmed_bookings: row.get(10)?,
            version: row.get(11)?,
        },
    })
}

fn slot_state_number(state: SlotState) -> i64 {
    match state {
        SlotState::Held => 0,
        SlotState::Sold => 1,
    }
}

fn slot(row: &Row<'_>) -> rusqlite::Result<Slot> {
    let state = match row.get(3)? {
        0 => SlotState::Held,
        1 => SlotState::Sold,
        other => return Err(super::unknown(3, Type::Integer, &format!("slot state {other}"))),
    };
    Ok(Slot {
        event_id: EventId::new(row.get(0)?),
        booking_id: BookingId::new(row.get(1)?),
        seats: Seats::new(row.get(2)?),
        state,
    })
}

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

pub(super) fn load(conn: &Connection, ids: &[EventId]) -> rusqlite::Result<Vec<Event>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut statement = conn
        .prepare_cached(&format!("SELECT {EVENT_COLUMNS} FROM {EVENT_TABLES} WHERE e.id = ?1"))?;
    let mut events = Vec::with_capacity(ids.len());
    for id in ids {
        events.extend(statement.query_row([id.get()], event).optional()?);
    }
    Ok(events)
}

pub(super) fn load_slots(
    conn: &Connection,
    keys: &[(EventId, BookingId)],
) -> rusqlite::Result<Vec<Slot>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut statement = conn.prepare_cached(
        "SELECT event_id, booking_id, seats, state FROM slots WHERE event_id = ?1 AND booking_id = ?2",
    )?;
    let mut slots = Vec::with_capacity(keys.len());
    for (event_id, booking_id) in keys {
        slots.extend(statement.query_row((event_id.get(), booking_id.get()), slot).optional()?);
    }
    Ok(slots)
}

pub(super) fn save(conn: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    for event in &changes.events_added {
        add_event(conn, event)?;
    }
    if !changes.tallies_changed.is_empty() {
        let mut statement = conn.prepare_cached(
            "UPDATE tallies SET occupied = ?2, pending_bookings = ?3, confirmed_bookings = ?4,
               version = ?5 WHERE event_id = ?1",
        )?;
        for (id, tally) in &changes.tallies_changed {
            statement.execute(tally_values(*id, *tally))?;
        }
    }
    save_slots(conn, changes)?;
    if !changes.journal.is_empty() {
        let mut statement = conn.prepare_cached(
            "INSERT INTO journal (event_id, version, kind, booking_id, seats, at)
             VALUES (?, ?, ?, ?, ?, ?)",
        )?;
        for entry in &changes.journal {
            statement.execute((
                entry.event_id.get(),
                entry.version,
                kind_number(entry.kind),
                entry.booking_id.map(BookingId::get),
                entry.seats.get(),
                entry.at.as_micros(),
            ))?;
        }
    }
    Ok(())
}

/// The columns of a tally, its key first.
fn tally_values(id: EventId, tally: Tally) -> (i64, u32, u32, u32, i64) {
    let Tally { occupied, pending_bookings, confirmed_bookings, version } = tally;
    (id.get(), occupied.get(), pending_bookings, confirmed_bookings, version)
}

/// The columns of a slot, its key first.
fn slot_values(slot: Slot) -> (i64, i64, u32, i64) {
    let Slot { event_id, booking_id, seats, state } = slot;
    (event_id.get(), booking_id.get(), seats.get(), slot_state_number(state))
}

fn add_event(conn: &Connection, event: &Event) -> rusqlite::Result<()> {
    let Event { id, plan, tally, created_at } = event;
    conn.prepare_cached(
        "INSERT INTO events (id, name, description, starts_at, capacity, price_minor,
           payment_window_minutes, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute((
        id.get(),
        &plan.name,
        &plan.description,
        plan.starts_at.map(Timestamp::as_micros),
        plan.capacity.get(),
        plan.price.as_minor(),
        plan.payment_window.as_minutes(),
        created_at.as_micros(),
    ))?;
    conn.prepare_cached(
        "INSERT INTO tallies (event_id, occupied, pending_bookings, confirmed_bookings, version)
         VALUES (?, ?, ?, ?, ?)",
    )?
    .execute(tally_values(*id, *tally))?;
    Ok(())
}

fn save_slots(conn: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    if !changes.slots_added.is_empty() {
        let mut statement = conn.prepare_cached(
            "INSERT INTO slots (event_id, booking_id, seats, state) VALUES (?, ?, ?, ?)",
        )?;
        for slot in &changes.slots_added {
            statement.execute(slot_values(*slot))?;
        }
    }
    if !changes.slots_changed.is_empty() {
        let mut statement = conn.prepare_cached(
            "UPDATE slots SET seats = ?3, state = ?4 WHERE event_id = ?1 AND booking_id = ?2",
        )?;
        for slot in &changes.slots_changed {
            statement.execute(slot_values(*slot))?;
        }
    }
    if !changes.slots_removed.is_empty() {
        let mut statement =
            conn.prepare_cached("DELETE FROM slots WHERE event_id = ?1 AND booking_id = ?2")?;
        for (event_id, booking_id) in &changes.slots_removed {
            statement.execute((event_id.get(), booking_id.get()))?;
        }
    }
    Ok(())
}

pub(super) fn one(conn: &Connection, id: EventId) -> rusqlite::Result<Option<Event>> {
    conn.prepare_cached(&format!("SELECT {EVENT_COLUMNS} FROM {EVENT_TABLES} WHERE e.id = ?1"))?
        .query_row([id.get()], event)
        .optional()
}

pub(super) fn page(conn: &Connection, page: &EventsPage) -> rusqlite::Result<Vec<Event>> {
    let pattern = page.name_contains.as_deref().map(like_pattern);
    let Some(after) = page.after else {
        let sql = format!(
            "SELECT {EVENT_COLUMNS} FROM {EVENT_TABLES}
             WHERE ?1 IS NULL OR e.name LIKE ?1 ESCAPE '\\' ORDER BY e.place, e.id LIMIT ?2"
        );
        return conn.prepare_cached(&sql)?.query_map((pattern, page.limit), event)?.collect();
    };
    // The anchor's place is looked up, so that a page can follow an event that has moved. What
    // shares its place and what comes behind are asked for apart: each part is then one seek, where
    // a comparison of pairs would read all events of a place, such as all undated ones.
    let sql = format!(
        "SELECT {EVENT_COLUMNS}, e.place FROM {EVENT_TABLES}
         WHERE e.place = (SELECT place FROM events WHERE id = ?1) AND e.id > ?1
           AND (?2 IS NULL OR e.name LIKE ?2 ESCAPE '\\')
         UNION ALL
         SELECT {EVENT_COLUMNS}, e.place FROM {EVENT_TABLES}
         WHERE e.place > (SELECT place FROM events WHERE id = ?1)
           AND (?2 IS NULL OR e.name LIKE ?2 ESCAPE '\\')
         ORDER BY 13, 1 LIMIT ?3"
    );
    conn.prepare_cached(&sql)?.query_map((after.get(), pattern, page.limit), event)?.collect()
}

/// A pattern for LIKE that finds this text as it stands.
fn like_pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

pub(super) fn all(conn: &Connection, after: EventId, limit: u32) -> rusqlite::Result<Vec<Event>> {
    conn.prepare_cached(&format!(
        "SELECT {EVENT_COLUMNS} FROM {EVENT_TABLES} WHERE e.id > ?1 ORDER BY e.id LIMIT ?2"
    ))?
    .query_map((after.get(), limit), event)?
    .collect()
}

pub(super) fn journal_of(
    conn: &Connection,
    event_id: EventId,
    after_version: i64,
    limit: u32,
) -> rusqlite::Result<Vec<JournalEntry>> {
    conn.prepare_cached(
        "SELECT event_id, version, kind, booking_id, seats, at FROM journal
         WHERE event_id = ?1 AND version > ?2 ORDER BY version LIMIT ?3",
    )?
    .query_map((event_id.get(), after_version, limit), entry)?
    .collect()
}

pub(super) fn slots_of(
    conn: &Connection,
    event_id: EventId,
    before: Option<BookingId>,
    limit: u32,
) -> rusqlite::Result<Vec<Slot>> {
    let before = before.map_or(i64::MAX, BookingId::get);
    conn.prepare_cached(
        "SELECT event_id, booking_id, seats, state FROM slots
         WHERE event_id = ?1 AND booking_id < ?2 ORDER BY booking_id DESC LIMIT ?3",
    )?
    .query_map((event_id.get(), before, limit), slot)?
    .collect()
}

pub(super) fn all_slots(
    conn: &Connection,
    after: (EventId, BookingId),
    limit: u32,
) -> rusqlite::Result<Vec<Slot>> {
    conn.prepare_cached(
        "SELECT event_id, booking_id, seats, state FROM slots
         WHERE (event_id, booking_id) > (?1, ?2) ORDER BY event_id, booking_id LIMIT ?3",
    )?
    .query_map((after.0.get(), after.1.get(), limit), slot)?
    .collect()
}

pub(super) fn all_journal(
    conn: &Connection,
    after: (EventId, i64),
    limit: u32,
) -> rusqlite::Result<Vec<JournalEntry>> {
    conn.prepare_cached(
        "SELECT event_id, version, kind, booking_id, seats, at FROM journal
         WHERE (event_id, version) > (?1, ?2) ORDER BY event_id, version LIMIT ?3",
    )?
    .query_map((after.0.get(), after.1, limit), entry)?
    .collect()
}
