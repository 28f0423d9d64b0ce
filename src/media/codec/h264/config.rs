//! AVCDecoderConfigurationRecord (avcC, ISO/IEC 14496-15 5.3.3.1), reader and writer.

use bytes::{BufMut, Bytes, BytesMut};

use super::{H264Error, NAL_PPS, NAL_SPS, Sps, nal_type};
use crate::media::codec::nal::RecordReader;

const VERSION: u8 = 1;
/// The counts and lengths of the record have 5, 8 and 16 bits.
const MAX_SPS: usize = 31;
const MAX_PPS: usize = 255;

/// What an avcC says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvcConfig {
    /// Bytes of each NAL length in the samples: 1, 2 or 4.
    pub length_size: u8,
    /// Sequence parameter sets, as NAL units.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets, as NAL units.
    pub pps: Vec<Bytes>,
}

impl AvcConfig {
    /// Reads a record. Its profile bytes and extension are ignored: the parameter sets say the same, and encoders have
    /// been seen to fill in only those. The sets share the record's buffer.
    ///
    /// # Errors
    /// Version, length size, or a set that is cut off or of another type. Missing sets are no error: some encoders send
    /// them in band only.
    pub fn parse(record: &Bytes) -> Result<Self, H264Error> {
        let mut reader = RecordReader::new(record);
        let version = byte(&mut reader)?;
        if version != VERSION {
            return Err(H264Error::Version(version));
        }
        reader.take(3).ok_or_else(cut_off)?; // profile, compatibility, level
        let length_size = (byte(&mut reader)? & 0b11) + 1;
        if length_size == 3 {
            return Err(H264Error::LengthSize(length_size));
        }
        let sps_count = byte(&mut reader)? & 0b1_1111;
        let sps = sets(&mut reader, sps_count, NAL_SPS)?;
        let pps_count = byte(&mut reader)?;
        let pps = sets(&mut reader, pps_count, NAL_PPS)?;
        Ok(AvcConfig { length_size, sps, pps })
    }

    /// The record, with the chroma and bit-depth extension where the first SPS's profile has one.
    ///
    /// # Errors
    /// No SPS or PPS, a set that is too large or of another type, a first SPS that cannot be parsed, a length size that
    /// does not exist.
    pub fn write(&self) -> Result<Bytes, H264Error> {
        let first = Sps::parse(self.sps.first().ok_or(H264Error::NoSps)?)?;
        if self.pps.is_empty() {
            return Err(H264Error::NoPps);
        }
        if self.sps.len() > MAX_SPS || self.pps.len() > MAX_PPS {
            return Err(H264Error::TooLarge);
        }
        if !matches!(self.length_size, 1 | 2 | 4) {
            return Err(H264Error::LengthSize(self.length_size));
        }
        let sets: usize = self.sps.iter().chain(&self.pps).map(|set| set.len() + 2).sum();
        let mut out = BytesMut::with_capacity(11 + sets);
        out.put_slice(&[VERSION, first.profile_idc, first.constraints, first.level_idc]);
        out.put_u8(0b1111_1100 | (self.length_size - 1));
        out.put_u8(0b1110_0000 | self.sps.len() as u8); // checked against MAX_SPS above
        put_sets(&mut out, &self.sps, NAL_SPS)?;
        out.put_u8(self.pps.len() as u8); // checked against MAX_PPS above
        put_sets(&mut out, &self.pps, NAL_PPS)?;
        if first.has_chroma_format() {
            out.put_u8(0b1111_1100 | first.chroma_format_idc);
            out.put_u8(0b1111_1000 | (first.bit_depth_luma - 8));
            out.put_u8(0b1111_1000 | (first.bit_depth_chroma - 8));
            out.put_u8(0); // SPS extensions (auxiliary pictures)
        }
        Ok(out.freeze())
    }
}

fn expect_type(set: &[u8], expected: u8) -> Result<(), H264Error> {
    let found = nal_type(set);
    if found == expected { Ok(()) } else { Err(H264Error::WrongNal { expected, found }) }
}

fn put_sets(out: &mut BytesMut, sets: &[Bytes], expected: u8) -> Result<(), H264Error> {
    for set in sets {
        expect_type(set, expected)?;
        out.put_u16(u16::try_from(set.len()).map_err(|_| H264Error::TooLarge)?);
        out.put_slice(set);
    }
    Ok(())
}

