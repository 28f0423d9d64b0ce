//! What fails and is not the viewer's fault, in the log: one line for all requests that failed meanwhile.

use std::sync::LazyLock;

use tokio::time::Instant;

use super::source::PlaybackError;
use crate::telemetry::gate::SharedGate;

/// One for the process: what fails for one viewer fails for all of them.
static FAILURES: LazyLock<(Instant, SharedGate)> = LazyLock::new(|| (Instant::now(), SharedGate::default()));

/// Logs `error` if it is a fault of ours and it is time for a line.
pub(super) fn report(error: &PlaybackError, stream: &str) {
    let PlaybackError::Internal(reason) = error else { return };
    let (began, gate) = &*FAILURES;
    if let Some(requests) = gate.pass(began.elapsed()) {
        tracing::error!(stream, requests, reason, "viewers get errors (HTTP 500) instead of media or playlists");
    }
}
