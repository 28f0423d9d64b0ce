//! While no publisher is connected, the timeline goes on in gaps of one target duration.
//!
//! A gap is announced when its time is over, so that its EXTINF is true and none is needed when the publisher is back
//! before.

use std::time::Duration;

use crate::media::{Span, Timestamp};

/// The cadence of gaps.
#[derive(Debug)]
pub(super) struct Gaps {
    target: Span,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    /// Where the next gap begins.
    at: Timestamp,
    /// Monotonic time at which it is over.
    due: Duration,
}

/// A gap whose time is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub at: Timestamp,
    /// Monotonic time at which it was over.
    pub due: Duration,
}

impl Gaps {
    pub(super) fn new(target: Span) -> Self {
        Gaps { target, running: None }
    }

    /// The media ended at `end`; its last packet came at `last_media` on the monotonic clock. Running gaps go on.
    pub(super) fn begin(&mut self, end: Timestamp, last_media: Duration) {
        let due = last_media.saturating_add(self.target.to_std());
        self.running.get_or_insert(Running { at: end, due });
    }

    /// The next gap that is over at `now`.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<Gap> {
        let running = self.running.as_mut().filter(|running| running.due <= now)?;
        let gap = Gap { at: running.at, due: running.due };
        running.at += self.target;
        running.due = running.due.saturating_add(self.target.to_std());
        Some(gap)
    }

    /// When the next gap is over.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.running.as_ref().map(|running| running.due)
    }

    /// Where the timeline goes on, if gaps are running.
    pub(super) fn end(&self) -> Option<Timestamp> {
        self.running.as_ref().map(|running| running.at)
    }

    /// Media is back.
    pub(super) fn stop(&mut self) {
        self.running = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_come_each_target_duration_and_not_before() {
        let mut gaps = Gaps::new(Span::from_secs(2));
        let seconds = Duration::from_secs;
        assert_eq!(gaps.take_due(seconds(100)), None);
        gaps.begin(Timestamp::from_millis(17_000), seconds(100));
        assert_eq!((gaps.deadline(), gaps.take_due(Duration::from_millis(101_999))), (Some(seconds(102)), None));
        let gap = |at, due| Some(Gap { at: Timestamp::from_millis(at), due: seconds(due) });
        assert_eq!(gaps.take_due(seconds(104)), gap(17_000, 102));
        gaps.begin(Timestamp::from_millis(99_000), seconds(103));
        assert_eq!(gaps.take_due(seconds(104)), gap(19_000, 104), "a second loss changes nothing");
        assert_eq!(gaps.take_due(seconds(104)), None);
        assert_eq!(gaps.end(), Some(Timestamp::from_millis(21_000)));
        gaps.stop();
        assert_eq!((gaps.end(), gaps.deadline()), (None, None));
    }
}
