//! Sequence parameter sets (H.264 7.3.2.1.1 and E.1.1): size, shape, timing and what kind of picture it is.

use super::{H264Error, NAL_SPS, nal_type};
use crate::media::codec::bits::{BitReader, FieldError, Fields};
use crate::media::codec::nal::without_emulation_prevention;
use crate::media::codec::picture::{Chroma, Colour, colour, frame_rate, sample_aspect};

/// Largest side in macroblocks: the square root of 8 x MaxFS at level 6.2 (H.264 A.3.1), 16 880 pixels.
const MAX_SIDE_MACROBLOCKS: u32 = 1_055;
const PROFILE_BASELINE: u8 = 66;
/// Largest decoded picture buffer in frames (H.264 A.3.1), and so the most reordering.
const MAX_REORDER_FRAMES: u32 = 16;
/// `cpb_cnt_minus1` (H.264 E.2.2).
const MAX_CODED_BUFFERS: u32 = 32;
/// Profiles whose SPS has chroma format and bit depths (H.264 7.3.2.1.1).
const PROFILES_WITH_CHROMA_FORMAT: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// What a sequence parameter set says, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`
    pub profile_idc: u8,
    /// The byte of `constraint_set*_flag`s.
    pub constraints: u8,
    /// `level_idc`, ten times the level.
    pub level_idc: u8,
    /// Width of the cropped picture in pixels.
    pub width: u32,
    /// Height of the cropped picture in pixels.
    pub height: u32,
    /// 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4: see [`Sps::chroma`].
    pub chroma_format_idc: u8,
    /// Bits per luma sample, 8 to 14.
    pub bit_depth_luma: u8,
    /// Bits per chroma sample, 8 to 14.
    pub bit_depth_chroma: u8,
    /// No fields and no interlaced frames can occur.
    pub frame_mbs_only: bool,
    /// Sample aspect ratio, `(1, 1)` when nothing usable is said.
    pub sample_aspect: (u32, u32),
    /// What its numbers mean as colours; `None` when nothing is said.
    pub colour: Option<Colour>,
    /// Frames per second, reduced, from `time_scale` and `num_units_in_tick`.
    pub frame_rate: Option<(u32, u32)>,
    /// By how many frames output order may leave decoding order (`max_num_reorder_frames`); `None` when not said. Baseline
    /// has no B-frames and so no reordering.
    pub reorder_frames: Option<u32>,
}

impl Sps {
    /// Parses an SPS NAL unit (header included, without start code). VUI that is cut off counts as absent from there on,
    /// as decoders treat it.
    ///
    /// # Errors
    /// Another NAL type, a field outside of the standard's range, or the bytes end before the picture's size.
    pub fn parse(nal: &[u8]) -> Result<Self, H264Error> {
        let found = nal_type(nal);
        if found != NAL_SPS {
            return Err(H264Error::WrongNal { expected: NAL_SPS, found });
        }
        let rbsp = without_emulation_prevention(&nal[1..]);
        let mut fields = Fields::new(&rbsp);
        let profile_idc = fields.bits(8)? as u8;
        let constraints = fields.bits(8)? as u8;
        let level_idc = fields.bits(8)? as u8;
        fields.golomb("seq_parameter_set_id", 31)?;
        let chroma = if has_chroma_format(profile_idc) { chroma_format(&mut fields)? } else { Coding::DEFAULT };
        picture_order(&mut fields)?;
        fields.golomb("max_num_ref_frames", 16)?;
        fields.flag()?; // gaps_in_frame_num_value_allowed_flag
        let shape = shape(&mut fields, Chroma::of_idc(chroma.format_idc).subsampling())?;
        let vui = if fields.flag()? { vui(fields.reader()) } else { Vui::default() };
        Ok(Sps {
            profile_idc,
            constraints,
            level_idc,
            width: shape.width,
            height: shape.height,
            chroma_format_idc: chroma.format_idc,
            bit_depth_luma: chroma.bit_depth_luma,
            bit_depth_chroma: chroma.bit_depth_chroma,
            frame_mbs_only: shape.frame_mbs_only,
            sample_aspect: vui.sample_aspect.unwrap_or((1, 1)),
            colour: vui.colour,
            frame_rate: vui.frame_rate,
            reorder_frames: if profile_idc == PROFILE_BASELINE { Some(0) } else { vui.reorder_frames },
        })
    }

    /// How much colour there is.
    pub fn chroma(&self) -> Chroma {
        Chroma::of_idc(self.chroma_format_idc)
    }

    /// Whether the profile states chroma format and bit depths, which an avcC then repeats.
    pub fn has_chroma_format(&self) -> bool {
        has_chroma_format(self.profile_idc)
    }
}

