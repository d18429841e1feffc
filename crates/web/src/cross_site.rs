//! Refuses requests that a page of another site makes a browser send.
//!
//! A browser says where a request comes from: `Sec-Fetch-Site` on secure origins (and localhost),
//! `Origin` on everything but `GET` and `HEAD`. A request that changes something and comes from
//! elsewhere is refused; one that carries neither header does not come from a browser of the last
//! years and cannot be forged by a page. The session cookie's `SameSite=Lax` is the second lock.
//!
//! Invariants: every method but `GET`, `HEAD` and `OPTIONS` is judged, `TRACE` and unknown ones
//! included. What cannot be understood, or stands there twice, is refused.
//!
//! tower-http 0.7 has a layer of its own (`csrf`), equally strict on methods and values. It is not
//! used because its verdict is private, so that `GET /logout` could not ask the same question,
//! because it ignores all but the first of a repeated header, and because it compares default ports
//! byte for byte.
//!
//! Absent on purpose: tokens in forms, which would need state for what the browser already says;
//! and a defence against DNS rebinding, where the browser believes in the other name and sends no
//! cookie of ours.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::header::{HOST, ORIGIN, REFERER};
use axum::http::{HeaderMap, HeaderName, Method, Request};
use axum::response::{IntoResponse as _, Response};
use futures_util::future::Either;
use tower::{Layer, Service};

use crate::problem::{Problem, ProblemKind};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request counts as made by another site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrossSite {
    /// `Sec-Fetch-Site` says `same-site`, `cross-site`, or something that does not exist.
    FetchMetadata,
    /// `Origin` is neither this host nor the public origin; `null` is nobody's.
    Origin,
    /// `Referer` names another host (only asked by [`is_same_origin`]).
    Referer,
}

impl From<CrossSite> for Problem {
    fn from(why: CrossSite) -> Self {
        Self::new(
            ProblemKind::CrossSite,
            match why {
                CrossSite::FetchMetadata => {
                    "the header Sec-Fetch-Site says that another site sent this request"
                }
                CrossSite::Origin => "the header Origin does not name this site",
                CrossSite::Referer => "the header Referer does not name this site",
            },
        )
    }
}

/// Judges a request. `public_origin` is the origin that browsers see when a proxy changes the host,
/// such as `https://tickets.example`.
pub fn judge(
    method: &Method,
    headers: &HeaderMap,
    public_origin: Option<&str>,
) -> Result<(), CrossSite> {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => Ok(()),
        _ => judge_source(headers, public_origin).map(|_| ()),
    }
}

/// Whether a request comes from this site or from no site at all (typed in, or not a browser),
/// whatever its method. For a `GET` with an effect, such as `GET /logout`: old browsers send no
/// `Origin` with it, so `Referer` is asked too.
pub fn is_same_origin(headers: &HeaderMap, public_origin: Option<&str>) -> bool {
    match judge_source(headers, public_origin) {
        Ok(Source::Told) => true,
        Ok(Source::Unknown) => judge_referer(headers, public_origin).is_ok(),
        Err(_) => false,
    }
}

/// Whether the browser named the source, or there was nothing to judge by.
#[derive(Clone, Copy)]
enum Source {
    Told,
    Unknown,
}

fn judge_source(headers: &HeaderMap, public_origin: Option<&str>) -> Result<Source, CrossSite> {
    let mut source = Source::Unknown;
    for site in headers.get_all(SEC_FETCH_SITE) {
        if !matches!(site.as_bytes(), b"same-origin" | b"none") {
            return Err(CrossSite::FetchMetadata);
        }
        source = Source::Told;
    }
    if let Source::Told = source {
        // Its word is enough: behind a proxy that rewrites Host, Origin would not match.
        return Ok(source);
    }
    for origin in headers.get_all(ORIGIN) {
        let origin = origin.to_str().map_err(|_| CrossSite::Origin)?;
        if !names_this_site(origin, headers, public_origin) {
            return Err(CrossSite::Origin);
        }
        source = Source::Told;
    }
    Ok(source)
}

fn judge_referer(headers: &HeaderMap, public_origin: Option<&str>) -> Result<(), CrossSite> {
    for referer in headers.get_all(REFERER) {
        let referer = referer.to_str().map_err(|_| CrossSite::Referer)?;
        let (scheme, rest) = referer.split_once("://").ok_or(CrossSite::Referer)?;
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let origin = &referer[..scheme.len() + "://".len() + authority_end];
        if !names_this_site(origin, headers, public_origin) {
            return Err(CrossSite::Referer);
        }
    }
    Ok(())
}

fn names_this_site(origin: &str, headers: &HeaderMap, public_origin: Option<&str>) -> bool {
    let Some((scheme, authority)) = split_origin(origin) else {
        return false;
    };
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        _ => None,
    };
    if let Some((public_scheme, public_authority)) = public_origin.and_then(split_origin) {
        let is_public = |authority: &str| authority.eq_ignore_ascii_case(public_authority);
        let host_is_public =
            host.is_some_and(|host| is_public(without_default_port(host, public_scheme)));
        if is_public(authority) || host_is_public {
            // The same host without TLS is another site: whoever sits on the line writes its pages.
            return scheme == public_scheme && is_public(authority);
        }
    }
    // The scheme is not compared: behind a proxy that ends TLS this side does not know it.
    host.is_some_and(|host| without_default_port(host, scheme).eq_ignore_ascii_case(authority))
}

