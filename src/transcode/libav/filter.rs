//! libavfilter: one filter between a source and a sink, for pictures of one shape.

use std::ffi::{CStr, CString, c_char};
use std::ptr::{self, NonNull};

use ffmpeg_next::ffi;

use super::frame::{Picture, PictureShape, RawFrame};
use super::{LibavError, check};
use crate::media::time::FLICKS_PER_SECOND;

/// A graph of one filter.
#[derive(Debug)]
pub(super) struct Filter {
    graph: NonNull<ffi::AVFilterGraph>,
    source: NonNull<ffi::AVFilterContext>,
    sink: NonNull<ffi::AVFilterContext>,
    shape: PictureShape,
}

// SAFETY: the graph and its filters are owned by this value alone; with one thread of its own it has no thread affinity.
unsafe impl Send for Filter {}

impl Drop for Filter {
    fn drop(&mut self) {
        // SAFETY: ours, and freed here only; the filters belong to the graph.
        unsafe { ffi::avfilter_graph_free(&mut self.graph.as_ptr()) };
    }
}

impl Filter {
    /// Whether this libavfilter was built with the filter `name`.
    pub(super) fn exists(name: &CStr) -> bool {
        // SAFETY: the string ends with a zero byte; the registry is constant.
        unsafe { !ffi::avfilter_get_by_name(name.as_ptr()).is_null() }
    }

    /// The filter `name` for pictures like `first`.
    pub(super) fn new(name: &CStr, options: &CStr, first: &Picture) -> Result<Self, LibavError> {
        // SAFETY: no precondition; null is handled.
        let graph = NonNull::new(unsafe { ffi::avfilter_graph_alloc() });
        let graph = graph.ok_or_else(|| LibavError::out_of_memory("avfilter_graph_alloc"))?;
        // Owned from here on, so that it is freed whatever fails below. The filters are set before anything uses them.
        let mut new = Filter { graph, source: NonNull::dangling(), sink: NonNull::dangling(), shape: first.shape() };
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
        new.source = new.add(c"buffer", Some(&source))?;
        let middle = new.add(name, Some(options))?;
        new.sink = new.add(c"buffersink", None)?;
        for (from, to) in [(new.source, middle), (middle, new.sink)] {
            // SAFETY: both filters belong to this graph and have one unlinked pad each on these sides.
            check("avfilter_link", unsafe { ffi::avfilter_link(from.as_ptr(), 0, to.as_ptr(), 0) })?;
        }
        // SAFETY: the graph is ours; null means no context for its log.
        check("avfilter_graph_config", unsafe { ffi::avfilter_graph_config(graph.as_ptr(), ptr::null_mut()) })?;
        Ok(new)
    }

    fn add(&self, name: &CStr, options: Option<&CStr>) -> Result<NonNull<ffi::AVFilterContext>, LibavError> {
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

    /// What the pictures that it takes are like.
    pub(super) fn shape(&self) -> PictureShape {
        self.shape
    }

    /// Hands a picture over, which must have the filter's shape.
    pub(super) fn send(&mut self, mut raw: RawFrame) -> Result<(), LibavError> {
        // SAFETY: the source belongs to our configured graph; the call takes over the frame's buffers and resets the frame.
        check("av_buffersrc_add_frame", unsafe { ffi::av_buffersrc_add_frame(self.source.as_ptr(), raw.as_mut_ptr()) })
            .map(drop)
    }

    /// Nothing follows: [`Filter::receive`] gives what is left.
    pub(super) fn finish(&mut self) -> Result<(), LibavError> {
        // SAFETY: as in `send`; a null frame is the end.
        check("av_buffersrc_add_frame", unsafe { ffi::av_buffersrc_add_frame(self.source.as_ptr(), ptr::null_mut()) })
            .map(drop)
    }

    /// The next frame, with its time in units of [`Filter::time_base`]. To be asked until `None` after each picture.
    pub(super) fn receive(&mut self) -> Result<Option<RawFrame>, LibavError> {
        let mut raw = RawFrame::new()?;
        // SAFETY: the sink belongs to our configured graph; the frame is ours and empty.
        let code = unsafe { ffi::av_buffersink_get_frame(self.sink.as_ptr(), raw.as_mut_ptr()) };
        if code == ffi::AVERROR(ffmpeg_next::error::EAGAIN) || code == ffi::AVERROR_EOF {
            return Ok(None);
        }
        check("av_buffersink_get_frame", code)?;
        Ok(Some(raw))
    }

    /// Seconds per unit of the times that come out.
    pub(super) fn time_base(&self) -> ffi::AVRational {
        // SAFETY: the sink is configured.
        unsafe { ffi::av_buffersink_get_time_base(self.sink.as_ptr()) }
    }
}
