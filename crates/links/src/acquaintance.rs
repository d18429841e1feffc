//! What services know of each other's databases, so that one which was restored from a back-up is noticed
//! before anything is built on it.
//!
//! Each database has a name and a number, which rises with every change. Whoever calls says how far it has
//! come, how far it has seen the other come, and how far the other has said that it has seen it come. None
//! of this ever falls, unless a database has been put back:
//!
//! | whoever is called finds | so | and |
//! |---|---|---|
//! | that it is another database than the caller knows | that is another one | refuses |
//! | that it has come less far than the caller has seen | it has lost state | refuses, and notes it |
//! | that it knows of less than it has said to the caller | it has lost state, and gone on since | refuses, and notes it |
//! | that the caller has come less far than it has seen | the caller may have | refuses; the caller looks and knows |
//!
//! Refused is the whole call, before anything of it is looked at. A line to a neighbour that isn't what it
//! was is closed: nothing is called but a greeting every few seconds, until one is answered. Whoever has
//! lost state itself calls nobody, serves nobody, and gives out no numbers.
//!
//! What was seen is kept at most once a second, with whatever is being saved then.

mod compare;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use eventbooker_core::{Context, Contexts, Timestamp};
use eventbooker_engine::{Clock, Engine, Estranged};
use eventbooker_store::{DatabaseId, LastIds, Neighbour, Store, StoreError, generation};
use metrics::{describe_gauge, gauge};
use tokio::sync::Notify;

pub(crate) use self::compare::{Advice, Introduction};

/// How often what was seen is kept.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// Each so many times, what others have kept is read as well: replicas, and operators.
const READ_EVERY: u32 = 3;
/// How long whoever has been compared needn't be compared once more.
const COMPARED_FOR: Duration = Duration::from_secs(3);

/// What is known of all neighbours, in one process.
#[derive(Default)]
pub struct Acquaintances {
    own: OnceLock<Own>,
    state: Mutex<State>,
    /// There is something that has to be kept at once.
    urgent: Notify,
}

struct Own {
    id: DatabaseId,
    store: Arc<dyn Store>,
}

#[derive(Default)]
struct State {
    /// How far this database has come, at least.
    number: i64,
    known: BTreeMap<Context, Known>,
}

/// What is known of one of them.
struct Known {
    seen: Neighbour,
    /// As much of its number as is kept.
    kept: i64,
    is_dirty: bool,
    /// When it was last compared.
    compared_at: Option<Timestamp>,
    /// Why it isn't called.
    closed: Option<&'static str>,
    /// The highest numbers of its kind that were met before it was closed.
    met: Option<LastIds>,
}

impl Known {
    fn of(seen: Neighbour) -> Self {
        let closed = seen.found.map(|_| ANOTHER);
        Self { seen, kept: seen.number, is_dirty: false, compared_at: None, closed, met: None }
    }

    /// Notes how far the database has come.
    fn sees(&mut self, number: i64) {
        if number > self.seen.number {
            if generation(number) > generation(self.seen.number) {
                // What it had said before, it said before it lost that.
                self.seen.heard = 0;
            }
            self.seen.number = number;
            self.is_dirty = true;
        }
    }

    /// Notes how far it says to have seen this one come.
    fn hears(&mut self, keeps: i64) {
        if keeps > self.seen.heard {
            self.seen.heard = keeps;
            self.is_dirty = true;
        }
    }
}

const ANOTHER: &str = "it is another database than the one that was known";
const BEHIND: &str = "its database is behind what was seen of it: it was restored from a back-up";

impl Acquaintances {
    /// Reads what is known. Before this, nothing is told and nothing compared.
    pub async fn begin(&self, engine: &Engine) -> Result<(), StoreError> {
        let store = engine.shared_store();
        let (number, rows) = (store.progress().await?, store.neighbours().await?);
        {
            let mut state = self.state();
            state.number = number;
            state.known = rows.into_iter().map(|row| (row.service, Known::of(row))).collect();
        }
        let own = Own { id: engine.installation().id, store };
        assert!(self.own.set(own).is_ok(), "it begins once");
        self.tell(engine);
        Ok(())
    }

