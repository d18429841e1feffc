//! A whole service without its HTTP: an engine, or several, on a real store of its
//! own, by a clock that the test sets.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use eventbooker_core::accounts::Account;
use eventbooker_core::bookings::{Act, Booking, HoldLimits};
use eventbooker_core::events::{Amendment, Draft, Event};
use eventbooker_core::identity::{Actor, Role};
use eventbooker_core::{BookingId, Contexts, EventId, Money, Timestamp, UserId};
use eventbooker_engine::check::{Report, Together, recount};
use eventbooker_engine::{
    Answer, BookingAt, Decided, Engine, Error, Neighbours, Parts, Place, Refusal, Settings,
    Subscription, Told, Update, WriteAnswer,
};
use eventbooker_store::Access;
use eventbooker_store::{Changes, Store};

use crate::clock::PATIENCE;
use crate::database::Database;
use crate::faults::{Faults, FaultyStore, LostUpdates};
use crate::rows;
use crate::{ManualClock, SeededEntropy};

/// A step of the clock, no longer than live events are paced.
const STEP: Duration = Duration::from_millis(50);
/// Tasks that sleep by the clock in each engine: the deadline clock, whoever takes up errands, and the
/// clean-up. Whoever releases the bookings of cancelled events is a fourth, if the events are here; and the
/// recount another one, unless it is off.
const SLEEPERS: usize = 3;

/// Who organises events in tests.
pub const ADMIN: Actor = Actor { user_id: UserId::new(1_000_000), role: Role::Admin };

/// A user's actor.
pub const fn attendee(user: i64) -> Actor {
    Actor { user_id: UserId::new(user), role: Role::User }
}

/// No limits but those of a booking's seats, for tests that are about something else.
pub const UNLIMITED: HoldLimits =
    HoldLimits { seats_per_booking_max: 100, holds_max: None, held_seats_max: None };

/// How a service is built.
#[derive(Clone)]
pub struct Options {
    /// What its operator chose.
    pub settings: Settings,
    /// Engines on the same file, as replicas are on the same database.
    pub engines: usize,
    /// The negative control.
    pub lost_updates: Option<LostUpdates>,
    /// Who has the seats and the money.
    pub participants: Neighbours,
    /// How answers are written down that wait for a saga.
    pub write_answer: WriteAnswer,
}

impl Default for Options {
    fn default() -> Self {
        let settings = Settings { holds: UNLIMITED, ..Settings::default() };
        Self {
            settings,
            engines: 1,
            lost_updates: None,
            participants: Neighbours::default(),
            write_answer: in_words,
        }
    }
}

/// Why a command came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A rule said no.
    Refused(Refusal),
    /// The outside world failed.
    Failed(Error),
}

/// What a command came to.
pub type Outcome<T> = Result<T, Failure>;

/// The failure that is this refusal.
pub fn refused(refusal: impl Into<Refusal>) -> Failure {
    Failure::Refused(refusal.into())
}

/// What a command without a key came to.
pub fn outcome<T>(answer: Result<Answer<T>, Error>) -> Outcome<T> {
    match answer.map_err(Failure::Failed)? {
        Answer::Given(Decided { outcome, .. }) => outcome.map_err(Failure::Refused),
        Answer::Kept { .. } => panic!("a command without a key has no kept answer"),
    }
}

/// Writes down what became of a booking, in place of what a client of the HTTP side would get.
pub fn in_words(act: Act, decided: &Decided<BookingAt>) -> Vec<u8> {
    let words = match &decided.outcome {
        Ok(BookingAt { booking: Booking { id, state, .. }, .. }) => {
            format!("{act:?}: booking {id} is {state}")
        }
        Err(refusal) => format!("{act:?}: {refusal}"),
    };
    words.into_bytes()
}

/// Starts something that has to wait, and lets it wait: a command is in its lane's inbox when this
/// returns.
pub async fn begin<F: Future>(future: F) -> Pin<Box<F>> {
    let mut future = Box::pin(future);
    poll_fn(|context| {
        assert!(future.as_mut().poll(context).is_pending(), "this should have had to wait");
        Poll::Ready(())
    })
    .await;
    future
}

/// A service. A test ends with [`finish`](Self::finish), which fails if the service's rows aren't
/// sound.
pub struct Service {
    /// Its clock.
    pub clock: Arc<ManualClock>,
    /// What goes wrong with its store.
    pub faults: Faults,
    engines: Vec<Engine>,
    /// The open stores, so that a restart can wait until all are closed.
    stores: Vec<Weak<dyn Store>>,
    entropy: Arc<SeededEntropy>,
    options: Options,
    database: Database,
    finished: bool,
}

impl Service {
    /// A service that has just been installed.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// The same, built in some other way.
    pub async fn with(options: Options) -> Self {
        Self::on(Database::new(), options).await
    }

