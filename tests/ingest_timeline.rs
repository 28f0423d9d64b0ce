//! What publishers do to the clock, and what the session's timeline makes of it.

mod ingest_support;

use ingest_support::{NOON, Publisher, Rig, SMALL_SPS, Timeline, number};
use millstream::ingest::{Input, LongGop, Rejected, Settings, Start};
use millstream::media::{CutKind, Kind, Span, Timestamp, Track, Unit, VideoCodec};
use millstream::wire::Inbound;
use millstream::wire::flv::{Tag, TagKind, VideoTag};

fn played(publisher: &Publisher, ms: i64) -> Timeline {
    let mut rig = Rig::new(Settings::default());
    rig.connect(publisher);
    rig.play(publisher, 0, ms);
    rig.end()
}

/// Sound minus picture of the source, kept in the output: both are mapped by the same offset.
fn offset_ms(timeline: &Timeline, publisher: &Publisher) -> i64 {
    let (picture, sound) = (&timeline.video[0], &timeline.audio[0]);
    let source = ingest_support::number(sound) * 1_024 * 1_000 / publisher.rate
        - (ingest_support::number(picture) - publisher.first + publisher.lead) * 1_000 / publisher.fps;
    (sound.pts - picture.pts).to_millis() - source
}

#[test]
fn a_steady_stream_is_cut_at_its_keyframes() {
    let timeline = played(&Publisher::default(), 9_000);
    assert_eq!(timeline.cut_ms(), [0, 2_000, 4_000, 6_000, 8_000]);
    assert!(timeline.cuts.iter().all(|cut| cut.kind == CutKind::Keyframe && !cut.discontinuity && !cut.copy_ends));
    assert_eq!(timeline.cuts[0].at, Timestamp::from_millis(10_000));
    assert_eq!(timeline.pictures(), (0..270).collect::<Vec<_>>());
    assert_eq!(timeline.tracks.iter().map(Track::kind).collect::<Vec<_>>(), [Kind::Video, Kind::Audio]);
    assert!(timeline.ended);
    // 66 ms of sound lie before the first picture is presented; the rest is there.
    assert_eq!(timeline.audio.len(), 422 - 4);
    assert!(offset_ms(&timeline, &Publisher::default()).abs() <= 1);
}

#[test]
fn the_first_units_are_tracks_then_the_cut_then_packets() {
    let mut rig = Rig::new(Settings::default());
    let publisher = Publisher::default();
    rig.connect(&publisher);
    rig.play(&publisher, 0, 100);
    let kinds: Vec<&str> = rig
        .units
        .iter()
        .take(4)
        .map(|unit| match unit {
            Unit::Track(track) => track.kind().as_str(),
            Unit::Cut(_) => "cut",
            Unit::Packet(_) => "packet",
            Unit::End => "end",
        })
        .collect();
    assert_eq!(kinds, ["video", "audio", "cut", "packet"]);
}

#[test]
fn stamps_may_start_anywhere_and_wrap_anywhere() {
    let expected = played(&Publisher::default(), 5_000);
    for (bits, start_ms) in
        [(32, (1 << 24) - 100), (31, (1 << 31) - 1_100), (32, (1 << 31) - 1_100), (32, (1 << 32) - 1_100)]
    {
        let timeline = played(&Publisher { bits, start_ms, ..Publisher::default() }, 5_000);
        assert_eq!((timeline.discontinuities(), &timeline.video), (0, &expected.video), "{bits} bits from {start_ms}");
        assert_eq!(timeline.audio, expected.audio, "{bits} bits from {start_ms}");
    }
}

#[test]
fn negative_composition_moves_decoding_and_not_presentation() {
    // Encoders that start DTS at the first PTS: I P B B with the B-frames presented before they are decoded.
    let publisher = Publisher { lead: 0, ..Publisher::default() };
    let timeline = played(&publisher, 5_000);
    assert_eq!(timeline.pictures(), (0..150).collect::<Vec<_>>());
    assert_eq!(timeline.cut_ms(), [0, 2_000, 4_000]);
    let first = &timeline.video[0];
    assert_eq!((first.pts - first.dts).to_millis(), 34);
    // The shift is constant from the first picture on: no bunched stamps.
    let steps = timeline.video.windows(2).map(|pair| (pair[1].dts - pair[0].dts).to_millis());
    assert!(steps.clone().all(|step| (33..=34).contains(&step)), "{:?}", steps.collect::<Vec<_>>());
    assert!(offset_ms(&timeline, &publisher).abs() <= 1);
}

