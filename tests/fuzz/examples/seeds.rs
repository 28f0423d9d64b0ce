//! Writes the seeds of every target into `corpus/`: from `fixtures/`, from `presets/`, and made by hand.
//!
//! Called by `seeds.sh`. What lies there under another name, so also the input of a finding, is left as it is.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use millstream::media::codec::{aac, h264};
use millstream::media::{Segment, Span, Track, WallTime};
use millstream::wire::flv::file::write_all;
use millstream::wire::flv::{AudioTag, Tag, TagKind, VideoTag, parse_audio, parse_video};
use millstream::wire::fmp4::{ChunkHead, Sample, write_chunk, write_init};
use millstream::wire::hls::MediaPlaylist;
use millstream::wire::rtmp::chunk::{ChunkReader, Message};
use millstream::wire::rtmp::{Limits, message};

#[path = "../srt_seeds.rs"]
mod srt_seeds;

const CAPTURES: [&str; 3] = ["obs-29-rtmp-c2s", "ffmpeg-5.1-rtmp-c2s", "gst-1.22-rtmp2sink-c2s"];
const TS_CAPTURES: [&str; 2] = ["obs-29-srt", "ffmpeg-5.1-srt"];
const TS_PACKET_BYTES: usize = 188;
const HANDSHAKE_BYTES: usize = 1 + 2 * 1_536;

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = std::env::args_os().nth(1).map_or(folder.join("corpus"), PathBuf::from);
    let seeds = Seeds { root: folder.join("../.."), out };
    for name in CAPTURES {
        let bytes = seeds.fixture(&format!("{name}.bin"));
        seeds.rtmp(name, &bytes);
        let messages = messages(&bytes[HANDSHAKE_BYTES..]);
        seeds.commands(name, &messages);
        seeds.media(name, &messages);
    }
    for name in TS_CAPTURES {
        seeds.transport_stream(name, &seeds.fixture(&format!("{name}.ts")));
    }
    seeds.by_hand();
    srt_seeds::all(|target, name, bytes| seeds.put(target, name, &[&bytes]));
    seeds.playlists();
    seeds.settings();
    seeds.journal(&seeds.fixture("journal-v1.bin"));
}

struct Seeds {
    root: PathBuf,
    out: PathBuf,
}

/// The messages of a capture, from behind the handshake.
fn messages(bytes: &[u8]) -> Vec<Message> {
    let mut reader = ChunkReader::new(Limits::default());
    let mut input = Bytes::copy_from_slice(bytes);
    let mut messages = Vec::new();
    while let Some(message) = reader.next(&mut input).expect("a good capture") {
        messages.push(message);
    }
    messages
}

fn tag(message: &Message) -> Option<Tag> {
    let kind = match message.type_id {
        message::AUDIO => TagKind::Audio,
        message::VIDEO => TagKind::Video,
        _ => return None,
    };
    Some(Tag { kind, timestamp_ms: message.timestamp_ms, data: message.payload.clone() })
}

