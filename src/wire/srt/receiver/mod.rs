//! One connected caller: its packets in order, at its own pace, with what was lost asked for again.
//!
//! Datagrams and time go in; datagrams for the caller and released payloads come out. A packet is released one latency after
//! it was sent, on the caller's clock; one that is missing until then is left behind, and the next one says so. Losses are
//! reported as soon as they are seen, and again while they last. Nothing here waits, and nothing grows beyond
//! [`ReceiverSettings::max_packets`] and [`ReceiverSettings::max_bytes`].
//!
//! Source: draft-sharabayko-srt-01 sections 4.5 (TSBPD), 4.6 (too-late packet drop), 4.8 (acknowledgements and losses),
//! 4.10 (round trip).

mod buffer;
mod timing;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::crypto::{Decryptor, KeyMaterial};
use super::packet::{Ack, Control, DataHeader, HEADER_BYTES, Header, Kind, LossList, Serial, Writer, dropped};
use super::screen::timestamp;
use buffer::{Buffer, Inserted, Missing};
use timing::{Link, Rate, RoundTrip, SenderClock};

/// Full acknowledgements are at least this far apart.
const ACK_EVERY: Duration = Duration::from_millis(10);
/// A light one comes before, after this many packets.
const LIGHT_ACK_PACKETS: u32 = 64;
/// A late packet is waited for before it is reported, where packets overtake each other: at most this part of the latency.
const MAX_REORDER_OF_LATENCY: u32 = 8;
/// Who goes is listened to for this long at most, because his last packets may have been overtaken by his goodbye.
const MAX_FAREWELL: Duration = Duration::from_millis(250);
/// Who sent nothing for this long says that he is here.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(1);
/// Losses are looked through at least this far apart.
const MIN_NAK_EVERY: Duration = Duration::from_millis(20);
/// Acknowledgements whose answer is waited for.
const MAX_ACKS_IN_FLIGHT: usize = 256;
/// New wrapping keys, which cost a millisecond each, are made at most this often: callers keep theirs.
const DERIVE_EVERY: Duration = Duration::from_secs(1);
/// Time in which we were not asked for longer than this does not count as the caller's silence: the machine stood still.
const STOOD_STILL: Duration = Duration::from_millis(1_500);

/// What a connection is begun with.
#[derive(Debug)]
pub struct ReceiverSettings {
    /// The caller's socket id.
    pub socket: u32,
    /// Number of its first packet.
    pub initial: Serial,
    /// What its clock showed in its conclusion.
    pub timestamp: u32,
    /// When that came.
    pub at: Duration,
    /// From the moment a packet was sent to its release.
    pub latency: Duration,
    /// A caller that is silent for this long is gone.
    pub idle_timeout: Duration,
    /// Payloads are released at most this often, all that are due together.
    pub release_every: Duration,
    /// Most packets that are held or missed.
    pub max_packets: usize,
    /// Most payload bytes that are held; what comes beyond is dropped and counted.
    pub max_bytes: usize,
    /// Our acceptance, for a caller that asks again.
    pub acceptance: Bytes,
    /// Decrypts; none for a caller that does not encrypt.
    pub decryptor: Option<Decryptor>,
}

/// One payload, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// Its bytes.
    pub data: Bytes,
    /// Packets before it were lost.
    pub lost: bool,
}

/// What is to be done now.
#[derive(Debug, Default)]
pub struct Output {
    /// Datagrams for the caller.
    pub datagrams: Vec<Bytes>,
    /// Payloads, in order.
    pub released: Vec<Released>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The caller said so.
    Shutdown,
    /// Nothing came for the idle timeout.
    Idle,
}

