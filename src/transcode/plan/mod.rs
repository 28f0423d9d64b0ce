//! What a session's ladder is: which rungs there are, which of them is copied, and why.
//!
//! Pure: a preset and the tracks of the source in, a [`Plan`] out. Renditions are fixed for the session, so this is
//! asked once, when the tracks are known. Bitrate and keyframe distance of a copied source are judged later by whoever
//! sees its packets; the plan only says what the limit is ([`PlannedRung::copy_limit`]).

use std::fmt;

use super::conversions::Conversions;
use super::cost::Load;
use crate::config::preset::{AudioMode, AudioPreset, EncodePreset, Preset, Rung, RungMode};
use crate::media::copy::{CopyObstacle, CopyRule, MAX_FRAME_RATE, is_above_limit};
use crate::media::segment::{Rendition, RenditionId, Renditions};
use crate::media::{AudioCodec, AudioTrack, Kind, Span, VideoTrack};
use crate::wire::hls::describe;

/// The ladder of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Video rungs from the largest down, then audio, unless the session has them in another order.
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
    /// Frames per second that the source states.
    pub source_rate: Option<(u32, u32)>,
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
    /// What the source must fit for as long as it is copied. `None` when it is encoded, or is copied whatever it is.
    pub copy_rule: Option<CopyRule>,
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
    /// What is done to the source's pictures besides scaling, where they are encoded.
    pub conversions: Conversions,
}

/// What becomes of a rung, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The source fits, or the preset wants a copy whatever it is.
    Copied,
    /// The preset wants it encoded.
    Encoded,
    /// `auto`, but the source is not one to be copied.
    EncodedInstead(CopyObstacle),
    /// The preset wants a copy, but the sound is not what renditions carry.
    EncodedAsAac(AudioCodec),
    /// `auto`, but a rung above it is the copy already.
    EncodedCopyTaken,
    /// A smaller rung carries the whole source already.
    LeftOut {
        /// Width of the source.
        width: u32,
        /// Height of the source.
        height: u32,
    },
    /// The machine has no encoding capacity left for it.
    LeftOutNoCapacity {
        /// What it would cost.
        cost: Load,
    },
}

impl fmt::Display for RungReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rung = &self.rung;
        match self.decision {
            Decision::Copied => write!(f, "{rung} is copied")?,
            Decision::Encoded => write!(f, "{rung} is encoded, as the preset says")?,
            Decision::EncodedInstead(obstacle) => write!(f, "{rung} is encoded: {obstacle}")?,
            Decision::EncodedAsAac(codec) => {
                write!(f, "{rung} is encoded as AAC: the source is {}, which is not carried as it is", codec.name())?;
            }
            Decision::EncodedCopyTaken => write!(f, "{rung} is encoded: another rung is the copy")?,
            Decision::LeftOut { width, height } => {
                write!(f, "{rung} is left out: a smaller rung carries the whole source ({width}x{height})")?;
            }
            Decision::LeftOutNoCapacity { cost } => {
                write!(f, "{rung} is left out: it costs {cost}, and the machine has no room for that")?;
            }
        }
        if self.decision.is_encoded() { self.conversions.fmt(f) } else { Ok(()) }
    }
}

impl Decision {
    fn is_encoded(self) -> bool {
        !matches!(self, Decision::Copied | Decision::LeftOut { .. } | Decision::LeftOutNoCapacity { .. })
    }
}

impl Plan {
    /// The audio rendition is the source's own packets.
    pub fn copies_sound(&self) -> bool {
        self.audio.as_ref().is_some_and(|audio| audio.preset.mode == AudioMode::Copy)
    }

    /// The same ladder with the ids that it has behind `count` other renditions: that of a track which joins a session.
    #[must_use]
    pub fn behind(self, count: usize) -> Self {
        let ids: Vec<_> = (0..self.renditions.len()).map(|own| RenditionId(index(count + own))).collect();
        self.with_ids(&ids)
    }

