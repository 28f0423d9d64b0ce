//! What becomes of a copied rung: whether the source keeps to the rung's bitrate, and why copying ended.
//!
//! BANDWIDTH is a promise that an encoder keeps by its rate control; a copy keeps it only as long as the source does. The
//! meter measures each closed segment of the source's video. Ending the copy belongs to ingest, which owns the cuts.

use std::fmt;

use crate::config::preset::EncodePreset;
use crate::media::copy::{CopyObstacle, CopyRule};
use crate::media::{CutKind, Kind, Span, Timestamp, Unit, VideoTrack};
use crate::transcode::Plan;
use crate::transcode::cost::{self, Load};
use crate::wire::hls::describe;

/// Why a copied rung is encoded from some cut on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CopyEnd {
    /// The source's keyframes come further apart than a segment may be long.
    Keyframes,
    /// The source is not what it was when the copying began.
    Source(CopyObstacle),
    /// A segment of the source had more bits per second than the rung allows.
    Bitrate {
        /// What it had.
        measured: u64,
        /// What is allowed.
        limit: u64,
    },
}

impl fmt::Display for CopyEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CopyEnd::Keyframes => f.write_str("the source's keyframes are further apart than a segment is long"),
            CopyEnd::Source(obstacle) => write!(f, "{obstacle}"),
            CopyEnd::Bitrate { measured, limit } => {
                write!(
                    f,
                    "the source sends {} kbit/s, more than the {} that a copy may have",
                    measured / 1_000,
                    limit / 1_000
                )
            }
        }
    }
}

/// A rung that is copied and can be encoded instead.
#[derive(Debug)]
pub(super) struct CopiedRung {
    /// Its name.
    pub name: String,
    /// What the source must fit.
    pub rule: Option<CopyRule>,
    limit: Option<u64>,
    /// Shorter segments are not judged: one that an interruption closed may be hardly more than its keyframe.
    shortest: Span,
    since: Option<Timestamp>,
    bytes: u64,
    over: Option<CopyEnd>,
    /// How it is encoded then.
    encode: Option<EncodePreset>,
    /// Nothing was decoded for other rungs.
    decodes_alone: bool,
}

impl CopiedRung {
    /// The plan's copied rung, if an encoder stands ready for it. `segment` is the target duration.
    pub(super) fn of(plan: &Plan, segment: Span) -> Option<Self> {
        let rung = plan.rungs.iter().find(|rung| rung.copied && rung.encode.is_some())?;
        Some(CopiedRung {
            name: rung.name.clone(),
            rule: rung.copy_rule,
            limit: rung.copy_limit,
            shortest: describe::shortest_judged(segment),
            since: None,
            bytes: 0,
            over: None,
            encode: rung.encode.clone(),
            decodes_alone: plan.rungs.iter().all(|rung| rung.copied),
        })
    }

    /// Looks at a unit of the session's timeline. True when a segment just closed that had too many bits: once.
    pub(super) fn is_broken_by(&mut self, unit: &Unit) -> bool {
        match unit {
            Unit::Packet(packet) if packet.kind == Kind::Video => self.bytes += packet.data.len() as u64,
            Unit::Cut(cut) => {
                let measured = self.since.and_then(|since| self.rate(cut.at - since));
                self.since = (!matches!(cut.kind, CutKind::Gap { .. })).then_some(cut.at);
                self.bytes = 0;
                if let (Some(measured), Some(limit), None) = (measured, self.limit, self.over)
                    && measured > limit
                {
                    self.over = Some(CopyEnd::Bitrate { measured, limit });
                    return true;
                }
            }
            _ => {}
        }
        false
    }

    /// Why copying ends, when the cut that ends it has come; `obstacle`: what the source has become meanwhile.
    pub(super) fn end(&self, obstacle: Option<CopyObstacle>) -> CopyEnd {
        self.over.or(obstacle.map(CopyEnd::Source)).unwrap_or(CopyEnd::Keyframes)
    }

    /// What encoding it costs from then on.
    pub(super) fn cost(&self, track: &VideoTrack) -> Load {
        let decoder = if self.decodes_alone { cost::of_decoder(track) } else { Load::default() };
        self.encode.as_ref().map_or(decoder, |encode| decoder.plus(cost::of_rung(encode, track)))
    }

