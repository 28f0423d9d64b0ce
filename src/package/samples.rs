//! Packets to samples: decode times and durations in units of the track's timescale.
//!
//! Boundaries are rounded, never durations, so that the samples of a run telescope: each begins exactly where the one
//! before it ends, and rounding never adds up. A run ends at a gap and at a discontinuity.
//!
//! A video packet does not say how long it is shown; the next one's DTS tells. So one video sample is always held back.
//! When no next packet comes, it lasts as long as the sample before it, but not past the time at which the next segment
//! begins. An audio packet says how long it is.
//!
//! A video run's decode times are its DTS, moved forward by as much as its first picture is presented behind its decoding.
//! So a run is decoded from where it is presented, whoever encoded it, and one that follows it with another reordering
//! depth leaves no hole: players place a run by the decode time of its first sample (hls.js by `tfdt`). Composition
//! offsets are then negative for some pictures, which `trun` version 1 has the sign for.

use bytes::Bytes;

use crate::media::track::VIDEO_TIMESCALE;
use crate::media::{Packet, Timestamp};
use crate::wire::fmp4::Sample;

/// Duration of a lone video sample of a track that states no rate: 25 frames per second.
const FALLBACK_DURATION_UNITS: u32 = VIDEO_TIMESCALE / 25;

/// A sample and its decode time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TimedSample {
    /// In units of the timescale.
    pub decode_time: u64,
    pub sample: Sample,
}

/// Why a packet is no sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SampleError {
    /// It ends no later than what came before.
    NotRising,
    /// Its times do not fit the format's fields.
    Range,
}

/// Video: holds one sample until its duration is known.
#[derive(Debug)]
pub(super) struct VideoSamples {
    held: Option<Held>,
    /// What is added to each DTS of the run, in units.
    lead: i64,
    /// A run begins with the next packet.
    fresh: bool,
    /// Of the sample before the held one, or what the track's rate says.
    last_duration: u32,
}

#[derive(Debug)]
struct Held {
    decode_time: u64,
    composition_offset: i32,
    keyframe: bool,
    data: Bytes,
}

impl Held {
    fn last_for(self, duration: u32) -> TimedSample {
        let Held { decode_time, composition_offset, keyframe, data } = self;
        TimedSample { decode_time, sample: Sample { duration, composition_offset, keyframe, data } }
    }
}

impl VideoSamples {
    pub(super) fn new() -> Self {
        VideoSamples { held: None, lead: 0, fresh: true, last_duration: FALLBACK_DURATION_UNITS }
    }

    /// Takes the duration of a sample that has no neighbour from the track's rate.
    pub(super) fn expect_rate(&mut self, frame_rate: Option<(u32, u32)>) {
        let units = frame_rate.and_then(|(numerator, denominator)| {
            (u64::from(VIDEO_TIMESCALE) * u64::from(denominator)).checked_div(u64::from(numerator))
        });
        let units = units.and_then(|units| u32::try_from(units).ok()).filter(|units| *units > 0);
        self.last_duration = units.unwrap_or(FALLBACK_DURATION_UNITS);
    }

    /// Takes a packet in; yields the one before it, whose duration is known by now.
    pub(super) fn push(&mut self, packet: Packet) -> Result<Option<TimedSample>, SampleError> {
        let (dts, pts) = (packet.dts.to_units(VIDEO_TIMESCALE), packet.pts.to_units(VIDEO_TIMESCALE));
        // A run that begins in the middle of a group goes on with the reordering that the group began with.
        if std::mem::take(&mut self.fresh) && packet.keyframe {
            self.lead = pts.checked_sub(dts).ok_or(SampleError::Range)?;
        }
        let moved = dts.checked_add(self.lead).ok_or(SampleError::Range)?;
        let decode_time = u64::try_from(moved).map_err(|_| SampleError::Range)?;
        let offset = pts.checked_sub(moved).ok_or(SampleError::Range)?;
        let composition_offset = i32::try_from(offset).map_err(|_| SampleError::Range)?;
        if let Some(held) = &self.held {
            let duration = decode_time.checked_sub(held.decode_time).filter(|units| *units > 0);
            let duration = duration.ok_or(SampleError::NotRising)?;
            self.last_duration = u32::try_from(duration).map_err(|_| SampleError::Range)?;
        }
        let next = Held { decode_time, composition_offset, keyframe: packet.keyframe, data: packet.data };
        Ok(self.held.replace(next).map(|held| held.last_for(self.last_duration)))
    }

