//! Every row as it was at one instant: one long transaction that only reads.

use async_trait::async_trait;
use eventbooker_core::accounts::{Account, Posting};
use eventbooker_core::bookings::Booking;
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::bookings::participant::Remembered;
use eventbooker_core::events::{Event, JournalEntry, Slot};
use eventbooker_core::identity::User;
use eventbooker_core::{BookingId, Context, Contexts};
use tokio_postgres::Row;

use super::config::Connector;
use super::row::{all, get};
use super::session::{Params, Session, params};
use super::{accounts, answers, bookings, events, identity, if_here, sagas};
use crate::{Answer, FullSnapshot, LastIds, SagaStep, Snapshot, StoreError, TableCounts, codes};

const COUNT_USERS: &str = "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM sessions)";
const COUNT_EVENTS: &str = "
    SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM slots),
           (SELECT count(*) FROM journal)";
const COUNT_ACCOUNTS: &str =
    "SELECT (SELECT count(*) FROM accounts), (SELECT count(*) FROM postings)";
const COUNT_BOOKINGS: &str = "
    SELECT (SELECT count(*) FROM bookings), (SELECT count(*) FROM errands),
           (SELECT count(*) FROM saga_steps)";
const COUNT_ANSWERS: &str = "SELECT count(*) FROM answers";
const LAST_IDS: &str = "
    SELECT (SELECT last FROM ids WHERE kind = 'booking'),
           (SELECT last FROM ids WHERE kind = 'event'),
           (SELECT last FROM ids WHERE kind = 'user')";

const COMMON: [&str; 6] = [
    LAST_IDS,
    bookings::LAST_ID,
    sagas::COUNT_MEMORIES,
    sagas::ALL_MEMORIES,
    COUNT_ANSWERS,
    answers::ALL,
];
const IDENTITY: [&str; 3] = [COUNT_USERS, identity::PAGE, identity::ALL_SESSIONS];
const EVENTS: [&str; 4] = [COUNT_EVENTS, events::ALL, events::ALL_SLOTS, events::ALL_ENTRIES];
const ACCOUNTS: [&str; 3] = [COUNT_ACCOUNTS, accounts::ALL, accounts::ALL_POSTINGS];
const BOOKINGS: [&str; 4] = [COUNT_BOOKINGS, bookings::ALL, sagas::PAGE, sagas::ALL_STEPS];

/// Before every key.
const NOTHING: (i64, i64) = (i64::MIN, i64::MIN);

pub(super) struct PostgresSnapshot {
    session: Session,
    contexts: Contexts,
    read: Read,
}

/// The key of the last row of each table that was read.
struct Read {
    event: i64,
    slot: (i64, i64),
    entry: (i64, i64),
    account: i64,
    posting: (i64, i64),
    booking: (i64, i64),
    errand: i64,
    saga_step: (i64, i64),
    memory: (i64, i16, i64),
    user: i64,
    session: Vec<u8>,
    answer: (i64, String),
}

impl Default for Read {
    fn default() -> Self {
        Self {
            event: i64::MIN,
            slot: NOTHING,
            entry: NOTHING,
            account: i64::MIN,
            posting: NOTHING,
            booking: NOTHING,
            errand: i64::MIN,
            saga_step: NOTHING,
            memory: (i64::MIN, i16::MIN, i64::MIN),
            user: i64::MIN,
            session: Vec::new(),
            answer: (i64::MIN, String::new()),
        }
    }
}

impl PostgresSnapshot {
    pub(super) async fn begin(
        connector: &Connector,
        contexts: Contexts,
    ) -> Result<Self, StoreError> {
        let statements = COMMON
            .into_iter()
            .chain(if_here(contexts, Context::Identity, IDENTITY))
            .chain(if_here(contexts, Context::Events, EVENTS))
            .chain(if_here(contexts, Context::Accounts, ACCOUNTS))
            .chain(if_here(contexts, Context::Bookings, BOOKINGS));
        let session = Session::open(connector, statements).await?;
        // Whoever recounts rests between pages, for longer than a writer may; but as long as it stands,
        // the server can clean up nothing. The view is fixed by the first read, not by BEGIN.
        let begin = "SET idle_in_transaction_session_timeout = '5min';
                     BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
                     SELECT last FROM ids";
        session.client().batch_execute(begin).await?;
        Ok(Self { session, contexts, read: Read::default() })
    }

