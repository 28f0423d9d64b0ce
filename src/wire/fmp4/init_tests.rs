use super::super::boxes::{BoxKind, ReadError, tree};
use super::super::read::{EntryInfo, InitInfo, read_init};
use super::*;
use crate::media::{AudioCodec, VideoCodec};

/// x264, High at level 1.3, 320x240.
const AVCC: &[u8] = b"\x01\x64\x00\x0d\xff\xe1\x00\x18\
    \x67\x64\x00\x0d\xac\xd9\x41\x41\xfa\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\x20\xf1\x42\x99\x60\
    \x01\x00\x06\x68\xeb\xe3\xcb\x22\xc0\xfd\xf8\xf8\x00";

fn video() -> VideoTrack {
    VideoTrack {
        codec: VideoCodec::H264,
        config: Bytes::from_static(AVCC),
        codecs: "avc1.64000d".to_owned(),
        ..VideoTrack::plain(320, 240, (25, 1))
    }
}

fn audio() -> AudioTrack {
    AudioTrack {
        codec: AudioCodec::Aac,
        // HE-AAC with its extension spelled out: 5 bytes that must all arrive.
        config: Bytes::from_static(b"\x13\x10\x56\xe5\x9d"),
        codecs: "mp4a.40.5".to_owned(),
        sample_rate: 24_000,
        channels: 2,
        samples_per_frame: 1_024,
    }
}

fn init(track: impl Into<Track>) -> Bytes {
    write_init(&track.into()).expect("an init segment")
}

impl From<VideoTrack> for Track {
    fn from(video: VideoTrack) -> Self {
        Track::Video(video)
    }
}

impl From<AudioTrack> for Track {
    fn from(audio: AudioTrack) -> Self {
        Track::Audio(audio)
    }
}

#[test]
fn the_boxes_of_video() {
    assert_eq!(
        tree(&init(video())).as_deref(),
        Ok("ftyp 28\n\
            moov 660\n  mvhd 120\n  mvex 40\n    trex 32\n  trak 492\n    tkhd 104\n    mdia 380\n      mdhd 44\n      hdlr 33\n      \
            minf 295\n        dinf 36\n          dref 28\n            url  12\n        stbl 231\n          \
            stsd 155\n            avc1 139\n              avcC 53\n          stts 16\n          stsc 16\n          stsz 20\n          \
            stco 16\n        vmhd 20\n")
    );
}

#[test]
fn the_boxes_of_audio() {
    assert_eq!(
        tree(&init(audio())).as_deref(),
        Ok("ftyp 28\n\
            moov 595\n  mvhd 120\n  mvex 40\n    trex 32\n  trak 427\n    tkhd 104\n    mdia 315\n      mdhd 44\n      hdlr 33\n      \
            minf 230\n        dinf 36\n          dref 28\n            url  12\n        stbl 170\n          \
            stsd 94\n            mp4a 78\n              esds 42\n          stts 16\n          stsc 16\n          stsz 20\n          \
            stco 16\n        smhd 16\n")
    );
}

#[test]
fn the_whole_configuration_is_read_back() {
    let entry = EntryInfo::Video {
        codec: VideoCodec::H264,
        width: 320,
        height: 240,
        sample_aspect: None,
        config: video().config,
    };
    assert_eq!(read_init(&init(video())), Ok(InitInfo { track_id: 1, timescale: 90_000, entry, fragmented: true }));
    let entry = EntryInfo::Audio { codec: AudioCodec::Aac, channels: 2, config: audio().config };
    assert_eq!(read_init(&init(audio())), Ok(InitInfo { track_id: 1, timescale: 24_000, entry, fragmented: true }));
}

#[test]
fn pixels_that_are_not_square_have_a_pasp() {
    let anamorphic = VideoTrack { sample_aspect: (64, 45), ..video() };
    let entry = read_init(&init(anamorphic)).map(|info| info.entry);
    let config = video().config;
    assert_eq!(
        entry,
        Ok(EntryInfo::Video {
            codec: VideoCodec::H264,
            width: 320,
            height: 240,
            sample_aspect: Some((64, 45)),
            config
        })
    );
}

#[test]
fn colour_is_said_as_the_sps_says_it() {
    use crate::media::codec::h264::sps::samples::{FULL_RANGE_SPS, PPS};
    use crate::media::codec::h264::track_from_parameter_sets;
    let track = track_from_parameter_sets(&[FULL_RANGE_SPS], &[PPS]).expect("made by x264");
    let bytes = init(track);
    let expected = b"\x00\x00\x00\x13colrnclx\x00\x01\x00\x0d\x00\x06\x80";
    assert!(bytes.windows(expected.len()).any(|window| window == expected), "{bytes:?}");
    assert!(!init(video()).windows(4).any(|window| window == b"colr"), "nothing is said, nothing is claimed");
}

#[test]
fn tracks_that_cannot_be_described_are_refused_in_words() {
    let refused = |track: Track| write_init(&track).map_err(|error| error.to_string());
    let short_nal = VideoTrack { config: Bytes::from([&AVCC[..4], b"\xfd\xe0\x00"].concat()), ..video() };
    for (track, words) in [
        (
            Track::Video(VideoTrack { config: Bytes::from_static(b"\x01\x64"), ..video() }),
            "the AVCDecoderConfigurationRecord of 2 bytes cannot be read: out of bounds",
        ),
        (
            Track::Video(short_nal),
            "the AVCDecoderConfigurationRecord announces NAL lengths of 2 bytes, and packets carry 4",
        ),
        (Track::Video(VideoTrack { width: 65_536, ..video() }), "a picture of 65536x240 does not fit a sample entry"),
        (Track::Audio(AudioTrack { sample_rate: 0, ..audio() }), "a sample rate of 0 is not one"),
    ] {
        assert_eq!(refused(track), Err(words.to_owned()));
    }
}

