//! The simulation: `events`, `account` and `book`, each with its own database, on a network that loses,
//! delays, repeats and reorders what they say to each other, and on machines that crash.
//!
//! The services are the real ones: the engine, the SQLite store, the internal HTTP with its tokens, client
//! and server. What is simulated is what is around them: time, the network, disks, chance, and people.
//! All of it follows from a seed, in one thread, so that a run that has gone wrong can be watched again.
//!
//! After a while the faults stop. Then every saga has to end, everything has to add up over the three
//! databases, and whatever anybody was told has to be so.
//!
//! | module | holds |
//! |---|---|
//! | `host` | which process of which service |
//! | `machine` | a service on a runtime of its own, which is dropped when it crashes |
//! | `network`, `line`, `courier` | what becomes of calls and answers |
//! | `disk` | databases that take their time, and those of the negative controls |
//! | `faults` | what goes wrong, and when |
//! | `people`, `orders`, `words` | who asks for what, and what they were told |
//! | `judge` | whether that is so |
//!
//! Absent on purpose: the edge and the public HTTP, which are tested over real sockets; `auth`, which no
//! saga needs; PostgreSQL, whose server has a clock and threads of its own; and databases that are put back,
//! which `links/tests/http/lost_state.rs` has.

mod chance;
mod courier;
mod diary;
mod disk;
mod faults;
mod host;
mod judge;
mod line;
mod machine;
mod network;
mod orders;
mod panics;
mod people;
mod words;
mod world;

use clap::ValueEnum;

use crate::diary::Diary;
use crate::world::World;

/// A negative control: what is taken from the services, so that runs have to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Control {
    /// Participants remember nothing.
    Forgetful,
    /// What is answered at once is not kept under its key.
    Keyless,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The seed that it followed from.
    pub seed: u64,
    /// The digest of all its steps.
    pub digest: u64,
    /// How many they were.
    pub steps: u64,
    /// What was wrong.
    pub wrong: Vec<String>,
}

/// Runs a seed; shows each step, if that is wanted.
pub fn run(seed: u64, control: Option<Control>, is_shown: bool) -> Verdict {
    let (world, panics) = panics::watched(|| {
        let mut world = World::new(seed, control, Diary::new(is_shown));
        let wrong = world.run();
        (wrong, world)
    });
    let (mut wrong, world) = match world {
        Ok((wrong, world)) => (wrong, Some(world)),
        Err(()) => (Vec::new(), None),
    };
    wrong.extend(panics);
    let (digest, steps) = world.map_or((0, 0), |world| (world.digest(), world.steps()));
    Verdict { seed, digest, steps, wrong }
}
