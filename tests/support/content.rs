//! What is in the decoded picture and sound: frame numbers, flashes, beeps, silence. `scripts/source.sh` puts them there.
//!
//! Tests ask for a [`Report`]; what it is made of is here.

mod report;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

pub use report::{Expectation, Pictures, Report};

use super::boxes::Sample;
use super::process::output;

/// Frames are looked at in this size: a block of the code row is 8 pixels wide and 11 high.
const WIDTH: usize = 160;
const HEIGHT: usize = 90;
const BLOCKS: usize = 20;
const BLOCK_WIDTH: usize = WIDTH / BLOCKS;
const CODE_ROWS: std::ops::Range<usize> = 3..8;
/// Rows well below the code: the flash fills them.
const PICTURE_ROWS: std::ops::Range<usize> = 20..HEIGHT;

/// Mean luma of the picture: the flash has 255, the moving picture about 120.
const WHITE_LEVEL: u32 = 200;
const BLACK_LEVEL: u32 = 8;

/// Samples per second that sound is looked at in, and one window of it: 1 ms.
const RATE: usize = 48_000;
const WINDOW: usize = RATE / 1_000;
/// Root mean square of full scale: the beep has 0.35, the tone below it 0.014.
const BEEP_LEVEL: f64 = 0.2;
const SILENCE_LEVEL: f64 = 0.003;
/// A coder or decoder that begins in the middle of the sound fades in or out for so long: HE-AAC takes longest.
const FADE_MS: usize = 100;

/// A decoded frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The number that it carries; `None` when the code row cannot be read.
    pub number: Option<u32>,
    /// Whether it is one of a flash.
    pub white: bool,
    /// Whether there is nothing to see.
    pub black: bool,
}

/// Decodes the video of `file` and reads its frames in the order of presentation.
pub fn frames(file: &Path) -> Vec<Frame> {
    let filter = format!("scale={WIDTH}:{HEIGHT}:flags=area,format=gray");
    let picture = decode(file, &["-map", "0:v", "-vf", &filter, "-fps_mode", "passthrough", "-f", "rawvideo"]);
    assert_eq!(picture.len() % (WIDTH * HEIGHT), 0, "whole frames come out of {}", file.display());
    picture.chunks(WIDTH * HEIGHT).map(read_frame).collect()
}

fn decode(file: &Path, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-i"]).arg(file).args(arguments).arg("-");
    output(&mut command)
}

/// The mean colours of 4x4 areas of each frame, red, green and blue: what a decoder that believes the stream's words shows.
pub fn colours(file: &Path) -> Vec<Vec<u8>> {
    // RGB first: swscale shrinks subsampled colours by so much with visible errors.
    const AREAS: &str = "format=rgb24,scale=4:4:flags=area";
    let picture = decode(file, &["-map", "0:v", "-vf", AREAS, "-fps_mode", "passthrough", "-f", "rawvideo"]);
    picture.chunks(4 * 4 * 3).map(<[u8]>::to_vec).collect()
}

fn read_frame(pixels: &[u8]) -> Frame {
    let light = mean(pixels, PICTURE_ROWS, 0..WIDTH);
    Frame { number: read_number(pixels), white: light > WHITE_LEVEL, black: light < BLACK_LEVEL }
}

fn read_number(pixels: &[u8]) -> Option<u32> {
    let block = |index: usize| {
        let left = index * BLOCK_WIDTH;
        mean(pixels, CODE_ROWS, left + 2..left + BLOCK_WIDTH - 2)
    };
    let (white, black) = (block(0), block(1));
    // A row that is not there, or one that was washed out, is not read as a number.
    (white > black + 100).then_some(())?;
    let bits = |range: std::ops::Range<usize>| {
        range.rev().fold(0, |number, index| number << 1 | u32::from(block(index) > (white + black) / 2))
    };
    let (number, check) = (bits(2..18), bits(18..20));
    (number % 3 == check).then_some(number)
}

fn mean(pixels: &[u8], rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) -> u32 {
    let count = rows.len() * columns.len();
    let sum: u32 = rows.flat_map(|row| &pixels[row * WIDTH..][columns.clone()]).map(|pixel| u32::from(*pixel)).sum();
    sum / u32::try_from(count).expect("a frame is small")
}

/// Presentation times of samples in microseconds, in the order of presentation.
pub fn presentation_us(samples: &[Sample], timescale: u32) -> Vec<i64> {
    let mut times: Vec<_> = samples.iter().map(|sample| to_us(sample.pts, timescale)).collect();
    times.sort_unstable();
    times
}

fn to_us(units: i64, timescale: u32) -> i64 {
    units * 1_000_000 / i64::from(timescale)
}

/// Times of the first frame of each flash. `times` are those of `frames`.
pub fn flashes_us(frames: &[Frame], times: &[i64]) -> Vec<i64> {
    assert_eq!(frames.len(), times.len(), "each sample decodes to one frame");
    let starts = (0..frames.len()).filter(|&index| frames[index].white && (index == 0 || !frames[index - 1].white));
    starts.map(|index| times[index]).collect()
}

/// Decoded sound: the loudness of each millisecond.
#[derive(Clone, Debug)]
pub struct Sound {
    levels: Vec<f64>,
    start_us: i64,
}

impl Sound {
    /// Decodes the audio of `file`, whose first sample is presented at `start_us`.
    pub fn decode(file: &Path, start_us: i64) -> Self {
        let rate = RATE.to_string();
        let bytes = decode(file, &["-map", "0:a", "-ac", "1", "-ar", &rate, "-f", "s16le"]);
        let samples: Vec<_> = bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
        let levels = samples.chunks(WINDOW).map(level).collect();
        Sound { levels, start_us }
    }

