//! Reads media playlists back, strictly: what a stored playlist says, line by line.
//!
//! Each rule of RFC 8216 that our own writer keeps is checked, and a line that breaks one is named in the error. Tags that are
//! not known here are passed over, as RFC 8216 6.3.1 asks. Nothing panics, and memory is bounded by the input, which is bounded by
//! [`MAX_BYTES`].

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::PlaylistType;
use crate::media::naming::MediaName;
use crate::media::{Span, WallTime};

/// Longest text that is read: a day of 2 s segments is 5 MB.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// A media playlist as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPlaylist {
    /// EXT-X-VERSION; 1 when it is not there.
    pub version: u32,
    /// EXT-X-TARGETDURATION
    pub target_duration_secs: u32,
    /// EXT-X-MEDIA-SEQUENCE; 0 when it is not there.
    pub media_sequence: u64,
    /// EXT-X-DISCONTINUITY-SEQUENCE; 0 when it is not there.
    pub discontinuity_sequence: u64,
    /// EXT-X-PLAYLIST-TYPE
    pub playlist_type: Option<PlaylistType>,
    /// EXT-X-INDEPENDENT-SEGMENTS
    pub independent_segments: bool,
    /// EXT-X-ENDLIST
    pub ended: bool,
    /// The segments, oldest first.
    pub segments: Vec<ReadSegment>,
}

/// A segment as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadSegment {
    /// Its MSN by its place in the playlist.
    pub msn: u64,
    /// The URI line.
    pub uri: String,
    /// EXTINF
    pub duration: Span,
    /// EXT-X-PROGRAM-DATE-TIME
    pub wall: Option<WallTime>,
    /// EXT-X-DISCONTINUITY stands before it.
    pub discontinuity: bool,
    /// EXT-X-GAP
    pub gap: bool,
    /// URI of the EXT-X-MAP that is in force.
    pub map: Option<String>,
}

impl ReadSegment {
    /// The name that the URI ends in, if it is one that this daemon gives.
    pub fn name(&self) -> Option<MediaName> {
        self.uri.rsplit('/').next()?.parse().ok()
    }
}

