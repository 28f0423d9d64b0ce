//! The thread of one rung: pictures in, scaled to the rung's size, encoded, out as packets with their cuts.
//!
//! An ordinary [`Cut`] makes the next frame an IDR and stands right before its packet. A break (discontinuity, gap,
//! another configuration) empties the encoder; the next frame opens a new one, whose [`Track`] comes first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::libav::LibavError;
use super::libav::frame::Picture;
use super::libav::scaler::Scaler;
use super::libav::video_encoder::VideoEncoder;
use super::pace::FrameCap;
use super::plan::{capped, fit, frame_cap};
use super::stats::RungCounters;
use super::{TranscodeError, bitstream};
use crate::clock::SharedClock;
use crate::config::preset::EncodePreset;
use crate::flow::channel::{Receiver, Sender, Weigh};
use crate::media::segment::{RenditionId, RenditionUnit};
use crate::media::track::VIDEO_TIMESCALE;
use crate::media::{Cut, Kind, Packet, Span, Timestamp, Track, Unit};

/// Frames per second of a source that states none, where a frame's time must be known.
const ASSUMED_FRAME_RATE: (u32, u32) = (30, 1);
/// Frames this far apart are not a frame rate: the source paused.
const PAUSE: Span = Span::from_secs(1);

/// What the decode thread tells a rung.
#[derive(Debug)]
pub(super) enum RungItem {
    /// Frames of another configuration follow.
    Source {
        /// Frames per second, if known.
        frame_rate: Option<(u32, u32)>,
    },
    /// A decoded picture, shared with the other rungs.
    Frame {
        /// The pixels.
        picture: Arc<Picture>,
        /// When it is shown; rises from frame to frame.
        pts: Timestamp,
    },
    /// The next frame begins a segment.
    Cut(Cut),
    /// Everything before this is complete, and what follows begins anew.
    Break(Cut),
    /// The session ends.
    End,
}

impl Weigh for RungItem {
    fn weight(&self) -> usize {
        match self {
            RungItem::Frame { picture, .. } => picture.bytes(),
            _ => 0,
        }
    }
}

/// Everything that a rung's thread owns.
#[derive(Debug)]
pub(super) struct Rung {
    input: Receiver<RungItem>,
    output: Sender<RenditionUnit>,
    clock: SharedClock,
    counters: Arc<RungCounters>,
    id: RenditionId,
    name: String,
    preset: EncodePreset,
    frame_rate: Option<(u32, u32)>,
    cap: Option<FrameCap>,
    scaler: Option<((u32, u32), Scaler)>,
    running: Option<Running>,
    /// Cuts that wait for their frame.
    cuts: Vec<Cut>,
    last_dts: Option<Timestamp>,
}

/// An open encoder and what is inside of it.
#[derive(Debug)]
struct Running {
    encoder: VideoEncoder,
    size: (u32, u32),
    times: Times,
    /// Ticks of frames that begin segments, with their cuts, until their packets come out.
    marks: VecDeque<(i64, Vec<Cut>)>,
}

impl Rung {
    pub(super) fn new(
        input: Receiver<RungItem>,
        output: Sender<RenditionUnit>,
        clock: SharedClock,
        counters: Arc<RungCounters>,
        id: RenditionId,
        name: String,
        preset: EncodePreset,
    ) -> Self {
        Rung {
            input,
            output,
            clock,
            counters,
            id,
            name,
            preset,
            frame_rate: None,
            cap: None,
            scaler: None,
            running: None,
            cuts: Vec::new(),
            last_dts: None,
        }
    }

    /// The thread's body. When the input closes without [`RungItem::End`], all frames still come out, but no end.
    pub(super) fn run(mut self) -> Result<(), TranscodeError> {
        while let Some(item) = self.input.recv() {
            match item {
                RungItem::Source { frame_rate } => self.source(frame_rate)?,
                RungItem::Frame { picture, pts } => {
                    self.counters.queued.fetch_sub(1, Ordering::Relaxed);
                    self.frame(&picture, pts)?;
                }
                RungItem::Cut(cut) => self.cut(cut)?,
                RungItem::Break(cut) => {
                    self.drain()?;
                    self.release_cuts()?;
                    self.emit(Unit::Cut(cut))?;
                }
                RungItem::End => {
                    self.drain()?;
                    return self.emit(Unit::End);
                }
            }
        }
        self.drain()
    }

