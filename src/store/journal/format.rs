//! Journal format 1: the file header and the frame around each record.
//!
//! ```text
//! file    magic "MSJOURNL" | version u16 | zero u16 | crc32c of the 12 bytes before, u32
//! record  body length u32 | kind u8 | crc32c of the body u32 | crc32c of the 9 bytes before, u32 | body
//! ```
//!
//! All numbers are little-endian. The head of a record has a checksum of its own, so that a body that was damaged can be
//! skipped, and a head that was cannot send the reader astray. Thirteen zero bytes are no head, so the zeros that a power
//! cut may leave at a file's end read as a torn tail.
//!
//! A new version is a new number in the header and a reader that knows both; `fixtures/journal-v1.bin` must go on opening.

/// First bytes of a journal file.
pub(crate) const MAGIC: [u8; 8] = *b"MSJOURNL";
/// The format that is written, and the highest that is read.
pub(crate) const VERSION: u16 = 1;
/// Bytes before the first record.
pub(crate) const FILE_HEADER_BYTES: usize = 16;
/// Bytes of a record before its body.
pub(crate) const RECORD_HEADER_BYTES: usize = 13;
/// Most bytes of a part's body: 334 ms at 700 Mbit/s. What is larger is no part of a live stream.
pub(crate) const MAX_PART_BODY_BYTES: usize = 32 << 20;
/// Most bytes of any other body: an init segment with large parameter sets has a few KiB.
pub(crate) const MAX_BODY_BYTES: usize = 1 << 20;
/// The kind whose body may be as large as a part.
pub(crate) const PART_KIND: u8 = 5;

/// The bytes in front of a file's first record.
pub(crate) fn file_header() -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..10].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32c::crc32c(&header[..12]);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The version in a file's header, or `None` when this is no journal (or one whose first block never reached the disk).
pub(crate) fn file_version(header: &[u8; FILE_HEADER_BYTES]) -> Option<u16> {
    let crc = u32::from_le_bytes([header[12], header[13], header[14], header[15]]);
    let whole = header[..8] == MAGIC && crc == crc32c::crc32c(&header[..12]);
    whole.then_some(u16::from_le_bytes([header[8], header[9]]))
}

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    /// Bytes of the body.
    pub len: u32,
    /// What the body is.
    pub kind: u8,
    /// Checksum of the body.
    pub body_crc: u32,
}

impl RecordHeader {
    /// The head of a record whose body is `body` behind `front`.
    pub fn of(kind: u8, front: &[u8], body: &[u8]) -> Self {
        let body_crc = crc32c::crc32c_append(crc32c::crc32c(front), body);
        // Callers hold bodies to MAX_PART_BODY_BYTES, which fits.
        RecordHeader { len: (front.len() + body.len()) as u32, kind, body_crc }
    }

    /// As it lies in the file.
    pub fn encode(self) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4] = self.kind;
        bytes[5..9].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..9]);
        bytes[9..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` when these bytes were never written as a head, or its body would pass the bounds.
    pub fn decode(bytes: &[u8; RECORD_HEADER_BYTES]) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let header = RecordHeader { len: word(0), kind: bytes[4], body_crc: word(5) };
        let max = if header.kind == PART_KIND { MAX_PART_BODY_BYTES } else { MAX_BODY_BYTES };
        (word(9) == crc32c::crc32c(&bytes[..9]) && header.len as usize <= max).then_some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_header_is_pinned() {
        assert_eq!(file_header(), *b"MSJOURNL\x01\0\0\0\xce\x34\xe7\xe9");
        assert_eq!(file_version(&file_header()), Some(1));
    }

    #[test]
    fn any_changed_bit_of_a_header_is_seen() {
        for bit in 0..FILE_HEADER_BYTES * 8 {
            let mut header = file_header();
            header[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(file_version(&header), None, "bit {bit}");
        }
        let record = RecordHeader::of(3, b"head", b"body");
        assert_eq!(RecordHeader::decode(&record.encode()), Some(record));
        for bit in 0..RECORD_HEADER_BYTES * 8 {
            let mut bytes = record.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHeader::decode(&bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn zeros_are_no_head() {
        assert_eq!(file_version(&[0; FILE_HEADER_BYTES]), None);
        assert_eq!(RecordHeader::decode(&[0; RECORD_HEADER_BYTES]), None);
    }

    #[test]
    fn bodies_over_the_bounds_are_refused_by_kind() {
        let head = |kind, len| RecordHeader { len, kind, body_crc: 0 };
        let decodes = |header: RecordHeader| RecordHeader::decode(&header.encode()).is_some();
        assert!(decodes(head(PART_KIND, MAX_PART_BODY_BYTES as u32)));
        assert!(!decodes(head(PART_KIND, MAX_PART_BODY_BYTES as u32 + 1)));
        assert!(decodes(head(2, MAX_BODY_BYTES as u32)));
        assert!(!decodes(head(2, MAX_BODY_BYTES as u32 + 1)));
        assert!(!decodes(head(2, u32::MAX)));
    }
}
