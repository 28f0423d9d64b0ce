//! Types of NAL units (H.265 table 7-1), and what ingest asks of them.

use super::HevcError;
use crate::media::codec::bits::BitReader;
use crate::media::codec::nal::{self, NalError, without_emulation_prevention};

pub use crate::media::codec::nal::{nals_annex_b, without_trailing_zeros};

/// First of the types of random access point pictures (IRAP): BLA, IDR, CRA; 22 and 23 are reserved.
const NAL_BLA_W_LP: u8 = 16;
/// Last of them.
const NAL_RESERVED_IRAP_23: u8 = 23;
/// IDR picture that decodable leading pictures may follow.
pub const NAL_IDR_W_RADL: u8 = 19;
/// IDR picture without leading pictures.
pub const NAL_IDR_N_LP: u8 = 20;
/// Clean random access picture: decoding may start here, without the leading pictures that follow ([`is_skipped_leading`]).
pub const NAL_CRA: u8 = 21;
/// Random access skipped leading picture, not referenced.
const NAL_RASL_N: u8 = 8;
/// Random access skipped leading picture, referenced.
const NAL_RASL_R: u8 = 9;
/// Types below this are pictures (VCL NAL units).
const FIRST_NON_VCL: u8 = 32;
/// Video parameter set.
pub const NAL_VPS: u8 = 32;
/// Sequence parameter set.
pub const NAL_SPS: u8 = 33;
/// Picture parameter set.
pub const NAL_PPS: u8 = 34;
/// Access unit delimiter.
pub const NAL_ACCESS_UNIT_DELIMITER: u8 = 35;
/// Supplemental enhancement information before the picture.
pub const NAL_PREFIX_SEI: u8 = 39;

/// `nal_unit_type` of a NAL unit; 63 (unspecified) for one without a whole header.
pub fn nal_type(nal: &[u8]) -> u8 {
    if nal.len() < HEADER_BYTES { 63 } else { nal[0] >> 1 & 0x3f }
}

/// Bytes of `nal_unit_header` (H.265 7.3.1.2).
pub(super) const HEADER_BYTES: usize = 2;

/// `nuh_layer_id`: 0 is the picture itself; others are enhancement layers and second views, which are not decoded.
pub fn layer(nal: &[u8]) -> u8 {
    if nal.len() < HEADER_BYTES { 0 } else { (nal[0] & 1) << 5 | nal[1] >> 3 }
}

/// A slice of a picture.
pub const fn is_picture(nal_type: u8) -> bool {
    nal_type < FIRST_NON_VCL
}

/// A slice of a picture that decoding may start at: IDR, CRA or BLA.
pub const fn is_keyframe(nal_type: u8) -> bool {
    matches!(nal_type, NAL_BLA_W_LP..=NAL_RESERVED_IRAP_23)
}

/// A slice of a picture that cannot be decoded when decoding starts at the CRA or BLA before it (RASL).
pub const fn is_skipped_leading(nal_type: u8) -> bool {
    matches!(nal_type, NAL_RASL_N | NAL_RASL_R)
}

/// A parameter set: what the configuration record holds.
pub const fn is_parameter_set(nal_type: u8) -> bool {
    matches!(nal_type, NAL_VPS | NAL_SPS | NAL_PPS)
}

/// Whether samples of an `hvc1` track go without it: parameter sets are in the init segment, delimiters in the sample table.
pub const fn is_taken_out(nal_type: u8) -> bool {
    is_parameter_set(nal_type) || nal_type == NAL_ACCESS_UNIT_DELIMITER
}

/// The id by which a parameter set replaces an older one of its type; `None` if it is no parameter set, or cut off.
pub fn parameter_set_id(nal: &[u8]) -> Option<u32> {
    let payload = nal.get(HEADER_BYTES..)?;
    match nal_type(nal) {
        NAL_VPS => BitReader::new(payload).bits(4),
        NAL_SPS => super::sps::id(&without_emulation_prevention(payload)),
        NAL_PPS => BitReader::new(payload).golomb(),
        _ => None,
    }
}

impl From<NalError> for HevcError {
    fn from(error: NalError) -> Self {
        match error {
            NalError::Truncated => HevcError::Truncated { what: "NAL length" },
            NalError::BeyondEnd { offset, length, left } => HevcError::NalBeyondEnd { offset, length, left },
            NalError::LengthSize(size) => HevcError::LengthSize(size),
        }
    }
}

/// [`nal::nals_length_prefixed`] of HEVC.
pub fn nals_length_prefixed(data: &[u8], length_size: u8) -> impl Iterator<Item = Result<&[u8], HevcError>> {
    nal::nals_length_prefixed(data, length_size).map(|nal| nal.map_err(HevcError::from))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{MAIN_PPS, MAIN_SPS, MAIN_VPS};
    use super::*;

    #[test]
    fn types_are_told_apart() {
        let types =
            [MAIN_VPS, MAIN_SPS, MAIN_PPS, &[0x26, 0x01, 0xaf], &[0x02, 0x01, 0xd0], &[0x46, 0x01, 0x10], &[0x26]];
        assert_eq!(types.map(nal_type), [NAL_VPS, NAL_SPS, NAL_PPS, NAL_IDR_W_RADL, 1, NAL_ACCESS_UNIT_DELIMITER, 63]);
        assert_eq!((0..64).filter(|it| is_keyframe(*it)).collect::<Vec<_>>(), (16..24).collect::<Vec<_>>());
        assert_eq!((0..64).filter(|it| is_taken_out(*it)).collect::<Vec<_>>(), [32, 33, 34, 35]);
        assert!(is_picture(NAL_CRA) && !is_picture(NAL_VPS) && !is_picture(nal_type(&[])));
        assert!(is_skipped_leading(9) && !is_skipped_leading(7));
        assert_eq!((layer(MAIN_SPS), layer(&[0x43, 0x09])), (0, 33));
    }

    #[test]
    fn parameter_sets_have_ids() {
        assert_eq!([MAIN_VPS, MAIN_SPS, MAIN_PPS].map(parameter_set_id), [Some(0); 3]);
        assert_eq!(parameter_set_id(&[0x44, 0x01, 0b0101_0000]), Some(1));
        assert_eq!([&[0x26, 0x01, 0xaf][..], &MAIN_SPS[..8], &[]].map(parameter_set_id), [None; 3]);
    }

    #[test]
    fn splitting_speaks_of_hevc() {
        let error = nals_length_prefixed(&[0, 0, 0, 9, 0x26], 4).next().expect("an item").expect_err("too long");
        assert_eq!(error.to_string(), "HEVC NAL unit at byte 0 claims 9 bytes, 1 are left");
    }
}
