//! The audio thread: sound of any codec in, one AAC rendition out, counted in samples.
//!
//! Packets carry exact sample counts from the first decoded PTS, less the encoder's priming, so that what a player hears
//! lies where the source had it. Ordinary cuts are handed on at once: every packet that belongs behind one is still to
//! come, and package sorts audio by PTS. A discontinuity or gap empties the encoder first; the next run then starts so
//! that even its priming packet is not before the cut, nor before the end of the run before. The first run of all loses none of
//! the source's sound for that: its priming packet, which holds none, is left out if it is before the cut. `copy_ends` is a
//! change of ours, not of the source: sound goes on through it without a seam.
//!
//! A packet whose duration is not that of its samples says that the source's clock and its samples have drifted apart by the
//! difference. It is not filled or cut out but resampled away over some seconds, which nobody hears.

mod timeline;

use std::sync::Arc;

use bytes::Bytes;

use super::TranscodeError;
use super::libav::LibavError;
use super::libav::audio_encoder::AudioEncoder;
use super::libav::decoder::AudioDecoder;
use super::libav::frame::Samples;
use super::libav::resampler::{Planes, Resampler};
use super::plan::PlannedAudio;
use super::stats::AudioCounters;
use crate::clock::SharedClock;
use crate::config::preset::AudioPreset;
use crate::flow::channel::{Receiver, Sender};
use crate::media::segment::{RenditionId, RenditionUnit};
use crate::media::{AudioCodec, AudioTrack, Cut, CutKind, Kind, Packet, Span, Timestamp, Track, Unit};
use crate::telemetry::gate::LogGate;
use timeline::{Placement, Run};

/// Name of the rendition in errors and logs.
const RENDITION: &str = "audio";

/// Over how many seconds a drift is resampled away: 20 ms are then 0.4 % of pitch, a fifteenth of a semitone.
const DRIFT_SECONDS: u32 = 5;
/// The largest difference that is a drift. Ingest calls more a loss of packets.
const MAX_DRIFT: Span = Span::from_millis(100);

/// Everything that the audio thread owns.
#[derive(Debug)]
pub(super) struct Audio {
    input: Receiver<Unit>,
    output: Sender<RenditionUnit>,
    clock: SharedClock,
    counters: Arc<AudioCounters>,
    id: RenditionId,
    preset: AudioPreset,
    decoder: Option<(AudioTrack, AudioDecoder)>,
    resampler: Resampler,
    encoder: Option<AudioEncoder>,
    run: Option<Run>,
    /// Samples of the run that wait for a whole frame.
    waiting: Planes,
    /// Samples of the run that went into the encoder.
    encoded: i64,
    /// No packet may begin before this: the last break, and the end of what came before it.
    floor: Option<Timestamp>,
    /// The cut behind which the first packet of all comes.
    opening: Option<Timestamp>,
    /// Where the segment began that sound may still be missing in; `None` in a gap.
    last_cut: Option<Timestamp>,
    /// End of the last packet that was emitted.
    last_end: Option<Timestamp>,
    log: LogGate,
}

impl Audio {
    pub(super) fn new(
        input: Receiver<Unit>,
        output: Sender<RenditionUnit>,
        clock: SharedClock,
        counters: Arc<AudioCounters>,
        planned: &PlannedAudio,
    ) -> Self {
        let preset = planned.preset;
        Audio {
            input,
            output,
            clock,
            counters,
            id: planned.id,
            preset,
            decoder: None,
            resampler: Resampler::new(preset.sample_rate, preset.channels),
            encoder: None,
            run: None,
            waiting: vec![Vec::new(); usize::from(preset.channels)],
            encoded: 0,
            floor: None,
            opening: None,
            last_cut: None,
            last_end: None,
            log: LogGate::default(),
        }
    }

