//! A lane's connection: lock, load, save, commit, in two round trips; a crowd's waits for its turn before.
//!
//! Bookings of other events' commands come first, then events, then accounts, each by ascending
//! number, so that lanes and replicas can't wait for each other in a circle. What belongs to an event
//! is read behind its lock, because each statement sees what was committed before it began.

use std::collections::HashMap;

use async_trait::async_trait;
use eventbooker_core::accounts::Account;
use eventbooker_core::events::{Event, Tally};
use eventbooker_core::{BookingId, Context, Contexts, EventId, Timestamp, UserId};

use super::config::Connector;
use super::error::{ends_session, explain, is_lost, refuses_commit};
use super::numbers::{self, Numbers};
use super::row::{all, can_be_text, instant, one};
use super::session::{
    Answers, BEGIN, COMMIT, Flight, Params, ROLLBACK, Session, Ticket, column, params,
};
use super::{
    Clock, accounts, answers, bookings, checks, events, identity, if_here, neighbours, sagas,
};
use crate::{Changes, Loaded, StoreError, Wants, Writer, codes};

pub(super) const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
/// An instant that a clock of any server may be behind another's; holdings that ended before the last
/// batch's instant by more than this are not even looked at.
const CLOCK_SLACK_MICROS: i64 = 3_600_000_000;
/// Waits for whoever holds a lane's turn.
const TAKE_TURN: &str = "SELECT lane FROM turns WHERE lane = $1 FOR UPDATE";
/// How long turns are waited for after another writer has been seen at work on the same events.
const OTHERS_STAY_MICROS: u64 = 1_000_000;
/// How long no turn is waited for after somebody has kept one for longer than a lock is waited for. By
/// then the server has ended their transaction.
const TURNS_PAUSE_MICROS: u64 = 10_000_000;

pub(super) struct PostgresWriter {
    connector: Connector,
    contexts: Contexts,
    clock: Clock,
    session: Option<Session>,
    numbers: Numbers,
    /// Where it counts how far the database has come.
    slot: i64,
    /// The instant of the last batch.
    last_now: Option<Timestamp>,
    /// Whether a transaction has begun that has its turn.
    has_turn: bool,
    /// The events of the last batch, as it left them.
    left: HashMap<EventId, Tally>,
    /// When another writer was last seen to have changed one of them, by this process's clock.
    others_seen: Option<Timestamp>,
    /// When a turn was last waited for in vain, by this process's clock.
    turn_missed: Option<Timestamp>,
}

impl PostgresWriter {
    pub(super) fn new(connector: Connector, contexts: Contexts, clock: Clock) -> Self {
        Self {
            connector,
            contexts,
            clock,
            session: None,
            numbers: Numbers::default(),
            slot: draw_slot(),
            last_now: None,
            has_turn: false,
            left: HashMap::new(),
            others_seen: None,
            turn_missed: None,
        }
    }

    /// Connects unless there is a connection; whether there was none.
    async fn connect(&mut self) -> Result<bool, StoreError> {
        if self.session.as_ref().is_some_and(|session| !session.is_closed()) {
            return Ok(false);
        }
        self.forget_session();
        let own = [BEGIN, COMMIT, ROLLBACK, TAKE_TURN, NOW].into_iter();
        let statements = own
            .chain(numbers::WRITES)
            .chain(answers::WRITES)
            .chain(sagas::MEMORY_WRITES)
            .chain(checks::WRITES)
            .chain(neighbours::WRITES)
            .chain(if_here(self.contexts, Context::Identity, identity::WRITES))
            .chain(if_here(self.contexts, Context::Events, events::WRITES))
            .chain(if_here(self.contexts, Context::Accounts, accounts::WRITES))
            .chain(if_here(self.contexts, Context::Bookings, bookings::WRITES))
            .chain(if_here(self.contexts, Context::Bookings, sagas::WRITES));
        self.session = Some(Session::open(&self.connector, statements).await?);
        Ok(true)
    }

    /// The numbers go with it: a server that has crashed may not know any more that they were taken.
    fn forget_session(&mut self) -> Option<Session> {
        self.numbers = Numbers::default();
        self.has_turn = false;
        self.session.take()
    }

