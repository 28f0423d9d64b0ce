//! Sound waits for pictures: a cut is announced by video, and must come before the sound of its segment.
//!
//! Any cut that video can still announce lies behind the last DTS, because PTS is never before DTS and DTS rises. So sound
//! up to that DTS is free. Pictures never wait. Where video does not come, sound is let go after a bounded wait.

use std::collections::VecDeque;
use std::time::Duration;

use crate::media::{Packet, Span, Timestamp};

/// The most sound that is held, in media time: more than the longest pause of video that is no discontinuity (1 s), so that
/// pictures at any rate come in time.
pub(super) const MAX_HELD: Span = Span::from_millis(1_500);
/// The longest that a packet of sound is held, by the clock on the wall.
pub(super) const MAX_WAIT: Duration = Duration::from_millis(1_500);
/// That much sound has about 30 KB; this is only met by nonsense.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// Sound that waits.
#[derive(Debug, Default)]
pub(super) struct Interleave {
    held: VecDeque<(Packet, Duration)>,
    bytes: usize,
}

impl Interleave {
    /// Holds `packet`, which came at `arrived`.
    pub(super) fn hold(&mut self, packet: Packet, arrived: Duration) {
        self.bytes += packet.data.len();
        self.held.push_back((packet, arrived));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The next packet, if it lies at or before `dts`.
    pub(super) fn take_until(&mut self, dts: Timestamp) -> Option<Packet> {
        self.take_if(|packet, _| packet.pts <= dts)
    }

    /// The next packet, if it lies before `at`.
    pub(super) fn take_before(&mut self, at: Timestamp) -> Option<Packet> {
        self.take_if(|packet, _| packet.pts < at)
    }

    /// The next packet, if a bound lets it go although video has not come as far.
    pub(super) fn take_overdue(&mut self, now: Duration) -> Option<Packet> {
        let newest = self.held.back()?.0.pts;
        let heavy = self.bytes > MAX_BYTES;
        self.take_if(|oldest, arrived| {
            heavy || newest - oldest.pts > MAX_HELD || now >= arrived.saturating_add(MAX_WAIT)
        })
    }

    /// The next packet, whatever it is.
    pub(super) fn take_any(&mut self) -> Option<Packet> {
        self.take_if(|_, _| true)
    }

    /// When the oldest packet is let go.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.held.front().map(|(_, arrived)| arrived.saturating_add(MAX_WAIT))
    }

    fn take_if(&mut self, may_go: impl FnOnce(&Packet, Duration) -> bool) -> Option<Packet> {
        let (front, arrived) = self.held.front()?;
        if !may_go(front, *arrived) {
            return None;
        }
        let (packet, _) = self.held.pop_front()?;
        self.bytes -= packet.data.len();
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Kind;
    use bytes::Bytes;

    fn sound(millis: i64, bytes: usize) -> Packet {
        let pts = Timestamp::from_millis(millis);
        let data = Bytes::from(vec![0; bytes]);
        Packet { kind: Kind::Audio, dts: pts, pts, duration: Span::from_millis(20), keyframe: true, data }
    }

    fn millis(packet: Option<Packet>) -> Option<i64> {
        packet.map(|packet| packet.pts.to_units(1_000))
    }

    fn held(packets: &[(i64, u64)]) -> Interleave {
        let mut interleave = Interleave::default();
        for (at, arrived) in packets {
            interleave.hold(sound(*at, 100), Duration::from_millis(*arrived));
        }
        interleave
    }

    #[test]
    fn sound_is_free_up_to_the_last_picture() {
        let mut interleave = held(&[(0, 0), (20, 0), (40, 0)]);
        let dts = Timestamp::from_millis(20);
        assert_eq!(millis(interleave.take_until(dts)), Some(0));
        assert_eq!(millis(interleave.take_before(dts)), None);
        assert_eq!(millis(interleave.take_until(dts)), Some(20));
        assert_eq!(millis(interleave.take_until(dts)), None);
        assert_eq!(millis(interleave.take_any()), Some(40));
        assert!(interleave.is_empty());
    }

    #[test]
    fn three_bounds_let_it_go() {
        let mut waited = held(&[(500, 5_000), (520, 5_010)]);
        assert_eq!(waited.deadline(), Some(Duration::from_millis(6_500)));
        assert_eq!(millis(waited.take_overdue(Duration::from_millis(6_499))), None);
        assert_eq!(millis(waited.take_overdue(Duration::from_millis(6_500))), Some(500));
        assert_eq!(millis(waited.take_overdue(Duration::from_millis(6_500))), None);
        let mut ahead = held(&[(500, 0), (520, 0), (2_001, 0)]);
        assert_eq!(millis(ahead.take_overdue(Duration::ZERO)), Some(500));
        assert_eq!(millis(ahead.take_overdue(Duration::ZERO)), None);
        let mut heavy = Interleave::default();
        heavy.hold(sound(1, MAX_BYTES), Duration::ZERO);
        assert_eq!(millis(heavy.take_overdue(Duration::ZERO)), None);
        heavy.hold(sound(2, 1), Duration::ZERO);
        assert_eq!(millis(heavy.take_overdue(Duration::ZERO)), Some(1));
        assert_eq!(millis(heavy.take_overdue(Duration::ZERO)), None);
    }
}
