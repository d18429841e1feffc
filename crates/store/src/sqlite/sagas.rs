//! Sagas with a participant elsewhere: errands, the steps they took, and what our own participants
//! remember for sagas elsewhere.

use eventbooker_core::bookings::errand::{Errand, Promise};
use eventbooker_core::bookings::participant::{Memory, MemoryKey, Remembered};
use eventbooker_core::bookings::saga::Denial;
use eventbooker_core::{BookingId, Contexts, EventId, Timestamp, UserId};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::{Changes, DueErrands, Purge, SagaStep, codes};

const ADD_MEMORY: &str = "
    INSERT INTO memories
      (booking_id, participant, attempt, memory, amount, window_minutes, at, why, had, needed, begun)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
const CHANGE_MEMORY: &str = "
    UPDATE memories SET memory = ?4, amount = ?5, window_minutes = ?6, at = ?7, why = ?8,
                        had = ?9, needed = ?10, begun = ?11
    WHERE booking_id = ?1 AND participant = ?2 AND attempt = ?3";

/// The columns that [`memory`] reads, when it was, and when its booking began.
const MEMORY: &str = "memory, amount, window_minutes, why, had, needed, at, begun";
/// The columns of a [`step`].
const STEP: &str = "booking_id, asked, answered, why, had, needed, at";
const ERRAND: &str = "booking_id, event_id, user_id, token, due_at, tries, trouble, parked,
                      answer_scope, answer_key, act, trace";

fn errand(row: &Row<'_>) -> rusqlite::Result<Errand> {
    Ok(Errand {
        booking_id: BookingId::new(row.get(0)?),
        event_id: EventId::new(row.get(1)?),
        user_id: UserId::new(row.get(2)?),
        token: row.get(3)?,
        due_at: Timestamp::from_micros(row.get(4)?),
        tries: row.get(5)?,
        trouble: row.get(6)?,
        is_parked: row.get(7)?,
        promise: promise(row)?,
        trace: codes::trace(row.get(11)?),
    })
}

fn promise(row: &Row<'_>) -> rusqlite::Result<Option<Promise>> {
    let Some(key) = row.get(9)? else { return Ok(None) };
    let act = super::known(row, 10, "act", codes::act)?;
    Ok(Some(Promise { scope: UserId::new(row.get(8)?), key, act }))
}

fn memory(row: &Row<'_>) -> rusqlite::Result<Memory> {
    let (amount, window, denial) = (row.get(1)?, row.get(2)?, denial(row)?);
    super::known(row, 0, "memory", |code| codes::memory(code, amount, window, denial))
}

/// When a memory's booking began, if that was said.
fn begun(row: &Row<'_>) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(7)?.map(Timestamp::from_micros))
}

/// Why it was a no, if it was one: the fourth column and the two behind it.
fn denial(row: &Row<'_>) -> rusqlite::Result<Option<Denial>> {
    if row.get::<_, Option<i64>>(3)?.is_none() {
        return Ok(None);
    }
    let (had, needed) = (row.get(4)?, row.get(5)?);
    super::known(row, 3, "denial", |code| codes::denial(code, had, needed)).map(Some)
}

fn step(row: &Row<'_>) -> rusqlite::Result<SagaStep> {
    Ok(SagaStep {
        booking_id: BookingId::new(row.get(0)?),
        asked: row.get(1)?,
        answered: row.get(2)?,
        denial: denial(row)?,
        at: Timestamp::from_micros(row.get(6)?),
    })
}

pub(super) fn load(conn: &Connection, bookings: &[BookingId]) -> rusqlite::Result<Vec<Errand>> {
    if bookings.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT {ERRAND} FROM errands WHERE booking_id = ?1");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut errands = Vec::with_capacity(bookings.len());
    for id in bookings {
        errands.extend(statement.query_row([id.get()], errand).optional()?);
    }
    Ok(errands)
}

