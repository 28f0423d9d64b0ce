//! FLAC (RFC 9639): the STREAMINFO block, and how many samples a frame has.

use bytes::Bytes;

use super::bits::BitReader;
use crate::media::{AudioCodec, AudioTrack};

/// What FLAC streams begin with.
const MAGIC: &[u8; 4] = b"fLaC";
/// Bytes of a metadata block's header (RFC 9639 8.1).
const BLOCK_HEADER_BYTES: usize = 4;
/// Bytes of STREAMINFO (RFC 9639 8.2).
const STREAMINFO_BYTES: usize = 34;
const SMALLEST_BLOCK: u32 = 16;
/// Rates that are worth resampling.
const LOWEST_SAMPLE_RATE: u32 = 8_000;
const HIGHEST_SAMPLE_RATE: u32 = 192_000;
/// The first 15 bits of a frame (RFC 9639 9.1).
const SYNC_CODE: u32 = 0b111_1111_1111_1100;

/// Why a FLAC header or frame is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlacError {
    /// The bytes end inside of a field.
    #[error("FLAC {what} is cut off")]
    Truncated {
        /// Which structure.
        what: &'static str,
    },
    /// The first metadata block is another.
    #[error("FLAC begins with a metadata block of type {0} instead of STREAMINFO")]
    NoStreamInfo(u8),
    /// Blocks of less than 16 samples, or a range whose end lies before its begin.
    #[error("FLAC blocks of {smallest} to {largest} samples do not exist")]
    Blocks {
        /// The least.
        smallest: u32,
        /// The most.
        largest: u32,
    },
    /// A rate that nobody streams with.
    #[error("FLAC sampling frequency {0} is not supported: set the encoder to 44100 or 48000 Hz")]
    SampleRate(u32),
    /// A frame does not begin like one.
    #[error("FLAC frame does not begin with its sync code")]
    Sync,
    /// A block size code that is reserved.
    #[error("FLAC frame has a reserved block size")]
    ReservedBlock,
}

/// Describes a track from its header: STREAMINFO alone, behind its block header, or behind `fLaC` as files begin. What follows
/// STREAMINFO (tags, pictures) is left out.
///
/// # Errors
/// The bytes are cut off or no STREAMINFO, or the rate is not supported; the texts are for the publisher.
pub fn track_from_header(header: &Bytes) -> Result<AudioTrack, FlacError> {
    const CUT_OFF: FlacError = FlacError::Truncated { what: "configuration" };
    let in_file = header.starts_with(MAGIC);
    let mut at = if in_file { MAGIC.len() } else { 0 };
    if in_file || header.len() >= BLOCK_HEADER_BYTES + STREAMINFO_BYTES {
        let kind = header.get(at).ok_or(CUT_OFF)? & 0x7f;
        if kind != 0 {
            return Err(FlacError::NoStreamInfo(kind));
        }
        at += BLOCK_HEADER_BYTES;
    }
    if header.len() < at + STREAMINFO_BYTES {
        return Err(CUT_OFF);
    }
    let config = header.slice(at..at + STREAMINFO_BYTES);
    let StreamInfo { smallest, largest, sample_rate, channels } = stream_info(&config).ok_or(CUT_OFF)?;
    if smallest < SMALLEST_BLOCK || largest < smallest {
        return Err(FlacError::Blocks { smallest, largest });
    }
    if !(LOWEST_SAMPLE_RATE..=HIGHEST_SAMPLE_RATE).contains(&sample_rate) {
        return Err(FlacError::SampleRate(sample_rate));
    }
    Ok(AudioTrack {
        codec: AudioCodec::Flac,
        config,
        codecs: AudioCodec::Flac.prefix().to_owned(),
        sample_rate,
        channels,
        samples_per_frame: largest,
    })
}

struct StreamInfo {
    smallest: u32,
    largest: u32,
    sample_rate: u32,
    channels: u16,
}

fn stream_info(block: &[u8]) -> Option<StreamInfo> {
    let mut bits = BitReader::new(block);
    let (smallest, largest) = (bits.bits(16)?, bits.bits(16)?);
    bits.skip(24 + 24)?; // sizes of frames
    let (sample_rate, channels) = (bits.bits(20)?, bits.bits(3)? as u16 + 1);
    Some(StreamInfo { smallest, largest, sample_rate, channels })
}

