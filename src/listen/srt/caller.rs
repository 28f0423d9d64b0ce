//! One caller, from its conclusion to its line in the log.
//!
//! The protocol is [`Receiver`]'s; this file asks admission, moves datagrams and pieces, and keeps deadlines.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tracing::{debug, info, warn};

use super::connections::Reported;
use super::pieces::{self, Pieces};
use super::routes::Datagram;
use super::{Arrival, Shared};
use crate::listen::counts::Action;
use crate::listen::places::Place;
use crate::listen::{Admission, CloseReason, Finish, Protocol, PublishRequest, Publisher, Refusal, RefusalReason};
use crate::wire::srt::receiver::Output;
use crate::wire::srt::{Conclusion, Decryptor, Ended, Receiver, ReceiverSettings, Reject, Stats};

/// Datagrams that are taken from the queue together.
const BATCH: usize = 64;
/// Figures are told this often.
const REPORT_EVERY: Duration = Duration::from_millis(500);
/// The last word is repeated at most this often.
const REPEAT_EVERY: Duration = Duration::from_millis(100);
/// What a latency was meant in milliseconds and given in microseconds, or the other way round, lies outside of.
const LIKELY_LATENCIES: std::ops::RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_secs(8);

/// Why a connection ended: its line in the log, and what a session is told.
#[derive(Debug)]
enum End {
    /// The caller said goodbye.
    Shutdown,
    /// Nothing came from it any more.
    Idle,
    /// It is there and sends no media.
    NoMedia(Duration),
    /// Another connection was given its place before it published.
    Displaced,
    /// It could not be decided in time whether it may publish.
    TimedOut,
    /// It may not publish.
    Refused(RefusalReason),
    /// It encrypts where it must not, or with another passphrase, or not where it must.
    Crypto(Reject, &'static str),
    /// The session wanted it gone.
    Closed(CloseReason),
    /// The daemon stops.
    Stopped,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Shutdown => f.write_str("the caller closed the connection"),
            End::Idle => f.write_str("connection lost: nothing came any more"),
            End::NoMedia(silence) => write!(f, "timed out: no media for {} s", silence.as_secs()),
            End::Displaced => f.write_str("made room for a newer connection"),
            End::TimedOut => f.write_str("timed out: it was not decided in time whether it may publish"),
            End::Refused(reason) => write!(f, "refused: {}", reason.as_str()),
            End::Crypto(_, words) => write!(f, "refused: {words}"),
            End::Closed(reason) => write!(f, "closed by the session: {}", reason.as_str()),
            End::Stopped => f.write_str("the server is shutting down"),
        }
    }
}

impl End {
    /// What a caller is told that was not let in.
    fn code(&self) -> Reject {
        match self {
            End::Refused(reason) => code_of(*reason),
            End::Crypto(code, _) => *code,
            End::Displaced => Reject::Overload,
            End::Stopped => Reject::Down,
            _ => Reject::Internal,
        }
    }
}

fn code_of(reason: RefusalReason) -> Reject {
    match reason {
        RefusalReason::BadKey | RefusalReason::KeyExpired => Reject::Unauthorized,
        RefusalReason::StreamDisabled | RefusalReason::Policy => Reject::Forbidden,
        RefusalReason::InUse | RefusalReason::TakenOver => Reject::Conflict,
        RefusalReason::OtherStream => Reject::NotFound,
        RefusalReason::TooManyAttempts => Reject::Overload,
        RefusalReason::ShuttingDown => Reject::Down,
        RefusalReason::Internal => Reject::Internal,
    }
}

/// One caller.
pub(super) struct Caller<'a, A: Admission> {
    shared: &'a Shared<A>,
    conclusion: Box<Conclusion>,
    from: SocketAddr,
    at: Duration,
    socket: u32,
    place: Place,
    queue: mpsc::Receiver<Datagram>,
    began: Instant,
}

