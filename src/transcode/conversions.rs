//! What encoding does to a source's pictures besides scaling them, in words for the session's state and the log.

use std::fmt;

use crate::media::VideoTrack;
use crate::media::copy::{FrameRate, MAX_FRAME_RATE, PictureForm, is_above_limit};

/// The conversions that a source needs; none for a plain one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conversions {
    /// Chroma, bits, fields and range, where the source's differ from what encoders take.
    form: Option<PictureForm>,
    /// Sample aspect ratio of pixels that are made square.
    squared: Option<(u32, u32)>,
    /// Frames per second of a source that is thinned to [`MAX_FRAME_RATE`].
    thinned: Option<(u32, u32)>,
}

impl Conversions {
    /// What `track` needs.
    pub fn of(track: &VideoTrack) -> Self {
        Conversions {
            form: PictureForm::of(track)
                .filter(|form| form.interlaced || form.colour.full_range || !form.is_420_8bit()),
            squared: Some(track.sample_aspect).filter(|_| !track.has_square_pixels()),
            thinned: track.frame_rate.filter(|rate| is_above_limit(*rate)),
        }
    }
}

impl fmt::Display for Conversions {
    /// A clause to put behind the reason for encoding: empty, or `; the picture is deinterlaced (bwdif), ...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut done = Vec::new();
        if let Some(form) = self.form {
            if form.interlaced {
                done.push("deinterlaced (bwdif)".to_owned());
            }
            if !form.is_420_8bit() {
                done.push(format!("brought from {} with {} bit to 4:2:0 with 8 bit", form.chroma, form.bits));
            }
            if form.colour.full_range {
                done.push("brought from full to limited range".to_owned());
            }
        }
        if let Some((x, y)) = self.squared {
            done.push(format!("made of square pixels (from {x}:{y})"));
        }
        if let Some(rate) = self.thinned {
            done.push(format!("thinned from {} to at most {MAX_FRAME_RATE} frames/s", FrameRate(rate)));
        }
        if done.is_empty() { Ok(()) } else { write!(f, "; the picture is {}", done.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::codec::h264::sps::samples::{FULL_RANGE_SPS, HIGH_SPS, INTERLACED_422_SPS, PPS};
    use crate::media::codec::h264::track_from_parameter_sets;

    #[test]
    fn each_conversion_is_named() {
        let track = |sps| track_from_parameter_sets(&[sps], &[PPS]).expect("made by x264");
        let words = |track: &VideoTrack| Conversions::of(track).to_string();
        assert_eq!(words(&track(HIGH_SPS)), "");
        assert_eq!(words(&track(FULL_RANGE_SPS)), "; the picture is brought from full to limited range");
        assert_eq!(
            words(&VideoTrack { frame_rate: Some((120, 1)), ..track(INTERLACED_422_SPS) }),
            "; the picture is deinterlaced (bwdif), brought from 4:2:2 with 10 bit to 4:2:0 with 8 bit, made of square pixels \
             (from 64:45), thinned from 120 to at most 60 frames/s"
        );
    }
}
