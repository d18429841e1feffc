//! What a batch asks of a store: the rows it wants, the rows it got, the rows it changed.

use eventbooker_core::accounts::{Account, Posting};
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::bookings::participant::{MemoryKey, Remembered};
use eventbooker_core::bookings::saga::Denial;
use eventbooker_core::bookings::{Booking, Holding};
use eventbooker_core::events::{Event, JournalEntry, Slot, Tally};
use eventbooker_core::identity::{Session, TokenDigest, User};
use eventbooker_core::{BookingId, Context, Contexts, EventId, Timestamp, UserId};

use crate::{DatabaseId, Neighbour};

/// The rows that a batch's commands name. Naming one twice does no harm.
#[derive(Debug, Default)]
pub struct Wants {
    /// Answers that may have been given before.
    pub answers: Vec<AnswerKey>,
    /// Bookings.
    pub bookings: Vec<(EventId, BookingId)>,
    /// What users hold on events.
    pub holdings: Vec<HoldingsOf>,
    /// Events with their tallies.
    pub events: Vec<EventId>,
    /// Slots.
    pub slots: Vec<(EventId, BookingId)>,
    /// Accounts, by user.
    pub accounts: Vec<UserId>,
    /// Errands, by booking.
    pub errands: Vec<BookingId>,
    /// What participants remember.
    pub memories: Vec<MemoryKey>,
    /// Users by login.
    pub logins: Vec<String>,
    /// Users.
    pub users: Vec<UserId>,
    /// How many bookings may be added.
    pub new_bookings: u32,
    /// How many events may be added.
    pub new_events: u32,
    /// How many users may be added.
    pub new_users: u32,
}

impl Wants {
    /// Puts every row once, in the one order in which all writers lock rows.
    pub fn tidy(&mut self) {
        fn once<T: Ord>(rows: &mut Vec<T>) {
            rows.sort_unstable();
            rows.dedup();
        }
        once(&mut self.answers);
        once(&mut self.bookings);
        once(&mut self.holdings);
        once(&mut self.events);
        once(&mut self.slots);
        once(&mut self.accounts);
        once(&mut self.errands);
        once(&mut self.memories);
        once(&mut self.logins);
        once(&mut self.users);
    }
}

/// A command's idempotency key and whom it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnswerKey {
    /// The user; number 0 for commands of somebody who has not signed in.
    pub scope: UserId,
    /// The key.
    pub key: String,
}

/// An answer that was given to a command with a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Answer {
    /// The key and its owner.
    pub key: AnswerKey,
    /// The digest of what was asked.
    pub fingerprint: [u8; 32],
    /// What was answered, in a form that only whoever wrote it reads; empty while a saga is waited for.
    pub answer: Vec<u8>,
    /// The booking whose saga is waited for. The answer is written when it rests.
    pub awaits: Option<BookingId>,
    /// When.
    pub created_at: Timestamp,
}

/// Asks for what a user holds on an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HoldingsOf {
    /// The event.
    pub event_id: EventId,
    /// The user.
    pub user_id: UserId,
    /// How many holdings of each kind (live; cancelled before their deadline) to bring at most,
    /// newest first.
    pub limit: u32,
    /// Whether to bring those that are on their way as well: that are asked for, or being cancelled. Where
    /// bookings, seats and money are in one database there are none.
    pub on_their_way: bool,
}

/// What a user holds on an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldingsOfUser {
    /// The event.
    pub event_id: EventId,
    /// The user.
    pub user_id: UserId,
    /// Their holdings, in no order.
    pub holdings: Vec<Holding>,
}

/// Numbers that may be given out: from `next` up to but not including `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IdRange {
    /// The first that is free.
    pub next: i64,
    /// The first that isn't ours.
    pub end: i64,
}

/// The rows that a batch works on. What was wanted and isn't here doesn't exist.
#[derive(Debug)]
pub struct Loaded {
    /// The instant at which everything in this batch happens.
    pub now: Timestamp,
    /// Answers given before.
    pub answers: Vec<Answer>,
    /// Bookings.
    pub bookings: Vec<Booking>,
    /// One for each [`HoldingsOf`], empty or not.
    pub holdings: Vec<HoldingsOfUser>,
    /// Events.
    pub events: Vec<Event>,
    /// Slots.
    pub slots: Vec<Slot>,
    /// One account for each that was wanted, whether or not anything was posted to it.
    pub accounts: Vec<Account>,
    /// Errands.
    pub errands: Vec<Errand>,
    /// What participants remember.
    pub memories: Vec<Remembered>,
    /// Users, whether wanted by number or by login.
    pub users: Vec<User>,
    /// Numbers for new bookings.
    pub booking_ids: IdRange,
    /// Numbers for new events.
    pub event_ids: IdRange,
    /// Numbers for new users.
    pub user_ids: IdRange,
}

