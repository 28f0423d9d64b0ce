//! PROGRAM-DATE-TIME: anchor + media time, computed once per cut.
//!
//! The anchor is slewed towards the wall clock, so that a clock set by hand or by NTP never shows as a jump. Only behind
//! the discontinuity of a new run, where the wall clock went on without media (nobody was connected, or pictures were left out
//! up to a keyframe), it steps: forward, and back by no more than the timeline passed over without media. PDT never goes back.

use crate::media::{Span, Timestamp, WallTime};

/// The most by which one segment's PDT leaves media time.
const SLEW_PER_SEGMENT: Span = Span::from_flicks(crate::media::time::FLICKS_PER_SECOND / 2_000); // 0.5 ms
/// What two ordinary clocks are off by, 100 ppm, and half of that: in a segment of more than 3.3 s it is more than the above, and
/// dates would never catch up.
const SLEW_PPM: i64 = 150;

/// The relation of media time and wall clock.
#[derive(Debug, Default)]
pub(super) struct Anchor {
    /// The last cut, and its PDT.
    pair: Option<(Timestamp, WallTime)>,
    /// Its PDT less the wall clock when its media came in.
    ahead: Span,
}

impl Anchor {
    /// Goes on from where another ingest of the session stopped.
    pub(super) fn resume(pair: Option<(Timestamp, WallTime)>) -> Self {
        Anchor { pair, ahead: Span::ZERO }
    }

    /// The last cut and its PDT.
    pub(super) fn pair(&self) -> Option<(Timestamp, WallTime)> {
        self.pair
    }

    /// PDT of the last cut less the wall clock when its media came in.
    pub(super) fn ahead(&self) -> Span {
        self.ahead
    }

    /// PDT of a cut at `at` whose media came in when the wall clock said `observed`. `new_run`: the first cut of a run, and how much
    /// of the timeline before it was passed over: time that need not have gone by.
    pub(super) fn date(&mut self, at: Timestamp, observed: WallTime, new_run: Option<Span>) -> WallTime {
        let date = match self.pair {
            None => observed,
            Some((anchor, wall)) => {
                let expected = wall.saturating_add(at - anchor);
                let error = observed.since(expected);
                let slew = SLEW_PER_SEGMENT.max(Span::from_flicks((at - anchor).flicks() / 1_000_000 * SLEW_PPM));
                let (least, most) = new_run.map_or((-slew, slew), |passed| (-slew.max(passed), error.max(slew)));
                expected.saturating_add(error.clamp(least, most)).max(wall)
            }
        };
        self.pair = Some((at, date));
        self.ahead = date.since(observed);
        date
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: WallTime = WallTime::from_unix_millis(1_795_262_400_000);

    fn later(millis: i64) -> WallTime {
        NOON.saturating_add(Span::from_millis(millis))
    }

    #[test]
    fn media_time_counts_and_the_wall_clock_only_pulls() {
        let mut anchor = Anchor::default();
        assert_eq!(anchor.date(Timestamp::from_millis(10_000), later(0), None), later(0));
        // Arrival jitters by 300 ms; dates move by half a millisecond at most.
        let late = anchor.date(Timestamp::from_millis(12_000), later(2_300), None);
        assert_eq!(late.unix_nanos() - later(2_000).unix_nanos(), 500_000);
        assert_eq!(anchor.ahead(), SLEW_PER_SEGMENT - Span::from_millis(300));
        let early = anchor.date(Timestamp::from_millis(14_000), later(3_900), None);
        assert_eq!(early, later(4_000));
        assert_eq!(anchor.date(Timestamp::from_millis(16_000), later(6_000), None), later(6_000));
    }

    #[test]
    fn a_new_connection_steps_forward_but_never_back() {
        let mut anchor = Anchor::default();
        anchor.date(Timestamp::from_millis(10_000), later(0), None);
        assert_eq!(anchor.date(Timestamp::from_millis(12_000), later(9_000), Some(Span::ZERO)), later(9_000));
        let back = anchor.date(Timestamp::from_millis(14_000), later(-50_000), Some(Span::ZERO));
        assert_eq!(later(11_000).unix_nanos() - back.unix_nanos(), 500_000);
    }

    #[test]
    fn a_day_of_a_drifting_wall_clock_is_followed_without_a_step() {
        let mut anchor = Anchor::default();
        let mut last = anchor.date(Timestamp::ZERO, NOON, None);
        for segment in 1..=43_200i64 {
            // The wall clock runs 100 ppm fast, and is set an hour forward at half time.
            let millis = segment * 2_000 + segment / 5 + if segment > 21_600 { 3_600_000 } else { 0 };
            let date = anchor.date(Timestamp::from_millis(segment * 2_000), later(millis), None);
            let step = date.since(last);
            assert!((step - Span::from_secs(2)).abs() <= SLEW_PER_SEGMENT, "segment {segment}: {step}");
            if segment == 21_600 {
                assert!(date.since(later(millis)).abs() < Span::from_millis(2));
            }
            last = date;
        }
    }

    #[test]
    fn long_segments_follow_a_drifting_wall_clock_too() {
        for ppm in [-100i64, 100] {
            let (mut anchor, mut last) = (Anchor::default(), NOON);
            for segment in 0..8_640i64 {
                let (at, wall) =
                    (Timestamp::from_millis(segment * 10_000), later(segment * 10_000 + segment * ppm / 100));
                let date = anchor.date(at, wall, None);
                assert!(date.since(wall).abs() <= Span::from_millis(2), "segment {segment} at {ppm} ppm: {date}");
                assert!(segment == 0 || (date.since(last) - Span::from_secs(10)).abs() <= Span::from_millis(2));
                last = date;
            }
        }
    }

    #[test]
    fn a_restart_goes_on_from_the_last_pair() {
        let mut anchor = Anchor::resume(Some((Timestamp::from_millis(60_000), later(0))));
        assert_eq!(anchor.date(Timestamp::from_millis(62_000), later(2_000), Some(Span::ZERO)), later(2_000));
    }

    #[test]
    fn what_was_passed_over_is_no_time_that_went_by() {
        let second = Some(Span::from_secs(1));
        // Restarts in quick succession: each passes over a second, and takes 300 ms.
        let mut last = (Timestamp::from_millis(60_000), later(0));
        for restart in 1..=20 {
            let at = last.0 + Span::from_secs(2);
            let mut anchor = Anchor::resume(Some(last));
            let observed = later(restart * 1_300);
            assert_eq!(anchor.date(at, observed, second), observed, "restart {restart}");
            last = (at, observed);
        }
        // What was dated stays dated: the segment before the restart lasts until its end.
        let mut anchor = Anchor::resume(Some((Timestamp::ZERO, later(0))));
        assert_eq!(anchor.date(Timestamp::from_millis(3_000), later(500), second), later(2_000));
    }
}
