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
use super::normalise::{AudioClock, VideoClock};
use super::{Dropped, IngestStats, LongGop, Now, Settings, Start};
use crate::media::arrivals::Arrivals;
use crate::media::codec::{aac, opus};
use crate::media::{AudioCodec, CutKind, Kind, Packet, Span, Timestamp, Track, Unit};

/// How far behind the point that a resumed session goes on from its media begins, so that reordered pictures which were
/// already out are not overtaken. Gaps hold no media and need none of it.
const RESUME_MARGIN: Span = Span::from_secs(1);

/// The least distance of two cuts.
const LEAST_SEGMENT: Span = Span::from_millis(1);
/// Sound may be this far behind the pictures that came with it, and be on its way all the same: encoders interleave within half a
/// second. A segment that ends at a keyframe just behind a cut by time is much shorter.
const SOUND_ON_ITS_WAY: Span = Span::from_millis(500);
/// More sound than this is not made up when it comes back: a segment without a cut is never as long (15 s without a keyframe are
/// refused), and the one before it.
const LONGEST_BRIDGE: Span = Span::from_secs(40);
/// And of a codec without a frame of silence: as much as the stamps of a track may step without a discontinuity.
const LONGEST_STRETCH: Span = Span::from_secs(1);

/// Which tracks a session has: those of its first cut, and one that joined late.
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

    fn set(&mut self, kind: Kind, is_member: bool) {
        match kind {
            Kind::Video => self.video = is_member,
            Kind::Audio => self.audio = is_member,
        }
    }
}

/// The run that is flowing.
#[derive(Debug)]
struct Flow {
    run: u32,
    /// Session time minus the run's time.
    offset: Span,
    /// The last discontinuity, or the cut that sound joined with: no sound behind it may lie before it.
    floor: Timestamp,
    /// The run has video; sound waits for it.
    pictures: bool,
    /// Pictures are no use until the next keyframe, and that is a discontinuity.
    video_broken: bool,
    /// Sound cannot go on until the next discontinuity.
    audio_broken: bool,
    /// The last keyframe stands behind a discontinuity: what its leading pictures need is not there.
    broke_at_keyframe: bool,
}

/// The session's state across runs and connections.
#[derive(Debug)]
pub(super) struct Session {
    start: Start,
    segment: Span,
    members: Option<Members>,
    /// A track that the session lacks and the publisher sends: it joins with the next cut.
    joining: Option<Kind>,
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
    warned_of_lagging_sound: bool,
    silent_frames: u64,
    dropped: Dropped,
    arrivals: Arc<Arrivals>,
}

impl Session {
    pub(super) fn new(settings: &Settings) -> Self {
        Session {
            start: settings.start,
            segment: settings.segment,
            members: None,
            joining: None,
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
            warned_of_lagging_sound: false,
            silent_frames: 0,
            dropped: Dropped::default(),
            arrivals: Arc::default(),
        }
    }

