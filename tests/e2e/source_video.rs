//! Sources whose pictures are odd: what the playlist, the media and the publisher see.
//!
//! Pictures are small, so that several broadcasts run beside each other. The test ladder has a rung of 640x360 that may be a copy and
//! an encoded one of 426x240; a source of 480x270 is in both.

use std::ops::Range;

use crate::broadcast::{Broadcast, test_preset};
use crate::checks;
use crate::support::boxes::Init;
use crate::support::content::{self, Expectation, Pictures};
use crate::support::flv::{Kind, Tag, repeat_parameter_sets, tags};
use crate::support::follower::{Rendition, Run};
use crate::support::machine;
use crate::support::publisher::{Feed, Status};
use crate::support::source::{Odd, Source};

/// Mean colours of areas may be off by so much of 255 after coding: a wrong matrix moves them by 20, a wrong range by 16.
const COLOUR_LIMIT: u8 = 8;

/// A broadcast through the small ladder with a rung that may be copied.
fn broadcast(odd: &Odd) -> Broadcast {
    Broadcast::record(&test_preset("auto-360p-240p"), odd.source())
}

/// An encoded rung: 4:2:0 with 8 bit, progressive, square, limited range, and its init segment says the same as its SPS.
fn assert_plain(broadcast: &Broadcast, rung: &Rendition, matrix: (&str, u16)) {
    let seen = content::probe(&broadcast.file(rung));
    let said = ["pix_fmt", "field_order", "color_range", "color_space"].map(|field| seen[field].as_str());
    assert_eq!(said, [Some("yuv420p"), Some("progressive"), Some("tv"), Some(matrix.0)], "{}: {seen}", rung.name);
    let init = Init::parse(rung.init());
    assert_eq!(init.pixel_aspect, None, "{}: pixels are square", rung.name);
    let (codes, full_range) = init.colour.unwrap_or_else(|| panic!("{}: no colr: {init:?}", rung.name));
    assert_eq!((codes[2], full_range), (matrix.1, false), "{}", rung.name);
}

/// The colours that an independent decoder makes of `rung` are those that it makes of the source.
fn assert_colours(broadcast: &Broadcast, rung: &Rendition) {
    let sent = content::colours(&broadcast.source.path);
    let shown = content::colours(&broadcast.file(rung));
    assert_eq!(shown.len(), sent.len(), "{}", rung.name);
    let apart = |n: &usize| sent[*n].iter().zip(&shown[*n]).any(|(sent, shown)| sent.abs_diff(*shown) > COLOUR_LIMIT);
    if let Some(n) = (0..sent.len()).find(apart) {
        panic!("{}: frame {n} was {:?} and is {:?}", rung.name, sent[n], shown[n]);
    }
}

fn sizes(broadcast: &Broadcast) -> Vec<(&str, (u32, u32))> {
    let variants =
        broadcast.seen.videos().map(|rung| (rung.name.as_str(), rung.variant.as_ref().expect("a variant").resolution));
    variants.collect()
}

/// A source that is converted: every rung is encoded, its pictures are whole and have the source's colours.
fn assert_converted(odd: &Odd, matrix: (&str, u16), words: &str) {
    let _turn = machine::shared(odd.name);
    let broadcast = broadcast(odd);
    assert!(broadcast.reason("360p").contains(words), "{}", broadcast.reason("360p"));
    for rung in broadcast.seen.videos() {
        assert_plain(&broadcast, rung, matrix);
        assert_colours(&broadcast, rung);
    }
    checks::everything(&broadcast);
}

#[test]
fn ten_bit_4_2_2_is_converted() {
    let options = &["-pix_fmt", "yuv422p10le", "-profile:v", "high422"];
    let odd = Odd { options, ..Odd::named("ten_bit_4_2_2_is_converted") };
    let words = "360p is encoded: the source is 4:2:2 with 10 bit; the picture is brought from 4:2:2 with 10 bit";
    assert_converted(&odd, ("smpte170m", 6), words);
}

