//! Protocols and formats: bytes in, events and bytes out. No IO, no clock, both directions.

pub mod flv;
pub mod fmp4;
pub mod hls;
pub mod rtmp;
pub mod srt;
pub mod ts;

/// What a protocol hands to ingest: one unit of its container, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// An RTMP audio, video or data message, which is the body of an FLV tag.
    Flv(flv::Tag),
    /// A piece of a transport stream.
    Ts(ts::Piece),
}

impl Inbound {
    /// Payload bytes.
    pub fn len(&self) -> usize {
        match self {
            Inbound::Flv(tag) => tag.data.len(),
            Inbound::Ts(piece) => piece.data.len(),
        }
    }

    /// Whether this is sound or pictures, or describes them, and not data such as a title.
    pub fn is_media(&self) -> bool {
        match self {
            Inbound::Flv(tag) => tag.kind != flv::TagKind::Script,
            Inbound::Ts(_) => true,
        }
    }

    /// Whether there is no payload.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
