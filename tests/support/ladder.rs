//! A ladder under test: sources made by the `ffmpeg` binary, read as media packets; a run of the transcoder over a script
//! of units; and what came out, per rendition.

#![allow(dead_code)] // each test file uses its part

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use millstream::clock::SystemClock;
use millstream::config::preset::Preset;
use millstream::flow::channel::{Bound, bounded};
use millstream::flow::stage::Outcome;
use millstream::media::codec::h264::{AvcConfig, track_from_parameter_sets};
use millstream::media::codec::hevc::{self, HevcConfig};
use millstream::media::codec::{aac, av1, flac, opus, vp9};
use millstream::media::segment::RenditionUnit;
use millstream::media::{
    AudioCodec, AudioTrack, Cut, CutKind, Kind, Packet, Span, Timestamp, Track, Unit, VideoCodec, VideoTrack, WallTime,
};
use millstream::transcode::{LadderStats, Patience, Plan, TranscodeError, TranscodeInputs, Transcoder, plan};

/// Where session timelines start.
pub const START: Timestamp = Timestamp::from_millis(10_000);

/// One track of a source.
pub struct Source<T> {
    pub track: T,
    pub packets: Vec<Packet>,
}

/// Runs `ffmpeg` with `arguments` (input and codec) into an MP4 file and hands its path to `read`.
fn made<R>(arguments: &str, read: impl FnOnce(&Path) -> R) -> R {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("source.mp4");
    let words = shell_words(arguments);
    let status = Command::new("ffmpeg").args(["-v", "error", "-y"]).args(words).arg(&path).status();
    assert!(status.expect("ffmpeg runs").success(), "ffmpeg {arguments}");
    read(&path)
}

