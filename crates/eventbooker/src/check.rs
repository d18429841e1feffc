//! `eventbooker check`: recounts every invariant and says what does not add up.

use std::process::ExitCode;
use std::time::Duration;

use eventbooker_engine::check::{Report, recount};
use eventbooker_store::Access;
use indicatif::{ProgressBar, ProgressStyle};

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
    let store = database.open(Access::Look, 1).await?;
    let words = |error: eventbooker_store::StoreError| error.to_string();
    let mut snapshot = store.snapshot().await.map_err(words)?;
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template(
            "{spinner} {wide_bar} {human_pos} of {human_len} rows, {eta} left",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    // The database checks its own file before the first row is read, and doesn't say how far it is.
    bar.enable_steady_tick(Duration::from_millis(100));
    let report = recount(&mut *snapshot, &mut |read, total| {
        bar.set_length(total);
        bar.set_position(read);
    })
    .await
    .map_err(words);
    bar.finish_and_clear();
    Ok((database.name().to_owned(), report?))
}

fn print(url: &str, report: &Report) -> Result<(), String> {
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
