use super::*;
use proptest::prelude::*;

fn parse(body: &[u8]) -> Result<VideoTag, FlvError> {
    parse_video(&Bytes::copy_from_slice(body))
}

fn refusal(body: &[u8]) -> String {
    parse(body).expect_err("refused").to_string()
}

fn frame(codec: VideoCodec, claimed_key: bool, composition_ms: i32, data: &'static [u8]) -> Result<VideoTag, FlvError> {
    Ok(VideoTag::frame(codec, claimed_key, composition_ms, Bytes::from_static(data)))
}

fn config(codec: VideoCodec, config: &'static [u8]) -> Result<VideoTag, FlvError> {
    Ok(VideoTag::config(codec, Bytes::from_static(config)))
}

#[test]
fn legacy_bodies_of_every_kind() {
    for (codec, id) in [(VideoCodec::H264, 7), (VideoCodec::Hevc, 12)] {
        assert_eq!(parse(&[0x10 | id, 0, 0, 0, 0, 1, 2]), config(codec, &[1, 2]));
        assert_eq!(parse(&[0x10 | id, 1, 0, 0, 66, 9]), frame(codec, true, 66, &[9]));
        assert_eq!(parse(&[0x20 | id, 1, 0xff, 0xff, 0xdf, 9]), frame(codec, false, -33, &[9]));
        assert_eq!(parse(&[0x20 | id, 1, 0x80, 0, 0, 9]), frame(codec, false, -8_388_608, &[9]));
        assert_eq!(parse(&[0x10 | id, 2, 0, 0, 0]), Ok(VideoTag::EndOfSequence(codec)));
        assert_eq!(parse(&[0x10 | id, 2]), Ok(VideoTag::EndOfSequence(codec)));
    }
}

#[test]
fn enhanced_bodies_of_every_kind() {
    for (codec, four_cc) in [(VideoCodec::H264, b"avc1"), (VideoCodec::Hevc, b"hvc1")] {
        let body = |first: u8, rest: &[u8]| parse(&[&[first], &four_cc[..], rest].concat());
        assert_eq!(body(0x90, &[1, 2]), config(codec, &[1, 2]));
        assert_eq!(body(0x91, &[0, 0, 66, 9]), frame(codec, true, 66, &[9]));
        assert_eq!(body(0xa1, &[0xff, 0xff, 0xdf, 9]), frame(codec, false, -33, &[9]));
        assert_eq!(body(0xa3, &[9]), frame(codec, false, 0, &[9]));
        assert_eq!(body(0x92, &[]), Ok(VideoTag::EndOfSequence(codec)));
        assert_eq!(body(0x91, &[0, 0]), Err(FlvError::Truncated { kind: "video", length: 7 }));
    }
    for (codec, four_cc) in [(VideoCodec::Av1, b"av01"), (VideoCodec::Vp9, b"vp09")] {
        let body = |first: u8, rest: &[u8]| parse(&[&[first], &four_cc[..], rest].concat());
        assert_eq!(body(0x90, &[1, 2]), config(codec, &[1, 2]));
        assert_eq!(body(0x91, &[9]), frame(codec, true, 0, &[9]), "no composition time");
        assert_eq!(body(0xa3, &[9]), frame(codec, false, 0, &[9]));
        assert_eq!(body(0x92, &[]), Ok(VideoTag::EndOfSequence(codec)));
    }
}

#[test]
fn what_carries_nothing_is_ignored() {
    let bodies: [&[u8]; 9] = [
        &[],
        &[0x57, 0],
        &[0x52, 0],
        &[0xd0],
        &[0xd0, 0],
        &[0x17, 9, 0, 0, 0],
        &[0x1c, 9, 0, 0, 0],
        b"\x94hvc1\x02\0\x09colorInfo",
        b"\x95av01\x80\x04",
    ];
    for body in bodies {
        assert_eq!(parse(body), Ok(VideoTag::Ignored), "{body:?}");
    }
}

#[test]
fn other_codecs_are_named_with_what_to_do() {
    let text = "is not supported: set the encoder to H.264";
    assert_eq!(refusal(&[0x24, 0]), format!("video codec VP6 {text}"));
    assert_eq!(refusal(&[0x1d, 0, 0, 0, 0]), format!("video codec AV1 (codec id 13) {text}"));
    assert_eq!(refusal(&[0x2f]), format!("video codec id 15 {text}"));
    assert_eq!(refusal(b"\x91vvc1..."), format!("video codec VVC (FourCC vvc1) {text}"));
    assert_eq!(refusal(b"\x96\x11vp08\0\0\0\x01."), format!("video codec VP8 (FourCC vp08) {text}"));
    assert_eq!(refusal(b"\x93a\nb\0..."), format!("video codec with FourCC a.b. {text}"));
    assert!(parse(&[0x24, 0]).is_err_and(|error| error.is_unsupported()));
}

#[test]
fn a_short_header_is_damage() {
    let error = parse(&[0x17, 1, 0]).expect_err("too short");
    assert_eq!(error.to_string(), "video message of 3 bytes is too short for its header");
    assert!(!error.is_unsupported());
    assert!(parse(&[0x17]).is_err());
    assert!(parse(b"\x91hvc").is_err_and(|error| !error.is_unsupported()));
}

fn codecs() -> impl Strategy<Value = VideoCodec> {
    prop::sample::select(VideoCodec::ALL.to_vec())
}

proptest! {
    #[test]
    fn frames_come_back(
        codec in codecs(), claimed_key: bool, composition_ms in -8_388_608i32..8_388_608, offset_ns in 0u32..1_000_000,
        data: Vec<u8>,
    ) {
        let composition_ms = if has_composition(codec) { composition_ms } else { 0 };
        for (composition_ms, offset_ns) in [(composition_ms, offset_ns), (0, offset_ns), (composition_ms, 0), (0, 0)] {
            let data = Bytes::from(data.clone());
            let tag = VideoTag::Frame { codec, claimed_key, composition_ms, offset_ns, data };
            prop_assert_eq!(parse_video(&tag.to_body()), Ok(tag));
        }
    }

    #[test]
    fn configurations_and_ends_come_back(codec in codecs(), config: Vec<u8>) {
        for tag in [VideoTag::config(codec, Bytes::from(config)), VideoTag::EndOfSequence(codec)] {
            prop_assert_eq!(parse_video(&tag.to_body()), Ok(tag));
        }
    }

    #[test]
    fn no_bytes_panic(
        head in prop::sample::select(vec![&b""[..], b"\x91hvc1", b"\x96", b"\x96\x11av01", b"\x96\x21", b"\x97"]),
        tail in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        if let Ok(tag) = parse(&[head, &tail].concat()) {
            prop_assert_eq!(parse_video(&tag.to_body()), Ok(tag));
        }
    }
}
