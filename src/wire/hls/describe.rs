//! What the playlists of a session say of it, made from its renditions and their newest tracks: the same for the playlists
//! that are served and those that are stored.

use super::multivariant::{AudioMember, Multivariant, Variant};
use crate::media::naming::PLAYLIST;
use crate::media::segment::Rendition;
use crate::media::{AudioTrack, Kind, Span, Track, VideoTrack};

/// EXT-X-TARGETDURATION for segments of `segment_target`: the nearest second to it and one audio frame more, by which audio may end
/// behind the cut; at least 1.
pub fn target_duration_secs(segment_target: Span) -> u32 {
    /// 1024 samples at 11 025 Hz, the slowest rate that is worth streaming.
    const AUDIO_FRAME: Span = Span::from_millis(93);
    u32::try_from((segment_target + AUDIO_FRAME).to_units(1)).unwrap_or(1).max(1)
}

/// Media time that a live playlist keeps: `window`, but not less than three target durations (RFC 8216 6.2.2).
pub fn kept_window(window: Span, segment_target: Span) -> Span {
    window.max(Span::from_secs(3 * i64::from(target_duration_secs(segment_target))))
}

/// Whether every segment of the rendition begins with a picture that needs no other: a copied rung may be cut where there is none.
pub fn independent_segments(rendition: &Rendition) -> bool {
    rendition.kind == Kind::Audio || !rendition.copied
}

/// The multivariant playlist of these renditions with their newest tracks, URIs relative to the session's folder.
pub fn multivariant(members: &[(&Rendition, &Track)]) -> Multivariant {
    let audio = members.iter().find_map(|(rendition, track)| match track {
        Track::Audio(audio) => Some((*rendition, audio)),
        Track::Video(_) => None,
    });
    let video: Vec<_> = members
        .iter()
        .filter_map(|(rendition, track)| match track {
            Track::Video(video) => Some((*rendition, video)),
            Track::Audio(_) => None,
        })
        .collect();
    let variants = match (video.is_empty(), audio) {
        (true, Some((rendition, audio))) => vec![audio_variant(rendition, audio)],
        (_, audio) => video.iter().map(|(rendition, video)| video_variant(rendition, video, audio)).collect(),
    };
    let member =
        |(rendition, audio): (&Rendition, &AudioTrack)| AudioMember { uri: uri(rendition), channels: audio.channels };
    Multivariant {
        variants,
        audio: audio.filter(|_| !video.is_empty()).map(member),
        independent_segments: members.iter().all(|(rendition, _)| independent_segments(rendition)),
    }
}

fn audio_variant(rendition: &Rendition, audio: &AudioTrack) -> Variant {
    let (uri, codecs) = (uri(rendition), audio.codecs.clone());
    Variant { uri, bandwidth: rendition.bandwidth, codecs, resolution: None, frame_rate: None }
}

/// `audio`: what the audio rendition adds to each variant.
fn video_variant(rendition: &Rendition, video: &VideoTrack, audio: Option<(&Rendition, &AudioTrack)>) -> Variant {
    let bandwidth = audio.map_or(0, |(audio, _)| audio.bandwidth);
    let codecs: Vec<_> =
        [video.codecs.as_str()].into_iter().chain(audio.map(|(_, audio)| audio.codecs.as_str())).collect();
    Variant {
        uri: uri(rendition),
        bandwidth: rendition.bandwidth.saturating_add(bandwidth),
        codecs: codecs.join(","),
        resolution: Some(shown_size(video)),
        frame_rate: rendition.frame_rate.or(video.frame_rate),
    }
}

/// The size to show the picture at: wider or narrower than coded when its pixels are not square.
fn shown_size(video: &VideoTrack) -> (u32, u32) {
    let (horizontal, vertical) = (u64::from(video.sample_aspect.0), u64::from(video.sample_aspect.1));
    let width = (u64::from(video.width) * horizontal + vertical / 2).checked_div(vertical).filter(|width| *width > 0);
    (width.and_then(|width| u32::try_from(width).ok()).unwrap_or(video.width), video.height)
}

fn uri(rendition: &Rendition) -> String {
    format!("{}/{PLAYLIST}", rendition.name)
}
