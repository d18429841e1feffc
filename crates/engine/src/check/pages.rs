//! Tables of a snapshot, read from their beginnings to their ends.

use eventbooker_core::accounts::{Account, Posting};
use eventbooker_core::bookings::Booking;
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::events::{Event, JournalEntry, Slot};
use eventbooker_store::{Snapshot, StoreError};

use super::Meter;

/// Rows read at once. An event may have a long description, so a page is some megabytes at most.
const PAGE_ROWS: u32 = 1_000;

macro_rules! read_to_the_end {
    ($($table:ident: $row:ty;)*) => {$(
        pub(super) async fn $table(
            snapshot: &mut dyn Snapshot,
            meter: &mut Meter<'_>,
            mut each: impl FnMut($row),
        ) -> Result<(), StoreError> {
            loop {
                let page = snapshot.$table(PAGE_ROWS).await?;
                if page.is_empty() {
                    return Ok(());
                }
                meter.rest().await;
                meter.add(page.len());
                page.into_iter().for_each(&mut each);
            }
        }
    )*};
}

read_to_the_end! {
    events: Event;
    slots: Slot;
    errands: Errand;
    journal: JournalEntry;
    postings: Posting;
    accounts: Account;
    bookings: Booking;
}
