//! AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1) of AAC-LC and HE-AAC.
//!
//! HE-AAC is described by its core: the sample rate and frame length are those of the AAC-LC stream inside, which is what
//! counts time. Main, SSR, LTP, scalable and low-delay profiles are refused in words: no player of HLS decodes them.
//! How AAC is framed where no container does it is in [`adts`] and [`latm`].

use bytes::Bytes;

use super::bits::BitReader;
use crate::media::{AudioCodec, AudioTrack};

pub mod adts;
pub mod latm;

const AAC_LC: u32 = 2;
const SBR: u32 = 5;
const PARAMETRIC_STEREO: u32 = 29;
const ESCAPED_OBJECT_TYPE: u32 = 31;
const ESCAPED_FREQUENCY: u32 = 15;
/// `samplingFrequencyIndex` (ISO/IEC 14496-3 table 1.18).
const SAMPLE_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
const LOWEST_SAMPLE_RATE: u32 = 7_350;
const HIGHEST_SAMPLE_RATE: u32 = 96_000;
const MAX_CHANNELS: u16 = 8;

/// Why an AudioSpecificConfig is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AacError {
    /// The bytes end inside of a field.
    #[error("AAC configuration is cut off")]
    Truncated,
    /// A profile that no HLS player decodes.
    #[error("AAC audio object type {0} is not supported: set the encoder to AAC-LC")]
    ObjectType(u32),
    /// A reserved sampling frequency index, or a rate that AAC does not have.
    #[error("AAC sampling frequency {0} is not supported: set the encoder to 44100 or 48000 Hz")]
    SampleRate(u32),
    /// A reserved channel configuration, or more channels than 8.
    #[error("AAC channel configuration {0} is not supported: set the encoder to stereo")]
    ChannelConfiguration(u32),
    /// A program config element that names no channel, or more than 8.
    #[error("AAC program config element names {0} channels, 1 to 8 are supported: set the encoder to stereo")]
    ProgramChannels(u16),
}

/// Describes a track from its AudioSpecificConfig.
///
/// # Errors
/// The bytes are cut off, or the profile, rate or channels are not supported; the texts are for the publisher.
pub fn track_from_config(asc: Bytes) -> Result<AudioTrack, AacError> {
    let mut reader = BitReader::new(&asc);
    let parsed = parse(&mut reader)?;
    Ok(AudioTrack {
        codec: AudioCodec::Aac,
        codecs: format!("mp4a.40.{}", parsed.object_type),
        sample_rate: parsed.sample_rate,
        channels: parsed.channels,
        samples_per_frame: if parsed.short_frames { 960 } else { 1_024 },
        config: asc,
    })
}

/// One raw frame without a sound, to stand where frames were lost: for each channel configuration from mono to 7.1.
///
/// It is a `raw_data_block` (ISO/IEC 14496-3 4.4.2.1) of the elements that the configuration has, none of which codes a
/// spectral line. It holds no SBR or PS payload, which HE-AAC allows: decoders then only double the rate.
pub fn silent_frame(track: &AudioTrack) -> Option<Bytes> {
    let parsed = parse(&mut BitReader::new(&track.config)).ok()?;
    // Elements in their order, each with its tag among those of its kind (table 1.19).
    let elements: &[(u32, u32)] = match parsed.channel_configuration {
        1 => &[(SINGLE, 0)],
        2 => &[(PAIR, 0)],
        3 => &[(SINGLE, 0), (PAIR, 0)],
        4 => &[(SINGLE, 0), (PAIR, 0), (SINGLE, 1)],
        5 => &[(SINGLE, 0), (PAIR, 0), (PAIR, 1)],
        6 => &[(SINGLE, 0), (PAIR, 0), (PAIR, 1), (LOW_FREQUENCY, 0)],
        7 => &[(SINGLE, 0), (PAIR, 0), (PAIR, 1), (PAIR, 2), (LOW_FREQUENCY, 0)],
        _ => return None,
    };
    /// `global_gain`, `ics_info` (a long block with no band), no pulse, no TNS, no gain control.
    const SILENT_CHANNEL_BITS: u32 = 8 + 11 + 3;
    let mut bits = BitWriter::default();
    for (element, tag) in elements {
        bits.put(*element, 3);
        bits.put(*tag, 4);
        if *element == PAIR {
            bits.put(0, 1); // common_window
            bits.put(0, SILENT_CHANNEL_BITS);
        }
        bits.put(0, SILENT_CHANNEL_BITS);
    }
    bits.put(END_OF_FRAME, 3);
    Some(bits.finish())
}

/// `id_syn_ele` (ISO/IEC 14496-3 table 4.85).
const SINGLE: u32 = 0;
const PAIR: u32 = 1;
const LOW_FREQUENCY: u32 = 3;
const END_OF_FRAME: u32 = 7;

