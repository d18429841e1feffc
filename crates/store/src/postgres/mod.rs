//! The store for teams: a PostgreSQL server, version 15 or later, that any number of replicas share.
//!
//! A lane's transaction locks the rows of the events and accounts that it decides on, so replicas take
//! turns where they meet and nowhere else. The time is the server's, because replicas' clocks differ.
//!
//! Every commit is on disk before it counts (`synchronous_commit`), and on the standby as well if the
//! server has a synchronous one.
//!
//! Absent on purpose: advisory locks, `LISTEN`, `SKIP LOCKED`. The schema also suits servers that
//! spread rows over machines; see `docs/decisions/0014-postgresql.md`.

mod accounts;
mod answers;
mod bookings;
mod checks;
mod config;
mod copy;
mod error;
mod events;
mod identity;
mod neighbours;
mod numbers;
mod readers;
mod row;
mod sagas;
mod schema;
mod session;
mod snapshot;
mod tls;
mod writer;

use async_trait::async_trait;
use eventbooker_core::{Context, Contexts};

use self::readers::Readers;
use self::snapshot::PostgresSnapshot;
use self::writer::PostgresWriter;
use crate::sections::Asked;
use crate::{Access, FullSnapshot, MigrationReport, OpenError, Store, StoreError, Writer};

pub use self::config::PostgresUrl;
pub use self::copy::PostgresCopyTarget;
pub use self::schema::SCHEMA_VERSION;

/// Whose clock says when things happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The server's, for all replicas alike.
    Database,
    /// The one that is given with every call, for tests.
    Given,
}

/// A PostgreSQL database.
pub struct PostgresStore {
    url: PostgresUrl,
    contexts: Contexts,
    clock: Clock,
    readers: Readers,
}

impl PostgresStore {
    /// Opens a database for what it holds; creates and migrates its tables unless it is only to be looked
    /// at. An empty one gets all contexts.
    pub async fn open(
        url: PostgresUrl,
        access: Access,
        clock: Clock,
        readers: usize,
    ) -> Result<Self, OpenError> {
        Self::open_as(url, access, Asked::AsItIs, clock, readers).await
    }

    /// Opens a database for these contexts, whatever else it holds; an empty one gets them and no others.
    pub async fn open_for(
        url: PostgresUrl,
        access: Access,
        contexts: Contexts,
        clock: Clock,
        readers: usize,
    ) -> Result<Self, OpenError> {
        Self::open_as(url, access, Asked::These(contexts), clock, readers).await
    }

    async fn open_as(
        url: PostgresUrl,
        access: Access,
        asked: Asked,
        clock: Clock,
        readers: usize,
    ) -> Result<Self, OpenError> {
        let (mut client, driver) = connect(&url).await?;
        let held = match access {
            Access::Serve | Access::Tool => {
                schema::migrate(&url, &mut client, asked).await?.contexts
            }
            Access::Look => schema::check(&url, &client, asked).await?,
        };
        copy::refuse_unfinished(&url, &client).await?;
        drop(client);
        driver.abort();
        let contexts = asked.opened(held);
        let readers = Readers::new(url.clone(), access, contexts, readers);
        Ok(Self { url, contexts, clock, readers })
    }

    /// Brings a database's schema up to date, reporting what was done.
    pub async fn migrate(url: &PostgresUrl) -> Result<MigrationReport, OpenError> {
        Self::migrate_as(url, Asked::AsItIs).await
    }

    /// The same, and adds the contexts among these that it doesn't hold.
    pub async fn migrate_for(
        url: &PostgresUrl,
        contexts: Contexts,
    ) -> Result<MigrationReport, OpenError> {
        Self::migrate_as(url, Asked::Adding(contexts)).await
    }

    async fn migrate_as(url: &PostgresUrl, asked: Asked) -> Result<MigrationReport, OpenError> {
        let (mut client, driver) = connect(url).await?;
        let report = schema::migrate(url, &mut client, asked).await;
        driver.abort();
        report
    }
}

/// A context's statements, if it is here: what has no tables can't be prepared.
fn if_here<const N: usize>(
    contexts: Contexts,
    context: Context,
    statements: [&'static str; N],
) -> impl Iterator<Item = &'static str> {
    statements.into_iter().filter(move |_| contexts.has(context))
}

async fn connect(
    url: &PostgresUrl,
) -> Result<(tokio_postgres::Client, tokio::task::JoinHandle<()>), OpenError> {
    let connected = url
        .connect()
        .await
        .map_err(|reason| OpenError::Unreachable { database: url.name().to_owned(), reason })?;
    let (client, connection) = connected;
    let driver = tokio::spawn(async move {
        // Whoever asks something is told that the connection is closed.
        let _ = connection.await;
    });
    refuse_other_encodings(url, &client).await?;
    Ok((client, driver))
}

/// In another encoding people's names can't be kept, or are kept as bytes that mean nothing.
async fn refuse_other_encodings(
    url: &PostgresUrl,
    client: &tokio_postgres::Client,
) -> Result<(), OpenError> {
    let encoding = client.query_one("SELECT current_setting('server_encoding')", &[]).await;
    let encoding = encoding.and_then(|row| row.try_get::<_, String>(0));
    let encoding = encoding.map_err(|error| schema::unreachable(url, &error))?;
    if encoding == "UTF8" {
        return Ok(());
    }
    let reason = format!(
        "its encoding is {encoding} and has to be UTF8 (createdb --encoding=UTF8 --template=template0)"
    );
    Err(OpenError::Unreachable { database: url.name().to_owned(), reason })
}

#[async_trait]
impl Store for PostgresStore {
    fn contexts(&self) -> Contexts {
        self.contexts
    }

    async fn writer(&self) -> Result<Box<dyn Writer>, StoreError> {
        // It connects when it is used, in the runtime of its lane.
        Ok(Box::new(PostgresWriter::new(self.url.clone(), self.contexts, self.clock)))
    }

    async fn snapshot(&self) -> Result<Box<dyn FullSnapshot>, StoreError> {
        Ok(Box::new(PostgresSnapshot::begin(&self.url, self.contexts).await?))
    }

    async fn hold_still(&self) -> Result<Box<dyn Send>, StoreError> {
        Ok(Box::new(copy::hold_still(&self.url, self.contexts).await?))
    }

    /// There is nothing to write to its final place: that is the server's business.
    async fn close(&self) {}
}
