//! What a newcomer sends before it takes over from a publisher that is still there.
//!
//! It is read and judged as a publisher's media is, and nothing of it reaches the session: an encoder of the wrong codec, or
//! one that never sends a keyframe, is turned away and has disturbed nobody. With its first keyframe it is ready; then the
//! reader goes on for the session where it stands, with all configurations that it has read, and the sound just before is
//! handed on as if it had come at that moment.

use std::collections::VecDeque;
use std::time::Duration;

use super::Rejected;
use super::demux::{AccessUnit, Configuration, Demux, Demuxed};
use super::patience::Patience;
use super::stamp::Stamp;
use crate::media::{Kind, Packet, Span, Timestamp, Unit};
use crate::wire::Inbound;

/// Sound that is kept: encoders write up to half a second of it ahead of its picture, and AAC has 94 frames a second at most.
const MAX_SOUNDS: usize = 64;
const MAX_SOUND_BYTES: usize = 64 * 1024;

/// The media of one newcomer until it takes over.
#[derive(Debug)]
pub struct Audition {
    /// How long sound alone is taken for the beginning of pictures and sound.
    second_track_wait: Duration,
    demux: Demux,
    patience: Patience,
    /// The newest configurations before the newest unit, by kind.
    configured: [Option<Configuration>; 2],
    /// Pictures came, or were announced.
    pictures: bool,
    first_sound: Option<Duration>,
    sounds: VecDeque<AccessUnit>,
    sound_bytes: usize,
    last: Option<AccessUnit>,
    /// The newest stamp, and how far its clock has come.
    stamp: Option<Stamp>,
    at: Timestamp,
}

/// What a newcomer leaves to the ingest of the session that it takes over.
pub(super) struct Heir {
    pub demux: Demux,
    pub patience: Patience,
    /// What its units are of.
    pub configurations: [Option<Configuration>; 2],
    /// The sound just before, and what made it ready.
    pub units: Vec<AccessUnit>,
}

impl Audition {
    /// Nothing came yet. A newcomer without pictures is ready when its sound has been coming for `second_track_wait`.
    pub fn new(second_track_wait: Duration) -> Self {
        Audition {
            second_track_wait,
            demux: Demux::default(),
            patience: Patience::default(),
            configured: [None, None],
            pictures: false,
            first_sound: None,
            sounds: VecDeque::new(),
            sound_bytes: 0,
            last: None,
            stamp: None,
            at: Timestamp::ZERO,
        }
    }

    /// Takes what the newcomer sent at the monotonic time `now`; whether it is ready to take over. To `out` is appended what it
    /// is, for whoever judges it: tracks and packets, on a timeline of its own that begins at 0.
    ///
    /// # Errors
    /// It sends what cannot be carried: close its connection with these words.
    pub fn push(&mut self, unit: &Inbound, now: Duration, out: &mut Vec<Unit>) -> Result<bool, Rejected> {
        let read = self.demux.push(unit);
        self.pictures |= self.demux.awaits_parameter_sets();
        let ready = self.take_demuxed(now, out)?;
        // What is refused behind the keyframe is refused all the same.
        read?;
        if ready {
            return Ok(true);
        }
        if self.pictures {
            self.patience.wait_for_keyframe(now);
        }
        self.patience.note_media(!self.demux.awaits_media(), now);
        self.patience.check(now).map(|()| false)
    }

    /// Whether it is ready to take over. What was read behind the unit that it is ready with stays in the reader.
    fn take_demuxed(&mut self, now: Duration, out: &mut Vec<Unit>) -> Result<bool, Rejected> {
        while let Some(demuxed) = self.demux.next() {
            match demuxed {
                Demuxed::Track(configuration) => {
                    match configuration.track.kind() {
                        Kind::Audio => self.forget_sound(), // what it describes is to come
                        Kind::Video => self.pictures = true,
                    }
                    out.push(Unit::Track(configuration.track.clone()));
                    let kind = configuration.track.kind();
                    self.configured[kind as usize] = Some(configuration);
                }
                Demuxed::Unit(mut unit) => {
                    self.patience.judge(&mut unit)?;
                    out.push(Unit::Packet(self.packet(&unit)));
                    if self.is_ready_with(&unit, now) {
                        self.last = Some(unit);
                        return Ok(true);
                    }
                    if unit.kind == Kind::Audio {
                        self.keep_sound(unit);
                    }
                }
            }
        }
        Ok(false)
    }

    fn is_ready_with(&mut self, unit: &AccessUnit, now: Duration) -> bool {
        match unit.kind {
            Kind::Video => {
                self.pictures = true;
                unit.keyframe
            }
            Kind::Audio => {
                let since = *self.first_sound.get_or_insert(now);
                !self.pictures && now.saturating_sub(since) >= self.second_track_wait
            }
        }
    }

