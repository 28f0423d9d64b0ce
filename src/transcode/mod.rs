//! Stage 2: compressed source packets in, compressed rung packets out.
//!
//! ```text
//!  video units ─▶ dec ─┬─▶ enc-1080p (scale, x264) ─┐
//!                      ├─▶ enc-720p                 ├─▶ rendition units
//!                      └─▶ enc-480p                 │
//!  audio units ─▶ enc-audio (AAC) ──────────────────┘
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`mod@plan`] | which rungs there are, which is copied, and why; pure |
//! | `conversions` | what encoding does to the source's pictures, in words |
//! | [`mod@cost`] | what a ladder costs, and the unit of it; pure |
//! | [`mod@fit`] | a ladder that fits into what the machine has left; pure |
//! | [`capacity`] | measures what the machine can do |
//! | [`threads`] | every thread and queue of a ladder, start and join |
//! | [`stats`] | its figures |
//! | `decode` | the thread that decodes once for all rungs and hands cuts on with the frames |
//! | `rung` | the thread of one rung: scale, encode, IDRs at cuts |
//! | `audio` | the thread of the audio rendition: decode, resample, count samples, encode |
//! | `pace` | which frames a slow machine or a frame-rate cap leaves out; pure |
//! | `bitstream` | x264's output as media packets |
//! | `libav` | all unsafe code of the daemon |
//!
//! Encoded pictures are progressive, 8 bit 4:2:0 of limited range with square pixels, whatever the source is, and say so. What a source
//! leaves unsaid about its colours is said as players guess it by the source's size, so that all rungs look the same.
//!
//! Invariants: a decoded frame keeps its packet's PTS to the flick; each is encoded once in every rung, unless it is left
//! out by a cap or by an overloaded machine, which is counted and never hits the first frame of a segment; all rungs
//! have an IDR at the first frame with PTS >= [`crate::media::Cut::at`], and the cut stands right before it.
//!
//! What does not belong here: copied renditions (they never pass a codec), judging a copied source, packaging. Nothing
//! of libav is visible from outside, so that the same threads can be hosted in another process.

mod audio;
mod bitstream;
pub mod capacity;
mod conversions;
pub mod cost;
mod decode;
pub mod fit;
mod libav;
mod pace;
pub mod plan;
mod rung;
pub mod stats;
pub mod threads;

use crate::media::Timestamp;
use crate::media::codec::h264::H264Error;

pub use conversions::Conversions;
pub use libav::LibavError;
pub use pace::Patience;
pub use plan::{Plan, PlanError, plan};
pub use stats::LadderStats;
pub use threads::{TranscodeInputs, Transcoder};

/// Makes the process give the memory of freed parts and frames back. Call it first: what was allocated before stays
/// where it is.
pub fn settle_heap() {
    libav::heap::give_large_blocks_back();
}

/// Why a ladder could not start, or gave up.
#[derive(Debug, thiserror::Error)]
pub enum TranscodeError {
    /// The installed libavcodec was built without it.
    #[error("this libavcodec has no encoder `{0}`; install an FFmpeg that has it")]
    MissingEncoder(&'static str),
    /// The system cannot start another thread.
    #[error("cannot start the thread {thread}: {source}")]
    Thread {
        /// The thread's name.
        thread: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Not one thread of the measure of this machine came to a result.
    #[error("the measure of this machine came to no result")]
    NotMeasured,
    /// No decoder can be made for the source's configuration.
    #[error("cannot open a decoder for {codecs}: {source}")]
    OpenDecoder {
        /// RFC 6381 string of the track.
        codecs: String,
        /// What libav said.
        source: LibavError,
    },
    /// Memory ran out while decoding.
    #[error("decoding the packet with PTS {pts}: {source}")]
    Decode {
        /// The packet's time.
        pts: Timestamp,
        /// What libav said.
        source: LibavError,
    },
    /// The decoder failed while it was emptied.
    #[error("emptying the decoder: {0}")]
    DrainDecoder(LibavError),
    /// x264 refused its settings, or the AAC encoder did.
    #[error("cannot open the encoder of {rendition}: {source}")]
    OpenEncoder {
        /// Name of the rendition.
        rendition: String,
        /// What libav said.
        source: LibavError,
    },
    /// x264 gave parameter sets that cannot be described.
    #[error("the encoder of {rendition} gave a configuration that cannot be used: {source}")]
    Configuration {
        /// Name of the rendition.
        rendition: String,
        /// What is wrong with it.
        source: H264Error,
    },
    /// A picture could not be scaled.
    #[error("scaling the frame with PTS {pts} for {rendition}: {source}")]
    Scale {
        /// Name of the rendition.
        rendition: String,
        /// The frame's time.
        pts: Timestamp,
        /// What libav said.
        source: LibavError,
    },
    /// Sound could not be resampled.
    #[error("resampling the sound at PTS {pts}: {source}")]
    Resample {
        /// The time of its first sample.
        pts: Timestamp,
        /// What libav said.
        source: LibavError,
    },
    /// Fields could not be made into frames.
    #[error("deinterlacing at PTS {pts}: {source}")]
    Deinterlace {
        /// Time of the frame that went in last.
        pts: Timestamp,
        /// What libav said.
        source: LibavError,
    },
    /// The encoder failed.
    #[error("encoding {rendition} at PTS {pts}: {source}")]
    Encode {
        /// Name of the rendition.
        rendition: String,
        /// Time of the frame that went in last.
        pts: Timestamp,
        /// What libav said.
        source: LibavError,
    },
    /// Whoever takes the rendition units has ended.
    #[error("nobody takes what {rendition} gives: the packager has ended")]
    OutputClosed {
        /// Name of the rendition.
        rendition: String,
    },
}
