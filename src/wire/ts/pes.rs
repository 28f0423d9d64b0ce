//! PES packets (H.222.0 2.4.3.6): gathered from the payloads of transport packets, in one buffer each.

use bytes::{Bytes, BytesMut};

/// `packet_start_code_prefix`, `stream_id`, `PES_packet_length`.
const FIXED_BYTES: usize = 6;
/// With the flags and `PES_header_data_length`.
const HEADER_BYTES: usize = 9;
/// Room that is asked for where nothing says how long the packet is and none came before.
const FIRST_ROOM_BYTES: usize = 4 * 1_024;
/// Streams without the optional header (2.4.3.7): program stream map, padding, private 2, ECM, EMM, directory, DSM-CC, H.222.1 E.
const STREAMS_WITHOUT_HEADER: [u8; 8] = [0xbc, 0xbe, 0xbf, 0xf0, 0xf1, 0xff, 0xf2, 0xf8];

/// A PES packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pes {
    pub pts: Option<u64>,
    pub dts: Option<u64>,
    pub random_access: bool,
    /// Behind the header; of a packet that is not whole, its beginning.
    pub payload: Bytes,
}

/// What became of a PES packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Whole(Pes),
    /// Its end is missing.
    Cut(Pes),
    /// Nothing of it can be used: no valid header, or a stream of another kind.
    Bad,
    /// `PES_scrambling_control` says so.
    Scrambled,
}

/// Gathers the PES packets of one PID.
#[derive(Debug)]
pub(super) struct Gatherer {
    /// The packet from its start code on.
    buffer: BytesMut,
    open: bool,
    random_access: bool,
    /// The multiplexer had no more to send behind the last payload.
    stuffed: bool,
    max_bytes: usize,
    /// Bytes of the packet before: what room the next one is given.
    length_before: usize,
}

impl Gatherer {
    pub(super) fn new(max_bytes: usize) -> Self {
        Gatherer {
            buffer: BytesMut::new(),
            open: false,
            random_access: false,
            stuffed: false,
            max_bytes,
            length_before: FIRST_ROOM_BYTES,
        }
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.buffer.len()
    }

    /// Begins a packet; the one before must have ended.
    pub(super) fn begin(&mut self, random_access: bool) {
        self.buffer.clear();
        self.buffer.reserve(self.length_before);
        (self.open, self.random_access) = (true, random_access);
    }

    /// Appends a payload; the packet, when it ends with this one.
    pub(super) fn extend(&mut self, payload: &[u8], stuffed: bool) -> Option<Ended> {
        if !self.open {
            return None;
        }
        self.stuffed = stuffed;
        if self.buffer.len() + payload.len() > self.max_bytes {
            return self.interrupt();
        }
        self.buffer.extend_from_slice(payload);
        if !self.buffer.starts_with(&[0, 0, 1][..self.buffer.len().min(3)]) {
            self.close();
            return Some(Ended::Bad);
        }
        let total = self.total()?;
        if self.buffer.len() < total {
            return None;
        }
        self.buffer.truncate(total);
        Some(self.end(true))
    }

    /// Another packet begins: this one has ended, if its length does not say otherwise.
    pub(super) fn end_before_next(&mut self) -> Option<Ended> {
        if !self.open {
            return None;
        }
        let whole = self.total().is_none() && self.buffer.len() >= FIXED_BYTES;
        Some(self.end(whole))
    }

    /// Nothing follows. A packet without a length is whole if the multiplexer filled up its last transport packet.
    pub(super) fn finish(&mut self) -> Option<Ended> {
        if !self.open {
            return None;
        }
        let whole = self.total().is_none() && self.buffer.len() >= FIXED_BYTES && self.stuffed;
        Some(self.end(whole))
    }

    /// Something is missing behind what came so far.
    pub(super) fn interrupt(&mut self) -> Option<Ended> {
        self.open.then(|| self.end(false))
    }

    /// Bytes of the whole packet, if it says them.
    fn total(&self) -> Option<usize> {
        let [_, _, _, _, high, low, ..] = self.buffer[..] else { return None };
        match usize::from(high) << 8 | usize::from(low) {
            0 => None,
            length => Some(FIXED_BYTES + length),
        }
    }

    fn close(&mut self) {
        self.buffer.clear();
        self.open = false;
    }

    fn end(&mut self, whole: bool) -> Ended {
        self.open = false;
        self.length_before = self.buffer.len();
        let packet = self.buffer.split().freeze();
        let Some(header) = read_header(&packet) else { return Ended::Bad };
        if header.scrambled {
            return Ended::Scrambled;
        }
        let pes = Pes {
            pts: header.pts,
            dts: header.dts,
            random_access: self.random_access,
            payload: packet.slice(header.bytes..),
        };
        if whole { Ended::Whole(pes) } else { Ended::Cut(pes) }
    }
}

struct Header {
    bytes: usize,
    scrambled: bool,
    pts: Option<u64>,
    dts: Option<u64>,
}

fn read_header(packet: &[u8]) -> Option<Header> {
    let fixed: &[u8; HEADER_BYTES] = packet.first_chunk()?;
    if STREAMS_WITHOUT_HEADER.contains(&fixed[3]) || fixed[6] >> 6 != 2 {
        return None;
    }
    let bytes = HEADER_BYTES + usize::from(fixed[8]);
    let fields = packet.get(HEADER_BYTES..bytes)?;
    let stamp = |at| fields.get(at..at + 5).map(read_stamp);
    let flags = fixed[7] >> 6;
    let pts = if flags & 2 == 0 { None } else { stamp(0) };
    let dts = if flags == 3 { stamp(5) } else { None };
    Some(Header { bytes, scrambled: fixed[6] & 0x30 != 0, pts, dts })
}

