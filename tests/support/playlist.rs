//! Strict readers of multivariant and media playlists. A line that they do not know is an error, so that nothing gets into
//! a playlist unnoticed.

use std::collections::BTreeMap;

/// A media playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// EXT-X-TARGETDURATION in seconds.
    pub target_seconds: u64,
    /// EXT-X-MEDIA-SEQUENCE, 0 when absent.
    pub first_msn: u64,
    /// EXT-X-DISCONTINUITY-SEQUENCE, 0 when absent.
    pub discontinuity_sequence: u64,
    /// EXT-X-INDEPENDENT-SEGMENTS.
    pub independent_segments: bool,
    /// What it lists, MSNs rising by one.
    pub entries: Vec<Entry>,
    /// EXT-X-ENDLIST.
    pub ended: bool,
}

/// A listed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Media sequence number.
    pub msn: u64,
    /// Its URI as written.
    pub uri: String,
    /// EXTINF in microseconds.
    pub duration_us: u64,
    /// EXT-X-PROGRAM-DATE-TIME as written.
    pub wall: String,
    /// EXT-X-DISCONTINUITY stands before it.
    pub discontinuity: bool,
    /// EXT-X-GAP.
    pub gap: bool,
    /// URI of the EXT-X-MAP in force.
    pub map: String,
}

/// A multivariant playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multivariant {
    /// Variants in the order in which they are written.
    pub variants: Vec<Variant>,
    /// Audio renditions.
    pub audio: Vec<Audio>,
    /// EXT-X-INDEPENDENT-SEGMENTS.
    pub independent_segments: bool,
}

/// EXT-X-STREAM-INF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// URI of the media playlist.
    pub uri: String,
    /// BANDWIDTH in bits per second.
    pub bandwidth: u64,
    /// CODECS, split at its commas.
    pub codecs: Vec<String>,
    /// RESOLUTION in pixels; (0, 0) for sound alone, which has none.
    pub resolution: (u32, u32),
    /// FRAME-RATE in thousandths of a frame per second.
    pub frame_rate_milli: Option<u64>,
    /// AUDIO.
    pub audio: Option<String>,
}

/// EXT-X-MEDIA with TYPE=AUDIO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// GROUP-ID.
    pub group: String,
    /// URI of the media playlist.
    pub uri: String,
}

impl Media {
    /// Reads a playlist, or panics with the line that is wrong.
    pub fn parse(text: &str) -> Self {
        let mut media = Media {
            target_seconds: 0,
            first_msn: 0,
            discontinuity_sequence: 0,
            independent_segments: false,
            entries: Vec::new(),
            ended: false,
        };
        let mut next = Pending::default();
        for line in lines(text) {
            assert!(!media.ended, "a line behind ENDLIST: {line}");
            match tag(line) {
                ("#EXT-X-VERSION", version) => assert!(number(version) >= 6, "MAP needs version 6: {text}"),
                ("#EXT-X-TARGETDURATION", value) => media.target_seconds = number(value),
                ("#EXT-X-MEDIA-SEQUENCE", value) => media.first_msn = number(value),
                ("#EXT-X-DISCONTINUITY-SEQUENCE", value) => media.discontinuity_sequence = number(value),
                ("#EXT-X-INDEPENDENT-SEGMENTS", _) => media.independent_segments = true,
                ("#EXT-X-ENDLIST", _) => media.ended = true,
                ("#EXT-X-MAP", value) => next.map = required(&attributes(value), "URI"),
                ("#EXT-X-PROGRAM-DATE-TIME", value) => next.wall = value.to_owned(),
                ("#EXT-X-DISCONTINUITY", _) => next.discontinuity = true,
                ("#EXT-X-GAP", _) => next.gap = true,
                ("#EXTINF", value) => next.duration_us = Some(decimal(value.trim_end_matches(','), 6)),
                // What later versions of the daemon may add for low latency is read by tests of its own.
                (
                    "#EXT-X-PLAYLIST-TYPE"
                    | "#EXT-X-SERVER-CONTROL"
                    | "#EXT-X-PART-INF"
                    | "#EXT-X-PART"
                    | "#EXT-X-PRELOAD-HINT"
                    | "#EXT-X-RENDITION-REPORT"
                    | "#EXT-X-START",
                    _,
                ) => {}
                (uri, _) if !uri.starts_with('#') => {
                    let msn = media.first_msn + media.entries.len() as u64;
                    media.entries.push(next.entry(msn, line));
                }
                _ => panic!("a line that is not known: {line}"),
            }
        }
        assert!(media.target_seconds > 0, "no TARGETDURATION: {text}");
        for entry in &media.entries {
            let rounded = (entry.duration_us + 500_000) / 1_000_000;
            assert!(rounded <= media.target_seconds, "segment {} is longer than the target: {text}", entry.msn);
        }
        media
    }

    /// The last listed MSN.
    pub fn last_msn(&self) -> Option<u64> {
        self.entries.last().map(|entry| entry.msn)
    }
}

/// Tags that stand before the URI which they belong to.
#[derive(Default)]
struct Pending {
    map: String,
    wall: String,
    discontinuity: bool,
    gap: bool,
    duration_us: Option<u64>,
}

impl Pending {
    fn entry(&mut self, msn: u64, uri: &str) -> Entry {
        let duration_us = self.duration_us.take().unwrap_or_else(|| panic!("{uri} has no EXTINF"));
        Entry {
            msn,
            uri: uri.to_owned(),
            duration_us,
            wall: std::mem::take(&mut self.wall),
            discontinuity: std::mem::take(&mut self.discontinuity),
            gap: std::mem::take(&mut self.gap),
            map: self.map.clone(),
        }
    }
}