#[test]
fn full_range_4_4_4_in_bt709_of_an_odd_size_is_converted() {
    let odd = Odd {
        size: (481, 271),
        filter: "scale=out_range=pc:out_color_matrix=bt709,format=yuv444p",
        options: &[
            "-pix_fmt",
            "yuv444p",
            "-profile:v",
            "high444",
            "-color_range",
            "pc",
            "-colorspace",
            "bt709",
            "-color_primaries",
            "bt709",
            "-color_trc",
            "bt709",
        ],
        ..Odd::named("full_range_4_4_4_in_bt709_of_an_odd_size_is_converted")
    };
    let _turn = machine::shared(odd.name);
    let broadcast = broadcast(&odd);
    assert_eq!(sizes(&broadcast), [("360p", (480, 270)), ("240p", (426, 240))], "an even number of pixels");
    assert!(broadcast.reason("360p").ends_with("to 4:2:0 with 8 bit, brought from full to limited range"));
    for rung in broadcast.seen.videos() {
        assert_plain(&broadcast, rung, ("bt709", 1));
        assert_colours(&broadcast, rung);
    }
    checks::everything(&broadcast);
}

#[test]
fn full_range_4_2_0_is_copied_as_it_is_and_encoded_with_limited_range() {
    let odd = Odd {
        filter: "scale=out_range=pc",
        options: &["-pix_fmt", "yuv420p", "-color_range", "pc", "-colorspace", "smpte170m"],
        ..Odd::named("full_range_4_2_0_is_copied_as_it_is_and_encoded_with_limited_range")
    };
    let _turn = machine::shared(odd.name);
    let broadcast = broadcast(&odd);
    assert_eq!(broadcast.reason("360p"), "360p is copied");
    assert!(broadcast.reason("240p").ends_with("; the picture is brought from full to limited range"));
    let top = broadcast.seen.rung("360p");
    assert_eq!(Init::parse(top.init()).colour.map(|(codes, full)| (codes[2], full)), Some((6, true)));
    assert_plain(&broadcast, broadcast.seen.rung("240p"), ("smpte170m", 6));
    for rung in broadcast.seen.videos() {
        assert_colours(&broadcast, rung);
    }
    checks::everything(&broadcast);
}

#[test]
fn interlaced_pictures_are_deinterlaced_once_for_all_rungs() {
    // Frames of two fields, from two pictures of a source of 50 frames/s: the upper field has the even number.
    let odd = Odd {
        rate: "50",
        fps: 25,
        size: (480, 272),
        // Each frame shows one number in both of its fields.
        filter: "split[n][m];[n]crop=iw:ih/8:0:0,framestep=2[number];[m]tinterlace=interleave_top[moving];\
                 [moving][number]overlay=0:0",
        options: &["-flags", "+ildct+ilme", "-x264-params", "tff=1", "-g", "50", "-keyint_min", "50"],
        ..Odd::named("interlaced_pictures_are_deinterlaced_once_for_all_rungs")
    };
    let _turn = machine::shared(odd.name);
    let broadcast = broadcast(&odd);
    let done = "the picture is deinterlaced (bwdif)";
    assert_eq!(broadcast.reason("360p"), format!("360p is encoded: the source is interlaced; {done}"));
    assert!(broadcast.reason("240p").ends_with(done));
    let expected = Expectation::whole(150, 6).pictures(Pictures::Numbers((0..300).step_by(2).collect()));
    for rung in broadcast.seen.videos() {
        assert_plain(&broadcast, rung, ("smpte170m", 6));
        broadcast.report(rung).assert_whole(&expected);
    }
    checks::everything_but_the_content(&broadcast);
}

#[test]
fn anamorphic_pictures_are_squared_where_they_are_encoded() {
    let odd = Odd {
        size: (360, 270),
        filter: "setsar=4/3",
        ..Odd::named("anamorphic_pictures_are_squared_where_they_are_encoded")
    };
    let _turn = machine::shared(odd.name);
    let broadcast = broadcast(&odd);
    assert_eq!(sizes(&broadcast), [("360p", (480, 270)), ("240p", (426, 240))]);
    assert_eq!(
        broadcast.reason("360p"),
        "360p is encoded: the source's pixels are not square (4:3); the picture is made of square pixels (from 4:3)"
    );
    for rung in broadcast.seen.videos() {
        assert_plain(&broadcast, rung, ("smpte170m", 6));
    }
    checks::everything(&broadcast);
}

#[test]
fn passthrough_keeps_pixels_that_are_not_square_and_says_the_size_to_show() {
    let odd = Odd {
        size: (360, 270),
        filter: "setsar=4/3",
        ..Odd::named("anamorphic_pictures_are_squared_where_they_are_encoded")
    };
    let _turn = machine::shared("passthrough_keeps_pixels_that_are_not_square_and_says_the_size_to_show");
    let broadcast = Broadcast::record("passthrough", odd.source());
    assert_eq!(sizes(&broadcast), [("source", (480, 270))]);
    let init = Init::parse(broadcast.seen.rung("source").init());
    assert_eq!((init.size, init.pixel_aspect), (Some((360, 270)), Some((4, 3))));
    checks::the_content_is_whole(&broadcast);
    checks::segments_say_what_they_hold(&broadcast);
}

