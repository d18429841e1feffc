//! How rows are written. Amounts are minor units, times are microseconds since 1970.

use eventbooker_core::accounts::{Account, Posting, PostingKind, Purpose};
use eventbooker_core::bookings::{Booking, Payment, State};
use eventbooker_core::events::{
    Cancellation, Event, JournalEntry, JournalKind, PaymentWindow, Plan, Seats, Slot, SlotState,
    Tally,
};
use eventbooker_core::identity::{Person, Profile, Role};
use eventbooker_core::{BookingId, EventId, Money, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The names on the wire of what core has an enum for.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident is $of:ty { $($variant:ident),* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "kebab-case")]
        #[allow(missing_docs, reason = "core says what they mean")]
        pub enum $name {
            $($variant),*
        }

        impl From<$of> for $name {
            fn from(value: $of) -> Self {
                match value {
                    $(<$of>::$variant => Self::$variant),*
                }
            }
        }

        impl From<$name> for $of {
            fn from(name: $name) -> Self {
                match name {
                    $($name::$variant => Self::$variant),*
                }
            }
        }
    };
}

names! {
    /// What a user may do.
    RoleName is Role { User, Admin }
}
names! {
    /// Whether a slot's seats are paid for.
    SlotStateName is SlotState { Held, Sold }
}
names! {
    /// What a journal entry reports.
    JournalKindName is JournalKind {
        Created, Held, Confirmed, Cancelled, Expired, Edited, EventCancelled
    }
}
names! {
    /// What moves money.
    PostingKindName is PostingKind { Deposit, Charge, Refund }
}
names! {
    /// When a booking is to be paid.
    PaymentName is Payment { Later, AtOnce }
}
names! {
    /// Where a booking stands.
    StateName is State {
        Occupying, Occupied, Paying, Completing, Complete, Refunding, Releasing, Expiring, Cancelled
    }
}

/// A user, without what proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "core says what they mean")]
pub struct PersonShape {
    pub id: i64,
    pub login: String,
    pub email: String,
    pub first_name: String,
    pub last_name: String,
    pub role: RoleName,
}

/// An event. In lists its description is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "core says what they mean")]
pub struct EventShape {
    pub id: i64,
    pub name: String,
    pub description: String,
    pub starts_at: Option<i64>,
    pub capacity: u32,
    pub price: i64,
    pub payment_window_minutes: u32,
    pub occupied: u32,
    pub pending_bookings: u32,
    pub confirmed_bookings: u32,
    pub version: i64,
    pub created_at: i64,
    pub cancellation: Option<CancellationShape>,
}

/// That an event doesn't take place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "core says what they mean")]
pub struct CancellationShape {
    pub at: i64,
    pub is_releasing: bool,
}

/// The part of an event that a booking occupies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "core says what they mean")]
pub struct SlotShape {
    pub event: i64,
    pub booking: i64,
    pub seats: u32,
    pub state: SlotStateName,
}

/// A change of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "core says what they mean")]
pub struct JournalEntryShape {
    pub event: i64,
    pub version: i64,
    pub kind: JournalKindName,
    pub booking: Option<i64>,
    pub seats: u32,
    pub at: i64,
}

/// An account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "core says what they mean")]
pub struct AccountShape {
    pub user: i64,
    pub balance: i64,
    pub entries: i64,
}

/// A movement of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "core says what they mean")]
pub struct PostingShape {
    pub user: i64,
    pub entry: i64,
    pub kind: PostingKindName,
    pub amount: i64,
    pub balance: i64,
    pub purpose: Option<PurposeShape>,
    pub at: i64,
}

/// What a charge or a refund is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "core says what they mean")]
pub struct PurposeShape {
    pub event: i64,
    pub booking: i64,
}

/// A booking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[allow(missing_docs, reason = "core says what they mean")]
pub struct BookingShape {
    pub id: i64,
    pub event: i64,
    pub user: i64,
    pub seats: u32,
    pub payment: PaymentName,
    pub amount: i64,
    pub attempt: u32,
    pub state: StateName,
    pub created_at: i64,
    pub expires_at: i64,
}

impl From<Person> for PersonShape {
    fn from(person: Person) -> Self {
        let Person { id, profile, role } = person;
        let Profile { login, email, first_name, last_name } = profile;
        Self { id: id.get(), login, email, first_name, last_name, role: role.into() }
    }
}

impl From<PersonShape> for Person {
    fn from(shape: PersonShape) -> Self {
        let PersonShape { id, login, email, first_name, last_name, role } = shape;
        let profile = Profile { login, email, first_name, last_name };
        Self { id: UserId::new(id), profile, role: role.into() }
    }
}

impl From<Event> for EventShape {
    fn from(event: Event) -> Self {
        let Event { id, plan, tally, created_at, cancellation } = event;
        Self {
            id: id.get(),
            name: plan.name,
            description: plan.description,
            starts_at: plan.starts_at.map(Timestamp::as_micros),
            capacity: plan.capacity.get(),
            price: plan.price.as_minor(),
            payment_window_minutes: plan.payment_window.as_minutes(),
            occupied: tally.occupied.get(),
            pending_bookings: tally.pending_bookings,
            confirmed_bookings: tally.confirmed_bookings,
            version: tally.version,
            created_at: created_at.as_micros(),
            cancellation: cancellation.map(|Cancellation { at, is_releasing }| CancellationShape {
                at: at.as_micros(),
                is_releasing,
            }),
        }
    }
}

