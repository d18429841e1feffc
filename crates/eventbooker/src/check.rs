//! `eventbooker check`: recounts every invariant and says what does not add up.
//!
//! Where services have databases of their own, it looks at all that it is given the URLs of, beside the
//! running services. What lies between them can be compared nowhere else: each service's own recount
//! sees only its rows.

use std::process::ExitCode;
use std::sync::Arc;

use eventbooker_core::{Context, Contexts};
use eventbooker_engine::check::{self, Databases, Report, Together, recount};
use eventbooker_engine::{Clock as _, SystemClock};
use eventbooker_store::{Access, Checker, Snapshot, Store, StoreError, TableCounts};

use crate::database::Database;
use crate::progress;
use crate::say::say;
use crate::settings::{CheckFlags, CheckedDatabases};

/// The exit code for "could not look".
const COULD_NOT_LOOK: u8 = 2;

pub(crate) async fn run(flags: CheckFlags) -> ExitCode {
    match look(flags).await {
        Ok((parts, report)) => {
            // The exit code tells the outcome, whether or not anybody reads about it.
            if let Err(reason) = print_parts(&parts, &report) {
                eprintln!("eventbooker: {reason}");
            }
            if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(reason) => {
            eprintln!("eventbooker: {reason}");
            ExitCode::from(COULD_NOT_LOOK)
        }
    }
}

/// A database that is looked at.
struct Part {
    /// Its URL, as it was given.
    name: String,
    /// Its URL, the same from wherever it is asked.
    place: String,
    store: Arc<dyn Store>,
    /// The contexts that are looked at there.
    contexts: Contexts,
}

async fn look(flags: CheckFlags) -> Result<(Vec<Part>, Report), String> {
    let parts = open(flags.resolve()?).await?;
    let looked_at = parts.iter().map(|part| (part.contexts, Arc::clone(&part.store)));
    let databases = Databases::of(looked_at.collect());
    let bar = progress::of_rows("checking");
    let report = databases.recount(&mut progress::shown_on(&bar)).await;
    bar.finish_and_clear();
    let report = report.map_err(|error| error.to_string())?;
    for part in &parts {
        note(&*part.store, &report).await;
    }
    Ok((parts, report))
}

/// Opens the databases. One that several settings lead to is looked at once.
async fn open(databases: CheckedDatabases) -> Result<Vec<Part>, String> {
    let CheckedDatabases { database, events, accounts } = databases;
    let apart = [
        ("events_database", Context::Events, events),
        ("account_database", Context::Accounts, accounts),
    ];
    let given = apart.iter().filter(|(.., database)| database.is_some());
    let elsewhere: Contexts = given.map(|(_, context, _)| *context).collect();

    let main = open_part("database", &database).await?;
    let mut parts = vec![main];
    let main = &mut parts[0];
    if !elsewhere.is_empty() {
        main.must_hold("database", Context::Bookings)?;
    }
    main.contexts = main.store.contexts().without(elsewhere).without(Context::Identity.into());
    if main.contexts.is_empty() {
        let (name, has) = (&main.name, main.store.contexts());
        return Err(format!("database: {name} holds {has}, of which there is nothing to recount"));
    }
    for (key, context, database) in apart {
        let Some(database) = database else { continue };
        let place = database.place();
        let at = if let Some(at) = parts.iter().position(|other| other.place == place) {
            at
        } else {
            parts.push(open_part(key, &database).await?);
            parts.len() - 1
        };
        parts[at].must_hold(key, context)?;
        parts[at].contexts = parts[at].contexts.and(context.into());
    }
    Ok(parts)
}

async fn open_part(key: &str, database: &Database) -> Result<Part, String> {
    let opened = database.open(Access::Look, None, 1).await;
    let store = opened.map_err(|why| format!("{key}: {why}"))?;
    let (name, place) = (database.name().to_owned(), database.place());
    Ok(Part { name, place, store, contexts: Contexts::NONE })
}

impl Part {
    fn must_hold(&self, key: &str, context: Context) -> Result<(), String> {
        let has = self.store.contexts();
        if has.has(context) {
            return Ok(());
        }
        Err(format!("{key}: {} holds {has} and not {context}", self.name))
    }
}

/// Notes the outcome for the organisers' page. Whoever may only read has checked all the same.
async fn note(store: &dyn Store, report: &Report) {
    let check = report.in_short(Checker::Operator, SystemClock::default().now());
    if let Err(error) = check::note(store, check).await {
        eprintln!("eventbooker: the outcome isn't noted for organisers: {error}");
    }
}

/// Recounts the rows of a database that holds everything, and shows how far it is.
pub(crate) async fn recount_of(snapshot: &mut dyn Snapshot) -> Result<Report, StoreError> {
    let bar = progress::of_rows("checking");
    let mut rows = Together::in_one(Contexts::ALL, snapshot);
    let report = recount(&mut rows, &mut progress::shown_on(&bar)).await;
    bar.finish_and_clear();
    report
}

/// Says what a recount of a database that holds everything came to.
pub(crate) fn print(url: &str, report: &Report) -> Result<(), String> {
    say(format_args!("{url}: {}", amounts(Contexts::ALL, report.counts)))?;
    print_outcome(Contexts::ALL, report)
}

/// Says what a recount came to, and where it has looked.
fn print_parts(parts: &[Part], report: &Report) -> Result<(), String> {
    let mut looked_at = Contexts::from(Context::Identity);
    for Part { name, contexts, .. } in parts {
        looked_at = looked_at.and(*contexts);
        let amounts = amounts(*contexts, report.counts);
        if contexts.and(Context::Identity.into()) == Contexts::ALL {
            say(format_args!("{name}: {amounts}"))?;
        } else {
            say(format_args!("{name} ({contexts}): {amounts}"))?;
        }
    }
    if report.moved > 0 {
        let moved = report.moved;
        say(format_args!(
            "{moved} bookings moved while they were looked at; they weren't compared"
        ))?;
    }
    print_outcome(looked_at, report)
}

/// How many rows of these contexts there are.
fn amounts(contexts: Contexts, counts: TableCounts) -> String {
    let TableCounts { events, slots, journal, accounts, postings, bookings, errands } = counts;
    let amounts = [
        (Context::Events, format!("{events} events, {slots} slots, {journal} journal entries")),
        (Context::Bookings, format!("{bookings} bookings")),
        (Context::Accounts, format!("{accounts} accounts, {postings} postings")),
        (Context::Bookings, format!("{errands} sagas under way")),
    ];
    let of_these = amounts.into_iter().filter(|(context, _)| contexts.has(*context));
    of_these.map(|(_, amount)| amount).collect::<Vec<_>>().join(", ")
}

fn print_outcome(looked_at: Contexts, report: &Report) -> Result<(), String> {
    for finding in &report.findings {
        say(format_args!("BROKEN {}: {}", finding.rule, finding.what))?;
    }
    // Nobody has looked for what is wrong in the groups that were not searched, but it is one
    // thing in each of them or more.
    let known = report.findings_total + report.unsearched;
    let at_least = if report.unsearched > 0 { "at least " } else { "" };
    let unlisted = known - report.findings.len() as u64;
    if unlisted > 0 {
        say(format_args!("… and {at_least}{unlisted} more"))?;
    }
    let unseen = Contexts::ALL.without(looked_at);
    if !unseen.is_empty() {
        say(format_args!(
            "the tables of {unseen} weren't looked at, so what should agree with them wasn't compared"
        ))?;
    }
    match (report.is_clean(), unseen.is_empty()) {
        (true, true) => say("every invariant holds"),
        (true, false) => say("what was looked at agrees"),
        (false, _) => say(format_args!("{at_least}{known} findings")),
    }
}