#[test]
fn sound_before_the_first_picture_is_trimmed_to_it() {
    let publisher = Publisher::default();
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    let sound_only = Publisher { fps: 0, ..publisher.clone() };
    rig.play(&sound_only, 0, 600);
    for (_, tag) in publisher.media(600, 3_000) {
        if tag.kind == TagKind::Audio || tag.timestamp_ms >= 2_000 {
            rig.tag(tag);
        }
    }
    let timeline = rig.end();
    assert_eq!(timeline.pictures()[0], 60);
    let begins = timeline.audio[0].pts - timeline.cuts[0].at;
    assert!(begins >= Span::ZERO && begins < Span::from_millis(22), "{begins}");
}

#[test]
fn pictures_before_the_first_keyframe_are_left_out_and_counted() {
    let publisher = Publisher::default();
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    rig.play(&publisher, 1_000, 4_000);
    assert_eq!(rig.ingest.stats().dropped.before_keyframe, 30);
    assert_eq!(rig.end().pictures(), (60..120).collect::<Vec<_>>());
}

#[test]
fn the_end_of_sequence_that_steps_back_is_no_jump() {
    let publisher = Publisher::default();
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    rig.play(&publisher, 0, 3_000);
    rig.tag(Tag {
        kind: TagKind::Video,
        timestamp_ms: 2_905,
        data: VideoTag::EndOfSequence(VideoCodec::H264).to_body(),
    });
    rig.play(&publisher, 3_000, 5_000);
    let timeline = rig.end();
    assert_eq!((timeline.discontinuities(), timeline.pictures().len()), (0, 150));
}

#[test]
fn a_jump_of_the_clock_is_one_discontinuity_and_the_timeline_goes_on() {
    for jump in [6 * 3_600_000, -6 * 3_600_000, 10_000, -3_000, -150, 1_500] {
        let before = Publisher { start_ms: 30_000_000, ..Publisher::default() };
        let start_ms = (30_000_000 + 4_000 + jump) as u64;
        let after = Publisher { start_ms, first: 1_000, ..Publisher::default() };
        let mut rig = Rig::new(Settings::default());
        rig.connect(&before);
        rig.play(&before, 0, 4_000);
        rig.play(&after, 0, 4_000);
        let timeline = rig.end();
        assert_eq!(timeline.discontinuities(), 1, "jump of {jump} ms");
        assert_eq!(timeline.cut_ms(), [0, 2_000, 4_000, 6_000], "jump of {jump} ms");
        assert_eq!(timeline.pictures(), (0..120).chain(1_000..1_120).collect::<Vec<_>>(), "jump of {jump} ms");
        assert_eq!(rig.ingest.stats().gaps, 0);
    }
}

#[test]
fn a_quick_reconnect_at_zero_is_one_discontinuity_and_no_gap() {
    let publisher = Publisher::default();
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    rig.play(&publisher, 0, 4_000);
    rig.disconnect();
    rig.wait(300);
    rig.connect(&publisher);
    rig.play(&publisher, 0, 4_000);
    let timeline = rig.end();
    assert_eq!((timeline.discontinuities(), rig.ingest.stats().gaps), (1, 0));
    // Tracks are equal: no second announcement.
    assert_eq!((timeline.tracks.len(), timeline.cut_ms()), (2, vec![0, 2_000, 4_000, 6_000]));
    // The date follows the wall clock over the hole.
    let step = timeline.cuts[2].wall.since(timeline.cuts[1].wall);
    assert_eq!(step.to_millis(), 2_300);
}

