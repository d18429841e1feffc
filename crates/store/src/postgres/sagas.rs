//! Sagas with a participant elsewhere: errands, the steps they took, and what our own participants
//! remember for sagas elsewhere.

use eventbooker_core::bookings::errand::{Errand, Promise};
use eventbooker_core::bookings::participant::{MemoryKey, Remembered};
use eventbooker_core::bookings::saga::Denial;
use eventbooker_core::{BookingId, EventId, Timestamp, UserId};
use tokio_postgres::Row;

use super::row::{count, get, instant, known};
use super::session::{Flight, column, params};
use crate::{Changes, Purge, SagaStep, StoreError, codes};

pub(super) const LOCK: &str = "
    SELECT booking_id, event_id, user_id, token, due_at, tries, trouble, parked,
           answer_scope, answer_key, act, trace
    FROM errands WHERE booking_id = ANY($1::bigint[]) ORDER BY booking_id FOR UPDATE";
pub(super) const LOAD_MEMORIES: &str = "
    SELECT m.memory, m.amount, m.window_minutes, m.why, m.had, m.needed, m.at, m.participant,
           m.booking_id, m.attempt, m.begun
    FROM (SELECT unnest($1::bigint[]) AS booking_id, unnest($2::smallint[]) AS participant,
                 unnest($3::bigint[]) AS attempt) k
    JOIN memories m ON m.booking_id = k.booking_id AND m.participant = k.participant
      AND m.attempt = k.attempt";
const SET: &str = "
    INSERT INTO errands (booking_id, event_id, user_id, token, due_at, tries, trouble, parked,
                         answer_scope, answer_key, act, trace)
    SELECT unnest($1::bigint[]), unnest($2::bigint[]), unnest($3::bigint[]), unnest($4::bigint[]),
           unnest($5::bigint[]), unnest($6::bigint[]), unnest($7::text[]), unnest($8::boolean[]),
           unnest($9::bigint[]), unnest($10::text[]), unnest($11::smallint[]),
           unnest($12::text[])
    ON CONFLICT (booking_id) DO UPDATE
    SET token = excluded.token, due_at = excluded.due_at, tries = excluded.tries,
        trouble = excluded.trouble, parked = excluded.parked,
        answer_scope = excluded.answer_scope, answer_key = excluded.answer_key, act = excluded.act,
        trace = excluded.trace";
const REMOVE: &str = "DELETE FROM errands WHERE booking_id = ANY($1::bigint[])";
const ADD_STEPS: &str = "
    INSERT INTO saga_steps (booking_id, asked, answered, why, had, needed, at)
    SELECT booking_id, asked, answered, why, had, needed, at
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::smallint[], $5::bigint[], $6::bigint[],
                $7::bigint[])
         WITH ORDINALITY k (booking_id, asked, answered, why, had, needed, at, place)
    ORDER BY place";
/// Refused if somebody else has remembered the step: where there is no row that could be locked, two
/// may decide it at the same time.
const ADD_MEMORY: &str = "
    INSERT INTO memories
      (booking_id, participant, attempt, memory, amount, window_minutes, at, why, had, needed, begun)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
const CHANGE_MEMORY: &str = "
    UPDATE memories SET memory = $4, amount = $5, window_minutes = $6, at = $7, why = $8, had = $9,
                        needed = $10, begun = $11
    WHERE booking_id = $1 AND participant = $2 AND attempt = $3";

const PURGE: &str = "
    DELETE FROM memories WHERE (booking_id, participant, attempt) IN
      (SELECT booking_id, participant, attempt FROM memories WHERE at <= $1 ORDER BY at LIMIT $2)";

/// The statements of a writer.
pub(super) const WRITES: [&str; 4] = [LOCK, SET, REMOVE, ADD_STEPS];

/// And those for what participants remember, wherever bookings are.
pub(super) const MEMORY_WRITES: [&str; 4] = [LOAD_MEMORIES, ADD_MEMORY, CHANGE_MEMORY, PURGE];

pub(super) const OLDEST_MEMORY: &str = "SELECT min(at) FROM memories";

pub(super) const DUE: &str = "
    SELECT booking_id, event_id, user_id, token, due_at, tries, trouble, parked,
           answer_scope, answer_key, act, trace
    FROM errands
    WHERE NOT parked AND due_at <= $1 ORDER BY due_at, booking_id LIMIT $2";
pub(super) const NEXT_DUE: &str =
    "SELECT min(due_at) FROM errands WHERE NOT parked AND due_at > $1";
pub(super) const OPEN: &str = "SELECT count(*) FROM errands WHERE NOT parked";
pub(super) const PARKED: &str = "SELECT count(*) FROM errands WHERE parked";
pub(super) const PAGE: &str = "
    SELECT booking_id, event_id, user_id, token, due_at, tries, trouble, parked,
           answer_scope, answer_key, act, trace
    FROM errands
    WHERE booking_id > $1 ORDER BY booking_id LIMIT $2";
pub(super) const STEPS: &str = "
    SELECT booking_id, asked, answered, why, had, needed, at FROM saga_steps
    WHERE booking_id = $1 ORDER BY number";
pub(super) const OF_BOOKING: &str = "
    SELECT booking_id, event_id, user_id, token, due_at, tries, trouble, parked,
           answer_scope, answer_key, act, trace
    FROM errands
    WHERE booking_id = $1";
/// All steps behind one, for a snapshot.
pub(super) const ALL_STEPS: &str = "
    SELECT booking_id, asked, answered, why, had, needed, at, number FROM saga_steps
    WHERE (booking_id, number) > ($1, $2) ORDER BY booking_id, number LIMIT $3";
