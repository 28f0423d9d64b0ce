//! Configurations and frames of sound.

use std::sync::Arc;

use bytes::Bytes;

use super::{AccessUnit, Configuration, Trouble, Yielded};
use crate::ingest::Rejected;
use crate::ingest::stamp::Stamp;
use crate::media::codec::aac;
use crate::media::{AudioCodec, AudioTrack, Kind, Span, Track};

/// The sound of one connection.
#[derive(Debug, Default)]
pub(super) struct Sounds {
    track: Option<AudioTrack>,
}

impl Sounds {
    pub(super) fn configuration(&self) -> Option<Configuration> {
        let track = Arc::new(Track::Audio(self.track.clone()?));
        Some(Configuration { track, reorder_frames: None })
    }

    /// What the container says of the frames to come.
    pub(super) fn configure(&mut self, codec: AudioCodec, config: Bytes, out: &mut Yielded) -> Result<(), Trouble> {
        let track = aac::track_from_config(config).map_err(Rejected::Audio)?;
        debug_assert_eq!(codec, track.codec);
        self.change(track, out);
        Ok(())
    }

    /// The frames to come are of this track.
    pub(super) fn change(&mut self, track: AudioTrack, out: &mut Yielded) {
        if self.track.as_ref() != Some(&track) {
            self.track = Some(track);
            self.configuration().into_iter().for_each(|configuration| out.track(configuration));
        }
    }

    /// One frame.
    pub(super) fn frame(&mut self, stamp: Stamp, data: Bytes, out: &mut Yielded) -> Result<(), Trouble> {
        let Some(track) = &self.track else {
            out.skipped.unconfigured += 1;
            return Ok(());
        };
        let samples = track.samples_per_frame;
        let (kind, composition) = (Kind::Audio, Span::ZERO);
        out.unit(AccessUnit { kind, stamp, composition, keyframe: true, samples, after_loss: false, data });
        Ok(())
    }
}
