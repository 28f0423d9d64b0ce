//! Stage 1: what a publisher sent becomes one timeline with cuts.
//!
//! [`Ingest`] takes the messages of one connection after the other and yields the [`Unit`]s of one session. It does no IO
//! and asks no clock: every call says what time it is, and [`Ingest::deadline`] says when to call again.
//!
//! | module | holds |
//! |---|---|
//! | `demux` | FLV tags and transport streams to access units and tracks |
//! | `stamp` | moments of a clock that wraps |
//! | `patience` | what a publisher may do wrong for a while, and what it is told then |
//! | [`audition`] | a newcomer's media until it takes over |
//! | `runs` | which stretch of the publisher's clock a packet belongs to; where it jumped |
//! | `gather` | what is held until a run can begin |
//! | `session` | a run mapped to the session's timeline: order, discontinuities, gaps |
//! | `normalise` | DTS and PTS of video, samples of audio, drift |
//! | `interleave` | sound waits for the cut that video may announce |
//! | `cuts` | where segments begin |
//! | `skew` | how fast the publisher's clock runs against this machine's |
//! | `anchor` | PROGRAM-DATE-TIME |
//! | `gaps` | the cadence of segments without media |
//! | `emit` | numbers, dates and counts of what goes out |
//!
//! What holds for the units, always:
//! - Tracks come before the first cut that is no gap; later only behind a cut with a discontinuity. A track that the
//!   session did not have comes once, before the cut that it joins with.
//! - MSNs rise by one from cut to cut; `at` and `wall` rise.
//! - DTS rises strictly per track, and `pts >= dts`. Audio frames follow each other without a hole until a discontinuity.
//! - A cut comes before every packet that belongs to its segment, and behind a cut with a discontinuity no packet lies
//!   before [`Cut::at`](crate::media::Cut::at).
//! - Behind a cut without a discontinuity, sound from before it may still come (at most what video's DTS is behind its
//!   PTS); it belongs to the segment before.
//! - A segment may be without pictures: in audio-only sessions, in gaps, and while a publisher's video stands still.
//!
//! Not here: sockets and admission (listen), decoding and silence (transcode), when a session ends (live).

mod anchor;
pub mod audition;
mod cuts;
mod demux;
mod emit;
mod gaps;
mod gather;
mod interleave;
mod normalise;
mod patience;
mod runs;
mod session;
mod skew;
mod stamp;
mod stats;

use std::sync::Arc;
use std::time::Duration;

use crate::media::arrivals::Arrivals;
use crate::media::copy::{CopyObstacle, CopyRule};
use crate::media::{Kind, Span, Timestamp, Track, Unit, VideoTrack, WallTime};
use crate::wire::Inbound;
use crate::wire::flv::{FlvError, TagKind};
use crate::wire::ts::TsError;

use audition::Heir;
use demux::{AccessUnit, Configuration, Demux, Demuxed};
use gather::{Gather, Sample, Wanted};
use patience::Patience;
use runs::Runs;
use session::Session;
use skew::Skew;

pub use audition::Audition;
pub use demux::{SoundError, VideoError};
pub use stats::{Dropped, IngestStats, SourceClock};

/// What a run that has not begun may hold.
pub const GATHER_BYTES: usize = gather::MAX_BYTES;

/// What happens at the door, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A publisher was admitted and is the session's from now on; one that was connected has gone. Who waits for its turn while
    /// another one publishes is read by an [`Audition`] and comes in by [`Ingest::take_over`].
    Connected,
    /// It sent something.
    Media(Inbound),
    /// It is gone, for whatever reason.
    Disconnected,
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Never goes back; only differences count.
    pub monotonic: Duration,
    /// May be set.
    pub wall: WallTime,
}

/// What is fixed for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Target duration of segments. No segment's duration, rounded to the nearest second, is above this, rounded too.
    pub segment: Span,
    /// How long a beginning waits for the second track.
    pub second_track_wait: Span,
    /// What follows the first cut by time.
    pub long_gop: LongGop,
    /// Where the timeline begins.
    pub start: Start,
}

