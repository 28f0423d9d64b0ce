//! Measures what this machine can encode: for half a second every processor does what a ladder does.
//!
//! Each thread encodes a synthetic moving picture with x264 `superfast`, decodes the result, scales it and encodes it
//! small, one thread per codec as most rungs have it. What counts is the processor time that this took, so that a
//! machine which is busy when the daemon starts is not taken for a small one. All processors work at once, so that what
//! they share (caches, clock, the two halves of a core) is shared in the measure too.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use super::cost::{Load, of_frames};
use super::libav::decoder::VideoDecoder;
use super::libav::frame::Picture;
use super::libav::scaler::Scaler;
use super::libav::video_encoder::VideoEncoder;
use super::libav::{self, LibavError};
use super::{TranscodeError, bitstream};
use crate::clock::thread_cpu_time;
use crate::config::preset::{EncodePreset, X264Preset};
use crate::media::track::VIDEO_TIMESCALE;
use crate::media::{Kind, Packet, Span, Timestamp};
use crate::telemetry::panics::contained_now;

/// Processor time that each thread works for.
const EFFORT: Duration = Duration::from_millis(400);
/// Size of the pictures, and of what they are scaled to.
const LARGE: (u32, u32) = (1_280, 720);
const SMALL: (u32, u32) = (640, 360);
/// Different pictures; they come round again.
const PICTURES: u32 = 8;
/// Ticks of the encoder's clock between two frames.
const TICKS: u32 = VIDEO_TIMESCALE / 30;
/// Of what is measured, so much may be used, in hundredths: packaging, viewers and uploads want their share.
const USABLE: u64 = 90;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// What the processors can encode that were measured.
    pub load: Load,
    /// Whether that is all of them: a thread that panicked is left out.
    pub whole: bool,
}

/// What this machine can encode with `threads` of its processors. Blocks for about half a second.
///
/// # Errors
/// libavcodec has no x264, memory is out, or not one thread came to a result.
pub fn measure(threads: usize) -> Result<Measure, TranscodeError> {
    libav::init();
    let pictures: Result<Vec<_>, _> = (0..PICTURES).map(|index| Picture::synthetic(LARGE, index)).collect();
    let pictures = pictures.map_err(failed)?;
    measure_by(threads, move |_| work(&pictures))
}

/// The same with what each thread does, by its number.
fn measure_by(
    threads: usize,
    work: impl Fn(usize) -> Result<u64, LibavError> + Send + Sync + 'static,
) -> Result<Measure, TranscodeError> {
    let work = Arc::new(work);
    let workers: Vec<_> = (0..threads.max(1))
        .map(|index| {
            let (work, name) = (work.clone(), format!("measure-{index}"));
            let worker = std::thread::Builder::new().name(name.clone()).spawn(move || work(index));
            worker.map_err(|source| TranscodeError::Thread { thread: name, source })
        })
        .collect::<Result<_, _>>()?;
    let (mut pixels_per_second, mut whole) = (0, true);
    for worker in workers {
        // A panic is told here, by the one thread that stays.
        match contained_now("measure", || worker.join().unwrap_or_else(|payload| resume_unwind(payload))) {
            Some(measured) => pixels_per_second += measured.map_err(failed)?,
            None => whole = false,
        }
    }
    if pixels_per_second == 0 {
        return Err(TranscodeError::NotMeasured);
    }
    Ok(Measure { load: Load::from_kilopixels(pixels_per_second / 1_000 * USABLE / 100), whole })
}

fn failed(source: LibavError) -> TranscodeError {
    TranscodeError::OpenEncoder { rendition: "the measure of this machine".to_owned(), source }
}

