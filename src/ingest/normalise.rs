//! Stamps of the publisher become stamps of the session.
//!
//! Video: DTS rises strictly, PTS is never before it. Where composition times are negative, DTS moves back by a constant;
//! PTS stays, because it is what sound is heard against. Audio: the first frame of a run is mapped, from then on samples are
//! counted, so that the millisecond rounding of RTMP never reaches the output; [`Drift`] watches the count.
//! Both are told times that are already on the session's timeline, and composition times that can be believed; which mapping
//! and which judgement led there is the caller's affair.

use crate::media::{Span, Timestamp};

/// The least step between two DTS: what a repaired stamp lies behind the one before. Exact in 90 kHz.
const LEAST_STEP: Span = Span::from_millis(1);
/// Frame duration until two frames were seen, and the longest that is believed.
const FIRST_FRAME: Span = Span::from_millis(33);
const LONGEST_FRAME: Span = Span::from_secs(1);

/// The longest hole that is filled: more than the longest step that is no discontinuity.
const LONGEST_HOLE: Span = Span::from_secs(2);

/// Stamps of one picture on the session's timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamps {
    pub dts: Timestamp,
    pub pts: Timestamp,
}

/// The session's video clock.
#[derive(Debug)]
pub(super) struct VideoClock {
    /// How far DTS was moved back: the most negative composition time so far.
    shift: Span,
    last: Option<Timestamp>,
    highest_pts: Option<Timestamp>,
    /// PTS of the last discontinuity: nothing behind it is presented before it.
    floor: Timestamp,
    frame: Span,
    /// The step to the next frame says nothing about the frame rate.
    fresh: bool,
    repairs: u64,
}

impl VideoClock {
    pub(super) fn new() -> Self {
        VideoClock {
            shift: Span::ZERO,
            last: None,
            highest_pts: None,
            floor: Timestamp::ZERO,
            frame: FIRST_FRAME,
            fresh: true,
            repairs: 0,
        }
    }

    /// Stamps that had to be changed by more than the mapping.
    pub(super) fn repairs(&self) -> u64 {
        self.repairs
    }

    /// A discontinuity came, and no picture behind it yet.
    pub(super) fn is_at_a_beginning(&self) -> bool {
        self.fresh
    }

    /// DTS of the last picture.
    pub(super) fn last_dts(&self) -> Option<Timestamp> {
        self.last
    }

    /// A discontinuity at `at` comes before the next picture.
    pub(super) fn begin_run(&mut self, at: Timestamp) {
        self.floor = at;
        self.fresh = true;
    }

    /// Learns from a composition time before its picture is placed.
    pub(super) fn learn(&mut self, composition: Span) {
        self.shift = self.shift.max(-composition);
    }

    /// The end of the last picture in presentation.
    pub(super) fn end(&self) -> Option<Timestamp> {
        self.highest_pts.map(|pts| pts + self.frame)
    }

    /// The earliest PTS that a run may begin with, so that its first picture decodes after the last one.
    pub(super) fn earliest_pts(&self, composition: Span) -> Option<Timestamp> {
        let decoded = self.last.map(|dts| dts + self.frame + composition + self.shift);
        decoded.max(self.end())
    }

    /// Places a picture whose source DTS, mapped to the session, is `dts`.
    pub(super) fn place(&mut self, dts: Timestamp, composition: Span) -> Stamps {
        self.learn(composition);
        let mut pts = dts + composition;
        let mut repaired = false;
        let mut placed = dts - self.shift;
        if let Some(last) = self.last {
            let step = placed - last;
            if step < LEAST_STEP {
                placed = last + LEAST_STEP;
                repaired = true;
            } else if !self.fresh {
                self.frame = step.min(LONGEST_FRAME);
            }
        }
        let earliest = placed.max(self.floor);
        if pts < earliest {
            pts = earliest;
            repaired = true;
        }
        self.fresh = false;
        self.repairs += u64::from(repaired);
        self.last = Some(placed);
        self.highest_pts = self.highest_pts.max(Some(pts));
        Stamps { dts: placed, pts }
    }
}

