//! LATM in LOAS (ISO/IEC 14496-3 1.7): AAC as DVB carries it, with the configuration in band.
//!
//! What broadcast encoders write is read: one program, one layer, frames of variable length (`frameLengthType` 0), multiplex
//! version 0 or 1. All else is refused in words.

use bytes::Bytes;

use super::{AacError, parse};
use crate::media::codec::bits::BitReader;

/// Bytes of the LOAS header: sync word and length.
pub const LOAS_HEADER_BYTES: usize = 3;
/// `syncword` of AudioSyncStream, 11 bits (table 1.36).
const SYNC: u16 = 0x2b7;

/// Why an AudioMuxElement is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LatmError {
    /// The bytes end inside of a field, or a length points behind them.
    #[error("LATM element is cut off")]
    Truncated,
    /// A multiplex that no broadcast encoder writes.
    #[error("LATM with {0} is not supported: set the encoder to one AAC program in ADTS or plain LATM")]
    Layout(&'static str),
    /// What is inside is not taken.
    #[error(transparent)]
    Aac(#[from] AacError),
}

/// Bytes of the AudioMuxElement behind the LOAS header that `bytes` begins with; `None` when there is none.
pub fn loas_length(bytes: &[u8]) -> Option<usize> {
    let [a, b, c] = *bytes.first_chunk::<LOAS_HEADER_BYTES>()?;
    let word = u32::from(a) << 16 | u32::from(b) << 8 | u32::from(c);
    (word >> 13 == u32::from(SYNC)).then_some((word & 0x1fff) as usize)
}

/// What a StreamMuxConfig says (table 1.42).
#[derive(Clone, Debug, PartialEq, Eq)]
struct MuxConfig {
    config: Bytes,
    /// Frames in each element, at least 1.
    frames: u32,
}

/// Reads AudioMuxElements one after the other; the configuration of one holds for those behind it.
#[derive(Clone, Debug, Default)]
pub struct LatmReader {
    mux: Option<MuxConfig>,
}

impl LatmReader {
    /// AudioSpecificConfig in force, padded to whole bytes; `None` before the first one came.
    pub fn config(&self) -> Option<&Bytes> {
        self.mux.as_ref().map(|mux| &mux.config)
    }

    /// The raw frames of one AudioMuxElement, in order. Before the first configuration there are none.
    ///
    /// # Errors
    /// The element is cut off or of a form that is not supported.
    pub fn read(&mut self, element: &[u8]) -> Result<Vec<Bytes>, LatmError> {
        let mut bits = BitReader::new(element);
        if !bits.flag().ok_or(LatmError::Truncated)? {
            self.mux = None; // what cannot be read must not leave the one before in force
            self.mux = Some(read_mux_config(&mut bits)?);
        }
        let count = self.mux.as_ref().map_or(0, |mux| mux.frames);
        let mut frame = || {
            let length = read_payload_length(&mut bits)?;
            octets(&mut bits, length * 8)
        };
        (0..count).map(|_| frame().ok_or(LatmError::Truncated)).collect()
    }
}

fn read_mux_config(bits: &mut BitReader<'_>) -> Result<MuxConfig, LatmError> {
    let cut = || LatmError::Truncated;
    let version = bits.flag().ok_or_else(cut)?;
    if version {
        if bits.flag().ok_or_else(cut)? {
            return Err(LatmError::Layout("audioMuxVersionA 1"));
        }
        read_value(bits).ok_or_else(cut)?; // taraBufferFullness
    }
    if !bits.flag().ok_or_else(cut)? {
        return Err(LatmError::Layout("streams of different framing"));
    }
    let frames = bits.bits(6).ok_or_else(cut)? + 1;
    if bits.bits(4).ok_or_else(cut)? != 0 {
        return Err(LatmError::Layout("several programs"));
    }
    if bits.bits(3).ok_or_else(cut)? != 0 {
        return Err(LatmError::Layout("several layers"));
    }
    let length = if version { Some(read_value(bits).ok_or_else(cut)? as usize) } else { None };
    let length = match length {
        Some(length) => length,
        None => {
            // Its own fields say where it ends, but for a program config element, which is not read to its end.
            let mut behind = bits.clone();
            if parse(&mut behind)?.channel_configuration == 0 {
                return Err(AacError::ChannelConfiguration(0).into());
            }
            bits.remaining() - behind.remaining()
        }
    };
    let config = octets(bits, length).ok_or_else(cut)?;
    parse(&mut BitReader::new(&config))?;
    if bits.bits(3).ok_or_else(cut)? != 0 {
        return Err(LatmError::Layout("frames of a fixed length"));
    }
    bits.skip(8).ok_or_else(cut)?; // latmBufferFullness
    if bits.flag().ok_or_else(cut)? {
        // otherData lies behind all frames of the element, where nothing is read.
        if version {
            read_value(bits).ok_or_else(cut)?;
        } else {
            while bits.flag().ok_or_else(cut)? {
                bits.skip(8).ok_or_else(cut)?;
            }
            bits.skip(8).ok_or_else(cut)?;
        }
    }
    if bits.flag().ok_or_else(cut)? {
        bits.skip(8).ok_or_else(cut)?; // crcCheckSum
    }
    Ok(MuxConfig { config, frames })
}

/// `LatmGetValue` (table 1.43): 1 to 4 bytes.
fn read_value(bits: &mut BitReader<'_>) -> Option<u32> {
    let bytes = bits.bits(2)? + 1;
    bits.bits(bytes * 8)
}

/// `PayloadLengthInfo` (table 1.44) of frame length type 0: bytes, of which 255 says that more follow.
fn read_payload_length(bits: &mut BitReader<'_>) -> Option<usize> {
    let mut length = 0;
    loop {
        let byte = bits.bits(8)?;
        length += byte as usize;
        if byte != 255 {
            return Some(length);
        }
    }
}

/// The next `count` bits, from the first bit of the first byte on, the last byte filled up with zeros.
fn octets(bits: &mut BitReader<'_>, count: usize) -> Option<Bytes> {
    if bits.remaining() < count {
        return None;
    }
    let mut octets = Vec::with_capacity(count.div_ceil(8));
    for _ in 0..count / 8 {
        octets.push(bits.bits(8)? as u8);
    }
    let left = (count % 8) as u32;
    if left > 0 {
        octets.push((bits.bits(left)? << (8 - left)) as u8);
    }
    Some(octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes of a text of bits; blanks do not count.
    fn bytes(text: &str) -> Vec<u8> {
        let bits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').map(|bit| bit - b'0').collect();
        bits.chunks(8).map(|byte| byte.iter().enumerate().fold(0, |value, (at, bit)| value | bit << (7 - at))).collect()
    }

    /// Version 0, same framing, one frame, program and layer; LC 48 kHz stereo; type 0, fullness 255, no other data, no checksum.
    const CONFIG: &str = "0 1 000000 0000 000  00010 0011 0010 000  000 11111111 0 0";
    const FRAME: &str = "00000010 10101010 01010101";

    #[test]
    fn a_configuration_holds_for_what_follows() {
        let mut reader = LatmReader::default();
        assert_eq!(reader.read(&bytes(&format!("1 {FRAME}"))), Ok(vec![]), "nothing is known yet");
        assert_eq!(reader.config(), None);
        let frame = Bytes::from_static(&[0xaa, 0x55]);
        assert_eq!(reader.read(&bytes(&format!("0 {CONFIG} {FRAME}"))), Ok(vec![frame.clone()]));
        assert_eq!(reader.config(), Some(&Bytes::from_static(&[0x11, 0x90])));
        assert_eq!(reader.read(&bytes(&format!("1 {FRAME}"))), Ok(vec![frame]));
    }

    #[test]
    fn the_first_element_of_ffmpeg() {
        let element = [0x20, 0x00, 0x11, 0x90, 0x1f, 0xe0, 0x08, 0x00];
        let mut reader = LatmReader::default();
        assert_eq!(reader.read(&element).expect("read")[0].len(), 1);
        assert_eq!(reader.config(), Some(&Bytes::from_static(&[0x11, 0x90])));
        assert_eq!(loas_length(&[0x56, 0xe1, 0x28]), Some(0x128));
        assert_eq!((loas_length(&[0x56, 0xe1]), loas_length(&[0x56, 0xc1, 0x28])), (None, None));
    }

    #[test]
    fn version_1_says_how_long_its_configuration_is() {
        // taraBufferFullness 255; 16 bits of configuration, then as before; other data of 8 bits, a checksum
        let config = "1 0 00 11111111  1 000001 0000 000  00 00010000  00010 0011 0010 000  000 11111111 1 00 00001000 1 10011001";
        let mut reader = LatmReader::default();
        let element = bytes(&format!("0 {config} {FRAME} 00000001 11110000"));
        let frames = vec![Bytes::from_static(&[0xaa, 0x55]), Bytes::from_static(&[0xf0])];
        assert_eq!(reader.read(&element), Ok(frames));
        assert_eq!(reader.config(), Some(&Bytes::from_static(&[0x11, 0x90])));
    }

    #[test]
    fn long_frames() {
        let mut reader = LatmReader::default();
        let long = bytes(&format!("0 {CONFIG} 11111111 00000001 {}", "10000001".repeat(256)));
        assert_eq!(reader.read(&long), Ok(vec![Bytes::from(vec![0x81; 256])]));
        assert_eq!(reader.read(&long[..200]), Err(LatmError::Truncated));
    }

    #[test]
    fn refusals() {
        let error = |config: &str| {
            let mut reader = LatmReader::default();
            let error = reader.read(&bytes(&format!("0 {config} {FRAME} {FRAME}"))).expect_err("refused");
            assert_eq!(reader.config(), None);
            error.to_string()
        };
        let layout = |what| {
            format!("LATM with {what} is not supported: set the encoder to one AAC program in ADTS or plain LATM")
        };
        assert_eq!(error("1 1"), layout("audioMuxVersionA 1"));
        assert_eq!(error("0 0"), layout("streams of different framing"));
        assert_eq!(error("0 1 000000 0001 000"), layout("several programs"));
        assert_eq!(error("0 1 000000 0000 001"), layout("several layers"));
        let fixed = "0 1 000000 0000 000  00010 0011 0010 000  001 11111111 0 0";
        assert_eq!(error(fixed), layout("frames of a fixed length"));
        let main = "0 1 000000 0000 000  00001 0011 0010 000  000 11111111 0 0";
        assert_eq!(error(main), "AAC audio object type 1 is not supported: set the encoder to AAC-LC");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(element in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut reader = LatmReader::default();
            let good = bytes(&format!("0 {CONFIG} {FRAME}"));
            prop_assert!(reader.read(&good).is_ok());
            if let Ok(frames) = reader.read(&element) {
                prop_assert!(frames.iter().map(Bytes::len).sum::<usize>() <= element.len());
            }
        }
    }
}
