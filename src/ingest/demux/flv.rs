//! RTMP messages, which are FLV tags.

use super::pictures::{Coded, Form, Pictures};
use super::sounds::Sounds;
use super::{Trouble, Yielded};
use crate::ingest::Rejected;
use crate::ingest::stamp::Stamp;
use crate::media::{AudioCodec, Span, VideoCodec};
use crate::wire::flv::{AudioTag, FlvError, Tag, TagKind, VideoTag, parse_audio, parse_video};

/// Reads one tag.
pub(super) fn read(tag: &Tag, pictures: &mut Pictures, sounds: &mut Sounds, out: &mut Yielded) -> Result<(), Trouble> {
    let stamp = Stamp::flv(tag.timestamp_ms);
    match tag.kind {
        TagKind::Video => video(parse_video(&tag.data)?, stamp, pictures, out),
        TagKind::Audio => audio(parse_audio(&tag.data)?, stamp, sounds, out),
        TagKind::Script => Ok(()), // metadata is advice; the configurations decide
    }
}

fn video(tag: VideoTag, stamp: Stamp, pictures: &mut Pictures, out: &mut Yielded) -> Result<(), Trouble> {
    match tag {
        VideoTag::Config(record) if !record.is_empty() => pictures.configure(VideoCodec::H264, &record, out),
        VideoTag::Frame { composition_ms, data, .. } => {
            let composition = Span::from_millis(i64::from(composition_ms));
            pictures.picture(VideoCodec::H264, Coded { stamp, composition, form: Form::AsConfigured, data }, out)
        }
        VideoTag::Config(_) | VideoTag::EndOfSequence | VideoTag::Ignored => {
            out.skipped.empty += 1;
            Ok(())
        }
    }
}

fn audio(tag: AudioTag, stamp: Stamp, sounds: &mut Sounds, out: &mut Yielded) -> Result<(), Trouble> {
    match tag {
        AudioTag::Config(config) if !config.is_empty() => sounds.configure(AudioCodec::Aac, config, out),
        AudioTag::Frame(data) if !data.is_empty() => sounds.frame(AudioCodec::Aac, stamp, data, out),
        AudioTag::Config(_) | AudioTag::Frame(_) | AudioTag::Ignored => {
            out.skipped.empty += 1;
            Ok(())
        }
    }
}

impl From<FlvError> for Trouble {
    fn from(error: FlvError) -> Self {
        if error.is_unsupported() { Trouble::Reject(Rejected::Codec(error)) } else { Trouble::Skip(error.to_string()) }
    }
}
