//! The content check: what a viewer of one video rendition and its sound gets, as one value with one assertion.
//!
//! A [`Report`] reads the number, the flash and the darkness of every picture, the beeps and the silence of the sound, and how far
//! the two are apart. An [`Expectation`] says what they should be; [`Report::assert_whole`] names the first thing that is not so.
//! Broadcasts with discontinuities and several init segments are read run by run and put together.

use std::path::Path;

use super::{Frame, Offsets, Sound, flashes_us, frames, presentation_us};
use crate::support::boxes::Init;
use crate::support::follower::{Rendition, Run};

/// The contract for the distance of sound and picture.
const AV_LIMIT_US: i64 = 20_000;
/// A packet that is lost and filled with silence is longer than this; a zero crossing of the quiet tone is not.
const SILENCE_LIMIT_MS: usize = 30;
/// Sound may begin or end by so much later or earlier than the pictures: two AAC frames of 1024 samples at 48 kHz.
const SOUND_ENDS_MS: usize = 50;

/// What came out of a rendition and its sound.
#[derive(Clone, Debug)]
pub struct Report {
    /// Name of the video rendition, or of the audio rendition when there is no video.
    pub name: String,
    /// Pictures in the order of presentation.
    pub frames: Vec<Frame>,
    /// When each is presented, in microseconds of the session's timeline.
    pub times_us: Vec<i64>,
    /// The sound between two breaks, in order; empty without an audio rendition.
    pub sound: Vec<Sound>,
}

/// Which frames of the source should be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pictures {
    /// Those with these numbers, each once and in this order.
    Numbers(Vec<u32>),
    /// Some of them, none twice and none out of order, at least so many: what is left when frames were shed or lost.
    Rising {
        /// The fewest.
        at_least: usize,
    },
    /// So many, whose numbers cannot be read: a picture that is too small for them, or not of `scripts/source.sh`.
    Count(usize),
    /// No video is looked at.
    Any,
}

/// What a whole broadcast of `scripts/source.sh`'s pictures and sound has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Its pictures.
    pub pictures: Pictures,
    /// Flashes; `None` when they are not looked at.
    pub flashes: Option<usize>,
    /// Beeps that belong to a flash within [`Expectation::av_limit_us`], at least; `None`: sound is not looked at.
    pub beeps: Option<usize>,
    /// Milliseconds of sound, at least.
    pub sound_ms: usize,
    /// The longest silence in milliseconds.
    pub silence_limit_ms: usize,
    /// The longest stretch of black pictures, in pictures.
    pub black_limit: usize,
    /// The largest distance of sound and picture in microseconds.
    pub av_limit_us: i64,
}

impl Expectation {
    /// `frames` pictures from number 0 and `seconds` of sound, nothing missing. The very first beep lies in the encoder's
    /// fade-in and is not looked at.
    pub fn whole(frames: u32, seconds: u32) -> Self {
        let seconds = seconds as usize;
        Expectation {
            pictures: Pictures::Numbers((0..frames).collect()),
            flashes: Some(seconds),
            beeps: Some(seconds.saturating_sub(1)),
            sound_ms: (seconds * 1_000).saturating_sub(SOUND_ENDS_MS),
            silence_limit_ms: SILENCE_LIMIT_MS,
            black_limit: 0,
            av_limit_us: AV_LIMIT_US,
        }
    }

    /// The same with other pictures.
    #[must_use]
    pub fn pictures(self, pictures: Pictures) -> Self {
        Expectation { pictures, ..self }
    }

    /// A source without sound.
    #[must_use]
    pub fn without_sound(self) -> Self {
        Expectation { beeps: None, sound_ms: 0, ..self }
    }

    /// A source without pictures.
    #[must_use]
    pub fn without_pictures(self) -> Self {
        Expectation { pictures: Pictures::Any, flashes: None, beeps: None, ..self }
    }
}

impl Report {
    /// Reads `video` and the sound that goes with it; `folder` takes the files that are decoded. Either may be missing.
    pub fn of(video: Option<&Rendition>, audio: Option<&Rendition>, folder: &Path) -> Self {
        let name = video.or(audio).map(|rendition| rendition.name.clone()).expect("a rendition to report on");
        let mut report = Report { name, frames: Vec::new(), times_us: Vec::new(), sound: Vec::new() };
        for run in video.iter().flat_map(|video| video.runs()) {
            let (mut pictures, mut times) = (frames(&run.write(folder)), times_of(&run));
            assert_eq!(pictures.len(), times.len(), "{}: each sample decodes to one picture", report.name);
            report.frames.append(&mut pictures);
            report.times_us.append(&mut times);
        }
        for run in audio.iter().flat_map(|audio| audio.runs()) {
            let start_us = times_of(&run).first().copied().expect("a run has samples");
            report.sound.push(Sound::decode(&run.write(folder), start_us));
        }
        report
    }

