//! How services talk to each other: what one proves about itself, and what it says of a user.
//!
//! Absent on purpose: rules and SQL, which services have in common with a single process, and TLS
//! (a network's or a mesh's work): a token that is read on its way is good for one audience and a
//! minute.

pub mod acquaintance;
pub mod circuit;
pub mod client;
pub mod description;
mod ed25519;
pub mod keys;
mod names;
pub mod server;
pub mod tokens;
pub mod wire;
