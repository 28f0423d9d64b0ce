//! What a publisher sent becomes access units: each picture and each frame of sound by itself, with its track before it.
//!
//! Configurations become [`Track`]s, once each; parameter sets in the stream are compared with them and taken out, access unit
//! delimiters too; NAL lengths become 4 bytes. An access unit that needs none of that is passed on without a copy. Whether
//! a picture is a keyframe is decided by its content; what the container claims is not asked. Time is not looked at here.
//!
//! | module | holds |
//! |---|---|
//! | `flv` | RTMP messages, which are FLV tags |
//! | `ts` | MPEG transport streams |
//! | `pictures` | configurations and pictures, whatever the container and the codec |
//! | `nal` | those of codecs made of NAL units |
//! | `sets` | parameter sets |
//! | `sounds` | configurations and frames of sound |

mod flv;
mod nal;
mod pictures;
mod sets;
mod sounds;
mod ts;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tracing::debug;

use super::Rejected;
use super::stamp::Stamp;
use crate::media::codec::aac::AacError;
use crate::media::codec::av1::Av1Error;
use crate::media::codec::flac::FlacError;
use crate::media::codec::h264::H264Error;
use crate::media::codec::hevc::HevcError;
use crate::media::codec::nal::NalError;
use crate::media::codec::opus::OpusError;
use crate::media::codec::vp9::Vp9Error;
use crate::media::{Kind, Span, Track};
use crate::wire::Inbound;

use flv::Tags;
use pictures::Pictures;
use sounds::Sounds;
use ts::Transport;

/// So many damaged messages in a row are not damage: the encoder writes something else than it says.
const MAX_DAMAGED_IN_A_ROW: u32 = 100;

/// An access unit with the publisher's stamps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AccessUnit {
    pub kind: Kind,
    /// Decoding time on the publisher's clock.
    pub stamp: Stamp,
    pub composition: Span,
    pub keyframe: bool,
    /// Samples of a frame of sound, at its track's rate; never 0.
    pub samples: u32,
    /// Something of this track is missing before this.
    pub after_loss: bool,
    /// A picture that is shown before the keyframe in front of it, and needs pictures from before that one as well.
    pub leading: bool,
    pub data: Bytes,
}

impl AccessUnit {
    pub(super) fn new(kind: Kind, stamp: Stamp, composition: Span, keyframe: bool, data: Bytes) -> Self {
        AccessUnit { kind, stamp, composition, keyframe, samples: 0, after_loss: false, leading: false, data }
    }
}

/// A new configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Configuration {
    pub track: Arc<Track>,
    /// By how many frames output order may leave decoding order, if the stream says so.
    pub reorder_frames: Option<u32>,
}

/// What a publisher sent, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Demuxed {
    /// Comes before what it configures.
    Track(Configuration),
    Unit(AccessUnit),
}

/// What was left out, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Skipped {
    /// Messages that could not be parsed.
    pub damaged: u64,
    /// Frames before their configuration.
    pub unconfigured: u64,
    /// Messages without a picture or sound in them.
    pub empty: u64,
}

/// The demuxer of one connection.
#[derive(Debug, Default)]
pub(super) struct Demux {
    tags: Tags,
    transport: Option<Box<Transport>>,
    pictures: Pictures,
    sounds: Sounds,
    damaged_in_a_row: u32,
    yielded: Yielded,
}

/// What comes out.
#[derive(Debug, Default)]
struct Yielded {
    queue: VecDeque<Demuxed>,
    skipped: Skipped,
    /// By kind: something was lost since the last unit.
    lost: [bool; 2],
    units: u64,
}

impl Yielded {
    fn track(&mut self, configuration: Configuration) {
        self.queue.push_back(Demuxed::Track(configuration));
    }

    fn unit(&mut self, mut unit: AccessUnit) {
        unit.after_loss |= std::mem::take(&mut self.lost[unit.kind as usize]);
        self.units += 1;
        self.queue.push_back(Demuxed::Unit(unit));
    }
}

impl Demux {
    pub(super) fn skipped(&self) -> Skipped {
        let damaged = self.transport.as_ref().map_or(0, |transport| transport.damaged());
        Skipped { damaged: self.yielded.skipped.damaged + damaged, ..self.yielded.skipped }
    }

    /// Whether the container says nothing of what it brings until it was read.
    pub(super) fn is_transport(&self) -> bool {
        self.transport.is_some()
    }

    /// What was left out so far is not to be counted.
    pub(super) fn forget_skipped(&mut self) {
        self.yielded.skipped = Skipped::default();
        if let Some(transport) = &mut self.transport {
            transport.forget_damaged();
        }
    }

