//! Sequence parameter sets (H.265 7.3.2.2 and E.2.1): size, shape, timing and what kind of picture it is.
//!
//! Size, samples and reordering must be readable. What stands behind them is only passed on the way to the VUI: when it cannot
//! be read, the VUI counts as absent, as decoders treat it.

use super::nal::HEADER_BYTES;
use super::{HevcError, NAL_SPS, nal_type};
use crate::media::codec::bits::{BitReader, FieldError, Fields};
use crate::media::codec::nal::without_emulation_prevention;
use crate::media::codec::picture::{Chroma, Colour, colour, frame_rate, sample_aspect};

/// Largest side in pixels: the square root of 8 x MaxLumaPs at level 6.2 (H.265 A.4.1).
const MAX_SIDE: u32 = 16_888;
/// `sps_max_sub_layers_minus1` (H.265 7.4.3.2.1).
const MAX_SUB_LAYERS: u32 = 6;
/// Largest decoded picture buffer (H.265 A.4.2), and so the most reordering.
const MAX_PICTURES: u32 = 16;
/// `num_short_term_ref_pic_sets` (H.265 7.4.3.2.1).
const MAX_SHORT_TERM_SETS: u32 = 64;
/// `num_long_term_ref_pics_sps` (H.265 7.4.3.2.1).
const MAX_LONG_TERM: u32 = 32;

/// `profile_tier_level` without its sub-layers (H.265 7.3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProfileTierLevel {
    /// `general_profile_space`, 0 to 3
    pub profile_space: u8,
    /// `general_tier_flag`: High instead of Main.
    pub high_tier: bool,
    /// `general_profile_idc`
    pub profile_idc: u8,
    /// `general_profile_compatibility_flag`s, that of profile 0 in the highest bit.
    pub compatibility: u32,
    /// The 48 bits from `general_progressive_source_flag` on.
    pub constraints: [u8; 6],
    /// `general_level_idc`, thirty times the level.
    pub level_idc: u8,
}

/// What a sequence parameter set says, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// Profile, tier and level.
    pub profile_tier_level: ProfileTierLevel,
    /// Temporal sub-layers, 1 to 7.
    pub sub_layers: u8,
    /// `sps_temporal_id_nesting_flag`
    pub temporal_id_nesting: bool,
    /// Width of the cropped picture in pixels.
    pub width: u32,
    /// Height of the cropped picture in pixels.
    pub height: u32,
    /// 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4: see [`Sps::chroma`].
    pub chroma_format_idc: u8,
    /// Bits per luma sample, 8 to 16.
    pub bit_depth_luma: u8,
    /// Bits per chroma sample, 8 to 16.
    pub bit_depth_chroma: u8,
    /// The source is interlaced, or pictures are fields.
    pub interlaced: bool,
    /// Sample aspect ratio, `(1, 1)` when nothing usable is said.
    pub sample_aspect: (u32, u32),
    /// What its numbers mean as colours; `None` when nothing is said.
    pub colour: Option<Colour>,
    /// Frames per second, reduced, from the VUI's timing.
    pub frame_rate: Option<(u32, u32)>,
    /// By how many frames output order may leave decoding order (`sps_max_num_reorder_pics` of the highest sub-layer).
    pub reorder_frames: u32,
}

const CUT_OFF: HevcError = HevcError::Truncated { what: "sequence parameter set" };

impl From<FieldError> for HevcError {
    fn from(error: FieldError) -> Self {
        match error {
            FieldError::CutOff => CUT_OFF,
            FieldError::OutOfRange { field, value, max } => HevcError::OutOfRange { field, value, max },
        }
    }
}