impl Seeds {
    fn fixture(&self, name: &str) -> Vec<u8> {
        let path = self.root.join("fixtures").join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// One seed: the parts behind each other.
    fn put(&self, target: &str, name: &str, parts: &[&[u8]]) {
        let path = self.out.join(target).join(format!("seed-{name}"));
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, parts.concat()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// A capture's beginning, from its first byte, and from behind its handshake.
    fn rtmp(&self, name: &str, bytes: &[u8]) {
        const CUT: usize = 12 * 1_024;
        self.put("rtmp", &format!("{name}-whole"), &[&[0, 1], &bytes[..CUT]]);
        let behind = &bytes[HANDSHAKE_BYTES..CUT];
        self.put("rtmp", &format!("{name}-behind-handshake"), &[&[2, 2], behind]);
        self.put("rtmp", &format!("{name}-refused"), &[&[0x82, 3], &behind[..2_048]]);
        self.put("rtmp", &format!("{name}-chunks"), &[&[1, 9], &behind[..4_096]]);
        self.put("rtmp", &format!("{name}-small-limits"), &[&[3, 4], &behind[..1_024]]);
    }

    /// Few packets of a capture that hold much: the first tables and pictures, then the sound; as they are, and without sync bytes.
    fn transport_stream(&self, name: &str, bytes: &[u8]) {
        let pid = |packet: &[u8]| u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
        let packets: Vec<&[u8]> = bytes.chunks_exact(TS_PACKET_BYTES).collect();
        let head = packets[..8].iter();
        let starts = packets[8..].iter().filter(|packet| packet[1] & 0x40 != 0 && pid(packet) == 0x100).take(4);
        let sound = packets[8..].iter().filter(|packet| pid(packet) == 0x101).take(8);
        let chosen = [head.collect::<Vec<_>>(), starts.collect(), sound.collect()].concat();
        let whole: Vec<u8> = chosen.iter().flat_map(|packet| packet.iter().copied()).collect();
        self.put("ts", &format!("{name}-packets"), &[&[0], &whole]);
        self.put("ts", &format!("{name}-losses"), &[&[2], &whole]);
        let bodies: Vec<u8> = chosen
            .iter()
            .flat_map(|packet| {
                let which = [0, 0x1000, 0x100, 0x101].iter().position(|known| *known == pid(packet)).unwrap_or(0) as u8;
                let control = if packet[3] & 0x20 == 0 { 0x40 } else { 0 };
                [&[which | (packet[1] & 0x40) >> 1 | control], &packet[4..]].concat()
            })
            .collect();
        self.put("ts", &format!("{name}-bodies"), &[&[1], &bodies]);
        let sounds = packets.iter().filter(|packet| packet[1] & 0x40 != 0 && pid(packet) == 0x101).take(2);
        for (index, packet) in sounds.enumerate() {
            self.put("ts", &format!("{name}-header-{index}"), &[&[3], &packet[18..60]]);
        }
    }

    fn commands(&self, name: &str, messages: &[Message]) {
        let texts =
            messages.iter().filter(|message| matches!(message.type_id, message::COMMAND_AMF0 | message::DATA_AMF0));
        for (index, message) in texts.take(8).enumerate() {
            self.put("amf0", &format!("{name}-{index}"), &[&message.payload]);
        }
    }

    fn media(&self, name: &str, messages: &[Message]) {
        let tags: Vec<Tag> = messages.iter().filter_map(tag).collect();
        let small: Vec<Tag> = tags.iter().filter(|tag| tag.data.len() < 600).take(12).cloned().collect();
        let file = write_all(&small).expect("small");
        self.put("flv", &format!("{name}-file"), &[&[0], &file]);
        self.put("flv", &format!("{name}-behind-header"), &[&[1], &file[13..]]);
        let mut samples = Vec::new();
        for tag in tags.iter().filter(|tag| tag.data.len() < 3_000) {
            match tag.kind {
                TagKind::Video => self.video(name, tag, &mut samples),
                TagKind::Audio => self.audio(name, tag),
                TagKind::Script => {}
            }
        }
        let head = ChunkHead { sequence: 7, base_decode_time: 900_000, segment_start: true };
        samples.truncate(3);
        if let Ok(chunk) = write_chunk(&head, &samples) {
            self.put("fmp4", &format!("{name}-chunk"), &[&[2], &chunk]);
            self.put("fmp4", &format!("{name}-boxes"), &[&[0], &chunk]);
        }
    }

    fn video(&self, name: &str, tag: &Tag, samples: &mut Vec<Sample>) {
        match parse_video(&tag.data) {
            Ok(VideoTag::Config { config: record, .. }) => {
                self.put("flv", &format!("{name}-video-config"), &[&[2], &tag.data]);
                self.put("h264", &format!("{name}-record"), &[&[5], &record]);
                self.put("rtmp", &format!("{name}-config-message"), &[&[4, 5], &chunk_of(message::VIDEO, &tag.data)]);
                let config = h264::AvcConfig::parse(&record).expect("a good record");
                self.put("h264", &format!("{name}-sps"), &[&[6], &config.sps[0]]);
                let joined = [&[0, 0, 0, 1], &config.sps[0][..], &[0, 0, 1], &config.pps[0][..]].concat();
                self.put("h264", &format!("{name}-annex-b"), &[&[0], &joined]);
                let track = h264::track_from_parameter_sets(&[&config.sps[0]], &[&config.pps[0]]).expect("good sets");
                let init = write_init(&Track::Video(track)).expect("an init segment");
                self.put("fmp4", &format!("{name}-init-video"), &[&[1], &init]);
            }
            Ok(VideoTag::Frame { composition_ms, claimed_key, data, .. }) if data.len() < 1_500 => {
                if samples.len() < 2 {
                    self.put("flv", &format!("{name}-frame-{}", samples.len()), &[&[2], &tag.data]);
                    self.put("h264", &format!("{name}-unit-{}", samples.len()), &[&[3], &data]);
                }
                let composition_offset = composition_ms * 90;
                samples.push(Sample { duration: 3_000, composition_offset, keyframe: claimed_key, data });
            }
            _ => {}
        }
    }

    fn audio(&self, name: &str, tag: &Tag) {
        match parse_audio(&tag.data) {
            Ok(AudioTag::Config { config: asc, .. }) => {
                self.put("flv", &format!("{name}-audio-config"), &[&[3], &tag.data]);
                self.put("aac", name, &[&asc]);
                self.put("rtmp", &format!("{name}-sound-config"), &[&[4, 5], &chunk_of(message::AUDIO, &tag.data)]);
                let track = aac::track_from_config(asc).expect("a good config");
                let init = write_init(&Track::Audio(track)).expect("an init segment");
                self.put("fmp4", &format!("{name}-init-audio"), &[&[1], &init]);
            }
            Ok(AudioTag::Frame { .. }) => self.put("flv", &format!("{name}-sound"), &[&[3], &tag.data]),
            _ => {}
        }
    }

    /// What no capture here holds.
    fn by_hand(&self) {
        // HE-AAC with and without parametric stereo, 44.1 kHz mono, 7.1, an escaped rate, a program config element.
        let configs: [(&str, &[u8]); 6] = [
            ("he-aac", &[0x2b, 0x92, 0x08, 0x00]),
            ("he-aac-v2", &[0xeb, 0x8a, 0x08, 0x00]),
            ("mono", &[0x12, 0x08, 0x56, 0xe5, 0x00]),
            ("surround", &[0x11, 0xb8]),
            ("escaped-rate", &[0x17, 0x80, 0x5d, 0xc0, 0x08, 0x00]),
            ("program-config", &[0x11, 0x80, 0x04, 0xc8, 0x04, 0x00, 0x20, 0x00]),
        ];
        for (name, asc) in configs {
            self.put("aac", name, &[asc]);
        }
        let deep = [&b"\x0a\0\0\0\x01".repeat(16)[..], &[5]].concat();
        self.put("amf0", "deep", &[&deep]);
        self.put("amf0", "every-marker", &[
            b"\0\x3f\xf0\0\0\0\0\0\0\x01\x01\x02\0\x01a\x03\0\x01k\x05\0\0\x09\x05\x06\x07\0\x01\x08\0\0\0\x01\0\x01k\x05",
            b"\0\0\x09\x0a\0\0\0\x01\x05\x0b\0\0\0\0\0\0\0\0\0\0\x0c\0\0\0\x01a\x0d\x0f\0\0\0\x01x\x10\0\x01C\0\0\x09",
        ]);
        self.put("h264", "one-byte-lengths", &[&[1, 2, 0x65, 1, 3, 0x41, 2, 3, 0]]);
        self.put("h264", "two-byte-lengths", &[&[2, 0, 2, 0x65, 1, 0, 3, 0x41, 2, 3]]);
        self.put(
            "fmp4",
            "any-samples",
            &[&[3, 1], &[0; 12], &[0, 0, 0x0b, 0xb8], &[4, 9, 3, 5, 0, 0, 1, 0, 0, 0, 2, 0]],
        );
        self.enhanced();
        self.ingest();
        self.of_encoders();
    }

    /// Parameter sets and headers of x265, SVT-AV1, libaom, libvpx, libopus and FLAC's encoder in FFmpeg 5.1.
    fn of_encoders(&self) {
        let seeds: &[(&str, &str, &[u8])] = &[
            (
                "hevc",
                "x265-record",
                &[
                    0x00, 0x01, 0x01, 0x60, 0x00, 0x00, 0x00, 0x90, 0x00, 0x00, 0x00, 0x00, 0x00, 0x5d, 0xf0, 0x00,
                    0xfc, 0xfd, 0xf8, 0xf8, 0x00, 0x00, 0x0f, 0x03, 0x20, 0x00, 0x01, 0x00, 0x18, 0x40, 0x01, 0x0c,
                    0x01, 0xff, 0xff, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03,
                    0x00, 0x5d, 0x95, 0x94, 0x09, 0x21, 0x00, 0x01, 0x00, 0x2b, 0x42, 0x01, 0x01, 0x01, 0x60, 0x00,
                    0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x5d, 0xa0, 0x02, 0x80, 0x80,
                    0x2d, 0x16, 0x59, 0x59, 0x52, 0x93, 0x0b, 0xc0, 0x5a, 0x02, 0x00, 0x00, 0x03, 0x00, 0x02, 0x00,
                    0x00, 0x03, 0x00, 0x3c, 0x10, 0x22, 0x00, 0x01, 0x00, 0x06, 0x44, 0x01, 0xc0, 0x73, 0xc1, 0x89,
                ],
            ),
            (
                "hevc",
                "x265-sps",
                &[
                    0x01, 0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00,
                    0x03, 0x00, 0x5d, 0xa0, 0x02, 0x80, 0x80, 0x2d, 0x16, 0x59, 0x59, 0x52, 0x93, 0x0b, 0xc0, 0x5a,
                    0x02, 0x00, 0x00, 0x03, 0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x3c, 0x10,
                ],
            ),
            (
                "hevc",
                "x265-pq-sps",
                &[
                    0x01, 0x42, 0x01, 0x01, 0x02, 0x20, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00,
                    0x03, 0x00, 0x78, 0xa0, 0x03, 0xc0, 0x80, 0x11, 0x07, 0xca, 0xd9, 0x65, 0x65, 0x4a, 0x4c, 0x2f,
                    0x01, 0x6a, 0x12, 0x20, 0x12, 0x08, 0x00, 0x00, 0x1f, 0x48, 0x00, 0x03, 0xa9, 0x80, 0x40,
                ],
            ),
            (
                "hevc",
                "x265-444-sps",
                &[
                    0x01, 0x42, 0x01, 0x01, 0x04, 0x08, 0x00, 0x00, 0x03, 0x00, 0x9e, 0x08, 0x00, 0x00, 0x03, 0x00,
                    0x00, 0x78, 0x90, 0x00, 0x78, 0x10, 0x02, 0x20, 0xee, 0x2f, 0x2c, 0xac, 0xa9, 0x49, 0x85, 0xe1,
                    0xcd, 0x01, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00, 0x00, 0x03, 0x00, 0x19, 0x08,
                ],
            ),
            (
                "hevc",
                "unit",
                &[
                    0x03, 0x00, 0x00, 0x00, 0x18, 0x40, 0x01, 0x0c, 0x01, 0xff, 0xff, 0x01, 0x60, 0x00, 0x00, 0x03,
                    0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x5d, 0x95, 0x94, 0x09, 0x00, 0x00, 0x00,
                    0x2b, 0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00,
                    0x03, 0x00, 0x5d, 0xa0, 0x02, 0x80, 0x80, 0x2d, 0x16, 0x59, 0x59, 0x52, 0x93, 0x0b, 0xc0, 0x5a,
                    0x02, 0x00, 0x00, 0x03, 0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x3c, 0x10, 0x00, 0x00, 0x00, 0x06,
                    0x44, 0x01, 0xc0, 0x73, 0xc1, 0x89, 0x00, 0x00, 0x00, 0x04, 0x26, 0x01, 0xaf, 0x09, 0x00, 0x00,
                    0x00, 0x04, 0x02, 0x01, 0xd0, 0x09,
                ],
            ),
            (
                "av1",
                "svt-record",
                &[
                    0x00, 0x81, 0x05, 0x0c, 0x00, 0x0a, 0x0b, 0x00, 0x00, 0x00, 0x2d, 0x4c, 0xff, 0xb3, 0xcf, 0xbf,
                    0x90, 0x04,
                ],
            ),
            ("av1", "svt-sequence", &[0x01, 0x00, 0x00, 0x00, 0x2d, 0x4c, 0xff, 0xb3, 0xcf, 0xbf, 0x90, 0x04]),
            ("av1", "libaom-sequence", &[0x01, 0x00, 0x00, 0x00, 0x2d, 0x4c, 0xff, 0xb3, 0xcd, 0xaf, 0x90, 0x04]),
            (
                "av1",
                "svt-pq-sequence",
                &[0x01, 0x00, 0x00, 0x00, 0x0c, 0xc4, 0xff, 0x67, 0x00, 0xbe, 0x14, 0x24, 0x40, 0x24, 0x10],
            ),
            (
                "av1",
                "unit",
                &[
                    0x02, 0x12, 0x00, 0x0a, 0x0b, 0x00, 0x00, 0x00, 0x2d, 0x4c, 0xff, 0xb3, 0xcf, 0xbf, 0x90, 0x04,
                    0x32, 0x04, 0x10, 0x01, 0x10, 0x00,
                ],
            ),
            ("av1", "padding-between", &[0x02, 0x12, 0x00, 0x0a, 0x01, 0x00, 0x7a, 0x02, 0xff, 0x80, 0x30, 0x10, 0x00]),
            ("codecs", "vp9-record", &[0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x1f, 0x82, 0x02, 0x02, 0x02, 0x00, 0x00]),
            (
                "codecs",
                "vp9-key",
                &[0x01, 0x82, 0x49, 0x83, 0x42, 0x00, 0x4f, 0xf0, 0x2c, 0xf6, 0x06, 0x38, 0x24, 0x1c, 0x18],
            ),
            (
                "codecs",
                "vp9-rich-key",
                &[0x01, 0xb1, 0x24, 0xc1, 0xa1, 0x02, 0x01, 0x3f, 0x80, 0xb3, 0xb0, 0x31, 0xc1, 0x20, 0xe0],
            ),
            (
                "codecs",
                "opus-head",
                &[
                    0x02, 0x4f, 0x70, 0x75, 0x73, 0x48, 0x65, 0x61, 0x64, 0x01, 0x02, 0x38, 0x01, 0x80, 0xbb, 0x00,
                    0x00, 0x00, 0x00, 0x00,
                ],
            ),
            (
                "codecs",
                "opus-surround",
                &[
                    0x03, 0x01, 0x06, 0x38, 0x01, 0x80, 0xbb, 0x00, 0x00, 0x00, 0x00, 0x01, 0x04, 0x02, 0x00, 0x04,
                    0x01, 0x02, 0x03, 0x05,
                ],
            ),
            ("codecs", "opus-packet", &[0x04, 0xfb, 0x06]),
            (
                "codecs",
                "flac-file",
                &[
                    0x05, 0x66, 0x4c, 0x61, 0x43, 0x80, 0x00, 0x00, 0x22, 0x12, 0x00, 0x12, 0x00, 0x00, 0x04, 0x6d,
                    0x00, 0x05, 0x08, 0x0a, 0xc4, 0x42, 0xf0, 0x00, 0x00, 0x33, 0xae, 0x36, 0x56, 0x7c, 0x61, 0x37,
                    0xe8, 0xd5, 0x78, 0xc4, 0x31, 0xed, 0x19, 0x1f, 0xd8, 0x5f, 0xf5,
                ],
            ),
            ("codecs", "flac-frame", &[0x06, 0xff, 0xf8, 0x59, 0x88, 0x00, 0x8a, 0x4e, 0x00]),
            ("codecs", "flac-last-frame", &[0x07, 0x79, 0x88, 0xc2, 0x80, 0x0f, 0xff]),
        ];
        for (target, name, bytes) in seeds {
            self.put(target, name, &[bytes]);
        }
    }

    /// Headers of enhanced RTMP: which no capture here holds, for the encoders of the captures cannot send them.
    fn enhanced(&self) {
        let video: [(&str, &[u8]); 9] = [
            ("hevc", b"\x90hvc1\0\0"),
            ("hevc-frame", b"\x91hvc1\xff\xff\xdfab"),
            ("av1-frame", b"\xa1av01ab"),
            ("vp9-config", b"\x90vp09\x01\0\0\0\x01\x1f\x80\x02\x02\x02\0\0"),
            ("offset", b"\x97\x02\x0f\x42\x3f\x01av01ab"),
            ("long-mod-ex", b"\x97\xff\x01\x02"),
            ("one-track", b"\x96\x01hvc1\x07\0\0\0ab"),
            ("many-tracks", b"\x96\x13hvc1\x01\0\0\x02ab\x00\0\0\x01c"),
            ("many-codecs", b"\x97\x02\0\0\x05\x06\x21vvc1\x00\0\0\x02abav01\x02\0\0\x01c"),
        ];
        let audio: [(&str, &[u8]); 4] = [
            ("opus-config", b"\x90OpusOpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0"),
            ("flac-config", b"\x90fLaCfLaC\x80\0\0\x22"),
            ("mp3", b"\x2f\xff\xfb"),
            ("many-codecs-of-sound", b"\x95\x20mp4a\x01\0\0\x02\x11\x90ac-3\x00\0\0\0"),
        ];
        for (which, seeds) in [(2, &video[..]), (3, &audio)] {
            for (name, body) in seeds {
                self.put("flv", name, &[&[which], body]);
            }
        }
        // The targets' fifth reader takes messages, one behind the other: two tracks, then a codec that is not carried.
        let stream =
            [&[4, 0, 17][..], video[7].1, &[0, 7], video[2].1, &[0, 8], b"\x91vvc1abc", &[1, 7], b"\x91ac-3ab"];
        self.put("flv", "a-connection", &stream);
    }

    /// See `targets/ingest.rs` for what the bytes mean.
    fn ingest(&self) {
        let begin: &[u8] = &[0x00, 0, 0x02, 0, 0, 0x03, 0];
        let media = |steps: u8| -> Vec<u8> {
            let step = |n| {
                [0x04, if n % 15 == 0 { 3 } else { 2 }, 0, 66, 0x07, 2, 0, 0x0b, 21, 0x07, 2, 0, 0x0b, 12, 0x0a, 33]
            };
            (0..steps).flat_map(step).collect()
        };
        let (forward, back) = ([0x0c, 0, 0, 0x10, 0, 0], [0x0c, 0, 0, 0, 0, 0]);
        self.put("ingest", "both-tracks", &[&[0], begin, &media(60)]);
        self.put("ingest", "long-groups", &[&[1], begin, &[0x04, 3, 0, 66], &[0x54, 2, 33, 0].repeat(4)]);
        self.put("ingest", "resumed", &[&[0x12, 0xca, 20], begin, &media(30), &[0x01, 0, 0xca, 9], begin, &media(20)]);
        self.put("ingest", "sound-alone", &[&[0, 0, 0, 3, 0], &[0x77, 2, 21].repeat(4), &[0xca, 3, 0x77, 2, 21]]);
        self.put("ingest", "sets-in-band", &[&[0, 0, 0, 0x0e, 0x0f, 0, 1], &media(5)]);
        self.put("ingest", "jumps", &[&[4], begin, &media(20), &forward, &media(20), &back, &media(20)]);
        self.put("ingest", "no-keyframe", &[&[0], begin, &[0xa7, 0, 0].repeat(6)]);
        self.put("ingest", "large-messages", &[&[0], begin, &[0x84, 7, 0, 66, 0x57, 6, 0]]);
    }

    fn playlists(&self) {
        let segment = |n: u64| Segment {
            msn: 7 + n,
            epoch: 1,
            duration: Some(Span::from_millis(2_000 - n as i64)),
            wall: WallTime::from_unix_millis(1_795_262_400_000 + 2_000 * n as i64),
            discontinuity: n == 2,
            gap: n == 3,
            init: u32::from(n > 1),
            parts: Vec::new(),
        };
        let segments: Vec<Segment> = (0..5).map(segment).collect();
        let playlist = MediaPlaylist {
            target_duration_secs: 2,
            media_sequence: 7,
            discontinuity_sequence: 3,
            playlist_type: None,
            independent_segments: true,
            ended: true,
            uri_prefix: "",
            segments: segments.iter(),
        };
        self.put("hls", "text", &[&[0], playlist.render().as_bytes()]);
        self.put(
            "hls",
            "multivariant",
            &[
                &[1, 15],
                &[0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 7, 128, 0, 0, 4, 56, 0, 0, 0x75, 48, 0, 0, 3, 0xe9].repeat(2),
            ],
        );
        self.put(
            "hls",
            "segments",
            &[
                &[2, 4, 0, 0, 0, 9, 0, 0, 0, 1, 0x65, 0, 0, 0],
                &[0, 0x50, 1, 2, 3, 0x12, 0x54, 0, 0, 0, 0x24, 1, 0, 0, 0],
            ],
        );
    }

    fn settings(&self) {
        for name in ["ladder-1080p-720p-480p", "encode-1080p-720p-480p", "passthrough", "low-cpu"] {
            let text = std::fs::read_to_string(self.root.join(format!("presets/{name}.toml"))).expect("a preset");
            let keys: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
            self.put("config", name, &[&[2], keys.join("\n").as_bytes()]);
        }
        let (mut file, mut env, mut section) = (String::new(), String::new(), String::new());
        for key in millstream::config::key::reference().filter(|key| !key.default.starts_with('<')) {
            if let millstream::config::key::Section::Named(name) = key.section
                && section != name
            {
                section = name.to_owned();
                file += &format!("[{name}]\n");
            }
            let quote = if key.kind == millstream::config::key::KeyType::Count { "" } else { "\"" };
            file += &format!("{} = {quote}{}{quote}\n", key.name, key.default);
            env += &format!("{}={}\n", key.env().trim_start_matches("MILLSTREAM_"), key.default);
        }
        self.put("config", "file", &[&[0], file.as_bytes()]);
        self.put("config", "env", &[&[1], env.as_bytes()]);
        for (name, value) in [("duration", "334ms"), ("size", "10GiB"), ("address", "[::]:8080"), ("count", "60")] {
            self.put("config", name, &[&[3], value.as_bytes()]);
        }
    }

    /// The journal as it is, and as records without checksums (see `targets/journal.rs`), payloads cut.
    fn journal(&self, file: &[u8]) {
        self.put("journal", "file", &[&[0], file]);
        let (mut rest, mut records) = (&file[16..], Vec::new());
        while let Some(head) = rest.first_chunk::<13>() {
            let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let body = &rest[13..13 + length];
            let kept = &body[..length.min(if head[4] == 5 { 40 } else { length })];
            records.extend_from_slice(&[&[head[4]], &(kept.len() as u16).to_be_bytes()[..], kept].concat());
            rest = &rest[13 + length..];
        }
        self.put("journal", "records", &[&[2], &records]);
        let half = (records.len() / 2) as u16;
        self.put("journal", "two-files", &[&[6], &half.to_be_bytes(), &records]);
        self.put("journal", "after-a-power-cut", &[&[10], &records[..records.len() * 2 / 3]]);
    }
}

/// A message as one chunk of format 0, behind a Set Chunk Size that makes room for it.
fn chunk_of(type_id: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let set = [2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0x10, 0];
    [&set[..], &[4, 0, 0, 0], &length[1..], &[type_id, 1, 0, 0, 0], payload].concat()
}
