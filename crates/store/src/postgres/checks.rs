//! What the last checks of the invariants came to.

use tokio_postgres::Row;

use super::row::{get, instant, known};
use super::session::{Flight, params};
use crate::{LastCheck, StoreError, codes};

const SET: &str = "
    INSERT INTO checks (checker, at, rows, findings, first) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (checker) DO UPDATE SET at = $2, rows = $3, findings = $4, first = $5";
/// The statements of a writer.
pub(super) const WRITES: [&str; 1] = [SET];

pub(super) const ALL: &str =
    "SELECT checker, at, rows, findings, first FROM checks ORDER BY checker";
/// The statements of a reader.
pub(super) const READS: [&str; 1] = [ALL];

pub(super) fn save(flight: &mut Flight<'_>, check: &LastCheck) {
    flight.ask(
        SET,
        params![
            codes::of_checker(check.checker),
            check.at.as_micros(),
            i64::try_from(check.rows).unwrap_or(i64::MAX),
            i64::try_from(check.findings).unwrap_or(i64::MAX),
            check.first.clone(),
        ],
    );
}

pub(super) fn check(row: &Row) -> Result<LastCheck, StoreError> {
    let count = |place| get::<i64>(row, place).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(LastCheck {
        checker: known(row, 0, "checker", codes::checker)?,
        at: instant(row, 1)?,
        rows: count(2)?,
        findings: count(3)?,
        first: get(row, 4)?,
    })
}
