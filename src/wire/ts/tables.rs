//! PAT and PMT (H.222.0 2.4.4.3 and 2.4.4.8), and what a stream in a PMT is.

use crate::media::{AudioCodec, VideoCodec};

use super::framer::Framing;
use super::packet::NULL_PID;
use super::{Ignored, Pid};

/// Most programs of a PAT that are looked at.
pub(super) const MAX_PROGRAMS: usize = 32;
/// Most streams of a PMT that are looked at.
pub(super) const MAX_STREAMS: usize = 64;

const PAT_ID: u8 = 0;
const PMT_ID: u8 = 2;
const FLAG_CURRENT: u8 = 1;
/// Bytes from `table_id` to `last_section_number`.
const LONG_HEADER_BYTES: usize = 8;

/// One section of a PAT.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PatSection {
    pub number: u8,
    pub last: u8,
    /// `program_number` and the PID of its PMT, in order, without the network PID.
    pub programs: Vec<(u16, Pid)>,
}

/// A PMT.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(super) struct Pmt {
    pub program: u16,
    pub pcr_pid: Pid,
    pub streams: Vec<Stream>,
}

/// An elementary stream of a PMT.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) struct Stream {
    pub pid: Pid,
    pub stream_type: u8,
    pub content: Content,
}

/// What an elementary stream is.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) enum Content {
    Video(VideoCodec),
    Audio(AudioCodec, Framing),
    /// Nothing that is taken.
    Other(&'static str),
}

impl Pmt {
    pub(super) fn has_video(&self) -> bool {
        self.streams.iter().any(|stream| matches!(stream.content, Content::Video(_)))
    }

    pub(super) fn has_audio(&self) -> bool {
        self.streams.iter().any(|stream| matches!(stream.content, Content::Audio(..)))
    }
}

impl Stream {
    /// This stream as one that is not taken.
    pub(super) fn ignored(&self) -> Ignored {
        let name = match self.content {
            Content::Video(codec) => codec.name(),
            Content::Audio(codec, _) => codec.name(),
            Content::Other(name) => name,
        };
        Ignored { pid: self.pid, stream_type: self.stream_type, name }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// A PID or a length of 13 or 12 bits behind reserved ones.
fn field(bytes: &[u8], at: usize, bits: u32) -> Option<u16> {
    Some(word(bytes, at)? & ((1 << bits) - 1))
}

/// Whether the section is of this table and in force.
fn is_current(section: &[u8], table_id: u8) -> bool {
    section.len() >= LONG_HEADER_BYTES
        && section[0] == table_id
        && section[1] & 0x80 != 0
        && section[5] & FLAG_CURRENT != 0
}

/// Reads a section without its checksum; `None` if it is no PAT, or one of the future.
pub(super) fn read_pat(section: &[u8]) -> Option<PatSection> {
    if !is_current(section, PAT_ID) {
        return None;
    }
    let entries = section[LONG_HEADER_BYTES..].chunks_exact(4);
    let programs = entries
        .map(|entry| (u16::from_be_bytes([entry[0], entry[1]]), u16::from_be_bytes([entry[2], entry[3]]) & 0x1fff));
    let programs = programs.filter(|(number, _)| *number != 0).take(MAX_PROGRAMS).collect();
    Some(PatSection { number: section[6], last: section[7], programs })
}

/// Reads a section without its checksum; `None` if it is no PMT, one of the future, or cut off.
pub(super) fn read_pmt(section: &[u8]) -> Option<Pmt> {
    if !is_current(section, PMT_ID) {
        return None;
    }
    let program = word(section, 3)?;
    let pcr_pid = field(section, 8, 13)?;
    let mut rest = section.get(12 + usize::from(field(section, 10, 12)?)..)?;
    let mut streams = Vec::new();
    while !rest.is_empty() && streams.len() < MAX_STREAMS {
        let stream_type = rest[0];
        let pid = field(rest, 1, 13)?;
        let length = usize::from(field(rest, 3, 12)?);
        let (descriptors, behind) = rest[5..].split_at_checked(length)?;
        rest = behind;
        if pid != NULL_PID {
            streams.push(Stream { pid, stream_type, content: content(stream_type, descriptors) });
        }
    }
    Some(Pmt { program, pcr_pid, streams })
}

/// The descriptors of a stream: tag and body (H.222.0 2.6.1).
fn descriptors(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&[tag, length], rest) = bytes.split_first_chunk()?;
        let (body, behind) = rest.split_at_checked(usize::from(length))?;
        bytes = behind;
        Some((tag, body))
    })
}

