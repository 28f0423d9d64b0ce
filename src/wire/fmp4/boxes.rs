//! Walks the boxes of ISO/IEC 14496-12 4.2 in bytes that nobody vouches for, and draws them as a tree for tests and
//! people.
//!
//! A walk never looks past its bytes and never allocates by what they claim: a box is at least 8 bytes, so the number
//! of boxes is bounded by the input, and [`tree`] goes no deeper than [`MAX_DEPTH`].

use std::fmt::Write;

/// Deepest nesting that [`tree`] follows. An init segment needs 8.
pub const MAX_DEPTH: usize = 12;

/// A box type, printed as its four characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BoxKind(pub [u8; 4]);

impl std::fmt::Display for BoxKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl std::fmt::Debug for BoxKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Why bytes are not boxes, or a box not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The header is cut off, or the box ends behind what holds it.
    #[error("the box at byte {offset} ends outside of what holds it")]
    BadSize {
        /// Where the box begins.
        offset: usize,
    },
    /// The box is shorter than its fields.
    #[error("box {kind} at byte {offset} is too short for its fields")]
    Short {
        /// Its type.
        kind: BoxKind,
        /// Where it begins.
        offset: usize,
    },
    /// A box that must be there is not.
    #[error("there is no box {kind} in box {parent}")]
    Missing {
        /// What was looked for.
        kind: BoxKind,
        /// Where it was looked for; `file` at the top.
        parent: BoxKind,
    },
    /// The box's version or a flag says something that is not read here.
    #[error("box {kind} at byte {offset} says {what}, which is not read here")]
    Unsupported {
        /// Its type.
        kind: BoxKind,
        /// Where it begins.
        offset: usize,
        /// What it says.
        what: &'static str,
    },
    /// The samples of a trun and the bytes of mdat do not agree.
    #[error("{samples} samples of {claimed} bytes stand against an mdat of {present} bytes")]
    Payload {
        /// Samples in trun.
        samples: u32,
        /// Sum of their sizes.
        claimed: u64,
        /// Bytes behind the data offset.
        present: u64,
    },
}

/// One box: its type, where it begins in the bytes first given, and what is behind its header.
#[derive(Clone, Copy, Debug)]
pub struct Mp4Box<'a> {
    /// Type.
    pub kind: BoxKind,
    /// Byte at which its header begins.
    pub offset: usize,
    /// Length of the header, 8 or 16.
    pub header_len: usize,
    /// What is behind the header.
    pub body: &'a [u8],
}

impl<'a> Mp4Box<'a> {
    /// Length of the whole box.
    pub fn len(&self) -> usize {
        self.header_len + self.body.len()
    }

    /// Whether the body is empty.
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The boxes in the body behind `skip` bytes of fields.
    pub fn children(&self, skip: usize) -> Boxes<'a> {
        let skip = skip.min(self.body.len());
        Boxes { rest: &self.body[skip..], offset: self.offset + self.header_len + skip }
    }

    /// The first child of that kind, with `skip` bytes of fields in front of the children.
    ///
    /// # Errors
    /// There is none, or a box in front of it is broken.
    pub fn child(&self, skip: usize, kind: &[u8; 4]) -> Result<Mp4Box<'a>, ReadError> {
        find(self.children(skip), self.kind, kind)
    }

    /// A reader of the fields.
    pub fn fields(&self) -> Fields<'a> {
        Fields { kind: self.kind, offset: self.offset, rest: self.body }
    }
}

/// The boxes that stand one behind the other in some bytes. Ends behind the first broken one.
#[derive(Clone, Debug)]
pub struct Boxes<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Boxes<'a> {
    /// Walks a file, or a piece of one that begins with a box.
    pub fn new(bytes: &'a [u8]) -> Self {
        Boxes { rest: bytes, offset: 0 }
    }

    fn next_box(&mut self) -> Option<Mp4Box<'a>> {
        let (size, kind) = (self.rest.first_chunk::<4>()?, self.rest.get(4..8)?);
        let kind = BoxKind([kind[0], kind[1], kind[2], kind[3]]);
        let (header_len, len) = match u32::from_be_bytes(*size) {
            0 => (8, self.rest.len()),
            1 => {
                let large = self.rest.get(8..)?.first_chunk::<8>()?;
                (16, usize::try_from(u64::from_be_bytes(*large)).ok()?)
            }
            size => (8, size as usize),
        };
        let body = self.rest.get(header_len..len)?;
        let found = Mp4Box { kind, offset: self.offset, header_len, body };
        self.rest = &self.rest[len..];
        self.offset += len;
        Some(found)
    }
}

impl<'a> Iterator for Boxes<'a> {
    type Item = Result<Mp4Box<'a>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let offset = self.offset;
        Some(self.next_box().ok_or_else(|| {
            self.rest = &[];
            ReadError::BadSize { offset }
        }))
    }
}

