//! The way out: units get their numbers and dates, and are counted.

use super::anchor::Anchor;
use super::{IngestStats, Now, Start};
use crate::media::{Cut, CutKind, Kind, Packet, Span, Timestamp, Unit, WallTime};

/// A cut as its cause describes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub at: Timestamp,
    pub kind: CutKind,
    pub discontinuity: bool,
    pub copy_ends: bool,
    /// First cut of a run: media may have been left out before it. So much of the timeline before it was passed over, and holds
    /// neither media nor gaps.
    pub new_run: Option<Span>,
}

impl Planned {
    /// A cut on an unbroken timeline.
    pub(super) fn plain(at: Timestamp, kind: CutKind) -> Self {
        Planned { at, kind, discontinuity: false, copy_ends: false, new_run: None }
    }

    /// A discontinuity at a place where decoding may start.
    pub(super) fn discontinuity(at: Timestamp, copy_ends: bool) -> Self {
        Planned { discontinuity: true, copy_ends, ..Planned::plain(at, CutKind::Keyframe) }
    }
}

/// What is given out, in order.
#[derive(Debug)]
pub(super) struct Emitter {
    next_msn: u64,
    anchor: Anchor,
    /// PTS of the last sound.
    last_sound: Timestamp,
    packets: u64,
    cuts: u64,
    discontinuities: u64,
    gaps: u64,
}

impl Emitter {
    pub(super) fn new(start: &Start) -> Self {
        Emitter {
            next_msn: start.next_msn,
            anchor: Anchor::resume(start.anchor),
            last_sound: Timestamp::from_flicks(i64::MIN),
            packets: 0,
            cuts: 0,
            discontinuities: 0,
            gaps: 0,
        }
    }

    /// MSN of the next cut.
    pub(super) fn next_msn(&self) -> u64 {
        self.next_msn
    }

    /// The last cut and its date.
    pub(super) fn anchor(&self) -> Option<(Timestamp, WallTime)> {
        self.anchor.pair()
    }

    /// PTS of the last sound given out.
    pub(super) fn last_sound(&self) -> Timestamp {
        self.last_sound
    }

    pub(super) fn add_to(&self, stats: &mut IngestStats) {
        stats.packets += self.packets;
        stats.cuts += self.cuts;
        stats.discontinuities += self.discontinuities;
        stats.gaps += self.gaps;
        stats.date_ahead = self.anchor.ahead();
    }

    /// Gives a packet out.
    pub(super) fn packet(&mut self, packet: Packet, out: &mut Vec<Unit>) {
        if packet.kind == Kind::Audio {
            self.last_sound = packet.pts;
        }
        self.packets += 1;
        out.push(Unit::Packet(packet));
    }

    /// Gives a cut out whose media came in at `observed`.
    pub(super) fn cut(&mut self, planned: Planned, observed: Now, out: &mut Vec<Unit>) {
        let Planned { at, kind, discontinuity, copy_ends, new_run } = planned;
        let wall = self.anchor.date(at, observed.wall, new_run);
        self.cuts += 1;
        self.discontinuities += u64::from(discontinuity);
        self.gaps += u64::from(matches!(kind, CutKind::Gap { .. }));
        out.push(Unit::Cut(Cut { msn: self.next_msn, at, wall, discontinuity, copy_ends, kind }));
        self.next_msn += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn cuts_are_numbered_dated_and_counted() {
        let wall = WallTime::from_unix_millis(1_000);
        let now = Now { monotonic: Duration::ZERO, wall };
        let at = Timestamp::from_millis(10_000);
        let mut emit = Emitter::new(&Start { next_msn: 7, ..Start::default() });
        let mut out = Vec::new();
        emit.cut(Planned { new_run: Some(Span::ZERO), ..Planned::discontinuity(at, false) }, now, &mut out);
        let gap = CutKind::Gap { duration: Span::from_secs(2) };
        let later = Now { wall: WallTime::from_unix_millis(3_000), ..now };
        emit.cut(Planned::plain(at + Span::from_secs(2), gap), later, &mut out);
        let [Unit::Cut(first), Unit::Cut(second)] = &out[..] else { panic!("{out:?}") };
        let expected = Cut { msn: 7, at, wall, discontinuity: true, copy_ends: false, kind: CutKind::Keyframe };
        assert_eq!(*first, expected);
        assert_eq!((second.msn, second.wall, second.kind), (8, later.wall, gap));
        let mut stats = IngestStats::default();
        emit.add_to(&mut stats);
        assert_eq!((stats.cuts, stats.discontinuities, stats.gaps), (2, 1, 1));
        assert_eq!((emit.next_msn(), emit.anchor()), (9, Some((second.at, second.wall))));
    }
}