/// Splits at spaces outside of single quotes.
fn shell_words(text: &str) -> Vec<String> {
    let parts = text.split('\'').enumerate();
    let words = parts.flat_map(|(index, part)| match index % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

/// Packets of the first stream, with times on the session's timeline, `offset` later.
fn packets(path: &Path, kind: Kind, offset: Span, duration: Span) -> (Bytes, Vec<Packet>) {
    let mut input = ffmpeg_next::format::input(path).expect("our own file");
    let stream = input.stream(0).expect("one stream");
    let scale = u32::try_from(stream.time_base().denominator()).expect("positive");
    let extradata = extradata(path);
    let at = |units: Option<i64>| START + offset + Span::from_units(units.expect("MP4 has times"), scale);
    let packets = input.packets().map(|(_, packet)| Packet {
        kind,
        dts: at(packet.dts()),
        pts: at(packet.pts()),
        duration,
        keyframe: packet.is_key(),
        data: Bytes::copy_from_slice(packet.data().expect("a payload")),
    });
    (extradata, packets.collect())
}

/// The decoder configuration of the file's only stream.
fn extradata(path: &Path) -> Bytes {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_data", "-show_entries", "stream=extradata", "-of", "default=nw=1"])
        .arg(path)
        .output()
        .expect("ffprobe runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    // Lines like `00000000: 0164 001e ffe1 001a  .d......`
    let lines = text.lines().filter_map(|line| Some(line.split_once(": ")?.1.split("  ").next()?.replace(' ', "")));
    let hex: String = lines.collect();
    let bytes = (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex"));
    bytes.collect()
}

/// H.264 that `ffmpeg` makes with these arguments.
pub fn video(arguments: &str, offset: Span) -> Source<VideoTrack> {
    made(arguments, |path| {
        let (extradata, packets) = packets(path, Kind::Video, offset, Span::ZERO);
        let config = AvcConfig::parse(&extradata).expect("an avcC");
        let (sps, pps): (Vec<&[u8]>, Vec<&[u8]>) =
            (config.sps.iter().map(|set| &set[..]).collect(), config.pps.iter().map(|set| &set[..]).collect());
        let track = track_from_parameter_sets(&sps, &pps);
        Source { track: track.expect("made by x264"), packets }
    })
}

/// AAC that `ffmpeg` makes with these arguments.
pub fn audio(arguments: &str, offset: Span) -> Source<AudioTrack> {
    made(arguments, |path| {
        let (extradata, mut packets) = packets(path, Kind::Audio, offset, Span::ZERO);
        let track = aac::track_from_config(extradata).expect("made by ffmpeg");
        let duration = Span::from_units(i64::from(track.samples_per_frame), track.sample_rate);
        packets.iter_mut().for_each(|packet| packet.duration = duration);
        Source { track, packets }
    })
}

/// Pictures of a codec that `ffmpeg` makes with these arguments.
pub fn video_of(codec: VideoCodec, arguments: &str, offset: Span) -> Source<VideoTrack> {
    if codec == VideoCodec::H264 {
        return video(arguments, offset);
    }
    made(arguments, |path| {
        let (extradata, packets) = packets(path, Kind::Video, offset, Span::ZERO);
        let track = match codec {
            VideoCodec::Hevc => {
                let config = HevcConfig::parse(&extradata).expect("an hvcC");
                let sets = [&config.vps, &config.sps, &config.pps];
                let [vps, sps, pps] = sets.map(|sets| sets.iter().map(|set| &set[..]).collect::<Vec<_>>());
                hevc::track_from_parameter_sets(&vps, &sps, &pps).expect("made by x265")
            }
            VideoCodec::Av1 => {
                let header = av1::Av1Config::parse(&extradata).expect("an av1C").sequence_header;
                av1::track_from_sequence_header(&header.expect("one")).expect("made by an encoder")
            }
            _ => vp9::track_from_key_frame(&packets[0].data, None).expect("made by libvpx"),
        };
        Source { track, packets }
    })
}

/// Sound of a codec that `ffmpeg` makes with these arguments; `rate` and `channels` are what they ask for.
pub fn audio_of(codec: AudioCodec, arguments: &str, offset: Span, rate: u32, channels: u16) -> Source<AudioTrack> {
    made(arguments, |path| {
        let (extradata, mut packets) = packets(path, Kind::Audio, offset, Span::ZERO);
        let samples = |packet: &Packet| match codec {
            AudioCodec::Opus => opus::packet_samples(&packet.data).expect("made by libopus"),
            AudioCodec::Flac => flac::frame_samples(&packet.data).expect("made by ffmpeg"),
            AudioCodec::Aac => 1_024,
            AudioCodec::MpegAudio => 1_152,
            AudioCodec::Ac3 | AudioCodec::Eac3 => 1_536,
        };
        let samples_per_frame = samples(&packets[0]);
        for packet in &mut packets {
            packet.duration = Span::from_units(i64::from(samples(packet)), rate);
        }
        let track = match codec {
            AudioCodec::Aac => aac::track_from_config(extradata).expect("made by ffmpeg"),
            AudioCodec::Opus => opus::track_from_head(&extradata).expect("made by libopus"),
            AudioCodec::Flac => flac::track_from_header(&extradata).expect("made by ffmpeg"),
            _ => {
                let (config, codecs) = (Bytes::new(), codec.prefix().to_owned());
                AudioTrack { codec, config, codecs, sample_rate: rate, channels, samples_per_frame }
            }
        };
        Source { track, packets }
    })
}

/// An ordinary cut.
pub fn cut(msn: u64, at: Timestamp) -> Cut {
    Cut {
        msn,
        at,
        wall: WallTime::from_unix_millis(0),
        discontinuity: false,
        copy_ends: false,
        kind: CutKind::Keyframe,
    }
}

/// A cut where everything begins anew.
pub fn break_at(msn: u64, at: Timestamp) -> Cut {
    Cut { discontinuity: true, ..cut(msn, at) }
}

/// Units of one track: each cut stands before the first packet that belongs to its segment.
pub fn script(track: Track, packets: &[Packet], cuts: &[Cut]) -> Vec<Unit> {
    let mut units = vec![Unit::Track(Arc::new(track))];
    let mut cuts = cuts.iter().peekable();
    for packet in packets {
        while let Some(cut) = cuts.next_if(|cut| cut.at <= packet.pts) {
            units.push(Unit::Cut(cut.clone()));
        }
        units.push(Unit::Packet(packet.clone()));
    }
    units.extend(cuts.map(|cut| Unit::Cut(cut.clone())));
    units
}

/// A preset whose rungs are `(name, width, height, more keys)`, small and fast.
pub fn preset(rungs: &[(&str, u32, u32, &str)]) -> Preset {
    let mut text = String::new();
    for (name, width, height, more) in rungs {
        let mode = if more.contains("mode") { "" } else { "mode = \"encode\"\n" };
        text += &format!(
            "[[rung]]\nname = \"{name}\"\n{mode}width = {width}\nheight = {height}\nbitrate = \"400k\"\n\
             maxrate = \"480k\"\nbuffer = \"400k\"\n{more}\n\
             [rung.x264]\npreset = \"ultrafast\"\nprofile = \"main\"\nbframes = 2\nlookahead = 0\n"
        );
    }
    text += "[audio]\nmode = \"encode\"\nbitrate = \"96k\"\n";
    Preset::parse("test", &text).expect("a right preset")
}

/// Target duration of the plans here.
pub const SEGMENT: Span = Span::from_secs(2);

/// What a run gave.
pub struct Ran {
    pub plan: Plan,
    /// Units per rendition, in the plan's order.
    pub units: Vec<Vec<Unit>>,
    pub stats: LadderStats,
    pub outcome: Outcome<TranscodeError>,
    /// What the watcher was told, as text; once.
    pub told: Vec<String>,
}

/// How units are fed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// Through short queues: a slow ladder holds the feeder back.
    Patiently,
    /// Everything waits in the queues before the ladder starts, as if the machine had stood still.
    AllAtOnce,
}

/// Runs the ladder of `preset` over scripts of video and audio, until all of it came out.
pub fn run(preset: &Preset, video: Option<Vec<Unit>>, audio: Option<Vec<Unit>>, feed: Feed) -> Ran {
    let track = |units: &Option<Vec<Unit>>| {
        units.iter().flatten().find_map(|unit| match unit {
            Unit::Track(track) => Some(track.clone()),
            _ => None,
        })
    };
    let (video_track, audio_track) = (track(&video), track(&audio));
    let video_track = video_track.as_deref().and_then(|track| match track {
        Track::Video(video) => Some(video),
        Track::Audio(_) => None,
    });
    let audio_track = audio_track.as_deref().and_then(|track| match track {
        Track::Audio(audio) => Some(audio),
        Track::Video(_) => None,
    });
    let plan = plan(preset, SEGMENT, video_track, audio_track).expect("a plan");

    let mut feeders = Vec::new();
    let mut input = |units: Option<Vec<Unit>>| {
        units.map(|units| {
            let items = if feed == Feed::AllAtOnce { units.len() } else { 8 };
            let (sender, receiver) = bounded(Bound { items, bytes: 64 << 20 });
            let feeder = std::thread::spawn(move || {
                for unit in units {
                    if sender.send(unit).is_err() {
                        return;
                    }
                }
            });
            if feed == Feed::AllAtOnce {
                feeder.join().expect("no panic");
            } else {
                feeders.push(feeder);
            }
            receiver
        })
    };
    let inputs = TranscodeInputs { video: input(video), audio: input(audio), patience: Patience::default() };
    let (output, collected) = bounded::<RenditionUnit>(Bound { items: 16, bytes: 16 << 20 });
    let (tell, tells) = mpsc::channel();
    let ended = move |outcome: &Outcome<TranscodeError>| tell.send(format!("{outcome:?}")).unwrap_or(());
    let ladder = Transcoder::start("t", tracing::Span::none(), SystemClock::shared(), &plan, inputs, output, ended);
    let ladder = ladder.expect("threads start");
    let mut units = vec![Vec::new(); plan.renditions.len()];
    for RenditionUnit { rendition, unit } in collected.iter() {
        units[usize::from(rendition.0)].push(unit);
    }
    for feeder in feeders {
        feeder.join().expect("no panic");
    }
    // Told when the last thread is done with its counting.
    let mut told = vec![tells.recv().expect("the watcher is told")];
    let stats = ladder.stats();
    let outcome = ladder.join();
    told.extend(tells.try_iter());
    Ran { plan, units, stats, outcome, told }
}

/// The packets among units.
pub fn packets_of(units: &[Unit]) -> Vec<&Packet> {
    units.iter().filter_map(|unit| if let Unit::Packet(packet) = unit { Some(packet) } else { None }).collect()
}

/// The tracks among units.
pub fn tracks_of(units: &[Unit]) -> Vec<&Track> {
    units.iter().filter_map(|unit| if let Unit::Track(track) = unit { Some(track.as_ref()) } else { None }).collect()
}

/// The cuts among units.
pub fn cuts_of(units: &[Unit]) -> Vec<&Cut> {
    units.iter().filter_map(|unit| if let Unit::Cut(cut) = unit { Some(cut) } else { None }).collect()
}

/// Presentation times in presentation order.
pub fn sorted_pts<'a>(packets: impl IntoIterator<Item = &'a Packet>) -> Vec<Timestamp> {
    let mut times: Vec<Timestamp> = packets.into_iter().map(|packet| packet.pts).collect();
    times.sort_unstable();
    times
}

/// One letter per unit: `T`rack, `C`ut, `B`reak, `I`DR, `p` any other packet, `E`nd.
pub fn shape(units: &[Unit]) -> String {
    let letter = |unit: &Unit| match unit {
        Unit::Track(_) => 'T',
        Unit::Cut(cut) if cut.discontinuity || matches!(cut.kind, CutKind::Gap { .. }) => 'B',
        Unit::Cut(_) => 'C',
        Unit::Packet(packet) if packet.keyframe => 'I',
        Unit::Packet(_) => 'p',
        Unit::End => 'E',
    };
    units.iter().map(letter).collect()
}

/// Output of `program` that was fed `input`; it must succeed and say nothing.
fn piped(program: &str, arguments: &[&str], input: Vec<u8>) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdin = child.stdin.take().expect("piped");
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads all");
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && complaints.is_empty(), "{program} {arguments:?}: {complaints}");
    output.stdout
}

