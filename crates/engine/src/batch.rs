//! The rows that a batch works on, and what becomes of them.
//!
//! Commands of one batch are decided one after the other on the same rows, so each sees what the
//! ones before it did. Nothing here waits or asks a store; [`Batch::into_changes`] is what a lane
//! saves.

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use eventbooker_core::accounts::{Account, Posting};
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::bookings::participant::{MemoryKey, Remembered, Request};
use eventbooker_core::bookings::{Act, Booking, HoldLimits, Holding};
use eventbooker_core::events::{Event, JournalEntry, Slot};
use eventbooker_core::identity::{Session, TokenDigest, User};
use eventbooker_core::{BookingId, Context, Contexts, EventId, Timestamp, UserId};
use eventbooker_store::{
    Answer, AnswerKey, Changes, IdRange, LastIds, Loaded, Neighbour, Purge, SagaStep,
};

use self::table::Table;
use crate::bookings::BookingAt;
use crate::command::Decided;
use crate::errands::Question;
use crate::promises::WriteAnswer;

/// What the operator chose, as far as decisions depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How much one user may hold.
    pub holds: HoldLimits,
    /// Whether users may pay in for themselves.
    pub users_may_deposit: bool,
    /// Whose rows are in this database.
    pub here: Contexts,
    /// Whether there are services with databases of their own, which rely on what this one has.
    pub has_neighbours: bool,
}

impl Rules {
    /// Whether everything that a saga needs is in this database, so that none of them waits for anybody.
    pub(crate) fn is_whole(&self) -> bool {
        self.here.has(Context::Events) && self.here.has(Context::Accounts)
    }
}

/// The rows of one batch.
pub struct Batch {
    now: Timestamp,
    rules: Rules,
    write_answer: WriteAnswer,
    answers: BTreeMap<AnswerKey, Answer>,
    events: Table<EventId, Event>,
    /// Events of which more has changed than their tallies.
    events_edited: BTreeSet<EventId>,
    slots: Table<(EventId, BookingId), Slot>,
    bookings: Table<BookingId, Booking>,
    holdings: BTreeMap<(EventId, UserId), Vec<Holding>>,
    accounts: Table<UserId, Account>,
    errands: Table<BookingId, Errand>,
    memories: Table<MemoryKey, Remembered>,
    questions: Vec<Question>,
    users: Table<UserId, User>,
    logins: BTreeMap<String, UserId>,
    booking_ids: Ids,
    event_ids: Ids,
    user_ids: Ids,
    users_added: usize,
    bookings_moved: usize,
    neighbours_seen: Vec<Neighbour>,
    /// What is only ever added is collected where it is saved from.
    changes: Changes,
}

impl Batch {
    /// A batch of these rows.
    pub fn new(loaded: Loaded, rules: Rules, write_answer: WriteAnswer) -> Self {
        let mut logins = BTreeMap::new();
        for user in &loaded.users {
            logins.insert(user.profile.login.clone(), user.id);
        }
        Self {
            now: loaded.now,
            rules,
            write_answer,
            answers: loaded.answers.into_iter().map(|a| (a.key.clone(), a)).collect(),
            events: Table::of(loaded.events.into_iter().map(|e| (e.id, e))),
            events_edited: BTreeSet::new(),
            slots: Table::of(loaded.slots.into_iter().map(|s| ((s.event_id, s.booking_id), s))),
            bookings: Table::of(loaded.bookings.into_iter().map(|b| (b.id, b))),
            holdings: loaded
                .holdings
                .into_iter()
                .map(|h| ((h.event_id, h.user_id), h.holdings))
                .collect(),
            accounts: Table::of(loaded.accounts.into_iter().map(|a| (a.user_id, a))),
            errands: Table::of(loaded.errands.into_iter().map(|e| (e.booking_id, e))),
            memories: Table::of(loaded.memories.into_iter().map(|m| (m.key, m))),
            questions: Vec::new(),
            users: Table::of(loaded.users.into_iter().map(|u| (u.id, u))),
            logins,
            booking_ids: Ids::of(loaded.booking_ids),
            event_ids: Ids::of(loaded.event_ids),
            user_ids: Ids::of(loaded.user_ids),
            users_added: 0,
            bookings_moved: 0,
            neighbours_seen: Vec::new(),
            changes: Changes::default(),
        }
    }

    /// The instant at which everything in this batch happens.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// What the operator chose.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// How much has happened so far: more after every change that somebody can ask for.
    pub(crate) fn happened(&self) -> usize {
        let Changes { journal, postings, .. } = &self.changes;
        journal.len() + postings.len() + self.users_added + self.bookings_moved
    }

    pub(crate) fn answer(&self, key: &AnswerKey) -> Option<&Answer> {
        self.answers.get(key)
    }

    pub(crate) fn remember(&mut self, answer: Answer) {
        self.answers.insert(answer.key.clone(), answer.clone());
        self.changes.answers_added.push(answer);
    }

