//! Security headers on every answer.
//!
//! [`SecurityHeaders::apply`] is the one place that knows them. The edge calls it for everything
//! that leaves over a socket, its own refusals included. Applying twice changes nothing.
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

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

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

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(own: &[(HeaderName, &'static str)], headers: SecurityHeaders) -> HeaderMap {
        let mut map: HeaderMap = own
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect();
        headers.apply(&mut map);
        map
    }

    #[test]
    fn an_answer_without_any_gets_all() {
        let headers = applied(&[], SecurityHeaders::default());
        for (name, value) in ALWAYS {
            assert_eq!(headers[&name], value);
            assert_eq!(headers.get_all(&name).iter().count(), 1);
        }
        assert_eq!(headers[CONTENT_SECURITY_POLICY], POLICY);
        assert_eq!(headers[CACHE_CONTROL], "no-store");
        assert!(!headers.contains_key(STRICT_TRANSPORT_SECURITY));
    }

    #[test]
    fn a_handlers_own_policy_and_caching_win_and_nothing_else() {
        let own = [
            (CONTENT_SECURITY_POLICY, "default-src 'self'"),
            (CACHE_CONTROL, "max-age=60"),
            (X_FRAME_OPTIONS, "SAMEORIGIN"),
        ];
        let headers = applied(&own, SecurityHeaders::default());
        assert_eq!(headers[CONTENT_SECURITY_POLICY], "default-src 'self'");
        assert_eq!(headers[CACHE_CONTROL], "max-age=60");
        assert_eq!(headers[X_FRAME_OPTIONS], "DENY");
    }

    #[test]
    fn strict_transport_security_is_for_tls_only() {
        let headers = applied(&[], SecurityHeaders { tls_only: true });
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
