//! Every thread and queue of a session on one screen.
//!
//! ```text
//!  connection ─INTAKE─▶ intake ─┬─video_edge─▶ transcode (decode, one thread per rung) ─┐
//!  (task)       Block   thread  ├─AUDIO_EDGE─▶ transcode (audio) ──────────────────────▶├─PACKAGE─▶ package ─STORE─▶ store ─▶ window, journal
//!                               └─copied rung and copied audio, no queue of their own ──┘  Block    thread   Block   thread
//! ```
//!
//! While nothing is encoded there is no package thread: the intake thread packages (`packaging`).
//!
//! The outlet (package, store, window) lives as long as the session's threads; the feeds (hub, transcoder, copied edge)
//! are made when the tracks are known. A resumed session has an outlet from the start, so that viewers see its gaps
//! before a publisher returns. A track that comes late has feeds and packaging of its own, and the same store thread: what runs
//! already is not touched.

use std::io;
use std::sync::Arc;

use tracing::{Span as LogSpan, error};

use super::SessionSpec;
use super::latency::Latency;
use super::packaging::{Packaging, Packer};
use crate::clock::SharedClock;
use crate::config::preset::AudioMode;
use crate::flow::channel::{Bound, Receiver, Sender, bounded};
use crate::flow::hub::{EdgeStats, Hub, WhenFull};
use crate::flow::stage::{self, Outcome, Stage};
use crate::media::segment::{Joined, RenditionId, RenditionUnit, Renditions};
use crate::media::{CutKind, Kind, Output, Unit};
use crate::package::{LatePackets, PackageSettings, Packager, Window};
use crate::store::{Finish, ResumePoint, SessionWriter};
use crate::transcode::threads::{AUDIO_INPUT, video_input};
use crate::transcode::{LadderStats, Patience, Plan, TranscodeError, TranscodeInputs, Transcoder};

/// Connection -> intake, `Block`: about 4 s of a 1080p60 push, or less of a heavy one. TCP carries the pressure on.
pub const INTAKE: Bound = Bound { items: 512, bytes: 8 << 20 };
/// Hub -> audio encoder, `Block`: audio is never dropped.
pub(super) const AUDIO_EDGE: Bound = AUDIO_INPUT;
/// Encoders and copied edge -> package, `Block`: package only copies bytes, so this is slack for scheduling. Without
/// encoders there is no such queue.
pub(super) const PACKAGE: Bound = Bound { items: 512, bytes: 16 << 20 };
/// Package -> store, `Block`: parts of about 8 s of a full ladder, which a busy disk may lag behind.
pub(super) const STORE: Bound = Bound { items: 512, bytes: 64 << 20 };

/// Called from a session's thread when one of its stages failed or panicked: the stage's name and why.
pub type OnFailure = Arc<dyn Fn(&str, String) + Send + Sync>;

/// A session's threads could not be started.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The system has no thread for us.
    #[error("cannot start thread {name} of the session: {source}")]
    Thread {
        /// Name of the thread.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
    /// An encoder, decoder or scaler cannot be opened.
    #[error("cannot start the ladder: {0}")]
    Transcode(#[from] TranscodeError),
}

/// How a session's threads stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Open segments are stored and nothing is said to viewers: the session goes on after a restart.
    Suspend,
    /// ENDLIST.
    End,
}

/// From packets of all renditions to viewers and disk.
pub struct Outlet {
    /// One for the renditions that the session began with, and one for those of a late track.
    lines: Vec<Line>,
    outputs: Sender<Output>,
    store: Stage<std::convert::Infallible>,
    on_failure: OnFailure,
}

/// The packaging of renditions whose ids follow each other.
struct Line {
    first: RenditionId,
    renditions: Renditions,
    late: Vec<LatePackets>,
    packaging: Packaging,
}

impl Line {
    /// The packaging begins on the caller's thread.
    fn new(first: RenditionId, renditions: Renditions, packager: Packager, outputs: Sender<Output>) -> Self {
        let late = packager.late_packets();
        Line { first, renditions, late, packaging: Packaging::Here(Packer::new(packager, outputs)) }
    }

    fn ids(&self) -> impl Iterator<Item = RenditionId> + use<> {
        (self.first.0..=u8::MAX).map(RenditionId).take(self.renditions.len())
    }
}