    /// Bits per second of the segment that closes after `duration`.
    fn rate(&self, duration: Span) -> Option<u64> {
        if duration < self.shortest {
            return None;
        }
        let milliseconds = u64::try_from(duration.to_units(1_000)).ok().filter(|&millis| millis > 0)?;
        Some(self.bytes.saturating_mul(8_000) / milliseconds)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::{Cut, Packet, WallTime};

    fn rung(limit: Option<u64>) -> CopiedRung {
        let shortest = Span::from_secs(1);
        let (name, encode) = ("720p".into(), None);
        CopiedRung { name, rule: None, limit, shortest, since: None, bytes: 0, over: None, encode, decodes_alone: true }
    }

    fn cut(millis: i64, kind: CutKind) -> Unit {
        let wall = WallTime::from_unix_millis(0);
        let at = Timestamp::from_millis(millis);
        Unit::Cut(Cut { msn: 0, at, wall, discontinuity: false, copy_ends: false, kind })
    }

    fn packet(kind: Kind, bytes: usize) -> Unit {
        let at = Timestamp::ZERO;
        let data = Bytes::from(vec![0; bytes]);
        Unit::Packet(Packet { kind, dts: at, pts: at, duration: Span::ZERO, keyframe: false, data })
    }

    /// Feeds units and returns the places at which the promise was broken.
    fn broken(rung: &mut CopiedRung, units: &[Unit]) -> Vec<usize> {
        (0..units.len()).filter(|&n| rung.is_broken_by(&units[n])).collect()
    }

    #[test]
    fn a_segment_above_the_limit_is_told_once_when_it_closes() {
        let mut rung = rung(Some(1_000_000));
        let units = [
            cut(10_000, CutKind::Keyframe),
            packet(Kind::Video, 250_000),
            packet(Kind::Audio, 900_000),
            cut(12_000, CutKind::Keyframe), // 1 Mbit/s of video is within it
            packet(Kind::Video, 250_250),
            cut(14_000, CutKind::Keyframe),
            packet(Kind::Video, 900_000),
            cut(16_000, CutKind::Keyframe),
        ];
        assert_eq!(broken(&mut rung, &units), [5]);
        let why = rung.end(None).to_string();
        assert_eq!(why, "the source sends 1001 kbit/s, more than the 1000 that a copy may have");
    }

    #[test]
    fn gaps_and_what_an_interruption_left_are_not_judged() {
        let mut rung = rung(Some(1_000_000));
        let gap = CutKind::Gap { duration: Span::from_secs(2) };
        let units = [
            cut(10_000, CutKind::Keyframe),
            packet(Kind::Video, 100_000),
            cut(10_100, gap), // 8 Mbit/s, but only a keyframe
            packet(Kind::Video, 900_000),
            cut(12_100, CutKind::Keyframe),
        ];
        assert_eq!(broken(&mut rung, &units), [0_usize; 0]);
        let why = rung.end(None).to_string();
        assert_eq!(why, "the source's keyframes are further apart than a segment is long");
    }

    #[test]
    fn a_source_that_has_changed_is_why_unless_it_had_too_many_bits_before() {
        let obstacle = Some(CopyObstacle::TooLarge { width: 1_920, height: 1_080 });
        let mut rung = rung(Some(1_000));
        assert_eq!(rung.end(obstacle).to_string(), "the source is larger (1920x1080)");
        let units = [cut(10_000, CutKind::Keyframe), packet(Kind::Video, 9_000), cut(12_000, CutKind::Keyframe)];
        assert_eq!(broken(&mut rung, &units), [2]);
        assert_eq!(rung.end(obstacle), CopyEnd::Bitrate { measured: 36_000, limit: 1_000 });
    }

    #[test]
    fn without_a_limit_nothing_is_too_much() {
        let mut rung = rung(None);
        let units = [cut(0, CutKind::Keyframe), packet(Kind::Video, 90_000_000), cut(2_000, CutKind::Keyframe)];
        assert_eq!(broken(&mut rung, &units), [0_usize; 0]);
    }
}
