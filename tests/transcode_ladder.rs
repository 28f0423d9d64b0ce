//! The video half of the ladder, with real x264 on small pictures: frames, cuts, breaks, caps, formats, failures.

#[path = "support/ladder.rs"]
mod ladder;

use bytes::Bytes;
use ladder::{
    Feed, Ran, SEGMENT, START, Source, annex_b, break_at, cut, cuts_of, mean_luma, nals, packets_of, preset, probe,
    run, script, shape, sorted_pts, tracks_of, video,
};
use millstream::config::preset::Preset;
use millstream::flow::stage::Outcome;
use millstream::media::{Cut, CutKind, Span, Timestamp, Track, Unit, VideoTrack};

/// Three seconds whose frame n is one grey of 16 + 2n, keyframe each second, B-frames.
const RAMP: &str = "-f lavfi -i 'color=black:s=640x360:r=30:d=3,format=gray,geq=lum=16+2*N,format=yuv420p' -c:v libx264 \
                    -preset ultrafast -bf 2 -g 30 -sc_threshold 0 -qp 10";

fn moving(size: &str, rate: u32, frames: u32, more: &str) -> String {
    format!(
        "-f lavfi -i testsrc2=s={size}:r={rate} -frames:v {frames} -c:v libx264 -preset ultrafast -bf 2 -g {rate} \
         -sc_threshold 0 {more}"
    )
}

fn at(millis: i64) -> Timestamp {
    START + Span::from_millis(millis)
}

fn with_end(mut units: Vec<Unit>) -> Vec<Unit> {
    units.push(Unit::End);
    units
}

fn whole(source: &Source<VideoTrack>, cuts: &[Cut]) -> Vec<Unit> {
    with_end(script(Track::Video(source.track.clone()), &source.packets, cuts))
}

fn video_track(units: &[Unit]) -> &VideoTrack {
    match tracks_of(units)[0] {
        Track::Video(track) => track,
        Track::Audio(_) => panic!("a video rendition"),
    }
}

/// What holds for every run that ended well.
fn check_order(ran: &Ran) {
    assert!(matches!(ran.outcome, Outcome::Finished), "{:?}", ran.outcome);
    assert_eq!(ran.told, ["Finished"]);
    for units in &ran.units {
        let packets = packets_of(units);
        assert!(packets.iter().all(|packet| packet.dts <= packet.pts));
        assert!(packets.windows(2).all(|pair| pair[0].dts < pair[1].dts), "DTS rises strictly");
    }
}

#[test]
fn every_frame_is_once_in_each_rung_at_its_own_time_and_cuts_are_idrs() {
    let source = video(RAMP, Span::ZERO);
    let time = Cut { kind: CutKind::Time, ..cut(2, at(1_500)) };
    let cuts = [cut(0, at(0)), cut(1, at(1_000)), time, cut(3, at(2_000))];
    let preset = Preset::load("tests/support/presets/test-360p-240p-144p.toml").expect("our own");
    let ran = run(&preset, Some(whole(&source, &cuts)), None, Feed::Patiently);
    check_order(&ran);
    let expected = sorted_pts(&source.packets);
    assert_eq!(expected.len(), 90);
    let segment = |idr: usize, rest: usize| "C".repeat(idr) + "I" + &"p".repeat(rest);
    for (units, size) in ran.units.iter().zip([(640, 360), (426, 240), (256, 144)]) {
        let packets = packets_of(units);
        assert_eq!(sorted_pts(packets.iter().copied()), expected);
        let idrs: Vec<Timestamp> = packets.iter().filter(|packet| packet.keyframe).map(|packet| packet.pts).collect();
        assert_eq!(idrs, [at(0), at(1_000), at(1_500), at(2_000)]);
        assert_eq!(shape(units), format!("T{}{}{}{}E", segment(1, 29), segment(1, 14), segment(1, 14), segment(1, 29)));
        assert_eq!(cuts_of(units), cuts.iter().collect::<Vec<_>>());
        let track = video_track(units);
        assert_eq!((track.width, track.height, track.frame_rate), (size.0, size.1, Some((30, 1))));
        assert!(track.codecs.starts_with("avc1.4d40"), "{}", track.codecs);
        assert!(packets.iter().flat_map(|packet| nals(packet)).all(|nal| matches!(nal[0] & 0x1f, 1 | 5)));
        // Frame n shows what frame n of the source showed.
        for (n, luma) in mean_luma(track, &packets).into_iter().enumerate() {
            let sent = 16 + 2 * i32::try_from(n).expect("few");
            assert!((i32::from(luma) - (sent - 16) * 255 / 219).abs() <= 4, "frame {n} of {size:?}: {luma}");
        }
    }
    let counted: Vec<_> = ran.stats.rungs.iter().map(|rung| (rung.name.as_str(), rung.encoded_frames)).collect();
    assert_eq!(counted, [("360p", 90), ("240p", 90), ("144p", 90)]);
    assert_eq!((ran.stats.decoded_frames, ran.stats.decode_errors, ran.stats.shed_frames), (90, 0, 0));
    assert!(ran.stats.rungs.iter().all(|rung| rung.bytes > 0 && rung.queued_frames == 0));
}

