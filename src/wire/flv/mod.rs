//! FLV: tag bodies, as RTMP messages carry them, and whole files.
//!
//! | module | holds |
//! |---|---|
//! | [`video`] | bodies of video tags: H.264, everything else named and refused |
//! | [`audio`] | bodies of audio tags: AAC, everything else named and refused |
//! | [`mod@file`] | header and tag framing of files |
//!
//! Source: Adobe Flash Video File Format Specification 10.1 annex E; FourCCs are those of enhanced RTMP v2. Nothing here
//! looks into what the codecs wrote.

use bytes::Bytes;

pub mod audio;
pub mod file;
pub mod video;

pub use audio::{AudioTag, parse_audio};
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
    /// A video codec that this daemon does not carry.
    #[error("video codec {0} is not supported: set the encoder to H.264")]
    VideoCodec(String),
    /// An audio codec that this daemon does not carry.
    #[error("audio codec {0} is not supported: set the encoder to AAC")]
    AudioCodec(String),
}

impl FlvError {
    /// Whether it is pointless to go on: the encoder is set to something that is not carried. Otherwise one message was
    /// damaged, and the next may be good.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, FlvError::VideoCodec(_) | FlvError::AudioCodec(_))
    }
}

/// A FourCC with the codec's name where it is known; bytes that do not print are shown as dots.
fn four_cc_name(four_cc: Option<&[u8]>) -> String {
    let Some(four_cc) = four_cc else { return "of an enhanced RTMP header without FourCC".to_owned() };
    let text: String =
        four_cc.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' }).collect();
    let name = match four_cc {
        b"avc1" => "H.264 in an enhanced RTMP header",
        b"hvc1" => "HEVC",
        b"vvc1" => "VVC",
        b"av01" => "AV1",
        b"vp08" => "VP8",
        b"vp09" => "VP9",
        b"mp4a" => "AAC in an enhanced RTMP header",
        b"Opus" => "Opus",
        b"fLaC" => "FLAC",
        b"ac-3" => "AC-3",
        b"ec-3" => "E-AC-3",
        b".mp3" => "MP3",
        _ => "",
    };
    if name.is_empty() { format!("with FourCC {text}") } else { format!("{name} (FourCC {text})") }
}
