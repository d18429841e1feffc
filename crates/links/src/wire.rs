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
use eventbooker_store::LastIds;
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
    /// How far that has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<i64>,
    /// Whether to compare that with what has been seen of it: calls overtake each other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub introduces: bool,
    /// What it has seen of the database of whoever is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sees: Option<Sees>,
    /// The highest numbers that it knows of whoever is asked, if that has lost some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<Met>,
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
    /// How far it has said that it has seen the other one come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<i64>,
}

/// The highest numbers of bookings, events and users that somebody has met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Met {
    /// Of bookings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booking: Option<i64>,
    /// Of events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<i64>,
    /// Of users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<i64>,
}

impl From<LastIds> for Met {
    fn from(LastIds { booking, event, user }: LastIds) -> Self {
        Self { booking, event, user }
    }
}

impl From<Met> for LastIds {
    fn from(Met { booking, event, user }: Met) -> Self {
        Self { booking, event, user }
    }
}

/// Which of two databases isn't what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Whose {
    /// That of whoever says so.
    Mine,
    /// That of whoever called.
    Yours,
}

/// Why nothing is done for a caller: a database isn't what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fault {
    /// Which one.
    pub whose: Whose,
    /// Whether it is another one. Otherwise it is behind what was seen of it.
    pub is_another: bool,
    /// Which database says so.
    pub database: String,
    /// How far it had been seen to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<i64>,
    /// The highest numbers of its kind that were met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<Met>,
}

impl Fault {
    pub(crate) fn another(whose: Whose, database: String) -> Self {
        Self { whose, is_another: true, database, seen: None, met: None }
    }

    /// Whoever says so has lost something.
    pub(crate) fn lost(database: String) -> Self {
        Self { whose: Whose::Mine, is_another: false, database, seen: None, met: None }
    }

    /// The caller has, it seems.
    pub(crate) fn behind(database: String, seen: i64, met: Met) -> Self {
        let (seen, met) = (Some(seen), Some(met));
        Self { whose: Whose::Yours, is_another: false, database, seen, met }
    }
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
    /// How far it has seen the caller's database come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeps: Option<i64>,
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
