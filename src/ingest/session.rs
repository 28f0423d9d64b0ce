//! The session's timeline: a run of the publisher's clock mapped to it, in order, with its discontinuities and gaps.
//!
//! A run is mapped by one offset for both tracks, so that what was together stays together. The offset is chosen when the
//! run begins: its first picture is presented where the last run, or the last gap, ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::warn;

use super::cuts::CutClock;
use super::emit::{Emitter, Planned};
use super::gaps::Gaps;
use super::gather::{Gather, Sample};
use super::interleave::Interleave;
use super::normalise::{AudioClock, VideoClock, within_reason};
use super::{Dropped, IngestStats, LongGop, Now, Settings, Start};
use crate::media::codec::aac::silent_frame;
use crate::media::{CutKind, Kind, Packet, Span, Timestamp, Track, Unit};

/// The least distance of two cuts.
const LEAST_SEGMENT: Span = Span::from_millis(1);

/// Which tracks a session has; fixed with its first cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Members {
    video: bool,
    audio: bool,
}

impl Members {
    pub(super) fn has(self, kind: Kind) -> bool {
        match kind {
            Kind::Video => self.video,
            Kind::Audio => self.audio,
        }
    }
}

/// The run that is flowing.
#[derive(Debug)]
struct Flow {
    run: u32,
    /// Session time minus the run's time.
    offset: Span,
    /// The last discontinuity: no packet behind it may lie before it.
    floor: Timestamp,
    /// The run has video; sound waits for it.
    pictures: bool,
    /// Pictures are no use until the next keyframe, and that is a discontinuity.
    video_broken: bool,
    /// Sound cannot go on until the next discontinuity.
    audio_broken: bool,
}

/// The session's state across runs and connections.
#[derive(Debug)]
pub(super) struct Session {
    start: Start,
    segment: Span,
    members: Option<Members>,
    /// What the publisher's tracks are, and what has been given out of it, by kind.
    configured: [Option<Arc<Track>>; 2],
    announced: [Option<Arc<Track>>; 2],
    flow: Option<Flow>,
    video: VideoClock,
    audio: AudioClock,
    held: Interleave,
    cuts: CutClock,
    gaps: Gaps,
    emit: Emitter,
    ended: bool,
    warned_of_late_track: bool,
    silent_frames: u64,
    dropped: Dropped,
}