impl Outlet {
    /// Starts the store thread. `begin` runs on it, because it waits for the disk.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(
        spec: &SessionSpec,
        span: &LogSpan,
        packager: Packager,
        begin: impl FnOnce() -> Option<SessionWriter> + Send + 'static,
        window: Arc<Window>,
        latency: Latency,
        on_failure: &OnFailure,
    ) -> Result<Self, WireError> {
        let (outputs, written) = bounded::<Output>(STORE);
        let renditions = window.renditions().clone();
        let store = spawn(spec, "store", span, on_failure, move || {
            store_thread(begin(), &written, &window, latency);
            Ok(())
        })?;
        let lines = vec![Line::new(RenditionId(0), renditions, packager, outputs.clone())];
        Ok(Outlet { lines, outputs, store, on_failure: on_failure.clone() })
    }

    /// How many renditions there are.
    pub fn count(&self) -> usize {
        self.lines.iter().map(|line| line.renditions.len()).sum()
    }

    /// Whether there are renditions of this kind.
    pub fn has(&self, kind: Kind) -> bool {
        self.lines.iter().flat_map(|line| line.renditions.iter()).any(|rendition| rendition.kind == kind)
    }

    /// Adds renditions behind those that are there.
    fn join_with(&mut self, spec: &SessionSpec, joined: Joined) {
        let (first, renditions) = (joined.first, joined.renditions.clone());
        // The store thread is gone only when it failed, which on_failure has reported.
        let _ = self.outputs.send(Output::Join(joined));
        let packager = Packager::starting_with(
            first,
            PackageSettings {
                epoch: spec.epoch,
                part_target: spec.hls.part,
                renditions: renditions.clone(),
                resume: Vec::new(),
            },
        );
        self.lines.push(Line::new(first, renditions, packager, self.outputs.clone()));
    }

    /// The queue of the renditions that came last.
    fn queue(
        &mut self,
        spec: &SessionSpec,
        span: &LogSpan,
        on_failure: &OnFailure,
    ) -> Result<Sender<RenditionUnit>, WireError> {
        let line = self.lines.last_mut().expect("an outlet is made with its first line");
        line.packaging.queue(spec, span, on_failure)
    }

    /// Hands a unit to every rendition: gaps, and the end, while there are no feeds.
    fn broadcast(&mut self, unit: &Unit) {
        for line in &mut self.lines {
            for rendition in line.ids() {
                line.packaging.push(RenditionUnit { rendition, unit: unit.clone() }, &self.on_failure);
            }
        }
    }

    fn push(&mut self, rendition: RenditionId, unit: &Unit) {
        // Lines are in the order of their first ids: the last that begins before the rendition has it.
        if let Some(line) = self.lines.iter_mut().rfind(|line| line.first <= rendition) {
            line.packaging.push(RenditionUnit { rendition, unit: unit.clone() }, &self.on_failure);
        }
    }

    /// Its queues, neither of which drops anything. There is none to package while nothing is encoded.
    fn edges(&self) -> impl Iterator<Item = EdgeStats> {
        let package = self.lines.iter().filter_map(|line| line.packaging.depth());
        let package = package.map(|queue| EdgeStats::waiting("package", &queue)).reduce(EdgeStats::and);
        package.into_iter().chain([EdgeStats::waiting("store", &self.outputs.depth())])
    }

    /// Waits until everything that was handed in is packaged, journalled and published.
    fn join(self) {
        for line in self.lines {
            line.packaging.join();
        }
        drop(self.outputs);
        report("store", self.store.join());
    }
}

/// From the session's timeline to packets of all renditions.
#[derive(Debug)]
pub struct Feeds {
    hub: Hub<Unit>,
    copied: CopiedEdge,
    transcoder: Option<Transcoder>,
}

impl Feeds {
    /// Starts the encoders that `plan` wants and connects what it copies.
    ///
    /// # Errors
    /// An encoder is missing, or a thread cannot be started.
    pub fn start(
        spec: &SessionSpec,
        span: &LogSpan,
        clock: &SharedClock,
        plan: &Plan,
        outlet: &mut Outlet,
        on_failure: &OnFailure,
    ) -> Result<Self, WireError> {
        let hub = Hub::default();
        let encodes_video = plan.rungs.iter().any(|rung| rung.encode.is_some());
        let audio = plan.audio.as_ref();
        let (copied_audio, encodes_audio) = match audio.map(|audio| (audio.preset.mode, audio.id)) {
            Some((AudioMode::Copy, id)) => (Some(id), false),
            Some((AudioMode::Encode, _)) => (None, true),
            None => (None, false),
        };
        let inputs = TranscodeInputs {
            video: encodes_video.then(|| video_edge(&hub, plan, spec.patience)),
            audio: encodes_audio.then(|| audio_edge(&hub)),
            patience: spec.patience,
        };
        let needed = inputs.video.is_some() || inputs.audio.is_some();
        let transcoder = if needed {
            let failed = on_failure.clone();
            let ended = move |outcome: &Outcome<TranscodeError>| tell(&failed, "transcode", outcome);
            let output = outlet.queue(spec, span, on_failure)?;
            Some(Transcoder::start(&spec.session, span.clone(), clock.clone(), plan, inputs, output, ended)?)
        } else {
            None
        };
        let copied = CopiedEdge { video: plan.copied, audio: copied_audio };
        Ok(Feeds { hub, copied, transcoder })
    }

