//! Which packet belongs to which segment, and what becomes of segments without packets.

use super::*;

/// Frames of 100 ms make the arithmetic readable: three fit a part.
fn at(frame: i64) -> Timestamp {
    ZERO + Span::from_millis(100 * frame)
}

fn frames(bench: &mut Bench, range: std::ops::Range<i64>, keyframes: &[i64]) {
    for frame in range {
        bench.push(VIDEO, video(at(frame), at(frame), keyframes.contains(&frame)));
    }
}

/// Audio packets of 50 ms from `first` (in tenths of a second) on.
fn sound(bench: &mut Bench, first: i64, packets: i64) {
    for n in 0..packets {
        bench.push(AUDIO, audio(at(first) + Span::from_millis(50 * n), Span::from_millis(50)));
    }
}

fn begun() -> Bench {
    let mut bench = Bench::new(settings());
    bench.push(VIDEO, Unit::Track(video_track(320)));
    bench.push(AUDIO, Unit::Track(audio_track(48_000)));
    bench.cut(cut(0, at(0), CutKind::Keyframe));
    bench
}

#[test]
fn video_is_cut_by_order_and_parts_come_as_soon_as_they_are_whole() {
    let mut bench = begun();
    frames(&mut bench, 0..4, &[0]);
    assert_eq!(
        bench.take(VIDEO),
        "init 0\n\
         open 0 at 10.000000s init 0\n\
         part 0.0 0.300000s tfdt 900000 samples 3 independent\n"
    );
    bench.cut(cut(1, at(5), CutKind::Keyframe));
    frames(&mut bench, 4..7, &[5]);
    bench.push(VIDEO, Unit::End);
    // The cut came before frame 4, which therefore opens the segment; the last frame lasts as long as the one before.
    assert_eq!(
        bench.take(VIDEO),
        "part 0.1 0.100000s tfdt 927000 samples 1\n\
         close 0 0.400000s\n\
         open 1 at 10.500000s init 0\n\
         part 1.0 0.300000s tfdt 936000 samples 3\n\
         close 1 0.300000s\n\
         end\n"
    );
}

#[test]
fn audio_is_cut_by_time() {
    let mut bench = begun();
    bench.cut(cut(1, at(1) + Span::from_millis(20), CutKind::Time));
    sound(&mut bench, 0, 5);
    bench.push(AUDIO, Unit::End);
    assert_eq!(
        bench.take(AUDIO),
        "init 0\n\
         open 0 at 10.000000s init 0\n\
         part 0.0 0.150000s tfdt 480000 samples 3 independent\n\
         close 0 0.150000s\n\
         open 1 at 10.120000s init 0\n\
         part 1.0 0.100000s tfdt 487200 samples 2 independent\n\
         close 1 0.100000s\n\
         end\n"
    );
}

#[test]
fn a_gap_closes_what_is_open_at_once_and_the_next_cut_goes_on() {
    let mut bench = begun();
    frames(&mut bench, 0..2, &[0]);
    sound(&mut bench, 0, 3);
    bench.cut(cut(1, at(2) - Span::from_millis(30), CutKind::Gap { duration: Span::from_secs(2) }));
    let gap = "open 1 at 10.170000s init 0 gap\nclose 1 2.000000s\n";
    // The held frame would last 100 ms and ends where the gap begins.
    assert_eq!(
        bench.take(VIDEO),
        format!(
            "init 0\nopen 0 at 10.000000s init 0\npart 0.0 0.170000s tfdt 900000 samples 2 independent\nclose 0 0.170000s\n{gap}"
        )
    );
    assert_eq!(
        bench.take(AUDIO),
        format!(
            "init 0\nopen 0 at 10.000000s init 0\npart 0.0 0.150000s tfdt 480000 samples 3 independent\nclose 0 0.150000s\n{gap}"
        )
    );
    // Media that comes in a gap belongs nowhere.
    frames(&mut bench, 10..11, &[]);
    sound(&mut bench, 10, 1);
    assert_eq!(late(&bench), [1, 1]);

    let back = Cut { discontinuity: true, ..cut(2, at(22), CutKind::Keyframe) };
    bench.cut(back);
    frames(&mut bench, 22..24, &[22]);
    sound(&mut bench, 22, 2);
    bench.push(VIDEO, Unit::End);
    bench.push(AUDIO, Unit::End);
    let lines = |parts: &str| format!("open 2 at 12.200000s init 0 discontinuity\n{parts}end\n");
    assert_eq!(bench.take(VIDEO), lines("part 2.0 0.200000s tfdt 1098000 samples 2 independent\nclose 2 0.200000s\n"));
    assert_eq!(bench.take(AUDIO), lines("part 2.0 0.100000s tfdt 585600 samples 2 independent\nclose 2 0.100000s\n"));
}

