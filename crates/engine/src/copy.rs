//! Copies everything from one store into another, and tells whether two stores hold the same.
//!
//! Rows are read in pages from a snapshot and written by a [`Writer`], as a lane writes them, one
//! transaction for each page. So no place but the stores knows how rows lie in either of them.
//!
//! Two stores are compared by sums: each row adds a hash to its table's sum, in whatever order rows
//! come, under a key that is drawn for each comparison. A difference goes unnoticed once in 2^64 times.
//!
//! Absent on purpose: going on where a copy was interrupted. Between two tries the source may have
//! been served, and nothing in its rows says so for certain; a target is emptied and filled again.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hash, RandomState};

use eventbooker_core::Timestamp;
use eventbooker_core::accounts::{Account, Posting};
use eventbooker_core::events::Event;
use eventbooker_store::{
    Answer, AnswerKey, Changes, FullSnapshot, LastIds, SagaStep, StoreError, Wants, Writer,
};

use crate::check::{Meter, Progress};

/// Rows that are written in one transaction. A description may be long, so that is some megabytes
/// at most.
const PAGE_ROWS: u32 = 1_000;
/// Nothing is decided, so nobody looks at the time.
const NO_TIME: Timestamp = Timestamp::from_micros(0);

/// The table of answers, which belongs to no context alone.
const ANSWERS: &str = "answers";

/// Draws what two [`Contents`] are compared under.
pub type Key = RandomState;

/// The rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sum {
    rows: u64,
    marks: u64,
}

impl Sum {
    fn add(&mut self, key: &Key, row: &impl Hash) {
        self.rows += 1;
        self.marks = self.marks.wrapping_add(key.hash_one(row));
    }
}

/// What a store holds, so that it can be compared with what another one holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    tables: BTreeMap<&'static str, Sum>,
    /// Seats that are held or sold.
    pub seats: u64,
    /// What all accounts hold together, in minor units.
    pub balances_minor: i128,
    last_ids: LastIds,
    /// Whether answers of other contexts' commands may lie beside these in a copy.
    answers_are_mixed: bool,
}

impl Contents {
    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.tables.values().map(|sum| sum.rows).sum()
    }

    /// What differs in a copy, as sentences; nothing if it holds the same.
    pub fn differences(&self, copy: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (table, sum) in &self.tables {
            let copied = copy.tables.get(table).copied().unwrap_or_default();
            if self.answers_are_mixed && *table == ANSWERS {
                continue;
            }
            if sum.rows != copied.rows {
                found.push(format!("{table}: {} rows became {}", sum.rows, copied.rows));
            } else if sum.marks != copied.marks {
                found.push(format!("{table}: as many rows, but not the same"));
            }
        }
        if self.seats != copy.seats {
            found.push(format!("{} occupied seats became {}", self.seats, copy.seats));
        }
        if self.balances_minor != copy.balances_minor {
            let (all, copied) = (self.balances_minor, copy.balances_minor);
            found.push(format!("{all} in all accounts became {copied}"));
        }
        if self.last_ids != copy.last_ids {
            found.push("the numbers that come next differ".to_owned());
        }
        found
    }
}

/// Writes all rows of a snapshot into a store that has none of these contexts, and tells what they were.
/// The numbers that were given out are the target's own business. `beside_others` says whether it has
/// other contexts: an answer that is there already, because it was copied with one of those, stays.
pub async fn copy(
    from: &mut dyn FullSnapshot,
    to: &mut dyn Writer,
    beside_others: bool,
    key: &Key,
    progress: Progress<'_>,
) -> Result<Contents, StoreError> {
    let contents = Contents { answers_are_mixed: beside_others, ..Contents::default() };
    read(from, Some(to), contents, key, progress).await
}

/// Tells what a snapshot's rows are.
pub async fn contents(
    of: &mut dyn FullSnapshot,
    key: &Key,
    progress: Progress<'_>,
) -> Result<Contents, StoreError> {
    read(of, None, Contents::default(), key, progress).await
}

async fn read<'a>(
    from: &mut dyn FullSnapshot,
    to: Option<&'a mut dyn Writer>,
    mut contents: Contents,
    key: &'a Key,
    progress: Progress<'a>,
) -> Result<Contents, StoreError> {
    from.rewind().await?;
    let counted = from.rows().await?;
    contents.last_ids = from.last_ids().await?;
    let mut tables = Tables { to, key, meter: Meter::new(counted, progress), contents };
    tables.read_events(from).await?;
    tables.read_accounts(from).await?;
    tables.read_sagas(from).await?;
    // Last, because for as long as there are no users nobody can do anything there.
    tables.read_users(from).await?;
    let contents = tables.contents;
    if contents.rows() != counted {
        let read = contents.rows();
        return Err(StoreError::Refused(format!("{read} of {counted} rows can be read")));
    }
    Ok(contents)
}

/// Tables that are read from their beginnings to their ends.
struct Tables<'a> {
    to: Option<&'a mut dyn Writer>,
    key: &'a Key,
    meter: Meter<'a>,
    contents: Contents,
}