    /// A statement of a context that isn't here brings no rows.
    async fn rows_of(&self, sql: &'static str, params: Params) -> Result<Vec<Row>, StoreError> {
        if !self.session.has_prepared(sql) {
            return Ok(Vec::new());
        }
        let mut flight = self.session.flight();
        let ticket = flight.ask(sql, params);
        Ok(flight.land().await?.take(ticket))
    }

    /// What a statement counts, column by column.
    async fn counts_of<const N: usize>(
        &self,
        sql: &'static str,
        params: Params,
    ) -> Result<[u64; N], StoreError> {
        let mut counts = [0; N];
        if let Some(row) = self.rows_of(sql, params).await?.first() {
            for (column, count) in counts.iter_mut().enumerate() {
                *count = u64::try_from(get::<i64>(row, column)?).unwrap_or(0);
            }
        }
        Ok(counts)
    }
}

#[async_trait]
impl Snapshot for PostgresSnapshot {
    /// While it is open, no version of a row can go that was written since.
    fn slows_writers(&self) -> bool {
        true
    }

    async fn counts(&mut self) -> Result<TableCounts, StoreError> {
        let [events, slots, journal] = self.counts_of(COUNT_EVENTS, params![]).await?;
        let [accounts, postings] = self.counts_of(COUNT_ACCOUNTS, params![]).await?;
        let [bookings, errands, _steps] = self.counts_of(COUNT_BOOKINGS, params![]).await?;
        Ok(TableCounts { events, slots, journal, accounts, postings, bookings, errands })
    }

    /// The server looks after its own files.
    async fn integrity(&mut self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn last_booking_id(&mut self) -> Result<BookingId, StoreError> {
        let rows = self.rows_of(bookings::LAST_ID, params![]).await?;
        rows.first().map_or(Ok(0), |row| get(row, 0)).map(BookingId::new)
    }

    async fn rewind(&mut self) -> Result<(), StoreError> {
        self.read = Read::default();
        Ok(())
    }

    async fn events(&mut self, limit: u32) -> Result<Vec<Event>, StoreError> {
        let rows = self.rows_of(events::ALL, params![self.read.event, i64::from(limit)]).await?;
        let page = all(&rows, events::event)?;
        self.read.event = page.last().map_or(self.read.event, |event| event.id.get());
        Ok(page)
    }

    async fn slots(&mut self, limit: u32) -> Result<Vec<Slot>, StoreError> {
        let after = params![self.read.slot.0, self.read.slot.1, i64::from(limit)];
        let page = all(&self.rows_of(events::ALL_SLOTS, after).await?, events::slot)?;
        let key = |slot: &Slot| (slot.event_id.get(), slot.booking_id.get());
        self.read.slot = page.last().map_or(self.read.slot, key);
        Ok(page)
    }

    async fn journal(&mut self, limit: u32) -> Result<Vec<JournalEntry>, StoreError> {
        let after = params![self.read.entry.0, self.read.entry.1, i64::from(limit)];
        let page = all(&self.rows_of(events::ALL_ENTRIES, after).await?, events::entry)?;
        let key = |entry: &JournalEntry| (entry.event_id.get(), entry.version);
        self.read.entry = page.last().map_or(self.read.entry, key);
        Ok(page)
    }

    async fn accounts(&mut self, limit: u32) -> Result<Vec<Account>, StoreError> {
        let rows =
            self.rows_of(accounts::ALL, params![self.read.account, i64::from(limit)]).await?;
        let page = all(&rows, accounts::account)?;
        self.read.account = page.last().map_or(self.read.account, |account| account.user_id.get());
        Ok(page)
    }

    async fn postings(&mut self, limit: u32) -> Result<Vec<Posting>, StoreError> {
        let after = params![self.read.posting.0, self.read.posting.1, i64::from(limit)];
        let page = all(&self.rows_of(accounts::ALL_POSTINGS, after).await?, accounts::posting)?;
        let key = |posting: &Posting| (posting.user_id.get(), posting.entry);
        self.read.posting = page.last().map_or(self.read.posting, key);
        Ok(page)
    }

    async fn bookings(&mut self, limit: u32) -> Result<Vec<Booking>, StoreError> {
        let after = params![self.read.booking.0, self.read.booking.1, i64::from(limit)];
        let page = all(&self.rows_of(bookings::ALL, after).await?, bookings::booking)?;
        let key = |booking: &Booking| (booking.id.get(), booking.event_id.get());
        self.read.booking = page.last().map_or(self.read.booking, key);
        Ok(page)
    }

    async fn errands(&mut self, limit: u32) -> Result<Vec<Errand>, StoreError> {
        let rows = self.rows_of(sagas::PAGE, params![self.read.errand, i64::from(limit)]).await?;
        let page = all(&rows, sagas::errand)?;
        self.read.errand = page.last().map_or(self.read.errand, |errand| errand.booking_id.get());
        Ok(page)
    }
}

#[async_trait]
impl FullSnapshot for PostgresSnapshot {
    async fn rows(&mut self) -> Result<u64, StoreError> {
        let [users, sessions] = self.counts_of(COUNT_USERS, params![]).await?;
        let [_bookings, _errands, steps] = self.counts_of(COUNT_BOOKINGS, params![]).await?;
        let participants = params![codes::participants_of(self.contexts)];
        let [memories] = self.counts_of(sagas::COUNT_MEMORIES, participants).await?;
        let [answers] = self.counts_of(COUNT_ANSWERS, params![]).await?;
        Ok(self.counts().await?.all() + users + sessions + steps + memories + answers)
    }

