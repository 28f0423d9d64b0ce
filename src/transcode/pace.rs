//! Which frames are left out: by a rung's frame-rate cap, or for all rungs because the machine is too slow. Pure.
//!
//! Both leave out evenly, and neither ever leaves out a frame that begins a segment.

use std::time::Duration;

use crate::media::{Span, Timestamp};
use crate::transcode::plan::keep_one_of;

/// Frame-rate cap of one rung, by timestamps: a source of variable rate is never thinned below the cap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FrameCap {
    /// Time between two kept frames.
    interval: Span,
    /// How much earlier than due a frame may be and still count as due: jitter of millisecond clocks.
    tolerance: Span,
    /// No frame before this is kept.
    due: Option<Timestamp>,
}

impl FrameCap {
    /// A cap at `cap` frames per second (above 0), over a source that has `rate`, if it says so.
    pub(super) fn new(cap: u32, rate: Option<(u32, u32)>) -> Self {
        let keep = rate.map_or(1, |rate| keep_one_of(rate, Some(cap)));
        let (interval, tolerance) = match rate {
            Some((num, den)) if num > 0 && den > 0 => {
                let frame = Span::from_units(i64::from(den), num);
                (frame.saturating_mul(i64::from(keep)), Span::from_flicks(frame.flicks() / 2))
            }
            _ => {
                let interval = Span::from_units(1, cap.max(1));
                (interval, Span::from_flicks(interval.flicks() / 8))
            }
        };
        // A source that is slow enough has nothing to leave out, whatever its jitter.
        let passes_all = rate.is_some() && keep == 1;
        FrameCap { interval: if passes_all { Span::ZERO } else { interval }, tolerance, due: None }
    }

    /// Whether the frame at `pts` is kept. One that begins a segment is, and the grid goes on from it.
    pub(super) fn keeps(&mut self, pts: Timestamp, begins_segment: bool) -> bool {
        if self.interval == Span::ZERO || begins_segment {
            self.due = Some(pts + self.interval);
            return true;
        }
        let Some(due) = self.due else {
            self.due = Some(pts + self.interval);
            return true;
        };
        if pts < due - self.tolerance {
            return false;
        }
        // Stay on the grid, so that jitter does not add up; after a hole, begin a new one.
        let late = pts - due;
        self.due = Some(if late > self.interval { pts + self.interval } else { due + self.interval });
        true
    }
}

/// How late frames may reach the encoders before some are left out: the backlog of undecoded video from which on they are dropped.
/// All other bounds of an overloaded ladder are multiples of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience(Span);

impl Patience {
    /// This long, or the least span there is.
    pub fn new(overloaded: Span) -> Self {
        Patience(overloaded.max(Span::from_flicks(1)))
    }

    /// Behind so much backlog only frames that begin a segment are kept: what bounds the latency of an overloaded ladder. As much
    /// may wait that came at once, before it counts: a burst is caught up with, and nothing of it is late.
    fn longest(self) -> Span {
        self.0.saturating_mul(3)
    }

    /// So much of the source may wait undecoded at all.
    pub(super) fn queue(self) -> Span {
        self.0.saturating_mul(6)
    }

    /// So much in thousandths of the backlog from which on frames are dropped.
    fn thousandths_of(self, backlog: Span) -> i64 {
        let thousandths = i128::from(backlog.flicks().max(0)) * 1_000 / i128::from(self.0.flicks());
        i64::try_from(thousandths).unwrap_or(i64::MAX)
    }

    /// How far a ladder is behind: how late its packets are taken, or when more waits than a burst may bring, how much more.
    /// The second is for sources that are faster than real time for long; their packets would find the queue full.
    pub(super) fn backlog(self, late: Span, waiting: Span) -> Span {
        late.max(waiting - self.longest())
    }
}

impl Default for Patience {
    fn default() -> Self {
        Patience(Span::from_secs(1))
    }
}