pub(super) const COUNT_MEMORIES: &str =
    "SELECT count(*) FROM memories WHERE participant = ANY($1::smallint[])";
/// All memories of some participants behind one, for a snapshot.
pub(super) const ALL_MEMORIES: &str = "
    SELECT memory, amount, window_minutes, why, had, needed, at, participant, booking_id, attempt,
           begun
    FROM memories
    WHERE (booking_id, participant, attempt) > ($1, $2, $3) AND participant = ANY($5::smallint[])
    ORDER BY booking_id, participant, attempt LIMIT $4";

/// The statements of a reader.
pub(super) const READS: [&str; 7] = [DUE, NEXT_DUE, OPEN, PARKED, PAGE, STEPS, OF_BOOKING];

pub(super) fn errand(row: &Row) -> Result<Errand, StoreError> {
    Ok(Errand {
        booking_id: BookingId::new(get(row, 0)?),
        event_id: EventId::new(get(row, 1)?),
        user_id: UserId::new(get(row, 2)?),
        token: get(row, 3)?,
        due_at: instant(row, 4)?,
        tries: count(row, 5)?,
        trouble: get(row, 6)?,
        is_parked: get(row, 7)?,
        promise: promise(row)?,
        trace: codes::trace(get(row, 11)?),
    })
}

fn promise(row: &Row) -> Result<Option<Promise>, StoreError> {
    let Some(key) = get(row, 9)? else { return Ok(None) };
    let act = known(row, 10, "act", codes::act)?;
    Ok(Some(Promise { scope: UserId::new(get(row, 8)?), key, act }))
}

pub(super) fn remembered(row: &Row) -> Result<Remembered, StoreError> {
    let amount = get(row, 1)?;
    let window = get::<Option<i64>>(row, 2)?.and_then(|minutes| u32::try_from(minutes).ok());
    let key = MemoryKey {
        participant: known(row, 7, "participant", codes::participant)?,
        booking_id: BookingId::new(get(row, 8)?),
        attempt: count(row, 9)?,
    };
    let denial = denial(row)?;
    let memory = known(row, 0, "memory", |code| codes::memory(code, amount, window, denial))?;
    let begun = get::<Option<i64>>(row, 10)?.map(Timestamp::from_micros);
    Ok(Remembered { key, memory, at: instant(row, 6)?, begun })
}

/// Why it was a no, if it was one: the fourth column and the two behind it.
fn denial(row: &Row) -> Result<Option<Denial>, StoreError> {
    if get::<Option<i16>>(row, 3)?.is_none() {
        return Ok(None);
    }
    let (had, needed) = (get(row, 4)?, get(row, 5)?);
    known(row, 3, "denial", |code| codes::denial(code, had, needed)).map(Some)
}

pub(super) fn step(row: &Row) -> Result<SagaStep, StoreError> {
    Ok(SagaStep {
        booking_id: BookingId::new(get(row, 0)?),
        asked: get(row, 1)?,
        answered: get(row, 2)?,
        denial: denial(row)?,
        at: instant(row, 6)?,
    })
}

pub(super) fn save(flight: &mut Flight<'_>, changes: &Changes) {
    let Changes { errands_set: set, errands_removed, saga_steps: steps, .. } = changes;
    if !set.is_empty() {
        flight.ask(
            SET,
            params![
                column(set, |errand| errand.booking_id.get()),
                column(set, |errand| errand.event_id.get()),
                column(set, |errand| errand.user_id.get()),
                column(set, |errand| errand.token),
                column(set, |errand| errand.due_at.as_micros()),
                column(set, |errand| i64::from(errand.tries)),
                column(set, |errand| errand.trouble.clone()),
                column(set, |errand| errand.is_parked),
                column(set, |errand| errand.promise.as_ref().map(|promise| promise.scope.get())),
                column(set, |errand| errand.promise.as_ref().map(|promise| promise.key.clone())),
                column(set, |errand| {
                    errand.promise.as_ref().map(|promise| codes::of_act(promise.act))
                }),
                column(set, |errand| errand.trace.map(|trace| trace.to_string())),
            ],
        );
    }
    if !errands_removed.is_empty() {
        flight.ask(REMOVE, params![column(errands_removed, |booking| booking.get())]);
    }
    if !steps.is_empty() {
        let denials: Vec<_> =
            steps.iter().map(|step| codes::of_denial_if_any(step.denial)).collect();
        flight.ask(
            ADD_STEPS,
            params![
                column(steps, |step| step.booking_id.get()),
                column(steps, |step| step.asked.clone()),
                column(steps, |step| step.answered.clone()),
                column(&denials, |(why, ..)| *why),
                column(&denials, |(_, had, _)| *had),
                column(&denials, |(.., needed)| *needed),
                column(steps, |step| step.at.as_micros()),
            ],
        );
    }
    let added = changes.memories_added.iter().map(|memory| (ADD_MEMORY, memory));
    let changed = changes.memories_changed.iter().map(|memory| (CHANGE_MEMORY, memory));
    for (sql, Remembered { key, memory, at, begun }) in added.chain(changed) {
        let (code, amount, window) = codes::of_memory(*memory);
        let (why, had, needed) = codes::of_denial_if_any(memory.denial());
        flight.ask(
            sql,
            params![
                key.booking_id.get(),
                codes::of_participant(key.participant),
                i64::from(key.attempt),
                code,
                amount,
                window.map(i64::from),
                at.as_micros(),
                why,
                had,
                needed,
                begun.map(Timestamp::as_micros),
            ],
        );
    }
}

pub(super) fn purge(flight: &mut Flight<'_>, purge: &Purge) {
    flight.ask(PURGE, params![purge.memories_until.as_micros(), i64::from(purge.limit)]);
}
