use super::*;
use proptest::prelude::*;
/// Samples of each frame here.
const FRAME: u32 = 1_024;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn span(millis: i64) -> Span {
    Span::from_millis(millis)
}

/// (DTS, PTS) in milliseconds of pictures given as (source DTS, composition).
fn placed(clock: &mut VideoClock, pictures: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let stamps = pictures.iter().map(|(dts, composition)| clock.place(at(*dts), span(*composition)));
    stamps.map(|stamps| (stamps.dts.to_units(1_000), stamps.pts.to_units(1_000))).collect()
}

#[test]
fn good_stamps_pass_unchanged() {
    let mut clock = VideoClock::new();
    assert_eq!(placed(&mut clock, &[(0, 66), (33, 166), (67, 33)]), [(0, 66), (33, 199), (67, 100)]);
    assert_eq!((clock.repairs(), clock.end()), (0, Some(at(199 + 34))));
}

#[test]
fn known_negative_composition_moves_dts_back_and_pts_not() {
    let mut clock = VideoClock::new();
    clock.learn(span(-66));
    let pictures = [(100, 0), (133, 66), (167, -66), (200, -33)];
    assert_eq!(placed(&mut clock, &pictures), [(34, 100), (67, 199), (101, 101), (134, 167)]);
    assert_eq!(clock.repairs(), 0);
}

#[test]
fn negative_composition_that_comes_unannounced_still_holds_the_order() {
    let mut clock = VideoClock::new();
    let stamps = placed(&mut clock, &[(100, 0), (133, 66), (167, -66), (200, -33), (233, 0), (267, 66)]);
    assert_eq!(stamps, [(100, 100), (133, 199), (134, 134), (135, 167), (167, 233), (201, 333)]);
    assert_eq!(clock.repairs(), 2);
}

#[test]
fn steps_back_and_doubled_stamps_are_repaired() {
    let mut clock = VideoClock::new();
    let stamps = placed(&mut clock, &[(100, 0), (100, 0), (50, 0), (133, 0)]);
    assert_eq!(stamps, [(100, 100), (101, 101), (102, 102), (133, 133)]);
    assert_eq!(clock.repairs(), 2);
}

#[test]
fn a_run_begins_behind_the_last_in_both_orders() {
    let mut clock = VideoClock::new();
    placed(&mut clock, &[(0, 66), (40, 66), (80, 66)]);
    assert_eq!(clock.earliest_pts(span(66)), Some(at(186)));
    assert_eq!(clock.earliest_pts(span(0)), Some(at(186)), "presentation is what counts");
    assert_eq!(clock.earliest_pts(span(200)), Some(at(320)), "decoding is what counts");
    clock.begin_run(at(10_000));
    assert_eq!(placed(&mut clock, &[(10_000, 0), (10_060, -70)]), [(10_000, 10_000), (10_001, 10_001)]);
    assert_eq!(clock.end(), Some(at(10_041)), "the jump is no frame duration");
}

fn counting(rate: u32) -> AudioClock {
    let mut clock = AudioClock::new();
    clock.configure(rate, 1_024);
    clock
}

#[test]
fn samples_are_counted_whatever_milliseconds_say() {
    for rate in [44_100, 48_000, 22_050, 8_000] {
        let mut clock = counting(rate);
        for n in 0..2_000 {
            let exact = Timestamp::from_units(n * 1_024, rate);
            let (pts, duration) = clock.place(at(10_000 + exact.to_units(1_000)), FRAME);
            assert_eq!(pts, Timestamp::from_units(i64::from(rate) * 10 + n * 1_024, rate), "frame {n} at {rate}");
            assert_eq!(duration, Span::from_units(1_024, rate));
        }
        assert_eq!(clock.corrections(), (0, Span::ZERO));
    }
}

#[test]
fn a_run_begins_on_the_grid_and_never_before_it_is_mapped() {
    let mut clock = counting(44_100);
    let mapped = Timestamp::from_millis(10_001);
    let (pts, _) = clock.place(mapped, FRAME);
    assert!(pts >= mapped && pts - mapped < Span::from_units(1, 44_100));
    assert_eq!(Timestamp::from_units(pts.to_units(44_100), 44_100), pts);
    clock.begin_run();
    let (next, _) = clock.place(at(5_000), FRAME);
    assert_eq!(next, pts + Span::from_units(1_024, 44_100), "nor before the last frame's end");
}

