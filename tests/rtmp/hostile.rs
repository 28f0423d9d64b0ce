//! Damaged captures: no panic, no memory beyond the limits, and always an end.
//!
//! The mutations are seeded, so a failure repeats. A failing round is printed with its seed.

use crate::support::{CAPTURES, capture};
use bytes::Bytes;
use millstream::wire::rtmp::{Limits, Phase, Server};

const ROUNDS: u64 = 20_000;
/// Handshake, all commands, sequence headers and the first frames.
const PREFIX_BYTES: usize = 3073 + 5_000;
/// Where the chunks begin: most mutations belong there.
const HANDSHAKE_BYTES: usize = 3073;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// One to eight changes: bits flipped, bytes set to extremes, pieces dropped, doubled, moved, and the end cut.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(8) {
        let from = if random.below(50) == 0 { 0 } else { HANDSHAKE_BYTES };
        if bytes.len() <= from + 64 {
            return;
        }
        // Half of the changes hit the commands.
        let reach = if random.below(2) == 0 { (bytes.len() - from).min(600) } else { bytes.len() - from };
        let at = from + random.below(reach - 32);
        let length = 1 + random.below(31);
        match random.below(7) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = [0, 1, 2, 3, 0x7F, 0x80, 0xC2, 0xFF][random.below(8)],
            2 => bytes[at] = random.next() as u8,
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let piece = bytes[at..at + length].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let piece: Vec<u8> = bytes.drain(at..at + length).collect();
                let to = from + random.below(bytes.len() - from);
                bytes.splice(to..to, piece);
            }
            _ => bytes.truncate(at.max(from + random.below(bytes.len() - from))),
        }
    }
}

#[test]
fn twenty_thousand_damaged_captures_end_in_events_or_errors() {
    let sources = CAPTURES.map(|name| capture(name).slice(..PREFIX_BYTES).to_vec());
    // Small limits, so that mutated lengths and ids meet them.
    let limits = Limits {
        message_bytes: 100_000,
        chunk_streams: 8,
        partial_bytes: 200_000,
        command_bytes: 4_096,
        output_bytes: 20_000,
        stranger_bytes: 50_000,
    };
    let (mut refused, mut whole) = (0, 0);
    for round in 0..ROUNDS {
        let mut random = Random(round);
        let mut bytes = sources[random.below(sources.len())].clone();
        mutate(&mut bytes, &mut random);
        let outcome = std::panic::catch_unwind(move || feed(bytes.into(), limits, random));
        match outcome.unwrap_or_else(|_| panic!("round {round} panicked")) {
            Phase::Ended => refused += 1,
            _ => whole += 1,
        }
    }
    assert!(
        refused > ROUNDS / 20 && whole > ROUNDS / 20,
        "mutations are neither all fatal nor all harmless: {refused}, {whole}"
    );
}

fn feed(bytes: Bytes, limits: Limits, mut random: Random) -> Phase {
    let mut server = Server::new(limits);
    let mut events = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let piece = rest.split_to((1 + random.below(2_000)).min(rest.len()));
        let received = server.receive(piece, &mut events).and_then(|()| server.accept_publish(&mut events));
        assert!(server.held_bytes() <= limits.partial_bytes, "{} bytes held", server.held_bytes());
        assert!(server.take_output().len() <= limits.output_bytes + 8_192, "answers are bounded");
        if received.is_err() {
            assert_eq!(server.phase(), Phase::Ended);
        }
        events.clear();
    }
    server.phase()
}
