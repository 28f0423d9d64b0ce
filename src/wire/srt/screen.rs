//! What strangers send, looked at before anything is kept of them.
//!
//! An induction is answered from its own bytes and forgotten: the cookie in the answer is a keyed hash of the caller's
//! address and the time, so that a conclusion which brings it back comes from somebody who receives at that address. The
//! answer is never longer than the question. A conclusion is read whole and within bounds; what we cannot take is refused
//! here, in the code that SRT has for it.
//!
//! Source: draft-sharabayko-srt-01 sections 3.2.1 and 4.3.1 (caller-listener handshake).

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::crypto::KeyMaterial;
use super::handshake::{
    self, CONCLUSION, CONGESTION, Extensions, FILTER, GROUP, HANDSHAKE_BYTES, HAS_HSREQ, HAS_KMREQ, HSREQ, HSRSP,
    Handshake, INDUCTION, KMREQ, KMRSP, MAGIC, OUR_VERSION, SID, flags, put_extension,
};
use super::packet::{Control, HEADER_BYTES, Header, Kind, Serial, Writer, word};
use super::reject::{Reject, Rejection};
use super::stream_id::{MAX_STREAM_ID_BYTES, Mode, StreamId};

/// A cookie is good in the step it was made in and in the next: 1 to 2 minutes.
const COOKIE_STEP: Duration = Duration::from_secs(60);
/// Longest name of a congestion control that is looked at.
const MAX_CONGESTION_BYTES: usize = 32;
/// Oldest version that speaks handshake 5.
const MIN_VERSION: u32 = 0x01_03_00;
/// Packets in flight that we allow at most, and the largest packets.
pub(super) const FLOW_WINDOW: u32 = 25_600;
const MTU: u32 = 1_500;

/// Knows nothing but a secret.
pub struct Screen {
    secret: [u8; 32],
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").finish_non_exhaustive()
    }
}

/// What a stranger's datagram is.
#[derive(Debug)]
pub enum Screened {
    /// Nothing that is answered; why, as a stable code.
    Ignored(&'static str),
    /// The first half of a handshake; the answer.
    Induction(Bytes),
    /// A caller that is turned away; the answer.
    Refused(Bytes, Rejection),
    /// A caller that asks to publish.
    Conclusion(Box<Conclusion>),
}

/// A caller's request for a connection, complete and within bounds.
#[derive(Clone, Debug)]
pub struct Conclusion {
    handshake: Handshake,
    /// Microseconds of the caller's clock when it was sent.
    pub timestamp: u32,
    /// The caller's version of SRT, as 0x00MMmmpp.
    pub version: u32,
    /// What it wants to publish.
    pub stream_id: StreamId,
    /// Its key material, if it encrypts.
    pub key_material: Option<KeyMaterial>,
    /// Least latency that it wants us to have as the receiver.
    pub receiver_latency: Duration,
    /// Latency that it would have itself as a receiver.
    pub sender_latency: Duration,
}

const ROGUE: Rejection = Rejection::new(Reject::Rogue, "the handshake breaks the protocol");
const RENDEZVOUS: Rejection =
    Rejection::new(Reject::Rogue, "a rendezvous was proposed: set the encoder's mode to caller");
const HANDSHAKE_VERSION: Rejection =
    Rejection::new(Reject::Version, "a handshake older than version 5 (SRT 1.3): update the encoder");
const NOT_LIVE: Rejection = Rejection::new(
    Reject::Congestion,
    "a congestion control other than live: set the encoder's transmission type to live",
);
const STREAM_MODE: Rejection =
    Rejection::new(Reject::MessageApi, "stream mode: set the encoder's transmission type to live");
const WITH_FILTER: Rejection =
    Rejection::new(Reject::Filter, "a packet filter (FEC) is not supported: switch it off in the encoder");
const WITH_GROUP: Rejection = Rejection::new(Reject::Group, "bonding is not supported: connect without a group");
const NO_TIMESTAMPS: Rejection =
    Rejection::new(Reject::Unacceptable, "the caller sends without timestamps: switch TSBPD on in the encoder");
const LONG_STREAM_ID: Rejection = Rejection::new(Reject::BadRequest, "the stream id is longer than 512 bytes");
const TO_WATCH: Rejection =
    Rejection::new(Reject::BadMode, "m=request: streams are only published here, and watched over HTTP");
const BOTH_WAYS: Rejection =
    Rejection::new(Reject::BadMode, "m=bidirectional: streams are only published here; use m=publish");

impl Screen {
    /// A screen whose cookies hang on `secret`, which is random and made anew with each start.
    pub fn new(secret: [u8; 32]) -> Self {
        Screen { secret }
    }

