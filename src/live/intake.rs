//! The thread that owns a session's timeline: inputs in, units out, in order.
//!
//! It sleeps until the next input or the next deadline (ingest's timers, the end of the grace time), never longer, and
//! never to poll. A fault of its own or of a stage ends the session in order. Nothing else of the session may touch ingest or the wires.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::{Span as LogSpan, error, info, warn};

use super::capacity::{Denied, EncodeCapacity, Share, Wanted};
use super::copied::CopiedRung;
use super::limits::SourceLimit;
use super::losses::Losses;
use super::newcomer::Newcomer;
use super::session::{Session, SessionInput, SessionState};
use super::stats::{self, Rates, SessionStats};
use super::wiring::{Feeds, OnFailure, Stop, WireError, Wires};
use super::{SessionChange, SessionEvent};
use crate::clock::SharedClock;
use crate::config::OnUnpublish;
use crate::flow::channel::{Receiver, RecvError};
use crate::flow::hub::EdgeStats;
use crate::flow::stage::{self, Outcome};
use crate::ingest::{self, Ingest, LongGop, Now};
use crate::listen::CloseReason;
use crate::media::segment::{RenditionId, Renditions};
use crate::media::{CutKind, Kind, Output, Track, Unit};
use crate::store::Store;
use crate::telemetry::{self, gate::LogGate};
use crate::transcode::Plan;
use crate::transcode::fit::Fitted;
use crate::wire::Inbound;

/// How often the figures of a session are taken while something happens in it.
pub(super) const STATS_EVERY: Duration = Duration::from_secs(1);

/// Makes the outlet of a session when its renditions become known.
pub(super) type MakeWires = Box<dyn FnOnce(Renditions, &OnFailure) -> Result<Wires, WireError> + Send>;

/// A session ended for a reason of ours.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// Threads or encoders could not be started.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// No ladder can be made of what came, or none that fits into this machine.
    #[error("cannot plan the ladder: {0}")]
    Denied(#[from] Denied),
    /// A stage failed.
    #[error("stage {stage} failed: {why}")]
    Stage {
        /// Which.
        stage: String,
        /// Why.
        why: String,
    },
    /// The publisher that came back after a restart sends something that the session's renditions cannot be made of.
    #[error("the renditions of this session ({had}) cannot be made of what came back ({now})")]
    OtherRenditions {
        /// Names of the session's renditions.
        had: String,
        /// Names of what the plan would make.
        now: String,
    },
    /// A fault of ours on the intake thread itself.
    #[error("the session's intake panicked: {0}")]
    Panicked(String),
}

impl IntakeError {
    /// What the publisher is told: whose fault it is, never what is broken inside.
    fn told(&self) -> CloseReason {
        match self {
            IntakeError::Denied(denied) => denied.told(),
            IntakeError::OtherRenditions { .. } => CloseReason::SessionEnded,
            IntakeError::Wire(_) | IntakeError::Stage { .. } | IntakeError::Panicked(_) => CloseReason::Failed,
        }
    }
}

/// What becomes of the session by something that happened.
type Taken = Result<Option<Stop>, IntakeError>;

/// The intake thread's own state.
pub(super) struct Intake {
    pub session: Arc<Session>,
    pub clock: SharedClock,
    pub store: Arc<Store>,
    pub span: LogSpan,
    pub ingest: Ingest,
    /// Present from the start in a resumed session.
    pub wires: Option<Wires>,
    /// Present until the wires are.
    pub make_wires: Option<MakeWires>,
    /// Fixed by a resumed session.
    pub renditions: Option<Renditions>,
    pub on_failure: OnFailure,
    pub tell: Arc<dyn Fn(SessionEvent) + Send + Sync>,
    /// Tracks announced before the feeds exist.
    pub tracks: BTreeMap<Kind, Arc<Track>>,
    pub connection: Option<u64>,
    /// Somebody who came while `connection` was there.
    pub newcomer: Option<Newcomer>,
    /// The highest number of a connection so far. Of two that come at once, the lower number may arrive last: it never has its turn.
    pub newest_connection: u64,
    /// The last publisher has ended the broadcast, and somebody was on the way in who may go on with it.
    pub goodbye: bool,
    /// Monotonic end of the grace time; set while nobody is connected.
    pub grace_ends: Option<Duration>,
    pub stats_due: Duration,
    /// Discontinuities of the session so far.
    pub discontinuities: u64,
    pub losses: Losses,
    /// Why each rung is what it is.
    pub reasons: Vec<(String, String)>,
    /// The rung that is copied for as long as the source allows it.
    pub copied: Option<CopiedRung>,
    pub capacity: EncodeCapacity,
    /// What the ladder takes of it; given back with this.
    pub shares: Vec<Share>,
    pub limit: SourceLimit,
    /// The publisher sent what the session cannot bear: what it is told.
    pub offence: Option<CloseReason>,
    /// An encoder that is sent away for its media mostly comes back with the same, for ever.
    pub unusable: LogGate,
    pub offences: LogGate,
}

