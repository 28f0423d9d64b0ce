//! The video half of the ladder, with real x264 on small pictures: frames, cuts, breaks, caps, formats, failures.

#[path = "support/ladder.rs"]
mod ladder;

use bytes::Bytes;
use ladder::{
    Feed, Ran, SEGMENT, START, Source, annex_b, break_at, combs, cut, cuts_of, mean_luma, nals, packets_of, preset,
    probe, run, script, shape, sorted_pts, tracks_of, video,
};
use millstream::config::preset::Preset;
use millstream::flow::stage::Outcome;
use millstream::media::{Cut, CutKind, Packet, Span, Timestamp, Track, Unit, VideoTrack};

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

/// What every encoded rung says of its pictures, with `matrix` of H.273 in ffprobe's word.
fn assert_says(units: &[Unit], size: (u32, u32), matrix: &str) {
    let track = video_track(units);
    assert_eq!((track.width, track.height, track.sample_aspect, track.plain), (size.0, size.1, (1, 1), true));
    let text = probe(track, &packets_of(units), "pix_fmt,field_order,color_range,color_space");
    let said = format!("pix_fmt=yuv420p\ncolor_range=tv\ncolor_space={matrix}\nfield_order=progressive\n");
    assert_eq!(text, said, "{size:?}");
}

#[test]
fn odd_sizes_and_rich_formats_become_plain_and_say_what_they_are() {
    let odd_444 = "-pix_fmt yuv444p -color_range pc -colorspace bt709 -color_primaries bt709 -color_trc bt709";
    for (size, more, expected, words) in [
        (
            "321x181",
            odd_444,
            (320, 180, "bt709"),
            "4:4:4 with 8 bit to 4:2:0 with 8 bit, brought from full to limited range",
        ),
        ("320x180", "-pix_fmt yuv422p10le", (320, 180, "smpte170m"), "4:2:2 with 10 bit to 4:2:0 with 8 bit"),
        ("320x180", "-pix_fmt yuvj420p -colorspace smpte170m", (320, 180, "smpte170m"), "full to limited range"),
        (
            "320x180",
            "-pix_fmt gray",
            (320, 180, "smpte170m"),
            "monochrome with 8 bit to 4:2:0 with 8 bit, brought from full to limited range",
        ),
        ("1280x64", "-pix_fmt yuv444p10le", (640, 32, "bt709"), "4:4:4 with 10 bit to 4:2:0 with 8 bit"),
    ] {
        let source = video(&moving(size, 30, 8, more), Span::ZERO);
        let ran = run(
            &preset(&[("same", 640, 360, ""), ("half", 160, 90, "")]),
            Some(whole(&source, &[cut(0, at(0))])),
            None,
            Feed::Patiently,
        );
        check_order(&ran);
        let reason = ran.plan.reasons[0].to_string();
        assert!(reason.ends_with(&format!("; the picture is brought from {words}")), "{reason}");
        let truth = mean_luma(&source.track, &source.packets.iter().collect::<Vec<_>>());
        for (units, half) in ran.units.iter().zip([false, true]) {
            let whole = (expected.0, expected.1);
            let size = if half { millstream::transcode::plan::fit((160, 90), whole) } else { whole };
            assert_says(units, size, expected.2);
            let lumas = mean_luma(video_track(units), &packets_of(units));
            assert_eq!(lumas.len(), 8);
            for (found, sent) in lumas.iter().zip(&truth) {
                assert!(found.abs_diff(*sent) <= 3, "{size:?} {more}: {found} for {sent}");
            }
        }
    }
}

#[test]
fn rgb_becomes_limited_yuv_that_says_so() {
    let rgb =
        "-f lavfi -i color=c=0x40c020:s=160x90:r=30 -frames:v 4 -vf format=gbrp -c:v libx264rgb -pix_fmt gbrp -qp 0";
    for encoder in ["libx264rgb", "libx264"] {
        let text = rgb
            .replace("libx264rgb", encoder)
            .replace("gbrp -qp", if encoder == "libx264" { "yuv444p -qp" } else { "bgr24 -qp" });
        let source = video(&text, Span::ZERO);
        let ran = run(&preset(&[("a", 160, 90, "")]), Some(whole(&source, &[cut(0, at(0))])), None, Feed::Patiently);
        check_order(&ran);
        assert_says(&ran.units[0], (160, 90), "smpte170m");
        // Green with a little red, in BT.601: 0.299 * 64 + 0.587 * 192 + 0.114 * 32 = 135.
        let luma = mean_luma(video_track(&ran.units[0]), &packets_of(&ran.units[0]))[0];
        assert!(luma.abs_diff(135) <= 3, "{encoder}: {luma}");
    }
}

