//! Messages of enhanced RTMP, of packets that the real `ffmpeg` has coded.
//!
//! FFmpeg 5.1 and OBS 29.0 cannot send them, so this writer is the peer: from the facts of the specification (Enhanced RTMP v2), and
//! not with the daemon's own writer. `ffmpeg` codes into MP4, `ffprobe` says where each packet lies in it, and the configuration is
//! the body of its sample entry's box.

#![allow(dead_code)] // each test module uses its part

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;

use super::flv::{Kind, Tag};
use super::process::output;
use super::source::Source;

/// A codec that enhanced RTMP carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// With B-frames.
    H264,
    /// With B-frames.
    Hevc,
    /// By SVT-AV1.
    Av1,
    /// By libvpx.
    Vp9,
    /// AAC-LC.
    Aac,
    /// In packets of 20 ms.
    Opus,
    /// Dolby Digital.
    Ac3,
    /// Dolby Digital Plus.
    Eac3,
    /// MPEG-1 layer III.
    Mp3,
    /// In blocks of 4608 samples.
    Flac,
}

impl Codec {
    /// Each of them once.
    pub const ALL: [Codec; 10] = [
        Codec::H264,
        Codec::Hevc,
        Codec::Av1,
        Codec::Vp9,
        Codec::Aac,
        Codec::Opus,
        Codec::Ac3,
        Codec::Eac3,
        Codec::Mp3,
        Codec::Flac,
    ];

    /// Picture or sound.
    pub fn kind(self) -> Kind {
        match self {
            Codec::H264 | Codec::Hevc | Codec::Av1 | Codec::Vp9 => Kind::Video,
            _ => Kind::Audio,
        }
    }

    /// What its messages say.
    pub fn four_cc(self) -> &'static str {
        match self {
            Codec::H264 => "avc1",
            Codec::Hevc => "hvc1",
            Codec::Av1 => "av01",
            Codec::Vp9 => "vp09",
            Codec::Aac => "mp4a",
            Codec::Opus => "Opus",
            Codec::Ac3 => "ac-3",
            Codec::Eac3 => "ec-3",
            Codec::Mp3 => ".mp3",
            Codec::Flac => "fLaC",
        }
    }

    /// Whether frames have a composition time.
    fn reorders(self) -> bool {
        matches!(self, Codec::H264 | Codec::Hevc)
    }

    /// Options of `ffmpeg`: pictures have a keyframe each second.
    fn options(self) -> &'static [&'static str] {
        match self {
            Codec::H264 => &["-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", "30", "-sc_threshold", "0"],
            Codec::Hevc => &[
                "-c:v",
                "libx265",
                "-preset",
                "ultrafast",
                "-tag:v",
                "hvc1",
                "-x265-params",
                "log-level=none:keyint=30:min-keyint=30:scenecut=0:open-gop=0:bframes=2:pools=1",
            ],
            Codec::Av1 => &["-c:v", "libsvtav1", "-preset", "10", "-g", "30", "-svtav1-params", "lp=1"],
            Codec::Vp9 => {
                &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "30", "-keyint_min", "30"]
            }
            Codec::Aac => &["-c:a", "aac"],
            Codec::Opus => &["-c:a", "libopus"],
            Codec::Ac3 => &["-c:a", "ac3"],
            Codec::Eac3 => &["-c:a", "eac3"],
            Codec::Mp3 => &["-c:a", "libmp3lame"],
            Codec::Flac => &["-c:a", "flac", "-strict", "-2"],
        }
    }
}

/// Where the first picture and the first sound are presented: what reorders, or has priming, begins before that.
const LEAD_MS: i64 = 100;
/// Samples of priming that `ffmpeg`'s AAC encoder puts in front, and of which FLV says nothing.
const AAC_PRIMING: u32 = 1_024;

/// A packet of an encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Milliseconds; what is presented first is so at [`LEAD_MS`].
    pub decode_ms: u32,
    /// Presentation minus decoding time.
    pub composition_ms: i32,
    /// As the encoder says.
    pub keyframe: bool,
    /// What it coded.
    pub data: Vec<u8>,
}

