//! What a ladder costs, and what a machine can do: one unit for both. Pure.
//!
//! The unit is a pixel per second that x264 encodes with its preset `superfast` ([`Load`]). Everything else is counted as
//! so many of these pixels by fixed weights, which were measured on one machine with one source; a machine's capacity is
//! measured on itself (`capacity`). The model is coarse on purpose: content, bitrate and `tune` move the truth by a third
//! in either direction, and the weights of slow presets by more. It decides how many rungs begin, never which frames go.

use std::fmt;

use super::plan::{Plan, capped, fit};
use crate::config::preset::{AudioMode, EncodePreset};
use crate::media::{VideoCodec, VideoTrack};

/// Weights are in thousandths of the work of one `superfast` pixel.
const UNIT: u64 = 1_000;
/// A pixel of the source, decoded. Measured with one thread of FFmpeg 5.1 on 720p at 4 Mbit/s beside H.264: HEVC 1.65, VP9 1.15, AV1
/// 0.9 with dav1d (2.4 with libaom, where there is no dav1d).
const fn decode_weight(codec: VideoCodec) -> u64 {
    match codec {
        VideoCodec::H264 | VideoCodec::Av1 => DECODE,
        VideoCodec::Hevc => 360,
        VideoCodec::Vp9 => 250,
    }
}
/// A pixel of H.264, decoded.
const DECODE: u64 = 220;
/// A pixel of the source, read by one rung's scaler.
const SCALE: u64 = 90;
/// Sources that are not plain (interlaced, not 4:2:0, not 8 bit) cost so much more to decode and to scale.
const NOT_PLAIN: u64 = 2;
/// The audio encoder, in pixels per second.
const AUDIO: Load = Load::from_kilopixels(1_000);
/// Frames per second that are counted of a source that states none.
const ASSUMED_FRAME_RATE: (u32, u32) = (30, 1);

/// A pixel, encoded with each x264 preset.
const PRESETS: [(&str, u64); 10] = [
    ("ultrafast", 500),
    ("superfast", 1_000),
    ("veryfast", 1_500),
    ("faster", 2_100),
    ("fast", 2_850),
    ("medium", 3_200),
    ("slow", 4_900),
    ("slower", 8_300),
    ("veryslow", 16_000),
    ("placebo", 40_000),
];

/// Pixels per second of x264 `superfast`, or as much other work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Load {
    kilopixels: u64,
}

impl Load {
    /// Thousands of pixels per second.
    pub const fn from_kilopixels(kilopixels: u64) -> Self {
        Load { kilopixels }
    }

    /// Millions of pixels per second.
    pub const fn from_megapixels(megapixels: u32) -> Self {
        Load { kilopixels: megapixels as u64 * 1_000 }
    }

    /// Thousands of pixels per second.
    pub const fn kilopixels(self) -> u64 {
        self.kilopixels
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Load) -> Load {
        Load { kilopixels: self.kilopixels.saturating_add(other.kilopixels) }
    }

    /// What is left of it, or nothing.
    #[must_use]
    pub const fn less(self, other: Load) -> Load {
        Load { kilopixels: self.kilopixels.saturating_sub(other.kilopixels) }
    }

    /// So many pixels per second that each weigh `weight`.
    fn weighed(pixels: u64, (num, den): (u32, u32), weight: u64) -> Load {
        let work = u128::from(pixels) * u128::from(num) * u128::from(weight);
        let kilopixels = work / (u128::from(den.max(1)) * u128::from(UNIT) * 1_000);
        Load { kilopixels: u64::try_from(kilopixels).unwrap_or(u64::MAX) }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} Mpx/s", self.kilopixels.div_ceil(1_000))
    }
}

/// What the ladder costs as it starts: a copied rung nothing, the others scaling and encoding, and once the decoder.
pub fn of_plan(plan: &Plan, video: Option<&VideoTrack>) -> Load {
    let audio = plan.audio.as_ref().filter(|audio| audio.preset.mode == AudioMode::Encode);
    let sound = audio.map_or(Load::default(), |_| AUDIO);
    let Some(track) = video else { return sound };
    let encoded: Vec<_> =
        plan.rungs.iter().filter(|rung| !rung.copied).filter_map(|rung| rung.encode.as_ref()).collect();
    let decoder = if encoded.is_empty() { Load::default() } else { of_decoder(track) };
    encoded.into_iter().fold(sound.plus(decoder), |sum, rung| sum.plus(of_rung(rung, track)))
}

