//! RTMP 1.0, without IO: bytes in, events and bytes out.
//!
//! The server side is written for strangers: every length, count and depth that a peer controls has a bound in [`Limits`],
//! and no input reaches a panic. The specification is Adobe's "Real-Time Messaging Protocol 1.0" of 2012; where encoders
//! differ from it, the comment says which.
//!
//! | module | holds |
//! |---|---|
//! | [`handshake`] | C0 to S2, the simple form |
//! | [`chunk`] | messages out of chunks and into chunks |
//! | [`amf0`] | the values of commands and metadata |
//! | [`message`] | types of messages, control messages, aggregates |
//! | [`server`] | the publisher's conversation, from `connect` to `deleteStream` |
//! | [`client`] | the other end's bytes, for tests and forwards |
//! | [`error`] | what can be wrong, and whether to skip or to drop |
//!
//! Codecs, FLV tag bodies, time unwrapping and admission do not belong here.

pub mod amf0;
pub mod chunk;
pub mod client;
pub mod error;
pub mod handshake;
pub mod message;
pub mod server;

pub use error::{Action, RtmpError};
pub use server::{Event, Phase, PublishStatus, Server};

/// What one connection may cost us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message in bytes. The field allows 16 MiB; a keyframe of 4K at 50 Mbit/s has about 1 MiB.
    pub message_bytes: usize,
    /// Most chunk streams. Encoders use 3 to 6.
    pub chunk_streams: usize,
    /// Most bytes that unfinished messages hold together.
    pub partial_bytes: usize,
    /// Longest command in bytes. Encoders send less than 1 KiB.
    pub command_bytes: usize,
    /// Most bytes of our answers that wait to be taken.
    pub output_bytes: usize,
    /// Longest message in bytes, and half of what unfinished messages hold, until a publish was accepted. Nothing that an
    /// encoder has to say before is longer than a command; a thousand strangers must not hold what a thousand publishers may.
    pub stranger_bytes: usize,
}

impl Limits {
    /// What holds for a peer that has not been let in.
    pub(crate) fn of_strangers(self) -> Self {
        let message_bytes = self.message_bytes.min(self.stranger_bytes);
        let partial_bytes = self.partial_bytes.min(self.stranger_bytes.saturating_mul(2));
        Limits { message_bytes, partial_bytes, ..self }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            message_bytes: 8 * 1024 * 1024,
            chunk_streams: 64,
            partial_bytes: 16 * 1024 * 1024,
            command_bytes: 64 * 1024,
            output_bytes: 1024 * 1024,
            stranger_bytes: 64 * 1024,
        }
    }
}
