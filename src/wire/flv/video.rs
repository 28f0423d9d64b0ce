//! Bodies of video tags: H.264 in the AVC form, both directions.

use bytes::{BufMut, Bytes, BytesMut};

use super::{FlvError, four_cc_name};

const CODEC_AVC: u8 = 7;
/// Bit of enhanced RTMP's header in the first byte.
const ENHANCED: u8 = 0x80;
const FRAME_TYPE_KEY: u8 = 1;
const FRAME_TYPE_INTER: u8 = 2;
const FRAME_TYPE_COMMAND: u8 = 5;
const AVC_SEQUENCE_HEADER: u8 = 0;
const AVC_NALUS: u8 = 1;
const AVC_END_OF_SEQUENCE: u8 = 2;
/// Frame type and codec, AVC packet type, composition time.
const AVC_HEADER_BYTES: usize = 5;
/// Packet type of enhanced RTMP that has one more byte before its FourCC.
const ENHANCED_MULTITRACK: u8 = 6;

/// What a video tag holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoTag {
    /// AVCDecoderConfigurationRecord.
    Config(Bytes),
    /// One access unit.
    Frame {
        /// The container's word for it; only the NAL types are to be trusted.
        claimed_key: bool,
        /// Presentation minus decoding time in milliseconds, signed.
        composition_ms: i32,
        /// NAL units behind lengths, as the configuration says.
        data: Bytes,
    },
    /// The encoder says that it ends. Its time stamp means nothing (FFmpeg steps back by 95 ms).
    EndOfSequence,
    /// Nothing for us: a command frame, an empty message, an AVC packet type that does not exist.
    Ignored,
}

/// Reads a video tag's body. The payload shares the buffer.
///
/// # Errors
/// The header is cut off, or the codec is another than H.264.
pub fn parse_video(body: &Bytes) -> Result<VideoTag, FlvError> {
    let Some(&first) = body.first() else { return Ok(VideoTag::Ignored) };
    let (frame_type, codec) = (first >> 4 & 0b111, first & 0x0f);
    if frame_type == FRAME_TYPE_COMMAND {
        return Ok(VideoTag::Ignored);
    }
    if first & ENHANCED != 0 {
        let at = if codec == ENHANCED_MULTITRACK { 2 } else { 1 };
        return Err(FlvError::VideoCodec(four_cc_name(body.get(at..at + 4))));
    }
    if codec != CODEC_AVC {
        return Err(FlvError::VideoCodec(codec_name(codec)));
    }
    let truncated = FlvError::Truncated { kind: "video", length: body.len() };
    match body.get(1) {
        Some(&AVC_END_OF_SEQUENCE) => Ok(VideoTag::EndOfSequence),
        Some(_) if body.len() < AVC_HEADER_BYTES => Err(truncated),
        Some(&AVC_SEQUENCE_HEADER) => Ok(VideoTag::Config(body.slice(AVC_HEADER_BYTES..))),
        Some(&AVC_NALUS) => Ok(VideoTag::Frame {
            claimed_key: frame_type == FRAME_TYPE_KEY,
            // Sign extension: the 24 bits go to the top of the word and come back down.
            composition_ms: i32::from_be_bytes([body[2], body[3], body[4], 0]) >> 8,
            data: body.slice(AVC_HEADER_BYTES..),
        }),
        Some(_) => Ok(VideoTag::Ignored),
        None => Err(truncated),
    }
}

fn codec_name(codec: u8) -> String {
    let name = match codec {
        1 => "JPEG",
        2 => "Sorenson H.263",
        3 | 6 => "Screen Video",
        4 | 5 => "VP6",
        8 => "H.263",
        9 => "MPEG-4 Part 2",
        12 => "HEVC (codec id 12)",
        13 => "AV1 (codec id 13)",
        other => return format!("id {other}"),
    };
    name.to_owned()
}

impl VideoTag {
    /// The tag's body; composition times beyond 24 bits are clamped. An ignored tag becomes an empty body.
    pub fn to_body(&self) -> Bytes {
        match self {
            VideoTag::Config(record) => body(FRAME_TYPE_KEY, AVC_SEQUENCE_HEADER, 0, record),
            VideoTag::Frame { claimed_key, composition_ms, data } => {
                let frame_type = if *claimed_key { FRAME_TYPE_KEY } else { FRAME_TYPE_INTER };
                body(frame_type, AVC_NALUS, *composition_ms, data)
            }
            VideoTag::EndOfSequence => body(FRAME_TYPE_KEY, AVC_END_OF_SEQUENCE, 0, &[]),
            VideoTag::Ignored => Bytes::new(),
        }
    }
}

