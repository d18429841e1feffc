//! Two engines, each with its own database: one has the bookings, the other the seats and the
//! money.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use eventbooker_core::accounts::Account;
use eventbooker_core::bookings::Booking;
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::events::{Draft, Event};
use eventbooker_core::identity::Actor;
use eventbooker_core::{BookingId, EventId, Money, UserId};
use eventbooker_engine::{Engine, Participants, Parts, Place, Settings};
use eventbooker_store::sqlite::{Access, SqliteStore};
use eventbooker_store::{Changes, SagaStep};
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::database::Database;
use eventbooker_testkit::rows::{save, user};
use eventbooker_testkit::service::{ADMIN, attendee};
use eventbooker_testkit::{ManualClock, SeededEntropy, outcome};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::link::Link;

/// What a scenario is about.
#[derive(Clone, Copy)]
pub(crate) struct Ids {
    pub(crate) event: EventId,
    pub(crate) user: UserId,
    pub(crate) booking: BookingId,
}

impl Ids {
    pub(crate) fn actor(self) -> Actor {
        attendee(self.user.get())
    }
}

pub(crate) struct Pair {
    pub(crate) link: Arc<Link>,
    clock: Arc<ManualClock>,
    participants: Engine,
    engine: Option<Engine>,
    ids: Ids,
    client: Option<JoinHandle<()>>,
    directory: TempDir,
}

