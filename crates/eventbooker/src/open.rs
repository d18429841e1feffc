//! Opens databases for commands, and engines on them.

use std::sync::Arc;

use eventbooker_engine::{
    Answer, Engine, Error, Parts, Refusal, Settings, SystemClock, SystemEntropy,
};
use eventbooker_store::{Access, Store};

use crate::say::say;
use crate::settings::DatabaseFlags;
use crate::{event, progress, user};

/// Connections that a command has for its queries.
const CONNECTIONS: usize = 2;

/// The store that the flags name.
pub(crate) async fn store(flags: DatabaseFlags, access: Access) -> Result<Arc<dyn Store>, String> {
    flags.resolve()?.open(access, CONNECTIONS).await
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
    engine(store(flags, Access::Tool).await?, settings).await
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
pub(crate) async fn migrate(flags: DatabaseFlags) -> Result<(), String> {
    let database = flags.resolve()?;
    let name = database.name();
    let spinner = progress::unknown(format!("migrating {name}"));
    let report = database.migrate().await;
    spinner.finish_and_clear();
    let report = report?;
    if report.from == report.to {
        say(format_args!("{name} is up to date (schema version {})", report.to))
    } else {
        say(format_args!(
            "{name} was migrated from schema version {} to {}",
            report.from, report.to
        ))
    }
}
