//! What ExVideoTagHeader and ExAudioTagHeader have in common (Enhanced RTMP v2).
//!
//! ```text
//! first byte: kind's own bits, packet type (low 4 bits)
//! ModEx, while the packet type is 7:   size - 1 (UI8; 255: UI16 follows), data, type (4 bits), next packet type (4 bits)
//! multitrack, if that is the type:     multitrack type (4 bits), packet type of all tracks (4 bits)
//! FourCC                               (many codecs: not here, but before each track id)
//! of multitrack, once or for each:     track id (UI8); size (UI24) unless there is one track only
//! ```

use std::ops::Range;

use bytes::{BufMut, BytesMut};

use super::FlvError;
use crate::media::Kind;

pub(super) const SEQUENCE_START: u8 = 0;
pub(super) const CODED_FRAMES: u8 = 1;
pub(super) const SEQUENCE_END: u8 = 2;
/// Of video only: composition time 0, and no field for it.
pub(super) const CODED_FRAMES_X: u8 = 3;
/// Video: colour and HDR metadata as AMF. Audio: the order of channels.
pub(super) const METADATA: u8 = 4;
/// Same number for both kinds.
const MOD_EX: u8 = 7;
/// ModEx type: nanoseconds behind the message's timestamp, UI24, for presentation only.
const TIMESTAMP_OFFSET_NANO: u8 = 0;
/// The most that TimestampOffsetNano may say: beyond that it is the millisecond's.
pub(super) const MAX_OFFSET_NS: u32 = 999_999;

const ONE_TRACK: u8 = 0;
const MANY_TRACKS: u8 = 1;
const MANY_TRACKS_MANY_CODECS: u8 = 2;

pub(super) type FourCc = [u8; 4];

const fn multitrack(kind: Kind) -> u8 {
    match kind {
        Kind::Video => 6,
        Kind::Audio => 5,
    }
}

/// A header up to its first track.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// Of every track in the message.
    pub packet_type: u8,
    /// From ModEx, 0 without.
    pub offset_ns: u32,
    layout: Layout,
    /// Where the first track's own fields begin, or the payload of what is no multitrack.
    at: usize,
}

#[derive(Clone, Copy, Debug)]
enum Layout {
    Single(FourCc),
    One(FourCc),
    Many(FourCc),
    ManyCodecs,
    /// A multitrack type that is not known: nobody can say where its tracks are.
    Unknown,
}

/// One track of a message.
#[derive(Clone, Debug)]
pub(super) struct Track {
    pub id: u8,
    pub four_cc: FourCc,
    pub payload: Range<usize>,
}

impl Header {
    /// Reads the header of a body that is known to be an enhanced one.
    pub(super) fn read(kind: Kind, body: &[u8]) -> Result<Self, FlvError> {
        Header::find(kind, body).ok_or_else(|| FlvError::truncated(kind, body))
    }

    /// `None`: the body ends inside of it.
    fn find(kind: Kind, body: &[u8]) -> Option<Self> {
        let (mut packet_type, mut at, mut offset_ns) = (body.first()? & 0x0f, 1, 0);
        while packet_type == MOD_EX {
            let (data, behind) = mod_ex(body, at)?;
            let next = *body.get(behind)?;
            if next >> 4 == TIMESTAMP_OFFSET_NANO
                && let Some([high, middle, low]) = body.get(data).and_then(|data| data.first_chunk::<3>())
            {
                let ns = u32::from_be_bytes([0, *high, *middle, *low]);
                offset_ns = if ns > MAX_OFFSET_NS { 0 } else { ns };
            }
            (packet_type, at) = (next & 0x0f, behind + 1);
        }
        if packet_type != multitrack(kind) {
            let layout = Layout::Single(four_cc(body, at)?);
            return Some(Header { packet_type, offset_ns, layout, at: at + 4 });
        }
        let types = *body.get(at)?;
        at += 1;
        let layout = match types >> 4 {
            ONE_TRACK => Layout::One(four_cc(body, at)?),
            MANY_TRACKS => Layout::Many(four_cc(body, at)?),
            MANY_TRACKS_MANY_CODECS => Layout::ManyCodecs,
            _ => Layout::Unknown,
        };
        let before = if matches!(layout, Layout::ManyCodecs) { 0 } else { 4 };
        Some(Header { packet_type: types & 0x0f, offset_ns, layout, at: at + before })
    }

