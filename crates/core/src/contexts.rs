//! The four contexts, and sets of them: what a database holds, what a process serves.
//!
//! Their names here are those of the services that they become where each runs by itself.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A part of the whole that knows only its own rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Context {
    /// Users and their sessions.
    Identity,
    /// Events, their seats and their journals.
    Events,
    /// Accounts and what was posted to them.
    Accounts,
    /// Bookings and their sagas.
    Bookings,
}

impl Context {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Identity, Self::Events, Self::Accounts, Self::Bookings];

    /// The name of its service.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "auth",
            Self::Events => "events",
            Self::Accounts => "account",
            Self::Bookings => "book",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Identity => 1,
            Self::Events => 2,
            Self::Accounts => 4,
            Self::Bookings => 8,
        }
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a text names no context, or no set of them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoContext {
    /// There is none of this name.
    #[error("`{0}` is no service; there are auth, events, account and book")]
    Unknown(String),
    /// It names nothing.
    #[error("at least one service has to be named: auth, events, account, book")]
    Nothing,
}

impl FromStr for Context {
    type Err = NoContext;

    fn from_str(text: &str) -> Result<Self, NoContext> {
        let found = Self::ALL.into_iter().find(|context| context.name() == text);
        found.ok_or_else(|| NoContext::Unknown(text.to_owned()))
    }
}

/// A set of contexts.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Contexts(u8);

impl Contexts {
    /// All four.
    pub const ALL: Self = Self(15);
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Whether this one is among them.
    pub const fn has(self, context: Context) -> bool {
        self.0 & context.bit() != 0
    }

    /// Whether all of those are among them.
    pub const fn has_all(self, others: Self) -> bool {
        others.0 & !self.0 == 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// These, and those as well.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// These without those.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// They, in the order in which [`Context::ALL`] has them.
    pub fn iter(self) -> impl Iterator<Item = Context> {
        Context::ALL.into_iter().filter(move |context| self.has(*context))
    }
}

/// All four: whoever says nothing has everything in one place.
impl Default for Contexts {
    fn default() -> Self {
        Self::ALL
    }
}

impl From<Context> for Contexts {
    fn from(context: Context) -> Self {
        Self(context.bit())
    }
}

impl FromIterator<Context> for Contexts {
    fn from_iter<I: IntoIterator<Item = Context>>(contexts: I) -> Self {
        contexts.into_iter().fold(Self::NONE, |all, context| all.and(context.into()))
    }
}

/// Their names with commas between them, as they are read.
impl fmt::Display for Contexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Context::name).collect();
        f.write_str(&names.join(","))
    }
}

impl fmt::Debug for Contexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Contexts({self})")
    }
}

impl FromStr for Contexts {
    type Err = NoContext;

    fn from_str(text: &str) -> Result<Self, NoContext> {
        if text.trim().is_empty() {
            return Err(NoContext::Nothing);
        }
        text.split(',').map(|name| name.trim().parse::<Context>()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_read_as_it_is_written() {
        for bits in 1..=15 {
            let contexts = Contexts(bits);
            assert_eq!(contexts.to_string().parse(), Ok(contexts));
        }
        let read = [
            ("auth,events,account,book", Contexts::ALL),
            ("book, auth", Contexts::from_iter([Context::Identity, Context::Bookings])),
            (" events ", Context::Events.into()),
            ("account,account", Context::Accounts.into()),
        ];
        for (text, contexts) in read {
            assert_eq!(text.parse(), Ok(contexts), "{text}");
        }
    }

    #[test]
    fn what_names_nothing_is_refused_by_its_name() {
        for (text, unknown) in [("events,boook", "boook"), ("Auth", "Auth"), ("auth,", "")] {
            assert_eq!(text.parse::<Contexts>(), Err(NoContext::Unknown(unknown.to_owned())));
        }
        for text in ["", "  "] {
            assert_eq!(text.parse::<Contexts>(), Err(NoContext::Nothing));
        }
    }

    #[test]
    fn sets_are_put_together_and_taken_apart() {
        let [auth, events] = [Context::Identity, Context::Events].map(Contexts::from);
        let both = auth.and(events);
        assert!(both.has(Context::Identity) && both.has(Context::Events));
        assert!(!both.has(Context::Accounts) && !both.has(Context::Bookings));
        assert!(both.has_all(auth) && !auth.has_all(both) && auth.has_all(Contexts::NONE));
        assert_eq!(both.without(auth), events);
        assert_eq!(Context::ALL.into_iter().collect::<Contexts>(), Contexts::default());
        assert!(both.without(both).is_empty());
    }
}
