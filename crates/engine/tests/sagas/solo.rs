//! One engine with its bookings, among participants that a test makes up.

use std::sync::Arc;

use eventbooker_core::bookings::HoldLimits;
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::events::{Draft, Event};
use eventbooker_core::{BookingId, EventId};
use eventbooker_engine::{Engine, Neighbours, Settings};
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::database::Database;
use eventbooker_testkit::service::{ADMIN, UNLIMITED};
use eventbooker_testkit::{Faults, ManualClock, outcome};

use super::pair::parts;

pub(crate) struct Solo {
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) faults: Faults,
    pub(crate) database: Database,
}

impl Solo {
    pub(crate) async fn start(participants: Neighbours) -> Self {
        Self::start_on(participants, |_| {}).await
    }

    /// The same, on rows that something was done to first.
    pub(crate) async fn start_on(
        participants: Neighbours,
        prepare: impl FnOnce(&Database),
    ) -> Self {
        Self::open(participants, UNLIMITED, prepare).await
    }

    /// The same, with limits on what a user may hold.
    pub(crate) async fn start_with(participants: Neighbours, holds: HoldLimits) -> Self {
        Self::open(participants, holds, |_| {}).await
    }

    async fn open(
        participants: Neighbours,
        holds: HoldLimits,
        prepare: impl FnOnce(&Database),
    ) -> Self {
        let database = Database::new();
        let (clock, faults) = (Arc::new(ManualClock::default()), Faults::default());
        let parts = parts(&database, &clock, &faults).await;
        prepare(&database);
        let settings = Settings { holds, ..Settings::default() };
        let engine = Engine::start_among(participants, parts, settings).await;
        Self { engine: engine.expect("it starts"), clock, faults, database }
    }

    pub(crate) async fn create_event(&self) -> EventId {
        let draft = Draft {
            name: "Green run".to_owned(),
            description: String::new(),
            starts_at: None,
            capacity: 10,
            price_minor: 40,
            payment_window_minutes: 30,
        };
        let event: Event = outcome(self.engine.create_event(ADMIN, draft, None).await)
            .expect("the draft breaks no rule");
        event.id
    }

    pub(crate) async fn errands(&self) -> Vec<Errand> {
        self.engine.store().errands(BookingId::new(0), 10_000).await.expect("read")
    }

    /// Waits, without any time passing, until something is so.
    pub(crate) async fn until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let so = async {
            while !is_so().await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, so).await.expect(what);
    }
}
