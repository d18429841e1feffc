//! What services that have databases of their own have seen of each other's, so that one which was
//! restored from a back-up is noticed; see `docs/decisions/0025-lost-state.md`.

use std::fmt::Write as _;

use eventbooker_core::Context;

use crate::LastIds;

/// A database's own name.
pub type DatabaseId = [u8; 16];

/// A database's name as people and services write it.
pub fn written(id: &DatabaseId) -> String {
    let mut text = String::with_capacity(2 * id.len());
    for byte in id {
        write!(text, "{byte:02x}").expect("a text takes everything");
    }
    text
}

/// The name that is written so.
pub fn read(text: &str) -> Option<DatabaseId> {
    let mut id = DatabaseId::default();
    if text.len() != 2 * id.len() || !text.is_ascii() {
        return None;
    }
    for (place, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(id)
}

/// What a database's number rises by when it goes on from where it was restored to: more than it will
/// ever rise by otherwise, so that whatever was seen of it before is less.
pub const GENERATION: i64 = 1 << 40;

/// Which time a number is of: it rises each time that a database goes on after a loss.
pub const fn generation(number: i64) -> i64 {
    number / GENERATION
}

/// What is known of another service's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Whose it is.
    pub service: Context,
    /// Which database it is.
    pub database: DatabaseId,
    /// How far it has come, as far as anybody here has seen.
    pub number: i64,
    /// How far it has said that it has seen this database come, of its present generation.
    pub heard: i64,
    /// Another database, which was met in its place.
    pub found: Option<DatabaseId>,
    /// What it has said that this database had lost. What was said before the database went on, is over.
    pub loss: Option<Loss>,
}

/// That a database is behind what somebody has seen of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// How far they had seen it come.
    pub saw: i64,
    /// The highest numbers of its kind that they have met.
    pub met: LastIds,
}

impl Neighbour {
    /// One that has just been met.
    pub const fn met(service: Context, database: DatabaseId, number: i64) -> Self {
        Self { service, database, number, heard: 0, found: None, loss: None }
    }

    /// What it misses of this database, which has come so far.
    pub fn misses(&self, number: i64) -> Option<Loss> {
        self.loss.filter(|loss| generation(loss.saw) >= generation(number))
    }
}