/// Thousandths of the patience below which dropping ends.
const RELIEVED: i64 = 250;
/// And from which on it begins.
const OVERLOADED: i64 = 1_000;
/// And from which on only frames that begin a segment are kept.
const LONGEST: i64 = 3_000;
/// A ladder counts as overloaded until no frame was dropped for so long: near the limit dropping comes and goes, and
/// nobody wants to be told of each time.
const CALM: Span = Span::from_millis(5_000);
/// A frame that is kept costs so much credit.
const FULL_SHARE: i64 = 1_000;

/// Drops frames for all rungs when the encoders are slower than the source.
///
/// The measure is the [`Patience::backlog`] in front of the decoder: the encoders' queues block it, so their slowness piles up
/// there. Dropping begins when the backlog is the [`Patience`], and
/// from then on a share of the frames is kept that falls as the backlog grows, so that both settle where the encoders
/// can just follow; it ends when less than a quarter of it waits. What is kept is spread evenly.
#[derive(Debug, Default)]
pub(super) struct Shedder {
    patience: Patience,
    shedding: bool,
    /// What the next frame may cost, in thousandths of a frame.
    credit: i64,
}

impl Shedder {
    pub(super) fn new(patience: Patience) -> Self {
        Shedder { patience, ..Shedder::default() }
    }

    /// Whether the next frame goes to the encoders, with so much source waiting.
    pub(super) fn admits(&mut self, backlog: Span, begins_segment: bool) -> bool {
        let backlog = self.patience.thousandths_of(backlog);
        self.shedding = backlog >= OVERLOADED || (self.shedding && backlog >= RELIEVED);
        if !self.shedding {
            self.credit = 0;
            return true;
        }
        self.credit += share(backlog);
        let kept = begins_segment || self.credit >= FULL_SHARE;
        if kept {
            self.credit = (self.credit - FULL_SHARE).max(-FULL_SHARE);
        }
        kept
    }
}

/// How many of a thousand frames are kept with so many thousandths of the patience in backlog: all with a quarter of it, half with
/// one, a third with two, none with three.
fn share(backlog: i64) -> i64 {
    if backlog >= LONGEST {
        0
    } else if backlog >= OVERLOADED {
        FULL_SHARE * 1_000 / (backlog + 1_000)
    } else {
        FULL_SHARE - (backlog - RELIEVED).max(0) * 500 / 750
    }
}

/// Whether a ladder is overloaded, for people: from the first dropped frame until none was dropped for a while.
#[derive(Debug, Default)]
pub(super) struct Overload {
    now: Option<Ongoing>,
}

#[derive(Debug)]
struct Ongoing {
    since: Timestamp,
    last_shed: Timestamp,
    shed: u64,
}

/// What a frame changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OverloadChange {
    /// Frames are dropped from here on.
    Began,
    /// It is over.
    Ended {
        /// Frames dropped.
        shed: u64,
        /// From the first to the last of them.
        lasted: Span,
    },
}

impl Overload {
    /// Takes note of a frame that was dropped or kept, or of time that passed without one.
    pub(super) fn note(&mut self, at: Timestamp, shed: bool) -> Option<OverloadChange> {
        match &mut self.now {
            None if shed => {
                self.now = Some(Ongoing { since: at, last_shed: at, shed: 1 });
                Some(OverloadChange::Began)
            }
            Some(ongoing) if shed => {
                ongoing.last_shed = at;
                ongoing.shed += 1;
                None
            }
            Some(ongoing) if at - ongoing.last_shed >= CALM => self.finish(),
            _ => None,
        }
    }

    /// Nothing follows.
    pub(super) fn finish(&mut self) -> Option<OverloadChange> {
        let Ongoing { since, last_shed, shed } = self.now.take()?;
        Some(OverloadChange::Ended { shed, lasted: last_shed - since })
    }
}

/// Time between two packets of the source, smoothed: what a count of waiting packets is worth. The rate that a source
/// states is only where this begins, because a variable one states its highest or none.
#[derive(Debug)]
pub(super) struct PacketTime {
    smoothed: Span,
    last: Option<Timestamp>,
}

impl PacketTime {
    /// Frames per second that are assumed of a source that states none.
    const ASSUMED_RATE: (u32, u32) = (30, 1);
    /// A longer step is a hole, and says nothing about the rate.
    const LONGEST: Span = Span::from_secs(1);

