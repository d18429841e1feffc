//! The stores: load the rows of a batch, save its changes, answer the queries of pages and lists.
//!
//! A lane of the engine has one [`Writer`]. [`Writer::load`] opens a transaction, locks the rows
//! that the batch names and brings them; [`Writer::save`] writes all changes in bulk and returns
//! when they are durable. [`Queries`] never lock and decide nothing.
//!
//! Absent on purpose: business rules, and any `if` on a status. A store doesn't know what a
//! confirmed booking is; it knows where its row lies.

mod batch;
mod codes;
mod error;
mod installation;
pub mod neighbours;
pub mod postgres;
mod queries;
mod search;
mod sections;
pub mod sqlite;

pub use batch::{
    Answer, AnswerKey, Changes, Checker, HoldingsOf, HoldingsOfUser, IdRange, LastCheck, LastIds,
    Loaded, Purge, SagaStep, Wants,
};
pub use error::{OpenError, StoreError};
pub use installation::Installation;
pub use neighbours::{DatabaseId, GENERATION, Loss, Neighbour, generation};
pub use queries::{
    AccountQueries, BookingQueries, BookingRoute, CommonQueries, DueErrands, DueHolds,
    EventQueries, EventWorkQueries, EventsPage, FullSnapshot, IdentityQueries, OldestKept, Queries,
    SagaQueries, SessionUser, SlotsPage, Snapshot, TableCounts,
};

use std::sync::Arc;

use async_trait::async_trait;
use eventbooker_core::{Contexts, Timestamp};

/// How to open a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// As a server; creates and migrates it if need be. An embedded database has one at a time.
    Serve,
    /// Beside a server or without one; creates and migrates it if need be.
    Tool,
    /// Only to look, at one whose schema is current.
    Look,
}

/// What a migration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MigrationReport {
    /// The version before.
    pub from: u32,
    /// The version now.
    pub to: u32,
    /// The contexts whose tables were made.
    pub added: Contexts,
    /// All contexts whose tables are there now.
    pub contexts: Contexts,
}

/// A database, opened for some contexts or for all of them.
///
/// What spans contexts, such as a purge or a snapshot, leaves out those that it wasn't opened for; whatever
/// else is asked about them is refused.
#[async_trait]
pub trait Store: Queries {
    /// The contexts that it was opened for.
    fn contexts(&self) -> Contexts;

    /// A connection of its own for one lane.
    async fn writer(&self) -> Result<Box<dyn Writer>, StoreError>;

    /// A consistent view of every row, for the recount of the invariants and for copies.
    async fn snapshot(&self) -> Result<Box<dyn FullSnapshot>, StoreError>;

    /// Keeps everybody from changing anything for as long as what this brings is there.
    async fn hold_still(&self) -> Result<Box<dyn Send>, StoreError>;

    /// Writes what is pending to its final place and lets go of the database. Every durable change
    /// stays durable if this is never called.
    async fn close(&self);
}

/// A database that rows are copied into. It is nobody else's until all of them are there.
#[async_trait]
pub trait CopyTarget: Send + Sync {
    /// Marks it, empties it of the contexts that are copied, and sees to it that no number is given out
    /// again. Whatever goes wrong from here on, the mark stays until a copy [finishes](Self::finish).
    async fn begin(&self, last_ids: LastIds) -> Result<Arc<dyn Store>, OpenError>;

    /// Whether it holds other contexts, too. Then some of the answers may be there already.
    fn holds_others(&self) -> bool;

    /// Does what can only be done when all rows are there, before anybody looks at them.
    async fn complete(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Takes the mark away: from now on it is a database like any other.
    async fn finish(self: Box<Self>) -> Result<(), StoreError>;
}

/// One lane's connection. Its transactions are serialised against those of every other writer
/// that names the same rows.
#[async_trait]
pub trait Writer: Send {
    /// Waits while a writer of the same lane elsewhere is in the middle of a batch, if it has met one
    /// lately: whoever forms a batch behind that has everything in it that came meanwhile. A booking of a
    /// large batch costs less than one of a small batch.
    ///
    /// It only saves time. Whatever keeps it from waiting, [`Writer::load`] is right without it. Once it
    /// has been called, a load or a release has to follow.
    async fn take_turn(&mut self, _lane: usize, _clock: Timestamp) {}

    /// Opens a transaction, locks what `wants` names and brings it.
    ///
    /// `clock` is this process's time; a store with a clock of its own answers with that instead.
    async fn load(&mut self, wants: &Wants, clock: Timestamp) -> Result<Loaded, StoreError>;

    /// Writes the changes and ends the transaction. They are durable when this returns `Ok`, and
    /// none of them has happened when it returns an error other than
    /// [`StoreError::OutcomeUnknown`].
    async fn save(&mut self, changes: &Changes) -> Result<(), StoreError>;

    /// Ends the transaction without a change, if there is one.
    async fn release(&mut self) -> Result<(), StoreError>;

    /// Gives back what it had taken ahead and not used, such as numbers. What it can't give back is
    /// lost, and nothing depends on it.
    async fn close(&mut self) {}
}

/// Saves changes that depend on no rows, in a transaction of their own.
pub async fn save_alone(
    store: &dyn Store,
    at: Timestamp,
    changes: &Changes,
) -> Result<(), StoreError> {
    let mut writer = store.writer().await?;
    let saved = match writer.load(&Wants::default(), at).await {
        Ok(_) => writer.save(changes).await,
        Err(error) => Err(error),
    };
    writer.close().await;
    saved
}
