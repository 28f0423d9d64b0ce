//! How much a source may send: what bounds a session's memory.
//!
//! Everything that a session holds, it holds for a time (the window) or up to a number of bytes (its queues). The first
//! needs a bitrate to become bytes: `session.max_bitrate`. It is measured on the session's own timeline, because that is
//! what the window counts: a burst at twice real time is no more media, and a source whose clock stands still is.

use crate::media::{AudioCodec, Cut, CutKind, Kind, Packet, Span, Timestamp, Track, Unit};
use crate::transcode::plan::check_picture;

/// What a packet costs beside its payload, in the media's index and in queues.
const PACKET_OVERHEAD_BYTES: u64 = 64;
/// The bitrate is an average over this long: a large keyframe is nothing to complain about.
pub(super) const AVERAGED_OVER: Span = Span::from_secs(4);
/// The allowance is given anew once in this much media, however often publishers follow each other.
pub(super) const RENEWED_EVERY: Span = Span::from_secs(120);

/// A source's allowance: fills with media time, is spent by packets.
#[derive(Debug)]
pub(super) struct SourceLimit {
    bits_per_second: u64,
    /// Bytes that may come at once.
    left: u64,
    /// The newest time seen.
    at: Option<Timestamp>,
    /// The newest time when the allowance was given anew.
    renewed_at: Option<Timestamp>,
    /// The ladder decodes the source, so that its pictures may not be of any size.
    decoded: bool,
    /// The audio rendition is the source's own sound: there is no encoder for another codec.
    copies_sound: bool,
    /// The newest sound is of a codec that renditions do not carry.
    refuses_sound: bool,
}

impl SourceLimit {
    pub(super) fn new(bits_per_second: u64) -> Self {
        let mut limit = SourceLimit {
            bits_per_second,
            left: 0,
            at: None,
            renewed_at: None,
            decoded: false,
            copies_sound: false,
            refuses_sound: false,
        };
        limit.left = limit.most();
        limit
    }

    /// Another publisher begins. What the one before has spent is not its debt, unless there was another one a short while ago: those
    /// who take turns shall not get more out of it.
    pub(super) fn renew(&mut self) {
        let Some(at) = self.at else { return };
        if self.renewed_at.is_none_or(|last| at - last >= RENEWED_EVERY) {
            self.renewed_at = Some(at);
            self.left = self.most();
        }
    }

    /// Whether the ladder decodes what it is given.
    pub(super) fn is_decoded(&self) -> bool {
        self.decoded
    }

    /// Sets whether the ladder decodes what it is given.
    pub(super) fn set_decoded(&mut self, decoded: bool) {
        self.decoded = decoded;
    }

    /// Sets whether the audio rendition is the source's own sound.
    pub(super) fn set_copies_sound(&mut self, copies: bool) {
        self.copies_sound = copies;
    }

    /// Whether a unit must not reach the renditions: sound that they do not carry, from its track on until another comes.
    pub(super) fn refuses(&self, unit: &Unit) -> bool {
        let kind = match unit {
            Unit::Track(track) => track.kind(),
            Unit::Packet(packet) => packet.kind,
            Unit::Cut(_) | Unit::End => return false,
        };
        self.refuses_sound && kind == Kind::Audio
    }

    /// Takes a unit of the session's timeline. Says, for the publisher, what of it the session cannot bear.
    pub(super) fn offence_of(&mut self, unit: &Unit) -> Option<String> {
        match unit {
            Unit::Track(track) => match track.as_ref() {
                Track::Video(video) => check_picture(video, self.decoded).err().map(|why| why.to_string()),
                Track::Audio(audio) => {
                    self.refuses_sound = self.copies_sound && !audio.codec.is_carried();
                    self.refuses_sound.then(|| other_sound(audio.codec))
                }
            },
            unit => self.is_passed_by(unit).then(|| self.words()),
        }
    }

    /// True when the source has sent more than it may, and from then on until it has paused.
    fn is_passed_by(&mut self, unit: &Unit) -> bool {
        match unit {
            Unit::Packet(packet) => self.spend(packet),
            Unit::Cut(Cut { at, kind: CutKind::Gap { duration }, .. }) => {
                self.advance(*at + *duration);
                false
            }
            Unit::Cut(_) | Unit::Track(_) | Unit::End => false,
        }
    }

    fn spend(&mut self, packet: &Packet) -> bool {
        self.advance(packet.dts);
        let cost = packet.data.len() as u64 + PACKET_OVERHEAD_BYTES;
        let passed = cost > self.left;
        self.left = self.left.saturating_sub(cost);
        passed
    }

    fn advance(&mut self, to: Timestamp) {
        let step = self.at.map_or(Span::ZERO, |at| to - at);
        if self.at.is_none_or(|at| at < to) {
            self.at = Some(to);
        }
        if step.is_positive() {
            self.left = self.left.saturating_add(self.bytes_in(step)).min(self.most());
        }
    }

    fn most(&self) -> u64 {
        self.bytes_in(AVERAGED_OVER)
    }

    fn bytes_in(&self, span: Span) -> u64 {
        // In microseconds; a frame's rounding is far below a packet's overhead.
        let micros = u64::try_from(span.to_units(1_000_000)).unwrap_or(0);
        u64::try_from(u128::from(self.bits_per_second) * u128::from(micros) / 8_000_000).unwrap_or(u64::MAX)
    }

    /// For the publisher.
    fn words(&self) -> String {
        format!(
            "it sends more than {} kbit/s, which is the most that this server takes; lower the encoder's bitrate",
            self.bits_per_second / 1_000
        )
    }
}

