//! Which sources a rung may carry as they are: asked when a ladder is planned, and again when a source changes.
//!
//! A rung that may be encoded instead is only copied while every player can show the copy and the rung's promises hold.

use std::fmt;

use super::codec::av1::{Av1Config, SequenceHeader};
use super::codec::h264::{AvcConfig, Sps};
use super::codec::hevc::{self, HevcConfig};
use super::codec::picture::{Chroma, Colour};
use super::codec::vp9::VpConfig;
use super::{VideoCodec, VideoTrack};

/// Frames per second that an encoded rung has at most, and a copied one that could be encoded: what the HLS authoring
/// specification for Apple devices allows (1.15), and what players of phones decode.
pub const MAX_FRAME_RATE: u32 = 60;

/// What a source must fit, so that its packets are the rung's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyRule {
    /// Width of the rung's box in pixels.
    pub width: u32,
    /// Height of the box in pixels.
    pub height: u32,
}

/// Why a source is encoded where it could have been copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyObstacle {
    /// It is larger than the rung.
    TooLarge {
        /// Width to show it at.
        width: u32,
        /// Height to show it at.
        height: u32,
    },
    /// It is coded otherwise than as H.264, which all players decode.
    Codec(VideoCodec),
    /// It may hold fields, which few players show well.
    Interlaced,
    /// Its samples are others than 8 bit 4:2:0, which few players decode.
    Samples {
        /// How much colour there is.
        chroma: Chroma,
        /// Bits of a sample.
        bits: u8,
    },
    /// Its pixels are not square.
    NotSquare {
        /// Sample aspect ratio.
        sample_aspect: (u32, u32),
    },
    /// It has more than [`MAX_FRAME_RATE`] frames per second.
    TooFast {
        /// Frames per second as a fraction.
        rate: (u32, u32),
    },
}

impl fmt::Display for CopyObstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            CopyObstacle::TooLarge { width, height } => write!(f, "the source is larger ({width}x{height})"),
            CopyObstacle::Codec(codec) => write!(f, "the source is {}", codec.name()),
            CopyObstacle::Interlaced => f.write_str("the source is interlaced"),
            CopyObstacle::Samples { chroma, bits } => write!(f, "the source is {chroma} with {bits} bit"),
            CopyObstacle::NotSquare { sample_aspect: (x, y) } => {
                write!(f, "the source's pixels are not square ({x}:{y})")
            }
            CopyObstacle::TooFast { rate } => {
                write!(f, "the source has {} frames/s, more than {MAX_FRAME_RATE}", FrameRate(rate))
            }
        }
    }
}

/// A frame rate in words: `30`, or `59.94`.
pub struct FrameRate(pub (u32, u32));

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (num, den) = (u64::from(self.0.0), u64::from(self.0.1.max(1)));
        let hundredths = (num * 100 + den / 2) / den;
        match hundredths % 100 {
            0 => write!(f, "{}", hundredths / 100),
            rest => write!(f, "{}.{rest:02}", hundredths / 100),
        }
    }
}

impl CopyRule {
    /// What keeps the rung from being a copy of `track`, if anything does.
    pub fn obstacle(&self, track: &VideoTrack) -> Option<CopyObstacle> {
        let (width, height) = track.shown_size();
        if !self.holds((width, height)) {
            return Some(CopyObstacle::TooLarge { width, height });
        }
        if track.codec != VideoCodec::H264 {
            return Some(CopyObstacle::Codec(track.codec));
        }
        if !track.plain {
            return Some(PictureForm::of(track).unwrap_or_default().obstacle());
        }
        if track.has_square_pixels() {
            let rate = track.frame_rate.filter(|rate| is_above_limit(*rate))?;
            return Some(CopyObstacle::TooFast { rate });
        }
        Some(CopyObstacle::NotSquare { sample_aspect: track.sample_aspect })
    }