/// The session's audio clock: a count of samples.
#[derive(Debug)]
pub(super) struct AudioClock {
    rate: u32,
    /// Of a frame of silence.
    samples_per_frame: u32,
    /// The next frame's PTS in samples; `None` until the first frame, and at the start of a run.
    next: Option<i64>,
    end: Option<Timestamp>,
    /// Until where silence was counted, when nothing else was since.
    silent_until: Option<Timestamp>,
    drift: Drift,
    corrections: u64,
    corrected: Span,
}

impl AudioClock {
    pub(super) fn new() -> Self {
        AudioClock {
            rate: 48_000,
            samples_per_frame: 1_024,
            next: None,
            end: None,
            silent_until: None,
            drift: Drift::default(),
            corrections: 0,
            corrected: Span::ZERO,
        }
    }

    /// Takes over a configuration; `samples_per_frame` is what a frame of silence has. The count begins anew with the next frame.
    pub(super) fn configure(&mut self, rate: u32, samples_per_frame: u32) {
        self.rate = rate;
        self.samples_per_frame = samples_per_frame;
        self.begin_run();
    }

    /// The next frame is mapped, not counted.
    pub(super) fn begin_run(&mut self) {
        (self.next, self.silent_until) = (None, None);
        self.drift = Drift::default();
    }

    /// Whether the next frame is counted; otherwise its source time decides.
    pub(super) fn is_counting(&self) -> bool {
        self.next.is_some()
    }

    /// The end of the last frame.
    pub(super) fn end(&self) -> Option<Timestamp> {
        self.end
    }

    /// How far the source clock is ahead of the count.
    pub(super) fn drift(&self) -> Span {
        self.drift.smoothed
    }

    /// How often, and by how much in all, the count was moved towards the source clock.
    pub(super) fn corrections(&self) -> (u64, Span) {
        (self.corrections, self.corrected)
    }

    /// How many whole frames are missing before one whose source time, mapped to the session, is `mapped`.
    pub(super) fn missing(&self, mapped: Timestamp) -> i64 {
        let Some(next) = self.next else { return 0 };
        let hole = mapped - Timestamp::from_units(next, self.rate);
        if hole <= Drift::LOST {
            0
        } else {
            hole.min(LONGEST_HOLE).to_units(self.rate) / i64::from(self.samples_per_frame)
        }
    }

    /// A run's count begins with silence, not before `at`, unless it has begun.
    pub(super) fn begin_silence(&mut self, at: Timestamp) {
        if self.next.is_none() {
            self.next = Some(self.ceil(self.end.map_or(at, |end| end.max(at))));
        }
    }

    /// Counts one frame that stands for a missing one, if it begins before `until`; returns PTS and duration.
    pub(super) fn place_silence(&mut self, until: Timestamp) -> Option<(Timestamp, Span)> {
        let first = self.next.filter(|first| Timestamp::from_units(*first, self.rate) < until)?;
        let placed = self.advance(first, i64::from(self.samples_per_frame));
        self.silent_until = self.end;
        Some(placed)
    }

    /// Counts one frame of the silence that leads to a frame whose source time, mapped to the session, is `mapped`; returns PTS
    /// and duration. It ends within half a frame of there: decoders that go by samples stay in step as well.
    pub(super) fn place_bridge(&mut self, mapped: Timestamp) -> Option<(Timestamp, Span)> {
        let (first, frame) = (self.next?, i64::from(self.samples_per_frame));
        (self.ceil(mapped) - first > frame / 2).then(|| self.advance(first, frame))
    }