#[test]
fn a_lost_publisher_leaves_gaps_until_it_is_back() {
    let publisher = Publisher::default();
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    rig.play(&publisher, 0, 3_000);
    rig.disconnect();
    let before = rig.units.len();
    rig.wait(1_900);
    assert_eq!(rig.units.len(), before, "the first gap is not over");
    rig.wait(4_000);
    rig.connect(&Publisher { start_ms: 77_000, ..publisher.clone() });
    rig.play(&Publisher { start_ms: 77_000, ..publisher }, 0, 3_000);
    let timeline = rig.end();
    let gap = CutKind::Gap { duration: Span::from_secs(2) };
    let kinds: Vec<_> = timeline.cuts.iter().map(|cut| (cut.kind, cut.discontinuity)).collect();
    let key = (CutKind::Keyframe, false);
    assert_eq!(kinds, [key, key, (gap, false), (gap, false), (CutKind::Keyframe, true), key]);
    assert_eq!(timeline.cut_ms(), [0, 2_000, 3_033, 5_033, 7_033, 9_033]);
    // Dates: media until 3 s, lost at 3 s, back with its first picture at 8.9 s.
    let dates: Vec<_> = timeline.cuts.iter().map(|cut| cut.wall.since(NOON).to_millis()).collect();
    assert_eq!(dates[..2], [0, 2_000]);
    assert!((dates[2] - 3_033).abs() <= 1 && (dates[3] - 5_033).abs() <= 2, "{dates:?}");
    assert_eq!(dates[4], 8_900);
}

#[test]
fn gaps_that_are_overdue_come_at_once() {
    let publisher = Publisher::default();
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    rig.play(&publisher, 0, 3_000);
    rig.wait(15_000); // the connection is silent; the door notices late
    rig.disconnect();
    assert_eq!(rig.ingest.stats().gaps, 7);
    let timeline = rig.end();
    let last = timeline.cuts.last().expect("gaps");
    assert_eq!(last.wall.since(NOON).to_millis() / 100, 150);
}

#[test]
fn a_long_gop_is_cut_by_time_and_may_end_the_copy() {
    let publisher = Publisher { gop: 250, ..Publisher::default() };
    let timeline = played(&publisher, 17_000);
    let by_time = [0, 2_400, 4_400, 6_400, 8_334, 10_334, 12_334, 14_334, 16_334];
    assert_eq!(timeline.cut_ms(), [&by_time[..], &[16_667]].concat());
    assert_eq!((timeline.discontinuities(), timeline.pictures().len()), (0, 510));

    let mut rig = Rig::new(Settings { long_gop: LongGop::EndCopy, ..Settings::default() });
    rig.connect(&publisher);
    rig.play(&publisher, 0, 17_000);
    let timeline = rig.end();
    assert_eq!(timeline.cut_ms(), by_time);
    let ends: Vec<u64> = timeline.cuts.iter().filter(|cut| cut.copy_ends).map(|cut| cut.msn).collect();
    assert_eq!((ends, timeline.discontinuities()), (vec![4], 1));
    assert!(timeline.cuts[5..].iter().all(|cut| cut.kind == CutKind::Time));
    assert!(timeline.longest_segment() < Span::from_millis(2_500));
}

#[test]
fn sound_alone_is_cut_on_its_own_time() {
    let publisher = Publisher { fps: 0, ..Publisher::default() };
    let timeline = played(&publisher, 10_000);
    assert_eq!(timeline.cut_ms(), [0, 2_005, 4_011, 6_016, 8_021]);
    assert_eq!((timeline.tracks.len(), timeline.audio.len()), (1, 469));
}

#[test]
fn pictures_alone_begin_after_the_wait_for_sound() {
    let publisher = Publisher { rate: 0, ..Publisher::default() };
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    rig.play(&publisher, 0, 999);
    assert!(rig.units.is_empty());
    rig.play(&publisher, 999, 5_000);
    let timeline = rig.end();
    assert_eq!((timeline.tracks.len(), timeline.pictures().len(), timeline.discontinuities()), (1, 150, 0));
    assert_eq!(timeline.cut_ms(), [0, 2_000, 4_000]);
}

/// Units up to a cut, as letters: `V` and `A` announce a track, `c` is a cut, `d` one with a discontinuity, `v` and `a` are media.
fn around_cut(units: &[Unit], msn: u64) -> String {
    let at = units.iter().position(|unit| matches!(unit, Unit::Cut(cut) if cut.msn == msn)).expect("the cut");
    let letter = |unit: &Unit| match unit {
        Unit::Track(track) if track.kind() == Kind::Video => 'V',
        Unit::Track(_) => 'A',
        Unit::Cut(cut) if cut.discontinuity => 'd',
        Unit::Cut(_) => 'c',
        Unit::Packet(packet) if packet.kind == Kind::Video => 'v',
        Unit::Packet(_) => 'a',
        Unit::End => 'e',
    };
    units[at - 2..at + 2].iter().map(letter).collect()
}

