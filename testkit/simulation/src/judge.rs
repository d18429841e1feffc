//! The judge: whether what is in the databases is what people were told.

use std::collections::BTreeMap;

use eventbooker_core::accounts::PostingKind;
use eventbooker_core::bookings::{Booking, Payment, State};
use eventbooker_core::events::Event;
use eventbooker_core::{BookingId, EventId, Money, UserId};

use crate::orders::{Change, Deed, Order};
use crate::words::Word;

/// What is in the databases when everything rests.
#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) bookings: BTreeMap<BookingId, Booking>,
    pub(crate) postings: Vec<(UserId, PostingKind, Money)>,
    pub(crate) balances: i64,
    pub(crate) events: BTreeMap<EventId, Event>,
}

/// What is wrong, as far as people can tell.
pub(crate) fn judge(orders: &[Order], rows: &Rows) -> Vec<String> {
    let case = Case { orders, rows };
    let mut wrong = Vec::new();
    case.bookings(&mut wrong);
    case.unaccounted(&mut wrong);
    case.money(&mut wrong);
    case.events(&mut wrong);
    wrong
}

struct Case<'a> {
    orders: &'a [Order],
    rows: &'a Rows,
}

/// What people know of a booking.
#[derive(Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is something that somebody knows or doesn't"
)]
struct Known {
    is_purchase: bool,
    /// It has been held, they were told.
    was_held: bool,
    /// It is paid for, they were told.
    was_complete: bool,
    /// It is cancelled or being so, they were told when they asked for that.
    was_cancelled: bool,
    /// A purchase that came to nothing, they were told.
    was_in_vain: bool,
    may_be_confirmed: bool,
    may_be_cancelled: bool,
}