impl Default for Settings {
    /// Segments of 2 s, a wait of 1 s, cuts by time, a new session.
    fn default() -> Self {
        Settings {
            segment: Span::from_secs(2),
            second_track_wait: Span::from_secs(1),
            long_gop: LongGop::CutByTime,
            start: Start::default(),
        }
    }
}

/// What a group of pictures longer than the target leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongGop {
    /// Cuts by time, for ever: copied video goes on, and some of its segments begin without a keyframe.
    CutByTime,
    /// The next keyframe is a discontinuity at which copying ends ([`Cut::copy_ends`](crate::media::Cut::copy_ends)).
    EndCopy,
}

/// Where a timeline begins, or goes on after a restart of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Presentation time of the first cut.
    pub at: Timestamp,
    /// Its media sequence number.
    pub next_msn: u64,
    /// A moment of the timeline and its PROGRAM-DATE-TIME, if the session has been there before.
    pub anchor: Option<(Timestamp, WallTime)>,
    /// The session has been running before: the first cut is a discontinuity.
    pub resumed: bool,
}

impl Default for Start {
    /// A new session. It starts at +10 s so that nothing is ever negative: DTS may lie before the first PTS.
    fn default() -> Self {
        Start { at: Timestamp::from_millis(10_000), next_msn: 0, anchor: None, resumed: false }
    }
}

/// The publisher sends what this daemon cannot carry. The text is for the publisher; the connection should be closed with
/// it. The session stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// A codec that is not carried.
    #[error("{0}")]
    Codec(FlvError),
    /// A transport stream, or something in it, that is not taken.
    #[error("{0}")]
    Ts(TsError),
    /// The transport stream's pictures are of another codec.
    #[error("video codec {0} is not supported: set the encoder to H.264")]
    Picture(&'static str),
    /// A transport stream without pictures or sound.
    #[error("the transport stream has no video and no audio that is supported: set the encoder to H.264 and AAC")]
    NothingInProgram,
    /// A transport stream in which nothing is found.
    #[error(
        "the transport stream brought no video and no audio within {} s: let the encoder send PAT and PMT each second, and the \
         streams they name",
        waited.as_secs()
    )]
    NoMedia {
        /// How long some was waited for.
        waited: Duration,
    },
    /// A video configuration that cannot be read.
    #[error("the video configuration cannot be used: {0}")]
    Video(VideoError),
    /// An audio configuration that cannot be read, or is not carried.
    #[error("the audio configuration cannot be used: {0}")]
    Audio(SoundError),
    /// Pictures, but nothing that says how to decode them.
    #[error(
        "{pictures} pictures came without parameter sets (SPS and PPS): let the encoder send an AVC sequence header, or repeat its \
         headers with each keyframe"
    )]
    NoParameterSets {
        /// How many.
        pictures: u32,
    },
    /// Nothing but damaged messages.
    #[error("{messages} messages in a row are damaged, the last one: {reason}")]
    Damaged {
        /// How many.
        messages: u32,
        /// Why the last one could not be read.
        reason: String,
    },
    /// Video without a picture to begin with.
    #[error("no keyframe (IDR picture) came within {} s: set the encoder's keyframe interval to 2 s", waited.as_secs())]
    NoKeyframe {
        /// How long one was waited for.
        waited: Duration,
    },
    /// A track whose timestamps do not move.
    #[error(
        "the timestamps of its {} stand still: {messages} messages in a row say {} ms. \
         Restart the encoder, or let it set timestamps itself",
        track.as_str(), stamp.to_units(1_000)
    )]
    ClockStands {
        /// Which.
        track: Kind,
        /// How many messages said the same.
        messages: u32,
        /// What they said, on the publisher's clock.
        stamp: Timestamp,
    },
    /// Pictures that shall be shown at no possible time.
    #[error(
        "{pictures} pictures in a row have an impossible composition time, the last one {} ms from decoding \
         to presentation",
        composition.to_millis()
    )]
    Composition {
        /// How many.
        pictures: u32,
        /// What the last one said.
        composition: Span,
    },
}

