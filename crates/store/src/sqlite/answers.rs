//! Answers that were given to commands with an idempotency key.

use eventbooker_core::{BookingId, Timestamp, UserId};
use rusqlite::{Connection, OptionalExtension};

use crate::{Answer, AnswerKey, Changes, Purge};

pub(super) fn load(conn: &Connection, keys: &[AnswerKey]) -> rusqlite::Result<Vec<Answer>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut statement = conn.prepare_cached(
        "SELECT fingerprint, answer, created_at, booking_id FROM answers
         WHERE scope = ?1 AND key = ?2",
    )?;
    let mut found = Vec::new();
    for key in keys {
        let answer = statement.query_row((key.scope.get(), &key.key), |row| {
            Ok(Answer {
                key: key.clone(),
                fingerprint: row.get(0)?,
                answer: row.get(1)?,
                created_at: Timestamp::from_micros(row.get(2)?),
                awaits: row.get::<_, Option<i64>>(3)?.map(BookingId::new),
            })
        });
        found.extend(answer.optional()?);
    }
    Ok(found)
}

pub(super) fn save(conn: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    for (key, answer) in &changes.answers_completed {
        conn.prepare_cached(
            "UPDATE answers SET answer = ?3, booking_id = NULL WHERE scope = ?1 AND key = ?2",
        )?
        .execute((key.scope.get(), &key.key, answer))?;
    }
    if changes.answers_added.is_empty() {
        return Ok(());
    }
    let mut statement = conn.prepare_cached(
        "INSERT INTO answers (scope, key, fingerprint, answer, created_at, booking_id)
         VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    for answer in &changes.answers_added {
        statement.execute((
            answer.key.scope.get(),
            &answer.key.key,
            answer.fingerprint,
            &answer.answer,
            answer.created_at.as_micros(),
            answer.awaits.map(BookingId::get),
        ))?;
    }
    Ok(())
}

/// Rows are numbered in the order of their instants, so the oldest come first and no index is
/// needed. Only a clock that was ahead breaks this order, and its rows are removed as well.
pub(super) fn purge(conn: &Connection, purge: &Purge) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "DELETE FROM answers WHERE number IN
           (SELECT number FROM (SELECT number, created_at FROM answers ORDER BY number LIMIT ?2)
            WHERE created_at <= ?1 OR created_at > ?3)",
    )?
    .execute((
        purge.answers_until.as_micros(),
        purge.limit,
        purge.answers_after.as_micros(),
    ))?;
    Ok(())
}

pub(super) fn oldest(conn: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    conn.prepare_cached("SELECT created_at FROM answers ORDER BY number LIMIT 1")?
        .query_row([], |row| row.get(0).map(Timestamp::from_micros))
        .optional()
}

/// Answers above a number, with the number of the last.
pub(super) fn all(
    conn: &Connection,
    after: i64,
    limit: u32,
) -> rusqlite::Result<(Vec<Answer>, i64)> {
    let mut last = after;
    let page = conn
        .prepare_cached(
            "SELECT scope, key, fingerprint, answer, created_at, booking_id, number FROM answers
             WHERE number > ?1 ORDER BY number LIMIT ?2",
        )?
        .query_map((after, limit), |row| {
            last = row.get(6)?;
            Ok(Answer {
                key: AnswerKey { scope: UserId::new(row.get(0)?), key: row.get(1)? },
                fingerprint: row.get(2)?,
                answer: row.get(3)?,
                created_at: Timestamp::from_micros(row.get(4)?),
                awaits: row.get::<_, Option<i64>>(5)?.map(BookingId::new),
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok((page, last))
}