impl Sps {
    /// Parses an SPS NAL unit (header included, without start code).
    ///
    /// # Errors
    /// Another NAL type, a field outside of the standard's range, or the bytes end before the reordering depth.
    pub fn parse(nal: &[u8]) -> Result<Self, HevcError> {
        let found = nal_type(nal);
        if found != NAL_SPS {
            return Err(HevcError::WrongNal { expected: NAL_SPS, found });
        }
        let rbsp = without_emulation_prevention(&nal[HEADER_BYTES..]);
        let mut fields = Fields::new(&rbsp);
        let head = head(&mut fields)?;
        let chroma_format_idc = fields.golomb("chroma_format_idc", 3)? as u8;
        if chroma_format_idc == 3 {
            fields.flag()?; // separate_colour_plane_flag
        }
        let (width, height) = size(&mut fields, Chroma::of_idc(chroma_format_idc))?;
        let bit_depth_luma = 8 + fields.golomb("bit_depth_luma_minus8", 8)? as u8;
        let bit_depth_chroma = 8 + fields.golomb("bit_depth_chroma_minus8", 8)? as u8;
        let order_bits = 4 + fields.golomb("log2_max_pic_order_cnt_lsb_minus4", 12)?;
        let reorder_frames = reordering(&mut fields, head.sub_layers)?;
        let mut vui = Vui::default();
        let _cut_off = behind(fields.reader(), order_bits, &mut vui);
        let [source, ..] = head.profile_tier_level.constraints;
        let (progressive, interlaced) = (source & 0x80 != 0, source & 0x40 != 0);
        Ok(Sps {
            profile_tier_level: head.profile_tier_level,
            sub_layers: head.sub_layers as u8,
            temporal_id_nesting: head.temporal_id_nesting,
            width,
            height,
            chroma_format_idc,
            bit_depth_luma,
            bit_depth_chroma,
            interlaced: vui.fields || (interlaced && !progressive),
            sample_aspect: vui.sample_aspect.unwrap_or((1, 1)),
            colour: vui.colour,
            frame_rate: vui.frame_rate,
            reorder_frames,
        })
    }

    /// How much colour there is.
    pub fn chroma(&self) -> Chroma {
        Chroma::of_idc(self.chroma_format_idc)
    }
}

/// `sps_seq_parameter_set_id`, from the payload without emulation prevention.
pub(super) fn id(rbsp: &[u8]) -> Option<u32> {
    head(&mut Fields::new(rbsp)).ok().map(|head| head.id)
}

struct Head {
    profile_tier_level: ProfileTierLevel,
    /// 1 to 7.
    sub_layers: u32,
    temporal_id_nesting: bool,
    id: u32,
}

fn head(fields: &mut Fields<'_>) -> Result<Head, FieldError> {
    fields.skip(4)?; // sps_video_parameter_set_id
    let above_first = fields.bits(3)?;
    if above_first > MAX_SUB_LAYERS {
        let field = "sps_max_sub_layers_minus1";
        return Err(FieldError::OutOfRange { field, value: above_first, max: MAX_SUB_LAYERS });
    }
    let temporal_id_nesting = fields.flag()?;
    let profile_tier_level = profile_tier_level(fields, above_first)?;
    let id = fields.golomb("sps_seq_parameter_set_id", 15)?;
    Ok(Head { profile_tier_level, sub_layers: above_first + 1, temporal_id_nesting, id })
}

/// H.265 7.3.3
fn profile_tier_level(fields: &mut Fields<'_>, sub_layers: u32) -> Result<ProfileTierLevel, FieldError> {
    let mut stated = ProfileTierLevel {
        profile_space: fields.bits(2)? as u8,
        high_tier: fields.flag()?,
        profile_idc: fields.bits(5)? as u8,
        compatibility: fields.bits(32)?,
        ..ProfileTierLevel::default()
    };
    for byte in &mut stated.constraints {
        *byte = fields.bits(8)? as u8;
    }
    stated.level_idc = fields.bits(8)? as u8;
    let mut skipped = 0;
    for _ in 0..sub_layers {
        skipped += if fields.flag()? { 88 } else { 0 }; // sub_layer_profile_present_flag
        skipped += if fields.flag()? { 8 } else { 0 }; // sub_layer_level_present_flag
    }
    if sub_layers > 0 {
        fields.skip(2 * (8 - sub_layers as usize))?; // reserved_zero_2bits
    }
    fields.skip(skipped)?;
    Ok(stated)
}

