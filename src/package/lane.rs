//! One rendition: which packet belongs to which segment.
//!
//! Cuts come before the packets that they divide. Video is cut by order: the next packet behind a cut opens its
//! segment. Audio is cut by time, because cuts run ahead of it: packets before [`Cut::at`] still belong to the old
//! segment. Every cut becomes a segment, in every rendition, so that MSNs stay aligned: one that no packet reached
//! becomes a gap.

use std::collections::VecDeque;
use std::sync::Arc;

use super::samples::{AudioSamples, SampleError, TimedSample, VideoSamples};
use super::segment::OpenSegment;
use super::{LatePackets, MAX_CUTS_AHEAD, PackageError, RenditionResume};
use crate::media::segment::{Init, RenditionId, SegmentEnd, SegmentStart};
use crate::media::{Cut, CutKind, Kind, Output, Packet, Span, Timestamp, Track, Unit};
use crate::wire::fmp4::{ChunkError, write_init};

#[derive(Debug)]
pub(super) struct Lane {
    id: RenditionId,
    epoch: u32,
    part_target: Span,
    /// What the packets are that come now; described by init segment `next_init - 1`.
    track: Option<Arc<Track>>,
    next_init: u32,
    samples: Samples,
    open: Option<OpenSegment>,
    /// Cuts that no packet has reached.
    pending: VecDeque<Cut>,
    /// MSN and time of the newest cut.
    newest: Option<(u64, Timestamp)>,
    /// mfhd sequence number of the last part.
    sequence: u32,
    late: LatePackets,
    ended: bool,
}

#[derive(Debug)]
enum Samples {
    Video(VideoSamples),
    Audio(AudioSamples),
}

impl Lane {
    pub(super) fn new(id: RenditionId, kind: Kind, epoch: u32, part_target: Span, resume: RenditionResume) -> Self {
        let samples = match kind {
            Kind::Video => Samples::Video(VideoSamples::new()),
            Kind::Audio => Samples::Audio(AudioSamples::default()),
        };
        let mut lane = Lane {
            id,
            epoch,
            part_target,
            track: None,
            next_init: resume.next_init,
            samples,
            open: None,
            pending: VecDeque::new(),
            newest: None,
            sequence: 0,
            late: LatePackets::default(),
            ended: false,
        };
        lane.follow(resume.track.filter(|_| resume.next_init > 0));
        lane
    }

    pub(super) fn late_packets(&self) -> LatePackets {
        self.late.clone()
    }

    pub(super) fn push(&mut self, unit: Unit, out: &mut Vec<Output>) -> Result<(), PackageError> {
        if self.ended {
            return Err(PackageError::AfterEnd { rendition: self.id });
        }
        match unit {
            Unit::Track(track) => self.track(track, out),
            Unit::Cut(cut) => self.cut(cut, out),
            Unit::Packet(packet) => self.packet(packet, out),
            Unit::End => self.end(out),
        }
    }

    fn kind(&self) -> Kind {
        match self.samples {
            Samples::Video(_) => Kind::Video,
            Samples::Audio(_) => Kind::Audio,
        }
    }

    fn check_kind(&self, found: Kind) -> Result<(), PackageError> {
        let expected = self.kind();
        if found == expected { Ok(()) } else { Err(PackageError::WrongKind { rendition: self.id, expected, found }) }
    }

    // Track

    fn track(&mut self, track: Arc<Track>, out: &mut Vec<Output>) -> Result<(), PackageError> {
        self.check_kind(track.kind())?;
        if self.track.as_ref() == Some(&track) {
            return Ok(());
        }
        let bytes = write_init(&track).map_err(|source| PackageError::Init { rendition: self.id, source })?;
        out.push(Output::Init(Init { rendition: self.id, number: self.next_init, track: track.clone(), bytes }));
        self.next_init = self.next_init.saturating_add(1); // a journal may say anything
        // What comes now belongs behind the cut; the open segment could not describe it.
        if let Some(cut) = self.pending.front() {
            self.end_run(Some(cut.at), out)?;
        }
        self.follow(Some(track));
        Ok(())
    }