    /// Begins with the rate that the source states.
    pub(super) fn new(rate: Option<(u32, u32)>) -> Self {
        let (num, den) = rate.filter(|(num, den)| *num > 0 && *den > 0).unwrap_or(Self::ASSUMED_RATE);
        PacketTime { smoothed: Span::from_units(i64::from(den), num).min(Self::LONGEST), last: None }
    }

    /// A packet with this DTS was taken.
    pub(super) fn packet(&mut self, dts: Timestamp) {
        let step = self.last.replace(dts).map(|last| dts - last);
        if let Some(step) = step.filter(|step| step.is_positive() && *step <= Self::LONGEST) {
            // An average over about sixteen packets.
            self.smoothed = Span::from_flicks(self.smoothed.flicks() + (step - self.smoothed).flicks() / 16);
        }
    }

    /// How long so many packets last.
    pub(super) fn of(&self, packets: usize) -> Span {
        self.smoothed.saturating_mul(i64::try_from(packets).unwrap_or(i64::MAX))
    }
}

/// How late packets are taken, against those that found the queue empty. How much waits says less: a burst is not late,
/// and when the source stops, what waits grows no longer but ages.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    /// The monotonic clock minus DTS, in flicks, of a packet that came on time.
    on_time: Option<i64>,
}

impl Lateness {
    /// How late the packet with this DTS is, taken `now`; `alone` says that nothing waits behind it.
    pub(super) fn take(&mut self, now: Duration, dts: Timestamp, alone: bool) -> Span {
        let offset = Span::from_std(now).flicks().saturating_sub(dts.flicks());
        let on_time = self.on_time.filter(|on_time| !alone && *on_time <= offset).unwrap_or(offset);
        self.on_time = Some(on_time);
        Span::from_flicks(offset - on_time)
    }