impl Intake {
    /// The thread's body: returns when the session has ended or is suspended, with everything drained.
    pub fn run(mut self, inputs: &Receiver<SessionInput>) -> Result<(), IntakeError> {
        // Whatever fails or panics here ends the session in order, and this session only.
        let mut stop = Stop::End;
        let result = contained(|| {
            stop = self.until_stopped(inputs)?;
            Ok(())
        });
        if let Err(why) = &result {
            error!(%why, "the session ends because a part of it failed; the publisher may start a new one");
        }
        self.session.close_door(&match (&result, stop) {
            (Err(why), _) => why.told(),
            (Ok(()), Stop::Suspend) => CloseReason::ShuttingDown,
            (Ok(()), Stop::End) => CloseReason::SessionEnded,
        });
        if let Err(why) = contained(|| self.hand_on_the_last(stop)) {
            warn!(%why, "up to a second of sound and pictures at the session's end is lost");
        }
        if let Some(wires) = self.wires.take() {
            wires.join();
        }
        if stop == Stop::End {
            self.end_for_viewers_and_store();
        }
        let state = if stop == Stop::End { SessionState::Ended } else { SessionState::Reconnecting };
        self.session.stopped(state);
        info!(state = state.as_str(), "session stopped");
        self.announce(state);
        result
    }

    /// What ingest holds comes out, and at the end of the session its end.
    fn hand_on_the_last(&mut self, stop: Stop) -> Result<(), IntakeError> {
        let (now, mut units) = (self.now(), Vec::new());
        match stop {
            Stop::End => self.ingest.end(now, &mut units),
            Stop::Suspend => self.tell_ingest(ingest::Input::Disconnected, now, &mut units),
        }
        self.hand_on(&mut units)
    }

    /// A stage that failed has not said the end of its renditions. All threads have been joined, so it can be said here.
    fn end_for_viewers_and_store(&self) {
        if let Some(window) = self.session.window().borrow().as_ref() {
            for index in 0..window.renditions().len() {
                let rendition = RenditionId(u8::try_from(index).unwrap_or(u8::MAX));
                if window.rendition(rendition).is_some_and(|view| !view.ended()) {
                    window.apply(&Output::End(rendition));
                }
            }
        }
        let spec = self.session.spec();
        if let Err(failure) = self.store.end_session(&spec.stream, &spec.session) {
            error!(%failure, "the stored playlists do not say that the session ended; the next start writes it");
        }
    }

    fn until_stopped(&mut self, inputs: &Receiver<SessionInput>) -> Result<Stop, IntakeError> {
        if self.renditions.is_some() {
            // Resumed: the database may have it as it was when the daemon was killed.
            self.announce(SessionState::Reconnecting);
        }
        let mut units = Vec::new();
        loop {
            let input = match self.deadline() {
                Some(deadline) => inputs.recv_timeout(self.clock.pause_until(deadline)),
                None => inputs.recv().ok_or(RecvError::Closed),
            };
            let now = self.now();
            match input {
                Ok(input) => {
                    if let Some(stop) = self.take(input, now, &mut units)? {
                        self.hand_on(&mut units)?;
                        return Ok(stop);
                    }
                }
                Err(RecvError::Timeout) => {}
                Err(RecvError::Closed) => return Ok(Stop::Suspend),
            }
            self.ingest.poll(now, &mut units);
            self.hand_on(&mut units)?;
            if let Some(stop) = self.turn_out_an_offender(now, &mut units)? {
                return Ok(stop);
            }
            if self.grace_ends.is_some_and(|end| now.monotonic >= end) {
                info!(grace_secs = self.session.spec().grace.as_secs(), "nobody came back within the grace time");
                return Ok(Stop::End);
            }
            self.take_stats(now.monotonic);
        }
    }

