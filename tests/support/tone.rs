//! Whether a pure tone is one unbroken tone: its phase and strength, window by window.
//!
//! A lost, doubled or shifted sample moves the phase of everything behind it; silence and clicks change the strength. A stretch of
//! the clock turns the phase slowly, by its own measure.

use std::f64::consts::TAU;

/// A tone of [`HZ`] has this many whole turns in a window: 10 ms.
const WINDOW: usize = 480;
/// Samples per second.
pub const RATE: usize = 48_000;
/// The tone that is measured.
pub const HZ: f64 = 500.0;

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Tone {
    /// The weakest and the strongest window, as an amplitude of full scale.
    pub strength: (f64, f64),
    /// The largest turn of the phase from one window to the next, in microseconds of the tone.
    pub worst_step_us: f64,
    /// How far the phase has turned from the first window to the last, in microseconds: the tone ran so much too fast.
    pub drift_us: f64,
}

impl Tone {
    /// Measures `sound`, the first and the last 200 ms apart, where encoders fade in and out.
    pub fn measure(sound: &[f32]) -> Self {
        let edge = RATE / 5;
        assert!(sound.len() > 3 * edge, "{} samples are too few to measure", sound.len());
        let windows: Vec<(f64, f64)> = sound[edge..sound.len() - edge].chunks_exact(WINDOW).map(measure).collect();
        let strengths = windows.iter().map(|(strength, _)| *strength);
        let to_us = 1_000_000.0 / (TAU * HZ);
        let steps = windows.windows(2).map(|pair| shortest_turn(pair[1].1 - pair[0].1));
        Tone {
            strength: (strengths.clone().fold(f64::MAX, f64::min), strengths.fold(0.0, f64::max)),
            worst_step_us: steps.clone().map(f64::abs).fold(0.0, f64::max) * to_us,
            drift_us: steps.sum::<f64>() * to_us,
        }
    }

    /// Asserts one tone of an even strength without a step. A drift of the clock may turn it by `drift_us` in all.
    pub fn assert_unbroken(&self, name: &str, drift_us: f64) {
        let (weakest, strongest) = self.strength;
        assert!(weakest > 0.05 && weakest > 0.8 * strongest, "{name}: its strength is not even: {self:?}");
        // A sample is 21 us. What a resampled drift turns in 10 ms is 40 us at most.
        assert!(self.worst_step_us < 60.0, "{name}: a step: {self:?}");
        assert!(self.drift_us.abs() <= drift_us, "{name}: it drifts: {self:?}");
    }
}

/// Strength and phase of the tone in one window.
fn measure(window: &[f32]) -> (f64, f64) {
    let turn = TAU * HZ / RATE as f64;
    let (mut re, mut im) = (0.0, 0.0);
    for (index, sample) in window.iter().enumerate() {
        let angle = turn * index as f64;
        re += f64::from(*sample) * angle.cos();
        im += f64::from(*sample) * angle.sin();
    }
    (2.0 * re.hypot(im) / window.len() as f64, re.atan2(im))
}

fn shortest_turn(angle: f64) -> f64 {
    angle - TAU * (angle / TAU).round()
}

#[test]
fn what_breaks_a_tone_is_found() {
    let tone = |index: usize| (0.3 * (TAU * HZ * index as f64 / RATE as f64).sin()) as f32;
    let whole: Vec<f32> = (0..RATE * 2).map(tone).collect();
    Tone::measure(&whole).assert_unbroken("whole", 1.0);
    let broken = |what: &str, sound: &[f32]| {
        let found = Tone::measure(sound);
        let judged = std::panic::catch_unwind(|| found.assert_unbroken(what, 1.0));
        assert!(judged.is_err(), "{what} is not found: {found:?}");
    };
    let at = RATE / 2 + 100;
    broken("five lost samples", &[&whole[..at], &whole[at + 5..]].concat());
    broken("a doubled frame", &[&whole[..at + 1_024], &whole[at..]].concat());
    broken("5 ms of silence", &[&whole[..at], &[0.0; 240], &whole[at + 240..]].concat());
    let fast: Vec<f32> = (0..RATE * 2).map(|index| tone(index * 1_001 / 1_000)).collect();
    let drift = Tone::measure(&fast).drift_us;
    assert!((1_550.0..1_650.0).contains(&drift), "1.6 s at 0.1 % are 1.6 ms: {drift}");
}