    fn follow(&mut self, track: Option<Arc<Track>>) {
        if let (Samples::Video(samples), Some(Track::Video(video))) = (&mut self.samples, track.as_deref()) {
            samples.expect_rate(video.frame_rate);
        }
        self.track = track;
    }

    // Cut

    fn cut(&mut self, cut: Cut, out: &mut Vec<Output>) -> Result<(), PackageError> {
        if let Some((previous_msn, previous_at)) = self.newest
            && (previous_msn.checked_add(1) != Some(cut.msn) || cut.at <= previous_at)
        {
            let (rendition, msn, at) = (self.id, cut.msn, cut.at);
            return Err(PackageError::CutOrder { rendition, msn, at, previous_msn, previous_at });
        }
        self.newest = Some((cut.msn, cut.at));
        // No video lies between two cuts that follow each other. Audio may still come, and is given some time, but not
        // before a gap: the source is gone by then.
        let may_wait = match (self.kind(), cut.kind) {
            (Kind::Video, _) | (_, CutKind::Gap { .. }) => 0,
            (Kind::Audio, _) => MAX_CUTS_AHEAD - 1,
        };
        self.give_up_on(may_wait, cut.at, out)?;
        match cut.kind {
            CutKind::Gap { duration } => {
                self.end_run(Some(cut.at), out)?;
                self.gap(&cut, duration, out);
            }
            CutKind::Keyframe | CutKind::Time => {
                // The decoder was drained: what is held back has no next packet to tell its duration.
                if cut.discontinuity && self.kind() == Kind::Video {
                    self.end_run(Some(cut.at), out)?;
                }
                self.pending.push_back(cut);
            }
        }
        Ok(())
    }

    /// Makes gaps of the oldest pending cuts until `may_wait` are left; the segment of the last one ends at `next_at`.
    fn give_up_on(&mut self, may_wait: usize, next_at: Timestamp, out: &mut Vec<Output>) -> Result<(), PackageError> {
        while self.pending.len() > may_wait {
            let Some(cut) = self.pending.pop_front() else { break };
            self.end_run(Some(cut.at), out)?;
            let end = self.pending.front().map_or(next_at, |next| next.at);
            self.gap(&cut, end - cut.at, out);
        }
        Ok(())
    }

    /// A segment without media.
    fn gap(&mut self, cut: &Cut, duration: Span, out: &mut Vec<Output>) {
        out.push(Output::Open(self.segment_start(cut, true)));
        out.push(Output::Close(SegmentEnd { rendition: self.id, msn: cut.msn, duration }));
    }

    fn segment_start(&self, cut: &Cut, gap: bool) -> SegmentStart {
        SegmentStart {
            rendition: self.id,
            msn: cut.msn,
            epoch: self.epoch,
            at: cut.at,
            wall: cut.wall,
            discontinuity: cut.discontinuity,
            gap,
            // A gap before the first track names the init segment that will come; playlists give a gap no EXT-X-MAP.
            init: if self.track.is_some() { self.next_init - 1 } else { self.next_init },
        }
    }

    // Packets

    fn packet(&mut self, packet: Packet, out: &mut Vec<Output>) -> Result<(), PackageError> {
        self.check_kind(packet.kind)?;
        if self.newest.is_none() {
            return Err(PackageError::BeforeFirstCut { rendition: self.id, pts: packet.pts });
        }
        match self.kind() {
            Kind::Video => self.video_packet(packet, out),
            Kind::Audio => self.audio_packet(packet, out),
        }
    }