/// For the publisher.
fn other_sound(codec: AudioCodec) -> String {
    format!(
        "its sound is {} now, and this broadcast, whose preset copies sound, can go on with AAC and Opus only; set the encoder to \
         AAC, or end the broadcast and begin another",
        codec.name()
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::media::{AudioTrack, WallTime};

    fn packet(millis: i64, bytes: usize) -> Unit {
        let at = Timestamp::from_millis(millis);
        let data = Bytes::from(vec![0; bytes]);
        Unit::Packet(Packet { kind: Kind::Video, dts: at, pts: at, duration: Span::ZERO, keyframe: false, data })
    }

    /// The first of `packets` that is too much.
    fn first_passed(limit: &mut SourceLimit, packets: impl IntoIterator<Item = Unit>) -> Option<usize> {
        packets.into_iter().position(|unit| limit.is_passed_by(&unit))
    }

    #[test]
    fn sound_that_a_copied_rendition_does_not_carry_is_refused_until_other_sound_comes() {
        let track = |codec| {
            let (config, codecs) = (Bytes::new(), String::new());
            let track =
                AudioTrack { codec, config, codecs, sample_rate: 48_000, channels: 2, samples_per_frame: 1_024 };
            Unit::Track(Arc::new(Track::Audio(track)))
        };
        let at = Timestamp::ZERO;
        let sound =
            Packet { kind: Kind::Audio, dts: at, pts: at, duration: Span::ZERO, keyframe: true, data: Bytes::new() };
        let sound = Unit::Packet(sound);
        let mut limit = SourceLimit::new(8_000_000);
        assert_eq!(limit.offence_of(&track(AudioCodec::Ac3)), None, "it is encoded");
        limit.set_copies_sound(true);
        assert_eq!((limit.offence_of(&track(AudioCodec::Opus)), limit.refuses(&sound)), (None, false));
        let why = limit.offence_of(&track(AudioCodec::Ac3)).expect("refused");
        assert!(why.starts_with("its sound is AC-3 now"), "{why}");
        assert!(limit.refuses(&track(AudioCodec::Ac3)) && limit.refuses(&sound) && !limit.refuses(&packet(0, 1)));
        assert_eq!((limit.offence_of(&track(AudioCodec::Aac)), limit.refuses(&sound)), (None, false));
    }

    #[test]
    fn a_steady_source_within_the_limit_never_passes_it_however_fast_it_comes() {
        let mut limit = SourceLimit::new(8_000_000);
        // 25 frames/s of 39 900 bytes are 7.98 Mbit/s, and 64 bytes each of overhead make 7.993.
        let second = |n: i64| (0..25).map(move |frame| packet(n * 1_000 + frame * 40, 39_900));
        assert_eq!(first_passed(&mut limit, (0..600).flat_map(second)), None);
        let mut limit = SourceLimit::new(8_000_000);
        assert_eq!(first_passed(&mut limit, [packet(0, 3_900_000), packet(40, 20_000)]), None, "a huge keyframe");
    }

    #[test]
    fn a_source_above_the_limit_is_found_and_so_is_one_whose_clock_stands() {
        let mut limit = SourceLimit::new(8_000_000);
        // Twice the limit: the allowance of 4 s lasts for 4 s.
        let found = first_passed(&mut limit, (0..600).map(|n| packet(n * 40, 80_000)));
        assert!(found.is_some_and(|frame| (95..105).contains(&frame)), "{found:?}");
        let mut limit = SourceLimit::new(8_000_000);
        assert_eq!(first_passed(&mut limit, (0..100_000).map(|_| packet(0, 36))), Some(40_000));
        assert!(limit.words().contains("8000 kbit/s"));
    }

    #[test]
    fn another_publisher_begins_without_debts_but_not_again_and_again() {
        let mut limit = SourceLimit::new(8_000_000);
        let mut whole = |at_ms| first_passed(&mut limit, [packet(at_ms, 3_999_900), packet(at_ms, 100)]);
        assert_eq!(whole(1_000), Some(1));
        assert_eq!(whole(1_000), Some(0), "its own debt");
        let mut another = |at_ms| {
            limit.renew();
            first_passed(&mut limit, [packet(at_ms, 3_999_900), packet(at_ms, 100)])
        };
        assert_eq!(another(1_000), Some(1));
        assert_eq!([another(1_000), another(2_000)], [Some(0); 2]);
        assert_eq!(first_passed(&mut limit, [packet(121_000, 3_999_900)]), None);
        limit.renew();
        assert_eq!(first_passed(&mut limit, [packet(121_000, 3_999_900)]), None);
    }

    #[test]
    fn a_pause_fills_the_allowance_and_time_that_goes_back_does_not() {
        let mut limit = SourceLimit::new(8_000_000);
        assert_eq!(first_passed(&mut limit, [packet(0, 4_100_000)]), Some(0));
        assert_eq!(first_passed(&mut limit, [packet(0, 100), packet(-900, 100), packet(0, 100)]), Some(0));
        let kind = CutKind::Gap { duration: Span::from_secs(2) };
        let (wall, at) = (WallTime::from_unix_millis(0), Timestamp::from_millis(0));
        let gap = Unit::Cut(Cut { msn: 0, at, wall, discontinuity: false, copy_ends: false, kind });
        assert_eq!(first_passed(&mut limit, [gap, packet(2_000, 1_999_000), packet(2_000, 2_000)]), Some(2));
    }
}
