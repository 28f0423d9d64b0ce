//! `AVFrame`: decoded pictures and sound, whose buffers are shared by reference count.

use std::ffi::c_int;
use std::ptr::NonNull;

use ffmpeg_next::ffi::{self, AVColorRange, AVPixelFormat, AVSampleFormat};

use super::{LibavError, check, colour};
use crate::media::Timestamp;
use crate::media::track::shown_size;

/// An owned `AVFrame`. Its buffers may be shared with other frames.
#[derive(Debug)]
pub(super) struct RawFrame(NonNull<ffi::AVFrame>);

// SAFETY: the frame is owned by this value; its buffers are reference-counted atomically and written only while they
// have one owner (`is_writable`).
unsafe impl Send for RawFrame {}
// SAFETY: through a shared reference fields are only read, and new references are taken, which is atomic.
unsafe impl Sync for RawFrame {}

impl RawFrame {
    pub(super) fn new() -> Result<Self, LibavError> {
        // SAFETY: no precondition; null is handled.
        let frame = NonNull::new(unsafe { ffi::av_frame_alloc() });
        frame.map(RawFrame).ok_or_else(|| LibavError::out_of_memory("av_frame_alloc"))
    }

    pub(super) fn as_ptr(&self) -> *const ffi::AVFrame {
        self.0.as_ptr()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut ffi::AVFrame {
        self.0.as_ptr()
    }

    pub(super) fn fields(&self) -> &ffi::AVFrame {
        // SAFETY: points to an initialised frame for as long as `self` lives.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn fields_mut(&mut self) -> &mut ffi::AVFrame {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { self.0.as_mut() }
    }

    /// Allocates buffers for the size and format that the fields say.
    pub(super) fn allocate(&mut self) -> Result<(), LibavError> {
        // SAFETY: the frame is ours and has no buffers yet. 0: libav chooses the alignment.
        check("av_frame_get_buffer", unsafe { ffi::av_frame_get_buffer(self.as_mut_ptr(), 0) }).map(drop)
    }

    /// Nobody else has a reference to the buffers.
    pub(super) fn is_writable(&mut self) -> bool {
        // SAFETY: the frame is ours; a frame without buffers is not writable.
        unsafe { ffi::av_frame_is_writable(self.as_mut_ptr()) > 0 }
    }

    /// A second frame on the same buffers.
    pub(super) fn share(&self) -> Result<Self, LibavError> {
        // SAFETY: takes new references to the buffers of a valid frame; null is handled.
        let frame = NonNull::new(unsafe { ffi::av_frame_clone(self.as_ptr()) });
        frame.map(RawFrame).ok_or_else(|| LibavError::out_of_memory("av_frame_clone"))
    }

    /// Everything of `from` but its buffers, size and format.
    pub(super) fn copy_properties(&mut self, from: &RawFrame) -> Result<(), LibavError> {
        // SAFETY: both frames are valid, and different because one is borrowed exclusively.
        let code = unsafe { ffi::av_frame_copy_props(self.as_mut_ptr(), from.as_ptr()) };
        check("av_frame_copy_props", code).map(drop)
    }
}

impl Drop for RawFrame {
    fn drop(&mut self) {
        // SAFETY: ours, and freed here only.
        unsafe { ffi::av_frame_free(&mut self.0.as_ptr()) };
    }
}

/// One picture: read-only, shared between rungs by putting it behind an `Arc`.
#[derive(Debug)]
pub(in crate::transcode) struct Picture {
    raw: RawFrame,
}

/// What scaler and encoder must agree on about a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PictureShape {
    pub(super) width: c_int,
    pub(super) height: c_int,
    /// `AVPixelFormat`; never one of the deprecated full-range twins (yuvj).
    pub(super) format: c_int,
    pub(super) full_range: bool,
    pub(super) rgb: bool,
}

impl Picture {
    /// Takes a frame as a decoder gave it. The "J" formats are the plain ones with full range, which is said in one way here.
    /// Colours that the source leaves unsaid are said: see [`colour::say_unsaid`].
    pub(super) fn from_decoder(mut raw: RawFrame) -> Self {
        let fields = raw.fields_mut();
        let plain = [
            (AVPixelFormat::AV_PIX_FMT_YUVJ420P, AVPixelFormat::AV_PIX_FMT_YUV420P),
            (AVPixelFormat::AV_PIX_FMT_YUVJ422P, AVPixelFormat::AV_PIX_FMT_YUV422P),
            (AVPixelFormat::AV_PIX_FMT_YUVJ444P, AVPixelFormat::AV_PIX_FMT_YUV444P),
            (AVPixelFormat::AV_PIX_FMT_YUVJ440P, AVPixelFormat::AV_PIX_FMT_YUV440P),
        ];
        if let Some((_, twin)) = plain.iter().find(|(full, _)| fields.format == *full as c_int) {
            fields.format = *twin as c_int;
            fields.color_range = AVColorRange::AVCOL_RANGE_JPEG;
        }
        colour::say_unsaid(fields);
        Picture { raw }
    }

