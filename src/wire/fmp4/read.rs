//! Reads init segments and chunks back: what tests compare, what archives and MPEG-TS are made from.
//!
//! Only the shape that [`super::init`] and [`super::chunk`] write is read (one track, one traf, one trun, data behind
//! the moof in one mdat), from bytes that nobody vouches for: nothing panics, and no allocation is larger than the
//! input.

use std::ops::Range;

use bytes::Bytes;

use super::boxes::{BoxKind, Boxes, Fields, Mp4Box, ReadError, find};
use super::entry::VPCC_VERSION_AND_FLAGS;
use crate::media::codec::opus::{Mapping, OpusHead};
use crate::media::{AudioCodec, VideoCodec};

/// Stands for the parent of boxes at the top in [`ReadError::Missing`].
const FILE: BoxKind = BoxKind(*b"file");

/// What an init segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitInfo {
    /// tkhd
    pub track_id: u32,
    /// mdhd: units per second of everything that the chunks say about time.
    pub timescale: u32,
    /// The sample entry, and with it the kind of track.
    pub entry: EntryInfo,
    /// Whether mvex announces fragments.
    pub fragmented: bool,
}

/// What the one sample entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryInfo {
    /// avc1, hvc1, av01, vp09
    Video {
        /// How it is coded.
        codec: VideoCodec,
        /// Width of the coded picture.
        width: u16,
        /// Height of the coded picture.
        height: u16,
        /// pasp
        sample_aspect: Option<(u32, u32)>,
        /// As [`crate::media::VideoTrack::config`] has it.
        config: Bytes,
    },
    /// mp4a, Opus
    Audio {
        /// How it is coded.
        codec: AudioCodec,
        /// Channels.
        channels: u16,
        /// As [`crate::media::AudioTrack::config`] has it.
        config: Bytes,
    },
}

/// What a chunk says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkInfo {
    /// mfhd
    pub sequence: u32,
    /// tfdt
    pub base_decode_time: u64,
    /// Whether a styp stands in front.
    pub segment_start: bool,
    /// trun
    pub samples: Vec<SampleInfo>,
}

impl ChunkInfo {
    /// Sum of the samples' durations.
    pub fn duration(&self) -> u64 {
        self.samples.iter().map(|sample| u64::from(sample.duration)).sum()
    }
}

/// What a chunk says of one sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleInfo {
    /// In units of the timescale.
    pub duration: u32,
    /// Presentation minus decoding time.
    pub composition_offset: i32,
    /// sample_is_non_sync_sample is not set.
    pub keyframe: bool,
    /// Where the payload lies in the bytes that were read.
    pub range: Range<usize>,
}

/// Reads an init segment.
///
/// # Errors
/// A box is broken, missing, or not of the shape that is read here.
pub fn read_init(bytes: &[u8]) -> Result<InitInfo, ReadError> {
    find(Boxes::new(bytes), FILE, b"ftyp")?;
    let moov = find(Boxes::new(bytes), FILE, b"moov")?;
    let trak = moov.child(0, b"trak")?;
    let mdia = trak.child(0, b"mdia")?;
    let stsd = mdia.child(0, b"minf")?.child(0, b"stbl")?.child(0, b"stsd")?;
    Ok(InitInfo {
        track_id: behind_times(&trak.child(0, b"tkhd")?)?,
        timescale: behind_times(&mdia.child(0, b"mdhd")?)?,
        entry: read_entry(&stsd)?,
        fragmented: moov.child(0, b"mvex").is_ok(),
    })
}

/// The 32-bit field behind creation and modification time, which are 64 bit in version 1: tkhd's id, mdhd's timescale.
fn behind_times(full_box: &Mp4Box<'_>) -> Result<u32, ReadError> {
    let mut fields = full_box.fields();
    let (version, _) = fields.version_and_flags()?;
    fields.bytes(if version == 1 { 16 } else { 8 })?;
    fields.u32()
}