#[test]
fn sound_that_comes_late_joins_with_the_next_cut() {
    let publisher = Publisher::default();
    let pictures = Publisher { rate: 0, ..publisher.clone() };
    let mut rig = Rig::new(Settings::default());
    rig.connect(&pictures);
    rig.play(&pictures, 0, 3_000);
    rig.tag(publisher.audio_config());
    rig.play(&publisher, 3_000, 7_000);
    assert_eq!(rig.ingest.stats().dropped.late_track, 47, "what came before the cut");
    let around = around_cut(&rig.units, 2);
    let timeline = rig.end();
    assert_eq!(around, "vAcv", "the track, then the cut that it begins with");
    assert_eq!((timeline.discontinuities(), timeline.pictures().len()), (0, 210), "pictures do not notice");
    let begins = timeline.audio[0].pts - timeline.cuts[2].at;
    assert!(begins >= Span::ZERO && begins < Span::from_millis(22), "{begins}");
    assert!(offset_ms(&timeline, &publisher).abs() <= 1);
}

#[test]
fn pictures_that_come_late_join_with_their_keyframe() {
    let publisher = Publisher::default();
    let sound = Publisher { fps: 0, ..publisher.clone() };
    let mut rig = Rig::new(Settings::default());
    rig.connect(&sound);
    rig.play(&sound, 0, 3_000);
    rig.tag(publisher.video_config());
    rig.play(&publisher, 3_000, 7_000);
    let around = around_cut(&rig.units, 2);
    let timeline = rig.end();
    assert_eq!(around, "aVdv");
    assert_eq!((timeline.discontinuities(), timeline.pictures()), (1, (120..210).collect()));
    assert_eq!(timeline.cut_ms(), [0, 2_005, 4_066, 6_066]);
}

#[test]
fn a_track_may_join_with_a_new_connection() {
    let publisher = Publisher::default();
    let only = [Publisher { fps: 0, ..publisher.clone() }, Publisher { rate: 0, ..publisher.clone() }];
    for first in only {
        let mut rig = Rig::new(Settings::default());
        rig.connect(&first);
        rig.play(&first, 0, 3_000);
        rig.disconnect();
        rig.connect(&publisher);
        rig.play(&publisher, 0, 3_000);
        let timeline = rig.end();
        assert_eq!((timeline.tracks.len(), timeline.discontinuities()), (2, 1), "{first:?}");
        assert_eq!(timeline.video.len(), if first.fps == 0 { 90 } else { 180 }, "{first:?}");
        // Sound joins at once, or with the next cut where pictures lead.
        assert!(timeline.audio.len() > if first.fps == 0 { 270 } else { 40 }, "{first:?}");
    }
}

#[test]
fn sound_that_vanishes_is_silence_until_it_is_back() {
    let publisher = Publisher::default();
    let pictures = Publisher { rate: 0, ..publisher.clone() };
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    rig.play(&publisher, 0, 3_000);
    rig.play(&pictures, 3_000, 11_000);
    rig.play(&publisher, 11_000, 15_000);
    let stats = rig.ingest.stats();
    let timeline = rig.end();
    assert_eq!((timeline.pictures().len(), timeline.discontinuities()), (450, 0), "nobody notices but by ear");
    assert_eq!(stats.silent_frames, 375, "from 3 s to 11 s");
    assert!(
        timeline.audio.windows(2).all(|pair| pair[1].pts == pair[0].pts + pair[0].duration),
        "no sample is missing"
    );
    assert!(offset_ms(&timeline, &publisher).abs() <= 1);
}

#[test]
fn sound_without_a_frame_of_silence_comes_back_with_a_keyframe() {
    // Its channels are described by a program_config_element, so that no frame of silence is known for it.
    let publisher = Publisher { asc: &[0x11, 0x80, 0x04, 0xc4, 0x04, 0x00, 0x20, 0x00], ..Publisher::default() };
    let pictures = Publisher { rate: 0, ..publisher.clone() };
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    rig.play(&publisher, 0, 3_000);
    rig.play(&pictures, 3_000, 11_000);
    rig.play(&publisher, 11_000, 15_000);
    let stats = rig.ingest.stats();
    let timeline = rig.end();
    assert_eq!((timeline.pictures().len(), timeline.discontinuities(), stats.silent_frames), (450, 1, 0));
    let back = timeline.audio.windows(2).find(|pair| pair[1].pts > pair[0].pts + pair[0].duration).expect("a hole");
    assert!(back[1].pts - timeline.cuts[0].at >= Span::from_millis(12_000), "the keyframe's: {:?}", back[1].pts);
    assert!(offset_ms(&timeline, &publisher).abs() <= 1);
}

