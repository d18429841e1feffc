//! Bookings, and what users hold.

use eventbooker_core::bookings::{Booking, Holding, Payment, State};
use eventbooker_core::events::Seats;
use eventbooker_core::{BookingId, EventId, Money, Timestamp, UserId};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::{BookingRoute, Changes, DueHolds, HoldingsOf, HoldingsOfUser};

const COLUMNS: &str =
    "id, event_id, user_id, seats, payment, amount, attempt, state, created_at, expires_at";

fn state_number(state: State) -> i64 {
    match state {
        State::Occupying => 1,
        State::Occupied => 2,
        State::Paying => 3,
        State::Complete => 4,
        State::Completing => 5,
        State::Cancelled => -1,
        State::Releasing => -2,
        State::Refunding => -3,
        State::Expiring => -4,
    }
}

/// The number of a cancelled booking that never kept anything from anybody: refused, or without a
/// window. A user may have any number of them, and they don't count as holdings, so they lie apart
/// from those that do.
const ENDED_AT_ONCE: i64 = -5;

fn state_number_of(booking: &Booking) -> i64 {
    let ended_at_once =
        booking.state == State::Cancelled && booking.expires_at <= booking.created_at;
    if ended_at_once { ENDED_AT_ONCE } else { state_number(booking.state) }
}

fn payment_number(payment: Payment) -> i64 {
    match payment {
        Payment::Later => 0,
        Payment::AtOnce => 1,
    }
}

fn booking(row: &Row<'_>) -> rusqlite::Result<Booking> {
    let unknown = |column, what, number: i64| {
        super::unknown(column, Type::Integer, &format!("booking {what} {number}"))
    };
    let number = row.get(7)?;
    let state = match number {
        ENDED_AT_ONCE => Some(State::Cancelled),
        number => State::ALL.into_iter().find(|state| state_number(*state) == number),
    };
    let payment = match row.get(4)? {
        0 => Payment::Later,
        1 => Payment::AtOnce,
        other => return Err(unknown(4, "payment", other)),
    };
    Ok(Booking {
        id: BookingId::new(row.get(0)?),
        event_id: EventId::new(row.get(1)?),
        user_id: UserId::new(row.get(2)?),
        seats: Seats::new(row.get(3)?),
        payment,
        amount: Money::from_minor(row.get(5)?),
        attempt: row.get(6)?,
        state: state.ok_or_else(|| unknown(7, "state", number))?,
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
        for state in [State::Occupied, State::Cancelled] {
            let key = (of.user_id.get(), state_number(state), of.event_id.get(), of.limit);
            let mut rows = statement.query(key)?;
            while let Some(row) = rows.next()? {
                let expires_at = Timestamp::from_micros(row.get(1)?);
                if expires_at > now {
                    let seats = Seats::new(row.get(0)?);
                    let is_cancelled = state == State::Cancelled;
                    holdings.push(Holding { seats, expires_at, is_cancelled });
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
                payment_number(booking.payment),
                booking.amount.as_minor(),
                booking.attempt,
                state_number_of(booking),
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
            let (amount, state) = (amount.as_minor(), state_number_of(booking));
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
    let live = [State::Occupied, State::Paying, State::Completing, State::Complete];
    let states = live.map(|state| state_number(state).to_string()).join(", ");
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
    conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM bookings WHERE user_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3"
    ))?
    .query_map((user_id.get(), after.get(), limit), booking)?
    .collect()
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
    let due = state_number(State::Occupied);
    let holds = conn
        .prepare_cached(&format!(
            "SELECT event_id, id FROM bookings WHERE state = {due} AND expires_at <= ?1
             ORDER BY expires_at, event_id, id LIMIT ?2"
        ))?
        .query_map((now.as_micros(), limit), |row| {
            Ok((EventId::new(row.get(0)?), BookingId::new(row.get(1)?)))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let next: Option<i64> = conn
        .prepare_cached(&format!(
            "SELECT min(expires_at) FROM bookings WHERE state = {due} AND expires_at > ?1"
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
