//! What a session's ladder is: which rungs there are, which of them is copied, and why.
//!
//! Pure: a preset and the tracks of the source in, a [`Plan`] out. Renditions are fixed for the session, so this is
//! asked once, when the tracks are known. Bitrate and keyframe distance of a copied source are judged later by whoever
//! sees its packets; the plan only says what the limit is ([`PlannedRung::copy_limit`]).

use std::fmt;

use crate::config::preset::{AudioMode, AudioPreset, EncodePreset, Preset, Rung, RungMode};
use crate::media::segment::{Rendition, RenditionId, Renditions};
use crate::media::{AudioTrack, Kind, Span, VideoTrack};
use crate::wire::hls::describe;

/// The ladder of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Video rungs from the largest down, then audio.
    pub renditions: Renditions,
    /// What makes each video rendition, in the same order.
    pub rungs: Vec<PlannedRung>,
    /// What makes the audio rendition.
    pub audio: Option<PlannedAudio>,
    /// The rung that starts as a copy of the source.
    pub copied: Option<RenditionId>,
    /// What was decided about each rung of the preset, and why: for the session's state and the log.
    pub reasons: Vec<RungReason>,
    /// Threads of the decoder.
    pub decode_threads: u32,
}

/// What makes one video rendition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRung {
    /// Its rendition.
    pub id: RenditionId,
    /// Its name.
    pub name: String,
    /// Starts as a copy of the source's packets.
    pub copied: bool,
    /// Bits per second over a segment above which a copied rung breaks what BANDWIDTH promises. `None` when encoded.
    pub copy_limit: Option<u64>,
    /// How it is encoded, now or from the cut with `copy_ends` on. `None` when it can only be copied.
    pub encode: Option<EncodePreset>,
}

/// What makes the audio rendition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedAudio {
    /// Its rendition.
    pub id: RenditionId,
    /// The source's own packets or the encoder's, and the encoder's settings.
    pub preset: AudioPreset,
}

/// A decision about one rung of the preset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RungReason {
    /// The rung's name in the preset.
    pub rung: String,
    /// What was decided.
    pub decision: Decision,
}

/// What becomes of a rung, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The source fits, or the preset wants a copy whatever it is.
    Copied,
    /// The preset wants it encoded.
    Encoded,
    /// `auto`, but the source is interlaced, not 4:2:0, or not 8 bit.
    EncodedNotPlain,
    /// `auto`, but the source is larger than the rung.
    EncodedTooLarge {
        /// Width of the source.
        width: u32,
        /// Height of the source.
        height: u32,
    },
    /// `auto`, but a rung above it is the copy already.
    EncodedCopyTaken,
    /// A smaller rung carries the whole source already.
    LeftOut {
        /// Width of the source.
        width: u32,
        /// Height of the source.
        height: u32,
    },
}

impl fmt::Display for RungReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rung = &self.rung;
        match self.decision {
            Decision::Copied => write!(f, "{rung} is copied"),
            Decision::Encoded => write!(f, "{rung} is encoded, as the preset says"),
            Decision::EncodedNotPlain => {
                write!(f, "{rung} is encoded: the source is interlaced, not 4:2:0, or not 8 bit")
            }
            Decision::EncodedTooLarge { width, height } => {
                write!(f, "{rung} is encoded: the source is larger ({width}x{height})")
            }
            Decision::EncodedCopyTaken => write!(f, "{rung} is encoded: another rung is the copy"),
            Decision::LeftOut { width, height } => {
                write!(f, "{rung} is left out: a smaller rung carries the whole source ({width}x{height})")
            }
        }
    }
}