/// Scheme and authority of an `http` or `https` origin; the default port is left out. Anything
/// after the authority, and an authority with a user in it, make it no origin.
fn split_origin(origin: &str) -> Option<(Scheme, &str)> {
    let (scheme, authority) = if let Some(authority) = origin.strip_prefix("https://") {
        (Scheme::Https, authority)
    } else {
        (Scheme::Http, origin.strip_prefix("http://")?)
    };
    if authority.is_empty() || authority.contains(['/', '?', '#', '@', ',', ' ']) {
        return None;
    }
    Some((scheme, without_default_port(authority, scheme)))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

fn without_default_port(authority: &str, scheme: Scheme) -> &str {
    let port = match scheme {
        Scheme::Http => ":80",
        Scheme::Https => ":443",
    };
    authority.strip_suffix(port).unwrap_or(authority)
}

/// Answers cross-site requests with a 403 problem before they reach the service.
#[derive(Clone, Debug, Default)]
pub struct CrossSiteLayer {
    public_origin: Option<Arc<str>>,
}

impl CrossSiteLayer {
    /// With the origin that browsers see, if a proxy changes the host.
    pub fn new(public_origin: Option<&str>) -> Self {
        Self { public_origin: public_origin.map(Arc::from) }
    }
}

impl<S> Layer<S> for CrossSiteLayer {
    type Service = CrossSiteService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CrossSiteService { inner, public_origin: self.public_origin.clone() }
    }
}

/// The service that [`CrossSiteLayer`] makes.
#[derive(Clone, Debug)]
pub struct CrossSiteService<S> {
    inner: S,
    public_origin: Option<Arc<str>>,
}