fn read_entry(stsd: &Mp4Box<'_>) -> Result<EntryInfo, ReadError> {
    /// Version, flags and the count of entries.
    const BEFORE_ENTRIES: usize = 8;
    let missing = ReadError::Missing { kind: BoxKind(*b"avc1"), parent: stsd.kind };
    let entry = stsd.children(BEFORE_ENTRIES).next().ok_or(missing)??;
    match &entry.kind.0 {
        b"avc1" => video_entry(&entry, VideoCodec::H264, b"avcC"),
        b"hvc1" => video_entry(&entry, VideoCodec::Hevc, b"hvcC"),
        b"av01" => video_entry(&entry, VideoCodec::Av1, b"av1C"),
        b"vp09" => video_entry(&entry, VideoCodec::Vp9, b"vpcC"),
        b"mp4a" => {
            audio_entry(&entry, AudioCodec::Aac, b"esds", |esds| Ok(Bytes::copy_from_slice(audio_config(esds)?)))
        }
        b"Opus" => audio_entry(&entry, AudioCodec::Opus, b"dOps", opus_head),
        _ => Err(unsupported(&entry, "another codec")),
    }
}

fn video_entry(entry: &Mp4Box<'_>, codec: VideoCodec, config: &[u8; 4]) -> Result<EntryInfo, ReadError> {
    /// VisualSampleEntry up to its boxes (ISO/IEC 14496-12 12.1.3.2).
    const BEFORE_BOXES: usize = 78;
    let mut fields = entry.fields();
    fields.bytes(24)?;
    let (width, height) = (fields.u16()?, fields.u16()?);
    let sample_aspect = entry.child(BEFORE_BOXES, b"pasp").ok().map(|pasp| pasp.fields());
    let sample_aspect = sample_aspect.map(|mut pasp| Ok((pasp.u32()?, pasp.u32()?))).transpose()?;
    let config = entry.child(BEFORE_BOXES, config)?;
    let record = match codec {
        VideoCodec::Vp9 => {
            let mut fields = config.fields();
            if fields.bytes(4)? != VPCC_VERSION_AND_FLAGS {
                return Err(unsupported(&config, "another version than 1"));
            }
            &config.body[4..]
        }
        _ => config.body,
    };
    Ok(EntryInfo::Video { codec, width, height, sample_aspect, config: Bytes::copy_from_slice(record) })
}

fn audio_entry(
    entry: &Mp4Box<'_>,
    codec: AudioCodec,
    config: &[u8; 4],
    read: impl FnOnce(&Mp4Box<'_>) -> Result<Bytes, ReadError>,
) -> Result<EntryInfo, ReadError> {
    /// AudioSampleEntry up to its boxes (ISO/IEC 14496-12 12.2.3.2).
    const BEFORE_BOXES: usize = 28;
    let mut fields = entry.fields();
    fields.bytes(16)?;
    let channels = fields.u16()?;
    Ok(EntryInfo::Audio { codec, channels, config: read(&entry.child(BEFORE_BOXES, config)?)? })
}

/// `OpusHead` of what dOps says (Encapsulation of Opus in ISOBMFF 4.3.2).
fn opus_head(dops: &Mp4Box<'_>) -> Result<Bytes, ReadError> {
    let mut fields = dops.fields();
    if fields.u8()? != 0 {
        return Err(unsupported(dops, "another version than 0"));
    }
    let (channels, pre_skip, input_rate, gain) = (fields.u8()?, fields.u16()?, fields.u32()?, fields.u16()? as i16);
    let mapping = match fields.u8()? {
        0 => None,
        family => {
            let (streams, coupled) = (fields.u8()?, fields.u8()?);
            Some(Mapping { family, streams, coupled, channels: fields.bytes(usize::from(channels))?.to_vec() })
        }
    };
    Ok(OpusHead { channels, pre_skip, input_rate, gain, mapping }.write())
}

/// DecoderSpecificInfo in DecoderConfigDescriptor in ES_Descriptor (ISO/IEC 14496-1 7.2.6).
fn audio_config<'a>(esds: &Mp4Box<'a>) -> Result<&'a [u8], ReadError> {
    let mut fields = esds.fields();
    fields.version_and_flags()?;
    descriptor(&mut fields, 0x03, esds)?;
    fields.u16()?;
    if fields.u8()? & 0xe0 != 0 {
        return Err(unsupported(esds, "optional fields in its ES descriptor"));
    }
    descriptor(&mut fields, 0x04, esds)?;
    fields.bytes(13)?;
    let len = descriptor(&mut fields, 0x05, esds)?;
    fields.bytes(len)
}

