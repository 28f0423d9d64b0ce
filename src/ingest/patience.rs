//! What a publisher may do wrong for a while, and what it is told when it does not stop.
//!
//! A single bad stamp is repaired and an early picture is left out. A source of which nothing else comes would be a
//! broadcast that never begins, or one whose pictures all lie on one spot, without anybody knowing why: so each of these
//! has a bound, and at the bound the publisher is refused in words. One value judges one connection.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Rejected;
use super::demux::AccessUnit;
use super::stamp::Stamp;
use crate::media::{Kind, Span};

/// How long pictures may come, or be announced, without the keyframe to begin with. Longer than the widest keyframe
/// distance that encoders are shipped with (250 frames at 24 per second are 10.4 s).
const KEYFRAME_WAIT: Duration = Duration::from_secs(15);
/// How long a transport stream may come in which nothing can be found, from its beginning or any more: its tables are repeated each
/// second, and a multiplexer whose input is gone goes on stuffing for ever.
const MEDIA_WAIT: Duration = Duration::from_secs(15);
/// So many messages of a track with one timestamp are a clock that stands: 1 s of AAC, 2 s of pictures. Encoders that
/// stamp in batches put fewer than ten frames of sound under one timestamp.
const MAX_EQUAL_STAMPS: u32 = 50;
/// Composition times that are believed. Sixteen reordered frames at 24 per second are 0.7 s; what is presented long before
/// it is decoded would hold up all sound, which waits for pictures for 1.5 s at most.
const BELIEVED_COMPOSITION: RangeInclusive<Span> = Span::from_millis(-1_000)..=Span::from_millis(2_000);
/// So many others in a row are no damage.
const MAX_IMPOSSIBLE_COMPOSITIONS: u32 = 50;

/// What one connection has done wrong lately.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// The last stamp of each track, and how often it came.
    stamps: [Option<(Stamp, u32)>; 2],
    /// The last composition time that was believed.
    composition: Span,
    impossible_compositions: u32,
    /// Since when a keyframe is waited for, on the monotonic clock.
    waiting_since: Option<Duration>,
    /// Since when anything at all is waited for.
    without_media_since: Option<Duration>,
}

impl Patience {
    /// Looks at an access unit's stamps, and puts the composition time of the picture before in place of an impossible
    /// one; true when it did.
    ///
    /// # Errors
    /// This has been going on for too long.
    pub(super) fn judge(&mut self, unit: &mut AccessUnit) -> Result<bool, Rejected> {
        let last = &mut self.stamps[unit.kind as usize];
        let messages = last.filter(|(stamp, _)| *stamp == unit.stamp).map_or(1, |(_, messages)| messages + 1);
        *last = Some((unit.stamp, messages));
        if messages >= MAX_EQUAL_STAMPS {
            return Err(Rejected::ClockStands { track: unit.kind, messages, stamp: unit.stamp.at() });
        }
        if unit.kind == Kind::Audio {
            return Ok(false); // it is presented when it is decoded
        }
        if BELIEVED_COMPOSITION.contains(&unit.composition) {
            (self.composition, self.impossible_compositions) = (unit.composition, 0);
            return Ok(false);
        }
        self.impossible_compositions += 1;
        if self.impossible_compositions >= MAX_IMPOSSIBLE_COMPOSITIONS {
            let (pictures, composition) = (self.impossible_compositions, unit.composition);
            return Err(Rejected::Composition { pictures, composition });
        }
        unit.composition = self.composition;
        Ok(true)
    }

    /// Video was announced, or a picture came that cannot be used without a keyframe before it.
    pub(super) fn wait_for_keyframe(&mut self, now: Duration) {
        self.waiting_since.get_or_insert(now);
    }

    /// A picture came that can be used.
    pub(super) fn picture_taken(&mut self) {
        self.waiting_since = None;
    }

    /// Whether a picture or sound came with the last that was read.
    pub(super) fn note_media(&mut self, came: bool, now: Duration) {
        self.without_media_since = if came { None } else { self.without_media_since.or(Some(now)) };
    }

