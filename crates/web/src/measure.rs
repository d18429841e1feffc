//! Counts answers by the class of their status.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::Response;
use metrics::Counter;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

/// Counts the answers of a service. The handles are resolved once, when the layer is made.
#[derive(Clone)]
pub(crate) struct MeasureLayer {
    by_class: [Counter; 5],
}

impl MeasureLayer {
    pub(crate) fn new() -> Self {
        metrics::describe_counter!(
            "eventbooker_http_responses_total",
            "Answers of the application, by the class of their status"
        );
        let counter =
            |class| metrics::counter!("eventbooker_http_responses_total", "status" => class);
        Self { by_class: ["1xx", "2xx", "3xx", "4xx", "5xx"].map(counter) }
    }
}

impl<S> Layer<S> for MeasureLayer {
    type Service = Measure<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Measure { inner, by_class: self.by_class.clone() }
    }
}

/// The service that [`MeasureLayer`] makes.
#[derive(Clone)]
pub(crate) struct Measure<S> {
    inner: S,
    by_class: [Counter; 5],
}

impl<S, Q, B> Service<Q> for Measure<S>
where
    S: Service<Q, Response = Response<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = MeasureFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        MeasureFuture { inner: self.inner.call(request), by_class: self.by_class.clone() }
    }
}

pin_project! {
    pub(crate) struct MeasureFuture<F> {
        #[pin]
        inner: F,
        by_class: [Counter; 5],
    }
}

impl<F, B, E> Future for MeasureFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let outcome = ready!(this.inner.poll(cx));
        if let Ok(response) = &outcome {
            let class = usize::from(response.status().as_u16() / 100).clamp(1, 5) - 1;
            this.by_class[class].increment(1);
        }
        Poll::Ready(outcome)
    }
}