#[test]
fn a_cap_leaves_out_evenly_but_never_the_first_frame_of_a_segment() {
    let source = video(&moving("160x90", 30, 60, ""), Span::ZERO);
    // The 33rd frame is not one that every second frame would hit.
    let cuts = [cut(0, at(0)), Cut { kind: CutKind::Time, ..cut(1, at(1_100)) }];
    let ran = run(
        &preset(&[("full", 160, 90, ""), ("capped", 80, 44, "fps = 15")]),
        Some(whole(&source, &cuts)),
        None,
        Feed::Patiently,
    );
    check_order(&ran);
    let expected = sorted_pts(&source.packets);
    assert_eq!(sorted_pts(packets_of(&ran.units[0])), expected);
    let kept: Vec<Timestamp> = (0..33).step_by(2).chain((33..60).step_by(2)).map(|n| expected[n]).collect();
    assert_eq!(sorted_pts(packets_of(&ran.units[1])), kept);
    let idrs = |units: &[Unit]| -> Vec<Timestamp> {
        packets_of(units).iter().filter(|packet| packet.keyframe).map(|packet| packet.pts).collect()
    };
    assert_eq!(idrs(&ran.units[0]), [at(0), at(1_100)]);
    assert_eq!(idrs(&ran.units[1]), idrs(&ran.units[0]));
    assert_eq!(video_track(&ran.units[1]).frame_rate, Some((15, 1)));
    assert_eq!(ran.plan.renditions[1].frame_rate, Some((15, 1)));
    assert_eq!((ran.stats.rungs[1].encoded_frames, ran.stats.rungs[1].capped_frames), (31, 29));
}

#[test]
fn breaks_lose_no_frame_and_a_smaller_source_is_carried_at_its_size() {
    let first = video(&moving("320x180", 30, 40, ""), Span::ZERO);
    let second = video(&moving("160x120", 25, 30, ""), Span::from_secs(4));
    let gap = Cut { kind: CutKind::Gap { duration: Span::from_secs(2) }, ..break_at(1, at(2_000)) };
    let resumed = break_at(2, at(4_000));
    let mut units = script(Track::Video(first.track.clone()), &first.packets, &[cut(0, at(0))]);
    units.extend([Unit::Cut(gap.clone()), Unit::Cut(resumed.clone())]);
    units.extend(whole(&second, &[]));
    let ran = run(&preset(&[("big", 320, 180, ""), ("small", 160, 90, "")]), Some(units), None, Feed::Patiently);
    check_order(&ran);
    let both: Vec<_> = first.packets.iter().chain(&second.packets).collect();
    for (units, sizes) in ran.units.iter().zip([[(320, 180), (160, 120)], [(160, 90), (120, 90)]]) {
        assert_eq!(sorted_pts(packets_of(units)), sorted_pts(both.iter().copied()));
        assert_eq!(shape(units), format!("TCI{}BBTI{}E", "p".repeat(39), "p".repeat(29)));
        assert_eq!(cuts_of(units), [&cut(0, at(0)), &gap, &resumed]);
        let found: Vec<_> = tracks_of(units)
            .into_iter()
            .map(|track| match track {
                Track::Video(video) => (video.width, video.height),
                Track::Audio(_) => (0, 0),
            })
            .collect();
        assert_eq!(found, sizes);
    }
}