    fn now(&self) -> Now {
        Now { monotonic: self.clock.monotonic(), wall: self.clock.wall() }
    }

    fn deadline(&self) -> Option<Duration> {
        match (self.ingest.deadline(), self.grace_ends) {
            (Some(timer), Some(grace)) => Some(timer.min(grace)),
            (timer, grace) => timer.or(grace),
        }
    }

    fn take(&mut self, input: SessionInput, now: Now, units: &mut Vec<Unit>) -> Taken {
        match input {
            SessionInput::Connected { connection } => self.connected(connection, now, units),
            SessionInput::Media { connection, unit } if self.connection == Some(connection) => {
                return self.media(connection, unit, now, units);
            }
            SessionInput::Media { connection, unit } => return self.newcomers_media(connection, unit, now, units),
            SessionInput::Disconnected { connection, clean } => {
                return self.disconnected(connection, clean, now, units);
            }
            SessionInput::Failed { stage, why } => return Err(IntakeError::Stage { stage, why }),
            SessionInput::Stop(stop) => return Ok(Some(stop)),
        }
        Ok(None)
    }

    fn media(&mut self, connection: u64, unit: Inbound, now: Now, units: &mut Vec<Unit>) -> Taken {
        let Err(rejected) = self.ingest.push(ingest::Input::Media(unit), now, units) else { return Ok(None) };
        self.reject(connection, &CloseReason::Rejected(rejected.to_string()), now);
        self.disconnected(connection, false, now, units)
    }

    fn reject(&mut self, connection: u64, reason: &CloseReason, now: Now) {
        if let Some(times) = self.unusable.pass(now.monotonic) {
            warn!(rejected = %reason, times, "the publisher's media cannot be used: it is disconnected, with this reason");
        }
        // By its number: a newer connection may have come in already, and has done nothing wrong.
        self.session.dismiss(connection, reason);
    }

    /// What was sent by the one who waits for its turn; what connections sent that were taken over or rejected meanwhile comes
    /// here too, and is left out.
    fn newcomers_media(&mut self, connection: u64, unit: Inbound, now: Now, units: &mut Vec<Unit>) -> Taken {
        let Some(mut newcomer) = self.newcomer.take_if(|newcomer| newcomer.connection == connection) else {
            return Ok(None);
        };
        match newcomer.push(unit, now.monotonic, self.decodes(), |track| self.check_room_for(track)) {
            Ok(false) => self.newcomer = Some(newcomer),
            Ok(true) if self.session.promote(connection) => {
                info!("another encoder takes over");
                telemetry::names::TAKEOVERS.counter(&[]).increment(1);
                self.tell_ingest(ingest::Input::Disconnected, now, units);
                self.its_turn(newcomer, now, units)?;
            }
            Ok(true) => {}
            Err(reason) => self.reject(connection, &reason, now),
        }
        Ok(None)
    }

    /// The newcomer is the session's publisher from here on. What the one before has left is handed on first, so that each
    /// answers for its own media only.
    fn its_turn(&mut self, newcomer: Newcomer, now: Now, units: &mut Vec<Unit>) -> Result<(), IntakeError> {
        self.hand_on(units)?;
        self.offence = None;
        self.limit.renew();
        self.ingest.take_over(newcomer.audition, now, units);
        self.begin(newcomer.connection);
        Ok(())
    }

    /// Disconnects the publisher if it sent what the session cannot bear. What was taken before stays.
    fn turn_out_an_offender(&mut self, now: Now, units: &mut Vec<Unit>) -> Taken {
        let Some((reason, connection)) = self.offence.take().zip(self.connection) else { return Ok(None) };
        if let Some(times) = self.offences.pass(now.monotonic) {
            warn!(rejected = %reason, times, "publisher rejected");
        }
        self.session.dismiss(connection, &reason);
        self.disconnected(connection, false, now, units)
    }

