//! Joins chunks to messages, from any split of bytes.
//!
//! Each chunk stream has one buffer. A message that lies whole in one chunk of one input is a slice of that input; any
//! other is copied once. Memory is bounded by [`Limits::partial_bytes`], counted in capacity and not in claims.

use bytes::{Buf, Bytes};

use super::header::{Basic, Fields, MAX_HEADER_BYTES, repeats_extended};
use super::{DEFAULT_CHUNK_BYTES, MAX_CHUNK_BYTES, Message};
use crate::wire::rtmp::message::{ABORT, SET_CHUNK_SIZE, be_u32};
use crate::wire::rtmp::{Limits, RtmpError};

/// What a message's buffer gets at first: most video frames fit, and announcing without sending stays cheap.
const FIRST_RESERVE_BYTES: usize = 128 * 1024;

/// Messages up to this length are copied even where they could be slices: sequence headers and metadata are held for
/// long, and would pin a whole read buffer.
const COPY_UP_TO_BYTES: usize = 256;

/// Reads one direction of a connection, from behind the handshake.
#[derive(Debug)]
pub struct ChunkReader {
    limits: Limits,
    chunk_bytes: usize,
    streams: Vec<ChunkStream>,
    /// Start of a header whose end has not come. Shorter than [`MAX_HEADER_BYTES`].
    carry: Vec<u8>,
    current: Option<Current>,
    partial_bytes: usize,
}

/// The chunk whose payload is being read.
#[derive(Clone, Copy, Debug)]
struct Current {
    /// Index in `ChunkReader::streams`.
    stream: usize,
    /// Payload bytes still to come.
    left: usize,
}

/// What later chunks of a chunk stream refer to, and its unfinished message.
#[derive(Debug)]
struct ChunkStream {
    id: u32,
    timestamp_ms: u32,
    /// What a new message with a header of format 3 adds to the timestamp.
    delta_ms: u32,
    /// The extended timestamp field of the last header that had fields, as it was sent.
    extended: Option<u32>,
    length: usize,
    type_id: u8,
    stream_id: u32,
    /// A message has begun and is not whole.
    open: bool,
    body: Vec<u8>,
}

/// A header that is whole: how to go on.
#[derive(Clone, Copy, Debug)]
struct Header {
    basic: Basic,
    /// `None` in format 3.
    fields: Option<Fields>,
    /// Bytes that it takes.
    len: usize,
}

impl ChunkReader {
    /// A reader at the first chunk of a connection.
    pub fn new(limits: Limits) -> Self {
        ChunkReader {
            limits,
            chunk_bytes: DEFAULT_CHUNK_BYTES,
            streams: Vec::new(),
            carry: Vec::with_capacity(MAX_HEADER_BYTES),
            current: None,
            partial_bytes: 0,
        }
    }

    /// From the next chunk on, other limits hold: the peer is no stranger any more.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Bytes of memory that unfinished messages hold.
    pub fn partial_bytes(&self) -> usize {
        self.partial_bytes
    }

