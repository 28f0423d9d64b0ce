//! When a connection's media came, as it is known where it is read from the network.
//!
//! Behind the session's queue it would be known too late: a slow session would take a publisher for silent that is well.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Nothing came yet.
const NEVER: u64 = u64::MAX;
/// Something is being handed over, and may be waiting for room in the session's queue.
const AT_THIS_MOMENT: u64 = u64::MAX - 1;

/// When one connection last brought sound or pictures. Shared by the connection's task and whoever asks.
#[derive(Debug)]
pub(super) struct Pulse {
    /// Monotonic time in milliseconds, or one of the above.
    at_ms: AtomicU64,
}

impl Pulse {
    /// Nothing came yet.
    pub fn new() -> Self {
        Pulse { at_ms: AtomicU64::new(NEVER) }
    }

    /// Sound or pictures came and are being handed over.
    pub fn begin(&self) {
        self.at_ms.store(AT_THIS_MOMENT, Ordering::Relaxed);
    }

    /// What was being handed over, if anything was, is handed over at the monotonic time `now`.
    pub fn end(&self, now: Duration) {
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(AT_THIS_MOMENT);
        // Only the connection's own task writes.
        if self.at_ms.load(Ordering::Relaxed) == AT_THIS_MOMENT {
            self.at_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    /// Monotonic time at which something came last, `now` at the latest; `None` when nothing ever did.
    pub fn last(&self, now: Duration) -> Option<Duration> {
        match self.at_ms.load(Ordering::Relaxed) {
            NEVER => None,
            AT_THIS_MOMENT => Some(now),
            at_ms => Some(Duration::from_millis(at_ms).min(now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_handed_over_counts_for_as_long_as_it_takes() {
        let (pulse, at) = (Pulse::new(), Duration::from_secs);
        pulse.end(at(1));
        assert_eq!(pulse.last(at(1)), None, "it was no media");
        pulse.begin();
        assert_eq!([1, 9].map(|now| pulse.last(at(now))), [1, 9].map(|now| Some(at(now))));
        pulse.end(at(10));
        pulse.end(at(11));
        assert_eq!([10, 99].map(|now| pulse.last(at(now))), [Some(at(10)); 2]);
    }
}
