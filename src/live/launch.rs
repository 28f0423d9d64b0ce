//! Starting a session's threads, anew or from what the journal tells.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::{Span as LogSpan, error};

use super::SessionSpec;
use super::capacity::EncodeCapacity;
use super::intake::{Intake, IntakeError, MakeWires, STATS_EVERY};
use super::latency::Latency;
use super::limits::SourceLimit;
use super::losses::Losses;
use super::session::{Session, SessionInput, SessionState};
use super::sessions::Tell;
use super::wiring::{OnFailure, Outlet, WireError, Wires};
use crate::clock::SharedClock;
use crate::flow::channel::Receiver;
use crate::flow::stage::{self, Outcome, Stage};
use crate::ingest::{self, Ingest, Now};
use crate::listen::CloseReason;
use crate::media::Span;
use crate::media::segment::Renditions;
use crate::package::{PackageSettings, Packager, RenditionResume, RenditionStart, Window, WindowSettings};
use crate::store::{RecoveredRendition, RecoveredSession, ResumePoint, SessionHead, SessionWriter, Store};
use crate::telemetry::gate::LogGate;

/// How long a beginning session waits for its second track.
pub(super) const SECOND_TRACK_WAIT: Span = Span::from_secs(1);

/// What all sessions of a daemon share.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub store: Arc<Store>,
    pub clock: SharedClock,
    pub capacity: EncodeCapacity,
    pub tell: Arc<Tell>,
}

/// Starts the intake thread of `session`, and with `recovered` its outlet too.
pub(super) fn launch(
    session: &Arc<Session>,
    span: &LogSpan,
    inputs: Receiver<SessionInput>,
    around: Surroundings,
    recovered: Option<RecoveredSession>,
) -> Result<Stage<IntakeError>, WireError> {
    let spec = session.spec();
    let on_failure = on_failure(session);
    let settings = ingest_settings(spec, recovered.as_ref());
    let renditions = recovered.as_ref().map(|recovered| recovered.head.renditions.clone());
    let discontinuities = recovered.as_ref().map_or(0, discontinuities_of);
    let (resume, listed) = recovered.map(split).unwrap_or_default();
    let began = Now { monotonic: around.clock.monotonic(), wall: around.clock.wall() };
    let mut ingest = Ingest::new(settings);
    ingest.wait(began);
    let measure = {
        let (clock, arrivals, traced) = (around.clock.clone(), ingest.arrivals(), around.store.is_traced());
        let first_publish = renditions.is_none().then_some(began.monotonic);
        move |renditions: &Renditions| Latency::new(clock, arrivals, first_publish, renditions).traced(traced)
    };
    let make_wires = make_wires(session, span.clone(), around.store.clone(), measure, resume, listed);
    let (wires, make_wires) = match &renditions {
        Some(renditions) => (Some(make_wires(renditions.clone(), &on_failure)?), None),
        None => (None, Some(make_wires)),
    };
    let grace_ends = wires.is_some().then(|| began.monotonic.saturating_add(spec.grace));
    let intake = Intake {
        session: session.clone(),
        clock: around.clock,
        store: around.store,
        span: span.clone(),
        ingest,
        wires,
        make_wires,
        renditions,
        on_failure,
        tell: around.tell,
        tracks: BTreeMap::new(),
        connection: None,
        newcomer: None,
        newest_connection: 0,
        goodbye: false,
        grace_ends,
        losses: Losses::default(),
        stats_due: began.monotonic.saturating_add(STATS_EVERY),
        discontinuities,
        reasons: Vec::new(),
        copied: None,
        capacity: around.capacity,
        shares: Vec::new(),
        limit: SourceLimit::new(spec.max_bitrate),
        offence: None,
        unusable: LogGate::default(),
        offences: LogGate::default(),
    };
    spawn_intake(session, span, intake, inputs)
}

fn ingest_settings(spec: &SessionSpec, recovered: Option<&RecoveredSession>) -> ingest::Settings {
    ingest::Settings {
        segment: spec.hls.segment,
        second_track_wait: SECOND_TRACK_WAIT,
        long_gop: ingest::LongGop::CutByTime,
        start: recovered.map(start_of).unwrap_or_default(),
    }
}

