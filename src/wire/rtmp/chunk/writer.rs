//! Cuts messages into chunks.
//!
//! Headers are as short as earlier ones allow, within what all servers read alike: format 3 begins a message only behind a
//! header of format 1 or 2, never behind format 0 or an extended timestamp, where servers disagree.

use bytes::{BufMut, Bytes, BytesMut};

use super::{DEFAULT_CHUNK_BYTES, EXTENDED, MAX_CHUNK_BYTES, Message};
use crate::wire::rtmp::message::{CONTROL_CHUNK_STREAM, SET_CHUNK_SIZE};

/// Writes one direction of a connection, from behind the handshake.
#[derive(Debug)]
pub struct ChunkWriter {
    chunk_bytes: usize,
    streams: Vec<Last>,
}

/// What was last written on a chunk stream.
#[derive(Clone, Copy, Debug)]
struct Last {
    chunk_stream: u32,
    timestamp_ms: u32,
    /// `None` behind format 0.
    delta_ms: Option<u32>,
    length: usize,
    type_id: u8,
    stream_id: u32,
}

/// A message on its way out: what of it is not written.
#[derive(Debug)]
pub struct Outgoing {
    message: Message,
    /// The extended timestamp field of the message's header, repeated in each of its chunks.
    extended: Option<u32>,
    begun: bool,
}

impl Outgoing {
    /// A message of which nothing is written. Payloads beyond 16 777 215 bytes, the most that a header can say, are cut.
    pub fn new(mut message: Message) -> Self {
        message.payload.truncate(MAX_CHUNK_BYTES);
        Outgoing { message, extended: None, begun: false }
    }
}

impl Default for ChunkWriter {
    fn default() -> Self {
        ChunkWriter { chunk_bytes: DEFAULT_CHUNK_BYTES, streams: Vec::new() }
    }
}

impl ChunkWriter {
    /// Changes the chunk size (kept within 1 to 16 777 215 bytes) and tells the peer.
    pub fn set_chunk_size(&mut self, bytes: usize, out: &mut BytesMut) {
        let bytes = bytes.clamp(1, MAX_CHUNK_BYTES);
        let payload = u32::try_from(bytes).unwrap_or(u32::MAX >> 1).to_be_bytes();
        self.write(
            Message {
                chunk_stream: CONTROL_CHUNK_STREAM,
                timestamp_ms: 0,
                type_id: SET_CHUNK_SIZE,
                stream_id: 0,
                payload: Bytes::copy_from_slice(&payload),
            },
            out,
        );
        self.chunk_bytes = bytes;
    }

    /// Appends a whole message.
    pub fn write(&mut self, message: Message, out: &mut BytesMut) {
        let mut outgoing = Outgoing::new(message);
        while !self.write_chunk(&mut outgoing, out) {}
    }

    /// Appends the next chunk of `outgoing`; true when that was the last. Chunks of messages on other chunk streams may
    /// stand between; a chunk stream carries one message at a time.
    pub fn write_chunk(&mut self, outgoing: &mut Outgoing, out: &mut BytesMut) -> bool {
        if outgoing.begun {
            basic_header(3, outgoing.message.chunk_stream, out);
        } else {
            outgoing.extended = self.begin(&outgoing.message, out);
            outgoing.begun = true;
        }
        if let Some(extended) = outgoing.extended {
            out.put_u32(extended);
        }
        let payload = &mut outgoing.message.payload;
        let take = payload.len().min(self.chunk_bytes);
        out.put_slice(&payload.split_to(take));
        payload.is_empty()
    }