    fn connected(&mut self, connection: u64, now: Now, units: &mut Vec<Unit>) {
        if connection < self.newest_connection {
            return; // a newer one that came at the same moment has told it so
        }
        self.newest_connection = connection;
        if self.connection.is_some() {
            info!("another encoder connected; it takes over with its first keyframe");
            self.newcomer = Some(Newcomer::new(connection, self.session.spec().max_bitrate));
        } else {
            // Also when it has been told to go meanwhile, as at a stop: what it has sent until then is the session's.
            self.session.promote(connection);
            self.tell_ingest(ingest::Input::Connected, now, units);
            self.begin(connection);
        }
    }

    /// A connection without another one before it, which ingest knows.
    fn begin(&mut self, connection: u64) {
        self.connection = Some(connection);
        self.grace_ends = None;
        self.goodbye = false;
        self.change_to(if self.is_fed() { SessionState::Live } else { SessionState::Starting });
    }

    fn disconnected(&mut self, connection: u64, clean: bool, now: Now, units: &mut Vec<Unit>) -> Taken {
        self.session.forget(connection);
        self.newcomer.take_if(|newcomer| newcomer.connection == connection);
        if self.connection != Some(connection) {
            let nobody_comes = self.goodbye && self.connection.is_none() && !self.session.is_awaited();
            return Ok(nobody_comes.then_some(Stop::End));
        }
        self.connection = None;
        self.tell_ingest(ingest::Input::Disconnected, now, units);
        if let Some(newcomer) = self.newcomer.take()
            && self.session.promote(newcomer.connection)
        {
            info!(clean, "the publisher left; another encoder is there");
            self.its_turn(newcomer, now, units)?;
            return Ok(None);
        }
        if clean && self.session.spec().on_unpublish == OnUnpublish::End {
            // Who has come in meanwhile is in the queue in a moment, or has gone.
            self.goodbye = self.session.is_awaited();
            if !self.goodbye {
                info!("the publisher ended the broadcast");
                return Ok(Some(Stop::End));
            }
        }
        let grace = self.session.spec().grace;
        info!(clean, grace_secs = grace.as_secs(), "the publisher left; the session waits");
        self.grace_ends = Some(now.monotonic.saturating_add(grace));
        self.change_to(SessionState::Reconnecting);
        Ok(None)
    }

    /// Connects and disconnects cannot be refused by ingest; only media can.
    fn tell_ingest(&mut self, input: ingest::Input, now: Now, units: &mut Vec<Unit>) {
        if let Err(rejected) = self.ingest.push(input, now, units) {
            warn!(%rejected, "ingest refused a change of connection");
        }
    }

    fn hand_on(&mut self, units: &mut Vec<Unit>) -> Result<(), IntakeError> {
        for unit in units.drain(..) {
            if let Unit::Track(track) = &unit {
                self.tracks.insert(track.kind(), track.clone());
            }
            match &unit {
                Unit::Track(track) if self.lacks(track.kind()) => self.join(track.kind())?,
                // Before the feeds exist, tracks wait for the first cut of media, which says that they are complete. Media
                // can only come here when the feeds could not be started.
                Unit::Track(_) | Unit::Packet(_) if !self.is_fed() => continue,
                Unit::Cut(cut) if !self.is_fed() && !matches!(cut.kind, CutKind::Gap { .. }) => self.start_feeds()?,
                _ => {}
            }
            if let Unit::Cut(cut) = &unit {
                self.discontinuities += u64::from(cut.discontinuity);
            }
            let offence = self.limit.offence_of(&unit).map(CloseReason::Rejected);
            self.offence = self.offence.take().or(offence);
            self.watch_copy(&unit);
            if let Some(wires) = self.wires.as_mut().filter(|_| !self.limit.refuses(&unit)) {
                wires.publish(&unit);
            }
        }
        if self.connection.is_some() && self.session.state() == SessionState::Starting && self.is_fed() {
            self.change_to(SessionState::Live);
        }
        Ok(())
    }

