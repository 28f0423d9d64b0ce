//! Where segments and parts end: one clock cuts all renditions of a session.
//!
//! `ingest/normalise` drives the segment clock and announces each cut in the stream of units; encoders put an IDR on the
//! first frame with PTS >= [`Cut::at`]; package opens the segment `msn` there and nowhere else.

use super::{Span, Timestamp, WallTime};

/// The start of one segment, the same in every rendition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Media sequence number of the segment that begins here. Rises by one from cut to cut.
    pub msn: u64,
    /// Presentation time where the segment begins. Video begins with the first packet behind the cut, audio with its
    /// first packet whose PTS is not before this.
    pub at: Timestamp,
    /// EXT-X-PROGRAM-DATE-TIME of the segment.
    pub wall: WallTime,
    /// EXT-X-DISCONTINUITY stands before the segment. Decoders and encoders are drained and begin anew.
    pub discontinuity: bool,
    /// From here on no rung is copied: the encoder of the rung that was copied until now takes over with this cut.
    /// Only ever true on a discontinuity, and at most once in a session.
    pub copy_ends: bool,
    /// Why the cut is here.
    pub kind: CutKind,
}

/// Why a segment begins where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutKind {
    /// The source has an IDR here.
    Keyframe,
    /// The target duration was about to be passed with no IDR in sight. Copied video begins with the frame that follows,
    /// encoded video with an IDR all the same.
    Time,
    /// There is no media: the segment is an EXT-X-GAP of this duration, which is over when the next cut comes.
    Gap {
        /// EXTINF of the gap.
        duration: Span,
    },
}
