//! Services that talk to each other over loopback, each with an engine and a database of its own.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod admission;
mod log;
mod looks;
mod lost_state;
mod neighbour;
mod sagas;
mod side;
mod wire;