#[test]
fn sound_on_its_way_is_not_silenced_by_a_short_segment() {
    // A keyframe just behind a cut by time makes a segment of 42 ms; pictures are presented 83 ms after they are decoded.
    let publisher = Publisher { fps: 24, gop: 58, lead: 2, b_frames: 0, ..Publisher::default() };
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    rig.play(&publisher, 0, 6_000);
    let stats = rig.ingest.stats();
    let timeline = rig.end();
    assert_eq!(timeline.cut_ms(), [0, 2_375, 2_417, 4_417, 4_833]);
    assert_eq!((stats.silent_frames, timeline.discontinuities()), (0, 0));
    assert!(timeline.audio.windows(2).all(|pair| number(&pair[1]) == number(&pair[0]) + 1), "every frame is there");
}

#[test]
fn sound_a_segment_behind_its_pictures_is_left_out_and_counted() {
    let publisher = Publisher::default();
    let (pictures, sound) = (Publisher { rate: 0, ..publisher.clone() }, Publisher { fps: 0, ..publisher.clone() });
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    rig.play(&publisher, 0, 1_000);
    rig.play(&pictures, 1_000, 6_500);
    for (_, tag) in sound.media(1_000, 6_500) {
        rig.tag(tag);
    }
    rig.play(&publisher, 6_500, 9_000);
    let stats = rig.ingest.stats();
    let timeline = rig.end();
    assert_eq!((timeline.discontinuities(), stats.silent_frames, stats.dropped.trimmed_audio), (0, 144, 148));
    assert!(offset_ms(&timeline, &publisher).abs() <= 1);
}

#[test]
fn a_new_configuration_is_one_discontinuity_on_an_unbroken_timeline() {
    let publisher = Publisher::default();
    let small = Publisher { sps: SMALL_SPS, ..Publisher::default() };
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    rig.play(&publisher, 0, 4_000);
    rig.tag(small.video_config());
    rig.play(&small, 4_000, 8_000);
    rig.tag(small.video_config());
    rig.play(&small, 8_000, 9_000);
    let timeline = rig.end();
    assert_eq!(timeline.cut_ms(), [0, 2_000, 4_000, 6_000, 8_000]);
    assert_eq!((timeline.discontinuities(), timeline.cuts[2].discontinuity), (1, true));
    let widths: Vec<_> = timeline
        .tracks
        .iter()
        .map(|track| match track {
            Track::Video(video) => video.width,
            Track::Audio(_) => 0,
        })
        .collect();
    assert_eq!(widths, [1_920, 0, 640]);
    assert_eq!(timeline.pictures(), (0..270).collect::<Vec<_>>());
}

#[test]
fn a_new_sound_configuration_waits_for_the_next_keyframe() {
    let publisher = Publisher::default();
    let other = Publisher { rate: 44_100, asc: &[0x12, 0x10], ..Publisher::default() };
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    rig.play(&publisher, 0, 3_000);
    rig.tag(other.audio_config());
    rig.play(&other, 3_000, 7_000);
    let timeline = rig.end();
    assert_eq!((timeline.discontinuities(), timeline.cut_ms()), (1, vec![0, 2_000, 4_000, 6_000]));
    assert_eq!((timeline.tracks.len(), timeline.pictures().len()), (3, 210));
    let last = timeline.audio.last().expect("sound");
    assert_eq!(last.duration, Span::from_units(1_024, 44_100));
}

#[test]
fn video_that_was_away_comes_back_with_a_discontinuity_while_sound_goes_on() {
    let publisher = Publisher::default();
    let sound = Publisher { fps: 0, ..Publisher::default() };
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    rig.play(&publisher, 0, 3_000);
    rig.play(&sound, 3_000, 9_000);
    rig.play(&publisher, 9_000, 13_000);
    let timeline = rig.end();
    assert_eq!(timeline.discontinuities(), 1);
    assert_eq!(timeline.pictures(), (0..90).chain(300..390).collect::<Vec<_>>());
    assert!(timeline.longest_segment() < Span::from_millis(2_500), "{:?}", timeline.cut_ms());
    let sound_ms: i64 = timeline.audio.iter().map(|packet| packet.duration).sum::<Span>().to_millis();
    assert!(sound_ms > 12_600, "{sound_ms}");
}

