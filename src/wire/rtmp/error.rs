//! What can be wrong with what a peer sent, and what to do about it.
//!
//! No variant holds bytes or texts of the peer: a stream key must not reach a log through an error.

use super::amf0::AmfError;

/// What the holder of the connection does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// One message was left out; the connection goes on.
    SkipMessage,
    /// The bytes that follow cannot be trusted, or the peer means harm: close the connection.
    DropPeer,
}

/// An error in what the peer sent. Always the peer's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtmpError {
    /// C0 names a version that is not 3; 6 and 8 are RTMPE.
    #[error("RTMP version {0} in the handshake: only version 3 is spoken here (6 and 8 are RTMPE)")]
    Version(u8),
    /// Set Chunk Size with 0, with the top bit set, or with too few bytes.
    #[error("Set Chunk Size to {0:?}: must be from 1 to 2147483647")]
    ChunkSize(Option<u32>),
    /// A header of format 2 or 3 on a chunk stream that had no message.
    #[error("chunk stream {chunk_stream} begins with a header of format {format}, which repeats one that never came")]
    NothingToRepeat {
        /// Chunk stream id.
        chunk_stream: u32,
        /// Format of the header, 2 or 3.
        format: u8,
    },
    /// A new header where the rest of a message must come.
    #[error(
        "chunk stream {chunk_stream} has a header of format {format} after {received} of {length} bytes of a message"
    )]
    HeaderInsideMessage {
        /// Chunk stream id.
        chunk_stream: u32,
        /// Format of the header, 0 to 2.
        format: u8,
        /// Bytes of the message that are here.
        received: usize,
        /// Bytes that were announced.
        length: usize,
    },
    /// More chunk streams than [`super::Limits::chunk_streams`].
    #[error("more than {limit} chunk streams on one connection")]
    TooManyChunkStreams {
        /// The limit.
        limit: usize,
    },
    /// A message longer than [`super::Limits::message_bytes`].
    #[error("a message of type {type_id} announces {length} bytes; the limit is {limit}")]
    MessageTooLong {
        /// RTMP message type.
        type_id: u8,
        /// Announced length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Unfinished messages hold more than [`super::Limits::partial_bytes`].
    #[error("unfinished messages hold more than {limit} bytes")]
    TooManyPartialBytes {
        /// The limit in bytes.
        limit: usize,
    },
    /// A protocol control or user control message with too few bytes.
    #[error("a control message of type {type_id} has {length} bytes, which is too few")]
    ShortControlMessage {
        /// RTMP message type.
        type_id: u8,
        /// Its length in bytes.
        length: usize,
    },
    /// A message type that means nothing to us.
    #[error("messages of type {0} are not known")]
    UnknownMessageType(u8),
    /// An aggregate message whose tags do not fit into it.
    #[error("the tag at byte {offset} of an aggregate message of {length} bytes does not fit into it")]
    BrokenAggregate {
        /// Where the tag begins.
        offset: usize,
        /// Length of the message in bytes.
        length: usize,
    },
    /// A command longer than [`super::Limits::command_bytes`].
    #[error("a command has {length} bytes; the limit is {limit}")]
    CommandTooLong {
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A command that is not well-formed AMF0.
    #[error("a command is not readable: {0}")]
    Command(#[from] AmfError),
    /// The peer asks faster than it takes answers.
    #[error("more than {limit} bytes of answers wait for the peer")]
    TooMuchOutput {
        /// The limit in bytes.
        limit: usize,
    },
}

impl RtmpError {
    /// What to do about it.
    pub const fn action(&self) -> Action {
        match self {
            RtmpError::ShortControlMessage { .. }
            | RtmpError::UnknownMessageType(_)
            | RtmpError::BrokenAggregate { .. } => Action::SkipMessage,
            // A bomb is an attack; anything else may be one odd command of a good encoder.
            RtmpError::Command(error) if !error.is_bomb() => Action::SkipMessage,
            _ => Action::DropPeer,
        }
    }

    /// Stable code for metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            RtmpError::Version(_) => "version",
            RtmpError::ChunkSize(_) => "chunk_size",
            RtmpError::NothingToRepeat { .. } => "nothing_to_repeat",
            RtmpError::HeaderInsideMessage { .. } => "header_inside_message",
            RtmpError::TooManyChunkStreams { .. } => "too_many_chunk_streams",
            RtmpError::MessageTooLong { .. } => "message_too_long",
            RtmpError::TooManyPartialBytes { .. } => "too_many_partial_bytes",
            RtmpError::ShortControlMessage { .. } => "short_control_message",
            RtmpError::UnknownMessageType(_) => "unknown_message_type",
            RtmpError::BrokenAggregate { .. } => "broken_aggregate",
            RtmpError::CommandTooLong { .. } => "command_too_long",
            RtmpError::Command(_) => "command",
            RtmpError::TooMuchOutput { .. } => "too_much_output",
        }
    }
}
