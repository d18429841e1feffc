//! What was sold, added up from the rows of a database that nobody serves.
//!
//! A purchase that comes to nothing is answered with a 200 too, and the load sees of an answer only
//! its status. Its booking, though, stays as a row that says so.

use eventbooker_core::accounts::{Posting, PostingKind};
use eventbooker_core::bookings::{Booking, State};
use eventbooker_store::{Access, FullSnapshot};

use crate::Fallible;
use crate::database::Database;

/// Rows read at once.
const PAGE_ROWS: u32 = 10_000;

/// How many bookings there are.
pub(crate) async fn count_bookings(database: &Database) -> Fallible<u64> {
    let mut snapshot = snapshot(database).await?;
    let counts = snapshot.counts().await.map_err(|error| error.to_string())?;
    Ok(counts.bookings)
}

/// Bookings, and what was paid for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sales {
    bookings: u64,
    complete: u64,
    /// Seats of complete bookings.
    seats: u64,
    /// All charges, less what was paid back.
    charged_minor: i128,
}

impl Sales {
    /// Adds them up from the database with the bookings and the one with the accounts.
    pub(crate) async fn add_up(bookings: &Database, accounts: &Database) -> Fallible<Self> {
        let mut sales = Self::default();
        let mut snapshot_of_bookings = snapshot(bookings).await?;
        loop {
            let page = snapshot_of_bookings.bookings(PAGE_ROWS).await;
            let page = page.map_err(|error| error.to_string())?;
            if page.is_empty() {
                break;
            }
            for booking in &page {
                sales.add_booking(booking);
            }
        }
        let mut snapshot_of_accounts = snapshot(accounts).await?;
        loop {
            let page = snapshot_of_accounts.postings(PAGE_ROWS).await;
            let page = page.map_err(|error| error.to_string())?;
            if page.is_empty() {
                return Ok(sales);
            }
            for posting in &page {
                sales.add_posting(posting);
            }
        }
    }

    fn add_booking(&mut self, booking: &Booking) {
        self.bookings += 1;
        if booking.state == State::Complete {
            self.complete += 1;
            self.seats += u64::from(booking.seats.get());
        }
    }

    fn add_posting(&mut self, posting: &Posting) {
        let amount = i128::from(posting.amount.as_minor());
        self.charged_minor += match posting.kind {
            PostingKind::Deposit => 0,
            PostingKind::Charge => amount,
            PostingKind::Refund => -amount,
        };
    }

    /// Whether every booking is complete.
    pub(crate) fn are_complete(self) -> bool {
        self.complete == self.bookings
    }

    /// Fails unless every booking is complete and paid, and there were seats for all of them.
    pub(crate) fn verify(self, capacity: u32, price_minor: i64) -> Fallible<()> {
        let Self { bookings, complete, seats, charged_minor } = self;
        if complete != bookings {
            return Err(format!("only {complete} of {bookings} bookings are complete"));
        }
        if seats > u64::from(capacity) {
            return Err(format!("{seats} of {capacity} seats were sold"));
        }
        if charged_minor != i128::from(seats) * i128::from(price_minor) {
            return Err(format!(
                "{seats} seats at {price_minor} were sold, but {charged_minor} was charged"
            ));
        }
        Ok(())
    }
}

async fn snapshot(database: &Database) -> Fallible<Box<dyn FullSnapshot>> {
    let store = database.open(Access::Look).await?;
    store.snapshot().await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sales_count_only_if_all_are_complete_and_paid_and_had_seats() {
        let sales = Sales { bookings: 3, complete: 3, seats: 3, charged_minor: 120 };
        assert_eq!(sales.verify(3, 40), Ok(()));
        assert!(sales.verify(2, 40).is_err(), "oversold");
        assert!(sales.verify(3, 41).is_err(), "paid too little");
        assert!(sales.verify(3, 39).is_err(), "paid too much");
        assert!(Sales { bookings: 4, ..sales }.verify(4, 40).is_err(), "one in vain");
    }
}
