//! FLV: tag bodies, as RTMP messages carry them, and whole files.
//!
//! | module | holds |
//! |---|---|
//! | [`video`] | bodies of video tags, both directions |
//! | [`audio`] | bodies of audio tags, both directions |
//! | [`tracks`] | [`TagReader`]: which of a publisher's tracks is taken, and what is left out |
//! | `enhanced` | what the headers of enhanced RTMP have in common: ModEx, multitrack, FourCCs |
//! | [`mod@file`] | header and tag framing of files |
//!
//! Sources: Adobe Flash Video File Format Specification 10.1 annex E; Enhanced RTMP v2 (Veovera), sections on ExAudioTagHeader and
//! ExVideoTagHeader. Nothing here looks into what the codecs wrote.
//!
//! What cannot be taken is one of three things. A message of a codec that is not carried, a further track, or a packet type that
//! is not known is left out and told once ([`TagReader::new_notices`]); the connection goes on. When nothing else of that kind has
//! come, or comes any more, the codec is an error of which [`FlvError::is_unsupported`] is true: the publisher must be refused.
//! Any other error means that this one message is damaged.

use bytes::Bytes;

use crate::media::Kind;

pub mod audio;
mod enhanced;
pub mod file;
pub mod tracks;
pub mod video;

pub use audio::{AudioTag, parse_audio};
pub use tracks::{Notice, TagReader};
pub use video::{VideoTag, parse_video};

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

/// Why a tag's body is not taken. The texts are for the publisher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlvError {
    /// The body ends inside of its header.
    #[error("{kind} message of {length} bytes is too short for its header")]
    Truncated {
        /// `video` or `audio`.
        kind: &'static str,
        /// Bytes of the body.
        length: usize,
    },
    /// All pictures are of a video codec that this daemon does not carry.
    #[error("video codec {0} is not supported: set the encoder to H.264")]
    VideoCodec(String),
    /// All sound is of an audio codec that this daemon does not carry.
    #[error("audio codec {0} is not supported: set the encoder to AAC")]
    AudioCodec(String),
}

impl FlvError {
    /// Whether it is pointless to go on: the encoder is set to something that is not carried. Otherwise one message was
    /// damaged, and the next may be good.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, FlvError::VideoCodec(_) | FlvError::AudioCodec(_))
    }

    fn codec(kind: Kind, name: String) -> Self {
        match kind {
            Kind::Video => FlvError::VideoCodec(name),
            Kind::Audio => FlvError::AudioCodec(name),
        }
    }

    fn truncated(kind: Kind, body: &[u8]) -> Self {
        FlvError::Truncated { kind: kind.as_str(), length: body.len() }
    }
}
