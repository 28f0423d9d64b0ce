//! RTMP messages, which are FLV tags.

use tracing::warn;

use super::pictures::{Coded, Form, Pictures};
use super::sounds::Sounds;
use super::{Trouble, Yielded};
use crate::ingest::Rejected;
use crate::ingest::stamp::Stamp;
use crate::media::Span;
use crate::wire::flv::{AudioTag, FlvError, Tag, TagKind, TagReader, VideoTag};

/// The tags of one connection.
#[derive(Debug, Default)]
pub(super) struct Tags {
    reader: TagReader,
}

impl Tags {
    /// Reads one tag.
    pub(super) fn read(
        &mut self,
        tag: &Tag,
        pictures: &mut Pictures,
        sounds: &mut Sounds,
        out: &mut Yielded,
    ) -> Result<(), Trouble> {
        let stamp = Stamp::flv(tag.timestamp_ms);
        let read = match tag.kind {
            TagKind::Video => self.reader.video(&tag.data).map(|tag| video(tag, stamp, pictures, out)),
            TagKind::Audio => self.reader.audio(&tag.data).map(|tag| audio(tag, stamp, sounds, out)),
            TagKind::Script => return Ok(()), // metadata is advice; the configurations decide
        };
        for notice in self.reader.new_notices() {
            warn!(%notice, "something that the publisher sends is left out");
        }
        read?
    }
}

fn video(tag: VideoTag, stamp: Stamp, pictures: &mut Pictures, out: &mut Yielded) -> Result<(), Trouble> {
    match tag {
        VideoTag::Config { codec, config } if !config.is_empty() => pictures.configure(codec, &config, out),
        VideoTag::Frame { codec, composition_ms, offset_ns, data, .. } => {
            let composition = Span::from_millis(i64::from(composition_ms)) + nanoseconds(offset_ns);
            pictures.picture(codec, Coded { stamp, composition, form: Form::AsConfigured, data }, out)
        }
        VideoTag::Config { .. } | VideoTag::EndOfSequence(_) | VideoTag::Ignored => {
            out.skipped.empty += 1;
            Ok(())
        }
    }
}

fn audio(tag: AudioTag, stamp: Stamp, sounds: &mut Sounds, out: &mut Yielded) -> Result<(), Trouble> {
    match tag {
        AudioTag::Config { codec, config } if !config.is_empty() => sounds.configure(codec, config, out),
        AudioTag::Frame { codec, offset_ns, data } if !data.is_empty() => {
            sounds.frame(codec, stamp.later(nanoseconds(offset_ns)), data, out)
        }
        AudioTag::Config { .. } | AudioTag::Frame { .. } | AudioTag::Ignored => {
            out.skipped.empty += 1;
            Ok(())
        }
    }
}

fn nanoseconds(count: u32) -> Span {
    Span::from_units(i64::from(count), 1_000_000_000)
}

impl From<FlvError> for Trouble {
    fn from(error: FlvError) -> Self {
        if error.is_unsupported() { Trouble::Reject(Rejected::Codec(error)) } else { Trouble::Skip(error.to_string()) }
    }
}
