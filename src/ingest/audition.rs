//! What a newcomer sends before it takes over from a publisher that is still there.
//!
//! It is read and judged as a publisher's media is, and nothing of it reaches the session: an encoder of the wrong codec, or
//! one that never sends a keyframe, is turned away and has disturbed nobody. With its first keyframe it is ready; then what
//! it needs to be understood (configurations, the sound just before) is handed on as if it had come at that moment.

use std::collections::VecDeque;
use std::time::Duration;

use super::demux::{Demux, Demuxed};
use super::patience::Patience;
use super::{Input, Rejected};
use crate::media::{Kind, Track};
use crate::wire::Inbound;
use crate::wire::flv::{AudioTag, Tag, TagKind, VideoTag, parse_audio, parse_video};

/// Configurations that are kept of each kind: one says all, but for encoders that put a part into the stream. None is as long as
/// this; what is longer is filled up with something else.
const MAX_CONFIGURATIONS: usize = 4;
const MAX_CONFIGURATION_BYTES: usize = 64 * 1024;
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
    /// Pictures came, or were announced.
    pictures: bool,
    first_sound: Option<Duration>,
    configurations: VecDeque<Tag>,
    sounds: VecDeque<Tag>,
    sound_bytes: usize,
    last: Option<Tag>,
}

impl Audition {
    /// Nothing came yet. A newcomer without pictures is ready when its sound has been coming for `second_track_wait`.
    pub fn new(second_track_wait: Duration) -> Self {
        Audition {
            second_track_wait,
            demux: Demux::default(),
            patience: Patience::default(),
            pictures: false,
            first_sound: None,
            configurations: VecDeque::new(),
            sounds: VecDeque::new(),
            sound_bytes: 0,
            last: None,
        }
    }

    /// Takes what the newcomer sent at the monotonic time `now`; whether it is ready to take over.
    ///
    /// # Errors
    /// It sends what cannot be carried: close its connection with these words.
    pub fn push(&mut self, unit: Inbound, now: Duration) -> Result<bool, Rejected> {
        let Inbound::Flv(tag) = unit;
        let Demuxed { configuration, unit } = self.demux.push(&tag)?;
        let video_configured = matches!(&configuration, Some(new) if matches!(*new.track, Track::Video(_)));
        if video_configured || self.demux.awaits_parameter_sets() {
            self.pictures = true;
            self.patience.wait_for_keyframe(now);
        }
        let Some(mut unit) = unit else {
            if configuration.is_some() || is_configuration(&tag) {
                self.keep_configuration(tag);
            }
            return self.patience.check(now).map(|()| false);
        };
        self.patience.judge(&mut unit)?;
        let ready = match unit.kind {
            Kind::Video => {
                self.pictures = true;
                unit.keyframe
            }
            Kind::Audio => {
                let since = *self.first_sound.get_or_insert(now);
                !self.pictures && now.saturating_sub(since) >= self.second_track_wait
            }
        };
        if ready {
            self.last = Some(tag);
            return Ok(true);
        }
        if unit.kind == Kind::Audio {
            self.keep_sound(tag);
        }
        self.patience.check(now).map(|()| false)
    }

    fn keep_configuration(&mut self, tag: Tag) {
        let alike = |kept: &Tag| kept.kind == tag.kind && kept.data == tag.data;
        if tag.data.len() > MAX_CONFIGURATION_BYTES || self.configurations.iter().any(alike) {
            return;
        }
        let of_its_kind = |kept: &Tag| kept.kind == tag.kind;
        if self.configurations.iter().filter(|kept| of_its_kind(kept)).count() == MAX_CONFIGURATIONS
            && let Some(oldest) = self.configurations.iter().position(of_its_kind)
        {
            self.configurations.remove(oldest);
        }
        self.configurations.push_back(tag);
    }

    fn keep_sound(&mut self, tag: Tag) {
        self.sound_bytes += tag.data.len();
        self.sounds.push_back(tag);
        while self.sounds.len() > MAX_SOUNDS || self.sound_bytes > MAX_SOUND_BYTES {
            let Some(oldest) = self.sounds.pop_front() else { return };
            self.sound_bytes -= oldest.data.len();
        }
    }

    /// What the session must be told for the newcomer to go on from here, the keyframe last.
    pub fn into_inputs(self) -> impl Iterator<Item = Input> {
        self.configurations.into_iter().chain(self.sounds).chain(self.last).map(|tag| Input::Media(Inbound::Flv(tag)))
    }
}

/// Also one that says nothing yet, such as the length of NAL sizes alone.
fn is_configuration(tag: &Tag) -> bool {
    match tag.kind {
        TagKind::Video => matches!(parse_video(&tag.data), Ok(VideoTag::Config(_))),
        TagKind::Audio => matches!(parse_audio(&tag.data), Ok(AudioTag::Config(_))),
        TagKind::Script => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// AAC-LC, 48 kHz, stereo.
    const ASC: &[u8] = &[0x11, 0x90];

    fn sound(bytes: usize, stamp_ms: u32) -> Tag {
        Tag { kind: TagKind::Audio, timestamp_ms: stamp_ms, data: AudioTag::Frame(vec![1; bytes].into()).to_body() }
    }

    fn announced() -> Audition {
        let mut audition = Audition::new(Duration::from_secs(1));
        let config = AudioTag::Config(Bytes::from_static(ASC)).to_body();
        let config = Tag { kind: TagKind::Audio, timestamp_ms: 0, data: config };
        assert_eq!(audition.push(Inbound::Flv(config), Duration::ZERO), Ok(false));
        audition
    }

    fn inputs(audition: Audition) -> Vec<Tag> {
        let tags = audition.into_inputs().map(|input| match input {
            Input::Media(Inbound::Flv(tag)) => tag,
            other => panic!("{other:?}"),
        });
        tags.collect()
    }

    #[test]
    fn sound_alone_is_ready_behind_the_wait_and_brings_what_came_before() {
        let mut audition = announced();
        for n in 0..3 {
            assert_eq!(audition.push(Inbound::Flv(sound(3, n)), Duration::from_millis(400 * u64::from(n))), Ok(false));
        }
        assert_eq!(audition.push(Inbound::Flv(sound(3, 3)), Duration::from_secs(1)), Ok(true));
        let tags = inputs(audition);
        assert!(is_configuration(&tags[0]));
        assert_eq!(tags[1..].iter().map(|tag| tag.timestamp_ms).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut audition = announced();
        for n in 0..1_000 {
            assert_eq!(audition.push(Inbound::Flv(sound(3, n)), Duration::ZERO), Ok(false));
        }
        assert_eq!(audition.sounds.len(), MAX_SOUNDS);
        for n in 1_000..1_100 {
            assert_eq!(audition.push(Inbound::Flv(sound(10_000, n)), Duration::ZERO), Ok(false));
        }
        assert_eq!(audition.sounds.len(), 6);
        // Of different lengths, which say the same.
        let config = |zeros: usize| AudioTag::Config([ASC, &vec![0; zeros]].concat().into()).to_body();
        for zeros in [0, 0, 0, 1, 2, 3, 4, 5, MAX_CONFIGURATION_BYTES] {
            let config = Tag { kind: TagKind::Audio, timestamp_ms: 0, data: config(zeros) };
            assert_eq!(audition.push(Inbound::Flv(config), Duration::ZERO), Ok(false));
        }
        assert_eq!(inputs(audition).len(), MAX_CONFIGURATIONS + 6);
    }
}