/// Bits from the highest down.
#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    used: u32,
}

impl BitWriter {
    /// Appends the lowest `count` bits of `value`.
    fn put(&mut self, value: u32, count: u32) {
        for at in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let last = self.bytes.last_mut().expect("one was pushed for the first bit of each eight");
            *last |= ((value >> at & 1) as u8) << (7 - self.used % 8);
            self.used += 1;
        }
    }

    fn finish(self) -> Bytes {
        self.bytes.into()
    }
}

struct Parsed {
    /// The outermost object type: 2, 5 or 29.
    object_type: u32,
    sample_rate: u32,
    channel_configuration: u32,
    channels: u16,
    short_frames: bool,
}

fn parse(bits: &mut BitReader<'_>) -> Result<Parsed, AacError> {
    let object_type = read_object_type(bits)?;
    let sample_rate = read_sample_rate(bits)?;
    let channel_configuration = bits.bits(4).ok_or(AacError::Truncated)?;
    let core = match object_type {
        SBR | PARAMETRIC_STEREO => {
            read_sample_rate(bits)?; // of the output of SBR
            read_object_type(bits)?
        }
        other => other,
    };
    if core != AAC_LC {
        return Err(AacError::ObjectType(core));
    }
    // GASpecificConfig (4.4.1)
    let short_frames = bits.flag().ok_or(AacError::Truncated)?;
    if bits.flag().ok_or(AacError::Truncated)? {
        bits.skip(14).ok_or(AacError::Truncated)?; // coreCoderDelay
    }
    bits.flag().ok_or(AacError::Truncated)?; // extensionFlag: nothing follows it for LC
    let channels = match channel_configuration {
        0 => program_channels(bits)?,
        1 if object_type == PARAMETRIC_STEREO => 2,
        1..=6 => channel_configuration as u16,
        7 | 12 | 14 => 8,
        11 => 7,
        other => return Err(AacError::ChannelConfiguration(other)),
    };
    Ok(Parsed { object_type, sample_rate, channel_configuration, channels, short_frames })
}

fn read_object_type(bits: &mut BitReader<'_>) -> Result<u32, AacError> {
    match bits.bits(5).ok_or(AacError::Truncated)? {
        ESCAPED_OBJECT_TYPE => Ok(32 + bits.bits(6).ok_or(AacError::Truncated)?),
        short => Ok(short),
    }
}

fn read_sample_rate(bits: &mut BitReader<'_>) -> Result<u32, AacError> {
    let index = bits.bits(4).ok_or(AacError::Truncated)?;
    let rate = match index {
        ESCAPED_FREQUENCY => bits.bits(24).ok_or(AacError::Truncated)?,
        _ => *SAMPLE_RATES.get(index as usize).ok_or(AacError::SampleRate(index))?,
    };
    if (LOWEST_SAMPLE_RATE..=HIGHEST_SAMPLE_RATE).contains(&rate) { Ok(rate) } else { Err(AacError::SampleRate(rate)) }
}

/// Channels of a program config element (ISO/IEC 14496-3 4.4.1.1).
fn program_channels(bits: &mut BitReader<'_>) -> Result<u16, AacError> {
    count_channels(bits).ok_or(AacError::Truncated).and_then(|channels| match channels {
        1..=MAX_CHANNELS => Ok(channels),
        other => Err(AacError::ProgramChannels(other)),
    })
}

