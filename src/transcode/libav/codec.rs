//! An open `AVCodecContext` and the packet that it reads or writes: what all codecs share.

use std::ffi::{CStr, CString, c_int};
use std::ptr::{self, NonNull};

use ffmpeg_next::ffi;

use super::frame::RawFrame;
use super::{LibavError, check};

/// What a receive call gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Something new is in the frame or packet.
    Some,
    /// More input is needed, or everything is out.
    None,
}

/// `AVCodecContext` and `AVPacket`, both owned.
#[derive(Debug)]
pub(super) struct Codec {
    context: NonNull<ffi::AVCodecContext>,
    packet: NonNull<ffi::AVPacket>,
}

// SAFETY: both allocations are owned by this value alone; libav has no thread affinity, one user at a time is enough.
unsafe impl Send for Codec {}

impl Codec {
    /// Allocates a context for `codec`, which is not opened yet.
    pub(super) fn new(codec: *const ffi::AVCodec, call: &'static str) -> Result<Self, LibavError> {
        if codec.is_null() {
            return Err(LibavError::new(call, ffi::AVERROR_ENCODER_NOT_FOUND));
        }
        // SAFETY: `codec` points to static data of libavcodec; null results are handled.
        let context = NonNull::new(unsafe { ffi::avcodec_alloc_context3(codec) })
            .ok_or_else(|| LibavError::out_of_memory("avcodec_alloc_context3"))?;
        // SAFETY: no precondition; a null result is handled, and the context freed then.
        match NonNull::new(unsafe { ffi::av_packet_alloc() }) {
            Some(packet) => Ok(Codec { context, packet }),
            None => {
                // SAFETY: allocated above, not shared with anybody.
                unsafe { ffi::avcodec_free_context(&mut context.as_ptr()) };
                Err(LibavError::out_of_memory("av_packet_alloc"))
            }
        }
    }

    /// The context's fields.
    pub(super) fn fields(&self) -> &ffi::AVCodecContext {
        // SAFETY: points to an initialised context for as long as `self` lives.
        unsafe { self.context.as_ref() }
    }

    /// The context's fields, to be set before [`Codec::open`].
    pub(super) fn fields_mut(&mut self) -> &mut ffi::AVCodecContext {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { self.context.as_mut() }
    }

    /// Copies `extradata` into the context, with the zero padding that libav's bit readers rely on.
    pub(super) fn set_extradata(&mut self, extradata: &[u8]) -> Result<(), LibavError> {
        let padded = extradata.len() + ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize;
        let size = length("extradata", extradata.len())?;
        // SAFETY: the buffer has room for the copy and its padding; the context takes it over and frees it.
        unsafe {
            let buffer = ffi::av_mallocz(padded).cast::<u8>();
            if buffer.is_null() {
                return Err(LibavError::out_of_memory("av_mallocz"));
            }
            ptr::copy_nonoverlapping(extradata.as_ptr(), buffer, extradata.len());
            let fields = self.context.as_mut();
            fields.extradata = buffer;
            fields.extradata_size = size;
        }
        Ok(())
    }

    /// Opens the codec that the context was made for. An option that it does not know is an error.
    pub(super) fn open(&mut self, options: &[(&CStr, String)]) -> Result<(), LibavError> {
        let mut dictionary: *mut ffi::AVDictionary = ptr::null_mut();
        let opened = self.open_with(options, &mut dictionary);
        // SAFETY: the dictionary holds what avcodec_open2 did not take; freeing null is allowed.
        let unknown = unsafe { ffi::av_dict_count(dictionary) };
        // SAFETY: as above.
        unsafe { ffi::av_dict_free(&mut dictionary) };
        opened?;
        if unknown > 0 { Err(LibavError::new("avcodec_open2", ffi::AVERROR_OPTION_NOT_FOUND)) } else { Ok(()) }
    }

    fn open_with(
        &mut self,
        options: &[(&CStr, String)],
        dictionary: &mut *mut ffi::AVDictionary,
    ) -> Result<(), LibavError> {
        for (key, value) in options {
            // A zero byte inside would cut the value: libav then refuses the empty one.
            let value = CString::new(value.as_str()).unwrap_or_default();
            // SAFETY: both strings end with a zero byte and are copied.
            check("av_dict_set", unsafe { ffi::av_dict_set(dictionary, key.as_ptr(), value.as_ptr(), 0) })?;
        }
        // SAFETY: the context is allocated and not open; null as codec means the one it was made for.
        check("avcodec_open2", unsafe { ffi::avcodec_open2(self.context.as_ptr(), ptr::null(), dictionary) })?;
        Ok(())
    }

    /// `extradata`, which encoders fill when they are opened.
    pub(super) fn extradata(&self) -> &[u8] {
        let fields = self.fields();
        match usize::try_from(fields.extradata_size) {
            // SAFETY: libav says that so many bytes are there; they live as long as the context.
            Ok(size) if !fields.extradata.is_null() => unsafe { std::slice::from_raw_parts(fields.extradata, size) },
            _ => &[],
        }
    }

