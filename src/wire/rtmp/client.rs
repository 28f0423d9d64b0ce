//! The bytes of a publisher: handshake, commands, media. It writes only; reading a server's answers is the caller's.
//!
//! Tests of the server use it, and forwards will.

use bytes::{Bytes, BytesMut};

use super::amf0::{self, Value};
use super::chunk::{ChunkWriter, Message};
use super::handshake::{self, PACKET_BYTES, VERSION};
use super::message::{self, AUDIO, DATA_AMF0, VIDEO};
use crate::wire::flv::{Tag, TagKind};

/// Chunk streams of media; commands go on [`message::COMMAND_CHUNK_STREAM`].
const AUDIO_CHUNK_STREAM: u32 = 4;
const DATA_CHUNK_STREAM: u32 = 5;
const VIDEO_CHUNK_STREAM: u32 = 6;

/// C0, C1 and a C2, which a server that checks nothing takes without waiting for its S1.
pub fn handshake() -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + 2 * PACKET_BYTES);
    bytes.extend_from_slice(&[VERSION]);
    bytes.extend_from_slice(&handshake::packet_with_filler());
    bytes.extend_from_slice(&handshake::packet_with_filler());
    bytes.freeze()
}

/// Writes a publisher's commands and media into one buffer.
#[derive(Debug, Default)]
pub struct Client {
    writer: ChunkWriter,
    output: BytesMut,
    transaction: f64,
}

impl Client {
    /// What is written and not taken.
    pub fn take(&mut self) -> Bytes {
        self.output.split().freeze()
    }

    /// Announces and uses another chunk size, from 1 to 16 777 215 bytes.
    pub fn set_chunk_size(&mut self, bytes: usize) -> &mut Self {
        self.writer.set_chunk_size(bytes, &mut self.output);
        self
    }

    /// `connect`.
    pub fn connect(&mut self, app: &str, tc_url: &str, flash_version: &str) -> &mut Self {
        let object = Value::object([
            ("app", Value::string(app)),
            ("type", Value::string("nonprivate")),
            ("flashVer", Value::string(flash_version)),
            ("tcUrl", Value::string(tc_url)),
        ]);
        self.command(0, "connect", &[object])
    }

    /// `createStream`; the server's answer names the stream, 1 for the first nearly everywhere.
    pub fn create_stream(&mut self) -> &mut Self {
        self.command(0, "createStream", &[Value::Null])
    }

    /// `publish` of type `live`.
    pub fn publish(&mut self, stream_id: u32, name: &str) -> &mut Self {
        self.command(stream_id, "publish", &[Value::Null, Value::string(name), Value::string("live")])
    }

    /// `deleteStream`.
    pub fn delete_stream(&mut self, stream_id: u32) -> &mut Self {
        self.command(0, "deleteStream", &[Value::Null, Value::Number(f64::from(stream_id))])
    }

    /// Any command, with the next transaction number.
    pub fn command(&mut self, stream_id: u32, name: &str, rest: &[Value]) -> &mut Self {
        self.transaction += 1.0;
        message::write_command(&mut self.writer, stream_id, name, self.transaction, rest, &mut self.output);
        self
    }

    /// Any message.
    pub fn message(&mut self, message: Message) -> &mut Self {
        self.writer.write(message, &mut self.output);
        self
    }

    /// One tag. Metadata goes out behind `@setDataFrame`.
    pub fn media(&mut self, stream_id: u32, tag: &Tag) -> &mut Self {
        let (chunk_stream, type_id, payload) = match tag.kind {
            TagKind::Audio => (AUDIO_CHUNK_STREAM, AUDIO, tag.data.clone()),
            TagKind::Video => (VIDEO_CHUNK_STREAM, VIDEO, tag.data.clone()),
            TagKind::Script => {
                let mut payload = BytesMut::with_capacity(16 + tag.data.len());
                amf0::write(&mut payload, &Value::string("@setDataFrame"));
                payload.extend_from_slice(&tag.data);
                (DATA_CHUNK_STREAM, DATA_AMF0, payload.freeze())
            }
        };
        self.message(Message { chunk_stream, timestamp_ms: tag.timestamp_ms, type_id, stream_id, payload })
    }
}
