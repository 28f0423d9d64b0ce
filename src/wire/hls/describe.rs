//! What the playlists of a session say of it, made from its renditions and their newest tracks: the same for the playlists
//! that are served and those that are stored.

use super::multivariant::{AudioMember, Multivariant, Variant};
use crate::media::copy::PictureForm;
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

/// The shortest segment that BANDWIDTH speaks of (RFC 8216 4.3.4.2: half of the target duration).
pub fn shortest_judged(segment_target: Span) -> Span {
    Span::from_flicks(segment_target.flicks() / 2)
}

/// A rendition, and what its segments hold.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// The rendition.
    pub rendition: &'a Rendition,
    /// Its newest track: the size that is stated.
    pub newest: &'a Track,
    /// All that playlists may still lead to, the newest too.
    pub held: &'a [&'a Track],
    /// The most bits per second that a segment of it had so far.
    pub peak: u64,
}

impl Member<'_> {
    /// What was promised or, from a source that no encoder holds back, what was measured and 5 %, rounded up to 100 kbit/s
    /// so that the text does not change with each segment.
    fn bandwidth(&self) -> u64 {
        const STEP: u64 = 100_000;
        let promised = self.rendition.bandwidth;
        if self.peak <= promised {
            return promised;
        }
        self.peak.saturating_add(self.peak / 20).div_ceil(STEP).saturating_mul(STEP)
    }
}

/// The multivariant playlist of these renditions, URIs relative to the session's folder.
pub fn multivariant(members: &[Member<'_>]) -> Multivariant {
    let audio = members.iter().find_map(|member| Some((member, member.newest.as_audio()?)));
    let video: Vec<_> = members.iter().filter_map(|member| Some((member, member.newest.as_video()?))).collect();
    let variants = match (video.is_empty(), audio) {
        (true, Some((member, audio))) => vec![audio_variant(member, audio)],
        (_, audio) => video.iter().map(|(member, video)| video_variant(member, video, audio)).collect(),
    };
    let group = |(member, audio): (&Member<'_>, &AudioTrack)| AudioMember {
        uri: uri(member.rendition),
        channels: audio.channels,
    };
    Multivariant {
        variants,
        audio: audio.filter(|_| !video.is_empty()).map(group),
        independent_segments: members.iter().all(|member| independent_segments(member.rendition)),
    }
}

fn audio_variant(member: &Member<'_>, audio: &AudioTrack) -> Variant {
    let (uri, codecs) = (uri(member.rendition), audio.codecs.clone());
    Variant { uri, bandwidth: member.bandwidth(), codecs, resolution: None, frame_rate: None, video_range: None }
}

/// `audio`: what the audio rendition adds to each variant.
fn video_variant(member: &Member<'_>, video: &VideoTrack, audio: Option<(&Member<'_>, &AudioTrack)>) -> Variant {
    let bandwidth = audio.map_or(0, |(audio, _)| audio.bandwidth());
    let decoder = decoder_for(video, member.held.iter().filter_map(|track| track.as_video()));
    let codecs: Vec<_> = [decoder.as_str()].into_iter().chain(audio.map(|(_, audio)| audio.codecs.as_str())).collect();
    Variant {
        uri: uri(member.rendition),
        bandwidth: member.bandwidth().saturating_add(bandwidth),
        codecs: codecs.join(","),
        resolution: Some(video.shown_size()),
        // The newest track's: a source may have changed it since the ladder was planned.
        frame_rate: video.frame_rate.or(member.rendition.frame_rate),
        video_range: PictureForm::of(video).and_then(|form| form.colour.video_range()),
    }
}

/// The `codecs` string of a decoder that plays all of `held`: a rung that was copied and is encoded now has both in its
/// playlist, and a player that asks for less than the higher one may find that it cannot play on. Of H.264's profiles that
/// are each contained in the next (Baseline, Main, High) the highest counts, of its levels too. `newest` alone counts when
/// there is anything else.
fn decoder_for<'a>(newest: &'a VideoTrack, held: impl Iterator<Item = &'a VideoTrack>) -> String {
    let all: Option<Vec<_>> = held.chain([newest]).map(|track| profile_and_level(&track.codecs)).collect();
    let Some(all) = all else { return newest.codecs.clone() };
    let highest = |field: fn(&[u8; 3]) -> u8| all.iter().map(field).max().unwrap_or_default();
    let (profile, level) = (highest(|[profile, _, _]| *profile), highest(|[_, _, level]| *level));
    // A constraint flag holds when all of that profile keep to it.
    let constraints = all.iter().filter(|codec| codec[0] == profile).fold(u8::MAX, |flags, codec| flags & codec[1]);
    format!("avc1.{profile:02x}{constraints:02x}{level:02x}")
}

/// Profile, constraint flags and level in an `avc1` string (RFC 6381 3.3), if the profile is one of the three.
fn profile_and_level(codecs: &str) -> Option<[u8; 3]> {
    let number = u32::from_str_radix(codecs.strip_prefix("avc1.").filter(|hex| hex.len() == 6)?, 16).ok()?;
    let [_, profile, constraints, level] = number.to_be_bytes();
    matches!(profile, 66 | 77 | 100).then_some([profile, constraints, level])
}

