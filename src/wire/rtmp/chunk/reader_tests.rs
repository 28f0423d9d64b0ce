//! Chunks as encoders and enemies send them, written out by hand.

use super::*;
use bytes::{BufMut, BytesMut};

fn reader() -> ChunkReader {
    ChunkReader::new(Limits::default())
}

/// Everything that `bytes` hold, read at once; and once more byte by byte, which must give the same.
fn read(bytes: &[u8]) -> Result<Vec<Message>, RtmpError> {
    let whole = read_with(&mut reader(), bytes, bytes.len().max(1));
    assert_eq!(read_with(&mut reader(), bytes, 1), whole);
    whole
}

fn read_with(reader: &mut ChunkReader, bytes: &[u8], step: usize) -> Result<Vec<Message>, RtmpError> {
    let mut messages = Vec::new();
    for piece in bytes.chunks(step) {
        let mut piece = Bytes::copy_from_slice(piece);
        while let Some(message) = reader.next(&mut piece)? {
            messages.push(message);
        }
    }
    Ok(messages)
}

fn full(chunk_stream: u8, time: u32, length: u32, type_id: u8) -> Vec<u8> {
    let (time, length) = (time.to_be_bytes(), length.to_be_bytes());
    vec![chunk_stream, time[1], time[2], time[3], length[1], length[2], length[3], type_id, 1, 0, 0, 0]
}

fn set_chunk_size(size: u32) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 0, 4, SET_CHUNK_SIZE, 0, 0, 0, 0][..], &size.to_be_bytes()].concat()
}

fn media(messages: Vec<Message>) -> Vec<(u32, u8, Vec<u8>)> {
    let media = messages.into_iter().filter(|message| message.type_id > 2);
    media.map(|message| (message.timestamp_ms, message.type_id, message.payload.to_vec())).collect()
}

fn body(fill: u8, length: usize) -> Vec<u8> {
    vec![fill; length]
}

#[test]
fn audio_inside_a_chunked_video_message() {
    let bytes = [
        full(6, 40, 300, 9),
        body(1, 128),
        full(4, 41, 5, 8),
        body(2, 5),
        vec![0xC6],
        body(1, 128),
        vec![0x44, 0, 0, 21, 0, 0, 4, 8],
        body(3, 4),
        vec![0xC6],
        body(1, 44),
    ]
    .concat();
    let expected = vec![(41, 8, body(2, 5)), (62, 8, body(3, 4)), (40, 9, body(1, 300))];
    assert_eq!(read(&bytes).map(media), Ok(expected));
}

#[test]
fn a_new_chunk_size_holds_at_once_also_inside_a_message() {
    let bytes = [
        full(6, 0, 300, 9),
        body(1, 128),
        set_chunk_size(10),
        vec![0xC6],
        body(1, 10),
        set_chunk_size(4096),
        vec![0xC6],
        body(1, 162),
    ];
    assert_eq!(read(&bytes.concat()).map(media), Ok(vec![(0, 9, body(1, 300))]));
}

#[test]
fn abort_discards_the_message_and_keeps_its_header() {
    let abort = [2, 0, 0, 0, 0, 0, 4, ABORT, 0, 0, 0, 0, 0, 0, 0, 6];
    let bytes = [
        full(6, 50, 200, 9),
        body(1, 128),
        full(4, 50, 130, 8),
        body(2, 128),
        abort.to_vec(),
        vec![0xC4],
        body(2, 2),
        vec![0x86, 0, 0, 33],
        body(3, 128),
        vec![0xC6],
        body(3, 72),
    ];
    assert_eq!(read(&bytes.concat()).map(media), Ok(vec![(50, 8, body(2, 130)), (83, 9, body(3, 200))]));
}

#[test]
fn abort_gives_memory_back_and_unknown_chunk_streams_do_not_matter() {
    let mut reader = reader();
    let abort = |id: u8| [2, 0, 0, 0, 0, 0, 4, ABORT, 0, 0, 0, 0, 0, 0, 0, id];
    let bytes = [&full(6, 0, 200, 9)[..], &body(1, 128), &abort(9)].concat();
    assert!(read_with(&mut reader, &bytes, 64).is_ok());
    assert!(reader.partial_bytes() >= 128);
    assert!(read_with(&mut reader, &abort(6), 64).is_ok());
    assert_eq!(reader.partial_bytes(), 0);
}

#[test]
fn extended_timestamps_with_and_without_their_repetition() {
    for time in [0x00FF_FFFF_u32, 0x0100_0000, 0x7FFF_FFFF, 0xFFFF_FFFF] {
        let begin = [full(6, 0xFF_FFFF, 300, 9), time.to_be_bytes().to_vec(), body(1, 128)].concat();
        for repeated in [time.to_be_bytes().to_vec(), (time & 0x7FFF_FFFF).to_be_bytes().to_vec(), vec![]] {
            let next = |length| [vec![0xC6], repeated.clone(), body(1, length)].concat();
            let bytes = [begin.clone(), next(128), next(44), full(4, 7, 1, 8), body(2, 1)].concat();
            let expected = vec![(time, 9, body(1, 300)), (7, 8, body(2, 1))];
            assert_eq!(read(&bytes).map(media), Ok(expected), "{time:x} {repeated:02x?}");
        }
    }
}

