//! Spans, sent to a collector by OTLP over HTTP.
//!
//! They wait in a queue of bounded length; what finds no place there is left out, and a request never
//! waits. A thread of the SDK takes them out and sends them.
//!
//! What the [specification](https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/)
//! lets an operator say in variables, such as `OTEL_TRACES_SAMPLER` and `OTEL_BSP_MAX_QUEUE_SIZE`, the
//! SDK reads by itself.
//!
//! Absent on purpose: TLS. A collector's agent stands beside the service, and sends them on.

use std::iter;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use eventbooker_core::{Context, Contexts};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{self as sdk, SdkTracer, SdkTracerProvider, SpanData};
use tokio::runtime::Handle;

/// How long sending a few hundred spans may take.
const SENT_WITHIN: Duration = Duration::from_secs(5);
/// How long the process waits for the last of them when it ends.
const FLUSHED_WITHIN: Duration = Duration::from_secs(2);
/// A collector that can't be reached is told of this often.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// A collector's answer is short.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where spans are recorded, and sent from.
pub(crate) struct Spans {
    provider: SdkTracerProvider,
}

impl Spans {
    /// Those of these services, sent to a collector such as `http://127.0.0.1:4318`. Must be called
    /// within a Tokio runtime, on which they are sent.
    pub(crate) fn sent_to(collector: &str, services: Contexts) -> Result<Self, String> {
        let http = Client::builder(TokioExecutor::new()).build_http();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector { http, runtime: Handle::current() })
            .with_endpoint(format!("{}/v1/traces", collector.trim_end_matches('/')))
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(SENT_WITHIN)
            .build()
            .map_err(|error| format!("otlp_endpoint: {error}"))?;
        let service = Resource::builder()
            .with_service_name(name(services))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(Told { exporter, losses: Mutex::default() })
            .with_resource(service)
            .build();
        Ok(Self { provider })
    }

    /// Whoever makes them.
    pub(crate) fn tracer(&self) -> SdkTracer {
        self.provider.tracer(env!("CARGO_PKG_NAME"))
    }

    /// Sends what there is left. From here on none is made.
    pub(crate) async fn end(self) {
        let ended = tokio::task::spawn_blocking(move || {
            self.provider.shutdown_with_timeout(FLUSHED_WITHIN)
        });
        // That they could not be sent has been told.
        if let Ok(Err(error)) = ended.await {
            tracing::debug!(%error, "not all spans were sent");
        }
    }
}

/// What services are called in spans: those that run apart are told apart.
fn name(services: Contexts) -> String {
    let parts = services.iter().filter(|_| services != Contexts::ALL).map(Context::name);
    iter::once(env!("CARGO_PKG_NAME")).chain(parts).collect::<Vec<_>>().join("-")
}

/// The collector. The SDK's thread waits for it while the runtime of the program talks to it.
#[derive(Debug)]
struct Collector {
    http: Client<HttpConnector, Full<Bytes>>,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answering = self.http.request(request.map(Full::new));
        let answer = async {
            let (parts, body) = answering.await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
            Ok(Response::from_parts(parts, body))
        };
        self.runtime.spawn(async { tokio::time::timeout(SENT_WITHIN, answer).await? }).await?
    }
}

/// Says now and then that spans can't be sent.
#[derive(Debug)]
struct Told {
    exporter: SpanExporter,
    losses: Mutex<Losses>,
}

/// Spans that were lost since it was told.
#[derive(Debug, Default)]
struct Losses {
    spans: usize,
    told_at: Option<Instant>,
}

impl Losses {
    /// Adds to them. Returns how many are to be told now.
    fn add(&mut self, spans: usize, now: Instant) -> Option<usize> {
        self.spans += spans;
        if self.told_at.is_some_and(|told_at| now < told_at + TOLD_EVERY) {
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.spans))
    }
}

impl sdk::SpanExporter for Told {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let sent = self.exporter.export(batch).await;
        if let Err(error) = &sent {
            let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(spans) = losses.add(count, Instant::now()) {
                tracing::warn!(%error, spans, "spans are lost: the collector doesn't take them");
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_that_run_apart_have_names_of_their_own() {
        let few = "events,book".parse().expect("services");
        assert_eq!([Contexts::ALL, few].map(name), ["eventbooker", "eventbooker-events-book"]);
    }

    #[test]
    fn losses_are_told_now_and_then() {
        let (mut losses, begun) = (Losses::default(), Instant::now());
        assert_eq!(losses.add(3, begun), Some(3));
        assert_eq!(losses.add(4, begun + TOLD_EVERY / 2), None);
        assert_eq!(losses.add(5, begun + TOLD_EVERY), Some(9));
        assert_eq!(losses.add(1, begun + TOLD_EVERY), None);
    }
}
