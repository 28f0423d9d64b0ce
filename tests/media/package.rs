//! What the packager writes, read by FFmpeg: a file that the real encoder made goes through packager and window, and
//! comes out with every frame, in files that decode without a message.

use std::path::Path;
use std::process::{Command, Output as Ran};
use std::sync::Arc;

use bytes::Bytes;
use millstream::media::segment::{Rendition, RenditionId, RenditionUnit};
use millstream::media::{
    AudioCodec, AudioTrack, Cut, CutKind, Kind, Output, Packet, Span, Timestamp, Track, Unit, VideoCodec, VideoTrack,
    WallTime,
};
use millstream::package::{LatePackets, PackageSettings, Packager, Window, WindowSettings};

const VIDEO: RenditionId = RenditionId(0);
const AUDIO: RenditionId = RenditionId(1);
/// Where a session's timeline begins.
const ZERO: Timestamp = Timestamp::from_millis(10_000);

fn run(program: &str, arguments: &[&str]) -> Ran {
    Command::new(program).args(arguments).output().expect("FFmpeg's tools are installed")
}

/// What the program prints. It must succeed and say nothing else.
fn quietly(program: &str, arguments: &[&str]) -> String {
    let ran = run(program, arguments);
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.is_empty(), "{program} {arguments:?}: {}\n{said}", ran.status);
    String::from_utf8_lossy(&ran.stdout).trim().to_owned()
}

/// Hash of all decoded frames, whatever their times.
fn decoded(input: &str, map: &str) -> String {
    quietly(
        "ffmpeg",
        &["-v", "warning", "-xerror", "-i", input, "-map", map, "-fps_mode", "passthrough", "-f", "md5", "-"],
    )
}

fn packets(input: &str, stream: &str) -> String {
    let entries = "stream=nb_read_packets";
    let arguments = ["-v", "warning", "-select_streams", stream, "-count_packets", "-show_entries", entries];
    let printed = quietly("ffprobe", &[&arguments[..], &["-of", "csv=p=0", input]].concat());
    // HLS has programs, and each says the number again.
    printed.lines().next().unwrap_or_default().to_owned()
}

/// 7 s of moving picture and tone: B-frames, a closed GOP of 1 s, AAC; FLV rounds all times to milliseconds.
fn encode(file: &str, rate: &str, sample_rate: &str) {
    let picture = format!("testsrc2=size=320x240:rate={rate}:duration=7");
    let tone = format!("sine=frequency=440:sample_rate={sample_rate}:duration=7");
    let arguments = ["-v", "error", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &tone];
    let codecs = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-bf", "3", "-c:a", "aac"];
    let keyframes = ["-force_key_frames", "expr:gte(t,n_forced)", "-sc_threshold", "0", "-f", "flv", file];
    quietly("ffmpeg", &[&arguments[..], &codecs, &keyframes].concat());
}

/// One FLV tag: type, time in milliseconds, body.
type Tag = (u8, i64, Bytes);

/// Just enough of FLV for a file of our own making: a 9-byte header, then tags, each behind the length of the one
/// before.
fn tags(file: &Path) -> Vec<Tag> {
    let mut rest = Bytes::from(std::fs::read(file).expect("ffmpeg wrote it")).slice(9 + 4..);
    let mut tags = Vec::new();
    while rest.len() > 11 {
        let len = u32::from_be_bytes([0, rest[1], rest[2], rest[3]]) as usize;
        let millis = u32::from_be_bytes([rest[7], rest[4], rest[5], rest[6]]);
        tags.push((rest[0], millis.into(), rest.slice(11..11 + len)));
        rest = rest.slice(11 + len + 4..);
    }
    tags
}

fn video_track(config: Bytes) -> Track {
    Track::Video(VideoTrack {
        codec: VideoCodec::H264,
        codecs: format!("avc1.{:02x}{:02x}{:02x}", config[1], config[2], config[3]),
        config,
        width: 320,
        height: 240,
        sample_aspect: (1, 1),
        frame_rate: None,
        plain: true,
    })
}

fn audio_track(config: Bytes, sample_rate: u32) -> Track {
    let codecs = "mp4a.40.2".to_owned();
    Track::Audio(AudioTrack {
        codec: AudioCodec::Aac,
        config,
        codecs,
        sample_rate,
        channels: 1,
        samples_per_frame: 1_024,
    })
}

/// The units of the file in its order, as ingest would hand them on: a cut at the first keyframe 2 s behind the last
/// one, audio counted in samples.
fn units(tags: &[Tag], sample_rate: u32) -> Vec<(Kind, Unit)> {
    let mut units = Vec::new();
    let mut last_cut: Option<(u64, Timestamp)> = None;
    let mut samples = 0;
    let millis = |millis: i64| ZERO + Span::from_millis(millis);
    for (kind, time, body) in tags {
        match (kind, body.get(1)) {
            (9, Some(0)) => units.push((Kind::Video, Unit::Track(Arc::new(video_track(body.slice(5..)))))),
            (8, Some(0)) => units.push((Kind::Audio, Unit::Track(Arc::new(audio_track(body.slice(2..), sample_rate))))),
            (9, Some(1)) => {
                let offset = i32::from_be_bytes([body[2], body[3], body[4], 0]) >> 8;
                let (dts, pts) = (millis(*time), millis(*time + i64::from(offset)));
                let keyframe = body[0] >> 4 == 1;
                if keyframe && last_cut.is_none_or(|(_, at)| pts - at >= Span::from_millis(1_990)) {
                    let msn = last_cut.map_or(0, |(msn, _)| msn + 1);
                    last_cut = Some((msn, pts));
                    // Audio begins with the picture's first frame, and its first packets lie before it.
                    let at = if msn == 0 { ZERO } else { pts };
                    let wall = WallTime::from_unix_millis(1_800_000_000_000).saturating_add(at - ZERO);
                    let kind = CutKind::Keyframe;
                    let cut = Cut { msn, at, wall, discontinuity: false, copy_ends: false, kind };
                    units.push((Kind::Video, Unit::Cut(cut.clone())));
                    units.push((Kind::Audio, Unit::Cut(cut)));
                }
                let (kind, duration, data) = (Kind::Video, Span::ZERO, body.slice(5..));
                units.push((kind, Unit::Packet(Packet { kind, dts, pts, duration, keyframe, data })));
            }
            (8, Some(1)) => {
                let pts = ZERO + Span::from_units(1_024 * samples, sample_rate);
                samples += 1;
                let (kind, duration, data) = (Kind::Audio, Span::from_units(1_024, sample_rate), body.slice(2..));
                units.push((kind, Unit::Packet(Packet { kind, dts: pts, pts, duration, keyframe: true, data })));
            }
            _ => {}
        }
    }
    units.extend([(Kind::Video, Unit::End), (Kind::Audio, Unit::End)]);
    units
}