/// The first box of `kind` among `boxes`, which lie in `parent`.
pub(super) fn find<'a>(boxes: Boxes<'a>, parent: BoxKind, kind: &[u8; 4]) -> Result<Mp4Box<'a>, ReadError> {
    for found in boxes {
        let found = found?;
        if found.kind.0 == *kind {
            return Ok(found);
        }
    }
    Err(ReadError::Missing { kind: BoxKind(*kind), parent })
}

/// Reads the fields of one box from front to back.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    kind: BoxKind,
    offset: usize,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn short(&self) -> ReadError {
        ReadError::Short { kind: self.kind, offset: self.offset }
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// The box ends before, here and in every other reader of this type.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], ReadError> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.short())?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.short())?;
        self.rest = rest;
        Ok(*array)
    }

    /// What is left.
    pub fn remaining(&self) -> &'a [u8] {
        self.rest
    }

    /// 8 bits.
    ///
    /// # Errors
    /// The box ends before.
    pub fn u8(&mut self) -> Result<u8, ReadError> {
        Ok(self.array::<1>()?[0])
    }

    /// 16 bits.
    ///
    /// # Errors
    /// The box ends before.
    pub fn u16(&mut self) -> Result<u16, ReadError> {
        self.array().map(u16::from_be_bytes)
    }

    /// 32 bits.
    ///
    /// # Errors
    /// The box ends before.
    pub fn u32(&mut self) -> Result<u32, ReadError> {
        self.array().map(u32::from_be_bytes)
    }

    /// 64 bits.
    ///
    /// # Errors
    /// The box ends before.
    pub fn u64(&mut self) -> Result<u64, ReadError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Version and flags of a full box.
    ///
    /// # Errors
    /// The box ends before.
    pub fn version_and_flags(&mut self) -> Result<(u8, u32), ReadError> {
        let word = self.u32()?;
        Ok(((word >> 24) as u8, word & 0x00ff_ffff))
    }
}

/// Bytes of fields in front of the child boxes, for boxes that have children; `None` for all others.
fn fields_before_children(kind: BoxKind) -> Option<usize> {
    match &kind.0 {
        b"moov" | b"trak" | b"mdia" | b"minf" | b"dinf" | b"stbl" | b"mvex" | b"moof" | b"traf" => Some(0),
        b"dref" | b"stsd" => Some(8),
        b"avc1" | b"hvc1" | b"av01" | b"vp09" => Some(78),
        b"mp4a" | b"Opus" => Some(28),
        _ => None,
    }
}

/// Draws the boxes of `bytes`, one per line: two blanks per level, type, length.
///
/// # Errors
/// The first box that is broken.
pub fn tree(bytes: &[u8]) -> Result<String, ReadError> {
    let mut out = String::new();
    draw(Boxes::new(bytes), 0, &mut out)?;
    Ok(out)
}

fn draw(boxes: Boxes<'_>, depth: usize, out: &mut String) -> Result<(), ReadError> {
    for found in boxes {
        let found = found?;
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{:indent$}{} {}", "", found.kind, found.len(), indent = 2 * depth);
        if let Some(skip) = fields_before_children(found.kind).filter(|_| depth < MAX_DEPTH) {
            draw(found.children(skip), depth + 1, out)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_large_size_and_a_size_to_the_end_are_read() {
        let mut bytes = b"\0\0\0\x01free\0\0\0\0\0\0\0\x12ab".to_vec();
        bytes.extend_from_slice(b"\0\0\0\0mdatxyz");
        let boxes: Vec<_> =
            Boxes::new(&bytes).map(|found| found.map(|found| (found.offset, found.len(), found.body))).collect();
        assert_eq!(boxes, [Ok((0, 18, &b"ab"[..])), Ok((18, 11, &b"xyz"[..]))]);
    }

    #[test]
    fn a_box_that_leaves_its_holder_ends_the_walk() {
        for bytes in
            [&b"\0\0\0\x09free"[..], b"\0\0\0\x07free", b"\0\0\0", b"\0\0\0\x01free\xff\xff\xff\xff\xff\xff\xff\xff"]
        {
            let walked: Vec<_> = Boxes::new(bytes).map(|found| found.map(|_| ())).collect();
            assert_eq!(walked, [Err(ReadError::BadSize { offset: 0 })], "{bytes:?}");
        }
    }

    #[test]
    fn nesting_is_followed_only_so_deep() {
        let mut bytes = Vec::new();
        for _ in 0..1_000 {
            let len = u32::try_from(bytes.len() + 8).expect("small");
            let mut outer = len.to_be_bytes().to_vec();
            outer.extend_from_slice(b"moov");
            outer.append(&mut bytes);
            bytes = outer;
        }
        assert_eq!(tree(&bytes).map(|text| text.lines().count()), Ok(MAX_DEPTH + 1));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = tree(&bytes);
        }
    }
}
