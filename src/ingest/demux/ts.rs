//! MPEG transport streams, as SRT brings them.

use tracing::{info, warn};

use super::pictures::{Coded, Form, Pictures};
use super::sounds::Sounds;
use super::{Trouble, Yielded};
use crate::ingest::Rejected;
use crate::ingest::stamp::Stamp;
use crate::media::{AudioCodec, Kind, Span, VideoCodec};
use crate::wire::ts::{Demuxer, Event, Piece, Streams, TsError, Unit};

/// The transport stream of one connection.
#[derive(Debug, Default)]
pub(super) struct Transport {
    demuxer: Demuxer,
    events: Vec<Event>,
    video: Option<VideoCodec>,
    audio: Option<AudioCodec>,
}

impl Transport {
    /// Pictures are announced: a beginning waits for them.
    pub(super) fn announces_pictures(&self) -> bool {
        self.video.is_some()
    }

    /// Units that were damaged on the way.
    pub(super) fn damaged(&self) -> u64 {
        let counts = self.demuxer.counts();
        counts.damaged_pes + counts.damaged_frames
    }

    /// Reads some bytes. What is damaged in them costs its unit alone.
    pub(super) fn read(
        &mut self,
        piece: &Piece,
        pictures: &mut Pictures,
        sounds: &mut Sounds,
        out: &mut Yielded,
    ) -> Result<(), Trouble> {
        self.demuxer.push(piece, &mut self.events);
        self.take_events(pictures, sounds, out)
    }

    /// Nothing follows: what is held comes out.
    pub(super) fn finish(
        &mut self,
        pictures: &mut Pictures,
        sounds: &mut Sounds,
        out: &mut Yielded,
    ) -> Result<(), Trouble> {
        self.demuxer.finish(&mut self.events);
        self.take_events(pictures, sounds, out)
    }

    fn take_events(&mut self, pictures: &mut Pictures, sounds: &mut Sounds, out: &mut Yielded) -> Result<(), Trouble> {
        let mut events = std::mem::take(&mut self.events);
        let mut read = Ok(());
        for event in events.drain(..) {
            let taken = match event {
                Event::Streams(streams) => self.streams(&streams),
                Event::AudioConfig(track) => {
                    self.audio = Some(track.codec);
                    sounds.change(track, out);
                    Ok(())
                }
                Event::Unit(unit) => self.unit(unit, pictures, sounds, out),
                Event::Refused(why) => Err(Rejected::Ts(why).into()),
            };
            match taken {
                Err(Trouble::Reject(rejected)) => return Err(rejected.into()),
                Err(skip) => read = Err(skip),
                Ok(()) => {}
            }
        }
        self.events = events;
        read
    }

    fn streams(&mut self, streams: &Streams) -> Result<(), Trouble> {
        self.video = streams.video.map(|(_, codec)| codec);
        self.audio = streams.audio.map(|(_, codec)| codec);
        let name = |codec: Option<&'static str>| codec.unwrap_or("none");
        info!(
            program = streams.program,
            video = name(self.video.map(VideoCodec::name)),
            audio = name(self.audio.map(AudioCodec::name)),
            "elementary streams of the publisher"
        );
        for ignored in &streams.ignored {
            warn!(
                pid = ignored.pid,
                stream_type = ignored.stream_type,
                name = ignored.name,
                "elementary stream is not taken"
            );
            // Without its pictures a broadcast would go on as if nothing were wrong.
            if self.video.is_none() && ignored.is_video() {
                return Err(Rejected::Picture(ignored.name).into());
            }
        }
        if self.video.is_none() && self.audio.is_none() {
            return Err(Rejected::NothingInProgram.into());
        }
        Ok(())
    }

    fn unit(
        &mut self,
        unit: Unit,
        pictures: &mut Pictures,
        sounds: &mut Sounds,
        out: &mut Yielded,
    ) -> Result<(), Trouble> {
        out.lost[unit.kind as usize] |= unit.lost_before;
        let Some(pts) = unit.pts.map(Stamp::ts) else {
            out.lost[unit.kind as usize] = true;
            return Err(Trouble::Skip(format!("{} without a timestamp", unit.kind.as_str())));
        };
        match unit.kind {
            Kind::Video => {
                let Some(codec) = self.video else { return Ok(()) };
                let stamp = unit.dts.map_or(pts, Stamp::ts);
                let composition = stamp.step_to(pts);
                pictures.picture(codec, Coded { stamp, composition, form: Form::AnnexB, data: unit.data }, out)
            }
            Kind::Audio => {
                let Some((codec, rate)) = self.audio.zip(sounds.rate()) else { return Ok(()) };
                let after = Span::from_units(i64::try_from(unit.samples_after).unwrap_or(0), rate);
                sounds.frame(codec, pts.later(after), unit.data, out)
            }
        }
    }
}

impl From<TsError> for Rejected {
    fn from(error: TsError) -> Self {
        Rejected::Ts(error)
    }
}
