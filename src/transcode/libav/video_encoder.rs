//! libx264 through libavcodec, with the options that the `ffmpeg` command line would pass.

use std::ffi::{CStr, c_int};

use ffmpeg_next::ffi::{self, AVPictureType, AVPixelFormat};

use super::LibavError;
use super::codec::{Codec, Coded, Received};
use super::frame::Picture;
use crate::config::preset::EncodePreset;
use crate::media::track::VIDEO_TIMESCALE;

/// Name of the encoder in libavcodec.
pub(in crate::transcode) const VIDEO_ENCODER: &CStr = c"libx264";

/// x264's own word for "never a keyframe that nobody asked for" (`X264_KEYINT_MAX_INFINITE`).
const KEYINT_INFINITE: c_int = 1 << 30;
/// Frames per second that rate control and the level assume of a source that states none.
const ASSUMED_FRAME_RATE: (u32, u32) = (30, 1);

/// An open H.264 encoder. Its time base is 1/90 000 s: fine enough that no two frames share a tick, and coarse enough
/// that x264 can count durations in 32 bits, which flicks would overflow after 1.5 s without a frame.
#[derive(Debug)]
pub(in crate::transcode) struct VideoEncoder(Codec);

impl VideoEncoder {
    /// Opens an encoder for pictures like `first`, which states size, aspect and colours.
    pub(in crate::transcode) fn open(
        preset: &EncodePreset,
        first: &Picture,
        frame_rate: Option<(u32, u32)>,
    ) -> Result<Self, LibavError> {
        // SAFETY: the name ends with a zero byte; null is handled by `Codec::new`.
        let found = unsafe { ffi::avcodec_find_encoder_by_name(VIDEO_ENCODER.as_ptr()) };
        let mut codec = Codec::new(found, "avcodec_find_encoder_by_name")?;
        let picture = first.raw().fields();
        let rational = |(num, den): (u32, u32)| ffi::AVRational {
            num: c_int::try_from(num).unwrap_or(c_int::MAX),
            den: c_int::try_from(den).unwrap_or(c_int::MAX),
        };
        let bits = |value: u64| c_int::try_from(value).unwrap_or(c_int::MAX);
        let x264 = &preset.x264;
        let fields = codec.fields_mut();
        fields.width = picture.width;
        fields.height = picture.height;
        fields.pix_fmt = AVPixelFormat::AV_PIX_FMT_YUV420P;
        fields.sample_aspect_ratio = picture.sample_aspect_ratio;
        fields.color_range = picture.color_range;
        fields.colorspace = picture.colorspace;
        fields.color_primaries = picture.color_primaries;
        fields.color_trc = picture.color_trc;
        fields.chroma_sample_location = picture.chroma_location;
        fields.time_base = rational((1, VIDEO_TIMESCALE));
        fields.framerate = rational(frame_rate.unwrap_or(ASSUMED_FRAME_RATE));
        fields.bit_rate = i64::try_from(preset.bitrate).unwrap_or(i64::MAX);
        fields.rc_max_rate = i64::try_from(preset.maxrate).unwrap_or(i64::MAX);
        fields.rc_buffer_size = bits(preset.buffer);
        fields.gop_size = KEYINT_INFINITE;
        fields.thread_count = c_int::try_from(x264.threads).unwrap_or(1);
        fields.thread_type = if x264.sliced { ffi::FF_THREAD_SLICE } else { ffi::FF_THREAD_FRAME };
        fields.flags |= ffi::AV_CODEC_FLAG_GLOBAL_HEADER as c_int | ffi::AV_CODEC_FLAG_CLOSED_GOP as c_int;
        let count = |value: u32| c_int::try_from(value).unwrap_or(c_int::MAX);
        if let Some(bframes) = x264.bframes {
            fields.max_b_frames = count(bframes);
        }
        if let Some(refs) = x264.refs {
            fields.refs = count(refs);
        }
        let mut options = vec![
            (c"preset", x264.preset.clone()),
            (c"profile", x264.profile.clone()),
            // An IDR where a picture says I, and nowhere else.
            (c"forced-idr", "1".to_owned()),
            (c"sc_threshold", "0".to_owned()),
        ];
        options.extend(x264.tune.clone().map(|tune| (c"tune", tune)));
        options.extend(x264.level.clone().map(|level| (c"level", level)));
        options.extend(x264.lookahead.map(|frames| (c"rc-lookahead", frames.to_string())));
        codec.open(&options)?;
        Ok(VideoEncoder(codec))
    }

    /// SPS and PPS in Annex B form.
    pub(in crate::transcode) fn parameter_sets(&self) -> &[u8] {
        self.0.extradata()
    }

    /// Frames by which decoding runs ahead of showing.
    pub(in crate::transcode) fn reorder_frames(&self) -> u32 {
        u32::try_from(self.0.fields().has_b_frames).unwrap_or(0)
    }

    /// Encodes a picture. `tick` is its time in 1/90 000 s and must rise; `idr` makes it one.
    pub(in crate::transcode) fn send(&mut self, picture: &Picture, tick: i64, idr: bool) -> Result<(), LibavError> {
        let mut frame = picture.raw().share()?;
        let fields = frame.fields_mut();
        fields.pts = tick;
        // What the source's encoder chose must not reach ours.
        fields.pict_type = if idr { AVPictureType::AV_PICTURE_TYPE_I } else { AVPictureType::AV_PICTURE_TYPE_NONE };
        self.0.send_frame(Some(&frame))
    }

    /// Nothing follows: [`VideoEncoder::receive`] gives what is left.
    pub(in crate::transcode) fn finish(&mut self) -> Result<(), LibavError> {
        self.0.send_frame(None)
    }

    /// The next access unit in decoding order, Annex B. To be asked until `None` after each picture.
    pub(in crate::transcode) fn receive(&mut self) -> Result<Option<Coded<'_>>, LibavError> {
        Ok(match self.0.receive_packet()? {
            Received::Some => Some(self.0.packet()),
            Received::None => None,
        })
    }
}
