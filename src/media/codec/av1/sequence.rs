//! Sequence headers (AV1 5.5): size, timing and what kind of picture it is.

use super::Av1Error;
use crate::media::codec::bits::BitReader;
use crate::media::codec::picture::{self, COLOUR_UNSPECIFIED, Chroma, Colour};

const CUT_OFF: Av1Error = Av1Error::Truncated { what: "sequence header" };
const MAX_PROFILE: u32 = 2;
/// `uvlc` numbers have fewer leading zeros than bits (AV1 4.10.3).
const MAX_UVLC_ZEROS: u32 = 31;
/// Code points of H.273 that together mean RGB (AV1 5.5.2).
const PRIMARIES_BT_709: u8 = 1;
const TRANSFER_SRGB: u8 = 13;
const MATRIX_IDENTITY: u8 = 0;
/// `SELECT_SCREEN_CONTENT_TOOLS` (AV1 3).
const SELECT_SCREEN_CONTENT_TOOLS: u32 = 2;

/// What a sequence header says, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceHeader {
    /// `seq_profile`: 0 Main, 1 High, 2 Professional.
    pub profile: u8,
    /// `seq_level_idx` of the first operating point: 4 times the major level less 2, and the minor level.
    pub level: u8,
    /// `seq_tier` of it: High instead of Main.
    pub high_tier: bool,
    /// Largest width in pixels.
    pub width: u32,
    /// Largest height in pixels.
    pub height: u32,
    /// Bits per sample: 8, 10 or 12.
    pub bit_depth: u8,
    /// How much colour there is.
    pub chroma: Chroma,
    /// `chroma_sample_position`: 0 unknown, 1 between lines, 2 on them.
    pub chroma_position: u8,
    /// What its numbers mean as colours.
    pub colour: Colour,
    /// Frames per second, reduced, where all frames last equally long.
    pub frame_rate: Option<(u32, u32)>,
}

impl SequenceHeader {
    /// Parses the payload of a sequence header OBU.
    ///
    /// # Errors
    /// A profile that does not exist, or the bytes end too early.
    pub fn parse(payload: &[u8]) -> Result<Self, Av1Error> {
        let mut bits = BitReader::new(payload);
        let profile = bits.bits(3).ok_or(CUT_OFF)?;
        if profile > MAX_PROFILE {
            return Err(Av1Error::Profile(profile));
        }
        read(&mut bits, profile as u8).ok_or(CUT_OFF)
    }

    /// `reduced_still_picture_header`: all frames are key frames that are shown.
    pub(super) fn is_reduced(payload: &[u8]) -> bool {
        payload.first().is_some_and(|first| first & 0b0000_1000 != 0)
    }

    /// Whether chroma has half of the columns, and half of the lines; monochrome counts as both (AV1 5.5.2).
    pub const fn subsampling(&self) -> [bool; 2] {
        match self.chroma {
            Chroma::Monochrome | Chroma::C420 => [true, true],
            Chroma::C422 => [true, false],
            Chroma::C444 => [false, false],
        }
    }
}

fn read(bits: &mut BitReader<'_>, profile: u8) -> Option<SequenceHeader> {
    bits.skip(1)?; // still_picture
    let reduced = bits.flag()?;
    let operation = if reduced {
        Operation { frame_rate: None, level: bits.bits(5)? as u8, high_tier: false }
    } else {
        operation(bits)?
    };
    let (width_bits, height_bits) = (bits.bits(4)? + 1, bits.bits(4)? + 1);
    let (width, height) = (bits.bits(width_bits)? + 1, bits.bits(height_bits)? + 1);
    if !reduced && bits.flag()? {
        bits.skip(4 + 3)?; // lengths of frame ids
    }
    bits.skip(3)?; // use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
    if !reduced {
        skip_tools(bits)?;
    }
    bits.skip(3)?; // enable_superres, enable_cdef, enable_restoration
    let samples = samples(bits, profile)?;
    bits.skip(1)?; // film_grain_params_present
    let Samples { bit_depth, chroma, chroma_position, colour } = samples;
    Some(SequenceHeader {
        profile,
        level: operation.level,
        high_tier: operation.high_tier,
        width,
        height,
        bit_depth,
        chroma,
        chroma_position,
        colour,
        frame_rate: operation.frame_rate,
    })
}

