//! PSI sections (H.222.0 2.4.4): out of the packets of one PID, whole and with a right checksum.

use super::packet::Packet;

/// Most bytes of a section of PAT or PMT (2.4.4.4, 2.4.4.9).
pub(super) const MAX_SECTION_BYTES: usize = 1_024;
/// `table_id` and `section_length`.
const HEADER_BYTES: usize = 3;
/// Header, what a long section has behind it, and the checksum.
const MIN_SECTION_BYTES: usize = HEADER_BYTES + 5 + CRC_BYTES;
const CRC_BYTES: usize = 4;
/// `table_id` of what fills up the packet behind the last section.
const STUFFING: u8 = 0xff;

/// Gathers the sections of one PID.
#[derive(Debug, Default)]
pub(super) struct Sections {
    /// The beginning of a section; empty when none has begun.
    buffer: Vec<u8>,
    /// Of the last packet.
    counter: Option<u8>,
}

impl Sections {
    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.buffer.len()
    }

    /// Something is missing here: the section that has begun is dropped.
    pub(super) fn interrupt(&mut self) {
        self.buffer.clear();
        self.counter = None;
    }

    /// Takes a packet and hands on the sections that end in it, from `table_id` to before the checksum. Returns how many were
    /// dropped because they are damaged.
    pub(super) fn push(&mut self, packet: &Packet<'_>, mut each: impl FnMut(&[u8])) -> u64 {
        let Some(payload) = packet.payload.filter(|_| !packet.scrambled) else { return 0 };
        let before = self.counter.replace(packet.counter);
        if before == Some(packet.counter) && !packet.discontinuity {
            return 0; // sent twice
        }
        if before.is_some_and(|before| packet.counter != (before + 1) & 0xf) {
            self.buffer.clear();
        }
        if !packet.unit_start {
            return if self.buffer.is_empty() { 0 } else { self.gather(payload, &mut each).1 };
        }
        let pointed = payload.split_first().and_then(|(pointer, rest)| rest.split_at_checked(usize::from(*pointer)));
        let Some((end, mut starts)) = pointed else {
            self.buffer.clear();
            return 1;
        };
        let mut damaged = 0;
        if !self.buffer.is_empty() {
            damaged += self.gather(end, &mut each).1;
            // It should have ended by now.
            damaged += u64::from(!std::mem::take(&mut self.buffer).is_empty());
        }
        while starts.first().is_some_and(|table_id| *table_id != STUFFING) {
            let (behind, bad) = self.gather(starts, &mut each);
            starts = behind;
            damaged += bad;
        }
        damaged
    }

    /// Takes as much of `bytes` as the section needs and returns the rest, and whether the section was damaged.
    fn gather<'a>(&mut self, bytes: &'a [u8], each: &mut impl FnMut(&[u8])) -> (&'a [u8], u64) {
        let head = HEADER_BYTES.saturating_sub(self.buffer.len()).min(bytes.len());
        let (taken, bytes) = bytes.split_at(head);
        self.buffer.extend_from_slice(taken);
        let [_, high, low, ..] = self.buffer[..] else { return (bytes, 0) };
        let total = HEADER_BYTES + (usize::from(high & 0xf) << 8 | usize::from(low));
        if !(MIN_SECTION_BYTES..=MAX_SECTION_BYTES).contains(&total) {
            self.buffer.clear();
            return (&[], 1);
        }
        let (taken, behind) = bytes.split_at(bytes.len().min(total - self.buffer.len()));
        self.buffer.extend_from_slice(taken);
        if self.buffer.len() < total {
            return (behind, 0);
        }
        let damaged = match self.buffer.split_last_chunk::<CRC_BYTES>() {
            Some((section, sum)) if crc(section) == u32::from_be_bytes(*sum) => {
                each(section);
                0
            }
            _ => 1,
        };
        self.buffer.clear();
        (behind, damaged)
    }
}

/// The checksum of annex A: CRC-32 of polynomial 0x04c11db7, from the highest bit, beginning with ones, not inverted.
pub(super) fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| crc << 8 ^ CRC_TABLE[usize::from((crc >> 24) as u8 ^ byte)])
}

static CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000_0000 == 0 { crc << 1 } else { crc << 1 ^ 0x04c1_1db7 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ts::PACKET_BYTES;

    /// A section of `length` bytes in all, with its checksum.
    fn section(length: usize) -> Vec<u8> {
        let body = length - HEADER_BYTES;
        let mut section = vec![2, 0xb0 | (body >> 8) as u8, body as u8];
        section.extend((3..length - CRC_BYTES).map(|at| at as u8));
        section.extend(crc(&section).to_be_bytes());
        section
    }

    fn packet(counter: u8, unit_start: bool, payload: &[u8]) -> [u8; PACKET_BYTES] {
        let mut bytes = [0xff; PACKET_BYTES];
        bytes[..4].copy_from_slice(&[0x47, if unit_start { 0x40 } else { 0 }, 0, 0x10 | counter]);
        bytes[4..4 + payload.len()].copy_from_slice(payload);
        bytes
    }

    /// Lengths of the sections that came out, without their checksums; and how many were damaged.
    fn push(sections: &mut Sections, packets: &[[u8; PACKET_BYTES]]) -> (Vec<usize>, u64) {
        let mut lengths = Vec::new();
        let packets = packets.iter().map(|bytes| Packet::parse(bytes).expect("good"));
        let damaged = packets.map(|packet| sections.push(&packet, |section| lengths.push(section.len()))).sum();
        (lengths, damaged)
    }

    /// `bytes` behind a pointer of zero, in packets from counter 0 on.
    fn packets(bytes: &[u8]) -> Vec<[u8; PACKET_BYTES]> {
        let all = [&[0], bytes].concat();
        let chunks = all.chunks(184).enumerate();
        chunks.map(|(index, chunk)| packet(index as u8, index == 0, chunk)).collect()
    }

    #[test]
    fn the_checksum_of_ffmpegs_pat() {
        let pat = [0, 0xb0, 0x0d, 0, 1, 0xc1, 0, 0, 0, 1, 0xf0, 0];
        assert_eq!(crc(&pat), 0x2ab1_04b2);
    }

    #[test]
    fn sections_over_several_packets_and_several_in_one() {
        let mut sections = Sections::default();
        assert_eq!(push(&mut sections, &packets(&section(1_024))), (vec![1_020], 0));
        let two = [section(100), section(300)].concat();
        assert_eq!(push(&mut Sections::default(), &packets(&two)), (vec![96, 296], 0));
        // the end of one, the pointer, and the start of the next in one packet
        let long = section(200);
        let first = packet(0, true, &[&[0], &long[..183]].concat());
        let second = packet(1, true, &[&[17], &long[183..], &section(30)].concat());
        assert_eq!(push(&mut Sections::default(), &[first, second]), (vec![196, 26], 0));
        // a header cut after its first byte
        let two = [section(182), section(300)].concat();
        assert_eq!(push(&mut Sections::default(), &packets(&two)), (vec![178, 296], 0));
    }

    #[test]
    fn a_gap_drops_what_had_begun() {
        let mut sections = Sections::default();
        let mut lost = packets(&section(500));
        lost.remove(1);
        assert_eq!(push(&mut sections, &lost), (vec![], 0));
        let twice: Vec<_> = packets(&section(500)).into_iter().flat_map(|packet| [packet, packet]).collect();
        assert_eq!(push(&mut Sections::default(), &twice), (vec![496], 0), "a packet may be sent twice");
        sections.interrupt();
        assert_eq!((push(&mut sections, &packets(&section(500))), sections.held()), ((vec![496], 0), 0));
    }

    #[test]
    fn damaged_sections_are_counted() {
        let mut bad = section(100);
        bad[50] ^= 1;
        assert_eq!(push(&mut Sections::default(), &packets(&bad)), (vec![], 1), "checksum");
        let mut long = section(100);
        long[1] = 0xbf;
        assert_eq!(push(&mut Sections::default(), &packets(&long)), (vec![], 1), "too long");
        assert_eq!(push(&mut Sections::default(), &packets(&[2, 0xb0, 3, 1, 2, 3])), (vec![], 1), "too short");
        assert_eq!(push(&mut Sections::default(), &[packet(0, true, &[184])]), (vec![], 1), "pointer beyond the end");
        let open = packet(0, true, &[&[0], &section(300)[..183]].concat());
        let next = packet(1, true, &[&[0], &section(40)[..]].concat());
        assert_eq!(push(&mut Sections::default(), &[open, next]), (vec![36], 1), "another begins before its end");
    }
}
