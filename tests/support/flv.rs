//! The tags of a source file, to be edited before they are pushed.

#![allow(dead_code)] // each test module uses its part

use std::fs;

use super::source::Source;

/// FLV signature, version, flags and header length, then the first back pointer.
const FILE_HEADER_BYTES: usize = 9 + 4;
/// Type, size, time and stream of a tag.
const TAG_HEADER_BYTES: usize = 11;
const BACK_POINTER_BYTES: usize = 4;

/// What a tag is; the number is its type in files and in RTMP messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sound.
    Audio = 8,
    /// Pictures.
    Video = 9,
    /// `onMetaData`.
    Script = 18,
}

/// One tag, and when it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// What it is.
    pub kind: Kind,
    /// When it is sent: milliseconds from the first tag on, whatever its stamp becomes.
    pub due_ms: u64,
    /// What its timestamp says, modulo 2^32.
    pub stamp_ms: u32,
    /// Its body.
    pub body: Vec<u8>,
}

impl Tag {
    /// The configuration of its track: a sequence header.
    pub fn is_config(&self) -> bool {
        self.kind != Kind::Script && self.body[1] == 0
    }

    /// A coded picture.
    pub fn is_picture(&self) -> bool {
        self.kind == Kind::Video && self.body[1] == 1
    }

    /// A picture that says that it is a keyframe. In the sources of `scripts/source.sh` it is one.
    pub fn is_keyframe(&self) -> bool {
        self.is_picture() && self.body[0] >> 4 == 1
    }

    /// A frame of sound.
    pub fn is_sound(&self) -> bool {
        self.kind == Kind::Audio && self.body[1] == 1
    }

    /// What a picture's composition time says: milliseconds from decoding to presentation, 24 bits with a sign.
    pub fn composition_ms(&self) -> i32 {
        i32::from_be_bytes([self.body[2], self.body[3], self.body[4], 0]) >> 8
    }

    /// Changes a picture's composition time.
    pub fn set_composition_ms(&mut self, ms: i32) {
        self.body[2..5].copy_from_slice(&ms.to_be_bytes()[1..]);
    }

    /// Moves the stamp, over its wraps.
    pub fn move_stamp(&mut self, ms: i64) {
        self.stamp_ms = (i64::from(self.stamp_ms) + ms).rem_euclid(1 << 32) as u32;
    }
}

/// All tags of a source file but the end of sequence, each due at its stamp.
pub fn tags(source: &Source) -> Vec<Tag> {
    let file = fs::read(&source.path).unwrap_or_else(|error| panic!("{}: {error}", source.path.display()));
    let (mut rest, mut tags) = (&file[FILE_HEADER_BYTES..], Vec::new());
    while rest.len() >= TAG_HEADER_BYTES {
        let (header, behind) = rest.split_at(TAG_HEADER_BYTES);
        let size = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
        let kind = match header[0] {
            8 => Kind::Audio,
            9 => Kind::Video,
            18 => Kind::Script,
            other => panic!("a tag of type {other}"),
        };
        let stamp_ms = u32::from_be_bytes([header[7], header[4], header[5], header[6]]);
        let tag = Tag { kind, due_ms: u64::from(stamp_ms), stamp_ms, body: behind[..size].to_vec() };
        // FFmpeg's own goodbye, stamped behind the last picture: publishers of the tests' own have theirs.
        let end_of_sequence = kind == Kind::Video && tag.body[1] == 2;
        tags.extend((!end_of_sequence).then_some(tag));
        rest = &behind[size + BACK_POINTER_BYTES..];
    }
    tags
}

/// Index of the first tag that is due at `ms`; where a keyframe is due within a frame of it, of the keyframe.
pub fn due(tags: &[Tag], ms: u64) -> usize {
    let keyframe = tags.iter().position(|tag| tag.is_keyframe() && tag.due_ms.abs_diff(ms) <= 34);
    keyframe.or_else(|| tags.iter().position(|tag| tag.due_ms >= ms)).expect("the source is longer")
}

/// As FFmpeg's `dump_extra` and some hardware do: both sequence headers before each keyframe.
pub fn repeat_headers(tags: &mut Vec<Tag>) {
    let headers: Vec<_> = tags.iter().filter(|tag| tag.is_config()).cloned().collect();
    let old = std::mem::take(tags);
    for tag in old.into_iter().filter(|tag| !tag.is_config()) {
        if tag.is_keyframe() {
            let at = |header: &Tag| Tag { due_ms: tag.due_ms, stamp_ms: tag.stamp_ms, ..header.clone() };
            tags.extend(headers.iter().map(at));
        }
        tags.push(tag);
    }
}

/// Puts the parameter sets of the sequence header before each keyframe.
pub fn repeat_parameter_sets(tags: &mut [Tag]) {
    let header = tags.iter().find(|tag| tag.is_config() && tag.kind == Kind::Video).expect("a sequence header");
    let sets = parameter_sets(&header.body[5..]);
    let keyframes = tags.iter_mut().filter(|tag| tag.is_keyframe());
    keyframes.for_each(|tag| drop(tag.body.splice(5..5, sets.iter().copied())));
}

/// SPS and PPS of an avcC with one of each, with 4-byte lengths.
pub fn parameter_sets(record: &[u8]) -> Vec<u8> {
    let (mut rest, mut sets) = (&record[5..], Vec::new());
    for _ in 0..2 {
        let length = usize::from(u16::from_be_bytes([rest[1], rest[2]]));
        sets.extend((length as u32).to_be_bytes());
        sets.extend(&rest[3..3 + length]);
        rest = &rest[3 + length..];
    }
    sets
}

/// Tags as an aggregate message or a file holds them: each with its header before and its length behind it.
pub fn written<'a>(tags: impl IntoIterator<Item = &'a Tag>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for tag in tags {
        let (size, time) = ((tag.body.len() as u32).to_be_bytes(), tag.stamp_ms.to_be_bytes());
        bytes.extend([tag.kind as u8, size[1], size[2], size[3], time[1], time[2], time[3], time[0], 0, 0, 0]);
        bytes.extend(&tag.body);
        bytes.extend(((tag.body.len() + TAG_HEADER_BYTES) as u32).to_be_bytes());
    }
    bytes
}

#[test]
fn a_sources_tags_are_what_ffprobe_counts() {
    let source = Source::small(10);
    let tags = tags(&source);
    let count = |what: fn(&Tag) -> bool| tags.iter().filter(|tag| what(tag)).count();
    assert_eq!((count(Tag::is_config), count(Tag::is_picture), count(Tag::is_keyframe)), (2, 300, 5));
    let file = fs::read(&source.path).expect("it was just read");
    let all = written(&tags);
    assert!(file[FILE_HEADER_BYTES..].starts_with(&all), "what is read is written back");
    let mut picture = tags.iter().find(|tag| tag.is_picture()).expect("300 were counted").clone();
    for ms in [0, 67, -67, 8_388_607, -8_388_608] {
        picture.set_composition_ms(ms);
        assert_eq!(picture.composition_ms(), ms);
    }
}
