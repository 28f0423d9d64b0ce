//! What must be known of a track before its first packet can be decoded or packaged.

use bytes::Bytes;

/// The two kinds of track that a session has, at most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

impl Kind {
    /// Lower-case name for logs, metrics and `EXT-X-MEDIA`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Video => "video",
            Kind::Audio => "audio",
        }
    }
}

/// A track's configuration. Two equal values need no new init segment and no discontinuity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Track {
    /// A video track.
    Video(VideoTrack),
    /// An audio track.
    Audio(AudioTrack),
}

impl Track {
    /// Which kind of track this configures.
    pub const fn kind(&self) -> Kind {
        match self {
            Track::Video(_) => Kind::Video,
            Track::Audio(_) => Kind::Audio,
        }
    }

    /// The video configuration, if this is one.
    pub const fn as_video(&self) -> Option<&VideoTrack> {
        match self {
            Track::Video(video) => Some(video),
            Track::Audio(_) => None,
        }
    }

    /// The audio configuration, if this is one.
    pub const fn as_audio(&self) -> Option<&AudioTrack> {
        match self {
            Track::Audio(audio) => Some(audio),
            Track::Video(_) => None,
        }
    }

    /// The `codecs` parameter of RFC 6381, e.g. `avc1.64001f` or `mp4a.40.2`.
    pub fn codecs(&self) -> &str {
        match self {
            Track::Video(video) => &video.codecs,
            Track::Audio(audio) => &audio.codecs,
        }
    }

    /// Units per second in init segments and `tfdt`: 90 000 for video, the sample rate for audio.
    pub fn timescale(&self) -> u32 {
        match self {
            Track::Video(_) => VIDEO_TIMESCALE,
            Track::Audio(audio) => audio.sample_rate,
        }
    }
}

/// Output timescale of every video rendition.
pub const VIDEO_TIMESCALE: u32 = 90_000;

/// H.264 video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoTrack {
    /// AVCDecoderConfigurationRecord (ISO/IEC 14496-15 5.3.3.1), always with 4-byte NAL lengths.
    pub config: Bytes,
    /// RFC 6381 string made of the SPS's first three bytes.
    pub codecs: String,
    /// Width of the cropped picture in pixels.
    pub width: u32,
    /// Height of the cropped picture in pixels.
    pub height: u32,
    /// Sample aspect ratio, `(1, 1)` when the SPS says nothing.
    pub sample_aspect: (u32, u32),
    /// Frames per second as a fraction, from the SPS timing or measured; `None` when unknown.
    pub frame_rate: Option<(u32, u32)>,
    /// What the copied rung must know of the coding: 4:2:0, 8 bit, progressive. False makes an `auto` rung encode; see
    /// [`super::copy`].
    pub plain: bool,
}

impl VideoTrack {
    /// Plain H.264 of the High profile with square pixels and without a configuration: enough to plan a ladder and to count
    /// what it costs, not to decode.
    pub fn plain(width: u32, height: u32, frame_rate: (u32, u32)) -> Self {
        VideoTrack {
            config: Bytes::new(),
            codecs: "avc1.640028".to_owned(),
            width,
            height,
            sample_aspect: (1, 1),
            frame_rate: Some(frame_rate),
            plain: true,
        }
    }

    /// Whether pixels are as wide as they are high.
    pub fn has_square_pixels(&self) -> bool {
        let (x, y) = self.sample_aspect;
        x == y || x == 0 || y == 0
    }

    /// The size to show the picture at: its own height, and a width that is another than coded when pixels are not square.
    pub fn shown_size(&self) -> (u32, u32) {
        shown_size((self.width, self.height), self.sample_aspect)
    }
}

/// The size to show a picture at that is `width` x `height` pixels of the shape `sample_aspect`; see
/// [`VideoTrack::shown_size`].
pub fn shown_size((width, height): (u32, u32), sample_aspect: (u32, u32)) -> (u32, u32) {
    let (x, y) = (u64::from(sample_aspect.0), u64::from(sample_aspect.1));
    let shown = (u64::from(width) * x + y / 2).checked_div(y).and_then(|shown| u32::try_from(shown).ok());
    (shown.filter(|shown| *shown > 0).unwrap_or(width), height)
}

/// AAC audio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioTrack {
    /// AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1), whole.
    pub config: Bytes,
    /// RFC 6381 string, `mp4a.40.<audio object type>`.
    pub codecs: String,
    /// Samples per second of the core stream; the track's timescale.
    pub sample_rate: u32,
    /// Channels, 1 to 8.
    pub channels: u16,
    /// Samples per frame at `sample_rate`: 1024 (or 960).
    pub samples_per_frame: u32,
}