/// Steps over a descriptor's tag and its length of up to four times seven bits; returns the length.
fn descriptor(fields: &mut Fields<'_>, tag: u8, esds: &Mp4Box<'_>) -> Result<usize, ReadError> {
    if fields.u8()? != tag {
        return Err(unsupported(esds, "descriptors in another order"));
    }
    let mut len = 0;
    for _ in 0..4 {
        let byte = fields.u8()?;
        len = len << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ok(len);
        }
    }
    Err(unsupported(esds, "a descriptor length of more than four bytes"))
}

fn unsupported(found: &Mp4Box<'_>, what: &'static str) -> ReadError {
    ReadError::Unsupported { kind: found.kind, offset: found.offset, what }
}

/// Reads the chunks of a part, a segment, or several segments one behind the other.
///
/// # Errors
/// A box is broken, missing, or not of the shape that is read here.
pub fn read_chunks(bytes: &[u8]) -> Result<Vec<ChunkInfo>, ReadError> {
    let mut chunks = Vec::new();
    let mut segment_start = false;
    let mut boxes = Boxes::new(bytes);
    while let Some(found) = boxes.next() {
        let found = found?;
        match &found.kind.0 {
            b"styp" => segment_start = true,
            b"moof" => {
                let mdat = boxes.next().transpose()?.filter(|next| next.kind.0 == *b"mdat");
                let mdat = mdat.ok_or(ReadError::Missing { kind: BoxKind(*b"mdat"), parent: FILE })?;
                chunks.push(read_chunk(&found, &mdat, segment_start)?);
                segment_start = false;
            }
            _ => return Err(unsupported(&found, "a box beside styp, moof and mdat")),
        }
    }
    Ok(chunks)
}

fn read_chunk(moof: &Mp4Box<'_>, mdat: &Mp4Box<'_>, segment_start: bool) -> Result<ChunkInfo, ReadError> {
    let mut mfhd = moof.child(0, b"mfhd")?.fields();
    mfhd.version_and_flags()?;
    let traf = moof.child(0, b"traf")?;
    let tfdt = traf.child(0, b"tfdt")?;
    let mut tfdt_fields = tfdt.fields();
    if tfdt_fields.version_and_flags()?.0 != 1 {
        return Err(unsupported(&tfdt, "32-bit decode times"));
    }
    let defaults = Defaults::read(&traf.child(0, b"tfhd")?)?;
    Ok(ChunkInfo {
        sequence: mfhd.u32()?,
        base_decode_time: tfdt_fields.u64()?,
        segment_start,
        samples: read_trun(&traf.child(0, b"trun")?, &defaults, moof, mdat)?,
    })
}

/// What tfhd says once for all samples.
struct Defaults {
    duration: u32,
    size: u32,
    flags: u32,
}

impl Defaults {
    fn read(tfhd: &Mp4Box<'_>) -> Result<Self, ReadError> {
        let mut fields = tfhd.fields();
        let (_, flags) = fields.version_and_flags()?;
        if flags & 0x02_0000 == 0 || flags & 0x01 != 0 {
            return Err(unsupported(tfhd, "a base other than the moof"));
        }
        fields.u32()?;
        if flags & 0x02 != 0 {
            fields.u32()?;
        }
        let mut field = |flag: u32| if flags & flag != 0 { fields.u32() } else { Ok(0) };
        Ok(Defaults { duration: field(0x08)?, size: field(0x10)?, flags: field(0x20)? })
    }
}

