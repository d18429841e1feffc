//! Where a server is and how to reach it: a URL with libpq's parameters.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode, SslNegotiation, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::explain;
use super::tls::{self, TlsFiles, Verify};

/// How long connecting may take, for each address. Everybody waits meanwhile.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// So many times as long, until a server lets us in, or says why not. It may have two addresses of which
/// one is dead; and one that hangs takes connections all the same.
const LET_IN_TIMEOUTS: u32 = 2;
/// How long what was sent may stay unacknowledged before a connection counts as lost.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);
/// A connection that is silent for this long is asked whether it is still there, so often and so many
/// times; the system's own times add up to minutes.
const SILENT_MAX: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_secs(2);
const ASK_TIMES: u32 = 3;

/// A server that can be connected to, or several, of which one takes writes.
#[derive(Clone)]
pub struct PostgresUrl {
    /// One for each server.
    servers: Vec<Config>,
    /// Ways to connect, the preferred one first.
    ways: Vec<SslMode>,
    tls: MakeRustlsConnect,
    name: String,
}

/// Connects to a server.
pub(super) type Connector = PostgresUrl;

impl PostgresUrl {
    /// Reads a URL: `postgres://user@host:port/database?sslmode=…`. A password in it comes before the
    /// one given beside it.
    ///
    /// The parameters are libpq's, among them `sslmode` (`disable`, `allow`, `prefer`, which is the
    /// default, `require`, `verify-ca`, `verify-full`), `sslrootcert` (a file, or `system`),
    /// `sslcert` and `sslkey`. With several hosts the first that takes writes is used.
    ///
    /// An error says which part is wrong, and never the password.
    pub fn parse(url: &str, password: Option<&str>) -> Result<Self, String> {
        Self::parse_at(std::env::home_dir(), url, password).map_err(|why| {
            // What seems to be a parameter may be the rest of a password.
            let is_in_password =
                |(base, rest): (&str, &str)| !base.contains('@') && rest.contains('@');
            if url.split_once('?').is_some_and(is_in_password) {
                return "a ? in a password is written as %3F in a URL".to_owned();
            }
            why
        })
    }

    fn parse_at(home: Option<PathBuf>, url: &str, password: Option<&str>) -> Result<Self, String> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut ssl_mode, mut files) = (None, TlsFiles { home, ..TlsFiles::default() });
        let mut rest = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "sslmode" => ssl_mode = Some(value.into_owned()),
                "sslrootcert" => files.roots = Some(value.into_owned()),
                "sslcert" => files.certificate = Some(value.into_owned()),
                "sslkey" => files.key = Some(value.into_owned()),
                _ => {
                    rest.append_pair(&name, &value);
                }
            }
        }
        // The parser takes "+" for itself, where a form means a space.
        let rest = rest.finish().replace('+', "%20");
        let parse = |base: &str| -> Result<Config, String> {
            format!("{base}?{rest}").parse().map_err(|error| explain(&error))
        };
        let all = parse(base)?;
        if all.get_hosts().is_empty() {
            return Err("the database's URL names no host".to_owned());
        }
        let mut servers =
            hosts_apart(base).iter().map(|base| parse(base)).collect::<Result<Vec<_>, _>>()?;
        for config in &mut servers {
            complete(config, password);
        }
        let is_direct = all.get_ssl_negotiation() == SslNegotiation::Direct;
        let (ways, mut verify) = mode(ssl_mode.as_deref(), &files, is_direct)?;
        if servers.iter().all(is_local) {
            verify = Verify::Nothing;
        }
        let tls = MakeRustlsConnect::new(tls::config(verify, &files)?);
        Ok(Self { servers, ways, tls, name: name(&all) })
    }

    /// The server's name without secrets: `postgres://user@host:port/database`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long a server may take for what is to be done when it has let us in.
    pub(super) fn preparing_max(&self) -> Duration {
        self.servers.iter().map(let_in_max).max().unwrap_or(CONNECT_TIMEOUT)
    }

    /// Connects to the first server that takes writes. The connection has to be driven for as long as
    /// the client is used. An error is one line for people.
    pub(super) async fn connect(
        &self,
    ) -> Result<(Client, impl Future<Output = Result<(), Error>> + Send + 'static), String> {
        let mut reasons = Vec::with_capacity(self.servers.len());
        for server in &self.servers {
            match self.connect_to(server).await {
                Ok(connected) => return Ok(connected),
                Err(reason) => reasons.push(reason),
            }
        }
        if let [reason] = &mut *reasons {
            return Err(std::mem::take(reason));
        }
        let reasons = self.servers.iter().zip(&reasons);
        let reasons = reasons.map(|(server, reason)| format!("{}: {reason}", hosts(server)));
        Err(reasons.collect::<Vec<_>>().join("; "))
    }

    fn ways_to(&self, server: &Config) -> &[SslMode] {
        if is_local(server) { &[SslMode::Disable] } else { &self.ways }
    }

    async fn connect_to(
        &self,
        server: &Config,
    ) -> Result<(Client, impl Future<Output = Result<(), Error>> + Send + 'static), String> {
        let let_in_max = let_in_max(server);
        let mut first_reason = None;
        for way in self.ways_to(server) {
            let mut config = server.clone();
            let connecting = Box::pin(config.ssl_mode(*way).connect(self.tls.clone()));
            let (reason, is_final) = match timeout(let_in_max, connecting).await {
                Ok(Ok(connected)) => return Ok(connected),
                // What the server itself says is final, unless it wants us to come another way.
                Ok(Err(error)) => (explain(&error), error.code().is_some_and(is_final)),
                Err(_) => (format!("no answer within {} s", let_in_max.as_secs()), true),
            };
            let reason = first_reason.get_or_insert(reason);
            if is_final {
                break;
            }
            tracing::debug!(reason, "connecting in another way");
        }
        Err(first_reason.expect("there is a way at least"))
    }
}

