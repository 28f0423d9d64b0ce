//! The uncompressed header (VP9 6.2 and 7.2), as far as the size of key frames.

use super::Vp9Error;
use crate::media::codec::bits::BitReader;
use crate::media::codec::picture::{COLOUR_UNSPECIFIED, Chroma, Colour};

const CUT_OFF: Vp9Error = Vp9Error::Truncated { what: "frame header" };
const FRAME_MARKER: u32 = 2;
const SYNC_CODE: u32 = 0x49_83_42;
/// `color_space` of sRGB (VP9 7.2.2).
const SPACE_RGB: u32 = 7;
/// `matrix_coefficients` of H.273 for each `color_space` below that; 6 is reserved.
const MATRICES: [u8; 7] = [COLOUR_UNSPECIFIED, 5, 1, 6, 7, 9, COLOUR_UNSPECIFIED];
const MATRIX_IDENTITY: u8 = 0;

/// What a key frame says of its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFrame {
    /// 0 to 3.
    pub profile: u8,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bits per sample: 8, 10 or 12.
    pub bit_depth: u8,
    /// How much colour there is.
    pub chroma: Chroma,
    /// What its numbers mean as colours: the matrix, which is all that VP9 has a word for, and the range.
    pub colour: Colour,
}

/// Whether decoding may start at a frame, or at a superframe: at the first of its frames.
///
/// # Errors
/// It does not begin like a frame of VP9.
pub fn is_keyframe(data: &[u8]) -> Result<bool, Vp9Error> {
    begin(&mut BitReader::new(data)).map(|(_, key)| key)
}

/// The profile, and whether it is a key frame.
fn begin(bits: &mut BitReader<'_>) -> Result<(u8, bool), Vp9Error> {
    if bits.bits(2).ok_or(CUT_OFF)? != FRAME_MARKER {
        return Err(Vp9Error::Marker);
    }
    let low = bits.bits(1).ok_or(CUT_OFF)? as u8;
    let profile = (bits.bits(1).ok_or(CUT_OFF)? as u8) << 1 | low;
    if profile == 3 && bits.flag().ok_or(CUT_OFF)? {
        return Err(Vp9Error::Profile(4));
    }
    if bits.flag().ok_or(CUT_OFF)? {
        return Ok((profile, false)); // show_existing_frame
    }
    let key = !bits.flag().ok_or(CUT_OFF)?;
    bits.skip(2).ok_or(CUT_OFF)?; // show_frame, error_resilient_mode
    Ok((profile, key))
}

impl KeyFrame {
    /// Parses the beginning of a frame or superframe.
    ///
    /// # Errors
    /// It is no key frame, or not one of VP9.
    pub fn parse(data: &[u8]) -> Result<Self, Vp9Error> {
        let mut bits = BitReader::new(data);
        let (profile, key) = begin(&mut bits)?;
        if !key {
            return Err(Vp9Error::NoKeyFrame);
        }
        let sync_code = bits.bits(24).ok_or(CUT_OFF)?;
        if sync_code != SYNC_CODE {
            return Err(Vp9Error::SyncCode(sync_code));
        }
        let bit_depth = match profile >= 2 {
            true if bits.flag().ok_or(CUT_OFF)? => 12,
            true => 10,
            false => 8,
        };
        let (chroma, colour) = samples(&mut bits, profile).ok_or(CUT_OFF)?.ok_or(Vp9Error::Reserved)?;
        let width = bits.bits(16).ok_or(CUT_OFF)? + 1;
        let height = bits.bits(16).ok_or(CUT_OFF)? + 1;
        Ok(KeyFrame { profile, width, height, bit_depth, chroma, colour })
    }
}

/// `color_config` behind the bit depth (VP9 6.2.2). Inner `None`: what the profile does not have.
fn samples(bits: &mut BitReader<'_>, profile: u8) -> Option<Option<(Chroma, Colour)>> {
    let odd = profile & 1 == 1; // profiles with other chroma than 4:2:0
    let space = bits.bits(3)?;
    let (chroma, matrix, full_range) = if space == SPACE_RGB {
        if !odd {
            return Some(None);
        }
        (Chroma::C444, MATRIX_IDENTITY, true)
    } else {
        let full_range = bits.flag()?;
        let chroma = match odd {
            false => Chroma::C420,
            true => match (bits.flag()?, bits.flag()?) {
                (false, _) => Chroma::C444, // 4:4:0 counts as what it can be shown as
                (true, false) => Chroma::C422,
                (true, true) => return Some(None),
            },
        };
        (chroma, MATRICES[space as usize], full_range)
    };
    if odd && bits.flag()? {
        return Some(None); // reserved_zero
    }
    let colour = Colour { matrix, full_range, ..Colour::UNSPECIFIED };
    Some(Some((chroma, colour)))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{INTER, KEY, RICH_KEY};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn key_frames_of_libvpx_are_understood() {
        let plain = KeyFrame::parse(KEY).expect("made by libvpx");
        assert_eq!((plain.profile, plain.width, plain.height, plain.bit_depth), (0, 1_280, 720, 8));
        assert_eq!((plain.chroma, plain.colour), (Chroma::C420, Colour::UNSPECIFIED));
        let rich = KeyFrame::parse(RICH_KEY).expect("made by libvpx");
        assert_eq!((rich.profile, rich.width, rich.height, rich.bit_depth), (3, 640, 360, 10));
        assert_eq!(rich.chroma, Chroma::C422);
        assert_eq!([KEY, RICH_KEY, INTER].map(is_keyframe), [Ok(true), Ok(true), Ok(false)]);
        assert_eq!(is_keyframe(&[0x88]), Ok(false), "shows a frame that was decoded before");
    }

    #[test]
    fn what_is_no_vp9_is_told() {
        assert_eq!(is_keyframe(&[0x00]), Err(Vp9Error::Marker));
        assert_eq!(is_keyframe(&[]), Err(CUT_OFF));
        assert_eq!(is_keyframe(&[0xb8]), Err(Vp9Error::Profile(4)));
        assert_eq!(KeyFrame::parse(&[0x82, 0x49, 0x83, 0x43, 0, 0]), Err(Vp9Error::SyncCode(0x49_83_43)));
        // sRGB in profile 0.
        assert_eq!(KeyFrame::parse(&[0x82, 0x49, 0x83, 0x42, 0xe0, 0, 0, 0, 0]), Err(Vp9Error::Reserved));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(tail in prop::collection::vec(any::<u8>(), 0..16), head in prop::sample::select(vec![KEY, RICH_KEY])) {
            let _of_strangers = (KeyFrame::parse(&tail), is_keyframe(&tail));
            if let Ok(frame) = KeyFrame::parse(&[&head[..4], &tail].concat()) {
                prop_assert!((1..=65_536).contains(&frame.width) && (1..=65_536).contains(&frame.height));
            }
        }
    }
}
