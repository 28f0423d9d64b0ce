//! What OBS and FFmpeg sent over SRT.

use std::path::Path;

use bytes::Bytes;
use millstream::media::{AudioCodec, Kind, VideoCodec};
use millstream::wire::ts::{Demuxer, Event, PACKET_BYTES, Piece, Unit};
use proptest::prelude::*;

use super::{demux, units};

/// What SRT carries in one message of most encoders.
const MESSAGE_BYTES: usize = 7 * PACKET_BYTES;

fn capture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn of_kind(units: &[&Unit], kind: Kind) -> Vec<Unit> {
    units.iter().filter(|unit| unit.kind == kind).map(|unit| (*unit).clone()).collect()
}

/// Number of units, PTS, DTS and bytes of the first and the last one.
type Described = (usize, [(u64, Option<u64>, usize); 2]);

fn described(units: &[Unit]) -> Described {
    let one = |unit: &Unit| (unit.pts.expect("a stamp") + unit.samples_after * 90 / 48, unit.dts, unit.data.len());
    (units.len(), [one(&units[0]), one(&units[units.len() - 1])])
}

/// The figures are those of `ffprobe -show_packets`, whose sound has 7 bytes of ADTS in front and a stamp for each frame, and whose last
/// picture is the one that the file's end cuts off.
#[test]
fn every_picture_and_frame_of_the_captures() {
    let expected: [(&str, Described, Described); 2] = [
        (
            "obs-29-srt.ts",
            (66, [(6_000, Some(0), 14_735), (198_000, Some(195_000), 2_736)]),
            (99, [(6_000, None, 185), (194_160, None, 226)]),
        ),
        (
            "ffmpeg-5.1-srt.ts",
            (67, [(132_000, Some(126_000), 12_912), (327_000, Some(324_000), 2_638)]),
            (98, [(130_080, None, 220), (316_320, None, 286)]),
        ),
    ];
    for (name, video, audio) in expected {
        let events = demux(&capture(name), &[MESSAGE_BYTES]);
        let Event::Streams(streams) = &events[0] else { panic!("{:?}", events[0]) };
        assert_eq!((streams.program, streams.video), (1, Some((0x100, VideoCodec::H264))));
        assert_eq!((streams.audio, streams.ignored.len()), (Some((0x101, AudioCodec::Aac)), 0));
        let tracks: Vec<_> = events
            .iter()
            .filter_map(|event| if let Event::AudioConfig(track) = event { Some(track) } else { None })
            .collect();
        assert_eq!(tracks.len(), 1);
        assert_eq!((&tracks[0].config[..], tracks[0].sample_rate, tracks[0].channels), (&[0x11, 0x90][..], 48_000, 2));
        let units = units(&events);
        let (pictures, sounds) = (of_kind(&units, Kind::Video), of_kind(&units, Kind::Audio));
        assert_eq!(described(&pictures), video, "{name}");
        assert_eq!(described(&sounds), audio, "{name}");
        assert_eq!(pictures.iter().filter(|unit| unit.random_access).count(), 3 - 1, "{name}: groups of 60 pictures");
        assert!(units.iter().all(|unit| !unit.lost_before && !unit.jump_before), "{name}");
        assert!(
            pictures.iter().all(|unit| unit.data.starts_with(&[0, 0, 0, 1]) || unit.data.starts_with(&[0, 0, 1])),
            "{name}: Annex B"
        );
    }
}

#[test]
fn an_unaligned_start_costs_what_it_cuts() {
    let bytes = capture("obs-29-srt.ts");
    let all = demux(&bytes, &[MESSAGE_BYTES]);
    let from = |start: usize| demux(&bytes[start..], &[MESSAGE_BYTES]);
    // Without the SDT, which nobody needs, everything is there.
    assert_eq!(from(100), all);
    // In the middle there is nothing before the next PAT and PMT, and from there on everything.
    let joined = from(700 * PACKET_BYTES + 50);
    assert!(matches!(joined[0], Event::Streams(_)) && matches!(joined[1], Event::AudioConfig(_) | Event::Unit(_)));
    let (all, joined) = (units(&all), units(&joined));
    for kind in [Kind::Video, Kind::Audio] {
        let (all, joined) = (of_kind(&all, kind), of_kind(&joined, kind));
        assert!(joined.len() > all.len() / 3, "{} of {}", joined.len(), all.len());
        assert_eq!(joined, all[all.len() - joined.len()..]);
    }
}

/// That what a harmed stream gave are units of the whole one, in order, with a mark wherever one is missing.
fn assert_harmed(whole: &[&Unit], harmed: &[&Unit], what: &str) {
    for kind in [Kind::Video, Kind::Audio] {
        let (whole, harmed) = (of_kind(whole, kind), of_kind(harmed, kind));
        let mut left = whole.iter();
        for (index, unit) in harmed.iter().enumerate() {
            let missing =
                left.by_ref().take_while(|whole| **whole != Unit { lost_before: false, ..unit.clone() }).count();
            assert!(
                missing < whole.len() && missing + harmed.len() <= whole.len(),
                "{what}: no unit of the whole stream"
            );
            assert!(missing == 0 || unit.lost_before || index == 0, "{what}: a loss of {missing} is not told");
        }
        assert!(harmed.len() + 60 > whole.len(), "{what}: {} of {} are left", harmed.len(), whole.len());
    }
}

#[test]
fn any_lost_packet_is_told_and_harms_nothing_else() {
    for name in ["obs-29-srt.ts", "ffmpeg-5.1-srt.ts"] {
        let bytes = &capture(name)[..600 * PACKET_BYTES];
        let whole = demux(bytes, &[bytes.len()]);
        for lost in 0..600 {
            let harmed = [&bytes[..lost * PACKET_BYTES], &bytes[(lost + 1) * PACKET_BYTES..]].concat();
            let harmed = demux(&harmed, &[harmed.len()]);
            assert_harmed(&units(&whole), &units(&harmed), &format!("{name} without packet {lost}"));
        }
    }
}

#[test]
fn any_lost_message_is_told_and_harms_nothing_else() {
    for name in ["obs-29-srt.ts", "ffmpeg-5.1-srt.ts"] {
        let bytes = capture(name);
        let whole = demux(&bytes, &[bytes.len()]);
        // bursts from one message to more than the sixteen packets that counters tell apart
        for (lost, burst) in (0..bytes.len() / MESSAGE_BYTES).zip([1, 2, 3, 7, 16].into_iter().cycle()) {
            let (mut demuxer, mut events) = (Demuxer::default(), Vec::new());
            for (index, message) in bytes.chunks(MESSAGE_BYTES).enumerate() {
                if !(lost..lost + burst).contains(&index) {
                    let piece = Piece { data: Bytes::copy_from_slice(message), lost: index == lost + burst };
                    demuxer.push(&piece, &mut events);
                }
            }
            demuxer.finish(&mut events);
            assert_harmed(&units(&whole), &units(&events), &format!("{name} without {burst} messages from {lost}"));
            assert_eq!(demuxer.counts().lost_pieces, u64::from((lost + burst) * MESSAGE_BYTES < bytes.len()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_cut_gives_the_same_events(lengths in prop::collection::vec(1usize..3_000, 1..40), start in 0usize..2_000) {
        let bytes = capture("obs-29-srt.ts");
        let bytes = &bytes[start..400 * PACKET_BYTES];
        prop_assert_eq!(demux(bytes, &lengths), demux(bytes, &[bytes.len()]));
    }
}
