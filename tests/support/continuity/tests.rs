//! Each rule is seen to fail: on a history that was whole until one thing about it was changed.

use super::*;

const TARGET: Duration = Duration::from_secs(1);
const SECOND_US: i64 = 1_000_000;
/// Three segments, a hole of 1.5 s with one gap, two segments, a gap.
const SHAPE: &str = "sssg|ssg";

fn stretches() -> Vec<Stretch> {
    vec![Stretch::new(0..90, Duration::from_millis(1_500)), Stretch::new(0..60, Duration::ZERO)]
}

/// 2030-01-01 and `us` microseconds, below a minute.
fn wall(us: i64) -> String {
    format!("2030-01-01T00:00:{:02}.{:03}Z", us / SECOND_US, us / 1_000 % 1_000)
}

/// A second of media from second `at` on.
fn coded(timescale: u32, count: u32, at: i64) -> Coded {
    let duration = timescale / count;
    let times = (0..count).map(|index| at.cast_unsigned() * u64::from(timescale) + u64::from(index * duration));
    let sample = |dts: u64| Sample { dts, pts: dts.cast_signed(), duration, size: 1, sync: true };
    Coded { timescale, samples: times.map(sample).collect() }
}

/// A rendition of [`SHAPE`], with `count` samples in a second.
fn lane(name: &str, timescale: u32, count: u32, pictures: Vec<Vec<Option<u32>>>) -> Lane {
    let (mut listed, mut discontinuity, mut late) = (Vec::new(), false, 0);
    for letter in SHAPE.chars() {
        if letter == '|' {
            (discontinuity, late) = (true, 500_000);
            continue;
        }
        let (msn, gap) = (listed.len() as u64, letter == 'g');
        let entry = Entry {
            msn,
            uri: if gap { "gap.m4s".to_owned() } else { format!("1-{msn}.m4s") },
            duration_us: 1_000_000,
            wall: wall(msn.cast_signed() * SECOND_US + late),
            discontinuity: std::mem::take(&mut discontinuity),
            gap,
            map: "init-0.mp4".to_owned(),
        };
        let media = (!gap).then(|| coded(timescale, count, 10 + msn.cast_signed()));
        listed.push(Listed { entry, media });
    }
    Lane { name: name.to_owned(), target: TARGET, listed, fronts: vec![(0, 0), (2, 0), (4, 0), (5, 1)], pictures }
}

fn whole() -> History {
    let pictures = || [0..90, 0..60].map(|range| range.map(Some).collect()).to_vec();
    let video = |name| lane(name, 90_000, 30, pictures());
    let lanes = vec![video("360p"), video("240p"), lane("audio", 48_000, 50, Vec::new())];
    History { stalled: Duration::ZERO, lanes }
}

/// Changes one lane of a whole history, and finds `words` in what is said of it.
fn fails(at: usize, words: &str, change: impl FnOnce(&mut Lane)) {
    let mut history = whole();
    change(&mut history.lanes[at]);
    let fault = history.check(&stretches()).expect_err("a rule is broken");
    assert!(fault.contains(words), "{fault}");
}

fn entry(lane: &mut Lane, at: usize) -> &mut Entry {
    &mut lane.listed[at].entry
}

fn samples(lane: &mut Lane, at: usize) -> &mut Vec<Sample> {
    &mut lane.listed[at].media.as_mut().expect("no gap").samples
}

#[test]
fn a_whole_history_has_no_fault() {
    let history = whole();
    history.assert_continuous(&stretches());
    assert_eq!(history.shape(), "360p: sssg|ssg\n240p: sssg|ssg\naudio: sssg|ssg");
}

#[test]
fn a_lost_msn_a_name_that_comes_back_and_a_wrong_count_are_found() {
    fails(0, "360p: MSN 3 where 2 was to come", |lane| drop(lane.listed.remove(2)));
    fails(1, "240p: 1-0.m4s names two segments", |lane| entry(lane, 5).uri = "1-0.m4s".to_owned());
    fails(2, "audio: DISCONTINUITY-SEQUENCE is 1 when 4 is the oldest, behind 0", |lane| lane.fronts[2].1 = 1);
    fails(2, "DISCONTINUITY-SEQUENCE is 0 when 5 is the oldest, behind 1", |lane| lane.fronts[3].1 = 0);
}

