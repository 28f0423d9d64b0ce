//! What package hands to the window and the store, and what playlists are made of.
//!
//! Package yields [`Output`]s in an order that both sides may rely on, per rendition: `Init` before the first `Open` that
//! refers to it; `Open`, then its `Part`s from index 0, then its `Close`; MSNs rising by one; `End` last. Before all of that
//! comes `Join`, for renditions that the session did not have at its beginning.

use std::sync::Arc;

use bytes::Bytes;

use super::naming::MediaName;
use super::{Kind, Span, Timestamp, Track, WallTime};

/// Index of a rendition in [`Renditions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RenditionId(pub u8);

/// One rendition of a session: a rung of the ladder, or the audio group's only member. Fixed once it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendition {
    /// Name in paths and playlists: `1080p`, `audio`. Passes [`super::naming::is_component`].
    pub name: String,
    /// Video rungs and audio are packaged apart.
    pub kind: Kind,
    /// The source's own packets (true) or an encoder's.
    pub copied: bool,
    /// Bits per second that this rendition alone promises never to pass, container included.
    pub bandwidth: u64,
    /// Frames per second as a fraction; `None` for audio and for video of unknown rate.
    pub frame_rate: Option<(u32, u32)>,
}

/// All renditions of a session: video rungs from the largest down, then audio; those of a track that came late stand behind the
/// others. [`RenditionId`] indexes into it.
pub type Renditions = Arc<[Rendition]>;

/// A unit of one rendition: what the copied edge and the encoders hand to package.
#[derive(Clone, Debug)]
pub struct RenditionUnit {
    /// The rendition.
    pub rendition: RenditionId,
    /// Its packet, track or cut.
    pub unit: super::Unit,
}

/// One step of packaging. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub enum Output {
    /// Renditions join the session.
    Join(Joined),
    /// A new configuration.
    Init(Init),
    /// A segment begins.
    Open(SegmentStart),
    /// A part of the open segment is whole.
    Part(Part),
    /// The open segment is whole.
    Close(SegmentEnd),
    /// The rendition is over: ENDLIST.
    End(RenditionId),
}

impl Output {
    /// Payload bytes held by this value: what byte-bounded queues count.
    pub fn weight(&self) -> usize {
        match self {
            Output::Init(init) => init.bytes.len(),
            Output::Part(part) => part.bytes.len(),
            _ => 0,
        }
    }

    /// The rendition that this belongs to, or the first of those that join.
    pub fn rendition(&self) -> RenditionId {
        match self {
            Output::Join(joined) => joined.first,
            Output::Init(init) => init.rendition,
            Output::Open(start) => start.rendition,
            Output::Part(part) => part.rendition,
            Output::Close(end) => end.rendition,
            Output::End(rendition) => *rendition,
        }
    }
}

/// The renditions of a track that came when the session had begun. Comes before everything else of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Id of the first: one more than the last that the session had.
    pub first: RenditionId,
    /// The renditions, with rising ids.
    pub renditions: Renditions,
    /// Discontinuities of the session so far: their EXT-X-DISCONTINUITY-SEQUENCE begins with it, so that it stays equal in all
    /// renditions.
    pub discontinuities: u64,
}

/// An init segment (ftyp, moov).
#[derive(Clone, Debug)]
pub struct Init {
    /// The rendition.
    pub rendition: RenditionId,
    /// Counted from 0 over the whole session, restarts included.
    pub number: u32,
    /// What the bytes describe: playlists take CODECS and RESOLUTION from here.
    pub track: Arc<Track>,
    /// The whole file.
    pub bytes: Bytes,
}

/// What is known of a segment when it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentStart {
    /// The rendition.
    pub rendition: RenditionId,
    /// Media sequence number.
    pub msn: u64,
    /// The session's epoch: part of the name.
    pub epoch: u32,
    /// Presentation time of the cut.
    pub at: Timestamp,
    /// EXT-X-PROGRAM-DATE-TIME.
    pub wall: WallTime,
    /// EXT-X-DISCONTINUITY stands before it.
    pub discontinuity: bool,
    /// EXT-X-GAP: there are no parts and no object.
    pub gap: bool,
    /// Number of the init segment (EXT-X-MAP).
    pub init: u32,
}

/// A part (CMAF chunk: moof, mdat).
#[derive(Clone, Debug)]
pub struct Part {
    /// The rendition.
    pub rendition: RenditionId,
    /// Media sequence number of its segment.
    pub msn: u64,
    /// The epoch of its segment.
    pub epoch: u32,
    /// Index within the segment, from 0.
    pub index: u32,
    /// Samples in it: pictures, or frames of sound.
    pub samples: u32,
    /// Sum of its sample durations.
    pub duration: Span,
    /// Presentation time of its last sample, in the order of decoding, as rounded to the track's timescale.
    pub last_pts: Timestamp,
    /// Begins with a sample from which decoding may start.
    pub independent: bool,
    /// The whole part.
    pub bytes: Bytes,
}

/// What is known of a segment when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentEnd {
    /// The rendition.
    pub rendition: RenditionId,
    /// Media sequence number.
    pub msn: u64,
    /// EXTINF: the sum of its sample durations; a gap's own duration.
    pub duration: Span,
}

/// A part as a playlist lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartEntry {
    /// EXT-X-PART:DURATION
    pub duration: Span,
    /// EXT-X-PART:INDEPENDENT
    pub independent: bool,
    /// Bytes.
    pub size: usize,
}

/// A segment as a playlist lists it. Metadata only; the bytes lie elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Media sequence number.
    pub msn: u64,
    /// Epoch in its name.
    pub epoch: u32,
    /// EXTINF; `None` while the segment is open.
    pub duration: Option<Span>,
    /// EXT-X-PROGRAM-DATE-TIME.
    pub wall: WallTime,
    /// EXT-X-DISCONTINUITY stands before it.
    pub discontinuity: bool,
    /// EXT-X-GAP.
    pub gap: bool,
    /// Number of the init segment (EXT-X-MAP).
    pub init: u32,
    /// The parts so far.
    pub parts: Vec<PartEntry>,
}

impl Segment {
    /// The entry of a segment that has just been opened.
    pub fn open(start: &SegmentStart) -> Self {
        Segment {
            msn: start.msn,
            epoch: start.epoch,
            duration: None,
            wall: start.wall,
            discontinuity: start.discontinuity,
            gap: start.gap,
            init: start.init,
            parts: Vec::new(),
        }
    }

    /// The name of its file.
    pub fn name(&self) -> MediaName {
        MediaName::Segment { epoch: self.epoch, msn: self.msn }
    }

    /// Bytes of all parts so far.
    pub fn size(&self) -> usize {
        self.parts.iter().map(|part| part.size).sum()
    }

    /// Bits per second over a closed segment that is at least `shortest` long: one that an interruption closed may be
    /// hardly more than its keyframe, and RFC 8216 4.3.4.2 does not count what is below half of the target duration.
    pub fn bits_per_second(&self, shortest: Span) -> Option<u64> {
        let duration = self.duration.filter(|duration| *duration >= shortest)?;
        let milliseconds = u64::try_from(duration.to_units(1_000)).ok().filter(|&millis| millis > 0)?;
        Some((self.size() as u64).saturating_mul(8_000) / milliseconds)
    }
}
