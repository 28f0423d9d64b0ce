//! The one packet type of the pipeline, and the values that travel with packets in the same channels.

use std::sync::Arc;

use bytes::Bytes;

use super::{Cut, Kind, Span, Timestamp, Track};

/// One access unit: a coded picture, or one frame of audio.
///
/// After `ingest/normalise` both stamps lie on the session's timeline (which starts at +10 s, so nothing is negative),
/// `dts` rises strictly within a track, and `pts >= dts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Which track of the session this belongs to.
    pub kind: Kind,
    /// Decoding time. Equal to `pts` for audio.
    pub dts: Timestamp,
    /// Presentation time.
    pub pts: Timestamp,
    /// Audio: samples of the frame over the sample rate, exact. Video: `Span::ZERO`, because only the next packet
    /// tells; package takes the difference of the two DTS.
    pub duration: Span,
    /// Decoding may start here. H.264: the access unit has a NAL of type 5; what the container claimed is not asked.
    pub keyframe: bool,
    /// H.264: NAL units, each behind a 4-byte big-endian length, without parameter sets (those are in the [`Track`]) and
    /// without access unit delimiters. AAC: one raw frame without ADTS.
    pub data: Bytes,
}

/// What flows from ingest through hub and transcode to package, in one order for all tracks of a session.
#[derive(Clone, Debug)]
pub enum Unit {
    /// This track's configuration from the next packet on. Comes before the track's first packet, and again behind a
    /// discontinuity [`Cut`] when it changed.
    Track(Arc<Track>),
    /// Media.
    Packet(Packet),
    /// The next segment of every rendition begins at [`Cut::at`]. Comes before every packet that belongs to that segment:
    /// ingest never lets audio run ahead of a cut that video may still announce.
    Cut(Cut),
    /// The session's timeline ends; nothing follows.
    End,
}

impl Unit {
    /// Payload bytes held by this value: what byte-bounded queues count.
    pub fn weight(&self) -> usize {
        match self {
            Unit::Packet(packet) => packet.data.len(),
            _ => 0,
        }
    }
}
