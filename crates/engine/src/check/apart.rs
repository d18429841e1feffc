//! Rows that lie apart: contexts in databases of their own, looked at together.
//!
//! Each database has a snapshot of its own, and the services go on between one and the next. So what
//! two of them say about a booking may differ because it has moved, and nothing is wrong. What is
//! wrong is told from what has moved by a second look. Of two things that hold for every booking, the
//! first is what sagas are made of, and the second is the order in which this looks:
//!
//! 1. A booking's row never becomes again what it was: its state only goes forward, but for a charge
//!    that was refused, and that leaves a higher attempt behind; a row that is gone stays gone. Others'
//!    rows about a booking change only by steps that its row asks for, or has asked for before it was
//!    cancelled; and when it is at rest none of them can still be taken (invariants 8 and 9).
//! 2. The snapshot with the bookings is the oldest, and the second look comes after all snapshots.
//!
//! A booking whose row is the same in both has therefore stood still while the others were made. If it
//! was at rest, so was all that is told about it; if it was on its way, the rules leave open what it
//! waits for. What disagrees with such a row is wrong. A booking that is in neither, and of which money
//! is kept, is wrong, too: the row of a booking that was charged is never removed. One of which seats
//! are kept may have come and gone in between. Then they were given back before it went, for good; so a
//! third look tells, at the slots, after the second.
//!
//! All others have moved, and are counted. What is wrong with one of them is found when it rests.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use eventbooker_core::accounts::{Account, Posting};
use eventbooker_core::bookings::Booking;
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::events::{Event, JournalEntry, Slot};
use eventbooker_core::{BookingId, Context, Contexts, EventId};
use eventbooker_store::{Snapshot, Store, StoreError, TableCounts};

use super::{Meter, Progress, Report, Rule, pages, recount};

/// Bookings that are looked up at once.
const BOOKINGS_AT_ONCE: usize = 1_000;

/// Rows as they are by now, past all snapshots.
#[async_trait]
pub trait SecondLook: Send + Sync {
    /// The bookings with these numbers that exist.
    async fn bookings(&self, ids: Vec<BookingId>) -> Result<Vec<Booking>, StoreError>;
    /// A new snapshot of the database with the events.
    async fn events(&self) -> Result<Box<dyn Snapshot>, StoreError>;
}

/// Snapshots of one database or of several, as if they were one. A table is read from the one that its
/// context was given for, and is empty if there is none.
pub struct Together<'a> {
    parts: Vec<(Contexts, &'a mut (dyn Snapshot + 'a))>,
    again: Option<&'a dyn SecondLook>,
}

impl<'a> Together<'a> {
    /// The rows of these contexts in one database, which may hold others.
    pub fn in_one(contexts: Contexts, snapshot: &'a mut (dyn Snapshot + 'a)) -> Self {
        Self { parts: vec![(contexts, snapshot)], again: None }
    }

    /// The rows of several databases, each with the contexts that are looked at there. The one with
    /// the bookings has to be the oldest.
    pub fn apart(
        parts: Vec<(Contexts, &'a mut (dyn Snapshot + 'a))>,
        again: &'a dyn SecondLook,
    ) -> Self {
        Self { parts, again: Some(again) }
    }

    /// The contexts that are looked at.
    pub fn contexts(&self) -> Contexts {
        self.parts.iter().fold(Contexts::NONE, |all, (contexts, _)| all.and(*contexts))
    }

    fn part(&mut self, context: Context) -> Option<&mut (dyn Snapshot + 'a)> {
        let mut parts = self.parts.iter_mut();
        parts.find(|(contexts, _)| contexts.has(context)).map(|(_, snapshot)| &mut **snapshot)
    }

    /// Leaves out disagreements about bookings that have moved.
    pub(super) async fn without_moved(
        &self,
        disagreements: Vec<Disagreement>,
    ) -> Result<Vec<Disagreement>, StoreError> {
        let Some(again) = self.again else { return Ok(disagreements) };
        let mut unmoved = Vec::new();
        for some in disagreements.chunks(BOOKINGS_AT_ONCE) {
            let rows = again.bookings(some.iter().map(|about| about.id).collect()).await?;
            unmoved.extend(some.iter().filter(|about| about.stands_in(&rows)).cloned());
        }
        let mut in_question: HashSet<_> =
            unmoved.iter().filter_map(Disagreement::slot_alone).collect();
        if in_question.is_empty() {
            return Ok(unmoved);
        }
        let (mut slots, mut unseen) = (again.events().await?, |_, _| {});
        pages::slots(&mut *slots, &mut Meter::new(0, &mut unseen), |slot| {
            in_question.remove(&(slot.event_id, slot.booking_id));
        })
        .await?;
        let given_back = in_question;
        unmoved.retain(|about| about.slot_alone().is_none_or(|slot| !given_back.contains(&slot)));
        Ok(unmoved)
    }
}

/// What contexts tell differently about a booking.
#[derive(Clone)]
pub(super) struct Disagreement {
    pub(super) id: BookingId,
    pub(super) booking: Option<Booking>,
    pub(super) slot: Option<Slot>,
    pub(super) findings: Vec<(Rule, String)>,
}

impl Disagreement {
    /// Whether the booking's row is what it was, which may be none.
    fn stands_in(&self, rows: &[Booking]) -> bool {
        let mut of_this = rows.iter().filter(|row| row.id == self.id).peekable();
        match &self.booking {
            Some(booking) => of_this.any(|row| row == booking),
            None => of_this.peek().is_none(),
        }
    }