fn has_chroma_format(profile_idc: u8) -> bool {
    PROFILES_WITH_CHROMA_FORMAT.contains(&profile_idc)
}

const CUT_OFF: H264Error = H264Error::Truncated { what: "sequence parameter set" };

impl From<FieldError> for H264Error {
    fn from(error: FieldError) -> Self {
        match error {
            FieldError::CutOff => CUT_OFF,
            FieldError::OutOfRange { field, value, max } => H264Error::OutOfRange { field, value, max },
        }
    }
}

struct Coding {
    format_idc: u8,
    bit_depth_luma: u8,
    bit_depth_chroma: u8,
}

impl Coding {
    const DEFAULT: Coding = Coding { format_idc: 1, bit_depth_luma: 8, bit_depth_chroma: 8 };
}

fn chroma_format(fields: &mut Fields<'_>) -> Result<Coding, H264Error> {
    let format_idc = fields.golomb("chroma_format_idc", 3)? as u8;
    if format_idc == 3 {
        fields.flag()?; // separate_colour_plane_flag
    }
    let bit_depth_luma = 8 + fields.golomb("bit_depth_luma_minus8", 6)? as u8;
    let bit_depth_chroma = 8 + fields.golomb("bit_depth_chroma_minus8", 6)? as u8;
    fields.flag()?; // qpprime_y_zero_transform_bypass_flag
    if fields.flag()? {
        let lists = if format_idc == 3 { 12 } else { 8 };
        for index in 0..lists {
            if fields.flag()? {
                skip_scaling_list(fields, if index < 6 { 16 } else { 64 })?;
            }
        }
    }
    Ok(Coding { format_idc, bit_depth_luma, bit_depth_chroma })
}