impl Session {
    pub(super) fn new(settings: &Settings) -> Self {
        Session {
            start: settings.start,
            segment: settings.segment,
            members: None,
            configured: [None, None],
            announced: [None, None],
            flow: None,
            video: VideoClock::new(),
            audio: AudioClock::new(),
            held: Interleave::default(),
            cuts: CutClock::new(settings.segment, settings.long_gop),
            gaps: Gaps::new(settings.segment),
            emit: Emitter::new(&settings.start),
            ended: false,
            warned_of_late_track: false,
            silent_frames: 0,
            dropped: Dropped::default(),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The tracks, once they are fixed.
    pub(super) fn members(&self) -> Option<Members> {
        self.members
    }

    /// The run that is flowing.
    pub(super) fn run(&self) -> Option<u32> {
        self.flow.as_ref().map(|flow| flow.run)
    }

    pub(super) fn set_long_gop(&mut self, long_gop: LongGop) {
        self.cuts.set_long_gop(long_gop);
    }

    pub(super) fn end_copy(&mut self) {
        self.cuts.end_copy();
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        [self.held.deadline(), self.gaps.deadline()].into_iter().flatten().min()
    }

    pub(super) fn resume_point(&self) -> Start {
        Start {
            at: self.timeline_end(),
            next_msn: self.emit.next_msn(),
            anchor: self.emit.anchor(),
            resumed: self.start.resumed || self.members.is_some(),
        }
    }

    pub(super) fn add_to(&self, stats: &mut IngestStats) {
        self.emit.add_to(stats);
        stats.dropped.before_keyframe += self.dropped.before_keyframe;
        stats.dropped.trimmed_audio += self.dropped.trimmed_audio;
        stats.dropped.late_track += self.dropped.late_track;
        stats.repairs += self.video.repairs();
        stats.silent_frames += self.silent_frames;
        stats.drift = self.audio.drift();
        (stats.drift_corrections, stats.drift_corrected) = self.audio.corrections();
        (stats.keyframe_interval, stats.longest_keyframe_interval) = self.cuts.keyframe_intervals();
    }

    /// The publisher's track from its next packet on.
    pub(super) fn configure(&mut self, track: Arc<Track>) {
        let kind = track.kind();
        let carried = self.members.is_some_and(|members| members.has(kind));
        let breaks = carried && self.announced[kind as usize].as_ref() != Some(&track);
        if let Some(flow) = self.flow.as_mut().filter(|_| breaks) {
            match kind {
                Kind::Video => flow.video_broken = true,
                Kind::Audio => flow.audio_broken = true,
            }
        }
        self.configured[kind as usize] = Some(track);
    }

    /// Begins the run that `gather` has held, behind everything that was given out.
    pub(super) fn begin_run(&mut self, gather: Gather, reconnected: bool, out: &mut Vec<Unit>) {
        let run = gather.run;
        let samples = gather.into_samples();
        let first = |kind| samples.iter().find(|sample: &&Sample| sample.kind == kind);
        let found = Members { video: first(Kind::Video).is_some(), audio: first(Kind::Audio).is_some() };
        let begun = self.members.is_some();
        let members = *self.members.get_or_insert(found);
        let picture = first(Kind::Video).filter(|_| members.video);
        let Some(leader) = picture.or_else(|| first(Kind::Audio)) else { return };
        self.flush_sound(out);
        for sample in samples.iter().filter(|sample| sample.kind == Kind::Video) {
            self.video.learn(sample.composition);
        }
        let mut at = self.timeline_end();
        if picture.is_some() {
            at = at.max(self.video.earliest_pts(leader.composition).unwrap_or(at));
        }
        self.gaps.stop();
        self.video.begin_run(at);
        self.audio.begin_run();
        self.flow = Some(Flow {
            run,
            offset: at - (leader.source + within_reason(leader.composition)),
            floor: at,
            pictures: picture.is_some(),
            video_broken: false,
            audio_broken: false,
        });
        let discontinuity = begun || self.start.resumed;
        let copy_ends = discontinuity && picture.is_some() && self.cuts.take_copy_end();
        if !begun {
            self.announce_tracks(out);
        }
        let planned = Planned { discontinuity, rejoin: reconnected, ..Planned::discontinuity(at, copy_ends) };
        self.emit.cut(planned, leader.arrived, out);
        self.cuts.begin(at, true);
        self.announce_tracks(out);
        for sample in samples {
            self.feed(sample, out);
        }
    }

    /// Takes a packet of the run that is flowing.
    pub(super) fn feed(&mut self, sample: Sample, out: &mut Vec<Unit>) {
        if !self.members.is_some_and(|members| members.has(sample.kind)) {
            self.dropped.late_track += 1;
            if !std::mem::replace(&mut self.warned_of_late_track, true) {
                warn!(
                    track = sample.kind.as_str(),
                    "a track came after the session's renditions were fixed; it is left out"
                );
            }
            return;
        }
        match sample.kind {
            Kind::Video => self.feed_video(sample, out),
            Kind::Audio => self.feed_audio(sample, out),
        }
    }

    fn feed_video(&mut self, sample: Sample, out: &mut Vec<Unit>) {
        let Some(flow) = self.flow.as_mut() else { return };
        flow.video_broken |= sample.hole || !flow.pictures;
        if flow.video_broken && !sample.keyframe {
            self.dropped.before_keyframe += 1;
            return;
        }
        let broken = flow.video_broken || flow.audio_broken || self.cuts.copy_ends_at_keyframe();
        let mut offset = flow.offset;
        if sample.keyframe && broken {
            offset = self.break_at_keyframe(offset, &sample, out);
        }
        let stamps = self.video.place(sample.source + offset, sample.composition);
        while let Some(sound) = self.held.take_until(stamps.dts) {
            self.emit.packet(sound, out);
        }
        let due = self.cuts.on_video(stamps.dts, stamps.pts, sample.keyframe, self.emit.last_sound());
        if let Some(due) = due {
            self.emit.cut(Planned::plain(due.at, due.kind), sample.arrived, out);
        }
        self.emit.packet(
            Packet {
                kind: Kind::Video,
                dts: stamps.dts,
                pts: stamps.pts,
                duration: Span::ZERO,
                keyframe: sample.keyframe,
                data: sample.data,
            },
            out,
        );
    }

    /// A discontinuity within a run: the clock goes on, but something else does not. Returns the run's offset.
    fn break_at_keyframe(&mut self, offset: Span, keyframe: &Sample, out: &mut Vec<Unit>) -> Span {
        let pts = keyframe.source + offset + within_reason(keyframe.composition);
        while let Some(sound) = self.held.take_before(pts) {
            self.emit.packet(sound, out);
        }
        let taken = self.emit.last_sound().max(self.cuts.start());
        let mut at = pts;
        if pts <= taken {
            // Sound was let go ahead of late video: the timeline makes room, for both tracks alike.
            at = self.audio.end().unwrap_or(taken).max(taken + LEAST_SEGMENT);
            // Of that sound some is still held, and lies before the new place as well.
            while let Some(sound) = self.held.take_before(at) {
                self.emit.packet(sound, out);
            }
            self.audio.begin_run();
        }
        let moved = at - pts;
        let Some(flow) = self.flow.as_mut() else { return offset };
        flow.offset = offset + moved;
        flow.floor = at;
        flow.pictures = true;
        flow.video_broken = false;
        if std::mem::take(&mut flow.audio_broken) {
            self.audio.begin_run();
            while self.held.take_any().is_some() {
                self.dropped.trimmed_audio += 1;
            }
        }
        self.video.begin_run(at);
        let copy_ends = self.cuts.take_copy_end();
        self.emit.cut(Planned::discontinuity(at, copy_ends), keyframe.arrived, out);
        self.cuts.begin(at, true);
        self.announce_tracks(out);
        offset + moved
    }

    fn feed_audio(&mut self, sample: Sample, out: &mut Vec<Unit>) {
        let Some(flow) = self.flow.as_mut() else { return };
        flow.audio_broken |= sample.hole;
        let mapped = sample.source + flow.offset;
        if flow.audio_broken {
            if flow.pictures {
                self.dropped.trimmed_audio += 1;
                return;
            }
            self.break_at_sound(mapped, sample.arrived, out);
        }
        let floor = self.flow.as_ref().map_or(mapped, |flow| flow.floor);
        if !self.audio.is_counting() && mapped < floor {
            self.dropped.trimmed_audio += 1;
            return;
        }
        self.fill_hole(mapped, sample.arrived, out);
        let (pts, duration) = self.audio.place(mapped);
        self.order_sound(sound(pts, duration, sample.data), sample.arrived, out);
    }

    /// Lost sound becomes silence, where there is a frame of silence for its codec.
    fn fill_hole(&mut self, mapped: Timestamp, arrived: Now, out: &mut Vec<Unit>) {
        let missing = self.audio.missing(mapped);
        if missing == 0 {
            return;
        }
        let Some(Track::Audio(track)) = self.announced[Kind::Audio as usize].as_deref() else { return };
        let Some(silence) = silent_frame(track) else { return };
        for _ in 0..missing {
            let Some((pts, duration)) = self.audio.place_silence() else { return };
            self.silent_frames += 1;
            self.order_sound(sound(pts, duration, silence.clone()), arrived, out);
        }
    }

    /// Puts sound in its place among the pictures.
    fn order_sound(&mut self, packet: Packet, arrived: Now, out: &mut Vec<Unit>) {
        let Some(flow) = &self.flow else { return };
        if packet.pts < flow.floor {
            self.dropped.trimmed_audio += 1;
        } else if !flow.pictures {
            self.give_sound_alone(packet, arrived, out);
        } else if self.held.is_empty() && self.video.last_dts().is_some_and(|dts| packet.pts <= dts) {
            self.emit.packet(packet, out);
        } else {
            self.held.hold(packet, arrived.monotonic);
            self.release_overdue(arrived, out);
        }
    }

    /// A discontinuity of a run without video.
    fn break_at_sound(&mut self, mapped: Timestamp, arrived: Now, out: &mut Vec<Unit>) {
        let at = mapped.max(self.audio.end().unwrap_or(mapped)).max(self.cuts.start() + LEAST_SEGMENT);
        self.audio.begin_run();
        if let Some(flow) = self.flow.as_mut() {
            flow.audio_broken = false;
            flow.offset += at - mapped;
            flow.floor = at;
        }
        self.emit.cut(Planned::discontinuity(at, false), arrived, out);
        self.cuts.begin(at, true);
        self.announce_tracks(out);
    }

    /// Lets go what sound has waited too long for video.
    pub(super) fn release_overdue(&mut self, now: Now, out: &mut Vec<Unit>) {
        while let Some(sound) = self.held.take_overdue(now.monotonic) {
            self.give_sound_alone(sound, now, out);
        }
    }

    /// Announces the gaps whose time is over.
    pub(super) fn announce_gaps(&mut self, now: Now, out: &mut Vec<Unit>) {
        while let Some(gap) = self.gaps.take_due(now.monotonic) {
            let since_its_start = Span::from_std(now.monotonic.saturating_sub(gap.due)) + self.segment;
            let began = Now { wall: now.wall.saturating_add(-since_its_start), ..now };
            self.emit.cut(Planned::plain(gap.at, CutKind::Gap { duration: self.segment }), began, out);
            self.cuts.begin(gap.at, true);
        }
    }

    /// The publisher is gone.
    pub(super) fn leave(&mut self, last_media: Duration, now: Now, out: &mut Vec<Unit>) {
        self.flush_sound(out);
        self.flow = None;
        self.configured = [None, None];
        if self.members.is_some() {
            self.gaps.begin(self.timeline_end(), last_media);
            self.announce_gaps(now, out);
        }
    }

    /// A resumed session goes on without a publisher.
    pub(super) fn wait(&mut self, now: Duration) {
        if self.start.resumed && self.members.is_none() {
            self.gaps.begin(self.timeline_end(), now);
        }
    }

    /// Nothing follows.
    pub(super) fn end(&mut self, out: &mut Vec<Unit>) {
        self.flush_sound(out);
        self.ended = true;
        out.push(Unit::End);
    }

    /// Where nothing has been given out yet. A cut may lie beyond all pictures: it stands where decoding is, moved by the last
    /// keyframe's composition time.
    fn timeline_end(&self) -> Timestamp {
        let behind_cut = Some(self.cuts.start() + LEAST_SEGMENT);
        let ends = [self.video.end(), self.audio.end(), self.gaps.end(), behind_cut];
        ends.into_iter().flatten().fold(self.start.at, Timestamp::max)
    }

    fn flush_sound(&mut self, out: &mut Vec<Unit>) {
        while let Some(sound) = self.held.take_any() {
            self.emit.packet(sound, out);
        }
    }

    /// Sound that video has not come as far as: it makes its own cuts.
    fn give_sound_alone(&mut self, packet: Packet, now: Now, out: &mut Vec<Unit>) {
        if let Some(due) = self.cuts.on_audio_alone(packet.pts) {
            self.emit.cut(Planned::plain(due.at, due.kind), now, out);
        }
        self.emit.packet(packet, out);
    }

    /// Gives out the configurations that are not known yet.
    fn announce_tracks(&mut self, out: &mut Vec<Unit>) {
        for kind in [Kind::Video, Kind::Audio] {
            let Some(track) = &self.configured[kind as usize] else { continue };
            let known = self.announced[kind as usize].as_ref() == Some(track);
            if known || !self.members.is_some_and(|members| members.has(kind)) {
                continue;
            }
            if let Track::Audio(audio) = &**track {
                self.audio.configure(audio.sample_rate, audio.samples_per_frame);
            }
            self.announced[kind as usize] = Some(track.clone());
            out.push(Unit::Track(track.clone()));
        }
    }
}

fn sound(pts: Timestamp, duration: Span, data: Bytes) -> Packet {
    Packet { kind: Kind::Audio, dts: pts, pts, duration, keyframe: true, data }
}
