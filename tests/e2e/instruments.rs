//! The instruments, measured on what is known: the source itself, and a fragmented file of another writer.

use std::process::Command;

use crate::support::boxes::{self, Init};
use crate::support::browser::{Browser, is_switched_off};
use crate::support::content::{self, Offsets, Sound};
use crate::support::process::output;
use crate::support::source::Source;

/// A file as `ffmpeg` fragments it: one track, without the edit list that it would like to write.
fn fragmented(source: &Source, track: &str, folder: &tempfile::TempDir) -> std::path::PathBuf {
    let file = folder.path().join(format!("{track}.mp4"));
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-i"]).arg(&source.path);
    command.args(["-map", &format!("0:{track}"), "-c", "copy", "-copyts", "-use_editlist", "0"]);
    command.args(["-movflags", "empty_moov+frag_keyframe+default_base_moof"]);
    output(command.arg(&file));
    file
}

#[test]
fn the_source_carries_what_the_tests_look_for() {
    let source = Source::small(12);
    let frames = content::frames(&source.path);
    content::assert_every_frame_once("source", &frames, 0, source.frames());
    let times: Vec<_> = (0..frames.len() as i64).map(|frame| frame * 1_000_000 / i64::from(source.fps)).collect();
    let flashes = content::flashes_us(&frames, &times);
    assert_eq!(flashes, (0..12).map(|second| second * 1_000_000).collect::<Vec<_>>());
    // The encoder's priming comes out of the decoder in front of the first sample.
    let sound = Sound::decode(&source.path, -1_024 * 1_000_000 / 48_000);
    let offsets = Offsets::measure(&flashes, &sound.beeps_us());
    assert!(offsets.count() >= 11 && offsets.percentile_us(100).abs() < 5_000, "{offsets:?}");
    assert_eq!(sound.longest_silence_ms(), 0);
}

#[test]
fn a_lost_a_doubled_and_a_late_frame_are_found() {
    let frames = content::frames(&Source::small(12).path);
    for change in [
        |frames: &mut Vec<content::Frame>| _ = frames.remove(7),
        |frames: &mut Vec<content::Frame>| frames.insert(7, frames[7]),
        |frames: &mut Vec<content::Frame>| frames.swap(7, 8),
        |frames: &mut Vec<content::Frame>| frames[7].number = None,
    ] {
        let mut changed = frames.clone();
        change(&mut changed);
        let found = std::panic::catch_unwind(|| content::assert_every_frame_once("changed", &changed, 0, 360));
        assert!(found.is_err());
    }
}

#[test]
fn the_box_reader_agrees_with_ffprobe() {
    let source = Source::small(12);
    let folder = tempfile::tempdir().expect("a folder");
    for (track, timescale_divides) in [("v", 1_000), ("a", 48_000)] {
        let file = fragmented(&source, track, &folder);
        let bytes = std::fs::read(&file).expect("ffmpeg wrote it");
        let init = Init::parse(&bytes);
        assert!(!init.edit_list && init.timescale.is_multiple_of(timescale_divides), "{init:?}");
        assert_eq!(init.avc.is_some(), track == "v");
        let samples = boxes::samples(&bytes);
        let packets = probed_packets(&file);
        assert_eq!(samples.len(), packets.len(), "{track}");
        for (sample, packet) in samples.iter().zip(&packets) {
            assert_eq!((sample.pts, sample.dts as i64, i64::from(sample.size)), *packet, "{track}");
        }
        // Fragments begin where the one before them ended, so all durations are seen.
        assert!(samples.windows(2).all(|pair| pair[0].dts + u64::from(pair[0].duration) == pair[1].dts), "{track}");
    }
}

/// PTS, DTS (units of the track) and size of each packet.
fn probed_packets(file: &std::path::Path) -> Vec<(i64, i64, i64)> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-show_entries", "packet=pts,dts,size", "-of", "csv=p=0"]);
    let text = String::from_utf8(output(command.arg(file))).expect("ffprobe prints text");
    let line = |line: &str| {
        let numbers: Vec<i64> = line.trim_end_matches(',').split(',').map(|n| n.parse().expect("a number")).collect();
        (numbers[0], numbers[1], numbers[2])
    };
    text.lines().map(line).collect()
}

#[test]
fn the_browser_answers_and_plays_h264() {
    if is_switched_off() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = fragmented(&Source::small(12), "v", &folder);
    let mut page = Browser::start();
    page.open(&format!("file://{}", file.display()));
    let limit = std::time::Duration::from_secs(30);
    page.wait_for("document.querySelector('video').currentTime > 0.5", limit);
    assert_eq!(page.evaluate("document.querySelector('video').videoHeight", limit), serde_json::json!(360));
    let picture = folder.path().join("page.png");
    page.screenshot(&picture);
    assert!(std::fs::read(&picture).is_ok_and(|bytes| bytes.starts_with(b"\x89PNG")));
}
