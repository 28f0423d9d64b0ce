//! How fast the publisher's clock runs against this machine's.
//!
//! A packet arrives later than its stamp says, by a delay that the network changes all the time, but that has a floor. So
//! of each minute only the packet counts that came soonest for its stamp; how that one moves from minute to minute is the clocks' doing.
//! Nothing is corrected by it: media time is the publisher's, PROGRAM-DATE-TIME is slewed ([`super::anchor`]), and sound is held
//! to the stamps ([`super::normalise`]). It tells where latency and dates come from, and whose clock it is.

use std::time::Duration;

use super::stats::SourceClock;
use crate::media::{Span, Timestamp};

/// Of so much time one packet counts: network jitter is over within.
const WINDOW: Duration = Duration::from_secs(60);
/// The rate is taken over as many windows, and told from fewer on: milliseconds of RTMP and of the network's floor are 1 to 2 ppm
/// of the first and at most 8 ppm of the second.
const WINDOWS: usize = 10;
const LEAST_WINDOWS: usize = 5;

/// The packet of a window that came soonest.
#[derive(Clone, Copy, Debug, Default)]
struct Soonest {
    arrived: Duration,
    /// Its stamp less its arrival: only differences count.
    lead: Span,
}

/// The clock of one track, as long as its run lasts.
#[derive(Debug, Default)]
pub(super) struct Skew {
    run: u32,
    window_ends: Duration,
    current: Option<Soonest>,
    first: Option<Soonest>,
    /// The newest whole windows; the next overwrites the one at `whole % WINDOWS`.
    ring: [Soonest; WINDOWS],
    whole: usize,
}

impl Skew {
    /// A packet of run `run`, stamped `source` on its clock. A new run begins anew; stragglers of an old one say nothing.
    pub(super) fn observe(&mut self, run: u32, source: Timestamp, arrived: Duration) {
        if run < self.run {
            return;
        }
        if run > self.run {
            *self = Skew { run, ..Skew::default() };
        }
        let lead = (source - Timestamp::ZERO) - Span::from_std(arrived);
        if self.current.is_some() && arrived >= self.window_ends {
            self.close_window();
        }
        match &mut self.current {
            Some(soonest) if soonest.lead >= lead => {}
            Some(soonest) => *soonest = Soonest { arrived, lead },
            None => {
                self.window_ends = arrived.saturating_add(WINDOW);
                self.current = Some(Soonest { arrived, lead });
            }
        }
    }

    fn close_window(&mut self) {
        let Some(soonest) = self.current.take() else { return };
        self.first.get_or_insert(soonest);
        self.ring[self.whole % WINDOWS] = soonest;
        self.whole += 1;
    }

    /// What is known by now.
    pub(super) fn figures(&self) -> SourceClock {
        let (Some(first), Some(newest)) = (self.first, self.whole.checked_sub(1)) else {
            return SourceClock::default();
        };
        let newest = self.ring[newest % WINDOWS];
        let oldest = if self.whole < WINDOWS { first } else { self.ring[self.whole % WINDOWS] };
        let between = Span::from_std(newest.arrived.saturating_sub(oldest.arrived));
        let ppm = (self.whole >= LEAST_WINDOWS && between.is_positive())
            .then(|| ((newest.lead - oldest.lead).as_secs_f64() / between.as_secs_f64() * 1e6).round() as i64);
        SourceClock { ahead: newest.lead - first.lead, ppm }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of `minutes` of a clock that is `ppm` fast, in packets of 20 ms that the network delays by `delay_ms` of their number.
    fn observe(skew: &mut Skew, run: u32, minutes: i64, ppm: i64, delay_ms: impl Fn(i64) -> i64) {
        for n in 0..minutes * 3_000 {
            let stamp_ms = n * 20 + n * 20 * ppm / 1_000_000;
            let arrived = u64::try_from(1_000_000 + n * 20 + delay_ms(n)).expect("positive");
            skew.observe(run, Timestamp::from_millis(stamp_ms), Duration::from_millis(arrived));
        }
    }

    /// 5 to 305 ms, and 10 s without a packet in each quarter of an hour, after which all of them come at once.
    fn network(n: i64) -> i64 {
        let hole = n % 45_000;
        5 + (n * 7_919) % 301 + if hole < 500 { 10_000 - hole * 20 } else { 0 }
    }

    #[test]
    fn clocks_are_measured_through_a_bad_network() {
        for ppm in [-100, -20, 0, 100] {
            let mut skew = Skew::default();
            observe(&mut skew, 1, 120, ppm, network);
            let SourceClock { ahead, ppm: measured } = skew.figures();
            let measured = measured.expect("two hours are enough");
            assert!((measured - ppm).abs() <= 5, "{measured} of {ppm} ppm");
            // From the first of 119 whole minutes to the last.
            let expected = Span::from_millis(118 * 60_000 * ppm / 1_000_000);
            assert!((ahead - expected).abs() <= Span::from_millis(10), "{ahead} of {expected}");
        }
    }

    #[test]
    fn the_rate_is_told_from_the_fifth_minute_on_and_follows_within_ten() {
        let mut skew = Skew::default();
        observe(&mut skew, 1, 1, 100, |_| 0);
        assert_eq!(skew.figures(), SourceClock::default(), "the first minute is not over");
        observe(&mut skew, 2, 5, 100, |_| 0);
        assert_eq!((skew.figures().ppm, skew.figures().ahead.to_millis()), (None, 18));
        observe(&mut skew, 3, 6, 100, |_| 0);
        assert_eq!(skew.figures().ppm, Some(100));
        // Its clock is set right while the run lasts.
        observe(&mut skew, 4, 30, 100, |_| 0);
        for n in 0..3_000 * 12 {
            let (stamp, arrived) = (1_800_180 + n * 20, 2_800_000 + n * 20);
            skew.observe(
                4,
                Timestamp::from_millis(stamp),
                Duration::from_millis(arrived.try_into().expect("positive")),
            );
        }
        assert_eq!((skew.figures().ppm, skew.figures().ahead.to_millis()), (Some(0), 175));
    }

    #[test]
    fn a_new_run_begins_anew_and_stragglers_say_nothing() {
        let mut skew = Skew::default();
        observe(&mut skew, 1, 8, 100, |_| 0);
        skew.observe(2, Timestamp::from_millis(7_200_000), Duration::from_secs(2_000));
        assert_eq!(skew.figures(), SourceClock::default());
        skew.observe(1, Timestamp::ZERO, Duration::from_secs(2_100));
        skew.observe(2, Timestamp::from_millis(7_300_000), Duration::from_secs(2_100));
        skew.observe(2, Timestamp::from_millis(7_400_000), Duration::from_secs(2_200));
        assert_eq!(skew.figures().ahead, Span::ZERO);
    }
}