    /// The message's tracks in their order; the last item is an error where the body ends inside of one.
    pub(super) fn tracks(self, kind: Kind, body: &[u8]) -> Tracks<'_> {
        let at = if matches!(self.layout, Layout::Unknown) { body.len() } else { self.at };
        Tracks { kind, body, layout: self.layout, at, ended: matches!(self.layout, Layout::Unknown) }
    }

    /// Whether this is a multitrack message of a type that is not known.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self.layout, Layout::Unknown)
    }
}

/// The data of a ModEx whose size stands at `at`, and where it ends.
fn mod_ex(body: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let short = usize::from(*body.get(at)?) + 1;
    let (data, size) = match short {
        256 => (at + 3, usize::from(u16::from_be_bytes([*body.get(at + 1)?, *body.get(at + 2)?])) + 1),
        _ => (at + 1, short),
    };
    Some((data..data + size, data + size))
}

fn four_cc(body: &[u8], at: usize) -> Option<FourCc> {
    body.get(at..)?.first_chunk().copied()
}

/// See [`Header::tracks`].
#[derive(Clone, Debug)]
pub(super) struct Tracks<'a> {
    kind: Kind,
    body: &'a [u8],
    layout: Layout,
    at: usize,
    ended: bool,
}

impl Tracks<'_> {
    fn read(&mut self) -> Option<Track> {
        let (body, mut at) = (self.body, self.at);
        let four_cc = match self.layout {
            Layout::Single(four_cc) | Layout::One(four_cc) | Layout::Many(four_cc) => four_cc,
            _ => {
                at += 4;
                four_cc(body, at - 4)?
            }
        };
        let mut id = 0;
        if !matches!(self.layout, Layout::Single(_)) {
            id = *body.get(at)?;
            at += 1;
        }
        let mut size = body.len().checked_sub(at)?;
        if matches!(self.layout, Layout::Many(_) | Layout::ManyCodecs) {
            let [high, middle, low] = body.get(at..)?.first_chunk::<3>()?;
            size = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
            at += 3;
        }
        let payload = at..at + size;
        body.get(payload.clone())?;
        self.at = payload.end;
        self.ended = self.at == body.len();
        Some(Track { id, four_cc, payload })
    }
}

impl Iterator for Tracks<'_> {
    type Item = Result<Track, FlvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let read = self.read();
        self.ended |= read.is_none();
        Some(read.ok_or_else(|| FlvError::truncated(self.kind, self.body)))
    }
}

/// Writes a header of one track without multitrack; `first` holds the kind's own bits of the first byte.
pub(super) fn write(out: &mut BytesMut, first: u8, packet_type: u8, offset_ns: u32, four_cc: &str) {
    if offset_ns == 0 {
        out.put_u8(first | packet_type);
    } else {
        let ns = offset_ns.min(MAX_OFFSET_NS).to_be_bytes();
        out.put_slice(&[first | MOD_EX, 3 - 1, ns[1], ns[2], ns[3], TIMESTAMP_OFFSET_NANO << 4 | packet_type]);
    }
    out.put_slice(four_cc.as_bytes());
}