fn read_trun(
    trun: &Mp4Box<'_>,
    defaults: &Defaults,
    moof: &Mp4Box<'_>,
    mdat: &Mp4Box<'_>,
) -> Result<Vec<SampleInfo>, ReadError> {
    const NON_SYNC: u32 = 0x0001_0000;
    let mut fields = trun.fields();
    let (version, flags) = fields.version_and_flags()?;
    let count = fields.u32()?;
    if version != 1 || flags & 0x01 == 0 {
        return Err(unsupported(trun, "unsigned offsets or no data offset"));
    }
    let data_offset = fields.u32()? as usize;
    let first_flags = if flags & 0x04 != 0 { Some(fields.u32()?) } else { None };

    let data_start = moof.offset.checked_add(data_offset).filter(|start| *start >= mdat.offset + mdat.header_len);
    let data_start = data_start.ok_or_else(|| unsupported(trun, "data in front of the mdat"))?;
    let present = (mdat.offset + mdat.len()).saturating_sub(data_start) as u64;
    // An empty sample is legal in the format and never written here, so payload bytes bound the count.
    if u64::from(count) > present {
        return Err(ReadError::Payload { samples: count, claimed: u64::from(count), present });
    }
    let mut samples = Vec::with_capacity(count as usize);
    let mut claimed = 0_u64;
    for index in 0..count {
        let mut field = |flag: u32, default: u32| if flags & flag != 0 { fields.u32() } else { Ok(default) };
        let duration = field(0x100, defaults.duration)?;
        let size = field(0x200, defaults.size)?;
        let default_flags = first_flags.filter(|_| index == 0).unwrap_or(defaults.flags);
        let sample_flags = field(0x400, default_flags)?;
        let composition_offset = field(0x800, 0)? as i32;
        let start = data_start.saturating_add(claimed as usize);
        claimed += u64::from(size);
        if claimed > present {
            return Err(ReadError::Payload { samples: count, claimed, present });
        }
        samples.push(SampleInfo {
            duration,
            composition_offset,
            keyframe: sample_flags & NON_SYNC == 0,
            range: start..start + size as usize,
        });
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::fmp4::{ChunkHead, Sample, write_chunk};

    fn chunk(sequence: u32) -> Vec<u8> {
        let head = ChunkHead { sequence, base_decode_time: 1_000, segment_start: sequence == 1 };
        let sample = Sample { duration: 10, composition_offset: 0, keyframe: true, data: Bytes::from_static(b"abcd") };
        write_chunk(&head, &[sample]).expect("a chunk").to_vec()
    }

    fn error(bytes: &[u8]) -> String {
        read_chunks(bytes).expect_err("an error").to_string()
    }

    /// The byte at which the body of the first box of that type begins.
    fn body(bytes: &[u8], kind: &[u8; 4]) -> usize {
        bytes.windows(4).position(|window| window == kind).expect("it is there") + 4
    }

    #[test]
    fn chunks_of_a_segment_are_read_one_by_one() {
        let bytes = [chunk(1), chunk(2)].concat();
        let chunks = read_chunks(&bytes).expect("two chunks");
        let seen: Vec<_> =
            chunks.iter().map(|it| (it.sequence, it.segment_start, it.base_decode_time, it.duration())).collect();
        assert_eq!(seen, [(1, true, 1_000, 10), (2, false, 1_000, 10)]);
        assert!(chunks.iter().all(|it| it.samples.iter().all(|sample| &bytes[sample.range.clone()] == b"abcd")));
    }

    #[test]
    fn each_disagreement_is_named() {
        let whole = chunk(2);
        let damaged = |kind: &[u8; 4], at: usize, value: &[u8]| {
            let mut bytes = whole.clone();
            let at = body(&bytes, kind) + at;
            bytes[at..at + value.len()].copy_from_slice(value);
            error(&bytes)
        };
        assert_eq!(error(&whole[..whole.len() - 1]), "the box at byte 100 ends outside of what holds it");
        assert_eq!(error(&whole[..100]), "there is no box mdat in box file");
        assert_eq!(
            error(b"\0\0\0\x08free"),
            "box free at byte 0 says a box beside styp, moof and mdat, which is not read here"
        );
        assert_eq!(damaged(b"trun", 4, &[0, 0, 0, 9]), "9 samples of 9 bytes stand against an mdat of 4 bytes");
        assert_eq!(damaged(b"trun", 12, &[0, 0, 0, 5]), "1 samples of 5 bytes stand against an mdat of 4 bytes");
        assert_eq!(
            damaged(b"trun", 0, &[0]),
            "box trun at byte 76 says unsigned offsets or no data offset, which is not read here"
        );
        assert_eq!(
            damaged(b"trun", 8, &[0, 0, 0, 1]),
            "box trun at byte 76 says data in front of the mdat, which is not read here"
        );
        assert_eq!(damaged(b"tfdt", 0, &[0]), "box tfdt at byte 56 says 32-bit decode times, which is not read here");
        assert_eq!(
            damaged(b"tfhd", 1, &[0]),
            "box tfhd at byte 32 says a base other than the moof, which is not read here"
        );
        assert_eq!(damaged(b"trun", 2, &[0x0f, 0xff]), "box trun at byte 76 is too short for its fields");
    }
}
