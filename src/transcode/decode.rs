//! The decode thread: every source picture is decoded once, and handed to all rungs by reference.
//!
//! Cuts come in decoding order and leave in presentation order: an ordinary cut goes out right before the first frame
//! with PTS >= [`Cut::at`]. A discontinuity, a gap or another configuration empties the decoder first, so that every
//! frame before it is out before the rungs hear of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::TranscodeError;
use super::libav::LibavError;
use super::libav::decoder::VideoDecoder;
use super::libav::deinterlacer::Deinterlacer;
use super::libav::frame::Picture;
use super::pace::{Lateness, Overload, OverloadChange, PacketTime, Patience, Shedder};
use super::rung::RungItem;
use super::stats::{DecodeCounters, RungCounters};
use crate::clock::SharedClock;
use crate::flow::channel::{Receiver, Sender};
use crate::media::track::VIDEO_TIMESCALE;
use crate::media::{Cut, CutKind, Kind, Packet, Span, Timestamp, Track, Unit, VideoTrack};
use crate::telemetry::gate::LogGate;

/// Cuts that may wait for their frame. A decoder holds back at most 16 frames, so more than this means that it gives
/// out nothing; then the cuts go on alone and the segments are empty.
const MAX_WAITING_CUTS: usize = 8;
/// Frames per second that the backlog is counted with when the source states none.
const ASSUMED_FRAME_RATE: (u32, u32) = (30, 1);
/// Each frame is encoded as if it lasted at least this part of the mean of the last ones...
const LEAST_FRAME: i64 = 4;
/// ...but never more than this for it: frames of a burst that lie closer, after a time with few, are not held up.
const LONGEST_LEAST_FRAME: Span = Span::from_millis(10);
/// H.264 holds at most 16 frames for reordering (A.3.1, MaxDpbFrames).
const MAX_REORDER_FRAMES: i64 = 16;

/// The way to one rung.
#[derive(Debug)]
pub(super) struct RungEdge {
    /// Its queue.
    pub(super) sender: Sender<RungItem>,
    /// Its figures.
    pub(super) counters: Arc<RungCounters>,
    /// It is encoded now; false for the copied rung until a cut says `copy_ends`.
    pub(super) active: bool,
}

/// Everything that the decode thread owns.
#[derive(Debug)]
pub(super) struct Decode {
    input: Receiver<Unit>,
    edges: Vec<RungEdge>,
    clock: SharedClock,
    counters: Arc<DecodeCounters>,
    threads: u32,
    track: Option<VideoTrack>,
    decoder: Option<VideoDecoder>,
    /// There from the first interlaced picture on, until the decoder is emptied.
    deinterlacer: Option<Deinterlacer>,
    cuts: VecDeque<Cut>,
    patience: Patience,
    shedder: Shedder,
    overload: Overload,
    packet_time: PacketTime,
    lateness: Lateness,
    /// How late the last packet was taken.
    late: Span,
    /// The next frame is the first behind a break.
    fresh: bool,
    last_pts: Option<Timestamp>,
    gop: Gop,
    refusals: LogGate,
    lost_gops: LogGate,
}

/// What happened to the packets since the last keyframe.
#[derive(Debug, Default)]
struct Gop {
    packets: u64,
    refused: u64,
}

/// Why decoding stops early.
enum Stop {
    Failed(TranscodeError),
    /// A rung has ended, and has said why itself.
    RungEnded,
}

impl From<TranscodeError> for Stop {
    fn from(error: TranscodeError) -> Self {
        Stop::Failed(error)
    }
}

impl Decode {
    pub(super) fn new(
        input: Receiver<Unit>,
        edges: Vec<RungEdge>,
        clock: SharedClock,
        counters: Arc<DecodeCounters>,
        threads: u32,
        patience: Patience,
    ) -> Self {
        Decode {
            input,
            edges,
            clock,
            counters,
            threads,
            track: None,
            decoder: None,
            deinterlacer: None,
            cuts: VecDeque::new(),
            patience,
            shedder: Shedder::new(patience),
            overload: Overload::default(),
            packet_time: PacketTime::new(None),
            lateness: Lateness::default(),
            late: Span::ZERO,
            fresh: true,
            last_pts: None,
            gop: Gop::default(),
            refusals: LogGate::default(),
            lost_gops: LogGate::default(),
        }
    }

