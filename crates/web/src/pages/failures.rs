//! Failures as pages, for whoever asks for pages: a browser that follows a link into nothing gets a
//! page in its reader's language, a program gets its problem.
//!
//! The status tells what the page says. Retry-After and the like stay as they are.
//!
//! Absent on purpose: whoever is signed in. These pages are there when the store isn't.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use askama::Template;
use axum::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use axum::response::Response;
use pin_project_lite::pin_project;
use tower::Service;

use super::texts::Texts;
use super::{Frame, POLICY, is_look};
use crate::problem::PROBLEM_JSON;

#[derive(Template)]
#[template(path = "failure.html")]
struct FailurePage {
    frame: Frame,
    title: String,
    words: String,
}

impl FailurePage {
    fn of(status: StatusCode, mut frame: Frame) -> Self {
        // Of somebody who would have to be signed in it is known that they aren't.
        frame.knows_who = status == StatusCode::UNAUTHORIZED;
        let texts = frame.texts;
        let [title, words] = match status {
            StatusCode::UNAUTHORIZED => ["failure-401", "failure-401-words"],
            StatusCode::FORBIDDEN => ["failure-403", "failure-403-words"],
            StatusCode::NOT_FOUND => ["failure-404", "failure-404-words"],
            StatusCode::GONE => ["failure-410", "failure-410-words"],
            StatusCode::TOO_MANY_REQUESTS => ["failure-429", "failure-429-words"],
            StatusCode::SERVICE_UNAVAILABLE => ["failure-503", "failure-503-words"],
            status if status.is_server_error() => ["failure-500", "failure-500-words"],
            _ => ["failure-400", "failure-400-words"],
        };
        Self { title: texts.say(title), words: texts.say(words), frame }
    }
}

/// Whether the client would rather have a page than JSON.
fn prefers_pages(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let (mut html, mut json) = (0.0, 0.0);
    for range in lines.flat_map(|line| line.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        // A client that takes anything hasn't asked for a page.
        match kind {
            "text/html" => html = weight,
            "application/json" | "application/problem+json" => json = f32::max(json, weight),
            _ => {}
        }
    }
    html > json
}

/// A service whose problems become pages for clients that prefer pages.
#[derive(Clone, Debug)]
pub(crate) struct FailurePages<S> {
    inner: S,
}

impl<S> FailurePages<S> {
    pub(crate) fn around(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, Body> Service<Request<Body>> for FailurePages<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = FailurePageFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let frame = prefers_pages(request.headers()).then(|| frame_of(&request));
        FailurePageFuture { inner: self.inner.call(request), frame }
    }
}

fn frame_of<Body>(request: &Request<Body>) -> Frame {
    // What was sent to a place where nothing is can't be looked at again.
    let path = request.uri().path_and_query().filter(|_| is_look(request.method()));
    Frame {
        texts: Texts::of_request(request.headers()),
        path: path.map_or("/", |path| path.as_str()).to_owned(),
        login: None,
        knows_who: false,
        is_admin: false,
        demo_users: &[],
    }
}

pin_project! {
    /// The answer, as a page if it is a problem and pages are preferred.
    pub(crate) struct FailurePageFuture<F> {
        #[pin]
        inner: F,
        // What stands around the page, if it is to be one.
        frame: Option<Frame>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for FailurePageFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Ok(response) = ready!(this.inner.poll(cx));
        let is_problem = response.headers().get(CONTENT_TYPE) == Some(&PROBLEM_JSON);
        Poll::Ready(Ok(match this.frame.take() {
            Some(frame) if is_problem => as_page(response, frame),
            _ => response,
        }))
    }
}

fn as_page(response: Response, frame: Frame) -> Response {
    let (mut parts, _) = response.into_parts();
    let page = FailurePage::of(parts.status, frame);
    let html = page.render().expect("writing to a String cannot fail");
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    parts.headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    Response::from_parts(parts, html.into())
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::response::IntoResponse as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::problem::{Problem, ProblemKind};

    #[test]
    fn a_page_is_for_those_who_ask_for_one() {
        let table = [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("text/html", true),
            ("*/*", false),
            ("", false),
            ("application/json", false),
            ("application/json, text/html;q=0.5", false),
            ("text/html, application/json;q=0.5", true),
            ("text/html;q=0", false),
        ];
        for (accept, is_page) in table {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(prefers_pages(&headers), is_page, "{accept}");
        }
        assert!(!prefers_pages(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn a_page_says_when_to_come_back() {
        let away = tower::service_fn(async |_: Request<Body>| {
            Ok::<_, Infallible>(Problem::from(ProblemKind::StoreUnavailable).into_response())
        });
        for (accept, kind) in [
            ("text/html", "text/html; charset=utf-8"),
            ("application/json", "application/problem+json"),
        ] {
            let request =
                Request::get("/user").header(ACCEPT, accept).header("cookie", "language=ru");
            let request = request.body(Body::empty()).expect("a request");
            let response = FailurePages::around(away).oneshot(request).await.expect("infallible");
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()["retry-after"], "1");
            assert_eq!(response.headers()[CONTENT_TYPE], kind);
            let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
            let body = String::from_utf8(body.into()).expect("text");
            assert_eq!(body.contains("Минутку"), kind.starts_with("text/html"), "{body}");
            assert!(!body.contains("/sign-in"), "who asks may well be signed in: {body}");
        }
    }
}