pub(super) fn load_memories(
    conn: &Connection,
    keys: &[MemoryKey],
) -> rusqlite::Result<Vec<Remembered>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut statement = conn.prepare_cached(&format!(
        "SELECT {MEMORY} FROM memories
         WHERE booking_id = ?1 AND participant = ?2 AND attempt = ?3"
    ))?;
    let mut memories = Vec::with_capacity(keys.len());
    for key in keys {
        let participant = codes::of_participant(key.participant);
        let read = |row: &Row<'_>| {
            let at = Timestamp::from_micros(row.get(6)?);
            Ok(Remembered { key: *key, memory: memory(row)?, at, begun: begun(row)? })
        };
        let found = statement.query_row((key.booking_id.get(), participant, key.attempt), read);
        memories.extend(found.optional()?);
    }
    Ok(memories)
}

pub(super) fn save(conn: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    if !changes.errands_set.is_empty() {
        let mut statement = conn.prepare_cached(&format!(
            "INSERT INTO errands ({ERRAND}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (booking_id) DO UPDATE
             SET token = ?4, due_at = ?5, tries = ?6, trouble = ?7, parked = ?8,
                 answer_scope = ?9, answer_key = ?10, act = ?11, trace = ?12"
        ))?;
        for errand in &changes.errands_set {
            statement.execute((
                errand.booking_id.get(),
                errand.event_id.get(),
                errand.user_id.get(),
                errand.token,
                errand.due_at.as_micros(),
                errand.tries,
                errand.trouble.as_deref(),
                errand.is_parked,
                errand.promise.as_ref().map(|promise| promise.scope.get()),
                errand.promise.as_ref().map(|promise| promise.key.as_str()),
                errand.promise.as_ref().map(|promise| codes::of_act(promise.act)),
                errand.trace.map(|trace| trace.to_string()),
            ))?;
        }
    }
    if !changes.errands_removed.is_empty() {
        let mut statement = conn.prepare_cached("DELETE FROM errands WHERE booking_id = ?1")?;
        for id in &changes.errands_removed {
            statement.execute([id.get()])?;
        }
    }
    if !changes.saga_steps.is_empty() {
        let mut statement = conn.prepare_cached(&format!(
            "INSERT INTO saga_steps ({STEP}) VALUES (?, ?, ?, ?, ?, ?, ?)"
        ))?;
        for step in &changes.saga_steps {
            let (why, had, needed) = codes::of_denial_if_any(step.denial);
            statement.execute((
                step.booking_id.get(),
                &step.asked,
                &step.answered,
                why,
                had,
                needed,
                step.at.as_micros(),
            ))?;
        }
    }
    save_memories(conn, ADD_MEMORY, &changes.memories_added)?;
    save_memories(conn, CHANGE_MEMORY, &changes.memories_changed)
}

fn save_memories(conn: &Connection, sql: &str, memories: &[Remembered]) -> rusqlite::Result<()> {
    if memories.is_empty() {
        return Ok(());
    }
    let mut statement = conn.prepare_cached(sql)?;
    for Remembered { key, memory, at, begun } in memories {
        let (number, amount, window) = codes::of_memory(*memory);
        let (why, had, needed) = codes::of_denial_if_any(memory.denial());
        statement.execute((
            key.booking_id.get(),
            codes::of_participant(key.participant),
            key.attempt,
            number,
            amount,
            window,
            at.as_micros(),
            why,
            had,
            needed,
            begun.map(Timestamp::as_micros),
        ))?;
    }
    Ok(())
}

pub(super) fn purge(conn: &Connection, purge: &Purge) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "DELETE FROM memories WHERE (booking_id, participant, attempt) IN
           (SELECT booking_id, participant, attempt FROM memories WHERE at <= ?1
            ORDER BY at LIMIT ?2)",
    )?
    .execute((purge.memories_until.as_micros(), purge.limit))?;
    Ok(())
}

pub(super) fn oldest_memory(conn: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let oldest: Option<i64> =
        conn.prepare_cached("SELECT min(at) FROM memories")?.query_row([], |row| row.get(0))?;
    Ok(oldest.map(Timestamp::from_micros))
}