/// What is wrong, and with which line (counted from 1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the media playlist: {problem}")]
pub struct PlaylistError {
    /// The line, from 1; the last one when something is missing.
    pub line: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The text is longer than [`MAX_BYTES`].
    #[error("the text is longer than 16 MiB")]
    TooLong,
    /// The text is not UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// The first line is another.
    #[error("the first line is not #EXTM3U")]
    NoHeader,
    /// A value cannot be read.
    #[error("{0} has a value that cannot be read")]
    BadValue(&'static str),
    /// A tag that may stand once stands again.
    #[error("{0} stands twice")]
    Twice(&'static str),
    /// A tag that describes the playlist stands behind a segment.
    #[error("{0} stands behind a segment")]
    Late(&'static str),
    /// A tag that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A segment is longer than the playlist says that segments are.
    #[error("EXTINF, rounded to the nearest second, is above EXT-X-TARGETDURATION")]
    AboveTarget,
    /// Tags that describe a segment stand at the end with no segment behind them, or something stands behind ENDLIST.
    #[error("the text goes on where it should have ended, or ends inside a segment")]
    BadEnd,
}

/// Reads a media playlist.
///
/// # Errors
/// The first line that breaks a rule.
pub fn read_media_playlist(bytes: &[u8]) -> Result<ReadPlaylist, PlaylistError> {
    let at_start = |problem| PlaylistError { line: 1, problem };
    if bytes.len() > MAX_BYTES {
        return Err(at_start(Problem::TooLong));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| at_start(Problem::NotUtf8))?;
    let mut lines = text.lines().enumerate();
    if lines.next().is_none_or(|(_, first)| first != "#EXTM3U") {
        return Err(at_start(Problem::NoHeader));
    }
    let mut reader = Reader::default();
    let mut last = 1;
    for (index, line) in lines {
        last = index + 1;
        reader.line(line).map_err(|problem| PlaylistError { line: last, problem })?;
    }
    reader.finish().map_err(|problem| PlaylistError { line: last, problem })
}

/// The playlist's tags as far as they have been read, and those of the segment that comes next.
#[derive(Debug, Default)]
struct Reader {
    version: Option<u32>,
    target_duration_secs: Option<u32>,
    media_sequence: Option<u64>,
    discontinuity_sequence: Option<u64>,
    playlist_type: Option<PlaylistType>,
    independent_segments: bool,
    ended: bool,
    segments: Vec<ReadSegment>,
    map: Option<String>,
    next: Next,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Next {
    duration: Option<Span>,
    wall: Option<WallTime>,
    discontinuity: bool,
    gap: bool,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), Problem> {
        if line.is_empty() {
            return Ok(());
        }
        if self.ended {
            return Err(Problem::BadEnd);
        }
        if !line.starts_with('#') {
            return self.uri(line);
        }
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        self.playlist_tag(tag, value)?;
        self.segment_tag(tag, value)
    }

    /// Tags that stand once and describe the whole playlist.
    fn playlist_tag(&mut self, tag: &str, value: &str) -> Result<(), Problem> {
        let begun = !self.segments.is_empty();
        match tag {
            "#EXTM3U" => Err(Problem::Twice("EXTM3U")),
            "#EXT-X-VERSION" => once(&mut self.version, number(value), "EXT-X-VERSION", begun),
            "#EXT-X-TARGETDURATION" => {
                once(&mut self.target_duration_secs, number(value), "EXT-X-TARGETDURATION", begun)
            }
            "#EXT-X-MEDIA-SEQUENCE" => once(&mut self.media_sequence, number(value), "EXT-X-MEDIA-SEQUENCE", begun),
            "#EXT-X-DISCONTINUITY-SEQUENCE" => {
                let late = begun || self.next.discontinuity;
                once(&mut self.discontinuity_sequence, number(value), "EXT-X-DISCONTINUITY-SEQUENCE", late)
            }
            "#EXT-X-PLAYLIST-TYPE" => {
                let kind = match value {
                    "EVENT" => Some(PlaylistType::Event),
                    "VOD" => Some(PlaylistType::Vod),
                    _ => None,
                };
                once(&mut self.playlist_type, kind, "EXT-X-PLAYLIST-TYPE", begun)
            }
            "#EXT-X-INDEPENDENT-SEGMENTS" => mark(&mut self.independent_segments, "EXT-X-INDEPENDENT-SEGMENTS"),
            "#EXT-X-ENDLIST" => mark(&mut self.ended, "EXT-X-ENDLIST"),
            _ => Ok(()),
        }
    }

    /// Tags that describe the next segment.
    fn segment_tag(&mut self, tag: &str, value: &str) -> Result<(), Problem> {
        match tag {
            "#EXTINF" => {
                let duration = value.split_once(',').and_then(|(seconds, _)| decimal_seconds(seconds));
                once(&mut self.next.duration, duration, "EXTINF", false)
            }
            "#EXT-X-PROGRAM-DATE-TIME" => once(&mut self.next.wall, date_time(value), "EXT-X-PROGRAM-DATE-TIME", false),
            "#EXT-X-DISCONTINUITY" => mark(&mut self.next.discontinuity, "EXT-X-DISCONTINUITY"),
            "#EXT-X-GAP" => mark(&mut self.next.gap, "EXT-X-GAP"),
            "#EXT-X-MAP" => {
                let uri = value.strip_prefix("URI=\"").and_then(|rest| rest.strip_suffix('"'));
                let uri = uri.filter(|uri| !uri.is_empty() && !uri.contains('"'));
                self.map = Some(uri.ok_or(Problem::BadValue("EXT-X-MAP"))?.to_owned());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn uri(&mut self, uri: &str) -> Result<(), Problem> {
        let next = std::mem::take(&mut self.next);
        let duration = next.duration.ok_or(Problem::Missing("EXTINF"))?;
        let target = self.target_duration_secs.ok_or(Problem::Missing("EXT-X-TARGETDURATION"))?;
        if duration.to_units(1) > i64::from(target) {
            return Err(Problem::AboveTarget);
        }
        let msn = self.media_sequence.unwrap_or(0).checked_add(self.segments.len() as u64);
        self.segments.push(ReadSegment {
            msn: msn.ok_or(Problem::BadValue("EXT-X-MEDIA-SEQUENCE"))?,
            uri: uri.to_owned(),
            duration,
            wall: next.wall,
            discontinuity: next.discontinuity,
            gap: next.gap,
            map: self.map.clone(),
        });
        Ok(())
    }

    fn finish(self) -> Result<ReadPlaylist, Problem> {
        if self.next != Next::default() {
            return Err(Problem::BadEnd);
        }
        Ok(ReadPlaylist {
            version: self.version.unwrap_or(1),
            target_duration_secs: self.target_duration_secs.ok_or(Problem::Missing("EXT-X-TARGETDURATION"))?,
            media_sequence: self.media_sequence.unwrap_or(0),
            discontinuity_sequence: self.discontinuity_sequence.unwrap_or(0),
            playlist_type: self.playlist_type,
            independent_segments: self.independent_segments,
            ended: self.ended,
            segments: self.segments,
        })
    }
}

fn once<T>(slot: &mut Option<T>, value: Option<T>, tag: &'static str, late: bool) -> Result<(), Problem> {
    if late {
        return Err(Problem::Late(tag));
    }
    match slot.replace(value.ok_or(Problem::BadValue(tag))?) {
        Some(_) => Err(Problem::Twice(tag)),
        None => Ok(()),
    }
}

fn mark(slot: &mut bool, tag: &'static str) -> Result<(), Problem> {
    if std::mem::replace(slot, true) { Err(Problem::Twice(tag)) } else { Ok(()) }
}

/// decimal-integer of RFC 8216 4.2: digits only.
fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// decimal-floating-point of RFC 8216 4.2 with up to nine decimals, without a float.
fn decimal_seconds(text: &str) -> Option<Span> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let whole: i64 = number::<u32>(whole)?.into();
    if decimals.len() > 9 {
        return None;
    }
    let nanos = i64::from(number::<u32>(decimals)?) * 10_i64.pow(9 - decimals.len() as u32);
    Some(Span::from_secs(whole) + Span::from_units(nanos, 1_000_000_000))
}

fn date_time(text: &str) -> Option<WallTime> {
    let nanos = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
    i64::try_from(nanos).ok().map(WallTime::from_unix_nanos)
}
