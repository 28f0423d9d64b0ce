//! Reading a journal file, in memory that does not grow with it.
//!
//! A file ends in one of three ways: with its last record, with a torn tail (the process or the machine died while a
//! record was written, or its blocks never reached the disk), or with a head that is damaged, behind which nothing can be
//! found any more. A body that fails its checksum is passed over and counted; what follows it is read.
//! No writer ever appends to a file found at start, so a torn tail is left as it is.

use std::path::{Path, PathBuf};

use super::format::{FILE_HEADER_BYTES, PART_KIND, RECORD_HEADER_BYTES, RecordHeader, VERSION, file_version};
use super::record::{PART_HEAD_BYTES, Record};
use crate::store::StoreError;
use crate::store::files::Files;

/// Bytes read at once. Larger bodies of metadata (at most 1 MiB) make one larger read.
const CHUNK_BYTES: u64 = 256 << 10;

/// What was found at the reader's place.
#[derive(Debug)]
pub(crate) enum Step {
    /// A whole record. Of a part only the head; its payload lies in the file at `payload_at`.
    Record {
        /// The record.
        record: Record,
        /// Offset of a part's payload in the file.
        payload_at: u64,
    },
    /// A record whose body is damaged or of an unknown kind; passed over.
    Damaged,
}

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Behind the last record.
    Whole,
    /// At a record that is not whole, or a head that is none; the offset where it begins.
    Torn(u64),
}

/// A reader of one journal file.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    files: &'a dyn Files,
    path: PathBuf,
    len: u64,
    offset: u64,
    chunk: Vec<u8>,
    chunk_at: u64,
    ending: Option<Ending>,
}

impl<'a> Reader<'a> {
    /// Opens a journal file and reads its header. A file whose header never reached the disk reads as torn at 0.
    ///
    /// # Errors
    /// The disk fails, or a later release wrote the file.
    pub fn open(files: &'a dyn Files, path: &Path) -> Result<Self, StoreError> {
        let len = files.len(path).map_err(StoreError::disk("read", path))?;
        let (chunk, path) = (Vec::new(), path.to_owned());
        let mut reader = Reader { files, path, len, offset: 0, chunk, chunk_at: 0, ending: None };
        let version = reader.array::<FILE_HEADER_BYTES>(0)?.and_then(|header| file_version(&header));
        match version {
            Some(version) if version > VERSION => {
                return Err(StoreError::NewerJournal { path: reader.path, version });
            }
            Some(_) => reader.offset = FILE_HEADER_BYTES as u64,
            None => reader.ending = Some(Ending::Torn(0)),
        }
        Ok(reader)
    }

    /// How the file ended, once [`Reader::step`] has returned `None`.
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the file in bytes.
    pub fn file_len(&self) -> u64 {
        self.len
    }

    /// The next record, or `None` at the end.
    ///
    /// # Errors
    /// The disk fails.
    pub fn step(&mut self) -> Result<Option<Step>, StoreError> {
        if self.ending.is_some() {
            return Ok(None);
        }
        if self.offset == self.len {
            self.ending = Some(Ending::Whole);
            return Ok(None);
        }
        let header = self.array::<RECORD_HEADER_BYTES>(self.offset)?.and_then(|bytes| RecordHeader::decode(&bytes));
        let body_at = self.offset + RECORD_HEADER_BYTES as u64;
        let Some(header) = header.filter(|header| u64::from(header.len) <= self.len - body_at) else {
            self.ending = Some(Ending::Torn(self.offset));
            return Ok(None);
        };
        self.offset = body_at + u64::from(header.len);
        // Taken before the payload moves the chunk on, so that nothing is read twice.
        let part_head = if header.kind == PART_KIND { self.array::<PART_HEAD_BYTES>(body_at)? } else { None };
        let whole = self.checksum(body_at, header.len)? == header.body_crc;
        let record = if whole { self.record(header, body_at, part_head)? } else { None };
        let payload_at = body_at + PART_HEAD_BYTES as u64;
        Ok(Some(record.map_or(Step::Damaged, |record| Step::Record { record, payload_at })))
    }

