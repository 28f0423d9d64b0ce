//! The SRT listener: one UDP socket for all callers, and a task for each.
//!
//! The receive loop only sorts: what belongs to a connection goes into that connection's queue, what comes from a stranger is
//! looked at by [`Screen`] and answered without memory, or given a place and a task. It waits for nobody.
//!
//! Invariants: every caller's task is tracked and ends before [`serve`] returns; a panic in one ends that one, and a panic in
//! the sorting of a datagram costs that datagram; both are counted. What is counted is in [`super::counts`].

mod caller;
mod connections;
mod pieces;
mod routes;
mod settings;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, error, field, info, info_span};

use super::attempts::Attempts;
use super::counts::{Action, Counts};
use super::guard;
use super::places::{Place, Places};
use super::{Admission, Protocol};
use crate::telemetry::gate::{LogGate, SharedGate};
use crate::telemetry::names;
use crate::telemetry::panics::contained_now;
use crate::wire::srt::packet::Header;
use crate::wire::srt::screen::asks_for_connection;
use crate::wire::srt::{Conclusion, Reject, Rejection, Screen, Screened};
use caller::Caller;
pub use connections::SrtConnections;
use routes::{Datagram, Routed, Routes};
pub use settings::SrtSettings;

/// What the socket may hold while we do not read: 0.3 s of 100 Mbit/s. The system allows less unless `net.core.rmem_max` is
/// raised.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Larger ones are no SRT over Ethernet.
const MAX_READ_BYTES: usize = 2_048;
/// Datagrams that are sorted before others of the runtime get their turn.
const READ_AT_ONCE: usize = 128;
/// Connections that have ended are forgotten this often, at the latest.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Wait after an error of the socket.
const ERROR_PAUSE: Duration = Duration::from_millis(20);
/// Keys that are derived at the same time: each takes a processor for a millisecond.
const DERIVATIONS_AT_ONCE: usize = 2;

/// Binds the socket of a listener.
///
/// # Errors
/// The address is taken, or is not ours.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    if let Err(error) = setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BUFFER_BYTES) {
        debug!(%error, "SO_RCVBUF was not set");
    }
    UdpSocket::from_std(socket)
}

/// Serves SRT on `socket` until `shutdown`: then tells the callers, and returns when all tasks have ended. What is published
/// shows in `connections`.
pub async fn serve<A: Admission>(
    socket: UdpSocket,
    settings: SrtSettings,
    admission: A,
    connections: SrtConnections,
    shutdown: CancellationToken,
) {
    let mut secret = [0; 32];
    if let Err(failure) = getrandom::fill(&mut secret) {
        return error!(%failure, "the system gives no random numbers: SRT is not served");
    }
    let shared = Arc::new(Shared {
        attempts: Attempts::new(settings.attempts, settings.clock.clone()),
        passphrase_attempts: Attempts::new(settings.attempts, settings.clock.clone()),
        places: Places::new(settings.max_connections, settings.max_connections_per_address),
        derivations: Semaphore::new(DERIVATIONS_AT_ONCE),
        counts: Counts::new(Protocol::Srt),
        datagrams_dropped: names::SRT_DATAGRAMS_DROPPED.counter(&[]),
        log: Gates::default(),
        tasks: TaskTracker::new(),
        origin: Instant::now(),
        socket,
        settings,
        admission,
        connections,
        shutdown,
    });
    Sorter { shared: &shared, screen: Screen::new(secret), routes: Routes::default() }.run().await;
    shared.tasks.close();
    shared.tasks.wait().await;
}

/// What all callers share.
struct Shared<A> {
    socket: UdpSocket,
    settings: SrtSettings,
    admission: A,
    attempts: Attempts,
    /// Of those whose key is right: somebody behind the same address who has a wrong key does not lock them out.
    passphrase_attempts: Attempts,
    derivations: Semaphore,
    places: Places,
    connections: SrtConnections,
    counts: Counts,
    datagrams_dropped: Counter,
    log: Gates,
    tasks: TaskTracker,
    /// Moments of the protocol are counted from here.
    origin: Instant,
    shutdown: CancellationToken,
}

impl<A> Shared<A> {
    /// Time since the listener began.
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Sends a datagram, unless the socket is full: whoever waits for it asks again.
    fn send(&self, datagram: &[u8], to: SocketAddr) {
        if let Err(error) = self.socket.try_send_to(datagram, to) {
            debug!(%error, "a datagram was not sent");
        }
    }
}

/// The log of what strangers cause: one line per cause.
#[derive(Debug, Default)]
struct Gates {
    refused: SharedGate,
    left: SharedGate,
    panics: SharedGate,
}

/// The receive loop.
struct Sorter<'a, A: Admission> {
    shared: &'a Arc<Shared<A>>,
    screen: Screen,
    routes: Routes,
}

