//! What one database is known by.

use std::fmt;

/// What was drawn when a database's tables were made. It stays the same for as long as the database is
/// there, and a back-up of it has the same. A copy into another database has a secret of its own; it takes
/// the id along if it takes the place of a service's whole database.
#[derive(Clone, PartialEq, Eq)]
pub struct Installation {
    /// Tells this database from every other one.
    pub id: [u8; 16],
    /// Signs what has to be known again later, by every process that this database is open in.
    pub secret: [u8; 32],
}

impl Installation {
    /// A new one.
    pub(crate) fn draw() -> Self {
        let mut drawn = Self { id: [0; 16], secret: [0; 32] };
        getrandom::fill(&mut drawn.id).expect("the operating system provides randomness");
        getrandom::fill(&mut drawn.secret).expect("the operating system provides randomness");
        drawn
    }
}

/// Without the secret.
impl fmt::Debug for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Installation").field("id", &self.id).finish_non_exhaustive()
    }
}
