//! The cut clock: where the segments of all renditions begin.
//!
//! Rules, in the order of their weight:
//! 1. A segment never passes the target duration, rounded to the nearest second as RFC 8216 4.3.3.1 counts.
//! 2. A keyframe ends the segment when waiting for the next one, at the longest interval seen so far, would break rule 1.
//! 3. A group of pictures that alone breaks rule 1 is cut by time. Then, with [`LongGop::EndCopy`], the next keyframe ends
//!    the copying, and all later cuts go by time.
//! 4. Sound that runs without pictures is cut by its own time.
//!
//! A cut never lies at or before a packet that has already been given out for the segment before it.

use super::LongGop;
use crate::media::{CutKind, Span, Timestamp};

/// How much shorter than rule 1 allows a video segment must be: sound is cut at its first frame behind the cut, so an
/// audio segment may be one frame longer than the video's (1024 samples at 11 025 Hz are 93 ms).
const ROUNDING_SLACK: Span = Span::from_millis(100);

/// A cut that the clock calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub at: Timestamp,
    pub kind: CutKind,
}

/// The state of the clock.
#[derive(Debug)]
pub(super) struct CutClock {
    target: Span,
    long_gop: LongGop,
    /// Start of the open segment.
    start: Timestamp,
    /// The open segment has a picture.
    pictures: bool,
    /// PTS of the last keyframe, and by how much it is behind its DTS.
    last_keyframe: Option<Timestamp>,
    lead: Span,
    last_interval: Option<Span>,
    longest_interval: Span,
    last_dts: Option<Timestamp>,
    /// A group of pictures was cut by time, or the copy has too many bits: the next keyframe shall end the copying.
    copy_end: CopyEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CopyEnd {
    Copying,
    AtNextKeyframe,
    Ended,
}

impl CutClock {
    pub(super) fn new(target: Span, long_gop: LongGop) -> Self {
        CutClock {
            target,
            long_gop,
            start: Timestamp::ZERO,
            pictures: false,
            last_keyframe: None,
            lead: Span::ZERO,
            last_interval: None,
            longest_interval: Span::ZERO,
            last_dts: None,
            copy_end: CopyEnd::Copying,
        }
    }

    /// What follows the first cut by time.
    pub(super) fn set_long_gop(&mut self, long_gop: LongGop) {
        self.long_gop = long_gop;
        if long_gop == LongGop::CutByTime && self.copy_end == CopyEnd::AtNextKeyframe {
            self.copy_end = CopyEnd::Copying;
        }
    }

    /// Copying ends at the next keyframe, whatever its groups of pictures are like.
    pub(super) fn end_copy(&mut self) {
        if self.copy_end == CopyEnd::Copying {
            self.copy_end = CopyEnd::AtNextKeyframe;
        }
    }

    /// The last and the longest keyframe interval of this run.
    pub(super) fn keyframe_intervals(&self) -> (Option<Span>, Span) {
        (self.last_interval, self.longest_interval)
    }

    /// Start of the open segment.
    pub(super) fn start(&self) -> Timestamp {
        self.start
    }

    /// A segment begins at `at`. `new_run`: what was learned of the encoder's habits no longer holds.
    pub(super) fn begin(&mut self, at: Timestamp, new_run: bool) {
        self.start = at;
        self.pictures = false;
        if new_run {
            self.last_keyframe = None;
            self.last_dts = None;
            self.longest_interval = Span::ZERO;
        }
    }

    /// Whether the next keyframe ends the copying, with a discontinuity.
    pub(super) fn copy_ends_at_keyframe(&self) -> bool {
        self.copy_end == CopyEnd::AtNextKeyframe
    }

    /// The discontinuity at a keyframe is made: says once whether copying ends with it.
    pub(super) fn take_copy_end(&mut self) -> bool {
        let ends = self.copy_ends_at_keyframe();
        if ends {
            self.copy_end = CopyEnd::Ended;
        }
        ends
    }

