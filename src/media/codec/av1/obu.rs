//! OBUs (AV1 5.3 to 5.5): how a temporal unit is split, without copying, and what of it a sample of ISOBMFF holds.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Av1Error, SequenceHeader};
use crate::media::codec::bits::BitReader;

/// Bytes of a `leb128` number (AV1 4.10.5).
const MAX_SIZE_BYTES: usize = 8;

/// `obu_type` (AV1 6.2.2), as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObuKind {
    /// Describes the coded video sequence.
    SequenceHeader,
    /// Begins a temporal unit.
    TemporalDelimiter,
    /// A frame's header alone.
    FrameHeader,
    /// Metadata: captions, HDR.
    Metadata,
    /// A frame's header and its tiles.
    Frame,
    /// Tiles for large scale decoding, which is another way of using AV1.
    TileList,
    /// Nothing.
    Padding,
    /// Tile groups, repeated headers, reserved types.
    Other(u8),
}

impl ObuKind {
    const fn of(code: u8) -> Self {
        match code {
            1 => ObuKind::SequenceHeader,
            2 => ObuKind::TemporalDelimiter,
            3 => ObuKind::FrameHeader,
            5 => ObuKind::Metadata,
            6 => ObuKind::Frame,
            8 => ObuKind::TileList,
            15 => ObuKind::Padding,
            other => ObuKind::Other(other),
        }
    }

    /// Whether samples go without it (AV1-ISOBMFF 2.4).
    pub const fn is_taken_out(self) -> bool {
        matches!(self, ObuKind::TemporalDelimiter | ObuKind::TileList | ObuKind::Padding)
    }
}

/// One OBU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obu<'a> {
    /// Its type.
    pub kind: ObuKind,
    /// All of it: header, size, payload.
    pub whole: &'a [u8],
    /// What stands behind header and size.
    pub payload: &'a [u8],
}

/// The OBUs of a temporal unit in the low-overhead format (AV1 5.2): each with its size, but the last may be without. The first
/// error is the last item.
pub fn obus(data: &[u8]) -> Obus<'_> {
    Obus { data, at: 0, failed: false }
}

/// Iterator of [`obus`].
#[derive(Clone, Debug)]
pub struct Obus<'a> {
    data: &'a [u8],
    at: usize,
    failed: bool,
}

impl<'a> Obus<'a> {
    fn read(&mut self) -> Result<Obu<'a>, Av1Error> {
        const CUT_OFF: Av1Error = Av1Error::Truncated { what: "OBU header" };
        let (offset, rest) = (self.at, &self.data[self.at..]);
        let header = *rest.first().ok_or(CUT_OFF)?;
        if header & 0x80 != 0 {
            return Err(Av1Error::Forbidden(offset));
        }
        let (extension, sized) = (header & 0b100 != 0, header & 0b10 != 0);
        let head = 1 + usize::from(extension);
        let behind = rest.get(head..).ok_or(CUT_OFF)?;
        let (length, size_bytes) = if sized { leb128(behind, offset)? } else { (behind.len() as u64, 0) };
        let behind = &behind[size_bytes..];
        let payload = usize::try_from(length).ok().and_then(|length| behind.get(..length));
        let payload = payload.ok_or(Av1Error::BeyondEnd { offset, length, left: behind.len() })?;
        let whole = &rest[..head + size_bytes + payload.len()];
        self.at += whole.len();
        Ok(Obu { kind: ObuKind::of(header >> 3 & 0xf), whole, payload })
    }
}

impl<'a> Iterator for Obus<'a> {
    type Item = Result<Obu<'a>, Av1Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.at == self.data.len() {
            return None;
        }
        let read = self.read();
        self.failed = read.is_err();
        Some(read)
    }
}

/// The number and its bytes (AV1 4.10.5).
fn leb128(bytes: &[u8], offset: usize) -> Result<(u64, usize), Av1Error> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(MAX_SIZE_BYTES).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((value, index + 1));
        }
    }
    let long = bytes.len() >= MAX_SIZE_BYTES;
    Err(if long { Av1Error::Size(offset) } else { Av1Error::Truncated { what: "OBU size" } })
}

/// Appends an OBU with its size.
pub(super) fn put_sequence_header(out: &mut BytesMut, payload: &[u8]) {
    out.put_u8(1 << 3 | 0b10); // OBU_SEQUENCE_HEADER, obu_has_size_field
    let mut left = payload.len();
    while left > 0x7f {
        out.put_u8(0x80 | (left & 0x7f) as u8);
        left >>= 7;
    }
    out.put_u8(left as u8);
    out.put_slice(payload);
}

/// What a temporal unit holds: asked once for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemporalUnit<'a> {
    /// Decoding may start here: a sequence header, and behind it, as the first frame, a key frame that is shown
    /// (AV1-ISOBMFF 2.5).
    pub keyframe: bool,
    /// There is a frame.
    pub picture: bool,
    /// Payload of its sequence header. Where there are several, of the first: more would be equal within one temporal unit.
    pub sequence_header: Option<&'a [u8]>,
    /// Bytes of OBUs that samples go without.
    pub taken_out: usize,
    /// All bytes of those stand at the front.
    front: bool,
}

impl<'a> TemporalUnit<'a> {
    /// Looks through a temporal unit.
    ///
    /// # Errors
    /// It is no sequence of OBUs.
    pub fn of(data: &'a [u8]) -> Result<Self, Av1Error> {
        let mut unit =
            TemporalUnit { keyframe: false, picture: false, sequence_header: None, taken_out: 0, front: true };
        let mut kept = 0;
        for obu in obus(data) {
            let obu = obu?;
            match obu.kind {
                ObuKind::SequenceHeader if unit.sequence_header.is_none() => unit.sequence_header = Some(obu.payload),
                ObuKind::Frame | ObuKind::FrameHeader if !unit.picture => {
                    unit.picture = true;
                    unit.keyframe = unit.sequence_header.is_some_and(|header| is_shown_key(header, obu.payload));
                }
                _ => {}
            }
            if obu.kind.is_taken_out() {
                unit.taken_out += obu.whole.len();
                unit.front &= kept == 0;
            } else {
                kept += obu.whole.len();
            }
        }
        Ok(unit)
    }

