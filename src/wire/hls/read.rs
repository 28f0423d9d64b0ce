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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Segment;
    use crate::wire::hls::MediaPlaylist;
    use proptest::prelude::*;

    fn any_segment() -> impl Strategy<Value = Segment> {
        let duration = (0..=249_999_i64).prop_map(|units| Span::from_units(units, 100_000));
        let wall = (0..4_000_000_000_000_i64).prop_map(WallTime::from_unix_millis);
        (duration, wall, any::<bool>(), any::<bool>(), 0..3_u32, 0..2_u32).prop_map(
            |(duration, wall, discontinuity, gap, init, epoch)| Segment {
                msn: 0,
                epoch,
                duration: Some(duration),
                wall,
                discontinuity,
                gap,
                init,
                parts: Vec::new(),
            },
        )
    }

    prop_compose! {
        fn any_playlist()(
            mut segments in proptest::collection::vec(any_segment(), 0..40),
            media_sequence in 0..u64::MAX / 2,
            discontinuity_sequence: u32,
            kind in 0..3_usize,
            independent_segments: bool,
            ended: bool,
        ) -> (Vec<Segment>, String) {
            for (msn, segment) in (media_sequence..).zip(&mut segments) {
                segment.msn = msn;
            }
            let text = MediaPlaylist {
                target_duration_secs: 2,
                media_sequence,
                discontinuity_sequence: discontinuity_sequence.into(),
                playlist_type: [None, Some(PlaylistType::Event), Some(PlaylistType::Vod)][kind],
                independent_segments,
                ended,
                uri_prefix: "../x/",
                segments: segments.iter(),
            }
            .render();
            (segments, text)
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read((segments, text) in any_playlist()) {
            let read = read_media_playlist(text.as_bytes());
            prop_assert!(read.is_ok(), "{:?}\n{}", read, text);
            let read = read.expect("just checked");
            prop_assert_eq!(read.segments.len(), segments.len());
            for (read, segment) in read.segments.iter().zip(&segments) {
                prop_assert_eq!(read.name(), Some(segment.name()));
                prop_assert_eq!((read.msn, read.gap, read.discontinuity), (segment.msn, segment.gap, segment.discontinuity));
                prop_assert_eq!((Some(read.duration), read.wall), (segment.duration, Some(segment.wall)));
                let map = format!("../x/{}", MediaName::Init { number: segment.init });
                prop_assert!(segment.gap || read.map == Some(map));
            }
            // Writing down what was read gives the same text.
            let again = MediaPlaylist {
                target_duration_secs: read.target_duration_secs,
                media_sequence: read.media_sequence,
                discontinuity_sequence: read.discontinuity_sequence,
                playlist_type: read.playlist_type,
                independent_segments: read.independent_segments,
                ended: read.ended,
                uri_prefix: "../x/",
                segments: segments.iter(),
            };
            prop_assert_eq!(again.render(), text);
        }

        #[test]
        fn damaged_texts_are_errors_or_playlists(
            (_, text) in any_playlist(),
            hits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = text.into_bytes();
            for (at, value) in hits {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let _ = read_media_playlist(&bytes);
        }
    }

    fn problem(lines: &[&str]) -> Result<(), String> {
        let head = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", "#EXT-X-MEDIA-SEQUENCE:5"];
        let text = head.iter().chain(lines).map(|line| format!("{line}\n")).collect::<String>();
        read_media_playlist(text.as_bytes()).map(|_| ()).map_err(|error| error.to_string())
    }

    #[test]
    fn each_broken_rule_is_named_with_its_line() {
        for (lines, words) in [
            (&["#EXTM3U"][..], "line 4 of the media playlist: EXTM3U stands twice"),
            (&["#EXT-X-VERSION:seven"], "line 4 of the media playlist: EXT-X-VERSION has a value that cannot be read"),
            (
                &["#EXT-X-TARGETDURATION:+2"],
                "line 4 of the media playlist: EXT-X-TARGETDURATION has a value that cannot be read",
            ),
            (&["#EXT-X-TARGETDURATION:2"], "line 4 of the media playlist: EXT-X-TARGETDURATION stands twice"),
            (&["a.m4s"], "line 4 of the media playlist: EXTINF is missing"),
            (
                &["#EXTINF:2.5,", "a.m4s"],
                "line 5 of the media playlist: EXTINF, rounded to the nearest second, is above EXT-X-TARGETDURATION",
            ),
            (&["#EXTINF:2.0"], "line 4 of the media playlist: EXTINF has a value that cannot be read"),
            (&["#EXTINF:0.0000000001,"], "line 4 of the media playlist: EXTINF has a value that cannot be read"),
            (&["#EXTINF:2,", "#EXTINF:2,"], "line 5 of the media playlist: EXTINF stands twice"),
            (
                &["#EXTINF:2,", "a", "#EXT-X-VERSION:6"],
                "line 6 of the media playlist: EXT-X-VERSION stands behind a segment",
            ),
            (
                &["#EXT-X-DISCONTINUITY", "#EXT-X-DISCONTINUITY-SEQUENCE:1"],
                "line 5 of the media playlist: EXT-X-DISCONTINUITY-SEQUENCE stands behind a segment",
            ),
            (
                &["#EXT-X-PROGRAM-DATE-TIME:yesterday"],
                "line 4 of the media playlist: EXT-X-PROGRAM-DATE-TIME has a value that cannot be read",
            ),
            (&["#EXT-X-MAP:URI=init"], "line 4 of the media playlist: EXT-X-MAP has a value that cannot be read"),
            (
                &["#EXT-X-PLAYLIST-TYPE:LIVE"],
                "line 4 of the media playlist: EXT-X-PLAYLIST-TYPE has a value that cannot be read",
            ),
            (&["#EXT-X-GAP", "#EXT-X-GAP"], "line 5 of the media playlist: EXT-X-GAP stands twice"),
            (
                &["#EXT-X-ENDLIST", "#EXTINF:2,"],
                "line 5 of the media playlist: the text goes on where it should have ended, or ends inside a segment",
            ),
            (
                &["#EXT-X-DISCONTINUITY"],
                "line 4 of the media playlist: the text goes on where it should have ended, or ends inside a segment",
            ),
        ] {
            assert_eq!(problem(lines), Err(words.to_owned()), "{lines:?}");
        }
        assert_eq!(
            problem(&["#EXT-X-SOMETHING-NEW:A=1", "# a comment", "", "#EXTINF:2.49999,a title", "a.m4s"]),
            Ok(())
        );
    }

    #[test]
    fn texts_that_are_no_playlists_are_refused() {
        let problem = |bytes: &[u8]| read_media_playlist(bytes).map_err(|error| (error.line, error.problem));
        assert_eq!(problem(b""), Err((1, Problem::NoHeader)));
        assert_eq!(problem(b"\xef\xbb\xbf#EXTM3U\n"), Err((1, Problem::NoHeader)));
        assert_eq!(problem(b"#EXTM3U\n\xff"), Err((1, Problem::NotUtf8)));
        assert_eq!(problem(b"#EXTM3U\n"), Err((1, Problem::Missing("EXT-X-TARGETDURATION"))));
        assert_eq!(problem(&vec![b'#'; MAX_BYTES + 1]), Err((1, Problem::TooLong)));
        let last = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:18446744073709551615\n#EXTINF:1,\na\n#EXTINF:1,\nb\n";
        assert_eq!(problem(last), Err((7, Problem::BadValue("EXT-X-MEDIA-SEQUENCE"))));
    }
}