#[test]
fn a_segment_that_no_packet_reached_is_a_gap_so_that_sequence_numbers_stay_aligned() {
    let mut bench = begun();
    frames(&mut bench, 0..2, &[0]);
    for msn in 1..4 {
        bench.push(VIDEO, Unit::Cut(cut(msn, at(20 * msn as i64), CutKind::Time)));
    }
    frames(&mut bench, 60..61, &[60]);
    bench.push(VIDEO, Unit::End);
    assert_eq!(
        bench.take(VIDEO),
        "init 0\n\
         open 0 at 10.000000s init 0\n\
         part 0.0 0.200000s tfdt 900000 samples 2 independent\n\
         close 0 0.200000s\n\
         open 1 at 12.000000s init 0 gap\n\
         close 1 2.000000s\n\
         open 2 at 14.000000s init 0 gap\n\
         close 2 2.000000s\n\
         open 3 at 16.000000s init 0\n\
         part 3.0 0.100000s tfdt 1440000 samples 1 independent\n\
         close 3 0.100000s\n\
         end\n"
    );
}

#[test]
fn audio_that_lags_skips_what_it_has_no_packet_for() {
    let mut bench = begun();
    bench.cut(cut(1, at(2), CutKind::Time));
    bench.cut(cut(2, at(4), CutKind::Time));
    sound(&mut bench, 0, 1);
    sound(&mut bench, 4, 1);
    bench.push(AUDIO, Unit::End);
    assert_eq!(
        bench.take(AUDIO),
        "init 0\n\
         open 0 at 10.000000s init 0\n\
         part 0.0 0.050000s tfdt 480000 samples 1 independent\n\
         close 0 0.050000s\n\
         open 1 at 10.200000s init 0 gap\n\
         close 1 0.200000s\n\
         open 2 at 10.400000s init 0\n\
         part 2.0 0.050000s tfdt 499200 samples 1 independent\n\
         close 2 0.050000s\n\
         end\n"
    );
}

#[test]
fn audio_that_stays_away_is_given_up_and_does_not_stop_its_playlist() {
    let mut bench = begun();
    sound(&mut bench, 0, 1);
    for msn in 1..=4 {
        bench.push(AUDIO, Unit::Cut(cut(msn, at(20 * msn as i64), CutKind::Time)));
    }
    assert_eq!(
        bench.take(AUDIO),
        "init 0\n\
         open 0 at 10.000000s init 0\n\
         part 0.0 0.050000s tfdt 480000 samples 1 independent\n\
         close 0 0.050000s\n\
         open 1 at 12.000000s init 0 gap\n\
         close 1 2.000000s\n"
    );
    sound(&mut bench, 21, 1);
    assert_eq!(late(&bench), [0, 1]);
    bench.push(AUDIO, Unit::End);
    // The last cut has no end that its gap could last until.
    assert_eq!(
        bench.take(AUDIO),
        "open 2 at 14.000000s init 0 gap\n\
         close 2 2.000000s\n\
         open 3 at 16.000000s init 0 gap\n\
         close 3 2.000000s\n\
         end\n"
    );
}

#[test]
fn a_gap_before_the_first_packet_names_the_init_segment_to_come() {
    let mut bench = Bench::new(settings());
    bench.push(AUDIO, Unit::Cut(cut(0, at(0), CutKind::Gap { duration: Span::from_secs(2) })));
    bench.push(AUDIO, Unit::Cut(cut(1, at(20), CutKind::Keyframe)));
    bench.push(AUDIO, Unit::Track(audio_track(48_000)));
    sound(&mut bench, 19, 3);
    assert_eq!(
        bench.take(AUDIO),
        "open 0 at 10.000000s init 0 gap\n\
         close 0 2.000000s\n\
         init 0\n\
         open 1 at 12.000000s init 0\n"
    );
}

#[test]
fn a_new_configuration_is_a_new_init_segment_and_an_equal_one_costs_nothing() {
    let mut bench = begun();
    frames(&mut bench, 0..2, &[0]);
    sound(&mut bench, 0, 2);
    let there = Cut { discontinuity: true, ..cut(1, at(2), CutKind::Keyframe) };
    bench.cut(there);
    bench.push(VIDEO, Unit::Track(video_track(640)));
    bench.push(AUDIO, Unit::Track(audio_track(44_100)));
    // Old audio that comes late would not decode with the new configuration.
    sound(&mut bench, 1, 1);
    frames(&mut bench, 2..4, &[2]);
    sound(&mut bench, 2, 1);
    let back = Cut { discontinuity: true, ..cut(2, at(4), CutKind::Keyframe) };
    bench.cut(back);
    bench.push(VIDEO, Unit::Track(video_track(640)));
    frames(&mut bench, 4..5, &[4]);
    assert_eq!(
        bench.take(VIDEO),
        "init 0\n\
         open 0 at 10.000000s init 0\n\
         part 0.0 0.200000s tfdt 900000 samples 2 independent\n\
         close 0 0.200000s\n\
         init 1\n\
         open 1 at 10.200000s init 1 discontinuity\n\
         part 1.0 0.200000s tfdt 918000 samples 2 independent\n\
         close 1 0.200000s\n\
         open 2 at 10.400000s init 1 discontinuity\n"
    );
    assert_eq!(
        bench.take(AUDIO),
        "init 0\n\
         open 0 at 10.000000s init 0\n\
         init 1\n\
         part 0.0 0.100000s tfdt 480000 samples 2 independent\n\
         close 0 0.100000s\n\
         open 1 at 10.200000s init 1 discontinuity\n"
    );
    assert_eq!(late(&bench), [0, 1]);
}

