//! A ladder that fits into what the machine has left, or into what a session was before. Pure.

use super::conversions::Conversions;
use super::cost::{self, Load};
use super::plan::{Decision, Plan, PlanError, RungReason, plan};
use crate::config::preset::{Preset, Rung, RungMode};
use crate::media::segment::Renditions;
use crate::media::{AudioTrack, Kind, Span, VideoTrack};

/// Name of the rung that carries the source when no encoded rung fits and none of the preset's can be a copy.
const SOURCE_RUNG: &str = "source";
/// What BANDWIDTH promises of it at least, in bits per second: what the shipped `passthrough` preset promises.
const SOURCE_BITS_PER_SECOND: u64 = 10_000_000;

/// A plan and what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// The ladder.
    pub plan: Plan,
    /// Its cost as it starts.
    pub load: Load,
    /// Rungs that would exist on a larger machine do not.
    pub degraded: bool,
}

/// Plans the ladder within `room`: while it costs more, the most expensive encoded rung is left out; when not even one
/// fits, the source is only copied. Sound is encoded in any case.
///
/// A degraded ladder has no encoder in reserve for its copied rung, which stays a copy for the whole session.
///
/// # Errors
/// As [`plan`].
pub fn plan_within(
    preset: &Preset,
    segment: Span,
    video: Option<&VideoTrack>,
    audio: Option<&AudioTrack>,
    room: Load,
) -> Result<Fitted, PlanError> {
    let mut smaller = preset.clone();
    let mut left_out = Vec::new();
    let conversions = Conversions::default(); // of no use to a rung that is not there
    loop {
        let mut plan = plan(&smaller, segment, video, audio)?;
        let load = cost::of_plan(&plan, video);
        let dearest = video.filter(|_| load > room).and_then(|track| dearest(&plan, track));
        let Some((name, cost)) = dearest else {
            let degraded = !left_out.is_empty();
            if degraded {
                plan.rungs.iter_mut().filter(|rung| rung.copied).for_each(|rung| rung.encode = None);
            }
            plan.reasons.extend(left_out);
            return Ok(Fitted { plan, load, degraded });
        };
        let only = plan.rungs.len() == 1;
        smaller.rungs.retain(|rung| rung.name != name);
        left_out.push(RungReason { rung: name, decision: Decision::LeftOutNoCapacity { cost }, conversions });
        if only {
            smaller = source_only(preset);
        }
    }
}

/// The ladder of a session that was here before and has these renditions: its rungs, whatever they cost.
///
/// # Errors
/// As [`plan`].
pub fn plan_like(
    preset: &Preset,
    segment: Span,
    video: Option<&VideoTrack>,
    audio: Option<&AudioTrack>,
    had: &Renditions,
) -> Result<Fitted, PlanError> {
    let had_rung = |name: &str| had.iter().any(|rendition| rendition.kind == Kind::Video && rendition.name == name);
    let mut same = preset.clone();
    same.rungs.retain(|rung| had_rung(&rung.name));
    if same.rungs.is_empty() {
        same = if had_rung(SOURCE_RUNG) { source_only(preset) } else { preset.clone() };
    }
    let plan = plan(&same, segment, video, audio)?;
    Ok(Fitted { load: cost::of_plan(&plan, video), plan, degraded: same.rungs.len() < preset.rungs.len() })
}

/// The encoded rung that costs most, unless nothing is encoded.
fn dearest(plan: &Plan, track: &VideoTrack) -> Option<(String, Load)> {
    let encoded = plan.rungs.iter().filter(|rung| !rung.copied);
    let costs = encoded.filter_map(|rung| Some((rung.name.clone(), cost::of_rung(rung.encode.as_ref()?, track))));
    costs.max_by_key(|(_, cost)| *cost)
}

/// The preset with nothing but a copy of the source.
fn source_only(preset: &Preset) -> Preset {
    let limits = preset.rungs.iter().filter_map(|rung| rung.copy_limit);
    let copy_limit = limits.chain([SOURCE_BITS_PER_SECOND]).max();
    let source = Rung { name: SOURCE_RUNG.to_owned(), mode: RungMode::Copy, copy_limit, encode: None };
    Preset { rungs: vec![source], ..preset.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcode::plan::testing::{SEGMENT, preset, sound, video};

    const DEFAULT: &str = Preset::DEFAULT;
    const ENCODE: &str = "encode-1080p-720p-480p";

    /// Rungs (`+` copied for ever, `*` copied with an encoder in reserve), and what was said of those left out.
    fn fitted(name: &str, room: u32) -> (String, Vec<String>) {
        let hd = video(1_920, 1_080);
        let room = Load::from_megapixels(room);
        let fitted = plan_within(&preset(name), SEGMENT, Some(&hd), Some(&sound()), room).expect("a plan");
        let sign = |rung: &crate::transcode::plan::PlannedRung| match (rung.copied, rung.encode.is_some()) {
            (true, true) => "*",
            (true, false) => "+",
            _ => "",
        };
        let rungs = fitted.plan.rungs.iter().map(|rung| format!("{}{}", rung.name, sign(rung)));
        let said = fitted.plan.reasons.iter().map(ToString::to_string);
        let said: Vec<_> = said.filter(|reason| reason.contains("machine")).collect();
        assert_eq!(fitted.degraded, !said.is_empty());
        (rungs.collect::<Vec<_>>().join(" "), said)
    }

    #[test]
    fn what_fits_is_as_the_preset_says() {
        assert_eq!(fitted(DEFAULT, 70), ("1080p* 720p 480p".to_owned(), vec![]));
        assert_eq!(fitted(ENCODE, 130), ("1080p 720p 480p".to_owned(), vec![]));
        assert_eq!(fitted("passthrough", 0), ("source+".to_owned(), vec![]));
    }

    #[test]
    fn the_most_expensive_rungs_go_first_and_a_copy_stays() {
        let (rungs, said) = fitted(ENCODE, 100);
        assert_eq!(rungs, "720p 480p");
        assert_eq!(said, ["1080p is left out: it costs 63 Mpx/s, and the machine has no room for that"]);
        assert_eq!(fitted(ENCODE, 40).0, "480p");
        assert_eq!(fitted(DEFAULT, 40).0, "1080p+ 480p");
        assert_eq!(fitted(DEFAULT, 20).0, "1080p+");
        let (rungs, said) = fitted(ENCODE, 20);
        assert_eq!((rungs.as_str(), said.len()), ("source+", 3), "{said:?}");
    }

    #[test]
    fn sound_alone_is_never_degraded() {
        let fitted = plan_within(&preset(DEFAULT), SEGMENT, None, Some(&sound()), Load::default()).expect("a plan");
        assert_eq!((fitted.degraded, fitted.plan.renditions.len()), (false, 1));
    }

    #[test]
    fn a_session_that_was_here_before_keeps_its_rungs() {
        let hd = video(1_920, 1_080);
        for (name, room) in [(DEFAULT, 40), (DEFAULT, 1_000), (ENCODE, 20), (ENCODE, 40), ("passthrough", 0)] {
            let room = Load::from_megapixels(room);
            let before = plan_within(&preset(name), SEGMENT, Some(&hd), Some(&sound()), room).expect("a plan").plan;
            let again =
                plan_like(&preset(name), SEGMENT, Some(&hd), Some(&sound()), &before.renditions).expect("a plan").plan;
            let names = |plan: &Plan| plan.renditions.iter().map(|r| r.name.clone()).collect::<Vec<_>>();
            assert_eq!(names(&again), names(&before), "{name}");
        }
    }
}
