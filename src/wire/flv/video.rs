//! Bodies of video tags, both directions: H.264 in the AVC form, and what the headers of enhanced RTMP carry.

use bytes::{BufMut, Bytes, BytesMut};

use super::enhanced::{self, FourCc, Header};
use super::tracks::{Format, Notice, TagReader};
use super::{FlvError, enhanced::MAX_HEADER_BYTES};
use crate::media::{Kind, VideoCodec};

const CODEC_AVC: u8 = 7;
/// Not of any specification: encoders in China send HEVC by it, in a header like AVC's.
const CODEC_HEVC: u8 = 12;
/// Bit of enhanced RTMP's header in the first byte.
const ENHANCED: u8 = 0x80;
const FRAME_TYPE_KEY: u8 = 1;
const FRAME_TYPE_INTER: u8 = 2;
const FRAME_TYPE_COMMAND: u8 = 5;
const AVC_SEQUENCE_HEADER: u8 = 0;
const AVC_NALUS: u8 = 1;
const AVC_END_OF_SEQUENCE: u8 = 2;
/// Frame type and codec, AVC packet type, composition time.
const AVC_HEADER_BYTES: usize = 5;

/// What a video tag holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoTag {
    /// The codec's configuration.
    Config {
        /// Of what it is.
        codec: VideoCodec,
        /// The body of the codec's configuration box, with whatever NAL lengths it says. VP9's may come with the version and flags of
        /// the box before the record: encoders differ in that.
        config: Bytes,
    },
    /// One access unit, or one temporal unit of AV1.
    Frame {
        /// How it is coded.
        codec: VideoCodec,
        /// The container's word for it; only what is coded is to be trusted.
        claimed_key: bool,
        /// Presentation minus decoding time in milliseconds, signed. AV1 and VP9 have none.
        composition_ms: i32,
        /// Nanoseconds to be added to the presentation time, up to 999 999.
        offset_ns: u32,
        /// H.264 and HEVC: NAL units behind lengths, as the configuration says. AV1: OBUs with sizes. VP9: a frame or superframe.
        data: Bytes,
    },
    /// The encoder says that it ends. Its time stamp means nothing (FFmpeg steps back by 95 ms).
    EndOfSequence(VideoCodec),
    /// Nothing for us: a command frame, an empty message, colour metadata, another track, a packet type that does not exist.
    Ignored,
}

/// Reads one video tag's body, without what came before it. The payload shares the buffer. For all of a connection see
/// [`TagReader::video`].
///
/// # Errors
/// As [`TagReader::video`].
pub fn parse_video(body: &Bytes) -> Result<VideoTag, FlvError> {
    TagReader::default().video(body)
}

impl TagReader {
    /// Reads a video tag's body. The payload shares the buffer.
    ///
    /// # Errors
    /// The header is cut off, or the codec is not carried and nothing else comes: see [`super`].
    pub fn video(&mut self, body: &Bytes) -> Result<VideoTag, FlvError> {
        let Some(&first) = body.first() else { return Ok(VideoTag::Ignored) };
        let frame_type = first >> 4 & 0b111;
        if frame_type == FRAME_TYPE_COMMAND {
            return Ok(VideoTag::Ignored);
        }
        let claimed_key = frame_type == FRAME_TYPE_KEY;
        if first & ENHANCED == 0 {
            self.legacy_video(body, claimed_key)
        } else {
            self.enhanced_video(body, claimed_key)
        }
    }

    fn legacy_video(&mut self, body: &Bytes, claimed_key: bool) -> Result<VideoTag, FlvError> {
        let kind = Kind::Video;
        let codec = match body[0] & 0x0f {
            CODEC_AVC => VideoCodec::H264,
            CODEC_HEVC => VideoCodec::Hevc,
            other => return self.unsupported(kind, 0, Format::Id(other), true).map(|()| VideoTag::Ignored),
        };
        let truncated = FlvError::truncated(kind, body);
        match body.get(1) {
            Some(&AVC_END_OF_SEQUENCE) => Ok(VideoTag::EndOfSequence(codec)),
            Some(_) if body.len() < AVC_HEADER_BYTES => Err(truncated),
            Some(&AVC_SEQUENCE_HEADER) if self.takes(kind, 0, false) => {
                Ok(VideoTag::config(codec, body.slice(AVC_HEADER_BYTES..)))
            }
            Some(&AVC_NALUS) if self.takes(kind, 0, true) => Ok(VideoTag::Frame {
                codec,
                claimed_key,
                composition_ms: composition([body[2], body[3], body[4]]),
                offset_ns: 0,
                data: body.slice(AVC_HEADER_BYTES..),
            }),
            Some(_) => Ok(VideoTag::Ignored),
            None => Err(truncated),
        }
    }

