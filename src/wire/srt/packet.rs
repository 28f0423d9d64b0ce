//! The 16-byte header of SRT packets, their serial numbers, and the few control packets that a receiver sends.
//!
//! Source: draft-sharabayko-srt-01 section 3 (packet structure), 3.2 (control packets).

use bytes::{BufMut, BytesMut};

/// Bytes of the header of every packet.
pub const HEADER_BYTES: usize = 16;
/// Largest datagram payload that fits Ethernet over IPv4: 1500 less 28 bytes of IP and UDP.
pub const MAX_DATAGRAM_BYTES: usize = 1_472;
/// Largest content of one control packet.
pub const MAX_CONTROL_BYTES: usize = MAX_DATAGRAM_BYTES - HEADER_BYTES;

/// A packet's serial number: 31 bits that wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial(u32);

const SERIAL_BITS: u32 = 0x7fff_ffff;

impl Serial {
    /// The lower 31 bits of `bits`.
    pub const fn new(bits: u32) -> Self {
        Serial(bits & SERIAL_BITS)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The one `packets` later.
    pub const fn plus(self, packets: u32) -> Self {
        Serial::new(self.0.wrapping_add(packets))
    }

    /// The one before.
    pub const fn previous(self) -> Self {
        self.plus(SERIAL_BITS)
    }

    /// How many packets this one comes after `earlier`; negative if it comes before. Numbers half the circle (2^30) apart
    /// count as before.
    pub const fn since(self, earlier: Serial) -> i32 {
        // In 32 bits, so that the sign of the 31-bit difference is the sign bit.
        ((self.0.wrapping_sub(earlier.0) << 1) as i32) >> 1
    }
}

/// Which of the two stream keys a packet is encrypted with (field KK).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFlag {
    /// The even key.
    Even,
    /// The odd key.
    Odd,
}

/// Header of a data packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHeader {
    /// Serial number.
    pub serial: Serial,
    /// Encrypted, with this key. `Err` for the value that is reserved.
    pub key: Result<Option<KeyFlag>, ReservedKeyFlag>,
    /// Sent again.
    pub retransmitted: bool,
}

/// Both key bits are set, which no data packet may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedKeyFlag;

/// Kinds of control packets that concern a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Handshake.
    Handshake,
    /// Keepalive.
    Keepalive,
    /// The peer goes.
    Shutdown,
    /// Acknowledges the acknowledgement of this number.
    AckAck(u32),
    /// The sender will not send some packets again.
    DropRequest,
    /// New key material.
    KeyMaterialRequest,
    /// Everything else: what only senders are told (ACK, NAK), congestion warnings, errors of file transfers, extensions
    /// that are not known. Of no use to a receiver.
    Other(u16),
}

/// The first 16 bytes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// Microseconds of the sender's clock, modulo 2^32 (71.6 min).
    pub timestamp: u32,
    /// Socket id of the addressee; 0 in handshakes that ask for a connection.
    pub destination: u32,
}

/// Data or control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Media.
    Data(DataHeader),
    /// Everything else.
    Control(Control),
}

const HANDSHAKE: u16 = 0;
const KEEPALIVE: u16 = 1;
const ACK: u16 = 2;
const NAK: u16 = 3;
const SHUTDOWN: u16 = 5;
const ACKACK: u16 = 6;
const DROP_REQUEST: u16 = 7;
const USER_DEFINED: u16 = 0x7fff;
/// Subtype of [`USER_DEFINED`].
const KM_REQUEST: u16 = 3;
const KM_RESPONSE: u16 = 4;

/// The big-endian word number `index` of `bytes`, if there is one.
pub(super) fn word(bytes: &[u8], index: usize) -> Option<u32> {
    let at = index.checked_mul(4)?;
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(word.try_into().ok()?))
}

impl Header {
    /// Reads the header of a datagram; none if it is shorter than one.
    pub fn parse(datagram: &[u8]) -> Option<Header> {
        let [first, second, timestamp, destination] =
            [word(datagram, 0)?, word(datagram, 1)?, word(datagram, 2)?, word(datagram, 3)?];
        let kind = if first >> 31 == 0 {
            let key = match second >> 27 & 3 {
                0 => Ok(None),
                1 => Ok(Some(KeyFlag::Even)),
                2 => Ok(Some(KeyFlag::Odd)),
                _ => Err(ReservedKeyFlag),
            };
            Kind::Data(DataHeader { serial: Serial::new(first), key, retransmitted: second >> 26 & 1 == 1 })
        } else {
            let (number, subtype) = ((first >> 16) as u16 & 0x7fff, first as u16);
            Kind::Control(match (number, subtype) {
                (HANDSHAKE, _) => Control::Handshake,
                (KEEPALIVE, _) => Control::Keepalive,
                (SHUTDOWN, _) => Control::Shutdown,
                (ACKACK, _) => Control::AckAck(second),
                (DROP_REQUEST, _) => Control::DropRequest,
                (USER_DEFINED, KM_REQUEST) => Control::KeyMaterialRequest,
                _ => Control::Other(number),
            })
        };
        Some(Header { kind, timestamp, destination })
    }
}

/// Writes packets for one addressee.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    /// Microseconds of our clock, modulo 2^32.
    pub timestamp: u32,
    /// The addressee's socket id.
    pub destination: u32,
}

