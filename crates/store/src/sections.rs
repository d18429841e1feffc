//! Migrations by context: a line `-- context: NAME` in a migration's file says whose tables follow, and
//! `common` that every database has them. So one definition of the tables serves a database with all
//! contexts and one with some.
//!
//! Those lines were put into files that had been released. They are comments, and nothing else in such a
//! file may ever change.

use eventbooker_core::contexts::NoContext;
use eventbooker_core::{Context, Contexts};

use crate::OpenError;

const MARKER: &str = "-- context: ";
/// What no context owns.
const COMMON: &str = "common";

/// What a database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its schema's version; 0 if it is empty.
    pub(crate) version: u32,
    /// The contexts that it holds.
    pub(crate) contexts: Contexts,
}

impl Found {
    /// With the names in its table of contexts, if it has that table.
    pub(crate) fn of(version: u32, names: Option<Vec<String>>) -> Result<Self, NoContext> {
        let contexts = match names {
            _ if version == 0 => Contexts::NONE,
            // Before there was that table, every database held all of them.
            None => Contexts::ALL,
            Some(names) => {
                names.iter().map(|name| name.parse()).collect::<Result<Contexts, _>>()?
            }
        };
        Ok(Self { version, contexts })
    }
}

/// What a database is to hold.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked {
    /// What it holds; an empty one gets all four contexts.
    AsItIs,
    /// These at least; an empty one gets them and no others.
    These(Contexts),
    /// These as well.
    Adding(Contexts),
}

impl Asked {
    /// The contexts whose tables have to be made. Nobody makes tables in somebody else's database by
    /// a wrong URL: what isn't empty gets contexts only from whoever adds them on purpose.
    pub(crate) fn missing(self, found: Found, database: &str) -> Result<Contexts, OpenError> {
        let is_empty = found.version == 0;
        match self {
            Self::AsItIs if is_empty => Ok(Contexts::ALL),
            Self::AsItIs => Ok(Contexts::NONE),
            Self::These(wants) if !is_empty && !found.contexts.has_all(wants) => {
                let database = database.to_owned();
                Err(OpenError::OtherContexts { database, has: found.contexts, wants })
            }
            Self::These(wants) | Self::Adding(wants) => Ok(wants.without(found.contexts)),
        }
    }

    /// The contexts that are opened of a database that holds these.
    pub(crate) fn opened(self, held: Contexts) -> Contexts {
        match self {
            Self::AsItIs | Self::Adding(_) => held,
            Self::These(wants) => wants,
        }
    }
}

/// The tables of these contexts. Both stores have them by the same names.
pub(crate) fn tables_of(contexts: Contexts) -> Vec<&'static str> {
    let tables = |context| -> &[&'static str] {
        match context {
            Context::Identity => &["users", "sessions"],
            Context::Events => &["events", "tallies", "slots", "journal"],
            Context::Accounts => &["accounts", "postings"],
            Context::Bookings => &["bookings", "errands", "saga_steps"],
        }
    };
    contexts.iter().flat_map(tables).copied().collect()
}

/// What has to be run to bring a database up to date, and to add contexts to it.
pub(crate) fn to_run(
    migrations: &[&str],
    found: Found,
    added: Contexts,
) -> impl Iterator<Item = String> {
    let known = migrations.iter().skip(found.version as usize);
    let known = known.map(move |migration| chosen(migration, found.contexts, true));
    let new = migrations.iter().map(move |migration| chosen(migration, added, false));
    known.chain(new)
}

/// A migration's statements for these contexts, with or without the common ones, in their order.
fn chosen(migration: &str, contexts: Contexts, with_common: bool) -> String {
    let mut statements = String::new();
    let mut section = None;
    for line in migration.lines() {
        if let Some(name) = line.strip_prefix(MARKER) {
            let context = (name != COMMON).then(|| name.parse::<Context>());
            let context = context.transpose().expect("a section is a context's, or common");
            section = Some(context.map_or(with_common, |context| contexts.has(context)));
        } else if section.is_none() {
            assert!(line.is_empty() || line.starts_with("--"), "in no section: {line}");
        } else if section == Some(true) {
            statements.push_str(line);
            statements.push('\n');
        }
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIGRATION: &str = "-- About all.\n\n-- context: common\na\n-- context: book\nb\n\
                             -- context: events\n-- c\n-- context: common\nd\n";

    #[test]
    fn sections_are_chosen_by_their_contexts() {
        let [events, book] = [Context::Events, Context::Bookings].map(Contexts::from);
        let cases = [
            (Contexts::ALL, true, "a\nb\n-- c\nd\n"),
            (book, true, "a\nb\nd\n"),
            (events, false, "-- c\n"),
            (Contexts::NONE, true, "a\nd\n"),
            (Contexts::NONE, false, ""),
        ];
        for (contexts, with_common, expected) in cases {
            assert_eq!(chosen(MIGRATION, contexts, with_common), expected, "{contexts:?}");
        }
    }

    #[test]
    #[should_panic(expected = "in no section: CREATE TABLE lost ()")]
    fn a_statement_in_no_section_is_a_bug() {
        chosen("-- context:common\nCREATE TABLE lost ()", Contexts::ALL, true);
    }

    #[test]
    #[should_panic(expected = "a section is a context's, or common")]
    fn a_section_of_no_context_is_a_bug() {
        chosen("-- context: bookings\n", Contexts::ALL, true);
    }

    #[test]
    fn only_who_adds_contexts_makes_tables_beside_others() {
        let [auth, events] = [Context::Identity, Context::Events].map(Contexts::from);
        let empty = Found { version: 0, contexts: Contexts::NONE };
        let holds = |contexts| Found { version: 3, contexts };
        let refused =
            |has, wants| Err(OpenError::OtherContexts { database: "it".to_owned(), has, wants });
        let cases = [
            (empty, Asked::AsItIs, Ok(Contexts::ALL)),
            (empty, Asked::These(auth), Ok(auth)),
            (empty, Asked::Adding(auth), Ok(auth)),
            (holds(auth), Asked::AsItIs, Ok(Contexts::NONE)),
            (holds(auth), Asked::These(auth), Ok(Contexts::NONE)),
            (holds(auth), Asked::These(events), refused(auth, events)),
            (holds(auth), Asked::These(Contexts::ALL), refused(auth, Contexts::ALL)),
            (holds(auth), Asked::Adding(events), Ok(events)),
            (holds(auth), Asked::Adding(Contexts::ALL), Ok(Contexts::ALL.without(auth))),
            (holds(Contexts::ALL), Asked::These(events), Ok(Contexts::NONE)),
        ];
        for (found, asked, missing) in cases {
            assert_eq!(asked.missing(found, "it"), missing, "{found:?} {asked:?}");
        }
    }
}