    /// Takes bytes off the front of `input` until a message is whole; `None` when `input` is used up. Set Chunk Size and
    /// Abort have been obeyed when they are returned.
    ///
    /// # Errors
    /// The bytes are not RTMP, or pass a limit; the reader cannot go on then.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Message>, RtmpError> {
        loop {
            let current = match self.current {
                Some(current) => current,
                None => match self.header(input)? {
                    Some(header) => self.begin(header)?,
                    None => return Ok(None),
                },
            };
            if current.left > 0 && input.is_empty() {
                self.current = Some(current);
                return Ok(None);
            }
            if let Some(message) = self.payload(current, input)? {
                self.obey(&message)?;
                return Ok(Some(message));
            }
        }
    }

    /// Takes one chunk header off `input`, together with what earlier inputs left over.
    fn header(&mut self, input: &mut Bytes) -> Result<Option<Header>, RtmpError> {
        if self.carry.is_empty() {
            let header = self.parse_header(input);
            match header {
                Some(header) => input.advance(header.len),
                None => self.carry.extend_from_slice(&input.split_to(input.len())),
            }
            return Ok(header);
        }
        while !input.is_empty() {
            self.carry.push(input.get_u8());
            let Some(header) = self.parse_header(&self.carry) else { continue };
            if header.len < self.carry.len() {
                // What began like a repeated extended timestamp is payload after all: it goes back in front.
                let mut joined = self.carry.split_off(header.len);
                joined.extend_from_slice(input);
                *input = Bytes::from(joined);
            }
            self.carry.clear();
            return Ok(Some(header));
        }
        Ok(None)
    }

    /// The header at the start of `bytes`; `None` while bytes are missing, which [`MAX_HEADER_BYTES`] always end.
    fn parse_header(&self, bytes: &[u8]) -> Option<Header> {
        let basic = Basic::parse(bytes)?;
        let rest = &bytes[basic.len..];
        if basic.format < 3 {
            let fields = Fields::parse(basic.format, rest)?;
            return Some(Header { basic, fields: Some(fields), len: basic.len + fields.len });
        }
        let extended = self.find(basic.chunk_stream).and_then(|index| self.streams[index].extended);
        let repeated = match extended {
            Some(expected) => repeats_extended(expected, rest)?,
            None => false,
        };
        Some(Header { basic, fields: None, len: basic.len + if repeated { 4 } else { 0 } })
    }

    /// Connections have few chunk streams: a scan is faster than a map.
    fn find(&self, chunk_stream: u32) -> Option<usize> {
        self.streams.iter().position(|stream| stream.id == chunk_stream)
    }

    /// Applies a header to its chunk stream.
    fn begin(&mut self, header: Header) -> Result<Current, RtmpError> {
        let Basic { format, chunk_stream, .. } = header.basic;
        let index = match self.find(chunk_stream) {
            Some(index) => index,
            None => self.open_stream(chunk_stream, format)?,
        };
        let stream = &mut self.streams[index];
        match header.fields {
            Some(_) if stream.open => {
                let (received, length) = (stream.body.len(), stream.length);
                return Err(RtmpError::HeaderInsideMessage { chunk_stream, format, received, length });
            }
            Some(fields) => stream.apply(format, fields),
            None if !stream.open => stream.timestamp_ms = stream.timestamp_ms.wrapping_add(stream.delta_ms),
            None => {}
        }
        if stream.length > self.limits.message_bytes {
            let (type_id, length) = (stream.type_id, stream.length);
            return Err(RtmpError::MessageTooLong { type_id, length, limit: self.limits.message_bytes });
        }
        stream.open = true;
        Ok(Current { stream: index, left: self.chunk_bytes.min(stream.length - stream.body.len()) })
    }

    /// Formats 2 and 3 need an earlier header. Format 1 lacks only the message stream and the absolute time; librtmp sends
    /// it first on chunk stream 2, and it is read as stream 0 and a time counted from 0.
    fn open_stream(&mut self, chunk_stream: u32, format: u8) -> Result<usize, RtmpError> {
        if format > 1 {
            return Err(RtmpError::NothingToRepeat { chunk_stream, format });
        }
        if self.streams.len() >= self.limits.chunk_streams {
            return Err(RtmpError::TooManyChunkStreams { limit: self.limits.chunk_streams });
        }
        self.streams.push(ChunkStream {
            id: chunk_stream,
            timestamp_ms: 0,
            delta_ms: 0,
            extended: None,
            length: 0,
            type_id: 0,
            stream_id: 0,
            open: false,
            body: Vec::new(),
        });
        Ok(self.streams.len() - 1)
    }

    /// Takes payload of `current` off `input`; the message, if that was its end.
    fn payload(&mut self, current: Current, input: &mut Bytes) -> Result<Option<Message>, RtmpError> {
        let take = current.left.min(input.len());
        let stream = &mut self.streams[current.stream];
        let payload = if stream.body.is_empty() && take == stream.length {
            let whole = input.split_to(take);
            if take <= COPY_UP_TO_BYTES { Bytes::copy_from_slice(&whole) } else { whole }
        } else {
            let limit = self.limits.partial_bytes;
            let grown = stream.reserve(take, limit.saturating_sub(self.partial_bytes));
            self.partial_bytes += grown.ok_or(RtmpError::TooManyPartialBytes { limit })?;
            stream.body.extend_from_slice(&input.split_to(take));
            let left = current.left - take;
            self.current = (left > 0).then_some(Current { left, ..current });
            if stream.body.len() < stream.length {
                return Ok(None);
            }
            self.partial_bytes -= stream.body.capacity();
            Bytes::from(std::mem::take(&mut stream.body))
        };
        self.current = None;
        stream.open = false;
        Ok(Some(Message {
            chunk_stream: stream.id,
            timestamp_ms: stream.timestamp_ms,
            type_id: stream.type_id,
            stream_id: stream.stream_id,
            payload,
        }))
    }

    /// Set Chunk Size (section 5.4.1) and Abort (5.4.2) act at once, also between the chunks of other messages.
    fn obey(&mut self, message: &Message) -> Result<(), RtmpError> {
        match (message.type_id, be_u32(&message.payload)) {
            (SET_CHUNK_SIZE, Some(size @ 1..=0x7FFF_FFFF)) => {
                self.chunk_bytes = usize::try_from(size).map_or(MAX_CHUNK_BYTES, |size| size.min(MAX_CHUNK_BYTES));
            }
            (SET_CHUNK_SIZE, size) => return Err(RtmpError::ChunkSize(size)),
            (ABORT, Some(chunk_stream)) => {
                if let Some(index) = self.find(chunk_stream) {
                    let stream = &mut self.streams[index];
                    self.partial_bytes -= stream.body.capacity();
                    stream.body = Vec::new();
                    stream.open = false;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl ChunkStream {
    /// Takes over the fields of a header of format 0 to 2 that begins a message.
    fn apply(&mut self, format: u8, fields: Fields) {
        if format == 0 {
            self.timestamp_ms = fields.time;
            // Section 5.3.1.2.4 and FMLE: a format 3 behind a format 0 adds the absolute time once more. Nobody means that
            // by a time beyond 4.6 hours: there the repeated field states the time, as other servers read it.
            self.delta_ms = if fields.extended { 0 } else { fields.time };
        } else {
            self.timestamp_ms = self.timestamp_ms.wrapping_add(fields.time);
            self.delta_ms = fields.time;
        }
        self.extended = fields.extended.then_some(fields.time);
        if let Some((length, type_id)) = fields.message {
            (self.length, self.type_id) = (length, type_id);
        }
        if let Some(stream_id) = fields.stream_id {
            self.stream_id = stream_id;
        }
    }

    /// Makes room for `more` bytes of body, doubling up to the message's length. By how much the capacity grew; `None` if
    /// that would be more than `allowed`.
    fn reserve(&mut self, more: usize, allowed: usize) -> Option<usize> {
        let (before, needed) = (self.body.capacity(), self.body.len() + more);
        if needed <= before {
            return Some(0);
        }
        let target = (before * 2).max(FIRST_RESERVE_BYTES).max(needed).min(self.length);
        if target - before > allowed {
            return None;
        }
        self.body.reserve_exact(target - self.body.len());
        Some(self.body.capacity() - before)
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