    /// Takes numbers ahead, because in the transaction that has its turn it would be too late: whoever
    /// took some there would keep others from them until the end.
    async fn take_turn_now(&mut self, lane: usize, clock: Timestamp) -> Result<(), StoreError> {
        let Self { session, numbers, .. } = self;
        let mut flight = opened(session.as_ref()).flight();
        let taken = numbers.take_ahead(&mut flight, clock);
        flight.ask(BEGIN, params![]);
        flight.ask(TAKE_TURN, params![i64::try_from(lane).unwrap_or(i64::MAX)]);
        match flight.land().await {
            Ok(answers) => numbers.add(&answers, &taken),
            Err(error) => {
                if ends_session(&error) {
                    self.forget_session();
                }
                Err(error.into())
            }
        }
    }

    async fn load_now(&mut self, wants: &Wants, clock: Timestamp) -> Result<Loaded, StoreError> {
        let Self { session, numbers: own, clock: whose, last_now, .. } = self;
        let had_turn = std::mem::take(&mut self.has_turn);
        let mut flight = opened(session.as_ref()).flight();
        own.note(wants);
        let mut taken = [None; 3];
        if !(had_turn && own.suffice(wants)) {
            if had_turn {
                flight.ask(ROLLBACK, params![]);
            }
            taken = own.take(&mut flight, wants, clock);
            flight.ask(BEGIN, params![]);
        }
        let asked = Asked::send(&mut flight, wants, *whose, *last_now);
        let answers = match flight.land().await {
            Ok(answers) => answers,
            Err(error) => {
                if ends_session(&error) {
                    self.forget_session();
                }
                return Err(error.into());
            }
        };
        own.add(&answers, &taken)?;
        let now = match asked.now {
            None => clock,
            Some(ticket) => instant(one(answers.of(ticket))?, 0)?,
        };
        *last_now = Some(now);
        let loaded = asked.read(&answers, wants, now, own)?;
        let is_changed =
            |event: &Event| self.left.get(&event.id).is_some_and(|it| *it != event.tally);
        if loaded.events.iter().any(is_changed) {
            self.others_seen = Some(clock);
        }
        Ok(loaded)
    }

    /// Ends a transaction that can't go on. Nobody waits for the answer; whatever is asked next comes
    /// behind it.
    fn roll_back(&mut self) {
        self.has_turn = false;
        if let Some(session) = &self.session {
            session.flight().ask(ROLLBACK, params![]);
        }
    }

    async fn save_now(&mut self, changes: &Changes) -> Result<(), StoreError> {
        let mut flight = opened(self.session.as_ref()).flight();
        identity::save(&mut flight, changes);
        events::save(&mut flight, changes);
        accounts::save(&mut flight, changes);
        bookings::save(&mut flight, changes);
        sagas::save(&mut flight, changes);
        answers::save(&mut flight, changes);
        if let Some(purge) = &changes.purge {
            if self.contexts.has(Context::Identity) {
                identity::purge_sessions(&mut flight, purge);
            }
            answers::purge(&mut flight, purge);
            sagas::purge(&mut flight, purge);
        }
        if let Some(check) = &changes.checked {
            checks::save(&mut flight, check);
        }
        self.numbers.raise(&mut flight, changes.last_ids);
        neighbours::save(&mut flight, changes, self.slot);
        // If anything before it is refused, this ends the transaction without a change.
        let (end, is_commit) = flight.end();
        let Err((ticket, error)) = flight.land_all().await else { return Ok(()) };
        let session = if ends_session(&error) { self.forget_session() } else { None };
        let is_answered = error.as_db_error().is_some();
        if !is_commit || (is_answered && (ticket != end || refuses_commit(&error))) {
            // Nothing has happened, and may well if it is tried again on another connection.
            let is_over = is_lost(&error);
            return Err(if is_over {
                StoreError::Contention(explain(&error))
            } else {
                error.into()
            });
        }
        // The commit was on its way with everything else. It wasn't heard if the server ended the
        // session before it heard anything.
        if !is_answered
            && let Some(session) = session.filter(Session::is_closed)
            && let Some(words) = session.last_words().await
        {
            return Err(StoreError::Contention(words));
        }
        Err(StoreError::OutcomeUnknown(explain(&error)))
    }
}

