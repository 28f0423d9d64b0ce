//! FLV files: a header, then tags with their lengths behind them. Reader and writer without IO.
//!
//! The reader takes bytes in any pieces and holds at most one tag (16 MiB by its 24-bit length) beside what it was fed.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Tag, TagKind};

const SIGNATURE: &[u8; 3] = b"FLV";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 9;
const TAG_HEADER_BYTES: usize = 11;
/// Length of the tag before, behind each tag and once behind the header.
const BACK_POINTER_BYTES: usize = 4;
/// A header that claims to be longer than this is no header.
const MAX_HEADER_BYTES: usize = 1_024;
const MAX_BODY_BYTES: usize = (1 << 24) - 1;
const TYPE_AUDIO: u8 = 8;
const TYPE_VIDEO: u8 = 9;
const TYPE_SCRIPT: u8 = 18;
/// Filter bit: the body is encrypted.
const ENCRYPTED: u8 = 0x20;
const TYPE_MASK: u8 = 0x1f;

/// Why bytes are not an FLV file, or a tag does not fit into one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The first bytes are another file's.
    #[error("not an FLV file: it begins with {0:02x?}")]
    Signature([u8; 4]),
    /// The header's length is impossible.
    #[error("FLV header claims {0} bytes")]
    HeaderLength(usize),
    /// A tag's body is encrypted.
    #[error("FLV tag number {0} is encrypted")]
    Encrypted(u64),
    /// A body of 16 MiB or more does not fit into the 24-bit length.
    #[error("FLV tag body of {0} bytes does not fit into 24 bits")]
    BodyTooLong(usize),
}

/// Reads tags from bytes that come in pieces.
#[derive(Debug, Default)]
pub struct FileReader {
    buffer: BytesMut,
    header_read: bool,
    tags: u64,
}

impl FileReader {
    /// Adds bytes. Call [`FileReader::next_tag`] until it has no more before the next piece.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole tag, or `None` while bytes are missing. Tags of unknown type are skipped. A tag that the file cuts
    /// off at its end never comes.
    ///
    /// # Errors
    /// The bytes are no FLV file, or a tag is encrypted; the reader is then of no more use.
    pub fn next_tag(&mut self) -> Result<Option<Tag>, FileError> {
        if !self.header_read && !self.read_header()? {
            return Ok(None);
        }
        while let Some(tag) = self.take_tag()? {
            if tag.is_some() {
                return Ok(tag);
            }
        }
        Ok(None)
    }

    fn read_header(&mut self) -> Result<bool, FileError> {
        if self.buffer.len() < HEADER_BYTES {
            return Ok(false);
        }
        if self.buffer[..3] != *SIGNATURE {
            return Err(FileError::Signature([self.buffer[0], self.buffer[1], self.buffer[2], self.buffer[3]]));
        }
        let length = (&self.buffer[5..9]).get_u32() as usize;
        if !(HEADER_BYTES..=MAX_HEADER_BYTES).contains(&length) {
            return Err(FileError::HeaderLength(length));
        }
        if self.buffer.len() < length + BACK_POINTER_BYTES {
            return Ok(false);
        }
        self.buffer.advance(length + BACK_POINTER_BYTES);
        self.header_read = true;
        Ok(true)
    }

    /// `None`: bytes are missing. `Some(None)`: a tag of unknown type was skipped.
    fn take_tag(&mut self) -> Result<Option<Option<Tag>>, FileError> {
        let Some(header) = self.buffer.first_chunk::<TAG_HEADER_BYTES>().copied() else { return Ok(None) };
        let length = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
        if self.buffer.len() < TAG_HEADER_BYTES + length + BACK_POINTER_BYTES {
            return Ok(None);
        }
        self.tags += 1;
        if header[0] & ENCRYPTED != 0 {
            return Err(FileError::Encrypted(self.tags));
        }
        self.buffer.advance(TAG_HEADER_BYTES);
        let data = self.buffer.split_to(length).freeze();
        self.buffer.advance(BACK_POINTER_BYTES);
        let kind = match header[0] & TYPE_MASK {
            TYPE_AUDIO => TagKind::Audio,
            TYPE_VIDEO => TagKind::Video,
            TYPE_SCRIPT => TagKind::Script,
            _ => return Ok(Some(None)),
        };
        // The fourth byte holds the upper eight bits.
        let timestamp_ms = u32::from_be_bytes([header[7], header[4], header[5], header[6]]);
        Ok(Some(Some(Tag { kind, timestamp_ms, data })))
    }
}

/// All tags of a whole file in memory.
///
/// # Errors
/// As [`FileReader::next_tag`].
pub fn read_all(file: &[u8]) -> Result<Vec<Tag>, FileError> {
    let mut reader = FileReader::default();
    reader.feed(file);
    let mut tags = Vec::new();
    while let Some(tag) = reader.next_tag()? {
        tags.push(tag);
    }
    Ok(tags)
}