fn uri(rendition: &Rendition) -> String {
    format!("{}/{PLAYLIST}", rendition.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::AudioCodec;
    use bytes::Bytes;

    fn rendition(name: &str, kind: Kind, copied: bool, bandwidth: u64) -> Rendition {
        Rendition { name: name.to_owned(), kind, copied, bandwidth, frame_rate: None }
    }

    fn video(sample_aspect: (u32, u32)) -> Track {
        let codecs = "avc1.64001f".to_owned();
        Track::Video(VideoTrack { codecs, sample_aspect, ..VideoTrack::plain(720, 576, (25, 1)) })
    }

    fn audio() -> Track {
        let (config, codecs) = (Bytes::new(), "mp4a.40.2".to_owned());
        Track::Audio(AudioTrack {
            codec: AudioCodec::Aac,
            config,
            codecs,
            sample_rate: 48_000,
            channels: 2,
            samples_per_frame: 1_024,
        })
    }

    fn described_by(members: &[(&Rendition, &Track)]) -> Multivariant {
        let members: Vec<_> =
            members.iter().map(|(rendition, newest)| Member { rendition, newest, held: &[], peak: 0 }).collect();
        multivariant(&members)
    }

    #[test]
    fn codecs_name_a_decoder_for_all_that_the_rung_holds() {
        let track = |codecs: &str| match video((1, 1)) {
            Track::Video(video) => Track::Video(VideoTrack { codecs: codecs.to_owned(), ..video }),
            Track::Audio(_) => unreachable!("video makes video"),
        };
        let rung = rendition("720p", Kind::Video, true, 2_000_000);
        for (held, newest, named) in [
            ("avc1.640028", "avc1.4d401f", "avc1.640028"), // copied High, then encoded Main
            ("avc1.42c01e", "avc1.64001f", "avc1.64001f"),
            ("avc1.42c028", "avc1.4d401f", "avc1.4d4028"), // profile of one, level of the other
            ("avc1.42c01e", "avc1.42001e", "avc1.42001e"), // a constraint that one does not keep
            ("avc1.6e0028", "avc1.4d401f", "avc1.4d401f"), // High 10 is in no chain with Main
        ] {
            let (held, newest) = (track(held), track(newest));
            let member = Member { rendition: &rung, newest: &newest, held: &[&held, &newest], peak: 0 };
            assert_eq!(multivariant(&[member]).variants[0].codecs, named);
        }
    }

    #[test]
    fn video_takes_its_audio_with_it_and_shows_square_pixels() {
        let (rung, sound) =
            (rendition("576p", Kind::Video, true, 2_000_000), rendition("audio", Kind::Audio, false, 160_000));
        let described = described_by(&[(&rung, &video((64, 45))), (&sound, &audio())]);
        let variant = Variant {
            uri: "576p/index.m3u8".to_owned(),
            bandwidth: 2_160_000,
            codecs: "avc1.64001f,mp4a.40.2".to_owned(),
            resolution: Some((1_024, 576)),
            frame_rate: Some((25, 1)),
            video_range: None,
        };
        let audio = Some(AudioMember { uri: "audio/index.m3u8".to_owned(), channels: 2 });
        assert_eq!(described, Multivariant { variants: vec![variant], audio, independent_segments: false });
    }

    #[test]
    fn pictures_of_more_than_standard_range_are_said_to_be() {
        use crate::media::codec::av1::{samples, track_from_sequence_header};
        use crate::media::codec::picture::VideoRange;
        let rung = rendition("source", Kind::Video, true, 2_000_000);
        let track = Track::Video(track_from_sequence_header(samples::PQ).expect("made by SVT-AV1"));
        let described = described_by(&[(&rung, &track)]);
        let variant = &described.variants[0];
        assert_eq!(
            (variant.video_range, variant.codecs.as_str()),
            (Some(VideoRange::Pq), "av01.0.01M.10.0.110.09.16.09.0")
        );
    }

    #[test]
    fn audio_alone_is_the_variant_and_an_aspect_of_nothing_is_ignored() {
        let (rung, sound) =
            (rendition("576p", Kind::Video, false, 2_000_000), rendition("audio", Kind::Audio, true, 160_000));
        let described = described_by(&[(&sound, &audio())]);
        let variant = described.variants.first().map(|it| (it.uri.as_str(), it.bandwidth, it.resolution));
        assert_eq!(variant, Some(("audio/index.m3u8", 160_000, None)));
        assert!(described.audio.is_none() && described.independent_segments);
        for aspect in [(0, 1), (1, 0)] {
            assert_eq!(described_by(&[(&rung, &video(aspect))]).variants[0].resolution, Some((720, 576)));
        }
    }

    #[test]
    fn a_promise_that_the_source_broke_is_raised_to_what_was_measured() {
        let rung = rendition("source", Kind::Video, true, 2_000_000);
        let track = video((1, 1));
        let member = |peak| Member { rendition: &rung, newest: &track, held: &[], peak };
        let stated = |peak| multivariant(&[member(peak)]).variants[0].bandwidth;
        for (peak, bandwidth) in [
            (0, 2_000_000),
            (2_000_000, 2_000_000),
            (2_000_001, 2_200_000),
            (8_000_000, 8_400_000),
            (8_000_010, 8_500_000),
        ] {
            assert_eq!(stated(peak), bandwidth, "{peak}");
        }
    }

    #[test]
    fn the_target_is_whole_seconds_and_the_window_three_of_them_at_least() {
        for (millis, secs) in [(2_000, 2), (2_002, 2), (1_500, 2), (334, 1), (6_006, 6)] {
            assert_eq!(target_duration_secs(Span::from_millis(millis)), secs, "{millis}");
        }
        assert_eq!(kept_window(Span::from_secs(60), Span::from_secs(2)), Span::from_secs(60));
        assert_eq!(kept_window(Span::ZERO, Span::from_secs(2)), Span::from_secs(6));
    }

    #[test]
    fn the_target_duration_has_room_for_audio_that_ends_behind_the_cut() {
        for (millis, secs) in [(0, 1), (334, 1), (1_000, 1), (2_000, 2), (2_400, 2), (2_450, 3), (6_000, 6)] {
            assert_eq!(target_duration_secs(Span::from_millis(millis)), secs, "{millis}");
        }
    }
}
