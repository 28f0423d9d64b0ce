//! ADTS (ISO/IEC 14496-3 1.A.2.2): the header in front of each frame where no container carries the configuration.

/// Bytes of the header without its checksum, which are enough to read it.
pub const HEADER_BYTES: usize = 7;
/// Bytes of the header when the checksum is there.
const HEADER_BYTES_WITH_CRC: usize = 9;
/// Samples per channel of a `raw_data_block`.
pub const SAMPLES_PER_BLOCK: u32 = 1_024;
/// `sampling_frequency_index` from here on is reserved, or escapes, which ADTS cannot.
const FIRST_RESERVED_FREQUENCY: u8 = 13;

/// What an ADTS header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The AudioSpecificConfig that says the same: profile, rate and channels.
    pub config: [u8; 2],
    /// Bytes of the header, with its checksum.
    pub header_bytes: usize,
    /// Bytes of the whole frame, at least `header_bytes`.
    pub frame_bytes: usize,
    /// `raw_data_block`s in the frame, 1 to 4.
    pub blocks: u8,
}

/// The header that `bytes` begins with; `None` when there is none, or fewer than [`HEADER_BYTES`].
pub fn parse(bytes: &[u8]) -> Option<Header> {
    let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    // syncword of 12 bits, ID, layer 0
    if bytes[0] != 0xff || bytes[1] & 0xf6 != 0xf0 {
        return None;
    }
    let header_bytes = if bytes[1] & 1 == 1 { HEADER_BYTES } else { HEADER_BYTES_WITH_CRC };
    let object_type = (bytes[2] >> 6) + 1;
    let frequency = bytes[2] >> 2 & 0xf;
    let channels = (bytes[2] & 1) << 2 | bytes[3] >> 6;
    let frame_bytes = usize::from(bytes[3] & 3) << 11 | usize::from(bytes[4]) << 3 | usize::from(bytes[5]) >> 5;
    if frequency >= FIRST_RESERVED_FREQUENCY || frame_bytes < header_bytes {
        return None;
    }
    let config = [object_type << 3 | frequency >> 1, frequency << 7 | channels << 3];
    Some(Header { config, header_bytes, frame_bytes, blocks: (bytes[6] & 3) + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::codec::aac::track_from_config;
    use proptest::prelude::*;

    #[test]
    fn a_header_of_ffmpeg() {
        // LC, 48 kHz, stereo, 192 bytes in all, no checksum
        let header = parse(&[0xff, 0xf1, 0x4c, 0x80, 0x18, 0x1f, 0xfc, 0xde]);
        assert_eq!(header, Some(Header { config: [0x11, 0x90], header_bytes: 7, frame_bytes: 192, blocks: 1 }));
    }

    #[test]
    fn a_checksum_lengthens_the_header() {
        let header = parse(&[0xff, 0xf0, 0x50, 0x40, 0x02, 0x00, 0x03]);
        assert_eq!(header, Some(Header { config: [0x12, 0x08], header_bytes: 9, frame_bytes: 16, blocks: 4 }));
    }

    #[test]
    fn what_is_no_header() {
        assert_eq!(parse(&[0xff, 0xf1, 0x4c, 0x80, 0x18, 0x1f]), None, "cut off");
        assert_eq!(parse(&[0xff, 0xe1, 0x4c, 0x80, 0x18, 0x1f, 0xfc]), None, "no sync");
        assert_eq!(parse(&[0xff, 0xf3, 0x4c, 0x80, 0x18, 0x1f, 0xfc]), None, "MPEG audio");
        assert_eq!(parse(&[0xff, 0xf1, 0x74, 0x80, 0x18, 0x1f, 0xfc]), None, "reserved rate");
        assert_eq!(parse(&[0xff, 0xf1, 0x4c, 0x80, 0x00, 0xdf, 0xfc]), None, "shorter than its header");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let bytes = [&[0xff, 0xf1][..], &bytes].concat();
            if let Some(header) = parse(&bytes) {
                prop_assert!((header.header_bytes..1 << 13).contains(&header.frame_bytes));
                let track = track_from_config(bytes::Bytes::copy_from_slice(&header.config));
                prop_assert!(track.is_err() || header.config[0] >> 3 == 2);
            }
        }
    }
}