/// A plain source of another size or rate: it is in these rungs, of which the first is a copy if it may be one.
fn assert_carried(odd: &Odd, expected: &[(&str, (u32, u32))]) -> Broadcast {
    let broadcast = broadcast(odd);
    assert_eq!(sizes(&broadcast), expected);
    checks::everything(&broadcast);
    broadcast
}

#[test]
fn a_tiny_picture_keeps_its_size() {
    let odd = Odd { size: (64, 48), ..Odd::named("a_tiny_picture_keeps_its_size") };
    let _turn = machine::shared(odd.name);
    assert_carried(&odd, &[("240p", (64, 48))]);
}

#[test]
fn one_macroblock_is_a_picture_too() {
    let odd = Odd { size: (16, 16), ..Odd::named("one_macroblock_is_a_picture_too") };
    let _turn = machine::shared(odd.name);
    let broadcast = broadcast(&odd);
    assert_eq!(sizes(&broadcast), [("240p", (16, 16))]);
    // Too small for numbers; the flash is seen.
    let expected = Expectation::whole(180, 6).pictures(Pictures::Count(180));
    broadcast.report(broadcast.seen.rung("240p")).assert_whole(&expected);
    checks::everything_but_the_content(&broadcast);
}

#[test]
fn a_portrait_turns_the_boxes() {
    let odd = Odd { size: (270, 480), ..Odd::named("a_portrait_turns_the_boxes") };
    let _turn = machine::shared(odd.name);
    let broadcast = assert_carried(&odd, &[("360p", (270, 480)), ("240p", (240, 426))]);
    assert_eq!(broadcast.reason("360p"), "360p is copied");
}

#[test]
fn one_frame_a_second_is_a_broadcast() {
    let odd = Odd { rate: "1", fps: 1, seconds: 10, ..Odd::named("one_frame_a_second_is_a_broadcast") };
    let _turn = machine::shared(odd.name);
    let broadcast = broadcast(&odd);
    // Every picture is a flash.
    let expected = Expectation { flashes: Some(1), beeps: None, ..Expectation::whole(10, 10) };
    for rung in broadcast.seen.videos() {
        assert_eq!(rung.variant.as_ref().and_then(|variant| variant.frame_rate_milli), Some(1_000));
        broadcast.report(rung).assert_whole(&expected);
    }
    checks::everything_but_the_content(&broadcast);
}

/// NTSC rates: each frame at its time, and the playlist says the rate.
fn assert_ntsc(odd: &Odd, milli: u64) {
    let _turn = machine::shared(odd.name);
    let broadcast = broadcast(odd);
    for rung in broadcast.seen.videos() {
        assert_eq!(rung.variant.as_ref().and_then(|variant| variant.frame_rate_milli), Some(milli), "{}", rung.name);
    }
    checks::the_content_is_whole(&broadcast);
    checks::segments_say_what_they_hold(&broadcast);
    checks::rungs_are_cut_at_equal_times(&broadcast);
}

#[test]
fn film_at_23_976_frames_keeps_its_rate() {
    assert_ntsc(&Odd { rate: "24000/1001", fps: 24, ..Odd::named("film_at_23_976_frames_keeps_its_rate") }, 23_976);
}

#[test]
fn video_at_59_94_frames_keeps_its_rate() {
    assert_ntsc(&Odd { rate: "60000/1001", fps: 60, ..Odd::named("video_at_59_94_frames_keeps_its_rate") }, 59_940);
}

#[test]
fn one_hundred_and_twenty_frames_are_thinned_to_sixty() {
    let odd = Odd { rate: "120", fps: 120, ..Odd::named("one_hundred_and_twenty_frames_are_thinned_to_sixty") };
    let _turn = machine::shared(odd.name);
    let broadcast = broadcast(&odd);
    assert_eq!(
        broadcast.reason("360p"),
        "360p is encoded: the source has 120 frames/s, more than 60; the picture is thinned from 120 to at most 60 frames/s"
    );
    let expected = Expectation::whole(0, 6).pictures(Pictures::Numbers((0..720).step_by(2).collect()));
    for rung in broadcast.seen.videos() {
        assert_eq!(rung.variant.as_ref().and_then(|variant| variant.frame_rate_milli), Some(60_000), "{}", rung.name);
        broadcast.report(rung).assert_whole(&expected);
    }
    checks::segments_say_what_they_hold(&broadcast);
}