    /// Numbers of the pictures; `None` where one cannot be read.
    pub fn numbers(&self) -> Vec<Option<u32>> {
        self.frames.iter().map(|frame| frame.number).collect()
    }

    /// When flashes begin.
    pub fn flashes_us(&self) -> Vec<i64> {
        flashes_us(&self.frames, &self.times_us)
    }

    /// When beeps begin.
    pub fn beeps_us(&self) -> Vec<i64> {
        self.sound.iter().flat_map(Sound::beeps_us).collect()
    }

    /// How far the sound is behind the picture.
    pub fn offsets(&self) -> Offsets {
        Offsets::measure(&self.flashes_us(), &self.beeps_us())
    }

    /// Milliseconds of sound, the pauses between runs not counted.
    pub fn sound_ms(&self) -> usize {
        self.sound.iter().map(Sound::millis).sum()
    }

    /// Milliseconds of the longest silence within a run.
    pub fn longest_silence_ms(&self) -> usize {
        self.sound.iter().map(Sound::longest_silence_ms).max().unwrap_or(0)
    }

    /// The longest stretch of black pictures.
    pub fn longest_black(&self) -> usize {
        self.frames.split(|frame| !frame.black).map(<[Frame]>::len).max().unwrap_or(0)
    }

    /// The longest time from one picture to the next in microseconds.
    pub fn longest_pause_us(&self) -> i64 {
        self.times_us.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }

    /// One line for the test's output.
    pub fn summary(&self) -> String {
        let offsets = self.offsets();
        let behind = match offsets.count() {
            0 => "no beep beside a flash".to_owned(),
            _ => {
                let [median, most, worst] = [50, 95, 100].map(|percent| offsets.percentile_us(percent));
                format!("sound is {median} us behind the picture (median), {most} (95 %), {worst} at worst")
            }
        };
        let (pictures, sound) = (self.frames.len(), self.sound_ms());
        format!("{}: {pictures} pictures, {sound} ms of sound, {behind}", self.name)
    }

    /// Asserts that everything is as expected; the message says what is not.
    pub fn assert_whole(&self, expected: &Expectation) {
        let name = &self.name;
        eprintln!("{}", self.summary());
        self.assert_pictures(&expected.pictures);
        assert!(self.longest_black() <= expected.black_limit, "{name}: {} black pictures", self.longest_black());
        let flashes = self.flashes_us();
        if let Some(count) = expected.flashes {
            assert_eq!(flashes.len(), count, "{name}: flashes at {flashes:?}");
        }
        assert!(self.sound_ms() >= expected.sound_ms, "{name}: {} ms of sound: {expected:?}", self.sound_ms());
        let silence = self.longest_silence_ms();
        assert!(silence <= expected.silence_limit_ms, "{name}: a silence of {silence} ms");
        if let Some(count) = expected.beeps {
            let (offsets, beeps) = (self.offsets(), self.beeps_us());
            assert!(offsets.count() >= count, "{name}: {} of {count} beeps: {beeps:?} {flashes:?}", offsets.count());
            let worst = if offsets.count() == 0 { 0 } else { offsets.percentile_us(100) };
            assert!(worst.abs() <= expected.av_limit_us, "{name}: sound and picture are apart: {offsets:?}");
        }
    }

    fn assert_pictures(&self, expected: &Pictures) {
        let (name, numbers) = (&self.name, self.numbers());
        match expected {
            Pictures::Numbers(wanted) => {
                let wanted: Vec<_> = wanted.iter().copied().map(Some).collect();
                if numbers != wanted {
                    let wrong = numbers.iter().zip(&wanted).position(|(found, wanted)| found != wanted);
                    let at = wrong.unwrap_or(numbers.len().min(wanted.len()));
                    let around = &numbers[at.saturating_sub(3)..numbers.len().min(at + 5)];
                    let (found, count) = (numbers.len(), wanted.len());
                    panic!("{name}: {found} pictures of {count}; the first difference is at {at}: {around:?}");
                }
            }
            Pictures::Rising { at_least } => {
                assert!(numbers.len() >= *at_least, "{name}: {} pictures, {at_least} expected", numbers.len());
                let wrong = numbers.windows(2).position(|pair| pair[0].is_none() || pair[1] <= pair[0]);
                assert_eq!(wrong, None, "{name}: pictures are lost in another way, or come twice: {numbers:?}");
            }
            Pictures::Count(count) => assert_eq!(numbers.len(), *count, "{name}: pictures"),
            Pictures::Any => {}
        }
    }
}

/// Presentation times of a run's samples in microseconds.
fn times_of(run: &Run<'_>) -> Vec<i64> {
    presentation_us(&run.samples(), Init::parse(run.init).timescale)
}