/// The ingest of one session.
#[derive(Debug)]
pub struct Ingest {
    second_track_wait: Duration,
    connected: bool,
    demux: Demux,
    reorder_frames: Option<u32>,
    video_configured: bool,
    runs: Runs,
    patience: Patience,
    gather: Option<Gather>,
    session: Session,
    /// What the source must fit for as long as a rung copies it, and what it was that did not.
    copy_rule: Option<CopyRule>,
    copy_obstacle: Option<CopyObstacle>,
    last_media: Duration,
    last_call: Duration,
    /// By kind.
    skews: [Skew; 2],
    stats: IngestStats,
}

impl Ingest {
    /// An ingest that waits for its first connection.
    pub fn new(settings: Settings) -> Self {
        Ingest {
            second_track_wait: settings.second_track_wait.to_std(),
            connected: false,
            demux: Demux::default(),
            reorder_frames: None,
            video_configured: false,
            runs: Runs::default(),
            patience: Patience::default(),
            gather: None,
            session: Session::new(&settings),
            copy_rule: None,
            copy_obstacle: None,
            last_media: Duration::ZERO,
            last_call: Duration::ZERO,
            skews: <[Skew; 2]>::default(),
            stats: IngestStats::default(),
        }
    }

    /// Takes `input` and appends what follows from it to `out`. Also does what [`Ingest::poll`] does.
    ///
    /// # Errors
    /// The publisher sends what cannot be carried: close its connection with these words, then push
    /// [`Input::Disconnected`]. What was appended to `out` before is valid.
    pub fn push(&mut self, input: Input, now: Now, out: &mut Vec<Unit>) -> Result<(), Rejected> {
        if self.session.has_ended() {
            return Ok(());
        }
        // What was due before this came is done before this.
        self.poll(now, out);
        match input {
            Input::Connected => self.connect(now, out),
            Input::Disconnected => self.disconnect(now, out),
            Input::Media(inbound) => {
                if !self.connected {
                    self.connect(now, out);
                }
                self.media(&inbound, now, out)?;
            }
        }
        self.begin_run_if_complete(now, out);
        Ok(())
    }

    /// Does what time alone calls for. Call it at or after [`Ingest::deadline`]; earlier calls do no harm.
    pub fn poll(&mut self, now: Now, out: &mut Vec<Unit>) {
        if self.session.has_ended() {
            return;
        }
        self.last_call = now.monotonic;
        self.session.release_overdue(now, out);
        self.session.announce_gaps(now, out);
        self.begin_run_if_complete(now, out);
        // A run begins with what has waited for it, and some of that for too long.
        self.session.release_overdue(now, out);
    }

    /// When the packets of the timeline came in: for whoever measures how long they take from here.
    pub fn arrivals(&self) -> Arc<Arrivals> {
        self.session.arrivals()
    }

    /// Monotonic time at which [`Ingest::poll`] has something to do, if nothing is pushed before.
    pub fn deadline(&self) -> Option<Duration> {
        if self.session.has_ended() {
            return None;
        }
        let gather = self.gather.as_ref().and_then(|gather| gather.deadline(self.last_call));
        [gather, self.session.deadline()].into_iter().flatten().min()
    }

    /// The session has been running before and nobody publishes yet: its gaps begin here and go on until a publisher is
    /// there. Does nothing in a new session, whose timeline begins with its first publisher.
    pub fn wait(&mut self, now: Now) {
        self.session.wait(now.monotonic);
    }

    /// What follows the first cut by time, from now on.
    pub fn set_long_gop(&mut self, long_gop: LongGop) {
        self.session.set_long_gop(long_gop);
    }

    /// The next keyframe is a discontinuity at which copying ends, as after a group that was too long
    /// ([`LongGop::EndCopy`]). Once it has ended, this does nothing.
    pub fn end_copy(&mut self) {
        self.session.end_copy();
    }

    /// What the source must fit for as long as it is copied. One that changes so that it does not any more ends the copying at its
    /// next keyframe, as [`Ingest::end_copy`] does.
    pub fn set_copy_rule(&mut self, rule: Option<CopyRule>) {
        self.copy_rule = rule;
    }