    /// The sample of ISOBMFF that `data`, which this was read of, makes: without copying, if only the front is left out.
    pub fn sample(&self, data: &Bytes) -> Bytes {
        if self.front {
            return data.slice(self.taken_out.min(data.len())..);
        }
        let mut out = BytesMut::with_capacity(data.len().saturating_sub(self.taken_out));
        for obu in obus(data).flatten().filter(|obu| !obu.kind.is_taken_out()) {
            out.put_slice(obu.whole);
        }
        out.freeze()
    }
}

/// Whether a frame header (AV1 5.9.2) begins a key frame that is shown.
fn is_shown_key(sequence_header: &[u8], frame: &[u8]) -> bool {
    SequenceHeader::is_reduced(sequence_header) || shown_key(&mut BitReader::new(frame)).unwrap_or(false)
}

fn shown_key(frame: &mut BitReader<'_>) -> Option<bool> {
    const KEY_FRAME: u32 = 0;
    let repeated = frame.flag()?; // show_existing_frame
    let key = frame.bits(2)? == KEY_FRAME;
    Some(!repeated && key && frame.flag()?) // show_frame
}

#[cfg(test)]
mod tests {
    use super::super::samples::SVT;
    use super::*;
    use proptest::prelude::*;

    /// The beginning of what SVT-AV1 makes, with a frame of 4 bytes: `frame` is its first.
    fn unit(frame: u8) -> Vec<u8> {
        [&[0x12, 0x00, 0x0a, 0x0b][..], SVT, &[0x32, 0x04, frame, 0x01, 0x10, 0x00]].concat()
    }

    #[test]
    fn a_temporal_unit_is_split_and_understood() {
        let data = Bytes::from(unit(0x10));
        let kinds: Vec<_> = obus(&data).map(|obu| obu.expect("whole").kind).collect();
        assert_eq!(kinds, [ObuKind::TemporalDelimiter, ObuKind::SequenceHeader, ObuKind::Frame]);
        let read = TemporalUnit::of(&data).expect("whole");
        assert_eq!((read.keyframe, read.picture, read.sequence_header, read.taken_out), (true, true, Some(SVT), 2));
        let sample = read.sample(&data);
        assert_eq!(sample, data[2..]);
        assert_eq!(sample.as_ptr(), data[2..].as_ptr(), "not copied");
    }

    #[test]
    fn keyframes_are_shown_key_frames_behind_a_sequence_header() {
        let is_key = |data: &[u8]| TemporalUnit::of(data).expect("whole").keyframe;
        // show_existing_frame | frame_type | show_frame
        for (first, key) in [(0b0001_0000, true), (0b0000_0000, false), (0b1001_0000, false), (0b0011_0000, false)] {
            assert_eq!(is_key(&unit(first)), key, "{first:#010b}");
        }
        assert!(!is_key(&unit(0x10)[15..]), "no sequence header");
        let second = [unit(0x30), vec![0x32, 0x01, 0x10]].concat();
        assert!(!is_key(&second), "the first frame counts");
    }

    #[test]
    fn what_stands_in_between_is_taken_out_by_copying() {
        let (first, padding, last) = ([0x0a, 0x01, 0x00], [0x7a, 0x02, 0xff, 0x80], [0x30, 0x10, 0x00]);
        let data = Bytes::from([&[0x12, 0x00][..], &first, &padding, &last].concat());
        let read = TemporalUnit::of(&data).expect("whole");
        assert_eq!((read.taken_out, read.picture), (6, true));
        assert_eq!(read.sample(&data), [&first[..], &last].concat());
    }

    #[test]
    fn an_error_is_the_last_item() {
        let all = |data: &[u8]| obus(data).map(|obu| obu.map(|obu| obu.payload.len())).collect::<Vec<_>>();
        assert_eq!(all(&[0x12, 0, 0x90]), [Ok(0), Err(Av1Error::Forbidden(2))]);
        assert_eq!(all(&[0x32, 9, 1]), [Err(Av1Error::BeyondEnd { offset: 0, length: 9, left: 1 })]);
        assert_eq!(all(&[0x34]), [Err(Av1Error::Truncated { what: "OBU header" })]);
        assert_eq!(all(&[0x32, 0xff]), [Err(Av1Error::Truncated { what: "OBU size" })]);
        assert_eq!(all(&[&[0x32][..], &[0xff; 9]].concat()), [Err(Av1Error::Size(0))]);
        assert_eq!(all(&[0x36, 0x08, 0x01, 7, 0x30, 1, 2, 3]), [Ok(1), Ok(3)], "an extension; the last without size");
        assert_eq!(all(&[]), []);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(data in prop::collection::vec(prop_oneof![1 => 0u8..16, 1 => any::<u8>()], 0..200)) {
            let data = Bytes::from(data);
            prop_assert!(obus(&data).count() <= data.len());
            if let Ok(unit) = TemporalUnit::of(&data) {
                let sample = unit.sample(&data);
                prop_assert_eq!(sample.len() + unit.taken_out, data.len());
                let again = TemporalUnit::of(&sample).expect("part of the same");
                prop_assert_eq!((again.keyframe, again.picture, again.taken_out), (unit.keyframe, unit.picture, 0));
            }
        }
    }
}
