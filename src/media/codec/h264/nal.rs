//! Types of NAL units, and splitting with the errors of H.264.

use super::H264Error;
use crate::media::codec::nal::{self, NalError};

pub use crate::media::codec::nal::{nals_annex_b, without_trailing_zeros};

/// Coded slice of a picture that is not an IDR (H.264 table 7-1, as all of these).
pub const NAL_SLICE: u8 = 1;
/// Coded slice of an IDR picture: decoding may start at its access unit.
pub const NAL_IDR: u8 = 5;
/// Supplemental enhancement information.
pub const NAL_SEI: u8 = 6;
/// Sequence parameter set.
pub const NAL_SPS: u8 = 7;
/// Picture parameter set.
pub const NAL_PPS: u8 = 8;
/// Access unit delimiter.
pub const NAL_ACCESS_UNIT_DELIMITER: u8 = 9;
/// End of sequence.
pub const NAL_END_OF_SEQUENCE: u8 = 10;
/// End of stream.
pub const NAL_END_OF_STREAM: u8 = 11;
/// Filler data of constant-bitrate encoders.
pub const NAL_FILLER: u8 = 12;

/// `nal_unit_type` of a NAL unit; 0 (unspecified) for an empty one.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |header| header & 0x1f)
}

impl From<NalError> for H264Error {
    fn from(error: NalError) -> Self {
        match error {
            NalError::Truncated => H264Error::Truncated { what: "NAL length" },
            NalError::BeyondEnd { offset, length, left } => H264Error::NalBeyondEnd { offset, length, left },
            NalError::LengthSize(size) => H264Error::LengthSize(size),
        }
    }
}

/// [`nal::nals_length_prefixed`] of H.264.
pub fn nals_length_prefixed(data: &[u8], length_size: u8) -> impl Iterator<Item = Result<&[u8], H264Error>> {
    nal::nals_length_prefixed(data, length_size).map(|nal| nal.map_err(H264Error::from))
}
