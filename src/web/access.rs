//! Requests counted by route and status, bodies by bytes, and a span around each request.
//!
//! The span has method, route, path and peer, never the query or a header: those may carry tokens. Counters are found once, when the
//! router is built, so a request costs two additions.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::MethodRouter;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use metrics::Counter;
use tracing::Instrument;

use crate::telemetry::names;

/// The statuses that routes of this daemon answer with; any other is counted as its class (`5xx`).
const STATUSES: [(u16, &str); 14] = [
    (200, "200"),
    (201, "201"),
    (204, "204"),
    (206, "206"),
    (304, "304"),
    (400, "400"),
    (401, "401"),
    (404, "404"),
    (405, "405"),
    (409, "409"),
    (410, "410"),
    (416, "416"),
    (500, "500"),
    (503, "503"),
];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The counters of one route.
#[derive(Debug)]
struct Route {
    name: &'static str,
    by_status: [Counter; STATUSES.len()],
    by_class: [Counter; CLASSES.len()],
    bytes: Counter,
}

impl Route {
    fn new(name: &'static str) -> Self {
        let requests = |status: &str| names::HTTP_REQUESTS.counter(&[("route", name), ("status", status)]);
        Route {
            name,
            by_status: STATUSES.map(|(_, text)| requests(text)),
            by_class: CLASSES.map(requests),
            bytes: names::HTTP_BYTES.counter(&[("route", name)]),
        }
    }

    fn count(&self, status: StatusCode) {
        let known = STATUSES.iter().position(|(code, _)| *code == status.as_u16());
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        known.map_or(&self.by_class[class], |index| &self.by_status[index]).increment(1);
    }
}

/// `handlers` with every request counted as `route`. Routes are our own names, never paths: paths are without number.
pub fn counted<S>(route: &'static str, handlers: MethodRouter<S>) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    handlers.layer(from_fn_with_state(Arc::new(Route::new(route)), track))
}

async fn track(State(route): State<Arc<Route>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| tracing::field::display(info.0));
    let (method, path) = (request.method(), request.uri().path());
    let span = tracing::debug_span!("request", route = route.name, %method, path, peer);
    let response = next.run(request).instrument(span).await;
    route.count(response.status());
    let bytes = route.bytes.clone();
    response.map(|inner| Body::new(Counted { inner, bytes }))
}

/// A body that counts what it gives away.
struct Counted {
    inner: Body,
    bytes: Counter,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.bytes.increment(data.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
