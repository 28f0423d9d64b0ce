//! The RTMP listeners, plain and over TLS: accept connections, give each a task, and stop them all.
//!
//! All doors share their bounds: a place and an attempt count the same at each.
//!
//! Invariants: every connection's task is tracked and ends before [`serve`] returns; a panic in one is caught there and
//! counted; errors of `accept` (no more file descriptors) slow the loop down and never end it. What is counted is in
//! [`super::counts`].

mod connection;
mod settings;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, error, field, info_span};

use super::attempts::Attempts;
use super::counts::Counts;
use super::guard;
use super::places::{Place, Places};
use super::tls::Acceptor;
use super::{Admission, Protocol};
use crate::telemetry::gate::{LogGate, SharedGate};
use crate::telemetry::panics::contained_now;
use crate::tls::Tls;
use connection::{Caller, Connection, Strangers, over_tls};
pub use settings::RtmpSettings;

/// Wait after the first failed `accept`; doubles up to [`MAX_ACCEPT_BACKOFF`]. What frees descriptors is a connection's
/// end, which takes about as long.
const FIRST_ACCEPT_BACKOFF: Duration = Duration::from_millis(20);
const MAX_ACCEPT_BACKOFF: Duration = Duration::from_secs(1);

/// Where connections come in.
pub struct Entrance {
    /// The bound socket.
    pub listener: TcpListener,
    /// What RTMP is wrapped in there; `None`: nothing.
    pub tls: Option<Tls>,
}

impl Entrance {
    /// What is spoken there.
    pub fn protocol(&self) -> Protocol {
        spoken(self.tls.is_some())
    }
}

fn spoken(over_tls: bool) -> Protocol {
    if over_tls { Protocol::Rtmps } else { Protocol::Rtmp }
}

/// Serves RTMP at all `entrances` until `shutdown`: then accepts no more, tells the connections, and returns when all have
/// ended (at the latest after [`RtmpSettings::write_timeout`] and [`RtmpSettings::linger`]).
pub async fn serve<A: Admission>(
    entrances: impl IntoIterator<Item = Entrance>,
    settings: RtmpSettings,
    admission: A,
    shutdown: CancellationToken,
) {
    let shared = Arc::new(Shared {
        attempts: Attempts::new(settings.attempts, settings.clock.clone()),
        places: Places::new(settings.max_connections, settings.max_connections_per_address),
        strangers: Strangers::default(),
        panics: SharedGate::default(),
        tasks: TaskTracker::new(),
        settings,
        admission,
        shutdown,
    });
    join_all(entrances.into_iter().map(|Entrance { listener, tls }| {
        let (acceptor, renewal) = tls.map(Tls::into_parts).unzip();
        let door = Arc::new(Door::new(acceptor.map(Acceptor)));
        let shared = &shared;
        async move {
            if let Ok(address) = listener.local_addr() {
                debug!(%address, protocol = %door.protocol, "listening");
            }
            let renewed = async {
                if let Some(renewal) = renewal {
                    renewal.run(shared.shutdown.clone()).await;
                }
            };
            tokio::join!(accept_until_shutdown(shared, &door, || listener.accept()), renewed);
        }
    }))
    .await;
    shared.tasks.close();
    shared.tasks.wait().await;
}

/// What all connections share, wherever they came in.
struct Shared<A> {
    settings: RtmpSettings,
    admission: A,
    attempts: Attempts,
    places: Places,
    strangers: Strangers,
    panics: SharedGate,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// What the connections of one entrance share.
struct Door {
    protocol: Protocol,
    counts: Counts,
    tls: Option<Acceptor>,
}

impl Door {
    fn new(tls: Option<Acceptor>) -> Self {
        let protocol = spoken(tls.is_some());
        Door { protocol, counts: Counts::new(protocol), tls }
    }
}

/// Calls `accept` until shutdown. It is a parameter so that a test can make it fail.
async fn accept_until_shutdown<A, F>(shared: &Arc<Shared<A>>, door: &Arc<Door>, mut accept: impl FnMut() -> F)
where
    A: Admission,
    F: Future<Output = io::Result<(TcpStream, SocketAddr)>>,
{
    let (mut backoff, mut log) = (FIRST_ACCEPT_BACKOFF, LogGate::default());
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            accepted = accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                backoff = FIRST_ACCEPT_BACKOFF;
                contained_now("rtmp", || admit_connection(shared, door, socket, peer));
            }
            // The peer gave up before we came to it: nobody's fault.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
            }
            Err(error) => {
                door.counts.accept_errors.increment(1);
                if let Some(times) = log.pass(shared.settings.clock.monotonic()) {
                    error!(%error, times, protocol = %door.protocol, "cannot accept connections of encoders; is the limit of open files (ulimit -n) reached?");
                }
                tokio::select! {
                    () = shared.shutdown.cancelled() => return,
                    () = tokio::time::sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(MAX_ACCEPT_BACKOFF);
            }
        }
    }
}

/// Gives the connection a place and a task, or closes it at once when all places are taken by publishers.
fn admit_connection<A: Admission>(shared: &Arc<Shared<A>>, door: &Arc<Door>, socket: TcpStream, peer: SocketAddr) {
    match shared.places.take(peer.ip()) {
        Ok((place, displaced)) => {
            if displaced {
                door.counts.displaced();
            }
            let span = match door.tls {
                None => info_span!("rtmp", %peer, stream = field::Empty, session = field::Empty),
                Some(_) => info_span!("rtmps", %peer, stream = field::Empty, session = field::Empty),
            };
            shared.tasks.spawn(guarded(shared.clone(), door.clone(), socket, peer, place).instrument(span));
        }
        Err(full) => {
            door.counts.connection_refused(full);
            debug!(%peer, %full, protocol = %door.protocol, "connection closed at once");
        }
    }
}

/// Runs one connection; its panic ends here.
async fn guarded<A: Admission>(
    shared: Arc<Shared<A>>,
    door: Arc<Door>,
    socket: TcpStream,
    peer: SocketAddr,
    place: Place,
) {
    if let Err(error) = socket.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY was not set");
    }
    let caller = Caller { peer, shared: &shared, door: &door, place: &place, accepted: Instant::now() };
    let run = async {
        match &door.tls {
            None => Connection::new(socket, caller).run().await,
            // In a box, so that plain connections do not have its size.
            Some(acceptor) => Box::pin(over_tls(socket, acceptor, caller)).await,
        }
    };
    guard::guarded(&door.counts, &shared.panics, &shared.settings.clock, run).await;
    drop(place);
}

#[cfg(test)]
mod tests;