#[test]
fn the_copied_rung_gets_its_encoder_with_the_cut_that_ends_copying() {
    let source = video(&moving("160x90", 30, 60, ""), Span::ZERO);
    let ends = Cut { copy_ends: true, ..break_at(1, at(1_000)) };
    let ran = run(
        &preset(&[("top", 160, 90, "mode = \"auto\""), ("low", 80, 44, "")]),
        Some(whole(&source, &[cut(0, at(0)), ends.clone()])),
        None,
        Feed::Patiently,
    );
    check_order(&ran);
    assert_eq!(ran.plan.copied.map(|id| id.0), Some(0));
    assert_eq!(shape(&ran.units[0]), format!("BTI{}E", "p".repeat(29)));
    assert_eq!(shape(&ran.units[1]), format!("TCI{}BTI{}E", "p".repeat(29), "p".repeat(29)));
    assert_eq!(cuts_of(&ran.units[0]), [&ends]);
    let expected = sorted_pts(&source.packets);
    assert_eq!(sorted_pts(packets_of(&ran.units[0])), expected[30..]);
    assert_eq!(sorted_pts(packets_of(&ran.units[1])), expected);
    assert_eq!(video_track(&ran.units[0]).frame_rate, Some((30, 1)));
}

#[test]
fn nothing_is_decoded_while_the_only_rung_is_a_copy() {
    let source = video(&moving("160x90", 30, 60, ""), Span::ZERO);
    let ends = Cut { copy_ends: true, ..break_at(1, at(1_000)) };
    let only = preset(&[("top", 160, 90, "mode = \"auto\"")]);
    let ran = run(&only, Some(whole(&source, &[cut(0, at(0)), ends])), None, Feed::Patiently);
    check_order(&ran);
    assert_eq!(shape(&ran.units[0]), format!("BTI{}E", "p".repeat(29)));
    assert_eq!(ran.stats.decoded_frames, 30);
    let ran = run(&only, Some(whole(&source, &[cut(0, at(0))])), None, Feed::Patiently);
    assert_eq!((shape(&ran.units[0]), ran.stats.decoded_frames), (String::new(), 0));
}

#[test]
fn passthrough_starts_no_thread() {
    let source = video(&moving("160x90", 30, 5, ""), Span::ZERO);
    let preset = Preset::load("passthrough").expect("embedded");
    let ran = run(&preset, Some(whole(&source, &[cut(0, at(0))])), None, Feed::Patiently);
    check_order(&ran);
    assert_eq!((ran.units.concat().len(), ran.stats.rungs.len(), ran.stats.audio), (0, 0, None));
}

