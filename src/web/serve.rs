//! Connections: accepted and bounded, plain and over TLS. What happens on one of them is `connection`'s.
//!
//! One task per connection, and one per request of HTTP/2; all of them are awaited before [`serve`] returns. All entrances share
//! their bounds: a place counts the same at each. Nothing a client does or leaves undone keeps a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::future::join_all;
use metrics::{Counter, Gauge};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{ALPN, HANDSHAKE_FAILURES, connection};
use super::places::{Full, Place, Places};
use crate::telemetry::gate::{LogGate, SharedGate};
use crate::telemetry::names;
use crate::telemetry::panics::contained_now;
use crate::tls::Tls;

/// Waiting time after a failed accept: it fails again at once while file descriptors are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits of HTTP, over all its entrances.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Connections open at a time. The next one is closed at once and counted.
    pub max_connections: usize,
    /// Those of one address, 127.0.0.1 and `::1` excepted.
    pub max_connections_per_address: usize,
    /// Time for a request's head to arrive, counted from the end of the request before it; for the handshake of TLS as well.
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

/// Where connections come in, and what they find.
pub struct Entrance {
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
}

impl Entrance {
    /// HTTP/1.1 without TLS.
    pub fn plain(listener: TcpListener, router: Router) -> Self {
        Entrance { listener, tls: None, router }
    }

    /// HTTPS: HTTP/2 or HTTP/1.1, as the client says in ALPN (RFC 7301); without a word HTTP/1.1.
    pub fn secure(listener: TcpListener, tls: Tls, router: Router) -> Self {
        Entrance { listener, tls: Some(tls.speaking(&ALPN)), router }
    }
}

/// Serves the `entrances` until `shutdown`, then lets requests in flight end within `options.drain`. Handlers find the client's
/// address as [`axum::extract::ConnectInfo<SocketAddr>`].
pub async fn serve(entrances: impl IntoIterator<Item = Entrance>, options: ServeOptions, shutdown: CancellationToken) {
    // There from the start at 0, so that the first one is an increase for whoever alerts on it.
    let _once = [names::HTTP_PANICS.counter(&[]), names::HTTP_RESTLESS.counter(&[])];
    let _handshakes = HANDSHAKE_FAILURES.map(|reason| names::HTTP_HANDSHAKES_FAILED.counter(&[("reason", reason)]));
    let shared = Arc::new(Shared::new(options, shutdown));
    join_all(entrances.into_iter().map(|Entrance { listener, tls, router }| {
        let (acceptor, renewal) = tls.map(Tls::into_parts).unzip();
        let door = Arc::new(Door { router, acceptor, shared: shared.clone() });
        let shutdown = shared.shutdown.clone();
        async move {
            let renewed = async {
                if let Some(renewal) = renewal {
                    renewal.run(shutdown).await;
                }
            };
            tokio::join!(accept_until_shutdown(listener, &door), renewed);
        }
    }))
    .await;
    shared.tasks.close();
    shared.tasks.wait().await;
}

async fn accept_until_shutdown(listener: TcpListener, door: &Arc<Door>) {
    let (began, mut log) = (Instant::now(), LogGate::default());
    loop {
        let accepted = tokio::select! {
            () = door.shared.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                contained_now("http", || admit(door, stream, peer));
            }
            Err(error) => {
                if let Some(times) = log.pass(began.elapsed()) {
                    tracing::error!(%error, times, "cannot accept HTTP connections; is the limit of open files (ulimit -n) reached?");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Gives the connection a place and a task, or closes it at once.
fn admit(door: &Arc<Door>, stream: TcpStream, peer: SocketAddr) {
    let shared = &door.shared;
    let full = match shared.places.take(peer.ip()) {
        Ok(place) => {
            let seat = Seat::taken(shared.open.clone(), place);
            shared.tasks.spawn(connection(stream, peer, door.clone(), seat));
            return;
        }
        Err(full) => full,
    };
    match full {
        Full::Total => shared.refused_total.increment(1),
        Full::Address => shared.refused_address.increment(1),
    }
    if full == Full::Address
        && let Some(connections) = shared.full_address.pass(shared.began.elapsed())
    {
        let max = shared.options.max_connections_per_address;
        tracing::warn!(%peer, connections, max, "one address has all its HTTP connections: more are closed at once; is it a proxy, raise http.max_connections_per_address");
    }
}

/// What the connections of one entrance share.
pub(super) struct Door {
    pub router: Router,
    pub acceptor: Option<TlsAcceptor>,
    pub shared: Arc<Shared>,
}

/// What all connections share, wherever they came in.
pub(super) struct Shared {
    pub options: ServeOptions,
    pub shutdown: CancellationToken,
    pub tasks: TaskTracker,
    places: Places,
    open: Gauge,
    refused_total: Counter,
    refused_address: Counter,
    began: Instant,
    /// One address that has all its places is a stranger, or a proxy that nobody told us of.
    full_address: SharedGate,
}

impl Shared {
    fn new(options: ServeOptions, shutdown: CancellationToken) -> Self {
        // Made now, so that both stand in `/metrics` before the first is refused.
        let refused = |full: Full| names::HTTP_REFUSED.counter(&[("reason", full.as_str())]);
        Shared {
            places: Places::new(options.max_connections, options.max_connections_per_address),
            options,
            shutdown,
            tasks: TaskTracker::new(),
            open: names::HTTP_OPEN.gauge(&[]),
            refused_total: refused(Full::Total),
            refused_address: refused(Full::Address),
            began: Instant::now(),
            full_address: SharedGate::default(),
        }
    }
}

/// A connection's place among the allowed ones, given back however it ends.
pub(super) struct Seat {
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