#[test]
fn a_variable_frame_rate_keeps_every_frame_at_its_time() {
    // Of each second, the first 10 frames of 30, then every fourth.
    let odd = Odd {
        filter: "select='lt(mod(n,30),10)+not(mod(n,4))'",
        options: &["-fps_mode", "vfr", "-force_key_frames", "expr:gte(t,n_forced*2)", "-g", "600"],
        ..Odd::named("a_variable_frame_rate_keeps_every_frame_at_its_time")
    };
    let _turn = machine::shared(odd.name);
    let broadcast = broadcast(&odd);
    let kept: Vec<u32> = (0..180).filter(|n| n % 30 < 10 || n % 4 == 0).collect();
    let expected = Expectation::whole(0, 6).pictures(Pictures::Numbers(kept.clone()));
    for rung in broadcast.seen.videos() {
        let report = broadcast.report(rung);
        report.assert_whole(&expected);
        let began = report.times_us[0];
        for (number, time) in kept.iter().zip(&report.times_us) {
            let sent = i64::from(*number) * 1_000_000 / 30;
            assert!((time - began - sent).abs() <= 1_000, "{}: frame {number} at {} us", rung.name, time - began);
        }
    }
    checks::segments_say_what_they_hold(&broadcast);
    checks::rungs_are_cut_at_equal_times(&broadcast);
    checks::all_renditions_decode_silently(&broadcast);
}

/// Seconds of each part of a source that changes. A part begins half a second in, so that no beep lies at a change: the encoder of
/// sound begins anew there, and fades in.
pub const PART_SECONDS: u32 = 4;

/// A part of a source that changes: one second longer, with a keyframe each half second.
fn part(name: &'static str, size: (u32, u32), options: &'static [&'static str]) -> Source {
    Odd { seconds: PART_SECONDS + 1, size, options, ..Odd::named(name) }.source()
}

/// How much later than decoded the first picture is shown.
fn reordered_ms(tags: &[Tag]) -> usize {
    let first = tags.iter().find(|tag| tag.is_picture()).expect("a picture");
    usize::try_from(first.composition_ms()).expect("it is not shown before it is decoded")
}

/// Numbers of the pictures of a part.
pub fn numbers(part: &Source) -> Range<u32> {
    let first = part.fps / 2;
    first..first + PART_SECONDS * part.fps
}

/// The pictures of `parts`, one behind the other, with the sound of one long source.
pub fn spliced(parts: &[&Source]) -> (Source, Feed) {
    const HALF_MS: i64 = 500;
    let part_ms = 1_000 * i64::from(PART_SECONDS);
    let seconds = PART_SECONDS * parts.len() as u32;
    let long = tags(&Odd { seconds: seconds + 1, ..Odd::named("sound") }.source());
    // How much later than its stamp a source's first picture is shown: made equal, so that pictures do not overlap.
    let shown = |tags: &[Tag]| {
        let first = tags.iter().find(|tag| tag.is_picture()).expect("a picture");
        i64::from(first.stamp_ms) + i64::from(first.composition_ms())
    };
    let moved = |mut tag: Tag, ms: i64| {
        tag.move_stamp(ms);
        tag
    };
    // Sound goes on for as long as pictures are shown.
    let heard = HALF_MS..HALF_MS + part_ms * parts.len() as i64 + shown(&long);
    let sound = long.iter().filter(|tag| tag.is_sound() && heard.contains(&i64::from(tag.stamp_ms)));
    let mut all: Vec<Tag> = sound.map(|tag| moved(tag.clone(), -HALF_MS)).collect();
    all.extend(long.iter().filter(|tag| tag.kind == Kind::Audio && tag.is_config()).cloned());
    for (begins_ms, part) in (0..).step_by(part_ms as usize).zip(parts) {
        let tags = tags(part);
        let late = begins_ms - HALF_MS + shown(&long) - shown(&tags);
        let kept = numbers(part);
        let mut pictures = tags.iter().filter(|tag| tag.is_picture()).skip(kept.start as usize).take(kept.len());
        let first = moved(pictures.next().expect("a picture").clone(), late);
        let config = tags.iter().find(|tag| is_video_config(tag)).expect("a configuration");
        all.push(Tag { stamp_ms: first.stamp_ms, ..config.clone() });
        all.push(first);
        all.extend(pictures.map(|tag| moved(tag.clone(), late)));
    }
    all.iter_mut().for_each(|tag| tag.due_ms = u64::from(tag.stamp_ms));
    // A configuration comes before what has the same stamp.
    all.sort_by_key(|tag| (tag.due_ms, !tag.is_config()));
    (Source { seconds, ..parts[0].clone() }, Feed::from(all))
}

fn is_video_config(tag: &Tag) -> bool {
    tag.is_config() && tag.kind == Kind::Video
}

/// Sizes and profiles of a rung's runs.
fn forms(rung: &Rendition) -> Vec<((u16, u16), u8)> {
    let form = |run: &Run<'_>| {
        let init = Init::parse(run.init);
        (init.size.expect("video"), init.avc.expect("video")[0])
    };
    rung.runs().iter().map(form).collect()
}