    /// Whether a picture of this size fits into the box, which is turned for a picture that is taller than wide.
    pub fn holds(&self, (width, height): (u32, u32)) -> bool {
        let (long, short) = (self.width.max(self.height), self.width.min(self.height));
        let (across, down) = if height > width { (short, long) } else { (self.width, self.height) };
        width <= across && height <= down
    }
}

/// Whether `rate` (a fraction) is above [`MAX_FRAME_RATE`].
pub fn is_above_limit((num, den): (u32, u32)) -> bool {
    u64::from(num) > u64::from(MAX_FRAME_RATE) * u64::from(den)
}

/// What a source's pictures are made of, as its parameter sets say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureForm {
    /// Fields may occur.
    pub interlaced: bool,
    /// How much colour there is.
    pub chroma: Chroma,
    /// Bits of a sample; the larger of luma and chroma.
    pub bits: u8,
    /// What samples mean as colours.
    pub colour: Colour,
}

impl Default for PictureForm {
    /// 8 bit 4:2:0 that may be interlaced: what is left to assume of a track that is not plain and does not say why.
    fn default() -> Self {
        PictureForm { interlaced: true, chroma: Chroma::C420, bits: 8, colour: Colour::UNSPECIFIED }
    }
}

impl PictureForm {
    /// Reads it from the track's configuration: the first SPS, the sequence header, or the record itself; `None` if there is none
    /// that can be read.
    pub fn of(track: &VideoTrack) -> Option<Self> {
        match track.codec {
            VideoCodec::H264 => Self::of_h264(track),
            VideoCodec::Hevc => Self::of_hevc(track),
            VideoCodec::Av1 => {
                let config = Av1Config::parse(&track.config).ok()?;
                let header = SequenceHeader::parse(&config.sequence_header?).ok()?;
                let (bits, chroma, colour) = (header.bit_depth, header.chroma, header.colour);
                Some(PictureForm { interlaced: false, chroma, bits, colour })
            }
            VideoCodec::Vp9 => {
                let config = VpConfig::parse(&track.config).ok()?;
                let (bits, chroma, colour) = (config.bit_depth, config.chroma(), config.colour);
                Some(PictureForm { interlaced: false, chroma, bits, colour })
            }
        }
    }

    fn of_hevc(track: &VideoTrack) -> Option<Self> {
        let config = HevcConfig::parse(&track.config).ok()?;
        let sps = hevc::Sps::parse(config.sps.first()?).ok()?;
        Some(PictureForm {
            interlaced: sps.interlaced,
            chroma: sps.chroma(),
            bits: sps.bit_depth_luma.max(sps.bit_depth_chroma),
            colour: sps.colour.unwrap_or(Colour::UNSPECIFIED),
        })
    }

    fn of_h264(track: &VideoTrack) -> Option<Self> {
        let config = AvcConfig::parse(&track.config).ok()?;
        let sps = Sps::parse(config.sps.first()?).ok()?;
        Some(PictureForm {
            interlaced: !sps.frame_mbs_only,
            chroma: sps.chroma(),
            bits: sps.bit_depth_luma.max(sps.bit_depth_chroma),
            colour: sps.colour.unwrap_or(Colour::UNSPECIFIED),
        })
    }

    /// 4:2:0 with 8 bit: what encoders take without conversion.
    pub fn is_420_8bit(&self) -> bool {
        self.chroma == Chroma::C420 && self.bits == 8
    }

