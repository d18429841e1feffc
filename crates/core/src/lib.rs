//! The rules: what may happen to seats, bookings, money and users, and what follows.
//!
//! Everything here is pure and synchronous. A rule takes the rows it needs and the instant it
//! happens at, and answers with what changed or with a named refusal; it never waits, never asks
//! what time it is and never draws a random number. That is why the same rule serves every store,
//! every replica and every test.
//!
//! Each context has one module: [`identity`], [`events`], [`accounts`], [`bookings`]. A context knows only its
//! own rows; they meet in the engine.
//!
//! Absent on purpose: async, clocks, randomness, I/O, SQL, and the shapes of the HTTP interface.

pub mod accounts;
pub mod bookings;
pub mod contexts;
pub mod events;
pub mod identity;
pub mod ids;
pub mod money;
pub mod time;
pub mod trace;

pub use contexts::{Context, Contexts};
pub use ids::{BookingId, EventId, UserId};
pub use money::Money;
pub use time::Timestamp;
