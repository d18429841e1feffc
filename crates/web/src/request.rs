//! What handlers take from a request: who asks, the body, numbers of the path, the query.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path};
use axum::http::header::{CONTENT_TYPE, COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request};
use bytes::Bytes;
use eventbooker_core::identity::{Actor, Person};

use crate::edge::{Peer, read_body};
use crate::fields::Fields;
use crate::idempotency::RawKey;
use crate::problem::{FieldError, Problem, ProblemKind};
use crate::state::Web;

/// The cookie that holds a session's token.
pub(crate) const SESSION_COOKIE: &str = "session_id";

/// What stands in a cookie. Of several with one name, the first counts.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    // As bytes: what others have put into the same header need not be text.
    let mut pairs =
        headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|b| *b == b';'));
    let value =
        pairs.find_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    std::str::from_utf8(value?).ok()
}

/// The token in the client's session cookie.
pub(crate) fn session_token(headers: &HeaderMap) -> Option<&str> {
    cookie(headers, SESSION_COOKIE)
}

/// Whoever is signed in; nobody is a 401.
pub(crate) struct CurrentUser(pub(crate) Arc<Person>);

impl CurrentUser {
    pub(crate) fn actor(&self) -> Actor {
        self.0.actor()
    }

    /// The user as an admin; anybody else is a 403.
    pub(crate) fn admin(&self) -> Result<Actor, Problem> {
        let actor = self.actor();
        if actor.is_admin() {
            return Ok(actor);
        }
        Err(Problem::new(ProblemKind::Forbidden, "only an admin may do this"))
    }
}

impl FromRequestParts<Web> for CurrentUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Problem> {
        web.who_asks(&parts.headers).await?.map(Self).ok_or_else(not_signed_in)
    }
}

/// What is said to nobody.
pub(crate) fn not_signed_in() -> Problem {
    Problem::new(ProblemKind::Unauthenticated, "sign in first: POST /login sets a session cookie")
}

/// The client's address: the peer's, or what a trusted proxy says it is.
pub(crate) struct ClientAddress(pub(crate) IpAddr);

impl FromRequestParts<Web> for ClientAddress {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Problem> {
        // Without a socket (a test that calls the router) everybody comes from the same place.
        let peer = parts
            .extensions
            .get::<Peer>()
            .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |Peer(address)| address.ip());
        Ok(Self(client_address(peer, &parts.headers, &web.inner.settings.trusted_proxies)))
    }
}

/// Walks the chain of proxies from the nearest one outwards, for as long as they are trusted.
/// Whatever stands further out was written by somebody who isn't, and need not even be text.
///
/// Addresses are compared in their canonical form: on a socket that takes IPv4 and IPv6, the peer
/// 127.0.0.1 is `::ffff:127.0.0.1`.
fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> IpAddr {
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let mut hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    let mut address = peer.to_canonical();
    while trusted.iter().any(|proxy| proxy.to_canonical() == address)
        && let Some(next) = hops.next().and_then(hop_address)
    {
        address = next.to_canonical();
    }
    address
}

/// The address in a hop, which some proxies write with a port: `1.2.3.4`, `1.2.3.4:56`, `::1`,
/// `[::1]`, `[::1]:56`.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    bare.parse().ok().or_else(|| hop.parse().map(|with_port: SocketAddr| with_port.ip()).ok())
}

/// Whether the client's own connection is encrypted, as far as can be known here.
pub(crate) struct OverTls(pub(crate) bool);

impl FromRequestParts<Web> for OverTls {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Problem> {
        // Believed from anybody: whoever forges it only makes their own cookie stricter.
        let forwarded =
            parts.headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
        Ok(Self(forwarded || web.inner.settings.is_tls_only()))
    }
}

/// A request's body, and its idempotency key if it has one.
pub(crate) struct Input {
    body: Bytes,
    is_json_kind: bool,
    pub(crate) key: Option<RawKey>,
}

impl FromRequest<Web> for Input {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, web: &Web) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let is_json_kind = is_json_kind(&parts.headers);
        let body = read_body(body, web.inner.settings.body_bytes_max).await?;
        let key = RawKey::read(&parts, &body)?;
        Ok(Self { body, is_json_kind, key })
    }
}

impl Input {
    /// The body's fields, if its kind may be JSON; a 415 otherwise.
    pub(crate) fn fields(&self) -> Result<Fields, Problem> {
        self.check_kind()?;
        self.fields_of_any_kind()
    }

    /// The body's fields, or `None` for an empty body.
    pub(crate) fn optional_fields(&self) -> Result<Option<Fields>, Problem> {
        let fields = Fields::parse_optional(&self.body)?;
        if fields.is_some() {
            self.check_kind()?;
        }
        Ok(fields)
    }

    /// The body's fields, whatever its kind is said to be, as the second seed's clients need it.
    pub(crate) fn fields_of_any_kind(&self) -> Result<Fields, Problem> {
        Fields::parse(&self.body)
    }

