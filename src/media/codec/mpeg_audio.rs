//! Frame headers of MPEG audio: MPEG-1 (ISO/IEC 11172-3 2.4.1.3), MPEG-2 and its half rates (ISO/IEC 13818-3), layers I to III.
//!
//! Each frame says all that a decoder must know. Free format, whose frames do not say their length, is no header here.

use bytes::Bytes;

use crate::media::{AudioCodec, AudioTrack};

/// Bytes that are enough to read a header.
pub const HEADER_BYTES: usize = 4;

/// Which of the standards: rates halve from one to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
    TwoAndAHalf,
}

/// What stays the same from frame to frame of one track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    version: Version,
    /// 1 to 3.
    layer: u8,
    sample_rate: u32,
    channels: u16,
}

/// What a frame header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The track's part.
    pub format: Format,
    /// Bytes of the whole frame, more than [`HEADER_BYTES`].
    pub frame_bytes: usize,
}

/// kbit/s of layers I, II and III of MPEG-1 by `bitrate_index`.
const RATES_1: [[u16; 15]; 3] = [
    [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
];
/// The same of MPEG-2: layer I, and layers II and III.
const RATES_2: [[u16; 15]; 2] = [
    [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
/// Samples per second of MPEG-1 by `sampling_frequency`.
const SAMPLE_RATES: [u32; 3] = [44_100, 48_000, 32_000];

/// The header that `bytes` begins with; `None` when there is none, or fewer than [`HEADER_BYTES`].
pub fn parse(bytes: &[u8]) -> Option<Header> {
    let [sync, kind, rates, mode] = *bytes.first_chunk::<HEADER_BYTES>()?;
    if sync != 0xff || kind & 0xe0 != 0xe0 {
        return None;
    }
    let version = match kind >> 3 & 3 {
        0 => Version::TwoAndAHalf,
        2 => Version::Two,
        3 => Version::One,
        _ => return None,
    };
    let layer = match kind >> 1 & 3 {
        0 => return None,
        code => 4 - code,
    };
    let rates_of_layer = match (version, layer) {
        (Version::One, layer) => &RATES_1[usize::from(layer) - 1],
        (_, 1) => &RATES_2[0],
        _ => &RATES_2[1],
    };
    let bits_per_second = match usize::from(rates >> 4) {
        0 => return None, // free format
        index => u32::from(*rates_of_layer.get(index)?) * 1_000,
    };
    let sample_rate = SAMPLE_RATES.get(usize::from(rates >> 2 & 3))? >> version as u32;
    let padding = u32::from(rates >> 1 & 1);
    let channels = if mode >> 6 == 3 { 1 } else { 2 };
    let format = Format { version, layer, sample_rate, channels };
    let frame_bytes = match layer {
        1 => (12 * bits_per_second / sample_rate + padding) * 4,
        _ => format.samples_per_frame() / 8 * bits_per_second / sample_rate + padding,
    };
    Some(Header { format, frame_bytes: frame_bytes as usize })
}

impl Format {
    /// Samples of each channel in a frame.
    pub const fn samples_per_frame(self) -> u32 {
        match (self.layer, self.version) {
            (1, _) => 384,
            (3, Version::Two | Version::TwoAndAHalf) => 576,
            _ => 1_152,
        }
    }

    /// The track of such frames.
    pub fn track(self) -> AudioTrack {
        let codecs = if self.version == Version::One { "mp4a.6b" } else { "mp4a.69" };
        AudioTrack {
            codec: AudioCodec::MpegAudio,
            config: Bytes::new(),
            codecs: codecs.to_owned(),
            sample_rate: self.sample_rate,
            channels: self.channels,
            samples_per_frame: self.samples_per_frame(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Codecs, samples per second, channels, samples and bytes of a frame.
    fn described(bytes: &[u8]) -> Option<(String, u32, u16, u32, usize)> {
        let header = parse(bytes)?;
        let track = header.format.track();
        Some((track.codecs, track.sample_rate, track.channels, track.samples_per_frame, header.frame_bytes))
    }

    #[test]
    fn headers_of_each_layer_and_version() {
        // As FFmpeg's mp2 and LAME write them: 384 kbit/s, and 128 kbit/s at 44.1 kHz with and without padding.
        assert_eq!(described(&[0xff, 0xfd, 0xe4, 0x04]), Some(("mp4a.6b".to_owned(), 48_000, 2, 1_152, 1_152)));
        assert_eq!(described(&[0xff, 0xfb, 0x90, 0x64]), Some(("mp4a.6b".to_owned(), 44_100, 2, 1_152, 417)));
        assert_eq!(described(&[0xff, 0xfb, 0x92, 0xc4]), Some(("mp4a.6b".to_owned(), 44_100, 1, 1_152, 418)));
        // Layer I, 384 kbit/s, 32 kHz; MPEG-2 layers II and III; MPEG-2.5 layer III at 8 kHz.
        assert_eq!(described(&[0xff, 0xff, 0xc8, 0x00]), Some(("mp4a.6b".to_owned(), 32_000, 2, 384, 576)));
        assert_eq!(described(&[0xff, 0xf5, 0xe4, 0x00]), Some(("mp4a.69".to_owned(), 24_000, 2, 1_152, 960)));
        assert_eq!(described(&[0xff, 0xf3, 0x80, 0xc0]), Some(("mp4a.69".to_owned(), 22_050, 1, 576, 208)));
        assert_eq!(described(&[0xff, 0xe3, 0x18, 0xc0]), Some(("mp4a.69".to_owned(), 8_000, 1, 576, 72)));
    }

    #[test]
    fn what_is_no_header() {
        assert_eq!(parse(&[0xff, 0xfd, 0xe4]), None, "cut off");
        assert_eq!(parse(&[0xff, 0xf1, 0x4c, 0x80]), None, "ADTS has layer 0");
        assert_eq!(parse(&[0xff, 0xed, 0xe4, 0x04]), None, "reserved version");
        assert_eq!(parse(&[0xff, 0xfd, 0x04, 0x04]), None, "free format");
        assert_eq!(parse(&[0xff, 0xfd, 0xf4, 0x04]), None, "reserved bit rate");
        assert_eq!(parse(&[0xff, 0xfd, 0xec, 0x04]), None, "reserved sample rate");
    }

    proptest! {
        #[test]
        fn every_header_is_within_the_standard(tail in any::<[u8; 3]>()) {
            if let Some(header) = parse(&[0xff, tail[0], tail[1], tail[2]]) {
                prop_assert!((24..=2_880).contains(&header.frame_bytes), "{header:?}");
                prop_assert!((8_000..=48_000).contains(&header.format.track().sample_rate));
            }
        }
    }
}
