//! FLV: a file gives the same tags in any pieces and comes back from the writer; bodies of tags come back too; of a connection
//! with any tracks one of each kind is taken.

use bytes::Bytes;
use millstream::wire::flv::file::{FileError, FileReader, read_all, write_all};
use millstream::wire::flv::{AudioTag, Tag, TagReader, VideoTag, parse_audio, parse_video};

use super::source::{Source, assert_tellable, pieces};

pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    let how = source.u8();
    if how & 4 != 0 {
        return connection(&mut source);
    }
    match how & 3 {
        0 => file(source.rest(), how),
        // Behind a good header, so that no luck is needed to come to the tags.
        1 => file(&[b"FLV\x01\x05\0\0\0\x09\0\0\0\0", source.rest()].concat(), how),
        2 => video(&Bytes::copy_from_slice(source.rest())),
        _ => audio(&Bytes::copy_from_slice(source.rest())),
    }
}

fn file(bytes: &[u8], seed: u8) {
    let (whole, ending) = in_pieces(std::iter::once(bytes));
    assert_eq!((whole.clone(), ending.clone()), in_pieces(pieces(bytes, seed)));
    let held: usize = whole.iter().map(|tag| tag.data.len() + 15).sum();
    assert!(held <= bytes.len(), "{held} bytes of tags out of {}", bytes.len());
    match ending {
        Ok(()) => assert_eq!(read_all(bytes), Ok(whole.clone())),
        Err(error) => assert_tellable(&error.to_string()),
    }
    let written = write_all(&whole).expect("a tag that was read fits");
    assert_eq!(read_all(&written), Ok(whole));
}

/// All tags up to the end or the first error.
fn in_pieces<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Tag>, Result<(), FileError>) {
    let (mut reader, mut tags) = (FileReader::default(), Vec::new());
    for piece in pieces {
        reader.feed(piece);
        loop {
            match reader.next_tag() {
                Ok(Some(tag)) => tags.push(tag),
                Ok(None) => break,
                Err(error) => return (tags, Err(error)),
            }
        }
    }
    (tags, Ok(()))
}

fn video(body: &Bytes) {
    match parse_video(body) {
        Ok(tag) => assert_eq!(parse_video(&tag.to_body()), Ok(tag)),
        Err(error) => assert_tellable(&error.to_string()),
    }
}

fn audio(body: &Bytes) {
    match parse_audio(body) {
        Ok(tag) => assert_eq!(parse_audio(&tag.to_body()), Ok(tag)),
        Err(error) => assert_tellable(&error.to_string()),
    }
}

/// Messages, each behind its kind and length.
fn connection(source: &mut Source<'_>) {
    let (mut reader, mut notices) = (TagReader::default(), 0);
    while !source.is_empty() {
        let (is_audio, length) = (source.u8() & 1 == 1, usize::from(source.u8()));
        let body = Bytes::copy_from_slice(source.bytes(length));
        let error = if is_audio {
            match reader.audio(&body) {
                Ok(AudioTag::Frame { data, .. } | AudioTag::Config { config: data, .. }) => {
                    assert!(data.len() < body.len());
                    None
                }
                Ok(AudioTag::Ignored) => None,
                Err(error) => Some(error),
            }
        } else {
            match reader.video(&body) {
                Ok(VideoTag::Frame { data, .. } | VideoTag::Config { config: data, .. }) => {
                    assert!(data.len() < body.len());
                    None
                }
                Ok(VideoTag::EndOfSequence(_) | VideoTag::Ignored) => None,
                Err(error) => Some(error),
            }
        };
        if let Some(error) = error {
            assert_tellable(&error.to_string());
        }
        for notice in reader.new_notices() {
            assert_tellable(&notice.to_string());
            notices += 1;
        }
        assert!(notices <= 32, "{notices} notices");
    }
}
