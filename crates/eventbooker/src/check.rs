//! `eventbooker check`: recounts every invariant and says what does not add up.

use std::process::ExitCode;

use eventbooker_engine::check::{self, Report, recount};
use eventbooker_engine::{Clock as _, SystemClock};
use eventbooker_store::{Access, Checker, Snapshot, Store, StoreError};

use crate::progress;
use crate::say::say;
use crate::settings::DatabaseFlags;

/// The exit code for "could not look".
const COULD_NOT_LOOK: u8 = 2;

pub(crate) async fn run(flags: DatabaseFlags) -> ExitCode {
    match look(flags).await {
        Ok((url, report)) => {
            // The exit code tells the outcome, whether or not anybody reads about it.
            if let Err(reason) = print(&url, &report) {
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

async fn look(flags: DatabaseFlags) -> Result<(String, Report), String> {
    let database = flags.resolve()?;
    let store = database.open(Access::Look, None, 1).await?;
    let words = |error: StoreError| error.to_string();
    let mut snapshot = store.snapshot().await.map_err(words)?;
    let report = recount_of(&mut *snapshot).await.map_err(words)?;
    drop(snapshot);
    note(&*store, &report).await;
    Ok((database.name().to_owned(), report))
}

/// Notes the outcome for the organisers' page. Whoever may only read has checked all the same.
async fn note(store: &dyn Store, report: &Report) {
    let check = report.in_short(Checker::Operator, SystemClock::default().now());
    if let Err(error) = check::note(store, check).await {
        eprintln!("eventbooker: the outcome isn't noted for organisers: {error}");
    }
}

/// Recounts the rows of a database, and shows how far it is.
pub(crate) async fn recount_of(snapshot: &mut dyn Snapshot) -> Result<Report, StoreError> {
    let bar = progress::of_rows("checking");
    let report = recount(snapshot, &mut |read, total| {
        bar.set_length(total);
        bar.set_position(read);
    })
    .await;
    bar.finish_and_clear();
    report
}

/// Says what a recount came to.
pub(crate) fn print(url: &str, report: &Report) -> Result<(), String> {
    let counts = report.counts;
    say(format_args!(
        "{url}: {} events, {} slots, {} journal entries, {} bookings, {} accounts, {} postings, \
         {} sagas under way",
        counts.events,
        counts.slots,
        counts.journal,
        counts.bookings,
        counts.accounts,
        counts.postings,
        counts.errands
    ))?;
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
    if report.is_clean() {
        say("every invariant holds")
    } else {
        say(format_args!("{at_least}{known} findings"))
    }
}
