//! `eventbooker neighbour`: list, accept, go-on. What an operator says after a database was restored, or
//! another one put in its place.

use clap::{Args, Subcommand};
use comfy_table::Table;
use eventbooker_core::Context;
use eventbooker_engine::{Accepted, accept_loss, accept_neighbour};
use eventbooker_store::{Access, DatabaseId, LastIds, Neighbour, Store, neighbours};

use crate::open;
use crate::say::say;
use crate::settings::DatabaseFlags;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List what a service has seen of the others' databases.
    List(Of),
    /// Take the other database that was met in a neighbour's place for the neighbour's.
    Accept(Accept),
    /// Let a database that was restored from a back-up go on from where it is. First see with
    /// `eventbooker check`, over the databases of all services, what is missing.
    GoOn(Of),
}

#[derive(Args)]
pub(crate) struct Of {
    #[command(flatten)]
    database: DatabaseFlags,
}

#[derive(Args)]
pub(crate) struct Accept {
    /// The neighbour: auth, events, account or book.
    #[arg(value_name = "SERVICE")]
    service: Context,
    #[command(flatten)]
    database: DatabaseFlags,
}

pub(crate) async fn run(command: Command) -> Result<(), String> {
    match command {
        Command::List(Of { database }) => {
            let store = open::any_store(database, Access::Look).await?;
            list(&*store).await
        }
        Command::Accept(Accept { service, database }) => {
            let store = open::any_store(database, Access::Tool).await?;
            let accepted = accept_neighbour(&*store, service).await.map_err(words)?;
            store.close().await;
            tell(accepted, &format!("no other database was met in the place of {service}'s"))
        }
        Command::GoOn(Of { database }) => {
            let store = open::any_store(database, Access::Tool).await?;
            let accepted = accept_loss(&*store).await.map_err(words)?;
            store.close().await;
            tell(accepted, "no neighbour has found that anything is missing from this database")
        }
    }
}

async fn list(store: &dyn Store) -> Result<(), String> {
    let own = store.installation().await.map_err(words)?.id;
    let own_number = store.progress().await.map_err(words)?;
    say(format_args!("this is {}, which has come to {own_number}", name(own)))?;
    let known = store.neighbours().await.map_err(words)?;
    if known.is_empty() {
        return say("it has met no neighbours");
    }
    let mut table = Table::new();
    table.set_header(["neighbour", "database", "has come to", "and"]);
    for known in known {
        let loss = known.misses(own_number);
        let Neighbour { service, database, number, found, .. } = known;
        let another = found.map(|found| format!("another one is in its place: {}", name(found)));
        let missing = loss.map(|loss| format!("had seen this one come to {}", loss.saw));
        let and = another.into_iter().chain(missing).collect::<Vec<_>>().join("; ");
        table.add_row([service.to_string(), name(database), number.to_string(), and]);
    }
    say(table)
}

/// What has been done. Where there was nothing to do, somebody may have meant another database.
fn tell(accepted: Accepted, nothing: &str) -> Result<(), String> {
    match accepted {
        Accepted::Nothing => Err(format!("{nothing}; nothing was changed")),
        Accepted::Another { before, now } => say(format_args!(
            "accepted {} instead of {}; a running service goes on within seconds",
            name(now),
            name(before)
        )),
        Accepted::GoesOn { number, missed_by, last_ids } => {
            for Neighbour { service, loss, .. } in missed_by {
                let saw = loss.map_or(number, |loss| loss.saw);
                say(format_args!("{service} had seen it come to {saw}; it has come to {number}"))?;
            }
            let LastIds { booking, event, user } = last_ids;
            for (kind, last) in [("bookings", booking), ("events", event), ("users", user)] {
                if let Some(last) = last {
                    say(format_args!("numbers of {kind} go on behind {last}"))?;
                }
            }
            say(
                "it goes on from where it is; running services notice within seconds, but replicas of \
                 its own service have to be started anew if they ran meanwhile",
            )
        }
    }
}

fn name(id: DatabaseId) -> String {
    neighbours::written(&id)
}

fn words(error: impl std::error::Error) -> String {
    error.to_string()
}