/// Nothing but hello and goodbye: the source was served.
fn assert_welcome(told: &[Status]) {
    let codes: Vec<_> = told.iter().map(|status| status.code.as_str()).collect();
    assert_eq!(codes, ["NetStream.Publish.Start", "NetStream.Unpublish.Success"], "{told:?}");
}

/// What holds for every source that changes: the pictures of all parts, one discontinuity for each change in every rendition.
fn assert_changes(broadcast: &Broadcast, parts: &[&Source]) {
    let numbers = parts.iter().flat_map(|part| numbers(part)).collect();
    let whole = Expectation::whole(0, broadcast.source.seconds).pictures(Pictures::Numbers(numbers));
    // Behind a discontinuity nothing lies before its first picture, so that sound which was sent behind that picture and is heard
    // before it is left out.
    let left_out_ms: usize = parts[1..].iter().map(|part| reordered_ms(&tags(part))).sum();
    let expected = Expectation { sound_ms: whole.sound_ms - left_out_ms, ..whole };
    for rung in broadcast.seen.videos() {
        broadcast.report(rung).assert_whole(&expected);
    }
    for rendition in &broadcast.seen.renditions {
        let entries = rendition.segments.iter().map(|segment| &segment.entry);
        let breaks: Vec<_> = entries.clone().filter(|entry| entry.discontinuity).collect();
        assert_eq!(breaks.len(), parts.len() - 1, "{}: {breaks:?}", rendition.name);
        assert!(entries.clone().all(|entry| !entry.gap), "{}: nothing is missing", rendition.name);
    }
}

#[test]
fn a_source_that_shrinks_and_changes_its_profile_is_carried_as_it_is() {
    let large = part("large", (480, 270), &["-g", "15"]);
    let small = part("small", (320, 180), &["-g", "15"]);
    let baseline = part("baseline", (320, 180), &["-g", "15", "-profile:v", "baseline", "-bf", "0"]);
    let _turn = machine::shared("a_source_that_shrinks_and_changes_its_profile_is_carried_as_it_is");
    let parts = [&large, &small, &baseline];
    let (source, feed) = spliced(&parts);
    let (broadcast, told) = Broadcast::record_feed(&test_preset("auto-360p-240p"), source, feed);
    assert_welcome(&told);
    assert_changes(&broadcast, &parts);
    let top = forms(broadcast.seen.rung("360p"));
    assert_eq!(top, [((480, 270), 100), ((320, 180), 100), ((320, 180), 66)], "copied, at the source's size");
    let low: Vec<_> = forms(broadcast.seen.rung("240p")).into_iter().map(|(size, _)| size).collect();
    assert_eq!(low, [(426, 240), (320, 180), (320, 180)]);
    let inits = broadcast.seen.rung("240p").inits.len();
    assert_eq!(inits, 2, "an encoder that makes the same again needs no new init segment");
}

#[test]
fn a_source_that_grows_uses_the_rungs_that_there_are_and_is_no_copy_any_more() {
    let small = part("large", (480, 270), &["-g", "15"]);
    let large = part("grown", (960, 540), &["-g", "15"]);
    let _turn = machine::shared("a_source_that_grows_uses_the_rungs_that_there_are_and_is_no_copy_any_more");
    let parts = [&small, &large];
    let (source, feed) = spliced(&parts);
    let (broadcast, told) = Broadcast::record_feed(&test_preset("auto-360p-240p"), source, feed);
    assert_welcome(&told);
    assert_changes(&broadcast, &parts);
    let reason = "360p is encoded from here on: the source is larger (960x540)";
    assert!(broadcast.log.contains(reason), "{}", broadcast.log);
    let sizes = |rung| forms(broadcast.seen.rung(rung)).into_iter().map(|(size, _)| size).collect::<Vec<_>>();
    assert_eq!((sizes("360p"), sizes("240p")), (vec![(480, 270), (640, 360)], vec![(426, 240), (426, 240)]));
}

