//! Captures of real encoders give the same events, however their bytes are split.

use crate::support::{CAPTURES, capture, replay};
use bytes::Bytes;
use millstream::wire::flv::{Tag, TagKind};
use millstream::wire::rtmp::chunk::ChunkReader;
use millstream::wire::rtmp::{Event, Limits};
use proptest::prelude::*;
use rml_rtmp::chunk_io::ChunkDeserializer;
use secrecy::ExposeSecret;

/// C0, C1 and C2.
const HANDSHAKE_BYTES: usize = 1 + 2 * 1536;

/// Events in a form that can be compared, the key included.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Publish(String, String, Option<String>),
    Media(Tag),
    Unpublished,
    Skipped(String),
}

fn seen(name: &str, splits: &[usize]) -> Vec<Seen> {
    let see = |event| match event {
        Event::PublishRequested { key, app, encoder } => Seen::Publish(app, key.expose_secret().to_owned(), encoder),
        Event::Media(tag) => Seen::Media(tag),
        Event::Unpublished => Seen::Unpublished,
        Event::Skipped(error) => Seen::Skipped(error.to_string()),
    };
    replay(&capture(name), splits).into_iter().map(see).collect()
}

fn tags(events: &[Seen], kind: TagKind) -> Vec<&Tag> {
    let tags = events.iter().filter_map(|event| if let Seen::Media(tag) = event { Some(tag) } else { None });
    tags.filter(|tag| tag.kind == kind).collect()
}

#[test]
fn each_capture_is_one_publish_with_all_its_media() {
    for (name, encoder, audio, video, script) in [
        (CAPTURES[0], "FMLE/3.0 (compatible; FMSc/1.0)", 276, 179, 1),
        (CAPTURES[1], "FMLE/3.0 (compatible; Lavf59.27.100)", 284, 182, 1),
        (CAPTURES[2], "LNX 10,0,32,18", 282, 182, 14),
    ] {
        let events = seen(name, &[usize::MAX]);
        let request = Seen::Publish("live".to_owned(), "capture-key".to_owned(), Some(encoder.to_owned()));
        assert_eq!((events.first(), events.last()), (Some(&request), Some(&Seen::Unpublished)), "{name}");
        let counts = [TagKind::Audio, TagKind::Video, TagKind::Script].map(|kind| tags(&events, kind).len());
        assert_eq!(counts, [audio, video, script], "{name}");
        assert_eq!(events.len(), 2 + audio + video + script, "{name}: nothing is skipped, nothing comes twice");
    }
}

#[test]
fn times_and_bodies_are_those_of_the_encoder() {
    for name in CAPTURES {
        let events = seen(name, &[usize::MAX]);
        let (audio, video) = (tags(&events, TagKind::Audio), tags(&events, TagKind::Video));
        assert_eq!(audio[0].data[..2], [0xAF, 0], "{name}: AudioSpecificConfig first");
        assert!(audio[1..].iter().all(|tag| tag.data[..2] == [0xAF, 1]), "{name}");
        assert_eq!(video[0].data[..2], [0x17, 0], "{name}: AVCDecoderConfigurationRecord first");
        assert!(tags(&events, TagKind::Script).iter().all(|tag| tag.data.starts_with(b"\x02\x00\x0aonMetaData")));
        let ends = video.iter().filter(|tag| tag.data.starts_with(&[0x17, 2])).count();
        assert_eq!(ends, usize::from(name != CAPTURES[0]), "{name}: end of sequence");
        let frames: Vec<u32> =
            video[1..].iter().take_while(|tag| tag.data[1] == 1).map(|tag| tag.timestamp_ms).collect();
        // GStreamer's muxer lifts video to the audio time that went out before it: 0 to 43 ms apart.
        let steps = if name == CAPTURES[2] { 0..=47 } else { 30..=37 };
        assert!(frames.windows(2).all(|pair| steps.contains(&(pair[1] - pair[0]))), "{name}: {frames:?}");
        let beats: Vec<u32> = audio[1..].iter().map(|tag| tag.timestamp_ms).collect();
        assert!(beats.windows(2).all(|pair| (20..=23).contains(&(pair[1] - pair[0]))), "{name}: {beats:?}");
    }
}

#[test]
fn byte_by_byte_gives_the_same_events() {
    for name in CAPTURES {
        assert!(seen(name, &[1]) == seen(name, &[usize::MAX]), "{name}");
    }
}

/// Messages as type, time and body.
type Read = Vec<(u8, u32, Vec<u8>)>;

fn read_by_us(chunks: &Bytes) -> Read {
    let (mut reader, mut input, mut read) = (ChunkReader::new(Limits::default()), chunks.clone(), Read::new());
    while let Some(message) = reader.next(&mut input).expect("good RTMP") {
        read.push((message.type_id, message.timestamp_ms, message.payload.to_vec()));
    }
    read
}

fn read_by_rml_rtmp(chunks: &Bytes) -> Read {
    let (mut reader, mut input, mut read) = (ChunkDeserializer::new(), &chunks[..], Read::new());
    while let Some(message) = reader.get_next_message(input).expect("good RTMP") {
        input = &[]; // it keeps what it was given
        if message.type_id == 1 {
            let size = message.data[..4].try_into().expect("four bytes");
            reader.set_max_chunk_size(u32::from_be_bytes(size) as usize).expect("a good size");
        }
        read.push((message.type_id, message.timestamp.value, message.data.to_vec()));
    }
    read
}

#[test]
fn an_independent_reader_sees_the_same_messages() {
    for (name, messages) in CAPTURES.into_iter().zip([464, 475, 487]) {
        let chunks = capture(name).slice(HANDSHAKE_BYTES..);
        let ours = read_by_us(&chunks);
        assert_eq!(ours.len(), messages, "{name}");
        assert!(ours == read_by_rml_rtmp(&chunks), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn random_splits_give_the_same_events(
        name in prop::sample::select(CAPTURES.to_vec()),
        splits in prop::collection::vec(prop_oneof![1..8_usize, 1..200_usize, 1000..20_000_usize], 1..40),
    ) {
        prop_assert!(seen(name, &splits) == seen(name, &[usize::MAX]), "{}", name);
    }
}
