//! What OBS, FFmpeg and GStreamer really send comes out whole.

mod ingest_support;

use std::process::Command;
use std::time::Duration;

use ingest_support::{Rig, Timeline, capture};
use millstream::ingest::{IngestStats, Settings};
use millstream::media::codec::h264;
use millstream::media::{Kind, Span, Track};
use millstream::wire::flv::file::read_all;
use millstream::wire::flv::{AudioTag, Tag, TagKind, VideoTag, parse_audio, parse_video};

/// Frames of both kinds in the source, as (stamp, presentation in ms).
fn frames(tags: &[Tag]) -> (Vec<i64>, Vec<i64>) {
    let (mut pictures, mut sound) = (Vec::new(), Vec::new());
    for tag in tags {
        let stamp = i64::from(tag.timestamp_ms);
        match tag.kind {
            TagKind::Video => {
                if let Ok(VideoTag::Frame { composition_ms, .. }) = parse_video(&tag.data) {
                    pictures.push(stamp + i64::from(composition_ms));
                }
            }
            TagKind::Audio => {
                if let Ok(AudioTag::Frame { .. }) = parse_audio(&tag.data) {
                    sound.push(stamp);
                }
            }
            TagKind::Script => {}
        }
    }
    (pictures, sound)
}

fn run(tags: &[Tag]) -> (Timeline, IngestStats) {
    let mut rig = Rig::new(Settings::default());
    let mut last = tags.first().map_or(0, |tag| tag.timestamp_ms);
    for tag in tags {
        rig.wait(u64::from(tag.timestamp_ms.saturating_sub(last)));
        last = last.max(tag.timestamp_ms);
        rig.tag(tag.clone());
    }
    let stats = rig.ingest.stats();
    (rig.end(), stats)
}

/// Pictures with the stamp of the one before: GStreamer begins with three of them.
fn doubled_stamps(tags: &[Tag]) -> u64 {
    let is_picture =
        |tag: &&Tag| matches!(parse_video(&tag.data), Ok(VideoTag::Frame { .. })) && tag.kind == TagKind::Video;
    let stamps: Vec<u32> = tags.iter().filter(is_picture).map(|tag| tag.timestamp_ms).collect();
    stamps.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64
}

/// Every picture and every sound from the first keyframe on, once, and as far apart as the source had them.
fn assert_whole(tags: &[Tag]) -> Timeline {
    let (pictures, sound) = frames(tags);
    let (timeline, stats) = run(tags);
    assert_eq!(timeline.video.len(), pictures.len());
    assert_eq!((timeline.discontinuities(), stats.gaps), (0, 0), "{stats:?}");
    assert_eq!(stats.repairs, doubled_stamps(tags), "{stats:?}");
    let trimmed = stats.dropped.trimmed_audio as usize;
    assert_eq!(timeline.audio.len() + trimmed, sound.len());
    assert!(trimmed < 6, "{trimmed}");
    // PTS of all pictures are the source's, moved by one offset.
    let offset = timeline.video[0].pts.to_units(1_000) - pictures[0];
    for (packet, source) in timeline.video.iter().zip(&pictures) {
        assert_eq!(packet.pts.to_units(1_000), source + offset);
    }
    // Sound lies where it lay, but for the millisecond rounding and what the count smooths.
    for (packet, source) in timeline.audio.iter().zip(&sound[trimmed..]) {
        let off = (packet.pts.to_units(1_000) - source - offset).abs();
        assert!(off <= 2, "{off} ms at {source}");
        assert_eq!(packet.duration, Span::from_units(1_024, 48_000));
    }
    for packet in &timeline.video {
        let types: Vec<u8> = h264::nals_length_prefixed(&packet.data, 4)
            .map(|nal| h264::nal_type(nal.expect("whole NAL units")))
            .collect();
        assert!(!types.iter().any(|kind| (7..=9).contains(kind)), "{types:?}");
        assert_eq!(packet.keyframe, types.contains(&h264::NAL_IDR));
    }
    timeline
}

fn assert_tracks(timeline: &Timeline, width: u32, height: u32) {
    let [Track::Video(video), Track::Audio(audio)] = &timeline.tracks[..] else { panic!("{:?}", timeline.tracks) };
    assert_eq!((video.width, video.height, video.plain), (width, height, true));
    assert_eq!((audio.codecs.as_str(), audio.sample_rate, audio.channels), ("mp4a.40.2", 48_000, 2));
}