#[async_trait]
impl Writer for PostgresWriter {
    async fn take_turn(&mut self, lane: usize, clock: Timestamp) {
        let is_within = |then: Option<Timestamp>, micros| {
            then.is_some_and(|then| clock.as_micros().abs_diff(then.as_micros()) <= micros)
        };
        let has_company = is_within(self.others_seen, OTHERS_STAY_MICROS);
        let is_paused = is_within(self.turn_missed, TURNS_PAUSE_MICROS);
        // Machines that share the rows are there to work side by side.
        let can_wait = |session: &Session| !session.is_closed() && !session.spreads();
        if !has_company || is_paused || !self.session.as_ref().is_some_and(can_wait) {
            return;
        }
        match self.take_turn_now(lane, clock).await {
            Ok(()) => self.has_turn = true,
            Err(error) => {
                tracing::warn!(%error, lane, "a lane goes on without its turn");
                self.roll_back();
                self.turn_missed = Some(clock);
            }
        }
    }

    async fn load(&mut self, wants: &Wants, clock: Timestamp) -> Result<Loaded, StoreError> {
        let is_new = self.connect().await?;
        let mut loaded = self.load_now(wants, clock).await;
        if loaded.is_err() && self.session.is_none() && !is_new {
            // The connection had become useless since it was last used. Nothing has happened yet.
            self.connect().await?;
            loaded = self.load_now(wants, clock).await;
        }
        loaded.inspect_err(|_| self.roll_back())
    }

    async fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        self.save_now(changes).await?;
        self.numbers.used(changes.last_ids);
        self.left.clear();
        self.left.extend(changes.tallies_changed.iter().copied());
        Ok(())
    }

    async fn release(&mut self) -> Result<(), StoreError> {
        self.roll_back();
        Ok(())
    }

    async fn close(&mut self) {
        let Some(session) = self.session.take() else { return };
        let mut flight = session.flight();
        self.numbers.give_back(&mut flight);
        if let Err(error) = flight.land().await {
            tracing::debug!(reason = explain(&error), "a few numbers are left out");
        }
    }
}

/// One of the rows that a database's number is the sum of. Two writers that have drawn the same one wait
/// for each other.
fn draw_slot() -> i64 {
    let drawn = getrandom::u64().expect("the operating system provides randomness");
    i64::try_from(drawn % neighbours::SLOTS).expect("there are few")
}

/// A load opens the session, and a save comes behind a load.
fn opened(session: Option<&Session>) -> &Session {
    session.expect("it has been opened")
}

/// What a load has asked for.
struct Asked {
    bookings: Vec<Ticket>,
    accounts: Vec<Ticket>,
    errands: Option<Ticket>,
    users: Vec<Ticket>,
    now: Option<Ticket>,
    tallies: Vec<Ticket>,
    events: Option<Ticket>,
    slots: Option<Ticket>,
    holdings: Option<Ticket>,
    memories: Option<Ticket>,
    answers: Option<Ticket>,
}

impl Asked {
    fn send(
        flight: &mut Flight<'_>,
        wants: &Wants,
        clock: Clock,
        last_now: Option<Timestamp>,
    ) -> Self {
        let mut bookings = Vec::new();
        let is_locked = |event_id: &EventId| wants.events.binary_search(event_id).is_ok();
        let apart = wants.bookings.chunk_by(|(one, _), (other, _)| one == other);
        for of_event in apart.filter(|of_event| !is_locked(&of_event[0].0)) {
            let ids = column(of_event, |(_, id)| id.get());
            bookings.push(flight.ask(bookings::LOCK, params![of_event[0].0.get(), ids]));
        }
        let event_ids = column(&wants.events, |id| id.get());
        let tallies = flight.lock(events::LOCK, events::LOCK_ONE, event_ids);
        let accounts = column(&wants.accounts, |user_id| user_id.get());
        let accounts = flight.lock(accounts::LOCK, accounts::LOCK_ONE, accounts);
        let errands = (!wants.errands.is_empty())
            .then(|| flight.ask(sagas::LOCK, params![column(&wants.errands, |id| id.get())]));
        let mut users = Vec::new();
        if !wants.users.is_empty() {
            let ids = column(&wants.users, |id| id.get());
            users.push(flight.ask(identity::LOCK, params![ids]));
        }
        if !wants.logins.is_empty() {
            let logins: Vec<_> =
                wants.logins.iter().filter(|it| can_be_text(it)).cloned().collect();
            users.push(flight.ask(identity::LOAD_LOGINS, params![logins]));
        }
        let now = match clock {
            Clock::Given => None,
            // Behind the locks: whoever had to wait for one decides by the time at which it had it.
            Clock::Database => Some(flight.ask(NOW, params![])),
        };
        let events = (!wants.events.is_empty())
            .then(|| flight.ask(events::LOAD, params![column(&wants.events, |id| id.get())]));
        let guarded: Vec<_> =
            wants.bookings.iter().filter(|(event_id, _)| is_locked(event_id)).copied().collect();
        if !guarded.is_empty() {
            bookings.push(flight.ask(bookings::LOAD, pairs(&guarded)));
        }
        let slots =
            (!wants.slots.is_empty()).then(|| flight.ask(events::LOAD_SLOTS, pairs(&wants.slots)));
        Self {
            bookings,
            accounts,
            errands,
            users,
            now,
            tallies,
            events,
            slots,
            holdings: ask_holdings(flight, wants, last_now),
            memories: ask_memories(flight, wants),
            answers: ask_answers(flight, wants),
        }
    }

