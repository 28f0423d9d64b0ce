//! Frame headers of AC-3 (ETSI TS 102 366 4.3) and E-AC-3 (annex E.1.2): each frame says all that a decoder must know.

use bytes::Bytes;

use super::bits::BitReader;
use crate::media::{AudioCodec, AudioTrack};

/// Bytes that are enough to read either header.
pub const HEADER_BYTES: usize = 8;
const SYNC: u32 = 0x0b77;
/// `bsid` of AC-3: 9 and 10 are its half and quarter rates, which no encoder of broadcasts writes.
const HIGHEST_AC3_BSID: u32 = 8;
/// `bsid` of E-AC-3: 11 to 16.
const EAC3_BSID: std::ops::RangeInclusive<u32> = 11..=16;
/// Samples per second by `fscod`; 3 is reserved in AC-3 and half a rate in E-AC-3.
const SAMPLE_RATES: [u32; 3] = [48_000, 44_100, 32_000];
/// kbit/s by half of `frmsizecod` (table 4.13).
const BIT_RATES: [u32; 19] = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];
/// Full-range channels by `acmod` (table 4.3); 0 is two programs of one channel.
const CHANNELS: [u16; 8] = [2, 1, 2, 3, 3, 4, 4, 5];
const SAMPLES_PER_BLOCK: u32 = 256;

/// What stays the same from frame to frame of one track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    enhanced: bool,
    sample_rate: u32,
    channels: u16,
    /// Samples of each channel in a frame: 1536, in E-AC-3 also 256, 512 or 768.
    pub samples_per_frame: u32,
}

/// What a frame header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The track's part.
    pub format: Format,
    /// Bytes of the whole frame.
    pub frame_bytes: usize,
    /// The frame adds channels or a program to the one before it (E-AC-3: a dependent substream, or one with another number than
    /// 0) and belongs to the same access unit.
    pub continues: bool,
}

/// The header that `bytes` begins with; `None` when there is none, or fewer than [`HEADER_BYTES`].
pub fn parse(bytes: &[u8]) -> Option<Header> {
    let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let mut bits = BitReader::new(bytes);
    if bits.bits(16)? != SYNC {
        return None;
    }
    // Both have bsid in the same place.
    let bsid = u32::from(bytes[5] >> 3);
    if EAC3_BSID.contains(&bsid) {
        parse_enhanced(bits)
    } else if bsid <= HIGHEST_AC3_BSID {
        parse_plain(bits)
    } else {
        None
    }
}

fn parse_plain(mut bits: BitReader<'_>) -> Option<Header> {
    bits.skip(16)?; // crc1
    let fscod = bits.bits(2)?;
    let sample_rate = *SAMPLE_RATES.get(fscod as usize)?;
    let size_code = bits.bits(6)?;
    let bit_rate = *BIT_RATES.get(size_code as usize / 2)?;
    let words = match fscod {
        0 => bit_rate * 2,
        1 => bit_rate * 320 / 147 + size_code % 2, // 1536 samples of 16 bit words at 44.1 kHz
        _ => bit_rate * 3,
    };
    bits.skip(5 + 3)?; // bsid, bsmod
    let acmod = bits.bits(3)?;
    // Mix levels that only some layouts have (4.3.3): of centre, of surround, and the Dolby Surround mode.
    let levels = [acmod & 1 == 1 && acmod != 1, acmod & 4 == 4, acmod == 2];
    bits.skip(2 * levels.into_iter().filter(|there| *there).count())?;
    let channels = CHANNELS[acmod as usize] + u16::from(bits.flag()?);
    let format = Format { enhanced: false, sample_rate, channels, samples_per_frame: 6 * SAMPLES_PER_BLOCK };
    Some(Header { format, frame_bytes: words as usize * 2, continues: false })
}

fn parse_enhanced(mut bits: BitReader<'_>) -> Option<Header> {
    let kind = bits.bits(2)?; // strmtyp
    if kind == 3 {
        return None; // reserved
    }
    let number = bits.bits(3)?; // substreamid
    let frame_bytes = (bits.bits(11)? as usize + 1) * 2;
    if frame_bytes < HEADER_BYTES {
        return None;
    }
    let (sample_rate, blocks) = match bits.bits(2)? {
        3 => (SAMPLE_RATES.get(bits.bits(2)? as usize)? / 2, 6),
        fscod => (SAMPLE_RATES[fscod as usize], [1, 2, 3, 6][bits.bits(2)? as usize]),
    };
    let channels = CHANNELS[bits.bits(3)? as usize] + u16::from(bits.flag()?);
    let format = Format { enhanced: true, sample_rate, channels, samples_per_frame: blocks * SAMPLES_PER_BLOCK };
    Some(Header { format, frame_bytes, continues: kind == 1 || number != 0 })
}

