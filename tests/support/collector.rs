//! A collector of OpenTelemetry traces, as a daemon sees one: OTLP over HTTP in protobuf, read by OpenTelemetry's own messages.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span as Message;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// A span as it was told.
#[derive(Clone, Debug)]
pub struct Span {
    /// Name.
    pub name: String,
    /// Its trace.
    pub trace: Vec<u8>,
    /// Its own id.
    pub id: Vec<u8>,
    /// The span that it is a part of; empty for the first of a trace.
    pub parent: Vec<u8>,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// The same.
    pub end: u64,
    /// What is told of it, numbers and truth values as text.
    pub attributes: BTreeMap<String, String>,
}

/// Spans that came, and what was told of who sent them.
#[derive(Debug, Default)]
struct Taken {
    spans: Vec<Span>,
    resources: Vec<BTreeMap<String, String>>,
}

type Shared = Arc<Mutex<Taken>>;

/// A collector that keeps what it is sent. It ends when it is dropped.
pub struct Collector {
    address: SocketAddr,
    taken: Shared,
    _runtime: Runtime,
}

impl Collector {
    /// Listens on a port of the system's choice.
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let taken = Shared::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(taken.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Collector { address, taken, _runtime: runtime }
    }

    /// What the daemon is told to send to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans so far, in the order in which they came.
    pub fn spans(&self) -> Vec<Span> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).spans.clone()
    }

    /// What was told of the sender, once per request.
    pub fn resources(&self) -> Vec<BTreeMap<String, String>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).resources.clone()
    }
}

async fn take(State(taken): State<Shared>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).expect("a request of OTLP");
    let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
    for of in request.resource_spans {
        taken.resources.push(attributes(of.resource.map(|resource| resource.attributes).unwrap_or_default()));
        taken.spans.extend(of.scope_spans.into_iter().flat_map(|scope| scope.spans).map(span));
    }
}

fn span(message: Message) -> Span {
    Span {
        name: message.name,
        trace: message.trace_id,
        id: message.span_id,
        parent: message.parent_span_id,
        start: message.start_time_unix_nano,
        end: message.end_time_unix_nano,
        attributes: attributes(message.attributes),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => panic!("a value that no test asks for: {other:?}"),
    };
    pairs.into_iter().map(|pair| (pair.key, text(pair.value.and_then(|value| value.value)))).collect()
}
