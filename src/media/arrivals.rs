//! When the media of a session's timeline came in, for measuring how long it takes from there.
//!
//! Ingest notes each packet as it places it on the timeline; whoever publishes or stores media asks by presentation time.
//! So packets, encoders and packaging carry nothing for it, and copied and encoded renditions are measured alike.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Kind, Span, Timestamp};

/// Packets remembered per track: 17 s of 60 frames per second, longer than all queues of a session together.
const REMEMBERED: usize = 1_024;
/// Presentation times are rounded on their way through a container's timescale, and by less than this: 0.1 ms.
const ROUNDING: Span = Span::from_flicks(70_560);
/// Media further behind what it is asked for than this is not what it was made of: sound that stands where the source had
/// none. Longer than an audio frame of any rate, and than a picture of any source worth measuring.
const FURTHEST: Span = Span::from_millis(200);

/// The newest arrivals of a session. One thread notes, any may ask. Costs 16 bytes per remembered packet.
#[derive(Debug, Default)]
pub struct Arrivals {
    tracks: [Mutex<VecDeque<Arrival>>; 2],
}

#[derive(Clone, Copy, Debug)]
struct Arrival {
    pts: Timestamp,
    /// Monotonic nanoseconds: half the size of a `Duration`.
    at_nanos: u64,
}

impl Arrivals {
    /// A packet that is shown at `pts` of the session's timeline came in at `at` (monotonic).
    pub fn note(&self, kind: Kind, pts: Timestamp, at: Duration) {
        let at_nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        let mut track = self.tracks[kind as usize].lock().unwrap_or_else(PoisonError::into_inner);
        if track.capacity() == 0 {
            track.reserve_exact(REMEMBERED);
        }
        if track.len() == REMEMBERED {
            track.pop_front();
        }
        track.push_back(Arrival { pts, at_nanos });
    }

    /// When the source's packet came in that is the first to be shown at `pts` or later. `None` when the source had nothing
    /// there, or it is forgotten.
    pub fn first_from(&self, kind: Kind, pts: Timestamp) -> Option<Duration> {
        let track = self.tracks[kind as usize].lock().unwrap_or_else(PoisonError::into_inner);
        let there = pts - ROUNDING..=pts + FURTHEST;
        let found = track.iter().filter(|arrival| there.contains(&arrival.pts)).min_by_key(|arrival| arrival.pts);
        found.map(|arrival| Duration::from_nanos(arrival.at_nanos))
    }

    /// When the source's packet came in that is shown at `pts`: the last one that begins no later. For media older than
    /// what is remembered, the oldest that is: the answer is then later than the truth, and the delay told too small.
    /// `None` when the source had nothing there.
    pub fn of(&self, kind: Kind, pts: Timestamp) -> Option<Duration> {
        let track = self.tracks[kind as usize].lock().unwrap_or_else(PoisonError::into_inner);
        let there = pts - FURTHEST..=pts + ROUNDING;
        let found = track.iter().filter(|arrival| there.contains(&arrival.pts)).max_by_key(|arrival| arrival.pts);
        let forgotten = || track.front().filter(|oldest| track.len() == REMEMBERED && pts < oldest.pts);
        found.or_else(forgotten).map(|arrival| Duration::from_nanos(arrival.at_nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn millis(duration: u64) -> Duration {
        Duration::from_millis(duration)
    }

    #[test]
    fn the_frame_at_or_before_a_time_is_found_whatever_the_order_of_decoding() {
        let arrivals = Arrivals::default();
        for (pts, came) in [(10_000, 1), (10_120, 2), (10_040, 3), (10_080, 4)] {
            arrivals.note(Kind::Video, at(pts), millis(came));
        }
        assert_eq!(arrivals.of(Kind::Video, at(10_120)), Some(millis(2)));
        assert_eq!(arrivals.of(Kind::Video, at(10_080)), Some(millis(4)));
        assert_eq!(arrivals.of(Kind::Video, at(10_079)), Some(millis(3)));
        let rounded_down = at(10_080) - Span::from_flicks(3_500);
        assert_eq!(arrivals.of(Kind::Video, rounded_down), Some(millis(4)), "a timescale's rounding is forgiven");
        assert_eq!(arrivals.of(Kind::Audio, at(10_080)), None, "tracks are apart");
    }

    #[test]
    fn what_the_source_did_not_send_has_no_arrival() {
        let arrivals = Arrivals::default();
        arrivals.note(Kind::Audio, at(10_000), millis(1));
        assert_eq!(arrivals.of(Kind::Audio, at(10_200)), Some(millis(1)));
        assert_eq!(arrivals.of(Kind::Audio, at(10_201)), None);
        assert_eq!(arrivals.of(Kind::Audio, at(9_999)), None);
    }

    #[test]
    fn the_first_frame_of_a_segment_is_the_first_at_its_cut_or_behind_it() {
        let arrivals = Arrivals::default();
        for (pts, came) in [(9_960, 1), (10_000, 2), (10_120, 3), (10_040, 4)] {
            arrivals.note(Kind::Video, at(pts), millis(came));
        }
        arrivals.note(Kind::Audio, at(10_013), millis(5));
        assert_eq!(arrivals.first_from(Kind::Video, at(10_000)), Some(millis(2)));
        let rounded_up = at(10_000) + Span::from_flicks(3_500);
        assert_eq!(arrivals.first_from(Kind::Video, rounded_up), Some(millis(2)), "a timescale's rounding is forgiven");
        assert_eq!(arrivals.first_from(Kind::Video, at(10_001)), Some(millis(4)));
        assert_eq!(arrivals.first_from(Kind::Audio, at(10_000)), Some(millis(5)), "sound is not cut at the same time");
        assert_eq!(arrivals.first_from(Kind::Audio, at(9_800)), None);
        assert_eq!(arrivals.first_from(Kind::Audio, at(10_014)), None);
    }

    #[test]
    fn memory_is_bounded_and_what_it_forgot_is_as_old_as_its_oldest() {
        let arrivals = Arrivals::default();
        let packets = i64::try_from(REMEMBERED).expect("small") + 10;
        for n in 0..packets {
            arrivals.note(Kind::Video, at(20 * n), millis(n.unsigned_abs()));
        }
        let track = arrivals.tracks[Kind::Video as usize].lock().expect("nobody panicked");
        assert_eq!((track.len(), track.capacity()), (REMEMBERED, REMEMBERED));
        drop(track);
        assert_eq!(arrivals.of(Kind::Video, at(0)), Some(millis(10)));
        assert_eq!(arrivals.of(Kind::Video, at(20 * 10)), Some(millis(10)));
    }
}
