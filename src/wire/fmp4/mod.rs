//! Fragmented MP4 (CMAF): one track per file, an init segment and chunks behind it.
//!
//! | module | holds |
//! |---|---|
//! | [`init`] | writes ftyp and moov of a [`crate::media::Track`] |
//! | `entry` | writes a track's sample entry: avc1, hvc1, av01, vp09, mp4a, Opus |
//! | [`chunk`] | writes moof and mdat: a part of a segment |
//! | [`boxes`] | walks boxes of bytes that nobody vouches for, and draws them as a tree |
//! | [`read`] | reads init segments and chunks back |
//!
//! Sources: ISO/IEC 14496-12 (boxes), 14496-14 (mp4a), 14496-15 (avc1, hvc1), 23000-19 (CMAF); the
//! bindings of AV1 and VP9 (AOMedia, WebM) and of Opus (Xiph). When a sample begins and how
//! long it lasts is decided in `package`; files for download (edit lists, faststart) are not made here.

pub mod boxes;
pub mod chunk;
mod entry;
pub mod init;
pub mod read;

pub use chunk::{ChunkError, ChunkHead, Sample, write_chunk};
pub use init::{InitError, write_init};

/// Every file holds one track, with this id.
pub const TRACK_ID: u32 = 1;