impl Tables<'_> {
    /// Takes a page of a table, and writes what it is put as. Whether there may be another one.
    async fn take<T: Hash>(
        &mut self,
        table: &'static str,
        page: Vec<T>,
        changes: impl FnOnce(Vec<T>) -> Changes,
    ) -> Result<bool, StoreError> {
        let sum = self.contents.tables.entry(table).or_default();
        for row in &page {
            sum.add(self.key, row);
        }
        let rows = page.len();
        let changes = changes(page);
        if let Some(to) = self.to.as_deref_mut()
            && !changes.is_empty()
        {
            to.load(&Wants::default(), NO_TIME).await?;
            to.save(&changes).await?;
        }
        self.meter.add(rows);
        Ok(rows > 0)
    }

    async fn read_events(&mut self, from: &mut dyn FullSnapshot) -> Result<(), StoreError> {
        let mut seats = 0;
        let mut events = |page: Vec<Event>| {
            seats += page.iter().map(|event| u64::from(event.tally.occupied.get())).sum::<u64>();
            Changes { events_added: page, ..Changes::default() }
        };
        while self.take("events", from.events(PAGE_ROWS).await?, &mut events).await? {}
        self.contents.seats = seats;
        let slots = |page| Changes { slots_added: page, ..Changes::default() };
        while self.take("slots", from.slots(PAGE_ROWS).await?, slots).await? {}
        let journal = |page| Changes { journal: page, ..Changes::default() };
        while self.take("journal", from.journal(PAGE_ROWS).await?, journal).await? {}
        let bookings = |page| Changes { bookings_added: page, ..Changes::default() };
        while self.take("bookings", from.bookings(PAGE_ROWS).await?, bookings).await? {}
        Ok(())
    }

    async fn read_accounts(&mut self, from: &mut dyn FullSnapshot) -> Result<(), StoreError> {
        let postings = |page: Vec<Posting>| {
            let accounts_changed = after(&page);
            Changes { accounts_changed, postings: page, ..Changes::default() }
        };
        while self.take("postings", from.postings(PAGE_ROWS).await?, postings).await? {}
        let mut balances = 0;
        // They have been written with their postings.
        let mut accounts = |page: Vec<Account>| {
            balances += page.iter().map(|it| i128::from(it.balance.as_minor())).sum::<i128>();
            Changes::default()
        };
        while self.take("accounts", from.accounts(PAGE_ROWS).await?, &mut accounts).await? {}
        self.contents.balances_minor = balances;
        Ok(())
    }

    async fn read_sagas(&mut self, from: &mut dyn FullSnapshot) -> Result<(), StoreError> {
        let errands = |page| Changes { errands_set: page, ..Changes::default() };
        while self.take("errands", from.errands(PAGE_ROWS).await?, errands).await? {}
        // Nothing but their order tells steps of one instant apart, so each is taken with its place.
        let mut places = 0_u64..;
        let steps = |page: Vec<(SagaStep, u64)>| {
            let saga_steps = page.into_iter().map(|(step, _)| step).collect();
            Changes { saga_steps, ..Changes::default() }
        };
        loop {
            let page = from.saga_steps(PAGE_ROWS).await?;
            let page = page.into_iter().zip(places.by_ref()).collect();
            if !self.take("saga_steps", page, steps).await? {
                break;
            }
        }
        let memories = |page| Changes { memories_added: page, ..Changes::default() };
        while self.take("memories", from.memories(PAGE_ROWS).await?, memories).await? {}
        loop {
            let page = from.answers(PAGE_ROWS).await?;
            let known = self.known_answers(&page).await?;
            let answers = |mut page: Vec<Answer>| {
                page.retain(|answer| !known.contains(&answer.key));
                Changes { answers_added: page, ..Changes::default() }
            };
            if !self.take(ANSWERS, page, answers).await? {
                return Ok(());
            }
        }
    }

    /// Which of these the target has already, by their keys.
    async fn known_answers(&mut self, page: &[Answer]) -> Result<BTreeSet<AnswerKey>, StoreError> {
        let target = self.to.as_deref_mut().filter(|_| self.contents.answers_are_mixed);
        let Some(to) = target else { return Ok(BTreeSet::new()) };
        let answers = page.iter().map(|answer| answer.key.clone()).collect();
        let found = to.load(&Wants { answers, ..Wants::default() }, NO_TIME).await?.answers;
        to.release().await?;
        Ok(found.into_iter().map(|answer| answer.key).collect())
    }

    async fn read_users(&mut self, from: &mut dyn FullSnapshot) -> Result<(), StoreError> {
        let users = |page| Changes { users_added: page, ..Changes::default() };
        while self.take("users", from.users(PAGE_ROWS).await?, users).await? {}
        let sessions = |page| Changes { sessions_added: page, ..Changes::default() };
        while self.take("sessions", from.sessions(PAGE_ROWS).await?, sessions).await? {}
        Ok(())
    }
}

/// What these postings leave in their accounts. Those to one account are in order.
fn after(postings: &[Posting]) -> Vec<Account> {
    let mut accounts = BTreeMap::new();
    for Posting { user_id, balance, entry, .. } in postings {
        let account = Account { user_id: *user_id, balance: *balance, entries: *entry };
        accounts.insert(*user_id, account);
    }
    accounts.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_knows_rows_and_not_their_order() {
        let key = Key::new();
        let sum = |rows: &[u32]| {
            let mut sum = Sum::default();
            for row in rows {
                sum.add(&key, row);
            }
            sum
        };
        assert_eq!(sum(&[1, 2, 2]), sum(&[2, 1, 2]));
        assert_ne!(sum(&[1, 2, 2]), sum(&[1, 1, 2]));
        assert_ne!(sum(&[1, 2, 2]), sum(&[1, 2]));
    }
}
