//! Chunk headers as they stand in the bytes (RTMP 1.0 section 5.3.1), without knowledge of earlier chunks.

use super::EXTENDED;

/// Longest header: basic 3, message 11, extended timestamp 4.
pub(super) const MAX_HEADER_BYTES: usize = 18;

/// The basic header: format and chunk stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Basic {
    /// 0 to 3: how much of the message header follows.
    pub(super) format: u8,
    /// 2 to 65 599.
    pub(super) chunk_stream: u32,
    /// Length in bytes.
    pub(super) len: usize,
}

impl Basic {
    /// `None` while bytes are missing.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let first = *bytes.first()?;
        let (format, low) = (first >> 6, first & 0x3F);
        let (chunk_stream, len) = match low {
            0 => (u32::from(*bytes.get(1)?) + 64, 2),
            1 => (u32::from(*bytes.get(1)?) + u32::from(*bytes.get(2)?) * 256 + 64, 3),
            low => (u32::from(low), 1),
        };
        Some(Basic { format, chunk_stream, len })
    }
}

/// The message header of formats 0 to 2. What a format leaves out is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    /// Absolute in format 0, otherwise a difference, in ms.
    pub(super) time: u32,
    /// The time stands in the extended field.
    pub(super) extended: bool,
    /// Length of the message in bytes, and its type.
    pub(super) message: Option<(usize, u8)>,
    /// Message stream id.
    pub(super) stream_id: Option<u32>,
    /// Length in bytes, extended timestamp included.
    pub(super) len: usize,
}

impl Fields {
    /// Parses what follows the basic header. `None` while bytes are missing.
    pub(super) fn parse(format: u8, bytes: &[u8]) -> Option<Self> {
        let time = u24(bytes)?;
        let message = match format {
            0 | 1 => Some((usize::try_from(u24(bytes.get(3..)?)?).ok()?, *bytes.get(6)?)),
            _ => None,
        };
        let (stream_id, fixed) = match format {
            0 => (Some(u32::from_le_bytes(bytes.get(7..11)?.try_into().ok()?)), 11),
            1 => (None, 7),
            _ => (None, 3),
        };
        if time != EXTENDED {
            return Some(Fields { time, extended: false, message, stream_id, len: fixed });
        }
        let time = u32::from_be_bytes(bytes.get(fixed..fixed + 4)?.try_into().ok()?);
        Some(Fields { time, extended: true, message, stream_id, len: fixed + 4 })
    }
}

fn u24(bytes: &[u8]) -> Option<u32> {
    let bytes = bytes.get(..3)?;
    Some(u32::from(bytes[0]) << 16 | u32::from(bytes[1]) << 8 | u32::from(bytes[2]))
}

/// Whether the four bytes of an extended timestamp stand at the start of `bytes`, in a chunk of format 3.
///
/// Senders disagree: the specification, Adobe and librtmp repeat the field in each chunk of format 3, others leave it out.
/// So it counts as there if the bytes equal it. Only 31 bits are compared: some senders mask the top one in one place.
/// `None` while too few bytes are here to tell; one byte that differs is enough.
pub(super) fn repeats_extended(expected: u32, bytes: &[u8]) -> Option<bool> {
    for (index, want) in expected.to_be_bytes().into_iter().enumerate() {
        let have = *bytes.get(index)?;
        let mask = if index == 0 { 0x7F } else { 0xFF };
        if (want ^ have) & mask != 0 {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_headers_of_one_two_and_three_bytes() {
        for (bytes, expected) in [
            (&[0x02][..], Some((0, 2, 1))),
            (&[0xFF], Some((3, 63, 1))),
            (&[0x40, 0], Some((1, 64, 2))),
            (&[0x80, 255], Some((2, 319, 2))),
            (&[0x01, 255, 255], Some((0, 65_599, 3))),
            (&[0x40], None),
            (&[0x01, 9], None),
        ] {
            let parsed = Basic::parse(bytes).map(|basic| (basic.format, basic.chunk_stream, basic.len));
            assert_eq!(parsed, expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn fields_of_each_format_wait_for_their_last_byte() {
        let full = [0, 0, 1, 0, 2, 0, 9, 1, 0, 0, 0];
        let extended = [0xFF, 0xFF, 0xFF, 0, 2, 0, 9, 1, 0, 0, 0, 1, 0, 0, 0];
        let expected = Fields { time: 1, extended: false, message: Some((512, 9)), stream_id: Some(1), len: 11 };
        assert_eq!(Fields::parse(0, &full), Some(expected));
        assert_eq!(Fields::parse(1, &full), Some(Fields { stream_id: None, len: 7, ..expected }));
        assert_eq!(Fields::parse(2, &full), Some(Fields { stream_id: None, message: None, len: 3, ..expected }));
        let long = Fields { time: 1 << 24, extended: true, len: 15, ..expected };
        assert_eq!(Fields::parse(0, &extended), Some(long));
        for (format, bytes) in [(0, &full[..10]), (1, &full[..6]), (2, &full[..2]), (0, &extended[..14])] {
            assert_eq!(Fields::parse(format, bytes), None, "format {format}");
        }
    }

    #[test]
    fn a_repeated_extended_timestamp_is_told_as_early_as_possible() {
        assert_eq!(repeats_extended(0x8123_4567, &[0x01, 0x23, 0x45, 0x67]), Some(true));
        assert_eq!(repeats_extended(0x0123_4567, &[0x01, 0x23]), None);
        assert_eq!(repeats_extended(0x0123_4567, &[0x02]), Some(false));
        assert_eq!(repeats_extended(0x0123_4567, &[0x01, 0x23, 0x45, 0x68]), Some(false));
    }
}