#[test]
fn a_discontinuity_too_many_or_too_few_is_found() {
    let discontinuity = |lane: &mut Lane, at: usize, stands: bool| {
        entry(lane, at).discontinuity = stands;
        lane.fronts.clear(); // which would not be true any more
    };
    fails(0, "3 stretches for 2", |lane| discontinuity(lane, 2, true));
    fails(1, "1 stretches for 2", |lane| discontinuity(lane, 4, false));
    fails(0, "stretch 1: media behind a gap", |lane| {
        let gap = lane.listed.pop().expect("it ends with a gap");
        lane.listed.insert(5, gap);
        (5..).zip(&mut lane.listed[5..]).for_each(|(msn, listed)| listed.entry.msn = msn);
    });
    fails(0, "stretch 0: 0 gaps where 1..=1", |lane| {
        *entry(lane, 3) = Entry { gap: false, uri: "1-3.m4s".to_owned(), ..lane.listed[3].entry.clone() };
    });
    fails(0, "stretch 0: 3 gaps where 1..=1", |lane| (1..3).for_each(|at| entry(lane, at).gap = true));
}

#[test]
fn gaps_are_those_that_fit_into_the_hole() {
    let behind = |millis| Stretch::new(0..90, Duration::from_millis(millis));
    let gaps_behind = |stretch: &Stretch| gaps_in(&(stretch.away..=stretch.away + stretch.late), TARGET);
    let in_hole = |millis| gaps_behind(&behind(millis));
    assert_eq!((in_hole(300), in_hole(1_500), in_hole(5_000)), (0..=0, 1..=1, 4..=5));
    // 3 s of pictures, and 7.5 s from their begin until the next one was there.
    let late = behind(1_500).within(Duration::from_millis(7_500), Duration::from_secs(3));
    assert_eq!((late.late, gaps_behind(&late)), (Duration::from_secs(3), 1..=4));
    assert_eq!(behind(1_500).within(Duration::from_secs(4), Duration::from_secs(3)), behind(1_500));
}

#[test]
fn dates_that_step_or_go_back_are_found() {
    fails(0, "the date of 1 is off by 2000 us", |lane| entry(lane, 1).wall = wall(1_002_000));
    fails(0, "the date of 3 is off by -3000 us", |lane| entry(lane, 3).wall = wall(2_997_000));
    fails(0, "the date of 3 is off by 126000 us", |lane| entry(lane, 3).wall = wall(3_126_000));
    let move_behind_the_hole = |lane: &mut Lane, us: i64| {
        (4..7).for_each(|at| entry(lane, at).wall = wall(at as i64 * SECOND_US + us));
    };
    fails(0, "the date of 4 goes back by 2000 us", |lane| move_behind_the_hole(lane, -2_000));
    let words = "dates step by 2100000 us before 4, over a hole of 1500000";
    fails(0, words, |lane| move_behind_the_hole(lane, 1_100_000));
    fails(1, "no date", |lane| entry(lane, 2).wall.clear());
}

#[test]
fn steps_of_decoding_time_and_untrue_durations_are_found() {
    fails(0, "1-1.m4s: a sample is decoded at 990001 and not at 990000", |lane| {
        samples(lane, 1).iter_mut().for_each(|sample| sample.dts += 1);
    });
    fails(2, "1-2.m4s: a sample is decoded at", |lane| {
        samples(lane, 2).remove(7);
    });
    fails(0, "1-4.m4s: EXTINF is off by 1000 us", |lane| entry(lane, 4).duration_us += 1_000);
    fails(1, "the timeline steps by -200000 us where 1-4.m4s begins", |lane| {
        for at in [4, 5] {
            samples(lane, at).iter_mut().for_each(|sample| {
                sample.dts -= 18_000;
                sample.pts -= 18_000;
            });
        }
    });
    fails(1, "1-5.m4s is empty", |lane| samples(lane, 5).clear());
}

#[test]
fn pictures_that_are_lost_doubled_or_swapped_are_found() {
    fails(0, "stretch 0 shows 89 pictures of 90, wrong from 89 on", |lane| lane.pictures[0].truncate(89));
    fails(1, "stretch 1 shows 60 pictures of 60, wrong from 30 on", |lane| lane.pictures[1][30] = Some(29));
    fails(1, "stretch 1 shows 61 pictures of 60", |lane| lane.pictures[1].push(Some(60)));
    fails(1, "stretch 0 shows 90 pictures of 90, wrong from 4 on", |lane| lane.pictures[0].swap(4, 5));
    fails(0, "pictures in 1 pieces for 2 stretches", |lane| drop(lane.pictures.pop()));
}

