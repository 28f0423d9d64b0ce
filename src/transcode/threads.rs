//! Every thread and queue of a ladder.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | hub -> decode | [`video_input`] | the hub's policy; frames are dropped evenly behind the decoder before it fills |
//! | hub -> audio | [`AUDIO_INPUT`] | blocks; audio is never dropped |
//! | decode -> rung | [`RUNG_QUEUE`] | blocks the decoder |
//! | rung, audio -> package | the caller's | blocks the encoder |
//!
//! All threads end when their inputs do: `End` drains everything and is handed on per rendition; a closed input drains
//! everything and is silent. A thread that fails closes its queues, which ends the decode thread and then the other
//! rungs; the audio thread goes on until its own input ends.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Span;

use super::TranscodeError;
use super::audio::Audio;
use super::decode::{Decode, RungEdge};
use super::libav::{self, audio_encoder::AUDIO_ENCODER, video_encoder::VIDEO_ENCODER};
use super::pace::Patience;
use super::plan::{Plan, PlannedRung};
use super::rung::{Rung, RungItem};
use super::stats::{AudioCounters, DecodeCounters, LadderStats, RungCounters};
use crate::clock::SharedClock;
use crate::config::preset::AudioMode;
use crate::flow::channel::{Bound, Receiver, Sender, bounded};
use crate::flow::stage::{self, Outcome, Stage};
use crate::media::Unit;
use crate::media::segment::{RenditionId, RenditionUnit};

/// What the edge from the hub to the decoder may hold in bytes: 5 s of 50 Mbit/s.
pub const VIDEO_INPUT_BYTES: usize = 32 << 20;

/// What the edge from the hub to the audio encoder should hold: 20 s of AAC or of usual Opus at any bitrate that they have, 2.5 s of the
/// shortest packets that Opus has, 20 s of FLAC.
pub const AUDIO_INPUT: Bound = Bound { items: 1_024, bytes: 4 << 20 };

/// Pictures between decoder and one rung: enough to ride out a slow frame. The pixels are shared by all rungs.
pub const RUNG_QUEUE: Bound = Bound { items: 6, bytes: 64 << 20 };

/// The bound of the edge from the hub to the decoder, for a source that states so many frames per second: what waits longer than six
/// times the patience is dropped undecoded, which bounds how far the encoded rungs can be behind.
pub fn video_input(frame_rate: Option<(u32, u32)>, patience: Patience) -> Bound {
    let (num, den) = frame_rate.filter(|(_, den)| *den > 0).unwrap_or((60, 1));
    let per_second = usize::try_from(num.div_ceil(den)).unwrap_or(usize::MAX);
    // Rates that no camera has are no reason for a queue of nothing, or of everything.
    let per_second = i64::try_from(per_second.clamp(10, 120)).unwrap_or(120);
    let items = patience.queue().saturating_mul(per_second).to_units(1);
    Bound { items: usize::try_from(items).unwrap_or(0).max(60), bytes: VIDEO_INPUT_BYTES }
}

/// Where a ladder takes its packets from. Each receiver sees every `Track`, `Cut` and `End`, and the packets of its kind.
#[derive(Debug)]
pub struct TranscodeInputs {
    /// Video units; dropped at once if no rung can be encoded.
    pub video: Option<Receiver<Unit>>,
    /// Audio units; dropped at once if audio is copied.
    pub audio: Option<Receiver<Unit>>,
    /// How late pictures may be.
    pub patience: Patience,
}

/// A running ladder. Dropping it does not stop its threads: end its inputs, then [`Transcoder::join`].
#[derive(Debug)]
pub struct Transcoder {
    stages: Vec<Stage<TranscodeError>>,
    decode: Arc<DecodeCounters>,
    rungs: Vec<(RenditionId, String, Arc<RungCounters>)>,
    audio: Option<Arc<AudioCounters>>,
}

/// Tells the caller once: of the first failure at once, else of the last thread's end.
struct Watch<F> {
    running: AtomicUsize,
    ended: Mutex<Option<F>>,
}

impl<F: FnOnce(&Outcome<TranscodeError>)> Watch<F> {
    fn report(&self, outcome: &Outcome<TranscodeError>) {
        let last = self.running.fetch_sub(1, Ordering::AcqRel) == 1;
        if last || !is_finished(outcome) {
            self.tell(outcome);
        }
    }

    fn tell(&self, outcome: &Outcome<TranscodeError>) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ended) = ended {
            ended(outcome);
        }
    }
}

