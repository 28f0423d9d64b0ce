//! What pictures are made of and how they are shown: the words that all video codecs share, and the parts of the H.264 and H.265
//! video usability information that are the same in both (H.264 E.1.1, H.265 E.2.1).

use std::fmt;
use std::ops::RangeInclusive;

use super::bits::BitReader;

/// Sides in pixels of pictures that can be carried: 4:2:0 has a colour for two pixels, and x264 takes no more.
pub const SIDES: RangeInclusive<u32> = 2..=16_384;

/// Whether a picture of this size can be carried.
pub fn is_carried((width, height): (u32, u32)) -> bool {
    SIDES.contains(&width) && SIDES.contains(&height)
}

/// Frame rates above this are broken timing fields, not cameras.
const MAX_FRAMES_PER_SECOND: u64 = 300;
/// `aspect_ratio_idc` from 1 on (H.264 and H.265 table E-1).
const SAMPLE_ASPECTS: [(u32, u32); 16] = [
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];
const EXTENDED_SAMPLE_ASPECT: u32 = 255;
/// Pixels that are more than so many times as wide as high, or as high as wide, are a damaged field and no camera: the most
/// that table E-1 has is 2.2.
const MAX_SAMPLE_ASPECT: u32 = 8;

/// How much colour a picture has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chroma {
    /// None.
    Monochrome,
    /// One sample for four pixels.
    C420,
    /// One sample for two pixels.
    C422,
    /// One sample for each pixel.
    C444,
}

impl Chroma {
    /// What `chroma_format_idc` says (H.264 and H.265 table 6-1).
    pub(super) const fn of_idc(idc: u8) -> Self {
        match idc {
            0 => Chroma::Monochrome,
            1 => Chroma::C420,
            2 => Chroma::C422,
            _ => Chroma::C444,
        }
    }

    /// Luma samples per chroma sample, across and down: the unit of cropping (H.264 7-19 to 7-22, H.265 table 6-1).
    pub(super) const fn subsampling(self) -> (u32, u32) {
        match self {
            Chroma::C420 => (2, 2),
            Chroma::C422 => (2, 1),
            Chroma::Monochrome | Chroma::C444 => (1, 1),
        }
    }
}

impl fmt::Display for Chroma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Chroma::Monochrome => "monochrome",
            Chroma::C420 => "4:2:0",
            Chroma::C422 => "4:2:2",
            Chroma::C444 => "4:4:4",
        })
    }
}

/// What samples mean as colours: code points of ITU-T H.273, 2 where one is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour {
    /// `colour_primaries`
    pub primaries: u8,
    /// `transfer_characteristics`
    pub transfer: u8,
    /// `matrix_coefficients`
    pub matrix: u8,
    /// Samples use all of their values (`video_full_range_flag`).
    pub full_range: bool,
}

/// How bright samples can be, where it is more than usual: VIDEO-RANGE of HLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoRange {
    /// SMPTE ST 2084.
    Pq,
    /// ARIB STD-B67.
    Hlg,
}

impl VideoRange {
    /// As playlists say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            VideoRange::Pq => "PQ",
            VideoRange::Hlg => "HLG",
        }
    }
}

/// "Unspecified" in each of the three tables of H.273.
pub const COLOUR_UNSPECIFIED: u8 = 2;

impl Colour {
    /// What the transfer characteristics mean for players; `None` for standard range.
    pub const fn video_range(&self) -> Option<VideoRange> {
        match self.transfer {
            16 => Some(VideoRange::Pq),
            18 => Some(VideoRange::Hlg),
            _ => None,
        }
    }

    /// What HD is.
    pub const BT_709: Colour = Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false };
    /// What colours are when nothing is said.
    pub const UNSPECIFIED: Colour = Colour {
        primaries: COLOUR_UNSPECIFIED,
        transfer: COLOUR_UNSPECIFIED,
        matrix: COLOUR_UNSPECIFIED,
        full_range: false,
    };
}

/// `aspect_ratio_idc` and what follows it. Inner `None`: unspecified, or nothing usable.
pub(super) fn sample_aspect(bits: &mut BitReader<'_>) -> Option<Option<(u32, u32)>> {
    Some(match bits.bits(8)? {
        EXTENDED_SAMPLE_ASPECT => Some((bits.bits(16)?, bits.bits(16)?)).filter(is_sample_aspect),
        0 => None,
        idc => SAMPLE_ASPECTS.get(idc as usize - 1).copied(),
    })
}

fn is_sample_aspect((x, y): &(u32, u32)) -> bool {
    *x > 0 && *y > 0 && *x <= y * MAX_SAMPLE_ASPECT && *y <= x * MAX_SAMPLE_ASPECT
}

/// `video_signal_type` (H.264 E.1.1, H.265 E.2.1).
pub(super) fn colour(bits: &mut BitReader<'_>) -> Option<Colour> {
    bits.skip(3)?; // video_format
    let full_range = bits.flag()?;
    let [primaries, transfer, matrix] = if bits.flag()? {
        [bits.bits(8)? as u8, bits.bits(8)? as u8, bits.bits(8)? as u8]
    } else {
        [COLOUR_UNSPECIFIED; 3]
    };
    Some(Colour { primaries, transfer, matrix, full_range })
}

/// So many frames in so many seconds, reduced; `None` when that is no frame rate.
pub(super) fn frame_rate(frames: u64, seconds: u64) -> Option<(u32, u32)> {
    if frames == 0 || seconds == 0 || frames / seconds >= MAX_FRAMES_PER_SECOND {
        return None;
    }
    let divisor = greatest_common_divisor(frames, seconds);
    Some((u32::try_from(frames / divisor).ok()?, u32::try_from(seconds / divisor).ok()?))
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silly_pixels_are_taken_for_square() {
        let kept =
            [(1, 1), (64, 45), (1, 8), (8, 1), (0, 1), (1, 0), (1, 9), (65_535, 1)].map(|it| is_sample_aspect(&it));
        assert_eq!(kept, [true, true, true, true, false, false, false, false]);
    }

    #[test]
    fn silly_timing_is_unknown() {
        assert_eq!(frame_rate(60, 2), Some((30, 1)));
        assert_eq!(frame_rate(60, 0), None);
        assert_eq!(frame_rate(0, 2), None);
        assert_eq!(frame_rate(90_000, 2), None);
        assert_eq!(frame_rate(u64::from(u32::MAX), 2 * u64::from(u32::MAX)), Some((1, 2)));
    }
}
