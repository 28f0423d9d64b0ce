//! The handshake's content and its extensions.
//!
//! Source: draft-sharabayko-srt-01 sections 3.2.1 (handshake), 3.2.1.1 (HSREQ), 3.2.1.3 (stream id), 4.3 (caller and
//! listener). Extensions are blocks of a type, a length in words, and content.

use bytes::{BufMut, BytesMut};

use super::packet::{HEADER_BYTES, Serial, Writer, word};

/// Bytes of a handshake without extensions, behind the packet's header.
pub(super) const HANDSHAKE_BYTES: usize = 48;
/// Handshake types.
pub(super) const INDUCTION: u32 = 1;
pub(super) const CONCLUSION: u32 = 0xffff_ffff;
/// What a listener writes into the extension field of its induction answer: it speaks version 5.
pub(super) const MAGIC: u16 = 0x4a17;

/// Extension field of a conclusion: which extensions follow.
pub(super) const HAS_HSREQ: u16 = 1;
pub(super) const HAS_KMREQ: u16 = 2;

/// Extension types.
pub(super) const HSREQ: u16 = 1;
pub(super) const HSRSP: u16 = 2;
pub(super) const KMREQ: u16 = 3;
pub(super) const KMRSP: u16 = 4;
pub(super) const SID: u16 = 5;
pub(super) const CONGESTION: u16 = 6;
pub(super) const FILTER: u16 = 7;
pub(super) const GROUP: u16 = 8;

/// Flags of HSREQ and HSRSP.
pub(super) mod flags {
    pub const TSBPD_SENDER: u32 = 0x01;
    pub const TSBPD_RECEIVER: u32 = 0x02;
    pub const CRYPT: u32 = 0x04;
    pub const TOO_LATE_DROP: u32 = 0x08;
    pub const PERIODIC_NAK: u32 = 0x10;
    pub const REXMIT_FLAG: u32 = 0x20;
    pub const STREAM: u32 = 0x40;
}

/// The version of SRT whose behaviour we have, 1.5.1.
pub(super) const OUR_VERSION: u32 = 0x01_05_01;

/// A handshake's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handshake {
    pub version: u32,
    /// Announced cipher: key bytes / 8, or 0.
    pub encryption: u16,
    pub extensions: u16,
    pub initial: Serial,
    pub mtu: u32,
    pub flow_window: u32,
    pub kind: u32,
    pub socket: u32,
    pub cookie: u32,
    pub address: [u8; 16],
}

impl Handshake {
    /// Reads `content`, the part of a handshake packet behind its header.
    pub fn parse(content: &[u8]) -> Option<Handshake> {
        let second = word(content, 1)?;
        Some(Handshake {
            version: word(content, 0)?,
            encryption: (second >> 16) as u16,
            extensions: second as u16,
            initial: Serial::new(word(content, 2)?),
            mtu: word(content, 3)?,
            flow_window: word(content, 4)?,
            kind: word(content, 5)?,
            socket: word(content, 6)?,
            cookie: word(content, 7)?,
            address: content.get(32..HANDSHAKE_BYTES)?.try_into().ok()?,
        })
    }

    /// The packet, without extensions.
    pub fn write(&self, writer: Writer) -> BytesMut {
        let mut out = BytesMut::with_capacity(HEADER_BYTES + HANDSHAKE_BYTES);
        writer.handshake(&mut out);
        out.put_u32(self.version);
        out.put_u16(self.encryption);
        out.put_u16(self.extensions);
        for word in [self.initial.get(), self.mtu, self.flow_window, self.kind, self.socket, self.cookie] {
            out.put_u32(word);
        }
        out.put_slice(&self.address);
        out
    }
}

/// One extension block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extension<'a> {
    pub kind: u16,
    pub content: &'a [u8],
}

/// The extensions of a handshake. An `Err` is a block that is longer than what is there; nothing comes behind it.
pub(super) struct Extensions<'a> {
    rest: &'a [u8],
}

/// A block says that it is longer than what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Truncated;

impl<'a> Extensions<'a> {
    /// The blocks in `content`, the part of a handshake packet behind its header.
    pub fn of(content: &'a [u8]) -> Self {
        Extensions { rest: content.get(HANDSHAKE_BYTES..).unwrap_or_default() }
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = Result<Extension<'a>, Truncated>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let block = word(self.rest, 0).and_then(|head| {
            let (kind, length) = ((head >> 16) as u16, usize::from(head as u16) * 4);
            let content = self.rest.get(4..4 + length)?;
            Some((Extension { kind, content }, self.rest.get(4 + length..)?))
        });
        let Some((extension, rest)) = block else {
            self.rest = &[];
            return Some(Err(Truncated));
        };
        self.rest = rest;
        Some(Ok(extension))
    }
}

/// Writes one extension block; `content` has whole words.
pub(super) fn put_extension(out: &mut BytesMut, kind: u16, content: &[u8]) {
    out.put_u16(kind);
    out.put_u16((content.len() / 4) as u16);
    out.put_slice(content);
}

/// The text of a stream id or congestion block: each word has its bytes in reverse order, and zeros pad the last one.
pub(super) fn text(content: &[u8]) -> Vec<u8> {
    let mut text: Vec<u8> = content.chunks(4).flat_map(|word| word.iter().rev().copied()).collect();
    while text.last() == Some(&0) {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_text_are_reversed() {
        assert_eq!(text(b"evil\0\0\0x"), b"livex");
        assert_eq!(text(&[]), b"");
    }

    #[test]
    fn a_block_longer_than_the_datagram_ends_the_list() {
        let mut content = vec![0; HANDSHAKE_BYTES];
        content.extend([0, 6, 0, 1, b'e', b'v', b'i', b'l', 0, 5, 0, 2, 1, 2, 3, 4]);
        let blocks: Vec<_> = Extensions::of(&content).collect();
        assert_eq!(blocks, [Ok(Extension { kind: CONGESTION, content: b"evil" }), Err(Truncated)]);
    }

    #[test]
    fn what_is_written_is_read() {
        let handshake = Handshake {
            version: 5,
            encryption: 2,
            extensions: MAGIC,
            initial: Serial::new(77),
            mtu: 1_500,
            flow_window: 8_192,
            kind: INDUCTION,
            socket: 99,
            cookie: 0xdead_beef,
            address: *b"0123456789abcdef",
        };
        let bytes = handshake.write(Writer { timestamp: 1, destination: 2 });
        assert_eq!(bytes.len(), HEADER_BYTES + HANDSHAKE_BYTES);
        assert_eq!(Handshake::parse(&bytes[HEADER_BYTES..]), Some(handshake));
    }
}