/// An elementary stream with start codes, parameter sets in front.
pub fn annex_b(track: &VideoTrack, packets: &[&Packet]) -> Vec<u8> {
    let config = AvcConfig::parse(&track.config).expect("our own avcC");
    let mut stream = Vec::new();
    for set in config.sps.iter().chain(&config.pps) {
        stream.extend_from_slice(&[0, 0, 0, 1]);
        stream.extend_from_slice(set);
    }
    for packet in packets {
        for nal in nals(packet) {
            stream.extend_from_slice(&[0, 0, 0, 1]);
            stream.extend_from_slice(nal);
        }
    }
    stream
}

/// NAL units of an access unit with 4-byte lengths.
pub fn nals(packet: &Packet) -> Vec<&[u8]> {
    let units = millstream::media::codec::h264::nals_length_prefixed(&packet.data, 4);
    units.map(|nal| nal.expect("whole NAL units")).collect()
}

/// Mean luma of each frame in presentation order, as an independent decoder sees it.
pub fn mean_luma(track: &VideoTrack, packets: &[&Packet]) -> Vec<u8> {
    let filter = "setpts=N/25/TB,setsar=1,scale=1:1:flags=area,format=gray";
    let decode = ["-v", "error", "-xerror", "-f", "h264", "-i", "-", "-vf", filter];
    let raw = ["-fps_mode", "passthrough", "-f", "rawvideo", "-"];
    piped("ffmpeg", &[&decode[..], &raw].concat(), annex_b(track, packets))
}

