//! The engine: takes commands, decides them in batches, keeps deadlines, counts again.
//!
//! A command goes into the lane of its event. The lane takes all that waits, loads the rows that
//! the batch names, decides the commands one after the other in memory, saves all changes in one
//! transaction, and only then answers. Queries go past the lanes straight to the store; they
//! decide nothing.
//!
//! Clock, randomness and store are parameters ([`Parts`]), so that a test runs the whole engine
//! against a clock of its own.
//!
//! Absent on purpose: SQL, and anything of HTTP.

mod accounts;
mod batch;
mod bookings;
pub mod check;
mod clock;
mod command;
pub mod copy;
mod deadlines;
mod due;
mod errands;
mod error;
mod events;
mod guests;
mod history;
mod identity;
mod janitor;
mod lane;
mod live;
mod lost_state;
mod meters;
mod neighbours;
mod participants;
mod passwords;
mod promises;
mod recount;
mod releases;
mod saga;
mod store_time;
mod together;
pub mod trace;
pub mod trail;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eventbooker_core::bookings::HoldLimits;
use eventbooker_core::{Context, Contexts};
use eventbooker_store::{Installation, Store, StoreError};
use metrics::{describe_counter, describe_gauge, describe_histogram};
use tokio::task::JoinHandle;

pub use self::batch::{Batch, Rules};
pub use self::bookings::{BookingAt, BookingsPage};
pub use self::clock::{Clock, Entropy, SystemClock, SystemEntropy};
pub use self::command::{Answer, Command, Decided, Effect, Key, Lane};
pub use self::error::{Error, Refusal};
pub use self::guests::{Found, Guest, GuestsPage};
pub use self::history::{ENTRIES_PER_LOOK, History, SPANS_MAX, Span};
pub use self::identity::{Authenticated, NewUser, SignedIn, Token};
pub use self::live::board::Standings;
pub use self::live::{Subscription, Told, Update};
pub use self::lost_state::{Accepted, Estranged, accept_loss, accept_neighbour};
pub use self::neighbours::{
    AccountsNeighbour, BookingsNeighbour, EventsNeighbour, IdentityNeighbour, Neighbours, Place,
};
pub use self::participants::{Availability, NoAnswer, Participate};
pub use self::promises::WriteAnswer;
pub use self::recount::{Hindrance, Recount, Recounts, UnfinishedRecount};
pub use self::releases::Freed;

use self::command::Heard;
use self::due::Alarm;
use self::errands::Desk;
use self::history::Histories;
use self::identity::Sessions;
use self::lane::{Lanes, Listeners};
use self::live::Live;
use self::live::board::Board;
use self::passwords::Passwords;
use self::store_time::StoreTime;

/// What the engine is made of.
pub struct Parts {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where tokens and salts come from.
    pub entropy: Arc<dyn Entropy>,
    /// How the answer to a command with a key is written down when it has waited for a saga.
    pub write_answer: WriteAnswer,
}

/// What an operator may choose.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How much one user may hold.
    pub holds: HoldLimits,
    /// Whether users may pay into their own accounts; admins may pay into any.
    pub users_may_deposit: bool,
    /// Lanes; more than one pays only on a store with more than one writer.
    pub lanes: usize,
    /// Whether each lane has a thread of its own, because the embedded store's calls block. A simulation
    /// has none: nothing happens beside its own thread.
    pub lanes_have_threads: bool,
    /// Commands that may wait in one lane. One more is refused at once.
    pub inbox_commands_max: usize,
    /// Commands that a lane decides in one transaction at most.
    pub batch_commands_max: usize,
    /// Password hashes computed at the same time; each takes 19 MiB and a core.
    pub hashes_at_once_max: usize,
    /// Password hashes that may wait for their turn.
    pub hashes_waiting_max: usize,
    /// How long a session lasts.
    pub session_lifetime: Duration,
    /// How long the answer to a command with a key is remembered.
    pub answers_kept: Duration,
    /// How long participants remember what they answered to sagas elsewhere.
    pub memories_kept: Duration,
    /// How long after a recount of every invariant the next one begins; `None` for no recounts.
    pub recount_every: Option<Duration>,
    /// Whether this engine expires holds, releases the bookings of cancelled events, takes sagas further
    /// that nobody sees to, removes what has outlived its use and recounts. A tool beside a server leaves all that to the server, whose
    /// settings it doesn't know.
    pub background: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            holds: HoldLimits::default(),
            users_may_deposit: false,
            lanes: 1,
            lanes_have_threads: true,
            inbox_commands_max: 8192,
            batch_commands_max: 1024,
            hashes_at_once_max: 2,
            hashes_waiting_max: 256,
            session_lifetime: Duration::from_secs(7 * 24 * 3600),
            answers_kept: Duration::from_secs(48 * 3600),
            memories_kept: Duration::from_secs(30 * 24 * 3600),
            recount_every: Some(Duration::from_secs(24 * 3600)),
            background: true,
        }
    }
}