/// Figures of a connection, since its begin if nothing else is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Smoothed round trip.
    pub rtt: Duration,
    /// Its variance.
    pub rtt_variance: Duration,
    /// Latency in force.
    pub latency: Duration,
    /// Data packets that came, repetitions included.
    pub packets: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Those that came for the first time, and in time.
    pub unique_packets: u64,
    /// Their payload bytes.
    pub unique_bytes: u64,
    /// Packets that were missed when a later one came.
    pub lost: u64,
    /// Packets that were sent again.
    pub retransmitted: u64,
    /// Packets that did not come in time: visible damage.
    pub dropped: u64,
    /// Packets that came behind their moment, or a second time behind it.
    pub belated: u64,
    /// Packets that no key was known for.
    pub undecryptable: u64,
    /// Packets that are held now.
    pub buffer_packets: u64,
    /// From the first one's moment to the last one's.
    pub buffer_span: Duration,
    /// Payload bytes per second that come now.
    pub bytes_per_second: u64,
    /// Packets per second that the link could carry; 0 while not known.
    pub link_packets_per_second: u64,
    /// Acknowledgements sent.
    pub acks: u64,
    /// Loss reports sent.
    pub naks: u64,
    /// Microseconds by which the caller's clock fell behind ours.
    pub drift_us: i64,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Receiver {
    settings: ReceiverSettings,
    clock: SenderClock,
    buffer: Buffer,
    rtt: RoundTrip,
    rate: Rate,
    link: Link,
    stats: Stats,
    /// New holes, to be reported at once.
    losses: LossList,
    last_heard: Duration,
    last_sent: Duration,
    last_poll: Duration,
    last_release: Duration,
    last_derivation: Option<Duration>,
    nak_at: Duration,
    acks: Acks,
    /// How late packets come that were only overtaken. A loss is not reported before.
    reorder: Duration,
    reorder_decays_at: Duration,
    /// The caller said goodbye: until when it is still listened to.
    leaves_at: Option<Duration>,
    ended: Option<Ended>,
}

/// What was acknowledged.
#[derive(Debug)]
struct Acks {
    number: u32,
    /// Last full one: what it said, and when.
    last: (Serial, Duration),
    /// What the caller knows to be acknowledged.
    known: Serial,
    /// Packets since the last one of any kind.
    packets: u32,
    in_flight: VecDeque<(u32, Serial, Duration)>,
}

impl Receiver {
    /// A connection that was just accepted.
    pub fn new(settings: ReceiverSettings) -> Self {
        let (at, initial) = (settings.at, settings.initial);
        let stats = Stats { latency: settings.latency, ..Stats::default() };
        Receiver {
            clock: SenderClock::new(settings.timestamp, at, settings.latency),
            buffer: Buffer::new(initial, settings.max_packets),
            rtt: RoundTrip::unknown(),
            rate: Rate::from(at),
            link: Link::default(),
            stats,
            losses: LossList::default(),
            last_heard: at,
            last_sent: at,
            last_poll: at,
            last_release: at,
            last_derivation: None,
            nak_at: at,
            acks: Acks { number: 0, last: (initial, at), known: initial, packets: 0, in_flight: VecDeque::new() },
            reorder: Duration::ZERO,
            reorder_decays_at: at,
            leaves_at: None,
            ended: None,
            settings,
        }
    }

    /// The figures of now.
    pub fn stats(&self) -> Stats {
        Stats {
            rtt: self.rtt.smoothed,
            rtt_variance: self.rtt.variance,
            buffer_packets: self.buffer.present() as u64,
            buffer_span: self.buffer.span(),
            bytes_per_second: self.rate.bytes_per_second,
            link_packets_per_second: self.link.packets_per_second(),
            drift_us: self.clock.drifted(),
            ..self.stats
        }
    }

    /// Packets that came for the first time, and in time.
    pub fn unique_packets(&self) -> u64 {
        self.stats.unique_packets
    }

    /// Takes a datagram of the caller that came at `at`, then needs a [`Receiver::poll`].
    pub fn take(&mut self, mut datagram: BytesMut, at: Duration, out: &mut Output) {
        let Some(header) = Header::parse(&datagram) else { return };
        self.last_heard = self.last_heard.max(at);
        datagram.advance(HEADER_BYTES);
        match header.kind {
            Kind::Data(data) => self.take_data(data, header.timestamp, datagram, at),
            Kind::Control(Control::Shutdown) => {
                self.leaves_at.get_or_insert(at + self.rtt.patience().min(MAX_FAREWELL));
            }
            Kind::Control(Control::AckAck(number)) => self.take_ackack(number, header.timestamp, at),
            Kind::Control(Control::DropRequest) => {
                if let Some((first, last)) = dropped(&datagram) {
                    self.buffer.give_up(first, last);
                }
            }
            Kind::Control(Control::KeyMaterialRequest) => self.take_keys(&datagram, at, out),
            Kind::Control(Control::Handshake) => {
                self.last_sent = at;
                out.datagrams.push(self.settings.acceptance.clone());
            }
            Kind::Control(Control::Keepalive | Control::Other(_)) => {}
        }
    }

