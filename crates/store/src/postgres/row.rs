//! Columns into values. A row that holds what this program doesn't know is an error, not a panic.

use eventbooker_core::events::Seats;
use eventbooker_core::{Money, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::FromSqlOwned;

use crate::StoreError;

pub(super) fn get<T: FromSqlOwned>(row: &Row, column: usize) -> Result<T, StoreError> {
    Ok(row.try_get(column)?)
}

/// Bytes of which there are always so many.
pub(super) fn array<const LENGTH: usize>(
    row: &Row,
    column: usize,
) -> Result<[u8; LENGTH], StoreError> {
    let bytes: Vec<u8> = get(row, column)?;
    bytes.try_into().map_err(|_| {
        let name = row.columns()[column].name();
        StoreError::Refused(format!("{name} has another length than {LENGTH} bytes"))
    })
}

/// A number that is kept as a `bigint` and is never negative.
pub(super) fn count(row: &Row, column: usize) -> Result<u32, StoreError> {
    let number: i64 = get(row, column)?;
    u32::try_from(number).map_err(|_| {
        let name = row.columns()[column].name();
        StoreError::Refused(format!("{name} is {number}, which is out of range"))
    })
}

pub(super) fn seats(row: &Row, column: usize) -> Result<Seats, StoreError> {
    count(row, column).map(Seats::new)
}

pub(super) fn money(row: &Row, column: usize) -> Result<Money, StoreError> {
    get(row, column).map(Money::from_minor)
}

pub(super) fn instant(row: &Row, column: usize) -> Result<Timestamp, StoreError> {
    get(row, column).map(Timestamp::from_micros)
}

/// What the code in a column stands for.
pub(super) fn known<T>(
    row: &Row,
    column: usize,
    what: &str,
    read: impl FnOnce(i16) -> Option<T>,
) -> Result<T, StoreError> {
    let code: i16 = get(row, column)?;
    read(code).ok_or_else(|| StoreError::Refused(format!("unknown {what} {code}")))
}

/// Whether the server could have kept this text: it keeps none with a NUL in it, and takes none to
/// compare with either.
pub(super) fn can_be_text(text: &str) -> bool {
    !text.contains('\0')
}

/// Every row, or the first error.
pub(super) fn all<T>(
    rows: &[Row],
    read: impl Fn(&Row) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    rows.iter().map(read).collect()
}

/// The row of a query that has one.
pub(super) fn one(rows: &[Row]) -> Result<&Row, StoreError> {
    rows.first()
        .ok_or_else(|| StoreError::Refused("a row is missing that is always there".to_owned()))
}
