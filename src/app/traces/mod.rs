//! Traces of segments on their way to a collector.
//!
//! The store ends spans, which go into a bounded line; one task takes them out in batches and posts them. A line that is full
//! drops what comes, so a collector that is away or slow costs some memory and a log line, and holds up nothing: neither a
//! session nor, beyond [`FLUSH_DEADLINE`], the daemon's stop.

mod client;

use std::time::Duration;

use opentelemetry_http::HttpClient;
use opentelemetry_otlp::{ExporterBuildError, Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::clock::SharedClock;
use crate::config::OtlpEndpoint;
use crate::telemetry::gate::LogGate;
use crate::telemetry::names;
use crate::telemetry::panics::contained;
use crate::telemetry::trace::{self, Spans, Traces};

use client::Client;

/// Spans that wait for the collector: a segment has six, so a ladder of four rungs fills it in five minutes. About 4 MB.
const MAX_WAITING: usize = 4_096;
/// Spans of one request: about 100 KB.
const MAX_BATCH: usize = 512;
/// From the first span of a batch until it is sent.
const GATHER: Duration = Duration::from_secs(1);
/// Pauses between the attempts to send a batch; behind the last it is given up. A collector that is started anew is back by then.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(10)];
/// How long a stopping daemon goes on sending.
const FLUSH_DEADLINE: Duration = Duration::from_millis(1_500);

/// The daemon's traces, and the end of them.
#[derive(Debug, Default)]
pub(super) struct Tracing {
    pub(super) traces: Traces,
    stop: CancellationToken,
    task: TaskTracker,
}

impl Tracing {
    /// Sends traces to `endpoint`, if there is one.
    ///
    /// # Errors
    /// A variable of the exporter's asks for what it cannot do.
    pub(super) fn start(endpoint: Option<&OtlpEndpoint>, clock: SharedClock) -> Result<Self, ExporterBuildError> {
        match endpoint {
            Some(endpoint) => Tracing::start_with(endpoint, Client::new(clock.clone()), clock),
            None => Ok(Tracing::default()),
        }
    }

    fn start_with(
        endpoint: &OtlpEndpoint,
        client: impl HttpClient + 'static,
        clock: SharedClock,
    ) -> Result<Self, ExporterBuildError> {
        let mut exporter = exporter(endpoint, client)?;
        let resource = trace::resource();
        exporter.set_resource(&resource);
        let (queue, spans) = trace::queue(MAX_WAITING);
        let tracing = Tracing { traces: Traces::to(queue, resource), ..Tracing::default() };
        let courier = Courier { exporter, spans, clock, losses: Losses::default(), under_way: 0 };
        tracing.task.spawn(courier.run(tracing.stop.clone()));
        info!(%endpoint, "segments are traced");
        Ok(tracing)
    }

    /// Sends what waits, for at most [`FLUSH_DEADLINE`]. Call it when nobody stores any more.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.task.close();
        self.task.wait().await;
    }
}

fn exporter(endpoint: &OtlpEndpoint, client: impl HttpClient + 'static) -> Result<SpanExporter, ExporterBuildError> {
    SpanExporter::builder()
        .with_http()
        .with_endpoint(endpoint.traces_url())
        .with_protocol(Protocol::HttpBinary)
        .with_http_client(client)
        // Its pauses would block a thread of the runtime; the courier has its own.
        .with_retry_policy(RetryPolicy::disabled())
        .build()
}

/// Takes spans to the collector.
struct Courier {
    exporter: SpanExporter,
    spans: Spans,
    clock: SharedClock,
    losses: Losses,
    /// Spans of the batch that is being sent.
    under_way: usize,
}

impl Courier {
    async fn run(mut self, stop: CancellationToken) {
        let deadline = async {
            stop.cancelled().await;
            tokio::time::sleep(FLUSH_DEADLINE).await;
        };
        tokio::select! {
            () = self.carry(&stop) => {}
            () = deadline => {}
        }
        let left = self.under_way + self.spans.line.len();
        self.losses.failed(left);
        self.losses.tell_all(self.spans.dropped());
    }

    /// Until the line is closed and empty, which it is soon after `stop`. A panic costs the batch that it came with.
    async fn carry(&mut self, stop: &CancellationToken) {
        loop {
            match contained("traces", self.carry_one(stop)).await {
                Some(true) => {}
                Some(false) => return,
                None => {
                    self.losses.failed(std::mem::take(&mut self.under_way));
                    let _ = tokio::time::timeout(GATHER, stop.cancelled()).await;
                    // Whoever stops this is heard, also when every step panics at once.
                    tokio::task::yield_now().await;
                }
            }
            self.losses.tell(self.spans.dropped(), self.clock.monotonic());
        }
    }

    /// The next batch. `false`: there is none any more.
    async fn carry_one(&mut self, stop: &CancellationToken) -> bool {
        let Some(batch) = self.batch(stop).await else { return false };
        self.under_way = batch.len();
        if self.deliver(&batch, stop).await {
            names::TRACE_SPANS.counter(&[("outcome", "sent")]).increment(batch.len() as u64);
        } else {
            self.losses.failed(batch.len());
        }
        self.under_way = 0;
        true
    }

    /// The next spans, a second's worth of them.
    async fn batch(&mut self, stop: &CancellationToken) -> Option<Vec<SpanData>> {
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            () = stop.cancelled() => self.spans.line.close(),
            _ = self.spans.line.recv_many(&mut batch, MAX_BATCH) => {
                let _ = tokio::time::timeout(GATHER, stop.cancelled()).await;
            }
        }
        while batch.len() < MAX_BATCH
            && let Ok(span) = self.spans.line.try_recv()
        {
            batch.push(span);
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// Whether the collector took it. Once the daemon stops, no attempt follows another.
    async fn deliver(&self, batch: &[SpanData], stop: &CancellationToken) -> bool {
        let mut pauses = PAUSES.iter();
        loop {
            // The client has logged why not.
            if self.exporter.export(batch.to_vec()).await.is_ok() {
                return true;
            }
            let Some(pause) = pauses.next().filter(|_| !stop.is_cancelled()) else { return false };
            let _ = tokio::time::timeout(*pause, stop.cancelled()).await;
        }
    }
}

/// Spans that no collector gets: each is counted, and a line stands for many.
#[derive(Debug, Default)]
struct Losses {
    /// Of batches that were given up.
    failed: u64,
    /// Of those that found the line full, how many are counted.
    dropped: u64,
    gate: LogGate,
}

impl Losses {
    fn failed(&mut self, spans: usize) {
        if spans > 0 {
            names::TRACE_SPANS.counter(&[("outcome", "failed")]).increment(spans as u64);
            self.failed = self.failed.saturating_add(spans as u64);
        }
    }

    /// `dropped`: how many have found the line full, over all.
    fn count(&mut self, dropped: u64) {
        let news = dropped.saturating_sub(self.dropped);
        if news > 0 {
            names::TRACE_SPANS.counter(&[("outcome", "dropped")]).increment(news);
            self.dropped = dropped;
        }
    }

    fn tell(&mut self, dropped: u64, now: Duration) {
        self.count(dropped);
        if let Some(spans) = self.gate.up_to(self.failed.saturating_add(self.dropped), now) {
            warn!(spans, "spans of traces are lost: the collector is away or too slow");
        }
    }

    /// At the end.
    fn tell_all(&mut self, dropped: u64) {
        self.count(dropped);
        let (failed, dropped) = (self.failed, self.dropped);
        if failed > 0 || dropped > 0 {
            info!(failed, dropped, "spans of traces that no collector got");
        }
    }
}

#[cfg(test)]
mod tests;