#[test]
fn a_cut_off_or_damaged_init_segment_is_an_error_and_never_a_panic() {
    let bytes = init(video());
    for len in 0..bytes.len() {
        assert!(read_init(&bytes[..len]).is_err(), "{len}");
    }
    assert_eq!(read_init(&bytes[28..]), Err(ReadError::Missing { kind: BoxKind(*b"ftyp"), parent: BoxKind(*b"file") }));
    for source in [init(video()), init(audio())] {
        for at in 0..source.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = source.to_vec();
                bytes[at] = value;
                let _ = (read_init(&bytes), tree(&bytes));
            }
        }
    }
}

/// Tracks of the codecs that have come to H.264 and AAC, from headers of real encoders, with the boxes of their sample entries.
fn others() -> [(Track, &'static str, &'static str); 5] {
    use crate::media::codec::{av1, hevc, opus, vp9};
    let hevc = {
        use hevc::samples::{MAIN_PPS, MAIN_SPS, MAIN_VPS};
        hevc::track_from_parameter_sets(&[MAIN_VPS], &[MAIN_SPS], &[MAIN_PPS]).expect("made by x265")
    };
    let av1 = av1::track_from_sequence_header(av1::samples::SVT).expect("made by SVT-AV1");
    let vp9 = vp9::track_from_key_frame(vp9::samples::KEY, None).expect("made by libvpx");
    let opus = |channels| opus::OpusHead::of_channels(channels).expect("up to 8").track();
    [
        (hevc.into(), "hvc1", "hvcC"),
        (av1.into(), "av01", "av1C"),
        (vp9.into(), "vp09", "vpcC"),
        (opus(2).into(), "Opus", "dOps"),
        (opus(6).into(), "Opus", "dOps"),
    ]
}

#[test]
fn each_codec_has_its_sample_entry_and_its_configuration_comes_back() {
    for (track, entry, config_box) in others() {
        let bytes = write_init(&track).expect("an init segment");
        let tree = tree(&bytes).expect("boxes");
        let stsd = tree.split_once("stsd").expect("it is there").1;
        let names: Vec<&str> = stsd.lines().skip(1).take(2).filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(names, [entry, config_box]);
        let expected = match &track {
            Track::Video(video) => EntryInfo::Video {
                codec: video.codec,
                width: 1_280,
                height: 720,
                sample_aspect: None,
                config: video.config.clone(),
            },
            Track::Audio(audio) => {
                EntryInfo::Audio { codec: audio.codec, channels: audio.channels, config: audio.config.clone() }
            }
        };
        let info = read_init(&bytes).expect("our own");
        assert_eq!((info.entry, info.timescale), (expected, track.timescale()));
    }
}

#[test]
fn the_header_of_opus_changes_its_byte_order() {
    let head = b"OpusHead\x01\x02\x38\x01\x44\xac\0\0\xfe\xff\0";
    let track = crate::media::codec::opus::track_from_head(head).expect("a header");
    let bytes = init(track);
    let expected = b"\0\0\0\x13dOps\0\x02\x01\x38\0\0\xac\x44\xff\xfe\0";
    assert!(bytes.windows(expected.len()).any(|window| window == expected), "{bytes:?}");
}

#[test]
fn colour_of_other_codecs_is_said_where_it_is_known() {
    use crate::media::codec::{av1, hevc};
    let sets = hevc::track_from_parameter_sets(
        &[hevc::samples::MAIN_VPS],
        &[hevc::samples::PQ_SPS],
        &[hevc::samples::MAIN_PPS],
    );
    let av1 = av1::track_from_sequence_header(av1::samples::PQ).expect("made by SVT-AV1");
    for track in [sets.expect("made by x265"), av1] {
        let expected = b"\x00\x00\x00\x13colrnclx\x00\x09\x00\x10\x00\x09\x00";
        assert!(init(track).windows(expected.len()).any(|window| window == expected));
    }
    for (track, ..) in others() {
        assert!(!init(track).windows(4).any(|window| window == b"colr"), "nothing is said, nothing is claimed");
    }
}

#[test]
fn other_codecs_are_refused_in_words_too() {
    let refused = |track: Track| write_init(&track).map_err(|error| error.to_string());
    for codec in [AudioCodec::Ac3, AudioCodec::Eac3, AudioCodec::MpegAudio, AudioCodec::Flac] {
        let words = format!("{} is not carried in CMAF: encode it as AAC", codec.name());
        assert_eq!(refused(Track::Audio(AudioTrack { codec, ..audio() })), Err(words));
    }
    let cut = |codec| Track::Video(VideoTrack { codec, config: Bytes::from_static(b"\x01"), ..video() });
    for (codec, what) in [
        (VideoCodec::Hevc, "HEVCDecoderConfigurationRecord of 1 bytes cannot be read: out of bounds"),
        (VideoCodec::Vp9, "vpcC box of 5 bytes cannot be read: out of bounds"),
    ] {
        assert_eq!(refused(cut(codec)), Err(format!("the {what}")));
    }
    let opus = AudioTrack { codec: AudioCodec::Opus, config: Bytes::from_static(b"Opus"), ..audio() };
    assert_eq!(
        refused(Track::Audio(opus)),
        Err("the configuration of sound cannot be read: Opus configuration does not begin with OpusHead".to_owned())
    );
}
