//! Codecs as FFmpeg multiplexes them, made here, against what its own reader says of the same file.

use std::path::{Path, PathBuf};
use std::process::Command;

use millstream::media::{AudioCodec, AudioTrack, Kind, VideoCodec};
use millstream::wire::ts::{Event, Streams, Unit};
use tempfile::TempDir;

use super::{demux, units};

/// The program's standard output. It must succeed.
fn run(program: &str, arguments: &[&str]) -> String {
    let ran = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{program} {arguments:?}: {}\n{said}", ran.status);
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// A transport stream of 2 s and what comes of it.
struct Made {
    path: PathBuf,
    streams: Streams,
    track: AudioTrack,
    units: Vec<Unit>,
    folder: TempDir,
}

impl Made {
    /// Synthetic pictures and sound of 48 kHz, encoded and multiplexed with these options.
    fn new(options: &[&str]) -> Self {
        let source = [
            "-f",
            "lavfi",
            "-i",
            "testsrc2=s=320x180:r=30",
            "-f",
            "lavfi",
            "-i",
            "sine=440:sample_rate=48000",
            "-t",
            "2",
            "-ac",
            "2",
            "-g",
            "30",
        ];
        let folder = tempfile::tempdir().expect("a folder");
        Self::of(&source, options, folder)
    }

    /// The same media, multiplexed with these options.
    fn again(self, options: &[&str]) -> Self {
        let path = self.path.to_str().expect("UTF-8").to_owned();
        Self::of(&["-i", &path, "-c", "copy"], options, self.folder)
    }

    fn of(input: &[&str], options: &[&str], folder: TempDir) -> Self {
        let path = (0..).map(|number| folder.path().join(format!("{number}.ts"))).find(|path| !path.exists());
        let path = path.expect("there are numbers enough");
        let output = ["-threads", "1", "-f", "mpegts", path.to_str().expect("UTF-8")];
        run("ffmpeg", &[&["-nostdin", "-v", "error"], input, options, &output].concat());
        let events = demux(&std::fs::read(&path).expect("written"), &[1_316]);
        let refused = events.iter().find(|event| matches!(event, Event::Refused(_)));
        assert_eq!(refused, None);
        let streams = events
            .iter()
            .find_map(|event| if let Event::Streams(streams) = event { Some(streams.clone()) } else { None });
        let tracks: Vec<_> = events
            .iter()
            .filter_map(|event| if let Event::AudioConfig(track) = event { Some(track.clone()) } else { None })
            .collect();
        assert_eq!(tracks.len(), 1, "{tracks:?}");
        Made {
            streams: streams.expect("streams"),
            track: tracks[0].clone(),
            units: units(&events).into_iter().cloned().collect(),
            path,
            folder,
        }
    }

    fn units(&self, kind: Kind) -> Vec<&Unit> {
        self.units.iter().filter(|unit| unit.kind == kind).collect()
    }

    /// Asserts that pictures and sound have the stamps and sizes that ffprobe says, sound being `header` bytes longer there.
    fn assert_as_probed(&self, header: Option<usize>) {
        let (video, video_probed) = (self.units(Kind::Video), probed(&self.path, "v"));
        let stamps = video.iter().map(|unit| (unit.pts, unit.dts.or(unit.pts)));
        let stamps_probed = video_probed.iter().map(|(pts, dts, _)| (Some(*pts), Some(*dts)));
        assert_eq!(stamps.collect::<Vec<_>>(), stamps_probed.collect::<Vec<_>>());
        // FFmpeg's parser of HEVC counts the first zero of a start code to the picture before.
        let bytes: Vec<_> = video.iter().map(|unit| unit.data.len()).collect();
        assert!(video_probed.iter().zip(&bytes).all(|((.., probed), bytes)| probed.abs_diff(*bytes) <= 1), "{bytes:?}");
        assert_eq!(bytes.iter().sum::<usize>(), video_probed.iter().map(|(.., bytes)| bytes).sum::<usize>());
        let sizes = header.map_or(0, |_| 1);
        let audio = self.units(Kind::Audio).into_iter().map(|unit| {
            // Exact at 48 kHz for frames of a multiple of 8 samples.
            let pts = unit.pts.expect("a stamp") + unit.samples_after * 90_000 / u64::from(self.track.sample_rate);
            (pts, pts, (unit.data.len() + header.unwrap_or(0)) * sizes)
        });
        let probed = probed(&self.path, "a").into_iter().map(|(pts, dts, bytes)| (pts, dts, bytes * sizes));
        assert_eq!(audio.collect::<Vec<_>>(), probed.collect::<Vec<_>>());
    }
}

/// PTS, DTS and bytes of each packet of a stream.
fn probed(path: &Path, stream: &str) -> Vec<(u64, u64, usize)> {
    let path = path.to_str().expect("UTF-8");
    let entries = ["-select_streams", stream, "-show_entries", "packet=pts,dts,size", "-of", "csv=p=0:nk=1"];
    let text = run("ffprobe", &[&["-v", "error"], &entries[..], &[path]].concat());
    let packets = text.lines().filter(|line| !line.is_empty()).map(|line| {
        let mut fields = line.trim_end_matches(',').split(',');
        let mut field = || fields.next().unwrap_or_else(|| panic!("{line}"));
        let mut number = || field().parse().unwrap_or_else(|error| panic!("{line}: {error}"));
        (number(), number(), number() as usize)
    });
    packets.collect()
}

const H264: [&str; 4] = ["-c:v", "libx264", "-preset", "ultrafast"];

fn with_sound(options: &[&str]) -> Made {
    Made::new(&[&H264, options].concat())
}

#[test]
fn h264_and_aac_in_both_framings() {
    let adts = with_sound(&["-c:a", "aac"]);
    assert_eq!(adts.streams.audio.map(|(_, codec)| codec), Some(AudioCodec::Aac));
    adts.assert_as_probed(Some(7));
    let frames: Vec<_> = adts.units(Kind::Audio).into_iter().map(|unit| unit.data.clone()).collect();
    let track = adts.track.clone();
    let latm = with_sound(&["-c:a", "aac", "-mpegts_flags", "latm"]);
    latm.assert_as_probed(None);
    assert_eq!((&latm.track.config[..2], latm.track.sample_rate, latm.track.channels), (&track.config[..], 48_000, 2));
    let same: Vec<_> = latm.units(Kind::Audio).into_iter().map(|unit| unit.data.clone()).collect();
    assert_eq!(same, frames, "the same frames in LATM");
}

#[test]
fn hevc() {
    let made = Made::new(&["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none", "-c:a", "aac"]);
    assert_eq!(made.streams.video, Some((0x100, VideoCodec::Hevc)));
    assert_eq!(made.units(Kind::Video).len(), 60);
    assert!(made.units(Kind::Video)[0].random_access);
    made.assert_as_probed(Some(7));
}

#[test]
fn mp2_and_mp3() {
    let mp2 = with_sound(&["-c:a", "mp2"]);
    mp2.assert_as_probed(Some(0));
    assert_eq!((mp2.track.codec, &mp2.track.codecs[..]), (AudioCodec::MpegAudio, "mp4a.6b"));
    assert_eq!((mp2.track.sample_rate, mp2.track.channels, mp2.track.samples_per_frame), (48_000, 2, 1_152));
    with_sound(&["-c:a", "libmp3lame"]).assert_as_probed(Some(0));
}

#[test]
fn ac3_as_atsc_and_as_dvb_and_its_successor() {
    let atsc = with_sound(&["-c:a", "ac3"]);
    atsc.assert_as_probed(Some(0));
    assert_eq!((atsc.track.codec, atsc.track.sample_rate, atsc.track.channels), (AudioCodec::Ac3, 48_000, 2));
    let dvb = atsc.again(&["-mpegts_flags", "system_b"]);
    dvb.assert_as_probed(Some(0));
    assert_eq!(dvb.streams.audio.map(|(_, codec)| codec), Some(AudioCodec::Ac3));
    let successor = with_sound(&["-c:a", "eac3"]);
    successor.assert_as_probed(Some(0));
    assert_eq!((successor.track.codec, successor.track.samples_per_frame), (AudioCodec::Eac3, 1_536));
}

#[test]
fn opus() {
    let made = with_sound(&["-c:a", "libopus"]);
    made.assert_as_probed(Some(0));
    assert_eq!((made.track.codec, made.track.channels, made.track.samples_per_frame), (AudioCodec::Opus, 2, 960));
    assert!(made.track.config.starts_with(b"OpusHead\x01\x02"));
}
