//! The words of the house: time, packets, tracks, cuts, segments and their names.
//!
//! Everything that two stages say to each other is said in these types. They hold no IO, no clock and nothing of libav;
//! a value of this module can be made in a test by hand.
//!
//! | module | holds |
//! |---|---|
//! | [`time`] | [`Timestamp`], [`Span`], [`WallTime`]: flicks inside, protocol units at the edges |
//! | [`packet`] | [`Packet`] and [`Unit`], what flows from ingest to package |
//! | [`track`] | [`Track`]: what a decoder must know before the first packet |
//! | [`copy`] | which sources a rung may carry as they are |
//! | [`cut`] | where segments and parts end |
//! | [`segment`] | what package hands to the window and the store, and what playlists are made of |
//! | [`arrivals`] | when the media of a timeline came in, for measuring delays |
//! | [`naming`] | object names and URL paths |
//! | [`codec`] | parsers of parameter sets: enough to describe a track, never to decode it |

pub mod arrivals;
pub mod codec;
pub mod copy;
pub mod cut;
pub mod naming;
pub mod packet;
pub mod segment;
pub mod time;
pub mod track;

pub use cut::{Cut, CutKind};
pub use packet::{Packet, Unit};
pub use segment::{Output, Part, Segment};
pub use time::{Span, Timestamp, WallTime};
pub use track::{AudioCodec, AudioTrack, Kind, Track, VideoCodec, VideoTrack};