/// Frames of a source whose clock is `ppm` faster than its samples, with `jitter`; returns the largest distance of the
/// output from the source after the first 10 s.
fn worst_offset(seconds: i64, ppm: i64, jitter: impl Fn(i64) -> i64) -> (Span, AudioClock) {
    let mut clock = counting(48_000);
    let mut worst = Span::ZERO;
    let mut expected = None;
    for n in 0..seconds * 375 / 8 {
        let exact = Span::from_units(n * 1_024, 48_000);
        let source = at(10_000) + exact + Span::from_flicks(exact.flicks() / 1_000_000 * ppm);
        let (pts, duration) = clock.place(at(source.to_units(1_000) + jitter(n)), FRAME);
        assert!(expected.is_none_or(|expected| expected == pts), "frame {n} does not follow the one before");
        expected = Some(pts + duration);
        if n > 500 {
            worst = worst.max((source - pts).abs());
        }
    }
    (worst, clock)
}

#[test]
fn a_day_of_drift_stays_within_20_ms_and_takes_few_corrections() {
    for ppm in [-100, 100] {
        let (worst, clock) = worst_offset(86_400, ppm, |_| 0);
        assert!(worst < span(20), "{worst} at {ppm} ppm");
        let (corrections, corrected) = clock.corrections();
        assert!((500..1_200).contains(&corrections), "{corrections}");
        assert!((corrected - span(ppm * 86_400 / 1_000)).abs() < span(20), "{corrected}");
    }
}

#[test]
fn jitter_is_not_drift() {
    let (worst, clock) = worst_offset(600, 0, |n| [40, -40, 13, -27, 0][n as usize % 5]);
    assert!(worst < span(45));
    assert!(clock.corrections().0 <= 3, "only the first stamp's own jitter may be corrected");
    assert!(clock.drift().abs() < span(15));
}

#[test]
fn missing_frames_are_counted() {
    let mut clock = counting(48_000);
    assert_eq!(clock.missing(at(10_000)), 0, "nothing is counted yet");
    clock.place(at(10_000), FRAME);
    assert_eq!((clock.missing(at(10_121)), clock.missing(at(10_122))), (0, 4), "jitter of 100 ms loses nothing");
    assert_eq!(clock.missing(at(99_000)), 93, "bounded");
    for n in 1..=4 {
        let pts = Timestamp::from_units(480_000 + n * 1_024, 48_000);
        assert_eq!(clock.place_silence(at(10_122)), Some((pts, Span::from_units(1_024, 48_000))));
    }
    assert_eq!(clock.missing(at(10_122)), 0);
}

#[test]
fn silence_is_counted_up_to_a_time_and_what_comes_too_late_is_known() {
    let mut clock = counting(48_000);
    assert_eq!(clock.place_silence(at(11_000)), None, "nothing is counted yet");
    clock.begin_silence(at(10_000));
    let frames = std::iter::from_fn(|| clock.place_silence(at(11_000))).count();
    assert_eq!((frames, clock.end().map(|end| end.to_units(48_000))), (47, Some(480_000 + 47 * 1_024)));
    assert!(clock.is_silent_at(at(10_991)) && !clock.is_silent_at(at(10_992)), "within half a frame it follows");
    clock.place(at(11_002), FRAME);
    assert!(!clock.is_silent_at(at(10_500)), "sound has come since");
}

#[test]
fn lost_frames_are_bridged_by_the_frame_behind_them() {
    let mut clock = counting(48_000);
    clock.place(at(10_000), FRAME);
    let (pts, duration) = clock.place(at(10_521), FRAME);
    assert_eq!((pts.to_units(48_000), duration.to_units(48_000)), (481_024, 23_984 + 1_024));
    let (pts, _) = clock.place(at(10_542), FRAME);
    assert_eq!(pts.to_units(1_000), 10_542);
}

proptest! {
    #[test]
    fn video_order_holds_for_any_stamps(pictures in prop::collection::vec((-200i64..200, -1_000i64..2_000), 1..60)) {
        let mut clock = VideoClock::new();
        let mut last = None;
        let mut source = 10_000;
        for (step, composition) in pictures {
            source += step;
            let stamps = clock.place(at(source), span(composition));
            prop_assert!(stamps.pts >= stamps.dts);
            prop_assert!(last.is_none_or(|last| stamps.dts >= last + LEAST_STEP));
            last = Some(stamps.dts);
        }
    }

    #[test]
    fn sound_follows_itself_for_any_stamps(steps in prop::collection::vec(-100i64..1_000, 1..200)) {
        let mut clock = counting(44_100);
        let (mut source, mut expected) = (10_000, None);
        for step in steps {
            source += step;
            let (pts, duration) = clock.place(at(source), FRAME);
            prop_assert!(expected.is_none_or(|expected| expected == pts));
            prop_assert!(duration.is_positive());
            expected = Some(pts + duration);
        }
    }
}
