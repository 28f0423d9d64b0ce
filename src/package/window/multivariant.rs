//! What the multivariant playlist says of a session: made from the newest track of each rendition.

use std::sync::Arc;

use super::View;
use crate::media::naming::PLAYLIST;
use crate::media::segment::Rendition;
use crate::media::{Kind, Track, VideoTrack};
use crate::wire::hls::Multivariant;
use crate::wire::hls::multivariant::{AudioMember, Variant};

/// Describes the session, or nothing while a rendition has no track or no closed segment: a variant that is listed has content.
pub(super) fn describe(renditions: &[Rendition], views: &[Arc<View>]) -> Option<Multivariant> {
    let mut members = Vec::with_capacity(renditions.len());
    for (rendition, view) in renditions.iter().zip(views) {
        let track = &view.inits().last().filter(|_| !view.is_empty())?.track;
        members.push((rendition, &**track));
    }
    let audio = members.iter().find_map(|(rendition, track)| match track {
        Track::Audio(audio) => Some((*rendition, audio)),
        Track::Video(_) => None,
    });
    let video: Vec<_> = members.iter().filter(|(rendition, _)| rendition.kind == Kind::Video).collect();
    let variants = match (video.is_empty(), audio) {
        (true, Some((rendition, audio))) => vec![Variant {
            uri: uri(rendition),
            bandwidth: rendition.bandwidth,
            codecs: audio.codecs.clone(),
            resolution: None,
            frame_rate: None,
        }],
        (_, audio) => {
            let with = audio.map(|(rendition, audio)| (rendition.bandwidth, audio.codecs.as_str()));
            video.iter().map(|(rendition, track)| video_variant(rendition, track, with)).collect()
        }
    };
    Some(Multivariant {
        variants,
        audio: audio
            .filter(|_| !video.is_empty())
            .map(|(rendition, audio)| AudioMember { uri: uri(rendition), channels: audio.channels }),
        independent_segments: renditions.iter().all(|rendition| rendition.kind == Kind::Audio || !rendition.copied),
    })
}

/// `audio`: what the audio rendition adds to each variant.
fn video_variant(rendition: &Rendition, track: &Track, audio: Option<(u64, &str)>) -> Variant {
    let picture = match track {
        Track::Video(video) => Some(video),
        Track::Audio(_) => None,
    };
    let (audio_bandwidth, audio_codecs) = audio.unzip();
    let codecs: Vec<_> = [track.codecs()].into_iter().chain(audio_codecs).collect();
    Variant {
        uri: uri(rendition),
        bandwidth: rendition.bandwidth.saturating_add(audio_bandwidth.unwrap_or(0)),
        codecs: codecs.join(","),
        resolution: picture.map(shown_size),
        frame_rate: rendition.frame_rate.or(picture.and_then(|video| video.frame_rate)),
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
