//! Where decoded sound goes on a timeline that is counted in samples. Pure.
//!
//! A run is an unbroken count of output samples from an anchor. Source blocks either continue it, or leave a gap that is
//! filled with silence, or overlap what is there already and are trimmed: the count never drifts from the source's PTS.

use crate::media::{Span, Timestamp};

/// Samples by which a block may miss its place and still count as continuous: the rounding of timestamps that passed
/// through another clock, far below what can be heard.
const TOLERANCE_SAMPLES: i64 = 8;
/// Longest gap that is filled. Nobody loses sound for longer without a discontinuity; filling an absurd jump of
/// timestamps would only make silence for hours.
const MAX_FILL: Span = Span::from_secs(10);

/// What to do with a block before it is converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// It follows. So many of its first samples were there already and are left out.
    Follows {
        /// Samples to leave out, at the source's rate.
        skip: usize,
    },
    /// There is a hole before it: empty the resampler, then fill up to its PTS.
    Gap,
    /// It lies so far away that a new run must begin.
    Apart,
}

/// The count of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Time of output sample 0.
    anchor: Timestamp,
    /// Output samples so far, silence included.
    filled: i64,
    output_rate: u32,
    /// Since when the source has been continuous, and how much it has given. `None`: only what is filled counts.
    source: Option<Continuous>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Continuous {
    start: Timestamp,
    samples: i64,
    rate: u32,
}

impl Run {
    pub(super) fn new(anchor: Timestamp, output_rate: u32) -> Self {
        Run { anchor, filled: 0, output_rate, source: None }
    }

    /// The time of output sample `index`, exactly.
    pub(super) fn time_of(&self, index: i64) -> Timestamp {
        self.anchor + Span::from_units(index, self.output_rate)
    }

    /// Where the next source block belongs.
    fn expected(&self) -> Timestamp {
        match self.source {
            Some(source) => source.start + Span::from_units(source.samples, source.rate),
            None => self.time_of(self.filled),
        }
    }

    /// Decides about a block of `samples` samples at `pts`, and counts it if it follows.
    pub(super) fn place(&mut self, pts: Timestamp, samples: usize, rate: u32) -> Placement {
        let off = pts - self.expected();
        let tolerance = Span::from_units(TOLERANCE_SAMPLES, rate);
        if off.abs() > MAX_FILL {
            return Placement::Apart;
        }
        if off > tolerance {
            return Placement::Gap;
        }
        let early = if off < -tolerance { usize::try_from((-off).to_units(rate)).unwrap_or(usize::MAX) } else { 0 };
        let skip = early.min(samples);
        let taken = i64::try_from(samples - skip).unwrap_or(0);
        let begins = pts + Span::from_units(i64::try_from(skip).unwrap_or(0), rate);
        match &mut self.source {
            Some(source) if source.rate == rate => source.samples += taken,
            // A block that is wholly trimmed says nothing of where the source goes on.
            _ if taken > 0 => self.source = Some(Continuous { start: begins, samples: taken, rate }),
            _ => {}
        }
        Placement::Follows { skip }
    }

    /// The source's clock has moved by `by` against its samples: what follows belongs so much later (or earlier).
    pub(super) fn shift(&mut self, by: Span) {
        if let Some(source) = &mut self.source {
            source.start += by;
        }
    }

    /// Output samples that are missing (or too many) for the source to be where it belongs, when the resampler still holds
    /// `held` of them.
    pub(super) fn owed(&self, held: i64) -> i64 {
        (self.expected() - self.time_of(self.filled)).to_units(self.output_rate) - held
    }

    /// Counts output samples that the resampler gave.
    pub(super) fn count(&mut self, samples: usize) {
        self.filled = self.filled.saturating_add(i64::try_from(samples).unwrap_or(i64::MAX));
    }

    /// The source is interrupted: what follows is measured against what is filled. The resampler must be empty.
    pub(super) fn interrupt(&mut self) {
        self.source = None;
    }

