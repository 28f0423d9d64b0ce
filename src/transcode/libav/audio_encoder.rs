//! libavcodec's AAC-LC encoder.

use std::ffi::{CStr, c_int};

use ffmpeg_next::ffi::{self, AVSampleFormat};

use super::LibavError;
use super::codec::{Codec, Coded, Received};
use super::frame::RawFrame;
use crate::config::preset::AudioPreset;

/// Name of the encoder in libavcodec.
pub(in crate::transcode) const AUDIO_ENCODER: &CStr = c"aac";

/// An open AAC encoder. Its time base is one sample.
#[derive(Debug)]
pub(in crate::transcode) struct AudioEncoder {
    codec: Codec,
    rate: c_int,
    channels: u16,
}

impl AudioEncoder {
    /// Opens an encoder for planar floats.
    pub(in crate::transcode) fn open(preset: &AudioPreset) -> Result<Self, LibavError> {
        // SAFETY: the name ends with a zero byte; null is handled by `Codec::new`.
        let found = unsafe { ffi::avcodec_find_encoder_by_name(AUDIO_ENCODER.as_ptr()) };
        let mut codec = Codec::new(found, "avcodec_find_encoder_by_name")?;
        let rate = c_int::try_from(preset.sample_rate).unwrap_or(c_int::MAX);
        let fields = codec.fields_mut();
        fields.sample_fmt = AVSampleFormat::AV_SAMPLE_FMT_FLTP;
        fields.sample_rate = rate;
        fields.bit_rate = i64::try_from(preset.bitrate).unwrap_or(i64::MAX);
        fields.time_base = ffi::AVRational { num: 1, den: rate };
        fields.flags |= ffi::AV_CODEC_FLAG_GLOBAL_HEADER as c_int;
        // SAFETY: writes a native layout, which owns nothing, into a field of ours.
        unsafe { ffi::av_channel_layout_default(&mut fields.ch_layout, c_int::from(preset.channels)) };
        codec.open(&[])?;
        Ok(AudioEncoder { codec, rate, channels: preset.channels })
    }

    /// AudioSpecificConfig.
    pub(in crate::transcode) fn config(&self) -> &[u8] {
        self.codec.extradata()
    }

    /// Samples per frame: 1024.
    pub(in crate::transcode) fn frame_samples(&self) -> usize {
        usize::try_from(self.codec.fields().frame_size).unwrap_or(0).max(1)
    }

    /// Samples that come out before the first one that went in: the first packet's PTS is this much before it.
    pub(in crate::transcode) fn priming_samples(&self) -> u32 {
        u32::try_from(self.codec.fields().initial_padding).unwrap_or(0)
    }

    /// Encodes a frame of `frame_samples` samples of each channel (fewer in the last one). `at` counts samples.
    pub(in crate::transcode) fn send(&mut self, planes: &[&[f32]], at: i64) -> Result<(), LibavError> {
        let samples = planes.iter().map(|plane| plane.len()).min().unwrap_or(0).min(self.frame_samples());
        let mut frame = RawFrame::new()?;
        let fields = frame.fields_mut();
        fields.format = AVSampleFormat::AV_SAMPLE_FMT_FLTP as c_int;
        fields.sample_rate = self.rate;
        fields.nb_samples = c_int::try_from(samples).unwrap_or(0);
        fields.pts = at;
        // SAFETY: as in `open`.
        unsafe { ffi::av_channel_layout_default(&mut fields.ch_layout, c_int::from(self.channels)) };
        frame.allocate()?;
        for (index, plane) in planes.iter().enumerate().take(usize::from(self.channels)) {
            // SAFETY: the frame was just allocated with one plane of `samples` floats per channel.
            unsafe {
                let target = (*frame.fields().extended_data.add(index)).cast::<f32>();
                std::ptr::copy_nonoverlapping(plane.as_ptr(), target, samples);
            }
        }
        self.codec.send_frame(Some(&frame))
    }

    /// Nothing follows: [`AudioEncoder::receive`] gives what is left.
    pub(in crate::transcode) fn finish(&mut self) -> Result<(), LibavError> {
        self.codec.send_frame(None)
    }

    /// The next raw AAC frame. To be asked until `None` after each [`AudioEncoder::send`].
    pub(in crate::transcode) fn receive(&mut self) -> Result<Option<Coded<'_>>, LibavError> {
        Ok(match self.codec.receive_packet()? {
            Received::Some => Some(self.codec.packet()),
            Received::None => None,
        })
    }
}
