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

/// How pictures are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// ITU-T H.264.
    H264,
    /// ITU-T H.265.
    Hevc,
    /// AOMedia Video 1.
    Av1,
    /// Google's VP9.
    Vp9,
}

impl VideoCodec {
    /// Each of them once.
    pub const ALL: [VideoCodec; 4] = [VideoCodec::H264, VideoCodec::Hevc, VideoCodec::Av1, VideoCodec::Vp9];

    /// The sample entry that CMAF carries it in, which begins its RFC 6381 string: parameter sets are in the init segment alone.
    pub const fn sample_entry(self) -> &'static str {
        match self {
            VideoCodec::H264 => "avc1",
            VideoCodec::Hevc => "hvc1",
            VideoCodec::Av1 => "av01",
            VideoCodec::Vp9 => "vp09",
        }
    }

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            VideoCodec::H264 => "H.264",
            VideoCodec::Hevc => "HEVC",
            VideoCodec::Av1 => "AV1",
            VideoCodec::Vp9 => "VP9",
        }
    }

    /// The codec that an RFC 6381 string begins with.
    pub fn of(codecs: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codecs.starts_with(codec.sample_entry()))
    }
}

/// A video track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoTrack {
    /// How it is coded.
    pub codec: VideoCodec,
    /// The body of the codec's configuration box, with NAL lengths of 4 bytes where there are NAL units: AVCDecoderConfigurationRecord
    /// and HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 5.3.3.1 and 8.3.3.1), AV1CodecConfigurationRecord (AV1-ISOBMFF 2.3.3),
    /// VPCodecConfigurationRecord without its version and flags (VP9-ISOBMFF).
    pub config: Bytes,
    /// RFC 6381 string: the sample entry, and behind it what the configuration says.
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
            codec: VideoCodec::H264,
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

/// How sound is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    /// MPEG-4 AAC.
    Aac,
    /// Opus (RFC 6716).
    Opus,
    /// Dolby Digital (ETSI TS 102 366).
    Ac3,
    /// Dolby Digital Plus (ETSI TS 102 366 annex E).
    Eac3,
    /// MPEG-1 and MPEG-2 audio, layers I to III: MP2 and MP3.
    MpegAudio,
    /// Free Lossless Audio Codec (RFC 9639).
    Flac,
}

impl AudioCodec {
    /// Each of them once.
    pub const ALL: [AudioCodec; 6] =
        [AudioCodec::Aac, AudioCodec::Opus, AudioCodec::Ac3, AudioCodec::Eac3, AudioCodec::MpegAudio, AudioCodec::Flac];

    /// What its RFC 6381 string begins with, or all of it.
    pub const fn prefix(self) -> &'static str {
        match self {
            AudioCodec::Aac => "mp4a.40.",
            AudioCodec::Opus => "Opus",
            AudioCodec::Ac3 => "ac-3",
            AudioCodec::Eac3 => "ec-3",
            AudioCodec::MpegAudio => "mp4a.6", // 6b: MPEG-1, 69: MPEG-2 (ISO/IEC 14496-1 table 5)
            AudioCodec::Flac => "fLaC",
        }
    }

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            AudioCodec::Aac => "AAC",
            AudioCodec::Opus => "Opus",
            AudioCodec::Ac3 => "AC-3",
            AudioCodec::Eac3 => "E-AC-3",
            AudioCodec::MpegAudio => "MPEG audio",
            AudioCodec::Flac => "FLAC",
        }
    }

    /// Whether CMAF renditions carry it as it is; what is not carried is decoded and encoded as AAC.
    pub const fn is_carried(self) -> bool {
        matches!(self, AudioCodec::Aac | AudioCodec::Opus)
    }

    /// The codec that an RFC 6381 string begins with.
    pub fn of(codecs: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codecs.starts_with(codec.prefix()))
    }
}

/// An audio track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioTrack {
    /// How it is coded.
    pub codec: AudioCodec,
    /// What a decoder needs beside the frames. AAC: AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1), whole. Opus: the identification
    /// header `OpusHead` (RFC 7845 5.1). FLAC: the STREAMINFO block without its header (RFC 9639 8.2). Empty where frames say all:
    /// AC-3, E-AC-3, MPEG audio.
    pub config: Bytes,
    /// RFC 6381 string.
    pub codecs: String,
    /// Samples per second of the core stream; the track's timescale. Opus: always 48 000.
    pub sample_rate: u32,
    /// Channels, 1 to 8.
    pub channels: u16,
    /// Samples per frame at `sample_rate`. AAC: 1024 (or 960). Where frames differ in length (Opus, FLAC), what the first one has;
    /// each packet says its own.
    pub samples_per_frame: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_are_known_by_what_their_strings_begin_with() {
        for codec in VideoCodec::ALL {
            assert_eq!(VideoCodec::of(&format!("{}.1.2", codec.sample_entry())), Some(codec));
        }
        let sound = ["mp4a.40.2", "Opus", "ac-3", "ec-3", "mp4a.6b", "fLaC"].map(AudioCodec::of);
        assert_eq!(sound, AudioCodec::ALL.map(Some));
        assert_eq!((VideoCodec::of("mp4v.20"), AudioCodec::of("alac")), (None, None));
    }
}
