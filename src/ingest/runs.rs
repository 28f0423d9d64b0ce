//! Runs of the publisher's clock.
//!
//! A run is a stretch in which the clock goes on: all its packets share one mapping to the session's timeline, and between
//! two runs stands one discontinuity. A connection begins a run; a jump begins another. Audio and video share one clock,
//! but not the moment at which a jump reaches us: a track stays on the old run until it jumps too.

use std::ops::RangeInclusive;

#[cfg(doc)]
use super::interleave::MAX_HELD;
use super::unwrap::step_ms;
use crate::media::Kind;

/// A step of one track's stamps that needs no discontinuity.
const REPAIRABLE_MS: RangeInclusive<i64> = -100..=1_000;
/// A track that comes back this close to the other's clock was away; the clock did not jump. Less than the largest
/// repairable step, so that a jump of both tracks is not taken for it, and more than tracks are interleaved apart.
const TOGETHER_MS: i64 = 500;
/// A track that joins further from where the other is now has another origin, and is aligned by its arrival. One that
/// starts seconds late on the same clock joins close to it, and so do tracks out of a relay's cache. Sound waits no longer
/// than this for pictures ([`MAX_HELD`]), so that what is further apart could not be served together.
const SAME_CLOCK_MS: i64 = 1_500;
/// How much media of the old run a track may still bring after the other has jumped: what lay in the encoder's
/// interleaving queue. After that it did not jump, and is put on the new run.
const STRAGGLER_MS: i64 = 2_000;

/// Tracks that have gone on further apart than [`SAME_CLOCK_MS`] for so much media have left each other: each is stamped by a clock
/// of its own, and after hours 100 ppm are seconds. A new run aligns them by their arrival. A track that is late and catches up
/// brings its media while the other has next to none: that does not count.
const APART_MS: i64 = 10_000;

/// Where a packet belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// Number of the run, rising.
    pub run: u32,
    /// Milliseconds on the run's clock, without wraps.
    pub at_ms: i64,
    /// This track was away while the clock went on.
    pub hole: bool,
    /// The step to here was not what a clock does, but is repaired.
    pub repaired: bool,
}

#[derive(Clone, Copy, Debug)]
struct TrackClock {
    run: u32,
    stamp: u32,
    at_ms: i64,
    /// Media that came on an old run.
    straggled_ms: i64,
    /// Where the other track was, and how much media both have brought while they were too far apart.
    other_ms: i64,
    apart_ms: i64,
}

/// The clocks of a connection's tracks. Run numbers rise over all connections of a session.
#[derive(Debug, Default)]
pub(super) struct Runs {
    newest: u32,
    /// The run that began because its tracks had left each other: their stamps say nothing of how they belong together.
    aligned_by_arrival: Option<u32>,
    tracks: [Option<TrackClock>; 2],
}

impl Runs {
    /// A new connection: a new clock. Returns its first run's number.
    pub(super) fn reconnect(&mut self) -> u32 {
        self.tracks = [None; 2];
        self.newest += 1;
        self.newest
    }

    /// Finds a packet's place and moves its track's clock there.
    pub(super) fn place(&mut self, kind: Kind, stamp: u32) -> Placed {
        let own = self.tracks[kind as usize];
        let other = self.tracks[1 - kind as usize];
        let leader = other.filter(|clock| clock.run == self.newest);
        let placed = match (own, leader) {
            (Some(own), leader) if own.run == self.newest => self.go_on(own, leader, stamp),
            (Some(own), Some(leader)) => self.follow(own, leader, stamp),
            (None, Some(leader)) => self.join(leader, stamp),
            (_, None) => self.placed(i64::from(stamp)),
        };
        let straggled_ms = match own {
            Some(own) if placed.run == own.run && placed.run != self.newest => {
                own.straggled_ms + (placed.at_ms - own.at_ms).max(0)
            }
            _ => 0,
        };
        let at_ms = placed.at_ms;
        let beside = other.filter(|other| other.run == placed.run);
        let apart_ms = match (own, beside) {
            (Some(own), Some(beside)) if own.run == placed.run && (at_ms - beside.at_ms).abs() > SAME_CLOCK_MS => {
                own.apart_ms + (at_ms - own.at_ms).min(beside.at_ms - own.other_ms).max(0)
            }
            _ => 0,
        };
        let other_ms = beside.map_or(at_ms, |beside| beside.at_ms);
        self.tracks[kind as usize] =
            Some(TrackClock { run: placed.run, stamp, at_ms, straggled_ms, other_ms, apart_ms });
        placed
    }

