//! A small mutator: what it makes of a corpus follows from a number and from nothing else.

/// Longest input that is made.
const MAX_BYTES: usize = 16 * 1_024;
/// Values at which lengths and counts break.
const EDGES: [u32; 10] = [0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];

/// One of the files, with 1 to 8 changes.
pub fn mutate(files: &[&[u8]], seed: u64) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d);
    let mut bytes = files[random.below(files.len())].to_vec();
    for _ in 0..=random.below(8) {
        change(&mut bytes, files, &mut random);
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

fn change(bytes: &mut Vec<u8>, files: &[&[u8]], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let length = 1 + random.below((bytes.len() - at).clamp(1, 64));
    let end = (at + length).min(bytes.len());
    match random.below(8) {
        0 | 1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        2 if at < bytes.len() => bytes[at] = random.below(256) as u8,
        3 => {
            bytes.splice(at..at, (0..length).map(|_| random.below(256) as u8));
        }
        4 => {
            bytes.drain(at..end);
        }
        5 => {
            let copy = bytes[at..end].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, copy);
        }
        6 => {
            let edge = EDGES[random.below(EDGES.len())].to_be_bytes();
            let width = [1, 2, 3, 4][random.below(4)];
            let end = (at + width).min(bytes.len());
            bytes.splice(at..end, edge[4 - width..].iter().copied());
        }
        _ => {
            let other = files[random.below(files.len())];
            let from = random.below(other.len() + 1);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
    }
}

/// splitmix64
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % bound.max(1) as u64) as usize
    }
}