type Command = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Pair {
    /// An event with so many seats at 40 each, and a user with so much money.
    pub(crate) async fn start(capacity: i64, balance: i64) -> Self {
        let directory = TempDir::new().expect("there is a place for a test's files");
        let clock = Arc::new(ManualClock::default());
        let participants = Engine::start(
            parts(&directory.path().join("participants.db"), &clock),
            Settings::default(),
        );
        let participants = participants.await.expect("it starts");
        let users_added = vec![user(1, "ann")];
        save(participants.store(), Changes { users_added, ..Changes::default() }).await;
        let draft = Draft {
            name: "Green run".to_owned(),
            description: String::new(),
            starts_at: None,
            capacity,
            price_minor: 40,
            payment_window_minutes: 30,
        };
        let event: Event = outcome(participants.create_event(ADMIN, draft, None).await)
            .expect("the draft breaks no rule");
        let ids = Ids { event: event.id, user: UserId::new(1), booking: BookingId::new(1) };
        let link = Link::to(participants.clone());
        let mut pair =
            Self { link, clock, participants, engine: None, ids, client: None, directory };
        if balance > 0 {
            pair.deposit(balance).await;
        }
        pair.open().await;
        pair
    }

    async fn open(&mut self) {
        self.engine = Some(self.another(&self.link, &self.clock).await);
    }

    /// An engine on the same bookings, with a line and a clock of its own.
    pub(crate) async fn another(&self, link: &Arc<Link>, clock: &Arc<ManualClock>) -> Engine {
        let participants = Participants {
            events: Place::Elsewhere(Arc::clone(link) as _),
            accounts: Place::Elsewhere(Arc::clone(link) as _),
        };
        let parts = parts(&self.directory.path().join("bookings.db"), clock);
        let engine = Engine::start_among(participants, parts, Settings::default()).await;
        engine.expect("it starts")
    }

    /// Another line to the same participants.
    pub(crate) fn another_link(&self) -> Arc<Link> {
        Link::to(self.participants.clone())
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("the engine runs")
    }

    /// Sends a command without waiting for its answer.
    pub(crate) fn begin(&mut self, command: impl FnOnce(Engine, Ids) -> Command) {
        self.client = Some(tokio::spawn(command(self.engine().clone(), self.ids)));
    }

    pub(crate) async fn deposit(&mut self, amount: i64) {
        let amount = Money::from_minor(amount);
        let deposited = self.participants.deposit(ADMIN, self.ids.user, amount, None).await;
        let _: Account = outcome(deposited).expect("an admin may pay in");
    }

    pub(crate) async fn pass(&mut self, span: Duration) {
        self.clock.advance(span);
        tokio::task::yield_now().await;
    }

    pub(crate) async fn errands(&self) -> Vec<Errand> {
        self.engine().store().errands(BookingId::new(0), 9).await.expect("read")
    }

    pub(crate) async fn steps(&self) -> Vec<SagaStep> {
        self.engine().store().saga_steps(self.ids.booking).await.expect("read")
    }

    pub(crate) async fn booking(&self) -> Option<Booking> {
        let found = self.engine().store().bookings(vec![self.ids.booking]).await;
        found.expect("read").first().copied()
    }

    pub(crate) async fn balance(&self) -> i64 {
        self.participants.account(self.ids.user).await.expect("read").balance.as_minor()
    }

    pub(crate) async fn free_seats(&self) -> u32 {
        let event = self.participants.store().event(self.ids.event).await.expect("read");
        event.expect("it is there").free_seats().get()
    }

    /// Lets time pass until no saga is under way; starts the engine anew whenever it was killed.
    pub(crate) async fn until_at_rest(&mut self, what: &str) {
        let rested = tokio::time::timeout(PATIENCE, async {
            loop {
                self.tick().await;
                let is_answered = self.client.as_ref().is_none_or(JoinHandle::is_finished);
                let now = self.clock_now();
                let is_due = self.booking().await.is_some_and(|booking| booking.is_due(now));
                if is_answered && !is_due && self.errands().await.is_empty() {
                    break;
                }
            }
        });
        if rested.await.is_err() {
            let (booking, errands) = (self.booking().await, self.errands().await);
            panic!(
                "{what}: the saga doesn't come to rest: {booking:?}, {errands:?}, idle {}",
                self.link.is_idle()
            );
        }
    }

    /// Makes the participants forget what they have answered.
    pub(crate) fn lose_memory(&self) {
        let file = Database::at(&self.directory.path().join("participants.db"));
        assert!(file.change("DELETE FROM memories", []) > 0, "there was something to forget");
    }

    pub(crate) async fn until_parked(&mut self) -> Errand {
        let parked = tokio::time::timeout(PATIENCE, async {
            loop {
                self.tick().await;
                if let Some(errand) = self.errands().await.into_iter().find(|e| e.is_parked) {
                    return errand;
                }
            }
        });
        parked.await.expect("it is parked")
    }

    fn clock_now(&self) -> eventbooker_core::Timestamp {
        self.engine().now()
    }

    /// Sets the clock to the instant that the next errand waits for, unless somebody is at work. So
    /// time passes only as far as sagas need it, however slow the machine is.
    async fn tick(&mut self) {
        tokio::task::yield_now().await;
        tokio::select! {
            biased;
            () = self.link.killed.notified() => self.kill().await,
            () = std::future::ready(()) => {}
        }
        let errands = self.errands().await;
        let next = errands.iter().filter(|errand| !errand.is_parked).map(|e| e.due_at).min();
        if let Some(next) = next.filter(|next| self.link.is_idle() && *next > self.clock_now()) {
            self.clock.set(next);
        }
    }

    /// Waits until the engine has decided whatever its line has brought so far.
    pub(crate) async fn hears_everything(&self) {
        while !self.link.is_idle() {
            tokio::task::yield_now().await;
        }
        // Its carrier hands the answer in when its turn comes, and tasks take turns.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        // Commands of one lane are decided in their order, so this comes behind the answer.
        let refused = self.engine().confirm(ADMIN, None, BookingId::new(404), None).await;
        assert!(refused.is_ok(), "{refused:?}");
    }

    /// Nothing that the engine hears from here on is saved, and it starts again on what is.
    async fn kill(&mut self) {
        if let Some(client) = self.client.take() {
            client.abort();
            let _ = client.await;
        }
        let engine = self.engine.take().expect("the engine runs");
        engine.stop().await;
        drop(engine);
        self.open().await;
    }

    /// Ends both engines, and fails if an invariant is broken on either side.
    pub(crate) async fn finish(mut self) {
        self.engine.take().expect("the engine runs").stop().await;
        self.link.hang_up();
        self.participants.stop().await;
    }
}

fn parts(path: &Path, clock: &Arc<ManualClock>) -> Parts {
    let store = SqliteStore::open(path, Access::Tool).expect("the file opens");
    Parts {
        store: Arc::new(store),
        clock: Arc::clone(clock) as _,
        entropy: Arc::new(SeededEntropy::new(1)),
    }
}