/// Why there can be no ladder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Neither video nor audio.
    #[error("the source has neither a video nor an audio track")]
    NothingToPlay,
    /// The picture has no pixels, or a side that no encoder takes.
    #[error("the source's picture is {width}x{height}; sides of 2 to {max} pixels can be carried", max = MAX_SIDE)]
    PictureSize {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

/// Largest side of a picture that x264 takes.
const MAX_SIDE: u32 = 16_384;

/// Decides the ladder of a session whose source has these tracks and whose segments last for `segment`.
///
/// # Errors
/// There is no track at all, or the picture's size is impossible.
pub fn plan(
    preset: &Preset,
    segment: Span,
    video: Option<&VideoTrack>,
    audio: Option<&AudioTrack>,
) -> Result<Plan, PlanError> {
    if video.is_none() && audio.is_none() {
        return Err(PlanError::NothingToPlay);
    }
    let mut plan = Plan {
        renditions: Renditions::from([]),
        rungs: Vec::new(),
        audio: None,
        copied: None,
        reasons: Vec::new(),
        decode_threads: preset.decode_threads,
    };
    let mut renditions = Vec::new();
    let mut shortest = segment;
    if let Some(track) = video {
        let sides = 2..=MAX_SIDE;
        if !sides.contains(&track.width) || !sides.contains(&track.height) {
            return Err(PlanError::PictureSize { width: track.width, height: track.height });
        }
        for rung in &preset.rungs {
            let decision = decide(preset, rung, track, plan.copied);
            plan.reasons.push(RungReason { rung: rung.name.clone(), decision });
            if matches!(decision, Decision::LeftOut { .. }) {
                continue;
            }
            let planned = planned_rung(RenditionId(index(renditions.len())), rung, decision);
            if planned.copied {
                // The source's keyframes cut for all rungs: one ends the segment when the next would come too late.
                shortest = describe::shortest_judged(segment);
            }
            renditions.push(video_rendition(&planned, shortest, track));
            if planned.copied {
                plan.copied = Some(planned.id);
            }
            plan.rungs.push(planned);
        }
    }
    if audio.is_some() {
        let id = RenditionId(index(renditions.len()));
        plan.audio = Some(PlannedAudio { id, preset: preset.audio });
        renditions.push(Rendition {
            name: "audio".to_owned(),
            kind: Kind::Audio,
            copied: preset.audio.mode == AudioMode::Copy,
            bandwidth: promised(preset.audio.bitrate),
            frame_rate: None,
        });
    }
    plan.renditions = renditions.into();
    Ok(plan)
}

fn index(count: usize) -> u8 {
    u8::try_from(count).expect("a preset has at most 8 rungs")
}

fn decide(preset: &Preset, rung: &Rung, track: &VideoTrack, copied: Option<RenditionId>) -> Decision {
    let (width, height) = (track.width, track.height);
    let Some(encode) = &rung.encode else { return Decision::Copied };
    let holds = |encode: &EncodePreset| fit((encode.width, encode.height), (width, height)) == even(width, height);
    let pixels = |encode: &EncodePreset| u64::from(encode.width) * u64::from(encode.height);
    // The smallest rung that holds the whole source carries it; those above would only repeat it under a larger name.
    let smaller_holds = preset
        .rungs
        .iter()
        .filter_map(|other| other.encode.as_ref())
        .any(|other| pixels(other) < pixels(encode) && holds(other));
    if smaller_holds {
        return Decision::LeftOut { width, height };
    }
    match rung.mode {
        RungMode::Encode | RungMode::Copy => Decision::Encoded,
        RungMode::Auto if !holds(encode) => Decision::EncodedTooLarge { width, height },
        RungMode::Auto if copied.is_some() => Decision::EncodedCopyTaken,
        RungMode::Auto if !track.plain => Decision::EncodedNotPlain,
        RungMode::Auto => Decision::Copied,
    }
}

fn planned_rung(id: RenditionId, rung: &Rung, decision: Decision) -> PlannedRung {
    let copied = decision == Decision::Copied;
    PlannedRung {
        id,
        name: rung.name.clone(),
        copied,
        copy_limit: if copied { rung.copy_limit } else { None },
        encode: rung.encode.clone(),
    }
}

fn video_rendition(rung: &PlannedRung, shortest: Span, track: &VideoTrack) -> Rendition {
    // A copied rung that may have to be encoded later keeps its promise in both states.
    let limits = [rung.copy_limit, rung.encode.as_ref().map(|encode| peak(encode, shortest))];
    let cap = if rung.copied { None } else { rung.encode.as_ref().and_then(|encode| encode.fps) };
    Rendition {
        name: rung.name.clone(),
        kind: Kind::Video,
        copied: rung.copied,
        bandwidth: promised(limits.into_iter().flatten().max().unwrap_or(0)),
        frame_rate: track.frame_rate.map(|rate| capped(rate, cap)),
    }
}

/// The most bits per second that rate control lets a segment of this length have: what fills the decoder's buffer
/// meanwhile, and a whole buffer that a calm scene has left full (ISO/IEC 14496-10 Annex C).
fn peak(encode: &EncodePreset, segment: Span) -> u64 {
    let milliseconds = u64::try_from(segment.to_units(1_000)).unwrap_or(0).max(1);
    encode.maxrate.saturating_add(encode.buffer.saturating_mul(1_000) / milliseconds)
}

/// BANDWIDTH: the rate and 5 % for the container and what rate control may miss.
fn promised(bits_per_second: u64) -> u64 {
    bits_per_second.saturating_add(bits_per_second / 20)
}

/// Of how many frames one is kept, so that `rate` is not above `cap`. A whole number, because 3 of 5 frames would play
/// unevenly: a source of 50 frames/s under a cap of 30 becomes 25.
pub fn keep_one_of((num, den): (u32, u32), cap: Option<u32>) -> u32 {
    match cap {
        Some(cap) if cap > 0 && den > 0 => {
            let limit = u64::from(cap) * u64::from(den);
            u32::try_from(u64::from(num).div_ceil(limit)).unwrap_or(u32::MAX).max(1)
        }
        _ => 1,
    }
}

/// Frames per second that are left under a cap.
pub fn capped((num, den): (u32, u32), cap: Option<u32>) -> (u32, u32) {
    let keep = keep_one_of((num, den), cap);
    if num % keep == 0 { (num / keep, den) } else { (num, den.saturating_mul(keep)) }
}

/// The size of a picture of `source` pixels in a box: never enlarged, aspect kept to within a pixel, both sides even and
/// at least 2. A picture that is taller than wide turns the box.
pub fn fit((width, height): (u32, u32), source: (u32, u32)) -> (u32, u32) {
    let (box_width, box_height) = if source.1 > source.0 { (height, width) } else { (width, height) };
    if source.0 <= box_width && source.1 <= box_height {
        return even(source.0, source.1);
    }
    let (w, h) = (u64::from(source.0.max(1)), u64::from(source.1.max(1)));
    let (bw, bh) = (u64::from(box_width), u64::from(box_height));
    let (fit_width, fit_height) = if w * bh >= h * bw {
        (box_width, nearest_even(h * bw, w).min(box_height))
    } else {
        (nearest_even(w * bh, h).min(box_width), box_height)
    };
    (fit_width, fit_height)
}

/// Sides rounded down to even, at least 2.
fn even(width: u32, height: u32) -> (u32, u32) {
    ((width & !1).max(2), (height & !1).max(2))
}

/// `numerator / denominator` rounded to the nearest even number, at least 2.
fn nearest_even(numerator: u64, denominator: u64) -> u32 {
    let half = (numerator + denominator) / (2 * denominator);
    u32::try_from(half * 2).unwrap_or(u32::MAX - 1).max(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const SEGMENT: Span = Span::from_secs(2);

    fn video(width: u32, height: u32) -> VideoTrack {
        VideoTrack {
            config: Bytes::new(),
            codecs: "avc1.640028".to_owned(),
            width,
            height,
            sample_aspect: (1, 1),
            frame_rate: Some((30, 1)),
            plain: true,
        }
    }

    fn sound() -> AudioTrack {
        AudioTrack {
            config: Bytes::new(),
            codecs: "mp4a.40.2".to_owned(),
            sample_rate: 44_100,
            channels: 2,
            samples_per_frame: 1_024,
        }
    }

    fn preset(name: &str) -> Preset {
        Preset::load(name).expect("an embedded preset")
    }

    /// The default ladder for a source, in words.
    fn decided(track: &VideoTrack) -> Vec<String> {
        let plan = plan(&preset(Preset::DEFAULT), SEGMENT, Some(track), None).expect("a plan");
        plan.reasons.iter().map(RungReason::to_string).collect()
    }

    #[test]
    fn the_default_ladder_copies_the_source_where_it_fits() {
        let plan = plan(&preset(Preset::DEFAULT), SEGMENT, Some(&video(1_920, 1_080)), Some(&sound())).expect("a plan");
        let rendition = |name: &str, kind, copied, bandwidth, frame_rate| Rendition {
            name: name.to_owned(),
            kind,
            copied,
            bandwidth,
            frame_rate,
        };
        let expected = [
            rendition("1080p", Kind::Video, true, 9_450_000, Some((30, 1))),
            rendition("720p", Kind::Video, false, 4_998_000, Some((30, 1))),
            rendition("480p", Kind::Video, false, 2_320_500, Some((30, 1))),
            rendition("audio", Kind::Audio, false, 134_400, None),
        ];
        assert_eq!(plan.renditions[..], expected);
        assert_eq!((plan.copied, plan.rungs[0].copy_limit), (Some(RenditionId(0)), Some(9_000_000)));
        assert_eq!(
            plan.rungs.iter().map(|rung| (rung.id.0, rung.copied)).collect::<Vec<_>>(),
            [(0, true), (1, false), (2, false)]
        );
        assert_eq!(plan.audio.map(|audio| audio.id), Some(RenditionId(3)));
    }

    #[test]
    fn each_decision_is_said_in_words() {
        assert_eq!(
            decided(&video(3_840, 2_160)),
            [
                "1080p is encoded: the source is larger (3840x2160)",
                "720p is encoded: the source is larger (3840x2160)",
                "480p is encoded: the source is larger (3840x2160)",
            ]
        );
        assert_eq!(
            decided(&VideoTrack { plain: false, ..video(1_920, 1_080) }),
            [
                "1080p is encoded: the source is interlaced, not 4:2:0, or not 8 bit",
                "720p is encoded: the source is larger (1920x1080)",
                "480p is encoded: the source is larger (1920x1080)",
            ]
        );
        assert_eq!(
            decided(&video(1_280, 720)),
            [
                "1080p is left out: a smaller rung carries the whole source (1280x720)",
                "720p is copied",
                "480p is encoded: the source is larger (1280x720)",
            ]
        );
    }

    #[test]
    fn a_source_between_two_rungs_keeps_its_size_in_the_upper_one() {
        assert_eq!(decided(&video(1_600, 900))[0], "1080p is copied");
        assert_eq!(decided(&video(1_600, 900)).len(), 3);
    }

    #[test]
    fn a_source_below_all_rungs_keeps_the_smallest() {
        let plan = plan(&preset("encode-1080p-720p-480p"), SEGMENT, Some(&video(320, 240)), None).expect("a plan");
        assert_eq!(plan.renditions.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["480p"]);
        assert_eq!((plan.copied, plan.rungs[0].copied, plan.rungs[0].copy_limit), (None, false, None));
        assert_eq!(plan.reasons[2].to_string(), "480p is encoded, as the preset says");
    }

    #[test]
    fn passthrough_copies_whatever_comes() {
        let odd = VideoTrack { plain: false, frame_rate: None, ..video(7_001, 31) };
        let plan = plan(&preset("passthrough"), SEGMENT, Some(&odd), Some(&sound())).expect("a plan");
        assert_eq!(
            plan.renditions.iter().map(|r| (r.name.as_str(), r.copied, r.bandwidth)).collect::<Vec<_>>(),
            [("source", true, 10_500_000), ("audio", true, 336_000)]
        );
        assert_eq!((plan.rungs[0].encode.clone(), plan.rungs[0].copy_limit), (None, Some(10_000_000)));
    }

    #[test]
    fn one_track_alone_is_a_session_and_none_is_not() {
        let only_sound = plan(&preset(Preset::DEFAULT), SEGMENT, None, Some(&sound())).expect("a plan");
        assert_eq!((only_sound.renditions.len(), only_sound.audio.map(|audio| audio.id)), (1, Some(RenditionId(0))));
        assert_eq!(plan(&preset(Preset::DEFAULT), SEGMENT, None, None), Err(PlanError::NothingToPlay));
        let error =
            plan(&preset(Preset::DEFAULT), SEGMENT, Some(&video(1, 20_000)), None).expect_err("no such picture");
        assert_eq!(error.to_string(), "the source's picture is 1x20000; sides of 2 to 16384 pixels can be carried");
    }

    #[test]
    fn a_cap_changes_the_stated_rate_of_encoded_rungs_only() {
        let fast = VideoTrack { frame_rate: Some((60_000, 1_001)), ..video(1_920, 1_080) };
        let plan = plan(&preset("low-cpu"), SEGMENT, Some(&fast), None).expect("a plan");
        assert_eq!(
            plan.renditions.iter().map(|r| (r.copied, r.frame_rate)).collect::<Vec<_>>(),
            [(true, Some((60_000, 1_001))), (false, Some((30_000, 1_001)))]
        );
    }

    #[test]
    fn caps_divide_by_whole_numbers() {
        for (rate, cap, left) in [
            ((60, 1), 30, (30, 1)),
            ((50, 1), 30, (25, 1)),
            ((60_000, 1_001), 24, (20_000, 1_001)),
            ((25, 1), 10, (25, 3)),
            ((30_000, 1_001), 30, (30_000, 1_001)),
            ((24, 1), 240, (24, 1)),
        ] {
            assert_eq!(capped(rate, Some(cap)), left, "{rate:?} under {cap}");
        }
        assert_eq!(capped((50, 1), None), (50, 1));
        assert_eq!((keep_one_of((30, 0), Some(1)), keep_one_of((0, 1), Some(1))), (1, 1));
    }

    #[test]
    fn pictures_are_fitted_and_never_enlarged() {
        for (target, source, size) in [
            ((854, 480), (1_920, 1_080), (854, 480)),
            ((1_280, 720), (1_920, 1_080), (1_280, 720)),
            ((1_280, 720), (1_440, 1_080), (960, 720)),
            ((1_280, 720), (2_560, 1_080), (1_280, 540)),
            ((1_920, 1_080), (1_080, 1_920), (1_080, 1_920)),
            ((1_280, 720), (1_080, 1_920), (720, 1_280)),
            ((1_280, 720), (641, 359), (640, 358)),
            ((854, 480), (8_000, 2), (854, 2)),
            ((854, 480), (1, 1), (2, 2)),
        ] {
            assert_eq!(fit(target, source), size, "{source:?} into {target:?}");
        }
    }
}