const AAC: Content = Content::Audio(AudioCodec::Aac, Framing::Adts);
const AC3: Content = Content::Audio(AudioCodec::Ac3, Framing::Ac3);
const EAC3: Content = Content::Audio(AudioCodec::Eac3, Framing::Ac3);

/// What `stream_type` (H.222.0 table 2-34, ATSC A/53-3, SCTE 35) and the descriptors say.
fn content(stream_type: u8, bytes: &[u8]) -> Content {
    match stream_type {
        0x1b => Content::Video(VideoCodec::H264),
        0x24 => Content::Video(VideoCodec::Hevc),
        0x03 | 0x04 => Content::Audio(AudioCodec::MpegAudio, Framing::MpegAudio),
        0x0f => AAC,
        0x11 => Content::Audio(AudioCodec::Aac, Framing::Loas),
        0x81 => AC3,
        0x87 => EAC3,
        0x06 => private_content(bytes),
        _ => Content::Other(match stream_type {
            0x01 => "MPEG-1 video",
            0x02 => "MPEG-2 video",
            0x05 => "private sections",
            0x08 | 0x0a..=0x0e | 0x14 => "DSM-CC",
            0x10 => "MPEG-4 part 2 video",
            0x15 => "metadata",
            0x1c | 0x2d | 0x2e => "MPEG-4 audio of another framing than ADTS and LATM",
            0x1f | 0x20 | 0x23 => "an enhancement layer of H.264",
            0x21 | 0x32 => "JPEG 2000 or JPEG XS video",
            0x25..=0x2b => "an enhancement layer of HEVC",
            0x33 => "VVC",
            0x42 => "AVS video",
            0x80 => "PCM audio or MPEG-2 video of a private kind",
            0x82 => "SCTE-27 subtitles or DTS",
            0x83 => "Dolby TrueHD",
            0x85 | 0x8a => "DTS",
            0x86 => "SCTE-35 cues",
            0xc1 | 0xc2 | 0xcf | 0xdb => "encrypted media",
            0xd1 => "Dirac video",
            0xd2 | 0xd4 => "AVS video",
            0xea => "VC-1 video",
            _ => "an unknown stream type",
        }),
    }
}

/// `format_identifier` of the registration descriptor.
fn registration(bytes: &[u8]) -> Option<&[u8; 4]> {
    descriptors(bytes).find(|(tag, _)| *tag == 0x05).and_then(|(_, body)| body.first_chunk())
}

