//! The chunk layer (RTMP 1.0 section 5.3): messages cut into chunks, several messages interleaved.
//!
//! [`ChunkReader`] joins chunks to messages and obeys Set Chunk Size and Abort itself, because both change how the very
//! next byte is read. [`ChunkWriter`] is its inverse. What a message means is [`super::message`]'s business.

mod header;
mod reader;
mod writer;

use bytes::Bytes;

pub use reader::ChunkReader;
pub use writer::{ChunkWriter, Outgoing};

/// Chunk size of both directions until somebody says otherwise.
pub const DEFAULT_CHUNK_BYTES: usize = 128;
/// Largest useful chunk size: the longest message. Larger ones mean the same.
pub const MAX_CHUNK_BYTES: usize = 0xFF_FFFF;

/// One whole message.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Chunk stream that it came on or goes out on, 2 to 65 599.
    pub chunk_stream: u32,
    /// Milliseconds on the sender's clock, modulo 2^32.
    pub timestamp_ms: u32,
    /// RTMP message type.
    pub type_id: u8,
    /// Message stream; 0 is the connection itself.
    pub stream_id: u32,
    /// The body.
    pub payload: Bytes,
}

/// Leaves the payload out: a command's holds the stream key.
impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("chunk_stream", &self.chunk_stream)
            .field("timestamp_ms", &self.timestamp_ms)
            .field("type_id", &self.type_id)
            .field("stream_id", &self.stream_id)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

/// The 24-bit field that says that the time stands in four more bytes.
const EXTENDED: u32 = 0xFF_FFFF;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::rtmp::Limits;
    use crate::wire::rtmp::message::SET_CHUNK_SIZE;
    use bytes::{Bytes, BytesMut};
    use proptest::prelude::*;

    fn messages() -> impl Strategy<Value = Vec<Message>> {
        let times = prop_oneof![
            0..100_000_u32,
            0xFF_FFF0..0x100_0010_u32,
            0x7FFF_FFF0..0x8000_0010_u32,
            0xFFFF_FFF0..=u32::MAX,
            any::<u32>(),
        ];
        let chunk_streams = prop_oneof![3..9_u32, 60..70_u32, 318..322_u32, Just(65_599)];
        let message = (chunk_streams, times, 3..23_u8, 0..3_u32, 0..700_usize, any::<u8>()).prop_map(
            |(cs, time, ty, sid, len, fill)| {
                let payload: Bytes = (0..len).map(|n| fill.wrapping_add((n % 256) as u8)).collect();
                Message { chunk_stream: cs, timestamp_ms: time, type_id: ty, stream_id: sid, payload }
            },
        );
        prop::collection::vec(message, 1..24)
    }

    /// Writes `messages`, at each step one chunk of a message that `picks` choose among those that may be open together
    /// (one per chunk stream), with changes of the chunk size between them. Returns the bytes and the messages in the order
    /// of their completion.
    fn interleave(messages: Vec<Message>, picks: &[u8], sizes: &[usize]) -> (Bytes, Vec<Message>) {
        let (mut writer, mut out, mut done) = (ChunkWriter::default(), BytesMut::new(), Vec::new());
        let mut waiting: std::collections::VecDeque<Message> = messages.into();
        let mut open: Vec<(Message, Outgoing)> = Vec::new();
        for step in 0.. {
            while let Some(next) = waiting.front() {
                if open.len() >= 4 || open.iter().any(|(message, _)| message.chunk_stream == next.chunk_stream) {
                    break;
                }
                let message = waiting.pop_front().expect("front is there");
                open.push((message.clone(), Outgoing::new(message)));
            }
            if open.is_empty() {
                break;
            }
            if step % 5 == 4 {
                writer.set_chunk_size(sizes[step % sizes.len()], &mut out);
            }
            let index = usize::from(picks[step % picks.len()]) % open.len();
            if writer.write_chunk(&mut open[index].1, &mut out) {
                done.push(open.remove(index).0);
            }
        }
        (out.freeze(), done)
    }

    fn read_in(bytes: &Bytes, splits: &[usize]) -> Vec<Message> {
        let mut reader = ChunkReader::new(Limits::default());
        let (mut read, mut at, mut turn) = (Vec::new(), 0, 0);
        while at < bytes.len() {
            let end = (at + splits[turn % splits.len()]).min(bytes.len());
            let mut piece = bytes.slice(at..end);
            while let Some(message) = reader.next(&mut piece).expect("our own bytes are readable") {
                read.push(message);
            }
            (at, turn) = (end, turn + 1);
        }
        assert_eq!(reader.partial_bytes(), 0);
        read
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn what_is_written_is_read_back(
            messages in messages(),
            picks in prop::collection::vec(any::<u8>(), 1..20),
            sizes in prop::collection::vec(prop_oneof![1..5_usize, 100..300_usize, Just(4096), Just(MAX_CHUNK_BYTES)], 1..6),
            splits in prop::collection::vec(1..400_usize, 1..10),
        ) {
            let (bytes, expected) = interleave(messages, &picks, &sizes);
            let media = |read: Vec<Message>| read.into_iter().filter(|m| m.type_id != SET_CHUNK_SIZE).collect::<Vec<_>>();
            prop_assert_eq!(media(read_in(&bytes, &splits)), expected.clone());
            prop_assert_eq!(media(read_in(&bytes, &[1])), expected.clone());
            prop_assert_eq!(media(read_in(&bytes, &[usize::MAX / 2])), expected);
        }

        #[test]
        fn any_bytes_end_in_messages_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut reader = ChunkReader::new(Limits::default());
            let mut bytes = Bytes::from(bytes);
            while let Ok(Some(_)) = reader.next(&mut bytes) {}
        }
    }
}