    /// Ends the run: yields the held sample, which reaches at most until `limit`.
    pub(super) fn flush(&mut self, limit: Option<Timestamp>) -> Option<TimedSample> {
        self.fresh = true;
        let held = self.held.take()?;
        let limit = limit.map(|limit| limit.to_units(VIDEO_TIMESCALE));
        let room = limit.and_then(|limit| u64::try_from(limit).ok()?.checked_sub(held.decode_time));
        let room = room.map_or(u32::MAX, |room| u32::try_from(room).unwrap_or(u32::MAX));
        Some(held.last_for(self.last_duration.min(room).max(1)))
    }
}

/// Audio: counts samples.
#[derive(Debug, Default)]
pub(super) struct AudioSamples {
    /// Where the run goes on; `None` at its beginning.
    next: Option<u64>,
}

impl AudioSamples {
    /// The sample of a packet. A run begins at the packet's PTS; from then on each sample begins where the last one
    /// ended, and ends where its packet does. A hole in the source so lengthens one sample, and is over with it.
    pub(super) fn push(&mut self, packet: Packet, timescale: u32) -> Result<TimedSample, SampleError> {
        let units = |time: Timestamp| u64::try_from(time.to_units(timescale)).map_err(|_| SampleError::Range);
        let decode_time = self.next.map_or_else(|| units(packet.pts), Ok)?;
        let end = units(packet.pts + packet.duration)?;
        let duration = end.checked_sub(decode_time).filter(|units| *units > 0).ok_or(SampleError::NotRising)?;
        let duration = u32::try_from(duration).map_err(|_| SampleError::Range)?;
        self.next = Some(end);
        let sample = Sample { duration, composition_offset: 0, keyframe: true, data: packet.data };
        Ok(TimedSample { decode_time, sample })
    }

    /// Ends the run.
    pub(super) fn reset(&mut self) {
        self.next = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Kind, Span};

    fn video(dts_units: i64, offset: i64) -> Packet {
        Packet {
            kind: Kind::Video,
            dts: Timestamp::from_units(dts_units, 90_000),
            pts: Timestamp::from_units(dts_units + offset, 90_000),
            duration: Span::ZERO,
            keyframe: offset == 0,
            data: Bytes::from_static(b"x"),
        }
    }

    fn audio(pts_units: i64, duration_units: i64, timescale: u32) -> Packet {
        let pts = Timestamp::from_units(pts_units, timescale);
        let duration = Span::from_units(duration_units, timescale);
        Packet { kind: Kind::Audio, dts: pts, pts, duration, keyframe: true, data: Bytes::from_static(b"x") }
    }

    fn shape(timed: Option<TimedSample>) -> Option<(u64, u32, i32)> {
        timed.map(|timed| (timed.decode_time, timed.sample.duration, timed.sample.composition_offset))
    }

    #[test]
    fn video_lasts_until_the_next_packet() {
        let mut samples = VideoSamples::new();
        assert_eq!(samples.push(video(900_000, 0)).map(shape), Ok(None));
        assert_eq!(samples.push(video(903_003, 0)).map(shape), Ok(Some((900_000, 3_003, 0))));
        assert_eq!(samples.push(video(906_007, 3_003)).map(shape), Ok(Some((903_003, 3_004, 0))));
        assert_eq!(shape(samples.flush(None)), Some((906_007, 3_004, 3_003)));
        assert_eq!(shape(samples.flush(None)), None);
    }