    fn packet(&mut self, unit: &AccessUnit) -> Packet {
        self.at += self.stamp.replace(unit.stamp).map_or(Span::ZERO, |last| last.step_to(unit.stamp));
        let (dts, pts) = (self.at, self.at + unit.composition);
        let (kind, keyframe, data) = (unit.kind, unit.keyframe, unit.data.clone());
        Packet { kind, dts, pts, duration: Span::ZERO, keyframe, data }
    }

    fn keep_sound(&mut self, sound: AccessUnit) {
        self.sound_bytes += sound.data.len();
        self.sounds.push_back(sound);
        while self.sounds.len() > MAX_SOUNDS || self.sound_bytes > MAX_SOUND_BYTES {
            let Some(oldest) = self.sounds.pop_front() else { return };
            self.sound_bytes -= oldest.data.len();
        }
    }

    fn forget_sound(&mut self) {
        self.sounds.clear();
        self.sound_bytes = 0;
    }

    /// What the session goes on with. What was left out meanwhile was nobody's loss, and is not counted.
    pub(super) fn into_heir(mut self) -> Heir {
        self.demux.forget_skipped();
        Heir {
            demux: self.demux,
            patience: self.patience,
            configurations: self.configured,
            units: self.sounds.into_iter().chain(self.last).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::AudioCodec;
    use crate::wire::flv::{AudioTag, Tag, TagKind};
    use bytes::Bytes;

    /// AAC-LC, 48 kHz, stereo.
    const ASC: &[u8] = &[0x11, 0x90];

    fn audio(tag: &AudioTag, stamp_ms: u32) -> Inbound {
        Inbound::Flv(Tag { kind: TagKind::Audio, timestamp_ms: stamp_ms, data: tag.to_body() })
    }

    fn sound(bytes: usize, stamp_ms: u32) -> Inbound {
        audio(&AudioTag::frame(AudioCodec::Aac, vec![1; bytes].into()), stamp_ms)
    }

    fn announced() -> Audition {
        let mut audition = Audition::new(Duration::from_secs(1));
        let (config, mut out) = (AudioTag::config(AudioCodec::Aac, Bytes::from_static(ASC)), Vec::new());
        assert_eq!(audition.push(&audio(&config, 0), Duration::ZERO, &mut out), Ok(false));
        assert!(matches!(&out[..], [Unit::Track(_)]), "{out:?}");
        audition
    }

    fn stamps(audition: Audition) -> Vec<i64> {
        audition.into_heir().units.iter().map(|unit| unit.stamp.at().to_units(1_000)).collect()
    }

    #[test]
    fn sound_alone_is_ready_behind_the_wait_and_brings_what_came_before() {
        let (mut audition, mut out) = (announced(), Vec::new());
        let late = u32::MAX - 1; // the clock wraps
        for n in 0..3 {
            let at = Duration::from_millis(400 * u64::from(n));
            assert_eq!(audition.push(&sound(3, late.wrapping_add(n)), at, &mut out), Ok(false));
        }
        assert_eq!(audition.push(&sound(3, late.wrapping_add(3)), Duration::from_secs(1), &mut out), Ok(true));
        let judged: Vec<_> =
            out.iter().map(|unit| if let Unit::Packet(it) = unit { it.dts } else { panic!() }).collect();
        assert_eq!(judged, [0, 1, 2, 3].map(Timestamp::from_millis));
        assert_eq!(audition.configured.iter().flatten().count(), 1);
        assert_eq!(stamps(audition), [late, u32::MAX, 0, 1].map(i64::from));
    }

    #[test]
    fn what_is_kept_is_bounded_and_of_the_newest_configuration() {
        let (mut audition, mut out) = (announced(), Vec::new());
        for n in 0..1_000 {
            assert_eq!(audition.push(&sound(3, n), Duration::ZERO, &mut out), Ok(false));
        }
        assert_eq!(audition.sounds.len(), MAX_SOUNDS);
        for n in 1_000..1_100 {
            assert_eq!(audition.push(&sound(10_000, n), Duration::ZERO, &mut out), Ok(false));
        }
        assert_eq!(audition.sounds.len(), 6);
        let mono = AudioTag::config(AudioCodec::Aac, Bytes::from_static(&[0x11, 0x88]));
        assert_eq!(audition.push(&audio(&mono, 1_100), Duration::ZERO, &mut out), Ok(false));
        assert_eq!(audition.push(&sound(3, 1_101), Duration::ZERO, &mut out), Ok(false));
        assert_eq!(audition.sound_bytes, 3);
        assert_eq!(stamps(audition), [1_101]);
    }
}
