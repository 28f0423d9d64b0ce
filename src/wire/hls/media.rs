//! Writes media playlists.
//!
//! A playlist is a head and one block of lines per segment. What stands in a segment's block depends on that segment alone,
//! except EXT-X-MAP, which stands where the init segment changes; so blocks can be rendered once and kept.
//! Parts are known ([`Segment::parts`]) and not listed: plain HLS. A segment that is still open is not listed either.
//!
//! The writer states what it is given. That a target duration never changes, that sequence numbers never go back and that
//! a live playlist is long enough (RFC 8216 6.2) is the caller's to keep.

use std::fmt::Write;

use crate::media::naming::MediaName;
use crate::media::{Segment, Span};

/// EXT-X-PLAYLIST-TYPE (RFC 8216 4.3.3.5). A sliding window has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaylistType {
    /// Segments are only ever appended.
    Event,
    /// Nothing changes any more.
    Vod,
}

/// EXT-X-VERSION of a playlist with EXT-X-MAP and no I-frames-only (RFC 8216 7).
const VERSION_MAP: u32 = 6;
/// EXT-X-VERSION from which clients know EXT-X-GAP.
const VERSION_GAP: u32 = 8;

/// A media playlist, described. `segments` yields the listed segments from the oldest on, MSNs rising by one.
#[derive(Clone, Debug)]
pub struct MediaPlaylist<I> {
    /// EXT-X-TARGETDURATION in seconds: no EXTINF, rounded to the nearest second, may be above it.
    pub target_duration_secs: u32,
    /// EXT-X-MEDIA-SEQUENCE: MSN of the first listed segment, or of the first that will be.
    pub media_sequence: u64,
    /// EXT-X-DISCONTINUITY-SEQUENCE: discontinuities that were removed from the front. Left out when it is 0.
    pub discontinuity_sequence: u64,
    /// EXT-X-PLAYLIST-TYPE.
    pub playlist_type: Option<PlaylistType>,
    /// EXT-X-INDEPENDENT-SEGMENTS: every segment begins with a picture that needs no other.
    pub independent_segments: bool,
    /// EXT-X-ENDLIST.
    pub ended: bool,
    /// Stands in front of each name: empty, or a relative path that ends in `/`.
    pub uri_prefix: &'static str,
    /// The listed segments.
    pub segments: I,
}

impl<'a, I> MediaPlaylist<I>
where
    I: Iterator<Item = &'a Segment> + Clone,
{
    /// The whole text.
    pub fn render(&self) -> String {
        /// Bytes of a usual segment's block: three lines.
        const BLOCK_LEN: usize = 96;
        let mut out = String::with_capacity(256 + BLOCK_LEN * self.segments.clone().count());
        self.write_head(&mut out);
        let mut map = None;
        for segment in self.segments.clone().filter(|segment| segment.duration.is_some()) {
            write_discontinuity(segment, &mut out);
            // A gap has nothing to initialise, and what it names may not be there yet.
            if !segment.gap && map != Some(segment.init) {
                map = Some(segment.init);
                write_map(segment.init, self.uri_prefix, &mut out);
            }
            write_block(segment, self.uri_prefix, &mut out);
        }
        if self.ended {
            out.push_str("#EXT-X-ENDLIST\n");
        }
        out
    }

    fn write_head(&self, out: &mut String) {
        let gaps = self.segments.clone().any(|segment| segment.gap);
        let version = if gaps { VERSION_GAP } else { VERSION_MAP };
        line(out, format_args!("#EXTM3U\n#EXT-X-VERSION:{version}"));
        line(out, format_args!("#EXT-X-TARGETDURATION:{}", self.target_duration_secs));
        line(out, format_args!("#EXT-X-MEDIA-SEQUENCE:{}", self.media_sequence));
        if self.discontinuity_sequence > 0 {
            line(out, format_args!("#EXT-X-DISCONTINUITY-SEQUENCE:{}", self.discontinuity_sequence));
        }
        match self.playlist_type {
            Some(PlaylistType::Event) => out.push_str("#EXT-X-PLAYLIST-TYPE:EVENT\n"),
            Some(PlaylistType::Vod) => out.push_str("#EXT-X-PLAYLIST-TYPE:VOD\n"),
            None => {}
        }
        if self.independent_segments {
            out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
        }
    }
}

fn write_discontinuity(segment: &Segment, out: &mut String) {
    if segment.discontinuity {
        out.push_str("#EXT-X-DISCONTINUITY\n");
    }
}

fn write_map(number: u32, uri_prefix: &str, out: &mut String) {
    line(out, format_args!("#EXT-X-MAP:URI=\"{uri_prefix}{}\"", MediaName::Init { number }));
}

