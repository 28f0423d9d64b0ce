//! Runs of the publisher's clock.
//!
//! A run is a stretch in which the clock goes on: all its packets share one mapping to the session's timeline, and between
//! two runs stands one discontinuity. A connection begins a run; a jump begins another. Audio and video share one clock,
//! but not the moment at which a jump reaches us: a track stays on the old run until it jumps too.

use std::ops::RangeInclusive;

#[cfg(doc)]
use super::interleave::MAX_HELD;
use super::stamp::Stamp;
use crate::media::{Kind, Span, Timestamp};

/// A step of one track's stamps that needs no discontinuity.
const REPAIRABLE: RangeInclusive<Span> = Span::from_millis(-100)..=Span::from_millis(1_000);
/// A track that comes back this close to the other's clock was away; the clock did not jump. Less than the largest
/// repairable step, so that a jump of both tracks is not taken for it, and more than tracks are interleaved apart.
const TOGETHER: Span = Span::from_millis(500);
/// A track that joins further from where the other is now has another origin, and is aligned by its arrival. One that
/// starts seconds late on the same clock joins close to it, and so do tracks out of a relay's cache. Sound waits no longer
/// than this for pictures ([`MAX_HELD`]), so that what is further apart could not be served together.
const SAME_CLOCK: Span = Span::from_millis(1_500);
/// How much media of the old run a track may still bring after the other has jumped: what lay in the encoder's
/// interleaving queue. After that it did not jump, and is put on the new run.
const STRAGGLER: Span = Span::from_millis(2_000);

/// Tracks that have gone on further apart than [`SAME_CLOCK`] for so much media have left each other: each is stamped by a clock
/// of its own, and after hours 100 ppm are seconds. A new run aligns them by their arrival. A track that is late and catches up
/// brings its media while the other has next to none: that does not count.
const APART: Span = Span::from_millis(10_000);

/// Where a packet belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// Number of the run, rising.
    pub run: u32,
    /// The time on the run's clock, without wraps.
    pub at: Timestamp,
    /// This track was away while the clock went on.
    pub hole: bool,
    /// The step to here was not what a clock does, but is repaired.
    pub repaired: bool,
}

#[derive(Clone, Copy, Debug)]
struct TrackClock {
    run: u32,
    stamp: Stamp,
    at: Timestamp,
    /// Media that came on an old run.
    straggled: Span,
    /// Where the other track was, and how much media both have brought while they were too far apart.
    other: Timestamp,
    apart: Span,
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
    pub(super) fn place(&mut self, kind: Kind, stamp: Stamp) -> Placed {
        let own = self.tracks[kind as usize];
        let other = self.tracks[1 - kind as usize];
        let leader = other.filter(|clock| clock.run == self.newest);
        let placed = match (own, leader) {
            (Some(own), leader) if own.run == self.newest => self.go_on(own, leader, stamp),
            (Some(own), Some(leader)) => self.follow(own, leader, stamp),
            (None, Some(leader)) => self.join(leader, stamp),
            (_, None) => self.placed(stamp.at()),
        };
        let straggled = match own {
            Some(own) if placed.run == own.run && placed.run != self.newest => {
                own.straggled + (placed.at - own.at).max(Span::ZERO)
            }
            _ => Span::ZERO,
        };
        let at = placed.at;
        let beside = other.filter(|other| other.run == placed.run);
        let apart = match (own, beside) {
            (Some(own), Some(beside)) if own.run == placed.run && (at - beside.at).abs() > SAME_CLOCK => {
                own.apart + (at - own.at).min(beside.at - own.other).max(Span::ZERO)
            }
            _ => Span::ZERO,
        };
        let other = beside.map_or(at, |beside| beside.at);
        self.tracks[kind as usize] = Some(TrackClock { run: placed.run, stamp, at, straggled, other, apart });
        placed
    }

    fn placed(&self, at: Timestamp) -> Placed {
        Placed { run: self.newest, at, hole: false, repaired: false }
    }