/// Samples per channel of a frame (RFC 9639 9.1.1).
///
/// # Errors
/// It does not begin like a frame, or its size is reserved or cut off.
pub fn frame_samples(frame: &[u8]) -> Result<u32, FlacError> {
    const CUT_OFF: FlacError = FlacError::Truncated { what: "frame" };
    let mut bits = BitReader::new(frame);
    if bits.bits(15).ok_or(CUT_OFF)? != SYNC_CODE {
        return Err(FlacError::Sync);
    }
    bits.skip(1).ok_or(CUT_OFF)?; // blocking strategy
    let code = bits.bits(4).ok_or(CUT_OFF)?;
    let coded_bits = match code {
        0 => return Err(FlacError::ReservedBlock),
        1 => return Ok(192),
        2..=5 => return Ok(576 << (code - 2)),
        8..=15 => return Ok(256 << (code - 8)),
        6 => 8,
        _ => 16,
    };
    bits.skip(12).ok_or(CUT_OFF)?; // sample rate, channels, bit depth
    skip_coded_number(&mut bits).ok_or(CUT_OFF)?;
    bits.bits(coded_bits).map(|less_one| less_one + 1).ok_or(CUT_OFF)
}

/// The number of the frame or sample, coded as UTF-8 codes characters, in up to 7 bytes (RFC 9639 9.1.5).
fn skip_coded_number(bits: &mut BitReader<'_>) -> Option<()> {
    let first = bits.bits(8)? as u8;
    let following = first.leading_ones().saturating_sub(1);
    bits.skip(8 * following as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As FFmpeg 5.1 writes it: 44.1 kHz stereo in blocks of 4608 samples.
    const STREAMINFO: [u8; 34] = [
        0x12, 0x00, 0x12, 0x00, 0x00, 0x04, 0x6d, 0x00, 0x05, 0x08, 0x0a, 0xc4, 0x42, 0xf0, 0x00, 0x00, 0x33, 0xae,
        0x36, 0x56, 0x7c, 0x61, 0x37, 0xe8, 0xd5, 0x78, 0xc4, 0x31, 0xed, 0x19, 0x1f, 0xd8, 0x5f, 0xf5,
    ];

    fn track(header: &[u8]) -> Result<AudioTrack, FlacError> {
        track_from_header(&Bytes::copy_from_slice(header))
    }

    #[test]
    fn all_forms_of_the_header_say_the_same() {
        let alone = track(&STREAMINFO).expect("made by FFmpeg");
        assert_eq!(
            (alone.codec, alone.codecs.as_str(), &alone.config[..]),
            (AudioCodec::Flac, "fLaC", &STREAMINFO[..])
        );
        assert_eq!((alone.sample_rate, alone.channels, alone.samples_per_frame), (44_100, 2, 4_608));
        let block = [&[0x80, 0, 0, 34][..], &STREAMINFO].concat();
        assert_eq!(track(&block), Ok(alone.clone()));
        assert_eq!(track(&[&MAGIC[..], &block, &[4, 0, 0, 1, 0]].concat()), Ok(alone));
    }

    #[test]
    fn refusals_tell_the_publisher_what_to_set() {
        let error = |header: &[u8]| track(header).expect_err("refused").to_string();
        assert_eq!(error(&STREAMINFO[..33]), "FLAC configuration is cut off");
        assert_eq!(error(MAGIC), "FLAC configuration is cut off");
        assert_eq!(
            error(&[&MAGIC[..], &[4, 0, 0, 34], &STREAMINFO].concat()),
            "FLAC begins with a metadata block of type 4 instead of STREAMINFO"
        );
        let changed = |at: usize, value: u8| {
            let mut header = STREAMINFO;
            header[at] = value;
            header
        };
        assert_eq!(error(&changed(2, 1)), "FLAC blocks of 4608 to 256 samples do not exist");
        assert_eq!(
            error(&changed(10, 0xff)),
            "FLAC sampling frequency 1047620 is not supported: set the encoder to 44100 or 48000 Hz"
        );
    }

    #[test]
    fn frames_say_their_length() {
        // The frames of FFmpeg: 4608 samples by code 5, and the rest of a stream.
        assert_eq!(frame_samples(&[0xff, 0xf8, 0x59, 0x88, 0x00]), Ok(4_608));
        for (head, samples) in [
            (&[0xff, 0xf8, 0x10][..], Ok(192)),
            (&[0xff, 0xf9, 0xc0], Ok(4_096)),
            (&[0xff, 0xf8, 0x69, 0x88, 0x02, 0x0b], Ok(12)),
            (&[0xff, 0xf8, 0x79, 0x88, 0xc2, 0x80, 0x0f, 0xff], Ok(4_096)),
            (&[0xff, 0xf8, 0x79, 0x88, 0xc2, 0x80, 0x0f], Err(FlacError::Truncated { what: "frame" })),
            (&[0xff, 0xf8, 0x09], Err(FlacError::ReservedBlock)),
            (&[0xff, 0xf1, 0x59], Err(FlacError::Sync)),
            (&[], Err(FlacError::Truncated { what: "frame" })),
        ] {
            assert_eq!(frame_samples(head), samples, "{head:x?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(track) = track(&bytes) {
                prop_assert!((1..=8).contains(&track.channels) && track.config.len() == STREAMINFO_BYTES);
            }
            if let Ok(samples) = frame_samples(&[&[0xff, 0xf8][..], &bytes].concat()) {
                prop_assert!((1..=65_536).contains(&samples));
            }
        }
    }
}
