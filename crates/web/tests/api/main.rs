//! The API over a real socket, by a clock that the tests set.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that can't go on has failed, and panicking is how it says so"
)]

mod apart;
mod described;
mod elsewhere;
mod first_seed;
mod guessing;
mod idempotency;
mod identity;
mod lists;
mod live;
mod malformed;
mod money;
mod operations;
mod organiser;
mod second_seed;
mod site;
mod traces;