    fn check_kind(&self) -> Result<(), Problem> {
        if self.is_json_kind {
            return Ok(());
        }
        Err(Problem::new(
            ProblemKind::UnsupportedMediaType,
            "the body must be JSON; send Content-Type: application/json",
        ))
    }
}

/// Whether a body may be JSON by what is said about it. Nothing said is fine, and so is what curl
/// says when nobody told it what to say.
fn is_json_kind(headers: &HeaderMap) -> bool {
    if headers.contains_key("content-encoding") {
        return false;
    }
    let Some(kind) = headers.get(CONTENT_TYPE) else { return true };
    let kind = kind.to_str().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(kind.as_str(), "application/json" | "application/x-www-form-urlencoded" | "text/json")
        || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// The number in the path.
pub(crate) struct PathId(pub(crate) i64);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // A path that isn't UTF-8 has no number either.
        let text = Path::<String>::from_request_parts(parts, state).await.ok();
        text.and_then(|Path(text)| text.parse().ok()).map(Self).ok_or_else(|| {
            let detail = "in the path must be a whole number of at most 64 bits";
            Problem::of_fields(ProblemKind::InvalidValue, vec![FieldError::new("id", detail)])
        })
    }
}

/// The query's parameters; unknown ones are nobody's business.
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

/// Rows of a list when the client doesn't say.
const LIMIT_DEFAULT: u32 = 100;
/// The most rows of a list. An answer is built whole and kept until its client has read it, and
/// anybody may ask for the events.
const LIMIT_MAX: u32 = 200;
/// The most rows of a list in short, and how many there are when the client doesn't say: clients of
/// the second section know of no pages.
const LIMIT_OF_SHORT: u32 = 1000;
/// The longest text to search for, in characters.
const SEARCH_CHARS_MAX: usize = 200;

impl Query {
    pub(crate) fn of(parts: &axum::http::Uri) -> Self {
        let query = parts.query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Self { pairs, errors: Vec::new() }
    }

    fn take(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A parameter as it stands.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.take(name)
    }

    /// The whole numbers that are given under a name, at most so many.
    pub(crate) fn numbers(&self, name: &str, max: usize) -> Vec<i64> {
        let values = self.pairs.iter().filter(|(n, _)| n == name);
        values.filter_map(|(_, value)| value.parse().ok()).take(max).collect()
    }

    /// The whole numbers that are given under a name, of which there have to be some, and at most so
    /// many.
    pub(crate) fn ids(&mut self, name: &'static str, max: usize) -> Vec<i64> {
        let values = self.pairs.iter().filter(|(n, _)| n == name);
        let ids: Option<Vec<i64>> = values.map(|(_, value)| value.parse().ok()).collect();
        let detail = match ids {
            Some(ids) if (1..=max).contains(&ids.len()) => return ids,
            Some(_) => format!("has to be given at least once, and at most {max} times"),
            None => "must be a whole number of at most 64 bits".to_owned(),
        };
        self.errors.push(FieldError::new(name, detail));
        Vec::new()
    }

    /// A yes or a no, and no where nothing is said.
    pub(crate) fn flag(&mut self, name: &'static str) -> bool {
        match self.take(name) {
            Some("true") => true,
            Some("false") | None => false,
            Some(_) => {
                self.errors.push(FieldError::new(name, "must be true or false"));
                false
            }
        }
    }

    /// How many rows to list.
    pub(crate) fn limit(&mut self) -> u32 {
        self.limit_up_to(LIMIT_MAX, LIMIT_DEFAULT)
    }

    /// The same for rows in their short form.
    pub(crate) fn limit_of_short(&mut self) -> u32 {
        self.limit_up_to(LIMIT_OF_SHORT, LIMIT_OF_SHORT)
    }

    fn limit_up_to(&mut self, max: u32, default: u32) -> u32 {
        let Some(text) = self.take("limit") else { return default };
        match text.parse() {
            Ok(limit) if (1..=max).contains(&limit) => limit,
            _ => {
                let detail = format!("must be a whole number from 1 to {max}");
                self.errors.push(FieldError::new("limit", detail));
                default
            }
        }
    }

    /// The number of the row that the page follows.
    pub(crate) fn after(&mut self) -> Option<i64> {
        let text = self.take("after")?;
        let number = text.parse().ok();
        if number.is_none() {
            self.errors.push(FieldError::new(
                "after",
                "must be a whole number, such as in the Link header",
            ));
        }
        number
    }

    /// The text to search for.
    pub(crate) fn search(&mut self) -> Option<String> {
        // Telephones leave a space behind a word that they have completed.
        let text = self.take("q")?.trim().to_owned();
        if text.chars().count() > SEARCH_CHARS_MAX {
            let detail = format!("must have at most {SEARCH_CHARS_MAX} characters");
            self.errors.push(FieldError::new("q", detail));
        }
        Some(text).filter(|text| !text.is_empty())
    }

