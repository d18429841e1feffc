//! Everything that was written about one booking, from each context that is here.

use eventbooker_core::accounts::Posting;
use eventbooker_core::bookings::Booking;
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::events::JournalEntry;
use eventbooker_core::{BookingId, Context};
use eventbooker_store::{SagaStep, Store, StoreError};

/// Everything that was written about one booking. What is kept elsewhere is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookingTrail {
    /// Its row; `None` if it is gone, or never was.
    pub booking: Option<Booking>,
    /// What its event's journal says about it, oldest first. That stays when the row is gone.
    pub journal: Vec<JournalEntry>,
    /// What was posted for it, oldest first.
    pub postings: Vec<Posting>,
    /// What its saga has been answered elsewhere, oldest first.
    pub steps: Vec<SagaStep>,
    /// The errand that its saga waits for.
    pub errand: Option<Errand>,
}

/// Reads a booking's trail. It may read the whole journal: this is for an operator who wants to know what
/// became of one booking, not for pages. Each part is read by itself; who looks at a booking on its way
/// looks again.
pub async fn trail(store: &dyn Store, id: BookingId) -> Result<BookingTrail, StoreError> {
    let here = store.contexts();
    let (mut journal, mut postings) = (Vec::new(), Vec::new());
    if here.has(Context::Events) {
        journal = store.journal_of_booking(id).await?;
    }
    if here.has(Context::Accounts) {
        postings = store.postings_for(id).await?;
    }
    Ok(BookingTrail {
        booking: store.bookings(vec![id]).await?.pop(),
        journal,
        postings,
        steps: store.saga_steps(id).await?,
        errand: store.errand(id).await?,
    })
}
