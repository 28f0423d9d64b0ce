//! One RTMP connection, from the first byte to its line in the log.
//!
//! The protocol is [`Server`]'s; this file moves bytes, keeps deadlines, asks admission, and feeds the publisher. It is
//! generic over the socket: behind its handshake ([`over_tls`]) a TLS connection is one like any other.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::BytesMut;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info};

use super::{Door, Shared};
use crate::listen::counts::Action;
use crate::listen::low_water::{Gathering, HOLD, LowWater};
use crate::listen::places::Place;
use crate::listen::tls::{Acceptor, HandshakeError, TlsFault};
use crate::listen::{Admission, CloseReason, Finish, PublishRequest, Publisher, Refusal, RefusalReason};
use crate::telemetry::gate::SharedGate;
use crate::tls::FIRST_OF_TLS;
use crate::wire::Inbound;
use crate::wire::rtmp::{Event, Phase, PublishStatus, RtmpError, Server};

/// What a read buffer is made with: several video frames, so that few reads and few allocations are needed.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// A read is not begun with less room than this.
const MIN_READ_BYTES: usize = 16 * 1024;
/// The same two until a publish was accepted: the handshake and the commands of an encoder have less than 4 KiB, and what
/// a stranger costs is mostly this.
const STRANGER_BUFFER_BYTES: usize = 4 * 1024;
const MIN_STRANGER_READ_BYTES: usize = 1024;
/// Words for a publisher that gave no key.
const NO_KEY: &str = "No stream key was given. Use rtmp://HOST/live as the server and the stream key as the key.";

/// Why a connection ended: its line in the log, and what a session is told.
#[derive(Debug)]
enum End {
    /// The peer closed it.
    Disconnected,
    /// The peer did not come to the next phase, or fell silent.
    TimedOut(&'static str),
    /// The peer did not take what we wrote.
    NotReading,
    /// The socket failed.
    Io(std::io::ErrorKind),
    /// Another connection was given its place before it published.
    Displaced,
    /// The peer broke the protocol.
    Protocol(RtmpError),
    /// The peer broke TLS, or did not want it.
    Tls(TlsFault),
    /// The publish was refused.
    Refused(RefusalReason),
    /// The session wanted it gone.
    Closed(CloseReason),
    /// The daemon stops.
    Shutdown,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Disconnected => f.write_str("the peer closed the connection"),
            End::TimedOut(what) => write!(f, "timed out: {what}"),
            End::NotReading => f.write_str("the peer does not read"),
            End::Io(kind) => write!(f, "connection lost: {kind}"),
            End::Displaced => f.write_str("made room for a newer connection"),
            End::Protocol(RtmpError::Version(FIRST_OF_TLS)) => f.write_str(
                "TLS came where plain RTMP is spoken: push to rtmp:// here, or to rtmps:// and the RTMPS port",
            ),
            End::Protocol(error) => write!(f, "protocol error: {error}"),
            End::Tls(fault) => fault.fmt(f),
            End::Refused(reason) => write!(f, "refused: {}", reason.as_str()),
            End::Closed(reason) => write!(f, "closed by the session: {}", reason.as_str()),
            End::Shutdown => f.write_str("the server is shutting down"),
        }
    }
}

/// The log of connections that end before they publish, which anybody can make as many of as he likes: one line per cause.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    refused: SharedGate,
    broke_the_protocol: SharedGate,
    /// Encoders at the wrong port, or with the wrong trust: somebody waits for these words, and noise must not hide them.
    misdirected: SharedGate,
    left: SharedGate,
}

impl Strangers {
    /// For how many connections a line about this one stands, if it may be written now.
    fn pass(&self, end: &End, now: Duration) -> Option<u64> {
        let gate = match end {
            End::Refused(_) => &self.refused,
            End::Protocol(RtmpError::Version(FIRST_OF_TLS))
            | End::Tls(TlsFault::PlainRtmp | TlsFault::CertificateRefused(_)) => &self.misdirected,
            End::Protocol(_) | End::Tls(_) => &self.broke_the_protocol,
            _ => &self.left,
        };
        gate.pass(now)
    }
}

/// How a publish ended, and the connection's end if it is over too.
struct Published {
    finish: Finish,
    end: Option<End>,
}

impl From<End> for Published {
    fn from(end: End) -> Self {
        Published { finish: Finish::Lost(end.to_string()), end: Some(end) }
    }
}

/// A publish request as the protocol gave it.
struct Request {
    key: SecretString,
    app: String,
    encoder: Option<String>,
}

