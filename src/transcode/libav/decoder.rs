//! Decoders. Timestamps go through libavcodec in flicks and come back unchanged: it only sorts them.

use std::ffi::{CStr, c_int};

use ffmpeg_next::ffi;

use super::LibavError;
use super::codec::{Codec, Received};
use super::frame::{Picture, RawFrame, Samples};
use crate::media::time::FLICKS_PER_SECOND;
use crate::media::{AudioCodec, AudioTrack, Packet, VideoCodec, VideoTrack};
use crate::transcode::plan::MAX_DECODED_PIXELS;

/// Decoders of a codec, the one to prefer first. libavcodec's own of AV1 needs hardware; dav1d takes less than half of libaom's time.
const fn video_decoders(codec: VideoCodec) -> &'static [&'static CStr] {
    match codec {
        VideoCodec::H264 => &[c"h264"],
        VideoCodec::Hevc => &[c"hevc"],
        VideoCodec::Av1 => &[c"libdav1d", c"libaom-av1"],
        VideoCodec::Vp9 => &[c"vp9"],
    }
}

/// The same of sound. Those for floats are taken: the others give whole numbers of less depth, or other counts of samples. libopus
/// gives as many samples as a packet says; libavcodec's own holds some back when the coding mode changes.
const fn audio_decoders(codec: AudioCodec) -> &'static [&'static CStr] {
    match codec {
        AudioCodec::Aac => &[c"aac"],
        AudioCodec::Opus => &[c"libopus", c"opus"],
        AudioCodec::Ac3 => &[c"ac3"],
        AudioCodec::Eac3 => &[c"eac3"],
        AudioCodec::MpegAudio => &[c"mp3float"], // of all three layers
        AudioCodec::Flac => &[c"flac"],
    }
}

/// Decoder of one codec, whose packets are as [`VideoTrack`] says.
#[derive(Debug)]
pub(in crate::transcode) struct VideoDecoder(Codec);

/// Decoder of one codec, whose packets are its frames without framing of a container.
#[derive(Debug)]
pub(in crate::transcode) struct AudioDecoder(Codec);

/// The first of the decoders that this libavcodec has.
fn decoder(names: &[&CStr], extradata: &[u8]) -> Result<Codec, LibavError> {
    const CALL: &str = "avcodec_find_decoder_by_name";
    // SAFETY: names end with a zero byte; null is handled.
    let mut found = names.iter().map(|name| unsafe { ffi::avcodec_find_decoder_by_name(name.as_ptr()) });
    let Some(found) = found.find(|codec| !codec.is_null()) else {
        let names: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
        let text = format!("this libavcodec has no decoder {}; install an FFmpeg that has it", names.join(" or "));
        return Err(LibavError { call: CALL, code: ffi::AVERROR_DECODER_NOT_FOUND, text });
    };
    let mut codec = Codec::new(found, CALL)?;
    codec.set_extradata(extradata)?;
    let flicks = c_int::try_from(FLICKS_PER_SECOND).expect("705 600 000 is below 2^31");
    codec.fields_mut().pkt_timebase = ffi::AVRational { num: 1, den: flicks };
    Ok(codec)
}

/// Hands the packet over. An error is about this packet only, unless memory is out.
fn send(codec: &mut Codec, packet: &Packet) -> Result<(), LibavError> {
    codec.send_packet(&packet.data, packet.pts.flicks(), packet.dts.flicks(), packet.keyframe)
}

fn receive(codec: &mut Codec) -> Result<Option<RawFrame>, LibavError> {
    let mut frame = RawFrame::new()?;
    Ok(match codec.receive_frame(&mut frame)? {
        Received::Some => Some(frame),
        Received::None => None,
    })
}

impl VideoDecoder {
    /// Opens a decoder for `track`.
    ///
    /// `reorder_frames` is how many frames the source decodes ahead of showing them. A source that does not say so in
    /// its SPS makes libavcodec find out by trying, and every try loses a frame; the caller knows it from the timestamps. Of the other
    /// codecs the stream always says it.
    pub(in crate::transcode) fn open(track: &VideoTrack, threads: u32, reorder_frames: u8) -> Result<Self, LibavError> {
        // VP9's record is for players: its decoder takes all from key frames.
        let extradata = if track.codec == VideoCodec::Vp9 { &[] } else { &track.config[..] };
        let mut codec = decoder(video_decoders(track.codec), extradata)?;
        let fields = codec.fields_mut();
        fields.thread_count = c_int::try_from(threads).unwrap_or(1);
        if track.codec == VideoCodec::H264 {
            fields.has_b_frames = c_int::from(reorder_frames);
        }
        // Parameter sets inside the stream may say another size than the track; libavcodec counts its padding too.
        fields.max_pixels = i64::try_from(2 * MAX_DECODED_PIXELS).unwrap_or(i64::MAX);
        codec.open(&[])?;
        Ok(VideoDecoder(codec))
    }

    /// Hands a packet over. An error is about this packet only, unless memory is out.
    pub(in crate::transcode) fn send(&mut self, packet: &Packet) -> Result<(), LibavError> {
        send(&mut self.0, packet)
    }

    /// Nothing follows: [`VideoDecoder::receive`] gives what is left.
    pub(in crate::transcode) fn finish(&mut self) -> Result<(), LibavError> {
        self.0.end_packets()
    }

    /// The next picture in presentation order. To be asked until `None` after each packet.
    pub(in crate::transcode) fn receive(&mut self) -> Result<Option<Picture>, LibavError> {
        Ok(receive(&mut self.0)?.map(Picture::from_decoder))
    }
}

impl AudioDecoder {
    /// Opens a decoder for `track`.
    pub(in crate::transcode) fn open(track: &AudioTrack) -> Result<Self, LibavError> {
        let mut codec = decoder(audio_decoders(track.codec), &track.config)?;
        let fields = codec.fields_mut();
        // Opus says how many samples to leave out at its beginning, but a session's sound has none: it is counted from the first packet.
        fields.flags2 |= ffi::AV_CODEC_FLAG2_SKIP_MANUAL as c_int;
        fields.request_sample_fmt = ffi::AVSampleFormat::AV_SAMPLE_FMT_FLTP;
        codec.open(&[])?;
        Ok(AudioDecoder(codec))
    }

    /// Hands a packet over. An error is about this packet only, unless memory is out.
    pub(in crate::transcode) fn send(&mut self, packet: &Packet) -> Result<(), LibavError> {
        send(&mut self.0, packet)
    }

    /// The next block. To be asked until `None` after each packet; none of these decoders has a delay to drain.
    pub(in crate::transcode) fn receive(&mut self) -> Result<Option<Samples>, LibavError> {
        Ok(receive(&mut self.0)?.map(Samples::from_raw))
    }
}