    fn take_data(&mut self, data: DataHeader, stamp: u32, mut payload: BytesMut, at: Duration) {
        let length = payload.len();
        self.stats.packets += 1;
        self.stats.bytes += length as u64;
        self.stats.retransmitted += u64::from(data.retransmitted);
        self.rate.count(length);
        self.acks.packets += 1;
        if !data.retransmitted {
            self.link.arrived(data.serial, at);
        }
        let readable = match (data.key, &self.settings.decryptor) {
            (Ok(None), None) => true,
            (Ok(Some(key)), Some(decryptor)) => decryptor.decrypt(key, data.serial, &mut payload),
            _ => false,
        };
        self.stats.undecryptable += u64::from(!readable);
        let due = self.clock.due(stamp, at);
        let at_once = self.reorder.is_zero();
        let report_at = at + if at_once { self.nak_every() } else { self.reorder };
        let missing = Missing { since: at, report_at };
        let losses = at_once.then_some(&mut self.losses);
        let fits = self.buffer.bytes() + length <= self.settings.max_bytes;
        let payload = (readable && fits).then(|| payload.freeze());
        let (inserted, given_up) = self.buffer.insert(data.serial, payload, due, missing, losses);
        self.stats.dropped += given_up;
        match inserted {
            Inserted::New { missed: 0 } => {}
            Inserted::New { missed } => {
                self.stats.lost += u64::from(missed);
                self.nak_at = self.nak_at.min(report_at);
            }
            Inserted::Recovered(Some(since)) if !data.retransmitted => {
                let late = at.saturating_sub(since);
                let most = self.settings.latency / MAX_REORDER_OF_LATENCY;
                self.reorder = self.reorder.max((late + late / 4).min(most));
            }
            Inserted::Belated => self.stats.belated += 1,
            Inserted::Recovered(_) | Inserted::Duplicate | Inserted::TooFar => {}
        }
        if matches!(inserted, Inserted::New { .. } | Inserted::Recovered(_)) {
            self.stats.dropped += u64::from(!fits);
            self.stats.unique_packets += 1;
            self.stats.unique_bytes += length as u64;
        }
    }

    fn take_ackack(&mut self, number: u32, stamp: u32, at: Duration) {
        let Some(index) = self.acks.in_flight.iter().position(|(sent, ..)| *sent == number) else { return };
        // Those before it were lost or overtaken.
        if let Some((_, serial, sent)) = self.acks.in_flight.drain(..=index).next_back() {
            self.rtt.measure(at.saturating_sub(sent));
            self.clock.sample(stamp, at, self.rtt.smoothed);
            self.acks.known = serial;
        }
    }

    fn take_keys(&mut self, content: &[u8], at: Duration, out: &mut Output) {
        let Some(decryptor) = &mut self.settings.decryptor else { return };
        let Ok(material) = KeyMaterial::parse(content) else { return };
        if decryptor.needs_derivation(&material) {
            if self.last_derivation.is_some_and(|last| at.saturating_sub(last) < DERIVE_EVERY) {
                return;
            }
            self.last_derivation = Some(at);
        }
        if decryptor.refresh(&material).is_ok() {
            self.send(at, out, |writer, packet| writer.key_material_response(packet, material.message()));
        }
    }

    /// Does what is due at `now`. Returns whether the connection is over, and how.
    pub fn poll(&mut self, now: Duration, out: &mut Output) -> Option<Ended> {
        let unasked = now.saturating_sub(self.last_poll);
        if unasked > STOOD_STILL {
            self.last_heard = (self.last_heard + unasked).min(now);
        }
        self.last_poll = now;
        self.rate.update(now);
        self.forget_reorder(now);
        if now >= self.release_at() {
            self.last_release = now;
            self.stats.dropped += self.buffer.release(now, &mut out.released);
        }
        self.report_losses(now, out);
        self.acknowledge(now, out);
        if now >= self.last_sent + KEEPALIVE_EVERY {
            self.send(now, out, Writer::keepalive);
        }
        if self.leaves_at.is_some_and(|at| now >= at) {
            self.ended = Some(Ended::Shutdown);
        }
        if self.ended.is_none() && now >= self.last_heard + self.settings.idle_timeout {
            self.ended = Some(Ended::Idle);
        }
        self.ended
    }

    /// When [`Receiver::poll`] has something to do, if nothing comes before.
    pub fn deadline(&self) -> Duration {
        let mut deadline = (self.last_sent + KEEPALIVE_EVERY).min(self.last_heard + self.settings.idle_timeout);
        if self.buffer.missing() > 0 {
            deadline = deadline.min(self.nak_at);
        }
        if let Some(at) = self.ack_at() {
            deadline = deadline.min(at);
        }
        deadline.min(self.release_at()).min(self.leaves_at.unwrap_or(Duration::MAX))
    }