impl<'a, A: Admission> Caller<'a, A> {
    pub(super) fn new(shared: &'a Shared<A>, arrival: Arrival) -> Self {
        let Arrival { conclusion, from, at, socket, place, queue } = arrival;
        Caller { shared, conclusion, from, at, socket, place, queue, began: Instant::now() }
    }

    /// Runs the connection to its end, and writes one line about it.
    pub(super) async fn run(mut self) {
        debug!("SRT caller");
        match self.decide().await {
            Ok((publisher, decryptor)) => self.publish(publisher, decryptor).await,
            Err(end) => {
                let seconds = self.began.elapsed().as_secs();
                let gate = if matches!(end, End::Displaced) { &self.shared.log.left } else { &self.shared.log.refused };
                match gate.pass(self.shared.settings.clock.monotonic()) {
                    Some(connections) => {
                        info!(reason = %end, seconds, connections, "SRT connection ended before it published");
                    }
                    None => debug!(reason = %end, seconds, "SRT connection ended before it published"),
                }
                let answer = self.conclusion.refuse(end.code(), self.shared.now());
                self.shared.send(&answer, self.from);
                self.linger(answer).await;
            }
        }
    }

    /// Asks whether the caller may publish, and with which passphrase.
    async fn decide(&self) -> Result<(A::Publisher, Option<Decryptor>), End> {
        let shared = self.shared;
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => Err(End::Stopped),
            decided = timeout(shared.settings.handshake_timeout, self.admit()) => decided.unwrap_or(Err(End::TimedOut)),
            () = self.place.displaced() => Err(End::Displaced),
        }
    }

    async fn admit(&self) -> Result<(A::Publisher, Option<Decryptor>), End> {
        let id = &self.conclusion.stream_id;
        let passphrase = match self.shared.admission.srt_passphrase(&id.key).await {
            Ok(passphrase) => passphrase,
            Err(refusal) => return Err(self.refused(refusal).await),
        };
        let decryptor = self.decryptor(passphrase).await?;
        let request = PublishRequest {
            key: id.key.clone(),
            app: "live".to_owned(),
            stream: id.resource.clone(),
            protocol: Protocol::Srt,
            peer: self.from,
            encoder: Some(version(self.conclusion.version)),
        };
        match self.shared.admission.admit(request).await {
            Ok(publisher) => {
                self.place.keep();
                self.shared.attempts.right_key(self.from.ip());
                self.shared.counts.publishes.increment(1);
                Ok((publisher, decryptor))
            }
            Err(refusal) => Err(self.refused(refusal).await),
        }
    }

    /// What decrypts the caller's packets: none if it may send them plain, and does.
    async fn decryptor(&self, of_stream: Option<SecretString>) -> Result<Option<Decryptor>, End> {
        let settings = &self.shared.settings;
        let required = of_stream.is_some() || settings.encryption_required;
        let (material, passphrase) = match (&self.conclusion.key_material, of_stream.or(settings.passphrase.clone())) {
            (Some(material), Some(passphrase)) => (material.clone(), passphrase),
            (Some(_), None) => return Err(self.crypto(Reject::Unsecure, "it encrypts, and no passphrase is set here")),
            (None, _) if required => return Err(self.crypto(Reject::Unsecure, "it does not encrypt, and must")),
            (None, _) => return Ok(None),
        };
        let ip = self.from.ip();
        if self.shared.passphrase_attempts.check(ip).is_err() {
            return Err(self.crypto(Reject::Overload, "too many wrong passphrases from this address"));
        }
        let derived = {
            // Never closed.
            let _one_of_few = self.shared.derivations.acquire().await;
            tokio::task::spawn_blocking(move || Decryptor::new(passphrase, &material)).await
        };
        match derived {
            Ok(Ok(decryptor)) => {
                self.shared.passphrase_attempts.right_key(ip);
                Ok(Some(decryptor))
            }
            Ok(Err(_)) => {
                let delay = self.shared.passphrase_attempts.wrong_key(ip);
                sleep(delay.min(settings.max_refusal_delay)).await;
                Err(self.crypto(Reject::BadSecret, "its passphrase is another one"))
            }
            Err(_) => Err(self.crypto(Reject::Internal, "the derivation of its keys panicked")),
        }
    }

    fn crypto(&self, code: Reject, words: &'static str) -> End {
        self.shared.counts.protocol_error(code.as_str(), Action::Drop);
        End::Crypto(code, words)
    }

    /// A refusal; that of a wrong key comes later each time, and when there were too many, in another code.
    async fn refused(&self, refusal: Refusal) -> End {
        let ip = self.from.ip();
        let mut reason = refusal.reason;
        if reason == RefusalReason::BadKey {
            if self.shared.attempts.check(ip).is_err() {
                reason = RefusalReason::TooManyAttempts;
            } else {
                let delay = self.shared.attempts.wrong_key(ip);
                sleep(delay.min(self.shared.settings.max_refusal_delay)).await;
            }
        }
        self.shared.counts.publish_refused(reason);
        debug!(description = refusal.description, "publish refused");
        End::Refused(reason)
    }

    /// The latency in force: ours, or the caller's if it asks for more, up to the most that is allowed.
    fn latency(&self) -> Duration {
        let settings = &self.shared.settings;
        let asked = self.conclusion.receiver_latency;
        let latency = asked.max(settings.latency_min).min(settings.latency_max);
        // Who asks for nothing has 0 here.
        if !asked.is_zero() && !LIKELY_LATENCIES.contains(&asked) {
            warn!(
                asked_ms = asked.as_millis(),
                latency_ms = latency.as_millis(),
                "the caller asks for an unlikely latency; FFmpeg and OBS count it in microseconds, others in milliseconds"
            );
        }
        latency
    }

    /// Lets the caller in, and serves it until it goes or must go.
    async fn publish(&mut self, publisher: A::Publisher, decryptor: Option<Decryptor>) {
        let (settings, conclusion) = (&self.shared.settings, &self.conclusion);
        let latency = self.latency();
        let acceptance = conclusion.accept(self.socket, latency, conclusion.sender_latency, self.shared.now());
        self.shared.send(&acceptance, self.from);
        let key_bits = decryptor.as_ref().map_or(0, |decryptor| decryptor.key_length().bytes() * 8);
        let caller = version(conclusion.version);
        info!(latency_ms = latency.as_millis(), key_bits, caller, "SRT connection accepted");
        let receiver = Receiver::new(ReceiverSettings {
            socket: conclusion.socket(),
            initial: conclusion.initial(),
            timestamp: conclusion.timestamp,
            at: self.at,
            latency,
            idle_timeout: settings.idle_timeout,
            release_every: settings.release_every,
            max_packets: settings.max_packets,
            max_bytes: settings.max_buffer_bytes,
            acceptance,
            decryptor,
        });
        let (pieces, feed) = pieces::queue(settings.backlog_bytes);
        let reported = publisher
            .destination()
            .map(|destination| self.shared.connections.begin(&destination, self.socket, receiver.stats()));
        let mut connection = Connection { receiver, pieces: Some(pieces), reported, out: Output::default() };
        let end = {
            let mut feeding = pin!(feed.run(&publisher));
            let end = self.serve(&mut connection, feeding.as_mut(), publisher.closed()).await;
            if matches!(end, End::Shutdown | End::Idle) {
                connection.flush();
                // What had come is still taken; what the session does not take in time is lost.
                let _ = timeout(settings.drain_timeout, feeding).await;
            }
            end
        };
        publisher.finish(Finish::Lost(end.to_string())).await;
        let stats = connection.receiver.stats();
        info!(
            reason = %end,
            seconds = self.began.elapsed().as_secs(),
            bytes = stats.bytes,
            packets = stats.packets,
            lost = stats.lost,
            retransmitted = stats.retransmitted,
            dropped = stats.dropped,
            undecryptable = stats.undecryptable,
            rtt_ms = stats.rtt.as_millis(),
            "SRT connection ended"
        );
        if !matches!(end, End::Shutdown) {
            let goodbye = connection.goodbye(self.shared.now());
            // Twice: a caller that misses it goes on sending for seconds.
            self.shared.send(&goodbye, self.from);
            self.shared.send(&goodbye, self.from);
            self.linger(goodbye).await;
        }
    }

    /// Serves the connection until it ends.
    async fn serve(
        &mut self,
        connection: &mut Connection,
        mut feeding: Pin<&mut impl Future<Output = Result<(), CloseReason>>>,
        closed: impl Future<Output = CloseReason>,
    ) -> End {
        let mut closed = pin!(closed);
        let shared = self.shared;
        let mut timer = pin!(sleep_until(shared.origin + connection.receiver.deadline()));
        let mut batch = Vec::with_capacity(BATCH);
        let (mut media, mut media_at, mut reported_at) = (0, shared.now(), Duration::ZERO);
        loop {
            tokio::select! {
                biased;
                () = shared.shutdown.cancelled() => return End::Stopped,
                reason = &mut closed => return End::Closed(reason),
                fed = &mut feeding => return End::Closed(fed.err().unwrap_or(CloseReason::SessionEnded)),
                received = self.queue.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return End::Stopped;
                    }
                    for Datagram { bytes, at } in batch.drain(..) {
                        connection.receiver.take(bytes, at, &mut connection.out);
                    }
                }
                () = &mut timer => {}
            }
            let now = shared.now();
            let ended = connection.receiver.poll(now, &mut connection.out);
            for datagram in connection.out.datagrams.drain(..) {
                shared.send(&datagram, self.from);
            }
            connection.hand_over();
            if let Some(ended) = ended {
                return match ended {
                    Ended::Shutdown => End::Shutdown,
                    Ended::Idle => End::Idle,
                };
            }
            let unique = connection.receiver.unique_packets();
            if unique != media {
                (media, media_at) = (unique, now);
            } else if now >= media_at + shared.settings.media_timeout {
                return End::NoMedia(shared.settings.media_timeout);
            }
            if now >= reported_at + REPORT_EVERY {
                reported_at = now;
                connection.report();
            }
            let deadline = shared.origin + connection.receiver.deadline();
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
        }
    }

    /// Repeats the last word to a caller that goes on asking, for a while.
    async fn linger(&mut self, word: Bytes) {
        let until = Instant::now() + self.shared.settings.linger;
        let mut said = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = self.place.displaced() => return,
                came = timeout_at(until, self.queue.recv()) => match came {
                    Ok(Some(_)) if said.elapsed() >= REPEAT_EVERY => {
                        said = Instant::now();
                        self.shared.send(&word, self.from);
                    }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return,
                }
            }
        }
    }
}

