//! The server's side of a publisher's conversation.
//!
//! ```text
//! Handshake ─▶ Connect ─▶ Publish ─▶ Deciding ─▶ Publishing ─▶ Publish (unpublished; may publish again)
//!                                       └──────────▶ Ended (refused, or ended by us)
//! ```
//!
//! All flows seen in encoders run through it: FMLE (`releaseStream`, `FCPublish`, `createStream`, `publish`; OBS, FFmpeg),
//! Flash (`createStream`, `publish`), Haivision (`createStream`, `FCPublish`, `publish`), and GStreamer's with transaction
//! 0 nearly everywhere. A command that is not known is answered and never ends a connection.
//!
//! Invariants: one publish at a time; while a decision is awaited ([`Phase::Deciding`]) bytes are held and not read, so
//! that nothing of a publisher passes before it is accepted; the stream key leaves only inside
//! [`Event::PublishRequested`]; after an error the server reads nothing more.

mod capabilities;
mod command;
mod target;

use bytes::{Bytes, BytesMut};
use secrecy::SecretString;

use super::amf0::Value;
use super::chunk::{ChunkReader, ChunkWriter, Message};
use super::handshake::ServerHandshake;
use super::message::{self, be_u32};
use super::{Action, Limits, RtmpError};
use crate::wire::flv::Tag;

/// Window Acknowledgement Size that we announce, and by which we acknowledge until the peer announces its own.
const WINDOW_ACK_BYTES: u32 = 2_500_000;
/// A peer that wants acknowledgements more often than this does not get them.
const MIN_ACK_WINDOW_BYTES: u32 = 16 * 1024;
/// Our chunk size: a refusal with its description is one chunk.
const OUR_CHUNK_BYTES: usize = 4096;
/// Set Peer Bandwidth's limit type "dynamic".
const DYNAMIC: u8 = 2;

/// Messages that are left out before a publish is accepted; the next one drops the peer. Good encoders send none.
const MAX_SKIPPED_OF_STRANGERS: u32 = 100;

/// What a publisher did.
#[derive(Debug)]
pub enum Event {
    /// It asks to publish. Nothing more is read until [`Server::accept_publish`] or [`Server::refuse_publish`].
    PublishRequested {
        /// The stream key; empty if there was none.
        key: SecretString,
        /// First segment of the application path.
        app: String,
        /// `connect`'s `flashVer`, printable.
        encoder: Option<String>,
    },
    /// Audio, video or metadata of an accepted publish.
    Media(Tag),
    /// It ended its publish with `FCUnpublish`, `deleteStream` or `closeStream`.
    Unpublished,
    /// A message was left out; the connection goes on.
    Skipped(RtmpError),
}

/// How far the conversation is: which deadline applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// C0 to C2 are not all here.
    Handshake,
    /// `connect` is next.
    Connect,
    /// Connected; nobody publishes.
    Publish,
    /// [`Event::PublishRequested`] waits for its answer.
    Deciding,
    /// Media flows.
    Publishing,
    /// We said the last word, or the peer broke the protocol: nothing is read any more.
    Ended,
}

/// Codes of `onStatus` by which a publish is refused or ended (RTMP 1.0 section 7.2.2.6 names the message, Adobe's
/// NetStream documentation the codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishStatus {
    /// `NetStream.Publish.BadName`: the key is wrong or in use.
    BadName,
    /// `NetStream.Publish.Denied`: the key may not publish (any more).
    Denied,
    /// `NetStream.Publish.Rejected`: what is published cannot be taken.
    Rejected,
    /// `NetStream.Failed`: the server's fault.
    Failed,
    /// `NetStream.Unpublish.Success`: over, and nobody's fault; encoders reconnect.
    Unpublished,
}

impl PublishStatus {
    /// The code.
    pub const fn code(self) -> &'static str {
        match self {
            PublishStatus::BadName => "NetStream.Publish.BadName",
            PublishStatus::Denied => "NetStream.Publish.Denied",
            PublishStatus::Rejected => "NetStream.Publish.Rejected",
            PublishStatus::Failed => "NetStream.Failed",
            PublishStatus::Unpublished => "NetStream.Unpublish.Success",
        }
    }

    const fn level(self) -> &'static str {
        match self {
            PublishStatus::Unpublished => "status",
            _ => "error",
        }
    }
}

