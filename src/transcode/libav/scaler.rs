//! libswscale: one picture from its own size and format to 4:2:0 with 8 bit, limited range and square pixels at a rung's size.
//!
//! Bilinear, straight from the source's size for every rung: swscale's bilinear filter covers the whole source area when
//! it shrinks, and costs less than its bicubic. The matrix stays what it is; only RGB becomes BT.601.

use std::ffi::c_int;
use std::ptr::{self, NonNull};

use ffmpeg_next::ffi::{self, AVPixelFormat};

use super::frame::{Picture, PictureShape, RawFrame};
use super::{LibavError, check, colour};

/// A scaler to one fixed size.
#[derive(Debug)]
pub(in crate::transcode) struct Scaler {
    width: c_int,
    height: c_int,
    /// Made for the first picture, and again whenever the source's shape changes.
    context: Option<(PictureShape, Context)>,
}

#[derive(Debug)]
struct Context(NonNull<ffi::SwsContext>);

// SAFETY: owned by one value; swscale has no thread affinity.
unsafe impl Send for Context {}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: ours, and freed here only.
        unsafe { ffi::sws_freeContext(self.0.as_ptr()) };
    }
}

impl Scaler {
    /// A scaler to pictures of this size in pixels.
    pub(in crate::transcode) fn new((width, height): (u32, u32)) -> Self {
        let side = |pixels| c_int::try_from(pixels).unwrap_or(c_int::MAX);
        Scaler { width: side(width), height: side(height), context: None }
    }

    /// Scales `source` into `target`, whose buffers are used again if nobody else holds them.
    pub(in crate::transcode) fn scale(
        &mut self,
        source: &Picture,
        target: Option<Picture>,
    ) -> Result<Picture, LibavError> {
        let shape = source.shape();
        let mut raw = self.target(target)?;
        let context = self.context_for(shape)?;
        let from = source.raw().fields();
        let into = raw.fields_mut();
        // SAFETY: the context was made for exactly this source size and format; the target was allocated with the size
        // and format that it writes. The plane pointers are valid for both.
        let lines = unsafe {
            ffi::sws_scale(
                context.as_ptr(),
                from.data.as_ptr().cast(),
                from.linesize.as_ptr(),
                0,
                shape.height,
                into.data.as_ptr(),
                into.linesize.as_ptr(),
            )
        };
        check("sws_scale", lines)?;
        raw.copy_properties(source.raw())?;
        let fields = raw.fields_mut();
        // Cropping was the decoder's business: the source's pointers are already inside of the picture.
        (fields.crop_top, fields.crop_bottom, fields.crop_left, fields.crop_right) = (0, 0, 0, 0);
        // The target's size is the size to show the picture at.
        fields.sample_aspect_ratio = ffi::AVRational { num: 1, den: 1 };
        colour::say_scaled(fields, shape.rgb);
        Ok(Picture::from_raw(raw))
    }

    fn target(&self, used: Option<Picture>) -> Result<RawFrame, LibavError> {
        if let Some(mut raw) = used.map(Picture::into_raw) {
            let fields = raw.fields();
            if (fields.width, fields.height) == (self.width, self.height) && raw.is_writable() {
                return Ok(raw);
            }
        }
        let mut raw = RawFrame::new()?;
        let fields = raw.fields_mut();
        fields.width = self.width;
        fields.height = self.height;
        fields.format = AVPixelFormat::AV_PIX_FMT_YUV420P as c_int;
        raw.allocate()?;
        Ok(raw)
    }

    fn context_for(&mut self, shape: PictureShape) -> Result<NonNull<ffi::SwsContext>, LibavError> {
        match &self.context {
            Some((made_for, context)) if *made_for == shape => Ok(context.0),
            _ => {
                let context = make(shape, self.width, self.height)?;
                let pointer = context.0;
                self.context = Some((shape, context));
                Ok(pointer)
            }
        }
    }
}

fn make(shape: PictureShape, width: c_int, height: c_int) -> Result<Context, LibavError> {
    // SAFETY: no precondition; null is handled.
    let context = NonNull::new(unsafe { ffi::sws_alloc_context() });
    let context = Context(context.ok_or_else(|| LibavError::out_of_memory("sws_alloc_context"))?);
    // RGB has no range.
    let full_range = c_int::from(shape.full_range && !shape.rgb);
    let options = [
        (c"srcw", shape.width),
        (c"srch", shape.height),
        (c"src_format", shape.format),
        (c"src_range", full_range),
        (c"dstw", width),
        (c"dsth", height),
        (c"dst_format", AVPixelFormat::AV_PIX_FMT_YUV420P as c_int),
        (c"dst_range", 0),
        (c"sws_flags", ffi::SWS_BILINEAR as c_int),
    ];
    for (name, value) in options {
        // SAFETY: a context is an object with options; libav checks name and value.
        let code = unsafe { ffi::av_opt_set_int(context.0.as_ptr().cast(), name.as_ptr(), i64::from(value), 0) };
        check("av_opt_set_int", code)?;
    }
    // SAFETY: the context is ours and not initialised yet; sizes and formats are checked by swscale.
    let code = unsafe { ffi::sws_init_context(context.0.as_ptr(), ptr::null_mut(), ptr::null_mut()) };
    check("sws_init_context", code)?;
    Ok(context)
}