    /// Keeps what was seen, and reads what others have kept. It ends when it is dropped.
    pub async fn keep(self: Arc<Self>, engine: Engine, clock: Arc<dyn Clock>) {
        describe_gauge!(
            "eventbooker_neighbour_lost_state",
            "Whether a service isn't served because its database isn't what it was, by service"
        );
        for turn in 1_u32.. {
            self.tell(&engine);
            tokio::select! {
                biased;
                () = self.urgent.notified() => self.tell(&engine),
                () = clock.sleep_until(clock.now().plus(KEEP_EVERY)) => {}
            }
            let kept = self.keep_now(&engine).await;
            let read = if kept.is_ok() && turn.is_multiple_of(READ_EVERY) {
                self.read_again().await.map(drop).map_err(|error| error.to_string())
            } else {
                kept
            };
            if let Err(reason) = read {
                tracing::debug!(reason, "what was seen of neighbours isn't kept for now");
            }
        }
    }

    /// Keeps what was seen since it was last kept.
    pub async fn keep_now(&self, engine: &Engine) -> Result<(), String> {
        let dirty: Vec<Neighbour> = {
            let mut state = self.state();
            let dirty = state.known.values_mut().filter(|known| known.is_dirty);
            dirty
                .map(|known| {
                    known.is_dirty = false;
                    known.seen
                })
                .collect()
        };
        if dirty.is_empty() {
            return Ok(());
        }
        let noted = engine.note_neighbours(dirty.clone()).await;
        let mut state = self.state();
        for seen in dirty {
            let Some(known) = state.known.get_mut(&seen.service) else { continue };
            if noted.is_err() {
                known.is_dirty = true;
            } else if known.seen.database == seen.database {
                known.kept = known.kept.max(seen.number);
            }
        }
        noted.map_err(|error| error.to_string())
    }

    /// Reads what is kept, by other replicas and by operators: how far this database has come, and what is
    /// known of others.
    async fn read_again(&self) -> Result<(i64, Vec<Neighbour>), StoreError> {
        let Some(own) = self.own.get() else { return Ok((0, Vec::new())) };
        let (number, rows) = (own.store.progress().await?, own.store.neighbours().await?);
        let read = rows.clone();
        let mut state = self.state();
        let had_lost = state.has_lost();
        state.number = number;
        if had_lost && !state.has_lost() {
            tracing::info!("this database goes on from where it was restored to");
        }
        for row in rows {
            let Some(known) = state.known.get_mut(&row.service) else {
                state.known.insert(row.service, Known::of(row));
                continue;
            };
            if known.seen.database != row.database {
                tracing::info!(service = %row.service, "a neighbour's other database is accepted");
                *known = Known::of(row);
                continue;
            }
            known.kept = row.number;
            if known.is_dirty {
                continue;
            }
            if row.number > known.seen.number {
                (known.seen.number, known.seen.heard) = (row.number, row.heard);
            }
            known.seen.loss = row.loss;
        }
        Ok((number, read))
    }

    /// Whether a neighbour isn't called until an operator has looked.
    pub(crate) fn is_closed_to(&self, to: Context) -> bool {
        let state = self.state();
        state.has_lost() || state.known.get(&to).is_some_and(|known| known.closed.is_some())
    }

    /// Tells the engine and the metrics what isn't served.
    fn tell(&self, engine: &Engine) {
        let state = self.state();
        let has_lost = state.has_lost();
        let closed = state.known.values().filter(|known| known.closed.is_some());
        let neighbours: Contexts = closed.map(|known| known.seen.service).collect();
        let known: Vec<Context> = state.known.keys().copied().collect();
        drop(state);
        engine.set_estranged(Estranged { has_lost, neighbours });
        let show = |service: Context, is_so: bool| {
            let shown = if is_so { 1.0 } else { 0.0 };
            gauge!("eventbooker_neighbour_lost_state", "service" => service.name()).set(shown);
        };
        for service in known {
            show(service, neighbours.has(service));
        }
        for service in engine.here().iter() {
            show(service, has_lost);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_lost(&self) -> bool {
        self.known.values().any(|known| known.seen.misses(self.number).is_some())
    }
}

impl Known {
    /// Calls it again.
    fn open(&mut self) {
        if self.closed.take().is_some() {
            self.met = None;
            self.is_dirty |= self.seen.found.take().is_some();
            tracing::info!(service = %self.seen.service, "a neighbour's database is what it was again");
        }
    }

    /// Doesn't call it any more.
    fn close(&mut self, why: &'static str, found: Option<DatabaseId>) {
        if self.seen.found != found {
            self.seen.found = found;
            self.is_dirty = true;
        }
        if self.closed.replace(why).is_none() {
            let service = self.seen.service;
            tracing::error!(
                %service, why,
                "a neighbour isn't called until an operator has looked; see the chapter on back-ups in \
                 docs/OPERATIONS.md"
            );
        }
    }
}