/// What a batch changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// New users.
    pub users_added: Vec<User>,
    /// Users with a new role or password.
    pub users_changed: Vec<User>,
    /// New sessions.
    pub sessions_added: Vec<Session>,
    /// Sessions that ended.
    pub sessions_removed: Vec<TokenDigest>,
    /// Users of whose sessions only the newest so many stay.
    pub sessions_trimmed: Vec<(UserId, u32)>,
    /// Users all of whose sessions ended, before any in `sessions_added` began.
    pub sessions_removed_of: Vec<UserId>,
    /// New events.
    pub events_added: Vec<Event>,
    /// Events that were edited or cancelled, or have released the last of their bookings. Their tallies
    /// stand among those that changed, if they did.
    pub events_changed: Vec<Event>,
    /// Tallies that changed.
    pub tallies_changed: Vec<(EventId, Tally)>,
    /// New slots.
    pub slots_added: Vec<Slot>,
    /// Slots that changed.
    pub slots_changed: Vec<Slot>,
    /// Slots that are gone.
    pub slots_removed: Vec<(EventId, BookingId)>,
    /// New journal entries.
    pub journal: Vec<JournalEntry>,
    /// Accounts that were posted to.
    pub accounts_changed: Vec<Account>,
    /// New postings, those to one account in the order of their entries.
    pub postings: Vec<Posting>,
    /// New bookings.
    pub bookings_added: Vec<Booking>,
    /// Bookings that changed.
    pub bookings_changed: Vec<Booking>,
    /// Bookings that are gone.
    pub bookings_removed: Vec<(EventId, BookingId)>,
    /// Errands that began or changed.
    pub errands_set: Vec<Errand>,
    /// Errands that are done.
    pub errands_removed: Vec<BookingId>,
    /// Steps that sagas have taken elsewhere.
    pub saga_steps: Vec<SagaStep>,
    /// What participants remember of steps that they didn't know before.
    pub memories_added: Vec<Remembered>,
    /// What they remember otherwise from now on.
    pub memories_changed: Vec<Remembered>,
    /// Answers to remember.
    pub answers_added: Vec<Answer>,
    /// Answers that waited for a saga, as they are now, if they are still remembered.
    pub answers_completed: Vec<(AnswerKey, Vec<u8>)>,
    /// Rows that have outlived their use.
    pub purge: Option<Purge>,
    /// What a check of the invariants came to.
    pub checked: Option<LastCheck>,
    /// How much further the database has come, where others rely on what it has.
    pub progress: i64,
    /// What was seen of other services' databases; what had been seen before isn't forgotten.
    pub neighbours_seen: Vec<Neighbour>,
    /// What is to be known of them from now on, whatever was.
    pub neighbours_set: Vec<Neighbour>,
    /// The name of the database that this one takes the place of.
    pub database_id: Option<DatabaseId>,
    /// The highest numbers that were given out.
    pub last_ids: LastIds,
}

/// A step that a saga has taken elsewhere, in words for whoever asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SagaStep {
    /// The booking.
    pub booking_id: BookingId,
    /// What was asked.
    pub asked: String,
    /// What was answered.
    pub answered: String,
    /// Why the answer is a no, if it is one.
    pub denial: Option<Denial>,
    /// When the answer was heard.
    pub at: Timestamp,
}

/// The highest numbers that a batch gave out, where it gave out any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LastIds {
    /// To a booking.
    pub booking: Option<i64>,
    /// To an event.
    pub event: Option<i64>,
    /// To a user.
    pub user: Option<i64>,
}

impl LastIds {
    /// Those that these contexts give out.
    #[must_use]
    pub fn of(self, contexts: Contexts) -> Self {
        let has = |context| move |_: &i64| contexts.has(context);
        Self {
            booking: self.booking.filter(has(Context::Bookings)),
            event: self.event.filter(has(Context::Events)),
            user: self.user.filter(has(Context::Identity)),
        }
    }
}

/// What the last check of the invariants came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastCheck {
    /// Who has checked.
    pub checker: Checker,
    /// When it was over.
    pub at: Timestamp,
    /// How many rows it read.
    pub rows: u64,
    /// How much did not add up, at least.
    pub findings: u64,
    /// The first few of that, in words, a line each.
    pub first: String,
}

/// Who checks the invariants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checker {
    /// An operator, with `eventbooker check`.
    Operator,
    /// The service, beside its work.
    Service,
}

/// Removes what has outlived its use, a bounded number of rows at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purge {
    /// Sessions that ended at or before this instant.
    pub sessions_until: Timestamp,
    /// Answers given at or before this instant.
    pub answers_until: Timestamp,
    /// Answers given after this instant: by a clock that was ahead.
    pub answers_after: Timestamp,
    /// What participants have remembered since this instant or longer.
    pub memories_until: Timestamp,
    /// How many rows of each kind to remove at most.
    pub limit: u32,
}

impl Changes {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
