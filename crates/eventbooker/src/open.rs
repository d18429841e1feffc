//! Opens the database that a URL names.

use std::path::PathBuf;
use std::sync::Arc;

use eventbooker_engine::{
    Answer, Engine, Error, Parts, Refusal, Settings, SystemClock, SystemEntropy,
};
use eventbooker_store::Access;
use eventbooker_store::Store;
use eventbooker_store::sqlite::SqliteStore;
use indicatif::ProgressBar;

use crate::say::say;
use crate::settings::DatabaseFlags;
use crate::{event, user};

/// The store that a URL names.
pub(crate) fn store(url: &str, access: Access) -> Result<Arc<dyn Store>, String> {
    let path = sqlite_path(url)?;
    Ok(Arc::new(SqliteStore::open(&path, access).map_err(|error| error.to_string())?))
}

fn sqlite_path(url: &str) -> Result<PathBuf, String> {
    match url.strip_prefix("sqlite:") {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Err(format!("database: must be like sqlite:eventbooker.db, not {url}")),
    }
}

/// An engine on the real clock.
pub(crate) async fn engine(store: Arc<dyn Store>, settings: Settings) -> Result<Engine, String> {
    let parts =
        Parts { store, clock: Arc::new(SystemClock::default()), entropy: Arc::new(SystemEntropy) };
    Engine::start(parts, settings).await.map_err(|error| error.to_string())
}

/// An engine for a command that changes something and ends.
pub(crate) async fn tool_engine(flags: DatabaseFlags) -> Result<Engine, String> {
    let settings = Settings { background: false, ..Settings::default() };
    engine(store(&flags.resolve()?, Access::Tool)?, settings).await
}

/// The outcome of a command without a key, in words if it is none.
pub(crate) fn outcome<R>(answer: Result<Answer<R>, Error>) -> Result<R, String> {
    match answer.map_err(|error| error.to_string())? {
        Answer::Given(decided) => decided.outcome.map_err(|refusal| words(&refusal)),
        Answer::Kept { .. } => Err("an answer was remembered that nobody asked for".to_owned()),
    }
}

fn words(refusal: &Refusal) -> String {
    if let Refusal::Plan(faults) = refusal {
        return list(faults.iter().map(|fault| format!("{} {fault}", event::flag_of(*fault))));
    }
    if let Refusal::Profile(faults) = refusal {
        return list(faults.iter().map(|fault| format!("{} {fault}", user::flag_of(*fault))));
    }
    refusal.to_string()
}

fn list(faults: impl Iterator<Item = String>) -> String {
    faults.collect::<Vec<_>>().join("\n  ")
}

/// `eventbooker migrate`.
pub(crate) fn migrate(flags: DatabaseFlags) -> Result<(), String> {
    let url = flags.resolve()?;
    let path = sqlite_path(&url)?;
    // A migration doesn't say how far it is; that it is at work can be seen all the same.
    let spinner = ProgressBar::new_spinner().with_message(format!("migrating {url}"));
    spinner.enable_steady_tick(std::time::Duration::from_millis(100));
    let report = SqliteStore::migrate(&path).map_err(|error| error.to_string());
    spinner.finish_and_clear();
    let report = report?;
    if report.from == report.to {
        say(format_args!("{url} is up to date (schema version {})", report.to))
    } else {
        say(format_args!("{url} was migrated from schema version {} to {}", report.from, report.to))
    }
}