fn count_channels(bits: &mut BitReader<'_>) -> Option<u16> {
    bits.skip(4 + 2 + 4)?; // element_instance_tag, object_type, sampling_frequency_index
    let placed = bits.bits(4)? + bits.bits(4)? + bits.bits(4)?; // front, side, back elements
    let low_frequency = bits.bits(2)?;
    bits.skip(3 + 4)?; // data and coupling elements
    for mixdown_bits in [4, 4, 3] {
        if bits.flag()? {
            bits.skip(mixdown_bits)?;
        }
    }
    let mut channels = low_frequency as u16;
    for _ in 0..placed {
        channels += if bits.flag()? { 2 } else { 1 }; // a pair or a single channel
        bits.skip(4)?; // element_tag_select
    }
    Some(channels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn track(asc: &[u8]) -> Result<AudioTrack, AacError> {
        track_from_config(Bytes::copy_from_slice(asc))
    }

    fn described(asc: &[u8]) -> Result<(String, u32, u16, u32), AacError> {
        track(asc).map(|track| (track.codecs, track.sample_rate, track.channels, track.samples_per_frame))
    }

    #[test]
    fn low_complexity() {
        let expected = AudioTrack {
            codec: AudioCodec::Aac,
            config: Bytes::from_static(&[0x11, 0x90]),
            codecs: "mp4a.40.2".to_owned(),
            sample_rate: 48_000,
            channels: 2,
            samples_per_frame: 1_024,
        };
        assert_eq!(track(&[0x11, 0x90]), Ok(expected));
        assert_eq!(described(&[0x12, 0x08]), Ok(("mp4a.40.2".to_owned(), 44_100, 1, 1_024)));
        assert_eq!(described(&[0x11, 0xb4]), Ok(("mp4a.40.2".to_owned(), 48_000, 6, 960)));
    }

    #[test]
    fn the_backward_compatible_extension_leaves_the_core() {
        // AAC-LC 24 kHz, then sync extension 0x2b7 with SBR at 48 kHz, as FFmpeg and OBS write it.
        assert_eq!(described(&[0x13, 0x10, 0x56, 0xe5, 0x98]), Ok(("mp4a.40.2".to_owned(), 24_000, 2, 1_024)));
    }

    #[test]
    fn explicit_high_efficiency_counts_the_core() {
        // 5 | 24 kHz | stereo | output 48 kHz | core 2 | no flags
        assert_eq!(described(&[0x2b, 0x11, 0x88, 0x00]), Ok(("mp4a.40.5".to_owned(), 24_000, 2, 1_024)));
        // 29 | 24 kHz | mono core, stereo by PS
        assert_eq!(described(&[0xeb, 0x09, 0x88, 0x00]), Ok(("mp4a.40.29".to_owned(), 24_000, 2, 1_024)));
    }

    #[test]
    fn an_escaped_sample_rate() {
        // 2 | 15, 48 001 | stereo | no flags
        let asc = (2u64 << 35 | 15 << 31 | 48_001 << 7 | 2 << 3).to_be_bytes();
        assert_eq!(described(&asc[3..]), Ok(("mp4a.40.2".to_owned(), 48_001, 2, 1_024)));
        let asc = (2u64 << 35 | 15 << 31 | 2 << 3).to_be_bytes();
        assert_eq!(described(&asc[3..]), Err(AacError::SampleRate(0)));
    }

    #[test]
    fn a_program_config_element_is_counted() {
        // 2 | 48 kHz | configuration 0 | no flags, then: one front pair, one LFE, no mixdown.
        let mut bits =
            String::from("00010 0011 0000 000  0000 01 0011  0001 0000 0000 01 000 0000 0 0 0  1 0000  0000");
        bits.retain(|bit| bit != ' ');
        let asc: Vec<u8> = bits
            .as_bytes()
            .chunks(8)
            .map(|byte| byte.iter().enumerate().fold(0, |value, (at, bit)| value | (bit - b'0') << (7 - at)))
            .collect();
        assert_eq!(described(&asc), Ok(("mp4a.40.2".to_owned(), 48_000, 3, 1_024)));
        assert_eq!(described(&asc[..5]), Err(AacError::Truncated));
    }

    #[test]
    fn silence_is_known_for_every_usual_layout() {
        let silence = |asc: &[u8]| silent_frame(&track(asc).expect("valid"));
        assert_eq!(silence(&[0x12, 0x08]), Some(Bytes::from_static(&[0, 0, 0, 0x07])), "mono");
        assert_eq!(silence(&[0x11, 0x90]), Some(Bytes::from_static(&[0x20, 0, 0, 0, 0, 0, 0x0e])), "stereo");
        assert_eq!(silence(&[0x11, 0xb0]).map(|frame| frame.len()), Some(21), "5.1");
        assert_eq!(silence(&[0x2b, 0x11, 0x88, 0x00]), silence(&[0x11, 0x90]), "HE-AAC has the frame of its core");
        assert_eq!(silence(&[0xeb, 0x09, 0x88, 0x00]), silence(&[0x12, 0x08]), "parametric stereo codes one channel");
    }

    #[test]
    fn refusals_tell_the_publisher_what_to_set() {
        let error = |asc: &[u8]| track(asc).expect_err("refused").to_string();
        assert_eq!(error(&[0x09, 0x90]), "AAC audio object type 1 is not supported: set the encoder to AAC-LC");
        assert_eq!(error(&[0x11, 0xc8]), "AAC channel configuration 9 is not supported: set the encoder to stereo");
        assert_eq!(
            error(&[0x16, 0x90]),
            "AAC sampling frequency 13 is not supported: set the encoder to 44100 or 48000 Hz"
        );
        assert_eq!(error(&[0x11]), "AAC configuration is cut off");
        assert_eq!(error(&[]), "AAC configuration is cut off");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(asc in prop::collection::vec(any::<u8>(), 0..32)) {
            if let Ok(track) = track(&asc) {
                prop_assert!((1..=8).contains(&track.channels) && track.sample_rate <= 96_000);
            }
        }
    }
}