/// What timing and operating points say: level and tier are those of the first point.
struct Operation {
    frame_rate: Option<(u32, u32)>,
    level: u8,
    high_tier: bool,
}

fn operation(bits: &mut BitReader<'_>) -> Option<Operation> {
    let mut frame_rate = None;
    let mut delay_bits = None; // decoder_model_info_present_flag
    if bits.flag()? {
        frame_rate = timing(bits)?;
        if bits.flag()? {
            delay_bits = Some(bits.bits(5)? as usize + 1);
            bits.skip(32 + 5 + 5)?; // num_units_in_decoding_tick, two lengths
        }
    }
    let display_delay = bits.flag()?; // initial_display_delay_present_flag
    let points = bits.bits(5)? + 1;
    let (mut level, mut high_tier) = (0, false);
    for index in 0..points {
        bits.skip(12)?; // operating_point_idc
        let of_point = bits.bits(5)? as u8;
        let tier = of_point > 7 && bits.flag()?;
        if index == 0 {
            (level, high_tier) = (of_point, tier);
        }
        if let Some(delay_bits) = delay_bits
            && bits.flag()?
        {
            bits.skip(2 * delay_bits + 1)?;
        }
        if display_delay && bits.flag()? {
            bits.skip(4)?;
        }
    }
    Some(Operation { frame_rate, level, high_tier })
}

/// `timing_info` (AV1 5.5.3); inner `None`: frames last differently long, or the rate is none.
fn timing(bits: &mut BitReader<'_>) -> Option<Option<(u32, u32)>> {
    let (units, scale) = (u64::from(bits.bits(32)?), u64::from(bits.bits(32)?));
    if !bits.flag()? {
        return Some(None);
    }
    let ticks = u64::from(uvlc(bits)?) + 1;
    Some(units.checked_mul(ticks).and_then(|units| picture::frame_rate(scale, units)))
}

/// AV1 4.10.3
fn uvlc(bits: &mut BitReader<'_>) -> Option<u32> {
    let mut zeros = 0;
    while !bits.flag()? {
        zeros += 1;
    }
    if zeros > MAX_UVLC_ZEROS {
        return Some(u32::MAX);
    }
    Some(bits.bits(zeros)? + ((1u32 << zeros) - 1))
}

/// Coding tools that only longer headers state (AV1 5.5.1).
fn skip_tools(bits: &mut BitReader<'_>) -> Option<()> {
    bits.skip(4)?; // enable_interintra_compound, _masked_compound, _warped_motion, _dual_filter
    let order_hint = bits.flag()?;
    if order_hint {
        bits.skip(2)?; // enable_jnt_comp, enable_ref_frame_mvs
    }
    let screen_content = if bits.flag()? { SELECT_SCREEN_CONTENT_TOOLS } else { bits.bits(1)? };
    if screen_content > 0 && !bits.flag()? {
        bits.skip(1)?; // seq_force_integer_mv
    }
    bits.skip(if order_hint { 3 } else { 0 }) // order_hint_bits_minus_1
}

struct Samples {
    bit_depth: u8,
    chroma: Chroma,
    chroma_position: u8,
    colour: Colour,
}

