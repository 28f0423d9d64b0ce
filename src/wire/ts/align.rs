//! Where packets begin: bytes in any cut to packets of 188 bytes.
//!
//! A packet begins where the one before ended. At the start, behind a loss, and where a sync byte is missing, the next place is
//! taken that has sync bytes at [`SYNCS`] distances of 188. What a place is taken for depends on the bytes behind it alone, not on
//! how they were cut.

use super::packet::SYNC;
use super::{PACKET_BYTES, TsError};

/// Sync bytes that confirm a place: by chance one of 2^40 has them.
const SYNCS: usize = 5;
/// Sizes that are told apart from noise to be refused in words: a time code in front, error correction behind.
const OTHER_SIZES: [usize; 2] = [192, 204];
/// Bytes that the question needs, for the longest size too.
const WINDOW_BYTES: usize = (SYNCS - 1) * 204 + 1;
/// Most bytes that are held: more than a window, so that a search moves in long steps.
pub(super) const HELD_BYTES: usize = 4 * 1_024;
/// Without a packet in so many bytes, this is no transport stream.
const NO_STREAM_BYTES: usize = 64 * 1_024;

/// What is found, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A packet; it begins with the sync byte.
    Packet(&'a [u8; PACKET_BYTES]),
    /// Packets were found again; something between them may be missing.
    Again,
    /// It will not be found.
    Refused(TsError),
}

/// Finds packets.
#[derive(Debug, Default)]
pub(super) struct Aligner {
    /// Locked: the beginning of a packet that is not all there. Searching: bytes of which is not known yet what they are.
    held: Vec<u8>,
    locked: bool,
    /// There were packets before.
    locked_once: bool,
    refused: bool,
    /// Bytes passed over.
    pub skipped: u64,
}

impl Aligner {
    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, mut bytes: &[u8], found: &mut impl FnMut(Found<'_>)) {
        while !bytes.is_empty() {
            if !self.locked {
                let (taken, behind) = bytes.split_at(bytes.len().min(HELD_BYTES - self.held.len()));
                self.held.extend_from_slice(taken);
                bytes = behind;
                self.search(found);
            } else if self.held.is_empty() {
                bytes = self.whole_packets(bytes, found);
                if self.locked {
                    self.held.extend_from_slice(bytes);
                    return;
                }
            } else {
                let (taken, behind) = bytes.split_at(bytes.len().min(PACKET_BYTES - self.held.len()));
                self.held.extend_from_slice(taken);
                bytes = behind;
                self.held_packets(found);
            }
        }
    }

