//! The simple handshake (RTMP 1.0 section 5.2), server side, from any split of bytes.
//!
//! S0, S1 and S2 go out when C1 is whole. C2 is waited for and not checked: nothing depends on it, and replayed captures
//! echo another server's S1. The digest form that Flash players want is not spoken; encoders that offer it (FFmpeg) accept
//! the simple answer.

use bytes::{Buf, Bytes, BytesMut};

use super::RtmpError;

/// The only version (C0, S0).
pub const VERSION: u8 = 3;
/// Length of C1, S1, C2 and S2 in bytes.
pub const PACKET_BYTES: usize = 1536;

/// The server's half of a handshake.
#[derive(Debug)]
pub struct ServerHandshake {
    step: Step,
}

#[derive(Debug)]
enum Step {
    Version,
    /// Bytes of C1 so far.
    Packet(BytesMut),
    /// Bytes of C2 still to come.
    Echo(usize),
    Done,
}

impl Default for ServerHandshake {
    fn default() -> Self {
        ServerHandshake { step: Step::Version }
    }
}

impl ServerHandshake {
    /// Takes from `input` what belongs to the handshake and appends the answer to `output`. True when the handshake is
    /// over; what is left in `input` then belongs to the chunk layer.
    ///
    /// # Errors
    /// [`RtmpError::Version`] if C0 is not 3.
    pub fn receive(&mut self, input: &mut Bytes, output: &mut BytesMut) -> Result<bool, RtmpError> {
        loop {
            match &mut self.step {
                Step::Done => return Ok(true),
                _ if input.is_empty() => return Ok(false),
                Step::Version => {
                    let version = input.get_u8();
                    if version != VERSION {
                        return Err(RtmpError::Version(version));
                    }
                    self.step = Step::Packet(BytesMut::with_capacity(PACKET_BYTES));
                }
                Step::Packet(packet) => {
                    let take = input.len().min(PACKET_BYTES - packet.len());
                    packet.extend_from_slice(&input.split_to(take));
                    if packet.len() == PACKET_BYTES {
                        output.extend_from_slice(&[VERSION]);
                        output.extend_from_slice(&packet_with_filler());
                        output.extend_from_slice(packet); // S2 is C1's echo
                        self.step = Step::Echo(PACKET_BYTES);
                    }
                }
                Step::Echo(missing) => {
                    let take = input.len().min(*missing);
                    input.advance(take);
                    *missing -= take;
                    if *missing == 0 {
                        self.step = Step::Done;
                    }
                }
            }
        }
    }
}

/// C1 or S1: time 0, the zero field of the simple form, and filler that looks random but need not be: its only purpose in
/// the specification is that an echo can be told from another connection's.
pub(super) fn packet_with_filler() -> [u8; PACKET_BYTES] {
    let mut packet = [0; PACKET_BYTES];
    let mut state: u32 = 0x9E37_79B9;
    for byte in &mut packet[8..] {
        state ^= state << 13; // xorshift32
        state ^= state >> 17;
        state ^= state << 5;
        *byte = state.to_le_bytes()[0];
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_bytes() -> Vec<u8> {
        let packet: Vec<u8> = (0..PACKET_BYTES).map(|n| (n % 251) as u8).collect();
        let mut bytes = vec![VERSION];
        bytes.extend(&packet);
        bytes.extend(vec![0xAA; PACKET_BYTES]); // a C2 that echoes nothing of ours
        bytes.extend(b"rest");
        bytes
    }

    #[test]
    fn any_split_gives_the_same_answer_and_leaves_the_rest() {
        let bytes = client_bytes();
        let mut expected = vec![VERSION];
        expected.extend(packet_with_filler());
        expected.extend(&bytes[1..=PACKET_BYTES]);
        for step in [1, 7, 1536, 1537, 3072, bytes.len()] {
            let (mut handshake, mut output, mut rest) = (ServerHandshake::default(), BytesMut::new(), Vec::new());
            for piece in bytes.chunks(step) {
                let mut piece = Bytes::copy_from_slice(piece);
                if handshake.receive(&mut piece, &mut output).expect("version 3") {
                    rest.extend(piece);
                }
            }
            assert_eq!(rest, b"rest", "step {step}");
            assert_eq!(output, expected, "step {step}");
        }
    }

    #[test]
    fn the_answer_waits_for_the_whole_of_c1_and_not_for_c2() {
        let (mut handshake, mut output) = (ServerHandshake::default(), BytesMut::new());
        let mut all_but_one = Bytes::from(client_bytes()).slice(..PACKET_BYTES);
        assert_eq!(handshake.receive(&mut all_but_one, &mut output), Ok(false));
        assert!(output.is_empty());
        assert_eq!(handshake.receive(&mut Bytes::from_static(&[1]), &mut output), Ok(false));
        assert_eq!(output.len(), 1 + 2 * PACKET_BYTES);
    }

    #[test]
    fn encrypted_and_unknown_versions_are_refused() {
        for version in [0, 2, 6, 8, b'G'] {
            let mut output = BytesMut::new();
            let result = ServerHandshake::default().receive(&mut Bytes::from(vec![version]), &mut output);
            assert_eq!(result, Err(RtmpError::Version(version)));
            assert!(output.is_empty());
        }
    }
}