impl<A: Admission> Sorter<'_, A> {
    async fn run(mut self) {
        let (mut buffer, mut log) = (Box::new([0; MAX_READ_BYTES]), LogGate::default());
        let mut swept = Duration::ZERO;
        loop {
            tokio::select! {
                biased;
                () = self.shared.shutdown.cancelled() => return,
                // Errors show when it is read.
                _ = self.shared.socket.readable() => {}
            }
            if let Err(error) = self.read(&mut buffer[..]) {
                self.shared.counts.accept_errors.increment(1);
                if let Some(times) = log.pass(self.shared.settings.clock.monotonic()) {
                    error!(%error, times, "the SRT socket cannot be read");
                }
                tokio::time::sleep(ERROR_PAUSE).await;
            }
            let now = self.shared.now();
            if now.saturating_sub(swept) >= SWEEP_EVERY {
                swept = now;
                self.routes.sweep();
            }
        }
    }

    /// Sorts what has come.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let mut bytes = 0;
        for _ in 0..READ_AT_ONCE {
            match self.shared.socket.try_recv_from(buffer) {
                Ok((length, from)) => {
                    bytes += length as u64;
                    let at = self.shared.now();
                    contained_now("srt", || self.sort(&buffer[..length], from, at));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Somebody whom we answered is not there any more.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
        }
        self.shared.counts.received_bytes.increment(bytes);
        Ok(())
    }

    /// Hands one datagram to its connection, or to the screen.
    fn sort(&mut self, datagram: &[u8], from: SocketAddr, at: Duration) {
        let Some(header) = Header::parse(datagram) else { return };
        let socket = match header.destination {
            0 => asks_for_connection(datagram).and_then(|caller| self.routes.of_caller(from, caller)),
            socket => Some(socket),
        };
        let routed = socket.map_or(Routed::Unknown, |socket| self.routes.pass(socket, from, datagram, at));
        match routed {
            Routed::Queued => {}
            Routed::Dropped => self.shared.datagrams_dropped.increment(1),
            Routed::Unknown => match self.screen.look(datagram, from, at) {
                Screened::Ignored(kind) => self.shared.counts.protocol_error(kind, Action::Skip),
                Screened::Induction(answer) => self.shared.send(&answer, from),
                Screened::Refused(answer, rejection) => {
                    self.shared.send(&answer, from);
                    self.refused(from, rejection);
                }
                Screened::Conclusion(conclusion) => self.give_place(conclusion, from, at),
            },
        }
    }

    fn refused(&self, peer: SocketAddr, rejection: Rejection) {
        self.shared.counts.protocol_error(rejection.code.as_str(), Action::Drop);
        let Rejection { code, words } = rejection;
        let code = code.as_str();
        match self.shared.log.refused.pass(self.shared.settings.clock.monotonic()) {
            Some(connections) => info!(%peer, code, connections, "SRT caller refused: {words}"),
            None => debug!(%peer, code, "SRT caller refused: {words}"),
        }
    }

    /// Gives the caller a place and a task, or refuses it when all places are taken by publishers.
    fn give_place(&mut self, conclusion: Box<Conclusion>, from: SocketAddr, at: Duration) {
        let shared = self.shared;
        let place = match shared.places.take(from.ip()) {
            Ok((place, displaced)) => {
                if displaced {
                    shared.counts.displaced();
                }
                place
            }
            Err(full) => {
                shared.counts.connection_refused(full);
                debug!(peer = %from, %full, "SRT caller refused at once");
                return shared.send(&conclusion.refuse(Reject::Overload, at), from);
            }
        };
        let Some(socket) = self.free_socket() else {
            return shared.send(&conclusion.refuse(Reject::Internal, at), from);
        };
        let (sender, queue) = mpsc::channel(shared.settings.queue_datagrams);
        self.routes.add(socket, from, conclusion.socket(), sender);
        let span = info_span!("srt", peer = %from, stream = field::Empty, session = field::Empty);
        let arrival = Arrival { conclusion, from, at, socket, place, queue };
        shared.tasks.spawn(guarded(shared.clone(), arrival).instrument(span));
    }

    /// A socket id that nobody has and nobody can guess.
    fn free_socket(&self) -> Option<u32> {
        (0..16).find_map(|_| {
            let socket = getrandom::u32().ok()? & 0x3fff_ffff;
            self.routes.is_free(socket).then_some(socket)
        })
    }
}

/// A caller that was given a place.
struct Arrival {
    conclusion: Box<Conclusion>,
    from: SocketAddr,
    at: Duration,
    socket: u32,
    place: Place,
    queue: mpsc::Receiver<Datagram>,
}

/// Runs one caller's connection; its panic ends here.
async fn guarded<A: Admission>(shared: Arc<Shared<A>>, arrival: Arrival) {
    let run = Caller::new(&shared, arrival).run();
    guard::guarded(&shared.counts, &shared.log.panics, &shared.settings.clock, run).await;
}
