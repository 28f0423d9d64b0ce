//! Pictures of codecs that are made of NAL units.

use bytes::{BufMut, Bytes, BytesMut};

use super::pictures::Form;
use super::sets::{MAX_SETS, Sets};
use super::{Trouble, VideoError};
use crate::media::VideoTrack;
use crate::media::codec::bits::BitReader;
use crate::media::codec::h264::{self, H264Error};
use crate::media::codec::hevc::{self, HevcError};
use crate::media::codec::nal::{nals_annex_b, nals_length_prefixed, without_trailing_zeros};

/// Length size that is assumed when parameter sets came in band only.
const DEFAULT_LENGTH_SIZE: u8 = 4;
/// What we write (see [`crate::media::Packet::data`]).
const OUTPUT_LENGTH_SIZE: u8 = 4;

/// What a NAL unit is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Part of a picture; `key`: of one that decoding may start at; `leading`: see [`super::AccessUnit::leading`].
    Slice { key: bool, leading: bool },
    /// A parameter set of this rank.
    Set(usize),
    /// Of no use in CMAF: delimiters.
    TakenOut,
    /// Anything else belongs to the picture.
    Kept,
}

/// What differs between the codecs.
pub(super) trait NalCodec<const RANKS: usize> {
    fn role(nal: &[u8]) -> Role;

    /// The id of a set of the lowest rank.
    fn lowest_id(nal: &[u8]) -> Option<u32>;

    /// The configuration record's length size and sets.
    fn record(record: &Bytes) -> Result<(u8, Sets<RANKS>), VideoError>;

    /// The track, and by how many frames output order may leave decoding order.
    fn describe(sets: &Sets<RANKS>) -> Result<Described, VideoError>;
}

/// ITU-T H.264.
#[derive(Debug)]
pub(super) struct H264;

impl NalCodec<2> for H264 {
    fn role(nal: &[u8]) -> Role {
        match h264::nal_type(nal) {
            h264::NAL_IDR => Role::Slice { key: true, leading: false },
            h264::NAL_SLICE..h264::NAL_IDR => Role::Slice { key: false, leading: false },
            h264::NAL_SPS => Role::Set(0),
            h264::NAL_PPS => Role::Set(1),
            h264::NAL_ACCESS_UNIT_DELIMITER => Role::TakenOut,
            _ => Role::Kept,
        }
    }

    /// `pic_parameter_set_id`, the first field of a PPS (H.264 7.3.2.2).
    fn lowest_id(nal: &[u8]) -> Option<u32> {
        BitReader::new(nal.get(1..)?).golomb()
    }

    fn record(record: &Bytes) -> Result<(u8, Sets<2>), VideoError> {
        let config = h264::AvcConfig::parse(record)?;
        Ok((config.length_size, Sets { of_rank: [config.sps, config.pps] }))
    }

    fn describe(sets: &Sets<2>) -> Result<Described, VideoError> {
        let [sps, pps] = sets.as_slices();
        let track = h264::track_from_parameter_sets(&sps, &pps)?;
        let reorder_frames = h264::Sps::parse(sps.first().ok_or(H264Error::NoSps)?)?.reorder_frames;
        Ok((track, reorder_frames))
    }
}

/// ITU-T H.265.
#[derive(Debug)]
pub(super) struct Hevc;

impl NalCodec<3> for Hevc {
    fn role(nal: &[u8]) -> Role {
        let nal_type = hevc::nal_type(nal);
        match nal_type {
            _ if hevc::layer(nal) != 0 => Role::TakenOut, // enhancement layers and second views
            _ if hevc::is_picture(nal_type) => {
                Role::Slice { key: hevc::is_keyframe(nal_type), leading: hevc::is_skipped_leading(nal_type) }
            }
            hevc::NAL_VPS => Role::Set(0),
            hevc::NAL_SPS => Role::Set(1),
            hevc::NAL_PPS => Role::Set(2),
            _ if hevc::is_taken_out(nal_type) => Role::TakenOut,
            _ => Role::Kept,
        }
    }

    fn lowest_id(nal: &[u8]) -> Option<u32> {
        hevc::parameter_set_id(nal)
    }

    fn record(record: &Bytes) -> Result<(u8, Sets<3>), VideoError> {
        let config = hevc::HevcConfig::parse(record)?;
        Ok((config.length_size, Sets { of_rank: [config.vps, config.sps, config.pps] }))
    }

    fn describe(sets: &Sets<3>) -> Result<Described, VideoError> {
        let [vps, sps, pps] = sets.as_slices();
        let track = hevc::track_from_parameter_sets(&vps, &sps, &pps)?;
        let first = hevc::Sps::parse(sps.first().ok_or(HevcError::NoSet("sequence"))?)?;
        Ok((track, Some(first.reorder_frames)))
    }
}

/// What is known of a track made of NAL units.
#[derive(Debug)]
pub(super) struct Nals<const RANKS: usize> {
    sets: Sets<RANKS>,
    length_size: u8,
}

impl<const RANKS: usize> Default for Nals<RANKS> {
    fn default() -> Self {
        Nals { sets: Sets::default(), length_size: DEFAULT_LENGTH_SIZE }
    }
}