    /// Looks at a datagram that nobody else is waiting for. `now` is the time since any fixed moment.
    pub fn look(&self, datagram: &[u8], from: SocketAddr, now: Duration) -> Screened {
        let Some(header) = Header::parse(datagram) else { return Screened::Ignored("srt_short") };
        if header.kind != Kind::Control(Control::Handshake) || header.destination != 0 {
            return Screened::Ignored("srt_not_connected");
        }
        let content = &datagram[HEADER_BYTES..];
        let Some(handshake) = Handshake::parse(content) else { return Screened::Ignored("srt_short") };
        let refused = |rejection| Screened::Refused(refusal(&handshake, timestamp(now), rejection), rejection);
        match handshake.kind {
            // Version 4 is how all callers begin.
            INDUCTION => Screened::Induction(self.answer(&handshake, from, now)),
            CONCLUSION if !self.baked(handshake.cookie, from, now) => Screened::Ignored("srt_cookie"),
            CONCLUSION => match Conclusion::read(handshake, header.timestamp, content) {
                Ok(conclusion) => Screened::Conclusion(Box::new(conclusion)),
                Err(rejection) => refused(rejection),
            },
            0 => refused(RENDEZVOUS),
            _ => Screened::Ignored("srt_handshake_type"),
        }
    }

    fn answer(&self, handshake: &Handshake, from: SocketAddr, now: Duration) -> Bytes {
        let cookie = self.cookie(from, step(now));
        let answer = Handshake { version: 5, encryption: 0, extensions: MAGIC, cookie, ..*handshake };
        answer.write(Writer { timestamp: timestamp(now), destination: handshake.socket }).freeze()
    }

    /// Whether `cookie` is one of ours for this address, and not old.
    fn baked(&self, cookie: u32, from: SocketAddr, now: Duration) -> bool {
        let (this, given) = (step(now), cookie.to_be_bytes());
        let equals = |step| self.cookie(from, step).to_be_bytes().ct_eq(&given);
        (equals(this) | equals(this.wrapping_sub(1))).into()
    }

