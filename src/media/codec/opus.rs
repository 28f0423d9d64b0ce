//! Opus: the identification header (RFC 7845 5.1) and how long packets last (RFC 6716 3.1). Time is counted at 48 kHz, whatever the
//! source was recorded at.

use bytes::{BufMut, Bytes, BytesMut};

use crate::media::{AudioCodec, AudioTrack};

/// Samples per second of all Opus.
pub const SAMPLE_RATE: u32 = 48_000;
/// Samples of the longest packet: 120 ms (RFC 6716 3.2.5, R5).
pub const MAX_PACKET_SAMPLES: u32 = 5_760;
/// Samples that decoders leave out at the beginning when nobody says how many: what libopus looks ahead.
const USUAL_PRE_SKIP: u16 = 312;
const MAGIC: &[u8; 8] = b"OpusHead";
/// The upper half of the version byte; others are not compatible.
const VERSION: u8 = 1;
const MAX_CHANNELS: u8 = 8;
/// Samples per frame that tracks state: 20 ms, what encoders use unless told otherwise.
const USUAL_FRAME_SAMPLES: u32 = 960;

/// Why an Opus header or packet is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpusError {
    /// The bytes end inside of a field.
    #[error("Opus {what} is cut off")]
    Truncated {
        /// Which structure.
        what: &'static str,
    },
    /// It does not begin with `OpusHead`.
    #[error("Opus configuration does not begin with OpusHead")]
    Magic,
    /// A version that is not compatible with 1.
    #[error("Opus configuration has version {0}, 1 is known")]
    Version(u8),
    /// None, or more than 8.
    #[error("Opus with {0} channels is not supported: set the encoder to stereo")]
    Channels(u8),
    /// Streams and coupled streams that cannot make up the channels.
    #[error(
        "Opus channel mapping {family} does not name a stream for each of its {channels} channels: set the encoder to stereo"
    )]
    Mapping {
        /// Its family.
        family: u8,
        /// Output channels.
        channels: u8,
    },
    /// A packet of more than 120 ms, or of no frame.
    #[error("Opus packet has {frames} frames of {samples} samples, more or less than a packet can have")]
    Duration {
        /// Its frames.
        frames: u32,
        /// Samples of each.
        samples: u32,
    },
}

/// How coded streams become channels (RFC 7845 5.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Mapping family: 1 is the order of Vorbis, 255 says nothing of what channels are.
    pub family: u8,
    /// Coded streams.
    pub streams: u8,
    /// Of these, how many hold two channels.
    pub coupled: u8,
    /// The decoded channel of each output channel; 255 is silence.
    pub channels: Vec<u8>,
}

/// The identification header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpusHead {
    /// Output channels, 1 to 8.
    pub channels: u8,
    /// Samples that decoders leave out at the beginning.
    pub pre_skip: u16,
    /// Samples per second of the original, which nothing depends on; 0 when unknown.
    pub input_rate: u32,
    /// What decoders multiply with, in 1/256 dB.
    pub gain: i16,
    /// `None`: family 0, one stream of one or two channels.
    pub mapping: Option<Mapping>,
}

impl OpusHead {
    /// The header of a source that has none, such as MPEG-TS: `channels` in the order of Vorbis, as encoders couple them
    /// (RFC 7845 5.1.1.2).
    ///
    /// # Errors
    /// None, or more than 8 channels.
    pub fn of_channels(channels: u8) -> Result<Self, OpusError> {
        /// Streams, coupled streams and the mapping of libopus for 3 to 8 channels.
        const SURROUND: [(u8, u8, &[u8]); 6] = [
            (2, 1, &[0, 2, 1]),
            (2, 2, &[0, 1, 2, 3]),
            (3, 2, &[0, 4, 1, 2, 3]),
            (4, 2, &[0, 4, 1, 2, 3, 5]),
            (4, 3, &[0, 4, 1, 2, 3, 5, 6]),
            (5, 3, &[0, 6, 1, 2, 3, 4, 5, 7]),
        ];
        let mapping = match channels {
            1 | 2 => None,
            3..=MAX_CHANNELS => {
                let (streams, coupled, order) = SURROUND[usize::from(channels) - 3];
                Some(Mapping { family: 1, streams, coupled, channels: order.to_vec() })
            }
            other => return Err(OpusError::Channels(other)),
        };
        Ok(OpusHead { channels, pre_skip: USUAL_PRE_SKIP, input_rate: SAMPLE_RATE, gain: 0, mapping })
    }