#[test]
fn a_restart_goes_on_with_the_init_segment_that_is_there() {
    let resume = |next_init, track| RenditionResume { next_init, track };
    let resume = vec![resume(3, Some(video_track(320))), resume(1, Some(audio_track(44_100)))];
    let mut bench = Bench::new(PackageSettings { epoch: 4, resume, ..settings() });
    bench.push(VIDEO, Unit::Track(video_track(320)));
    bench.push(AUDIO, Unit::Track(audio_track(48_000)));
    let first = Cut { discontinuity: true, ..cut(70, at(0), CutKind::Keyframe) };
    bench.cut(first);
    frames(&mut bench, 0..1, &[0]);
    sound(&mut bench, 0, 1);
    assert_eq!(bench.take(VIDEO), "open 70 at 10.000000s init 2 discontinuity\n");
    assert_eq!(bench.take(AUDIO), "init 1\nopen 70 at 10.000000s init 1 discontinuity\n");
}

#[test]
fn a_number_of_init_segments_that_no_daemon_wrote_does_not_overflow() {
    let resume = vec![RenditionResume { next_init: u32::MAX, track: None }, RenditionResume::default()];
    let mut bench = Bench::new(PackageSettings { resume, ..settings() });
    bench.push(VIDEO, Unit::Track(video_track(320)));
    assert_eq!(bench.take(VIDEO), format!("init {}\n", u32::MAX));
}

#[test]
fn a_sample_longer_than_the_part_target_is_a_part_of_its_own() {
    let mut bench = begun();
    for frame in [0, 5, 6, 12] {
        bench.push(VIDEO, video(at(frame), at(frame), frame == 0));
    }
    bench.push(VIDEO, Unit::End);
    assert_eq!(
        bench.take(VIDEO),
        "init 0\n\
         open 0 at 10.000000s init 0\n\
         part 0.0 0.500000s tfdt 900000 samples 1 independent\n\
         part 0.1 0.100000s tfdt 945000 samples 1\n\
         part 0.2 0.600000s tfdt 954000 samples 1\n\
         part 0.3 0.600000s tfdt 1008000 samples 1\n\
         close 0 1.800000s\n\
         end\n"
    );
}

#[test]
fn what_breaks_the_order_is_refused_in_words() {
    let refused = |prepare: &dyn Fn(&mut Bench), rendition, unit| {
        let mut bench = Bench::new(settings());
        prepare(&mut bench);
        bench.try_push(rendition, unit).expect_err("an error").to_string()
    };
    let nothing = |_: &mut Bench| ();
    let with_cut = |bench: &mut Bench| bench.cut(cut(5, at(0), CutKind::Keyframe));
    let with_frame = |bench: &mut Bench| {
        bench.push(VIDEO, Unit::Track(video_track(320)));
        bench.cut(cut(5, at(0), CutKind::Keyframe));
        frames(bench, 0..1, &[0]);
    };
    let frame = |frame: i64| video(at(frame), at(frame), true);
    let next = |msn, time| Unit::Cut(cut(msn, at(time), CutKind::Time));
    assert_eq!(refused(&nothing, RenditionId(2), Unit::End), "rendition 2 is not one of the session's");
    assert_eq!(refused(&nothing, AUDIO, frame(0)), "rendition 1 carries Audio and got Video");
    assert_eq!(refused(&nothing, VIDEO, Unit::Track(audio_track(1))), "rendition 0 carries Video and got Audio");
    assert_eq!(refused(&nothing, VIDEO, frame(0)), "rendition 0 got a packet at 10.000000s before the first cut");
    assert_eq!(refused(&with_cut, VIDEO, frame(0)), "rendition 0 got a packet at 10.000000s before its track");
    assert_eq!(
        refused(&with_cut, VIDEO, next(7, 1)),
        "rendition 0: the cut to segment 7 at 10.100000s does not follow segment 5 at 10.000000s"
    );
    assert_eq!(
        refused(&with_cut, AUDIO, next(6, 0)),
        "rendition 1: the cut to segment 6 at 10.000000s does not follow segment 5 at 10.000000s"
    );
    assert_eq!(
        refused(&with_frame, VIDEO, frame(0)),
        "rendition 0: the packet at dts 10.000000s ends no later than its predecessor"
    );
    let before_zero = video(Timestamp::from_millis(-1), at(0), true);
    assert_eq!(
        refused(&with_frame, VIDEO, before_zero),
        "rendition 0: the packet at dts -0.001000s, pts 10.000000s does not fit the fields of fMP4"
    );
    assert_eq!(refused(&nothing, AUDIO, Unit::Track(audio_track(0))), "rendition 1: a sample rate of 0 is not one");
    let ended = |bench: &mut Bench| bench.push(VIDEO, Unit::End);
    assert_eq!(refused(&ended, VIDEO, Unit::End), "rendition 0 has ended");
}
