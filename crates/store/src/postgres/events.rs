//! Events, their tallies, slots and journals.

use std::collections::HashMap;

use async_trait::async_trait;
use eventbooker_core::events::{
    Cancellation, Event, JournalEntry, PaymentWindow, Plan, Slot, Tally,
};
use eventbooker_core::{BookingId, EventId, Timestamp};
use tokio_postgres::Row;

use super::PostgresStore;
use super::row::{can_be_text, count, get, instant, known, money, seats};
use super::session::{Flight, column, params};
use crate::search::{self, folded};
use crate::{Changes, EventQueries, EventWorkQueries, EventsPage, SlotsPage, StoreError, codes};

/// Locks events, in the order of their numbers, and reads their tallies: whoever has to wait for a row
/// gets it as it is then.
pub(super) const LOCK: &str = "
    SELECT event_id, occupied, pending_bookings, confirmed_bookings, version
    FROM tallies WHERE event_id = ANY($1::bigint[]) ORDER BY event_id FOR UPDATE";
/// Locks an event by its shard key, wherever its row lies.
pub(super) const LOCK_ONE: &str = "
    SELECT event_id, occupied, pending_bookings, confirmed_bookings, version
    FROM tallies WHERE event_id = $1 FOR UPDATE";
/// Reads the rest of events, after they have been locked.
pub(super) const LOAD: &str = "
    SELECT id, name, description, starts_at, capacity, price_minor, payment_window_minutes,
           created_at, cancelled_at, releasing
    FROM events WHERE id = ANY($1::bigint[]) ORDER BY id";
pub(super) const LOAD_SLOTS: &str = "
    SELECT s.event_id, s.booking_id, s.seats, s.state
    FROM (SELECT unnest($1::bigint[]) AS event_id, unnest($2::bigint[]) AS booking_id) k
    JOIN slots s ON s.event_id = k.event_id AND s.booking_id = k.booking_id";
const ADD: &str = "
    INSERT INTO events (id, name, description, starts_at, capacity, price_minor,
                        payment_window_minutes, created_at, cancelled_at, releasing,
                        search)
    SELECT unnest($1::bigint[]), unnest($2::text[]), unnest($3::text[]), unnest($4::bigint[]),
           unnest($5::bigint[]), unnest($6::bigint[]), unnest($7::bigint[]), unnest($8::bigint[]),
           unnest($9::bigint[]), unnest($10::boolean[]), unnest($11::text[])";
const CHANGE: &str = "
    UPDATE events e SET name = k.name, description = k.description, starts_at = k.starts_at,
                        capacity = k.capacity, price_minor = k.price_minor,
                        payment_window_minutes = k.payment_window_minutes,
                        cancelled_at = k.cancelled_at, releasing = k.releasing,
                        search = k.search
    FROM (SELECT unnest($1::bigint[]) AS id, unnest($2::text[]) AS name,
                 unnest($3::text[]) AS description, unnest($4::bigint[]) AS starts_at,
                 unnest($5::bigint[]) AS capacity, unnest($6::bigint[]) AS price_minor,
                 unnest($7::bigint[]) AS payment_window_minutes,
                 unnest($8::bigint[]) AS cancelled_at, unnest($9::boolean[]) AS releasing,
                 unnest($10::text[]) AS search) k
    WHERE e.id = k.id";
const ADD_TALLIES: &str = "
    INSERT INTO tallies (event_id, occupied, pending_bookings, confirmed_bookings, version)
    SELECT unnest($1::bigint[]), unnest($2::bigint[]), unnest($3::bigint[]), unnest($4::bigint[]),
           unnest($5::bigint[])";
const CHANGE_TALLIES: &str = "
    UPDATE tallies t SET occupied = k.occupied, pending_bookings = k.pending,
                         confirmed_bookings = k.confirmed, version = k.version
    FROM (SELECT unnest($1::bigint[]) AS event_id, unnest($2::bigint[]) AS occupied,
                 unnest($3::bigint[]) AS pending, unnest($4::bigint[]) AS confirmed,
                 unnest($5::bigint[]) AS version) k
    WHERE t.event_id = k.event_id";
const ADD_SLOTS: &str = "
    INSERT INTO slots (event_id, booking_id, seats, state)
    SELECT unnest($1::bigint[]), unnest($2::bigint[]), unnest($3::bigint[]),
           unnest($4::smallint[])";
const CHANGE_SLOTS: &str = "
    UPDATE slots s SET seats = k.seats, state = k.state
    FROM (SELECT unnest($1::bigint[]) AS event_id, unnest($2::bigint[]) AS booking_id,
                 unnest($3::bigint[]) AS seats, unnest($4::smallint[]) AS state) k
    WHERE s.event_id = k.event_id AND s.booking_id = k.booking_id";
