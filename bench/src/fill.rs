//! Fills a database before the service starts: users with sessions and money, events, holds.
//!
//! Holds and deposits go through the engine itself, so that every row is as the service would have
//! written it; holds by the thousand, so that they are batched. The engine runs on a clock of its
//! own, which is set to wherever a deadline needs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use eventbooker_core::bookings::{Booking, HoldLimits};
use eventbooker_core::events::Draft;
use eventbooker_core::identity::{Actor, Profile, Role, Session, User};
use eventbooker_core::{EventId, Money, Timestamp, UserId};
use eventbooker_engine::{Answer, Clock, Engine, Error, Parts, Settings, SystemEntropy};
use eventbooker_store::{Access, Changes, Store, StoreError, Wants};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use crate::Fallible;
use crate::children::not_interrupted;
use crate::database::Database;
use crate::progress;

/// Users, each with one session.
pub(crate) const USERS: u32 = 1000;
/// Those of them who book and hold without paying.
pub(crate) const BOOKERS: u32 = 256;
/// Bookings at work at once while a database is filled.
const AT_ONCE: u64 = 4096;
/// More seats than any run can book.
pub(crate) const PLENTY: u32 = 1_000_000_000;
/// The longest payment window: no hold ends while it is measured.
pub(crate) const LONG: Duration = Duration::from_secs(30 * 24 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// This machine's time.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

/// The token of a user's session, which has the length of a real one.
pub(crate) fn token(user: u32) -> String {
    format!("{:064x}", u64::from(user) + 1)
}

/// The number of a user in a database that was filled here.
fn user_id(user: u32) -> UserId {
    UserId::new(i64::from(user) + 1)
}

/// On whose behalf a database is filled.
const ADMIN: Actor = Actor { user_id: UserId::new(1), role: Role::Admin };

/// A clock that stands where it was set.
struct SetClock(AtomicI64);

#[async_trait]
impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }

    async fn sleep_until(&self, instant: Timestamp) {
        // It is set forward only to write the next hold; nothing that waits has to happen here.
        if self.now() < instant {
            std::future::pending::<()>().await;
        }
    }
}

/// A database that is being filled.
pub(crate) struct Filling {
    engine: Engine,
    clock: Arc<SetClock>,
}

impl Filling {
    /// Creates a database in which it is `now`, with users and their sessions.
    pub(crate) async fn begin(database: &Database, now: Timestamp) -> Fallible<Self> {
        // Opened as a server does, because only a server copies its log into the file on the way
        // and when it closes. A million holds in the log would make the next start slow.
        let store = database.open(Access::Serve).await?;
        add_users(&*store, now).await.map_err(|error| format!("can't add users: {error}"))?;
        let clock = Arc::new(SetClock(AtomicI64::new(now.as_micros())));
        let parts = Parts {
            store,
            clock: Arc::<SetClock>::clone(&clock),
            entropy: Arc::new(SystemEntropy),
            // Nobody has a key.
            write_answer: |_, _| Vec::new(),
        };
        let holds = HoldLimits { holds_max: None, held_seats_max: None, ..HoldLimits::default() };
        let settings = Settings { holds, ..Settings::default() };
        let engine = Engine::start(parts, settings).await.map_err(|error| error.to_string())?;
        Ok(Self { engine, clock })
    }

    /// Sets the clock; from now on everything happens at this instant.
    pub(crate) fn set_clock(&self, now: Timestamp) {
        self.clock.0.store(now.as_micros(), Ordering::Relaxed);
    }

    /// Adds an event whose seats cost nothing. `window` counts in whole minutes.
    pub(crate) async fn event(&self, capacity: u32, window: Duration) -> Fallible<i64> {
        self.event_at_price(capacity, window, 0).await
    }

