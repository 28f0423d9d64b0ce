//! NAL units of H.264 and H.265: how an access unit is split, without copying, from both of its wire forms.

use bytes::Bytes;

/// Why an access unit cannot be split into NAL units.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NalError {
    /// The bytes end inside of a length.
    #[error("a NAL unit's length is cut off")]
    Truncated,
    /// A NAL length reaches beyond the access unit.
    #[error("the NAL unit at byte {offset} claims {length} bytes, {left} are left")]
    BeyondEnd {
        /// Where the length stands.
        offset: usize,
        /// What it says.
        length: usize,
        /// What there is.
        left: usize,
    },
    /// NAL lengths have 1, 2 or 4 bytes.
    #[error("NAL lengths of {0} bytes do not exist")]
    LengthSize(u8),
}

/// `nal` without the zero bytes behind it: a NAL unit never ends with one (H.264 7.4.1, H.265 7.4.2), but Annex B may pad with them.
pub fn without_trailing_zeros(nal: &[u8]) -> &[u8] {
    let end = nal.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &nal[..end]
}

/// The NAL units of a byte stream (Annex B of both). Bytes before the first start code, padding and empty units are left
/// out.
pub fn nals_annex_b(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = start_code(stream).map_or(&[][..], |at| &stream[at + 3..]);
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (nal, behind) = match start_code(rest) {
                Some(at) => (&rest[..at], &rest[at + 3..]),
                None => (rest, &[][..]),
            };
            rest = behind;
            let nal = without_trailing_zeros(nal);
            if !nal.is_empty() {
                return Some(nal);
            }
        }
        None
    })
}

/// Index of the first `00 00 01`.
fn start_code(bytes: &[u8]) -> Option<usize> {
    let mut at = 2;
    // The third byte decides how far the next start code can be: above 1, none ends at any of the next two bytes.
    while let Some(third) = bytes.get(at) {
        match third {
            0 => at += 1,
            1 if bytes[at - 1] == 0 && bytes[at - 2] == 0 => return Some(at - 2),
            _ => at += 3,
        }
    }
    None
}

/// Removes `emulation_prevention_three_byte` (H.264 7.4.1.1, H.265 7.4.2.1).
pub(super) fn without_emulation_prevention(payload: &[u8]) -> Vec<u8> {
    let mut rbsp = Vec::with_capacity(payload.len());
    let mut zeros = 0;
    for &byte in payload {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        rbsp.push(byte);
    }
    rbsp
}

/// The NAL units of an access unit as avcC and hvcC describe it (ISO/IEC 14496-15 5.3.2 and 8.3.2): each behind a big-endian length of
/// `length_size` bytes (1, 2 or 4). Empty units are left out; the first error is the last item.
pub fn nals_length_prefixed(data: &[u8], length_size: u8) -> LengthPrefixed<'_> {
    LengthPrefixed { data, at: 0, length_size, failed: false }
}

/// Iterator of [`nals_length_prefixed`].
#[derive(Clone, Debug)]
pub struct LengthPrefixed<'a> {
    data: &'a [u8],
    at: usize,
    length_size: u8,
    failed: bool,
}

impl<'a> LengthPrefixed<'a> {
    fn read(&mut self) -> Result<&'a [u8], NalError> {
        if !matches!(self.length_size, 1 | 2 | 4) {
            return Err(NalError::LengthSize(self.length_size));
        }
        let offset = self.at;
        let (prefix, behind) =
            self.data[offset..].split_at_checked(usize::from(self.length_size)).ok_or(NalError::Truncated)?;
        let length = prefix.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte));
        let nal = behind.get(..length).ok_or(NalError::BeyondEnd { offset, length, left: behind.len() })?;
        self.at += prefix.len() + length;
        Ok(nal)
    }
}

