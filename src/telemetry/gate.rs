//! One log line per cause, however often the cause comes.
//!
//! Whoever may have something to say for each packet, request or connection holds a gate per cause. The first event is
//! logged at once; then there is at most one line per interval, which says for how many events it stands. What a gate holds
//! back is in a metric all the same.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Between two lines of one cause: a night of it is a few thousand lines, and nobody waits long for the next.
pub const LOG_EVERY: Duration = Duration::from_secs(10);

/// The gate of one cause, held by the thread that meets it.
#[derive(Debug)]
pub struct LogGate {
    every: Duration,
    last: Option<Duration>,
    /// Events so far, and those that a line stands for.
    events: u64,
    told: u64,
}

impl Default for LogGate {
    fn default() -> Self {
        LogGate::every(LOG_EVERY)
    }
}

impl LogGate {
    /// A gate that lets a line through per interval.
    pub const fn every(every: Duration) -> Self {
        LogGate { every, last: None, events: 0, told: 0 }
    }

    /// An event at `now` (monotonic). How many events a line stands for that may be written now.
    pub fn pass(&mut self, now: Duration) -> Option<u64> {
        self.up_to(self.events.saturating_add(1), now)
    }

    /// The same for a counter that somebody else raises: `events` is what it has come to.
    pub fn up_to(&mut self, events: u64, now: Duration) -> Option<u64> {
        self.events = events;
        let news = events.saturating_sub(self.told);
        if news == 0 || self.last.is_some_and(|last| now.saturating_sub(last) < self.every) {
            return None;
        }
        self.last = Some(now);
        self.told = events;
        Some(news)
    }
}

/// The gate of a cause that several tasks meet.
#[derive(Debug, Default)]
pub struct SharedGate(Mutex<LogGate>);

impl SharedGate {
    /// A gate that lets a line through per interval.
    pub const fn every(every: Duration) -> Self {
        SharedGate(Mutex::new(LogGate::every(every)))
    }

    /// See [`LogGate::pass`].
    pub fn pass(&self, now: Duration) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pass(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_first_is_told_at_once_and_the_next_line_says_how_many_it_stands_for() {
        let mut gate = LogGate::default();
        assert_eq!(gate.pass(at(5_000)), Some(1));
        assert_eq!((gate.pass(at(5_100)), gate.pass(at(14_999))), (None, None));
        assert_eq!(gate.pass(at(15_000)), Some(3));
        assert_eq!(gate.pass(at(60_000)), Some(1));
    }

    #[test]
    fn a_counter_is_told_when_it_has_risen() {
        let mut gate = LogGate::every(at(1_000));
        assert_eq!((gate.up_to(0, at(0)), gate.up_to(7, at(10))), (None, Some(7)));
        assert_eq!(
            (gate.up_to(9, at(500)), gate.up_to(9, at(1_010))),
            (None, Some(2)),
            "the last of a burst is told too"
        );
        assert_eq!(gate.up_to(9, at(9_000)), None);
    }

    #[test]
    fn tasks_share_a_gate() {
        let gate = SharedGate::default();
        assert_eq!((gate.pass(at(0)), gate.pass(at(1)), gate.pass(at(10_000))), (Some(1), None, Some(2)));
    }
}
