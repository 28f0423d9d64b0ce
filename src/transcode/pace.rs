//! Which frames are left out: by a rung's frame-rate cap, or for all rungs because the machine is too slow. Pure.
//!
//! Both leave out evenly, and neither ever leaves out a frame that begins a segment.

use crate::media::{Span, Timestamp};
use crate::transcode::plan::keep_one_of;

/// Frame-rate cap of one rung, by timestamps: a source of variable rate is never thinned below the cap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FrameCap {
    /// Time between two kept frames.
    interval: Span,
    /// How much earlier than due a frame may be and still count as due: jitter of millisecond clocks.
    tolerance: Span,
    /// No frame before this is kept.
    due: Option<Timestamp>,
}

impl FrameCap {
    /// A cap at `cap` frames per second (above 0), over a source that has `rate`, if it says so.
    pub(super) fn new(cap: u32, rate: Option<(u32, u32)>) -> Self {
        let keep = rate.map_or(1, |rate| keep_one_of(rate, Some(cap)));
        let (interval, tolerance) = match rate {
            Some((num, den)) if num > 0 && den > 0 => {
                let frame = Span::from_units(i64::from(den), num);
                (frame.saturating_mul(i64::from(keep)), Span::from_flicks(frame.flicks() / 2))
            }
            _ => {
                let interval = Span::from_units(1, cap.max(1));
                (interval, Span::from_flicks(interval.flicks() / 8))
            }
        };
        // A source that is slow enough has nothing to leave out, whatever its jitter.
        let passes_all = rate.is_some() && keep == 1;
        FrameCap { interval: if passes_all { Span::ZERO } else { interval }, tolerance, due: None }
    }

    /// Whether the frame at `pts` is kept. One that begins a segment is, and the grid goes on from it.
    pub(super) fn keeps(&mut self, pts: Timestamp, begins_segment: bool) -> bool {
        if self.interval == Span::ZERO || begins_segment {
            self.due = Some(pts + self.interval);
            return true;
        }
        let Some(due) = self.due else {
            self.due = Some(pts + self.interval);
            return true;
        };
        if pts < due - self.tolerance {
            return false;
        }
        // Stay on the grid, so that jitter does not add up; after a hole, begin a new one.
        let late = pts - due;
        self.due = Some(if late > self.interval { pts + self.interval } else { due + self.interval });
        true
    }
}

/// Backlog of undecoded video from which on frames are dropped.
pub(super) const OVERLOAD_BACKLOG: Span = Span::from_millis(1_000);
/// Backlog below which dropping ends.
const RELIEVED_BACKLOG: Span = Span::from_millis(250);

/// Drops frames for all rungs when the encoders are slower than the source.
///
/// The measure is how much source waits undecoded: the encoders' queues block the decoder, so their slowness piles up
/// there, and a burst that the machine can catch up with drops nothing. With one second of backlog every second frame is
/// dropped, with two seconds two of three, and so on, until less than a quarter of a second is left.
#[derive(Debug, Default)]
pub(super) struct Shedder {
    /// Of how many frames one is kept; below 2 all are.
    keep_one_of: i64,
    /// Frames since the last kept one.
    since_kept: i64,
}

impl Shedder {
    /// Whether the next frame goes to the encoders, with so much source waiting.
    pub(super) fn admits(&mut self, backlog: Span, begins_segment: bool) -> bool {
        if backlog >= OVERLOAD_BACKLOG {
            self.keep_one_of = self.keep_one_of.max(1 + backlog.flicks() / OVERLOAD_BACKLOG.flicks());
        } else if backlog < RELIEVED_BACKLOG {
            self.keep_one_of = 0;
        }
        self.since_kept += 1;
        let kept = begins_segment || self.since_kept >= self.keep_one_of;
        if kept {
            self.since_kept = 0;
        }
        kept
    }

    /// Frames are being dropped.
    pub(super) fn is_overloaded(&self) -> bool {
        self.keep_one_of > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kept frames among the first `count` of a source with `rate`, whose times are rounded to milliseconds.
    fn kept(cap: &mut FrameCap, rate: (u32, u32), count: i64, cuts: &[i64]) -> Vec<i64> {
        let at = |n: i64| Timestamp::from_millis(Timestamp::from_units(n * i64::from(rate.1), rate.0).to_units(1_000));
        (0..count).filter(|n| cap.keeps(at(*n), cuts.contains(n))).collect()
    }

    #[test]
    fn sixty_under_thirty_keeps_every_second_frame_and_every_cut() {
        let mut cap = FrameCap::new(30, Some((60, 1)));
        assert_eq!(kept(&mut cap, (60, 1), 10, &[0, 5]), [0, 2, 4, 5, 7, 9]);
    }

    #[test]
    fn the_pattern_is_even_for_hours_of_millisecond_jitter() {
        let mut cap = FrameCap::new(30, Some((60_000, 1_001)));
        let frames = kept(&mut cap, (60_000, 1_001), 216_000, &[]);
        assert!(frames.windows(2).all(|pair| pair[1] - pair[0] == 2), "one of two, always");
        assert_eq!(frames.len(), 108_000);
    }

    #[test]
    fn fifty_under_thirty_becomes_twenty_five() {
        let mut cap = FrameCap::new(30, Some((50, 1)));
        assert_eq!(kept(&mut cap, (50, 1), 8, &[]), [0, 2, 4, 6]);
    }

    #[test]
    fn a_slow_or_unknown_source_loses_nothing_that_the_cap_allows() {
        let mut cap = FrameCap::new(30, Some((30_000, 1_001)));
        assert_eq!(kept(&mut cap, (30_000, 1_001), 500, &[]).len(), 500);
        let mut unknown = FrameCap::new(30, None);
        assert_eq!(kept(&mut unknown, (30, 1), 500, &[]).len(), 500);
        assert_eq!(kept(&mut FrameCap::new(30, None), (60, 1), 600, &[]).len(), 300);
    }

    #[test]
    fn after_a_hole_the_grid_begins_anew() {
        let mut cap = FrameCap::new(25, Some((50, 1)));
        let at = [0, 20, 40, 1_010, 1_030, 1_050].map(Timestamp::from_millis);
        assert_eq!(at.map(|pts| cap.keeps(pts, false)), [true, false, true, true, false, true]);
    }

    #[test]
    fn shedding_deepens_with_the_backlog_spares_cuts_and_ends_when_it_is_gone() {
        let mut shedder = Shedder::default();
        let run = |shedder: &mut Shedder, millis: i64, cuts: &[usize]| -> Vec<bool> {
            (0..6).map(|n| shedder.admits(Span::from_millis(millis), cuts.contains(&n))).collect()
        };
        assert_eq!(run(&mut shedder, 900, &[]), [true; 6]);
        assert!(!shedder.is_overloaded());
        assert_eq!(run(&mut shedder, 1_000, &[]), [false, true, false, true, false, true]);
        assert_eq!(run(&mut shedder, 2_100, &[0]), [true, false, false, true, false, false]);
        assert!(shedder.is_overloaded());
        assert_eq!(run(&mut shedder, 300, &[]), [true, false, false, true, false, false]);
        assert_eq!(run(&mut shedder, 200, &[]), [true; 6]);
        assert!(!shedder.is_overloaded());
    }
}
