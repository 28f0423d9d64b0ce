//! One transport packet (H.222.0 2.4.3.2).

use super::{PACKET_BYTES, Pid};

/// First byte of every packet.
pub(super) const SYNC: u8 = 0x47;
/// The packets that fill a constant bit rate.
pub(super) const NULL_PID: Pid = 0x1fff;

const FLAG_ERROR: u8 = 0x80;
const FLAG_UNIT_START: u8 = 0x40;
const FLAG_DISCONTINUITY: u8 = 0x80;
const FLAG_RANDOM_ACCESS: u8 = 0x40;

/// What the header and the adaptation field say, and the payload.
#[derive(Debug)]
pub(super) struct Packet<'a> {
    pub pid: Pid,
    /// `payload_unit_start_indicator`: a PES packet begins the payload, or a section begins in it.
    pub unit_start: bool,
    pub scrambled: bool,
    /// `continuity_counter`, 4 bits: rises with each packet that has a payload.
    pub counter: u8,
    /// `discontinuity_indicator`.
    pub discontinuity: bool,
    /// `random_access_indicator`.
    pub random_access: bool,
    /// Program clock reference in 27 MHz: 33 bits of 90 kHz times 300, and the extension.
    pub pcr: Option<u64>,
    /// The adaptation field has bytes that say nothing: the multiplexer had no more of this PES packet.
    pub stuffed: bool,
    pub payload: Option<&'a [u8]>,
}

impl<'a> Packet<'a> {
    /// Reads a packet that begins with [`SYNC`]; `None` if it is damaged, by its own word or by its lengths.
    pub(super) fn parse(bytes: &'a [u8; PACKET_BYTES]) -> Option<Self> {
        let mut packet = Packet {
            pid: u16::from(bytes[1] & 0x1f) << 8 | u16::from(bytes[2]),
            unit_start: bytes[1] & FLAG_UNIT_START != 0,
            scrambled: bytes[3] >> 6 != 0,
            counter: bytes[3] & 0xf,
            discontinuity: false,
            random_access: false,
            pcr: None,
            stuffed: false,
            payload: None,
        };
        let body = &bytes[4..];
        let behind = match bytes[3] >> 4 & 3 {
            1 => body,
            control @ (2 | 3) => {
                let length = usize::from(body[0]);
                let (field, behind) = body[1..].split_at_checked(length)?;
                packet.read_adaptation(field);
                // A field alone fills the packet; with a payload it leaves at least one byte (2.4.3.5).
                if (control == 2) != behind.is_empty() {
                    return None;
                }
                behind
            }
            _ => return None, // reserved
        };
        packet.payload = (!behind.is_empty()).then_some(behind);
        (bytes[1] & FLAG_ERROR == 0).then_some(packet)
    }

    fn read_adaptation(&mut self, field: &[u8]) {
        let Some((flags, mut rest)) = field.split_first() else {
            self.stuffed = true; // the length alone fills one byte
            return;
        };
        self.discontinuity = flags & FLAG_DISCONTINUITY != 0;
        self.random_access = flags & FLAG_RANDOM_ACCESS != 0;
        // Lengths that reach beyond the field leave nothing of it: `rest` stays what it is, which only `stuffed` tells.
        let mut take = |there: bool, count: usize| {
            let (taken, behind) = rest.split_at_checked(count).filter(|_| there)?;
            rest = behind;
            Some(taken)
        };
        self.pcr = take(flags & 0x10 != 0, 6).map(|bytes| {
            let word = bytes.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
            (word >> 15) * 300 + (word & 0x1ff)
        });
        take(flags & 0x08 != 0, 6); // original PCR
        take(flags & 0x04 != 0, 1); // splice countdown
        for flag in [0x02, 0x01] {
            // private data, extension: each behind its length
            let length = take(flags & flag != 0, 1).map_or(0, |length| usize::from(length[0]));
            take(length > 0, length);
        }
        self.stuffed = !rest.is_empty();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(head: &[u8]) -> [u8; PACKET_BYTES] {
        let mut bytes = [0xff; PACKET_BYTES];
        bytes[..head.len()].copy_from_slice(head);
        bytes
    }

    #[test]
    fn a_payload_alone() {
        let bytes = packet(&[0x47, 0x41, 0x00, 0x17, 1, 2]);
        let packet = Packet::parse(&bytes).expect("good");
        assert_eq!((packet.pid, packet.unit_start, packet.counter), (0x100, true, 7));
        assert_eq!((packet.scrambled, packet.stuffed, packet.pcr), (false, false, None));
        assert_eq!(packet.payload.map(<[u8]>::len), Some(184));
    }

    #[test]
    fn an_adaptation_field_with_a_clock() {
        // PCR base 1, extension 2, behind it one byte of stuffing.
        let bytes = packet(&[0x47, 0x01, 0x00, 0xb5, 8, 0xd0, 0, 0, 0, 0, 0xfe, 0x02, 0xff, 9]);
        let packet = Packet::parse(&bytes).expect("good");
        assert_eq!((packet.pcr, packet.discontinuity, packet.random_access), (Some(302), true, true));
        assert_eq!((packet.scrambled, packet.stuffed, packet.counter), (true, true, 5));
        assert_eq!(packet.payload.map(|payload| (payload[0], payload.len())), Some((9, 175)));
        // the same without stuffing
        let bytes = super::tests::packet(&[0x47, 0x01, 0x00, 0x35, 7, 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0x2b, 9]);
        let packet = Packet::parse(&bytes).expect("good");
        assert_eq!((packet.pcr, packet.stuffed), (Some(((1 << 33) - 1) * 300 + 299), false));
    }

    #[test]
    fn fields_that_fill_the_packet() {
        let bytes = packet(&[0x47, 0x01, 0x00, 0x20, 183, 0]);
        assert!(Packet::parse(&bytes).is_some_and(|packet| packet.payload.is_none() && packet.stuffed));
        let one_byte = packet(&[0x47, 0x01, 0x00, 0x30, 0, 7]);
        assert!(
            Packet::parse(&one_byte)
                .is_some_and(|packet| packet.stuffed && packet.payload.map(<[u8]>::len) == Some(183))
        );
        // private data and an extension are no stuffing
        let private = packet(&[0x47, 0x01, 0x00, 0x30, 6, 0x03, 2, 9, 9, 1, 0x1f, 7]);
        assert!(Packet::parse(&private).is_some_and(|packet| !packet.stuffed));
    }

    #[test]
    fn damaged_ones() {
        for head in [
            [0x47, 0x81, 0x00, 0x10, 0],   // says so
            [0x47, 0x01, 0x00, 0x00, 0],   // reserved
            [0x47, 0x01, 0x00, 0x20, 182], // a field alone that does not fill it
            [0x47, 0x01, 0x00, 0x30, 183], // no room for the payload
            [0x47, 0x01, 0x00, 0x30, 184], // beyond the end
        ] {
            assert!(Packet::parse(&packet(&head)).is_none(), "{head:02x?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(head in prop::collection::vec(any::<u8>(), 20)) {
            let bytes = packet(&head);
            if let Some(packet) = Packet::parse(&bytes) {
                prop_assert!(packet.pid < 1 << 13 && packet.counter < 16);
                prop_assert!(packet.pcr.is_none_or(|pcr| pcr < (1 << 33) * 300 + 512));
            }
        }
    }
}