    fn source(&mut self, frame_rate: Option<(u32, u32)>) -> Result<(), TranscodeError> {
        self.drain()?;
        let limit = frame_cap(&self.preset, frame_rate);
        self.frame_rate = frame_rate.map(|rate| capped(rate, limit));
        self.cap = limit.map(|limit| FrameCap::new(limit, frame_rate));
        Ok(())
    }

    fn cut(&mut self, cut: Cut) -> Result<(), TranscodeError> {
        if !self.cuts.is_empty() {
            // The segment before this cut got no frame: let it go out empty now, instead of when a frame comes.
            self.drain()?;
            self.release_cuts()?;
        }
        self.cuts.push(cut);
        Ok(())
    }

    fn frame(&mut self, picture: &Arc<Picture>, pts: Timestamp) -> Result<(), TranscodeError> {
        let begins_segment = !self.cuts.is_empty() || self.running.is_none();
        if self.cap.as_mut().is_some_and(|cap| !cap.keeps(pts, begins_segment)) {
            self.counters.capped.add(1);
            return Ok(());
        }
        let size = fit((self.preset.width, self.preset.height), picture.shown_size());
        if self.running.as_ref().is_some_and(|running| running.size != size) {
            self.drain()?;
        }
        if picture.size() == size && picture.is_plain() {
            return self.encode(picture, size, pts);
        }
        let scaled = self.scale(picture, size, pts)?;
        let encoded = self.encode(&scaled, size, pts);
        if let Some((_, scaler)) = &mut self.scaler {
            scaler.give_back(scaled);
        }
        encoded
    }

    fn scale(&mut self, picture: &Picture, size: (u32, u32), pts: Timestamp) -> Result<Picture, TranscodeError> {
        let start = self.clock.monotonic();
        if self.scaler.as_ref().is_none_or(|(made_for, _)| *made_for != size) {
            self.scaler = Some((size, Scaler::new(size)));
        }
        let (_, scaler) = self.scaler.as_mut().expect("made in the line above");
        let scaled = scaler.scale(picture);
        self.counters.scale_busy.add_time(self.clock.monotonic().saturating_sub(start));
        scaled.map_err(|source| TranscodeError::Scale { rendition: self.name.clone(), pts, source })
    }

    fn encode(&mut self, picture: &Picture, size: (u32, u32), pts: Timestamp) -> Result<(), TranscodeError> {
        if self.running.is_none() {
            self.open(picture, size)?;
        }
        let running = self.running.as_mut().expect("opened in the line above");
        let cuts = std::mem::take(&mut self.cuts);
        self.counters.media.add_time(running.times.step_to(pts));
        let tick = running.times.enter(pts);
        let start = self.clock.monotonic();
        let sent = running.encoder.send(picture, tick, !cuts.is_empty());
        self.counters.encode_busy.add_time(self.clock.monotonic().saturating_sub(start));
        if !cuts.is_empty() {
            running.marks.push_back((tick, cuts));
        }
        sent.map_err(|source| TranscodeError::Encode { rendition: self.name.clone(), pts, source })?;
        self.counters.frames.add(1);
        self.deliver(pts)
    }

    fn open(&mut self, picture: &Picture, size: (u32, u32)) -> Result<(), TranscodeError> {
        let rendition = || self.name.clone();
        let encoder = VideoEncoder::open(&self.preset, picture, self.frame_rate)
            .map_err(|source| TranscodeError::OpenEncoder { rendition: rendition(), source })?;
        let track = bitstream::track(encoder.parameter_sets(), self.frame_rate)
            .map_err(|source| TranscodeError::Configuration { rendition: rendition(), source })?;
        tracing::info!(
            rendition = %self.name, width = track.width, height = track.height, codecs = %track.codecs, "encoder opened"
        );
        let (num, den) = self.frame_rate.filter(|(num, _)| *num > 0).unwrap_or(ASSUMED_FRAME_RATE);
        let lead = Span::from_units(i64::from(den) * i64::from(encoder.reorder_frames()), num);
        self.running = Some(Running { encoder, size, times: Times::new(lead), marks: VecDeque::new() });
        self.emit(Unit::Track(Arc::new(Track::Video(track))))
    }