    fn video_packet(&mut self, packet: Packet, out: &mut Vec<Output>) -> Result<(), PackageError> {
        if self.open.is_none() && self.pending.is_empty() {
            self.late.add_one();
            return Ok(());
        }
        let (dts, pts) = (packet.dts, packet.pts);
        let Samples::Video(samples) = &mut self.samples else { return Ok(()) };
        let before = samples.push(packet).map_err(|error| sample_error(self.id, error, dts, pts))?;
        if let Some(before) = before {
            self.append(before, out)?;
        }
        if let Some(cut) = self.pending.pop_front() {
            self.end_segment(out)?;
            self.open_segment(&cut, pts, out)?;
        }
        Ok(())
    }

    fn audio_packet(&mut self, packet: Packet, out: &mut Vec<Output>) -> Result<(), PackageError> {
        while let Some(cut) = self.pending.pop_front_if(|cut| cut.at <= packet.pts) {
            let next_at = self.pending.front().map(|next| next.at).filter(|at| *at <= packet.pts);
            if cut.discontinuity || next_at.is_some() {
                self.end_run(None, out)?;
            }
            match next_at {
                Some(next_at) => self.gap(&cut, next_at - cut.at, out),
                None => {
                    self.end_segment(out)?;
                    self.open_segment(&cut, packet.pts, out)?;
                }
            }
        }
        let Some(open) = &self.open else {
            self.late.add_one();
            return Ok(());
        };
        let (dts, pts, timescale) = (packet.dts, packet.pts, open.timescale());
        let Samples::Audio(samples) = &mut self.samples else { return Ok(()) };
        let timed = samples.push(packet, timescale).map_err(|error| sample_error(self.id, error, dts, pts))?;
        self.append(timed, out)
    }

    fn append(&mut self, timed: TimedSample, out: &mut Vec<Output>) -> Result<(), PackageError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let msn = open.msn();
        open.push(timed, &mut self.sequence, out).map_err(|source| chunk_error(self.id, msn, source))
    }

    fn open_segment(&mut self, cut: &Cut, pts: Timestamp, out: &mut Vec<Output>) -> Result<(), PackageError> {
        let track = self.track.as_ref().ok_or(PackageError::NoTrack { rendition: self.id, pts })?;
        let start = self.segment_start(cut, false);
        self.open = Some(OpenSegment::new(&start, track, self.part_target));
        out.push(Output::Open(start));
        Ok(())
    }

    /// Ends the open segment, if there is one, with the samples that it has.
    fn end_segment(&mut self, out: &mut Vec<Output>) -> Result<(), PackageError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let msn = open.msn();
        open.end(&mut self.sequence, out).map_err(|source| chunk_error(self.id, msn, source))
    }

    /// Ends the open segment and the run of samples: what comes next does not follow on what was.
    fn end_run(&mut self, limit: Option<Timestamp>, out: &mut Vec<Output>) -> Result<(), PackageError> {
        let held = match &mut self.samples {
            Samples::Video(samples) => samples.flush(limit),
            Samples::Audio(samples) => {
                samples.reset();
                None
            }
        };
        if let Some(held) = held {
            self.append(held, out)?;
        }
        self.end_segment(out)
    }

    // End

    fn end(&mut self, out: &mut Vec<Output>) -> Result<(), PackageError> {
        self.suspend(out)?;
        out.push(Output::End(self.id));
        Ok(())
    }

    /// Closes what is open, as far as it came. The newest cut, if no packet reached it, has no end that its gap could
    /// last until, and becomes no segment.
    pub(super) fn suspend(&mut self, out: &mut Vec<Output>) -> Result<(), PackageError> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        if let Some(newest) = self.pending.pop_back() {
            self.give_up_on(0, newest.at, out)?;
            self.end_run(Some(newest.at), out)?;
        }
        self.end_run(None, out)
    }
}

fn sample_error(rendition: RenditionId, error: SampleError, dts: Timestamp, pts: Timestamp) -> PackageError {
    match error {
        SampleError::NotRising => PackageError::NotRising { rendition, dts },
        SampleError::Range => PackageError::TimeRange { rendition, dts, pts },
    }
}

fn chunk_error(rendition: RenditionId, msn: u64, source: ChunkError) -> PackageError {
    PackageError::Chunk { rendition, msn, source }
}
