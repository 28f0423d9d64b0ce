//! Writes a CMAF chunk: what a part of a segment is made of.
//!
//! ```text
//! styp            only in front of a segment's first chunk
//! moof
//!   mfhd          sequence number
//!   traf
//!     tfhd        default-base-is-moof; duration and flags when they are the same for all samples
//!     tfdt        version 1, 64 bit
//!     trun        version 1, signed composition offsets; only the fields that differ between samples
//! mdat
//! ```
//!
//! The length of everything is known before the first byte is written, so a chunk costs one allocation. Written by hand and
//! not with mp4-atom, because that builds an entry per sample first and grows its buffer; `benches/package.rs` compares.

use bytes::Bytes;

use super::TRACK_ID;

/// One coded picture or audio frame, in units of its track's timescale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// How long until the next sample is decoded.
    pub duration: u32,
    /// Presentation time minus decoding time.
    pub composition_offset: i32,
    /// Decoding may start here.
    pub keyframe: bool,
    /// The payload as mdat holds it.
    pub data: Bytes,
}

/// What a chunk's boxes say beside its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHead {
    /// mfhd: rises from chunk to chunk of a rendition.
    pub sequence: u32,
    /// tfdt: decoding time of the first sample in units of the track's timescale.
    pub base_decode_time: u64,
    /// Whether the chunk begins a segment and carries its styp.
    pub segment_start: bool,
}

/// Why a chunk cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A trun without samples has no meaning.
    #[error("a chunk needs at least one sample")]
    Empty,
    /// Sizes and offsets in moof and mdat are 32 bit.
    #[error("{samples} samples of {bytes} bytes do not fit a chunk, whose sizes are 32 bit")]
    TooLarge {
        /// Number of samples.
        samples: usize,
        /// Sum of their payloads.
        bytes: u64,
    },
}

/// sample_depends_on = 2 (on no other), sample_is_non_sync_sample = 0 (ISO/IEC 14496-12 8.8.3.1).
const FLAGS_SYNC: u32 = 0x0200_0000;
/// sample_depends_on = 1 (on others), sample_is_non_sync_sample = 1.
const FLAGS_NON_SYNC: u32 = 0x0101_0000;

const TFHD_DEFAULT_DURATION: u32 = 0x00_0008;
const TFHD_DEFAULT_FLAGS: u32 = 0x00_0020;
const TFHD_DEFAULT_BASE_IS_MOOF: u32 = 0x02_0000;

const TRUN_DATA_OFFSET: u32 = 0x001;
const TRUN_FIRST_FLAGS: u32 = 0x004;
const TRUN_DURATION: u32 = 0x100;
const TRUN_SIZE: u32 = 0x200;
const TRUN_FLAGS: u32 = 0x400;
const TRUN_OFFSET: u32 = 0x800;

const STYP_LEN: u32 = 24;
const MFHD_LEN: u32 = 16;
const TFDT_LEN: u32 = 20;
const BOX_HEADER_LEN: u32 = 8;

/// Writes `samples` as one chunk: styp if asked for, moof, mdat.
///
/// # Errors
/// There is no sample, or more than 32-bit sizes can say.
pub fn write_chunk(head: &ChunkHead, samples: &[Sample]) -> Result<Bytes, ChunkError> {
    let plan = Plan::new(head, samples)?;
    let mut out = Vec::with_capacity(plan.total_len);
    if head.segment_start {
        put_styp(&mut out);
    }
    put_box(&mut out, b"moof", plan.moof_len);
    put_full_box(&mut out, b"mfhd", MFHD_LEN, 0, 0);
    put_u32(&mut out, head.sequence);
    put_box(&mut out, b"traf", plan.traf_len());
    put_tfhd(&mut out, &plan);
    put_full_box(&mut out, b"tfdt", TFDT_LEN, 1, 0);
    out.extend_from_slice(&head.base_decode_time.to_be_bytes());
    put_trun(&mut out, &plan, samples);
    put_box(&mut out, b"mdat", plan.mdat_len);
    for sample in samples {
        out.extend_from_slice(&sample.data);
    }
    debug_assert_eq!(out.len(), plan.total_len);
    Ok(Bytes::from(out))
}

/// Which fields stand once for all samples and which per sample, and the sizes that follow from it.
struct Plan {
    /// Same for all samples: stands in tfhd.
    duration: Option<u32>,
    /// tfhd default: the flags of the last sample.
    default_flags: u32,
    /// The first sample alone differs from the default.
    first_flags: Option<u32>,
    trun_flags: u32,
    tfhd_len: u32,
    trun_len: u32,
    moof_len: u32,
    mdat_len: u32,
    total_len: usize,
}