/// The lines that depend on nothing but the segment: time, gap, duration, name.
fn write_block(segment: &Segment, uri_prefix: &str, out: &mut String) {
    line(out, format_args!("#EXT-X-PROGRAM-DATE-TIME:{}", segment.wall));
    if segment.gap {
        out.push_str("#EXT-X-GAP\n");
    }
    let duration = Seconds(segment.duration.unwrap_or(Span::ZERO));
    line(out, format_args!("#EXTINF:{duration},\n{uri_prefix}{}", segment.name()));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

/// A span in seconds with five decimals, computed in integers: finer than any frame, coarse enough for readers that hold
/// durations in 32-bit floats.
pub(super) struct Seconds(pub Span);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = self.0.to_units(100_000).max(0);
        write!(f, "{}.{:05}", units / 100_000, units % 100_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::WallTime;

    fn segment(msn: u64, millis: i64) -> Segment {
        Segment {
            msn,
            epoch: 3,
            duration: Some(Span::from_millis(2_000)),
            wall: WallTime::from_unix_millis(1_795_244_400_000 + millis),
            discontinuity: false,
            gap: false,
            init: 0,
            parts: Vec::new(),
        }
    }

    fn live<'a>(segments: &'a [Segment]) -> MediaPlaylist<std::slice::Iter<'a, Segment>> {
        MediaPlaylist {
            target_duration_secs: 2,
            media_sequence: segments[0].msn,
            discontinuity_sequence: 0,
            playlist_type: None,
            independent_segments: true,
            ended: false,
            uri_prefix: "",
            segments: segments.iter(),
        }
    }

    #[test]
    fn a_live_window() {
        let mut segments = [segment(7, 0), segment(8, 2_002), segment(9, 4_004)];
        segments[0].duration = Some(Span::from_units(180_180, 90_000));
        segments[1].duration = Some(Span::from_units(96_256, 48_000));
        segments[2].duration = None;
        assert_eq!(
            live(&segments).render(),
            "#EXTM3U\n\
             #EXT-X-VERSION:6\n\
             #EXT-X-TARGETDURATION:2\n\
             #EXT-X-MEDIA-SEQUENCE:7\n\
             #EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-MAP:URI=\"init-0.mp4\"\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-21T07:00:00.000Z\n\
             #EXTINF:2.00200,\n\
             3-7.m4s\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-21T07:00:02.002Z\n\
             #EXTINF:2.00533,\n\
             3-8.m4s\n"
        );
    }

    #[test]
    fn a_reconnect_with_gap_new_map_and_end() {
        let mut segments = [segment(7, 0), segment(8, 2_000), segment(9, 4_000), segment(10, 6_000)];
        segments[1].gap = true;
        (segments[2].discontinuity, segments[2].init, segments[2].epoch) = (true, 1, 4);
        (segments[3].init, segments[3].epoch) = (1, 4);
        let playlist = MediaPlaylist {
            discontinuity_sequence: 5,
            playlist_type: Some(PlaylistType::Event),
            independent_segments: false,
            ended: true,
            uri_prefix: "../../live/s/",
            ..live(&segments)
        };
        assert_eq!(
            playlist.render(),
            "#EXTM3U\n\
             #EXT-X-VERSION:8\n\
             #EXT-X-TARGETDURATION:2\n\
             #EXT-X-MEDIA-SEQUENCE:7\n\
             #EXT-X-DISCONTINUITY-SEQUENCE:5\n\
             #EXT-X-PLAYLIST-TYPE:EVENT\n\
             #EXT-X-MAP:URI=\"../../live/s/init-0.mp4\"\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-21T07:00:00.000Z\n\
             #EXTINF:2.00000,\n\
             ../../live/s/3-7.m4s\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-21T07:00:02.000Z\n\
             #EXT-X-GAP\n\
             #EXTINF:2.00000,\n\
             ../../live/s/3-8.m4s\n\
             #EXT-X-DISCONTINUITY\n\
             #EXT-X-MAP:URI=\"../../live/s/init-1.mp4\"\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-21T07:00:04.000Z\n\
             #EXTINF:2.00000,\n\
             ../../live/s/4-9.m4s\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-21T07:00:06.000Z\n\
             #EXTINF:2.00000,\n\
             ../../live/s/4-10.m4s\n\
             #EXT-X-ENDLIST\n"
        );
    }

    #[test]
    fn a_gap_in_front_names_no_map() {
        let mut segments = [segment(0, 0), segment(1, 2_000)];
        segments[0].gap = true;
        let text = live(&segments).render();
        let maps: Vec<_> =
            text.lines().filter(|line| line.starts_with("#EXT-X-MAP") || !line.starts_with('#')).collect();
        assert_eq!(maps, ["3-0.m4s", "#EXT-X-MAP:URI=\"init-0.mp4\"", "3-1.m4s"]);
    }

    #[test]
    fn m3u8_rs_reads_what_is_written() {
        let mut segments = [segment(7, 0), segment(8, 2_000)];
        segments[1].discontinuity = true;
        segments[1].init = 1;
        let (rest, parsed) = m3u8_rs::parse_media_playlist(live(&segments).render().as_bytes())
            .map(|(rest, list)| (rest.len(), list))
            .expect("it parses");
        assert_eq!((rest, parsed.media_sequence, parsed.target_duration, parsed.version), (0, 7, 2, Some(6)));
        let read: Vec<_> = parsed
            .segments
            .iter()
            .map(|it| (it.uri.as_str(), it.duration, it.discontinuity, it.map.as_ref().map(|map| map.uri.as_str())))
            .collect();
        assert_eq!(read, [("3-7.m4s", 2.0, false, Some("init-0.mp4")), ("3-8.m4s", 2.0, true, Some("init-1.mp4"))]);
        assert_eq!(parsed.segments[1].program_date_time.map(|time| time.timestamp_millis()), Some(1_795_244_402_000));
    }

    #[test]
    fn seconds_round_to_the_nearest_hundred_thousandth() {
        for (units, timescale, text) in
            [(1, 90_000, "0.00001"), (3_003, 90_000, "0.03337"), (1_024, 44_100, "0.02322"), (-1, 1, "0.00000")]
        {
            assert_eq!(Seconds(Span::from_units(units, timescale)).to_string(), text);
        }
    }
}