    /// The track is on the newest run.
    fn go_on(&mut self, own: TrackClock, leader: Option<TrackClock>, stamp: Stamp) -> Placed {
        let step = own.stamp.step_to(stamp);
        let at = own.at + step;
        if REPAIRABLE.contains(&step) && own.apart <= APART {
            return Placed { repaired: step < Span::ZERO, ..self.placed(at) };
        }
        let beside_other = leader.is_some_and(|leader| (at - leader.at).abs() <= TOGETHER);
        if step > Span::ZERO && beside_other {
            return Placed { hole: true, ..self.placed(at) };
        }
        self.newest += 1;
        self.aligned_by_arrival = (own.apart > APART).then_some(self.newest);
        self.placed(stamp.at())
    }

    /// The other track has jumped, this one has not yet.
    fn follow(&self, own: TrackClock, leader: TrackClock, stamp: Stamp) -> Placed {
        let step = own.stamp.step_to(stamp);
        if REPAIRABLE.contains(&step) && own.straggled < STRAGGLER {
            return Placed { run: own.run, at: own.at + step, hole: false, repaired: step < Span::ZERO };
        }
        self.join(leader, stamp)
    }

    fn join(&self, leader: TrackClock, stamp: Stamp) -> Placed {
        let distance = leader.stamp.step_to(stamp);
        let one_clock = distance.abs() <= SAME_CLOCK && self.aligned_by_arrival != Some(self.newest);
        self.placed(if one_clock { leader.at + distance } else { leader.at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Kind::{Audio, Video};

    fn placed(run: u32, at_ms: i64) -> Placed {
        Placed { run, at: Timestamp::from_millis(at_ms), hole: false, repaired: false }
    }

    impl Runs {
        fn place_ms(&mut self, kind: Kind, stamp: u32) -> Placed {
            self.place(kind, Stamp::flv(stamp))
        }
    }

    fn started(at: u32) -> Runs {
        let mut runs = Runs::default();
        runs.reconnect();
        runs.place_ms(Video, at);
        runs.place_ms(Audio, at);
        runs
    }

    #[test]
    fn both_tracks_share_a_clock_that_never_wraps() {
        for start in [0, (1 << 24) - 50, (1u32 << 31) - 50, u32::MAX - 49] {
            let mut runs = started(start);
            for n in 1..=10u32 {
                let expected = placed(1, i64::from(start) + i64::from(n) * 33);
                assert_eq!(runs.place_ms(Video, start.wrapping_add(n * 33)), expected);
                assert_eq!(runs.place_ms(Audio, start.wrapping_add(n * 33)), expected);
            }
        }
    }

    #[test]
    fn small_steps_back_and_pauses_are_repaired() {
        let mut runs = started(5_000);
        assert_eq!(runs.place_ms(Video, 4_905), Placed { repaired: true, ..placed(1, 4_905) });
        assert_eq!(runs.place_ms(Video, 5_905), placed(1, 5_905));
    }

    #[test]
    fn a_jump_of_both_tracks_is_one_new_run() {
        for target in [3_600_000, 5_000 - 3_000, 6_500, 0, 4_850] {
            let mut runs = started(5_000);
            assert_eq!(runs.place_ms(Video, target), placed(2, i64::from(target)), "to {target}");
            assert_eq!(runs.place_ms(Audio, 5_021), placed(1, 5_021), "audio still comes from before");
            assert_eq!(runs.place_ms(Audio, target + 21), placed(2, i64::from(target) + 21));
            assert_eq!(runs.place_ms(Video, target + 33), placed(2, i64::from(target) + 33));
        }
    }

    #[test]
    fn a_track_that_was_away_leaves_a_hole_and_no_new_run() {
        let mut runs = started(0);
        for n in 1..=150 {
            runs.place_ms(Audio, n * 20);
        }
        assert_eq!(runs.place_ms(Video, 3_010), Placed { hole: true, ..placed(1, 3_010) });
        assert_eq!(runs.place_ms(Audio, 3_020), placed(1, 3_020));
    }

    #[test]
    fn a_track_that_does_not_jump_with_the_other_is_aligned_by_arrival() {
        let mut runs = started(0);
        assert_eq!(runs.place_ms(Video, 3_600_000), placed(2, 3_600_000));
        let stragglers = (1..200).take_while(|n| runs.place_ms(Audio, n * 20).run == 1).count();
        assert_eq!(stragglers, 100);
        runs.place_ms(Video, 3_600_033);
        assert_eq!(runs.place_ms(Audio, 2_040), placed(2, 3_600_020), "its clock goes on from where it was aligned");
    }

    #[test]
    fn tracks_whose_clocks_have_left_each_other_are_aligned_anew_by_arrival() {
        // Sound is 1.6 s behind pictures that come with it, or as far before them.
        for (video, audio) in [(1_600, 0), (0, 1_600)] {
            let mut runs = started(0);
            let (first, kind) = if video > audio { (video, Video) } else { (audio, Audio) };
            assert!((0..first / 20).all(|n| runs.place_ms(kind, n * 20).run == 1));
            let both = (0..).map(|n| (runs.place_ms(Video, video + n * 20), runs.place_ms(Audio, audio + n * 20)));
            let both: Vec<_> = both.take(1_000).collect();
            let apart = both.iter().take_while(|(video, audio)| video.run == 1 && audio.run == 1).count();
            assert!((500..510).contains(&apart), "{apart} frames of 20 ms");
            let (video, audio) = both[999];
            assert_eq!((video.run, audio.run), (2, 2), "one new run");
            assert!((video.at - audio.at).abs() <= Span::from_millis(20), "{video:?} {audio:?}");
        }
    }

    #[test]
    fn a_track_that_is_late_and_catches_up_has_not_left_the_other() {
        let mut runs = started(0);
        for round in 0..20 {
            let from = round * 12_000;
            // 12 s of pictures without sound, then the sound of them at once, while pictures go on.
            assert!((0..600).all(|n| runs.place_ms(Video, from + n * 20).run == 1));
            let caught_up = (0..600).all(|n| {
                let picture = n % 50 != 0 || runs.place_ms(Video, from + 12_000).run == 1;
                picture && runs.place_ms(Audio, from + n * 20).run == 1
            });
            assert!(caught_up, "round {round}");
        }
    }

    #[test]
    fn tracks_that_start_apart() {
        let mut runs = Runs::default();
        runs.reconnect();
        assert_eq!(runs.place_ms(Video, 100), placed(1, 100));
        assert_eq!(runs.place_ms(Audio, 1_500), placed(1, 1_500), "what an encoder interleaves is one clock");
        runs.reconnect();
        let newest = (0..=90).map(|n| runs.place_ms(Video, n * 33).at).max();
        assert_eq!(newest, Some(Timestamp::from_millis(2_970)));
        assert_eq!(runs.place_ms(Audio, 3_000), placed(2, 3_000), "and so is a track that comes seconds later");
        for stamp in [5_100, 4_000_000] {
            let mut runs = Runs::default();
            runs.reconnect();
            runs.place_ms(Video, 100);
            assert_eq!(runs.place_ms(Audio, stamp), placed(1, 100), "seconds ahead at once are another origin");
            assert_eq!(runs.place_ms(Audio, stamp + 21), placed(1, 121));
        }
        runs.reconnect();
        assert_eq!(runs.place_ms(Video, 1 << 30), placed(3, 1 << 30));
        assert_eq!(runs.place_ms(Audio, 0), placed(3, 1 << 30), "days are another, too");
        assert_eq!(runs.place_ms(Audio, 21), placed(3, (1 << 30) + 21));
    }

    #[test]
    fn a_connection_begins_a_run_at_its_own_zero() {
        let mut runs = started(90_000);
        assert_eq!(runs.reconnect(), 2);
        assert_eq!(runs.place_ms(Audio, 0), placed(2, 0));
        assert_eq!(runs.place_ms(Video, 10), placed(2, 10));
    }
}
