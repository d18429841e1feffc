//! Settings: flags, then environment, then the TOML file, then defaults.
//!
//! One struct is the list of all of them. A value that can't be used is an error that names its
//! key and where it came from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use eventbooker_core::bookings::HoldLimits;
use eventbooker_engine as engine;
use eventbooker_web::WebSettings;
use eventbooker_web::edge::EdgeConfig;
use eventbooker_web::headers::SecurityHeaders;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

use crate::database::{Called, Database};

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
        match value {
            TextOrList::Text(text) => text.parse(),
            TextOrList::List(list) => list.join(",").parse(),
        }
    }
}

impl From<Addresses> for String {
    fn from(addresses: Addresses) -> Self {
        addresses.0.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",")
    }
}

/// What `serve` runs with.
#[derive(Debug)]
pub(crate) struct ServeSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) database: Database,
    pub(crate) database_connections: usize,
    pub(crate) demo: bool,
    pub(crate) log: String,
    pub(crate) log_json: bool,
    pub(crate) engine: engine::Settings,
    pub(crate) web: WebSettings,
    pub(crate) edge: EdgeConfig,
}

impl ServeSettings {
    /// Sets how many connections there may be, and with it how many of them may be live streams,
    /// which are half: the others are for those who want an answer.
    pub(crate) fn limit_connections(&mut self, connections_max: usize) {
        self.edge.connections_max = connections_max;
        self.web.live_streams_max = (connections_max / 2).max(1);
    }
}

const DATABASE_DEFAULT: &str = "sqlite:eventbooker.db";
const DATABASE_CALLED: Called = Called { url: "database", password_file: "database_password_file" };
const ENV_PREFIX: &str = "EVENTBOOKER_";
/// Variables that tests may set for themselves.
const TEST_PREFIX: &str = "EVENTBOOKER_TEST_";

impl DatabaseFlags {
    /// The database.
    pub(crate) fn resolve(self) -> Result<Database, String> {
        let config = self.config.clone();
        layered(config, Serialized::defaults(self))?.database()
    }
}

impl ListenFlags {
    /// The address.
    pub(crate) fn resolve(self) -> Result<SocketAddr, String> {
        let config = self.config.clone();
        Ok(layered(config, Serialized::defaults(self))?.listen())
    }
}

impl ServeFlags {
    /// Everything that `serve` needs to know.
    pub(crate) fn resolve(self) -> Result<ServeSettings, String> {
        let config = self.config.clone();
        layered(config, Serialized::defaults(self))?.into_settings()
    }

