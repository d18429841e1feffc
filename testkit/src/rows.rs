//! Rows to fill a store with, made by the rules' own constructors.

use eventbooker_core::accounts::{Account, InsufficientFunds, Posting, PostingKind, Purpose};
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::bookings::saga::Denial;
use eventbooker_core::bookings::{Booking, Payment, State};
use eventbooker_core::events::{
    Cancellation, Draft, Event, JournalEntry, JournalKind, Seats, Slot, SlotState, Tally,
};
use eventbooker_core::identity::{Profile, Role, Session, User};
use eventbooker_core::{BookingId, EventId, Money, Timestamp, UserId};
use eventbooker_store::{Answer, AnswerKey, Changes, LastIds, Store, Wants};

use crate::clock::NEW_YEAR;

/// The instant so many seconds after [`NEW_YEAR`].
pub const fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(NEW_YEAR.as_micros() + seconds * 1_000_000)
}

/// Why nothing was charged.
pub const POOR: Denial = Denial::Money(InsufficientFunds {
    balance: Money::from_minor(79),
    amount: Money::from_minor(80),
});

/// An event of 100 seats without a date.
pub fn event(id: i64) -> Event {
    event_called(id, "Green run", None)
}

/// An event with this name and date.
pub fn event_called(id: i64, name: &str, starts_at: Option<Timestamp>) -> Event {
    let draft = Draft {
        name: name.to_owned(),
        description: "Down the hill,\nand up again".to_owned(),
        starts_at,
        capacity: 100,
        price_minor: 40,
        payment_window_minutes: 30,
    };
    Event::create(EventId::new(id), draft.check(at(0)).expect("a good draft"), at(0)).0
}

/// The same event, cancelled five seconds after [`NEW_YEAR`].
pub fn cancelled(event: Event, is_releasing: bool) -> Event {
    Event { cancellation: Some(Cancellation { at: at(5), is_releasing }), ..event }
}

/// A hold of two seats that ends so many seconds after [`NEW_YEAR`].
pub fn hold(id: i64, event: i64, user: i64, ends: i64) -> Booking {
    booking(id, event, user, State::Occupied, ends)
}

/// A booking of two seats in some state.
pub fn booking(id: i64, event: i64, user: i64, state: State, ends: i64) -> Booking {
    Booking {
        id: BookingId::new(id),
        event_id: EventId::new(event),
        user_id: UserId::new(user),
        seats: Seats::new(2),
        payment: Payment::Later,
        amount: Money::from_minor(80),
        attempt: 1,
        state,
        created_at: at(0),
        expires_at: at(ends),
    }
}

/// A held slot of two seats.
pub fn slot(event: i64, booking: i64) -> Slot {
    Slot {
        event_id: EventId::new(event),
        booking_id: BookingId::new(booking),
        seats: Seats::new(2),
        state: SlotState::Held,
    }
}

/// An entry about a hold of two seats.
pub fn held(event: i64, version: i64, booking: i64) -> JournalEntry {
    JournalEntry {
        event_id: EventId::new(event),
        version,
        kind: JournalKind::Held,
        booking_id: Some(BookingId::new(booking)),
        seats: Seats::new(2),
        at: at(0),
    }
}

/// A tally of this version.
pub fn tally(version: i64) -> Tally {
    Tally { occupied: Seats::new(2), pending_bookings: 1, confirmed_bookings: 3, version }
}

/// A user.
pub fn user(id: i64, login: &str) -> User {
    User {
        id: UserId::new(id),
        profile: Profile {
            login: login.to_owned(),
            email: "ann@example.org".to_owned(),
            first_name: "Анна".to_owned(),
            last_name: "O'Neill".to_owned(),
        },
        role: Role::User,
        password_hash: "$argon2id$none".to_owned(),
        created_at: at(0),
    }
}

/// An account with this balance after so many postings.
pub fn account(user: i64, balance: i64, entries: i64) -> Account {
    Account { user_id: UserId::new(user), balance: Money::from_minor(balance), entries }
}

/// A deposit that leaves this balance.
pub fn deposit(user: i64, entry: i64, amount: i64, balance: i64) -> Posting {
    Posting {
        user_id: UserId::new(user),
        entry,
        kind: PostingKind::Deposit,
        amount: Money::from_minor(amount),
        balance: Money::from_minor(balance),
        purpose: None,
        at: at(0),
    }
}

/// A charge of 80 for a booking of event 1, that leaves this balance.
pub fn charge(user: i64, entry: i64, booking: i64, balance: i64) -> Posting {
    Posting {
        kind: PostingKind::Charge,
        purpose: Some(Purpose { event_id: EventId::new(1), booking_id: BookingId::new(booking) }),
        ..deposit(user, entry, 80, balance)
    }
}

/// An errand for a booking of event 1 and user 1, due so many seconds after [`NEW_YEAR`].
pub fn errand(booking: i64, due: i64) -> Errand {
    let (booking_id, event_id, user_id) =
        (BookingId::new(booking), EventId::new(1), UserId::new(1));
    let trace = format!("00-{booking:032x}-{due:016x}-01").parse().ok();
    Errand { due_at: at(due), trace, ..Errand::begin(booking_id, event_id, user_id, at(0)) }
}

/// A session that ends so many seconds after [`NEW_YEAR`].
pub fn session(digest: u8, user: i64, ends: i64) -> Session {
    Session {
        token_digest: [digest; 32],
        user_id: UserId::new(user),
        created_at: at(0),
        expires_at: at(ends),
    }
}

/// A user's key.
pub fn key(scope: i64, key: &str) -> AnswerKey {
    AnswerKey { scope: UserId::new(scope), key: key.to_owned() }
}

/// An answer that was given so many seconds after [`NEW_YEAR`].
pub fn answer(scope: i64, name: &str, given: i64) -> Answer {
    Answer {
        key: key(scope, name),
        fingerprint: [7; 32],
        answer: b"booking 1".to_vec(),
        awaits: None,
        created_at: at(given),
    }
}

/// One row of every kind: event 1 with the held booking 1 of user 1, who has paid in and is signed
/// in.
pub fn one_of_each() -> Changes {
    Changes {
        users_added: vec![user(1, "ann")],
        sessions_added: vec![session(1, 1, 60)],
        events_added: vec![event(1)],
        slots_added: vec![slot(1, 1)],
        journal: vec![held(1, 1, 1)],
        accounts_changed: vec![account(1, 50, 1)],
        postings: vec![deposit(1, 1, 50, 50)],
        bookings_added: vec![hold(1, 1, 1, 60)],
        answers_added: vec![answer(1, "key", 0)],
        last_ids: LastIds { booking: Some(1), event: Some(1), user: Some(1) },
        ..Changes::default()
    }
}

/// Writes changes.
pub async fn save(store: &dyn Store, changes: Changes) {
    let mut writer = store.writer().await.expect("a writer");
    writer.load(&Wants::default(), at(0)).await.expect("loaded");
    writer.save(&changes).await.expect("saved");
}
