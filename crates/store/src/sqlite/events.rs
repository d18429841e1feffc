//! Events, their tallies and slots.

use async_trait::async_trait;
use eventbooker_core::events::{
    Cancellation, Event, JournalEntry, JournalKind, PaymentWindow, Plan, Seats, Slot, Tally,
};
use eventbooker_core::{BookingId, Context, Contexts, EventId, Money, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row};

use super::SqliteStore;
use super::journal::{self, Began};
use crate::search::{self, folded};
use crate::{Changes, EventQueries, EventWorkQueries, EventsPage, SlotsPage, StoreError, codes};

/// Entries of an event's journal that one search for slots reads. All lists are read one after the
/// other, and the others wait.
const LINKS_MAX: u32 = 4_000;
/// Slots of all events that it reads after that; they lie side by side.
const SCANNED_MAX: u32 = 8_000;

const EVENT_COLUMNS: &str = "e.id, e.name, e.description, e.starts_at, e.capacity, e.price_minor, \
     e.payment_window_minutes, e.created_at, e.cancelled_at, e.releasing, \
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
        cancellation: match row.get(8)? {
            Some(at) => {
                let at = Timestamp::from_micros(at);
                Some(Cancellation { at, is_releasing: row.get(9)? })
            }
            None => None,
        },
        tally: Tally {
            occupied: Seats::new(row.get(10)?),
            pending_bookings: row.get(11)?,
            confirmed_bookings: row.get(12)?,
            version: row.get(13)?,
        },
    })
}