    /// Hands on every packet that the encoder has ready.
    fn deliver(&mut self, pts: Timestamp) -> Result<(), TranscodeError> {
        while let Some(running) = &mut self.running {
            let start = self.clock.monotonic();
            let packet = running.packet(self.last_dts);
            self.counters.encode_busy.add_time(self.clock.monotonic().saturating_sub(start));
            let packet =
                packet.map_err(|source| TranscodeError::Encode { rendition: self.name.clone(), pts, source })?;
            let Some((cuts, packet)) = packet else { return Ok(()) };
            self.last_dts = Some(packet.dts);
            self.counters.bytes.add(packet.data.len() as u64);
            for cut in cuts {
                self.emit(Unit::Cut(cut))?;
            }
            self.emit(Unit::Packet(packet))?;
        }
        Ok(())
    }

    /// Lets every frame out and closes the encoder.
    fn drain(&mut self) -> Result<(), TranscodeError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let pts = running.times.newest();
        let finished = running.encoder.finish();
        finished.map_err(|source| TranscodeError::Encode { rendition: self.name.clone(), pts, source })?;
        self.deliver(pts)?;
        self.running = None;
        Ok(())
    }

    /// Emits cuts whose segments stay empty.
    fn release_cuts(&mut self) -> Result<(), TranscodeError> {
        std::mem::take(&mut self.cuts).into_iter().try_for_each(|cut| self.emit(Unit::Cut(cut)))
    }

    fn emit(&self, unit: Unit) -> Result<(), TranscodeError> {
        let sent = self.output.send(RenditionUnit { rendition: self.id, unit });
        sent.map_err(|_| TranscodeError::OutputClosed { rendition: self.name.clone() })
    }
}

impl Running {
    /// The next packet that is ready, with the cuts that stand before it.
    fn packet(&mut self, last_dts: Option<Timestamp>) -> Result<Option<(Vec<Cut>, Packet)>, LibavError> {
        let Some(coded) = self.encoder.receive()? else { return Ok(None) };
        let marked = self.marks.pop_front_if(|(tick, _)| *tick <= coded.pts);
        let cuts = marked.map(|(_, cuts)| cuts).unwrap_or_default();
        let (pts, dts) = self.times.leave(coded.pts, coded.dts, last_dts, !cuts.is_empty());
        let data = bitstream::access_unit(coded.data);
        Ok(Some((cuts, Packet { kind: Kind::Video, dts, pts, duration: Span::ZERO, keyframe: coded.key, data })))
    }
}

/// Flicks to the encoder's ticks of 1/90 000 s and back again, exactly: each frame's time is kept while it is inside.
#[derive(Debug, Default)]
struct Times {
    inside: VecDeque<(i64, Timestamp)>,
    last: Option<(i64, Timestamp)>,
    /// How much earlier than it is shown the first frame of a segment is decoded.
    lead: Span,
    /// A packet has come out.
    given: bool,
}

impl Times {
    fn new(lead: Span) -> Self {
        Times { lead, ..Times::default() }
    }

    /// The tick of a frame that enters the encoder; rises even if two frames are closer than a tick.
    fn enter(&mut self, pts: Timestamp) -> i64 {
        let nearest = pts.to_units(VIDEO_TIMESCALE);
        let tick = self.last.map_or(nearest, |(last, _)| nearest.max(last.saturating_add(1)));
        self.last = Some((tick, pts));
        self.inside.push_back((tick, pts));
        tick
    }

    /// Media time between the frame that entered last and the next one, at `pts`; none across a pause of the source.
    fn step_to(&self, pts: Timestamp) -> Duration {
        let step = self.last.map_or(Span::ZERO, |(_, last)| pts - last);
        if step < PAUSE { step.to_std() } else { Duration::ZERO }
    }

    /// Time of the frame that entered last.
    fn newest(&self) -> Timestamp {
        self.last.map_or(Timestamp::ZERO, |(_, pts)| pts)
    }

