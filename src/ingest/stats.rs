//! Figures of an ingest, for metrics and the session's state.

use crate::media::Span;

/// What has happened since the ingest was made, over all connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IngestStats {
    /// Video messages taken in.
    pub video_messages: u64,
    /// Audio messages taken in.
    pub audio_messages: u64,
    /// Payload bytes of all messages taken in.
    pub bytes: u64,
    /// Packets given out.
    pub packets: u64,
    /// Cuts given out, gaps included.
    pub cuts: u64,
    /// Cuts with a discontinuity.
    pub discontinuities: u64,
    /// Gap segments.
    pub gaps: u64,
    /// Stamps that were repaired: small steps back, DTS out of order, impossible composition times.
    pub repairs: u64,
    /// From the last keyframe but one to the last keyframe.
    pub keyframe_interval: Option<Span>,
    /// The longest keyframe interval since the last discontinuity.
    pub longest_keyframe_interval: Span,
    /// How far the source's clock is ahead of the samples that it sent, smoothed.
    pub drift: Span,
    /// How often the count of samples was moved towards the source's clock.
    pub drift_corrections: u64,
    /// By how much in all: the drift that was corrected.
    pub drift_corrected: Span,
    /// The clock that stamps the pictures.
    pub video_clock: SourceClock,
    /// The clock that stamps the sound: the same, or the publisher's sound and pictures leave each other.
    pub audio_clock: SourceClock,
    /// PROGRAM-DATE-TIME of the last cut less the wall clock when its media came in.
    pub date_ahead: Span,
    /// Frames of silence that stand for lost ones.
    pub silent_frames: u64,
    /// What was left out.
    pub dropped: Dropped,
}

/// A clock of the publisher beside this machine's, by the packets that came soonest of each minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceClock {
    /// How far it has run ahead since the connection, or the last jump of its stamps.
    pub ahead: Span,
    /// How fast it ran over the last ten minutes, in millionths: 100 is 8.64 s a day too fast. `None` in the first five minutes.
    pub ppm: Option<i64>,
}

/// Messages and packets that were left out, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Could not be parsed.
    pub damaged: u64,
    /// Came before their configuration.
    pub unconfigured: u64,
    /// Held no picture and no sound.
    pub empty: u64,
    /// Pictures before a keyframe, where one was needed.
    pub before_keyframe: u64,
    /// Sound before the first picture of a run, or in the hole before a discontinuity.
    pub trimmed_audio: u64,
    /// Came from a run of the clock that was over.
    pub stale: u64,
    /// Of a track that came late, before the cut that it joined with.
    pub late_track: u64,
}