    /// Writes the header that begins `message`, without the extended timestamp, which is returned.
    fn begin(&mut self, message: &Message, out: &mut BytesMut) -> Option<u32> {
        let Message { chunk_stream, timestamp_ms, type_id, stream_id, .. } = *message;
        let length = message.payload.len();
        let mut next = Last { chunk_stream, timestamp_ms, delta_ms: None, length, type_id, stream_id };
        let index = self.streams.iter().position(|last| last.chunk_stream == chunk_stream);
        let last = index.map(|index| self.streams[index]);
        let delta = last
            .filter(|last| last.stream_id == stream_id)
            .map(|last| timestamp_ms.wrapping_sub(last.timestamp_ms))
            .filter(|delta| *delta < EXTENDED); // steps back and far ahead are said in full
        let (format, time) = match (last, delta) {
            (Some(last), Some(delta)) if (last.length, last.type_id) == (length, type_id) => {
                (if last.delta_ms == Some(delta) { 3 } else { 2 }, delta)
            }
            (Some(_), Some(delta)) => (1, delta),
            _ => (0, timestamp_ms),
        };
        next.delta_ms = delta;
        match index {
            Some(index) => self.streams[index] = next,
            None => self.streams.push(next),
        }
        basic_header(format, chunk_stream, out);
        let extended = (format == 0 && time >= EXTENDED).then_some(time);
        if format < 3 {
            put_u24(if extended.is_some() { EXTENDED } else { time }, out);
        }
        if format < 2 {
            put_u24(u32::try_from(length).unwrap_or(EXTENDED), out);
            out.put_u8(type_id);
        }
        if format == 0 {
            out.put_u32_le(stream_id);
        }
        extended
    }
}

fn basic_header(format: u8, chunk_stream: u32, out: &mut BytesMut) {
    let format = format << 6;
    match chunk_stream {
        0..=63 => out.put_u8(format | chunk_stream.to_le_bytes()[0]),
        64..=319 => out.put_slice(&[format, (chunk_stream - 64).to_le_bytes()[0]]),
        _ => {
            let id = (chunk_stream - 64).to_le_bytes();
            out.put_slice(&[format | 1, id[0], id[1]]);
        }
    }
}

fn put_u24(value: u32, out: &mut BytesMut) {
    out.put_slice(&value.to_be_bytes()[1..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(timestamp_ms: u32, type_id: u8, payload: &'static [u8]) -> Message {
        Message { chunk_stream: 4, timestamp_ms, type_id, stream_id: 1, payload: Bytes::from_static(payload) }
    }

    fn written(writer: &mut ChunkWriter, message: Message) -> Vec<u8> {
        let mut out = BytesMut::new();
        writer.write(message, &mut out);
        out.to_vec()
    }

    #[test]
    fn headers_get_shorter_as_messages_repeat() {
        let mut writer = ChunkWriter::default();
        assert_eq!(written(&mut writer, message(40, 8, b"a")), b"\x04\0\0\x28\0\0\x01\x08\x01\0\0\0a");
        assert_eq!(written(&mut writer, message(60, 8, b"bb")), b"\x44\0\0\x14\0\0\x02\x08bb");
        assert_eq!(written(&mut writer, message(81, 8, b"cc")), b"\x84\0\0\x15cc");
        assert_eq!(written(&mut writer, message(102, 8, b"dd")), b"\xC4dd");
        assert_eq!(written(&mut writer, message(101, 8, b"ee")), b"\x04\0\0\x65\0\0\x02\x08\x01\0\0\0ee");
    }

    #[test]
    fn an_extended_timestamp_is_repeated_in_every_chunk() {
        let mut writer = ChunkWriter::default();
        let mut out = BytesMut::new();
        writer.set_chunk_size(2, &mut out);
        assert_eq!(&out[..], b"\x02\0\0\0\0\0\x04\x01\0\0\0\0\0\0\0\x02");
        let bytes = written(&mut writer, message(0x0100_0000, 9, b"abc"));
        assert_eq!(bytes, b"\x04\xff\xff\xff\0\0\x03\x09\x01\0\0\0\x01\0\0\0ab\xC4\x01\0\0\0c");
    }

    #[test]
    fn basic_headers_take_the_shortest_form() {
        for (chunk_stream, expected) in
            [(2, vec![0xC2]), (63, vec![0xFF]), (64, vec![0xC0, 0]), (319, vec![0xC0, 255]), (320, vec![0xC1, 0, 1])]
        {
            let mut out = BytesMut::new();
            basic_header(3, chunk_stream, &mut out);
            assert_eq!(out, expected, "{chunk_stream}");
        }
    }
}