#[test]
fn lost_sound_becomes_silence() {
    let publisher = Publisher::default();
    let pictures = Publisher { rate: 0, ..Publisher::default() };
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    rig.play(&publisher, 0, 3_000);
    rig.play(&pictures, 3_000, 3_700);
    rig.play(&publisher, 3_700, 6_000);
    let stats = rig.ingest.stats();
    let timeline = rig.end();
    assert_eq!((timeline.discontinuities(), stats.silent_frames), (0, 33));
    assert!(timeline.audio.iter().all(|packet| packet.duration == Span::from_units(1_024, 48_000)));
    let silent = timeline.audio.iter().filter(|packet| packet.data.len() == 7).count();
    assert_eq!((silent, timeline.audio.len()), (33, 282 - 4));
}

#[test]
fn a_restarted_daemon_goes_on_where_it_was() {
    let publisher = Publisher::default();
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    rig.play(&publisher, 0, 5_000);
    let start = rig.ingest.resume_point();
    let timeline = rig.end();
    assert_eq!((start.next_msn, start.resumed), (3, true));
    assert!(timeline.video.iter().chain(&timeline.audio).all(|packet| packet.pts < start.at));

    let mut again = Rig::new(Settings { start, ..Settings::default() });
    again.monotonic = rig.monotonic + std::time::Duration::from_secs(3);
    again.connect(&publisher);
    again.play(&publisher, 0, 3_000);
    let cut = &again.end().cuts[0];
    let behind_reordered_pictures = start.at + Span::from_secs(1);
    assert_eq!((cut.msn, cut.at, cut.discontinuity), (3, behind_reordered_pictures, true));
    assert_eq!(cut.wall.since(NOON).to_millis(), 8_000, "the date steps to the wall clock");
}

#[test]
fn a_takeover_is_one_discontinuity() {
    let publisher = Publisher::default();
    let other = Publisher { start_ms: 500_000, first: 5_000, ..Publisher::default() };
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    rig.play(&publisher, 0, 3_000);
    rig.connect(&other);
    rig.play(&other, 0, 3_000);
    let timeline = rig.end();
    assert_eq!((timeline.discontinuities(), rig.ingest.stats().gaps), (1, 0));
    assert_eq!(timeline.pictures(), (0..90).chain(5_000..5_090).collect::<Vec<_>>());
}

#[test]
fn nothing_follows_the_end() {
    let publisher = Publisher::default();
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    rig.play(&publisher, 0, 1_000);
    rig.end();
    let units = rig.units.len();
    rig.connect(&publisher);
    rig.play(&publisher, 1_000, 2_000);
    assert_eq!((rig.units.len(), rig.ingest.deadline()), (units, None));
}

#[test]
fn an_empty_session_ends_too_and_resumes_where_it_would_have_begun() {
    let mut rig = Rig::new(Settings::default());
    rig.connect(&Publisher::default());
    rig.disconnect();
    rig.wait(60_000);
    assert_eq!(rig.ingest.resume_point(), Start::default());
    let timeline = rig.end();
    assert!(timeline.ended && timeline.cuts.is_empty());
}

