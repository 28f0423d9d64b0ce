//! Configurations and frames of sound, whatever container they came in.

use std::sync::Arc;

use bytes::Bytes;

use super::{AccessUnit, Configuration, SoundError, Trouble, Yielded};
use crate::ingest::Rejected;
use crate::ingest::stamp::Stamp;
use crate::media::codec::{aac, ac3, flac, mpeg_audio, opus};
use crate::media::{AudioCodec, AudioTrack, Kind, Span, Track};

/// The sound of one connection.
#[derive(Debug, Default)]
pub(super) struct Sounds {
    track: Option<AudioTrack>,
}

impl Sounds {
    /// What the container says of the frames to come.
    pub(super) fn configure(&mut self, codec: AudioCodec, config: Bytes, out: &mut Yielded) -> Result<(), Trouble> {
        let track = match codec {
            AudioCodec::Aac => aac::track_from_config(config).map_err(SoundError::from),
            AudioCodec::Opus => opus::track_from_head(&config).map_err(SoundError::from),
            AudioCodec::Flac => flac::track_from_header(&config).map_err(SoundError::from),
            // Their frames say it all.
            AudioCodec::Ac3 | AudioCodec::Eac3 | AudioCodec::MpegAudio => return Ok(()),
        };
        self.change(track.map_err(Rejected::Audio)?, out);
        Ok(())
    }

    /// The frames to come are of this track.
    pub(super) fn change(&mut self, track: AudioTrack, out: &mut Yielded) {
        if self.track.as_ref() != Some(&track) {
            self.track = Some(track.clone());
            out.track(Configuration { track: Arc::new(Track::Audio(track)), reorder_frames: None });
        }
    }

    /// One frame.
    pub(super) fn frame(
        &mut self,
        codec: AudioCodec,
        stamp: Stamp,
        data: Bytes,
        out: &mut Yielded,
    ) -> Result<(), Trouble> {
        if let Some(track) = described_by(codec, &data)? {
            self.change(track, out);
        }
        let Some(track) = self.track.as_ref().filter(|track| track.codec == codec) else {
            out.skipped.unconfigured += 1;
            return Ok(());
        };
        let samples = match codec {
            AudioCodec::Opus => opus::packet_samples(&data).map_err(SoundError::from)?,
            AudioCodec::Flac => flac::frame_samples(&data).map_err(SoundError::from)?,
            _ => track.samples_per_frame,
        };
        if samples == 0 {
            return Err(SoundError::NoSamples.into());
        }
        let (kind, composition) = (Kind::Audio, Span::ZERO);
        out.unit(AccessUnit { samples, ..AccessUnit::new(kind, stamp, composition, true, data) });
        Ok(())
    }

    /// The codec and samples per second, once they are known.
    pub(super) fn format(&self) -> Option<(AudioCodec, u32)> {
        self.track.as_ref().map(|track| (track.codec, track.sample_rate))
    }
}

/// The track of a frame that describes itself; `None`: its codec has a configuration of its own.
fn described_by(codec: AudioCodec, frame: &[u8]) -> Result<Option<AudioTrack>, SoundError> {
    let track = match codec {
        AudioCodec::Ac3 | AudioCodec::Eac3 => ac3::parse(frame).map(|header| header.format.track()),
        AudioCodec::MpegAudio => mpeg_audio::parse(frame).map(|header| header.format.track()),
        AudioCodec::Aac | AudioCodec::Opus | AudioCodec::Flac => return Ok(None),
    };
    track.filter(|track| track.codec == codec).map(Some).ok_or(SoundError::NoHeader(codec.name()))
}
