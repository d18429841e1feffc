//! `eventbooker copy`: moves an embedded database to one on a PostgreSQL server.
//!
//! Nobody else serves or changes the source for as long as this runs, so that nothing is promised to
//! anybody that the copy doesn't hold. A copy that was interrupted is served by nobody; started again,
//! it begins anew.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use eventbooker_core::Timestamp;
use eventbooker_engine::copy::{self, Contents, Key};
use eventbooker_store::postgres::{CopyTarget, PostgresUrl};
use eventbooker_store::{Access, FullSnapshot, Store, Wants, Writer};
use indicatif::ProgressBar;

use crate::database::{Called, Database};
use crate::say::say;
use crate::{check, progress};

#[derive(Args)]
pub(crate) struct Flags {
    /// The embedded database, sqlite:PATH. It must not be served meanwhile, and stays as it is.
    #[arg(long, value_name = "URL")]
    from: String,
    /// An empty database on a server, `postgres://USER@HOST/DATABASE`.
    #[arg(long, value_name = "URL")]
    to: String,
    /// A file with the password for the server. Otherwise PGPASSWORD is looked at.
    #[arg(long, value_name = "FILE")]
    to_password_file: Option<PathBuf>,
}

const FROM: Called = Called { url: "--from", password_file: "--from" };
const TO: Called = Called { url: "--to", password_file: "--to-password-file" };
/// The fewest that a source can have; nobody asks anything.
const CONNECTIONS: usize = 1;

pub(crate) async fn run(flags: Flags) -> Result<(), String> {
    let (from, to) = (flags.source()?, flags.target()?);
    let to_name = to.name().to_owned();
    let mut source = Source::open(&from).await?;
    // Before the source is read through: what is wrong with the target is known in no time.
    let target = CopyTarget::open(to, &from.place()).await.map_err(words)?;
    if !is_sound(from.name(), &mut *source.snapshot).await? {
        return Err(format!("{} isn't sound, so nothing was copied", from.name()));
    }
    let last_ids = source.snapshot.last_ids().await.map_err(words)?;
    let store = target.begin(last_ids).await.map_err(words)?;
    let again = |why: String| format!("{why}; the copy isn't finished, start it again");
    let copied = fill(&store, &to_name, &mut *source.snapshot).await.map_err(again)?;
    target.finish().await.map_err(words).map_err(again)?;
    source.close().await;
    say(format_args!(
        "copied {} rows; they are the same in both, with {} occupied seats and {} in all accounts",
        copied.rows(),
        copied.seats,
        copied.balances_minor
    ))?;
    say(format_args!("from now on serve {to_name}; {} is as it was", from.name()))
}

impl Flags {
    fn source(&self) -> Result<Database, String> {
        match Database::parse(&self.from, None, FROM)? {
            embedded @ Database::Sqlite { .. } => Ok(embedded),
            Database::Postgres(_) => {
                Err("--from: must be an embedded database, like sqlite:eventbooker.db".to_owned())
            }
        }
    }

    fn target(&self) -> Result<PostgresUrl, String> {
        match Database::parse(&self.to, self.to_password_file.as_deref(), TO)? {
            Database::Postgres(url) => Ok(*url),
            Database::Sqlite { .. } => {
                Err("--to: must be on a server, like postgres://user@host/database".to_owned())
            }
        }
    }
}

/// A database that nobody else serves or changes for as long as this is there.
struct Source {
    snapshot: Box<dyn FullSnapshot>,
    /// In a transaction that keeps every other writer out.
    writer: Box<dyn Writer>,
    store: Arc<dyn Store>,
}

impl Source {
    async fn open(from: &Database) -> Result<Self, String> {
        // To look, first: a server would make a database where there is none.
        drop(from.open(Access::Look, CONNECTIONS).await?);
        let store = from.open(Access::Serve, CONNECTIONS).await?;
        let mut writer = store.writer().await.map_err(words)?;
        let any_time = Timestamp::from_micros(0);
        writer.load(&Wants::default(), any_time).await.map_err(words)?;
        let snapshot = store.snapshot().await.map_err(words)?;
        Ok(Self { snapshot, writer, store })
    }

    async fn close(self) {
        let Self { snapshot, writer, store } = self;
        drop((snapshot, writer));
        store.close().await;
    }
}

/// Writes all rows, and looks whether they are what they were.
async fn fill(
    target: &dyn Store,
    name: &str,
    source: &mut dyn FullSnapshot,
) -> Result<Contents, String> {
    let key = Key::new();
    let mut writer = target.writer().await.map_err(words)?;
    let bar = progress::of_rows("copying");
    let copied = copy::copy(source, &mut *writer, &key, &mut shown_on(&bar)).await;
    bar.finish_and_clear();
    let copied = copied.map_err(words)?;
    let mut written = target.snapshot().await.map_err(words)?;
    if !is_sound(name, &mut *written).await? {
        return Err(format!("{name} isn't sound"));
    }
    let bar = progress::of_rows("comparing");
    let found = copy::contents(&mut *written, &key, &mut shown_on(&bar)).await;
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

fn shown_on(bar: &ProgressBar) -> impl FnMut(u64, u64) + Send {
    |read, total| {
        bar.set_length(total);
        bar.set_position(read);
    }
}

fn words(error: impl Error) -> String {
    error.to_string()
}