/// Who is connected, and where he came in.
pub(super) struct Caller<'a, A: Admission> {
    pub peer: SocketAddr,
    pub shared: &'a Shared<A>,
    pub door: &'a Door,
    pub place: &'a Place,
    pub accepted: Instant,
}

impl<A: Admission> Caller<'_, A> {
    /// One line about the connection's end; about those that never published, one for several.
    fn log(&self, end: &End, bytes: u64, has_published: bool) {
        let seconds = self.accepted.elapsed().as_secs();
        if has_published {
            info!(reason = %end, bytes, seconds, "RTMP connection ended");
            return;
        }
        match self.shared.strangers.pass(end, self.shared.settings.clock.monotonic()) {
            Some(connections) => {
                info!(reason = %end, bytes, seconds, connections, "RTMP connection ended before it published");
            }
            None => debug!(reason = %end, bytes, seconds, "RTMP connection ended before it published"),
        }
    }

    fn protocol_error(&self, error: RtmpError) -> End {
        self.door.counts.protocol_error(error.code(), Action::Drop);
        End::Protocol(error)
    }

    fn tls_fault(&self, fault: TlsFault) -> End {
        self.door.counts.protocol_error(fault.code(), Action::Drop);
        End::Tls(fault)
    }

    /// What an error of the socket means.
    fn socket_error(&self, error: &std::io::Error) -> End {
        match (TlsFault::of(error), error.kind()) {
            (Some(fault), _) => self.tls_fault(fault),
            // Over TLS: the end came without a goodbye (close_notify), as it does from most who leave.
            (None, std::io::ErrorKind::UnexpectedEof) => End::Disconnected,
            (None, kind) => End::Io(kind),
        }
    }
}

/// Runs a connection that begins with a TLS handshake, which has the time of RTMP's: the two have one deadline.
pub(super) async fn over_tls<A: Admission>(socket: TcpStream, acceptor: &Acceptor, caller: Caller<'_, A>) {
    let deadline = caller.accepted + caller.shared.settings.handshake_timeout;
    let shaken = tokio::select! {
        biased;
        () = caller.shared.shutdown.cancelled() => Err(End::Shutdown),
        () = caller.place.displaced() => Err(End::Displaced),
        shaken = timeout_at(deadline, acceptor.shake_hands(socket)) => match shaken {
            Ok(Ok(socket)) => Ok(socket),
            Ok(Err(HandshakeError::Fault(fault))) => Err(caller.tls_fault(fault)),
            Ok(Err(HandshakeError::Io(error))) => Err(caller.socket_error(&error)),
            Err(_) => Err(End::TimedOut("no TLS handshake")),
        },
    };
    match shaken {
        Ok(socket) => Connection::new(socket, caller).run().await,
        Err(end) => caller.log(&end, 0, false),
    }
}

/// One connection.
pub(super) struct Connection<'a, S, A: Admission> {
    socket: S,
    caller: Caller<'a, A>,
    server: Server,
    buffer: BytesMut,
    events: Vec<Event>,
    received_bytes: u64,
    /// A publish was accepted: this is no stranger.
    has_published: bool,
}

impl<'a, S: AsyncRead + AsyncWrite + LowWater + Unpin, A: Admission> Connection<'a, S, A> {
    /// A connection of which nothing of RTMP has been read.
    pub(super) fn new(socket: S, caller: Caller<'a, A>) -> Self {
        let server = Server::new(caller.shared.settings.limits);
        let (buffer, events) = (BytesMut::new(), Vec::new());
        Connection { socket, caller, server, buffer, events, received_bytes: 0, has_published: false }
    }

    /// Runs the connection to its end, and writes one line about it.
    pub(super) async fn run(mut self) {
        debug!("connected");
        let end = self.serve().await;
        self.say_goodbye(&end).await;
        self.caller.log(&end, self.received_bytes, self.has_published);
    }

    /// Publish after publish, until the connection ends.
    async fn serve(&mut self) -> End {
        loop {
            let request = match self.wait_for_publish().await {
                Ok(request) => request,
                Err(end) => return end,
            };
            let publisher = match self.admit(request).await {
                Ok(publisher) => publisher,
                Err(end) => return end,
            };
            self.caller.door.counts.publishes.increment(1);
            let accepted =
                self.server.accept_publish(&mut self.events).map_err(|error| self.caller.protocol_error(error));
            let published = match accepted {
                Ok(()) => self.publish(&publisher).await.unwrap_or_else(Published::from),
                Err(end) => end.into(),
            };
            // What comes now is short: the next publish, or the peer's goodbye.
            self.socket.set_low_water(1);
            publisher.finish(published.finish).await;
            if let Some(end) = published.end {
                return end;
            }
        }
    }

