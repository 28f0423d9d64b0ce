//! HEVC (ITU-T H.265, ISO/IEC 23008-2) as far as a track's description needs it.
//!
//! | module | holds |
//! |---|---|
//! | [`nal`] | types of NAL units |
//! | [`config`] | the HEVCDecoderConfigurationRecord (hvcC), both directions |
//! | [`sps`] | sequence parameter sets |
//!
//! Slices are never looked into; of enhancement layers nothing is read.

pub mod config;
pub mod nal;
pub mod sps;

use bytes::Bytes;

use super::picture::{SIDES, is_carried};
use crate::media::{VideoCodec, VideoTrack};

pub use config::HevcConfig;
pub use nal::{
    NAL_ACCESS_UNIT_DELIMITER, NAL_CRA, NAL_IDR_N_LP, NAL_IDR_W_RADL, NAL_PPS, NAL_PREFIX_SEI, NAL_SPS, NAL_VPS,
    is_keyframe, is_parameter_set, is_picture, is_skipped_leading, is_taken_out, layer, nal_type, nals_annex_b,
    nals_length_prefixed, parameter_set_id,
};
pub use sps::{ProfileTierLevel, Sps};

/// Why bytes are not the HEVC that they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HevcError {
    /// The bytes end inside of a field.
    #[error("HEVC {what} is cut off")]
    Truncated {
        /// Which structure.
        what: &'static str,
    },
    /// A NAL length reaches beyond the access unit.
    #[error("HEVC NAL unit at byte {offset} claims {length} bytes, {left} are left")]
    NalBeyondEnd {
        /// Where the length stands.
        offset: usize,
        /// What it says.
        length: usize,
        /// What there is.
        left: usize,
    },
    /// NAL lengths have 1, 2 or 4 bytes.
    #[error("HEVC NAL lengths of {0} bytes do not exist")]
    LengthSize(u8),
    /// An hvcC of another version than 1.
    #[error("HEVC configuration record has version {0}, only 1 is known")]
    Version(u8),
    /// A parameter set is missing.
    #[error("HEVC configuration has no {0} parameter set")]
    NoSet(&'static str),
    /// A NAL unit stands where one of another type belongs.
    #[error("HEVC NAL unit of type {found} stands where type {expected} belongs")]
    WrongNal {
        /// The type that belongs here.
        expected: u8,
        /// The type that is here.
        found: u8,
    },
    /// A field has a value that the standard excludes, or that this daemon does not carry.
    #[error("HEVC sequence parameter set: {field} is {value}, at most {max} is allowed")]
    OutOfRange {
        /// Name of the field in the standard.
        field: &'static str,
        /// Its value.
        value: u32,
        /// The largest allowed value.
        max: u32,
    },
    /// The conformance window leaves no picture.
    #[error("HEVC sequence parameter set crops the whole picture away")]
    NothingLeft,
    /// A picture that no encoder and few decoders take.
    #[error("the picture is {width}x{height}; sides of {} to {} pixels can be carried", SIDES.start(), SIDES.end())]
    PictureSize {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// More or longer parameter sets than there can be.
    #[error("HEVC parameter sets do not fit into a configuration record")]
    TooLarge,
}

/// Describes a track from its parameter sets (NAL units without start codes or lengths). The first SPS decides size and
/// timing; all of them go into the configuration, which always has 4-byte NAL lengths.
///
/// # Errors
/// A set is missing, is of another NAL type, cannot be parsed, or is too large for an hvcC; or the picture's size is impossible.
pub fn track_from_parameter_sets(vps: &[&[u8]], sps: &[&[u8]], pps: &[&[u8]]) -> Result<VideoTrack, HevcError> {
    let first = Sps::parse(sps.first().ok_or(HevcError::NoSet("sequence"))?)?;
    let (width, height) = (first.width, first.height);
    if !is_carried((width, height)) {
        return Err(HevcError::PictureSize { width, height });
    }
    let owned = |sets: &[&[u8]]| sets.iter().map(|set| Bytes::copy_from_slice(set)).collect();
    let config = HevcConfig { length_size: 4, vps: owned(vps), sps: owned(sps), pps: owned(pps) };
    Ok(VideoTrack {
        codec: VideoCodec::Hevc,
        config: config.write()?,
        codecs: codecs(&first.profile_tier_level),
        width,
        height,
        sample_aspect: first.sample_aspect,
        frame_rate: first.frame_rate,
        plain: first.chroma_format_idc == 1
            && first.bit_depth_luma == 8
            && first.bit_depth_chroma == 8
            && !first.interlaced,
    })
}

/// The RFC 6381 string, e.g. `hvc1.1.6.L93.B0` (ISO/IEC 14496-15 E.3).
fn codecs(stated: &ProfileTierLevel) -> String {
    let space = ["", "A", "B", "C"][usize::from(stated.profile_space & 3)];
    // The flag of profile 0 is the highest bit of the field and the lowest of the number.
    let compatible = stated.compatibility.reverse_bits();
    let tier = if stated.high_tier { 'H' } else { 'L' };
    let mut text = format!(
        "{}.{space}{}.{compatible:X}.{tier}{}",
        VideoCodec::Hevc.sample_entry(),
        stated.profile_idc,
        stated.level_idc
    );
    let said = stated.constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    for byte in &stated.constraints[..said] {
        text.push_str(&format!(".{byte:X}"));
    }
    text
}

/// Parameter sets made by x265 (`ffmpeg -f lavfi -i testsrc2 ...`), for the tests of this folder and of its users.
#[cfg(test)]
pub(crate) mod samples {
    /// 1280x720, 30 fps, Main 3.1.
    pub(crate) const MAIN_VPS: &[u8] = &[
        0x40, 0x01, 0x0c, 0x01, 0xff, 0xff, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00,
        0x03, 0x00, 0x5d, 0x95, 0x94, 0x09,
    ];
    /// Its sequence parameter set.
    pub(crate) const MAIN_SPS: &[u8] = &[
        0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x5d,
        0xa0, 0x02, 0x80, 0x80, 0x2d, 0x16, 0x59, 0x59, 0x52, 0x93, 0x0b, 0xc0, 0x5a, 0x02, 0x00, 0x00, 0x03, 0x00,
        0x02, 0x00, 0x00, 0x03, 0x00, 0x3c, 0x10,
    ];
    /// Its picture parameter set.
    pub(crate) const MAIN_PPS: &[u8] = &[0x44, 0x01, 0xc0, 0x73, 0xc1, 0x89];
    /// 1920x1080, 29.97 fps, Main 10, PQ in BT.2020.
    pub(crate) const PQ_SPS: &[u8] = &[
        0x42, 0x01, 0x01, 0x02, 0x20, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x78,
        0xa0, 0x03, 0xc0, 0x80, 0x11, 0x07, 0xca, 0xd9, 0x65, 0x65, 0x4a, 0x4c, 0x2f, 0x01, 0x6a, 0x12, 0x20, 0x12,
        0x08, 0x00, 0x00, 0x1f, 0x48, 0x00, 0x03, 0xa9, 0x80, 0x40,
    ];
    /// 1918x1078 in 4:4:4, 25 fps, 4:3 pixels.
    pub(crate) const ODD_444_SPS: &[u8] = &[
        0x42, 0x01, 0x01, 0x04, 0x08, 0x00, 0x00, 0x03, 0x00, 0x9e, 0x08, 0x00, 0x00, 0x03, 0x00, 0x00, 0x78, 0x90,
        0x00, 0x78, 0x10, 0x02, 0x20, 0xee, 0x2f, 0x2c, 0xac, 0xa9, 0x49, 0x85, 0xe1, 0xcd, 0x01, 0x00, 0x00, 0x03,
        0x00, 0x01, 0x00, 0x00, 0x03, 0x00, 0x19, 0x08,
    ];
}

#[cfg(test)]
mod tests {
    use super::samples::{MAIN_PPS, MAIN_SPS, MAIN_VPS, ODD_444_SPS, PQ_SPS};
    use super::*;

    #[test]
    fn a_track_is_described_by_its_sets() {
        let track = track_from_parameter_sets(&[MAIN_VPS], &[MAIN_SPS], &[MAIN_PPS]).expect("made by x265");
        assert_eq!((track.codec, track.codecs.as_str()), (VideoCodec::Hevc, "hvc1.1.6.L93.90"));
        assert_eq!((track.width, track.height, track.frame_rate), (1_280, 720, Some((30, 1))));
        assert_eq!((track.sample_aspect, track.plain), ((1, 1), true));
        let config = HevcConfig::parse(&track.config).expect("our own record");
        assert_eq!((config.length_size, &config.sps[0][..], &config.pps[0][..]), (4, MAIN_SPS, MAIN_PPS));
    }

    #[test]
    fn rich_samples_are_not_plain() {
        let track = |sps| track_from_parameter_sets(&[MAIN_VPS], &[sps], &[MAIN_PPS]).expect("made by x265");
        let (pq, odd) = (track(PQ_SPS), track(ODD_444_SPS));
        assert_eq!((pq.codecs.as_str(), pq.plain), ("hvc1.2.4.L120.90", false));
        assert_eq!((odd.codecs.as_str(), odd.plain, odd.sample_aspect), ("hvc1.4.10.L120.9E.8", false, (4, 3)));
    }

    #[test]
    fn strings_name_space_tier_and_constraints() {
        let stated = ProfileTierLevel {
            profile_space: 1,
            high_tier: true,
            profile_idc: 2,
            compatibility: 0x2000_0000,
            constraints: [0xb0, 0, 0x0a, 0, 0, 0],
            level_idc: 150,
        };
        assert_eq!(codecs(&stated), "hvc1.A2.4.H150.B0.0.A");
        assert_eq!(codecs(&ProfileTierLevel { constraints: [0; 6], profile_space: 0, ..stated }), "hvc1.2.4.H150");
    }

    #[test]
    fn missing_or_swapped_sets_are_refused() {
        let track = |vps: &[&[u8]], sps: &[&[u8]], pps: &[&[u8]]| {
            track_from_parameter_sets(vps, sps, pps).expect_err("refused").to_string()
        };
        assert_eq!(track(&[MAIN_VPS], &[], &[MAIN_PPS]), "HEVC configuration has no sequence parameter set");
        assert_eq!(track(&[], &[MAIN_SPS], &[MAIN_PPS]), "HEVC configuration has no video parameter set");
        assert_eq!(track(&[MAIN_VPS], &[MAIN_SPS], &[]), "HEVC configuration has no picture parameter set");
        assert_eq!(
            track(&[MAIN_SPS], &[MAIN_SPS], &[MAIN_PPS]),
            "HEVC NAL unit of type 33 stands where type 32 belongs"
        );
    }
}