    fn cookie(&self, from: SocketAddr, step: u64) -> u32 {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.secret).expect("HMAC takes keys of any length");
        match from.ip().to_canonical() {
            std::net::IpAddr::V4(ip) => mac.update(&ip.octets()),
            std::net::IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        mac.update(&from.port().to_be_bytes());
        mac.update(&step.to_be_bytes());
        word(&mac.finalize().into_bytes(), 0).unwrap_or_default()
    }
}

fn step(now: Duration) -> u64 {
    now.as_secs() / COOKIE_STEP.as_secs()
}

/// What our packets carry as their time.
pub fn timestamp(now: Duration) -> u32 {
    now.as_micros() as u32
}

fn refusal(handshake: &Handshake, timestamp: u32, rejection: Rejection) -> Bytes {
    let answer = Handshake { version: 5, encryption: 0, extensions: 0, kind: rejection.code.wire(), ..*handshake };
    answer.write(Writer { timestamp, destination: handshake.socket }).freeze()
}

impl Conclusion {
    fn read(handshake: Handshake, timestamp: u32, content: &[u8]) -> Result<Self, Rejection> {
        if handshake.version != 5 || handshake.extensions & HAS_HSREQ == 0 {
            return Err(HANDSHAKE_VERSION);
        }
        let mut request = None;
        let (mut id, mut material) = (None, None);
        for extension in Extensions::of(content) {
            let extension = extension.map_err(|_| ROGUE)?;
            match extension.kind {
                HSREQ if request.is_none() && extension.content.len() == 12 => request = Some(extension.content),
                KMREQ if material.is_none() => material = Some(KeyMaterial::parse(extension.content)?),
                SID if extension.content.len() > MAX_STREAM_ID_BYTES => return Err(LONG_STREAM_ID),
                SID if id.is_none() => id = Some(handshake::text(extension.content)),
                CONGESTION => {
                    let name = extension.content;
                    if name.len() > MAX_CONGESTION_BYTES || handshake::text(name) != b"live" {
                        return Err(NOT_LIVE);
                    }
                }
                FILTER => return Err(WITH_FILTER),
                GROUP => return Err(WITH_GROUP),
                HSREQ | KMREQ | SID => return Err(ROGUE), // twice, or of another size
                _ => {}                                   // what is not known is left out
            }
        }
        let request = request.ok_or(ROGUE)?;
        let [version, options, latency] = [0, 1, 2].map(|index| word(request, index).unwrap_or_default());
        if version < MIN_VERSION {
            return Err(HANDSHAKE_VERSION);
        }
        if options & flags::STREAM != 0 {
            return Err(STREAM_MODE);
        }
        if options & flags::TSBPD_SENDER == 0 {
            return Err(NO_TIMESTAMPS);
        }
        let stream_id = StreamId::parse(&id.unwrap_or_default())?;
        match stream_id.mode {
            Mode::Publish => {}
            Mode::Request => return Err(TO_WATCH),
            Mode::Bidirectional => return Err(BOTH_WAYS),
        }
        let millis = |half: u32| Duration::from_millis(u64::from(half & 0xffff));
        Ok(Conclusion {
            handshake,
            timestamp,
            version,
            stream_id,
            key_material: material,
            receiver_latency: millis(latency),
            sender_latency: millis(latency >> 16),
        })
    }

    /// The caller's socket id.
    pub fn socket(&self) -> u32 {
        self.handshake.socket
    }

    /// Number of its first packet.
    pub fn initial(&self) -> Serial {
        self.handshake.initial
    }

    /// The answer to a caller that is let in as `socket`, with these latencies as receiver and as sender.
    pub fn accept(&self, socket: u32, receiver_latency: Duration, sender_latency: Duration, now: Duration) -> Bytes {
        let has_keys = if self.key_material.is_some() { HAS_KMREQ } else { 0 };
        let answer = Handshake {
            version: 5,
            encryption: 0,
            extensions: HAS_HSREQ | has_keys,
            mtu: self.handshake.mtu.min(MTU),
            flow_window: FLOW_WINDOW,
            kind: CONCLUSION,
            socket,
            ..self.handshake
        };
        let mut out = answer.write(Writer { timestamp: timestamp(now), destination: self.handshake.socket });
        let millis = |latency: Duration| latency.as_millis().min(0xffff) as u32;
        let mut options = flags::TSBPD_SENDER | flags::TSBPD_RECEIVER | flags::CRYPT | flags::TOO_LATE_DROP;
        options |= flags::PERIODIC_NAK | flags::REXMIT_FLAG;
        let mut response = BytesMut::with_capacity(12);
        for word in [OUR_VERSION, options, millis(receiver_latency) << 16 | millis(sender_latency)] {
            response.put_u32(word);
        }
        put_extension(&mut out, HSRSP, &response);
        if let Some(material) = &self.key_material {
            put_extension(&mut out, KMRSP, material.message());
        }
        out.freeze()
    }

    /// The answer to a caller that is turned away.
    pub fn refuse(&self, code: Reject, now: Duration) -> Bytes {
        refusal(&self.handshake, timestamp(now), Rejection::new(code, ""))
    }
}

/// Whether a datagram is a caller's handshake that names no connection, and the caller's socket id: a conclusion that came
/// before may be under way already. None if it is too short for one.
pub fn asks_for_connection(datagram: &[u8]) -> Option<u32> {
    let header = Header::parse(datagram)?;
    if header.destination != 0 || header.kind != Kind::Control(Control::Handshake) {
        return None;
    }
    let handshake = Handshake::parse(datagram.get(HEADER_BYTES..HEADER_BYTES + HANDSHAKE_BYTES)?)?;
    (handshake.kind == CONCLUSION).then_some(handshake.socket)
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