    /// Adds an event whose seats have this price.
    pub(crate) async fn event_at_price(
        &self,
        capacity: u32,
        window: Duration,
        price_minor: i64,
    ) -> Fallible<i64> {
        let draft = Draft {
            name: "An evening of chamber music".to_owned(),
            description: String::new(),
            starts_at: Some(now().plus(90 * DAY)),
            capacity: i64::from(capacity),
            price_minor,
            payment_window_minutes: i64::try_from(window.as_secs() / 60).unwrap_or(i64::MAX),
        };
        Ok(given(self.engine.create_event(ADMIN, draft, None).await)?.id.get())
    }

    /// Adds several events with plenty of seats.
    pub(crate) async fn events(&self, count: u32, window: Duration) -> Fallible<Vec<i64>> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.event(PLENTY, window).await?);
        }
        Ok(ids)
    }

    /// Pays into the accounts of the first so many users.
    pub(crate) async fn deposits(&self, users: u32, amount_minor: i64) -> Fallible<()> {
        let amount = Money::from_minor(amount_minor);
        for user in 0..users {
            given(self.engine.deposit(ADMIN, user_id(user), amount, None).await)?;
        }
        Ok(())
    }

    /// Adds one hold of one seat.
    pub(crate) async fn hold(&self, event_id: i64) -> Fallible<Booking> {
        book(&self.engine, UserId::new(1), event_id).await
    }

    /// Adds so many holds of one seat each, in turn over events and users.
    pub(crate) async fn holds(&self, events: &[i64], count: u32) -> Fallible<()> {
        let bar = progress::bar("filling the database", u64::from(count));
        let next = Arc::new(AtomicU64::new(0));
        let events: Arc<[i64]> = events.into();
        let mut clients: JoinSet<Fallible<()>> = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (engine, events) = (self.engine.clone(), Arc::clone(&events));
            let (next, bar) = (Arc::clone(&next), bar.clone());
            clients.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= u64::from(count) {
                        return Ok(());
                    }
                    not_interrupted()?;
                    let user = i64::try_from(number % u64::from(BOOKERS)).unwrap_or(0) + 1;
                    let event = events[usize::try_from(number).unwrap_or(0) % events.len()];
                    book(&engine, UserId::new(user), event).await?;
                    bar.inc(1);
                }
            });
        }
        while let Some(joined) = clients.join_next().await {
            joined.map_err(|error| format!("a client of the filling failed: {error}"))??;
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Writes everything to its final place and lets go of the database.
    pub(crate) async fn end(self) {
        self.engine.stop().await;
    }
}

async fn book(engine: &Engine, user_id: UserId, event_id: i64) -> Fallible<Booking> {
    given(engine.book(user_id, EventId::new(event_id), 1, None).await).map(|at| at.booking)
}

fn given<R>(answer: Result<Answer<R>, Error>) -> Fallible<R> {
    match answer.map_err(|error| format!("can't fill the database: {error}"))? {
        Answer::Given(decided) => {
            decided.outcome.map_err(|refusal| format!("can't fill the database: {refusal}"))
        }
        Answer::Kept { .. } => Err("an answer was remembered that nobody asked for".to_owned()),
    }
}

/// Straight into the store: a thousand password hashes would take longer than the measurement.
async fn add_users(store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
    let mut writer = store.writer().await?;
    let wants = Wants { new_users: USERS, ..Wants::default() };
    let first = writer.load(&wants, now).await?.user_ids.next;
    let mut changes = Changes::default();
    for number in 0..USERS {
        let id = UserId::new(first + i64::from(number));
        changes.users_added.push(User {
            id,
            profile: Profile {
                login: format!("user-{number}"),
                email: String::new(),
                first_name: String::new(),
                last_name: String::new(),
            },
            role: Role::User,
            password_hash: "none".to_owned(),
            created_at: now,
        });
        changes.sessions_added.push(Session {
            token_digest: Sha256::digest(token(number).as_bytes()).into(),
            user_id: id,
            created_at: now,
            expires_at: now.plus(7 * DAY),
        });
        changes.last_ids.user = Some(id.get());
    }
    writer.save(&changes).await
}