impl<S, Body> Service<Request<Body>> for CrossSiteService<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match judge(request.method(), request.headers(), self.public_origin.as_deref()) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(why) => Either::Right(ready(Ok(Problem::from(why).into_response()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::{HeaderValue, StatusCode};
    use axum::routing::any;
    use tower::ServiceExt as _;

    use super::*;

    const PUBLIC: Option<&str> = Some("https://tickets.example");

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|&(name, value)| {
                let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
                (HeaderName::from_static(name), value)
            })
            .collect()
    }

    /// Headers, the public origin, and what is to be said about a request that changes something.
    type Row<'a> = (&'a [(&'static str, &'a str)], Option<&'a str>, Result<(), CrossSite>);

    fn assert_verdicts(table: &[Row<'_>]) {
        for (lines, public_origin, verdict) in table {
            let headers = headers(lines);
            for method in ["POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "BREW", "get"] {
                let method = Method::from_bytes(method.as_bytes()).expect("a method");
                assert_eq!(
                    judge(&method, &headers, *public_origin),
                    *verdict,
                    "{method} {lines:?}"
                );
            }
            for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
                assert_eq!(judge(&method, &headers, *public_origin), Ok(()), "{lines:?}");
            }
        }
    }

    #[test]
    fn requests_that_change_something() {
        use CrossSite::{FetchMetadata, Origin};
        let table: &[Row<'_>] = &[
            // No browser.
            (&[], None, Ok(())),
            (&[("host", "a.example")], None, Ok(())),
            // Fetch metadata decides when it is there.
            (&[("sec-fetch-site", "same-origin")], None, Ok(())),
            (&[("sec-fetch-site", "none")], None, Ok(())),
            (&[("sec-fetch-site", "same-site")], None, Err(FetchMetadata)),
            (&[("sec-fetch-site", "cross-site")], None, Err(FetchMetadata)),
            (&[("sec-fetch-site", "")], None, Err(FetchMetadata)),
            (&[("sec-fetch-site", "Same-Origin")], None, Err(FetchMetadata)),
            (
                &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
                None,
                Err(FetchMetadata),
            ),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "http://a.example"),
                    ("host", "a.example"),
                ],
                None,
                Err(FetchMetadata),
            ),
            (
                &[
                    ("sec-fetch-site", "same-origin"),
                    ("origin", "https://b.example"),
                    ("host", "a.example"),
                ],
                None,
                Ok(()),
            ),
            // Otherwise Origin must be this host.
            (&[("origin", "http://a.example"), ("host", "a.example")], None, Ok(())),
            (&[("origin", "https://a.example"), ("host", "a.example")], None, Ok(())),
            (&[("origin", "http://A.example"), ("host", "a.EXAMPLE")], None, Ok(())),
            (&[("origin", "http://a.example:8080"), ("host", "a.example:8080")], None, Ok(())),
            (&[("origin", "http://a.example"), ("host", "a.example:80")], None, Ok(())),
            (&[("origin", "https://a.example:443"), ("host", "a.example")], None, Ok(())),
            (&[("origin", "http://[::1]:8080"), ("host", "[::1]:8080")], None, Ok(())),
            (&[("origin", "http://a.example:8081"), ("host", "a.example:8080")], None, Err(Origin)),
            (&[("origin", "http://a.example"), ("host", "a.example:443")], None, Err(Origin)),
            (&[("origin", "http://b.example"), ("host", "a.example")], None, Err(Origin)),
            (&[("origin", "http://a.example.b.example"), ("host", "a.example")], None, Err(Origin)),
            (&[("origin", "http://b.example@a.example"), ("host", "a.example")], None, Err(Origin)),
            (&[("origin", "http://a.example/"), ("host", "a.example")], None, Err(Origin)),
            (&[("origin", "a.example"), ("host", "a.example")], None, Err(Origin)),
            (&[("origin", "file://a.example"), ("host", "a.example")], None, Err(Origin)),
            (&[("origin", "null"), ("host", "null")], None, Err(Origin)),
            (&[("origin", ""), ("host", "")], None, Err(Origin)),
            (&[("origin", "http://"), ("host", "")], None, Err(Origin)),
            (&[("origin", "http://ü"), ("host", "ü")], None, Err(Origin)),
            (&[("origin", "http://a.example")], None, Err(Origin)),
            (
                &[("origin", "http://a.example"), ("host", "a.example"), ("host", "b.example")],
                None,
                Err(Origin),
            ),
            (
                &[
                    ("origin", "http://a.example"),
                    ("origin", "http://b.example"),
                    ("host", "a.example"),
                ],
                None,
                Err(Origin),
            ),
        ];
        assert_verdicts(table);
    }

    /// Behind a proxy the public origin counts as well, with its scheme.
    #[test]
    fn requests_that_change_something_behind_a_proxy() {
        use CrossSite::Origin;
        let table: &[Row<'_>] = &[
            (&[("origin", "https://tickets.example"), ("host", "10.0.0.1:8080")], PUBLIC, Ok(())),
            (
                &[("origin", "https://tickets.example:443"), ("host", "10.0.0.1:8080")],
                PUBLIC,
                Ok(()),
            ),
            (
                &[("origin", "http://tickets.example"), ("host", "10.0.0.1:8080")],
                PUBLIC,
                Err(Origin),
            ),
            (
                &[("origin", "https://other.example"), ("host", "10.0.0.1:8080")],
                PUBLIC,
                Err(Origin),
            ),
            (&[("origin", "null"), ("host", "10.0.0.1:8080")], PUBLIC, Err(Origin)),
            // Its scheme counts also if the proxy keeps the host.
            (&[("origin", "https://tickets.example"), ("host", "tickets.example")], PUBLIC, Ok(())),
            (
                &[("origin", "https://tickets.example"), ("host", "tickets.example:443")],
                PUBLIC,
                Ok(()),
            ),
            (
                &[("origin", "http://tickets.example"), ("host", "tickets.example")],
                PUBLIC,
                Err(Origin),
            ),
            (
                &[("origin", "http://tickets.example"), ("host", "tickets.example:80")],
                PUBLIC,
                Err(Origin),
            ),
            (
                &[("origin", "http://tickets.example:443"), ("host", "tickets.example:443")],
                PUBLIC,
                Err(Origin),
            ),
            (&[("origin", "http://10.0.0.1:8080"), ("host", "10.0.0.1:8080")], PUBLIC, Ok(())),
        ];
        assert_verdicts(table);
    }

    #[test]
    fn a_get_with_an_effect() {
        let table: &[(&[(&'static str, &str)], bool)] = &[
            (&[("host", "a.example")], true),
            (&[("host", "a.example"), ("sec-fetch-site", "same-origin")], true),
            (&[("host", "a.example"), ("sec-fetch-site", "none")], true),
            (&[("host", "a.example"), ("sec-fetch-site", "cross-site")], false),
            (&[("host", "a.example"), ("sec-fetch-site", "same-site")], false),
            (&[("host", "a.example"), ("referer", "http://a.example/user?x=1")], true),
            (&[("host", "a.example"), ("referer", "http://a.example")], true),
            (&[("host", "a.example"), ("referer", "http://b.example/a.example")], false),
            (&[("host", "a.example"), ("referer", "http://b.example?http://a.example")], false),
            (&[("host", "a.example"), ("referer", "about:blank")], false),
            (&[("host", "a.example"), ("origin", "http://b.example")], false),
            (&[("host", "10.0.0.1"), ("referer", "https://tickets.example/user")], true),
        ];
        for (lines, same_origin) in table {
            assert_eq!(is_same_origin(&headers(lines), PUBLIC), *same_origin, "{lines:?}");
        }
    }

    #[tokio::test]
    async fn the_layer_refuses_with_a_problem() {
        let app = CrossSiteLayer::new(PUBLIC).layer(Router::new().route("/", any(async || "fine")));
        for (origin, status) in [
            ("https://tickets.example", StatusCode::OK),
            ("https://b.example", StatusCode::FORBIDDEN),
        ] {
            let request = Request::post("/").header(ORIGIN, origin).body(Body::empty());
            let response =
                app.clone().oneshot(request.expect("a request")).await.expect("infallible");
            assert_eq!(response.status(), status);
        }
    }
}