/// Private data is what its descriptors say: registrations, and those of DVB (ETSI EN 300 468 6.1).
fn private_content(bytes: &[u8]) -> Content {
    match registration(bytes) {
        Some(b"AC-3") => return AC3,
        Some(b"EAC3") => return EAC3,
        Some(b"HEVC") => return Content::Video(VideoCodec::Hevc),
        Some(b"Opus") => {
            // Opus in MPEG-TS: an extension descriptor of the private tag 0x80, then the channel configuration.
            let channels = descriptors(bytes).find_map(|(tag, body)| match (tag, body) {
                (0x7f, [0x80, channels, ..]) => Some(*channels),
                _ => None,
            });
            return Content::Audio(AudioCodec::Opus, Framing::Opus(channels.unwrap_or(2)));
        }
        Some(b"AV01") => return Content::Other("AV1, which is not taken in MPEG-TS"),
        Some(b"KLVA") => return Content::Other("KLV metadata"),
        Some(b"VANC") => return Content::Other("ancillary data"),
        Some(b"BSSD") => return Content::Other("SMPTE 302M audio"),
        Some(b"DTS1" | b"DTS2" | b"DTS3") => return Content::Other("DTS"),
        Some(b"VC-1") => return Content::Other("VC-1 video"),
        Some(b"ID3 ") => return Content::Other("ID3 metadata"),
        _ => {}
    }
    let known = descriptors(bytes).find_map(|(tag, _)| match tag {
        0x6a => Some(AC3),
        0x7a => Some(EAC3),
        0x45 | 0x46 => Some(Content::Other("VBI data")),
        0x56 => Some(Content::Other("teletext")),
        0x59 => Some(Content::Other("DVB subtitles")),
        0x7b => Some(Content::Other("DTS")),
        0x26 => Some(Content::Other("metadata")),
        _ => None,
    });
    known.unwrap_or(Content::Other("private data"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pat() {
        let section = [0, 0xb0, 0x15, 0, 1, 0xc1, 0, 0, 0, 0, 0xe0, 0x10, 0, 1, 0xf0, 0, 0, 2, 0xe1, 2];
        let expected = PatSection { number: 0, last: 0, programs: vec![(1, 0x1000), (2, 0x102)] };
        assert_eq!(read_pat(&section), Some(expected));
        let mut future = section;
        future[5] = 0xc0;
        assert_eq!((read_pat(&future), read_pat(&section[..7]), read_pmt(&section)), (None, None, None));
    }

    /// A PMT of program 1 with the clock on 0x100 and these streams.
    fn pmt(streams: &[u8]) -> Option<Pmt> {
        read_pmt(&[&[2, 0xb0, 0, 0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 2, 0x0e, 0], streams].concat())
    }

    fn contents(streams: &[u8]) -> Vec<Content> {
        pmt(streams).expect("good").streams.iter().map(|stream| stream.content).collect()
    }

    #[test]
    fn the_streams_of_a_pmt() {
        let read = pmt(&[0x1b, 0xe1, 0, 0xf0, 0, 0x0f, 0xe1, 1, 0xf0, 3, 0x0a, 1, 0]).expect("good");
        assert_eq!((read.program, read.pcr_pid, read.has_video()), (1, 0x100, true));
        let video = Stream { pid: 0x100, stream_type: 0x1b, content: Content::Video(VideoCodec::H264) };
        let audio = Stream { pid: 0x101, stream_type: 0x0f, content: AAC };
        assert_eq!(read.streams, [video, audio]);
        assert_eq!(audio.ignored(), Ignored { pid: 0x101, stream_type: 0x0f, name: "AAC" });
        assert_eq!(pmt(&[0x1b, 0xe1, 0, 0xf0, 1]), None, "descriptors behind the end");
        assert_eq!(pmt(&[0x1b, 0xe1]), None, "cut off");
    }

    #[test]
    fn types_alone() {
        let of = |stream_type| contents(&[stream_type, 0xe1, 0, 0xf0, 0])[0];
        assert_eq!(of(0x24), Content::Video(VideoCodec::Hevc));
        assert_eq!(of(0x11), Content::Audio(AudioCodec::Aac, Framing::Loas));
        assert_eq!([of(0x03), of(0x04)], [Content::Audio(AudioCodec::MpegAudio, Framing::MpegAudio); 2]);
        assert_eq!((of(0x81), of(0x87)), (AC3, EAC3));
        assert_eq!((of(0x02), of(0x86)), (Content::Other("MPEG-2 video"), Content::Other("SCTE-35 cues")));
        assert_eq!((of(0x06), of(0x99)), (Content::Other("private data"), Content::Other("an unknown stream type")));
    }

    #[test]
    fn private_data_is_what_its_descriptors_say() {
        let of =
            |descriptors: &[u8]| contents(&[&[6, 0xe1, 0, 0xf0, descriptors.len() as u8], descriptors].concat())[0];
        let opus = |channels| Content::Audio(AudioCodec::Opus, Framing::Opus(channels));
        assert_eq!(of(b"\x05\x04Opus\x7f\x02\x80\x06"), opus(6));
        assert_eq!(of(b"\x05\x04Opus"), opus(2));
        assert_eq!(of(b"\x0a\x04eng\0\x6a\x01\x00"), AC3);
        assert_eq!((of(b"\x7a\x01\x00"), of(b"\x05\x04EAC3")), (EAC3, EAC3));
        assert_eq!(of(b"\x05\x04HEVC"), Content::Video(VideoCodec::Hevc));
        assert_eq!(of(b"\x05\x04KLVA"), Content::Other("KLV metadata"));
        assert_eq!((of(b"\x56\x00"), of(b"\x59\x00")), (Content::Other("teletext"), Content::Other("DVB subtitles")));
        assert_eq!(of(b"\x05\x04Opu"), Content::Other("private data"), "a descriptor behind the end");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(section in prop::collection::vec(any::<u8>(), 0..200)) {
            let pat = [&[0, 0xb0, 0, 0, 1, 0xc1, 0, 0][..], &section].concat();
            prop_assert!(read_pat(&pat).is_some_and(|pat| pat.programs.len() <= MAX_PROGRAMS));
            let pmt = [&[2, 0xb0, 0, 0, 1, 0xc1, 0, 0][..], &section].concat();
            prop_assert!(read_pmt(&pmt).is_none_or(|pmt| pmt.streams.len() <= MAX_STREAMS));
        }
    }
}