    /// The thread's body. When the input closes without [`Unit::End`], all sound still comes out, but no end.
    pub(super) fn run(mut self) -> Result<(), TranscodeError> {
        self.open_encoder()?;
        while let Some(unit) = self.input.recv() {
            match unit {
                Unit::Track(track) => match track.as_ref() {
                    Track::Audio(audio) => self.configure(audio)?,
                    Track::Video(_) => {}
                },
                Unit::Packet(packet) if packet.kind == Kind::Audio => self.packet(&packet)?,
                Unit::Packet(_) => {}
                Unit::Cut(cut) => self.cut(cut)?,
                Unit::End => {
                    self.drain()?;
                    return self.emit(Unit::End);
                }
            }
        }
        self.drain()
    }

    /// Opens an encoder, if there is none, and says what it gives.
    fn open_encoder(&mut self) -> Result<&mut AudioEncoder, TranscodeError> {
        if self.encoder.is_none() {
            let opened = AudioEncoder::open(&self.preset)
                .map_err(|source| TranscodeError::OpenEncoder { rendition: RENDITION.to_owned(), source })?;
            let track = AudioTrack {
                codec: AudioCodec::Aac,
                config: Bytes::copy_from_slice(opened.config()),
                codecs: "mp4a.40.2".to_owned(), // AAC-LC (RFC 6381 3.4, ISO/IEC 14496-3 table 1.17)
                sample_rate: self.preset.sample_rate,
                channels: self.preset.channels,
                samples_per_frame: u32::try_from(opened.frame_samples()).unwrap_or(u32::MAX),
            };
            self.encoder = Some(opened);
            self.emit(Unit::Track(Arc::new(Track::Audio(track))))?;
        }
        Ok(self.encoder.as_mut().expect("opened in the lines above"))
    }

    fn configure(&mut self, track: &AudioTrack) -> Result<(), TranscodeError> {
        if self.decoder.as_ref().is_some_and(|(known, _)| known == track) {
            return Ok(());
        }
        // The output stays what it is, so the run goes on: no decoder of sound has frames inside to lose.
        let decoder = AudioDecoder::open(track)
            .map_err(|source| TranscodeError::OpenDecoder { codecs: track.codecs.clone(), source })?;
        self.decoder = Some((track.clone(), decoder));
        Ok(())
    }

    fn cut(&mut self, cut: Cut) -> Result<(), TranscodeError> {
        let gap = matches!(cut.kind, CutKind::Gap { .. });
        let breaks = gap || (cut.discontinuity && !cut.copy_ends);
        let begins = breaks || self.last_cut.is_none();
        if breaks {
            self.drain()?;
            self.floor = self.last_end.map(|end| end.max(cut.at));
            self.last_cut = (!gap).then_some(cut.at);
        } else if let Some(previous) = self.last_cut.replace(cut.at) {
            // Sound of this segment may still be under way; what is missing before the segment's begin is lost.
            self.fill_lost(previous)?;
        }
        if begins && self.last_end.is_none() {
            self.opening = Some(cut.at);
        }
        self.emit(Unit::Cut(cut))
    }