    /// The session cannot carry the track of this kind that has just joined it: disconnect its publisher. From the next connection on
    /// it is as if none had come.
    pub fn decline(&mut self, kind: Kind) {
        self.session.decline(kind);
    }

    /// Why the source may not be copied any more, if it has changed so.
    pub fn copy_obstacle(&self) -> Option<CopyObstacle> {
        self.copy_obstacle
    }

    /// Ends the session: what is held comes out, then [`Unit::End`]. Later calls do nothing.
    pub fn end(&mut self, now: Now, out: &mut Vec<Unit>) {
        if !self.session.has_ended() {
            self.disconnect(now, out);
            self.session.end(out);
        }
    }

    /// Where a restarted daemon goes on: behind everything that has been given out.
    pub fn resume_point(&self) -> Start {
        self.session.resume_point()
    }

    /// Figures up to now.
    pub fn stats(&self) -> IngestStats {
        let mut stats = self.stats;
        self.session.add_to(&mut stats);
        add_skipped(&mut stats, &self.demux);
        [stats.audio_clock, stats.video_clock] =
            [Kind::Audio, Kind::Video].map(|kind| self.skews[kind as usize].figures());
        stats
    }

    /// A newcomer is the publisher from now on, in place of another one or of nobody: what it sent is read already.
    pub fn take_over(&mut self, newcomer: Audition, now: Now, out: &mut Vec<Unit>) {
        if self.session.has_ended() {
            return;
        }
        self.poll(now, out);
        self.connect(now, out);
        let Heir { demux, patience, configurations, units } = newcomer.into_heir();
        (self.demux, self.patience) = (demux, patience);
        self.video_configured = self.demux.awaits_parameter_sets();
        for configuration in configurations.into_iter().flatten() {
            self.configure(configuration, now);
        }
        for unit in units {
            self.count(unit.kind, unit.data.len());
            self.place(unit, now, out);
        }
        self.begin_run_if_complete(now, out);
    }

    fn connect(&mut self, now: Now, out: &mut Vec<Unit>) {
        self.disconnect(now, out);
        self.connected = true;
        self.last_media = now.monotonic;
        self.gather = Some(Gather::new(self.runs.reconnect(), self.second_track_wait));
    }

    fn disconnect(&mut self, now: Now, out: &mut Vec<Unit>) {
        if !self.connected {
            return;
        }
        self.demux.finish();
        // What is wrong with the last of its units is nobody's news any more.
        let _refused = self.take_demuxed(now, out);
        self.connected = false;
        self.gather = None;
        self.video_configured = false;
        self.reorder_frames = None;
        add_skipped(&mut self.stats, &self.demux);
        self.demux = Demux::default();
        self.patience = Patience::default();
        self.session.leave(self.last_media, now, out);
    }

    fn media(&mut self, inbound: &Inbound, now: Now, out: &mut Vec<Unit>) -> Result<(), Rejected> {
        match inbound {
            Inbound::Flv(tag) => match tag.kind {
                TagKind::Video => self.count(Kind::Video, tag.data.len()),
                TagKind::Audio => self.count(Kind::Audio, tag.data.len()),
                TagKind::Script => self.stats.bytes += tag.data.len() as u64,
            },
            Inbound::Ts(piece) => self.stats.bytes += piece.data.len() as u64,
        }
        let units = self.demux.units();
        let read = self.demux.push(inbound);
        // Tables and stuffing of a transport stream go on when what it carries has ended.
        let is_media = !self.demux.is_transport() || self.demux.units() != units;
        if is_media {
            self.last_media = now.monotonic;
        }
        self.take_demuxed(now, out)?;
        read?;
        self.patience.note_media(is_media, now.monotonic);
        self.patience.check(now.monotonic)
    }

