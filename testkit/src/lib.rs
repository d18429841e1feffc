//! What tests stand on: a clock that they set, randomness that they seed, stores that fail when
//! they are told to, and a whole service made of these.
//!
//! | module | holds |
//! |---|---|
//! | [`clock`] | [`ManualClock`]: stands still until a test moves it |
//! | [`entropy`] | [`SeededEntropy`]: the same bytes in every run |
//! | [`faults`] | [`FaultyStore`]: saves that fail, hang, or happen without anybody hearing of it; [`LostUpdates`](faults::LostUpdates): the negative control |
//! | [`service`] | [`Service`]: an engine on a real store, that must be sound when a test is done |
//! | [`rows`] | rows and whole changes to fill stores with |
//! | [`attendee`] | a client that knows to the last minor unit what has to be there |
//! | [`customer`], [`sale`] | the same of services that come and go, and many of them at once |
//! | [`client`], [`server`] | a client over HTTP, and the real program as a process |
//! | [`database`] | [`Database`](database::Database): a look past the service |
//! | [`network`] | machines in small, with cables that can be pulled |
//! | [`postgres`] | PostgreSQL servers, and schemas on one that tests share |
//! | [`wire`] | a wire to PostgreSQL that a test tampers with |
//! | [`contract`] | what every store has to do, as functions over any of them |

#![allow(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a test that can't go on has failed, and panicking is how it says so"
)]

pub mod attendee;
pub mod client;
pub mod clock;
pub mod contract;
pub mod customer;
pub mod database;
pub mod entropy;
pub mod faults;
pub mod near;
pub mod network;
pub mod nginx;
pub mod postgres;
pub mod rows;
pub mod sale;
pub mod server;
pub mod service;
pub mod services;
pub mod split;
pub mod wire;

pub use self::clock::ManualClock;
pub use self::entropy::SeededEntropy;
pub use self::faults::{Fault, Faults, FaultyStore, Held};
pub use self::near::{Near, steps_only};
pub use self::service::{Failure, Options, Outcome, Service, begin, outcome, refused};
pub use self::split::Split;
