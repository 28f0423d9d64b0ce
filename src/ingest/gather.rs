//! The beginning of a run: what is held until it can begin.
//!
//! A run with video begins with a keyframe. It waits a bounded time for the second track, because renditions are fixed once
//! the session has begun, and for the first few pictures where composition times may turn out negative, because DTS cannot
//! be moved back once it was given out. Both waits happen once per run; afterwards nothing is delayed.

use std::collections::VecDeque;
use std::time::Duration;

use super::Now;
use crate::media::{Kind, Span, Timestamp};
use bytes::Bytes;

/// The longest wait for more pictures after the first, when there is no second.
const LOOK_AHEAD_WAIT: Duration = Duration::from_millis(250);
/// Pictures to look at when the stream does not say how far it reorders: pyramids of four reach their lowest composition
/// time with the fourth picture.
const LOOK_AHEAD_PICTURES: usize = 5;
/// Sound older than this before the first keyframe is not kept: it would be trimmed anyway.
const MAX_SOUND: Span = Span::from_secs(10);
/// A publisher that brings less media than half of the time waited stands still (a hole in its network, a host that gave its time to
/// others): its second track may lie right behind. It is waited for so many times longer.
const WAITS_OF_A_STALL: u32 = 4;
/// The wait is over when so much is held: twice the largest message.
pub(super) const MAX_BYTES: usize = 32 << 20;
/// And when so many packets are, each of which costs memory beside its bytes: [`MAX_SOUND`] at 96 kHz is a quarter of it.
const MAX_SAMPLES: usize = 4_096;

/// What is smaller is held as a copy: a slice keeps the connection's read buffer of 64 KiB, of which a publisher may have filled
/// the rest with something else.
const COPIED_BELOW: usize = 32 << 10;

/// A packet of a run, in the time of the run's clock.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub kind: Kind,
    /// DTS on the run's clock.
    pub source: Timestamp,
    pub composition: Span,
    pub keyframe: bool,
    /// The track was away before this.
    pub hole: bool,
    /// See [`super::demux::AccessUnit::leading`].
    pub leading: bool,
    /// Samples of a frame of sound.
    pub samples: u32,
    pub data: Bytes,
    pub arrived: Now,
}

/// Which tracks to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub video: bool,
    pub audio: bool,
    /// This connection has announced video: without a keyframe there is nothing to begin with.
    pub video_configured: bool,
    pub reorder_frames: Option<u32>,
}

/// What is held of a run that has not begun.
#[derive(Debug)]
pub(super) struct Gather {
    pub run: u32,
    wait: Duration,
    /// Monotonic time of the first sample.
    since: Option<Duration>,
    /// Of the first keyframe.
    keyframe_at: Option<Duration>,
    pictures: usize,
    /// In order of arrival. Pictures from the first keyframe on.
    samples: VecDeque<Sample>,
    bytes: usize,
}

impl Gather {
    /// `wait` is for the second track.
    pub(super) fn new(run: u32, wait: Duration) -> Self {
        Gather { run, wait, since: None, keyframe_at: None, pictures: 0, samples: VecDeque::new(), bytes: 0 }
    }

    /// Makes room for one more packet where so much is held that the wait is over and still the run cannot begin: no
    /// keyframe has come, or no track that the session has. The oldest go, and pictures with their keyframe. Returns how
    /// many that were.
    pub(super) fn make_room(&mut self) -> u64 {
        let mut dropped = 0;
        while self.is_full()
            && let Some(oldest) = self.samples.pop_front()
        {
            self.bytes -= oldest.data.len();
            dropped += 1;
            if oldest.kind == Kind::Video {
                dropped += self.forget(Kind::Video);
            }
        }
        dropped
    }

    /// Holds `sample`; false when it is a picture before the first keyframe, which is not kept.
    pub(super) fn hold(&mut self, sample: Sample) -> bool {
        let arrived = sample.arrived.monotonic;
        self.since.get_or_insert(arrived);
        if sample.kind == Kind::Video {
            if self.keyframe_at.is_none() && !sample.keyframe {
                return false;
            }
            self.keyframe_at.get_or_insert(arrived);
            self.pictures += 1;
        }
        // Before the first of a run nothing of it can be missing.
        let hole = sample.hole && self.samples.iter().any(|held| held.kind == sample.kind);
        self.bytes += sample.data.len();
        let newest = sample.source;
        let data = if sample.data.len() < COPIED_BELOW { Bytes::copy_from_slice(&sample.data) } else { sample.data };
        self.samples.push_back(Sample { data, hole, ..sample });
        if self.keyframe_at.is_none() {
            while self.samples.front().is_some_and(|oldest| newest - oldest.source > MAX_SOUND) {
                self.bytes -= self.samples.pop_front().map_or(0, |oldest| oldest.data.len());
            }
        }
        true
    }