/// The running engine. Cloning it is cheap and gives another handle to the same one.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    neighbours: Neighbours,
    settings: Settings,
    installation: Installation,
    rules: Rules,
    lanes: Lanes,
    live: Arc<Live>,
    board: Arc<Board>,
    passwords: Passwords,
    sessions: Arc<Sessions>,
    histories: Histories,
    desk: Arc<Desk>,
    draining: AtomicBool,
    estranged: std::sync::Mutex<Estranged>,
    recounts: std::sync::Mutex<Recounts>,
    background: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl Engine {
    /// Starts lanes, deadline clock, release of what was booked on cancelled events, recovery of sagas,
    /// clean-up and recount. Must be called within a Tokio runtime.
    pub async fn start(parts: Parts, settings: Settings) -> Result<Self, StoreError> {
        Self::start_among(Neighbours::default(), parts, settings).await
    }

    /// The same, with some of the rows elsewhere.
    pub async fn start_among(
        neighbours: Neighbours,
        parts: Parts,
        settings: Settings,
    ) -> Result<Self, StoreError> {
        describe_metrics();
        let time = Arc::new(StoreTime::new(parts.clock));
        time.compare(&*parts.store).await?;
        let parts = Parts { clock: Arc::clone(&time) as _, ..parts };
        let [holds_due, releases_due, errands_due] =
            [Arc::<Alarm>::default(), Arc::default(), Arc::default()];
        let (store, clock) = (|| Arc::clone(&parts.store), || Arc::clone(&parts.clock));
        let turns = live::turns();
        let live = Arc::new(Live::new(store(), clock(), Arc::clone(&turns)));
        let board = Arc::new(Board::new(store(), clock(), turns));
        let sessions = Arc::new(Sessions::new(neighbours.here()));
        let [events, accounts] = neighbours.participants();
        let (desk, inboxes) = Desk::open(events, accounts);
        let desk = Arc::new(desk);
        let listeners = Listeners {
            holds_due: Arc::clone(&holds_due),
            releases_due: Arc::clone(&releases_due),
            errands_due: Arc::clone(&errands_due),
            live: Arc::clone(&live),
            board: Arc::clone(&board),
            sessions: Arc::clone(&sessions),
            desk: Arc::clone(&desk),
        };
        let rules = Rules {
            holds: settings.holds,
            users_may_deposit: settings.users_may_deposit,
            here: neighbours.here(),
            // Somebody else may have the other contexts' rows, and rely on these.
            has_neighbours: neighbours.here() != Contexts::ALL
                || parts.store.contexts() != Contexts::ALL,
        };
        let lanes = Lanes::start(&parts, rules, &settings, &listeners).await?;
        let passwords = Passwords::new(&settings);
        let installation = parts.store.installation().await?;
        let inner = Arc::new(Inner {
            installation,
            parts,
            neighbours,
            settings,
            rules,
            lanes,
            live,
            board,
            passwords,
            sessions,
            histories: Histories::new(),
            desk,
            draining: AtomicBool::new(false),
            estranged: std::sync::Mutex::default(),
            recounts: std::sync::Mutex::default(),
            background: std::sync::Mutex::new(Vec::new()),
        });
        let engine = Self { inner };
        if engine.settings().background {
            let here = engine.here();
            let mut background = vec![janitor::spawn(engine.clone())];
            if here.has(Context::Bookings) {
                background.push(deadlines::spawn(engine.clone(), holds_due, time));
                background.extend(errands::spawn(&engine, errands_due, inboxes));
            }
            // Cancelled events are where events are.
            if here.has(Context::Events) {
                background.push(releases::spawn(engine.clone(), releases_due));
            }
            let every = engine.settings().recount_every;
            background.extend(every.map(|every| recount::spawn(engine.clone(), every)));
            *engine.background() = background;
        }
        Ok(engine)
    }

    /// Takes a command, with a key if the client sent one, and answers when it is decided and its
    /// changes are durable.
    pub async fn submit<C: Command>(
        &self,
        command: C,
        key: Option<Key<C::Reply>>,
    ) -> Result<Answer<C::Reply>, Error> {
        Ok(self.submit_and_listen(command, key).await?.answer)
    }

    /// The same, and from then on listens for the saga that the command has begun.
    async fn submit_and_listen<C: Command>(
        &self,
        command: C,
        key: Option<Key<C::Reply>>,
    ) -> Result<Heard<C::Reply>, Error> {
        self.inner.lanes.submit(command, key).await
    }

    /// Takes a command of the service itself: it waits for a place instead of being refused.
    pub(crate) async fn submit_patiently<C: Command>(
        &self,
        command: C,
    ) -> Result<Decided<C::Reply>, Error> {
        self.inner.lanes.submit_patiently(command).await
    }

    /// The store, for queries.
    pub fn store(&self) -> &dyn Store {
        &*self.inner.parts.store
    }

    /// The store, for whoever looks at it as long as the engine is there.
    pub fn shared_store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.inner.parts.store)
    }

    /// What time it is by the engine's clock.
    pub fn now(&self) -> eventbooker_core::Timestamp {
        self.inner.parts.clock.now()
    }

    /// Fills a buffer with unpredictable bytes.
    pub fn draw(&self, bytes: &mut [u8]) {
        self.inner.parts.entropy.fill(bytes);
    }

    /// A little chance for each of some waits, so that what waits together comes back apart.
    pub(crate) fn chances(&self, count: usize) -> Vec<u8> {
        let mut chances = vec![0; count];
        self.draw(&mut chances);
        chances
    }

    /// What the database is known by, and its secret to sign with what clients bring back.
    pub fn installation(&self) -> &Installation {
        &self.inner.installation
    }

    /// What the operator chose.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// Whether everything that a saga needs is in this engine's database, so that none of them waits for
    /// anybody.
    pub fn is_whole(&self) -> bool {
        self.rules().is_whole()
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.inner.rules
    }

    /// Whether the engine has begun to stop.
    pub fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Relaxed)
    }

    /// Whether commands can be taken and saved, as far as one can know without doing so.
    pub async fn check_ready(&self) -> Result<(), Error> {
        if self.is_draining() {
            return Err(Error::Draining);
        }
        if !self.inner.lanes.are_running() {
            return Err(Error::Store(StoreError::Away("a lane has ended".to_owned())));
        }
        Ok(self.store().ping().await?)
    }

    /// From now on says that it is stopping, and ends live subscriptions; commands are still taken.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
        self.inner.live.end();
        self.inner.board.end();
    }

    /// Finishes every command that was taken, refuses any other, and closes the store.
    pub async fn stop(&self) {
        self.drain();
        let background = std::mem::take(&mut *self.background());
        for task in background {
            task.abort();
            // It holds the engine, and with it the store, until it has really ended.
            let _ = task.await;
        }
        self.inner.lanes.stop().await;
        self.inner.parts.store.close().await;
    }

    fn background(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.inner.background.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A count, for a metric.
#[allow(clippy::cast_precision_loss, reason = "counts are small, or near enough")]
fn count(things: impl TryInto<u64>) -> f64 {
    things.try_into().map_or(f64::MAX, |things| things as f64)
}

/// Tells whoever reads the metrics of the engine what they mean.
fn describe_metrics() {
    describe_histogram!("eventbooker_batch_commands", "Commands decided in one batch, by lane");
    describe_histogram!(
        "eventbooker_batch_seconds",
        "Time from taking a batch to having answered all of it, by lane"
    );
    describe_counter!(
        "eventbooker_batch_failures_total",
        "Batches that were not saved, by reason; their commands were tried one by one or refused"
    );
    describe_counter!(
        "eventbooker_journal_entries_total",
        "What has happened to events and bookings, by kind"
    );
    describe_histogram!(
        "eventbooker_expiry_lag_seconds",
        "Time from a hold's deadline to the batch in which it ended"
    );
    describe_gauge!(
        "eventbooker_parked_sagas",
        "Sagas that wait for the operator, because a step that they can't do without keeps failing"
    );
    describe_gauge!(
        "eventbooker_sagas_under_way",
        "Sagas that wait for an answer of another service, parked ones not counted"
    );
    describe_gauge!(
        "eventbooker_participants_away",
        "Services that sagas need and that aren't called for now, because calls to them have failed"
    );
    describe_gauge!(
        "eventbooker_damaged_sagas",
        "Sagas under way that can't be taken up for now, because their rows are damaged or the store refuses them"
    );
    describe_gauge!(
        "eventbooker_inbox_commands",
        "Commands that were left waiting when the last batch was taken, by lane"
    );
    describe_gauge!(
        "eventbooker_parked_holds",
        "Holds past their deadline that can't be ended for now, because their rows are damaged or the store refuses them"
    );
    describe_gauge!(
        "eventbooker_parked_releases",
        "Bookings of cancelled events that can't be released for now, because their rows are damaged, the store refuses them, an account is full or, with bookings elsewhere, nobody knows them there"
    );
    describe_gauge!(
        "eventbooker_recount_findings",
        "What did not add up when the invariants were last recounted; 0 is right"
    );
    describe_gauge!(
        "eventbooker_recount_timestamp_seconds",
        "When the latest recount of every invariant began that came to its end, in Unix time"
    );
    describe_counter!(
        "eventbooker_recounts_unfinished_total",
        "Recounts that didn't come to their end, because they took too long or the store failed"
    );
}