/// The coded size less the conformance window.
fn size(fields: &mut Fields<'_>, chroma: Chroma) -> Result<(u32, u32), HevcError> {
    let width = fields.golomb("pic_width_in_luma_samples", MAX_SIDE)?;
    let height = fields.golomb("pic_height_in_luma_samples", MAX_SIDE)?;
    let [left, right, top, bottom] = if fields.flag()? {
        let mut side = |field| fields.golomb(field, u32::MAX);
        [
            side("conf_win_left_offset")?,
            side("conf_win_right_offset")?,
            side("conf_win_top_offset")?,
            side("conf_win_bottom_offset")?,
        ]
    } else {
        [0; 4]
    };
    let (across, down) = chroma.subsampling();
    let cropped = |full: u32, unit: u32, from: u32, to: u32| {
        let away = (u64::from(from) + u64::from(to)) * u64::from(unit);
        u32::try_from(u64::from(full).saturating_sub(away)).ok().filter(|left| *left > 0).ok_or(HevcError::NothingLeft)
    };
    Ok((cropped(width, across, left, right)?, cropped(height, down, top, bottom)?))
}

/// `sps_max_num_reorder_pics` of the highest sub-layer, which is the last that is said.
fn reordering(fields: &mut Fields<'_>, sub_layers: u32) -> Result<u32, FieldError> {
    let each = fields.flag()?; // sps_sub_layer_ordering_info_present_flag
    let mut reorder_frames = 0;
    for _ in 0..if each { sub_layers } else { 1 } {
        fields.golomb("sps_max_dec_pic_buffering_minus1", MAX_PICTURES)?;
        reorder_frames = fields.golomb("sps_max_num_reorder_pics", MAX_PICTURES)?;
        fields.golomb("sps_max_latency_increase_plus1", u32::MAX)?;
    }
    Ok(reorder_frames)
}

#[derive(Default)]
struct Vui {
    sample_aspect: Option<(u32, u32)>,
    colour: Option<Colour>,
    fields: bool,
    frame_rate: Option<(u32, u32)>,
}

/// What stands between the reordering depth and the VUI, and the VUI. `None`: it cannot be read to its end.
fn behind(bits: &mut BitReader<'_>, order_bits: u32, vui: &mut Vui) -> Option<()> {
    for _ in 0..6 {
        bits.golomb()?; // sizes of coding and transform blocks, depths of their trees
    }
    if bits.flag()? && bits.flag()? {
        skip_scaling_lists(bits)?;
    }
    bits.skip(2)?; // amp_enabled_flag, sample_adaptive_offset_enabled_flag
    if bits.flag()? {
        bits.skip(8)?; // bit depths of PCM
        bits.golomb()?;
        bits.golomb()?;
        bits.skip(1)?; // pcm_loop_filter_disabled_flag
    }
    let sets = bits.golomb().filter(|sets| *sets <= MAX_SHORT_TERM_SETS)?;
    let mut deltas = 0;
    for index in 0..sets {
        deltas = skip_short_term_set(bits, index > 0, deltas)?;
    }
    if bits.flag()? {
        for _ in 0..bits.golomb().filter(|pictures| *pictures <= MAX_LONG_TERM)? {
            bits.skip(order_bits as usize + 1)?;
        }
    }
    bits.skip(2)?; // sps_temporal_mvp_enabled_flag, strong_intra_smoothing_enabled_flag
    if bits.flag()? { read_vui(bits, vui) } else { Some(()) }
}

/// `scaling_list_data` (H.265 7.3.4)
fn skip_scaling_lists(bits: &mut BitReader<'_>) -> Option<()> {
    for size in 0..4 {
        for _ in (0..6).step_by(if size == 3 { 3 } else { 1 }) {
            if !bits.flag()? {
                bits.golomb()?; // scaling_list_pred_matrix_id_delta
                continue;
            }
            if size > 1 {
                bits.signed_golomb()?; // scaling_list_dc_coef_minus8
            }
            for _ in 0..64.min(1 << (4 + 2 * size)) {
                bits.signed_golomb()?;
            }
        }
    }
    Some(())
}

/// `st_ref_pic_set` (H.265 7.3.7); `before`: pictures in the set before it. Gives those in this one.
fn skip_short_term_set(bits: &mut BitReader<'_>, has_one_before: bool, before: u32) -> Option<u32> {
    if has_one_before && bits.flag()? {
        bits.skip(1)?; // delta_rps_sign
        bits.golomb()?; // abs_delta_rps_minus1
        let mut pictures = 0;
        for _ in 0..=before {
            let used = bits.flag()?;
            if used || bits.flag()? {
                pictures += 1;
            }
        }
        return Some(pictures);
    }
    let earlier = bits.golomb().filter(|pictures| *pictures <= MAX_PICTURES)?;
    let later = bits.golomb().filter(|pictures| *pictures <= MAX_PICTURES)?;
    for _ in 0..earlier + later {
        bits.golomb()?; // delta_poc_s*_minus1
        bits.skip(1)?; // used_by_curr_pic_s*_flag
    }
    Some(earlier + later)
}