    /// Reads a header.
    ///
    /// # Errors
    /// Magic, version, number of channels, or a mapping that names channels which no stream has.
    pub fn parse(header: &[u8]) -> Result<Self, OpusError> {
        const CUT_OFF: OpusError = OpusError::Truncated { what: "configuration" };
        let fields = header.strip_prefix(MAGIC).ok_or(OpusError::Magic)?;
        let Some(&[version, channels, skip_low, skip_high, r0, r1, r2, r3, gain_low, gain_high, family]) =
            fields.get(..11)
        else {
            return Err(CUT_OFF);
        };
        if version >> 4 != 0 {
            return Err(OpusError::Version(version));
        }
        if channels == 0 || channels > MAX_CHANNELS {
            return Err(OpusError::Channels(channels));
        }
        let bad = OpusError::Mapping { family, channels };
        let mapping = if family == 0 {
            if channels > 2 {
                return Err(bad);
            }
            None
        } else {
            let table = fields.get(11..13 + usize::from(channels)).ok_or(CUT_OFF)?;
            let (streams, coupled, order) = (table[0], table[1], table[2..].to_vec());
            let decoded = u16::from(streams) + u16::from(coupled);
            let named = order.iter().all(|channel| *channel == u8::MAX || u16::from(*channel) < decoded);
            if streams == 0 || coupled > streams || decoded > u16::from(u8::MAX) || !named {
                return Err(bad);
            }
            Some(Mapping { family, streams, coupled, channels: order })
        };
        Ok(OpusHead {
            channels,
            pre_skip: u16::from_le_bytes([skip_low, skip_high]),
            input_rate: u32::from_le_bytes([r0, r1, r2, r3]),
            gain: i16::from_le_bytes([gain_low, gain_high]),
            mapping,
        })
    }

    /// The header.
    pub fn write(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(21 + usize::from(self.channels));
        out.put_slice(MAGIC);
        out.put_slice(&[VERSION, self.channels]);
        out.put_u16_le(self.pre_skip);
        out.put_u32_le(self.input_rate);
        out.put_i16_le(self.gain);
        match &self.mapping {
            None => out.put_u8(0),
            Some(mapping) => {
                out.put_slice(&[mapping.family, mapping.streams, mapping.coupled]);
                out.put_slice(&mapping.channels);
            }
        }
        out.freeze()
    }

    /// The track that it describes.
    pub fn track(&self) -> AudioTrack {
        AudioTrack {
            codec: AudioCodec::Opus,
            config: self.write(),
            codecs: AudioCodec::Opus.prefix().to_owned(),
            sample_rate: SAMPLE_RATE,
            channels: u16::from(self.channels),
            samples_per_frame: USUAL_FRAME_SAMPLES,
        }
    }
}

/// Describes a track from its identification header.
///
/// # Errors
/// As [`OpusHead::parse`]; the texts are for the publisher.
pub fn track_from_head(header: &[u8]) -> Result<AudioTrack, OpusError> {
    OpusHead::parse(header).map(|head| head.track())
}

/// Samples at 48 kHz that a packet decodes to (RFC 6716 3.1).
///
/// # Errors
/// It is empty, or longer than 120 ms.
pub fn packet_samples(packet: &[u8]) -> Result<u32, OpusError> {
    const CUT_OFF: OpusError = OpusError::Truncated { what: "packet" };
    let toc = *packet.first().ok_or(CUT_OFF)?;
    let samples = frame_samples(toc >> 3);
    let frames = match toc & 0b11 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1).ok_or(CUT_OFF)? & 0x3f),
    };
    match frames * samples {
        1..=MAX_PACKET_SAMPLES => Ok(frames * samples),
        _ => Err(OpusError::Duration { frames, samples }),
    }
}

/// Samples of each frame of a packet with this `config` (RFC 6716 table 2).
fn frame_samples(config: u8) -> u32 {
    match config {
        ..12 => [480, 960, 1_920, 2_880][usize::from(config & 0b11)],
        12..16 => [480, 960][usize::from(config & 0b1)],
        _ => [120, 240, 480, 960][usize::from(config & 0b11)],
    }
}

