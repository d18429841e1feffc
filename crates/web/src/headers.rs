//! Security headers on every answer.
//!
//! [`SecurityHeaders::apply`] is the one place that knows them. The edge calls it for everything
//! that leaves over a socket, its own refusals included; [`SecurityHeadersLayer`] does the same for
//! an application that is called without a socket. Applying twice changes nothing.
//!
//! Invariants: a handler's own `Content-Security-Policy` and `Cache-Control` win (pages and the
//! docs need theirs), the others are always set. All values are static: nothing is formatted or
//! allocated for a request.
//!
//! `Referrer-Policy` is `same-origin` and not `no-referrer`: under `no-referrer` browsers send
//! `Origin: null` with a form that our own page posts, which [`crate::cross_site`] has to refuse
//! where Fetch metadata is missing (plain HTTP to another host). Like `no-referrer`, it tells other
//! sites nothing.
//!
//! Absent on purpose: `X-XSS-Protection` (harmful in the browsers that read it) and CORS headers
//! (no other site may read answers).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

/// An answer of the API loads nothing, is never framed and posts nowhere else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
);

const ALWAYS: [(HeaderName, HeaderValue); 6] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=()"),
    ),
];

/// Which security headers to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecurityHeaders {
    /// Whether the service is reached over TLS only. Then browsers are told to never use anything
    /// else for a year; without TLS that would lock them out, so the default is off.
    pub tls_only: bool,
}

impl SecurityHeaders {
    /// Sets them on an answer's headers.
    pub fn apply(self, headers: &mut HeaderMap) {
        headers.reserve(ALWAYS.len() + 3);
        for (name, value) in ALWAYS {
            headers.insert(name, value);
        }
        headers.entry(CONTENT_SECURITY_POLICY).or_insert(POLICY);
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        if self.tls_only {
            headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
        }
    }
}

/// Applies [`SecurityHeaders`] to every answer of a service.
#[derive(Clone, Copy, Debug, Default)]
pub struct SecurityHeadersLayer(pub SecurityHeaders);

impl<S> Layer<S> for SecurityHeadersLayer {
    type Service = SecurityHeadersService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SecurityHeadersService { inner, headers: self.0 }
    }
}

/// The service that [`SecurityHeadersLayer`] makes.
#[derive(Clone, Debug)]
pub struct SecurityHeadersService<S> {
    inner: S,
    headers: SecurityHeaders,
}

impl<S, Request, Body> Service<Request> for SecurityHeadersService<S>
where
    S: Service<Request, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = SecurityHeadersFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        SecurityHeadersFuture { inner: self.inner.call(request), headers: self.headers }
    }
}

pin_project! {
    /// The future of [`SecurityHeadersService`].
    #[derive(Debug)]
    pub struct SecurityHeadersFuture<F> {
        #[pin]
        inner: F,
        headers: SecurityHeaders,
    }
}

impl<F, Body, Error> Future for SecurityHeadersFuture<F>
where
    F: Future<Output = Result<Response<Body>, Error>>,
{
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        this.headers.apply(response.headers_mut());
        Poll::Ready(Ok(response))
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;
    use crate::problem::{Problem, ProblemKind};

    async fn headers_of(path: &str, headers: SecurityHeaders) -> (StatusCode, HeaderMap) {
        let app = Router::new()
            .route("/plain", get(async || "fine"))
            .route(
                "/own",
                get(async || {
                    let own = [
                        (CONTENT_SECURITY_POLICY, "default-src 'self'"),
                        (CACHE_CONTROL, "max-age=60"),
                        (X_FRAME_OPTIONS, "SAMEORIGIN"),
                    ];
                    (own, "fine")
                }),
            )
            .route("/problem", get(async || Problem::from(ProblemKind::BodyTooLarge)));
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let app = SecurityHeadersLayer(headers).layer(app);
        let response = app.oneshot(request).await.expect("infallible");
        (response.status(), response.headers().clone())
    }

    #[tokio::test]
    async fn every_answer_carries_them_whatever_its_status() {
        for (path, status) in [("/plain", 200), ("/nowhere", 404), ("/problem", 413)] {
            let (got, headers) = headers_of(path, SecurityHeaders::default()).await;
            assert_eq!(got.as_u16(), status);
            for (name, value) in ALWAYS {
                assert_eq!(headers[&name], value, "{path}");
                assert_eq!(headers.get_all(&name).iter().count(), 1);
            }
            assert_eq!(headers[CONTENT_SECURITY_POLICY], POLICY);
            assert_eq!(headers[CACHE_CONTROL], "no-store");
            assert!(!headers.contains_key(STRICT_TRANSPORT_SECURITY));
        }
    }

    #[tokio::test]
    async fn a_handlers_own_policy_and_caching_win_and_nothing_else() {
        let (_, headers) = headers_of("/own", SecurityHeaders::default()).await;
        assert_eq!(headers[CONTENT_SECURITY_POLICY], "default-src 'self'");
        assert_eq!(headers[CACHE_CONTROL], "max-age=60");
        assert_eq!(headers[X_FRAME_OPTIONS], "DENY");
    }

    #[tokio::test]
    async fn strict_transport_security_is_for_tls_only() {
        let (_, headers) = headers_of("/plain", SecurityHeaders { tls_only: true }).await;
        assert_eq!(headers[STRICT_TRANSPORT_SECURITY], "max-age=31536000");
    }

    #[test]
    fn applying_twice_changes_nothing() {
        let mut headers = HeaderMap::new();
        SecurityHeaders::default().apply(&mut headers);
        let once = headers.clone();
        SecurityHeaders::default().apply(&mut headers);
        assert_eq!(headers, once);
    }
}