    fn enhanced_video(&mut self, body: &Bytes, claimed_key: bool) -> Result<VideoTag, FlvError> {
        let kind = Kind::Video;
        let header = Header::read(kind, body)?;
        match header.packet_type {
            enhanced::SEQUENCE_START..=enhanced::CODED_FRAMES_X => {}
            enhanced::METADATA => return Ok(VideoTag::Ignored),
            packet_type => {
                self.notice(Notice::PacketType { kind, packet_type });
                return Ok(VideoTag::Ignored);
            }
        }
        let Some(taken) = self.choose(kind, body, &header, codec_of)? else { return Ok(VideoTag::Ignored) };
        let (codec, mut data) = (taken.codec, taken.payload);
        match header.packet_type {
            enhanced::SEQUENCE_START => Ok(VideoTag::config(codec, data)),
            enhanced::SEQUENCE_END => Ok(VideoTag::EndOfSequence(codec)),
            packet_type => {
                let mut composition_ms = 0;
                if packet_type == enhanced::CODED_FRAMES && has_composition(codec) {
                    let field = *data.first_chunk::<3>().ok_or_else(|| FlvError::truncated(kind, body))?;
                    composition_ms = composition(field);
                    data = data.slice(field.len()..);
                }
                Ok(VideoTag::Frame { codec, claimed_key, composition_ms, offset_ns: header.offset_ns, data })
            }
        }
    }
}

/// Sign extension: the 24 bits go to the top of the word and come back down.
fn composition([high, middle, low]: [u8; 3]) -> i32 {
    i32::from_be_bytes([high, middle, low, 0]) >> 8
}

/// FourCCs are those of sample entries.
fn codec_of(four_cc: FourCc) -> Option<VideoCodec> {
    VideoCodec::ALL.into_iter().find(|codec| codec.sample_entry().as_bytes() == four_cc)
}

/// Whether CodedFrames have a composition time: codecs whose pictures are not sent in the order of their display.
const fn has_composition(codec: VideoCodec) -> bool {
    matches!(codec, VideoCodec::H264 | VideoCodec::Hevc)
}

pub(super) fn codec_name(codec: u8) -> String {
    let name = match codec {
        1 => "JPEG",
        2 => "Sorenson H.263",
        3 | 6 => "Screen Video",
        4 | 5 => "VP6",
        8 => "H.263",
        9 => "MPEG-4 Part 2",
        13 => "AV1 (codec id 13)",
        other => return format!("id {other}"),
    };
    name.to_owned()
}

impl VideoTag {
    /// A configuration.
    pub fn config(codec: VideoCodec, config: Bytes) -> Self {
        VideoTag::Config { codec, config }
    }

    /// An access unit whose time is told in milliseconds.
    pub fn frame(codec: VideoCodec, claimed_key: bool, composition_ms: i32, data: Bytes) -> Self {
        VideoTag::Frame { codec, claimed_key, composition_ms, offset_ns: 0, data }
    }

    /// The tag's body: in the AVC form where that can say it, else with a header of enhanced RTMP. Composition times beyond 24 bits
    /// are clamped, and left out where the codec has none. An ignored tag becomes an empty body.
    pub fn to_body(&self) -> Bytes {
        match self {
            VideoTag::Config { codec: VideoCodec::H264, config } => avc(FRAME_TYPE_KEY, AVC_SEQUENCE_HEADER, 0, config),
            VideoTag::Config { codec, config } => {
                let mut out = ex(FRAME_TYPE_KEY, enhanced::SEQUENCE_START, 0, *codec, config.len());
                out.put_slice(config);
                out.freeze()
            }
            VideoTag::Frame { codec, claimed_key, composition_ms, offset_ns, data } => {
                let frame_type = if *claimed_key { FRAME_TYPE_KEY } else { FRAME_TYPE_INTER };
                if *codec == VideoCodec::H264 && *offset_ns == 0 {
                    return avc(frame_type, AVC_NALUS, *composition_ms, data);
                }
                let packet_type = match composition_ms {
                    0 if has_composition(*codec) => enhanced::CODED_FRAMES_X,
                    _ => enhanced::CODED_FRAMES,
                };
                let mut out = ex(frame_type, packet_type, *offset_ns, *codec, 3 + data.len());
                if has_composition(*codec) && packet_type == enhanced::CODED_FRAMES {
                    out.put_slice(&composition_field(*composition_ms));
                }
                out.put_slice(data);
                out.freeze()
            }
            VideoTag::EndOfSequence(VideoCodec::H264) => avc(FRAME_TYPE_KEY, AVC_END_OF_SEQUENCE, 0, &[]),
            VideoTag::EndOfSequence(codec) => ex(FRAME_TYPE_KEY, enhanced::SEQUENCE_END, 0, *codec, 0).freeze(),
            VideoTag::Ignored => Bytes::new(),
        }
    }
}

fn composition_field(ms: i32) -> [u8; 3] {
    const LIMIT: i32 = 1 << 23;
    let [_, high, middle, low] = ms.clamp(-LIMIT, LIMIT - 1).to_be_bytes();
    [high, middle, low]
}

fn avc(frame_type: u8, packet_type: u8, composition_ms: i32, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(AVC_HEADER_BYTES + payload.len());
    out.put_u8(frame_type << 4 | CODEC_AVC);
    out.put_u8(packet_type);
    out.put_slice(&composition_field(composition_ms));
    out.put_slice(payload);
    out.freeze()
}

/// An enhanced header, with room for so many bytes behind it.
fn ex(frame_type: u8, packet_type: u8, offset_ns: u32, codec: VideoCodec, room: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(MAX_HEADER_BYTES + room);
    enhanced::write(&mut out, ENHANCED | frame_type << 4, packet_type, offset_ns, codec.sample_entry());
    out
}

#[cfg(test)]
#[path = "video_tests.rs"]
mod tests;
