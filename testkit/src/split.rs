//! A service in parts, mostly in four: an engine and a database for each, and lines between them.

use std::sync::Arc;
use std::time::Duration;

use eventbooker_core::{Context, Contexts};
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

/// One of them.
struct Part {
    /// Whose rows it has.
    here: Contexts,
    engine: Engine,
    /// The line on which the others reach it.
    line: Arc<Near>,
    database: Database,
}

/// Services that know of each other. By one clock, for they share it in the tests only.
pub struct Split {
    /// Their clock.
    pub clock: Arc<ManualClock>,
    parts: Vec<Part>,
}

impl Split {
    /// Four services that have just been installed.
    pub async fn start() -> Self {
        Self::in_parts(&Context::ALL.map(Contexts::from)).await
    }

    /// Services with these contexts each, which are all of them together.
    pub async fn in_parts(of: &[Contexts]) -> Self {
        let settings = Settings { holds: UNLIMITED, recount_every: None, ..Settings::default() };
        Self::in_parts_with(of, settings).await
    }

    /// Four services, as an operator wants them.
    pub async fn with(settings: Settings) -> Self {
        Self::in_parts_with(&Context::ALL.map(Contexts::from), settings).await
    }

    async fn in_parts_with(of: &[Contexts], settings: Settings) -> Self {
        let clock = Arc::<ManualClock>::default();
        let lines: Vec<(Contexts, Arc<Near>)> =
            of.iter().map(|here| (*here, Arc::default())).collect();
        let mut parts = Vec::with_capacity(lines.len());
        for (here, line) in &lines {
            let database = Database::new();
            let store = database.open(Access::Tool).await.expect("the database opens");
            let made_of = Parts {
                store: Arc::new(FaultyStore::new(store, Faults::default(), None)),
                clock: Arc::clone(&clock) as _,
                entropy: Arc::new(SeededEntropy::new(1)),
                write_answer: in_words,
            };
            let neighbours = neighbours_of(*here, &lines);
            let engine = Engine::start_among(neighbours, made_of, settings.clone()).await;
            let engine = engine.expect("it starts");
            line.connect(&engine);
            parts.push(Part { here: *here, engine, line: Arc::clone(line), database });
        }
        Self { clock, parts }
    }

    fn part(&self, context: Context) -> &Part {
        self.parts.iter().find(|part| part.here.has(context)).expect("somebody has it")
    }

    /// The engine that has a context's rows.
    pub fn engine(&self, context: Context) -> &Engine {
        &self.part(context).engine
    }

    /// The store that has them.
    pub fn store(&self, context: Context) -> &dyn Store {
        self.engine(context).store()
    }

    /// The database in which they are.
    pub fn database(&self, context: Context) -> &Database {
        &self.part(context).database
    }

    /// Cuts whoever has a context off from the others, or connects them again.
    pub fn cut(&self, context: Context, is_cut: bool) {
        self.part(context).line.cut(is_cut);
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
        let mut databases = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let store = part.database.open(Access::Look).await.expect("the database opens");
            databases.push((part.here, store));
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
        for part in &self.parts {
            tokio::time::timeout(PATIENCE, part.engine.stop()).await.expect("it stops");
        }
    }
}

/// Everything that isn't here is with its neighbours.
fn neighbours_of(here: Contexts, lines: &[(Contexts, Arc<Near>)]) -> Neighbours {
    let line_to = |context| {
        let line = lines.iter().find(|(of, _)| of.has(context) && !here.has(context));
        line.map(|(_, line)| Arc::clone(line))
    };
    Neighbours {
        identity: line_to(Context::Identity).map_or(Place::Here, |it| Place::Elsewhere(it)),
        events: line_to(Context::Events).map_or(Place::Here, |it| Place::Elsewhere(it)),
        accounts: line_to(Context::Accounts).map_or(Place::Here, |it| Place::Elsewhere(it)),
        bookings: line_to(Context::Bookings).map_or(Place::Here, |it| Place::Elsewhere(it)),
    }
}