/// The ways to connect that a mode allows, and what is to be verified. As with libpq, a mode that
/// protects from nobody is refused where somebody has asked for more by another parameter.
fn mode(
    named: Option<&str>,
    files: &TlsFiles,
    is_direct: bool,
) -> Result<(Vec<SslMode>, Verify), String> {
    let is_system = files.roots.as_deref() == Some("system");
    let mode = named.unwrap_or(if is_system { "verify-full" } else { "prefer" });
    let mode_of = match mode {
        "disable" => (vec![SslMode::Disable], Verify::Nothing),
        "allow" => (vec![SslMode::Disable, SslMode::Require], Verify::Nothing),
        "prefer" => (vec![SslMode::Prefer, SslMode::Disable], Verify::Nothing),
        // Where there is an authority, it is asked.
        "require" if files.have_roots() => (vec![SslMode::Require], Verify::Authority),
        "require" => (vec![SslMode::Require], Verify::Nothing),
        "verify-ca" => (vec![SslMode::Require], Verify::Authority),
        "verify-full" => (vec![SslMode::Require], Verify::AuthorityAndName),
        _ => {
            return Err(format!(
                "sslmode={mode} is unknown; it is disable, allow, prefer, require, verify-ca or \
                 verify-full"
            ));
        }
    };
    if is_system && mode != "verify-full" {
        return Err(format!("sslmode={mode} is too weak for sslrootcert=system; use verify-full"));
    }
    if is_direct && mode_of.0 != [SslMode::Require] {
        return Err(format!(
            "sslmode={mode} is too weak for sslnegotiation=direct; use require, verify-ca or \
             verify-full"
        ));
    }
    Ok(mode_of)
}

/// Whether a server is reached through a socket in the file system, where libpq never speaks TLS.
fn is_local(server: &Config) -> bool {
    server.get_hosts().iter().all(|host| !matches!(host, Host::Tcp(_)))
}

fn let_in_max(server: &Config) -> Duration {
    *server.get_connect_timeout().unwrap_or(&CONNECT_TIMEOUT) * LET_IN_TIMEOUTS
}

fn is_final(said: &SqlState) -> bool {
    *said != SqlState::INVALID_AUTHORIZATION_SPECIFICATION
}

