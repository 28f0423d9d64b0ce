//! FLV tag bodies, as RTMP messages carry them.

use bytes::Bytes;

/// Which of the three kinds of tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagKind {
    /// RTMP message type 8.
    Audio,
    /// RTMP message type 9.
    Video,
    /// RTMP message type 18: `onMetaData` and its like, AMF0.
    Script,
}

/// One tag: kind, time and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Kind.
    pub kind: TagKind,
    /// Milliseconds on the publisher's clock, modulo 2^32; many publishers wrap at 2^31 already.
    pub timestamp_ms: u32,
    /// The body behind the 11-byte tag header.
    pub data: Bytes,
}