    fn placed(&self, at_ms: i64) -> Placed {
        Placed { run: self.newest, at_ms, hole: false, repaired: false }
    }

    /// The track is on the newest run.
    fn go_on(&mut self, own: TrackClock, leader: Option<TrackClock>, stamp: u32) -> Placed {
        let step = step_ms(own.stamp, stamp);
        let at_ms = own.at_ms + step;
        if REPAIRABLE_MS.contains(&step) && own.apart_ms <= APART_MS {
            return Placed { repaired: step < 0, ..self.placed(at_ms) };
        }
        let beside_other = leader.is_some_and(|leader| (at_ms - leader.at_ms).abs() <= TOGETHER_MS);
        if step > 0 && beside_other {
            return Placed { hole: true, ..self.placed(at_ms) };
        }
        self.newest += 1;
        self.aligned_by_arrival = (own.apart_ms > APART_MS).then_some(self.newest);
        self.placed(i64::from(stamp))
    }

    /// The other track has jumped, this one has not yet.
    fn follow(&self, own: TrackClock, leader: TrackClock, stamp: u32) -> Placed {
        let step = step_ms(own.stamp, stamp);
        if REPAIRABLE_MS.contains(&step) && own.straggled_ms < STRAGGLER_MS {
            return Placed { run: own.run, at_ms: own.at_ms + step, hole: false, repaired: step < 0 };
        }
        self.join(leader, stamp)
    }