fn slot(row: &Row<'_>) -> rusqlite::Result<Slot> {
    let state = super::known(row, 3, "slot state", codes::slot)?;
    Ok(Slot {
        event_id: EventId::new(row.get(0)?),
        booking_id: BookingId::new(row.get(1)?),
        seats: Seats::new(row.get(2)?),
        state,
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

/// The same for whoever doesn't show descriptions, each of which may be pages long.
pub(super) fn by_ids(conn: &Connection, ids: &[EventId]) -> rusqlite::Result<Vec<Event>> {
    let columns = EVENT_COLUMNS.replace("e.description", "''");
    let mut statement =
        conn.prepare_cached(&format!("SELECT {columns} FROM {EVENT_TABLES} WHERE e.id = ?1"))?;
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
        "SELECT event_id, booking_id, seats, state FROM slots WHERE booking_id = ?1 AND event_id = ?2",
    )?;
    let mut slots = Vec::with_capacity(keys.len());
    for (event_id, booking_id) in keys {
        slots.extend(statement.query_row((booking_id.get(), event_id.get()), slot).optional()?);
    }
    Ok(slots)
}

pub(super) fn save(conn: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    for event in &changes.events_added {
        add_event(conn, event)?;
    }
    for event in &changes.events_changed {
        change_event(conn, event)?;
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
    let began = journal::save(conn, &changes.journal)?;
    save_slots(conn, changes, &began)?;
    Ok(())
}

/// The columns of a tally, its key first.
fn tally_values(id: EventId, tally: Tally) -> (i64, u32, u32, u32, i64) {
    let Tally { occupied, pending_bookings, confirmed_bookings, version } = tally;
    (id.get(), occupied.get(), pending_bookings, confirmed_bookings, version)
}

fn add_event(conn: &Connection, event: &Event) -> rusqlite::Result<()> {
    let Event { id, plan, tally, created_at, cancellation } = event;
    conn.prepare_cached(
        "INSERT INTO events (id, name, description, starts_at, capacity, price_minor,
           payment_window_minutes, created_at, cancelled_at, releasing, search)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
        cancellation.map(|it| it.at.as_micros()),
        cancellation.is_some_and(|it| it.is_releasing),
        folded(&plan.name),
    ))?;
    conn.prepare_cached(
        "INSERT INTO tallies (event_id, occupied, pending_bookings, confirmed_bookings, version)
         VALUES (?, ?, ?, ?, ?)",
    )?
    .execute(tally_values(*id, *tally))?;
    Ok(())
}

fn change_event(conn: &Connection, event: &Event) -> rusqlite::Result<()> {
    let Event { id, plan, cancellation, .. } = event;
    conn.prepare_cached(
        "UPDATE events SET name = ?2, description = ?3, starts_at = ?4, capacity = ?5,
           price_minor = ?6, payment_window_minutes = ?7, cancelled_at = ?8, releasing = ?9,
           search = ?10
         WHERE id = ?1",
    )?
    .execute((
        id.get(),
        &plan.name,
        &plan.description,
        plan.starts_at.map(Timestamp::as_micros),
        plan.capacity.get(),
        plan.price.as_minor(),
        plan.payment_window.as_minutes(),
        cancellation.map(|it| it.at.as_micros()),
        cancellation.is_some_and(|it| it.is_releasing),
        folded(&plan.name),
    ))?;
    Ok(())
}

fn save_slots(conn: &Connection, changes: &Changes, began: &Began) -> rusqlite::Result<()> {
    if !changes.slots_added.is_empty() {
        let mut statement = conn.prepare_cached(
            "INSERT INTO slots (booking_id, event_id, seats, state, entry) VALUES (?, ?, ?, ?, ?)",
        )?;
        for slot in &changes.slots_added {
            let Slot { event_id, booking_id, seats, state } = *slot;
            let state = codes::of_slot(state);
            let entry = began.entry_of(booking_id);
            statement.execute((booking_id.get(), event_id.get(), seats.get(), state, entry))?;
        }
    }
    if !changes.slots_changed.is_empty() {
        let mut statement = conn.prepare_cached(
            "UPDATE slots SET seats = ?3, state = ?4 WHERE booking_id = ?1 AND event_id = ?2",
        )?;
        for slot in &changes.slots_changed {
            let Slot { event_id, booking_id, seats, state } = *slot;
            let state = codes::of_slot(state);
            statement.execute((booking_id.get(), event_id.get(), seats.get(), state))?;
        }
    }
    if !changes.slots_removed.is_empty() {
        let mut statement =
            conn.prepare_cached("DELETE FROM slots WHERE booking_id = ?1 AND event_id = ?2")?;
        for (event_id, booking_id) in &changes.slots_removed {
            statement.execute((booking_id.get(), event_id.get()))?;
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
    // A pattern would end there, and names have none.
    if page.name_contains.as_deref().is_some_and(|text| text.contains('\0')) {
        return Ok(Vec::new());
    }
    // Nobody reads a list's descriptions, and each may be pages long.
    let columns = EVENT_COLUMNS.replace("e.description", "''");
    let pattern = page.name_contains.as_deref().map(search::like_pattern);
    let Some(after) = page.after else {
        let sql = format!(
            "SELECT {columns} FROM {EVENT_TABLES}
             WHERE e.place >= ?1 AND (?2 IS NULL OR e.search LIKE ?2 ESCAPE '\\')
             ORDER BY e.place, e.id LIMIT ?3"
        );
        let from = page.not_before.map_or(i64::MIN, Timestamp::as_micros);
        return conn.prepare_cached(&sql)?.query_map((from, pattern, page.limit), event)?.collect();
    };
    // The anchor's place is looked up, so that a page can follow an event that has moved. What
    // shares its place and what comes behind are asked for apart: each part is then one seek, where
    // a comparison of pairs would read all events of a place, such as all undated ones.
    let sql = format!(
        "SELECT {columns}, e.place FROM {EVENT_TABLES}
         WHERE e.place = (SELECT place FROM events WHERE id = ?1) AND e.id > ?1
           AND (?2 IS NULL OR e.search LIKE ?2 ESCAPE '\\')
         UNION ALL
         SELECT {columns}, e.place FROM {EVENT_TABLES}
         WHERE e.place > (SELECT place FROM events WHERE id = ?1)
           AND (?2 IS NULL OR e.search LIKE ?2 ESCAPE '\\')
         ORDER BY 15, 1 LIMIT ?3"
    );
    conn.prepare_cached(&sql)?.query_map((after.get(), pattern, page.limit), event)?.collect()
}

pub(super) fn releasing(conn: &Connection, limit: u32) -> rusqlite::Result<Vec<EventId>> {
    // An index on some rows serves only queries that say so word for word.
    conn.prepare_cached("SELECT id FROM events WHERE releasing = 1 ORDER BY id LIMIT ?1")?
        .query_map([limit], |row| row.get(0).map(EventId::new))?
        .collect()
}

pub(super) fn all(conn: &Connection, after: EventId, limit: u32) -> rusqlite::Result<Vec<Event>> {
    conn.prepare_cached(&format!(
        "SELECT {EVENT_COLUMNS} FROM {EVENT_TABLES} WHERE e.id > ?1 ORDER BY e.id LIMIT ?2"
    ))?
    .query_map((after.get(), limit), event)?
    .collect()
}

/// An event's slots, newest booking first. They lie among those of other events, and it is the
/// event's journal that tells them apart: each slot has begun with an entry of it. Of an event with a
/// million ended bookings most entries lead to none, so that is looked at only for a while, and then
/// some slots of all events. What hasn't been come to by then is on the next page.
fn slots_of(
    conn: &Connection,
    event_id: EventId,
    before: Option<BookingId>,
    limit: u32,
    order: Order,
) -> rusqlite::Result<SlotsPage> {
    let (live, unordered_to) = live_bookings(conn, event_id)?;
    let unordered_to = match order {
        Order::OfNumbers => unordered_to,
        Order::Any => BookingId::new(i64::MAX),
    };
    let wanted = limit.min(live) as usize;
    let mut page = SlotsPage { slots: Vec::new(), next: before };
    let is_at_end = walk_slots(conn, event_id, wanted, unordered_to, &mut page)?
        || scan_slots(conn, event_id, wanted, &mut page)?;
    if is_at_end || page.slots.len() == live as usize {
        page.next = None;
    }
    Ok(page)
}

/// In which order slots begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// In that of their bookings' numbers, which are given out in the same transactions. Those that
    /// were copied from elsewhere, up to a number that tallies tell, needn't have.
    OfNumbers,
    /// In the order in which their bookings' sagas have come here from elsewhere.
    Any,
}

impl Order {
    fn of(contexts: Contexts) -> Self {
        if contexts.has(Context::Bookings) { Self::OfNumbers } else { Self::Any }
    }
}

/// Adds slots of bookings above a number to a page, by the event's journal, until it has as many as
/// are wanted. Returns whether there are no others, be it below that number.
fn walk_slots(
    conn: &Connection,
    event_id: EventId,
    wanted: usize,
    unordered_to: BookingId,
    page: &mut SlotsPage,
) -> rusqlite::Result<bool> {
    let before = page.next;
    let first_ordered = BookingId::new(unordered_to.get().saturating_add(1));
    if before.unwrap_or(BookingId::new(i64::MAX)) <= first_ordered {
        return Ok(false);
    }
    let mut statement = conn.prepare_cached(
        "SELECT event_id, booking_id, seats, state FROM slots WHERE booking_id = ?1",
    )?;
    let mut trail = match before {
        None => journal::trail(conn, event_id)?,
        Some(before) => journal::trail_before(conn, event_id, before)?,
    };
    for _ in 0..LINKS_MAX {
        if page.slots.len() >= wanted {
            return Ok(false);
        }
        let Some(entry) = trail.next()? else {
            page.next = Some(first_ordered);
            return Ok(unordered_to == BookingId::new(0));
        };
        let Some(booking_id) = entry.booking_id.filter(|_| entry.kind == JournalKind::Held) else {
            continue;
        };
        if booking_id >= first_ordered && before.is_none_or(|before| booking_id < before) {
            page.slots.extend(statement.query_row([booking_id.get()], slot).optional()?);
            page.next = Some(booking_id);
        }
    }
    Ok(false)
}

/// The same by the slots of all events.
fn scan_slots(
    conn: &Connection,
    event_id: EventId,
    wanted: usize,
    page: &mut SlotsPage,
) -> rusqlite::Result<bool> {
    let mut statement = conn.prepare_cached(
        "SELECT event_id, booking_id, seats, state FROM slots
         WHERE booking_id < ?1 ORDER BY booking_id DESC",
    )?;
    let mut rows = statement.query([page.next.map_or(i64::MAX, BookingId::get)])?;
    for _ in 0..SCANNED_MAX {
        if page.slots.len() >= wanted {
            return Ok(false);
        }
        let Some(row) = rows.next()? else { return Ok(true) };
        if row.get::<_, i64>(0)? == event_id.get() {
            page.slots.push(slot(row)?);
        }
        page.next = Some(BookingId::new(row.get(1)?));
    }
    Ok(false)
}

/// How many slots an event has, so that nobody looks for more through all of its journal, and up to
/// which booking slots may have begun in any order.
fn live_bookings(conn: &Connection, event_id: EventId) -> rusqlite::Result<(u32, BookingId)> {
    let live = conn
        .prepare_cached(
            "SELECT pending_bookings + confirmed_bookings, unordered_to FROM tallies
             WHERE event_id = ?1",
        )?
        .query_row([event_id.get()], |row| Ok((row.get(0)?, BookingId::new(row.get(1)?))))
        .optional()?;
    Ok(live.unwrap_or((0, BookingId::new(0))))
}

pub(super) fn all_slots(
    conn: &Connection,
    after: BookingId,
    limit: u32,
) -> rusqlite::Result<Vec<Slot>> {
    conn.prepare_cached(
        "SELECT event_id, booking_id, seats, state FROM slots
         WHERE booking_id > ?1 ORDER BY booking_id LIMIT ?2",
    )?
    .query_map((after.get(), limit), slot)?
    .collect()
}

#[async_trait]
impl EventQueries for SqliteStore {
    async fn event(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        self.readers.event(id).await
    }

    async fn events(&self, page: EventsPage) -> Result<Vec<Event>, StoreError> {
        self.readers.lists.run(move |conn| self::page(conn, &page)).await
    }

    async fn events_with(&self, ids: Vec<EventId>) -> Result<Vec<Event>, StoreError> {
        self.readers.rows.run(move |conn| by_ids(conn, &ids)).await
    }

    async fn journal(
        &self,
        event_id: EventId,
        after_version: i64,
        limit: u32,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        self.readers
            .lists
            .run(move |conn| journal::of_event(conn, event_id, after_version, limit))
            .await
    }

    async fn slots(
        &self,
        event_id: EventId,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<SlotsPage, StoreError> {
        let order = Order::of(self.contexts);
        self.readers.lists.run(move |conn| slots_of(conn, event_id, before, limit, order)).await
    }
}

#[async_trait]
impl EventWorkQueries for SqliteStore {
    async fn journal_of_booking(&self, id: BookingId) -> Result<Vec<JournalEntry>, StoreError> {
        self.readers.lists.run(move |conn| journal::of_booking(conn, id)).await
    }

    async fn releasing_events(&self, limit: u32) -> Result<Vec<EventId>, StoreError> {
        self.readers.rows.run(move |conn| releasing(conn, limit)).await
    }
}