/// A packet without a sound, to stand where packets were lost. `samples`: 120, 240, 480, 960, or a multiple of that up to 5 760.
/// `None` for another length, and for a track of several streams.
///
/// It is made of frames of CELT at full bandwidth whose first bit, `silence`, is set (RFC 6716 4.3); where there are several, of 20 ms
/// each (code 3 of 3.2.5, constant bitrate).
pub fn silent_packet(track: &AudioTrack, samples: u32) -> Option<Bytes> {
    const SILENCE: [u8; 2] = [0xff, 0xfe];
    let frames = if samples.is_multiple_of(960) {
        u8::try_from(samples / 960).ok().filter(|n| (1..=6).contains(n))?
    } else {
        1
    };
    let length = [120, 240, 480, 960].iter().position(|known| *known == samples / u32::from(frames))?;
    if OpusHead::parse(&track.config).ok()?.mapping.is_some_and(|mapping| mapping.streams > 1) {
        return None;
    }
    let stereo = u8::from(track.channels == 2);
    let toc = (28 + length as u8) << 3 | stereo << 2;
    if frames == 1 {
        return Some([&[toc], &SILENCE[..]].concat().into());
    }
    Some([&[toc | 3, frames], &SILENCE.repeat(usize::from(frames))[..]].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As FFmpeg 5.1 with libopus writes it into Ogg.
    const HEAD: &[u8] = b"OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\x00\x00";

    #[test]
    fn the_header_of_libopus() {
        let head = OpusHead { channels: 2, pre_skip: 312, input_rate: 48_000, gain: 0, mapping: None };
        assert_eq!(OpusHead::parse(HEAD), Ok(head.clone()));
        assert_eq!((head.write(), OpusHead::of_channels(2)), (Bytes::from_static(HEAD), Ok(head)));
        let track = track_from_head(HEAD).expect("made by libopus");
        assert_eq!((track.codec, track.codecs.as_str(), &track.config[..]), (AudioCodec::Opus, "Opus", HEAD));
        assert_eq!((track.sample_rate, track.channels, track.samples_per_frame), (48_000, 2, 960));
    }

    #[test]
    fn surround_has_a_mapping() {
        for channels in 1..=8 {
            let head = OpusHead::of_channels(channels).expect("known");
            assert_eq!(OpusHead::parse(&head.write()), Ok(head.clone()));
            let streams = head.mapping.map_or(channels, |mapping| mapping.streams + mapping.coupled);
            assert_eq!(streams, channels);
        }
        assert_eq!(OpusHead::of_channels(9), Err(OpusError::Channels(9)));
    }

    #[test]
    fn refusals_tell_the_publisher_what_to_set() {
        let error = |header: &[u8]| track_from_head(header).expect_err("refused").to_string();
        assert_eq!(error(b"OpusTags"), "Opus configuration does not begin with OpusHead");
        assert_eq!(error(&HEAD[..18]), "Opus configuration is cut off");
        let changed = |at: usize, value: u8| {
            let mut header = HEAD.to_vec();
            header[at] = value;
            header
        };
        assert_eq!(error(&changed(8, 0x10)), "Opus configuration has version 16, 1 is known");
        assert_eq!(error(&changed(9, 0)), "Opus with 0 channels is not supported: set the encoder to stereo");
        assert_eq!(
            error(&changed(9, 6)),
            "Opus channel mapping 0 does not name a stream for each of its 6 channels: set the encoder to stereo"
        );
        assert_eq!(error(&changed(18, 1)), "Opus configuration is cut off");
        assert!(error(&[&changed(18, 1), &[1, 1, 0, 2][..]].concat()).contains("mapping 1"));
    }

    #[test]
    fn packets_last_as_long_as_their_first_byte_says() {
        for (config, code, samples) in [
            (0, 0, Ok(480)),
            (3, 1, Ok(5_760)),
            (3, 0, Ok(2_880)),
            (12, 2, Ok(960)),
            (15, 0, Ok(960)),
            (16, 0, Ok(120)),
            (31, 1, Ok(1_920)),
            (2, 1, Ok(3_840)),
        ] {
            assert_eq!(packet_samples(&[config << 3 | code]), samples, "{config} {code}");
        }
        assert_eq!(packet_samples(&[31 << 3 | 3, 6]), Ok(5_760));
        assert_eq!(packet_samples(&[31 << 3 | 3, 0xc6]), Ok(5_760), "flags of padding and of bitrate");
        assert_eq!(packet_samples(&[31 << 3 | 3, 7]), Err(OpusError::Duration { frames: 7, samples: 960 }));
        assert_eq!(packet_samples(&[31 << 3 | 3, 0]), Err(OpusError::Duration { frames: 0, samples: 960 }));
        assert_eq!(packet_samples(&[31 << 3 | 3]), Err(OpusError::Truncated { what: "packet" }));
        assert_eq!(packet_samples(&[]), Err(OpusError::Truncated { what: "packet" }));
    }

    #[test]
    fn silence_lasts_as_long_as_asked() {
        let track = track_from_head(HEAD).expect("made by libopus");
        for samples in [120, 240, 480, 960, 1_920, 2_880, 5_760] {
            let packet = silent_packet(&track, samples).expect("known");
            assert_eq!(packet_samples(&packet), Ok(samples));
        }
        assert_eq!(silent_packet(&track, 960), Some(Bytes::from_static(&[0xfc, 0xff, 0xfe])));
        assert_eq!(silent_packet(&track, 1_920), Some(Bytes::from_static(&[0xff, 2, 0xff, 0xfe, 0xff, 0xfe])));
        assert!([0, 1_900, 6_720].iter().all(|samples| silent_packet(&track, *samples).is_none()));
        let surround = OpusHead::of_channels(6).expect("known").track();
        assert_eq!(silent_packet(&surround, 960), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(tail in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(samples) = packet_samples(&tail) {
                prop_assert!(samples > 0 && samples <= MAX_PACKET_SAMPLES);
            }
            if let Ok(head) = OpusHead::parse(&[&MAGIC[..], &tail].concat()) {
                prop_assert_eq!(OpusHead::parse(&head.write()), Ok(head));
            }
        }
    }
}
