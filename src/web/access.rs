//! Requests counted by route and status, bodies by bytes, and a span around each request.
//!
//! The span has method, route, path and peer, never the query or a header: those may carry tokens. Counters are found once
//! and kept, so a request costs two additions.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
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

use super::panics;
use crate::control::secret::concealed;
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

/// Statuses that an alert looks at: their counters are there from the start at 0, so that the first one is an increase.
const FAULTS: [&str; 2] = ["500", "503"];

/// The counters of one route. But for [`FAULTS`], each is made when it first counts: `/metrics` shows what happened, not all
/// that could.
#[derive(Debug)]
struct Route {
    name: &'static str,
    by_status: [OnceLock<Counter>; STATUSES.len()],
    by_class: [OnceLock<Counter>; CLASSES.len()],
    bytes: OnceLock<Counter>,
}

impl Route {
    /// Make it after the process's recorder ([`crate::telemetry::Metrics::install`]).
    fn new(name: &'static str) -> Self {
        for status in FAULTS {
            names::HTTP_REQUESTS.counter(&[("route", name), ("status", status)]).increment(0);
        }
        Route {
            name,
            by_status: [const { OnceLock::new() }; STATUSES.len()],
            by_class: [const { OnceLock::new() }; CLASSES.len()],
            bytes: OnceLock::new(),
        }
    }

    fn count(&self, status: StatusCode) {
        let known = STATUSES.iter().position(|(code, _)| *code == status.as_u16());
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        let (slot, text) = match known {
            Some(index) => (&self.by_status[index], STATUSES[index].1),
            None => (&self.by_class[class], CLASSES[class]),
        };
        slot.get_or_init(|| names::HTTP_REQUESTS.counter(&[("route", self.name), ("status", text)])).increment(1);
    }

    fn bytes(&self) -> Counter {
        self.bytes.get_or_init(|| names::HTTP_BYTES.counter(&[("route", self.name)])).clone()
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
    let (method, path) = (request.method(), concealed(request.uri().path()).into_owned());
    let span = tracing::debug_span!("request", route = route.name, %method, path, peer);
    let response = panics::answered(&path, next.run(request).instrument(span)).await;
    route.count(response.status());
    let bytes = route.bytes();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;
    use crate::web::{Entrance, ServeOptions, serve};
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn requests_bytes_and_connections_are_counted() {
        let (metrics, recorder) = Metrics::detached().unwrap();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let router = Router::new()
            .route("/a", counted("media", get(async || "12345")))
            .route("/b", counted("playlist", get(async || StatusCode::IM_A_TEAPOT)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve([Entrance::plain(listener, router)], ServeOptions::default(), stop.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        for (method, path, last) in
            [("GET", "/a", ""), ("HEAD", "/a?token=secret", ""), ("GET", "/b", "connection: close\r\n")]
        {
            stream.write_all(format!("{method} {path} HTTP/1.1\r\nhost: h\r\n{last}\r\n").as_bytes()).await.unwrap();
        }
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        stop.cancel();
        server.await.unwrap();
        let text = metrics.render();
        for line in [
            "millstream_http_requests_total{route=\"media\",status=\"200\"} 2",
            "millstream_http_requests_total{route=\"playlist\",status=\"4xx\"} 1",
            "millstream_http_requests_total{route=\"playlist\",status=\"500\"} 0",
            "millstream_http_requests_total{route=\"playlist\",status=\"503\"} 0",
            "millstream_http_response_bytes_total{route=\"media\"} 5",
            "millstream_http_connections 0",
            "millstream_http_connections_refused_total{reason=\"total\"} 0",
            "millstream_http_connections_refused_total{reason=\"address\"} 0",
        ] {
            assert!(text.lines().any(|have| have == line), "{line}\n{text}");
        }
    }
}