const REMOVE_SLOTS: &str = "
    DELETE FROM slots WHERE (event_id, booking_id) IN
      (SELECT * FROM unnest($1::bigint[], $2::bigint[]))";
const ADD_ENTRIES: &str = "
    INSERT INTO journal (event_id, version, kind, booking_id, seats, at)
    SELECT unnest($1::bigint[]), unnest($2::bigint[]), unnest($3::smallint[]),
           unnest($4::bigint[]), unnest($5::bigint[]), unnest($6::bigint[])";

/// The statements of a writer.
pub(super) const WRITES: [&str; 12] = [
    LOCK,
    LOCK_ONE,
    LOAD,
    LOAD_SLOTS,
    ADD,
    CHANGE,
    ADD_TALLIES,
    CHANGE_TALLIES,
    ADD_SLOTS,
    CHANGE_SLOTS,
    REMOVE_SLOTS,
    ADD_ENTRIES,
];

pub(super) const ONE: &str = "
    SELECT e.id, e.name, e.description, e.starts_at, e.capacity, e.price_minor,
           e.payment_window_minutes, e.created_at, e.cancelled_at, e.releasing,
           t.occupied, t.pending_bookings, t.confirmed_bookings, t.version
    FROM events e JOIN tallies t ON t.event_id = e.id WHERE e.id = $1";
/// The first page of a list; nobody reads a list's descriptions.
pub(super) const FIRST_PAGE: &str = "
    SELECT e.id, e.name, '', e.starts_at, e.capacity, e.price_minor,
           e.payment_window_minutes, e.created_at, e.cancelled_at, e.releasing,
           t.occupied, t.pending_bookings, t.confirmed_bookings, t.version
    FROM events e JOIN tallies t ON t.event_id = e.id
    WHERE e.place >= $3 AND ($1::text IS NULL OR e.search LIKE $1)
    ORDER BY e.place, e.id LIMIT $2";
/// The page behind an event, whose place is looked up, so that a page can follow one that has moved.
pub(super) const NEXT_PAGE: &str = "
    SELECT e.id, e.name, '', e.starts_at, e.capacity, e.price_minor,
           e.payment_window_minutes, e.created_at, e.cancelled_at, e.releasing,
           t.occupied, t.pending_bookings, t.confirmed_bookings, t.version
    FROM events e JOIN tallies t ON t.event_id = e.id
    WHERE (e.place, e.id) > ((SELECT place FROM events WHERE id = $3), $3)
      AND ($1::text IS NULL OR e.search LIKE $1)
    ORDER BY e.place, e.id LIMIT $2";
pub(super) const BY_IDS: &str = "
    SELECT e.id, e.name, '', e.starts_at, e.capacity, e.price_minor,
           e.payment_window_minutes, e.created_at, e.cancelled_at, e.releasing,
           t.occupied, t.pending_bookings, t.confirmed_bookings, t.version
    FROM events e JOIN tallies t ON t.event_id = e.id WHERE e.id = ANY($1::bigint[])";
pub(super) const RELEASING: &str = "SELECT id FROM events WHERE releasing ORDER BY id LIMIT $1";
pub(super) const JOURNAL_OF_EVENT: &str = "
    SELECT event_id, version, kind, booking_id, seats, at FROM journal
    WHERE event_id = $1 AND version > $2 ORDER BY version LIMIT $3";
/// No index leads to a booking's entries, because every batch would have to write it.
pub(super) const JOURNAL_OF_BOOKING: &str = "
    SELECT event_id, version, kind, booking_id, seats, at FROM journal
    WHERE booking_id = $1 ORDER BY event_id, version";
pub(super) const SLOTS_OF_EVENT: &str = "
    SELECT event_id, booking_id, seats, state FROM slots
    WHERE event_id = $1 AND booking_id < $2 ORDER BY booking_id DESC LIMIT $3";

/// The statements of a reader.
pub(super) const READS: [&str; 8] = [
    ONE,
    FIRST_PAGE,
    NEXT_PAGE,
    BY_IDS,
    RELEASING,
    JOURNAL_OF_EVENT,
    JOURNAL_OF_BOOKING,
    SLOTS_OF_EVENT,
];

/// All events behind one, for a snapshot.
pub(super) const ALL: &str = "
    SELECT e.id, e.name, e.description, e.starts_at, e.capacity, e.price_minor,
           e.payment_window_minutes, e.created_at, e.cancelled_at, e.releasing,
           t.occupied, t.pending_bookings, t.confirmed_bookings, t.version
    FROM events e JOIN tallies t ON t.event_id = e.id
    WHERE e.id > $1 ORDER BY e.id LIMIT $2";