/// What decoding the source costs, whatever is made of it.
pub fn of_decoder(track: &VideoTrack) -> Load {
    Load::weighed(pixels((track.width, track.height)), rate(track), decode_weight(track.codec) * plainness(track))
}

/// What one encoded rung costs: scaling the source, and encoding.
pub fn of_rung(rung: &EncodePreset, track: &VideoTrack) -> Load {
    let source = (track.width, track.height);
    let size = fit((rung.width, rung.height), source);
    let kept = capped(rate(track), rung.fps);
    let scaled = size != source || !track.plain;
    let scaling = if scaled { Load::weighed(pixels(source), kept, SCALE * plainness(track)) } else { Load::default() };
    let known = PRESETS.iter().find(|(name, _)| *name == rung.x264.preset);
    scaling.plus(Load::weighed(pixels(size), kept, known.map_or(UNIT, |(_, weight)| *weight)))
}

/// What so many frames of a source at `source` pixels, decoded and encoded at that size with `superfast`, and scaled to
/// and encoded at `small` pixels, come to: the mix by which a machine is measured.
pub(super) fn of_frames(frames: u64, source: (u32, u32), small: (u32, u32)) -> u64 {
    let large = pixels(source) * (UNIT + DECODE + SCALE);
    frames * (large + pixels(small) * UNIT) / UNIT
}

fn pixels((width, height): (u32, u32)) -> u64 {
    u64::from(width) * u64::from(height)
}

fn rate(track: &VideoTrack) -> (u32, u32) {
    track.frame_rate.filter(|(num, den)| *num > 0 && *den > 0).unwrap_or(ASSUMED_FRAME_RATE)
}

fn plainness(track: &VideoTrack) -> u64 {
    if track.plain { 1 } else { NOT_PLAIN }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::preset::Preset;
    use crate::transcode::plan::plan;
    use crate::transcode::plan::testing::{SEGMENT, sound, video};

    fn costs(preset: &str, track: &VideoTrack) -> String {
        let preset = Preset::load(preset).expect("an embedded preset");
        of_plan(&plan(&preset, SEGMENT, Some(track), Some(&sound())).expect("a plan"), Some(track)).to_string()
    }

    #[test]
    fn the_shipped_presets_cost_what_the_operators_page_says() {
        let hd = video(1_920, 1_080);
        let fast = VideoTrack { frame_rate: Some((60, 1)), ..hd.clone() };
        let page = include_str!("../../docs/operators.md");
        for name in Preset::embedded_names() {
            let row = format!("| `{name}` | {} | {} |", costs(name, &hd), costs(name, &fast));
            assert!(page.contains(&row), "docs/operators.md has no row {row}");
        }
    }

    #[test]
    fn size_rate_preset_and_format_weigh() {
        let hd = video(1_920, 1_080);
        assert_eq!(costs("passthrough", &hd), "0 Mpx/s");
        assert_eq!(costs("encode-1080p-720p-480p", &VideoTrack { frame_rate: None, ..hd.clone() }), "129 Mpx/s");
        let rich = VideoTrack { plain: false, ..hd.clone() };
        assert!(costs("encode-1080p-720p-480p", &rich) > costs("encode-1080p-720p-480p", &hd));
        let mut slow = Preset::load("encode-1080p-720p-480p").expect("embedded");
        slow.rungs[0].encode.iter_mut().for_each(|encode| encode.x264.preset = "slower".to_owned());
        let [slow, quick] = [&slow.rungs[0], &Preset::load("encode-1080p-720p-480p").expect("embedded").rungs[0]]
            .map(|rung| of_rung(rung.encode.as_ref().expect("encoded"), &hd).kilopixels());
        assert_eq!((quick, slow), (62_208, 516_326));
    }

    #[test]
    fn codecs_weigh() {
        let hd = video(1_920, 1_080);
        let cost = |codec| of_decoder(&VideoTrack { codec, ..hd.clone() }).kilopixels();
        assert_eq!(VideoCodec::ALL.map(cost), [13_685, 22_394, 13_685, 15_552]);
        assert_eq!(costs("passthrough", &VideoTrack { codec: VideoCodec::Hevc, ..hd }), "0 Mpx/s");
    }

    #[test]
    fn loads_add_up_and_never_wrap() {
        let all = Load::from_kilopixels(u64::MAX);
        assert_eq!((all.plus(all), Load::from_megapixels(1).less(all)), (all, Load::default()));
        assert_eq!(Load::from_kilopixels(1).to_string(), "1 Mpx/s");
    }
}