    /// Hands a packet with this payload to a decoder. The caller drains it after each packet, so that it always has room.
    pub(super) fn send_packet(&mut self, data: &[u8], pts: i64, dts: i64, key: bool) -> Result<(), LibavError> {
        let size = length("packet", data.len())?;
        // SAFETY: av_new_packet gives a buffer of `size` bytes with padding, which is filled; the decoder takes its own
        // reference, and ours is dropped in every case.
        let sent = unsafe {
            let packet = self.packet.as_ptr();
            check("av_new_packet", ffi::av_new_packet(packet, size))?;
            ptr::copy_nonoverlapping(data.as_ptr(), (*packet).data, data.len());
            (*packet).pts = pts;
            (*packet).dts = dts;
            (*packet).flags = if key { ffi::AV_PKT_FLAG_KEY } else { 0 };
            let sent = ffi::avcodec_send_packet(self.context.as_ptr(), packet);
            ffi::av_packet_unref(packet);
            sent
        };
        check("avcodec_send_packet", sent).map(drop)
    }

    /// Tells a decoder that nothing follows.
    pub(super) fn end_packets(&mut self) -> Result<(), LibavError> {
        // SAFETY: the context is open; a null packet starts draining.
        done("avcodec_send_packet", unsafe { ffi::avcodec_send_packet(self.context.as_ptr(), ptr::null()) }).map(drop)
    }

    /// Takes a frame out of a decoder.
    pub(super) fn receive_frame(&mut self, frame: &mut RawFrame) -> Result<Received, LibavError> {
        // SAFETY: the context is open; the frame is ours and is reset by the call.
        let code = unsafe { ffi::avcodec_receive_frame(self.context.as_ptr(), frame.as_mut_ptr()) };
        done("avcodec_receive_frame", code)
    }

    /// Hands a frame to an encoder, which takes its own reference. `None`: nothing follows.
    pub(super) fn send_frame(&mut self, frame: Option<&RawFrame>) -> Result<(), LibavError> {
        let frame = frame.map_or(ptr::null(), RawFrame::as_ptr);
        // SAFETY: the context is open; the frame, if any, lives through the call and is not changed by it.
        let code = unsafe { ffi::avcodec_send_frame(self.context.as_ptr(), frame) };
        if frame.is_null() {
            done("avcodec_send_frame", code).map(drop)
        } else {
            check("avcodec_send_frame", code).map(drop)
        }
    }

    /// Takes a packet out of an encoder: see [`Codec::packet`].
    pub(super) fn receive_packet(&mut self) -> Result<Received, LibavError> {
        // SAFETY: the context is open; the packet is ours and is reset by the call.
        let code = unsafe { ffi::avcodec_receive_packet(self.context.as_ptr(), self.packet.as_ptr()) };
        done("avcodec_receive_packet", code)
    }

    /// What the last [`Codec::receive_packet`] gave.
    pub(super) fn packet(&self) -> Coded<'_> {
        // SAFETY: the packet is ours; its payload lives until the next call that takes `&mut self`.
        unsafe {
            let packet = self.packet.as_ref();
            let size = usize::try_from(packet.size).unwrap_or(0);
            let data = if packet.data.is_null() { &[] } else { std::slice::from_raw_parts(packet.data, size) };
            Coded { data, pts: packet.pts, dts: packet.dts, key: packet.flags & ffi::AV_PKT_FLAG_KEY != 0 }
        }
    }
}

/// A coded packet inside of an encoder.
#[derive(Clone, Copy, Debug)]
pub(in crate::transcode) struct Coded<'a> {
    /// Payload.
    pub(in crate::transcode) data: &'a [u8],
    /// Presentation time in the encoder's time base.
    pub(in crate::transcode) pts: i64,
    /// Decoding time in the encoder's time base.
    pub(in crate::transcode) dts: i64,
    /// Decoding may start here.
    pub(in crate::transcode) key: bool,
}

/// "Again later" and "all out" are no errors.
fn done(call: &'static str, code: c_int) -> Result<Received, LibavError> {
    if code == ffi::AVERROR(ffmpeg_next::error::EAGAIN) || code == ffi::AVERROR_EOF {
        return Ok(Received::None);
    }
    check(call, code).map(|_| Received::Some)
}

/// A length as libav counts it.
fn length(what: &'static str, len: usize) -> Result<c_int, LibavError> {
    c_int::try_from(len).map_err(|_| LibavError::new(what, ffi::AVERROR_INVALIDDATA))
}

impl Drop for Codec {
    fn drop(&mut self) {
        // SAFETY: both were allocated in `new`, and are freed here only.
        unsafe {
            ffi::av_packet_free(&mut self.packet.as_ptr());
            ffi::avcodec_free_context(&mut self.context.as_ptr());
        }
    }
}
