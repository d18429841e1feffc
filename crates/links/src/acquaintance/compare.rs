//! What callers and called say of themselves, and what follows from it.

use eventbooker_core::{Context, Timestamp};
use eventbooker_store::neighbours::{read as id, written};
use eventbooker_store::{DatabaseId, LastIds, Loss, Neighbour, StoreError, generation};

use super::{ANOTHER, Acquaintances, BEHIND, COMPARED_FOR, Known, Own};
use crate::wire::{Batch, Fault, Met, Sees, Whose};

/// What a call says of its caller.
#[derive(Debug, Clone, Default)]
pub(crate) struct Introduction {
    pub(crate) database: Option<String>,
    pub(crate) number: Option<i64>,
    pub(crate) is_first: bool,
    pub(crate) sees: Option<Sees>,
    pub(crate) met: Option<Met>,
}

/// What to do about a refusal.
pub(crate) enum Advice {
    /// Ask again: by now more is known.
    Again,
    /// Nothing can be done, for this reason.
    GiveUp(String),
}

impl Acquaintances {
    /// What a caller says of itself and of whom it calls. An error says why it doesn't call.
    pub(crate) async fn introduce(
        &self,
        to: Context,
        now: Timestamp,
        is_greeting: bool,
    ) -> Result<Introduction, String> {
        let Some(own) = self.own.get() else {
            return Err(format!("{to} isn't called before it is known what was seen of it"));
        };
        let (sees, is_first, is_closed, met) = {
            let state = self.state();
            if state.has_lost() {
                return Err(format!("{to} isn't called: this database has lost state"));
            }
            let known = state.known.get(&to);
            if let Some(why) = known.and_then(|known| known.closed).filter(|_| !is_greeting) {
                return Err(format!("{to} isn't called: {why}"));
            }
            let compared_at = known.and_then(|known| known.compared_at);
            let is_first = compared_at.is_none_or(|at| at.plus(COMPARED_FOR) <= now);
            let sees = known.map(|known| Sees {
                database: written(&known.seen.database),
                number: known.seen.number,
                heard: Some(known.seen.heard),
            });
            let is_closed = known.is_some_and(|known| known.closed.is_some());
            (sees, is_first, is_closed, known.and_then(|known| known.met))
        };
        let number = self.come_so_far(own).await.map_err(|error| error.to_string())?;
        let met = if is_closed { Some(self.met(own, to, met).await?.into()) } else { None };
        let database = Some(written(&own.id));
        Ok(Introduction { database, number: Some(number), is_first, sees, met })
    }

    /// The highest numbers that were met of a neighbour that is closed: none are met any more, and it
    /// takes a while to find them.
    async fn met(&self, own: &Own, of: Context, known: Option<LastIds>) -> Result<LastIds, String> {
        if let Some(met) = known {
            return Ok(met);
        }
        let met = own.store.ids_met().await.map_err(|error| error.to_string())?;
        if let Some(known) = self.state().known.get_mut(&of).filter(|known| known.closed.is_some())
        {
            known.met = Some(met);
        }
        Ok(met)
    }

    /// Reads how far this database has come.
    async fn come_so_far(&self, own: &Own) -> Result<i64, StoreError> {
        let number = own.store.progress().await?;
        self.state().number = number;
        Ok(number)
    }

    /// A call was answered: compares what the answer says with what the call has said.
    pub(crate) fn answered(
        &self,
        to: Context,
        introduced: &Introduction,
        (database, number, keeps): (Option<&str>, Option<i64>, Option<i64>),
        now: Timestamp,
    ) -> Result<(), String> {
        let Some(database) = database.and_then(id) else { return Ok(()) };
        let number = number.unwrap_or_default();
        let mut state = self.state();
        let known = state.known.entry(to).or_insert_with(|| {
            let mut known = Known::of(Neighbour::met(to, database, number));
            known.is_dirty = true;
            known.kept = 0;
            known
        });
        if known.seen.database != database {
            known.close(ANOTHER, Some(database));
        } else if introduced.sees.as_ref().is_some_and(|sees| sees.number > number) {
            known.close(BEHIND, None);
        } else {
            known.open();
            known.sees(number);
            known.hears(keeps.unwrap_or_default());
            if introduced.is_first {
                known.compared_at = Some(now);
            }
            return Ok(());
        }
        let why = known.closed.unwrap_or_default();
        drop(state);
        self.urgent.notify_one();
        Err(format!("{to}: {why}"))
    }

    /// A call was refused, because one of both isn't what it was.
    pub(crate) async fn refused(&self, to: Context, fault: &Fault, is_again: bool) -> Advice {
        let Some(own) = self.own.get() else {
            return Advice::GiveUp("nothing is known yet".to_owned());
        };
        let why = match fault.whose {
            Whose::Mine => {
                let why = if fault.is_another { ANOTHER } else { BEHIND };
                let found = id(&fault.database).filter(|_| fault.is_another);
                if let Some(known) = self.state().known.get_mut(&to) {
                    known.close(why, found);
                }
                format!("{to}: {why}")
            }
            Whose::Yours if fault.is_another => {
                format!("{to} knows another database as the one that is here")
            }
            Whose::Yours => {
                let seen = fault.seen.unwrap_or_default();
                match self.come_so_far(own).await {
                    Err(error) => return Advice::GiveUp(error.to_string()),
                    // It was another replica that had come so far.
                    Ok(number) if number >= seen && !is_again => return Advice::Again,
                    Ok(number) if number >= seen => {
                        return Advice::GiveUp(format!("{to} is told of others first"));
                    }
                    Ok(_) => {}
                }
                let met = fault.met.unwrap_or_default().into();
                if let Some(them) = id(&fault.database) {
                    self.loses((to, them), seen, met);
                }
                format!("{to} has seen more of this database than there is")
            }
        };
        self.urgent.notify_one();
        Advice::GiveUp(why)
    }

