//! Looks at what is here.

use eventbooker_core::{BookingId, Context, EventId, Timestamp, UserId};
use eventbooker_engine::Engine;
use eventbooker_store::{EventsPage, SlotsPage, StoreError};
use futures_util::future::join_all;
use serde_json::value::RawValue;

use crate::wire::looks::{Look, ROWS_MAX, Seen, SlotsShape};
use crate::wire::understand;

/// A look at the rows of one context, unless it is for too many.
pub(super) fn understand_look(of: Context, item: &RawValue) -> Result<Look, String> {
    let look: Look = understand(item)?;
    if look.of() != of {
        return Err(format!("that can be seen at {}", look.of()));
    }
    if look.rows() > ROWS_MAX {
        return Err(format!("a look is for {ROWS_MAX} rows at most"));
    }
    Ok(look)
}

/// What there is to see, in the order of the looks.
pub async fn serve_looks(engine: &Engine, looks: Vec<Look>) -> Vec<Result<Seen, String>> {
    // What is looked for may be what people have told about themselves.
    tracing::debug!(looks = looks.len(), "looked at");
    let seen = join_all(looks.into_iter().map(|look| see(engine, look))).await;
    seen.into_iter().map(|seen| seen.map_err(|error| error.to_string())).collect()
}

async fn see(engine: &Engine, look: Look) -> Result<Seen, StoreError> {
    let (events, accounts, bookings) = (engine.events(), engine.accounts(), engine.bookings());
    let event_ids = |ids: Vec<i64>| ids.into_iter().map(EventId::new).collect();
    Ok(match look {
        Look::People { ids } => {
            let people = engine.people(ids.into_iter().map(UserId::new).collect()).await?;
            Seen::People(shapes(people))
        }
        Look::PersonByLogin { login } => Seen::People(shapes(engine.person_by_login(login).await?)),
        Look::Event { id } => Seen::Events(shapes(events.event(EventId::new(id)).await?)),
        Look::Events { limit, after, not_before, name_contains } => {
            let page = EventsPage {
                limit,
                after: after.map(EventId::new),
                not_before: not_before.map(Timestamp::from_micros),
                name_contains,
            };
            Seen::Events(shapes(events.events(page).await?))
        }
        Look::EventsWith { ids } => Seen::Events(shapes(events.events_with(event_ids(ids)).await?)),
        Look::Journal { event, after, limit } => {
            Seen::Journal(shapes(events.journal(EventId::new(event), after, limit).await?))
        }
        Look::Slots { event, before, limit } => {
            let before = before.map(BookingId::new);
            let page = events.slots(EventId::new(event), before, limit).await?;
            let SlotsPage { slots, next } = page;
            Seen::Slots(SlotsShape { slots: shapes(slots), next: next.map(BookingId::get) })
        }
        Look::Account { user } => Seen::Account(accounts.account(UserId::new(user)).await?.into()),
        Look::Postings { user, before, limit } => {
            Seen::Postings(shapes(accounts.postings(UserId::new(user), before, limit).await?))
        }
        Look::PostingsFor { booking } => {
            Seen::Postings(shapes(accounts.postings_for(BookingId::new(booking)).await?))
        }
        Look::Bookings { ids } => {
            let ids = ids.into_iter().map(BookingId::new).collect();
            Seen::Bookings(shapes(bookings.bookings(ids).await?))
        }
        Look::LiveBookings { user, event, before, limit } => {
            let (event, before) = (event.map(EventId::new), before.map(BookingId::new));
            let live = bookings.live_bookings_of_user(UserId::new(user), event, before, limit);
            Seen::Bookings(shapes(live.await?))
        }
        Look::BookingsOfUser { user, after, limit } => {
            let all = bookings.bookings_of_user(UserId::new(user), BookingId::new(after), limit);
            Seen::Bookings(shapes(all.await?))
        }
        Look::BookingRoute { id } => {
            Seen::Route(bookings.booking_route(BookingId::new(id)).await?.into())
        }
    })
}

fn shapes<T, S: From<T>>(rows: impl IntoIterator<Item = T>) -> Vec<S> {
    rows.into_iter().map(S::from).collect()
}
