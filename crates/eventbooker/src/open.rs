//! Opens databases for commands, and engines on them.

use std::sync::Arc;

use clap::Args;
use eventbooker_core::{Context, Contexts};
use eventbooker_engine::{
    Answer, Engine, Error, Neighbours, Parts, Refusal, Settings, SystemClock, SystemEntropy,
};
use eventbooker_store::{Access, MigrationReport, Store};
use eventbooker_web::write_answer;

use crate::say::say;
use crate::settings::DatabaseFlags;
use crate::{event, progress, user};

/// Connections that a command has for its queries.
const CONNECTIONS: usize = 2;

/// The store that the flags name, which has to hold this context.
pub(crate) async fn store(
    flags: DatabaseFlags,
    access: Access,
    context: Context,
) -> Result<Arc<dyn Store>, String> {
    let database = flags.resolve()?;
    let store = database.open(access, None, CONNECTIONS).await?;
    if store.contexts().has(context) {
        return Ok(store);
    }
    let (name, has) = (database.name(), store.contexts());
    Err(format!("{name} holds {has} and not {context}; name the database of {context}"))
}

/// The store that the flags name, whatever it holds.
pub(crate) async fn any_store(
    flags: DatabaseFlags,
    access: Access,
) -> Result<Arc<dyn Store>, String> {
    flags.resolve()?.open(access, None, CONNECTIONS).await
}

/// An engine on the real clock.
pub(crate) async fn engine(store: Arc<dyn Store>, settings: Settings) -> Result<Engine, String> {
    engine_among(Neighbours::default(), store, settings).await
}

/// The same, with some of the rows elsewhere.
pub(crate) async fn engine_among(
    neighbours: Neighbours,
    store: Arc<dyn Store>,
    settings: Settings,
) -> Result<Engine, String> {
    let parts = Parts {
        store,
        clock: Arc::new(SystemClock::default()),
        entropy: Arc::new(SystemEntropy),
        write_answer,
    };
    Engine::start_among(neighbours, parts, settings).await.map_err(|error| error.to_string())
}

/// An engine for a command that changes something and ends.
pub(crate) async fn tool_engine(flags: DatabaseFlags, context: Context) -> Result<Engine, String> {
    let settings = Settings { background: false, ..Settings::default() };
    engine(store(flags, Access::Tool, context).await?, settings).await
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

/// What `migrate` can be told.
#[derive(Args)]
pub(crate) struct MigrateFlags {
    #[command(flatten)]
    database: DatabaseFlags,
    /// Services whose tables are made there if they are missing: auth, events, account, book. [default:
    /// those that it holds, and in an empty one all four]
    #[arg(long, value_name = "SERVICE,…")]
    services: Option<Contexts>,
}

/// `eventbooker migrate`.
pub(crate) async fn migrate(flags: MigrateFlags) -> Result<(), String> {
    let database = flags.database.resolve()?;
    let name = database.name();
    let spinner = progress::unknown(format!("migrating {name}"));
    let report = database.migrate(flags.services).await;
    spinner.finish_and_clear();
    let MigrationReport { from, to, added, contexts } = report?;
    if from == to {
        say(format_args!("{name} is up to date (schema version {to})"))?;
    } else {
        say(format_args!("{name} was migrated from schema version {from} to {to}"))?;
    }
    if from > 0 && !added.is_empty() {
        say(format_args!("the tables of {added} were added"))?;
    }
    if contexts == Contexts::ALL { Ok(()) } else { say(format_args!("it holds {contexts}")) }
}