    fn fill_lost(&mut self, until: Timestamp) -> Result<(), TranscodeError> {
        match &self.run {
            None => self.begin_run(until)?,
            Some(run) if run.lags(until) => {
                self.fill(until)?;
                self.encode(until)?;
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn packet(&mut self, packet: &Packet) -> Result<(), TranscodeError> {
        let Some((_, decoder)) = &mut self.decoder else { return Ok(()) };
        let start = self.clock.monotonic();
        let sent = decoder.send(packet);
        self.counters.busy.add_time(self.clock.monotonic().saturating_sub(start));
        if let Err(error) = sent {
            self.refused(packet.pts, error)?;
        }
        loop {
            let Some((_, decoder)) = &mut self.decoder else { return Ok(()) };
            match decoder.receive() {
                Ok(Some(samples)) => self.samples(&samples, packet)?,
                Ok(None) => return Ok(()),
                Err(error) => return self.refused(packet.pts, error),
            }
        }
    }

    fn refused(&mut self, pts: Timestamp, source: LibavError) -> Result<(), TranscodeError> {
        if source.is_out_of_memory() {
            return Err(TranscodeError::Decode { pts, source });
        }
        self.counters.errors.add(1);
        if let Some(packets) = self.log.pass(self.clock.monotonic()) {
            tracing::warn!(%pts, packets, error = %source, "audio packets cannot be decoded: silence stands for them");
        }
        Ok(())
    }

    fn samples(&mut self, samples: &Samples, packet: &Packet) -> Result<(), TranscodeError> {
        let pts = samples.pts().unwrap_or(packet.pts);
        let (len, rate) = (samples.len(), samples.rate());
        if self.run.is_none() {
            self.begin_run(pts)?;
        }
        if !self.resampler.continues_with(samples) {
            self.interrupt(pts)?;
        }
        let skip = match self.place(pts, len, rate) {
            Placement::Follows { skip } => skip,
            Placement::Gap => {
                self.fill(pts)?;
                self.place_again(pts, len, rate)
            }
            Placement::Apart => {
                self.drain()?;
                self.floor = self.last_end;
                self.begin_run(pts)?;
                self.place_again(pts, len, rate)
            }
        };
        self.counters.trimmed.add(skip as u64);
        let start = self.clock.monotonic();
        let given = self.resampler.convert(samples, skip, &mut self.waiting);
        self.counters.busy.add_time(self.clock.monotonic().saturating_sub(start));
        let given = given.map_err(|source| TranscodeError::Resample { pts, source })?;
        self.count(given);
        self.follow_clock(samples, packet.duration, pts)?;
        self.encode(pts)
    }

    /// Resamples away what the source's clock has drifted, as the duration of the packet of `samples` tells.
    fn follow_clock(&mut self, samples: &Samples, told: Span, pts: Timestamp) -> Result<(), TranscodeError> {
        let drift = told - Span::from_units(i64::try_from(samples.len()).unwrap_or(0), samples.rate());
        let rounding = Span::from_units(1, samples.rate());
        let Some(run) = self.run.as_mut().filter(|_| drift.abs() > rounding && drift.abs() <= MAX_DRIFT) else {
            return Ok(());
        };
        run.shift(drift);
        let owed = run.owed(self.resampler.held());
        let over = self.preset.sample_rate.saturating_mul(DRIFT_SECONDS);
        let stretched = self.resampler.stretch(samples, owed, over);
        stretched.map_err(|source| TranscodeError::Resample { pts, source })?;
        self.counters.drifts.add(1);
        Ok(())
    }

    fn place(&mut self, pts: Timestamp, len: usize, rate: u32) -> Placement {
        self.run.as_mut().map_or(Placement::Apart, |run| run.place(pts, len, rate))
    }

    /// After the hole was filled or a run was begun the block follows; if its PTS still says otherwise, it is left out.
    fn place_again(&mut self, pts: Timestamp, len: usize, rate: u32) -> usize {
        match self.place(pts, len, rate) {
            Placement::Follows { skip } => skip,
            Placement::Gap | Placement::Apart => len,
        }
    }

    fn count(&mut self, samples: usize) {
        if let Some(run) = &mut self.run {
            run.count(samples);
        }
    }

    /// Starts to count at `from`, or so much later that the priming packet begins at the floor.
    fn begin_run(&mut self, from: Timestamp) -> Result<(), TranscodeError> {
        let rate = self.preset.sample_rate;
        let priming = Span::from_units(i64::from(self.open_encoder()?.priming_samples()), rate);
        let anchor = self.floor.map_or(from, |floor| from.max(floor + priming));
        self.run = Some(Run::new(anchor, rate));
        self.encoded = 0;
        Ok(())
    }

    /// Empties the resampler: what follows does not continue what came before.
    fn interrupt(&mut self, pts: Timestamp) -> Result<(), TranscodeError> {
        let left = self.resampler.drain(&mut self.waiting);
        let left = left.map_err(|source| TranscodeError::Resample { pts, source })?;
        self.count(left);
        if let Some(run) = &mut self.run {
            run.interrupt();
        }
        Ok(())
    }

    /// Silence from where the run is until `until`.
    fn fill(&mut self, until: Timestamp) -> Result<(), TranscodeError> {
        self.interrupt(until)?;
        let missing = self.run.as_mut().map_or(0, |run| run.fill_until(until));
        self.counters.silence.add(missing as u64);
        for plane in &mut self.waiting {
            plane.resize(plane.len() + missing, 0.0);
        }
        Ok(())
    }

    /// Encodes all whole frames that wait.
    fn encode(&mut self, pts: Timestamp) -> Result<(), TranscodeError> {
        let frame = self.open_encoder()?.frame_samples();
        let whole = self.waiting.first().map_or(0, Vec::len) / frame;
        for index in 0..whole {
            self.encode_frame(index * frame, frame, pts)?;
        }
        self.waiting.iter_mut().for_each(|plane| drop(plane.drain(..whole * frame)));
        Ok(())
    }

    fn encode_frame(&mut self, from: usize, len: usize, pts: Timestamp) -> Result<(), TranscodeError> {
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        let planes: Vec<&[f32]> = self.waiting.iter().map(|plane| &plane[from..from + len]).collect();
        let start = self.clock.monotonic();
        let sent = encoder.send(&planes, self.encoded);
        self.counters.busy.add_time(self.clock.monotonic().saturating_sub(start));
        sent.map_err(|source| encode_error(pts, source))?;
        self.encoded += i64::try_from(len).unwrap_or(0);
        self.counters.samples.add(len as u64);
        self.deliver(pts)
    }

    /// Hands on every packet that the encoder has ready.
    fn deliver(&mut self, pts: Timestamp) -> Result<(), TranscodeError> {
        while let (Some(encoder), Some(run)) = (&mut self.encoder, &self.run) {
            let duration =
                Span::from_units(i64::try_from(encoder.frame_samples()).unwrap_or(0), self.preset.sample_rate);
            let Some(coded) = encoder.receive().map_err(|source| encode_error(pts, source))? else { return Ok(()) };
            let pts = run.time_of(coded.pts);
            let is_priming = coded.pts < 0;
            if is_priming && self.opening.is_some_and(|opening| pts < opening) {
                continue;
            }
            let data = Bytes::copy_from_slice(coded.data);
            self.counters.bytes.add(data.len() as u64);
            self.last_end = Some(pts + duration);
            self.emit(Unit::Packet(Packet { kind: Kind::Audio, dts: pts, pts, duration, keyframe: true, data }))?;
        }
        Ok(())
    }

    /// Lets all sound out and closes the encoder, so that the next run starts with priming of its own.
    fn drain(&mut self) -> Result<(), TranscodeError> {
        let pts = self.last_end.unwrap_or_default();
        self.interrupt(pts)?;
        if self.run.is_some() {
            self.encode(pts)?;
            let left = self.waiting.first().map_or(0, Vec::len);
            if left > 0 {
                self.encode_frame(0, left, pts)?;
            }
        }
        self.waiting.iter_mut().for_each(Vec::clear);
        if self.encoded > 0 {
            if let Some(encoder) = &mut self.encoder {
                encoder.finish().map_err(|source| encode_error(pts, source))?;
            }
            self.deliver(pts)?;
            self.encoder = None;
        }
        self.run = None;
        self.encoded = 0;
        Ok(())
    }

    fn emit(&self, unit: Unit) -> Result<(), TranscodeError> {
        let sent = self.output.send(RenditionUnit { rendition: self.id, unit });
        sent.map_err(|_| TranscodeError::OutputClosed { rendition: RENDITION.to_owned() })
    }
}

fn encode_error(pts: Timestamp, source: LibavError) -> TranscodeError {
    TranscodeError::Encode { rendition: RENDITION.to_owned(), pts, source }
}
