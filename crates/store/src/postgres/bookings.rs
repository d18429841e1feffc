//! Bookings, and what users hold.

use std::collections::BTreeMap;

use async_trait::async_trait;
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::bookings::{Booking, Holding, HoldingKind};
use eventbooker_core::{BookingId, EventId, Timestamp, UserId};
use tokio_postgres::Row;

use super::readers::earliest;
use super::row::{all, count, get, instant, known, money, seats};
use super::session::{Flight, column, params};
use super::{PostgresStore, sagas};
use crate::{
    BookingQueries, BookingRoute, Changes, CommonQueries, DueErrands, DueHolds, HoldingsOf,
    HoldingsOfUser, SagaQueries, SagaStep, StoreError, codes,
};

/// Reads and locks bookings whose event isn't locked; one statement for each event.
pub(super) const LOCK: &str = "
    SELECT id, event_id, user_id, seats, payment, amount, attempt, state, created_at, expires_at
    FROM bookings WHERE event_id = $1 AND id = ANY($2::bigint[]) ORDER BY id FOR UPDATE";
/// Reads bookings whose events are locked: whoever changes one has locked its event.
pub(super) const LOAD: &str = "
    SELECT b.id, b.event_id, b.user_id, b.seats, b.payment, b.amount, b.attempt, b.state,
           b.created_at, b.expires_at
    FROM (SELECT unnest($1::bigint[]) AS event_id, unnest($2::bigint[]) AS id) k
    JOIN bookings b ON b.event_id = k.event_id AND b.id = k.id";
/// What users hold on events, or have cancelled, as far as it ends after an instant, and what is on its
/// way if that is wanted. Each state by itself: the index is then read where they are, and not through
/// all that a user has paid for.
pub(super) const LOAD_HOLDINGS: &str = "
    SELECT b.event_id, b.user_id, b.id, b.seats, b.expires_at, b.state
    FROM (SELECT unnest($1::bigint[]) AS event_id, unnest($2::bigint[]) AS user_id) k
    JOIN bookings b ON b.user_id = k.user_id AND b.event_id = k.event_id
    WHERE b.state = 2 AND b.expires_at > $3
    UNION ALL
    SELECT b.event_id, b.user_id, b.id, b.seats, b.expires_at, b.state
    FROM (SELECT unnest($1::bigint[]) AS event_id, unnest($2::bigint[]) AS user_id) k
    JOIN bookings b ON b.user_id = k.user_id AND b.event_id = k.event_id
    WHERE b.state = -1 AND b.expires_at > $3
    UNION ALL
    SELECT b.event_id, b.user_id, b.id, b.seats, b.expires_at, b.state
    FROM (SELECT unnest($1::bigint[]) AS event_id, unnest($2::bigint[]) AS user_id) k
    JOIN bookings b ON b.user_id = k.user_id AND b.event_id = k.event_id
    WHERE $4 AND b.state IN (1, 3, -2, -3)";
const ADD: &str = "
    INSERT INTO bookings (id, event_id, user_id, seats, payment, amount, attempt, state,
                          created_at, expires_at)
    SELECT unnest($1::bigint[]), unnest($2::bigint[]), unnest($3::bigint[]), unnest($4::bigint[]),
           unnest($5::smallint[]), unnest($6::bigint[]), unnest($7::bigint[]),
           unnest($8::smallint[]), unnest($9::bigint[]), unnest($10::bigint[])";
const CHANGE: &str = "
    UPDATE bookings b SET amount = k.amount, attempt = k.attempt, state = k.state,
                          expires_at = k.expires_at
    FROM (SELECT unnest($1::bigint[]) AS event_id, unnest($2::bigint[]) AS id,
                 unnest($3::bigint[]) AS amount, unnest($4::bigint[]) AS attempt,
                 unnest($5::smallint[]) AS state, unnest($6::bigint[]) AS expires_at) k
    WHERE b.event_id = k.event_id AND b.id = k.id";
const REMOVE: &str = "
    DELETE FROM bookings WHERE (event_id, id) IN
      (SELECT * FROM unnest($1::bigint[], $2::bigint[]))";

/// The statements of a writer.
pub(super) const WRITES: [&str; 6] = [LOCK, LOAD, LOAD_HOLDINGS, ADD, CHANGE, REMOVE];

pub(super) const BY_IDS: &str = "
    SELECT id, event_id, user_id, seats, payment, amount, attempt, state, created_at, expires_at
    FROM bookings WHERE id = ANY($1::bigint[]) ORDER BY array_position($1::bigint[], id)";
/// Sorted after they have been found, as the `+ 0` says: in the order of numbers, everybody's bookings
/// would be gone through for those of one user.
pub(super) const LIVE_OF_USER: &str = "
    SELECT id, event_id, user_id, seats, payment, amount, attempt, state, created_at, expires_at
    FROM bookings
    WHERE user_id = $1 AND state = ANY($2::smallint[]) AND ($3::bigint IS NULL OR event_id = $3)
      AND id < $4
    ORDER BY id + 0 DESC LIMIT $5";