    /// Ends the copy when the source breaks what the rung promises, and says why when the cut has come.
    fn watch_copy(&mut self, unit: &Unit) {
        let Some(copied) = &mut self.copied else { return };
        if copied.is_broken_by(unit) {
            self.ingest.end_copy();
        }
        if matches!(unit, Unit::Cut(cut) if cut.copy_ends) {
            let reason =
                format!("{} is encoded from here on: {}", copied.name, copied.end(self.ingest.copy_obstacle()));
            info!(reason, "ladder");
            if let Some((_, why)) = self.reasons.iter_mut().find(|(rung, _)| *rung == copied.name) {
                *why = reason;
            }
            let track = self.tracks.get(&Kind::Video).and_then(|track| track.as_video());
            if let (Some(share), Some(track)) = (self.shares.last_mut(), track) {
                share.grow(copied.cost(track));
            }
            self.copied = None;
        }
    }

    /// The tracks are complete: plans the ladder, starts its threads and tells them the tracks.
    fn start_feeds(&mut self) -> Result<(), IntakeError> {
        let spec = self.session.spec();
        let (video, audio) = (self.tracks.get(&Kind::Video), self.tracks.get(&Kind::Audio));
        let (video, audio) = (video.and_then(|t| t.as_video()), audio.and_then(|t| t.as_audio()));
        let wanted =
            Wanted { preset: &spec.preset, segment: spec.hls.segment, video, audio, had: self.renditions.as_ref() };
        let (Fitted { mut plan, load, degraded }, share) = admitted(&self.capacity, wanted)?;
        self.shares.push(share);
        if degraded && self.renditions.is_none() {
            telemetry::names::OVER_CAPACITY.counter(&[("outcome", "degraded")]).increment(1);
            warn!(%load, "the machine has no room for the whole ladder: the session begins with fewer rungs");
        }
        if let Some(had) = &self.renditions {
            let now = names(&plan.renditions);
            plan = plan.in_order_of(had).ok_or_else(|| IntakeError::OtherRenditions { had: names(had), now })?;
        }
        self.reasons = told(&plan);
        if let Some(make_wires) = self.make_wires.take() {
            self.wires = Some(make_wires(plan.renditions.clone(), &self.on_failure)?);
        }
        // Only when making them has failed before, and the session is ending for it.
        let Some(wires) = &mut self.wires else { return Ok(()) };
        let mut feeds = Feeds::start(spec, &self.span, &self.clock, &plan, &mut wires.outlet, &self.on_failure)?;
        for track in self.tracks.values() {
            feeds.publish(&Unit::Track(track.clone()), &mut wires.outlet);
        }
        wires.feeds = Some(feeds);
        self.watch_copy_of(&plan);
        self.limit.set_copies_sound(plan.copies_sound());
        Ok(())
    }

    fn watch_copy_of(&mut self, plan: &Plan) {
        self.limit.set_decoded(plan.rungs.iter().any(|rung| rung.encode.is_some()));
        self.copied = CopiedRung::of(plan, self.session.spec().hls.segment);
        self.ingest.set_copy_rule(self.copied.as_ref().and_then(|copied| copied.rule));
        // The `passthrough` preset has no encoder for its rung: it is cut by time for ever.
        self.ingest.set_long_gop(if self.copied.is_some() { LongGop::EndCopy } else { LongGop::CutByTime });
    }

    /// Whether the session runs without a track of this kind.
    fn lacks(&self, kind: Kind) -> bool {
        self.wires.as_ref().is_some_and(|wires| wires.feeds.is_some() && !wires.outlet.has(kind))
    }

    /// A track came late: its renditions join the session's. They begin with the next cut, which the caller hands on.
    fn join(&mut self, kind: Kind) -> Result<(), IntakeError> {
        let Some(track) = self.tracks.get(&kind).cloned() else { return Ok(()) };
        let (fitted, share) = match self.admit_late(&track) {
            Ok(admitted) => admitted,
            Err(denied) => {
                // Its publisher is at fault, or the machine is full: those who watch the rest keep it.
                self.tracks.remove(&kind);
                self.ingest.decline(kind);
                self.offence.get_or_insert(denied.told());
                return Ok(());
            }
        };
        let spec = self.session.spec();
        let Some(wires) = &mut self.wires else { return Ok(()) };
        self.shares.push(share);
        let plan = fitted.plan.behind(wires.outlet.count());
        self.reasons.extend(told(&plan));
        let joining = (&plan, self.discontinuities);
        wires.join_with(spec, &self.span, &self.clock, joining, &self.on_failure)?;
        match kind {
            Kind::Video => self.watch_copy_of(&plan),
            Kind::Audio => self.limit.set_copies_sound(plan.copies_sound()),
        }
        warn!(
            track = kind.as_str(),
            renditions = names(&plan.renditions),
            "a track came late: players that start from now on get it"
        );
        self.tell(SessionChange::TrackJoined(kind));
        Ok(())
    }