impl Format {
    /// The track of such frames.
    pub fn track(self) -> AudioTrack {
        let codec = if self.enhanced { AudioCodec::Eac3 } else { AudioCodec::Ac3 };
        AudioTrack {
            codec,
            config: Bytes::new(),
            codecs: codec.prefix().to_owned(),
            sample_rate: self.sample_rate,
            channels: self.channels,
            samples_per_frame: self.samples_per_frame,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Codecs, samples per second, channels, samples and bytes of a frame, whether it continues.
    fn described(bytes: &[u8]) -> Option<(String, u32, u16, u32, usize, bool)> {
        let header = parse(bytes)?;
        let track = header.format.track();
        let size = (track.samples_per_frame, header.frame_bytes);
        Some((track.codecs, track.sample_rate, track.channels, size.0, size.1, header.continues))
    }

    #[test]
    fn frames_of_ffmpeg() {
        let plain = [0x0b, 0x77, 0xfe, 0x95, 0x14, 0x40, 0x43, 0xe1];
        assert_eq!(described(&plain), Some(("ac-3".to_owned(), 48_000, 2, 1_536, 768, false)));
        let enhanced = [0x0b, 0x77, 0x01, 0x7f, 0x34, 0x87, 0xc0, 0x00];
        assert_eq!(described(&enhanced), Some(("ec-3".to_owned(), 48_000, 2, 1_536, 768, false)));
    }

    #[test]
    fn layouts_and_rates() {
        // 448 kbit/s at 48 kHz: 3/2 with LFE, whose bit stands behind two mix levels.
        let surround = [0x0b, 0x77, 0, 0, 0x1e, 0x40, 0xe1, 0x00];
        assert_eq!(described(&surround), Some(("ac-3".to_owned(), 48_000, 6, 1_536, 1_792, false)));
        // 44.1 kHz has frames of two lengths: 192 kbit/s, one word more.
        let uneven = |code: u8| parse(&[0x0b, 0x77, 0, 0, 0x40 | code, 0x40, 0x40, 0]).map(|header| header.frame_bytes);
        assert_eq!((uneven(20), uneven(21)), (Some(834), Some(836)));
        // 32 kHz, mono, 64 kbit/s
        let mono = [0x0b, 0x77, 0, 0, 0x88, 0x40, 0x20, 0];
        assert_eq!(described(&mono), Some(("ac-3".to_owned(), 32_000, 1, 1_536, 384, false)));
    }

    #[test]
    fn enhanced_substreams_and_short_frames() {
        // a dependent substream: strmtyp 1, 256 bytes, 48 kHz, 6 blocks, 2/0
        let dependent = [0x0b, 0x77, 0x40, 0x7f, 0x34, 0x80, 0, 0];
        assert_eq!(parse(&dependent).map(|header| (header.continues, header.frame_bytes)), Some((true, 256)));
        let second = [0x0b, 0x77, 0x08, 0x7f, 0x34, 0x80, 0, 0];
        assert_eq!(parse(&second).map(|header| header.continues), Some(true));
        // one block; half a rate
        let short = [0x0b, 0x77, 0x00, 0x7f, 0x04, 0x80, 0, 0];
        assert_eq!(parse(&short).map(|header| header.format.samples_per_frame), Some(256));
        let half = [0x0b, 0x77, 0x00, 0x7f, 0xc4, 0x80, 0, 0];
        assert_eq!(described(&half), Some(("ec-3".to_owned(), 24_000, 2, 1_536, 256, false)));
    }

    #[test]
    fn what_is_no_header() {
        assert_eq!(parse(&[0x0b, 0x77, 0, 0, 0x14, 0x40, 0x43]), None, "cut off");
        assert_eq!(parse(&[0x0b, 0x78, 0, 0, 0x14, 0x40, 0x43, 0]), None, "no sync");
        assert_eq!(parse(&[0x0b, 0x77, 0, 0, 0xd4, 0x40, 0x43, 0]), None, "reserved rate");
        assert_eq!(parse(&[0x0b, 0x77, 0, 0, 0x26, 0x40, 0x43, 0]), None, "reserved size");
        assert_eq!(parse(&[0x0b, 0x77, 0, 0, 0x14, 0x48, 0x43, 0]), None, "bsid 9");
        assert_eq!(parse(&[0x0b, 0x77, 0xc0, 0x7f, 0x34, 0x80, 0, 0]), None, "reserved substream");
    }

    proptest! {
        #[test]
        fn every_header_is_within_the_standard(tail in any::<[u8; 6]>()) {
            let bytes = [&[0x0b, 0x77][..], &tail].concat();
            if let Some(header) = parse(&bytes) {
                let track = header.format.track();
                prop_assert!((HEADER_BYTES..=4_096).contains(&header.frame_bytes), "{header:?}");
                prop_assert!((1..=6).contains(&track.channels) && (16_000..=48_000).contains(&track.sample_rate));
            }
        }
    }
}