    fn listen(&self) -> SocketAddr {
        self.listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 8080).into())
    }

    fn database(&self) -> Result<Database, String> {
        let url = self.database.as_deref().unwrap_or(DATABASE_DEFAULT);
        Database::parse(url, self.database_password_file.as_deref(), DATABASE_CALLED)
    }

    /// How many lanes there are, which depends on how many writers the database can have.
    fn lanes(&self, database: &Database) -> Result<usize, String> {
        if database.is_shared() {
            return within("lanes", self.lanes, 1..=64, 2).map(|lanes| lanes as usize);
        }
        match self.lanes {
            None | Some(1) => Ok(1),
            Some(_) => {
                Err("lanes: must be 1, because an embedded database has one writer".to_owned())
            }
        }
    }

    fn into_settings(self) -> Result<ServeSettings, String> {
        let listen = self.listen();
        let demo = self.demo.unwrap_or(false);
        if demo && !listen.ip().is_loopback() && !self.demo_anywhere.unwrap_or(false) {
            return Err(format!(
                "listen: a demo, where everybody can sign in as admin, doesn't listen on {listen}; \
                 use a loopback address or add --demo-anywhere"
            ));
        }
        let public_origin = self.public_origin.clone();
        if let Some(origin) = &public_origin {
            check_origin(origin)?;
        }
        let database = self.database()?;
        let connections = within("database_connections", self.database_connections, 1..=1000, 8)?;
        let lanes = self.lanes(&database)?;
        let web = self.web(public_origin)?;
        let edge = self.edge(web.is_tls_only())?;
        let mut settings = ServeSettings {
            listen,
            demo,
            engine: engine::Settings { users_may_deposit: demo, lanes, ..self.engine()? },
            web,
            edge,
            log: self.log.unwrap_or_else(|| "info".to_owned()),
            log_json: self.log_json.unwrap_or(false),
            database,
            database_connections: connections as usize,
        };
        settings.limit_connections(settings.edge.connections_max);
        Ok(settings)
    }

    fn engine(&self) -> Result<engine::Settings, String> {
        let defaults = engine::Settings::default();
        let lifted = |limit: Option<u32>, default| match limit {
            None => default,
            Some(0) => None,
            Some(limit) => Some(limit),
        };
        let holds = HoldLimits {
            seats_per_booking_max: within(
                "seats_per_booking_max",
                self.seats_per_booking_max,
                1..=10_000,
                100,
            )?,
            holds_max: lifted(self.holds_per_user_max, defaults.holds.holds_max),
            held_seats_max: lifted(self.held_seats_per_user_max, defaults.holds.held_seats_max),
        };
        let hours = |hours: u32| Duration::from_secs(u64::from(hours) * 3600);
        let session = within("session_hours", self.session_hours, 1..=24 * 366, 168)?;
        let answers = within("idempotency_hours", self.idempotency_hours, 24..=24 * 366, 48)?;
        let recount = within("recount_hours", self.recount_hours, 0..=24 * 366, 24)?;
        let inbox = within("inbox_commands_max", self.inbox_commands_max, 1..=1_000_000, 8192)?;
        let hashes = within("hashes_at_once_max", self.hashes_at_once_max, 1..=1024, 2)?;
        Ok(engine::Settings {
            holds,
            hashes_at_once_max: hashes as usize,
            session_lifetime: hours(session),
            answers_kept: hours(answers),
            recount_every: (recount > 0).then(|| hours(recount)),
            inbox_commands_max: inbox as usize,
            ..defaults
        })
    }

    fn web(&self, public_origin: Option<String>) -> Result<WebSettings, String> {
        let count = |key, value, default| within(key, value, 1..=1_000_000, default);
        let body_bytes_max = within("body_bytes_max", self.body_bytes_max, 1024..=1 << 24, 65_536)?;
        Ok(WebSettings {
            public_origin,
            trusted_proxies: self.trusted_proxies.clone().map(|list| list.0).unwrap_or_default(),
            body_bytes_max: body_bytes_max as usize,
            failed_sign_ins_per_login: count(
                "failed_sign_ins_per_login",
                self.failed_sign_ins_per_login,
                10,
            )?,
            failed_sign_ins_per_address: count(
                "failed_sign_ins_per_address",
                self.failed_sign_ins_per_address,
                100,
            )?,
            registrations_per_address: count(
                "registrations_per_address",
                self.registrations_per_address,
                300,
            )?,
            remembered_refusals_per_user: count(
                "remembered_refusals_per_user",
                self.remembered_refusals_per_user,
                120,
            )?,
            ..WebSettings::default()
        })
    }

    fn edge(&self, tls_only: bool) -> Result<EdgeConfig, String> {
        let seconds = |key, value, default| {
            within(key, value, 1..=3600, default).map(|s| Duration::from_secs(u64::from(s)))
        };
        let connections = within("connections_max", self.connections_max, 1..=1_000_000, 10_000)?;
        Ok(EdgeConfig {
            header_timeout: seconds("header_timeout_s", self.header_timeout_s, 10)?,
            idle_timeout: seconds("idle_timeout_s", self.idle_timeout_s, 75)?,
            request_timeout: seconds("request_timeout_s", self.request_timeout_s, 30)?,
            connections_max: connections as usize,
            // The rest of the ten seconds is for the engine to finish what it has taken.
            drain_timeout: Duration::from_secs(8),
            security: SecurityHeaders { tls_only },
            ..EdgeConfig::default()
        })
    }
}