    /// The same ladder in the order of `had`, whatever order its tracks joined in; `None` when it is of other renditions.
    pub fn in_order_of(self, had: &Renditions) -> Option<Self> {
        let place = |own: &Rendition| had.iter().position(|had| (&had.name, had.kind) == (&own.name, own.kind));
        let places: Vec<usize> = self.renditions.iter().map(place).collect::<Option<_>>()?;
        if places.len() != had.len() {
            return None;
        }
        let mut renditions: Vec<_> = had.to_vec();
        for (place, own) in places.iter().zip(self.renditions.iter()) {
            renditions[*place] = own.clone();
        }
        let ids: Vec<_> = places.into_iter().map(|place| RenditionId(index(place))).collect();
        Some(Plan { renditions: renditions.into(), ..self.with_ids(&ids) })
    }

    /// `ids`: of each rendition, in the plan's order.
    fn with_ids(mut self, ids: &[RenditionId]) -> Self {
        let new = |old: RenditionId| ids.get(usize::from(old.0)).copied().unwrap_or(old);
        self.rungs.iter_mut().for_each(|rung| rung.id = new(rung.id));
        self.audio.iter_mut().for_each(|audio| audio.id = new(audio.id));
        self.copied = self.copied.map(new);
        self
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
    /// More pixels than a source may have that is decoded.
    #[error(
        "the source's picture is {width}x{height}; this preset encodes, and takes {max} pixels at most (4096x2304)",
        max = MAX_DECODED_PIXELS
    )]
    TooManyPixels {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

/// Pixels of the largest picture that is decoded: H.264 level 5.2 (36 864 macroblocks). What a decoder holds in frames
/// is a session's largest piece of memory, so it needs a bound; a source that is only copied has none.
pub const MAX_DECODED_PIXELS: u64 = 36_864 * 256;

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
        source_rate: video.and_then(|track| track.frame_rate),
    };
    let mut renditions = Vec::new();
    let mut shortest = segment;
    if let Some(track) = video {
        check_picture(track, preset.is_encoded())?;
        let conversions = Conversions::of(track);
        for rung in &preset.rungs {
            let decision = decide(preset, rung, track, plan.copied);
            plan.reasons.push(RungReason { rung: rung.name.clone(), decision, conversions });
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
    if let Some(track) = audio {
        let id = RenditionId(index(renditions.len()));
        let name = "audio".to_owned();
        let mut made = preset.audio;
        if made.mode == AudioMode::Copy && !track.codec.is_carried() {
            made.mode = AudioMode::Encode;
            let (decision, conversions) = (Decision::EncodedAsAac(track.codec), Conversions::default());
            plan.reasons.push(RungReason { rung: name.clone(), decision, conversions });
        }
        plan.audio = Some(PlannedAudio { id, preset: made });
        renditions.push(Rendition {
            name,
            kind: Kind::Audio,
            copied: made.mode == AudioMode::Copy,
            bandwidth: promised(preset.audio.bitrate),
            frame_rate: None,
        });
    }
    plan.renditions = renditions.into();
    Ok(plan)
}

/// Whether a ladder can take pictures of this size, at its start or later; `decoded`: it decodes them.
///
/// # Errors
/// They are too large, or have no pixels.
pub fn check_picture(track: &VideoTrack, decoded: bool) -> Result<(), PlanError> {
    let (width, height, sides) = (track.width, track.height, 2..=MAX_SIDE);
    if !sides.contains(&width) || !sides.contains(&height) {
        return Err(PlanError::PictureSize { width, height });
    }
    let too_many = decoded && u64::from(width) * u64::from(height) > MAX_DECODED_PIXELS;
    if too_many { Err(PlanError::TooManyPixels { width, height }) } else { Ok(()) }
}

fn index(count: usize) -> u8 {
    u8::try_from(count).expect("a preset has at most 8 rungs")
}

fn decide(preset: &Preset, rung: &Rung, track: &VideoTrack, copied: Option<RenditionId>) -> Decision {
    let Some(encode) = &rung.encode else { return Decision::Copied };
    let (width, height) = track.shown_size();
    let pixels = |encode: &EncodePreset| u64::from(encode.width) * u64::from(encode.height);
    // The smallest rung that holds the whole source carries it; those above would only repeat it under a larger name.
    let smaller_holds = preset
        .rungs
        .iter()
        .filter_map(|other| other.encode.as_ref())
        .any(|other| pixels(other) < pixels(encode) && copy_rule(other).holds(even(width, height)));
    if smaller_holds {
        return Decision::LeftOut { width, height };
    }
    match (rung.mode, copy_rule(encode).obstacle(track)) {
        (RungMode::Encode | RungMode::Copy, _) => Decision::Encoded,
        (RungMode::Auto, Some(obstacle @ CopyObstacle::TooLarge { .. })) => Decision::EncodedInstead(obstacle),
        (RungMode::Auto, _) if copied.is_some() => Decision::EncodedCopyTaken,
        (RungMode::Auto, Some(obstacle)) => Decision::EncodedInstead(obstacle),
        (RungMode::Auto, None) => Decision::Copied,
    }
}

/// What a source must fit to be this rung as it is.
fn copy_rule(encode: &EncodePreset) -> CopyRule {
    CopyRule { width: encode.width, height: encode.height }
}

fn planned_rung(id: RenditionId, rung: &Rung, decision: Decision) -> PlannedRung {
    let copied = decision == Decision::Copied;
    PlannedRung {
        id,
        name: rung.name.clone(),
        copied,
        copy_limit: if copied { rung.copy_limit } else { None },
        copy_rule: rung.encode.as_ref().filter(|_| copied).map(copy_rule),
        encode: rung.encode.clone(),
    }
}

fn video_rendition(rung: &PlannedRung, shortest: Span, track: &VideoTrack) -> Rendition {
    // A copied rung that may have to be encoded later keeps its promise in both states.
    let limits = [rung.copy_limit, rung.encode.as_ref().map(|encode| peak(encode, shortest))];
    let encode = rung.encode.as_ref().filter(|_| !rung.copied);
    Rendition {
        name: rung.name.clone(),
        kind: Kind::Video,
        copied: rung.copied,
        bandwidth: promised(limits.into_iter().flatten().max().unwrap_or(0)),
        frame_rate: track
            .frame_rate
            .map(|rate| encode.map_or(rate, |encode| capped(rate, frame_cap(encode, Some(rate))))),
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

/// Most frames per second of an encoded rung: what the preset says, or [`MAX_FRAME_RATE`] for a source that says to have more. A
/// source that says nothing is believed to have no more than that.
pub fn frame_cap(encode: &EncodePreset, rate: Option<(u32, u32)>) -> Option<u32> {
    let limit = rate.filter(|rate| is_above_limit(*rate)).map(|_| MAX_FRAME_RATE);
    encode.fps.map(|fps| limit.map_or(fps, |limit| fps.min(limit))).or(limit)
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

/// Sources and presets for tests of this stage.
#[cfg(test)]
pub(super) mod testing {
    use bytes::Bytes;

    use super::*;

    pub const SEGMENT: Span = Span::from_secs(2);

    pub fn video(width: u32, height: u32) -> VideoTrack {
        VideoTrack::plain(width, height, (30, 1))
    }

    pub fn sound() -> AudioTrack {
        AudioTrack {
            codec: AudioCodec::Aac,
            config: Bytes::new(),
            codecs: "mp4a.40.2".to_owned(),
            sample_rate: 44_100,
            channels: 2,
            samples_per_frame: 1_024,
        }
    }

    pub fn preset(name: &str) -> Preset {
        Preset::load(name).expect("an embedded preset")
    }
}

#[cfg(test)]
mod tests;
