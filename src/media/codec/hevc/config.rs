//! HEVCDecoderConfigurationRecord (hvcC, ISO/IEC 14496-15 8.3.3.1), reader and writer.

use bytes::{BufMut, Bytes, BytesMut};

use super::{HevcError, NAL_PPS, NAL_SPS, NAL_VPS, Sps, layer, nal_type};
use crate::media::codec::nal::RecordReader;

const VERSION: u8 = 1;
/// Ids of parameter sets have 4, 4 and 6 bits (H.265 7.4.3).
const MAX_VPS: usize = 16;
const MAX_SPS: usize = 16;
const MAX_PPS: usize = 64;
/// Bytes from the profile to `avgFrameRate`, which the parameter sets say again.
const STATED_BYTES: usize = 20;
/// Bytes of a record before its arrays.
const HEAD_BYTES: usize = 23;

/// What an hvcC says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HevcConfig {
    /// Bytes of each NAL length in the samples: 1, 2 or 4.
    pub length_size: u8,
    /// Video parameter sets, as NAL units.
    pub vps: Vec<Bytes>,
    /// Sequence parameter sets, as NAL units.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets, as NAL units.
    pub pps: Vec<Bytes>,
}

impl HevcConfig {
    /// Reads a record. What it says itself is ignored: the parameter sets say the same. So are NAL units of other types (SEI)
    /// and layers. The sets share the record's buffer.
    ///
    /// # Errors
    /// Version, length size, a set that is cut off or of another type than its array, or more sets than there are ids. Missing sets
    /// are no error: some encoders send them in band only.
    pub fn parse(record: &Bytes) -> Result<Self, HevcError> {
        let mut reader = RecordReader::new(record);
        let version = reader.byte().ok_or_else(cut_off)?;
        if version != VERSION {
            return Err(HevcError::Version(version));
        }
        reader.take(STATED_BYTES).ok_or_else(cut_off)?;
        let length_size = (reader.byte().ok_or_else(cut_off)? & 0b11) + 1;
        if length_size == 3 {
            return Err(HevcError::LengthSize(length_size));
        }
        let mut config = HevcConfig { length_size, vps: Vec::new(), sps: Vec::new(), pps: Vec::new() };
        for _ in 0..reader.byte().ok_or_else(cut_off)? {
            let expected = reader.byte().ok_or_else(cut_off)? & 0x3f;
            for _ in 0..reader.two_bytes().ok_or_else(cut_off)? {
                let set = reader.set().ok_or_else(cut_off)?;
                config.keep(expected, set)?;
            }
        }
        Ok(config)
    }

    fn keep(&mut self, expected: u8, set: Bytes) -> Result<(), HevcError> {
        let (sets, most) = match expected {
            NAL_VPS => (&mut self.vps, MAX_VPS),
            NAL_SPS => (&mut self.sps, MAX_SPS),
            NAL_PPS => (&mut self.pps, MAX_PPS),
            _ => return Ok(()),
        };
        expect_type(&set, expected)?;
        if layer(&set) == 0 {
            if sets.len() == most {
                return Err(HevcError::TooLarge);
            }
            sets.push(set);
        }
        Ok(())
    }

    /// The record. Its arrays are complete: samples hold no parameter sets, as `hvc1` demands.
    ///
    /// # Errors
    /// A set is missing, too large or of another type, the first SPS cannot be parsed, or the length size does not exist.
    pub fn write(&self) -> Result<Bytes, HevcError> {
        let first = Sps::parse(self.sps.first().ok_or(HevcError::NoSet("sequence"))?)?;
        if self.vps.is_empty() {
            return Err(HevcError::NoSet("video"));
        }
        if self.pps.is_empty() {
            return Err(HevcError::NoSet("picture"));
        }
        if self.vps.len() > MAX_VPS || self.sps.len() > MAX_SPS || self.pps.len() > MAX_PPS {
            return Err(HevcError::TooLarge);
        }
        if !matches!(self.length_size, 1 | 2 | 4) {
            return Err(HevcError::LengthSize(self.length_size));
        }
        let sets: usize = self.vps.iter().chain(&self.sps).chain(&self.pps).map(|set| set.len() + 2).sum();
        let mut out = BytesMut::with_capacity(HEAD_BYTES + 9 + sets);
        let stated = &first.profile_tier_level;
        out.put_u8(VERSION);
        out.put_u8(stated.profile_space << 6 | u8::from(stated.high_tier) << 5 | stated.profile_idc);
        out.put_u32(stated.compatibility);
        out.put_slice(&stated.constraints);
        out.put_u8(stated.level_idc);
        out.put_u16(0xf000); // min_spatial_segmentation_idc: not said
        out.put_u8(0b1111_1100); // parallelismType: not said
        out.put_u8(0b1111_1100 | first.chroma_format_idc);
        out.put_u8(0b1111_1000 | ((first.bit_depth_luma - 8) & 0b111)); // 16 bit do not fit; decoders ask the SPS
        out.put_u8(0b1111_1000 | ((first.bit_depth_chroma - 8) & 0b111));
        out.put_u16(0); // avgFrameRate: not said
        out.put_u8(first.sub_layers << 3 | u8::from(first.temporal_id_nesting) << 2 | (self.length_size - 1));
        out.put_u8(3);
        for (sets, expected) in [(&self.vps, NAL_VPS), (&self.sps, NAL_SPS), (&self.pps, NAL_PPS)] {
            out.put_u8(0x80 | expected); // array_completeness
            out.put_u16(sets.len() as u16); // at most 64
            for set in sets {
                expect_type(set, expected)?;
                out.put_u16(u16::try_from(set.len()).map_err(|_| HevcError::TooLarge)?);
                out.put_slice(set);
            }
        }
        Ok(out.freeze())
    }
}

