//! The courier between the store's spans and collectors: one that works, one that is away, one that never answers.

use std::net::SocketAddr;

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use hyper::{Request, Response};
use opentelemetry_http::HttpError;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::clock::SystemClock;
use crate::config::{Config, Overrides};
use crate::media::{Span, WallTime};
use crate::telemetry::Metrics;
use crate::telemetry::trace::{Moment, SegmentTrace, Way};

fn endpoint(address: SocketAddr) -> OtlpEndpoint {
    let variable = ("MILLSTREAM_TELEMETRY__OTLP_ENDPOINT".to_owned(), format!("http://{address}"));
    let config = Config::parse(&Overrides::default(), [variable], None).expect("valid");
    config.telemetry.otlp_endpoint.expect("it was given")
}

fn start(address: SocketAddr) -> Tracing {
    Tracing::start(Some(&endpoint(address)), SystemClock::shared()).expect("the variables ask for nothing")
}

/// A segment with six stages: seven spans.
fn segment(msn: u64) -> SegmentTrace<'static> {
    let [first, last, packaged, journalled, upload_began, uploaded, stored] =
        [1, 2, 3, 4, 5, 6, 7].map(Duration::from_secs);
    SegmentTrace {
        stream: "s",
        session: "b",
        rung: "720p",
        copied: false,
        msn,
        bytes: 1,
        duration: Span::from_secs(2),
        attempts: 1,
        way: Way { first, last, packaged, journalled, upload_began, uploaded, stored },
    }
}

const SPANS: usize = 7;

fn store(tracing: &Tracing, segments: u64) {
    let now = Moment { monotonic: Duration::from_secs(8), wall: WallTime::from_unix_millis(1_700_000_000_000) };
    (0..segments).for_each(|msn| tracing.traces.segment(&segment(msn), now));
}

/// `millstream_trace_spans_total` by outcome.
fn outcomes(metrics: &Metrics) -> Vec<String> {
    let text = metrics.render();
    let lines = text.lines().filter_map(|line| line.strip_prefix("millstream_trace_spans_total"));
    let mut lines: Vec<_> = lines.map(str::to_owned).collect();
    lines.sort();
    lines
}

type Requests = mpsc::UnboundedReceiver<(HeaderMap, ExportTraceServiceRequest)>;

/// A collector that answers its first requests with these, and then takes all.
async fn collector(mut refusals: Vec<StatusCode>) -> (SocketAddr, Requests) {
    type Answers = (mpsc::UnboundedSender<(HeaderMap, ExportTraceServiceRequest)>, mpsc::UnboundedReceiver<StatusCode>);
    async fn take(
        State(shared): State<std::sync::Arc<tokio::sync::Mutex<Answers>>>,
        headers: HeaderMap,
        body: Bytes,
    ) -> StatusCode {
        let mut shared = shared.lock().await;
        let request = ExportTraceServiceRequest::decode(body).expect("a request of OTLP");
        shared.0.send((headers, request)).expect("the test waits");
        shared.1.try_recv().unwrap_or(StatusCode::OK)
    }
    let (requests, taken) = mpsc::unbounded_channel();
    let (answers, answered) = mpsc::unbounded_channel();
    refusals.drain(..).for_each(|status| answers.send(status).expect("it is held"));
    let shared = std::sync::Arc::new(tokio::sync::Mutex::new((requests, answered)));
    let router = Router::new().route("/v1/traces", post(take)).with_state(shared);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, taken)
}

/// Spans of a request.
fn count(request: &ExportTraceServiceRequest) -> usize {
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.map(|scope| scope.spans.len()).sum()
}

