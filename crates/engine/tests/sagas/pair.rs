//! Two engines, each with its own database: one has the bookings, the other the seats and the
//! money.

use std::sync::Arc;
use std::time::Duration;

use eventbooker_core::accounts::Account;
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::bookings::{Booking, State};
use eventbooker_core::events::{Draft, Event};
use eventbooker_core::identity::Actor;
use eventbooker_core::{BookingId, EventId, Money, UserId};
use eventbooker_engine::{
    Answer, BookingAt, Effect, Engine, Error, Key, Neighbours, Parts, Place, Settings, trace,
};
use eventbooker_store::Access;
use eventbooker_store::{Changes, SagaStep};
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::database::Database;
use eventbooker_testkit::faults::FaultyStore;
use eventbooker_testkit::rows::{save, user};
use eventbooker_testkit::service::{ADMIN, attendee, in_words};
use eventbooker_testkit::{Faults, ManualClock, Outcome, SeededEntropy, outcome, steps_only};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::link::{Fault, Link, When};

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

/// What a client does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    Book,
    Purchase,
    Confirm,
    Cancel,
}

impl Act {
    pub(crate) async fn run(self, engine: Engine, ids: Ids) -> Outcome<State> {
        outcome(self.ask(engine, ids, None).await).map(|at| at.booking.state)
    }

    pub(crate) async fn ask(
        self,
        engine: Engine,
        ids: Ids,
        key: Option<Key<BookingAt>>,
    ) -> Answered {
        let Ids { event, user, booking } = ids;
        match self {
            Self::Book => engine.book(user, event, 2, key).await,
            Self::Purchase => engine.purchase(user, event, 2, key).await,
            Self::Confirm => engine.confirm(ids.actor(), None, booking, key).await,
            Self::Cancel => engine.cancel(ids.actor(), booking, key).await,
        }
    }
}

type Answered = Result<Answer<BookingAt>, Error>;

pub(crate) struct Pair {
    pub(crate) link: Arc<Link>,
    pub(crate) clock: Arc<ManualClock>,
    /// What goes wrong with the store of the bookings.
    pub(crate) faults: Faults,
    participants: Engine,
    engine: Option<Engine>,
    pub(crate) ids: Ids,
    client: Option<JoinHandle<Answered>>,
    /// Whoever has asked before the client, and hasn't been answered.
    first: Option<JoinHandle<Answered>>,
    /// Errands whose carrier was killed.
    orphans: Vec<Errand>,
    /// The participants' rows, and the bookings'.
    databases: [Database; 2],
}

impl Pair {
    /// An event with so many seats at 40 each, and a user with so much money.
    pub(crate) async fn start(capacity: i64, balance: i64) -> Self {
        let databases = [Database::new(), Database::new()];
        let clock = Arc::new(ManualClock::default());
        let nothing_fails = Faults::default();
        let participants =
            Engine::start(parts(&databases[0], &clock, &nothing_fails).await, Settings::default());
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
        let mut pair = Self {
            link,
            clock,
            faults: Faults::default(),
            participants,
            engine: None,
            ids,
            client: None,
            first: None,
            orphans: Vec::new(),
            databases,
        };
        if balance > 0 {
            pair.deposit(balance).await;
        }
        pair.open().await;
        pair
    }

    /// A hold whose confirmation was refused for want of money. Nobody has heard of that yet.
    pub(crate) async fn refused() -> Self {
        let mut pair = Self::start(10, 0).await;
        pair.begin(Act::Book);
        pair.until_at_rest("the hold").await;
        pair.link.plan(Some((1, Fault::Stalled(When::After))));
        pair.begin(Act::Confirm);
        timeout(PATIENCE, pair.link.stalled.notified()).await.expect("it is refused");
        pair
    }

    async fn open(&mut self) {
        self.engine = Some(self.another(&self.link, &self.clock).await);
    }