    /// A new configuration of `kind`: what is held of it cannot be described any more. Returns how many packets that were.
    pub(super) fn forget(&mut self, kind: Kind) -> u64 {
        let before = self.samples.len();
        self.samples.retain(|sample| sample.kind != kind);
        self.bytes = self.samples.iter().map(|sample| sample.data.len()).sum();
        if kind == Kind::Video {
            (self.keyframe_at, self.pictures) = (None, 0);
        }
        (before - self.samples.len()) as u64
    }

    /// Whether the run can begin.
    pub(super) fn is_complete(&self, wanted: Wanted, now: Duration) -> bool {
        let video = self.pictures > 0 && self.has_looked_ahead(wanted, now);
        let audio = self.samples.iter().any(|sample| sample.kind == Kind::Audio);
        if (video || !wanted.video) && (audio || !wanted.audio) {
            return true;
        }
        if !self.has_waited(now) {
            return false;
        }
        (wanted.video && video) || (wanted.audio && audio && !(wanted.video && wanted.video_configured))
    }

    /// The next time at which waiting longer may be pointless.
    pub(super) fn deadline(&self, now: Duration) -> Option<Duration> {
        let second_track = self.since.map(|since| since.saturating_add(self.wait));
        let stall = self.since.map(|since| since.saturating_add(self.wait * WAITS_OF_A_STALL));
        let pictures = self.keyframe_at.map(|since| since.saturating_add(LOOK_AHEAD_WAIT));
        [second_track, stall, pictures].into_iter().flatten().filter(|deadline| *deadline > now).min()
    }

    /// All that was held, in order of arrival. Where a keyframe leads, it is the one to begin with.
    pub(super) fn into_samples(self) -> VecDeque<Sample> {
        self.samples
    }

    fn is_full(&self) -> bool {
        self.bytes > MAX_BYTES || self.samples.len() >= MAX_SAMPLES
    }

    fn has_waited(&self, now: Duration) -> bool {
        let waited = |waits: u32| self.since.is_some_and(|since| now >= since.saturating_add(self.wait * waits));
        self.is_full() || (waited(1) && self.held_media() >= self.wait / 2) || waited(WAITS_OF_A_STALL)
    }

    /// From the first stamp to the last.
    fn held_media(&self) -> Duration {
        let stamps = || self.samples.iter().map(|sample| sample.source);
        let span = stamps().max().zip(stamps().min()).map(|(last, first)| last - first);
        span.unwrap_or(Span::ZERO).to_std()
    }