#[test]
fn captures_of_three_encoders() {
    for (file, pictures) in
        [("obs-29-rtmp-c2s.bin", 178), ("ffmpeg-5.1-rtmp-c2s.bin", 180), ("gst-1.22-rtmp2sink-c2s.bin", 180)]
    {
        let timeline = assert_whole(&capture(file));
        assert_tracks(&timeline, 640, 360);
        assert_eq!(timeline.video.len(), pictures, "{file}");
        assert_eq!(timeline.cuts.len(), 3, "{file}: {:?}", timeline.cut_ms());
        // GStreamer's first stamp is 21 ms late against the others.
        let off = |(cut, expected): (&i64, i64)| (cut - expected).abs();
        assert!(
            timeline.cut_ms().iter().zip([0, 2_000, 4_000]).map(off).all(|off| off <= 21),
            "{:?}",
            timeline.cut_ms()
        );
    }
}

#[test]
fn the_same_capture_twice_is_a_session_with_one_discontinuity() {
    let tags = capture("obs-29-rtmp-c2s.bin");
    let mut rig = Rig::new(Settings::default());
    for _ in 0..2 {
        rig.push(millstream::ingest::Input::Connected).expect("nothing to reject");
        for tag in &tags {
            rig.monotonic += Duration::from_millis(13);
            rig.tag(tag.clone());
        }
        rig.disconnect();
    }
    let timeline = rig.end();
    assert_eq!((timeline.discontinuities(), timeline.tracks.len()), (1, 2));
    assert_eq!(timeline.video.len(), 2 * 178);
}

/// A file that the `ffmpeg` binary writes now.
fn made_by_ffmpeg(arguments: &[&str]) -> Vec<Tag> {
    let inputs = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30", "-f", "lavfi", "-i", "sine=sample_rate=48000"];
    let sound = ["-c:a", "aac", "-ac", "2", "-b:a", "64k"];
    let output = Command::new("ffmpeg")
        .args(["-v", "error"])
        .args(inputs)
        .args(["-t", "9", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast"])
        .args(sound)
        .args(arguments)
        .args(["-f", "flv", "-"])
        .output()
        .expect("ffmpeg is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    read_all(&output.stdout).expect("an FLV file")
}

#[test]
fn ffmpeg_with_b_frames_and_short_groups() {
    let timeline = assert_whole(&made_by_ffmpeg(&["-bf", "3", "-g", "15"]));
    assert_tracks(&timeline, 320, 180);
    assert_eq!(timeline.cuts.len(), 5, "{:?}", timeline.cut_ms());
    assert!(timeline.cuts.windows(2).all(|pair| ((pair[1].at - pair[0].at).to_millis() - 2_000).abs() <= 1));
}

#[test]
fn ffmpeg_without_b_frames_and_with_a_long_group() {
    let timeline = assert_whole(&made_by_ffmpeg(&["-bf", "0", "-g", "250"]));
    assert!(timeline.longest_segment() < Span::from_millis(2_500), "{:?}", timeline.cut_ms());
    assert_eq!(timeline.video.iter().filter(|packet| packet.keyframe).count(), 2);
    let sound: Span =
        timeline.audio.iter().filter(|packet| packet.kind == Kind::Audio).map(|packet| packet.duration).sum();
    assert!(sound > Span::from_millis(8_900));
}

/// A raw AAC frame behind an ADTS header (ISO/IEC 13818-7 6.2): AAC-LC, 48 kHz.
fn adts(frame: &[u8], channels: u8) -> Vec<u8> {
    let length = frame.len() + 7;
    let mut out = vec![0xff, 0xf1, 1 << 6 | 3 << 2 | channels >> 2, (channels & 3) << 6 | (length >> 11) as u8];
    out.extend([(length >> 3) as u8, (length << 5) as u8 | 0x1f, 0xfc]);
    out.extend(frame);
    out
}

#[test]
fn frames_of_silence_decode_to_silence() {
    use millstream::media::codec::aac::{silent_frame, track_from_config};
    use std::io::Write;
    for (asc, channels) in [(&[0x11u8, 0x88], 1u8), (&[0x11, 0x90], 2)] {
        let track = track_from_config(asc.to_vec().into()).expect("valid");
        let frame = silent_frame(&track).expect("known");
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        for _ in 0..20 {
            file.write_all(&adts(&frame, channels)).expect("room");
        }
        let output = Command::new("ffmpeg")
            .args(["-v", "error", "-xerror", "-f", "aac", "-i"])
            .arg(file.path())
            .args(["-f", "s16le", "-"])
            .output()
            .expect("ffmpeg is installed");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(output.stdout.len(), 20 * 1_024 * 2 * usize::from(channels));
        assert!(output.stdout.iter().all(|byte| *byte == 0));
    }
}