pub(super) const ALL_SLOTS: &str = "
    SELECT event_id, booking_id, seats, state FROM slots
    WHERE (event_id, booking_id) > ($1, $2) ORDER BY event_id, booking_id LIMIT $3";
pub(super) const ALL_ENTRIES: &str = "
    SELECT event_id, version, kind, booking_id, seats, at FROM journal
    WHERE (event_id, version) > ($1, $2) ORDER BY event_id, version LIMIT $3";

pub(super) fn event(row: &Row) -> Result<Event, StoreError> {
    event_with(row, tally(row, 10)?)
}

/// Events of tallies that have been locked. One that was created behind the locks isn't there yet.
pub(super) fn locked<'rows>(
    tallies: impl Iterator<Item = &'rows Row>,
    events: &[Row],
) -> Result<Vec<Event>, StoreError> {
    let mut locked = HashMap::with_capacity(events.len());
    for row in tallies {
        locked.insert(get::<i64>(row, 0)?, tally(row, 1)?);
    }
    let mut found = Vec::with_capacity(events.len());
    for row in events {
        if let Some(tally) = locked.remove(&get(row, 0)?) {
            found.push(event_with(row, tally)?);
        }
    }
    Ok(found)
}

fn tally(row: &Row, first: usize) -> Result<Tally, StoreError> {
    Ok(Tally {
        occupied: seats(row, first)?,
        pending_bookings: count(row, first + 1)?,
        confirmed_bookings: count(row, first + 2)?,
        version: get(row, first + 3)?,
    })
}

fn event_with(row: &Row, tally: Tally) -> Result<Event, StoreError> {
    Ok(Event {
        id: EventId::new(get(row, 0)?),
        plan: Plan {
            name: get(row, 1)?,
            description: get(row, 2)?,
            starts_at: get::<Option<i64>>(row, 3)?.map(Timestamp::from_micros),
            capacity: seats(row, 4)?,
            price: money(row, 5)?,
            payment_window: PaymentWindow::from_minutes(count(row, 6)?),
        },
        created_at: instant(row, 7)?,
        cancellation: match get::<Option<i64>>(row, 8)? {
            Some(at) => {
                let at = Timestamp::from_micros(at);
                Some(Cancellation { at, is_releasing: get(row, 9)? })
            }
            None => None,
        },
        tally,
    })
}

pub(super) fn slot(row: &Row) -> Result<Slot, StoreError> {
    Ok(Slot {
        event_id: EventId::new(get(row, 0)?),
        booking_id: BookingId::new(get(row, 1)?),
        seats: seats(row, 2)?,
        state: known(row, 3, "slot state", codes::slot)?,
    })
}

pub(super) fn entry(row: &Row) -> Result<JournalEntry, StoreError> {
    Ok(JournalEntry {
        event_id: EventId::new(get(row, 0)?),
        version: get(row, 1)?,
        kind: known(row, 2, "journal kind", codes::entry)?,
        booking_id: get::<Option<i64>>(row, 3)?.map(BookingId::new),
        seats: seats(row, 4)?,
        at: instant(row, 5)?,
    })
}

pub(super) fn save(flight: &mut Flight<'_>, changes: &Changes) {
    let Changes { events_added: added, events_changed: changed, tallies_changed, .. } = changes;
    if !added.is_empty() {
        flight.ask(
            ADD,
            params![
                column(added, |event| event.id.get()),
                column(added, |event| event.plan.name.clone()),
                column(added, |event| event.plan.description.clone()),
                column(added, |event| event.plan.starts_at.map(Timestamp::as_micros)),
                column(added, |event| i64::from(event.plan.capacity.get())),
                column(added, |event| event.plan.price.as_minor()),
                column(added, |event| i64::from(event.plan.payment_window.as_minutes())),
                column(added, |event| event.created_at.as_micros()),
                column(added, cancelled_at),
                column(added, is_releasing),
                column(added, search_text),
            ],
        );
        let tallies: Vec<_> = added.iter().map(|event| (event.id, event.tally)).collect();
        ask_tallies(flight, ADD_TALLIES, &tallies);
    }
    if !changed.is_empty() {
        flight.ask(
            CHANGE,
            params![
                column(changed, |event| event.id.get()),
                column(changed, |event| event.plan.name.clone()),
                column(changed, |event| event.plan.description.clone()),
                column(changed, |event| event.plan.starts_at.map(Timestamp::as_micros)),
                column(changed, |event| i64::from(event.plan.capacity.get())),
                column(changed, |event| event.plan.price.as_minor()),
                column(changed, |event| i64::from(event.plan.payment_window.as_minutes())),
                column(changed, cancelled_at),
                column(changed, is_releasing),
                column(changed, search_text),
            ],
        );
    }
    if !tallies_changed.is_empty() {
        ask_tallies(flight, CHANGE_TALLIES, tallies_changed);
    }
    save_slots(flight, changes);
    let journal = &changes.journal;
    if !journal.is_empty() {
        flight.ask(
            ADD_ENTRIES,
            params![
                column(journal, |entry| entry.event_id.get()),
                column(journal, |entry| entry.version),
                column(journal, |entry| codes::of_entry(entry.kind)),
                column(journal, |entry| entry.booking_id.map(BookingId::get)),
                column(journal, |entry| i64::from(entry.seats.get())),
                column(journal, |entry| entry.at.as_micros()),
            ],
        );
    }
}