    /// Hands one unit to encoders and copied renditions.
    pub fn publish(&mut self, unit: &Unit, outlet: &mut Outlet) {
        self.hub.publish(unit);
        self.copied.offer(unit, outlet);
    }

    /// Drains the encoders.
    fn join(self) {
        self.hub.close();
        if let Some(transcoder) = self.transcoder {
            transcoder.join();
        }
    }
}

/// Hub -> decode, `KeepKeyframes`, six times the session's patience: slow encoders make the decoder drop frames long before this is
/// full. It fills when decoding itself stalls, as on a machine whose host gives it no time; then segments of the encoded rungs
/// have fewer pictures, but each begins with its own, and the copied rung does not notice.
fn video_edge(hub: &Hub<Unit>, plan: &Plan, patience: Patience) -> Receiver<Unit> {
    let bound = video_input(plan.source_rate, patience);
    hub.subscribe_to("video", bound, WhenFull::KeepKeyframes, |unit| concerns(unit, Kind::Video))
}

fn audio_edge(hub: &Hub<Unit>) -> Receiver<Unit> {
    hub.subscribe_to("audio", AUDIO_EDGE, WhenFull::Block, |unit| concerns(unit, Kind::Audio))
}

/// Cuts and the end concern every track.
fn concerns(unit: &Unit, kind: Kind) -> bool {
    match unit {
        Unit::Track(track) => track.kind() == kind,
        Unit::Packet(packet) => packet.kind == kind,
        Unit::Cut(_) | Unit::End => true,
    }
}

/// Where the source's own packets become a rendition's. Runs on the intake thread.
#[derive(Debug)]
struct CopiedEdge {
    video: Option<RenditionId>,
    audio: Option<RenditionId>,
}

impl CopiedEdge {
    fn offer(&mut self, unit: &Unit, outlet: &mut Outlet) {
        if matches!(unit, Unit::Cut(cut) if cut.copy_ends) {
            // The rung's encoder announces this cut itself, behind everything that was copied before it.
            self.video = None;
        }
        for (kind, rendition) in [(Kind::Video, self.video), (Kind::Audio, self.audio)] {
            if let Some(rendition) = rendition.filter(|_| concerns(unit, kind)) {
                outlet.push(rendition, unit);
            }
        }
    }
}

/// All threads of a session behind its intake.
pub struct Wires {
    /// Package and store.
    pub outlet: Outlet,
    /// Hub and encoders; `None` until the tracks are known.
    pub feeds: Option<Feeds>,
    /// Those of a track that came late.
    pub late: Option<Feeds>,
}

impl Wires {
    /// Starts the feeds and the packaging of a late track. `plan` has the ids behind those that are there.
    ///
    /// # Errors
    /// Threads or encoders cannot be started.
    pub fn join_with(
        &mut self,
        spec: &SessionSpec,
        span: &LogSpan,
        clock: &SharedClock,
        (plan, discontinuities): (&Plan, u64),
        on_failure: &OnFailure,
    ) -> Result<(), WireError> {
        let first = RenditionId(u8::try_from(self.outlet.count()).unwrap_or(u8::MAX));
        self.outlet.join_with(spec, Joined { first, renditions: plan.renditions.clone(), discontinuities });
        self.late = Some(Feeds::start(spec, span, clock, plan, &mut self.outlet, on_failure)?);
        Ok(())
    }

    /// Hands one unit of the session's timeline to everyone whom it concerns.
    pub fn publish(&mut self, unit: &Unit) {
        match (&mut self.feeds, unit) {
            (Some(feeds), _) => {
                feeds.publish(unit, &mut self.outlet);
                if let Some(late) = &mut self.late {
                    late.publish(unit, &mut self.outlet);
                }
            }
            (None, Unit::End) => self.outlet.broadcast(unit),
            (None, Unit::Cut(cut)) if matches!(cut.kind, CutKind::Gap { .. }) => self.outlet.broadcast(unit),
            // Ingest announces tracks first, and the session starts the feeds before it hands on what follows.
            (None, _) => debug_assert!(false, "{unit:?} came before the feeds were started"),
        }
    }