    /// Pictures and frames of sound so far.
    pub(super) fn units(&self) -> u64 {
        self.yielded.units
    }

    /// A transport stream in which nothing was found yet.
    pub(super) fn awaits_media(&self) -> bool {
        self.is_transport() && self.yielded.units == 0
    }

    /// Pictures come, or are announced, and nothing yet that says how to decode them.
    pub(super) fn awaits_parameter_sets(&self) -> bool {
        let announced = self.transport.as_ref().is_some_and(|transport| transport.announces_pictures());
        self.pictures.awaits_parameter_sets() || (announced && !self.pictures.is_configured())
    }

    /// Reads what came; [`Demux::next`] gives what it holds.
    ///
    /// # Errors
    /// Nothing that this publisher sends can be used. What was read before is there.
    pub(super) fn push(&mut self, inbound: &Inbound) -> Result<(), Rejected> {
        let units = self.yielded.units;
        let read = match inbound {
            Inbound::Flv(tag) => self.tags.read(tag, &mut self.pictures, &mut self.sounds, &mut self.yielded),
            Inbound::Ts(piece) => {
                let transport = self.transport.get_or_insert_default();
                transport.read(piece, &mut self.pictures, &mut self.sounds, &mut self.yielded)
            }
        };
        if self.yielded.units != units {
            self.damaged_in_a_row = 0;
        }
        match read {
            Ok(()) => Ok(()),
            Err(Trouble::Reject(rejected)) => Err(rejected),
            Err(Trouble::Skip(reason)) => {
                debug!(reason, "damaged message left out");
                self.yielded.skipped.damaged += 1;
                self.damaged_in_a_row += 1;
                if self.damaged_in_a_row < MAX_DAMAGED_IN_A_ROW {
                    return Ok(());
                }
                Err(Rejected::Damaged { messages: self.damaged_in_a_row, reason })
            }
        }
    }

    /// Nothing follows: what is held comes out of [`Demux::next`].
    pub(super) fn finish(&mut self) {
        if let Some(transport) = &mut self.transport {
            // A last unit that is damaged is none.
            let _damaged = transport.finish(&mut self.pictures, &mut self.sounds, &mut self.yielded);
        }
    }

    /// The next of what was read.
    pub(super) fn next(&mut self) -> Option<Demuxed> {
        self.yielded.queue.pop_front()
    }
}

/// Why a video configuration, or a picture, cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VideoError {
    /// It is not the H.264 that it should be.
    #[error(transparent)]
    H264(#[from] H264Error),
    /// It is not the HEVC that it should be.
    #[error(transparent)]
    Hevc(#[from] HevcError),
    /// It is not the AV1 that it should be.
    #[error(transparent)]
    Av1(#[from] Av1Error),
    /// It is not the VP9 that it should be.
    #[error(transparent)]
    Vp9(#[from] Vp9Error),
    /// More parameter sets than any encoder has.
    #[error("there are more than {} parameter sets, or more than {} KiB of them", sets::MAX_SETS, sets::MAX_SETS_BYTES >> 10)]
    TooManySets,
    /// A NAL unit of 4 GiB.
    #[error("a NAL unit is too long for its length")]
    TooLong,
}

/// Why an audio configuration, or a frame of sound, cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SoundError {
    /// It is not the AAC that it should be, or one that is not carried.
    #[error(transparent)]
    Aac(#[from] AacError),
    /// It is not the Opus that it should be, or one that is not carried.
    #[error(transparent)]
    Opus(#[from] OpusError),
    /// It is not the FLAC that it should be, or one that is not carried.
    #[error(transparent)]
    Flac(#[from] FlacError),
    /// A frame that should describe itself does not.
    #[error("{0} frame does not begin with its header")]
    NoHeader(&'static str),
    /// A frame that lasts for no time.
    #[error("a frame of sound has no samples")]
    NoSamples,
}

/// Why something yields nothing.
enum Trouble {
    /// This message is damaged; the next may be good.
    Skip(String),
    /// Nothing that this publisher sends can be used.
    Reject(Rejected),
}

impl From<NalError> for Trouble {
    fn from(error: NalError) -> Self {
        Trouble::Skip(error.to_string())
    }
}

impl From<VideoError> for Trouble {
    fn from(error: VideoError) -> Self {
        Trouble::Skip(error.to_string())
    }
}

impl From<SoundError> for Trouble {
    fn from(error: SoundError) -> Self {
        Trouble::Skip(error.to_string())
    }
}

impl From<Rejected> for Trouble {
    fn from(rejected: Rejected) -> Self {
        Trouble::Reject(rejected)
    }
}

#[cfg(test)]
mod tests;
