//! Settings: flags, then environment, then the TOML file, then defaults.
//!
//! One struct is the list of all of them. [`layers`] puts the four together, [`resolve`] makes of them
//! what the program runs with. A value that can't be used is an error that names its key and where it
//! came from.

mod apart;
mod layers;
mod resolve;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use eventbooker_core::Contexts;
use eventbooker_core::contexts::NoContext;
use serde::{Deserialize, Serialize};

pub(crate) use self::apart::Apart;
pub(crate) use self::resolve::{CheckedDatabases, ServeSettings};

/// Where the database is. Every command takes these.
#[derive(Args, Serialize, Deserialize, Default, Debug, Clone)]
pub(crate) struct DatabaseFlags {
    /// A TOML file with settings.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,
    /// The database: sqlite:PATH or `postgres://USER@HOST/DATABASE`. [default: sqlite:eventbooker.db]
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database: Option<String>,
    /// A file with the password for the database's server. Otherwise PGPASSWORD is looked at.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database_password_file: Option<PathBuf>,
}

/// Where the databases are that `check` looks at.
#[derive(Args, Serialize, Deserialize, Default, Debug, Clone)]
pub(crate) struct CheckFlags {
    #[command(flatten)]
    #[serde(flatten)]
    database: DatabaseFlags,
    /// The database of the service `events`, if the one with the bookings doesn't hold the events.
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    events_database: Option<String>,
    /// A file with the password for its server. Otherwise PGPASSWORD is looked at.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    events_database_password_file: Option<PathBuf>,
    /// The database of the service `account`, if the one with the bookings doesn't hold the accounts.
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    account_database: Option<String>,
    /// A file with the password for its server. Otherwise PGPASSWORD is looked at.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    account_database_password_file: Option<PathBuf>,
}

/// Where the service listens, for whoever asks it something.
#[derive(Args, Serialize, Deserialize, Default, Debug, Clone)]
pub(crate) struct ListenFlags {
    /// A TOML file with settings.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Where the service listens. [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
}

