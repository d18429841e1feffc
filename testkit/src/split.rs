//! A service in four: an engine and a database for each context, and lines between them.

use std::sync::Arc;
use std::time::Duration;

use eventbooker_core::Context;
use eventbooker_engine::check::{Databases, Report};
use eventbooker_engine::{Engine, Neighbours, Parts, Place, Settings};
use eventbooker_store::{Access, Changes, Store};

use crate::clock::PATIENCE;
use crate::database::Database;
use crate::faults::{Faults, FaultyStore};
use crate::near::Near;
use crate::rows;
use crate::service::{UNLIMITED, in_words};
use crate::{ManualClock, SeededEntropy};

/// One of the four.
struct Quarter {
    engine: Engine,
    /// The line on which the others reach it.
    line: Arc<Near>,
    database: Database,
}

/// Four services that know of each other. By one clock, for they share it in the tests only.
pub struct Split {
    /// Their clock.
    pub clock: Arc<ManualClock>,
    quarters: Vec<Quarter>,
}

impl Split {
    /// Four services that have just been installed.
    pub async fn start() -> Self {
        Self::with(Settings { holds: UNLIMITED, recount_every: None, ..Settings::default() }).await
    }

    /// The same, as an operator wants them.
    pub async fn with(settings: Settings) -> Self {
        let clock = Arc::<ManualClock>::default();
        let lines = Context::ALL.map(|_| Arc::<Near>::default());
        let mut quarters = Vec::with_capacity(lines.len());
        for (context, line) in Context::ALL.into_iter().zip(&lines) {
            let database = Database::new();
            let store = database.open(Access::Tool).await.expect("the database opens");
            let parts = Parts {
                store: Arc::new(FaultyStore::new(store, Faults::default(), None)),
                clock: Arc::clone(&clock) as _,
                entropy: Arc::new(SeededEntropy::new(1)),
                write_answer: in_words,
            };
            let neighbours = neighbours_of(context, &lines);
            let engine = Engine::start_among(neighbours, parts, settings.clone()).await;
            let engine = engine.expect("it starts");
            line.connect(&engine);
            quarters.push(Quarter { engine, line: Arc::clone(line), database });
        }
        Self { clock, quarters }
    }

    fn quarter(&self, context: Context) -> &Quarter {
        let place = Context::ALL.iter().position(|it| *it == context);
        &self.quarters[place.expect("each has its quarter")]
    }

    /// The engine that has a context's rows.
    pub fn engine(&self, context: Context) -> &Engine {
        &self.quarter(context).engine
    }

    /// The store that has them.
    pub fn store(&self, context: Context) -> &dyn Store {
        self.engine(context).store()
    }

    /// The database in which they are.
    pub fn database(&self, context: Context) -> &Database {
        &self.quarter(context).database
    }

    /// Cuts whoever has a context off from the others, or connects them again.
    pub fn cut(&self, context: Context, is_cut: bool) {
        self.quarter(context).line.cut(is_cut);
    }

    /// Registers users, whose passwords nobody knows.
    pub async fn add_users(&self, users: impl IntoIterator<Item = i64>) {
        let user = |id| rows::user(id, &format!("user-{id}"));
        let users_added = users.into_iter().map(user).collect();
        let changes = Changes { users_added, ..Changes::default() };
        rows::save(self.store(Context::Identity), changes).await;
    }

    /// Lets time pass, so that whoever waits looks, until something is so.
    pub async fn until(&self, what: &str, mut is_so: impl AsyncFnMut(&Self) -> bool) {
        let so = async {
            while !is_so(self).await {
                self.clock.advance(Duration::from_millis(10));
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, so).await.expect(what);
    }

    /// Recounts every invariant over all databases, while the services go on.
    pub async fn recount(&self) -> Report {
        let mut databases = Vec::with_capacity(self.quarters.len());
        for (context, quarter) in Context::ALL.into_iter().zip(&self.quarters) {
            let store = quarter.database.open(Access::Look).await.expect("the database opens");
            databases.push((context.into(), store));
        }
        let report = Databases::of(databases).recount(&mut |_, _| {}).await;
        report.expect("the rows can be read")
    }

    /// Stops all of them, and fails if an invariant is broken.
    pub async fn stop(self) {
        self.stop_engines().await;
        let report = self.recount().await;
        assert!(report.is_clean(), "the recount found {:#?}", report.findings);
    }

    /// Stops all of them without a look at the rows, which the test has spoilt on purpose.
    pub async fn stop_spoilt(self) {
        self.stop_engines().await;
    }

    async fn stop_engines(&self) {
        for quarter in &self.quarters {
            tokio::time::timeout(PATIENCE, quarter.engine.stop()).await.expect("it stops");
        }
    }
}

/// Everything that isn't this context's is with its neighbours.
fn neighbours_of(
    context: Context,
    [identity, events, accounts, bookings]: &[Arc<Near>; 4],
) -> Neighbours {
    let mut neighbours = Neighbours {
        identity: Place::Elsewhere(Arc::clone(identity) as _),
        events: Place::Elsewhere(Arc::clone(events) as _),
        accounts: Place::Elsewhere(Arc::clone(accounts) as _),
        bookings: Place::Elsewhere(Arc::clone(bookings) as _),
    };
    match context {
        Context::Identity => neighbours.identity = Place::Here,
        Context::Events => neighbours.events = Place::Here,
        Context::Accounts => neighbours.accounts = Place::Here,
        Context::Bookings => neighbours.bookings = Place::Here,
    }
    neighbours
}
