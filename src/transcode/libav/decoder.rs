//! Decoders. Timestamps go through libavcodec in flicks and come back unchanged: it only sorts them.

use std::ffi::{CStr, c_int};

use ffmpeg_next::ffi;

use super::LibavError;
use super::codec::{Codec, Received};
use super::frame::{Picture, RawFrame, Samples};
use crate::media::time::FLICKS_PER_SECOND;
use crate::media::{AudioTrack, Packet, VideoTrack};
use crate::transcode::plan::MAX_DECODED_PIXELS;

/// Decoder of H.264 in AVCC form.
#[derive(Debug)]
pub(in crate::transcode) struct VideoDecoder(Codec);

/// Decoder of raw AAC frames.
#[derive(Debug)]
pub(in crate::transcode) struct AudioDecoder(Codec);

/// `name` is the decoder's: of the AAC decoders only this one gives planar floats.
fn decoder(name: &CStr, extradata: &[u8]) -> Result<Codec, LibavError> {
    // SAFETY: the name ends with a zero byte; null is handled by `Codec::new`.
    let found = unsafe { ffi::avcodec_find_decoder_by_name(name.as_ptr()) };
    let mut codec = Codec::new(found, "avcodec_find_decoder_by_name")?;
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
    /// its SPS makes libavcodec find out by trying, and every try loses a frame; the caller knows it from the timestamps.
    pub(in crate::transcode) fn open(track: &VideoTrack, threads: u32, reorder_frames: u8) -> Result<Self, LibavError> {
        let mut codec = decoder(c"h264", &track.config)?;
        let fields = codec.fields_mut();
        fields.thread_count = c_int::try_from(threads).unwrap_or(1);
        fields.has_b_frames = c_int::from(reorder_frames);
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
        let mut codec = decoder(c"aac", &track.config)?;
        codec.open(&[])?;
        Ok(AudioDecoder(codec))
    }

    /// Hands a packet over. An error is about this packet only, unless memory is out.
    pub(in crate::transcode) fn send(&mut self, packet: &Packet) -> Result<(), LibavError> {
        send(&mut self.0, packet)
    }

    /// The next block. To be asked until `None` after each packet; AAC has no delay to drain.
    pub(in crate::transcode) fn receive(&mut self) -> Result<Option<Samples>, LibavError> {
        Ok(receive(&mut self.0)?.map(Samples::from_raw))
    }
}