/// What a full acknowledgement reports (draft section 3.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Its own number.
    pub number: u32,
    /// All packets before this one have come, or are not waited for.
    pub next: Serial,
    /// Round-trip time in microseconds.
    pub rtt: u32,
    /// Its variance in microseconds.
    pub rtt_variance: u32,
    /// Packets that there is room for.
    pub room: u32,
    /// Packets per second that arrive.
    pub packets_per_second: u32,
    /// Packets per second that the link could carry.
    pub link_packets_per_second: u32,
    /// Bytes per second that arrive.
    pub bytes_per_second: u32,
}

impl Writer {
    fn header(self, out: &mut BytesMut, number: u16, subtype: u16, info: u32) {
        out.put_u32(0x8000_0000 | u32::from(number) << 16 | u32::from(subtype));
        out.put_u32(info);
        out.put_u32(self.timestamp);
        out.put_u32(self.destination);
    }

    /// The header of a handshake packet; its content follows.
    pub(super) fn handshake(self, out: &mut BytesMut) {
        self.header(out, HANDSHAKE, 0, 0);
    }

    /// We are still here. Control packets without content carry a word of padding.
    pub fn keepalive(self, out: &mut BytesMut) {
        self.header(out, KEEPALIVE, 0, 0);
        out.put_u32(0);
    }

    /// We go.
    pub fn shutdown(self, out: &mut BytesMut) {
        self.header(out, SHUTDOWN, 0, 0);
        out.put_u32(0);
    }

    /// A full acknowledgement.
    pub fn ack(self, out: &mut BytesMut, ack: &Ack) {
        self.header(out, ACK, 0, ack.number);
        for word in [
            ack.next.get(),
            ack.rtt,
            ack.rtt_variance,
            ack.room,
            ack.packets_per_second,
            ack.link_packets_per_second,
            ack.bytes_per_second,
        ] {
            out.put_u32(word);
        }
    }

    /// An acknowledgement that nobody acknowledges, between full ones.
    pub fn light_ack(self, out: &mut BytesMut, next: Serial) {
        self.header(out, ACK, 0, 0);
        out.put_u32(next.get());
    }

    /// A loss report; [`LossList`] has written its content.
    pub fn nak(self, out: &mut BytesMut, losses: &LossList) {
        self.header(out, NAK, 0, 0);
        for word in &losses.words {
            out.put_u32(*word);
        }
    }

    /// Answer to new key material: its copy, which says that it was taken.
    pub fn key_material_response(self, out: &mut BytesMut, material: &[u8]) {
        self.header(out, USER_DEFINED, KM_RESPONSE, 0);
        out.put_slice(material);
    }
}

/// The content of a loss report (draft appendix A): single numbers, and ranges as two words of which the first has its
/// highest bit set. Bounded by what fits one packet.
#[derive(Clone, Debug, Default)]
pub struct LossList {
    words: Vec<u32>,
}

impl LossList {
    /// Empties it.
    pub fn clear(&mut self) {
        self.words.clear();
    }

    /// Whether it reports nothing.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether another range fits.
    pub fn has_room(&self) -> bool {
        self.words.len() + 2 <= MAX_CONTROL_BYTES / 4
    }

    /// Adds `first..=last`, if there is room.
    pub fn push(&mut self, first: Serial, last: Serial) {
        if self.has_room() {
            if first == last {
                self.words.push(first.get());
            } else {
                self.words.extend([0x8000_0000 | first.get(), last.get()]);
            }
        }
    }
}

/// The packets that a sender gives up (draft section 3.2.9), from the content of its drop request. None if it has no sense.
pub fn dropped(content: &[u8]) -> Option<(Serial, Serial)> {
    let (first, last) = (Serial::new(word(content, 0)?), Serial::new(word(content, 1)?));
    (last.since(first) >= 0).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_wrap_at_31_bits() {
        let last = Serial::new(0x7fff_ffff);
        assert_eq!(last.plus(1), Serial::new(0));
        assert_eq!((Serial::new(3).since(last), last.since(Serial::new(3))), (4, -4));
        assert_eq!(Serial::new(0x4000_0000).since(Serial::new(0)), i32::MIN >> 1);
    }

    #[test]
    fn a_data_header_is_read() {
        let bytes = [0, 0, 1, 2, 0b1101_0100, 0, 0, 9, 0, 0, 0, 7, 0, 0, 0, 5, b'x'];
        let data = DataHeader { serial: Serial::new(0x102), key: Ok(Some(KeyFlag::Odd)), retransmitted: true };
        assert_eq!(Header::parse(&bytes), Some(Header { kind: Kind::Data(data), timestamp: 7, destination: 5 }));
        assert_eq!(Header::parse(&bytes[..15]), None);
    }

    #[test]
    fn a_loss_list_has_singles_and_ranges_and_a_bound() {
        let mut list = LossList::default();
        list.push(Serial::new(4), Serial::new(4));
        list.push(Serial::new(6), Serial::new(9));
        assert_eq!(list.words, [4, 0x8000_0006, 9]);
        for n in 0..1_000 {
            list.push(Serial::new(n * 4), Serial::new(n * 4 + 1));
        }
        let mut out = BytesMut::new();
        Writer { timestamp: 0, destination: 0 }.nak(&mut out, &list);
        assert!(out.len() <= MAX_DATAGRAM_BYTES && out.len() > MAX_DATAGRAM_BYTES - 16, "{}", out.len());
    }

    #[test]
    fn a_drop_request_backwards_has_no_sense() {
        assert_eq!(dropped(&[0, 0, 0, 3, 0, 0, 0, 9]), Some((Serial::new(3), Serial::new(9))));
        assert_eq!(dropped(&[0, 0, 0, 9, 0, 0, 0, 3]), None);
        assert_eq!(dropped(&[0, 0, 0, 9, 0, 0]), None);
    }
}