    /// The slot that is kept for it, if it has no row.
    fn slot_alone(&self) -> Option<(EventId, BookingId)> {
        let slot = self.slot.filter(|_| self.booking.is_none())?;
        Some((slot.event_id, slot.booking_id))
    }
}

#[async_trait]
impl Snapshot for Together<'_> {
    fn slows_writers(&self) -> bool {
        self.parts.iter().any(|(_, snapshot)| snapshot.slows_writers())
    }

    async fn counts(&mut self) -> Result<TableCounts, StoreError> {
        let mut all = TableCounts::default();
        for (contexts, snapshot) in &mut self.parts {
            let counts = snapshot.counts().await?;
            if contexts.has(Context::Events) {
                let TableCounts { events, slots, journal, .. } = counts;
                all = TableCounts { events, slots, journal, ..all };
            }
            if contexts.has(Context::Accounts) {
                let TableCounts { accounts, postings, .. } = counts;
                all = TableCounts { accounts, postings, ..all };
            }
            if contexts.has(Context::Bookings) {
                let TableCounts { bookings, errands, .. } = counts;
                all = TableCounts { bookings, errands, ..all };
            }
        }
        Ok(all)
    }

    async fn integrity(&mut self) -> Result<Vec<String>, StoreError> {
        let are_several = self.parts.len() > 1;
        let mut all = Vec::new();
        for (contexts, snapshot) in &mut self.parts {
            let found = snapshot.integrity().await?.into_iter();
            let told = |what| if are_several { format!("{contexts}: {what}") } else { what };
            all.extend(found.map(told));
        }
        Ok(all)
    }

    async fn last_booking_id(&mut self) -> Result<BookingId, StoreError> {
        match self.part(Context::Bookings) {
            Some(part) => part.last_booking_id().await,
            None => Ok(BookingId::new(0)),
        }
    }

    async fn rewind(&mut self) -> Result<(), StoreError> {
        for (_, snapshot) in &mut self.parts {
            snapshot.rewind().await?;
        }
        Ok(())
    }

    async fn events(&mut self, limit: u32) -> Result<Vec<Event>, StoreError> {
        match self.part(Context::Events) {
            Some(part) => part.events(limit).await,
            None => Ok(Vec::new()),
        }
    }

    async fn slots(&mut self, limit: u32) -> Result<Vec<Slot>, StoreError> {
        match self.part(Context::Events) {
            Some(part) => part.slots(limit).await,
            None => Ok(Vec::new()),
        }
    }

    async fn journal(&mut self, limit: u32) -> Result<Vec<JournalEntry>, StoreError> {
        match self.part(Context::Events) {
            Some(part) => part.journal(limit).await,
            None => Ok(Vec::new()),
        }
    }

    async fn accounts(&mut self, limit: u32) -> Result<Vec<Account>, StoreError> {
        match self.part(Context::Accounts) {
            Some(part) => part.accounts(limit).await,
            None => Ok(Vec::new()),
        }
    }

    async fn postings(&mut self, limit: u32) -> Result<Vec<Posting>, StoreError> {
        match self.part(Context::Accounts) {
            Some(part) => part.postings(limit).await,
            None => Ok(Vec::new()),
        }
    }

    async fn bookings(&mut self, limit: u32) -> Result<Vec<Booking>, StoreError> {
        match self.part(Context::Bookings) {
            Some(part) => part.bookings(limit).await,
            None => Ok(Vec::new()),
        }
    }

    async fn errands(&mut self, limit: u32) -> Result<Vec<Errand>, StoreError> {
        match self.part(Context::Bookings) {
            Some(part) => part.errands(limit).await,
            None => Ok(Vec::new()),
        }
    }
}

/// Databases, each with the contexts that are looked at there. No context is in two of them.
pub struct Databases(Vec<(Contexts, Arc<dyn Store>)>);

impl Databases {
    /// These.
    pub fn of(mut databases: Vec<(Contexts, Arc<dyn Store>)>) -> Self {
        // The snapshot of the bookings has to be the oldest.
        databases.sort_by_key(|(contexts, _)| !contexts.has(Context::Bookings));
        Self(databases)
    }

    /// Recounts every invariant of what is in them, and lets each look at its own files.
    pub async fn recount(&self, progress: Progress<'_>) -> Result<Report, StoreError> {
        let mut snapshots = Vec::new();
        for (contexts, store) in &self.0 {
            snapshots.push((*contexts, store.snapshot().await?));
        }
        let mut parts: Vec<(Contexts, &mut dyn Snapshot)> = Vec::new();
        for (contexts, snapshot) in &mut snapshots {
            parts.push((*contexts, &mut **snapshot));
        }
        let again = (parts.len() > 1).then_some(self as &dyn SecondLook);
        recount(&mut Together { parts, again }, progress).await
    }

    /// Whoever looks again at rows of a context has found some.
    fn with(&self, context: Context) -> Result<&dyn Store, StoreError> {
        let found = self.0.iter().find(|(contexts, _)| contexts.has(context));
        let none = || StoreError::Away(format!("no database was given for {context}"));
        found.map(|(_, store)| &**store).ok_or_else(none)
    }
}

#[async_trait]
impl SecondLook for Databases {
    async fn bookings(&self, ids: Vec<BookingId>) -> Result<Vec<Booking>, StoreError> {
        self.with(Context::Bookings)?.bookings(ids).await
    }

    async fn events(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(self.with(Context::Events)?.snapshot().await?)
    }
}
