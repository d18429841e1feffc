//! Answers that were given to commands with an idempotency key.

use eventbooker_core::{BookingId, UserId};
use tokio_postgres::Row;

use super::row::{array, get, instant};
use super::session::{Flight, column, params};
use crate::{Answer, AnswerKey, Changes, Purge, StoreError};

pub(super) const LOAD: &str = "
    SELECT a.scope, a.key, a.fingerprint, a.answer, a.created_at, a.booking_id
    FROM (SELECT unnest($1::bigint[]) AS scope, unnest($2::text[]) AS key) k
    JOIN answers a ON a.scope = k.scope AND a.key = k.key";
/// All answers behind one, for a snapshot.
pub(super) const ALL: &str = "
    SELECT scope, key, fingerprint, answer, created_at, booking_id FROM answers
    WHERE (scope, key) > ($1, $2) ORDER BY scope, key LIMIT $3";
const ADD: &str = "
    INSERT INTO answers (scope, key, fingerprint, answer, created_at, booking_id)
    SELECT unnest($1::bigint[]), unnest($2::text[]), unnest($3::bytea[]), unnest($4::bytea[]),
           unnest($5::bigint[]), unnest($6::bigint[])";
const COMPLETE: &str =
    "UPDATE answers SET answer = $3, booking_id = NULL WHERE scope = $1 AND key = $2";
const PURGE: &str = "
    DELETE FROM answers WHERE (scope, key) IN
      (SELECT scope, key FROM answers WHERE created_at <= $1 OR created_at > $3
       ORDER BY created_at LIMIT $2)";

/// The statements of a writer.
pub(super) const WRITES: [&str; 4] = [LOAD, ADD, COMPLETE, PURGE];

pub(super) const OLDEST: &str = "SELECT min(created_at) FROM answers";

/// The statements of a reader.
pub(super) const READS: [&str; 2] = [LOAD, OLDEST];

pub(super) fn answer(row: &Row) -> Result<Answer, StoreError> {
    Ok(Answer {
        key: AnswerKey { scope: UserId::new(get(row, 0)?), key: get(row, 1)? },
        fingerprint: array(row, 2)?,
        answer: get(row, 3)?,
        created_at: instant(row, 4)?,
        awaits: get::<Option<i64>>(row, 5)?.map(BookingId::new),
    })
}

pub(super) fn save(flight: &mut Flight<'_>, changes: &Changes) {
    // In one order everywhere, so that two who write the same keys don't wait for each other.
    let mut completed: Vec<_> = changes.answers_completed.iter().collect();
    completed.sort_unstable();
    for (key, answer) in completed {
        flight.ask(COMPLETE, params![key.scope.get(), key.key.clone(), answer.clone()]);
    }
    let mut answers: Vec<&Answer> = changes.answers_added.iter().collect();
    answers.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    if !answers.is_empty() {
        flight.ask(
            ADD,
            params![
                column(&answers, |answer| answer.key.scope.get()),
                column(&answers, |answer| answer.key.key.clone()),
                column(&answers, |answer| answer.fingerprint.to_vec()),
                column(&answers, |answer| answer.answer.clone()),
                column(&answers, |answer| answer.created_at.as_micros()),
                column(&answers, |answer| answer.awaits.map(BookingId::get)),
            ],
        );
    }
}

pub(super) fn purge(flight: &mut Flight<'_>, purge: &Purge) {
    flight.ask(
        PURGE,
        params![
            purge.answers_until.as_micros(),
            i64::from(purge.limit),
            purge.answers_after.as_micros(),
        ],
    );
}