/// What a URL may leave out.
fn complete(config: &mut Config, password: Option<&str>) {
    if config.get_password().is_none()
        && let Some(password) = password
    {
        config.password(password);
    }
    if config.get_application_name().is_none() {
        config.application_name("eventbooker");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    config.tcp_user_timeout(UNACKNOWLEDGED_MAX).keepalives_idle(SILENT_MAX);
    config.keepalives_interval(ASK_EVERY).keepalives_retries(ASK_TIMES);
    // A standby answers, too, but takes no bookings.
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
}

/// A URL without its parameters, once for each of its hosts, so that one that hangs doesn't keep us from
/// the next.
fn hosts_apart(base: &str) -> Vec<String> {
    let whole = || vec![base.to_owned()];
    let Some((scheme, rest)) = base.split_once("://") else { return whole() };
    let (user, rest) = rest.split_once('@').map_or(("", rest), |(user, rest)| (user, rest));
    let at = if user.is_empty() { "" } else { "@" };
    let (hosts, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    hosts.split(',').map(|host| format!("{scheme}://{user}{at}{host}{path}")).collect()
}

fn name(config: &Config) -> String {
    let user = config.get_user().map(|user| format!("{user}@")).unwrap_or_default();
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("postgres://{user}{}/{database}", hosts(config))
}

fn hosts(config: &Config) -> String {
    let hosts = config.get_hosts().iter().enumerate().map(|(place, host)| {
        let ports = config.get_ports();
        let port = ports.get(place).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(host) => format!("{host}:{port}"),
            #[cfg(unix)]
            Host::Unix(path) => format!("{}:{port}", path.display()),
        }
    });
    hosts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(url: &str) -> String {
        PostgresUrl::parse(url, None).map_or_else(|why| why, |url| url.name)
    }

    fn ways(url: &str) -> Vec<SslMode> {
        let url = PostgresUrl::parse_at(None, url, None).expect(url);
        url.ways_to(&url.servers[0]).to_vec()
    }

    #[test]
    fn a_name_has_everything_but_the_password() {
        for (url, name) in [
            ("postgres://ann:secret@db/tickets", "postgres://ann@db:5432/tickets"),
            ("postgresql://ann@db:6543/tickets?sslmode=disable", "postgres://ann@db:6543/tickets"),
            ("postgres://ann@one,two:1/t?password=secret", "postgres://ann@one:5432,two:1/t"),
            ("postgres://ann@/t?host=/run/postgresql", "postgres://ann@/run/postgresql:5432/t"),
            ("postgres://ann@db", "postgres://ann@db:5432/ann"),
        ] {
            assert_eq!(named(url), name, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_the_password_is_not() {
        for (url, words) in [
            ("postgres://ann:secret@db/t?sslmode=maybe", "sslmode=maybe"),
            ("postgres://ann:secret@db/t?ssl=on", "ssl"),
            ("postgres://ann:secret@db:many/t", "port"),
            ("postgres:///t", "host"),
            ("postgres://ann:secret@db/t?sslmode=verify-full&sslrootcert=/no/such", "/no/such"),
            ("postgres://ann:not?secret@db/t?x=1", "%3F"),
            ("postgres://ann:1?sslmode=secret@db/t", "%3F"),
        ] {
            let why = PostgresUrl::parse(url, None).err().unwrap_or_else(|| panic!("{url}"));
            assert!(why.contains(words) && !why.contains("secret"), "{url}: {why}");
        }
    }

    #[test]
    fn a_password_beside_the_url_is_used_unless_one_is_in_it() {
        for (url, password) in
            [("postgres://ann@db/t", "beside"), ("postgres://ann:inside@db/t", "inside")]
        {
            let url = PostgresUrl::parse(url, Some("beside")).expect("it is right");
            assert_eq!(url.servers[0].get_password(), Some(password.as_bytes()));
        }
    }

    #[test]
    fn options_travel_as_they_are() {
        let url = "postgres://ann@db/t?options=-c%20search_path%3Da%2Bb&sslmode=require";
        let url = PostgresUrl::parse(url, None).expect("it is right");
        assert_eq!(url.servers[0].get_options(), Some("-c search_path=a+b"));
    }

    #[test]
    fn several_servers_are_told_apart() {
        let url = "postgres://ann:secret@one:1,two/t?connect_timeout=7";
        let url = PostgresUrl::parse(url, None).expect("it is right");
        assert_eq!(url.servers.iter().map(hosts).collect::<Vec<_>>(), ["one:1", "two:5432"]);
        assert_eq!(url.name(), "postgres://ann@one:1,two:5432/t");
        for server in &url.servers {
            assert_eq!(server.get_password(), Some(&b"secret"[..]));
            assert_eq!(server.get_dbname(), Some("t"));
            assert_eq!(server.get_connect_timeout(), Some(&Duration::from_secs(7)));
        }
    }

    #[test]
    fn modes_are_those_of_libpq() {
        use SslMode::{Disable, Prefer, Require};
        assert_eq!(ways("postgres://ann@db/t"), [Prefer, Disable]);
        for (mode, expected) in [
            ("disable", vec![Disable]),
            ("allow", vec![Disable, Require]),
            ("prefer", vec![Prefer, Disable]),
            ("require", vec![Require]),
        ] {
            assert_eq!(ways(&format!("postgres://ann@db/t?sslmode={mode}")), expected, "{mode}");
        }
        let local = "postgres://ann@/t?host=/run/postgresql";
        for mode in ["disable", "require", "verify-ca", "verify-full"] {
            assert_eq!(ways(&format!("{local}&sslmode={mode}")), [Disable], "{mode}");
        }
        assert_eq!(ways("postgres://ann@db/t?sslrootcert=system"), [Require]);
        assert_eq!(ways("postgres://ann@db/t?sslnegotiation=direct&sslmode=require"), [Require]);
        for (weak, wanted) in [
            ("sslrootcert=system&sslmode=prefer", "verify-full"),
            ("sslrootcert=system&sslmode=verify-ca", "verify-full"),
            ("sslnegotiation=direct", "require"),
            ("sslnegotiation=direct&sslmode=allow", "require"),
        ] {
            let why = PostgresUrl::parse(&format!("postgres://ann@db/t?{weak}"), None);
            let why = why.err().unwrap_or_else(|| panic!("{weak}"));
            assert!(why.contains("too weak") && why.contains(wanted), "{why}");
        }
    }

    #[test]
    fn whoever_keeps_an_authority_at_home_wants_it_to_be_asked() {
        let home = tempfile::tempdir().expect("there is a place for a test's files");
        let parse = |mode: &str| {
            let url = format!("postgres://ann@db/t?sslmode={mode}");
            PostgresUrl::parse_at(Some(home.path().to_owned()), &url, None).map(|url| url.name)
        };
        assert!(parse("require").is_ok(), "there is none");
        std::fs::create_dir(home.path().join(".postgresql")).expect("it can be made");
        std::fs::write(home.path().join(".postgresql/root.crt"), "nobody").expect("it is written");
        for (mode, is_asked) in [("prefer", false), ("require", true), ("verify-full", true)] {
            assert_eq!(parse(mode).is_err_and(|why| why.contains("root.crt")), is_asked, "{mode}");
        }
    }
}