#[test]
fn a_resumed_session_has_gaps_until_its_publisher_is_back() {
    let anchor = (Timestamp::from_millis(58_000), NOON);
    let start = Start { at: Timestamp::from_millis(60_000), next_msn: 25, anchor: Some(anchor), resumed: true };
    let mut rig = Rig::new(Settings { start, ..Settings::default() });
    rig.ingest.wait(rig.now());
    rig.wait(4_500);
    let publisher = Publisher::default();
    rig.connect(&publisher);
    rig.play(&publisher, 0, 3_000);
    let timeline = rig.end();
    let gap = CutKind::Gap { duration: Span::from_secs(2) };
    let cuts: Vec<_> =
        timeline.cuts.iter().map(|cut| (cut.msn, cut.at.flicks(), cut.kind, cut.discontinuity)).collect();
    let at = |ms| Timestamp::from_millis(ms).flicks();
    let expected = [
        (25, at(60_000), gap, false),
        (26, at(62_000), gap, false),
        (27, at(64_000), CutKind::Keyframe, true),
        (28, at(66_000), CutKind::Keyframe, false),
    ];
    assert_eq!(cuts, expected);
    // The first gap follows what was there before, date and all.
    let dates: Vec<_> = timeline.cuts.iter().map(|cut| cut.wall.since(NOON).to_millis()).collect();
    assert!(dates[0] == 2_000 && (dates[1] - 4_000).abs() <= 1, "{dates:?}");
    assert!(dates.windows(2).all(|pair| pair[1] > pair[0]), "{dates:?}");

    let mut new = Rig::new(Settings::default());
    new.ingest.wait(new.now());
    assert_eq!(new.ingest.deadline(), None, "a new session's timeline begins with its publisher");
}

#[test]
fn video_without_a_keyframe_is_refused_after_15_s_whatever_sound_does() {
    let publisher = Publisher { gop: 1_000_000, ..Publisher::default() };
    for (what, media) in [
        ("pictures and sound", publisher.media(1, 20_000)),
        ("pictures", Publisher { rate: 0, ..publisher.clone() }.media(1, 20_000)),
        ("sound behind an announcement", Publisher { fps: 0, ..publisher.clone() }.media(1, 20_000)),
    ] {
        let mut rig = Rig::new(Settings::default());
        rig.connect(&publisher);
        let mut sent = 0;
        let told = media.into_iter().find_map(|(ms, tag)| {
            rig.wait((ms - sent) as u64);
            sent = ms;
            rig.push(Input::Media(Inbound::Flv(tag))).err()
        });
        let expected = Rejected::NoKeyframe { waited: std::time::Duration::from_secs(15) };
        assert_eq!(told, Some(expected), "{what}");
        assert!((15_000..15_050).contains(&sent), "{what}: {sent} ms");
        assert!(rig.units.is_empty(), "{what}: nothing was begun");
    }
}

#[test]
fn keyframes_14_s_apart_are_served_even_where_one_must_be_awaited() {
    let publisher = Publisher { gop: 420, ..Publisher::default() };
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    rig.play(&publisher, 500, 20_000);
    let timeline = rig.end();
    assert_eq!(timeline.pictures(), (420..600).collect::<Vec<_>>());
    assert_eq!((timeline.discontinuities(), timeline.cut_ms()[0]), (0, 0));
}

#[test]
fn a_clock_that_stands_still_is_refused() {
    let publisher = Publisher::default();
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    let mut sent = 0;
    let told = publisher.media(0, 9_000).into_iter().find_map(|(ms, tag)| {
        rig.wait((ms - sent) as u64);
        sent = ms;
        rig.push(Input::Media(Inbound::Flv(Tag { timestamp_ms: 0, ..tag }))).err()
    });
    assert_eq!(told, Some(Rejected::ClockStands { track: Kind::Audio, messages: 50, stamp: Timestamp::ZERO }));
    assert!(sent < 1_100, "{sent} ms");
}

#[test]
fn the_date_makes_up_for_what_a_jump_leaves_out() {
    let before = Publisher::default();
    let after = Publisher { start_ms: 3_600_000, ..Publisher::default() };
    let mut rig = Rig::new(Settings::default());
    rig.connect(&before);
    rig.play(&before, 0, 4_500);
    rig.play(&after, 4_500, 9_000);
    let timeline = rig.end();
    // 1.5 s up to the keyframe at 6 s are left out: the timeline does not wait for them, the date does.
    assert_eq!((timeline.discontinuities(), timeline.cut_ms()), (1, vec![0, 2_000, 4_000, 4_533, 6_533]));
    let dates: Vec<_> = timeline.cuts.iter().map(|cut| cut.wall.since(NOON).to_millis()).collect();
    assert_eq!(dates, [0, 2_000, 4_000, 6_000, 8_000]);
    let sound = timeline.audio.iter().find(|packet| packet.pts >= timeline.cuts[3].at).expect("sound goes on");
    let begins = (sound.pts - timeline.cuts[3].at).to_millis();
    assert!(begins < 22, "sound begins {begins} ms behind its picture");
}