    /// This database is behind what a neighbour has seen of it.
    fn loses(&self, (by, database): (Context, DatabaseId), saw: i64, met: LastIds) {
        let mut state = self.state();
        let (number, had_lost) = (state.number, state.has_lost());
        // It may have been met after the back-up was made.
        let met_now = || Known::of(Neighbour::met(by, database, 0));
        let known = state.known.entry(by).or_insert_with(met_now);
        let before = known.seen.loss.map(|loss| loss.met).unwrap_or_default();
        let met = LastIds {
            booking: met.booking.max(before.booking),
            event: met.event.max(before.event),
            user: met.user.max(before.user),
        };
        let loss = Some(Loss { saw, met });
        if known.seen.loss != loss {
            known.seen.loss = loss;
            known.is_dirty = true;
        }
        drop(state);
        if !had_lost {
            tracing::error!(
                neighbour = %by, saw, number,
                "this database has been restored from a back-up: a neighbour has seen more of it than \
                 there is. Nothing is served, and no new number given out, until `eventbooker neighbour \
                 go-on` is run on it; see the chapter on back-ups in docs/OPERATIONS.md"
            );
        }
        self.urgent.notify_one();
    }

    /// Compares what a caller says with what is so here. A refusal says what isn't.
    pub(crate) async fn meet<I>(&self, batch: &Batch<I>) -> Result<Result<(), Fault>, StoreError> {
        let Some(own) = self.own.get() else { return Ok(Ok(())) };
        let Some(database) = batch.database.as_deref().and_then(id) else {
            // Whoever says nothing of itself is of a release that didn't.
            let has_lost = self.state().has_lost();
            return Ok(if has_lost { Err(Fault::lost(written(&own.id))) } else { Ok(()) });
        };
        let from = batch.from;
        if let Some(sees) = &batch.sees {
            if id(&sees.database) != Some(own.id) {
                return Ok(Err(Fault::another(Whose::Mine, written(&own.id))));
            }
            if self.has_lost_since(from, database, sees, batch.met).await? {
                return Ok(Err(Fault::lost(written(&own.id))));
            }
        }
        if self.state().has_lost() {
            return Ok(Err(Fault::lost(written(&own.id))));
        }
        let number = batch.number.unwrap_or_default();
        let seen = {
            let mut state = self.state();
            let known = state.known.entry(from).or_insert_with(|| {
                let mut known = Known::of(Neighbour::met(from, database, number));
                known.is_dirty = true;
                known.kept = 0;
                known
            });
            if known.seen.database != database {
                known.close(ANOTHER, Some(database));
                self.urgent.notify_one();
                return Ok(Err(Fault::another(Whose::Yours, written(&own.id))));
            }
            if !batch.introduces || number >= known.seen.number {
                if number >= known.seen.number {
                    known.open();
                }
                known.sees(number);
                return Ok(Ok(()));
            }
            known.seen.number
        };
        let met = own.store.ids_met().await?;
        Ok(Err(Fault::behind(written(&own.id), seen, met.into())))
    }

    /// Whether a caller has seen more of this database than there is, or been told more than is known
    /// here.
    async fn has_lost_since(
        &self,
        from: Context,
        database: DatabaseId,
        sees: &Sees,
        met: Option<Met>,
    ) -> Result<bool, StoreError> {
        let is_more = |number: i64, kept: i64| {
            // What was said before a loss that was accepted, was said before it.
            let of_now = generation(sees.number) == generation(number);
            sees.number > number || (of_now && sees.heard.unwrap_or_default() > kept)
        };
        let (number, kept) = {
            let state = self.state();
            let known = state.known.get(&from).filter(|known| known.seen.database == database);
            (state.number, known.map_or(0, |known| known.kept))
        };
        if !is_more(number, kept) {
            return Ok(false);
        }
        // It may be that only this process hasn't come so far. It is judged by what is read now: what is
        // remembered may be of somebody who has read before.
        let (number, rows) = self.read_again().await?;
        let row = rows.iter().find(|row| row.service == from && row.database == database);
        if !is_more(number, row.map_or(0, |row| row.number)) {
            return Ok(false);
        }
        self.loses((from, database), sees.number, met.unwrap_or_default().into());
        Ok(true)
    }

    /// What an answer says of whoever gives it: its name, how far it has come, which is at least as far as
    /// the caller was found right to have seen, and how far it has seen the caller come for certain.
    pub(crate) async fn present(
        &self,
        to: Context,
        sees: Option<&Sees>,
        has_changed: bool,
    ) -> (Option<String>, Option<i64>, Option<i64>) {
        let Some(own) = self.own.get() else { return (None, None, None) };
        let read = if has_changed { self.come_so_far(own).await.ok() } else { None };
        let state = self.state();
        let keeps = state.known.get(&to).map(|known| known.kept);
        let number = read.unwrap_or(state.number).max(sees.map_or(0, |sees| sees.number));
        (Some(written(&own.id)), Some(number), keeps)
    }

    /// Whether it is time to greet a neighbour that nobody calls.
    pub(crate) fn is_to_be_greeted(&self, to: Context, now: Timestamp) -> bool {
        let state = self.state();
        let known = state.known.get(&to);
        let compared_at =
            known.filter(|known| known.closed.is_none()).and_then(|it| it.compared_at);
        compared_at.is_none_or(|at| at.plus(COMPARED_FOR) <= now)
    }
}
