//! A bit reader, most significant bit first, with the Exp-Golomb codes of H.264 and H.265.
//!
//! Reading past the end is `None` and stays so; nothing panics.

/// Most leading zeros of an Exp-Golomb code: 32 would be a value of more than 32 bits (H.264 9.1).
const MAX_GOLOMB_ZEROS: u32 = 31;

/// Reads bits of a slice from the front.
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    /// Index of the next bit; never above `8 * bytes.len()`.
    at: usize,
}

impl<'a> BitReader<'a> {
    /// A reader at the first bit of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes, at: 0 }
    }

    /// Bits that are left.
    pub const fn remaining(&self) -> usize {
        self.bytes.len() * 8 - self.at
    }

    /// The next bit.
    pub fn flag(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// The next `count` bits (at most 32) as an unsigned number.
    pub fn bits(&mut self, count: u32) -> Option<u32> {
        if count > 32 || self.remaining() < count as usize {
            return None;
        }
        (0..count).try_fold(0u32, |value, _| Some(value << 1 | u32::from(self.flag()?)))
    }

    /// Skips `count` bits.
    pub fn skip(&mut self, count: usize) -> Option<()> {
        if self.remaining() < count {
            return None;
        }
        self.at += count;
        Some(())
    }

    /// `ue(v)`: an unsigned Exp-Golomb code (H.264 9.1).
    pub fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > MAX_GOLOMB_ZEROS {
                return None;
            }
        }
        let suffix = self.bits(zeros)?;
        // At most 31 zeros: (2^31 - 1) + (2^31 - 1) fits.
        Some(((1u32 << zeros) - 1) + suffix)
    }

    /// `se(v)`: a signed Exp-Golomb code (H.264 9.1.1).
    pub fn signed_golomb(&mut self) -> Option<i32> {
        let code = self.golomb()?;
        let magnitude = i32::try_from(code.div_ceil(2)).ok()?;
        Some(if code % 2 == 1 { magnitude } else { -magnitude })
    }
}

/// Why a field cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldError {
    /// The bits end before it.
    CutOff,
    /// The standard does not allow its value.
    OutOfRange {
        /// Its name in the standard.
        field: &'static str,
        /// Its value.
        value: u32,
        /// The largest allowed one.
        max: u32,
    },
}

/// A bit reader whose ends and ranges are errors.
#[derive(Debug)]
pub(super) struct Fields<'a>(BitReader<'a>);

impl<'a> Fields<'a> {
    /// A reader at the first bit of `bytes`.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Fields(BitReader::new(bytes))
    }

    /// The reader of what follows.
    pub(super) const fn reader(&mut self) -> &mut BitReader<'a> {
        &mut self.0
    }

    /// See [`BitReader::bits`].
    pub(super) fn bits(&mut self, count: u32) -> Result<u32, FieldError> {
        self.0.bits(count).ok_or(FieldError::CutOff)
    }

    /// See [`BitReader::flag`].
    pub(super) fn flag(&mut self) -> Result<bool, FieldError> {
        self.0.flag().ok_or(FieldError::CutOff)
    }

    /// See [`BitReader::skip`].
    pub(super) fn skip(&mut self, count: usize) -> Result<(), FieldError> {
        self.0.skip(count).ok_or(FieldError::CutOff)
    }

    /// See [`BitReader::golomb`]; at most `max`.
    pub(super) fn golomb(&mut self, field: &'static str, max: u32) -> Result<u32, FieldError> {
        let value = self.0.golomb().ok_or(FieldError::CutOff)?;
        if value > max { Err(FieldError::OutOfRange { field, value, max }) } else { Ok(value) }
    }

    /// See [`BitReader::signed_golomb`].
    pub(super) fn signed_golomb(&mut self) -> Result<i32, FieldError> {
        self.0.signed_golomb().ok_or(FieldError::CutOff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_most_significant_first() {
        let mut reader = BitReader::new(&[0b1010_0101, 0xff]);
        assert_eq!((reader.flag(), reader.bits(3), reader.bits(8)), (Some(true), Some(0b010), Some(0b0101_1111)));
        assert_eq!((reader.remaining(), reader.bits(5), reader.bits(4)), (4, None, Some(0b1111)));
        assert_eq!((reader.flag(), reader.skip(1)), (None, None));
    }

    #[test]
    fn golomb_codes_of_the_standard() {
        // 1 | 010 | 011 | 00100 | 00111, then the same codes signed.
        let bytes = [0b1010_0110, 0b0100_0011, 0b1000_0000];
        let mut reader = BitReader::new(&bytes);
        assert_eq!([(); 5].map(|()| reader.golomb()), [Some(0), Some(1), Some(2), Some(3), Some(6)]);
        let mut reader = BitReader::new(&bytes);
        assert_eq!([(); 5].map(|()| reader.signed_golomb()), [Some(0), Some(1), Some(-1), Some(2), Some(-3)]);
    }

    #[test]
    fn golomb_codes_are_bounded() {
        assert_eq!(BitReader::new(&[0; 16]).golomb(), None);
        // 31 zeros, a one, 31 ones: the largest code there is.
        let largest = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe];
        assert_eq!(BitReader::new(&largest).golomb(), Some(u32::MAX - 1));
        assert_eq!(BitReader::new(&largest).signed_golomb(), Some(-i32::MAX));
        assert_eq!(BitReader::new(&largest[..7]).golomb(), None);
    }
}
