//! The database that a URL names.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eventbooker_core::Contexts;
use eventbooker_store::postgres::{Clock, PostgresCopyTarget, PostgresStore, PostgresUrl};
use eventbooker_store::sqlite::{SqliteCopyTarget, SqliteStore};
use eventbooker_store::{Access, CopyTarget, MigrationReport, Store};

/// Where libpq's programs look for the password.
const PASSWORD_VARIABLE: &str = "PGPASSWORD";
/// A longer file is something else.
const PASSWORD_BYTES_MAX: usize = 4096;

/// What a URL and the file with its password are called where somebody gives them.
#[derive(Clone, Copy)]
pub(crate) struct Called {
    pub(crate) url: &'static str,
    pub(crate) password_file: &'static str,
}

/// A database, that has not been opened.
#[derive(Clone)]
pub(crate) enum Database {
    /// An embedded one, in a file.
    Sqlite { path: PathBuf, name: String },
    /// One on a server.
    Postgres(Box<PostgresUrl>),
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Database {
    /// Reads a URL. A password comes from it, from a file, or from `PGPASSWORD`.
    pub(crate) fn parse(
        url: &str,
        password_file: Option<&Path>,
        called: Called,
    ) -> Result<Self, String> {
        if let Some(path) = url.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
            if password_file.is_some() {
                let file = called.password_file;
                return Err(format!("{file}: an embedded database has no password"));
            }
            return Ok(Self::Sqlite { path: PathBuf::from(path), name: url.to_owned() });
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let password = match password_file {
                Some(file) => Some(read_password(file, called)?),
                None => std::env::var(PASSWORD_VARIABLE).ok(),
            };
            let parsed = PostgresUrl::parse(url, password.as_deref());
            return parsed
                .map(|url| Self::Postgres(Box::new(url)))
                .map_err(|why| format!("{}: {why}", called.url));
        }
        // It may be a URL with a password in it, so it isn't repeated.
        Err(format!(
            "{}: must be like sqlite:eventbooker.db or postgres://user@host/database",
            called.url
        ))
    }

    /// Its URL, without secrets.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Sqlite { name, .. } => name,
            Self::Postgres(url) => url.name(),
        }
    }

    /// Its URL, without secrets and the same from wherever it is asked: with a file's whole path.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Sqlite { path, name } => path
                .canonicalize()
                .map_or_else(|_| name.clone(), |path| format!("sqlite:{}", path.display())),
            Self::Postgres(url) => url.name().to_owned(),
        }
    }

    /// Whether several processes may serve it.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Opens it for these contexts, or for what it holds, with so many connections for queries if it is
    /// on a server.
    pub(crate) async fn open(
        &self,
        access: Access,
        contexts: Option<Contexts>,
        connections: usize,
    ) -> Result<Arc<dyn Store>, String> {
        match self {
            Self::Sqlite { path, .. } => {
                let path = path.clone();
                let open = move || match contexts {
                    Some(contexts) => SqliteStore::open_for(&path, access, contexts),
                    None => SqliteStore::open(&path, access),
                };
                // A migration can take long. On a thread of its own it keeps nobody from stopping it.
                let store = tokio::task::spawn_blocking(open).await.map_err(words)?;
                Ok(Arc::new(store.map_err(words)?))
            }
            Self::Postgres(url) => {
                let (url, clock) = ((**url).clone(), Clock::Database);
                let store = match contexts {
                    Some(contexts) => {
                        PostgresStore::open_for(url, access, contexts, clock, connections).await
                    }
                    None => PostgresStore::open(url, access, clock, connections).await,
                };
                Ok(Arc::new(store.map_err(words)?))
            }
        }
    }

    /// Brings its schema up to date, and adds these contexts.
    pub(crate) async fn migrate(
        &self,
        contexts: Option<Contexts>,
    ) -> Result<MigrationReport, String> {
        match (self, contexts) {
            (Self::Sqlite { path, .. }, None) => SqliteStore::migrate(path),
            (Self::Sqlite { path, .. }, Some(added)) => SqliteStore::migrate_for(path, added),
            (Self::Postgres(url), None) => PostgresStore::migrate(url).await,
            (Self::Postgres(url), Some(added)) => PostgresStore::migrate_for(url, added).await,
        }
        .map_err(words)
    }

    /// Opens it as what rows of these contexts are copied into.
    pub(crate) async fn copy_target(
        &self,
        source: &str,
        contexts: Contexts,
    ) -> Result<Box<dyn CopyTarget>, String> {
        Ok(match self {
            Self::Sqlite { path, .. } => {
                Box::new(SqliteCopyTarget::open(path, source, contexts).map_err(words)?)
            }
            Self::Postgres(url) => {
                let opened = PostgresCopyTarget::open((**url).clone(), source, contexts).await;
                Box::new(opened.map_err(words)?)
            }
        })
    }
}

fn words(error: impl std::error::Error) -> String {
    error.to_string()
}

fn read_password(file: &Path, called: Called) -> Result<String, String> {
    let why = |reason: &dyn std::fmt::Display| {
        format!("{}: can't read {}: {reason}", called.password_file, file.display())
    };
    let text = std::fs::read_to_string(file).map_err(|error| why(&error))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX || password.contains('\n') {
        return Err(why(&"it should hold one line, the password"));
    }
    Ok(password.to_owned())
}