/// The intake logs and contains its own failures; what is left to do behind it, in any case, is to say that it is through.
fn spawn_intake(
    session: &Arc<Session>,
    span: &LogSpan,
    intake: Intake,
    inputs: Receiver<SessionInput>,
) -> Result<Stage<IntakeError>, WireError> {
    let (name, session) = (format!("intake-{}", session.spec().session), session.clone());
    let body = move || intake.run(&inputs);
    let ended = move |outcome: &Outcome<IntakeError>| {
        if let Outcome::Panicked(message) = outcome {
            error!(panic = message, "the intake panicked while it stopped");
            session.close_door(&CloseReason::Failed);
            session.stopped(SessionState::Ended);
        }
        session.set_through();
    };
    stage::spawn(name.clone(), span.clone(), body, ended).map_err(|source| WireError::Thread { name, source })
}

/// A stage that fails ends its session, through the session's own queue.
fn on_failure(session: &Arc<Session>) -> OnFailure {
    let session = Arc::downgrade(session);
    Arc::new(move |stage, why| {
        if let Some(session) = session.upgrade() {
            session.fail(stage, why);
        }
    })
}

fn make_wires(
    session: &Arc<Session>,
    span: LogSpan,
    store: Arc<Store>,
    measure: impl FnOnce(&Renditions) -> Latency + Send + 'static,
    resume: Vec<RenditionResume>,
    listed: Vec<RenditionStart>,
) -> MakeWires {
    let session = session.clone();
    Box::new(move |renditions: Renditions, on_failure: &OnFailure| {
        let spec = session.spec();
        let packager = Packager::new(PackageSettings {
            epoch: spec.epoch,
            part_target: spec.hls.part,
            renditions: renditions.clone(),
            resume,
        });
        let window = Arc::new(Window::new(
            renditions.clone(),
            WindowSettings { window: spec.hls.window, segment_target: spec.hls.segment, start: listed },
        ));
        let head = head(spec, renditions.clone());
        let begin = move || begin(&store, head);
        let latency = measure(&renditions);
        let outlet = Outlet::start(spec, &span, packager, begin, window.clone(), latency, on_failure)?;
        session.set_window(window);
        Ok(Wires { outlet, feeds: None, late: None })
    })
}

fn head(spec: &SessionSpec, renditions: Renditions) -> SessionHead {
    SessionHead {
        stream: spec.stream.clone(),
        session: spec.session.clone(),
        epoch: spec.epoch,
        renditions,
        segment_target: spec.hls.segment,
        part_target: spec.hls.part,
    }
}

/// Runs on the store thread. A session that cannot be stored is live all the same.
fn begin(store: &Store, head: SessionHead) -> Option<SessionWriter> {
    match store.begin(head) {
        Ok(writer) => Some(writer),
        Err(failure) => {
            error!(%failure, "the session runs without journal and store: viewers of this node are all who see it");
            None
        }
    }
}

fn split(recovered: RecoveredSession) -> (Vec<RenditionResume>, Vec<RenditionStart>) {
    let both = recovered.renditions.into_iter().map(|rendition| {
        // After a power cut the numbers of init segments jump: what comes then needs one of its own, be it equal to the last.
        let newest = rendition.inits.last().filter(|init| init.number.checked_add(1) == Some(rendition.next_init));
        let track = newest.map(|init| init.track.clone());
        let resume = RenditionResume { next_init: rendition.next_init, track };
        let RecoveredRendition { segments, discontinuity_sequence, inits, .. } = rendition;
        (resume, RenditionStart { segments, discontinuity_sequence, inits })
    });
    both.unzip()
}

/// Discontinuities of the whole session so far: the same in all renditions.
fn discontinuities_of(recovered: &RecoveredSession) -> u64 {
    let counts = recovered.renditions.iter().map(|rendition| {
        let listed = rendition.segments.iter().filter(|segment| segment.discontinuity).count();
        rendition.discontinuity_sequence.saturating_add(listed as u64)
    });
    counts.max().unwrap_or(0)
}

/// Where the timeline goes on: behind everything that the journal knows.
fn start_of(recovered: &RecoveredSession) -> ingest::Start {
    let next_msn = recovered.next_msn;
    match recovered.resume {
        Some(ResumePoint { timeline_at, anchor, .. }) => {
            ingest::Start { at: timeline_at, next_msn, anchor: Some(anchor), resumed: true }
        }
        None => ingest::Start { next_msn, resumed: true, ..ingest::Start::default() },
    }
}