impl Plan {
    fn new(head: &ChunkHead, samples: &[Sample]) -> Result<Self, ChunkError> {
        let (first, last) = match samples {
            [] => return Err(ChunkError::Empty),
            [first, .., last] => (first, last),
            [only] => (only, only),
        };
        let payload: u64 = samples.iter().map(|sample| sample.data.len() as u64).sum();
        let too_large = ChunkError::TooLarge { samples: samples.len(), bytes: payload };

        let duration = samples.iter().all(|sample| sample.duration == first.duration).then_some(first.duration);
        let default_flags = flags_of(last);
        let same_behind_first = samples.iter().skip(1).all(|sample| flags_of(sample) == default_flags);
        let first_flags = (same_behind_first && flags_of(first) != default_flags).then(|| flags_of(first));

        let mut trun_flags = TRUN_DATA_OFFSET | TRUN_SIZE;
        trun_flags |= if first_flags.is_some() { TRUN_FIRST_FLAGS } else { 0 };
        trun_flags |= if duration.is_none() { TRUN_DURATION } else { 0 };
        trun_flags |= if same_behind_first { 0 } else { TRUN_FLAGS };
        trun_flags |= if samples.iter().all(|sample| sample.composition_offset == 0) { 0 } else { TRUN_OFFSET };

        let per_sample = 4 * u64::from((trun_flags >> 8).count_ones());
        let tfhd_len = 20 + if duration.is_some() { 4 } else { 0 };
        let trun_len = 20 + if first_flags.is_some() { 4 } else { 0 } + per_sample * samples.len() as u64;
        let moof_len =
            u64::from(BOX_HEADER_LEN + MFHD_LEN + BOX_HEADER_LEN + tfhd_len + TFDT_LEN).saturating_add(trun_len);
        let mdat_len = u64::from(BOX_HEADER_LEN).saturating_add(payload);
        // data_offset in trun is signed.
        if moof_len > i32::MAX as u64 - u64::from(BOX_HEADER_LEN) || mdat_len > u64::from(u32::MAX) {
            return Err(too_large);
        }
        let styp_len = if head.segment_start { u64::from(STYP_LEN) } else { 0 };
        Ok(Plan {
            duration,
            default_flags,
            first_flags,
            trun_flags,
            tfhd_len,
            trun_len: trun_len as u32,
            moof_len: moof_len as u32,
            mdat_len: mdat_len as u32,
            total_len: usize::try_from(styp_len + moof_len + mdat_len).map_err(|_| too_large)?,
        })
    }

    fn traf_len(&self) -> u32 {
        BOX_HEADER_LEN + self.tfhd_len + TFDT_LEN + self.trun_len
    }
}

const fn flags_of(sample: &Sample) -> u32 {
    if sample.keyframe { FLAGS_SYNC } else { FLAGS_NON_SYNC }
}

fn put_styp(out: &mut Vec<u8>) {
    put_box(out, b"styp", STYP_LEN);
    out.extend_from_slice(b"msdh\0\0\0\0msdhcmfs");
}

fn put_tfhd(out: &mut Vec<u8>, plan: &Plan) {
    let duration_flag = if plan.duration.is_some() { TFHD_DEFAULT_DURATION } else { 0 };
    let flags = TFHD_DEFAULT_BASE_IS_MOOF | TFHD_DEFAULT_FLAGS | duration_flag;
    put_full_box(out, b"tfhd", plan.tfhd_len, 0, flags);
    put_u32(out, TRACK_ID);
    if let Some(duration) = plan.duration {
        put_u32(out, duration);
    }
    put_u32(out, plan.default_flags);
}