    /// What was learned of a disordered network fades: by an eighth per second.
    fn forget_reorder(&mut self, now: Duration) {
        if now >= self.reorder_decays_at + Duration::from_secs(1) {
            self.reorder_decays_at = now;
            self.reorder = self.reorder * 7 / 8;
            if self.reorder < Duration::from_micros(500) {
                self.reorder = Duration::ZERO;
            }
        }
    }

    /// Releases all that is held, without waiting for its moment: the caller is gone.
    pub fn flush(&mut self, out: &mut Output) {
        self.stats.dropped += self.buffer.release(Duration::MAX, &mut out.released);
    }

    /// Says goodbye.
    pub fn shut_down(&mut self, now: Duration, out: &mut Output) {
        self.send(now, out, Writer::shutdown);
    }

    fn release_at(&self) -> Duration {
        match self.buffer.next_due() {
            Some(due) => due.max(self.last_release + self.settings.release_every),
            None => Duration::MAX,
        }
    }

    /// How long a reported loss has before it is reported again: until what was asked for should be here. The sooner, the more
    /// often within the latency; a report too many costs a packet. (libsrt and the draft's section 4.8.2 take half of the
    /// patience, which is less than a round trip where that is steady, and more than two where it is not.)
    fn nak_every(&self) -> Duration {
        (self.rtt.smoothed + self.rtt.variance).max(MIN_NAK_EVERY)
    }

    fn report_losses(&mut self, now: Duration, out: &mut Output) {
        if now >= self.nak_at && self.buffer.missing() > 0 {
            self.nak_at = now + MIN_NAK_EVERY;
            let again = now + self.nak_every();
            self.buffer.report(now, again, &mut self.losses);
        }
        if !self.losses.is_empty() {
            let losses = std::mem::take(&mut self.losses);
            self.send(now, out, |writer, packet| writer.nak(packet, &losses));
            self.losses = losses;
            self.losses.clear();
            self.stats.naks += 1;
        }
    }

    /// When the next full acknowledgement is to be sent, if there is something to acknowledge.
    fn ack_at(&self) -> Option<Duration> {
        let (next, (last, at)) = (self.buffer.next_missing(), self.acks.last);
        if next == self.acks.known {
            return None;
        }
        // The same again only when it seems to be lost.
        Some(if next == last { at + self.rtt.patience().max(ACK_EVERY) } else { at + ACK_EVERY })
    }

    fn acknowledge(&mut self, now: Duration, out: &mut Output) {
        let next = self.buffer.next_missing();
        if self.ack_at().is_some_and(|at| now >= at) {
            self.acks.number = self.acks.number.wrapping_add(1).max(1);
            let small = |value: u128| u32::try_from(value).unwrap_or(u32::MAX);
            let ack = Ack {
                number: self.acks.number,
                next,
                rtt: small(self.rtt.smoothed.as_micros()),
                rtt_variance: small(self.rtt.variance.as_micros()),
                room: small(self.buffer.room().max(2) as u128),
                packets_per_second: small(self.rate.packets_per_second.into()),
                link_packets_per_second: small(self.link.packets_per_second().into()),
                bytes_per_second: small(self.rate.bytes_per_second.into()),
            };
            self.send(now, out, |writer, packet| writer.ack(packet, &ack));
            if self.acks.in_flight.len() == MAX_ACKS_IN_FLIGHT {
                self.acks.in_flight.pop_front();
            }
            self.acks.in_flight.push_back((ack.number, next, now));
            (self.acks.last, self.acks.packets) = ((next, now), 0);
            self.stats.acks += 1;
        } else if self.acks.packets >= LIGHT_ACK_PACKETS && next != self.acks.last.0 {
            self.send(now, out, |writer, packet| writer.light_ack(packet, next));
            self.acks.packets = 0;
            self.stats.acks += 1;
        }
    }

    fn send(&mut self, now: Duration, out: &mut Output, write: impl FnOnce(Writer, &mut BytesMut)) {
        let mut packet = BytesMut::with_capacity(64);
        write(Writer { timestamp: timestamp(now), destination: self.settings.socket }, &mut packet);
        self.last_sent = now;
        out.datagrams.push(packet.freeze());
    }
}

#[cfg(test)]
mod tests;
