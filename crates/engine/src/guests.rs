//! Who has booked: bookings with their owners, for whoever organises events.
//!
//! Bookings and users are put together here, a page at a time: they may lie in different databases.

use std::collections::HashMap;

use eventbooker_core::bookings::{Booking, State};
use eventbooker_core::events::{Slot, SlotState};
use eventbooker_core::identity::Profile;
use eventbooker_core::{BookingId, Context, EventId, UserId};
use eventbooker_store::{BookingRoute, SlotsPage, StoreError};

use crate::{BookingAt, Engine};

/// Pages of slots that are looked through for those that are wanted.
const PAGES_PER_LOOK: u32 = 10;

/// A booking and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// The booking.
    pub at: BookingAt,
    /// Its owner; `None` if there is no such user, or nobody can be asked.
    pub owner: Option<Profile>,
}

/// A page of guests, newest booking first. It may be short and still not be the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestsPage {
    /// The guests.
    pub guests: Vec<Guest>,
    /// The number that the next page follows, if there may be one.
    pub next: Option<BookingId>,
}

/// What became of a booking that somebody looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It has, or is getting, what it is for.
    Live(Guest),
    /// It was cancelled.
    Cancelled(Guest),
    /// It wasn't paid in time, and is gone.
    Expired,
    /// There never was one.
    Never,
}

impl Engine {
    /// An event's guests, or those of them whose seats are in one state.
    pub async fn guests(
        &self,
        event_id: EventId,
        state: Option<SlotState>,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<GuestsPage, StoreError> {
        let SlotsPage { slots, next } = self.slots(event_id, state, before, limit).await?;
        let ids = slots.iter().map(|slot| slot.booking_id).collect();
        let mut bookings = self.bookings().bookings(ids).await?;
        let now = self.now();
        bookings.retain(|booking| booking.is_live(now));
        Ok(GuestsPage { guests: self.with_owners(bookings).await?, next })
    }

    /// Slots newest first, in one state or in any. A page may be short and still not be the last.
    pub(crate) async fn slots(
        &self,
        event_id: EventId,
        state: Option<SlotState>,
        mut before: Option<BookingId>,
        limit: u32,
    ) -> Result<SlotsPage, StoreError> {
        let mut found: Vec<Slot> = Vec::new();
        for _ in 0..PAGES_PER_LOOK {
            let SlotsPage { slots, next } = self.events().slots(event_id, before, limit).await?;
            let wanted = slots.into_iter().filter(|slot| state.is_none_or(|it| it == slot.state));
            let missing = limit as usize - found.len();
            found.extend(wanted.take(missing));
            if found.len() >= limit as usize {
                return Ok(SlotsPage::of(found, limit));
            }
            before = next;
            if before.is_none() {
                break;
            }
        }
        Ok(SlotsPage { slots: found, next: before })
    }

    /// A user's live bookings as a guest, newest first; of one event or of all.
    pub async fn guest(
        &self,
        user_id: UserId,
        event_id: Option<EventId>,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<GuestsPage, StoreError> {
        let page = self.bookings_of_user(user_id, event_id, before, limit).await?;
        let bookings = page.bookings.into_iter().map(|at| at.booking).collect();
        Ok(GuestsPage { guests: self.with_owners(bookings).await?, next: page.next })
    }

    /// What became of a booking.
    pub async fn find_booking(&self, id: BookingId) -> Result<Found, StoreError> {
        let found = self.bookings().bookings(vec![id]).await?.pop();
        let Some(booking) = found else {
            let route = self.bookings().booking_route(id).await?;
            return Ok(if route == BookingRoute::Gone { Found::Expired } else { Found::Never });
        };
        let now = self.now();
        if booking.is_due(now) || booking.state == State::Expiring {
            return Ok(Found::Expired);
        }
        let Some(guest) = self.with_owners(vec![booking]).await?.pop() else {
            return Ok(Found::Never);
        };
        Ok(if booking.is_live(now) { Found::Live(guest) } else { Found::Cancelled(guest) })
    }

    async fn with_owners(&self, bookings: Vec<Booking>) -> Result<Vec<Guest>, StoreError> {
        let mut ids: Vec<UserId> = bookings.iter().map(|booking| booking.user_id).collect();
        ids.sort_unstable();
        ids.dedup();
        // Who it is may not be known; that somebody has booked is.
        let people = self.if_reached(Context::Identity, self.people(ids).await)?;
        let owners: HashMap<UserId, Profile> =
            people.into_iter().flatten().map(|person| (person.id, person.profile)).collect();
        let at = self.now();
        let guest = |booking: Booking| Guest {
            at: BookingAt { booking, at },
            owner: owners.get(&booking.user_id).cloned(),
        };
        Ok(bookings.into_iter().map(guest).collect())
    }
}