    /// One on the embedded store, whichever is under test.
    pub async fn embedded() -> Self {
        Self::on(Database::embedded(), Options::default()).await
    }

    async fn on(database: Database, options: Options) -> Self {
        let mut service = Self {
            clock: Arc::default(),
            faults: Faults::default(),
            engines: Vec::new(),
            stores: Vec::new(),
            entropy: Arc::new(SeededEntropy::new(1)),
            options,
            database,
            finished: false,
        };
        service.open().await;
        service
    }

    async fn open(&mut self) {
        let Options { settings, engines, lost_updates, participants, write_answer } =
            self.options.clone();
        // Only one server may have the file, but replicas are what some tests are about.
        let access = if engines == 1 { Access::Serve } else { Access::Tool };
        for _ in 0..engines {
            let store = self.database.open(access).await.expect("the database opens");
            self.stores.push(Arc::downgrade(&store));
            let faults = self.faults.clone();
            let parts = Parts {
                store: Arc::new(FaultyStore::new(store, faults, lost_updates.clone())),
                clock: Arc::clone(&self.clock) as _,
                entropy: Arc::clone(&self.entropy) as _,
                write_answer,
            };
            let engine = Engine::start_among(participants.clone(), parts, settings.clone());
            self.engines.push(engine.await.expect("it starts"));
        }
        self.settle().await;
    }

    async fn close(&mut self) {
        for engine in self.engines.drain(..) {
            engine.stop().await;
        }
    }

    /// Stops, lets time pass, and starts again on the same file.
    pub async fn restart(&mut self, away: Duration) {
        self.close().await;
        let stores = std::mem::take(&mut self.stores);
        let closed = async {
            while stores.iter().any(|store| store.strong_count() > 0) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, closed).await.expect("nobody keeps a stopped engine");
        self.clock.advance(away);
        self.open().await;
    }