/// How many frames look like two moments woven into each other, as an independent detector (`idet`) sees it.
pub fn combs(track: &VideoTrack, packets: &[&Packet]) -> usize {
    // Each frame is judged by itself; a frame of one moment is passed on, and counted by its byte.
    let filter = "setpts=N/25/TB,idet=half_life=1,metadata=select:key=lavfi.idet.single.current_frame:value=progressive,\
                  scale=1:1,format=gray";
    let decode = ["-v", "error", "-f", "h264", "-i", "-", "-vf", filter];
    let raw = ["-fps_mode", "passthrough", "-f", "rawvideo", "-"];
    let progressive = piped("ffmpeg", &[&decode[..], &raw].concat(), annex_b(track, packets));
    packets.len() - progressive.len()
}

/// `key=value` lines of ffprobe about an elementary stream.
pub fn probe(track: &VideoTrack, packets: &[&Packet], entries: &str) -> String {
    let entries = format!("stream={entries}");
    let arguments = ["-v", "error", "-f", "h264", "-show_entries", &entries, "-of", "default=nw=1", "-"];
    String::from_utf8(piped("ffprobe", &arguments, annex_b(track, packets))).expect("UTF-8")
}

/// First channel of AAC-LC packets, as an independent decoder hears it: sample 0 is that of the first packet.
pub fn heard(track: &AudioTrack, packets: &[&Packet]) -> Vec<f32> {
    const RATES: [u32; 6] = [96_000, 88_200, 64_000, 48_000, 44_100, 32_000];
    let index = RATES.iter().position(|rate| *rate == track.sample_rate).expect("a usual rate") as u8;
    let channels = u8::try_from(track.channels).expect("few");
    let mut stream = Vec::new();
    for packet in packets {
        let len = u16::try_from(packet.data.len() + 7).expect("a short frame");
        stream.extend_from_slice(&[
            0xff,
            0xf1,
            (1 << 6) | (index << 2) | (channels >> 2),
            ((channels & 3) << 6) | (len >> 11) as u8,
            (len >> 3) as u8,
            ((len & 7) << 5) as u8 | 0x1f,
            0xfc,
        ]);
        stream.extend_from_slice(&packet.data);
    }
    let arguments = ["-v", "error", "-f", "aac", "-i", "-", "-af", "pan=mono|c0=c0", "-f", "f32le", "-"];
    let raw = piped("ffmpeg", &arguments, stream);
    raw.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
}

/// Times at which sound begins after at least 200 ms of near silence.
pub fn onsets(track: &AudioTrack, packets: &[&Packet]) -> Vec<Timestamp> {
    let wave = heard(track, packets);
    let mut quiet_since = -9_600_i64;
    let mut found = Vec::new();
    for (index, value) in wave.iter().enumerate() {
        let index = index as i64;
        if value.abs() > 0.1 {
            if index - quiet_since >= 9_600 {
                found.push(packets[0].pts + Span::from_units(index, 48_000));
            }
            quiet_since = index;
        }
    }
    found
}

pub fn check_onsets(found: &[Timestamp], expected: &[Timestamp]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((*found - *expected).abs() <= Span::from_millis(3), "beep at {found}, sent at {expected}");
    }
}
