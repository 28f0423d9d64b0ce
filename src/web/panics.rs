//! A handler that panics: whoever asked is told that the server failed, and nobody else notices.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt;
use tokio::time::Instant;

use super::answer;
use crate::control::secret::concealed;
use crate::telemetry::gate::SharedGate;
use crate::telemetry::names;
use crate::telemetry::panics::message;

/// One for the process: what panics for one client is likely to do so for the next.
static PANICS: LazyLock<(Instant, SharedGate)> = LazyLock::new(|| (Instant::now(), SharedGate::default()));

/// A layer for routes that are not [`super::access::counted`]: a panic below it is answered with 500.
pub async fn caught(request: Request, next: Next) -> Response {
    let path = concealed(request.uri().path()).into_owned();
    answered(&path, next.run(request)).await
}

/// The answer of `handler`, which is about `path`, or that of one that panicked.
pub(super) async fn answered(path: &str, handler: impl Future<Output = Response>) -> Response {
    match AssertUnwindSafe(handler).catch_unwind().await {
        Ok(response) => response,
        Err(payload) => {
            names::HTTP_PANICS.counter(&[]).increment(1);
            let (began, gate) = &*PANICS;
            if let Some(requests) = gate.pass(began.elapsed()) {
                let panic = message(&*payload);
                tracing::error!(path, panic, requests, "a handler panicked: a fault of ours; its client gets HTTP 500");
            }
            answer::error(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server failed: its log says why")
        }
    }
}