/// Most bytes that [`write`] writes.
pub(super) const MAX_HEADER_BYTES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Packet type, offset, and each track's id, FourCC and payload.
    /// Track id, FourCC and payload.
    type Found = (u8, String, Vec<u8>);

    fn read(kind: Kind, body: &[u8]) -> Result<(u8, u32, Vec<Found>), FlvError> {
        let header = Header::read(kind, body)?;
        let tracks = header.tracks(kind, body).map(|track| {
            let Track { id, four_cc, payload } = track?;
            Ok((id, String::from_utf8_lossy(&four_cc).into_owned(), body[payload].to_vec()))
        });
        Ok((header.packet_type, header.offset_ns, tracks.collect::<Result<_, _>>()?))
    }

    fn track(id: u8, four_cc: &str, payload: &[u8]) -> (u8, String, Vec<u8>) {
        (id, four_cc.to_owned(), payload.to_vec())
    }

    #[test]
    fn each_layout_gives_its_tracks() {
        let hevc = |id, payload| track(id, "hvc1", payload);
        assert_eq!(read(Kind::Video, b"\x91hvc1ab"), Ok((1, 0, vec![hevc(0, b"ab")])));
        assert_eq!(read(Kind::Video, b"\x96\x01hvc1\x07ab"), Ok((1, 0, vec![hevc(7, b"ab")])));
        let many = b"\x96\x11hvc1\x00\0\0\x02ab\x02\0\0\x01c";
        assert_eq!(read(Kind::Video, many), Ok((1, 0, vec![hevc(0, b"ab"), hevc(2, b"c")])));
        let codecs = b"\x95\x20mp4a\x01\0\0\x00Opus\x00\0\0\x01x";
        assert_eq!(read(Kind::Audio, codecs), Ok((0, 0, vec![track(1, "mp4a", b""), track(0, "Opus", b"x")])));
        assert_eq!(read(Kind::Audio, b"\x95\x31mp4a\x00"), Ok((1, 0, vec![])));
        // The numbers of multitrack differ: what it is for one kind is a packet type of the other.
        assert_eq!(read(Kind::Video, b"\x95av01"), Ok((5, 0, vec![track(0, "av01", b"")])));
        assert_eq!(read(Kind::Audio, b"\x96mp4a"), Ok((6, 0, vec![track(0, "mp4a", b"")])));
    }

    #[test]
    fn mod_ex_is_stepped_over_however_often_and_long() {
        let av1 = |offset, payload| Ok((1, offset, vec![track(0, "av01", payload)]));
        assert_eq!(read(Kind::Video, b"\x97\x02\x0f\x42\x3f\x01av01x"), av1(999_999, b"x"));
        assert_eq!(read(Kind::Video, b"\x97\x02\x0f\x42\x40\x01av01x"), av1(0, b"x"), "a whole millisecond");
        assert_eq!(read(Kind::Video, b"\x97\x00\x09\x01av01x"), av1(0, b"x"), "too short for an offset");
        assert_eq!(read(Kind::Video, b"\x97\x02\x00\x00\x05\x71av01x"), av1(0, b"x"), "another type");
        assert_eq!(read(Kind::Video, b"\x97\x02\0\0\x05\x07\x00\xee\x11av01x"), av1(5, b"x"), "two of them");
        for size in [255, 256, 257, 65_536_usize] {
            let length: &[u8] = &if size < 256 {
                vec![size as u8 - 1]
            } else {
                [&[255], &((size - 1) as u16).to_be_bytes()[..]].concat()
            };
            let body = [&[0x97], length, &vec![1; size], b"\x11av01x"].concat();
            assert_eq!(read(Kind::Video, &body), av1(0, b"x"), "{size} bytes");
        }
        let tracks = vec![track(3, "Opus", b"x")];
        assert_eq!(read(Kind::Audio, b"\x97\x02\0\0\x05\x05\x01Opus\x03x"), Ok((1, 5, tracks)));
    }

    #[test]
    fn what_ends_inside_of_its_header_is_damage() {
        let bodies: [&[u8]; 4] = [
            b"\x97\x02\x0f\x42\x3f\x06\x01hvc1\x07",
            b"\x96\x11hvc1\x00\0\0\x02ab\x02\0\0\x01c",
            b"\x96\x21hvc1\x00\0\0\x02abav01\x02\0\0\x01c",
            b"\x97\xff\x00\xffabc",
        ];
        for whole in bodies {
            for len in 1..whole.len() {
                let cut = read(Kind::Video, &whole[..len]);
                let between_tracks = whole[1] >> 4 > 0 && cut.as_ref().is_ok_and(|(_, _, tracks)| tracks.len() == 1);
                assert!(between_tracks || cut == Err(FlvError::truncated(Kind::Video, &whole[..len])), "{len} {cut:?}");
            }
        }
        let error = read(Kind::Video, b"\x90").expect_err("no FourCC");
        assert_eq!(error.to_string(), "video message of 1 bytes is too short for its header");
        assert!(!error.is_unsupported());
    }
}