    /// Something behind the bytes so far did not arrive, or nothing more comes.
    pub(super) fn interrupt(&mut self, found: &mut impl FnMut(Found<'_>)) {
        if !self.locked {
            self.settle(found);
        }
        self.skip(self.held.len());
        self.locked = false;
    }

    /// Hands on the packets that `bytes` begins with, and returns the rest: less than a packet, or one without its sync byte.
    fn whole_packets<'a>(&mut self, mut bytes: &'a [u8], found: &mut impl FnMut(Found<'_>)) -> &'a [u8] {
        while let Some((packet, behind)) = bytes.split_first_chunk() {
            if packet[0] != SYNC {
                self.locked = false;
                break;
            }
            found(Found::Packet(packet));
            bytes = behind;
        }
        bytes
    }

    /// The same with what is held.
    fn held_packets(&mut self, found: &mut impl FnMut(Found<'_>)) {
        let held = std::mem::take(&mut self.held);
        let left = self.whole_packets(&held, found).len();
        let done = held.len() - left;
        self.held = held;
        self.held.drain(..done);
    }

    /// Looks for packets in what is held, as far as can be told.
    fn search(&mut self, found: &mut impl FnMut(Found<'_>)) {
        while !self.locked {
            match self.held.windows(WINDOW_BYTES).position(|window| self.size_at(window).is_some()) {
                Some(0) => match self.size_at(&self.held) {
                    Some(PACKET_BYTES) => self.lock(found),
                    Some(other) => {
                        self.refused = true;
                        found(Found::Refused(TsError::PacketSize(other)));
                    }
                    None => return, // as was just seen, it is not
                },
                // Asked again from there: what is passed over may have been refused.
                Some(at) => self.pass(at, found),
                None => return self.pass(self.held.len().saturating_sub(WINDOW_BYTES - 1), found),
            }
        }
    }

    /// The size of the packets that `bytes` begin with. Of sizes that are refused it is of interest until somebody was told.
    fn size_at(&self, bytes: &[u8]) -> Option<usize> {
        let others = OTHER_SIZES.into_iter().filter(|_| !self.locked_once && !self.refused);
        std::iter::once(PACKET_BYTES).chain(others).find(|size| has_syncs(bytes, *size))
    }

    fn pass(&mut self, count: usize, found: &mut impl FnMut(Found<'_>)) {
        self.skip(count);
        self.tell_no_stream(found);
    }

    fn tell_no_stream(&mut self, found: &mut impl FnMut(Found<'_>)) {
        if !self.locked_once && !self.refused && self.skipped >= NO_STREAM_BYTES as u64 {
            self.refused = true;
            found(Found::Refused(TsError::NotTransportStream(NO_STREAM_BYTES)));
        }
    }

    /// Takes what is held for packets where all sync bytes that can be there are there: nothing more will tell.
    fn settle(&mut self, found: &mut impl FnMut(Found<'_>)) {
        let fits = |at: &usize| {
            let rest = &self.held[*at..];
            let whole = rest.len() / PACKET_BYTES;
            let ends = rest.len().is_multiple_of(PACKET_BYTES);
            (whole > 2 || whole > 1 && ends) && rest.iter().step_by(PACKET_BYTES).all(|byte| *byte == SYNC)
        };
        let place = (0..self.held.len()).find(fits);
        if let Some(at) = place {
            self.skip(at);
            self.lock(found);
        }
    }

    fn lock(&mut self, found: &mut impl FnMut(Found<'_>)) {
        self.locked = true;
        if std::mem::replace(&mut self.locked_once, true) {
            found(Found::Again);
        }
        self.held_packets(found);
    }

    fn skip(&mut self, count: usize) {
        self.held.drain(..count);
        self.skipped += count as u64;
    }
}

/// Whether sync bytes stand `size` bytes from each other, as far as [`SYNCS`] of them reach.
fn has_syncs(bytes: &[u8], size: usize) -> bool {
    bytes.iter().step_by(size).take(SYNCS).all(|byte| *byte == SYNC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What was found: packets by the number they carry.
    #[derive(Debug, PartialEq, Eq, Clone)]
    enum Seen {
        Packet(u8),
        Again,
        Refused(TsError),
    }

    fn packets(numbers: std::ops::Range<u8>) -> Vec<u8> {
        numbers
            .flat_map(|number| {
                let mut packet = [number; PACKET_BYTES];
                packet[0] = SYNC;
                packet
            })
            .collect()
    }

    fn seen(aligner: &mut Aligner, pieces: &[&[u8]]) -> Vec<Seen> {
        let mut seen = Vec::new();
        let mut note = |found: Found<'_>| {
            seen.push(match found {
                Found::Packet(packet) => Seen::Packet(packet[1]),
                Found::Again => Seen::Again,
                Found::Refused(error) => Seen::Refused(error),
            });
        };
        for piece in pieces {
            aligner.push(piece, &mut note);
        }
        seen
    }

    fn all(numbers: std::ops::Range<u8>) -> Vec<Seen> {
        numbers.map(Seen::Packet).collect()
    }

    #[test]
    fn packets_in_any_cut() {
        let bytes = packets(0..20);
        for length in [1, 5, 187, 188, 189, 1_316, bytes.len()] {
            let mut aligner = Aligner::default();
            let pieces: Vec<&[u8]> = bytes.chunks(length).collect();
            assert_eq!(seen(&mut aligner, &pieces), all(0..20), "pieces of {length}");
            assert_eq!((aligner.skipped, aligner.held()), (0, 0));
        }
    }

    #[test]
    fn an_unaligned_start() {
        let bytes = packets(0..20);
        let mut aligner = Aligner::default();
        assert_eq!(seen(&mut aligner, &[&bytes[100..]]), all(1..20));
        assert_eq!(aligner.skipped, 88);
    }

    #[test]
    fn bytes_in_between_are_passed_over() {
        let bytes = [&packets(0..8)[..], &[0x47, 1, 2], &packets(8..16)].concat();
        let mut aligner = Aligner::default();
        // The three bytes begin like a packet, which is seen from the next one on.
        let expected = [all(0..8), vec![Seen::Packet(1), Seen::Again], all(9..16)].concat();
        assert_eq!(seen(&mut aligner, &[&bytes]), expected);
        assert_eq!(aligner.skipped, 3);
    }

    #[test]
    fn behind_a_loss_the_place_is_asked_anew() {
        let bytes = packets(0..20);
        let mut aligner = Aligner::default();
        assert_eq!(seen(&mut aligner, &[&bytes[..1_000]]), all(0..5));
        aligner.interrupt(&mut |found| panic!("{found:?}"));
        assert_eq!(aligner.skipped, 1_000 - 5 * 188);
        let expected = [vec![Seen::Again], all(11..20)].concat();
        assert_eq!(seen(&mut aligner, &[&bytes[2_000..]]), expected);
    }

    #[test]
    fn what_little_there_is_between_losses_is_taken() {
        let mut aligner = Aligner::default();
        assert_eq!(seen(&mut aligner, &[&packets(0..3)]), vec![]);
        let mut seen = Vec::new();
        aligner.interrupt(&mut |found| {
            if let Found::Packet(packet) = found {
                seen.push(packet[1])
            }
        });
        assert_eq!(seen, [0, 1, 2]);
        // one packet alone could be anything
        let mut aligner = Aligner::default();
        aligner.push(&packets(0..1), &mut |found| panic!("{found:?}"));
        aligner.interrupt(&mut |found| panic!("{found:?}"));
        assert_eq!(aligner.skipped, 188);
    }

    #[test]
    fn other_sizes_and_other_bytes_are_refused_once() {
        for (size, expected) in [(192, TsError::PacketSize(192)), (204, TsError::PacketSize(204))] {
            let bytes: Vec<u8> = (0..40).flat_map(|_| (0..size).map(|at| if at == 4 { SYNC } else { 0 })).collect();
            assert_eq!(seen(&mut Aligner::default(), &[&bytes, &bytes]), [Seen::Refused(expected)]);
        }
        let noise = vec![0; 100_000];
        let mut aligner = Aligner::default();
        let expected = [Seen::Refused(TsError::NotTransportStream(65_536))];
        assert_eq!(seen(&mut aligner, &[&noise, &noise]), expected);
        assert!(aligner.held() < HELD_BYTES);
        assert_eq!(seen(&mut aligner, &[&packets(0..9)]), all(0..9), "it may come all the same");
    }

    proptest! {
        #[test]
        fn any_cut_finds_the_same(
            parts in prop::collection::vec((0usize..400, 0u8..12), 1..8),
            noise in prop::collection::vec(prop_oneof![Just(SYNC), any::<u8>()], 400),
            cuts in prop::collection::vec(1usize..900, 1..20),
        ) {
            let bytes: Vec<u8> = parts.iter().flat_map(|(junk, count)| [&noise[..*junk], &packets(0..*count)].concat()).collect();
            let (mut whole, mut cut) = (Aligner::default(), Aligner::default());
            let mut rest = &bytes[..];
            let mut pieces = Vec::new();
            for length in cuts.iter().cycle() {
                let (piece, behind) = rest.split_at(rest.len().min(*length));
                pieces.push(piece);
                rest = behind;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(seen(&mut whole, &[&bytes]), seen(&mut cut, &pieces));
            prop_assert_eq!((whole.skipped, whole.held()), (cut.skipped, cut.held()));
        }
    }
}
