//! A store between the engine and the real one, that fails when a test tells it to.

mod lost_updates;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use async_trait::async_trait;
use eventbooker_core::accounts::{Account, Posting};
use eventbooker_core::bookings::Booking;
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::events::{Event, JournalEntry};
use eventbooker_core::identity::{TokenDigest, User};
use eventbooker_core::{BookingId, Contexts, EventId, Timestamp, UserId};
use eventbooker_store::{
    AccountQueries, Answer, AnswerKey, BookingQueries, BookingRoute, Changes, CommonQueries,
    DueErrands, DueHolds, EventQueries, EventWorkQueries, EventsPage, FullSnapshot,
    IdentityQueries, Installation, LastCheck, LastIds, Loaded, Neighbour, OldestKept, SagaQueries,
    SagaStep, SessionUser, SlotsPage, Store, StoreError, Wants, Writer,
};
use tokio::sync::oneshot;

pub use self::lost_updates::LostUpdates;
use crate::clock::PATIENCE;

/// What goes wrong with a save.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It doesn't happen, and the writer says this.
    Refuse(StoreError),
    /// It happens, and the writer says that it doesn't know.
    LoseAnswer,
    /// It happens, and then the writer panics.
    Panic,
}

/// Refuses the saves that it gives an error for.
type Objection = Box<dyn Fn(&Changes) -> Option<StoreError> + Send>;

/// Puts something between whoever writes and the real writer.
type Between = Box<dyn Fn(Box<dyn Writer>) -> Box<dyn Writer> + Send + Sync>;

/// What time it is by a store's own clock.
type StoreClock = Box<dyn Fn() -> Timestamp + Send>;

/// What is to go wrong. Clones tell the same stores.
#[derive(Clone, Default)]
pub struct Faults {
    plan: Arc<Plan>,
}

#[derive(Default)]
struct Plan {
    saves: Mutex<VecDeque<Fault>>,
    objection: Mutex<Option<Objection>>,
    held: Mutex<Option<Gate>>,
    held_turn: Mutex<Option<Gate>>,
    due_holds: AtomicU32,
    looks: AtomicUsize,
    routes: AtomicUsize,
    bookings: AtomicU32,
    saves_tried: AtomicUsize,
    looks_for_errands: AtomicUsize,
    looks_for_releases: AtomicUsize,
    looks_for_oldest: AtomicUsize,
    looks_at_events: AtomicUsize,
    events: AtomicU32,
    panics: AtomicU32,
    reading: AtomicUsize,
    read_at_once: AtomicUsize,
    clock: Mutex<Option<StoreClock>>,
}

struct Gate {
    reached: oneshot::Sender<()>,
    opened: oneshot::Receiver<()>,
}

/// A save, or a wait for a turn, that has stopped, or will stop, just before it happens.
pub struct Held {
    reached: oneshot::Receiver<()>,
    open: oneshot::Sender<()>,
}

impl Held {
    /// Waits until it is there, with its lane behind it.
    pub async fn reached(&mut self) {
        tokio::time::timeout(PATIENCE, &mut self.reached)
            .await
            .expect("it comes")
            .expect("the store is there");
    }

    /// Lets it happen.
    pub fn let_go(self) {
        self.open.send(()).expect("it waits");
    }
}

impl Faults {
    /// What goes wrong with the next save that comes and isn't spoken for.
    pub fn next_save(&self, fault: Fault) {
        lock(&self.plan.saves).push_back(fault);
    }

    /// Refuses every save that the objection gives an error for, until another takes its place.
    pub fn object(&self, objection: impl Fn(&Changes) -> Option<StoreError> + Send + 'static) {
        *lock(&self.plan.objection) = Some(Box::new(objection));
    }

    /// Stops the next save just before it happens.
    pub fn hold_next_save(&self) -> Held {
        hold(&self.plan.held)
    }

    /// Stops the next wait for a turn just before it begins.
    pub fn hold_next_turn(&self) -> Held {
        hold(&self.plan.held_turn)
    }

    /// Fails this many of the next searches for due holds.
    pub fn fail_due_holds(&self, times: u32) {
        self.plan.due_holds.store(times, Ordering::SeqCst);
    }

    /// Fails this many of the next searches for bookings by their numbers.
    pub fn fail_bookings(&self, times: u32) {
        self.plan.bookings.store(times, Ordering::SeqCst);
    }

