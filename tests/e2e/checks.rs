//! Questions that every broadcast must answer well.

use crate::broadcast::Broadcast;
use crate::support::boxes::{self, Init, Sample};
use crate::support::content::{self, Expectation};
use crate::support::follower::Rendition;

/// All of them.
pub fn everything(broadcast: &Broadcast) {
    everything_but_the_content(broadcast);
    the_content_is_whole(broadcast);
}

/// All but the content check, of which some sources expect less.
pub fn everything_but_the_content(broadcast: &Broadcast) {
    segments_say_what_they_hold(broadcast);
    rungs_are_cut_at_equal_times(broadcast);
    the_multivariant_playlist_is_true(broadcast);
    all_renditions_decode_silently(broadcast);
}

/// The content check of every rung with the sound: each frame of the source once and in order, no black, each second its flash and
/// its beep within 20 ms of each other, no hole in the sound.
pub fn the_content_is_whole(broadcast: &Broadcast) {
    let expected = Expectation::whole(broadcast.source.frames(), broadcast.source.seconds);
    for rung in broadcast.seen.videos() {
        broadcast.report(rung).assert_whole(&expected);
    }
}

/// EXTINF is the sum of the sample durations, decoding time goes on without a step, segments begin where decoding may begin.
pub fn segments_say_what_they_hold(broadcast: &Broadcast) {
    for rendition in &broadcast.seen.renditions {
        let name = &rendition.name;
        let init = Init::parse(rendition.init());
        assert!(!init.edit_list, "{name}: a live rendition has no edit list");
        let mut expected_dts = None;
        for segment in &rendition.segments {
            let entry = &segment.entry;
            assert!(!entry.gap, "{name}: segment {} is a gap in an unbroken broadcast", entry.msn);
            assert!(!entry.discontinuity || entry.msn == 0, "{name}: segment {} is a discontinuity", entry.msn);
            assert!(!entry.wall.is_empty(), "{name}: segment {} has no PROGRAM-DATE-TIME", entry.msn);
            let samples = boxes::samples(&segment.bytes);
            let first = samples.first().unwrap_or_else(|| panic!("{name}: segment {} is empty", entry.msn));
            assert!(expected_dts.is_none_or(|dts| dts == first.dts), "{name}: {}: {expected_dts:?}", entry.msn);
            expected_dts = Some(contiguous_end(name, &samples));
            let units: u64 = samples.iter().map(|sample| u64::from(sample.duration)).sum();
            let exact_us = units * 1_000_000 / u64::from(init.timescale);
            // Five decimals are written: half of the last one, and one for our own division.
            assert!(entry.duration_us.abs_diff(exact_us) <= 6, "{name}: {}: {exact_us} us: {entry:?}", entry.msn);
            assert!(first.sync, "{name}: segment {} begins with a sample that needs others", entry.msn);
        }
        assert!(rendition.samples().iter().all(|sample| sample.pts >= 0), "{name}: a negative time");
    }
}

/// Asserts that each sample begins where the one before it ended, and returns the end of the last.
fn contiguous_end(name: &str, samples: &[Sample]) -> u64 {
    for pair in samples.windows(2) {
        assert_eq!(pair[0].dts + u64::from(pair[0].duration), pair[1].dts, "{name}: decoding time makes a step");
    }
    samples.last().map(|last| last.dts + u64::from(last.duration)).expect("a segment has samples")
}

/// The same MSNs in all renditions, beginning at the same presentation time and with the same PROGRAM-DATE-TIME; audio begins
/// with its first frame that is not before the picture.
pub fn rungs_are_cut_at_equal_times(broadcast: &Broadcast) {
    let starts = |rendition: &Rendition| -> Vec<(u64, String, i64)> {
        let timescale = i64::from(rendition.timescale());
        let start = |bytes: &[u8]| boxes::samples(bytes).iter().map(|sample| sample.pts).min().expect("samples");
        let segments = rendition.segments.iter();
        let flicks = segments.map(|segment| start(&segment.bytes) * (705_600_000 / timescale));
        let entries = rendition.segments.iter().map(|segment| &segment.entry);
        entries.zip(flicks).map(|(entry, flicks)| (entry.msn, entry.wall.clone(), flicks)).collect()
    };
    let rungs: Vec<_> = broadcast.seen.videos().map(|rung| (&rung.name, starts(rung))).collect();
    for (name, rung) in &rungs[1..] {
        assert_eq!(rung, &rungs[0].1, "{name} is cut where {} is", rungs[0].0);
    }
    let audio = starts(broadcast.seen.audio());
    assert_eq!(audio.len(), rungs[0].1.len(), "audio has as many segments as video");
    let frame = 1_024 * 705_600_000 / i64::from(broadcast.seen.audio().timescale());
    for ((msn, wall, video), (audio_msn, audio_wall, audio)) in rungs[0].1.iter().zip(&audio) {
        assert_eq!((audio_msn, audio_wall), (msn, wall));
        // Where the session begins, sound may begin before or after the picture; every other cut falls into running sound.
        let late = audio - video;
        assert!(*msn == 0 || (0..frame).contains(&late), "segment {msn}: audio begins {late} flicks after the cut");
    }
}

/// CODECS, RESOLUTION, FRAME-RATE and BANDWIDTH say what the media holds.
pub fn the_multivariant_playlist_is_true(broadcast: &Broadcast) {
    let audio = broadcast.seen.audio();
    let heard = content::probe(&broadcast.file(audio));
    assert_eq!((&heard["codec_name"], &heard["profile"]), (&"aac".into(), &"LC".into()), "{heard}");
    let audio_peak = peak_bits_per_second(audio);
    for rung in broadcast.seen.videos() {
        let variant = rung.variant.as_ref().expect("a video rung has a variant");
        let seen = content::probe(&broadcast.file(rung));
        let [profile, constraints, level] = Init::parse(rung.init()).avc.expect("avc1 with avcC");
        assert_eq!(variant.codecs, [format!("avc1.{profile:02x}{constraints:02x}{level:02x}"), "mp4a.40.2".to_owned()]);
        let idc = match seen["profile"].as_str() {
            Some("High") => 100,
            Some("Main") => 77,
            Some("Baseline" | "Constrained Baseline") => 66,
            other => panic!("{}: profile {other:?}", rung.name),
        };
        assert_eq!((seen["level"].as_u64(), idc), (Some(u64::from(level)), profile), "{}: {seen}", rung.name);
        let (width, height) = variant.resolution;
        assert_eq!((&seen["width"], &seen["height"]), (&width.into(), &height.into()), "{}", rung.name);
        let rate = u64::from(broadcast.source.fps) * 1_000;
        assert_eq!(variant.frame_rate_milli, Some(rate), "{}", rung.name);
        let peak = peak_bits_per_second(rung) + audio_peak;
        assert!(peak <= variant.bandwidth, "{}: {peak} bit/s, promised {}", rung.name, variant.bandwidth);
    }
}

/// The highest bitrate of a segment; the last one may be a fraction of a second and promises nothing.
fn peak_bits_per_second(rendition: &Rendition) -> u64 {
    let whole = rendition.segments.len().saturating_sub(1).max(1);
    let segments = rendition.segments.iter().take(whole);
    let rates = segments.map(|segment| segment.bytes.len() as u64 * 8 * 1_000_000 / segment.entry.duration_us.max(1));
    rates.max().expect("a rendition has segments")
}

/// Not one warning from a decoder.
pub fn all_renditions_decode_silently(broadcast: &Broadcast) {
    for rendition in &broadcast.seen.renditions {
        content::assert_decodes_silently(&broadcast.file(rendition));
    }
}
