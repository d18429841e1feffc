//! What the last checks of the invariants came to.

use eventbooker_core::Timestamp;
use rusqlite::{Connection, Row};

use crate::{LastCheck, codes};

pub(super) fn save(conn: &Connection, check: &LastCheck) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO checks (checker, at, rows, findings, first) VALUES (?, ?, ?, ?, ?)",
    )?
    .execute((
        codes::of_checker(check.checker),
        check.at.as_micros(),
        i64::try_from(check.rows).unwrap_or(i64::MAX),
        i64::try_from(check.findings).unwrap_or(i64::MAX),
        &check.first,
    ))?;
    Ok(())
}

pub(super) fn all(conn: &Connection) -> rusqlite::Result<Vec<LastCheck>> {
    conn.prepare_cached("SELECT checker, at, rows, findings, first FROM checks ORDER BY checker")?
        .query_map([], check)?
        .collect()
}

fn check(row: &Row<'_>) -> rusqlite::Result<LastCheck> {
    let count = |place| row.get::<_, i64>(place).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(LastCheck {
        checker: super::known(row, 0, "checker", codes::checker)?,
        at: Timestamp::from_micros(row.get(1)?),
        rows: count(2)?,
        findings: count(3)?,
        first: row.get(4)?,
    })
}