/// What an encoder made of a moving picture or a tone.
#[derive(Clone, Debug)]
pub struct Coded {
    /// By which codec.
    pub codec: Codec,
    /// What SequenceStart carries; `None` for codecs that have no such thing.
    pub config: Option<Vec<u8>>,
    /// In decoding order.
    pub packets: Vec<Packet>,
}

/// How each message is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// Header, FourCC, payload.
    Plain,
    /// Behind a ModEx of a type that nobody knows and 300 bytes, and a TimestampOffsetNano of so many nanoseconds.
    ModEx(u32),
    /// As multitrack with this track alone.
    OneTrack(u8),
    /// As track 1 of three with one codec; the others are 3 and 2, hold the same, and come before and behind it.
    ManyTracks,
    /// As track 1 behind a track 0 of a codec that nobody carries.
    ManyCodecs,
}

impl Wrapping {
    /// Each of them once.
    pub const ALL: [Wrapping; 5] =
        [Wrapping::Plain, Wrapping::ModEx(456_789), Wrapping::OneTrack(0), Wrapping::ManyTracks, Wrapping::ManyCodecs];
}

const SEQUENCE_START: u8 = 0;
const CODED_FRAMES: u8 = 1;
const SEQUENCE_END: u8 = 2;
const CODED_FRAMES_X: u8 = 3;
const MOD_EX: u8 = 7;

impl Coded {
    /// So many seconds at 320x240 and 30 fps, or of a tone of 440 Hz at 48 kHz in stereo. Made at its first use, kept under `target/`.
    pub fn new(codec: Codec, seconds: u32) -> Self {
        let input = match codec.kind() {
            Kind::Video => format!("testsrc2=size=320x240:rate=30:duration={seconds},format=yuv420p"),
            _ => format!("sine=frequency=440:sample_rate=48000:duration={seconds},aformat=channel_layouts=stereo"),
        };
        Coded::made(codec, &format!("{seconds}s"), &["-f", "lavfi", "-i", &input])
    }

    /// The pictures or the sound of a source; those of two codecs go together as they did there. Made at its first use.
    pub fn of(source: &Source, codec: Codec) -> Self {
        let (path, name) = (source.path.to_string_lossy(), source.path.file_stem().expect("a source has a name"));
        let sound = format!("atrim=start_sample={AAC_PRIMING},asetpts=PTS-STARTPTS");
        let filter = match codec.kind() {
            Kind::Video => ["-an", "-fps_mode", "passthrough", "-vf", "setpts=PTS-STARTPTS"],
            _ => ["-vn", "-map", "0:a", "-af", &sound],
        };
        Coded::made(codec, &name.to_string_lossy(), &[&["-i", &*path][..], &filter].concat())
    }

