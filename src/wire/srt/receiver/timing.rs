//! The sender's clock, the round trip, and how fast packets come.

use std::collections::VecDeque;
use std::time::Duration;

use crate::wire::srt::packet::Serial;

/// Drift is looked at over this many samples (one per acknowledged acknowledgement, so about 10 s).
const DRIFT_SAMPLES: u32 = 1_000;
/// And followed by at most this much at a time.
const MAX_DRIFT_STEP_US: i64 = 5_000;
/// No packet waits for longer than this beyond the latency, whatever its timestamp says.
const MAX_AHEAD: Duration = Duration::from_secs(1);

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX / 4)
}

/// When packets are due: timestamps of the sender on our clock (draft section 4.5, TSBPD).
#[derive(Debug)]
pub(super) struct SenderClock {
    /// Our time, in microseconds, at which the sender's clock was 0. Below zero if that was before ours began.
    base: i64,
    latency: Duration,
    drift_sum: i64,
    drift_samples: u32,
    /// Round trip when the connection began: half of it is in the base.
    first_rtt: Option<Duration>,
    drifted: i64,
}

impl SenderClock {
    /// A clock that showed `timestamp` in a packet that came at `at`.
    pub fn new(timestamp: u32, at: Duration, latency: Duration) -> Self {
        let base = micros(at) - i64::from(timestamp);
        SenderClock { base, latency, drift_sum: 0, drift_samples: 0, first_rtt: None, drifted: 0 }
    }

    /// The sender's time of `timestamp`, which wraps every 71.6 min: the one nearest to what its clock shows at `now`.
    fn unwrapped(&self, timestamp: u32, now: Duration) -> i64 {
        let expected = micros(now) - self.base;
        expected + i64::from(timestamp.wrapping_sub(expected as u32) as i32)
    }

    /// Our time at which a packet with `timestamp` that came at `now` is due.
    pub fn due(&self, timestamp: u32, now: Duration) -> Duration {
        let due = self.base + self.unwrapped(timestamp, now) + micros(self.latency);
        Duration::from_micros(u64::try_from(due).unwrap_or(0)).min(now + self.latency + MAX_AHEAD)
    }

    /// A control packet of the sender with `timestamp` came at `now`, with this round trip.
    pub fn sample(&mut self, timestamp: u32, now: Duration, rtt: Duration) {
        let first_rtt = *self.first_rtt.get_or_insert(rtt);
        let delayed = (micros(rtt) - micros(first_rtt)) / 2;
        self.drift_sum += micros(now) - self.base - self.unwrapped(timestamp, now) - delayed;
        self.drift_samples += 1;
        if self.drift_samples == DRIFT_SAMPLES {
            let drift = self.drift_sum / i64::from(DRIFT_SAMPLES);
            let step = drift.clamp(-MAX_DRIFT_STEP_US, MAX_DRIFT_STEP_US);
            self.base += step;
            self.drifted += step;
            (self.drift_sum, self.drift_samples) = (0, 0);
        }
    }

    /// Microseconds by which the sender's clock was followed; positive if it is slow.
    pub fn drifted(&self) -> i64 {
        self.drifted
    }
}

/// The round-trip time, smoothed as in the draft's section 4.10.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoundTrip {
    pub smoothed: Duration,
    pub variance: Duration,
    measured: bool,
}

/// Longer ones are not believed.
const MAX_RTT: Duration = Duration::from_secs(10);

impl RoundTrip {
    /// What is assumed before the first measurement.
    pub fn unknown() -> Self {
        let (smoothed, variance) = (Duration::from_millis(100), Duration::from_millis(50));
        RoundTrip { smoothed, variance, measured: false }
    }

    pub fn measure(&mut self, sample: Duration) {
        let sample = sample.min(MAX_RTT);
        if !self.measured {
            (self.smoothed, self.variance, self.measured) = (sample, sample / 2, true);
            return;
        }
        self.variance = (self.variance * 3 + self.smoothed.abs_diff(sample)) / 4;
        self.smoothed = (self.smoothed * 7 + sample) / 8;
    }

    /// Until when an answer should have come.
    pub fn patience(&self) -> Duration {
        self.smoothed + self.variance * 4
    }
}

