//! Takes spans as a collector does.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use eventbooker_testkit::clock::PATIENCE;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use prost::Message as _;

/// A span, with ids as they are written.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) parent_id: String,
    pub(crate) state: String,
    pub(crate) name: String,
    pub(crate) is_server: bool,
    /// The name and the version of whoever recorded it.
    pub(crate) service: [Value; 2],
    attributes: Vec<KeyValue>,
}

impl Recorded {
    fn of(span: Span, service: [Value; 2]) -> Self {
        let hex = |bytes: &[u8]| {
            let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            digits.concat()
        };
        Self {
            trace_id: hex(&span.trace_id),
            span_id: hex(&span.span_id),
            parent_id: hex(&span.parent_span_id),
            is_server: span.kind() == SpanKind::Server,
            state: span.trace_state,
            name: span.name,
            service,
            attributes: span.attributes,
        }
    }

    pub(crate) fn attribute(&self, key: &str) -> Value {
        attribute(&self.attributes, key)
    }
}

fn attribute(attributes: &[KeyValue], key: &str) -> Value {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    let value = found.and_then(|found| found.value.clone()?.value);
    value.unwrap_or_else(|| panic!("no {key} in {attributes:?}"))
}

/// A collector on loopback. Its thread ends with the test.
pub(crate) struct Collector {
    url: String,
    taken: Arc<Taken>,
}

#[derive(Default)]
struct Taken {
    requests: Mutex<Vec<ExportTraceServiceRequest>>,
    asked: Condvar,
}

impl Collector {
    pub(crate) fn start() -> Self {
        Self::that_answers(Some("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    }

    pub(crate) fn that_says_nothing() -> Self {
        Self::that_answers(None)
    }

    fn that_answers(answer: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let url = format!("http://{}", listener.local_addr().expect("it listens"));
        let taken = Arc::<Taken>::default();
        let takes = Arc::clone(&taken);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let takes = Arc::clone(&takes);
                thread::spawn(move || takes.serve(stream, answer));
            }
        });
        Self { url, taken }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Waits until somebody has sent something.
    pub(crate) fn until_asked(&self) {
        let requests = self.taken.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let nobody = |requests: &mut Vec<_>| requests.is_empty();
        let waited = self.taken.asked.wait_timeout_while(requests, PATIENCE, nobody);
        assert!(!waited.expect("no poison").1.timed_out(), "nobody sends spans");
    }

    /// What was sent so far.
    pub(crate) fn spans(&self) -> Vec<Recorded> {
        let requests = self.taken.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let resources = requests.into_iter().flat_map(|request| request.resource_spans);
        resources.flat_map(recorded).collect()
    }
}

fn recorded(spans: ResourceSpans) -> Vec<Recorded> {
    let attributes = spans.resource.map(|resource| resource.attributes).unwrap_or_default();
    let service = ["service.name", "service.version"].map(|key| attribute(&attributes, key));
    let spans = spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
    spans.map(|span| Recorded::of(span, service.clone())).collect()
}

impl Taken {
    fn serve(&self, stream: TcpStream, answer: Option<&str>) {
        let mut writer = stream.try_clone().expect("another handle");
        let mut reader = BufReader::new(stream);
        while let Some(request) = read(&mut reader) {
            self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            self.asked.notify_all();
            if let Some(answer) = answer {
                writer.write_all(answer.as_bytes()).expect("whoever asks listens");
            }
        }
    }
}

/// The next request; `None` if nobody sends any more.
fn read(reader: &mut BufReader<TcpStream>) -> Option<ExportTraceServiceRequest> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_ascii_lowercase()),
        }
    }
    assert_eq!(head[0], "post /v1/traces http/1.1");
    assert!(head.contains(&"content-type: application/x-protobuf".to_owned()), "{head:?}");
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.expect("its length").parse().expect("a number");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(ExportTraceServiceRequest::decode(&*body).expect("spans"))
}
