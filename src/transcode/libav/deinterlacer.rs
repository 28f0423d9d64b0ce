//! libavfilter's bwdif: pictures of two fields become frames of one moment.
//!
//! One frame comes out for each that goes in, at its own time, so that cuts, counts and the frame rate stay the source's. Making a frame
//! of each field instead would move more smoothly and cost every encoder twice. Frames that are not flagged as interlaced pass
//! as they are, so that a stream may change between the two. The filter looks one frame ahead and so holds one back.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::{self, NonNull};

use ffmpeg_next::ffi;

use super::frame::{Picture, PictureShape, RawFrame};
use super::{LibavError, check};
use crate::media::time::FLICKS_PER_SECOND;

/// One frame out per frame in; only flagged frames are touched, their field order taken from the frame.
const BWDIF_OPTIONS: &CStr = c"mode=send_frame:parity=auto:deint=interlaced";
/// bwdif reads lines above and below: smaller pictures than this it does not take.
const MIN_SIDE: c_int = 4;

/// A deinterlacer for pictures of one shape.
#[derive(Debug)]
pub(in crate::transcode) struct Deinterlacer {
    graph: NonNull<ffi::AVFilterGraph>,
    source: NonNull<ffi::AVFilterContext>,
    sink: NonNull<ffi::AVFilterContext>,
    shape: PictureShape,
}

// SAFETY: the graph and its filters are owned by this value alone; with one thread of its own it has no thread affinity.
unsafe impl Send for Deinterlacer {}

impl Drop for Deinterlacer {
    fn drop(&mut self) {
        // SAFETY: ours, and freed here only; the filters belong to the graph.
        unsafe { ffi::avfilter_graph_free(&mut self.graph.as_ptr()) };
    }
}

impl Deinterlacer {
    /// Whether pictures like `first` can be deinterlaced: not one that has hardly a line.
    pub(in crate::transcode) fn takes(first: &Picture) -> bool {
        let shape = first.shape();
        shape.width >= MIN_SIDE && shape.height >= MIN_SIDE
    }

    /// A deinterlacer for pictures like `first`.
    pub(in crate::transcode) fn new(first: &Picture) -> Result<Self, LibavError> {
        // SAFETY: no precondition; null is handled.
        let graph = NonNull::new(unsafe { ffi::avfilter_graph_alloc() });
        let graph = graph.ok_or_else(|| LibavError::out_of_memory("avfilter_graph_alloc"))?;
        // Owned from here on, so that it is freed whatever fails below. The filters are set before anything uses them.
        let mut new =
            Deinterlacer { graph, source: NonNull::dangling(), sink: NonNull::dangling(), shape: first.shape() };
        // SAFETY: the graph is ours and not configured yet. One thread: others would be started for each session.
        unsafe { (*graph.as_ptr()).nb_threads = 1 };
        let aspect = first.raw().fields().sample_aspect_ratio;
        let source = format!(
            "video_size={}x{}:pix_fmt={}:time_base=1/{FLICKS_PER_SECOND}:pixel_aspect={}/{}",
            new.shape.width,
            new.shape.height,
            new.shape.format,
            aspect.num,
            aspect.den.max(1),
        );
        let source = CString::new(source).unwrap_or_default();
        new.source = new.filter(c"buffer", Some(&source))?;
        let bwdif = new.filter(c"bwdif", Some(BWDIF_OPTIONS))?;
        new.sink = new.filter(c"buffersink", None)?;
        for (from, to) in [(new.source, bwdif), (bwdif, new.sink)] {
            // SAFETY: both filters belong to this graph and have one unlinked pad each on these sides.
            check("avfilter_link", unsafe { ffi::avfilter_link(from.as_ptr(), 0, to.as_ptr(), 0) })?;
        }
        // SAFETY: the graph is ours; null means no context for its log.
        check("avfilter_graph_config", unsafe { ffi::avfilter_graph_config(graph.as_ptr(), ptr::null_mut()) })?;
        Ok(new)
    }

    fn filter(&self, name: &CStr, options: Option<&CStr>) -> Result<NonNull<ffi::AVFilterContext>, LibavError> {
        let options: *const c_char = options.map_or(ptr::null(), CStr::as_ptr);
        let mut made = ptr::null_mut();
        // SAFETY: the strings end with a zero byte; a null filter is refused by libav with an error. What is made belongs to
        // the graph.
        let code = unsafe {
            let filter = ffi::avfilter_get_by_name(name.as_ptr());
            if filter.is_null() {
                return Err(LibavError::new("avfilter_get_by_name", ffi::AVERROR_FILTER_NOT_FOUND));
            }
            let graph = self.graph.as_ptr();
            ffi::avfilter_graph_create_filter(&mut made, filter, name.as_ptr(), options, ptr::null_mut(), graph)
        };
        check("avfilter_graph_create_filter", code)?;
        NonNull::new(made).ok_or_else(|| LibavError::out_of_memory("avfilter_graph_create_filter"))
    }

    /// Whether `picture` has the shape that this was made for.
    pub(in crate::transcode) fn fits(&self, picture: &Picture) -> bool {
        self.shape == picture.shape()
    }

    /// Hands a picture over, which must fit.
    pub(in crate::transcode) fn send(&mut self, picture: Picture) -> Result<(), LibavError> {
        let mut raw = picture.into_raw();
        // SAFETY: the source belongs to our configured graph; the call takes over the frame's buffers and resets the frame.
        check("av_buffersrc_add_frame", unsafe { ffi::av_buffersrc_add_frame(self.source.as_ptr(), raw.as_mut_ptr()) })
            .map(drop)
    }

    /// Nothing follows: [`Deinterlacer::receive`] gives what is left.
    pub(in crate::transcode) fn finish(&mut self) -> Result<(), LibavError> {
        // SAFETY: as in `send`; a null frame is the end.
        check("av_buffersrc_add_frame", unsafe { ffi::av_buffersrc_add_frame(self.source.as_ptr(), ptr::null_mut()) })
            .map(drop)
    }

    /// The next frame. To be asked until `None` after each picture.
    pub(in crate::transcode) fn receive(&mut self) -> Result<Option<Picture>, LibavError> {
        let mut raw = RawFrame::new()?;
        // SAFETY: the sink belongs to our configured graph; the frame is ours and empty.
        let code = unsafe { ffi::av_buffersink_get_frame(self.sink.as_ptr(), raw.as_mut_ptr()) };
        if code == ffi::AVERROR(ffmpeg_next::error::EAGAIN) || code == ffi::AVERROR_EOF {
            return Ok(None);
        }
        check("av_buffersink_get_frame", code)?;
        // SAFETY: the sink is configured.
        let base = unsafe { ffi::av_buffersink_get_time_base(self.sink.as_ptr()) };
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