    /// Reads until a publish is asked for. Each phase has its own deadline.
    async fn wait_for_publish(&mut self) -> Result<Request, End> {
        let settings = &self.caller.shared.settings;
        let mut phase = self.server.phase();
        let mut began = if phase == Phase::Handshake { self.caller.accepted } else { Instant::now() };
        loop {
            if let Some(request) = self.take_request() {
                return Ok(request);
            }
            if self.server.phase() != phase {
                (phase, began) = (self.server.phase(), Instant::now());
            }
            let (allowed, what) = match phase {
                Phase::Handshake => (settings.handshake_timeout, "no handshake"),
                Phase::Connect => (settings.connect_timeout, "no connect command"),
                _ => (settings.publish_timeout, "no publish command"),
            };
            self.write_output().await?;
            tokio::select! {
                biased;
                () = self.caller.shared.shutdown.cancelled() => return Err(End::Shutdown),
                () = self.caller.place.displaced(), if !self.has_published => return Err(End::Displaced),
                read = timeout_at(began + allowed, self.socket.read_buf(make_room(&mut self.buffer, self.has_published))) => {
                    let read = read.map_err(|_| End::TimedOut(what))?;
                    self.take_in(read)?;
                }
            }
        }
    }

    /// The publish request among the events, if there is one; what else came before a publish is of no use.
    fn take_request(&mut self) -> Option<Request> {
        self.events.drain(..).fold(None, |found, event| match event {
            Event::PublishRequested { key, app, encoder } => Some(Request { key, app, encoder }),
            Event::Skipped(error) => {
                self.caller.door.counts.protocol_error(error.code(), Action::Skip);
                found
            }
            Event::Media(_) | Event::Unpublished => found,
        })
    }

    /// Asks admission; refuses in words if it says no.
    async fn admit(&mut self, request: Request) -> Result<A::Publisher, End> {
        self.write_output().await?;
        let decided = tokio::select! {
            biased;
            decided = self.decide(request) => decided,
            () = self.caller.place.displaced(), if !self.has_published => return Err(End::Displaced),
        };
        match decided {
            Ok(publisher) => {
                self.caller.place.keep();
                self.has_published = true;
                self.caller.shared.attempts.right_key(self.caller.peer.ip());
                Ok(publisher)
            }
            Err(mut refusal) => {
                if refusal.reason == RefusalReason::BadKey {
                    refusal = self.slow_down(refusal).await?;
                }
                let Refusal { reason, description } = refusal;
                self.caller.door.counts.publish_refused(reason);
                let status = match reason {
                    RefusalReason::Internal | RefusalReason::ShuttingDown => PublishStatus::Failed,
                    _ => PublishStatus::BadName,
                };
                self.server.refuse_publish(status, &description);
                Err(End::Refused(reason))
            }
        }
    }

