//! What messages mean (RTMP 1.0 sections 5.4, 6.2 and 7.1), below the level of commands.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::RtmpError;
use super::amf0::{self, Value};
use super::chunk::{ChunkWriter, Message};
use crate::wire::flv::{Tag, TagKind};

/// Set Chunk Size.
pub const SET_CHUNK_SIZE: u8 = 1;
/// Abort Message.
pub const ABORT: u8 = 2;
/// Acknowledgement: bytes received so far, modulo 2^32.
pub const ACKNOWLEDGEMENT: u8 = 3;
/// User Control Message.
pub const USER_CONTROL: u8 = 4;
/// Window Acknowledgement Size.
pub const WINDOW_ACK_SIZE: u8 = 5;
/// Set Peer Bandwidth.
pub const SET_PEER_BANDWIDTH: u8 = 6;
/// Audio.
pub const AUDIO: u8 = 8;
/// Video.
pub const VIDEO: u8 = 9;
/// Data, AMF3 form: a zero byte, then AMF0 in practice.
pub const DATA_AMF3: u8 = 15;
/// Command, AMF3 form: a zero byte, then AMF0 in practice.
pub const COMMAND_AMF3: u8 = 17;
/// Data: `onMetaData` and its like.
pub const DATA_AMF0: u8 = 18;
/// Command.
pub const COMMAND_AMF0: u8 = 20;
/// Aggregate: a run of FLV tags.
pub const AGGREGATE: u8 = 22;

/// User control event: a stream is ready.
pub const STREAM_BEGIN: u16 = 0;
/// User control event: are you there?
pub const PING_REQUEST: u16 = 6;
/// User control event: I am.
pub const PING_RESPONSE: u16 = 7;

/// Chunk stream of protocol control messages.
pub const CONTROL_CHUNK_STREAM: u32 = 2;
/// Chunk stream of our commands.
pub const COMMAND_CHUNK_STREAM: u32 = 3;

/// The 32-bit number at the start of a control message.
pub(super) fn be_u32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?))
}

/// Appends a protocol control message (types 3, 5 and the like): a number, and for Set Peer Bandwidth its limit type.
pub(super) fn write_control(writer: &mut ChunkWriter, type_id: u8, value: u32, extra: &[u8], out: &mut BytesMut) {
    let mut payload = BytesMut::with_capacity(5);
    payload.put_u32(value);
    payload.put_slice(extra);
    write(writer, CONTROL_CHUNK_STREAM, type_id, 0, payload.freeze(), out);
}

/// Appends a user control message with one number (section 6.2).
pub(super) fn write_user_control(writer: &mut ChunkWriter, event: u16, value: u32, out: &mut BytesMut) {
    let mut payload = BytesMut::with_capacity(6);
    payload.put_u16(event);
    payload.put_u32(value);
    write(writer, CONTROL_CHUNK_STREAM, USER_CONTROL, 0, payload.freeze(), out);
}

/// Appends an AMF0 command: its name, its transaction, and what follows.
pub(super) fn write_command(
    writer: &mut ChunkWriter,
    stream_id: u32,
    name: &str,
    transaction: f64,
    rest: &[Value],
    out: &mut BytesMut,
) {
    let mut payload = BytesMut::with_capacity(256);
    amf0::write_all(&mut payload, &[Value::string(name), Value::Number(transaction)]);
    amf0::write_all(&mut payload, rest);
    write(writer, COMMAND_CHUNK_STREAM, COMMAND_AMF0, stream_id, payload.freeze(), out);
}

fn write(writer: &mut ChunkWriter, chunk_stream: u32, type_id: u8, stream_id: u32, payload: Bytes, out: &mut BytesMut) {
    writer.write(Message { chunk_stream, timestamp_ms: 0, type_id, stream_id, payload }, out);
}

/// The tag that a media or data message is; `None` for other types, for empty media and for `@clearDataFrame`.
///
/// `@setDataFrame` is taken off the front, so that the body is what an FLV file would hold.
pub(super) fn tag(type_id: u8, timestamp_ms: u32, mut payload: Bytes) -> Option<Tag> {
    let kind = match type_id {
        AUDIO => TagKind::Audio,
        VIDEO => TagKind::Video,
        DATA_AMF0 => TagKind::Script,
        DATA_AMF3 => {
            payload.advance(behind_amf3_byte(&payload));
            TagKind::Script
        }
        _ => return None,
    };
    if kind == TagKind::Script {
        if starts_with_string(&payload, "@clearDataFrame") {
            return None;
        }
        if starts_with_string(&payload, SET_DATA_FRAME) {
            payload.advance(3 + SET_DATA_FRAME.len());
        }
    }
    (!payload.is_empty()).then_some(Tag { kind, timestamp_ms, data: payload })
}

/// Where the AMF0 of an AMF3 message begins: behind its zero byte, which some senders leave out. Both kinds of message
/// begin with a string, whose marker is not zero.
pub(super) fn behind_amf3_byte(payload: &[u8]) -> usize {
    usize::from(payload.first() == Some(&0))
}

const SET_DATA_FRAME: &str = "@setDataFrame";

/// Whether the first AMF0 value is this string.
fn starts_with_string(payload: &[u8], text: &str) -> bool {
    let header = [2, 0, text.len().to_le_bytes()[0]]; // our texts are shorter than 256 bytes
    payload.strip_prefix(&header).is_some_and(|rest| rest.starts_with(text.as_bytes()))
}