    /// Fails this many of the next searches for events by their numbers.
    pub fn fail_events(&self, times: u32) {
        self.plan.events.store(times, Ordering::SeqCst);
    }

    /// Panics in the next search for events by their numbers.
    pub fn panic_at_events(&self) {
        self.plan.panics.store(1, Ordering::SeqCst);
    }

    /// Whether every fault has happened.
    pub fn are_used_up(&self) -> bool {
        let Plan { saves, due_holds, bookings, events, panics, .. } = &*self.plan;
        let reads = [due_holds, bookings, events, panics];
        lock(saves).is_empty() && reads.iter().all(|left| left.load(Ordering::SeqCst) == 0)
    }

    /// How often somebody has looked for due holds.
    pub fn looks_for_due_holds(&self) -> usize {
        self.plan.looks.load(Ordering::SeqCst)
    }

    /// Starts the move of a booking, and lets it go as far as it can: it is in its lane's inbox when
    /// this returns. Moves that begin at the same time would be taken for each other.
    pub async fn begin_move<F: Future>(&self, future: F) -> Pin<Box<F>> {
        let before = self.plan.routes.load(Ordering::SeqCst);
        let mut future = Box::pin(future);
        poll_fn(|context| {
            assert!(future.as_mut().poll(context).is_pending(), "this should have had to wait");
            // Whoever knows the booking's route goes straight to its lane.
            let is_routed = self.plan.routes.load(Ordering::SeqCst) > before;
            if is_routed { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        future
    }

    /// How many saves have been tried so far.
    pub fn saves_tried(&self) -> usize {
        self.plan.saves_tried.load(Ordering::SeqCst)
    }

    /// How often somebody has looked for errands that nobody carries.
    pub fn looks_for_errands(&self) -> usize {
        self.plan.looks_for_errands.load(Ordering::SeqCst)
    }

    /// How often somebody has looked for cancelled events with bookings to release.
    pub fn looks_for_releases(&self) -> usize {
        self.plan.looks_for_releases.load(Ordering::SeqCst)
    }

    /// Gives the store a clock of its own, for those who ask what time it is.
    pub fn set_clock(&self, clock: impl Fn() -> Timestamp + Send + 'static) {
        *lock(&self.plan.clock) = Some(Box::new(clock));
    }

    /// How often somebody has looked for rows that have outlived their use.
    pub fn looks_for_oldest(&self) -> usize {
        self.plan.looks_for_oldest.load(Ordering::SeqCst)
    }

    /// How often somebody has looked for events by their numbers.
    pub fn looks_at_events(&self) -> usize {
        self.plan.looks_at_events.load(Ordering::SeqCst)
    }

    /// How many reads of an event or of its journal there have been at once, at most.
    pub fn read_at_once(&self) -> usize {
        self.plan.read_at_once.load(Ordering::SeqCst)
    }

    async fn read<T>(&self, reading: impl Future<Output = T>) -> T {
        let at_once = self.plan.reading.fetch_add(1, Ordering::SeqCst) + 1;
        self.plan.read_at_once.fetch_max(at_once, Ordering::SeqCst);
        let read = reading.await;
        self.plan.reading.fetch_sub(1, Ordering::SeqCst);
        read
    }

    async fn before_save(&self, changes: &Changes) -> Option<Fault> {
        self.plan.saves_tried.fetch_add(1, Ordering::SeqCst);
        let objection = lock(&self.plan.objection).as_ref().and_then(|object| object(changes));
        // Taken before the save is held: what a test asks for meanwhile is for those behind it.
        let fault = objection.map(Fault::Refuse).or_else(|| lock(&self.plan.saves).pop_front());
        stop_at(&self.plan.held).await;
        fault
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hold(place: &Mutex<Option<Gate>>) -> Held {
    let (reached, was_reached) = oneshot::channel();
    let (open, opened) = oneshot::channel();
    *lock(place) = Some(Gate { reached, opened });
    Held { reached: was_reached, open }
}

async fn stop_at(place: &Mutex<Option<Gate>>) {
    let gate = lock(place).take();
    if let Some(gate) = gate {
        gate.reached.send(()).expect("somebody waits for it");
        gate.opened.await.expect("whoever holds it lets it go");
    }
}

fn fail_if_planned(left: &AtomicU32) -> Result<(), StoreError> {
    match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
        Ok(_) => Err(StoreError::Away("not just now".to_owned())),
        Err(_) => Ok(()),
    }
}

/// A store with [`Faults`].
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Faults,
    between: Option<Between>,
}

impl FaultyStore {
    /// Puts faults between whoever uses this and the real store.
    pub fn new(inner: Arc<dyn Store>, faults: Faults, lost_updates: Option<LostUpdates>) -> Self {
        let store = Self { inner, faults, between: None };
        match lost_updates {
            Some(lost) => store.with_writers(move |writer| lost.between(writer)),
            None => store,
        }
    }

    /// Puts something else between, too.
    #[must_use]
    pub fn with_writers(
        mut self,
        between: impl Fn(Box<dyn Writer>) -> Box<dyn Writer> + Send + Sync + 'static,
    ) -> Self {
        self.between = Some(Box::new(between));
        self
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn contexts(&self) -> Contexts {
        self.inner.contexts()
    }

    async fn writer(&self) -> Result<Box<dyn Writer>, StoreError> {
        let mut writer = self.inner.writer().await?;
        if let Some(between) = &self.between {
            writer = between(writer);
        }
        Ok(Box::new(FaultyWriter { inner: writer, faults: self.faults.clone() }))
    }

    async fn snapshot(&self) -> Result<Box<dyn FullSnapshot>, StoreError> {
        self.inner.snapshot().await
    }

    async fn hold_still(&self) -> Result<Box<dyn Send>, StoreError> {
        self.inner.hold_still().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

struct FaultyWriter {
    inner: Box<dyn Writer>,
    faults: Faults,
}

#[async_trait]
impl Writer for FaultyWriter {
    async fn take_turn(&mut self, lane: usize, clock: Timestamp) {
        stop_at(&self.faults.plan.held_turn).await;
        self.inner.take_turn(lane, clock).await;
    }

    async fn load(&mut self, wants: &Wants, clock: Timestamp) -> Result<Loaded, StoreError> {
        self.inner.load(wants, clock).await
    }

    async fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        match self.faults.before_save(changes).await {
            None => self.inner.save(changes).await,
            Some(Fault::Refuse(error)) => {
                self.inner.release().await?;
                Err(error)
            }
            Some(Fault::Panic) => {
                self.inner.save(changes).await?;
                panic!("a test wants this writer to panic");
            }
            Some(Fault::LoseAnswer) => {
                self.inner.save(changes).await?;
                Err(StoreError::OutcomeUnknown("nobody heard the answer".to_owned()))
            }
        }
    }

    async fn release(&mut self) -> Result<(), StoreError> {
        self.inner.release().await
    }

    async fn close(&mut self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl IdentityQueries for FaultyStore {
    async fn session(&self, digest: TokenDigest) -> Result<Option<SessionUser>, StoreError> {
        self.inner.session(digest).await
    }

    async fn user_by_login(&self, login: String) -> Result<Option<User>, StoreError> {
        self.inner.user_by_login(login).await
    }

    async fn users_by_ids(&self, ids: Vec<UserId>) -> Result<Vec<User>, StoreError> {
        self.inner.users_by_ids(ids).await
    }

    async fn users(&self, after: UserId, limit: u32) -> Result<Vec<User>, StoreError> {
        self.inner.users(after, limit).await
    }
}

#[async_trait]
impl EventQueries for FaultyStore {
    async fn event(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        self.faults.read(self.inner.event(id)).await
    }

    async fn events(&self, page: EventsPage) -> Result<Vec<Event>, StoreError> {
        self.inner.events(page).await
    }

    async fn events_with(&self, ids: Vec<EventId>) -> Result<Vec<Event>, StoreError> {
        self.faults.plan.looks_at_events.fetch_add(1, Ordering::SeqCst);
        fail_if_planned(&self.faults.plan.panics).expect("a test wants this search to panic");
        fail_if_planned(&self.faults.plan.events)?;
        self.inner.events_with(ids).await
    }

    async fn journal(
        &self,
        event_id: EventId,
        after_version: i64,
        limit: u32,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        self.faults.read(self.inner.journal(event_id, after_version, limit)).await
    }

    async fn slots(
        &self,
        event_id: EventId,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<SlotsPage, StoreError> {
        self.inner.slots(event_id, before, limit).await
    }
}

#[async_trait]
impl EventWorkQueries for FaultyStore {
    async fn journal_of_booking(&self, id: BookingId) -> Result<Vec<JournalEntry>, StoreError> {
        self.inner.journal_of_booking(id).await
    }

    async fn releasing_events(&self, limit: u32) -> Result<Vec<EventId>, StoreError> {
        self.faults.plan.looks_for_releases.fetch_add(1, Ordering::SeqCst);
        self.inner.releasing_events(limit).await
    }
}

#[async_trait]
impl AccountQueries for FaultyStore {
    async fn account(&self, user_id: UserId) -> Result<Account, StoreError> {
        self.inner.account(user_id).await
    }

    async fn postings(
        &self,
        user_id: UserId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Posting>, StoreError> {
        self.inner.postings(user_id, before, limit).await
    }

    async fn postings_for(&self, id: BookingId) -> Result<Vec<Posting>, StoreError> {
        self.inner.postings_for(id).await
    }
}

#[async_trait]
impl BookingQueries for FaultyStore {
    async fn bookings(&self, ids: Vec<BookingId>) -> Result<Vec<Booking>, StoreError> {
        fail_if_planned(&self.faults.plan.bookings)?;
        self.inner.bookings(ids).await
    }

    async fn live_bookings_of_user(
        &self,
        user_id: UserId,
        event_id: Option<EventId>,
        before: Option<BookingId>,
        limit: u32,
    ) -> Result<Vec<Booking>, StoreError> {
        self.inner.live_bookings_of_user(user_id, event_id, before, limit).await
    }

    async fn bookings_of_user(
        &self,
        user_id: UserId,
        after: BookingId,
        limit: u32,
    ) -> Result<Vec<Booking>, StoreError> {
        self.inner.bookings_of_user(user_id, after, limit).await
    }

    async fn booking_route(&self, id: BookingId) -> Result<BookingRoute, StoreError> {
        let route = self.inner.booking_route(id).await;
        self.faults.plan.routes.fetch_add(1, Ordering::SeqCst);
        route
    }
}

#[async_trait]
impl SagaQueries for FaultyStore {
    async fn due_holds(&self, clock: Timestamp, limit: u32) -> Result<DueHolds, StoreError> {
        self.faults.plan.looks.fetch_add(1, Ordering::SeqCst);
        fail_if_planned(&self.faults.plan.due_holds)?;
        self.inner.due_holds(clock, limit).await
    }

    async fn due_errands(&self, clock: Timestamp, limit: u32) -> Result<DueErrands, StoreError> {
        self.faults.plan.looks_for_errands.fetch_add(1, Ordering::SeqCst);
        self.inner.due_errands(clock, limit).await
    }

    async fn errands(&self, after: BookingId, limit: u32) -> Result<Vec<Errand>, StoreError> {
        self.inner.errands(after, limit).await
    }

    async fn saga_steps(&self, booking_id: BookingId) -> Result<Vec<SagaStep>, StoreError> {
        self.inner.saga_steps(booking_id).await
    }

    async fn errand(&self, booking_id: BookingId) -> Result<Option<Errand>, StoreError> {
        self.inner.errand(booking_id).await
    }
}

#[async_trait]
impl CommonQueries for FaultyStore {
    async fn oldest_kept(&self) -> Result<OldestKept, StoreError> {
        self.faults.plan.looks_for_oldest.fetch_add(1, Ordering::SeqCst);
        self.inner.oldest_kept().await
    }

    async fn installation(&self) -> Result<Installation, StoreError> {
        self.inner.installation().await
    }

    async fn progress(&self) -> Result<i64, StoreError> {
        self.inner.progress().await
    }

    async fn neighbours(&self) -> Result<Vec<Neighbour>, StoreError> {
        self.inner.neighbours().await
    }

    async fn ids_met(&self) -> Result<LastIds, StoreError> {
        self.inner.ids_met().await
    }

    async fn last_checks(&self) -> Result<Vec<LastCheck>, StoreError> {
        self.inner.last_checks().await
    }

    async fn answer(&self, key: AnswerKey) -> Result<Option<Answer>, StoreError> {
        self.inner.answer(key).await
    }

    async fn clock(&self) -> Result<Option<Timestamp>, StoreError> {
        let own = lock(&self.faults.plan.clock).as_ref().map(|clock| clock());
        if own.is_some() { Ok(own) } else { self.inner.clock().await }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }
}