#[test]
fn renditions_that_differ_are_found() {
    let later = |lane: &mut Lane, at: usize, dts: u64| {
        samples(lane, at).iter_mut().for_each(|sample| {
            sample.dts += dts;
            sample.pts += dts.cast_signed();
        });
    };
    fails(2, "360p has 4 at", |lane| entry(lane, 4).wall = wall(5_000_000));
    fails(1, "360p has 1 at 2030-01-01T00:00:01.000Z", |lane| entry(lane, 1).wall = wall(1_001_000));
    fails(1, "240p begins 4 7840000 flicks behind 360p", |lane| {
        [4, 5].into_iter().for_each(|at| later(lane, at, 1_000))
    });
    fails(2, "audio begins 4 14112000 flicks behind 360p", |lane| {
        [4, 5].into_iter().for_each(|at| later(lane, at, 960))
    });
    fails(2, "360p has media that others lack", |lane| lane.listed.truncate(5));
}

/// A history with a restart in its hole, which the next publisher began in within these microseconds of the minute.
fn restarted(dates: RangeInclusive<i64>, change: impl FnOnce(&mut [Lane])) -> Checked {
    let mut history = whole();
    change(&mut history.lanes);
    let at = unix_micros("2030-01-01T00:00:00.000Z").expect("a date");
    let holes = [Hole::Restart { dates: at + dates.start()..=at + dates.end() }];
    for lane in &history.lanes {
        within(lane, check_lane(lane, &holes))?;
    }
    aligned(&history.lanes, &holes, history.stalled)
}

#[test]
fn behind_a_restart_dates_lie_within_what_the_wall_clock_said() {
    let within = |dates| restarted(dates, |_| ());
    assert_eq!(within(4_000_000..=5_000_000), Ok(()));
    assert!(within(4_502_000..=5_000_000).expect_err("too early").contains("4 is dated"));
    assert!(within(1_000_000..=3_300_000).expect_err("too late").contains("4 is dated"));
}

#[test]
fn what_was_open_at_a_restart_may_be_short_or_a_gap_and_nothing_else() {
    let short = |at: usize| {
        restarted(4_000_000..=5_000_000, |lanes| {
            samples(&mut lanes[1], at).truncate(15);
            entry(&mut lanes[1], at).duration_us = 500_000;
        })
    };
    assert_eq!(short(2), Ok(()));
    assert!(short(1).is_err());
    let gap = |at: usize| {
        restarted(4_000_000..=5_000_000, |lanes| {
            entry(&mut lanes[1], at).gap = true;
            lanes[1].listed[at].media = None;
        })
    };
    assert_eq!(gap(2), Ok(()));
    assert!(gap(1).is_err());
}

#[test]
fn what_is_stored_otherwise_than_it_was_listed_is_found() {
    let history = whole();
    let entries = |from: usize| history.lanes[0].listed[from..].iter().map(|listed| listed.entry.clone()).collect();
    let playlist = |from: usize, discontinuity_sequence| Media {
        target_seconds: 1,
        first_msn: from as u64,
        discontinuity_sequence,
        independent_segments: true,
        entries: entries(from),
        ended: false,
    };
    assert_eq!(stored(&history.lanes[0], &playlist(2, 0)), Ok(()));
    assert!(stored(&history.lanes[0], &playlist(2, 1)).expect_err("a count").contains("is stored as 1, behind 0"));
    let mut other = playlist(2, 0);
    other.entries[1].duration_us += 1;
    assert!(stored(&history.lanes[0], &other).expect_err("a duration").contains("is stored as Entry"));
    assert!(stored(&history.lanes[0], &playlist(5, 1)).expect_err("too few").contains("is not stored"));
}

#[test]
fn dates_are_read() {
    assert_eq!(unix_micros("1970-01-01T00:00:00.001Z"), Some(1_000));
    assert_eq!(unix_micros("2000-02-29T23:59:59.000Z"), Some(951_868_799_000_000));
    assert_eq!(unix_micros("2026-11-21T07:00:02.002Z"), Some(1_795_244_402_002_000));
    assert_eq!(unix_micros("2026-11-21"), None);
}