/// H.265 E.2.1, as far as the timing.
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
    bits.skip(1)?; // neutral_chroma_indication_flag
    vui.fields = bits.flag()?;
    bits.skip(1)?; // frame_field_info_present_flag
    if bits.flag()? {
        for _ in 0..4 {
            bits.golomb()?; // default display window
        }
    }
    if bits.flag()? {
        // A tick is the time of one picture (H.265 E.3.1): of a frame, or of a field where pictures are fields.
        let (ticks, scale) = (u64::from(bits.bits(32)?), u64::from(bits.bits(32)?));
        vui.frame_rate = frame_rate(scale, if vui.fields { 2 * ticks } else { ticks });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::samples::{MAIN_PPS, MAIN_SPS, ODD_444_SPS, PQ_SPS};
    use super::*;
    use proptest::prelude::*;

    fn parse(nal: &[u8]) -> Sps {
        Sps::parse(nal).expect("made by x265")
    }

    #[test]
    fn sets_of_x265_are_understood() {
        let main = parse(MAIN_SPS);
        assert_eq!((main.width, main.height, main.frame_rate), (1_280, 720, Some((30, 1))));
        assert_eq!((main.bit_depth_luma, main.chroma(), main.interlaced), (8, Chroma::C420, false));
        assert_eq!((main.reorder_frames, main.sub_layers, main.temporal_id_nesting), (2, 1, true));
        assert_eq!((main.profile_tier_level.profile_idc, main.profile_tier_level.level_idc), (1, 93));
        let odd = parse(ODD_444_SPS);
        assert_eq!((odd.width, odd.height, odd.chroma(), odd.frame_rate), (1_918, 1_078, Chroma::C444, Some((25, 1))));
        assert_eq!((odd.sample_aspect, odd.colour), ((4, 3), Some(Colour::UNSPECIFIED)), "only the range is said");
    }

    #[test]
    fn colour_is_read_as_it_is_said() {
        let pq = parse(PQ_SPS);
        assert_eq!((pq.width, pq.height, pq.frame_rate), (1_920, 1_080, Some((30_000, 1_001))));
        assert_eq!((pq.bit_depth_luma, pq.bit_depth_chroma), (10, 10));
        assert_eq!(pq.colour, Some(Colour { primaries: 9, transfer: 16, matrix: 9, full_range: false }));
    }

    #[test]
    fn bytes_that_end_early() {
        assert_eq!(Sps::parse(&[]), Err(HevcError::WrongNal { expected: NAL_SPS, found: 63 }));
        assert_eq!(Sps::parse(MAIN_PPS), Err(HevcError::WrongNal { expected: NAL_SPS, found: 34 }));
        assert_eq!(Sps::parse(&MAIN_SPS[..20]), Err(CUT_OFF));
        // Cut within the VUI: the size stands, the timing is unknown.
        let without_timing = Sps::parse(&MAIN_SPS[..MAIN_SPS.len() - 4]).expect("the size was read");
        assert_eq!((without_timing.width, without_timing.frame_rate), (1_280, None));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(tail in prop::collection::vec(any::<u8>(), 0..90)) {
            for nal in [[&MAIN_SPS[..18], &tail].concat(), [&[0x42, 0x01][..], &tail].concat()] {
                if let Ok(sps) = Sps::parse(&nal) {
                    prop_assert!(sps.width > 0 && sps.width <= MAX_SIDE && sps.height > 0 && sps.height <= MAX_SIDE);
                    prop_assert!(sps.reorder_frames <= MAX_PICTURES);
                }
            }
        }

        #[test]
        fn one_flipped_bit_never_panics(at in 16usize..43 * 8) {
            let mut nal = MAIN_SPS.to_vec();
            nal[at / 8] ^= 1 << (at % 8);
            let _any_result = Sps::parse(&nal);
        }
    }
}
