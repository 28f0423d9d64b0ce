//! Choices that a target takes from the fuzzer's bytes.
#![allow(dead_code)] // each target uses its part

/// Takes values off the front of the input; behind its end everything is zero.
pub struct Source<'a> {
    rest: &'a [u8],
}

impl<'a> Source<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Source { rest: data }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn u8(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    pub fn bool(&mut self) -> bool {
        self.u8() & 1 == 1
    }

    pub fn u16(&mut self) -> u16 {
        self.bytes(2).iter().fold(0, |value, byte| value << 8 | u16::from(*byte))
    }

    pub fn u32(&mut self) -> u32 {
        self.bytes(4).iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
    }

    pub fn u64(&mut self) -> u64 {
        u64::from(self.u32()) << 32 | u64::from(self.u32())
    }

    /// At most `count` bytes: what is left.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}

/// Cuts `bytes` into pieces whose lengths follow from `seed`: many short ones, some long.
pub fn pieces(bytes: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut state = u32::from(seed).wrapping_mul(0x9e37_79b9) | 1;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        state ^= state << 13; // xorshift32
        state ^= state >> 17;
        state ^= state << 5;
        let length = match state & 7 {
            0 => 1,
            1..=4 => 1 + (state >> 8 & 0xf) as usize,
            _ => 1 + (state >> 8 & 0x3ff) as usize,
        };
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        rest = behind;
        Some(piece)
    })
}

/// What is told to a publisher or written to a log: one line, of a length that fits there.
pub fn assert_tellable(text: &str) {
    assert!(text.len() <= 400, "{} bytes of text: {text}", text.len());
    assert!(!text.chars().any(char::is_control), "control characters in {text:?}");
}