    /// When packets came in, by their place on the timeline.
    pub(super) fn arrivals(&self) -> Arc<Arrivals> {
        self.arrivals.clone()
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

    /// Pictures are left out until a keyframe comes.
    pub(super) fn waits_for_keyframe(&self) -> bool {
        let has_video = self.members.is_some_and(|members| members.has(Kind::Video));
        has_video && self.flow.as_ref().is_some_and(|flow| flow.video_broken || !flow.pictures)
    }

    pub(super) fn set_long_gop(&mut self, long_gop: LongGop) {
        self.cuts.set_long_gop(long_gop);
    }

    pub(super) fn decline(&mut self, kind: Kind) {
        if let Some(members) = &mut self.members {
            members.set(kind, false);
        }
        self.announced[kind as usize] = None;
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
    pub(super) fn begin_run(&mut self, gather: Gather, out: &mut Vec<Unit>) {
        let run = gather.run;
        let samples = gather.into_samples();
        let first = |kind| samples.iter().find(|sample: &&Sample| sample.kind == kind);
        let found = Members { video: first(Kind::Video).is_some(), audio: first(Kind::Audio).is_some() };
        let begun = self.members.is_some();
        let members = *self.members.get_or_insert(found);
        self.joining = [Kind::Video, Kind::Audio].into_iter().find(|kind| found.has(*kind) && !members.has(*kind));
        let picture = first(Kind::Video);
        let Some(leader) = picture.or_else(|| first(Kind::Audio)) else { return };
        self.flush_sound(out);
        for sample in samples.iter().filter(|sample| sample.kind == Kind::Video) {
            self.video.learn(sample.composition);
        }
        let end = self.timeline_end();
        let mut at = end;
        if !begun && self.start.resumed {
            at = at.max(self.start.at + RESUME_MARGIN);
        }
        if picture.is_some() {
            at = at.max(self.video.earliest_pts(leader.composition).unwrap_or(at));
        }
        self.gaps.stop();
        self.video.begin_run(at);
        self.audio.begin_run();
        self.flow = Some(Flow {
            run,
            offset: at - (leader.source + leader.composition),
            floor: at,
            pictures: picture.is_some(),
            video_broken: false,
            audio_broken: false,
            broke_at_keyframe: true,
        });
        let discontinuity = begun || self.start.resumed;
        let copy_ends = discontinuity && picture.is_some() && self.cuts.take_copy_end();
        if !begun {
            self.announce_tracks(out);
        }
        let planned = Planned { discontinuity, new_run: Some(at - end), ..Planned::discontinuity(at, copy_ends) };
        self.cut(planned, leader.arrived, out);
        self.cuts.begin(at, true);
        self.announce_tracks(out);
        for sample in samples {
            self.feed(sample, out);
        }
    }

    /// Takes a packet of the run that is flowing.
    pub(super) fn feed(&mut self, sample: Sample, out: &mut Vec<Unit>) {
        if !self.members.is_some_and(|members| members.has(sample.kind)) {
            // A keyframe brings the cut that video joins with; sound waits for one.
            self.joining = (sample.kind == Kind::Audio || sample.keyframe).then_some(sample.kind);
            if sample.kind == Kind::Audio || !sample.keyframe {
                self.dropped.late_track += 1;
                return;
            }
        }
        match sample.kind {
            Kind::Video => self.feed_video(sample, out),
            Kind::Audio => self.feed_audio(sample, out),
        }
    }

    /// Gives a cut out, and before it the track that joins with it.
    fn cut(&mut self, planned: Planned, observed: Now, out: &mut Vec<Unit>) {
        if let (Some(kind), Some(members)) = (self.joining.take(), &mut self.members) {
            members.set(kind, true);
            self.announce(kind, out);
            if let Some(flow) = self.flow.as_mut() {
                flow.floor = flow.floor.max(planned.at);
            }
        }
        self.emit.cut(planned, observed, out);
    }

    fn feed_video(&mut self, sample: Sample, out: &mut Vec<Unit>) {
        let Some(flow) = self.flow.as_mut() else { return };
        flow.video_broken |= sample.hole || !flow.pictures;
        if flow.video_broken && !sample.keyframe {
            self.dropped.before_keyframe += 1;
            return;
        }
        if sample.leading && flow.broke_at_keyframe {
            self.dropped.before_keyframe += 1;
            return;
        }
        let broken = flow.video_broken || flow.audio_broken || self.cuts.copy_ends_at_keyframe();
        // Of a run that has just begun, the first keyframe stands behind a discontinuity as well.
        let begins = self.video.is_at_a_beginning();
        flow.broke_at_keyframe = if sample.keyframe { broken || begins } else { flow.broke_at_keyframe };
        let mut offset = flow.offset;
        if sample.keyframe && broken {
            offset = self.break_at_keyframe(offset, &sample, out);
        }
        let stamps = self.video.place(sample.source + offset, sample.composition);
        self.arrivals.note(Kind::Video, stamps.pts, sample.arrived.monotonic);
        while let Some(sound) = self.held.take_until(stamps.dts) {
            self.emit.packet(sound, out);
        }
        let segment_start = self.cuts.start();
        let due = self.cuts.on_video(stamps.dts, stamps.pts, sample.keyframe, self.emit.last_sound());
        if let Some(due) = due {
            self.fill_missing_sound(segment_start.min(stamps.dts - SOUND_ON_ITS_WAY), out);
            self.cut(Planned::plain(due.at, due.kind), sample.arrived, out);
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
        let pts = keyframe.source + offset + keyframe.composition;
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
        flow.pictures = true;
        flow.video_broken = false;
        if std::mem::take(&mut flow.audio_broken) {
            while self.held.take_any().is_some() {
                self.dropped.trimmed_audio += 1;
            }
            self.fill_missing_sound(at, out);
            self.audio.begin_run();
        }
        if let Some(flow) = self.flow.as_mut() {
            flow.floor = at;
        }
        self.video.begin_run(at);
        let copy_ends = self.cuts.take_copy_end();
        self.cut(Planned::discontinuity(at, copy_ends), keyframe.arrived, out);
        self.cuts.begin(at, true);
        self.announce_tracks(out);
        offset + moved
    }

    fn feed_audio(&mut self, sample: Sample, out: &mut Vec<Unit>) {
        let Some(flow) = &self.flow else { return };
        let mapped = sample.source + flow.offset;
        let lost = sample.hole && !self.bridge(mapped, sample.arrived, out);
        let Some(flow) = self.flow.as_mut() else { return };
        flow.audio_broken |= lost;
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
        if self.audio.is_silent_at(mapped) {
            self.dropped.trimmed_audio += 1;
            if !std::mem::replace(&mut self.warned_of_lagging_sound, true) {
                warn!(behind = %(self.audio.end().unwrap_or(mapped) - mapped), "sound comes more than a segment behind its pictures: it is left out");
            }
            return;
        }
        self.fill_hole(mapped, sample.arrived, out);
        let (pts, duration) = self.audio.place(mapped, sample.samples);
        self.arrivals.note(Kind::Audio, pts, sample.arrived.monotonic);
        self.order_sound(sound(pts, duration, sample.data), sample.arrived, out);
    }

    /// Sound that was away while pictures went on is back: silence leads up to it. Where its codec has no frame of silence, the first
    /// frame lasts as long as was missing, if that is not long. False where too much is missing: then it comes back with a keyframe.
    fn bridge(&mut self, mapped: Timestamp, arrived: Now, out: &mut Vec<Unit>) -> bool {
        let Some(flow) = &self.flow else { return false };
        let end = self.audio.end().map_or(flow.floor, |end| end.max(flow.floor));
        if !flow.pictures || flow.audio_broken || mapped - end > LONGEST_BRIDGE {
            return false;
        }
        let Some(silence) = self.silence() else {
            let is_short = mapped - end <= LONGEST_STRETCH;
            if is_short {
                self.audio.make_up_for(mapped);
            }
            return is_short;
        };
        self.audio.begin_silence(flow.floor);
        while let Some((pts, duration)) = self.audio.place_bridge(mapped) {
            self.silent_frames += 1;
            self.order_sound(sound(pts, duration, silence.clone()), arrived, out);
        }
        true
    }

    /// A frame of silence as the announced track has it, where there is one for its codec.
    fn silence(&self) -> Option<Bytes> {
        match self.announced[Kind::Audio as usize].as_deref() {
            Some(Track::Audio(track)) => match track.codec {
                AudioCodec::Aac => aac::silent_frame(track),
                AudioCodec::Opus => opus::silent_packet(track, track.samples_per_frame),
                AudioCodec::Ac3 | AudioCodec::Eac3 | AudioCodec::MpegAudio | AudioCodec::Flac => None,
            },
            _ => None,
        }
    }

    /// Lost sound becomes silence, where there is a frame of silence for its codec.
    fn fill_hole(&mut self, mapped: Timestamp, arrived: Now, out: &mut Vec<Unit>) {
        let missing = self.audio.missing(mapped);
        if missing == 0 {
            return;
        }
        let Some(silence) = self.silence() else { return };
        for _ in 0..missing {
            let Some((pts, duration)) = self.audio.place_silence(mapped) else { return };
            self.silent_frames += 1;
            self.order_sound(sound(pts, duration, silence.clone()), arrived, out);
        }
    }

    /// Sound that has not come becomes silence up to `until`: where a segment began that is over by now, or where sound comes
    /// back. Of a channel layout without a frame of silence, the encoder fills in.
    fn fill_missing_sound(&mut self, until: Timestamp, out: &mut Vec<Unit>) {
        let (Some(flow), Some(silence)) = (&self.flow, self.silence()) else { return };
        if !self.held.is_empty() || self.audio.end().unwrap_or(flow.floor).max(flow.floor) >= until {
            return;
        }
        let floor = flow.floor;
        self.audio.begin_silence(floor);
        while let Some((pts, duration)) = self.audio.place_silence(until) {
            // The count may be on its way to a discontinuity that only the pictures had.
            if pts >= floor {
                self.silent_frames += 1;
                self.emit.packet(sound(pts, duration, silence.clone()), out);
            }
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
        self.cut(Planned::discontinuity(at, false), arrived, out);
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
        self.joining = None;
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
            self.cut(Planned::plain(due.at, due.kind), now, out);
        }
        self.emit.packet(packet, out);
    }

    /// Gives out the configurations that are not known yet.
    fn announce_tracks(&mut self, out: &mut Vec<Unit>) {
        for kind in [Kind::Video, Kind::Audio] {
            self.announce(kind, out);
        }
    }

    fn announce(&mut self, kind: Kind, out: &mut Vec<Unit>) {
        let Some(track) = &self.configured[kind as usize] else { return };
        let known = self.announced[kind as usize].as_ref() == Some(track);
        if known || !self.members.is_some_and(|members| members.has(kind)) {
            return;
        }
        if let Track::Audio(audio) = &**track {
            self.audio.configure(audio.sample_rate, audio.samples_per_frame);
        }
        self.announced[kind as usize] = Some(track.clone());
        out.push(Unit::Track(track.clone()));
    }
}

fn sound(pts: Timestamp, duration: Span, data: Bytes) -> Packet {
    Packet { kind: Kind::Audio, dts: pts, pts, duration, keyframe: true, data }
}