    /// Frames may be missing before the one whose source time, mapped to the session, is `mapped`: if half a one is, it makes up for
    /// all of it by its duration.
    pub(super) fn make_up_for(&mut self, mapped: Timestamp) {
        let half_a_frame = i64::from(self.samples_per_frame) / 2;
        self.drift.makes_up = self.next.is_some_and(|first| self.ceil(mapped) - first > half_a_frame);
    }

    /// Whether silence was counted where a frame belongs whose source time, mapped to the session, is `mapped`: it came too
    /// late.
    pub(super) fn is_silent_at(&self, mapped: Timestamp) -> bool {
        let half_a_frame = Span::from_units(i64::from(self.samples_per_frame) / 2, self.rate);
        self.silent_until.is_some_and(|until| mapped + half_a_frame < until)
    }

    /// Places a frame of `samples` whose source time, mapped to the session, is `mapped`; returns PTS and duration. Within a run each
    /// frame begins exactly where the one before ends, and all lie on the grid of samples.
    pub(super) fn place(&mut self, mapped: Timestamp, samples: u32) -> (Timestamp, Span) {
        let first = self.next.unwrap_or_else(|| self.ceil(self.end.map_or(mapped, |end| end.max(mapped))));
        self.silent_until = None;
        let pts = Timestamp::from_units(first, self.rate);
        let frame = i64::from(samples);
        let nominal = Span::from_units(frame, self.rate);
        let correction = match self.drift.observe(mapped - pts, nominal) {
            // Half a frame at least stays of a frame: the rest is corrected with the next ones.
            Some(off) => off.to_units(self.rate).max(frame / 2 - frame),
            None => 0,
        };
        if correction != 0 {
            self.corrections += 1;
            self.corrected += Span::from_units(correction, self.rate);
        }
        self.advance(first, frame + correction)
    }

    fn advance(&mut self, first: i64, samples: i64) -> (Timestamp, Span) {
        let (pts, end) = (Timestamp::from_units(first, self.rate), Timestamp::from_units(first + samples, self.rate));
        (self.next, self.end) = (Some(first + samples), Some(end));
        (pts, end - pts)
    }

    /// The first sample that does not begin before `time`: rounding down would put a run's first frame before its cut.
    fn ceil(&self, time: Timestamp) -> i64 {
        let nearest = time.to_units(self.rate);
        nearest + i64::from(Timestamp::from_units(nearest, self.rate) < time)
    }
}

/// Watches how far the source's clock is from the count of samples.
#[derive(Debug, Default)]
struct Drift {
    /// Source minus count, smoothed over about 32 frames so that jitter of single stamps does not count.
    smoothed: Span,
    /// For how much media time it has been beyond the limit.
    beyond: Span,
    /// The next frame corrects all of it.
    makes_up: bool,
}

impl Drift {
    const SMOOTHING_FRAMES: i64 = 32;
    /// 20 ms are promised; what is beyond 15 ms for [`Drift::PATIENCE`] is corrected, so that neither the patience nor the
    /// millisecond rounding leads over them.
    const LIMIT: Span = Span::from_millis(15);
    const PATIENCE: Span = Span::from_secs(5);
    /// No clock drifts this far in one frame, and no known encoder jitters so much: frames were lost.
    const LOST: Span = Span::from_millis(100);

    /// What to add to the count now, if anything.
    fn observe(&mut self, off: Span, frame: Span) -> Option<Span> {
        if off.abs() > Self::LOST || self.makes_up {
            *self = Drift::default();
            return Some(off);
        }
        let change = (off - self.smoothed).flicks() / Self::SMOOTHING_FRAMES;
        self.smoothed += Span::from_flicks(change);
        if self.smoothed.abs() <= Self::LIMIT {
            self.beyond = Span::ZERO;
            return None;
        }
        self.beyond += frame;
        if self.beyond < Self::PATIENCE {
            return None;
        }
        Some(std::mem::take(self).smoothed)
    }
}

#[cfg(test)]
#[path = "normalise_tests.rs"]
mod tests;
