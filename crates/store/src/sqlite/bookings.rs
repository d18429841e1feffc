//! Bookings, and what users hold.

use async_trait::async_trait;
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::bookings::{Booking, Holding, HoldingKind};
use eventbooker_core::events::Seats;
use eventbooker_core::{BookingId, EventId, Money, Timestamp, UserId};
use rusqlite::{Connection, OptionalExtension, Row};

use super::{SqliteStore, sagas};
use crate::{
    BookingQueries, BookingRoute, Changes, DueErrands, DueHolds, HoldingsOf, HoldingsOfUser,
    SagaQueries, SagaStep, StoreError, codes,
};

const COLUMNS: &str =
    "id, event_id, user_id, seats, payment, amount, attempt, state, created_at, expires_at";

fn booking(row: &Row<'_>) -> rusqlite::Result<Booking> {
    Ok(Booking {
        id: BookingId::new(row.get(0)?),
        event_id: EventId::new(row.get(1)?),
        user_id: UserId::new(row.get(2)?),
        seats: Seats::new(row.get(3)?),
        payment: super::known(row, 4, "booking payment", codes::payment)?,
        amount: Money::from_minor(row.get(5)?),
        attempt: row.get(6)?,
        state: super::known(row, 7, "booking state", codes::state)?,
        created_at: Timestamp::from_micros(row.get(8)?),
        expires_at: Timestamp::from_micros(row.get(9)?),
    })
}

pub(super) fn load(
    conn: &Connection,
    keys: &[(EventId, BookingId)],
) -> rusqlite::Result<Vec<Booking>> {
    let ids: Vec<BookingId> = keys.iter().map(|(_, id)| *id).collect();
    by_ids(conn, &ids)
}

pub(super) fn by_ids(conn: &Connection, ids: &[BookingId]) -> rusqlite::Result<Vec<Booking>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut statement =
        conn.prepare_cached(&format!("SELECT {COLUMNS} FROM bookings WHERE id = ?1"))?;
    let mut bookings = Vec::with_capacity(ids.len());
    for id in ids {
        bookings.extend(statement.query_row([id.get()], booking).optional()?);
    }
    Ok(bookings)
}

pub(super) fn load_holdings(
    conn: &Connection,
    wanted: &[HoldingsOf],
    now: Timestamp,
) -> rusqlite::Result<Vec<HoldingsOfUser>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    // A user's rows of one state on one event lie together in the index, newest last.
    let mut statement = conn.prepare_cached(
        "SELECT seats, expires_at FROM bookings
         WHERE user_id = ?1 AND state = ?2 AND event_id = ?3 ORDER BY id DESC LIMIT ?4",
    )?;
    let mut found = Vec::with_capacity(wanted.len());
    for of in wanted {
        let mut holdings = Vec::new();
        let [releasing, refunding] = codes::CANCELLING;
        let [asked, paying] = [codes::OCCUPYING, codes::PAYING];
        let kinds = [codes::OCCUPIED, codes::CANCELLED, asked, paying, releasing, refunding];
        let kinds = if of.on_their_way { &kinds[..] } else { &kinds[..2] };
        for (code, kind) in kinds.iter().filter_map(|code| Some((code, codes::holding(*code)?))) {
            let key = (of.user_id.get(), code, of.event_id.get(), of.limit);
            let mut rows = statement.query(key)?;
            while let Some(row) = rows.next()? {
                let expires_at = Timestamp::from_micros(row.get(1)?);
                if expires_at > now || kind == HoldingKind::Asked {
                    holdings.push(Holding { seats: Seats::new(row.get(0)?), expires_at, kind });
                }
            }
        }
        found.push(HoldingsOfUser { event_id: of.event_id, user_id: of.user_id, holdings });
    }
    Ok(found)
}

pub(super) fn save(conn: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    if !changes.bookings_added.is_empty() {
        let mut statement = conn.prepare_cached(&format!(
            "INSERT INTO bookings ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        ))?;
        for booking in &changes.bookings_added {
            statement.execute((
                booking.id.get(),
                booking.event_id.get(),
                booking.user_id.get(),
                booking.seats.get(),
                codes::of_payment(booking.payment),
                booking.amount.as_minor(),
                booking.attempt,
                codes::of_booking(booking),
                booking.created_at.as_micros(),
                booking.expires_at.as_micros(),
            ))?;
        }
    }
    if !changes.bookings_changed.is_empty() {
        let mut statement = conn.prepare_cached(
            "UPDATE bookings SET amount = ?2, attempt = ?3, state = ?4, expires_at = ?5
             WHERE id = ?1",
        )?;
        for booking in &changes.bookings_changed {
            let Booking { id, amount, attempt, expires_at, .. } = *booking;
            let (amount, state) = (amount.as_minor(), codes::of_booking(booking));
            statement.execute((id.get(), amount, attempt, state, expires_at.as_micros()))?;
        }
    }
    if !changes.bookings_removed.is_empty() {
        let mut statement = conn.prepare_cached("DELETE FROM bookings WHERE id = ?1")?;
        for (_, id) in &changes.bookings_removed {
            statement.execute([id.get()])?;
        }
    }
    Ok(())
}

pub(super) fn live_of_user(
    conn: &Connection,
    user_id: UserId,
    event_id: Option<EventId>,
    before: Option<BookingId>,
    limit: u32,
) -> rusqlite::Result<Vec<Booking>> {
    let states = listed(codes::LIVE);
    let of_event = if event_id.is_some() { "event_id = ?2" } else { "?2 IS NULL" };
    conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM bookings
         WHERE user_id = ?1 AND state IN ({states}) AND {of_event} AND id < ?3
         ORDER BY id DESC LIMIT ?4"
    ))?
    .query_map(
        (user_id.get(), event_id.map(EventId::get), before.map_or(i64::MAX, BookingId::get), limit),
        booking,
    )?
    .collect()
}