    /// # Errors
    /// The keyframe, or anything at all, has been waited for for too long.
    pub(super) fn check(&self, now: Duration) -> Result<(), Rejected> {
        let is_over = |since: Option<Duration>, wait| since.is_some_and(|since| now.saturating_sub(since) >= wait);
        if is_over(self.waiting_since, KEYFRAME_WAIT) {
            return Err(Rejected::NoKeyframe { waited: KEYFRAME_WAIT });
        }
        if is_over(self.without_media_since, MEDIA_WAIT) {
            return Err(Rejected::NoMedia { waited: MEDIA_WAIT });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn unit(kind: Kind, stamp_ms: u32, composition_ms: i32) -> AccessUnit {
        let (stamp, composition) = (Stamp::flv(stamp_ms), Span::from_millis(i64::from(composition_ms)));
        AccessUnit::new(kind, stamp, composition, false, Bytes::new())
    }

    #[test]
    fn a_clock_that_stands_is_told_apart_from_one_that_stutters() {
        let mut patience = Patience::default();
        for n in 0..500 {
            assert_eq!(patience.judge(&mut unit(Kind::Audio, n / 40, 0)), Ok(false), "40 frames under one stamp");
        }
        for _ in 1..MAX_EQUAL_STAMPS {
            assert_eq!(patience.judge(&mut unit(Kind::Video, 7, 0)), Ok(false));
            assert_eq!(patience.judge(&mut unit(Kind::Audio, 8, 0)), Ok(false));
        }
        let told = patience.judge(&mut unit(Kind::Video, 7, 0)).expect_err("it stands");
        let words = "the timestamps of its video stand still: 50 messages in a row say 7 ms. \
                     Restart the encoder, or let it set timestamps itself";
        assert_eq!(told.to_string(), words);
    }

    #[test]
    fn an_impossible_composition_time_becomes_that_of_the_picture_before() {
        let mut patience = Patience::default();
        for (composition_ms, believed) in [
            (80i32, 80i64),
            (8_388_607, 80),
            (-66, -66),
            (-8_388_608, -66),
            (2_000, 2_000),
            (2_001, 2_000),
            (-1_000, -1_000),
        ] {
            let mut picture = unit(Kind::Video, composition_ms as u32, composition_ms);
            assert_eq!(patience.judge(&mut picture), Ok(i64::from(composition_ms) != believed));
            assert_eq!(picture.composition, Span::from_millis(believed));
        }
        let mut picture = |n| {
            let sound = patience.judge(&mut unit(Kind::Audio, n, 0));
            sound.and(patience.judge(&mut unit(Kind::Video, n, 60_000)))
        };
        assert!((1..MAX_IMPOSSIBLE_COMPOSITIONS).all(|n| picture(n) == Ok(true)));
        let told = picture(0).expect_err("all of them are");
        assert_eq!(told, Rejected::Composition { pictures: 50, composition: Span::from_secs(60) });
    }

    #[test]
    fn a_keyframe_is_waited_for_from_the_first_picture_without_one() {
        let mut patience = Patience::default();
        let at = Duration::from_secs;
        assert_eq!(patience.check(at(1_000)), Ok(()));
        patience.wait_for_keyframe(at(1_000));
        patience.wait_for_keyframe(at(1_010));
        assert_eq!(patience.check(Duration::from_millis(1_014_999)), Ok(()));
        let told = patience.check(at(1_015)).expect_err("15 s");
        let words = "no keyframe (IDR picture) came within 15 s: set the encoder's keyframe interval to 2 s";
        assert_eq!(told.to_string(), words);
        patience.picture_taken();
        assert_eq!(patience.check(at(1_015)), Ok(()));
    }

    #[test]
    fn a_stream_without_media_is_told_so_once_it_was_long_enough() {
        let mut patience = Patience::default();
        let at = Duration::from_secs;
        patience.note_media(false, at(1_000));
        patience.note_media(false, at(1_014));
        assert_eq!(patience.check(at(1_014)), Ok(()));
        assert_eq!(patience.check(at(1_015)), Err(Rejected::NoMedia { waited: at(15) }));
        patience.note_media(true, at(1_015));
        assert_eq!(patience.check(at(1_015)), Ok(()));
    }
}
