//! AV1CodecConfigurationRecord (av1C, AV1-ISOBMFF 2.3.3), reader and writer.

use bytes::{BufMut, Bytes, BytesMut};

use super::obu::put_sequence_header;
use super::{Av1Error, ObuKind, SequenceHeader, obus};
use crate::media::codec::picture::Chroma;

/// `marker` and `version`.
const VERSION: u8 = 0x81;
/// Bytes of a record before its OBUs.
const HEAD_BYTES: usize = 4;

/// What an av1C says. Metadata beside the sequence header is left out: encoders send it in the stream too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Av1Config {
    /// Payload of the sequence header; `None`: it comes in band only.
    pub sequence_header: Option<Bytes>,
}

impl Av1Config {
    /// Reads a record. Profile, level and the rest of its head are ignored: the sequence header says the same. The header shares the
    /// record's buffer.
    ///
    /// # Errors
    /// Another version, or what follows is no sequence of OBUs.
    pub fn parse(record: &Bytes) -> Result<Self, Av1Error> {
        let version = record.first().ok_or(Av1Error::Truncated { what: "configuration record" })?;
        if *version != VERSION {
            return Err(Av1Error::Version(*version));
        }
        let inside = record.get(HEAD_BYTES..).ok_or(Av1Error::Truncated { what: "configuration record" })?;
        for obu in obus(inside) {
            let obu = obu?;
            if obu.kind == ObuKind::SequenceHeader {
                return Ok(Av1Config { sequence_header: Some(record.slice_ref(obu.payload)) });
            }
        }
        Ok(Av1Config { sequence_header: None })
    }

    /// The record.
    ///
    /// # Errors
    /// There is no sequence header, or it cannot be parsed.
    pub fn write(&self) -> Result<Bytes, Av1Error> {
        let payload = self.sequence_header.as_ref().ok_or(Av1Error::NoSequenceHeader)?;
        let header = SequenceHeader::parse(payload)?;
        let mut out = BytesMut::with_capacity(HEAD_BYTES + 10 + payload.len());
        out.put_u8(VERSION);
        out.put_u8(header.profile << 5 | header.level);
        let [across, down] = header.subsampling();
        let flags = [
            header.high_tier,
            header.bit_depth > 8,
            header.bit_depth == 12,
            header.chroma == Chroma::Monochrome,
            across,
            down,
        ];
        let flags = flags.into_iter().fold(0, |bits, flag| bits << 1 | u8::from(flag));
        out.put_u8(flags << 2 | header.chroma_position);
        out.put_u8(0); // initial_presentation_delay: not said
        put_sequence_header(&mut out, payload);
        Ok(out.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{LIBAOM, PQ, SVT};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_are_those_of_ffmpeg() {
        for (header, head) in [(SVT, [0x81, 0x05, 0x0c, 0x00]), (LIBAOM, [0x81, 0x05, 0x0c, 0x00])] {
            let config = Av1Config { sequence_header: Some(Bytes::from_static(header)) };
            let record = config.write().expect("made by an encoder");
            assert_eq!(record, [&head[..], &[0x0a, 0x0b], header].concat());
            assert_eq!(Av1Config::parse(&record), Ok(config));
        }
        let pq = Av1Config { sequence_header: Some(Bytes::from_static(PQ)) }.write().expect("made by SVT-AV1");
        assert_eq!(pq[..6], [0x81, 0x01, 0x4c, 0x00, 0x0a, 0x0e]);
    }

    #[test]
    fn other_obus_and_none_at_all() {
        let parse = |bytes: &[u8]| Av1Config::parse(&Bytes::copy_from_slice(bytes));
        let none = Av1Config { sequence_header: None };
        assert_eq!(parse(&[0x81, 0x05, 0x0c, 0x00]), Ok(none.clone()));
        assert_eq!(none.write(), Err(Av1Error::NoSequenceHeader));
        // Metadata before it, and a sequence header without size.
        let record = [&[0x81, 5, 0x0c, 0, 0x2a, 1, 1, 0x08][..], SVT].concat();
        assert_eq!(parse(&record), Ok(Av1Config { sequence_header: Some(Bytes::from_static(SVT)) }));
    }

    #[test]
    fn bad_records_say_why() {
        let error = |bytes: &[u8]| Av1Config::parse(&Bytes::copy_from_slice(bytes)).expect_err("refused").to_string();
        assert_eq!(error(&[]), "AV1 configuration record is cut off");
        assert_eq!(error(&[0x81, 0]), "AV1 configuration record is cut off");
        assert_eq!(error(&[0x01, 0, 0, 0]), "AV1 configuration record begins with 0x01, version 1 with 0x81");
        assert_eq!(error(&[0x81, 0, 0, 0, 0x0a, 5]), "AV1 OBU at byte 0 claims 5 bytes, 0 are left");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(tail in prop::collection::vec(any::<u8>(), 0..60)) {
            for record in [[&[VERSION, 0, 0, 0][..], &tail].concat(), [&[VERSION, 0, 0, 0, 0x08][..], &tail].concat()] {
                if let Ok(config) = Av1Config::parse(&record.into())
                    && let Ok(written) = config.write()
                {
                    prop_assert_eq!(Av1Config::parse(&written), Ok(config));
                }
            }
        }
    }
}
