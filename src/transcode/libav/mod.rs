//! Safe wrappers around libavcodec, libavfilter, libswscale and libswresample: the only unsafe code of the daemon.
//!
//! Unsafe is allowed here because libav is a C library; each wrapper owns what it points to, frees it once, and hands
//! out slices that live no longer than the borrow of the wrapper. Nothing here knows of sessions, cuts or rungs. What is
//! used exists in FFmpeg 5.1 and 7.1 alike: channel layouts only through `AVChannelLayout`, no `reordered_opaque`,
//! no `pkt_duration`.
//!
//! | module | wraps |
//! |---|---|
//! | [`frame`] | `AVFrame`: [`frame::Picture`] and [`frame::Samples`], shared by reference count |
//! | [`codec`] | an open `AVCodecContext` with its packet, what all four codecs share |
//! | [`decoder`] | decoders of all codecs that a source may have |
//! | [`video_encoder`] | libx264 |
//! | [`audio_encoder`] | libavcodec's AAC-LC encoder |
//! | [`colour`] | what samples mean as colours, where a source leaves it unsaid |
//! | [`filter`] | `AVFilterGraph` of one filter |
//! | [`deinterlacer`] | bwdif |
//! | [`scaler`] | zimg's filter, and `SwsContext` |
//! | [`resampler`] | `SwrContext` |
//! | [`heap`] | how the C heap, which all of them use, gives memory back |
#![allow(unsafe_code)] // a C library is called here, and nowhere else

pub(super) mod audio_encoder;
mod codec;
mod colour;
pub(super) mod decoder;
pub(super) mod deinterlacer;
mod filter;
pub(super) mod frame;
pub(super) mod heap;
pub(super) mod resampler;
pub(super) mod scaler;
pub(super) mod video_encoder;

use std::ffi::{CStr, c_int};
use std::sync::Once;

use ffmpeg_next::ffi;

/// A call into libav that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {text}")]
pub struct LibavError {
    /// The function of libav.
    pub call: &'static str,
    /// Its return value.
    pub code: i32,
    /// libav's words for it.
    pub text: String,
}

impl LibavError {
    fn new(call: &'static str, code: c_int) -> Self {
        LibavError { call, code, text: ffmpeg_next::Error::from(code).to_string() }
    }

    fn out_of_memory(call: &'static str) -> Self {
        LibavError::new(call, ffi::AVERROR(ffmpeg_next::error::ENOMEM))
    }

    /// The memory is out: nothing that came in is to blame.
    pub(super) fn is_out_of_memory(&self) -> bool {
        self.code == ffi::AVERROR(ffmpeg_next::error::ENOMEM)
    }
}

fn check(call: &'static str, code: c_int) -> Result<c_int, LibavError> {
    if code < 0 { Err(LibavError::new(call, code)) } else { Ok(code) }
}

/// Makes libav quiet, once per process: it would write to stderr with no word of whose stream it speaks. What it has to
/// say comes back as return values, which are counted and logged with their stream.
pub(super) fn init() {
    static ONCE: Once = Once::new();
    // SAFETY: sets one integer of libavutil.
    ONCE.call_once(|| unsafe { ffi::av_log_set_level(ffi::AV_LOG_FATAL) });
}

/// Whether this libavcodec has an encoder of that name.
pub(super) fn has_encoder(name: &CStr) -> bool {
    // SAFETY: `name` ends with a zero byte; the result is a pointer to static data or null.
    !unsafe { ffi::avcodec_find_encoder_by_name(name.as_ptr()) }.is_null()
}

/// Version and build of libavcodec; the build names the libraries that it was made with.
pub(super) fn versions() -> String {
    // SAFETY: both give static data; the configuration ends with a zero byte.
    let (version, configuration) =
        unsafe { (ffi::avcodec_version(), CStr::from_ptr(ffi::avcodec_configuration()).to_string_lossy()) };
    format!("libavcodec {}.{}.{} ({configuration})", version >> 16, (version >> 8) & 0xff, version & 0xff)
}
