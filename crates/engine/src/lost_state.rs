//! What a service does that has lost state, or whose neighbour has: it keeps what it is told of that, gives
//! out no numbers as long as its own are in doubt, and goes on when an operator says so.
//!
//! Who has lost what is found out between the services (`links::acquaintance`).

use eventbooker_core::{Context, Contexts, Timestamp};
use eventbooker_store::{
    Changes, DatabaseId, GENERATION, LastIds, Neighbour, Store, StoreError, Wants, save_alone,
};

use crate::batch::{Batch, Rules};
use crate::command::{Command, Lane};
use crate::{Engine, Error, Refusal};

/// Nothing that an operator accepts is about the time.
const NO_TIME: Timestamp = Timestamp::from_micros(0);

/// What isn't served until an operator has looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estranged {
    /// Whether this database is behind what others have seen of it.
    pub has_lost: bool,
    /// Neighbours that aren't called, because their databases aren't what they were.
    pub neighbours: Contexts,
}

impl Default for Estranged {
    fn default() -> Self {
        Self { has_lost: false, neighbours: Contexts::NONE }
    }
}

/// Keeps what was seen of neighbours.
struct Note {
    seen: Vec<Neighbour>,
}

impl Command for Note {
    type Reply = ();

    fn lane(&self) -> Lane {
        Lane::Any
    }

    fn wants(&self, _: &Rules, _: &mut Wants) {}

    fn decide(&self, batch: &mut Batch) -> Result<(), Refusal> {
        batch.note_neighbours(&self.seen);
        Ok(())
    }
}

impl Engine {
    /// Keeps what was seen of neighbours, beside what had been seen before.
    pub async fn note_neighbours(&self, seen: Vec<Neighbour>) -> Result<(), Error> {
        self.submit_patiently(Note { seen }).await.map(drop)
    }

    /// Whoever finds out tells what isn't served from now on.
    pub fn set_estranged(&self, estranged: Estranged) {
        *self.lock_estranged() = estranged;
    }

    /// What isn't served until an operator has looked.
    pub fn estranged(&self) -> Estranged {
        *self.lock_estranged()
    }

    fn lock_estranged(&self) -> std::sync::MutexGuard<'_, Estranged> {
        self.inner.estranged.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Refuses whatever needs a new number. One that was given out and lost with its row would be given to
    /// somebody else, while neighbours still know it.
    pub(crate) fn may_give_numbers(&self) -> Result<(), Error> {
        if self.estranged().has_lost { Err(Error::LostState) } else { Ok(()) }
    }
}

/// What became of an operator's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// Nobody has found anything that could be accepted.
    Nothing,
    /// A neighbour has this database from now on, instead of the other.
    Another {
        /// The one that it had.
        before: DatabaseId,
        /// The one that it has.
        now: DatabaseId,
    },
    /// This database goes on from where it is.
    GoesOn {
        /// How far it has come.
        number: i64,
        /// What it lacks, by whom.
        missed_by: Vec<Neighbour>,
        /// From where its numbers go on.
        last_ids: LastIds,
    },
}

/// Takes the other database that was met in a neighbour's place for the neighbour's. This one's number
/// begins a new generation, so that nothing which was said to the former one counts any more, should it
/// ever be heard of again.
pub async fn accept_neighbour(store: &dyn Store, service: Context) -> Result<Accepted, StoreError> {
    let known = store.neighbours().await?.into_iter().find(|known| known.service == service);
    let Some(known) = known else { return Ok(Accepted::Nothing) };
    let Some(now) = known.found else { return Ok(Accepted::Nothing) };
    let neighbour = Neighbour { loss: known.loss, ..Neighbour::met(service, now, 0) };
    let number = store.progress().await?;
    let is_missed = store.neighbours().await?.iter().any(|known| known.misses(number).is_some());
    // Whoever has lost state goes on by another word, and not by this one.
    let beyond = (number / GENERATION + 1) * GENERATION - number;
    let changes = Changes {
        neighbours_set: vec![neighbour],
        progress: if is_missed { 0 } else { beyond },
        ..Default::default()
    };
    save_alone(store, NO_TIME, &changes).await?;
    Ok(Accepted::Another { before: known.database, now })
}

/// Lets a database that has lost something go on from where it is. Its number rises above all that was
/// seen of it, so its neighbours go on as well; and what it gives out rises above all that they have met.
pub async fn accept_loss(store: &dyn Store) -> Result<Accepted, StoreError> {
    let number = store.progress().await?;
    let known = store.neighbours().await?.into_iter();
    let missed_by: Vec<Neighbour> = known.filter(|known| known.misses(number).is_some()).collect();
    if missed_by.is_empty() {
        return Ok(Accepted::Nothing);
    }
    let mut last_ids = store.snapshot().await?.last_ids().await?;
    for loss in missed_by.iter().filter_map(|known| known.loss) {
        let met = loss.met.of(store.contexts());
        last_ids.booking = last_ids.booking.max(met.booking);
        last_ids.event = last_ids.event.max(met.event);
        last_ids.user = last_ids.user.max(met.user);
    }
    let seen = missed_by.iter().filter_map(|known| known.loss).map(|loss| loss.saw).max();
    let beyond = seen.unwrap_or_default().max(number) / GENERATION + 1;
    let changes =
        Changes { progress: beyond * GENERATION - number, last_ids, ..Default::default() };
    save_alone(store, NO_TIME, &changes).await?;
    Ok(Accepted::GoesOn { number, missed_by, last_ids })
}
