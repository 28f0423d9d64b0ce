//! The way of a publisher's bytes: handshake, chunks, messages, the server's state machine, FLV bodies, ingest.
//!
//! Any split of the bytes gives the same events; memory stays within the limits; what is told is fit for a log; every
//! message comes back from our own writer.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millstream::ingest::{Ingest, Input, Now, Settings};
use millstream::media::WallTime;
use millstream::wire::Inbound;
use millstream::wire::rtmp::chunk::{ChunkReader, ChunkWriter, Message};
use millstream::wire::rtmp::{Event, Limits, Phase, PublishStatus, RtmpError, Server, client};
use secrecy::ExposeSecret;

use super::source::{Source, assert_tellable, pieces};

/// Small enough for a fuzzer to reach.
const SMALL: Limits = Limits {
    message_bytes: 2_048,
    stranger_bytes: 1_024,
    chunk_streams: 4,
    partial_bytes: 4_096,
    command_bytes: 512,
    output_bytes: 4_096,
};

pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    let (how, seed) = (source.u8(), source.u8());
    let bytes = source.rest();
    match how & 7 {
        0 => conversation(bytes, how, seed),
        1 => chunks(bytes, seed),
        // Behind a good handshake, or behind all that leads to media: no luck is needed to come there.
        2 => conversation(&[&client::handshake(), bytes].concat(), how, seed),
        3 => small_limits(&[&client::handshake(), bytes].concat(), seed),
        _ => conversation(&[&publishing(), bytes].concat(), how, seed),
    }
}

/// What a publisher sends until it may send media.
fn publishing() -> Bytes {
    let mut publisher = client::Client::default();
    publisher.connect("live", "rtmp://h/live", "fuzz").create_stream().publish(1, "key");
    Bytes::from([client::handshake(), publisher.take()].concat())
}

fn conversation(bytes: &[u8], how: u8, seed: u8) {
    let accept = how & 0x80 == 0;
    let whole = converse(Limits::default(), std::iter::once(bytes), accept);
    let split = converse(Limits::default(), pieces(bytes, seed), accept);
    assert_eq!(whole.told, split.told);
    assert_eq!(whole.ending, split.ending);
    let media: usize = whole.media.iter().map(Inbound::len).sum();
    assert!(media <= bytes.len(), "{media} bytes of media out of {}", bytes.len());
    packets(whole.media);
}

fn small_limits(bytes: &[u8], seed: u8) {
    converse(SMALL, pieces(bytes, seed), true);
}

struct Conversation {
    /// Every event in words.
    told: Vec<String>,
    media: Vec<Inbound>,
    ending: Result<(), RtmpError>,
}

fn converse<'a>(limits: Limits, pieces: impl Iterator<Item = &'a [u8]>, accept: bool) -> Conversation {
    /// A read buffer's worth, and an answer that passed the limit.
    const SLACK: usize = 4_096;
    let mut server = Server::new(limits);
    let (mut told, mut media) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut events = Vec::new();
        let mut ending = server.receive(Bytes::copy_from_slice(piece), &mut events);
        while ending.is_ok() && server.phase() == Phase::Deciding {
            tell(&mut events, &mut told, &mut media);
            if accept {
                ending = server.accept_publish(&mut events);
            } else {
                server.refuse_publish(PublishStatus::Denied, "not today");
            }
        }
        tell(&mut events, &mut told, &mut media);
        assert!(server.held_bytes() <= limits.partial_bytes + piece.len(), "{} bytes held", server.held_bytes());
        assert!(server.take_output().len() <= limits.output_bytes + SLACK);
        if let Err(error) = ending {
            assert_tellable(&error.to_string());
            assert_eq!(server.phase(), Phase::Ended);
            return Conversation { told, media, ending: Err(error) };
        }
    }
    Conversation { told, media, ending: Ok(()) }
}

fn tell(events: &mut Vec<Event>, told: &mut Vec<String>, media: &mut Vec<Inbound>) {
    for event in events.drain(..) {
        told.push(match event {
            Event::PublishRequested { key, app, encoder } => {
                assert_tellable(&app);
                encoder.iter().for_each(|encoder| assert!(encoder.chars().count() <= 128 && !encoder.contains('\n')));
                format!("publish {app:?} {encoder:?} {:?}", key.expose_secret())
            }
            Event::Media(tag) => {
                assert!(!tag.data.is_empty());
                media.push(Inbound::Flv(tag.clone()));
                format!("{tag:?}")
            }
            Event::Unpublished => "unpublished".to_owned(),
            Event::Skipped(error) => {
                assert_tellable(&error.to_string());
                error.to_string()
            }
        });
    }
}

/// To the very packets: neither the demuxer nor the timeline may stumble. The target `ingest` judges what comes out.
fn packets(media: Vec<Inbound>) {
    let mut ingest = Ingest::new(Settings::default());
    let mut units = Vec::new();
    let mut now = Now { monotonic: Duration::from_secs(1), wall: WallTime::from_unix_millis(1_795_262_400_000) };
    for inbound in media {
        now.monotonic += Duration::from_millis(10);
        if let Err(rejected) = ingest.push(Input::Media(inbound), now, &mut units) {
            assert_tellable(&rejected.to_string());
            break;
        }
    }
    ingest.end(now, &mut units);
}

/// The chunk layer alone, and its writer.
fn chunks(bytes: &[u8], seed: u8) {
    let (whole, ending) = read_chunks(std::iter::once(bytes));
    assert_eq!((whole.clone(), ending), read_chunks(pieces(bytes, seed)));
    let (mut writer, mut written) = (ChunkWriter::default(), BytesMut::new());
    writer.set_chunk_size(1 + usize::from(seed) * 16, &mut written);
    // Control messages of the chunk layer would change how the rest is read.
    let kept: Vec<Message> = whole.into_iter().filter(|message| !matches!(message.type_id, 1 | 2)).collect();
    for message in &kept {
        writer.write(message.clone(), &mut written);
    }
    let (mut again, ending) = read_chunks(std::iter::once(&written[..]));
    assert_eq!(ending, Ok(()));
    again.remove(0); // Set Chunk Size
    assert_eq!(again, kept);
}

fn read_chunks<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Message>, Result<(), RtmpError>) {
    let limits = Limits::default();
    let (mut reader, mut messages) = (ChunkReader::new(limits), Vec::new());
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            match reader.next(&mut input) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
            assert!(reader.partial_bytes() <= limits.partial_bytes);
        }
        assert!(input.is_empty(), "bytes were left although no message is whole");
    }
    (messages, Ok(()))
}