#[test]
fn a_day_of_jitter_at_a_clock_that_wraps_stays_in_step() {
    let publisher =
        Publisher { fps: 5, gop: 10, b_frames: 0, lead: 0, rate: 8_000, asc: &[0x15, 0x90], ..Publisher::default() };
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    let jitter = |n: i64| (n * 37 + n / 7) % 41 - 20;
    let start = (1u64 << 32) - 43_200_000; // wraps at noon
    let (mut cuts, mut pictures, mut worst, mut last_wall) = (0, 0, 0, NOON);
    for second in 0..86_400i64 {
        let shown = (second * 5..second * 5 + 5).map(|n| (n * 200, publisher.picture(n)));
        let frame_at = |ms: i64| (ms + 127) / 128;
        let sounds = frame_at(second * 1_000)..frame_at(second * 1_000 + 1_000);
        let mut sent: Vec<_> = shown.chain(sounds.map(|n| (n * 128, publisher.sound(n)))).collect();
        sent.sort_by_key(|(ms, _)| *ms);
        for (ms, tag) in sent {
            let stamp = start.wrapping_add_signed(ms + jitter(ms)) as u32;
            rig.tag(Tag { timestamp_ms: stamp, ..tag });
        }
        rig.wait(1_000);
        for unit in rig.units.drain(..) {
            match unit {
                Unit::Cut(cut) => {
                    (cuts, last_wall) = (cuts + 1, cut.wall);
                }
                Unit::Packet(packet) if packet.kind == Kind::Video => pictures += 1,
                Unit::Packet(packet) => {
                    let source = ingest_support::number(&packet) * 128;
                    worst = worst.max((packet.pts.to_units(1_000) - 10_000 - source).abs());
                }
                _ => {}
            }
        }
    }
    assert_eq!((cuts, pictures, rig.ingest.stats().discontinuities), (43_200, 432_000, 0));
    assert!(worst <= 41, "sound is {worst} ms from where the source had it");
    assert!((last_wall.since(NOON).to_millis() - 86_398_000).abs() <= 60, "{last_wall}");
}

/// Found by the fuzz target `ingest`: of the sound that had run ahead of late pictures, some was still held, and came behind
/// the discontinuity although it lay before it.
#[test]
fn sound_held_while_pictures_stood_still_comes_before_their_discontinuity() {
    let publisher = Publisher { b_frames: 0, lead: 0, ..Publisher::default() };
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    rig.play(&publisher, 0, 2_000);
    let sounds: Vec<_> =
        publisher.media(2_000, 6_000).into_iter().filter(|(_, tag)| tag.kind == TagKind::Audio).collect();
    for (_, tag) in sounds {
        rig.wait(1);
        rig.tag(tag);
    }
    let smaller = Publisher { sps: SMALL_SPS, ..publisher };
    rig.tag(smaller.video_config());
    rig.tag(smaller.picture(60));
    let timeline = rig.end();
    assert_eq!(timeline.discontinuities(), 1);
    let sound = timeline.audio.last().expect("sound");
    let cut = timeline.cuts.last().expect("cuts");
    assert_eq!((cut.discontinuity, cut.at), (true, sound.pts + sound.duration));
}

/// Found by the fuzz target `ingest`: a keyframe that was presented long after its decoding puts a cut by time beyond every
/// picture, and the gaps of a lost publisher began before it.
#[test]
fn what_follows_a_cut_beyond_all_pictures_lies_behind_it() {
    let publisher = Publisher { gop: 1_000, b_frames: 0, lead: 0, rate: 0, ..Publisher::default() };
    let mut rig = Rig::new(Settings::default());
    rig.connect(&publisher);
    rig.tag(Publisher { lead: 90, ..publisher.clone() }.picture(0));
    rig.play(&publisher, 33, 3_000);
    let cut =
        |rig: &Rig| rig.units.iter().rev().find_map(|unit| if let Unit::Cut(cut) = unit { Some(cut.at) } else { None });
    let last = cut(&rig).expect("cuts");
    assert!(rig.ingest.resume_point().at > last, "{:?} is not behind {last:?}", rig.ingest.resume_point());
    rig.disconnect();
    rig.wait(5_000);
    assert!(rig.end().cuts.iter().any(|cut| matches!(cut.kind, CutKind::Gap { .. }))); // the rest is judged
}
