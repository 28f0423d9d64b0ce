//! VPCodecConfigurationRecord (vpcC, VP9-ISOBMFF), reader and writer. Its box begins with a version and flags; the record itself,
//! as tracks have it, does not.

use bytes::{BufMut, Bytes, BytesMut};

use super::{KeyFrame, Vp9Error};
use crate::media::codec::picture::{Chroma, Colour};

/// Version 1 and no flags, which some senders put before the record.
const VERSION_AND_FLAGS: [u8; 4] = [1, 0, 0, 0];
const RECORD_BYTES: usize = 8;
/// `chromaSubsampling`: 4:2:0 with chroma on the lines, 4:2:2, 4:4:4.
const ON_LINES_420: u8 = 1;
const C422: u8 = 2;
const C444: u8 = 3;
/// Frames per second that the level is counted with: VP9 does not say them.
const ASSUMED_FRAMES_PER_SECOND: u64 = 30;
/// Ten times each level, with the most samples per second and per picture (VP9 annex A).
const LEVELS: [(u8, u64, u64); 14] = [
    (10, 829_440, 36_864),
    (11, 2_764_800, 73_728),
    (20, 4_608_000, 122_880),
    (21, 9_216_000, 245_760),
    (30, 20_736_000, 552_960),
    (31, 36_864_000, 983_040),
    (40, 83_558_400, 2_228_224),
    (41, 160_432_128, 2_228_224),
    (50, 311_951_360, 8_912_896),
    (51, 588_251_136, 8_912_896),
    (52, 1_176_502_272, 8_912_896),
    (60, 1_176_502_272, 35_651_584),
    (61, 2_353_004_544, 35_651_584),
    (62, 4_706_009_088, 35_651_584),
];

/// What a vpcC says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpConfig {
    /// 0 to 3.
    pub profile: u8,
    /// Ten times the level; 0 when not known.
    pub level: u8,
    /// Bits per sample: 8, 10 or 12.
    pub bit_depth: u8,
    /// `chromaSubsampling`: 0 and 1 are 4:2:0, 2 is 4:2:2, 3 is 4:4:4.
    pub subsampling: u8,
    /// What samples mean as colours.
    pub colour: Colour,
}

impl VpConfig {
    /// Reads a record, with or without the version and flags of its box.
    ///
    /// # Errors
    /// It is cut off, or has a profile or depth that does not exist.
    pub fn parse(record: &[u8]) -> Result<Self, Vp9Error> {
        let record =
            record.strip_prefix(&VERSION_AND_FLAGS).filter(|rest| rest.len() >= RECORD_BYTES).unwrap_or(record);
        let Some(&[profile, level, form, primaries, transfer, matrix, ..]) = record.get(..RECORD_BYTES) else {
            return Err(Vp9Error::Truncated { what: "configuration record" });
        };
        let (bit_depth, subsampling, full_range) = (form >> 4, form >> 1 & 0b111, form & 1 == 1);
        if profile > 3 {
            return Err(Vp9Error::Profile(profile));
        }
        if !matches!(bit_depth, 8 | 10 | 12) {
            return Err(Vp9Error::BitDepth(bit_depth));
        }
        let colour = Colour { primaries, transfer, matrix, full_range };
        Ok(VpConfig { profile, level, bit_depth, subsampling, colour })
    }

    /// The record of a key frame. Level and colours are those of `record`, as far as it says them.
    pub fn of(frame: &KeyFrame, record: Option<&VpConfig>) -> Self {
        let samples = u64::from(frame.width) * u64::from(frame.height);
        let rate = samples * ASSUMED_FRAMES_PER_SECOND;
        let fitting = LEVELS.iter().find(|(_, most_rate, most_samples)| rate <= *most_rate && samples <= *most_samples);
        let level = fitting.or(LEVELS.last()).map_or(0, |(level, ..)| *level);
        let said = record.map(|record| record.colour).filter(|colour| *colour != Colour::UNSPECIFIED);
        VpConfig {
            profile: frame.profile,
            level: record.map(|record| record.level).filter(|level| *level > 0).unwrap_or(level),
            bit_depth: frame.bit_depth,
            subsampling: match frame.chroma {
                Chroma::Monochrome | Chroma::C420 => ON_LINES_420,
                Chroma::C422 => C422,
                Chroma::C444 => C444,
            },
            colour: said.unwrap_or(frame.colour),
        }
    }

    /// The record, without version and flags.
    pub fn write(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(RECORD_BYTES);
        out.put_slice(&[self.profile, self.level]);
        out.put_u8(self.bit_depth << 4 | self.subsampling << 1 | u8::from(self.colour.full_range));
        out.put_slice(&[self.colour.primaries, self.colour.transfer, self.colour.matrix]);
        out.put_u16(0); // codecInitializationDataSize
        out.freeze()
    }

    /// How much colour there is.
    pub const fn chroma(&self) -> Chroma {
        match self.subsampling {
            C422 => Chroma::C422,
            C444 => Chroma::C444,
            _ => Chroma::C420,
        }
    }

    /// Whether the short RFC 6381 string says all of it.
    pub(super) fn is_usual(&self) -> bool {
        let usual = [Colour::UNSPECIFIED, Colour::BT_709].contains(&self.colour);
        usual && self.chroma() == Chroma::C420
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::KEY;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_are_read_in_both_forms() {
        let colour = Colour { primaries: 9, transfer: 16, matrix: 9, full_range: true };
        let config = VpConfig { profile: 2, level: 41, bit_depth: 10, subsampling: 1, colour };
        let record = config.write();
        assert_eq!(record[..], [2, 41, 0xa3, 9, 16, 9, 0, 0]);
        assert_eq!(VpConfig::parse(&record), Ok(config.clone()));
        assert_eq!(VpConfig::parse(&[&VERSION_AND_FLAGS[..], &record].concat()), Ok(config));
    }

    #[test]
    fn bad_records_say_why() {
        let error = |record: &[u8]| VpConfig::parse(record).expect_err("refused").to_string();
        assert_eq!(error(&[0; 7]), "VP9 configuration record is cut off");
        assert_eq!(error(&[4, 31, 0x82, 2, 2, 2, 0, 0]), "VP9 profile 4 is not known");
        assert_eq!(
            error(&[0, 31, 0x92, 2, 2, 2, 0, 0]),
            "VP9 configuration record says 9 bits per sample; 8, 10 and 12 exist"
        );
    }

    #[test]
    fn levels_follow_from_the_size() {
        let key = KeyFrame::parse(KEY).expect("made by libvpx");
        let level = |width, height| VpConfig::of(&KeyFrame { width, height, ..key.clone() }, None).level;
        assert_eq!([level(320, 180), level(640, 360), level(1_280, 720), level(1_920, 1_080)], [11, 21, 31, 40]);
        assert_eq!([level(3_840, 2_160), level(16_384, 16_384)], [50, 62]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(record in prop::collection::vec(any::<u8>(), 0..16)) {
            if let Ok(config) = VpConfig::parse(&record) {
                prop_assert_eq!(VpConfig::parse(&config.write()), Ok(config));
            }
        }
    }
}