fn put_trun(out: &mut Vec<u8>, plan: &Plan, samples: &[Sample]) {
    put_full_box(out, b"trun", plan.trun_len, 1, plan.trun_flags);
    put_u32(out, samples.len() as u32);
    put_u32(out, plan.moof_len + BOX_HEADER_LEN);
    if let Some(flags) = plan.first_flags {
        put_u32(out, flags);
    }
    for sample in samples {
        if plan.trun_flags & TRUN_DURATION != 0 {
            put_u32(out, sample.duration);
        }
        put_u32(out, sample.data.len() as u32);
        if plan.trun_flags & TRUN_FLAGS != 0 {
            put_u32(out, flags_of(sample));
        }
        if plan.trun_flags & TRUN_OFFSET != 0 {
            out.extend_from_slice(&sample.composition_offset.to_be_bytes());
        }
    }
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_box(out: &mut Vec<u8>, kind: &[u8; 4], len: u32) {
    put_u32(out, len);
    out.extend_from_slice(kind);
}

fn put_full_box(out: &mut Vec<u8>, kind: &[u8; 4], len: u32, version: u8, flags: u32) {
    put_box(out, kind, len);
    put_u32(out, u32::from(version) << 24 | flags);
}

#[cfg(test)]
mod tests {
    use super::super::boxes::tree;
    use super::super::read::{ChunkInfo, read_chunks};
    use super::*;
    use mp4_atom::{Decode, Moof, Styp};
    use proptest::prelude::*;

    fn sample(duration: u32, composition_offset: i32, keyframe: bool, data: &'static [u8]) -> Sample {
        Sample { duration, composition_offset, keyframe, data: Bytes::from_static(data) }
    }

    const HEAD: ChunkHead = ChunkHead { sequence: 7, base_decode_time: 900_000, segment_start: true };

    fn written(samples: &[Sample]) -> Bytes {
        write_chunk(&HEAD, samples).expect("a chunk")
    }

    #[test]
    fn a_video_chunk_says_what_differs_per_sample() {
        let samples =
            [sample(3_003, 6_006, true, b"idr"), sample(3_003, 0, false, b"p"), sample(3_004, -3_003, false, b"")];
        assert_eq!(
            tree(&written(&samples)).as_deref(),
            Ok("styp 24\nmoof 132\n  mfhd 16\n  traf 108\n    tfhd 20\n    tfdt 20\n    trun 60\nmdat 12\n")
        );
    }

    #[test]
    fn an_audio_chunk_says_sizes_only() {
        let samples = [sample(1_024, 0, true, b"one"), sample(1_024, 0, true, b"three")];
        let bytes = write_chunk(&ChunkHead { segment_start: false, ..HEAD }, &samples).expect("a chunk");
        assert_eq!(
            tree(&bytes).as_deref(),
            Ok("moof 104\n  mfhd 16\n  traf 80\n    tfhd 24\n    tfdt 20\n    trun 28\nmdat 16\n")
        );
    }

    #[test]
    fn another_reader_sees_the_same() {
        let samples = [sample(3_003, 6_006, true, b"idr"), sample(3_003, -3_003, false, b"p")];
        let bytes = written(&samples);
        let mut rest = &bytes[..];
        let styp = Styp::decode(&mut rest).expect("styp");
        assert_eq!(
            (styp.major_brand, styp.compatible_brands),
            ((*b"msdh").into(), vec![(*b"msdh").into(), (*b"cmfs").into()])
        );
        let moof = Moof::decode(&mut rest).expect("moof");
        let traf = &moof.traf[0];
        assert_eq!((moof.mfhd.sequence_number, moof.traf.len(), traf.trun.len()), (7, 1, 1));
        assert_eq!((traf.tfhd.track_id, traf.tfhd.default_base_is_moof), (TRACK_ID, true));
        assert_eq!(
            (traf.tfhd.default_sample_duration, traf.tfhd.default_sample_flags),
            (Some(3_003), Some(FLAGS_NON_SYNC))
        );
        assert_eq!(traf.tfdt.as_ref().map(|tfdt| tfdt.base_media_decode_time), Some(900_000));
        // Behind moof stands the header of mdat, then what data_offset points to.
        let moof_len = bytes.len() - STYP_LEN as usize - rest.len();
        assert_eq!(traf.trun[0].data_offset, Some(moof_len as i32 + 8));
        assert_eq!(&rest[8..], b"idrp");
    }

    #[test]
    fn chunks_that_cannot_be_are_refused() {
        assert_eq!(write_chunk(&HEAD, &[]), Err(ChunkError::Empty));
        let large = Sample { data: Bytes::from(vec![0; 1 << 24]), ..sample(1, 0, true, b"") };
        let bytes = 256 << 24;
        assert_eq!(write_chunk(&HEAD, &vec![large; 256]), Err(ChunkError::TooLarge { samples: 256, bytes }));
    }

    fn any_sample() -> impl Strategy<Value = Sample> {
        let data = proptest::collection::vec(any::<u8>(), 1..40).prop_map(Bytes::from);
        (1..5_u32, -2..3_i32, any::<bool>(), data).prop_map(|(duration, composition_offset, keyframe, data)| Sample {
            duration,
            composition_offset,
            keyframe,
            data,
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            samples in proptest::collection::vec(any_sample(), 1..20),
            sequence: u32,
            base_decode_time: u64,
            segment_start: bool,
        ) {
            let head = ChunkHead { sequence, base_decode_time, segment_start };
            let bytes = write_chunk(&head, &samples).expect("small");
            let chunks = read_chunks(&bytes);
            prop_assert!(chunks.is_ok(), "{:?}", chunks);
            let ChunkInfo { samples: read, .. } = &chunks.as_ref().expect("just checked")[0];
            prop_assert_eq!(read.len(), samples.len());
            for (read, sample) in read.iter().zip(&samples) {
                let Sample { duration, composition_offset, keyframe, data } = sample;
                prop_assert_eq!((read.duration, read.composition_offset), (*duration, *composition_offset));
                prop_assert_eq!((read.keyframe, &bytes[read.range.clone()]), (*keyframe, &data[..]));
            }
            let chunk = &chunks.as_ref().expect("just checked")[0];
            prop_assert_eq!((chunk.sequence, chunk.base_decode_time), (sequence, base_decode_time));
            prop_assert_eq!(chunk.segment_start, segment_start);
        }

        #[test]
        fn damaged_chunks_are_errors_or_chunks(
            samples in proptest::collection::vec(any_sample(), 1..6),
            hits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            keep: prop::sample::Index,
        ) {
            let mut bytes = write_chunk(&HEAD, &samples).expect("small").to_vec();
            for (at, value) in hits {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            for chunk in read_chunks(&bytes).iter().flatten() {
                prop_assert!(chunk.samples.iter().all(|sample| bytes.get(sample.range.clone()).is_some()));
            }
            let _ = read_chunks(&bytes[..keep.index(bytes.len())]);
        }
    }
}
