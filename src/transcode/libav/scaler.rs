//! One picture from its own size and format to 4:2:0 with 8 bit, limited range and square pixels at a rung's size.
//!
//! zimg resizes pictures that have that format already, which almost all have. Its bicubic filter costs less than libswscale's bilinear
//! one, half of libswscale's bicubic one, and gives the latter's pictures (docs/performance.md). libswscale converts everything
//! else, and does all of it where libavfilter was built without zimg; bilinear, for its cost. Both go straight from the
//! source's size for every rung, and their filters cover the whole source area when they shrink. The matrix stays what it is; only RGB
//! becomes BT.601.

use std::ffi::{CStr, CString, c_int};
use std::ptr::{self, NonNull};

use ffmpeg_next::ffi::{self, AVPixelFormat};

use super::filter::Filter;
use super::frame::{Picture, PictureShape, RawFrame};
use super::{LibavError, check, colour};

/// zimg's place in libavfilter.
const ZSCALE: &CStr = c"zscale";
/// Bicubic with libswscale's coefficients. Chroma samples lie where H.264 has them: beside the left one of two pixels. Nothing is dithered:
/// the depth stays.
const BICUBIC: &str = "filter=bicubic:param_a=0:param_b=0.6:dither=none";

/// A scaler to one fixed size.
#[derive(Debug)]
pub(in crate::transcode) struct Scaler {
    width: c_int,
    height: c_int,
    /// Made for the first picture, and again whenever the source's shape changes.
    way: Option<(PictureShape, Way)>,
    /// The last picture of libswscale that was given back, whose memory the next one takes. libavfilter has its own.
    spare: Option<RawFrame>,
}

#[derive(Debug)]
enum Way {
    Resize(Filter),
    Convert(Context),
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
        Scaler { width: side(width), height: side(height), way: None, spare: None }
    }

    /// Scales `source`. [`Scaler::give_back`] what comes out once it has been used.
    pub(in crate::transcode) fn scale(&mut self, source: &Picture) -> Result<Picture, LibavError> {
        let shape = source.shape();
        let way = match self.way.take() {
            Some((made_for, way)) if made_for == shape => way,
            _ => self.way_for(source)?,
        };
        let (_, way) = self.way.insert((shape, way));
        let mut raw = match way {
            Way::Resize(filter) => resize(filter, source)?,
            Way::Convert(context) => {
                let target = target(self.spare.take(), self.width, self.height)?;
                convert(context, source, target)?
            }
        };
        raw.copy_properties(source.raw())?;
        let fields = raw.fields_mut();
        // Cropping was the decoder's business: the source's pointers are already inside of the picture.
        (fields.crop_top, fields.crop_bottom, fields.crop_left, fields.crop_right) = (0, 0, 0, 0);
        // The target's size is the size to show the picture at.
        fields.sample_aspect_ratio = ffi::AVRational { num: 1, den: 1 };
        colour::say_scaled(fields, shape.rgb);
        Ok(Picture::from_raw(raw))
    }

    /// Takes a picture of [`Scaler::scale`] whose memory may be used again.
    pub(in crate::transcode) fn give_back(&mut self, picture: Picture) {
        if let Some((_, Way::Convert(_))) = self.way {
            self.spare = Some(picture.into_raw());
        }
    }

    fn way_for(&self, source: &Picture) -> Result<Way, LibavError> {
        let (shape, (width, height)) = (source.shape(), (self.width, self.height));
        // zimg wants chroma planes of whole samples.
        let whole = [shape.width, shape.height, width, height].iter().all(|side| side % 2 == 0);
        if source.is_plain() && whole && Filter::exists(ZSCALE) {
            let options = CString::new(format!("w={width}:h={height}:{BICUBIC}"));
            return Filter::new(ZSCALE, &options.unwrap_or_default(), source).map(Way::Resize);
        }
        context(shape, width, height).map(Way::Convert)
    }
}

fn resize(filter: &mut Filter, source: &Picture) -> Result<RawFrame, LibavError> {
    filter.send(source.raw().share()?)?;
    // One frame out for each that goes in, at once.
    filter.receive()?.ok_or_else(|| LibavError::new("av_buffersink_get_frame", ffi::AVERROR_BUG))
}

fn convert(context: &mut Context, source: &Picture, mut target: RawFrame) -> Result<RawFrame, LibavError> {
    let from = source.raw().fields();
    let into = target.fields_mut();
    // SAFETY: the context was made for exactly this source size and format; the target was allocated with the size
    // and format that it writes. The plane pointers are valid for both.
    let lines = unsafe {
        ffi::sws_scale(
            context.0.as_ptr(),
            from.data.as_ptr().cast(),
            from.linesize.as_ptr(),
            0,
            from.height,
            into.data.as_ptr(),
            into.linesize.as_ptr(),
        )
    };
    check("sws_scale", lines)?;
    Ok(target)
}

/// What libswscale writes into: `used` if nobody else holds its buffers.
fn target(used: Option<RawFrame>, width: c_int, height: c_int) -> Result<RawFrame, LibavError> {
    if let Some(mut raw) = used {
        let fields = raw.fields();
        if (fields.width, fields.height) == (width, height) && raw.is_writable() {
            return Ok(raw);
        }
    }
    let mut raw = RawFrame::new()?;
    let fields = raw.fields_mut();
    fields.width = width;
    fields.height = height;
    fields.format = AVPixelFormat::AV_PIX_FMT_YUV420P as c_int;
    raw.allocate()?;
    Ok(raw)
}

fn context(shape: PictureShape, width: c_int, height: c_int) -> Result<Context, LibavError> {
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