/// `color_config` (AV1 5.5.2)
fn samples(bits: &mut BitReader<'_>, profile: u8) -> Option<Samples> {
    let high = bits.flag()?;
    let bit_depth = match (high, profile) {
        (true, 2) if bits.flag()? => 12,
        (true, _) => 10,
        (false, _) => 8,
    };
    let mono = profile != 1 && bits.flag()?;
    let [primaries, transfer, matrix] = if bits.flag()? {
        [bits.bits(8)? as u8, bits.bits(8)? as u8, bits.bits(8)? as u8]
    } else {
        [COLOUR_UNSPECIFIED; 3]
    };
    let mut colour = Colour { primaries, transfer, matrix, full_range: true };
    let of = |chroma, chroma_position, colour| Some(Samples { bit_depth, chroma, chroma_position, colour });
    if mono {
        colour.full_range = bits.flag()?;
        return of(Chroma::Monochrome, 0, colour);
    }
    if (primaries, transfer, matrix) == (PRIMARIES_BT_709, TRANSFER_SRGB, MATRIX_IDENTITY) {
        bits.skip(1)?; // separate_uv_delta_q
        return of(Chroma::C444, 0, colour);
    }
    colour.full_range = bits.flag()?;
    let chroma = match profile {
        0 => Chroma::C420,
        1 => Chroma::C444,
        _ if bit_depth < 12 => Chroma::C422,
        _ if !bits.flag()? => Chroma::C444, // subsampling_x
        _ if bits.flag()? => Chroma::C420,  // subsampling_y
        _ => Chroma::C422,
    };
    let position = if chroma == Chroma::C420 { bits.bits(2)? as u8 } else { 0 };
    bits.skip(1)?; // separate_uv_delta_q
    of(chroma, position, colour)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{LIBAOM, PQ, SVT};
    use super::*;
    use proptest::prelude::*;

    fn parse(payload: &[u8]) -> SequenceHeader {
        SequenceHeader::parse(payload).expect("made by an encoder")
    }

    #[test]
    fn headers_of_real_encoders_are_understood() {
        for payload in [SVT, LIBAOM] {
            let header = parse(payload);
            assert_eq!((header.profile, header.level, header.high_tier), (0, 5, false));
            assert_eq!((header.width, header.height, header.bit_depth), (1_280, 720, 8));
            assert_eq!((header.chroma, header.chroma_position, header.colour), (Chroma::C420, 0, Colour::UNSPECIFIED));
        }
        let pq = parse(PQ);
        assert_eq!((pq.level, pq.width, pq.height, pq.bit_depth), (1, 640, 360, 10));
        assert_eq!(pq.colour, Colour { primaries: 9, transfer: 16, matrix: 9, full_range: false });
    }

    /// A header of bits in words, spaces left out.
    fn of_bits(text: &str) -> SequenceHeader {
        let mut bits: String = text.split_whitespace().collect();
        while !bits.len().is_multiple_of(8) {
            bits.push('0');
        }
        let byte = |at: usize| u8::from_str_radix(&bits[at..at + 8], 2).expect("bits");
        parse(&(0..bits.len()).step_by(8).map(byte).collect::<Vec<_>>())
    }

    #[test]
    fn timing_levels_and_tiers() {
        // Profile 2; 1001 units of 60000 with equal intervals; a decoder model; two operating points; 12 bit 4:2:0.
        let units = format!("{:032b} {:032b} 1 010", 1_001, 60_000);
        let header = of_bits(&format!(
            "010 0 0 1 {units} 1 00011 {:032b} 00000 00000 1 00001
             000000000001 01001 1 1 0000 0000 0 1 0111
             000000000010 00101 0 0
             0111 0111 10000000 01000000 0 000 0000 0 0 0 000
             1 1 0 0 0 1 1 10 0 0",
            7
        ));
        assert_eq!((header.frame_rate, header.level, header.high_tier), (Some((30_000, 1_001)), 9, true));
        assert_eq!((header.width, header.height), (129, 65));
        assert_eq!((header.bit_depth, header.chroma, header.chroma_position), (12, Chroma::C420, 2));
    }

    #[test]
    fn still_pictures_have_short_headers() {
        // Profile 1 with 4:4:4 of sRGB.
        let header = of_bits("001 1 1 00100 0011 0011 0111 0111 000 000 0 1 00000001 00001101 00000000 0 0");
        assert_eq!((header.level, header.width, header.height), (4, 8, 8));
        assert_eq!((header.chroma, header.colour.full_range), (Chroma::C444, true));
        assert!(SequenceHeader::is_reduced(&[0b0001_1000]) && !SequenceHeader::is_reduced(SVT));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(payload in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(header) = SequenceHeader::parse(&payload) {
                prop_assert!(header.width <= 65_536 && header.height <= 65_536 && header.level < 32);
            }
        }
    }
}