    pub(super) fn from_raw(raw: RawFrame) -> Self {
        Picture { raw }
    }

    /// A picture of 4:2:0 with 8 bit for measuring: a texture with edges and grain that moves as `index` rises, so that
    /// an encoder has as much to do as with a camera.
    pub(in crate::transcode) fn synthetic(size: (u32, u32), index: u32) -> Result<Self, LibavError> {
        let side = |pixels: u32| c_int::try_from(pixels).unwrap_or(c_int::MAX);
        let mut raw = RawFrame::new()?;
        let fields = raw.fields_mut();
        (fields.width, fields.height) = (side(size.0), side(size.1));
        fields.format = AVPixelFormat::AV_PIX_FMT_YUV420P as c_int;
        raw.allocate()?;
        for plane in 0..3 {
            let (width, height) = if plane == 0 { size } else { (size.0 / 2, size.1 / 2) };
            let fields = raw.fields();
            let (data, stride) = (fields.data[plane], usize::try_from(fields.linesize[plane]).unwrap_or(0));
            for y in 0..height as usize {
                // SAFETY: the frame was allocated for this size and format just now and has no other user: each line
                // of a plane has `stride` bytes, of which the first `width` are pixels.
                let line = unsafe { std::slice::from_raw_parts_mut(data.add(y * stride), width as usize) };
                for (x, pixel) in (0_u32..).zip(line) {
                    *pixel = texture(x + 3 * index, y as u32 + index, index);
                }
            }
        }
        Ok(Picture { raw })
    }

    pub(super) fn raw(&self) -> &RawFrame {
        &self.raw
    }

    pub(super) fn into_raw(self) -> RawFrame {
        self.raw
    }

    pub(super) fn shape(&self) -> PictureShape {
        let fields = self.raw.fields();
        PictureShape {
            width: fields.width,
            height: fields.height,
            format: fields.format,
            full_range: fields.color_range == AVColorRange::AVCOL_RANGE_JPEG,
            rgb: colour::is_rgb(fields),
        }
    }

    /// Presentation time: the packet's, exactly. A decoder that lost it gives `None`.
    pub(in crate::transcode) fn pts(&self) -> Option<Timestamp> {
        let pts = self.raw.fields().pts;
        (pts != ffi::AV_NOPTS_VALUE).then(|| Timestamp::from_flicks(pts))
    }

    /// Width and height in pixels.
    pub(in crate::transcode) fn size(&self) -> (u32, u32) {
        let fields = self.raw.fields();
        (u32::try_from(fields.width).unwrap_or(0), u32::try_from(fields.height).unwrap_or(0))
    }

    /// The size to show it at: another width than [`Picture::size`] when its pixels are not square.
    pub(in crate::transcode) fn shown_size(&self) -> (u32, u32) {
        let aspect = self.raw.fields().sample_aspect_ratio;
        let side = |value| u32::try_from(value).unwrap_or(0);
        match (side(aspect.num), side(aspect.den)) {
            (0, _) | (_, 0) => self.size(),
            aspect => shown_size(self.size(), aspect),
        }
    }

    /// 4:2:0 with 8 bit and limited range: what the encoders take without conversion.
    pub(in crate::transcode) fn is_plain(&self) -> bool {
        let shape = self.shape();
        shape.format == AVPixelFormat::AV_PIX_FMT_YUV420P as c_int && !shape.full_range
    }

    /// It was coded as two fields.
    pub(in crate::transcode) fn is_interlaced(&self) -> bool {
        self.raw.fields().interlaced_frame != 0
    }

    /// Bytes of its planes, about: what queues count.
    pub(in crate::transcode) fn bytes(&self) -> usize {
        let fields = self.raw.fields();
        let height = usize::try_from(fields.height).unwrap_or(0);
        let strides = fields.linesize.iter().take(3).map(|line| usize::try_from(*line).unwrap_or(0));
        // Chroma is counted at full height: a queue's bound need not know the format.
        strides.fold(0, usize::saturating_add).saturating_mul(height)
    }
}

