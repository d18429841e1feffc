//! How far this database has come, and what has been seen of other services' databases.

use eventbooker_core::{Context, Contexts};
use tokio_postgres::Row;

use super::row::{array, get};
use super::session::{Flight, params};
use crate::{Changes, LastIds, Loss, Neighbour, StoreError};

/// Rows that a database's number is the sum of.
pub(super) const SLOTS: u64 = 64;

const GO_ON: &str = "UPDATE progress SET number = number + $1 WHERE slot = $2";
const SET_ID: &str = "UPDATE installation SET id = $1";
const SEE: &str = "
    INSERT INTO neighbours AS n
      (service, database, number, heard, found, saw, met_booking, met_event, met_user)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (service) DO UPDATE
    SET number = greatest(n.number, excluded.number),
        heard = CASE WHEN excluded.number >> 40 > n.number >> 40 THEN excluded.heard
                     WHEN excluded.number >> 40 < n.number >> 40 THEN n.heard
                     ELSE greatest(n.heard, excluded.heard) END,
        found = excluded.found,
        saw = coalesce(excluded.saw, n.saw),
        met_booking = coalesce(excluded.met_booking, n.met_booking),
        met_event = coalesce(excluded.met_event, n.met_event),
        met_user = coalesce(excluded.met_user, n.met_user)
    WHERE n.database = excluded.database";
const SET: &str = "
    INSERT INTO neighbours
      (service, database, number, heard, found, saw, met_booking, met_event, met_user)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (service) DO UPDATE
    SET database = $2, number = $3, heard = $4, found = $5, saw = $6, met_booking = $7,
        met_event = $8, met_user = $9";
/// The statements of a writer.
pub(super) const WRITES: [&str; 4] = [GO_ON, SET_ID, SEE, SET];

pub(super) const PROGRESS: &str = "SELECT sum(number)::bigint FROM progress";
pub(super) const ALL: &str = "
    SELECT service, database, number, heard, found, saw, met_booking, met_event, met_user
    FROM neighbours ORDER BY service";
/// The statements of a reader.
pub(super) const READS: [&str; 3] = [PROGRESS, ALL, BOOKINGS_MET];

pub(super) const BOOKINGS_MET: &str = "SELECT max(booking_id) FROM memories";
/// The highest numbers of others' rows that a context's rows name: bookings', events' and users'. What
/// memories are gone about may still have its seats, or its postings.
pub(super) const MET: [(Context, &str); 3] = [
    (Context::Events, "SELECT max(booking_id), NULL::bigint, NULL::bigint FROM slots"),
    (
        Context::Accounts,
        "SELECT (SELECT max(booking_id) FROM postings), NULL::bigint,
                (SELECT max(account_id) FROM accounts)",
    ),
    (
        Context::Bookings,
        "SELECT NULL::bigint, (SELECT max(event_id) FROM bookings),
                (SELECT max(user_id) FROM bookings)",
    ),
];

/// Those of these contexts.
pub(super) fn met_by(contexts: Contexts) -> impl Iterator<Item = &'static str> {
    MET.into_iter().filter(move |(context, _)| contexts.has(*context)).map(|(_, sql)| sql)
}

/// A writer has a row of its own, unless there are very many.
pub(super) fn save(flight: &mut Flight<'_>, changes: &Changes, slot: i64) {
    if changes.progress > 0 {
        flight.ask(GO_ON, params![changes.progress, slot]);
    }
    if let Some(id) = changes.database_id {
        flight.ask(SET_ID, params![id.to_vec()]);
    }
    let seen = changes.neighbours_seen.iter().map(|neighbour| (SEE, neighbour));
    let set = changes.neighbours_set.iter().map(|neighbour| (SET, neighbour));
    for (sql, neighbour) in seen.chain(set) {
        let Neighbour { service, database, number, heard, found, loss } = *neighbour;
        let met = loss.map(|loss| loss.met).unwrap_or_default();
        let LastIds { booking, event, user } = met;
        flight.ask(
            sql,
            params![
                service.name(),
                database.to_vec(),
                number,
                heard,
                found.map(|id| id.to_vec()),
                loss.map(|loss| loss.saw),
                booking,
                event,
                user,
            ],
        );
    }
}

pub(super) fn neighbour(row: &Row) -> Result<Neighbour, StoreError> {
    let service: String = get(row, 0)?;
    let unknown =
        |error: eventbooker_core::contexts::NoContext| StoreError::Refused(error.to_string());
    let saw: Option<i64> = get(row, 5)?;
    let met = LastIds { booking: get(row, 6)?, event: get(row, 7)?, user: get(row, 8)? };
    let found: Option<Vec<u8>> = get(row, 4)?;
    Ok(Neighbour {
        service: service.parse().map_err(unknown)?,
        database: array(row, 1)?,
        number: get(row, 2)?,
        heard: get(row, 3)?,
        found: if found.is_some() { Some(array(row, 4)?) } else { None },
        loss: saw.map(|saw| Loss { saw, met }),
    })
}