/// Length of the header of a tag in an aggregate, and of the back pointer behind it.
const TAG_HEADER_BYTES: usize = 11;
const BACK_POINTER_BYTES: usize = 4;

/// Unpacks an aggregate message (section 7.1.6): FLV tags whose times count from the first, which stands at the message's
/// own time. Tags before a broken one have been handed to `each`.
///
/// # Errors
/// A tag that does not fit into the message.
pub(super) fn unpack_aggregate(message: &Message, mut each: impl FnMut(Tag)) -> Result<(), RtmpError> {
    let (length, mut rest) = (message.payload.len(), message.payload.clone());
    let mut first_ms = None;
    while !rest.is_empty() {
        let offset = length - rest.len();
        let broken = RtmpError::BrokenAggregate { offset, length };
        if rest.len() < TAG_HEADER_BYTES {
            return Err(broken);
        }
        let header = rest.split_to(TAG_HEADER_BYTES);
        let size = usize::from(header[1]) << 16 | usize::from(header[2]) << 8 | usize::from(header[3]);
        let time_ms = u32::from_be_bytes([header[7], header[4], header[5], header[6]]);
        if size > rest.len() {
            return Err(broken);
        }
        let body = rest.split_to(size);
        rest.advance(BACK_POINTER_BYTES.min(rest.len())); // some senders leave the last one out
        let since_first = time_ms.wrapping_sub(*first_ms.get_or_insert(time_ms));
        if let Some(tag) = tag(header[0], message.timestamp_ms.wrapping_add(since_first), body) {
            each(tag);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aggregate(timestamp_ms: u32, payload: Vec<u8>) -> Message {
        Message { chunk_stream: 4, timestamp_ms, type_id: AGGREGATE, stream_id: 1, payload: payload.into() }
    }

    fn flv_tag(type_id: u8, time_ms: u32, body: &[u8]) -> Vec<u8> {
        let time = time_ms.to_be_bytes();
        let mut tag = vec![type_id, 0, 0, body.len() as u8, time[1], time[2], time[3], time[0], 0, 0, 0];
        tag.extend(body);
        tag.extend((body.len() as u32 + 11).to_be_bytes());
        tag
    }

    type Tags = Vec<(TagKind, u32, Vec<u8>)>;

    fn unpacked(message: &Message) -> (Tags, Result<(), RtmpError>) {
        let mut tags = Vec::new();
        let result = unpack_aggregate(message, |tag| tags.push((tag.kind, tag.timestamp_ms, tag.data.to_vec())));
        (tags, result)
    }

    #[test]
    fn tags_of_an_aggregate_are_rebased_on_its_time() {
        let bytes = [flv_tag(8, 0x0100_0005, b"aa"), flv_tag(9, 0x0100_0026, b"v"), flv_tag(8, 0x0100_0001, b"b")];
        let expected = vec![
            (TagKind::Audio, 1_000, b"aa".to_vec()),
            (TagKind::Video, 1_033, b"v".to_vec()),
            (TagKind::Audio, 996, b"b".to_vec()),
        ];
        assert_eq!(unpacked(&aggregate(1_000, bytes.concat())), (expected, Ok(())));
    }

    #[test]
    fn the_last_back_pointer_may_be_missing_and_other_types_are_left_out() {
        let mut bytes = [flv_tag(20, 7, b"command"), flv_tag(9, 7, b"v")].concat();
        bytes.truncate(bytes.len() - 4);
        assert_eq!(unpacked(&aggregate(50, bytes)), (vec![(TagKind::Video, 50, b"v".to_vec())], Ok(())));
    }

    #[test]
    fn a_tag_that_does_not_fit_ends_the_aggregate() {
        let good = flv_tag(8, 0, b"a");
        for (cut, offset) in [(1, 16), (10, 16)] {
            let bytes = [good.clone(), flv_tag(9, 0, b"video")[..11 + 5 - cut].to_vec()].concat();
            let broken = RtmpError::BrokenAggregate { offset, length: bytes.len() };
            assert_eq!(unpacked(&aggregate(0, bytes)), (vec![(TagKind::Audio, 0, b"a".to_vec())], Err(broken)));
        }
    }

    #[test]
    fn data_messages_lose_their_envelope() {
        let body = |type_id, bytes: &'static [u8]| tag(type_id, 3, Bytes::from_static(bytes)).map(|tag| tag.data);
        let meta = Bytes::from_static(b"\x02\x00\x0aonMetaData\x05");
        assert_eq!(body(DATA_AMF0, b"\x02\x00\x0d@setDataFrame\x02\x00\x0aonMetaData\x05"), Some(meta.clone()));
        assert_eq!(body(DATA_AMF3, b"\x00\x02\x00\x0d@setDataFrame\x02\x00\x0aonMetaData\x05"), Some(meta.clone()));
        assert_eq!(body(DATA_AMF3, b"\x02\x00\x0aonMetaData\x05"), Some(meta.clone()));
        assert_eq!(body(DATA_AMF0, b"\x02\x00\x0aonMetaData\x05"), Some(meta));
        assert_eq!(body(DATA_AMF0, b"\x02\x00\x0d@setDataFrame"), None);
        assert_eq!(body(DATA_AMF0, b"\x02\x00\x0f@clearDataFrame\x02\x00\x0aonMetaData"), None);
        assert_eq!((body(AUDIO, b""), body(COMMAND_AMF0, b"x"), body(DATA_AMF3, b"")), (None, None, None));
    }
}