    /// The thread's body: until the input ends, or a rung does.
    pub(super) fn run(mut self) -> Result<(), TranscodeError> {
        let worked = self.work();
        let change = self.overload.finish();
        self.tell(change, self.last_pts.unwrap_or_default());
        match worked {
            Ok(()) | Err(Stop::RungEnded) => Ok(()),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn work(&mut self) -> Result<(), Stop> {
        while let Some(unit) = self.input.recv() {
            match unit {
                Unit::Track(track) => match track.as_ref() {
                    Track::Video(video) => self.configure(video)?,
                    Track::Audio(_) => {}
                },
                Unit::Packet(packet) if packet.kind == Kind::Video => self.packet(&packet)?,
                Unit::Packet(_) => {}
                Unit::Cut(cut) => self.cut(cut)?,
                Unit::End => {
                    self.drain()?;
                    return self.send_to_active(|| RungItem::End);
                }
            }
        }
        self.drain()
    }

    fn configure(&mut self, track: &VideoTrack) -> Result<(), Stop> {
        if self.track.as_ref() == Some(track) {
            return Ok(());
        }
        self.drain()?;
        self.track = Some(track.clone());
        self.fresh = true;
        let frame_rate = track.frame_rate;
        self.packet_time = PacketTime::new(frame_rate);
        // Rungs that are not encoded yet must know it when they take over.
        self.edges.iter().try_for_each(|edge| send(edge, RungItem::Source { frame_rate }))
    }

    fn cut(&mut self, cut: Cut) -> Result<(), Stop> {
        let gap = matches!(cut.kind, CutKind::Gap { .. });
        // Not one picture came for the cut before, and none waits.
        let without_pictures = !self.cuts.is_empty() && self.input.items() == 0;
        if gap || without_pictures {
            self.counters.backlog.set_time(Duration::ZERO);
            let change = self.overload.note(cut.at, false);
            self.tell(change, cut.at);
        }
        if cut.discontinuity || gap {
            self.drain()?;
            while let Some(waiting) = self.cuts.pop_front() {
                self.send_to_active(|| RungItem::Cut(waiting.clone()))?;
            }
            if cut.copy_ends {
                self.edges.iter_mut().for_each(|edge| edge.active = true);
            }
            self.fresh = true;
            self.lateness.reset();
            return self.send_to_active(|| RungItem::Break(cut.clone()));
        }
        if self.is_idle() {
            return Ok(());
        }
        self.cuts.push_back(cut);
        if self.cuts.len() > MAX_WAITING_CUTS
            && let Some(oldest) = self.cuts.pop_front()
        {
            self.send_to_active(|| RungItem::Cut(oldest.clone()))?;
        }
        Ok(())
    }

    /// No rung is encoded, so nothing needs decoding.
    fn is_idle(&self) -> bool {
        !self.edges.iter().any(|edge| edge.active)
    }

    fn packet(&mut self, packet: &Packet) -> Result<(), Stop> {
        if self.is_idle() {
            return Ok(());
        }
        self.note_gop(packet);
        self.packet_time.packet(packet.dts);
        let start = self.clock.monotonic();
        self.late = self.lateness.take(start, packet.dts, self.input.items() == 0);
        let sent = self.decoder_for(packet)?.map(|decoder| decoder.send(packet));
        self.counters.busy.add_time(self.clock.monotonic().saturating_sub(start));
        match sent {
            None | Some(Ok(())) => {}
            Some(Err(source)) if source.is_out_of_memory() => {
                return Err(TranscodeError::Decode { pts: packet.pts, source }.into());
            }
            Some(Err(source)) => self.refused(packet.pts, &source),
        }
        self.receive(packet.pts)
    }

    /// The open decoder, made for the packet if there is none. `None` while no track is known.
    fn decoder_for(&mut self, packet: &Packet) -> Result<Option<&mut VideoDecoder>, TranscodeError> {
        if self.decoder.is_none() {
            let Some(track) = &self.track else { return Ok(None) };
            let reorder = reorder_frames(packet, track.frame_rate);
            let opened = VideoDecoder::open(track, self.threads, reorder)
                .map_err(|source| TranscodeError::OpenDecoder { codecs: track.codecs.clone(), source })?;
            self.decoder = Some(opened);
        }
        Ok(self.decoder.as_mut())
    }

    fn receive(&mut self, pts: Timestamp) -> Result<(), Stop> {
        loop {
            let start = self.clock.monotonic();
            let received = match &mut self.decoder {
                Some(decoder) => decoder.receive(),
                None => return Ok(()),
            };
            self.counters.busy.add_time(self.clock.monotonic().saturating_sub(start));
            match received {
                Ok(Some(picture)) => self.decoded(picture)?,
                Ok(None) => return Ok(()),
                Err(source) if source.is_out_of_memory() => {
                    return Err(TranscodeError::Decode { pts, source }.into());
                }
                Err(source) => {
                    self.refused(pts, &source);
                    return Ok(());
                }
            }
        }
    }

    /// Empties and closes the decoder.
    fn drain(&mut self) -> Result<(), Stop> {
        if let Some(decoder) = &mut self.decoder {
            decoder.finish().map_err(TranscodeError::DrainDecoder)?;
            self.receive(self.last_pts.unwrap_or_default())?;
            self.decoder = None;
        }
        self.drain_deinterlacer()?;
        self.gop = Gop::default();
        Ok(())
    }

    /// Pictures of two fields are made into frames; frames that lie among them take the same way, so that none overtakes.
    fn decoded(&mut self, picture: Picture) -> Result<(), Stop> {
        self.counters.frames.add(1);
        if self.deinterlacer.as_ref().is_some_and(|made| !made.fits(&picture)) {
            self.drain_deinterlacer()?;
        }
        let wanted = self.deinterlacer.is_some() || (picture.is_interlaced() && Deinterlacer::takes(&picture));
        if !wanted {
            return self.frame(picture);
        }
        let (pts, start) = (picture.pts().or(self.last_pts).unwrap_or_default(), self.clock.monotonic());
        let made = match self.deinterlacer.take() {
            Some(made) => Ok(made),
            None => Deinterlacer::new(&picture),
        };
        let sent = made.and_then(|mut made| made.send(picture).map(|()| made));
        self.deinterlacer = Some(sent.map_err(|source| TranscodeError::Deinterlace { pts, source })?);
        self.counters.busy.add_time(self.clock.monotonic().saturating_sub(start));
        self.deinterlaced(pts)
    }

    fn deinterlaced(&mut self, pts: Timestamp) -> Result<(), Stop> {
        while let Some(made) = &mut self.deinterlacer {
            let start = self.clock.monotonic();
            let frame = made.receive().map_err(|source| TranscodeError::Deinterlace { pts, source })?;
            self.counters.busy.add_time(self.clock.monotonic().saturating_sub(start));
            let Some(frame) = frame else { return Ok(()) };
            self.frame(frame)?;
        }
        Ok(())
    }

    /// Lets the held frame out.
    fn drain_deinterlacer(&mut self) -> Result<(), Stop> {
        let pts = self.last_pts.unwrap_or_default();
        if let Some(made) = &mut self.deinterlacer {
            made.finish().map_err(|source| TranscodeError::Deinterlace { pts, source })?;
            self.deinterlaced(pts)?;
            self.deinterlacer = None;
        }
        Ok(())
    }

    fn frame(&mut self, picture: Picture) -> Result<(), Stop> {
        let pts = self.rising_pts(picture.pts());
        let mut begins_segment = std::mem::take(&mut self.fresh);
        while let Some(cut) = self.cuts.pop_front_if(|cut| cut.at <= pts) {
            begins_segment = true;
            self.send_to_active(|| RungItem::Cut(cut.clone()))?;
        }
        let backlog = self.backlog();
        let admitted = self.shedder.admits(backlog, begins_segment);
        self.counters.backlog.set_time(backlog.to_std());
        let change = self.overload.note(pts, !admitted);
        self.tell(change, pts);
        if !admitted {
            self.counters.shed.add(1);
            return Ok(());
        }
        let picture = Arc::new(picture);
        self.send_to_active(|| RungItem::Frame { picture: picture.clone(), pts })
    }

    /// The packet's PTS as it is, unless it lies at, before, or hardly behind the one before: stamps that jitter, or composition
    /// times that contradict the picture order. Encoders need rising ones, and give bits by duration: a frame that lasts next to
    /// nothing would be next to nothing. So it is moved by as much as leaves each a [`LEAST_FRAME`] of the mean.
    ///
    /// What follows stays where it is stamped as soon as there is room, so that nothing is late by more than the jitter itself, and
    /// pictures do not drift against sound. Jitter is not smoothed beyond that, and not in ingest for all rungs: who smooths must
    /// know the true grid, and a source may honestly have none (screens and telephones stamp frames when they change).
    /// A copied picture has its bits already and is shown when it is stamped, however short.
    fn rising_pts(&mut self, pts: Option<Timestamp>) -> Timestamp {
        let frame = self.packet_time.of(1).flicks() / LEAST_FRAME;
        let tick = Span::from_units(1, VIDEO_TIMESCALE);
        let least = Span::from_flicks(frame).clamp(tick, LONGEST_LEAST_FRAME);
        let earliest = self.last_pts.map_or(Timestamp::ZERO, |last| last + least);
        let pts = pts.map_or(earliest, |pts| pts.max(earliest));
        self.last_pts = Some(pts);
        pts
    }

    fn backlog(&self) -> Span {
        self.patience.backlog(self.late, self.packet_time.of(self.input.items()))
    }

    /// Says it once when overload begins, and once when it is over.
    fn tell(&self, change: Option<OverloadChange>, at: Timestamp) {
        let Some(change) = change else { return };
        self.counters.overloaded.store(change == OverloadChange::Began, Ordering::Relaxed);
        match change {
            OverloadChange::Began => {
                let backlog_ms = self.backlog().to_millis();
                tracing::warn!(%at, backlog_ms, "overloaded: frames are dropped evenly in all encoded rungs");
            }
            OverloadChange::Ended { shed, lasted } => {
                let lasted_ms = lasted.to_millis();
                tracing::info!(%at, dropped_frames = shed, lasted_ms, "no longer overloaded");
            }
        }
    }

    fn note_gop(&mut self, packet: &Packet) {
        if packet.keyframe {
            let Gop { packets, refused } = std::mem::take(&mut self.gop);
            if packets > 0 && packets == refused {
                self.counters.undecodable_gops.add(1);
                if let Some(groups) = self.lost_gops.pass(self.clock.monotonic()) {
                    let before = packet.pts;
                    tracing::error!(%before, groups, packets, "no picture of a whole group could be decoded; try another encoder");
                }
            }
        }
        self.gop.packets += 1;
    }

    fn refused(&mut self, pts: Timestamp, error: &LibavError) {
        self.counters.errors.add(1);
        self.gop.refused += 1;
        if let Some(packets) = self.refusals.pass(self.clock.monotonic()) {
            tracing::warn!(%pts, packets, %error, "video packets cannot be decoded: encoded rungs lack their pictures");
        }
    }

    fn send_to_active(&self, item: impl Fn() -> RungItem) -> Result<(), Stop> {
        self.edges.iter().filter(|edge| edge.active).try_for_each(|edge| send(edge, item()))
    }
}

fn send(edge: &RungEdge, item: RungItem) -> Result<(), Stop> {
    if matches!(item, RungItem::Frame { .. }) {
        edge.counters.queued.fetch_add(1, Ordering::Relaxed);
    }
    edge.sender.send(item).map_err(|_| Stop::RungEnded)
}

/// Frames that the source's encoder decodes ahead, told by how much later than its decoding the first picture is shown.
fn reorder_frames(first: &Packet, frame_rate: Option<(u32, u32)>) -> u8 {
    let (num, den) = frame_rate.unwrap_or(ASSUMED_FRAME_RATE);
    let frame = Span::from_units(i64::from(den), num.max(1)).flicks().max(1);
    let frames = (first.pts - first.dts).flicks().saturating_add(frame / 2) / frame;
    u8::try_from(frames.clamp(0, MAX_REORDER_FRAMES)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::flow::channel::{Bound, bounded};
    use crate::media::WallTime;
    use bytes::Bytes;

    fn packet(dts_ms: i64, pts_ms: i64) -> Packet {
        Packet {
            kind: Kind::Video,
            dts: Timestamp::from_millis(dts_ms),
            pts: Timestamp::from_millis(pts_ms),
            duration: Span::ZERO,
            keyframe: true,
            data: Bytes::new(),
        }
    }

    #[test]
    fn a_ladder_whose_pictures_stop_is_overloaded_no_more() {
        let (_source, input) = bounded(Bound { items: 8, bytes: 1 << 20 });
        let (sender, _rung) = bounded(Bound { items: 8, bytes: 1 << 20 });
        let edge = RungEdge { sender, counters: Arc::default(), active: true };
        let counters = Arc::<DecodeCounters>::default();
        let mut decode =
            Decode::new(input, vec![edge], SystemClock::shared(), counters.clone(), 1, Patience::default());
        let began = decode.overload.note(Timestamp::ZERO, true);
        decode.tell(began, Timestamp::ZERO);
        counters.backlog.set_time(Duration::from_secs(2));
        // Sound goes on, and its cuts come by time.
        for (msn, seconds) in (0..).zip([0, 2, 4, 6]) {
            assert!(counters.snapshot().overloaded, "before {seconds} s");
            let (at, wall) = (Timestamp::from_millis(1_000 * seconds), WallTime::default());
            let kind = CutKind::Keyframe;
            assert!(decode.cut(Cut { msn, at, wall, discontinuity: false, copy_ends: false, kind }).is_ok());
        }
        assert_eq!((counters.snapshot().overloaded, counters.snapshot().backlog), (false, Duration::ZERO));
    }

    /// PTS in milliseconds that frames get whose packets say these, and were decoded `step_ms` apart.
    fn risen(step_ms: i64, stamps: &[i64]) -> Vec<i64> {
        let (_source, input) = bounded(Bound { items: 8, bytes: 1 << 20 });
        let mut decode = Decode::new(input, Vec::new(), SystemClock::shared(), Arc::default(), 1, Patience::default());
        (0..100).for_each(|n| decode.packet_time.packet(Timestamp::from_millis(n * step_ms)));
        let risen = stamps.iter().map(|stamp| decode.rising_pts(Some(Timestamp::from_millis(*stamp))));
        risen.map(|pts| pts.to_units(1_000)).collect()
    }

    #[test]
    fn frames_whose_stamps_collide_keep_a_quarter_of_their_time() {
        assert_eq!(risen(40, &[0, 40, 79, 130, 160, 200]), [0, 40, 79, 130, 160, 200], "what rises is left alone");
        assert_eq!(risen(40, &[0, 75, 45, 86, 160, 200]), [0, 75, 85, 95, 160, 200]);
        assert_eq!(risen(16, &[0, 16, 19, 20, 64]), [0, 16, 20, 24, 64]);
        // A screen that stood still, and now moves at 60 frames/s.
        assert_eq!(risen(1_000, &[0, 1_000, 1_016, 1_033, 1_050]), [0, 1_000, 1_016, 1_033, 1_050]);
    }

    #[test]
    fn jitter_moves_no_frame_beyond_itself_and_the_mean_by_little() {
        let jitter = |n: i64| (n * 7_919) % 81 - 40;
        let stamps: Vec<i64> = (0..9_000).map(|n| 1_000 + n * 40 + jitter(n)).collect();
        let risen = risen(40, &stamps);
        let late: Vec<i64> = (0..).zip(&risen).map(|(n, pts)| pts - (1_000 + n * 40)).collect();
        assert!(risen.windows(2).all(|pair| pair[1] - pair[0] >= 9), "a quarter, in whole milliseconds");
        assert!(late.iter().all(|late| late.abs() <= 40));
        let mean = late.iter().sum::<i64>() / 9_000;
        assert!((0..10).contains(&mean), "{mean} ms");
    }

    #[test]
    fn reordering_is_read_from_the_first_packets_times() {
        assert_eq!(reorder_frames(&packet(0, 0), Some((30, 1))), 0);
        assert_eq!(reorder_frames(&packet(0, 67), Some((30, 1))), 2, "RTMP rounds to milliseconds");
        assert_eq!(reorder_frames(&packet(0, 66), Some((30_000, 1_001))), 2);
        assert_eq!(reorder_frames(&packet(0, 67), None), 2);
        assert_eq!(reorder_frames(&packet(0, 5_000), Some((60, 1))), 16);
        assert_eq!(reorder_frames(&packet(10, 0), Some((60, 1))), 0);
    }
}