/// One connection's protocol state.
pub struct Server {
    limits: Limits,
    phase: Phase,
    handshake: ServerHandshake,
    reader: ChunkReader,
    writer: ChunkWriter,
    output: BytesMut,
    /// Bytes that came while a decision was awaited.
    held: Bytes,
    /// Bytes of the chunk layer received, and as last acknowledged.
    received: u64,
    acknowledged: u64,
    ack_window_bytes: u32,
    connected: Connected,
    skipped: u32,
    last_stream_id: u32,
    publish_stream_id: u32,
}

/// What `connect` said. No `Debug`: the application path may hold a key.
#[derive(Default)]
struct Connected {
    app: String,
    tc_url: String,
    encoder: Option<String>,
}

/// Leaves out what the peer sent: it may hold a key.
impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("phase", &self.phase)
            .field("received_bytes", &self.received)
            .field("output_bytes", &self.output.len())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A server at the first byte of a connection.
    pub fn new(limits: Limits) -> Self {
        Server {
            limits,
            phase: Phase::Handshake,
            handshake: ServerHandshake::default(),
            reader: ChunkReader::new(limits.of_strangers()),
            writer: ChunkWriter::default(),
            output: BytesMut::new(),
            held: Bytes::new(),
            received: 0,
            acknowledged: 0,
            ack_window_bytes: WINDOW_ACK_BYTES,
            connected: Connected::default(),
            skipped: 0,
            last_stream_id: 0,
            publish_stream_id: 0,
        }
    }

    /// How far the conversation is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Bytes of memory held for input: unfinished messages, and what waits for a decision.
    pub fn held_bytes(&self) -> usize {
        self.reader.partial_bytes() + self.held.len()
    }

    /// Reads `input` and appends what it means to `events`. Media are slices of `input` where they lie whole in it. Take
    /// [`Server::take_output`] afterwards, also when this fails: it may hold what the peer should know.
    ///
    /// # Errors
    /// The peer must be dropped ([`Action::DropPeer`]).
    pub fn receive(&mut self, input: Bytes, events: &mut Vec<Event>) -> Result<(), RtmpError> {
        if self.held.is_empty() {
            self.held = input;
        } else if !input.is_empty() {
            let limit = self.limits.partial_bytes;
            if self.held.len() + input.len() > limit {
                return Err(self.broken(RtmpError::TooManyPartialBytes { limit }));
            }
            self.held = Bytes::from([&self.held[..], &input[..]].concat());
        }
        self.read(events).map_err(|error| self.broken(error))
    }

    /// Accepts the publish that was asked for, and goes on reading what came behind it. Without such a request nothing
    /// happens.
    ///
    /// # Errors
    /// As [`Server::receive`].
    pub fn accept_publish(&mut self, events: &mut Vec<Event>) -> Result<(), RtmpError> {
        if self.phase != Phase::Deciding {
            return Ok(());
        }
        self.phase = Phase::Publishing;
        self.reader.set_limits(self.limits);
        let stream_id = self.publish_stream_id;
        message::write_user_control(&mut self.writer, message::STREAM_BEGIN, stream_id, &mut self.output);
        self.status(stream_id, "status", "NetStream.Publish.Start", "Publishing.");
        self.read(events).map_err(|error| self.broken(error))
    }

    /// Refuses the publish that was asked for. `description` is shown to a person and must hold no secret. Nothing is read
    /// any more; write the output, then close.
    pub fn refuse_publish(&mut self, code: PublishStatus, description: &str) {
        if self.phase == Phase::Deciding {
            self.end(code, description);
        }
    }

    /// Ends a publish, or a connection that has not come to one, from our side. As [`Server::refuse_publish`] otherwise.
    pub fn end(&mut self, code: PublishStatus, description: &str) {
        if matches!(self.phase, Phase::Publish | Phase::Deciding | Phase::Publishing) {
            self.status(self.publish_stream_id, code.level(), code.code(), description);
        }
        self.phase = Phase::Ended;
        self.held = Bytes::new();
    }

    /// Asks the peer for a sign of life; any byte that comes is one.
    pub fn ping(&mut self, timestamp_ms: u32) {
        if !matches!(self.phase, Phase::Handshake | Phase::Ended) {
            message::write_user_control(&mut self.writer, message::PING_REQUEST, timestamp_ms, &mut self.output);
        }
    }

    /// What must be written to the peer, in order.
    pub fn take_output(&mut self) -> BytesMut {
        self.output.split()
    }

    fn broken(&mut self, error: RtmpError) -> RtmpError {
        self.phase = Phase::Ended;
        self.held = Bytes::new();
        error
    }

    /// Reads `held` until it is used up or a decision is needed.
    fn read(&mut self, events: &mut Vec<Event>) -> Result<(), RtmpError> {
        let mut input = std::mem::take(&mut self.held);
        if self.phase == Phase::Handshake {
            if !self.handshake.receive(&mut input, &mut self.output)? {
                return Ok(());
            }
            self.phase = Phase::Connect;
        }
        let before = input.len();
        while !matches!(self.phase, Phase::Deciding | Phase::Ended) {
            let Some(message) = self.reader.next(&mut input)? else { break };
            match self.message(message, events) {
                Err(error) if error.action() == Action::SkipMessage && self.may_skip() => {
                    events.push(Event::Skipped(error));
                }
                other => other?,
            }
            if self.output.len() > self.limits.output_bytes {
                return Err(RtmpError::TooMuchOutput { limit: self.limits.output_bytes });
            }
        }
        self.received += (before - input.len()) as u64;
        if self.phase == Phase::Deciding {
            self.held = input;
        }
        self.acknowledge();
        Ok(())
    }

    /// Whether one more message may be left out. An accepted publisher may be odd for as long as it likes, a stranger not.
    fn may_skip(&mut self) -> bool {
        if self.phase == Phase::Publishing {
            return true;
        }
        self.skipped += 1;
        self.skipped <= MAX_SKIPPED_OF_STRANGERS
    }

    /// Section 5.4.3: the count of all bytes, each time a window is full.
    fn acknowledge(&mut self) {
        if self.received - self.acknowledged >= u64::from(self.ack_window_bytes) {
            self.acknowledged = self.received;
            let total = (self.received & u64::from(u32::MAX)) as u32;
            message::write_control(&mut self.writer, message::ACKNOWLEDGEMENT, total, &[], &mut self.output);
        }
    }

    fn message(&mut self, message: Message, events: &mut Vec<Event>) -> Result<(), RtmpError> {
        match message.type_id {
            message::AUDIO | message::VIDEO | message::DATA_AMF0 | message::DATA_AMF3 => {
                if self.phase == Phase::Publishing
                    && let Some(tag) = message::tag(message.type_id, message.timestamp_ms, message.payload)
                {
                    events.push(Event::Media(tag));
                }
                Ok(())
            }
            message::AGGREGATE if self.phase == Phase::Publishing => {
                message::unpack_aggregate(&message, |tag| events.push(Event::Media(tag)))
            }
            message::AGGREGATE => Ok(()),
            message::COMMAND_AMF0 => self.command(message.stream_id, &message.payload, events),
            message::COMMAND_AMF3 => {
                let at = message::behind_amf3_byte(&message.payload);
                self.command(message.stream_id, &message.payload[at..], events)
            }
            message::USER_CONTROL => self.user_control(&message),
            message::WINDOW_ACK_SIZE => {
                let window = be_u32(&message.payload).ok_or_else(|| short(&message))?;
                self.ack_window_bytes = window.max(MIN_ACK_WINDOW_BYTES);
                Ok(())
            }
            // The reader has obeyed the first two; what we send is too little for the others to matter.
            message::SET_CHUNK_SIZE | message::ABORT | message::ACKNOWLEDGEMENT | message::SET_PEER_BANDWIDTH => Ok(()),
            other => Err(RtmpError::UnknownMessageType(other)),
        }
    }

    /// Section 6.2: a ping wants its four bytes back; the other events are for players.
    fn user_control(&mut self, message: &Message) -> Result<(), RtmpError> {
        let (event, rest) = message.payload.split_first_chunk::<2>().ok_or_else(|| short(message))?;
        if u16::from_be_bytes(*event) == message::PING_REQUEST {
            let stamp = be_u32(rest).ok_or_else(|| short(message))?;
            message::write_user_control(&mut self.writer, message::PING_RESPONSE, stamp, &mut self.output);
        }
        Ok(())
    }

    fn status(&mut self, stream_id: u32, level: &str, code: &str, description: &str) {
        let info = Value::object([
            ("level", Value::string(level)),
            ("code", Value::string(code)),
            ("description", Value::string(description)),
        ]);
        message::write_command(&mut self.writer, stream_id, "onStatus", 0.0, &[Value::Null, info], &mut self.output);
    }
}

fn short(message: &Message) -> RtmpError {
    RtmpError::ShortControlMessage { type_id: message.type_id, length: message.payload.len() }
}

#[cfg(test)]
mod tests;