    async fn last_ids(&mut self) -> Result<LastIds, StoreError> {
        let rows = self.rows_of(LAST_IDS, params![]).await?;
        let Some(row) = rows.first() else { return Ok(LastIds::default()) };
        let all = LastIds { booking: get(row, 0)?, event: get(row, 1)?, user: get(row, 2)? };
        Ok(all.of(self.contexts))
    }

    async fn users(&mut self, limit: u32) -> Result<Vec<User>, StoreError> {
        let rows = self.rows_of(identity::PAGE, params![self.read.user, i64::from(limit)]).await?;
        let page = all(&rows, identity::user)?;
        self.read.user = page.last().map_or(self.read.user, |user| user.id.get());
        Ok(page)
    }

    async fn sessions(
        &mut self,
        limit: u32,
    ) -> Result<Vec<eventbooker_core::identity::Session>, StoreError> {
        let after = params![self.read.session.clone(), i64::from(limit)];
        let rows = self.rows_of(identity::ALL_SESSIONS, after).await?;
        let page = all(&rows, identity::session_alone)?;
        if let Some(session) = page.last() {
            self.read.session = session.token_digest.to_vec();
        }
        Ok(page)
    }

    async fn answers(&mut self, limit: u32) -> Result<Vec<Answer>, StoreError> {
        let (scope, key) = self.read.answer.clone();
        let rows = self.rows_of(answers::ALL, params![scope, key, i64::from(limit)]).await?;
        let page = all(&rows, answers::answer)?;
        if let Some(Answer { key, .. }) = page.last() {
            self.read.answer = (key.scope.get(), key.key.clone());
        }
        Ok(page)
    }

    async fn saga_steps(&mut self, limit: u32) -> Result<Vec<SagaStep>, StoreError> {
        let after = params![self.read.saga_step.0, self.read.saga_step.1, i64::from(limit)];
        let rows = self.rows_of(sagas::ALL_STEPS, after).await?;
        if let Some(row) = rows.last() {
            self.read.saga_step = (get(row, 0)?, get(row, 7)?);
        }
        all(&rows, sagas::step)
    }

    async fn memories(&mut self, limit: u32) -> Result<Vec<Remembered>, StoreError> {
        let (booking, participant, attempt) = self.read.memory;
        let participants = codes::participants_of(self.contexts);
        let after = params![booking, participant, attempt, i64::from(limit), participants];
        let page = all(&self.rows_of(sagas::ALL_MEMORIES, after).await?, sagas::remembered)?;
        let key = |Remembered { key, .. }: &Remembered| {
            let participant = codes::of_participant(key.participant);
            (key.booking_id.get(), participant, i64::from(key.attempt))
        };
        self.read.memory = page.last().map_or(self.read.memory, key);
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use eventbooker_testkit::postgres::Schema;

    use super::*;
    use crate::Access;
    use crate::postgres::{Clock, PostgresStore};

    #[tokio::test]
    async fn one_that_is_forgotten_ends() {
        let schema = Schema::new();
        let url = Connector::parse(schema.url(), None).expect("the URL is right");
        drop(PostgresStore::open(url.clone(), Access::Tool, Clock::Given, 1).await);
        let snapshot = PostgresSnapshot::begin(&url, Contexts::ALL).await.expect("it begins");
        let timeout = "SHOW idle_in_transaction_session_timeout";
        let row = snapshot.session.client().query_one(timeout, &[]).await.expect("it answers");
        assert_eq!(row.get::<_, String>(0), "5min");
    }
}