    fn take_demuxed(&mut self, now: Now, out: &mut Vec<Unit>) -> Result<(), Rejected> {
        if self.demux.awaits_parameter_sets() {
            // They may still be to come, among the pictures.
            self.video_configured = true;
            if self.session.run().is_none() {
                self.patience.wait_for_keyframe(now.monotonic);
            }
        }
        while let Some(demuxed) = self.demux.next() {
            match demuxed {
                Demuxed::Track(configuration) => self.configure(configuration, now),
                Demuxed::Unit(mut unit) => {
                    if self.demux.is_transport() {
                        self.count(unit.kind, 0);
                    }
                    self.stats.repairs += u64::from(self.patience.judge(&mut unit)?);
                    self.place(unit, now, out);
                    // Where the rest of a piece finds its run flowing, does not depend on how the stream was cut.
                    self.begin_run_if_complete(now, out);
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, kind: Kind, bytes: usize) {
        self.stats.bytes += bytes as u64;
        match kind {
            Kind::Video => self.stats.video_messages += 1,
            Kind::Audio => self.stats.audio_messages += 1,
        }
    }

    fn configure(&mut self, configuration: Configuration, now: Now) {
        if let Track::Video(video) = &*configuration.track {
            self.video_configured = true;
            if self.session.run().is_none() {
                self.patience.wait_for_keyframe(now.monotonic);
            }
            self.judge_copy(video);
            self.reorder_frames = configuration.reorder_frames;
        }
        if let Some(gather) = &mut self.gather {
            self.stats.dropped.stale += gather.forget(configuration.track.kind());
        }
        self.session.configure(configuration.track);
    }

    fn judge_copy(&mut self, video: &VideoTrack) {
        if let Some(obstacle) = self.copy_rule.and_then(|rule| rule.obstacle(video)) {
            self.copy_obstacle.get_or_insert(obstacle);
            self.session.end_copy();
        }
    }

    /// Finds the run that an access unit belongs to.
    fn place(&mut self, unit: AccessUnit, now: Now, out: &mut Vec<Unit>) {
        let placed = self.runs.place(unit.kind, unit.stamp);
        self.stats.repairs += u64::from(placed.repaired);
        self.skews[unit.kind as usize].observe(placed.run, placed.at, now.monotonic);
        let sample = Sample {
            kind: unit.kind,
            source: placed.at,
            composition: unit.composition,
            keyframe: unit.keyframe,
            hole: placed.hole || unit.after_loss,
            leading: unit.leading,
            samples: unit.samples,
            data: unit.data,
            arrived: now,
        };
        let is_picture = sample.kind == Kind::Video;
        if self.session.run() == Some(placed.run) {
            self.session.feed(sample, out);
            if is_picture {
                self.note_picture(!self.session.waits_for_keyframe(), now);
            }
            return;
        }
        let held = self.gather.as_ref().map(|gather| gather.run);
        if held.max(self.session.run()).is_none_or(|newest| newest < placed.run) {
            self.gather = Some(Gather::new(placed.run, self.second_track_wait));
        }
        match &mut self.gather {
            Some(gather) if gather.run == placed.run => {
                self.stats.dropped.before_keyframe += gather.make_room();
                let held = gather.hold(sample);
                self.stats.dropped.before_keyframe += u64::from(!held);
                if is_picture {
                    self.note_picture(held, now);
                }
            }
            _ => self.stats.dropped.stale += 1,
        }
    }

    fn note_picture(&mut self, taken: bool, now: Now) {
        if taken {
            self.patience.picture_taken();
        } else {
            self.patience.wait_for_keyframe(now.monotonic);
        }
    }

    fn begin_run_if_complete(&mut self, now: Now, out: &mut Vec<Unit>) {
        let members = self.session.members();
        let wanted = Wanted {
            video: members.is_none_or(|members| members.has(Kind::Video)),
            audio: members.is_none_or(|members| members.has(Kind::Audio)),
            video_configured: self.video_configured,
            reorder_frames: self.reorder_frames,
        };
        if let Some(gather) = self.gather.take_if(|gather| gather.is_complete(wanted, now.monotonic)) {
            self.session.begin_run(gather, out);
        }
    }
}

fn add_skipped(stats: &mut IngestStats, demux: &Demux) {
    let skipped = demux.skipped();
    stats.dropped.damaged += skipped.damaged;
    stats.dropped.unconfigured += skipped.unconfigured;
    stats.dropped.empty += skipped.empty;
}