impl From<EventShape> for Event {
    fn from(shape: EventShape) -> Self {
        Self {
            id: EventId::new(shape.id),
            plan: Plan {
                name: shape.name,
                description: shape.description,
                starts_at: shape.starts_at.map(Timestamp::from_micros),
                capacity: Seats::new(shape.capacity),
                price: Money::from_minor(shape.price),
                payment_window: PaymentWindow::from_minutes(shape.payment_window_minutes),
            },
            tally: Tally {
                occupied: Seats::new(shape.occupied),
                pending_bookings: shape.pending_bookings,
                confirmed_bookings: shape.confirmed_bookings,
                version: shape.version,
            },
            created_at: Timestamp::from_micros(shape.created_at),
            cancellation: shape.cancellation.map(|CancellationShape { at, is_releasing }| {
                Cancellation { at: Timestamp::from_micros(at), is_releasing }
            }),
        }
    }
}

impl From<Slot> for SlotShape {
    fn from(slot: Slot) -> Self {
        let Slot { event_id, booking_id, seats, state } = slot;
        let (event, booking) = (event_id.get(), booking_id.get());
        Self { event, booking, seats: seats.get(), state: state.into() }
    }
}

impl From<SlotShape> for Slot {
    fn from(shape: SlotShape) -> Self {
        let SlotShape { event, booking, seats, state } = shape;
        Self {
            event_id: EventId::new(event),
            booking_id: BookingId::new(booking),
            seats: Seats::new(seats),
            state: state.into(),
        }
    }
}

impl From<JournalEntry> for JournalEntryShape {
    fn from(entry: JournalEntry) -> Self {
        let JournalEntry { event_id, version, kind, booking_id, seats, at } = entry;
        Self {
            event: event_id.get(),
            version,
            kind: kind.into(),
            booking: booking_id.map(BookingId::get),
            seats: seats.get(),
            at: at.as_micros(),
        }
    }
}

impl From<JournalEntryShape> for JournalEntry {
    fn from(shape: JournalEntryShape) -> Self {
        let JournalEntryShape { event, version, kind, booking, seats, at } = shape;
        Self {
            event_id: EventId::new(event),
            version,
            kind: kind.into(),
            booking_id: booking.map(BookingId::new),
            seats: Seats::new(seats),
            at: Timestamp::from_micros(at),
        }
    }
}

impl From<Account> for AccountShape {
    fn from(account: Account) -> Self {
        let Account { user_id, balance, entries } = account;
        Self { user: user_id.get(), balance: balance.as_minor(), entries }
    }
}

impl From<AccountShape> for Account {
    fn from(shape: AccountShape) -> Self {
        let AccountShape { user, balance, entries } = shape;
        Self { user_id: UserId::new(user), balance: Money::from_minor(balance), entries }
    }
}

impl From<Posting> for PostingShape {
    fn from(posting: Posting) -> Self {
        let Posting { user_id, entry, kind, amount, balance, purpose, at } = posting;
        Self {
            user: user_id.get(),
            entry,
            kind: kind.into(),
            amount: amount.as_minor(),
            balance: balance.as_minor(),
            purpose: purpose.map(|Purpose { event_id, booking_id }| PurposeShape {
                event: event_id.get(),
                booking: booking_id.get(),
            }),
            at: at.as_micros(),
        }
    }
}

impl From<PostingShape> for Posting {
    fn from(shape: PostingShape) -> Self {
        let PostingShape { user, entry, kind, amount, balance, purpose, at } = shape;
        Self {
            user_id: UserId::new(user),
            entry,
            kind: kind.into(),
            amount: Money::from_minor(amount),
            balance: Money::from_minor(balance),
            purpose: purpose.map(|PurposeShape { event, booking }| Purpose {
                event_id: EventId::new(event),
                booking_id: BookingId::new(booking),
            }),
            at: Timestamp::from_micros(at),
        }
    }
}

impl From<Booking> for BookingShape {
    fn from(booking: Booking) -> Self {
        Self {
            id: booking.id.get(),
            event: booking.event_id.get(),
            user: booking.user_id.get(),
            seats: booking.seats.get(),
            payment: booking.payment.into(),
            amount: booking.amount.as_minor(),
            attempt: booking.attempt,
            state: booking.state.into(),
            created_at: booking.created_at.as_micros(),
            expires_at: booking.expires_at.as_micros(),
        }
    }
}

impl From<BookingShape> for Booking {
    fn from(shape: BookingShape) -> Self {
        Self {
            id: BookingId::new(shape.id),
            event_id: EventId::new(shape.event),
            user_id: UserId::new(shape.user),
            seats: Seats::new(shape.seats),
            payment: shape.payment.into(),
            amount: Money::from_minor(shape.amount),
            attempt: shape.attempt,
            state: shape.state.into(),
            created_at: Timestamp::from_micros(shape.created_at),
            expires_at: Timestamp::from_micros(shape.expires_at),
        }
    }
}