impl Transcoder {
    /// Starts the threads of `plan`'s encoded renditions; those that are only copied are not this module's. The copied
    /// `auto` rung gets its thread now and its encoder with the cut that says `copy_ends`.
    ///
    /// `name` ends the threads' names (`dec-`, `enc-720p-`, `enc-audio-`); they run inside `span`. `ended` is called
    /// once, on a thread of the ladder: with the first failure as soon as there is one, else when all have finished.
    /// With nothing to encode no thread is started and `ended` is called here.
    ///
    /// # Errors
    /// libavcodec lacks an encoder that is needed, or a thread cannot be started; `ended` is then not to be relied on.
    pub fn start<F>(
        name: &str,
        span: Span,
        clock: SharedClock,
        plan: &Plan,
        inputs: TranscodeInputs,
        output: Sender<RenditionUnit>,
        ended: F,
    ) -> Result<Self, TranscodeError>
    where
        F: FnOnce(&Outcome<TranscodeError>) + Send + 'static,
    {
        libav::init();
        let video = inputs.video.filter(|_| plan.rungs.iter().any(|rung| rung.encode.is_some()));
        let audio_plan = plan.audio.as_ref().filter(|audio| audio.preset.mode == AudioMode::Encode);
        let audio = inputs.audio.zip(audio_plan);
        let encoded: Vec<&PlannedRung> =
            if video.is_some() { plan.rungs.iter().filter(|rung| rung.encode.is_some()).collect() } else { Vec::new() };
        check_encoders(video.is_some(), audio.is_some())?;

        let threads = encoded.len() + usize::from(video.is_some()) + usize::from(audio.is_some());
        let watch = Arc::new(Watch { running: AtomicUsize::new(threads), ended: Mutex::new(Some(ended)) });
        let mut ladder =
            Transcoder { stages: Vec::with_capacity(threads), decode: Arc::default(), rungs: Vec::new(), audio: None };
        let mut edges = Vec::new();
        for rung in encoded {
            let (sender, receiver) = bounded::<RungItem>(RUNG_QUEUE);
            let counters = Arc::<RungCounters>::default();
            let preset = rung.encode.clone().expect("only rungs with an encoder were chosen above");
            let (out, clock) = (output.clone(), clock.clone());
            let body = Rung::new(receiver, out, clock, counters.clone(), rung.id, rung.name.clone(), preset);
            ladder.spawn(format!("enc-{}-{name}", rung.name), &span, &watch, move || body.run())?;
            ladder.rungs.push((rung.id, rung.name.clone(), counters.clone()));
            edges.push(RungEdge { sender, counters, active: !rung.copied });
        }
        if let Some((input, planned)) = audio {
            let counters = Arc::<AudioCounters>::default();
            let body = Audio::new(input, output.clone(), clock.clone(), counters.clone(), planned);
            ladder.spawn(format!("enc-audio-{name}"), &span, &watch, move || body.run())?;
            ladder.audio = Some(counters);
        }
        if let Some(input) = video {
            let (counters, threads) = (ladder.decode.clone(), plan.decode_threads);
            let body = Decode::new(input, edges, clock, counters, threads, inputs.patience);
            ladder.spawn(format!("dec-{name}"), &span, &watch, move || body.run())?;
        }
        if threads == 0 {
            watch.tell(&Outcome::Finished);
        }
        Ok(ladder)
    }

    fn spawn<F, B>(&mut self, name: String, span: &Span, watch: &Arc<Watch<F>>, body: B) -> Result<(), TranscodeError>
    where
        F: FnOnce(&Outcome<TranscodeError>) + Send + 'static,
        B: FnOnce() -> Result<(), TranscodeError> + Send + 'static,
    {
        let watch = watch.clone();
        let started = stage::spawn(name.clone(), span.clone(), body, move |outcome| watch.report(outcome));
        self.stages.push(started.map_err(|source| TranscodeError::Thread { thread: name, source })?);
        Ok(())
    }

    /// What the ladder has done so far.
    pub fn stats(&self) -> LadderStats {
        let mut stats = self.decode.snapshot();
        stats.rungs = self.rungs.iter().map(|(id, name, counters)| counters.snapshot(*id, name)).collect();
        stats.audio = self.audio.as_ref().map(|counters| counters.snapshot());
        stats
    }

    /// Whether all threads have ended, so that [`Transcoder::join`] returns at once.
    pub fn is_finished(&self) -> bool {
        self.stages.iter().all(Stage::is_finished)
    }

    /// Waits for all threads, whose inputs must have ended. Gives the first failure in the order rungs, audio, decoder.
    /// Blocks: not for tasks.
    pub fn join(self) -> Outcome<TranscodeError> {
        let outcomes = self.stages.into_iter().map(Stage::join);
        outcomes.fold(Outcome::Finished, |first, next| if is_finished(&first) { next } else { first })
    }
}

fn is_finished(outcome: &Outcome<TranscodeError>) -> bool {
    matches!(outcome, Outcome::Finished)
}

fn check_encoders(video: bool, audio: bool) -> Result<(), TranscodeError> {
    let missing = |wanted: bool, name| wanted && !libav::has_encoder(name);
    if missing(video, VIDEO_ENCODER) {
        return Err(TranscodeError::MissingEncoder("libx264"));
    }
    if missing(audio, AUDIO_ENCODER) {
        return Err(TranscodeError::MissingEncoder("aac"));
    }
    Ok(())
}