    fn join(&self, leader: TrackClock, stamp: u32) -> Placed {
        let distance = step_ms(leader.stamp, stamp);
        let one_clock = distance.abs() <= SAME_CLOCK_MS && self.aligned_by_arrival != Some(self.newest);
        self.placed(if one_clock { leader.at_ms + distance } else { leader.at_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Kind::{Audio, Video};

    fn placed(run: u32, at_ms: i64) -> Placed {
        Placed { run, at_ms, hole: false, repaired: false }
    }

    fn started(at: u32) -> Runs {
        let mut runs = Runs::default();
        runs.reconnect();
        runs.place(Video, at);
        runs.place(Audio, at);
        runs
    }

    #[test]
    fn both_tracks_share_a_clock_that_never_wraps() {
        for start in [0, (1 << 24) - 50, (1u32 << 31) - 50, u32::MAX - 49] {
            let mut runs = started(start);
            for n in 1..=10u32 {
                let expected = placed(1, i64::from(start) + i64::from(n) * 33);
                assert_eq!(runs.place(Video, start.wrapping_add(n * 33)), expected);
                assert_eq!(runs.place(Audio, start.wrapping_add(n * 33)), expected);
            }
        }
    }

    #[test]
    fn small_steps_back_and_pauses_are_repaired() {
        let mut runs = started(5_000);
        assert_eq!(runs.place(Video, 4_905), Placed { repaired: true, ..placed(1, 4_905) });
        assert_eq!(runs.place(Video, 5_905), placed(1, 5_905));
    }

    #[test]
    fn a_jump_of_both_tracks_is_one_new_run() {
        for target in [3_600_000, 5_000 - 3_000, 6_500, 0, 4_850] {
            let mut runs = started(5_000);
            assert_eq!(runs.place(Video, target), placed(2, i64::from(target)), "to {target}");
            assert_eq!(runs.place(Audio, 5_021), placed(1, 5_021), "audio still comes from before");
            assert_eq!(runs.place(Audio, target + 21), placed(2, i64::from(target) + 21));
            assert_eq!(runs.place(Video, target + 33), placed(2, i64::from(target) + 33));
        }
    }

    #[test]
    fn a_track_that_was_away_leaves_a_hole_and_no_new_run() {
        let mut runs = started(0);
        for n in 1..=150 {
            runs.place(Audio, n * 20);
        }
        assert_eq!(runs.place(Video, 3_010), Placed { hole: true, ..placed(1, 3_010) });
        assert_eq!(runs.place(Audio, 3_020), placed(1, 3_020));
    }

    #[test]
    fn a_track_that_does_not_jump_with_the_other_is_aligned_by_arrival() {
        let mut runs = started(0);
        assert_eq!(runs.place(Video, 3_600_000), placed(2, 3_600_000));
        let stragglers = (1..200).take_while(|n| runs.place(Audio, n * 20).run == 1).count();
        assert_eq!(stragglers, 100);
        runs.place(Video, 3_600_033);
        assert_eq!(runs.place(Audio, 2_040), placed(2, 3_600_020), "its clock goes on from where it was aligned");
    }

    #[test]
    fn tracks_whose_clocks_have_left_each_other_are_aligned_anew_by_arrival() {
        // Sound is 1.6 s behind pictures that come with it, or as far before them.
        for (video, audio) in [(1_600, 0), (0, 1_600)] {
            let mut runs = started(0);
            let (first, kind) = if video > audio { (video, Video) } else { (audio, Audio) };
            assert!((0..first / 20).all(|n| runs.place(kind, n * 20).run == 1));
            let both = (0..).map(|n| (runs.place(Video, video + n * 20), runs.place(Audio, audio + n * 20)));
            let both: Vec<_> = both.take(1_000).collect();
            let apart = both.iter().take_while(|(video, audio)| video.run == 1 && audio.run == 1).count();
            assert!((500..510).contains(&apart), "{apart} frames of 20 ms");
            let (video, audio) = both[999];
            assert_eq!((video.run, audio.run), (2, 2), "one new run");
            assert!((video.at_ms - audio.at_ms).abs() <= 20, "{video:?} {audio:?}");
        }
    }

    #[test]
    fn a_track_that_is_late_and_catches_up_has_not_left_the_other() {
        let mut runs = started(0);
        for round in 0..20 {
            let from = round * 12_000;
            // 12 s of pictures without sound, then the sound of them at once, while pictures go on.
            assert!((0..600).all(|n| runs.place(Video, from + n * 20).run == 1));
            let caught_up = (0..600).all(|n| {
                let picture = n % 50 != 0 || runs.place(Video, from + 12_000).run == 1;
                picture && runs.place(Audio, from + n * 20).run == 1
            });
            assert!(caught_up, "round {round}");
        }
    }

    #[test]
    fn tracks_that_start_apart() {
        let mut runs = Runs::default();
        runs.reconnect();
        assert_eq!(runs.place(Video, 100), placed(1, 100));
        assert_eq!(runs.place(Audio, 1_500), placed(1, 1_500), "what an encoder interleaves is one clock");
        runs.reconnect();
        let newest = (0..=90).map(|n| runs.place(Video, n * 33).at_ms).max();
        assert_eq!(newest, Some(2_970));
        assert_eq!(runs.place(Audio, 3_000), placed(2, 3_000), "and so is a track that comes seconds later");
        for stamp in [5_100, 4_000_000] {
            let mut runs = Runs::default();
            runs.reconnect();
            runs.place(Video, 100);
            assert_eq!(runs.place(Audio, stamp), placed(1, 100), "seconds ahead at once are another origin");
            assert_eq!(runs.place(Audio, stamp + 21), placed(1, 121));
        }
        runs.reconnect();
        assert_eq!(runs.place(Video, 1 << 30), placed(3, 1 << 30));
        assert_eq!(runs.place(Audio, 0), placed(3, 1 << 30), "days are another, too");
        assert_eq!(runs.place(Audio, 21), placed(3, (1 << 30) + 21));
    }

    #[test]
    fn a_connection_begins_a_run_at_its_own_zero() {
        let mut runs = started(90_000);
        assert_eq!(runs.reconnect(), 2);
        assert_eq!(runs.place(Audio, 0), placed(2, 0));
        assert_eq!(runs.place(Video, 10), placed(2, 10));
    }
}
