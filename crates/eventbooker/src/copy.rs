//! `eventbooker copy`: moves a database, or what some services have of it, to another one. So an embedded
//! installation comes to a PostgreSQL server, and one process's becomes that of four and back.
//!
//! Nobody else changes the source for as long as this runs, so that nothing is promised to anybody that
//! the copy doesn't hold. A copy that was interrupted is served by nobody; started again, it begins anew.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use eventbooker_core::{Contexts, Timestamp};
use eventbooker_engine::copy::{self, Contents, Key};
use eventbooker_store::{Access, Changes, CopyTarget, FullSnapshot, Store, StoreError, save_alone};

use crate::database::{Called, Database};
use crate::say::say;
use crate::{check, progress};

#[derive(Args)]
pub(crate) struct Flags {
    /// The database to copy, sqlite:PATH or `postgres://USER@HOST/DATABASE`. It must not be served
    /// meanwhile, and stays as it is.
    #[arg(long, value_name = "URL")]
    from: String,
    /// A file with the password for its server. Otherwise PGPASSWORD is looked at.
    #[arg(long, value_name = "FILE")]
    from_password_file: Option<PathBuf>,
    /// A database without any rows of what is copied.
    #[arg(long, value_name = "URL")]
    to: String,
    /// A file with the password for its server. Otherwise PGPASSWORD is looked at.
    #[arg(long, value_name = "FILE")]
    to_password_file: Option<PathBuf>,
    /// Copy only what these services have: auth, events, account, book. [default: all that is there]
    #[arg(long, value_name = "SERVICE,…")]
    services: Option<Contexts>,
}

const FROM: Called = Called { url: "--from", password_file: "--from-password-file" };
const TO: Called = Called { url: "--to", password_file: "--to-password-file" };
/// The fewest that a source can have; nobody asks anything.
const CONNECTIONS: usize = 1;

pub(crate) async fn run(flags: Flags) -> Result<(), String> {
    let from = Database::parse(&flags.from, flags.from_password_file.as_deref(), FROM)?;
    let to = Database::parse(&flags.to, flags.to_password_file.as_deref(), TO)?;
    let mut source = Source::open(&from, flags.services).await?;
    // Before the source is read through: what is wrong with the target is known in no time.
    let contexts = source.store.contexts();
    let target = to.copy_target(&source.name(&from), contexts).await?;
    if !source.is_sound(&from).await? {
        return Err(format!("{} isn't sound, so nothing was copied", from.name()));
    }
    let last_ids = source.snapshot.last_ids().await.map_err(words)?;
    let store = target.begin(last_ids).await.map_err(words)?;
    let again = |why: String| format!("{why}; the copy isn't finished, start it again");
    let copied = fill(&*target, &*store, &to, &mut *source.snapshot).await.map_err(again)?;
    if source.goes_as_a_whole() && !target.holds_others() {
        source.hand_over_to(&*store).await.map_err(words).map_err(again)?;
    }
    store.close().await;
    target.finish().await.map_err(words).map_err(again)?;
    source.close().await;
    say(format_args!("copied {}; they are the same in both", amounts(&copied, contexts)))?;
    say(format_args!("from now on serve {}; {} is as it was", to.name(), from.name()))
}

fn amounts(copied: &Contents, contexts: Contexts) -> String {
    let (rows, seats, money) = (copied.rows(), copied.seats, copied.balances_minor);
    let whole = format!("{rows} rows, with {seats} occupied seats and {money} in all accounts");
    if contexts == Contexts::ALL { whole } else { format!("{whole}, of {contexts}") }
}

/// A database that nobody changes for as long as this is there.
struct Source {
    snapshot: Box<dyn FullSnapshot>,
    /// Keeps others out.
    still: Box<dyn Send>,
    store: Arc<dyn Store>,
    /// What it holds, whether or not it is copied.
    holds: Contexts,
}

impl Source {
    async fn open(from: &Database, services: Option<Contexts>) -> Result<Self, String> {
        // To look, first: a server would make a database where there is none.
        let holds = from.open(Access::Look, None, CONNECTIONS).await?.contexts();
        let services = Some(services.unwrap_or(holds));
        let store = from.open(Access::Serve, services, CONNECTIONS).await?;
        let still = store.hold_still().await.map_err(words)?;
        let snapshot = store.snapshot().await.map_err(words)?;
        Ok(Self { snapshot, still, store, holds })
    }

    /// Whether it is all of a service's database that is copied. One process with everything in one has no
    /// neighbours that know it.
    fn goes_as_a_whole(&self) -> bool {
        self.store.contexts() == self.holds && self.holds != Contexts::ALL
    }

    /// Lets a copy take its place, so that neighbours find what they have seen.
    async fn hand_over_to(&self, copy: &dyn Store) -> Result<(), StoreError> {
        let changes = Changes {
            database_id: Some(self.store.installation().await?.id),
            progress: self.store.progress().await?,
            neighbours_set: self.store.neighbours().await?,
            ..Changes::default()
        };
        save_alone(copy, Timestamp::from_micros(0), &changes).await
    }

    /// What the target remembers it by.
    fn name(&self, from: &Database) -> String {
        let contexts = self.store.contexts();
        if contexts == self.holds { from.place() } else { format!("{} ({contexts})", from.place()) }
    }

    /// Whether every invariant holds, as far as that can be told: most of them are about rows of more
    /// than one context.
    async fn is_sound(&mut self, from: &Database) -> Result<bool, String> {
        if self.holds != Contexts::ALL {
            return Ok(true);
        }
        if self.store.contexts() == Contexts::ALL {
            return is_sound(from.name(), &mut *self.snapshot).await;
        }
        let whole = from.open(Access::Look, None, CONNECTIONS).await?;
        let mut snapshot = whole.snapshot().await.map_err(words)?;
        is_sound(from.name(), &mut *snapshot).await
    }

    async fn close(self) {
        let Self { snapshot, still, store, .. } = self;
        drop((snapshot, still));
        store.close().await;
    }
}

/// Writes all rows, and looks whether they are what they were.
async fn fill(
    target: &dyn CopyTarget,
    store: &dyn Store,
    to: &Database,
    source: &mut dyn FullSnapshot,
) -> Result<Contents, String> {
    let key = Key::new();
    let mut writer = store.writer().await.map_err(words)?;
    let bar = progress::of_rows("copying");
    let beside_others = target.holds_others();
    let copied =
        copy::copy(source, &mut *writer, beside_others, &key, &mut progress::shown_on(&bar)).await;
    bar.finish_and_clear();
    let copied = copied.map_err(words)?;
    target.complete().await.map_err(words)?;
    let mut written = store.snapshot().await.map_err(words)?;
    let name = to.name();
    if store.contexts() == Contexts::ALL && !is_sound(name, &mut *written).await? {
        return Err(format!("{name} isn't sound"));
    }
    let bar = progress::of_rows("comparing");
    let found = copy::contents(&mut *written, &key, &mut progress::shown_on(&bar)).await;
    bar.finish_and_clear();
    match copied.differences(&found.map_err(words)?).as_slice() {
        [] => Ok(copied),
        different => Err(format!("{name} isn't the same: {}", different.join("; "))),
    }
}

/// Recounts a database's rows and says what came of it; whether every invariant holds.
async fn is_sound(name: &str, snapshot: &mut dyn FullSnapshot) -> Result<bool, String> {
    let report = check::recount_of(snapshot).await.map_err(words)?;
    check::print(name, &report)?;
    Ok(report.is_clean())
}

fn words(error: impl Error) -> String {
    error.to_string()
}