macro_rules! serve_flags {
    ($( $(#[$attribute:meta])* $field:ident: $kind:ty; )+) => {
        /// What `serve` can be told.
        #[derive(Args, Serialize, Deserialize, Default, Debug, Clone)]
        #[serde(deny_unknown_fields)]
        #[allow(clippy::doc_markdown, reason = "a flag's help is read at a terminal")]
        pub(crate) struct ServeFlags {
            /// A TOML file with settings.
            #[arg(long, value_name = "FILE")]
            #[serde(skip)]
            config: Option<PathBuf>,
            $(
                $(#[$attribute])*
                #[serde(skip_serializing_if = "Option::is_none")]
                $field: Option<$kind>,
            )+
        }

        /// The keys of all settings.
        const KEYS: &[&str] = &[$(stringify!($field)),+];
    };
}

serve_flags! {
    /// Where to listen. [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr;
    /// The database: sqlite:PATH or postgres://USER@HOST/DATABASE; for the latter libpq's parameters
    /// may follow, such as sslmode=verify-full. [default: sqlite:eventbooker.db]
    #[arg(long, value_name = "URL")]
    database: String;
    /// A file with the password for the database's server. Otherwise PGPASSWORD is looked at.
    #[arg(long, value_name = "FILE")]
    database_password_file: PathBuf;
    /// The services of this process, separated by commas: auth, events, account, book. Each of the others
    /// needs its URL. [default: all four]
    #[arg(long, value_name = "SERVICE,…")]
    services: Services;
    /// Where auth listens for the other services, such as http://auth:8081, if it runs elsewhere.
    #[arg(long, value_name = "URL")]
    auth_url: String;
    /// Where events listens for the other services.
    #[arg(long, value_name = "URL")]
    events_url: String;
    /// Where account listens for the other services.
    #[arg(long, value_name = "URL")]
    account_url: String;
    /// Where book listens for the other services.
    #[arg(long, value_name = "URL")]
    book_url: String;
    /// Where this process listens for the other services, and for nobody else.
    #[arg(long, value_name = "ADDRESS:PORT")]
    internal_listen: SocketAddr;
    /// The key with which this process proves itself to the others; `eventbooker key` makes one.
    #[arg(long, value_name = "FILE")]
    signing_key_file: PathBuf;
    /// The folder with the public keys of all services: auth.pem, events.pem, account.pem, book.pem.
    #[arg(long, value_name = "FOLDER")]
    trusted_keys: PathBuf;
    // What only `check` takes may stand where the service's settings do.
    #[arg(skip)]
    events_database: String;
    #[arg(skip)]
    events_database_password_file: PathBuf;
    #[arg(skip)]
    account_database: String;
    #[arg(skip)]
    account_database_password_file: PathBuf;
    /// Connections to the database's server for queries, beside one for each lane. [default: 8]
    #[arg(long, value_name = "COUNT")]
    database_connections: u32;
    /// Lanes that decide commands at the same time, each with a connection of its own; an embedded
    /// database has one. [default: 2]
    #[arg(long, value_name = "COUNT")]
    lanes: u32;
    /// Give an empty database the users admin and user, both with the password `password`, and a few
    /// events as soon as somebody looks for some. Listens on loopback only.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    demo: bool;
    /// Let a demo listen on any address, where everybody who can reach it is an admin.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    demo_anywhere: bool;
    /// The origin that browsers see if a proxy stands before the service, such as
    /// https://tickets.example.org.
    #[arg(long, value_name = "ORIGIN")]
    public_origin: String;
    /// Proxies whose X-Forwarded-For is believed, separated by commas.
    #[arg(long, value_name = "ADDRESS,…")]
    trusted_proxies: Addresses;
    /// What to log: error, warn, info, debug, trace, or a filter such as
    /// eventbooker_engine=debug. [default: info]
    #[arg(long, value_name = "FILTER")]
    log: String;
    /// Log lines as JSON.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    log_json: bool;
    /// The collector that spans are sent to by OTLP over HTTP, such as http://127.0.0.1:4318. Without
    /// one, none are recorded.
    #[arg(long, value_name = "URL")]
    otlp_endpoint: String;
    /// Seats that one booking may have. [default: 100]
    #[arg(long, value_name = "SEATS")]
    seats_per_booking_max: u32;
    /// Unpaid holds that a user may have on one event; 0 lifts the limit. [default: 5]
    #[arg(long, value_name = "HOLDS")]
    holds_per_user_max: u32;
    /// Unpaid seats that a user may hold on one event; 0 lifts the limit. [default: 100]
    #[arg(long, value_name = "SEATS")]
    held_seats_per_user_max: u32;
    /// Failed sign-ins a minute with one login. [default: 10]
    #[arg(long, value_name = "COUNT")]
    failed_sign_ins_per_login: u32;
    /// Failed sign-ins a minute from one address. [default: 100]
    #[arg(long, value_name = "COUNT")]
    failed_sign_ins_per_address: u32;
    /// Registrations a minute from one address. [default: 300]
    #[arg(long, value_name = "COUNT")]
    registrations_per_address: u32;
    /// Requests a minute by one user that come to nothing and leave a row behind: so many with an
    /// Idempotency-Key that are refused or change nothing, and so many purchases without money or
    /// seats. [default: 120]
    #[arg(long, value_name = "COUNT")]
    remembered_refusals_per_user: u32;
    /// Password hashes computed at the same time; each takes 19 MiB and a core. [default: 2]
    #[arg(long, value_name = "COUNT")]
    hashes_at_once_max: u32;
    /// How long a session lasts, in hours. [default: 168]
    #[arg(long, value_name = "HOURS")]
    session_hours: u32;
    /// How long the answer to an Idempotency-Key is remembered, in hours; at least 24.
    /// [default: 48]
    #[arg(long, value_name = "HOURS")]
    idempotency_hours: u32;
    /// How long what was answered to sagas in other services is remembered, in days; at least 7, for whoever hasn't heard an answer by then isn't given it any more.
    /// [default: 30]
    #[arg(long, value_name = "DAYS")]
    memory_days: u32;
    /// Hours between two recounts of every invariant, which /ready and /metrics tell the outcome of;
    /// 0 for no recounts. [default: 24]
    #[arg(long, value_name = "HOURS")]
    recount_hours: u32;
    /// Commands that may wait before new ones are refused. [default: 8192]
    #[arg(long, value_name = "COUNT")]
    inbox_commands_max: u32;
    /// Open connections, of which half may be live streams. Fewer if the system lets the process
    /// open too few files. [default: 10000]
    #[arg(long, value_name = "COUNT")]
    connections_max: u32;
    /// Bytes of a request's body. [default: 65536]
    #[arg(long, value_name = "BYTES")]
    body_bytes_max: u32;
    /// How long a request's headers may take, in seconds. [default: 10]
    #[arg(long, value_name = "SECONDS")]
    header_timeout_s: u32;
    /// How long a connection may idle between two requests, in seconds; longer than a proxy before
    /// the service keeps it. [default: 75]
    #[arg(long, value_name = "SECONDS")]
    idle_timeout_s: u32;
    /// How long a request may take, in seconds. [default: 30]
    #[arg(long, value_name = "SECONDS")]
    request_timeout_s: u32;
}

/// Services, in a text with commas between them or as a list.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(try_from = "TextOrList", into = "String")]
pub(crate) struct Services(Contexts);

impl std::str::FromStr for Services {
    type Err = NoContext;

    fn from_str(text: &str) -> Result<Self, NoContext> {
        text.parse().map(Self)
    }
}

impl TryFrom<TextOrList> for Services {
    type Error = NoContext;

    fn try_from(value: TextOrList) -> Result<Self, NoContext> {
        value.text().parse()
    }
}

impl From<Services> for String {
    fn from(services: Services) -> Self {
        services.0.to_string()
    }
}

/// Addresses, in a text with commas between them or as a list.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(try_from = "TextOrList", into = "String")]
pub(crate) struct Addresses(Vec<IpAddr>);

#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrList {
    Text(String),
    List(Vec<String>),
}

impl TextOrList {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::List(list) => list.join(","),
        }
    }
}

impl std::str::FromStr for Addresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| part.parse().map_err(|_| format!("`{part}` is not an IP address")))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl TryFrom<TextOrList> for Addresses {
    type Error = String;

    fn try_from(value: TextOrList) -> Result<Self, String> {
        value.text().parse()
    }
}

impl From<Addresses> for String {
    fn from(addresses: Addresses) -> Self {
        addresses.0.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",")
    }
}
