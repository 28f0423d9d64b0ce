//! The instruments, measured on what is known: the source itself, and a fragmented file of another writer.

use std::process::Command;

use crate::support::boxes::{self, Init};
use crate::support::browser::{Browser, is_switched_off};
use crate::support::content::{self, Expectation, Pictures, Report, Sound};
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

/// The source itself, as if it were what came out.
fn source_report(source: &Source) -> Report {
    let frames = content::frames(&source.path);
    let times_us = (0..frames.len() as i64).map(|frame| frame * 1_000_000 / i64::from(source.fps)).collect();
    // The encoder's priming comes out of the decoder in front of the first sample.
    let sound = Sound::decode(&source.path, -1_024 * 1_000_000 / 48_000);
    Report { name: "source".to_owned(), frames, times_us, sound: vec![sound] }
}

#[test]
fn the_source_carries_what_the_tests_look_for() {
    let source = Source::small(12);
    let report = source_report(&source);
    report.assert_whole(&Expectation::whole(source.frames(), source.seconds));
    assert_eq!(report.flashes_us(), (0..12).map(|second| second * 1_000_000).collect::<Vec<_>>());
    assert!(report.offsets().percentile_us(100).abs() < 5_000, "{:?}", report.offsets());
    assert_eq!((report.longest_silence_ms(), report.longest_pause_us()), (0, 33_334));
}

#[test]
fn what_is_wrong_with_picture_or_sound_is_found() {
    let source = Source::small(12);
    let report = source_report(&source);
    for change in [
        |report: &mut Report| _ = (report.frames.remove(7), report.times_us.pop()),
        |report: &mut Report| (report.frames.insert(7, report.frames[7]), report.times_us.push(12_000_000)).1,
        |report: &mut Report| report.frames.swap(7, 8),
        |report: &mut Report| report.frames[7].number = None,
        |report: &mut Report| report.frames[7].black = true,
        |report: &mut Report| report.frames.iter_mut().for_each(|frame| frame.white = false),
        |report: &mut Report| report.times_us.iter_mut().for_each(|time| *time += 30_000),
        |report: &mut Report| report.sound.clear(),
        |report: &mut Report| report.sound[0].mute(5_010..5_050),
    ] {
        let mut changed = report.clone();
        change(&mut changed);
        let expected = Expectation::whole(source.frames(), source.seconds);
        let found = std::panic::catch_unwind(|| changed.assert_whole(&expected));
        assert!(found.is_err(), "{}", changed.summary());
    }
}

#[test]
fn less_than_everything_can_be_expected() {
    let source = Source::small(12);
    let whole = Expectation::whole(source.frames(), source.seconds);
    let mut shed = source_report(&source);
    // Every second picture is left out; flashes last three, so each is seen still, though it may begin a picture later.
    let odd = (0..shed.frames.len()).filter(|n| n % 2 == 1);
    (shed.frames, shed.times_us) = odd.map(|n| (shed.frames[n], shed.times_us[n])).unzip();
    let expected = Expectation { av_limit_us: 50_000, ..whole.clone() };
    shed.assert_whole(&expected.clone().pictures(Pictures::Rising { at_least: 180 }));
    shed.frames[7].number = None;
    shed.assert_whole(&expected.pictures(Pictures::Count(180)));
    let silent = Report { sound: Vec::new(), ..source_report(&source) };
    silent.assert_whole(&whole.clone().without_sound());
    let heard = Report { frames: Vec::new(), times_us: Vec::new(), ..source_report(&source) };
    heard.assert_whole(&whole.without_pictures());
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
