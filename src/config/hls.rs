//! `[hls]`: how long segments, parts and the live window are.

use std::ops::RangeInclusive;

use super::key::{Key, KeyType, Section};
use super::reader::Reader;
use super::units;
use crate::media::Span;

const SECTION: Section = Section::Named("hls");

const SEGMENT: Key = Key {
    section: SECTION,
    name: "segment",
    kind: KeyType::Duration,
    default: "2s",
    doc: "Target duration of segments, in whole seconds (1s to 10s). Encoders should send a keyframe at least this often.",
};

const PART: Key = Key {
    section: SECTION,
    name: "part",
    kind: KeyType::Duration,
    default: "334ms",
    doc: "Target duration of parts (100ms or more, shorter than a segment). 334ms holds whole frames at 12, 15, 24, 25, 30, \
          50 and 60 fps and their NTSC twins.",
};

const WINDOW: Key = Key {
    section: SECTION,
    name: "window",
    kind: KeyType::Duration,
    default: "60s",
    doc: "How far back live playlists reach (3 segments to 12h). Memory holds the newest of it, at least 16s and at most 60s: \
          about 60 MB per minute for the default ladder at 8 Mbit/s in all. What is older is read from the spool and the store.",
};

const CONTAINER: Key = Key {
    section: SECTION,
    name: "container",
    kind: KeyType::Choice(&["fmp4"]),
    default: "fmp4",
    doc: "How segments are packaged: CMAF (fragmented MP4).",
};

/// All keys of the section.
pub(super) const KEYS: &[Key] = &[SEGMENT, PART, WINDOW, CONTAINER];

const SEGMENT_SECS: RangeInclusive<i64> = 1..=10;
/// Below this, a part of 10 fps video would hold no frame, and requests would outnumber frames.
const MIN_PART: Span = Span::from_millis(100);
/// RFC 8216 6.2.2: a live playlist must not be shorter than three target durations.
const MIN_WINDOW_SEGMENTS: i64 = 3;
const MAX_WINDOW: Span = Span::from_secs(12 * 3_600);

/// How segments are packaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// CMAF: fragmented MP4.
    Fmp4,
}

/// The section's values.
#[derive(Clone, Debug)]
pub struct Hls {
    /// Target duration of segments; whole seconds.
    pub segment: Span,
    /// Target duration of parts; shorter than a segment.
    pub part: Span,
    /// How far back live playlists reach; three segments or more.
    pub window: Span,
    /// How segments are packaged.
    pub container: Container,
}

impl Hls {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let hls = Hls {
            segment: reader.read(&SEGMENT, parse_segment),
            part: reader.read(&PART, parse_part),
            window: reader.read(&WINDOW, parse_window),
            container: reader.read(&CONTAINER, parse_container),
        };
        hls.check(reader);
        hls
    }

    fn check(&self, reader: &mut Reader) {
        let segment = units::duration_text(self.segment.to_std());
        if self.part >= self.segment {
            let part = units::duration_text(self.part.to_std());
            reader.refuse(&PART, format!("{part} must be shorter than hls.segment, which is {segment}"));
        }
        if self.window < self.segment.saturating_mul(MIN_WINDOW_SEGMENTS) {
            let window = units::duration_text(self.window.to_std());
            reader.refuse(&WINDOW, format!("{window} is too short: 3 segments of {segment} must fit"));
        }
    }
}

fn parse_span(text: &str) -> Result<Span, String> {
    units::parse_duration(text).map(Span::from_std).map_err(|error| error.to_string())
}

fn parse_segment(text: &str) -> Result<Span, String> {
    let span = parse_span(text)?;
    let secs = span.to_millis() / 1_000;
    let fits = SEGMENT_SECS.contains(&secs) && span == Span::from_secs(secs);
    if fits { Ok(span) } else { Err(format!("{text} does not fit: write whole seconds from 1s to 10s")) }
}

fn parse_part(text: &str) -> Result<Span, String> {
    let span = parse_span(text)?;
    if span >= MIN_PART { Ok(span) } else { Err(format!("{text} is too short: write 100ms or more")) }
}

fn parse_window(text: &str) -> Result<Span, String> {
    let span = parse_span(text)?;
    if span <= MAX_WINDOW { Ok(span) } else { Err(format!("{text} is too long: write 12h or less")) }
}

fn parse_container(text: &str) -> Result<Container, String> {
    match text {
        "ts" => Err("\"ts\" comes with a later version; this one writes \"fmp4\"".to_owned()),
        other => units::parse_choice(other, &[("fmp4", Container::Fmp4)]).map_err(|error| error.to_string()),
    }
}