    /// Ends the reading: one problem with every bad parameter.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() {
            return Ok(());
        }
        Err(Problem::of_fields(ProblemKind::InvalidValue, self.errors))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    type Pairs = &'static [(&'static str, &'static str)];

    fn headers(pairs: Pairs) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
            headers.append(*name, value);
        }
        headers
    }

    #[test]
    fn the_session_cookie_is_found_among_others() {
        let table: [(Pairs, Option<&str>); 10] = [
            (&[], None),
            (&[("cookie", "session_id=abc")], Some("abc")),
            (&[("cookie", "a=b; session_id=abc; c=d")], Some("abc")),
            (&[("cookie", "a=b"), ("cookie", "session_id=abc")], Some("abc")),
            (&[("cookie", "xsession_id=abc")], None),
            (&[("cookie", "session_id=first; session_id=second")], Some("first")),
            (&[("cookie", "session_id")], None),
            (&[("cookie", "theme=grün; session_id=abc")], Some("abc")),
            (&[("cookie", "session_id=abc; theme=grün")], Some("abc")),
            (&[("cookie", "session_id_of_another=abc")], None),
        ];
        for (pairs, token) in table {
            assert_eq!(session_token(&headers(pairs)), token, "{pairs:?}");
        }
    }

    #[test]
    fn only_trusted_proxies_name_the_client() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let table: [(_, &[&str], _, _); 19] = [
            ("10.0.0.1", &["1.2.3.4"], "10.0.0.9", "10.0.0.9"),
            ("10.0.0.1", &["1.2.3.4"], "10.0.0.1", "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4"], "10.0.0.1", "1.2.3.4"),
            ("10.0.0.1", &["1.2.3.4, 10.0.0.1"], "10.0.0.1", "1.2.3.4"),
            ("10.0.0.1", &["nonsense"], "10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", &["::1"], "10.0.0.1", "::1"),
            // A proxy appends to the line, or adds another one.
            ("10.0.0.1", &["6.6.6.6", "1.2.3.4"], "10.0.0.1", "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4", "10.0.0.1"], "10.0.0.1", "1.2.3.4"),
            // The same address, written as IPv6.
            ("10.0.0.1", &["1.2.3.4"], "::ffff:10.0.0.1", "1.2.3.4"),
            ("::ffff:10.0.0.1", &["1.2.3.4"], "10.0.0.1", "1.2.3.4"),
            ("10.0.0.1", &["1.2.3.4, ::ffff:10.0.0.1"], "10.0.0.1", "1.2.3.4"),
            ("10.0.0.1", &["::ffff:1.2.3.4"], "10.0.0.1", "1.2.3.4"),
            ("10.0.0.1", &["1.2.3.4"], "::ffff:10.0.0.9", "10.0.0.9"),
            // With ports.
            ("10.0.0.1", &["1.2.3.4:56"], "10.0.0.1", "1.2.3.4"),
            ("10.0.0.1", &["[2001:db8::1]:56"], "10.0.0.1", "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "10.0.0.1", "2001:db8::1"),
            ("10.0.0.1", &["1.2.3.4:56:78"], "10.0.0.1", "10.0.0.1"),
            // What isn't text was written by the client, and hides nothing of what follows.
            ("10.0.0.1", &["grün, 1.2.3.4"], "10.0.0.1", "1.2.3.4"),
            ("10.0.0.1", &["grün"], "10.0.0.1", "10.0.0.1"),
        ];
        for (trusted, forwarded, peer, client) in table {
            let mut headers = HeaderMap::new();
            for line in forwarded {
                let line = HeaderValue::from_bytes(line.as_bytes()).expect("a value");
                headers.append("x-forwarded-for", line);
            }
            let found = client_address(address(peer), &headers, &[address(trusted)]);
            assert_eq!(found, address(client), "{forwarded:?} by {peer}");
        }
    }

    #[test]
    fn a_body_is_json_unless_it_is_said_to_be_something_else() {
        let table: [(Pairs, bool); 8] = [
            (&[], true),
            (&[("content-type", "application/json")], true),
            (&[("content-type", "Application/JSON; charset=utf-8")], true),
            (&[("content-type", "application/problem+json")], true),
            (&[("content-type", "application/x-www-form-urlencoded")], true),
            (&[("content-type", "application/xml")], false),
            (&[("content-type", "multipart/form-data; boundary=x")], false),
            (&[("content-type", "application/json"), ("content-encoding", "gzip")], false),
        ];
        for (pairs, is_json) in table {
            assert_eq!(is_json_kind(&headers(pairs)), is_json, "{pairs:?}");
        }
    }

    #[test]
    fn a_query_lists_every_bad_parameter() {
        let mut query = Query::of(&"/events?limit=0&after=x&q=run&other=1".parse().expect("a URI"));
        assert_eq!(query.limit(), LIMIT_DEFAULT);
        assert_eq!(query.after(), None);
        assert_eq!(query.search().as_deref(), Some("run"));
        let problem = query.finish().expect_err("two are bad");
        let fields: Vec<&str> = problem.errors.iter().map(|error| &*error.field).collect();
        assert_eq!(fields, ["limit", "after"]);
    }
}
