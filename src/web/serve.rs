//! Connections: accepted, bounded, watched and ended.
//!
//! One task per connection; all of them are awaited before [`serve`] returns. Nothing a client does or leaves undone keeps a connection:
//! a deadline stands on each request's head (idle keep-alive counts too) and on each answer's progress. A panic in a handler is
//! answered ([`super::panics`]); one behind its answer ends its connection only. Both are counted. TLS and HTTP/2 will come in here, in front of the same router.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use futures_util::FutureExt;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics::{Counter, Gauge};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer;
use super::places::{Full, Place, Places};
use super::stall::Stall;
use crate::telemetry::gate::{LogGate, SharedGate};
use crate::telemetry::names;
use crate::telemetry::panics::contained_now;

/// The most that one connection buffers of a request's head, and of small answers.
const MAX_BUFFER_BYTES: usize = 64 * 1024;
/// No player sends half as many.
const MAX_HEADERS: usize = 64;
/// Waiting time after a failed accept: it fails again at once while file descriptors are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits of an HTTP listener.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Connections open at a time. The next one is closed at once and counted.
    pub max_connections: usize,
    /// Those of one address, 127.0.0.1 and `::1` excepted.
    pub max_connections_per_address: usize,
    /// Time for a request's head to arrive, counted from the end of the request before it.
    pub header_timeout: Duration,
    /// Time in which a client that is slow must take [`super::stall::MIN_PROGRESS_BYTES`] of its answer.
    pub stall_timeout: Duration,
    /// Time for requests in flight to be answered once shutdown begins.
    pub drain: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        ServeOptions {
            max_connections: 16_384,
            max_connections_per_address: 4_096,
            header_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(20),
            drain: Duration::from_secs(5),
        }
    }
}

/// Serves `router` until `shutdown`, then lets requests in flight end within `options.drain`. Handlers find the client's address
/// as [`ConnectInfo<SocketAddr>`].
pub async fn serve(listener: TcpListener, router: Router, options: ServeOptions, shutdown: CancellationToken) {
    // There from the start at 0, so that the first one is an increase for whoever alerts on it.
    let _panics = names::HTTP_PANICS.counter(&[]);
    let mut door = Door::new(router, options, shutdown.clone());
    let (began, mut log) = (Instant::now(), LogGate::default());
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                contained_now("http", || door.admit(stream, peer));
            }
            Err(error) => {
                if let Some(times) = log.pass(began.elapsed()) {
                    tracing::error!(%error, times, "cannot accept HTTP connections; is the limit of open files (ulimit -n) reached?");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    door.tasks.close();
    door.tasks.wait().await;
}

/// Who gets in, and what they get.
struct Door {
    router: Router,
    options: ServeOptions,
    shutdown: CancellationToken,
    places: Places,
    open: Gauge,
    refused_total: Counter,
    refused_address: Counter,
    tasks: TaskTracker,
    began: Instant,
    /// One address that has all its places is a stranger, or a proxy that nobody told us of.
    full_address: LogGate,
}

impl Door {
    fn new(router: Router, options: ServeOptions, shutdown: CancellationToken) -> Self {
        let places = Places::new(options.max_connections, options.max_connections_per_address);
        let (open, tasks) = (names::HTTP_OPEN.gauge(&[]), TaskTracker::new());
        let (began, full_address) = (Instant::now(), LogGate::default());
        // Made now, so that both stand in `/metrics` before the first is refused.
        let refused = |full: Full| names::HTTP_REFUSED.counter(&[("reason", full.as_str())]);
        let (refused_total, refused_address) = (refused(Full::Total), refused(Full::Address));
        Door { router, options, shutdown, places, open, refused_total, refused_address, tasks, began, full_address }
    }

    /// Gives the connection a place and a task, or closes it at once.
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        let full = match self.places.take(peer.ip()) {
            Ok(place) => {
                let seat = Seat::taken(self.open.clone(), place);
                let (router, options, shutdown) = (self.router.clone(), self.options.clone(), self.shutdown.clone());
                self.tasks.spawn(connection(stream, peer, router, options, shutdown, seat));
                return;
            }
            Err(full) => full,
        };
        match full {
            Full::Total => self.refused_total.increment(1),
            Full::Address => self.refused_address.increment(1),
        }
        if full == Full::Address
            && let Some(connections) = self.full_address.pass(self.began.elapsed())
        {
            let max = self.options.max_connections_per_address;
            tracing::warn!(%peer, connections, max, "one address has all its HTTP connections: more are closed at once; is it a proxy, raise http.max_connections_per_address");
        }
    }
}

/// A connection's place among the allowed ones, given back however it ends.
struct Seat {
    open: Gauge,
    _place: Place,
}

impl Seat {
    fn taken(open: Gauge, place: Place) -> Self {
        open.increment(1.0);
        Seat { open, _place: place }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.open.decrement(1.0);
    }
}

/// One for the process: what panics for one client is likely to do so for the next.
static PANICS: LazyLock<(Instant, SharedGate)> = LazyLock::new(|| (Instant::now(), SharedGate::default()));

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    options: ServeOptions,
    shutdown: CancellationToken,
    _seat: Seat,
) {
    // Playlists are small and waited for; Nagle would hold them back.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "http: cannot set TCP_NODELAY");
    }
    if AssertUnwindSafe(drive(stream, peer, router, &options, &shutdown)).catch_unwind().await.is_err() {
        names::HTTP_PANICS.counter(&[]).increment(1);
        let (began, gate) = &*PANICS;
        if let Some(connections) = gate.pass(began.elapsed()) {
            tracing::error!(%peer, connections, "http: a connection's task panicked; only this connection is lost");
        }
    }
}

/// Whether two readers could disagree about where this request ends, because it has a body where none belongs: a proxy in
/// front of us might take the body for another client's request. A length that is given twice over (RFC 9112 section 6.3)
/// is the HTTP layer's: it refuses the request, or closes the connection behind its answer.
fn is_ambiguous(request: &hyper::Request<Incoming>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) && !request.body().is_end_stream()
}

/// The last answer of its connection.
fn refuse_ambiguous() -> Response {
    let mut response = answer::error(StatusCode::BAD_REQUEST, "bad_request", "this request must not have a body");
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn drive<T>(stream: T, peer: SocketAddr, router: Router, options: &ServeOptions, shutdown: &CancellationToken)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = (!is_ambiguous(&request)).then(|| router.call(request));
        async move {
            match answer {
                Some(answer) => answer.await,
                None => Ok(refuse_ambiguous()),
            }
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_buf_size(MAX_BUFFER_BYTES)
        .max_headers(MAX_HEADERS);
    let io = TokioIo::new(Stall::new(stream, options.stall_timeout));
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match timeout(options.drain, connection).await {
                Ok(ended) => ended,
                Err(_) => {
                    tracing::debug!(%peer, "http: connection dropped, its answer was not done in time");
                    return;
                }
            }
        }
    };
    if let Err(error) = ended {
        // Clients leave in the middle of everything: not worth more than a debug line.
        tracing::debug!(%peer, %error, "http: connection ended early");
    }
}
