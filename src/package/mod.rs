//! Stage 3: packets become parts, parts become segments, segments become a window.
//!
//! ```text
//! RenditionUnit ─▶ Packager ─▶ lane per rendition: cuts ─▶ samples ─▶ parts ─▶ Output ─▶ Window ─▶ readers
//!                                                                                  └───▶ store
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`part`] | where a segment is divided into parts |
//! | [`window`] | the live window: what playlists list and what is served from memory |
//! | `lane` | one rendition: which packet belongs to which segment |
//! | `samples` | packets to samples: durations and decode times in the track's timescale |
//! | `segment` | the open segment: samples to parts |
//!
//! [`Packager`] does no IO, knows no clock and shares nothing: one thread calls it, and what comes out depends on
//! nothing but what went in. Files and objects are written by `store`, playlists by [`crate::wire::hls`].

mod lane;
pub mod part;
mod samples;
mod segment;
#[cfg(test)]
mod tests;
pub mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::media::segment::{RenditionId, RenditionUnit, Renditions};
use crate::media::{Kind, Output, Span, Timestamp, Track};
use crate::wire::fmp4::{ChunkError, InitError};

use lane::Lane;
pub use window::{RenditionStart, Totals, View, Window, WindowSettings, horizon};

/// What is fixed when packaging of a session begins.
#[derive(Clone, Debug)]
pub struct PackageSettings {
    /// The session's epoch: part of every segment's name.
    pub epoch: u32,
    /// No part is longer, except one that holds a single sample which is.
    pub part_target: Span,
    /// The renditions to package: all of the session, or those that join it.
    pub renditions: Renditions,
    /// Where each rendition goes on, in the order of `renditions`. Missing ones begin anew.
    pub resume: Vec<RenditionResume>,
}

/// Where a rendition goes on after a restart.
#[derive(Clone, Debug, Default)]
pub struct RenditionResume {
    /// Number of the next init segment.
    pub next_init: u32,
    /// What the init segment before that describes. An equal track goes on with it.
    pub track: Option<Arc<Track>>,
}

/// Why a unit cannot be packaged: in each case the caller broke an order that [`crate::media`] states, or the media
/// does not fit the format. The session cannot go on from there.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The session has no such rendition.
    #[error("rendition {} is not one of the session's", rendition.0)]
    UnknownRendition {
        /// As the unit has it.
        rendition: RenditionId,
    },
    /// Video in an audio rendition, or the other way round.
    #[error("rendition {} carries {expected:?} and got {found:?}", rendition.0)]
    WrongKind {
        /// The rendition.
        rendition: RenditionId,
        /// What it carries.
        expected: Kind,
        /// What came.
        found: Kind,
    },
    /// A packet came before the first cut, so that no segment is there for it.
    #[error("rendition {} got a packet at {pts} before the first cut", rendition.0)]
    BeforeFirstCut {
        /// The rendition.
        rendition: RenditionId,
        /// The packet's.
        pts: Timestamp,
    },
    /// A segment was to begin and nothing has said yet what is in it.
    #[error("rendition {} got a packet at {pts} before its track", rendition.0)]
    NoTrack {
        /// The rendition.
        rendition: RenditionId,
        /// The packet's.
        pts: Timestamp,
    },
    /// MSNs rise by one and cut times rise.
    #[error("rendition {}: the cut to segment {msn} at {at} does not follow segment {previous_msn} at {previous_at}", rendition.0)]
    CutOrder {
        /// The rendition.
        rendition: RenditionId,
        /// The new cut's.
        msn: u64,
        /// The new cut's.
        at: Timestamp,
        /// The cut's before.
        previous_msn: u64,
        /// The cut's before.
        previous_at: Timestamp,
    },
    /// A packet does not lie behind the one before it.
    #[error("rendition {}: the packet at dts {dts} ends no later than its predecessor", rendition.0)]
    NotRising {
        /// The rendition.
        rendition: RenditionId,
        /// The packet's.
        dts: Timestamp,
    },
    /// A time before zero, or a difference of times that the format's fields cannot hold.
    #[error("rendition {}: the packet at dts {dts}, pts {pts} does not fit the fields of fMP4", rendition.0)]
    TimeRange {
        /// The rendition.
        rendition: RenditionId,
        /// The packet's.
        dts: Timestamp,
        /// The packet's.
        pts: Timestamp,
    },
    /// Something followed `Unit::End`.
    #[error("rendition {} has ended", rendition.0)]
    AfterEnd {
        /// The rendition.
        rendition: RenditionId,
    },
    /// The track cannot be described.
    #[error("rendition {}: {source}", rendition.0)]
    Init {
        /// The rendition.
        rendition: RenditionId,
        /// Why.
        source: InitError,
    },
    /// The part cannot be written.
    #[error("rendition {}, segment {msn}: {source}", rendition.0)]
    Chunk {
        /// The rendition.
        rendition: RenditionId,
        /// The segment.
        msn: u64,
        /// Why.
        source: ChunkError,
    },
}