    /// An engine on the same bookings, with a line and a clock of its own.
    pub(crate) async fn another(&self, link: &Arc<Link>, clock: &Arc<ManualClock>) -> Engine {
        let participants = Neighbours {
            events: Place::Elsewhere(steps_only(link) as _),
            accounts: Place::Elsewhere(steps_only(link) as _),
            ..Neighbours::default()
        };
        let parts = parts(&self.databases[1], clock, &self.faults).await;
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

    /// Sends a command, in the present trace, without waiting for its answer.
    pub(crate) fn begin(&mut self, act: Act) {
        self.begin_with(act, None);
    }

    /// The same, with a key.
    pub(crate) fn begin_with(&mut self, act: Act, key: Option<Key<BookingAt>>) {
        let run = act.ask(self.engine().clone(), self.ids, key);
        self.client = Some(tokio::spawn(trace::within(trace::current(), run)));
    }

    /// Sends another command while the one before isn't answered.
    pub(crate) fn begin_another(&mut self, act: Act) {
        self.first = self.client.take();
        self.begin(act);
    }

    /// What the last command was answered; `None` if its client is gone.
    pub(crate) async fn answer(&mut self) -> Option<Outcome<State>> {
        Some(outcome(answer(self.client.take()?).await).map(|at| at.booking.state))
    }

    /// What the one before it was answered.
    pub(crate) async fn first_answer(&mut self) -> Option<Outcome<State>> {
        Some(outcome(answer(self.first.take()?).await).map(|at| at.booking.state))
    }

    /// What the last command was answered, as it is remembered under its key.
    pub(crate) async fn kept_answer(&mut self) -> Option<(String, Effect)> {
        match answer(self.client.take()?).await {
            Ok(Answer::Kept { answer, effect }) => {
                Some((String::from_utf8(answer).expect("words"), effect))
            }
            other => panic!("nothing is kept: {other:?}"),
        }
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
        let rested = timeout(PATIENCE, async {
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
                "{what}: the saga doesn't come to rest by {:?}: {booking:?}, {errands:?}, idle {}",
                self.clock_now(),
                self.link.is_idle()
            );
        }
    }

    /// Makes the participants forget what they have answered.
    pub(crate) fn lose_memory(&self) {
        let forgotten = self.databases[0].change("DELETE FROM memories");
        assert!(forgotten > 0, "there was something to forget");
    }

    /// Whether somebody waits until a booking's row isn't locked any more, on PostgreSQL.
    pub(crate) fn somebody_waits_for_a_booking(&self) -> bool {
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'tuple' AND relation = 'bookings'::regclass";
        self.databases[1].number(waiting) > 0
    }

    /// Lets the errand look as if it had been tried so often in vain, and spares the test hours.
    pub(crate) async fn has_been_tried(&mut self, tries: u32) {
        self.until("the step fails", |errand| errand.trouble.is_some()).await;
        let tried = format!("UPDATE errands SET tries = {tries}");
        assert_eq!(self.databases[1].change(&tried), 1);
    }

    pub(crate) async fn until_parked(&mut self) -> Errand {
        self.until("it is parked", |errand| errand.is_parked).await
    }

    /// Lets time pass until the errand is as it should be.
    pub(crate) async fn until(&mut self, what: &str, is_so: impl Fn(&Errand) -> bool) -> Errand {
        let so = timeout(PATIENCE, async {
            loop {
                if let Some(errand) = self.tick_unless(&is_so).await {
                    return errand;
                }
            }
        });
        let Ok(errand) = so.await else {
            panic!("not so: {what}: {:?}, {:?}", self.clock_now(), self.errands().await);
        };
        errand
    }

    fn clock_now(&self) -> eventbooker_core::Timestamp {
        self.engine().now()
    }

    /// Sets the clock to the instant that the next errand waits for, unless somebody is at work. So
    /// time passes only as far as sagas need it, however slow the machine is.
    pub(crate) async fn tick(&mut self) {
        self.tick_unless(|_| false).await;
    }

    /// The same, but time stands still as soon as an errand is as it should be.
    async fn tick_unless(&mut self, is_so: impl Fn(&Errand) -> bool) -> Option<Errand> {
        tokio::task::yield_now().await;
        tokio::select! {
            biased;
            () = self.link.killed.notified() => self.kill().await,
            () = std::future::ready(()) => {}
        }
        let (errands, booking) = (self.errands().await, self.booking().await);
        if let Some(errand) = errands.iter().find(|errand| is_so(errand)) {
            return Some(errand.clone());
        }
        let next = errands.iter().filter(|errand| !errand.is_parked).map(|e| e.due_at).min();
        let next = next.filter(|next| *next > self.clock_now())?;
        // Whose carrier is gone is not at work. Anybody else may be about to ask, or to answer.
        let is_quiet = self.orphans == errands || {
            self.asks_everything().await;
            self.link.is_idle() && {
                self.hears_everything().await;
                // One step's errand looks like the next one's, so the booking counts, too.
                (self.errands().await, self.booking().await) == (errands, booking)
            }
        };
        if is_quiet {
            self.clock.set(next);
        }
        None
    }

    /// Waits until the engine has put to its line whatever is durable by now.
    pub(crate) async fn asks_everything(&self) {
        self.decides_everything().await;
        tasks_take_turns().await;
    }

    /// Waits until the engine has decided whatever its line has brought so far.
    pub(crate) async fn hears_everything(&self) {
        while !self.link.is_idle() {
            tokio::task::yield_now().await;
        }
        // Its carrier hands the answer in when its turn comes.
        tasks_take_turns().await;
        self.decides_everything().await;
    }

    /// Commands of one lane are decided in their order, so this one comes behind those before it.
    async fn decides_everything(&self) {
        let refused = self.engine().confirm(ADMIN, None, BookingId::new(404), None).await;
        assert!(refused.is_ok(), "{refused:?}");
    }

    /// Nothing that the engine hears from here on is saved, and it starts again on what is.
    async fn kill(&mut self) {
        for client in [self.client.take(), self.first.take()].into_iter().flatten() {
            client.abort();
            let _ = client.await;
        }
        let engine = self.engine.take().expect("the engine runs");
        engine.stop().await;
        drop(engine);
        self.open().await;
        self.orphans = self.errands().await;
    }

    /// Ends both engines, and fails if an invariant is broken on either side.
    pub(crate) async fn finish(mut self) {
        assert!(self.faults.are_used_up(), "a fault that a test asked for never happened");
        self.engine.take().expect("the engine runs").stop().await;
        self.link.hang_up();
        self.participants.stop().await;
    }
}

async fn answer(client: JoinHandle<Answered>) -> Answered {
    let answer = timeout(PATIENCE, client).await;
    answer.expect("it is answered").expect("a client doesn't panic")
}

pub(crate) async fn tasks_take_turns() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn parts(database: &Database, clock: &Arc<ManualClock>, faults: &Faults) -> Parts {
    let store = database.open(Access::Tool).await.expect("the database opens");
    Parts {
        store: Arc::new(FaultyStore::new(store, faults.clone(), None)),
        clock: Arc::clone(clock) as _,
        entropy: Arc::new(SeededEntropy::new(1)),
        write_answer: in_words,
    }
}
