//! Packets of SRT callers, written from the draft for tests: right ones, and wrong ones on demand.
#![allow(dead_code, reason = "each test uses a part")]

use aes::cipher::{KeyIvInit, StreamCipher};
use aes_kw::Kek;

/// A handshake's request, field by field.
#[derive(Clone, Debug)]
pub struct Conclusion {
    pub version: u32,
    pub kind: u32,
    pub socket: u32,
    pub cookie: u32,
    pub initial: u32,
    pub timestamp: u32,
    pub extension_field: u16,
    /// Type and content, in order.
    pub extensions: Vec<(u16, Vec<u8>)>,
}

pub const HSREQ: u16 = 1;
pub const KMREQ: u16 = 3;
pub const SID: u16 = 5;
pub const CONGESTION: u16 = 6;
pub const FILTER: u16 = 7;
pub const GROUP: u16 = 8;
/// What libsrt 1.5 sets: timestamps both ways, encryption, too-late drop, periodic NAK, retransmission flag, filter capable.
pub const FLAGS: u32 = 0xbf;

/// Header of a control packet with `info` in its second word.
pub fn control(kind: u16, subtype: u16, info: u32, timestamp: u32, to: u32, content: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    for word in [0x8000_0000 | u32::from(kind) << 16 | u32::from(subtype), info, timestamp, to] {
        packet.extend(word.to_be_bytes());
    }
    packet.extend(content);
    packet
}

/// A data packet. `key`: 0 plain, 1 even, 2 odd.
pub fn data(serial: u32, timestamp: u32, to: u32, key: u32, again: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let second = 0b11 << 30 | 1 << 29 | key << 27 | u32::from(again) << 26 | 1;
    for word in [serial & 0x7fff_ffff, second, timestamp, to] {
        packet.extend(word.to_be_bytes());
    }
    packet.extend(payload);
    packet
}

/// The first packet of every caller.
pub fn induction(socket: u32) -> Vec<u8> {
    handshake(4, 2, 1, socket, 0, 1_000, 5, &[])
}

#[allow(clippy::too_many_arguments, reason = "the fields of the packet, in order")]
fn handshake(
    version: u32,
    field: u32,
    kind: u32,
    socket: u32,
    cookie: u32,
    initial: u32,
    at: u32,
    more: &[u8],
) -> Vec<u8> {
    let mut content = Vec::new();
    for word in [version, field, initial, 1_500, 8_192, kind, socket, cookie, 0x0100_007f, 0, 0, 0] {
        content.extend(word.to_be_bytes());
    }
    content.extend(more);
    control(0, 0, 0, at, 0, &content)
}

/// `text` as extensions carry it: zeros to whole words, each word's bytes reversed.
pub fn swapped(text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    text.resize(text.len().next_multiple_of(4), 0);
    text.chunks(4).flat_map(|word| word.iter().rev().copied()).collect()
}

/// Content of HSREQ.
pub fn hsreq(version: u32, flags: u32, receiver_ms: u16, sender_ms: u16) -> Vec<u8> {
    let latency = u32::from(receiver_ms) << 16 | u32::from(sender_ms);
    [version, flags, latency].iter().flat_map(|word| word.to_be_bytes()).collect()
}

impl Conclusion {
    /// What a good caller sends to publish with `stream_id`.
    pub fn publish(socket: u32, cookie: u32, stream_id: &str) -> Self {
        Conclusion {
            version: 5,
            kind: 0xffff_ffff,
            socket,
            cookie,
            initial: 1_000,
            timestamp: 20_000,
            extension_field: 5,
            extensions: vec![(HSREQ, hsreq(0x01_05_01, FLAGS, 120, 0)), (SID, swapped(stream_id.as_bytes()))],
        }
    }

    /// With another extension at the end.
    #[must_use]
    pub fn with(mut self, kind: u16, content: Vec<u8>) -> Self {
        self.extensions.push((kind, content));
        self
    }

    /// The datagram.
    pub fn packet(&self) -> Vec<u8> {
        let mut more = Vec::new();
        for (kind, content) in &self.extensions {
            more.extend(kind.to_be_bytes());
            more.extend(((content.len() / 4) as u16).to_be_bytes());
            more.extend(content);
        }
        let field = u32::from(self.extension_field);
        handshake(self.version, field, self.kind, self.socket, self.cookie, self.initial, self.timestamp, &more)
    }
}

/// The word at byte `at`, big endian.
pub fn word(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(packet[at..at + 4].try_into().expect("four bytes"))
}

/// Of a handshake packet: type, socket id, cookie.
pub fn answer(packet: &[u8]) -> (u32, u32, u32) {
    (word(packet, 36), word(packet, 40), word(packet, 44))
}

/// The stream's keys of a caller that encrypts.
#[derive(Clone)]
pub struct Secret {
    pub passphrase: String,
    pub salt: [u8; 16],
    pub even: Vec<u8>,
    pub odd: Vec<u8>,
}

impl Secret {
    /// Keys of `length` bytes.
    pub fn new(passphrase: &str, length: usize) -> Self {
        let salt = std::array::from_fn(|n| n as u8 * 7 + 1);
        Secret { passphrase: passphrase.to_owned(), salt, even: vec![0xe5; length], odd: vec![0x0d; length] }
    }

    /// Key material message with the keys that `which` says: 1 even, 2 odd, 3 both.
    pub fn material(&self, which: u8) -> Vec<u8> {
        let length = self.even.len();
        let mut message = vec![0x12, 0x20, 0x29, which, 0, 0, 0, 0, 2, 0, 2, 0, 0, 0, 4, (length / 4) as u8];
        message.extend(self.salt);
        let keys: Vec<u8> = match which {
            1 => self.even.clone(),
            2 => self.odd.clone(),
            _ => [&self.even[..], &self.odd[..]].concat(),
        };
        let mut kek = vec![0; length];
        pbkdf2::pbkdf2_hmac::<sha1::Sha1>(self.passphrase.as_bytes(), &self.salt[8..], 2_048, &mut kek);
        let mut wrapped = vec![0; keys.len() + 8];
        let done = match length {
            16 => Kek::<aes::Aes128>::new(kek[..].into()).wrap(&keys, &mut wrapped),
            24 => Kek::<aes::Aes192>::new(kek[..].into()).wrap(&keys, &mut wrapped),
            _ => Kek::<aes::Aes256>::new(kek[..].into()).wrap(&keys, &mut wrapped),
        };
        done.expect("keys of whole blocks");
        message.extend(wrapped);
        message
    }

    /// `payload` of packet `serial`, encrypted with the even (1) or the odd (2) key.
    pub fn encrypted(&self, key: u32, serial: u32, payload: &[u8]) -> Vec<u8> {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.salt[..14]);
        for (byte, number) in iv[10..14].iter_mut().zip((serial & 0x7fff_ffff).to_be_bytes()) {
            *byte ^= number;
        }
        let (key, mut payload) = (if key == 1 { &self.even } else { &self.odd }, payload.to_vec());
        match key.len() {
            16 => ctr::Ctr128BE::<aes::Aes128>::new(key[..].into(), &iv.into()).apply_keystream(&mut payload),
            24 => ctr::Ctr128BE::<aes::Aes192>::new(key[..].into(), &iv.into()).apply_keystream(&mut payload),
            _ => ctr::Ctr128BE::<aes::Aes256>::new(key[..].into(), &iv.into()).apply_keystream(&mut payload),
        }
        payload
    }
}