impl<'a> Iterator for LengthPrefixed<'a> {
    type Item = Result<&'a [u8], NalError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed && self.at < self.data.len() {
            match self.read() {
                Ok([]) => {}
                Ok(nal) => return Some(Ok(nal)),
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// Reads a configuration record; what it takes shares the record's buffer. Reading past the end is `None`.
pub(super) struct RecordReader<'a> {
    record: &'a Bytes,
    at: usize,
}

impl<'a> RecordReader<'a> {
    pub(super) const fn new(record: &'a Bytes) -> Self {
        RecordReader { record, at: 0 }
    }

    pub(super) fn take(&mut self, count: usize) -> Option<Bytes> {
        if self.record.len() - self.at < count {
            return None;
        }
        let start = self.at;
        self.at += count;
        Some(self.record.slice(start..self.at))
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let byte = *self.record.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    pub(super) fn two_bytes(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    /// A parameter set behind its length.
    pub(super) fn set(&mut self) -> Option<Bytes> {
        let length = self.two_bytes()?;
        self.take(usize::from(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn annex_b(stream: &[u8]) -> Vec<&[u8]> {
        nals_annex_b(stream).collect()
    }

    #[test]
    fn annex_b_units_are_found_behind_both_start_codes() {
        let stream = [9, 9, 0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 0, 1, 0x65, 4];
        assert_eq!(annex_b(&stream), [&[0x67, 1, 2][..], &[0x68, 3], &[0x65, 4]]);
    }

    #[test]
    fn annex_b_padding_and_nothing() {
        assert_eq!(annex_b(&[0, 0, 1, 0x67, 1, 0, 0, 0]), [&[0x67, 1]]);
        assert_eq!(annex_b(&[0, 0, 1, 0, 0, 1, 0, 0, 1]), Vec::<&[u8]>::new());
        assert_eq!(annex_b(&[0x67, 1, 2]), Vec::<&[u8]>::new());
        assert_eq!(annex_b(&[]), Vec::<&[u8]>::new());
    }

    #[test]
    fn lengths_of_every_size() {
        for (size, data) in [(1, vec![2, 0x65, 1, 0, 1, 6]), (2, vec![0, 2, 0x65, 1, 0, 0, 0, 1, 6])] {
            let nals: Result<Vec<_>, _> = nals_length_prefixed(&data, size).collect();
            assert_eq!(nals, Ok(vec![&[0x65, 1][..], &[6]]), "size {size}");
        }
    }

    #[test]
    fn an_error_is_the_last_item() {
        let beyond = NalError::BeyondEnd { offset: 5, length: 0x0102_0304, left: 1 };
        let data = [0, 0, 0, 1, 0x65, 1, 2, 3, 4, 5];
        assert_eq!(nals_length_prefixed(&data, 4).collect::<Vec<_>>(), [Ok(&[0x65][..]), Err(beyond)]);
        let cut = NalError::Truncated;
        assert_eq!(nals_length_prefixed(&data[..3], 4).collect::<Vec<_>>(), [Err(cut)]);
        assert_eq!(nals_length_prefixed(&data, 3).collect::<Vec<_>>(), [Err(NalError::LengthSize(3))]);
    }

    proptest! {
        #[test]
        fn units_survive_both_forms(nals in prop::collection::vec(prop::collection::vec(1u8.., 1..40), 0..12)) {
            let (mut stream, mut prefixed) = (Vec::new(), Vec::new());
            for nal in &nals {
                stream.extend([0, 0, 1]);
                stream.extend(nal);
                prefixed.extend((nal.len() as u32).to_be_bytes());
                prefixed.extend(nal);
            }
            prop_assert_eq!(annex_b(&stream), nals.clone());
            let read: Result<Vec<_>, _> = nals_length_prefixed(&prefixed, 4).map(|nal| nal.map(<[u8]>::to_vec)).collect();
            prop_assert_eq!(read, Ok(nals));
        }

        #[test]
        fn no_bytes_panic(data in prop::collection::vec(prop_oneof![3 => 0u8..3, 1 => any::<u8>()], 0..200), size in 0u8..6) {
            let in_stream: usize = nals_annex_b(&data).map(<[u8]>::len).sum();
            prop_assert!(in_stream <= data.len());
            prop_assert!(nals_length_prefixed(&data, size).count() <= data.len() + 1);
        }
    }
}
