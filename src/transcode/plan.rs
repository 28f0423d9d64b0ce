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
mod tests {
    use super::testing::{SEGMENT, preset, sound, video};
    use super::*;
    use crate::media::VideoCodec;

    #[test]
    fn a_ladder_takes_the_ids_that_its_session_has() {
        let ladder = preset(Preset::DEFAULT);
        let names = |plan: &Plan| plan.renditions.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
        let ids = |plan: &Plan| {
            let rungs = plan.rungs.iter().map(|rung| rung.id.0);
            rungs.chain(plan.audio.iter().map(|audio| audio.id.0)).collect::<Vec<_>>()
        };
        let both = || plan(&ladder, SEGMENT, Some(&video(1_920, 1_080)), Some(&sound())).expect("a plan");
        let late = plan(&ladder, SEGMENT, Some(&video(1_920, 1_080)), None).expect("a plan").behind(1);
        assert_eq!((ids(&late), late.copied), (vec![1, 2, 3], Some(RenditionId(1))));
        // After a restart the publisher sends both at once, and the session has sound first.
        let had: Renditions = [&both().renditions[3..], &late.renditions[..]].concat().into();
        let again = both().in_order_of(&had).expect("the same renditions");
        assert_eq!((ids(&again), again.copied), (vec![1, 2, 3, 0], Some(RenditionId(1))));
        assert_eq!(names(&again), ["audio", "1080p", "720p", "480p"]);
        assert_eq!(both().in_order_of(&both().renditions), Some(both()));
        assert_eq!(late.in_order_of(&had), None, "sound is missing");
    }

    #[test]
    fn sources_of_other_codecs_are_encoded_unless_the_preset_only_copies() {
        for codec in [VideoCodec::Hevc, VideoCodec::Av1, VideoCodec::Vp9] {
            let track = VideoTrack { codec, ..video(1_920, 1_080) };
            let first = format!("1080p is encoded: the source is {}", codec.name());
            assert_eq!(decided(&track)[0], first);
            let passed = plan(&preset("passthrough"), SEGMENT, Some(&track), None).expect("a plan");
            assert_eq!((passed.copied, passed.rungs[0].copy_rule), (Some(RenditionId(0)), None));
        }
    }

    #[test]
    fn sound_that_renditions_do_not_carry_is_encoded_where_it_would_be_copied() {
        for codec in AudioCodec::ALL {
            let track = AudioTrack { codec, ..sound() };
            let plan = plan(&preset("passthrough"), SEGMENT, Some(&video(1_280, 720)), Some(&track)).expect("a plan");
            let copied = matches!(codec, AudioCodec::Aac | AudioCodec::Opus);
            let mode = plan.audio.as_ref().map(|audio| audio.preset.mode);
            assert_eq!((mode == Some(AudioMode::Copy), plan.renditions[1].copied), (copied, copied), "{codec:?}");
            let said: Vec<_> = plan.reasons[1..].iter().map(RungReason::to_string).collect();
            let why = format!("audio is encoded as AAC: the source is {}, which is not carried as it is", codec.name());
            assert_eq!(said, if copied { vec![] } else { vec![why] });
        }
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
                "1080p is encoded: the source is interlaced",
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
    fn what_is_decoded_has_a_largest_size_and_what_is_copied_has_none() {
        let (largest, larger) = (video(4_096, 2_304), video(4_096, 2_320));
        assert!(plan(&preset(Preset::DEFAULT), SEGMENT, Some(&largest), None).is_ok());
        assert!(plan(&preset("passthrough"), SEGMENT, Some(&video(7_680, 4_320)), None).is_ok());
        let error = plan(&preset(Preset::DEFAULT), SEGMENT, Some(&larger), None).expect_err("too large");
        let words =
            "the source's picture is 4096x2320; this preset encodes, and takes 9437184 pixels at most (4096x2304)";
        assert_eq!(error.to_string(), words);
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