    fn admit_late(&self, track: &Track) -> Result<(Fitted, Share), Denied> {
        let spec = self.session.spec();
        let (video, audio) = (track.as_video(), track.as_audio());
        admitted(&self.capacity, Wanted { preset: &spec.preset, segment: spec.hls.segment, video, audio, had: None })
    }

    /// Whether the session can take a newcomer's track: one that it has not would have to join it.
    fn check_room_for(&self, track: &Track) -> Result<(), Denied> {
        if self.lacks(track.kind()) { self.admit_late(track).map(|_| ()) } else { Ok(()) }
    }

    /// Whether pictures are decoded, or would be if they came.
    fn decodes(&self) -> bool {
        let has_pictures = self.is_fed() && !self.lacks(Kind::Video);
        if has_pictures { self.limit.is_decoded() } else { self.session.spec().preset.is_encoded() }
    }

    fn is_fed(&self) -> bool {
        self.wires.as_ref().is_some_and(|wires| wires.feeds.is_some())
    }

    fn change_to(&mut self, state: SessionState) {
        if self.session.set_state(state) {
            self.announce(state);
        }
    }

    fn announce(&self, state: SessionState) {
        self.tell(SessionChange::State(state));
    }

    fn tell(&self, change: SessionChange) {
        let spec = self.session.spec();
        (self.tell)(SessionEvent { stream: spec.stream.clone(), session: spec.session.clone(), change });
    }

    fn take_stats(&mut self, now: Duration) {
        if now < self.stats_due {
            return;
        }
        let ingest = self.ingest.stats();
        let elapsed = now.saturating_sub(self.stats_due.saturating_sub(STATS_EVERY));
        let before = self.session.stats();
        let rates = Rates::between(&before.ingest, &ingest, elapsed);
        let ladder = self.wires.as_ref().and_then(Wires::ladder);
        self.stats_due = now.saturating_add(STATS_EVERY);
        let intake = EdgeStats::waiting("intake", &self.session.input().depth());
        let behind = self.wires.as_ref().map(Wires::edges).unwrap_or_default();
        let stats = SessionStats {
            ingest,
            rates,
            reasons: self.reasons.clone(),
            edges: [intake].into_iter().chain(behind).collect(),
            late_packets: self.wires.as_ref().map(Wires::late_packets).unwrap_or_default(),
            encode_speeds: stats::encode_speeds(&before, ladder.as_ref()),
            ladder,
        };
        self.losses.look(&stats, now);
        self.session.set_stats(stats);
    }
}

fn contained(body: impl FnOnce() -> Result<(), IntakeError>) -> Result<(), IntakeError> {
    match stage::contain("intake", body) {
        Outcome::Finished => Ok(()),
        Outcome::Failed(why) => Err(why),
        Outcome::Panicked(message) => Err(IntakeError::Panicked(message)),
    }
}

/// Asks for a ladder, and counts a refusal.
fn admitted(capacity: &EncodeCapacity, wanted: Wanted<'_>) -> Result<(Fitted, Share), Denied> {
    capacity.admit(wanted).inspect_err(|denied| {
        if matches!(denied, Denied::Full { .. }) {
            telemetry::names::OVER_CAPACITY.counter(&[("outcome", "refused")]).increment(1);
        }
    })
}

/// Logs a ladder; returns each rung's name and what was decided about it.
fn told(plan: &Plan) -> Vec<(String, String)> {
    let reasons: Vec<_> = plan.reasons.iter().map(|reason| (reason.rung.clone(), reason.to_string())).collect();
    for (_, reason) in &reasons {
        info!(reason, "ladder");
    }
    info!(renditions = names(&plan.renditions), "ladder planned");
    reasons
}

fn names(renditions: &Renditions) -> String {
    renditions.iter().map(|rendition| rendition.name.as_str()).collect::<Vec<_>>().join(" ")
}
