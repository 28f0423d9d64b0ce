//! Opus in MPEG-TS, as FFmpeg and the draft ETSI TS "Opus in MPEG-TS" write it: a control header in front of each packet, and the
//! channels in a descriptor of the PMT.

use bytes::{BufMut, Bytes, BytesMut};

use crate::media::{AudioCodec, AudioTrack};

/// First byte of every control header.
pub(super) const FIRST_BYTE: u8 = 0x7f;
/// `control_header_prefix`, 11 bits of 16.
const PREFIX: u16 = 0x7fe0;
const FLAG_START_TRIM: u16 = 0x10;
const FLAG_END_TRIM: u16 = 0x08;
const FLAG_EXTENSION: u16 = 0x04;
/// Most bytes of a packet: 48 frames of at most 1275 bytes (RFC 6716 3.4) with their lengths.
const MAX_PACKET_BYTES: usize = 48 * (1_275 + 2) + 2;
/// Opus counts at this rate whatever it codes (RFC 7845 5.1).
const SAMPLE_RATE: u32 = 48_000;
/// 120 ms (RFC 6716 3.4, R5).
const MAX_SAMPLES: u32 = 5_760;

/// An access unit: where its packet lies, and how long it sounds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AccessUnit {
    pub header_bytes: usize,
    pub packet_bytes: usize,
    pub samples: u32,
}

/// The access unit that `bytes` begins with; `None` when there is none, or its end is missing.
pub(super) fn parse(bytes: &[u8]) -> Option<AccessUnit> {
    let prefix = u16::from_be_bytes(*bytes.first_chunk()?);
    if prefix & 0xffe0 != PREFIX {
        return None;
    }
    let (mut at, mut packet_bytes) = (2, 0);
    loop {
        let byte = *bytes.get(at)?;
        at += 1;
        packet_bytes += usize::from(byte);
        if packet_bytes > MAX_PACKET_BYTES {
            return None;
        }
        if byte != 0xff {
            break;
        }
    }
    // Trims are not asked for: what is cut off at the ends of a stream is silence, and stamps count it.
    at += [FLAG_START_TRIM, FLAG_END_TRIM].into_iter().filter(|flag| prefix & flag != 0).count() * 2;
    if prefix & FLAG_EXTENSION != 0 {
        at += 1 + usize::from(*bytes.get(at)?);
    }
    let samples = samples(bytes.get(at..at + packet_bytes)?)?;
    Some(AccessUnit { header_bytes: at, packet_bytes, samples })
}

/// Samples of a packet at 48 kHz, from its first byte (RFC 6716 3.1); `None` if it is empty or too long.
fn samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frame = match toc >> 3 {
        config @ 0..=11 => [480, 960, 1_920, 2_880][usize::from(config % 4)],
        config @ 12..=15 => [480, 960][usize::from(config % 2)],
        config => [120, 240, 480, 960][usize::from(config % 4)],
    };
    let count = match toc & 3 {
        0 => 1,
        3 => u32::from(*packet.get(1)? & 0x3f),
        _ => 2,
    };
    Some(frame * count).filter(|samples| (1..=MAX_SAMPLES).contains(samples))
}

/// Streams, coupled streams and the mapping of 3 to 8 channels in the order of Vorbis (RFC 7845 5.1.1.2).
const SURROUND: [(u8, u8, &[u8]); 6] = [
    (2, 1, &[0, 2, 1]),
    (2, 2, &[0, 1, 2, 3]),
    (3, 2, &[0, 4, 1, 2, 3]),
    (4, 2, &[0, 4, 1, 2, 3, 5]),
    (4, 3, &[0, 4, 1, 2, 3, 5, 6]),
    (5, 3, &[0, 6, 1, 2, 3, 4, 5, 7]),
];

/// The track of a `channel_config_code`, with an identification header made of it (RFC 7845 5.1); `None` for two programs in one
/// (0) and mappings of a private kind. Without pre-skip: stamps count what an encoder put in front.
pub(super) fn track(channel_config: u8, samples_per_frame: u32) -> Option<AudioTrack> {
    let surround = match channel_config {
        1 | 2 => None,
        3..=8 => Some(SURROUND[usize::from(channel_config) - 3]),
        _ => return None,
    };
    let mut head = BytesMut::with_capacity(29);
    head.put_slice(b"OpusHead");
    head.put_u8(1); // version
    head.put_u8(channel_config);
    head.put_u16_le(0); // pre-skip
    head.put_u32_le(SAMPLE_RATE);
    head.put_i16_le(0); // gain
    head.put_u8(u8::from(surround.is_some())); // mapping family
    if let Some((streams, coupled, mapping)) = surround {
        head.put_u8(streams);
        head.put_u8(coupled);
        head.put_slice(mapping);
    }
    Some(AudioTrack {
        codec: AudioCodec::Opus,
        config: Bytes::from(head),
        codecs: AudioCodec::Opus.prefix().to_owned(),
        sample_rate: SAMPLE_RATE,
        channels: u16::from(channel_config),
        samples_per_frame,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_control_header_of_ffmpeg() {
        // start trim of 312 samples, 440 bytes
        let bytes = [&[0x7f, 0xf0, 0xff, 0xb9, 0x01, 0x38][..], &[0xfc; 440]].concat();
        assert_eq!(parse(&bytes), Some(AccessUnit { header_bytes: 6, packet_bytes: 440, samples: 960 }));
        assert_eq!(parse(&bytes[..445]), None, "cut off");
    }

    #[test]
    fn every_field() {
        let bytes = [0x7f, 0xfc, 2, 0, 1, 0, 2, 3, 9, 9, 9, 0x0b, 0x02, 7];
        assert_eq!(parse(&bytes), Some(AccessUnit { header_bytes: 11, packet_bytes: 2, samples: 1_920 }));
        assert_eq!(parse(&[0x7f, 0xc0, 1, 0xfc]), None, "no prefix");
        assert_eq!(parse(&[0x7f, 0xe0, 0]), None, "empty");
    }

    #[test]
    fn durations() {
        let of = |toc: u8, count: u8| samples(&[toc, count]);
        assert_eq!(
            [of(0x00, 0), of(0x18, 0), of(0x60, 0), of(0x80, 0), of(0xf8, 0)],
            [480, 2_880, 480, 120, 960].map(Some)
        );
        assert_eq!((of(0xf9, 0), of(0xfa, 0), of(0xfb, 6)), (Some(1_920), Some(1_920), Some(5_760)));
        assert_eq!((of(0xfb, 7), of(0xfb, 0), samples(&[])), (None, None, None));
    }

    #[test]
    fn tracks() {
        let stereo = track(2, 960).expect("known");
        assert_eq!(&stereo.config[..], b"OpusHead\x01\x02\0\0\x80\xbb\0\0\0\0\0");
        assert_eq!((stereo.channels, stereo.sample_rate, stereo.samples_per_frame), (2, 48_000, 960));
        let surround = track(6, 960).expect("known");
        assert_eq!(&surround.config[18..], [1, 4, 2, 0, 4, 1, 2, 3, 5]);
        assert_eq!((track(0, 960), track(9, 960), track(0x82, 960)), (None, None, None));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(flags: u8, tail in prop::collection::vec(any::<u8>(), 0..300)) {
            let bytes = [&[0x7f, 0xe0 | flags][..], &tail].concat();
            if let Some(unit) = parse(&bytes) {
                prop_assert!(unit.header_bytes + unit.packet_bytes <= bytes.len() && unit.samples <= MAX_SAMPLES);
            }
        }
    }
}