/// A caller's version of SRT, for people.
fn version(version: u32) -> String {
    format!("SRT {}.{}.{}", version >> 16 & 0xff, version >> 8 & 0xff, version & 0xff)
}

/// A connection that publishes.
struct Connection {
    receiver: Receiver,
    /// None when nothing more will come.
    pieces: Option<Pieces>,
    reported: Option<Reported>,
    out: Output,
}

impl Connection {
    fn hand_over(&mut self) {
        if let Some(pieces) = &mut self.pieces {
            pieces.put(&mut self.out.released);
        }
    }

    /// The caller is gone: what it sent is handed over, and nothing more will be.
    fn flush(&mut self) {
        self.receiver.flush(&mut self.out);
        self.hand_over();
        self.pieces = None;
    }

    /// The last word to the caller.
    fn goodbye(&mut self, now: Duration) -> Bytes {
        self.out.datagrams.clear();
        self.receiver.shut_down(now, &mut self.out);
        self.out.datagrams.pop().unwrap_or_default()
    }

    fn report(&self) {
        if let Some(reported) = &self.reported {
            let overflowed = self.pieces.as_ref().map_or(0, Pieces::overflowed);
            let stats = self.receiver.stats();
            reported.update(Stats { dropped: stats.dropped + overflowed, ..stats });
        }
    }
}