pub(super) const OF_USER: &str = "
    SELECT id, event_id, user_id, seats, payment, amount, attempt, state, created_at, expires_at
    FROM bookings WHERE user_id = $1 AND id > $2 ORDER BY id + 0 LIMIT $3";
/// The counter and the booking as they are at one instant: a booking that is being made is either
/// found, or above the counter, or in a block that has been taken and not yet used.
pub(super) const ROUTE: &str = "
    SELECT (SELECT last FROM ids WHERE kind = 'booking'),
           b.event_id, b.user_id
    FROM (SELECT 1) always LEFT JOIN bookings b ON b.id = $1 LIMIT 1";
pub(super) const LAST_ID: &str = "SELECT last FROM ids WHERE kind = 'booking'";
pub(super) const DUE: &str = "
    SELECT event_id, id FROM bookings WHERE state = 2 AND expires_at <= $1
    ORDER BY expires_at, event_id, id LIMIT $2";
pub(super) const NEXT_DUE: &str =
    "SELECT min(expires_at) FROM bookings WHERE state = 2 AND expires_at > $1";

/// The statements of a reader.
pub(super) const READS: [&str; 6] = [BY_IDS, LIVE_OF_USER, OF_USER, ROUTE, DUE, NEXT_DUE];

pub(super) const ALL: &str = "
    SELECT id, event_id, user_id, seats, payment, amount, attempt, state, created_at, expires_at
    FROM bookings WHERE (id, event_id) > ($1, $2) ORDER BY id, event_id LIMIT $3";

pub(super) fn booking(row: &Row) -> Result<Booking, StoreError> {
    Ok(Booking {
        id: BookingId::new(get(row, 0)?),
        event_id: EventId::new(get(row, 1)?),
        user_id: UserId::new(get(row, 2)?),
        seats: seats(row, 3)?,
        payment: known(row, 4, "booking payment", codes::payment)?,
        amount: money(row, 5)?,
        attempt: count(row, 6)?,
        state: known(row, 7, "booking state", codes::state)?,
        created_at: instant(row, 8)?,
        expires_at: instant(row, 9)?,
    })
}

/// What was asked for, from the rows that were found. The statement brings all that counts, which the
/// limits themselves keep few; of each kind the newest are passed on.
pub(super) fn holdings(
    rows: &[Row],
    wanted: &[HoldingsOf],
    now: Timestamp,
) -> Result<Vec<HoldingsOfUser>, StoreError> {
    let mut found: BTreeMap<(EventId, UserId), Vec<(BookingId, Holding)>> = BTreeMap::new();
    for row in rows {
        let key = (EventId::new(get(row, 0)?), UserId::new(get(row, 1)?));
        let holding = Holding {
            seats: seats(row, 3)?,
            expires_at: instant(row, 4)?,
            kind: known(row, 5, "holding", codes::holding)?,
        };
        if holding.expires_at > now || holding.kind == HoldingKind::Asked {
            found.entry(key).or_default().push((BookingId::new(get(row, 2)?), holding));
        }
    }
    let of_user = |of: &HoldingsOf| {
        let mut all = found.remove(&(of.event_id, of.user_id)).unwrap_or_default();
        all.sort_unstable_by_key(|(id, _)| std::cmp::Reverse(*id));
        let newest = |kind: HoldingKind| {
            let all = all.iter().filter(move |(_, held)| held.kind == kind);
            all.take(of.limit as usize).map(|(_, held)| *held)
        };
        let kinds = [HoldingKind::Asked, HoldingKind::Held, HoldingKind::Cancelled];
        let holdings = kinds.into_iter().flat_map(newest).collect();
        HoldingsOfUser { event_id: of.event_id, user_id: of.user_id, holdings }
    };
    Ok(wanted.iter().map(of_user).collect())
}

pub(super) fn save(flight: &mut Flight<'_>, changes: &Changes) {
    let Changes { bookings_added: added, bookings_changed: changed, bookings_removed, .. } =
        changes;
    if !added.is_empty() {
        flight.ask(
            ADD,
            params![
                column(added, |booking| booking.id.get()),
                column(added, |booking| booking.event_id.get()),
                column(added, |booking| booking.user_id.get()),
                column(added, |booking| i64::from(booking.seats.get())),
                column(added, |booking| codes::of_payment(booking.payment)),
                column(added, |booking| booking.amount.as_minor()),
                column(added, |booking| i64::from(booking.attempt)),
                column(added, codes::of_booking),
                column(added, |booking| booking.created_at.as_micros()),
                column(added, |booking| booking.expires_at.as_micros()),
            ],
        );
    }
    if !changed.is_empty() {
        flight.ask(
            CHANGE,
            params![
                column(changed, |booking| booking.event_id.get()),
                column(changed, |booking| booking.id.get()),
                column(changed, |booking| booking.amount.as_minor()),
                column(changed, |booking| i64::from(booking.attempt)),
                column(changed, codes::of_booking),
                column(changed, |booking| booking.expires_at.as_micros()),
            ],
        );
    }
    if !bookings_removed.is_empty() {
        flight.ask(
            REMOVE,
            params![
                column(bookings_removed, |(event_id, _)| event_id.get()),
                column(bookings_removed, |(_, id)| id.get()),
            ],
        );
    }
}

