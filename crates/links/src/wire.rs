//! What services write to each other, as JSON: batches of items, and one result for each, in their
//! order.
//!
//! Version 1, as its paths say. A release understands its own version and the one before. Within a
//! version a field may be added if whoever doesn't know it can do without; so unknown fields are
//! ignored. What isn't understood of one item is that item's [`trouble`](steps::StepResult::Trouble),
//! never the batch's: whoever asked has the others answered and asks this one again.
//!
//! Callbacks are these results. A caller who hasn't heard one asks again, and the participant, which
//! remembers, says the same again.

pub mod looks;
pub mod notices;
pub mod shapes;
pub mod steps;

use eventbooker_core::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// The most items in one batch.
pub const ITEMS_MAX: usize = 256;
/// The largest body, in bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// A batch of questions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Batch<I> {
    /// The service that asks.
    #[serde(with = "crate::names")]
    #[schema(value_type = String, example = "book")]
    pub from: Context,
    /// Which database it has: a random name that it was given when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// What it has seen of the database of whoever is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sees: Option<Sees>,
    /// The questions.
    #[schema(max_items = 256)]
    pub items: Vec<I>,
}

/// How far a database has come, as somebody else has seen it. One that is behind that has been
/// restored from a back-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sees {
    /// The database's name.
    pub database: String,
    /// The highest number that it has shown.
    pub number: i64,
}

/// What became of a batch.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Results<R> {
    /// Which database has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// How far it has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<i64>,
    /// One result for each item, in their order.
    pub results: Vec<R>,
}

/// A result that may say why there is none.
pub(crate) trait HasTrouble {
    /// There is none, for this reason.
    fn trouble(why: String) -> Self;
}

/// An item that is still to be understood.
pub(crate) type Raw = Box<RawValue>;

/// Understands an item, or says what is wrong with it.
pub(crate) fn understand<T: DeserializeOwned>(raw: &RawValue) -> Result<T, String> {
    serde_json::from_str(raw.get()).map_err(|error| format!("this isn't understood: {error}"))
}
