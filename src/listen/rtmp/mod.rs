//! The RTMP listener: accepts connections, gives each a task, and stops them all.
//!
//! Invariants: every connection's task is tracked and ends before [`serve`] returns; a panic in one is caught there and
//! counted; errors of `accept` (no more file descriptors) slow the loop down and never end it. What is counted is in
//! [`super::counts`].

mod connection;
mod settings;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, error, field, info_span};

use super::attempts::Attempts;
use super::counts::Counts;
use super::places::{Place, Places};
use super::{Admission, Protocol};
use crate::telemetry::gate::{LogGate, SharedGate};
use crate::telemetry::panics::{contained_now, message};
use connection::{Connection, Strangers};
pub use settings::RtmpSettings;

/// Wait after the first failed `accept`; doubles up to [`MAX_ACCEPT_BACKOFF`]. What frees descriptors is a connection's
/// end, which takes about as long.
const FIRST_ACCEPT_BACKOFF: Duration = Duration::from_millis(20);
const MAX_ACCEPT_BACKOFF: Duration = Duration::from_secs(1);

/// Serves RTMP on `listener` until `shutdown`: then accepts no more, tells the connections, and returns when all have ended
/// (at the latest after [`RtmpSettings::write_timeout`] and [`RtmpSettings::linger`]).
pub async fn serve<A: Admission>(
    listener: TcpListener,
    settings: RtmpSettings,
    admission: A,
    shutdown: CancellationToken,
) {
    if let Ok(address) = listener.local_addr() {
        debug!(%address, "RTMP is listening");
    }
    let shared = Arc::new(Shared {
        attempts: Attempts::new(settings.attempts, settings.clock.clone()),
        places: Places::new(settings.max_connections, settings.max_connections_per_address),
        counts: Counts::new(Protocol::Rtmp),
        strangers: Strangers::default(),
        panics: SharedGate::default(),
        tasks: TaskTracker::new(),
        settings,
        admission,
        shutdown,
    });
    accept_until_shutdown(&shared, || listener.accept()).await;
    drop(listener);
    shared.tasks.close();
    shared.tasks.wait().await;
}

/// What all connections of a listener share.
struct Shared<A> {
    settings: RtmpSettings,
    admission: A,
    attempts: Attempts,
    places: Places,
    counts: Counts,
    strangers: Strangers,
    panics: SharedGate,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// Calls `accept` until shutdown. It is a parameter so that a test can make it fail.
async fn accept_until_shutdown<A, F>(shared: &Arc<Shared<A>>, mut accept: impl FnMut() -> F)
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
                contained_now("rtmp", || admit_connection(shared, socket, peer));
            }
            // The peer gave up before we came to it: nobody's fault.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
            }
            Err(error) => {
                shared.counts.accept_errors.increment(1);
                if let Some(times) = log.pass(shared.settings.clock.monotonic()) {
                    error!(%error, times, "cannot accept RTMP connections; is the limit of open files (ulimit -n) reached?");
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
fn admit_connection<A: Admission>(shared: &Arc<Shared<A>>, socket: TcpStream, peer: SocketAddr) {
    match shared.places.take(peer.ip()) {
        Ok((place, displaced)) => {
            if displaced {
                shared.counts.displaced();
            }
            let span = info_span!("rtmp", %peer, stream = field::Empty, session = field::Empty);
            shared.tasks.spawn(guarded(shared.clone(), socket, peer, place).instrument(span));
        }
        Err(full) => {
            shared.counts.connection_refused(full);
            debug!(%peer, %full, "RTMP connection closed at once");
        }
    }
}

/// Runs one connection; its panic ends here.
async fn guarded<A: Admission>(shared: Arc<Shared<A>>, socket: TcpStream, peer: SocketAddr, place: Place) {
    shared.counts.connections.increment(1);
    shared.counts.open.increment(1.0);
    if let Err(error) = socket.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY was not set");
    }
    let run = async { Connection::new(socket, peer, &shared, &place).run().await };
    if let Err(payload) = AssertUnwindSafe(run).catch_unwind().await {
        shared.counts.panics.increment(1);
        if let Some(connections) = shared.panics.pass(shared.settings.clock.monotonic()) {
            let panic = message(&*payload);
            error!(panic, connections, "the connection's task panicked: a fault of ours; only this connection is lost");
        }
    }
    shared.counts.open.decrement(1.0);
    drop(place);
}

#[cfg(test)]
mod tests;