    /// A wrong key: its answer comes later each time, and at once and in other words when there were too many.
    async fn slow_down(&self, refusal: Refusal) -> Result<Refusal, End> {
        let ip = self.caller.peer.ip();
        if let Err(left) = self.caller.shared.attempts.check(ip) {
            let words = format!("Too many wrong stream keys from this address. Try again in {} s.", left.as_secs() + 1);
            return Ok(Refusal { reason: RefusalReason::TooManyAttempts, description: words });
        }
        let delay = self.caller.shared.attempts.wrong_key(ip);
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = self.caller.shared.shutdown.cancelled() => {}
            () = self.caller.place.displaced(), if !self.has_published => return Err(End::Displaced),
        }
        Ok(refusal)
    }

    async fn decide(&self, request: Request) -> Result<A::Publisher, Refusal> {
        let refuse = |reason, description: &str| Err(Refusal { reason, description: description.to_owned() });
        let Request { key, app, encoder } = request;
        if key.expose_secret().is_empty() {
            return refuse(RefusalReason::Policy, NO_KEY);
        }
        let (protocol, peer) = (self.caller.door.protocol, self.caller.peer);
        let request = PublishRequest { key, app, stream: None, protocol, peer, encoder };
        tokio::select! {
            biased;
            admitted = self.caller.shared.admission.admit(request) => admitted,
            () = self.caller.shared.shutdown.cancelled() => {
                refuse(RefusalReason::ShuttingDown, "The server is shutting down. Reconnect in a moment.")
            }
            () = tokio::time::sleep(self.caller.shared.settings.admission_timeout) => {
                refuse(RefusalReason::Internal, "The server could not check the stream key in time. Try again.")
            }
        }
    }

    /// Feeds `publisher` until the publish ends; the error is the connection's end.
    async fn publish(&mut self, publisher: &A::Publisher) -> Result<Published, End> {
        let mut closed = pin!(publisher.closed());
        let settings = &self.caller.shared.settings;
        let (mut silent_since, mut pinged) = (Instant::now(), false);
        let mut gathering = Gathering::new(silent_since);
        let mut media_since = silent_since;
        loop {
            self.write_output().await?;
            let has_media = self.events.iter().any(|event| matches!(event, Event::Media(_)));
            if self.hand_over(publisher, closed.as_mut()).await? {
                return Ok(Published { finish: Finish::Unpublished, end: None });
            }
            if !pinged {
                silent_since = Instant::now(); // the time that the session took is not the peer's silence
            }
            if has_media {
                media_since = Instant::now();
            }
            let media_until = media_since + settings.silence_timeout;
            let deadline = match pinged {
                true => silent_since + settings.silence_timeout,
                false => media_until.min(silent_since + settings.ping_after),
            };
            let deadline = if gathering.holds() { deadline.min(Instant::now() + HOLD) } else { deadline };
            let read = tokio::select! {
                biased;
                reason = closed.as_mut() => return Err(End::Closed(reason)),
                () = self.caller.shared.shutdown.cancelled() => return Err(End::Shutdown),
                read = timeout_at(deadline, self.socket.read_buf(make_room(&mut self.buffer, true))) => read,
            };
            match read {
                Ok(read) => {
                    gathering.after_read(&self.socket, *read.as_ref().unwrap_or(&0), Instant::now());
                    if let Err(end) = self.take_in(read) {
                        // What was whole before the broken byte is still the publisher's.
                        let unpublished = self.hand_over(publisher, closed.as_mut()).await?;
                        let finish = if unpublished { Finish::Unpublished } else { Finish::Lost(end.to_string()) };
                        return Ok(Published { finish, end: Some(end) });
                    }
                    pinged = false;
                }
                Err(_) if gathering.holds() => gathering.release(&self.socket),
                Err(_) if pinged => return Err(End::TimedOut("the publisher is silent")),
                // It answers pings, so it is there to be told.
                Err(_) if Instant::now() >= media_until => {
                    return Err(End::Closed(CloseReason::NoMedia(settings.silence_timeout)));
                }
                Err(_) => {
                    pinged = true;
                    self.server.ping(millis(silent_since.elapsed()));
                }
            }
        }
    }

    /// Hands the events over, in order; true when the peer unpublished. Events behind that stay.
    async fn hand_over(
        &mut self,
        publisher: &A::Publisher,
        mut closed: Pin<&mut impl Future<Output = CloseReason>>,
    ) -> Result<bool, End> {
        let mut events = std::mem::take(&mut self.events);
        let mut unpublished = false;
        let mut pending = events.drain(..).peekable();
        while let Some(event) = pending.next() {
            match event {
                Event::Media(tag) => {
                    let behind = std::iter::from_fn(|| pending.next_if_map(media));
                    let run = std::iter::once(Inbound::Flv(tag)).chain(behind);
                    let sent = tokio::select! {
                        biased;
                        sent = publisher.send(run) => sent,
                        reason = closed.as_mut() => Err(reason),
                        () = self.caller.shared.shutdown.cancelled() => return Err(End::Shutdown),
                    };
                    sent.map_err(End::Closed)?;
                }
                Event::Skipped(error) => {
                    self.caller.door.counts.protocol_error(error.code(), Action::Skip);
                    debug!(%error, "a message was left out");
                }
                Event::Unpublished => {
                    unpublished = true;
                    break;
                }
                Event::PublishRequested { .. } => {} // comes behind `Unpublished` only
            }
        }
        let behind: Vec<Event> = pending.collect();
        self.events = events; // keeps its capacity
        self.events.extend(behind);
        Ok(unpublished)
    }

    /// Feeds the protocol with what was read.
    fn take_in(&mut self, read: std::io::Result<usize>) -> Result<(), End> {
        match read {
            Ok(0) => Err(End::Disconnected),
            Ok(count) => {
                self.received_bytes += count as u64;
                self.caller.door.counts.received_bytes.increment(count as u64);
                let input = self.buffer.split().freeze();
                self.server.receive(input, &mut self.events).map_err(|error| self.caller.protocol_error(error))
            }
            Err(error) => Err(self.caller.socket_error(&error)),
        }
    }

    async fn write_output(&mut self) -> Result<(), End> {
        let output = self.server.take_output();
        if output.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + self.caller.shared.settings.write_timeout;
        let written = async {
            self.socket.write_all(&output).await?;
            self.socket.flush().await // TLS may have taken it and not passed it on
        };
        match timeout_at(deadline, written).await {
            Ok(written) => written.map_err(|error| self.caller.socket_error(&error)),
            Err(_) => Err(End::NotReading),
        }
    }

    /// Last words where somebody may read them, then a close that does not take them back: a socket that is closed with
    /// unread input is reset, and the peer may lose what it has not read. So: write, close our half, read on for a moment.
    async fn say_goodbye(&mut self, end: &End) {
        match end {
            End::Disconnected | End::Io(_) | End::Tls(_) | End::NotReading | End::TimedOut(_) | End::Displaced => {
                return;
            }
            End::Closed(reason) => self.server.end(status_of(reason), &reason.to_string()),
            End::Shutdown => self.server.end(PublishStatus::Unpublished, &CloseReason::ShuttingDown.to_string()),
            End::Refused(_) | End::Protocol(_) => {}
        }
        let settings = &self.caller.shared.settings;
        let taken_until = Instant::now() + settings.write_timeout;
        if self.write_output().await.is_err() {
            return;
        }
        // Over TLS the goodbye (close_notify) has to be taken by the peer, like everything else that we write.
        if !matches!(timeout_at(taken_until, self.socket.shutdown()).await, Ok(Ok(()))) {
            return;
        }
        let deadline = Instant::now() + settings.linger;
        let mut left = settings.linger_bytes;
        while left > 0 {
            self.buffer.clear();
            match timeout_at(deadline, self.socket.read_buf(make_room(&mut self.buffer, self.has_published))).await {
                Ok(Ok(count)) if count > 0 => left = left.saturating_sub(count),
                _ => return,
            }
        }
    }
}

