//! The negative control: a store whose lock between load and save is gone.
//!
//! A test that proves "never oversold" or "never overspent" must fail on a store that loses
//! updates; otherwise it proves nothing. [`LostUpdates`] ends each transaction right after loading
//! and opens a new one for saving, so that two writers can decide on the same rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use eventbooker_core::Timestamp;
use eventbooker_core::accounts::Account;
use eventbooker_store::{Changes, IdRange, Loaded, StoreError, Wants, Writer};
use tokio::sync::Barrier;

use crate::clock::PATIENCE;

/// Takes the lock between load and save from every writer.
///
/// That alone oversells nothing: two writers that decided on the same version of an event write
/// the same keys into its journal, and the second is refused. So a control that is to oversell
/// has to evade the keys too. Accounts are guarded in the same way, by the numbers of their
/// postings; a control that is to overspend writes balances that were decided on what was there
/// before, but numbers their postings as if they were the next ones.
#[derive(Clone)]
pub struct LostUpdates {
    shared: Arc<Shared>,
}

struct Shared {
    /// Where writers wait after their first loads for a booking or of an event to change, until all of
    /// them have loaded.
    meeting: Barrier,
    /// Booking numbers that never collide, if the keys are to be evaded.
    own_numbers: Option<AtomicI64>,
}

impl LostUpdates {
    /// Without the lock, but with the unique keys.
    pub fn without_lock(writers: usize) -> Self {
        Self { shared: Arc::new(Shared { meeting: Barrier::new(writers), own_numbers: None }) }
    }

    /// Without the lock and without the unique keys: nothing is left to notice.
    pub fn without_lock_and_keys(writers: usize) -> Self {
        let own_numbers = Some(AtomicI64::new(1));
        Self { shared: Arc::new(Shared { meeting: Barrier::new(writers), own_numbers }) }
    }

    pub(super) fn between(&self, inner: Box<dyn Writer>) -> Box<dyn Writer> {
        Box::new(LosingWriter { inner, shared: Arc::clone(&self.shared), has_met: false })
    }
}

struct LosingWriter {
    inner: Box<dyn Writer>,
    shared: Arc<Shared>,
    has_met: bool,
}

#[async_trait]
impl Writer for LosingWriter {
    async fn load(&mut self, wants: &Wants, clock: Timestamp) -> Result<Loaded, StoreError> {
        let mut loaded = self.inner.load(wants, clock).await?;
        self.inner.release().await?;
        let is_of_event = !wants.events.is_empty() && wants.bookings.is_empty();
        if wants.new_bookings == 0 && !is_of_event {
            return Ok(loaded);
        }
        let count = i64::from(wants.new_bookings);
        if count > 0
            && let Some(numbers) = &self.shared.own_numbers
        {
            let next = numbers.fetch_add(count, Ordering::SeqCst);
            loaded.booking_ids = IdRange { next, end: next + count };
        }
        if !self.has_met {
            self.has_met = true;
            tokio::time::timeout(PATIENCE, self.shared.meeting.wait())
                .await
                .expect("every writer gets something to decide");
        }
        Ok(loaded)
    }

    async fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        let accounts = changes.accounts_changed.iter().map(|account| account.user_id).collect();
        let wants = Wants { accounts, ..Wants::default() };
        let found = self.inner.load(&wants, Timestamp::from_micros(0)).await?;
        if self.shared.own_numbers.is_none() {
            return self.inner.save(changes).await;
        }
        let mut unnoticed = Changes { journal: Vec::new(), ..changes.clone() };
        number_anew(&mut unnoticed, &found.accounts);
        self.inner.save(&unnoticed).await
    }

    async fn release(&mut self) -> Result<(), StoreError> {
        // The transaction ended when its rows were loaded.
        Ok(())
    }
}

/// Numbers postings as the next ones of the accounts as they are now. The balances that they lead
/// to stay as they were decided.
fn number_anew(changes: &mut Changes, found: &[Account]) {
    for account in &mut changes.accounts_changed {
        let found = found.iter().find(|found| found.user_id == account.user_id);
        account.entries = found.map_or(0, |found| found.entries);
        for posting in changes.postings.iter_mut().filter(|p| p.user_id == account.user_id) {
            account.entries += 1;
            posting.entry = account.entries;
        }
    }
}