/// Writes the file's header with what tracks it announces.
pub fn write_header(out: &mut BytesMut, audio: bool, video: bool) {
    out.put_slice(SIGNATURE);
    out.put_slice(&[VERSION, u8::from(audio) << 2 | u8::from(video)]);
    out.put_u32(HEADER_BYTES as u32);
    out.put_u32(0);
}

/// Writes one tag.
///
/// # Errors
/// The body has 16 MiB or more; nothing was written.
pub fn write_tag(out: &mut BytesMut, tag: &Tag) -> Result<(), FileError> {
    if tag.data.len() > MAX_BODY_BYTES {
        return Err(FileError::BodyTooLong(tag.data.len()));
    }
    let length = (tag.data.len() as u32).to_be_bytes(); // checked above
    let time = tag.timestamp_ms.to_be_bytes();
    out.put_u8(match tag.kind {
        TagKind::Audio => TYPE_AUDIO,
        TagKind::Video => TYPE_VIDEO,
        TagKind::Script => TYPE_SCRIPT,
    });
    out.put_slice(&length[1..]);
    out.put_slice(&[time[1], time[2], time[3], time[0], 0, 0, 0]);
    out.put_slice(&tag.data);
    out.put_u32((TAG_HEADER_BYTES + tag.data.len()) as u32);
    Ok(())
}

/// A whole file of `tags`.
///
/// # Errors
/// As [`write_tag`].
pub fn write_all<'a>(tags: impl IntoIterator<Item = &'a Tag> + Clone) -> Result<Bytes, FileError> {
    let has = |kind| tags.clone().into_iter().any(|tag| tag.kind == kind);
    let mut out = BytesMut::new();
    write_header(&mut out, has(TagKind::Audio), has(TagKind::Video));
    for tag in tags {
        write_tag(&mut out, tag)?;
    }
    Ok(out.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tag(kind: TagKind, timestamp_ms: u32, data: &[u8]) -> Tag {
        Tag { kind, timestamp_ms, data: Bytes::copy_from_slice(data) }
    }

    #[test]
    fn a_file_byte_by_byte() {
        let file = write_all(&[tag(TagKind::Video, 0x0100_0203, &[7, 8])]).expect("small");
        let expected = [&b"FLV\x01\x01\0\0\0\x09\0\0\0\0"[..], &[9, 0, 0, 2, 0, 2, 3, 1, 0, 0, 0, 7, 8, 0, 0, 0, 13]];
        assert_eq!(file[..], expected.concat());
    }

    #[test]
    fn unknown_tags_are_skipped_and_a_cut_tag_never_comes() {
        let tags = [tag(TagKind::Audio, 1, &[1]), tag(TagKind::Script, 2, &[2]), tag(TagKind::Video, 3, &[3])];
        let mut file = write_all(&tags).expect("small").to_vec();
        file[13 + 16] = 15; // the script tag's type
        assert_eq!(read_all(&file), Ok(vec![tags[0].clone(), tags[2].clone()]));
        assert_eq!(read_all(&file[..file.len() - 1]), Ok(vec![tags[0].clone()]));
    }

    #[test]
    fn what_is_no_file_says_so() {
        let error = read_all(b"\x47@\0\x10 and so on").expect_err("a transport stream");
        assert_eq!(error.to_string(), "not an FLV file: it begins with [47, 40, 00, 10]");
        assert_eq!(read_all(b"FLV\x01\x05\xff\0\0\0"), Err(FileError::HeaderLength(0xff00_0000)));
        let mut file = write_all(&[tag(TagKind::Audio, 0, &[])]).expect("small").to_vec();
        file[13] |= ENCRYPTED;
        assert_eq!(read_all(&file), Err(FileError::Encrypted(1)));
        let long = Tag { data: Bytes::from(vec![0; 1 << 24]), ..tag(TagKind::Audio, 0, &[]) };
        assert_eq!(write_tag(&mut BytesMut::new(), &long), Err(FileError::BodyTooLong(1 << 24)));
    }

    fn any_tag() -> impl Strategy<Value = Tag> {
        let kind = prop::sample::select(vec![TagKind::Audio, TagKind::Video, TagKind::Script]);
        (kind, any::<u32>(), prop::collection::vec(any::<u8>(), 0..50)).prop_map(|(kind, timestamp_ms, data)| Tag {
            kind,
            timestamp_ms,
            data: Bytes::from(data),
        })
    }

    proptest! {
        #[test]
        fn files_come_back_in_any_pieces(tags in prop::collection::vec(any_tag(), 0..20), piece in 1usize..64) {
            let file = write_all(&tags).expect("small");
            let mut reader = FileReader::default();
            let mut read = Vec::new();
            for bytes in file.chunks(piece) {
                reader.feed(bytes);
                while let Some(tag) = reader.next_tag().expect("our own file") {
                    read.push(tag);
                }
            }
            prop_assert_eq!(read, tags);
        }

        #[test]
        fn no_bytes_panic(tail in prop::collection::vec(any::<u8>(), 0..100)) {
            let file = [&b"FLV\x01\x05\0\0\0\x09\0\0\0\0"[..], &tail].concat();
            let _any_result = read_all(&file);
        }
    }
}