#[test]
fn another_frame_rate_is_one_discontinuity_and_keeps_every_frame() {
    let of_rate =
        |name, rate, fps, options| Odd { rate, fps, options, seconds: PART_SECONDS + 1, ..Odd::named(name) }.source();
    // Without B-frames, so that the parts' decoding times do not overlap.
    let usual = of_rate("usual", "30", 30, &["-g", "15", "-bf", "0"]);
    let fast = of_rate("fast", "60", 60, &["-g", "30", "-bf", "0"]);
    let slow = of_rate("slow", "10", 10, &["-g", "5", "-bf", "0"]);
    let _turn = machine::shared("another_frame_rate_is_one_discontinuity_and_keeps_every_frame");
    let parts = [&usual, &fast, &slow];
    let (source, feed) = spliced(&parts);
    let (broadcast, told) = Broadcast::record_feed(&test_preset("auto-360p-240p"), source, feed);
    assert_welcome(&told);
    assert_changes(&broadcast, &parts);
    for rung in broadcast.seen.videos() {
        let report = broadcast.report(rung);
        let times = &report.times_us;
        let mut first = 0;
        for part in parts {
            let frame_us = 1_000_000 / i64::from(part.fps);
            let last = first + numbers(part).len() - 1;
            let steps = times[first..=last].windows(2).map(|pair| pair[1] - pair[0]);
            // Stamps of RTMP are whole milliseconds.
            let worst = steps.map(|step| (step - frame_us).abs()).max();
            assert!(worst <= Some(1_001), "{}: steps of {} frames/s are off by {worst:?} us", rung.name, part.fps);
            first = last + 1;
        }
        // A picture is shown until the next part begins: about as long as its own frames last.
        let longest = report.longest_pause_us();
        assert!(longest <= 102_000, "{}: a pause of {longest} us", rung.name);
    }
}

/// Takes the sequence header away.
fn without_sequence_header(tags: &mut Vec<Tag>) {
    tags.retain(|tag| !is_video_config(tag));
}

#[test]
fn parameter_sets_in_band_are_enough() {
    let source = Odd::named("plain").source();
    let _turn = machine::shared("parameter_sets_in_band_are_enough");
    // The encoder joins in the middle of a group: sound first, pictures that cannot be decoded, then a keyframe with its sets.
    let feed = Feed::of(&source).edit(|tags| repeat_parameter_sets(tags)).edit(without_sequence_header).edit(|tags| {
        let keyframe = tags.iter().position(Tag::is_keyframe).expect("a keyframe");
        tags.remove(keyframe);
    });
    let (broadcast, told) = Broadcast::record_feed(&test_preset("auto-360p-240p"), source, feed);
    assert_welcome(&told);
    let kept = 60..180;
    let expected = Expectation::whole(0, 4).pictures(Pictures::Numbers(kept.collect()));
    for rung in broadcast.seen.videos() {
        broadcast.report(rung).assert_whole(&expected);
    }
    checks::everything_but_the_content(&broadcast);
}

#[test]
fn pictures_without_any_parameter_sets_are_refused_in_words() {
    use crate::support::daemon::Home;
    use crate::support::publisher::RawPublisher;
    // More media behind the 12 s of patience than fit into the session's queue, so that the goodbye cannot be read before the verdict.
    let source = Odd { seconds: 30, ..Odd::named("long") }.source();
    let _turn = machine::shared("pictures_without_any_parameter_sets_are_refused_in_words");
    let home = Home::new(test_preset("auto-360p-240p"));
    let credentials = home.credentials();
    let daemon = home.serve();
    let feed = Feed::of(&source).edit(without_sequence_header).at_percent(400);
    let publisher = RawPublisher::start(daemon.rtmp, &credentials.secret, feed);
    let told = publisher.wait_until_closed(source.limit());
    let last = told.last().expect("words");
    assert_eq!((last.level.as_str(), last.code.as_str()), ("error", "NetStream.Publish.Rejected"), "{told:?}");
    assert!(last.description.contains("pictures came without parameter sets (SPS and PPS)"), "{told:?}");
    daemon.stop();
}