    /// Its database, for looks past it.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engines[0]
    }

    /// All engines.
    pub fn engines(&self) -> &[Engine] {
        &self.engines
    }

    /// The store, for queries.
    pub fn store(&self) -> &dyn Store {
        self.engine().store()
    }

    /// Seeded numbers.
    pub fn entropy(&self) -> &SeededEntropy {
        &self.entropy
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.engine().now()
    }

    /// Waits until the deadline clock, whoever releases bookings, whoever takes up errands, the clean-up
    /// and the recount have done what is due by now. A recount that is under way rests by the clock after every page.
    pub async fn settle(&self) {
        self.settle_with(0).await;
    }

    /// The same, where so many events are watched.
    pub async fn settle_with(&self, watched: usize) {
        let Options { settings, participants, .. } = &self.options;
        let recounts = usize::from(settings.recount_every.is_some());
        let releases = usize::from(matches!(participants.events, Place::Here));
        let sleepers = (SLEEPERS + recounts + releases) * self.engines.len();
        self.clock.until_asleep(sleepers + watched).await;
    }

    /// Moves the clock whenever everybody waits for it. So many events are watched.
    pub async fn tick(&self, watched: usize) {
        loop {
            self.settle_with(watched).await;
            self.clock.advance(STEP);
            tokio::task::yield_now().await;
        }
    }

    /// What a watcher is told next, while time passes. So many events are watched.
    pub async fn next(
        &self,
        watcher: &mut Subscription,
        watched: usize,
    ) -> Option<Arc<Told<Update>>> {
        let told = async {
            tokio::select! {
                update = watcher.next() => update,
                () = self.tick(watched) => unreachable!("time goes on"),
            }
        };
        tokio::time::timeout(PATIENCE, told).await.expect("a watcher is told before long")
    }

    /// Lets time pass, and waits until what has fallen due meanwhile is done.
    pub async fn pass(&self, span: Duration) {
        self.clock.advance(span);
        self.settle().await;
    }

    /// Registers users, whose passwords nobody knows.
    pub async fn add_users(&self, users: impl IntoIterator<Item = i64>) {
        let user = |id| rows::user(id, &format!("user-{id}"));
        let users_added = users.into_iter().map(user).collect();
        rows::save(self.store(), Changes { users_added, ..Changes::default() }).await;
    }

    /// Creates an event without a date.
    pub async fn create_event(&self, capacity: i64, price: i64, window_minutes: i64) -> EventId {
        let draft = Draft {
            name: "Green run".to_owned(),
            description: String::new(),
            starts_at: None,
            capacity,
            price_minor: price,
            payment_window_minutes: window_minutes,
        };
        let answer = self.engine().create_event(ADMIN, draft, None).await;
        outcome(answer).expect("the draft breaks no rule").id
    }

    /// Changes an event.
    pub async fn edit(&self, id: EventId, amendment: Amendment) -> Outcome<Event> {
        outcome(self.engine().edit_event(ADMIN, id, amendment, None).await)
    }

    /// Cancels an event.
    pub async fn cancel_event(&self, id: EventId) -> Outcome<Event> {
        outcome(self.engine().cancel_event(ADMIN, id, None).await)
    }

    /// Waits, without any time passing, until a cancelled event has released what was booked.
    pub async fn until_released(&self, id: EventId) {
        let released = async {
            while self.event(id).await.cancellation.is_some_and(|it| it.is_releasing) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, released).await.expect("all of it is released");
    }

    /// An event as it stands.
    pub async fn event(&self, id: EventId) -> Event {
        self.store().event(id).await.expect("the store answers").expect("the event exists")
    }

    /// Seats that nobody holds or has bought.
    pub async fn free_seats(&self, id: EventId) -> u32 {
        self.event(id).await.free_seats().get()
    }

    /// Holds seats.
    pub async fn book(&self, user: i64, event_id: EventId, seats: i64) -> Outcome<Booking> {
        book(self.engine(), user, event_id, seats).await
    }

    /// Pays a booking.
    pub async fn confirm(&self, actor: Actor, id: BookingId) -> Outcome<Booking> {
        booking(self.engine().confirm(actor, None, id, None).await)
    }

    /// Ends a booking.
    pub async fn cancel(&self, actor: Actor, id: BookingId) -> Outcome<Booking> {
        booking(self.engine().cancel(actor, id, None).await)
    }

    /// Books seats and pays for them at once.
    pub async fn purchase(&self, user: i64, event_id: EventId, seats: i64) -> Outcome<Booking> {
        purchase(self.engine(), user, event_id, seats).await
    }

    /// Pays in for a user, who has to be registered.
    pub async fn deposit(&self, user: i64, amount: i64) -> Outcome<Account> {
        let amount = Money::from_minor(amount);
        outcome(self.engine().deposit(ADMIN, UserId::new(user), amount, None).await)
    }

    /// A user's account.
    pub async fn account(&self, user: i64) -> Account {
        self.engine().account(UserId::new(user)).await.expect("the store answers")
    }

    /// What a user's account holds, in minor units.
    pub async fn balance(&self, user: i64) -> i64 {
        self.account(user).await.balance.as_minor()
    }

    /// Changes rows behind the service's back.
    pub fn sql(&self, statements: &str) {
        self.database.change(statements);
    }

    /// Recounts every invariant in a copy of the rows that has been damaged.
    pub async fn recount_damaged(&self, damage: &str) -> Report {
        recount_of(&*self.damaged(damage).await).await
    }

    /// A copy of the rows that has been damaged. There is one at a time.
    pub async fn damaged(&self, damage: &str) -> Arc<dyn Store> {
        self.database.damaged(damage).await
    }

    /// Recounts every invariant.
    pub async fn recount(&self) -> Report {
        recount_of(self.store()).await
    }

    /// Fails if an invariant is broken.
    pub async fn check_clean(&self) {
        let report = self.recount().await;
        assert!(report.is_clean(), "the recount found {:#?}", report.findings);
    }

    /// Stops, and fails if an invariant is broken.
    pub async fn finish(mut self) {
        assert!(self.faults.are_used_up(), "a fault that a test asked for never happened");
        self.check_clean().await;
        self.abandon().await;
    }

    /// Stops without a look at the rows, which the test has spoilt on purpose.
    pub async fn finish_spoilt(mut self) {
        self.abandon().await;
    }

    async fn abandon(&mut self) {
        self.finished = true;
        tokio::time::timeout(PATIENCE, self.close()).await.expect("the service stops");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        assert!(
            self.finished || std::thread::panicking(),
            "a test has to end with finish(), so that the rows are checked"
        );
    }
}

async fn recount_of(store: &dyn Store) -> Report {
    let mut snapshot = store.snapshot().await.expect("the store gives a snapshot");
    let mut rows = Together::in_one(Contexts::ALL, &mut *snapshot);
    recount(&mut rows, &mut |_, _| {}).await.expect("the rows can be read")
}

/// Holds seats through one of several engines.
pub async fn book(engine: &Engine, user: i64, event_id: EventId, seats: i64) -> Outcome<Booking> {
    booking(engine.book(UserId::new(user), event_id, seats, None).await)
}

/// Books seats and pays for them at once, through one of several engines.
pub async fn purchase(
    engine: &Engine,
    user: i64,
    event_id: EventId,
    seats: i64,
) -> Outcome<Booking> {
    booking(engine.purchase(UserId::new(user), event_id, seats, None).await)
}

fn booking(answer: Result<Answer<BookingAt>, Error>) -> Outcome<Booking> {
    outcome(answer).map(|at| at.booking)
}