    #[test]
    fn a_run_is_decoded_from_where_it_is_presented() {
        let key = |dts, offset| Packet { keyframe: true, ..video(dts, offset) };
        let mut samples = VideoSamples::new();
        // I P B B with two frames of delay, then an encoder without any takes over where the last picture ends.
        assert_eq!(samples.push(key(900_000, 6_000)).map(shape), Ok(None));
        assert_eq!(samples.push(video(903_000, 9_000)).map(shape), Ok(Some((906_000, 3_000, 0))));
        assert_eq!(samples.push(video(906_000, 3_000)).map(shape), Ok(Some((909_000, 3_000, 3_000))));
        assert_eq!(samples.push(video(909_000, 3_000)).map(shape), Ok(Some((912_000, 3_000, -3_000))));
        assert_eq!(shape(samples.flush(Some(Timestamp::from_units(918_000, 90_000)))), Some((915_000, 3_000, -3_000)));
        assert_eq!(samples.push(key(918_000, 0)).map(shape), Ok(None));
        assert_eq!(samples.push(video(921_000, 0)).map(shape), Ok(Some((918_000, 3_000, 0))));
        // A run that begins without a keyframe keeps the delay, so that it does not reach back over what was before.
        let mut samples = VideoSamples::new();
        assert_eq!(samples.push(key(900_000, 6_000)).map(shape), Ok(None));
        assert_eq!(shape(samples.flush(None)), Some((906_000, 3_600, 0)));
        assert_eq!(samples.push(video(990_000, 1)).map(shape), Ok(None));
        assert_eq!(shape(samples.flush(None)), Some((996_000, 3_600, -5_999)));
    }

    #[test]
    fn the_last_video_sample_stays_before_the_next_segment() {
        for (limit, duration) in [(900_100, 100), (910_000, 3_600), (900_000, 1), (0, 3_600)] {
            let mut samples = VideoSamples::new();
            assert_eq!(samples.push(video(900_000, 0)).map(shape), Ok(None));
            let flushed = samples.flush(Some(Timestamp::from_units(limit, 90_000)));
            assert_eq!(shape(flushed), Some((900_000, duration, 0)), "{limit}");
        }
    }

    #[test]
    fn a_lone_sample_lasts_as_the_track_says() {
        for (rate, duration) in
            [(Some((30_000, 1_001)), 3_003), (Some((0, 1)), 3_600), (None, 3_600), (Some((u32::MAX, 1)), 3_600)]
        {
            let mut samples = VideoSamples::new();
            samples.expect_rate(rate);
            assert_eq!(samples.push(video(900_000, 0)).map(shape), Ok(None));
            assert_eq!(shape(samples.flush(None)), Some((900_000, duration, 0)), "{rate:?}");
        }
    }

    #[test]
    fn video_that_does_not_rise_or_fit_is_refused() {
        let mut samples = VideoSamples::new();
        assert_eq!(samples.push(video(-1, 0)).map(shape), Err(SampleError::Range));
        assert_eq!(samples.push(video(0, i64::from(i32::MAX) + 1)).map(shape), Err(SampleError::Range));
        assert_eq!(samples.push(video(900_000, 0)).map(shape), Ok(None));
        assert_eq!(samples.push(video(900_000, 0)).map(shape), Err(SampleError::NotRising));
    }

    #[test]
    fn audio_on_a_grid_of_milliseconds_telescopes() {
        let mut samples = AudioSamples::default();
        let mut end = 480_000;
        for n in 0..1_000_i64 {
            // A source that rounds its stamps: off by up to half a millisecond, 24 samples.
            let millis = Timestamp::from_units(480_000 + 1_024 * n, 48_000).to_units(1_000);
            let mut packet = audio(0, 1_024, 48_000);
            packet.pts = Timestamp::from_millis(millis);
            let timed = samples.push(packet, 48_000).expect("in order");
            assert_eq!(timed.decode_time, end);
            end += u64::from(timed.sample.duration);
        }
        assert!(end.abs_diff(480_000 + 1_024_000) <= 24);
    }

    #[test]
    fn a_hole_lengthens_one_audio_sample_and_a_reset_begins_anew() {
        let mut samples = AudioSamples::default();
        let mut push = |pts| samples.push(audio(pts, 1_024, 44_100), 44_100).map(|timed| shape(Some(timed)));
        assert_eq!(push(44_100), Ok(Some((44_100, 1_024, 0))));
        assert_eq!(push(45_624), Ok(Some((45_124, 1_524, 0))));
        assert_eq!(push(46_648), Ok(Some((46_648, 1_024, 0))));
        assert_eq!(push(46_648), Err(SampleError::NotRising));
        samples.reset();
        let timed = samples.push(audio(100_000, 1_024, 44_100), 44_100);
        assert_eq!(timed.map(|timed| shape(Some(timed))), Ok(Some((100_000, 1_024, 0))));
    }
}