    /// An answer that was remembered without one, however long ago.
    pub(crate) fn complete_answer(
        &mut self,
        key: AnswerKey,
        decided: &Decided<BookingAt>,
        act: Act,
    ) {
        let answer = (self.write_answer)(act, decided);
        let complete = |kept: &mut Answer| {
            kept.answer.clone_from(&answer);
            kept.awaits = None;
        };
        self.answers.get_mut(&key).into_iter().for_each(complete);
        match self.changes.answers_added.iter_mut().find(|added| added.key == key) {
            Some(added) => complete(added),
            None => self.changes.answers_completed.push((key, answer)),
        }
    }

    pub(crate) fn event(&self, id: EventId) -> Option<&Event> {
        self.events.get(&id)
    }

    /// An event that is about to change.
    pub(crate) fn event_to_change(&mut self, id: EventId) -> Option<&mut Event> {
        self.events.change(&id)
    }

    pub(crate) fn add_event(&mut self, event: Event, entry: JournalEntry) {
        self.events.add(event.id, event);
        self.changes.journal.push(entry);
    }

    /// An event that was found before, after a change of more than its tally.
    pub(crate) fn change_event(&mut self, event: Event, entry: JournalEntry) {
        self.events_edited.insert(event.id);
        self.events.set(&entry.event_id, event);
        self.changes.journal.push(entry);
    }

    pub(crate) fn slot(&self, key: (EventId, BookingId)) -> Option<Slot> {
        self.slots.get(&key).copied()
    }

    pub(crate) fn add_slot(&mut self, slot: Slot, entry: JournalEntry) {
        self.slots.add((slot.event_id, slot.booking_id), slot);
        self.changes.journal.push(entry);
    }

    pub(crate) fn change_slot(&mut self, slot: Slot, entry: JournalEntry) {
        self.slots.set(&(slot.event_id, slot.booking_id), slot);
        self.changes.journal.push(entry);
    }

    pub(crate) fn remove_slot(&mut self, slot: Slot, entry: JournalEntry) {
        self.slots.remove(&(slot.event_id, slot.booking_id));
        let cancellation = self.events.get(&slot.event_id).and_then(|event| event.cancellation);
        if cancellation.is_some_and(|cancellation| !cancellation.is_releasing) {
            // This was the last one.
            self.events_edited.insert(slot.event_id);
        }
        self.changes.journal.push(entry);
    }

    pub(crate) fn booking(&self, id: BookingId) -> Option<Booking> {
        self.bookings.get(&id).copied()
    }

    pub(crate) fn add_booking(&mut self, booking: Booking) {
        self.bookings_moved += 1;
        self.bookings.add(booking.id, booking);
    }

    /// A booking counts among what its owner holds.
    pub(crate) fn count_holding(&mut self, booking: &Booking) {
        if let Some(holdings) = self.holdings.get_mut(&(booking.event_id, booking.user_id)) {
            holdings.extend(Holding::of(booking));
        }
    }

    /// A hold is none any more. Holdings that look alike count alike, so it doesn't matter which of
    /// them goes.
    pub(crate) fn discount_holding(&mut self, booking: &Booking) {
        if let Some(holdings) = self.holdings.get_mut(&(booking.event_id, booking.user_id)) {
            let gone = Holding::of(booking);
            let place = holdings.iter().position(|holding| Some(*holding) == gone);
            place.map(|place| holdings.swap_remove(place));
        }
    }

    pub(crate) fn change_booking(&mut self, booking: Booking) {
        self.bookings_moved += 1;
        self.bookings.set(&booking.id, booking);
    }

    pub(crate) fn remove_booking(&mut self, id: BookingId) {
        self.bookings.remove(&id);
    }

    /// What a user holds on an event, as far as the limits need to know it.
    pub(crate) fn holdings(&self, event_id: EventId, user_id: UserId) -> &[Holding] {
        self.holdings.get(&(event_id, user_id)).map_or(&[], Vec::as_slice)
    }

    /// A user's account, among those that the batch wanted.
    pub(crate) fn account(&self, user_id: UserId) -> Account {
        *self.accounts.get(&user_id).expect("a command says whose account it may need")
    }

    /// An account after a posting.
    pub(crate) fn post(&mut self, account: Account, posting: Posting) {
        self.accounts.set(&account.user_id, account);
        self.changes.postings.push(posting);
    }

    pub(crate) fn errand(&self, id: BookingId) -> Option<&Errand> {
        self.errands.get(&id)
    }

    pub(crate) fn set_errand(&mut self, errand: Errand) {
        match self.errands.get(&errand.booking_id) {
            Some(before) if *before == errand => {}
            Some(_) => self.errands.set(&errand.booking_id.clone(), errand),
            None => self.errands.add(errand.booking_id, errand),
        }
    }

    /// An errand whose question is asked as soon as the batch is durable.
    pub(crate) fn ask(&mut self, errand: Errand, request: Request) {
        let Errand { token, due_at, trace, .. } = errand;
        let request = Request { trace, ..request };
        self.questions.push(Question { token, until: due_at, request });
        self.set_errand(errand);
    }

    /// An errand, if there was one, is done.
    pub(crate) fn end_errand(&mut self, id: BookingId) {
        if self.errands.get(&id).is_some() {
            self.errands.remove(&id);
        }
    }