    fn has_looked_ahead(&self, wanted: Wanted, now: Duration) -> bool {
        let mut pictures = self.samples.iter().filter(|sample| sample.kind == Kind::Video);
        // A first picture that is presented later than it is decoded shows that DTS has been moved back already.
        let delayed = pictures.next().is_some_and(|first| first.composition.is_positive());
        let enough = match wanted.reorder_frames {
            Some(0) => 1,
            Some(frames) => frames as usize + 2,
            None => LOOK_AHEAD_PICTURES,
        };
        let waited = |since: Duration| now >= since.saturating_add(LOOK_AHEAD_WAIT);
        delayed || self.pictures >= enough || self.is_full() || self.keyframe_at.is_some_and(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::WallTime;

    #[test]
    fn small_packets_do_not_keep_the_buffer_that_they_came_in() {
        let read = Bytes::from(vec![0; 64 << 10]);
        let held =
            gather([Sample { data: read.slice(..600), ..sound(0) }, Sample { data: read.slice(600..), ..sound(21) }]);
        assert!(!read.is_unique(), "what is most of it is kept without a copy");
        let held = held.into_samples();
        assert_eq!((held[0].data.len(), held[1].data.len()), (600, (64 << 10) - 600));
        drop(held);
        assert!(read.is_unique());
        let held = gather([Sample { data: read.slice(..600), ..sound(0) }]);
        assert!(read.is_unique(), "{} bytes are copied", held.bytes);
    }

    const BOTH: Wanted = Wanted { video: true, audio: true, video_configured: true, reorder_frames: None };

    fn sample(kind: Kind, millis: i64, composition: i64, keyframe: bool) -> Sample {
        let monotonic = Duration::from_millis(millis.unsigned_abs());
        Sample {
            kind,
            source: Timestamp::from_millis(millis),
            composition: Span::from_millis(composition),
            keyframe,
            hole: false,
            leading: false,
            samples: 0,
            data: Bytes::from_static(&[0; 10]),
            arrived: Now { monotonic, wall: WallTime::default() },
        }
    }

    fn picture(millis: i64, composition: i64) -> Sample {
        sample(Kind::Video, millis, composition, millis == 0)
    }

    fn sound(millis: i64) -> Sample {
        sample(Kind::Audio, millis, 0, true)
    }

    fn gather(samples: impl IntoIterator<Item = Sample>) -> Gather {
        let mut gather = Gather::new(1, Duration::from_secs(1));
        for sample in samples {
            gather.hold(sample);
        }
        gather
    }

    const SOON: Duration = Duration::from_millis(100);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn both_tracks_are_awaited_for_a_bounded_time() {
        assert!(gather([picture(0, 66), sound(5)]).is_complete(BOTH, SOON));
        let video = gather([picture(0, 66), picture(500, 66)]);
        assert!(!video.is_complete(BOTH, SOON) && video.is_complete(BOTH, SECOND));
        assert!(video.is_complete(Wanted { audio: false, ..BOTH }, SOON));
        let audio = gather([sound(0), sound(500)]);
        assert!(!audio.is_complete(BOTH, SECOND), "a keyframe was announced");
        let unannounced = Wanted { video_configured: false, ..BOTH };
        assert!(!audio.is_complete(unannounced, SOON) && audio.is_complete(unannounced, SECOND));
        assert!(!gather([]).is_complete(BOTH, SECOND));
    }

    #[test]
    fn a_publisher_that_stands_still_is_waited_for_longer() {
        let video = gather([picture(0, 66), picture(467, 66)]);
        assert!(!video.is_complete(BOTH, 3 * SECOND), "its sound may be right behind");
        assert!(video.is_complete(BOTH, 4 * SECOND));
        let deadlines = [SOON, SECOND, 4 * SECOND].map(|now| video.deadline(now).map(|at| at.as_millis()));
        assert_eq!(deadlines, [Some(250), Some(4_000), None]);
    }

    #[test]
    fn pictures_are_looked_at_ahead_only_where_composition_may_turn_negative() {
        let audio = || sound(1);
        let with = |reorder_frames| Wanted { reorder_frames, ..BOTH };
        let one = gather([picture(0, 0), audio()]);
        assert!(one.is_complete(with(Some(0)), SOON));
        assert!(!one.is_complete(with(Some(1)), SOON) && !one.is_complete(with(None), SOON));
        assert!(one.is_complete(with(None), Duration::from_millis(250)));
        let three = gather([picture(0, 0), picture(33, 33), picture(66, -33), audio()]);
        assert!(three.is_complete(with(Some(1)), SOON) && !three.is_complete(with(None), SOON));
        assert!(gather([picture(0, 33), audio()]).is_complete(with(None), SOON));
    }

    #[test]
    fn what_lies_far_before_the_keyframe_is_not_kept() {
        let mut early = gather((0..800).map(|n| sound(n * 20)));
        assert!(!early.hold(sample(Kind::Video, 15_990, 0, false)));
        let held: Vec<i64> = early.into_samples().iter().map(|sample| sample.source.to_units(1_000)).collect();
        assert_eq!((held.first(), held.last()), (Some(&5_980), Some(&15_980)));
    }

    #[test]
    fn a_new_configuration_begins_anew() {
        let mut gather = gather([picture(0, 66), sound(5), picture(33, 66)]);
        assert_eq!(gather.forget(Kind::Video), 2);
        assert!(!gather.is_complete(BOTH, SOON) && !gather.hold(picture(66, 66)));
        assert!(gather.hold(sample(Kind::Video, 100, 66, true)) && gather.is_complete(BOTH, SOON));
    }

    #[test]
    fn too_many_bytes_end_the_wait() {
        let big = |millis| Sample { data: Bytes::from(vec![0; 17 << 20]), ..picture(millis, 66) };
        assert!(!gather([big(0)]).is_complete(BOTH, SOON));
        assert!(gather([big(0), big(33)]).is_complete(BOTH, SOON));
    }

    /// Found by the fuzz target `ingest`: stamps that stand still are no bound in media time.
    #[test]
    fn many_small_packets_end_the_wait() {
        let sounds = gather((0..MAX_SAMPLES).map(|_| sound(0)));
        assert!(sounds.is_complete(Wanted { video_configured: false, ..BOTH }, SOON));
        assert!(!sounds.is_complete(BOTH, SOON), "a keyframe was announced");
    }

    #[test]
    fn a_run_that_cannot_begin_holds_no_more_than_its_bounds() {
        let mut sounds = gather((0..MAX_SAMPLES).map(|_| sound(0)));
        assert_eq!(sounds.make_room(), 1);
        assert!(sounds.hold(sound(7)));
        assert_eq!(sounds.into_samples().len(), MAX_SAMPLES);
        // A session of sound alone, and a publisher of pictures alone.
        let big = |millis| Sample { data: Bytes::from(vec![0; 17 << 20]), ..picture(millis, 66) };
        let mut pictures = gather([big(0), big(33)]);
        assert!(!pictures.is_complete(Wanted { video: false, ..BOTH }, SECOND));
        assert_eq!(pictures.make_room(), 2, "pictures without their keyframe are of no use");
        assert!(!pictures.hold(picture(66, 66)) && pictures.hold(picture(0, 66)));
        assert_eq!(pictures.make_room(), 0);
    }

    #[test]
    fn deadlines_are_those_ahead() {
        let gather = gather([sound(0), sample(Kind::Video, 100, 0, true)]);
        assert_eq!(gather.deadline(SOON), Some(Duration::from_millis(350)));
        assert_eq!(gather.deadline(Duration::from_millis(350)), Some(SECOND));
        assert_eq!(gather.deadline(SECOND), Some(4 * SECOND));
        assert_eq!(gather.deadline(4 * SECOND), None);
    }
}
