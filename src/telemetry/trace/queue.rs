//! The bounded line between those who end spans and the task that sends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::mpsc;

/// The end where spans come in. A span that finds the line full is dropped and counted; nobody waits.
#[derive(Debug)]
pub struct Queue {
    line: mpsc::Sender<SpanData>,
    dropped: Arc<AtomicU64>,
}

/// The end where they are taken out.
#[derive(Debug)]
pub struct Spans {
    /// Spans that wait. Ends when it is closed, or when nobody can end a span any more.
    pub line: mpsc::Receiver<SpanData>,
    dropped: Arc<AtomicU64>,
}

impl Spans {
    /// How many found the line full or closed, so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// A line for at most `bound` spans.
pub fn queue(bound: usize) -> (Queue, Spans) {
    let (sender, receiver) = mpsc::channel(bound);
    let dropped = Arc::<AtomicU64>::default();
    (Queue { line: sender, dropped: dropped.clone() }, Spans { line: receiver, dropped })
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.line.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What waits is sent by the task, which has its own deadline.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}