/// Turns the units of all renditions of one session into outputs.
///
/// Units of one rendition come in the order of [`crate::media::Unit`]; renditions may be ahead of each other. Outputs
/// of one rendition come in the order of [`crate::media::segment`].
#[derive(Debug)]
pub struct Packager {
    first: RenditionId,
    lanes: Vec<Lane>,
}

impl Packager {
    /// A packager at the beginning of a session, or of an epoch of it.
    pub fn new(settings: PackageSettings) -> Self {
        Packager::starting_with(RenditionId(0), settings)
    }

    /// A packager of renditions that join a session, the first of which has the id `first`.
    pub fn starting_with(first: RenditionId, settings: PackageSettings) -> Self {
        let mut resume = settings.resume.into_iter();
        let ids = (first.0..=u8::MAX).map(RenditionId);
        let lanes = settings.renditions.iter().zip(ids).map(|(rendition, id)| {
            Lane::new(id, rendition.kind, settings.epoch, settings.part_target, resume.next().unwrap_or_default())
        });
        Packager { first, lanes: lanes.collect() }
    }

    /// Packages one unit; what became whole by it is appended to `out`.
    ///
    /// # Errors
    /// See [`PackageError`]. What was appended to `out` before the error is whole and may be used.
    pub fn push(&mut self, unit: RenditionUnit, out: &mut Vec<Output>) -> Result<(), PackageError> {
        let RenditionUnit { rendition, unit } = unit;
        let lane = rendition.0.checked_sub(self.first.0).and_then(|index| self.lanes.get_mut(usize::from(index)));
        lane.ok_or(PackageError::UnknownRendition { rendition })?.push(unit, out)
    }

    /// Closes the open segments with what they have, and says nothing of an end: the session goes on after a restart.
    /// Renditions that have ended stay as they are.
    ///
    /// # Errors
    /// As [`Packager::push`].
    pub fn suspend(mut self, out: &mut Vec<Output>) -> Result<(), PackageError> {
        self.lanes.iter_mut().try_for_each(|lane| lane.suspend(out))
    }

    /// What was dropped, per rendition. The counts go on rising while the packager works, whichever thread it is on.
    pub fn late_packets(&self) -> Vec<LatePackets> {
        self.lanes.iter().map(Lane::late_packets).collect()
    }
}

/// Packets of one rendition that were dropped because no segment was open for them: audio that lies before the first cut
/// or came more than [`MAX_CUTS_AHEAD`] segments late, and media inside a gap. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct LatePackets(Arc<AtomicU64>);

impl LatePackets {
    /// How many so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Cuts that an audio rendition may know of without having reached the first of them. When one more comes, its segment
/// is given up as a gap, so that a silent rendition neither holds memory nor stops its playlist.
pub const MAX_CUTS_AHEAD: usize = 3;
