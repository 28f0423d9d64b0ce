use super::*;
use crate::media::codec::h264;
use crate::media::{AudioCodec, VideoCodec};
use crate::wire::flv::{AudioTag, Tag, TagKind, VideoTag};
use pictures::MAX_UNCONFIGURED_PICTURES;
use proptest::prelude::*;
use sets::{MAX_SETS, MAX_SETS_BYTES};

const SPS: &[u8] = &[
    0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00,
    0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58,
];
const OTHER_SPS: &[u8] = &[
    0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x03, 0xe9, 0x00, 0x00, 0xea,
    0x60, 0x0f, 0x16, 0x2e, 0x48,
];
const PPS: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];
/// The same id, another content.
const CHANGED_PPS: &[u8] = &[0x68, 0xcb, 0x83, 0xcb, 0x20];
const IDR: &[u8] = &[0x65, 1, 2, 3];
const SLICE: &[u8] = &[0x41, 4, 5];
const SEI: &[u8] = &[0x06, 5, 1, 0x80];
const DELIMITER: &[u8] = &[0x09, 0xf0];

/// What one tag holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    configuration: Option<Configuration>,
    unit: Option<AccessUnit>,
}

fn push(demux: &mut Demux, tag: &Tag) -> Result<Read, Rejected> {
    demux.push(&Inbound::Flv(tag.clone()))?;
    let mut read = Read::default();
    while let Some(demuxed) = demux.next() {
        match demuxed {
            Demuxed::Track(configuration) => {
                assert!(read.configuration.replace(configuration).is_none() && read.unit.is_none());
            }
            Demuxed::Unit(unit) => assert!(read.unit.replace(unit).is_none()),
        }
    }
    Ok(read)
}

fn video(tag: &VideoTag) -> Tag {
    Tag { kind: TagKind::Video, timestamp_ms: 40, data: tag.to_body() }
}

fn audio(tag: &AudioTag) -> Tag {
    Tag { kind: TagKind::Audio, timestamp_ms: 40, data: tag.to_body() }
}

fn record(length_size: u8, sps: &[u8]) -> VideoTag {
    let sps = vec![Bytes::copy_from_slice(sps)];
    let config = h264::AvcConfig { length_size, sps, pps: vec![Bytes::from_static(PPS)] };
    VideoTag::config(VideoCodec::H264, config.write().expect("valid sets"))
}

fn joined(length_size: usize, nals: &[&[u8]]) -> Bytes {
    let mut out = Vec::new();
    for nal in nals {
        out.extend(&(nal.len() as u32).to_be_bytes()[4 - length_size..]);
        out.extend(*nal);
    }
    Bytes::from(out)
}

fn frame(length_size: usize, nals: &[&[u8]]) -> Tag {
    video(&VideoTag::frame(VideoCodec::H264, false, -5, joined(length_size, nals)))
}

fn started(length_size: u8) -> Demux {
    let mut demux = Demux::default();
    let demuxed = push(&mut demux, &video(&record(length_size, SPS))).expect("valid");
    assert!(demuxed.configuration.is_some() && demuxed.unit.is_none());
    demux
}

fn unit(demuxed: Result<Read, Rejected>) -> AccessUnit {
    demuxed.expect("valid").unit.expect("a picture")
}

fn width(configuration: Option<Configuration>) -> Option<u32> {
    match &*configuration?.track {
        Track::Video(track) => Some(track.width),
        Track::Audio(_) => None,
    }
}

#[test]
fn a_clean_access_unit_is_passed_on_without_a_copy() {
    let tag = frame(4, &[SEI, IDR]);
    let unit = unit(push(&mut started(4), &tag));
    assert_eq!(unit.data.as_ptr(), tag.data[5..].as_ptr());
    let expected = AccessUnit {
        kind: Kind::Video,
        stamp: Stamp::flv(40),
        composition: Span::from_millis(-5),
        keyframe: true,
        samples: 0,
        after_loss: false,
        leading: false,
        data: joined(4, &[SEI, IDR]),
    };
    assert_eq!(unit, expected);
}

#[test]
fn the_slices_decide_what_a_keyframe_is() {
    let mut demux = started(4);
    let claimed = VideoTag::frame(VideoCodec::H264, true, 0, joined(4, &[SLICE]));
    assert!(!unit(push(&mut demux, &video(&claimed))).keyframe);
    assert!(unit(push(&mut demux, &frame(4, &[IDR]))).keyframe);
}

#[test]
fn short_lengths_delimiters_and_empty_units_are_rewritten() {
    let expected = joined(4, &[SEI, IDR]);
    assert_eq!(unit(push(&mut started(2), &frame(2, &[SEI, IDR]))).data, expected);
    assert_eq!(unit(push(&mut started(1), &frame(1, &[DELIMITER, SEI, IDR]))).data, expected);
    assert_eq!(unit(push(&mut started(4), &frame(4, &[DELIMITER, SEI, &[], IDR]))).data, expected);
}

