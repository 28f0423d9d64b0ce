//! libavfilter's bwdif: pictures of two fields become frames of one moment.
//!
//! One frame comes out for each that goes in, at its own time, so that cuts, counts and the frame rate stay the source's. Making a frame
//! of each field instead would move more smoothly and cost every encoder twice. Frames that are not flagged as interlaced pass
//! as they are, so that a stream may change between the two. The filter looks one frame ahead and so holds one back.

use std::ffi::{CStr, c_int};

use ffmpeg_next::ffi;

use super::LibavError;
use super::filter::Filter;
use super::frame::Picture;
use crate::media::time::FLICKS_PER_SECOND;

/// One frame out per frame in; only flagged frames are touched, their field order taken from the frame.
const BWDIF_OPTIONS: &CStr = c"mode=send_frame:parity=auto:deint=interlaced";
/// bwdif reads lines above and below: smaller pictures than this it does not take.
const MIN_SIDE: c_int = 4;

/// A deinterlacer for pictures of one shape.
#[derive(Debug)]
pub(in crate::transcode) struct Deinterlacer(Filter);

impl Deinterlacer {
    /// Whether pictures like `first` can be deinterlaced: not one that has hardly a line.
    pub(in crate::transcode) fn takes(first: &Picture) -> bool {
        let shape = first.shape();
        shape.width >= MIN_SIDE && shape.height >= MIN_SIDE
    }

    /// A deinterlacer for pictures like `first`.
    pub(in crate::transcode) fn new(first: &Picture) -> Result<Self, LibavError> {
        Filter::new(c"bwdif", BWDIF_OPTIONS, first).map(Deinterlacer)
    }

    /// Whether `picture` has the shape that this was made for.
    pub(in crate::transcode) fn fits(&self, picture: &Picture) -> bool {
        self.0.shape() == picture.shape()
    }

    /// Hands a picture over, which must fit.
    pub(in crate::transcode) fn send(&mut self, picture: Picture) -> Result<(), LibavError> {
        self.0.send(picture.into_raw())
    }

    /// Nothing follows: [`Deinterlacer::receive`] gives what is left.
    pub(in crate::transcode) fn finish(&mut self) -> Result<(), LibavError> {
        self.0.finish()
    }

    /// The next frame. To be asked until `None` after each picture.
    pub(in crate::transcode) fn receive(&mut self) -> Result<Option<Picture>, LibavError> {
        let Some(mut raw) = self.0.receive()? else { return Ok(None) };
        let base = self.0.time_base();
        let fields = raw.fields_mut();
        fields.pts = in_flicks(fields.pts, base);
        fields.interlaced_frame = 0;
        Ok(Some(Picture::from_raw(raw)))
    }
}

/// bwdif counts in half of its input's time base: exact, as it only ever doubles.
fn in_flicks(pts: i64, base: ffi::AVRational) -> i64 {
    if pts == ffi::AV_NOPTS_VALUE || base.den <= 0 {
        return pts;
    }
    let flicks = i128::from(pts) * i128::from(base.num) * i128::from(FLICKS_PER_SECOND) / i128::from(base.den);
    i64::try_from(flicks).unwrap_or(ffi::AV_NOPTS_VALUE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_in_flicks() {
        let half = ffi::AVRational { num: 1, den: 1_411_200_000 };
        assert_eq!(in_flicks(2 * 7_056_000_001, half), 7_056_000_001);
        assert_eq!(in_flicks(i64::MAX - 1, half), i64::MAX / 2);
        assert_eq!(in_flicks(ffi::AV_NOPTS_VALUE, half), ffi::AV_NOPTS_VALUE);
        assert_eq!(in_flicks(5, ffi::AVRational { num: 1, den: 0 }), 5);
    }
}
