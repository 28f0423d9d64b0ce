//! VP9 (VP9 bitstream and decoding process specification) as far as a track's description needs it.
//!
//! | module | holds |
//! |---|---|
//! | [`frame`] | the uncompressed header of key frames |
//! | [`config`] | the VPCodecConfigurationRecord (vpcC), both directions |
//!
//! A stream says what it is in its key frames; a record adds what they do not say. Order of decoding and of presentation are the same.

pub mod config;
pub mod frame;

use super::picture::{Chroma, SIDES, is_carried};
use crate::media::{VideoCodec, VideoTrack};

pub use config::VpConfig;
pub use frame::{KeyFrame, is_keyframe};

/// Why bytes are not the VP9 that they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Vp9Error {
    /// The bytes end inside of a field.
    #[error("VP9 {what} is cut off")]
    Truncated {
        /// Which structure.
        what: &'static str,
    },
    /// The first two bits are not 2.
    #[error("VP9 frame does not begin with its marker: the data is damaged, or of another codec")]
    Marker,
    /// The three bytes that begin each key frame are others.
    #[error("VP9 key frame has the sync code {0:#08x} instead of 0x498342")]
    SyncCode(u32),
    /// Profiles are 0 to 3.
    #[error("VP9 profile {0} is not known")]
    Profile(u8),
    /// Only key frames describe the stream.
    #[error("VP9 frame is no key frame, and says nothing of the stream")]
    NoKeyFrame,
    /// A bit that is reserved is set, or sRGB in a profile that has no 4:4:4.
    #[error("VP9 key frame has a form that its profile does not have")]
    Reserved,
    /// 8, 10 and 12 bits exist.
    #[error("VP9 configuration record says {0} bits per sample; 8, 10 and 12 exist")]
    BitDepth(u8),
    /// A picture that no encoder and few decoders take.
    #[error("the picture is {width}x{height}; sides of {} to {} pixels can be carried", SIDES.start(), SIDES.end())]
    PictureSize {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

/// Describes a track from a key frame; `record`: what the container said of it, whose level and colours count.
///
/// Key frames of equal size and format give equal tracks.
///
/// # Errors
/// It is no key frame, or the picture's size is impossible.
pub fn track_from_key_frame(data: &[u8], record: Option<&VpConfig>) -> Result<VideoTrack, Vp9Error> {
    let frame = KeyFrame::parse(data)?;
    let (width, height) = (frame.width, frame.height);
    if !is_carried((width, height)) {
        return Err(Vp9Error::PictureSize { width, height });
    }
    let config = VpConfig::of(&frame, record);
    Ok(VideoTrack {
        codec: VideoCodec::Vp9,
        codecs: codecs(&config),
        config: config.write(),
        width,
        height,
        sample_aspect: (1, 1),
        frame_rate: None,
        plain: frame.chroma == Chroma::C420 && frame.bit_depth == 8,
    })
}

/// The RFC 6381 string (VP9-ISOBMFF, "Codecs Parameter String"): `vp09.00.31.08`, with all the rest where it is not what the short
/// form means. Colours that are not said are what players take the short form for.
fn codecs(config: &VpConfig) -> String {
    let VpConfig { profile, level, bit_depth, subsampling, colour } = config;
    let short = format!("{}.{profile:02}.{level:02}.{bit_depth:02}", VideoCodec::Vp9.sample_entry());
    if config.is_usual() {
        return short;
    }
    let (primaries, transfer, matrix) = (colour.primaries, colour.transfer, colour.matrix);
    let full_range = u8::from(colour.full_range);
    format!("{short}.{subsampling:02}.{primaries:02}.{transfer:02}.{matrix:02}.{full_range:02}")
}

/// Beginnings of key frames of libvpx (`ffmpeg -f lavfi -i testsrc2 ...`).
#[cfg(test)]
pub(crate) mod samples {
    /// 1280x720.
    pub(crate) const KEY: &[u8] = &[0x82, 0x49, 0x83, 0x42, 0x00, 0x4f, 0xf0, 0x2c, 0xf6, 0x06, 0x38];
    /// The frame behind it.
    pub(crate) const INTER: &[u8] = &[0x86, 0x00, 0x40, 0x92, 0xf1, 0x21];
    /// 640x360 in 4:2:2 with 10 bit: profile 3.
    pub(crate) const RICH_KEY: &[u8] = &[0xb1, 0x24, 0xc1, 0xa1, 0x02, 0x01, 0x3f, 0x80, 0xb3, 0xb0, 0x31];
}

#[cfg(test)]
mod tests {
    use super::samples::{INTER, KEY, RICH_KEY};
    use super::*;
    use crate::media::codec::picture::Colour;

    #[test]
    fn a_track_is_described_by_its_key_frame() {
        let track = track_from_key_frame(KEY, None).expect("made by libvpx");
        assert_eq!((track.codec, track.codecs.as_str()), (VideoCodec::Vp9, "vp09.00.31.08"));
        assert_eq!((track.width, track.height, track.plain), (1_280, 720, true));
        // As FFmpeg 5.1 writes it into MP4, behind version and flags.
        assert_eq!(track.config[..], [0x00, 0x1f, 0x82, 0x02, 0x02, 0x02, 0x00, 0x00]);
        let rich = track_from_key_frame(RICH_KEY, None).expect("made by libvpx");
        assert_eq!((rich.codecs.as_str(), rich.plain), ("vp09.03.21.10.02.02.02.02.00", false));
        assert_eq!((rich.width, rich.height), (640, 360));
    }

    #[test]
    fn a_record_adds_level_and_colours() {
        let colour = Colour { primaries: 9, transfer: 16, matrix: 9, full_range: false };
        let record = VpConfig { profile: 2, level: 51, bit_depth: 10, subsampling: 1, colour };
        let track = track_from_key_frame(KEY, Some(&record)).expect("made by libvpx");
        assert_eq!(track.codecs, "vp09.00.51.08.01.09.16.09.00", "profile and depth are the frame's");
    }

    #[test]
    fn frames_that_say_nothing_are_refused() {
        let error = |data: &[u8]| track_from_key_frame(data, None).expect_err("refused").to_string();
        assert_eq!(error(INTER), "VP9 frame is no key frame, and says nothing of the stream");
        assert_eq!(error(&[]), "VP9 frame header is cut off");
        assert_eq!(error(&KEY[..8]), "VP9 frame header is cut off");
    }
}