/// A pixel of the synthetic texture: blocks of different grey, a slope, and grain that changes from picture to picture.
fn texture(x: u32, y: u32, index: u32) -> u8 {
    let mix = |value: u32| value.wrapping_mul(2_654_435_761) >> 24;
    let block = mix((x / 48).wrapping_mul(31).wrapping_add(y / 40)) / 2;
    let slope = (x / 8 + y / 4) % 64;
    let grain = mix(x.wrapping_mul(7_919).wrapping_add(y.wrapping_mul(104_729)).wrapping_add(index)) / 32;
    // 127 + 63 + 7 at most: a byte.
    u8::try_from(16 + block + slope + grain).unwrap_or(u8::MAX)
}

/// One block of decoded sound.
#[derive(Debug)]
pub(in crate::transcode) struct Samples {
    raw: RawFrame,
}

impl Samples {
    pub(super) fn from_raw(raw: RawFrame) -> Self {
        Samples { raw }
    }

    pub(super) fn raw(&self) -> &RawFrame {
        &self.raw
    }

    /// Presentation time of the first sample.
    pub(in crate::transcode) fn pts(&self) -> Option<Timestamp> {
        let pts = self.raw.fields().pts;
        (pts != ffi::AV_NOPTS_VALUE).then(|| Timestamp::from_flicks(pts))
    }

    /// Samples per channel.
    pub(in crate::transcode) fn len(&self) -> usize {
        usize::try_from(self.raw.fields().nb_samples).unwrap_or(0)
    }

    /// Samples per second; never 0.
    pub(in crate::transcode) fn rate(&self) -> u32 {
        u32::try_from(self.raw.fields().sample_rate).unwrap_or(0).max(1)
    }

    pub(super) fn channels(&self) -> usize {
        usize::try_from(self.raw.fields().ch_layout.nb_channels).unwrap_or(0)
    }

    /// What a sample is, if it is one of the forms that decoders give.
    pub(super) fn format(&self) -> Option<AVSampleFormat> {
        const KNOWN: [AVSampleFormat; 8] = [
            AVSampleFormat::AV_SAMPLE_FMT_FLTP,
            AVSampleFormat::AV_SAMPLE_FMT_FLT,
            AVSampleFormat::AV_SAMPLE_FMT_S16,
            AVSampleFormat::AV_SAMPLE_FMT_S16P,
            AVSampleFormat::AV_SAMPLE_FMT_S32,
            AVSampleFormat::AV_SAMPLE_FMT_S32P,
            AVSampleFormat::AV_SAMPLE_FMT_DBL,
            AVSampleFormat::AV_SAMPLE_FMT_DBLP,
        ];
        let format = self.raw.fields().format;
        KNOWN.into_iter().find(|known| *known as c_int == format)
    }

    /// Where the samples from `skip` on begin: of each channel, or of all if they alternate. `None` if there are not so many, or their
    /// form is not known.
    pub(super) fn behind(&self, skip: usize) -> Option<Vec<*const u8>> {
        let format = self.format()?;
        if skip > self.len() {
            return None;
        }
        // SAFETY: both only look the format up in a table.
        let (bytes, planar) =
            unsafe { (ffi::av_get_bytes_per_sample(format), ffi::av_sample_fmt_is_planar(format) > 0) };
        let (planes, alternating) = if planar { (self.channels(), 1) } else { (1, self.channels()) };
        let offset = usize::try_from(bytes).ok()? * alternating * skip;
        let begin = |plane: usize| {
            // SAFETY: extended_data has a pointer for each plane, to `len` samples of each channel in it; `skip` is at most that.
            unsafe {
                let plane = *self.raw.fields().extended_data.add(plane);
                (!plane.is_null()).then(|| plane.add(offset).cast_const())
            }
        };
        (0..planes).map(begin).collect()
    }

    /// The samples of one channel, if they are planar floats.
    pub(super) fn plane(&self, channel: usize) -> Option<&[f32]> {
        if self.format() != Some(AVSampleFormat::AV_SAMPLE_FMT_FLTP) || channel >= self.channels() {
            return None;
        }
        // SAFETY: a planar frame has one pointer per channel in extended_data, each to `nb_samples` floats aligned by libav.
        unsafe {
            let plane = *self.raw.fields().extended_data.add(channel);
            (!plane.is_null()).then(|| std::slice::from_raw_parts(plane.cast::<f32>(), self.len()))
        }
    }
}