    fn record(
        &mut self,
        header: RecordHeader,
        body_at: u64,
        part_head: Option<[u8; PART_HEAD_BYTES]>,
    ) -> Result<Option<Record>, StoreError> {
        let len = header.len as usize;
        if header.kind != PART_KIND {
            return Ok(Record::decode(header.kind, self.slice(body_at, len)?).ok());
        }
        let Some((size, head)) = len.checked_sub(PART_HEAD_BYTES).zip(part_head) else { return Ok(None) };
        let record = Record::decode(header.kind, &head).ok();
        Ok(record.map(|record| match record {
            Record::Part(mut head) => {
                head.entry.size = size;
                Record::Part(head)
            }
            other => other,
        }))
    }

    fn checksum(&mut self, at: u64, len: u32) -> Result<u32, StoreError> {
        let (mut at, end) = (at, at + u64::from(len));
        let mut crc = 0;
        while at < end {
            let held = (self.chunk_at + self.chunk.len() as u64).saturating_sub(at);
            let piece = (end - at).min(if at >= self.chunk_at && held > 0 { held } else { CHUNK_BYTES });
            crc = crc32c::crc32c_append(crc, self.slice(at, piece as usize)?);
            at += piece;
        }
        Ok(crc)
    }

    /// `None` when the file ends before.
    fn array<const N: usize>(&mut self, at: u64) -> Result<Option<[u8; N]>, StoreError> {
        if self.len.saturating_sub(at) < N as u64 {
            return Ok(None);
        }
        let slice = self.slice(at, N)?;
        Ok(slice.try_into().ok())
    }