    fn read(
        &self,
        answers: &Answers,
        wants: &Wants,
        now: Timestamp,
        numbers: &Numbers,
    ) -> Result<Loaded, StoreError> {
        let rows = |ticket: Option<Ticket>| ticket.map_or(&[][..], |ticket| answers.of(ticket));
        let mut known = HashMap::with_capacity(wants.accounts.len());
        for row in self.accounts.iter().flat_map(|ticket| answers.of(*ticket)) {
            let account = accounts::account(row)?;
            known.insert(account.user_id, account);
        }
        let opened = |user_id: &UserId| known.remove(user_id).unwrap_or(Account::open(*user_id));
        let accounts = wants.accounts.iter().map(opened).collect();
        let mut bookings = Vec::with_capacity(wants.bookings.len());
        for ticket in &self.bookings {
            bookings.extend(all(answers.of(*ticket), bookings::booking)?);
        }
        bookings.sort_unstable_by_key(|booking| (booking.event_id, booking.id));
        let tallies = self.tallies.iter().flat_map(|ticket| answers.of(*ticket));
        let mut users = Vec::new();
        for ticket in &self.users {
            users.extend(all(answers.of(*ticket), identity::user)?);
        }
        Ok(Loaded {
            now,
            answers: all(rows(self.answers), answers::answer)?,
            bookings,
            holdings: bookings::holdings(rows(self.holdings), &wants.holdings, now)?,
            events: events::locked(tallies, rows(self.events))?,
            slots: all(rows(self.slots), events::slot)?,
            accounts,
            errands: all(rows(self.errands), sagas::errand)?,
            memories: all(rows(self.memories), sagas::remembered)?,
            users,
            booking_ids: numbers.bookings,
            event_ids: numbers.events,
            user_ids: numbers.users,
        })
    }
}

fn pairs(keys: &[(EventId, BookingId)]) -> Params {
    params![column(keys, |(event_id, _)| event_id.get()), column(keys, |(_, id)| id.get())]
}

fn ask_holdings(
    flight: &mut Flight<'_>,
    wants: &Wants,
    last_now: Option<Timestamp>,
) -> Option<Ticket> {
    let of = &wants.holdings;
    if of.is_empty() {
        return None;
    }
    // This batch's instant isn't known yet; it lies behind the last one's, or hardly before.
    let over = last_now.map_or(i64::MIN, |last| last.as_micros() - CLOCK_SLACK_MICROS);
    let events = column(of, |of| of.event_id.get());
    let users = column(of, |of| of.user_id.get());
    let on_their_way = of.iter().any(|of| of.on_their_way);
    Some(flight.ask(bookings::LOAD_HOLDINGS, params![events, users, over, on_their_way]))
}

fn ask_memories(flight: &mut Flight<'_>, wants: &Wants) -> Option<Ticket> {
    let keys = &wants.memories;
    (!keys.is_empty()).then(|| {
        let params = params![
            column(keys, |key| key.booking_id.get()),
            column(keys, |key| codes::of_participant(key.participant)),
            column(keys, |key| i64::from(key.attempt)),
        ];
        flight.ask(sagas::LOAD_MEMORIES, params)
    })
}

fn ask_answers(flight: &mut Flight<'_>, wants: &Wants) -> Option<Ticket> {
    let keys = &wants.answers;
    (!keys.is_empty()).then(|| {
        let params =
            params![column(keys, |key| key.scope.get()), column(keys, |key| key.key.clone())];
        flight.ask(answers::LOAD, params)
    })
}