fn cut_off() -> HevcError {
    HevcError::Truncated { what: "configuration record" }
}

fn expect_type(set: &[u8], expected: u8) -> Result<(), HevcError> {
    let found = nal_type(set);
    if found == expected { Ok(()) } else { Err(HevcError::WrongNal { expected, found }) }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{MAIN_PPS, MAIN_SPS, MAIN_VPS};
    use super::*;
    use proptest::prelude::*;

    fn config() -> HevcConfig {
        let sets = |set| vec![Bytes::from_static(set)];
        HevcConfig { length_size: 4, vps: sets(MAIN_VPS), sps: sets(MAIN_SPS), pps: sets(MAIN_PPS) }
    }

    /// As FFmpeg 5.1 writes it into MP4.
    fn of_ffmpeg() -> Bytes {
        let head = [
            0x01, 0x01, 0x60, 0x00, 0x00, 0x00, 0x90, 0x00, 0x00, 0x00, 0x00, 0x00, 0x5d, 0xf0, 0x00, 0xfc, 0xfd, 0xf8,
            0xf8, 0x00, 0x00, 0x0f, 0x03,
        ];
        let array = |kind: u8, set: &[u8]| [&[kind, 0, 1, 0, set.len() as u8][..], set].concat();
        let arrays = [array(0x20, MAIN_VPS), array(0x21, MAIN_SPS), array(0x22, MAIN_PPS)].concat();
        [&head[..], &arrays].concat().into()
    }

    #[test]
    fn a_record_says_what_ffmpeg_says() {
        assert_eq!(HevcConfig::parse(&of_ffmpeg()), Ok(config()));
        let written = config().write().expect("good sets");
        assert_eq!(written[..HEAD_BYTES], of_ffmpeg()[..HEAD_BYTES]);
        assert_eq!(written[HEAD_BYTES], 0xa0, "complete");
        assert_eq!(HevcConfig::parse(&written), Ok(config()));
    }

    #[test]
    fn other_units_and_layers_are_left_out() {
        let mut record = of_ffmpeg().to_vec();
        record[HEAD_BYTES - 1] = 5;
        record.extend([0x27, 0, 1, 0, 3, 0x4e, 0x01, 0x05]); // SEI
        record.extend([0x21, 0, 1, 0, 3, 0x43, 0x09, 0x00]); // an SPS of layer 33
        assert_eq!(HevcConfig::parse(&record.into()), Ok(config()));
    }

    #[test]
    fn bad_records_say_why() {
        let parse = |bytes: &[u8]| HevcConfig::parse(&Bytes::copy_from_slice(bytes)).expect_err("refused").to_string();
        let good = of_ffmpeg();
        assert_eq!(parse(&[]), "HEVC configuration record is cut off");
        assert_eq!(parse(&[0, 0, 0, 1]), "HEVC configuration record has version 0, only 1 is known");
        assert_eq!(parse(&good[..good.len() - 1]), "HEVC configuration record is cut off");
        let mut three = good.to_vec();
        three[21] = 0x0e;
        assert_eq!(parse(&three), "HEVC NAL lengths of 3 bytes do not exist");
        let mut swapped = good.to_vec();
        swapped[HEAD_BYTES] = 0x22;
        assert_eq!(parse(&swapped), "HEVC NAL unit of type 32 stands where type 34 belongs");
        let many = [&good[..HEAD_BYTES - 1], &[1, 0x22, 0xff, 0xff], &[0, 2, 0x44, 0x01].repeat(70)].concat();
        assert_eq!(parse(&many), "HEVC parameter sets do not fit into a configuration record");
    }

    #[test]
    fn records_without_sets_are_read_but_not_written() {
        let mut head = of_ffmpeg()[..HEAD_BYTES].to_vec();
        head[HEAD_BYTES - 1] = 0;
        let empty = HevcConfig::parse(&head.into()).expect("sets come in band");
        assert_eq!(empty.write(), Err(HevcError::NoSet("sequence")));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(tail in prop::collection::vec(any::<u8>(), 0..80), arrays in 0u8..6) {
            let mut record = of_ffmpeg()[..HEAD_BYTES].to_vec();
            record[HEAD_BYTES - 1] = arrays;
            record.extend(tail);
            if let Ok(config) = HevcConfig::parse(&record.into())
                && let Ok(written) = config.write()
            {
                prop_assert_eq!(HevcConfig::parse(&written), Ok(config));
            }
        }
    }
}