/// H.264 7.3.2.1.1.1
fn skip_scaling_list(fields: &mut Fields<'_>, size: usize) -> Result<(), H264Error> {
    let (mut last, mut next) = (8, 8);
    for _ in 0..size {
        if next != 0 {
            let delta = fields.signed_golomb()?;
            next = (last + i64::from(delta)).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Ok(())
}

fn picture_order(fields: &mut Fields<'_>) -> Result<(), H264Error> {
    fields.golomb("log2_max_frame_num_minus4", 12)?;
    match fields.golomb("pic_order_cnt_type", 2)? {
        0 => {
            fields.golomb("log2_max_pic_order_cnt_lsb_minus4", 12)?;
        }
        1 => {
            fields.flag()?; // delta_pic_order_always_zero_flag
            fields.signed_golomb()?; // offset_for_non_ref_pic
            fields.signed_golomb()?; // offset_for_top_to_bottom_field
            for _ in 0..fields.golomb("num_ref_frames_in_pic_order_cnt_cycle", 255)? {
                fields.signed_golomb()?;
            }
        }
        _ => {}
    }
    Ok(())
}

struct Shape {
    width: u32,
    height: u32,
    frame_mbs_only: bool,
}

/// Size in macroblocks, fields, cropping.
fn shape(fields: &mut Fields<'_>, (chroma_x, chroma_y): (u32, u32)) -> Result<Shape, H264Error> {
    let columns = 1 + fields.golomb("pic_width_in_mbs_minus1", MAX_SIDE_MACROBLOCKS - 1)?;
    let map_rows = 1 + fields.golomb("pic_height_in_map_units_minus1", MAX_SIDE_MACROBLOCKS - 1)?;
    let frame_mbs_only = fields.flag()?;
    let fields_per_unit = if frame_mbs_only { 1 } else { 2 };
    if !frame_mbs_only {
        fields.flag()?; // mb_adaptive_frame_field_flag
    }
    fields.flag()?; // direct_8x8_inference_flag
    // Both sides stay below 2^16: no overflow.
    let (full_width, full_height) = (columns * 16, map_rows * fields_per_unit * 16);
    let [left, right, top, bottom] = if fields.flag()? {
        let mut side = |field| fields.golomb(field, u32::MAX);
        [
            side("frame_crop_left_offset")?,
            side("frame_crop_right_offset")?,
            side("frame_crop_top_offset")?,
            side("frame_crop_bottom_offset")?,
        ]
    } else {
        [0; 4]
    };
    let cropped = |full: u32, unit: u32, from: u32, to: u32| {
        let away = (u64::from(from) + u64::from(to)) * u64::from(unit);
        u32::try_from(u64::from(full).saturating_sub(away)).ok().filter(|left| *left > 0).ok_or(H264Error::NothingLeft)
    };
    Ok(Shape {
        width: cropped(full_width, chroma_x, left, right)?,
        height: cropped(full_height, chroma_y * fields_per_unit, top, bottom)?,
        frame_mbs_only,
    })
}

#[derive(Default)]
struct Vui {
    sample_aspect: Option<(u32, u32)>,
    colour: Option<Colour>,
    frame_rate: Option<(u32, u32)>,
    reorder_frames: Option<u32>,
}

/// H.264 E.1.1. What stands behind the place where the bits end is absent.
fn vui(bits: &mut BitReader<'_>) -> Vui {
    let mut vui = Vui::default();
    let _cut_off = read_vui(bits, &mut vui);
    vui
}

fn read_vui(bits: &mut BitReader<'_>, vui: &mut Vui) -> Option<()> {
    if bits.flag()? {
        vui.sample_aspect = sample_aspect(bits)?;
    }
    if bits.flag()? {
        bits.skip(1)?; // overscan_appropriate_flag
    }
    if bits.flag()? {
        vui.colour = Some(colour(bits)?);
    }
    if bits.flag()? {
        bits.golomb()?; // chroma_sample_loc_type_top_field
        bits.golomb()?; // chroma_sample_loc_type_bottom_field
    }
    if bits.flag()? {
        let units_in_tick = bits.bits(32)?;
        let time_scale = bits.bits(32)?;
        // A tick is the time of one field (H.264 E.2.1), so a frame takes two.
        vui.frame_rate = frame_rate(u64::from(time_scale), 2 * u64::from(units_in_tick));
        bits.skip(1)?; // fixed_frame_rate_flag
    }
    let nal_buffers = bits.flag()?;
    if nal_buffers {
        skip_hypothetical_decoder(bits)?;
    }
    let slice_buffers = bits.flag()?;
    if slice_buffers {
        skip_hypothetical_decoder(bits)?;
    }
    if nal_buffers || slice_buffers {
        bits.skip(1)?; // low_delay_hrd_flag
    }
    bits.skip(1)?; // pic_struct_present_flag
    if bits.flag()? {
        bits.skip(1)?; // motion_vectors_over_pic_boundaries_flag
        for _ in 0..4 {
            bits.golomb()?; // limits of picture and macroblock size, and of motion vectors
        }
        vui.reorder_frames = Some(bits.golomb()?).filter(|frames| *frames <= MAX_REORDER_FRAMES);
    }
    Some(())
}

/// `hrd_parameters` (H.264 E.1.2).
fn skip_hypothetical_decoder(bits: &mut BitReader<'_>) -> Option<()> {
    let buffers = bits.golomb()?.checked_add(1).filter(|buffers| *buffers <= MAX_CODED_BUFFERS)?;
    bits.skip(8)?; // bit_rate_scale, cpb_size_scale
    for _ in 0..buffers {
        bits.golomb()?; // bit_rate_value_minus1
        bits.golomb()?; // cpb_size_value_minus1
        bits.skip(1)?; // cbr_flag
    }
    bits.skip(20) // lengths of delays and of the time offset
}

/// Parameter sets made by x264 (`ffmpeg -f lavfi -i testsrc2 ...`), for the tests of this folder and of its users.
#[cfg(test)]
pub(crate) mod samples {
    /// 1920x1080, 30 fps, High 4.0.
    pub(crate) const HIGH_SPS: &[u8] = &[
        0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04,
        0x00, 0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58,
    ];
    /// Its picture parameter set.
    pub(crate) const PPS: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];
    /// 640x360, 29.97 fps, Constrained Baseline 3.0.
    pub(crate) const BASELINE_SPS: &[u8] = &[
        0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x03, 0xe9, 0x00, 0x00,
        0xea, 0x60, 0x0f, 0x16, 0x2e, 0x48,
    ];
    /// 720x576 interlaced, 25 fps, High 4:2:2 with 10 bits, 16:9 by sample aspect.
    pub(crate) const INTERLACED_422_SPS: &[u8] = &[
        0x67, 0x7a, 0x00, 0x1e, 0xb6, 0xcd, 0x94, 0x0b, 0x42, 0x4d, 0xff, 0x80, 0x20, 0x00, 0x16, 0x88, 0x00, 0x00,
        0x03, 0x00, 0x08, 0x00, 0x00, 0x03, 0x01, 0x90, 0xf8, 0xa1, 0x4c, 0xb0,
    ];
    /// 130x98, 60 fps, High 4:4:4 Predictive.
    pub(crate) const ODD_444_SPS: &[u8] = &[
        0x67, 0xf4, 0x00, 0x0c, 0x91, 0x9b, 0x28, 0x49, 0xfc, 0x7c, 0x7e, 0x02, 0x20, 0x00, 0x00, 0x03, 0x00, 0x20,
        0x00, 0x00, 0x0f, 0x01, 0xe2, 0x85, 0x32, 0xc0,
    ];
    /// 160x90, full range with the code points 1 (primaries), 13 (transfer) and 6 (matrix).
    pub(crate) const FULL_RANGE_SPS: &[u8] = &[
        0x67, 0x64, 0x00, 0x0b, 0xac, 0xd9, 0x42, 0x8d, 0xf9, 0x30, 0x16, 0xe0, 0x21, 0xa0, 0xc8, 0x00, 0x00, 0x03,
        0x00, 0x08, 0x00, 0x00, 0x03, 0x01, 0xe0, 0x78, 0xa1, 0x4c, 0xb0,
    ];
    /// 1920x1080 in fields, 50 frames a second.
    pub(crate) const INTERLACED_SPS: &[u8] = &[
        0x67, 0x64, 0x00, 0x3e, 0xac, 0xd9, 0x40, 0x78, 0x04, 0x4f, 0xde, 0x02, 0x20, 0x00, 0x00, 0x03, 0x00, 0x20,
        0x00, 0x00, 0x0c, 0x83, 0xe3, 0xc7, 0xb2, 0xc0,
    ];
}

#[cfg(test)]
mod tests {
    use super::samples::{BASELINE_SPS, FULL_RANGE_SPS, HIGH_SPS, INTERLACED_422_SPS, INTERLACED_SPS, ODD_444_SPS};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn full_hd_is_cropped_from_1088_rows() {
        let expected = Sps {
            profile_idc: 100,
            constraints: 0,
            level_idc: 40,
            width: 1_920,
            height: 1_080,
            chroma_format_idc: 1,
            bit_depth_luma: 8,
            bit_depth_chroma: 8,
            frame_mbs_only: true,
            sample_aspect: (1, 1),
            colour: None,
            frame_rate: Some((30, 1)),
            reorder_frames: Some(2),
        };
        assert_eq!(Sps::parse(HIGH_SPS), Ok(expected));
    }

    #[test]
    fn other_shapes() {
        let parse = |nal| Sps::parse(nal).expect("made by x264");
        let baseline = parse(BASELINE_SPS);
        assert_eq!((baseline.width, baseline.height, baseline.frame_rate), (640, 360, Some((30_000, 1_001))));
        assert_eq!(baseline.reorder_frames, Some(0));
        let broadcast = parse(INTERLACED_422_SPS);
        assert_eq!((broadcast.width, broadcast.height, broadcast.sample_aspect), (720, 576, (64, 45)));
        assert_eq!((broadcast.chroma_format_idc, broadcast.bit_depth_luma, broadcast.bit_depth_chroma), (2, 10, 10));
        assert_eq!((broadcast.frame_mbs_only, broadcast.frame_rate), (false, Some((25, 1))));
        let odd = parse(ODD_444_SPS);
        assert_eq!((odd.width, odd.height, odd.chroma_format_idc, odd.frame_rate), (130, 98, 3, Some((60, 1))));
        let fields = parse(INTERLACED_SPS);
        assert_eq!((fields.width, fields.height, fields.frame_mbs_only), (1_920, 1_080, false));
    }

    #[test]
    fn bytes_that_end_early() {
        assert_eq!(Sps::parse(&[]), Err(H264Error::WrongNal { expected: NAL_SPS, found: 0 }));
        assert_eq!(Sps::parse(&HIGH_SPS[..6]), Err(CUT_OFF));
        // Cut within the VUI: the size stands, the timing is unknown.
        let without_timing = Sps::parse(&HIGH_SPS[..14]).expect("the size was read");
        assert_eq!(
            (without_timing.width, without_timing.frame_rate, without_timing.reorder_frames),
            (1_920, None, None)
        );
    }

    #[test]
    fn colour_is_read_as_it_is_said() {
        let colour = |nal| Sps::parse(nal).expect("made by x264").colour;
        let full = Colour { primaries: 1, transfer: 13, matrix: 6, full_range: true };
        assert_eq!((colour(FULL_RANGE_SPS), colour(HIGH_SPS)), (Some(full), None));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(tail in prop::collection::vec(any::<u8>(), 0..60), profile in prop::sample::select(vec![66u8, 100, 244])) {
            let nal: Vec<u8> = [0x67, profile].into_iter().chain(tail).collect();
            if let Ok(sps) = Sps::parse(&nal) {
                prop_assert!(sps.width > 0 && sps.width <= 16_880 && sps.height > 0 && sps.height <= 33_760);
            }
        }

        #[test]
        fn one_flipped_bit_never_panics(at in 8usize..27 * 8) {
            let mut nal = HIGH_SPS.to_vec();
            nal[at / 8] ^= 1 << (at % 8);
            let _any_result = Sps::parse(&nal);
        }
    }
}