/// Flags over environment over file.
fn layered(
    config: Option<PathBuf>,
    flags: Serialized<impl Serialize>,
) -> Result<ServeFlags, String> {
    check_variables()?;
    let config = config.or_else(|| std::env::var_os("EVENTBOOKER_CONFIG").map(PathBuf::from));
    let mut figment = Figment::new();
    if let Some(path) = config {
        if !path.is_file() {
            return Err(format!("config: there is no file {}", path.display()));
        }
        figment = figment.merge(Toml::file_exact(path));
    }
    figment
        .merge(Env::prefixed(ENV_PREFIX).only(KEYS))
        .merge(flags)
        .extract()
        .map_err(|error| error.into_iter().map(|e| words(&e)).collect::<Vec<_>>().join("\n  "))
}

/// Refuses variables that look like settings and are none: a limit that was mistyped would silently
/// not hold.
fn check_variables() -> Result<(), String> {
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    match unknown_variables(&names.collect::<Vec<_>>()).as_slice() {
        [] => Ok(()),
        unknown => {
            let lines = unknown.iter().map(|name| {
                let near = nearby(name).join(", ");
                format!("{name}: there is no such setting; expected {near}")
            });
            Err(lines.collect::<Vec<_>>().join("\n  "))
        }
    }
}

/// The variables that bear the prefix, name no setting and weren't set by somebody else.
fn unknown_variables(names: &[String]) -> Vec<&str> {
    // An orchestrator tells every process about its services in variables that begin with their
    // names: with one that is called eventbooker, EVENTBOOKER_SERVICE_HOST and EVENTBOOKER_PORT are
    // not ours.
    let services: Vec<&str> =
        names.iter().filter_map(|name| name.strip_suffix("_SERVICE_HOST")).collect();
    let tells_of_service = |name: &str| {
        let mut of_service = services.iter().filter_map(|service| name.strip_prefix(service));
        of_service.any(|rest| rest.starts_with("_SERVICE_") || rest.starts_with("_PORT"))
    };
    let is_unknown = |name: &&str| {
        let is_ours = name
            .get(..ENV_PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(ENV_PREFIX));
        is_ours
            && !name.starts_with(TEST_PREFIX)
            && !tells_of_service(name)
            && !variables().any(|known| known.eq_ignore_ascii_case(name))
    };
    names.iter().map(String::as_str).filter(is_unknown).collect()
}

/// The variables of all settings.
fn variables() -> impl Iterator<Item = String> {
    KEYS.iter().chain(&["config"]).map(|key| format!("{ENV_PREFIX}{}", key.to_uppercase()))
}

/// The variables that may have been meant: those that have at least half of the pairs of letters
/// of this one, beside the prefix. All variables if there are none.
fn nearby(name: &str) -> Vec<String> {
    let beside_prefix = |name: &str| name[ENV_PREFIX.len()..].to_uppercase().into_bytes();
    let meant = beside_prefix(name);
    let is_near = |known: &String| {
        let known = beside_prefix(known);
        let is_shared = |pair: &&[u8]| known.windows(2).any(|other| other == *pair);
        meant.windows(2).filter(is_shared).count() * 2 >= meant.windows(2).count()
    };
    let near: Vec<String> = variables().filter(is_near).collect();
    if near.is_empty() { variables().collect() } else { near }
}

/// What is wrong with a value, and where it stands.
fn words(error: &figment::Error) -> String {
    let from_environment =
        error.metadata.as_ref().is_some_and(|from| from.name.contains(ENV_PREFIX));
    if from_environment {
        // The library would name the prefix and the rest of the variable in two places.
        return format!("{ENV_PREFIX}{}: {}", error.path.join("_").to_uppercase(), error.kind);
    }
    error.to_string()
}

fn within(
    key: &str,
    value: Option<u32>,
    range: std::ops::RangeInclusive<u32>,
    default: u32,
) -> Result<u32, String> {
    let value = value.unwrap_or(default);
    if range.contains(&value) {
        return Ok(value);
    }
    Err(format!("{key}: must be from {} to {}, not {value}", range.start(), range.end()))
}

/// An origin is a scheme, a host and perhaps a port; a path would never match a browser's header.
fn check_origin(origin: &str) -> Result<(), String> {
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']) => Ok(()),
        _ => Err(format!(
            "public_origin: must be like https://tickets.example.org, without a path, not {origin}"
        )),
    }
}