impl Case<'_> {
    fn known(&self, id: BookingId) -> Known {
        let mut known = Known::default();
        for order in self.orders {
            let state = match order.word() {
                Some(Word::Booking { id: told, state, .. }) if told == id => Some(state),
                _ => None,
            };
            let is_about = state.is_some() || order.heard.contains(&id);
            let may = order.may_have_happened();
            if let Some((.., payment)) = order.deed.seats().filter(|_| is_about) {
                known.is_purchase = payment == Payment::AtOnce;
                known.was_held |= state == Some(State::Occupied);
                known.was_complete |= state == Some(State::Complete);
                known.was_in_vain |= state == Some(State::Cancelled);
            }
            if order.deed == (Deed::Confirm { booking: id }) {
                known.may_be_confirmed |= may;
                known.was_complete |= state == Some(State::Complete);
            }
            if order.deed == (Deed::Cancel { booking: id }) {
                known.may_be_cancelled |= may;
                known.was_cancelled |= state.is_some();
            }
        }
        known
    }

    fn may_be_called_off(&self, event: EventId) -> bool {
        let is_that = |order: &&Order| order.deed == Deed::CallOff { event };
        self.orders.iter().filter(is_that).any(Order::may_have_happened)
    }

    /// The event of which a booking is, by what was asked for.
    fn event_of(&self, id: BookingId) -> Option<EventId> {
        let is_about = |order: &&Order| {
            order.heard.contains(&id)
                || matches!(order.word(), Some(Word::Booking { id: told, .. }) if told == id)
        };
        let mut about = self.orders.iter().filter(is_about);
        about.find_map(|order| order.deed.seats()).map(|(event, ..)| event)
    }

    /// Each booking that anybody was told of stands as they were told.
    fn bookings(&self, wrong: &mut Vec<String>) {
        let mut ids: Vec<BookingId> = self.orders.iter().flat_map(|it| it.heard.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            let known = self.known(id);
            let called_off = self.event_of(id).is_none_or(|event| self.may_be_called_off(event));
            let may_be_cancelled = known.may_be_cancelled || called_off;
            let state = self.rows.bookings.get(&id).map(|booking| booking.state);
            let why = match state {
                Some(State::Complete) if known.was_cancelled => "it was cancelled",
                Some(State::Complete) if known.was_in_vain => "it came to nothing",
                Some(State::Complete) if !known.is_purchase && !known.may_be_confirmed => {
                    "nobody has paid for it"
                }
                Some(State::Cancelled) if known.was_complete && !may_be_cancelled => {
                    "it was paid for, and nobody has cancelled it"
                }
                Some(State::Cancelled) if known.was_held && !may_be_cancelled => {
                    "it was held, and nobody has cancelled it"
                }
                None if known.was_complete => "it was paid for",
                None if known.was_cancelled => "it was cancelled, and that is kept",
                None if known.is_purchase => "purchases are kept",
                Some(State::Complete | State::Cancelled) | None => continue,
                Some(_) => "it should have come to rest",
            };
            let stands = state.map_or("gone".to_owned(), |state| state.to_string());
            wrong.push(format!("booking {id} is {stands}, but {why}"));
        }
    }

    /// Nothing is booked that nobody has asked for, and nothing twice.
    fn unaccounted(&self, wrong: &mut Vec<String>) {
        let mut wishes = BTreeMap::<_, usize>::new();
        for order in self.orders {
            let Some((event, seats, payment)) = order.deed.seats() else { continue };
            let is_purchase = payment == Payment::AtOnce;
            if order.heard.is_empty() {
                // Who hears that a hold is cancelled with its event was told of no number.
                let is_refused = !order.may_have_happened();
                *wishes.entry((order.user, event, seats, is_purchase, is_refused)).or_default() +=
                    1;
            }
        }
        let was_told = |id: &BookingId| self.orders.iter().any(|order| order.heard.contains(id));
        for (id, booking) in self.rows.bookings.iter().filter(|(id, _)| !was_told(id)) {
            let Booking { user_id, event_id, seats, payment, .. } = *booking;
            let is_purchase = payment == Payment::AtOnce;
            let is_cancelled_hold = !is_purchase && booking.state == State::Cancelled;
            let mut is_wished = false;
            for is_refused in [false, true] {
                let wish = (user_id, event_id, seats.get(), is_purchase, is_refused);
                let count = wishes.get_mut(&wish).filter(|count| **count > 0);
                if let Some(count) =
                    count.filter(|_| !is_wished && (!is_refused || is_cancelled_hold))
                {
                    *count -= 1;
                    is_wished = true;
                }
            }
            if !is_wished {
                wrong.push(format!("nobody has asked for booking {id}"));
            }
        }
    }

    /// What was paid in is there, once each, and is all that there is.
    fn money(&self, wrong: &mut Vec<String>) {
        let deposits =
            self.rows.postings.iter().filter(|(_, kind, _)| *kind == PostingKind::Deposit);
        let mut paid_in = BTreeMap::<_, usize>::new();
        let mut sum = 0;
        for (user, _, amount) in deposits {
            *paid_in.entry((*user, amount.as_minor())).or_default() += 1;
            sum += amount.as_minor();
        }
        for order in self.orders {
            let Deed::Deposit { amount } = order.deed else { continue };
            let times = paid_in.remove(&(order.user, amount)).unwrap_or(0);
            let is_right = match order.word() {
                Some(Word::Refused) => times == 0,
                Some(_) => times == 1,
                None => times <= 1,
            };
            if !is_right {
                let (number, said) = (order.number, &order.settled);
                wrong
                    .push(format!("order {number}: {amount} were paid in {times} times, {said:?}"));
            }
        }
        wrong.extend(paid_in.keys().map(|(user, amount)| {
            format!("user {user} has paid in {amount}, and nobody knows of it")
        }));
        let complete = self.rows.bookings.values().filter(|it| it.state == State::Complete);
        let charged: i64 = complete.map(|booking| booking.amount.as_minor()).sum();
        let balances = self.rows.balances;
        if sum != balances + charged {
            wrong.push(format!("{sum} were paid in, {balances} are left, {charged} were charged"));
        }
    }

    /// Events are as their organiser has left them.
    fn events(&self, wrong: &mut Vec<String>) {
        for (id, event) in &self.rows.events {
            let mut latest = [(0, None); 2];
            // What may have been done at any time.
            let mut unknown = [Vec::new(), Vec::new()];
            let mut is_called_off = Some(false);
            for order in self.orders.iter().filter(|order| order.may_have_happened()) {
                let Some((event, change)) = order.deed.plan() else { continue };
                if event != *id {
                    continue;
                }
                let version = match order.word() {
                    Some(Word::Event { version }) => Some(version),
                    _ => None,
                };
                let (what, value) = match change {
                    Change::Price(price) => (0, price),
                    Change::Capacity(capacity) => (1, i64::from(capacity)),
                    Change::CalledOff => {
                        let before = is_called_off.filter(|is_called_off| *is_called_off);
                        is_called_off = version.map(|_| true).or(before);
                        continue;
                    }
                };
                match version {
                    Some(version) if version >= latest[what].0 => {
                        latest[what] = (version, Some(value));
                    }
                    Some(_) => {}
                    None => unknown[what].push(value),
                }
            }
            let capacity = i64::from(event.plan.capacity.get());
            let stands = [(event.plan.price.as_minor(), "costs"), (capacity, "has seats:")];
            for (what, (value, says)) in stands.into_iter().enumerate() {
                let last = latest[what].1;
                if last.is_some_and(|last| last != value) && !unknown[what].contains(&value) {
                    wrong.push(format!("event {id} {says} {value}, and not {last:?}"));
                }
            }
            let is_cancelled = event.cancellation.is_some();
            if is_called_off.is_some_and(|is_called_off| is_called_off != is_cancelled) {
                wrong.push(format!("event {id} is cancelled: {is_cancelled}"));
            }
        }
    }
}