#[test]
fn repeated_configurations_cost_nothing() {
    let mut demux = started(4);
    assert_eq!(push(&mut demux, &video(&record(4, SPS))), Ok(Read::default()));
    let demuxed = push(&mut demux, &frame(4, &[SPS, PPS, IDR])).expect("valid");
    assert_eq!((demuxed.configuration, demuxed.unit.map(|unit| unit.data)), (None, Some(joined(4, &[IDR]))));
    // Padded behind, as Annex B sources do.
    let padded = [PPS, &[0, 0]].concat();
    assert_eq!(push(&mut demux, &frame(4, &[SPS, &padded, IDR])).map(|demuxed| demuxed.configuration), Ok(None));
}

#[test]
fn other_sets_in_band_are_a_new_configuration() {
    let mut demux = started(4);
    let demuxed = push(&mut demux, &frame(4, &[OTHER_SPS, PPS, IDR])).expect("valid");
    assert_eq!(demuxed.unit.map(|unit| unit.data), Some(joined(4, &[IDR])));
    assert_eq!(width(demuxed.configuration), Some(640));
    let changed = push(&mut demux, &frame(4, &[CHANGED_PPS, IDR])).expect("valid").configuration;
    let Track::Video(track) = &*changed.expect("a new PPS").track else { panic!("video") };
    let config = h264::AvcConfig::parse(&track.config).expect("our own");
    assert_eq!((&config.sps[0][..], config.pps), (OTHER_SPS, vec![Bytes::from_static(CHANGED_PPS)]));
}

#[test]
fn sets_that_come_in_band_only_are_enough() {
    let mut demux = Demux::default();
    assert_eq!(push(&mut demux, &frame(4, &[SLICE])), Ok(Read::default()));
    assert_eq!(push(&mut demux, &frame(4, &[SPS])), Ok(Read::default()));
    let demuxed = push(&mut demux, &frame(4, &[PPS, IDR])).expect("valid");
    assert_eq!(width(demuxed.configuration), Some(1_920));
    assert!(demuxed.unit.is_some());
    assert_eq!(demux.skipped(), Skipped { damaged: 0, unconfigured: 1, empty: 1 });
}

#[test]
fn what_holds_no_picture_or_sound_is_counted() {
    let mut demux = started(4);
    for tag in [
        video(&VideoTag::EndOfSequence(VideoCodec::H264)),
        frame(4, &[SEI]),
        frame(4, &[DELIMITER]),
        frame(4, &[]),
        audio(&AudioTag::config(AudioCodec::Aac, Bytes::new())),
        audio(&AudioTag::frame(AudioCodec::Aac, Bytes::new())),
        audio(&AudioTag::Ignored),
    ] {
        assert_eq!(push(&mut demux, &tag), Ok(Read::default()), "{tag:?}");
    }
    assert_eq!(
        push(&mut demux, &audio(&AudioTag::frame(AudioCodec::Aac, Bytes::from_static(&[1])))),
        Ok(Read::default())
    );
    assert_eq!(demux.skipped(), Skipped { damaged: 0, unconfigured: 1, empty: 7 });
}

#[test]
fn sound_needs_its_configuration_once() {
    let mut demux = Demux::default();
    let config = audio(&AudioTag::config(AudioCodec::Aac, Bytes::from_static(&[0x11, 0x90])));
    let track = push(&mut demux, &config).expect("valid").configuration.expect("new").track;
    assert_eq!((track.codecs(), track.timescale()), ("mp4a.40.2", 48_000));
    assert_eq!(push(&mut demux, &config), Ok(Read::default()));
    let unit = unit(push(&mut demux, &audio(&AudioTag::frame(AudioCodec::Aac, Bytes::from_static(&[7])))));
    assert_eq!((unit.kind, unit.keyframe, &unit.data[..]), (Kind::Audio, true, &[7][..]));
}

#[test]
fn a_damaged_message_is_left_out_and_a_hundred_are_too_many() {
    let mut demux = started(4);
    let damaged = video(&VideoTag::frame(VideoCodec::H264, false, 0, Bytes::from_static(&[0, 0, 0, 9, 0x41])));
    for _ in 0..99 {
        assert_eq!(push(&mut demux, &damaged), Ok(Read::default()));
    }
    assert!(push(&mut demux, &frame(4, &[IDR])).is_ok_and(|demuxed| demuxed.unit.is_some()));
    let rejected = (0..100).find_map(|_| push(&mut demux, &damaged).err()).expect("the hundredth in a row");
    assert_eq!(
        rejected.to_string(),
        "100 messages in a row are damaged, the last one: the NAL unit at byte 0 claims 9 bytes, 1 are left"
    );
    assert_eq!(demux.skipped().damaged, 199);
}

