//! The pages over a real socket, by plain requests as a browser without scripts makes them.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    dead_code,
    reason = "a test that can't go on has failed, and panicking is how it says so; the site is shared with the API's tests"
)]

mod booking;
mod browser;
mod checks;
mod exporting;
mod organiser;
mod organiser_lists;
mod organiser_safety;
mod signing_in;
#[path = "../api/site.rs"]
mod site;
mod standing;
mod start;
mod watching;