    fn obstacle(&self) -> CopyObstacle {
        if self.is_420_8bit() {
            return CopyObstacle::Interlaced;
        }
        CopyObstacle::Samples { chroma: self.chroma, bits: self.bits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::codec::h264::sps::samples::{HIGH_SPS, INTERLACED_422_SPS, INTERLACED_SPS, ODD_444_SPS, PPS};
    use crate::media::codec::h264::track_from_parameter_sets;

    fn track(sps: &[u8]) -> VideoTrack {
        track_from_parameter_sets(&[sps], &[PPS]).expect("made by x264")
    }

    /// What keeps `track` from a 1080p rung, in words.
    fn why(track: &VideoTrack) -> Option<String> {
        CopyRule { width: 1_920, height: 1_080 }.obstacle(track).map(|obstacle| obstacle.to_string())
    }

    #[test]
    fn a_plain_source_has_no_obstacle_at_any_turn() {
        let plain = track(HIGH_SPS);
        assert_eq!(why(&plain), None);
        assert_eq!(why(&VideoTrack { width: 1_080, height: 1_920, ..plain.clone() }), None);
        assert_eq!(why(&VideoTrack { frame_rate: Some((60, 1)), ..plain.clone() }), None);
        assert_eq!(why(&VideoTrack { frame_rate: None, ..plain }), None);
    }

    #[test]
    fn only_h264_is_copied_where_it_could_be_encoded() {
        for (codec, words) in [
            (VideoCodec::Hevc, "the source is HEVC"),
            (VideoCodec::Av1, "the source is AV1"),
            (VideoCodec::Vp9, "the source is VP9"),
        ] {
            assert_eq!(why(&VideoTrack { codec, ..track(HIGH_SPS) }).as_deref(), Some(words));
        }
        let large = VideoTrack { codec: VideoCodec::Hevc, height: 1_088, ..track(HIGH_SPS) };
        assert_eq!(why(&large).as_deref(), Some("the source is larger (1920x1088)"));
    }

    #[test]
    fn the_form_is_read_from_the_configuration_of_each_codec() {
        use crate::media::codec::{av1, hevc, picture::VideoRange, vp9};
        let main = [hevc::samples::MAIN_VPS, hevc::samples::PQ_SPS, hevc::samples::MAIN_PPS];
        let hevc = hevc::track_from_parameter_sets(&main[..1], &main[1..2], &main[2..]).expect("made by x265");
        let av1 = av1::track_from_sequence_header(av1::samples::PQ).expect("made by SVT-AV1");
        let vp9 = vp9::track_from_key_frame(vp9::samples::RICH_KEY, None).expect("made by libvpx");
        let form = |track| {
            let form = PictureForm::of(track).expect("there is one");
            (form.interlaced, form.chroma, form.bits, form.colour.video_range())
        };
        assert_eq!(form(&hevc), (false, Chroma::C420, 10, Some(VideoRange::Pq)));
        assert_eq!(form(&av1), (false, Chroma::C420, 10, Some(VideoRange::Pq)));
        assert_eq!(form(&vp9), (false, Chroma::C422, 10, None));
        assert_eq!(form(&track(HIGH_SPS)), (false, Chroma::C420, 8, None));
        assert_eq!(PictureForm::of(&VideoTrack { codec: VideoCodec::Av1, ..hevc }), None);
    }

    #[test]
    fn each_obstacle_has_its_words() {
        let plain = track(HIGH_SPS);
        for (track, words) in [
            (VideoTrack { height: 1_088, ..plain.clone() }, "the source is larger (1920x1088)"),
            (VideoTrack { width: 1_200, height: 1_920, ..plain.clone() }, "the source is larger (1200x1920)"),
            (VideoTrack { sample_aspect: (4, 3), ..plain.clone() }, "the source is larger (2560x1080)"),
            (track(INTERLACED_SPS), "the source is interlaced"),
            (track(INTERLACED_422_SPS), "the source is 4:2:2 with 10 bit"),
            (track(ODD_444_SPS), "the source is 4:4:4 with 8 bit"),
            (
                VideoTrack { width: 1_440, sample_aspect: (4, 3), ..plain.clone() },
                "the source's pixels are not square (4:3)",
            ),
            (
                VideoTrack { frame_rate: Some((120_000, 1_001)), ..plain.clone() },
                "the source has 119.88 frames/s, more than 60",
            ),
            (VideoTrack { plain: false, config: bytes::Bytes::new(), ..plain.clone() }, "the source is interlaced"),
        ] {
            assert_eq!(why(&track).as_deref(), Some(words));
        }
    }
}