fn cut_off() -> H264Error {
    H264Error::Truncated { what: "configuration record" }
}

fn byte(reader: &mut RecordReader<'_>) -> Result<u8, H264Error> {
    reader.byte().ok_or_else(cut_off)
}

fn sets(reader: &mut RecordReader<'_>, count: u8, expected: u8) -> Result<Vec<Bytes>, H264Error> {
    let mut sets = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let set = reader.set().ok_or_else(cut_off)?;
        expect_type(&set, expected)?;
        sets.push(set);
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use super::super::sps::samples::{BASELINE_SPS, HIGH_SPS, PPS};
    use super::*;
    use proptest::prelude::*;

    fn config(sps: &'static [u8]) -> AvcConfig {
        AvcConfig { length_size: 4, sps: vec![Bytes::from_static(sps)], pps: vec![Bytes::from_static(PPS)] }
    }

    #[test]
    fn a_high_profile_record_has_the_extension() {
        let record = config(HIGH_SPS).write().expect("valid sets");
        let length = HIGH_SPS.len();
        assert_eq!(record[..8], [1, 100, 0, 0x28, 0xff, 0xe1, 0, length as u8]);
        assert_eq!(record[8..8 + length], *HIGH_SPS);
        assert_eq!(record[8 + length..][..3], [1, 0, PPS.len() as u8]);
        assert_eq!(record[record.len() - 4..], [0xfd, 0xf8, 0xf8, 0]);
        assert_eq!(AvcConfig::parse(&record), Ok(config(HIGH_SPS)));
    }

    #[test]
    fn a_baseline_record_ends_with_its_sets() {
        let record = config(BASELINE_SPS).write().expect("valid sets");
        assert_eq!(record.len(), 6 + 2 + BASELINE_SPS.len() + 1 + 2 + PPS.len());
        assert_eq!(AvcConfig::parse(&record), Ok(config(BASELINE_SPS)));
    }

    #[test]
    fn records_without_sets_are_read_but_not_written() {
        let empty = AvcConfig::parse(&Bytes::from_static(&[1, 66, 0, 30, 0xff, 0xe0, 0]));
        assert_eq!(empty, Ok(AvcConfig { length_size: 4, sps: vec![], pps: vec![] }));
        assert_eq!(empty.and_then(|config| config.write()), Err(H264Error::NoSps));
        assert_eq!(AvcConfig { pps: vec![], ..config(HIGH_SPS) }.write(), Err(H264Error::NoPps));
    }

    #[test]
    fn bad_records_say_why() {
        let parse = |bytes: &'static [u8]| AvcConfig::parse(&Bytes::from_static(bytes));
        assert_eq!(parse(&[0, 0, 0, 1]), Err(H264Error::Version(0)));
        assert_eq!(parse(&[1, 66, 0, 30, 0xfe]), Err(H264Error::LengthSize(3)));
        assert_eq!(parse(&[1, 66, 0, 30]), Err(H264Error::Truncated { what: "configuration record" }));
        let swapped = [1, 66, 0, 30, 0xff, 0xe1, 0, 1, 0x68, 0];
        let error = AvcConfig::parse(&Bytes::copy_from_slice(&swapped)).expect_err("a PPS among the SPS");
        assert_eq!(error.to_string(), "H.264 NAL unit of type 8 stands where type 7 belongs");
    }

    #[test]
    fn too_many_or_too_long_sets_do_not_fit() {
        let many = AvcConfig { sps: vec![Bytes::from_static(HIGH_SPS); 32], ..config(HIGH_SPS) };
        assert_eq!(many.write(), Err(H264Error::TooLarge));
        let mut long = vec![0; 70_000];
        long[0] = NAL_PPS;
        let long = AvcConfig { pps: vec![Bytes::from(long)], ..config(HIGH_SPS) };
        assert_eq!(long.write(), Err(H264Error::TooLarge));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(record in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut record = record;
            if let Some(version) = record.first_mut() { *version = 1; }
            if let Ok(config) = AvcConfig::parse(&Bytes::from(record))
                && let Ok(written) = config.write()
            {
                prop_assert_eq!(AvcConfig::parse(&written), Ok(config));
            }
        }
    }
}
