//! Figures of a running ladder: counted by its threads without locks, read as one snapshot.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::media::segment::RenditionId;

/// What a ladder has done since it was started. Counts only rise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LadderStats {
    /// Frames that the video decoder gave out.
    pub decoded_frames: u64,
    /// Video packets that the decoder refused.
    pub decode_errors: u64,
    /// Groups of pictures of which the decoder refused every packet.
    pub undecodable_gops: u64,
    /// Frames that were dropped for all rungs at once, because the encoders are slower than the source.
    pub shed_frames: u64,
    /// Frames are being dropped now, or were a few seconds ago.
    pub overloaded: bool,
    /// Source that waited undecoded when the last frame was decoded: how far the encoded rungs are behind.
    pub backlog: Duration,
    /// Time spent decoding video.
    pub decode_busy: Duration,
    /// The encoded rungs, from the largest down.
    pub rungs: Vec<RungStats>,
    /// The audio encoder, if there is one.
    pub audio: Option<AudioStats>,
}

impl LadderStats {
    /// Two ladders of one session, one of which makes the pictures: those of the first tracks and of one that came late.
    pub fn and(self, other: LadderStats) -> LadderStats {
        let (pictures, other) = if self.rungs.is_empty() { (other, self) } else { (self, other) };
        LadderStats { audio: pictures.audio.or(other.audio), ..pictures }
    }
}

/// What one encoded rung has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RungStats {
    /// The rendition.
    pub rendition: RenditionId,
    /// Its name.
    pub name: String,
    /// Frames encoded.
    pub encoded_frames: u64,
    /// Media time from each encoded frame to the next, without the pauses of the source.
    pub media: Duration,
    /// Frames left out by the rung's frame-rate cap.
    pub capped_frames: u64,
    /// Bytes of coded video given out.
    pub bytes: u64,
    /// Frames that wait for this rung now.
    pub queued_frames: usize,
    /// Time spent scaling.
    pub scale_busy: Duration,
    /// Time spent in the encoder. `media` over both is the encode speed.
    pub encode_busy: Duration,
}

/// What the audio thread has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AudioStats {
    /// Samples (per channel) encoded.
    pub encoded_samples: u64,
    /// Samples of silence among them that stand where the source had a gap.
    pub silence_samples: u64,
    /// Samples of the source that were left out because they overlapped.
    pub trimmed_samples: u64,
    /// How often a drift of the source's clock was resampled away.
    pub drifts: u64,
    /// Packets that the decoder refused.
    pub decode_errors: u64,
    /// Bytes of coded audio given out.
    pub bytes: u64,
    /// Time spent decoding, resampling and encoding.
    pub busy: Duration,
}

/// A counter that one thread raises and any may read.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn add_time(&self, time: Duration) {
        self.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn set_time(&self, time: Duration) {
        self.0.store(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn time(&self) -> Duration {
        Duration::from_nanos(self.get())
    }
}

/// Counters of the decode thread.
#[derive(Debug, Default)]
pub(super) struct DecodeCounters {
    pub(super) frames: Counter,
    pub(super) errors: Counter,
    pub(super) undecodable_gops: Counter,
    pub(super) shed: Counter,
    pub(super) overloaded: AtomicBool,
    /// The newest value, not a sum.
    pub(super) backlog: Counter,
    pub(super) busy: Counter,
}

/// Counters of a rung's thread.
#[derive(Debug, Default)]
pub(super) struct RungCounters {
    pub(super) frames: Counter,
    pub(super) media: Counter,
    pub(super) capped: Counter,
    pub(super) bytes: Counter,
    pub(super) queued: AtomicUsize,
    pub(super) scale_busy: Counter,
    pub(super) encode_busy: Counter,
}

/// Counters of the audio thread.
#[derive(Debug, Default)]
pub(super) struct AudioCounters {
    pub(super) samples: Counter,
    pub(super) silence: Counter,
    pub(super) trimmed: Counter,
    pub(super) drifts: Counter,
    pub(super) errors: Counter,
    pub(super) bytes: Counter,
    pub(super) busy: Counter,
}

impl DecodeCounters {
    pub(super) fn snapshot(&self) -> LadderStats {
        LadderStats {
            decoded_frames: self.frames.get(),
            decode_errors: self.errors.get(),
            undecodable_gops: self.undecodable_gops.get(),
            shed_frames: self.shed.get(),
            overloaded: self.overloaded.load(Ordering::Relaxed),
            backlog: self.backlog.time(),
            decode_busy: self.busy.time(),
            ..LadderStats::default()
        }
    }
}

impl RungCounters {
    pub(super) fn snapshot(&self, rendition: RenditionId, name: &str) -> RungStats {
        RungStats {
            rendition,
            name: name.to_owned(),
            encoded_frames: self.frames.get(),
            media: self.media.time(),
            capped_frames: self.capped.get(),
            bytes: self.bytes.get(),
            queued_frames: self.queued.load(Ordering::Relaxed),
            scale_busy: self.scale_busy.time(),
            encode_busy: self.encode_busy.time(),
        }
    }
}

impl AudioCounters {
    pub(super) fn snapshot(&self) -> AudioStats {
        AudioStats {
            encoded_samples: self.samples.get(),
            silence_samples: self.silence.get(),
            trimmed_samples: self.trimmed.get(),
            drifts: self.drifts.get(),
            decode_errors: self.errors.get(),
            bytes: self.bytes.get(),
            busy: self.busy.time(),
        }
    }
}
