//! H.264 (ITU-T H.264, ISO/IEC 14496-10) as far as a track's description needs it.
//!
//! | module | holds |
//! |---|---|
//! | [`nal`] | types of NAL units |
//! | [`config`] | the AVCDecoderConfigurationRecord (avcC), both directions |
//! | [`sps`] | sequence parameter sets |
//!
//! Slices are never looked into.

pub mod config;
pub mod nal;
pub mod sps;

use super::picture::{SIDES, is_carried};
use crate::media::{VideoCodec, VideoTrack};

pub use super::picture::{Chroma, Colour};
pub use config::AvcConfig;
pub use nal::{
    NAL_ACCESS_UNIT_DELIMITER, NAL_END_OF_SEQUENCE, NAL_END_OF_STREAM, NAL_FILLER, NAL_IDR, NAL_PPS, NAL_SEI,
    NAL_SLICE, NAL_SPS, nal_type, nals_annex_b, nals_length_prefixed,
};
pub use sps::Sps;

/// Why bytes are not the H.264 that they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum H264Error {
    /// The bytes end inside of a field.
    #[error("H.264 {what} is cut off")]
    Truncated {
        /// Which structure.
        what: &'static str,
    },
    /// A NAL length reaches beyond the access unit.
    #[error("H.264 NAL unit at byte {offset} claims {length} bytes, {left} are left")]
    NalBeyondEnd {
        /// Where the length stands.
        offset: usize,
        /// What it says.
        length: usize,
        /// What there is.
        left: usize,
    },
    /// NAL lengths have 1, 2 or 4 bytes.
    #[error("H.264 NAL lengths of {0} bytes do not exist")]
    LengthSize(u8),
    /// An avcC of another version than 1.
    #[error("H.264 configuration record has version {0}, only 1 is known")]
    Version(u8),
    /// There is no sequence parameter set.
    #[error("H.264 configuration has no sequence parameter set")]
    NoSps,
    /// There is no picture parameter set.
    #[error("H.264 configuration has no picture parameter set")]
    NoPps,
    /// A NAL unit stands where one of another type belongs.
    #[error("H.264 NAL unit of type {found} stands where type {expected} belongs")]
    WrongNal {
        /// The type that belongs here.
        expected: u8,
        /// The type that is here.
        found: u8,
    },
    /// A field has a value that the standard excludes, or that this daemon does not carry.
    #[error("H.264 sequence parameter set: {field} is {value}, at most {max} is allowed")]
    OutOfRange {
        /// Name of the field in the standard.
        field: &'static str,
        /// Its value.
        value: u32,
        /// The largest allowed value.
        max: u32,
    },
    /// The cropping rectangle leaves no picture.
    #[error("H.264 sequence parameter set crops the whole picture away")]
    NothingLeft,
    /// A picture that no encoder and few decoders take.
    #[error("the picture is {width}x{height}; sides of {} to {} pixels can be carried", SIDES.start(), SIDES.end())]
    PictureSize {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// More or longer parameter sets than an avcC can hold.
    #[error("H.264 parameter sets do not fit into a configuration record")]
    TooLarge,
}

/// Describes a track from its parameter sets (NAL units without start codes or lengths). The first SPS decides size and
/// timing; all of them go into the configuration, which always has 4-byte NAL lengths.
///
/// # Errors
/// A set is missing, is of another NAL type, cannot be parsed, or is too large for an avcC; or the picture's size is impossible.
pub fn track_from_parameter_sets(sps: &[&[u8]], pps: &[&[u8]]) -> Result<VideoTrack, H264Error> {
    let first = Sps::parse(sps.first().ok_or(H264Error::NoSps)?)?;
    let (width, height) = (first.width, first.height);
    if !is_carried((width, height)) {
        return Err(H264Error::PictureSize { width, height });
    }
    let config = AvcConfig {
        length_size: 4,
        sps: sps.iter().map(|set| bytes::Bytes::copy_from_slice(set)).collect(),
        pps: pps.iter().map(|set| bytes::Bytes::copy_from_slice(set)).collect(),
    };
    Ok(VideoTrack {
        codec: VideoCodec::H264,
        config: config.write()?,
        codecs: format!("avc1.{:02x}{:02x}{:02x}", first.profile_idc, first.constraints, first.level_idc),
        width,
        height,
        sample_aspect: first.sample_aspect,
        frame_rate: first.frame_rate,
        plain: first.chroma_format_idc == 1
            && first.bit_depth_luma == 8
            && first.bit_depth_chroma == 8
            && first.frame_mbs_only,
    })
}

#[cfg(test)]
mod tests {
    use super::sps::samples::{HIGH_SPS, INTERLACED_422_SPS, INTERLACED_SPS, ODD_444_SPS, PPS};
    use super::*;

    #[test]
    fn a_track_is_described_by_its_sets() {
        let track = track_from_parameter_sets(&[HIGH_SPS], &[PPS]).expect("made by x264");
        assert_eq!((track.codecs.as_str(), track.width, track.height), ("avc1.640028", 1_920, 1_080));
        assert_eq!((track.sample_aspect, track.frame_rate, track.plain), ((1, 1), Some((30, 1)), true));
        let config = AvcConfig::parse(&track.config).expect("our own record");
        assert_eq!((config.length_size, &config.sps[0][..], &config.pps[0][..]), (4, HIGH_SPS, PPS));
    }

    #[test]
    fn fields_and_rich_chroma_are_not_plain() {
        for sps in [INTERLACED_SPS, INTERLACED_422_SPS, ODD_444_SPS] {
            assert_eq!(track_from_parameter_sets(&[sps], &[PPS]).map(|track| track.plain), Ok(false));
        }
    }

    #[test]
    fn missing_or_swapped_sets_are_refused() {
        assert_eq!(track_from_parameter_sets(&[], &[PPS]), Err(H264Error::NoSps));
        assert_eq!(track_from_parameter_sets(&[HIGH_SPS], &[]), Err(H264Error::NoPps));
        let swapped = track_from_parameter_sets(&[PPS], &[HIGH_SPS]);
        assert_eq!(swapped, Err(H264Error::WrongNal { expected: NAL_SPS, found: NAL_PPS }));
    }
}