/// A track as its parameter sets describe it.
pub(super) type Described = (VideoTrack, Option<u32>);

/// What one look over an access unit finds.
#[derive(Debug)]
pub(super) struct Scan {
    pub keyframe: bool,
    /// There is a coded slice.
    pub picture: bool,
    pub leading: bool,
    parameter_sets: bool,
    /// Bytes of the NAL units that stay, and of their lengths as we write them.
    kept_bytes: usize,
    /// Nothing needs to be changed.
    whole: bool,
}

impl<const RANKS: usize> Nals<RANKS> {
    /// Takes over a configuration record; the track, if its sets are in it and not still to come in band.
    pub(super) fn configure<C: NalCodec<RANKS>>(&mut self, record: &Bytes) -> Result<Option<Described>, VideoError> {
        let (length_size, sets) = C::record(record)?;
        self.length_size = length_size;
        if !sets.is_complete() {
            return Ok(None);
        }
        self.describe::<C>(sets).map(Some)
    }

    fn describe<C: NalCodec<RANKS>>(&mut self, sets: Sets<RANKS>) -> Result<Described, VideoError> {
        let sets = sets.owned()?;
        let described = C::describe(&sets)?;
        self.sets = sets;
        Ok(described)
    }

    /// Looks over an access unit; and the track, if sets in it are new.
    pub(super) fn scan<C: NalCodec<RANKS>>(
        &mut self,
        data: &Bytes,
        form: Form,
    ) -> Result<(Scan, Option<Described>), Trouble> {
        let mut scan =
            Scan { keyframe: false, picture: false, leading: false, parameter_sets: false, kept_bytes: 0, whole: true };
        each(data, form, self.length_size, |nal| {
            match C::role(nal) {
                Role::Slice { key, leading } => {
                    scan.picture = true;
                    scan.keyframe |= key;
                    scan.leading |= leading;
                }
                Role::Set(_) => scan.parameter_sets = true,
                Role::TakenOut | Role::Kept => {}
            }
            if is_kept::<C, RANKS>(nal) {
                scan.kept_bytes += usize::from(OUTPUT_LENGTH_SIZE) + nal.len();
            }
            Ok(())
        })?;
        // Empty units, which are not looked at, must go too.
        let as_written = form == Form::AsConfigured && self.length_size == OUTPUT_LENGTH_SIZE;
        scan.whole = as_written && scan.kept_bytes == data.len();
        let described = if scan.parameter_sets { self.in_band_sets::<C>(data, form)? } else { None };
        Ok((scan, described))
    }

    /// Parameter sets among the pictures: equal ones are free, others are a new configuration.
    fn in_band_sets<C: NalCodec<RANKS>>(&mut self, data: &Bytes, form: Form) -> Result<Option<Described>, Trouble> {
        let (mut found, mut seen) = (Sets::default(), 0);
        each(data, form, self.length_size, |nal| {
            let nal = without_trailing_zeros(nal);
            let Role::Set(rank) = C::role(nal) else { return Ok(()) };
            seen += 1;
            if seen > MAX_SETS {
                return Err(VideoError::TooManySets.into());
            }
            if !self.sets.contains(rank, nal) {
                found.of_rank[rank].push(data.slice_ref(nal));
            }
            Ok(())
        })?;
        if found.is_empty() {
            return Ok(None);
        }
        let merged = self.sets.merged_with(found, C::lowest_id);
        if !merged.is_complete() {
            // The other half may come in the next message.
            self.sets = merged.owned()?;
            return Ok(None);
        }
        Ok(Some(self.describe::<C>(merged)?))
    }

    /// The access unit as packets carry it.
    pub(super) fn repack<C: NalCodec<RANKS>>(&self, data: Bytes, form: Form, scan: &Scan) -> Result<Bytes, Trouble> {
        if scan.whole {
            return Ok(data);
        }
        let mut out = BytesMut::with_capacity(scan.kept_bytes);
        each(&data, form, self.length_size, |nal| {
            if is_kept::<C, RANKS>(nal) {
                out.put_u32(u32::try_from(nal.len()).map_err(|_| VideoError::TooLong)?);
                out.put_slice(nal);
            }
            Ok(())
        })?;
        Ok(out.freeze())
    }
}

#[cfg(test)]
impl<const RANKS: usize> Nals<RANKS> {
    pub(super) fn sets_of_lowest_rank(&self) -> usize {
        self.sets.of_rank[RANKS - 1].len()
    }
}

fn is_kept<C: NalCodec<RANKS>, const RANKS: usize>(nal: &[u8]) -> bool {
    !matches!(C::role(nal), Role::Set(_) | Role::TakenOut)
}

/// Calls `look` with each NAL unit of an access unit.
fn each<'a>(
    data: &'a [u8],
    form: Form,
    length_size: u8,
    mut look: impl FnMut(&'a [u8]) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    match form {
        Form::AsConfigured => nals_length_prefixed(data, length_size).try_for_each(|nal| look(nal?)),
        Form::AnnexB => nals_annex_b(data).try_for_each(look),
    }
}
