//! Around each connection's task: counts, and an end to its panic.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tracing::error;

use super::counts::Counts;
use crate::clock::SharedClock;
use crate::telemetry::gate::SharedGate;
use crate::telemetry::panics::message;

/// Runs one connection. Its panic ends here: it is counted, and logged as often as `log` lets it.
pub(super) async fn guarded(
    counts: &Counts,
    log: &SharedGate,
    clock: &SharedClock,
    connection: impl Future<Output = ()>,
) {
    counts.connections.increment(1);
    counts.open.increment(1.0);
    if let Err(payload) = AssertUnwindSafe(connection).catch_unwind().await {
        counts.panics.increment(1);
        if let Some(connections) = log.pass(clock.monotonic()) {
            let panic = message(&*payload);
            error!(panic, connections, "the connection's task panicked: a fault of ours; only this connection is lost");
        }
    }
    counts.open.decrement(1.0);
}
