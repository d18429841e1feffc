//! The pages that the `type` URIs lead to: one for each kind, and an index of them.
//!
//! They load nothing and run nothing. Their one style sheet stands in the page, and their own
//! content security policy allows it by its hash, which a test recomputes. Absent on purpose:
//! templates. Two small pages do not need an engine.

use std::fmt::Write as _;

use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use super::{Problem, ProblemKind};

const STYLE: &str = "body{font:1.05rem/1.6 system-ui,sans-serif;max-width:42rem;\
     margin:3rem auto;padding:0 1rem;color-scheme:light dark}code{font-size:.95em}";

/// Allows [`STYLE`] by its SHA-256 and nothing else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'sha256-6afVTTQQcadoXVfD7peLWiDkx/68zl8k3TPbfVNSiJ8='; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);

/// The pages change with a new version of the program only.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// `GET /problems` and `GET /problems/{slug}`.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/problems", get(async || dressed(index()))).route(
        "/problems/{slug}",
        // A path that isn't UTF-8 names no kind; axum's own refusal would be no problem.
        get(async |slug: Result<Path<String>, PathRejection>| {
            match slug.ok().and_then(|Path(slug)| page(&slug)) {
                Some(page) => dressed(page),
                None => Problem::new(ProblemKind::NotFound, "there is no such kind of problem")
                    .into_response(),
            }
        }),
    )
}

fn dressed(page: Html<String>) -> Response {
    let headers = [(CONTENT_SECURITY_POLICY, POLICY), (CACHE_CONTROL, CACHED)];
    (headers, page).into_response()
}

/// The page that explains one kind.
pub fn page(slug: &str) -> Option<Html<String>> {
    let kind = ProblemKind::from_slug(slug)?;
    let mut body = format!(
        "<h1>{}</h1>\n<p>Status <code>{}</code>, type <code>/problems/{}</code></p>\n",
        kind.title(),
        kind.status().as_str(),
        kind.slug()
    );
    for paragraph in kind.explanation() {
        push(&mut body, format_args!("<p>{paragraph}</p>\n"));
    }
    body.push_str("<p><a href=\"/problems\">All problems</a></p>\n");
    Some(document(kind.title(), &body))
}

/// The list of all kinds.
pub fn index() -> Html<String> {
    let mut body = String::from("<h1>Problems</h1>\n<ul>\n");
    for kind in ProblemKind::ALL {
        push(
            &mut body,
            format_args!(
                "<li><a href=\"/problems/{}\">{}</a> (<code>{}</code>)</li>\n",
                kind.slug(),
                kind.title(),
                kind.status().as_str()
            ),
        );
    }
    body.push_str("</ul>\n");
    document("Problems", &body)
}

fn document(title: &str, body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title} - EventBooker</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    ))
}

fn push(into: &mut String, text: std::fmt::Arguments<'_>) {
    into.write_fmt(text).expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use sha2::{Digest as _, Sha256};
    use tower::ServiceExt as _;

    use super::*;

    /// Base64 of a whole number of 3-byte groups plus the 2 bytes that 32 leave over.
    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for group in bytes.chunks(3) {
            let bits = group
                .iter()
                .chain(&[0, 0])
                .take(3)
                .fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
            for digit in 0..=group.len() {
                text.push(char::from(DIGITS[bits >> (18 - 6 * digit) & 63]));
            }
            text.push_str(&"=".repeat(3 - group.len()));
        }
        text
    }

    #[test]
    fn the_policy_allows_the_style_sheet() {
        let hash = base64(&Sha256::digest(STYLE));
        let policy = POLICY;
        assert!(
            policy.to_str().expect("ASCII").contains(&format!("'sha256-{hash}'")),
            "the hash is {hash}"
        );
    }

    #[test]
    fn every_kind_has_a_page_and_the_index_links_to_it() {
        let Html(index) = index();
        for kind in ProblemKind::ALL {
            let Html(page) = page(kind.slug()).expect("a page");
            assert!(page.contains(kind.title()));
            assert!(index.contains(&format!("/problems/{}\"", kind.slug())));
        }
        assert!(page("nothing").is_none());
    }

    #[tokio::test]
    async fn pages_are_served_and_an_unknown_slug_is_a_problem_itself() {
        for (path, status) in [
            ("/problems", StatusCode::OK),
            ("/problems/sold-out", StatusCode::OK),
            ("/problems/nothing", StatusCode::NOT_FOUND),
        ] {
            let request = Request::get(path).body(Body::empty()).expect("a request");
            let response = routes::<()>().oneshot(request).await.expect("infallible");
            assert_eq!(response.status(), status, "{path}");
        }
    }
}
