//! Bodies of audio tags: AAC, both directions.

use bytes::{BufMut, Bytes, BytesMut};

use super::{FlvError, four_cc_name};

const FORMAT_AAC: u8 = 10;
const FORMAT_ENHANCED: u8 = 9;
/// AAC with the rate, size and channel bits that the specification fixes for it.
const AAC_HEADER: u8 = 0xaf;
const AAC_SEQUENCE_HEADER: u8 = 0;
const AAC_RAW: u8 = 1;
const AAC_HEADER_BYTES: usize = 2;
/// Packet type of enhanced RTMP that has one more byte before its FourCC.
const ENHANCED_MULTITRACK: u8 = 5;

/// What an audio tag holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AudioTag {
    /// AudioSpecificConfig. The rate and channel bits of the tag's header are not asked: they lie.
    Config(Bytes),
    /// One raw AAC frame.
    Frame(Bytes),
    /// Nothing for us: an empty message, an AAC packet type that does not exist.
    Ignored,
}

/// Reads an audio tag's body. The payload shares the buffer.
///
/// # Errors
/// The header is cut off, or the codec is another than AAC.
pub fn parse_audio(body: &Bytes) -> Result<AudioTag, FlvError> {
    let Some(&first) = body.first() else { return Ok(AudioTag::Ignored) };
    let (format, low) = (first >> 4, first & 0x0f);
    match format {
        FORMAT_AAC => {}
        FORMAT_ENHANCED => {
            let at = if low == ENHANCED_MULTITRACK { 2 } else { 1 };
            return Err(FlvError::AudioCodec(four_cc_name(body.get(at..at + 4))));
        }
        other => return Err(FlvError::AudioCodec(format_name(other).to_owned())),
    }
    match body.get(1) {
        Some(&AAC_SEQUENCE_HEADER) => Ok(AudioTag::Config(body.slice(AAC_HEADER_BYTES..))),
        Some(&AAC_RAW) => Ok(AudioTag::Frame(body.slice(AAC_HEADER_BYTES..))),
        Some(_) => Ok(AudioTag::Ignored),
        None => Err(FlvError::Truncated { kind: "audio", length: body.len() }),
    }
}

fn format_name(format: u8) -> &'static str {
    match format {
        0 | 3 => "PCM",
        1 => "ADPCM",
        2 | 14 => "MP3",
        4..=6 => "Nellymoser",
        7 => "G.711 A-law",
        8 => "G.711 mu-law",
        11 => "Speex",
        15 => "of a device of its own (format 15)",
        _ => "of a reserved format",
    }
}

impl AudioTag {
    /// The tag's body. An ignored tag becomes an empty body.
    pub fn to_body(&self) -> Bytes {
        match self {
            AudioTag::Config(config) => body(AAC_SEQUENCE_HEADER, config),
            AudioTag::Frame(frame) => body(AAC_RAW, frame),
            AudioTag::Ignored => Bytes::new(),
        }
    }
}

fn body(packet_type: u8, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(AAC_HEADER_BYTES + payload.len());
    out.put_slice(&[AAC_HEADER, packet_type]);
    out.put_slice(payload);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(body: &[u8]) -> Result<AudioTag, FlvError> {
        parse_audio(&Bytes::copy_from_slice(body))
    }

    #[test]
    fn bodies_of_every_kind() {
        assert_eq!(parse(&[0xaf, 0, 0x11, 0x90]), Ok(AudioTag::Config(Bytes::from_static(&[0x11, 0x90]))));
        assert_eq!(parse(&[0xa2, 1, 7]), Ok(AudioTag::Frame(Bytes::from_static(&[7]))));
        assert_eq!(parse(&[]), Ok(AudioTag::Ignored));
        assert_eq!(parse(&[0xaf, 2]), Ok(AudioTag::Ignored));
        assert_eq!(parse(&[0xaf]), Err(FlvError::Truncated { kind: "audio", length: 1 }));
    }

    #[test]
    fn other_codecs_are_named_with_what_to_do() {
        for (body, name) in [
            (&[0x2f][..], "MP3"),
            (&[0xb2], "Speex"),
            (&[0x72], "G.711 A-law"),
            (&[0x82], "G.711 mu-law"),
            (&[0x3e], "PCM"),
            (b"\x90Opus", "Opus (FourCC Opus)"),
            (b"\x95\x00.mp3", "MP3 (FourCC .mp3)"),
        ] {
            let error = parse(body).expect_err("refused");
            assert_eq!(error.to_string(), format!("audio codec {name} is not supported: set the encoder to AAC"));
        }
    }

    proptest! {
        #[test]
        fn frames_come_back(frame: Vec<u8>) {
            let tag = AudioTag::Frame(Bytes::from(frame));
            prop_assert_eq!(parse_audio(&tag.to_body()), Ok(tag));
        }

        #[test]
        fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..12)) {
            let _any_result = parse(&body);
        }
    }
}