    /// PTS and DTS of a packet that comes out. x264's DTS are the PTS of earlier frames, but for the first few, which lie
    /// before all frames. DTS rises over the rung's whole life, by at least a tick, and stays at or below PTS.
    ///
    /// The packet that begins a segment is decoded no earlier than `lead` before it is shown, and the first of an encoder,
    /// whose DTS x264 can only guess, exactly then. When frames were dropped, the PTS of earlier frames lies far back, and
    /// segments, whose durations are counted in DTS, would begin at other distances than their cuts, and last longer than
    /// the target.
    fn leave(
        &mut self,
        pts: i64,
        dts: i64,
        last_dts: Option<Timestamp>,
        begins_segment: bool,
    ) -> (Timestamp, Timestamp) {
        let exact = |tick: i64| {
            let at = self.inside.binary_search_by_key(&tick, |(tick, _)| *tick);
            at.map_or_else(|_| Timestamp::from_units(tick, VIDEO_TIMESCALE), |index| self.inside[index].1)
        };
        let (shown, decoded) = (exact(pts), exact(dts));
        // Later packets ask for nothing before this DTS.
        while self.inside.pop_front_if(|(tick, _)| *tick < dts).is_some() {}
        let tick = Span::from_units(1, VIDEO_TIMESCALE);
        let decoded = match (std::mem::replace(&mut self.given, true), begins_segment) {
            (false, _) => shown - self.lead,
            (true, true) => decoded.max(shown - self.lead),
            (true, false) => decoded,
        };
        let rising = last_dts.map_or(decoded, |last| decoded.max(last + tick));
        (shown, rising.min(shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flicks(n: i64) -> Timestamp {
        Timestamp::from_flicks(n)
    }

    #[test]
    fn times_come_back_to_the_flick() {
        let mut times = Times::new(Span::from_units(1_502, VIDEO_TIMESCALE));
        let frame = |n: i64| Timestamp::from_units(n * 1_001, 60_000) + Span::from_secs(10);
        let ticks: Vec<i64> = (0..4).map(|n| times.enter(frame(n))).collect();
        assert_eq!(ticks, [900_000, 901_502, 903_003, 904_505]);
        assert_eq!(
            times.leave(ticks[0], ticks[0] - 1_502, None, false),
            (frame(0), Timestamp::from_units(898_498, 90_000))
        );
        assert_eq!(times.leave(ticks[2], ticks[0], None, false), (frame(2), frame(0)));
        assert_eq!(times.leave(ticks[1], ticks[1], None, false), (frame(1), frame(1)));
        assert_eq!(times.leave(ticks[3], ticks[2], None, false), (frame(3), frame(2)));
        assert_eq!(times.inside.len(), 2, "what lies before the last DTS is forgotten");
    }

    #[test]
    fn media_time_is_counted_between_frames_and_not_across_a_pause() {
        let mut times = Times::default();
        let steps = [10_000, 10_040, 10_080, 45_000, 45_040].map(|millis| {
            let (step, _) =
                (times.step_to(Timestamp::from_millis(millis)), times.enter(Timestamp::from_millis(millis)));
            step.as_millis()
        });
        assert_eq!(steps, [0, 40, 40, 0, 40]);
    }

    #[test]
    fn frames_closer_than_a_tick_stay_apart() {
        let mut times = Times::default();
        assert_eq!([0, 1, 2].map(|n| times.enter(flicks(n))), [0, 1, 2]);
        assert_eq!(times.leave(1, 1, None, false), (flicks(1), flicks(1)));
    }

    #[test]
    fn dts_rises_across_encoders_and_never_passes_pts() {
        let mut times = Times::new(Span::from_millis(100));
        let tick = times.enter(Timestamp::from_millis(1_000));
        let last = Timestamp::from_millis(990);
        let (pts, dts) = times.leave(tick, tick - 9_000, Some(last), false);
        assert_eq!((pts, dts), (Timestamp::from_millis(1_000), last + Span::from_units(1, 90_000)));
        let (_, dts) = times.leave(tick, tick, Some(Timestamp::from_millis(1_000)), false);
        assert_eq!(dts, Timestamp::from_millis(1_000));
    }

    #[test]
    fn segments_begin_at_the_distance_of_their_cuts_although_frames_were_dropped() {
        let mut times = Times::new(Span::from_millis(67));
        // A segment of 2 s of which two frames are left, then the next one begins; x264 decodes two frames ahead.
        let at = |millis: i64| Timestamp::from_millis(millis);
        let ticks = [10_000, 11_500, 12_000, 12_033].map(|millis| times.enter(at(millis)));
        let first = times.leave(ticks[0], ticks[0] - 135_000, None, true);
        assert_eq!(first, (at(10_000), at(9_933)));
        let (_, dts) = times.leave(ticks[1], ticks[0] - 45_000, Some(first.1), false);
        assert_eq!(dts, first.1 + Span::from_units(1, VIDEO_TIMESCALE), "no earlier than the one before");
        let next = times.leave(ticks[2], ticks[0], Some(dts), true);
        assert_eq!(next, (at(12_000), at(11_933)), "2 s behind the first, and not 67 ms");
    }
}