    pub(crate) fn add_saga_step(&mut self, step: SagaStep) {
        self.changes.saga_steps.push(step);
    }

    pub(crate) fn remembered(&self, key: &MemoryKey) -> Option<Remembered> {
        self.memories.get(key).copied()
    }

    /// A participant's memory of a step, from now on.
    pub(crate) fn remember_step(&mut self, remembered: Remembered) {
        match self.memories.get(&remembered.key) {
            Some(_) => self.memories.set(&remembered.key, remembered),
            None => self.memories.add(remembered.key, remembered),
        }
    }

    /// The questions that are to be asked when the batch is durable.
    pub(crate) fn take_questions(&mut self) -> Vec<Question> {
        mem::take(&mut self.questions)
    }

    pub(crate) fn user(&self, id: UserId) -> Option<&User> {
        self.users.get(&id)
    }

    pub(crate) fn user_by_login(&self, login: &str) -> Option<&User> {
        self.logins.get(login).and_then(|id| self.users.get(id))
    }

    pub(crate) fn add_user(&mut self, user: User) {
        self.logins.insert(user.profile.login.clone(), user.id);
        self.users_added += 1;
        self.users.add(user.id, user);
    }

    /// A user whose role or password is about to change.
    pub(crate) fn user_to_change(&mut self, id: UserId) -> Option<&mut User> {
        self.users.change(&id)
    }

    pub(crate) fn add_session(&mut self, session: Session) {
        self.changes.sessions_added.push(session);
    }

    pub(crate) fn remove_session(&mut self, digest: TokenDigest) {
        self.changes.sessions_removed.push(digest);
    }

    pub(crate) fn trim_sessions(&mut self, user_id: UserId, newest: u32) {
        self.changes.sessions_trimmed.push((user_id, newest));
    }

    /// Ends every session of a user, those that began earlier in this batch as well.
    pub(crate) fn remove_sessions_of(&mut self, user_id: UserId) {
        self.changes.sessions_added.retain(|session| session.user_id != user_id);
        self.changes.sessions_removed_of.push(user_id);
    }

    pub(crate) fn purge(&mut self, purge: Purge) {
        self.changes.purge = Some(purge);
    }

    pub(crate) fn note_neighbours(&mut self, seen: &[Neighbour]) {
        self.neighbours_seen.extend_from_slice(seen);
    }

    pub(crate) fn next_booking_id(&mut self) -> BookingId {
        BookingId::new(self.booking_ids.take())
    }

    pub(crate) fn next_event_id(&mut self) -> EventId {
        EventId::new(self.event_ids.take())
    }

    pub(crate) fn next_user_id(&mut self) -> UserId {
        UserId::new(self.user_ids.take())
    }

    /// What is to be saved.
    pub fn into_changes(self) -> Changes {
        let mut changes = self.changes;
        let events = self.events.into_delta();
        changes.events_added = events.added;
        changes.tallies_changed =
            events.changed.iter().map(|event| (event.id, event.tally)).collect();
        let is_edited = |event: &Event| self.events_edited.contains(&event.id);
        changes.events_changed = events.changed.into_iter().filter(is_edited).collect();
        let slots = self.slots.into_delta();
        changes.slots_added = slots.added;
        changes.slots_changed = slots.changed;
        changes.slots_removed =
            slots.removed.into_iter().map(|slot| (slot.event_id, slot.booking_id)).collect();
        let bookings = self.bookings.into_delta();
        changes.bookings_added = bookings.added;
        changes.bookings_changed = bookings.changed;
        changes.bookings_removed =
            bookings.removed.into_iter().map(|b| (b.event_id, b.id)).collect();
        changes.accounts_changed = self.accounts.into_delta().changed;
        let errands = self.errands.into_delta();
        changes.errands_set = errands.added;
        changes.errands_set.extend(errands.changed);
        changes.errands_removed = errands.removed.iter().map(|errand| errand.booking_id).collect();
        let memories = self.memories.into_delta();
        changes.memories_added = memories.added;
        changes.memories_changed = memories.changed;
        let users = self.users.into_delta();
        changes.users_added = users.added;
        changes.users_changed = users.changed;
        changes.last_ids = LastIds {
            booking: self.booking_ids.last,
            event: self.event_ids.last,
            user: self.user_ids.last,
        };
        if self.rules.has_neighbours && !changes.is_empty() {
            changes.progress = 1;
        }
        // Nobody relies on these.
        changes.neighbours_seen = self.neighbours_seen;
        changes
    }
}

/// Numbers to give out.
struct Ids {
    range: IdRange,
    last: Option<i64>,
}

impl Ids {
    fn of(range: IdRange) -> Self {
        Self { range, last: None }
    }

    fn take(&mut self) -> i64 {
        let number = self.range.next;
        assert!(number < self.range.end, "a batch says how many numbers it may need");
        self.range.next += 1;
        self.last = Some(number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "how many numbers")]
    fn numbers_beyond_the_range_are_a_bug() {
        Ids::of(IdRange { next: 5, end: 5 }).take();
    }
}