#[test]
fn odd_sizes_and_rich_formats_become_plain_with_their_colours_kept() {
    let odd_444 = "-pix_fmt yuv444p -color_range pc -colorspace bt709 -color_primaries bt709 -color_trc bt709";
    for (size, more, expected) in [
        ("321x181", odd_444, (320, 180, "pc", "bt709")),
        ("320x180", "-pix_fmt yuv422p10le", (320, 180, "tv", "unknown")),
        ("320x180", "-pix_fmt yuvj420p -colorspace smpte170m", (320, 180, "pc", "smpte170m")),
    ] {
        let source = video(&moving(size, 30, 8, more), Span::ZERO);
        let ran = run(
            &preset(&[("same", 640, 360, ""), ("half", 160, 90, "")]),
            Some(whole(&source, &[cut(0, at(0))])),
            None,
            Feed::Patiently,
        );
        check_order(&ran);
        let truth = mean_luma(&source.track, &source.packets.iter().collect::<Vec<_>>());
        for (units, scale) in ran.units.iter().zip([1, 2]) {
            let (track, packets) = (video_track(units), packets_of(units));
            assert_eq!((track.width, track.height, track.plain), (expected.0 / scale, expected.1 / scale, true));
            let text = probe(track, &packets, "pix_fmt,color_range,color_space");
            let range = if expected.2 == "pc" { "pix_fmt=yuvj420p\ncolor_range=pc" } else { "pix_fmt=yuv420p\n" };
            assert!(text.starts_with(range) && text.contains(&format!("color_space={}", expected.3)), "{size}: {text}");
            let lumas = mean_luma(track, &packets);
            assert_eq!(lumas.len(), 8);
            for (found, sent) in lumas.iter().zip(&truth) {
                assert!(found.abs_diff(*sent) <= 3, "{size} {more}: {found} for {sent}");
            }
        }
    }
}

#[test]
fn packets_that_cannot_be_decoded_are_counted_and_the_rest_goes_on() {
    let mut source = video(&moving("160x90", 30, 90, ""), Span::ZERO);
    // A length that reaches beyond the packet: one alone in the first second, and the whole second second.
    let broken = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 1]);
    source.packets[10].data = broken.clone();
    source.packets[30..60].iter_mut().for_each(|packet| packet.data = broken.clone());
    let cuts = [cut(0, at(0)), cut(1, at(1_000)), cut(2, at(2_000))];
    let ran = run(&preset(&[("a", 160, 90, "")]), Some(whole(&source, &cuts)), None, Feed::Patiently);
    check_order(&ran);
    assert_eq!((ran.stats.decode_errors, ran.stats.undecodable_gops), (31, 1));
    assert_eq!(cuts_of(&ran.units[0]).len(), 3, "numbers stay in step although a segment is empty");
    let expected = sorted_pts(&source.packets);
    let found = sorted_pts(packets_of(&ran.units[0]));
    assert!(found.ends_with(&expected[60..]), "the third second is whole");
    assert!(found.len() >= 50, "{} frames", found.len());
    let behind = shape(&ran.units[0]);
    assert!(behind.contains("CTCI") || behind.contains("CCI"), "{behind}");
}

#[test]
fn a_hard_scene_after_a_calm_one_stays_within_the_promised_bandwidth() {
    let scenes = "-filter_complex 'color=gray:s=320x180:r=30:d=4[calm];color=gray:s=320x180:r=30:d=6,noise=alls=100:allf=t[hard];\
                  [calm][hard]concat' -c:v libx264 -preset ultrafast -g 60 -sc_threshold 0 -qp 20";
    let source = video(scenes, Span::ZERO);
    let cuts: Vec<Cut> = (0..5).map(|n| cut(n, at(2_000 * i64::try_from(n).expect("few")))).collect();
    let ran = run(&preset(&[("a", 320, 180, "")]), Some(whole(&source, &cuts)), None, Feed::Patiently);
    check_order(&ran);
    let bits: Vec<u64> = ran.units[0]
        .split(|unit| matches!(unit, Unit::Cut(_)))
        .map(|segment| packets_of(segment).iter().map(|packet| packet.data.len() as u64 * 8 / 2).sum())
        .skip(1)
        .collect();
    let (promised, maxrate) =
        (ran.plan.renditions[0].bandwidth, ran.plan.rungs[0].encode.as_ref().map(|it| it.maxrate));
    assert_eq!(bits.len(), 5);
    assert!(bits[2] > maxrate.expect("an encoded rung"), "the buffer that the calm scene filled is used: {bits:?}");
    assert!(bits.iter().all(|bits| *bits <= promised), "{bits:?} bit/s, promised {promised}");
}

