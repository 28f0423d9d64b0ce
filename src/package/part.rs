//! Where a segment is divided into parts.
//!
//! A part ends before it would pass the part target, and as soon as another sample like its shortest one would not fit. The
//! second half makes parts as long as whole frames allow at a constant rate (LL-HLS wants at least 85 % of the target) and lets them
//! out without waiting for the sample that proves it. It is the shortest and not the last, because a source that counts in
//! milliseconds has frames of 83 and 84 ms: three of them and a fourth of 84 would pass 334 ms, and the fourth has 83.
//!
//! A single sample that is longer than the target (a source below 3 frames per second at the default of 334 ms) is a part of its
//! own: samples cannot be divided. Such a part breaks the promise of PART-TARGET, which players enforce, so a stream like that must
//! be given a longer part target from the start.

use crate::media::Span;
use crate::media::time::FLICKS_PER_SECOND;

/// The rule, in units of one track's timescale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRule {
    target_units: u64,
}

impl PartRule {
    /// The rule for `target`, rounded down to a whole unit so that no sum of units can pass it.
    pub fn new(target: Span, timescale: u32) -> Self {
        let units = i128::from(target.flicks().max(0)) * i128::from(timescale) / i128::from(FLICKS_PER_SECOND);
        PartRule { target_units: u64::try_from(units).unwrap_or(u64::MAX) }
    }

    /// Whether a part of `part_units` must end before a sample of `next_units`.
    pub fn ends_before(self, part_units: u64, next_units: u64) -> bool {
        part_units > 0 && part_units.saturating_add(next_units) > self.target_units
    }

    /// Whether a part of `part_units`, whose shortest sample has `shortest_units`, is as long as it can be.
    pub fn ends_after(self, part_units: u64, shortest_units: u64) -> bool {
        part_units.saturating_add(shortest_units) > self.target_units
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths of the parts that samples of `durations` make, the last one included.
    fn parts(rule: PartRule, durations: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let (mut parts, mut open, mut shortest) = (Vec::new(), 0, u64::MAX);
        for duration in durations {
            if rule.ends_before(open, duration) {
                parts.push(std::mem::take(&mut open));
                shortest = u64::MAX;
            }
            open += duration;
            shortest = shortest.min(duration);
            if rule.ends_after(open, shortest) {
                parts.push(std::mem::take(&mut open));
                shortest = u64::MAX;
            }
        }
        parts.extend((open > 0).then_some(open));
        parts
    }

    #[test]
    fn parts_are_whole_frames_just_below_the_target() {
        let video = PartRule::new(Span::from_millis(334), 90_000);
        assert_eq!(parts(video, [3_000; 60]), [30_000; 6]);
        assert_eq!(parts(video, [3_600; 50]), [28_800, 28_800, 28_800, 28_800, 28_800, 28_800, 7_200]);
        let audio = PartRule::new(Span::from_millis(334), 48_000);
        assert_eq!(parts(audio, [1_024; 94])[..2], [15_360, 15_360]);
    }

    #[test]
    fn a_longer_sample_ends_the_part_before_it_and_stands_alone() {
        let rule = PartRule::new(Span::from_millis(334), 1_000);
        assert_eq!(parts(rule, [100, 100, 300, 400, 33]), [200, 300, 400, 33]);
    }

    #[test]
    fn frames_on_a_grid_of_milliseconds_fill_a_part() {
        let rule = PartRule::new(Span::from_millis(334), 1_000);
        assert_eq!(parts(rule, [84, 83, 84, 83, 83, 84]), [334, 167]);
        assert_eq!(parts(rule, [84, 83, 84, 84, 83]), [251, 167]);
    }

    #[test]
    fn the_target_is_never_rounded_up() {
        assert_eq!(PartRule::new(Span::from_flicks(FLICKS_PER_SECOND - 1), 1).target_units, 0);
        assert_eq!(PartRule::new(Span::from_millis(-5), 90_000).target_units, 0);
    }
}
