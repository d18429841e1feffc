//! What the program runs with, and between which bounds.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use eventbooker_core::Contexts;
use eventbooker_core::bookings::HoldLimits;
use eventbooker_engine as engine;
use eventbooker_web::WebSettings;
use eventbooker_web::edge::EdgeConfig;
use eventbooker_web::headers::SecurityHeaders;
use figment::providers::Serialized;

use super::layers::layered;
use super::{Apart, CheckFlags, DatabaseFlags, ListenFlags, ServeFlags};
use crate::database::{Called, Database};

/// What `serve` runs with.
#[derive(Debug)]
pub(crate) struct ServeSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) database: Database,
    pub(crate) database_connections: usize,
    pub(crate) services: Contexts,
    /// What it needs to know of the services that run elsewhere, if there are any.
    pub(crate) apart: Option<Apart>,
    pub(crate) demo: bool,
    pub(crate) log: String,
    pub(crate) log_json: bool,
    pub(crate) otlp_endpoint: Option<String>,
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

impl DatabaseFlags {
    /// The database.
    pub(crate) fn resolve(self) -> Result<Database, String> {
        let config = self.config.clone();
        layered(config, Serialized::defaults(self))?.database()
    }
}

const EVENTS_CALLED: Called =
    Called { url: "events_database", password_file: "events_database_password_file" };
const ACCOUNTS_CALLED: Called =
    Called { url: "account_database", password_file: "account_database_password_file" };

/// The databases that `check` looks at.
pub(crate) struct CheckedDatabases {
    /// The one with the bookings, and with whatever isn't elsewhere.
    pub(crate) database: Database,
    pub(crate) events: Option<Database>,
    pub(crate) accounts: Option<Database>,
}

impl CheckFlags {
    /// The databases.
    pub(crate) fn resolve(self) -> Result<CheckedDatabases, String> {
        let config = self.database.config.clone();
        let all = layered(config, Serialized::defaults(self))?;
        let parse =
            |url: Option<&String>, password_file: Option<&PathBuf>, called: Called| match url {
                Some(url) => {
                    Database::parse(url, password_file.map(PathBuf::as_path), called).map(Some)
                }
                None if password_file.is_some() => {
                    Err(format!("{}: there is no {}", called.password_file, called.url))
                }
                None => Ok(None),
            };
        let events = parse(
            all.events_database.as_ref(),
            all.events_database_password_file.as_ref(),
            EVENTS_CALLED,
        )?;
        let accounts = parse(
            all.account_database.as_ref(),
            all.account_database_password_file.as_ref(),
            ACCOUNTS_CALLED,
        )?;
        Ok(CheckedDatabases { database: all.database()?, events, accounts })
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
        if let Some(collector) = &self.otlp_endpoint {
            check_collector(collector)?;
        }
        let (services, apart) = (self.services(), self.apart()?);
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
            otlp_endpoint: self.otlp_endpoint,
            services,
            apart,
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
        let memories = within("memory_days", self.memory_days, 7..=366, 30)?;
        let recount = within("recount_hours", self.recount_hours, 0..=24 * 366, 24)?;
        let inbox = within("inbox_commands_max", self.inbox_commands_max, 1..=1_000_000, 8192)?;
        let hashes = within("hashes_at_once_max", self.hashes_at_once_max, 1..=1024, 2)?;
        Ok(engine::Settings {
            holds,
            hashes_at_once_max: hashes as usize,
            session_lifetime: hours(session),
            answers_kept: hours(answers),
            memories_kept: hours(24 * memories),
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

/// What is wrong behind the scheme, whoever sends says by himself.
fn check_collector(collector: &str) -> Result<(), String> {
    if collector.starts_with("http://") {
        return Ok(());
    }
    Err(format!("otlp_endpoint: must be like http://127.0.0.1:4318, not {collector}"))
}