#[test]
fn rejections_are_words_for_the_publisher() {
    let rejected = |kind, data: &'static [u8]| {
        let tag = Tag { kind, timestamp_ms: 0, data: Bytes::from_static(data) };
        push(&mut Demux::default(), &tag).expect_err("rejected").to_string()
    };
    assert_eq!(
        rejected(TagKind::Audio, &[0x7f, 0]),
        "audio codec G.711 A-law is not supported: set the encoder to AAC"
    );
    assert_eq!(
        rejected(TagKind::Audio, &[0xaf, 0, 0x09, 0x90]),
        "the audio configuration cannot be used: AAC audio object type 1 is not supported: set the encoder to AAC-LC"
    );
    assert_eq!(
        rejected(TagKind::Video, &[0x17, 0, 0, 0, 0, 2]),
        "the video configuration cannot be used: H.264 configuration record has version 2, only 1 is known"
    );
}

proptest! {
    #[test]
    fn no_bytes_panic_and_what_comes_out_is_well_formed(
        bodies in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 0..20),
    ) {
        let mut demux = started(4);
        for (is_video, body) in bodies {
            let kind = if is_video { TagKind::Video } else { TagKind::Audio };
            let head: &[u8] = if is_video { &[0x27, 1, 0, 0, 0, 0, 0, 0] } else { &[0xaf] };
            let data = Bytes::from([head, &body].concat());
            if let Ok(Read { unit: Some(unit), .. }) = push(&mut demux, &Tag { kind, timestamp_ms: 0, data })
                && unit.kind == Kind::Video
            {
                prop_assert!(h264::nals_length_prefixed(&unit.data, 4).all(|nal| nal.is_ok()));
            }
        }
    }
}

#[test]
fn pictures_that_never_say_what_they_are_are_refused_in_words() {
    let mut demux = Demux::default();
    let mut picture = frame(4, &[SLICE]);
    let mut push_at = |demux: &mut Demux, timestamp_ms| {
        picture.timestamp_ms = timestamp_ms;
        push(demux, &picture)
    };
    // The clock may wrap while they are waited for.
    assert_eq!(push_at(&mut demux, u32::MAX - 5_999), Ok(Read::default()));
    assert!(demux.awaits_parameter_sets());
    assert_eq!(push_at(&mut demux, 6_000), Ok(Read::default()));
    let refused = push_at(&mut demux, 6_001).expect_err("12 s without parameter sets");
    assert_eq!(
        refused.to_string(),
        "3 pictures came without parameter sets (SPS and PPS): let the encoder send an AVC sequence header, or repeat its headers \
         with each keyframe"
    );
    let mut standing = Demux::default();
    let refused = (1..).find(|_| push_at(&mut standing, 0).is_err());
    assert_eq!(refused, Some(MAX_UNCONFIGURED_PICTURES + 1), "a clock that stands is no excuse");
    let configured = push(&mut demux, &frame(4, &[SPS, PPS, IDR])).expect("they came after all");
    assert!(configured.unit.is_some() && !demux.awaits_parameter_sets());
}

/// PPS of so many ids, each `bytes` long.
fn pps_of_ids(ids: std::ops::Range<u32>, bytes: usize) -> Vec<Vec<u8>> {
    let set = |id: u32| {
        let mut nal = vec![0x68];
        nal.extend((0x0001_0000 | id).to_be_bytes()); // 15 zeros, a one, 15 bits of it
        nal.resize(bytes, 0xff);
        nal
    };
    ids.map(set).collect()
}

/// Found with the fuzz target `ingest`: sets whose other half never comes were kept without bound, each with its message.
#[test]
fn parameter_sets_that_wait_for_the_other_half_are_bounded() {
    let mut demux = Demux::default();
    for first in (0..30_000).step_by(100) {
        let sets = pps_of_ids(first..first + 100, 20);
        let nals: Vec<&[u8]> = sets.iter().map(Vec::as_slice).collect();
        let message = frame(4, &nals);
        let _rejected_in_the_end = push(&mut demux, &message);
        assert!(message.data.is_unique(), "the sets keep their message alive");
    }
    assert_eq!(demux.pictures.sets_of_lowest_rank(), 200, "two messages of them fit");
    assert_eq!(demux.skipped().damaged, 298);
    let (mut demux, large) = (Demux::default(), pps_of_ids(0..1, MAX_SETS_BYTES + 1));
    push(&mut demux, &frame(4, &[&large[0]])).expect("nothing to reject");
    assert_eq!((demux.skipped().damaged, demux.pictures.sets_of_lowest_rank()), (1, 0));
}

/// Comparing each of a million sets with each of a million known ones would take hours.
#[test]
fn more_parameter_sets_than_a_record_holds_are_damage() {
    let mut demux = started(4);
    let nals = vec![PPS; MAX_SETS + 1];
    push(&mut demux, &frame(4, &nals[1..])).expect("repeated sets are free");
    assert_eq!(demux.skipped().damaged, 0);
    push(&mut demux, &frame(4, &nals)).expect("nothing to reject");
    assert_eq!(demux.skipped().damaged, 1);
}