pub(super) fn due(conn: &Connection, now: Timestamp, limit: u32) -> rusqlite::Result<DueErrands> {
    let errands = conn
        .prepare_cached(&format!(
            "SELECT {ERRAND} FROM errands WHERE parked = 0 AND due_at <= ?1
             ORDER BY due_at, booking_id LIMIT ?2"
        ))?
        .query_map((now.as_micros(), limit), errand)?
        .collect::<rusqlite::Result<_>>()?;
    let next: Option<i64> = conn
        .prepare_cached("SELECT min(due_at) FROM errands WHERE parked = 0 AND due_at > ?1")?
        .query_row([now.as_micros()], |row| row.get(0))?;
    let open: i64 = conn
        .prepare_cached("SELECT count(*) FROM errands WHERE parked = 0")?
        .query_row([], |row| row.get(0))?;
    let parked: i64 = conn
        .prepare_cached("SELECT count(*) FROM errands WHERE parked = 1")?
        .query_row([], |row| row.get(0))?;
    Ok(DueErrands {
        errands,
        next: next.map(Timestamp::from_micros),
        open: u64::try_from(open).unwrap_or(0),
        parked: u64::try_from(parked).unwrap_or(0),
    })
}

pub(super) fn errands(
    conn: &Connection,
    after: BookingId,
    limit: u32,
) -> rusqlite::Result<Vec<Errand>> {
    conn.prepare_cached(&format!(
        "SELECT {ERRAND} FROM errands WHERE booking_id > ?1 ORDER BY booking_id LIMIT ?2"
    ))?
    .query_map((after.get(), limit), errand)?
    .collect()
}

pub(super) fn steps(conn: &Connection, booking_id: BookingId) -> rusqlite::Result<Vec<SagaStep>> {
    conn.prepare_cached(&format!(
        "SELECT {STEP} FROM saga_steps WHERE booking_id = ?1 ORDER BY number"
    ))?
    .query_map([booking_id.get()], step)?
    .collect()
}

/// Steps behind one, by their bookings and numbers, with the place of the last.
pub(super) fn all_steps(
    conn: &Connection,
    (booking_id, number): (BookingId, i64),
    limit: u32,
) -> rusqlite::Result<(Vec<SagaStep>, (BookingId, i64))> {
    let mut last = (booking_id, number);
    let page = conn
        .prepare_cached(&format!(
            "SELECT {STEP}, number FROM saga_steps
             WHERE (booking_id, number) > (?1, ?2) ORDER BY booking_id, number LIMIT ?3"
        ))?
        .query_map((booking_id.get(), number, limit), |row| {
            let step = step(row)?;
            last = (step.booking_id, row.get(7)?);
            Ok(step)
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok((page, last))
}

/// The participants of these contexts, as a list in a statement.
fn participants_of(contexts: Contexts) -> String {
    let codes = codes::participants_of(contexts);
    codes.iter().map(i16::to_string).collect::<Vec<_>>().join(", ")
}

/// How many memories the participants among these contexts have.
pub(super) fn count_memories(conn: &Connection, contexts: Contexts) -> rusqlite::Result<u64> {
    let participants = participants_of(contexts);
    let sql = format!("SELECT count(*) FROM memories WHERE participant IN ({participants})");
    let count: i64 = conn.query_row(&sql, [], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Forgets everything that they remember.
pub(super) fn remove_memories(conn: &Connection, contexts: Contexts) -> rusqlite::Result<()> {
    let participants = participants_of(contexts);
    conn.execute(&format!("DELETE FROM memories WHERE participant IN ({participants})"), [])?;
    Ok(())
}

/// Memories of the participants among these contexts behind one, in the order of their keys.
pub(super) fn all_memories(
    conn: &Connection,
    contexts: Contexts,
    after: MemoryKey,
    limit: u32,
) -> rusqlite::Result<Vec<Remembered>> {
    let participant = codes::of_participant(after.participant);
    let participants = participants_of(contexts);
    conn.prepare_cached(&format!(
        "SELECT {MEMORY}, participant, booking_id, attempt FROM memories
         WHERE (booking_id, participant, attempt) > (?1, ?2, ?3)
           AND participant IN ({participants})
         ORDER BY booking_id, participant, attempt LIMIT ?4"
    ))?
    .query_map((after.booking_id.get(), participant, after.attempt, limit), |row| {
        let key = MemoryKey {
            participant: super::known(row, 8, "participant", codes::participant)?,
            booking_id: BookingId::new(row.get(9)?),
            attempt: row.get(10)?,
        };
        let at = Timestamp::from_micros(row.get(6)?);
        Ok(Remembered { key, memory: memory(row)?, at, begun: begun(row)? })
    })?
    .collect()
}