/// Packets and bytes per second, over the last full second in which some came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    since: Duration,
    packets: u64,
    bytes: u64,
    pub packets_per_second: u64,
    pub bytes_per_second: u64,
}

impl Rate {
    pub fn from(since: Duration) -> Self {
        Rate { since, ..Rate::default() }
    }

    pub fn count(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    pub fn update(&mut self, now: Duration) {
        let over = now.saturating_sub(self.since);
        if over < Duration::from_secs(1) {
            return;
        }
        let per_second = |count: u64| (count as f64 / over.as_secs_f64()) as u64;
        (self.packets_per_second, self.bytes_per_second) = (per_second(self.packets), per_second(self.bytes));
        (self.since, self.packets, self.bytes) = (now, 0, 0);
    }
}

/// What the link could carry: senders send each 16th packet and the next without a pause, and how far apart the two arrive
/// says how fast the slowest link between us is. The median of the last pairs is told.
#[derive(Debug, Default)]
pub(super) struct Link {
    first: Option<(Serial, Duration)>,
    /// Nanoseconds per packet.
    pairs: VecDeque<u64>,
}

const PAIRS: usize = 32;

impl Link {
    pub fn arrived(&mut self, serial: Serial, at: Duration) {
        if serial.get().is_multiple_of(16) {
            self.first = Some((serial, at));
        } else if let Some((first, since)) = self.first.take()
            && first.plus(1) == serial
            && let nanos @ 1.. = at.saturating_sub(since).as_nanos() as u64
        {
            if self.pairs.len() == PAIRS {
                self.pairs.pop_front();
            }
            self.pairs.push_back(nanos);
        }
    }

    /// Packets per second; 0 while it is not known.
    pub fn packets_per_second(&self) -> u64 {
        let (mut sorted, count) = ([0; PAIRS], self.pairs.len());
        sorted.iter_mut().zip(&self.pairs).for_each(|(to, from)| *to = *from);
        sorted[..count].sort_unstable();
        sorted[..count].get(count / 2).map_or(0, |nanos| 1_000_000_000 / nanos.max(&1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: Duration = Duration::from_millis(120);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn packets_are_due_one_latency_after_they_were_sent_also_across_the_wrap() {
        let start = u32::MAX - 500_000; // half a second before the wrap
        let clock = SenderClock::new(start, ms(10), LATENCY);
        for sent in [0, 400, 499, 501, 2_000, 3_600_000, 4_294_967 * 3] {
            let stamp = start.wrapping_add((sent * 1_000) as u32);
            assert_eq!(clock.due(stamp, ms(10 + sent)), ms(10 + sent) + LATENCY, "{sent} ms");
            assert_eq!(clock.due(stamp, ms(10 + sent + 90)), ms(10 + sent) + LATENCY, "{sent} ms, 90 ms late");
        }
    }

    #[test]
    fn a_sender_that_began_before_us_and_a_wild_timestamp() {
        const START: u32 = 4_000_000_000;
        let clock = SenderClock::new(START, ms(1), LATENCY);
        assert_eq!(clock.due(START + 1_000, ms(5)), ms(2) + LATENCY);
        assert_eq!(clock.due(START.wrapping_add(900_000_000), ms(5)), ms(5) + LATENCY + MAX_AHEAD);
        assert_eq!(clock.due(START - 900_000_000, ms(5)), Duration::ZERO);
    }

    #[test]
    fn drift_is_followed_in_small_steps() {
        let mut clock = SenderClock::new(0, Duration::ZERO, LATENCY);
        for n in 0..3_000_u64 {
            // The sender's clock has fallen behind by 12 ms.
            clock.sample((n * 10_000) as u32, ms(n * 10 + 12), ms(20));
        }
        assert_eq!(clock.drifted(), 12_000);
    }

    #[test]
    fn a_slow_link_is_measured_by_pairs() {
        let mut link = Link::default();
        for n in 0..64_u32 {
            link.arrived(Serial::new(n), Duration::from_micros(u64::from(n) * 500));
        }
        assert_eq!(link.packets_per_second(), 2_000);
    }
}