/// Weighed pixels per second of processor time.
fn work(pictures: &[Picture]) -> Result<u64, LibavError> {
    let mut large = VideoEncoder::open(&preset(LARGE, 2_800_000), &pictures[0], Some((30, 1)))?;
    // x264 gives parameter sets that it can read itself.
    let Ok(track) = bitstream::track(large.parameter_sets(), Some((30, 1))) else { return Ok(0) };
    let mut decoder = VideoDecoder::open(&track, 1, 0)?;
    let mut scaler = Scaler::new(SMALL);
    let mut small: Option<VideoEncoder> = None;
    let began = thread_cpu_time();
    for (frame, picture) in (0_u32..).zip(pictures.iter().cycle()) {
        let tick = i64::from(frame) * i64::from(TICKS);
        large.send(picture, tick, frame == 0)?;
        while let Some(coded) = large.receive()? {
            decoder.send(&packet(coded.data, tick, coded.key))?;
        }
        while let Some(decoded) = decoder.receive()? {
            let scaled = scaler.scale(&decoded)?;
            let encoder = match &mut small {
                Some(encoder) => encoder,
                None => small.insert(VideoEncoder::open(&preset(SMALL, 800_000), &scaled, Some((30, 1)))?),
            };
            encoder.send(&scaled, tick, frame == 0)?;
            while encoder.receive()?.is_some() {}
            scaler.give_back(scaled);
        }
        let spent = thread_cpu_time().saturating_sub(began);
        if spent >= EFFORT {
            let pixels = u128::from(of_frames(u64::from(frame) + 1, LARGE, SMALL)) * 1_000_000_000;
            return Ok(u64::try_from(pixels / spent.as_nanos().max(1)).unwrap_or(u64::MAX));
        }
    }
    Ok(0)
}

fn packet(annex_b: &[u8], tick: i64, keyframe: bool) -> Packet {
    let at = Timestamp::from_units(tick, VIDEO_TIMESCALE);
    let data = bitstream::access_unit(annex_b);
    Packet { kind: Kind::Video, dts: at, pts: at, duration: Span::ZERO, keyframe, data }
}

/// As the shipped presets have it, without B-frames, so that each frame comes out at once.
fn preset((width, height): (u32, u32), bitrate: u64) -> EncodePreset {
    let x264 = X264Preset {
        preset: "superfast".to_owned(),
        tune: None,
        profile: "high".to_owned(),
        level: None,
        threads: 1,
        sliced: false,
        bframes: Some(0),
        lookahead: Some(0),
        refs: None,
    };
    EncodePreset { width, height, bitrate, maxrate: bitrate * 6 / 5, buffer: bitrate, fps: None, x264 }
}

/// What measures and is measured, in words: a change of it makes an old measure worthless.
pub fn codec_versions() -> String {
    libav::versions()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn a_machine_is_measured() {
        let Measure { load: one, whole } = measure(1).expect("x264 is installed");
        assert!(whole);
        // From a slow single-board computer under an emulator to processors that do not exist yet.
        let plausible = Load::from_megapixels(1)..Load::from_megapixels(10_000);
        assert!(plausible.contains(&one), "{one}");
        assert!(codec_versions().contains("libavcodec"), "{}", codec_versions());
    }

    #[test]
    fn a_thread_that_panics_is_counted_and_its_processor_is_not() {
        let (metrics, recorder) = Metrics::detached().expect("the settings are ours");
        let measured = metrics::with_local_recorder(&recorder, || {
            measure_by(3, |index| if index == 1 { panic!("broken") } else { Ok(100_000_000) })
        });
        let load = Load::from_kilopixels(180_000);
        assert!(matches!(measured, Ok(Measure { load: of, whole: false }) if of == load), "{measured:?}");
        assert!(metrics.render().contains("millstream_stage_panics_total{stage=\"measure\"} 1\n"));
    }

    #[test]
    fn a_measure_without_a_result_is_none_and_no_bound_of_zero() {
        for measured in [measure_by(2, |_| panic!("broken")), measure_by(1, |_| Ok(0))] {
            assert!(matches!(measured, Err(TranscodeError::NotMeasured)), "{measured:?}");
        }
    }
}
