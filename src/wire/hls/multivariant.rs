//! Writes multivariant playlists (RFC 8216 4.3.4) by m3u8-rs.
//!
//! Variants stand from the largest down. Some players start with the first one they see, and a middle rung would be
//! kinder to those on slow links; but hls.js and AVPlayer choose by measured bandwidth, those that take the first are
//! mostly tools and televisions on cables, and an order that is the ladder's own is the one that people expect in
//! menus.
//!
//! There are never captions in the streams, so each variant says CLOSED-CAPTIONS=NONE; otherwise Apple's players offer
//! a phantom track.

use std::collections::HashMap;

use m3u8_rs::{
    AlternativeMedia, AlternativeMediaType, ClosedCaptionGroupId, MasterPlaylist, QuotedOrUnquoted, Resolution,
    VariantStream,
};

use crate::media::codec::picture::VideoRange;

/// The audio group's id, and its only member's name.
const AUDIO_GROUP: &str = "audio";
/// EXT-X-VERSION, the same as the media playlists'.
const VERSION: usize = 6;

/// A multivariant playlist, described. URIs are relative to the session's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multivariant {
    /// EXT-X-STREAM-INF, from the largest down.
    pub variants: Vec<Variant>,
    /// EXT-X-MEDIA of the one audio rendition, when there is video that it goes with.
    pub audio: Option<AudioMember>,
    /// EXT-X-INDEPENDENT-SEGMENTS: true of every segment of every rendition.
    pub independent_segments: bool,
}

/// One EXT-X-STREAM-INF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The media playlist.
    pub uri: String,
    /// BANDWIDTH: most bits per second that the variant takes with its audio.
    pub bandwidth: u64,
    /// CODECS: RFC 6381 strings of everything in the variant, divided by commas.
    pub codecs: String,
    /// RESOLUTION: width and height to show.
    pub resolution: Option<(u32, u32)>,
    /// FRAME-RATE as a fraction.
    pub frame_rate: Option<(u32, u32)>,
    /// VIDEO-RANGE, where it is not SDR.
    pub video_range: Option<VideoRange>,
}

/// The EXT-X-MEDIA of the audio group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioMember {
    /// The media playlist.
    pub uri: String,
    /// CHANNELS
    pub channels: u16,
}