#[test]
fn pixels_are_squared_and_the_size_shown_is_what_must_fit() {
    for (size, aspect, sizes, words) in [
        ("360x288", "64/45", [(512, 288), (160, 90)], "made of square pixels (from 64:45)"),
        ("320x180", "1/2", [(160, 180), (102, 114)], "made of square pixels (from 1:2)"),
    ] {
        let source = video(&moving(size, 25, 6, &format!("-vf setsar={aspect}")), Span::ZERO);
        let rungs = preset(&[("top", 640, 360, "mode = \"auto\""), ("low", 160, 102, "")]);
        let ran = run(&rungs, Some(whole(&source, &[cut(0, at(0))])), None, Feed::Patiently);
        check_order(&ran);
        let reason = ran.plan.reasons[0].to_string();
        assert!(reason.contains("encoded: the source's pixels are not square") && reason.ends_with(words), "{reason}");
        for (units, size) in ran.units.iter().zip(sizes) {
            assert_says(units, size, "smpte170m");
            assert_eq!(packets_of(units).len(), 6);
        }
    }
}

#[test]
fn fields_become_frames_one_for_one_at_their_own_times() {
    // Two fields of different moments in a frame: comes out as combs if they are only woven. The detector takes some edges for combs.
    let woven = "-f lavfi -i testsrc2=s=320x180:r=50 -vf tinterlace=interleave_top -frames:v 50 -c:v libx264 -preset ultrafast \
                 -flags +ildct+ilme -x264-params tff=1 -bf 2 -g 25 -sc_threshold 0";
    let source = video(woven, Span::ZERO);
    let cuts = [cut(0, at(0)), cut(1, at(1_000))];
    let ran = run(
        &preset(&[("top", 320, 180, "mode = \"auto\""), ("low", 160, 90, "")]),
        Some(whole(&source, &cuts)),
        None,
        Feed::Patiently,
    );
    check_order(&ran);
    let reasons: Vec<_> = ran.plan.reasons.iter().map(ToString::to_string).collect();
    let done = "the picture is deinterlaced (bwdif)";
    assert_eq!(
        reasons,
        [
            format!("top is encoded: the source is interlaced; {done}"),
            format!("low is encoded, as the preset says; {done}")
        ]
    );
    let expected = sorted_pts(&source.packets);
    for (units, size) in ran.units.iter().zip([(320, 180), (160, 90)]) {
        assert_says(units, size, "smpte170m");
        let packets = packets_of(units);
        assert_eq!(sorted_pts(packets.iter().copied()), expected, "each frame once, at its own time");
        let idrs: Vec<Timestamp> = packets.iter().filter(|packet| packet.keyframe).map(|packet| packet.pts).collect();
        assert_eq!(idrs, [at(0), at(1_000)]);
    }
    let (before, after) = (
        combs(&source.track, &source.packets.iter().collect::<Vec<_>>()),
        combs(video_track(&ran.units[0]), &packets_of(&ran.units[0])),
    );
    assert!(before > 40 && after <= 5, "{before} of 50 frames were interlaced, {after} are");
}

#[test]
fn frame_rates_above_sixty_are_thinned_by_a_whole_number_and_others_are_kept() {
    for (rate, kept_one_of, (num, den)) in [
        ("120", 2, (60, 1)),
        ("60000/1001", 1, (60_000, 1_001)),
        ("60", 1, (60, 1)),
        ("24000/1001", 1, (24_000, 1_001)),
        ("15", 1, (15, 1)),
    ] {
        let text = format!(
            "-f lavfi -i testsrc2=s=160x90:r={rate} -frames:v 24 -c:v libx264 -preset ultrafast -bf 2 -g 24 -sc_threshold 0"
        );
        let source = video(&text, Span::ZERO);
        let rungs = preset(&[("top", 160, 90, "mode = \"auto\""), ("low", 80, 44, "")]);
        let ran = run(&rungs, Some(whole(&source, &[cut(0, at(0))])), None, Feed::Patiently);
        check_order(&ran);
        assert_eq!(ran.plan.copied.is_some(), kept_one_of == 1, "{rate}");
        let expected: Vec<_> = sorted_pts(&source.packets).into_iter().step_by(kept_one_of).collect();
        let low = &ran.units[1];
        assert_eq!(sorted_pts(packets_of(low)), expected, "{rate}");
        assert_eq!(video_track(low).frame_rate, Some((num, den)));
        assert_eq!(ran.plan.renditions[1].frame_rate, Some((num, den)));
        assert_eq!(
            ran.plan.reasons[0].to_string().contains("thinned from"),
            kept_one_of > 1,
            "{rate}: {}",
            ran.plan.reasons[0]
        );
    }
}