/// 33 bits in three parts, each before a marker bit.
fn read_stamp(bytes: &[u8]) -> u64 {
    let byte = |at: usize| u64::from(bytes[at]);
    (byte(0) >> 1 & 7) << 30 | byte(1) << 22 | (byte(2) >> 1) << 15 | byte(3) << 7 | byte(4) >> 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A PES packet of video with both stamps.
    fn packet(length: u16, payload: &[u8]) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        let head = [0, 0, 1, 0xe0, high, low, 0x80, 0xc0, 10];
        let stamps = [0x31, 0, 0x09, 0x07, 0x41, 0x11, 0, 0x07, 0xd8, 0x61];
        [&head[..], &stamps, payload].concat()
    }

    fn pes(payload: &'static [u8]) -> Pes {
        Pes { pts: Some(132_000), dts: Some(126_000), random_access: true, payload: Bytes::from_static(payload) }
    }

    fn begun() -> Gatherer {
        let mut gatherer = Gatherer::new(300);
        gatherer.begin(true);
        gatherer
    }

    #[test]
    fn a_length_ends_it() {
        let packet = packet(13 + 5, b"hello, and more");
        for cut in 1..packet.len() - 10 {
            let mut gatherer = begun();
            assert_eq!(gatherer.extend(&packet[..cut], false), None, "cut at {cut}");
            assert_eq!(gatherer.extend(&packet[cut..], false), Some(Ended::Whole(pes(b"hello"))));
            assert_eq!((gatherer.extend(b"more", false), gatherer.end_before_next(), gatherer.held()), (None, None, 0));
        }
    }

    #[test]
    fn without_a_length_the_next_one_ends_it() {
        let mut gatherer = begun();
        assert_eq!(gatherer.extend(&packet(0, b"hel"), false), None);
        assert_eq!(gatherer.extend(b"lo", false), None);
        assert_eq!(gatherer.end_before_next(), Some(Ended::Whole(pes(b"hello"))));
        for (stuffed, expected) in [(true, Ended::Whole(pes(b"hello"))), (false, Ended::Cut(pes(b"hello")))] {
            let mut gatherer = begun();
            gatherer.extend(&packet(0, b"hello"), stuffed);
            assert_eq!(gatherer.finish(), Some(expected));
        }
    }

    #[test]
    fn what_is_missing_is_told() {
        let mut gatherer = begun();
        gatherer.extend(&packet(13 + 6, b"hello"), true);
        assert_eq!(gatherer.end_before_next(), Some(Ended::Cut(pes(b"hello"))), "shorter than it said");
        let mut gatherer = begun();
        gatherer.extend(&packet(0, b"hello"), true);
        assert_eq!(gatherer.interrupt(), Some(Ended::Cut(pes(b"hello"))));
        assert_eq!(gatherer.extend(b"more", false), None);
        let mut gatherer = begun();
        gatherer.extend(&packet(0, b"hello"), true);
        assert_eq!(gatherer.extend(&[0; 300], true), Some(Ended::Cut(pes(b"hello"))), "too long");
    }

    #[test]
    fn what_is_no_pes_packet() {
        assert_eq!(begun().extend(&[0, 0, 2], false), Some(Ended::Bad));
        let mut bad = packet(0, b"hello");
        bad[6] = 0x40;
        let mut gatherer = begun();
        gatherer.extend(&bad, false);
        assert_eq!(gatherer.end_before_next(), Some(Ended::Bad), "no marker bits");
        bad[6] = 0x90;
        gatherer.begin(true);
        gatherer.extend(&bad, false);
        assert_eq!(gatherer.end_before_next(), Some(Ended::Scrambled));
        bad[3] = 0xbe;
        gatherer.begin(true);
        gatherer.extend(&bad, false);
        assert_eq!(gatherer.end_before_next(), Some(Ended::Bad), "padding");
    }

    #[test]
    fn stamps() {
        let stamped = |flags: u8, length: u8| {
            let mut bytes = packet(0, b"");
            (bytes[7], bytes[8]) = (flags, length);
            read_header(&bytes).map(|header| (header.pts, header.dts, header.bytes))
        };
        assert_eq!(stamped(0x80, 10), Some((Some(132_000), None, 19)));
        assert_eq!(stamped(0x00, 10), Some((None, None, 19)));
        assert_eq!(stamped(0x40, 10), Some((None, None, 19)), "forbidden");
        assert_eq!(stamped(0xc0, 9), Some((Some(132_000), None, 18)), "no room for the second");
        assert_eq!(stamped(0xc0, 11), None, "header behind the end");
        assert_eq!(read_stamp(&[0x0f, 0xff, 0xff, 0xff, 0xff]), (1 << 33) - 1);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 1..8)) {
            let mut gatherer = begun();
            for part in &parts {
                gatherer.extend(part, false);
                prop_assert!(gatherer.held() <= 300);
            }
            gatherer.finish();
            let mut gatherer = begun();
            for part in [&[vec![0, 0, 1, 0xe0, 0, 0]], &parts[..]].concat() {
                gatherer.extend(&part, false);
            }
            gatherer.finish();
        }
    }
}