fn body(frame_type: u8, packet_type: u8, composition_ms: i32, payload: &[u8]) -> Bytes {
    const LIMIT: i32 = 1 << 23;
    let composition = composition_ms.clamp(-LIMIT, LIMIT - 1).to_be_bytes();
    let mut out = BytesMut::with_capacity(AVC_HEADER_BYTES + payload.len());
    out.put_u8(frame_type << 4 | CODEC_AVC);
    out.put_u8(packet_type);
    out.put_slice(&composition[1..]);
    out.put_slice(payload);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(body: &[u8]) -> Result<VideoTag, FlvError> {
        parse_video(&Bytes::copy_from_slice(body))
    }

    fn refusal(body: &[u8]) -> String {
        parse(body).expect_err("refused").to_string()
    }

    #[test]
    fn bodies_of_every_kind() {
        assert_eq!(parse(&[0x17, 0, 0, 0, 0, 1, 2]), Ok(VideoTag::Config(Bytes::from_static(&[1, 2]))));
        let frame = |claimed_key, composition_ms| {
            Ok(VideoTag::Frame { claimed_key, composition_ms, data: Bytes::from_static(&[9]) })
        };
        assert_eq!(parse(&[0x17, 1, 0, 0, 66, 9]), frame(true, 66));
        assert_eq!(parse(&[0x27, 1, 0xff, 0xff, 0xdf, 9]), frame(false, -33));
        assert_eq!(parse(&[0x27, 1, 0x80, 0, 0, 9]), frame(false, -8_388_608));
        assert_eq!(parse(&[0x17, 2, 0, 0, 0]), Ok(VideoTag::EndOfSequence));
        assert_eq!(parse(&[0x17, 2]), Ok(VideoTag::EndOfSequence));
    }

    #[test]
    fn what_carries_nothing_is_ignored() {
        for body in [&[][..], &[0x57, 0], &[0x52, 0], &[0xd0], &[0x17, 9, 0, 0, 0]] {
            assert_eq!(parse(body), Ok(VideoTag::Ignored), "{body:?}");
        }
    }

    #[test]
    fn other_codecs_are_named_with_what_to_do() {
        let text = "is not supported: set the encoder to H.264";
        assert_eq!(refusal(&[0x1c, 0, 0, 0, 0]), format!("video codec HEVC (codec id 12) {text}"));
        assert_eq!(refusal(&[0x24, 0]), format!("video codec VP6 {text}"));
        assert_eq!(refusal(&[0x2f]), format!("video codec id 15 {text}"));
        assert_eq!(refusal(b"\x90hvc1..."), format!("video codec HEVC (FourCC hvc1) {text}"));
        assert_eq!(refusal(b"\x96\x00av01..."), format!("video codec AV1 (FourCC av01) {text}"));
        assert_eq!(refusal(b"\x90a\nb\0..."), format!("video codec with FourCC a.b. {text}"));
        assert_eq!(refusal(b"\x90"), format!("video codec of an enhanced RTMP header without FourCC {text}"));
        assert!(parse(&[0x24, 0]).is_err_and(|error| error.is_unsupported()));
    }

    #[test]
    fn a_short_header_is_damage() {
        let error = parse(&[0x17, 1, 0]).expect_err("too short");
        assert_eq!(error.to_string(), "video message of 3 bytes is too short for its header");
        assert!(!error.is_unsupported());
        assert!(parse(&[0x17]).is_err());
    }

    proptest! {
        #[test]
        fn frames_come_back(claimed_key: bool, composition_ms in -8_388_608i32..8_388_608, data: Vec<u8>) {
            let tag = VideoTag::Frame { claimed_key, composition_ms, data: Bytes::from(data) };
            prop_assert_eq!(parse_video(&tag.to_body()), Ok(tag));
        }

        #[test]
        fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..12)) {
            let _any_result = parse(&body);
        }
    }
}