impl Multivariant {
    /// Reads a playlist, or panics with the line that is wrong.
    pub fn parse(text: &str) -> Self {
        let mut all = Multivariant { variants: Vec::new(), audio: Vec::new(), independent_segments: false };
        let mut pending = None;
        for line in lines(text) {
            match tag(line) {
                ("#EXT-X-VERSION", _) => {}
                ("#EXT-X-INDEPENDENT-SEGMENTS", _) => all.independent_segments = true,
                ("#EXT-X-MEDIA", value) => {
                    let attributes = attributes(value);
                    assert_eq!(required(&attributes, "TYPE"), "AUDIO", "{line}");
                    all.audio
                        .push(Audio { group: required(&attributes, "GROUP-ID"), uri: required(&attributes, "URI") });
                }
                ("#EXT-X-STREAM-INF", value) => pending = Some(attributes(value)),
                (uri, _) if !uri.starts_with('#') => {
                    let attributes = pending.take().unwrap_or_else(|| panic!("{line} has no EXT-X-STREAM-INF"));
                    all.variants.push(variant(line, &attributes));
                }
                _ => panic!("a line that is not known: {line}"),
            }
        }
        all
    }
}

fn variant(uri: &str, attributes: &BTreeMap<String, String>) -> Variant {
    let codecs = required(attributes, "CODECS");
    assert!(!codecs.contains("avc1") || attributes.contains_key("RESOLUTION"), "pictures have a size: {attributes:?}");
    let resolution = attributes.get("RESOLUTION").map_or("0x0", String::as_str);
    let (width, height) = resolution.split_once('x').expect("RESOLUTION is WxH");
    Variant {
        uri: uri.to_owned(),
        bandwidth: number(&required(attributes, "BANDWIDTH")),
        codecs: codecs.split(',').map(str::to_owned).collect(),
        resolution: (number(width) as u32, number(height) as u32),
        frame_rate_milli: attributes.get("FRAME-RATE").map(|rate| decimal(rate, 3)),
        audio: attributes.get("AUDIO").cloned(),
    }
}

/// The lines behind `#EXTM3U`, without empty ones.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    assert!(text.starts_with("#EXTM3U\n"), "not a playlist: {text}");
    text.lines().skip(1).filter(|line| !line.is_empty())
}

/// Name and value of a tag; a URI is its own name.
fn tag(line: &str) -> (&str, &str) {
    if !line.starts_with('#') {
        return (line, "");
    }
    line.split_once(':').unwrap_or((line, ""))
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("not a whole number: {text}"))
}

/// A decimal as a whole number of 1/10^`digits`; more digits than that are an error.
fn decimal(text: &str, digits: usize) -> u64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert!(fraction.len() <= digits, "too many digits: {text}");
    number(&format!("{whole}{fraction:0<digits$}"))
}

/// An attribute list: quoted strings may hold commas.
fn attributes(list: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = list;
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=').unwrap_or_else(|| panic!("not an attribute list: {list}"));
        let (value, behind) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or_else(|| panic!("an open quote: {list}")),
            None => value.split_at(value.find(',').unwrap_or(value.len())),
        };
        assert!(found.insert(name.to_owned(), value.to_owned()).is_none(), "{name} stands twice: {list}");
        rest = behind.strip_prefix(',').unwrap_or(behind);
    }
    found
}

fn required(attributes: &BTreeMap<String, String>, name: &str) -> String {
    attributes.get(name).unwrap_or_else(|| panic!("no {name} in {attributes:?}")).clone()
}

/// `uri` as seen from the playlist at `base`, both without a query. Only what the daemon writes: relative, no `..`.
pub fn resolve(base: &str, uri: &str) -> String {
    assert!(!uri.starts_with('/') && !uri.contains("..") && !uri.contains("://"), "not a plain relative URI: {uri}");
    let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/{uri}")
}

#[test]
fn a_media_playlist_is_read_whole() {
    let text = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n\
                #EXT-X-MAP:URI=\"init-0.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2030-01-01T00:00:00.000Z\n\
                #EXTINF:2.00200,\n1-7.m4s\n#EXT-X-DISCONTINUITY\n#EXT-X-GAP\n#EXTINF:2,\n2-8.m4s\n#EXT-X-ENDLIST\n";
    let media = Media::parse(text);
    assert_eq!((media.target_seconds, media.first_msn, media.last_msn(), media.ended), (2, 7, Some(8), true));
    let second = Entry {
        msn: 8,
        uri: "2-8.m4s".to_owned(),
        duration_us: 2_000_000,
        wall: String::new(),
        discontinuity: true,
        gap: true,
        map: "init-0.mp4".to_owned(),
    };
    assert_eq!((media.entries[0].duration_us, &media.entries[1]), (2_002_000, &second));
}

#[test]
fn a_multivariant_playlist_is_read_whole() {
    let text = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"x\",URI=\"s/audio/index.m3u8\"\n\
                #EXT-X-STREAM-INF:BANDWIDTH=900000,CODECS=\"avc1.64001e,mp4a.40.2\",RESOLUTION=640x360,\
                FRAME-RATE=29.970,AUDIO=\"a\"\ns/360p/index.m3u8\n";
    let all = Multivariant::parse(text);
    let variant = Variant {
        uri: "s/360p/index.m3u8".to_owned(),
        bandwidth: 900_000,
        codecs: vec!["avc1.64001e".to_owned(), "mp4a.40.2".to_owned()],
        resolution: (640, 360),
        frame_rate_milli: Some(29_970),
        audio: Some("a".to_owned()),
    };
    assert_eq!(all.variants, [variant]);
    assert_eq!(all.audio, [Audio { group: "a".to_owned(), uri: "s/audio/index.m3u8".to_owned() }]);
}