    /// The source's times begin anew.
    pub(super) fn reset(&mut self) {
        self.on_time = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kept frames among the first `count` of a source with `rate`, whose times are rounded to milliseconds.
    fn kept(cap: &mut FrameCap, rate: (u32, u32), count: i64, cuts: &[i64]) -> Vec<i64> {
        let at = |n: i64| Timestamp::from_millis(Timestamp::from_units(n * i64::from(rate.1), rate.0).to_units(1_000));
        (0..count).filter(|n| cap.keeps(at(*n), cuts.contains(n))).collect()
    }

    #[test]
    fn sixty_under_thirty_keeps_every_second_frame_and_every_cut() {
        let mut cap = FrameCap::new(30, Some((60, 1)));
        assert_eq!(kept(&mut cap, (60, 1), 10, &[0, 5]), [0, 2, 4, 5, 7, 9]);
    }

    #[test]
    fn the_pattern_is_even_for_hours_of_millisecond_jitter() {
        let mut cap = FrameCap::new(30, Some((60_000, 1_001)));
        let frames = kept(&mut cap, (60_000, 1_001), 216_000, &[]);
        assert!(frames.windows(2).all(|pair| pair[1] - pair[0] == 2), "one of two, always");
        assert_eq!(frames.len(), 108_000);
    }

    #[test]
    fn fifty_under_thirty_becomes_twenty_five() {
        let mut cap = FrameCap::new(30, Some((50, 1)));
        assert_eq!(kept(&mut cap, (50, 1), 8, &[]), [0, 2, 4, 6]);
    }

    #[test]
    fn a_slow_or_unknown_source_loses_nothing_that_the_cap_allows() {
        let mut cap = FrameCap::new(30, Some((30_000, 1_001)));
        assert_eq!(kept(&mut cap, (30_000, 1_001), 500, &[]).len(), 500);
        let mut unknown = FrameCap::new(30, None);
        assert_eq!(kept(&mut unknown, (30, 1), 500, &[]).len(), 500);
        assert_eq!(kept(&mut FrameCap::new(30, None), (60, 1), 600, &[]).len(), 300);
    }

    #[test]
    fn after_a_hole_the_grid_begins_anew() {
        let mut cap = FrameCap::new(25, Some((50, 1)));
        let at = [0, 20, 40, 1_010, 1_030, 1_050].map(Timestamp::from_millis);
        assert_eq!(at.map(|pts| cap.keeps(pts, false)), [true, false, true, true, false, true]);
    }

    #[test]
    fn the_kept_share_falls_with_the_backlog_and_cuts_are_spared() {
        let mut shedder = Shedder::default();
        let run = |shedder: &mut Shedder, millis: i64, cuts: &[usize]| -> String {
            let kept = (0..12).map(|n| shedder.admits(Span::from_millis(millis), cuts.contains(&n)));
            kept.map(|kept| if kept { 'k' } else { '.' }).collect()
        };
        assert_eq!(run(&mut shedder, 999, &[]), "kkkkkkkkkkkk", "a burst is not shed");
        assert_eq!(run(&mut shedder, 1_000, &[]), ".k.k.k.k.k.k");
        assert_eq!(run(&mut shedder, 2_999, &[]), "...k...k...k");
        assert_eq!(run(&mut shedder, 1_000, &[0]), "k..k.k.k.k.k", "a cut takes the place of the frame behind it");
        assert_eq!(run(&mut shedder, 3_000, &[5]), ".....k......");
        run(&mut shedder, 625, &[]);
        assert_eq!(run(&mut shedder, 625, &[]).matches('k').count(), 9, "three of four");
        assert_eq!(run(&mut shedder, 250, &[]).matches('k').count(), 12);
        assert_eq!(run(&mut shedder, 249, &[]), "kkkkkkkkkkkk");
        assert_eq!(run(&mut shedder, 999, &[]), "kkkkkkkkkkkk", "it is over, so it takes a second of backlog again");
    }

    #[test]
    fn patience_stretches_every_bound() {
        let mut shedder = Shedder::new(Patience::new(Span::from_secs(10)));
        let mut kept = |millis: i64| (0..12).filter(|_| shedder.admits(Span::from_millis(millis), false)).count();
        assert_eq!([9_999, 10_000, 29_999, 30_000, 2_500, 2_499].map(&mut kept), [12, 6, 3, 0, 12, 12]);
        let patience = Patience::new(Span::from_secs(10));
        assert_eq!(patience.backlog(Span::ZERO, Span::from_secs(31)), Span::from_secs(1));
        assert_eq!((patience.queue(), Patience::default().queue()), (Span::from_secs(60), Span::from_secs(6)));
    }

    /// One decoder and encoder in virtual time, fed at 60 frames/s with a segment every 2 s.
    struct Simulated {
        shedder: Shedder,
        /// Microseconds.
        now: i64,
        next: i64,
        kept: Vec<i64>,
        worst_backlog: i64,
    }

    const FRAME: i64 = 16_667;

    impl Simulated {
        fn new() -> Self {
            Simulated { shedder: Shedder::default(), now: 0, next: 0, kept: Vec::new(), worst_backlog: 0 }
        }

        /// Runs for so many seconds of source; a frame takes `encode` to encode and a twentieth of its time to decode.
        fn run(&mut self, secs: i64, encode: i64) {
            let end = self.next + secs * 60;
            while self.next < end {
                self.now = self.now.max(self.next * FRAME) + FRAME / 20;
                let backlog = (self.now - self.next * FRAME).max(0);
                self.worst_backlog = self.worst_backlog.max(backlog);
                let waiting = Span::from_units(backlog / FRAME * FRAME, 1_000_000);
                if self.shedder.admits(waiting, self.next % 120 == 0) {
                    self.kept.push(self.next);
                    self.now += encode;
                }
                self.next += 1;
            }
        }

        fn gaps_since(&self, frame: i64) -> Vec<i64> {
            let kept: Vec<_> = self.kept.iter().filter(|kept| **kept >= frame).collect();
            kept.windows(2).map(|pair| pair[1] - pair[0]).collect()
        }
    }

    #[test]
    fn whatever_a_frame_costs_latency_is_bounded_frames_are_even_and_it_recovers() {
        // What a frame costs in thousandths of its time, and the widest gap between two kept frames once settled: one
        // more than needed, and one more where a cut took a frame's place.
        for (cost, widest) in [(900, 1), (1_100, 3), (1_500, 4), (2_000, 4), (3_000, 5), (10_000, 120), (60_000, 120)] {
            let mut simulated = Simulated::new();
            simulated.run(120, FRAME * cost / 1_000);
            // The frame that was begun just before, and the first of a segment right behind it.
            let limit = 4_000_000 + 2 * FRAME * (cost / 1_000 + 1);
            assert!(simulated.worst_backlog <= limit, "{cost}: {} us behind", simulated.worst_backlog);
            let gaps = simulated.gaps_since(60 * 60);
            assert!(gaps.iter().all(|gap| *gap <= widest), "{cost}: {gaps:?}");
            let shed = simulated.next - i64::try_from(simulated.kept.len()).expect("few");
            assert_eq!(shed > 0, cost > 1_000, "{cost}: {shed} shed");
            let (light_at, light) = (simulated.next, FRAME / 2);
            simulated.run(20, light);
            let gaps = simulated.gaps_since(light_at + 15 * 60);
            assert!(gaps.iter().all(|gap| *gap == 1), "{cost}: it recovers within 15 s: {gaps:?}");
        }
    }

    #[test]
    fn overload_is_told_once_until_it_has_been_over_for_a_while() {
        let mut overload = Overload::default();
        let at = |secs: i64| Timestamp::from_millis(secs * 1_000);
        assert_eq!(overload.note(at(0), false), None);
        assert_eq!(overload.note(at(1), true), Some(OverloadChange::Began));
        assert_eq!([(2, false), (5, true), (9, false)].map(|(secs, shed)| overload.note(at(secs), shed)), [None; 3]);
        let ended = OverloadChange::Ended { shed: 2, lasted: Span::from_secs(4) };
        assert_eq!(overload.note(at(10), false), Some(ended));
        assert_eq!(overload.note(at(20), false), None);
        assert_eq!(overload.note(at(21), true), Some(OverloadChange::Began));
        assert_eq!(overload.finish(), Some(OverloadChange::Ended { shed: 1, lasted: Span::ZERO }));
        assert_eq!(overload.finish(), None);
    }

    #[test]
    fn a_burst_is_no_backlog_until_it_is_large() {
        let millis = Span::from_millis;
        let backlog = |late, waiting| Patience::default().backlog(millis(late), millis(waiting));
        assert_eq!(backlog(10, 3_900), millis(900));
        assert_eq!(backlog(10, 4_000), millis(1_000));
        assert_eq!(backlog(1_200, 1_200), millis(1_200));
    }

    #[test]
    fn packets_age_also_when_none_follows() {
        let mut lateness = Lateness::default();
        let mut take = |now, dts, alone| lateness.take(Duration::from_millis(now), Timestamp::from_millis(dts), alone);
        assert_eq!(take(5_000, 100, true), Span::ZERO);
        assert_eq!(take(5_040, 133, false), Span::from_millis(7));
        assert_eq!(take(9_000, 167, false), Span::from_millis(3_933));
        assert_eq!(take(9_010, 10_000, false), Span::ZERO, "a burst is early, and what follows is measured against it");
        assert_eq!(take(10_010, 10_000, false), Span::from_secs(1));
        assert_eq!(take(60_000, 10_033, true), Span::ZERO, "the source had paused");
    }

    #[test]
    fn waiting_packets_are_counted_in_the_time_that_packets_really_take() {
        let mut stated = PacketTime::new(Some((60, 1)));
        assert_eq!(stated.of(60), Span::from_secs(1));
        // It states 60 frames/s and sends 10, with a hole in between.
        (0..200).for_each(|n| stated.packet(Timestamp::from_millis(n * 100 + if n > 100 { 30_000 } else { 0 })));
        let second = stated.of(10).flicks() - Span::from_secs(1).flicks();
        assert!(second.abs() < Span::from_millis(10).flicks(), "{second}");
        assert_eq!(PacketTime::new(None).of(30), Span::from_secs(1));
        assert_eq!(PacketTime::new(Some((0, 0))).of(30), Span::from_secs(1));
    }
}
