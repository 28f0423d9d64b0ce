//! libswresample: decoded sound of any rate, layout and form of samples to planar floats of one rate and channel count.

use std::ffi::c_int;
use std::ptr::{self, NonNull};

use ffmpeg_next::ffi::{self, AVChannelOrder, AVSampleFormat};

use super::frame::Samples;
use super::{LibavError, check};

/// Planar floats, one `Vec` per channel, all of the same length.
pub(in crate::transcode) type Planes = Vec<Vec<f32>>;

/// What the source's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    format: Option<AVSampleFormat>,
    rate: u32,
    channels: usize,
    /// Channel mask of a native layout, else 0.
    mask: u64,
}

impl Shape {
    fn of(samples: &Samples) -> Self {
        let layout = &samples.raw().fields().ch_layout;
        let native = layout.order == AVChannelOrder::AV_CHANNEL_ORDER_NATIVE;
        // SAFETY: the union holds a mask when the order is native.
        let mask = if native { unsafe { layout.u.mask } } else { 0 };
        Shape { format: samples.format(), rate: samples.rate(), channels: samples.channels(), mask }
    }
}

/// A resampler to one fixed rate and channel count.
///
/// Its first output sample lies at the time of its first input sample. Input that is already right passes unchanged.
#[derive(Debug)]
pub(in crate::transcode) struct Resampler {
    rate: u32,
    channels: u16,
    /// What the samples so far were, and the filter if they need one.
    running: Option<(Shape, Option<Context>)>,
}

#[derive(Debug)]
struct Context(NonNull<ffi::SwrContext>);

// SAFETY: owned by one value; swresample has no thread affinity.
unsafe impl Send for Context {}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: ours, and freed here only.
        unsafe { ffi::swr_free(&mut self.0.as_ptr()) };
    }
}

impl Resampler {
    /// A resampler to `channels` channels of `rate` samples per second.
    pub(in crate::transcode) fn new(rate: u32, channels: u16) -> Self {
        Resampler { rate, channels, running: None }
    }

    /// Whether `samples` can follow what was converted before without a [`Resampler::drain`].
    pub(in crate::transcode) fn continues_with(&self, samples: &Samples) -> bool {
        self.running.as_ref().is_none_or(|(shape, _)| *shape == Shape::of(samples))
    }

    /// Converts `samples` without the first `skip`, and appends what comes out to `out`, which has a plane per output
    /// channel. Gives the count per channel.
    pub(in crate::transcode) fn convert(
        &mut self,
        samples: &Samples,
        skip: usize,
        out: &mut Planes,
    ) -> Result<usize, LibavError> {
        let shape = Shape::of(samples);
        if self.running.as_ref().is_none_or(|(made_for, _)| *made_for != shape) {
            let unchanged = (shape.rate, shape.channels) == (self.rate, usize::from(self.channels))
                && shape.format == Some(AVSampleFormat::AV_SAMPLE_FMT_FLTP);
            let context = if unchanged { None } else { Some(make(samples, self.rate, self.channels)?) };
            self.running = Some((shape, context));
        }
        match &self.running {
            Some((_, Some(context))) => run(context, Some((samples, skip)), out),
            _ => {
                let planes: Option<Vec<&[f32]>> =
                    (0..samples.channels()).map(|channel| samples.plane(channel)?.get(skip..)).collect();
                let planes = planes.ok_or_else(wrong_format)?;
                out.iter_mut().zip(&planes).for_each(|(target, plane)| target.extend_from_slice(plane));
                Ok(planes.first().map_or(0, |plane| plane.len()))
            }
        }
    }

    /// Output samples that the filter has taken in and not given out.
    pub(in crate::transcode) fn held(&self) -> i64 {
        match &self.running {
            // SAFETY: the context is initialised; only asks.
            Some((_, Some(context))) => unsafe { ffi::swr_get_delay(context.0.as_ptr(), i64::from(self.rate)) },
            _ => 0,
        }
    }