#[test]
fn tiny_and_cropped_pictures_are_carried_at_their_size() {
    for size in [(16, 16), (64, 48), (34, 18), (322, 182), (96, 160)] {
        let source = video(&moving(&format!("{}x{}", size.0, size.1), 30, 8, ""), Span::ZERO);
        assert_eq!((source.track.width, source.track.height), size, "cropped in the SPS");
        let ran = run(&preset(&[("a", 640, 360, "")]), Some(whole(&source, &[cut(0, at(0))])), None, Feed::Patiently);
        check_order(&ran);
        assert_says(&ran.units[0], size, "smpte170m");
        let truth = mean_luma(&source.track, &source.packets.iter().collect::<Vec<_>>());
        let found = mean_luma(video_track(&ran.units[0]), &packets_of(&ran.units[0]));
        assert!(found.len() == 8 && found.iter().zip(&truth).all(|(a, b)| a.abs_diff(*b) <= 4), "{found:?} {truth:?}");
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

/// The packets as ingest hands them on when each stamp is off by up to `limit_ms`: DTS rises, PTS is not before it.
fn jittered(packets: &[Packet], limit_ms: i64) -> Vec<Packet> {
    let mut last = None;
    let jitter = |(n, packet): (i64, &Packet)| {
        let by = Span::from_millis((n * 7_919) % (2 * limit_ms + 1) - limit_ms);
        let earliest = last.map_or(START, |last| last + Span::from_millis(1));
        let dts = earliest.max(packet.dts + by);
        last = Some(dts);
        Packet { dts, pts: dts.max(packet.pts + by), ..packet.clone() }
    };
    (0..).zip(packets).map(jitter).collect()
}

#[test]
fn pictures_whose_stamps_jitter_have_their_bits() {
    // Behind the first two seconds, when the rate control knows the source.
    let sizes = |packets: &[Packet], track: &VideoTrack| {
        let units = with_end(script(Track::Video(track.clone()), packets, &[cut(0, START)]));
        let ran = run(&preset(&[("small", 320, 180, "")]), Some(units), None, Feed::Patiently);
        check_order(&ran);
        let mut made: Vec<(Timestamp, usize)> =
            packets_of(&ran.units[0]).iter().map(|it| (it.pts, it.data.len())).collect();
        made.sort_unstable();
        made.split_off(60)
    };
    let source = video(&moving("640x360", 30, 240, ""), Span::from_millis(100));
    let plain = sizes(&source.packets, &source.track);
    for limit_ms in [20, 40] {
        let made = sizes(&jittered(&source.packets, limit_ms), &source.track);
        assert_eq!(made.len(), plain.len(), "{limit_ms} ms");
        let share = made.iter().zip(&plain).map(|(jittered, plain)| jittered.1 * 100 / plain.1).min().expect("many");
        assert!(share >= 50, "{limit_ms} ms: a picture has {share} % of its bits");
        // Nor do they leave the sound.
        let late: Span = made.iter().zip(&plain).map(|(jittered, plain)| jittered.0 - plain.0).sum();
        assert!((late.to_millis() / made.len() as i64).abs() <= 10, "{limit_ms} ms: {late} in all");
    }
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
    let source = video(&moving("160x90", 30, 180, ""), Span::ZERO);
    let cuts: Vec<Cut> = (0..6).map(|n| cut(n, at(1_000 * i64::try_from(n).expect("few")))).collect();
    let ran =
        run(&preset(&[("a", 160, 90, ""), ("b", 80, 44, "")]), Some(whole(&source, &cuts)), None, Feed::AllAtOnce);
    check_order(&ran);
    let pts = ran.units.each_pts();
    assert_eq!(pts[0], pts[1], "the same frames are left in every rung");
    assert!(ran.stats.shed_frames > 30, "six seconds wait: {} shed", ran.stats.shed_frames);
    assert_eq!(ran.stats.shed_frames + pts[0].len() as u64, 180);
    assert!(!ran.stats.overloaded, "in the end there is no backlog");
    for units in &ran.units {
        assert_eq!(cuts_of(units), cuts.iter().collect::<Vec<_>>());
        assert!((0..6).all(|second| sorted_pts(packets_of(units)).contains(&at(1_000 * second))));
        // Segments are as long as their cuts are apart, whatever was dropped in between.
        let idrs = packets_of(units).into_iter().filter(|packet| packet.keyframe);
        let leads: Vec<_> = idrs.map(|idr| idr.pts - idr.dts).collect();
        assert_eq!(leads, [Span::from_units(2, 30); 6]);
    }
}

#[test]
fn a_segment_behind_a_break_begins_as_far_before_its_picture_as_any_other() {
    let source = video(&moving("160x90", 30, 180, ""), Span::ZERO);
    let cuts = [cut(0, at(0)), break_at(1, at(1_000)), cut(2, at(2_000)), cut(3, at(3_000)), cut(4, at(4_000))];
    let ran = run(&preset(&[("a", 160, 90, "")]), Some(whole(&source, &cuts)), None, Feed::AllAtOnce);
    check_order(&ran);
    assert!(ran.stats.shed_frames > 30, "{} shed", ran.stats.shed_frames);
    let idrs = packets_of(&ran.units[0]).into_iter().filter(|packet| packet.keyframe);
    let leads: Vec<_> = idrs.map(|idr| idr.pts - idr.dts).collect();
    assert_eq!(leads, [Span::from_units(2, 30); 5]);
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
    let patience = millstream::transcode::Patience::default();
    let inputs = millstream::transcode::TranscodeInputs { video: Some(receiver), audio: None, patience };
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
