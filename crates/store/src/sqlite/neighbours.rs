//! How far this database has come, and what has been seen of other services' databases.

use eventbooker_core::contexts::NoContext;
use eventbooker_core::{Context, Contexts};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row};

use crate::{Changes, LastIds, Loss, Neighbour};

const COLUMNS: &str =
    "service, database, number, heard, found, saw, met_booking, met_event, met_user";

pub(super) fn save(conn: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    if changes.progress > 0 {
        conn.prepare_cached("UPDATE progress SET number = number + ?1")?
            .execute([changes.progress])?;
    }
    if let Some(id) = changes.database_id {
        conn.execute("UPDATE installation SET id = ?1", [id])?;
    }
    for neighbour in &changes.neighbours_seen {
        let seen = format!(
            "INSERT INTO neighbours ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (service) DO UPDATE
             SET number = max(number, excluded.number),
                 heard = CASE WHEN excluded.number >> 40 > number >> 40 THEN excluded.heard
                              WHEN excluded.number >> 40 < number >> 40 THEN heard
                              ELSE max(heard, excluded.heard) END,
                 found = excluded.found,
                 saw = coalesce(excluded.saw, saw),
                 met_booking = coalesce(excluded.met_booking, met_booking),
                 met_event = coalesce(excluded.met_event, met_event),
                 met_user = coalesce(excluded.met_user, met_user)
             WHERE database = excluded.database"
        );
        put(conn, &seen, neighbour)?;
    }
    for neighbour in &changes.neighbours_set {
        let set = format!(
            "INSERT OR REPLACE INTO neighbours ({COLUMNS})
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
        );
        put(conn, &set, neighbour)?;
    }
    Ok(())
}

fn put(conn: &Connection, sql: &str, neighbour: &Neighbour) -> rusqlite::Result<()> {
    let Neighbour { service, database, number, heard, found, loss } = neighbour;
    let met = loss.map(|loss| loss.met).unwrap_or_default();
    conn.prepare_cached(sql)?.execute((
        service.name(),
        database,
        number,
        heard,
        found,
        loss.map(|loss| loss.saw),
        met.booking,
        met.event,
        met.user,
    ))?;
    Ok(())
}

pub(super) fn progress(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("SELECT number FROM progress")?.query_row([], |row| row.get(0))
}

pub(super) fn all(conn: &Connection) -> rusqlite::Result<Vec<Neighbour>> {
    conn.prepare_cached(&format!("SELECT {COLUMNS} FROM neighbours ORDER BY service"))?
        .query_map([], neighbour)?
        .collect()
}

fn neighbour(row: &Row<'_>) -> rusqlite::Result<Neighbour> {
    let name: String = row.get(0)?;
    let service = name.parse().map_err(|error: NoContext| {
        rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error))
    })?;
    let met = LastIds { booking: row.get(6)?, event: row.get(7)?, user: row.get(8)? };
    let saw: Option<i64> = row.get(5)?;
    Ok(Neighbour {
        service,
        database: row.get(1)?,
        number: row.get(2)?,
        heard: row.get(3)?,
        found: row.get(4)?,
        loss: saw.map(|saw| Loss { saw, met }),
    })
}

/// The highest numbers of others' rows that the rows of these contexts name.
pub(super) fn ids_met(conn: &Connection, contexts: Contexts) -> rusqlite::Result<LastIds> {
    let highest = |of: Context, column: &str, table: &str| {
        if !contexts.has(of) {
            return Ok(None);
        }
        let sql = format!("SELECT max({column}) FROM {table}");
        conn.query_row(&sql, [], |row| row.get::<_, Option<i64>>(0)).optional().map(Option::flatten)
    };
    // What memories are gone about may still have its seats, or its postings.
    let mut bookings = None;
    for (of, table) in [
        (Context::Events, "memories"),
        (Context::Accounts, "memories"),
        (Context::Events, "slots"),
        (Context::Accounts, "postings"),
    ] {
        bookings = bookings.max(highest(of, "booking_id", table)?);
    }
    let users = highest(Context::Accounts, "account_id", "accounts")?.max(highest(
        Context::Bookings,
        "user_id",
        "bookings",
    )?);
    let events = highest(Context::Bookings, "event_id", "bookings")?;
    Ok(LastIds { booking: bookings, event: events, user: users })
}