pub(super) fn route(row: &Row, id: BookingId) -> Result<BookingRoute, StoreError> {
    let last = BookingId::new(get(row, 0)?);
    let (event_id, user_id): (Option<i64>, Option<i64>) = (get(row, 1)?, get(row, 2)?);
    Ok(match event_id.zip(user_id) {
        Some((event_id, user_id)) => {
            BookingRoute::Exists { event_id: EventId::new(event_id), user_id: UserId::new(user_id) }
        }
        None if id.get() >= 1 && id <= last => BookingRoute::Gone,
        None => BookingRoute::Never,
    })
}

#[async_trait]
impl BookingQueries for PostgresStore {
    async fn bookings(&self, ids: Vec<BookingId>) -> Result<Vec<Booking>, StoreError> {
        let params = || params![ids.iter().map(|id| id.get()).collect::<Vec<_>>()];
        self.readers.rows(BY_IDS, params, booking).await
    }

    async fn live_bookings_of_user(
        &self,
        user_id: UserId,
        event_id: Option<EventId>,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<Vec<Booking>, StoreError> {
        let before = before.map_or(i64::MAX, BookingId::get);
        let params = || {
            let event_id = event_id.map(EventId::get);
            params![user_id.get(), codes::LIVE.to_vec(), event_id, before, i64::from(limit)]
        };
        self.readers.rows(LIVE_OF_USER, params, booking).await
    }

    async fn bookings_of_user(
        &self,
        user_id: UserId,
        after: BookingId,
        limit: u32,
    ) -> Result<Vec<Booking>, StoreError> {
        let params = || params![user_id.get(), after.get(), i64::from(limit)];
        self.readers.rows(OF_USER, params, booking).await
    }

    async fn booking_route(&self, id: BookingId) -> Result<BookingRoute, StoreError> {
        let read = |row: &Row| route(row, id);
        let route = self.readers.row(ROUTE, || params![id.get()], read).await?;
        Ok(route.unwrap_or(BookingRoute::Never))
    }
}

#[async_trait]
impl SagaQueries for PostgresStore {
    async fn due_holds(&self, clock: Timestamp, limit: u32) -> Result<DueHolds, StoreError> {
        let now = self.clock().await?.unwrap_or(clock).as_micros();
        let ask = |flight: &mut Flight<'_>| {
            let due = flight.ask(DUE, params![now, i64::from(limit)]);
            (due, flight.ask(NEXT_DUE, params![now]))
        };
        let ((due, next), answers) = self.readers.ask(ask).await?;
        let hold = |row: &Row| Ok((EventId::new(get(row, 0)?), BookingId::new(get(row, 1)?)));
        Ok(DueHolds { holds: all(answers.of(due), hold)?, next: earliest(answers.of(next))? })
    }

    async fn due_errands(&self, clock: Timestamp, limit: u32) -> Result<DueErrands, StoreError> {
        let now = self.clock().await?.unwrap_or(clock).as_micros();
        let ask = |flight: &mut Flight<'_>| {
            let due = flight.ask(sagas::DUE, params![now, i64::from(limit)]);
            let next = flight.ask(sagas::NEXT_DUE, params![now]);
            let counts = [sagas::OPEN, sagas::PARKED].map(|count| flight.ask(count, params![]));
            (due, next, counts)
        };
        let ((due, next, [open, parked]), answers) = self.readers.ask(ask).await?;
        let counted = |rows| answers.of(rows).first().map_or(Ok(0), |row| get::<i64>(row, 0));
        let (open, parked) = (counted(open)?, counted(parked)?);
        Ok(DueErrands {
            errands: all(answers.of(due), sagas::errand)?,
            next: earliest(answers.of(next))?,
            open: u64::try_from(open).unwrap_or(0),
            parked: u64::try_from(parked).unwrap_or(0),
        })
    }

    async fn errands(&self, after: BookingId, limit: u32) -> Result<Vec<Errand>, StoreError> {
        let params = || params![after.get(), i64::from(limit)];
        self.readers.rows(sagas::PAGE, params, sagas::errand).await
    }

    async fn saga_steps(&self, booking_id: BookingId) -> Result<Vec<SagaStep>, StoreError> {
        self.readers.rows(sagas::STEPS, || params![booking_id.get()], sagas::step).await
    }

    async fn errand(&self, booking_id: BookingId) -> Result<Option<Errand>, StoreError> {
        let params = || params![booking_id.get()];
        self.readers.row(sagas::OF_BOOKING, params, sagas::errand).await
    }
}