#[test]
fn payload_that_begins_like_the_extended_timestamp_is_told_from_it() {
    // The field is not repeated, and the continuation's payload shares its first three bytes.
    let payload = [body(1, 128), vec![0x01, 0x02, 0x03, 0x05, 9]].concat();
    let begin = [full(6, 0xFF_FFFF, 133, 9), vec![0x01, 0x02, 0x03, 0x04]].concat();
    let bytes = [&begin[..], &payload[..128], &[0xC6], &payload[128..], &full(4, 7, 1, 8), &[2]].concat();
    assert_eq!(read(&bytes).map(media), Ok(vec![(0x0102_0304, 9, payload), (7, 8, body(2, 1))]));
}

#[test]
fn the_last_message_does_not_wait_for_bytes_that_tell_the_timestamp_from_payload() {
    let bytes = [full(6, 0xFF_FFFF, 129, 9), vec![1, 0, 0, 0], body(5, 128), vec![0xC6, 5]].concat();
    assert_eq!(read(&bytes).map(media), Ok(vec![(0x0100_0000, 9, body(5, 129))]));
}

#[test]
fn format_3_begins_a_message_with_the_last_delta() {
    let bytes = [
        full(4, 1_000, 2, 8),
        b"aa".to_vec(),
        vec![0x84, 0, 0, 20],
        b"bb".to_vec(),
        b"\xC4cc\xC4dd".to_vec(),
        vec![0x44, 0, 0, 5, 0, 0, 1, 8],
        b"e\xC4f".to_vec(),
    ];
    let times: Vec<u32> = read(&bytes.concat()).expect("readable").iter().map(|message| message.timestamp_ms).collect();
    assert_eq!(times, [1_000, 1_020, 1_040, 1_060, 1_065, 1_070]);
}

#[test]
fn format_3_behind_format_0_adds_its_time_again() {
    let bytes = [full(4, 23, 1, 8), b"a\xC4b".to_vec()].concat();
    assert_eq!(read(&bytes).map(media), Ok(vec![(23, 8, b"a".to_vec()), (46, 8, b"b".to_vec())]));
}

#[test]
fn format_3_begins_a_message_behind_an_extended_timestamp() {
    let time = 0x0112_A880_u32; // 5 hours
    for repeated in [&time.to_be_bytes()[..], &[]] {
        let begin = [&full(4, 0xFF_FFFF, 2, 8)[..], &time.to_be_bytes(), b"aa"].concat();
        let bytes = [&begin, &b"\xC4"[..], repeated, b"bb", &full(5, 9, 1, 8), b"c"].concat();
        let expected = vec![(time, 8, b"aa".to_vec()), (time, 8, b"bb".to_vec()), (9, 8, b"c".to_vec())];
        assert_eq!(read(&bytes).map(media), Ok(expected), "{repeated:02x?}");
    }
    let delta = 0x0100_0000_u32.to_be_bytes();
    let bytes = [
        &full(4, 1, 2, 8)[..],
        b"aa",
        &[0x84, 0xFF, 0xFF, 0xFF],
        &delta,
        b"bb",
        &[0xC4],
        &delta,
        b"cc",
        &[0x84, 0, 0, 2],
        b"dd\xC4ee",
    ];
    let times: Vec<u32> = read(&bytes.concat()).expect("readable").iter().map(|message| message.timestamp_ms).collect();
    assert_eq!(times, [1, 0x0100_0001, 0x0200_0001, 0x0200_0003, 0x0200_0005]);
}

#[test]
fn times_wrap_at_32_bits() {
    let bytes = [&full(4, 0xFF_FFFF, 1, 8)[..], &[0xFF, 0xFF, 0xFF, 0xFE], b"a", &[0x84, 0, 0, 3], b"b"].concat();
    assert_eq!(read(&bytes).map(media), Ok(vec![(0xFFFF_FFFE, 8, b"a".to_vec()), (1, 8, b"b".to_vec())]));
}

#[test]
fn a_first_header_may_leave_out_the_message_stream_and_nothing_else() {
    let ping = [0x42, 0, 0, 7, 0, 0, 6, 4, 0, 6, 0, 0, 0, 1];
    let messages = read(&ping).expect("readable");
    assert_eq!((messages[0].timestamp_ms, messages[0].stream_id, messages[0].type_id), (7, 0, 4));
    assert_eq!(read(&[0x84, 0, 0, 1]), Err(RtmpError::NothingToRepeat { chunk_stream: 4, format: 2 }));
    assert_eq!(read(&[0xC5, 0]), Err(RtmpError::NothingToRepeat { chunk_stream: 5, format: 3 }));
}

#[test]
fn a_header_inside_a_message_is_an_error() {
    let bytes = [full(6, 0, 200, 9), body(1, 128), full(6, 0, 10, 9)].concat();
    let expected = RtmpError::HeaderInsideMessage { chunk_stream: 6, format: 0, received: 128, length: 200 };
    assert_eq!(read(&bytes), Err(expected));
}