#[tokio::test]
async fn what_waits_reaches_the_collector_in_batches_before_the_end() {
    let (metrics, recorder) = Metrics::detached().expect("the settings are ours");
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let (address, mut requests) = collector(Vec::new()).await;
    let tracing = start(address);
    store(&tracing, 100);
    tracing.close().await;
    let mut sizes = Vec::new();
    while let Ok((headers, request)) = requests.try_recv() {
        assert_eq!(headers["content-type"], "application/x-protobuf");
        assert_eq!(headers["host"], address.to_string());
        sizes.push(count(&request));
    }
    assert_eq!(sizes, [MAX_BATCH, 100 * SPANS - MAX_BATCH]);
    assert_eq!(outcomes(&metrics), ["{outcome=\"sent\"} 700"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_refused_is_sent_again_and_given_up_in_the_end() {
    let (metrics, recorder) = Metrics::detached().expect("the settings are ours");
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let attempts = PAUSES.len() + 1;
    // All attempts of the first batch, and the first one of the second.
    let (address, mut requests) = collector(vec![StatusCode::SERVICE_UNAVAILABLE; attempts + 1]).await;
    let tracing = start(address);
    store(&tracing, 1);
    for _ in 0..attempts {
        requests.recv().await.expect("an attempt");
    }
    store(&tracing, 2);
    let mut sizes = Vec::new();
    for _ in 0..2 {
        sizes.push(count(&requests.recv().await.expect("an attempt").1));
    }
    tracing.close().await;
    assert_eq!(sizes, [2 * SPANS, 2 * SPANS]);
    assert_eq!(outcomes(&metrics), ["{outcome=\"failed\"} 7", "{outcome=\"sent\"} 14"]);
}

#[tokio::test]
async fn nobody_waits_for_a_collector_that_is_away() {
    let (metrics, recorder) = Metrics::detached().expect("the settings are ours");
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("it is bound");
    let tracing = start(closed);
    store(&tracing, 1_000);
    tracing.close().await;
    let dropped = 1_000 * SPANS - MAX_WAITING;
    let expected = [format!("{{outcome=\"dropped\"}} {dropped}"), format!("{{outcome=\"failed\"}} {MAX_WAITING}")];
    assert_eq!(outcomes(&metrics), expected);
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_longer_than_its_deadline_for_a_collector_that_never_answers() {
    let (metrics, recorder) = Metrics::detached().expect("the settings are ours");
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let tracing = start(silent.local_addr().expect("it is bound"));
    store(&tracing, 1);
    let (_connection, _) = silent.accept().await.expect("a request");
    store(&tracing, 1);
    let stopping = tokio::time::Instant::now();
    tracing.close().await;
    // Tokio's timers count whole milliseconds.
    assert!(stopping.elapsed() <= FLUSH_DEADLINE + Duration::from_millis(1), "{:?}", stopping.elapsed());
    assert_eq!(outcomes(&metrics), ["{outcome=\"failed\"} 14"]);
}

/// A client with a fault of ours at its first request.
#[derive(Debug)]
struct Faulty {
    client: Client,
    has_panicked: AtomicBool,
}

impl HttpClient for Faulty {
    fn send_bytes<'a, 'r>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'r>>
    where
        'a: 'r,
        Self: 'r,
    {
        assert!(self.has_panicked.swap(true, Ordering::SeqCst), "a broken assumption");
        self.client.send_bytes(request)
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_a_batch_and_the_next_one_is_sent() {
    let (metrics, recorder) = Metrics::detached().expect("the settings are ours");
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let (address, mut requests) = collector(Vec::new()).await;
    let client = Faulty { client: Client::new(SystemClock::shared()), has_panicked: AtomicBool::new(false) };
    let tracing = Tracing::start_with(&endpoint(address), client, SystemClock::shared());
    let tracing = tracing.expect("the variables ask for nothing");
    store(&tracing, MAX_BATCH as u64 / SPANS as u64 + 1);
    let (_, request) = requests.recv().await.expect("what the panic has left");
    let left = (MAX_BATCH / SPANS + 1) * SPANS - MAX_BATCH;
    assert_eq!(count(&request), left);
    tracing.close().await;
    assert_eq!(
        outcomes(&metrics),
        [format!("{{outcome=\"failed\"}} {MAX_BATCH}"), format!("{{outcome=\"sent\"}} {left}")]
    );
    assert!(metrics.render().contains("millstream_stage_panics_total{stage=\"traces\"} 1\n"));
}

#[tokio::test]
async fn without_an_endpoint_there_is_nothing() {
    let tracing = Tracing::start(None, SystemClock::shared()).expect("nothing to do");
    assert!(!tracing.traces.is_on() && tracing.task.is_empty());
    tracing.close().await;
}

#[test]
fn a_line_of_the_log_stands_for_many_losses() {
    use crate::telemetry::logging::testing::Captured;
    let captured = Captured::default();
    captured.during(|| {
        let mut losses = Losses::default();
        losses.tell(0, Duration::ZERO);
        losses.failed(7);
        losses.tell(3, Duration::from_secs(1));
        losses.tell(30, Duration::from_secs(2));
        losses.tell(50, Duration::from_secs(12));
    });
    let line = |spans| format!("WARN spans of traces are lost: the collector is away or too slow spans={spans}");
    assert_eq!(captured.messages(module_path!()), [line(10), line(47)]);
}