    /// Looks at the next picture. `floor`: PTS of the last sound given out.
    pub(super) fn on_video(&mut self, dts: Timestamp, pts: Timestamp, keyframe: bool, floor: Timestamp) -> Option<Due> {
        if keyframe {
            self.note_keyframe(dts, pts);
        }
        // Decoding order is cut; seen in presentation, that is as far behind as the last keyframe's PTS was.
        let boundary = if keyframe { pts } else { dts + self.lead };
        let frame = self.last_dts.map_or(Span::ZERO, |last| dts - last);
        let due = self.pictures && boundary > floor && boundary > self.start && self.is_due(boundary, keyframe, frame);
        self.last_dts = Some(dts);
        if !due {
            self.pictures = true;
            return None;
        }
        let kind = if keyframe { CutKind::Keyframe } else { CutKind::Time };
        if !keyframe && self.copy_end == CopyEnd::Copying && self.long_gop == LongGop::EndCopy {
            self.copy_end = CopyEnd::AtNextKeyframe;
        }
        self.begin(boundary, false);
        self.pictures = true;
        Some(Due { at: boundary, kind })
    }

    /// Looks at sound that goes on without pictures.
    pub(super) fn on_audio_alone(&mut self, pts: Timestamp) -> Option<Due> {
        if pts - self.start < self.target {
            return None;
        }
        self.begin(pts, false);
        Some(Due { at: pts, kind: CutKind::Time })
    }

    fn note_keyframe(&mut self, dts: Timestamp, pts: Timestamp) {
        if let Some(last) = self.last_keyframe {
            let interval = pts - last;
            self.last_interval = Some(interval);
            self.longest_interval = self.longest_interval.max(interval);
        }
        self.last_keyframe = Some(pts);
        self.lead = pts - dts;
    }

    fn is_due(&self, boundary: Timestamp, keyframe: bool, frame: Span) -> bool {
        let elapsed = boundary - self.start;
        if self.copy_end == CopyEnd::Ended {
            return elapsed >= self.target;
        }
        if keyframe {
            return !self.fits(elapsed + self.longest_interval);
        }
        let group = self.last_keyframe.map_or(elapsed, |keyframe| boundary - keyframe);
        if self.fits(self.longest_interval.max(group)) {
            // The group may still fit: wait as long as the segment allows.
            !self.fits(elapsed + frame)
        } else {
            elapsed >= self.target
        }
    }