#[test]
fn a_closed_input_gives_out_every_frame_but_no_end() {
    let source = video(&moving("160x90", 30, 20, ""), Span::ZERO);
    let units = script(Track::Video(source.track.clone()), &source.packets, &[cut(0, at(0))]);
    let ran = run(&preset(&[("a", 160, 90, "")]), Some(units), None, Feed::Patiently);
    check_order(&ran);
    assert_eq!(shape(&ran.units[0]), format!("TCI{}", "p".repeat(19)));
}

#[test]
fn a_backlog_is_shed_evenly_for_all_rungs_and_cuts_survive() {
    let source = video(&moving("160x90", 30, 120, ""), Span::ZERO);
    let cuts: Vec<Cut> = (0..4).map(|n| cut(n, at(1_000 * i64::try_from(n).expect("few")))).collect();
    let ran =
        run(&preset(&[("a", 160, 90, ""), ("b", 80, 44, "")]), Some(whole(&source, &cuts)), None, Feed::AllAtOnce);
    check_order(&ran);
    let pts = ran.units.each_pts();
    assert_eq!(pts[0], pts[1], "the same frames are left in every rung");
    assert!(ran.stats.shed_frames > 30, "four seconds wait: {} shed", ran.stats.shed_frames);
    assert_eq!(ran.stats.shed_frames + pts[0].len() as u64, 120);
    assert!(!ran.stats.overloaded, "in the end there is no backlog");
    for units in &ran.units {
        assert_eq!(cuts_of(units), cuts.iter().collect::<Vec<_>>());
        assert!((0..4).all(|second| sorted_pts(packets_of(units)).contains(&at(1_000 * second))));
    }
}

#[test]
fn a_packager_that_left_ends_the_ladder_with_a_reason() {
    use millstream::flow::channel::{Bound, bounded};
    let source = video(&moving("160x90", 30, 5, ""), Span::ZERO);
    let plan = millstream::transcode::plan(&preset(&[("a", 160, 90, "")]), SEGMENT, Some(&source.track), None)
        .expect("a plan");
    let bound = Bound { items: 64, bytes: 1 << 20 };
    let (sender, receiver) = bounded(bound);
    for unit in whole(&source, &[cut(0, at(0))]) {
        sender.send(unit).expect("room");
    }
    let (output, collected) = bounded(bound);
    drop(collected);
    let inputs = millstream::transcode::TranscodeInputs { video: Some(receiver), audio: None };
    let (told, tells) = std::sync::mpsc::channel();
    let ladder = millstream::transcode::Transcoder::start(
        "t",
        tracing::Span::none(),
        millstream::clock::SystemClock::shared(),
        &plan,
        inputs,
        output,
        move |outcome| told.send(format!("{outcome:?}")).unwrap_or(()),
    );
    let outcome = ladder.expect("threads start").join();
    let Outcome::Failed(error) = outcome else { panic!("{outcome:?}") };
    assert_eq!(error.to_string(), "nobody takes what a gives: the packager has ended");
    assert_eq!(tells.recv().as_deref(), Ok("Failed(OutputClosed { rendition: \"a\" })"));
}

#[test]
fn the_streams_begin_with_no_version_text_and_decode_alone() {
    let source = video(&moving("160x90", 30, 10, ""), Span::ZERO);
    let ran = run(&preset(&[("a", 160, 90, "")]), Some(whole(&source, &[cut(0, at(0))])), None, Feed::Patiently);
    let stream = annex_b(video_track(&ran.units[0]), &packets_of(&ran.units[0]));
    assert!(!stream.windows(4).any(|bytes| bytes == b"x264"));
    assert_eq!(mean_luma(video_track(&ran.units[0]), &packets_of(&ran.units[0])).len(), 10);
}

/// PTS of each rendition.
trait EachPts {
    fn each_pts(&self) -> Vec<Vec<Timestamp>>;
}

impl EachPts for Vec<Vec<Unit>> {
    fn each_pts(&self) -> Vec<Vec<Timestamp>> {
        self.iter().map(|units| sorted_pts(packets_of(units))).collect()
    }
}
