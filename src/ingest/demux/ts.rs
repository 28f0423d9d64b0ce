//! MPEG transport streams, as SRT brings them.

use tracing::{info, warn};

use super::pictures::{Coded, Form, Pictures};
use super::sounds::Sounds;
use super::{Trouble, Yielded};
use crate::ingest::Rejected;
use crate::ingest::stamp::Stamp;
use crate::media::{AudioCodec, Kind, Span, VideoCodec};
use crate::wire::ts::{Demuxer, Event, Piece, Streams, Unit};

/// Streams that change more often than this are not logged any more.
const MAX_LOGGED_CHANGES: u32 = 16;

/// The transport stream of one connection.
#[derive(Debug, Default)]
pub(super) struct Transport {
    demuxer: Demuxer,
    events: Vec<Event>,
    video: Option<VideoCodec>,
    /// How often the streams were told.
    changes: u32,
    /// Damaged units that are not counted.
    forgotten: u64,
}

impl Transport {
    /// Pictures are announced: a beginning waits for them.
    pub(super) fn announces_pictures(&self) -> bool {
        self.video.is_some()
    }

    /// Units that were damaged on the way.
    pub(super) fn damaged(&self) -> u64 {
        self.damaged_in_all() - self.forgotten
    }

    /// Units that were damaged so far are not to be counted.
    pub(super) fn forget_damaged(&mut self) {
        self.forgotten = self.damaged_in_all();
    }

    fn damaged_in_all(&self) -> u64 {
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
        let mut skipped: Option<String> = None;
        for event in events.drain(..) {
            let taken = match event {
                Event::Streams(streams) => self.streams(&streams),
                Event::AudioConfig(track) => {
                    sounds.change(track, out);
                    Ok(())
                }
                Event::Unit(unit) => self.unit(unit, pictures, sounds, out),
                Event::Refused(why) => Err(Trouble::Reject(Rejected::Ts(why))),
            };
            match taken {
                Ok(()) => {}
                Err(Trouble::Skip(why)) => out.skipped.damaged += u64::from(skipped.replace(why).is_some()),
                Err(rejected) => return Err(rejected),
            }
        }
        self.events = events;
        // The last one is counted by whom it is told.
        skipped.map_or(Ok(()), |why| Err(Trouble::Skip(why)))
    }

    fn streams(&mut self, streams: &Streams) -> Result<(), Trouble> {
        self.video = streams.video.map(|(_, codec)| codec);
        let audio = streams.audio.map(|(_, codec)| codec);
        self.changes = self.changes.saturating_add(1);
        if self.changes <= MAX_LOGGED_CHANGES {
            let name = |codec: Option<&'static str>| codec.unwrap_or("none");
            info!(
                program = streams.program,
                video = name(self.video.map(VideoCodec::name)),
                audio = name(audio.map(AudioCodec::name)),
                "elementary streams of the publisher"
            );
        }
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
        if self.video.is_none() && audio.is_none() {
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
                // Which codec it is, its frames say better than the tables.
                let Some((codec, rate)) = sounds.format() else { return Ok(()) };
                let after = Span::from_units(i64::try_from(unit.samples_after).unwrap_or(0), rate);
                sounds.frame(codec, pts.later(after), unit.data, out)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::codec::ac3;

    /// The tables may say AC-3 where frames are E-AC-3, and are told again whenever a stream of the program appears.
    #[test]
    fn which_codec_sound_has_is_known_by_its_frames() {
        let mut frame = vec![0x0b, 0x77, 0x00, 0xff, 0x34, 0x80]; // E-AC-3 of 512 bytes, stereo
        frame.resize(512, 0);
        let track = ac3::parse(&frame).expect("a header").format.track();
        assert_eq!(track.codec, AudioCodec::Eac3);
        let sound = |pts| {
            Event::Unit(Unit {
                kind: Kind::Audio,
                pts: Some(pts),
                dts: None,
                samples_after: 0,
                random_access: true,
                lost_before: false,
                jump_before: false,
                data: Bytes::from(frame.clone()),
            })
        };
        let streams = Streams { program: 1, video: None, audio: Some((0x101, AudioCodec::Ac3)), ignored: vec![] };
        let told = Event::Streams(streams);
        let events = vec![told.clone(), Event::AudioConfig(track), sound(0), told, sound(2_880)];
        let mut transport = Transport { events, ..Transport::default() };
        let (mut pictures, mut sounds, mut out) = (Pictures::default(), Sounds::default(), Yielded::default());
        assert!(transport.take_events(&mut pictures, &mut sounds, &mut out).is_ok());
        assert_eq!((out.units, out.skipped.damaged), (2, 0));
    }
}