    fn fits(&self, duration: Span) -> bool {
        (duration + ROUNDING_SLACK).to_units(1) <= self.target.to_units(1).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// Cuts of pictures at 30 fps for `millis`, with keyframes where `keyframe` says; the segment starts with the first.
    fn cuts(clock: &mut CutClock, millis: i64, keyframe: impl Fn(i64) -> bool) -> Vec<(i64, CutKind)> {
        clock.begin(at(66), true);
        let frames = (0..millis * 3 / 100).map(|n| (n, at((n * 100 + 1) / 3)));
        let due = frames.filter_map(|(n, dts)| {
            if keyframe(n) && clock.copy_ends_at_keyframe() {
                clock.take_copy_end();
                clock.begin(dts + Span::from_millis(66), false);
            }
            clock.on_video(dts, dts + Span::from_millis(66), keyframe(n), Timestamp::ZERO)
        });
        due.map(|due| (due.at.to_units(1_000) - 66, due.kind)).collect()
    }

    fn clock() -> CutClock {
        let mut clock = CutClock::new(Span::from_secs(2), LongGop::CutByTime);
        clock.begin(at(66), true);
        clock
    }

    use CutKind::{Keyframe, Time};

    #[test]
    fn keyframes_at_the_target_are_the_cuts() {
        let found = cuts(&mut clock(), 6_100, |n| n % 60 == 0);
        assert_eq!(found, [(2_000, Keyframe), (4_000, Keyframe), (6_000, Keyframe)]);
    }

    #[test]
    fn short_groups_are_gathered_up_to_the_target() {
        let found = cuts(&mut clock(), 6_100, |n| n % 15 == 0);
        assert_eq!(found, [(2_000, Keyframe), (4_000, Keyframe), (6_000, Keyframe)]);
        let found = cuts(&mut clock(), 5_000, |n| n % 36 == 0);
        assert_eq!(found, [(1_200, Keyframe), (2_400, Keyframe), (3_600, Keyframe), (4_800, Keyframe)]);
    }

    #[test]
    fn a_scene_cut_ends_the_segment_when_the_next_keyframe_may_be_far() {
        let found = cuts(&mut clock(), 8_000, |n| n % 60 == 0 || n == 100);
        assert_eq!(found, [(2_000, Keyframe), (3_333, Keyframe), (4_000, Keyframe), (6_000, Keyframe)]);
    }

    #[test]
    fn a_group_that_rounds_to_the_target_fits() {
        let found = cuts(&mut clock(), 7_000, |n| n % 70 == 0);
        assert_eq!(found, [(2_333, Keyframe), (4_667, Keyframe)]);
    }

    #[test]
    fn long_groups_are_cut_by_time() {
        let found = cuts(&mut clock(), 12_000, |n| n % 250 == 0);
        let first = [(2_367, Time), (4_367, Time), (6_367, Time), (8_333, Keyframe)];
        assert_eq!(found, [&first[..], &[(10_333, Time)]].concat());
    }

    #[test]
    fn the_end_of_copying_comes_with_the_next_keyframe_and_then_time_rules() {
        let mut clock = CutClock::new(Span::from_secs(2), LongGop::EndCopy);
        let found = cuts(&mut clock, 15_000, |n| n % 250 == 0);
        let before = [(2_367, Time), (4_367, Time), (6_367, Time)];
        // The discontinuity at 8.333 s is the caller's.
        assert_eq!(found, [&before[..], &[(10_333, Time), (12_333, Time), (14_333, Time)]].concat());
        assert!(!clock.take_copy_end(), "only once");
    }

    #[test]
    fn the_end_of_copying_can_be_called_off() {
        let mut clock = CutClock::new(Span::from_secs(2), LongGop::EndCopy);
        cuts(&mut clock, 3_000, |n| n == 0);
        assert!(clock.copy_ends_at_keyframe());
        clock.set_long_gop(LongGop::CutByTime);
        assert!(!clock.copy_ends_at_keyframe());
    }

    #[test]
    fn copying_can_be_ended_from_outside_and_only_once() {
        let mut clock = CutClock::new(Span::from_secs(2), LongGop::EndCopy);
        clock.end_copy();
        assert!(clock.take_copy_end());
        clock.end_copy();
        assert!(!clock.copy_ends_at_keyframe(), "it has ended");
    }

    #[test]
    fn sound_alone_is_cut_at_its_first_frame_behind_the_target() {
        let mut clock = clock();
        let frames = (0..300).map(|n| Timestamp::from_units(n * 1_024, 48_000) + Span::from_millis(66));
        let found: Vec<_> = frames.filter_map(|pts| clock.on_audio_alone(pts)).map(|due| due.at).collect();
        let frame = |n: i64| Timestamp::from_units(n * 1_024, 48_000) + Span::from_millis(66);
        assert_eq!(found, [frame(94), frame(188), frame(282)]);
    }

    #[test]
    fn a_cut_never_lies_before_what_was_given_out() {
        let mut clock = clock();
        clock.on_video(at(0), at(66), true, Timestamp::ZERO);
        assert_eq!(clock.on_video(at(2_000), at(2_066), true, at(2_100)), None);
        let due = clock.on_video(at(2_400), at(2_466), false, at(2_100));
        assert_eq!(due, Some(Due { at: at(2_466), kind: Time }));
    }

    #[test]
    fn a_keyframe_that_is_a_segments_first_picture_needs_no_cut() {
        let mut clock = clock();
        clock.on_video(at(0), at(66), true, Timestamp::ZERO);
        assert_eq!(clock.on_audio_alone(at(2_066)).map(|due| due.kind), Some(Time));
        assert_eq!(clock.on_video(at(2_010), at(2_076), true, at(2_066)), None);
        assert_eq!(clock.start(), at(2_066));
    }
}
