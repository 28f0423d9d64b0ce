//! Bodies of audio tags, both directions: AAC and MP3 in the legacy forms, and what the headers of enhanced RTMP carry.

use bytes::{BufMut, Bytes, BytesMut};

use super::FlvError;
use super::enhanced::{self, FourCc, Header, MAX_HEADER_BYTES};
use super::tracks::{Format, Notice, TagReader};
use crate::media::{AudioCodec, Kind};

const FORMAT_MP3: u8 = 2;
const FORMAT_MP3_8_KHZ: u8 = 14;
const FORMAT_AAC: u8 = 10;
const FORMAT_ENHANCED: u8 = 9;
/// AAC with the rate, size and channel bits that the specification fixes for it.
const AAC_HEADER: u8 = 0xaf;
const AAC_SEQUENCE_HEADER: u8 = 0;
const AAC_RAW: u8 = 1;
const AAC_HEADER_BYTES: usize = 2;

/// What an audio tag holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AudioTag {
    /// The codec's configuration. The rate and channel bits of the legacy header are not asked: they lie.
    Config {
        /// Of what it is.
        codec: AudioCodec,
        /// AAC: AudioSpecificConfig. Opus: `OpusHead`. FLAC: STREAMINFO, alone, behind its block header, or behind `fLaC` as files
        /// begin. Empty where the codec needs none, and an encoder says that it begins.
        config: Bytes,
    },
    /// One frame, without a frame header where the configuration makes one needless (AAC, Opus), else with it.
    Frame {
        /// How it is coded.
        codec: AudioCodec,
        /// Nanoseconds to be added to the presentation time, up to 999 999.
        offset_ns: u32,
        /// The frame.
        data: Bytes,
    },
    /// Nothing for us: an empty message, another track, the end of a sequence, a packet type that does not exist.
    Ignored,
}

/// Reads one audio tag's body, without what came before it. The payload shares the buffer. For all of a connection see
/// [`TagReader::audio`].
///
/// # Errors
/// As [`TagReader::audio`].
pub fn parse_audio(body: &Bytes) -> Result<AudioTag, FlvError> {
    TagReader::default().audio(body)
}

impl TagReader {
    /// Reads an audio tag's body. The payload shares the buffer.
    ///
    /// # Errors
    /// The header is cut off, or the codec is not carried and nothing else comes: see [`super`].
    pub fn audio(&mut self, body: &Bytes) -> Result<AudioTag, FlvError> {
        let kind = Kind::Audio;
        let Some(&first) = body.first() else { return Ok(AudioTag::Ignored) };
        match first >> 4 {
            FORMAT_AAC => {}
            FORMAT_ENHANCED => return self.enhanced_audio(body),
            FORMAT_MP3 | FORMAT_MP3_8_KHZ if self.takes(kind, 0, true) => {
                return Ok(AudioTag::frame(AudioCodec::MpegAudio, body.slice(1..)));
            }
            FORMAT_MP3 | FORMAT_MP3_8_KHZ => return Ok(AudioTag::Ignored),
            other => return self.unsupported(kind, 0, Format::Id(other), true).map(|()| AudioTag::Ignored),
        }
        match body.get(1) {
            Some(&AAC_SEQUENCE_HEADER) if self.takes(kind, 0, false) => {
                Ok(AudioTag::config(AudioCodec::Aac, body.slice(AAC_HEADER_BYTES..)))
            }
            Some(&AAC_RAW) if self.takes(kind, 0, true) => {
                Ok(AudioTag::frame(AudioCodec::Aac, body.slice(AAC_HEADER_BYTES..)))
            }
            Some(_) => Ok(AudioTag::Ignored),
            None => Err(FlvError::truncated(kind, body)),
        }
    }

    fn enhanced_audio(&mut self, body: &Bytes) -> Result<AudioTag, FlvError> {
        let kind = Kind::Audio;
        let header = Header::read(kind, body)?;
        match header.packet_type {
            enhanced::SEQUENCE_START | enhanced::CODED_FRAMES => {}
            enhanced::SEQUENCE_END | enhanced::METADATA => return Ok(AudioTag::Ignored),
            packet_type => {
                self.notice(Notice::PacketType { kind, packet_type });
                return Ok(AudioTag::Ignored);
            }
        }
        let Some(taken) = self.choose(kind, body, &header, codec_of)? else { return Ok(AudioTag::Ignored) };
        let (codec, data) = (taken.codec, taken.payload);
        if header.packet_type == enhanced::CODED_FRAMES {
            return Ok(AudioTag::Frame { codec, offset_ns: header.offset_ns, data });
        }
        Ok(AudioTag::config(codec, data))
    }
}

/// The FourCC of enhanced RTMP.
pub const fn four_cc(codec: AudioCodec) -> &'static str {
    match codec {
        AudioCodec::Aac => "mp4a",
        AudioCodec::Opus => "Opus",
        AudioCodec::Ac3 => "ac-3",
        AudioCodec::Eac3 => "ec-3",
        AudioCodec::MpegAudio => ".mp3",
        AudioCodec::Flac => "fLaC",
    }
}

fn codec_of(wanted: FourCc) -> Option<AudioCodec> {
    AudioCodec::ALL.into_iter().find(|codec| four_cc(*codec).as_bytes() == wanted)
}

pub(super) fn format_name(format: u8) -> &'static str {
    match format {
        0 | 3 => "PCM",
        1 => "ADPCM",
        4..=6 => "Nellymoser",
        7 => "G.711 A-law",
        8 => "G.711 mu-law",
        11 => "Speex",
        15 => "of a device of its own (format 15)",
        _ => "of a reserved format",
    }
}

impl AudioTag {
    /// A configuration.
    pub fn config(codec: AudioCodec, config: Bytes) -> Self {
        AudioTag::Config { codec, config }
    }

    /// A frame whose time is told in milliseconds.
    pub fn frame(codec: AudioCodec, data: Bytes) -> Self {
        AudioTag::Frame { codec, offset_ns: 0, data }
    }

    /// The tag's body: in the legacy form where AAC can be said in it, else with a header of enhanced RTMP. An ignored tag becomes
    /// an empty body.
    pub fn to_body(&self) -> Bytes {
        match self {
            AudioTag::Config { codec: AudioCodec::Aac, config } => aac(AAC_SEQUENCE_HEADER, config),
            AudioTag::Config { codec, config } => ex(enhanced::SEQUENCE_START, 0, *codec, config),
            AudioTag::Frame { codec: AudioCodec::Aac, offset_ns: 0, data } => aac(AAC_RAW, data),
            AudioTag::Frame { codec, offset_ns, data } => ex(enhanced::CODED_FRAMES, *offset_ns, *codec, data),
            AudioTag::Ignored => Bytes::new(),
        }
    }
}

fn aac(packet_type: u8, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(AAC_HEADER_BYTES + payload.len());
    out.put_slice(&[AAC_HEADER, packet_type]);
    out.put_slice(payload);
    out.freeze()
}

fn ex(packet_type: u8, offset_ns: u32, codec: AudioCodec, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(MAX_HEADER_BYTES + payload.len());
    enhanced::write(&mut out, FORMAT_ENHANCED << 4, packet_type, offset_ns, four_cc(codec));
    out.put_slice(payload);
    out.freeze()
}

#[cfg(test)]
#[path = "audio_tests.rs"]
mod tests;
