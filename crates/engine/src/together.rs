//! Many things in one command: those of one lane are decided together, and one that can't be decided
//! fails alone.
//!
//! A command for each would be decided in the same batch, but every one of them is a task, a place in
//! the inbox and a way there and back.

use std::collections::BTreeMap;
use std::pin::Pin;

use tokio::task::JoinSet;

use crate::command::{Command, Lane};
use crate::{Engine, Error};

/// Things, and what became of each.
type Decided<T, R> = Vec<(T, Result<R, Error>)>;

impl Engine {
    /// Has things decided, in no particular order. A command replies to each of its things, in their order.
    pub(crate) async fn decide_all<T, R, C>(
        &self,
        things: Vec<T>,
        lane_of: fn(&T) -> Lane,
        command: fn(Vec<T>) -> C,
    ) -> Decided<T, R>
    where
        T: Clone + Send + 'static,
        R: Send + 'static,
        C: Command<Reply = Vec<R>>,
    {
        let (lanes, at_most) = (self.settings().lanes, self.settings().batch_commands_max);
        let mut by_lane: BTreeMap<usize, Vec<T>> = BTreeMap::new();
        for thing in things {
            by_lane.entry(lane_of(&thing).index(lanes)).or_default().push(thing);
        }
        let mut commands = JoinSet::new();
        for of_lane in by_lane.into_values() {
            // A lane decides no more at once than it would of commands, so that others have their turn.
            for together in of_lane.chunks(at_most) {
                commands.spawn(decide_together(self.clone(), together.to_vec(), command));
            }
        }
        commands.join_all().await.into_iter().flatten().collect()
    }
}

/// Has things of one lane decided; by halves, if they can't be together.
fn decide_together<T, R, C>(
    engine: Engine,
    mut things: Vec<T>,
    command: fn(Vec<T>) -> C,
) -> Pin<Box<dyn Future<Output = Decided<T, R>> + Send>>
where
    T: Clone + Send + 'static,
    R: Send + 'static,
    C: Command<Reply = Vec<R>>,
{
    Box::pin(async move {
        let decided = engine.submit_patiently(command(things.clone())).await;
        match decided.and_then(|decided| decided.outcome.map_err(|_| Error::Bug)) {
            Ok(replies) => things.into_iter().zip(replies.into_iter().map(Ok)).collect(),
            Err(Error::Bug) if things.len() > 1 => {
                let others = things.split_off(things.len() / 2);
                let mut decided = decide_together(engine.clone(), things, command).await;
                decided.extend(decide_together(engine, others, command).await);
                decided
            }
            Err(error) => things.into_iter().map(|thing| (thing, Err(error.clone()))).collect(),
        }
    })
}