/// Packages the file into a window that lists all of it.
fn package(tags: &[Tag], sample_rate: u32) -> Window {
    let rendition = |name: &str, kind, bandwidth| Rendition {
        name: name.to_owned(),
        kind,
        copied: true,
        bandwidth,
        frame_rate: None,
    };
    let renditions = Arc::new([rendition("240p", Kind::Video, 900_000), rendition("audio", Kind::Audio, 150_000)]);
    let part_target = Span::from_millis(334);
    let settings = PackageSettings { epoch: 1, part_target, renditions: renditions.clone(), resume: Vec::new() };
    let mut packager = Packager::new(settings);
    let (window, segment_target) = (Span::from_secs(60), Span::from_secs(2));
    let window = Window::new(renditions, WindowSettings { window, segment_target, start: Vec::new() });
    let mut out: Vec<Output> = Vec::new();
    let mut units = units(tags, sample_rate);
    // Audio that stands before the first cut in the file belongs behind it.
    units.sort_by_key(|(_, unit)| match unit {
        Unit::Track(_) => 0,
        Unit::Cut(cut) if cut.msn == 0 => 1,
        _ => 2,
    });
    for (kind, unit) in units {
        let rendition = if kind == Kind::Video { VIDEO } else { AUDIO };
        packager.push(RenditionUnit { rendition, unit }, &mut out).expect("the units are in order");
        out.drain(..).for_each(|output| window.apply(&output));
    }
    assert_eq!(packager.late_packets().iter().map(LatePackets::count).sum::<u64>(), 0);
    window
}

/// Writes a rendition's files beside its playlist, and all of them into one file; returns that file.
fn store(window: &Window, rendition: RenditionId, folder: &Path) -> String {
    let view = window.rendition(rendition).expect("it is there");
    let folder = folder.join(&window.renditions()[usize::from(rendition.0)].name);
    std::fs::create_dir(&folder).expect("a new folder");
    std::fs::write(folder.join("index.m3u8"), view.text()).expect("room");
    let init = view.inits()[0].bytes.clone();
    std::fs::write(folder.join("init-0.mp4"), &init).expect("room");
    let mut whole = init.to_vec();
    for segment in view.segments() {
        let bytes = window.media(rendition, segment.name()).expect("it is in memory").concat();
        std::fs::write(folder.join(segment.name().to_string()), &bytes).expect("room");
        whole.extend_from_slice(&bytes);
    }
    let file = folder.join("whole.mp4");
    std::fs::write(&file, whole).expect("room");
    text(&file)
}

fn text(path: &Path) -> String {
    path.to_str().expect("temporary folders are UTF-8").to_owned()
}

fn passes(rate: &str, sample_rate: u32) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = folder.path().join("source.flv");
    encode(&text(&source), rate, &sample_rate.to_string());
    let window = package(&tags(&source), sample_rate);
    let source = text(&source);
    let [video, audio] = [VIDEO, AUDIO].map(|rendition| store(&window, rendition, folder.path()));

    // Every packet is there, and every decoded frame is the source's.
    assert_eq!((packets(&video, "v"), packets(&audio, "a")), (packets(&source, "v"), packets(&source, "a")));
    assert_eq!(decoded(&video, "0:v"), decoded(&source, "0:v"));
    assert_eq!(decoded(&audio, "0:a"), decoded(&source, "0:a"));

    // An HLS client finds it all through the multivariant playlist.
    let index = folder.path().join("index.m3u8");
    let multivariant = window.multivariant().expect("everything has begun").render("");
    std::fs::write(&index, multivariant).expect("room");
    let index = text(&index);
    assert_eq!((packets(&index, "v"), packets(&index, "a")), (packets(&source, "v"), packets(&source, "a")));

    // A segment needs nothing but its init segment.
    let view = window.rendition(VIDEO).expect("it is there");
    let second = view.segments().nth(1).expect("7 s are several segments");
    let alone = folder.path().join("alone.mp4");
    let bytes = window.media(VIDEO, second.name()).expect("it is in memory").concat();
    std::fs::write(&alone, [&view.inits()[0].bytes[..], &bytes].concat()).expect("room");
    decoded(&text(&alone), "0:v");
}

#[test]
fn every_frame_at_25_fps_with_48_khz() {
    passes("25", 48_000);
}

#[test]
fn every_frame_at_the_ntsc_rate_with_44_1_khz() {
    passes("30000/1001", 44_100);
}
