//! A neighbour's rows, as if they were here. What can't be seen for now is a store that is away.

use async_trait::async_trait;
use eventbooker_core::accounts::{Account, Posting};
use eventbooker_core::bookings::Booking;
use eventbooker_core::events::{Event, JournalEntry};
use eventbooker_core::identity::Person;
use eventbooker_core::{BookingId, EventId, UserId};
use eventbooker_engine::{BookingsNeighbour, Freed, IdentityNeighbour, NoAnswer};
use eventbooker_store::{
    AccountQueries, BookingQueries, BookingRoute, EventQueries, EventsPage, SlotsPage, StoreError,
};
use hyper_util::client::legacy::connect::Connect;

use super::{Client, LOOK_WITHIN, STEPS_WITHIN, Tries, clipped, trouble};
use crate::wire::ITEMS_MAX;
use crate::wire::looks::{LOOKS_MAX, Look, Seen, SlotsShape};
use crate::wire::notices::{NoticeItem, NoticeResult};

impl<C: Connect + Clone + Send + Sync + 'static> Client<C> {
    /// Looks at the neighbour's rows: what there is to see, or why nothing is, in their order.
    pub async fn look(&self, looks: &[Look]) -> Vec<Result<Seen, NoAnswer>> {
        let mut seen = Vec::with_capacity(looks.len());
        for together in looks.chunks(LOOKS_MAX) {
            seen.extend(self.batch("look", together, LOOK_WITHIN, Tries::Two).await);
        }
        seen.into_iter()
            .map(|seen| {
                let seen = seen?;
                if let Seen::Trouble(why) = seen { Err(trouble(why)) } else { Ok(seen) }
            })
            .collect()
    }

    async fn see(&self, look: Look) -> Result<Seen, StoreError> {
        let seen = self.look(&[look]).await.pop();
        let seen = seen.unwrap_or_else(|| Err(NoAnswer::silence("nothing was said")));
        seen.map_err(|error| StoreError::Away(error.to_string()))
    }
}

/// What was looked for, among all that can be seen.
macro_rules! seen {
    ($seen:expr, $kind:ident) => {{
        let seen = $seen?;
        if let Seen::$kind(rows) = seen {
            Ok(rows)
        } else {
            let shown = clipped(&format!("{seen:?}"));
            Err(StoreError::Away(format!("something else was shown: {shown}")))
        }
    }};
}

fn rows<S, T: From<S>>(shapes: Vec<S>) -> Vec<T> {
    shapes.into_iter().map(T::from).collect()
}

#[async_trait]
impl<C: Connect + Clone + Send + Sync + 'static> IdentityNeighbour for Client<C> {
    async fn people(&self, ids: Vec<UserId>) -> Result<Vec<Person>, StoreError> {
        let ids = ids.into_iter().map(UserId::get).collect();
        seen!(self.see(Look::People { ids }).await, People).map(rows)
    }

    async fn person_by_login(&self, login: String) -> Result<Option<Person>, StoreError> {
        let people = seen!(self.see(Look::PersonByLogin { login }).await, People)?;
        Ok(people.into_iter().next().map(Person::from))
    }
}

#[async_trait]
impl<C: Connect + Clone + Send + Sync + 'static> EventQueries for Client<C> {
    async fn event(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        let events = seen!(self.see(Look::Event { id: id.get() }).await, Events)?;
        Ok(events.into_iter().next().map(Event::from))
    }

    async fn events(&self, page: EventsPage) -> Result<Vec<Event>, StoreError> {
        seen!(self.see(Look::events(page)).await, Events).map(rows)
    }

    async fn events_with(&self, ids: Vec<EventId>) -> Result<Vec<Event>, StoreError> {
        let ids = ids.into_iter().map(EventId::get).collect();
        seen!(self.see(Look::EventsWith { ids }).await, Events).map(rows)
    }

    async fn journal(
        &self,
        event_id: EventId,
        after_version: i64,
        limit: u32,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        let look = Look::Journal { event: event_id.get(), after: after_version, limit };
        seen!(self.see(look).await, Journal).map(rows)
    }

    async fn slots(
        &self,
        event_id: EventId,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<SlotsPage, StoreError> {
        let before = before.map(BookingId::get);
        let look = Look::Slots { event: event_id.get(), before, limit };
        let SlotsShape { slots, next } = seen!(self.see(look).await, Slots)?;
        Ok(SlotsPage { slots: rows(slots), next: next.map(BookingId::new) })
    }
}

#[async_trait]
impl<C: Connect + Clone + Send + Sync + 'static> AccountQueries for Client<C> {
    async fn account(&self, user_id: UserId) -> Result<Account, StoreError> {
        seen!(self.see(Look::Account { user: user_id.get() }).await, Account).map(Account::from)
    }

    async fn postings(
        &self,
        user_id: UserId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Posting>, StoreError> {
        let look = Look::Postings { user: user_id.get(), before, limit };
        seen!(self.see(look).await, Postings).map(rows)
    }

    async fn postings_for(&self, id: BookingId) -> Result<Vec<Posting>, StoreError> {
        seen!(self.see(Look::PostingsFor { booking: id.get() }).await, Postings).map(rows)
    }
}

#[async_trait]
impl<C: Connect + Clone + Send + Sync + 'static> BookingQueries for Client<C> {
    async fn bookings(&self, ids: Vec<BookingId>) -> Result<Vec<Booking>, StoreError> {
        let ids = ids.into_iter().map(BookingId::get).collect();
        seen!(self.see(Look::Bookings { ids }).await, Bookings).map(rows)
    }

    async fn live_bookings_of_user(
        &self,
        user_id: UserId,
        event_id: Option<EventId>,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<Vec<Booking>, StoreError> {
        let (event, before) = (event_id.map(EventId::get), before.map(BookingId::get));
        let look = Look::LiveBookings { user: user_id.get(), event, before, limit };
        seen!(self.see(look).await, Bookings).map(rows)
    }

    async fn bookings_of_user(
        &self,
        user_id: UserId,
        after: BookingId,
        limit: u32,
    ) -> Result<Vec<Booking>, StoreError> {
        let look = Look::BookingsOfUser { user: user_id.get(), after: after.get(), limit };
        seen!(self.see(look).await, Bookings).map(rows)
    }

    async fn booking_route(&self, id: BookingId) -> Result<BookingRoute, StoreError> {
        let route = seen!(self.see(Look::BookingRoute { id: id.get() }).await, Route);
        route.map(BookingRoute::from)
    }
}

#[async_trait]
impl<C: Connect + Clone + Send + Sync + 'static> BookingsNeighbour for Client<C> {
    async fn release(
        &self,
        event_id: EventId,
        bookings: Vec<BookingId>,
    ) -> Vec<Result<Freed, String>> {
        let mut freed = Vec::with_capacity(bookings.len());
        for together in bookings.chunks(ITEMS_MAX) {
            let notices: Vec<NoticeItem> =
                together.iter().map(|id| NoticeItem::event_cancelled(event_id, *id)).collect();
            let results = self.batch("notices", &notices, STEPS_WITHIN, Tries::One).await;
            freed.extend(results.into_iter().map(|result| {
                let result: NoticeResult = result.map_err(|error| error.to_string())?;
                result.freed().map_err(|why| clipped(&why))
            }));
        }
        freed
    }
}
