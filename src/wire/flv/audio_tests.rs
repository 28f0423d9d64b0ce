use super::*;
use proptest::prelude::*;

fn parse(body: &[u8]) -> Result<AudioTag, FlvError> {
    parse_audio(&Bytes::copy_from_slice(body))
}

fn frame(codec: AudioCodec, data: &'static [u8]) -> Result<AudioTag, FlvError> {
    Ok(AudioTag::frame(codec, Bytes::from_static(data)))
}

fn config(codec: AudioCodec, config: &'static [u8]) -> Result<AudioTag, FlvError> {
    Ok(AudioTag::config(codec, Bytes::from_static(config)))
}

#[test]
fn legacy_bodies_of_every_kind() {
    assert_eq!(parse(&[0xaf, 0, 0x11, 0x90]), config(AudioCodec::Aac, &[0x11, 0x90]));
    assert_eq!(parse(&[0xa2, 1, 7]), frame(AudioCodec::Aac, &[7]));
    assert_eq!(parse(&[0x2f, 7, 8]), frame(AudioCodec::MpegAudio, &[7, 8]));
    assert_eq!(parse(&[0xe2, 7]), frame(AudioCodec::MpegAudio, &[7]));
    assert_eq!(parse(&[]), Ok(AudioTag::Ignored));
    assert_eq!(parse(&[0xaf, 2]), Ok(AudioTag::Ignored));
    assert_eq!(parse(&[0xaf]), Err(FlvError::Truncated { kind: "audio", length: 1 }));
}

#[test]
fn enhanced_bodies_of_every_kind() {
    for codec in AudioCodec::ALL {
        let body = |first: u8, rest: &[u8]| parse(&[&[first], four_cc(codec).as_bytes(), rest].concat());
        assert_eq!(body(0x90, &[1, 2]), config(codec, &[1, 2]));
        assert_eq!(body(0x91, &[9]), frame(codec, &[9]));
        for (packet_type, rest) in [(2, &[][..]), (4, &[1, 2, 0, 0, 0, 3]), (3, &[9]), (6, &[9])] {
            assert_eq!(body(0x90 | packet_type, rest), Ok(AudioTag::Ignored), "{packet_type}");
        }
    }
}

#[test]
fn other_codecs_are_named_with_what_to_do() {
    for (body, name) in [
        (&[0xb2][..], "Speex"),
        (&[0x72], "G.711 A-law"),
        (&[0x82], "G.711 mu-law"),
        (&[0x3e], "PCM"),
        (b"\x91alac", "with FourCC alac"),
        (b"\x95\x01alac\x00", "with FourCC alac"),
    ] {
        let error = parse(body).expect_err("refused");
        assert_eq!(error.to_string(), format!("audio codec {name} is not supported: set the encoder to AAC"));
        assert!(error.is_unsupported());
    }
}

fn codecs() -> impl Strategy<Value = AudioCodec> {
    prop::sample::select(AudioCodec::ALL.to_vec())
}

proptest! {
    #[test]
    fn frames_come_back(codec in codecs(), offset_ns in 0u32..1_000_000, data: Vec<u8>) {
        for offset_ns in [offset_ns, 0] {
            let tag = AudioTag::Frame { codec, offset_ns, data: Bytes::from(data.clone()) };
            prop_assert_eq!(parse_audio(&tag.to_body()), Ok(tag));
        }
    }

    #[test]
    fn configurations_come_back(codec in codecs(), config in prop::collection::vec(any::<u8>(), 0..40)) {
        let tag = AudioTag::config(codec, Bytes::from(config));
        prop_assert_eq!(parse_audio(&tag.to_body()), Ok(tag));
    }

    #[test]
    fn no_bytes_panic(
        head in prop::sample::select(vec![&b""[..], b"\x90fLaC", b"\x95", b"\x95\x11Opus", b"\x95\x21", b"\x97"]),
        tail in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        if let Ok(tag) = parse(&[head, &tail].concat()) {
            prop_assert_eq!(parse_audio(&tag.to_body()), Ok(tag));
        }
    }
}
