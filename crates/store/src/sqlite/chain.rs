//! Rows of many owners in one table, in the order in which they were written, linked by owner.
//!
//! A batch over a thousand owners would dirty a thousand pages if each owner's rows lay together;
//! so it dirties a few. What is paid for that is paid by readers: an owner's rows are found by
//! walking from one to its predecessor. Most readers ask for the latest rows; for the others every
//! 64th of an owner's rows is indexed, as a milestone to start from.
//!
//! An owner's rows have positions, 1, 2, 3 and so on. No index keeps them unique, so appending does:
//! a row comes right behind its owner's latest.

use std::collections::BTreeMap;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row};

/// The statements that a table of linked rows is read with.
pub(super) struct Chain<T: 'static> {
    /// Whose a row is.
    pub(super) owner: fn(&T) -> i64,
    /// The number and position of the latest row of owner ?1.
    pub(super) latest: &'static str,
    /// The number of the first indexed row of owner ?1 at or behind position ?2.
    pub(super) milestone: &'static str,
    /// Row number ?1; its last column is the number of its predecessor.
    pub(super) row: &'static str,
    /// The first ?2 rows of all owners above number ?1; their last column is their number.
    pub(super) page: &'static str,
    /// Reads a row but for its last column.
    pub(super) read: fn(&Row<'_>) -> rusqlite::Result<T>,
}

/// A row that others come behind.
#[derive(Clone, Copy)]
pub(super) struct Link {
    pub(super) number: i64,
    pub(super) position: i64,
}

impl<T> Chain<T> {
    fn latest(&self, conn: &Connection, owner: i64) -> rusqlite::Result<Option<Link>> {
        conn.prepare_cached(self.latest)?
            .query_row([owner], |row| Ok(Link { number: row.get(0)?, position: row.get(1)? }))
            .optional()
    }

    /// All of an owner's rows, newest first.
    pub(super) fn back_from_latest<'conn>(
        &self,
        conn: &'conn Connection,
        owner: i64,
    ) -> rusqlite::Result<Trail<'conn, T>> {
        let latest = self.latest(conn, owner)?;
        self.back_from_number(conn, latest.map(|link| link.number))
    }

    /// An owner's rows newest first, beginning at a position or soon behind it.
    pub(super) fn back_from_position<'conn>(
        &self,
        conn: &'conn Connection,
        owner: i64,
        position: i64,
    ) -> rusqlite::Result<Trail<'conn, T>> {
        let milestone = conn
            .prepare_cached(self.milestone)?
            .query_row((owner, position), |row| row.get(0))
            .optional()?;
        match milestone {
            Some(number) => self.back_from_number(conn, Some(number)),
            None => self.back_from_latest(conn, owner),
        }
    }

    /// The rows of one owner, beginning with this one.
    pub(super) fn back_from_number<'conn>(
        &self,
        conn: &'conn Connection,
        number: Option<i64>,
    ) -> rusqlite::Result<Trail<'conn, T>> {
        let statement = conn.prepare_cached(self.row)?;
        Ok(Trail { statement, next: number, owner: None, owner_of: self.owner, read: self.read })
    }

    /// Rows of all owners above a number, and the number of the last of them.
    pub(super) fn page(
        &self,
        conn: &Connection,
        after: i64,
        limit: u32,
    ) -> rusqlite::Result<(Vec<T>, i64)> {
        let mut statement = conn.prepare_cached(self.page)?;
        let number = statement.column_count() - 1;
        let mut last = after;
        let read = |row: &Row<'_>| {
            last = row.get(number)?;
            (self.read)(row)
        };
        let rows = statement.query_map((after, limit), read)?.collect::<rusqlite::Result<_>>()?;
        Ok((rows, last))
    }
}

/// One owner's rows, the newest first.
pub(super) struct Trail<'conn, T> {
    statement: CachedStatement<'conn>,
    next: Option<i64>,
    /// Known when the first row has been read.
    owner: Option<i64>,
    owner_of: fn(&T) -> i64,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
}

impl<T> Trail<'_, T> {
    /// The next older row.
    pub(super) fn next(&mut self) -> rusqlite::Result<Option<T>> {
        let Some(number) = self.next else { return Ok(None) };
        let previous = self.statement.column_count() - 1;
        let read = |row: &Row<'_>| Ok(((self.read)(row)?, row.get::<_, Option<i64>>(previous)?));
        let Some((row, previous)) = self.statement.query_row([number], read).optional()? else {
            return Ok(None);
        };
        // Damaged links must lead neither in circles nor to what is somebody else's.
        self.next = previous.filter(|previous| *previous < number);
        let owner = (self.owner_of)(&row);
        Ok((*self.owner.get_or_insert(owner) == owner).then_some(row))
    }
}

/// The ends of the chains that a batch appends to.
pub(super) struct Ends<'chain, T: 'static> {
    chain: &'chain Chain<T>,
    by_owner: BTreeMap<i64, Link>,
}

impl<'chain, T> Ends<'chain, T> {
    pub(super) fn of(chain: &'chain Chain<T>) -> Self {
        Self { chain, by_owner: BTreeMap::new() }
    }

    /// The number of the row that a new one at this position comes behind; a conflict if somebody
    /// has been there already.
    pub(super) fn before(
        &self,
        conn: &Connection,
        owner: i64,
        position: i64,
    ) -> rusqlite::Result<Option<i64>> {
        let end = match self.by_owner.get(&owner) {
            Some(end) => Some(*end),
            None => self.chain.latest(conn, owner)?,
        };
        if end.map_or(0, |end| end.position).checked_add(1) != Some(position) {
            let what = format!("position {position} of owner {owner} isn't the next one");
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CONSTRAINT);
            return Err(rusqlite::Error::SqliteFailure(code, Some(what)));
        }
        Ok(end.map(|end| end.number))
    }

    /// Notes a row that has been appended.
    pub(super) fn append(&mut self, owner: i64, link: Link) {
        self.by_owner.insert(owner, link);
    }

    /// The numbers of the new latest rows, by owner.
    pub(super) fn latest(&self) -> impl Iterator<Item = (i64, i64)> {
        self.by_owner.iter().map(|(owner, link)| (*owner, link.number))
    }
}

/// What is said by queries each of which finds something wrong and puts it as a sentence.
pub(super) fn findings(conn: &Connection, queries: &[&str]) -> rusqlite::Result<Vec<String>> {
    let mut findings = Vec::new();
    for sql in queries {
        let mut statement = conn.prepare(sql)?;
        let rows = statement.query_map([], |row| row.get(0))?;
        findings.extend(rows.collect::<rusqlite::Result<Vec<String>>>()?);
    }
    Ok(findings)
}