    /// `len` bytes from `at`, which the caller knows to lie within the file.
    fn slice(&mut self, at: u64, len: usize) -> Result<&[u8], StoreError> {
        let inside = at >= self.chunk_at && at + len as u64 <= self.chunk_at + self.chunk.len() as u64;
        if !inside {
            let size = (len as u64).max(CHUNK_BYTES).min(self.len - at);
            self.chunk.resize(size as usize, 0);
            self.chunk_at = at;
            let read = self.files.read_exact_at(&self.path, &mut self.chunk, at);
            read.map_err(StoreError::disk("read", &self.path))?;
        }
        let from = (at - self.chunk_at) as usize;
        Ok(&self.chunk[from..from + len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::segment::{Init, RenditionId, SegmentEnd};
    use crate::media::{AudioCodec, AudioTrack, Part, Span, Timestamp, Track};
    use crate::store::files::OsFiles;
    use crate::store::journal::format::file_header;
    use crate::store::journal::record::part_frame;
    use bytes::Bytes;
    use std::sync::Arc;

    fn part(len: usize) -> Vec<u8> {
        let part = Part {
            rendition: RenditionId(0),
            msn: 1,
            epoch: 1,
            index: 0,
            samples: 10,
            duration: Span::from_millis(334),
            last_pts: Timestamp::ZERO,
            independent: true,
            bytes: Bytes::from((0..len).map(|n| (n % 251) as u8).collect::<Vec<_>>()),
        };
        let mut frame = Vec::new();
        part_frame(&part, &mut frame);
        frame.extend_from_slice(&part.bytes);
        frame
    }

    fn close(msn: u64) -> Vec<u8> {
        let mut frame = Vec::new();
        Record::Close(SegmentEnd { rendition: RenditionId(0), msn, duration: Span::from_secs(2) }).encode(&mut frame);
        frame
    }

    fn large_init() -> Vec<u8> {
        let track = Arc::new(Track::Audio(AudioTrack {
            codec: AudioCodec::Aac,
            config: Bytes::from_static(&[0x11, 0x90]),
            codecs: "mp4a.40.2".to_owned(),
            sample_rate: 48_000,
            channels: 2,
            samples_per_frame: 1_024,
        }));
        let mut frame = Vec::new();
        let bytes = Bytes::from(vec![7; 700_000]); // more than one chunk
        Record::Init(Init { rendition: RenditionId(0), number: 0, track, bytes }).encode(&mut frame);
        frame
    }

    /// What a reader finds in a file of these bytes: the records in short, and the ending.
    fn read(bytes: &[u8]) -> (Vec<String>, Ending) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("1.journal");
        std::fs::write(&path, bytes).expect("written");
        let mut reader = Reader::open(&OsFiles, &path).expect("opens");
        let mut found = Vec::new();
        while let Some(step) = reader.step().expect("readable") {
            found.push(match step {
                Step::Damaged => "damaged".to_owned(),
                Step::Record { record: Record::Part(head), payload_at } => {
                    let payload = &bytes[payload_at as usize..][..head.entry.size];
                    assert!(payload.iter().enumerate().all(|(n, byte)| *byte == (n % 251) as u8));
                    format!("part of {}", head.entry.size)
                }
                Step::Record { record: Record::Close(end), .. } => format!("close {}", end.msn),
                Step::Record { record: Record::Init(init), .. } => format!("init of {}", init.bytes.len()),
                Step::Record { record, .. } => format!("{record:?}"),
            });
        }
        (found, reader.ending().expect("at its end"))
    }

    fn file(records: &[Vec<u8>]) -> Vec<u8> {
        [file_header().to_vec(), records.concat()].concat()
    }

    #[test]
    fn records_of_all_sizes_are_read_through_a_small_buffer() {
        let bytes = file(&[part(0), part(1_000_000), close(1), large_init(), part(262_144), close(2)]);
        let wanted = ["part of 0", "part of 1000000", "close 1", "init of 700000", "part of 262144", "close 2"];
        assert_eq!(read(&bytes), (wanted.map(str::to_owned).to_vec(), Ending::Whole));
    }

    #[test]
    fn a_tail_torn_at_any_byte_ends_the_file_where_the_record_began() {
        let whole = file(&[close(1), part(100)]);
        let last = whole.len() - part(100).len();
        for cut in last + 1..whole.len() {
            let (found, ending) = read(&whole[..cut]);
            assert_eq!(
                (found.as_slice(), ending),
                (["close 1".to_owned()].as_slice(), Ending::Torn(last as u64)),
                "{cut}"
            );
        }
        assert_eq!(read(&whole[..last]).1, Ending::Whole);
        // The blocks of a tail may come back as zeros.
        let mut zeros = whole.clone();
        zeros[last..].fill(0);
        assert_eq!(read(&zeros).1, Ending::Torn(last as u64));
    }

    #[test]
    fn a_file_torn_in_its_header_holds_nothing() {
        for len in 0..FILE_HEADER_BYTES {
            assert_eq!(read(&file_header()[..len]), (vec![], Ending::Torn(0)), "{len}");
        }
        assert_eq!(read(&file_header()), (vec![], Ending::Whole));
        assert_eq!(read(&[0; 4_096]), (vec![], Ending::Torn(0)));
        assert_eq!(read(b"something else that is no journal at all"), (vec![], Ending::Torn(0)));
    }

    #[test]
    fn any_damaged_byte_of_a_body_costs_that_record_alone() {
        let whole = file(&[close(1), part(10), close(2)]);
        let body = FILE_HEADER_BYTES + close(1).len() + RECORD_HEADER_BYTES;
        for at in body..body + PART_HEAD_BYTES + 10 {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            let wanted = ["close 1", "damaged", "close 2"].map(str::to_owned).to_vec();
            assert_eq!(read(&bytes), (wanted, Ending::Whole), "byte {at}");
        }
    }

    #[test]
    fn behind_a_damaged_head_nothing_is_believed() {
        let mut bytes = file(&[close(1), part(10), close(2)]);
        let at = FILE_HEADER_BYTES + close(1).len();
        bytes[at] ^= 1;
        assert_eq!(read(&bytes), (vec!["close 1".to_owned()], Ending::Torn(at as u64)));
    }

    #[test]
    fn an_unknown_kind_is_passed_over() {
        let mut strange = RecordHeader::of(200, &[], b"later").encode().to_vec();
        strange.extend_from_slice(b"later");
        let wanted = ["close 1", "damaged", "close 2"].map(str::to_owned).to_vec();
        assert_eq!(read(&file(&[close(1), strange, close(2)])), (wanted, Ending::Whole));
    }
}