    /// Samples of silence that are missing up to `until`; counted as filled. To be asked after [`Run::interrupt`].
    pub(super) fn fill_until(&mut self, until: Timestamp) -> usize {
        let missing = (until - self.anchor).to_units(self.output_rate) - self.filled;
        let limit = MAX_FILL.to_units(self.output_rate);
        let missing = usize::try_from(missing.clamp(0, limit)).unwrap_or(0);
        self.count(missing);
        missing
    }

    /// Whether `until` lies so far behind what is filled that the source must have lost sound.
    pub(super) fn lags(&self, until: Timestamp) -> bool {
        until - self.expected() > Span::from_units(TOLERANCE_SAMPLES, self.output_rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 48_000;

    fn at(sample: i64) -> Timestamp {
        Timestamp::from_millis(10_000) + Span::from_units(sample, RATE)
    }

    fn run() -> Run {
        Run::new(at(0), RATE)
    }

    fn feed(run: &mut Run, sample: i64, len: usize) -> Placement {
        let placement = run.place(at(sample), len, RATE);
        if let Placement::Follows { skip } = placement {
            run.count(len - skip);
        }
        placement
    }

    #[test]
    fn blocks_that_follow_within_rounding_are_taken_whole() {
        let mut run = run();
        for (block, off) in [0, 3, -5, 8, -8, 0].into_iter().enumerate() {
            assert_eq!(feed(&mut run, block as i64 * 1_024 + off, 1_024), Placement::Follows { skip: 0 }, "{block}");
        }
        assert_eq!(run.time_of(run.filled), at(6 * 1_024));
    }

    #[test]
    fn a_gap_is_filled_to_the_sample() {
        let mut run = run();
        feed(&mut run, 0, 1_024);
        assert_eq!(feed(&mut run, 3_000, 1_024), Placement::Gap);
        run.interrupt();
        assert_eq!(run.fill_until(at(3_000)), 3_000 - 1_024);
        assert_eq!(feed(&mut run, 3_000, 1_024), Placement::Follows { skip: 0 });
        assert_eq!(run.time_of(run.filled), at(4_024));
    }

    #[test]
    fn an_overlap_is_trimmed_and_the_source_may_come_back_later() {
        let mut run = run();
        feed(&mut run, 0, 1_024);
        assert_eq!(feed(&mut run, 1_000, 1_024), Placement::Follows { skip: 24 });
        assert_eq!(feed(&mut run, 500, 1_024), Placement::Follows { skip: 1_024 });
        assert_eq!(feed(&mut run, 2_024, 1_024), Placement::Follows { skip: 0 });
        assert_eq!(run.time_of(run.filled), at(3_048));
    }

    #[test]
    fn what_lies_before_the_anchor_is_trimmed() {
        let mut run = run();
        assert_eq!(feed(&mut run, -1_500, 1_024), Placement::Follows { skip: 1_024 });
        assert_eq!(feed(&mut run, -476, 1_024), Placement::Follows { skip: 476 });
        assert_eq!(run.time_of(run.filled), at(548));
    }

    #[test]
    fn drift_of_the_source_is_corrected_before_it_is_heard() {
        let mut run = run();
        let mut corrections = 0;
        // Blocks that come one sample later each: 8 are tolerated, the 9th is a gap.
        for block in 0..100_i64 {
            let pts = block * 1_025;
            if feed(&mut run, pts, 1_024) == Placement::Gap {
                run.interrupt();
                corrections += run.fill_until(at(pts));
                assert_eq!(feed(&mut run, pts, 1_024), Placement::Follows { skip: 0 });
            }
            let off = run.time_of(run.filled) - at(pts + 1_024);
            assert!(off.abs() <= Span::from_units(8, RATE), "{block}: {off}");
        }
        assert_eq!(corrections, 99);
    }

    #[test]
    fn a_shift_of_the_clock_is_owed_until_it_is_filled() {
        let mut run = run();
        feed(&mut run, 0, 1_024);
        run.shift(Span::from_units(720, RATE));
        assert_eq!((run.owed(0), run.owed(16)), (720, 704));
        assert_eq!(feed(&mut run, 1_744, 1_024), Placement::Follows { skip: 0 }, "it lies where its clock says");
        run.count(720);
        assert_eq!(run.owed(0), 0);
        run.shift(Span::from_units(-512, RATE));
        assert_eq!(run.owed(0), -512);
    }

    /// An hour of blocks whose clock says that they come `ppm` faster than their rate, as ingest hands them on: counted, and 15 ms
    /// longer or shorter where clock and count are so far apart. The resampler makes up for what is owed within 5 s.
    fn follow_for_an_hour(rate: u32, ppm: i64) -> (i64, Span) {
        let mut run = run();
        let (mut pts, mut converted, mut shifts, mut worst) = (at(0), 0, 0, Span::ZERO);
        let (mut owed, mut share) = (0, 0);
        for block in 1..=3_600 * i64::from(rate) / 1_024 {
            assert_eq!(
                run.place(pts, 1_024, rate),
                Placement::Follows { skip: 0 },
                "block {block}: no hole, no overlap"
            );
            // What the resampler gives: its rate's share, and some of what is owed.
            let given = block * 1_024 * i64::from(RATE) / i64::from(rate) - converted;
            converted += given;
            let made_up = if share > 0 { share.min(owed) } else { share.max(owed) };
            owed -= made_up;
            run.count(usize::try_from(given + made_up).expect("more than is owed"));
            let counted = pts + Span::from_units(1_024, rate);
            let told = at(0)
                + Span::from_flicks(Span::from_units(block * 1_024, rate).flicks() * 1_000_000 / (1_000_000 + ppm));
            let off = Span::from_units((told - counted).to_units(rate), rate);
            pts = counted;
            if off.abs() > Span::from_millis(15) {
                run.shift(off);
                pts += off;
                owed = run.owed(0);
                share = owed / (5 * i64::from(rate) / 1_024) + owed.signum();
                shifts += 1;
            }
            worst = worst.max((run.time_of(run.filled) - told).abs());
        }
        (shifts, worst)
    }

    #[test]
    fn an_hour_of_a_clock_that_runs_wrong_is_followed_within_what_is_promised() {
        for (rate, ppm) in [(48_000, 100), (48_000, -100), (44_100, 100), (44_100, -100)] {
            let (shifts, worst) = follow_for_an_hour(rate, ppm);
            // 360 ms in all, in steps of 15.
            assert!((22..=24).contains(&shifts), "{rate} Hz, {ppm} ppm: {shifts}");
            assert!(worst < Span::from_millis(20), "{rate} Hz, {ppm} ppm: {worst} off");
        }
    }

    #[test]
    fn another_rate_is_counted_in_its_own_samples() {
        let mut run = run();
        let mut pts = at(0);
        for _ in 0..1_000 {
            assert_eq!(run.place(pts, 1_024, 44_100), Placement::Follows { skip: 0 });
            pts += Span::from_units(1_024, 44_100);
        }
    }

    #[test]
    fn absurd_jumps_begin_a_new_run() {
        let mut run = run();
        feed(&mut run, 0, 1_024);
        assert_eq!(run.place(at(20 * 48_000), 1_024, RATE), Placement::Apart);
        assert_eq!(run.place(at(-20 * 48_000), 1_024, RATE), Placement::Apart);
    }

    #[test]
    fn lost_sound_is_noticed_and_filled_at_most_ten_seconds_at_once() {
        let mut run = run();
        feed(&mut run, 0, 1_024);
        assert!(!run.lags(at(1_030)) && run.lags(at(1_040)));
        run.interrupt();
        assert_eq!(run.fill_until(at(900)), 0);
        assert_eq!(run.fill_until(at(96_000_000)), 480_000);
    }
}