impl Multivariant {
    /// The whole text. `uri_prefix` stands in front of each URI: empty, or a relative path that ends in `/`.
    pub fn render(&self, uri_prefix: &str) -> String {
        let playlist = MasterPlaylist {
            version: Some(VERSION),
            independent_segments: self.independent_segments,
            alternatives: self.audio.iter().map(|audio| audio.describe(uri_prefix)).collect(),
            variants: self.variants.iter().map(|variant| variant.describe(uri_prefix, self.audio.is_some())).collect(),
            ..Default::default()
        };
        let mut text = Vec::with_capacity(256 * (1 + self.variants.len()));
        // Writing to a Vec cannot fail.
        let _ = playlist.write_to(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// The text of a playlist that was rendered without a prefix, as [`Multivariant::render`] gives it with `uri_prefix`.
pub fn with_uri_prefix(text: &str, uri_prefix: &str) -> String {
    const MEDIA: &str = "#EXT-X-MEDIA:";
    const URI: &str = "URI=\"";
    let mut prefixed = String::with_capacity(text.len() + 8 * uri_prefix.len());
    for line in text.split_inclusive('\n') {
        let uri_at = match line.find(URI).filter(|_| line.starts_with(MEDIA)) {
            Some(attribute) => Some(attribute + URI.len()),
            None => (!line.starts_with('#') && !line.trim().is_empty()).then_some(0),
        };
        let (before, uri) = line.split_at(uri_at.unwrap_or(line.len()));
        prefixed.push_str(before);
        if uri_at.is_some() {
            prefixed.push_str(uri_prefix);
        }
        prefixed.push_str(uri);
    }
    prefixed
}

impl Variant {
    fn describe(&self, uri_prefix: &str, with_audio: bool) -> VariantStream {
        let resolution =
            self.resolution.map(|(width, height)| Resolution { width: width.into(), height: height.into() });
        // m3u8-rs writes FRAME-RATE as a float with as many digits as it takes, and knows no VIDEO-RANGE; the three decimals of
        // RFC 8216 4.3.4.2 go in as an attribute of our own, and the range behind it: two attributes would come out in any order.
        let range = self.video_range.map(VideoRange::as_str);
        let attribute = match (self.frame_rate.and_then(three_decimals), range) {
            (Some(rate), Some(range)) => Some(("FRAME-RATE", format!("{rate},VIDEO-RANGE={range}"))),
            (Some(rate), None) => Some(("FRAME-RATE", rate)),
            (None, range) => range.map(|range| ("VIDEO-RANGE", range.to_owned())),
        };
        let others =
            attribute.map(|(name, value)| HashMap::from([(name.to_owned(), QuotedOrUnquoted::Unquoted(value))]));
        VariantStream {
            uri: format!("{uri_prefix}{}", self.uri),
            bandwidth: self.bandwidth,
            codecs: Some(self.codecs.clone()),
            resolution,
            other_attributes: others,
            audio: with_audio.then(|| AUDIO_GROUP.to_owned()),
            closed_captions: Some(ClosedCaptionGroupId::None),
            ..Default::default()
        }
    }
}

impl AudioMember {
    fn describe(&self, uri_prefix: &str) -> AlternativeMedia {
        AlternativeMedia {
            media_type: AlternativeMediaType::Audio,
            uri: Some(format!("{uri_prefix}{}", self.uri)),
            group_id: AUDIO_GROUP.to_owned(),
            name: AUDIO_GROUP.to_owned(),
            default: true,
            autoselect: true,
            channels: Some(self.channels.to_string()),
            ..Default::default()
        }
    }
}

/// `30000/1001` as `29.970`; `None` when there is no such rate.
fn three_decimals((numerator, denominator): (u32, u32)) -> Option<String> {
    let (numerator, denominator) = (u64::from(numerator), u64::from(denominator));
    let millis = (numerator * 1_000 + denominator / 2).checked_div(denominator)?;
    (millis > 0).then(|| format!("{}.{:03}", millis / 1_000, millis % 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder() -> Multivariant {
        let variant = |name: &str, bandwidth, codec: &str, resolution, frame_rate| Variant {
            uri: format!("{name}/index.m3u8"),
            bandwidth,
            codecs: format!("{codec},mp4a.40.2"),
            resolution: Some(resolution),
            frame_rate,
            video_range: None,
        };
        Multivariant {
            variants: vec![
                variant("1080p", 6_468_000, "avc1.640028", (1_920, 1_080), Some((30_000, 1_001))),
                variant("480p", 1_600_000, "avc1.64001f", (854, 480), Some((15, 1))),
                variant("240p", 400_000, "avc1.42c01e", (426, 240), None),
            ],
            audio: Some(AudioMember { uri: "audio/index.m3u8".to_owned(), channels: 2 }),
            independent_segments: false,
        }
    }

    #[test]
    fn the_range_stands_behind_the_frame_rate() {
        let line = |frame_rate, video_range| {
            let mut ladder = ladder();
            (ladder.variants[0].frame_rate, ladder.variants[0].video_range) = (frame_rate, video_range);
            ladder.render("").lines().find(|line| line.contains("1920x1080")).map(str::to_owned).expect("it is there")
        };
        let both = line(Some((25, 1)), Some(VideoRange::Hlg));
        assert!(both.contains(",RESOLUTION=1920x1080,FRAME-RATE=25.000,VIDEO-RANGE=HLG,AUDIO="), "{both}");
        let range = line(None, Some(VideoRange::Pq));
        assert!(range.contains(",RESOLUTION=1920x1080,VIDEO-RANGE=PQ,AUDIO="), "{range}");
    }

    #[test]
    fn a_ladder_with_audio() {
        assert_eq!(
            ladder().render("s1/"),
            "#EXTM3U\n\
             #EXT-X-VERSION:6\n\
             #EXT-X-MEDIA:TYPE=AUDIO,URI=\"s1/audio/index.m3u8\",GROUP-ID=\"audio\",NAME=\"audio\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH=6468000,CODECS=\"avc1.640028,mp4a.40.2\",RESOLUTION=1920x1080,FRAME-RATE=29.970,AUDIO=\"audio\",CLOSED-CAPTIONS=NONE\n\
             s1/1080p/index.m3u8\n\
             #EXT-X-STREAM-INF:BANDWIDTH=1600000,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=854x480,FRAME-RATE=15.000,AUDIO=\"audio\",CLOSED-CAPTIONS=NONE\n\
             s1/480p/index.m3u8\n\
             #EXT-X-STREAM-INF:BANDWIDTH=400000,CODECS=\"avc1.42c01e,mp4a.40.2\",RESOLUTION=426x240,AUDIO=\"audio\",CLOSED-CAPTIONS=NONE\n\
             s1/240p/index.m3u8\n"
        );
    }

    #[test]
    fn a_prefix_comes_later_as_well() {
        assert_eq!(with_uri_prefix(&ladder().render(""), "s1/"), ladder().render("s1/"));
        let silent = Multivariant { variants: ladder().variants.split_off(2), audio: None, ..ladder() };
        assert_eq!(with_uri_prefix(&silent.render(""), "s1/"), silent.render("s1/"));
    }

    #[test]
    fn audio_alone_is_a_variant() {
        let playlist = Multivariant {
            variants: vec![Variant {
                uri: "audio/index.m3u8".to_owned(),
                bandwidth: 168_000,
                codecs: "mp4a.40.2".to_owned(),
                resolution: None,
                frame_rate: None,
                video_range: None,
            }],
            audio: None,
            independent_segments: true,
        };
        assert_eq!(
            playlist.render(""),
            "#EXTM3U\n\
             #EXT-X-VERSION:6\n\
             #EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-STREAM-INF:BANDWIDTH=168000,CODECS=\"mp4a.40.2\",CLOSED-CAPTIONS=NONE\n\
             audio/index.m3u8\n"
        );
    }

    #[test]
    fn rates_have_three_decimals_or_none() {
        for (rate, text) in [
            ((24_000, 1_001), Some("23.976")),
            ((25, 1), Some("25.000")),
            ((60_000, 1_001), Some("59.940")),
            ((30, 0), None),
            ((0, 1), None),
            ((u32::MAX, 1), Some("4294967295.000")),
        ] {
            assert_eq!(three_decimals(rate).as_deref(), text, "{rate:?}");
        }
    }

    #[test]
    fn it_reads_back() {
        let text = ladder().render("");
        let (_, parsed) = m3u8_rs::parse_master_playlist(text.as_bytes()).expect("it parses");
        let read: Vec<_> = parsed.variants.iter().map(|it| (it.uri.as_str(), it.bandwidth, it.frame_rate)).collect();
        assert_eq!(
            read,
            [
                ("1080p/index.m3u8", 6_468_000, Some(29.97)),
                ("480p/index.m3u8", 1_600_000, Some(15.0)),
                ("240p/index.m3u8", 400_000, None)
            ]
        );
    }
}