    fn all_feeds(&self) -> impl Iterator<Item = &Feeds> {
        self.feeds.iter().chain(&self.late)
    }

    /// The queues behind the intake, for metrics.
    pub fn edges(&self) -> Vec<EdgeStats> {
        self.all_feeds().flat_map(|feeds| feeds.hub.stats()).chain(self.outlet.edges()).collect()
    }

    /// Packets that the packaging dropped, in the order of the renditions.
    pub fn late_packets(&self) -> Vec<u64> {
        self.outlet.lines.iter().flat_map(|line| line.late.iter().map(LatePackets::count)).collect()
    }

    /// What the encoders do, if there are any.
    pub fn ladder(&self) -> Option<LadderStats> {
        let ladders = self.all_feeds().filter_map(|feeds| feeds.transcoder.as_ref()).map(Transcoder::stats);
        ladders.reduce(LadderStats::and)
    }

    /// Drains everything in order: encoders, then package, then store. Blocks. Without a [`Unit::End`] before it, the
    /// open segments are closed and stored and the session can be resumed.
    pub fn join(self) {
        for feeds in self.feeds.into_iter().chain(self.late) {
            feeds.join();
        }
        self.outlet.join();
    }
}

/// Journal first, then viewers: what a player has seen survives kill -9.
fn store_thread(mut writer: Option<SessionWriter>, written: &Receiver<Output>, window: &Window, mut latency: Latency) {
    let (mut newest, mut warned) = (None, false);
    for output in written.iter() {
        let arrival = latency.before(&output);
        if let Some(writer) = &mut writer {
            // A full or broken disk stops recording with an alarm, which the store raises and logs, never the live path.
            if let Some(point) = resume_point(&output, &mut newest) {
                let _ = writer.checkpoint(&point);
            }
            if let Some(arrival) = arrival {
                writer.arrived(arrival.rendition, arrival.msn, arrival.at, arrival.trace);
            }
            if let Err(failure) = writer.append(&output)
                && !failure.is_disk()
                && !std::mem::replace(&mut warned, true)
            {
                error!(%failure, "a fault of ours: the store does not take what package made, and what it refused is not stored");
            }
        }
        window.apply(&output);
        latency.published(&output, window);
    }
    if let Some(mut writer) = writer {
        for arrival in latency.open() {
            writer.arrived(arrival.rendition, arrival.msn, arrival.at, arrival.trace);
        }
        let how = if window.ended() { Finish::Ended } else { Finish::Suspended };
        if let Err(failure) = writer.finish(how) {
            error!(%failure, "the session's journal could not be closed in order: the next start repairs it; check the spool's disk");
        }
    }
}

/// The first rendition that opens a segment says from where a restarted daemon goes on.
fn resume_point(output: &Output, newest: &mut Option<u64>) -> Option<ResumePoint> {
    let Output::Open(start) = output else { return None };
    if newest.is_some_and(|newest| newest >= start.msn) {
        return None;
    }
    *newest = Some(start.msn);
    Some(ResumePoint { timeline_at: start.at, next_msn: start.msn.saturating_add(1), anchor: (start.at, start.wall) })
}

/// Starts a stage of a session whose failure is told to the session.
pub(super) fn spawn<E, F>(
    spec: &SessionSpec,
    role: &str,
    span: &LogSpan,
    on_failure: &OnFailure,
    body: F,
) -> Result<Stage<E>, WireError>
where
    E: std::fmt::Display + Send + 'static,
    F: FnOnce() -> Result<(), E> + Send + 'static,
{
    let name = format!("{role}-{}", spec.session);
    let (failed, told) = (on_failure.clone(), role.to_owned());
    stage::spawn(name.clone(), span.clone(), body, move |outcome| tell(&failed, &told, outcome))
        .map_err(|source| WireError::Thread { name, source })
}

pub(super) fn tell<E: std::fmt::Display>(on_failure: &OnFailure, name: &str, outcome: &Outcome<E>) {
    match outcome {
        Outcome::Finished => {}
        Outcome::Failed(why) => on_failure(name, why.to_string()),
        Outcome::Panicked(message) => on_failure(name, format!("panicked: {message}")),
    }
}

pub(super) fn report<E: std::fmt::Display>(name: &str, outcome: Outcome<E>) {
    match outcome {
        Outcome::Finished => {}
        Outcome::Failed(why) => error!(stage = name, %why, "stage failed"),
        Outcome::Panicked(message) => error!(stage = name, panic = message, "stage panicked"),
    }
}