    fn made(codec: Codec, name: &str, input: &[&str]) -> Self {
        static MAKING: Mutex<()> = Mutex::new(());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-sources");
        let path = folder.join(format!("coded-{}-{name}.mp4", codec.four_cc().trim_start_matches('.')));
        let one_at_a_time = MAKING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !path.exists() {
            fs::create_dir_all(&folder).expect("a folder for sources");
            let part = path.with_extension(format!("{}.part", std::process::id()));
            let mut command = Command::new("ffmpeg");
            command.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y"]).args(input);
            output(command.args(codec.options()).args(["-f", "mp4"]).arg(&part));
            fs::rename(&part, &path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        drop(one_at_a_time);
        Coded { codec, config: config(codec, &fs::read(&path).expect("it was made")), packets: packets(&path) }
    }

    /// Its tags, each due at its stamp: the configuration first, where there is one.
    pub fn tags(&self, wrapping: Wrapping) -> Vec<Tag> {
        let start = self.config.as_ref().map(|config| self.tag(wrapping, true, SEQUENCE_START, 0, config));
        let frames = self.packets.iter().map(|packet| {
            let (mut packet_type, mut payload) = (CODED_FRAMES, Vec::new());
            match packet.composition_ms {
                0 if self.codec.kind() == Kind::Video => packet_type = CODED_FRAMES_X,
                ms if self.codec.reorders() => payload.extend(&ms.to_be_bytes()[1..]),
                _ => {}
            }
            payload.extend(&packet.data);
            self.tag(wrapping, packet.keyframe, packet_type, packet.decode_ms, &payload)
        });
        start.into_iter().chain(frames).collect()
    }

    /// The message that says that it ends.
    pub fn end(&self, wrapping: Wrapping) -> Tag {
        let last = self.packets.last().expect("packets").decode_ms;
        self.tag(wrapping, true, SEQUENCE_END, last, &[])
    }

    fn tag(&self, wrapping: Wrapping, keyframe: bool, packet_type: u8, stamp_ms: u32, payload: &[u8]) -> Tag {
        let kind = self.codec.kind();
        let (first, multitrack, unknown): (u8, u8, &[u8]) = match kind {
            Kind::Video => (if keyframe { 0x90 } else { 0xa0 }, 6, b"vvc1"),
            _ => (0x90, 5, b"alac"),
        };
        let four_cc = self.codec.four_cc().as_bytes();
        let size = |payload: &[u8]| (payload.len() as u32).to_be_bytes()[1..].to_vec();
        let track = |id: u8| [&[id][..], &size(payload), payload].concat();
        let body = match wrapping {
            Wrapping::Plain => [&[first | packet_type], four_cc, payload].concat(),
            Wrapping::ModEx(ns) => {
                let unknown = [&[255, 1, 43][..], &[0xee; 300], &[0xf0 | MOD_EX]].concat();
                let offset = [&[2][..], &ns.to_be_bytes()[1..], &[packet_type]].concat();
                [&[first | MOD_EX], &unknown[..], &offset, four_cc, payload].concat()
            }
            Wrapping::OneTrack(id) => [&[first | multitrack, packet_type], four_cc, &[id], payload].concat(),
            Wrapping::ManyTracks => {
                let tracks = [3, 1, 2].map(track).concat();
                [&[first | multitrack, 0x10 | packet_type], four_cc, &tracks].concat()
            }
            Wrapping::ManyCodecs => {
                let other = [unknown, &[0], &size(b"other"), b"other"].concat();
                [&[first | multitrack, 0x20 | packet_type], &other[..], four_cc, &track(1)].concat()
            }
        };
        Tag { kind, due_ms: u64::from(stamp_ms), stamp_ms, body }
    }
}

/// Tags of both kinds in the order of their stamps, configurations first.
pub fn interleaved(video: Vec<Tag>, audio: Vec<Tag>) -> Vec<Tag> {
    let mut tags = [video, audio].concat();
    tags.sort_by_key(|tag| tag.stamp_ms);
    tags
}

/// What an MP4 file's only sample entry holds of its codec.
fn config(codec: Codec, file: &[u8]) -> Option<Vec<u8>> {
    let body = |kind: &[u8; 4]| {
        let at = file.windows(4).rposition(|window| window == kind).expect("a configuration box");
        let size = u32::from_be_bytes(file[at - 4..at].try_into().expect("4 bytes")) as usize;
        file[at + 4..at - 4 + size].to_vec()
    };
    match codec {
        Codec::H264 => Some(body(b"avcC")),
        Codec::Hevc => Some(body(b"hvcC")),
        Codec::Av1 => Some(body(b"av1C")),
        Codec::Vp9 => Some(body(b"vpcC")),
        // MPEG-4 descriptors: the last one but SLConfig is DecoderSpecificInfo, behind its tag and a length of 4 bytes.
        Codec::Aac => {
            let esds = body(b"esds");
            let at = esds.windows(4).rposition(|window| window == [5, 0x80, 0x80, 0x80]).expect("a descriptor");
            Some(esds[at + 5..at + 5 + usize::from(esds[at + 4])].to_vec())
        }
        // The same fields in the other byte order, behind a magic word.
        Codec::Opus => {
            let dops = body(b"dOps");
            let swap = |range: std::ops::Range<usize>| dops[range].iter().rev().copied().collect::<Vec<u8>>();
            Some([&b"OpusHead\x01"[..], &dops[1..2], &swap(2..4), &swap(4..8), &swap(8..10), &dops[10..]].concat())
        }
        Codec::Flac => Some([b"fLaC", &body(b"dfLa")[4..]].concat()),
        Codec::Ac3 | Codec::Eac3 | Codec::Mp3 => None,
    }
}

/// The packets, moved by [`LEAD_MS`].
fn packets(path: &Path) -> Vec<Packet> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-show_entries", "packet=pts_time,dts_time,pos,size,flags", "-of", "json"]);
    let said: Value = serde_json::from_slice(&output(command.arg(path))).expect("JSON");
    let file = fs::read(path).expect("it was made");
    let said = said["packets"].as_array().expect("packets");
    let text = |packet: &Value, name: &str| packet[name].as_str().expect("a field").to_owned();
    let ms = |packet: &Value, name: &str| (text(packet, name).parse::<f64>().expect("seconds") * 1e3).round() as i64;
    let read = |packet: &Value| {
        let (decode, present) = (ms(packet, "dts_time"), ms(packet, "pts_time"));
        let (at, size): (usize, usize) =
            (text(packet, "pos").parse().expect("a number"), text(packet, "size").parse().expect("a number"));
        Packet {
            decode_ms: u32::try_from(decode + LEAD_MS).expect("reordering and priming are within the lead"),
            composition_ms: (present - decode) as i32,
            keyframe: text(packet, "flags").starts_with('K'),
            data: file[at..at + size].to_vec(),
        }
    };
    said.iter().map(read).collect()
}

/// Two writers and readers that know nothing of each other: what this one wraps, the daemon's reader takes out.
#[test]
fn each_codec_in_each_wrapping_is_what_the_daemon_reads() {
    use millstream::wire::flv::{AudioTag, TagReader, VideoTag};
    for codec in Codec::ALL {
        let coded = Coded::new(codec, 2);
        let frames = match codec {
            Codec::Flac => 10..=25,
            _ => 60..=110,
        };
        assert!(frames.contains(&coded.packets.len()), "{codec:?}: {} packets", coded.packets.len());
        for wrapping in Wrapping::ALL {
            let (mut reader, mut configs, mut packets) = (TagReader::default(), Vec::new(), Vec::new());
            let expected_ns = if let Wrapping::ModEx(ns) = wrapping { ns } else { 0 };
            for tag in coded.tags(wrapping) {
                let body = bytes::Bytes::from(tag.body);
                let (name, data, is_frame, ns, composition, key) = match tag.kind {
                    Kind::Video => match reader.video(&body).expect("taken") {
                        VideoTag::Config { codec, config } => (codec.sample_entry(), config, false, 0, 0, true),
                        VideoTag::Frame { codec, claimed_key, composition_ms, offset_ns, data } => {
                            (codec.sample_entry(), data, true, offset_ns, composition_ms, claimed_key)
                        }
                        other => panic!("{codec:?} {wrapping:?}: {other:?}"),
                    },
                    _ => match reader.audio(&body).expect("taken") {
                        AudioTag::Config { codec, config } => {
                            (millstream::wire::flv::audio::four_cc(codec), config, false, 0, 0, true)
                        }
                        AudioTag::Frame { codec, offset_ns, data } => {
                            (millstream::wire::flv::audio::four_cc(codec), data, true, offset_ns, 0, true)
                        }
                        other => panic!("{codec:?} {wrapping:?}: {other:?}"),
                    },
                };
                assert_eq!(name, codec.four_cc());
                if is_frame {
                    assert_eq!(ns, expected_ns, "{codec:?} {wrapping:?}");
                    let (decode_ms, data) = (tag.stamp_ms, data.to_vec());
                    packets.push(Packet { decode_ms, composition_ms: composition, keyframe: key, data });
                } else {
                    configs.push(data.to_vec());
                }
            }
            assert_eq!(configs, coded.config.iter().cloned().collect::<Vec<_>>(), "{codec:?} {wrapping:?}");
            assert!(packets == coded.packets, "{codec:?} {wrapping:?}");
            assert!(packets.iter().all(|packet| !packet.data.is_empty()));
            let reordered = packets.iter().any(|packet| packet.composition_ms != 0);
            assert_eq!(reordered, codec.reorders(), "{codec:?}");
            let left_out =
                usize::from(wrapping == Wrapping::ManyCodecs) + 2 * usize::from(wrapping == Wrapping::ManyTracks);
            assert_eq!(reader.new_notices().len(), left_out, "{codec:?} {wrapping:?}");
            let end = bytes::Bytes::from(coded.end(wrapping).body);
            match codec.kind() {
                Kind::Video => assert!(matches!(reader.video(&end), Ok(VideoTag::EndOfSequence(_)))),
                _ => assert_eq!(reader.audio(&end), Ok(AudioTag::Ignored)),
            }
        }
    }
}