    /// Gives `more` samples more (or fewer) than the source has, spread evenly over the next `over` output samples. What an
    /// earlier call has not given by then is forgotten. `samples` are those that were converted last.
    pub(in crate::transcode) fn stretch(&mut self, samples: &Samples, more: i64, over: u32) -> Result<(), LibavError> {
        let Some((_, context)) = &mut self.running else { return Ok(()) };
        let context = match context {
            Some(context) => context,
            // So far nothing was to be changed. The filter's first output lies at its first input: there is no seam.
            None => context.insert(make(samples, self.rate, self.channels)?),
        };
        let over = c_int::try_from(over).unwrap_or(c_int::MAX);
        // Never more than half: the counts would not be sane.
        let most = i64::from(over / 2);
        let more = c_int::try_from(more.clamp(-most, most)).unwrap_or(0);
        // SAFETY: the context is initialised.
        let code = unsafe { ffi::swr_set_compensation(context.0.as_ptr(), more, over) };
        check("swr_set_compensation", code).map(drop)
    }

    /// Appends what the filter still holds to `out`, and forgets the source's shape.
    pub(in crate::transcode) fn drain(&mut self, out: &mut Planes) -> Result<usize, LibavError> {
        match self.running.take() {
            Some((_, Some(context))) => run(&context, None, out),
            _ => Ok(0),
        }
    }
}

fn make(samples: &Samples, rate: u32, channels: u16) -> Result<Context, LibavError> {
    let float = AVSampleFormat::AV_SAMPLE_FMT_FLTP;
    let format = samples.format().ok_or_else(wrong_format)?;
    let number = |value: u32| c_int::try_from(value).unwrap_or(c_int::MAX);
    let source = &samples.raw().fields().ch_layout;
    let mut pointer = ptr::null_mut();
    // SAFETY: layouts are zeroed (a valid empty layout) and then set to native ones, which own nothing; the call copies
    // them. A context that it made is owned below even if it failed.
    let code = unsafe {
        let mut from: ffi::AVChannelLayout = std::mem::zeroed();
        let mut to: ffi::AVChannelLayout = std::mem::zeroed();
        ffi::av_channel_layout_default(&mut to, c_int::from(channels));
        if source.order == AVChannelOrder::AV_CHANNEL_ORDER_NATIVE {
            ffi::av_channel_layout_from_mask(&mut from, source.u.mask);
        } else {
            // A layout that only counts its channels: take the usual one of that count.
            ffi::av_channel_layout_default(&mut from, source.nb_channels);
        }
        ffi::swr_alloc_set_opts2(
            &mut pointer,
            &mut to,
            float,
            number(rate),
            &mut from,
            format,
            number(samples.rate()),
            0,
            ptr::null_mut(),
        )
    };
    let context = NonNull::new(pointer).map(Context);
    check("swr_alloc_set_opts2", code)?;
    let context = context.ok_or_else(|| LibavError::out_of_memory("swr_alloc_set_opts2"))?;
    // SAFETY: the context is ours and not initialised yet.
    check("swr_init", unsafe { ffi::swr_init(context.0.as_ptr()) })?;
    Ok(context)
}

fn wrong_format() -> LibavError {
    LibavError::new("swr_convert", ffi::AVERROR(ffmpeg_next::error::EINVAL))
}

/// Converts `input` from a sample on, or with `None` gives out what is left.
fn run(context: &Context, input: Option<(&Samples, usize)>, out: &mut Planes) -> Result<usize, LibavError> {
    let context = context.0.as_ptr();
    let count = input.map_or(0, |(samples, skip)| samples.len().saturating_sub(skip));
    let sources = input.map(|(samples, skip)| samples.behind(skip).ok_or_else(wrong_format)).transpose()?;
    let count = c_int::try_from(count).unwrap_or(0);
    // SAFETY: the context is initialised; asks only for an upper bound.
    let room = check("swr_get_out_samples", unsafe { ffi::swr_get_out_samples(context, count) })?;
    let room_samples = usize::try_from(room).unwrap_or(0);
    let before = out.first().map_or(0, Vec::len);
    for plane in out.iter_mut() {
        plane.resize(before + room_samples, 0.0);
    }
    let mut targets: Vec<*mut u8> = out.iter_mut().map(|plane| plane[before..].as_mut_ptr().cast()).collect();
    let source = sources.as_ref().map_or(ptr::null(), |sources| sources.as_ptr());
    // SAFETY: one target per output channel with room for `room` floats; the sources are those of the format that the context was
    // made for, with `count` samples each, and live as long as `input` is borrowed.
    let code = unsafe { ffi::swr_convert(context, targets.as_mut_ptr(), room, source.cast_mut(), count) };
    let written = code.max(0).unsigned_abs() as usize;
    for plane in out.iter_mut() {
        plane.truncate(before + written);
    }
    check("swr_convert", code)?;
    Ok(written)
}