fn cancelled_at(event: &Event) -> Option<i64> {
    event.cancellation.map(|it| it.at.as_micros())
}

fn search_text(event: &Event) -> String {
    folded(&event.plan.name)
}

fn is_releasing(event: &Event) -> bool {
    event.cancellation.is_some_and(|it| it.is_releasing)
}

fn ask_tallies(flight: &mut Flight<'_>, sql: &'static str, tallies: &[(EventId, Tally)]) {
    flight.ask(
        sql,
        params![
            column(tallies, |(id, _)| id.get()),
            column(tallies, |(_, tally)| i64::from(tally.occupied.get())),
            column(tallies, |(_, tally)| i64::from(tally.pending_bookings)),
            column(tallies, |(_, tally)| i64::from(tally.confirmed_bookings)),
            column(tallies, |(_, tally)| tally.version),
        ],
    );
}

fn save_slots(flight: &mut Flight<'_>, changes: &Changes) {
    let Changes { slots_added, slots_changed, slots_removed, .. } = changes;
    for (sql, slots) in [(ADD_SLOTS, slots_added), (CHANGE_SLOTS, slots_changed)] {
        if !slots.is_empty() {
            flight.ask(
                sql,
                params![
                    column(slots, |slot| slot.event_id.get()),
                    column(slots, |slot| slot.booking_id.get()),
                    column(slots, |slot| i64::from(slot.seats.get())),
                    column(slots, |slot| codes::of_slot(slot.state)),
                ],
            );
        }
    }
    if !slots_removed.is_empty() {
        flight.ask(
            REMOVE_SLOTS,
            params![
                column(slots_removed, |(event_id, _)| event_id.get()),
                column(slots_removed, |(_, booking_id)| booking_id.get()),
            ],
        );
    }
}

#[async_trait]
impl EventQueries for PostgresStore {
    async fn event(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        self.readers.row(ONE, || params![id.get()], event).await
    }

    async fn events(&self, page: EventsPage) -> Result<Vec<Event>, StoreError> {
        if page.name_contains.as_deref().is_some_and(|text| !can_be_text(text)) {
            return Ok(Vec::new());
        }
        let pattern = page.name_contains.as_deref().map(search::like_pattern);
        let limit = i64::from(page.limit);
        match page.after {
            None => {
                let from = page.not_before.map_or(i64::MIN, Timestamp::as_micros);
                let params = || params![pattern.clone(), limit, from];
                self.readers.rows(FIRST_PAGE, params, event).await
            }
            Some(after) => {
                let params = || params![pattern.clone(), limit, after.get()];
                self.readers.rows(NEXT_PAGE, params, event).await
            }
        }
    }

    async fn events_with(&self, ids: Vec<EventId>) -> Result<Vec<Event>, StoreError> {
        let params = || params![ids.iter().map(|id| id.get()).collect::<Vec<_>>()];
        self.readers.rows(BY_IDS, params, event).await
    }

    async fn journal(
        &self,
        event_id: EventId,
        after_version: i64,
        limit: u32,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        let params = || params![event_id.get(), after_version, i64::from(limit)];
        self.readers.rows(JOURNAL_OF_EVENT, params, entry).await
    }

    async fn slots(
        &self,
        event_id: EventId,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<SlotsPage, StoreError> {
        let before = before.map_or(i64::MAX, BookingId::get);
        let params = || params![event_id.get(), before, i64::from(limit)];
        let slots = self.readers.rows(SLOTS_OF_EVENT, params, slot).await?;
        Ok(SlotsPage::of(slots, limit))
    }
}

#[async_trait]
impl EventWorkQueries for PostgresStore {
    async fn journal_of_booking(&self, id: BookingId) -> Result<Vec<JournalEntry>, StoreError> {
        self.readers.rows(JOURNAL_OF_BOOKING, || params![id.get()], entry).await
    }

    async fn releasing_events(&self, limit: u32) -> Result<Vec<EventId>, StoreError> {
        let params = || params![i64::from(limit)];
        self.readers.rows(RELEASING, params, |row| get(row, 0).map(EventId::new)).await
    }
}
