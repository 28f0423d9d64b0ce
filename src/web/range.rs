//! Byte ranges: RFC 9110 section 14.
//!
//! One range is answered with 206 or 416. A header that asks for several, in another unit, or that is malformed is ignored, as
//! section 14.2 allows: the answer is then the whole, which every client must understand.

use std::ops::Range;

/// What a Range header means for a representation of a known length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requested {
    /// Send everything with 200.
    Whole,
    /// Send these bytes with 206. Never empty, never beyond the end.
    Bytes(Range<u64>),
    /// Nothing of it exists: 416.
    Unsatisfiable,
}

/// Reads a Range header's value for a representation of `len` bytes.
pub fn requested(header: &str, len: u64) -> Requested {
    match parse(header) {
        None => Requested::Whole,
        Some(Spec::From { first, last }) => {
            if first >= len {
                return Requested::Unsatisfiable;
            }
            let end = last.map_or(len, |last| last.saturating_add(1).min(len));
            Requested::Bytes(first..end)
        }
        Some(Spec::Suffix(0)) => Requested::Unsatisfiable,
        Some(Spec::Suffix(_)) if len == 0 => Requested::Unsatisfiable,
        Some(Spec::Suffix(count)) => Requested::Bytes(len.saturating_sub(count)..len),
    }
}

enum Spec {
    From { first: u64, last: Option<u64> },
    Suffix(u64),
}

/// One range of bytes, or `None` for whatever is to be ignored.
fn parse(header: &str) -> Option<Spec> {
    let (unit, set) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    if first.is_empty() {
        return Some(Spec::Suffix(number(last)?));
    }
    let first = number(first)?;
    let last = if last.is_empty() { None } else { Some(number(last)?) };
    if last.is_some_and(|last| last < first) { None } else { Some(Spec::From { first, last }) }
}

/// Digits only; a number too large for us is larger than any file, so it saturates.
fn number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_table_of_rfc_9110() {
        use Requested::{Bytes, Unsatisfiable, Whole};
        for (header, expected) in [
            ("bytes=0-499", Bytes(0..500)),
            ("bytes=500-999", Bytes(500..1000)),
            ("bytes=0-0", Bytes(0..1)),
            ("bytes=999-", Bytes(999..1000)),
            ("bytes=0-", Bytes(0..1000)),
            ("bytes=9-100000", Bytes(9..1000)),
            ("bytes=9-99999999999999999999999", Bytes(9..1000)),
            ("Bytes=1-2", Bytes(1..3)),
            ("bytes= 1-2 ", Bytes(1..3)),
            ("bytes=-1", Bytes(999..1000)),
            ("bytes=-1000", Bytes(0..1000)),
            ("bytes=-5000", Bytes(0..1000)),
            ("bytes=1000-", Unsatisfiable),
            ("bytes=1000-1001", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=0-0,5-6", Whole),
            ("bytes=5-4", Whole),
            ("bytes=-", Whole),
            ("bytes=", Whole),
            ("bytes", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1 - 2", Whole),
            ("bytes=1--2", Whole),
            ("seconds=1-2", Whole),
            ("", Whole),
        ] {
            assert_eq!(requested(header, 1000), expected, "{header}");
        }
    }

    #[test]
    fn of_nothing_no_range_can_be_had() {
        for header in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            assert_eq!(requested(header, 0), Requested::Unsatisfiable, "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered_within_bounds(header in "(bytes=)?[0-9,=a -]{0,40}", len in 0_u64..2_000) {
            if let Requested::Bytes(range) = requested(&header, len) {
                prop_assert!(range.start < range.end && range.end <= len);
            }
        }
    }
}