pub(super) fn of_user(
    conn: &Connection,
    user_id: UserId,
    after: BookingId,
    limit: u32,
) -> rusqlite::Result<Vec<Booking>> {
    // The index has a user's rows by their states, all of which are wanted.
    let states = listed(codes::states());
    conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM bookings
         WHERE state IN ({states}) AND user_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3"
    ))?
    .query_map((user_id.get(), after.get(), limit), booking)?
    .collect()
}

/// States as a list in a statement.
fn listed(states: impl IntoIterator<Item = i16>) -> String {
    states.into_iter().map(|code| code.to_string()).collect::<Vec<_>>().join(", ")
}

pub(super) fn route(conn: &Connection, id: BookingId) -> rusqlite::Result<BookingRoute> {
    // The counter is read first: a booking made between the two reads is then found or unknown,
    // never taken for one that has ended.
    let last = last_id(conn)?;
    let found = conn
        .prepare_cached("SELECT event_id, user_id FROM bookings WHERE id = ?1")?
        .query_row([id.get()], |row| {
            let (event_id, user_id) = (EventId::new(row.get(0)?), UserId::new(row.get(1)?));
            Ok(BookingRoute::Exists { event_id, user_id })
        })
        .optional()?;
    Ok(match found {
        Some(found) => found,
        None if id.get() >= 1 && id <= last => BookingRoute::Gone,
        None => BookingRoute::Never,
    })
}

pub(super) fn last_id(conn: &Connection) -> rusqlite::Result<BookingId> {
    conn.prepare_cached("SELECT last FROM ids WHERE kind = 'booking'")?
        .query_row([], |row| row.get(0).map(BookingId::new))
}

pub(super) fn due(conn: &Connection, now: Timestamp, limit: u32) -> rusqlite::Result<DueHolds> {
    let due = codes::OCCUPIED;
    let holds = conn
        .prepare_cached(&format!(
            "SELECT event_id, id FROM bookings INDEXED BY bookings_by_deadline
             WHERE state = {due} AND expires_at <= ?1
             ORDER BY expires_at, event_id, id LIMIT ?2"
        ))?
        .query_map((now.as_micros(), limit), |row| {
            Ok((EventId::new(row.get(0)?), BookingId::new(row.get(1)?)))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let next: Option<i64> = conn
        .prepare_cached(&format!(
            "SELECT min(expires_at) FROM bookings INDEXED BY bookings_by_deadline
             WHERE state = {due} AND expires_at > ?1"
        ))?
        .query_row([now.as_micros()], |row| row.get(0))?;
    Ok(DueHolds { holds, next: next.map(Timestamp::from_micros) })
}

pub(super) fn all(
    conn: &Connection,
    after: BookingId,
    limit: u32,
) -> rusqlite::Result<Vec<Booking>> {
    conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM bookings WHERE id > ?1 ORDER BY id LIMIT ?2"
    ))?
    .query_map((after.get(), limit), booking)?
    .collect()
}

#[async_trait]
impl BookingQueries for SqliteStore {
    async fn bookings(&self, ids: Vec<BookingId>) -> Result<Vec<Booking>, StoreError> {
        self.readers.lists.run(move |conn| by_ids(conn, &ids)).await
    }

    async fn live_bookings_of_user(
        &self,
        user_id: UserId,
        event_id: Option<EventId>,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<Vec<Booking>, StoreError> {
        self.readers
            .lists
            .run(move |conn| live_of_user(conn, user_id, event_id, before, limit))
            .await
    }

    async fn bookings_of_user(
        &self,
        user_id: UserId,
        after: BookingId,
        limit: u32,
    ) -> Result<Vec<Booking>, StoreError> {
        self.readers.lists.run(move |conn| of_user(conn, user_id, after, limit)).await
    }

    async fn booking_route(&self, id: BookingId) -> Result<BookingRoute, StoreError> {
        self.readers.rows.run(move |conn| route(conn, id)).await
    }
}

#[async_trait]
impl SagaQueries for SqliteStore {
    async fn due_holds(&self, clock: Timestamp, limit: u32) -> Result<DueHolds, StoreError> {
        self.readers.rows.run(move |conn| due(conn, clock, limit)).await
    }

    async fn due_errands(&self, clock: Timestamp, limit: u32) -> Result<DueErrands, StoreError> {
        self.readers.rows.run(move |conn| sagas::due(conn, clock, limit)).await
    }

    async fn errands(&self, after: BookingId, limit: u32) -> Result<Vec<Errand>, StoreError> {
        self.readers.lists.run(move |conn| sagas::errands(conn, after, limit)).await
    }

    async fn saga_steps(&self, booking_id: BookingId) -> Result<Vec<SagaStep>, StoreError> {
        self.readers.lists.run(move |conn| sagas::steps(conn, booking_id)).await
    }

    async fn errand(&self, booking_id: BookingId) -> Result<Option<Errand>, StoreError> {
        self.readers.rows.run(move |conn| Ok(sagas::load(conn, &[booking_id])?.pop())).await
    }
}