/// Code of the last status of a publish that the session ended.
fn status_of(reason: &CloseReason) -> PublishStatus {
    match reason {
        CloseReason::KeyRevoked | CloseReason::StreamDeleted => PublishStatus::Denied,
        CloseReason::TakenOver | CloseReason::Superseded | CloseReason::InUse => PublishStatus::BadName,
        CloseReason::Rejected(_) | CloseReason::NoCapacity(_) => PublishStatus::Rejected,
        CloseReason::Failed => PublishStatus::Failed,
        CloseReason::ShuttingDown | CloseReason::SessionEnded | CloseReason::NoMedia(_) => PublishStatus::Unpublished,
    }
}

/// What a publisher is sent, or the event as it was.
fn media(event: Event) -> Result<Inbound, Event> {
    match event {
        Event::Media(tag) => Ok(Inbound::Flv(tag)),
        other => Err(other),
    }
}

/// `buffer` with room for a read worth its system call; a stranger's is small.
fn make_room(buffer: &mut BytesMut, admitted: bool) -> &mut BytesMut {
    let (least, made) = match admitted {
        true => (MIN_READ_BYTES, READ_BUFFER_BYTES),
        false => (MIN_STRANGER_READ_BYTES, STRANGER_BUFFER_BYTES),
    };
    if buffer.capacity() - buffer.len() < least {
        buffer.reserve(made);
    }
    buffer
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_strangers_have_one_line_per_cause_and_interval() {
        let (strangers, at) = (Strangers::default(), Duration::from_secs);
        let refused = End::Refused(RefusalReason::BadKey);
        assert_eq!(strangers.pass(&refused, at(1)), Some(1));
        assert!((0..999).all(|_| strangers.pass(&refused, at(2)).is_none()));
        assert_eq!(strangers.pass(&End::Disconnected, at(2)), Some(1), "another cause");
        assert_eq!(strangers.pass(&End::Tls(TlsFault::NotTls), at(2)), Some(1));
        assert_eq!(strangers.pass(&End::Tls(TlsFault::PlainRtmp), at(2)), Some(1), "noise hides no encoder");
        assert_eq!(strangers.pass(&refused, at(11)), Some(1_000));
    }
}