    /// Makes these milliseconds silent, for tests of what finds it.
    pub fn mute(&mut self, millis: std::ops::Range<usize>) {
        self.levels[millis].fill(0.0);
    }

    /// Length in milliseconds.
    pub fn millis(&self) -> usize {
        self.levels.len()
    }

    /// Times where a beep begins; not in the first [`FADE_MS`], where that cannot be told.
    pub fn beeps_us(&self) -> Vec<i64> {
        let loud = |index: usize| self.levels[index] > BEEP_LEVEL;
        // A beep has ended when 10 ms were quiet: a window can fall into a zero crossing.
        let starts = (FADE_MS..self.levels.len()).filter(|&at| loud(at) && !(at - 10..at).any(loud));
        starts.map(|at| self.start_us + at as i64 * 1_000).collect()
    }

    /// Milliseconds of the longest silence, the first and the last [`FADE_MS`] apart.
    pub fn longest_silence_ms(&self) -> usize {
        let end = self.levels.len().saturating_sub(FADE_MS);
        let inner = &self.levels[FADE_MS.min(end)..end];
        inner.split(|level| *level > SILENCE_LEVEL).map(<[f64]>::len).max().unwrap_or(0)
    }
}

fn level(window: &[i16]) -> f64 {
    let sum: f64 = window.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    (sum / window.len() as f64).sqrt() / f64::from(i16::MAX)
}

/// How far the sound is behind the picture, for each flash that has a beep within half a second.
#[derive(Clone, Debug)]
pub struct Offsets {
    sorted_us: Vec<i64>,
}

impl Offsets {
    /// Pairs each flash with the nearest beep.
    pub fn measure(flashes: &[i64], beeps: &[i64]) -> Self {
        let nearest = |flash: &i64| beeps.iter().map(|beep| beep - flash).min_by_key(|offset| offset.abs());
        let mut sorted_us: Vec<_> = flashes.iter().filter_map(nearest).filter(|us| us.abs() < 500_000).collect();
        sorted_us.sort_unstable_by_key(|us| us.abs());
        Offsets { sorted_us }
    }

    /// Pairs that were found.
    pub fn count(&self) -> usize {
        self.sorted_us.len()
    }

    /// The offset that `percent` of the pairs do not pass, in microseconds; negative when sound comes first.
    pub fn percentile_us(&self, percent: usize) -> i64 {
        self.sorted_us[(self.sorted_us.len() * percent / 100).min(self.sorted_us.len() - 1)]
    }
}

/// What ffprobe says of the only stream in `file`.
pub fn probe(file: &Path) -> Value {
    let fields =
        "stream=codec_name,profile,level,width,height,pix_fmt,field_order,color_range,color_space,sample_rate,channels";
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-show_entries", fields, "-of", "json"]).arg(file);
    let answer: Value = serde_json::from_slice(&output(&mut command)).expect("ffprobe prints JSON");
    assert_eq!(answer["streams"].as_array().map(Vec::len), Some(1), "{answer}");
    answer["streams"][0].clone()
}

/// What ffprobe says of the streams of a file or URL that it reads to the end, the number of packets included. It must not warn of anything.
pub fn probe_silently(input: &str) -> Vec<Value> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "warning", "-count_packets", "-show_streams", "-of", "json", input]);
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{input}: {}: {said}", output.status);
    let answer: Value = serde_json::from_slice(&output.stdout).expect("ffprobe prints JSON");
    answer["streams"].as_array().expect("streams").clone()
}

/// Decodes all of `file`, first error out, and asserts that not one warning was said.
pub fn assert_decodes_silently(file: &Path) {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-v", "warning", "-xerror", "-i"]).arg(file).args(["-f", "null", "-"]);
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{}: {}: {said}", file.display(), output.status);
}

/// Draws a frame as `scripts/source.sh` does, at the size that frames are looked at in.
#[cfg(test)]
fn drawn(number: u32, white: bool) -> Vec<u8> {
    let mut pixels = vec![if white { 255 } else { 90 }; WIDTH * HEIGHT];
    for row in 0..11 {
        for column in 0..WIDTH {
            let lit = match column / BLOCK_WIDTH {
                0 => true,
                1 => false,
                block @ 2..18 => number >> (block - 2) & 1 == 1,
                block => (number % 3) >> (block - 18) & 1 == 1,
            };
            pixels[row * WIDTH + column] = if lit { 230 } else { 20 };
        }
    }
    pixels
}

#[test]
fn a_drawn_number_is_read_back_and_a_damaged_one_is_not() {
    for number in [0, 1, 2, 59, 1_023, 65_535] {
        let white = number % 2 == 0;
        let expected = Frame { number: Some(number), white, black: false };
        assert_eq!(read_frame(&drawn(number, white)), expected);
    }
    let mut damaged = drawn(6, false);
    for row in 0..11 {
        damaged[row * WIDTH + 3 * BLOCK_WIDTH..][..BLOCK_WIDTH].fill(20);
    }
    assert_eq!(read_number(&damaged), None, "one bit of 6 is gone and the check shows it");
    assert_eq!(read_number(&vec![128; WIDTH * HEIGHT]), None);
    assert_eq!(read_frame(&vec![0; WIDTH * HEIGHT]), Frame { number: None, white: false, black: true });
}

#[test]
fn offsets_are_those_of_the_nearest_beep() {
    let offsets = Offsets::measure(&[0, 1_000_000, 2_000_000, 9_000_000], &[5_000, 999_000, 2_010_000]);
    assert_eq!((offsets.count(), offsets.percentile_us(50), offsets.percentile_us(100)), (3, 5_000, 10_000));
}
