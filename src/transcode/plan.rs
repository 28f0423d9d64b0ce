//! What a session's ladder is: which rungs there are, which of them is copied, and why.
//!
//! Pure: a preset and the tracks of the source in, a [`Plan`] out. Renditions are fixed for the session, so this is
//! asked once, when the tracks are known. Bitrate and keyframe distance of a copied source are judged later by whoever
//! sees its packets; the plan only says what the limit is ([`PlannedRung::copy_limit`]).

use std::fmt;

use crate::config::preset::{AudioMode, AudioPreset, EncodePreset, Preset, Rung, RungMode};
use crate::media::segment::{Rendition, RenditionId, Renditions};
use crate::media::{AudioTrack, Kind, VideoTrack};

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

/// Decides the ladder of a session whose source has these tracks.
///
/// # Errors
/// There is no track at all, or the picture's size is impossible.
pub fn plan(preset: &Preset, video: Option<&VideoTrack>, audio: Option<&AudioTrack>) -> Result<Plan, PlanError> {
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
            renditions.push(video_rendition(&planned, track));
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
    let smaller_holds = preset.rungs.iter().filter_map(|other| other.encode.as_ref()).any(|other| {
        pixels(other) < pixels(encode) && holds(other)
    });
    if smaller_holds {
        return Decision::LeftOut { width, height };
    }
    match rung.mode {
        RungMode::Encode | RungMode::Copy => Decision::Encoded,
        RungMode::Auto if copied.is_some() => Decision::EncodedCopyTaken,
        RungMode::Auto if !holds(encode) => Decision::EncodedTooLarge { width, height },
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

fn video_rendition(rung: &PlannedRung, track: &VideoTrack) -> Rendition {
    // A copied rung that may have to be encoded later keeps its promise in both states.
    let limits = [rung.copy_limit, rung.encode.as_ref().map(|encode| encode.maxrate)];
    let cap = if rung.copied { None } else { rung.encode.as_ref().and_then(|encode| encode.fps) };
    Rendition {
        name: rung.name.clone(),
        kind: Kind::Video,
        copied: rung.copied,
        bandwidth: promised(limits.into_iter().flatten().max().unwrap_or(0)),
        frame_rate: track.frame_rate.map(|rate| capped(rate, cap)),
    }
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
    u32::try_from(half * 2).unwrap_or(u32::MAX & !1).max(2)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