#[test]
fn chunk_sizes_from_1_to_the_longest_message_and_no_others() {
    let message = [full(6, 0, 3, 9), b"a\xC6b\xC6c".to_vec()].concat();
    assert_eq!(read(&[set_chunk_size(1), message].concat()).map(media), Ok(vec![(0, 9, b"abc".to_vec())]));
    for size in [0xFF_FFFF, 0x0100_0000, 0x7FFF_FFFF] {
        let bytes = [set_chunk_size(size), full(6, 0, 70_000, 9), body(1, 70_000)].concat();
        let messages = read_with(&mut reader(), &bytes, 4_096);
        assert_eq!(messages.map(media), Ok(vec![(0, 9, body(1, 70_000))]), "{size}");
    }
    for size in [0, 0x8000_0000, u32::MAX] {
        assert_eq!(read(&set_chunk_size(size)), Err(RtmpError::ChunkSize(Some(size))));
    }
    let short = [2, 0, 0, 0, 0, 0, 2, SET_CHUNK_SIZE, 0, 0, 0, 0, 1, 1];
    assert_eq!(read(&short), Err(RtmpError::ChunkSize(None)));
}

#[test]
fn empty_messages_are_whole_at_once() {
    let messages = read(&full(4, 5, 0, 8)).expect("readable");
    assert_eq!((messages.len(), messages[0].payload.len()), (1, 0));
}

#[test]
fn a_message_in_one_chunk_is_a_slice_of_the_input_and_a_small_one_a_copy() {
    let bytes =
        Bytes::from([set_chunk_size(4096), full(4, 0, 300, 8), body(1, 300), full(5, 0, 50, 8), body(2, 50)].concat());
    let range = bytes.as_ptr_range();
    let (mut reader, mut input) = (reader(), bytes.clone());
    let mut inside = Vec::new();
    while let Some(message) = reader.next(&mut input).expect("readable") {
        inside.push((message.payload.len(), range.contains(&message.payload.as_ptr())));
    }
    assert_eq!(inside, [(4, false), (300, true), (50, false)]);
}

#[test]
fn announced_lengths_and_counts_are_bounded() {
    let limits = Limits { message_bytes: 1_000, chunk_streams: 3, ..Limits::default() };
    let mut reader = ChunkReader::new(limits);
    let too_long = RtmpError::MessageTooLong { type_id: 9, length: 1_001, limit: 1_000 };
    assert_eq!(read_with(&mut reader, &full(6, 0, 1_001, 9), 64), Err(too_long));
    let mut reader = ChunkReader::new(limits);
    let bytes: Vec<u8> = (3..7).flat_map(|id| [full(id, 0, 1_000, 9), vec![0; 128]].concat()).collect();
    assert_eq!(read_with(&mut reader, &bytes, 64), Err(RtmpError::TooManyChunkStreams { limit: 3 }));
}

#[test]
fn a_thousand_chunk_streams_announcing_16_mib_each_stay_under_the_memory_limit() {
    let limits = Limits { message_bytes: 0xFF_FFFF, chunk_streams: 1_000, ..Limits::default() };
    let mut reader = ChunkReader::new(limits);
    let mut bytes = BytesMut::new();
    for id in 0..1_000_u16 {
        bytes.put_slice(&[1, id.to_le_bytes()[0], id.to_le_bytes()[1], 0, 0, 0, 0xFF, 0xFF, 0xFF, 9, 1, 0, 0, 0]);
        bytes.put_bytes(0, 128);
    }
    let limit = limits.partial_bytes;
    let (mut input, mut most) = (bytes.freeze(), 0);
    let result = loop {
        let mut piece = input.split_to(input.len().min(512));
        let result = reader.next(&mut piece);
        most = most.max(reader.partial_bytes());
        if result != Ok(None) {
            break result;
        }
    };
    assert_eq!(result, Err(RtmpError::TooManyPartialBytes { limit }));
    assert!((limit / 2..=limit).contains(&most), "{most}");
}

#[test]
fn memory_follows_what_is_sent_and_not_what_is_claimed() {
    let mut reader = reader();
    let bytes = [set_chunk_size(0xFF_FFFF), full(6, 0, 8 * 1024 * 1024, 9), body(1, 1_000)].concat();
    assert!(read_with(&mut reader, &bytes, 512).is_ok());
    assert_eq!(reader.partial_bytes(), FIRST_RESERVE_BYTES);
    assert!(read_with(&mut reader, &body(1, 1_000_000), 65_536).is_ok());
    assert!(reader.partial_bytes() <= 2 * 1_001_000, "{}", reader.partial_bytes());
    let rest = read_with(&mut reader, &body(1, 8 * 1024 * 1024 - 1_001_000), 65_536).expect("readable");
    assert_eq!((rest.len(), rest[0].payload.len(), reader.partial_bytes()), (1, 8 * 1024 * 1024, 0));
}

#[test]
fn an_error_does_not_show_payload() {
    let bytes = [full(3, 0, 11, 20), b"capture-key".to_vec()].concat();
    assert!(!format!("{:?}", read(&bytes)).contains("capture-key"));
}
